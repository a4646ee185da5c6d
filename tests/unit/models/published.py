"""Tiny pretrained models and tokenizers, as they come from the hub: a folder each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = "alpha beta gamma delta epsilon zeta eta theta".split()  # noqa: SIM905 (those of the small data set)
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def tokenizer(folder: Path, words: Sequence[str] = (*SPECIALS, *WORDS), lower: bool = True) -> Path:
    """A word-level tokenizer with these words as ids 0, 1, ..."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if lower:
        made.normalizer = normalizers.Lowercase()
    ends = [(name, words.index(name)) for name in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=made, **names).save_pretrained(folder)
    return folder


def model(folder: Path, model_type: str = "bert", dtype: torch.dtype = torch.float32, **sizes: Any) -> Path:
    """A model of a configuration with random weights."""
    from transformers import AutoConfig, AutoModel

    shard = sizes.pop("max_shard_size", "1GB")
    torch.manual_seed(2)
    text = {} if "image_size" in sizes else {"vocab_size": len(SPECIALS) + len(WORDS), "pad_token_id": 0}
    config = AutoConfig.for_model(model_type, **(SIZES | text | sizes))
    AutoModel.from_config(config).to(dtype).save_pretrained(folder, max_shard_size=shard)
    return folder


def bert(folder: Path, **sizes: Any) -> Path:
    """A BERT and its own tokenizer."""
    return tokenizer(model(folder, **sizes))


def copy(folder: Path, to: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(folder, to))


def cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path, str], Path]:
    """What puts files of a folder where the hub's cache would hold them, under a name; there is no network then."""
    for constants in ("huggingface_hub.constants", "transformers.utils.hub.constants"):
        monkeypatch.setattr(f"{constants}.HF_HUB_OFFLINE", True)
        monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(root / "cache"))

    def put(name: str, folder: Path, pattern: str) -> Path:
        repository = root / "cache" / ("models--" + name.replace("/", "--"))
        snapshot = repository / "snapshots" / ("0" * 40)
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        (repository / "refs" / "main").write_text(snapshot.name)
        snapshot.mkdir(parents=True, exist_ok=True)
        for file in folder.glob(pattern):
            shutil.copy(file, snapshot)
        return snapshot

    return put
