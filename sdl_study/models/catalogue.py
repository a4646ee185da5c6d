"""Kinds of encoder by name or reference, and the check of their settings; imports neither torch nor transformers.

A name is that of a file of ``sdl_study/models/kinds``; a kind of the user's own is a dotted module or a
``folder/file.py``.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import ValidationError

from sdl_study.errors import UserError
from sdl_study.input_spec import InputSpec
from sdl_study.models.settings import EncoderSettings
from sdl_study.references import is_file, load_module

if TYPE_CHECKING:
    from torch import nn

    Built = tuple[nn.Module, int]

_FOLDER = Path(__file__).parent / "kinds"
_PARAMETERS = {
    "build": ("settings", "spec"),
    "check": ("settings", "spec"),
    "load": ("settings", "spec", "folder"),
    "outline": ("settings", "spec"),
    "reads": ("settings",),
}


@dataclass(frozen=True)
class EncoderKind:
    """A kind of encoder.

    Attributes:
        reference: the name, dotted module or (absolute) file by which it is found.
        settings_class: its settings.
        build: makes the backbone, with its output width, from torch's global generator.
        check: raises a UserError for what would make ``build`` fail; cheap, for the driver. None: nothing to check.
        load: reads a saved backbone from its folder. None: it is built, and its weights are filled in.
        outline: makes what ``build`` makes without its weights. None: ``build`` needs none.
        reads: how its inputs are made (a tokenizer, a size, a normalisation), as settings of the store that come
            before the study's ``data.store``. None: it reads whatever the store gives.
    """

    reference: str
    settings_class: type[EncoderSettings]
    build: Callable[[Any, InputSpec], Built]
    check: Callable[[Any, InputSpec], None] | None = None
    load: Callable[[Any, InputSpec, Path], Built] | None = None
    outline: Callable[[Any, InputSpec], Built] | None = None
    reads: Callable[[Any], dict[str, Any]] | None = None


def kind_names() -> tuple[str, ...]:
    """Names of the kinds that come with the package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("[!_]*.py")))


def find_kind(reference: str) -> EncoderKind:
    """A kind by its name, or one of the user's own by its module or file.

    Raises:
        UserError: there is none, its module cannot be imported, or it lacks ``Settings`` or ``build``.
    """
    if reference in kind_names():
        return _kind_of(reference, load_module(f"{__package__}.kinds.{reference}"))
    if not is_file(reference) and "." not in reference:
        raise UserError(
            f"unknown encoder {reference!r}; choose from {', '.join(kind_names())}, or name a module of your own "
            "(package.module or folder/file.py)"
        )
    if is_file(reference):
        reference = str(Path(reference).resolve())  # it is found again from another folder
    try:
        module = load_module(reference)
    except (Exception, SystemExit) as error:  # noqa: BLE001 (a user's module may raise anything)
        _refuse_import(reference, error)
    return _kind_of(reference, module)


def _refuse_import(reference: str, error: BaseException) -> NoReturn:
    """One line with the words of the error and the line of the user's file; no data are open here."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is not None and f"{reference}.".startswith(f"{missing}."):
        what = "file" if is_file(reference) else "module"
        raise UserError(f"encoder kind {reference!r}: there is no such {what}") from None
    if isinstance(error, UserError):
        raise UserError(f"encoder kind {reference!r}: {error}") from None
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{frame.filename}:{frame.lineno}"
    if isinstance(error, SyntaxError):
        place = f"{error.filename}:{error.lineno}"
    words = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    raise UserError(
        f"encoder kind {reference!r}: cannot be imported: {type(error).__name__}: {words} ({place})"
    ) from None


def _kind_of(reference: str, module: ModuleType) -> EncoderKind:
    settings_class = getattr(module, "Settings", None)
    if not isinstance(settings_class, type) or not issubclass(settings_class, EncoderSettings):
        raise UserError(
            f"encoder kind {reference!r}: has no class Settings; derive one from sdl_study.models.EncoderSettings"
        )
    reads = getattr(settings_class, "modalities", ())
    known = ("text", "image", "features")
    if not isinstance(reads, tuple) or not reads or any(modality not in known for modality in reads):
        raise UserError(
            f"encoder kind {reference!r}: Settings.modalities says what it reads, some of {', '.join(known)}; "
            f'for example ("text",), not {reads!r}'
        )
    functions = {name: _function(reference, module, name) for name in _PARAMETERS}
    build = functions.pop("build")
    if build is None:
        raise UserError(f"encoder kind {reference!r}: has no function build(settings, spec)")
    return EncoderKind(reference, settings_class, build, **functions)


def _function(reference: str, module: ModuleType, name: str) -> Callable[..., Any] | None:
    function = getattr(module, name, None)
    if function is None:
        return None
    parameters = _PARAMETERS[name]
    try:
        inspect.signature(function).bind(*parameters)
    except TypeError:  # no function, or one that takes other arguments
        raise UserError(
            f"encoder kind {reference!r}: {name} is to be a function {name}({', '.join(parameters)})"
        ) from None
    return function


def encoder_settings(kind: str) -> frozenset[str]:
    """Names of the settings that an encoder kind takes.

    Raises:
        UserError: as ``find_kind``.
    """
    return frozenset(find_kind(kind).settings_class.model_fields)


def parse_encoder_settings(kind: str, settings: Mapping[str, object]) -> EncoderSettings:
    """Check the settings of one encoder kind.

    Raises:
        UserError: as ``find_kind``; an unknown setting, or a value that is out of range; names the setting and the
            choices.
    """
    settings_class = find_kind(kind).settings_class
    try:
        return settings_class.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            known = ", ".join(sorted(settings_class.model_fields))
            raise UserError(f"encoder {kind!r} has no setting {name!r}; choose from {known}") from None
        if first["type"] == "missing":
            raise UserError(f"encoder {kind!r} needs the setting {name!r}") from None
        message = first["msg"].removeprefix("Value error, ")
        place = f"setting {name!r} of encoder {kind!r}" if name else f"settings of encoder {kind!r}"
        value = f", not {first['input']!r}" if name else ""
        raise UserError(f"{place}: {message}{value}") from None


def check_encoder(kind: str, settings: Mapping[str, object], spec: InputSpec) -> None:
    """Refuse, without building it, an encoder that cannot be built or cannot read such inputs.

    Raises:
        UserError: as ``parse_encoder_settings``; another modality; what the kind's own check refuses.
    """
    checked = parse_encoder_settings(kind, settings)
    if spec.modality not in checked.modalities:
        raise UserError(
            f"encoder {kind!r} reads {' or '.join(checked.modalities)}, the data set holds {spec.modality}"
        )
    found = find_kind(kind)
    if found.check is not None:
        found.check(checked, spec)


def encoder_reads(kind: str, settings: Mapping[str, object]) -> dict[str, Any]:
    """Settings of the store that an encoder's inputs need; they come before the study's ``data.store``.

    Raises:
        UserError: as ``parse_encoder_settings``; what it reads cannot be told (its files are missing or damaged).
    """
    checked, found = parse_encoder_settings(kind, settings), find_kind(kind)
    return {} if found.reads is None else found.reads(checked)


def locate_encoder(kind: str, settings: Mapping[str, object]) -> dict[str, object]:
    """An encoder as a job names it, ``{"kind": ..., and that kind's settings}``, relative paths made absolute.

    Raises:
        UserError: as ``parse_encoder_settings``.
    """
    found = parse_encoder_settings(kind, settings).located()
    return {"kind": find_kind(kind).reference, **settings, **found}
