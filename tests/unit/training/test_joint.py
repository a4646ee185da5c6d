"""Joint training: classification and contrastive loss at once, each on its own head, over one encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from sdl_study.arms import ANY_JOINT, SD_JOINT, Arm
from sdl_study.config import SEARCHABLE
from sdl_study.errors import UserError
from sdl_study.losses import build_loss
from sdl_study.models import JointHead
from sdl_study.setting_paths import with_values
from sdl_study.space import log_uniform
from sdl_study.study.plan import make_plan
from sdl_study.training.gradients import batch_of
from sdl_study.training.model import build_loss as loss_of_arm
from sdl_study.training.model import build_model
from tests.unit.study.fakes import small_study
from tests.unit.training.jobs import job, run
from tests.unit.training.test_micro_batches import LABELS, ROWS, SPEC, share, with_settings


def gradients(model: Any) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("joint", ["bce", "asl"])
@pytest.mark.parametrize("micro", [None, 4])
def test_the_gradient_is_the_sum_of_the_two(joint: str, micro: int | None) -> None:
    """With the contrastive one weighed: written out with the two losses, apart and by hand."""
    arm, made = Arm("both", "sd", joint=joint), with_settings(joint_weight=0.3)
    model = build_model(arm, 7, made, SPEC, LABELS)
    chunks, labels = share(micro, (ROWS,))
    found = batch_of(model, loss_of_arm(arm, made), made.train, micro).backward(chunks, labels)
    joined = gradients(model)
    parts, values = [], []
    for weight, name in ((0.3, "sd"), (1.0, joint)):
        model.zero_grad(set_to_none=True)
        embeddings = torch.cat([model.encoder(**chunk) for chunk in chunks])
        assert isinstance(model.head, JointHead)
        projected = functional.normalize(model.head.projection(embeddings), dim=1)
        outputs = projected if name == "sd" else model.head.linear(embeddings)
        value = weight * build_loss(name)(outputs, labels)
        value.backward()
        parts.append(gradients(model))
        values.append(value.item())
    assert found.loss == pytest.approx(sum(values), rel=1e-5)
    assert set(joined) == set(parts[0]) | set(parts[1])
    for name, gradient in joined.items():
        expected = sum(part[name] for part in parts if name in part)
        assert torch.allclose(gradient, torch.as_tensor(expected), rtol=1e-4, atol=1e-6), name


def test_a_joint_arm_starts_as_its_contrastive_arm_does() -> None:
    """Seed k means the same initialisation in every arm."""
    made = with_settings()
    joint, alone = (build_model(arm, 7, made, SPEC, LABELS) for arm in (SD_JOINT, Arm("sd", "sd")))
    for first, second in zip(joint.encoder.parameters(), alone.encoder.parameters(), strict=True):
        assert torch.equal(first, second)
    assert isinstance(joint.head, JointHead)
    for first, second in zip(joint.head.projection.parameters(), alone.head.parameters(), strict=True):
        assert torch.equal(first, second)


def test_a_joint_job_learns_and_reports_as_the_others(folder: Path) -> None:
    work = job(folder, arm="any_joint", joint_weight=0.5)
    epochs, result = run(work)
    assert epochs[3]["train/loss"] < epochs[1]["train/loss"]
    assert {metrics["train/valid_anchor_fraction"] for metrics in epochs.values()} == {1.0}
    assert "train/loss_to_chance" not in epochs[1]
    assert result["objective"] == max(metrics["dev/objective"] for metrics in epochs.values())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"joint": "sd"}, "joint is 'sd'; choose bce or asl"),
        ({"joint": "bce", "pretraining": "supervised"}, "joint goes with a contrastive loss"),
        ({"pretraining": "joint"}, "name its classification loss with joint='bce'"),
    ],
)
def test_an_arm_that_makes_no_sense_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Arm("both", "sd", **given)


def test_the_weight_is_searched_by_joint_arms_alone(tmp_path: Path) -> None:
    assert "train.joint_weight" in SEARCHABLE
    small = small_study()
    weight = log_uniform("train.joint_weight", 0.1, 10.0)
    space = replace(small.space, parameters=(*small.space.parameters, weight))
    study = replace(small, arms=(*small.arms, ANY_JOINT), space=space)
    plan = make_plan(study, tmp_path, "small", {})
    (found,) = (parameter for parameter in plan.space.parameters if parameter.name == weight.name)
    assert found.arms == ("any_joint",)
    settings = with_values(plan.settings, {"train.joint_weight": 0.2}, "here")
    assert loss_of_arm(ANY_JOINT, settings).weight == 0.2
    wrong = replace(space, parameters=(*small.space.parameters, replace(weight, arms=("sd",))))
    with pytest.raises(UserError, match="arm sd trains with one loss alone; give it joint"):
        make_plan(replace(study, space=wrong), tmp_path, "small", {})
