"""MultiSupCon against numbers that its contributed implementation printed once.

Printed by ``MultiSupConLoss(num_classes, temperature=0.1, threshold=…)`` of
src/pytorch_metric_learning/losses/multilabel_supcon_loss.py at commit 8b7e0bc889e2f1c7521ffc00fd3627401b78429f of
github.com/PhyseChan/pytorch-metric-learning, the code of pull request 667, from which the release notes of
pytorch-metric-learning 3.0.0rc2 say theirs is adapted. That code excludes pairs exactly at the threshold, 3.0 and
ours include them; these batches have none, and no empty label set. It normalises the embeddings itself and holds the
Jaccard index in float32, hence the tolerance.
"""

from __future__ import annotations

import pytest
import torch

from sdl_study.losses import LabelSets, MultiSupConLoss
from tests.golden.batches import make_batch

PRINTED = [
    ("five relations", 0.3, 4.069598303937486,
     [0.8693384565549042, 1.0896512103605875, 0.7796128421998381, 1.2091240247572805]),
    ("single-label", 0.5, 8.939389478354514,
     [1.7050848106501235, 1.9400968669589613, 1.4334596839273654, 1.9874091390597854]),
    ("duplicate", 0.4, 3.823660744570961,
     [1.253368893463905, 1.1730601243942917, 1.046806841462822, 1.4866570349455226]),
]  # fmt: skip
"""(batch, threshold, loss, norm of each column of the gradient)."""


@pytest.mark.parametrize(("batch", "threshold", "loss", "columns"), PRINTED)
def test_multisupcon_equals_the_contributed_code(
    batch: str, threshold: float, loss: float, columns: list[float]
) -> None:
    z, sets, num_labels = make_batch(batch)
    embeddings = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    normalised = torch.nn.functional.normalize(embeddings, dim=1)
    ours = MultiSupConLoss(0.1, threshold)(normalised, LabelSets.from_lists(sets, num_labels))
    ours.backward()
    assert embeddings.grad is not None
    assert float(ours.detach()) == pytest.approx(loss, rel=3e-8)
    assert embeddings.grad.norm(dim=0).tolist() == pytest.approx(columns, rel=3e-8)


def test_the_threshold_is_inclusive() -> None:
    z = torch.tensor([[0.6, 0.8], [0.8, -0.6], [-1.0, 0.0]], dtype=torch.float64)
    labels = LabelSets.from_lists([[0, 1], [0], [2]], 3)  # the Jaccard index of the first two is exactly 1/2
    loss = MultiSupConLoss(0.5, 0.5)
    loss(z, labels)
    assert float(loss.valid_anchor_fraction) == pytest.approx(2 / 3)
    stricter = MultiSupConLoss(0.5, 0.51)
    assert float(stricter(z, labels)) == 0
    assert float(stricter.valid_anchor_fraction) == 0
