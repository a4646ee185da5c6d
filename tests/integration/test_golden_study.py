"""The golden study: what a study prints, scores and logs is, to the last digit, what it was.

The record was made at the commit before arms became data. It is compared bitwise where the numerics are those that
it was made with, and to .005 of each number elsewhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sdl_study.study.plan import make_plan
from tests.integration.conftest import Engines
from tests.integration.golden_study import OVERRIDES, RECORD, golden_study, numerics, record
from tests.integration.tiny import tiny_data


@pytest.fixture(scope="module")
def found(out: Path, engines: Engines) -> dict[str, Any]:
    plan = make_plan(golden_study(tiny_data(out / "prepared")), out, "golden", OVERRIDES)
    engines.run(plan)
    return json.loads(json.dumps(record(plan.files)))


@pytest.mark.parametrize("part", ["leaderboard", "predictions", "mlflow"])
def test_the_golden_study_is_what_it_was(part: str, found: dict[str, Any]) -> None:
    expected = json.loads(RECORD.read_text(encoding="utf-8"))
    if expected["numerics"] == numerics():
        assert found[part] == expected[part]
    else:
        _assert_close(found[part], expected[part], part)


def _assert_close(found: Any, expected: Any, where: str) -> None:
    """The same structure and words; numbers as close as another processor leaves them."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected.keys() - {"digest"}:
            _assert_close(found[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            _assert_close(one, other, f"{where}/{place}")
    else:
        assert _number(found) == pytest.approx(_number(expected), abs=5e-3, nan_ok=True), where


def _number(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        return value
