"""Which views of a study's trials MLflow saves, and where they open."""

from __future__ import annotations

from sdl_study.arms import Arm
from sdl_study.errors import without_password
from sdl_study.space import SearchSpace
from sdl_study.study.publish import logarithm_of
from sdl_study.tracking import View, Views, leaderboard, parallel

_OBJECTIVE = "objective"
_SHOWN = ("loss.temperature", "train.learning_rate", "model.encoder")
_OWN_INTERFACE = "http://127.0.0.1:5000"
"""Where ``mlflow ui`` answers."""


def views_of(space: SearchSpace, arms: tuple[Arm, ...]) -> list[View]:
    """A leaderboard of trials, and parallel coordinates from the arm over its main parameters to the objective.

    A chart leaves out trials that lack one of its parameters: where arms differ in these, there is one for each set.

    Args:
        space: of the study.
        arms: of the study.
    """
    sets = {tuple(p.name for p in space.of_arm(arm.name) if p.name in _SHOWN and not p.when) for arm in arms}
    charts = [["arm", *(logarithm_of(name) or name for name in _SHOWN if name in names)] for names in sets]
    charts.sort(key=lambda axes: (-len(axes), axes))
    searched = [name for name in _SHOWN if any(name in names for names in sets)]
    return [leaderboard(_OBJECTIVE, ["arm", *searched]), parallel(_OBJECTIVE, charts)]


def links_of(views: Views, wanted: list[View], tracking_uri: str | None) -> list[str]:
    """Where MLflow's interface shows the runs and the views, a line each; why not, where it does not.

    Args:
        views: of the study.
        wanted: that it should have.
        tracking_uri: MLflow server; None means the database beside the study, shown by ``mlflow ui``.
    """
    served = tracking_uri is not None and tracking_uri.startswith(("http://", "https://"))
    address = without_password(str(tracking_uri)).rstrip("/") if served else _OWN_INTERFACE
    lines = [f"{name}: {address}/{link}" for name, link in views.links(wanted).items()]
    if not views.known:
        lines.append(
            f"views: MLflow {views.version or 'of this server'} is not one whose way of storing them is known; left out"
        )
    return lines
