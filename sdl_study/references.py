"""Modules and objects of the user's own, named in settings: ``package.module``, ``folder/file.py``, ``...:Name``.

The standard library alone: losses use it, which need nothing but torch and numpy.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

_PREFIX = "sdl_own_"


def own_files() -> frozenset[Path]:
    """The files that this process has loaded by their paths."""
    loaded = [module for name, module in sys.modules.items() if name.startswith(_PREFIX)]
    return frozenset(Path(str(module.__file__)) for module in loaded)


def is_file(module: str) -> bool:
    """Whether a module is named by its file."""
    return module.endswith(".py")


def load_module(module: str) -> ModuleType:
    """A module by its dotted name or its file; the same file is run once a process.

    Raises:
        ModuleNotFoundError: there is no such module or file.
        Exception: whatever the module's own code raises.
    """
    if not is_file(module):
        return importlib.import_module(module)
    path = Path(module).resolve()
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # for what it imports from beside itself
    name = f"{_PREFIX}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise ModuleNotFoundError(f"there is no file {path}", name=module)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{path} is no Python module", name=module)
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    try:
        spec.loader.exec_module(found)
    except BaseException:
        del sys.modules[name]
        raise
    return found


def load_object(reference: str) -> Any:
    """The object ``NAME`` of ``module:NAME``.

    Raises:
        ValueError: the reference is not of this form, or the module has no such name.
        ModuleNotFoundError: as ``load_module``.
    """
    module, sign, name = reference.rpartition(":")
    if not sign or not module or not name:
        raise ValueError(f"{reference!r}: write it as module:Name or folder/file.py:Name")
    loaded = load_module(module)
    if not hasattr(loaded, name):
        raise ValueError(f"{reference!r}: {module} has no {name!r}")
    return getattr(loaded, name)


def anchored(reference: str, study_file: Path | None) -> str:
    """A reference as it is found from anywhere.

    A relative file is one beside the study's own file; in ``module:Name`` a module that stands beside it, or is it, is
    that file too: a study that is given by its path may name what stands in it or beside it.
    """
    if study_file is None:
        return reference
    head, sign, name = reference.rpartition(":")
    module = head if sign else reference
    tail = f"{sign}{name}" if sign else ""
    if is_file(module):
        return f"{(study_file.parent / module).resolve()}{tail}"
    beside = study_file.parent / f"{module}.py"
    return f"{beside.resolve()}{tail}" if sign and beside.is_file() else reference
