"""Which code it is that runs."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

import sdl_study


@functools.cache
def code_version() -> str:
    """Version of the package, with the commit where it runs from a clone."""
    found = _git("describe", "--always", "--dirty", "--abbrev=12")
    return sdl_study.__version__ if found is None else f"{sdl_study.__version__}+{found}"


@functools.cache
def code_commit() -> str | None:
    """The commit in full where it runs from a clone, else None."""
    return _git("rev-parse", "HEAD")


def _git(*words: str) -> str | None:
    """What git says of the clone; None where there is no git, no clone or no commit."""
    root = Path(sdl_study.__file__).resolve().parent.parent
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    found = subprocess.run([git, "-C", str(root), *words], capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None
