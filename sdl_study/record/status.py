"""How far a study is, from its folder alone: what ``status`` shows while it runs and after; nothing is written."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any, Literal

from sdl_study.budget import HOUR, BudgetSettings, Spent
from sdl_study.errors import UserError
from sdl_study.record.answer import Answer, read_answer
from sdl_study.record.declaration import Declaration, read_declaration
from sdl_study.record.files import StudyFiles
from sdl_study.record.finals import final_slots
from sdl_study.record.holder import Held, look_at
from sdl_study.record.identity import read_identity
from sdl_study.record.journal import read
from sdl_study.record.outcome import Failure, read_outcome
from sdl_study.record.pace import Pace, seconds_of_finals
from sdl_study.record.trials import TrialRecord, spent_on
from sdl_study.stages import FINETUNE

State = Literal["running", "finished", "interrupted", "unreadable"]
_BLOCK = 512  # bytes, whatever the file system's own


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is.

    Attributes:
        name: of the study.
        state: interrupted of one that is not at its end and that nobody runs.
        held: who runs it, or ran it last and did not end in order.
        arms, wanted: how many arms it has, how many trials each of them shall have.
        counts: trials by state.
        ended: trials that count towards the wanted ones: those that the machine ended are asked anew.
        best: the trial that is best on dev.
        finals: how many have ended, and how many are declared; None before the declaration.
        verdict: the word; None before there is one.
        seconds: of all trials' training and probing.
        seconds_left: of the search and the declared finals, as many at a time as now; None where nothing tells.
        disk: bytes of the study's folder.
        reason: why it cannot be read.
        budget, spent: of the search: its limits, and what it has had.
    """

    name: str
    state: State
    held: Held
    arms: int = 0
    wanted: int = 0
    counts: Mapping[str, int] | None = None
    ended: int = 0
    best: TrialRecord | None = None
    finals: tuple[int, int] | None = None
    verdict: str | None = None
    seconds: float = 0.0
    seconds_left: float | None = None
    disk: int = 0
    reason: str | None = None
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    spent: Spent = field(default_factory=lambda: Spent(0))

    def to_dict(self, now: datetime) -> dict[str, Any]:
        """Plain data for machines; a key that is here stays."""
        counts, by, best = self.counts or {}, self.held.by, self.best
        running = self.state == "running"
        return {
            "name": self.name,
            "state": self.state,
            "host": None if by is None else by.host,
            "pid": None if by is None else by.pid,
            "since": None if by is None else by.since,
            "arms": self.arms,
            "trials_per_arm": self.wanted,
            "trials": {name: counts.get(name, 0) for name in ("complete", "pruned", "failed", "running")},
            "best": None
            if best is None
            else {"objective": best.objective, "trial": best.number, "arm": best.arm},
            "finals": None
            if self.finals is None
            else dict(zip(("done", "planned"), self.finals, strict=True)),
            "verdict": self.verdict,
            "seconds_running": by.seconds(now) if running and by is not None else None,
            "seconds_of_trials": self.seconds,
            "seconds_left": self.seconds_left,
            "hours": _used(self.spent.seconds, self.budget.hours),
            "gpu_hours": _used(self.spent.gpu_seconds, self.budget.gpu_hours),
            "search_ended_by": self.budget.ended_by(self.spent) if self.arms else None,
            "disk_bytes": self.disk,
            "reason": self.reason,
        }


def _used(seconds: float, limit: float | None) -> dict[str, float | None]:
    return {"used": seconds / HOUR, "budget": limit}


def find_studies(out: Path) -> list[StudyFiles]:
    """The studies below a folder, by name."""
    if not out.is_dir():
        return []
    own = [
        StudyFiles(out, path.name)
        for path in sorted(out.iterdir())
        if path.is_dir() and not path.name.startswith(".")  # a study on its way from a storage
    ]
    return [files for files in own if files.study_json.exists() or files.journal.exists()]


def status_of(files: StudyFiles) -> StudyStatus:
    """How far a study is; one that cannot be read has the reason in one line."""
    held = Held(False, None)
    try:
        held = look_at(files)
        return _status(files, held)
    except UserError as error:
        reason = " ".join(str(error).split())
        state: State = "running" if held.held else "unreadable"
        return StudyStatus(files.name, state, held, disk=disk_bytes(files.folder), reason=reason)


def _status(files: StudyFiles, held: Held) -> StudyStatus:
    identity = read_identity(files.study_json)
    settings, arms = identity["settings"], len(identity["arms"])
    budget = BudgetSettings(**settings["budget"])
    wanted, journal = budget.trials, read(files.journal)
    trials = journal.all()
    searches = product([arm["name"] for arm in identity["arms"]], range(budget.searches))
    spent = spent_on(trials, searches, journal.seconds)
    declaration = read_declaration(files)
    answer = _answer(files, declaration)
    finals = None if declaration is None else _finals(files, declaration)
    counts = Counter(trial.state for trial in trials)
    pace = Pace(trials)
    ended = budget.ended_by(spent) is not None and not counts["running"]
    done = answer is not None and ended
    state: State = "running" if held.held else "finished" if done else "interrupted"
    search = pace.seconds_left(pace.ended if ended else arms * wanted)
    left = None if done else _seconds_left(trials, search, arms, settings, finals)
    scored = [trial for trial in trials if trial.objective is not None and trial.state != "failed"]
    return StudyStatus(
        name=files.name,
        state=state,
        held=held,
        arms=arms,
        wanted=wanted,
        counts=counts,
        ended=pace.ended,
        best=max(scored, key=lambda trial: trial.objective or 0.0, default=None),
        finals=finals,
        verdict=None if answer is None else _word(answer),
        seconds=sum(trial.seconds for trial in trials),
        seconds_left=None if left is None else left / max(1, counts["running"]),
        disk=disk_bytes(files.folder),
        budget=budget,
        spent=spent,
    )


def _answer(files: StudyFiles, declaration: Declaration | None) -> Answer | None:
    """The answer under the declaration in force."""
    if declaration is None or not files.answer.exists():
        return None
    answer = read_answer(files.answer)
    return answer if answer.declaration == declaration.sha else None


def _finals(files: StudyFiles, declaration: Declaration) -> tuple[int, int]:
    """How many finals and controls have ended, scored or failed by themselves, of how many."""
    slots = final_slots(files, declaration)
    outcomes = [(slot, read_outcome(slot.folder)) for slot in slots]
    done = [
        slot
        for slot, outcome in outcomes
        if isinstance(outcome, Failure) or (outcome is not None and slot.predictions.exists())
    ]
    return len(done), len(slots)


def _word(answer: Answer) -> str:
    if answer.exploratory:
        return "exploratory"
    return "no verdict" if answer.primary is None else answer.primary.word


def _seconds_left(
    trials: list[TrialRecord],
    search: float | None,
    arms: int,
    settings: Mapping[str, Any],
    finals: tuple[int, int] | None,
) -> float | None:
    """Of the search, and of the finals where their number is declared or set."""
    if finals is None:
        seeds = settings["budget"]["final_seeds"]
        to_run = arms * settings["budget"]["searches"] * seeds if isinstance(seeds, int) else 0
    else:
        to_run = finals[1] - finals[0]
    epochs = settings["train"]["epochs"] + settings["finetune"]["epochs"] * (FINETUNE in settings["stages"])
    last = seconds_of_finals(trials, epochs, to_run)
    return None if search is None or last is None else search + last


def disk_bytes(folder: Path) -> int:
    """What a folder takes of the disk; a file that goes away meanwhile counts nothing."""
    return sum(_blocks(folder))


def _blocks(folder: Path) -> Iterator[int]:
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                yield (Path(parent) / name).lstat().st_blocks * _BLOCK
            except FileNotFoundError:
                continue
