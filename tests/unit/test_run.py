"""The command line: a user's mistake is one clear line, exit code 2, and nothing is written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sdl_study.commands.study import DEMOS, parse_overrides
from sdl_study.own_modules import load_study
from sdl_study.run import main
from sdl_study.study import session
from sdl_study.study.plan import make_plan
from sdl_study.study.search.sampler import startup_trials

NO_PIPELINE = ("--set", "data.pipeline=None")

MISTAKES = {
    "unknown study": (("demo_nothing",), "unknown study 'demo_nothing'; search_spaces has"),
    "unknown parameter": (("demo_coco", "--set", "loss.warmth=1"), "--set: loss.warmth: no such setting"),
    "unknown section": (("demo_coco", "--set", "lost.temperature=1"), "--set: lost.temperature: no such setting"),
    "unknown encoder": (("demo_coco", "--set", "model.encoder=vgg"), "unknown encoder 'vgg'; this study has"),
    "unknown encoder kind": (
        ("demo_coco", "--set", "model.encoders.resnet_small.kind=vgg"),
        "model.encoders.resnet_small: unknown encoder 'vgg'",
    ),
    "unknown encoder setting": (
        ("demo_mimic", "--set", "model.encoders.bert.height=3"),
        "model.encoders.bert: encoder 'bert' has no setting 'height'",
    ),
    "unknown arm": (("demo_coco", "--set", "arms=('any','some')"), "arms: unknown arm 'some'"),
    "temperature below zero": (
        ("demo_coco", "--set", "loss.temperature=-1"),
        "--set: arm any: loss.temperature is -1; it must be",
    ),
    "no epochs": (("demo_coco", "--set", "train.epochs=0"), "--set: train.epochs: input should be greater"),
    "epochs in words": (("demo_coco", "--set", "train.epochs=two"), "--set: train.epochs: input should be a valid"),
    "no trials": (("demo_coco", "--trials", "0"), "--set: budget.trials: input should be greater"),
    "not a pair": (("demo_coco", "--set", "train.epochs"), "--set train.epochs: write it as PATH=VALUE"),
    "more workers than CPUs": (("demo_coco", "--workers", "999"), "train.workers: 999 workers are more than"),
    "a name for two studies": (("--name", "x"), "--name: give it with one study"),
    "a name with a slash": (("demo_coco", "--name", "../x"), "--name ../x: use letters"),
    "no data set": (
        ("demo_coco", *NO_PIPELINE, "--set", "data.path=/nowhere/prepared"),
        "/nowhere/prepared: no prepared data set here",
    ),
    "no data named": (("demo_coco", *NO_PIPELINE), "data.path is required"),
    "unknown pipeline": (("demo_coco", "--set", "data.pipeline=pipelines.nothing"), "there is no module"),
    "foreign pipeline": (("demo_coco", "--set", "data.pipeline=os"), "data.pipeline: 'os': write a dotted module"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_and_nothing_is_written(
    arguments: tuple[str, ...], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "studies"
    assert main(["study", *arguments, "--out", str(out)]) == 2
    told = capsys.readouterr()
    assert expected in told.err
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    assert "Traceback" not in told.err
    assert not out.exists()


def test_no_two_mistakes_share_their_message() -> None:
    expected = [message for _, message in MISTAKES.values()]
    assert len(set(expected)) == len(expected)


def test_an_output_folder_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "studies"
    out.write_text("mine")
    assert main(["study", "demo_coco", "--out", str(out)]) == 2
    assert f"{out} is a file, not a folder" in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_an_output_folder_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "demo_coco", "--out", "/proc/studies"]) == 2
    told = capsys.readouterr().err
    assert "cannot write in /proc" in told
    assert told.count("\n") == 1


def test_a_damaged_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.integration.tiny import tiny_data

    data = tiny_data(tmp_path / "data")
    examples = data / "examples.parquet"
    examples.write_bytes(examples.read_bytes()[:-100])
    out = tmp_path / "studies"
    arguments = ["study", "demo_mimic", *NO_PIPELINE, "--set", f"data.path={data}", "--out", str(out)]
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert f"{examples}: damaged" in told
    assert told.count("\n") == 1
    assert not out.exists()
    shutil.rmtree(data)


@pytest.mark.parametrize("name", DEMOS)
def test_the_demos_have_the_promised_counts(name: str) -> None:
    study = load_study(name).study
    settings = study.settings
    assert [arm.name for arm in study.arms] == ["bce", "any", "sd", "sd_weighted"]
    assert settings.budget.trials >= 4
    assert settings.train.epochs >= 4
    assert (settings.budget.final_seeds, settings.budget.selection_seeds) == (1, 0)
    assert settings.stage == "probe"
    assert settings.budget.trials - startup_trials(settings.budget.trials) >= settings.budget.trials / 3
    assert len(settings.model.encoders) >= 2
    conditional = [parameter for parameter in study.space.parameters if parameter.when]
    assert {dict(parameter.when)["model.encoder"][0] for parameter in conditional} == set(
        settings.model.encoders
    )


@pytest.mark.parametrize("name", DEMOS)
def test_every_arm_searches_the_shared_parameters(name: str, tmp_path: Path) -> None:
    study = make_plan(load_study(name).study, tmp_path, name, {})
    for arm in study.arm_names:
        names = {parameter.name for parameter in study.space.of_arm(arm)}
        assert {"model.encoder", "train.learning_rate"} <= names
        assert ("loss.temperature" in names) == (arm != "bce")
        weighted = {item for item in names if item.startswith(("loss.relation_weights", "loss.similarity"))}
        assert bool(weighted) == (arm == "sd_weighted")
        assert "loss.relation_weights.equal" not in names


def test_overrides_are_literals_where_they_can_be() -> None:
    given = parse_overrides(
        ["train.epochs=2", "loss.temperature=0.1", "model.encoder=bert", "a.b=true", "c=(1, 2)"]
    )
    assert given == {
        "train.epochs": 2,
        "loss.temperature": 0.1,
        "model.encoder": "bert",
        "a.b": True,
        "c": (1, 2),
    }


def test_a_fixed_setting_is_not_searched() -> None:
    space = load_study("demo_coco").study.space.without(["loss.temperature"])
    assert "loss.temperature" not in {parameter.name for parameter in space.parameters}


def test_the_data_of_all_studies_are_checked_before_the_first_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.integration.tiny import tiny_data

    started: list[str] = []
    monkeypatch.setattr(session, "_run_study", lambda plan, *_: started.append(plan.name))
    out = tmp_path / "studies"
    assert main(["study", "demo_coco", "text", "--out", str(out)]) == 2
    assert "text: data.path is required" in capsys.readouterr().err
    assert not out.exists()  # nothing was prepared for the first one either
    data = tiny_data(tmp_path / "data")
    (data / "examples.parquet").write_bytes(b"0" * (data / "examples.parquet").stat().st_size)
    given = ["study", "text", "images", "--set", f"data.path={data}", "--out", str(out)]
    assert main(given) == 2
    assert "examples.parquet: damaged" in capsys.readouterr().err
    assert not started


@pytest.mark.parametrize(
    ("path", "words"), [("x" * 300, "File name too long"), ("", "data.path is required")]
)
def test_a_path_of_data_that_cannot_be_looked_at(
    path: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["study", "text", "--set", f"data.path={path}", "--out", str(tmp_path / "studies")]
    assert main(given) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
