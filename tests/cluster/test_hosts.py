"""The hosts themselves: what the tests of a cluster rely on when they pull a cable or the power."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cluster.hosts import Hosts

pytestmark = pytest.mark.cluster

SSH = "ssh -o StrictHostKeyChecking=no -o LogLevel=ERROR -o ConnectTimeout=2"


def namespaces() -> set[str]:
    """Network namespaces that some process of this machine is in."""
    found = set()
    for process in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            found.add(str(process.readlink()))
        except OSError:  # it has just ended
            continue
    return found


def reaches(hosts: Hosts, one: str, other: str) -> bool:
    command = hosts.command(one, f"{SSH} {hosts.address[other]} hostname")
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.stdout.strip() == other


def test_cable_power_and_folders_are_real_and_nothing_is_left(tmp_path: Path) -> None:
    own: set[str] = set()
    with Hosts(tmp_path / "hosts", ("h1", "h2"), off=("h2",), own_name="127.0.1.1") as hosts:
        hosts.run("h1", "echo here > /mnt/study/file; echo kept > ~/kept")
        hosts.boot("h2")
        assert reaches(hosts, "h1", "h2")
        assert hosts.run("h2", "cat /mnt/study/file") == "here\n"
        assert hosts.run("h2", "getent hosts h2").split()[0] == "127.0.1.1"
        assert hosts.run("h2", "getent hosts h1").split()[0] == hosts.address["h1"]

        hosts.unplug("h2")
        assert not reaches(hosts, "h1", "h2")
        assert hosts.run("h2", "hostname") == "h2\n"  # it runs on, and does not know
        hosts.plug("h2")
        assert reaches(hosts, "h1", "h2")

        hosts.power_off("h2")
        assert not reaches(hosts, "h1", "h2")
        hosts.boot("h2", shares=False)
        assert reaches(hosts, "h1", "h2")
        assert hosts.run("h2", "ls /mnt/study") == ""
        hosts.power_off("h1")
        hosts.boot("h1")
        assert hosts.run("h1", "cat ~/kept") == "kept\n"
        own |= {hosts.run(name, "readlink /proc/self/ns/net").strip() for name in hosts.address}
        assert own <= namespaces()
    assert own
    assert not own & namespaces()
