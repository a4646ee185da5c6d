"""The study page in a browser, from disk and without a network: figures, numbers, links, widths, colours."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from sdl_study.report.study_page import write_page
from tests.browser.conftest import Browser
from tests.unit.report.studies import answered, searched

# Points that Plotly drew, of traces that are marks: what it computed a place for, and the symbols in the picture.
_DRAWN = """
return [...document.querySelectorAll(".card")].map((card) => {
  let computed = 0, expected = 0, symbols = 0, wanted = 0;
  for (const place of card.querySelectorAll(".figure")) {
    const plot = place.querySelector(".plot");
    expected += +place.dataset.marks;
    symbols += plot.querySelectorAll("g.points > path.point, g.points > g.point").length;
    for (const points of plot.calcdata) {
      const trace = points[0].trace;
      const real = points.filter((point) => Number.isFinite(point.x ?? point.p) && Number.isFinite(point.y ?? point.s));
      if (trace.meta?.decoration) continue;
      computed += real.length;
      if (trace.type === "bar" || trace.mode.includes("markers")) wanted += real.length;
    }
  }
  return {key: card.id, rows: +card.dataset.rows, figures: +card.dataset.figures, computed, expected, symbols, wanted};
});
"""
_TABLE = """
const table = document.querySelector("#%s table");
const names = [...table.querySelectorAll("th")].map((cell) => cell.textContent);
return [...table.querySelectorAll("tbody tr")].map((row) => Object.fromEntries(
  [...row.children].map((cell, at) => [names[at], cell.dataset.value ?? cell.textContent])));
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study of three seeds, with its page."""
    plan = searched(tmp_path_factory.mktemp("studies"), trials=20)
    answered(plan, lambda arm, seed: (4.0 if arm == "sd" else 2.0) + 0.05 * seed)
    write_page(plan.files)
    return plan.files.folder


@pytest.mark.parametrize(
    ("width", "scheme"), [(1100, "light"), (1100, "dark"), (390, "light"), (390, "dark")]
)
def test_it_opens_from_disk_without_an_error_or_a_request(
    width: int, scheme: str, study: Path, browser: Browser
) -> None:
    browser.show(study / "page.html", width, scheme)
    assert browser.console() == []
    assert browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)") == []
    assert browser.run("return document.documentElement.scrollWidth") <= width
    ink = browser.run(
        "return getComputedStyle(document.querySelector('.plot .xtick text, .plot .ytick text')).fill"
    )
    assert ink == ("rgb(26, 32, 44)" if scheme == "light" else "rgb(230, 234, 240)")


def test_every_figure_shows_the_rows_of_its_frame(study: Path, browser: Browser) -> None:
    browser.show(study / "page.html")
    cards = [card for card in browser.run(_DRAWN) if card["figures"]]
    assert len(cards) == 13
    for card in cards:
        assert card["computed"] == card["expected"] == card["rows"] > 0, card
        assert card["symbols"] == card["wanted"], card


def test_numbers_are_those_of_the_study(study: Path, browser: Browser) -> None:
    browser.show(study / "page.html")
    with (study / "leaderboard.csv").open(newline="") as file:
        board = list(csv.DictReader(file))
    shown = browser.run(_TABLE % "trials")
    assert len(shown) == len(board) == 40
    for row, own in zip(board, shown, strict=True):
        assert {name: own[name] for name in ("trial", "arm", "state", "objective", "loss.temperature")} == {
            name: row[name] for name in ("trial", "arm", "state", "objective", "loss.temperature")
        }
    answer = json.loads((study / "answer.json").read_text())
    contrast = browser.run(_TABLE % "answer")[0]
    primary = answer["primary"]
    assert float(contrast["difference"]) == primary["difference"]
    assert (float(contrast["low"]), float(contrast["high"])) == (
        primary["interval"]["low"],
        primary["interval"]["high"],
    )
    assert contrast["word"] == primary["word"] == "better"
    tests = {row["name"]: row["test"] for row in answer["table"]}
    assert {row["arm"]: float(row["test"]) for row in browser.run(_TABLE % "leaderboard")} == tests


def test_links_lead_to_cards(study: Path, browser: Browser) -> None:
    browser.show(study / "page.html")
    links = browser.run("return [...document.querySelectorAll('a')].map((a) => a.getAttribute('href'))")
    assert len(links) == len(set(links)) == 19
    assert browser.run(
        "return [...document.querySelectorAll('a')].every((a) => document.querySelector(a.hash))"
    )
    browser.run("document.querySelector('a[href=\"#reproduce\"]').click()")
    assert browser.run("return location.hash") == "#reproduce"


def test_it_prints_in_the_colours_of_paper(study: Path, browser: Browser) -> None:
    browser.show(study / "page.html", scheme="dark")
    # Chromium sends no event before printing on command: the page is asked as it would be.
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    ink = "return getComputedStyle(document.querySelector('.plot .xtick text, .plot .ytick text')).fill"
    assert browser.run(ink) == "rgb(26, 32, 44)"
    printed = browser.command("Page.printToPDF", {"printBackground": True})
    assert len(printed["data"]) > 50_000
    assert browser.console() == []
