"""Learning curves: the value on dev after every epoch of every trial."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdl_study.report.page.card import Card, absent
from sdl_study.report.page.drawing import canvas, style_of, with_gaps
from sdl_study.report.page.frames import StudyFrames
from sdl_study.report.sentences import convergence_sentence

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

KEY, TITLE = "curves", "Learning curves"


def frame(epochs: pl.DataFrame) -> pl.DataFrame:
    """One row per trial and epoch with a value, the chosen trials last, so that they are drawn on top."""
    import polars as pl

    return epochs.filter(pl.col("value").is_not_null()).sort("chosen", "arm", "trial", "epoch")


def card(study: StudyFrames) -> Card:
    """Every trial's curve, the chosen ones strong; whether they had converged."""
    table = frame(study.epochs)
    if not table.height:
        return absent(KEY, TITLE, "No trial has finished an epoch yet.")
    answer = study.record.answer
    ends = [] if answer is None else [convergence_sentence(row) for row in answer.table]
    trials = table["trial"].n_unique()
    rising = () if answer is None else answer.rising
    sentence = f"{trials} trials ran {table.height:,} epochs"
    sentence += f"; still rising at their end: {', '.join(rising)}." if rising else "."
    note = (
        f"n = {trials} trials, one seed each; {study.objective} after every epoch, the trials that stand for their "
        "arms with marks; rungs of ASHA end the others. Rising: dev over the last quarter against its error; no test."
    )
    return Card(
        KEY, TITLE, sentence, table.drop("collapse", "effective_rank"), (draw(table, study),), note,
        [line for line in ends if line is not None], formats={"value": ".4f", "loss": ".4f", "seconds": ".2f"},
    )  # fmt: skip


def draw(table: pl.DataFrame, study: StudyFrames) -> go.Figure:
    """Two traces an arm: its other trials as thin lines, its chosen ones with marks."""
    import plotly.graph_objects as go

    figure = canvas(380, "epoch", study.objective)
    few = table["trial"].n_unique() <= 100
    for (chosen, arm), own in table.group_by("chosen", "arm", maintain_order=True):
        style = style_of(str(arm), study.arms)
        trials = own["trial"].to_list()
        x, y, names = with_gaps([own["epoch"].to_list(), own["value"].to_list(), trials], trials)
        figure.add_trace(go.Scatter(
            x=x, y=y, name=str(arm), legendgroup=str(arm), showlegend=bool(chosen), text=names,
            mode="lines+markers" if chosen else "lines", opacity=1.0 if chosen else 0.45 if few else 0.2,
            line={"color": style.colour, "dash": style.dash if chosen else "solid", "width": 2.5 if chosen else 1},
            marker={"symbol": style.symbol, "color": style.colour, "size": 7},
            hovertemplate=f"{arm} trial %{{text}}, epoch %{{x}}: %{{y:.4f}}<extra></extra>",
        ))  # fmt: skip
    return figure.update_xaxes(dtick=1 if table["epoch"].n_unique() <= 12 else None)
