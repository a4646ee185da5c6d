"""Where the weights of what is exported lie: in a final's own folder, or where ``reproduce --keep`` put them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sdl_study.errors import UserError
from sdl_study.evaluation.predictions import metrics_from_predictions
from sdl_study.files import read_json
from sdl_study.input_spec import INPUTS_FILE
from sdl_study.record.chosen import Chosen
from sdl_study.record.files import ENCODER_FOLDER, HEAD_FILE, PROBE_FILE
from sdl_study.record.outcome import Result, read_outcome
from sdl_study.stages import PROBE

KEPT_FILE = "again.json"
"""In a folder that ``reproduce --keep`` left: of what it is, and whether it agreed with the record."""

Head = Literal["probe", "linear", "label_attention"]


@dataclass(frozen=True)
class Source:
    """What is exported.

    Attributes:
        chosen: the trial or final.
        folder: holds its encoder's folder.
        result: dev metrics and the threshold.
        test: test metrics; None where they were never measured: of a trial, and of a final that is not scored yet.
        kept: whether the weights are those of a training that ``reproduce`` ran again.
    """

    chosen: Chosen
    folder: Path
    result: Result
    test: Mapping[str, float] | None
    kept: bool

    @property
    def encoder(self) -> Path:
        """The encoder with what makes its inputs, and its probe or head."""
        return self.folder / ENCODER_FOLDER

    @property
    def head_file(self) -> str:
        """What scores: the probe or the head."""
        return PROBE_FILE if self.chosen.stage == PROBE else HEAD_FILE

    @property
    def head(self) -> Head:
        """What kind of head that is."""
        settings = self.chosen.record.identity["settings"]
        return "probe" if self.chosen.stage == PROBE else settings["finetune"]["head"]


def find_source(chosen: Chosen, kept: Path | None) -> Source:
    """The weights of a trial or final.

    Args:
        chosen: the trial or final.
        kept: folder that ``reproduce --keep`` left of it; None for a final's own.

    Raises:
        UserError: there are none, or they are not all that is needed.
    """
    if kept is not None:
        source = _kept(chosen, kept)
    elif chosen.trial is not None:
        raise UserError(
            f"{chosen.reference}: a trial leaves no weights; export a final, or train it again: reproduce "
            f"{chosen.reference} --keep DIR, then export with --from DIR"
        )
    else:
        test = metrics_from_predictions(chosen.slot.predictions) if chosen.slot.predictions.exists() else None
        source = Source(chosen, chosen.slot.folder, chosen.result, test, kept=False)
    if not (source.encoder / "encoder.json").is_file():
        raise UserError(f"{chosen.reference}: has no encoder to export in {source.encoder}")
    for name in (source.head_file, INPUTS_FILE):
        if not (source.encoder / name).is_file():
            raise UserError(
                f"{source.encoder}: has no {name}, which an earlier version did not write; reproduce "
                f"{chosen.reference} --keep DIR, then export with --from DIR"
            )
    return source


def _kept(chosen: Chosen, folder: Path) -> Source:
    path = folder / KEPT_FILE
    note = read_json(path) if path.is_file() else {}
    if note.get("of") != chosen.reference:
        found = note.get("of", "nothing")
        raise UserError(
            f"--from {folder}: holds {found}, not {chosen.reference}; reproduce {chosen.reference} --keep DIR makes it"
        )
    if not note["agrees"]:
        raise UserError(
            f"--from {folder}: is another training than the record of {chosen.reference}: its numbers differed"
        )
    result = read_outcome(folder)
    if not isinstance(result, Result):
        raise UserError(
            f"--from {folder}: has no whole result; reproduce {chosen.reference} --keep DIR again"
        )
    final = chosen.final
    test = None
    if final is not None and final.slot.predictions.exists():
        test = metrics_from_predictions(final.slot.predictions)
    return Source(chosen, folder, result, test, kept=True)
