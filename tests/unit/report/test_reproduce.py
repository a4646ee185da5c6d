"""The commands that a page prints are what was typed."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from sdl_study.report.cards.reproduce import start_command


@pytest.mark.parametrize(
    "value", [0.1, "bert", ["sd", "any"], "it's $HOME", "both \" and '", "`ls`", "tick!'", "a\\'b", ""]
)
def test_a_shell_reads_the_setting_that_was_given(value: Any) -> None:
    found = {"study": "demo_mimic", "own_data": False, "overrides": {"arms": value}}
    words = shlex.split(start_command("demo", found))
    assert words[-2:] == ["--set", f"arms={value}"]


def test_names_stay_readable() -> None:
    found = {"study": "demo_mimic", "own_data": False, "overrides": {"arms": ["sd", "any"]}}
    assert start_command("demo", found).endswith("""--set "arms=['sd', 'any']\"""")
