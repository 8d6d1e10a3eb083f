"""How parameters are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def draw(key: Array, shapes: Mapping[str, tuple[tuple[int, ...], int]], dtype: Any) -> dict[str, Array]:
    """Draw parameters of given shapes and fans-in, by name: normal, with variance one over the fan-in."""
    keys = jax.random.split(key, len(shapes))
    return {
        name: jax.random.normal(one, shape, dtype) * jnp.asarray(fan_in**-0.5, dtype)
        for one, (name, (shape, fan_in)) in zip(keys, shapes.items(), strict=True)
    }
