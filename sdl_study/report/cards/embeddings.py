"""A map of the test embeddings: why there is none."""

from __future__ import annotations

from sdl_study.report.page.card import Card, absent
from sdl_study.report.page.frames import StudyFrames

KEY, TITLE = "embeddings", "Map of the test embeddings"


def card(study: StudyFrames) -> Card:
    """Restricted data never show single records; of open data nothing is kept from which the map could be drawn."""
    if study.restricted:
        return absent(
            KEY, TITLE, "Does not apply: the data are restricted, and a map would show single records."
        )
    return absent(
        KEY, TITLE,
        "Does not apply: finals keep scores and weights, not embeddings, so nothing is there to draw a map from.",
    )  # fmt: skip
