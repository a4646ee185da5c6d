"""Saved views of an experiment's runs, as MLflow's interface stores and reads them, and the links that open them.

A view is a tag of the experiment, ``mlflow.sharedViewState.KEY``, with the state of the page of runs as JSON: filter,
order, columns, charts. To 3.14 the tag is that state; from 3.15 on it is in an envelope with name and times. Read from
the scripts of MLflow 3.13 to 3.17; what other versions do is not known.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from requests import RequestException

_TAG = "mlflow.sharedViewState."
_BARE = ("3.13", "3.14")
_IN_ENVELOPE = ("3.15", "3.16", "3.17")
_ANSWER_SECONDS = 10.0
_CHART_PIXELS = 480
_TRAINING = "workflowType=machine_learning"
"""In a link: without it MLflow opens an experiment in the workflow that the browser saw last, GenAI at first."""


@dataclass(frozen=True)
class View:
    """A view of the page of runs.

    Attributes:
        key: in the tag and in links.
        name: in MLflow's list of views.
        mode: what of the page is opened; the state does not tell.
        state: of the page, under MLflow's own names.
    """

    key: str
    name: str
    mode: Literal["TABLE", "CHART"]
    state: Mapping[str, Any]


def leaderboard(metric: str, parameters: Sequence[str]) -> View:
    """Trials as a table, best first.

    Args:
        metric: larger is better.
        parameters: columns beside it.
    """
    columns = [_column("metrics", metric), *(_column("params", name) for name in parameters)]
    columns += [
        _column("metrics", "best/epoch"),
        _column("metrics", "seconds_total"),
        _column("tags", "sdl.state"),
    ]
    return View("leaderboard", "Leaderboard of trials", "TABLE", _trials(metric, columns))


def parallel(metric: str, charts: Sequence[Sequence[str]]) -> View:
    """Trials as lines over parameters, up to the metric; one chart shows the trials that have all its parameters.

    Args:
        metric: larger is better.
        charts: parameters of each chart, in order.
    """
    section = "sdl-parallel"
    cards = [
        {
            "uuid": f"{section}-{number}", "type": "PARALLEL", "metricSectionId": section, "runsCountToCompare": 10,
            "deleted": False, "isGenerated": False, "selectedParams": list(parameters), "selectedMetrics": [metric],
            "showAllRuns": True,
        }
        for number, parameters in enumerate(charts)
    ]  # fmt: skip
    sections = [{
        "uuid": section, "name": "Parallel coordinates", "display": True, "isReordered": True, "deleted": False,
        "isGenerated": False, "columns": 1, "cardHeight": _CHART_PIXELS,
    }]  # fmt: skip
    # Sections that MLflow makes for metrics come after one that is there, where the order is the user's.
    state = {"compareRunCharts": cards, "compareRunSections": sections, "isAccordionReordered": True}
    columns = [_column("metrics", metric)]
    return View("parallel", "Parallel coordinates of trials", "CHART", {**_trials(metric, columns), **state})


def _trials(metric: str, columns: Sequence[str]) -> dict[str, Any]:
    """State of the page that shows all trials, best first."""
    return {
        "searchFilter": "tags.`sdl.role` = 'trial'", "orderByKey": _column("metrics", metric), "orderByAsc": False,
        "startTime": "ALL", "lifecycleFilter": "Active", "modelVersionFilter": "All Runs", "datasetsFilter": [],
        "selectedColumns": list(columns), "runsHiddenMode": "SHOW_ALL", "hideEmptyCharts": True, "groupBy": None,
    }  # fmt: skip


def _column(kind: str, name: str) -> str:
    return f"{kind}.`{name}`"


class Views:
    """The saved views of one experiment.

    Args:
        client: MLflow's.
        experiment: its id.
        uri: tracking URI of the client.
    """

    def __init__(self, client: MlflowClient, experiment: str, uri: str) -> None:
        self._client, self._experiment = client, experiment
        self.version = interface_version(uri)

    @property
    def known(self) -> bool:
        """Whether it is known how the MLflow that will show them stores views."""
        return _minor(self.version) in _BARE + _IN_ENVELOPE

    def save(self, views: Sequence[View]) -> None:
        """Write those that are not there, where it is known how; one that a user changed stays as it is."""
        if not self.known:
            return
        before = self._client.get_experiment(self._experiment).tags
        for view in views:
            if _TAG + view.key not in before:
                self._client.set_experiment_tag(
                    self._experiment, _TAG + view.key, _stored(view, self.version)
                )

    def links(self, views: Sequence[View]) -> dict[str, str]:
        """What follows the interface's address, by what it opens: the runs, and those of the views that are there."""
        runs = f"#/experiments/{self._experiment}/runs?{_TRAINING}"
        there = self._client.get_experiment(self._experiment).tags
        own = {
            view.name: f"{runs}&viewStateShareKey={view.key}&compareRunsMode={view.mode}"
            for view in views
            if _TAG + view.key in there
        }
        return {"Runs": runs, **own}


def interface_version(uri: str) -> str:
    """Version of the MLflow that shows what lies at a URI: the server's own, or the one installed here.

    "" where a server does not tell.
    """
    if not uri.startswith(("http://", "https://")):
        return mlflow.__version__
    try:
        answer = http_request(
            get_default_host_creds(uri), "/version", "GET", max_retries=1, timeout=_ANSWER_SECONDS
        )
    except (MlflowException, RequestException):
        return ""
    return "" if answer is None or answer.status_code != HTTPStatus.OK else answer.text.strip()


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _stored(view: View, version: str) -> str:
    state = json.dumps(view.state)
    if _minor(version) in _BARE:
        return state
    now = int(time.time() * 1000)
    return json.dumps({"name": view.name, "createdAt": now, "updatedAt": now, "state": state})
