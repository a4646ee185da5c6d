"""What is watched in an epoch, and that several ranks see what one would."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sdl_study import distributed
from sdl_study.config import TrainSettings
from sdl_study.models import InputSpec, ProjectionHead, build_encoder
from sdl_study.study.progress import Progress
from sdl_study.testing import run_processes
from sdl_study.training.monitors import Alike, BatchLog, EpochMonitor, Spread, monitor_of
from sdl_study.training.step import Update
from sdl_study.workers.events import Epoch
from tests.unit.study.fakes import arms_named


def collapse(*steps: torch.Tensor) -> float:
    spread = Spread()
    for vectors in steps:
        spread.add(vectors)
    return spread.collapse()


def test_vectors_that_are_all_the_same_are_collapsed_and_opposite_ones_are_not() -> None:
    assert collapse(torch.ones(4, 3), torch.ones(2, 3)) == pytest.approx(1.0)
    assert collapse(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == 0.0
    # |(0.5, 0.5)|² over |v|² = 1
    assert collapse(torch.eye(2)) == pytest.approx(0.5)


def test_no_vector_is_no_collapse() -> None:
    assert collapse() == 0.0
    assert collapse(torch.ones(0, 3)) == 0.0
    assert collapse(torch.zeros(3, 3)) == 0.0


def alike(*steps: torch.Tensor, rows: int = 64) -> tuple[float, float]:
    watch = Alike(rows)
    for embeddings in steps:
        watch.add(embeddings)
    found = watch.metrics()
    return found["train/collapse"], found["train/effective_rank"]


def test_a_constant_encoder_with_noise_is_collapsed_and_said_to_be_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The noise is all that a head's batch normalisation leaves: behind it nothing is seen."""
    generator = torch.Generator().manual_seed(0)
    steps = [1.0 + 1e-3 * torch.randn(64, 32, generator=generator) for _ in range(10)]
    head = ProjectionHead(32, 16, 8)
    outputs = torch.nn.functional.normalize(head(torch.cat(steps)), dim=1)
    assert collapse(outputs.detach()) < 0.1
    monitor = monitor_of(TrainSettings(epochs=1), 64, contrastive=True)
    for embeddings in steps:
        monitor.add(Update(math.log(63), 1.0, embeddings))
    metrics = monitor.metrics() | {"dev/map": 0.5}
    assert metrics["train/collapse"] > 0.9999
    assert metrics["train/loss_to_chance"] == pytest.approx(1.0)
    contrastive, supervised = arms_named("sd", "bce")
    progress = Progress("study", "dev/map", 1, 1, (contrastive, supervised))
    for arm in (contrastive, supervised):
        progress.job("job", arm.name, Epoch(1, metrics), 1)
    warned, not_warned = capsys.readouterr().out.splitlines()
    assert warned.endswith("collapsed: mean cosine of embeddings 1.0000, loss 100% of chance's")
    assert "collapsed" not in not_warned


def test_an_untrained_encoder_is_not_collapsed() -> None:
    torch.manual_seed(0)
    spec = InputSpec.text(vocab_size=200, pad_token_id=0, max_length=16)
    encoder = build_encoder("bert", {"width": 32, "heads": 2}, spec).eval()
    tokens = torch.randint(1, 200, (256, 12))
    with torch.no_grad():
        embeddings = encoder(input_ids=tokens, attention_mask=torch.ones_like(tokens))
    assert alike(embeddings)[0] < 0.99


def test_the_effective_rank_counts_the_dimensions_in_which_embeddings_differ() -> None:
    directions = torch.eye(6)
    assert alike(directions, -directions)[1] == pytest.approx(6.0)
    line = torch.tensor([[1.0, 0.1], [1.0, -0.1], [1.0, 0.2]])
    assert alike(line)[1] == pytest.approx(1.0, abs=0.01)
    assert alike(torch.ones(4, 3)) == (pytest.approx(1.0), pytest.approx(0.0))
    assert alike() == alike(torch.ones(0, 3)) == (0.0, 0.0)


def test_the_end_of_an_epoch_counts() -> None:
    same, spread = torch.ones(256, 3), torch.eye(3).repeat(86, 1)[:256]
    assert alike(same, same, same, spread, spread, spread, rows=256)[0] == pytest.approx(1 / 3, abs=0.01)


def of_a_share(vectors: list[list[float]]) -> tuple[float, float, float]:
    """Rank 0 has two rows, the last rank none."""
    rows = torch.tensor(vectors)
    share = [rows[:2], rows[2:], rows[:0]][distributed.rank()]
    return (collapse(share), *alike(share))


def test_the_ranks_together_see_what_one_would() -> None:
    vectors = torch.randn(7, 4, generator=torch.Generator().manual_seed(1))
    expected = [pytest.approx(value) for value in (collapse(vectors), *alike(vectors))]
    for found in run_processes(of_a_share, 3, vectors.tolist()):
        assert list(found) == expected


@pytest.mark.parametrize("collapse_of", ["embeddings", "outputs"])
def test_a_monitor_goes_on_where_another_one_was(collapse_of: str) -> None:
    settings = TrainSettings.model_validate({"epochs": 1, "collapse_of": collapse_of})
    generator = torch.Generator().manual_seed(2)
    updates = [Update(float(n), 0.5, torch.randn(8, 4, generator=generator)) for n in range(6)]
    whole, first, second = (monitor_of(settings, 8, contrastive=True) for _ in range(3))
    for update in updates:
        whole.add(update)
    for update in updates[:4]:
        first.add(update)
    second.load(**copy.deepcopy(first.state()))
    for update in updates[4:]:
        second.add(update)
    assert second.metrics() == whole.metrics()


def test_an_epochs_metrics_are_means_over_its_steps() -> None:
    monitor = EpochMonitor(Spread(), chance=1.5)
    for loss, valid in ((1.0, 0.5), (2.0, 1.0), (6.0, 0.0)):
        monitor.add(Update(loss, valid, torch.ones(2, 2)))
    assert monitor.metrics() == {
        "train/loss": 3.0,
        "train/valid_anchor_fraction": 0.5,
        "train/loss_to_chance": 2.0,
        "train/collapse": pytest.approx(1.0),
    }


def test_rows_are_noted_where_they_are_wanted(tmp_path: Path) -> None:
    with BatchLog(None) as log:
        log.add(1, 0, np.arange(2))
    assert list(tmp_path.iterdir()) == []
    for epoch in (1, 2):
        with BatchLog(tmp_path / "job") as log:
            log.add(epoch, 0, np.array([epoch, 7]))
    lines = (tmp_path / "job" / "batches-0.jsonl").read_text().splitlines()
    assert [json.loads(line)["rows"] for line in lines] == [[1, 7], [2, 7]]
