"""A folder may have any name that the system allows: a path is never a pattern, a home or an address."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdl_study.data.check import describe
from sdl_study.data.prepared import PreparedData
from sdl_study.data.stores import open_store
from tests.unit.data import small

# Each beside all others: a name that is read as a pattern finds its neighbours' files.
NAMES = (
    "notes[v1]", "notes[v1", "notes*", "**", "note?", "notesv", "notes", "a{b}", "a{b", "[!n]", "~", "~root", "$HOME",
    "50%", "%6eotes", "a#b", "a b", " a", "é", "e\u0301", "a=b", "file:", "s3:", "a\\b", "a'b", 'a"b', "a\nb",
)  # fmt: skip


def texts_of(number: int) -> list[str]:
    return [f"{text} folder{number}" for text in small.texts()]


def test_data_sets_side_by_side_are_each_read_from_their_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(NAMES):
        small.write_text(Path(name) / "data", texts=texts_of(number))
        small.write_features(Path(name) / "numbers")
    for number, name in enumerate(NAMES):
        for folder in (Path(name), tmp_path / name):
            data = PreparedData.load(folder / "data")
            assert data.texts() == texts_of(number), name
            assert [text for part in data.iter_texts(7) for text in part] == texts_of(number), name
            assert "small: text" in describe(data, batch_size=8)
            assert len(data.labels("train")) == 36
            assert "small: features" in describe(PreparedData.load(folder / "numbers"), batch_size=8)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("name", ["stores[1]", "stores*", "~", "s{t}", "50%", "s t"])
def test_stores_lie_and_are_built_in_folders_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    small.write_text(Path(name) / "data")
    images = small.write_images(Path(name) / "images", Path(name) / "files[0]")
    cache = Path(name) / "cache"
    tokens = open_store(PreparedData.load(Path(name) / "data"), {}, cache)
    assert tokens.fetch(np.arange(60))["input_ids"].shape[0] == 60
    pixels = open_store(images, {"image_size": 8}, cache)
    assert pixels.fetch(np.asarray([5]))["pixel_values"].shape == (1, 3, 8, 8)
    numbers = open_store(small.write_features(Path(name) / "numbers"), {}, cache)
    assert len(numbers) == 60
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 3
    assert [path.name for path in tmp_path.iterdir()] == [name]
