"""How long the texts of a data set are, before their store is built: from a sample of train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sdl_study.errors import UserError
from sdl_study.models.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from sdl_study.data.prepared import PreparedData

_SAMPLE = 256
_FRAME = 2  # tokens that stand around a text


def sample_lengths(prepared: PreparedData, settings: Mapping[str, Any], longest: int) -> tuple[int, ...]:
    """Tokens that a store keeps of the first texts of train.

    Args:
        prepared: the data.
        settings: of the store. A tokenizer that is trained on the data is taken to keep words whole.
        longest: tokens that are kept at most.

    Returns:
        One number a text; empty where the published tokenizer is out of reach.
    """
    count = _counter(settings)
    if count is None:
        return ()
    found: list[int] = []
    for texts in prepared.iter_texts(_SAMPLE, "train"):
        found += [min(max(1, count(text)), longest) for text in texts]
        if len(found) >= _SAMPLE:
            break
    return tuple(found[:_SAMPLE])


def _counter(settings: Mapping[str, Any]) -> Callable[[str], int] | None:
    if settings.get("tokenizer", "word") != "pretrained":
        from tokenizers.pre_tokenizers import Whitespace

        words = Whitespace()
        return lambda text: len(words.pre_tokenize_str(text)) + _FRAME
    try:
        backend = load_tokenizer(settings["name"], "data.store.name", settings.get("revision")).backend
    except UserError:
        return None
    return lambda text: len(backend.encode(text).ids)
