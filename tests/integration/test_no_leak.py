"""Restricted data stay where they are: no patient's words, ids or label set in what a study leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sdl_study.data.prepared import PreparedData
from sdl_study.record.journal import read
from sdl_study.study.driver import Driver
from sdl_study.workers.engine import Engine
from tests.integration.conftest import Engines
from tests.integration.leaks import files_with
from tests.integration.tiny import LABELS, tiny_data, tiny_plan

MARKER = "qzmarkerwordqz"
RARE = str(list(range(LABELS)))
ARMS = ("any", "sd")
ROOT = Path(__file__).resolve().parents[2]

# Runs in every Python process of the study: the first batch that is read and then the first loss that is computed
# raise an exception that quotes a note.
SABOTAGE = """
import importlib.abc, importlib.machinery, os, sys
WORDS = "the patient {marker} said so"

# A process that started after the first batch was refused: its first loss is the one that raises.
FETCHED = os.path.exists(os.path.join({folder!r}, "fetch"))

def once(name):
    try:
        os.close(os.open(os.path.join({folder!r}, name), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

def patch(module):
    if module.__name__ == "sdl_study.training.batches":
        plain = module.Batches.read
        def read(self, item):
            if once("fetch"):
                raise ValueError(WORDS)
            return plain(self, item)
        module.Batches.read = read
    if module.__name__ == "sdl_study.training.model":
        build = module.build_loss
        def build_loss(arm, settings):
            loss = build(arm, settings)
            if FETCHED and once("loss"):
                def broken(outputs, labels):
                    raise RuntimeError(WORDS)
                loss.forward = broken
            return loss
        module.build_loss = build_loss
    if module.__name__ == "sdl_study.data.tokens" and os.environ.get("SABOTAGE") == "tokenizer":
        def build(*_):
            raise KeyError(WORDS)
        module._build = build

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if not name.startswith("sdl_study."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module
            def exec_module(module):
                run(module)
                patch(module)
            spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def run_sabotaged(out: Path, sabotage: str) -> subprocess.CompletedProcess[str]:
    folder = out / "sabotage"
    folder.mkdir(exist_ok=True)
    (out / "r").mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(SABOTAGE.format(marker=MARKER, folder=str(folder)))
    paths = [str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]
    command = [
        sys.executable, "-m", "tests.integration.tiny", str(out), f"arms={ARMS!r}", "budget.trials=2",
        "train.epochs=2",
    ]  # fmt: skip
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "SABOTAGE": sabotage,
        "RAY_TMPDIR": str(out / "r"),
    }
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=400
    )


@pytest.fixture(scope="module")
def restricted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Short, for Ray puts sockets below it.
    out = tmp_path_factory.mktemp("p")
    tiny_data(out / "prepared", "restricted", MARKER)
    return out


def test_the_scanner_finds_what_is_there(restricted: Path) -> None:
    found = files_with([MARKER, RARE], [restricted / "prepared"])
    assert {Path(path).name for path in found[MARKER]} == {"examples.parquet", "id_map.parquet"}
    assert {Path(path).name for path in found[RARE]} == {"examples.parquet"}


def test_a_tokenizer_that_quotes_a_note(restricted: Path, engines: Engines) -> None:
    engines.close()
    ended = run_sabotaged(restricted, "tokenizer")
    assert ended.returncode == 1
    assert "internal error: KeyError" in ended.stderr
    assert MARKER not in ended.stdout + ended.stderr


def test_a_study_of_restricted_data_leaves_no_trace_of_a_record(restricted: Path, engines: Engines) -> None:
    engines.close()
    ended = run_sabotaged(restricted, "")
    assert ended.returncode == 0, ended.stderr
    study = restricted / "tiny"
    records = read(study / "journal.log").all()
    reasons = [record.reason for record in records if record.state == "failed"]
    assert sorted(reason.split(" at ")[0] for reason in reasons if reason) == ["RuntimeError", "ValueError"]
    assert all(record.state in ("complete", "pruned", "failed") for record in records)
    assert MARKER not in ended.stdout + ended.stderr
    own_files = [
        study / name
        for name in ("study.json", "declaration.json", "answer.json", "leaderboard.csv", "page.html")
    ]
    places = [restricted / "mlflow.db", restricted / "mlartifacts", study / "journal.log", *own_files]
    assert any(path.name == "page.html" for path in (restricted / "mlartifacts").rglob("*"))
    logs = list((restricted / "r").rglob("logs"))
    assert logs
    found = files_with([MARKER, RARE], [*places, *logs])
    assert found == {MARKER: set(), RARE: set()}


def no_engine() -> Engine:
    raise AssertionError("a finished study must not start an engine")


def test_the_scanner_finds_what_is_let_out_on_purpose(
    restricted: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = tiny_plan(restricted, {"arms": ARMS, "budget.trials": 2, "train.epochs": 2})
    data = PreparedData.load(str(plan.settings.data.path))
    with Driver(plan, data, f"sqlite:///{tmp_path / 'other.db'}", record_artifacts=True) as driver:
        driver.run(no_engine)
    found = files_with([MARKER, "predictions.parquet"], [tmp_path])
    assert any(Path(path).name == "tokenizer.json" for path in found[MARKER])
    assert found["predictions.parquet"]
