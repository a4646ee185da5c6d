"""MLflow while trials run: brought up to the journal as far as it takes what it is told; trials never wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable

from sdl_study.record.trials import TrialRecord
from sdl_study.study.plan import Plan
from sdl_study.study.publish import trial_run
from sdl_study.tracking import TRACKING_ERRORS, Tracker, error_name

_PAUSE_SECONDS = 30.0
"""After an error MLflow is left alone for so long: a server that is away answers slowly."""


class TrialPublisher:
    """Brings MLflow up to the journal whenever something happens to a trial (an ``Observer`` of the search).

    What MLflow does not take it is told again: after a pause, at the end of the search, and by the next command.

    Args:
        tracker: of the study.
        plan: the study.
        say: prints a line.

    Attributes:
        errors: how often MLflow did not take something.
    """

    def __init__(self, tracker: Tracker, plan: Plan, say: Callable[[str], None]) -> None:
        self._tracker, self._plan, self._say = tracker, plan, say
        self._arms = {arm.name: arm for arm in plan.arms}
        self._owed: dict[int, TrialRecord] = {}
        self._failing_since: int | None = None
        self._not_before = 0.0
        self.errors = 0

    def tell(self, record: TrialRecord) -> None:
        """Write what MLflow does not have of a trial yet, and what it is owed of others, unless it is left alone."""
        self._owed[record.number] = record
        if time.monotonic() >= self._not_before:
            self._pay()

    def started(self, record: TrialRecord) -> None:
        """A trial starts."""
        self.tell(record)

    def epoch(self, record: TrialRecord, epoch: int) -> None:
        """A trial finished an epoch."""
        self.tell(record)

    def ended(self, record: TrialRecord) -> None:
        """A trial ended."""
        self.tell(record)

    def settle(self) -> None:
        """Tell MLflow all that it is owed, whether it is left alone or not; what it does not take, the next command
        tells."""
        if self._owed or self._failing_since is not None:
            self._pay()
        if self._owed:
            self._say(
                f"MLflow was told {self.errors} times in vain and lacks {len(self._owed)} trials; the journal has "
                "them, and the same command brings MLflow up to it"
            )

    def reopen_parent(self) -> None:
        """Say on the parent run that the study goes on, as far as MLflow takes it."""
        self._attempt(self._tracker.reopen_parent)

    def _pay(self) -> None:
        if self._attempt(self._bring_up) and self._failing_since is not None:
            failed = self.errors - self._failing_since
            self._failing_since = None
            self._say(f"MLflow takes runs again, after {failed} errors; it was brought up to the journal")

    def _bring_up(self) -> None:
        if self._failing_since is not None:
            self._tracker.reread()
        for number in sorted(self._owed):
            record = self._owed[number]
            self._tracker.trial(trial_run(record, self._arms[record.arm], self._plan))
            del self._owed[number]

    def _attempt(self, call: Callable[[], None]) -> bool:
        """Whether MLflow took it; the first error after it took something is told."""
        try:
            call()
        except TRACKING_ERRORS as error:
            if self._failing_since is None:
                self._failing_since = self.errors
                self._say(
                    f"MLflow does not take what it is told ({error_name(error)}); the trials go on, and it is brought "
                    "up to the journal later"
                )
            self.errors += 1
            self._not_before = time.monotonic() + _PAUSE_SECONDS
            return False
        return True
