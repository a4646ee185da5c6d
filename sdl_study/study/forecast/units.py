"""Numbers of a forecast as they are told."""

from __future__ import annotations


def millions_of(count: int) -> str:
    """A count, in millions where there is one."""
    return f"{count / 1e6:,.1f}M" if count >= 1e6 else f"{count:,}"


def bytes_of(count: float) -> str:
    """A size in the largest unit that leaves at least one."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:,.1f} kB"


def time_of(seconds: float) -> str:
    """A time in hours, minutes, seconds or milliseconds."""
    for unit, length, least in (("h", 3600.0, 5400.0), ("min", 60.0, 90.0), ("s", 1.0, 1.0)):
        if seconds >= least:
            return (
                f"{seconds / length:,.3g} {unit}"
                if seconds < 1000 * length
                else f"{seconds / length:,.0f} {unit}"
            )
    return f"{seconds * 1e3:.3g} ms"
