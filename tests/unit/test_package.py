"""The package as a whole: what may import what, what an import brings along, no reporting of usage.

The contracts in pyproject.toml (import-linter) say which of our packages may reach which. Here is what they
cannot say: single modules of a library (torch.distributed), files that alone may import a library, and what
an import really loads.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("sdl_study", "search_spaces", "pipelines")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SWITCHES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}

# Library (or a module of it) -> the only files that may name it, even under TYPE_CHECKING.
ALLOWED_IN = {
    "mlflow": ("sdl_study/tracking/*",),
    "ray": ("sdl_study/run.py", "sdl_study/trial.py", "sdl_study/study/*", "sdl_study/workers/*"),
    "transformers": ("sdl_study/models/*", "sdl_study/data/*"),
    "tokenizers": ("sdl_study/models/*", "sdl_study/data/*"),
    "torch.distributed": ("sdl_study/distributed.py",),
    "torchvision": (),
}


def run_python(code: str, **environment: str) -> str:
    """Standard output of ``code`` in a process of its own, without the usage switches of this one."""
    clean = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def names_used(source: str) -> Iterator[str]:
    """Dotted names that a file imports, or reaches through an import, as in ``torch.distributed.gather``."""
    tree = ast.parse(source)
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    yield from imported
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in imported:
            yield f"{node.value.id}.{node.attr}"


def misplaced(path: str, source: str) -> list[str]:
    """The libraries of ``ALLOWED_IN`` that a file uses and may not."""
    used = set(names_used(source))
    return [
        library
        for library, files in ALLOWED_IN.items()
        if any(name == library or name.startswith(f"{library}.") for name in used)
        and not any(fnmatch(path, pattern) for pattern in files)
    ]


@pytest.mark.parametrize("path", SOURCES, ids=[module_name(path) for path in SOURCES])
def test_a_library_is_imported_only_where_it_belongs(path: Path) -> None:
    assert misplaced(path.relative_to(ROOT).as_posix(), path.read_text()) == []


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("sdl_study/losses/core.py", "import torch.distributed as dist", ["torch.distributed"]),
        ("sdl_study/losses/core.py", "from torch import distributed", ["torch.distributed"]),
        ("sdl_study/losses/core.py", "import torch\ntorch.distributed.barrier()", ["torch.distributed"]),
        ("sdl_study/distributed.py", "import torch.distributed as dist", []),
        ("sdl_study/report/page.py", "def page():\n    from mlflow import MlflowClient", ["mlflow"]),
        ("sdl_study/run.py", "mlflow = place / 'mlflow'\nmlflow.exists()", []),
        ("sdl_study/tracking/runs.py", "from mlflow import MlflowClient", []),
        ("pipelines/coco.py", "import torchvision.io", ["torchvision"]),
        ("sdl_study/evaluation/ray_of_light.py", "import rayon", []),
    ],
)
def test_the_check_finds_a_misplaced_import(path: str, source: str, found: list[str]) -> None:
    assert misplaced(path, source) == found


def test_every_module_can_be_imported_first() -> None:
    """A cycle shows only when the wrong module comes first, so each is imported with none of ours loaded."""
    code = f"""
import importlib, json, sys
failed = {{}}
for name in {[module_name(path) for path in SOURCES]}:
    for loaded in [module for module in sys.modules if module.partition(".")[0] in {PACKAGES}]:
        del sys.modules[loaded]
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = repr(error)
print(json.dumps(failed))
"""
    assert json.loads(run_python(code).splitlines()[-1]) == {}


@pytest.mark.parametrize("module", ["sdl_study.losses", "sdl_study.testing", "sdl_study.distributed"])
def test_the_loss_brings_nothing_but_torch_and_numpy(module: str) -> None:
    code = f"""
import json, sys
import numpy, torch, torch.distributed, torch.multiprocessing, torch.nn.parallel, torch.autograd.function
before = set(sys.modules)
import {module}
brought = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(json.dumps(sorted(brought - sys.stdlib_module_names)))
"""
    assert set(json.loads(run_python(code))) <= {"sdl_study", "torch", "numpy"}


@pytest.mark.parametrize("package", ["evaluation", "report", "models", "data", "space", "config"])
def test_an_import_does_not_start_what_it_does_not_need(package: str) -> None:
    """Workers and reports pay for their imports; Ray, MLflow and Optuna's storage take seconds each."""
    code = f"import json, sys, sdl_study.{package}\nprint(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(run_python(code)))
    assert loaded.isdisjoint({"ray", "mlflow", "torchvision"})


def test_importing_the_package_turns_usage_reporting_off() -> None:
    code = f"import os, sdl_study; print([os.environ.get(name) for name in {list(SWITCHES)}])"
    assert run_python(code).strip() == str(list(SWITCHES.values()))


def test_a_users_own_switch_wins() -> None:
    code = "import os, sdl_study; print(os.environ['RAY_USAGE_STATS_ENABLED'])"
    assert run_python(code, RAY_USAGE_STATS_ENABLED="1").strip() == "1"


def test_lowest_constraints_are_the_bounds_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    required = [*project["dependencies"], *extras["pretrained"], *extras["test"]]
    pattern = re.compile(r"([\w-]+)(?:\[.*\])?>=([\d.]+)$")
    bounds = {found[1]: found[2] for text in required if (found := pattern.match(text))}
    assert len(bounds) == len(required)
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert {name: _two_numbers(version) for name, version in pins.items()} == {
        name: _two_numbers(version) for name, version in bounds.items()
    }


def _two_numbers(version: str) -> str:
    return ".".join(version.split(".")[:2])
