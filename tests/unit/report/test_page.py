"""The study page at every stage of a study: what it says, and that figures show the rows of their frames."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from sdl_study.files import write_json
from sdl_study.record.reading import read_study
from sdl_study.report.cards import CARDS
from sdl_study.report.page.card import Card
from sdl_study.report.page.drawing import marks
from sdl_study.report.page.frames import StudyFrames
from sdl_study.report.study_page import page_html, write_page
from sdl_study.study.plan import Plan
from tests.unit.report.studies import answered, declared, searched
from tests.unit.study.fakes import open_search, small_plan, start


def cards_of(plan: Plan) -> dict[str, Card]:
    study = StudyFrames(read_study(plan.files))
    return {card.key: card for card in (make(study) for make in CARDS)}


def better(arm: str, seed: int) -> float:
    return {"sd": 4.0, "any": 2.0}.get(arm, 1.0) + 0.05 * seed


def alike(arm: str, seed: int) -> float:
    return 2.0 + 0.3 * ((seed + (arm == "sd")) % 2)


def worse(arm: str, seed: int) -> float:
    return {"sd": 1.0, "any": 3.5}.get(arm, 1.0) + 0.05 * seed


@pytest.mark.parametrize(
    ("quality", "words"),
    [
        (better, "The setting chosen for sd is better than the setting chosen for any."),
        (worse, "The setting chosen for sd is worse than the setting chosen for any."),
        (alike, "The setting chosen for sd and the setting chosen for any are not distinguishable."),
    ],
)
def test_every_verdict_has_its_headline_and_interval(quality, words: str, tmp_path: Path) -> None:  # noqa: ANN001
    plan = searched(tmp_path)
    answered(plan, quality)
    answer = cards_of(plan)["answer"]
    assert answer.sentence.startswith(words)
    assert answer.frame is not None
    row = answer.frame.row(0, named=True)
    stands = json.loads(plan.files.answer.read_text())["primary"]
    assert (row["difference"], row["low"], row["high"]) == (
        stands["difference"],
        stands["interval"]["low"],
        stands["interval"]["high"],
    )
    assert "n = 30 groups of test inputs, 3 seeds" in (answer.note or "")
    assert "opened 7 times" in answer.lines[0]


def test_every_figure_has_a_mark_for_each_row_of_its_frame(tmp_path: Path) -> None:
    plan = searched(tmp_path, trials=20)
    answered(plan, better)
    cards = cards_of(plan)
    drawn = {key for key, card in cards.items() if card.figures}
    assert drawn == {
        "answer", "leaderboard", "search", "temperature", "curves", "importance", "parallel", "slices", "bands",
        "labels", "calibration", "pareto", "embeddings",
    }  # fmt: skip
    for key in drawn:
        frame = cards[key].frame
        assert frame is not None
        assert marks(cards[key].figures) == frame.height > 0, key
        assert re.search(r"n = |n of", cards[key].note or ""), key
        assert re.search(r"\btest\b", cards[key].note or ""), key


def test_bands_and_their_differences(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    answered(plan, better)
    bands = cards_of(plan)["bands"]
    assert bands.frame is not None
    assert bands.frame["band"].to_list() == ["head", "medium", "tail"] * 2
    assert bands.frame["low"].is_not_null().all()
    assert (bands.frame["low"] < bands.frame["macro_f1"]).all()
    assert [line.split(":")[0] for line in bands.lines] == ["head", "medium", "tail"]
    assert all("after Holm over the bands" in line for line in bands.lines)


def test_one_seed_makes_no_claim_and_its_intervals_are_over_patients(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    answered(plan, better, seeds=1)
    cards = cards_of(plan)
    assert cards["answer"].sentence.startswith("No claim from one seed about the setting chosen for sd")
    assert "over groups alone" in (cards["bands"].note or "")
    assert cards["bands"].frame is not None
    assert cards["bands"].frame["low"].is_not_null().all()


def test_a_changed_declaration_is_exploratory_without_interval(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    answered(plan, better, exploratory=["0123456789abcdef"])
    answer = cards_of(plan)["answer"]
    assert answer.sentence.startswith("Exploratory, without a verdict")
    assert answer.frame is not None
    assert answer.frame["low"].is_null().all()
    assert set(answer.frame["word"]) == {"exploratory"}
    assert not any("better" in line for line in answer.lines)
    assert cards_of(plan)["bands"].lines == []


def test_a_failed_final_costs_the_verdict(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    answered(plan, better, failing="any")
    cards = cards_of(plan)
    assert cards["answer"].sentence == "No verdict: a final of any failed."
    assert any("FloatingPointError in training/step.py:12" in line for line in cards["trials"].lines)


def test_a_study_that_searches_has_a_page(tmp_path: Path) -> None:
    plan = searched(tmp_path, stop_after=1)
    cards = cards_of(plan)
    assert cards["answer"].sentence.startswith("No answer yet: 1 of 8 trials have ended, nothing is declared")
    assert not cards["parallel"].applies
    assert not cards["bands"].applies
    assert not cards["importance"].applies
    assert cards["curves"].applies
    assert cards["leaderboard"].sentence.startswith("By dev, so far, any is best")


def test_before_the_first_trial_and_without_data_there_is_a_page(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    write_json(plan.files.study_json, plan.identity())
    cards = cards_of(plan)
    assert cards["answer"].sentence.startswith("No answer yet: 0 of 8 trials")
    assert cards["trials"].sentence == "No trial has been asked yet."
    assert "not where the study read it" in cards["data"].sentence
    assert "data-rows" in page_html(StudyFrames(read_study(plan.files)), list(cards.values()))


def test_failed_trials_only(tmp_path: Path) -> None:
    plan = searched(tmp_path, stop_after=0)
    search = open_search(plan, concurrent=2)
    for number in range(2):
        started = start(search, f"tune-{number}")
        assert started is not None
        search.journal.fail(started[0].number, "FloatingPointError in training/step.py:12", "setting")
    cards = cards_of(plan)
    assert cards["answer"].sentence == "No answer: all 2 trials so far have failed; the trials below say why."
    assert cards["trials"].lines == ["failed 2 times by setting: FloatingPointError in training/step.py:12"]
    assert not cards["leaderboard"].applies


def test_test_labels_that_are_absent(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    declared(plan)
    (plan.files.data / "prepared" / "small" / "test_labels.parquet").unlink()
    assert "the test labels are not there" in cards_of(plan)["answer"].sentence


@pytest.mark.parametrize(
    ("test", "words"), [({"examples": 0, "groups": 0}, "no test split"), ({"groups": 1}, "one group")]
)
def test_test_splits_that_allow_no_verdict(test: dict[str, int], words: str, tmp_path: Path) -> None:
    plan = searched(tmp_path)
    path = plan.files.data / "prepared" / "small" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["counts"]["test"] |= test
    write_json(path, manifest)
    assert any(words in line for line in cards_of(plan)["data"].lines)


def test_an_answer_of_an_earlier_declaration_is_none(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    answered(plan, better)
    changed = json.loads(plan.files.declaration.read_text()) | {"final_seeds": 4}
    write_json(plan.files.declaration, changed)
    assert cards_of(plan)["answer"].sentence.startswith("No answer yet: declared, and 0 of 9 finals")


class Visible(HTMLParser):
    """What a reader sees of a page and what figures hold; not Plotly's script."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self._hidden = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden = tag == "style" or (tag == "script" and not attrs)

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text.append(data)


def test_restricted_data_hide_small_counts_and_every_record(tmp_path: Path) -> None:
    plan = searched(tmp_path, terms="restricted")
    answered(plan, better)
    cards = cards_of(plan)
    assert cards["data"].frame is not None
    assert set(cards["data"].frame["without a label"]) == {"<10"}
    assert any("train-test <10" in line for line in cards["data"].lines)
    labels = cards["labels"].frame
    assert labels is not None
    assert labels.select(pl.min_horizontal("positives", "train_count").min()).item() >= 10
    assert "restricted" in cards["embeddings"].sentence
    path = write_page(plan.files)
    assert path.stat().st_mode & 0o777 == 0o600
    parser = Visible()
    parser.feed(path.read_text())
    text = " ".join(parser.text)
    assert not re.search(r"\b8800\d\d\b", text)  # no id of a record
    assert "/home/somebody" not in text
    details = next(plan.files.folder.glob("finals/*/*/details.npz"))
    assert details.stat().st_mode & 0o777 == 0o600


def test_few_patients_of_restricted_data_are_not_counted(tmp_path: Path) -> None:
    plan = searched(tmp_path, terms="restricted")
    answered(plan, better, documents=12)
    cards = cards_of(plan)
    words = [text for card in cards.values() for text in (card.sentence, card.note or "", *card.lines)]
    told = [text for text in words if "groups" in text and re.search(r"\b6 groups|n = 6\b", text)]
    assert told == []
    assert "n = <10 groups" in (cards["answer"].note or "")
    assert cards["answer"].frame is not None
    assert set(cards["answer"].frame["groups"]) == {"<10"}


def test_text_is_escaped_and_nothing_is_requested(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    answered(plan, better)
    page = write_page(plan.files).read_text()
    assert "&lt;b&gt;a note&lt;/b&gt;" in page
    assert "<b>a note" not in page
    assert "default-src 'none'" in page
    own = page.replace(page[page.index("<script>/**") :], "")
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", own)


def test_details_are_kept_and_made_again_when_predictions_change(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    answered(plan, better)
    write_page(plan.files)
    kept = sorted(plan.files.folder.glob("finals/*/*/details.npz"))
    assert len(kept) == 6  # of the arms' finals, not of controls
    before = kept[0].read_bytes()
    kept[0].write_bytes(before[: len(before) // 2])  # a crash of the machine, whatever the disk promised
    write_page(plan.files)
    assert kept[0].read_bytes() != before[: len(before) // 2]


def test_one_trial_an_arm_has_an_answer_and_says_what_one_cannot_show(tmp_path: Path) -> None:
    plan = searched(tmp_path, trials=1, arms=("sd",))
    declaration = declared(plan, seeds=1)
    assert declaration.best_arm_on_dev == "sd"
    cards = cards_of(plan)
    assert cards["trials"].sentence == "1 trial: 1 complete."
    assert cards["parallel"].sentence == "Does not apply: it needs two trials with a value; there are 1."
    assert cards["slices"].sentence.startswith("Does not apply: no parameter took two values")
    assert "Too few complete trials for a curve: sd (1)" in (cards["temperature"].note or "")
