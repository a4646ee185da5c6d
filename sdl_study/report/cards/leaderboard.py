"""The arms and controls side by side, with the settings that won."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sdl_study.report.page.card import Card
from sdl_study.report.page.drawing import MUTED, canvas, style_of
from sdl_study.report.page.frames import StudyFrames, counted
from sdl_study.report.sentences import other_sentence

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

KEY, TITLE = "leaderboard", "Leaderboard"
_SCHEMA = {
    "arm": str, "role": str, "value": float, "test": float, "±": float, "dev": float, "dev of finals": float,
    "trial": str, "setting": str, "seconds": float,
}  # fmt: skip
_FORMATS = dict.fromkeys(("value", "test", "±", "dev", "dev of finals"), ".4f") | {"seconds": ",.0f"}


def frame(study: StudyFrames) -> pl.DataFrame:
    """One row per arm and control, best first; before there is an answer one per arm, by dev."""
    import polars as pl

    rows = _of_trials(study) if study.record.answer is None else _of_answer(study)
    table = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
    return table.sort("value", descending=True, nulls_last=True)


def _of_answer(study: StudyFrames) -> list[dict[str, Any]]:
    answer, declaration = study.record.answer, study.record.declaration
    assert answer is not None
    assert declaration is not None
    rows = []
    for row in answer.table:
        winners = [winner for winner in declaration.winners if winner.arm == row.name]
        rows.append({
            "arm": row.name, "role": "arm" if row.role == "final" else "control",
            "value": row.test, "test": row.test, "±": row.spread, "dev": row.dev,
            "dev of finals": row.dev_of_finals, "trial": ", ".join(str(w.trial) for w in winners) or None,
            "setting": setting(declaration.winner(row.name).parameters) if winners else row.encoder,
            "seconds": row.seconds,
        })  # fmt: skip
    return rows


def _of_trials(study: StudyFrames) -> list[dict[str, Any]]:
    return [
        {
            "arm": trial.arm, "role": "arm", "value": trial.objective, "test": None, "±": None,
            "dev": trial.objective, "dev of finals": None, "trial": str(trial.number),
            "setting": setting(trial.parameters), "seconds": trial.seconds,
        }
        for trial in study.record.trials
        if trial.number in study.chosen
    ]  # fmt: skip


def setting(parameters: Mapping[str, Any]) -> str:
    """Searched parameters in few words: ``loss.temperature=0.07, model.encoder=conv``."""
    words = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in parameters.values())
    return ", ".join(f"{name}={word}" for name, word in zip(parameters, words, strict=True))


def card(study: StudyFrames) -> Card:
    """The table that is printed at the end of a study, with every winner's parameters."""
    table = frame(study)
    if not table.height:
        return Card(KEY, TITLE, "No trial has a value yet.", applies=False)
    answer = study.record.answer
    shown = (
        table.drop("value")
        if answer is not None
        else table.select("arm", "trial", "dev", "setting", "seconds")
    )
    best = table.row(0, named=True)
    if answer is None:
        sentence = (
            f"By dev, so far, {best['arm']} is best ({best['value']:.4f}); test inputs are not scored yet."
        )
        note = f"n = {table.height} arms; the best trial of each so far on {study.objective}; no test."
    else:
        sentence = f"On test, {best['arm']} has the highest {answer.metric}: {_number(best['test'])}."
        seeds = study.record.declaration.final_seeds * answer.searches if study.record.declaration else 0
        note = (
            f"n = {table.height} arms and controls; mean over {counted(seeds, 'final seed')}, ± one standard deviation "
            "of the finals; no test here: the answer above has the contrasts. Dev is that of the chosen trial, the "
            "best of many, and so too high; dev of finals is not."
        )
    lines = [] if answer is None else [other_sentence(answer, other) for other in answer.others]
    return Card(
        KEY, TITLE, sentence, shown, (draw(table, study),), note, lines, formats=_FORMATS, table=True,
    )  # fmt: skip


def _number(value: float | None) -> str:
    return "no value (a final failed)" if value is None else f"{value:.4f}"


def draw(table: pl.DataFrame, study: StudyFrames) -> go.Figure:
    """A point for every arm and control, the best uppermost."""
    import plotly.graph_objects as go

    answer = study.record.answer
    name = study.objective if answer is None else f"test {answer.metric}"
    ordered = table.reverse()
    styles = [style_of(arm, study.arms) for arm in ordered["arm"]]
    spread = ordered["±"].to_list()
    figure = canvas(80 + 32 * table.height, name, "", showlegend=False)
    figure.add_trace(go.Scatter(
        x=ordered["value"].to_list(), y=ordered["arm"].to_list(), mode="markers",
        marker={"color": [s.colour for s in styles], "symbol": [s.symbol for s in styles], "size": 11},
        error_x={"type": "data", "array": spread, "color": MUTED, "thickness": 2, "width": 0},
        text=ordered["setting"].to_list(), hovertemplate="%{y}: %{x:.4f}<br>%{text}<extra></extra>",
    ))  # fmt: skip
    return figure.update_yaxes(type="category")
