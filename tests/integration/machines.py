"""A Ray cluster of several machines, each a raylet of its own on this one; they join and go away at a word."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from ray.cluster_utils import Cluster

from sdl_study.record.files import StudyFiles
from sdl_study.record.journal import read

ROOT = Path(__file__).resolve().parents[2]


class Machines:
    """The cluster.

    Args:
        head_cpus: of the machine on which studies are started.
    """

    def __init__(self, head_cpus: int = 0) -> None:
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": head_cpus, **_QUIET})
        self.address = str(self._cluster.address)

    def join(self, cpus: int = 1) -> Any:
        """A machine more."""
        return self._cluster.add_node(num_cpus=cpus, **_QUIET)

    def lose(self, machine: Any) -> None:
        """All its processes are killed."""
        self._cluster.remove_node(machine, allow_graceful=False)

    def close(self) -> None:
        for machine in list(self._cluster.worker_nodes):
            self.lose(machine)
        self._cluster.remove_node(self._cluster.head_node, allow_graceful=False)


_QUIET = {"include_dashboard": False}


@contextmanager
def machines(head_cpus: int = 0) -> Iterator[Machines]:
    """A cluster whose files lie where sockets may; no other is started beside it."""
    with tempfile.TemporaryDirectory(prefix="s", dir="/tmp", ignore_cleanup_errors=True) as folder:
        before = os.environ.get("RAY_TMPDIR")
        os.environ["RAY_TMPDIR"] = folder
        try:
            made = Machines(head_cpus)
            try:
                yield made
            finally:
                made.close()
        finally:
            del os.environ["RAY_TMPDIR"]
            if before is not None:
                os.environ["RAY_TMPDIR"] = before


class Command:
    """The tiny study on a cluster, with what it has said so far."""

    def __init__(
        self,
        out: Path,
        address: str,
        *overrides: str,
        name: str = "tiny",
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "tests.integration.tiny", str(out), "--address", address, "--name", name,
                *overrides,
            ],
            cwd=ROOT, env={**os.environ, **(more or {})}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def until(self, words: str, seconds: float = 300.0, times: int = 1) -> float:
        """Wait until a line with these words was said so many times; returns how long that took."""
        started = time.monotonic()
        while sum(words in line for line in list(self.lines)) < times:
            assert time.monotonic() - started < seconds, f"not said: {words}\n{self.text}"
            assert self.process.poll() is None or words in self.text, f"ended, not said: {words}\n{self.text}"
            time.sleep(0.05)
        return time.monotonic() - started

    def ends(self, seconds: float = 600.0) -> int:
        """Wait for its end; returns the exit code."""
        code = self.process.wait(timeout=seconds)
        self._reader.join(10.0)
        return code

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def check_whole(out: Path, name: str, trials: int, epochs: int) -> None:
    """Every trial is complete with every epoch, and has one run in MLflow with every step once."""
    files = StudyFiles(out, name)
    records = read(files.journal).all()
    assert [(record.state, sorted(record.epochs)) for record in records] == [
        ("complete", [*range(1, epochs + 1)])
    ] * trials
    assert files.answer.exists()
    client = MlflowClient(tracking_uri=files.mlflow_uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    ran = Counter(run.data.tags["sdl.trial"] for run in runs if run.data.tags["sdl.role"] == "trial")
    assert ran == Counter(str(record.number) for record in records)
    for run in runs:
        for key in run.data.metrics:
            steps = [metric.step for metric in client.get_metric_history(run.info.run_id, key)]
            assert len(steps) == len(set(steps)), (run.info.run_name, key)
