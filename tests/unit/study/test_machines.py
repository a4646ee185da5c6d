"""A study on a cluster that it joins asks the machines once, before its first trial; one on this machine does not."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sdl_study.errors import UserError
from sdl_study.study import machines, session
from sdl_study.study.plan import make_plan
from sdl_study.study.session import _Engines
from sdl_study.study.signals import Interruptions
from sdl_study.workers.probe.answers import Answer
from sdl_study.workers.probe.machines import Asked
from tests.unit.study.fakes import small_study

HERE = Answer("head", "10.0.0.1", {"torch": "2"}, "0" * 64)


class AnyEngine:
    """An engine that is there."""

    def __init__(self, *_: Any, **more: Any) -> None: ...

    def __enter__(self) -> AnyEngine:
        return self

    def __exit__(self, *_: object) -> None: ...

    def suits(self, *_: object) -> bool:
        return True


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Path]]:
    """For which folders the machines were asked; the second time one of them is not fit."""
    calls: list[tuple[Path, Path]] = []

    def ask(out: Path, data: Path) -> Asked:
        calls.append((out, data))
        return Asked(HERE, [HERE], ["w1: no folder", "w2: other code"] if len(calls) > 1 else [])

    monkeypatch.setattr(session, "Engine", AnyEngine)
    monkeypatch.setattr(machines, "ask_machines", ask)
    return calls


@pytest.mark.parametrize(("address", "times"), [(None, 0), ("local", 0), ("auto", 1)])
def test_once_a_study_where_it_joins(
    address: str | None, times: int, asked: list[tuple[Path, Path]], tmp_path: Path
) -> None:
    plan, data = make_plan(small_study(), tmp_path, "small", {}), SimpleNamespace(path=tmp_path / "data")
    with ExitStack() as stack:
        engines = _Engines(stack, address, Interruptions(), tmp_path)
        for _ in range(2):
            engines.for_plan(plan, data)  # type: ignore[arg-type]
    assert asked == [(tmp_path, tmp_path / "data")] * times


def test_a_machine_that_is_not_fit_ends_the_study_in_a_line_each(
    asked: list[tuple[Path, Path]], tmp_path: Path
) -> None:
    machines.check_machines("first", tmp_path, tmp_path)
    with pytest.raises(UserError) as told:
        machines.check_machines("small", tmp_path, tmp_path)
    head, *lines = str(told.value).splitlines()
    assert head.startswith("small: the cluster is not ready")
    assert lines == ["  w1: no folder", "  w2: other code"]
    with pytest.raises(UserError) as told:
        machines.check_machines("kept", tmp_path, tmp_path, "s3://bucket/x")
    assert str(told.value).splitlines()[-1].startswith("  --storage keeps a study for another head; workers ")
