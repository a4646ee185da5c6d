"""What a worker group tells of a job: one event an epoch, and one that ends it.

Between processes and in files an event is plain values, written by ``to_plain`` and read by ``from_plain`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

FailureKind = Literal["setting", "machine", "bug"]
"""Whose failure it is: the setting's own (the same setting and seed would fail again: a loss that is not finite, CUDA's
out of memory), the machine's (a process, node, mount or device went away; the job can be run again), or another
exception's (a mistake in code or data)."""


@dataclass(frozen=True)
class Epoch:
    """An epoch is over and its checkpoint kept; the job waits for the answer.

    Attributes:
        epoch: number of the epoch, from 1 on.
        metrics: what was measured in it.
        attempts: how often the job has been handed out to a group, this time included.
    """

    epoch: int
    metrics: dict[str, float]
    attempts: int = 1


@dataclass(frozen=True)
class Done:
    """The job ran to its end.

    Attributes:
        result: what it came to, as plain values; never under the names ``event`` and ``attempts``.
        attempts: as in ``Epoch``.
    """

    result: dict[str, Any]
    attempts: int = 1


@dataclass(frozen=True)
class Stopped:
    """The answer to an epoch was to stop."""

    attempts: int = 1


@dataclass(frozen=True)
class Failed:
    """The job will not come to its end.

    Attributes:
        kind: whose failure it is.
        where: type of the exception and the project's own file and line, never its text; of the machine's failure
            what went away, where that is known.
        attempts: as in ``Epoch``.
        shown: what is printed beside it and never kept: the words of a mistake that the user can mend, or the whole
            traceback where the data are open and ``SDL_DEBUG=1`` asks for it.
    """

    kind: FailureKind
    where: str
    attempts: int = 1
    shown: str = ""

    @property
    def reason(self) -> str:
        """The failure in the words that are shown and kept."""
        return "machine" if self.kind == "machine" else self.where


End: TypeAlias = Done | Stopped | Failed
Event: TypeAlias = Epoch | End


def to_plain(event: Event) -> dict[str, Any]:
    """An event as plain values, with its type's name in lower case under ``event``."""
    match event:
        case Epoch():
            plain = {"event": "epoch", "epoch": event.epoch, "metrics": event.metrics}
        case Done():
            plain = {"event": "done", **event.result}
        case Stopped():
            plain = {"event": "stopped"}
        case Failed():
            plain = {
                "event": "failed",
                "kind": event.kind,
                "where": event.where,
                "shown": event.shown,
            }
    return {**plain, "attempts": event.attempts}


def from_plain(plain: Mapping[str, Any]) -> Event:
    """The event of plain values.

    Raises:
        ValueError: they are no event's.
    """
    values = dict(plain)
    name, attempts = values.pop("event", None), int(values.pop("attempts", 1))
    match name:
        case "epoch":
            return Epoch(int(values["epoch"]), dict(values["metrics"]), attempts)
        case "done":
            return Done(values, attempts)
        case "stopped":
            return Stopped(attempts)
        case "failed":
            return Failed(values["kind"], str(values["where"]), attempts, str(values["shown"]))
    raise ValueError(f"no event is called {name!r}")
