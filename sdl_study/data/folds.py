"""Folds of train and dev: which setting is best on one small dev is luck, and several devs tell more.

K-fold cross-validation by groups (Stone 1974, JRSS B 36:111-147): no two folds have an example of dev in common, so
that together they measure on as many different examples as there can be. The test split is not touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sdl_study.label_sets import LabelSets

if TYPE_CHECKING:
    from jaxtyping import Bool, Int


class Fold(NamedTuple):
    """A fold of train and dev together.

    Attributes:
        number: from 0.
        of: how many folds there are.
        seed: of their order, the same for all.
    """

    number: int
    of: int
    seed: int


def dev_of_fold(groups: Int[np.ndarray, " n"], fold: Fold, enough: int) -> Bool[np.ndarray, " n"]:
    """Which of the examples of train and dev are dev's: every K-th of the groups in an order by chance, whole, until it
    has enough examples.

    Args:
        groups: of every example, two at least; a patient's notes stay together. Where there are fewer groups than
            folds, some are dev more than once.
        fold: which.
        enough: examples for a dev; more would hardly tell more and take longer.
    """
    found, sizes = np.unique(groups, return_counts=True)
    order = np.random.default_rng(fold.seed).permutation(len(found))
    own = order[fold.number % len(found) :: fold.of]
    before = np.cumsum(sizes[own]) - sizes[own]
    return np.isin(groups, found[own[before < enough]])


def one_after_another(first: LabelSets, second: LabelSets) -> LabelSets:
    """The label sets of two lists of examples in one."""
    indptr = np.concatenate([first.indptr, second.indptr[1:] + first.indptr[-1]])
    return LabelSets(indptr, np.concatenate([first.indices, second.indices]), first.num_labels)
