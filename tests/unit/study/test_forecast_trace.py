"""The trace of a step against real ones: parameters, operations and memory of small models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from sdl_study.input_spec import InputSpec
from sdl_study.models import LinearHead, build_encoder
from sdl_study.models.outlines import as_on_gpu, shape_encoder, without_numbers
from sdl_study.study.forecast.memory import State, fewest_workers
from sdl_study.study.forecast.trace import Traced, Work, trace
from sdl_study.training.model import PretrainingModel

TEXT = InputSpec.text(vocab_size=400, pad_token_id=0, max_length=32)
IMAGE = InputSpec.image(channels=3, image_size=32)
FEATURES = InputSpec.features(width=24)
LABELS, ROWS = 12, 24
BERT = {"width": 64, "layers": 3, "heads": 4, "dropout": 0.0}
KINDS: list[tuple[str, Mapping[str, Any], InputSpec]] = [
    ("bert", BERT, TEXT),
    ("conv", {"width": 32}, TEXT),
    ("resnet", {}, IMAGE),
    ("mlp", {"width": 64}, FEATURES),
]


def batch_of(spec: InputSpec, rows: int, chunks: int = 1) -> dict[str, torch.Tensor]:
    if spec.modality == "image":
        return {"pixel_values": torch.zeros(rows, 3, spec.image_size, spec.image_size)}
    if spec.modality == "features":
        return {"features": torch.ones(rows, spec.width)}
    shape = (rows, spec.max_length) if chunks == 1 else (rows, chunks, spec.max_length)
    return {
        "input_ids": torch.ones(shape, dtype=torch.long),
        "attention_mask": torch.ones(shape, dtype=torch.long),
    }


def real(kind: str, settings: Mapping[str, Any], spec: InputSpec) -> PretrainingModel:
    encoder = build_encoder(kind, settings, spec)
    return PretrainingModel(encoder, LinearHead(encoder.width, LABELS), unit_length=False).train()


def traced(
    kind: str, settings: Mapping[str, Any], spec: InputSpec, precision: str = "fp32", chunks: int = 1
) -> tuple[Traced, State]:
    with without_numbers():
        encoder = shape_encoder(kind, settings, spec)
        model = PretrainingModel(encoder, LinearHead(encoder.width, LABELS), unit_length=False).train()
        run = as_on_gpu(model)
        made = trace(
            run, lambda rows: batch_of(spec, rows, chunks), lambda batch: run(batch)[0], precision, "outputs"
        )
        return made, State.of(model)


def step(model: PretrainingModel, batch: dict[str, torch.Tensor]) -> None:
    outputs, _ = model(batch)
    outputs.square().mean().backward()


@pytest.mark.parametrize(("kind", "settings", "spec"), KINDS, ids=[kind for kind, _, _ in KINDS])
def test_parameters_and_state_are_those_of_the_real_model(
    kind: str, settings: Mapping[str, Any], spec: InputSpec
) -> None:
    model = real(kind, settings, spec)
    with without_numbers():
        shaped = shape_encoder(kind, settings, spec)
    expected = {name: (p.shape, p.requires_grad) for name, p in model.encoder.named_parameters()}
    assert {name: (p.shape, p.requires_grad) for name, p in shaped.named_parameters()} == expected
    optimizer = torch.optim.AdamW(model.parameters())
    step(model, batch_of(spec, 4))
    optimizer.step()
    moments = [m for s in optimizer.state.values() for name, m in s.items() if name != "step"]
    state = State.of(model)
    assert state.optimizer == sum(m.nbytes for m in moments)
    assert state.gradients == sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    assert state == traced(kind, settings, spec)[1]


@pytest.mark.parametrize(("kind", "settings", "spec"), KINDS, ids=[kind for kind, _, _ in KINDS])
def test_operations_are_those_that_torch_counts_in_a_real_step(
    kind: str, settings: Mapping[str, Any], spec: InputSpec
) -> None:
    model, found = real(kind, settings, spec), traced(kind, settings, spec)[0]
    for backward, work in ((True, found.both), (False, found.forward)):
        counter = FlopCounterMode(display=False)
        with counter, sdpa_kernel(SDPBackend.MATH), torch.set_grad_enabled(backward):
            outputs, _ = model(batch_of(spec, ROWS))
            if backward:
                outputs.square().mean().backward()
        # Fused attention computes its weights once more on the way back; torch's own here keeps them.
        assert work.total * ROWS == pytest.approx(counter.get_total_flops(), rel=0.03)
    assert (found.both.convolution > 0) == (kind in ("conv", "resnet"))


def peak_of_profiler(model: PretrainingModel, batch: dict[str, torch.Tensor]) -> int:
    """Bytes that torch's allocator handed out at once during a step, beside what was there before."""
    step(model, batch)  # gradients are there from now on
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step(model, batch)
    assert profiled.profiler is not None
    assert profiled.profiler.kineto_results is not None
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()  # type: ignore[attr-defined] (torch's stubs lack it)
        peak = max(peak, now)
    return peak


@pytest.mark.parametrize(("kind", "settings", "spec"), KINDS, ids=[kind for kind, _, _ in KINDS])
def test_memory_is_what_the_allocator_hands_out(
    kind: str, settings: Mapping[str, Any], spec: InputSpec
) -> None:
    measured = peak_of_profiler(real(kind, settings, spec), batch_of(spec, 96))
    # A convolution works in memory of its own, a few times its inputs at these sizes, which no operation shows.
    least = 0.5 if kind in ("conv", "resnet") else 0.85
    assert least * measured <= traced(kind, settings, spec)[0].alive(96) <= 1.25 * measured


def test_what_is_kept_for_the_way_back_is_counted() -> None:
    """The same number in another way: the tensors that autograd saves in a real step, none of them a parameter."""
    model = real("bert", BERT, TEXT)
    known = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs, _ = model(batch_of(TEXT, ROWS))
    kept = sum(saved.values())
    assert outputs.requires_grad
    assert kept <= traced("bert", BERT, TEXT)[0].alive(ROWS) <= 1.3 * kept


def test_half_precision_chunks_and_dropout() -> None:
    full, half = (traced("bert", BERT, TEXT, precision)[0] for precision in ("fp32", "bf16"))
    assert half.alive(64) < 0.8 * full.alive(64)
    assert half.both == full.both
    chunked = traced("bert", BERT, TEXT, chunks=4)[0]
    assert chunked.both.total == pytest.approx(4 * full.both.total, rel=0.01)
    assert chunked.shapes["input_ids"] == (1, 4, 32)
    assert chunked.shapes["outputs"] == (1, LABELS)
    # Attention with dropout is fused on a GPU: its weights, quadratic in the length, are never kept.
    dropout = traced("bert", {**BERT, "dropout": 0.1}, TEXT)[0]
    assert dropout.both == full.both


def test_alive_bytes_grow_linearly_beyond_the_traces() -> None:
    found = Traced(Work(), Work(), ((2, 100.0), (16, 1500.0)), {})
    assert [found.alive(rows) for rows in (1, 2, 9, 16, 32)] == [100.0, 100.0, 800.0, 1500.0, 3100.0]


ONE_ROW = Traced(Work(), Work(), ((2, 20.0), (16, 160.0)), {})  # ten bytes a row
STATE = State(weights=100.0, gradients=100.0, optimizer=200.0)


@pytest.mark.parametrize(
    ("capacity", "batch", "expected"),
    [
        (400 + 640, 64, (1, 64, False)),  # all rows at once
        (400 + 639, 64, (1, 32, False)),  # half of them
        (400 + 20, 64, (1, 2, False)),
        (400 + 480, 48, (1, 48, False)),  # a batch that is no power of two
        (400 + 479, 48, (1, 32, False)),
        (200 + 100, 64, (2, 8, True)),  # the state does not fit one GPU
        (400 / 8 + 20, 64, (8, 2, True)),
        (400 / 8 + 10, 64, None),
    ],
)
def test_the_fewest_workers_on_which_a_batch_fits(
    capacity: float, batch: int, expected: tuple[int, int, bool] | None
) -> None:
    fit = fewest_workers(STATE, ONE_ROW, batch, capacity)
    if expected is None:
        assert fit is None
        return
    assert fit is not None
    assert (fit.workers, fit.micro_batch, fit.sharded) == expected
    assert fit.total <= capacity


def test_workers_that_the_user_asks_for() -> None:
    fit = fewest_workers(STATE, ONE_ROW, 64, capacity=500 + 160, given=4)
    assert fit is not None
    assert (fit.workers, fit.share, fit.micro_batch, fit.state) == (4, 16, 16, 500.0)
    assert not fit.in_parts
