"""The whole check of a study that is there: its folder, its ledger, and MLflow against the journal; only read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from sdl_study.record.audit import final_findings, folder_findings, ledger_findings
from sdl_study.record.files import StudyFiles
from sdl_study.record.holder import look_at
from sdl_study.record.outcome import Failure
from sdl_study.record.reading import StudyRecord, read_study
from sdl_study.record.trials import TrialRecord
from sdl_study.study.tracking_server import check_reachable
from sdl_study.tracking import STATUS, SeenRun, runs_seen


def audit(files: StudyFiles, tracking_uri: str | None) -> tuple[list[str], list[str]]:
    """What does not fit in a study, and what could not be compared.

    Args:
        files: of the study.
        tracking_uri: MLflow server; None means the database beside the study.

    Returns:
        Findings and remarks, a line each.

    Raises:
        UserError: there is no such study, one of its files is damaged, or MLflow cannot be read.
    """
    study, running = read_study(files), look_at(files).held
    remarks = ["a driver runs it now: what it is at is left out"] if running else []
    findings = [*folder_findings(study, running), *final_findings(study, running)]
    if study.dataset is None:
        remarks.append("the prepared data set is not where it was: its ledger was not compared")
    else:
        findings += ledger_findings(study, study.dataset, running)
    if tracking_uri is None and not (files.out / "mlflow.db").exists():
        return findings, [*remarks, f"no MLflow database in {files.out}: its runs were not compared"]
    uri = tracking_uri or files.mlflow_uri
    check_reachable(uri)
    runs = runs_seen(uri, files.name, study.identity.get("id"))
    if runs is None:
        findings.append("MLflow: does not know this study; the study's command writes its runs again")
    else:
        findings += tracking_findings(study, runs, running)
    return findings, remarks


def tracking_findings(study: StudyRecord, runs: Sequence[SeenRun], running: bool) -> Iterator[str]:
    """A line for every run that MLflow lacks, has twice, or has in another state than the journal.

    Args:
        study: as its folder has it.
        runs: as MLflow has them.
        running: whether a driver works on it now, which writes to the journal first.
    """
    by_key: dict[str, list[SeenRun]] = defaultdict(list)
    for run in runs:
        by_key[run.key].append(run)
    for key, count in Counter(run.key for run in runs if run.key).items():
        if count > 1:
            yield f"MLflow: {count} runs of {key}"
    if not by_key["study"]:
        yield "MLflow: no parent run"
    for trial in study.trials:
        if not (running and trial.state == "running"):
            yield from _of_trial(trial, by_key[f"trial/{trial.number}"])
    known = {f"trial/{trial.number}" for trial in study.trials}
    unknown = [run.key for run in runs if run.role == "trial" and run.key not in known]
    yield from (f"MLflow: {key} is not in the journal" for key in unknown)
    yield from _of_finals(study, by_key)


def _of_trial(trial: TrialRecord, runs: Sequence[SeenRun]) -> Iterator[str]:
    name = f"MLflow: trial {trial.number}"
    if not runs:
        yield f"{name} ({trial.state}) has no run"
    for run in runs:
        status = STATUS.get(trial.state, "RUNNING")
        if run.status != status:
            yield f"{name} is {trial.state}, its run {run.status} instead of {status}"
        elif trial.state != "running" and trial.objective != run.metrics.get("objective"):
            yield f"{name} has objective {trial.objective}, its run {run.metrics.get('objective')}"


def _of_finals(study: StudyRecord, by_key: dict[str, list[SeenRun]]) -> Iterator[str]:
    """Finals are told to MLflow when the study has its answer."""
    if study.answer is None:
        return
    for final in study.finals:
        status = "FAILED" if isinstance(final.outcome, Failure) else "FINISHED"
        runs = by_key[final.slot.key]
        if not runs and final.outcome is not None:
            yield f"MLflow: {final.slot.key} has no run"
        yield from (
            f"MLflow: {final.slot.key} is {run.status} instead of {status}"
            for run in runs
            if final.outcome is not None and run.status != status
        )
    keys = {final.slot.key for final in study.finals}
    yield from (
        f"MLflow: {run.key} is of another declaration, and not marked so"
        for runs in by_key.values()
        for run in runs
        if run.role in ("final", "control") and run.key not in keys and not run.superseded
    )
