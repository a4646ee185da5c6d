"""With what a study ran: what is written of it, and what is not."""

from __future__ import annotations

from pathlib import Path

from sdl_study.record.environment import environment, note_environment, read_environments
from sdl_study.record.files import StudyFiles


def test_no_path_of_the_machine_is_noted(tmp_path: Path) -> None:
    given = {
        "data.path": str(tmp_path / "notes"),
        "model.encoders.own.name": str(tmp_path / "weights" / "tuned"),
        "model.encoders": {"own": {"kind": "hub", "name": "~/weights/tuned", "max_length": 64}},
        "controls": ["tfidf", Path("/srv/raw")],
        "model.encoder": "organisation/model",
        "train.learning_rate": 0.1,
    }
    found = environment("1+abc", "text", given)
    assert str(tmp_path) not in str(found)
    assert found["own_data"]
    assert found["overrides"] == {
        "model.encoders.own.name": ".../tuned",
        "model.encoders": {"own": {"kind": "hub", "name": ".../tuned", "max_length": 64}},
        "controls": ["tfidf", ".../raw"],
        "model.encoder": "organisation/model",
        "train.learning_rate": 0.1,
    }


def test_an_environment_is_noted_when_it_changed(tmp_path: Path) -> None:
    files = StudyFiles(tmp_path, "small")
    files.folder.mkdir(parents=True)
    first, second = (environment(code, "small", {}) for code in ("1+abc", "1+def"))
    for now in (first, first, second, first):
        note_environment(files, now)
    assert list(read_environments(files)) == [first, second, first]
