"""MLflow gets every trial once, whatever of it was there before; read back through MLflow's own client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from mlflow.utils.validation import MAX_METRICS_PER_BATCH

from sdl_study.errors import UserError
from sdl_study.tracking import FinalRun, Tracker, TrialRun

EPOCH = {"train/loss": 2.0, "dev/map": 0.5}


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def study(request: pytest.FixtureRequest) -> str:
    return request.node.name


@pytest.fixture
def tracker(uri: str, study: str, tmp_path: Path) -> Tracker:
    return opened(uri, study, tmp_path)


def opened(uri: str, study: str, folder: Path) -> Tracker:
    tracker = Tracker(uri, folder / "artifacts", study)
    tracker.open_parent({"arms": "any,sd"}, {"sdl.terms": "open"})
    return tracker


def runs(uri: str, study: str, role: str) -> list[Run]:
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], f"tags.`sdl.role` = '{role}'"))


def points(uri: str, run: Run) -> list[tuple[str, int]]:
    client = MlflowClient(tracking_uri=uri)
    return [
        (key, metric.step)
        for key in run.data.metrics
        for metric in client.get_metric_history(run.info.run_id, key)
    ]


def trial(state: str = "running", epochs: int = 1, number: int = 3, **more: Any) -> TrialRun:
    return TrialRun(
        number=number,
        name="003 sd τ=.100 conv",
        arm="sd",
        state=state,
        parameters={"loss.temperature": 0.1, "model.encoder": "conv"},
        epochs=dict.fromkeys(range(1, epochs + 1), EPOCH),
        summary={"objective": 0.5, "best/epoch": 1.0, "epochs": float(epochs), "seconds": 1.5},
        tags={"sdl.sampled_by": "tpe", **more},
    )


def test_a_trial_is_brought_up_to_its_record(tracker: Tracker, uri: str, study: str) -> None:
    for told in (
        trial(),
        trial(epochs=2),
        trial(epochs=2),
        trial("complete", epochs=2),
        trial("complete", 2),
    ):
        tracker.trial(told)
    (run,) = runs(uri, study, "trial")
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "003 sd τ=.100 conv"
    assert run.data.params == {"arm": "sd", "loss.temperature": "0.1", "model.encoder": "conv"}
    assert (run.data.tags["sdl.trial"], run.data.tags["arm"], run.data.tags["sdl.state"]) == (
        "3",
        "sd",
        "complete",
    )
    assert run.data.tags["mlflow.parentRunId"] == tracker.parent_id
    assert (run.data.metrics["objective"], run.data.metrics["epochs"]) == (0.5, 2.0)
    found = points(uri, run)
    assert len(found) == len(set(found))
    assert {step for key, step in found if key == "dev/map"} == {1, 2}


def test_epochs_that_are_told_together_are_written_together_as_many_as_mlflow_takes(
    tracker: Tracker, uri: str, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = {**EPOCH, "dev/loss": 1.0, "seconds": 2.0}
    many = replace(trial(), epochs=dict.fromkeys(range(1, 301), metrics))
    batches = []
    log = tracker._client.log_batch

    def logged(run: str, metrics: Sequence[Metric] = (), **more: Any) -> None:
        batches.append(len(metrics))
        log(run, metrics=metrics, **more)

    monkeypatch.setattr(tracker._client, "log_batch", logged)
    tracker.trial(many)
    (run,) = runs(uri, study, "trial")
    found = points(uri, run)
    assert len(found) == len(set(found)) == 4 * 300
    assert batches == [0, MAX_METRICS_PER_BATCH, 4 * 300 - MAX_METRICS_PER_BATCH]


@pytest.mark.parametrize(
    ("state", "status"), [("complete", "FINISHED"), ("pruned", "KILLED"), ("failed", "FAILED")]
)
def test_states_are_told_apart(tracker: Tracker, uri: str, study: str, state: str, status: str) -> None:
    tracker.trial(trial(state))
    (run,) = runs(uri, study, "trial")
    assert (run.info.status, run.data.tags["sdl.state"]) == (status, state)


@pytest.mark.parametrize("told_before", [0, 1, 2])
def test_a_new_driver_finds_the_run_and_repeats_nothing(
    told_before: int, uri: str, study: str, tmp_path: Path
) -> None:
    """As after kill -9 at any point: the same calls by another process give one run and no point twice."""
    first = opened(uri, study, tmp_path)
    for epochs in range(1, told_before + 1):
        first.trial(trial(epochs=epochs))
    second = opened(uri, study, tmp_path)
    second.trial(trial(epochs=2))
    second.trial(trial("complete", epochs=3))
    opened(uri, study, tmp_path).trial(trial("complete", epochs=3))
    (run,) = runs(uri, study, "trial")
    found = points(uri, run)
    assert len(found) == len(set(found))
    assert {step for key, step in found if key == "dev/map"} == {1, 2, 3}
    assert len(runs(uri, study, "study")) == 1


def final(**more: Any) -> FinalRun:
    return FinalRun(
        key="study/final/abc/sd/0",
        name="final sd probe seed 0",
        role="final",
        parameters={"arm": "sd", "stage": "probe", "seed": 0},
        metrics={"test/map": 0.4},
        tags={"sdl.declaration": "abc"},
        **more,
    )


def test_a_final_is_one_run_and_may_be_superseded(
    tracker: Tracker, uri: str, study: str, tmp_path: Path
) -> None:
    tracker.final(final())
    again = opened(uri, study, tmp_path)
    again.final(final())
    again.supersede({final().key})
    (run,) = runs(uri, study, "final")
    assert (run.info.status, run.data.metrics["test/map"]) == ("FINISHED", 0.4)
    assert "sdl.superseded" not in run.data.tags
    opened(uri, study, tmp_path).supersede({"study/final/def/sd/0"})
    (run,) = runs(uri, study, "final")
    assert run.data.tags["sdl.superseded"] == "true"
    assert points(uri, run) == [("test/map", 0)]


def test_a_final_that_failed_is_a_failed_run_with_its_reason(
    tracker: Tracker, uri: str, study: str, tmp_path: Path
) -> None:
    tracker.final(final(failure="NonFiniteLoss at loop.py:1"))
    (run,) = runs(uri, study, "final")
    assert (run.info.status, run.data.tags["sdl.reason"]) == ("FAILED", "NonFiniteLoss at loop.py:1")


def test_the_parent_holds_the_answer(tracker: Tracker, uri: str, study: str, tmp_path: Path) -> None:
    (tmp_path / "leaderboard.csv").write_text("trial\n0\n")
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert not tracker.answered("abc", with_records=False)
    for _ in range(2):
        tracker.answer(
            {"test/map": 0.4},
            {"sdl.declaration": "abc"},
            [(tmp_path / "leaderboard.csv", ""), (folder / "config.json", "encoder")],
        )
    assert tracker.answered("abc", with_records=False)
    assert not tracker.answered("other", with_records=False)
    (parent,) = runs(uri, study, "study")
    assert parent.info.status == "FINISHED"
    assert points(uri, parent) == [("test/map", 0)]
    tracker.answer({"test/map": 0.5}, {"sdl.declaration": "abd"}, [])
    (extended,) = runs(uri, study, "study")
    assert extended.data.metrics["test/map"] == 0.5
    assert sorted(points(uri, extended)) == [("test/map", 0), ("test/map", 1)]
    client = MlflowClient(tracking_uri=uri)
    listed = {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    assert listed == {"leaderboard.csv", "encoder"}


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, and was never one" * 100)
    with pytest.raises(UserError, match=r"mlflow\.db"):
        Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path, "study")
