"""The answer of a study as it is printed: a table, then the verdict in words."""

from __future__ import annotations

from collections.abc import Sequence

from sdl_study.evaluation.verdict import Comparison
from sdl_study.record.answer import Answer
from sdl_study.record.rows import Row
from sdl_study.record.trials import TrialRecord, leaderboard
from sdl_study.report.sentences import (
    aa_sentence,
    contrast_name,
    controls_sentence,
    failed_sentence,
    findings,
    not_covered_sentence,
    verdict_sentence,
)
from sdl_study.report.tables import text_table

_COLUMNS = {
    "arm": "", "encoder": "", "τ": ".3f", "dev": ".4f", "dev of finals": ".4f", "test": ".4f", "±": ".4f",
    "seconds": ".1f", "remarks": "",
}  # fmt: skip
_BOARD = {
    "trial": "", "arm": "", "search": "", "state": "", "objective": ".4f", "best_epoch": "", "epochs": "",
    "sampled_by": "", "reason": "",
}  # fmt: skip


def answer_text(answer: Answer) -> str:
    """Where the best arm stands among the controls, the table, what is to be known of the arms, and the verdict."""
    counted = "" if answer.objective_labels is None else f" ({answer.objective_labels} labels)"
    head = (
        f"{answer.study}: dev {answer.objective.removeprefix('dev/')}{counted} of the chosen trial, "
        f"test {answer.metric} ({answer.stage}, mean and deviation of the finals), seconds of trials and finals"
    )
    first = controls_sentence(answer)
    lines = [] if first is None else [first]
    lines += [head, _table(answer.table)]
    for other in answer.others:
        lines += [
            f"{answer.study}: test {answer.metric} ({other.stage}), another table:",
            _table(other.table),
        ]
    lines += [*answer.seen, *findings(answer)]
    lines += [failed_sentence(failed) for failed in answer.failed]
    if answer.exploratory:
        lines.append(
            "exploratory, without a verdict: test data of this study had been scored before the search ended "
            f"(declaration {', '.join(sha[:12] for sha in answer.exploratory)})"
        )
    if answer.primary is not None:
        lines.append(f"primary contrast: {_worded(answer, answer.primary)}")
    if answer.aa is not None:
        lines.append(_worded(answer, answer.aa) if answer.exploratory else aa_sentence(answer.aa))
    lines += [f"secondary: {_worded(answer, contrast)}" for contrast in answer.secondary]
    lines += [f"one arm under two names: {_worded(answer, contrast)}" for contrast in answer.twins]
    if (limit := not_covered_sentence(answer)) is not None:
        lines.append(limit)
    if answer.no_verdict:
        lines.append(f"no verdict: {answer.no_verdict}")
    lines += answer.published
    return "\n".join(lines)


def _table(table: Sequence[Row]) -> str:
    """The rows, without the columns that may be empty and are: the deviation of one final, dev after fine-tuning."""
    rows = [_shown(row) for row in table]
    rare = {"±", "dev"}
    columns = {
        name: form
        for name, form in _COLUMNS.items()
        if name not in rare or any(row[name] is not None for row in rows)
    }
    return text_table(rows, columns)


def _shown(row: Row) -> dict[str, str | float | None]:
    return {
        "arm": row.name if row.role == "final" else f"{row.name} (control)",
        "encoder": row.encoder,
        "τ": row.temperature,
        "dev": row.dev,
        "dev of finals": row.dev_of_finals,
        "test": row.test,
        "±": row.spread,
        "seconds": row.seconds,
        "remarks": _remarks(row),
    }


def _remarks(row: Row) -> str | None:
    """The findings about an arm in few words; the sentences below the table say more."""
    words = [] if row.could_learn else ["cannot learn"]
    words += ["rising"] if row.convergence is not None and row.convergence.rising else []
    words += ["edge"] if row.edges else []
    return ", ".join(words) or None


def _worded(answer: Answer, contrast: Comparison) -> str:
    if not answer.exploratory:
        return verdict_sentence(contrast, answer.rising, answer.unable)
    return f"{contrast_name(contrast)}: {contrast.difference:+.4f}, exploratory"


def trials_text(trials: Sequence[TrialRecord], objective: str) -> str:
    """Every trial, best first within its arm, with the reasons of those that failed."""
    if not trials:
        return "no trial yet"
    rows = leaderboard(list(trials))
    columns = {
        name: form
        for name, form in _BOARD.items()
        if name in rows[0] and (name != "reason" or any(row[name] for row in rows))
    }
    return f"trials, {objective}:\n{text_table(rows, columns)}"
