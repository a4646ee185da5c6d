"""Relations of label sets by pairs, for readers: as in ``sdl_study.losses.relations``, which needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int
    from scipy.sparse import csr_array

RELATIONS = ("disjoint", "equal", "overlap", "subset", "superset")
"""Of anchor S and candidate T; subset is T⊊S."""


def relations_of(sets: csr_array) -> Int[np.ndarray, "n n"]:
    """For every anchor and candidate the place of their relation in ``RELATIONS``; a row stands in one to itself too.

    Args:
        sets: label sets [n, L], integers 0 and 1.
    """
    shared = np.asarray((sets @ sets.T).todense())
    sizes = shared.diagonal()
    inside, around = shared == sizes[None, :], shared == sizes[:, None]
    found = np.select([inside & around, inside, around], [1, 3, 4], 2)
    return np.where(shared > 0, found, 0)
