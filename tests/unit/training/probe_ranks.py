"""What the spawned ranks of the probe's tests do; importable by them."""

from __future__ import annotations

from typing import Any

import torch

from sdl_study import distributed
from sdl_study.losses import LabelSets
from sdl_study.training.stages import probe
from sdl_study.training.stages.probe import Probe, fit_probe

ROWS, WIDTH, LABELS = 160, 10, 9


def case() -> tuple[torch.Tensor, LabelSets]:
    """Noisy embeddings; labels from frequent to rare, the last one of nobody."""
    generator = torch.Generator().manual_seed(5)
    embeddings = torch.randn(ROWS, WIDTH, generator=generator)
    scores = embeddings @ torch.randn(WIDTH, LABELS, generator=generator)
    truth = scores + 3 * torch.randn(ROWS, LABELS, generator=generator) > torch.linspace(-1, 6, LABELS)
    truth[:, -1] = False
    return embeddings, LabelSets.from_multi_hot(truth)


def fitted(labels_of_a_block: int, judged: bool = False) -> Probe:
    """The probe of the case on this rank; ``judged``: by a third of its rows, and with all scalings."""
    torch.set_num_threads(1)
    embeddings, labels = case()
    size = labels_of_a_block * ROWS
    if not judged:
        return fit_probe(embeddings, labels, seed=1, block_elements=size)
    train, dev = slice(ROWS // 3, None), slice(ROWS // 3)
    judge = (embeddings[dev], labels[dev])
    return fit_probe(
        embeddings[train], labels[train], judge=judge, scaling=("standard", "unit"), block_elements=size
    )


def fit_on_a_rank(*widths: int) -> list[dict[str, Any]]:
    """Its probes, for blocks of so many labels."""
    found = []
    for width, judged in [(width, judged) for width in widths for judged in (False, True)]:
        made = fitted(width, judged)
        found.append({"weight": made.weight, "bias": made.bias, "l2": made.l2, "losses": made.holdout_loss})
    return found


def raise_on_a_rank(wrong: int, fits_before: int, memory: bool) -> tuple[str, list[int]]:
    """What comes of a probe when one rank's solver raises; then whether the ranks still understand each other."""
    fits = 0

    def solver(*arguments: Any) -> torch.Tensor:
        nonlocal fits
        fits += 1
        if distributed.rank() == wrong and fits > fits_before:
            raise torch.OutOfMemoryError if memory else ZeroDivisionError
        return right(*arguments)

    right, probe.fit_block = probe.fit_block, solver
    try:
        fitted(2)
        said = "nothing"
    except Exception as error:  # noqa: BLE001 (its kind is the answer)
        said = f"{type(error).__name__}, of a peer: {distributed.is_peer_failure(error)}"
    finally:
        probe.fit_block = right
    return said, distributed.row_counts(distributed.rank() + 1)


def raise_and_fit(widths: tuple[int, ...]) -> dict[str, Any]:
    """All that is asked of two ranks, in one start of them."""
    return {
        "memory at once": raise_on_a_rank(1, 0, True),
        "memory later": raise_on_a_rank(1, 3, True),
        "mistake": raise_on_a_rank(1, 0, False),
        "fits": fit_on_a_rank(*widths),
    }
