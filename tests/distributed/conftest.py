"""A skipped test of this folder is a failed one: a sharded loss that nobody ran is not tested."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped; the distributed tests have to run"
    return report


@pytest.fixture(scope="session")
def worlds() -> dict[int, list[dict[str, Any]]]:
    """The answers of every rank of worlds of two and three processes, started once."""
    from sdl_study.testing import run_processes
    from tests.distributed.worlds import everything

    return {size: run_processes(everything, size, timeout_seconds=200) for size in (2, 3)}
