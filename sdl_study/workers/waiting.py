"""Waiting for machines: what is said meanwhile, for how long, and what the autoscaler does about it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray.experimental.internal_kv import _internal_kv_get
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

from sdl_study.errors import UserError
from sdl_study.workers.places import Cluster, NoPlace, Places

LIMIT = "SDL_WAIT_MINUTES"
_LIMIT_MINUTES = 30.0
_LOOK_SECONDS = 1.0
_FIRST_LOOK_SECONDS, _LOOK_AT_PLACE_SECONDS = 0.02, 0.5
_TELL_SECONDS = 5.0
_TELL_LATER_SECONDS = 600.0

Say = Callable[[str], None]


def limit_seconds() -> float:
    """How long a study waits while no worker group has a place: ``SDL_WAIT_MINUTES``, or half an hour.

    Raises:
        UserError: it is no number of minutes.
    """
    given = os.environ.get(LIMIT, "")
    try:
        minutes = float(given) if given else _LIMIT_MINUTES
    except ValueError:
        minutes = -1.0
    if not 0.0 <= minutes < float("inf"):
        raise UserError(f"{LIMIT}={given}: needs a number of minutes, for example 30")
    return minutes * 60.0


def clock(seconds: float) -> str:
    """A time in words: seconds below two minutes, then minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


class Patience:
    """Says now and then that something is waited for: after five seconds, then seldom and seldom.

    Args:
        say: prints a line.
        often: whether every five seconds all the time.
    """

    def __init__(self, say: Say, often: bool = False) -> None:
        self._say, self._often = say, often
        self._since = time.monotonic()
        self._next, self._gap = _TELL_SECONDS, _TELL_SECONDS
        self.told = False

    @property
    def waited(self) -> float:
        """Seconds."""
        return time.monotonic() - self._since

    def tell(self, words: str) -> None:
        """Say it, where it is time."""
        if self.waited < self._next:
            return
        self._say(f"{words} (for {clock(self.waited)})")
        self.told = True
        if not self._often:
            self._gap = min(2 * self._gap, _TELL_LATER_SECONDS)
        self._next = self.waited + self._gap


def first_places(
    find: Callable[[Cluster], Places], workers: int, say: Say, address: str
) -> tuple[Cluster, Places]:
    """The groups of a cluster that was joined, once at least one fits.

    The want is made known to the cluster as a placement group, by which an autoscaler starts machines.

    Args:
        find: the groups that fit a cluster, or ``NoPlace``.
        workers: of a group, as far as is known before there are machines.
        say: prints a line.
        address: of the cluster, as the user gave it.

    Raises:
        UserError: none fits before the time is over; and what ``find`` raises.
    """
    limit, patience = limit_seconds(), Patience(say, often=True)
    want: _Want | None = None
    try:
        while True:
            cluster = Cluster.joined()
            try:
                return cluster, find(cluster)
            except NoPlace as no:
                missing = no
            want = want or _Want(workers)
            words = f"a group needs {missing.needs}, the cluster has {cluster.words}{pending()}"
            if patience.waited >= limit:
                raise UserError(
                    f"--address {address}: no worker group had a place within {clock(limit)}: {words}; add machines, "
                    f"ask for fewer with --workers, or wait longer with {LIMIT}"
                )
            patience.tell(f"waits for machines: {words}")
            time.sleep(min(_LOOK_SECONDS, max(0.0, limit - patience.waited)))
    finally:
        if want is not None:
            want.close()


class _Want:
    """Workers that have no place yet, made known to the cluster."""

    def __init__(self, workers: int) -> None:
        self._group = placement_group([{"CPU": 1.0}] * workers, strategy="PACK")

    def close(self) -> None:
        remove_placement_group(self._group)


def place_for(places: Places, ends: Callable[[], bool], meanwhile: Callable[[], None]) -> bool:
    """Wait until a group has a place; returns whether it has one, or whether waiting came to an end first.

    Its state is looked at. Ray's own ``PlacementGroup.wait`` takes whole seconds, so that half of one is none, and
    every call leaves some 20 KB in Ray's head for as long as the group waits: gigabytes in minutes.

    Args:
        places: of the groups.
        ends: whether to wait no longer.
        meanwhile: called about twice a second.
    """
    group = placement_group(places.bundles, strategy=places.strategy)
    try:
        pause = _FIRST_LOOK_SECONDS
        while placement_group_table(group).get("state") != "CREATED":
            if ends():
                return False
            meanwhile()
            time.sleep(pause)
            pause = min(2 * pause, _LOOK_AT_PLACE_SECONDS)
        return True
    finally:
        remove_placement_group(group)


def pending() -> str:
    """What the autoscaler has pending, as the end of a sentence; "" where there is none, or it has not said."""
    said: Any = _internal_kv_get(DEBUG_AUTOSCALING_STATUS)
    if not said:
        return ""
    report: dict[str, Any] = json.loads(said).get("autoscaler_report") or {}
    launches = sum((report.get("pending_launches") or {}).values())
    starting, failed = len(report.get("pending_nodes") or ()), len(report.get("failed_nodes") or ())
    parts = [
        f"{count} {word}"
        for count, word in ((launches, "asked for"), (starting, "starting"), (failed, "failed"))
        if count
    ]
    return f"; the autoscaler has {', '.join(parts)}" if parts else "; the autoscaler starts none"
