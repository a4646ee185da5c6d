"""A small prepared data set for the tests of sdl_study.data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from sdl_study.data.image_files import image_digest
from sdl_study.data.prepared import Manifest, PreparedData
from sdl_study.data.writer import Preparation, write_prepared

WORDS = "alpha beta gamma delta epsilon zeta eta theta".split()  # noqa: SIM905
CODES = ["A", "B", "C", "D"]


def index(size: int = 60) -> pl.DataFrame:
    """Examples 0…size-1: two of a group, splits in turn by group, labels from the number."""
    return pl.DataFrame(
        {
            "source_id": [f"source {i}" for i in range(size)],
            "source_group": [f"group {i // 2}" for i in range(size)],
            "split": [("train", "train", "train", "dev", "test")[i // 2 % 5] for i in range(size)],
            "labels": [[k for k in range(3) if (i >> k) & 1] for i in range(size)],
        }
    )


def texts(size: int = 60) -> list[str]:
    """Texts of 3 to 10 words; the last one is only in the test split."""
    return [" ".join(WORDS[(i * k) % 8] for k in range(3, 5 + i % 7)) for i in range(size)]


def preparation(modality: str = "text", **changes: Any) -> Preparation:
    """What `write_prepared` needs for the examples of `index`."""
    given: dict[str, Any] = {
        "name": "small",
        "modality": modality,
        "terms": "restricted",
        "index": index(),
        "label_codes": CODES,
        "label_names": [code.lower() for code in CODES],
        "split_origin": "made for tests",
        "source": {"pipeline": "tests"},
    }
    return Preparation(**{**given, **changes})


def write_text(out: Path, chunk: int = 60, **changes: Any) -> Manifest:
    """A data set of texts, written in chunks."""
    frame = pl.DataFrame({"text": changes.pop("texts", texts())})
    return write_prepared(out, preparation(**changes), frame.iter_slices(chunk))


def write_images(out: Path, folder: Path, size: tuple[int, int] = (12, 8)) -> PreparedData:
    """A data set of images whose red channel is the example's number."""
    folder.mkdir()
    for i in range(60):
        pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
        pixels[..., 0] = i
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return prepare_images(out, folder)


def prepare_images(out: Path, folder: Path) -> PreparedData:
    """A data set of the images 0.png … 59.png in `folder`, as they are now."""
    names = [f"{i}.png" for i in range(60)]
    frame = pl.DataFrame(
        {
            "image": [f"r/{name}" for name in names],
            "image_digest": [image_digest((folder / name).read_bytes()) for name in names],
        }
    )
    write_prepared(out, preparation("image", roots={"r": folder}), [frame])
    return PreparedData.load(out)


def write_features(out: Path) -> PreparedData:
    """A data set of three features, one of them constant."""
    values = np.random.default_rng(0).normal(5, 3, size=(60, 3)).astype(np.float32)
    values[:, 2] = 7
    write_prepared(out, preparation("features", features=values))
    return PreparedData.load(out)
