"""The gradient of a global batch is the same at once and in micro-batches, in one process and two, replicated or
sharded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sdl_study import distributed
from sdl_study.arms import Arm
from sdl_study.config import ModelSettings, Settings, TrainSettings
from sdl_study.errors import UserError
from sdl_study.losses import LabelSets
from sdl_study.models import InputSpec
from sdl_study.models.norm import GlobalBatchNorm1d
from sdl_study.testing import run_processes
from sdl_study.training import memory
from sdl_study.training.gradients import batch_of
from sdl_study.training.memory import halved_until, micro_batch_of
from sdl_study.training.model import PretrainingModel, build_loss, build_model
from sdl_study.training.step import Step
from tests.unit.study.fakes import arms_named
from tests.unit.training.jobs import settings

SPEC = InputSpec.text(vocab_size=20, pad_token_id=0, max_length=6)
ROWS, LABELS = 11, 5
ARMS = ("sd", "bce", "sd_joint")


def with_settings(encoder: str = "bert", **train: Any) -> Settings:
    """No dropout; a head with batch normalisation over the global batch."""
    made = settings(**{"learning_rate": 0.05, "weight_decay": 0.1, **train})
    encoders = {
        "bert": {"kind": "bert", "width": 8, "heads": 2, "layers": 2, "dropout": 0.0},
        "dropout": {"kind": "bert", "width": 8, "heads": 2, "dropout": 0.4},
    }
    return made.model_copy(update={"model": ModelSettings(encoder=encoder, encoders=encoders)})


def batch() -> tuple[dict[str, Tensor], LabelSets]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(1, 20, (ROWS, 6), generator=generator)
    lengths = torch.randint(2, 7, (ROWS, 1), generator=generator)
    mask = (torch.arange(6) < lengths).long()
    labels = torch.rand(ROWS, LABELS, generator=generator) < 0.4
    return {"input_ids": ids * mask, "attention_mask": mask}, LabelSets.from_multi_hot(labels.float())


def share(micro: int | None, sizes: tuple[int, ...]) -> tuple[list[dict[str, Tensor]], LabelSets]:
    """This rank's chunks and labels of the batch."""
    inputs, labels = batch()
    start = sum(sizes[: distributed.rank()])
    rows = slice(start, start + sizes[distributed.rank()])
    own = {name: values[rows] for name, values in inputs.items()}
    parts = {name: values.split(micro or ROWS) for name, values in own.items()}
    count = len(next(iter(parts.values())))
    return [{name: parts[name][n] for name in parts} for n in range(count)], labels[rows]


def model_and_loss(arm: str, made: Settings) -> tuple[PretrainingModel, Any]:
    known = arms_named(arm)[0]
    return build_model(known, 7, made, SPEC, LABELS), build_loss(Arm(**known.to_dict()), made)


def gradient_of(
    arm: str, micro: int | None, sizes: tuple[int, ...] = (ROWS,), **train: Any
) -> tuple[float, Tensor, Tensor]:
    """Loss, gradient of all parameters, and all weights and statistics after an update with a clipped gradient."""
    made = with_settings(gradient_clip=0.5, **train)
    model, loss = model_and_loss(arm, made)
    chunks, labels = share(micro, sizes)
    found = batch_of(model, loss, made.train, micro).backward(chunks, labels)
    assert len(found.embeddings) == len(found.outputs) == len(labels)
    gradients = [distributed.full_tensor(p.grad) for p in model.parameters() if p.grad is not None]
    assert len(gradients) == len(list(model.parameters()))
    model, loss = model_and_loss(arm, made)
    step = Step(model, loss, made.train, 10, micro)
    step.update(chunks, labels)
    step.update(chunks, labels)
    weights = [value.flatten().double() for value in step.state()["model"].values()]
    return found.loss, torch.cat([g.flatten() for g in gradients]), torch.cat(weights)


def of_all_ways(sizes: tuple[int, ...]) -> dict[str, Any]:
    """For spawned processes."""
    return {
        f"{arm}/{parallel}/{micro}": gradient_of(arm, micro, sizes, parallel=parallel)
        for arm in ARMS
        for parallel in ("ddp", "fsdp")
        for micro in (None, 2)
    }


def assert_same(found: tuple[float, Tensor, Tensor], expected: tuple[float, Tensor, Tensor]) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert (found[1] - expected[1]).norm() <= 1e-5 * expected[1].norm()
    # An update divides each gradient by its own size: the last digits of those that are nearly 0 decide its sign.
    assert (found[2] - expected[2]).norm() <= 1e-2 * expected[2].norm()


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("micro", [1, 4, ROWS])
def test_micro_batches_have_the_gradient_of_the_whole_batch(arm: str, micro: int) -> None:
    assert_same(gradient_of(arm, micro), gradient_of(arm, None))


def test_two_ranks_replicated_or_sharded_have_the_gradient_of_one() -> None:
    """Shares of 8 and 3 rows: four micro-batches here, two there."""
    expected = {arm: gradient_of(arm, None) for arm in ARMS}
    for answers in run_processes(of_all_ways, 2, (8, 3)):
        assert len(answers) == 4 * len(ARMS)
        for name, found in answers.items():
            assert_same(found, expected[name.split("/")[0]])


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("micro", [None, 4])
def test_activations_that_are_computed_twice_give_the_same_gradient(arm: str, micro: int | None) -> None:
    """Dropout is replayed."""
    gradients = []
    for twice in (False, True):
        made = with_settings("dropout")
        model, loss = model_and_loss(arm, made)
        if twice:
            model.encoder.backbone.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
        chunks, labels = share(micro, (ROWS,))
        torch.manual_seed(5)
        model.train()
        batch_of(model, loss, made.train, micro).backward(chunks, labels)
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        assert any(getattr(m, "gradient_checkpointing", False) for m in model.modules()) == twice
    assert torch.equal(*gradients)


def test_statistics_of_the_heads_norm_are_those_of_one_pass() -> None:
    made = with_settings()
    model, loss = model_and_loss("sd", made)
    chunks, labels = share(2, (ROWS,))
    Step(model, loss, made.train, 10, 2).update(chunks, labels)
    (first, _) = (module for module in model.modules() if isinstance(module, GlobalBatchNorm1d))
    fresh, _ = model_and_loss("sd", made)
    fresh(batch()[0])
    (expected, _) = (module for module in fresh.modules() if isinstance(module, GlobalBatchNorm1d))
    assert torch.allclose(first.running_mean, expected.running_mean, atol=1e-6)


@pytest.mark.parametrize("arm", ARMS)
def test_dropout_is_that_of_one_pass_over_the_micro_batches(arm: str) -> None:
    made = with_settings("dropout")
    chunks, labels = share(3, (ROWS,))
    model, loss = model_and_loss(arm, made)
    torch.manual_seed(5)
    embeddings = torch.cat([model.encoder(**chunk) for chunk in chunks])
    loss(model.outputs(embeddings), labels).backward()
    direct, after = [p.grad for p in model.parameters()], torch.rand(())
    model, loss = model_and_loss(arm, made)
    torch.manual_seed(5)
    batch_of(model, loss, made.train, 3).backward(chunks, labels)
    assert torch.equal(after, torch.rand(()))
    for parameter, expected in zip(model.parameters(), direct, strict=True):
        assert parameter.grad is not None
        assert expected is not None
        assert torch.allclose(parameter.grad, expected, rtol=1e-4, atol=1e-6)


def test_a_frozen_encoder_goes_through_micro_batches_too() -> None:
    made = with_settings()
    model, loss = model_and_loss("sd", made)
    model.encoder.requires_grad_(False)
    chunks, labels = share(2, (ROWS,))
    batch_of(model, loss, made.train, 2).backward(chunks, labels)
    assert all(p.grad is None for p in model.encoder.parameters())
    assert all(p.grad is not None for p in model.head.parameters())


def test_an_encoder_that_normalises_over_the_batch_is_refused_in_one_line() -> None:
    made = with_settings()
    model, loss = model_and_loss("sd", made)
    normalising = PretrainingModel(nn.Sequential(GlobalBatchNorm1d(4)), model.head, unit_length=True)
    with pytest.raises(UserError, match=r"train\.micro_batch: this encoder normalises over the whole batch"):
        batch_of(normalising, loss, made.train, 2)


def test_rows_are_halved_until_they_fit() -> None:
    tried: list[int] = []

    def attempt(rows: int) -> None:
        tried.append(rows)
        if rows > 5:
            raise torch.OutOfMemoryError

    assert halved_until(attempt, 33) == 5
    assert tried == [33, 17, 9, 5]
    assert halved_until(attempt, 4) == 4


def test_what_does_not_fit_row_by_row_does_not_fit() -> None:
    def attempt(rows: int) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        halved_until(attempt, 3)


class Rows:
    """Inputs of 50 rows of train."""

    def __init__(self) -> None:
        self.train_rows = list(range(50))

    def longest(self, count: int) -> list[int]:
        return self.train_rows[::-1][:count]


@pytest.mark.parametrize(
    ("given", "batch_size", "device", "expected"),
    [
        (None, 16, "cuda", None),
        (4, 16, "cpu", 4),
        (16, 16, "cpu", None),
        (20, 16, "cpu", None),
        ("auto", 16, "cpu", None),
        ("auto", 16, "cuda", 4),
        ("auto", 64, "cuda", 7),
        ("auto", 4, "cuda", None),
    ],
)
def test_rows_of_a_micro_batch(
    given: Any, batch_size: int, device: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU that holds seven rows."""

    def attempt(train: Any, model: Any, inputs: Any, rows: list[int], device: Any) -> None:
        assert rows[0] == 49
        if len(rows) > 7:
            raise torch.OutOfMemoryError

    monkeypatch.setattr(memory, "_try", attempt)
    train = TrainSettings(epochs=1, batch_size=batch_size, micro_batch=given)
    model, _ = model_and_loss("sd", with_settings())
    inputs: Any = Rows()
    assert micro_batch_of(train, model, inputs, torch.device(device)) == expected


def test_memory_of_a_sharded_encoder_is_not_tried_out() -> None:
    train = TrainSettings(epochs=1, parallel="fsdp")
    model, _ = model_and_loss("sd", with_settings())
    inputs: Any = Rows()
    with pytest.raises(UserError, match=r"with train\.parallel=fsdp give a number"):
        micro_batch_of(train, model, inputs, torch.device("cuda"))
