"""The mix of label relations in the batches that trials recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdl_study.record.batches import mix_of_batches
from sdl_study.record.relations import RELATIONS
from sdl_study.report.names import LEAST_COUNT
from sdl_study.report.page.card import Card, absent
from sdl_study.report.page.drawing import MUTED, canvas
from sdl_study.report.page.frames import StudyFrames

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

KEY, TITLE = "relations", "Relations of labels within batches"


def card(study: StudyFrames) -> Card:
    """Shares of the five relations among ordered pairs of a batch's rows."""
    dataset = study.record.dataset
    if not study.settings["train"]["record_batches"]:
        return absent(
            KEY, TITLE, "Does not apply: batches were not recorded; --set train.record_batches=True does."
        )
    if dataset is None:
        return absent(KEY, TITLE, "Does not apply: the prepared data set is not where the study read it.")
    table = mix_of_batches(
        study.record.files, [trial.number for trial in study.record.trials], dataset.folder
    )
    if table is None:
        return absent(KEY, TITLE, "Does not apply: no trial has recorded a batch yet.")
    if study.restricted and min(table["pairs"].to_list()) < LEAST_COUNT:
        return absent(KEY, TITLE, "Not shown: a relation has fewer than 10 pairs (restricted data).")
    batches, pairs = int(table["batches"][0]), int(table["pairs"].sum())
    shared = float(table.filter(table["relation"] != RELATIONS[0])["share"].sum())
    note = (
        f"n = {batches:,} batches of the first trial that recorded them, {pairs:,} ordered pairs; ends of the lines: "
        "the middle 95% of batches; no test."
    )
    return Card(
        KEY, TITLE, f"{shared:.1%} of the pairs in a batch share a label.", table, (draw(table),), note,
        formats={"share": ".4f", "low": ".4f", "high": ".4f"},
    )  # fmt: skip


def draw(table: pl.DataFrame) -> go.Figure:
    """A bar for every relation."""
    import plotly.graph_objects as go

    figure = canvas(280, "share of pairs", "", showlegend=False)
    up, down = (table["high"] - table["share"]).to_list(), (table["share"] - table["low"]).to_list()
    figure.add_trace(go.Bar(
        x=table["share"].to_list(), y=table["relation"].to_list(), orientation="h", marker={"color": "#0072b2"},
        error_x={"type": "data", "array": up, "arrayminus": down, "symmetric": False, "color": MUTED},
        hovertemplate="%{y}: %{x:.2%}<extra></extra>",
    ))  # fmt: skip
    return figure.update_xaxes(tickformat=".0%").update_yaxes(type="category", autorange="reversed")
