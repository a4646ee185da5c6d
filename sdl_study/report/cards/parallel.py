"""Parallel coordinates: every trial as a line through its parameters to its objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from sdl_study.report.page.card import Card, absent
from sdl_study.report.page.drawing import canvas, ends_of, style_of, with_gaps
from sdl_study.report.page.frames import StudyFrames

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

KEY, TITLE = "parallel", "Parallel coordinates"
_OBJECTIVE = "objective"


def frame(study: StudyFrames) -> pl.DataFrame:
    """One row per trial and axis that it has: trial, arm, axis, word, place (0 to 1 on the axis), chosen.

    Numbers stand by value, by its logarithm where the search's range is one; words evenly, in the order of choices.
    """
    import polars as pl

    known = pl.col("objective").is_not_null() & (pl.col("state") != "failed")
    trials = study.trials.filter(known).select("trial", "arm", "objective", "chosen")
    values = study.parameters.join(trials.drop("objective"), on="trial")
    scales = study.record.identity["space"]["parameters"]
    parts = [
        own.with_columns(place=_places(own, scales.get(str(name), {}).get("distribution", {})))
        for (name,), own in values.group_by("parameter", maintain_order=True)
    ]
    numbers = trials["objective"]
    low, high = ends_of(numbers.to_list() or [0.0])
    last = trials.select(
        "trial", "arm", "chosen", parameter=pl.lit(_OBJECTIVE),
        word=pl.col("objective").round(4).cast(pl.String),
        place=(pl.col("objective") - low) / (high - low) if high > low else pl.lit(0.5),
    )  # fmt: skip
    columns = ("trial", "arm", "parameter", "word", "place", "chosen")
    table = pl.concat([part.select(columns) for part in [*parts, last]], how="vertical_relaxed")
    order = {name: at for at, name in enumerate([*scales, _OBJECTIVE])}
    at = pl.col("parameter").replace_strict(order, default=-1, return_dtype=pl.Int64)
    return table.sort("chosen", "arm", "trial", at).rename({"parameter": "axis"})


def _places(own: pl.DataFrame, distribution: Mapping[str, object]) -> pl.Series:
    """Places of an axis' values, from 0 to 1."""
    import polars as pl

    attributes = distribution.get("attributes", {})
    assert isinstance(attributes, Mapping)
    if (choices := attributes.get("choices")) is not None:
        words = [str(choice) for choice in choices]
        at = [words.index(word) / max(1, len(words) - 1) if word in words else 0.5 for word in own["word"]]
        return pl.Series(at, dtype=pl.Float64)
    ends = np.array(
        [attributes.get("low", own["number"].min()), attributes.get("high", own["number"].max())], float
    )
    values = own["number"].to_numpy().astype(float)
    if attributes.get("log"):
        ends, values = np.log(ends), np.log(values)
    width = ends[1] - ends[0]
    return pl.Series((values - ends[0]) / width if width else np.full(values.size, 0.5), dtype=pl.Float64)


def card(study: StudyFrames) -> Card:
    """All trials with a value as lines; the chosen ones strong."""
    table = frame(study)
    trials = table["trial"].n_unique()
    if trials < 2:
        return absent(KEY, TITLE, f"Does not apply: it needs two trials with a value; there are {trials}.")
    axes = list(dict.fromkeys(table["axis"].to_list()))
    note = (
        f"n = {trials} trials, {len(axes)} axes from the lower to the upper end of what was searched (logarithmic "
        f"where the search is); a trial without a parameter has no mark there. Objective: {study.objective}; no test."
    )
    return Card(
        KEY, TITLE, "Lines that end high on the right are good settings; those that stand for their arms are strong.",
        table, (draw(table, study),), note, formats={"place": ".3f"},
    )  # fmt: skip


def draw(table: pl.DataFrame, study: StudyFrames) -> go.Figure:
    """Lines from left to right, the objective last."""
    import plotly.graph_objects as go

    order = [*study.record.identity["space"]["parameters"], _OBJECTIVE]
    axes = sorted(dict.fromkeys(table["axis"].to_list()), key=order.index)
    figure = canvas(430, "", "")
    for (chosen, arm), own in table.group_by("chosen", "arm", maintain_order=True):
        style = style_of(str(arm), study.arms)
        words = [f"{axis} = {word}" for axis, word in own.select("axis", "word").iter_rows()]
        trials = own["trial"].to_list()
        at = [axes.index(axis) for axis in own["axis"]]
        x, y, text = with_gaps([at, own["place"].to_list(), words], trials)
        figure.add_trace(go.Scatter(
            x=x, y=y, text=text, name=str(arm), legendgroup=str(arm), mode="lines+markers",
            showlegend=bool(chosen), opacity=1.0 if chosen else 0.4,
            line={"color": style.colour, "width": 3 if chosen else 1, "dash": style.dash if chosen else "solid"},
            marker={"color": style.colour, "symbol": style.symbol, "size": 8 if chosen else 4},
            hovertemplate=f"{arm}: %{{text}}<extra></extra>",
        ))  # fmt: skip
    figure.update_xaxes(tickvals=list(range(len(axes))), ticktext=_short(axes), tickangle=-45)
    return figure.update_yaxes(tickvals=[0, 1], ticktext=["low", "high"])


def _short(axes: list[str]) -> list[str]:
    """The last word of every dotted path, the last two where another path ends as it does."""
    last = [axis.rpartition(".")[2] for axis in axes]
    return [
        word if last.count(word) == 1 else ".".join(axis.split(".")[-2:])
        for axis, word in zip(axes, last, strict=True)
    ]
