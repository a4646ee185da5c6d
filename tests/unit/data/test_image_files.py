"""Image files: changed, broken, and of more than 8 bits."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from pipelines.shared.images import check_images
from sdl_study.data.image_files import BrokenImageError, opened, rgb
from sdl_study.data.images import open_image_store
from sdl_study.errors import UserError
from tests.unit.data import small

PLAIN = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}


def content(image: Image.Image, form: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=form)
    return stream.getvalue()


def decoded(data: bytes) -> np.ndarray:
    with opened(data) as image:
        return np.asarray(rgb(image))


def noise(side: int = 40) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8))


def test_an_image_that_changed_is_not_taken_for_the_one_that_was_prepared(tmp_path: Path) -> None:
    prepared = small.write_images(tmp_path / "out", tmp_path / "images")
    Image.new("RGB", (12, 8), (200, 7, 0)).save(tmp_path / "images" / "7.png")
    with pytest.raises(UserError) as caught:
        open_image_store(prepared, {"image_size": 8}, tmp_path / "stores")
    file = tmp_path / "out" / "../images/7.png"
    assert str(caught.value) == f"{file}: changed since it was prepared; prepare the data again"
    assert not [path for path in (tmp_path / "stores").iterdir() if path.is_dir()]


def test_every_image_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = small.write_images(tmp_path / "out", tmp_path / "images")
    reads: list[str] = []
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path.name) or read(path))
    monkeypatch.setattr(Image, "open", _only_memory(Image.open))
    store = open_image_store(prepared, {"image_size": 8, **PLAIN}, tmp_path / "stores")
    assert sorted(name for name in reads if name.endswith(".png")) == sorted(f"{i}.png" for i in range(60))
    red = store.fetch(np.arange(60))["pixel_values"][:, 0, 0, 0]
    torch.testing.assert_close(red * 255, torch.arange(60, dtype=torch.float32))


def _only_memory(original):  # noqa: ANN001, ANN202
    def open_image(where: object) -> Image.Image:
        assert isinstance(where, io.BytesIO)
        return original(where)

    return open_image


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_greyscale_keeps_its_greys(form: str, order: str) -> None:
    values = np.linspace(0, 65_535, 4_096).round().astype(np.uint16).reshape(64, 64)
    mode = "I;16" if order == "<" else "I;16B"
    image = Image.frombytes(mode, (64, 64), values.astype(f"{order}u2").tobytes())
    found = decoded(content(image, form))
    expected = np.round(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(found, np.repeat(expected[..., None], 3, axis=2))
    assert (found.min(), found.max()) == (0, 255)


def test_the_store_holds_the_greys_of_an_x_ray(tmp_path: Path) -> None:
    small.write_images(tmp_path / "first", tmp_path / "images")
    grey = np.full((8, 8), 40 * 257, dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "images" / "3.png")
    prepared = small.prepare_images(tmp_path / "out", tmp_path / "images")
    store = open_image_store(prepared, {"image_size": 8, **PLAIN}, tmp_path / "stores")
    torch.testing.assert_close(
        store.fetch(np.array([3]))["pixel_values"] * 255, torch.full((1, 3, 8, 8), 40.0)
    )


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_thirty_two_bits_are_refused_with_what_to_do(tmp_path: Path, kind: type) -> None:
    Image.fromarray(np.ones((4, 4), dtype=kind)).save(tmp_path / "deep.tif")
    with pytest.raises(UserError) as caught:
        check_images([(tmp_path, "deep.tif")], lambda line: None)
    reason = "32-bit images are not supported; convert to 8 or 16 bit"
    assert str(caught.value) == f"1 images cannot be read: {tmp_path / 'deep.tif'} ({reason})"


@pytest.mark.parametrize("error", [RuntimeError, IndexError, MemoryError, Image.DecompressionBombError])
def test_whatever_a_decoder_raises_is_a_broken_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise error("Mr Smith, born 1950")

    noise().save(tmp_path / "x.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(UserError) as caught:
        check_images([(tmp_path, "x.png")], lambda line: None)
    assert str(caught.value).endswith(f"x.png (damaged: {error.__name__})")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "JPEG2000"])
def test_spoilt_bytes_are_pixels_or_a_reason(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)  # a spoilt header asks for gigabytes
    whole = content(noise(), form)
    chance = random.Random(0)
    reasons = []
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(3):
            data[chance.randrange(min(len(data), chance.choice((40, 200))))] = chance.randrange(256)
        try:
            decoded(bytes(data[: chance.randrange(len(data) // 2, len(data) + 1)]))
        except BrokenImageError as error:
            reasons.append(str(error))
    assert reasons
    assert all(reason.isprintable() and len(reason) < 80 for reason in reasons)


@pytest.mark.parametrize("name", ["a\0b.png", "a\nb.png", "a\ud800b.png"])
def test_an_impossible_file_name_is_a_broken_image_in_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError) as caught:
        check_images([(tmp_path, name)], lambda line: None)
    assert str(caught.value).isprintable()
    assert "1 images cannot be read: " in str(caught.value)
