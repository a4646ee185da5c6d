"""What of a host is open to its neighbours, and what it says without the token; runs on a host, as a script.

python probe.py ADDRESS     prints a line of JSON for every open TCP port: {"port": ..., "http": ..., "grpc": ...}

Every port is tried. Of an HTTP server the paths that answered, each with its status, or that it gave metrics; of a
gRPC server what every call came to, where it is a service of its own. No token is sent.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

METRICS = "metrics"
_EXPOSITION = b"# HELP "
"""How Prometheus' text begins."""
HEALTH = "/grpc.health.v1.Health/Check"
_SECONDS = 5.0
_AT_ONCE, _ASKED_AT_ONCE = 400, 16
_CALLS = (
    HEALTH,
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.RayletDriver/ClusterInfo",
    "/ray.rpc.ObjectManagerService/Pull",
    "/ray.rpc.ReporterService/GetTraceback",
)
_PATHS = ("/", "/metrics", "/api/version", "/api/jobs/", "/api/job_agent/jobs/", "/nodes?view=summary",
          "/api/local_raylet_healthz", "/get_runtime_envs_info",
          "/api/2.0/mlflow/experiments/search?max_results=1")  # fmt: skip
_NO_GRPC = ("UNAVAILABLE", "DEADLINE_EXCEEDED")


async def open_ports(address: str) -> list[int]:
    """TCP ports that take a connection."""
    gate, found = asyncio.Semaphore(_AT_ONCE), []

    async def knock(port: int) -> None:
        async with gate:
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), _SECONDS)
            except (OSError, TimeoutError):
                return
            found.append(port)
            writer.close()

    await asyncio.gather(*(knock(port) for port in range(1, 65536)))
    return sorted(found)


def http_answers(address: str, port: int) -> dict[str, str]:
    """Status of the paths that are there, or that metrics came; nothing where HTTP is not spoken."""
    found = {}
    for path in _PATHS:
        try:
            with urllib.request.urlopen(f"http://{address}:{port}{path}", timeout=_SECONDS) as answer:
                found[path] = METRICS if answer.read(len(_EXPOSITION)) == _EXPOSITION else str(answer.status)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                found[path] = str(error.code)
        except (OSError, http.client.HTTPException):
            break
    return found


def grpc_answers(address: str, port: int) -> dict[str, str]:
    """What Ray's services say to an empty request."""
    found = {}
    with grpc.insecure_channel(f"{address}:{port}") as channel:
        for call in _CALLS:
            ask = channel.unary_unary(call, request_serializer=bytes, response_deserializer=bytes)
            try:
                ask(b"", timeout=_SECONDS)
                found[call] = "ANSWERED"
            except grpc.RpcError as error:
                code = error.code().name  # of a call
                if code in _NO_GRPC:
                    break
                if code != "UNIMPLEMENTED":  # by this service
                    found[call] = code
    return found


def _asked(address: str, port: int) -> dict[str, Any]:
    found = http_answers(address, port)
    return {"port": port, "http": found, "grpc": {} if found else grpc_answers(address, port)}


if __name__ == "__main__":
    where = sys.argv[1]
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        for answers in pool.map(lambda port: _asked(where, port), asyncio.run(open_ports(where))):
            print(json.dumps(answers), flush=True)
