"""A study's runs are its own: another study of its name on the same server has an experiment of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from sdl_study.study.opening import owner_of
from sdl_study.tracking import Owner, Tracker, TrialRun
from tests.unit.tracking.told import client_of, runs, told, uri_of

FIRST, SECOND = Owner("1" * 32), Owner("2" * 32)


def opened(folder: Path, owner: Owner | None, artifacts: bool = True) -> Tracker:
    return Tracker(uri_of(folder), folder / "mlartifacts" if artifacts else None, "tiny", owner=owner)


def of_first(folder: Path) -> None:
    """The study that was told there is the first one, which began before there were ids."""
    opened(folder, Owner(FIRST.study, began_without=True))


def test_finished_runs_of_another_study_of_this_name_stay_as_they_are(folder: Path) -> None:
    of_first(folder)
    before = {role: (run.info, run.data) for role, run in runs(folder).items()}
    other = opened(folder, SECOND)
    other.open_parent({"arms": "bce"}, {})
    other.trial(TrialRun(3, "003 bce", "bce", "failed", {}, {}, {}, {"sdl.reason": "UserError"}))
    other.end_parent("KILLED")
    assert other.experiment_name == "tiny-22222222"
    for role, run in runs(folder).items():
        info, data = before[role]
        assert (run.info.status, run.info.end_time) == (info.status, info.end_time)
        assert (run.data.params, run.data.metrics, run.data.tags) == (data.params, data.metrics, data.tags)


def test_each_study_finds_its_own_again(folder: Path) -> None:
    of_first(folder)
    opened(folder, SECOND).open_parent({}, {})
    for owner, name in ((FIRST, "tiny"), (SECOND, "tiny-22222222")):
        again = opened(folder, owner)
        again.open_parent({}, {})
        assert again.experiment_name == name
        client = MlflowClient(tracking_uri=uri_of(folder))
        experiment = client.get_experiment_by_name(name)
        assert experiment is not None
        roles = [run.data.tags["sdl.role"] for run in client.search_runs([experiment.experiment_id])]
        assert roles.count("study") == 1


def test_an_experiment_that_was_renamed_is_still_the_studys(folder: Path) -> None:
    of_first(folder)
    client, experiment = client_of(folder)
    client.rename_experiment(experiment, "our first attempt")
    assert opened(folder, FIRST).experiment_name == "our first attempt"
    assert opened(folder, SECOND).experiment_name == "tiny"


def test_runs_that_name_no_study_are_not_a_new_studys(folder: Path) -> None:
    """They are an earlier version's: of a study that began then, or of somebody else's."""
    assert opened(folder, SECOND).experiment_name == "tiny-22222222"
    of_first(folder)
    assert opened(folder, FIRST).experiment_name == "tiny"


def test_an_empty_experiment_of_this_name_is_taken(tmp_path: Path) -> None:
    client = MlflowClient(tracking_uri=uri_of(tmp_path))
    made = client.create_experiment("tiny", (tmp_path / "mlartifacts" / "tiny").as_uri())
    assert opened(tmp_path, FIRST).experiment_name == "tiny"
    assert client.get_experiment(made).tags["sdl.study_id"] == FIRST.study


def test_a_deleted_experiment_of_another_study_stays_deleted(folder: Path) -> None:
    of_first(folder)
    client, experiment = client_of(folder)
    client.delete_experiment(experiment)
    assert opened(folder, SECOND).experiment_name == "tiny-22222222"
    assert client.get_experiment(experiment).lifecycle_stage == "deleted"
    names = {found.name for found in client.search_experiments(view_type=ViewType.ACTIVE_ONLY)}
    assert "tiny" not in names


def test_artifacts_that_went_through_a_server_are_found_without_it(tmp_path: Path) -> None:
    """A server calls their folder after the experiment's number; --out holds it as OUT/mlartifacts/NUMBER."""
    client = MlflowClient(tracking_uri=uri_of(tmp_path))
    experiment = client.create_experiment("tiny", "mlflow-artifacts:/7", {"sdl.study_id": FIRST.study})
    run = client.create_run(experiment, tags={"sdl.key": "study", "sdl.role": "study"})
    kept = tmp_path / "mlartifacts" / "7" / run.info.run_id / "artifacts" / "page.html"
    kept.parent.mkdir(parents=True)
    kept.write_text("the page")
    for _ in range(2):  # and it stays there
        opened(tmp_path, FIRST).open_parent({}, {})
        assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["page.html"]


def test_a_studys_id_is_that_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    assert owner_of(path) != owner_of(path)
    path.write_text('{"name": "tiny", "id": "abc"}')
    assert owner_of(path) == Owner("abc")
    path.write_text('{"name": "tiny"}')  # of an earlier version
    assert owner_of(path) == owner_of(path)
    assert owner_of(path).began_without


@pytest.mark.parametrize("artifacts", [True, False])
def test_a_study_without_runs_yet_opens_its_experiment_once(tmp_path: Path, artifacts: bool) -> None:
    first = opened(tmp_path, FIRST, artifacts)
    assert opened(tmp_path, FIRST, artifacts).experiment_name == first.experiment_name == "tiny"
    assert told(tmp_path).experiment_name == "tiny"
