"""Where a classification head starts: at the frequencies of the labels in train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdl_study.arms import BCE, SD, SD_JOINT, Arm
from sdl_study.losses import LabelSets
from sdl_study.training.model import PretrainingModel, build_model, start_at_frequencies, with_head
from tests.unit.training.jobs import job, run
from tests.unit.training.test_micro_batches import LABELS, SPEC, with_settings

TRAIN = LabelSets.from_lists([[0, 1]] * 3 + [[0]] * 96 + [[]], LABELS)


def started(arm: Arm, head_bias: str) -> PretrainingModel:
    made = with_settings(head_bias=head_bias)
    return start_at_frequencies(build_model(arm, 7, made, SPEC, LABELS), TRAIN, made)


@pytest.mark.parametrize("arm", [BCE, SD_JOINT], ids=lambda arm: arm.name)
def test_every_label_starts_at_its_frequency_in_train(arm: Arm) -> None:
    """Half an example more on either side, so that a label of none or all is no infinity; all else as without."""
    found, drawn = (started(arm, head_bias).state_dict() for head_bias in ("prior", "random"))
    other = [name for name in found if not torch.equal(found[name], drawn[name])]
    assert len(other) == 1
    expected = (np.array([99, 3] + [0] * (LABELS - 2)) + 0.5) / 101
    np.testing.assert_allclose(torch.sigmoid(found[other[0]]).numpy(), expected, rtol=1e-5)


def test_a_head_that_attends_to_tokens_starts_there_too() -> None:
    made = with_settings(head_bias="prior")
    model = with_head(build_model(BCE, 7, made, SPEC, LABELS), "label_attention", LABELS, 7)
    head: Any = start_at_frequencies(model, TRAIN, made).head
    expected = (np.array([99, 3] + [0] * (LABELS - 2)) + 0.5) / 101
    np.testing.assert_allclose(torch.sigmoid(head.decide.bias).detach().numpy(), expected, rtol=1e-5)


def test_a_head_without_labels_starts_as_it_is() -> None:
    made = with_settings(head_bias="prior")
    model = build_model(SD, 7, made, SPEC, LABELS)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    after = start_at_frequencies(model, TRAIN, made).state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_job_starts_there(folder: Path) -> None:
    """The loss of the first epoch is lower with the frequencies than with biases as they are drawn."""
    losses = [
        run(job(folder / bias, arm="bce", learning_rate=1e-5, head_bias=bias))[0][1]["train/loss"]
        for bias in ("prior", "random")
    ]
    assert losses[0] < losses[1] - 0.01
