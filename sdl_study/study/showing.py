"""What is there to look at once a study has an answer: its page, and the same in MLflow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from sdl_study.errors import UserError
from sdl_study.files import read_json
from sdl_study.input_spec import INPUTS_FILE
from sdl_study.record.chosen import choose
from sdl_study.record.reading import StudyRecord, read_study
from sdl_study.report.cards.answer import headline
from sdl_study.report.descriptions import study_note
from sdl_study.report.export.folder import write_export
from sdl_study.report.export.source import find_source
from sdl_study.report.page.frames import StudyFrames
from sdl_study.report.study_page import write_page_of
from sdl_study.study.opening import owner_of
from sdl_study.study.plan import Plan
from sdl_study.study.views import links_of, views_of
from sdl_study.tracking import Tracker


def show(plan: Plan, tracking_uri: str | None, model: str | None = None) -> list[str]:
    """Write the study's page, put it and the answer in words on the parent run, and register the winner's encoder.

    Args:
        plan: a study that MLflow knows.
        tracking_uri: MLflow server; None means the database beside the study.
        model: name of a registered model that the winner becomes a version of; of open data alone.

    Returns:
        Where to look, a line each.
    """
    files = plan.files
    record = read_study(files)
    page = write_page_of(record)
    artifacts = None if tracking_uri else files.artifacts
    tracker = Tracker(
        tracking_uri or files.mlflow_uri, artifacts, plan.name, owner=owner_of(files.study_json)
    )
    tracker.show(study_note(StudyFrames(record), page.name), page)
    lines = links_of(tracker.views, views_of(plan.space, plan.arms), tracking_uri)
    if model is not None:
        lines.append(_registered(tracker, record, model))
    return [f"page: {page}", *(f"MLflow, {line}" for line in lines)]


def _registered(tracker: Tracker, record: StudyRecord, model: str) -> str:
    """Register the best arm's encoder with its probe or head, as it would be exported; a line that says so."""
    answer, files = record.answer, record.files
    if record.restricted or answer is None:
        raise ValueError("only the winner of an answered study on open data is registered")
    if answer.best.encoder is None or any(failed.name == answer.best_arm for failed in answer.failed):
        return f"registry: {answer.best_arm} has no encoder to register, or a final of it failed"
    found = headline(StudyFrames(record))
    what = f"Encoder and classifier of **{answer.best_arm}**, the best arm on dev of study {answer.study}. {found}"
    version = tracker.registered(model, answer.declaration)
    if version is None:
        with TemporaryDirectory(prefix=".register.", dir=files.folder) as scratch:
            folder = Path(scratch) / "model"
            source = find_source(choose(files.out, files.name), None)
            write_export(source, folder)
            modality = read_json(folder / INPUTS_FILE)["modality"]
            version = tracker.register(model, folder, modality, answer.declaration, what)
    return f"registry: {answer.best_arm} of {answer.study} is version {version} of {model}"


def check_register(model: str, terms: Mapping[str, str]) -> None:
    """Winners may go into the model registry under this name; said before the first study runs.

    Args:
        model: name of the registered model.
        terms: of the data, by the study's name.

    Raises:
        UserError: a name that MLflow does not take, or weights trained on restricted data.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,99}", model):
        raise UserError(f"--register {model!r}: write a name of letters, digits, '.', '_', '-' and blanks")
    for study, own in terms.items():
        if own != "open":
            raise UserError(
                f"--register: {study} is on restricted data, and no weights trained on these leave the study's "
                "folder; leave the option out"
            )
