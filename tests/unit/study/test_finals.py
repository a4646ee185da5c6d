"""Finals and the answer without a cluster: what happens when a final fails, and what an earlier opening means."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from mlflow import MlflowClient

from sdl_study.config import with_values
from sdl_study.data.prepared import PreparedData
from sdl_study.errors import UserError
from sdl_study.evaluation.ledger import read_ledger
from sdl_study.evaluation.statistics import UndefinedMetricError
from sdl_study.study import answer as answer_module
from sdl_study.study import finals as finals_module
from sdl_study.study.answer import Answer
from sdl_study.study.driver import Driver
from sdl_study.study.finals import Finals
from sdl_study.study.jobs import Work
from sdl_study.study.selection import Winner, declare
from sdl_study.training.scores import SCORES_FILE, save_scores
from sdl_study.training.stages.scoring import DEV_KEYS
from sdl_study.workers.engine import Engine
from sdl_study.workers.events import Done, End, Failed
from tests.integration.tiny import tiny_data, tiny_plan

ARMS = ("bce", "any", "sd")
NO_ENGINE = cast(Engine, type("NoEngine", (), {"groups": 1}))
Outcome = Callable[[Work], End | None]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data and an empty MLflow database: making them takes seconds."""
    folder = tmp_path_factory.mktemp("template")
    tiny_data(folder / "prepared")
    MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Path:
    """A folder of studies of one's own."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def driver(home: Path) -> Driver:
    """A study of three arms and two final seeds, opened."""
    plan = tiny_plan(home, {"budget.final_seeds": 2, "controls": ("label_prior",)})
    made = Driver(plan, PreparedData.load(str(plan.settings.data.path)), None)
    for arm in ARMS:
        made._ask(arm)
    return made


def make_finals(driver: Driver, best_of_any: float = 0.5) -> Finals:
    winners = [Winner("bce", 0, {}, 0.3), Winner("any", 1, {}, best_of_any), Winner("sd", 2, {}, 0.6)]
    declaration = declare(driver.plan, winners, driver.data.manifest.fingerprint, "1")
    return Finals(driver.plan, driver.data, driver.maker, declaration, driver.progress, "1")


def trained(work: Work) -> Done:
    metrics = {f"dev/{key}": 0.5 for key in DEV_KEYS} | {"dev/threshold": 0.5}
    return Done(
        {
            "metrics": metrics,
            "examples_seen": 9,
            "best_epoch": 1,
            "seconds": 1.0,
            "workers": 1,
            "device": "cpu",
        }
    )


def play(monkeypatch: pytest.MonkeyPatch, finals: Finals, outcome: Outcome) -> None:
    """Run finals with random scores where the worker groups would be."""
    rows = finals.data.rows("test")

    def run_all(work: Sequence[Work], groups: int, told: object) -> list[Work]:
        for item in work:
            result = None if item.ended else outcome(item)
            if result is None:
                continue
            folder = Path(item.job.folder)
            folder.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([item.seed_number, len(item.job.arm)])
            save_scores(folder / SCORES_FILE, rows, rng.random((len(rows), 6)))
            item.keep(result)
        return [item for item in work if not item.ended]

    monkeypatch.setattr(finals_module, "run_all", run_all)
    finals.run(NO_ENGINE)


def answer_of(driver: Driver, finals: Finals) -> Answer:
    return Answer(
        driver.plan, driver.data, finals.declaration, driver.records.all(), finals.results(),
        finals.earlier_openings(),
    )  # fmt: skip


def test_no_label_is_opened_while_the_machine_owes_a_final(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    finals = make_finals(driver)
    with pytest.raises(UserError, match=r"2 finals did not end, .* test labels stay closed"):
        play(monkeypatch, finals, lambda work: None if work.job.arm == "sd" else trained(work))
    assert read_ledger(driver.data.path) == []
    play(monkeypatch, finals, trained)
    assert len(read_ledger(driver.data.path)) == 7


def test_a_final_that_diverges_costs_its_arm_the_verdict_and_nothing_else(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    finals = make_finals(driver)
    failed = Failed("setting", "NonFiniteLoss at loop.py:1")

    def outcome(work: Work) -> End:
        return failed if (work.job.arm, work.seed_number) == ("any", 1) else trained(work)

    play(monkeypatch, finals, outcome)
    assert not finals.todo()
    answer = answer_of(driver, finals)
    rows = {row["arm"]: row for row in answer.rows()}
    assert rows["any"]["test"] is None
    assert rows["any"]["dev"] == 0.5
    assert rows["sd"]["test"] > 0
    assert "final of any, seed 1, failed: NonFiniteLoss at loop.py:1" in answer.text()
    assert answer.text().endswith("no verdict: a final of any failed")
    answer.write(driver.tracker, [])
    client = MlflowClient(tracking_uri=driver.plan.files.mlflow_uri)
    (experiment,) = client.search_experiments(filter_string="name = 'tiny'")
    runs = client.search_runs([experiment.experiment_id])
    status = {run.info.run_name: run.info.status for run in runs}
    assert status["final any probe seed 1"] == "FAILED"
    assert status["final any probe seed 0"] == status["study"] == "FINISHED"


def test_every_metric_of_the_literature_is_logged(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    finals = make_finals(driver)
    play(monkeypatch, finals, trained)
    answer_of(driver, finals).write(driver.tracker, [])
    client = MlflowClient(tracking_uri=driver.plan.files.mlflow_uri)
    parent = client.get_run(driver.tracker.parent_id)
    wanted = (
        "micro_f1",
        "macro_f1_caml",
        "precision_at_5",
        "precision_at_8",
        "precision_at_15",
        "r_precision",
    )
    assert {f"test/{key}" for key in (*wanted, "map", "macro_f1_present")} <= set(parent.data.metrics)


def test_a_new_winner_after_test_labels_were_opened_is_exploratory(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = make_finals(driver)
    play(monkeypatch, before, trained)
    first = answer_of(driver, before)
    first.write(driver.tracker, [])
    assert "exploratory" not in first.text()
    after = make_finals(driver, best_of_any=0.55)
    play(monkeypatch, after, trained)
    second = answer_of(driver, after)
    assert second.earlier == [before.sha]
    assert "exploratory, without a verdict: test data of this study had been scored" in second.text()
    assert "against any, map (probe)" in second.text()
    assert all(word not in second.text() for word in ("better", "worse", "distinguishable"))
    second.write(driver.tracker, [])
    client = MlflowClient(tracking_uri=driver.plan.files.mlflow_uri)
    assert client.get_run(driver.tracker.parent_id).data.tags["answer/verdict"] == "exploratory"
    (experiment,) = client.search_experiments(filter_string="name = 'tiny'")
    finals = client.search_runs([experiment.experiment_id], "tags.`sdl.role` = 'final'")
    assert len(finals) == 12
    assert sum(run.data.tags.get("sdl.superseded") == "true" for run in finals) == 6
    assert json.loads(driver.plan.files.answer.read_text())["exploratory"] == [before.sha]


def test_a_secondary_contrast_without_a_verdict_leaves_the_primary_one(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    finals = make_finals(driver)
    play(monkeypatch, finals, trained)
    plain = answer_module.compare

    def compare(first: Any, second: Any, **more: Any) -> Any:
        if "bce" in str(second[0]):
            raise UndefinedMetricError("neither seeds nor patients vary")
        return plain(first, second, **more)

    monkeypatch.setattr(answer_module, "compare", compare)
    text = answer_of(driver, finals).text()
    assert "primary contrast: sd against any" in text
    assert text.endswith("no verdict: sd against bce: neither seeds nor patients vary")


@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_split_without_any_label_is_refused_before_anything_is_written(home: Path, split: str) -> None:
    plan = tiny_plan(home)
    folder = home / "prepared" / "tiny"
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["counts"][split]["labels_present"] = 0
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=f"no {split} example has a label"):
        Driver(plan, PreparedData.load(folder), None)
    assert not plan.files.folder.exists()


def test_one_group_in_test_ends_in_no_verdict(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = driver.data.path
    examples = pl.read_parquet(folder / "examples.parquet")
    one = examples.with_columns(pl.when(pl.col("split") == "test").then(0).otherwise("group").alias("group"))
    copy = folder.with_name("one_group")
    shutil.copytree(folder, copy)
    one.write_parquet(copy / "examples.parquet")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["file_bytes"]["examples.parquet"] = (copy / "examples.parquet").stat().st_size
    (copy / "manifest.json").write_text(json.dumps(manifest))
    driver.data = PreparedData.load(copy)
    finals = make_finals(driver)
    play(monkeypatch, finals, trained)
    assert "no verdict: " in answer_of(driver, finals).text()


def test_record_level_files_that_are_allowed_late_go_out_and_the_tag_stays(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    finals = make_finals(driver)
    play(monkeypatch, finals, trained)
    secret = tmp_path / "weights.bin"
    secret.write_text("weights")
    client = MlflowClient(tracking_uri=driver.plan.files.mlflow_uri)

    def written(files: list[tuple[Path, str]]) -> tuple[str | None, bool]:
        answer_of(driver, finals).write(driver.tracker, files)
        tags = client.get_run(driver.tracker.parent_id).data.tags
        names = {item.path for item in client.list_artifacts(driver.tracker.parent_id)}
        return tags.get("sdl.record_artifacts"), "weights.bin" in names

    assert written([]) == (None, False)
    assert written([(secret, "")]) == ("yes", True)
    assert written([]) == ("yes", True)


def test_controls_carry_no_settings_that_they_do_not_use(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = {"loss.temperature": 0.2, "model.encoder": "bert", "train.learning_rate": 0.1}
    driver.plan = tiny_plan(driver.plan.files.out, {"controls": ("untrained", "label_prior")})
    declaration = declare(driver.plan, [Winner("sd", 2, winner, 0.6)], "f", "1")
    made = Finals(driver.plan, driver.data, driver.maker, declaration, driver.progress, "1")
    of = {name: work.parameters for name, role, work in made._work if role == "control"}
    assert of == {"untrained": {"model.encoder": "bert"}, "label_prior": {}}


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"data.store.max_lenght": 3}, r"data\.store\.max_lenght: unknown; known are"),
        (
            {"model.encoders.conv": {"kind": "mlp"}},
            r"encoder conv reads features, .* holds text; choose another study",
        ),
    ],
)
def test_settings_that_do_not_fit_the_data_are_refused_before_anything_is_written(
    home: Path, overrides: dict[str, Any], told: str
) -> None:
    plan = tiny_plan(home)
    plan = replace(plan, settings=with_values(plan.settings, overrides, "--set"))
    with pytest.raises(UserError, match=told):
        Driver(plan, PreparedData.load(str(plan.settings.data.path)), None)
    assert not plan.files.folder.exists()


def test_the_folder_of_a_study_on_restricted_data_is_its_owners(tmp_path: Path) -> None:
    tiny_data(tmp_path / "prepared", "restricted")
    plan = tiny_plan(tmp_path)
    Driver(plan, PreparedData.load(str(plan.settings.data.path)), None)
    assert plan.files.folder.stat().st_mode & 0o777 == 0o700
