"""Linear probe: multi-label logistic regression on frozen embeddings.

One L2-regularised logistic regression per label, all labels of a block solved together by matrix products:

    minimise over w, b   mean_i [softplus(x_i·w + b) - y_i (x_i·w + b)] + l2/2 |w|²

on standardised embeddings x, the bias unregularised. One strength ``l2`` serves all labels; it is the one with the
smallest mean log loss on a part of train that was held out, after which the probe is fitted on all of train. A grid
of strengths whose end is the best is too short: it grows there by its own ratio until the best lies inside, so that
an encoder with wide or noisy embeddings is probed as well as any other.

The solver (``logistic.py``) works in the embeddings' principal axes. Memory: a few times ``block_elements`` floats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sdl_study.training.stages.logistic import fit_block

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from sdl_study.losses import LabelSets

L2_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# Beyond these a fit is as good as unregularised, or knows the frequencies alone.
WEAKEST, STRONGEST = 1e-6, 1e3
_LEAST_RATIO = 2.0


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted probe.

    Attributes:
        mean, scale: of the embeddings it was fitted on.
        weight, bias: act on (embeddings - mean) / scale.
        l2: the strength that was chosen.
        holdout_loss: strength → mean log loss on the held-out rows; empty where there was no choice.
    """

    mean: Float[Tensor, " D"]
    scale: Float[Tensor, " D"]
    weight: Float[Tensor, "D L"]
    bias: Float[Tensor, " L"]
    l2: float
    holdout_loss: dict[float, float]

    def predict_proba(self, embeddings: Float[Tensor, "n D"]) -> Float[Tensor, "n L"]:
        """Probability of every label, float32, on the embeddings' device.

        Raises:
            ValueError: the embeddings have another width than those the probe was fitted on.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.mean.shape[0]:
            raise ValueError(f"expected embeddings [n, {self.mean.shape[0]}], not {tuple(embeddings.shape)}")
        standardised = (embeddings.float() - self.mean) / self.scale
        return torch.sigmoid(torch.addmm(self.bias, standardised, self.weight))


def fit_probe(
    embeddings: Float[Tensor, "n D"],
    labels: LabelSets,
    *,
    l2_grid: Sequence[float] = L2_GRID,
    grow: bool = True,
    seed: int = 0,
    holdout: float = 0.2,
    tolerance: float = 1e-5,
    block_elements: int = 1 << 24,
) -> Probe:
    """Fit the probe on train's embeddings; nothing outside of them is looked at.

    Deterministic: with the same inputs, seed and number of threads the result is bitwise the same. Labels that
    every or no training example carries predict their (smoothed) frequency.

    Args:
        embeddings: frozen encoder outputs, one row per training example.
        labels: the label set of each row.
        l2_grid: strengths to choose from, relative to the mean log loss; a single one is taken without a holdout.
        grow: whether the grid goes on where its end is the best, as far as ``WEAKEST`` and ``STRONGEST``.
        seed: draws the held-out rows.
        holdout: share of the rows that is held out to choose the strength.
        tolerance: a label stops when the estimated gain left is below this share of its entropy.
        block_elements: bound on n x labels of one block, i.e. on memory.

    Raises:
        ValueError: no rows, rows and labels that do not fit, values that are not finite, an invalid grid.
    """
    grid = sorted({float(value) for value in l2_grid}, reverse=True)
    _check(embeddings, labels, grid, holdout)
    with torch.no_grad():
        mean, scale, standardised = _standardised(embeddings.float())
        rotation = _principal_axes(standardised)
        rotated = standardised @ rotation
        blocks = _label_blocks(labels, rows=rotated.shape[0], block_elements=block_elements)
        rows = _row_of_each_entry(labels, rotated.device)
        if len(grid) > 1:
            held_out = _HeldOut(rotated, labels, rows, blocks, seed, holdout, tolerance)
            losses, starts = held_out.tried(grid, grow)
            chosen = best_strength(losses)
            weights = starts[chosen]
        else:
            losses, chosen, weights = {}, grid[0], None
        fitted = []
        for start, stop in blocks:
            targets = _dense_block(labels, rows, start, stop, rotated)
            initial = None if weights is None else weights[:, start:stop]
            fitted.append(fit_block(rotated, targets, chosen, tolerance, initial))
        solution = torch.cat(fitted, dim=1)
    weight = rotation @ solution[:-1]
    return Probe(mean, scale, weight, solution[-1].contiguous(), chosen, losses)


def _check(embeddings: Tensor, labels: LabelSets, grid: Sequence[float], holdout: float) -> None:
    if embeddings.ndim != 2 or 0 in embeddings.shape:
        raise ValueError(f"expected embeddings [n, D] with n, D > 0, not {tuple(embeddings.shape)}")
    if len(labels.indptr) - 1 != embeddings.shape[0]:
        raise ValueError(f"{embeddings.shape[0]} embeddings but {len(labels.indptr) - 1} label sets")
    if labels.num_labels < 1:
        raise ValueError("the label sets know no label")
    if not grid or grid[-1] <= 0:
        raise ValueError("l2_grid needs at least one strength, each above 0")
    if not 0 < holdout < 1:
        raise ValueError(f"holdout must lie in (0, 1), not {holdout}")
    if not torch.isfinite(embeddings).all():
        raise ValueError("embeddings hold values that are not finite (NaN or infinity)")


def _standardised(
    data: Float[Tensor, "n D"],
) -> tuple[Float[Tensor, " D"], Float[Tensor, " D"], Float[Tensor, "n D"]]:
    """Mean, scale and standardised embeddings; a dimension that (nearly) stands still is not blown up."""
    scale, mean = torch.std_mean(data, dim=0, correction=0)
    scale = torch.where(scale > 1e-6 * scale.max().clamp(min=1e-30), scale, torch.ones_like(scale))
    return mean, scale, (data - mean) / scale


def _principal_axes(standardised: Float[Tensor, "n D"]) -> Float[Tensor, "D D"]:
    covariance = (standardised.T @ standardised).double() / standardised.shape[0]
    return torch.linalg.eigh(covariance).eigenvectors.to(standardised.dtype)


def _label_blocks(labels: LabelSets, *, rows: int, block_elements: int) -> list[tuple[int, int]]:
    width = max(1, block_elements // rows)
    return [(start, min(start + width, labels.num_labels)) for start in range(0, labels.num_labels, width)]


def _row_of_each_entry(labels: LabelSets, device: torch.device) -> Int[Tensor, " nnz"]:
    indptr = torch.as_tensor(labels.indptr, dtype=torch.long, device=device)
    return torch.repeat_interleave(torch.arange(len(indptr) - 1, device=device), indptr.diff())


def _dense_block(
    labels: LabelSets, rows: Int[Tensor, " nnz"], start: int, stop: int, like: Tensor
) -> Float[Tensor, "n labels"]:
    """Multi-hot targets of the labels start..stop-1."""
    columns = torch.as_tensor(labels.indices, dtype=torch.long, device=like.device)
    inside = (columns >= start) & (columns < stop)
    dense = like.new_zeros(like.shape[0], stop - start)
    dense[rows[inside], columns[inside] - start] = 1.0
    return dense


def best_strength(losses: Mapping[float, float]) -> float:
    """The strength with the smallest loss, the stronger one on a tie."""
    return min(losses, key=lambda value: (losses[value], -value))


def next_strength(losses: Mapping[float, float]) -> float | None:
    """The strength to try after these, where the best stands at an end: on by the ratio of the last two there, or
    twice, where they lie closer together.

    Args:
        losses: strength → loss, of two strengths at least.

    Returns:
        None where the best lies inside, or the next one would lie beyond ``WEAKEST`` or ``STRONGEST``.
    """
    best, strengths = best_strength(losses), sorted(losses)
    if best == strengths[-1]:
        value = best * max(best / strengths[-2], _LEAST_RATIO)
    elif best == strengths[0]:
        value = best / max(strengths[1] / best, _LEAST_RATIO)
    else:
        return None
    return value if WEAKEST <= value <= STRONGEST else None


class _HeldOut:
    """Fits without some rows, and their mean log loss on these."""

    def __init__(
        self,
        data: Float[Tensor, "n D"],
        labels: LabelSets,
        rows: Int[Tensor, " nnz"],
        blocks: Sequence[tuple[int, int]],
        seed: int,
        holdout: float,
        tolerance: float,
    ) -> None:
        count = data.shape[0]
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).to(data.device)
        self._held = order[: max(1, round(holdout * count))].sort().values
        self._kept = order[len(self._held) :].sort().values if count > 1 else order
        self._data, self._labels, self._rows, self._blocks = data, labels, rows, blocks
        self._kept_data, self._held_data = data[self._kept], data[self._held]
        self._tolerance = tolerance

    def tried(
        self, grid: Sequence[float], grow: bool
    ) -> tuple[dict[float, float], dict[float, Float[Tensor, "coefficients L"]]]:
        """Loss of every strength, and its solution, where the refit starts; the grid goes from strong to weak."""
        losses, solutions = self._fitted(grid, None)
        while grow and (value := next_strength(losses)) is not None:
            more, found = self._fitted((value,), solutions[best_strength(losses)])
            losses, solutions = losses | more, solutions | found
        return losses, solutions

    def _fitted(
        self, strengths: Sequence[float], initial: Float[Tensor, "coefficients L"] | None
    ) -> tuple[dict[float, float], dict[float, Float[Tensor, "coefficients L"]]]:
        """Loss and solution of every strength; each solution is the next one's start."""
        total = dict.fromkeys(strengths, 0.0)
        solutions: dict[float, list[Tensor]] = {value: [] for value in strengths}
        for start, stop in self._blocks:
            targets = _dense_block(self._labels, self._rows, start, stop, self._data)
            kept_targets, held_targets = targets[self._kept], targets[self._held]
            solution = None if initial is None else initial[:, start:stop]
            for value in strengths:
                solution = fit_block(self._kept_data, kept_targets, value, self._tolerance, solution)
                logits = torch.addmm(solution[-1], self._held_data, solution[:-1])
                loss = torch.nn.functional.softplus(logits) - held_targets * logits
                total[value] += float(loss.sum(dtype=torch.float64))
                solutions[value].append(solution)
        cells = len(self._held) * self._labels.num_labels
        return (
            {value: loss / cells for value, loss in total.items()},
            {value: torch.cat(parts, dim=1) for value, parts in solutions.items()},
        )
