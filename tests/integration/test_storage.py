"""The driver is killed and its machine is gone: the same command on an empty one goes on from the storage."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from sdl_study.record.files import StudyFiles
from sdl_study.record.journal import read
from sdl_study.run import main
from sdl_study.storage.index import fetch, read_index
from sdl_study.storage.place import Place
from tests.integration.conftest import Engines
from tests.integration.golden_study import WALL_CLOCK
from tests.integration.tiny import tiny_data
from tests.storages import BUCKET, contents, environment

ROOT = Path(__file__).resolve().parents[2]
URL = f"s3://{BUCKET}/runs"
# One slot, whatever the machine: two workers on two CPUs.
COMMAND = """
import os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
from pathlib import Path
from sdl_study.run import main_of
from sdl_study.study.plan import make_plan
from sdl_study.study.session import execute
from tests.integration.tiny import tiny_study

def command():
    out, data, *storage = sys.argv[1:]
    overrides = {"train.epochs": 16, "train.workers": 2}
    if storage:
        overrides["storage"] = storage[0]
    execute([make_plan(tiny_study(Path(data)), Path(out), "tiny", overrides)], None, None)

sys.exit(main_of(command))
"""


@pytest.fixture
def storage_environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A server in a process of its own, and what it takes to use it."""
    port_file = tmp_path / "address"
    serving = subprocess.Popen([sys.executable, "-m", "tests.storages", str(port_file)], cwd=ROOT)
    while not port_file.exists():
        assert serving.poll() is None
        time.sleep(0.1)
    yield environment(port_file.read_text())
    serving.terminate()
    serving.wait()


def start(out: Path, data: Path, more: Mapping[str, str], *storage: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(out), str(data), *storage],
        cwd=ROOT,
        env={**os.environ, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(driver: subprocess.Popen[str]) -> str:
    told = driver.communicate(timeout=600)[0]
    assert driver.returncode == 0, told
    return told


def lose_machine(driver: subprocess.Popen[str], out: Path) -> None:
    """Kill the driver and all that it started, and remove every file of it."""
    processes = [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    for process in processes[1:]:
        if process.is_running():
            process.kill()
    psutil.wait_procs(processes[1:], timeout=30)
    shutil.rmtree(out)


def wait_for_middle(driver: subprocess.Popen[str], out: Path, place: Place) -> None:
    """The storage has a trial that ended and one that runs, with a checkpoint of it."""
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        assert driver.poll() is None, driver.communicate()[0]
        trials = read(StudyFiles(out, "tiny").journal).all()
        index = read_index(place)
        if len(trials) > 2 and index is not None and any(name.endswith("last.pt") for name in index.files):
            return
        time.sleep(0.1)
    raise AssertionError("the storage never had a trial in its middle")


def leaderboard(out: Path) -> list[str]:
    """The table without what was measured by a clock."""
    header, *rows = StudyFiles(out, "tiny").leaderboard.read_text().splitlines()
    kept = [place for place, name in enumerate(header.split(",")) if name not in WALL_CLOCK]
    return [",".join(row.split(",")[place] for place in kept) for row in (header, *rows)]


@pytest.mark.slow
def test_another_machine_goes_on_from_the_storage(
    tmp_path: Path, storage_environment: dict[str, str], engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines.close()
    for name, value in storage_environment.items():
        monkeypatch.setenv(name, value)
    place = Place(URL).below("tiny")
    data = tiny_data(tmp_path / "prepared")
    whole, one, two, looked = (tmp_path / name for name in ("whole", "one", "two", "looked"))
    finish(start(whole, data, storage_environment))

    driver = start(one, data, storage_environment, URL)
    wait_for_middle(driver, one, place)
    lose_machine(driver, one)
    data.rename(tmp_path / "elsewhere")  # nor are the data on the other machine
    told = finish(start(two, data, storage_environment, URL))
    assert re.search(rf"tiny +0:0\d  fetched from {URL}/tiny: \d+ files, ", told)
    assert "prepared data: " in told

    assert leaderboard(two) == leaderboard(whole)
    trials = read(StudyFiles(two, "tiny").journal).all()
    assert [trial.number for trial in trials] == list(range(9))
    client = MlflowClient(tracking_uri=StudyFiles(two, "tiny").mlflow_uri)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    numbers = Counter(run.data.tags["sdl.trial"] for run in runs if run.data.tags["sdl.role"] == "trial")
    assert numbers == Counter(dict.fromkeys(map(str, range(9)), 1))

    fetch(place, tmp_path / "there")
    here = contents(StudyFiles(two, "tiny").folder)
    assert contents(tmp_path / "there") == {
        k: v for k, v in here.items() if k not in (".lock", ".storage.json")
    }
    assert place.list("drivers") == {}
    assert main(["fetch", "tiny", "--storage", URL, "--out", str(looked)]) == 0
    for command in (
        ["report", "tiny"],
        ["status", "tiny"],
        ["reproduce", "tiny/sd-0"],
        ["export", "tiny/sd-0", "x"],
    ):
        monkeypatch.chdir(tmp_path)
        assert main([*command, "--out", str(looked)]) == 0, command


@pytest.mark.slow
def test_a_second_driver_is_refused_and_the_first_ends_in_order(
    tmp_path: Path, storage_environment: dict[str, str], engines: Engines
) -> None:
    engines.close()
    data = tiny_data(tmp_path / "prepared")
    first = start(tmp_path / "one", data, storage_environment, URL)
    while not StudyFiles(tmp_path / "one", "tiny").study_json.exists():
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.1)
    second = start(tmp_path / "two", data, storage_environment, URL)
    told = second.communicate(timeout=200)[0]
    assert second.returncode == 2
    assert told.startswith(f"error: {URL}/tiny: another process runs this study (")
    assert told.count("\n") == 1
    assert not (tmp_path / "two").exists()
    first.send_signal(signal.SIGTERM)
    told = first.communicate(timeout=120)[0]
    assert first.returncode == 130, told
    assert "interrupted; the same command goes on where it was\n" in told
