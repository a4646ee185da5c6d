"""The losses once more, from their definitions, with Python's sets and math alone.

Slow, float64, and on purpose without anything from sdl_study, torch or numpy: what the golden tests believe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Matrix = list[list[float]]
Sets = Sequence[set[int]]


def relation(anchor: set[int], candidate: set[int]) -> str:
    """R1…R5 by set arithmetic."""
    if not anchor & candidate:
        return "disjoint"
    if anchor == candidate:
        return "equal"
    if candidate < anchor:
        return "subset"
    return "superset" if anchor < candidate else "overlap"


def sd_weight(
    anchor: set[int],
    candidate: set[int],
    alpha: float = 1.0,
    beta: float = 1.0,
    rho: dict[str, float] | None = None,
) -> float:
    """ρ_R · K_s^α · K_d^β."""
    kind = relation(anchor, candidate)
    if kind == "disjoint":
        return 0.0
    factor = 1.0 if rho is None else rho[kind]
    shared = len(anchor & candidate)
    return factor * (shared / len(anchor)) ** alpha * (1 / (1 + len(candidate - anchor))) ** beta


def jaccard(anchor: set[int], candidate: set[int]) -> float:
    return len(anchor & candidate) / len(anchor | candidate) if anchor | candidate else 0.0


def pair_hash(anchor: int, candidate: int, step: int) -> float:
    """The hash that defines the control "random_weights", in Python's integers."""
    mask = 0xFFFFFFFF
    mixed = (anchor * 0x85EBCA6B + candidate * 0xC2B2AE35 + step * 0x9E3779B1 + 0x7F4A7C15) & mask
    for shift, factor in ((16, 0x7FEB352D), (15, 0x2C1B3C6D)):
        mixed = ((mixed ^ (mixed >> shift)) * factor) & mask
    return (((mixed ^ (mixed >> 16)) >> 8) + 1) / 2**24


def rule_weights(sets: Sets, name: str, settings: dict) -> tuple[Matrix, list[list[bool]]]:
    """Weight and positivity of every ordered pair for the losses that are weight rules."""
    size = range(len(sets))
    weights = [[0.0 for _ in size] for _ in size]
    positive = [[False for _ in size] for _ in size]
    rho = settings.get("rho")
    only_equal = rho is not None and rho["overlap"] == rho["subset"] == rho["superset"] == 0
    for i in size:
        for j in size:
            anchor, candidate = sets[i], sets[j]
            if i == j or not anchor & candidate:
                continue
            foreign = len(candidate - anchor)
            similarity = len(anchor & candidate) / len(anchor)
            positive[i][j] = True
            if name == "all" or (name == "sd" and only_equal):
                positive[i][j] = anchor == candidate
            if name == "multisupcon":
                positive[i][j] = jaccard(anchor, candidate) >= settings.get("threshold", 0.5)
            if not positive[i][j]:
                continue
            weights[i][j] = {
                "all": lambda: 1.0,
                "any": lambda: 1.0,
                "sd": lambda a=anchor, c=candidate: sd_weight(
                    a, c, settings.get("alpha", 1.0), settings.get("beta", 1.0), rho
                ),
                "jaccard": lambda a=anchor, c=candidate: jaccard(a, c),
                "multisupcon": lambda a=anchor, c=candidate: jaccard(a, c),
                "exponential": lambda s=similarity, x=foreign: s * math.exp(-settings["rate"] * x),
                "linear": lambda s=similarity, x=foreign: s * max(0.0, 1 - settings["rate"] * x),
                "relative": lambda s=similarity, x=foreign, c=candidate: s * (1 - x / len(c)),
                "symmetric": lambda a=anchor, c=candidate: 1 / (1 + len(a ^ c)),
            }[name]()
    return weights, positive


def omega(sets: Sets, name: str, **settings: object) -> Matrix:
    """ω_ij, normaliser included."""
    size = range(len(sets))
    if name == "mulsupcon":
        return _mulsupcon(sets, bool(settings.get("per_anchor_mean", False)))
    if name == "random_weights":
        return _random_weights(sets, int(settings["step"]))  # type: ignore[call-overload]
    weights, positive = rule_weights(sets, name, settings)
    valid = sum(any(row) for row in positive)
    result = [[0.0 for _ in size] for _ in size]
    for i in size:
        by_weight = settings.get("normalizer", "positives") == "weights"
        divisor = math.fsum(weights[i]) if by_weight else sum(positive[i])
        if divisor:
            result[i] = [w / (divisor * valid) for w in weights[i]]
    return result


def _mulsupcon(sets: Sets, per_anchor_mean: bool) -> Matrix:
    size = range(len(sets))
    others = [{label: sum(label in sets[j] for j in size if j != i) for label in sets[i]} for i in size]
    rows = [sum(n >= 1 for n in others[i].values()) for i in size]
    result = [[0.0 for _ in size] for _ in size]
    for i in size:
        divisor = rows[i] * sum(r > 0 for r in rows) if per_anchor_mean else sum(rows)
        for j in size:
            if i != j and divisor:
                result[i][j] = math.fsum(1 / others[i][label] for label in sets[i] & sets[j]) / divisor
    return result


def _random_weights(sets: Sets, step: int) -> Matrix:
    size = range(len(sets))
    target = omega(sets, "sd")
    result = [[0.0 for _ in size] for _ in size]
    for i in size:
        hashes = [pair_hash(i, j, step) if i != j and sets[i] & sets[j] else 0.0 for j in size]
        if sum(hashes):
            result[i] = [math.fsum(target[i]) * h / math.fsum(hashes) for h in hashes]
    return result


def loss_and_gradient(z: Matrix, weights: Matrix, temperature: float) -> tuple[float, Matrix]:
    """L = Σ ω_ij (LSE_i − s_ij) and dL/dz, from the definition."""
    size, width = range(len(z)), range(len(z[0]) if z else 0)
    terms: list[float] = []
    pull = [[0.0 for _ in size] for _ in size]
    for i in size:
        total = math.fsum(weights[i])
        others = [j for j in size if j != i]
        if not total or not others:
            continue
        logits = {j: math.fsum(a * b for a, b in zip(z[i], z[j], strict=True)) / temperature for j in others}
        top = max(logits.values())
        lse = top + math.log(math.fsum(math.exp(s - top) for s in logits.values()))
        terms += [weights[i][j] * (lse - logits[j]) for j in others]
        for j in others:
            pull[i][j] = total * math.exp(logits[j] - lse) - weights[i][j]
    gradient = [
        [math.fsum((pull[k][j] + pull[j][k]) * z[j][d] for j in size) / temperature for d in width]
        for k in size
    ]
    return math.fsum(terms), gradient
