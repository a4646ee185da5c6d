"""Training on a GPU: the numbers of a CPU as far as precisions go, one gradient in all ways, and resuming."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sdl_study import distributed
from sdl_study.arms import Arm
from sdl_study.config import ModelSettings, Settings
from sdl_study.losses import LabelSets
from sdl_study.models import InputSpec
from sdl_study.testing import run_processes
from sdl_study.training.gradients import batch_of
from sdl_study.training.memory import micro_batch_of
from sdl_study.training.model import PretrainingModel, build_loss, build_model
from sdl_study.training.stages.probe import fit_probe
from tests.unit.models import published
from tests.unit.study.fakes import arms_named
from tests.unit.training.jobs import Epochs, job, run, settings

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda")
SPEC = InputSpec.text(vocab_size=500, pad_token_id=0, max_length=64)
ROWS, LABELS = 48, 20


@pytest.fixture
def one_rank(tmp_path: Path) -> Iterator[None]:
    """A world of NCCL with one process."""
    torch.cuda.set_device(0)
    with distributed.process_group("nccl", 0, 1, str(tmp_path / "meeting")):
        yield


def made(encoder: dict[str, Any], **train: Any) -> Settings:
    model = ModelSettings(encoder="one", encoders={"one": encoder})
    return settings(**train).model_copy(update={"model": model})


def bert(**more: Any) -> dict[str, Any]:
    return {"kind": "bert", "width": 64, "heads": 4, "layers": 3, "dropout": 0.0, **more}


def batch() -> tuple[dict[str, Tensor], LabelSets]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(1, 500, (ROWS, 64), generator=generator)
    mask = (torch.arange(64) < torch.randint(8, 65, (ROWS, 1), generator=generator)).long()
    labels = torch.rand(ROWS, LABELS, generator=generator) < 0.2
    return {"input_ids": ids * mask, "attention_mask": mask}, LabelSets.from_multi_hot(labels.float())


def gradient_of(
    chosen: Settings, device: torch.device, arm: str = "sd", micro: int | None = None, spec: InputSpec = SPEC
) -> tuple[float, Tensor]:
    """Loss of a batch, and the gradient of all that is trained."""
    known = arms_named(arm)[0]
    model = build_model(known, 7, chosen, spec, LABELS).to(device).train()
    if chosen.train.compile:
        model.encoder.compile(dynamic=True)
    inputs, labels = batch()
    parts = {name: values.to(device).split(micro or ROWS) for name, values in inputs.items()}
    chunks = [dict(zip(parts, of, strict=True)) for of in zip(*parts.values(), strict=True)]
    loss: Any = build_loss(Arm(**known.to_dict()), chosen)
    found = batch_of(model, loss, chosen.train, micro).backward(chunks, labels)
    gradients = [distributed.full_tensor(p.grad) for p in model.parameters() if p.grad is not None]
    return found.loss, torch.cat([g.flatten().float().cpu() for g in gradients])


def assert_near(found: tuple[float, Tensor], expected: tuple[float, Tensor], tolerance: float) -> None:
    assert found[0] == pytest.approx(expected[0], rel=tolerance)
    assert (found[1] - expected[1]).norm() <= tolerance * expected[1].norm()


@pytest.mark.parametrize("arm", ["sd", "bce", "sd_joint"])
def test_a_gpus_gradient_is_a_cpus(arm: str) -> None:
    chosen = made(bert())
    expected = gradient_of(chosen, torch.device("cpu"), arm)
    assert_near(gradient_of(chosen, CUDA, arm), expected, 1e-4)
    assert_near(gradient_of(chosen, CUDA, arm, micro=7), expected, 1e-4)
    assert_near(gradient_of(made(bert(), precision="bf16"), CUDA, arm), expected, 0.1)


def compiled() -> tuple[float, Tensor]:
    """For a spawned process, in which no shapes are checked: the checks cannot be compiled."""
    return gradient_of(made(bert(), precision="bf16", compile=True), CUDA)


def test_compiled_it_is_the_same() -> None:
    expected = gradient_of(made(bert(), precision="bf16"), CUDA)
    (found,) = run_processes(compiled, 1, initialize=False, timeout_seconds=300)
    assert_near(found, expected, 0.03)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.usefixtures("one_rank")
def test_sharded_over_nccl_it_is_the_same(precision: str) -> None:
    expected = gradient_of(made(bert(), precision=precision), CUDA)
    for micro in (None, 16):
        sharded = made(bert(), precision=precision, parallel="fsdp")
        assert_near(gradient_of(sharded, CUDA, micro=micro), expected, 1e-4 if precision == "fp32" else 0.02)


def test_low_rank_adapters_of_a_decoder(tmp_path: Path) -> None:
    words = [*published.SPECIALS, *(f"w{number}" for number in range(400))]
    sizes: dict[str, Any] = {
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "pad_token_id": 4,
        "vocab_size": 500,
    }
    folder = published.model(tmp_path / "llama", "llama", **sizes)
    published.tokenizer(folder, words)
    own = {"kind": "hub", "name": str(folder), "pooling": "last", "lora_rank": 4, "max_length": 32}
    spec = InputSpec.text(vocab_size=500, pad_token_id=4, max_length=32)
    expected = gradient_of(made(own), torch.device("cpu"), spec=spec)
    assert_near(gradient_of(made(own), CUDA, spec=spec), expected, 1e-4)
    twice = made(own | {"checkpointing": True}, precision="bf16")
    assert_near(gradient_of(twice, CUDA, spec=spec), expected, 0.1)


class Inputs:
    """Rows of train that are as long as can be."""

    def __init__(self, rows: int) -> None:
        self.train_rows = np.arange(rows)

    def longest(self, count: int) -> np.ndarray:
        return self.train_rows[:count]

    def fetch(self, rows: np.ndarray, device: torch.device) -> dict[str, Tensor]:
        shape = (len(rows), 512)
        ids = torch.randint(1, 500, shape, device=device)
        return {"input_ids": ids, "attention_mask": torch.ones(shape, dtype=torch.long, device=device)}


def test_a_micro_batch_is_what_the_memory_holds() -> None:
    """On a GPU whose memory is made scarce: fewer rows than asked, and they fit."""
    chosen = made(bert(width=256, layers=8), batch_size=4096, micro_batch="auto")
    model: PretrainingModel = build_model(
        arms_named("sd")[0], 7, chosen, InputSpec.text(vocab_size=500, pad_token_id=0, max_length=512), LABELS
    ).to(CUDA)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(4 * 2**30 / total)
    state = torch.cuda.get_rng_state()
    try:
        inputs: Any = Inputs(4096)
        rows = micro_batch_of(chosen.train, model, inputs, CUDA)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert rows is not None
    assert 1 < rows < 4096
    assert torch.equal(state, torch.cuda.get_rng_state())
    assert all(p.grad is None for p in model.parameters())


def losses(epochs: Epochs) -> list[float]:
    return [metrics["train/loss"] for metrics in epochs.values()]


def test_a_final_on_a_gpu_and_its_resumption(folder: Path) -> None:
    """Its losses are a CPU's; broken off after an epoch it goes on as if it had not been."""
    cpu, _ = run(job(folder / "cpu", kind="final", encoder="conv"))
    gpu, ended = run(job(folder / "gpu", kind="final", encoder="conv"), device=CUDA)
    assert losses(gpu) == pytest.approx(losses(cpu), rel=1e-3)
    assert ended["device"] == "cuda"
    work = job(folder / "broken", kind="final", encoder="conv")

    def broken_off(epoch: int) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(work, broken_off, CUDA)
    rest, resumed = run(replace(work, resumed=True), device=CUDA)
    assert losses(rest) == pytest.approx(losses(gpu), rel=1e-5)
    assert resumed["metrics"] == pytest.approx(ended["metrics"], abs=0.02)


@pytest.mark.parametrize("head", ["linear", "label_attention"])
def test_fine_tuning_in_half_precision(folder: Path, head: str) -> None:
    start = job(folder / "start", kind="final", encoder="bert", precision="bf16")
    run(start, device=CUDA)
    given = {"epochs": 2, "batch_size": 10, "learning_rate": 0.02, "head": head}
    values = {**start.settings, "stages": ["probe", "finetune"], "finetune": given}
    tuned = job(folder / "tuned", kind="final", encoder="bert")
    begun = replace(tuned, settings=values, stage="finetune", start=str(folder / "start" / "job"))
    epochs, ended = run(begun, device=CUDA)
    assert losses(epochs)[1] < losses(epochs)[0]
    assert 0 <= ended["metrics"]["dev/map"] <= 1


def test_a_gpus_probe_is_a_cpus_and_bitwise_the_same_again() -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(600, 40, generator=generator)
    truth = torch.sigmoid(embeddings[:, :12] * 2 - 1) > torch.rand(600, 12, generator=generator)
    labels = LabelSets.from_multi_hot(truth.float())
    on_cpu = fit_probe(embeddings, labels)
    first, second = (fit_probe(embeddings.to(CUDA), labels) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert first.l2 == on_cpu.l2
    difference = first.predict_proba(embeddings.to(CUDA)).cpu() - on_cpu.predict_proba(embeddings)
    assert difference.abs().max() < 2e-3
