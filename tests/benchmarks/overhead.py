"""What a study costs beside its training: ``python -m tests.benchmarks.overhead [--served TRIALS]``.

Without an option a study is played, without training and without Ray, on the product's own journal and MLflow database
(``--trials`` of ``--epochs`` each, four arms): the driver's processor time for a trial, for every hundred of them. It
must not grow but for what Optuna's TPE takes to ask. With ``--served`` a real study of so many trivial trials runs in
one worker group: what a trial takes over its training, from the end of the trial before it to its own, and how much of
the time journal and MLflow have. The first trial, which waits for the group to start and to import its libraries, has
none before it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdl_study.data.prepared import Manifest, PreparedData
from sdl_study.record.environment import read_environments
from sdl_study.record.journal import DriverJournal
from sdl_study.record.trials import NUMBER
from sdl_study.report.tables import text_table
from sdl_study.study.driver import Driver
from sdl_study.study.jobs import RUN_JOB
from sdl_study.study.leftovers import Leftovers
from sdl_study.study.opening import open_tracker
from sdl_study.study.plan import Plan, make_plan
from sdl_study.study.publisher import TrialPublisher
from sdl_study.study.search.searcher import Search
from sdl_study.workers.engine import Engine
from sdl_study.workers.events import Epoch
from tests.integration.tiny import tiny_data, tiny_study
from tests.unit.report.studies import searched
from tests.unit.study.fakes import open_search, start

ARMS = ("any", "all", "jaccard", "sd")
BLOCK = 100
_METRICS = 30  # a trial's epoch has about so many
_JOURNAL = (
    "report",
    "attempt",
    "complete",
    "prune",
    "fail",
    "note_seconds",
    "all",
    "of_search",
    "get",
)


class Stopwatch:
    """Seconds by name; a name's own calls within each other count once."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._open: set[str] = set()

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Seconds of a block."""
        if name in self._open:
            yield
            return
        self._open.add(name)
        began = self._clock()
        try:
            yield
        finally:
            self._open.discard(name)
            self.seconds[name] = self.seconds.get(name, 0.0) + self._clock() - began

    def watch(self, owner: Any, methods: tuple[str, ...], name: str, patch: pytest.MonkeyPatch) -> None:
        """Time methods of a class from now on."""
        for method in methods:
            patch.setattr(owner, method, self._timed(getattr(owner, method), name))

    def _timed(self, call: Any, name: str) -> Any:
        def timed(*given: Any, **named: Any) -> Any:
            with self.of(name):
                return call(*given, **named)

        return timed


def epoch_of(generator: np.random.Generator, number: int, epochs: int) -> dict[str, float]:
    """Metrics as an epoch reports them; the objective rises."""
    drawn = dict(
        zip((f"train/metric_{at:02d}" for at in range(_METRICS)), generator.random(_METRICS), strict=True)
    )
    value = 0.5 + 0.4 * number / epochs + 0.05 * float(generator.random())
    return {
        **{key: float(one) for key, one in drawn.items()},
        "dev/map": value,
        "train/loss": 1.0,
        "seconds": 1.0,
    }


def played(plan: Plan, search: Search, epochs: int, watch: Stopwatch) -> Iterator[Mapping[str, float]]:
    """Play the trials one after another; after every hundred their seconds by part."""
    generator, number = np.random.default_rng(0), 0
    while not search.finished:
        with watch.of("all"):
            started = start(search, str(number))
            assert started is not None
            for epoch in range(1, epochs + 1):
                if not search.heard(started[0].number, Epoch(epoch, epoch_of(generator, epoch, epochs))):
                    break
            search.ended(str(number), error=False)
        number += 1
        if number % BLOCK == 0:
            yield dict(watch.seconds)
            watch.seconds.clear()


def simulated(trials: int, epochs: int) -> Iterator[dict[str, object]]:
    """A played study's seconds of a trial, a row for every hundred."""
    watch = Stopwatch(time.process_time)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        given = {"budget.trials": trials // len(ARMS), "train.epochs": epochs, "budget.first_rung": epochs}
        plan = searched(Path(folder), overrides=given, stop_after=0, arms=ARMS)
        manifest = plan.files.data / "prepared" / "small" / "manifest.json"
        found = Manifest.from_json(manifest.read_text(), manifest)
        tracker = open_tracker(plan, found, None, read_environments(plan.files)[-1], None)
        search = open_search(plan)
        search.observers = (TrialPublisher(tracker, plan, print), Leftovers(plan.files))
        watch.watch(DriverJournal, ("ask",), "asking", patch)
        watch.watch(DriverJournal, _JOURNAL, "journal", patch)
        watch.watch(TrialPublisher, ("tell",), "MLflow", patch)
        for number, seconds in enumerate(played(plan, search, epochs, watch)):
            first = number * BLOCK
            yield {
                "trials": f"{first}-{first + BLOCK - 1}",
                **{name: 1000 * seconds[name] / BLOCK for name in ("all", "asking", "journal", "MLflow")},
            }


def served(trials: int) -> dict[str, object]:
    """A real study of trivial trials, in one group of two workers that serves all of them."""
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        out = Path(folder)
        data = tiny_data(out / "prepared")
        given = {"budget.trials": trials // 2, "train.epochs": 2, "budget.first_rung": 2}
        plan = make_plan(tiny_study(data, ("any", "sd")), out, "tiny", given)
        with (
            Engine(2, lambda memory: 2, "all", 3, out / "engine", None, RUN_JOB) as engine,
            Driver(plan, PreparedData.load(data), None) as driver,
        ):
            watch.watch(DriverJournal, ("ask", *_JOURNAL), "journal", patch)
            watch.watch(TrialPublisher, ("_bring_up",), "MLflow", patch)  # in a thread of its own
            driver._search(lambda: driver._prepared(lambda: engine))
            ended = sorted(
                (trial.datetime_complete, driver.journal.get(trial.user_attrs[NUMBER]).seconds)
                for arm in plan.arm_names
                for trial in driver.journal.optuna_study(arm).get_trials()
                if trial.datetime_complete is not None
            )
    between = [(end - before).total_seconds() for (before, _), (end, _) in pairwise(ended)]
    training = [seconds for _, seconds in ended[1:]]
    over = np.subtract(between, training)
    parts = {name: watch.seconds[name] / sum(between) for name in ("journal", "MLflow")}
    return {
        "trials": len(ended),
        "training of one, s": float(np.mean(training)),
        "over it, s": float(over.mean()),
        "median": float(np.median(over)),
        **{f"{name}, share": share for name, share in parts.items()},
    }


def main() -> None:
    """Print one of the two."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=500, help="of the played study")
    parser.add_argument("--epochs", type=int, default=30, help="of each of its trials")
    parser.add_argument(
        "--served", type=int, metavar="TRIALS", help="run a real study of so many trials instead"
    )
    given = parser.parse_args()
    if given.served is not None:
        row = served(given.served)
        print(
            text_table(
                [row],
                {"trials": "", **dict.fromkeys(list(row)[1:4], ".3f"), **dict.fromkeys(list(row)[4:], ".1%")},
            )
        )
        return
    print("milliseconds of the driver's processor time for a trial")
    for row in simulated(given.trials, given.epochs):
        print(
            " ".join(
                f"{name} {value if isinstance(value, str) else f'{value:.0f}'}" for name, value in row.items()
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
