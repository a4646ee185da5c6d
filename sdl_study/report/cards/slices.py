"""Slices: the objective against every searched parameter, one small figure each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdl_study.report.page.card import Card, absent
from sdl_study.report.page.drawing import canvas, decades, ends_of, style_of
from sdl_study.report.page.frames import StudyFrames

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

KEY, TITLE = "slices", "Slices"


def frame(study: StudyFrames) -> pl.DataFrame:
    """One row per trial and parameter: trial, arm, state, parameter, number, word, objective, chosen."""
    import polars as pl

    known = pl.col("objective").is_not_null() & (pl.col("state") != "failed")
    trials = study.trials.filter(known).select("trial", "arm", "state", "objective", "chosen")
    return study.parameters.join(trials, on="trial").sort("parameter", "arm", "trial")


def card(study: StudyFrames) -> Card:
    """A figure for every parameter that took several values."""
    import polars as pl

    table = frame(study)
    several = (
        table.group_by("parameter")
        .agg(pl.col("word").n_unique().alias("values"))
        .filter(pl.col("values") > 1)
    )
    table = table.filter(pl.col("parameter").is_in(several["parameter"].to_list()))
    if not table.height:
        return absent(KEY, TITLE, "Does not apply: no parameter took two values among trials with a value.")
    names = [n for n in study.record.identity["space"]["parameters"] if n in set(table["parameter"])]
    figures = [draw(table.filter(pl.col("parameter") == name), study) for name in names]
    table = table.filter(pl.col("parameter").is_in(names))
    note = (
        f"n = {table['trial'].n_unique()} trials with a value, complete ones filled, pruned ones hollow; one seed a "
        f"trial; {study.objective}; the other parameters vary too; no test."
    )
    return Card(
        KEY, TITLE, f"{len(names)} parameters took several values; each is shown against the objective.", table,
        figures,
        note, formats={"number": ".4g", "objective": ".4f"},
    )  # fmt: skip


def draw(own: pl.DataFrame, study: StudyFrames) -> go.Figure:
    """Marks of one parameter, by arm."""
    import plotly.graph_objects as go

    name = own["parameter"][0]
    attributes = study.record.identity["space"]["parameters"][name]["distribution"]["attributes"]
    words = "choices" in attributes
    figure = canvas(230, name, study.objective, showlegend=False)
    for (arm,), part in own.group_by("arm", maintain_order=True):
        style = style_of(str(arm), study.arms)
        symbols = [style.symbol if state == "complete" else f"{style.symbol}-open" for state in part["state"]]
        figure.add_trace(go.Scatter(
            x=part["word" if words else "number"].to_list(), y=part["objective"].to_list(), name=str(arm),
            mode="markers", marker={"color": style.colour, "symbol": symbols,
                                    "size": [11 if c else 7 for c in part["chosen"]]},
            text=part["trial"].to_list(), hovertemplate=f"{arm} trial %{{text}}<br>%{{x}}: %{{y:.4f}}<extra></extra>",
        ))  # fmt: skip
    if words:
        return figure.update_xaxes(type="category", categoryarray=[str(c) for c in attributes["choices"]])
    if not attributes.get("log"):
        return figure.update_xaxes(nticks=6)
    ticks = decades(*ends_of(own["number"].to_list()))
    return figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
