"""``status`` tells how far studies are from their folders alone, in no time, and leaves them as they are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from sdl_study.record.files import StudyFiles
from sdl_study.record.held import locked
from sdl_study.record.holder import Held, Holder, look_at
from sdl_study.run import main
from tests.unit.report.studies import answered, searched

ROOT = Path(__file__).resolve().parents[3]


def told(out: Path, capsys: pytest.CaptureFixture[str], *more: str) -> list[dict[str, Any]]:
    """What ``status --json`` says."""
    assert main(["status", "--out", str(out), "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)["studies"]


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_a_finished_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = searched(tmp_path)
    answered(plan, lambda arm, seed: 4.0 if arm == "sd" else 2.0)
    before = content(tmp_path)
    (study,) = told(tmp_path, capsys)
    assert (study["state"], study["verdict"], study["pid"]) == ("finished", "better", None)
    assert (study["arms"], study["trials_per_arm"]) == (2, 4)
    assert sum(study["trials"].values()) == 8
    assert study["finals"] == {"done": 7, "planned": 7}
    assert study["seconds_left"] is None
    assert study["disk_bytes"] > len(plan.files.journal.read_bytes())
    assert main(["status", "small", "--out", str(tmp_path)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.split()[:6] == ["small", "finished", "8", "of", "2", "x"]
    assert content(tmp_path) == before


def test_a_study_that_runs_and_one_that_died(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = searched(tmp_path, stop_after=3)
    (study,) = told(tmp_path, capsys)
    assert (study["state"], study["host"], study["finals"]) == ("interrupted", None, None)
    assert study["best"]["objective"] > 0.5
    with locked(plan.files):
        (study,) = told(tmp_path, capsys)
        assert (study["state"], study["pid"]) == ("running", os.getpid())
        assert 0 <= study["seconds_running"] < 60
        main(["status", "--out", str(tmp_path)])
        assert f"running, pid {os.getpid()}" in capsys.readouterr().out
    assert look_at(plan.files) == Held(False, None)  # ended in order
    dead = Holder("elsewhere", 77, "", 1, "2026-01-01T00:00:00+00:00")
    plan.files.lock.write_text(json.dumps(asdict(dead)))
    main(["status", "--out", str(tmp_path)])
    assert "interrupted, pid 77 on elsewhere died" in capsys.readouterr().out


def test_looking_keeps_no_driver_away(tmp_path: Path) -> None:
    files = StudyFiles(tmp_path, "small")
    with locked(files):
        pass
    look = f"""
from pathlib import Path
from sdl_study.record.files import StudyFiles
from sdl_study.record.holder import look_at
print("go", flush=True)
while True:
    look_at(StudyFiles(Path({str(tmp_path)!r}), "small"))
"""
    with subprocess.Popen([sys.executable, "-c", look], cwd=ROOT, stdout=subprocess.PIPE) as looking:
        assert looking.stdout is not None
        assert looking.stdout.readline() == b"go\n"
        for _ in range(20):
            with locked(files):
                assert look_at(files).held
        looking.kill()


def test_what_cannot_be_read_is_one_line_beside_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    searched(tmp_path)
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "study.json").write_text('{"format_version": 1}')
    (tmp_path / "data" / "anything").mkdir()
    older, small = told(tmp_path, capsys)
    assert (older["state"], small["state"]) == ("unreadable", "interrupted")
    assert "format_version 1, this version reads" in older["reason"]
    main(["status", "--out", str(tmp_path)])
    assert capsys.readouterr().out.count("older: ") == 1


def test_the_keys_are_those_of_the_readme(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    searched(tmp_path, stop_after=1)
    text = (ROOT / "README.md").read_text()
    (line,) = (part for part in text.split("\n\n") if part.startswith("`status --json`"))
    (study,) = told(tmp_path, capsys)
    assert re.findall(r"`(\w+)`", line) == list(study)


def test_no_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "nothing", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["status", "--out", str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'new'}: no studies\n"
    assert list(tmp_path.iterdir()) == []


def test_it_starts_nothing_that_takes_long(tmp_path: Path) -> None:
    searched(tmp_path)
    code = f"""
import sys
from sdl_study.run import main
main(["status", "--out", {str(tmp_path)!r}])
print(sorted({{"ray", "mlflow", "torch", "transformers", "polars", "pandas"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_number_that_came_back_is_another_process() -> None:
    here = Holder.this_process()
    assert here.is_alive
    assert not replace(here, ticks=here.ticks - 1).is_alive
    assert not replace(here, boot="another").is_here
