"""How the ranks of a group reach each other: by the address that Ray uses, whatever a machine's own name means.

gloo asks what the machine's name resolves to, which on Debian is 127.0.1.1 and in a container may be a bridge that no
other machine knows; NCCL takes the first interface that it likes. Both are told the interface instead.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from typing import Any

import psutil
import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

LOOPBACK = "127.0.0.1"
# A rank may compute alone for long while the others wait in a collective (a probe, a checkpoint on a slow disk); ranks
# that die are found by Ray in seconds. This is for one that hangs.
COLLECTIVE_TIMEOUT = timedelta(minutes=30)
_REACH_SECONDS = 15.0
# A rank that NCCL leaves in a collective ends its process and does not wait for NCCL to clean up, which may hang too.
_NCCL_ENDS_PROCESS = "3"
_listeners: list[socket.socket] = []


class GroupUnreachable(RuntimeError):
    """Ranks of a group cannot reach each other; its text names ranks and addresses."""


def interface_of(address: str, interfaces: Mapping[str, Sequence[Any]]) -> str | None:
    """The network interface that carries an address.

    Args:
        address: an IPv4 or IPv6 address.
        interfaces: as ``psutil.net_if_addrs`` gives them.
    """
    for name, carried in interfaces.items():
        if any(one.address.partition("%")[0] == address for one in carried):
            return name
    return None


def settings_of(
    address: str, together: bool, interfaces: Mapping[str, Sequence[Any]], given: Mapping[str, str]
) -> dict[str, str]:
    """Environment variables that a rank needs beside those that its machine gives already.

    Args:
        address: by which Ray knows this machine.
        together: whether all ranks are on this machine; they need no network then.
        interfaces: as in ``interface_of``.
        given: the environment.
    """
    found = {"TORCH_NCCL_ASYNC_ERROR_HANDLING": _NCCL_ENDS_PROCESS}
    name = interface_of(LOOPBACK if together else address, interfaces)
    if name is not None:
        found |= {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": f"={name}"}
    return {key: value for key, value in found.items() if not given.get(key)}


class GroupTorchConfig(TorchConfig):
    """Ray Train's process group, with the interface chosen and looked at before torch waits on it.

    Raises:
        GroupUnreachable: from the start of the group, where two of its machines do not reach each other.
    """

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """What sets the group up."""
        return _GroupBackend


class _GroupBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        addresses: list[tuple[str, str]] = worker_group.execute(_place)
        together = len({node for node, _ in addresses}) == 1
        worker_group.execute(_set_up, together)
        if not together:
            _check_reach(worker_group)
        super().on_start(worker_group, backend_config)


def _place() -> tuple[str, str]:
    return ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address()


def _set_up(together: bool) -> None:
    address = ray.util.get_node_ip_address()
    os.environ.update(settings_of(address, together, psutil.net_if_addrs(), os.environ))


def _check_reach(worker_group: Any) -> None:
    peers: list[tuple[str, int]] = worker_group.execute(_listen)
    try:
        refused: list[list[int]] = worker_group.execute(_unreached, peers)
    finally:
        worker_group.execute(_close)
    for rank, others in enumerate(refused):
        for other in others:
            raise GroupUnreachable(
                f"rank {rank} on {peers[rank][0]} does not reach rank {other} on {peers[other][0]}: the machines of a "
                "cluster need all TCP ports between them"
            )


def _listen() -> tuple[str, int]:
    address = ray.util.get_node_ip_address()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family)
    listener.bind((address, 0))
    listener.listen(1024)
    _listeners.append(listener)
    return address, listener.getsockname()[1]


def _unreached(peers: Sequence[tuple[str, int]]) -> list[int]:
    """Ranks that this one does not reach."""
    return [rank for rank, peer in enumerate(peers) if not reaches(peer, _REACH_SECONDS)]


def reaches(peer: tuple[str, int], seconds: float) -> bool:
    """Whether a connection to an address and port is taken."""
    try:
        with closing(socket.create_connection(peer, timeout=seconds)):
            return True
    except OSError:
        return False


def _close() -> None:
    while _listeners:
        _listeners.pop().close()
