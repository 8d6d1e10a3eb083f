"""Monomials of degree at most p: which there are, and a program that makes them."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attnlib.kernels._sums import once


class Table(NamedTuple):
    """Monomials x^α without their exponents, degree by degree."""

    parent: np.ndarray
    variable: np.ndarray
    degree: np.ndarray
    weight: np.ndarray  # 1/α!
    factorial: tuple[int, ...]


@lru_cache(maxsize=32)
def table(d: int, order: int) -> Table:
    """Degree a + 1 is x_i times the monomials of degree a that use no variable before i, for i = 0, 1, …"""
    parent, variable, degree, factorial = [np.array([-1])], [np.array([-1])], [np.array([0])], [1]
    first, run, base, offset = np.array([d]), [0], [1], 0  # of the degree before: first variable, its exponent, α!
    for a in range(1, order + 1):
        # The constant has no variable: everything multiplies it.
        starts = [0] * d if a == 1 else [int(np.searchsorted(first, i)) for i in range(d)]
        rows = np.concatenate([np.arange(s, len(first)) for s in starts])
        var = np.concatenate([np.full(len(first) - s, i) for i, s in enumerate(starts)])
        same = first[rows] == var
        run = [run[j] + 1 if same[c] else 1 for c, j in enumerate(rows)]
        base = [base[j] * run[c] for c, j in enumerate(rows)]
        parent.append(rows + offset)
        offset += len(first)
        variable.append(var)
        degree.append(np.full(len(rows), a))
        factorial += base
        first = var
    exact = tuple(factorial)
    weight = np.array([1 / f for f in exact])
    return Table(np.concatenate(parent), np.concatenate(variable), np.concatenate(degree), weight, exact)


def evaluate(x: Array, order: int, weighted: bool = False) -> Array:
    """Return the monomials (D, c) of the columns of x (d, c), or those over α!: a shorter one times a variable.

    Rows that one degree needs are gathered whole, c neighbouring numbers each. Those of degree below a come along,
    times 1, so that each degree is one pass over memory.
    """
    made = table(len(x), order)
    x = once(jnp.concatenate([jnp.ones_like(x[:1]), x]))
    y = x if order else x[:1]
    for a in range(2, order + 1):
        count = int(np.searchsorted(made.degree, a, side="right"))
        new = made.degree[:count] == a
        y = _take(y, np.where(new, made.parent[:count], np.arange(count)))
        y = y * _take(x, np.where(new, made.variable[:count] + 1, 0))
        y = once(y) if a < order else y
    return y * jnp.asarray(made.weight[:, None], x.dtype) if weighted and order > 1 else y


def _take(x: Array, rows: np.ndarray) -> Array:
    return x.at[rows].get(mode="promise_in_bounds")
