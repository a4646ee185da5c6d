"""Macro-F1 of head, medium and tail labels, with intervals over patients and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sdl_study.evaluation.tables import BANDS, band_table
from sdl_study.evaluation.verdict import Interval, UndefinedMetricError, holm, paired_interval
from sdl_study.report.names import LEAST_COUNT
from sdl_study.report.page.card import Card, absent
from sdl_study.report.page.drawing import MUTED, canvas, style_of
from sdl_study.report.page.frames import ScoredFinal, StudyFrames, counted

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl
    from jaxtyping import Float

KEY, TITLE = "bands", "Head, medium and tail"
_SCHEMA = {
    "arm": str, "band": str, "labels": int, "positives": str, "macro_f1": float, "low": float, "high": float,
    "micro_f1": float, "macro_auc": float, "map": float,
}  # fmt: skip


def frame(study: StudyFrames) -> pl.DataFrame:
    """One row per arm and band: how many labels, test positives, macro-F1 with its interval, other means."""
    import polars as pl

    assert study.labels is not None
    bands = study.labels["band"].to_list()
    rows: list[dict[str, Any]] = []
    for arm in study.arms:
        finals = study.of_arm(arm)
        if not finals:
            continue
        tables = [band_table(final.details.labels, bands) for final in finals]
        for place, band in enumerate(finals[0].details.bands):
            if band not in told_bands(study):
                continue
            low, high = _ends(np.stack([final.details.macro_f1[place] for final in finals]), finals, study)
            own = pl.concat([table.filter(pl.col("band") == band) for table in tables])
            means = {name: own[name].mean() for name in ("macro_f1", "micro_f1", "macro_auc", "map")}
            rows.append({
                "arm": arm, "band": band, "labels": own["labels"][0], "positives": study.shown(own["positives"][0]),
                "low": low, "high": high, **means,
            })  # fmt: skip
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def told_bands(study: StudyFrames) -> list[str]:
    """The bands that are told: of restricted data not one with fewer than ten positives on test."""
    assert study.labels is not None
    positives = study.scored[0].details.labels["positives"].to_numpy()
    band = study.labels["band"].to_numpy()
    names = study.scored[0].details.bands
    return [name for name in names if not study.restricted or positives[band == name].sum() >= LEAST_COUNT]


def _ends(
    values: Float[np.ndarray, "k values"], finals: Sequence[ScoredFinal], study: StudyFrames
) -> tuple[float | None, float | None]:
    """Ends of the 95% interval of a mean over finals; of one final over patients alone."""
    if len(values) == 1:
        return _over_patients(values[0], finals[0].details.groups)
    interval = interval_of(values, finals, study)
    return (None, None) if interval is None else (interval.low, interval.high)


def _over_patients(values: Float[np.ndarray, " values"], groups: int) -> tuple[float | None, float | None]:
    from scipy.stats import t as student

    if groups < 2 or not np.isfinite(values).all():
        return None, None
    error = float(values[1:].std(ddof=1)) * float(np.sqrt(groups / (groups - 1)))
    half = float(student.isf(0.025, groups - 1)) * error
    return float(values[0]) - half, float(values[0]) + half


def interval_of(
    values: Float[np.ndarray, "k values"], finals: Sequence[ScoredFinal], study: StudyFrames
) -> Interval | None:
    """The interval of a mean over finals, over searches (or seeds) and patients; None with one of them.

    Args:
        values: of each final, over the test inputs and then over the replicates.
        finals: in the same order.
        study: says how many searches they come from.
    """
    searches = study.settings["budget"]["searches"]
    if searches > 1 and len(finals) % searches == 0:
        values = values.reshape(searches, len(finals) // searches, -1).mean(axis=1)
    if len(values) < 2:
        return None
    try:
        return paired_interval(values[:, 0], values[:, 1:].T, finals[0].details.groups)
    except UndefinedMetricError:
        return None


def differences(study: StudyFrames) -> list[str]:
    """The declared contrast band by band in sentences, Holm-corrected over the bands."""
    record = study.record
    if len(study.compared) < 2 or record.answer is None or record.answer.exploratory:
        return []
    first, second = (study.of_arm(arm) for arm in study.compared[:2])
    if not first or len(first) != len(second):
        return []
    told = told_bands(study)
    names = [band for band in first[0].details.bands if band in told]
    places = [first[0].details.bands.index(band) for band in names]
    values = [
        np.stack(
            [a.details.macro_f1[at] - b.details.macro_f1[at] for a, b in zip(first, second, strict=True)]
        )
        for at in places
    ]
    intervals = [interval_of(value, first, study) for value in values]
    known = [interval for interval in intervals if interval is not None]
    adjusted = iter(holm([interval.p_value for interval in known]))
    return [
        _sentence(band, study.compared, float(value[:, 0].mean()), interval, adjusted)
        for band, value, interval in zip(names, values, intervals, strict=True)
    ]


def _sentence(
    band: str, arms: Sequence[str], difference: float, interval: Interval | None, adjusted: Any
) -> str:
    head = f"{band}: {arms[0]} − {arms[1]} {difference:+.4f} macro-F1"
    if interval is None:
        return f"{head}; no interval and no test (one seed, or nothing varies)"
    return f"{head} [{interval.low:+.4f}, {interval.high:+.4f}], p = {next(adjusted):.3g} after Holm over the bands"


def card(study: StudyFrames) -> Card:
    """Arms by band, and the declared contrast in each."""
    if (why := study.why_no_test()) is not None:
        return absent(KEY, TITLE, why)
    table = frame(study)
    some = study.scored[0].details
    seeds = max(len(study.of_arm(arm)) for arm in study.arms)
    present = [band for band in BANDS if band in told_bands(study)]
    if not present:
        return absent(KEY, TITLE, "Not shown: no band has ten positives on test (restricted data).")
    interval = (
        "95% intervals over seeds and groups (bootstrap), as of the verdict"
        if seeds > 1
        else "95% intervals over groups alone (bootstrap): one seed says nothing of how much seeds vary"
    )
    note = (
        f"n = {study.shown(some.documents)} test inputs in {study.shown(some.groups)} groups, "
        f"{counted(seeds, 'seed')}; macro-F1 at the threshold chosen on dev, mean over seeds; {interval}. "
        "Bands by training examples: head from 100, medium from 10, tail below. Differences: t with Cochran and Cox's "
        "quantile, Holm over the bands; secondary, beside the verdict."
    )
    hidden = (
        " A band with fewer than 10 positives is left out (restricted data)."
        if len(present) < len(some.bands)
        else ""
    )
    sentence = f"The labels fall into {len(some.bands)} of the three bands: {', '.join(some.bands)}.{hidden}"
    return Card(
        KEY, TITLE, sentence, table, (draw(table, study),), note, differences(study),
        formats=dict.fromkeys(("macro_f1", "low", "high", "micro_f1", "macro_auc", "map"), ".4f"), table=True,
    )  # fmt: skip


def draw(table: pl.DataFrame, study: StudyFrames) -> go.Figure:
    """Marks side by side within each band."""
    import plotly.graph_objects as go

    figure = canvas(340, "", "macro-F1 on test", scattermode="group", scattergap=0.5)
    for (arm,), own in table.group_by("arm", maintain_order=True):
        style = style_of(str(arm), study.arms)
        up = (own["high"] - own["macro_f1"]).to_list()
        down = (own["macro_f1"] - own["low"]).to_list()
        figure.add_trace(go.Scatter(
            x=own["band"].to_list(), y=own["macro_f1"].to_list(), name=str(arm), mode="markers",
            marker={"color": style.colour, "symbol": style.symbol, "size": 11},
            error_y={"type": "data", "array": up, "arrayminus": down, "symmetric": False, "color": MUTED, "width": 5},
            hovertemplate=f"{arm}, %{{x}}: %{{y:.4f}}<extra></extra>",
        ))  # fmt: skip
    return figure.update_xaxes(type="category", categoryarray=list(BANDS))
