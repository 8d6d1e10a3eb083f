"""Every public name of the library, found and never listed: what the API page and the map show.

A name is public that `attnlib/__init__.pyi` or the `__init__.py` of a public package exports, and in any other public
module every function and class without an underscore, every constant with a docstring, and what it exports besides:
`import x as x`, which type checkers read the same way, says that what a private module made is this one's own.
A module of a package from which the package exports nothing is public itself: `attnlib.book.plot`. So is whatever
the registry names, wherever it lives.
"""

from __future__ import annotations

import ast
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import attnlib
from attnlib import registry


@dataclass(frozen=True)
class Room:
    """A module under the name by which it is imported, and its public names."""

    path: str
    module: ModuleType
    names: tuple[str, ...]

    def find(self, name: str) -> Any:
        """Return what the name stands for."""
        return getattr(self.module, name)


def rooms() -> list[Room]:
    """Every public module; a function or class that two of them have stands in the first."""
    found, seen = [], set()
    for path, module, names in _every_module():
        own = []
        for name in names:
            value = getattr(module, name)
            if not inspect.ismodule(value) and not (callable(value) and id(value) in seen):
                own.append(name)
                seen.add(id(value))
        found.append(Room(path, module, tuple(own)))
    homes: dict[str, list[str]] = {}
    for function in _of_registry():
        if id(function) not in seen:
            seen.add(id(function))
            homes.setdefault(function.__module__, []).append(function.__name__)
    return [*found, *(Room(path, import_module(path), tuple(names)) for path, names in homes.items())]


def public_names() -> dict[str, Any]:
    """`attnlib.cost.attention: function`, … : what the API page has an entry for, in its order."""
    return {f"{room.path}.{name}": room.find(name) for room in rooms() for name in room.names}


def shown(module: ModuleType) -> list[str]:
    """The names that a public module shows: those that it exports, and unless it is a package those that it makes."""
    exported = _exports(module)
    if hasattr(module, "__path__"):
        return list(exported)
    made = [x.name for x in _tree(module).body if isinstance(x, ast.FunctionDef | ast.ClassDef)]
    return [name for name in (*made, *exported, *_constants(module)) if not name.startswith("_")]


def unwrapped(function: Any) -> Any:
    """Return the function itself where the registry has filled in options."""
    return function.func if isinstance(function, partial) else function


def documentation(room: Room, name: str) -> str:
    """The docstring of a name, '' without one; that of a constant is the string below its assignment."""
    value = room.find(name)
    if inspect.isfunction(value) or inspect.isclass(value):
        return inspect.getdoc(value) or ""
    home = _exports(room.module).get(name, room.module.__name__)
    return _constants(import_module(home)).get(name, "")


@dataclass(frozen=True)
class Place:
    """A function: its public name and the file that it is in."""

    name: str
    file: str


@dataclass(frozen=True)
class Row:
    """Where an idea is told, defined, computed, counted and tested."""

    title: str
    chapter: str
    definition: Place
    kernel: Place
    cost: Place
    test: str


def map_rows() -> tuple[list[Row], list[Row]]:
    """A row for each mechanism, and one for each layer, as the registry has them."""
    public = {id(value): name for name, value in public_names().items()}

    def place(function: Any) -> Place:
        function = unwrapped(function)
        return Place(public[id(function)], f"{function.__module__.replace('.', '/')}.py")

    def row(entry: Any) -> Row:
        definition, kernel, cost = map(place, (entry.definition, entry.fn, entry.cost))
        chapter, test = f"chapters/{entry.chapter}", f"tests/test_{entry.stem}.py"
        return Row(entry.title, chapter, definition, kernel, cost, test)

    return [row(entry) for entry in registry.MECHANISMS], [row(entry) for entry in registry.LAYERS]


def _every_module() -> Iterator[tuple[str, ModuleType, list[str]]]:
    yield "attnlib", attnlib, shown(attnlib)
    for name in shown(attnlib):
        module = getattr(attnlib, name)
        if inspect.ismodule(module):
            yield from _with_parts(f"attnlib.{name}", module)


def _with_parts(path: str, module: ModuleType) -> Iterator[tuple[str, ModuleType, list[str]]]:
    yield path, module, shown(module)
    if not hasattr(module, "__path__"):
        return
    exported = _exports(module)
    for part in pkgutil.iter_modules(module.__path__):
        full = f"{module.__name__}.{part.name}"
        if not part.name.startswith("_") and full not in exported.values():
            yield from _with_parts(f"{path}.{part.name}", import_module(full))


def _of_registry() -> Iterator[Any]:
    entries: list[registry.Mechanism | registry.Layer] = [*registry.MECHANISMS, *registry.LAYERS]
    for entry in entries:
        yield from map(unwrapped, (entry.fn, entry.cost, entry.definition))
    yield from (unwrapped(entry.draw) for entry in entries if entry.draw is not None)


@cache
def _tree(module: ModuleType) -> ast.Module:
    file = Path(module.__file__ or "")
    stub = file.with_suffix(".pyi")
    return ast.parse((stub if stub.is_file() else file).read_text("utf8"))


def _exports(module: ModuleType) -> dict[str, str]:
    """`name: module` that it is imported from, of every name that a module exports."""
    imports = [statement for statement in _tree(module).body if isinstance(statement, ast.ImportFrom)]
    return {a.name: str(i.module) for i in imports for a in i.names if a.asname == a.name}


def _constants(module: ModuleType) -> dict[str, str]:
    """`name: docstring` of every assignment that a string follows."""
    body = _tree(module).body
    found = {}
    for statement, after in pairwise(body):
        match statement, after:
            case (
                ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = inspect.cleandoc(text)
    return found
