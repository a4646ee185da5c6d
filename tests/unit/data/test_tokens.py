"""Token stores: vocabularies trained here, chunks, and how a store is built and opened."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdl_study.data.prepared import PreparedData
from sdl_study.data.tokens import open_token_store
from sdl_study.errors import UserError
from tests.unit.data import small


@pytest.fixture
def text(tmp_path: Path) -> PreparedData:
    small.write_text(tmp_path / "out")
    return PreparedData.load(tmp_path / "out")


def test_words_are_numbered_by_count_and_then_by_name(text: PreparedData, tmp_path: Path) -> None:
    store = open_token_store(text, {}, tmp_path / "stores")
    vocabulary = json.loads((store.tokenizer_dir / "tokenizer.json").read_text())["model"]["vocab"]
    words = " ".join(text.texts(text.rows("train"))).split()
    expected = sorted(set(words), key=lambda word: (-words.count(word), word))
    by_number = sorted(vocabulary, key=lambda word: vocabulary[word])
    assert by_number == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *expected]
    assert store.spec.vocab_size == len(by_number)


def test_fetch_gives_what_the_tokenizer_gives(text: PreparedData, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    store = open_token_store(text, {"min_count": 1}, tmp_path / "stores")
    tokenizer = AutoTokenizer.from_pretrained(store.tokenizer_dir)
    rows = np.array([41, 3, 3, 17])
    batch = store.fetch(rows)
    expected = tokenizer(text.texts(rows), padding="longest", return_tensors="pt")
    assert torch.equal(batch["input_ids"], expected["input_ids"])
    assert torch.equal(batch["attention_mask"], expected["attention_mask"])
    np.testing.assert_array_equal(store.lengths(rows), batch["attention_mask"].sum(1))
    empty = store.fetch(np.array([], dtype=np.int64))
    assert empty["input_ids"].shape == (0, 1)


def test_the_tokenizer_sees_train_alone(tmp_path: Path) -> None:
    texts = small.texts()
    dev_row = int(np.flatnonzero((small.index()["split"] == "dev").to_numpy())[0])
    texts[dev_row] = "unheard unheard unheard"
    small.write_text(tmp_path / "out", texts=texts)
    store = open_token_store(PreparedData.load(tmp_path / "out"), {}, tmp_path / "stores")
    unknown = 1
    assert store.fetch(np.array([dev_row]))["input_ids"][0, :5].tolist() == [2, unknown, unknown, unknown, 3]


def test_rare_words_and_the_cut_of_the_vocabulary(tmp_path: Path) -> None:
    texts = ["common common rare" if i == 0 else "common second" for i in range(60)]
    small.write_text(tmp_path / "out", texts=texts)
    prepared = PreparedData.load(tmp_path / "out")
    ids = open_token_store(prepared, {"min_count": 2}, tmp_path / "stores").fetch(np.array([0]))["input_ids"]
    assert ids[0, :5].tolist() == [2, 4, 4, 1, 3]
    assert open_token_store(prepared, {"vocab_size": 8}, tmp_path / "stores").spec.vocab_size == 6


def test_long_texts_are_cut_or_stand_in_chunks(text: PreparedData, tmp_path: Path) -> None:
    whole = open_token_store(text, {}, tmp_path / "stores")
    cut = open_token_store(text, {"max_length": 6}, tmp_path / "stores")
    chunked = open_token_store(text, {"max_length": 6, "max_chunks": 2}, tmp_path / "stores")
    long = np.array([int(np.argmax(whole.lengths(np.arange(60))))])
    inner = whole.fetch(long)["input_ids"][0, 1 : whole.lengths(long)[0] - 1].tolist()
    assert cut.fetch(long)["input_ids"].tolist() == [[2, *inner[:4], 3]]
    chunks = chunked.fetch(long)
    assert chunks["input_ids"].shape == (1, 2, 6)
    assert chunks["input_ids"][0].tolist() == [[2, *inner[:4], 3], [2, *inner[4:8], 3]]
    short = np.array([int(np.argmin(whole.lengths(np.arange(60))))])
    assert chunked.fetch(short)["attention_mask"].shape == (1, 1, int(chunked.lengths(short)[0]))
    both = chunked.fetch(np.concatenate([short, long]))
    assert both["attention_mask"].shape == (2, 2, 6)
    assert both["attention_mask"][0, 1].tolist() == [0] * 6


@pytest.mark.parametrize("tokenizer", ["word", "bpe"])
def test_the_same_tokens_on_every_run(text: PreparedData, tmp_path: Path, tokenizer: str) -> None:
    stores = [
        open_token_store(text, {"tokenizer": tokenizer, "vocab_size": 400}, tmp_path / name)
        for name in ("a", "b")
    ]
    rows = np.arange(60)
    assert torch.equal(stores[0].fetch(rows)["input_ids"], stores[1].fetch(rows)["input_ids"])
    assert len({(s.tokenizer_dir / "tokenizer.json").read_text() for s in stores}) == 1
    assert stores[0].path.name == stores[1].path.name


def test_bpe_loses_nothing(text: PreparedData, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    store = open_token_store(text, {"tokenizer": "bpe", "vocab_size": 300}, tmp_path / "stores")
    tokenizer = AutoTokenizer.from_pretrained(store.tokenizer_dir)
    ids = store.fetch(np.array([5]))["input_ids"][0]
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == small.texts()[5]


def test_a_ready_tokenizer_by_folder(text: PreparedData, tmp_path: Path) -> None:
    own = open_token_store(text, {}, tmp_path / "stores")
    settings = {"tokenizer": "pretrained", "name": str(own.tokenizer_dir)}
    loaded = open_token_store(text, settings, tmp_path / "stores")
    rows = np.arange(60)
    assert torch.equal(loaded.fetch(rows)["input_ids"], own.fetch(rows)["input_ids"])
    assert loaded.path != own.path


def test_a_ready_tokenizer_with_gaps_in_its_ids(text: PreparedData, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids = {"[PAD]": 0, "[UNK]": 1, "alpha": 70_000}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ready = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    ready.save_pretrained(tmp_path / "tokenizer")
    settings = {"tokenizer": "pretrained", "name": str(tmp_path / "tokenizer")}
    store = open_token_store(text, settings, tmp_path / "stores")
    assert store.spec.vocab_size == 70_001
    found = store.fetch(np.array([0]))["input_ids"][0].tolist()
    assert found == [ids.get(word, 1) for word in small.texts()[0].split()]


def _open_and_sum(arguments: tuple[Path, Path]) -> int:
    prepared = PreparedData.load(arguments[0])
    return int(open_token_store(prepared, {}, arguments[1]).fetch(np.arange(60))["input_ids"].sum())


def test_several_processes_may_open_a_new_store_at_once(text: PreparedData, tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        sums = pool.map(_open_and_sum, [(text.path, tmp_path / "stores")] * 3)
    assert len(set(sums)) == 1
    assert [path.name.partition("-")[0] for path in (tmp_path / "stores").iterdir() if path.is_dir()] == [
        "tokens"
    ]


def test_an_open_store_is_read_not_built(
    text: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_token_store(text, {}, tmp_path / "stores")
    monkeypatch.setattr("sdl_study.data.tokens._build", lambda *_: pytest.fail("built again"))
    again = open_token_store(text, {}, tmp_path / "stores")
    assert torch.equal(first.fetch(np.arange(9))["input_ids"], again.fetch(np.arange(9))["input_ids"])


def test_a_failed_build_leaves_nothing_and_can_be_repeated(
    text: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("lost power")

    with monkeypatch.context() as patch:
        patch.setattr("sdl_study.data.tokens._encode_all", broken)
        with pytest.raises(RuntimeError):
            open_token_store(text, {}, tmp_path / "stores")
    assert not [path for path in (tmp_path / "stores").iterdir() if path.is_dir()]
    assert len(open_token_store(text, {}, tmp_path / "stores")) == 60


def test_a_store_folder_that_cannot_be_written(text: PreparedData, tmp_path: Path) -> None:
    (tmp_path / "stores").write_text("a file")
    with pytest.raises(UserError, match="store folder cannot be written"):
        open_token_store(text, {}, tmp_path / "stores")


def test_the_longest_text_may_stand_outside_train(tmp_path: Path) -> None:
    texts = small.texts()
    dev_row = int(np.flatnonzero((small.index()["split"] == "dev").to_numpy())[0])
    texts[dev_row] = " ".join(["alpha"] * 40)
    small.write_text(tmp_path / "out", texts=texts)
    prepared = PreparedData.load(tmp_path / "out")
    whole = open_token_store(prepared, {}, tmp_path / "stores")
    assert whole.fetch(np.array([dev_row]))["attention_mask"].sum() == 42
    assert whole.spec.max_length == 48
    chunked = open_token_store(prepared, {"max_length": 16, "max_chunks": 9}, tmp_path / "stores")
    assert chunked.fetch(np.arange(60))["input_ids"].shape == (60, 3, 16)
