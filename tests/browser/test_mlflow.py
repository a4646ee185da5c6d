"""MLflow's own interface on a study of 200 trials: what its users look at is there, and shows it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from sdl_study.study.showing import show
from tests.browser.conftest import Browser, started
from tests.unit.study.tracked_study import tracked

TRIALS = 200
_STARTED_SECONDS = 120.0
_ROWS = "return [...document.querySelectorAll('.ag-pinned-left-cols-container .ag-row')].map((row) => row.innerText)"
_UNFOLD = "document.querySelector('.ag-row button[data-component-id*=runnamecellrenderer]')"
_VIEW = "return document.querySelector('[data-testid=saved-views-trigger]').innerText"
_CHART = "document.querySelector('[data-testid=experiment-view-compare-runs-card]')"
_PAINTED = """
const paint = [...document.querySelectorAll('[data-testid=experiment-view-compare-runs-card] canvas')].map((canvas) =>
  canvas.width && canvas.height ? canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data : []);
return paint.reduce((sum, data) => sum + data.reduce((count, value, at) => count + (at % 4 === 3 && value > 0), 0), 0);
"""
_TEXT = "return document.querySelector('main, #root').innerText"


@contextmanager
def served(uri: str, log: Path) -> Iterator[str]:
    """MLflow's server on a database; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        uri,
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("w") as file:
        server = subprocess.Popen(
            command, stdout=file, stderr=file, env=os.environ | quiet, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + _STARTED_SECONDS
        while not _answers(address):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder of studies with one that has ended and is in MLflow, and where its last lines send the reader."""
    out = tmp_path_factory.mktemp("studies")
    return out, show(tracked(out, trials=TRIALS // 2, epochs=1), None)


@pytest.fixture(scope="module")
def folder(shown: tuple[Path, list[str]]) -> Path:
    return shown[0]


@pytest.fixture(scope="module")
def links(shown: tuple[Path, list[str]], address: str) -> dict[str, str]:
    """The links that were printed, by what they open, for the server of the test."""
    found = dict(line.removeprefix("MLflow, ").split(": ", 1) for line in shown[1][1:])
    return {name: link.replace("http://127.0.0.1:5000", address) for name, link in found.items()}


@pytest.fixture(scope="module")
def client(folder: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")


@pytest.fixture(scope="module")
def parent(client: MlflowClient) -> Run:
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id], "tags.`sdl.role` = 'study'")
    return found


@pytest.fixture(scope="module")
def address(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(f"sqlite:///{folder / 'mlflow.db'}", tmp_path_factory.mktemp("log") / "server.log") as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """With a window in which the charts of a view are on the screen: MLflow draws no others."""
    with started() as found:
        size = {"width": 1600, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        found.command("Emulation.setDeviceMetricsOverride", size)
        yield found


@pytest.fixture(scope="module")
def runs_page(links: dict[str, str]) -> str:
    return links["Runs"]


def test_the_experiment_opens_among_training_runs_and_unfolds(browser: Browser, runs_page: str) -> None:
    browser.open(runs_page)
    browser.wait(f"return {_UNFOLD}", "the study's row")
    assert "workflowType=machine_learning" in browser.run("return location.hash")
    places = browser.run("return [...document.querySelectorAll('nav a')].map((link) => link.innerText)")
    assert {"Runs", "Models"} <= set(places)
    assert not {"Judges", "Sessions"} & set(places)
    (row,) = [row for row in browser.run(_ROWS) if row.strip()]
    assert "small" in row.split()
    browser.run(f"{_UNFOLD}.click()")
    rows = browser.until(lambda: found if len(found := browser.run(_ROWS)) > 9 else None, "its children")
    assert [sum(word in row for row in rows) for word in ("final sd", "final any", "label_prior")] == [
        3,
        3,
        1,
    ]


def test_the_data_set_is_shown_with_what_is_known_of_it(browser: Browser, runs_page: str) -> None:
    browser.open(runs_page)
    browser.wait("return document.querySelector('[data-testid=open-dataset-drawer]')", "the data set")
    browser.run("document.querySelector('[data-testid=open-dataset-drawer]').click()")
    drawer = "return document.querySelector('[role=dialog]')?.innerText"
    text = browser.until(
        lambda: found if "fingerprint" in (found := browser.run(drawer) or "") else None,
        "the data set's drawer",
    )
    for line in (
        "source: pipeline table",
        "train: 700 examples of 350 groups",
        "terms: open",
        "Digest: ffffffffffffffff",
    ):
        assert line in text


def test_the_study_says_what_it_is_and_what_it_found(browser: Browser, runs_page: str, parent: Run) -> None:
    browser.open(runs_page.replace("?", f"/{parent.info.run_id}?"))
    text = browser.until(
        lambda: found if "Answer:" in (found := browser.run(_TEXT)) else None, "the study's description"
    )
    assert "small compares 2 arms: any, sd" in text
    assert "The setting chosen for sd is better than the setting chosen for any" in text
    assert "python -m sdl_study.run report small" in text
    assert browser.run("return document.querySelectorAll('main table td, #root table td').length") > 0


def test_its_page_is_drawn_among_its_artifacts(browser: Browser, runs_page: str, parent: Run) -> None:
    browser.open(runs_page.replace("?", f"/{parent.info.run_id}/artifacts/page.html?"))
    browser.wait("return document.querySelector('iframe')", "the page's frame")
    with browser.inside("iframe"):
        browser.wait("return document.documentElement.dataset.drawn", "the page's figures")
        assert "sd is better than" in browser.run("return document.querySelector('#answer').innerText")
        assert browser.run("return document.querySelectorAll('g.points > path.point').length") > TRIALS


def test_the_leaderboard_shows_trials_alone_and_the_best_one_first(
    browser: Browser, links: dict[str, str], client: MlflowClient, parent: Run
) -> None:
    browser.open(links["Leaderboard of trials"])
    rows = browser.until(
        lambda: found if len(found := browser.run(_ROWS)) > 9 else None, "the trials of the leaderboard"
    )
    best, *_ = client.search_runs(
        [parent.info.experiment_id],
        "tags.`sdl.role` = 'trial'",
        order_by=["metrics.objective DESC"],
        max_results=1,
    )
    assert str(best.info.run_name) in rows[0]
    assert not any(word in row for row in rows for word in ("final", "control"))
    heads = browser.run(
        "return [...document.querySelectorAll('.ag-header-cell')].map((cell) => cell.innerText.trim())"
    )
    assert {"objective", "arm", "loss.temperature"} <= set(heads)
    assert "Leaderboard of trials" in browser.run(_VIEW)


def test_parallel_coordinates_lead_from_arm_to_objective(browser: Browser, links: dict[str, str]) -> None:
    browser.open(links["Parallel coordinates of trials"])
    browser.until(lambda: browser.run(_PAINTED) > 1000, "the lines of the chart")
    axes = browser.run(
        f"return [...{_CHART}.querySelectorAll('svg text.label')].map((text) => text.textContent)"
    )
    assert (len(axes), axes[0], *axes[3:]) == (5, "arm", "model.encoder", "objective")
    assert all(axis.endswith(".log10") for axis in axes[1:3])  # MLflow shortens what is between
    assert "Parallel coordinates of trials" in browser.run(_VIEW)
    assert "100 matching runs" in browser.run(_TEXT)


def test_a_trial_is_found_by_its_study_and_number(browser: Browser, runs_page: str) -> None:
    browser.open(f"{runs_page}&searchFilter=tags.`sdl.run` = 'small/12'")
    rows = browser.until(
        lambda: [r for r in browser.run(_ROWS) if r.strip() and "012 " in r], "the trial that was asked for"
    )
    assert len(rows) == 1
