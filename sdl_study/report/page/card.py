"""A card of the study page: a title, a frame, figures of it, one sentence in words, or why it does not apply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl


@dataclass(frozen=True)
class Card:
    """One card.

    Attributes:
        key: its name in the page's addresses.
        title: its heading.
        sentence: what it shows, in words; of a card that does not apply, the reason.
        frame: what its figures and table are drawn from; None where it does not apply.
        figures: every row of the frame is one mark of them.
        note: n, seeds, test and correction of what is shown.
        lines: further sentences, one below the other.
        commands: to be typed, each in a line of its own.
        formats: of the frame's numbers, by column (``".4f"``).
        table: whether the frame stands on the card, or folded away below the figure.
        applies: whether there is something to show.
    """

    key: str
    title: str
    sentence: str
    frame: pl.DataFrame | None = None
    figures: Sequence[go.Figure] = ()
    note: str | None = None
    lines: Sequence[str] = ()
    commands: Sequence[str] = ()
    formats: Mapping[str, str] = field(default_factory=dict)
    table: bool = False
    applies: bool = True


def absent(key: str, title: str, reason: str) -> Card:
    """A card that does not apply, and why."""
    return Card(key, title, reason, applies=False)
