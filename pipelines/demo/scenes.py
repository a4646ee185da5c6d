"""Scenes of scikit-learn's handwritten digits in COCO's layout: real pixels, one to three digits a scene."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np

from pipelines.shared.splits import hash_split

TRAIN_AND_DEV = 4_450
TEST = 500
SIDE = 32
_CELL = SIDE // 2
_HELD_OUT = {"train": 0.9, "dev": 0.1}

# COCO's ids leave holes; so do these.
CATEGORY_IDS = (1, 2, 3, 4, 6, 7, 9, 10, 13, 16)

# Digits that often stand together, so that equal, subset, superset and overlapping label sets all occur.
_THEMES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 0, 5), (2, 4, 8), (1, 7, 9))


def write_coco(folder: Path, seed: int, train_and_dev: int = TRAIN_AND_DEV, test: int = TEST) -> None:
    """Write train/, val/ (PNG) and annotations/instances_{train,val}.json.

    The instances of a digit are disjoint between train, dev and test.
    """
    images, digits = _digits()
    owner = _owners(digits, np.random.default_rng(seed))
    rng = np.random.default_rng(seed + 1)
    counter = 0
    for side, size in (("train", train_and_dev), ("val", test)):
        (folder / side).mkdir(parents=True, exist_ok=True)
        entries, annotations = [], []
        for number in range(1, size + 1):
            name = f"{number:012d}.png"
            split = hash_split(name, _HELD_OUT) if side == "train" else "test"
            scene, boxes = _scene(rng, images, digits, owner == split)
            _write_png(folder / side / name, scene)
            entries.append({"id": number, "file_name": name, "height": SIDE, "width": SIDE})
            for digit, box in boxes:
                counter += 1
                annotations.append(_annotation(counter, number, digit, box))
        _write_instances(folder / "annotations" / f"instances_{side}.json", entries, annotations)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    return np.asarray(pixels).reshape(-1, 8, 8) / 16.0, np.asarray(digits)


def _owners(digits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The split that each digit instance belongs to: 60 / 20 / 20 of every digit."""
    owner = np.empty(len(digits), dtype="<U5")
    for digit in range(10):
        members = rng.permutation(np.flatnonzero(digits == digit))
        first, second = int(len(members) * 0.6), int(len(members) * 0.8)
        owner[members[:first]] = "train"
        owner[members[first:second]] = "dev"
        owner[members[second:]] = "test"
    return owner


def _scene(
    rng: np.random.Generator, images: np.ndarray, digits: np.ndarray, allowed: np.ndarray
) -> tuple[np.ndarray, list[tuple[int, tuple[int, int, int, int]]]]:
    """Pixels uint8 [SIDE, SIDE, 3], and digit and box (x, y, width, height) of every instance."""
    count = 1 + int(rng.random() < 0.6) + int(rng.random() < 0.35)
    theme = _THEMES[int(rng.integers(len(_THEMES)))]
    background = 0.15 + 0.25 * rng.random(3)
    scene = np.broadcast_to(background, (SIDE, SIDE, 3)) + 0.05 * (rng.random((SIDE, SIDE, 3)) - 0.5)
    boxes = []
    for cell in rng.permutation(4)[:count]:
        digit = theme[int(rng.integers(len(theme)))] if rng.random() < 0.8 else int(rng.integers(10))
        choices = np.flatnonzero(allowed & (digits == digit))
        pixels = images[choices[int(rng.integers(len(choices)))]]
        size = int(rng.integers(12, _CELL + 1))
        top = int(cell) // 2 * _CELL + int(rng.integers(0, _CELL - size + 1))
        left = int(cell) % 2 * _CELL + int(rng.integers(0, _CELL - size + 1))
        ink = _resize(pixels, size)[:, :, None]
        colour = 0.6 + 0.4 * rng.random(3)
        window = scene[top : top + size, left : left + size]
        scene[top : top + size, left : left + size] = window * (1 - ink) + colour * ink
        boxes.append((digit, (left, top, size, size)))
    return np.clip(np.round(scene * 255), 0, 255).astype(np.uint8), boxes


def _resize(image: np.ndarray, size: int) -> np.ndarray:
    """Bilinear, in plain numpy, so that every machine gets the same pixels."""
    at = np.linspace(0, image.shape[0] - 1, size)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, image.shape[0] - 1)
    part = at - low
    rows = image[low] * (1 - part)[:, None] + image[high] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, high] * part


def _annotation(number: int, image: int, digit: int, box: tuple[int, int, int, int]) -> dict[str, object]:
    x, y, width, height = box
    outline = [x, y, x + width, y, x + width, y + height, x, y + height]
    return {
        "id": number,
        "image_id": image,
        "category_id": CATEGORY_IDS[digit],
        "bbox": list(box),
        "area": width * height,
        "segmentation": [outline],
        "iscrowd": 0,
    }


def _write_instances(path: Path, images: list[dict], annotations: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "info": {"description": "Scenes of handwritten digits", "version": "1.0"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": number, "name": f"digit {digit}", "supercategory": "digit"}
            for digit, number in enumerate(CATEGORY_IDS)
        ],
    }
    path.write_text(json.dumps(record), encoding="utf-8")


def _write_png(path: Path, pixels: np.ndarray) -> None:
    """PNG with stored, not deflated pixels: what a compressor writes differs between versions of zlib,
    and the fingerprint would with it."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    stored = b"\x78\x01\x01" + struct.pack("<HH", len(rows), len(rows) ^ 0xFFFF) + rows
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", stored + struct.pack(">I", zlib.adler32(rows))), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in parts))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
