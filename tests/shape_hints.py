"""The annotations of one function, evaluated and compared with the arrays of a call (see tests/shapes.py)."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType, UnionType
from typing import Any, Union, get_args, get_origin

from beartype.door import is_bearable
from jaxtyping import AbstractArray, jaxtyped


class ShapeError(AssertionError):
    """An array is not what the signature says; an AssertionError, so that no test of a ValueError takes it."""


def array_types(tree: ast.Module) -> frozenset[str]:
    """The names that a module imports from jaxtyping."""
    imports = [
        node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "jaxtyping"
    ]
    return frozenset(alias.asname or alias.name for node in imports for alias in node.names)


def has_arrays(annotation: ast.expr | None, types: frozenset[str]) -> bool:
    """Whether an annotation says the shape of an array."""
    return annotation is not None and any(
        isinstance(node, ast.Name) and node.id in types for node in ast.walk(annotation)
    )


class Names(dict[str, Any]):
    """What a module's annotations may name beyond its globals: its block under TYPE_CHECKING, run on demand."""

    def __init__(self, module: ModuleType, tree: ast.Module) -> None:
        super().__init__()
        self.types = array_types(tree)
        self._globals = module.__dict__
        self._statements: dict[str, ast.stmt] = {}
        for block in tree.body:
            if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
                for statement in block.body:
                    self._statements |= dict.fromkeys(_names_of(statement), statement)

    def __missing__(self, name: str) -> Any:
        statement = self._statements[name]
        exec(
            compile(ast.Module([statement], []), "<TYPE_CHECKING>", "exec", dont_inherit=True),
            self._globals,
            self,
        )
        return self[name]

    def evaluate(self, annotation: str) -> Any:
        """The object that an annotation stands for."""
        return eval(annotation, self._globals, self)  # noqa: S307 (the text of our own modules)


def _names_of(statement: ast.stmt) -> list[str]:
    """What a statement under TYPE_CHECKING defines."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in statement.names]
    if isinstance(statement, ast.AnnAssign):
        return [ast.unparse(statement.target)]
    raise TypeError(f"tests/shape_hints.py does not know what this defines: {ast.unparse(statement)}")


class Hints:
    """The annotations with arrays of one function (or the fields of one dataclass), ready to be checked."""

    def __init__(self, owner: Any, names: Names) -> None:
        self._owner, self._names = owner, names
        self._right: set[tuple[Any, ...]] = set()  # kinds, dtypes and shapes that were found right before
        own = inspect.get_annotations(owner)
        self.texts = {name: text for name, text in own.items() if has_arrays(_parsed(text), names.types)}
        if "return" in self.texts and inspect.isgeneratorfunction(owner):
            self.texts["return"] = ast.unparse(_parsed(self.texts["return"]).slice)  # of one item

    @functools.cached_property
    def matches(self) -> dict[str, Callable[[Any], bool]]:
        """By the name of a parameter, field or ``return``: whether a value is what its annotation says."""
        return {name: _matcher(self._names.evaluate(text)) for name, text in self.texts.items()}

    @functools.cached_property
    def places(self) -> dict[str, int]:
        """By parameter: its place among the positional arguments, none of which is as far as a keyword's."""
        places = {}
        for place, parameter in enumerate(inspect.signature(self._owner).parameters.values()):
            if parameter.name not in self.texts:
                continue
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise TypeError(
                    f"tests/shape_hints.py cannot check {parameter} of {self._owner.__qualname__}"
                )
            places[parameter.name] = sys.maxsize if parameter.kind is parameter.KEYWORD_ONLY else place
        return places

    def check_call(self, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """Raise ShapeError unless the arguments given, then the result, are what the signature says."""
        values = {}
        for name, place in self.places.items():
            if place < len(args):
                values[name] = args[place]
            elif name in kwargs:
                values[name] = kwargs[name]
        if "return" in self.texts:
            values["return"] = result
        self.check(values)

    def check(self, values: Mapping[str, Any]) -> None:
        """Raise ShapeError unless all values are what is annotated, one size for each letter among them."""
        kinds = tuple(
            (name, type(value), getattr(value, "dtype", None), getattr(value, "shape", None))
            for name, value in values.items()
        )
        if kinds in self._right:
            return
        with jaxtyped("context"):
            for name, value in values.items():
                if not self.matches[name](value):
                    lines = [f"  {n}: {self.texts[n]} is {_description(v)}" for n, v in values.items()]
                    where = f"{self._owner.__module__}.{self._owner.__qualname__}"
                    raise ShapeError("\n".join([f"{where}: {name} is not what is annotated", *lines]))
        if not any(isinstance(value, list | tuple | dict) for value in values.values()):
            self._right.add(kinds)


def _parsed(annotation: str) -> Any:
    return ast.parse(annotation, mode="eval").body


def _matcher(hint: Any) -> Callable[[Any], bool]:
    """Whether a value is what ``hint`` says, with every item of a list, tuple or mapping looked at."""
    origin, parts = get_origin(hint), get_args(hint)
    if not parts and _is_array(hint):
        return lambda value: isinstance(value, hint)
    if origin in (Union, UnionType):
        members = [_matcher(part) for part in parts]
        return lambda value: any(matches(value) for matches in members)
    if origin is tuple and Ellipsis not in parts:
        items = [_matcher(part) for part in parts]
        return lambda value: (
            isinstance(value, tuple)
            and len(value) == len(items)
            and all(matches(item) for matches, item in zip(items, value, strict=True))
        )
    if origin in (list, tuple, Sequence):
        each = _matcher(parts[0])
        return lambda value: isinstance(value, origin) and all(each(item) for item in value)
    if origin in (dict, Mapping):
        each = _matcher(parts[1])
        return lambda value: isinstance(value, origin) and all(each(item) for item in value.values())
    if origin is not Callable and any(_is_array(part) for part in parts):
        raise TypeError(f"tests/shape_hints.py does not know how to look into {hint}")
    kind = origin or hint
    return lambda value: is_bearable(value, kind)


def _is_array(hint: Any) -> bool:
    if inspect.isclass(hint) and issubclass(hint, AbstractArray):
        return True
    return any(_is_array(part) for part in get_args(hint))


def _description(value: Any) -> str:
    """Kind, dtype and shape: never what is in it."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__} {value.dtype} {list(value.shape)}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(_description(item) for item in value)})"
    return type(value).__name__
