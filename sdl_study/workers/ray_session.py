"""Ray for the time of one engine: started on this machine or joined, watched, and left in order or not at all.

Ray's library ends the whole process, with words of its own, when Ray goes away (after a minute of silence) or when a
thread asks it something after ``ray.shutdown``. Both are kept from happening: a thread of our own watches the
processes that hold Ray together, and a Ray that cannot be left in order is ended together with this process.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private import worker as ray_worker

from sdl_study.ending import MachineFailure, must_leave_at_once, tell
from sdl_study.errors import UserError
from sdl_study.workers.network import reaches
from sdl_study.workers.ray_start import join, start_here, temporary_folder
from sdl_study.workers.session_folder import session_root

_WATCH_SECONDS = 0.25
GOES_ON = "the same command goes on where it was"
# How long the head of a cluster may not answer: Ray's library gives it up after 60 s, and this process with it.
_ASK_SECONDS, _HEAD_SECONDS = 2.0, 20.0
_END_SECONDS = 20.0  # what the main thread may take to end after that; it may wait for an answer of Ray's
# A machine of a cluster that went away is told in our own words; that groups need processes is no news.
_TOLD_BY_US = ("Raylet is terminated", "worker processes have been started")
_VITAL = ("gcs_server", "raylet")  # without either of them nothing that Ray holds is reachable any more


def is_own(address: str | None) -> bool:
    """Whether Ray is started here rather than joined."""
    return address in (None, "local")


class RaySession:
    """A connection to Ray.

    Args:
        address: of a running cluster; None or "local" starts one on this machine.
        on_lost: called from a thread of its own when Ray goes away.

    Attributes:
        logs: where Ray's logs lie.
        lost: which of Ray's processes went away, once one has.
    """

    def __init__(self, address: str | None, on_lost: Callable[[], None]) -> None:
        self.address, self.own, self._on_lost = address or "local", is_own(address), on_lost
        self._open = ExitStack()
        self._vital: dict[psutil.Process, str] = {}
        self._started: list[psutil.Process] = []
        self._leaving = threading.Event()
        self._asked = False
        self.logs = ""
        self.lost: str | None = None

    def start(self) -> None:
        """Start Ray, or join it.

        Raises:
            UserError: nothing answers at the address, or Ray's files have no place here.
            MachineFailure: Ray does not start.
        """
        before = psutil.Process().children()
        try:
            if self.own:
                self._start(before)
            else:
                found = join(self.address)
                self.logs = f"{found['session_dir']}/logs on each machine of the cluster"
                self._watch_joined(found["raylet_socket_name"], found["gcs_address"])
        except BaseException as error:
            # Where it is not the user's mistake Ray is half there, and its library crashes when it ends that.
            if not isinstance(error, UserError):
                must_leave_at_once()
                _end(_new_children(before))
            self._open.close()
            raise
        logging.getLogger("ray").setLevel(logging.ERROR)
        for name in ("ray.train", "ray.tune", "ray.data"):  # what they call an error is told in our own words
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def _start(self, before: list[psutil.Process]) -> None:
        root = session_root()
        self._open.enter_context(temporary_folder(root))
        folder = start_here(root)["session_dir"]
        self.logs = f"{folder}/logs"
        self._watch(_new_children(before), folder)

    def _watch(self, children: list[psutil.Process], folder: str) -> None:
        # A raylet that is killed leaves its agents behind, which nobody finds by their parent any more.
        self._started = [*children, *_descendants(children)]
        self._vital = {child: name for child in children if (name := _name_of(child)) in _VITAL}
        self._open.callback(_close_to_others, Path(folder))
        self._filter_prints(
            lambda _: self.look() is None
        )  # of a raylet that went away Ray prints its log's end
        threading.Thread(target=self._look_now_and_then, name="ray-watch", daemon=True).start()

    def _filter_prints(self, shown: Callable[[str], bool]) -> None:
        """Of what Ray prints into a driver's output, let through what is to be shown."""
        before = ray_worker.print_to_stdstream

        def print_some(data: dict[str, Any], *args: Any, **more: Any) -> None:
            if shown("\n".join(map(str, data["lines"]))):
                before(data, *args, **more)

        ray_worker.print_to_stdstream = print_some
        self._open.callback(setattr, ray_worker, "print_to_stdstream", before)

    def _watch_joined(self, raylet: str, head: str) -> None:
        """Ray's library ends this process without a word when the head is away for a minute, or the raylet here is."""
        self._vital = {process: "raylet" for process in psutil.process_iter() if _is_raylet(process, raylet)}
        self._filter_prints(lambda said: not any(sign in said for sign in _TOLD_BY_US))
        host, _, port = head.rpartition(":")
        self._head = (host.strip("[]"), int(port))
        threading.Thread(target=self._look_now_and_then, name="ray-watch", daemon=True).start()
        threading.Thread(target=self._ask_head, name="head-watch", daemon=True).start()

    def _ask_head(self) -> None:
        answered = time.monotonic()
        while not self._leaving.wait(_ASK_SECONDS):
            if reaches(self._head, _ASK_SECONDS):
                answered = time.monotonic()
            elif time.monotonic() - answered > _HEAD_SECONDS:
                self.lost = self.lost or f"the head of the cluster at {self._head[0]}"
                return

    def _look_now_and_then(self) -> None:
        while not self._leaving.wait(_WATCH_SECONDS):
            if self.look() and not self._leaving.is_set():
                self._on_lost()
                if not self.own and not self._leaving.wait(_END_SECONDS):
                    self._end_here()
                return

    def _end_here(self) -> None:
        """The main thread waits for Ray, whose library would end this process, without a word, a little later."""
        failure = None if self._asked else self.went_away()
        os._exit(1 if failure is None else tell(failure))

    def look(self, seconds: float = 0.0) -> str | None:
        """Which of Ray's processes went away, if one has; what it did before it was noticed may take a moment."""
        deadline = time.monotonic() + seconds
        while self.lost is None and not self._leaving.is_set():
            self.lost = next((name for process, name in self._vital.items() if not _runs(process)), None)
            if time.monotonic() >= deadline:
                break
            time.sleep(0.05)
        return self.lost

    def went_away(self, seconds: float = 0.0) -> MachineFailure | None:
        """What to say when Ray went away; None while it is there."""
        if self.look(seconds) is None:
            return None
        self._asked = True
        how = "ended" if self.lost in self._vital.values() else "does not answer"
        return MachineFailure(f"Ray went away ({self.lost} {how}); its logs: {self.logs}; {GOES_ON}")

    def leave(self, in_order: bool) -> None:
        """Disconnect from Ray, and end it where it was started here.

        Args:
            in_order: nothing in this process asks Ray anything any more; otherwise Ray is ended without its library's
                help, and this process has to end as soon as it has said everything.
        """
        lost = self.look()
        self._leaving.set()  # from here on Ray's processes may end
        if in_order and lost is None:
            ray.shutdown()
        else:
            must_leave_at_once()
            _end(self._started)
        self._open.close()


def _new_children(before: list[psutil.Process]) -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child not in before]


def _name_of(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def _is_raylet(process: psutil.Process, socket: str) -> bool:
    try:
        return process.name() == "raylet" and any(word.endswith(f"={socket}") for word in process.cmdline())
    except psutil.Error:
        return False


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _descendants(processes: list[psutil.Process]) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found.extend(process.children(recursive=True))
    return found


def _end(processes: list[psutil.Process]) -> None:
    """End processes and all that they started."""
    family = [*processes, *_descendants(processes)]
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=5.0)


def _close_to_others(session: Path) -> None:
    """Take from others what Ray has given them in its session; its folder is closed to them anyway."""
    for path in (session, *session.rglob("*")):
        if not path.is_symlink():
            with suppress(OSError):  # a process of Ray's that is still ending takes files away
                path.chmod(path.stat().st_mode & 0o700)
