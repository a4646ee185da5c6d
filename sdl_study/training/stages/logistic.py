"""The probe's solver: many L2-regularised logistic regressions on the same inputs at once, one for each label.

L-BFGS (Liu & Nocedal 1989; Nocedal & Wright, "Numerical Optimization", algorithm 7.4) with a history and a step
per label. The inputs are expected in their principal axes, where the matrix c·XᵀX/n + l2·I that approximates every
label's Hessian is diagonal; its inverse is the initial metric, so that few steps suffice.

Cost: a step is two products of 2·n·D·L operations, L being the labels that have not converged: a wide block is cut
down to these each time that they have become half as many, and only those search on whose step was too long.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

_HISTORY = 8
_MAX_STEPS = 200
_MAX_HALVINGS = 12
# Narrower blocks stay whole: their products are no faster for a few columns less.
_LEAST_CUT = 64
# So many logits at once, a thread: 1 MiB, which a core's cache holds from one product to the next.
_IN_CACHE = 1 << 18


class Problem:
    """Loss and gradient of one block of labels; the parameters [P = D + 1, L] hold the bias in the last row.

    Args:
        data: inputs in their principal axes.
        targets: multi-hot.
        l2: strength of the regularisation, relative to the mean log loss.
    """

    def __init__(self, data: Float[Tensor, "n D"], targets: Float[Tensor, "n L"], l2: float) -> None:
        self.data, self.l2, self.rows = data, l2, data.shape[0]
        positives = targets.sum(dim=0)
        self.degenerate = (positives == 0) | (positives == self.rows)
        rate = (positives + 0.5) / (self.rows + 1.0)
        self.prior = torch.logit(rate)
        self.entropy = -(rate * rate.log() + (1 - rate) * (1 - rate).log())
        # Data and targets meet only in these products, so a step needs no pass over the targets.
        self.moments = torch.cat([data.T @ targets, positives.unsqueeze(0)]) / self.rows
        curvature = (rate * (1 - rate)).unsqueeze(0)
        spectrum = data.square().mean(dim=0).unsqueeze(1)
        self.metric = 1.0 / torch.cat([curvature * spectrum + l2, curvature])

    def of(self, columns: Int[Tensor, " kept"]) -> Problem:
        """The same problem for some of its labels."""
        part = copy(self)
        part.degenerate, part.prior = self.degenerate[columns], self.prior[columns]
        part.entropy = self.entropy[columns]
        part.moments, part.metric = self.moments[:, columns], self.metric[:, columns]
        return part

    def evaluate(self, params: Float[Tensor, "P L"]) -> tuple[Float[Tensor, " L"], Float[Tensor, "P L"]]:
        """Objective of every label (float64) and its gradient."""
        weights = params[:-1]
        loss = torch.zeros(params.shape[1], dtype=torch.float64, device=params.device)
        gradient = torch.zeros_like(params)
        for part in self.data.split(rows_at_once(params.shape[1], self.data)):
            logits = torch.addmm(params[-1], part, weights)
            loss += torch.nn.functional.softplus(logits).sum(dim=0, dtype=torch.float64)
            probabilities = logits.sigmoid_()
            gradient[:-1].addmm_(part.T, probabilities)
            gradient[-1] += probabilities.sum(dim=0)
        loss /= self.rows
        loss -= (params * self.moments).sum(dim=0, dtype=torch.float64)
        loss += 0.5 * self.l2 * weights.square().sum(dim=0, dtype=torch.float64)
        gradient /= self.rows
        gradient -= self.moments
        gradient[:-1] += self.l2 * weights
        return loss, gradient


def rows_at_once(labels: int, data: Float[Tensor, "n D"]) -> int:
    """Rows whose logits are made together: all of them on a GPU, whose products must be large."""
    if data.device.type != "cpu":
        return data.shape[0]
    return max(1, _IN_CACHE * torch.get_num_threads() // labels)


def fit_block(
    data: Float[Tensor, "n D"],
    targets: Float[Tensor, "n L"],
    l2: float,
    tolerance: float,
    initial: Float[Tensor, "D+1 L"] | None,
) -> Float[Tensor, "D+1 L"]:
    """Minimise the objective of each label.

    Args:
        data: inputs in their principal axes.
        targets: multi-hot.
        l2: strength of the regularisation.
        tolerance: a label stops when the estimated gain left is below this share of its entropy.
        initial: where to start; None: at the label's frequency.

    Returns:
        Weights, and the bias in the last row. A label that all rows carry, or none, has its frequency as bias.
    """
    problem = Problem(data, targets, l2)
    params = data.new_zeros(data.shape[1] + 1, targets.shape[1])
    params[-1] = problem.prior
    if initial is not None:
        params = torch.where(problem.degenerate, params, initial)
    solution, columns = params, torch.arange(params.shape[1], device=params.device)
    loss, gradient = problem.evaluate(params)
    history: list[tuple[Tensor, Tensor, Tensor]] = []
    active = ~problem.degenerate
    for _ in range(_MAX_STEPS):
        # Half of g·H·g estimates what is left to gain (Newton decrement).
        goal = tolerance * problem.entropy
        active = active & ((gradient.square() * problem.metric).sum(dim=0) > 2 * goal)
        left = int(active.sum())
        if left == 0:
            break
        if _LEAST_CUT <= active.numel() >= 2 * left:
            solution = solution.index_copy(1, columns, params)
            kept = active.nonzero().squeeze(1)
            problem, columns, active = problem.of(kept), columns[kept], active[kept]
            params, loss, gradient = params[:, kept], loss[kept], gradient[:, kept]
            history = [(step[:, kept], change[:, kept], inverse[kept]) for step, change, inverse in history]
        direction = _direction(gradient, history, problem.metric) * active
        moved, new_loss, new_gradient, taken = _line_search(problem, params, loss, gradient, direction)
        active = active & taken
        history.append(_pair(moved - params, new_gradient - gradient))
        del history[:-_HISTORY]
        params, loss, gradient = moved, new_loss, new_gradient
    return solution.index_copy(1, columns, params)


def _pair(step: Tensor, change: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A step, the gradient's change and 1 / (s·y), which is 0 for labels whose pair carries no curvature."""
    curvature = (step * change).sum(dim=0)
    floor = 1e-10 * step.norm(dim=0) * change.norm(dim=0)
    return step, change, torch.where(curvature > floor, 1.0 / curvature, torch.zeros_like(curvature))


def _direction(
    gradient: Float[Tensor, "P L"],
    history: Sequence[tuple[Tensor, Tensor, Tensor]],
    metric: Float[Tensor, "P L"],
) -> Float[Tensor, "P L"]:
    """Two-loop recursion, a column per label."""
    direction = -gradient
    factors = []
    for step, change, inverse in reversed(history):
        factor = inverse * (step * direction).sum(dim=0)
        direction = direction - factor * change
        factors.append(factor)
    direction = direction * metric
    for (step, change, inverse), factor in zip(history, reversed(factors), strict=True):
        direction = direction + step * (factor - inverse * (change * direction).sum(dim=0))
    slope = (direction * gradient).sum(dim=0)
    return torch.where(slope < 0, direction, -gradient * metric)


def _line_search(
    problem: Problem,
    params: Tensor,
    loss: Tensor,
    gradient: Tensor,
    direction: Tensor,
    halvings: int = _MAX_HALVINGS,
) -> tuple[Tensor, Tensor, Tensor, Bool[Tensor, " L"]]:
    """Halve the step of every label that did not gain enough (Armijo); the last value tells who moved.

    In a wide block these labels are searched for apart, where they are the fewer.
    """
    slope = (direction * gradient).sum(dim=0).double()
    size = torch.ones_like(slope, dtype=params.dtype)
    # float32 logits cannot resolve a smaller gain than this.
    noise = 1e-7 * loss.abs() + 1e-12
    accepted = torch.zeros_like(slope, dtype=torch.bool)
    for made in range(1, halvings + 1):
        moved = params + size * direction
        new_loss, new_gradient = problem.evaluate(moved)
        accepted = new_loss <= loss + 1e-4 * size * slope + noise
        left = (~accepted).nonzero().squeeze(1)
        if len(left) == 0:
            return moved, new_loss, new_gradient, accepted
        if made == 1 and _LEAST_CUT <= accepted.numel() >= 2 * len(left):
            part = _line_search(
                problem.of(left),
                params[:, left],
                loss[left],
                gradient[:, left],
                0.5 * direction[:, left],
                halvings - 1,
            )
            moved, new_gradient = (
                whole.index_copy(1, left, found)
                for whole, found in ((moved, part[0]), (new_gradient, part[2]))
            )
            return (
                moved,
                new_loss.index_copy(0, left, part[1]),
                new_gradient,
                accepted.index_copy(0, left, part[3]),
            )
        size = torch.where(accepted, size, 0.5 * size)
    size = torch.where(accepted, size, torch.zeros_like(size))
    moved = params + size * direction
    new_loss, new_gradient = problem.evaluate(moved)
    return moved, new_loss, new_gradient, accepted
