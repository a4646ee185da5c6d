"""Does the method beat each arm, by how much, how sure, and how often was this test split opened?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sdl_study.evaluation.verdict import Comparison
from sdl_study.record.answer import Answer
from sdl_study.report.page.card import Card
from sdl_study.report.page.drawing import INK, MUTED, canvas, style_of
from sdl_study.report.page.frames import StudyFrames, counted
from sdl_study.report.sentences import (
    aa_sentence,
    controls_sentence,
    convergence_sentence,
    edge_sentence,
    failed_sentence,
    learning_sentence,
    not_covered_sentence,
    verdict_sentence,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

KEY, TITLE = "answer", "Answer"
_FORMATS = {"difference": "+.4f", "low": "+.4f", "high": "+.4f", "p (Holm)": ".2g", "confidence": ".4f",
            "detectable": ".4f"}  # fmt: skip
_SCHEMA = {
    "contrast": str, "role": str, "difference": float, "low": float, "high": float, "confidence": float,
    "p (Holm)": float, "detectable": float, "seeds": int, "pairs": int, "groups": str, "word": str,
}  # fmt: skip


def frame(study: StudyFrames) -> pl.DataFrame:
    """One row per contrast, as answer.json has it."""
    import polars as pl

    exploratory = study.record.answer is not None and bool(study.record.answer.exploratory)
    rows = [_row(role, contrast, exploratory, study) for role, contrast in study.contrasts]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _row(role: str, contrast: Comparison, exploratory: bool, study: StudyFrames) -> dict[str, object]:
    interval = None if exploratory else contrast.interval
    stage = "" if contrast.stage == study.stage else f" ({contrast.stage})"
    return {
        "contrast": f"{contrast.first} − {contrast.second}{stage}",
        "role": role,
        "difference": contrast.difference,
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
        "confidence": None if interval is None else interval.confidence,
        "p (Holm)": None if exploratory else contrast.adjusted_p,
        "detectable": None if interval is None else interval.detectable,
        "seeds": len(contrast.seeds),
        "pairs": contrast.pairs,
        "groups": study.shown(contrast.groups),
        "word": "exploratory" if exploratory else contrast.word,
    }


def card(study: StudyFrames) -> Card:
    """The answer, or how far the study is from one."""
    answer = study.record.answer
    if answer is None:
        return Card(KEY, TITLE, _so_far(study), lines=_openings(study))
    table = frame(study)
    first = controls_sentence(answer)
    lines = [] if first is None else [first]
    if not answer.exploratory:
        lines += [_verdict(role, c, answer, study.shown) for role, c in study.contrasts]
    if (limit := not_covered_sentence(answer)) is not None:
        lines.append(limit)
    lines += [*answer.seen, *_warnings(answer)]
    lines += [failed_sentence(failed) for failed in answer.failed]
    if answer.no_verdict and answer.primary is not None:
        lines.append(f"no verdict on a contrast: {answer.no_verdict}")
    lines += answer.published
    return Card(
        key=KEY,
        title=TITLE,
        sentence=headline(study),
        frame=table if table.height else None,
        figures=(draw(table, study),) if table.height else (),
        note=_note(study),
        lines=(*_openings(study), *lines),
        formats=_FORMATS,
        table=True,
    )


def _verdict(role: str, contrast: Comparison, answer: Answer, shown: Callable[[int], str]) -> str:
    """A contrast in words, its number of groups as it may be told."""
    found = (
        aa_sentence(contrast) if role == "A/A" else verdict_sentence(contrast, answer.rising, answer.unable)
    )
    return found.replace(f" {contrast.groups} groups", f" {shown(contrast.groups)} groups")


def _warnings(answer: Answer) -> list[str]:
    """What keeps an arm's number from being believed; that the others had converged is told by their curves."""
    found = [
        sentence
        for row in answer.table
        if row.role == "final"
        for sentence in (
            learning_sentence(row),
            convergence_sentence(row) if row.name in answer.rising else None,
            edge_sentence(row),
        )
    ]
    return [sentence for sentence in found if sentence is not None]


def headline(study: StudyFrames) -> str:
    """The answer in one sentence."""
    answer = study.record.answer
    if answer is None:
        return _so_far(study)
    if answer.exploratory:
        return (
            "Exploratory, without a verdict: test data of this study had been scored before the search ended "
            f"(declaration {', '.join(sha[:12] for sha in answer.exploratory)})."
        )
    contrast = answer.primary
    if contrast is None:
        return (
            f"No verdict: {answer.no_verdict or 'the study declares no method that is compared with an arm'}."
        )
    # One search of each arm tells of the settings that it found, not of the arms.
    head = "" if contrast.searches > 1 else "the setting chosen for "
    first, second = f"{head}{contrast.first}", f"{head}{contrast.second}"
    measure = f"{contrast.metric} on test: {contrast.difference:+.4f}"
    if contrast.interval is None:
        return f"No claim from one seed about {first} against {second}. {measure}."
    interval = contrast.interval
    within = f"{interval.confidence:.0%} interval {interval.low:+.4f} to {interval.high:+.4f}"
    what = {
        "better": f"{first} is better than {second}",
        "worse": f"{first} is worse than {second}",
        "not distinguishable": f"{first} and {second} are not distinguishable",
    }[contrast.word]
    found = f"{what[0].upper() if head else what[0]}{what[1:]}. {measure}, {within}."
    return found if answer.aa is None else f"{found} {_with_itself(answer.aa)}"


def _with_itself(aa: Comparison) -> str:
    """What stands beside the verdict of an arm against itself."""
    if aa.word == "not distinguishable":
        return f"Against itself on other seeds (A/A), {aa.first} shows no difference."
    return (
        f"But {aa.first} is {aa.word} than itself on other seeds (A/A, {aa.difference:+.4f}): do not rely on a "
        "difference of this size."
    )


def _so_far(study: StudyFrames) -> str:
    """Where a study without an answer stands."""
    record = study.record
    ended = sum(trial.state != "running" for trial in record.trials)
    states = f"{ended} of {study.settings['budget']['trials'] * len(study.arms)} trials have ended"
    if record.trials and all(trial.state == "failed" for trial in record.trials):
        return f"No answer: all {len(record.trials)} trials so far have failed; the trials below say why."
    if record.declaration is None:
        return f"No answer yet: {states}, nothing is declared, and no test label has been opened for it."
    if record.dataset is not None and not record.dataset.has_test_labels:
        return (
            "No answer: the study came to its declaration, and the test labels are not there; put "
            "test_labels.parquet back beside the data and start the study again."
        )
    done = study.finals.filter(study.finals["state"] != "not yet").height
    return f"No answer yet: declared, and {done} of {study.finals.height} finals and controls have ended."


def _openings(study: StudyFrames) -> tuple[str, ...]:
    """How often the test labels of these data were opened, by whom."""
    dataset = study.record.dataset
    if dataset is None:
        return (
            "How often the test labels were opened is not known: the data are not where the study read them.",
        )
    own = [line for line in dataset.ledger if line.identity.study == study.name]
    declaration = study.record.declaration
    sha = None if declaration is None else declaration.sha
    under = sum(line.declaration == sha for line in own)
    others = len(dataset.ledger) - len(own)
    return (
        (
            f"The test labels of these data have been opened {len(dataset.ledger)} times, once per final and control: "
            f"{under} under this study's declaration, {len(own) - under} under earlier ones of it, {others} by other "
            "studies."
        ),
    )


def _note(study: StudyFrames) -> str | None:
    answer = study.record.answer
    if answer is None or not study.contrasts:
        return None
    _, first = study.contrasts[0]
    pairs = "searches" if answer.searches > 1 else "seeds"
    seeds = counted(len(first.seeds), "seed")
    head = f"n = {study.shown(first.groups)} groups of test inputs, {seeds}; {answer.metric} after {answer.stage}."
    if answer.exploratory:
        return f"{head} No interval and no test: exploratory."
    if first.interval is None:
        return f"{head} No interval and no test: one seed says nothing of how much seeds vary."
    holm = (
        f"Holm over {len(answer.secondary)} secondary contrasts"
        if answer.secondary
        else "none (one contrast)"
    )
    return (
        f"{head} Interval over {pairs} and groups (bootstrap), t with Cochran and Cox's quantile; two-sided test "
        f"against no difference; correction: {holm}, the primary contrast stands alone. Secondary intervals stand "
        "at the level that the correction leaves them."
    )


def draw(table: pl.DataFrame, study: StudyFrames) -> go.Figure:
    """Differences with their intervals, the primary contrast uppermost."""
    import plotly.graph_objects as go

    ordered = table.reverse()
    metric = study.contrasts[0][1].metric
    figure = canvas(84 + 40 * table.height, f"difference in {metric}", "", showlegend=False)
    colour = style_of(study.contrasts[0][1].first, study.arms).colour
    known = ordered["low"].is_not_null().any()
    high = (ordered["high"] - ordered["difference"]).to_list()
    low = (ordered["difference"] - ordered["low"]).to_list()
    words = [f"{d:+.4f} {w}" for d, w in ordered.select("difference", "word").iter_rows()]
    figure.add_trace(go.Scatter(
        x=ordered["difference"].to_list(), y=ordered["contrast"].to_list(), mode="markers",
        marker={"color": [colour if role == "primary" else INK for role in ordered["role"]], "size": 12,
                "symbol": ["diamond" if role == "primary" else "circle" for role in ordered["role"]]},
        error_x={"type": "data", "array": high, "arrayminus": low, "symmetric": False, "color": MUTED,
                 "thickness": 2, "width": 6} if known else None,
        text=words, hovertemplate="%{y}: %{text}<extra></extra>",
    ))  # fmt: skip
    figure.add_vline(x=0, line={"color": MUTED, "dash": "dash", "width": 1})
    return figure.update_yaxes(type="category", gridcolor="rgba(0,0,0,0)")
