"""MLflow: the study as a parent run, its trials and finals as child runs. The only room that imports mlflow."""

from __future__ import annotations

from sdl_study.tracking.context import DatasetContext, RunContext
from sdl_study.tracking.database import check_database
from sdl_study.tracking.entries import FinalRun, TrialRun
from sdl_study.tracking.experiment import Owner
from sdl_study.tracking.failures import TRACKING_ERRORS, error_name
from sdl_study.tracking.runs import STATUS, Tracker
from sdl_study.tracking.seen import SeenRun, runs_seen
from sdl_study.tracking.views import View, Views, leaderboard, parallel

__all__ = [
    "STATUS",
    "TRACKING_ERRORS",
    "DatasetContext",
    "FinalRun",
    "Owner",
    "RunContext",
    "SeenRun",
    "Tracker",
    "TrialRun",
    "View",
    "Views",
    "check_database",
    "error_name",
    "leaderboard",
    "parallel",
    "runs_seen",
]
