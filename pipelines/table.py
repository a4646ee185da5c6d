"""A table of the user's own → prepared data set of texts, images or numeric features with label sets.

    python -m pipelines.table FILE OUT --text COLUMN | --image COLUMN | --features GLOB --labels COLUMN
        [--group COLUMN] [--split COLUMN] [--id COLUMN] [--separator ,] [--up-to SIGN] [--terms open]

FILE is CSV, TSV, JSONL or Parquet. Labels are a list (JSONL, Parquet) or a text with separators; an
empty one is an example without labels. Without --split, a hash of the group (or of the id) decides.
The result is restricted unless --terms open.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipelines.coco_files import check_images
from pipelines.runner import Progress, already_prepared, invocation, main, summary
from pipelines.splits import hash_split
from pipelines.table_files import column_names, read_table
from sdl_study.data.prepared import Manifest, Modality, Terms
from sdl_study.data.writer import Preparation, write_prepared
from sdl_study.errors import UserError

_SPLITS = {
    "train": "train", "training": "train", "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev",
    "test": "test",
}  # fmt: skip
_CHUNK = 16_384


@dataclass(frozen=True)
class Columns:
    """Which column is what."""

    labels: str
    text: str | None = None
    image: str | None = None
    features: str | None = None
    group: str | None = None
    split: str | None = None
    id: str | None = None
    separator: str = ","
    up_to: str | None = None

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.text, self.image, self.features)) != 1:
            raise UserError("give exactly one of --text, --image and --features")
        if not self.separator:
            raise UserError("--separator is empty; give the sign between two labels")
        if not self.up_to and self.up_to is not None:
            raise UserError("--up-to is empty; write a sign that begins with a dash in spaces, like ' -- '")

    @property
    def modality(self) -> Modality:
        """What the encoder gets."""
        if self.text is not None:
            return "text"
        return "image" if self.image is not None else "features"


def prepare(
    file: Path,
    out: Path,
    columns: Columns,
    *,
    terms: Terms = "restricted",
    name: str | None = None,
    progress: Progress = print,
) -> Manifest:
    """Prepare the table `file` into the new folder `out`; with the same arguments again, do nothing.

    Raises:
        UserError: whatever is wrong with the file, a row of it, or `out`, in one line.
    """
    if not file.is_file():
        raise UserError(f"{file}: table is missing")
    arguments = {**vars(columns), "file": file.resolve(), "terms": terms}
    made_from = invocation(arguments, [file])
    if (done := already_prepared(out, made_from, progress)) is not None:
        return done
    table = read_table(file, _wanted(file, columns))
    if not table.height:
        raise UserError(f"{file}: has a header and no row")
    names = _ids(file, table, columns)
    sets, codes = _labels(file, table, columns)
    groups = _filled(file, table, columns.group) if columns.group else names
    inputs, features, roots = _inputs(file, table, columns, progress)
    preparation = Preparation(
        name=name or out.name,
        modality=columns.modality,
        terms=terms,
        index=pl.DataFrame(
            {"source_id": names, "source_group": groups, "split": _split(file, table, columns, groups)}
        ).with_columns(sets),
        label_codes=codes,
        label_names=codes,
        split_origin=f"column {columns.split!r} of the table"
        if columns.split
        else f"own split by a hash of {columns.group or columns.id or 'the row'} (80/10/10)",
        source={"pipeline": "table", **{key: value for key, value in vars(columns).items() if value}},
        roots=roots,
        features=features,
        invocation=made_from,
    )
    manifest = write_prepared(out, preparation, inputs)
    progress(summary(out, manifest))
    return manifest


def _wanted(file: Path, columns: Columns) -> list[str]:
    """Names of the columns to read, each of them present."""
    present = column_names(file)
    wanted = [
        name
        for name in (columns.text, columns.image, columns.labels, columns.group, columns.split, columns.id)
        if name is not None
    ]
    for name in wanted:
        if name not in present:
            raise UserError(f"{file}: column {name!r} is missing; found {', '.join(present)}")
    return list(dict.fromkeys([*wanted, *_feature_names(file, columns, present)]))


def _feature_names(file: Path, columns: Columns, present: list[str]) -> list[str]:
    if columns.features is None:
        return []
    from fnmatch import fnmatchcase

    others = {columns.labels, columns.group, columns.split, columns.id}
    found = [name for name in present if fnmatchcase(name, columns.features) and name not in others]
    if not found:
        raise UserError(f"{file}: no column fits --features {columns.features!r}; found {', '.join(present)}")
    return found


def _filled(file: Path, table: pl.DataFrame, column: str) -> list[str]:
    """A column as text, without gaps."""
    values = _as_text(table[column])
    empty = table.filter(values.is_null() | (values.str.strip_chars() == ""))
    if empty.height:
        raise UserError(f"{file}, row {empty['row'][0]}, field {column}: empty")
    return values.to_list()


def _as_text(column: pl.Series) -> pl.Series:
    """Numbers as they are written; a list (the sentences of a document) joined by spaces."""
    if isinstance(column.dtype, pl.List):
        return column.cast(pl.List(pl.String)).list.join(" ", ignore_nulls=True)
    return column.cast(pl.String)


def _ids(file: Path, table: pl.DataFrame, columns: Columns) -> list[str]:
    if columns.id is None:
        return table["row"].cast(pl.String).to_list()
    names = _filled(file, table, columns.id)
    twice = table.filter(table[columns.id].is_duplicated())
    if twice.height:
        raise UserError(f"{file}, row {twice['row'][1]}, field {columns.id}: duplicate id")
    return names


def _labels(file: Path, table: pl.DataFrame, columns: Columns) -> tuple[pl.Series, list[str]]:
    """Label indices of every row, and the label codes in sorted order."""
    column = table[columns.labels]
    if isinstance(column.dtype, pl.List):
        lists = column.cast(pl.List(pl.String))
    elif column.dtype in (pl.String, pl.Null) or column.dtype.is_integer():
        lists = column.cast(pl.String).fill_null("").str.split(columns.separator)
    else:
        raise UserError(
            f"{file}, field {columns.labels}: holds {column.dtype}, not a text or a list of labels"
        )
    frame = pl.DataFrame({"row": table["row"], "label": lists}).explode("label")
    if columns.up_to:
        frame = frame.with_columns(pl.col("label").str.split(columns.up_to).list.first())
    frame = frame.with_columns(pl.col("label").str.strip_chars())
    frame = frame.filter(pl.col("label").is_not_null() & (pl.col("label") != ""))
    codes = frame["label"].unique().sort().to_list()
    if not codes:
        raise UserError(f"{file}, field {columns.labels}: no row has a label")
    number = {code: i for i, code in enumerate(codes)}
    found = frame.select("row", pl.col("label").replace_strict(number, return_dtype=pl.Int32))
    sets = found.group_by("row").agg(pl.col("label").unique().sort().alias("labels"))
    joined = table.select("row").join(sets, on="row", how="left", maintain_order="left")
    return joined["labels"].fill_null([]), codes


def _split(file: Path, table: pl.DataFrame, columns: Columns, groups: list[str]) -> list[str]:
    if columns.split is None:
        chosen = {group: hash_split(group) for group in set(groups)}
        return [chosen[group] for group in groups]
    names = [name.strip().lower() for name in _filled(file, table, columns.split)]
    for row, name in zip(table["row"].to_list(), names, strict=True):
        if name not in _SPLITS:
            raise UserError(
                f"{file}, row {row}, field {columns.split}: unknown split; use train, dev or test"
            )
    return [_SPLITS[name] for name in names]


def _inputs(
    file: Path, table: pl.DataFrame, columns: Columns, progress: Progress
) -> tuple[Iterator[pl.DataFrame], np.ndarray | None, dict[str, Path]]:
    """Chunks of the input columns, the feature matrix, the image roots."""
    if columns.text is not None:
        texts = pl.DataFrame({"text": _filled(file, table, columns.text)}, schema={"text": pl.String})
        return texts.iter_slices(_CHUNK), None, {}
    if columns.image is not None:
        names = _filled(file, table, columns.image)
        root = file.parent
        digests = check_images([(root, name) for name in names], progress)
        images = pl.DataFrame({"image": [f"images/{name}" for name in names], "image_digest": digests})
        return images.iter_slices(_CHUNK), None, {"images": root}
    return iter(()), _feature_matrix(file, table, columns), {}


def _feature_matrix(file: Path, table: pl.DataFrame, columns: Columns) -> np.ndarray:
    names = _feature_names(file, columns, [name for name in table.columns if name != "row"])
    numbers = table.select(pl.col(name).cast(pl.Float32, strict=False) for name in names)
    for name in names:
        _refuse_no_number(file, table, name, numbers[name])
    return numbers.to_numpy()


def _refuse_no_number(file: Path, table: pl.DataFrame, name: str, numbers: pl.Series) -> None:
    bad = table.with_columns(numbers.alias("_number")).filter(~pl.col("_number").is_finite().fill_null(False))
    if not bad.height:
        return
    if bad[name][0] is None or not str(bad[name][0]).strip():
        what = "empty; give a number, or leave the row out"
    elif bad["_number"][0] is None:
        what = "not a number"
    else:
        what = "not a finite number in single precision"
    raise UserError(f"{file}, row {bad['row'][0]}, field {name}: {what}")


def command(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.table", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("file", type=Path, help="CSV, TSV, JSONL or Parquet")
    parser.add_argument("out", type=Path, help="folder of the prepared data set, must be new")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--text", metavar="COLUMN")
    kind.add_argument("--image", metavar="COLUMN", help="image files, relative to the table's folder")
    kind.add_argument("--features", metavar="GLOB", help='columns of numbers, like "gene_*"')
    parser.add_argument("--labels", metavar="COLUMN", required=True)
    parser.add_argument("--group", metavar="COLUMN", help="patient, author …: never in two splits")
    parser.add_argument("--split", metavar="COLUMN", help="train, dev or test of every row")
    parser.add_argument("--id", metavar="COLUMN", help="id of the user's own, kept in id_map.parquet only")
    parser.add_argument("--separator", default=",", help="between the labels of a text column")
    note = "keep a label up to SIGN: with ' -- ' (in spaces, as it begins with a dash) A--B becomes A"
    parser.add_argument("--up-to", metavar="SIGN", type=str.strip, help=note)
    parser.add_argument("--terms", choices=["open", "restricted"], default="restricted")
    given: dict[str, Any] = vars(parser.parse_args(arguments))
    file, out, terms = given.pop("file"), given.pop("out"), given.pop("terms")
    prepare(file, out, Columns(**given), terms=terms)


if __name__ == "__main__":
    main(command)
