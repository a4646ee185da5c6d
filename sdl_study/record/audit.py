"""What in a study's folder does not fit the rest: half files, orphans, finals without scores, a ledger that differs.

Everything is only read. While a driver runs, what it is at may look half done, and is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from sdl_study.evaluation.predictions import FinalIdentity
from sdl_study.record.dataset import DatasetRecord
from sdl_study.record.files import BEST, LAST, StudyFiles
from sdl_study.record.outcome import RESULT_FILE, Failure, Result
from sdl_study.record.reading import FinalRecord, StudyRecord
from sdl_study.record.trials import TrialRecord

_FOLDERS = {"trials", "selection", "finals"}
_SUPERSEDED = re.compile(r"declaration-superseded-([0-9a-f]{12})\.json")
_HALF = ".*.partial"
_SHORT = 12
"""Characters of a declaration's SHA-256 that name its folder of finals."""


def folder_findings(study: StudyRecord, running: bool) -> Iterator[str]:
    """A line for everything in the folder that does not belong there, or that is missing.

    Args:
        study: as its folder has it.
        running: whether a driver works on it now.
    """
    files = study.files
    if not running:
        for path in sorted(files.folder.rglob(_HALF)):
            yield f"{_shown(files, path)}: half written; whoever wrote it was killed, it can be removed"
    yield from _unknown_at_top(files)
    yield from _trial_folders(files, study.trials)
    yield from _final_folders(study)


def _shown(files: StudyFiles, path: Path) -> str:
    return str(path.relative_to(files.folder))


def _unknown_at_top(files: StudyFiles) -> Iterator[str]:
    known = {
        files.lock, files.journal, files.study_json, files.declaration, files.answer, files.leaderboard,
        files.environment, files.page, files.storage, files.ledger, *(files.folder / name for name in _FOLDERS),
    }  # fmt: skip
    for path in sorted(files.folder.iterdir()):
        if path not in known and not _SUPERSEDED.fullmatch(path.name) and not path.match(_HALF):
            yield f"{path.name}: not of a study"


def _trial_folders(files: StudyFiles, trials: Sequence[TrialRecord]) -> Iterator[str]:
    ended = {files.trial(trial.number): trial.state != "running" for trial in trials}
    for folder in _inside(files.folder / "trials"):
        if folder not in ended:
            yield f"{_shown(files, folder)}: the journal has no such trial"
        elif ended[folder]:
            for name in (LAST, BEST):
                if (folder / name).exists():
                    yield f"{_shown(files, folder)}/{name}: a checkpoint of a trial that has ended"
    numbers = {f"{trial.number:04d}" for trial in trials}
    for folder in _inside(files.folder / "selection"):
        if folder.name.partition("-")[0] not in numbers:
            yield f"{_shown(files, folder)}: the journal has no such trial"


def _final_folders(study: StudyRecord) -> Iterator[str]:
    files, declared = study.files, study.declaration
    known = {found[1] for path in _inside(files.folder) if (found := _SUPERSEDED.fullmatch(path.name))}
    known |= set() if declared is None else {declared.sha[:_SHORT]}
    for folder in _inside(files.folder / "finals"):
        if folder.name not in known:
            yield f"{_shown(files, folder)}: finals of no declaration that is here"
    if declared is None:
        return
    promised = {final.slot.folder for final in study.finals}
    parents = {final.slot.folder.parent for final in study.finals}
    for parent in sorted(parents):
        for folder in _inside(parent):
            if folder not in promised | parents:
                yield f"{_shown(files, folder)}: the declaration promises no such final"


def _inside(folder: Path) -> list[Path]:
    """What lies in a folder, by name; nothing where there is none."""
    return sorted(folder.iterdir()) if folder.is_dir() else []


def final_findings(study: StudyRecord, running: bool) -> Iterator[str]:
    """A line for every final that has a part of what one leaves and not the rest.

    Args:
        study: as its folder has it.
        running: whether a driver works on it now, which scores finals when all have run.
    """
    for final in study.finals:
        name = _name(final)
        if final.outcome is None and (final.slot.folder / RESULT_FILE).exists():
            yield f"{name}: has a result without scores; the study's command runs it again"
        elif final.outcome is None and study.answer is not None:
            yield f"{name}: has no result, and there is an answer"
        elif isinstance(final.outcome, Result) and not final.slot.predictions.exists() and study.answer:
            yield f"{name}: was not scored, and there is an answer"
        elif final.outcome is None and final.slot.predictions.exists() and not running:
            yield f"{name}: has predictions without a result"


def _name(final: FinalRecord) -> str:
    slot = final.slot
    return f"{slot.role} {slot.name} {slot.stage} seed {slot.seed_number}"


def ledger_findings(study: StudyRecord, dataset: DatasetRecord, running: bool) -> Iterator[str]:
    """A line for every final whose openings of the test labels are not one, as the data's ledger has them.

    Args:
        study: as its folder has it.
        dataset: that it read.
        running: whether a driver works on it now; a line comes before the predictions do.
    """
    if study.declaration is None:
        return
    lines = [
        line
        for line in dataset.ledger
        if line.identity.study == study.files.name
        and line.declaration == study.declaration.sha
        and line.fingerprint == study.identity.get("data_fingerprint")
    ]
    openings = Counter(line.identity for line in lines)
    for final in study.finals:
        slot = final.slot
        identity = FinalIdentity(study.files.name, slot.name, slot.stage, slot.seed_number, slot.role)
        count, scored = openings.pop(identity, 0), slot.predictions.exists()
        if scored and not count:
            yield f"{_name(final)}: was scored, and the ledger has no line of it"
        elif count > 1:
            yield f"{_name(final)}: the ledger has {count} openings of the test labels for it"
        elif count and not scored and not running and not isinstance(final.outcome, Failure):
            yield f"{_name(final)}: the ledger has a line of it, and it has no predictions"
    for identity in openings:
        yield f"ledger: {identity.role} {identity.arm} {identity.stage} seed {identity.seed_number} is not declared"
