"""Every shape annotation of the library is checked while tests run, and a wrong array is told."""

from __future__ import annotations

import ast
import dis
import functools
import importlib
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import pytest
import torch

from tests import shapes
from tests.shape_hints import Hints, ShapeError

ROOT = Path(__file__).resolve().parents[2]
installed = pytest.mark.skipif(not shapes.is_installed(), reason="SDL_SHAPES=0 switches the checks off")

# Annotations that nothing looks into: the arrays of a callable are seen when it is called, if it is ours.
CALLABLES = {
    "sdl_study.evaluation.metrics.weighted_cells.weighted_cells: of_units",
    "sdl_study.evaluation.metrics.weighted_cells.weighted_cells: return",
    "sdl_study.evaluation.metrics.weighted_labels.weighted_labels: return",
}


def annotated() -> list[tuple[str, tuple[str, ...], dict[str, str]]]:
    """(module, qualified name, annotations with arrays) of functions and dataclasses, from the text alone."""
    found = []
    for path in sorted((ROOT / "sdl_study").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module == "jaxtyping"]
        arrays = tuple(f"{alias.name}[" for node in imports for alias in node.names)
        found += [(module, name, texts) for name, texts in _inside(tree, (), arrays) if texts]
    return found


def _inside(
    node: ast.AST, within: tuple[str, ...], arrays: tuple[str, ...]
) -> list[tuple[tuple[str, ...], dict[str, str]]]:
    found = []
    for child in ast.iter_child_nodes(node):
        name = within
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            name = (*within, child.name)
            texts = _signature(child) if isinstance(child, ast.FunctionDef) else _fields(child)
            chosen = {what: text for what, text in texts.items() if any(array in text for array in arrays)}
            found.append((name, chosen))
            if isinstance(child, ast.FunctionDef):
                name = (*name, "<locals>")
        found += _inside(child, name, arrays)
    return found


def _signature(node: ast.FunctionDef) -> dict[str, str]:
    arguments = [a for a in ast.walk(node.args) if isinstance(a, ast.arg) and a.annotation is not None]
    texts = {argument.arg: ast.unparse(argument.annotation or argument) for argument in arguments}
    return texts | ({} if node.returns is None else {"return": ast.unparse(node.returns)})


def _fields(node: ast.ClassDef) -> dict[str, str]:
    return {
        ast.unparse(line.target): ast.unparse(line.annotation)
        for line in node.body
        if isinstance(line, ast.AnnAssign)
    }


def found_in(module: str, name: tuple[str, ...]) -> Any:
    """What a qualified name stands for: the function under a property or another descriptor."""
    owner: Any = importlib.import_module(module)
    for part in name:
        owner = vars(owner)[part]
    if isinstance(owner, property):
        return owner.fget
    if isinstance(owner, functools.cached_property):
        return owner.func
    return getattr(owner, "__func__", owner)


def hints_of(owner: Any) -> Hints | None:
    """What is checked of a function, or of a dataclass when one is made."""
    owner = vars(owner).get("__init__") if isinstance(owner, type) else owner
    while owner is not None and shapes.MARK not in vars(owner):
        owner = getattr(owner, "__wrapped__", None)
    return None if owner is None else vars(owner)[shapes.MARK]


def decorated_inside(code: CodeType) -> int:
    """How many closures a function's code decorates."""
    own = sum(instruction.argval == shapes.MARK for instruction in dis.get_instructions(code))
    return own + sum(decorated_inside(part) for part in code.co_consts if isinstance(part, CodeType))


@installed
def test_every_annotated_function_and_dataclass_is_checked() -> None:
    everything = annotated()
    assert len(everything) > 100
    closures: dict[tuple[str, str], int] = {}
    for module, name, texts in everything:
        if "<locals>" in name:
            outer = (module, ".".join(name[: name.index("<locals>")]))
            closures[outer] = closures.get(outer, 0) + 1
            continue
        hints = hints_of(found_in(module, name))
        assert hints is not None, f"{module}.{'.'.join(name)} is not checked"
        assert hints.matches.keys() == texts.keys(), f"{module}.{'.'.join(name)}"  # all can be evaluated
    for (module, outer), count in closures.items():
        function = found_in(module, tuple(outer.split(".")))
        while hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        assert decorated_inside(function.__code__) == count, f"closures of {module}.{outer}"


@installed
def test_arrays_that_nothing_looks_into_are_those_of_callables() -> None:
    found = {
        f"{module}.{'.'.join(name)}: {what}"
        for module, name, texts in annotated()
        for what, text in texts.items()
        if "Callable[" in text
    }
    assert found == CALLABLES


@installed
class TestTheLibrary:
    """Wrong arrays for functions that would take them."""

    def test_sizes_that_disagree(self) -> None:
        from sdl_study.losses.relations import RelationWeights, relation_factor

        size, weights = torch.ones(1, 1), RelationWeights()
        relation_factor(torch.ones(2, 3), torch.ones(2, 1), torch.ones(1, 3), weights)
        with pytest.raises(ShapeError, match="candidate_size is not what is annotated"):
            relation_factor(torch.ones(1, 3), size, torch.ones(2, 1), weights)

    def test_a_wrong_dtype(self) -> None:
        from sdl_study.losses.relations import relation_masks

        counts, size = torch.ones(2, 2, dtype=torch.int64), torch.ones(2, 1)
        with pytest.raises(ShapeError, match=r"intersection: .* is Tensor torch.int64 \[2, 2\]"):
            relation_masks(counts, size, size.T)

    def test_a_module_and_a_property(self) -> None:
        from sdl_study.evaluation.targets import Targets
        from sdl_study.models.heads import LinearHead

        with pytest.raises(ShapeError, match="forward: embeddings"):
            LinearHead(3, 2)(torch.ones(4, 5, 3))
        targets = Targets(np.array([0]), np.array([0]), (1, 2))
        with pytest.raises(ShapeError, match="restrict: keep"):
            targets.restrict(np.array([0, 1]))

    def test_a_dataclass(self) -> None:
        from sdl_study.evaluation.targets import Targets

        with pytest.raises(ShapeError, match="Targets: columns"):
            Targets(np.array([0, 1]), np.array([0]), (2, 2))

    def test_a_closure(self) -> None:
        from sdl_study.evaluation.metrics.weighted import weighted_metric
        from sdl_study.evaluation.targets import Targets

        targets = Targets(np.array([0, 1]), np.array([0, 1]), (2, 2))
        metric = weighted_metric("macro_f1", np.eye(2), targets, 0.5)
        assert metric(np.ones((3, 2))).tolist() == [1, 1, 1]
        with pytest.raises(ShapeError, match="counts: weights"):
            metric(np.ones((3, 2), dtype=np.int64))

    def test_a_generator(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from sdl_study.data.sampler import ContrastiveSampler

        sampler = ContrastiveSampler(num_examples=5, global_batch_size=2, seed=0)
        assert [len(batch) for batch in sampler.global_batches(0)] == [2, 2, 1]
        monkeypatch.setattr(sampler, "_order", lambda rng: np.arange(5.0))
        with pytest.raises(ShapeError, match="global_batches: return"):
            next(sampler.global_batches(0))


def test_shapes_are_checked_from_the_start_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDL_SHAPES", raising=False)
    importlib.import_module(shapes.PACKAGE)
    with pytest.raises(RuntimeError, match="imported before"):
        shapes.install()
