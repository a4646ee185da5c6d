"""Own splits: by a hash of the group, the same everywhere and always."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

DEFAULT_SHARES: Mapping[str, float] = {"train": 0.8, "dev": 0.1, "test": 0.1}


def hash_split(group: str, shares: Mapping[str, float] = DEFAULT_SHARES) -> str:
    """Split of a group (patient, image) by the SHA-256 of its name: the same everywhere and always."""
    position = int.from_bytes(hashlib.sha256(f"sdl-split:{group}".encode()).digest()[:8], "big") / 2**64
    bound = 0.0
    for split, share in shares.items():
        bound += share
        if position < bound:
            return split
    return next(reversed(list(shares)))


def hash_splits(groups: Iterable[str], shares: Mapping[str, float] = DEFAULT_SHARES) -> dict[str, str]:
    """``hash_split`` of every different group."""
    return {group: hash_split(group, shares) for group in set(groups)}
