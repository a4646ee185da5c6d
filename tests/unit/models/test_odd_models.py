"""Models that are not as most are: right, or one clear line before the first trial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sdl_study.data.prepared import PreparedData
from sdl_study.data.stores import open_store
from sdl_study.errors import UserError
from sdl_study.input_spec import InputSpec
from sdl_study.models import build_encoder, check_encoder, load_encoder
from sdl_study.models.tokenizer import load_tokenizer, tokenizer_identity
from sdl_study.testing.encoder_contract import example_inputs
from tests.unit.data import small
from tests.unit.models import published

TEXT = InputSpec.text(vocab_size=13, pad_token_id=0, max_length=12)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1\n"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.bert(tmp_path_factory.mktemp("published") / "bert")


@pytest.fixture
def folder(bert: Path, tmp_path: Path) -> Path:
    return published.copy(bert, tmp_path / "model")


def refused(folder: Path, spec: InputSpec) -> str:
    """The line with which the driver refuses a model, and a store its tokenizer."""
    with pytest.raises(UserError) as caught:
        check_encoder("hub", {"name": str(folder)}, spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def own(folder: Path) -> InputSpec:
    """The examples of a store that a model's tokenizer made."""
    identity = tokenizer_identity(load_tokenizer(str(folder), "test").backend)
    return InputSpec.text(vocab_size=13, pad_token_id=0, max_length=12, tokenizer=identity)


def vocabulary_file(folder: Path, name: str) -> Path:
    """One of the forms in which a tokenizer lies beside a model."""
    content = json.loads((folder / "tokenizer.json").read_text())
    tokens = list(content["model"]["vocab"])
    if name == "vocab.txt":
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
        (folder / name).write_text("\n".join(tokens))
    elif name == "merges.txt":
        (folder / name).write_text("#version: 0.2\n")
    return folder / name


FILES = [
    "vocab.txt",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "config.json",
    "model.safetensors",
]


@pytest.mark.parametrize("name", FILES)
def test_a_pointer_of_large_file_storage(folder: Path, name: str) -> None:
    spec = own(folder)
    vocabulary_file(folder, name).write_text(POINTER)
    assert f"{folder / name}: is a Git LFS pointer, not the file itself; fetch it" in refused(folder, spec)


@pytest.mark.parametrize("name", FILES)
def test_a_link_to_nothing(folder: Path, name: str) -> None:
    """A hub cache that was copied without the files that its links name."""
    spec = own(folder)
    file = vocabulary_file(folder, name)
    file.unlink()
    file.symlink_to("../../blobs/abc")
    assert f"{folder / name}: is a link to ../../blobs/abc, which is not there" in refused(folder, spec)


def test_a_damaged_configuration_is_not_told_as_the_tokenizers(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    for ask in (lambda: load_tokenizer(str(folder), "data.store.name"), lambda: refused(folder, TEXT)):
        try:
            words = str(ask())
        except UserError as error:
            words = str(error)
        assert f"{folder / 'config.json'}: damaged: not a JSON object; download it again" in words


def test_the_tokens_of_a_study_are_not_those_of_a_pretrained_model(bert: Path, tmp_path: Path) -> None:
    """Also where there are few enough of them: other ids are other words."""
    small.write_text(tmp_path / "data")
    prepared = PreparedData.load(tmp_path / "data")
    store = open_store(
        prepared, {"tokenizer": "word", "vocab_size": 9, "max_length": 12}, tmp_path / "stores"
    )
    assert store.spec.vocab_size <= 13
    assert "reads texts in another way than the store's" in refused(bert, store.spec)
    bare = published.model(tmp_path / "bare")
    assert "has no tokenizer at hand" in refused(bare, store.spec)
    read = {"tokenizer": "pretrained", "name": str(bert), "max_length": 12}
    check_encoder("hub", {"name": str(bert)}, open_store(prepared, read, tmp_path / "stores").spec)


def test_tokenizers_that_split_numbers_in_another_way(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, pre_tokenizers

    words = [*published.SPECIALS, *published.WORDS, "2026", "2", "0", "6"]
    published.tokenizer(tmp_path / "whole", words)
    split = published.tokenizer(tmp_path / "split", words)
    made = Tokenizer.from_file(str(split / "tokenizer.json"))
    digits = pre_tokenizers.Digits(individual_digits=True)
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), digits])
    made.save(str(split / "tokenizer.json"))
    assert own(tmp_path / "whole").tokenizer != own(split).tokenizer


def test_a_saved_encoder_has_no_tokenizer_and_is_read_again(bert: Path, tmp_path: Path) -> None:
    encoder = build_encoder("hub", {"name": str(bert)}, own(bert)).eval()
    encoder.save_pretrained(tmp_path / "saved")
    loaded = load_encoder(tmp_path / "saved").eval()
    assert loaded.spec == own(bert)
    assert torch.equal(loaded(**example_inputs(TEXT)), encoder(**example_inputs(TEXT)))


def test_a_model_that_reads_without_end(tmp_path: Path) -> None:
    """XLNet says -1 positions."""
    sizes: dict[str, Any] = {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32}
    folder = published.model(tmp_path / "xlnet", "xlnet", **sizes)
    check_encoder("hub", {"name": str(folder)}, TEXT)
    encoder = build_encoder("hub", {"name": str(folder)}, TEXT).eval()
    inputs = example_inputs(TEXT)
    together = encoder(**inputs)
    for row, mask in enumerate(inputs["attention_mask"]):
        alone = {name: values[row : row + 1, : int(mask.sum())] for name, values in inputs.items()}
        torch.testing.assert_close(encoder(**alone)[0], together[row], rtol=1e-4, atol=1e-5)


def test_a_tokenizer_larger_than_the_models_table(tmp_path: Path) -> None:
    folder = published.model(tmp_path / "model")
    published.tokenizer(folder, [*published.SPECIALS, *published.WORDS, "iota"])
    spec = InputSpec.text(vocab_size=14, pad_token_id=0, max_length=12, tokenizer=own(folder).tokenizer)
    assert "knows 13 tokens, the store's tokenizer 14" in refused(folder, spec)


def test_a_tokenizer_without_a_padding_token_pads_with_its_end(tmp_path: Path) -> None:
    folder = published.tokenizer(published.model(tmp_path / "llama", "llama", pad_token_id=None))
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).exists():
            content = json.loads((folder / name).read_text())
            content.pop("pad_token", None)
            (folder / name).write_text(json.dumps(content | {"eos_token": "[SEP]"}))
    pad = load_tokenizer(str(folder), "test").pad_token_id
    assert pad == published.SPECIALS.index("[SEP]")
    spec = InputSpec.text(vocab_size=13, pad_token_id=pad, max_length=12)
    inputs = example_inputs(spec)
    encoder = build_encoder("hub", {"name": str(folder), "pooling": "last", "lora_rank": 2}, spec).eval()
    together = encoder(**inputs)
    alone = encoder(**{name: values[1:2, :2] for name, values in inputs.items()})
    torch.testing.assert_close(alone[0], together[1], rtol=1e-5, atol=1e-6)


def test_a_model_of_patches_for_images_of_another_size(tmp_path: Path) -> None:
    """DINOv2 is published for 518 pixels and read at 224; ViT has one size."""
    sizes: dict[str, Any] = {"image_size": 64, "patch_size": 8, "num_channels": 3}
    dinov2 = published.model(tmp_path / "dinov2", "dinov2", **sizes)
    little = InputSpec.image(channels=3, image_size=32)
    assert build_encoder("hub", {"name": str(dinov2)}, little)(**example_inputs(little)).shape == (4, 16)
    odd = InputSpec.image(channels=3, image_size=36)
    assert "reads images of a multiple of 8 pixels, the store gives 36" in refused(dinov2, odd)
    vit = published.model(tmp_path / "vit", "vit", **sizes)
    assert "reads images of side 64, the store gives 32" in refused(vit, little)
