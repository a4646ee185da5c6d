"""What is run again from a study's folder is what the study ran: the same jobs, from the record alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sdl_study.arms import Arm
from sdl_study.errors import UserError
from sdl_study.files import write_json
from sdl_study.record.chosen import Chosen, choose
from sdl_study.record.environment import environment, note_environment
from sdl_study.study.again import check_can_run
from sdl_study.study.jobs import JobMaker
from sdl_study.study.plan import Plan, make_plan
from sdl_study.study.recorded import changed_code, recorded_plan
from tests.unit.study.fakes import open_search, play, small_study

LOSS = """
from sdl_study.losses import WeightRule

class Halving(WeightRule):
    \"\"\"Half the weight of a shared label.\"\"\"

    def weight(self, intersection, anchor_size, candidate_size):
        return 0.5 ** (candidate_size - intersection)
"""


def run_of(folder: Path, module: Path | None = None, arm: Arm | None = None) -> Plan:
    """A study whose search was played, with an arm of its own if there is one."""
    study = small_study()
    if arm is not None:
        study = replace(study, arms=(*study.arms, arm))
    plan = make_plan(study, folder / "studies", "small", {"train.weight_decay": 0.125}, module=module)
    write_json(plan.files.study_json, plan.identity() | {"data_fingerprint": "f", "terms": "open"})
    note_environment(plan.files, environment("1", plan.reference, plan.overrides))
    play(open_search(plan), lambda arm, parameters, epoch: 0.1 * epoch)
    return plan


def chosen_of(plan: Plan, number: int) -> Chosen:
    return choose(plan.files.out, f"small/{number}")


def test_the_same_jobs(tmp_path: Path) -> None:
    plan = run_of(tmp_path)
    for trial in chosen_of(plan, 0).record.trials:
        again = recorded_plan(chosen_of(plan, trial.number).record)
        assert JobMaker(again, tmp_path).trial(trial, False) == JobMaker(plan, tmp_path).trial(trial, False)


def test_code_of_ones_own_is_found_where_the_command_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "mine" / "my_space.py"
    module.parent.mkdir()
    module.write_text(LOSS)
    plan = run_of(tmp_path, module, Arm("halving", loss="my_space:Halving"))
    record = chosen_of(plan, 0).record
    with pytest.raises(
        UserError, match=r"stand in or beside my_space.py, which is not here; start this in the folder"
    ):
        recorded_plan(record)
    monkeypatch.chdir(module.parent)
    found = recorded_plan(record)
    assert found.job_arm("halving") == plan.job_arm("halving")
    assert changed_code(found, record) == []
    identity = {**record.identity, "own_code": dict.fromkeys(record.identity["own_code"], "another")}
    assert changed_code(found, replace(record, identity=identity)) == ["loss of halving"]


def test_code_of_a_study_over_another_one_stands_beside_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "my_space.py"
    base.write_text(LOSS)
    plan = run_of(tmp_path, base, Arm("halving", loss="my_space:Halving"))
    note_environment(plan.files, environment("2", "ablation", {}, None, "./my_space.py"))
    monkeypatch.chdir(tmp_path)
    assert recorded_plan(chosen_of(plan, 0).record).module == base


@pytest.mark.parametrize(
    ("state", "keep", "words"),
    [
        ("failed", False, "this trial failed .a reason.: there is nothing to compare with"),
        ("running", False, "this trial has not ended yet"),
        ("pruned", True, "was stopped after 4 epochs, so it has no weights to keep"),
    ],
)
def test_what_cannot_be_run_again(tmp_path: Path, state: str, keep: bool, words: str) -> None:
    chosen = chosen_of(run_of(tmp_path), 0)
    assert chosen.trial is not None
    check_can_run(chosen, keep=False)
    trial = replace(chosen.trial, state=state, reason="a reason")
    with pytest.raises(UserError, match=words):
        check_can_run(replace(chosen, trial=trial), keep)
