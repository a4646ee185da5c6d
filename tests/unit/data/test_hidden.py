"""Outputs of a frozen part: computed once for every example, laid out as its inputs are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdl_study.data.hidden import HiddenStore, open_hidden_store
from sdl_study.data.images import open_image_store
from sdl_study.data.prepared import PreparedData
from sdl_study.data.tokens import TokenStore, open_token_store
from sdl_study.errors import UserError
from tests.unit.data import small

WIDTH = 3


class Lower:
    """A frozen part that gives every token its own id, its place's parity and a one; counts its calls."""

    def __init__(self, whole: bool = False) -> None:
        self.whole, self.calls = whole, 0

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.calls += 1
        ids = inputs["input_ids"].float()
        places = torch.arange(ids.shape[-1]).remainder(2).expand_as(ids)
        hidden = torch.stack([ids, places.float(), torch.ones_like(ids)], dim=-1)
        if not self.whole:
            return {"hidden": hidden}
        mask = inputs["attention_mask"].unsqueeze(-1)
        return {"embedding": (hidden * mask).flatten(1, -2).sum(1)}


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    small.write_text(tmp_path / "data")
    return PreparedData.load(tmp_path / "data")


@pytest.fixture(params=[{"max_length": 16}, {"max_length": 4, "max_chunks": 3}], ids=["one chunk", "chunks"])
def tokens(data: PreparedData, tmp_path: Path, request: pytest.FixtureRequest) -> TokenStore:
    return open_token_store(data, request.param, tmp_path / "stores")


def opened(tokens: TokenStore, tmp_path: Path, lower: Lower, **options: Any) -> HiddenStore:
    store = open_hidden_store(tokens, "abc", lower, tmp_path / "stores", **options)
    assert store is not None
    return store


def test_hidden_states_stand_where_their_tokens_do(tokens: TokenStore, tmp_path: Path) -> None:
    lower = Lower()
    store = opened(tokens, tmp_path, lower)
    assert len(store) == len(tokens)
    assert store.spec == tokens.spec
    for rows in (np.array([5, 0, 17, 5]), np.arange(len(tokens)), np.array([3])):
        inputs, found = tokens.fetch(rows), store.fetch(rows)
        assert torch.equal(found["attention_mask"], inputs["attention_mask"])
        kept = inputs["attention_mask"].bool()
        assert torch.equal(found["hidden"][kept], lower(inputs)["hidden"][kept])
        assert not found["hidden"][~kept].any()
        assert np.array_equal(store.lengths(rows), tokens.lengths(rows))


def test_a_vector_per_example(tokens: TokenStore, tmp_path: Path) -> None:
    lower = Lower(whole=True)
    store = opened(tokens, tmp_path, lower)
    rows = np.array([9, 2, 2])
    assert torch.equal(store.fetch(rows)["embedding"], lower(tokens.fetch(rows))["embedding"])
    assert set(store.fetch(rows)) == {"embedding"}


def test_computed_once_for_a_frozen_part(tokens: TokenStore, tmp_path: Path) -> None:
    first, second, other = Lower(), Lower(), Lower()
    path = opened(tokens, tmp_path, first).path
    assert opened(tokens, tmp_path, second).path == path
    assert first.calls > 0 == second.calls
    another = open_hidden_store(tokens, "abd", other, tmp_path / "stores")
    assert another is not None
    assert another.path != path
    assert other.calls > 0


def test_another_reading_has_other_outputs(data: PreparedData, tokens: TokenStore, tmp_path: Path) -> None:
    longer = open_token_store(data, {"max_length": 32}, tmp_path / "stores")
    assert opened(tokens, tmp_path, Lower()).path != opened(longer, tmp_path, Lower()).path


def test_half_precision_takes_half_of_the_room(tokens: TokenStore, tmp_path: Path) -> None:
    whole, half = opened(tokens, tmp_path, Lower()), opened(tokens, tmp_path, Lower(), half=True)
    rows = np.arange(8)
    expected = whole.fetch(rows)["hidden"].to(torch.bfloat16).float()
    assert torch.equal(half.fetch(rows)["hidden"], expected)
    sizes = [
        (store.path / "values.npy").stat().st_size - 128 for store in (whole, half)
    ]  # without the header
    assert sizes[0] == 2 * sizes[1] == 4 * WIDTH * tokens.num_tokens


def test_what_would_take_too_much_room_is_not_kept_and_what_is_there_is_read(
    tokens: TokenStore, tmp_path: Path
) -> None:
    size = 4 * WIDTH * tokens.num_tokens
    assert open_hidden_store(tokens, "abc", Lower(), tmp_path / "stores", most=size - 1) is None
    assert not list((tmp_path / "stores").glob("hidden-*"))
    kept = opened(tokens, tmp_path, Lower(), most=size)
    assert opened(tokens, tmp_path, Lower(), most=0).path == kept.path


def test_feature_maps_of_images(tmp_path: Path) -> None:
    small.write_images(tmp_path / "data", tmp_path / "pictures")
    images = open_image_store(PreparedData.load(tmp_path / "data"), {"image_size": 8}, tmp_path / "stores")

    def lower(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"hidden": inputs["pixel_values"][:, :, ::2, ::4]}

    store = open_hidden_store(images, "abc", lower, tmp_path / "stores")
    assert store is not None
    rows = np.array([4, 1])
    assert torch.equal(store.fetch(rows)["hidden"], lower(images.fetch(rows))["hidden"])


def test_a_frozen_part_that_fails_leaves_nothing(tokens: TokenStore, tmp_path: Path) -> None:
    def broken(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if len(inputs["input_ids"]) > 1:
            raise UserError("no")
        return Lower()(inputs)

    with pytest.raises(UserError):
        open_hidden_store(tokens, "abc", broken, tmp_path / "stores")
    assert not list((tmp_path / "stores").glob("*hidden-*/"))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_outputs_that_a_device_holds_are_the_same_bits(
    tokens: TokenStore, tmp_path: Path, half: bool, whole: bool
) -> None:
    held, read = (opened(tokens, tmp_path, Lower(whole), half=half) for _ in range(2))
    held.hold_on(torch.device("cpu"))
    (held.path / "values.npy").unlink()  # nothing more is read from it
    for rows in (np.array([5, 0, 17, 5]), np.arange(len(tokens)), np.array([3])):
        one, other = held.fetch(rows), read.fetch(rows)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
