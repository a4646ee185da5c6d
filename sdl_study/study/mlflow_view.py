"""What of a study is shown in MLflow: records and results turned into runs."""

from __future__ import annotations

from sdl_study.study.finals import Final
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


def final_run(final: Final, stage: str, trials_of_arm: int) -> FinalRun:
    """A final's or control's run: the arm's parameters, dev and test metrics, what it cost."""
    work = final.work
    return FinalRun(
        key=work.job.key,
        name=f"{final.role} {setting_name(final.name, work.parameters)} {stage} seed {work.seed_number}",
        role=final.role,
        parameters={"arm": final.name, "stage": stage, "seed": work.seed_number, **work.parameters},
        metrics={"trials_of_arm": float(trials_of_arm), **_measured(final)},
        tags={"arm": final.name, "stage": stage},
        failure=final.failure,
    )


def _measured(final: Final) -> dict[str, float]:
    if final.result is None or final.test is None:
        return {}
    result = final.result
    device = "gpu_seconds" if result["device"] == "cuda" else "cpu_seconds"
    return {
        **result["metrics"],
        **{f"test/{key}": value for key, value in final.test.items()},
        "train/examples_seen": float(result["examples_seen"]),
        "best/epoch": float(result["best_epoch"]),
        device: result["seconds"] * result["workers"],
    }
