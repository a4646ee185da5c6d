"""The user's own modules: a study by name, dotted module or file, or made over another one; a pipeline likewise.

They run before any data is open, so the text of what they raise can be shown, with the line to look at.
"""

from __future__ import annotations

import importlib.util
import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sdl_study.errors import UserError
from sdl_study.references import anchored, is_file, load_module

if TYPE_CHECKING:
    from sdl_study.space import Study

ROOT = Path(__file__).resolve().parent.parent
OF_THE_CLONE = ("search_spaces", "pipelines")


@dataclass(frozen=True)
class OwnStudy:
    """A study as a module exports it, or makes it over another one.

    Attributes:
        name: the module's, which is the study's; of one over another ``BASE_NAME``.
        study: its STUDY.
        module: the file beside which its encoders are looked for: its own, or its base's; None where the base is a
            record.
        reference: what names it on the command line.
        base: what names its base there, of one over another.
    """

    name: str
    study: Study
    module: Path | None
    reference: str
    base: str | None = None


def load_study(reference: str, base: OwnStudy | None = None) -> OwnStudy:
    """A study by its name in search_spaces, its dotted module (``package.module``) or its file (``./my_space.py``).

    Args:
        reference: names the module.
        base: the study over which it is made, where its module exports ``of_base(study)`` in place of STUDY.

    Raises:
        UserError: there is no such module, it has a mistake, it exports no STUDY, or it needs a base and has none, or
            the other way round.
    """
    from sdl_study.space import Study

    module = _own_module(_study_module(reference), "study")
    if module.__file__ is None:
        raise UserError(
            f"study {reference}: is a folder, not a module; name the module in it that exports STUDY"
        )
    file = Path(module.__file__).resolve()
    name = file.parent.name if file.stem == "__init__" else file.stem
    of_base = getattr(module, "of_base", None)
    if (base is None) != (of_base is None):
        raise UserError(
            f"study {reference}: is made over another study; name that with --base STUDY"
            if base is None
            else f"--base: study {reference} is not made over another one; leave --base out"
        )
    if of_base is not None and base is not None:
        return _over(reference, name, of_base, file, base)
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise UserError(f"{_shown(file)}: exports no STUDY of type sdl_study.space.Study")
    return OwnStudy(name, study, file, _shown_reference(reference, file))


def _over(
    reference: str, name: str, of_base: Callable[[Study], Study], file: Path, base: OwnStudy
) -> OwnStudy:
    """A study over another one; the losses of its arms are found from its own file, the encoders from the base's."""
    try:
        made = of_base(base.study)
    except UserError as error:
        raise UserError(f"study {reference} --base {base.reference}: {error}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 (a user's module may raise anything)
        raise _mistake_of(reference, error) from None
    arms = tuple(replace(arm, loss=anchored(arm.loss, file)) for arm in made.arms)
    own = _shown_reference(reference, file)
    return OwnStudy(f"{base.name}_{name}", replace(made, arms=arms), base.module, own, base.reference)


def _shown_reference(reference: str, file: Path) -> str:
    """What names a study on the command line, without the folders of a file."""
    return f"./{file.name}" if is_file(reference) else reference


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
