"""The interface that carries Ray's address is the one that gloo and NCCL are told."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from sdl_study.workers import network
from sdl_study.workers.network import GroupUnreachable, interface_of, reaches, settings_of


def carries(*addresses: str) -> list[Any]:
    return [SimpleNamespace(address=address) for address in addresses]


INTERFACES = {
    "lo": carries("127.0.0.1", "::1"),
    "docker0": carries("172.17.0.1"),
    "eth0": carries("10.77.0.12", "fe80::1%eth0", "00:11:22:33:44:55"),
}
NCCL = "TORCH_NCCL_ASYNC_ERROR_HANDLING"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.77.0.12", "eth0"),
        ("127.0.0.1", "lo"),
        ("172.17.0.1", "docker0"),
        ("fe80::1", "eth0"),
        ("127.0.1.1", None),  # what Debian's own name resolves to is carried by none
    ],
)
def test_the_interface_of_an_address(address: str, name: str | None) -> None:
    assert interface_of(address, INTERFACES) == name


def test_ranks_of_several_machines_are_told_the_interface_and_those_of_one_the_loopback() -> None:
    apart = settings_of("10.77.0.12", False, INTERFACES, {})
    assert apart == {"GLOO_SOCKET_IFNAME": "eth0", "NCCL_SOCKET_IFNAME": "=eth0", NCCL: "3"}
    together = settings_of("10.77.0.12", True, INTERFACES, {})
    assert together == {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "=lo", NCCL: "3"}


def test_what_the_machine_gives_already_is_kept() -> None:
    given = {"NCCL_SOCKET_IFNAME": "ib0", NCCL: "1"}
    assert settings_of("10.77.0.12", False, INTERFACES, given) == {"GLOO_SOCKET_IFNAME": "eth0"}
    assert settings_of("10.9.9.9", False, INTERFACES, {}) == {
        NCCL: "3"
    }  # nothing is known better than they do


class Ranks:
    """A worker group whose ranks are all in this process."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses

    def execute(self, call: Any, *given: Any) -> list[Any]:
        found = []
        for address in self._addresses:
            network.ray.util.get_node_ip_address = lambda address=address: address
            found.append(call(*given))
        return found


def test_ranks_that_reach_each_other_are_let_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network.ray.util, "get_node_ip_address", lambda: "")
    network._check_reach(Ranks(["127.0.0.1", "127.0.0.1"]))
    assert network._listeners == []


def test_a_rank_that_another_does_not_reach_is_named_with_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(network.ray.util, "get_node_ip_address", lambda: "")
    monkeypatch.setattr(network, "reaches", lambda peer, seconds: peer[0] != "127.0.0.2")
    with pytest.raises(
        GroupUnreachable, match=r"^rank 0 on 127\.0\.0\.1 does not reach rank 1 on 127\.0\.0\.2: "
    ):
        network._check_reach(Ranks(["127.0.0.1", "127.0.0.2"]))
    assert network._listeners == []


def test_a_port_that_nobody_listens_on_is_not_reached() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        assert not reaches(("127.0.0.1", probe.getsockname()[1]), 1.0)
        probe.listen()
        assert reaches(("127.0.0.1", probe.getsockname()[1]), 1.0)
