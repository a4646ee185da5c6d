"""Test results of the arms that fix their temperature, side by side: what the temperature alone changes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sdl_study.record.rows import Row
from sdl_study.report.page.card import Card, absent
from sdl_study.report.page.drawing import MUTED, canvas, decades, ends_of, style_of
from sdl_study.report.page.frames import StudyFrames, counted

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

KEY, TITLE = "sweep", "Fixed temperatures"
_LEVEL = 0.95
_SCHEMA = {
    "arm": str, "loss": str, "temperature": float, "test": float, "low": float, "high": float, "seeds": int,
}  # fmt: skip


def frame(study: StudyFrames) -> pl.DataFrame:
    """One row per arm with a fixed temperature and a test value, by loss and temperature; its interval over seeds."""
    import polars as pl

    answer, declaration = study.record.answer, study.record.declaration
    if answer is None or declaration is None:
        return pl.DataFrame(schema=_SCHEMA)
    fixed = {
        arm["name"]: arm for arm in study.record.identity["arms"] if "temperature" in (arm["fixed"] or {})
    }
    seeds = declaration.final_seeds * declaration.searches
    rows = []
    for row in answer.table:
        if row.name in fixed and row.test is not None:
            low, high = _interval(row, seeds)
            arm = fixed[row.name]
            rows.append((row.name, arm["loss"], row.temperature, row.test, low, high, seeds))
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row").sort("loss", "temperature", "arm")


def _interval(row: Row, seeds: int) -> tuple[float | None, float | None]:
    """Of the mean over seeds, by t; none with one seed."""
    from scipy.stats import t as student

    if row.spread is None or row.test is None:
        return None, None
    half = float(student.isf((1 - _LEVEL) / 2, seeds - 1)) * row.spread / math.sqrt(seeds)
    return row.test - half, row.test + half


def card(study: StudyFrames) -> Card:
    """Test value by fixed temperature, all else searched."""
    if not any("temperature" in (arm["fixed"] or {}) for arm in study.record.identity["arms"]):
        return absent(KEY, TITLE, "Does not apply: no arm of this study fixes its temperature.")
    table = frame(study)
    if not table.height:
        return absent(
            KEY, TITLE, "The arms with a fixed temperature have no test value yet, or a final failed."
        )
    answer = study.record.answer
    assert answer is not None  # there are rows
    least, most = ends_of(table["test"].to_list())
    ends = table.sort("test")
    sentence = (
        f"Test {answer.metric} lies between {least:.4f} (τ = {ends['temperature'][0]:g}) and {most:.4f} "
        f"(τ = {ends['temperature'][-1]:g})."
        if table.height > 1
        else f"At τ = {table['temperature'][0]:g}, test {answer.metric} is {most:.4f}."
    )
    seeds = counted(table["seeds"][0], "seed")
    interval = (
        "no interval: one seed says nothing of how much seeds vary"
        if table["low"].is_null().all()
        else f"{_LEVEL:.0%} interval of the mean over seeds alone (t), not over test inputs"
    )
    note = (
        f"n = {counted(table.height, 'temperature')}, {seeds} each; all other settings searched, in as many trials as "
        f"any arm has; {interval}. No test here: the answer compares each of these arms, after Holm."
    )
    return Card(
        KEY, TITLE, sentence, table, (draw(table, study, answer.metric),), note,
        formats={"temperature": "g", "test": ".4f", "low": ".4f", "high": ".4f"},
    )  # fmt: skip


def draw(table: pl.DataFrame, study: StudyFrames, metric: str) -> go.Figure:
    """A line for each loss, a mark for each temperature."""
    import plotly.graph_objects as go

    figure = canvas(360, "temperature τ", f"test {metric}")
    for loss in dict.fromkeys(table["loss"]):
        own = table.filter(table["loss"] == loss)
        style = style_of(own["arm"][0], study.arms)
        known = own["low"].is_not_null().any()
        above, below = (own["high"] - own["test"]).to_list(), (own["test"] - own["low"]).to_list()
        figure.add_trace(go.Scatter(
            x=own["temperature"].to_list(), y=own["test"].to_list(), name=loss, mode="lines+markers",
            line={"color": style.colour, "width": 1.5}, marker={"size": 10, "symbol": style.symbol},
            error_y={"type": "data", "array": above, "arrayminus": below, "symmetric": False, "color": MUTED}
            if known else None,
            hovertemplate=f"{loss} τ %{{x:g}}: %{{y:.4f}}<extra></extra>",
        ))  # fmt: skip
    ticks = decades(*ends_of(table["temperature"].to_list()))
    return figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
