"""Metrics are what they were, to the last bit: studies are compared across versions."""

from __future__ import annotations

import json

import pytest

from tests.unit.evaluation import recorded


@pytest.mark.parametrize("name", recorded.inputs())
def test_metrics_are_bitwise_what_they_were(name: str) -> None:
    before = json.loads(recorded.FILE.read_text(encoding="utf-8"))[name]
    assert recorded.values()[name] == before
