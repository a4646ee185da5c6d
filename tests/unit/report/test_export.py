"""What stands in an exported folder, and what does not: paths, small counts, half a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdl_study.errors import UserError
from sdl_study.files import read_json, write_json
from sdl_study.models import InputSpec, build_encoder, load_encoder
from sdl_study.record.chosen import choose
from sdl_study.report.export import folder as folder_module
from sdl_study.report.export.folder import write_export
from sdl_study.report.export.source import Source, find_source
from tests.unit.report.studies import answered, searched

OWN = """
from typing import ClassVar
from torch import nn
from sdl_study.models import EncoderSettings

class Settings(EncoderSettings):
    modalities: ClassVar = ("features",)

def build(settings, spec):
    return nn.Linear(spec.width, 4), 4
"""


def source_of(out: Path, terms: str = "open") -> Source:
    """The best arm's final of a played study, with a linear encoder in a file of the user's own."""
    answered(searched(out, terms), lambda arm, seed: 3.0)
    chosen = choose(out, "small")
    encoder = chosen.slot.folder / "encoder"
    encoder.mkdir(exist_ok=True)
    (out / "my_encoder.py").write_text(OWN)
    built = build_encoder(str(out / "my_encoder.py"), {}, InputSpec.features(width=3))
    built.save_pretrained(encoder)
    write_json(
        encoder / "inputs.json", {"modality": "text", "pad_token_id": 0, "max_length": 16, "max_chunks": 2}
    )
    write_json(encoder / "config.json", {"model_type": "bert", "_name_or_path": str(out)})
    (encoder / "probe.safetensors").write_bytes(b"weights")
    found = find_source(chosen, None)
    metrics = {**found.result.metrics, "dev/threshold": 0.25}  # as every real result has one
    return replace(found, result=replace(found.result, metrics=metrics))


def text_of(folder: Path) -> str:
    names = ("README.md", "config.json", "encoder.json", "export.json", "labels.json")
    return "".join((folder / name).read_text() for name in names)


def test_no_place_of_this_machine_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_export(source_of(tmp_path / "studies"), tmp_path / "out")
    assert str(tmp_path) not in text_of(tmp_path / "out")
    assert "/home/somebody" not in text_of(tmp_path / "out")
    (tmp_path / "studies" / "my_encoder.py").unlink()
    monkeypatch.chdir(tmp_path)
    assert load_encoder(tmp_path / "out").width == 4  # its module came along


@pytest.mark.parametrize("terms", ["open", "restricted"])
def test_small_counts_of_restricted_data_are_not_told(tmp_path: Path, terms: str) -> None:
    write_export(source_of(tmp_path / "studies", terms), tmp_path / "out")
    counts = [label["train_count"] for label in read_json(tmp_path / "out" / "labels.json")]
    card = (tmp_path / "out" / "README.md").read_text()
    if terms == "open":
        assert counts[-4:] == [9, 5, 3, 1]
        assert "| train | 700 | 350 | 12 | 4 | 2.00 |" in card
        assert "**Restricted data.**" not in card
    else:
        assert counts[-4:] == ["<10"] * 4
        assert counts[:2] == ["400", "300"]
        assert "| train | 700 | 350 | 12 | <10 | 2.00 |" in card
        assert card.count("**Restricted data.**") == 2
        assert "- restricted" in card.partition("---\n\n")[0]


def test_the_card_has_the_numbers_of_the_record(tmp_path: Path) -> None:
    source = source_of(tmp_path / "studies")
    write_export(source, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert source.test is not None
    assert f"| test/map | {source.test['map']:.4f} |" in card
    assert f"above {source.result.metrics['dev/threshold']:.4f}" in card
    for name, value in source.chosen.parameters.items():
        assert f"| {name} | {value} |" in card
    declaration = source.chosen.record.declaration
    assert declaration is not None
    assert declaration.sha in card


def test_half_a_folder_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of(tmp_path / "studies")

    def full(*_: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_module, "card_text", full)
    with pytest.raises(UserError, match=r"cannot be written .No space left on device."):
        write_export(source, tmp_path / "handed" / "out")
    assert list((tmp_path / "handed").iterdir()) == []


def test_what_an_earlier_version_left_is_told(tmp_path: Path) -> None:
    source = source_of(tmp_path / "studies")
    (source.encoder / "probe.safetensors").unlink()
    with pytest.raises(
        UserError, match=r"has no probe.safetensors, which an earlier version did not write; reproduce"
    ):
        find_source(source.chosen, None)


def test_without_the_data_set_labels_have_no_names(tmp_path: Path) -> None:
    source = source_of(tmp_path / "studies")
    moved = replace(source, chosen=replace(source.chosen, record=replace(source.chosen.record, dataset=None)))
    with pytest.raises(
        UserError, match="the prepared data set, which has the names of the labels, is not where"
    ):
        write_export(moved, tmp_path / "out")
    assert not (tmp_path / "out").exists()
