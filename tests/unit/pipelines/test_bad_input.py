"""Kinds of bad input times sources: one clear line, its own message, nothing written.

Kinds that cannot occur for a source are left out of its list: a table of texts has no code versions, COCO's
JSON no delimiter.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from pipelines import coco, mimic, table
from pipelines.runner import main
from sdl_study.errors import UserError
from tests.unit.pipelines.raw import NOTE_III, note_iii, write_coco, write_csv, write_ids, write_iii, write_iv


class Source:
    """Good input of a source, the command over it, and ways to spoil it."""

    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp
        self.out = tmp / "out"
        self.make()

    def make(self) -> None:
        """Write good input."""
        raise NotImplementedError

    def arguments(self) -> list[str]:
        """The command line."""
        raise NotImplementedError

    command: Callable[[list[str]], None]

    def run(self) -> None:
        type(self).command(self.arguments())


class MimicIII(Source):
    command = staticmethod(mimic.command)

    def make(self) -> None:
        notes = [note_iii(i, i, str(100 + i), f"text {i}") for i in range(60)]
        self.raw = write_iii(self.tmp / "raw", notes, [(100 + i, "4019") for i in range(60)])
        self.notes = self.raw / "NOTEEVENTS.csv"
        self.extra: list[str] = []

    def arguments(self) -> list[str]:
        given = [
            str(self.raw),
            str(self.out),
            "--release",
            "mimic-iii",
            "--codes",
            "icd9",
            "--labels",
            "full",
        ]
        return given + self.extra

    def header_only(self) -> None:
        write_csv(self.notes, NOTE_III, [])

    def missing_file(self) -> None:
        (self.raw / "PROCEDURES_ICD.csv").unlink()

    def missing_column(self) -> None:
        self.notes.write_text(self.notes.read_text().replace("HADM_ID", "ADMISSION"))

    def wrong_delimiter(self) -> None:
        self.notes.write_text(self.notes.read_text().replace(",", ";"))

    def truncated_gzip(self) -> None:
        packed = gzip.compress(self.notes.read_bytes())
        (self.raw / "NOTEEVENTS.csv.gz").write_bytes(packed[: len(packed) // 2])
        self.notes.unlink()

    def bad_utf8(self) -> None:
        self.notes.write_bytes(self.notes.read_bytes().replace(b"text 30", b"text \xff\xfe"))

    def duplicate_ids(self) -> None:
        lines = self.notes.read_text().splitlines()
        self.notes.write_text("\n".join([*lines, lines[-1]]) + "\n")

    def more_fields_than_the_header(self) -> None:
        self.notes.write_text(self.notes.read_text().replace("text 30", "text 30,and,more"))

    def id_is_no_number(self) -> None:
        self.notes.write_text(self.notes.read_text().replace(",130,", ",13X,"))

    def empty_split(self) -> None:
        self.extra = ["--split", write_ids(self.tmp / "ids", "full", [100, 101], [102], [999])]

    def split_list_without_ids(self) -> None:
        self.extra = ["--split", write_ids(self.tmp / "ids", "full", [100, 101], [], [103])]

    def split_list_missing(self) -> None:
        self.extra = ["--split", f"ids:{self.tmp / 'nowhere'}"]

    def split_id_twice(self) -> None:
        self.extra = ["--split", write_ids(self.tmp / "ids", "full", [100, 101], [101], [103])]

    def output_is_taken(self) -> None:
        self.out.mkdir()
        (self.out / "precious").write_text("do not touch")


class MimicIV(Source):
    command = staticmethod(mimic.command)

    def make(self) -> None:
        notes = [(i, 100 + i, f"text {i}") for i in range(60)]
        self.raw = write_iv(self.tmp / "raw", notes, [(100 + i, "I10", 10) for i in range(60)], ending=".csv")
        self.notes = self.raw / "note" / "discharge.csv"
        self.codes = self.raw / "hosp" / "diagnoses_icd.csv"

    def arguments(self) -> list[str]:
        return [str(self.raw), str(self.out), "--release", "mimic-iv", "--codes", "icd10", "--labels", "full"]

    def header_only(self) -> None:
        self.notes.write_text(self.notes.read_text().partition("\n")[0] + "\n")

    def missing_file(self) -> None:
        self.notes.unlink()

    def missing_column(self) -> None:
        self.codes.write_text(self.codes.read_text().replace("icd_version", "version"))

    def wrong_delimiter(self) -> None:
        self.codes.write_text(self.codes.read_text().replace(",", "\t"))

    def truncated_gzip(self) -> None:
        packed = gzip.compress(self.notes.read_bytes())
        self.notes.with_suffix(".csv.gz").write_bytes(packed[:-40])
        self.notes.unlink()

    def bad_utf8(self) -> None:
        self.notes.write_bytes(self.notes.read_bytes().replace(b"text 30", b"text \xe9"))

    def duplicate_ids(self) -> None:
        self.notes.write_text(self.notes.read_text().replace("31-DS-31", "30-DS-30"))

    def more_fields_than_the_header(self) -> None:
        self.codes.write_text(self.codes.read_text().replace("I10,10", "I10,10,10", 1))

    def id_is_no_number(self) -> None:
        self.codes.write_text(self.codes.read_text().replace(",130,", ",,1", 1).replace(",131,", ",none,", 1))

    def unknown_code_version(self) -> None:
        self.codes.write_text(self.codes.read_text().replace("I10,10", "I10,11", 1))

    def no_code_of_the_version(self) -> None:
        self.codes.write_text(self.codes.read_text().replace("I10,10", "4019,9"))

    def admission_of_two_patients(self) -> None:
        line = self.notes.read_text().splitlines()[-1].split(",")
        with self.notes.open("a") as file:
            file.write(",".join(["999-DS-99", "999", *line[2:]]) + "\n")


class Coco(Source):
    command = staticmethod(coco.command)

    def make(self) -> None:
        images = [(i, f"{i:012d}.png") for i in range(1, 61)]
        self.train = write_coco(self.tmp / "train", images, [(i, 1) for i, _ in images])
        self.test = write_coco(self.tmp / "val", images[:3], [(i, 1) for i, _ in images[:3]])

    def arguments(self) -> list[str]:
        (train_images, train_file), (test_images, test_file) = self.train, self.test
        train = ["--train-images", str(train_images), "--train-annotations", str(train_file)]
        return [
            str(self.out),
            *train,
            "--test-images",
            str(test_images),
            "--test-annotations",
            str(test_file),
        ]

    def change(self, change: Callable[[dict[str, Any]], Any], side: int = 1) -> None:
        file = (self.train, self.test)[side][1]
        record = json.loads(file.read_text())
        change(record)
        file.write_text(json.dumps(record))

    def header_only(self) -> None:
        self.change(lambda record: record["images"].clear())
        self.change(lambda record: record["annotations"].clear())

    def missing_file(self) -> None:
        self.train[1].unlink()

    def missing_folder(self) -> None:
        self.test = (self.tmp / "nowhere", self.test[1])

    def missing_column(self) -> None:
        self.change(lambda record: record["annotations"][1].pop("category_id"))

    def missing_list(self) -> None:
        self.change(lambda record: record.pop("categories"))

    def cut_off(self) -> None:
        self.train[1].write_text(self.train[1].read_text()[:500])

    def bad_utf8(self) -> None:
        self.train[1].write_bytes(self.train[1].read_bytes().replace(b"toothbrush", b"tooth\xffbrush"))

    def duplicate_ids(self) -> None:
        self.change(lambda record: record["images"][2].update(id=1))

    def unknown_category(self) -> None:
        self.change(lambda record: record["annotations"][0].update(category_id=77))

    def annotation_for_a_missing_image(self) -> None:
        self.change(lambda record: record["annotations"][0].update(image_id=12345))

    def empty_split(self) -> None:
        self.change(lambda record: record["annotations"].clear())

    def image_file_is_missing(self) -> None:
        (self.train[0] / "000000000003.png").unlink()

    def corrupt_jpeg(self) -> None:
        file = self.train[0] / "000000000003.png"
        Image.effect_noise((200, 200), 90).convert("RGB").save(file, format="JPEG")
        file.write_bytes(file.read_bytes()[:3_000])


class Table(Source):
    command = staticmethod(table.command)

    def make(self) -> None:
        rows = [(f"id {i}", f"text {i}", "a b", ("train", "dev", "test")[i % 3]) for i in range(60)]
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

    def wrong_delimiter(self) -> None:
        self.rewrite(",", ";")

    def truncated_gzip(self) -> None:
        packed = gzip.compress(self.file.read_bytes())
        self.file = self.file.with_suffix(".csv.gz")
        self.file.write_bytes(packed[: len(packed) // 2])

    def bad_utf8(self) -> None:
        self.file.write_bytes(self.file.read_bytes().replace(b"text 30", b"text \xff"))

    def duplicate_ids(self) -> None:
        self.rewrite("id 31,", "id 30,")

    def more_fields_than_the_header(self) -> None:
        self.rewrite("text 30,", "text, 30,")

    def fewer_fields_than_the_header(self) -> None:
        self.rewrite("id 30,text 30,", "text 30,")

    def unclosed_quote(self) -> None:
        self.rewrite("text 30,", '"text 30,')

    def empty_text(self) -> None:
        self.rewrite("text 30,", ",")

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
    unclosed_quote = None  # type: ignore[assignment]

    def duplicate_ids(self) -> None:
        self.rewrite('"id 31"', '"id 30"')

    def empty_text(self) -> None:
        self.rewrite('"text 30"', '""')

    def missing_column(self) -> None:
        self.rewrite('"tags"', '"labels"')

    def truncated_gzip(self) -> None:
        packed = gzip.compress(self.file.read_bytes())
        self.file = self.file.with_suffix(".jsonl.gz")
        self.file.write_bytes(packed[: len(packed) // 2])

    def not_json(self) -> None:
        self.rewrite('"text 30"', "text 30")

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
        self.rewrite("text 30", "")

    def cut_off(self) -> None:
        self.file.write_bytes(self.file.read_bytes()[:-100])

    empty_file = None  # type: ignore[assignment]
    wrong_delimiter = None  # type: ignore[assignment]
    truncated_gzip = None  # type: ignore[assignment]
    bad_utf8 = None  # type: ignore[assignment]
    more_fields_than_the_header = None  # type: ignore[assignment]
    fewer_fields_than_the_header = None  # type: ignore[assignment]
    unclosed_quote = None  # type: ignore[assignment]
    unknown_ending = None  # type: ignore[assignment]


class ImageTable(Source):
    command = staticmethod(table.command)

    def make(self) -> None:
        rows = []
        for i in range(6):
            Image.effect_noise((200, 200), 90).convert("RGB").save(self.tmp / f"{i}.jpg")
            rows.append((f"{i}.jpg", "a", ("train", "dev", "test")[i % 3]))
        self.file = write_csv(self.tmp / "table.csv", ["file", "tags", "fold"], rows)

    def arguments(self) -> list[str]:
        return [str(self.file), str(self.out), "--image", "file", "--labels", "tags", "--split", "fold"]

    def image_file_is_missing(self) -> None:
        (self.tmp / "3.jpg").unlink()

    def corrupt_jpeg(self) -> None:
        (self.tmp / "3.jpg").write_bytes((self.tmp / "3.jpg").read_bytes()[:3_000])

    def not_an_image(self) -> None:
        (self.tmp / "3.jpg").write_text("a text")

    def file_name_leads_outside(self) -> None:
        self.file.write_text(self.file.read_text().replace("3.jpg", "../3.jpg"))

    def empty_file_name(self) -> None:
        self.file.write_text(self.file.read_text().replace("3.jpg", ""))


class FeatureTable(Source):
    command = staticmethod(table.command)

    def make(self) -> None:
        rows = [(i, i / 2, "a", ("train", "dev", "test")[i % 3]) for i in range(6)]
        self.file = write_csv(self.tmp / "table.csv", ["gene_1", "gene_2", "tags", "fold"], rows)

    def arguments(self) -> list[str]:
        return [str(self.file), str(self.out), "--features", "gene_*", "--labels", "tags", "--split", "fold"]

    def no_such_columns(self) -> None:
        self.file.write_text(self.file.read_text().replace("gene_", "protein_"))

    def not_a_number(self) -> None:
        self.file.write_text(self.file.read_text().replace("2.5", "many"))

    def infinite(self) -> None:
        self.file.write_text(self.file.read_text().replace("1.5", "inf"))

    def empty_field(self) -> None:
        self.file.write_text(self.file.read_text().replace("0.5", ""))


SOURCES = (MimicIII, MimicIV, Coco, Table, JsonLines, ParquetTable, ImageTable, FeatureTable)
HELPERS = {"make", "run", "arguments", "rewrite", "change", "command"}


def kinds(source: type[Source]) -> list[str]:
    """Names of the ways to spoil a source."""
    return [
        name
        for name in dir(source)
        if not name.startswith("_") and name not in HELPERS and callable(getattr(source, name))
    ]


CASES = [(source, kind) for source in SOURCES for kind in kinds(source)]

# What the line has to name besides saying what is wrong: file, and row and field where they are known.
NAMES: dict[tuple[str, str], str] = {
    ("MimicIII", "header_only"): r"NOTEEVENTS\.csv: no row of category 'Discharge summary'",
    ("MimicIII", "bad_utf8"): r"NOTEEVENTS\.csv, after row \d+: not UTF-8",
    ("MimicIII", "duplicate_ids"): r"NOTEEVENTS\.csv, row 61, field row_id: duplicate id",
    ("MimicIII", "id_is_no_number"): r"NOTEEVENTS\.csv, row 31, field hadm_id: not a whole number",
    (
        "MimicIII",
        "more_fields_than_the_header",
    ): r"NOTEEVENTS\.csv, row 31: 13 fields where the header has 11",
    ("MimicIV", "unknown_code_version"): r"diagnoses_icd\.csv, row 1, field icd_version: .*'11'",
    ("MimicIV", "duplicate_ids"): r"discharge\.csv, row 32, field note_id: duplicate id",
    ("MimicIV", "truncated_gzip"): r"discharge\.csv\.gz: gzip file is truncated",
    ("Coco", "missing_column"): r"val\.json, annotations\[1\], field category_id",
    (
        "Coco",
        "annotation_for_a_missing_image",
    ): r"val\.json, annotations\[0\], field image_id: 12345 is not in",
    ("Coco", "corrupt_jpeg"): r"000000000003\.png \(damaged",
    ("Table", "duplicate_ids"): r"table\.csv, row 32, field key: duplicate id",
    ("Table", "unknown_split"): r"table\.csv, row 2, field fold: unknown split",
    ("Table", "fewer_fields_than_the_header"): r"table\.csv, row 31: 3 fields where the header has 4",
    ("JsonLines", "not_json"): r"table\.jsonl, row 31: not JSON",
}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def fail(source: Source) -> str:
    """The one line that a spoilt source ends with; its input and output folder stay as they were."""
    before = snapshot(source.tmp)
    with pytest.raises(UserError) as caught:
        source.run()
    assert snapshot(source.tmp) == before
    assert source.out.exists() == any(str(source.out) in path for path in before)
    line = str(caught.value)
    assert "\n" not in line
    assert "text 30" not in line
    return line


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_good_input_is_prepared(tmp_path: Path, source: type[Source]) -> None:
    source(tmp_path).run()
    assert (tmp_path / "out" / "manifest.json").is_file()


@pytest.mark.parametrize(("source", "kind"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_bad_input_ends_in_one_line_and_writes_nothing(
    tmp_path: Path, source: type[Source], kind: str
) -> None:
    spoilt = source(tmp_path)
    getattr(spoilt, kind)()
    line = fail(spoilt)
    assert str(tmp_path) in line or kind == "empty_split"
    pattern = NAMES.get((source.__name__, kind))
    if pattern is not None:
        assert re.search(pattern, line), line


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_no_two_kinds_share_their_message(tmp_path: Path, source: type[Source]) -> None:
    lines: dict[str, str] = {}
    for kind in kinds(source):
        folder = tmp_path / kind
        folder.mkdir()
        spoilt = source(folder)
        getattr(spoilt, kind)()
        line = fail(spoilt).replace(str(folder), "")
        assert line not in lines, f"{kind} and {lines[line]} say the same: {line}"
        lines[line] = kind


# The largest file a process may write stands in for the size of its disk.
LIMITED = """
import resource, signal, sys
from tests.unit.pipelines import test_bad_input
from pathlib import Path
source = getattr(test_bad_input, sys.argv[1])(Path(sys.argv[2]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
sys.argv = ["pipeline", *source.arguments()]
test_bad_input.main(type(source).command)
"""


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, source: type[Source]) -> None:
    command = [sys.executable, "-c", LIMITED, source.__name__, str(tmp_path), "200"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(rf"error: {tmp_path}/out\S*: cannot be written: File too large\n", done.stderr), (
        done.stderr
    )
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_the_command_prints_the_line_and_exits_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Table(tmp_path)
    source.missing_file()
    monkeypatch.setattr("sys.argv", ["table", *source.arguments()])
    with pytest.raises(SystemExit) as caught:
        main(table.command)
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"error: {source.file}: table is missing\n"
