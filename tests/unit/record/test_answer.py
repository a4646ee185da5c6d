"""answer.json: read as it was written, and as it was written before there were findings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdl_study.errors import UserError
from sdl_study.files import write_json
from sdl_study.record.answer import read_answer
from sdl_study.report.text import answer_text
from tests.unit.report.test_findings import ANSWER

LATER_OF_ROW = ("convergence", "edges", "valid_anchors", "could_learn", "margins", "dev_of_finals", "spread")


def written(path: Path, values: dict[str, Any]) -> Path:
    write_json(path, values)
    return path


def test_an_answer_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_answer(written(tmp_path / "answer.json", ANSWER.to_dict())) == ANSWER


def test_an_answer_from_before_there_were_findings_is_read_and_printed(tmp_path: Path) -> None:
    values = json.loads(json.dumps(ANSWER.to_dict()))
    del values["searches"], values["primary"]["searches"]
    for row in values["table"]:
        for name in LATER_OF_ROW:
            del row[name]
    found = read_answer(written(tmp_path / "answer.json", values))
    assert (found.searches, found.rising) == (1, ())
    assert found.primary is not None
    assert found.primary.pairs == 6
    assert {row.could_learn for row in found.table} == {True}
    text = answer_text(found)
    assert text.startswith("demo: dev map of the chosen trial")
    assert "primary contrast: the setting chosen for sd against" in text


def test_numbers_of_others_stand_below_the_answer_again_when_it_is_read(tmp_path: Path) -> None:
    answer = replace(ANSWER, published=("PLM-ICD as published:", "micro-F1 .598"))
    found = read_answer(written(tmp_path / "answer.json", answer.to_dict()))
    assert answer_text(found).splitlines()[-2:] == ["PLM-ICD as published:", "micro-F1 .598"]


@pytest.mark.parametrize("change", [{"edges": [{"name": 1}]}, {"convergence": {"rise": 1}}, {"colour": 1}])
def test_a_row_of_another_version_is_one_line(change: dict[str, Any], tmp_path: Path) -> None:
    values = json.loads(json.dumps(ANSWER.to_dict()))
    values["table"][0] |= change
    with pytest.raises(UserError, match=r"answer\.json: no answer of this version"):
        read_answer(written(tmp_path / "answer.json", values))
