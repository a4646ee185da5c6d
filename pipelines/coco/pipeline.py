"""MS-COCO's 2014 and 2017 instances, or anything in that layout, → prepared data set of images and labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.coco.annotations import Annotations, read_annotations
from pipelines.shared.forms import note_on_labels
from pipelines.shared.images import check_images
from pipelines.shared.runner import Progress, already_prepared, invocation, summary
from pipelines.shared.splits import hash_split
from sdl_study.data.prepared import Manifest, Terms
from sdl_study.data.writer import Preparation, write_prepared
from sdl_study.errors import UserError

_HELD_OUT: Mapping[str, float] = {"train": 0.9, "dev": 0.1}


def prepare(
    out: Path,
    train: tuple[Path, Path],
    test: tuple[Path, Path],
    *,
    keep_unlabelled: bool = False,
    terms: Terms = "open",
    name: str | None = None,
    extra_source: Mapping[str, Any] | None = None,
    progress: Progress = print,
) -> Manifest:
    """Prepare images into the new folder ``out``; with the same arguments again, do nothing.

    Args:
        train: folder of the training images and their instances_*.json.
        test: folder and annotations of the published validation images, the test split here.
        terms: "restricted" keeps predictions and weights in the study's folder.
        keep_unlabelled: keep images without any annotation (they have no positives).

    Raises:
        UserError: a file is missing, damaged or not in COCO's layout; unreadable images are all named.
    """
    source = {"pipeline": "coco", "keep_unlabelled": keep_unlabelled, **(extra_source or {})}
    paths = {"train": train, "test": test}
    roots = {side: folder for side, (folder, _) in paths.items()}
    sides = _read_sides(paths)
    images = pl.concat([_rows(side, sides[side], keep_unlabelled) for side in ("train", "test")])
    files = [(roots[side], file) for side, file in images.select("side", "file").iter_rows()]
    arguments = {"keep_unlabelled": keep_unlabelled, "terms": terms, "paths": _absolute(paths)}
    made_from = invocation(arguments, [train[1], test[1]], images=(folder / file for folder, file in files))
    if (done := already_prepared(out, made_from, progress)) is not None:
        return done
    inputs = images.select(pl.format("{}/{}", "side", "file").alias("image")).with_columns(
        pl.Series("image_digest", check_images(files, progress), dtype=pl.String)
    )
    categories = sides["train"].categories
    left_out = [] if keep_unlabelled else ["images without any annotation are left out"]
    alike = note_on_labels(categories.values())
    preparation = Preparation(
        name=name or out.name,
        modality="image",
        terms=terms,
        index=images.select("source_id", "source_group", "split", "labels"),
        label_codes=[str(number) for number in categories],
        label_names=list(categories.values()),
        split_origin="test: the published validation images; dev: 10% of train by a hash of the file name",
        source=source,
        notes=[*left_out, *alike],
        roots=roots,
        invocation=made_from,
    )
    manifest = write_prepared(out, preparation, [inputs])
    progress(summary(out, manifest))
    for note in alike:
        progress(f"note: {note}")
    return manifest


def _read_sides(paths: Mapping[str, tuple[Path, Path]]) -> dict[str, Annotations]:
    """The annotations of train and test, which have the same categories."""
    for folder, _ in paths.values():
        if not folder.is_dir():
            raise UserError(f"{folder}: image folder is missing")
    for _, file in paths.values():
        if not file.is_file():
            raise UserError(f"{file}: annotation file is missing")
    sides = {side: read_annotations(file) for side, (_, file) in paths.items()}
    _same_categories(paths["train"][1], sides["train"], paths["test"][1], sides["test"])
    return sides


def _absolute(paths: Mapping[str, tuple[Path, Path]]) -> dict[str, list[str]]:
    return {side: [str(path.resolve()) for path in pair] for side, pair in paths.items()}


def _rows(side: str, annotations: Annotations, keep_unlabelled: bool) -> pl.DataFrame:
    """One row per image, by image id: side, file, source ids, split, labels."""
    position = {number: i for i, number in enumerate(annotations.categories)}
    records = []
    for number, file in sorted(annotations.images.items()):
        labels = sorted(position[category] for category in annotations.labels.get(number, ()))
        if labels or keep_unlabelled:
            split = hash_split(file, _HELD_OUT) if side == "train" else "test"
            records.append((side, file, f"{side}/{number}", f"{side}/{number}", split, labels))
    schema = {
        "side": pl.String,
        "file": pl.String,
        "source_id": pl.String,
        "source_group": pl.String,
        "split": pl.String,
        "labels": pl.List(pl.Int32),
    }
    return pl.DataFrame(records, schema=schema, orient="row")


def _same_categories(train_file: Path, train: Annotations, test_file: Path, test: Annotations) -> None:
    if train.categories == test.categories:
        return
    for number in sorted(train.categories.keys() | test.categories.keys()):
        ours, theirs = train.categories.get(number), test.categories.get(number)
        if ours != theirs:
            raise UserError(
                f"{test_file}: category {number} is {theirs!r} here and {ours!r} in {train_file}; "
                "train and test need the same categories"
            )
