"""The study page: the cards of a study as one HTML file that needs nothing but a browser.

Scripts and styles stand in the file, a content policy forbids every request, and all text passes through a template
that escapes it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdl_study.files import write_text
from sdl_study.record.files import StudyFiles
from sdl_study.record.reading import StudyRecord, read_study
from sdl_study.report.cards import CARDS
from sdl_study.report.page.card import Card
from sdl_study.report.page.drawing import COLOURS, SIGNS, TWINS, marks
from sdl_study.report.page.frames import StudyFrames

if TYPE_CHECKING:
    import polars as pl

_PARTS = Path(__file__).parent / "page"
_MOST_ROWS = 1200
"""Rows of a table on the page; a longer frame is shown to there and says how long it is."""


def write_page(files: StudyFiles) -> Path:
    """Build the page from the study's folder and write it there.

    Returns:
        The file, readable by the owner alone where the data are restricted.

    Raises:
        UserError: there is no such study, or one of its files is damaged.
    """
    return write_page_of(read_study(files))


def write_page_of(record: StudyRecord) -> Path:
    """As ``write_page``, of a study that was read."""
    write_text(record.files.page, page_of(record), private=record.restricted)
    return record.files.page


def page_of(record: StudyRecord) -> str:
    """The page as HTML."""
    study = StudyFrames(record)
    return page_html(study, [make(study) for make in CARDS])


def page_html(study: StudyFrames, cards: Sequence[Card]) -> str:
    """Cards as HTML."""
    import jinja2
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PARTS), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html").render(
        study=study.name,
        arms=[
            {"name": name, "light": light, "dark": dark, "sign": sign}
            for name, (light, dark), sign in zip(study.arms, cycle(COLOURS), cycle(SIGNS), strict=False)
        ],
        cards=[_shown(card) for card in cards],
        declaration=study.record.declaration,
        code_version=study.record.identity.get("code_version", "unknown"),
        style=(_PARTS / "style.css").read_text(encoding="utf-8"),
        script=(_PARTS / "page.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
        twins=_json(TWINS),
    )


def _shown(card: Card) -> dict[str, Any]:
    """A card as the template reads it."""
    figures = [{"json": _json(figure.to_plotly_json()), "marks": marks([figure])} for figure in card.figures]
    return {
        "key": card.key, "title": card.title, "sentence": card.sentence, "note": card.note, "lines": card.lines,
        "commands": card.commands, "applies": card.applies, "figures": figures, "open": card.table,
        "table": None if card.frame is None else _table(card.frame, card.formats),
        "rows": 0 if card.frame is None else card.frame.height,
    }  # fmt: skip


def _table(frame: pl.DataFrame, formats: Any) -> dict[str, Any]:
    """A frame's columns, which of them are numbers, and its first rows as cells: what is shown, the value in full."""
    numeric = [dtype.is_numeric() for dtype in frame.dtypes]
    rows = [
        [_cell(value, formats.get(name, "")) for name, value in zip(frame.columns, row, strict=True)]
        for row in frame.head(_MOST_ROWS).iter_rows()
    ]
    return {
        "columns": list(zip(frame.columns, numeric, strict=True)),
        "rows": rows,
        "left": frame.height - len(rows),
    }


def _cell(value: Any, form: str) -> tuple[str, str | None]:
    if value is None:
        return "–", None
    if isinstance(value, bool):
        return "yes" if value else "no", None
    return (format(value, form), repr(value)) if isinstance(value, float) else (str(value), None)


def _json(content: Any) -> str:
    """JSON that may stand in a script element: nothing in it can end the element."""
    return json.dumps(content, separators=(",", ":"), default=_plain).replace("<", "\\u003c")


def _plain(value: Any) -> Any:
    """Tuples and arrays of Plotly's as lists."""
    return value.tolist() if hasattr(value, "tolist") else list(value)


__all__ = ["page_html", "page_of", "write_page", "write_page_of"]
