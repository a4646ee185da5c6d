"""Studies made over another one: where the base is found, what is taken of it, and what is refused in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sdl_study.arms import ANY, MULSUPCON, SD, SD_WEIGHTED, Arm
from sdl_study.errors import UserError
from sdl_study.own_modules import load_study
from sdl_study.run import main
from sdl_study.space import choice, log_uniform
from sdl_study.study.bases import find_base, over
from sdl_study.study.plan import make_plan
from tests.unit.report.studies import declared, searched
from tests.unit.study.fakes import small_study

FIXED = Arm("tau_0.1", "sd", fixed={"temperature": 0.1})


def test_what_all_arms_of_the_base_search_is_searched_by_all_that_have_it(tmp_path: Path) -> None:
    base = small_study(arms=("any", "sd", "sd_weighted"))
    weighted = log_uniform("loss.dissimilarity_power", 0.1, 4.0, arms=("sd_weighted",))
    published = {**base.space.published, "loss.dissimilarity_power": 1.0}
    space = replace(base.space, parameters=(*base.space.parameters, weighted), published=published)
    made = over(replace(base, space=space), (SD, ANY, FIXED, MULSUPCON), method="sd")
    assert [p.name for p in made.space.parameters] == [p.name for p in base.space.parameters]
    assert made.space.published == base.space.published
    plan = make_plan(made, tmp_path, "made", {})
    searching = {p.name: p.arms for p in plan.space.parameters}
    assert searching["model.encoder"] == ("sd", "any", "tau_0.1", "mulsupcon")
    assert searching["loss.temperature"] == ("sd", "any", "mulsupcon")
    kept = over(replace(base, space=space), (SD, SD_WEIGHTED), method="sd").space.parameters[-1]
    assert (kept.name, kept.arms) == ("loss.dissimilarity_power", ("sd_weighted",))


def test_there_are_three_final_seeds_at_least() -> None:
    base = small_study()
    assert base.settings.budget.final_seeds == 1
    assert over(base, (SD, ANY), method="sd").settings.budget.final_seeds == 3
    budget = base.settings.budget.model_copy(update={"final_seeds": "auto"})
    auto = replace(base, settings=base.settings.model_copy(update={"budget": budget}))
    assert over(auto, (SD, ANY), method="sd").settings.budget.final_seeds == "auto"


def test_a_finished_study_gives_its_space_and_its_winners_start(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    with pytest.raises(UserError, match="--base: small: this study has no winner yet"):
        find_base("small", tmp_path)
    declaration = declared(plan)
    for reference in ("small", str(plan.files.folder)):
        found = find_base(reference, tmp_path)
        assert found.name == "small"
        assert found.study.settings == plan.settings
        assert [p.name for p in found.study.space.parameters] == [p.name for p in plan.space.parameters]
        assert [p.distribution for p in found.study.space.parameters] == [
            p.distribution for p in plan.space.parameters
        ]
    winner = declaration.winner("sd").parameters
    published = found.study.space.published
    assert published["train.learning_rate"] == winner["train.learning_rate"]
    assert published["loss.temperature"] == plan.space.published["loss.temperature"] == 0.07
    assert found.reference == ".../small"
    made = over(found.study, (SD, ANY, FIXED), method="sd")
    searching = {p.name: p.arms for p in make_plan(made, tmp_path, "made", {}).space.parameters}
    assert searching["loss.temperature"] == ("sd", "any")


def test_a_record_whose_encoder_is_a_file_names_its_module(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    declared(plan)
    text = plan.files.study_json.read_text()
    plan.files.study_json.write_text(text.replace('"kind": "conv"', '"kind": "mine.py"'))
    with pytest.raises(UserError, match="encoder conv is a file beside the study's module; name that module"):
        find_base("small", tmp_path)


def test_a_condition_on_a_setting_that_no_arm_has_is_told(tmp_path: Path) -> None:
    base = small_study()
    joint = choice(
        "train.augment", "none", "flip", when={"loss.dissimilarity_power": 1.0}, arms=("any", "sd")
    )
    study = replace(base, space=replace(base.space, parameters=(*base.space.parameters, joint)))
    made = over(study, (ANY, MULSUPCON))
    with pytest.raises(UserError, match=r"train\.augment: when 'loss\.dissimilarity_power'"):
        make_plan(made, tmp_path, "made", {})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ablation"], "study ablation: is made over another study; name that with --base STUDY"),
        (
            ["text", "--base", "demo_coco"],
            "--base: study text is not made over another one; leave --base out",
        ),
        (["ablation", "--base", "no_such"], "--base: unknown study 'no_such'; search_spaces has"),
        (["ablation", "--base", "./no_such.py"], "--base: study ./no_such.py: there is no such file"),
        (["ablation", "--base", "ablation"], "--base: study ablation: is made over another study"),
        (["ablation", "text", "--base", "demo_coco"], "--base: give it with one study"),
        (["ablation", "--base", "text"], "text_ablation: data.path is required"),
        (
            ["ablation", "--base", "demo_coco", "--set", "arms=('any', 'aa')"],
            "demo_coco_ablation: aa trains the method once more, and there is none among the arms",
        ),
        (
            ["ablation", "--base", "demo_coco", "--set", "arms=('sd', 'no_such')"],
            "arms: unknown arm 'no_such'; this study has sd, similarity_only",
        ),
        (
            ["ablation", "--base", "demo_coco", "--set", "model.encoders.resnet_tiny.freeze=True"],
            "model.encoders.resnet_tiny",
        ),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "studies"
    assert main(["study", *arguments, "--out", str(out)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert words in told.err
    assert told.err.count("\n") == 1
    assert not out.exists()


def test_a_folder_without_a_study_is_no_base(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no study \(no study.json\)"):
        find_base(str(tmp_path), tmp_path)


def test_the_mistake_of_a_module_that_makes_a_study_is_told_with_its_line(tmp_path: Path) -> None:
    module = tmp_path / "mine.py"
    module.write_text("def of_base(base):\n    return base.nothing\n")
    with pytest.raises(UserError, match=r"mine\.py:2: AttributeError: 'Study' object has no attribute"):
        load_study(str(module), load_study("demo_coco"))


def test_a_study_over_another_one_is_started_again_by_both_names(tmp_path: Path) -> None:
    base = load_study("demo_coco")
    own = load_study("ablation", base)
    assert (own.name, own.reference, own.base) == ("demo_coco_ablation", "ablation", "demo_coco")
    assert own.module == base.module


def test_variants_of_an_ablation_are_what_takes_nothing_away(tmp_path: Path) -> None:
    arms = (
        SD,
        ANY,
        FIXED,
        Arm("similarity_only", "sd", fixed={"dissimilarity_power": 0.0}),
        Arm("again", "sd"),
    )
    study = replace(small_study(), arms=arms)
    plain = make_plan(study, tmp_path, "plain", {})
    assert plain.variants == ("sd", "tau_0.1", "similarity_only", "again")
    assert "ablates" not in plain.identity()
    ablation = make_plan(replace(study, ablates=True), tmp_path, "ablation", {})
    assert ablation.variants == ("sd", "tau_0.1", "again")
    assert ablation.identity()["ablates"] is True


def test_its_cost_is_forecast_with_the_aa_arm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = "arms=('similarity_only', 'dissimilarity_only', 'sd', 'neither', 'aa')"
    given = ["--base", "demo_mimic", "--dry-run", "--set", chosen, "--out", str(tmp_path / "studies")]
    assert main(["study", "ablation", *given]) == 0
    told = capsys.readouterr().out
    assert "arms: similarity_only, dissimilarity_only, sd, neither; batch 64" in told
    assert "in all 31 trainings" in told  # 4 arms of 4 trials and 3 finals, and 3 finals again
    assert "among them 3 finals of sd once more" in told
