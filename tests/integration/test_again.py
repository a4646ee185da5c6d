"""``reproduce`` and ``export`` on a real study: the same numbers again, and weights only where they may go."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.artifacts import download_artifacts

from sdl_study.data.prepared import PreparedData
from sdl_study.evaluation.ledger import read_ledger
from sdl_study.evaluation.predictions import read_predictions
from sdl_study.files import read_json, write_json
from sdl_study.record.chosen import choose
from sdl_study.record.declaration import read_declaration
from sdl_study.record.files import StudyFiles
from sdl_study.record.finals import read_finals
from sdl_study.run import main
from sdl_study.study.plan import Plan
from sdl_study.study.showing import show
from tests.integration.alone import run_alone
from tests.integration.conftest import Engines
from tests.integration.handed_out import check_scores, exported, scorer
from tests.integration.leaks import files_with

MARKER = "qzmarkerwordqz"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return run_alone(tmp_path_factory.mktemp("again"))[0]


@pytest.fixture
def copied(plan: Plan, tmp_path: Path) -> StudyFiles:
    """The study in another folder, whose record a test may change."""
    files = StudyFiles(tmp_path / "studies", plan.name)
    shutil.copytree(plan.files.folder, files.folder)
    return files


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_winner_agrees_bitwise_in_a_fresh_process(plan: Plan) -> None:
    before, openings = digests(plan.files.out), read_ledger(str(plan.settings.data.path))
    winner = choose(plan.files.out, "tiny")
    command = [sys.executable, "-m", "sdl_study.run", "reproduce", "tiny", "--out", str(plan.files.out)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert re.fullmatch(rf"{winner.reference}: agrees bitwise, \d+ numbers", lines[-1])
    assert "environment: the same" in lines
    assert any(line.split()[0] == "test/map" for line in lines if line)
    assert digests(plan.files.out) == before
    assert read_ledger(str(plan.settings.data.path)) == openings


@pytest.mark.parametrize(
    "name", ["0", "1", "finetune/any-0", "untrained-0", "finetune/untrained-0", "label_prior-0"]
)
def test_every_kind_of_run_agrees(plan: Plan, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", f"tiny/{name}", "--out", str(plan.files.out)]) == 0
    assert f"tiny/{name}: agrees bitwise" in capsys.readouterr().out


def test_another_learning_rate_in_the_record_is_told(
    copied: StudyFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = choose(copied.out, "tiny/1").trial
    assert trial is not None
    old = repr(trial.parameters["train.learning_rate"])
    text = copied.journal.read_text()
    assert old in text
    copied.journal.write_text(text.replace(old, repr(2 * float(old))))
    assert main(["reproduce", "tiny/1", "--out", str(copied.out)]) == 1
    told = capsys.readouterr()
    assert re.fullmatch(
        r"error: tiny/1: does not agree bitwise: \d+ of \d+ numbers differ, first .*\n", told.err
    )
    assert "epoch 1: train/learning_rate" in told.out


def test_what_another_model_scores_on_test_is_not_told(
    copied: StudyFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    study = read_json(copied.study_json)
    study["settings"]["train"]["weight_decay"] = 0.5
    write_json(copied.study_json, study)
    assert main(["reproduce", "tiny/sd-0", "--out", str(copied.out)]) == 1
    rows = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert "test scores: largest distance" in rows
    assert not [row for row in rows if row.startswith("test/")]


def test_what_differs_in_the_environment_is_named(
    copied: StudyFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    found = read_json(copied.environment)
    found[-1]["packages"]["torch"] = "1.0"
    found[-1]["cpu"] = "an abacus"
    write_json(copied.environment, found)
    study = read_json(copied.study_json)
    write_json(copied.study_json, study | {"data_fingerprint": "0" * 64})
    data = study["settings"]["data"]["path"]
    assert main(["reproduce", "tiny/label_prior-0", "--out", str(copied.out), "--data", data]) == 0
    told = [line.strip().partition(" → ")[0] for line in capsys.readouterr().out.splitlines()]
    assert {"torch 1.0", "cpu an abacus", f"data: fingerprint {'0' * 16}…"} <= set(told)


def test_a_trial_that_is_kept_can_be_handed_out(plan: Plan, tmp_path: Path) -> None:
    kept, out = tmp_path / "kept", ["--out", str(plan.files.out)]
    assert main(["reproduce", "tiny/0", "--keep", str(kept), *out]) == 0
    folder = exported(plan.files.out, "tiny/0", tmp_path / "trial", "--from", str(kept))
    data = PreparedData.load(str(plan.settings.data.path))
    assert scorer(folder).score(data.texts(data.rows("dev"))).shape == (80, 6)
    card = (folder / "README.md").read_text()
    assert "trial 0, trained again from its record" in card
    assert "Test metrics were never measured" in card
    assert "| test/" not in card
    write_json(kept / "again.json", {"of": "tiny/0", "agrees": False})
    assert main(["export", "tiny/0", str(tmp_path / "more"), "--from", str(kept), *out]) == 2
    assert not (tmp_path / "more").exists()


def test_finals_of_both_stages_are_handed_out(plan: Plan, tmp_path: Path) -> None:
    declaration = read_declaration(plan.files)
    assert declaration is not None
    data = PreparedData.load(str(plan.settings.data.path))
    texts = data.texts(data.rows("test"))
    for final in read_finals(plan.files, declaration):
        if final.name == "label_prior":
            continue
        stage = final.slot.stage
        name = f"{final.name}-0" if stage == "probe" else f"{stage}/{final.name}-0"
        folder = exported(plan.files.out, f"tiny/{name}", tmp_path / name.replace("/", "-"))
        check_scores(final, scorer(folder).score(texts))
        assert (folder / "projection.safetensors").exists() == (stage == "probe" and final.role == "final")


_LOADED = """
import sys, mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
table = pandas.read_json(sys.argv[2])
scores = model.predict(table)
assert scores.equals(model.predict(table.note.tolist()))
scores.to_json(sys.argv[3])
"""


@pytest.mark.slow
def test_a_registered_winner_is_a_model_that_mlflow_loads_in_a_fresh_process(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a copy of its artifacts alone: neither the study's folder nor its database is there."""
    assert "version 1 of winner" in show(plan, None, "winner")[-1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", plan.files.mlflow_uri)
    fetched = download_artifacts("models:/winner/1", dst_path=str(tmp_path / "model"))
    data = PreparedData.load(str(plan.settings.data.path))
    pd.DataFrame({"note": data.texts(data.rows("test"))}).to_json(tmp_path / "texts.json")
    given = [fetched, str(tmp_path / "texts.json"), str(tmp_path / "scores.json")]
    unreachable = {"HF_HUB_OFFLINE": "1", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    ended = subprocess.run(
        [sys.executable, "-c", _LOADED, *given], cwd=tmp_path, env=os.environ | unreachable,
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    scores, winner = pd.read_json(tmp_path / "scores.json"), choose(plan.files.out, "tiny")
    codes = [label["code"] for label in read_json(Path(fetched) / "labels.json")]
    expected = read_predictions(winner.slot.predictions).scores
    np.testing.assert_allclose(scores[codes].to_numpy(), expected, rtol=0, atol=2e-5)


def no_such_trial(plan: Plan) -> list[str]:
    return ["reproduce", "tiny/99"]


def no_such_final(plan: Plan) -> list[str]:
    return ["export", "tiny/bce-0", "anywhere"]


def a_trial_without_weights(plan: Plan) -> list[str]:
    return ["export", "tiny/0", "anywhere"]


def no_encoder(plan: Plan) -> list[str]:
    return ["export", "tiny/label_prior-0", "anywhere"]


def a_folder_that_is_there(plan: Plan) -> list[str]:
    return ["export", "tiny", str(plan.files.folder)]


def another_run_kept(plan: Plan) -> list[str]:
    return ["export", "tiny/0", "anywhere", "--from", str(plan.files.folder)]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (no_such_trial, "has no trial of this number; its trials are 0 to 3"),
        (no_such_final, "has no such final; its trials are 0 to 3, its finals any-0, sd-0, untrained-0"),
        (a_trial_without_weights, "a trial leaves no weights; export a final, or train it again: reproduce tiny/0"),
        (no_encoder, "has no encoder to export"),
        (a_folder_that_is_there, "is there already"),
        (another_run_kept, "holds nothing, not tiny/0"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    given: Callable[[Plan], list[str]],
    words: str,
    plan: Plan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*given(plan), "--out", str(plan.files.out)]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert words in told.err
    assert not list(tmp_path.iterdir())


def test_restricted_data_leave_by_an_explicit_flag_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, _ = run_alone(
        tmp_path / "studies", {"stages": ("probe",), "train.epochs": 1, "controls": ()}, "restricted", MARKER
    )
    out = ["--out", str(plan.files.out)]
    for given in (
        ["export", "tiny", str(tmp_path / "no")],
        ["reproduce", "tiny/0", "--keep", str(tmp_path / "no")],
    ):
        assert main([*given, *out]) == 2
        assert "--allow-restricted" in capsys.readouterr().err
        assert not (tmp_path / "no").exists()
    assert main(["reproduce", "tiny", *out]) == 0
    assert MARKER not in "".join(capsys.readouterr())
    folder = exported(plan.files.out, "tiny", tmp_path / "handed", "--allow-restricted")
    assert folder.stat().st_mode & 0o077 == 0
    card = (folder / "README.md").read_text()
    assert card.count("**Restricted data.**") == 2
    assert "| train | 320 | 320 | <10 | <10 |" in card  # six labels, none without
    assert {file.name for file in folder.iterdir() if file.stat().st_mode & 0o077} == set()
    without = [file for file in folder.iterdir() if file.name != "tokenizer.json"]
    assert files_with([MARKER], without) == {MARKER: set()}
    assert files_with([MARKER], [folder])[MARKER]  # the tokenizer has it, and the flag let it go


@pytest.mark.slow
def test_a_demos_winner_agrees_bitwise(engines: Engines, tmp_path: Path) -> None:
    engines.close()
    program, out = [sys.executable, "-m", "sdl_study.run"], ["--out", str(tmp_path)]
    short = ["--trials", "1", "--set", "train.epochs=2", "--set", "arms=('any','sd')"]
    for command in (["study", "demo_coco", *short], ["reproduce", "demo_coco"], ["reproduce", "demo_coco/1"]):
        ended = subprocess.run(
            [*program, *command, *out], cwd=ROOT, capture_output=True, text=True, check=False, timeout=900
        )
        assert ended.returncode == 0, ended.stderr
    assert "demo_coco/1: agrees bitwise" in ended.stdout
