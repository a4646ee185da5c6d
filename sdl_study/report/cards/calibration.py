"""Calibration: among cells that were given a probability, how many are true?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdl_study.report.names import LEAST_COUNT
from sdl_study.report.page.card import Card, absent
from sdl_study.report.page.drawing import DECORATION, MUTED, canvas, style_of
from sdl_study.report.page.frames import StudyFrames, counted

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

KEY, TITLE = "calibration", "Calibration"
_NORMAL = 1.96
_SCHEMA = {"arm": str, "cells": int, "score": float, "share": float, "low": float, "high": float}


def frame(study: StudyFrames) -> pl.DataFrame:
    """One row per arm and bin of scores: cells, mean score, share that is true, interval over patients.

    Bins with fewer than ten cells are left out; of restricted data also those with fewer than ten true or false ones.
    """
    import polars as pl

    rows = []
    for arm in study.arms:
        finals = study.of_arm(arm)
        if not finals:
            continue
        cells = np.mean([f.details.cells for f in finals], axis=0)
        positives = np.mean([f.details.positives for f in finals], axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            score = np.sum([np.nan_to_num(f.details.mean_score) * f.details.cells for f in finals], axis=0)
            score, share = score / (cells * len(finals)), positives / cells
        error = np.mean([f.details.share_error for f in finals], axis=0)
        for at in range(cells.size):
            rare = min(positives[at], cells[at] - positives[at]) < LEAST_COUNT
            if cells[at] < LEAST_COUNT or (study.restricted and rare):
                continue
            half = _NORMAL * float(np.nan_to_num(error[at]))
            rows.append({
                "arm": arm, "cells": round(cells[at]), "score": float(score[at]), "share": float(share[at]),
                "low": max(0.0, float(share[at]) - half), "high": min(1.0, float(share[at]) + half),
            })  # fmt: skip
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def expected_error(own: pl.DataFrame) -> float:
    """Expected calibration error: mean distance of score and share, weighted by cells."""
    weights = own["cells"].to_numpy().astype(float)
    return float(np.average(np.abs((own["score"] - own["share"]).to_numpy()), weights=weights))


def card(study: StudyFrames) -> Card:
    """Reliability of every arm's probabilities, over all cells of documents and labels."""
    if (why := study.why_no_test()) is not None:
        return absent(KEY, TITLE, why)
    table = frame(study)
    if not table.height:
        return absent(KEY, TITLE, "Does not apply: no bin of scores has ten cells.")
    errors = {arm: expected_error(table.filter(table["arm"] == arm)) for arm in dict.fromkeys(table["arm"])}
    told = ", ".join(f"{arm} {error:.4f}" for arm, error in errors.items())
    some = study.scored[0].details
    seeds = counted(len(study.of_arm(next(iter(errors)))), "seed")
    note = (
        f"n = {study.shown(some.documents)} test inputs × {some.labels.height:,} labels, {seeds} "
        "(mean); bins of the score, finer near 0; 95% intervals over groups (bootstrap), not over seeds; no test."
    )
    return Card(
        KEY, TITLE, f"Expected calibration error: {told}.", table, (draw(table, study),), note,
        formats={"score": ".4f", "share": ".4f", "low": ".4f", "high": ".4f"},
    )  # fmt: skip


def draw(table: pl.DataFrame, study: StudyFrames) -> go.Figure:
    """Share against score; on the diagonal a probability means what it says."""
    import plotly.graph_objects as go

    figure = canvas(380, "mean score", "share that is true")
    figure.add_trace(go.Scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"color": MUTED, "dash": "dash", "width": 1}, showlegend=False,
        hoverinfo="skip", meta=DECORATION,
    ))  # fmt: skip
    for (arm,), own in table.group_by("arm", maintain_order=True):
        style = style_of(str(arm), study.arms)
        figure.add_trace(go.Scatter(
            x=own["score"].to_list(), y=own["share"].to_list(), name=str(arm), mode="lines+markers",
            line={"color": style.colour, "dash": style.dash, "width": 1.5},
            marker={"color": style.colour, "symbol": style.symbol, "size": 8},
            error_y={"type": "data", "array": (own["high"] - own["share"]).to_list(), "symmetric": False,
                     "arrayminus": (own["share"] - own["low"]).to_list(), "color": style.colour, "thickness": 1,
                     "width": 3},
            hovertemplate=f"{arm}: score %{{x:.3f}}, true %{{y:.3f}}<extra></extra>",
        ))  # fmt: skip
    return figure
