"""Optuna's dashboard opens a study's journal and shows its trials."""

from __future__ import annotations

import importlib
import io
import json
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from sdl_study.record.journal import read
from sdl_study.study.plan import Plan
from tests.unit.report.studies import searched


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return searched(tmp_path_factory.mktemp("studies"), trials=4)


def asked(application: Any, path: str) -> Any:
    """What the dashboard's server answers to its page."""
    status: list[str] = []
    environment: dict[str, Any] = {"PATH_INFO": path, "wsgi.input": io.BytesIO()}
    setup_testing_defaults(environment)
    body = b"".join(application(environment, lambda line, *_: status.append(line)))
    assert status == ["200 OK"], body
    return json.loads(body)


def test_it_shows_every_arm_and_trial_and_changes_nothing(plan: Plan) -> None:
    before = plan.files.journal.read_bytes()
    dashboard = importlib.import_module(
        "optuna_dashboard"
    )  # of the extra "test"; no types of it are installed
    storage = importlib.import_module("optuna_dashboard._storage_url").get_storage(str(plan.files.journal))
    application = dashboard.wsgi(storage)
    studies = asked(application, "/api/studies")["study_summaries"]
    assert [study["study_name"] for study in studies] == ["small/any", "small/sd"]
    shown = [
        trial
        for study in studies
        for trial in asked(application, f"/api/studies/{study['study_id']}")["trials"]
    ]
    trials = read(plan.files.journal).all()
    assert len(shown) == len(trials) == 8
    assert sorted(t["values"][0] for t in shown if t["state"] == "Complete") == sorted(
        t.objective or 0.0 for t in trials if t.state == "complete"
    )
    assert plan.files.journal.read_bytes() == before
