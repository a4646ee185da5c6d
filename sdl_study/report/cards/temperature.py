"""The objective against temperature, arm by arm, with a curve and its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdl_study.report.page.card import Card, absent
from sdl_study.report.page.drawing import DECORATION, canvas, decades, ends_of, faint, style_of
from sdl_study.report.page.frames import StudyFrames

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl
    from jaxtyping import Float

KEY, TITLE = "temperature", "Temperature"
PARAMETER = "loss.temperature"
FEWEST = 6
"""Complete trials of an arm from which a curve with three coefficients is drawn."""
_LEVEL = 0.95


def frame(study: StudyFrames) -> pl.DataFrame:
    """One row per trial with a temperature and a value: trial, arm, state, temperature, objective, chosen."""
    import polars as pl

    own = study.parameters.filter(pl.col("parameter") == PARAMETER).select("trial", temperature="number")
    known = pl.col("objective").is_not_null() & (pl.col("state") != "failed")
    return (
        study.trials.filter(known)
        .join(own, on="trial")
        .select("trial", "arm", "state", "temperature", "objective", "chosen")
        .sort("arm", "temperature", "trial")
    )


def curve(
    temperature: Float[np.ndarray, " n"], objective: Float[np.ndarray, " n"], at: Float[np.ndarray, " m"]
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """A parabola in the logarithm of the temperature by least squares, and half the width of its mean's interval.

    Args:
        temperature, objective: of complete trials, six or more.
        at: where the curve is wanted.
    """
    from scipy.stats import t as student

    def design(values: Float[np.ndarray, " k"]) -> Float[np.ndarray, "k 3"]:
        z = np.log(values) - np.log(temperature).mean()
        return np.stack([np.ones_like(z), z, z**2], axis=1)

    x, wanted = design(temperature), design(at)
    inverse = np.linalg.pinv(x.T @ x)
    weights = inverse @ x.T @ objective
    freedom = objective.size - 3
    variance = float(np.square(objective - x @ weights).sum()) / freedom
    error = np.sqrt(variance * np.einsum("mi,ij,mj->m", wanted, inverse, wanted))
    return wanted @ weights, float(student.isf((1 - _LEVEL) / 2, freedom)) * error


def card(study: StudyFrames) -> Card:
    """Trials by temperature, and a curve for arms with enough complete ones."""
    table = frame(study)
    if not table.height:
        why = "no trial of an arm that searches it has a value yet"
        if PARAMETER not in study.record.identity["space"]["parameters"]:
            why = "this study does not search the temperature"
        return absent(KEY, TITLE, f"Does not apply: {why}.")
    counts = {arm: _complete(table, arm).height for arm in study.arms if arm in set(table["arm"])}
    drawn = [arm for arm, count in counts.items() if count >= FEWEST and _varies(_complete(table, arm))]
    best = table.filter(table["chosen"])
    told = ", ".join(f"{arm} at τ = {tau:.3g}" for arm, tau in best.select("arm", "temperature").iter_rows())
    few = ", ".join(f"{arm} ({counts[arm]})" for arm in counts if arm not in drawn)
    note = (
        f"n = {table.height} trials, complete ones filled, pruned ones hollow; one seed a trial. Curve: a parabola in "
        f"log τ through an arm's complete trials with the 95% interval of its mean (t, {FEWEST} trials or more); the "
        "other settings vary with τ, so it shows what goes together, not what causes what. No test."
    )
    return Card(
        KEY, TITLE, f"The chosen settings: {told or 'none yet'}.", table, (draw(table, drawn, study),),
        note + (f" Too few complete trials for a curve: {few}." if few else ""),
        formats={"temperature": ".4f", "objective": ".4f"},
    )  # fmt: skip


def _complete(table: pl.DataFrame, arm: str) -> pl.DataFrame:
    return table.filter((table["arm"] == arm) & (table["state"] == "complete"))


def _varies(table: pl.DataFrame) -> bool:
    """Three temperatures or more, which a parabola needs."""
    return table["temperature"].n_unique() >= 3


def draw(table: pl.DataFrame, drawn: list[str], study: StudyFrames) -> go.Figure:
    """A mark for every trial; for arms with enough of them a curve in its interval."""
    import plotly.graph_objects as go

    figure = canvas(380, "temperature τ", study.objective)
    for arm in dict.fromkeys(table["arm"]):
        style = style_of(arm, study.arms)
        own = table.filter(table["arm"] == arm)
        open_ = [style.symbol if state == "complete" else f"{style.symbol}-open" for state in own["state"]]
        figure.add_trace(go.Scatter(
            x=own["temperature"].to_list(), y=own["objective"].to_list(), name=arm, mode="markers",
            legendgroup=arm, text=[f"trial {n}, {s}" for n, s in own.select("trial", "state").iter_rows()],
            marker={"color": style.colour, "symbol": open_, "size": [13 if c else 8 for c in own["chosen"]]},
            hovertemplate=f"{arm} %{{text}}<br>τ %{{x:.4f}}: %{{y:.4f}}<extra></extra>",
        ))  # fmt: skip
    for arm in drawn:
        _add_curve(figure, _complete(table, arm), arm, study)
    ticks = decades(*ends_of(table["temperature"].to_list()))
    return figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])


def _add_curve(figure: go.Figure, own: pl.DataFrame, arm: str, study: StudyFrames) -> None:
    import plotly.graph_objects as go

    style = style_of(arm, study.arms)
    temperatures = own["temperature"].to_numpy()
    at = np.geomspace(temperatures.min(), temperatures.max(), 40)
    middle, half = curve(temperatures, own["objective"].to_numpy(), at)
    around = [*(middle + half), *(middle - half)[::-1]]
    figure.add_trace(go.Scatter(
        x=[*at, *at[::-1]], y=around, fill="toself", mode="lines", line={"width": 0}, hoverinfo="skip",
        fillcolor=faint(style.colour, 0.14), legendgroup=arm, showlegend=False, meta=DECORATION,
    ))  # fmt: skip
    figure.add_trace(go.Scatter(
        x=list(at), y=list(middle), mode="lines", line={"color": style.colour, "dash": style.dash, "width": 2},
        hoverinfo="skip", legendgroup=arm, showlegend=False, meta=DECORATION,
    ))  # fmt: skip
