"""Seeds: all come from the study seed by purpose, through a stable hash (the same in every process and version)."""

from __future__ import annotations

import hashlib


def derive_seed(study_seed: int, *purpose: str | int) -> int:
    """A seed in [0, 2**31) for one purpose, for example ``derive_seed(0, "final", 2)``."""
    text = "/".join(str(part) for part in (study_seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") % 2**31


def of_search(search: int) -> tuple[str | int, ...]:
    """What follows a purpose in the seeds of one of several searches; the first one's are those of a study with one."""
    return ("in search", search) if search else ()
