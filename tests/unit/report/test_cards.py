"""What single cards compute: colours, the temperature curve, the front of quality and cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sdl_study.files import read_json, write_json
from sdl_study.record.reading import read_study
from sdl_study.report.cards import answer, pareto, reproduce, search
from sdl_study.report.cards.temperature import curve
from sdl_study.report.page.drawing import COLOURS
from sdl_study.report.page.frames import StudyFrames
from tests.unit.report.studies import answered, searched


@pytest.mark.parametrize(("page", "shade"), [("#ffffff", 0), ("#151a21", 1)])
def test_colours_of_arms_stand_out_from_their_page(page: str, shade: int) -> None:
    """WCAG 2.1, 1.4.11: graphics need a contrast of 3:1."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for pair in COLOURS:
        high, low = sorted((luminance(pair[shade]), luminance(page)), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 3, pair


def test_the_temperature_curve_is_a_least_squares_parabola_with_the_interval_of_its_mean() -> None:
    rng = np.random.default_rng(0)
    at = np.array([0.05, 0.1, 0.3])
    truth = 0.6 - 0.03 * np.log(at / 0.1) ** 2
    inside = []
    for _ in range(300):
        tau = np.exp(rng.uniform(np.log(0.03), np.log(0.5), size=12))
        values = 0.6 - 0.03 * np.log(tau / 0.1) ** 2 + rng.normal(scale=0.01, size=12)
        middle, half = curve(tau, values, at)
        np.testing.assert_allclose(middle, np.polyval(np.polyfit(np.log(tau), values, 2), np.log(at)))
        inside.append(np.abs(middle - truth) <= half)
    assert 0.91 <= np.mean(inside) <= 0.98


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    trials = pl.DataFrame({
        "trial": [0, 1, 2, 3, 4], "arm": ["a"] * 5, "state": ["complete"] * 4 + ["failed"],
        "seconds": [10.0, 20.0, 30.0, 10.0, 1.0], "objective": [0.5, 0.4, 0.6, 0.45, 0.9],
    })  # fmt: skip
    assert pareto.frame(trials).filter(pl.col("front"))["trial"].to_list() == [0, 2]


@pytest.mark.parametrize(
    ("code", "commands", "named"), [("1+abc", ["git checkout abc"], False), ("1+sources.0123", [], True)]
)
def test_a_digest_of_the_sources_is_no_commit_to_check_out(
    tmp_path: Path, code: str, commands: list[str], named: bool
) -> None:
    files = searched(tmp_path).files
    write_json(files.study_json, read_json(files.study_json) | {"code_version": code})
    card = reproduce.card(StudyFrames(read_study(files)))
    assert [command for command in card.commands if command.startswith("git")] == commands
    assert any("sources.0123" in line for line in card.lines) == named


@pytest.mark.parametrize(("by_seed", "named"), [(4.0, True), (0.0, False)])
def test_the_answer_names_what_simulations_do_not_cover(tmp_path: Path, by_seed: float, named: bool) -> None:
    """The played study compares macro_f1; where the distance of the arms depends on the seed, seeds vary most."""
    plan = searched(tmp_path)
    answered(plan, lambda arm, seed: 1.0 + (4.0 - by_seed * (seed % 2)) * (arm == "sd"), seeds=10)
    lines = answer.card(StudyFrames(read_study(plan.files))).lines
    assert any(line.startswith("not covered by what was simulated: for macro_f1") for line in lines) == named


@pytest.mark.parametrize(
    ("seeds", "split", "words"),
    [
        (0, "auto", None),
        (1, "kept", "on 1 further seed, and the mean over all of them chooses."),
        (2, "auto", "on 5 further seeds, each on a fold of train and dev, no example in the dev of two, and"),
    ],
)
def test_the_search_says_how_winners_are_chosen(
    tmp_path: Path, seeds: int, split: str, words: str | None
) -> None:
    """The played study has 80 examples in dev."""
    plan = searched(tmp_path, overrides={"budget.selection_seeds": seeds, "budget.selection_split": split})
    sentence = search.card(StudyFrames(read_study(plan.files))).sentence
    assert ("further seed" in sentence) == (words is not None)
    assert words is None or words in sentence
