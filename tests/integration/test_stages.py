"""A study with both last stages on a real cluster: two tables that are never mixed, also when it is interrupted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from sdl_study.config import Settings
from sdl_study.data.prepared import PreparedData
from sdl_study.evaluation.ledger import read_ledger
from sdl_study.record.answer import Answer, read_answer
from sdl_study.record.declaration import read_declaration
from sdl_study.record.finals import read_finals
from sdl_study.report.text import answer_text
from sdl_study.study.finals import Finals
from sdl_study.study.plan import Plan, make_plan
from tests.integration.conftest import Engines
from tests.integration.handed_out import check_scores, exported, scorer
from tests.integration.tiny import SIZES, tiny_data, tiny_study
from tests.integration.tracked import runs_of

ARMS = ("bce", "sd", "sd_joint")
EPOCHS, MORE = 4, 3
STAGES = ("probe", "finetune")


class Interrupted(BaseException):
    """The user ends the command."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    out = tmp_path_factory.mktemp("stages")
    study = tiny_study(tiny_data(out / "prepared"), ARMS)
    given = {
        "stages": STAGES, "stage": "finetune", "finetune.epochs": MORE, "finetune.head": "label_attention",
        "budget.trials": 1, "budget.final_seeds": 2, "controls": ("untrained", "label_prior"),
    }  # fmt: skip
    return make_plan(replace(study, method="sd"), out, "stages", given)


@pytest.fixture(scope="module")
def answer(plan: Plan, engines: Engines) -> Answer:
    """Interrupted in the first fine-tuning, then the same command again."""
    told = Finals._told

    def interrupted(self: Finals, work: Any, event: Any) -> None:
        told(self, work, event)
        if work.job.stage == "finetune":
            raise Interrupted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Finals, "_told", interrupted)
        with pytest.raises(Interrupted):
            engines.run(plan)
    assert read_ledger(str(plan.settings.data.path)) == []  # none is opened before all finals have ended
    return engines.run(plan)


def test_every_arm_and_seed_has_a_run_of_each_stage_at_equal_examples(plan: Plan, answer: Answer) -> None:
    finals = runs_of(plan, "final")
    seen = Counter((run.data.params["arm"], run.data.params["stage"]) for run in finals)
    assert seen == Counter({(arm, stage): 2 for arm in ARMS for stage in STAGES})
    for stage, epochs in (("probe", EPOCHS), ("finetune", EPOCHS + MORE)):
        examples = {
            run.data.metrics["train/examples_seen"] for run in finals if run.data.params["stage"] == stage
        }
        assert examples == {epochs * SIZES["train"]}
    assert len({tuple(sorted(key for key in run.data.metrics if "test/" in key)) for run in finals}) == 1


def test_controls_have_the_same_last_stage(plan: Plan, answer: Answer) -> None:
    seen = Counter((run.data.params["arm"], run.data.params["stage"]) for run in runs_of(plan, "control"))
    assert seen == {("untrained", "probe"): 2, ("untrained", "finetune"): 2, ("label_prior", "probe"): 1}


def test_the_tables_are_apart_and_the_verdict_is_about_the_stage_named(plan: Plan, answer: Answer) -> None:
    finals = read_finals(plan.files, declared(plan))
    assert answer.stage == "finetune"
    (other,) = answer.others
    assert other.stage == "probe"
    for stage, table in (("finetune", answer.table), ("probe", other.table)):
        rows = {row.name: row for row in table}
        assert set(rows) == {*ARMS, "untrained", "label_prior"}
        for arm in ARMS:
            own = [final for final in finals if final.name == arm and final.slot.stage == stage]
            tests = [final.test["map"] for final in own if final.test is not None]
            assert rows[arm].test == pytest.approx(sum(tests) / 2)
            assert (rows[arm].dev is None) == (stage == "finetune")
            assert set(rows[arm].margins) == {"untrained", "label_prior"}
    assert answer.primary is not None
    assert (answer.primary.stage, answer.primary.first, answer.primary.second) == ("finetune", "sd", "bce")
    secondary = [(contrast.first, contrast.second, contrast.stage) for contrast in answer.secondary]
    assert secondary == [("sd_joint", "bce", "finetune"), ("sd", "bce", "probe")]
    assert answer.secondary[0].holm > 1
    (parent,) = runs_of(plan, "study")
    assert parent.data.metrics["test/map"] == pytest.approx(answer.best.test)


def declared(plan: Plan) -> Any:
    found = read_declaration(plan.files)
    assert found is not None
    return found


def test_ledger_and_declaration_name_the_stage(plan: Plan, answer: Answer) -> None:
    assert (declared(plan).stages, declared(plan).primary_stage) == (STAGES, "finetune")
    lines = read_ledger(str(plan.settings.data.path))
    seen = Counter((line.identity.stage, line.identity.role) for line in lines)
    assert seen == {
        ("probe", "final"): 6,
        ("finetune", "final"): 6,
        ("probe", "control"): 3,
        ("finetune", "control"): 2,
    }
    assert {line.declaration for line in lines} == {answer.declaration}


def test_it_is_printed_and_read_again(plan: Plan, answer: Answer) -> None:
    text = answer_text(answer)
    assert "test map (finetune, mean" in text
    assert "stages: test map (probe), another table:" in text
    assert read_answer(plan.files.answer) == answer


def test_the_fine_tuned_encoder_leaves_with_its_head(plan: Plan, answer: Answer) -> None:
    client = MlflowClient(tracking_uri=plan.files.mlflow_uri)
    (parent,) = runs_of(plan, "study")
    names = {Path(item.path).name for item in client.list_artifacts(parent.info.run_id, "encoder")}
    assert "head.safetensors" in names


def test_what_is_handed_out_scores_as_the_study_did(plan: Plan, answer: Answer, tmp_path: Path) -> None:
    data = PreparedData.load(str(plan.settings.data.path))
    texts = data.texts(data.rows("test"))
    for final in read_finals(plan.files, declared(plan)):
        if final.role == "final" and final.slot.seed_number == 0:
            name = f"{final.name}-0" if final.slot.stage == "probe" else f"finetune/{final.name}-0"
            folder = exported(plan.files.out, f"{plan.name}/{name}", tmp_path / name.replace("/", "-"))
            check_scores(final, scorer(folder).score(texts))
            assert (folder / "projection.safetensors").exists() == (name in ("sd-0", "sd_joint-0"))


def test_again_it_does_nothing(plan: Plan, answer: Answer, engines: Engines) -> None:
    before = len(read_ledger(str(plan.settings.data.path)))
    assert engines.run(plan) == answer
    assert len(read_ledger(str(plan.settings.data.path))) == before


def test_a_study_from_before_the_stages_is_one_of_the_probe(plan: Plan) -> None:
    old = {
        key: value
        for key, value in plan.settings.model_dump(mode="json").items()
        if key not in ("stages", "stage", "finetune")
    }
    settings = Settings(**old)
    assert (settings.stages, settings.stage) == (("probe",), "probe")
