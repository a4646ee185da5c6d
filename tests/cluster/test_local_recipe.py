"""local.yaml on four hosts: `ray up`, the next documented line at once, MLflow through the forward, `ray down`.

In order: every test goes on where the one before it ended.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.hosts import Hosts
from tests.cluster.operator import URI, Operator, Run, until

pytestmark = pytest.mark.cluster

STUDY = "demo_coco --workers 2 --trials 1 --set train.epochs=2 --set \"arms=('bce','sd')\""
RUNS = {"study": 1, "trial": 2, "final": 2, "control": 2}


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The cluster, up."""
    with Hosts(tmp_path_factory.mktemp("hosts"), ("laptop", "head", "w1", "w2")) as hosts:
        operator = Operator(hosts, ("w1", "w2"))
        operator.up()
        yield operator


def of_study(operator: Operator) -> Path:
    return operator.hosts.shared / "demo_coco"


def in_order(operator: Operator) -> list[Run]:
    """Every run of the study is there once, ended, and its page lies behind the server."""
    found = operator.runs("demo_coco")
    assert Counter(run.role for run in found) == RUNS
    assert {run.status for run in found} == {"FINISHED"}
    (parent,) = [run for run in found if run.role == "study"]
    page = f"{URI}/api/2.0/mlflow-artifacts/artifacts/{parent.artifacts.removeprefix('mlflow-artifacts:/')}/page.html"
    shown = operator.hosts.run("laptop", f"curl --silent --fail {page} | wc --bytes")
    assert int(shown) == (of_study(operator) / "page.html").stat().st_size
    return found


def test_a_study_typed_at_once_trains_on_two_hosts(operator: Operator) -> None:
    operator.submit("first", STUDY)
    told = operator.follow("first")
    assert "[2/2 trials]" in told
    assert "primary contrast" in told
    assert "View run" not in told
    ranks = operator.ranks()
    assert ranks
    for group in ranks:
        assert sorted(group.values()) == ["w1", "w2"]


def test_its_record_names_the_code_that_ran(operator: Operator) -> None:
    laptop = "~/sdl-env/bin/python -m sdl_study.version"
    version, sources = operator.types(f"PYTHONPATH=. {laptop}").split()
    study = json.loads((of_study(operator) / "study.json").read_text())
    assert study["code_version"] == version
    assert version.endswith(f"+{sources}")


def test_its_runs_are_seen_through_the_forward(operator: Operator) -> None:
    with operator.forward():
        in_order(operator)


def test_mlflow_comes_back_when_it_is_killed_and_is_not_started_twice(operator: Operator) -> None:
    head = operator.hosts
    count = "pgrep --count --full '[m]lflow server'"
    assert int(head.run("head", count)) == 1
    head.run(
        "head", "pkill --signal KILL --full '[u]vicorn'; pkill --signal KILL --full '[m]lflow server'; true"
    )
    again = "bash ~/sdl-study/sdl_study/cluster/mlflow_server.sh /mnt/study"
    head.run("head", again)
    answers = f"curl --silent --fail {URI}/health || true"
    until(lambda: "OK" in head.run("head", answers), "MLflow does not come back", 90.0)
    head.run("head", again)
    assert int(head.run("head", count)) == 1


def test_the_same_command_again_trains_nothing_and_changes_no_run(operator: Operator) -> None:
    with operator.forward():
        before = in_order(operator)
        operator.submit("second", STUDY)
        assert "epoch 1/" not in operator.follow("second")
        after = in_order(operator)
    ended = [{run.id: run.end_time for run in found if run.role != "study"} for found in (before, after)]
    assert ended[0] == ended[1]


def test_results_come_down(operator: Operator) -> None:
    operator.types("ray rsync-down local.yaml /mnt/study/ ./studies/")
    clone = operator.hosts.folder / "laptop/root/sdl-study/studies"
    assert (clone / "demo_coco/page.html").read_bytes() == (of_study(operator) / "page.html").read_bytes()
    assert (clone / "mlflow.db").exists()
    assert list(clone.glob("mlartifacts/*/*/artifacts/page.html"))


def test_the_token_is_in_no_process_list_log_or_artifact(operator: Operator) -> None:
    operator.has_no_token_outside_its_file()


def test_down_leaves_no_ray_process_after_two_minutes(operator: Operator) -> None:
    operator.types("ray down -y local.yaml")
    until(lambda: not operator.ray_processes(), "Ray still runs two minutes after ray down", 120.0)
    stop = "bash ~/sdl-study/sdl_study/cluster/mlflow_server.sh /mnt/study stop"
    operator.hosts.run("head", stop)
    until(
        lambda: operator.hosts.run("head", "pgrep --full '[m]lflow' || true") == "", "MLflow still runs", 20.0
    )
