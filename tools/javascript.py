"""Write functions of attnlib in JavaScript, so that a page computes what the library computes.

`translate` takes Python functions and follows what they use: other functions, dataclasses, tables. Each is read from
its own source and written anew, statement by statement; ``javascript.js`` beside this file has what Python brings
with it (dicts with any key, keyword arguments, comparisons of tuples). It knows the part of Python that the cost
models are written in: anything else is a `TranslationError` that names its line. Names of other libraries are not
followed: what needs one, as symbols need SymPy, raises in the page if it is ever reached.

Integers become JavaScript's numbers: exact up to 2⁵³, right to 15 digits beyond.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import functools
import importlib
import inspect
import itertools
import json
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RUNTIME = Path(__file__).with_suffix(".js")

BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.FloorDiv: "floordiv",
    ast.Mod: "mod",
    ast.Pow: "pow",
    ast.BitOr: "union",
}
PLAIN: dict[type[ast.operator], str] = {ast.Div: "/"}
ORDER = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
# What the runtime has under the same name, with an underscore behind it.
BUILTINS = (
    *("abs", "all", "any", "bool", "dict", "enumerate", "float", "getattr", "hasattr", "int", "isinstance", "len"),
    *("list", "map", "max", "min", "range", "repr", "reversed", "round", "set", "sorted", "str", "sum", "tuple"),
    *("type", "zip", "ValueError", "TypeError", "KeyError", "Exception", "vars"),
)
# Names of other libraries that the runtime has: what of them works on single numbers.
FOREIGN = {
    "math.isfinite": "Number.isFinite",
    "math.floor": "Math.floor",
    "math.ceil": "Math.ceil",
    "math.log2": "Math.log2",
    "math.log10": "Math.log10",
    "numpy.ndarray": "Never",
    "numpy.integer": "Never",
    "numpy.floating": "Never",
    "numpy.bool_": "Never",
    "numpy.any": "truth",
    "numpy.all": "truth",
    "numpy.asarray": "(x => x)",
    "numpy.ndim": "(() => 0)",
    "numpy.divide": "((a, b) => a / b)",
    "numpy.errstate": "(function* () { yield; })",
    "operator.index": "index_",
    "html.escape": "escape_",
    "dataclasses.replace": "replace_",
    "collections.Counter": "counter_",
    "collections.abc.Mapping": "Dict",
    "difflib.get_close_matches": "near_",
}

SPECIAL = ("__post_init__", "__init__", "__mul__", "__rmul__", "__getitem__", "__str__")


class TranslationError(ValueError):
    """A piece of Python that is not translated; the message names its place."""


def translate(name: str, functions: dict[str, Any]) -> str:
    """Write a script that defines one object with functions and tables.

    Args:
        name: of the constant that the script defines.
        functions: functions, dataclasses and tables by the names under which the object has them.

    Returns:
        A script, with everything that they use and the runtime.

    Raises:
        TranslationError: Python that is not known here.

    Example:
        >>> from attnlib.cost.models import model_parameters
        >>> script = translate("COST", {"parameters": model_parameters})
        >>> script.startswith("const COST = (() => {"), "function model_parameters" in script
        (True, False)
    """
    book = Book()
    given = ", ".join(
        f"{key}: {book.table(x, key) if isinstance(x, dict) else book.refer(x)}" for key, x in functions.items()
    )
    while book.waiting:
        book.waiting.pop()()
    body = "\n".join([RUNTIME.read_text(encoding="utf-8"), *book.early, *book.late])
    return f"const {name} = (() => {{\n{body}\nreturn {{{given}, python: {{Dict, toObject}}}};\n}})();\n"


class Book:
    """What has been written so far: functions and classes first, then the tables that are made with them."""

    def __init__(self) -> None:
        self.names: dict[Any, str] = {}
        self.early: list[str] = []
        self.late: list[str] = []
        self.waiting: list[Callable[[], None]] = []

    def refer(self, value: Any) -> str:
        """Return an expression for a Python object, and see to it that what it needs is written."""
        if value is None or isinstance(value, bool | str):
            return json.dumps(value, ensure_ascii=False)
        if isinstance(value, int | float):
            return repr(value)
        if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
            runs = ((self.refer(x), sum(1 for _ in same)) for x, same in itertools.groupby(value))
            return "[" + ", ".join(x if k == 1 else f"...Array({k}).fill({x})" for x, k in runs) + "]"
        if isinstance(value, dict | types.MappingProxyType):
            return f"dict_([{', '.join(f'[{self.refer(k)}, {self.refer(v)}]' for k, v in value.items())}])"
        if isinstance(value, types.UnionType):
            return self.refer(value.__args__)
        if isinstance(value, types.FunctionType):
            return self._named(value, value.__name__, lambda name: self.early.append(self._function(name, value)))
        if isinstance(value, type) and value.__module__.startswith("attnlib"):
            return self._named(value, value.__name__, lambda name: self._class(name, value))
        if dataclasses.is_dataclass(value) or hasattr(value, "_fields"):
            return self._instance(value)
        path = getattr(value, "__module__", None)
        if path in ("builtins", None) and getattr(value, "__name__", None) in BUILTINS:
            return f"{value.__name__}_"
        called = f"{path}.{getattr(value, '__name__', type(value).__name__)}"
        return FOREIGN.get(called, f"absent({json.dumps(called)})")

    def table(self, value: Any, called: str) -> str:
        """Return the name of a dict, list or tuple of a module, which is written once."""
        key = ("table", id(value))
        if key not in self.names:
            text = self.refer(value)
            self.names[key] = f"{called.rsplit('.', 1)[-1]}$${len(self.names)}"
            self.late.append(f"const {self.names[key]} = {text};")
        return self.names[key]

    def _named(self, value: Any, called: str, write: Callable[[str], None]) -> str:
        origin = f"{value.__module__}.{getattr(value, '__qualname__', called)}"
        if not value.__module__.startswith("attnlib"):
            return FOREIGN.get(f"{value.__module__}.{called}", f"absent({json.dumps(origin)})")
        if value not in self.names:
            known = set(self.names.values())
            short = f"{value.__module__.rsplit('.', 1)[-1].strip('_')}${called}"
            name = next(n for i in range(99) if (n := short + "$" * i) not in known)
            self.names[value] = name
            self.waiting.append(lambda: write(name))
        return self.names[value]

    def _instance(self, value: Any) -> str:
        """A dataclass's instance, made once, for frozen ones may be shared, and not checked again."""
        key = (type(value), repr(value))
        if key not in self.names:
            fields = [self.refer(getattr(value, name)) for name in _fields(type(value))]
            self.names[key] = f"made${len(self.names)}"
            made = f"{self.refer(type(value))}.made_([{', '.join(fields)}])"
            self.late.append(f"const {self.names[key]} = {made};")
        return self.names[key]

    def _function(self, name: str, value: Any) -> str:
        source = Source(value)
        return f"const {name} = {Writer(self, source).function(source.node)};"

    def _class(self, name: str, value: type) -> None:
        """A dataclass, a named tuple, or a plain class with __init__."""
        names = _fields(value)
        defaults = {name: self.refer(default) for name, default in _defaults(value).items()}
        methods, getters = [], []
        for key, member in vars(value).items():
            if isinstance(member, functools.cached_property):
                getters.append(f"{key}: once({json.dumps(key)}, {self._method(member.func)})")
            elif isinstance(member, property):
                getters.append(f"{key}: {self._method(member.fget)}")
            elif isinstance(member, types.FunctionType) and member.__module__ == value.__module__:
                # What dataclasses write themselves has no source; what speaks to Python alone is left out.
                if key.startswith("__") and key not in SPECIAL:
                    continue
                if inspect.getsource(value).find(f"def {member.__name__}(") >= 0:
                    methods.append(f"{key}: {self._method(member)}")
        known = ", ".join(f"{key}: {text}" for key, text in defaults.items())
        row = json.dumps(issubclass(value, tuple))
        parts = f"{{{known}}}, {{{', '.join(methods)}}}, {{{', '.join(getters)}}}, {row}"
        self.early.append(f"const {name} = class_({json.dumps(value.__name__)}, {json.dumps(names)}, {parts});")

    def _method(self, member: Any) -> str:
        source = Source(member)
        return Writer(self, source).function(source.node)


class Source:
    """Where a function's text stands, and what names mean in it."""

    def __init__(self, function: Any) -> None:
        function = inspect.unwrap(function)
        lines, self.first = inspect.getsourcelines(function)
        self.file = Path(inspect.getsourcefile(function) or "?").name
        self.node: Any = ast.parse(textwrap.dedent("".join(lines))).body[0]
        self.globals = function.__globals__
        self.cells = inspect.getclosurevars(function).nonlocals

    def look(self, name: str) -> Any:
        """Return what a name means outside of the function."""
        for known in (self.cells, self.globals, vars(builtins)):
            if name in known:
                return known[name]
        raise KeyError(name)


class Writer:
    """Writes one function; `locals` are names that it, or a function around it, gives a value."""

    def __init__(self, book: Book, source: Source, known: frozenset[str] = frozenset()) -> None:
        self.book, self.source, self.locals = book, source, known
        self.modules: dict[str, Any] = {}

    def fail(self, node: ast.AST, what: str = "") -> TranslationError:
        """Return the error for a piece of Python."""
        line = self.source.first + getattr(node, "lineno", 1) - 1
        return TranslationError(f"{self.source.file}:{line}: {what or type(node).__name__} is not translated")

    # ---------------------------------------------------------------- functions

    def function(self, node: Any) -> str:
        """Return a function as an expression: what binds its arguments, and its body."""
        given = node.args
        if given.posonlyargs:
            raise self.fail(node, "a parameter before /")
        positional = [x.arg for x in given.args]
        only = [x.arg for x in given.kwonlyargs]
        star = given.vararg.arg if given.vararg else None
        rest = given.kwarg.arg if given.kwarg else None
        defaults = dict(zip(positional[len(positional) - len(given.defaults) :], given.defaults, strict=True))
        defaults |= {name: x for name, x in zip(only, given.kw_defaults, strict=True) if x is not None}
        for x in defaults.values():
            if {y.id for y in ast.walk(x) if isinstance(y, ast.Name)} & {*positional, *only}:
                raise self.fail(node, "a default with the name of a parameter")
        order = [*positional, *([star] if star else []), *only, *([rest] if rest else [])]
        inner = Writer(self.book, self.source, self.locals | set(order))
        inner.modules = dict(self.modules)
        parameters = ", ".join(
            f"{quoted(x)} = {self.expression(defaults[x])}" if x in defaults else quoted(x) for x in order
        )
        body = [ast.Return(node.body)] if isinstance(node, ast.Lambda) else node.body
        made = _assigned(body)
        inner.locals |= made
        names = ", ".join(quoted(x) for x in sorted(made - set(order)))
        text = (f"let {names};\n" if names else "") + inner.block(body)
        word = "function*" if _yields(body) else ""
        code = f"{word}({parameters}) {'' if word else '=> '}{{\n{text}\n}}"
        spec = [positional, only, bool(star), bool(rest), sorted(defaults)]
        return f"fn({json.dumps(spec)}, {code})"

    def block(self, body: list[ast.stmt]) -> str:
        """Return statements, one a line."""
        return "\n".join(text for node in body if (text := self.statement(node)))

    def statement(self, node: Any) -> str:
        """Return one statement."""
        match node:
            case ast.Expr(ast.Constant()) | ast.Pass():
                return ""
            case ast.Expr(ast.Yield(None)):
                return "yield;"
            case ast.Expr(value):
                return self.expression(value) + ";"
            case ast.Return(value):
                return f"return {'null' if value is None else self.expression(value)};"
            case ast.Assign(targets, value):
                first, *others = targets
                text = f"{self.target(first)} = {self.expression(value)};"
                return text + "".join(f" {self.target(x)} = {self.target(first)};" for x in others)
            case ast.AnnAssign(target, _, value):
                return "" if value is None else f"{self.target(target)} = {self.expression(value)};"
            case ast.AugAssign(target, op, value):
                return (
                    f"{self.target(target)} = {self.binary(op, self.target(target), self.expression(value), node)};"
                )
            case ast.If(test, body, orelse):
                text = f"if ({self.truth(test)}) {{\n{self.block(body)}\n}}"
                return text + (f" else {{\n{self.block(orelse)}\n}}" if orelse else "")
            case ast.For(target, iterated, body, []):
                return f"for ({self.target(target)} of {self.expression(iterated)}) {{\n{self.block(body)}\n}}"
            case ast.While(test, body, []):
                return f"while ({self.truth(test)}) {{\n{self.block(body)}\n}}"
            case ast.Break():
                return "break;"
            case ast.Continue():
                return "continue;"
            case ast.Raise(None):
                return "throw caught;"
            case ast.Raise(error):
                return f"throw {self.expression(error)};"
            case ast.Assert(test):
                return f"if (!({self.truth(test)})) throw new Error('assert');"
            case ast.FunctionDef(name):
                return f"{quoted(name)} = {self.function(node)};"
            case ast.Import(names):
                for x in names:
                    self.modules[x.asname or x.name] = importlib.import_module(x.name)
                return ""
            case ast.ImportFrom(module, names):
                found = importlib.import_module(module or "")
                self.modules |= {x.asname or x.name: getattr(found, x.name) for x in names}
                return ""
            case ast.Try(body, [ast.ExceptHandler(kind, name, handler)], [], []):
                kinds = "true" if kind is None else f"isinstance_(caught, {self.expression(kind)})"
                bound = f"{quoted(name)} = caught;\n" if name else ""
                inside = f"if (!{kinds}) throw caught;\n{bound}{self.block(handler)}"
                return f"try {{\n{self.block(body)}\n}} catch (caught) {{\n{inside}\n}}"
            case ast.With([ast.withitem(call, None)], body):
                inside = self.block(body)
                return (
                    f"{{\nconst around = {self.expression(call)};\naround.next();\n"
                    f"try {{\n{inside}\n}} catch (caught) {{\naround.throw(caught);\nthrow caught;\n}}\n}}"
                )
        raise self.fail(node)

    def target(self, node: Any) -> str:
        """Return what is assigned to."""
        match node:
            case ast.Name(name):
                return quoted(name)
            case ast.Tuple(parts) | ast.List(parts):
                return "[" + ", ".join(map(self.target, parts)) + "]"
            case ast.Starred(value):
                return f"...{self.target(value)}"
            case ast.Attribute(value, name):
                return f"{self.expression(value)}.{name}"
            case ast.Subscript(value, key) if not isinstance(key, ast.Slice):
                return f"slot({self.expression(value)}, {self.expression(key)}).value"
        raise self.fail(node, "this target")

    # ---------------------------------------------------------------- expressions

    def truth(self, node: Any) -> str:
        """Return a test as JavaScript's own truth."""
        match node:
            case ast.BoolOp(op, values):
                return "(" + (" && " if isinstance(op, ast.And) else " || ").join(map(self.truth, values)) + ")"
            case ast.UnaryOp(ast.Not(), value):
                return f"!{self.truth(value)}"
            case ast.Compare():
                return self.expression(node)
        return f"truth({self.expression(node)})"

    def expression(self, node: Any) -> str:
        """Return an expression."""
        match node:
            case ast.Constant(value):
                if isinstance(value, bytes | complex) or value is ...:
                    raise self.fail(node, "this constant")
                return self.book.refer(value)
            case ast.Name(name):
                return self.name(name, node)
            case ast.Attribute(value, name):
                module = self.module(value)
                if module is not None:
                    if not hasattr(module, name):
                        raise self.fail(node, f"{module.__name__}.{name}")
                    return self.global_(getattr(module, name), f"{module.__name__}.{name}")
                if name == "__name__":
                    return f"typename({self.expression(value)})"
                return f"{self.expression(value)}.{name}"
            case ast.Tuple(parts) | ast.List(parts):
                return "[" + ", ".join(map(self.expression, parts)) + "]"
            case ast.Set(parts):
                return "set_([" + ", ".join(map(self.expression, parts)) + "])"
            case ast.Starred(value):
                return f"...{self.expression(value)}"
            case ast.Dict(keys, values):
                pairs = [
                    f"...items({self.expression(v)})"
                    if k is None
                    else f"[{self.expression(k)}, {self.expression(v)}]"
                    for k, v in zip(keys, values, strict=True)
                ]
                return f"dict_([{', '.join(pairs)}])"
            case ast.BinOp(left, op, right):
                return self.binary(op, self.expression(left), self.expression(right), node)
            case ast.UnaryOp(op, value):
                if isinstance(op, ast.Not):
                    return f"!{self.truth(value)}"
                return f"(-{self.expression(value)})" if isinstance(op, ast.USub) else f"(+{self.expression(value)})"
            case ast.BoolOp(op, values):
                word = "and" if isinstance(op, ast.And) else "or"
                first, *others = map(self.expression, values)
                return f"{word}_({first}, {', '.join(f'() => {x}' for x in others)})"
            case ast.Compare(left, ops, others):
                return self.compare([left, *others], ops)
            case ast.IfExp(test, body, orelse):
                return f"({self.truth(test)} ? {self.expression(body)} : {self.expression(orelse)})"
            case ast.Lambda():
                return self.function(node)
            case ast.GeneratorExp(value, loops):
                return self.generator("yield {};", [value], loops)
            case ast.ListComp(value, loops):
                return f"[...{self.generator('yield {};', [value], loops)}]"
            case ast.SetComp(value, loops):
                return f"set_({self.generator('yield {};', [value], loops)})"
            case ast.DictComp(key, value, loops):
                return f"dict_({self.generator('yield [{}, {}];', [key, value], loops)})"
            case ast.JoinedStr(parts):
                return "(" + (" + ".join(['""', *map(self.piece, parts)])) + ")"
            case ast.Subscript(value, ast.Slice(lower, upper, step)):
                ends = ["null" if x is None else self.expression(x) for x in (lower, upper, step)]
                return f"slice({self.expression(value)}, {', '.join(ends)})"
            case ast.Subscript(value, key) if not isinstance(key, ast.Slice):
                return f"at({self.expression(value)}, {self.expression(key)})"
            case ast.Call():
                return self.call(node)
        raise self.fail(node)

    def generator(self, form: str, values: list[Any], loops: list[ast.comprehension]) -> str:
        """Return a comprehension as a generator that runs at once; its names are its own."""
        names = frozenset(x.id for loop in loops for x in ast.walk(loop.target) if isinstance(x, ast.Name))
        inner = Writer(self.book, self.source, self.locals | names)
        inner.modules = self.modules
        text = form.format(*map(inner.expression, values))
        for i, loop in reversed([*enumerate(loops)]):
            for test in reversed(loop.ifs):
                text = f"if ({inner.truth(test)}) {text}"
            # The first thing that is gone through is looked at outside, where its names may mean something else.
            over = "over" if i == 0 else inner.expression(loop.iter)
            text = f"for (const {inner.target(loop.target)} of {over}) {text}"
        return f"(function* (over) {{ {text} }})({self.expression(loops[0].iter)})"

    def piece(self, node: Any) -> str:
        """Return a piece of an f-string."""
        match node:
            case ast.Constant(value):
                return json.dumps(value, ensure_ascii=False)
            case ast.FormattedValue(value, conversion, spec):
                text = self.expression(value)
                if conversion == ord("r"):
                    text = f"repr_({text})"
                elif conversion != -1:
                    raise self.fail(node, "this conversion")
                how = self.expression(spec) if spec else '""'
                return f"format({text}, {how})"
        raise self.fail(node)

    def binary(self, op: ast.operator, left: str, right: str, node: ast.AST) -> str:
        """Return an operation of two values."""
        if type(op) in PLAIN:
            return f"({left} {PLAIN[type(op)]} {right})"
        if isinstance(op, ast.BitAnd):
            return 'absent("&")'  # of arrays
        if type(op) not in BINARY:
            raise self.fail(node, type(op).__name__)
        return f"{BINARY[type(op)]}({left}, {right})"

    def compare(self, values: list[Any], ops: list[ast.cmpop]) -> str:
        """Return comparisons, of which several in a row look at what lies between them once more."""
        texts = [self.expression(x) for x in values]
        found = []
        for left, op, right in zip(texts, ops, texts[1:], strict=False):
            match op:
                case ast.Is() | ast.IsNot():
                    found.append(f"{'' if isinstance(op, ast.Is) else '!'}same({left}, {right})")
                case ast.Eq() | ast.NotEq():
                    found.append(f"{'' if isinstance(op, ast.Eq) else '!'}equal({left}, {right})")
                case ast.In() | ast.NotIn():
                    found.append(f"{'' if isinstance(op, ast.In) else '!'}within({left}, {right})")
                case _:
                    found.append(f"({left} {ORDER[type(op)]} {right})")
        return "(" + " && ".join(found) + ")"

    def call(self, node: ast.Call) -> str:
        """Return a call; keywords go into an object, which the function itself puts in order."""
        given = "[" + ", ".join(map(self.expression, node.args)) + "]"
        named = ", ".join(
            f"...toObject({self.expression(x.value)})" if x.arg is None else f"{x.arg}: {self.expression(x.value)}"
            for x in node.keywords
        )
        if isinstance(node.func, ast.Attribute) and self.module(node.func.value) is None:
            tail = f", {{{named}}}" if named else ""
            return f"method({self.expression(node.func.value)}, {json.dumps(node.func.attr)}, {given}{tail})"
        function = self.expression(node.func)
        return f"bound({function}, {given}, {{{named}}})" if named else f"{function}({given[1:-1]})"

    def name(self, name: str, node: ast.AST) -> str:
        """Return what a name stands for."""
        if name in self.modules:
            return self.global_(self.modules[name], name)
        if name in self.locals:
            return quoted(name)
        try:
            value = self.source.look(name)
        except KeyError:
            raise self.fail(node, f"the name {name}") from None
        return self.global_(value, f"{self.source.globals['__name__']}.{name}")

    def global_(self, value: Any, called: str) -> str:
        """Return a name for an object of a module; tables that are large are written once."""
        if isinstance(value, types.ModuleType):
            return f"absent({json.dumps(value.__name__)})"
        if isinstance(value, dict | list | tuple) and called.startswith("attnlib"):
            return self.book.table(value, called)
        if called in FOREIGN:
            return FOREIGN[called]
        return self.book.refer(value)

    def module(self, node: Any) -> Any:
        """Return the module that an expression names; None for anything else."""
        match node:
            case ast.Name(name):
                if name in self.modules:
                    found = self.modules[name]
                elif name in self.locals:
                    return None
                else:
                    try:
                        found = self.source.look(name)
                    except KeyError:
                        return None
                return found if isinstance(found, types.ModuleType) else None
            case ast.Attribute(value, name):
                outer = self.module(value)
                found = None if outer is None else getattr(outer, name, None)
                return found if isinstance(found, types.ModuleType) else None
        return None


def _fields(kind: type) -> list[str]:
    """Names of what a dataclass or a named tuple holds."""
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return list(getattr(kind, "_fields", ()))


def _defaults(kind: type) -> dict[str, Any]:
    """What its fields hold if nothing is given."""
    if not dataclasses.is_dataclass(kind):
        return dict(getattr(kind, "_field_defaults", {}))
    found = {field.name: field.default for field in dataclasses.fields(kind)}
    found |= {
        field.name: field.default_factory()
        for field in dataclasses.fields(kind)
        if field.default_factory is not dataclasses.MISSING
    }
    return {name: default for name, default in found.items() if default is not dataclasses.MISSING}


def quoted(name: str) -> str:
    """Return a local name: with a mark, so that it is no word of JavaScript and none of the runtime's names."""
    return f"{name}$"


def _assigned(body: list[Any]) -> frozenset[str]:
    """Return the names that statements give a value, without those of functions inside them."""

    def inside(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.FunctionDef):
            yield node.name
            return
        if isinstance(node, ast.Lambda | ast.GeneratorExp | ast.ListComp | ast.SetComp | ast.DictComp):
            return
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        if isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
        for child in ast.iter_child_nodes(node):
            yield from inside(child)

    return frozenset(name for node in body for name in inside(node))


def _yields(body: list[Any]) -> bool:
    return any(isinstance(x, ast.Yield) for node in body for x in ast.walk(node))
