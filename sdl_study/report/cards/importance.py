"""How much of the spread among complete trials each parameter explains, by Optuna's own evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sdl_study.record.trials import TrialRecord
from sdl_study.report.page.card import Card, absent
from sdl_study.report.page.drawing import canvas, style_of
from sdl_study.report.page.frames import StudyFrames

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

KEY, TITLE = "importance", "Importance of parameters"
FEWEST = 8
"""Complete trials of an arm from which importance is told."""


def frame(study: StudyFrames) -> pl.DataFrame:
    """One row per arm and parameter: arm, trials, parameter, importance (the shares of an arm add up to 1)."""
    import polars as pl

    rows = []
    for arm in study.arms:
        complete = [t for t in study.record.trials if t.arm == arm and t.state == "complete"]
        if len(complete) >= FEWEST and len({trial.objective for trial in complete}) > 1:
            shares = _shares(complete, study.record.identity["space"]["parameters"])
            rows += [
                {"arm": arm, "trials": len(complete), "parameter": name, "importance": share}
                for name, share in shares.items()
            ]
    schema = {"arm": str, "trials": int, "parameter": str, "importance": float}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _shares(trials: Sequence[TrialRecord], space: dict[str, Any]) -> dict[str, float]:
    """Optuna's importances of the parameters that all of these trials have, and that take several values."""
    import json

    import optuna
    from optuna.distributions import json_to_distribution

    common = set.intersection(*(set(trial.parameters) for trial in trials))
    names = [n for n in trials[0].parameters if n in common and len({t.parameters[n] for t in trials}) > 1]
    known = {
        name: json_to_distribution(json.dumps(space[name]["distribution"])) for name in names if name in space
    }
    if not known:
        return {}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    study.add_trials([
        optuna.create_trial(
            params={name: trial.parameters[name] for name in known}, distributions=known, value=trial.objective
        )
        for trial in trials
    ])  # fmt: skip
    found = optuna.importance.get_param_importances(study, params=list(known))
    optuna.logging.set_verbosity(verbosity)
    return {name: float(share) for name, share in found.items()}


def card(study: StudyFrames) -> Card:
    """Importances arm by arm; not with few trials, where anything explains everything."""
    table = frame(study)
    if not table.height:
        counts = {
            a: sum(t.arm == a and t.state == "complete" for t in study.record.trials) for a in study.arms
        }
        told = ", ".join(f"{arm} {count}" for arm, count in counts.items())
        return absent(
            KEY, TITLE, f"Does not apply: it needs {FEWEST} complete trials of an arm; there are {told}."
        )
    first = table.sort("importance", descending=True).row(0, named=True)
    trials = ", ".join(
        f"{arm} {n}" for arm, n in table.select("arm", "trials").unique(maintain_order=True).iter_rows()
    )
    note = (
        f"n = complete trials: {trials}; one seed a trial. Optuna's default evaluator, PED-ANOVA (Watanabe et al. "
        "2023), on parameters that all complete trials of the arm have; pruned trials are left out; no interval, no "
        "test."
    )
    share = f"{first['importance']:.0%}"
    sentence = f"{first['parameter']} explains most among the complete trials of {first['arm']} ({share})."
    return Card(KEY, TITLE, sentence, table, (draw(table, study),), note, formats={"importance": ".3f"})


def draw(table: pl.DataFrame, study: StudyFrames) -> go.Figure:
    """Bars by parameter, one colour an arm."""
    import plotly.graph_objects as go

    height = 110 + 22 * table.height
    figure = canvas(height, "share of the explained spread", "", barmode="group", bargap=0.25)
    for arm in dict.fromkeys(table["arm"]):
        own = table.filter(table["arm"] == arm).sort("importance")
        figure.add_trace(go.Bar(
            x=own["importance"].to_list(), y=own["parameter"].to_list(), orientation="h", name=arm,
            marker={"color": style_of(arm, study.arms).colour},
            hovertemplate=f"{arm} %{{y}}: %{{x:.3f}}<extra></extra>",
        ))  # fmt: skip
    return figure.update_yaxes(type="category")
