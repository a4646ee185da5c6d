"""Every recipe lets Ray give up a machine that does not answer, soon enough for a study to go on within 30 s."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
RECIPES = (
    "cluster.yaml",
    *(f"sdl_study/cluster/{name}" for name in ("local.yaml", "kuberay.yaml", "slurm.sh")),
)
STARTS_A_GROUP = 10.0
"""Seconds that a new group takes to its first epoch on an idle machine."""


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_lost_machine_is_given_up_soon(recipe: str) -> None:
    text = (ROOT / recipe).read_text()
    given = {
        name: int(value) for name, value in re.findall(r"RAY_health_check_(\w+)(?:=|, value: \")(\d+)", text)
    }
    period, timeout = given["period_ms"] / 1000, given["timeout_ms"] / 1000
    # The machine may be lost just after it answered.
    seconds = period + given["failure_threshold"] * timeout + (given["failure_threshold"] - 1) * period
    assert f"given up after {seconds:.0f} s" in text
    assert seconds + STARTS_A_GROUP <= 30.0
