"""Every trial, best first within its arm, with failures and their reasons."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sdl_study.record.trials import leaderboard
from sdl_study.report.page.card import Card, absent
from sdl_study.report.page.frames import StudyFrames, counted
from sdl_study.stages import PROBE

if TYPE_CHECKING:
    import polars as pl

KEY, TITLE = "trials", "Trials"


def frame(study: StudyFrames) -> pl.DataFrame:
    """The rows of leaderboard.csv; columns without any value are left out."""
    import polars as pl

    rows = leaderboard(list(study.record.trials))
    columns = {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
    return pl.DataFrame({
        name: pl.Series(values, strict=False) if _one_kind(values) else [None if v is None else str(v) for v in values]
        for name, values in columns.items()
        if any(value is not None for value in values)
    })  # fmt: skip


def _one_kind(values: list[object]) -> bool:
    kinds = {type(value) for value in values if value is not None}
    return len(kinds) == 1 or kinds == {int, float}


def card(study: StudyFrames) -> Card:
    """The table of all trials, and what failed."""
    trials = study.record.trials
    if not trials:
        return absent(KEY, TITLE, "No trial has been asked yet.")
    states = Counter(trial.state for trial in trials)
    sentence = (
        f"{counted(len(trials), 'trial')}: "
        + ", ".join(f"{count} {state}" for state, count in states.most_common())
        + "."
    )
    reasons = Counter(
        (t.failure or "unknown", t.reason or "no reason kept") for t in trials if t.state == "failed"
    )
    lines = [f"failed {count} times by {kind}: {reason}" for (kind, reason), count in reasons.most_common()]
    lines += [
        f"trial {t.number} needed {t.attempts} attempts: the machine failed under it"
        for t in trials
        if t.attempts > 1
    ]
    failed = study.finals.filter(study.finals["state"] == "failed")
    lines += [
        f"{role} of {name}{'' if stage == PROBE else f' ({stage})'}, seed {seed}, failed: {reason}"
        for name, role, stage, seed, reason in failed.select(
            "name", "role", "stage", "seed", "reason"
        ).iter_rows()
    ]
    note = f"n = {len(trials)} trials, one seed each; objective: best {study.objective} over the epochs; no test."
    formats = {"objective": ".4f", "seconds": ",.1f", **_of_parameters(study)}
    return Card(KEY, TITLE, sentence, frame(study), (), note, lines, formats=formats)


def _of_parameters(study: StudyFrames) -> dict[str, str]:
    return dict.fromkeys(study.record.identity["space"]["parameters"], ".4g")
