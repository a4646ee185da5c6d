"""Distributed hyperparameter studies of the Similarity-Dissimilarity loss for multi-label data."""

from __future__ import annotations

import os

__version__ = "0.1.0"

# These libraries read the switches while they are imported, so they must be set before any of them is:
# importing any module of this package sets them, in the driver and in every worker. A user's own value wins.
for _switch, _off in (
    ("MLFLOW_DISABLE_TELEMETRY", "true"),
    ("RAY_USAGE_STATS_ENABLED", "0"),
    ("HF_HUB_DISABLE_TELEMETRY", "1"),
    ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"),  # two lines an ended run, between a study's own
):
    os.environ.setdefault(_switch, _off)
del _switch, _off
