"""The open ports of a cluster's hosts: who listens, what it says without the token, and the table of it."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import probe
from tests.cluster.hosts import Hosts

_LISTENER = re.compile(r"^LISTEN +\d+ +\d+ +(\S+):(\d+) .*?(?:pid=(\d+)|$)")
GONE = "gone by now"
_LOOPBACK = ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]")
_FIXED = (22, 5000, 6379, 8265, 10001, 44217, 44227, 52365)
"""Ports that are the same on every cluster; Ray takes free ones for the others."""
_SERVICES = (
    ("sshd", "SSH"),
    ("gcs_server", "Ray: GCS"),
    ("raylet", "Ray: raylet, object manager"),
    ("ray.util.client.server", "Ray: client"),
    ("DashboardAgent|dashboard/agent", "Ray: agent"),
    ("RuntimeEnvAgent|runtime_env/agent", "Ray: environments"),
    ("autoscaler/_private/monitor|autoscaler/v2/monitor", "Ray: autoscaler"),
    ("dashboard", "Ray: dashboard"),
    ("mlflow|uvicorn", "MLflow"),
    ("ray::|tests.integration.tiny|sdl_study.run", "worker"),
)


@dataclass(frozen=True)
class Open:
    """A port that a host listens on.

    Attributes:
        service: whose it is.
        loopback: whether the host alone can reach it.
        http: what came of paths, from another host.
        grpc: what came of calls, from another host.
    """

    host: str
    port: int
    service: str
    loopback: bool
    http: dict[str, str]
    grpc: dict[str, str]

    @property
    def says(self) -> str:
        """What it answers without the token, in words."""
        if self.loopback:
            return "nothing: on loopback alone"
        if self.service == "SSH":
            return "keys alone"
        if self.grpc:
            calls = {code for call, code in self.grpc.items() if call != probe.HEALTH}
            health = "; health checks answer" if self.grpc.get(probe.HEALTH) == "ANSWERED" else ""
            return f"{', '.join(sorted(calls)) or 'no call'}{health}"
        if self.http:
            answered = [f"{path} answers" for path, said in sorted(self.http.items()) if said == "200"]
            return "; ".join([*sorted(set(self.http.values()) - {"200"}), *answered])
        return "neither HTTP nor gRPC"

    @property
    def refuses(self) -> bool:
        """Whether it gives nothing away without the token but health and metrics; torch has no token."""
        calls = {code for call, code in self.grpc.items() if call != probe.HEALTH}
        open_paths = {path for path, said in self.http.items() if said not in ("401", probe.METRICS)}
        torch = self.service in ("worker", GONE) and not self.grpc and not self.http
        if self.loopback or self.service == "SSH" or torch:
            return True
        if not self.grpc and not self.http:
            return False
        return calls <= {"UNAUTHENTICATED"} and open_paths <= {"/api/local_raylet_healthz"}


def scan(hosts: Hosts, name: str, other: str) -> list[Open]:
    """Every port that a host listens on, with what another host hears of those that it can reach."""
    script = hosts.folder / other / "root/probe.py"
    script.write_text(Path(probe.__file__).read_text())
    heard = hosts.run(other, f"~/sdl-env/bin/python ~/probe.py {hosts.address[name]}", 400.0)
    outside = {found["port"]: found for found in map(json.loads, heard.splitlines())}
    found = []
    for port, (service, loopback) in _listeners(hosts, name).items():
        assert not (loopback and port in outside), f"{name}:{port} is on loopback, and {other} reaches it"
        said = outside.pop(port, {"http": {}, "grpc": {}})
        found.append(Open(name, port, service, loopback, said["http"], said["grpc"]))
    found += [Open(name, port, GONE, False, said["http"], said["grpc"]) for port, said in outside.items()]
    return found


def _listeners(hosts: Hosts, name: str) -> dict[int, tuple[str, bool]]:
    """Whose a port is, and whether on loopback alone."""
    commands = dict(
        line.strip().split(maxsplit=1)
        for line in hosts.run(name, "ps -eo pid=,args=").splitlines()
        if " " in line.strip()
    )
    found: dict[int, tuple[str, bool]] = {}
    for line in hosts.run(name, "ss --listening --tcp --numeric --processes --no-header").splitlines():
        match = _LISTENER.match(line)
        assert match, line
        address, port, pid = match.groups()
        loopback = address in _LOOPBACK and found.get(int(port), ("", True))[1]
        found[int(port)] = (_service(commands.get(pid or "", "")), loopback)
    return found


def _service(command: str) -> str:
    for words, service in _SERVICES:
        if re.search(words, command):
            return service
    return command or "unknown"


def table(found: list[Open]) -> list[str]:
    """The ports by service and answer, as the README has them."""
    rows: dict[tuple[str, str], set[str]] = defaultdict(set)
    for port in found:
        service = port.service
        if service == "worker":
            service = "Ray: workers, driver" if port.grpc or port.http else "torch: gloo, TCPStore"
        if port.says == probe.METRICS:
            service = "Ray: Prometheus metrics"
        if port.service == GONE:
            continue
        rows[service, port.says].add(str(port.port) if port.port in _FIXED else "free ones")
    lines = ["| port | service | answers without the token |", "|---|---|---|"]
    for (service, says), ports in sorted(rows.items(), key=lambda row: row[0]):
        lines.append(
            f"| {', '.join(sorted(ports, key=lambda port: (len(port), port)))} | {service} | {says} |"
        )
    return lines
