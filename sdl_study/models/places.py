"""Where a pretrained model lies: a folder of this machine, or a name of the hub."""

from __future__ import annotations

from pathlib import Path

from sdl_study.errors import UserError


def find_folder(name: str, field: str) -> Path | None:
    """The folder of a model that is named by one; None for a name of the hub.

    Raises:
        UserError: it is a file, or a path at which there is nothing.
    """
    path = Path(name)
    if path.is_dir():
        return path
    if path.exists():
        raise UserError(f"{field}: {name} is a file; name the folder of the model")
    if name.startswith(("/", "./", "../", "~")) or name.count("/") > 1 or name.endswith("/"):
        hint = "; write the home folder out" if name.startswith("~") else ""
        raise UserError(f"{field}: there is no folder {path.absolute()}{hint}")
    return None


def first_line(error: BaseException) -> str:
    """An error's type where it says nothing, else its first line."""
    words = str(error).strip()
    return words.splitlines()[0].strip() if words else type(error).__name__
