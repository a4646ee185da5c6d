"""Ray's part, played: two children that stand for its daemons."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sdl_study.workers.engine import Engine

SLEEP = "import time; time.sleep(60)"


class PlayedRay:
    """What ``ray.init`` does to the disk and starts, and whether Ray was left as its library wants it."""

    def __init__(self, folder: Path) -> None:
        self.temporary, self.session = folder, folder / "session_1"
        self.started: list[subprocess.Popen[bytes]] = []
        self.shut_down = self.must_leave = 0
        self.head = socket.socket()
        self.head.bind(("127.0.0.1", 0))
        self.fails: BaseException | None = None
        self.asked: Callable[..., Any] = lambda *_, **__: 0

    def init(self, **_: Any) -> SimpleNamespace:
        if self.fails is not None:
            raise self.fails
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        self.temporary = Path(os.environ["RAY_TMPDIR"]) if "RAY_TMPDIR" in os.environ else self.temporary
        for made in (self.session, self.session / "logs", self.session / "sockets"):
            made.mkdir(parents=True)
            made.chmod(0o777)
        (self.session / "logs" / "worker.out").write_text("printed")
        self.started = [subprocess.Popen([sys.executable, "-c", SLEEP]) for _ in range(2)]
        self.head.listen()
        port = self.head.getsockname()[1]
        found = {
            "session_dir": str(self.session),
            "raylet_socket_name": "none",
            "gcs_address": f"127.0.0.1:{port}",
        }
        return SimpleNamespace(address_info=found)

    def shutdown(self) -> None:
        self.shut_down += 1
        self.end()

    def end(self) -> None:
        self.head.close()
        for process in self.started:
            process.kill()
            process.wait()

    def get(self, *given: Any, **more: Any) -> Any:
        return self.asked(*given, **more)


def engine_of(folder: Path, address: str | None = None, **more: Any) -> Engine:
    return Engine(1, lambda memory: 1, "all", 1, folder, address, "builtins:print", **more)
