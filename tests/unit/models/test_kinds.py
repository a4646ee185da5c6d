"""Kinds of encoder: found by listing, by module and by file; what a user's own module may have wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sdl_study.errors import UserError
from sdl_study.input_spec import InputSpec
from sdl_study.models import (
    build_encoder,
    check_encoder,
    encoder_settings,
    find_kind,
    kind_names,
    load_encoder,
    locate_encoder,
    parse_encoder_settings,
)

FEATURES = InputSpec.features(width=3)
OWN = """
from typing import ClassVar
from torch import nn
from sdl_study.models import EncoderSettings

class Settings(EncoderSettings):
    modalities: ClassVar = ("features",)
    width: int = 4

def build(settings, spec):
    return nn.Linear(spec.width, settings.width), settings.width
"""
FEATURES_NAME = OWN.replace("return nn.Linear", "return Named").replace(
    "def build",
    "class Named(nn.Linear):\n    def forward(self, features):\n        return super().forward(features)\n\ndef build",
)


def write(folder: Path, text: str = FEATURES_NAME, name: str = "mine.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_every_file_of_the_folder_is_a_kind() -> None:
    folder = Path(sys.modules[find_kind.__module__].__file__ or "").parent / "kinds"
    assert set(kind_names()) == {path.stem for path in folder.iterdir() if path.suffix == ".py"} - {
        "__init__"
    }
    for kind in kind_names():
        assert find_kind(kind).reference == kind
        assert encoder_settings(kind) == set(find_kind(kind).settings_class.model_fields)


def test_settings_of_all_kinds_need_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from sdl_study.models import kind_names, find_kind; [find_kind(k) for k in kind_names()];"
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    code = "import sys, sdl_study.models, sdl_study.models.encoders; print('transformers' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_a_kind_by_file_and_by_dotted_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pack_of_kinds").mkdir()
    write(tmp_path / "pack_of_kinds")
    monkeypatch.syspath_prepend(tmp_path)
    for reference in (str(tmp_path / "pack_of_kinds" / "mine.py"), "pack_of_kinds.mine"):
        assert parse_encoder_settings(reference, {"width": 5}).model_dump() == {"width": 5}
        encoder = build_encoder(reference, {"width": 5}, FEATURES)
        assert encoder(features=torch.ones(2, 3)).shape == (2, 5)
        with pytest.raises(UserError, match="has no setting 'depth'; choose from width"):
            check_encoder(reference, {"depth": 1}, FEATURES)
        with pytest.raises(UserError, match="reads features, the data set holds image"):
            check_encoder(reference, {}, InputSpec.image(channels=1, image_size=8))


def test_the_driver_asks_a_kinds_own_check(tmp_path: Path) -> None:
    reference = write(
        tmp_path,
        FEATURES_NAME
        + "\nfrom sdl_study.errors import UserError\n"
        + "def check(settings, spec):\n    raise UserError(f'{settings.width} against {spec.width}')\n",
    )
    for ask in (check_encoder, build_encoder):
        with pytest.raises(UserError, match="4 against 3"):
            ask(reference, {}, FEATURES)


def test_a_saved_encoder_finds_its_own_kind_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    write(tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")
    located = locate_encoder("mine.py", {"width": 2})
    assert located == {"kind": str(tmp_path / "there" / "mine.py"), "width": 2}
    encoder = build_encoder("mine.py", {"width": 2}, FEATURES)
    assert encoder.kind == located["kind"]
    encoder.save_pretrained(tmp_path / "saved")
    monkeypatch.chdir(tmp_path)
    loaded = load_encoder(tmp_path / "saved")
    assert torch.equal(loaded(features=torch.ones(1, 3)), encoder(features=torch.ones(1, 3)))


def test_a_saved_encoder_whose_module_is_gone(tmp_path: Path) -> None:
    reference = write(tmp_path)
    build_encoder(reference, {}, FEATURES).save_pretrained(tmp_path / "saved")
    file = tmp_path / "saved" / "encoder.json"
    file.write_text(file.read_text().replace("mine.py", "gone.py"))
    with pytest.raises(
        UserError, match=r"saved holds an encoder that cannot be read: .*gone\.py': there is no such file"
    ):
        load_encoder(tmp_path / "saved")


MISTAKES = {
    "no Settings": (OWN.replace("class Settings", "class Sizes"), "has no class Settings"),
    "Settings of another kind": (OWN.replace("(EncoderSettings)", ""), "derive one from"),
    "no modalities": (OWN.replace('    modalities: ClassVar = ("features",)\n', ""), "says what it reads"),
    "unknown modality": (OWN.replace('("features",)', '("audio",)'), "not \\('audio',\\)"),
    "modalities a word": (OWN.replace('("features",)', '"features"'), "says what it reads"),
    "no build": (OWN.replace("def build", "def make"), "has no function build\\(settings, spec\\)"),
    "build no function": (OWN + "\nbuild = 3\n", "build is to be a function build\\(settings, spec\\)"),
    "build of other arguments": (OWN.replace("(settings, spec)", "(settings)"), "build is to be a function"),
    "check of other arguments": (
        OWN + "\ndef check(): ...\n",
        "check is to be a function check\\(settings, spec\\)",
    ),
    "import": ("import no_such_package_at_all\n", r"cannot be imported: ModuleNotFoundError.*mine\.py:1\)"),
    "syntax": ("x = 1\ndef (\n", r"cannot be imported: SyntaxError.*mine\.py:2\)"),
    "raises": ("\n\nraise ValueError('two\\nlines')\n", r"ValueError: two lines \(.*mine\.py:3\)"),
    "exits": ("raise SystemExit('bye')\n", r"SystemExit: bye"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_of_an_own_module_is_one_line_that_names_it(name: str, tmp_path: Path) -> None:
    text, words = MISTAKES[name]
    reference = write(tmp_path, text)
    with pytest.raises(UserError, match=words) as caught:
        parse_encoder_settings(reference, {})
    assert str(caught.value).startswith(f"encoder kind {reference!r}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("no_such.module", "encoder kind 'no_such.module': there is no such module"),
        ("os.no_such", "there is no such module"),
        ("nowhere/kind.py", "nowhere/kind.py': there is no such file"),
        ("", "unknown encoder ''"),
        ("__init__", "unknown encoder '__init__'; choose from bert"),
        ("..up", "cannot be imported: TypeError"),
    ],
)
def test_a_reference_to_nothing(reference: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        find_kind(reference)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("nn.Linear(3, 4)", "build returns a pair, the backbone and its width"),
        ("(nn.Linear(3, 4), 4.0)", "not Linear and float"),
        ("('bert', 4)", "not str and int"),
    ],
)
def test_what_build_returns_is_looked_at(returned: str, words: str, tmp_path: Path) -> None:
    reference = write(
        tmp_path, OWN.replace("nn.Linear(spec.width, settings.width), settings.width", returned)
    )
    with pytest.raises(UserError, match=words):
        build_encoder(reference, {}, FEATURES)
