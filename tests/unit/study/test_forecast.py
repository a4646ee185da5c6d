"""``--dry-run``: what it prints follows from sizes alone, and nothing is written."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sdl_study.data.lengths import sample_lengths
from sdl_study.data.prepared import PreparedData
from sdl_study.data.sizes import DataSizes
from sdl_study.data.stores import open_store
from sdl_study.errors import UserError
from sdl_study.input_spec import InputSpec
from sdl_study.models import ProjectionHead
from sdl_study.models.known import known_config, known_models
from sdl_study.models.outlines import shape_encoder, without_numbers
from sdl_study.run import main
from sdl_study.study.forecast import forecast_text, make_forecast
from sdl_study.study.forecast.devices import CONVOLUTION_SHARE, GIB, GPUS, MATRIX_SHARE
from sdl_study.study.forecast.encoders import encoder_forecasts
from sdl_study.study.forecast.inputs import Reading, reading_of
from sdl_study.study.forecast.plans import amount_of, epoch_work, finetuning_work, scoring_work
from sdl_study.study.forecast.trace import Traced, Work
from sdl_study.study.plan import Plan, make_plan
from tests.unit.data import small
from tests.unit.study.fakes import small_study

SIZES = DataSizes("made up", "text", train=1_000, dev=100, test=200, labels=7)
TRACED = Traced(Work(10.0), Work(30.0, 3.0), ((2, 20.0), (16, 160.0)), {})


def plan_of(out: Path, **overrides: object) -> Plan:
    given = {path.replace("__", "."): value for path, value in overrides.items()}
    return make_plan(small_study(), out, "small", given)


def test_trials_at_each_rung_and_epochs_in_all(tmp_path: Path) -> None:
    given = {"budget__trials": 9, "train__epochs": 8, "budget__selection_seeds": 2}
    settings = plan_of(tmp_path, **given).settings
    amount = amount_of(settings, first=1, searches=1, final_seeds=5, dev=200)
    assert [(rung.epoch, rung.trials) for rung in amount.rungs] == [(1, 9), (2, 5), (4, 3), (8, 2)]
    assert amount.search_epochs == 9 + 5 + 2 * 3 + 4 * 2
    assert (amount.repeats, amount.finals, amount.whole, amount.trainings) == (3 * 2, 5, 11, 20)
    apart = amount_of(settings, first=4, searches=3, final_seeds=2, dev=200)
    assert [(rung.epoch, rung.trials) for rung in apart.rungs] == [(4, 3), (8, 2)]
    assert (apart.search_epochs, apart.repeats, apart.finals) == (3 * (4 * 3 + 4 * 2), 3 * 3 * 2, 6)
    few = amount_of(settings, first=1, searches=1, final_seeds=1, dev=199)
    assert few.repeats == (3 + 1) * 5  # the published setting too
    assert amount_of(settings, first=1, searches=3, final_seeds=1, dev=199).repeats == 3 * 3 * 5


def test_operations_of_an_epoch_and_of_a_final(tmp_path: Path) -> None:
    settings = plan_of(tmp_path, train__min_examples=8_000).settings  # two passes an epoch
    once = epoch_work(settings, SIZES, TRACED, twice=False, padded=1.0)
    assert once == Work(2_000 * 30.0 + 1_100 * 10.0, 2_000 * 3.0)
    twice = epoch_work(settings, SIZES, TRACED, twice=True, padded=0.5)
    assert twice == Work((2_000 * 40.0 + 1_100 * 10.0) / 2, 3_000.0)
    assert scoring_work(SIZES, TRACED, padded=1.0) == Work(13_000.0)


def test_operations_of_a_fine_tuning(tmp_path: Path) -> None:
    settings = plan_of(
        tmp_path, finetune__epochs=4, finetune__min_examples=7_000
    ).settings  # two passes an epoch
    found = finetuning_work(settings, SIZES, TRACED, padded=0.5)
    assert found == Work((8_000 * 30.0 + (4 * 100 + 200) * 10.0) / 2, 8_000 * 3.0 / 2 + 0.0)


@pytest.mark.parametrize("head", ["linear", "label_attention"])
def test_fine_tuning_is_in_the_hours(tmp_path: Path, head: str) -> None:
    """Of two contrastive arms and the control: three fine-tunings a seed."""
    given = {"finetune__head": head, "budget__final_seeds": 2, "controls": ("untrained",)}
    without = make_forecast(plan_of(tmp_path, **given), SIZES, None)
    both = make_forecast(plan_of(tmp_path, stages=("probe", "finetune"), **given), SIZES, None)
    for before, encoder in zip(without.encoders, both.encoders, strict=True):
        assert (before.finetuned, encoder.traced) == (None, before.traced)
        assert encoder.finetuned is not None
        padded = encoder.reading.padded_share(1)
        more = finetuning_work(both.settings, SIZES, encoder.finetuned, padded).total * 3 * 2
        assert both.study_work(encoder, None).total == pytest.approx(
            without.study_work(before, None).total + more
        )
    assert f"head {head}" in forecast_text(both)


def test_the_largest_head_of_either_stage_is_in_the_memory(tmp_path: Path) -> None:
    totals, both = [], {"stages": ("probe", "finetune"), "finetune__head": "label_attention"}
    for given in ({}, both):
        plan = plan_of(tmp_path, model__projection={"hidden": 2, "features": 2}, **given)
        totals.append([encoder.state.total for encoder in encoder_forecasts(plan, SIZES, None)])
    projection = sum(parameter.numel() for parameter in ProjectionHead(64, 2, 2).parameters())
    attention = 64 * 64 + 2 * 64 * 7 + 7
    more = 16 * (attention - projection)  # weights, gradients and two moments in float32
    buffers = sum(4 * buffer.numel() for buffer in ProjectionHead(64, 2, 2).buffers())
    assert [after - before for before, after in zip(*totals, strict=True)] == [more - buffers] * 2


def test_rates_and_memory_of_the_gpus() -> None:
    a100, h100, l4 = GPUS
    assert a100.seconds(Work(312e12 * MATRIX_SHARE), "bf16") == pytest.approx(1.0)
    assert h100.seconds(Work(0.0, 67e12 * CONVOLUTION_SHARE), "fp32") == pytest.approx(1.0)
    assert l4.usable == pytest.approx(0.9 * 22.5 * GIB - GIB)


PUBLISHED_MILLIONS = {
    "microsoft/resnet-50": 23.5,  # 25.6 with the classifier
    "google/vit-base-patch16-224-in21k": 86.4,
    "facebook/dinov2-base": 86.6,
    "RoBERTa-base-PM-M3-Voc-distill-align-hf": 124.4,
    "thomas-sounack/BioClinical-ModernBERT-base": 149.0,
    "meta-llama/Llama-3.2-1B": 1_235.8,
}


@pytest.mark.parametrize("name", known_models())
def test_the_known_models_have_as_many_parameters_as_their_papers_say(name: str) -> None:
    config = known_config(f"/somewhere/else/{name}" if "/" not in name else name)
    assert config is not None
    text = getattr(config, "vocab_size", None) is not None
    spec = (
        InputSpec.text(vocab_size=config.vocab_size, pad_token_id=0, max_length=16)
        if text
        else InputSpec.image(channels=3, image_size=224)
    )
    with without_numbers():
        encoder = shape_encoder("hub", {"name": name}, spec)
    count = sum(parameter.numel() for parameter in encoder.parameters())
    assert count / 1e6 == pytest.approx(PUBLISHED_MILLIONS[name], abs=0.06)


def test_a_model_that_nobody_knows_is_told_in_one_line() -> None:
    with pytest.raises(UserError, match="nobody/nothing") as caught, without_numbers():
        shape_encoder("hub", {"name": "nobody/nothing"}, InputSpec.image(channels=3, image_size=224))
    assert "\n" not in str(caught.value)


def test_a_batch_is_padded_to_its_longest_text() -> None:
    texts = InputSpec.text(vocab_size=100, pad_token_id=0, max_length=100)
    reading = Reading(texts, 1, tuple([10] * 50 + [100] * 50), {}, known=False)
    assert reading.padded_share(1) == pytest.approx(0.55)
    assert reading.padded_share(64) == pytest.approx(1.0)
    assert Reading(texts, 1, (), {}, known=False).padded_share(1) == 1.0
    rng = np.random.default_rng(0)
    lengths = tuple(int(n) for n in rng.integers(1, 101, 256))
    drawn = rng.choice(lengths, (20_000, 8)).max(axis=1).mean() / 100
    assert Reading(texts, 1, lengths, {}, known=False).padded_share(8) == pytest.approx(drawn, rel=0.01)


@pytest.mark.parametrize("tokenizer", ["word", "bpe"])
def test_lengths_and_store_are_those_of_the_store_that_is_built(tokenizer: str, tmp_path: Path) -> None:
    small.write_text(tmp_path / "data")
    data = PreparedData.load(tmp_path / "data")
    given = {"tokenizer": tokenizer, "vocab_size": 400, "min_count": 1}
    store = open_store(data, given, tmp_path / "stores")
    rows = data.rows("train")
    exact = store.lengths(rows)  # type: ignore[attr-defined]
    found = sample_lengths(data, given, 512)
    assert len(found) == len(rows)
    if tokenizer == "word":
        assert list(found) == exact.tolist()
        reading = reading_of("bert", {}, given, DataSizes.of(data.manifest), data)
        assert reading.spec.max_length <= store.spec.max_length
        tokens = next(store.path.glob("tokens.*")).stat().st_size
        assert reading.bytes_of_store(DataSizes.of(data.manifest)) == pytest.approx(tokens, rel=0.2)
    else:  # words are cut into byte pairs, so there are more
        assert all(few <= many for few, many in zip(found, exact.tolist(), strict=True))


def test_a_forecast_says_everything_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    small.write_text(data)
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "studies"
    given = ["--data", str(data), "--out", str(out), "--set", "train.batch_size=8", "--set", "train.epochs=2"]
    assert main(["study", "text_scratch", "--dry-run", *given]) == 0
    told = capsys.readouterr().out
    counts = PreparedData.load(data).manifest.counts
    assert f"{counts['train'].examples} / {counts['dev'].examples} / {counts['test'].examples}" in told
    for words in (
        "conv", "bert", "parameters", "trained", "store", "GFLOP a step", "input_ids [8, ", "A100 80 GB", "H100 80 GB",
        "L4 24 GB", "GPUs a trial", "micro-batch", "memory", "trials of each of 6 arms", "checkpoint", "measured here",
    ):  # fmt: skip
        assert words in told, words
    assert sorted(tmp_path.rglob("*")) == before


def test_data_that_the_study_does_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small.write_text(tmp_path / "data")
    assert main(["study", "features", "--dry-run", "--data", str(tmp_path / "data")]) == 2
    told = capsys.readouterr().err
    assert "reads features" in told
    assert told.count("\n") == 1


def test_without_data_the_study_says_how_large_they_are(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    with pytest.raises(UserError, match="nothing says how large the data are; name them with --data DIR"):
        make_forecast(plan, None, None)
    told = forecast_text(make_forecast(plan, SIZES, None))
    assert "made up, 1,000 / 100 / 200 examples" in told
    assert "every one at its longest" in told


def test_a_dry_run_needs_no_ray_and_no_mlflow(tmp_path: Path) -> None:
    from tests.unit.test_package import run_python

    code = (
        "import sys; from sdl_study.run import main; "
        f"code = main(['study', 'demo_coco', '--dry-run', '--out', {str(tmp_path / 'out')!r}]); "
        "print(code, sorted({'mlflow', 'ray'} & set(sys.modules)))"
    )
    assert run_python(code).splitlines()[-1] == "0 []"
    assert not any(tmp_path.iterdir())


def test_an_encoder_that_looks_at_its_numbers(tmp_path: Path) -> None:
    (tmp_path / "nosy.py").write_text(
        "from torch import nn\n"
        "from sdl_study.models import EncoderSettings\n"
        "class Settings(EncoderSettings):\n    modalities = ('text',)\n"
        "class Nosy(nn.Module):\n"
        "    def __init__(self, size):\n        super().__init__()\n        self.table = nn.Embedding(size, 4)\n"
        "    def forward(self, input_ids, attention_mask):\n"
        "        hidden = self.table(input_ids)\n"
        "        return hidden if float(hidden.sum()) > 0 else -hidden\n"
        "def build(settings, spec):\n    return Nosy(spec.vocab_size), 4\n"
    )
    study = small_study()
    encoders = {"nosy": {"kind": str(tmp_path / "nosy.py")}}
    model = study.settings.model.model_copy(update={"encoder": "nosy", "encoders": encoders})
    settings = study.settings.model_copy(update={"model": model})
    space = replace(study.space, parameters=(), published={})
    plan = make_plan(replace(study, settings=settings, space=space), tmp_path / "out", "small", {})
    with pytest.raises(UserError, match=r"encoders\.nosy: cannot be built or run without numbers") as caught:
        make_forecast(plan, SIZES, None)
    assert "\n" not in str(caught.value)
    assert "nosy" not in sys.modules
