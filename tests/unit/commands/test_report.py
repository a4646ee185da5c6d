"""``report`` tells how far a study is from its folder alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdl_study.files import write_json
from sdl_study.run import main
from tests.unit.study.fakes import open_search, play, small_plan


def test_a_study_that_still_searches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = small_plan(tmp_path)
    write_json(plan.files.study_json, plan.identity() | {"data_fingerprint": "f"})
    assert main(["report", "small", "--out", str(tmp_path)]) == 0
    page = tmp_path / "small" / "page.html"
    assert capsys.readouterr().out == f"small: no answer yet\n\nno trial yet\n\npage: {page}\n"
    assert "<title>small: study page</title>" in page.read_text()
    play(open_search(plan), lambda arm, parameters, epoch: 0.1 * epoch, stop_after=3)
    assert main(["report", "small", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "small: no answer yet"
    assert told[2] == "trials, dev/map:"
    assert [line.split()[:3] for line in told[5:-2]] == [
        ["0", "any", "complete"],
        ["2", "any", "complete"],
        ["1", "sd", "complete"],
    ]
    assert (
        not (tmp_path / "small" / ".lock").read_bytes() if (tmp_path / "small" / ".lock").exists() else True
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "there is no study of this name"),
        (["damaged"], "study.json: damaged: not JSON"),
        (["answered"], "answer.json: no answer of this version"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = small_plan(tmp_path)
    write_json(tmp_path / "answered" / "study.json", plan.identity())
    write_json(tmp_path / "answered" / "answer.json", {"table": []})
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "study.json").write_text("{")
    before = sorted(tmp_path.rglob("*"))
    assert main(["report", *arguments, "--out", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert words in told.err
    assert sorted(tmp_path.rglob("*")) == before
