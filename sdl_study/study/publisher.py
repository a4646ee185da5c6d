"""MLflow while trials run: brought up to the journal as far as it takes what it is told; trials never wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sdl_study.record.trials import TrialRecord
from sdl_study.study.plan import Plan
from sdl_study.study.publish import trial_run
from sdl_study.tracking import TRACKING_ERRORS, Tracker, error_name

_PAUSE_SECONDS = 30.0
"""After an error MLflow is left alone for so long: a server that is away answers slowly."""
_TOGETHER_SECONDS = 1.0
"""What is told within so long is written together: many short epochs cost little more than one."""
_ENDING_SECONDS = 3.0
"""How long a command that ends early waits for MLflow, each time; what is not written then, the next one writes."""


class TrialPublisher:
    """Brings MLflow up to the journal whenever something happens to a trial (an ``Observer`` of the search).

    What MLflow does not take it is told again: after a pause, at the end of the search, and by the next command. What
    is told is written at once, or, ``in_background``, by a thread of its own.

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
        self._owing = threading.Lock()
        self._failing_since: int | None = None
        self._not_before = 0.0
        self._writer: threading.Thread | None = None
        self._told, self._leaving = threading.Event(), threading.Event()
        self._mistake: Exception | None = None
        self.errors = 0

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """Inside the block trials do not wait for what they tell; at its end it is written."""
        self._leaving.clear()
        self._writer = threading.Thread(target=self._write, name="mlflow-writer", daemon=True)
        self._writer.start()
        seconds: float | None = _ENDING_SECONDS
        try:
            yield
            seconds = None
        finally:
            self._leaving.set()
            self._told.set()
            self._writer.join(seconds)
            self._writer = None
        self._raise_mistake()

    def _write(self) -> None:
        try:
            last = False
            while not last:
                self._told.wait()
                self._told.clear()
                last = self._leaving.is_set()
                self._pay_in_time()
                self._leaving.wait(_TOGETHER_SECONDS)
        except Exception as mistake:  # noqa: BLE001 (the thread that tells raises it)
            self._mistake = mistake

    def _raise_mistake(self) -> None:
        mistake, self._mistake = self._mistake, None
        if mistake is not None:
            raise mistake

    def tell(self, record: TrialRecord) -> None:
        """Write what MLflow does not have of a trial yet, and what it is owed of others, unless it is left alone."""
        with self._owing:
            self._owed[record.number] = record
        if self._writer is None:
            self._pay_in_time()
        else:
            self._raise_mistake()
            self._told.set()

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

    def end_parent(self, status: str) -> None:
        """End the parent run without an answer ("KILLED"), if MLflow takes that in time."""
        ending = threading.Thread(target=self._tracker.end_parent, args=(status,), daemon=True)
        ending.start()
        ending.join(_ENDING_SECONDS)

    def _pay_in_time(self) -> None:
        if self._owed and time.monotonic() >= self._not_before:
            self._pay()

    def _pay(self) -> None:
        if self._attempt(self._bring_up) and self._failing_since is not None:
            failed = self.errors - self._failing_since
            self._failing_since = None
            self._say(f"MLflow takes runs again, after {failed} errors; it was brought up to the journal")

    def _bring_up(self) -> None:
        if self._failing_since is not None:
            self._tracker.reread()
        with self._owing:
            owed = sorted(self._owed.values(), key=lambda record: record.number)
        for record in owed:
            self._tracker.trial(trial_run(record, self._arms[record.arm], self._plan))
            with self._owing:
                if self._owed.get(record.number) is record:  # else something happened to it meanwhile
                    del self._owed[record.number]

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
