"""What every run carries in MLflow beside its results: data, source, version, description; and what that costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.data import get_source
from mlflow.entities import DatasetInput, Run

from sdl_study.tracking import DatasetContext, FinalRun, RunContext, Tracker, TrialRun
from tests.unit.tracking.told import EPOCH, client_of, uri_of

DATA = DatasetContext(
    "notes", "a1" * 32, {"pipeline": "table"}, {"train": "<10 examples of <10 groups"}, (("text", "string"),)
)
CONTEXT = RunContext(DATA, "search_spaces/text.py", "c" * 40, changed=True)


def trial(state: str, epochs: int) -> TrialRun:
    epochs_so_far = dict.fromkeys(range(1, epochs + 1), EPOCH)
    return TrialRun(
        3,
        "003 sd",
        "sd",
        state,
        {"loss.temperature": 0.1},
        epochs_so_far,
        {"objective": 0.5},
        {},
        f"it is {state}",
    )


def tracker_of(folder: Path, context: RunContext | None = CONTEXT) -> Tracker:
    tracker = Tracker(uri_of(folder), folder / "mlartifacts", "tiny", context)
    tracker.open_parent({"arms": "any,sd"}, {"sdl.terms": "open"}, "what it is")
    return tracker


def data_of(run: Run) -> list[DatasetInput]:
    return [] if run.inputs is None else run.inputs.dataset_inputs


def runs(folder: Path) -> dict[str, Run]:
    client, experiment = client_of(folder)
    return {run.data.tags["sdl.role"]: run for run in client.search_runs([experiment])}


def test_every_run_names_its_data_its_source_and_its_commit(tmp_path: Path) -> None:
    tracker = tracker_of(tmp_path)
    tracker.trial(trial("running", 1))
    tracker.trial(trial("complete", 2))
    tracker.final(FinalRun("key", "final sd", "final", {"arm": "sd"}, {"test/map": 0.4}, {}, None, "a final"))
    found = runs(tmp_path)
    assert set(found) == {"study", "trial", "final"}
    for role, run in found.items():
        (data,) = data_of(run)
        assert (data.dataset.name, data.dataset.digest) == ("notes", "a1" * 8)
        assert [(tag.key, tag.value) for tag in data.tags] == [
            ("mlflow.data.context", "evaluation" if role == "final" else "training")
        ]
        assert get_source(data).to_dict() == {"tags": {"pipeline": "table"}}
        assert json.loads(str(data.dataset.profile)) == {"train": "<10 examples of <10 groups"}
        tags = run.data.tags
        assert tags["mlflow.source.name"] == "search_spaces/text.py"
        assert (tags["mlflow.source.git.commit"], tags["mlflow.source.git.dirty"]) == ("c" * 40, "true")
    notes = {role: run.data.tags["mlflow.note.content"] for role, run in found.items()}
    assert notes == {"study": "what it is", "trial": "it is complete", "final": "a final"}


def test_a_study_that_an_earlier_version_began_gets_it_too(tmp_path: Path) -> None:
    before = tracker_of(tmp_path, context=None)
    before.trial(trial("running", 1))
    client, experiment = client_of(tmp_path)
    client.update_run(before.parent_id, name="study")
    client.delete_tag(before.parent_id, "mlflow.note.content")
    client.set_experiment_tag(experiment, "mlflow.experimentKind", "genai_development_inferred")
    tracker_of(tmp_path).trial(trial("complete", 2))
    found = runs(tmp_path)
    assert all(data_of(run) for run in found.values())
    assert found["study"].info.run_name == "tiny"
    assert found["study"].data.tags["mlflow.note.content"] == "what it is"
    assert client.get_experiment(experiment).tags["mlflow.experimentKind"] == "custom_model_development"


def test_what_a_user_wrote_stays(tmp_path: Path) -> None:
    tracker = tracker_of(tmp_path)
    client, experiment = client_of(tmp_path)
    client.set_tag(tracker.parent_id, "mlflow.note.content", "mine")
    for key in ("mlflow.experimentKind", "mlflow.experiment.primaryMetric.name"):
        client.set_experiment_tag(experiment, key, "mine")
    tracker_of(tmp_path)
    assert runs(tmp_path)["study"].data.tags["mlflow.note.content"] == "mine"
    tags = client.get_experiment(experiment).tags
    assert {tags["mlflow.experimentKind"], tags["mlflow.experiment.primaryMetric.name"]} == {"mine"}


@pytest.mark.parametrize(("context", "calls"), [(None, 13), (CONTEXT, 14)])
def test_a_trial_costs_one_call_more(
    context: RunContext | None, calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of eight epochs; each call is a round trip to the server, and the driver waits for it."""
    tracker = tracker_of(tmp_path, context)
    made: list[str] = []
    for name in (
        "create_run",
        "log_batch",
        "log_inputs",
        "get_run",
        "set_terminated",
        "set_tag",
        "get_metric_history",
    ):
        plain = getattr(MlflowClient, name)

        def counted(*given: object, name: str = name, plain: object = plain, **more: object) -> object:
            made.append(name)
            return plain(*given, **more)  # type: ignore[operator]

        monkeypatch.setattr(MlflowClient, name, counted)
    for epoch in range(9):
        tracker.trial(trial("running", epoch))
    tracker.trial(trial("complete", 8))
    assert len(made) == calls, made


def test_its_page_is_an_artifact_and_the_answer_its_description(tmp_path: Path) -> None:
    tracker_of(tmp_path)
    page = tmp_path / "page.html"
    page.write_text("<p>")
    Tracker(uri_of(tmp_path), tmp_path / "mlartifacts", "tiny").show("what it found", page)
    parent = runs(tmp_path)["study"]
    client, _ = client_of(tmp_path)
    assert parent.data.tags["mlflow.note.content"] == "what it found"
    assert [item.path for item in client.list_artifacts(parent.info.run_id)] == ["page.html"]
