"""Token store: every text tokenised once per (data set, tokenizer), memory-mapped, shared by all trials.

The tokenizer sees the training split only. A word-level vocabulary and ByteLevel BPE come out the same on
every run; a published tokenizer is loaded by name. The tokenizer stands beside the tokens in Hugging
Face's format, so that an exported encoder can take it along.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
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
from sdl_study.errors import UserError
from sdl_study.models.spec import InputSpec

if TYPE_CHECKING:
    from jaxtyping import Int64
    from tokenizers import Encoding, Tokenizer

    from sdl_study.data.prepared import PreparedData

# The training texts, batch by batch; called once for every pass over them.
Texts = Callable[[], Iterator[list[str]]]

_VERSION = 3
_BATCH = 1_024
_TOKENS = "tokens.bin"
PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"


@dataclass(frozen=True)
class TokenSettings:
    """How texts become tokens.

    Args:
        tokenizer: "word" (lower-cased words and punctuation), "bpe" (ByteLevel byte pairs) or "pretrained".
        name: name or folder of the published tokenizer, for "pretrained".
        vocab_size: upper bound of a trained vocabulary, special tokens included.
        min_count: a word seen less often in train is unknown; "word" and "bpe".
        max_length: tokens of a chunk, special tokens included; shortened to the longest text.
        max_chunks: chunks of `max_length` tokens that are kept of a long text; the rest is cut off.
    """

    tokenizer: Literal["word", "bpe", "pretrained"] = "word"
    name: str = ""
    vocab_size: int = 30_000
    min_count: int = 2
    max_length: int = 512
    max_chunks: int = 1

    def __post_init__(self) -> None:
        check_choice("tokenizer", self.tokenizer, ("word", "bpe", "pretrained"))
        check_type("name", self.name, str)
        check_at_least("vocab_size", self.vocab_size, 8)
        check_at_least("min_count", self.min_count, 1)
        check_at_least("max_length", self.max_length, 4)
        check_at_least("max_chunks", self.max_chunks, 1)
        if (self.tokenizer == "pretrained") != bool(self.name):
            raise UserError("data.store.name: give it with tokenizer 'pretrained', and only then")


class TokenStore:
    """Tokens of every example, memory-mapped; `fetch` pads them to the longest of a batch."""

    def __init__(self, path: Path) -> None:
        record = json.loads((path / "store.json").read_text())
        self.path = path
        self.spec = InputSpec.text(
            vocab_size=record["vocab_size"],
            pad_token_id=record["pad_token_id"],
            max_length=record["max_length"],
        )
        self.max_chunks: int = record["max_chunks"]
        self._tokens = np.memmap(path / _TOKENS, dtype=record["dtype"], mode="r")
        self._chunk_starts = np.load(path / "chunk_starts.npy", mmap_mode="r")
        self._first_chunk = np.load(path / "first_chunk.npy", mmap_mode="r")

    @property
    def tokenizer_dir(self) -> Path:
        """Folder of the tokenizer in Hugging Face's format."""
        return self.path / "tokenizer"

    def __len__(self) -> int:
        return len(self._first_chunk) - 1

    def fetch(self, rows: Int64[np.ndarray, " n"]) -> dict[str, torch.Tensor]:
        """Inputs of the examples `rows`, padded to the longest chunk and the most chunks among them.

        Returns:
            input_ids and attention_mask, int64 [n, T], or [n, C, T] where long texts stand in C chunks.
        """
        rows = np.asarray(rows, dtype=np.int64)
        first, counts = self._first_chunk[rows], self._first_chunk[rows + 1] - self._first_chunk[rows]
        chunks = int(counts.max(initial=1))
        chunk, place = _ranges(first, counts)
        row_of_chunk = np.repeat(np.arange(len(rows)), counts)
        starts, sizes = self._chunk_starts[chunk], self._chunk_starts[chunk + 1] - self._chunk_starts[chunk]
        token, column = _ranges(starts, sizes)
        length = int(sizes.max(initial=1))
        ids = np.full((len(rows), chunks, length), self.spec.pad_token_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        where = (np.repeat(row_of_chunk, sizes), np.repeat(place, sizes), column)
        ids[where] = self._tokens[token]
        mask[where] = 1
        if self.max_chunks == 1:
            ids, mask = ids[:, 0], mask[:, 0]
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}

    def lengths(self, rows: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Tokens kept of the examples `rows`, special tokens included."""
        ends = self._chunk_starts[self._first_chunk[np.asarray(rows) + 1]]
        return np.asarray(ends - self._chunk_starts[self._first_chunk[rows]])


def open_token_store(
    prepared: PreparedData, settings: Mapping[str, Any] | TokenSettings, cache_dir: Path
) -> TokenStore:
    """The token store of `prepared` for these settings, built under `cache_dir` if it is not there.

    Raises:
        UserError: unknown or unusable setting, a tokenizer that is not found, a folder that cannot be written.
    """
    if not isinstance(settings, TokenSettings):
        settings = parse_settings(TokenSettings, settings)
    key = store_key("tokens", prepared.manifest.fingerprint, settings, _VERSION)
    return TokenStore(build_once(Path(cache_dir), key, lambda folder: _build(folder, prepared, settings)))


def _ranges(starts: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Concatenated ranges start…start+size, and the place of every entry inside its range."""
    place = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(starts, sizes) + place, place


def _build(folder: Path, prepared: PreparedData, settings: TokenSettings) -> None:
    where = folder / "tokenizer"
    where.mkdir()
    if settings.tokenizer == "pretrained":
        tokenizer, pad = _load_pretrained(settings.name, where)
    else:
        train_tokenizer = _train_words if settings.tokenizer == "word" else _train_bpe
        tokenizer = train_tokenizer(lambda: prepared.iter_texts(_BATCH, "train"), settings)
        pad = tokenizer.token_to_id(PAD)
        _save_in_hub_format(tokenizer, where, settings)
    tokenizer.no_padding()
    tokenizer.enable_truncation(settings.max_length, stride=0)
    # Not the number of tokens: a published vocabulary may have gaps, and ids above its size.
    vocab_size = 1 + max(tokenizer.get_vocab().values())
    small = vocab_size <= np.iinfo(np.uint16).max + 1
    dtype = "<u2" if small else "<i4"
    chunk_sizes, chunks_of = _encode_all(tokenizer, prepared, settings.max_chunks, folder / _TOKENS, dtype)
    for name, sizes in (("chunk_starts", chunk_sizes), ("first_chunk", chunks_of)):
        offsets = _offsets(sizes)
        write_array(folder / f"{name}.npy", offsets.shape, offsets.dtype, [offsets])
    longest = min(-(-int(chunk_sizes.max()) // 8) * 8, settings.max_length)
    record = {
        "vocab_size": vocab_size,
        "pad_token_id": pad,
        "max_length": longest,
        "max_chunks": int(chunks_of.max()),
        "dtype": dtype,
        "settings": asdict(settings),
    }
    (folder / "store.json").write_text(json.dumps(record, indent=2) + "\n")


def _encode_all(
    tokenizer: Tokenizer, prepared: PreparedData, max_chunks: int, file: Path, dtype: str
) -> tuple[np.ndarray, np.ndarray]:
    """Write the tokens of all examples end to end; tokens of every chunk, chunks of every example."""
    sizes, counts = [], []
    with file.open("wb") as stream:
        for texts in prepared.iter_texts(_BATCH):
            for encoding in tokenizer.encode_batch(texts):
                chunks: list[Encoding] = [encoding, *encoding.overflowing][:max_chunks]
                for chunk in chunks:
                    stream.write(np.asarray(chunk.ids, dtype=dtype).tobytes())
                    sizes.append(len(chunk.ids))
                counts.append(len(chunks))
    return np.asarray(sizes, dtype=np.int64), np.asarray(counts, dtype=np.int64)


def _offsets(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _train_words(texts: Texts, settings: TokenSettings) -> Tokenizer:
    """Word-level vocabulary in the order of (count, word): the trainer's own ids change from run to run."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    def empty(vocabulary: dict[str, int]) -> Tokenizer:
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        return tokenizer

    counter = empty({})
    # The largest vocabulary a trainer takes: the cut by count and name is made below, where ties are settled.
    trainer = trainers.WordLevelTrainer(
        vocab_size=2**31, min_frequency=settings.min_count, special_tokens=[UNKNOWN], show_progress=False
    )
    counter.train_from_iterator(texts(), trainer)
    counts = np.zeros(counter.get_vocab_size(), dtype=np.int64)
    for batch in texts():
        for encoding in counter.encode_batch(batch):
            np.add.at(counts, encoding.ids, 1)
    specials = (PAD, UNKNOWN, START, END)
    words = [(-counts[i], word) for word, i in counter.get_vocab().items() if word not in specials]
    kept = [word for _, word in sorted(words)][: settings.vocab_size - len(specials)]
    return _with_frame(empty({word: i for i, word in enumerate([*specials, *kept])}))


def _train_bpe(texts: Texts, settings: TokenSettings) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    if settings.vocab_size < 300:
        raise UserError(f"data.store.vocab_size: {settings.vocab_size} is too small for bytes; at least 300")
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=settings.min_count,
        special_tokens=[PAD, UNKNOWN, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return _with_frame(tokenizer)


def _with_frame(tokenizer: Tokenizer) -> Tokenizer:
    from tokenizers import processors

    ends = [(START, tokenizer.token_to_id(START)), (END, tokenizer.token_to_id(END))]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", pair=f"{START} $A {END} $B {END}", special_tokens=ends
    )
    return tokenizer


def _save_in_hub_format(tokenizer: Tokenizer, folder: Path, settings: TokenSettings) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    record = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": PAD,
        "unk_token": UNKNOWN,
        "cls_token": START,
        "sep_token": END,
        "model_max_length": settings.max_length,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(record, indent=2) + "\n")


def _load_pretrained(name: str, folder: Path) -> tuple[Tokenizer, int]:
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError):
        raise UserError(
            f"data.store.name: no tokenizer {name!r} found, neither here nor on the hub"
        ) from None
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None:
        raise UserError(f"data.store.name: tokenizer {name!r} has no fast (Rust) form, which the store needs")
    if loaded.pad_token_id is None:
        if loaded.eos_token is None:
            raise UserError(f"data.store.name: tokenizer {name!r} has neither a padding nor an end token")
        loaded.pad_token = loaded.eos_token
    loaded.save_pretrained(folder)
    return backend, backend.token_to_id(str(loaded.pad_token))
