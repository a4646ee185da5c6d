"""A stranger's table of 30 lines goes from CSV to a finished study in three commands."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipelines.table import command as table_command
from sdl_study.own_modules import load_study
from sdl_study.report.text import answer_text
from sdl_study.run import main
from sdl_study.study.plan import make_plan
from tests.integration.conftest import Engines

WORDS = {
    "sport": ("goal", "match", "team", "score"),
    "food": ("bread", "soup", "taste", "salt"),
    "music": ("song", "guitar", "melody", "concert"),
}


def write_table(path: Path, lines: int = 30) -> None:
    rng = random.Random(3)
    rows = ["text,labels"]
    for number in range(lines):
        labels = rng.sample(sorted(WORDS), rng.choice((1, 1, 2)))
        words = [rng.choice(WORDS[label]) for label in labels for _ in range(3)]
        rows.append(f'{" ".join(words)} {number},"{",".join(labels)}"')
    path.write_text("\n".join(rows) + "\n")


def test_from_csv_to_a_finished_study(
    tmp_path: Path, engines: Engines, capsys: pytest.CaptureFixture[str]
) -> None:
    table, prepared = tmp_path / "mine.csv", tmp_path / "mine"
    write_table(table)
    table_command([str(table), str(prepared), "--text", "text", "--labels", "labels"])
    assert main(["check", "data", str(prepared)]) == 0
    assert "train" in capsys.readouterr().out
    # The third command is `study text --set data.path=...`, here with less of everything and the tests' engine.
    less = {
        "budget.trials": 2,
        "budget.final_seeds": 2,
        "budget.selection_seeds": 1,
        "budget.selection_folds": 2,
    }
    less |= {"train.epochs": 2, "train.min_examples": 0}
    plan = make_plan(
        load_study("text").study, tmp_path / "studies", "mine", {**less, "data.path": str(prepared)}
    )
    answer = engines.run(plan)
    text = answer_text(answer)
    assert "primary contrast: the setting chosen for sd against" in text
    assert all(arm in text for arm in plan.arm_names)
    assert answer_text(engines.run(plan)) == text
