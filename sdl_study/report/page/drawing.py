"""What all figures share: the colours and marks of arms, axes, and which traces are marks of the frame.

Colours are those of the light page; the page's script changes each for its twin on a dark screen. Arms differ by
symbol and dash as well, for readers who do not tell the colours apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Light and dark, in the order of arms; all at least 3:1 against their page.
COLOURS = (
    ("#0072b2", "#56b4e9"), ("#d55e00", "#ff8a3d"), ("#008060", "#2fc79a"), ("#9b3f8c", "#e08fd0"),
    ("#8a6d00", "#e5c44a"), ("#0e7c86", "#7fe0e8"), ("#7a1f4b", "#f2a0b8"), ("#4a5568", "#b8c4d6"),
)  # fmt: skip
INK, MUTED, RULE = "#1a202c", "#6b7280", "#d9dee6"
TWINS = {**dict(COLOURS), INK: "#e6eaf0", MUTED: "#9aa5b4", RULE: "#364152", "#ffffff": "#151a21"}
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star", "triangle-down")
SIGNS = "●◆■▲✚✖★▼"
"""The same symbols as letters."""
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid", "dash")
DECORATION = {"decoration": True}
"""``meta`` of a trace that shows no row of its own: a curve through the marks, a front, a diagonal."""


@dataclass(frozen=True)
class Style:
    """How an arm looks in every figure."""

    colour: str
    symbol: str
    dash: str


def style_of(name: str, arms: Sequence[str]) -> Style:
    """The style of an arm; a control's is grey."""
    if name not in arms:
        return Style(MUTED, "circle-open", "dot")
    place = list(arms).index(name) % len(COLOURS)
    return Style(COLOURS[place][0], _SYMBOLS[place], _DASHES[place])


def faint(colour: str, share: float) -> str:
    """A colour let through to a share."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{share})"


def canvas(height: int, x: str, y: str, **layout: Any) -> go.Figure:
    """An empty figure with named axes.

    Args:
        height: in pixels; the width is the screen's.
        x, y: titles of the axes.
        layout: more of Plotly's layout.
    """
    import plotly.graph_objects as go

    axis = {"gridcolor": RULE, "linecolor": RULE, "zeroline": False, "automargin": True, "ticks": "outside",
            "tickcolor": RULE}  # fmt: skip
    figure = go.Figure()
    figure.update_layout(
        template="none", height=height, margin={"l": 48, "r": 12, "t": 8, "b": 40}, paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)", font={"color": INK, "size": 12}, hovermode="closest",
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        xaxis={**axis, "title": {"text": x, "standoff": 8}}, yaxis={**axis, "title": {"text": y, "standoff": 8}},
    )  # fmt: skip
    return figure.update_layout(**layout)


def ends_of(values: Sequence[float]) -> tuple[float, float]:
    """The smallest and the largest of some numbers."""
    return min(values), max(values)


def decades(low: float, high: float) -> list[float]:
    """Ticks at 1, 2 and 5 of every power of ten between two positive numbers; at 1 alone over many powers."""
    first, last = floor(log10(low)), ceil(log10(high))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [round(step * 10.0**power, 12) for power in range(first, last + 1) for step in steps]
    return [tick for tick in ticks if low * 0.9 <= tick <= high * 1.1]


def marks(figures: Sequence[go.Figure]) -> int:
    """How many marks some figures have: points with a place, without decorations."""
    traces: list[Any] = [trace for figure in figures for trace in figure["data"]]
    return sum(
        sum(x is not None and y is not None for x, y in zip(trace.x or (), trace.y or (), strict=True))
        for trace in traces
        if trace.meta != DECORATION
    )


def with_gaps(columns: Sequence[Sequence[Any]], groups: Sequence[Any]) -> list[list[Any]]:
    """Columns with a None between groups of rows, so that one trace draws many lines.

    Args:
        columns: of equal lengths.
        groups: what every row belongs to; rows of a group stand together.
    """
    found: list[list[Any]] = [[] for _ in columns]
    for at, group in enumerate(groups):
        if at and group != groups[at - 1]:
            for column in found:
                column.append(None)
        for column, values in zip(found, columns, strict=True):
            column.append(values[at])
    return found
