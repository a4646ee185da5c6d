"""What is there to look at once a study has an answer: its page, and the same in MLflow."""

from __future__ import annotations

from sdl_study.record.files import StudyFiles
from sdl_study.record.reading import read_study
from sdl_study.report.descriptions import study_note
from sdl_study.report.page.frames import StudyFrames
from sdl_study.report.study_page import write_page_of
from sdl_study.tracking import Tracker


def show(files: StudyFiles, tracking_uri: str | None) -> list[str]:
    """Write the study's page, and put it and the answer in words on the parent run.

    Args:
        files: of a study that MLflow knows.
        tracking_uri: MLflow server; None means the database beside the study.

    Returns:
        Where to look, a line each.
    """
    record = read_study(files)
    page = write_page_of(record)
    tracker = Tracker(tracking_uri or files.mlflow_uri, None if tracking_uri else files.artifacts, files.name)
    tracker.show(study_note(StudyFrames(record), page.name), page)
    return [f"page: {page}"]
