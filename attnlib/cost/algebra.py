"""What a computation costs, as plain arithmetic: named steps that add up, for numbers, arrays and symbols alike."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

Number: TypeAlias = Any
"""A Python integer, a NumPy array (computed in float64) or a SymPy expression."""

BYTES = {
    "float64": 8,
    "float32": 4,
    "bfloat16": 2,
    "float16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
}
"""Bytes of one number of each dtype that has a name here."""


@dataclass(frozen=True)
class Step:
    """One step of a computation and what it costs.

    A multiply-add is 2 FLOPs. An exponential, logarithm or root is one transcendental, not a FLOP. Comparisons that
    pick a maximum are FLOPs; moving, masking and converting numbers are not. Bytes are those of a program that
    runs the step on its own: reads its operands from memory and writes its result back.

    A step is issued in `calls` equal parts, one after another: a loop over blocks makes many small ones, and a
    device's rate depends on how much work a call holds.

    Attributes:
        name: what the step computes.
        matmul_flops: FLOPs in matrix products.
        other_flops: FLOPs outside matrix products.
        transcendentals: calls of exp, log, tanh, ….
        bytes_read: bytes read from memory.
        bytes_written: bytes written to memory.
        sequential: operations on whole arrays that must wait for one another.
        allocated: bytes of results for which the program takes new memory, instead of writing over an operand.
        calls: operations that the program issues one after another to do the step.

    Example:
        >>> Step("scores", matmul_flops=100) * 3
        Step('scores', matmul_flops=300, sequential=3, calls=3)
    """

    name: str
    matmul_flops: Number = 0
    other_flops: Number = 0
    transcendentals: Number = 0
    bytes_read: Number = 0
    bytes_written: Number = 0
    sequential: Number = 1
    allocated: Number = 0
    calls: Number = 1

    __array_ufunc__ = None  # array * step is ours to compute, not NumPy's

    @property
    def flops(self) -> Number:
        """FLOPs in and outside matrix products."""
        return self.matmul_flops + self.other_flops

    def __mul__(self, times: Number) -> Step:
        """Return the step run `times` times, one after the other."""
        if isinstance(times, Cost | Step):
            return NotImplemented
        return replace(self, **{name: times * getattr(self, name) for name in COUNTS})

    __rmul__ = __mul__

    def __repr__(self) -> str:
        fields = [f"{name}={getattr(self, name)}" for name in COUNTS if not _is_zero(getattr(self, name))]
        return f"Step({', '.join([repr(self.name), *fields])})"


SHOWN = ("matmul_flops", "other_flops", "transcendentals", "bytes_read", "bytes_written")
COUNTS = (*SHOWN, "sequential", "allocated", "calls")


@dataclass(frozen=True)
class Cost:
    """The cost of a computation: its steps in order, and what belongs to the whole.

    `a + b` is a, then b. `k * a` is a, k times in a row, with k sets of parameters: a stack of k layers.

    Attributes:
        steps: the steps in order.
        parameters: numbers that are learned.
        live: bytes of the intermediate results that exist at once when most do; inputs, outputs and parameters
            not counted.
        saved: bytes the forward pass keeps for the backward pass, its inputs and parameters included.
        path: layers a signal crosses between the two positions furthest apart; 0 if positions do not meet.

    Example:
        >>> a = Cost((Step("up", matmul_flops=6), Step("down", matmul_flops=6)), parameters=10)
        >>> (a + 2 * a).flops, (2 * a).parameters, a["up"].matmul_flops
        (36, 20, 6)
    """

    steps: tuple[Step, ...] = ()
    parameters: Number = 0
    live: Number = 0
    saved: Number = 0
    path: Number = 0

    __array_ufunc__ = None  # array * cost is ours to compute, not NumPy's

    def _total(self, name: str) -> Number:
        return sum((getattr(step, name) for step in self.steps), start=0)

    @property
    def matmul_flops(self) -> Number:
        """FLOPs in matrix products."""
        return self._total("matmul_flops")

    @property
    def other_flops(self) -> Number:
        """FLOPs outside matrix products."""
        return self._total("other_flops")

    @property
    def flops(self) -> Number:
        """FLOPs in and outside matrix products."""
        return self._total("flops")

    @property
    def transcendentals(self) -> Number:
        """Calls of exp, log, tanh, …."""
        return self._total("transcendentals")

    @property
    def bytes_read(self) -> Number:
        """Bytes read from memory when every step runs on its own."""
        return self._total("bytes_read")

    @property
    def bytes_written(self) -> Number:
        """Bytes written to memory when every step runs on its own."""
        return self._total("bytes_written")

    @property
    def sequential(self) -> Number:
        """Operations on whole arrays that must wait for one another."""
        return self._total("sequential")

    def __getitem__(self, name: str) -> Step:
        """Return the step of that name."""
        return named_step(self.steps, name)

    def __add__(self, other: Cost) -> Cost:
        """Return the cost of this, then the other."""
        if not isinstance(other, Cost):
            return NotImplemented
        return Cost(
            steps=self.steps + other.steps,
            parameters=self.parameters + other.parameters,
            live=largest(self.live, other.live),
            saved=self.saved + other.saved,
            path=_shorter_path(self.path, other.path),
        )

    def __mul__(self, times: Number) -> Cost:
        """Return the cost of `times` runs in a row, each with its own parameters."""
        if isinstance(times, Cost | Step):
            return NotImplemented
        times = size("Cost.__mul__", "times", times)
        return Cost(
            steps=tuple(step * times for step in self.steps),
            parameters=times * self.parameters,
            live=self.live,
            saved=times * self.saved,
            path=self.path,
        )

    __rmul__ = __mul__

    def __str__(self) -> str:
        """Return a text table of the steps and their total."""
        head = ("step", "matmul FLOPs", "other FLOPs", "transcendentals", "bytes read", "bytes written")
        total = Step("total", *(self._total(name) for name in COUNTS))
        rows = [head] + [(s.name, *(_show(getattr(s, name)) for name in SHOWN)) for s in (*self.steps, total)]
        widths = [max(len(row[c]) for row in rows) for c in range(len(head))]
        return "\n".join(
            "  ".join([row[0].ljust(widths[0]), *(x.rjust(w) for x, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        )


S = TypeVar("S", bound=Any)  # a step of any kind: it has a name


def named_step(steps: tuple[S, ...], name: str) -> S:
    """Return the step of that name, or raise and list the names there are."""
    for step in steps:
        if step.name == name:
            return step
    raise KeyError(f"no step {name!r}; steps: {', '.join(step.name for step in steps)}")


def size(function: str, name: str, value: Any) -> Number:
    """Return a size as a number the formulas can use, or raise.

    Python and NumPy integers become Python integers, which never overflow. Arrays become float64, exact up to
    2⁵³ and rounded to 16 digits beyond, where int64 would wrap around in silence. SymPy expressions pass.

    Example:
        >>> size("f", "n", 3), size("f", "n", [1, 2])
        (3, array([1., 2.]))
        >>> size("f", "n", 0)
        Traceback (most recent call last):
        ...
        ValueError: f: n: expected a whole number of at least 1, got 0
    """
    if symbolic(value):
        if value.free_symbols:
            return value
        value = int(value) if value.is_integer else str(value)
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim):
        try:
            array = np.asarray(value)
        except ValueError:  # lists of different lengths
            array = np.asarray(None)
        if array.dtype.kind not in "iuf" or array.size == 0:
            raise ValueError(f"{function}: {name}: expected an array of whole numbers, got {value!r}")
        array = array.astype(np.float64)
        if not np.all((array >= 1) & (array == np.floor(array)) & np.isfinite(array)):
            raise ValueError(f"{function}: {name}: expected whole numbers of at least 1, got {value!r}")
        return array
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{function}: {name}: expected a whole number of at least 1, got {value!r}") from None
    if number < 1:
        raise ValueError(f"{function}: {name}: expected a whole number of at least 1, got {number}")
    return number


def symbolic(*values: Number) -> bool:
    """Return whether any of the numbers is a SymPy expression."""
    return any(hasattr(x, "free_symbols") for x in values)


def parts(length: Number, block: Number) -> Number:
    """Return how many blocks a length is cut into, the rest of the division one of them; symbols: without a rest."""
    return length / block if symbolic(length, block) else -(-length // block)


def quotient(function: str, part_name: str, part: Number, whole_name: str, whole: Number) -> Number:
    """Return whole / part, or raise when they are numbers and part does not divide whole."""
    if symbolic(part, whole):
        return whole / part
    if np.any(np.asarray(whole % part)):
        raise ValueError(f"{function}: {part_name}: expected a divisor of {whole_name} = {whole}, got {part}")
    return whole // part


class Sizes(NamedTuple):
    """The sizes of attention in heads.

    Attributes:
        n: queries.
        d_k: width of a head's queries and keys.
        m: keys.
        d_v: width of a head's values.
        h: query heads.
        h_kv: key and value heads, a divisor of h.
        batch: sequences.

    Example:
        >>> Sizes(n=5, d_k=4, m=6, d_v=3, h=8, h_kv=2, batch=1).arrays
        (160, 48, 36, 120)
    """

    n: Number
    d_k: Number
    m: Number
    d_v: Number
    h: Number
    h_kv: Number
    batch: Number

    @property
    def arrays(self) -> tuple[Number, Number, Number, Number]:
        """How many numbers q, k, v and the output hold."""
        queries, keys = self.batch * self.h * self.n, self.batch * self.h_kv * self.m
        return queries * self.d_k, keys * self.d_k, keys * self.d_v, queries * self.d_v


def attention_sizes(
    function: str,
    n: Number,
    d_k: Number,
    m: Number | None,
    d_v: Number | None,
    h: Number,
    h_kv: Number | None,
    batch: Number,
) -> Sizes:
    """Return the sizes of attention in heads, checked, with their defaults: m = n, d_v = d_k, h_kv = h.

    Example:
        >>> attention_sizes("f", 5, 4, None, None, 8, 2, 1)
        Sizes(n=5, d_k=4, m=5, d_v=4, h=8, h_kv=2, batch=1)
    """
    n, d_k = size(function, "n", n), size(function, "d_k", d_k)
    m = n if m is None else size(function, "m", m)
    d_v = d_k if d_v is None else size(function, "d_v", d_v)
    h, batch = size(function, "h", h), size(function, "batch", batch)
    h_kv = h if h_kv is None else size(function, "h_kv", h_kv)
    quotient(function, "h_kv", h_kv, "h", h)
    return Sizes(n, d_k, m, d_v, h, h_kv, batch)


def itemsize(function: str, dtype: Any) -> int:
    """Return the bytes of one number of `dtype`, given by name or as a NumPy or JAX dtype.

    Example:
        >>> itemsize("f", "bfloat16"), itemsize("f", np.float32)
        (2, 4)
    """
    name = dtype_name(dtype)
    if name not in BYTES:
        raise ValueError(f"{function}: dtype: expected one of {', '.join(BYTES)}, got {name!r}")
    return BYTES[name]


def itemsizes(function: str, dtype: Any) -> tuple[int, int]:
    """Return the bytes of one number of `dtype`, and those of one score or sum: float32 at least.

    Example:
        >>> itemsizes("f", "bfloat16"), itemsizes("f", "float64")
        ((2, 4), (8, 8))
    """
    narrow = itemsize(function, dtype)
    return narrow, max(narrow, BYTES["float32"])


def dtype_name(dtype: Any) -> str:
    """Return the name of a dtype, given by name or as a NumPy or JAX dtype."""
    return dtype if isinstance(dtype, str) else getattr(dtype, "name", getattr(dtype, "__name__", repr(dtype)))


def largest(a: Number, b: Number) -> Number:
    """Return the larger of two counts, elementwise for arrays, `sympy.Max` for symbols."""
    if symbolic(a, b):
        import sympy

        return sympy.Max(a, b)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.maximum(a, b)
    return max(a, b)


def smallest(a: Number, b: Number) -> Number:
    """Return the smaller of two counts, elementwise for arrays, `sympy.Min` for symbols."""
    if symbolic(a, b):
        import sympy

        return sympy.Min(a, b)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.minimum(a, b)
    return min(a, b)


def _shorter_path(a: Number, b: Number) -> Number:
    """Two layers in a row connect positions as the better of them does; 0 means that positions do not meet."""
    if _is_zero(a):
        return b
    return a if _is_zero(b) else smallest(a, b)


def _is_zero(value: Number) -> bool:
    return not isinstance(value, np.ndarray) and bool(value == 0)


def _show(value: Number) -> str:
    """Write a count on one line: long arrays by their ends."""
    if isinstance(value, np.ndarray):
        return np.array2string(value, max_line_width=10**6, threshold=4, edgeitems=2)
    return f"{value:,}" if isinstance(value, int) else str(value)


def product_backward(step: Step) -> Step:
    """Two products for one: a matrix product y = x w needs dx = dy wᵀ and dw = xᵀ dy."""
    return Step(
        f"{step.name}, backward",
        2 * step.matmul_flops,
        bytes_read=2 * step.bytes_written + step.bytes_read,
        bytes_written=step.bytes_read,
        allocated=step.bytes_read,
        calls=2 * step.calls,
    )
