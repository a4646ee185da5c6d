"""How far studies are, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from sdl_study.record.status import StudyStatus
from sdl_study.report.tables import text_table

_COLUMNS = {
    "study": "", "state": "", "trials": "", "best on dev": ".4f", "arm": "", "finals": "", "verdict": "", "running": "",
    "left": "", "disk": "",
}  # fmt: skip
_UNITS = ("B", "kB", "MB", "GB", "TB")


def status_text(studies: Sequence[StudyStatus], now: datetime) -> str:
    """One line a study, and below it why one cannot be read."""
    rows = [_row(study, now) for study in studies]
    reasons = [f"{study.name}: {study.reason}" for study in studies if study.reason]
    return "\n".join([text_table(rows, _COLUMNS), *reasons])


def status_json(studies: Sequence[StudyStatus], now: datetime) -> str:
    """The same for machines: ``{"studies": [...]}``, their keys as ``StudyStatus.to_dict`` has them."""
    return json.dumps({"studies": [study.to_dict(now) for study in studies]}, indent=2, ensure_ascii=False)


def _row(study: StudyStatus, now: datetime) -> dict[str, str | float | None]:
    by, left = study.held.by, study.seconds_left
    running = study.state == "running" and by is not None
    return {
        "study": study.name,
        "state": _state(study),
        "trials": None if study.counts is None else _trials(study),
        "best on dev": None if study.best is None else study.best.objective,
        "arm": None if study.best is None else study.best.arm,
        "finals": None if study.finals is None else f"{study.finals[0]} of {study.finals[1]}",
        "verdict": study.verdict,
        "running": duration(by.seconds(now)) if running and by is not None else None,
        "left": None if left is None else f"about {duration(left)}",
        "disk": size(study.disk),
    }


def _state(study: StudyStatus) -> str:
    """The state, and which process is or was at it."""
    by = study.held.by
    if by is None or study.state not in ("running", "interrupted"):
        return study.state
    where = f"pid {by.pid}" if by.is_here else f"pid {by.pid} on {by.host}"
    return f"running, {where}" if study.state == "running" else f"interrupted, {where} died"


def _trials(study: StudyStatus) -> str:
    """What became of the trials; those that have begun and not ended are open while nobody runs them."""
    counts = study.counts or {}
    words = [f"{study.ended} of {study.arms} x {study.wanted}"]
    words += [f"{counts[name]} {name}" for name in ("pruned", "failed") if counts.get(name)]
    if counts.get("running"):
        words.append(f"{counts['running']} {'running' if study.held.held else 'open'}")
    if limits := study.spent.words(study.budget):
        words.append(limits)
    return ", ".join(words)


def duration(seconds: float) -> str:
    """A time in its two largest units: ``3 h 05 min``, ``12 min``, ``40 s``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def size(count: float) -> str:
    """Bytes in the unit that leaves two digits or three: ``3.1 GB``."""
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.1f} {_UNITS[unit]}" if unit and count < 100 else f"{count:.0f} {_UNITS[unit]}"
