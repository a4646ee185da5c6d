"""The tiny study as jobs of a cluster, one after another until it is whole; read on the head's disk as it runs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from sdl_study.record.files import StudyFiles
from tests.cluster.operator import HOME, URI, Operator, until
from tests.integration.machines import check_whole

EPOCHS = 12
_EPOCH = re.compile(r" \d{3} .* epoch \d+/")
_LINES_OF_RAY = 2  # before a job's own
_NO_CONTROLS = '"controls=()"'
_ARMS = '''"arms=('any','sd')"'''


class Study:
    """A study of two arms that stops no trial.

    Args:
        operator: of the cluster that it runs on.
        name: of the study.
        workers: of a group.
        trials: of each arm.
    """

    def __init__(self, operator: Operator, name: str, workers: int, trials: int) -> None:
        self.operator, self.name, self.trials = operator, name, 2 * trials
        self._jobs = 0
        self._settings = (
            f"train.workers={workers} budget.trials={trials} train.epochs={EPOCHS} budget.first_rung={EPOCHS} "
            f"{_ARMS} {_NO_CONTROLS}"
        )

    def start(self) -> None:
        """The study's command, the same every time, as a job; it has begun when this returns."""
        self._jobs += 1
        where = f"/mnt/study --address auto --tracking-uri {URI} --name {self.name}"
        command = f"env -C /{HOME} python -m tests.integration.tiny {where} {self._settings}"
        self.operator.submit_command(self._job, command)
        self._until(lambda: self.runs or len(self.text.splitlines()) > _LINES_OF_RAY, "its begin", 60.0)

    @property
    def _job(self) -> str:
        return f"{self.name}-{self._jobs}"

    @property
    def text(self) -> str:
        """What the job has said so far."""
        logs = self.operator.hosts.folder.glob(f"head/tmp/ray/session_2*/logs/job-driver-{self._job}.log")
        return "".join(log.read_text() for log in logs)

    @property
    def epochs(self) -> int:
        """How many epochs it has told of."""
        return len(_EPOCH.findall(self.text))

    def until(self, words: str, seconds: float = 400.0) -> float:
        """Wait until the job has said so; returns the seconds that it took."""
        return self._until(lambda: words in self.text, words, seconds)

    def trains(self, epochs: int, seconds: float = 400.0) -> float:
        """Wait for some epochs more; returns the seconds that it took."""
        wanted = self.epochs + epochs
        return self._until(lambda: self.epochs >= wanted, f"{epochs} epochs more", seconds)

    def goes_on_after(self, fault: Callable[[], object], seconds: float = 400.0) -> float:
        """Let something happen; returns the seconds until the next epoch is told."""
        fault()
        began = time.monotonic()
        time.sleep(1.0)  # what was on its way
        self.trains(1, seconds)
        return time.monotonic() - began

    def ends(self, seconds: float = 600.0) -> None:
        """Wait for the end of its driver."""
        self._until(lambda: not self.runs, "the end of the job", seconds)

    def is_whole(self) -> None:
        """Wait for its end; no trial is lost or doubled, each has one run, and every step is there once."""
        self.ends()
        assert StudyFiles(self.operator.hosts.shared, self.name).answer.exists(), self.text
        check_whole(self.operator.hosts.shared, self.name, self.trials, EPOCHS)

    @property
    def _running(self) -> str:
        return f"pgrep --full '[t]ests.integration.tiny .*--name {self.name} ' || true"

    @property
    def runs(self) -> bool:
        """Whether its driver does."""
        return self.operator.hosts.run("head", self._running) != ""

    def kill_driver(self) -> None:
        """SIGKILL, for all processes of its command."""
        found = " ".join(self.operator.hosts.run("head", self._running).split())
        assert found
        self.operator.hosts.run("head", f"kill -KILL {found} || true")  # a shell may end with what it started

    def _until(self, holds: Callable[[], bool], what: str, seconds: float) -> float:
        try:
            return until(holds, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{self._job}: {error}\n{self.text}") from None
