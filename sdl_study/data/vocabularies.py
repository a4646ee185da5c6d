"""Tokenizers trained on the training split: a word-level vocabulary or byte pairs, the same on every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sdl_study.errors import UserError
from sdl_study.files import write_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer


# The training texts, batch by batch; called once for every pass over them.
Texts = Callable[[], Iterator[list[str]]]

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"


def train_words(texts: Texts, vocab_size: int, min_count: int) -> Tokenizer:
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
        vocab_size=2**31, min_frequency=min_count, special_tokens=[UNKNOWN], show_progress=False
    )
    counter.train_from_iterator(texts(), trainer)
    counts = np.zeros(counter.get_vocab_size(), dtype=np.int64)
    for batch in texts():
        for encoding in counter.encode_batch(batch):
            np.add.at(counts, encoding.ids, 1)
    specials = (PAD, UNKNOWN, START, END)
    words = [(-counts[i], word) for word, i in counter.get_vocab().items() if word not in specials]
    kept = [word for _, word in sorted(words)][: vocab_size - len(specials)]
    return _with_frame(empty({word: i for i, word in enumerate([*specials, *kept])}))


def train_bpe(texts: Texts, vocab_size: int, min_count: int) -> Tokenizer:
    """ByteLevel byte pairs.

    Raises:
        UserError: the vocabulary is too small for the bytes.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    if vocab_size < 300:
        raise UserError(f"data.store.vocab_size: {vocab_size} is too small for bytes; at least 300")
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_count,
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


def save_in_hub_format(tokenizer: Tokenizer, folder: Path, max_length: int) -> None:
    """Write a tokenizer that ``AutoTokenizer`` reads."""
    tokenizer.save(str(folder / "tokenizer.json"))
    record = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": PAD,
        "unk_token": UNKNOWN,
        "cls_token": START,
        "sep_token": END,
        "model_max_length": max_length,
    }
    write_json(folder / "tokenizer_config.json", record)
