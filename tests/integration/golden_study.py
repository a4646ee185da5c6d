"""A tiny study of every arm, boiled down to what must not change: leaderboard, predictions, MLflow's values.

``python -m tests.integration.golden_study OUT FILE`` runs it in OUT and writes its record to FILE.
"""

from __future__ import annotations

import csv
import hashlib
import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient

from sdl_study.evaluation.predictions import read_predictions
from sdl_study.record.declaration import read_declaration
from sdl_study.record.files import StudyFiles
from sdl_study.record.finals import read_finals
from sdl_study.run import main_of
from sdl_study.space import SearchSpace, Study, choice, log_uniform, uniform
from sdl_study.study.plan import make_plan
from sdl_study.study.session import execute
from tests.integration.tiny import tiny_data, tiny_study
from tests.unit.study.fakes import arms_named

ARMS = ("bce", "asl", "any", "all", "mulsupcon", "jaccard", "sd", "sd_weighted")
# What has become better since the record was made is switched off here: the record tells of everything else.
AS_RECORDED = {
    "probe.l2_grid": (1e-4, 1e-3, 1e-2),
    "probe.grow": False,
    "probe.scaling": ("standard",),
    "probe.chosen_on": "train",
    "objective_min_positives": 0,
    "train.decay_all": True,
    "train.collapse_of": "outputs",
    "train.head_bias": "random",
}
OVERRIDES = {"train.epochs": 3, "budget.trials": 2, **AS_RECORDED}
WALL_CLOCK = ("seconds", "seconds_total", "cpu_seconds", "gpu_seconds")
SINCE = ("still_rising", "at_edge")  # columns that the leaderboard has had since
TWIN = ".log10"  # parameters that MLflow has had since
RECORD = Path(__file__).parents[1] / "golden" / "study" / "tiny.json"


def numerics() -> str:
    """What the last digits depend on beside the code."""
    return f"{platform.machine()}, torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"


def record(files: StudyFiles) -> dict[str, Any]:
    """Everything of a finished study that another run of the same code gives again."""
    declaration = read_declaration(files)
    assert declaration is not None
    return {
        "numerics": numerics(),
        "leaderboard": _leaderboard(files.leaderboard),
        "predictions": {
            f"{final.role}/{final.name}/{final.slot.seed_number}": _predictions(final.predictions)
            for final in read_finals(files, declaration)
        },
        "mlflow": _mlflow(files.mlflow_uri, files.name),
    }


def _leaderboard(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [{k: v for k, v in row.items() if k not in WALL_CLOCK + SINCE} for row in csv.DictReader(file)]


def _predictions(path: Path) -> dict[str, Any]:
    found = read_predictions(path)
    return {
        "digest": hashlib.sha256(found.scores.tobytes() + found.targets.columns.tobytes()).hexdigest(),
        "metrics": found.metrics(),
    }


def _mlflow(uri: str, study: str) -> dict[str, Any]:
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert len({run.info.run_name for run in runs}) == len(runs), "MLflow has a run twice"
    return {
        str(run.info.run_name): {
            "status": run.info.status,
            "role": run.data.tags["sdl.role"],
            "params": {key: value for key, value in run.data.params.items() if not key.endswith(TWIN)},
            "metrics": {
                key: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, key)]
                for key in sorted(run.data.metrics)
                if key not in WALL_CLOCK
            },
        }
        for run in runs
        if run.data.tags["sdl.role"] != "study"
    }


def golden_study(data: Path) -> Study:
    """Eight arms, two trials each, three epochs of ten steps; what each arm may search is searched."""
    weighted = {"arms": ("sd_weighted",)}
    published = {"model.encoder": "conv", "train.learning_rate": 5e-3, "loss.temperature": 0.07}
    return Study(
        arms=arms_named(*ARMS),
        method="sd",
        space=SearchSpace(
            parameters=(
                choice("model.encoder", "conv", "bert"),
                log_uniform("train.learning_rate", 1e-3, 1e-2),
                log_uniform("loss.temperature", 0.05, 0.5),
                uniform("model.encoders.bert.dropout", 0.0, 0.3, when={"model.encoder": "bert"}),
                log_uniform("loss.dissimilarity_power", 0.1, 4.0, **weighted),
                log_uniform("loss.relation_weights.subset", 0.1, 4.0, **weighted),
                choice("loss.normalizer", "positives", "weights", **weighted),
                choice("loss.per_anchor_mean", False, True, arms=("mulsupcon",)),
            ),
            published=published,
        ),
        settings=tiny_study(data, ARMS).settings,
    )


def run_golden(out: Path) -> dict[str, Any]:
    """Run the study on an engine of its own."""
    study = golden_study(tiny_data(out / "prepared"))
    plan = make_plan(study, out, "golden", OVERRIDES)
    execute([plan], None, None)
    return record(plan.files)


def _command() -> None:
    content = run_golden(Path(sys.argv[1]))
    Path(sys.argv[2]).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main_of(_command))
