"""``check study`` finds what does not fit in a study that was damaged on purpose, and writes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sdl_study.evaluation.ledger import LEDGER_FILE
from sdl_study.record.files import StudyFiles
from sdl_study.record.finals import FinalSlot, final_slots
from sdl_study.record.held import locked
from sdl_study.record.reading import read_study
from sdl_study.run import main
from sdl_study.study.audit import tracking_findings
from sdl_study.tracking import SeenRun, runs_seen
from tests.unit.study.tracked_study import tracked

Damage = Callable[["Damaged"], str]
"""Damages a study, and says which line will tell."""


class Damaged:
    """A copy of a study, to be damaged."""

    def __init__(self, out: Path) -> None:
        self.files = StudyFiles(out, "small")
        self.ledger = out / "data" / "prepared" / "small" / LEDGER_FILE

    @property
    def final(self) -> FinalSlot:
        declaration = read_study(self.files).declaration
        assert declaration is not None
        return final_slots(self.files, declaration)[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was searched, answered and told to MLflow."""
    out = tmp_path_factory.mktemp("whole")
    tracked(out)
    return out


@pytest.fixture
def damaged(whole: Path, tmp_path: Path) -> Damaged:
    shutil.copytree(whole, tmp_path / "copy")
    return Damaged(tmp_path / "copy")


def content(out: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def half_file(study: Damaged) -> str:
    (study.files.folder / ".answer.json.123.partial").write_text("{")
    return ".answer.json.123.partial: half written"


def checkpoint(study: Damaged) -> str:
    study.files.trial(2).mkdir(parents=True)
    (study.files.trial(2) / "last.pt").write_bytes(b"1")
    return "trials/0002/last.pt: a checkpoint of a trial that has ended"


def orphan(study: Damaged) -> str:
    study.files.trial(99).mkdir(parents=True)
    return "trials/0099: the journal has no such trial"


def repeat(study: Damaged) -> str:
    study.files.repeat(98, 0).mkdir(parents=True)
    return "selection/0098-0: the journal has no such trial"


def foreign(study: Damaged) -> str:
    (study.files.folder / "mine").mkdir()
    return "mine: not of a study"


def undeclared(study: Damaged) -> str:
    (study.files.folder / "finals" / ("0" * 12)).mkdir()
    return f"finals/{'0' * 12}: finals of no declaration that is here"


def unpromised(study: Damaged) -> str:
    study.final.folder.with_name("sd-77").mkdir()
    return "sd-77: the declaration promises no such final"


def without_scores(study: Damaged) -> str:
    study.final.predictions.unlink()
    return "any probe seed 0: has a result without scores"


def without_result(study: Damaged) -> str:
    (study.final.folder / "result.json").unlink()
    return "any probe seed 0: has no result, and there is an answer"


def opened_twice(study: Damaged) -> str:
    text = study.ledger.read_text()
    study.ledger.write_text(text + text.splitlines(keepends=True)[0])
    return "seed 0: the ledger has 2 openings of the test labels for it"


def never_opened(study: Damaged) -> str:
    study.ledger.write_text("".join(study.ledger.read_text().splitlines(keepends=True)[1:]))
    return "seed 0: was scored, and the ledger has no line of it"


DAMAGES: list[Damage] = [
    half_file, checkpoint, orphan, repeat, foreign, undeclared, unpromised, without_scores, without_result,
    opened_twice, never_opened,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=[damage.__name__ for damage in DAMAGES])
def test_a_damage_is_found(damage: Damage, damaged: Damaged, capsys: pytest.CaptureFixture[str]) -> None:
    (damaged.files.out / "mlflow.db").unlink()
    line = damage(damaged)
    before = content(damaged.files.out)
    assert main(["check", "study", "small", "--out", str(damaged.files.out)]) == 1
    told = capsys.readouterr()
    assert any(line in found for found in told.out.splitlines()), told.out
    assert told.err.startswith("error: small: findings: ")
    assert content(damaged.files.out) == before


def test_a_whole_study_has_no_finding(damaged: Damaged, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(damaged.files.out)
    assert main(["check", "study", "small", "--out", str(damaged.files.out)]) == 0
    assert capsys.readouterr().out == "small: nothing found\n"
    assert content(damaged.files.out) == before


def test_what_cannot_be_compared_is_said(damaged: Damaged, capsys: pytest.CaptureFixture[str]) -> None:
    (damaged.files.out / "mlflow.db").unlink()
    shutil.rmtree(damaged.ledger.parent)
    half_file(damaged)
    with locked(damaged.files):
        assert main(["check", "study", "small", "--out", str(damaged.files.out)]) == 0
    running, data, database, nothing = capsys.readouterr().out.splitlines()
    assert "a driver runs it now" in running
    assert "ledger was not compared" in data
    assert "no MLflow database" in database
    assert nothing == "small: nothing found"


def told_of(runs: list[SeenRun], study: Damaged) -> list[str]:
    return list(tracking_findings(read_study(study.files), runs, running=False))


def test_what_mlflow_lacks_or_has_otherwise(damaged: Damaged) -> None:
    runs = runs_seen(damaged.files.mlflow_uri, "small")
    assert runs is not None
    assert told_of(runs, damaged) == []
    of_key = {run.key: run for run in runs}
    trial, final, parent = of_key["trial/3"], of_key[damaged.final.key], of_key["study"]
    others = [run for run in runs if run is not trial]
    changed = {
        "MLflow: trial 3 (complete) has no run": others,
        "MLflow: trial 3 is complete, its run FAILED instead of FINISHED": [
            *others,
            replace(trial, status="FAILED"),
        ],
        "MLflow: 2 runs of trial/3": [*runs, trial],
        "MLflow: trial/55 is not in the journal": [*runs, replace(trial, key="trial/55")],
        f"MLflow: {final.key} has no run": [run for run in runs if run is not final],
        f"MLflow: {final.key} is RUNNING instead of FINISHED": [
            replace(run, status="RUNNING") if run is final else run for run in runs
        ],
        "MLflow: old is of another declaration, and not marked so": [*runs, replace(final, key="old")],
        "MLflow: no parent run": [run for run in runs if run is not parent],
    }
    assert {line: told_of(found, damaged) for line, found in changed.items()} == {
        line: [line] for line in changed
    }
    (line,) = told_of([*others, replace(trial, metrics={"objective": 0.9})], damaged)
    assert line.endswith("its run 0.9")


def test_a_study_that_mlflow_does_not_know(damaged: Damaged) -> None:
    assert runs_seen(damaged.files.mlflow_uri, "another") is None
