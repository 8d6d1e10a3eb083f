"""What every kernel does to the arrays of its heads."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array


def lift(x: Array, rank: int) -> Array:
    """Add leading axes of length 1 up to `rank`."""
    return x.reshape((1,) * (rank - x.ndim) + x.shape)


def good(x: Array) -> Array:
    """Which rows of x hold neither NaN nor infinity."""
    return jnp.isfinite(x).all(axis=-1)


def bad(x: Array) -> Array:
    """Which rows of x hold a NaN or an infinity."""
    return ~good(x)


def finite(x: Array) -> Array:
    """Zeros in place of NaN and infinity: 0 · NaN is NaN, so that a weight of zero does not hide one."""
    return jnp.where(jnp.isfinite(x), x, 0)
