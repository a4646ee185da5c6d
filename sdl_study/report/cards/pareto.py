"""Quality against cost: the objective of every trial against the seconds that it took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdl_study.report.page.card import Card, absent
from sdl_study.report.page.drawing import DECORATION, MUTED, canvas, style_of
from sdl_study.report.page.frames import StudyFrames

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

KEY, TITLE = "pareto", "Quality against seconds"


def frame(trials: pl.DataFrame) -> pl.DataFrame:
    """One row per trial with a value, by seconds: trial, arm, state, seconds, objective, front.

    ``front`` says that no trial was at least as good in fewer seconds (or better in as many).
    """
    import polars as pl

    known = pl.col("objective").is_not_null() & (pl.col("state") != "failed")
    table = trials.filter(known).sort("seconds", "objective", "trial", descending=[False, True, False])
    before = pl.col("objective").cum_max().shift(1)
    return table.select(
        "trial", "arm", "state", "seconds", "objective",
        front=before.is_null() | (pl.col("objective") > before),
    )  # fmt: skip


def card(study: StudyFrames) -> Card:
    """All trials, and the front of those that nothing beats in both."""
    table = frame(study.trials)
    if not table.height:
        return absent(KEY, TITLE, "No trial has a value yet.")
    front = table.filter(table["front"])
    arms = ", ".join(dict.fromkeys(front["arm"].to_list()))
    note = (
        f"n = {table.height} trials, pruned ones hollow; seconds of training and probing of one trial on the machine "
        f"that ran it, while others ran beside it; {study.objective}; one seed a trial; no test."
    )
    return Card(
        KEY, TITLE, f"{front.height} trials are on the front, of {arms}: nothing was better in fewer seconds.", table,
        (draw(table, study),), note, formats={"seconds": ",.1f", "objective": ".4f"},
    )  # fmt: skip


def draw(table: pl.DataFrame, study: StudyFrames) -> go.Figure:
    """Cheap on the left, good above."""
    import plotly.graph_objects as go

    figure = canvas(360, "seconds of the trial", study.objective)
    front = table.filter(table["front"])
    figure.add_trace(go.Scatter(
        x=front["seconds"].to_list(), y=front["objective"].to_list(), mode="lines", showlegend=False, hoverinfo="skip",
        line={"color": MUTED, "shape": "hv", "width": 1.5}, meta=DECORATION,
    ))  # fmt: skip
    for arm in dict.fromkeys(sorted(table["arm"].to_list())):
        own = table.filter(table["arm"] == arm)
        style = style_of(arm, study.arms)
        symbols = [style.symbol if state == "complete" else f"{style.symbol}-open" for state in own["state"]]
        figure.add_trace(go.Scatter(
            x=own["seconds"].to_list(), y=own["objective"].to_list(), name=arm, mode="markers",
            marker={"color": style.colour, "symbol": symbols, "size": [11 if f else 7 for f in own["front"]]},
            text=own["trial"].to_list(),
            hovertemplate=f"{arm} trial %{{text}}: %{{y:.4f}} in %{{x:.0f}} s<extra></extra>",
        ))  # fmt: skip
    return figure
