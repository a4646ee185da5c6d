"""Finals and the answer without a cluster: what happens when a final fails, and what an earlier opening means."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from mlflow import MlflowClient

from sdl_study.data.prepared import PreparedData
from sdl_study.errors import UserError
from sdl_study.evaluation.ledger import read_ledger
from sdl_study.evaluation.verdict import UndefinedMetricError
from sdl_study.record import contrasts as contrasts_module
from sdl_study.record.answer import read_answer
from sdl_study.record.declaration import Winner
from sdl_study.record.finals import final_slots
from sdl_study.report.text import answer_text
from sdl_study.setting_paths import with_values
from sdl_study.study.driver import Driver
from sdl_study.study.jobs import Work
from sdl_study.study.selection import declare
from sdl_study.workers.events import End, Failed
from tests.integration.tiny import tiny_data, tiny_plan
from tests.unit.study.played_finals import ARMS, answer_of, make_finals, play, seed_number, trained, write


def test_no_label_is_opened_while_the_machine_owes_a_final(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    finals = make_finals(driver)
    with pytest.raises(UserError, match=r"2 finals did not end, .* test labels stay closed"):
        play(monkeypatch, finals, lambda work: None if work.job.arm["name"] == "sd" else trained(work))
    assert read_ledger(driver.data.path) == []
    play(monkeypatch, finals, trained)
    assert len(read_ledger(driver.data.path)) == 7


def test_a_final_that_diverges_costs_its_arm_the_verdict_and_nothing_else(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    finals = make_finals(driver)
    failed = Failed("setting", "NonFiniteLoss at loop.py:1")

    def outcome(work: Work) -> End:
        return failed if (work.job.arm["name"], seed_number(work)) == ("any", 1) else trained(work)

    play(monkeypatch, finals, outcome)
    assert not finals.todo()
    answer = write(driver, finals)
    rows = {row.name: row for row in answer.table}
    assert rows["any"].test is None
    assert rows["any"].dev == 0.5
    assert (rows["sd"].test or 0) > 0
    assert "final of any, seed 1, failed: NonFiniteLoss at loop.py:1" in answer_text(answer)
    assert answer_text(answer).endswith("no verdict: a final of any failed")
    client = MlflowClient(tracking_uri=driver.plan.files.mlflow_uri)
    (experiment,) = client.search_experiments(filter_string="name = 'tiny'")
    runs = client.search_runs([experiment.experiment_id])
    status = {run.info.run_name: run.info.status for run in runs}
    assert status["final any probe seed 1"] == "FAILED"
    assert status["final any probe seed 0"] == status["tiny"] == "FINISHED"


def test_every_metric_of_the_literature_is_logged(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    finals = make_finals(driver)
    play(monkeypatch, finals, trained)
    write(driver, finals)
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
    assert "exploratory" not in answer_text(write(driver, before))
    after = make_finals(driver, best_of_any=0.55)
    play(monkeypatch, after, trained)
    second = write(driver, after)
    assert second.exploratory == (before.declaration.sha,)
    text = answer_text(second)
    assert "exploratory, without a verdict: test data of this study had been scored" in text
    assert "against the setting chosen for any, map (probe)" in text
    assert all(word not in text for word in ("better", "worse", "distinguishable"))
    client = MlflowClient(tracking_uri=driver.plan.files.mlflow_uri)
    assert client.get_run(driver.tracker.parent_id).data.tags["answer/verdict"] == "exploratory"
    (experiment,) = client.search_experiments(filter_string="name = 'tiny'")
    finals = client.search_runs([experiment.experiment_id], "tags.`sdl.role` = 'final'")
    assert len(finals) == 12
    assert sum(run.data.tags.get("sdl.superseded") == "true" for run in finals) == 6
    assert json.loads(driver.plan.files.answer.read_text())["exploratory"] == [before.declaration.sha]


def test_a_secondary_contrast_without_a_verdict_leaves_the_primary_one(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    finals = make_finals(driver)
    play(monkeypatch, finals, trained)
    plain = contrasts_module.compare

    def compare(first: Any, second: Any, **more: Any) -> Any:
        if "bce" in str(second[0]):
            raise UndefinedMetricError("neither seeds nor patients vary")
        return plain(first, second, **more)

    monkeypatch.setattr(contrasts_module, "compare", compare)
    text = answer_text(answer_of(driver, finals))
    assert "primary contrast: the setting chosen for sd against the setting chosen for any" in text
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
    assert "no verdict: " in answer_text(answer_of(driver, finals))


def test_record_level_files_that_are_allowed_late_go_out_and_the_tag_stays(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    finals = make_finals(driver)
    play(monkeypatch, finals, trained)
    secret = tmp_path / "weights.bin"
    secret.write_text("weights")
    client = MlflowClient(tracking_uri=driver.plan.files.mlflow_uri)

    def written(files: list[tuple[Path, str]]) -> tuple[str | None, bool]:
        write(driver, finals, files)
        tags = client.get_run(driver.tracker.parent_id).data.tags
        names = {item.path for item in client.list_artifacts(driver.tracker.parent_id)}
        return tags.get("sdl.record_artifacts"), "weights.bin" in names

    assert written([]) == (None, False)
    assert written([(secret, "")]) == ("yes", True)
    assert written([]) == ("yes", True)


def test_controls_carry_no_settings_that_they_do_not_use(driver: Driver) -> None:
    winner = {"loss.temperature": 0.2, "model.encoder": "bert", "train.learning_rate": 0.1}
    controls = ("untrained", "label_prior")
    trials = driver.journal.all()
    declaration = declare(driver.plan, [Winner("sd", 2, winner, 0.6)], trials, controls, "f", "1")
    slots = final_slots(driver.plan.files, declaration)
    of = {slot.name: slot.parameters for slot in slots if slot.role == "control"}
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
    with Driver(plan, PreparedData.load(str(plan.settings.data.path)), None):
        assert plan.files.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("least", "expected", "words"),
    [(10, 6, "(6 labels) of the"), (0, None, "dev map of the"), (22, 4, "dev map (4 labels) of")],
)
def test_how_many_labels_count_in_the_objective_is_kept_and_printed(
    home: Path, least: int, expected: int | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = PreparedData.load(str(home / "prepared" / "tiny"))
    assert sorted(data.labels("dev").counts()) == [19, 21, 24, 25, 27, 31]
    plan = tiny_plan(home, {"controls": ("label_prior",), "objective_min_positives": least})
    with Driver(plan, data, None) as driver:
        for arm in ARMS:
            driver._ask(arm)
        finals = make_finals(driver)
        play(monkeypatch, finals, trained)
        monkeypatch.setattr(driver, "_records_may_leave", False)  # no encoder was trained
        answer = driver._answer(finals)
        client = MlflowClient(tracking_uri=plan.files.mlflow_uri)
        told = client.get_run(driver.tracker.parent_id).data.params.get("objective_labels")
    assert told == (None if expected is None else str(expected))
    assert answer.objective_labels == expected
    assert words in answer_text(answer)
    assert read_answer(plan.files.answer) == answer
