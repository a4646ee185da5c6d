"""What cannot learn is told before the first trial: frozen encoders, and arms with nothing to contrast."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdl_study.arms import BCE, Arm
from sdl_study.data.prepared import PreparedData
from sdl_study.errors import UserError
from sdl_study.label_sets import LabelSets
from sdl_study.setting_paths import with_values
from sdl_study.space import Study, choice
from sdl_study.study.learnable import largest_batch, unable_arms, unable_lines
from sdl_study.study.plan import make_plan
from tests.integration.tiny import tiny_plan
from tests.unit.study.fakes import arms_named, small_plan, small_study

FREEZABLE = """
from sdl_study.models.kinds import conv

class Settings(conv.Settings):
    freeze: bool = False
    lora_rank: int = 0

build = conv.build
"""
DISTINCT = LabelSets.from_lists([[0, number] for number in range(1, 120)], 120)


def frozen_study(folder: Path, **changes: Any) -> Study:
    kind = folder / "freezable.py"
    kind.write_text(FREEZABLE)
    study = small_study(arms=("bce", "any", "sd"))
    encoders = {"conv": {"kind": "conv"}, "bert": {"kind": "bert"}, "own": {"kind": str(kind), **changes}}
    settings = with_values(study.settings, {"model.encoders": encoders}, "test")
    space = replace(study.space, parameters=(choice("model.encoder", "conv", "own"),), published={})
    return replace(study, settings=settings, space=space)


def test_a_frozen_encoder_under_a_contrastive_arm_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError) as told:
        make_plan(frozen_study(tmp_path, freeze=True), out, "small", {})
    assert str(told.value).startswith(
        "small: model.encoders.own: is frozen, so that arm any, sd would train nothing that is kept"
    )
    assert "\n" not in str(told.value)
    assert not out.exists()


@pytest.mark.parametrize("changes", [{}, {"freeze": True, "lora_rank": 4}])
def test_an_encoder_of_which_something_is_trained(tmp_path: Path, changes: dict[str, Any]) -> None:
    make_plan(frozen_study(tmp_path, **changes), tmp_path / "out", "small", {})


def test_a_frozen_encoder_that_no_trial_gets_or_no_contrastive_arm_is_no_mistake(tmp_path: Path) -> None:
    study = frozen_study(tmp_path, freeze=True)
    make_plan(study, tmp_path / "out", "small", {"model.encoder": "conv"})
    make_plan(replace(study, arms=(BCE,), method=None), tmp_path / "out", "small", {})


def test_freezing_that_is_searched_is_found(tmp_path: Path) -> None:
    study = frozen_study(tmp_path)
    searched = choice("model.encoders.own.freeze", False, True, when={"model.encoder": "own"})
    space = replace(study.space, parameters=(*study.space.parameters, searched))
    with pytest.raises(UserError, match=r"model\.encoders\.own: is frozen"):
        make_plan(replace(study, space=space), tmp_path / "out", "small", {})


def test_arms_without_anything_to_contrast_are_found(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, arms=("bce", "any", "all", "mulsupcon", "sd_weighted"))
    assert unable_arms(plan.space, plan.settings, plan.losses, DISTINCT) == {"all": 0.0}
    apart = LabelSets.from_lists([[number] for number in range(120)], 120)
    assert list(unable_arms(plan.space, plan.settings, plan.losses, apart)) == [
        "any", "all", "mulsupcon", "sd_weighted",
    ]  # fmt: skip


def test_the_batches_most_in_their_favour_are_looked_at(tmp_path: Path) -> None:
    """Pairs of equal sets that seldom meet in a small batch."""
    pairs = LabelSets.from_lists([[number % 400] for number in range(800)], 400)
    study = small_study(arms=("all",))
    for sizes, found in (((2, 3), ["all"]), ((2, 64), [])):
        batch = choice("train.batch_size", *sizes)
        space = replace(study.space, parameters=(*study.space.parameters, batch))
        plan = make_plan(replace(study, space=space), tmp_path, "small", {})
        assert largest_batch(plan.space, plan.settings) == max(sizes)
        assert list(unable_arms(plan.space, plan.settings, plan.losses, pairs)) == found
    aware = small_plan(tmp_path, {"train.batch_size": 2, "train.label_aware": 1.0}, arms=("all",))
    assert unable_arms(aware.space, aware.settings, aware.losses, pairs) == {}


def test_a_rule_of_ones_own_is_asked_too(tmp_path: Path) -> None:
    rule = tmp_path / "rules.py"
    rule.write_text(
        "from sdl_study.losses import WeightRule\n\nclass Alike(WeightRule):\n"
        "    def weight(self, intersection, anchor_size, candidate_size):\n        return intersection\n"
    )
    study = replace(small_study(), arms=(*arms_named("any"), Arm("own", f"{rule}:Alike")), method=None)
    plan = make_plan(study, tmp_path / "out", "small", {})
    apart = LabelSets.from_lists([[number] for number in range(120)], 120)
    assert list(unable_arms(plan.space, plan.settings, plan.losses, apart)) == ["any", "own"]


def test_the_study_says_so_at_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = tiny_plan(tmp_path, {"train.batch_size": 2, "arms": ("any", "sd")})
    data = PreparedData.load(str(plan.settings.data.path))
    assert list(unable_lines(plan, data)) == []
    monkeypatch.setattr("sdl_study.study.learnable.unable_arms", lambda *_: {"sd": 0.0042})
    (line,) = unable_lines(plan, data)
    said = "arm sd cannot learn: 0.4% of the examples have anything to be contrasted with in batches of 2; nothing"
    assert line.startswith(said)
