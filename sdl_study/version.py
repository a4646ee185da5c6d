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
    root = Path(sdl_study.__file__).resolve().parent.parent
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return sdl_study.__version__
    found = subprocess.run(
        [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return (
        f"{sdl_study.__version__}+{found.stdout.strip()}" if found.returncode == 0 else sdl_study.__version__
    )
