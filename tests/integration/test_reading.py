"""A study is read while it runs, and after it, without the engine that wrote it; reading changes nothing."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sdl_study.evaluation.details import DETAILS_FILE
from sdl_study.record.journal import read
from sdl_study.report.text import answer_text
from sdl_study.study.plan import Plan
from tests.integration.conftest import Engines
from tests.integration.golden_study import WALL_CLOCK
from tests.integration.tiny import tiny_plan

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_ENGINE = """
import sys
class Absent:  # None in sys.modules would be met by scipy, which asks there whether an array is torch's
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ray", "mlflow", "torch", "transformers"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
"""
READER = (
    WITHOUT_ENGINE
    + """
import json, pathlib, time
from sdl_study.record.identity import read_identity
from sdl_study.record.journal import read
folder = pathlib.Path(sys.argv[1])
seen = []
print("ready", flush=True)
sys.stdin.readline()
while len(seen) < 200 or not (folder / "answer.json").exists():  # a busy machine may be slow to begin
    seen.append(sum(len(trial.epochs) for trial in read(folder / "journal.log").all()))
    if (folder / "study.json").exists():
        read_identity(folder / "study.json")
    time.sleep(0.02)
print(json.dumps(seen), flush=True)
"""
)
REPORT = (
    WITHOUT_ENGINE
    + """
from sdl_study.run import main
sys.exit(main(["report", *sys.argv[1:]]))
"""
)
FEWER = {"arms": ("any", "sd"), "budget.trials": 2, "train.epochs": 3, "controls": ("label_prior",)}


def outcome(plan: Plan) -> list[dict[str, Any]]:
    """All trials, without what the clock and the process say."""
    return [
        {
            **vars(trial),
            "epochs": {
                epoch: {key: value for key, value in metrics.items() if key not in WALL_CLOCK}
                for epoch, metrics in trial.epochs.items()
            },
        }
        for trial in read(plan.files.journal).all()
    ]


@pytest.fixture(scope="module")
def plan(out: Path) -> Plan:
    return tiny_plan(out, FEWER, "watched")


def run_read(plan: Plan, engines: Engines, patch: pytest.MonkeyPatch) -> None:
    """Run a study while another process reads it two hundred times; its journal stays as its driver wrote it."""
    written = hashlib.sha256()
    from sdl_study.record.journal_file import JournalFile

    append = JournalFile.append_logs

    def append_noted(self: JournalFile, logs: list[dict[str, Any]]) -> None:
        before = self._path.stat().st_size if self._path.exists() else 0
        append(self, logs)
        written.update(self._path.read_bytes()[before:])

    patch.setattr(JournalFile, "append_logs", append_noted)
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(plan.files.folder)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"
    assert reader.stdin is not None
    reader.stdin.write("go\n")
    reader.stdin.flush()
    engines.run(plan)
    told, error = reader.communicate(timeout=120)
    assert reader.returncode == 0, error
    seen = json.loads(told)
    assert len(seen) >= 200
    assert seen == sorted(seen)
    assert len(set(seen)) > 2  # it was read while it grew
    assert hashlib.sha256(plan.files.journal.read_bytes()).hexdigest() == written.hexdigest()


@pytest.mark.slow
def test_two_hundred_readings_of_a_running_study_leave_its_journal_as_it_was_written(
    plan: Plan, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_read(plan, engines, monkeypatch)


@pytest.mark.slow
def test_a_study_that_is_read_comes_to_what_one_comes_to_that_nobody_reads(
    out: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_one, alone = (tiny_plan(out, FEWER, name) for name in ("read", "unread"))
    run_read(read_one, engines, monkeypatch)
    monkeypatch.undo()
    engines.run(alone)
    assert outcome(read_one) == outcome(alone)


def test_a_finished_study_is_printed_where_ray_mlflow_and_torch_cannot_be_imported(
    plan: Plan, out: Path, engines: Engines
) -> None:
    answer = engines.run(plan)
    before = {path: path.read_bytes() for path in plan.files.folder.rglob("*") if path.is_file()}
    before.pop(plan.files.page, None)
    done = subprocess.run(
        [sys.executable, "-c", REPORT, "watched", "--out", str(out)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(answer_text(answer))
    assert "trials, dev/map:" in done.stdout
    after = {path: path.read_bytes() for path in plan.files.folder.rglob("*") if path.is_file()}
    assert b"<html" in after[plan.files.page]
    assert {path: after.get(path) for path in before} == before
    assert {path.name for path in after.keys() - before.keys()} == {"page.html", DETAILS_FILE}
