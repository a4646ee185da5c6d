"""A user's own study or pipeline with a mistake: its file, its line and the mistake's words, in one line."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdl_study import own_modules
from sdl_study.run import main

ROOT = own_modules.ROOT


def _loaded() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in ("search_spaces", "pipelines")]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the user's own modules, found in the place of the project's."""
    for package in ("search_spaces", "pipelines"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    for name in ("common.py", "text.py"):
        shutil.copy(ROOT / "search_spaces" / name, tmp_path / "search_spaces")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(own_modules, "ROOT", tmp_path)
    before = {name: sys.modules.pop(name) for name in _loaded()}
    yield tmp_path
    for name in _loaded():
        del sys.modules[name]
    sys.modules.update(before)


HEAD = """from sdl_study.config import TrainSettings, ModelSettings
from sdl_study.space import SearchSpace, log_uniform, uniform
"""

MISTAKES = {
    "syntax": ("x = (1,\ny = = 2\n", ["search_spaces/mine.py:", "SyntaxError: "]),
    "unknown name": ("x = 1\ny = six_arms()\n", [":2: NameError: name 'six_arms' is not defined"]),
    "missing module": ("import nothing_here\n", [":1: ModuleNotFoundError: No module named 'nothing_here'"]),
    "missing name": (
        "from sdl_study.config import Trains\n",
        [":1: ImportError: cannot import name 'Trains'"],
    ),
    "unknown setting": (
        HEAD + "TrainSettings(epochs=8, epoch=8)\n",
        [":3: TrainSettings.epoch: Extra inputs"],
    ),
    "encoder without kind": (
        HEAD + "ModelSettings(encoder='a', encoders={'a': {}})\n",
        [":3: ModelSettings: encoders.a.kind is required"],
    ),
    "low above high": (HEAD + "uniform('loss.temperature', 2.0, 1.0)\n", [":3: ValueError: ", "low"]),
    "twice": (
        HEAD + "one = uniform('a', 0, 1)\nSearchSpace((one, one))\n",
        [":4: search space: parameter 'a' stands twice"],
    ),
    "unknown keyword": (HEAD + "uniform('a', 0, 1, only=2)\n", [":3: TypeError: unknown keyword 'only'"]),
    "leaves": ("raise SystemExit('three\\nlines')\n", [":1: SystemExit: three lines"]),
}


@pytest.mark.parametrize(("text", "words"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_a_study_module(
    text: str, words: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "search_spaces" / "mine.py").write_text(text)
    assert main(["study", "mine", "--out", str(project / "out")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: search_spaces/mine.py")
    assert all(word in told for word in words), told
    assert told.count("\n") == 1
    assert not (project / "out").exists()


def test_two_wrong_settings_are_two_lines(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "search_spaces" / "mine.py").write_text(HEAD + "TrainSettings(epochs=0, epoch=8)\n")
    assert main(["study", "mine", "--out", str(project / "out")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[:3] for line in told] == [
        ["error", "search_spaces/mine.py:3", f"TrainSettings.{field}"] for field in ("epochs", "epoch")
    ]


def test_the_line_of_a_mistake_in_what_the_module_imports(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "search_spaces" / "helper.py").write_text("\n\nx = 1 / 0\n")
    (project / "search_spaces" / "mine.py").write_text("from search_spaces.helper import x\n")
    assert main(["study", "mine", "--out", str(project / "out")]) == 2
    assert "error: search_spaces/helper.py:3: ZeroDivisionError" in capsys.readouterr().err


def test_a_copied_study_keeps_its_name_only_with_another_given(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (project / "search_spaces" / "text.py").read_text()
    line = text.splitlines().index('    "text",') + 1
    (project / "search_spaces" / "mine.py").write_text(text)
    out = ["--out", str(project / "out")]
    assert main(["study", "mine", *out]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: search_spaces/mine.py:{line}: the study calls itself 'text'")
    assert told.count("\n") == 1
    assert main(["study", "mine", "--name", "other", *out]) == 2  # further: the data are what is missing now
    assert "other: data.path is required" in capsys.readouterr().err
    (project / "search_spaces" / "mine.py").write_text(text.replace('"text",', '"mine",'))
    assert own_modules.load_study("text").name == "text"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("pipelines.mine", "def prepare(out):\n    return out\n", "pipelines.mine has no prepare(name, out)"),
        ("pipelines.mine", "", "pipelines.mine has no prepare(name, out)"),
        ("pipelines.mine", "import nothing_here\n", "pipelines/mine.py:1: ModuleNotFoundError"),
        ("pipelines.mine.more", "", "there is no module 'pipelines.mine.more'"),
        ("pipelines.other.more", "", "there is no module 'pipelines.other.more'"),
        ("pipelines.", "", "there is no module 'pipelines.'"),
    ],
)
def test_a_mistake_in_a_pipeline(
    name: str, text: str, words: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "pipelines" / "mine.py").write_text(text)
    given = ["study", "text", "--set", f"data.pipeline={name}", "--out", str(project / "out")]
    assert main(given) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
