"""Finals of two last stages, without a cluster: what starts from what, what a failure means, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdl_study.data.prepared import PreparedData
from sdl_study.errors import UserError
from sdl_study.record.declaration import Declaration
from sdl_study.record.outcome import Failure, read_outcome
from sdl_study.report.text import answer_text
from sdl_study.setting_paths import with_values
from sdl_study.study.checks import check_data_fits
from sdl_study.study.jobs import Work
from sdl_study.workers.events import End, Failed
from tests.integration.tiny import tiny_plan
from tests.unit.study.played_finals import answer_of, make_finals, opened, play, seed_number, trained

BOTH = {"stages": ("probe", "finetune")}


def test_fine_tuning_starts_from_the_arms_own_final_of_the_seed(home: Path) -> None:
    with opened(home, **BOTH, controls=("untrained",)) as driver:
        finals = make_finals(driver)
        jobs = [driver.maker.final(slot).job for slot in finals.slots if slot.stage == "finetune"]
        starts = {(job.kind, job.arm["name"], int(job.key.rpartition("/")[2])): job.start for job in jobs}
        sha = finals.declaration.sha
        for number in (0, 1):
            for arm in ("any", "sd"):
                assert starts["final", arm, number] == str(driver.plan.files.final(sha, arm, number))
            assert starts["final", "bce", number] == starts["control", "sd", number] == ""
    folders = [slot.folder for slot in finals.slots]
    assert len(set(folders)) == len(folders) == 2 * (3 + 1) * 2
    assert len({slot.key for slot in finals.slots}) == len(folders)


def test_pretraining_that_failed_costs_its_arm_both_stages(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(home, **BOTH, stage="finetune") as driver:
        finals = make_finals(driver)
        ran: list[str] = []

        def outcome(work: Work) -> End:
            ran.append(work.job.key)
            if (work.job.arm["name"], seed_number(work), work.job.stage) == ("any", 1, "probe"):
                return Failed("setting", "NonFiniteLoss at loop.py:1")
            return trained(work)

        play(monkeypatch, finals, outcome)
        assert not finals.todo()
        (slot,) = (s for s in finals.slots if (s.name, s.seed_number, s.stage) == ("any", 1, "finetune"))
        assert slot.key not in ran
        assert read_outcome(slot.folder) == Failure("its pretraining: NonFiniteLoss at loop.py:1")
        text = answer_text(answer_of(driver, finals))
    assert "final of any (finetune), seed 1, failed: its pretraining: NonFiniteLoss" in text
    assert text.endswith("no verdict: a final of any failed")


def test_a_declaration_without_stages_keeps_its_sha(home: Path) -> None:
    with opened(home) as driver:
        declaration = make_finals(driver).declaration
    assert "stages" not in declaration.to_dict()
    assert Declaration.from_dict(declaration.to_dict()) == declaration
    both = replace(declaration, stages=("probe", "finetune"))
    assert both.sha != declaration.sha
    assert not both.promises_the_same(declaration)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"stage": "finetune"}, "'finetune' is none of the stages: probe"),
        ({"stages": ("finetune",)}, r"stages: write \('probe',\) or"),
        ({"finetune.head": "attention"}, "finetune.head"),
    ],
)
def test_stages_that_make_no_sense_are_refused(home: Path, given: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        tiny_plan(home, given)


def test_label_attention_is_for_texts(home: Path) -> None:
    plan = tiny_plan(home, {**BOTH, "finetune.head": "label_attention"})
    data = PreparedData.load(str(plan.settings.data.path))
    check_data_fits(plan.settings, data, plan.name)
    images = PreparedData(data.path, replace(data.manifest, modality="image"))
    values = {"model.encoder": "cnn", "model.encoders": {"cnn": {"kind": "resnet"}}, "data.store": {}}
    with pytest.raises(UserError, match=r"label_attention reads the tokens of texts, .* holds image"):
        check_data_fits(with_values(plan.settings, values, "here"), images, plan.name)
