"""Functions of every kind, compiled as the library's modules are when shapes are checked."""

from __future__ import annotations

import importlib.util
import random
import sys
from fractions import Fraction
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.shape_hints import ShapeError
from tests.shapes import Loader

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
    loader = Loader("kinds_of_functions", str(path))
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
        with pytest.raises(ShapeError, match="is not what is annotated"):
            call(module)

    def test_right_arrays_are_taken(self, module: ModuleType) -> None:
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
            with pytest.raises(ShapeError, match="several: parts"):
                module.several(wrong, (torch.tensor(1), {}))
        module.refuses(torch.ones(2, 3))
        with pytest.raises(ShapeError, match="refuses: x"):
            module.refuses(torch.ones(2, 3, dtype=torch.int64))

    def test_a_function_that_refuses_by_itself_has_the_last_word(self, module: ModuleType) -> None:
        with pytest.raises(ValueError, match="not a matrix"):
            module.refuses(torch.ones(2))

    def test_a_name_that_nobody_has_is_an_error(self, module: ModuleType) -> None:
        with pytest.raises(ModuleNotFoundError, match="a_module_that_nobody_has"):
            module.unknown(torch.ones(2))

    def test_the_message_holds_no_value(self, module: ModuleType) -> None:
        with pytest.raises(ShapeError) as caught:
            module.mixed("the text of a patient")
        assert "patient" not in str(caught.value)

    def test_checks_draw_no_random_number(self, module: ModuleType) -> None:
        random.seed(0)
        before = random.getstate()
        module.several([torch.ones(2)] * 3, (torch.tensor(1), {"a": torch.ones(2, 2)}))
        assert random.getstate() == before
