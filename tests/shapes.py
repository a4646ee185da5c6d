"""Shape annotations are checked while tests run: every call in ``sdl_study`` against its own signature.

The library names jaxtyping under TYPE_CHECKING only, because its losses need torch and numpy alone; outside
the tests its annotations are text that nothing reads. ``install`` puts a finder before the others, so that a
module of the library is compiled with one more decorator on every function, and on every dataclass, that has
an array in its annotations: the innermost one, so that properties, static methods, caches, registers and
closures all hold the checked function. What is ``compiled`` is checked where Python calls it. The text is
evaluated at the first call, with what the module imports under TYPE_CHECKING at hand; a name that nobody has is
an error, never an annotation left out.

A call is checked when it returns: a function that raises has refused its input itself, and tests of that see
its own error. Within one call, one letter is one size (jaxtyping). Containers are walked here, item by item;
beartype decides the rest. Beartype itself looks at one item, drawn from the global random generator whose
seed belongs to the test.

Not seen: processes that a test starts (spawned ranks, Ray workers), the arrays of a ``Callable[...]`` and
annotated variables. ``SDL_SHAPES=0`` switches the checks off.
"""

from __future__ import annotations

import ast
import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

from tests.shape_hints import Hints, Names, array_types, has_arrays

PACKAGE = "sdl_study"
MARK = "__shapes__"
"""The name of the decorator in an instrumented module, and of the ``Hints`` on what it decorated."""


def install() -> None:
    """Check the library's shapes from now on; nothing of it may have been imported yet."""
    if os.environ.get("SDL_SHAPES") == "0":
        return
    if PACKAGE in sys.modules:
        raise RuntimeError(f"{PACKAGE} was imported before its shapes could be checked")
    sys.meta_path.insert(0, _Finder())


def is_installed() -> bool:
    """Whether this process checks shapes."""
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


class _Finder(MetaPathFinder):
    """Finds the library's modules as Python does, and hands them to ``Loader``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.split(".", maxsplit=1)[0] != PACKAGE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


class Loader(SourceFileLoader):
    """Compiles a module with the decorators in it; the bytecode that Python keeps stays without them."""

    def get_code(self, fullname: str) -> CodeType | None:
        source = self.get_data(self.path)
        if b"jaxtyping" not in source:
            return super().get_code(fullname)
        tree = ast.parse(source, self.path)
        _Decorate(array_types(tree)).visit(tree)
        return compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        source = self.get_data(self.path)
        if b"jaxtyping" in source:
            tree = ast.parse(source, self.path)
            setattr(module, MARK, functools.partial(_checked, Names(module, tree)))
        super().exec_module(module)


class _Decorate(ast.NodeTransformer):
    """Adds the decorator: below the others of a function, above those of a dataclass."""

    def __init__(self, types: frozenset[str]) -> None:
        self._types = types

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        arguments = ast.walk(node.args)
        annotations = [node.returns, *(a.annotation for a in arguments if isinstance(a, ast.arg))]
        if any(has_arrays(annotation, self._types) for annotation in annotations):
            compiled = any(ast.unparse(decorator) == "compiled" for decorator in node.decorator_list)
            node.decorator_list.insert(0 if compiled else len(node.decorator_list), self._decorator(node))
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        fields = [line for line in node.body if isinstance(line, ast.AnnAssign)]
        is_dataclass = any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
        if is_dataclass and any(has_arrays(field.annotation, self._types) for field in fields):
            node.decorator_list.insert(0, self._decorator(node))
        return node

    @staticmethod
    def _decorator(node: ast.FunctionDef | ast.ClassDef) -> ast.expr:
        return ast.copy_location(ast.Name(MARK, ast.Load()), node)


def _checked(names: Names, owner: Any) -> Any:
    """The decorator of a module's functions and dataclasses."""
    hints = Hints(owner, names)
    if inspect.isclass(owner):
        owner.__init__ = _checked_init(owner.__init__, hints)
        return owner
    wrapped = _checked_generator if inspect.isgeneratorfunction(owner) else _checked_call
    call = wrapped(owner, hints)
    setattr(call, MARK, hints)
    return call


def _checked_call(function: Callable[..., Any], hints: Hints) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        hints.check_call(args, kwargs, result)
        return result

    return call


def _checked_generator(function: Callable[..., Iterator[Any]], hints: Hints) -> Callable[..., Iterator[Any]]:
    """Every item is checked, each with the arguments and by itself: the last batch may be shorter."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for item in function(*args, **kwargs):
            hints.check_call(args, kwargs, item)
            yield item

    return call


def _checked_init(init: Callable[..., None], hints: Hints) -> Callable[..., None]:
    @functools.wraps(init)
    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        hints.check({name: getattr(self, name) for name in hints.texts})

    setattr(call, MARK, hints)
    return call
