"""What a loss raises on all ranks alike."""

from __future__ import annotations


class NonFiniteEmbeddingsError(ValueError):
    """Embeddings (or logits) of some rank hold NaN or infinity: what trained them has diverged.

    Every rank raises it in the same step, before anything is computed; the message of the rank that holds them
    names the row.
    """
