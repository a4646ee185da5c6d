"""A real study on a real cluster: what lands in the journal, in MLflow, on the disk; and the same command again."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import optuna
import polars as pl
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from sdl_study.config import PRIMARY_METRICS
from sdl_study.data.prepared import PreparedData
from sdl_study.data.sampler import ContrastiveSampler
from sdl_study.errors import UserError
from sdl_study.evaluation.ledger import read_ledger
from sdl_study.record.answer import Answer
from sdl_study.record.declaration import read_declaration
from sdl_study.record.finals import read_finals
from sdl_study.report.text import answer_text
from sdl_study.seeds import derive_seed
from sdl_study.study.driver import Driver
from sdl_study.study.plan import Plan
from sdl_study.study.publish import with_logarithms
from sdl_study.workers.engine import Engine
from tests.integration.conftest import Engines
from tests.integration.tiny import SIZES, tiny_plan
from tests.integration.tracked import runs_of

ARMS = ("bce", "any", "sd")
TEST_KEYS = [key.removeprefix("test/") for key in PRIMARY_METRICS]
STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
PER_EPOCH = (
    "train/loss", "train/valid_anchor_fraction", "train/collapse",
    "dev/micro_f1", "dev/macro_f1", "dev/map", "dev/map_document", "dev/objective", "probe/l2",
)  # fmt: skip


@pytest.fixture(scope="module")
def plan(out: Path) -> Plan:
    return tiny_plan(out, {"train.record_batches": True})


@pytest.fixture(scope="module")
def answer(plan: Plan, engines: Engines) -> Answer:
    return engines.run(plan)


def by_role(runs: list[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        found[run.data.tags["sdl.role"]].append(run)
    return found


def journal(plan: Plan) -> dict[str, optuna.Study]:
    storage = JournalStorage(JournalFileBackend(str(plan.files.journal)))
    return {arm: optuna.load_study(study_name=f"{plan.name}/{arm}", storage=storage) for arm in ARMS}


def test_journal_and_mlflow_hold_the_same_trials(plan: Plan, answer: Answer) -> None:
    in_mlflow = {int(run.data.tags["sdl.trial"]): run for run in by_role(runs_of(plan))["trial"]}
    count = 0
    for arm, study in journal(plan).items():
        for trial in study.get_trials():
            run = in_mlflow[trial.user_attrs["sdl.trial"]]
            state = STATES[trial.state]
            assert (run.data.tags["arm"], run.data.params["arm"]) == (arm, arm)
            assert run.data.tags["sdl.state"] == state
            assert run.info.status == STATUS[state]
            assert run.data.metrics["objective"] == trial.value
            assert set(run.data.params) == {"arm", *with_logarithms(trial.params)}
            assert run.data.metrics["epochs"] == len(trial.intermediate_values)
            count += 1
    assert count == len(in_mlflow) == 9
    assert "pruned" in {run.data.tags["sdl.state"] for run in in_mlflow.values()}


def test_every_epoch_is_in_mlflow_once(plan: Plan, answer: Answer) -> None:
    client = MlflowClient(tracking_uri=plan.files.mlflow_uri)
    for run in by_role(runs_of(plan))["trial"]:
        epochs = list(range(1, int(run.data.metrics["epochs"]) + 1))
        for key in PER_EPOCH:
            history = client.get_metric_history(run.info.run_id, key)
            assert sorted(metric.step for metric in history) == epochs, key
        values = [metric.value for metric in client.get_metric_history(run.info.run_id, "dev/objective")]
        assert run.data.metrics["objective"] == max(values)


def test_finals_and_controls_have_the_same_keys_and_the_arms_the_same_cost(
    plan: Plan, answer: Answer
) -> None:
    roles = by_role(runs_of(plan))
    assert sorted(run.data.params["arm"] for run in roles["final"]) == sorted(ARMS)
    assert sorted(run.data.params["arm"] for run in roles["control"]) == ["label_prior", "tfidf", "untrained"]
    for run in roles["final"] + roles["control"]:
        assert {f"test/{key}" for key in TEST_KEYS} <= set(run.data.metrics)
        assert run.data.params["stage"] == "probe"
        assert run.info.status == "FINISHED"
    examples = {run.data.metrics["train/examples_seen"] for run in roles["final"]}
    assert examples == {plan.settings.train.epochs * SIZES["train"]}
    assert {run.data.metrics["trials_of_arm"] for run in roles["final"]} == {3.0}
    assert all(run.data.metrics["cpu_seconds"] > 0 for run in roles["final"])


def test_the_parent_holds_the_answer(plan: Plan, answer: Answer) -> None:
    (parent,) = by_role(runs_of(plan))["study"]
    declaration = read_declaration(plan.files)
    assert declaration is not None
    best = next(
        run
        for run in by_role(runs_of(plan))["final"]
        if run.data.params["arm"] == declaration.best_arm_on_dev
    )
    for key in TEST_KEYS:
        assert parent.data.metrics[f"test/{key}"] == pytest.approx(best.data.metrics[f"test/{key}"])
    assert parent.data.tags["sdl.declaration"] == declaration.sha
    assert parent.data.tags["answer/verdict"] == "1 seed: no claim"
    assert "answer/delta" in parent.data.metrics
    client = MlflowClient(tracking_uri=plan.files.mlflow_uri)
    artifacts = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert artifacts == {
        "study.json",
        "declaration.json",
        "leaderboard.csv",
        "predictions.parquet",
        "encoder",
    }
    encoder = {Path(item.path).name for item in client.list_artifacts(parent.info.run_id, "encoder")}
    assert {"config.json", "model.safetensors"} <= encoder


def test_test_labels_were_opened_once_for_every_final(plan: Plan, answer: Answer) -> None:
    lines = [line for line in read_ledger(str(plan.settings.data.path)) if line.identity.study == plan.name]
    assert Counter((line.identity.arm, line.identity.seed_number) for line in lines) == Counter(
        {(name, 0): 1 for name in (*ARMS, "untrained", "label_prior", "tfidf")}
    )
    declaration = read_declaration(plan.files)
    assert declaration is not None
    assert {line.declaration for line in lines} == {declaration.sha}


def batches(folder: Path) -> dict[tuple[int, int], dict[int, dict[str, Any]]]:
    """(epoch, step) → rank → line."""
    found: dict[tuple[int, int], dict[int, dict[str, Any]]] = defaultdict(dict)
    for path in sorted(folder.glob("batches-*.jsonl")):
        rank = int(path.stem.split("-")[1])
        for text in path.read_text().splitlines():
            line = json.loads(text)
            found[line["epoch"], line["step"]][rank] = line
    return found


def test_sharding_is_real(plan: Plan, answer: Answer) -> None:
    data = PreparedData.load(str(plan.settings.data.path))
    rows = data.rows("train")
    order = derive_seed(derive_seed(plan.settings.seed, "search"), "order")
    alone = ContrastiveSampler(len(rows), plan.settings.train.batch_size, order)
    steps = batches(plan.files.trial(0))
    assert {epoch for epoch, _ in steps} == set(range(1, plan.settings.train.epochs + 1))
    for epoch in range(1, plan.settings.train.epochs + 1):
        seen: list[int] = []
        for step, batch in enumerate(alone.global_batches(epoch)):
            first, second = steps[epoch, step][0], steps[epoch, step][1]
            assert first["pid"] != second["pid"] != os.getpid()
            assert not set(first["rows"]) & set(second["rows"])
            assert first["rows"] + second["rows"] == rows[batch].tolist()
            seen += first["rows"] + second["rows"]
        assert sorted(seen) == rows.tolist()


def no_engine() -> Engine:
    raise AssertionError("a finished study must not start an engine")


def test_the_same_again_trains_nothing_and_adds_nothing(plan: Plan, answer: Answer) -> None:
    before = {(run.info.run_id, run.info.end_time) for run in runs_of(plan)}
    lines = read_ledger(str(plan.settings.data.path))
    with Driver(plan, PreparedData.load(str(plan.settings.data.path)), None) as driver:
        again = driver.run(no_engine)
    assert answer_text(again) == answer_text(answer)
    assert {(run.info.run_id, run.info.end_time) for run in runs_of(plan)} == before
    assert read_ledger(str(plan.settings.data.path)) == lines


def test_another_meaning_under_the_same_name_is_refused(plan: Plan, answer: Answer, out: Path) -> None:
    other = tiny_plan(out, {"train.epochs": 5, "seed": 1})
    with pytest.raises(UserError) as told:
        Driver(other, PreparedData.load(str(plan.settings.data.path)), None)
    text = str(told.value)
    assert "train.epochs: 4 → 5" in text
    assert "seed: 0 → 1" in text
    assert "--name tiny_2" in text


def test_more_trials_extend_the_study(plan: Plan, answer: Answer, out: Path, engines: Engines) -> None:
    before = {run.info.run_id for run in by_role(runs_of(plan))["trial"]}
    wider = tiny_plan(out, {"train.record_batches": True, "budget.trials": 4})
    engines.run(wider)
    after = {run.info.run_id for run in by_role(runs_of(plan))["trial"]}
    assert before < after
    assert len(after) == 12
    parents = by_role(runs_of(plan))["study"]
    assert [run.info.status for run in parents] == ["FINISHED"]


def test_without_test_labels_a_study_says_so_and_ends_at_its_declaration(
    out: Path, engines: Engines, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tiny_plan(out, {"budget.trials": 1, "arms": ("any", "sd")}, "no_labels")
    folder = out / "without"
    shutil.copytree(str(plan.settings.data.path), folder)
    (folder / "test_labels.parquet").rename(out / "moved.parquet")
    (folder / "test_ledger.jsonl").unlink(missing_ok=True)
    plan = tiny_plan(out, {"budget.trials": 1, "arms": ("any", "sd"), "data.path": str(folder)}, "no_labels")
    with pytest.raises(UserError, match=r"test_labels\.parquet") as told:
        engines.run(plan)
    assert "\n" not in str(told.value)
    first = capsys.readouterr().out.splitlines()[0]
    assert first.endswith(f"no test labels in {folder}: the study will end at its declaration")
    assert plan.files.declaration.exists()
    assert not (folder / "test_ledger.jsonl").exists()
    (parent,) = by_role(runs_of(plan))["study"]
    assert parent.info.status == "KILLED"


def test_predictions_carry_labels_and_probabilities(plan: Plan, answer: Answer) -> None:
    declaration = read_declaration(plan.files)
    assert declaration is not None
    (final,) = (final for final in read_finals(plan.files, declaration) if final.name == "sd")
    table = pl.read_parquet(final.predictions)
    assert table.columns == ["id", "group", "scores", "labels"]
    assert table.height == SIZES["test"]
    scores = table["scores"].explode()
    assert scores.min() >= 0  # type: ignore[operator]
    assert scores.max() <= 1  # type: ignore[operator]
