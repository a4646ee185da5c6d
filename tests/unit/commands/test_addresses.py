"""An address where a path of this machine is asked is one line, exit code 2, and nothing is written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sdl_study.run import main

HINT = "is a path on this machine; a study is kept on an object storage by study --storage s3://bucket/prefix"
OUT = ("--out", "s3://bucket/studies")
GIVEN = {
    "study": ("study", "demo_coco", *OUT),
    "no command": OUT,
    "dry run": ("study", "text", "--dry-run", "--out", "gs://bucket/x"),
    "report": ("report", "tiny", *OUT),
    "status": ("status", *OUT),
    "stop": ("stop", "tiny", *OUT),
    "check study": ("check", "study", "tiny", *OUT),
    "check cluster": ("check", "cluster", *OUT),
    "check data": ("check", "data", "hdfs://name/x"),
    "export": ("export", "tiny", "folder", *OUT),
    "export to": ("export", "tiny", "s3://bucket/model"),
    "reproduce": ("reproduce", "tiny/1", *OUT),
    "fetch": ("fetch", "tiny", "--storage", "s3://bucket/x", *OUT),
    "data": ("study", "text", "--data", "s3://bucket/data"),
    "data by its setting": ("study", "text", "--set", "data.path=s3://bucket/data"),
}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN.keys())
def test_an_address_is_no_folder(
    given: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(given) == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: ")
    assert told.err.endswith(HINT + "\n")
    assert told.err.count("\n") == 1
    assert told.out == ""
    assert not list(tmp_path.iterdir())


def test_an_address_is_no_folder_of_a_pipeline(tmp_path: Path) -> None:
    given = [sys.executable, "-m", "pipelines.demo", "s3://bucket/data"]
    done = subprocess.run(given, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: argument s3://...: {HINT}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("gs://bucket/x", "--storage gs://bucket/x: write it as s3://bucket/prefix"),
        ("s3://key:hidden@bucket", "credentials and endpoint come from the environment"),
    ],
)
def test_a_storage_that_is_none_is_refused_before_anything_is_written(
    url: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "demo_coco", "--out", str(tmp_path / "studies"), "--storage", url]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert "hidden" not in told
    assert not list(tmp_path.iterdir())


def test_a_storage_that_does_not_answer_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    given = ["study", "demo_coco", "--out", str(tmp_path / "studies"), "--storage", "s3://bucket/x"]
    assert main(given) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: --storage s3://bucket/x: cannot be used (network_connection);")
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())
