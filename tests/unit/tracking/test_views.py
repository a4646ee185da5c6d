"""Saved views as each known MLflow stores them; one that is not known gets none, and says so."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sdl_study.arms import ANY, BCE, SD, SD_WEIGHTED
from sdl_study.space import SearchSpace, choice, log_uniform
from sdl_study.study.views import links_of, views_of
from sdl_study.tracking import Tracker, Views
from sdl_study.tracking import views as module
from tests.unit.tracking.told import client_of, uri_of

SPACE = SearchSpace(
    (
        choice("model.encoder", "conv", "bert"),
        log_uniform("train.learning_rate", 1e-4, 1e-1),
        log_uniform("loss.temperature", 0.03, 0.5, arms=("any", "sd")),
    )
)
TAGS = {"mlflow.sharedViewState.leaderboard", "mlflow.sharedViewState.parallel"}


def saved(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> Views:
    monkeypatch.setattr(module.mlflow, "__version__", version)
    views = Tracker(uri_of(folder), folder / "mlartifacts", "tiny").views
    views.save(views_of(SPACE, (ANY, SD)))
    return views


def tags(folder: Path) -> dict[str, str]:
    client, experiment = client_of(folder)
    found = client.get_experiment(experiment).tags
    return {key: value for key, value in found.items() if key.startswith("mlflow.sharedViewState.")}


def test_an_early_mlflow_stores_the_state_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, monkeypatch, "3.13.0")
    found = tags(tmp_path)
    assert set(found) == TAGS
    assert (
        json.loads(found["mlflow.sharedViewState.leaderboard"])["searchFilter"] == "tags.`sdl.role` = 'trial'"
    )


@pytest.mark.parametrize("version", ["3.15.0", "3.17.2"])
def test_a_later_one_puts_it_in_an_envelope(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, monkeypatch, version)
    envelope = json.loads(tags(tmp_path)["mlflow.sharedViewState.parallel"])
    assert envelope["name"] == "Parallel coordinates of trials"
    assert isinstance(envelope["createdAt"], int)
    (card,) = json.loads(envelope["state"])["compareRunCharts"]
    assert card["selectedParams"] == [
        "arm",
        "loss.temperature.log10",
        "train.learning_rate.log10",
        "model.encoder",
    ]
    assert card["selectedMetrics"] == ["objective"]


@pytest.mark.parametrize("version", ["3.99.0", "4.0.0", "3.1.0"])
def test_one_that_is_not_known_gets_none_and_a_line_says_so(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = saved(tmp_path, monkeypatch, version)
    assert tags(tmp_path) == {}
    runs, last = links_of(views, views_of(SPACE, (ANY, SD)), None)
    assert runs.endswith("/runs?workflowType=machine_learning")
    assert last == f"views: MLflow {version} is not one whose way of storing them is known; left out"


def test_links_name_the_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    views = saved(tmp_path, monkeypatch, "3.17.2")
    lines = links_of(views, views_of(SPACE, (ANY, SD)), None)
    assert [line.partition(":")[0] for line in lines] == [
        "Runs", "Leaderboard of trials", "Parallel coordinates of trials"
    ]  # fmt: skip
    assert lines[2].endswith("&viewStateShareKey=parallel&compareRunsMode=CHART")
    served = links_of(views, [], "https://user:secret@host:5000/")
    assert served[0].startswith("Runs: https://...@host:5000/#/experiments/")


def test_a_view_that_a_user_changed_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, monkeypatch, "3.17.2")
    client, experiment = client_of(tmp_path)
    client.set_experiment_tag(experiment, "mlflow.sharedViewState.parallel", "mine")
    saved(tmp_path, monkeypatch, "3.17.2")
    assert tags(tmp_path)["mlflow.sharedViewState.parallel"] == "mine"


def test_arms_with_other_parameters_have_a_chart_of_their_own() -> None:
    """MLflow leaves runs without one of a chart's parameters out of it."""
    _, view = views_of(SPACE, (BCE, ANY, SD))
    assert [card["selectedParams"] for card in view.state["compareRunCharts"]] == [
        ["arm", "loss.temperature.log10", "train.learning_rate.log10", "model.encoder"],
        ["arm", "train.learning_rate.log10", "model.encoder"],
    ]
    _, alone = views_of(SPACE, (BCE, SD_WEIGHTED))
    assert len(alone.state["compareRunCharts"]) == 1


@pytest.fixture
def server() -> Iterator[str]:
    """A server that says which MLflow it is."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/version"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(b"3.14.1" if known else b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


def test_a_server_is_asked_for_its_version(server: str) -> None:
    assert module.interface_version(server) == "3.14.1"
    assert module.interface_version(f"{server}/elsewhere") == ""


def test_a_server_that_is_gone_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 0.2)
    assert module.interface_version("http://127.0.0.1:9") == ""
