"""How each arm was searched: trials, their ends, who proposed them, and the best value after each."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import TYPE_CHECKING

from sdl_study.budget import LIMITS, BudgetSettings
from sdl_study.record.trials import spent_on
from sdl_study.record.warm import WarmStart
from sdl_study.report.page.card import Card, absent
from sdl_study.report.page.drawing import canvas, style_of
from sdl_study.report.page.frames import StudyFrames, counted

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

KEY, TITLE = "search", "How each arm was searched"


def frame(trials: pl.DataFrame) -> pl.DataFrame:
    """One row per trial with a value, in order of asking: arm, search, in_search, objective, best so far."""
    import polars as pl

    return (
        trials.filter(pl.col("objective").is_not_null() & (pl.col("state") != "failed"))
        .sort("arm", "search", "in_search")
        .select("arm", "search", "in_search", "trial", "state", "sampled_by", "objective",
                best=pl.col("objective").cum_max().over("arm", "search"))
    )  # fmt: skip


def card(study: StudyFrames) -> Card:
    """Best so far by trial, and for every arm what its search was."""
    table = frame(study.trials)
    if not table.height:
        return absent(KEY, TITLE, "No trial has a value yet.")
    budget = study.settings["budget"]
    lines = [_line(study, arm) for arm in study.arms]
    counts = Counter(trial.arm for trial in study.record.trials)
    equal = len(set(counts.values())) == 1
    sentence = (
        f"Every arm was given {budget['trials']} trials"
        + (f" in {budget['searches']} independent searches" if budget["searches"] > 1 else "")
        + (
            "."
            if equal
            else "; so far they have had " + ", ".join(f"{a} {n}" for a, n in counts.items()) + "."
        )
    )
    sentence += _limits(study) + _warm(study) + _selected(study)
    note = (
        f"n = {table.height} trials with a value, best {study.objective} over the epochs of each; pruned trials count "
        "up to their rung; one seed a trial; no test."
    )
    return Card(
        KEY, TITLE, sentence, table, (draw(table, study),), note, lines,
        formats={"objective": ".4f", "best": ".4f"},
    )  # fmt: skip


def _limits(study: StudyFrames) -> str:
    """Which limit of time the search has, or was ended by, and what follows from it; nothing without one."""
    budget = BudgetSettings(**study.settings["budget"])
    searches = product(study.arms, range(budget.searches))
    spent = spent_on(study.record.trials, searches, study.record.seconds)
    ended = budget.ended_by(spent)
    if ended not in ("hours", "gpu_hours"):
        return f" Its time is limited too: {spent.words(budget)}." if budget.by_time else ""
    return (
        f" The search was ended by its {LIMITS[ended]} ({spent.words(budget)}): how many trials that were depends on "
        "the machine, and the same command elsewhere may ask more or fewer."
    )


def _warm(study: StudyFrames) -> str:
    """From where every arm's first trials came, beside the published setting."""
    recorded = study.record.identity.get("warm_start")
    if recorded is None:
        return ""
    warm = WarmStart.from_dict(recorded)
    trials = ", ".join(f"{arm} {' '.join(str(p.trial) for p in own)}" for arm, own in warm.points.items())
    same = warm.data_fingerprint == study.record.identity.get("data_fingerprint")
    return (
        f" After the published setting each began with {counted(warm.count, 'setting')} that were best on dev in the "
        f"study {warm.study}{'' if same else ', on other data'} (its trials {trials})."
    )


def _selected(study: StudyFrames) -> str:
    """How the winners are chosen among the best trials; nothing where the best trial is the winner."""
    budget = BudgetSettings(**study.settings["budget"])
    if not budget.selection_seeds:
        return ""
    counts = {} if study.record.dataset is None else study.record.dataset.manifest["counts"]
    if "dev" in counts and budget.uses_folds(counts["dev"]["examples"]):
        return (
            f" The best {budget.selection_top} of a search and the published setting run again on "
            f"{counted(budget.selection_folds, 'further seed')}, each on a fold of train and dev, no example in the "
            "dev of two, and the best mean over the folds, at an epoch that is the same on all of them, chooses."
        )
    return (
        f" The best {budget.selection_top} of a search run again on {counted(budget.selection_seeds, 'further seed')}, "
        "and the mean over all of them chooses."
    )


def _line(study: StudyFrames, arm: str) -> str:
    """An arm's search in words."""
    own = [trial for trial in study.record.trials if trial.arm == arm]
    states = ", ".join(f"{n} {state}" for state, n in Counter(t.state for t in own).most_common())
    by = ", ".join(f"{n} {name}" for name, n in Counter(t.sampled_by for t in own).most_common())
    names = [
        name
        for name, parameter in study.record.identity["space"]["parameters"].items()
        if parameter["arms"] is None or arm in parameter["arms"]
    ]
    seconds = sum(trial.seconds for trial in own)
    return (
        f"{arm}: {len(own)} trials ({states or 'none yet'}), proposed by {by or 'nobody yet'}; {seconds:,.0f} s; "
        f"searched {', '.join(names) or 'nothing'}."
    )


def draw(table: pl.DataFrame, study: StudyFrames) -> go.Figure:
    """The best value after each trial, a step for every arm."""
    import plotly.graph_objects as go

    figure = canvas(320, "trial of the search", f"best {study.objective} so far")
    for (arm, search), own in table.group_by("arm", "search", maintain_order=True):
        style = style_of(str(arm), study.arms)
        figure.add_trace(go.Scatter(
            x=own["in_search"].to_list(), y=own["best"].to_list(), name=str(arm), legendgroup=str(arm),
            showlegend=search == 0, mode="lines+markers",
            line={"color": style.colour, "dash": style.dash, "shape": "hv"},
            marker={"symbol": style.symbol, "color": style.colour, "size": 7},
            text=own["trial"].to_list(), hovertemplate=f"{arm} trial %{{text}}: %{{y:.4f}}<extra></extra>",
        ))  # fmt: skip
    return figure.update_xaxes(dtick=1 if table["in_search"].n_unique() <= 12 else None)
