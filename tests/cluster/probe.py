"""What of a host is open to its neighbours, and what it says without the token; runs on a host, as a script.

python probe.py ADDRESS     prints a line of JSON for every open TCP port: {"port": ..., "http": ..., "grpc": ...}

Of an HTTP server the paths that answered, each with status and type of content; of a gRPC server what one of Ray's
calls came to, by the service that knows it. No token is sent.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.error
import urllib.request

import grpc

_SECONDS = 3.0
_AT_ONCE = 400
_CALLS = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.RayletDriver/ClusterInfo",
    "/ray.rpc.ObjectManagerService/FreeObjects",
    "/ray.rpc.ReporterService/GetTraceback",
)
_PATHS = ("/", "/metrics", "/api/version", "/api/jobs/", "/api/job_agent/jobs/", "/nodes?view=summary",
          "/get_runtime_envs_info", "/api/2.0/mlflow/experiments/search?max_results=1")  # fmt: skip
_OF_ANOTHER_SERVICE = ("UNIMPLEMENTED", "UNAVAILABLE", "DEADLINE_EXCEEDED")


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
    """Status and type of content of the paths that are there; nothing where HTTP is not spoken."""
    found = {}
    for path in _PATHS:
        try:
            with urllib.request.urlopen(f"http://{address}:{port}{path}", timeout=_SECONDS) as answer:
                found[path] = f"{answer.status} {answer.headers.get_content_type()}"
        except urllib.error.HTTPError as error:
            if error.code != 404:
                found[path] = str(error.code)
        except (OSError, ValueError, EOFError):
            return found
        except Exception as error:  # noqa: BLE001 (http.client raises what it likes on bytes that are no HTTP)
            return {**found, path: type(error).__name__} if found else {}
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
                code = error.code().name
                if code not in _OF_ANOTHER_SERVICE:
                    found[call] = code
    return found


if __name__ == "__main__":
    for open_port in asyncio.run(open_ports(sys.argv[1])):
        answers = {
            "http": http_answers(sys.argv[1], open_port),
            "grpc": grpc_answers(sys.argv[1], open_port),
        }
        print(json.dumps({"port": open_port, **answers}), flush=True)
