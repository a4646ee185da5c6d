"""What check_sharded says of the contrastive losses of other projects, as far as they are installed here.

    pip install pytorch-metric-learning open_clip_torch
    python tests/benchmarks/peers.py

Each is called as its documentation says for distributed training. Labels are one per row, as these losses know no
label sets, and no row is left without a positive. open_clip's loss is loaded from its own file, because the package
imports image libraries that the loss does not need.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sdl_study import distributed
from sdl_study.losses import SimilarityDissimilarityLoss
from sdl_study.testing import check_sharded, single_labels

SHARDS = [(8, 8), (9, 4), (8, 8, 3)]


def pml_supcon(efficient: bool) -> nn.Module:
    """pytorch-metric-learning's SupConLoss in its distributed wrapper."""
    from pytorch_metric_learning.losses import SupConLoss  # pyright: ignore[reportMissingImports]
    from pytorch_metric_learning.utils.distributed import (  # pyright: ignore[reportMissingImports]
        DistributedLossWrapper,
    )

    loss = SupConLoss(temperature=0.2)
    return DistributedLossWrapper(loss, efficient=efficient) if distributed.is_initialized() else loss


class OpenClip(nn.Module):
    """open_clip's ClipLoss between an embedding and a turned copy of it (it compares two modalities)."""

    def __init__(self, local_loss: bool, gather_with_grad: bool) -> None:
        super().__init__()
        module: Any = load_open_clip()
        rank, world = distributed.rank(), distributed.world_size()
        self.loss = module.ClipLoss(local_loss, gather_with_grad, rank=rank, world_size=world)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self.loss(embeddings, embeddings.roll(1, dims=1), torch.tensor(5.0, dtype=embeddings.dtype))


def load_open_clip() -> Any:
    """open_clip/loss.py of the installed distribution, alone."""
    files = importlib.metadata.files("open_clip_torch") or []
    path = next(Path(str(f.locate())) for f in files if str(f) == "open_clip/loss.py")
    spec = importlib.util.spec_from_file_location("open_clip_loss", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["open_clip_loss"] = module
    spec.loader.exec_module(module)
    return module


class OneLabel(nn.Module):
    """Our sd loss on one label per row."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = SimilarityDissimilarityLoss(0.2)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self.loss(embeddings, nn.functional.one_hot(labels, 3))


def peers() -> dict[str, Any]:
    """The losses whose package is installed, by name and version; the others are told."""
    found: dict[str, Any] = {"sdl_study sd": OneLabel}
    wanted: Sequence[tuple[str, dict[str, Any]]] = [
        (
            "pytorch-metric-learning",
            {
                "SupConLoss efficient=False": partial(pml_supcon, False),
                "SupConLoss efficient=True": partial(pml_supcon, True),
            },
        ),
        (
            "open_clip_torch",
            {
                "ClipLoss gather_with_grad": partial(OpenClip, False, True),
                "ClipLoss local_loss, gather_with_grad": partial(OpenClip, True, True),
                "ClipLoss defaults": partial(OpenClip, False, False),
            },
        ),
    ]
    for package, losses in wanted:
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            print(f"{package}: not installed here")
            continue
        found |= {f"{package} {version} {name}": factory for name, factory in losses.items()}
    return found


def main() -> None:
    print(
        f"torch {torch.__version__}, float64, DDP on gloo, one label per row; error relative to one process"
    )
    for name, factory in peers().items():
        report = check_sharded(
            {name: factory}, (2, 3), SHARDS, labels=single_labels, tolerance=1e-9, timeout_seconds=90
        )
        print(report, flush=True)


if __name__ == "__main__":
    main()
