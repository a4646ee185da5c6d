"""What jobs leave that nobody reads again: an ended one is not gone on with, so its state may go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from sdl_study.record.files import BEST, LAST, StudyFiles
from sdl_study.record.finals import FinalSlot
from sdl_study.record.outcome import Failure, read_outcome
from sdl_study.record.trials import TrialRecord


class Leftovers:
    """Removes the checkpoints of trials that have ended, pruned and failed ones too (finals train again), of repeats
    that have ended, and of finals that were scored, whose weights stand beside them as the encoder that is handed out.

    Args:
        files: of the study.
    """

    def __init__(self, files: StudyFiles) -> None:
        self._files = files

    def started(self, record: TrialRecord) -> None:
        """A trial starts: it needs what it left."""

    def epoch(self, record: TrialRecord, epoch: int) -> None:
        """A trial finished an epoch: it goes on from there."""

    def ended(self, record: TrialRecord) -> None:
        """A trial ended."""
        _remove(self._files.trial(record.number))

    def repeats(self, folders: Iterable[Path]) -> None:
        """Those of the selection that have an outcome, by their folders."""
        for folder in folders:
            if read_outcome(folder) is not None:
                _remove(folder)

    def finals(self, slots: Sequence[FinalSlot]) -> None:
        """Those that have failed by themselves, or were scored and are no start of a fine-tuning, which may be
        reproduced from there."""
        starts = {slot.start for slot in slots}
        for slot in slots:
            done = slot.predictions.exists() or isinstance(read_outcome(slot.folder), Failure)
            if done and slot.folder not in starts:
                _remove(slot.folder)


def _remove(folder: Path) -> None:
    for name in (LAST, BEST):
        (folder / name).unlink(missing_ok=True)
