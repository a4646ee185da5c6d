"""Token stores of published tokenizers: told apart, and refused where they know hardly a word or cannot be read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdl_study.data.prepared import PreparedData
from sdl_study.data.stores import expected_spec
from sdl_study.data.tokens import open_token_store
from sdl_study.errors import UserError
from sdl_study.models.tokenizer import load_tokenizer, tokenizer_identity
from tests.unit.data import small
from tests.unit.models import published


@pytest.fixture
def text(tmp_path: Path) -> PreparedData:
    small.write_text(tmp_path / "out")
    return PreparedData.load(tmp_path / "out")


def pretrained(folder: Path | str) -> dict[str, Any]:
    return {"tokenizer": "pretrained", "name": str(folder)}


def refused(prepared: PreparedData, settings: dict[str, Any], stores: Path) -> str:
    """The one line of the check before a study starts, which is also that of the store; no store is left."""
    with pytest.raises(UserError) as checked:
        expected_spec(prepared, settings)
    with pytest.raises(UserError) as built:
        open_token_store(prepared, settings, stores)
    assert not stores.exists() or not [path for path in stores.iterdir() if path.is_dir()]
    for text in (str(checked.value), str(built.value)):
        assert "\n" not in text
        assert "trust_remote_code" not in text
    assert str(built.value).partition("%")[2] == str(checked.value).partition("%")[2]
    return str(checked.value)


def test_the_store_of_a_changed_tokenizer_is_a_new_one(text: PreparedData, tmp_path: Path) -> None:
    folder, rows = published.tokenizer(tmp_path / "mine"), np.arange(60)
    before = open_token_store(text, pretrained(folder), tmp_path / "stores")
    elsewhere = Path(shutil.copytree(folder, tmp_path / "moved"))
    assert open_token_store(text, pretrained(elsewhere), tmp_path / "stores").path == before.path
    published.tokenizer(folder, [*published.SPECIALS, *reversed(published.WORDS)])
    after = open_token_store(text, pretrained(folder), tmp_path / "stores")
    assert not torch.equal(after.fetch(rows)["input_ids"], before.fetch(rows)["input_ids"])
    assert after.spec.tokenizer != before.spec.tokenizer
    published.tokenizer(folder)
    again = open_token_store(text, pretrained(folder), tmp_path / "stores")
    assert again.path == before.path


@pytest.mark.parametrize("tokenizer", ["word", "bpe"])
def test_a_store_tells_its_tokenizer_from_others(text: PreparedData, tmp_path: Path, tokenizer: str) -> None:
    settings = {"tokenizer": tokenizer, "vocab_size": 400}
    store = open_token_store(text, settings, tmp_path / "stores")
    exported = open_token_store(text, pretrained(store.tokenizer_dir), tmp_path / "stores")
    assert exported.spec.tokenizer == store.spec.tokenizer
    other = open_token_store(text, settings | {"min_count": 40}, tmp_path / "stores")
    assert other.spec.tokenizer != store.spec.tokenizer


def test_what_makes_a_tokenizer_another_one(tmp_path: Path) -> None:
    def identity(folder: Path) -> str:
        return tokenizer_identity(load_tokenizer(str(folder), "test").backend)

    words = [*published.SPECIALS, *published.WORDS]
    plain = identity(published.tokenizer(tmp_path / "plain"))
    assert identity(published.tokenizer(tmp_path / "again")) == plain
    swapped = [*words[:5], words[6], words[5], *words[7:]]
    assert identity(published.tokenizer(tmp_path / "swapped", swapped)) != plain
    assert identity(published.tokenizer(tmp_path / "longer", [*words, "iota"])) != plain
    assert identity(published.tokenizer(tmp_path / "cased", lower=False)) != plain
    frameless = published.tokenizer(tmp_path / "frameless")
    content = json.loads((frameless / "tokenizer.json").read_text())
    (frameless / "tokenizer.json").write_text(json.dumps(content | {"post_processor": None}))
    assert identity(frameless) != plain


def test_the_store_pads_and_cuts_by_itself(text: PreparedData, tmp_path: Path) -> None:
    folder, rows = published.tokenizer(tmp_path / "mine"), np.arange(60)
    plain = open_token_store(text, pretrained(folder), tmp_path / "stores")
    content = json.loads((folder / "tokenizer.json").read_text())
    padding = {"strategy": {"Fixed": 40}, "direction": "Left", "pad_to_multiple_of": None}
    padding |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    cut = {"direction": "Left", "max_length": 4, "strategy": "LongestFirst", "stride": 2}
    (folder / "tokenizer.json").write_text(json.dumps(content | {"padding": padding, "truncation": cut}))
    again = open_token_store(text, pretrained(folder), tmp_path / "other stores")
    assert torch.equal(again.fetch(rows)["input_ids"], plain.fetch(rows)["input_ids"])
    assert (again.spec, again.path.name) == (plain.spec, plain.path.name)


def test_what_is_known_before_the_store_is_built(text: PreparedData, tmp_path: Path) -> None:
    folder = published.tokenizer(tmp_path / "mine")
    store = open_token_store(text, pretrained(folder), tmp_path / "stores")
    early = expected_spec(text, pretrained(folder))
    assert (early.vocab_size, early.tokenizer) == (store.spec.vocab_size, store.spec.tokenizer)
    train = int(store.lengths(text.rows("train")).max())
    assert early.max_length == train <= store.spec.max_length
    assert expected_spec(text, pretrained(folder) | {"max_length": 5}).max_length == 5
    unknown = expected_spec(text, {"tokenizer": "word"})
    assert (unknown.vocab_size, unknown.max_length, unknown.tokenizer) == (1, 1, "")


def test_a_folder_without_a_tokenizer(text: PreparedData, tmp_path: Path) -> None:
    """transformers makes one of five special tokens of it, to which every word is unknown."""
    folder = published.model(tmp_path / "model")
    assert "holds no tokenizer" in refused(text, pretrained(folder), tmp_path / "stores")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    assert "holds no tokenizer" in refused(text, pretrained(folder), tmp_path / "stores")
    (folder / "vocab.txt").write_text("\n".join(published.SPECIALS))
    assert "special tokens alone" in refused(text, pretrained(folder), tmp_path / "stores")
    (folder / "vocab.txt").write_text("")
    assert "special tokens alone" in refused(text, pretrained(folder), tmp_path / "stores")
    (folder / "vocab.txt").write_text("\n".join([*published.SPECIALS, *published.WORDS]))
    assert open_token_store(text, pretrained(folder), tmp_path / "stores").spec.vocab_size == 13


def test_a_tokenizer_to_which_nearly_every_word_is_unknown(text: PreparedData, tmp_path: Path) -> None:
    folder = published.tokenizer(tmp_path / "other", [*published.SPECIALS, "eins", "zwei"])
    message = refused(text, pretrained(folder), tmp_path / "stores")
    assert f"100% of the texts' tokens are unknown to tokenizer {str(folder)!r}" in message
    with pytest.raises(
        UserError, match=r"100% of the texts' tokens are unknown; lower min_count \(now 999\)"
    ):
        open_token_store(text, {"min_count": 999}, tmp_path / "stores")
    assert not [path for path in (tmp_path / "stores").iterdir() if path.is_dir()]


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (POINTER, "tokenizer.json: is a Git LFS pointer"),
        ("", "tokenizer.json: damaged: not a JSON object"),
        ('{"version": "1.0", "mod', "tokenizer.json: damaged: not a JSON object"),
        ("[]", "tokenizer.json: damaged: not a JSON object"),
        ('{"version": "1.0"}', "cannot be read"),
        ('{"version": "1.0", "model": {"type": "Unheard"}}', "cannot be read"),
    ],
)
def test_a_damaged_tokenizer(text: PreparedData, tmp_path: Path, content: str, words: str) -> None:
    folder = published.tokenizer(tmp_path / "mine")
    (folder / "tokenizer.json").write_text(content)
    assert words in refused(text, pretrained(folder), tmp_path / "stores")


def test_a_tokenizer_with_code_of_its_own_runs_none(text: PreparedData, tmp_path: Path) -> None:
    folder = published.tokenizer(tmp_path / "mine")
    (folder / "code.py").write_text("raise SystemExit('code from outside ran')\n")
    (folder / "tokenizer.json").rename(folder / "vocab.json")
    config = {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["code.Mine", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert "needs code of its own, which is not run" in refused(text, pretrained(folder), tmp_path / "stores")


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "~/model", "nobody/nothing", "nothing"])
def test_a_tokenizer_that_is_not_there(
    text: PreparedData, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert name.strip("./") in refused(text, pretrained(name), tmp_path / "stores")
