"""Label by label: average precision on test against the number of training examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdl_study.report.names import LEAST_COUNT
from sdl_study.report.page.card import Card, absent
from sdl_study.report.page.drawing import canvas, decades, ends_of, style_of
from sdl_study.report.page.frames import StudyFrames, counted

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

KEY, TITLE = "labels", "Label by label"


def frame(study: StudyFrames) -> pl.DataFrame:
    """One row per label and compared arm: code, name, band, train_count, positives on test, mean F1 and AP.

    Only labels whose average precision is defined; of restricted data only those with ten positives on test and ten
    training examples, since single results of rarer labels tell of single patients.
    """
    import polars as pl

    assert study.labels is not None
    parts = []
    for arm in study.compared:
        finals = study.of_arm(arm)
        if not finals:
            continue
        values = {
            name: np.mean([f.details.labels[name].cast(pl.Float64).to_numpy() for f in finals], axis=0)
            for name in ("f1", "average_precision")
        }
        positives = finals[0].details.labels["positives"]
        own = study.labels.with_columns(
            positives=positives, arm=pl.lit(arm), **{n: pl.Series(v) for n, v in values.items()}
        )
        parts.append(own.filter(pl.col("average_precision").is_not_nan()))
    columns = ("arm", "code", "name", "band", "train_count", "positives", "f1", "average_precision")
    table = pl.concat(parts).select(columns)
    if study.restricted:
        table = table.filter((pl.col("positives") >= LEAST_COUNT) & (pl.col("train_count") >= LEAST_COUNT))
    return table.sort("arm", "train_count", descending=[False, True])


def card(study: StudyFrames) -> Card:
    """The compared arms, a mark for every label."""
    if (why := study.why_no_test()) is not None:
        return absent(KEY, TITLE, why)
    table = frame(study)
    if not table.height:
        return absent(KEY, TITLE, "Does not apply: no label has enough positives on test.")
    arms = list(dict.fromkeys(table["arm"]))
    shown = table.height // len(arms)
    hidden = (
        " Labels with fewer than 10 examples in train or test are left out (restricted data)."
        if study.restricted
        else ""
    )
    note = (
        f"n = {shown:,} labels with a positive on test, of {study.labels.height if study.labels is not None else 0:,}; "
        f"{counted(len(study.of_arm(arms[0])), 'seed')}, mean over them; no interval and no test label by label."
        f"{hidden}"
    )
    return Card(
        KEY, TITLE, _sentence(table, arms), table, (draw(table, study),), note,
        formats={"f1": ".4f", "average_precision": ".4f"},
    )  # fmt: skip


def _sentence(table: pl.DataFrame, arms: list[str]) -> str:
    if len(arms) < 2:
        return f"Average precision of {arms[0]} for every label."
    first, second = (table.filter(table["arm"] == arm).select("code", "average_precision") for arm in arms)
    both = first.join(second, on="code")
    wins = int((both["average_precision"] > both["average_precision_right"]).sum())
    return (
        f"{arms[0]} has the higher average precision on {wins:,} of {both.height:,} labels; on the others "
        f"{arms[1]} has, or they are equal."
    )


def draw(table: pl.DataFrame, study: StudyFrames) -> go.Figure:
    """Frequent labels on the right."""
    import plotly.graph_objects as go

    figure = canvas(360, "training examples of the label", "average precision on test")
    for (arm,), own in table.group_by("arm", maintain_order=True):
        style = style_of(str(arm), study.arms)
        figure.add_trace(go.Scatter(
            x=[max(1, count) for count in own["train_count"]], y=own["average_precision"].round(5).to_list(),
            name=str(arm), mode="markers",
            marker={"color": style.colour, "symbol": style.symbol, "size": 6, "opacity": 0.7},
            text=own["code"].to_list(), hovertemplate=f"{arm} %{{text}}: %{{y:.4f}}<extra></extra>",
        ))  # fmt: skip
    ticks = decades(*ends_of([max(1, count) for count in table["train_count"]]))
    if len(ticks) < 3:  # labels of much the same frequency
        return figure
    return figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
