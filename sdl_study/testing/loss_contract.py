"""What every loss has to keep, as tests that pytest finds in a subclass.

from sdl_study.testing import LossContract

class TestHalving(LossContract):
    loss = Halving          # a WeightRule, a whole loss, a catalogue name or "path/file.py:Class"
"""

from __future__ import annotations

import copy
import importlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from sdl_study.label_sets import LabelSets
from sdl_study.losses.base import WeightedContrastiveLoss
from sdl_study.losses.catalogue import build_loss
from sdl_study.losses.errors import NonFiniteEmbeddingsError
from sdl_study.losses.rules import WeightRule
from sdl_study.losses.supervised import SupervisedLoss
from sdl_study.references import load_module
from sdl_study.testing.sharded import (
    EMBEDDING_SIZE,
    check_sharded,
    make_encoder,
    make_inputs,
    multi_hot_labels,
)
from sdl_study.testing.slopes import numeric_slopes

SLOPE_TOLERANCE = 1e-6
"""Of central differences in float64, whose own error is about their step's square."""


class LossContract:
    """Tests of a loss: subclass it, name the class ``Test...``, and say which loss.

    Rows are [N, 6] in float64 with label sets of 6 labels, so that the same rows serve as embeddings and as logits.
    The loss is made anew for every evaluation, so a loss that counts its steps is always at its first.

    Attributes:
        loss: a ``WeightRule`` or a loss class, or the name of one (``sd``, ``module:Class``, ``path/file.py:Class``).
            A loss that is made in another way overrides ``make_loss``.
        settings: given to its constructor (a rule's ``temperature`` is its loss's).
        depends_on_order: True for a loss that takes the rows' numbers into account, as the control
            ``random_weights`` does; the order of rows is then not changed.
        shards: rows per rank of the batches that are tried in real processes; one entry per batch.
        tolerance: largest relative error, in float64, between values that should be one.
    """

    loss: Any = None
    settings: Mapping[str, Any] = MappingProxyType({})
    depends_on_order: bool = False
    shards: Sequence[Sequence[int]] = ((6, 3), (7, 0))
    tolerance: float = 1e-10

    def make_loss(self) -> nn.Module:
        """A new loss, called as ``loss(rows, labels)``."""
        if self.loss is None:
            raise TypeError(f"{type(self).__name__}: set loss, or override make_loss")
        if isinstance(self.loss, str):
            return build_loss(self.loss, **self.settings)
        if issubclass(self.loss, WeightRule):
            of_loss = {name: value for name, value in self.settings.items() if name == "temperature"}
            of_rule = {name: value for name, value in self.settings.items() if name not in of_loss}
            return WeightedContrastiveLoss(self.loss(**of_rule), **of_loss)
        return self.loss(**self.settings)

    def new_loss(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        """``make_loss`` with the same random numbers every time, its parameters in a dtype."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            return self.make_loss().to(dtype)

    def step(self, rows: Tensor, labels: Tensor | LabelSets) -> tuple[float, Tensor]:
        """Value and gradient of the rows, of a new loss."""
        rows = rows.detach().clone().requires_grad_()
        value = self.new_loss(rows.dtype)(rows, labels)
        value.backward()
        assert rows.grad is not None, "the loss is not attached to its rows"
        return float(value.detach()), rows.grad

    def test_a_batch_has_a_finite_value_and_a_gradient(self) -> None:
        rows, labels = batch()
        loss = self.new_loss()
        value = loss(rows.requires_grad_(), labels)
        assert value.shape == (), f"the value has shape {tuple(value.shape)}; a loss is one number"
        assert value.dtype == rows.dtype, f"rows are {rows.dtype}, the value is {value.dtype}"
        assert math.isfinite(float(value.detach())), f"the value is {float(value.detach())}"
        value.backward()
        assert rows.grad is not None, "the loss is not attached to its rows"
        assert float(rows.grad.norm()) > 0, "the gradient is 0 on a batch with positives"
        fraction = float(torch.as_tensor(loss.valid_anchor_fraction))
        assert 0 < fraction <= 1, f"valid_anchor_fraction is {fraction}"

    def test_the_order_of_rows_does_not_matter(self) -> None:
        if self.depends_on_order:
            return
        rows, labels = batch()
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(5))
        value, gradient = self.step(rows, labels)
        moved, moved_gradient = self.step(rows[order], labels[order])
        self.require_same("value", moved, value)
        self.require_same("gradient", moved_gradient, gradient[order])

    def test_the_form_of_the_labels_does_not_matter(self) -> None:
        rows, labels = batch()
        value, gradient = self.step(rows, labels)
        for form in (LabelSets.from_multi_hot(labels), labels.bool(), labels.to_sparse()):
            other, other_gradient = self.step(rows, form)
            self.require_same("value", other, value)
            self.require_same("gradient", other_gradient, gradient)

    def test_the_gradient_is_the_slope_of_the_value(self) -> None:
        rows, labels = batch()
        _, gradient = self.step(rows, labels)
        slopes = numeric_slopes(lambda moved: float(self.new_loss()(moved, labels).detach()), rows)
        error = float((gradient - slopes).norm())
        assert error <= SLOPE_TOLERANCE * (1 + float(slopes.norm())), (
            f"the gradient differs from central differences by {error:.1e}, of {float(slopes.norm()):.1e}"
        )

    def test_gradients_scale_and_add_up(self) -> None:
        rows, labels = batch()
        _, gradient = self.step(rows, labels)
        rows.requires_grad_()
        (self.new_loss()(rows, labels) * 3).backward()
        (self.new_loss()(rows, labels) - 1).backward()
        assert rows.grad is not None
        self.require_same("gradient of 3·loss and of loss together", rows.grad, 4 * gradient)

    def test_parameters_of_the_loss_follow_their_slope(self) -> None:
        rows, labels = batch()
        for name in [name for name, p in self.new_loss().named_parameters() if p.requires_grad]:
            loss = self.new_loss()
            loss(rows, labels).backward()
            found = loss.get_parameter(name).grad
            assert found is not None, f"parameter {name} has no gradient"
            slopes = numeric_slopes(
                partial(self._value_at, name, rows, labels), loss.get_parameter(name).detach()
            )
            error = float((found - slopes).norm())
            assert error <= SLOPE_TOLERANCE * (1 + float(slopes.norm())), (
                f"slope of {name}: {found}, not {slopes}"
            )

    def _value_at(self, name: str, rows: Tensor, labels: Tensor, parameter: Tensor) -> float:
        loss = self.new_loss()
        with torch.no_grad():
            loss.get_parameter(name).copy_(parameter)
        return float(loss(rows, labels).detach())

    def test_rows_without_labels_are_no_anchors(self) -> None:
        rows, labels = batch()
        labels[::2] = 0
        value, gradient = self.step(rows, labels)
        assert math.isfinite(value), f"the value is {value}"
        assert bool(torch.isfinite(gradient).all()), "the gradient is not finite"
        loss = self.new_loss()
        loss(rows, labels)
        if not isinstance(loss, SupervisedLoss):
            fraction = float(torch.as_tensor(loss.valid_anchor_fraction))
            assert fraction <= 0.5, f"half of the rows have no labels, {fraction:.2f} of all count as anchors"

    def test_without_a_valid_anchor_it_is_zero_and_attached(self) -> None:
        rows, labels = batch()
        nothing = [(rows[:0], labels[:0])]
        if not isinstance(
            self.new_loss(), SupervisedLoss
        ):  # to which a row alone or without labels says much
            own = torch.eye(EMBEDDING_SIZE, dtype=labels.dtype)
            nothing += [(rows[:1], labels[:1]), (rows, torch.zeros_like(labels)), (rows[: len(own)], own)]
        for some, none in nothing:
            value, gradient = self.step(some, none)
            assert value == 0, f"{len(some)} rows without a valid anchor: the value is {value}"
            assert gradient.shape == some.shape
            assert float(gradient.abs().sum()) == 0, (
                f"{len(some)} rows without a valid anchor have a gradient"
            )

    def test_a_rules_flags_change_nothing(self) -> None:
        loss = self.new_loss()
        if not isinstance(loss, WeightedContrastiveLoss):
            return
        rows, labels = batch()
        value, gradient = self.step(rows, labels)
        loss.rule = copy.copy(loss.rule)
        loss.rule.symmetric = loss.rule.zero_when_disjoint = False
        loss.rule.restricts_positives = True
        plain = loss(rows.requires_grad_(), labels)
        plain.backward()
        assert rows.grad is not None
        self.require_same("value with the rule's flags", value, plain.detach())
        self.require_same("gradient with the rule's flags", gradient, rows.grad)

    def test_rows_that_are_not_finite_are_refused(self) -> None:
        for wrong in (math.nan, math.inf, -math.inf):
            rows, labels = batch()
            rows[3, 1] = wrong
            try:
                value = self.new_loss()(rows, labels)
            except NonFiniteEmbeddingsError:
                continue
            raise AssertionError(
                f"a row with {wrong} gives {value}; raise NonFiniteEmbeddingsError, on all ranks"
            )

    def test_second_derivatives_are_right_or_refused(self) -> None:
        rows, labels = batch(5)
        _, gradient = self.step(rows, labels)
        moved = rows.clone().requires_grad_()
        value = self.new_loss()(moved, labels)
        (first,) = torch.autograd.grad(value, moved, create_graph=True)
        self.require_same("gradient under create_graph=True", first.detach(), gradient)
        try:
            (value + first.square().sum()).backward()
        except RuntimeError:
            return
        assert moved.grad is not None
        slopes = numeric_slopes(lambda at: self._penalised(at, labels), rows)
        error = float((moved.grad - slopes).norm())
        assert error <= SLOPE_TOLERANCE * (1 + float(slopes.norm())), (
            f"loss + |gradient|²: its gradient is wrong by {error:.1e} of {float(slopes.norm()):.1e}; "
            "make it right, or raise RuntimeError"
        )

    def _penalised(self, rows: Tensor, labels: Tensor) -> float:
        value, gradient = self.step(rows, labels)
        return value + float(gradient.square().sum())

    def test_float32_is_near_float64(self) -> None:
        rows, labels = batch()
        value, gradient = self.step(rows, labels)
        single, single_gradient = self.step(rows.float(), labels.float())
        assert math.isclose(single, value, rel_tol=1e-4, abs_tol=1e-5), f"float32: {single}, float64: {value}"
        error = float((single_gradient.double() - gradient).norm())
        assert error <= 1e-4 * (1 + float(gradient.norm())), f"float32 gradient is wrong by {error:.1e}"

    def test_several_processes_are_one(self) -> None:
        check_sharded(
            {type(self).__name__: MadeByContract.of(self)},
            sorted({len(shape) for shape in self.shards}),
            self.shards,
            labels=partial(multi_hot_labels, num_labels=EMBEDDING_SIZE),
        ).require_exact()

    def require_same(self, what: str, found: float | Tensor, expected: float | Tensor) -> None:
        """AssertionError unless two values that should be one are within the tolerance."""
        right = torch.as_tensor(expected, dtype=torch.float64)  # a Python number would become float32
        error = float((torch.as_tensor(found, dtype=torch.float64) - right).norm())
        size = 1 + float(right.norm())
        assert error <= self.tolerance * size, f"{what}: wrong by {error:.1e} of {size:.1e}"


@dataclass(frozen=True)
class MadeByContract:
    """Makes a contract's loss in a process of its own, where the test module may have no name to import it by.

    Attributes:
        module, name, file: where the contract's class is.
        state: the attributes that its instance was given.
    """

    module: str
    name: str
    file: str
    state: Mapping[str, Any]

    @classmethod
    def of(cls, contract: LossContract) -> Callable[[], nn.Module]:
        """The maker of a contract's loss."""
        kind = type(contract)
        return cls(kind.__module__, kind.__qualname__, inspect.getfile(kind), dict(vars(contract)))

    def __call__(self) -> nn.Module:
        try:
            kind = getattr(importlib.import_module(self.module), self.name)
        except (ModuleNotFoundError, AttributeError):
            kind = getattr(load_module(str(Path(self.file).resolve())), self.name)
        contract = kind()
        vars(contract).update(self.state)
        return contract.make_loss()


def batch(num_rows: int = 12) -> tuple[Tensor, Tensor]:
    """Rows [N, 6] of unit length and multi-hot labels [N, 6]; equal, empty and overlapping sets among them."""
    with torch.no_grad():
        rows = nn.functional.normalize(make_encoder()(make_inputs(num_rows)), dim=1)
    return rows, multi_hot_labels([num_rows], EMBEDDING_SIZE)
