"""Rows in chunks, chunks in halves: what a kernel does that computes no hidden pair."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array


def parts(xs: tuple[Array, ...], own: int, chunk: int) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Return the chunks of all rows but the last `own`, and of those."""
    earlier = len(xs[0]) - own
    return cut(tuple(x[:earlier] for x in xs), chunk), cut(tuple(x[earlier:] for x in xs), chunk)


def cut(xs: tuple[Array, ...], chunk: int) -> tuple[Array, ...]:
    """Cut rows (..., n, d) into chunks (n/c, ..., c, d), with zeros to fill the last one: they change no sum."""
    n = xs[0].shape[-2]
    c = max(1, min(n, chunk))

    def split(x: Array) -> Array:
        x = fill(x, -n % c)
        return jnp.moveaxis(x.reshape(*x.shape[:-2], -(-n // c), c, x.shape[-1]), -3, 0)

    return tuple(map(split, xs))


def fill(x: Array, rows: int, value: float = 0.0) -> Array:
    """Add rows of zeros, or of another value, below x (..., n, d)."""
    return jnp.pad(x, [*[(0, 0)] * (x.ndim - 2), (0, rows), (0, 0)], constant_values=value)


def rows(x: Array, n: int) -> Array:
    """Put chunks (n/c, ..., c, d) together: the n rows (..., n, d) that they were made of."""
    x = jnp.moveaxis(x, 0, -3)
    return x.reshape(*x.shape[:-3], -1, x.shape[-1])[..., :n, :]


def sizes(c: int) -> list[int]:
    """Halves of c rows, of halves of them, …: 1, 2, 4, … below c."""
    return [2**i for i in range((c - 1).bit_length())]


def pairs(x: Array, size: int, value: float = 0.0) -> Array:
    """Cut rows (..., c, d) into pairs of halves, (..., pairs, 2, size, d); zeros fill the last, or another value."""
    x = fill(x, -x.shape[-2] % (2 * size), value)
    return x.reshape(*x.shape[:-2], -1, 2, size, x.shape[-1])


def first(x: Array, c: int) -> Array:
    """Put (..., pairs, size, d) into the first halves of c rows, zeros into the second."""
    return _join(jnp.stack([x, jnp.zeros_like(x)], axis=-3), c)


def second(x: Array, c: int) -> Array:
    """Put (..., pairs, size, d) into the second halves of c rows, zeros into the first."""
    return _join(jnp.stack([jnp.zeros_like(x), x], axis=-3), c)


def _join(x: Array, c: int) -> Array:
    return x.reshape(*x.shape[:-4], -1, x.shape[-1])[..., :c, :]
