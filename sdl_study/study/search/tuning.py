"""The search as Ray Tune runs it: a Searcher over Optuna's ask and tell, and ASHA as a scheduler, both on the records.

Ray's own OptunaSearch tells stopped trials COMPLETE, loses NaNs, and dies when the database is ahead of Ray's
snapshot; here the journal is the only truth and Ray's own state is thrown away.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sdl_study.study.search.searcher import Search
from sdl_study.trial import reported, run_trial

_NO_CPU = {"memory": 1.0}  # one byte: Tune refuses a request of nothing, and the CPUs belong to the workers
_NODE_ID = "ray.io/node-id"  # a label that Ray gives every machine


def run_search(search: Search, folder: Path, name: str) -> None:
    """Run Ray Tune until the search is finished; Tune's own state lies in ``folder`` and is not read again.

    Its functions run on the driver's machine: a worker's may go away at any time.
    """
    here = {_NODE_ID: ray.get_runtime_context().get_node_id()}
    tuner = tune.Tuner(
        tune.with_resources(run_trial, tune.PlacementGroupFactory([_NO_CPU], bundle_label_selector=[here])),
        tune_config=tune.TuneConfig(
            search_alg=ArmSearcher(search), scheduler=AshaScheduler(search), num_samples=-1, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            name=f"{name}-{os.getpid()}-{time.time_ns()}",
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    try:
        tuner.fit()
    finally:
        with suppress(OSError):  # a full disk is told by what ended the search
            search.note_seconds()


class _LivesInDriver:
    """Tune pickles searcher and scheduler into its snapshots; these live in the driver and are rebuilt there."""

    _search: Search

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> _LivesInDriver:
        return self


class ArmSearcher(_LivesInDriver, Searcher):
    """Ray's side of the search: which trial next, and what became of it."""

    def __init__(self, search: Search) -> None:
        super().__init__(metric="number", mode="max")  # in every result: Tune insists on one
        self._search = search

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The next trial's configuration, None to wait, or FINISHED."""
        if self._search.finished:
            return Searcher.FINISHED
        return self._search.next_trial(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """A Tune trial is over."""
        self._search.ended(trial_id, error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing of the search lives in Ray's snapshots; the journal has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the journal has it."""


class AshaScheduler(_LivesInDriver, FIFOScheduler):
    """Ray's side of ASHA: every report goes to the search, which answers from the journal."""

    def __init__(self, search: Search) -> None:
        super().__init__()
        self._search = search

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Write the epoch, and stop the trial where it is not among the best of its rung."""
        goes_on = self._search.heard(int(result["number"]), reported(result))
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP
