"""MLflow: the study as a parent run, its trials and finals as child runs. The only room that imports mlflow."""

from __future__ import annotations

from sdl_study.tracking.database import check_database
from sdl_study.tracking.runs import FinalRun, Tracker, TrialRun

__all__ = ["FinalRun", "Tracker", "TrialRun", "check_database"]
