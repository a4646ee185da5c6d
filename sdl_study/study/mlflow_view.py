"""What of a study is shown in MLflow: records and results turned into runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdl_study.study.jobs import Work
from sdl_study.study.progress import setting_name, trial_name
from sdl_study.study.records import TrialRecord
from sdl_study.tracking import FinalRun, TrialRun


def trial_run(record: TrialRecord, objective: str) -> TrialRun:
    """A trial's run: parameters, every epoch, and at the end what it came to."""
    summary: dict[str, float] = {"epochs": float(len(record.epochs)), "seconds": record.seconds}
    best = record.best_epoch(objective)
    if best is not None and record.objective is not None:
        summary |= {"objective": record.objective, "best/epoch": float(best)}
    tags = {"sdl.sampled_by": record.sampled_by, "sdl.attempts": str(record.attempts)}
    if record.reason:
        tags["sdl.reason"] = record.reason
    return TrialRun(
        number=record.number,
        name=trial_name(record),
        arm=record.arm,
        state=record.state,
        parameters=record.parameters,
        epochs=record.epochs,
        summary=summary,
        tags=tags,
    )


def final_run(
    work: Work, name: str, role: str, result: Mapping[str, Any], test: Mapping[str, float], more: Mapping[str, float],
    stage: str,
) -> FinalRun:  # fmt: skip
    """A final's or control's run: the arm's parameters, dev and test metrics, what it cost."""
    metrics = {
        **result["metrics"],
        **{f"test/{key}": value for key, value in test.items()},
        "train/examples_seen": float(result["examples_seen"]),
        "best/epoch": float(result["best_epoch"]),
        **more,
    }
    return FinalRun(
        key=work.job.key,
        name=f"{role} {setting_name(name, work.parameters)} {stage} seed {work.seed_number}",
        role=role,
        parameters={"arm": name, "stage": stage, "seed": work.seed_number, **work.parameters},
        metrics=metrics,
        tags={"arm": name, "stage": stage},
    )
