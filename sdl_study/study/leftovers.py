"""What trials leave that nobody reads again: an ended one is not gone on with, so its state may go."""

from __future__ import annotations

from sdl_study.record.files import BEST, LAST, StudyFiles
from sdl_study.record.trials import TrialRecord


class Leftovers:
    """Removes the checkpoints of trials that have ended, pruned and failed ones too; finals train again.

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
        for name in (LAST, BEST):
            (self._files.trial(record.number) / name).unlink(missing_ok=True)
