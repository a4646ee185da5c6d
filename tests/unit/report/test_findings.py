"""The words for what is to be known of the arms: controls, convergence, edges, what could not learn, searches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sdl_study.evaluation.verdict import Comparison, Interval
from sdl_study.record.answer import Answer
from sdl_study.record.findings import Convergence, Edge
from sdl_study.record.rows import Row
from sdl_study.report.sentences import (
    controls_sentence,
    findings,
    not_covered_sentence,
    verdict_sentence,
)
from sdl_study.report.text import answer_text

RISING = Convergence(True, 0.0231, 0.31, 0.06, 0.008, "seeds", 8, 8)
SETTLED = Convergence(False, -0.0012, 0.2, 0.01, 0.004, "epochs", 8, 5)
INTERVAL = Interval(0.0312, 0.008, 12.0, 0.95, 0.0137, 0.0487, 0.002, 4e-5, 2.4e-5, 0.0251)
CONTRAST = Comparison(
    first="sd", second="any", metric="map", stage="probe", seeds=(0, 1, 2, 3, 4, 5), values=((0.5, 0.4),) * 6,
    difference=0.0312, interval=INTERVAL, groups=300, confidence=0.95, adjusted_p=0.002, word="better", searches=3,
)  # fmt: skip
ANY = Row("any", "final", "conv", 0.1, 0.6, 0.55, 9.0, convergence=SETTLED, dev_of_finals=0.57, spread=0.01)
SD = Row("sd", "final", "conv", 0.4, 0.7, 0.62, 9.0, RISING, (Edge("loss.temperature", "high", 0.48),),
         margins={"untrained": 0.3, "tfidf": 0.02})  # fmt: skip
TFIDF = Row("tfidf", "control", None, None, 0.5, 0.6, 1.0)
ANSWER = Answer(
    "demo", "f" * 64, "dev/map", "map", "probe", 8, "sd", (), (ANY, SD, TFIDF), (), CONTRAST, (), None, searches=3,
)  # fmt: skip


def with_sd(**changes: Any) -> Answer:
    return replace(ANSWER, table=(ANY, replace(SD, **changes), TFIDF))


@pytest.mark.parametrize(
    ("margins", "words"),
    [
        ({"untrained": 0.3, "tfidf": 0.02}, "lies above every control: tfidf by 0.0200, untrained by 0.3000"),
        ({"untrained": 0.3, "tfidf": -0.02}, "lies BELOW tfidf by 0.0200; above: untrained by 0.3000"),
        ({"untrained": -0.1, "tfidf": -0.02}, "lies BELOW untrained by 0.1000, tfidf by 0.0200"),
        ({"tfidf": 0.0}, "lies BELOW tfidf by 0.0000"),
    ],
)
def test_the_first_line_says_where_the_best_arm_stands_among_the_controls(
    margins: dict[str, float], words: str
) -> None:
    answer = with_sd(margins=margins)
    expected = f"demo: sd, the best arm on dev, has test map 0.6200 and {words}"
    assert answer_text(answer).splitlines()[0] == controls_sentence(answer) == expected


def test_without_controls_or_a_result_there_is_no_such_line() -> None:
    assert controls_sentence(with_sd(margins={})) is None
    assert controls_sentence(with_sd(test=None)) is None


def test_what_is_to_be_known_of_the_arms() -> None:
    assert findings(ANSWER) == [
        (
            "any had converged: dev -0.0012 over the last quarter of 8 epochs, +0.0100 over the last half, +0.2000 in "
            "all; error by the noise of its epochs 0.0040"
        ),
        (
            "sd was still rising at its end: dev +0.0231 over the last quarter of 8 epochs, +0.0600 over the last "
            "half, +0.3100 in all; error over seeds 0.0080; train it longer"
        ),
        "sd was best at the edge of its range, loss.temperature 0.48 (high): a wider range may hold a better setting",
    ]
    unable = with_sd(could_learn=False, valid_anchors=0.002, convergence=None, edges=())
    assert findings(unable)[0] == (
        "sd could not learn: 0.2% of its examples had anything to be contrasted with; nothing is compared with it"
    )
    assert len(findings(unable)) == 2


def test_the_table_marks_it() -> None:
    table = [line for line in answer_text(ANSWER).splitlines() if line.startswith(("any  ", "sd  "))]
    assert table[0].split() == ["any", "conv", "0.100", "0.6000", "0.5700", "0.5500", "0.0100", "9.0", "-"]
    assert table[1].endswith("rising, edge")
    unable = answer_text(with_sd(could_learn=False, valid_anchors=0.0))
    assert "cannot learn, rising, edge" in unable


def test_several_searches_speak_of_the_arms_and_one_of_their_settings() -> None:
    several = "sd against any, map (probe): +0.0312 [+0.0137, +0.0487], 3 searches, 300 groups: better"
    assert verdict_sentence(CONTRAST) == several
    one = verdict_sentence(replace(CONTRAST, searches=1))
    assert one.startswith(
        "the setting chosen for sd against the setting chosen for any, map (probe): +0.0312 "
    )
    assert ", 6 seeds, " in one


@pytest.mark.parametrize(
    ("rising", "clause"),
    [
        ((), ""),
        (("bce",), ""),
        (("sd",), "; sd was still rising: longer training may change this"),
        (("any", "sd"), "; sd and any were still rising: longer training may change this"),
    ],
)
def test_a_verdict_about_an_arm_that_was_still_rising_says_so(rising: tuple[str, ...], clause: str) -> None:
    assert verdict_sentence(CONTRAST, rising) == verdict_sentence(CONTRAST) + clause


def test_a_verdict_about_an_arm_that_could_not_learn_says_so() -> None:
    told = verdict_sentence(CONTRAST, ("sd", "any"), ("sd",))
    assert told.endswith(
        ": better; sd could not learn; any was still rising: longer training may change this"
    )


def test_the_printed_verdict_carries_the_clause() -> None:
    assert answer_text(ANSWER).endswith(": better; sd was still rising: longer training may change this")


def of_metric(metric: str, seed_variance: float, **changes: Any) -> Answer:
    """The answer on a metric, whose seeds vary by so much; test inputs do by 2.4e-5."""
    contrast = replace(CONTRAST, metric=metric, interval=replace(INTERVAL, seed_variance=seed_variance))
    return replace(ANSWER, metric=metric, primary=contrast, **changes)


def test_a_verdict_of_a_kind_whose_simulation_missed_its_bounds_says_so() -> None:
    limit = not_covered_sentence(of_metric("macro_f1", 1.61e-4))
    assert limit is not None
    assert limit.startswith("not covered by what was simulated: for macro_f1 over many rare labels")
    assert limit in answer_text(of_metric("macro_f1", 1.61e-4)).splitlines()


@pytest.mark.parametrize(
    "answer",
    [
        of_metric("macro_f1", 1.59e-4),  # three searches: 19.9 times the variance of test inputs
        of_metric("map", 1e-3),
        of_metric("micro_f1", 1e-3),
        of_metric("precision_at_5", 1e-3),
        of_metric("macro_f1", 1e-3, exploratory=("a" * 64,)),
        replace(of_metric("macro_f1", 1e-3), primary=replace(CONTRAST, interval=None)),  # one seed
    ],
)
def test_others_say_nothing_of_it(answer: Answer) -> None:
    assert not_covered_sentence(answer) is None
    assert "not covered" not in answer_text(answer)
