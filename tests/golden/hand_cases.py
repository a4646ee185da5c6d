"""Three batches of four rows with every weight written out by hand."""

from __future__ import annotations

from fractions import Fraction as F

Rows = list[list[F]]

A = [{0, 1}, {0, 1}, {0}, {1, 2}]
"""0–1 equal; 2 a subset of 0 and 1; 3 overlaps 0 and 1; 2–3 disjoint."""

B = [{0}, set(), {0, 1, 2}, {1}]
"""Row 1 has no label; 2 is a superset of 0 and of 3; 0–3 disjoint; label 2 is carried once."""

C = [{0}, {0}, {1}, {0}]
"""One label each: all losses agree; row 2 has no positive."""

O = F(0)  # noqa: E741  the zero of a matrix that is read as one

SINGLE: Rows = [
    [O, F(1, 6), O, F(1, 6)],
    [F(1, 6), O, O, F(1, 6)],
    [O, O, O, O],
    [F(1, 6), F(1, 6), O, O],
]
NONE: Rows = [[O] * 4 for _ in range(4)]

A_ANY: Rows = [
    [O, F(1, 12), F(1, 12), F(1, 12)],
    [F(1, 12), O, F(1, 12), F(1, 12)],
    [F(1, 8), F(1, 8), O, O],
    [F(1, 8), F(1, 8), O, O],
]
A_ALL: Rows = [[O, F(1, 2), O, O], [F(1, 2), O, O, O], [O] * 4, [O] * 4]
A_SD: Rows = [
    [O, F(1, 12), F(1, 24), F(1, 48)],
    [F(1, 12), O, F(1, 24), F(1, 48)],
    [F(1, 16), F(1, 16), O, O],
    [F(1, 32), F(1, 32), O, O],
]
A_SD_WEIGHTS: Rows = [
    [O, F(1, 7), F(1, 14), F(1, 28)],
    [F(1, 7), O, F(1, 14), F(1, 28)],
    [F(1, 8), F(1, 8), O, O],
    [F(1, 8), F(1, 8), O, O],
]
A_JACCARD: Rows = [
    [O, F(1, 12), F(1, 24), F(1, 36)],
    [F(1, 12), O, F(1, 24), F(1, 36)],
    [F(1, 16), F(1, 16), O, O],
    [F(1, 24), F(1, 24), O, O],
]
A_MULTISUPCON: Rows = [
    [O, F(1, 6), F(1, 12), O],
    [F(1, 6), O, F(1, 12), O],
    [F(1, 12), F(1, 12), O, O],
    [O, O, O, O],
]
A_MULSUPCON: Rows = [
    [O, F(1, 6), F(1, 12), F(1, 12)],
    [F(1, 6), O, F(1, 12), F(1, 12)],
    [F(1, 12), F(1, 12), O, O],
    [F(1, 12), F(1, 12), O, O],
]
A_MULSUPCON_MEAN: Rows = [
    [O, F(1, 8), F(1, 16), F(1, 16)],
    [F(1, 8), O, F(1, 16), F(1, 16)],
    [F(1, 8), F(1, 8), O, O],
    [F(1, 8), F(1, 8), O, O],
]
B_ANY: Rows = [[O, O, F(1, 3), O], [O] * 4, [F(1, 6), O, O, F(1, 6)], [O, O, F(1, 3), O]]
B_SD: Rows = [[O, O, F(1, 9), O], [O] * 4, [F(1, 18), O, O, F(1, 18)], [O, O, F(1, 9), O]]
B_MULSUPCON: Rows = [[O, O, F(1, 4), O], [O] * 4, [F(1, 4), O, O, F(1, 4)], [O, O, F(1, 4), O]]

HAND_CASES: list[tuple[str, dict, list[set[int]], Rows]] = [
    ("any", {}, A, A_ANY),
    ("any", {}, B, B_ANY),
    ("any", {}, C, SINGLE),
    ("all", {}, A, A_ALL),
    ("all", {}, B, NONE),
    ("all", {}, C, SINGLE),
    ("sd", {}, A, A_SD),
    ("sd", {}, B, B_SD),
    ("sd", {}, C, SINGLE),
    ("sd", {"normalizer": "weights"}, A, A_SD_WEIGHTS),
    ("sd", {"normalizer": "weights"}, B, B_ANY),
    ("sd", {"normalizer": "weights"}, C, SINGLE),
    ("jaccard", {}, A, A_JACCARD),
    ("jaccard", {}, B, B_SD),
    ("jaccard", {}, C, SINGLE),
    ("multisupcon", {}, A, A_MULTISUPCON),
    ("multisupcon", {}, B, NONE),
    ("multisupcon", {}, C, SINGLE),
    ("mulsupcon", {}, A, A_MULSUPCON),
    ("mulsupcon", {}, B, B_MULSUPCON),
    ("mulsupcon", {}, C, SINGLE),
    ("mulsupcon", {"per_anchor_mean": True}, A, A_MULSUPCON_MEAN),
    ("mulsupcon", {"per_anchor_mean": True}, B, B_ANY),
    ("mulsupcon", {"per_anchor_mean": True}, C, SINGLE),
]
"""(name, settings, label sets, ω): rows are anchors, columns candidates."""

EMBEDDINGS = [[0.6, -0.2, 0.3], [0.1, 0.8, -0.4], [-0.5, 0.4, 0.7], [0.9, 0.1, 0.2]]
