"""Where the dot of an ICD code stands."""

from __future__ import annotations

import polars as pl
import pytest

from pipelines.mimic.icd import caml_compat, dotted


def apply(rule: object, code: str, kind: str, version: int) -> str:
    return pl.DataFrame({"code": [code]}).select(rule(pl.col("code"), kind, version)).item()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("code", "kind", "version", "expected"),
    [
        ("4019", "diagnosis", 9, "401.9"),
        ("486", "diagnosis", 9, "486"),
        ("0389", "diagnosis", 9, "038.9"),
        ("V5861", "diagnosis", 9, "V58.61"),
        ("E8782", "diagnosis", 9, "E878.2"),
        ("E849", "diagnosis", 9, "E849"),
        ("3893", "procedure", 9, "38.93"),
        ("0066", "procedure", 9, "00.66"),
        ("66", "procedure", 9, "66"),
        ("I10", "diagnosis", 10, "I10"),
        ("I2510", "diagnosis", 10, "I25.10"),
        ("E119", "diagnosis", 10, "E11.9"),
        ("02HV33Z", "procedure", 10, "02HV33Z"),
        ("401.9", "diagnosis", 9, "401.9"),
        ("e8782", "diagnosis", 9, "E878.2"),
        ("38.93 ", "procedure", 9, "38.93"),
        ("02hv33z", "procedure", 10, "02HV33Z"),
    ],
)
def test_dots(code: str, kind: str, version: int, expected: str) -> None:
    assert apply(dotted, code, kind, version) == expected


def test_the_dot_keeps_diagnosis_and_procedure_apart() -> None:
    assert apply(dotted, "4239", "diagnosis", 9) != apply(dotted, "4239", "procedure", 9)


@pytest.mark.parametrize(
    ("code", "expected"),
    [("0066", "66."), ("0331", "33.1"), ("3893", "38.93"), ("0040", "40."), ("0001", "1."), ("00.66", "66.")],
)
def test_caml_lost_leading_zeros_of_procedures(code: str, expected: str) -> None:
    assert apply(caml_compat, code, "procedure", 9) == expected


def test_caml_kept_leading_zeros_of_diagnoses() -> None:
    assert apply(caml_compat, "0389", "diagnosis", 9) == "038.9"
