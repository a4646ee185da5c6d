"""Published tokenizers: loaded without code from outside, refused where they know no words, and told apart."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdl_study.errors import UserError
from sdl_study.models.model_files import files_like, open_file, read_object
from sdl_study.models.places import find_folder, found_at, why_not_loaded

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# What holds a vocabulary, in all forms that transformers reads.
_VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken", "tekken.json", "bpe.codes")
# What says more about it; transformers asks the model's configuration, too, whose tokenizer it is.
_BESIDE = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "config.json",
)
_OTHER_TEXT = (
    "Two  blanks, 3.5 mg/dl; x-ray\n\tnaïve Ünïcode ﬁt 漢字 [brackets] 10 250 1234567 2026-11-26 1,024"
)
_WORDS = 2_000


@dataclass(frozen=True)
class PublishedTokenizer:
    """A tokenizer of the hub or of a folder.

    Attributes:
        backend: the Rust tokenizer, without padding and truncation.
        pad_token_id: its padding token, or its end token where it has none.
        unknown_token_id: what it gives for words that it does not know; None where it knows all.
    """

    backend: Tokenizer
    pad_token_id: int
    unknown_token_id: int | None
    _loaded: Any

    def save(self, folder: Path) -> None:
        """Write it in Hugging Face's form."""
        self._loaded.save_pretrained(folder)

    @cached_property
    def content(self) -> str:
        """Digest of all that says how texts become tokens."""
        return _digest([self.backend.to_str(), self.pad_token_id])


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a vocabulary."""
    return bool(files_like(folder, _VOCABULARIES))


def tokenizer_identity(backend: Tokenizer) -> str:
    """Digest of what a tokenizer makes of texts: its vocabulary with the ids, and the tokens of a test text.

    Not of its file, of which several say the same. The test text is made of the vocabulary's own words, also in
    capitals and run together, of its numbers, and of what tokenizers treat in different ways (blanks, accents,
    punctuation, digits).
    """
    vocabulary = backend.get_vocab()
    bare = [token.lstrip("Ġ▁#") for token in sorted(vocabulary, key=lambda token: vocabulary[token])]
    words = [word for word in bare if word.isalpha()][:_WORDS]
    numbers = " ".join([word for word in bare if word.isdigit() and len(word) > 1][:_WORDS])
    lower = " ".join(words)
    text = "\n".join([lower, lower.upper(), lower.title(), "".join(words[:200]), numbers, _OTHER_TEXT])
    return _digest([sorted(vocabulary.items()), backend.encode(text).ids])


def load_tokenizer(name: str, field: str, revision: str | None = None) -> PublishedTokenizer:
    """A tokenizer by its name on the hub or its folder; no code from outside is run, and nothing is asked.

    Args:
        field: the setting that named it, for the message.

    Raises:
        UserError: there is none, it cannot be read, it has no fast form or no padding, or it knows no words.
    """
    folder = find_folder(name, field)
    if folder is not None:
        _check_files(folder, field)
    loaded = _load(name, field, revision)
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None:
        raise UserError(f"{field}: tokenizer {name!r} has no fast (Rust) form, which the store needs")
    if not set(backend.get_vocab()) - set(loaded.all_special_tokens):
        raise UserError(
            f"{field}: tokenizer {name!r} has special tokens alone, no word; its vocabulary is lost"
        )
    if loaded.pad_token_id is None:
        if loaded.eos_token is None:
            raise UserError(f"{field}: tokenizer {name!r} has neither a padding nor an end token")
        loaded.pad_token = loaded.eos_token
    backend.no_padding()
    backend.no_truncation()
    pad = backend.token_to_id(str(loaded.pad_token))
    return PublishedTokenizer(backend, pad, loaded.unk_token_id, loaded)


def _check_files(folder: Path, field: str) -> None:
    """Refuse a folder from which transformers would make a tokenizer of nothing, or say what nobody understands."""
    if not has_tokenizer(folder):
        raise UserError(
            f"{field}: {folder} holds no tokenizer (tokenizer.json, vocab.txt, ...); put the model's own beside it "
            "with save_pretrained"
        )
    try:
        for file in files_like(folder, (*_VOCABULARIES, *_BESIDE)):
            if file.suffix == ".json":
                read_object(file)
            else:
                open_file(file).close()
    except UserError as error:
        raise UserError(f"{field}: {error}") from None


def _load(name: str, field: str, revision: str | None) -> Any:
    from transformers import AutoTokenizer

    where = {"revision": revision} if revision else {}
    try:
        return AutoTokenizer.from_pretrained(found_at(name, field), trust_remote_code=False, **where)
    except Exception as error:  # noqa: BLE001 (a foreign file may make its reader raise anything; it holds no data)
        if "trust_remote_code" in str(error):
            raise UserError(f"{field}: tokenizer {name!r} needs code of its own, which is not run") from None
        raise UserError(
            f"{field}: tokenizer {name!r} cannot be read: {why_not_loaded(error, name)}"
        ) from None


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
