"""With what the study ran: code, Python, packages, devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdl_study.record.outcome import Result
from sdl_study.report.page.card import Card
from sdl_study.report.page.frames import StudyFrames, counted

if TYPE_CHECKING:
    import polars as pl

KEY, TITLE = "environment", "Environment"


def frame(study: StudyFrames) -> pl.DataFrame:
    """One row per fact, one column per environment that worked on the study."""
    import polars as pl

    columns: dict[str, dict[str, str]] = {}
    for number, found in enumerate(study.record.environments, 1):
        facts = {name: str(found[name]) for name in ("code_version", "python", "system", "cpus")}
        columns[f"run {number}"] = facts | dict(found["packages"])
    names = list(dict.fromkeys(name for facts in columns.values() for name in facts))
    return pl.DataFrame(
        {"what": names, **{run: [facts.get(n) for n in names] for run, facts in columns.items()}}
    )


def card(study: StudyFrames) -> Card:
    """Code and packages, where the study wrote them down."""
    record = study.record
    code = record.identity.get("code_version", "unknown")
    devices = {f.outcome.device for f in record.finals if isinstance(f.outcome, Result)}
    ran = f"; finals ran on {', '.join(sorted(devices))}" if devices else ""
    sentence = f"Begun or last changed by version {code}{ran}."
    if not record.environments:
        return Card(
            KEY, TITLE, f"{sentence} This study is from before environments were written down.", applies=False
        )
    workers = record.identity["settings"]["train"]["workers"]
    share = "workers chosen by the machine" if workers is None else counted(workers, "worker") + " a batch"
    note = f"{counted(len(record.environments), 'environment')}, one after another; {share}."
    return Card(KEY, TITLE, sentence, frame(study), (), note, table=True)
