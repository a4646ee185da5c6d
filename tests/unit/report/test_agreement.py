"""When numbers agree, what the table shows, and what counts as another environment."""

from __future__ import annotations

import math

import pytest

from sdl_study.report.agreement import Compared, agreement_text, compared, environment_changes


@pytest.mark.parametrize(
    ("recorded", "again", "tolerance", "agrees"),
    [
        (0.5, 0.5, 0.0, True),
        (0.5, math.nextafter(0.5, 1.0), 0.0, False),
        (0.5, 0.509, 0.01, True),
        (0.5, 0.511, 0.01, False),
        (math.nan, math.nan, 0.0, True),
        (math.nan, 0.5, 0.01, False),
        (math.inf, math.inf, 0.0, True),
        (0.5, None, 0.01, False),
        (None, 0.5, 0.01, False),
    ],
)
def test_agreement(recorded: float | None, again: float | None, tolerance: float, agrees: bool) -> None:
    assert compared("x", recorded, again, tolerance).agrees is agrees


def test_a_table_shows_the_last_digit_and_first_what_differs() -> None:
    one = agreement_text([Compared("dev/map", 0.1 + 0.2, 0.3, agrees=False)]).splitlines()[-1].split()
    assert one == ["dev/map", "0.30000000000000004", "0.3", "5.6e-17", "no"]
    many = [Compared(f"number {n}", float(n), float(n + (n == 7)), n != 7) for n in range(100)]
    shown = agreement_text(many).splitlines()
    assert [line.split()[1] for line in shown[2:-1]] == ["7"]
    assert shown[-1] == "... and 99 more numbers"
    missing = agreement_text([Compared("gone", math.nan, None, agrees=False)]).splitlines()[-1].split()
    assert missing == ["gone", "nan", "-", "-", "no"]


def test_what_was_not_written_down_is_no_change() -> None:
    before = {"code_version": "1+a", "packages": {"torch": "2.9", "ray": "2.60"}, "study": "text", "cpus": 2}
    now = {"code_version": "1+b", "packages": {"torch": "2.10"}, "study": "", "cpus": 2, "cpu": "a processor"}
    assert environment_changes(before, now) == [
        "code version 1+a → 1+b",
        "torch 2.9 → 2.10",
        "ray 2.60 → None",
    ]
    assert environment_changes({}, now) == []
