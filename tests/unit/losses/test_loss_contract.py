"""Every loss of the catalogue keeps the contract, an outsider's rule of five lines too; broken losses do not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

import sdl_study
from sdl_study.losses import (
    AnyLoss,
    SimilarityDissimilarityLoss,
    SupervisedLoss,
    WeightRule,
    named_losses,
)
from sdl_study.testing import LossContract

BY_ROW_NUMBER = ("random_weights",)
"""Losses that take the rows' numbers into account by definition."""


class TestNamedLosses(LossContract):
    test_several_processes_are_one = None  # pyright: ignore[reportAssignmentType]  # all at once in tests/distributed

    @pytest.fixture(autouse=True, params=named_losses())
    def _named(self, request: pytest.FixtureRequest) -> None:
        self.loss = request.param
        self.depends_on_order = request.param in BY_ROW_NUMBER


class TestLearnableTemperature(LossContract):
    test_several_processes_are_one = None  # pyright: ignore[reportAssignmentType]
    loss = SimilarityDissimilarityLoss
    settings = {"temperature": 0.3, "learnable_temperature": True}  # noqa: RUF012


class Halving(WeightRule):
    """The example of the documentation."""

    def weight(self, intersection: Tensor, anchor_size: Tensor, candidate_size: Tensor) -> Tensor:
        return 0.5 ** (candidate_size - intersection)


class TestAnOutsidersRule(LossContract):
    test_several_processes_are_one = None  # pyright: ignore[reportAssignmentType]
    loss = Halving
    settings = {"normalizer": "weights", "temperature": 0.3}  # noqa: RUF012


class Squared(SupervisedLoss):
    """The example of the documentation."""

    def elementwise(self, logits: Tensor, targets: Tensor) -> Tensor:
        return (logits.sigmoid() - targets) ** 2


class TestAnOutsidersSupervisedLoss(LossContract):
    shards = ((5, 4),)

    def make_loss(self) -> nn.Module:
        return Squared()


class Broken(nn.Module):
    """ANY with one mistake; it is made for one rank."""

    def __init__(self) -> None:
        super().__init__()
        self.right = AnyLoss(0.5, distributed=False)
        self.valid_anchor_fraction = torch.ones(())

    def forward(self, rows: Tensor, labels: Any) -> Tensor:
        value = self.right(rows, labels)
        self.valid_anchor_fraction = self.right.valid_anchor_fraction
        return value


class Detached(Broken):
    def forward(self, rows: Tensor, labels: Any) -> Tensor:
        return super().forward(rows, labels).detach().requires_grad_()


class PerRow(Broken):
    def forward(self, rows: Tensor, labels: Any) -> Tensor:
        return super().forward(rows, labels).expand(len(rows))


class ByRowNumber(Broken):
    def forward(self, rows: Tensor, labels: Any) -> Tensor:
        return super().forward(rows, labels) + (rows.sum(1) * torch.arange(len(rows))).sum()


class DenseOnly(Broken):
    def forward(self, rows: Tensor, labels: Any) -> Tensor:
        return super().forward(rows, labels) + (labels.double() @ labels.double().T).sum() * 0


class Steep(Broken):
    def forward(self, rows: Tensor, labels: Any) -> Tensor:
        value = super().forward(rows, labels)
        return value + (rows - rows.detach()).sum()


class Rescaled(torch.autograd.Function):
    """A gradient that forgets the factor of what comes after."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return rows.square().sum()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  # the decorator hides the names
        ctx: Any, *grad_outputs: Tensor
    ) -> Tensor:
        (rows,) = ctx.saved_tensors
        return 2 * rows * grad_outputs[0].sign()


class Unscaled(Broken):
    def forward(self, rows: Tensor, labels: Any) -> Tensor:
        return super().forward(rows, labels) + Rescaled.apply(rows)


class Constant(torch.autograd.Function):
    """A right gradient that looks like a constant to a second derivative."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return rows.square().sum()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  # the decorator hides the names
        ctx: Any, *grad_outputs: Tensor
    ) -> Tensor:
        (rows,) = ctx.saved_tensors
        return 2 * rows * grad_outputs[0]


class SilentlyConstant(Broken):
    def forward(self, rows: Tensor, labels: Any) -> Tensor:
        return Constant.apply(rows)


class EmptySetsCount(Broken):
    def forward(self, rows: Tensor, labels: Any) -> Tensor:
        value = super().forward(rows, labels)
        self.valid_anchor_fraction = torch.ones(())
        return value


class NeverZero(Broken):
    def forward(self, rows: Tensor, labels: Any) -> Tensor:
        return super().forward(rows, labels) + 1


class TakesAnything(Broken):
    def forward(self, rows: Tensor, labels: Any) -> Tensor:
        return super().forward(rows.nan_to_num(), labels)


class RoundsHard(Broken):
    def forward(self, rows: Tensor, labels: Any) -> Tensor:
        value = super().forward(rows, labels)
        return value if rows.dtype == torch.float64 else value.bfloat16().float()


class ParameterWithoutSlope(Broken):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, rows: Tensor, labels: Any) -> Tensor:
        return super().forward(rows, labels) * (self.scale.detach() + 0 * self.scale)


@pytest.mark.parametrize(
    ("loss", "test", "message"),
    [
        (Detached, "a_batch_has_a_finite_value_and_a_gradient", "not attached"),
        (PerRow, "a_batch_has_a_finite_value_and_a_gradient", "a loss is one number"),
        (ByRowNumber, "the_order_of_rows_does_not_matter", "value: wrong by"),
        (Steep, "the_gradient_is_the_slope_of_the_value", "differs from central differences"),
        (Unscaled, "gradients_scale_and_add_up", "3·loss"),
        (SilentlyConstant, "second_derivatives_are_right_or_refused", "make it right, or raise"),
        (EmptySetsCount, "rows_without_labels_are_no_anchors", "1.00 of all count"),
        (NeverZero, "without_a_valid_anchor_it_is_zero_and_attached", "the value is 1.0"),
        (TakesAnything, "rows_that_are_not_finite_are_refused", "raise NonFiniteEmbeddingsError"),
        (RoundsHard, "float32_is_near_float64", "float32"),
        (ParameterWithoutSlope, "parameters_of_the_loss_follow_their_slope", "slope of scale"),
    ],
)
def test_a_broken_loss_breaks_the_contract(loss: type, test: str, message: str) -> None:
    contract = LossContract()
    contract.loss = loss
    with pytest.raises(AssertionError, match=message):
        getattr(contract, f"test_{test}")()


def test_values_are_compared_in_double_precision() -> None:
    LossContract().require_same("value", 1 + 1e-11, 1.0)
    with pytest.raises(AssertionError, match=r"value: wrong by 1\.0e-08"):
        LossContract().require_same("value", 1 + 1e-8, 1.0)


def test_a_loss_of_one_form_of_labels_breaks_the_contract() -> None:
    contract = LossContract()
    contract.loss = DenseOnly
    with pytest.raises(AttributeError):
        contract.test_the_form_of_the_labels_does_not_matter()
    with pytest.raises(TypeError, match="set loss"):
        LossContract().make_loss()


OUTSIDE = """
from sdl_study.losses import WeightRule
from sdl_study.testing import LossContract


class Quarter(WeightRule):
    def weight(self, intersection, anchor_size, candidate_size):
        return 0.25 ** (candidate_size - intersection)


class TestQuarter(LossContract):
    loss = Quarter
"""


def test_one_line_tests_a_rule_outside_the_repository(tmp_path: Path) -> None:
    """Also where pytest gives the module a name that no other process can import."""
    (tmp_path / "test_quarter.py").write_text(OUTSIDE)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "test_quarter.py"],
        capture_output=True, text=True, timeout=250, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(sdl_study.__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "13 passed" in done.stdout
