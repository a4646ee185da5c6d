"""Labels in blocks that are solved apart, shared out over the ranks: each takes every W-th block.

The blocks do not depend on the number of ranks, and sums over them are made in their order, so that neither does a
result. Where one rank's share raises, all raise: none is left waiting in a collective.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        width: labels of one block.
        device: where targets are made.

    Attributes:
        bounds: first label and one after the last of every block.
        own: numbers of the blocks that this rank solves.
    """

    def __init__(self, labels: LabelSets, width: int, device: torch.device) -> None:
        count = labels.num_labels
        self.bounds = [(start, min(start + width, count)) for start in range(0, count, width)]
        self.own = range(distributed.rank(), len(self.bounds), distributed.world_size())
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
        by_rank = distributed.all_gather_same(own)
        world = by_rank.shape[0]
        return sum(float(by_rank[block % world, block]) for block in range(len(self.bounds)))

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
        world = distributed.world_size()
        blocks = [block for rank in range(world) for block in range(rank, len(self.bounds), world)]
        order = torch.cat([torch.arange(*self.bounds[block]) for block in blocks]).to(columns.device)
        return torch.empty_like(columns).index_copy_(0, order, columns).T


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
