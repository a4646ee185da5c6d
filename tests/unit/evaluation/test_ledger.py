"""The ledger: one line an opening, whatever a crash or a name puts into it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sdl_study.errors import UserError
from sdl_study.evaluation.ledger import LEDGER_FILE, append_line, read_ledger
from tests.unit.evaluation.small_final import FINAL

FACTS = {"fingerprint": "f", "declaration": "d", "code_version": "1"}


def test_a_torn_line_hides_no_other(tmp_path: Path) -> None:
    append_line(tmp_path, FINAL, **FACTS)
    with (tmp_path / LEDGER_FILE).open("a") as file:
        file.write('{"study": "de')
    append_line(tmp_path, FINAL, **FACTS)
    assert len(read_ledger(tmp_path)) == 2


@pytest.mark.parametrize("torn", [b"{}", b"[]", b"null", b"7", b'"text"', b"\xff\xfe", b'{"study": 1}'])
def test_what_is_no_line_counts_as_none(tmp_path: Path, torn: bytes) -> None:
    append_line(tmp_path, FINAL, **FACTS)
    with (tmp_path / LEDGER_FILE).open("ab") as file:
        file.write(torn + b"\n")
    assert [line.identity for line in read_ledger(tmp_path)] == [FINAL]


@pytest.mark.parametrize(
    "name", ["a b", "\u2028", "a\u0085b", "a\x1cb", "line\nline", "line\rline", "\u00e9 \U0001f600"]
)
def test_names_with_the_ends_of_lines_in_them_are_one_line(tmp_path: Path, name: str) -> None:
    """Only the end of a line ends a line: an opening that is not found again would leave a verdict standing."""
    final = replace(FINAL, study=name, arm=name)
    for _ in range(2):
        append_line(tmp_path, final, **FACTS)
    assert [line.identity for line in read_ledger(tmp_path)] == [final, final]


def test_the_keys_of_a_line_stay(tmp_path: Path) -> None:
    append_line(tmp_path, FINAL, **FACTS)
    record = json.loads((tmp_path / LEDGER_FILE).read_text())
    assert record.keys() == {"time", "study", "arm", "stage", "seed", "role", *FACTS}
    assert (record["study"], record["seed"]) == ("demo", 0)


def test_a_ledger_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert read_ledger(tmp_path) == []
    (tmp_path / LEDGER_FILE).mkdir()
    with pytest.raises(UserError, match=r"test_ledger\.jsonl: the ledger cannot be read"):
        read_ledger(tmp_path)
