"""What every test of the project shares: checked shapes, and the count of tests that a run leaves out."""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests import shapes

if TYPE_CHECKING:
    from collections.abc import Sequence

LEFT_OUT = pytest.StashKey[Counter[str]]()
MARKERS = ("slow", "cluster", "gpu")

# The same examples in every run, and none fails because a machine is busy. Test modules change these when imported.
settings.register_profile("study", deadline=None, derandomize=True)
settings.load_profile("study")
shapes.install()  # here, because conftest files further down import the library


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEFT_OUT] = Counter()
    # Under nohup, or in the background of a script, these are ignored, by children too; tests send them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items:
        markers = [name for name in MARKERS if item.get_closest_marker(name)]
        item.config.stash[LEFT_OUT]["+".join(markers) or "unmarked"] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """A test leaves a run only by its marker; say how many did, by which."""
    left_out = config.stash[LEFT_OUT]
    if not left_out:
        return
    counts = ", ".join(f"{count} {markers}" for markers, count in sorted(left_out.items()))
    terminalreporter.write_line(
        f"deselected by marker: {counts} (make test-long: slow; make cluster-test: cluster; make test-gpu: gpu)"
    )
