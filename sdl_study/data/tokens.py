"""Token store: every text tokenised once per (data set, tokenizer), memory-mapped, shared by all trials.

The tokenizer sees the training split only. A word-level vocabulary and ByteLevel BPE come out the same on
every run; a published one is loaded by name. It stands beside the tokens in Hugging Face's format, and goes
along with every encoder that is saved.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from sdl_study.data.cache import (
    build_once,
    check_at_least,
    check_choice,
    check_type,
    parse_settings,
    store_key,
)
from sdl_study.data.disk import write_array
from sdl_study.data.layout import Layout, ranges
from sdl_study.data.vocabularies import PAD, UNKNOWN, save_in_hub_format, train_bpe, train_words
from sdl_study.errors import UserError
from sdl_study.files import write_json
from sdl_study.input_spec import INPUTS_FILE, InputSpec
from sdl_study.models.tokenizer import PublishedTokenizer, load_tokenizer, tokenizer_identity

if TYPE_CHECKING:
    from jaxtyping import Int64
    from tokenizers import Encoding, Tokenizer

    from sdl_study.data.prepared import PreparedData

_VERSION = 5
_BATCH = 1_024
_NAME = "data.store.name"
_TOO_MANY_UNKNOWN = 0.9  # of the tokens of a text: what is left cannot tell one from another
_TOKENS = "tokens.bin"


@dataclass(frozen=True)
class TokenSettings:
    """How texts become tokens.

    Args:
        tokenizer: "word" (lower-cased words and punctuation), "bpe" (ByteLevel byte pairs) or "pretrained".
        name: name or folder of the published tokenizer, for "pretrained".
        revision: branch, tag or commit of that name on the hub.
        vocab_size: upper bound of a trained vocabulary, special tokens included.
        min_count: a word seen less often in train is unknown; "word" and "bpe".
        max_length: tokens of a chunk, special tokens included; shortened to the longest text.
        max_chunks: chunks of ``max_length`` tokens that are kept of a long text; the rest is cut off.
    """

    tokenizer: Literal["word", "bpe", "pretrained"] = "word"
    name: str = ""
    vocab_size: int = 30_000
    min_count: int = 2
    max_length: int = 512
    max_chunks: int = 1
    revision: str | None = None

    def __post_init__(self) -> None:
        check_choice("tokenizer", self.tokenizer, ("word", "bpe", "pretrained"))
        check_type("name", self.name, str)
        check_at_least("vocab_size", self.vocab_size, 8)
        check_at_least("min_count", self.min_count, 1)
        check_at_least("max_length", self.max_length, 4)
        check_at_least("max_chunks", self.max_chunks, 1)
        if (self.tokenizer == "pretrained") != bool(self.name):
            raise UserError("data.store.name: give it with tokenizer 'pretrained', and only then")
        check_type("revision", self.revision, (str, NoneType))
        if self.revision is not None and not self.name:
            raise UserError("data.store.revision: give it with data.store.name, and only then")


class TokenStore:
    """Tokens of every example, memory-mapped; ``fetch`` pads them to the longest of a batch."""

    def __init__(self, path: Path) -> None:
        record = json.loads((path / "store.json").read_text())
        self.path = path
        self.spec = InputSpec.text(
            vocab_size=record["vocab_size"],
            pad_token_id=record["pad_token_id"],
            max_length=record["max_length"],
            tokenizer=record["tokenizer"],
        )
        self.max_chunks: int = record["max_chunks"]
        self._most_chunks: int = record["settings"]["max_chunks"]
        self._tokens = np.memmap(path / _TOKENS, dtype=record["dtype"], mode="r")
        self._chunk_starts = np.load(path / "chunk_starts.npy", mmap_mode="r")
        self._first_chunk = np.load(path / "first_chunk.npy", mmap_mode="r")

    @property
    def tokenizer_dir(self) -> Path:
        """Folder of the tokenizer in Hugging Face's format."""
        return self.path / "tokenizer"

    def __len__(self) -> int:
        return len(self._first_chunk) - 1

    def layout(self, rows: Int64[np.ndarray, " n"]) -> Layout:
        """Where the tokens of the examples ``rows`` stand in the store and in a batch of them."""
        rows = np.asarray(rows, dtype=np.int64)
        first, counts = self._first_chunk[rows], self._first_chunk[rows + 1] - self._first_chunk[rows]
        chunks = int(counts.max(initial=1))
        chunk, place = ranges(first, counts)
        row_of_chunk = np.repeat(np.arange(len(rows)), counts)
        starts, sizes = self._chunk_starts[chunk], self._chunk_starts[chunk + 1] - self._chunk_starts[chunk]
        token, column = ranges(starts, sizes)
        shape = (len(rows), chunks, int(sizes.max(initial=1)))
        where = (np.repeat(row_of_chunk, sizes), np.repeat(place, sizes), column)
        if self.max_chunks == 1:
            shape, where = (shape[0], shape[2]), (where[0], where[2])
        return Layout(shape, where, token)

    def fetch(self, rows: Int64[np.ndarray, " n"]) -> dict[str, torch.Tensor]:
        """Inputs of the examples ``rows``, padded to the longest chunk and the most chunks among them.

        Returns:
            input_ids and attention_mask, int64 [n, T], or [n, C, T] where long texts stand in C chunks.
        """
        layout = self.layout(rows)
        ids = np.full(layout.shape, self.spec.pad_token_id, dtype=np.int64)
        ids[layout.where] = self._tokens[layout.token]
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(layout.mask())}

    def save_processor(self, folder: Path) -> None:
        """Write the tokenizer into the folder of an encoder that reads these tokens, and how it is used."""
        shutil.copytree(self.tokenizer_dir, folder, dirs_exist_ok=True)
        made = {"max_length": self.spec.max_length, "max_chunks": self._most_chunks}
        write_json(folder / INPUTS_FILE, {"modality": "text", "pad_token_id": self.spec.pad_token_id, **made})

    @property
    def num_tokens(self) -> int:
        """Tokens of all examples."""
        return len(self._tokens)

    def lengths(self, rows: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Tokens kept of the examples ``rows``, special tokens included."""
        ends = self._chunk_starts[self._first_chunk[np.asarray(rows) + 1]]
        return np.asarray(ends - self._chunk_starts[self._first_chunk[rows]])


def open_token_store(
    prepared: PreparedData, settings: Mapping[str, Any] | TokenSettings, cache_dir: Path
) -> TokenStore:
    """The token store of ``prepared`` for these settings, built under ``cache_dir`` if it is not there.

    Raises:
        UserError: unknown or unusable setting, a tokenizer that is not found, a folder that cannot be written.
    """
    if not isinstance(settings, TokenSettings):
        settings = parse_settings(TokenSettings, settings)
    published, keyed = None, settings
    if settings.tokenizer == "pretrained":
        published = load_tokenizer(settings.name, _NAME, settings.revision)
        # A name, or a branch of it, may come to stand for another tokenizer.
        keyed = replace(settings, name=published.content, revision=None)
    key = store_key("tokens", prepared.manifest.fingerprint, keyed, _VERSION)
    path = build_once(Path(cache_dir), key, lambda folder: _build(folder, prepared, settings, published))
    return TokenStore(path)


def expected_text_spec(prepared: PreparedData, settings: Mapping[str, Any]) -> InputSpec:
    """What is known of a token store's examples before it is built, from the first texts of train.

    Returns:
        Lower bounds of vocabulary and length, and the tokenizer if it is a published one.

    Raises:
        UserError: unknown or unusable setting, a tokenizer that is not found or knows hardly a word of the texts.
    """
    chosen = parse_settings(TokenSettings, settings)
    if chosen.tokenizer != "pretrained":
        return InputSpec.text(vocab_size=1, pad_token_id=0, max_length=1)
    published = load_tokenizer(chosen.name, _NAME, chosen.revision)
    tokenizer = published.backend
    identity = tokenizer_identity(tokenizer)
    tokenizer.enable_truncation(chosen.max_length, stride=0)
    encodings = tokenizer.encode_batch(next(iter(prepared.iter_texts(_BATCH, "train")), []))
    share = _UnknownShare(tokenizer, published.unknown_token_id)
    for encoding in encodings:
        share.add(np.asarray(encoding.ids))
    share.check(chosen)
    return InputSpec.text(
        vocab_size=_vocabulary_size(tokenizer),
        pad_token_id=published.pad_token_id,
        max_length=max((len(encoding.ids) for encoding in encodings), default=1),
        tokenizer=identity,
    )


class _UnknownShare:
    """Counts the unknown among the tokens of texts, frame tokens aside."""

    def __init__(self, tokenizer: Tokenizer, unknown: int | None) -> None:
        self._unknown = unknown
        self._frame = tokenizer.num_special_tokens_to_add(is_pair=False)
        self._tokens, self._unknowns = 0, 0

    def add(self, ids: np.ndarray) -> None:
        """One chunk, its frame included."""
        self._tokens += len(ids) - self._frame
        self._unknowns += int(np.count_nonzero(ids == self._unknown)) if self._unknown is not None else 0

    def check(self, settings: TokenSettings) -> None:
        """Refuse a tokenizer that makes all texts alike.

        Raises:
            UserError: naming the setting.
        """
        if self._tokens == 0 or self._unknowns <= _TOO_MANY_UNKNOWN * self._tokens:
            return
        share = f"{self._unknowns / self._tokens:.0%} of the texts' tokens are unknown"
        if settings.tokenizer == "pretrained":
            raise UserError(
                f"{_NAME}: {share} to tokenizer {settings.name!r}; choose one made for such texts"
            )
        raise UserError(
            f"data.store: {share}; lower min_count (now {settings.min_count}) or raise vocab_size"
        )


def _build(
    folder: Path, prepared: PreparedData, settings: TokenSettings, published: PublishedTokenizer | None
) -> None:
    where = folder / "tokenizer"
    where.mkdir()
    if published is not None:
        tokenizer, pad, unknown = published.backend, published.pad_token_id, published.unknown_token_id
        published.save(where)
    else:
        train = train_words if settings.tokenizer == "word" else train_bpe
        texts = lambda: prepared.iter_texts(_BATCH, "train")  # noqa: E731 (read anew at every call)
        tokenizer = train(texts, settings.vocab_size, settings.min_count)
        pad, unknown = tokenizer.token_to_id(PAD), tokenizer.token_to_id(UNKNOWN)
        save_in_hub_format(tokenizer, where, settings.max_length)
    identity = tokenizer_identity(tokenizer)
    tokenizer.enable_truncation(settings.max_length, stride=0)
    vocab_size = _vocabulary_size(tokenizer)
    small = vocab_size <= np.iinfo(np.uint16).max + 1
    dtype = "<u2" if small else "<i4"
    share = _UnknownShare(tokenizer, unknown)
    chunk_sizes, chunks_of = _encode_all(
        tokenizer, prepared, settings.max_chunks, folder / _TOKENS, dtype, share
    )
    share.check(settings)
    for name, sizes in (("chunk_starts", chunk_sizes), ("first_chunk", chunks_of)):
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        write_array(folder / f"{name}.npy", offsets.shape, offsets.dtype, [offsets])
    longest = min(-(-int(chunk_sizes.max()) // 8) * 8, settings.max_length)
    record = {
        "vocab_size": vocab_size,
        "pad_token_id": pad,
        "max_length": longest,
        "max_chunks": int(chunks_of.max()),
        "dtype": dtype,
        "tokenizer": identity,
        "settings": asdict(settings),
    }
    write_json(folder / "store.json", record)


def _vocabulary_size(tokenizer: Tokenizer) -> int:
    """Not the number of tokens: a published vocabulary may have gaps, and ids above its size."""
    return 1 + max(tokenizer.get_vocab().values())


def _encode_all(
    tokenizer: Tokenizer,
    prepared: PreparedData,
    max_chunks: int,
    file: Path,
    dtype: str,
    share: _UnknownShare,
) -> tuple[np.ndarray, np.ndarray]:
    """Write the tokens of all examples end to end; tokens of every chunk, chunks of every example."""
    sizes, counts = [], []
    with file.open("wb") as stream:
        for texts in prepared.iter_texts(_BATCH):
            for encoding in tokenizer.encode_batch(texts):
                chunks: list[Encoding] = [encoding, *encoding.overflowing][:max_chunks]
                for chunk in chunks:
                    ids = np.asarray(chunk.ids, dtype=dtype)
                    stream.write(ids.tobytes())
                    sizes.append(len(ids))
                    share.add(ids)
                counts.append(len(chunks))
    return np.asarray(sizes, dtype=np.int64), np.asarray(counts, dtype=np.int64)
