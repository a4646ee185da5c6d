"""Train and dev drawn anew from both: which setting is best on one small dev is luck, and several devs tell more.

Repeated holdout (Monte-Carlo cross-validation; Picard and Cook 1984, JASA 79:575-583). The test split is not touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdl_study.label_sets import LabelSets

if TYPE_CHECKING:
    from jaxtyping import Bool, Int


def drawn_for_dev(groups: Int[np.ndarray, " n"], examples: int, seed: int) -> Bool[np.ndarray, " n"]:
    """Which of the examples of train and dev are dev's: whole groups by chance, as long as there is room for them.

    Args:
        groups: of every example, two at least; a patient's notes stay together.
        examples: that dev may have; where the smallest group has more, that group is dev.
        seed: of the draw.
    """
    found, sizes = np.unique(groups, return_counts=True)
    drawn, room = [], examples
    for place in np.random.default_rng(seed).permutation(len(found)):
        if sizes[place] <= room:
            drawn.append(place)
            room -= sizes[place]
        if not room:
            break
    return np.isin(groups, found[drawn or [int(sizes.argmin())]])


def one_after_another(first: LabelSets, second: LabelSets) -> LabelSets:
    """The label sets of two lists of examples in one."""
    indptr = np.concatenate([first.indptr, second.indptr[1:] + first.indptr[-1]])
    return LabelSets(indptr, np.concatenate([first.indices, second.indices]), first.num_labels)
