"""Linear probe: multi-label logistic regression on frozen embeddings.

One L2-regularised logistic regression per label, all labels of a block solved together by matrix products:

    minimise over w, b   mean_i [softplus(x_i·w + b) - y_i (x_i·w + b)] + l2/2 |w|²

on standardised embeddings x, the bias unregularised. One strength ``l2`` serves all labels; it is the one with the
smallest mean log loss on a part of train that was held out, after which the probe is fitted on all of train.

The solver (``logistic.py``) works in the embeddings' principal axes. Memory: a few times ``block_elements`` floats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sdl_study.training.stages.logistic import fit_block

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from sdl_study.losses import LabelSets


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
    l2_grid: Sequence[float] = (1e-4, 1e-3, 1e-2),
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
            losses, starts = _holdout_losses(rotated, labels, rows, blocks, grid, seed, holdout, tolerance)
            chosen = min(grid, key=lambda value: (losses[value], -value))
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


def _holdout_losses(
    data: Float[Tensor, "n D"],
    labels: LabelSets,
    rows: Int[Tensor, " nnz"],
    blocks: Sequence[tuple[int, int]],
    grid: Sequence[float],
    seed: int,
    holdout: float,
    tolerance: float,
) -> tuple[dict[float, float], dict[float, Float[Tensor, "D+1 L"]]]:
    """Mean log loss on held-out rows for every strength, and each strength's solution, where the refit starts."""
    count = data.shape[0]
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).to(data.device)
    held = order[: max(1, round(holdout * count))].sort().values
    kept = order[len(held) :].sort().values if count > 1 else order
    total = dict.fromkeys(grid, 0.0)
    solutions: dict[float, list[Tensor]] = {value: [] for value in grid}
    kept_data, held_data = data[kept], data[held]
    for start, stop in blocks:
        targets = _dense_block(labels, rows, start, stop, data)
        kept_targets, held_targets = targets[kept], targets[held]
        solution = None
        for value in grid:  # from strong to weak: each solution is the next one's start
            solution = fit_block(kept_data, kept_targets, value, tolerance, solution)
            logits = torch.addmm(solution[-1], held_data, solution[:-1])
            loss = torch.nn.functional.softplus(logits) - held_targets * logits
            total[value] += float(loss.sum(dtype=torch.float64))
            solutions[value].append(solution)
    cells = len(held) * labels.num_labels
    return (
        {value: loss / cells for value, loss in total.items()},
        {value: torch.cat(parts, dim=1) for value, parts in solutions.items()},
    )
