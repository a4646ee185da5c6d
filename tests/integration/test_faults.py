"""A Ray that goes away, then nobody who reads: the study ends whole. A closing terminal, and signals that come twice.

And what is said at the end of a command on a machine where nothing ends in time.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from sdl_study.record.files import StudyFiles
from sdl_study.record.journal import read
from tests.integration.conftest import Engines
from tests.integration.tiny import tiny_data

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ("train.epochs=5", "budget.trials=1", "arms=('any','sd')", "controls=()")
GOES_ON = "the same command goes on where it was\n"
SLOW = """
import sys
from sdl_study.run import main_of
from sdl_study.workers import engine
from tests.integration import tiny
engine._IDLE_SECONDS = engine._INTERRUPTED_SECONDS = 0.0
sys.exit(main_of(tiny.command))
"""


def start(
    out: Path, *, script: str | None = None, more: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    how = ["-m", "tests.integration.tiny"] if script is None else ["-c", script]
    return subprocess.Popen(
        [sys.executable, *how, str(out), *SETTINGS],
        cwd=ROOT,
        env={**os.environ, **(more or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines_until(driver: subprocess.Popen[str], words: str) -> None:
    assert driver.stdout is not None
    for line in driver.stdout:
        if words in line:
            return
    raise AssertionError(driver.communicate()[1])


def ray_process(driver: subprocess.Popen[str], name: str) -> psutil.Process:
    (found,) = (child for child in psutil.Process(driver.pid).children() if child.name() == name)
    return found


def statuses(out: Path) -> dict[str, str]:
    client = MlflowClient(tracking_uri=StudyFiles(out, "tiny").mlflow_uri)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return {str(run.info.run_name): run.info.status for run in client.search_runs([experiment.experiment_id])}


def check_left_in_order(out: Path, sessions: Path) -> None:
    files = StudyFiles(out, "tiny")
    assert not files.engine.exists()
    assert statuses(out)["tiny"] == "KILLED"
    for session in sessions.glob("sdl-*/ray/session_*"):
        for path in (session, *session.rglob("*")):
            assert path.is_symlink() or stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A place for Ray's files; pytest's own are too long for sockets."""
    with tempfile.TemporaryDirectory(prefix="s", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.slow
def test_a_ray_that_goes_away_and_nobody_who_reads_cost_nothing(
    tmp_path: Path, engines: Engines, short_folder: Path
) -> None:
    engines.close()
    tiny_data(tmp_path / "prepared")
    ray_files = {"RAY_TMPDIR": str(short_folder)}

    driver = start(tmp_path, more=ray_files)
    lines_until(driver, "epoch 1/")
    (private,) = short_folder.iterdir()
    assert stat.S_IMODE(private.stat().st_mode) == 0o700  # while Ray opens what lies in it, again and again
    ray_process(driver, "gcs_server").kill()
    out, told = driver.communicate(timeout=40)  # Ray itself waits for a minute, and then ends the process
    assert driver.returncode == 1, told
    assert told.startswith(f"error: Ray went away (gcs_server ended); its logs: {short_folder}/")
    assert told.endswith(f"; {GOES_ON}")
    assert told.count("\n") == 1
    assert "Traceback" not in out
    check_left_in_order(tmp_path, short_folder)

    driver = start(tmp_path, more=ray_files)
    assert driver.stdout is not None
    driver.stdout.readline()
    driver.stdout.close()  # as ``| head -1`` does
    assert driver.stderr is not None
    told = driver.stderr.read()
    assert (driver.wait(timeout=200), told) == (0, "")
    assert set(statuses(tmp_path).values()) == {"FINISHED"}
    records = read(StudyFiles(tmp_path, "tiny").journal).all()
    assert [(record.state, sorted(record.epochs)) for record in records] == [("complete", [*range(1, 6)])] * 2
    assert StudyFiles(tmp_path, "tiny").answer.exists()


@pytest.mark.slow
def test_a_terminal_that_closes(tmp_path: Path, engines: Engines, short_folder: Path) -> None:
    engines.close()
    tiny_data(tmp_path / "prepared")
    driver = start(tmp_path, more={"RAY_TMPDIR": str(short_folder)})
    lines_until(driver, "epoch 1/")
    driver.send_signal(signal.SIGHUP)
    _, told = driver.communicate(timeout=120)
    assert (driver.returncode, told) == (130, f"interrupted; {GOES_ON}")
    check_left_in_order(tmp_path, short_folder)


@pytest.mark.slow
def test_a_raylet_that_is_killed(tmp_path: Path, engines: Engines) -> None:
    engines.close()
    tiny_data(tmp_path / "prepared")
    driver = start(tmp_path)
    lines_until(driver, "epoch 1/")
    children = psutil.Process(driver.pid).children(recursive=True)
    ray_process(driver, "raylet").kill()
    out, told = driver.communicate(timeout=40)
    assert driver.returncode == 1
    assert told.startswith("error: Ray went away (raylet ended); its logs: ")
    assert told.count("\n") == 1
    assert "raylet" not in out  # whose log Ray would print
    left = [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert not left  # agents, too, which it left behind
    assert statuses(tmp_path)["tiny"] == "KILLED"


@pytest.mark.slow
def test_the_second_signal_ends_at_once(tmp_path: Path, engines: Engines) -> None:
    engines.close()
    tiny_data(tmp_path / "prepared")
    driver = start(tmp_path)
    lines_until(driver, "epoch 1/")
    children = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        driver.wait(timeout=0.6)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(timeout=5.0) == -signal.SIGTERM
    _, alive = psutil.wait_procs(children, timeout=20.0)
    alive = [
        process for process in alive if not process.name().endswith("Agent")
    ]  # they look for it once a minute
    assert not alive


@pytest.mark.slow
@pytest.mark.parametrize("labels", [True, False])
def test_where_nothing_ends_in_time_everything_is_said(
    labels: bool, tmp_path: Path, engines: Engines
) -> None:
    """No time at all to end stands for a machine under load: Ray would end the process with words of its own."""
    engines.close()
    data = tiny_data(tmp_path / "prepared")
    if not labels:
        (data / "test_labels.parquet").rename(tmp_path / "moved")
    driver = start(tmp_path, script=SLOW)
    out, told = driver.communicate(timeout=200)
    if labels:
        assert (driver.returncode, told) == (0, "")
        assert "primary contrast: the setting chosen for sd against the setting chosen for any" in out
    else:
        assert driver.returncode == 2
        assert told.startswith(f"error: {data / 'test_labels.parquet'}: missing")
        assert told.count("\n") == 1
