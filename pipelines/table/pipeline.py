"""A table of the user's own → prepared data set of texts, images or numeric features with label sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipelines.shared.forms import bare, note_on_groups, note_on_labels
from pipelines.shared.images import check_images
from pipelines.shared.missing import MissingRule
from pipelines.shared.runner import Progress, already_prepared, invocation, summary
from pipelines.shared.splits import hash_splits
from pipelines.shared.tables import ROW, find_column, listed
from pipelines.table.columns import feature_matrix, label_sets, names_of, splits_of, texts_of
from pipelines.table.files import column_names, read_table
from sdl_study.data.prepared import Manifest, Modality, Terms
from sdl_study.data.writer import Preparation, write_prepared
from sdl_study.errors import UserError

_CHUNK = 16_384
_MANY_GROUPS, _LARGE_SHARE = 10, 0.2


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
    missing: MissingRule = "refuse"

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.text, self.image, self.features)) != 1:
            raise UserError("give exactly one of --text, --image and --features")
        roles = [self.labels, self.text, self.image, self.group, self.split]
        twice = [name for name in roles if name is not None and roles.count(name) > 1]
        if twice:
            raise UserError(
                f"column {twice[0]!r} is named twice, among --labels, --text, --image, --group and --split"
            )
        if not self.separator:
            raise UserError("--separator is empty; give the sign between two labels")
        if not self.up_to and self.up_to is not None:
            raise UserError("--up-to is empty; write a sign that begins with a dash in spaces, like ' -- '")

    def described(self) -> dict[str, Any]:
        """What was given, as a record of the preparation has it; a rule that changes nothing is left out."""
        return {key: value for key, value in vars(self).items() if (key, value) != ("missing", "refuse")}

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
    """Prepare the table ``file`` into the new folder ``out``; with the same arguments again, do nothing.

    Raises:
        UserError: whatever is wrong with the file, a row of it, or ``out``, in one line.
    """
    _refuse_no_file(file)
    arguments = {**columns.described(), "file": file.resolve(), "terms": terms}
    # Image files are inputs too, and only the table says which; any other table is read only if need be.
    table = _read(file, columns) if columns.image else None
    images = _image_files(file, table, columns) if table is not None and columns.image else []
    made_from = invocation(arguments, [file], images=images)
    if (done := already_prepared(out, made_from, progress)) is not None:
        return done
    table = _read(file, columns) if table is None else table
    sets, codes = label_sets(file, table, columns.labels, columns.separator, columns.up_to, columns.missing)
    index = _index(file, table, columns)
    notes = [*note_on_labels(codes), *(_notes_on_groups(index) if columns.group else [])]
    inputs, features, roots = _inputs(file, table, columns, progress)
    preparation = Preparation(
        name=name or out.name,
        modality=columns.modality,
        terms=terms,
        index=index.with_columns(sets),
        label_codes=codes,
        label_names=codes,
        split_origin=f"column {columns.split!r} of the table"
        if columns.split
        else f"own split by a hash of {columns.group or columns.id or 'the row'} (80/10/10)",
        source={"pipeline": "table", **{key: value for key, value in columns.described().items() if value}},
        notes=notes,
        roots=roots,
        features=features,
        invocation=made_from,
    )
    manifest = write_prepared(out, preparation, inputs)
    progress(summary(out, manifest))
    for note in notes:
        progress(f"note: {note}")
    return manifest


def _refuse_no_file(file: Path) -> None:
    if file.is_dir():
        raise UserError(
            f"{file}: is a folder, as Spark writes one, and no file; save the table as one file (Spark: coalesce(1))"
        )
    if not file.is_file():
        raise UserError(f"{file}: {'is no plain file' if file.exists() else 'table is missing'}")


def _read(file: Path, columns: Columns) -> pl.DataFrame:
    """The columns in use, each of them present, under the names that were given."""
    present = column_names(file)
    given = (columns.text, columns.image, columns.labels, columns.group, columns.split, columns.id)
    wanted = {name: find_column(file, present, name) for name in given if name is not None}
    features = _feature_names(file, columns, present, set(wanted.values()))
    if columns.features and not features:
        raise UserError(f"{file}: no column fits --features {columns.features!r}; {listed(present)}")
    table = read_table(file, {**wanted, **features})
    if not table.height:
        raise UserError(f"{file}: has a header and no row")
    return table


def _feature_names(file: Path, columns: Columns, present: list[str], others: set[str]) -> dict[str, str]:
    """Bare name → name in the file of the columns that fit --features, in the file's order."""
    found: dict[str, str] = {}
    for name in present:
        if columns.features is None or name in others or not fnmatchcase(bare(name), columns.features):
            continue
        if found.setdefault(bare(name), name) != name:
            raise UserError(
                f"{file}: two columns that fit --features have the same name but for blanks; rename one of them"
            )
    return found


def _features_of(table: pl.DataFrame, columns: Columns) -> list[str]:
    others = (ROW, columns.labels, columns.group, columns.split, columns.id)
    return [name for name in table.columns if name not in others]


def _image_files(file: Path, table: pl.DataFrame, columns: Columns) -> list[Path]:
    return [file.parent / name for name in texts_of(file, table, columns.image or "", columns.missing)]


def _index(file: Path, table: pl.DataFrame, columns: Columns) -> pl.DataFrame:
    """source_id, source_group and split of every row."""
    if columns.id is None:
        names = table[ROW].cast(pl.String).to_list()
    else:
        names = names_of(file, table, columns.id, columns.missing, unique=True)
    groups = names_of(file, table, columns.group, columns.missing) if columns.group else names
    if columns.split is None:
        chosen = hash_splits(groups)
        splits = [chosen[group] for group in groups]
    else:
        splits = splits_of(file, table, columns.split, columns.missing)
    return pl.DataFrame({"source_id": names, "source_group": groups, "split": splits})


def _notes_on_groups(index: pl.DataFrame) -> list[str]:
    """Groups that look alike, and one that holds so many rows that its name may stand for a missing one."""
    sizes = index["source_group"].value_counts(sort=True)
    notes = note_on_groups(sizes["source_group"].to_list())
    largest = int(sizes["count"][0])
    if sizes.height >= _MANY_GROUPS and largest >= _LARGE_SHARE * index.height:
        notes.append(
            f"one of {sizes.height:,} groups holds {largest:,} of {index.height:,} rows; does its name mean that the "
            "group is not known?"
        )
    return notes


def _inputs(
    file: Path, table: pl.DataFrame, columns: Columns, progress: Progress
) -> tuple[Iterator[pl.DataFrame], np.ndarray | None, dict[str, Path]]:
    """Chunks of the input columns, the feature matrix, the image roots."""
    if columns.text is not None:
        texts = pl.DataFrame(
            {"text": texts_of(file, table, columns.text, columns.missing)}, schema={"text": pl.String}
        )
        return texts.iter_slices(_CHUNK), None, {}
    if columns.image is not None:
        names = texts_of(file, table, columns.image, columns.missing)
        root = file.parent
        digests = check_images([(root, name) for name in names], progress)
        images = pl.DataFrame({"image": [f"images/{name}" for name in names], "image_digest": digests})
        return images.iter_slices(_CHUNK), None, {"images": root}
    return iter(()), feature_matrix(file, table, _features_of(table, columns)), {}
