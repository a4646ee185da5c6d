"""The forecast of encoders with a frozen part: computed once where the study keeps its outputs, else in every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sdl_study.data.hidden import HiddenStore
from sdl_study.data.prepared import PreparedData
from sdl_study.data.sizes import DataSizes
from sdl_study.models import ProjectionHead, build_encoder
from sdl_study.space import Parameter, SearchSpace, choice, integer, log_uniform
from sdl_study.study.forecast import forecast_text, make_forecast
from sdl_study.study.forecast.encoders import encoder_forecasts
from sdl_study.study.forecast.frozen import FrozenPart, outputs_of
from sdl_study.study.forecast.trace import Work, trace
from sdl_study.study.forecast.units import bytes_of
from sdl_study.study.plan import Plan, make_plan
from sdl_study.training.frozen import with_frozen_outputs
from sdl_study.training.inputs import open_inputs
from tests.unit.data import small
from tests.unit.models import published
from tests.unit.study.fakes import small_study

SIZES = DataSizes("made up", "text", train=1_000, dev=100, test=200, labels=7)
IMAGES = replace(SIZES, modality="image")
STAGES = {"hidden_sizes": [8, 16, 24], "depths": [1, 1, 1], "num_stages": 3, "image_size": 32}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saved models: ``bert`` of three layers, ``resnet`` of three stages."""
    folder = tmp_path_factory.mktemp("models")
    published.bert(folder / "bert", num_hidden_layers=3)
    published.model(folder / "resnet", "resnet", embedding_size=8, layer_type="basic", **STAGES)
    return folder


def plan_of(models: Path, out: Path, encoder: Mapping[str, Any], name: str = "bert", **given: Any) -> Plan:
    """Of a study with one encoder, a saved model."""
    study = small_study(arms=("bce",) if encoder.get("freeze") else ("any", "sd"))
    space = SearchSpace((log_uniform("train.learning_rate", 1e-4, 1e-1),), {"train.learning_rate": 1e-3})
    chosen = {"kind": "hub", "name": str(models / name), **encoder}
    named = {path.replace("__", "."): value for path, value in given.items()}
    settings = {"model.encoders": {name: chosen}, "model.encoder": name, **named}
    if name == "bert":
        settings["data.store"] = {"tokenizer": "pretrained", "name": chosen["name"], "max_length": 16}
    return make_plan(replace(study, space=space), out, "small", settings)


@pytest.mark.parametrize(
    ("groups", "transposed", "learns", "passes"),
    [(1, False, True, 3), (8, False, True, 3), (1, True, True, 3), (4, True, True, 3), (8, False, False, 2)],
)
def test_a_convolution_backward_is_two_of_those_forward(
    groups: int, transposed: bool, learns: bool, passes: int
) -> None:
    """Torch counts the gradient of the weights as often as there are groups."""
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    layer = kind(8, 16, 3, stride=2, groups=groups, bias=False)
    layer.weight.requires_grad_(learns)

    def images(rows: int) -> dict[str, torch.Tensor]:
        return {"pixels": torch.zeros(rows, 8, 12, 12, requires_grad=torch.is_grad_enabled())}

    found = trace(layer, images, lambda batch: layer(batch["pixels"]), "fp32", "made")
    side = 12 if transposed else (12 - 3) // 2 + 1
    assert found.forward == Work(0.0, 2 * 8 * 16 // groups * 9 * side**2)
    assert found.both == found.forward * passes


def test_no_step_computes_what_the_study_keeps(models: Path, tmp_path: Path) -> None:
    two = {"frozen_layers": 2}
    kept = make_forecast(plan_of(models, tmp_path, two), SIZES, None)
    anew = make_forecast(plan_of(models, tmp_path, two, train__frozen_outputs_gib=0.0), SIZES, None)
    (one,), (other,) = kept.encoders, anew.encoders
    assert one.frozen is not None
    assert other.frozen == replace(one.frozen, kept=False)
    above, whole = one.traced["contrastive"], other.traced["contrastive"]
    assert whole.forward.total == pytest.approx(above.forward.total + one.frozen.work.total)
    assert whole.both.total == pytest.approx(above.both.total + one.frozen.work.total)
    assert above.alive(16) < whole.alive(16)
    again = one.frozen.work.total * (2 * SIZES.train + SIZES.dev) * anew.amount.epochs
    works = [forecast.trial_work(of, None, "contrastive") for forecast, of in ((kept, one), (anew, other))]
    assert works[1].total == pytest.approx(works[0].total + again)
    assert "computed once in the study" in forecast_text(kept)
    assert "more than train.frozen_outputs_gib: every step computes them anew" in forecast_text(anew)


def test_a_study_computes_them_once(models: Path, tmp_path: Path) -> None:
    forecast = make_forecast(plan_of(models, tmp_path, {"frozen_layers": 2}), SIZES, None)
    (bert,) = forecast.encoders
    assert bert.frozen is not None
    without = forecast.study_work(replace(bert, frozen=None), None)
    once = bert.frozen.work * SIZES.examples
    assert forecast.study_work(bert, None).total == pytest.approx(without.total + once.total)


@pytest.mark.parametrize(
    "searched",
    [
        choice("model.encoders.bert.frozen_layers", 2, 1),
        integer("model.encoders.bert.frozen_layers", 1, 2),
    ],
)
def test_every_number_of_frozen_layers_that_is_searched_has_outputs_of_its_own(
    models: Path, tmp_path: Path, searched: Parameter
) -> None:
    one, two = (
        make_forecast(plan_of(models, tmp_path, {"frozen_layers": layers}), SIZES, None) for layers in (1, 2)
    )
    plan = plan_of(models, tmp_path, {"frozen_layers": 2})
    space = replace(plan.space, parameters=(*plan.space.parameters, searched))
    both = make_forecast(replace(plan, space=space), SIZES, None)
    (bert,), (fewest,), (most,) = both.encoders, one.encoders, two.encoders
    assert replace(bert, other_frozen=()) == fewest
    assert bert.kept_parts == (fewest.frozen, most.frozen)
    assert most.frozen is not None
    once = most.frozen.work * SIZES.examples
    assert both.study_work(bert, None).total == pytest.approx(one.study_work(fewest, None).total + once.total)
    assert f"take {bytes_of(most.frozen.nbytes)} more" in forecast_text(both)
    anew = plan_of(models, tmp_path, {"frozen_layers": 2}, train__frozen_outputs_gib=0.0)
    told = forecast_text(make_forecast(replace(anew, space=space), SIZES, None))
    assert "the fewest frozen layers that are searched\n" in told  # nothing is kept of the others, either


@pytest.mark.parametrize("name", ["bert", "resnet"])
def test_a_step_above_the_outputs_is_what_torch_counts(models: Path, name: str, tmp_path: Path) -> None:
    plan = plan_of(models, tmp_path, {"frozen_layers": 2}, name)
    (found,) = encoder_forecasts(plan, SIZES if name == "bert" else IMAGES, None)
    encoder = build_encoder(found.kind, found.settings, found.reading.spec).train()
    batch = found.reading.batch(3)
    above = outputs_of(encoder, batch)
    with FlopCounterMode(display=False) as below, sdpa_kernel(SDPBackend.MATH):
        encoder.lower(**batch)
    with FlopCounterMode(display=False) as step, sdpa_kernel(SDPBackend.MATH):
        encoder(**above).square().mean().backward()
    assert found.frozen is not None
    assert found.frozen.work.total * 3 == pytest.approx(below.get_total_flops())
    projection = plan.settings.model.projection
    head = ProjectionHead(encoder.width, projection.hidden, projection.features, projection.norm)
    with FlopCounterMode(display=False) as of_head:
        head(torch.zeros(3, encoder.width, requires_grad=True)).square().mean().backward()
    both = found.traced["contrastive"].both.total * 3 - of_head.get_total_flops()
    # Fused attention computes its weights once more on the way back; torch's own here keeps them.
    assert both == pytest.approx(step.get_total_flops(), rel=0.05)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("frozen", [{"frozen_layers": 2}, {"freeze": True}])
def test_the_outputs_take_as_many_bytes_as_their_store(
    models: Path, frozen: dict[str, Any], precision: str, tmp_path: Path
) -> None:
    small.write_text(tmp_path / "data")
    data = PreparedData.load(tmp_path / "data")
    given = {"train.precision": precision, "data.path": str(data.path)}
    plan = plan_of(models, tmp_path, frozen, **given)
    (found,) = encoder_forecasts(plan, DataSizes.of(data.manifest), data)
    inputs = open_inputs(data.path, tmp_path / "stores", plan.settings)
    encoder = build_encoder(found.kind, found.settings, inputs.spec)
    train = plan.settings.train
    store = with_frozen_outputs(inputs, encoder, tmp_path / "stores", train, torch.device("cpu")).store
    assert isinstance(store, HiddenStore)
    assert found.frozen is not None
    # How long texts are is told from a sample of train.
    assert found.frozen.nbytes == pytest.approx(store.nbytes, rel=0.0 if "freeze" in frozen else 0.1)


def test_a_wholly_frozen_encoder_is_measured_by_its_pass_forward(models: Path, tmp_path: Path) -> None:
    forecast = make_forecast(plan_of(models, tmp_path, {"freeze": True}), SIZES, None)
    (bert,) = forecast.encoders
    assert bert.trained == 0
    assert bert.kept_part is not None
    assert forecast.measured is not None
    assert forecast.measured.operations == bert.kept_part.work.total * forecast.measured.rows
    anew = make_forecast(
        plan_of(models, tmp_path, {"freeze": True}, train__frozen_outputs_gib=0.0), SIZES, None
    )
    assert anew.measured is not None
    assert anew.measured.operations == anew.encoders[0].heaviest.both.total * anew.measured.rows


def test_all_tokens_of_a_frozen_encoder_are_computed_for_label_attention(
    models: Path, tmp_path: Path
) -> None:
    given = {"stages": ("probe", "finetune"), "finetune.head": "label_attention"}
    (bert,) = encoder_forecasts(plan_of(models, tmp_path, {"freeze": True}, **given), SIZES, None)
    assert bert.kept_part is not None
    assert bert.finetuned is not None
    assert bert.finetuned.forward.total > bert.kept_part.work.total > bert.pretrained.forward.total


def test_outputs_lie_on_a_gpu_where_they_are_small() -> None:
    part = FrozenPart(Work(1.0), nbytes=100.0, kept=True)
    held = [part.held(memory, trials) for memory, trials in ((1_600, 1), (1_599, 1), (3_200, 2), (3_199, 2))]
    assert held == [100.0, 0.0, 100.0, 0.0]
    assert replace(part, kept=False).held(1e9, 1) == 0.0


def test_augmented_images_have_no_outputs_to_keep(models: Path, tmp_path: Path) -> None:
    two = {"frozen_layers": 2}
    for augment, kept in (("none", True), ("standard", False)):
        plan = plan_of(models, tmp_path, two, "resnet", train__augment=augment)
        (found,) = encoder_forecasts(plan, IMAGES, None)
        assert (found.frozen is not None) == kept


def test_a_measurement_beside_other_work_says_so(models: Path, tmp_path: Path) -> None:
    forecast = make_forecast(plan_of(models, tmp_path, {}), SIZES, None)
    measured = forecast.measured
    assert measured is not None
    for busy, told in ((None, False), (0.1, False), (0.6, True)):
        text = forecast_text(replace(forecast, measured=replace(measured, busy=busy)))
        assert ("other work kept 60% of the CPUs busy" in text) == told
