"""The user's own modules: a study by name, dotted module or file; a pipeline by dotted module or file.

They run before any data is open, so the text of what they raise can be shown, with the line to look at.
"""

from __future__ import annotations

import importlib.util
import inspect
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sdl_study.errors import UserError
from sdl_study.references import is_file, load_module

if TYPE_CHECKING:
    from sdl_study.space import Study

ROOT = Path(__file__).resolve().parent.parent
OF_THE_CLONE = ("search_spaces", "pipelines")


@dataclass(frozen=True)
class OwnStudy:
    """A study as a module exports it.

    Attributes:
        name: the module's, which is the study's.
        study: its STUDY.
        module: its file.
    """

    name: str
    study: Study
    module: Path


def load_study(reference: str) -> OwnStudy:
    """A study by its name in search_spaces, its dotted module (``package.module``) or its file (``./my_space.py``).

    Raises:
        UserError: there is no such module, it has a mistake, or it exports no STUDY.
    """
    from sdl_study.space import Study

    module = _own_module(_study_module(reference), "study")
    if module.__file__ is None:
        raise UserError(
            f"study {reference}: is a folder, not a module; name the module in it that exports STUDY"
        )
    file = Path(module.__file__).resolve()
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise UserError(f"{_shown(file)}: exports no STUDY of type sdl_study.space.Study")
    return OwnStudy(file.parent.name if file.stem == "__init__" else file.stem, study, file)


def study_names() -> list[str]:
    """The studies of search_spaces; a module whose name begins with "_" is a helper of theirs."""
    return sorted(p.stem for p in (ROOT / "search_spaces").glob("*.py") if not p.stem.startswith("_"))


def _study_module(reference: str) -> str:
    if is_file(reference):
        if not Path(reference).is_file():
            raise UserError(f"study {reference}: there is no such file")
        return reference
    if "/" in reference or "\\" in reference:
        raise UserError(f"study {reference}: name the study's file, for example ./my_space.py")
    if "." in reference:
        if not all(part.isidentifier() for part in reference.split(".")):
            raise UserError(f"study {reference}: is no module; name a file (./my_space.py) or package.module")
        return reference
    if reference not in study_names():
        raise UserError(
            f"unknown study {reference!r}; search_spaces has {', '.join(study_names())}; for one of your own give its "
            "file (./my_space.py) or its module (package.module)"
        )
    return f"search_spaces.{reference}"


def load_pipeline(reference: str) -> Any:
    """A module or file that prepares a data set by name.

    Raises:
        UserError: there is no such module, it has a mistake, or no ``prepare(name, out)``.
    """
    if not is_file(reference) and "." not in reference:
        raise UserError(
            f"data.pipeline: {reference!r}: write a dotted module (pipelines.demo) or a file (my_source.py)"
        )
    module = _own_module(reference, "data.pipeline")
    try:
        inspect.signature(module.prepare).bind("name", Path())
    except (AttributeError, TypeError):
        raise UserError(
            f"data.pipeline: {reference} has no prepare(name, out); run it by its own command and give data.path"
        ) from None
    return module


def _own_module(reference: str, field: str) -> ModuleType:
    """Import a module; one of search_spaces or pipelines that lies elsewhere than in the clone is refused.

    Raises:
        UserError: there is no such module, or importing it raised.
    """
    package = reference.partition(".")[0]
    if package in OF_THE_CLONE and not is_file(reference):
        _check_in_clone(package)
    try:
        return load_module(reference)
    except ModuleNotFoundError as error:
        absent = error.name is not None and (
            error.name == reference or f"{reference}.".startswith(f"{error.name}.")
        )
        if absent:
            raise UserError(f"{field}: there is no module {reference!r}") from None
        raise _mistake_of(reference, error) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 (a user's module may raise anything)
        raise _mistake_of(reference, error) from None


def _check_in_clone(package: str) -> None:
    found = importlib.util.find_spec(package)
    place = Path(next(iter(found.submodule_search_locations or []), "")) if found else None
    if place is None or place.resolve() != ROOT / package:
        raise UserError(
            f"{package} is read from {place}, not from {ROOT / package}; start in the project's folder"
        )


def _mistake_of(reference: str, error: BaseException) -> UserError:
    """One line per mistake: the file and line of the user's own modules that raised, and its words."""
    own = Path(reference).resolve().parent if is_file(reference) else _folder_of(reference)
    place = reference if is_file(reference) else "/".join(reference.split(".")) + ".py"
    for frame in traceback.extract_tb(error.__traceback__):
        place = _own_place(frame.filename, frame.lineno, own) or place
    if isinstance(error, SyntaxError):
        place = _own_place(error.filename or "", error.lineno, own) or place
    return UserError("\n".join(f"{place}: {line}" for line in _words(error)))


def _folder_of(reference: str) -> Path | None:
    """Where a dotted module's top package lies."""
    try:
        spec = importlib.util.find_spec(reference.partition(".")[0])
    except (ImportError, ValueError):
        return None
    origin = spec.origin if spec is not None else None
    return Path(origin).resolve().parent if origin else None


def _own_place(filename: str, line: int | None, own: Path | None) -> str | None:
    path = Path(filename)
    folders = [*(ROOT / package for package in OF_THE_CLONE), *([own] if own is not None else [])]
    return f"{_shown(path)}:{line}" if any(path.is_relative_to(folder) for folder in folders) else None


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _words(error: BaseException) -> list[str]:
    if isinstance(error, UserError):
        return str(error).splitlines()
    if isinstance(error, ValidationError):
        from sdl_study.mistakes import mistakes

        return mistakes(error, error.title)
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return [f"{type(error).__name__}: {' '.join(text.split())}"]
