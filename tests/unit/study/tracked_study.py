"""A played study in MLflow, written by the product's own code: hundreds of trials in seconds, nothing trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdl_study.data.prepared import Manifest
from sdl_study.record.answer import read_answer
from sdl_study.record.environment import read_environments
from sdl_study.record.finals import read_finals
from sdl_study.record.journal import read
from sdl_study.study.opening import open_tracker
from sdl_study.study.plan import Plan
from sdl_study.study.publish import publish
from sdl_study.study.publisher import TrialPublisher
from sdl_study.tracking import Tracker
from tests.unit.report.studies import DOCUMENTS, answered, prepared, searched


def opened(plan: Plan) -> Tracker:
    """MLflow's side of a played study, its trials told."""
    path = plan.files.data / "prepared" / "small" / "manifest.json"
    manifest = Manifest.from_json(path.read_text(), path)
    tracker = open_tracker(plan, manifest, None, read_environments(plan.files)[-1], None)
    publisher = TrialPublisher(tracker, plan, print)
    for trial in read(plan.files.journal).all():
        publisher.tell(trial)
    assert not publisher.errors
    return tracker


def tracked(out: Path, terms: str = "open", documents: int = DOCUMENTS, **study: Any) -> Plan:
    """A study that was searched, answered and published."""
    plan = searched(out, terms, **study)
    prepared(plan, terms, documents=documents)
    declaration = answered(
        plan, lambda arm, seed: (4.0 if arm == "sd" else 2.0) + 0.05 * seed, documents=documents
    )
    trials = read(plan.files.journal).all()
    publish(
        read_answer(plan.files.answer), trials, read_finals(plan.files, declaration), plan, opened(plan), []
    )
    return plan
