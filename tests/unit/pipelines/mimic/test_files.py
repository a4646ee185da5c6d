"""MIMIC's files after somebody worked on them: packed under other names, with other line ends and headers."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from sdl_study.errors import UserError
from tests.unit.pipelines.mimic.small import IDS, ids, run, three_notes
from tests.unit.pipelines.raw import documents

EXPECTED = {
    str(hadm): (split, {"401.9"}, f"text {hadm}")
    for hadm, split in zip(IDS, ("train", "dev", "test"), strict=True)
}


def prepared(tmp: Path, source: Path) -> dict[str, tuple[str, set[str], str]]:
    run(source, tmp / "out", split=ids(tmp))
    return documents(tmp / "out")


@pytest.mark.parametrize("packed", [True, False])
def test_gzip_is_known_by_its_content(tmp_path: Path, packed: bool) -> None:
    source = three_notes(tmp_path, [(h, "4019") for h in IDS], ending=".csv" if packed else ".csv.gz")
    for file in source.iterdir():
        content = file.read_bytes()
        file.write_bytes(gzip.compress(content) if packed else gzip.decompress(content))
    assert prepared(tmp_path, source) == EXPECTED


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_windows_line_ends_and_a_mark_at_the_beginning(tmp_path: Path, ending: str) -> None:
    source = three_notes(tmp_path, [(h, "4019") for h in IDS], ending=".csv")
    for file in source.iterdir():
        content = b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n")
        file.unlink()
        file.with_suffix(ending).write_bytes(gzip.compress(content) if ending == ".csv.gz" else content)
    assert prepared(tmp_path, source) == EXPECTED


def test_blanks_and_invisible_characters_in_a_header_do_not_count(tmp_path: Path) -> None:
    source = three_notes(tmp_path, [(h, "4019") for h in IDS])
    for file in source.iterdir():
        header, end, rest = file.read_text().partition("\n")
        file.write_text("\ufeff" + header.replace(",", "\u200b,\u00a0") + " " + end + rest)
    assert prepared(tmp_path, source) == EXPECTED


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + bytes(60), "is a zip archive; unpack it"),
        ("row_id,text\n".encode("utf-16"), "is UTF-16 text"),
        (b"<html><title>Log in to PhysioNet</title></html>\n", "is a web page"),
        (b"sep=,\nROW_ID,TEXT\n", "begins with Excel's line sep="),
        (b"PAR1" + bytes(60), "is a Parquet file"),
        (b"ROW_ID,SUBJECT_ID,HADM_ID,SEQ_NUM,ICD9_CODE,,\n", "2 columns have no name; remove them"),
    ],
)
@pytest.mark.parametrize("name", ["NOTEEVENTS.csv", "PROCEDURES_ICD.csv"])
def test_foreign_files_are_told_by_what_they_are(
    tmp_path: Path, content: bytes, message: str, name: str
) -> None:
    if b"ICD9_CODE" in content and name == "NOTEEVENTS.csv":
        content = content.replace(b"SEQ_NUM,ICD9_CODE", b"CHARTDATE,CHARTTIME,CATEGORY,DESCRIPTION,TEXT")
    source = three_notes(tmp_path, [(h, "4019") for h in IDS])
    (source / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: .*{message}"):
        run(source, tmp_path / "out", split=ids(tmp_path))
    assert not (tmp_path / "out").exists()


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    source = three_notes(tmp_path, [(h, "4019") for h in IDS])
    (source / "NOTEEVENTS.csv").rename(source / "x")
    (source / "NOTEEVENTS.csv").mkdir()
    with pytest.raises(UserError, match=r"NOTEEVENTS\.csv: is a folder; give the file of this name"):
        run(source, tmp_path / "out", split=ids(tmp_path))
