"""The study as MLflow first hears of it: its experiment, its parent run, its data and its code."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdl_study.data.prepared import SPLITS, Manifest
from sdl_study.files import read_json
from sdl_study.report.descriptions import opening_note
from sdl_study.report.names import count_name
from sdl_study.study.plan import Plan
from sdl_study.study.views import views_of
from sdl_study.tracking import DatasetContext, Owner, RunContext, Tracker
from sdl_study.version import code_commit, code_version

_COLUMNS = {"text": ("text", "string"), "image": ("image", "string"), "features": ("features", "array")}
_OWN_STUDIES = "search_spaces"


def open_tracker(
    plan: Plan,
    manifest: Manifest,
    tracking_uri: str | None,
    environment: Mapping[str, Any],
    objective_labels: int | None,
    owner: Owner | None = None,
) -> Tracker:
    """MLflow's side of a study, with its parent run, new or as it was.

    Args:
        plan: the study.
        manifest: of its data.
        tracking_uri: MLflow server; None means the database beside the study.
        environment: with what the study is run now.
        objective_labels: how many labels count in the objective, where not all do by its definition.
        owner: the study, for a server that other studies of its name may use.
    """
    files, settings = plan.files, plan.settings
    tracker = Tracker(
        tracking_uri or files.mlflow_uri, None if tracking_uri else files.artifacts, plan.name,
        run_context(manifest, plan.module), owner,
    )  # fmt: skip
    counted = {} if objective_labels is None else {"objective_labels": objective_labels}
    tracker.open_parent(
        {
            "arms": ",".join(plan.arm_names),
            "method": plan.method or "",
            "objective": settings.objective,
            **counted,
            "seed": settings.seed,
        },
        {
            "sdl.terms": manifest.terms,
            "sdl.data_fingerprint": manifest.fingerprint,
            **({} if plan.warm is None else {"sdl.warm_start": plan.warm.study}),
        },
        opening_note(plan.name, plan.arm_names, settings.objective, environment),
    )
    tracker.views.save(views_of(plan.space, plan.arms))
    return tracker


def owner_of(study_json: Path) -> Owner:
    """A study as MLflow tells it from others of its name: by the id in its study.json, or a new one.

    A study that began before there were ids has that of the file's content.
    """
    if not study_json.exists():
        return Owner(uuid.uuid4().hex)
    known = read_json(study_json).get("id")
    if known is not None:
        return Owner(str(known))
    return Owner(hashlib.sha256(study_json.read_bytes()).hexdigest()[:32], began_without=True)


def run_context(manifest: Manifest, module: Path | None) -> RunContext:
    """What every run carries.

    Args:
        manifest: of the study's data.
        module: the file that defines the study.
    """
    source = "sdl_study/run.py"
    if module is not None:
        own = module.parent.name == _OWN_STUDIES
        source = f"{_OWN_STUDIES}/{module.name}" if own else module.name
    changed = code_version().endswith("-dirty")
    return RunContext(_dataset(manifest), source, code_commit(), changed)


def _dataset(manifest: Manifest) -> DatasetContext:
    source = {name: value for name, value in manifest.source.items() if _plain(value)}
    restricted = manifest.terms == "restricted"
    counts = {
        split: f"{count_name(own.examples, restricted)} examples of {count_name(own.groups, restricted)} groups"
        for split in SPLITS
        if (own := manifest.counts.get(split)) is not None
    }
    profile = {
        "source": ", ".join(f"{name} {value}" for name, value in source.items()),
        **counts,
        "labels": str(manifest.num_labels),
        "terms": manifest.terms,
        "fingerprint": manifest.fingerprint,
    }
    columns = (_COLUMNS[manifest.modality], ("labels", "array"))
    return DatasetContext(manifest.name, manifest.fingerprint, source, profile, columns)


def _plain(value: object) -> bool:
    """A word without a path of the machine; numbers may be counts of rows."""
    return isinstance(value, str) and "/" not in value
