"""Kinds of bad input times sources: one clear line, its own message, nothing written.

Kinds that cannot occur for a source are left out of its list: a table of texts has no code versions, COCO's
JSON no delimiter.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import table
from pipelines.shared.runner import main
from sdl_study.errors import UserError
from tests.unit.pipelines.coco.spoilt_coco import Coco
from tests.unit.pipelines.mimic.spoilt_mimic import MimicIII, MimicIV
from tests.unit.pipelines.spoilt import Source, kinds
from tests.unit.pipelines.spoilt_long import LongMimicIII, LongMimicIV, LongTable
from tests.unit.pipelines.table.spoilt_tables import FeatureTable, ImageTable, JsonLines, ParquetTable, Table

SHORT = (MimicIII, MimicIV, Coco, Table, JsonLines, ParquetTable, ImageTable, FeatureTable)
SOURCES = (*SHORT, LongTable, LongMimicIII, LongMimicIV)
CASES = [(source, kind) for source in SOURCES for kind in kinds(source)]

# What the line has to name besides saying what is wrong: file, and row and field where they are known.
NAMES: dict[tuple[str, str], str] = {
    ("MimicIII", "header_only"): r"NOTEEVENTS\.csv: no row of category 'Discharge summary'",
    ("MimicIII", "bad_utf8"): r"NOTEEVENTS\.csv, row 31: not UTF-8",
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
    ("Table", "no_header"): r"table\.csv: column 'body' is missing; the first row does not look like",
    ("Table", "unreadable"): r"table\.csv: cannot be read: Input/output error",
    (
        "Table",
        "list_as_pandas_prints_it",
    ): r"table\.csv, row 31, field tags: a list, set or object as a program prints it",
    ("Table", "bad_utf8"): r"table\.csv, row 31: not UTF-8",
    ("Table", "unclosed_quote"): r"table\.csv, row 31: a quoted field of this row is not closed",
    ("JsonLines", "not_json"): r"table\.jsonl, row 31: not JSON",
    ("JsonLines", "bad_utf8"): r"table\.jsonl, row 31: not UTF-8",
    ("MimicIII", "unreadable"): r"NOTEEVENTS\.csv: cannot be read: Input/output error",
    ("MimicIII", "unreadable_codes"): r"DIAGNOSES_ICD\.csv: cannot be read: Input/output error",
    ("LongTable", "short_row"): r"row 1400: 3 fields where the header has 4",
    ("LongTable", "wide_row"): r"row 1400: 5 fields where the header has 4",
    ("LongTable", "very_wide_row"): r"row 1400: 6 fields where the header has 4",
    ("LongTable", "bad_utf8"): r"row 1400: not UTF-8",
    ("LongTable", "open_quote"): r"row 1400: a quoted field of this row is not closed",
    ("LongTable", "quote_that_is_not_doubled"): r"row 1399: 5 fields where the header has 4",
    ("LongTable", "cut_off"): r"row 1450: 2 fields where the header has 4",
    ("LongMimicIII", "short_row_without_its_text"): r"NOTEEVENTS\.csv, row 1401: 8 fields",
    ("LongMimicIII", "short_row_without_its_category"): r"NOTEEVENTS\.csv, row 1402: 3 fields",
    ("LongMimicIII", "wide_row"): r"NOTEEVENTS\.csv, row 1403: 13 fields",
    ("LongMimicIII", "wide_row_of_another_category"): r"NOTEEVENTS\.csv, row 1400: 12 fields",
    ("LongMimicIII", "cut_off_in_a_text"): r"NOTEEVENTS\.csv: does not end in a line break",
    ("LongMimicIII", "bad_utf8"): r"NOTEEVENTS\.csv, row 1404: not UTF-8",
    ("LongMimicIII", "bad_utf8_of_another_category"): r"NOTEEVENTS\.csv, row 1407: not UTF-8",
    ("LongMimicIII", "stray_quote"): r"NOTEEVENTS\.csv, row 1408: a quote inside a field",
    ("LongMimicIII", "code_table_cut_off_in_a_code"): r"DIAGNOSES_ICD\.csv: does not end in a line break",
    ("LongMimicIII", "short_code_row"): r"DIAGNOSES_ICD\.csv, row 1400: 4 fields where the header has 5",
    ("LongMimicIII", "wide_code_row"): r"DIAGNOSES_ICD\.csv, row 1400: 7 fields where the header has 5",
    ("LongMimicIV", "short_row"): r"discharge\.csv, row 1400: 6 fields where the header has 8",
    ("LongMimicIV", "wide_row"): r"discharge\.csv, row 1400: 9 fields where the header has 8",
    ("LongMimicIV", "cut_off"): r"discharge\.csv: does not end in a line break",
    ("LongMimicIV", "short_code_row"): r"procedures_icd\.csv, row 1400: 5 fields where the header has 6",
    ("LongMimicIV", "wide_code_row"): r"procedures_icd\.csv, row 1400: 7 fields where the header has 6",
    ("LongMimicIV", "code_table_cut_off"): r"procedures_icd\.csv: does not end in a line break",
}


def snapshot(folder: Path) -> dict[str, bytes]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    return {str(path): path.read_bytes() for path in files}


def fail(source: Source) -> str:
    """The one line that a spoilt source ends with; its input and output folder stay as they were."""
    before = snapshot(source.tmp)
    with pytest.raises(UserError) as caught:
        source.run()
    assert snapshot(source.tmp) == before
    assert source.out.exists() == any(str(source.out) in path for path in before)
    line = str(caught.value)
    assert "\n" not in line
    assert not re.search(r"text \d|marker", line)
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
