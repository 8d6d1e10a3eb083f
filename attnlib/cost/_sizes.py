"""What a cost model is told and computes with: sizes and dtypes, checked; integers, arrays and symbols alike."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple, TypeAlias

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
