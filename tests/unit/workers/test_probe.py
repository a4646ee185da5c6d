"""What machines say of themselves, and the lines that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from sdl_study.workers.probe import answers
from sdl_study.workers.probe.answers import MANIFEST, WORD_FILE, Answer, Question, answer, findings


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_SEEN_SECONDS", 0.0)


@pytest.fixture
def question(tmp_path: Path) -> Question:
    """A folder of studies with the driver's word in it, and a data set."""
    meeting, data = tmp_path / "studies" / ".check-1", tmp_path / "data"
    meeting.mkdir(parents=True)
    data.mkdir()
    (meeting / WORD_FILE).write_text("word")
    (data / MANIFEST).write_text("{}")
    return Question(str(meeting), "word", str(data))


def told(question: Question, other: Answer, **here: object) -> list[str]:
    own = replace(answer(question, "driver-too", "here"), **here)
    return list(findings(question, own, [other]))


def test_a_machine_that_is_fit(question: Question) -> None:
    other = answer(question, "node-1", "10.0.0.2")
    assert (Path(question.meeting) / "node-1").read_text() == "word"
    assert other.free > 0
    assert len(other.code) == 64
    assert set(other.versions) == {"sdl_study", "Python", "torch", "CUDA"}
    assert told(question, other) == []


def test_a_folder_that_is_not_there(question: Question, tmp_path: Path) -> None:
    away = replace(question, meeting=str(tmp_path / "mnt" / "studies" / ".check-1"))
    other = answer(away, "node-1", "10.0.0.2")
    assert not (tmp_path / "mnt").exists()  # nothing is made where no share is mounted
    other = replace(other, host="w1", troubles={question.meeting: "No such file or directory"})
    (line,) = told(question, other)
    assert line == (
        f"w1 (10.0.0.2): does not share the folder of studies {tmp_path / 'studies'} with the driver "
        "(No such file or directory)"
    )


def test_a_folder_of_the_same_name_that_is_another(question: Question, tmp_path: Path) -> None:
    (tmp_path / "own" / "studies").mkdir(parents=True)
    own = replace(question, meeting=str(tmp_path / "own" / "studies" / ".check-1"))
    other = answer(own, "node-1", "10.0.0.2")
    assert list(other.troubles) == [own.meeting]
    assert list((tmp_path / "own" / "studies").iterdir()) == []


def test_what_is_written_and_does_not_arrive(question: Question) -> None:
    other = answer(question, "node-1", "10.0.0.2")
    (Path(question.meeting) / "node-1").write_text("another")
    (line,) = told(question, other)
    assert "does not arrive at the driver" in line


def test_another_content_than_the_driver_wrote(question: Question) -> None:
    other = answer(replace(question, word="another"), "node-1", "10.0.0.2")
    assert "another content" in other.troubles[question.meeting]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"versions": {"sdl_study": "0", "Python": "3", "torch": "2", "CUDA": "none"}},
            "has torch 2, the driver",
        ),
        ({"versions": {}}, "has Python none, the driver"),
        ({"code": "0" * 64}, "has other code (digest 000000000000, the driver's"),
        ({"manifest": "0" * 64}, "holds another data set"),
        ({"free": 1000}, "0 MB free"),
        ({"troubles": {"DATA": "Permission denied"}}, "does not see the prepared data in"),
    ],
)
def test_a_difference_is_a_line(change: Mapping[str, object], words: str, question: Question) -> None:
    assert question.data is not None
    other = answer(question, "node-1", "10.0.0.2")
    troubles = {"troubles": {question.data: "Permission denied"}} if "troubles" in change else {}
    lines = told(question, replace(other, host="w1", **{**change, **troubles}))
    assert any(words in line for line in lines)
    assert all(line.startswith("w1 (10.0.0.2): ") and "\n" not in line for line in lines)


def test_data_are_looked_at_where_they_are_asked_for(question: Question, tmp_path: Path) -> None:
    without = replace(question, data=None)
    assert told(without, answer(without, "node-1", "10.0.0.2")) == []
    missing = replace(question, data=str(tmp_path / "nowhere"))
    assert list(answer(missing, "node-1", "x").troubles) == [missing.data]


def test_machines_with_gpus_need_the_same_cuda_and_others_none(question: Question) -> None:
    here = answer(question, "driver-too", "here")
    own = answer(question, "node-1", "10.0.0.2")

    def machine(host: str, gpus: int, cuda: str) -> Answer:
        return replace(own, host=host, gpus=gpus, versions={**own.versions, "CUDA": cuda})

    def lines(*others: Answer) -> list[str]:
        return list(findings(question, here, others))

    assert lines(machine("w1", 0, "none"), machine("w2", 2, "13.0"), machine("w3", 1, "13.0")) == []
    assert lines(machine("w1", 1, "13.0"), machine("w2", 1, "12.8")) == [
        "w2 (10.0.0.2): has a torch for CUDA 12.8, w1 (10.0.0.2) for 13.0"
    ]
    assert lines(machine("w1", 1, "none")) == ["w1 (10.0.0.2): has GPUs, and a torch without CUDA"]


def test_a_machine_that_the_others_would_look_for_on_themselves(question: Question) -> None:
    here = answer(question, "driver-too", "here")
    head = replace(answer(question, "node-1", "127.0.1.1"), host="head")
    one, two = (replace(head, host=host, address=f"10.0.0.{host[1]}") for host in ("w2", "w3"))
    (line,) = findings(question, here, [head, one, two])
    assert line.startswith("head (127.0.1.1): Ray knows it by an address that no other machine finds it at; ")
    assert list(findings(question, here, [one, two])) == []
    assert list(findings(question, here, [head])) == []
    assert list(findings(question, here, [head, replace(head, host="again")])) == []  # one machine
