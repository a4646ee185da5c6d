"""Seeded batches on which the losses are compared with the oracle."""

from __future__ import annotations

import math
import random
import struct

Batch = tuple[list[list[float]], list[set[int]], int]
"""Embeddings, label sets, number of labels."""


def _normal(rng: random.Random, rows: int, width: int, scale: float = 1.0) -> list[list[float]]:
    made = []
    for _ in range(rows):
        row = [rng.gauss(0, 1) for _ in range(width)]
        length = math.sqrt(sum(x * x for x in row))
        made.append([scale * x / length for x in row])
    return made


def _float32(x: float) -> float:
    """The nearest number that float32 holds too, so that one reference serves both precisions."""
    return struct.unpack("f", struct.pack("f", x))[0]


def _random_sets(rng: random.Random, rows: int, labels: int, share: float) -> list[set[int]]:
    return [{label for label in range(labels) if rng.random() < share} for _ in range(rows)]


def make_batch(name: str) -> Batch:
    """One batch by name; the same numbers every time."""
    rng = random.Random(f"batch {name}")
    rows, labels = 13, 6
    z = _normal(rng, rows, 4)
    sets = _random_sets(rng, rows, labels, 0.35)
    if name == "single-label":
        sets = [{rng.randrange(4)} for _ in range(rows)]
    elif name == "five relations":
        sets = [
            {0, 1},
            {0, 1},
            {0, 2},
            {0},
            {0, 1, 2},
            {3},
            {3, 4},
            {1},
            {4, 5},
            {5},
            {2, 3},
            {0, 1},
            {1, 2, 3},
        ]
    elif name == "empty sets":
        sets = [set() if i % 3 == 1 else s for i, s in enumerate(sets)]
    elif name == "no positive":
        labels, sets = rows, [{i} for i in range(rows)]
    elif name == "all empty":
        sets = [set() for _ in range(rows)]
    elif name == "duplicate":
        z[5], z[9], z[11] = z[0][:], z[0][:], z[3][:]
        sets[5], sets[11] = set(sets[0]), set(sets[3])
    elif name == "collapsed":
        z = [[1.0 + 0.01 * x for x in row] for row in z]
        z = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in z]
    elif name == "one row":
        z, sets = z[:1], [{0, 1}]
    elif name == "two rows":
        z, sets = z[:2], [{0, 1}, {1, 2}]
    elif name == "unnormalised":
        z = _normal(rng, rows, 4, scale=16.0)
    elif name == "8921 labels":
        labels = 8921
        common = [rng.randrange(labels) for _ in range(20)]
        sets = [
            {rng.choice(common) for _ in range(6)} | {rng.randrange(labels) for _ in range(8)}
            for _ in range(rows)
        ]
    return [[_float32(x) for x in row] for row in z], sets, labels


BATCHES = [
    "random",
    "single-label",
    "five relations",
    "empty sets",
    "no positive",
    "all empty",
    "duplicate",
    "collapsed",
    "one row",
    "two rows",
    "unnormalised",
    "8921 labels",
]
TEMPERATURES = [0.005, 0.02, 0.07, 0.3, 1.0]
