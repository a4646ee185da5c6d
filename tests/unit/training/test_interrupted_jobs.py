"""Jobs that are killed, stopped or lost go on bitwise, and leave what is needed for that and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sdl_study.training import checkpoint
from sdl_study.training.step import Step
from sdl_study.workers.job import JobStopped
from tests.unit.training.jobs import job, run

pytestmark = pytest.mark.usefixtures("one_thread")


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("encoder", ["conv", "bert"])
def test_a_job_killed_between_epochs_goes_on_bitwise(folder: Path, encoder: str) -> None:
    whole, _ = run(job(folder / "whole", encoder=encoder))

    def killed(epoch: int) -> bool:
        if epoch == 2:
            raise Killed
        return True

    with pytest.raises(Killed):
        run(job(folder / "broken", encoder=encoder), killed)
    rest, _ = run(job(folder / "broken", encoder=encoder, resumed=True))
    assert list(rest) == [2, 3]  # the report of epoch 2 may have been lost
    assert rest == {epoch: whole[epoch] for epoch in rest}


def test_a_job_killed_in_an_epoch_repeats_only_that_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = run(job(folder / "whole", encoder="bert"))
    steps = 0
    update = Step.update

    def killed(self: Step, *given: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 10:  # 4 steps an epoch: the second of the third
            raise Killed
        return update(self, *given)

    monkeypatch.setattr(Step, "update", killed)
    with pytest.raises(Killed):
        run(job(folder / "broken", encoder="bert"))
    monkeypatch.undo()
    rest, _ = run(job(folder / "broken", encoder="bert", resumed=True))
    assert list(rest) == [2, 3]
    assert rest == {epoch: whole[epoch] for epoch in rest}


EVERY_STEP = 1e-9
"""Minutes between two checkpoints."""


@pytest.mark.parametrize("step", [1, 4, 5, 7, 12])
def test_a_job_killed_at_any_step_goes_on_from_there_bitwise(
    folder: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4 steps an epoch, 12 in all: the first and last of an epoch, and others; in the middle of the update."""
    work = {"encoder": "bert", "kind": "final", "checkpoint_minutes": EVERY_STEP}
    whole, ended = run(job(folder / "whole", **work))
    made: list[int] = []
    update = Step.update

    def counted(self: Step, *given: Any) -> Any:
        made.append(1)
        if len(made) == step and not resumed:
            self.model.zero_grad()
            raise Killed
        return update(self, *given)

    monkeypatch.setattr(Step, "update", counted)
    resumed = False
    with pytest.raises(Killed):
        run(job(folder / "broken", **work))
    resumed, before = True, len(made)
    rest, ended_again = run(job(folder / "broken", resumed=True, **work))
    assert len(made) - before == 12 - (step - 1)  # no step is made twice
    assert rest == {epoch: whole[epoch] for epoch in rest}
    for one, other in ((ended, ended_again), (weights(folder / "whole"), weights(folder / "broken"))):
        one.pop("seconds", None)
        other.pop("seconds", None)
        assert one.keys() == other.keys()
        assert all(bool(torch.as_tensor(one[name] == other[name]).all()) for name in one)


def weights(folder: Path) -> dict[str, Any]:
    best = checkpoint.load(folder / "job", checkpoint.BEST, torch.device("cpu"))
    assert best is not None
    return best.model


@pytest.mark.parametrize("arm", ["sd", "bce"])
def test_an_epoch_with_checkpoints_is_one_without(folder: Path, arm: str) -> None:
    often, _ = run(job(folder / "often", arm=arm, checkpoint_minutes=EVERY_STEP))
    never, _ = run(job(folder / "never", arm=arm, checkpoint_minutes=0))
    assert often == never


def test_a_trial_leaves_no_weights_and_one_that_is_told_to_stop_all_of_them(folder: Path) -> None:
    epochs, ended = run(job(folder / "done"))
    assert not (folder / "done" / "job" / checkpoint.BEST).exists()
    last = checkpoint.load(folder / "done" / "job", checkpoint.LAST, torch.device("cpu"))
    assert last is not None
    assert last.model == last.optimizer == {}
    again, told = run(job(folder / "done", resumed=True))  # its end was lost with the machine
    assert (again, told) == ({3: epochs[3]}, ended)
    with pytest.raises(JobStopped):
        run(job(folder / "stopped"), lambda epoch: epoch < 2)
    rest, _ = run(job(folder / "stopped", resumed=True))
    assert rest == {epoch: epochs[epoch] for epoch in (2, 3)}


def test_a_final_that_was_scored_and_lost_is_scored_again_from_its_best_weights(folder: Path) -> None:
    _, ended = run(job(folder, kind="final"))
    again, told = run(job(folder, kind="final", resumed=True))
    assert list(again) == [3]
    assert told == ended


def test_a_job_that_is_not_resumed_ignores_an_old_checkpoint(folder: Path) -> None:
    first, _ = run(job(folder))
    again, _ = run(job(folder))
    assert again == first


def test_a_job_of_several_passes_goes_on_bitwise(folder: Path) -> None:
    whole, _ = run(job(folder / "whole", encoder="bert", min_examples=300))

    def killed(epoch: int) -> bool:
        if epoch == 2:
            raise Killed
        return True

    with pytest.raises(Killed):
        run(job(folder / "broken", encoder="bert", min_examples=300), killed)
    rest, _ = run(job(folder / "broken", encoder="bert", min_examples=300, resumed=True))
    assert rest == {epoch: whole[epoch] for epoch in (2, 3)}
