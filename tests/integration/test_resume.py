"""kill -9 of the driver in the middle of a study, then the same command: nothing lost, nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sdl_study.record.journal import read
from sdl_study.record.trials import TrialRecord
from tests.integration.conftest import Engines
from tests.integration.tiny import tiny_data

ROOT = Path(__file__).resolve().parents[2]


def command(out: Path) -> list[str]:
    return [sys.executable, "-m", "tests.integration.tiny", str(out), "train.epochs=6"]


def records(out: Path) -> list[TrialRecord]:
    return read(out / "tiny" / "journal.log").all()


def wait_until_in_the_middle(out: Path, driver: subprocess.Popen[str]) -> tuple[set[int], TrialRecord]:
    """A trial is complete, and the one that runs has epochs behind and before it."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert driver.poll() is None, driver.communicate()[0]
        found = records(out)
        complete = {record.number for record in found if record.state == "complete"}
        for record in found:
            if record.state == "running" and complete and 1 <= len(record.epochs) <= 4:
                return complete, record
        time.sleep(0.02)
    raise AssertionError("no trial was seen in its middle")


def start(out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(out), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.slow
def test_a_terminated_and_then_killed_driver_is_resumed(tmp_path: Path, engines: Engines) -> None:
    engines.close()
    tiny_data(tmp_path / "prepared")
    driver = start(tmp_path)
    while not any(record.epochs for record in records(tmp_path)):
        assert driver.poll() is None, driver.communicate()[0]
        time.sleep(0.05)
    driver.send_signal(signal.SIGTERM)
    told = driver.communicate(timeout=120)[0]
    assert driver.returncode == 130, told
    assert told.endswith("interrupted; the same command goes on where it was\n")

    driver = start(tmp_path)
    complete, hit = wait_until_in_the_middle(tmp_path, driver)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    before = {record.number: record for record in records(tmp_path)}
    assert before[hit.number].state == "running"

    again = subprocess.run(
        command(tmp_path), check=False, cwd=ROOT, capture_output=True, text=True, timeout=400
    )
    assert again.returncode == 0, again.stderr

    after = {record.number: record for record in records(tmp_path)}
    assert len(after) == 9
    for number in complete:
        assert after[number] == before[number]
    resumed = after[hit.number]
    assert resumed.state in ("complete", "pruned")
    assert resumed.attempts >= 2
    for epoch, metrics in before[hit.number].epochs.items():
        assert resumed.epochs[epoch] == metrics
    first_line = next(
        line for line in again.stdout.splitlines() if f"{hit.number:03d} " in line and "epoch" in line
    )
    repeated = int(first_line.split("epoch ")[1].split("/")[0])
    assert repeated >= len(before[hit.number].epochs)

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    trials = [run for run in runs if run.data.tags["sdl.role"] == "trial"]
    assert Counter(int(run.data.tags["sdl.trial"]) for run in trials) == Counter(dict.fromkeys(after, 1))
    for run in runs:
        assert run.info.status in ("FINISHED", "KILLED", "FAILED")
        for key in run.data.metrics:
            steps = Counter(metric.step for metric in client.get_metric_history(run.info.run_id, key))
            assert set(steps.values()) == {1}, (run.info.run_name, key)
