"""Token stores: tokenizers trained here and published ones, chunks, and tokenizers that know hardly a word."""

from __future__ import annotations

import json
import multiprocessing
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
