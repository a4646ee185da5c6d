"""The command line: overrides, and mistakes told in one line with exit code 2 and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdl_study.commands.study import parse_overrides
from sdl_study.errors import UserError
from sdl_study.own_modules import load_study
from sdl_study.run import main
from sdl_study.study.plan import make_plan


def test_overrides_are_python_literals_or_words() -> None:
    given = [
        "train.epochs=2",
        "loss.temperature=1e-2",
        "arms=('sd', 'any')",
        "model.encoder=conv",
        "x.y=true",
        "z=a=b",
    ]
    assert parse_overrides(given) == {
        "train.epochs": 2,
        "loss.temperature": 0.01,
        "arms": ("sd", "any"),
        "model.encoder": "conv",
        "x.y": True,
        "z": "a=b",
    }


def test_digits_are_a_text_where_the_setting_is_one() -> None:
    given = ["data.path=2024", "data.name=007", "data.path=1e3", "model.encoder=5", "objective=3", "seed=7"]
    assert parse_overrides(given) == {
        "data.path": "1e3",
        "data.name": "007",
        "model.encoder": "5",
        "objective": "3",
        "seed": 7,
    }
    assert parse_overrides(["data.path=2024"]) == {"data.path": "2024"}
    assert parse_overrides(["data.pipeline=None", "data.path='a b'"]) == {
        "data.pipeline": None,
        "data.path": "a b",
    }


@pytest.mark.parametrize("pair", ["train.epochs", "=2", ""])
def test_an_override_without_its_path_or_value(pair: str) -> None:
    with pytest.raises(UserError, match="PATH=VALUE"):
        parse_overrides([pair])


@pytest.mark.parametrize("name", ["demo_mimic", "demo_coco"])
def test_the_demo_studies_keep_the_protocol(name: str, tmp_path: Path) -> None:
    own = load_study(name)
    study, settings = own.study, own.study.settings
    assert own.name == name
    assert [arm.name for arm in study.arms] == ["bce", "any", "sd", "sd_weighted"]
    assert study.method == "sd"
    assert settings.budget.trials >= 4
    assert settings.train.epochs >= 4
    assert (settings.budget.final_seeds, settings.budget.selection_seeds) == (1, 0)
    plan = make_plan(study, tmp_path, name, {})
    for arm in plan.arm_names:
        searched = {parameter.name for parameter in plan.space.of_arm(arm)}
        assert {"model.encoder", "train.learning_rate"} <= searched
        assert ("loss.temperature" in searched) == (arm != "bce")
        assert ("loss.relation_weights.subset" in searched) == (arm == "sd_weighted")
        assert "loss.relation_weights.equal" not in searched


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["study", "no_such"], "unknown study 'no_such'; search_spaces has"),
        (["study", "common"], "unknown study 'common'"),
        (["demo_coco", "--set", "train.epoch=2"], "train.epoch: no such setting"),
        (["demo_coco", "--set", "model.encoder=lstm"], "unknown encoder 'lstm'"),
        (["demo_coco", "--set", "loss.temperature=-1"], "loss.temperature"),
        (["demo_coco", "--workers", "10000"], "10000 workers"),
        (["demo_coco", "--trials", "0"], "budget.trials"),
        (["demo_coco", "--name", "../x"], "--name"),
        (["demo_coco", "--name", ""], "--name: is empty"),
        (["demo_coco", "--name", "data"], "--name data: --out keeps something else"),
        (["demo_coco", "--name", "x" * 300], "has 300 characters; use at most 100"),
        (
            ["demo_coco", "--set", "loss.temperature=1e999"],
            "loss.temperature is inf; it must be a finite number",
        ),
        (["text", "--set", "data.path=2024"], "2024: no prepared data set here"),
        (["demo_coco", "--set", "arms={[]: 1}"], "arms: needs a list, for example"),
        (["demo_coco", "--tracking-uri", ""], "--tracking-uri: is empty"),
        (["demo_coco", "demo_mimic", "--name", "x"], "--name"),
        (["demo_coco", "demo_mimic", "--data", "x"], "--data: give it with one study"),
        (
            ["demo_coco", "--data", "x"],
            "--data: this study makes its own data (data.pipeline=pipelines.demo)",
        ),
        (["text", "--data", "x", "--set", "data.path=x"], "--data: give either it or --set data.path"),
        (["text", "--data", "no-such-folder"], "no-such-folder: no prepared data set here"),
        (["text", "--dry-run", "--data", "no-such-folder"], "no-such-folder: no prepared data set here"),
        (
            ["images", "--dry-run"],
            "images: --dry-run: nothing says how large the data are; name them with --data DIR",
        ),
        (["demo_coco", "--data", "2024", "--set", "data.pipeline=None"], "2024: no prepared data set here"),
        (["demo_coco", "--set", "data.pipeline=os"], "data.pipeline: 'os': write a dotted module"),
        (["demo_coco", "--set", "data.pipeline=pipelines.nothing"], "no module 'pipelines.nothing'"),
        (["check", "data", "/no/such/folder"], "/no/such/folder"),
    ],
)
def test_a_mistake_is_one_line_exit_code_2_and_nothing_written(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "studies"
    where = [] if arguments[0] == "check" else ["--out", str(out)]
    assert main([*arguments, *where]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert words in told.err
    assert told.err.count("\n") == 1
    assert not out.exists()


def test_an_output_folder_of_a_name_too_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo_coco", "--out", str(tmp_path / ("x" * 300))]) == 2
    told = capsys.readouterr().err
    assert "is too long; use at most 255 bytes a folder" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("damage", ["missing", "empty", "manifest"])
def test_a_missing_or_damaged_data_set(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    if damage != "missing":
        data.mkdir()
    if damage == "manifest":
        (data / "manifest.json").write_text("{")
    out = tmp_path / "studies"
    given = ["demo_coco", "--set", "data.pipeline=None", "--set", f"data.path={data}", "--out", str(out)]
    assert main(given) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert str(data) in told.err
    assert not out.exists()
