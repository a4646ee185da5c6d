"""Pretrained models that cannot be read or do not fit: one line, before they are loaded, and no code of theirs run."""

from __future__ import annotations

import json
import re
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdl_study.errors import UserError
from sdl_study.input_spec import InputSpec
from sdl_study.models import build_encoder, check_encoder
from sdl_study.models.tokenizer import load_tokenizer, tokenizer_identity
from tests.unit.models import published

TEXT = InputSpec.text(vocab_size=13, pad_token_id=0, max_length=12)
IMAGE = InputSpec.image(channels=1, image_size=32)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.bert(tmp_path_factory.mktemp("published") / "bert")


@pytest.fixture
def folder(bert: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(bert, tmp_path / "model"))


def refused(name: Path | str, spec: InputSpec = TEXT) -> str:
    """The one line with which the driver's check refuses a model; building it says the same."""
    with pytest.raises(UserError) as checked:
        check_encoder("hub", {"name": str(name)}, spec)
    with pytest.raises(UserError) as built:
        build_encoder("hub", {"name": str(name)}, spec)
    assert str(built.value) == str(checked.value)
    assert "\n" not in str(checked.value)
    assert "trust_remote_code" not in str(checked.value)
    return str(checked.value)


def edit(file: Path, **changes: Any) -> None:
    """Change entries of a JSON file; None takes one out."""
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def of_spec(folder: Path, **more: Any) -> InputSpec:
    """The examples of a store that a folder's tokenizer made."""
    identity = tokenizer_identity(load_tokenizer(str(folder), "test").backend)
    return InputSpec.text(
        **({"vocab_size": 13, "pad_token_id": 0, "max_length": 12, "tokenizer": identity} | more)
    )


def test_a_good_model_passes_quickly_and_reads_no_weights(
    bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = of_spec(bert)
    from transformers import AutoModel

    whole = AutoModel.from_pretrained

    def only_shapes(*names: Any, device_map: Any = None, **more: Any) -> Any:
        assert device_map == "meta", "weights were loaded"
        return whole(*names, device_map=device_map, **more)

    monkeypatch.setattr("transformers.AutoModel.from_pretrained", only_shapes)
    started = time.monotonic()
    check_encoder("hub", {"name": str(bert)}, spec)
    assert time.monotonic() - started < 1.0


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 440473133\n"
WEIGHTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "LFS pointer": (lambda f: f.write_text(POINTER), "is a Git LFS pointer, not the file itself; fetch it"),
    "web page": (lambda f: f.write_text("<!doctype html>\n<p>not found</p>"), "is a web page"),
    "empty": (lambda f: f.write_bytes(b""), r"is not a safetensors file \(0 bytes\)"),
    "seven bytes": (lambda f: f.write_bytes(b"1234567"), "is not a safetensors file"),
    "other file": (
        lambda f: f.write_bytes(b"PK\x03\x04" + bytes(range(256)) * 9),
        "is not a safetensors file",
    ),
    "header of another kind": (
        lambda f: f.write_bytes(struct.pack("<Q", 2) + b"[]"),
        "is not a safetensors file",
    ),
    "header is no JSON": (
        lambda f: f.write_bytes(struct.pack("<Q", 4) + b"{{{{"),
        "is not a safetensors file",
    ),
    "no tensors": (lambda f: f.write_bytes(struct.pack("<Q", 2) + b"{}"), "holds no weights"),
    "cut in the header": (lambda f: f.write_bytes(f.read_bytes()[:500]), r"is cut off \(500 bytes\)"),
    "cut in the data": (lambda f: f.write_bytes(f.read_bytes()[:-1]), "is cut off .* bytes of "),
    "longer": (lambda f: f.write_bytes(f.read_bytes() + b"x"), "is longer than it says"),
    "gone": (lambda f: f.unlink(), "has no weights under the name model.safetensors"),
    "link to nothing": (
        lambda f: (f.unlink(), f.symlink_to("blob")),
        "is a link to blob, which is not there",
    ),
    "a folder": (lambda f: (f.unlink(), f.mkdir()), "cannot be read"),
    "pickle": (lambda f: f.rename(f.with_name("pytorch_model.bin")), "only safetensors are read"),
    "pickled shards": (lambda f: f.rename(f.with_name("pytorch_model-00001-of-00002.bin")), "may run code"),
    "tensorflow": (lambda f: f.rename(f.with_name("tf_model.h5")), "as tf_model.h5, and only safetensors"),
    "another name": (lambda f: f.rename(f.with_name("weights.safetensors")), "only weights.safetensors"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_are_not_there_or_not_whole(name: str, folder: Path) -> None:
    spoil, words = WEIGHTS[name]
    spoil(folder / "model.safetensors")
    message = refused(folder)
    assert message.startswith(f"setting 'name' of encoder 'hub': {folder}")
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(message)


def test_shards(tmp_path: Path) -> None:
    folder = published.model(tmp_path / "sharded", max_shard_size="5KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 2
    check_encoder("hub", {"name": str(folder)}, TEXT)
    whole = shards[1].read_bytes()
    shards[1].write_bytes(whole[:-9])
    assert f"{shards[1].name}: is cut off" in refused(folder)
    shards[1].write_text(POINTER)
    assert f"{shards[1].name}: is a Git LFS pointer" in refused(folder)
    shards[1].unlink()
    assert f"1 of {len(shards)} files of weights are missing, {shards[1].name}" in refused(folder)
    shutil.copy(shards[0], shards[1])
    assert "lacks " in refused(folder)
    index = folder / "model.safetensors.index.json"
    for content in ("{}", '{"weight_map": {}}', '{"weight_map": {"a": 3}}', "[]", "{", POINTER):
        index.write_text(content)
        assert index.name in refused(folder)


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "encoder and decoder": ({"model_type": "t5", "is_encoder_decoder": True}, "is encoder and decoder"),
    "an encoder-decoder's half": (
        {"model_type": "bart", "is_encoder_decoder": False},
        "is encoder and decoder",
    ),
    "own code": (
        {"model_type": "mine", "auto_map": {"AutoConfig": "mod.C", "AutoModel": "mod.M"}},
        "code of its own",
    ),
    "unknown type": ({"model_type": "no_such_model"}, "cannot load"),
    "no type": ({"model_type": None}, "cannot load"),
    "quantised": (
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
        "quantised",
    ),
    "width a word": ({"hidden_size": "wide"}, "cannot load"),
    "another vocabulary": ({"vocab_size": 40}, "speaks of 40 tokens, its weights hold 13"),
    "no positions": ({"max_position_embeddings": 8}, "reads 8 tokens, the store gives 12"),
    "text and image": ({"model_type": "clip"}, "reads text and vision together"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_that_do_not_do(name: str, folder: Path) -> None:
    changes, words = CONFIGS[name]
    edit(folder / "config.json", **changes)
    (folder / "mod.py").write_text("raise SystemExit('code from outside ran')\n")
    assert words in refused(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", POINTER, "\x00\x01"])
def test_a_damaged_configuration(content: str, folder: Path) -> None:
    (folder / "config.json").write_text(content)
    assert f"{folder / 'config.json'}: " in refused(folder)


def test_places_that_hold_no_model(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "is empty" in refused("empty")
    assert "is a file; name the folder" in refused(bert / "config.json")
    for path in ("./nowhere", "../nowhere", str(tmp_path / "nowhere"), "a/b/c", "nowhere/"):
        assert "there is no folder" in refused(path)
    assert "write the home folder out" in refused("~/model")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    assert "holds an adapter" in refused("adapter")
    published.tokenizer(tmp_path / "tokenizer")
    assert "tokenizer: has no weights" in refused("tokenizer")


@pytest.mark.parametrize("name", ["nobody/nothing", "nothing", "not a name!"])
def test_a_name_of_the_hub_without_a_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert f"cannot load {name!r}" in refused(name)


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path, str], Path]:
    """Files of a folder as the hub's cache holds them, under a name, without a network."""
    return published.cache(tmp_path, monkeypatch)


def test_a_name_whose_weights_were_never_downloaded(
    bert: Path, cached: Callable[[str, Path, str], Path]
) -> None:
    """Another tool fetched the configuration alone."""
    cached("some/bert", bert, "config.json")
    assert "has no weights under the name model.safetensors" in refused("some/bert")


def test_a_downloaded_name_is_looked_at_like_a_folder(
    bert: Path, tmp_path: Path, cached: Callable[[str, Path, str], Path]
) -> None:
    words = [*published.SPECIALS, *reversed(published.WORDS)]
    other = of_spec(published.tokenizer(tmp_path / "other", words))
    cached("some/model", bert, "[cm]o*")  # configuration and weights
    check_encoder("hub", {"name": "some/model"}, TEXT)
    assert "has no tokenizer at hand" in refused("some/model", of_spec(bert))
    snapshot = cached("some/whole", bert, "*")
    check_encoder("hub", {"name": "some/whole"}, of_spec(bert))
    assert build_encoder("hub", {"name": "some/whole"}, of_spec(bert)).width == 16
    assert "reads texts in another way" in refused("some/whole", other)
    (snapshot / "model.safetensors").write_text(POINTER)
    assert "is a Git LFS pointer" in refused("some/whole", of_spec(bert))


def test_relative_folders_are_folders(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bert.parent)
    check_encoder("hub", {"name": "bert"}, of_spec(bert))
    assert build_encoder("hub", {"name": "bert"}, of_spec(bert)).width == 16


def test_another_tokenizer_than_the_models_own(bert: Path, tmp_path: Path) -> None:
    words = [*published.SPECIALS, *reversed(published.WORDS)]
    other = published.tokenizer(tmp_path / "other", words)
    assert load_tokenizer(str(other), "test").backend.get_vocab_size() == 13
    assert "reads texts in another way than the store's" in refused(bert, of_spec(other))
    cased = published.tokenizer(tmp_path / "cased", lower=False)
    assert f"data.store.name={bert}" in refused(bert, of_spec(cased))
    again = published.tokenizer(tmp_path / "again")
    edit(again / "tokenizer.json", truncation=None, padding=None)
    check_encoder("hub", {"name": str(bert)}, of_spec(again))  # the same one from elsewhere
    check_encoder("hub", {"name": str(bert)}, TEXT)  # a store that does not tell


def test_a_tokenizer_that_changes_is_seen(folder: Path, tmp_path: Path) -> None:
    """Every job asks again; what is kept of the answer goes by the files."""
    spec = of_spec(folder)
    check_encoder("hub", {"name": str(folder)}, spec)
    other = published.tokenizer(tmp_path / "other", [*published.SPECIALS, *reversed(published.WORDS)])
    shutil.copy(other / "tokenizer.json", folder / "tokenizer.json")
    assert "in another way" in refused(folder, spec)


def test_modalities(bert: Path, tmp_path: Path) -> None:
    assert "is no image encoder (it has a vocabulary)" in refused(bert, IMAGE)
    sizes: dict[str, Any] = {"image_size": 32, "patch_size": 16, "num_channels": 1}
    vit = published.model(tmp_path / "vit", "vit", **sizes)
    check_encoder("hub", {"name": str(vit)}, IMAGE)
    assert "has no vocabulary" in refused(vit)
    assert "reads 1 channels, the images have 3" in refused(vit, InputSpec.image(channels=3, image_size=32))
    assert "reads images of side 32, the store gives 64" in refused(
        vit, InputSpec.image(channels=1, image_size=64)
    )


def test_weights_that_the_configuration_speaks_of_and_the_file_lacks(folder: Path) -> None:
    """transformers would make them up at random and only warn; its pooler, which is not used, may be missing."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    weights = {name: values for name, values in load_file(file).items() if "pooler" not in name}
    save_file(weights, file, metadata={"format": "pt"})
    build_encoder("hub", {"name": str(folder)}, TEXT)
    edit(folder / "config.json", num_hidden_layers=2)
    assert re.search(r"lacks 16 of the weights .* encoder\.layer\.1\.", refused(folder))


def test_weights_of_another_size(folder: Path) -> None:
    edit(folder / "config.json", hidden_size=32)
    assert re.search(r"not of one model: \S+ is \[16\] in the file and \[32\] by config", refused(folder))
