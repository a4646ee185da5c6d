"""What MLflow's client raises when its server or database does not take something, and for how long it tries.

Left to itself it asks a server that is away for minutes, at every epoch; trials would wait.
"""

from __future__ import annotations

import os

from mlflow.exceptions import MlflowException
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

TRACKING_ERRORS = (MlflowException, SQLAlchemyError, RequestException)
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}

for _name, _value in _PATIENCE.items():
    os.environ.setdefault(_name, _value)  # the user's own counts


def error_name(error: BaseException) -> str:
    """An error in a word; its text may quote what was written."""
    return error.error_code if isinstance(error, MlflowException) else type(error).__name__
