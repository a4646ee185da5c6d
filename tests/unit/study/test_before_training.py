"""The control that is an encoder before training: ``frozen`` where it has published weights, else ``untrained``."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdl_study.models import parse_encoder_settings
from sdl_study.record.declaration import Declaration, Winner
from sdl_study.record.finals import final_slots
from sdl_study.study.plan import Plan
from sdl_study.study.selection import declare
from tests.unit.study.fakes import small_plan
from tests.unit.study.test_selection import trial

PRETRAINED = {"model.encoders.published": {"kind": "hub", "name": "some/model"}}


def declared(plan: Plan, winners: list[Winner], controls: tuple[str, ...]) -> Declaration:
    records = [trial(winner.trial, winner.arm, winner.dev) for winner in winners]
    return declare(plan, winners, records, controls, "f", "1")


@pytest.mark.parametrize("wanted", [("untrained",), ("frozen",), ("untrained", "frozen")])
@pytest.mark.parametrize(
    ("encoder", "other", "right"), [("published", "conv", "frozen"), ("conv", "published", "untrained")]
)
def test_it_has_its_right_name_once(
    tmp_path: Path, wanted: tuple[str, ...], encoder: str, other: str, right: str
) -> None:
    """Of the method's encoder, whatever the other arms chose."""
    plan = small_plan(tmp_path, PRETRAINED)
    winners = [
        Winner("any", 0, {"model.encoder": other}, 0.9),
        Winner("sd", 1, {"model.encoder": encoder}, 0.1),
    ]
    declaration = declared(plan, winners, (*wanted, "label_prior"))
    assert declaration.controls == (right, "label_prior")
    slots = [slot for slot in final_slots(plan.files, declaration) if slot.name == right]
    assert [slot.parameters for slot in slots] == [{"model.encoder": encoder}] * declaration.final_seeds


def test_without_a_winner_of_the_method_the_best_arm_on_dev_has_it(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, PRETRAINED, arms=("bce", "any"))
    winners = [Winner("bce", 0, {"model.encoder": "published"}, 0.9), Winner("any", 1, {}, 0.1)]
    assert declared(plan, winners, ("untrained",)).controls == ("frozen",)


def test_a_study_that_asks_for_neither_has_neither(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, PRETRAINED)
    assert declared(plan, [Winner("sd", 1, {}, 0.1)], ("label_prior",)).controls == ("label_prior",)


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [("hub", {"name": "some/model"}, True), ("bert", {}, False), ("resnet", {}, False), ("mlp", {}, False)],
)
def test_a_kind_says_whether_its_weights_are_published(
    kind: str, settings: dict[str, object], expected: bool
) -> None:
    assert parse_encoder_settings(kind, settings).published_weights is expected
