"""Fine-tuning: from the pretrained encoder, by the head's own scores, at equal examples, and the same after a kill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from sdl_study import distributed
from sdl_study.arms import Arm
from sdl_study.config import build_settings
from sdl_study.data.sampler import ContrastiveSampler
from sdl_study.errors import UserError
from sdl_study.evaluation.scores import SCORES_FILE
from sdl_study.models import load_encoder
from sdl_study.record.files import ENCODER_FOLDER, HEAD_FILE
from sdl_study.seeds import derive_seed
from sdl_study.testing import run_processes
from sdl_study.training import checkpoint
from sdl_study.training.inputs import open_inputs
from sdl_study.training.model import build_model, with_head
from sdl_study.training.step import Step
from sdl_study.training.trainer import load_best
from sdl_study.workers.job import Job, Kind
from tests.unit.training.jobs import NUM_LABELS, SPLIT_SIZES, Epochs, job, run

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
TRAIN = SPLIT_SIZES["train"]


def finetune(
    folder: Path,
    start: Path | None,
    arm: str = "sd",
    kind: Kind = "final",
    encoder: str = "conv",
    **more: Any,
) -> Job:
    """A fine-tuning of three epochs of batches of 10."""
    made = job(folder, kind=kind, arm=arm, encoder=encoder, resumed=True)
    given = {"epochs": 3, "batch_size": 10, "learning_rate": 0.02, **more}
    settings = {**made.settings, "stages": ["probe", "finetune"], "finetune": given}
    return replace(made, settings=settings, stage="finetune", start=str(start / "job") if start else "")


def pretrained(folder: Path, arm: str = "sd", encoder: str = "conv") -> Path:
    run(job(folder / "pretrained", kind="final", arm=arm, encoder=encoder))
    return folder / "pretrained"


def scores(folder: Path) -> np.ndarray:
    with np.load(folder / "job" / SCORES_FILE, allow_pickle=False) as archive:
        return archive["scores"]


def test_it_is_a_plain_loop_of_the_same_seed_and_order(folder: Path) -> None:
    """Written out: AdamW, warm-up and cosine over all of the encoder and a linear head, from the pretrained weights."""
    work = finetune(folder / "ours", pretrained(folder))
    epochs, _ = run(work)
    settings = build_settings(work.settings, "test")
    inputs = open_inputs(Path(work.data), Path(work.stores), settings)
    model = build_model(Arm(**work.arm), work.seed, settings, inputs.spec, NUM_LABELS)
    load_best(Path(work.start), model, CPU)
    model = with_head(model, "linear", NUM_LABELS, work.seed).train()
    carriers = inputs.train_labels.to_multi_hot(torch.float32).sum(dim=0)
    model.head.linear.bias.data = torch.log((carriers + 0.5) / (TRAIN - carriers + 0.5))  # type: ignore[union-attr]
    named = list(model.named_parameters())
    encoder: Any = model.encoder
    parts: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    tables = {id(p) for m in encoder.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    for _, parameter in named:
        parts[parameter.ndim > 1 and id(parameter) not in tables].append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": parts[True], "weight_decay": 1e-4}, {"params": parts[False], "weight_decay": 0.0}],
        lr=0.02,
    )
    steps = 3 * 5
    sampler = ContrastiveSampler(TRAIN, 10, derive_seed(work.seed, "order"))
    losses, number = [], 0
    for epoch in range(4, 7):  # three passes were made before
        for positions in sampler.epoch(epoch):
            rate = 1.0 if number < 1 else 0.5 * (1 + np.cos(np.pi * (number - 1) / (steps - 1)))
            for group in optimizer.param_groups:
                group["lr"] = 0.02 * rate
            batch = inputs.fetch(inputs.train_rows[positions], CPU)
            logits = model.head(encoder(**batch))
            targets = inputs.train_labels[positions].to_multi_hot(torch.float32)
            loss = nn.functional.binary_cross_entropy_with_logits(logits, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            number += 1
    ours = [epochs[epoch]["train/loss"] for epoch in (1, 2, 3)]
    assert ours == pytest.approx([np.mean(losses[start : start + 5]) for start in (0, 5, 10)], rel=1e-4)


def test_what_is_left_gives_the_scores_again(folder: Path) -> None:
    """The encoder and the head's weights beside it, read from their files, score the test inputs as the job did."""
    work = finetune(folder / "ours", pretrained(folder))
    epochs, result = run(work)
    found = Path(work.folder) / ENCODER_FOLDER
    encoder, head = load_encoder(found).eval(), load_file(found / HEAD_FILE)
    inputs = open_inputs(Path(work.data), Path(work.stores), build_settings(work.settings, "test"))
    with torch.no_grad():
        embeddings = encoder(**inputs.fetch(inputs.test_rows, CPU))
    logits = embeddings @ head["linear.weight"].T + head["linear.bias"]
    assert np.allclose(scores(folder / "ours"), torch.sigmoid(logits).numpy(), atol=1e-5)
    best = max(epochs, key=lambda epoch: epochs[epoch]["dev/objective"])
    assert result["best_epoch"] == best
    assert result["metrics"]["dev/objective"] == epochs[best]["dev/objective"]
    assert not any(name.startswith("probe/") for name in result["metrics"])


@pytest.mark.parametrize("arm", ["sd", "bce", "sd_joint"])
def test_every_arm_sees_as_many_examples(folder: Path, arm: str) -> None:
    """Those of both stages: an arm with a classification loss trains once, for six epochs, from the start."""
    start = None if arm == "bce" else pretrained(folder, arm)
    epochs, result = run(finetune(folder / "ours", start, arm))
    assert result["examples_seen"] == (3 + 3) * TRAIN
    assert len(epochs) == (6 if arm == "bce" else 3)
    assert epochs[len(epochs)]["train/loss"] < epochs[1]["train/loss"]


def test_least_examples_lengthen_both_ways_alike(folder: Path) -> None:
    more: dict[str, Any] = {"min_examples": 6 * TRAIN}
    _, long = run(finetune(folder / "sd", pretrained(folder), **more))
    _, alone = run(finetune(folder / "bce", None, "bce", **more))
    assert long["examples_seen"] == alone["examples_seen"] == (3 + 6) * TRAIN


def test_the_control_is_the_last_stage_alone(folder: Path) -> None:
    epochs, result = run(finetune(folder, None, kind="control"))
    assert (len(epochs), result["examples_seen"]) == (3, 3 * TRAIN)


def test_it_starts_from_the_pretrained_encoder(folder: Path) -> None:
    """Without a step, the head is new and the encoder the pretrained one."""
    start = pretrained(folder)
    run(finetune(folder / "ours", start, learning_rate=1e-12))
    kept = load_encoder(start / "job" / ENCODER_FOLDER).state_dict()
    tuned = load_encoder(folder / "ours" / "job" / ENCODER_FOLDER).state_dict()
    for name, values in kept.items():
        assert torch.allclose(values, tuned[name], atol=1e-6), name


def test_nothing_to_start_from_is_told_in_one_line(folder: Path) -> None:
    start = pretrained(folder)
    (start / "job" / checkpoint.BEST).unlink()
    with pytest.raises(UserError, match=r"best\.pt: missing, so fine-tuning has nothing to start from"):
        run(finetune(folder / "ours", start))


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize(("at", "head"), [(7, "linear"), (1, "label_attention"), (15, "label_attention")])
def test_a_kill_at_any_step_changes_nothing(
    folder: Path, at: int, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = pretrained(folder, encoder="bert")
    whole, result = run(finetune(folder / "whole", start, encoder="bert", head=head))
    work = finetune(folder / "broken", start, encoder="bert", head=head)
    work.settings["train"] = {**work.settings["train"], "checkpoint_minutes": 1e-9}
    update, steps = Step.update, 0

    def killed(self: Step, *given: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == at + 1:
            raise Killed
        return update(self, *given)

    if at < 15:
        monkeypatch.setattr(Step, "update", killed)
        with pytest.raises(Killed):
            run(work)
        monkeypatch.undo()
    else:

        def told(epoch: int) -> bool:
            if epoch == 3:
                raise Killed
            return True

        with pytest.raises(Killed):
            run(work, told)
    rest, again = run(work)
    assert rest == {epoch: whole[epoch] for epoch in rest}
    assert {**again, "seconds": 0} == {**result, "seconds": 0}
    assert np.array_equal(scores(folder / "whole"), scores(folder / "broken"))


def on_ranks(*jobs: dict[str, Any]) -> list[tuple[Epochs, dict[str, Any]]]:
    """For spawned processes."""
    assert distributed.world_size() == 2
    return [run(Job(**values)) for values in jobs]


def test_two_ranks_train_as_one_does(folder: Path) -> None:
    """Replicated, and sharded in micro-batches."""
    start = pretrained(folder)
    cases = [("ddp", "linear", None), ("fsdp", "label_attention", 2)]

    def made(place: str, parallel: str, head: str, micro: int | None) -> Job:
        work = finetune(folder / place / head, start, head=head)
        work.settings["train"] = {**work.settings["train"], "parallel": parallel, "micro_batch": micro}
        return work

    alone = [run(made("one", "ddp", head, None)) for _, head, _ in cases]
    both = run_processes(on_ranks, 2, *(made("two", *case).to_dict() for case in cases))
    for rank in both:
        for (epochs, result), (expected, single) in zip(rank, alone, strict=True):
            assert epochs[1]["train/loss"] == pytest.approx(expected[1]["train/loss"], rel=1e-5)
            assert epochs[3]["train/loss"] == pytest.approx(expected[3]["train/loss"], rel=1e-3)
            assert result["examples_seen"] == single["examples_seen"]
