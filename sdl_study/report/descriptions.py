"""Descriptions of a study and its runs in Markdown, as MLflow shows them beside their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sdl_study.record.answer import Answer
from sdl_study.record.finals import Final
from sdl_study.record.rows import Row
from sdl_study.record.trials import TrialRecord
from sdl_study.report.cards.answer import headline
from sdl_study.report.cards.reproduce import start_command
from sdl_study.report.names import setting_name
from sdl_study.report.page.frames import StudyFrames, counted
from sdl_study.report.sentences import controls_sentence

_PROGRAM = "python -m sdl_study.run"


def opening_note(name: str, arms: Sequence[str], objective: str, environment: Mapping[str, Any]) -> str:
    """Of a study that begins: what it is, and the command that goes on with it."""
    return "\n\n".join([_what(name, arms, objective), "No answer yet.", _commands(name, environment)])


def study_note(study: StudyFrames, page: str) -> str:
    """Of a study that came to something: what it is, the answer, its table, the page, the commands.

    Args:
        study: as its folder has it.
        page: name of the artifact that is its page.
    """
    answer = study.record.answer
    parts = [_what(study.name, study.arms, study.objective), f"**Answer:** {headline(study)}"]
    if answer is not None:
        parts += [sentence for sentence in (controls_sentence(answer),) if sentence is not None]
        parts.append(_table(answer))
    parts.append(f"The study page, with every figure, is the artifact `{page}` of this run.")
    environments = study.record.environments
    parts.append(_commands(study.name, environments[-1] if environments else None))
    return "\n\n".join(parts)


def _what(name: str, arms: Sequence[str], objective: str) -> str:
    return (
        f"**{name}** compares {counted(len(arms), 'arm')}: {', '.join(f'`{arm}`' for arm in arms)}. Runs below it: "
        f"trials, one setting of an arm each, searched by `{objective}` on dev (tag `sdl.role` = `trial`); finals, an "
        "arm's winner on fresh seeds, scored once on test (`final`); what the arms have to beat (`control`)."
    )


def _commands(name: str, environment: Mapping[str, Any] | None) -> str:
    """How it is made or continued, and how its page is built; the folder of the data is the reader's own."""
    lines = [] if environment is None else [start_command(name, environment)]
    return "\n".join(["```", *lines, f"{_PROGRAM} report {name}", "```"])


def _table(answer: Answer) -> str:
    """One row per arm and control, after the stage of the verdict."""
    head = f"| arm | encoder | τ | dev | test {answer.metric} | ± |\n|---|---|---|---|---|---|"
    return "\n".join([head, *(_row(row) for row in answer.table)])


def _row(row: Row) -> str:
    name = row.name if row.role == "final" else f"{row.name} (control)"
    numbers = ((row.temperature, ".3f"), (row.dev, ".4f"), (row.test, ".4f"), (row.spread, ".4f"))
    cells = [name, row.encoder or "–", *("–" if value is None else format(value, f) for value, f in numbers)]
    return f"| {' | '.join(cells)} |"


def trial_note(study: str, record: TrialRecord, objective: str) -> str:
    """Of a trial: what was tried, how it was proposed, what it came to."""
    what = (
        f"**Trial {record.number} of {study}**: `{setting_name(record.arm, record.parameters)}`, proposed by "
        f"{record.sampled_by}; trained on train, judged on dev, test data are not touched."
    )
    again = [] if record.objective is None else [f"```\n{_PROGRAM} reproduce {study}/{record.number}\n```"]
    return "\n\n".join([what, _came_to(record, objective), *again])


def _came_to(record: TrialRecord, objective: str) -> str:
    epochs = counted(len(record.epochs), "epoch")
    if record.state == "running":
        return "Running."
    if record.state == "failed":
        return f"Failed after {epochs}: {record.reason}"
    if record.objective is None:
        return f"{record.state.capitalize()} after {epochs}."
    return (
        f"{record.state.capitalize()} after {epochs} in {record.seconds:.1f} s: `{objective}` {record.objective:.4f}, "
        f"best at epoch {record.best_epoch}."
    )


def final_note(study: str, final: Final) -> str:
    """Of a final or control: whose it is, on which seed, and that its test labels were opened once."""
    slot = final.slot
    kind = "the arm's winner, trained again" if final.role == "final" else "what the arms have to beat"
    test = "its test inputs were scored once" if final.failure is None else f"failed: {final.failure}"
    return (
        f"**{final.role.capitalize()} of {study}**: `{setting_name(final.name, slot.parameters)}`, {kind} on seed "
        f"{slot.seed_number}, after the last stage {slot.stage}; {test}."
    )
