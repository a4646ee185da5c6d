"""Files that are something else than their names say: read as what they are, or told what they are."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.unit.pipelines.table.small import GOOD, HEAD, found, jsonl, parquet, refused, run, text_file

CSV = HEAD + "1,text 0,a,train\n2,text 1,a,dev\n3,text 2,a,test\n"


def zipped(**files: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return stream.getvalue()


def tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("t.csv")
        entry.size = len(CSV)
        archive.addfile(entry, io.BytesIO(CSV.encode()))
    return stream.getvalue()


def saved(write: Any) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


TABLE = pl.DataFrame({"body": ["x"], "tags": ["a"]})
FOREIGN: dict[str, tuple[bytes, str]] = {
    "zip": (zipped(**{"t.csv": CSV}), "is a zip archive; unpack it"),
    "xlsx": (zipped(xl__workbook="<x/>"), "is an Excel workbook; save its sheet as CSV (UTF-8)"),
    "ods": (zipped(**{"content.xml": "<x/>"}), "is an Excel workbook"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "is an old Excel or Office file"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(90), "is a zstd file; unpack it"),
    "bzip2": (bz2.compress(CSV.encode()), "is a bzip2 file"),
    "xz": (lzma.compress(CSV.encode()), "is an xz file"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(90), "is a 7z archive"),
    "tar": (tarred(), "is a tar archive"),
    "tar.gz": (gzip.compress(tarred()), "is a tar archive"),
    "packed twice": (gzip.compress(gzip.compress(CSV.encode())), "is a gzip file"),
    "arrow": (saved(TABLE.write_ipc), "is an Arrow (Feather) file; save it as Parquet"),
    "avro": (saved(TABLE.write_avro), "is an Avro file"),
    "pickle": (pickle.dumps({"a": 1}), "is a Python pickle"),
    "numpy": (saved(lambda stream: np.save(stream, np.zeros(3))), "is a NumPy array"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(90), "is an HDF5 file"),
    "sqlite": (b"SQLite format 3\x00" + bytes(90), "is an SQLite database"),
    "pdf": (b"%PDF-1.7\n", "is a PDF"),
    "utf-16": (CSV.encode("utf-16"), "is UTF-16 text (as Excel's Unicode text is); save it as UTF-8"),
    "utf-16 be": (b"\xfe\xff" + CSV.encode("utf-16-be"), "is UTF-16 text; save it as UTF-8"),
    "utf-16 without a mark": (CSV.encode("utf-16-le"), "is UTF-16 text"),
    "utf-16 be without a mark": (CSV.encode("utf-16-be"), "is UTF-16 text"),
    "utf-32": (CSV.encode("utf-32"), "is UTF-32 text"),
    "web page": (
        b"\n<!DOCTYPE html><html><body>Log in</body></html>\n",
        "is a web page (of a login?); download the",
    ),
    "xml": (b"\xef\xbb\xbf<?xml version='1.0'?>\n<rows/>\n", "is an XML file"),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "is a pointer of Git LFS; fetch",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet", "t.csv.gz", "t.xlsx", "t.zip"])
def test_foreign_files_are_told_by_what_they_are(tmp_path: Path, kind: str, name: str) -> None:
    content, message = FOREIGN[kind]
    told = refused(text_file(tmp_path, content, name))
    packed = content.startswith(b"\x1f\x8b") and name == "t.parquet"
    assert told.startswith(": is a gzip file, though" if packed else f": {message.partition(';')[0]}"), told
    assert name != "t.parquet" or "though its name ends in .parquet" in told


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
def test_parquet_under_another_name(tmp_path: Path, name: str) -> None:
    file = parquet(tmp_path).rename(tmp_path / name)
    assert refused(file) == ": is a Parquet file; let its name end in .parquet"
    file.write_bytes(gzip.compress(file.read_bytes()))
    told = ": is a Parquet file packed with gzip; unpack it, and let its name end in .parquet"
    assert refused(file) == refused(file.rename(tmp_path / "t.parquet.gz")) == told


def test_texts_under_the_name_of_parquet(tmp_path: Path) -> None:
    told = refused(text_file(tmp_path, CSV, "t.parquet"))
    assert told == ": is not a Parquet file, though its name ends in .parquet; let the name end in what it is"
    assert (
        refused(text_file(tmp_path, b"", "t.parquet")) == ": not readable as Parquet; the file may be cut off"
    )
    half = parquet(tmp_path).read_bytes()[:-9]
    assert (
        refused(text_file(tmp_path, half, "t.parquet"))
        == ": not readable as Parquet; the file may be cut off"
    )


@pytest.mark.parametrize(
    "name", ["t.csv", "t.csv.gz", "t.tsv", "t.tsv.gz", "t.jsonl", "t.jsonl.gz", "T.CSV", "t.Csv.GZ"]
)
@pytest.mark.parametrize("packed", [False, True])
def test_gzip_is_known_by_its_content(tmp_path: Path, name: str, packed: bool) -> None:
    content = CSV.encode()
    if ".tsv" in name:
        content = content.replace(b",", b"\t")
    elif ".jsonl" in name:
        content = jsonl(tmp_path).read_bytes()
    file = text_file(tmp_path, gzip.compress(content) if packed else content, name)
    assert found(file) == GOOD


@pytest.mark.parametrize("line", ["sep=,", "sep=;", "SEP=\t", '"sep=,"'])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_excels_separator_line(tmp_path: Path, line: str, end: str, mark: str) -> None:
    for name in ("t.csv", "t.tsv", "t.csv.gz"):
        told = refused(text_file(tmp_path, f"{mark}{line}{end}{CSV}", name))
        assert told == ": is a table that begins with Excel's line sep=, which is no header; remove that line"


def test_a_column_may_be_called_sep(tmp_path: Path) -> None:
    rows = CSV.replace("id", "sep=").replace("id", "sep")
    assert found(text_file(tmp_path, rows)) == GOOD


@pytest.mark.parametrize("count", [1, 2, 5])
def test_empty_columns_behind_the_last_one_are_none(tmp_path: Path, count: int) -> None:
    content = "".join(f"{line}{',' * count}\r\n" for line in CSV.splitlines()) + "," * (3 + count) + "\r\n"
    file = text_file(tmp_path, content)
    told = refused(file, text="text")
    assert told == ": column 'text' is missing; found id, body, tags, fold" + count * ", ''"
    assert found(file, id="id") == GOOD


def test_a_value_behind_the_last_name_may_be_a_field_that_slipped(tmp_path: Path) -> None:
    content = "id,body,tags,fold,,\n1,text 0,a,train,,\n2,text, with marker,a,dev,\n3,text 2,a,test,,\n"
    told = refused(text_file(tmp_path, content))
    assert told.startswith(", row 2: a value behind the last column that has a name")


def test_columns_without_a_name_elsewhere_are_not_looked_at(tmp_path: Path) -> None:
    content = ",,body,tags,fold\n7,x,text 0,a,train\n8,,text 1,a,dev\n9,,text 2,a,test\n"
    assert found(text_file(tmp_path, content)) == GOOD


def test_a_name_twice_is_told_in_every_kind_of_file(tmp_path: Path) -> None:
    told = refused(text_file(tmp_path, CSV.replace("id", "body", 1)))
    assert told == ": columns 1 and 2 have the same name; is there a header?"
    file = jsonl(tmp_path)
    file.write_text(file.read_text() + '{"body": "x", "tags": ["a"], "body": "marker", "fold": "dev"}\n')
    assert refused(file) == ", row 4: two fields have the same name"


def test_a_name_twice_in_parquet(tmp_path: Path) -> None:
    """Polars writes no such file: the second name is put into one that it wrote."""
    content = parquet(tmp_path, bodz=["u", "v", "w"]).read_bytes().replace(b"bodz", b"body")
    assert (
        refused(text_file(tmp_path, content, "t.parquet"))
        == ": two columns have the same name; rename one of them"
    )


def test_a_list_of_objects_is_no_json_lines(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in jsonl(tmp_path).read_text().splitlines()]
    for indent in (None, 1):
        told = refused(text_file(tmp_path, json.dumps(rows, indent=indent), "t.jsonl"))
        assert told == ": is one list in JSON; write one object a line (JSON Lines)"
        told = refused(text_file(tmp_path, json.dumps(rows, indent=indent), "t.csv"))
        assert told == ": is JSON, not CSV; write one object a line and let the name end in .jsonl"
    assert refused(jsonl(tmp_path).rename(tmp_path / "t.tsv")).startswith(": is JSON, not CSV; ")


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.jsonl", "t"])
def test_a_folder_is_told_as_one(tmp_path: Path, name: str) -> None:
    parquet(tmp_path).rename(tmp_path / "part-00000.parquet")
    (tmp_path / name).mkdir()
    (tmp_path / "part-00000.parquet").rename(tmp_path / name / "part-00000.parquet")
    assert refused(tmp_path / name).startswith(
        ": is a folder, as Spark writes one, and no file; save the table as one"
    )


def test_what_is_neither_file_nor_folder(tmp_path: Path) -> None:
    assert refused(tmp_path / "t.csv") == ": table is missing"
    (tmp_path / "t.csv").symlink_to("/dev/null")
    assert refused(tmp_path / "t.csv") == ": is no plain file"


def test_windows_files(tmp_path: Path) -> None:
    content = "\ufeff" + CSV.replace("\n", "\r\n")
    run(text_file(tmp_path, content), tmp_path / "csv", id="id")
    run(text_file(tmp_path, content.replace(",", "\t"), "t.tsv"), tmp_path / "tsv", id="id")
    rows = jsonl(tmp_path).read_text().replace("\n", "\r\n")
    assert found(text_file(tmp_path, "\ufeff" + rows, "t.jsonl")) == GOOD


def test_cp1252_is_told_as_no_utf8(tmp_path: Path) -> None:
    content = CSV.replace("text 1", "naïve 1").encode("cp1252")
    assert refused(text_file(tmp_path, content)) == ", row 2: not UTF-8 text; convert the file to UTF-8"


def test_a_short_file_of_zeros_is_no_utf16(tmp_path: Path) -> None:
    content = CSV.replace("text 1", "text\x001")
    assert refused(text_file(tmp_path, bytes(4))).startswith(": ")
    assert found(text_file(tmp_path, content))["2"][2] == "text\x001"
