"""The storages of a command: a study keeps the one that it has, and is left when the command ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from sdl_study.ending import MachineFailure
from sdl_study.files import write_json
from sdl_study.record.files import StudyFiles
from sdl_study.study import session_storage
from sdl_study.study.plan import Plan, make_plan
from sdl_study.study.session import prepare_data
from sdl_study.study.session_storage import FOLDER_ALONE, Storages
from sdl_study.study.signals import Interruptions
from tests.unit.study.fakes import small_study


class PlayedStorage:
    """A storage that notes what it is told."""

    told: ClassVar[list[str]] = []

    def __init__(self, files: StudyFiles, url: str, say: Callable[[str], None], on_lost: object) -> None:
        self.lease, self.place = SimpleNamespace(lost=False), SimpleNamespace(url=url)
        self.told.append(f"made {url}")

    def open(self) -> None:
        self.told.append("opened")

    def data_folder(self, pipeline: str | None, path: str | None) -> Path | None:
        return Path("/fetched") if path == "nowhere" else None

    def start(self, data: Any) -> None:
        self.told.append("started")

    def close(self, in_order: bool) -> None:
        self.told.append(f"closed, in order {in_order}")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(session_storage, "StudyStorage", PlayedStorage)
    monkeypatch.setattr(PlayedStorage, "told", [])
    return PlayedStorage.told


def plan_of(out: Path, **overrides: Any) -> Plan:
    return make_plan(small_study(), out, "small", overrides)


def test_a_study_without_one(told: list[str], tmp_path: Path) -> None:
    with ExitStack() as stack:
        kept = Storages(stack, Interruptions())
        plan = plan_of(tmp_path)
        assert kept.opened(plan) is plan
        assert kept.start(plan, None) is FOLDER_ALONE  # type: ignore[arg-type]
        kept.finish(plan)
    assert told == []


def test_from_its_opening_to_its_end(told: list[str], tmp_path: Path) -> None:
    with ExitStack() as stack:
        kept = Storages(stack, Interruptions())
        plan = kept.opened(plan_of(tmp_path, storage="s3://bucket/x"))
        assert prepare_data(plan) == Path("/fetched")
        kept.start(plan, None)  # type: ignore[arg-type]
        kept.finish(plan)
    assert told == ["made s3://bucket/x", "opened", "started", "closed, in order True"]


def test_it_is_left_where_the_command_ends_before(told: list[str], tmp_path: Path) -> None:
    with ExitStack() as stack:
        Storages(stack, Interruptions()).opened(plan_of(tmp_path, storage="s3://bucket/x"))
    assert told[-1] == "closed, in order False"


@pytest.mark.parametrize(
    ("overrides", "found"),
    [({}, "s3://bucket/x"), ({"storage": None}, None), ({"storage": "s3://bucket/y"}, "s3://bucket/y")],
)
def test_a_study_keeps_the_storage_that_it_has(
    overrides: dict[str, Any], found: str | None, told: list[str], tmp_path: Path
) -> None:
    began = plan_of(tmp_path, storage="s3://bucket/x")
    write_json(began.files.study_json, began.identity() | {"data_fingerprint": "f", "terms": "open"})
    with ExitStack() as stack:
        plan = Storages(stack, Interruptions()).opened(plan_of(tmp_path, **overrides))
    assert plan.settings.storage == found
    assert replace(plan, data=None).identity()["settings"]["storage"] == found


def test_another_driver_that_took_the_study_is_named(told: list[str], tmp_path: Path) -> None:
    with ExitStack() as stack:
        kept = Storages(stack, Interruptions())
        kept.opened(plan_of(tmp_path, storage="s3://bucket/x"))
        interrupted = KeyboardInterrupt()
        assert kept.ending(interrupted) is interrupted
        kept._open["small"].lease.lost = True
        found = kept.ending(interrupted)
    assert isinstance(found, MachineFailure)
    assert str(found).startswith("small: another process has taken the study at s3://bucket/x")
