"""Stores at the field's size, built, mapped and sampled in batches: rates beside what one H100 consumes.

50,000 texts of 3,000 words (MIMIC's discharge summaries are of this size) and 82,000 photographs at 224 pixels
(MS-COCO's training images). What is read is generated: words drawn from 30,000, and a few hundred JPEG files that the
rows share, so that every row is decoded and resized as it would be, from files that the page cache holds.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sdl_study.data.image_files import image_digest
from sdl_study.data.prepared import PreparedData
from sdl_study.data.stores import Store, open_store
from sdl_study.data.writer import Preparation, write_prepared
from sdl_study.report.tables import text_table

TEXTS, WORDS, VOCABULARY = 50_000, 3_000, 30_000
IMAGES, FILES, SIDE = 82_000, 400, 224
# What one H100 trains on in a second, estimated: BERT-base at 6 x 86M operations a token and 40% of 989 TFLOP/s, and
# ResNet-50 at 224 pixels.
TOKENS_OF_A_GPU, IMAGES_OF_A_GPU = 750_000, 2_500
BATCHES, TEXTS_OF_A_BATCH, IMAGES_OF_A_BATCH = 40, 32, 128


def prepare(
    out: Path, modality: Any, count: int, inputs: Iterator[pl.DataFrame], **more: Any
) -> PreparedData:
    """A data set of so many rows: nine tenths train, the rest dev and test."""
    names = [f"row {number}" for number in range(count)]
    splits = ["train"] * (count * 9 // 10)
    splits += ["dev"] * ((count - len(splits)) // 2)
    splits += ["test"] * (count - len(splits))
    index = pl.DataFrame(
        {"source_id": names, "source_group": names, "split": splits, "labels": [[0]] * count},
        schema_overrides={"labels": pl.List(pl.Int32)},
    )
    codes = ["L0", "L1"]
    made = Preparation("rehearsal", modality, "open", index, codes, codes, "generated", {}, **more)
    write_prepared(out, made, inputs)
    return PreparedData.load(out)


def texts(count: int) -> Iterator[pl.DataFrame]:
    """Words drawn as often as words are: the second half as often as the first."""
    generator = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = np.array(
        ["".join(generator.choice(letters, size)) for size in generator.integers(3, 10, VOCABULARY)]
    )
    chances = 1 / np.arange(1, VOCABULARY + 1)
    edges = np.cumsum(chances / chances.sum())
    for start in range(0, count, 1_000):
        rows = min(1_000, count - start)
        drawn = np.minimum(np.searchsorted(edges, generator.random((rows, WORDS))), VOCABULARY - 1)
        yield pl.DataFrame({"text": [" ".join(row) for row in words[drawn]]})


def photographs(folder: Path, files: int) -> list[Path]:
    """JPEG files of 640 x 480 pixels, smooth and noisy as photographs are."""
    from PIL import Image

    generator = np.random.default_rng(0)
    folder.mkdir()
    found = []
    for number in range(files):
        coarse = Image.fromarray(generator.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = np.clip(smooth + generator.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)
        found.append(folder / f"{number}.jpg")
        Image.fromarray(noisy).save(found[-1], quality=90)
    return found


def measured(
    data: PreparedData, settings: dict[str, Any], folder: Path, batch: int, units: Callable[[Any], int]
) -> dict[str, float]:
    """Seconds to build and to open a store, and units a second in the batches of a shuffled epoch."""
    started = time.perf_counter()
    open_store(data, settings, folder)
    built = time.perf_counter()
    store: Store = open_store(data, settings, folder)
    opened = time.perf_counter()
    order, read = np.random.default_rng(1).permutation(len(store)), 0
    parts = [order[at : at + batch] for at in range(0, min(len(order), BATCHES * batch), batch)]
    sampling = time.perf_counter()
    for rows in parts:
        read += units(store.fetch(rows))
    rate = read / (time.perf_counter() - sampling)
    size = sum(file.stat().st_size for file in store.path.rglob("*") if file.is_file()) / 1e9
    return {"build s": built - started, "open s": opened - built, "rate": rate, "GB": size}


def rehearse_tokens(folder: Path, scale: float) -> None:
    """Texts."""
    count = round(TEXTS * scale)
    started = time.perf_counter()
    data = prepare(folder / "texts", "text", count, texts(count))
    settings = {"tokenizer": "word", "max_length": 512, "max_chunks": 8}
    prepared = time.perf_counter() - started
    found = measured(
        data, settings, folder / "stores", TEXTS_OF_A_BATCH, lambda b: int(b["attention_mask"].sum())
    )
    show(f"{count:,} texts of {WORDS:,} words", prepared, found, "tokens", count * WORDS, TOKENS_OF_A_GPU)
    shutil.rmtree(folder / "texts")
    shutil.rmtree(folder / "stores")


def rehearse_images(folder: Path, scale: float) -> None:
    """Images."""
    count = round(IMAGES * scale)
    files = photographs(folder / "files", min(FILES, count))
    digests = [image_digest(file.read_bytes()) for file in files]
    started = time.perf_counter()
    shared = [number % len(files) for number in range(count)]
    frame = pl.DataFrame(
        {
            "image": [f"files/{files[number].name}" for number in shared],
            "image_digest": [digests[number] for number in shared],
        }
    )
    data = prepare(folder / "images", "image", count, iter([frame]), roots={"files": folder / "files"})
    prepared = time.perf_counter() - started
    found = measured(
        data, {"image_size": SIDE}, folder / "stores", IMAGES_OF_A_BATCH, lambda b: len(b["pixel_values"])
    )
    show(f"{count:,} images at {SIDE}", prepared, found, "images", count, IMAGES_OF_A_GPU)
    for made in ("images", "files", "stores"):
        shutil.rmtree(folder / made)


def show(what: str, prepared: float, found: dict[str, float], unit: str, total: int, of_a_gpu: int) -> None:
    """Print one line of figures under its columns."""
    row = {
        "store": what,
        "prepared s": prepared,
        "built s": found["build s"],
        f"{unit} built a second": total / found["build s"],
        "opened s": found["open s"],
        "GB": found["GB"],
        f"{unit} read a second": found["rate"],
        "of what an H100 consumes (E)": found["rate"] / of_a_gpu,
    }
    forms = {"opened s": ".4f", "of what an H100 consumes (E)": ".2f"}
    print(
        text_table([row], {name: forms.get(name, ",.1f") if name != "store" else "" for name in row}),
        flush=True,
    )
