"""What of a study is shown outside its folder: records and results turned into MLflow's runs and files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sdl_study.arms import Arm
from sdl_study.evaluation.verdict import Comparison
from sdl_study.files import read_json, write_json, write_text
from sdl_study.record.answer import Answer
from sdl_study.record.files import ENCODER_FOLDER
from sdl_study.record.finals import Final, of_stage
from sdl_study.record.findings import remarks
from sdl_study.record.outcome import Result
from sdl_study.record.rows import Row, mean_test
from sdl_study.record.trials import TrialRecord, leaderboard
from sdl_study.report.descriptions import final_note, trial_note
from sdl_study.report.export.places import own_module, rewritten, without_folders
from sdl_study.report.names import edge_name, setting_name, trial_name
from sdl_study.report.tables import csv_table
from sdl_study.space import SearchSpace
from sdl_study.study.plan import Plan
from sdl_study.study.search.sampler import PUBLISHED, WARM
from sdl_study.tracking import FinalRun, Tracker, TrialRun

_LOGARITHMIC = ("temperature", "learning_rate")


def trial_run(record: TrialRecord, arm: Arm, plan: Plan) -> TrialRun:
    """A trial's run: parameters, every epoch, and at the end what it came to; found as ``STUDY/NUMBER``."""
    summary: dict[str, float] = {"epochs": float(len(record.epochs)), "seconds_total": record.seconds}
    if record.best_epoch is not None and record.objective is not None:
        summary |= {"objective": record.objective, "best/epoch": float(record.best_epoch)}
    tags = {
        "sdl.run": f"{plan.name}/{record.number}",
        "sdl.sampled_by": record.sampled_by,
        "sdl.attempts": str(record.attempts),
        "sdl.search": str(record.search),
        **_of_arm(arm),
        **_of_published(record, plan.space),
        **_of_earlier(record, plan),
    }
    if record.reason:
        tags["sdl.reason"] = record.reason
    return TrialRun(
        number=record.number,
        name=trial_name(record),
        arm=record.arm,
        state=record.state,
        parameters=with_logarithms(record.parameters),
        epochs=record.epochs,
        summary=summary,
        tags=tags,
        description=trial_note(plan.name, record, plan.settings.objective),
    )


def with_logarithms(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters, and log10 of temperatures and learning rates: MLflow's axes are linear."""
    twins = {
        twin: math.log10(value)
        for name, value in parameters.items()
        if (twin := logarithm_of(name)) is not None and isinstance(value, int | float) and value > 0
    }
    return {**parameters, **twins}


def logarithm_of(name: str) -> str | None:
    """Under which name MLflow has the logarithm of a parameter; None where it has none."""
    return f"{name}.log10" if name.rpartition(".")[2] in _LOGARITHMIC else None


def _of_arm(arm: Arm) -> dict[str, str]:
    """What tells an arm from another of the same parameters: its loss, and what it fixes of it."""
    fixed = {"sdl.fixed": json.dumps(arm.fixed, sort_keys=True)} if arm.fixed else {}
    return {"sdl.loss": arm.loss, **fixed}


def _of_published(record: TrialRecord, space: SearchSpace) -> dict[str, str]:
    """Of an arm's published setting, which values were published, where, and which are the study's own."""
    if record.sampled_by != PUBLISHED:
        return {}
    origins = space.origins.get(record.arm, {})
    found = [f"{name} ({origins[name]})" for name in record.parameters if name in origins]
    own = [name for name in record.parameters if name not in origins]
    return {"sdl.published": ", ".join(found) or "nothing", "sdl.own_values": ", ".join(own) or "none"}


def _of_earlier(record: TrialRecord, plan: Plan) -> dict[str, str]:
    """Which trial of an earlier study a trial began from."""
    if plan.warm is None or record.sampled_by != WARM:
        return {}
    return {
        "sdl.warm_start": f"{plan.warm.study}/{plan.warm.points[record.arm][record.arm_number - 1].trial}"
    }


def final_run(final: Final, trials_of_arm: int, study: str) -> FinalRun:
    """A final's or control's run: the arm's parameters, dev and test metrics, what it cost."""
    slot, stage, is_arm = final.slot, final.slot.stage, final.role == "final"
    return FinalRun(
        key=slot.key,
        name=f"{final.role} {setting_name(final.name, slot.parameters)} {stage} seed {slot.seed_number}",
        role=final.role,
        parameters={
            "arm": final.name,
            "stage": stage,
            "seed": slot.seed_number,
            **with_logarithms(slot.parameters),
        },
        metrics={"trials_of_arm": float(trials_of_arm), **_measured(final)},
        tags={"arm": final.name, "stage": stage, **({"sdl.search": str(slot.search)} if is_arm else {})},
        failure=final.failure,
        description=final_note(study, final),
    )


def _measured(final: Final) -> dict[str, float]:
    result: Result | None = final.result
    if result is None or final.test is None:
        return {}
    device = "gpu_seconds" if result.device == "cuda" else "cpu_seconds"
    return {
        **result.metrics,
        **{f"test/{key}": value for key, value in final.test.items()},
        "train/examples_seen": float(result.examples_seen),
        "best/epoch": float(result.best_epoch),
        device: result.seconds * result.workers,
    }


def publish(
    answer: Answer,
    trials: Sequence[TrialRecord],
    finals: Sequence[Final],
    plan: Plan,
    tracker: Tracker,
    record_files: list[tuple[Path, str]],
) -> None:
    """Finals into MLflow, files into the study's folder, the answer onto the parent run; once.

    Args:
        answer: the study's.
        trials, finals: that it came from.
        plan: the study.
        tracker: of the study.
        record_files: record-level files and weights that may go into MLflow as well.
    """
    for final in finals:
        tried = final.slot.arm if final.role == "final" else final.name
        tracker.final(final_run(final, _trials_of(tried, trials), plan.name))
    tracker.supersede({final.slot.key for final in finals})
    files, objective = plan.files, plan.settings.objective_key
    board = leaderboard(list(trials), lambda trial: remarks(trial, objective, plan.space))
    write_text(files.leaderboard, csv_table(board, list(board[0])))
    content = answer.to_dict()
    before = read_json(files.answer) if files.answer.exists() else None
    same = json.dumps(before, sort_keys=True) == json.dumps(content, sort_keys=True)
    if same and tracker.answered(answer.declaration, with_records=bool(record_files)):
        return
    write_json(files.answer, content)
    metrics, tags = _metrics(answer, finals), _tags(answer, bool(record_files))
    with TemporaryDirectory() as folder:
        own_files = [_without_folders(files.study_json, Path(folder)), files.declaration, files.leaderboard]
        sent = [*((path, "") for path in own_files), *_portable(record_files, Path(folder))]
        tracker.answer(metrics, tags, sent)


def _without_folders(study_json: Path, scratch: Path) -> Path:
    """study.json as others may read it: it names folders of this machine."""
    write_json(scratch / study_json.name, without_folders(read_json(study_json)))
    return scratch / study_json.name


def _portable(record_files: list[tuple[Path, str]], scratch: Path) -> list[tuple[Path, str]]:
    """What is sent, of a folder file by file: those that name places of this machine rewritten in ``scratch``."""
    found = []
    for path, target in record_files:
        if not path.is_dir():
            found.append((path, target))
            continue
        instead = rewritten(path)
        for name, content in instead.items():
            write_json(scratch / target / name, content)
        files = [file for file in sorted(path.rglob("*")) if file.is_file()]
        for file in files:
            name = file.relative_to(path)
            sent = scratch / target / name if str(name) in instead else file
            found.append((sent, str((Path(target) / name).parent)))
        own = own_module(path)
        found += [] if own is None else [(own, target)]
    return found


def _trials_of(arm: str, trials: Sequence[TrialRecord]) -> int:
    """What the arm was given: trials that the machine ended are asked anew and do not count."""
    return sum(trial.arm == arm and trial.failure != "machine" for trial in trials)


def _tags(answer: Answer, with_records: bool) -> dict[str, str]:
    tags = {"sdl.declaration": answer.declaration, "sdl.best_arm": answer.best_arm, **_of_rows(answer)}
    if with_records:
        tags["sdl.record_artifacts"] = "yes"  # stays: what is there was put there
    if answer.aa is not None:
        tags["answer/aa"] = "exploratory" if answer.exploratory else answer.aa.word
    if answer.no_verdict:
        tags["answer/verdict"] = f"no verdict: {answer.no_verdict}"
    if answer.primary is not None:
        tags |= {
            "answer/verdict": "exploratory" if answer.exploratory else answer.primary.word,
            "answer/contrast": f"{answer.primary.first} - {answer.primary.second}",
        }
    return tags


def _of_rows(answer: Answer) -> dict[str, str]:
    """What is to be known of every arm, under keys of its own, and whether the best one beats the controls."""
    found = {}
    for row in answer.table:
        if row.role == "final":
            found |= {f"arm/{row.name}/{key}": value for key, value in _findings(row).items()}
    below = [name for name, margin in answer.best.margins.items() if margin <= 0]
    if answer.best.margins:
        found["answer/above_controls"] = f"no: below {', '.join(below)}" if below else "yes"
    return found


def _findings(row: Row) -> dict[str, str]:
    ended = row.convergence
    return {
        "still_rising": "unknown" if ended is None else "yes" if ended.rising else "no",
        "at_edge": ", ".join(edge_name(edge) for edge in row.edges) or "no",
        "could_learn": "yes" if row.could_learn else "no",
    }


def _metrics(answer: Answer, finals: Sequence[Final]) -> dict[str, float]:
    found = {
        f"test/{key}": value
        for key, value in mean_test(of_stage(finals, answer.stage), answer.best_arm).items()
    }
    found |= {f"answer/above/{name}": margin for name, margin in answer.best.margins.items()}
    found |= {
        f"arm/{row.name}/rise": row.convergence.rise for row in answer.table if row.convergence is not None
    }
    return found if answer.primary is None else found | _numbers(answer.primary)


def _numbers(comparison: Comparison) -> dict[str, float]:
    """The primary contrast as metrics of the parent run."""
    found = {
        "answer/delta": comparison.difference,
        "answer/seeds": float(len(comparison.seeds)),
        "answer/searches": float(comparison.searches),
    }
    if comparison.interval is not None:
        found |= {
            "answer/low": comparison.interval.low,
            "answer/high": comparison.interval.high,
            "answer/p_value": comparison.interval.p_value,
            "answer/detectable": comparison.interval.detectable,
        }
    return found


def record_files(finals: Sequence[Final], best_arm: str) -> list[tuple[Path, str]]:
    """Predictions of the best arm and its encoder, with what makes its inputs; each with its artifact folder.

    Args:
        finals: the study's, after the stage that its verdict is about.
        best_arm: its name.
    """
    best = next((f for f in finals if f.name == best_arm and f.role == "final" and f.failure is None), None)
    if best is None:
        return []
    return [(best.predictions, ""), (best.slot.folder / ENCODER_FOLDER, ENCODER_FOLDER)]
