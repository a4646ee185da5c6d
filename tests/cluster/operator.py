"""Whoever works with a cluster: sits at a laptop with a clone, and types what the recipe says."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.hosts import Hosts

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "sdl_study/cluster/local.yaml"
HOME = Path("root/sdl-study")
_SHELL = (
    "cd ~/sdl-study && export PATH=~/sdl-env/bin:$PATH RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 "
    "RAY_UP_enable_autoscaler_v2=0 && "
)
_PLACED = re.compile(r"ip=([\d.]+), pid=\d+\) world_rank=(\d+)")
URI = "http://127.0.0.1:5000"
API = f"{URI}/api/2.0/mlflow"


@dataclass(frozen=True)
class Run:
    """A run as MLflow's API tells it."""

    key: str
    role: str
    id: str
    status: str
    end_time: int
    artifacts: str

    @classmethod
    def of(cls, info: dict[str, Any], data: dict[str, Any]) -> Run:
        tags = {tag["key"]: tag["value"] for tag in data["tags"]}
        return cls(
            tags["sdl.key"], tags["sdl.role"], info["run_id"], info["status"], info.get("end_time", 0),
            info["artifact_uri"],
        )  # fmt: skip


class Operator:
    """Of a cluster of hosts: ``head``, and workers of one CPU each.

    Args:
        hosts: among them ``laptop``, which gets the clone and the recipe with these hosts' addresses.
        workers: names of those that train.
    """

    def __init__(self, hosts: Hosts, workers: tuple[str, ...]) -> None:
        self.hosts, self.workers = hosts, workers
        clone = hosts.folder / "laptop" / HOME
        for name in own_files():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
        (clone / "local.yaml").write_text(self._recipe())

    def _recipe(self) -> str:
        """The project's recipe; what a reader would write into it too is changed, nothing else."""
        text = RECIPE.read_text()
        workers = ", ".join(self.hosts.address[name] for name in self.workers)
        for before, after in (
            ("head_ip: 192.0.2.10", f"head_ip: {self.hosts.address['head']}"),
            ("worker_ips: [192.0.2.11, 192.0.2.12]", f"worker_ips: [{workers}]"),
            ("ssh_user: ubuntu", "ssh_user: root"),
            ("ray start --address", "ray start --num-cpus=1 --address"),
        ):
            assert text.count(before) == 1, before
            text = text.replace(before, after)
        return text

    def types(self, line: str, seconds: float = 300.0) -> str:
        """A line of shell in the clone, as the recipe says; returns what it prints."""
        return self.hosts.run("laptop", _SHELL + line, seconds)

    def up(self) -> str:
        """``ray up``; the token is made at the first time. Returns what it prints."""
        self.types("test -e ~/.ray/auth_token || ray get-auth-token --generate > /dev/null 2>&1")
        return self.types("ray up -y local.yaml", 600.0)

    def on_head(self, line: str, seconds: float = 300.0) -> str:
        """``ray exec``."""
        return self.types(f"ray exec local.yaml {shlex.quote(line)}", seconds)

    def submit(self, job: str, study: str) -> None:
        """Start a study as a job of the cluster."""
        where = f"--address auto --out /mnt/study --tracking-uri {URI}"
        self.submit_command(job, f"python -m sdl_study.run study {study} {where}")

    def submit_command(self, job: str, command: str) -> None:
        """Start a job of the cluster."""
        self.on_head(f"ray job submit --no-wait --submission-id {job} -- {command}")

    def follow(self, job: str, seconds: float = 400.0) -> str:
        """The job's lines until it ends; it must succeed."""
        told = self.on_head(f"ray job logs --follow {job}", seconds)
        status = self.on_head(f"ray job status {job}")
        assert f"Job '{job}' succeeded" in status, f"{told}\n{status}"
        return told

    @contextmanager
    def forward(self) -> Iterator[None]:
        """``ray attach -p 5000``, open for a while."""
        line = f"{_SHELL} sleep infinity | ray attach local.yaml -p 5000"
        typed = subprocess.Popen(
            self.hosts.command("laptop", line),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            until(self._answers, "MLflow does not answer through the forward", 120.0)
            yield
        finally:
            self.hosts.run(
                "laptop", "kill $(pgrep -f '[s]leep infinity'); kill $(pgrep -f '[r]ay attach'); true"
            )
            typed.wait(60)

    def _answers(self) -> bool:
        line = f"curl --silent --fail --max-time 3 {URI}/health > /dev/null && echo yes || true"
        return "yes" in self.hosts.run("laptop", line)

    def asks(self, call: str, **content: Any) -> Any:
        """A call of MLflow's API from the laptop, while the forward is open."""
        body = shlex.quote(json.dumps(content))
        line = f"curl --silent --show-error --fail --header 'Content-Type: application/json' --data {body} {API}/{call}"
        return json.loads(self.hosts.run("laptop", line))

    def runs(self, study: str) -> list[Run]:
        """A study's runs, while the forward is open."""
        listed = self.asks("experiments/search", max_results=50)["experiments"]
        (experiment,) = [found["experiment_id"] for found in listed if found["name"] == study]
        found = self.asks("runs/search", experiment_ids=[experiment], max_results=500)["runs"]
        return [Run.of(run["info"], run["data"]) for run in found]

    def ranks(self) -> list[dict[int, str]]:
        """The hosts of every worker group that was started (``ranks_of``)."""
        return ranks_of(self.hosts, ("head", *self.workers))

    def raylet(self, name: str) -> str:
        """The process id of a host's raylet; "" where none runs."""
        return self.hosts.run(name, "pgrep --newest --exact raylet || true").strip()

    def has_started(self, name: str) -> bool:
        """Whether Ray's autoscaler has done with starting a host: one that is lost before is never tried again."""
        state = json.loads((self.hosts.folder / "head/tmp/ray/cluster-sdl-study.state").read_text())
        return state[self.hosts.address[name]]["tags"]["ray-node-status"] == "up-to-date"

    def has_no_token_outside_its_file(self) -> None:
        """No process list or environment, log, artifact or file of MLflow holds the cluster's token."""
        token = (self.hosts.folder / "laptop/root/.ray/auth_token").read_text().strip()
        assert len(token) >= 32
        for name in ("head", *self.workers):
            assert token in self.hosts.run(name, "cat ~/.ray/auth_token")
            assert token not in self.hosts.run(
                name, "ps -eo args; cat /proc/[0-9]*/environ 2> /dev/null | tr '\\0' '\\n'"
            )
            found = f"grep --no-messages --recursive --files-with-matches {token} /tmp ~/.sdl-mlflow /mnt/study || true"
            assert self.hosts.run(name, found) == ""

    def ray_processes(self) -> dict[str, str]:
        """What of Ray runs, by host."""
        line = "pgrep --list-full --full '[r]ay/(core|_private|dashboard|autoscaler)|^[r]ay::' || true"
        found = {name: self.hosts.run(name, line) for name in ("head", *self.workers)}
        return {name: shown for name, shown in found.items() if shown}


def ranks_of(hosts: Hosts, names: tuple[str, ...]) -> list[dict[int, str]]:
    """The hosts of every worker group that was started, by rank, as Ray Train's logs on the hosts say it."""
    known = {address: name for name, address in hosts.address.items()}
    logs = [
        log
        for name in names
        for log in hosts.folder.glob(f"{name}/tmp/*ray*/session_*/logs/train/ray-train-app-controller-*.log")
    ]
    lines = sorted(line for log in logs for line in log.read_text().splitlines())  # each begins with its time
    placed = [_PLACED.findall(line) for line in lines]
    return [{int(rank): known[address] for address, rank in group} for group in placed if group]


def until(holds: Callable[[], bool], what: str, seconds: float) -> float:
    """Wait; returns the seconds that it took.

    Raises:
        AssertionError: it does not hold in time.
    """
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, what
        time.sleep(1.0)
    return time.monotonic() - began


def own_files() -> list[str]:
    """Names of the files of the clone that these tests are in, changed and new ones too."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
