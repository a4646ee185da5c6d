"""Arms and their losses as a study outside of the project declares them: what is right works, else it is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdl_study.arms import ANY, BCE, SD, Arm
from sdl_study.config import build_settings
from sdl_study.errors import UserError
from sdl_study.losses import RelationWeights
from sdl_study.space import SearchSpace, choice, integer, log_uniform, uniform
from sdl_study.study.plan import Plan, make_plan
from tests.unit.study.fakes import small_study

TEMPERATURE = log_uniform("loss.temperature", 0.03, 0.5)
RULE = """
from sdl_study.losses import AnyLoss, WeightRule

class Halving(WeightRule):
    def __init__(self, rate: float, normalizer: str = "positives"):
        super().__init__(normalizer)
        self.rate = rate

    def weight(self, intersection, anchor_size, candidate_size):
        return self.rate ** (candidate_size - intersection)

class Broken(WeightRule):
    def __init__(self):
        raise {raised}

    def weight(self, intersection, anchor_size, candidate_size):
        return intersection

class Learnt(AnyLoss):
    def __init__(self, temperature: float = 0.1):
        super().__init__(temperature)
        import torch
        self.scale = torch.nn.Parameter(torch.ones(1))
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A study's file of another name than its rule's, in a folder of its own."""
    file = tmp_path / "own" / "space.py"
    file.parent.mkdir()
    file.write_text("")
    (file.parent / "rules.py").write_text(RULE.replace("{raised}", "KeyError('powers')"))
    return file


def plan_of(
    out: Path,
    arms: tuple[Arm, ...],
    values: dict[str, Any] | None = None,
    module: Path | None = None,
    **study: Any,
) -> Plan:
    made = replace(small_study(), arms=arms, method=None, space=SearchSpace((TEMPERATURE,)))
    return make_plan(replace(made, **study), out / "studies", "mine", values or {}, module=module)


def refused(*given: Any, **more: Any) -> str:
    with pytest.raises(UserError) as told:
        plan_of(*given, **more)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"a": (1, 2)}, {"a": [1, 2]}),
        ({"a": np.float32(0.5)}, {"a": 0.5}),
        ({"a": np.array([1, 2])}, {"a": [1, 2]}),
        (
            {"relation_weights": RelationWeights(subset=2.0)},
            {"relation_weights": {"equal": 1.0, "overlap": 1.0, "subset": 2.0, "superset": 1.0}},
        ),
    ],
)
def test_what_an_arm_fixes_is_kept_as_plain_values(given: dict[str, Any], kept: dict[str, Any]) -> None:
    assert Arm("mine", "sd", fixed=given).fixed == kept


@pytest.mark.parametrize("value", [{1, 2}, lambda: 1, float("nan"), float("inf"), b"x", object()])
def test_what_is_no_plain_value_is_told(value: Any) -> None:
    with pytest.raises(UserError, match=r"arm mine: fixed: a is .*; (write numbers|it must be a finite)"):
        Arm("mine", "sd", fixed={"a": value})
    values = small_study().settings.model_dump() | {"loss": {"a": value}}
    with pytest.raises(UserError, match=r"small: loss: loss\.a is "):
        build_settings(values, "small")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "untrained", "tfidf", ".hidden", "x" * 65, 3])
def test_a_name_that_no_arm_can_have(name: Any) -> None:
    with pytest.raises(UserError, match="arm "):
        Arm(name, "sd")


def test_a_setting_without_default_may_be_searched_fixed_or_given(tmp_path: Path, module: Path) -> None:
    mine = Arm("mine", "rules:Halving")
    rate = uniform("loss.rate", 0.1, 0.9)
    plan_of(tmp_path, (mine,), module=module, space=SearchSpace((TEMPERATURE, rate)))
    plan_of(tmp_path, (replace(mine, fixed={"rate": 0.5}),), module=module)
    plan_of(tmp_path, (mine,), {"loss.rate": 0.5}, module=module)
    assert "needs the setting 'rate'" in refused(tmp_path, (mine,), module=module)


@pytest.mark.parametrize(
    "raised",
    ["KeyError('powers')", "AssertionError()", "RuntimeError('no')", "ZeroDivisionError()", "SystemExit(3)"],
)
def test_a_loss_that_cannot_be_made_is_one_line_with_its_place(
    raised: str, tmp_path: Path, module: Path
) -> None:
    (module.parent / "broken.py").write_text(RULE.replace("{raised}", raised))
    told = refused(tmp_path, (Arm("mine", "broken:Broken"),), module=module)
    assert f"{raised.partition('(')[0]}: " in told
    assert "(broken.py:14)" in told


def test_a_loss_whose_own_parameters_nobody_would_train_is_refused(tmp_path: Path, module: Path) -> None:
    assert "has parameters of its own" in refused(tmp_path, (Arm("mine", "rules:Learnt"),), module=module)


def test_the_same_class_by_another_name_is_a_variant(tmp_path: Path, module: Path) -> None:
    fixed = {"rate": 0.5}
    arms = (
        BCE,
        Arm("one", "rules:Halving", fixed=fixed),
        Arm("two", "rules.py:Halving", fixed=fixed),
        Arm("three", f"{module.parent / 'rules.py'}:Halving", fixed=fixed),
        SD,
        Arm("sd_too", "sdl_study.losses:SimilarityDissimilarityLoss"),
    )
    assert plan_of(tmp_path, arms, module=module, method="one").variants == ("one", "two", "three")
    assert plan_of(tmp_path, arms, module=module, method="sd_too").variants == ("sd", "sd_too")
    assert plan_of(tmp_path, arms, module=module).variants == ()


@pytest.mark.parametrize("stem", ["sd", "any", "conv", "bert"])
def test_a_studys_file_may_be_called_like_a_loss_or_an_encoder(stem: str, tmp_path: Path) -> None:
    file = tmp_path / f"{stem}.py"
    file.write_text("")
    plan_of(tmp_path, (ANY, SD), module=file)


def test_another_code_of_an_own_loss_is_another_study(tmp_path: Path, module: Path) -> None:
    from sdl_study.record.identity import differences

    mine = (Arm("mine", "rules:Halving", fixed={"rate": 0.5}),)
    before = plan_of(tmp_path, mine, module=module).identity()
    elsewhere = module.parent.parent / "moved"
    module.parent.rename(elsewhere)
    text = (elsewhere / "rules.py").read_text()
    (elsewhere / "rules.py").write_text("# a comment\n" + text.replace("self.rate **", "(self.rate)  **"))
    moved = plan_of(tmp_path, mine, module=elsewhere / "space.py").identity()
    assert differences(before, moved) == []
    (elsewhere / "again").mkdir()
    (elsewhere / "again" / "rules.py").write_text(text.replace("self.rate **", "2 * self.rate **"))
    changed = plan_of(tmp_path, mine, module=elsewhere / "again" / "space.py").identity()
    assert differences(before, changed) == ["loss of mine: its code was changed"]


def test_a_loss_of_the_library_is_no_own_code(tmp_path: Path, module: Path) -> None:
    arms = (
        SD,
        Arm("too", "sdl_study.losses:SimilarityDissimilarityLoss"),
        Arm("mine", "rules:Halving", fixed={"rate": 0.5}),
    )
    assert list(plan_of(tmp_path, arms, module=module).identity()["own_code"]) == ["loss of mine"]


# What --set fixes.


@pytest.mark.parametrize(
    "values",
    [
        {"loss": {"relation_weights": {"overlap": 0.5}}},
        {"loss.relation_weights": {"overlap": 0.5}},
        {"loss.relation_weights.overlap": 0.5},
    ],
)
def test_a_section_that_is_set_is_no_longer_searched(values: dict[str, Any], tmp_path: Path) -> None:
    space = SearchSpace((TEMPERATURE, log_uniform("loss.relation_weights.overlap", 0.1, 4.0)))
    plan = plan_of(tmp_path, (SD,), values, space=space)
    assert "loss.relation_weights.overlap" not in {p.name for p in plan.space.parameters}
    assert plan.settings.loss["relation_weights"]["overlap"] == 0.5


def test_what_is_set_in_vain_is_told(tmp_path: Path) -> None:
    arms = (BCE, Arm("cool", "any", fixed={"temperature": 0.1}))
    space = SearchSpace((log_uniform("train.learning_rate", 1e-4, 1e-2),))
    told = refused(tmp_path, arms, {"loss.temperature": 0.5}, space=space)
    assert told == "--set: loss.temperature: has no effect; arm cool fixes it"
    plan_of(tmp_path, (*arms, ANY), {"loss.temperature": 0.5}, space=space)


def test_a_subset_of_the_arms_keeps_what_the_study_sets_for_the_others(tmp_path: Path) -> None:
    settings = small_study().settings.model_copy(update={"loss": {"similarity_power": 0.5}})
    plan = plan_of(tmp_path, (ANY, SD), {"arms": ("any",)}, settings=settings)
    assert plan.arm_names == ("any",)
    told = refused(tmp_path, (ANY, SD), {"arms": ("any",), "loss.similarity_power": 1.0})
    assert "--set: loss.similarity_power: no such setting" in told


@pytest.mark.parametrize("names", [[["sd"]], [1], [None], ({"sd"},)])
def test_arms_that_are_no_names(names: Any, tmp_path: Path) -> None:
    assert "--set: arms: needs names" in refused(tmp_path, (ANY, SD), {"arms": names})


# What can be searched.


@pytest.mark.parametrize(
    "parameter",
    [
        integer("seed", 0, 3),
        integer("budget.trials", 1, 4),
        choice("objective", "dev/map", "dev/micro_f1"),
        choice("data.path", "a", "b"),
        integer("train.workers", 1, 2),
    ],
)
def test_what_belongs_to_the_study_as_a_whole_cannot_be_searched(parameter: Any, tmp_path: Path) -> None:
    told = refused(tmp_path, (ANY,), space=SearchSpace((parameter,)))
    assert f"search space: {parameter.name}: belongs to the study as a whole" in told


def test_a_condition_on_what_no_arm_gives_a_value(tmp_path: Path) -> None:
    when = {"loss.relation_weights.overlap": 1.0}
    space = SearchSpace((TEMPERATURE, uniform("train.weight_decay", 0.0, 0.1, when=when)))
    assert "no arm gives it a value" in refused(tmp_path, (SD,), space=space)
    fixed = Arm("mine", "sd", fixed={"relation_weights": {"overlap": 1.0}})
    plan = plan_of(tmp_path, (fixed,), space=space)
    assert plan.fixed("mine") == {"loss.relation_weights.overlap": 1.0}


def test_arms_of_a_parameter_are_a_list() -> None:
    with pytest.raises(TypeError, match=r"arms='sd'; write arms=\('sd',\)"):
        uniform("loss.temperature", 0.1, 0.2, arms="sd")
