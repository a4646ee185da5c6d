"""Progress lines: one per event of a trial, with a live total and an estimate of the time that is left.

No text of the data ever appears here.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from sdl_study.arms import Arm
from sdl_study.budget import BudgetSettings, Spent
from sdl_study.record.pace import Pace
from sdl_study.record.trials import TrialRecord
from sdl_study.report.names import trial_name
from sdl_study.report.status import duration
from sdl_study.workers.events import Epoch, Event, Failed

_COLLAPSED = 0.999  # mean cosine: an untrained BERT has .97
_COLLAPSED_OUTPUTS = 0.9  # of studies with train.collapse_of=outputs
_NAME_WIDTH = 36


class Lines:
    """Prints lines that start with a name and the time since the first.

    Args:
        name: of a study, or of what several share.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._started = time.monotonic()
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """One line."""
        with self._lock:
            sys.stdout.write(f"{self._name}  {_clock(time.monotonic() - self._started)}  {text}\n")
            sys.stdout.flush()


class Progress(Lines):
    """Prints the lines of one study.

    Args:
        study: its name, which starts every line.
        objective: the dev metric that is shown.
        trials: number of trials that the search will have.
        epochs: of a trial whose length is not searched.
        arms: the study's; a collapse is told of the contrastive ones, whose loss shapes the space.
        budget: limits of time that may end the search before.

    Attributes:
        spent: what the search has had so far.
    """

    def __init__(
        self, study: str, objective: str, trials: int, epochs: int, arms: Iterable[Arm],
        budget: BudgetSettings | None = None,
    ) -> None:  # fmt: skip
        super().__init__(study)
        self._budget = budget or BudgetSettings()
        self.spent: Callable[[], Spent] = lambda: Spent(0)
        self._objective, self._trials, self._epochs = objective, trials, epochs
        self._contrastive = {arm.name for arm in arms if arm.contrasts}
        self._ended = 0
        self._pace = Pace()
        self._searching: float | None = None
        self._done = 0.0

    def count(self, records: Iterable[TrialRecord]) -> None:
        """The trials from before this command."""
        for record in records:
            self._pace.tell(record)
            self._ended += record.state != "running"

    def started(self, record: TrialRecord) -> None:
        """A trial starts; its first line is that of its first epoch."""
        self._pace.tell(record)

    def epoch(self, record: TrialRecord, epoch: int) -> None:
        """A trial finished an epoch."""
        metrics = record.epochs[epoch]
        self._pace.tell(record)
        seconds = metrics.get("seconds", 0.0)
        self._done += seconds
        if self._searching is None:  # when its training began: before that the groups were started
            self._searching = time.monotonic() - seconds
        text = (
            f"epoch {epoch}/{record.length(self._epochs)}  {self._objective} {metrics[self._objective]:.3f}"
        )
        self.say(f"{trial_name(record):<{_NAME_WIDTH}}{text}{self._warning(record.arm, metrics)}")

    def ended(self, record: TrialRecord) -> None:
        """A trial ended."""
        self._ended += 1
        value = "" if record.objective is None else f"  best {record.objective:.3f}"
        reason = f"  {record.reason}" if record.reason else ""
        self._pace.tell(record)
        spent = self.spent() if self._budget.by_time else Spent(0)
        words = spent.words(self._budget)
        total = f"  [{self._ended}/{self._trials} trials{f', {words}' if words else ''}{self._left(spent)}]"
        self.say(f"{trial_name(record):<{_NAME_WIDTH}}{record.state}{value}{reason}{total}")

    def _left(self, spent: Spent) -> str:
        """How long the search will still take: its trials' seconds, at the rate at which this command gets through
        them, with as many groups and as much between trials as it has. Nothing before there is a trial to tell."""
        seconds = self._pace.seconds_left(self._trials)
        if not seconds or not self._done or self._searching is None:
            return ""
        rate = (time.monotonic() - self._searching) / self._done
        return f", about {duration(min(seconds * rate, self._budget.seconds_left(spent)))} left"

    def final(self, name: str, seed: int, value: str) -> None:
        """A final or control was scored."""
        self.say(f"{name:<{_NAME_WIDTH}}seed {seed}  {value}")

    def failure(self, text: str) -> None:
        """What is to be shown of a failure beside its line, if anything."""
        if text:
            with self._lock:
                sys.stderr.write(text)
                sys.stderr.flush()

    def job(self, name: str, arm: str, event: Event, epochs: int) -> None:
        """An event of a job outside the search, which trains for so many epochs."""
        if isinstance(event, Epoch):
            value = (
                f"{self._objective} {event.metrics[self._objective]:.3f}{self._warning(arm, event.metrics)}"
            )
            self.say(f"{name:<{_NAME_WIDTH}}epoch {event.epoch}/{epochs}  {value}")
        elif isinstance(event, Failed):
            self.say(f"{name:<{_NAME_WIDTH}}failed  {event.reason}")
            self.failure(event.shown)

    def _warning(self, arm: str, metrics: Mapping[str, float]) -> str:
        collapse, rank = metrics.get("train/collapse", 0.0), metrics.get("train/effective_rank")
        if arm not in self._contrastive or collapse <= (_COLLAPSED_OUTPUTS if rank is None else _COLLAPSED):
            return ""
        if rank is None:
            return f"  collapsed: embeddings {collapse:.0%} alike"
        chance = metrics.get("train/loss_to_chance")  # a joint loss has none
        of_chance = "" if chance is None else f", loss {chance:.0%} of chance's"
        return f"  collapsed: mean cosine of embeddings {collapse:.4f}{of_chance}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes:3d}:{seconds:02d}"
