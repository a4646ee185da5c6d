"""One update: what a diverged setting is and what is a mistake, the schedule, and what is trained."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sdl_study.config import TrainSettings
from sdl_study.losses import LabelSets, NonFiniteEmbeddingsError
from sdl_study.testing import run_processes
from sdl_study.training.model import PretrainingModel
from sdl_study.training.optimizer import warmup_then_cosine
from sdl_study.training.step import NonFiniteLoss, Step
from sdl_study.workers.job import Job, SettingFailure
from tests.unit.training.jobs import job, run, write_data

LABELS = LabelSets.from_lists([[0], [1]], 2)


class Encode(nn.Module):
    """Two features in, two out."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2, bias=False)
        nn.init.eye_(self.linear.weight)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features)


class GivenLoss(nn.Module):
    """A loss of one's own."""

    valid_anchor_fraction = torch.tensor(0.5)

    def __init__(self, value: Any) -> None:
        super().__init__()
        self._value = value

    def forward(self, outputs: Tensor, labels: LabelSets) -> Tensor:
        return self._value(outputs)


def step(value: Any, **train: Any) -> Step:
    model = PretrainingModel(Encode(), nn.Identity(), unit_length=False)
    settings = TrainSettings(
        epochs=1, **{"learning_rate": 0.1, "weight_decay": 0.0, "warmup_fraction": 0.0, **train}
    )
    return Step(model, GivenLoss(value), settings, steps=10)


def weight(made: Step) -> Tensor:
    return made.model.encoder.linear.weight.detach().clone()  # type: ignore[union-attr]


def batch(value: float = 1.0) -> dict[str, Tensor]:
    return {"features": torch.full((2, 2), value)}


def test_an_update_tells_the_loss_before_it_and_moves_the_weights() -> None:
    made = step(lambda outputs: outputs.square().mean())
    update = made.update([batch()], LABELS)
    assert (update.loss, update.valid_anchor_fraction) == (1.0, 0.5)
    assert torch.equal(update.vectors, torch.ones(2, 2))
    assert not update.vectors.requires_grad
    assert not torch.equal(weight(made), torch.eye(2))


def refuse(outputs: Tensor) -> Tensor:
    raise ValueError("embeddings hold rows of another number")


def refuse_not_finite(outputs: Tensor) -> Tensor:
    raise NonFiniteEmbeddingsError("row 0 holds NaN or infinity")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_without_a_value_is_the_settings_failure_and_nothing_moves(value: float) -> None:
    made = step(lambda outputs: outputs.sum() * value)
    with pytest.raises(NonFiniteLoss):
        made.update([batch()], LABELS)
    assert torch.equal(weight(made), torch.eye(2))


def test_a_loss_says_itself_that_outputs_are_not_finite_and_any_other_refusal_is_a_mistake() -> None:
    with pytest.raises(NonFiniteLoss):
        step(refuse_not_finite).update([batch(float("inf"))], LABELS)
    with pytest.raises(ValueError, match="embeddings hold"):
        step(refuse).update([batch(float("inf"))], LABELS)


@pytest.mark.parametrize(("clip", "norm"), [(0.0, 8.0), (1.0, 1.0)])
def test_gradients_are_clipped_to_a_norm(clip: float, norm: float, monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []

    def note(optimizer: torch.optim.Optimizer, *_: object, **__: object) -> None:
        norms.append(float(optimizer.param_groups[0]["params"][0].grad.norm()))

    monkeypatch.setattr(torch.optim.AdamW, "step", note)
    step(lambda outputs: 2 * outputs.sum(), gradient_clip=clip).update([batch()], LABELS)
    assert norms == [pytest.approx(norm, rel=1e-4)]


def test_the_state_of_a_training_goes_on_in_another() -> None:
    first, second = (
        step(lambda outputs: outputs.square().mean()),
        step(lambda outputs: outputs.square().mean()),
    )
    for _ in range(3):
        first.update([batch()], LABELS)
    second.load(**copy.deepcopy(first.state()))
    assert second.learning_rate == first.learning_rate
    assert first.update([batch()], LABELS).loss == second.update([batch()], LABELS).loss
    assert torch.equal(weight(first), weight(second))


def test_the_learning_rate_rises_and_falls_to_zero() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = warmup_then_cosine(optimizer, steps=20, warmup_fraction=0.25)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:6] == pytest.approx([0.2, 0.36, 0.52, 0.68, 0.84, 1.0])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-12)


def diverge(jobs: list[dict[str, Any]]) -> list[str]:
    """For spawned processes: what a rank says of jobs that diverge, one after another."""
    said = []
    for values in jobs:
        try:
            run(Job(**values))
        except SettingFailure as error:
            said.append(type(error).__name__)
    return said


def test_a_setting_that_diverges_says_so_on_every_rank_at_once(tmp_path: Path) -> None:
    """Within an epoch the next loss shows it; after an epoch's last update, here its only one, the embeddings do."""
    write_data(tmp_path / "data")
    jobs = [
        job(tmp_path / f"{arm}{batch_size}", arm=arm, batch_size=batch_size, learning_rate=1e30).to_dict()
        for batch_size in (16, 50)
        for arm in ("sd", "bce")
    ]
    said = ["NonFiniteLoss"] * 2 + ["NonFiniteEmbeddings"] * 2
    assert run_processes(diverge, 2, jobs) == [said] * 2
