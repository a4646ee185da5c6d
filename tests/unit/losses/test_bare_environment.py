"""The losses and the checker train a step in a virtual environment that holds only torch and numpy."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import sdl_study

PROGRAM = """
import importlib.util
import torch
from sdl_study.losses import CONTRASTIVE_LOSSES, LabelSets, build_loss, cached_backward
from sdl_study.testing import check_sharded, make_encoder, make_inputs

for name in ("ray", "transformers", "optuna", "mlflow", "polars", "sklearn", "pydantic", "jaxtyping", "scipy"):
    assert importlib.util.find_spec(name) is None, name
encoder = make_encoder()
optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
labels = LabelSets.from_lists([[0], [0, 1], [1], [], [0, 1], [2]], 3)
for name in CONTRASTIVE_LOSSES:
    before = [p.detach().clone() for p in encoder.parameters()]
    loss = build_loss(name, temperature=0.2)(encoder(make_inputs(6)), labels)
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert any(not torch.equal(p, q) for p, q in zip(before, encoder.parameters()))
print("trained")
"""


def _with_requirements(names: list[str]) -> set[str]:
    """These distributions and all that they need, as far as it is installed here."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # needed on other platforms only
        found.add(name)
        waiting += [re.split(r"[^A-Za-z0-9_.-]", need)[0].lower() for need in needs if "extra ==" not in need]
    return found


def _bare_environment(folder: Path) -> Path:
    """A virtual environment with links to torch, numpy, their requirements, and this package's folder."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    paths = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    for name in _with_requirements(["torch", "numpy"]):
        distribution = importlib.metadata.distribution(name)
        for top in {Path(str(file)).parts[0] for file in distribution.files or []}:
            source, target = Path(str(distribution.locate_file(top))), packages / top
            if top not in ("..", "__pycache__") and source.exists() and not target.exists():
                target.symlink_to(source)
    (packages / "sdl_study").symlink_to(Path(sdl_study.__file__).parent)
    return python


def test_trains_with_torch_and_numpy_alone(tmp_path: Path) -> None:
    python = _bare_environment(tmp_path / "bare")
    environment = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    done = subprocess.run(
        [str(python), "-c", PROGRAM],
        capture_output=True, text=True, timeout=250, check=False, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "trained"
    assert sys.prefix != str(tmp_path / "bare")


def test_the_package_is_typed_and_explains_itself() -> None:
    root = Path(sdl_study.__file__).parent
    assert (root / "py.typed").is_file()
    assert "WeightRule" in (root / "losses" / "README.md").read_text(encoding="utf-8")
