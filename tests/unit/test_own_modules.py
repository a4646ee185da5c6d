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
    for name in ("_common.py", "text.py"):
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
        [":3: TrainSettings.epoch: no such setting"],
    ),
    "arms among the settings": (
        HEAD + "from sdl_study.config import Settings\n"
        "Settings(data={}, model={'encoder': 'a', 'encoders': {'a': {'kind': 'mlp'}}}, train={'epochs': 1}, "
        "arms=('sd',))\n",
        [":4: Settings.arms: no such setting; it stands in the study itself: Study(space, settings, arms="],
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


def test_a_study_has_its_modules_name_wherever_that_lies(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = (project / "search_spaces" / "text.py").read_text()
    (project / "search_spaces" / "mine.py").write_text(copy)
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    (elsewhere / "by_file.py").write_text(copy)
    package = tmp_path / "own_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "by_module.py").write_text(copy)
    monkeypatch.chdir(elsewhere)
    for given, name in {
        "mine": "mine",
        "search_spaces.mine": "mine",
        "./by_file.py": "by_file",
        str(elsewhere / "by_file.py"): "by_file",
        "own_package.by_module": "by_module",
    }.items():
        assert main(["study", given, "--out", str(project / "out")]) == 2
        # No further than the data, which are what is missing.
        assert capsys.readouterr().err.startswith(f"error: {name}: data.path is required")
    assert not (project / "out").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("./no_such.py", "study ./no_such.py: there is no such file"),
        ("./folder/mine", "study ./folder/mine: name the study's file, for example ./my_space.py"),
        ("no_such_package.mine", "study: there is no module 'no_such_package.mine'"),
        ("_common", "unknown study '_common'; search_spaces has"),
        ("json.tool", "exports no STUDY of type sdl_study.space.Study"),
    ],
)
def test_no_such_study(given: str, words: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", given, "--out", str(project / "out")]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert not (project / "out").exists()


def test_a_mistake_in_a_study_outside_of_the_clone_has_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text("x = 1\ny = six_arms()\n")
    assert main(["study", str(file), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"error: {file}:2: NameError: name 'six_arms' is not defined\n"


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
