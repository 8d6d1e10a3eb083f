"""What every kernel does to the arrays of its heads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

Index = tuple[tuple[int, ...], ...]
"""For each argument, which of its arrays each head reads."""


def lift(x: Array, rank: int) -> Array:
    """Add leading axes of length 1 up to `rank`."""
    return x.reshape((1,) * (rank - x.ndim) + x.shape)


def by_state(q: Array, *shared: Array) -> tuple[Array, tuple[Array, ...], Callable[[Array], Array]]:
    """Sort the leading axes of arrays of one rank: a head is what shares a state, with all arrays but the queries.

    Return q (heads, g, n, d), where g counts what only queries have, the others (heads, m, d), and a function that
    gives outputs (heads, g, n, d_v) their shape.
    """
    lead = np.broadcast_shapes(*(x.shape[:-2] for x in shared))
    group = [a for a, size in enumerate(lead) if size == 1 and q.shape[a] > 1]
    order = (*(a for a in range(len(lead)) if a not in group), *group, len(lead), len(lead) + 1)
    whole, heads = np.broadcast_shapes(lead, q.shape[:-2]), math.prod(lead)
    rows = jnp.broadcast_to(q, (*whole, *q.shape[-2:])).transpose(order)
    own = tuple(jnp.broadcast_to(x, (*lead, *x.shape[-2:])).reshape(heads, *x.shape[-2:]) for x in shared)

    def restore(o: Array) -> Array:
        return o.reshape(*rows.shape[:-1], o.shape[-1]).transpose(np.argsort(order))

    return rows.reshape(heads, -1, *q.shape[-2:]), own, restore


def good(x: Array) -> Array:
    """Which rows of x hold neither NaN nor infinity."""
    return jnp.isfinite(x).all(axis=-1)


def bad(x: Array) -> Array:
    """Which rows of x hold a NaN or an infinity."""
    return ~good(x)


def finite(x: Array) -> Array:
    """Zeros in place of NaN and infinity: 0 · NaN is NaN, so that a weight of zero does not hide one."""
    return jnp.where(jnp.isfinite(x), x, 0)


def share(leads: Sequence[tuple[int, ...]]) -> Index:
    """Number the heads, and say which array each reads of each argument, given the leading axes of all."""
    every = np.broadcast_shapes(*leads)
    numbers = (np.arange(math.prod(lead)).reshape(lead) for lead in leads)
    return tuple(tuple(np.broadcast_to(x, every).ravel().tolist()) for x in numbers)


def at(x: Array, i: Array) -> Array:
    """Return x[i], for an i that is known to exist; the only one without asking."""
    return x[0] if len(x) == 1 else jax.lax.dynamic_index_in_dim(x, i, keepdims=False)


def each_head(
    fn: Callable[[Array, Any], tuple[Any, tuple[Array, ...]]], index: Index, xs: Any, totals: Sequence[Array] = ()
) -> tuple[Any, tuple[Array, ...]]:
    """Run fn(where, x) → (out, parts) for every head.

    One after the other on CPU, whose caches hold what one head works on; all at once on other devices. `where` says
    which array of each argument in `index` the head reads, x is its share of xs along the first axis. What is `out`
    is stacked. parts[i] is what the head adds to the gradient of argument i: it is added up in totals[i] where heads
    share it (stacked first, it would take the memory of one copy for each head).
    """
    heads = len(index[0]) if index else len(jax.tree.leaves(xs)[0])
    where = jnp.asarray(np.reshape(index, (len(index), heads)).T, jnp.int32)
    if heads == 1:
        one: tuple[Any, tuple[Array, ...]] = jax.tree.map(
            lambda x: x[None], fn(where[0], jax.tree.map(lambda x: x[0], xs))
        )
        return one
    shared = [len(set(i)) < heads for i in index[: len(totals)]]

    if jax.default_backend() != "cpu":
        out, parts = jax.vmap(fn)(where, xs)
        return out, tuple(
            total.at[where[:, i]].add(part) if shared[i] else part
            for i, (total, part) in enumerate(zip(totals, parts, strict=True))
        )

    def step(sums: tuple[Any, ...], here: Any) -> tuple[tuple[Any, ...], Any]:
        out, parts = fn(*here)
        sums = tuple(
            None if a is None else _add(a, part, here[0][i])
            for i, (a, part) in enumerate(zip(sums, parts, strict=True))
        )
        return sums, (out, [None if one else part for one, part in zip(shared, parts, strict=True)])

    start = tuple(total if one else None for one, total in zip(shared, totals, strict=True))
    sums, (out, stacks) = jax.lax.scan(step, start, (where, xs))
    return out, tuple(b if a is None else a for a, b in zip(sums, stacks, strict=True))


def _add(total: Array, part: Array, i: Array) -> Array:
    """Add `part` to total[i]."""
    new: Array = jax.lax.dynamic_update_index_in_dim(total, at(total, i) + part, i, 0)
    return new
