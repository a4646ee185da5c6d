"""Linear probe: multi-label logistic regression on frozen embeddings.

One L2-regularised logistic regression per label, all labels of a block solved together by matrix products:

    minimise over w, b   mean_i [softplus(x_i·w + b) - y_i (x_i·w + b)] + l2/2 |w|²

on scaled embeddings x, the bias unregularised. They are scaled dimension by dimension (``standard``), or to unit
length and then as a whole (``unit``), which is better where their length says more of an input's size than of its
labels. One strength ``l2`` serves all labels. It is, like the scaling, the one with the smallest mean log loss on rows
that the probe was not fitted on: a part of train that is held out, after which the probe is fitted on all of train, or
(``judge``) the rows of dev. An encoder that was trained on these labels knows those of the held-out part too, and
strengths that are chosen there are too weak for it. A grid of strengths whose end is
the best is too short: it grows there by its own ratio until the best lies inside, so that an encoder with wide or
noisy embeddings is probed as well as any other. Weaker strengths than one that is worse than a stronger one are not
tried then: they take the most steps.

The solver (``logistic.py``) works in the embeddings' principal axes. The labels are shared out over the ranks
(``label_blocks.py``). Memory: a few times the embeddings, and a few times ``block_elements`` floats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch

from sdl_study import distributed
from sdl_study.evaluation.strength import best_strength, next_strength
from sdl_study.training.stages.label_blocks import LabelBlocks, together
from sdl_study.training.stages.logistic import fit_block

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from sdl_study.losses import LabelSets

Scaling: TypeAlias = Literal["standard", "unit"]
# So many blocks, where labels are many, that ranks have equal work: frequent labels take more steps. Narrower ones than
# that pay for it in smaller products.
_BLOCKS, _LEAST_WIDTH = 16, 256
L2_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted probe.

    Attributes:
        scaling: how embeddings are scaled.
        mean, scale: of the embeddings it was fitted on, brought to unit length or not.
        weight, bias: act on (embeddings - mean) / scale.
        l2: the strength that was chosen.
        holdout_loss: strength → mean log loss on the rows that it was chosen by; empty where there was no choice.
    """

    scaling: Scaling
    mean: Float[Tensor, " D"]
    scale: Float[Tensor, " D"]
    weight: Float[Tensor, "D L"]
    bias: Float[Tensor, " L"]
    l2: float
    holdout_loss: dict[float, float]

    def weights(self) -> dict[str, Tensor]:
        """All that ``predict_proba`` needs, and the strength, as tensors by name."""
        l2 = torch.tensor(self.l2, dtype=torch.float64)
        told = {"unit_length": torch.tensor(self.scaling == "unit"), "l2": l2}
        return {"mean": self.mean, "scale": self.scale, "weight": self.weight, "bias": self.bias, **told}

    def predict_proba(self, embeddings: Float[Tensor, "n D"]) -> Float[Tensor, "n L"]:
        """Probability of every label, float32, on the embeddings' device.

        Raises:
            ValueError: the embeddings have another width than those the probe was fitted on.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.mean.shape[0]:
            raise ValueError(f"expected embeddings [n, {self.mean.shape[0]}], not {tuple(embeddings.shape)}")
        standardised = (_lengthened(embeddings.float(), self.scaling) - self.mean) / self.scale
        return torch.sigmoid(torch.addmm(self.bias, standardised, self.weight))


def fit_probe(
    embeddings: Float[Tensor, "n D"],
    labels: LabelSets,
    *,
    l2_grid: Sequence[float] = L2_GRID,
    grow: bool = True,
    scaling: Sequence[Scaling] = ("standard",),
    judge: tuple[Float[Tensor, "m D"], LabelSets] | None = None,
    seed: int = 0,
    holdout: float = 0.2,
    tolerance: float = 1e-5,
    block_elements: int = 1 << 24,
) -> Probe:
    """Fit the probe on train's embeddings; nothing but them and the judge is looked at.

    Collective: every rank has them all, and gets the same probe.

    Deterministic: with the same inputs, seed and number of threads the result is bitwise the same, on every rank and
    at any number of them. Labels that every or no training example carries predict their (smoothed) frequency.

    Args:
        embeddings: frozen encoder outputs, one row per training example.
        labels: the label set of each row.
        l2_grid: strengths to choose from, relative to the mean log loss; a single one is taken without a holdout.
        grow: whether the grid goes on where its end is the best, as far as ``WEAKEST`` and ``STRONGEST``, and ends
            where the loss rises.
        scaling: those to choose from, as the strength is chosen; the earlier one on a tie.
        judge: embeddings and label sets by which strength and scaling are chosen; None: a part of train, held out.
        seed: draws the held-out rows.
        holdout: share of the rows that is held out to choose the strength.
        tolerance: a label stops when the estimated gain left is below this share of its entropy.
        block_elements: bound on n x labels of one block, i.e. on memory.

    Raises:
        ValueError: no rows, rows and labels that do not fit, values that are not finite, an invalid grid.
        ProbeTooLarge: a rank has too little memory.
    """
    grid = sorted({float(value) for value in l2_grid}, reverse=True)
    _check(embeddings, labels, grid, holdout)
    if judge is not None:
        _check(judge[0], judge[1], grid, holdout)
    ways = tuple(dict.fromkeys(scaling))
    if not ways:
        raise ValueError("scaling needs at least one way of scaling")
    best: _Fit | None = None
    with torch.no_grad():
        for way in ways:
            fit = together(
                lambda way=way: _Fit(
                    embeddings.float(), labels, way, judge, seed, holdout, tolerance, block_elements
                )
            )
            fit.agree()
            if len(grid) > 1 or len(ways) > 1:
                fit.try_all(grid, grow and len(grid) > 1)
            if best is None or fit.loss < best.loss:
                best = fit
        assert best is not None
        chosen = best_strength(best.losses) if best.losses else grid[0]
        solution = best.whole(chosen)
    weight = best.rotation @ solution[:-1]
    return Probe(best.scaling, best.mean, best.scale, weight, solution[-1].contiguous(), chosen, best.losses)


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


def _lengthened(data: Float[Tensor, "n D"], scaling: Scaling) -> Float[Tensor, "n D"]:
    return torch.nn.functional.normalize(data, dim=1) if scaling == "unit" else data


def _standardised(
    data: Float[Tensor, "n D"], scaling: Scaling
) -> tuple[Float[Tensor, " D"], Float[Tensor, " D"], Float[Tensor, "n D"]]:
    """Mean, scale and standardised embeddings; a dimension that (nearly) stands still is not blown up."""
    scale, mean = torch.std_mean(data, dim=0, correction=0)
    if scaling == "unit":
        scale = scale.square().mean().sqrt().expand_as(scale)
    scale = torch.where(scale > 1e-6 * scale.max().clamp(min=1e-30), scale, torch.ones_like(scale))
    return mean, scale, (data - mean) / scale


def _principal_axes(standardised: Float[Tensor, "n D"]) -> Float[Tensor, "D D"]:
    covariance = (standardised.T @ standardised).double() / standardised.shape[0]
    return torch.linalg.eigh(covariance).eigenvectors.to(standardised.dtype)


def block_width(labels: int, rows: int, block_elements: int) -> int:
    """Labels of a block, at most: so few that memory holds them and, where labels are many, that ranks share them."""
    return max(1, min(block_elements // rows, max(_LEAST_WIDTH, math.ceil(labels / _BLOCKS))))


class _Fit:
    """The fits of one probe: without the held-out rows for every strength that is tried, at last with all rows.

    All but the making of it is collective: each rank solves its own blocks of labels.
    """

    def __init__(
        self,
        embeddings: Float[Tensor, "n D"],
        labels: LabelSets,
        scaling: Scaling,
        judge: tuple[Tensor, LabelSets] | None,
        seed: int,
        holdout: float,
        tolerance: float,
        block_elements: int,
    ) -> None:
        self.scaling: Scaling = scaling
        self.mean, self.scale, self._data = _standardised(_lengthened(embeddings, scaling), scaling)
        self.rotation = _principal_axes(self._data)
        count = self._data.shape[0]
        width = block_width(labels.num_labels, count, block_elements)
        self._blocks = LabelBlocks(labels, width, self._data.device)
        self._judged: LabelBlocks | None = None
        if judge is None:
            order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).to(self._data.device)
            self._held = order[: max(1, round(holdout * count))].sort().values
            self._kept = order[len(self._held) :].sort().values if count > 1 else order
        else:
            self._judged = LabelBlocks(judge[1], width, self._data.device)
            self._other = (_lengthened(judge[0].float(), scaling) - self.mean) / self.scale
        self._tolerance = tolerance
        self._starts: dict[int, Tensor] = {}
        self.losses: dict[float, float] = {}

    @property
    def loss(self) -> float:
        """The smallest loss of the strengths that were tried."""
        return min(self.losses.values(), default=math.inf)

    def agree(self) -> None:
        """Turn the data into the first rank's axes: another rank's eigenvectors may have other signs."""
        # They lie in memory by columns, also after the exchange: products round by the order of their operands.
        self.rotation = distributed.all_gather_same(self.rotation.T)[0].T
        self._data = together(lambda: self._data @ self.rotation)

    def _parts(self) -> tuple[Tensor, Tensor]:
        """The data to fit on, and those to judge by."""
        if self._judged is None:
            return self._data[self._kept], self._data[self._held]
        return self._data, self._other @ self.rotation

    def _targets(self, block: int) -> tuple[Tensor, Tensor]:
        """Their multi-hot targets of one block."""
        targets = self._blocks.targets(block, self._data.dtype)
        if self._judged is None:
            return targets[self._kept], targets[self._held]
        return targets, self._judged.targets(block, self._data.dtype)

    def try_all(self, grid: Sequence[float], grow: bool) -> None:
        """Note the mean log loss of strengths; where the best one's fits end, the refit starts.

        Args:
            grid: from strong to weak; each fit is the next one's start, since weak ones take many steps.
            grow: look for the best until it lies inside: no further down when the loss rises, and beyond the grid
                where its end is the best. Without it the whole grid is tried, and no more.
        """
        parts = together(self._parts)
        latest: dict[int, Tensor] = {}
        for value in grid:
            latest = self._try(value, latest, parts)
            if grow and best_strength(self.losses) > value and self.losses[value] > self.loss:
                break
        while grow and (beyond := next_strength(self.losses)) is not None:
            self._try(beyond, self._starts, parts)

    def _try(
        self, l2: float, starts: Mapping[int, Tensor], parts: tuple[Tensor, Tensor]
    ) -> dict[int, Tensor]:
        """Fit with one strength, note its loss, and keep its solutions where it is the best so far."""
        kept, held = parts

        def share() -> tuple[dict[int, Tensor], dict[int, float]]:
            solutions, found = {}, {}
            for block in self._blocks.own:
                targets, truth = self._targets(block)
                solution = fit_block(kept, targets, l2, self._tolerance, starts.get(block))
                logits = torch.addmm(solution[-1], held, solution[:-1])
                loss = torch.nn.functional.softplus(logits) - truth * logits
                solutions[block], found[block] = solution, float(loss.sum(dtype=torch.float64))
            return solutions, found

        solutions, found = together(share)
        self.losses[l2] = self._blocks.total(found) / (len(held) * self._blocks.bounds[-1][1])
        if best_strength(self.losses) == l2:
            self._starts = solutions
        return solutions

    def whole(self, l2: float) -> Float[Tensor, "coefficients L"]:
        """The solutions of all labels with all rows, on every rank."""
        coefficients = self._data.shape[1] + 1
        if self._judged is not None and self.losses:  # they were fitted with all rows
            return self._blocks.gathered(self._starts, coefficients)

        def share() -> dict[int, Tensor]:
            return {
                block: fit_block(
                    self._data,
                    self._blocks.targets(block, self._data.dtype),
                    l2,
                    self._tolerance,
                    self._starts.get(block),
                )
                for block in self._blocks.own
            }

        return self._blocks.gathered(together(share), coefficients)
