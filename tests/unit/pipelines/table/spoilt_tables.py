"""Tables of one's own and ways to spoil them."""

from __future__ import annotations

import gzip
import json

import polars as pl
from PIL import Image

from pipelines import table
from tests.unit.pipelines.raw import write_csv
from tests.unit.pipelines.spoilt import Source, make_unreadable


class Table(Source):
    """`cell` is how every input begins; the kinds spoil row 31, whose input is `cell` and 30."""

    command = staticmethod(table.command)
    cell = "text "

    def make(self) -> None:
        rows = [(f"id {i}", f"{self.cell}{i}", "a b", ("train", "dev", "test")[i % 3]) for i in range(60)]
        self.file = write_csv(self.tmp / "table.csv", ["key", "body", "tags", "fold"], rows)
        self.extra = ["--split", "fold", "--id", "key", "--separator", " "]

    def arguments(self) -> list[str]:
        return [str(self.file), str(self.out), "--text", "body", "--labels", "tags", *self.extra]

    def rewrite(self, old: str, new: str, count: int = -1) -> None:
        self.file.write_text(self.file.read_text().replace(old, new, count))

    def header_only(self) -> None:
        self.file.write_text("key,body,tags,fold\n")

    def empty_file(self) -> None:
        self.file.write_text("")

    def missing_file(self) -> None:
        self.file.unlink()

    def missing_column(self) -> None:
        self.rewrite("tags", "labels")

    def no_header(self) -> None:
        self.file.write_text("John marker admitted with pain,a,b,train\n" + self.file.read_text())

    def no_header_and_a_value_twice(self) -> None:
        self.file.write_text("marker,HIV,marker,train\n" + self.file.read_text())

    def unreadable(self) -> None:
        make_unreadable(self.file)

    def list_as_pandas_prints_it(self) -> None:
        self.rewrite(f"{self.cell}30,a b", f"{self.cell}30,['a' 'b']")

    def wrong_delimiter(self) -> None:
        self.rewrite(",", ";")

    def truncated_gzip(self) -> None:
        packed = gzip.compress(self.file.read_bytes())
        self.file = self.file.with_suffix(".csv.gz")
        self.file.write_bytes(packed[: len(packed) // 2])

    def bad_utf8(self) -> None:
        self.file.write_bytes(self.file.read_bytes().replace(f"{self.cell}30".encode(), b"\xff"))

    def duplicate_ids(self) -> None:
        self.rewrite("id 31,", "id 30,")

    def more_fields_than_the_header(self) -> None:
        self.rewrite(f"{self.cell}30,", f"{self.cell},30,")

    def fewer_fields_than_the_header(self) -> None:
        self.rewrite(f"id 30,{self.cell}30,", f"{self.cell}30,")

    def unclosed_quote(self) -> None:
        self.rewrite(f"{self.cell}30,", f'"{self.cell}30,')

    def empty_text(self) -> None:
        self.rewrite(f"{self.cell}30,", ",")

    def empty_split(self) -> None:
        self.rewrite("dev", "train")

    def unknown_split(self) -> None:
        self.rewrite("dev", "devel")

    def no_label_at_all(self) -> None:
        self.rewrite("a b", "")

    def unknown_ending(self) -> None:
        self.file = self.file.rename(self.file.with_suffix(".xlsx"))


class JsonLines(Table):
    def make(self) -> None:
        super().make()
        rows = pl.read_csv(self.file).to_dicts()
        self.file.unlink()
        self.file = self.tmp / "table.jsonl"
        self.file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    header_only = None  # type: ignore[assignment]
    wrong_delimiter = None  # type: ignore[assignment]
    more_fields_than_the_header = None  # type: ignore[assignment]
    fewer_fields_than_the_header = None  # type: ignore[assignment]
    no_header = None  # type: ignore[assignment]
    no_header_and_a_value_twice = None  # type: ignore[assignment]
    unclosed_quote = None  # type: ignore[assignment]

    def duplicate_ids(self) -> None:
        self.rewrite('"id 31"', '"id 30"')

    def empty_text(self) -> None:
        self.rewrite('"text 30"', '""')

    def list_as_pandas_prints_it(self) -> None:
        self.rewrite('"text 30", "tags": "a b"', """"text 30", "tags": "['a' 'b']\"""")

    def missing_column(self) -> None:
        self.rewrite('"tags"', '"labels"')

    def truncated_gzip(self) -> None:
        packed = gzip.compress(self.file.read_bytes())
        self.file = self.file.with_suffix(".jsonl.gz")
        self.file.write_bytes(packed[: len(packed) // 2])

    def not_json(self) -> None:
        self.rewrite('"text 30"', f"{self.cell}30")

    def not_an_object(self) -> None:
        self.file.write_text(self.file.read_text() + "[1, 2]\n")


class ParquetTable(Table):
    def make(self) -> None:
        super().make()
        frame = pl.read_csv(self.file)
        self.file.unlink()
        self.file = self.tmp / "table.parquet"
        frame.write_parquet(self.file)

    def rewrite(self, old: str, new: str, count: int = -1) -> None:
        frame = pl.read_parquet(self.file)
        frame.with_columns(pl.all().str.replace_all(old, new, literal=True)).write_parquet(self.file)

    def header_only(self) -> None:
        pl.read_parquet(self.file).clear().write_parquet(self.file)

    def missing_column(self) -> None:
        pl.read_parquet(self.file).rename({"tags": "labels"}).write_parquet(self.file)

    def duplicate_ids(self) -> None:
        self.rewrite("id 31", "id 30")

    def empty_text(self) -> None:
        self.rewrite(f"{self.cell}30", "")

    def list_as_pandas_prints_it(self) -> None:
        self.rewrite("a b", "['a' 'b']")

    def cut_off(self) -> None:
        self.file.write_bytes(self.file.read_bytes()[:-100])

    empty_file = None  # type: ignore[assignment]
    wrong_delimiter = None  # type: ignore[assignment]
    truncated_gzip = None  # type: ignore[assignment]
    bad_utf8 = None  # type: ignore[assignment]
    more_fields_than_the_header = None  # type: ignore[assignment]
    fewer_fields_than_the_header = None  # type: ignore[assignment]
    no_header = None  # type: ignore[assignment]
    no_header_and_a_value_twice = None  # type: ignore[assignment]
    unclosed_quote = None  # type: ignore[assignment]
    unknown_ending = None  # type: ignore[assignment]


class ImageTable(Table):
    """The column `body` names image files, which are called as the texts are."""

    cell = "image "

    def make(self) -> None:
        super().make()
        for i in range(60):
            Image.effect_noise((40, 40), 90).convert("RGB").save(self.tmp / f"image {i}", format="JPEG")
        self.image = self.tmp / "image 30"

    def arguments(self) -> list[str]:
        return [str(self.file), str(self.out), "--image", "body", "--labels", "tags", *self.extra]

    def image_file_is_missing(self) -> None:
        self.image.unlink()

    def corrupt_jpeg(self) -> None:
        self.image.write_bytes(self.image.read_bytes()[:700])

    def not_an_image(self) -> None:
        self.image.write_text("a text")

    def file_name_leads_outside(self) -> None:
        self.rewrite(f"{self.cell}30,", "../image 30,")


class FeatureTable(Table):
    """The texts become numbers."""

    cell = "0.5"

    def make(self) -> None:
        super().make()
        self.rewrite("body", "gene_1")

    def arguments(self) -> list[str]:
        return [str(self.file), str(self.out), "--features", "gene_*", "--labels", "tags", *self.extra]

    def no_such_columns(self) -> None:
        self.rewrite("gene_", "protein_")

    def not_a_number(self) -> None:
        self.rewrite(f"{self.cell}30,", "many,")

    def infinite(self) -> None:
        self.rewrite(f"{self.cell}30,", "inf,")

    def beyond_single_precision(self) -> None:
        self.rewrite(f"{self.cell}31,", "1e300,")
