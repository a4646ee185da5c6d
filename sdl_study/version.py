"""Which code it is that runs."""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
from pathlib import Path

import sdl_study

_PACKAGE = Path(sdl_study.__file__).resolve().parent
SOURCES = "sources."
"""What precedes a digest of the sources where a commit would stand."""
_SHOWN = 12


@functools.cache
def code_version() -> str:
    """Version of the package, with the commit where it runs from a clone, else with the digest of its sources.

    `ray up` leaves the history behind: on the machines of a cluster the digest says which code ran. A clone's own is
    printed by `python -m sdl_study.version`.
    """
    found = _git("describe", "--always", "--dirty", "--abbrev=12")
    return f"{sdl_study.__version__}+{found or _sources()}"


@functools.cache
def code_commit() -> str | None:
    """The commit in full where it runs from a clone, else None."""
    return _git("rev-parse", "HEAD")


@functools.cache
def code_digest() -> str:
    """SHA-256 of the package's Python files, by their places in it: equal where the same code runs."""
    found = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        name, content = path.relative_to(_PACKAGE).as_posix().encode(), path.read_bytes()
        found.update(b"%d %d %b %b" % (len(name), len(content), name, content))
    return found.hexdigest()


def _sources() -> str:
    return SOURCES + code_digest()[:_SHOWN]


def _git(*words: str) -> str | None:
    """What git says of the clone; None where there is no git, no clone or no commit."""
    root = _PACKAGE.parent
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    found = subprocess.run([git, "-C", str(root), *words], capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None


if __name__ == "__main__":
    print(code_version(), _sources())
