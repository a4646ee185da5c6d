"""The user's own modules, found by name: a study in search_spaces, a pipeline in pipelines.

They run before any data is open, so the text of what they raise can be shown, with the line to look at.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sdl_study.errors import UserError

if TYPE_CHECKING:
    from sdl_study.space import Study

ROOT = Path(__file__).resolve().parent.parent


def load_study(name: str, renamed: bool = False) -> Study:
    """The STUDY of a module of search_spaces.

    Args:
        name: of the module.
        renamed: whether the study gets another name than its own.

    Raises:
        UserError: there is no such module, it has a mistake, it exports no STUDY, or one of another name.
    """
    from sdl_study.space import Study

    folder = ROOT / "search_spaces"
    known = sorted(path.stem for path in folder.glob("*.py") if path.stem not in ("__init__", "common"))
    if name not in known:
        raise UserError(f"unknown study {name!r}; search_spaces has {', '.join(known)}")
    study = getattr(own_module(f"search_spaces.{name}", "study"), "STUDY", None)
    if not isinstance(study, Study):
        raise UserError(f"search_spaces/{name}.py: exports no STUDY")
    if study.name != name and not renamed:
        line = _line_of_name(folder / f"{name}.py", study.name)
        raise UserError(
            f"search_spaces/{name}.py{line}: the study calls itself {study.name!r}, as another module may; "
            f"write {name!r} there or give --name"
        )
    return study


def _line_of_name(file: Path, name: str) -> str:
    """ ":LINE" of the words that name the study, where the module holds them itself."""
    tree = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    lines = [node.lineno for node in tree if isinstance(node, ast.Constant) and node.value == name]
    return f":{min(lines)}" if lines else ""


def load_pipeline(name: str) -> Any:
    """A module of pipelines that prepares a data set by name.

    Raises:
        UserError: there is no such module, it has a mistake, or no ``prepare(name, out)``.
    """
    module = own_module(name, "data.pipeline")
    try:
        inspect.signature(module.prepare).bind("name", Path())
    except (AttributeError, TypeError):
        raise UserError(
            f"data.pipeline: {name} has no prepare(name, out); prepare the data with python -m {name} and give "
            "data.path"
        ) from None
    return module


def own_module(name: str, field: str) -> Any:
    """Import one of the project's own modules by name; one that lies elsewhere is refused.

    Raises:
        UserError: it is no module of the project, or importing it raised.
    """
    package = name.partition(".")[0]
    if package not in ("search_spaces", "pipelines"):
        raise UserError(f"{field}: {name!r} is not a module of search_spaces or pipelines")
    found = importlib.util.find_spec(package)
    place = Path(next(iter(found.submodule_search_locations or []), "")) if found else None
    if place is None or place.resolve() != ROOT / package:
        raise UserError(
            f"{package} is read from {place}, not from {ROOT / package}; start in the project's folder"
        )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise UserError(f"{field}: there is no module {name!r}") from None
        raise _mistake_of(name, error) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 (a user's module may raise anything)
        raise _mistake_of(name, error) from None


def _mistake_of(name: str, error: BaseException) -> UserError:
    """One line per mistake: the file and line of the project's own modules that raised, and its words."""
    place = "/".join(name.split(".")) + ".py"
    for frame in traceback.extract_tb(error.__traceback__):
        place = _own_place(frame.filename, frame.lineno) or place
    if isinstance(error, SyntaxError):
        place = _own_place(error.filename or "", error.lineno) or place
    return UserError("\n".join(f"{place}: {line}" for line in _words(error)))


def _own_place(filename: str, line: int | None) -> str | None:
    path = Path(filename)
    inside = any(path.is_relative_to(ROOT / package) for package in ("search_spaces", "pipelines"))
    return f"{path.relative_to(ROOT)}:{line}" if inside else None


def _words(error: BaseException) -> list[str]:
    if isinstance(error, UserError):
        return str(error).splitlines()
    if isinstance(error, ValidationError):
        return [_field_and_message(error.title, detail) for detail in error.errors(include_url=False)]
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return [f"{type(error).__name__}: {' '.join(text.split())}"]


def _field_and_message(title: str, detail: Any) -> str:
    field = ".".join(str(part) for part in (title, *detail["loc"]))
    return f"{field}: {detail['msg'].removeprefix('Value error, ')}"
