"""Every shape annotation of the library is checked while tests run, and a wrong array is told."""

from __future__ import annotations

import ast
import dis
import functools
import importlib
import importlib.util
import random
import sys
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from tests import shapes

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


def hints_of(owner: Any) -> shapes.Hints | None:
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
        with pytest.raises(shapes.ShapeError, match="candidate_size is not what is annotated"):
            relation_factor(torch.ones(1, 3), size, torch.ones(2, 1), weights)

    def test_a_wrong_dtype(self) -> None:
        from sdl_study.losses.relations import relation_masks

        counts, size = torch.ones(2, 2, dtype=torch.int64), torch.ones(2, 1)
        with pytest.raises(shapes.ShapeError, match=r"intersection: .* is Tensor torch.int64 \[2, 2\]"):
            relation_masks(counts, size, size.T)

    def test_a_module_and_a_property(self) -> None:
        from sdl_study.evaluation.targets import Targets
        from sdl_study.models.heads import LinearHead

        with pytest.raises(shapes.ShapeError, match="forward: embeddings"):
            LinearHead(3, 2)(torch.ones(4, 5, 3))
        targets = Targets(np.array([0]), np.array([0]), (1, 2))
        with pytest.raises(shapes.ShapeError, match="restrict: keep"):
            targets.restrict(np.array([0, 1]))

    def test_a_dataclass(self) -> None:
        from sdl_study.evaluation.targets import Targets

        with pytest.raises(shapes.ShapeError, match="Targets: columns"):
            Targets(np.array([0, 1]), np.array([0]), (2, 2))

    def test_a_closure(self) -> None:
        from sdl_study.evaluation.metrics.weighted import weighted_metric
        from sdl_study.evaluation.targets import Targets

        targets = Targets(np.array([0, 1]), np.array([0, 1]), (2, 2))
        metric = weighted_metric("macro_f1", np.eye(2), targets, 0.5)
        assert metric(np.ones((3, 2))).tolist() == [1, 1, 1]
        with pytest.raises(shapes.ShapeError, match="pieces: weights"):
            metric(np.ones((3, 2), dtype=np.int64))

    def test_a_generator(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from sdl_study.data.sampler import ContrastiveSampler

        sampler = ContrastiveSampler(num_examples=5, global_batch_size=2, seed=0)
        assert [len(batch) for batch in sampler.global_batches(0)] == [2, 2, 1]
        monkeypatch.setattr(sampler, "_order", lambda rng: np.arange(5.0))
        with pytest.raises(shapes.ShapeError, match="global_batches: return"):
            next(sampler.global_batches(0))


SOURCE = '''
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from fractions import Fraction

    from jaxtyping import Float, Int
    from torch import Tensor

    from a_module_that_nobody_has import Missing

REGISTER = []

def register(function):
    REGISTER.append(function)
    return function

@register
def mixed(x: Float[Tensor, "n d"] | Fraction | None = None, *, y: Float[Tensor, " n"] | None = None) -> None:
    """Optional arrays."""

def refuses(x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    if x.ndim != 2:
        raise ValueError("not a matrix")
    return x[:, :1] if x.shape[1] == 7 else x.sum(1)

def several(parts: Sequence[Float[Tensor, " n"]], pair: tuple[Int[Tensor, ""], dict[str, Float[Tensor, "n n"]]]) -> int:
    return len(parts)

def variadic(*others: object, x: Float[Tensor, " n"]) -> None:
    """Arguments of any number before the array."""

def unknown(x: Float[Tensor, " n"] | Missing) -> None:
    """A name that cannot be imported."""

def outer(width: int):
    def inner(x: Float[Tensor, "n 3"]) -> list[Float[Tensor, " n"]]:
        return [x.sum(1), x.sum(1)[: width]]
    return inner

class Box:
    @staticmethod
    def fixed(x: Float[Tensor, " n"]) -> None: ...

    @classmethod
    def made(cls, x: Float[Tensor, " n"]) -> Box:
        return cls()

    @property
    def bad(self) -> Float[Tensor, " n"]:
        return torch.ones(2, 2)

    @cached_property
    def worse(self) -> Float[Tensor, " n"]:
        return torch.ones(2, dtype=torch.int64)

@dataclass(frozen=True, slots=True)
class Pair:
    first: Float[Tensor, " n"]
    second: Float[Tensor, " n"]
    name: str = ""

class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return 2 * x

    @staticmethod
    def backward(ctx, gradient: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return 2 * gradient
'''


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """A module of all kinds of functions, compiled as the library's are."""
    path = tmp_path_factory.mktemp("shapes") / "kinds_of_functions.py"
    path.write_text(SOURCE, encoding="utf-8")
    loader = shapes.Loader("kinds_of_functions", str(path))
    spec = importlib.util.spec_from_file_location(loader.name, path, loader=loader)
    assert spec is not None
    made = importlib.util.module_from_spec(spec)
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setitem(sys.modules, loader.name, made)  # dataclasses look there
    loader.exec_module(made)
    monkeypatch.undo()
    assert not list(path.parent.glob("__pycache__/*"))  # no other run reads this bytecode
    return made


class TestKinds:
    """What is checked, kind by kind."""

    @pytest.mark.parametrize(
        "call",
        [
            lambda m: m.mixed(torch.ones(2)),
            lambda m: m.mixed("text"),
            lambda m: m.mixed(y=torch.ones(2, 2)),
            lambda m: m.mixed(torch.ones(2, 3), y=torch.ones(3)),
            lambda m: m.REGISTER[0](torch.ones(2)),
            lambda m: m.refuses(torch.ones(2, 7)),
            lambda m: m.several([torch.ones(2), torch.ones(3)], (torch.tensor(1), {})),
            lambda m: m.several([torch.ones(2)], (torch.tensor(1.0), {})),
            lambda m: m.several([torch.ones(2)], (torch.tensor(1), {"a": torch.ones(2, 3)})),
            lambda m: m.several([torch.ones(2)], (torch.tensor(1), {}, None)),
            lambda m: m.variadic(torch.ones(2), torch.ones(2), x=torch.ones(2, 2)),
            lambda m: m.outer(1)(torch.ones(2, 3)),
            lambda m: m.outer(2)(torch.ones(2, 4)),
            lambda m: m.Box.fixed(torch.ones(2, 2)),
            lambda m: m.Box.made(torch.ones(2, 2)),
            lambda m: m.Box().bad,
            lambda m: m.Box().worse,
            lambda m: m.Pair(torch.ones(2), torch.ones(3)),
            lambda m: m.Double.apply(torch.ones(2, 2)),
        ],
    )
    def test_a_wrong_array_is_told(self, module: ModuleType, call: Any) -> None:
        with pytest.raises(shapes.ShapeError, match="is not what is annotated"):
            call(module)

    def test_right_arrays_are_taken(self, module: ModuleType) -> None:
        from fractions import Fraction

        assert module.mixed() is None
        assert module.mixed(Fraction(1, 2)) is None
        assert module.mixed(torch.ones(2, 3), y=torch.ones(2)) is None
        assert module.several([torch.ones(2)] * 3, (torch.tensor(1), {"a": torch.ones(2, 2)})) == 3
        assert module.variadic(1, 2, 3, x=torch.ones(2)) is None
        assert module.outer(2)(torch.ones(2, 3))[1].tolist() == [3, 3]
        assert module.Pair(torch.ones(2), torch.ones(2)).name == ""
        x = torch.ones(2, requires_grad=True)
        module.Double.apply(x).sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [2, 2]

    def test_what_was_right_before_is_looked_at_again(self, module: ModuleType) -> None:
        for wrong in ([torch.ones(2), torch.ones(3)], [torch.ones(2), None]):
            module.several([torch.ones(2), torch.ones(2)], (torch.tensor(1), {}))
            with pytest.raises(shapes.ShapeError, match="several: parts"):
                module.several(wrong, (torch.tensor(1), {}))
        module.refuses(torch.ones(2, 3))
        with pytest.raises(shapes.ShapeError, match="refuses: x"):
            module.refuses(torch.ones(2, 3, dtype=torch.int64))

    def test_a_function_that_refuses_by_itself_has_the_last_word(self, module: ModuleType) -> None:
        with pytest.raises(ValueError, match="not a matrix"):
            module.refuses(torch.ones(2))

    def test_a_name_that_nobody_has_is_an_error(self, module: ModuleType) -> None:
        with pytest.raises(ModuleNotFoundError, match="a_module_that_nobody_has"):
            module.unknown(torch.ones(2))

    def test_the_message_holds_no_value(self, module: ModuleType) -> None:
        with pytest.raises(shapes.ShapeError) as caught:
            module.mixed("the text of a patient")
        assert "patient" not in str(caught.value)

    def test_checks_draw_no_random_number(self, module: ModuleType) -> None:
        random.seed(0)
        before = random.getstate()
        module.several([torch.ones(2)] * 3, (torch.tensor(1), {"a": torch.ones(2, 2)}))
        assert random.getstate() == before


def test_shapes_are_checked_from_the_start_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDL_SHAPES", raising=False)
    importlib.import_module(shapes.PACKAGE)
    with pytest.raises(RuntimeError, match="imported before"):
        shapes.install()
