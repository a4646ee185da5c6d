"""How the inputs of each encoder are made: the study's ``data.store``, and over it what the encoder itself asks for.

A tokenizer, a size or a normalisation belongs to the encoder that was trained with it, so a study may search over
encoders that read the same data in different ways. Each distinct reading is one store, built once and shared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdl_study.config import Settings
from sdl_study.data.stores import check_store_settings
from sdl_study.errors import UserError
from sdl_study.input_spec import InputSpec, Modality
from sdl_study.models import check_encoder, encoder_reads, overlap
from sdl_study.setting_paths import with_values
from sdl_study.space import SearchSpace
from sdl_study.study.checks import extremes, possible_values, searched_values
from sdl_study.study.located import encoder_of


@dataclass(frozen=True)
class Candidate:
    """An encoder that a trial may get.

    Attributes:
        name: in the study.
        kind: its kind.
        settings: of its kind.
        reading: settings of the store that its inputs come from.
    """

    name: str
    kind: str
    settings: Mapping[str, Any]
    reading: Mapping[str, Any]


def candidates(
    space: SearchSpace, settings: Settings, origin: str, module: Path | None = None
) -> list[Candidate]:
    """Every encoder that a trial may get, each with the extremes of what is searched of it.

    Args:
        space: of the study.
        settings: the study's.
        origin: stands before an error's line.
        module: the study's own file.

    Raises:
        UserError: one line; what an encoder reads cannot be told.
    """
    variants = [settings]
    for parameter in space.parameters:
        if parameter.name.startswith("model.encoders."):
            values = extremes(parameter.distribution)
            variants += [with_values(settings, {parameter.name: value}, origin) for value in values]
    chosen_from = {settings.model.encoder, *searched_values(space, "model.encoder")}
    asked: list[tuple[str, dict[str, Any]]] = []
    for variant in variants:
        for item in variant.model.encoders.items():
            if item[0] in chosen_from and item not in asked:
                asked.append(item)
    return [_candidate(name, chosen, settings.data.store, origin, module) for name, chosen in asked]


def _candidate(
    name: str, chosen: Mapping[str, Any], store: Mapping[str, Any], origin: str, module: Path | None
) -> Candidate:
    kind, settings = encoder_of(chosen, module)
    try:
        own = encoder_reads(kind, settings)
    except UserError as error:
        raise UserError(f"{origin}: model.encoders.{name}: {error}") from None
    return Candidate(name, kind, settings, {**store, **own})


def readings(found: Iterable[Candidate]) -> list[Mapping[str, Any]]:
    """The distinct readings of some encoders."""
    return list({_key(candidate.reading): candidate.reading for candidate in found}.values())


def check_readings(
    found: Iterable[Candidate], modality: Modality, store: Mapping[str, Any], origin: str
) -> None:
    """Refuse readings that the data's store does not know, and settings of ``data.store`` that no encoder heeds.

    Raises:
        UserError: one line.
    """
    found = list(found)
    for reading in readings(found):
        check_store_settings(modality, reading)
    for name, value in store.items():
        others = {candidate.name: candidate.reading[name] for candidate in found}
        if value in others.values():
            continue
        own = ", ".join(f"{encoder} with {other!r}" for encoder, other in others.items())
        raise UserError(
            f"{origin}: data.store.{name}: {value!r} is used by no encoder of the study ({own}): each reads its "
            "inputs as it was trained to; leave it out"
        )


def check_encoders_fit(
    found: Iterable[Candidate], spec_of: Callable[[Mapping[str, Any]], InputSpec], origin: str
) -> None:
    """Every encoder that a trial may get can be built and reads such examples, as far as can be told cheaply.

    Args:
        found: the encoders.
        spec_of: gives the examples of a reading; asked once for each.
        origin: stands before an error's line.

    Raises:
        UserError: one line.
    """
    specs: dict[str, InputSpec] = {}
    for candidate in found:
        key = _key(candidate.reading)
        try:
            if key not in specs:
                specs[key] = spec_of(candidate.reading)
            check_encoder(candidate.kind, candidate.settings, specs[key])
        except UserError as error:
            raise UserError(f"{origin}: model.encoders.{candidate.name}: {error}") from None


def seen_before(space: SearchSpace, settings: Settings, source: Mapping[str, Any]) -> tuple[str, ...]:
    """What is to be known of the encoders that were pretrained on the source of the data, a sentence each.

    Args:
        space, settings: the study's.
        source: of the data, as their manifest has it.
    """
    names = possible_values(space, settings, "model.encoder")
    told = (overlap(settings.model.encoders[name], source) for name in names)
    return tuple(dict.fromkeys(words for words in told if words is not None))


def _key(reading: Mapping[str, Any]) -> str:
    return json.dumps(dict(reading), sort_keys=True)
