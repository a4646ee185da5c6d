"""Labels in blocks that are solved apart, shared out over the ranks in turn, to and fro: labels are often sorted by how
frequent they are, and the frequent ones take longer.

The blocks do not depend on the number of ranks, and sums over them are made in their order, so that neither does a
result. Where one rank's share raises, all raise: none is left waiting in a collective.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import torch

from sdl_study import distributed
from sdl_study.workers.job import SettingFailure

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from sdl_study.losses import LabelSets

T = TypeVar("T")


class ProbeTooLarge(SettingFailure):
    """The probe of these embeddings and labels does not fit a rank's memory; raised by every rank."""


class LabelBlocks:
    """The blocks of a list of label sets.

    Args:
        labels: one set a row.
        width: of a block, at most; widths differ by one label, so that equal numbers of blocks are equal work.
        device: where targets are made.

    Attributes:
        bounds: first label and one after the last of every block.
        own: numbers of the blocks that this rank solves.
    """

    def __init__(self, labels: LabelSets, width: int, device: torch.device) -> None:
        count, blocks = labels.num_labels, math.ceil(labels.num_labels / width)
        edges = [count * block // blocks for block in range(blocks + 1)]
        self.bounds = list(pairwise(edges))
        self._by_rank = shared_out(len(self.bounds), distributed.world_size())
        self.own = self._by_rank[distributed.rank()]
        self._rows = torch.from_numpy(labels.row_of_entry()).to(device)
        self._columns = torch.from_numpy(labels.indices).to(device)
        self._count = len(labels)

    def targets(self, block: int, dtype: torch.dtype) -> Float[Tensor, "n labels"]:
        """Multi-hot targets of one block."""
        start, stop = self.bounds[block]
        inside = (self._columns >= start) & (self._columns < stop)
        dense = torch.zeros(self._count, stop - start, dtype=dtype, device=self._rows.device)
        dense[self._rows[inside], self._columns[inside] - start] = 1.0
        return dense

    def total(self, losses: Mapping[int, float]) -> float:
        """Sum over all blocks, the same on every rank.

        Args:
            losses: of this rank's blocks.
        """
        own = torch.zeros(len(self.bounds), dtype=torch.float64)
        for block, loss in losses.items():
            own[block] = loss
        # Each column has one number that is not 0: the sum over ranks is exact.
        return sum(distributed.all_reduce_sum(own).tolist())

    def gathered(self, solutions: Mapping[int, Float[Tensor, "p _"]], rows: int) -> Float[Tensor, "p L"]:
        """All labels' columns on every rank, in the labels' order.

        Args:
            solutions: of this rank's blocks, all of them.
            rows: of every solution; a rank without a block does not know.
        """
        own = [solutions[block].T for block in self.own]
        columns = distributed.all_gather_rows(
            torch.cat(own) if own else torch.zeros(0, rows, device=self._rows.device)
        )
        order = torch.cat(
            [torch.arange(*self.bounds[block]) for blocks in self._by_rank for block in blocks]
        ).to(columns.device)
        return torch.empty_like(columns).index_copy_(0, order, columns).T.contiguous()


def shared_out(blocks: int, ranks: int) -> list[list[int]]:
    """The blocks of every rank: 0, 1, …, W-1, then W-1, …, 1, 0, and so on."""
    found: list[list[int]] = [[] for _ in range(ranks)]
    for block in range(blocks):
        turn, place = divmod(block, ranks)
        found[place if turn % 2 == 0 else ranks - 1 - place].append(block)
    return found


def together(share: Callable[[], T]) -> T:
    """Do this rank's share of something; where a rank's share raises, every rank raises.

    Raises:
        ProbeTooLarge: on every rank, one of them had too little memory.
        PeerRaised: another rank raised something else, which is its own to tell.
    """
    try:
        return distributed.together(share, (torch.OutOfMemoryError, MemoryError))
    except (torch.OutOfMemoryError, MemoryError):
        raise ProbeTooLarge from None
    except distributed.PeerRaised as error:
        if error.expected:
            raise ProbeTooLarge from None
        raise
