"""Whether what was run again has the numbers of the record: metrics of every epoch, scores of the test inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sdl_study.evaluation.predictions import read_predictions
from sdl_study.evaluation.scores import SCORES_FILE, read_scores
from sdl_study.record.chosen import Chosen
from sdl_study.record.outcome import Result
from sdl_study.report.tables import text_table

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float, Int

WALL_CLOCK = "seconds"
_COLUMNS = {"what": "", "recorded": "", "again": "", "difference": ".2g", "agrees": ""}


@dataclass(frozen=True)
class Compared:
    """One number of the record beside the same number again.

    Attributes:
        what: its name.
        recorded, again: None where one of the two does not have it.
        agrees: whether they are the same, within the tolerance.
    """

    what: str
    recorded: float | None
    again: float | None
    agrees: bool

    @property
    def difference(self) -> float | None:
        """How far they lie apart; None where one is missing or not a number."""
        if self.recorded is None or self.again is None:
            return None
        apart = abs(self.recorded - self.again)
        return None if math.isnan(apart) else apart


def compare_trial(
    chosen: Chosen, epochs: Mapping[int, Mapping[str, float]], tolerance: float
) -> list[Compared]:
    """The objective, and every metric of every epoch.

    Args:
        chosen: a trial.
        epochs: what they came to again.
        tolerance: how far two numbers may lie apart; 0 is bitwise.
    """
    trial, key = chosen.trial, chosen.record.objective_key
    assert trial is not None
    best = max((metrics[key] for metrics in epochs.values() if key in metrics), default=None)
    found = [compared("objective", trial.objective, best, tolerance)]
    for epoch in sorted(trial.epochs.keys() | epochs.keys()):
        names = f"epoch {epoch}: "
        found += _all(names, trial.epochs.get(epoch, {}), epochs.get(epoch, {}), tolerance)
    return found


def compare_final(chosen: Chosen, again: Result, folder: Path, tolerance: float) -> list[Compared]:
    """Dev metrics, how it trained, and the scores of the test inputs; test metrics where the scores agree.

    Other scores are another model's, and what they come to on the test labels is not told: that would be one more
    look at them, which no ledger has.

    Args:
        chosen: a final that has ended.
        again: what it came to again.
        folder: where it left its scores.
        tolerance: how far two numbers may lie apart; 0 is bitwise.
    """
    before = chosen.result
    found = _all("", before.metrics, again.metrics, tolerance)
    for name in ("examples_seen", "best_epoch"):
        found.append(compared(name, float(getattr(before, name)), float(getattr(again, name)), 0.0))
    rows, scores = read_scores(folder / SCORES_FILE)
    threshold = again.metrics.get("dev/threshold", math.nan)
    return [*found, *_of_scores(chosen, rows, scores, threshold, tolerance)]


def _of_scores(
    chosen: Chosen,
    rows: Int[np.ndarray, " n"],
    scores: Float[np.ndarray, "n L"],
    threshold: float,
    tolerance: float,
) -> Iterator[Compared]:
    """The scores, by the number of rows and the largest distance; and the test metrics of scores that agree."""
    slot = chosen.slot
    if slot.predictions.exists():
        predictions = read_predictions(slot.predictions)
        ids, expected = predictions.ids, predictions.scores
    else:
        predictions = None
        ids, expected = read_scores(slot.folder / SCORES_FILE)
    yield compared("test inputs", float(len(ids)), float(len(rows)), 0.0)
    if scores.shape != expected.shape or not np.array_equal(ids, rows):
        yield Compared("test scores", None, None, agrees=False)
        return
    apart = float(np.abs(scores - expected).max(initial=0.0))
    agree = apart <= tolerance
    yield Compared("test scores: largest distance", 0.0, apart, agree)
    if agree and predictions is not None and not math.isnan(threshold):
        now = replace(predictions, scores=scores, threshold=threshold).metrics()
        yield from _all("test/", predictions.metrics(), now, tolerance)


def _all(
    prefix: str, before: Mapping[str, float], now: Mapping[str, float], tolerance: float
) -> list[Compared]:
    names = sorted(name for name in before.keys() | now.keys() if name != WALL_CLOCK)
    return [compared(f"{prefix}{name}", before.get(name), now.get(name), tolerance) for name in names]


def compared(what: str, recorded: float | None, again: float | None, tolerance: float) -> Compared:
    """One number beside the other; what is no number agrees with what is none either."""
    if recorded is None or again is None:
        return Compared(what, recorded, again, agrees=recorded is again)
    same = recorded == again or (math.isnan(recorded) and math.isnan(again))
    return Compared(what, recorded, again, same or abs(recorded - again) <= tolerance)


def agreement_text(found: list[Compared], most: int = 60) -> str:
    """The table: of a long one first what differs, then the last numbers."""
    shown = found if len(found) <= most else [row for row in found if not row.agrees][:most] or found[-most:]
    lines: list[dict[str, Any]] = [
        {
            "what": row.what,
            "recorded": _exact(row.recorded),
            "again": _exact(row.again),
            "difference": row.difference,
            "agrees": "yes" if row.agrees else "no",
        }
        for row in shown
    ]
    left = len(found) - len(shown)
    return text_table(lines, _COLUMNS) + (f"\n... and {left} more numbers" if left else "")


def _exact(value: float | None) -> str | None:
    """A number with all its digits: what is not bitwise the same looks different."""
    return (
        None
        if value is None
        else repr(int(value) if value == int(value) else value)
        if math.isfinite(value)
        else str(value)
    )


def environment_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two environments, one line each: what was not written down does not count.

    Args:
        before, now: as ``record.environment`` makes them.
    """
    found = []
    for name, old in before.items():
        if name in ("study", "overrides", "own_data") or name not in now:
            continue
        if isinstance(old, Mapping):
            found += [
                f"{part} {was} → {now[name].get(part)}"
                for part, was in old.items()
                if now[name].get(part) != was
            ]
        elif now[name] != old:
            found.append(f"{name.replace('_', ' ')} {old} → {now[name]}")
    return found
