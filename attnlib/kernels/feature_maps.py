"""Feature maps of linear attention: non-negative functions φ, row by row, for `linear_attention(feature_map=…)`."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from attnlib import _arrays, _check

AnyArray = Array | np.ndarray


def elu_plus_one(x: Float[AnyArray, "..."]) -> Float[Array, "..."]:
    """Return elu(x) + 1, the map of the linear transformer: positive wherever e^x does not underflow.

    φ(x) = x + 1 where x > 0, else e^x

    Args:
        x: any array of floats.

    Returns:
        Array of x's shape and dtype.

    Raises:
        ValueError: x is not an array of floats.

    Cost: one exponential for each number; as many features as numbers.

    Source: Katharopoulos et al. (2020), equation 7.

    Example:
        >>> import jax.numpy as jnp
        >>> print(elu_plus_one(jnp.array([0.0, 2.0])))
        [1. 3.]
    """
    _arrays.floating("feature_maps.elu_plus_one", x=x)
    x = jnp.asarray(x)
    positive = x > 0
    return jnp.where(positive, x + 1, jnp.exp(jnp.where(positive, jnp.zeros((), x.dtype), x)))


def relu(x: Float[AnyArray, "..."]) -> Float[Array, "..."]:
    """Return max(0, x): a query gives no weight to a key with which it shares no positive number.

    φ(x) = max(0, x)

    Where a query shares none with any key that it sees, its weights add up to 0, and `linear_attention` returns
    zeros.

    Args:
        x: any array of floats.

    Returns:
        Array of x's shape and dtype.

    Raises:
        ValueError: x is not an array of floats.

    Cost: one comparison for each number; as many features as numbers.

    Source: Choromanski et al. (2021), with a projection; Qin et al. (2022).

    Example:
        >>> import jax.numpy as jnp
        >>> print(relu(jnp.array([-1.0, 2.0])))
        [0. 2.]
    """
    _arrays.floating("feature_maps.relu", x=x)
    return jax.nn.relu(x)  # whose slope at 0 is 0; that of a maximum is ½


def squared_relu(x: Float[AnyArray, "..."]) -> Float[Array, "..."]:
    """Return max(0, x)²: as `relu`, with a derivative that does not jump, and more weight on the largest features.

    φ(x) = max(0, x)²

    Args:
        x: any array of floats.

    Returns:
        Array of x's shape and dtype.

    Raises:
        ValueError: x is not an array of floats.

    Cost: one comparison and one product for each number; as many features as numbers.

    Source: So et al. (2021), as the activation of a feed-forward layer.

    Example:
        >>> import jax.numpy as jnp
        >>> print(squared_relu(jnp.array([-1.0, 3.0])))
        [0. 9.]
    """
    _arrays.floating("feature_maps.squared_relu", x=x)
    x = jax.nn.relu(x)
    return x * x


def cosine_reweighting(
    q: Float[AnyArray, "*bq n d"],
    k: Float[AnyArray, "*bk m d"],
    length: int,
    *,
    start: int | Int[Array, ""] = 0,
) -> tuple[Float[Array, "*bq n twice"], Float[Array, "*bk m twice"]]:
    """Turn queries and keys into features whose products fade with the distance, as cosFormer's do.

    φ(q_i)·ψ(k_j) = relu(q_i)·relu(k_j) cos(π/2 · (i + m − n − j)/length)

    Each number becomes two features, because cos(a − b) = cos a cos b + sin a sin b. All are non-negative, so
    `linear_attention` with `feature_map=relu`, which leaves them as they are, computes cosFormer's attention from the
    two results and v. The last query stands beside the last key. The weights depend on `length` and on distances, not
    on n or m: state and steps of `linear_attention` work with d_k = 2d.

    Args:
        q: queries, shape (..., n, d).
        k: keys, shape (..., m, d).
        length: the distance at which the weight is 0; at least as many as there are positions.
        start: positions before the first of these, for steps: those of all earlier calls. It may be traced.

    Returns:
        Features of q (..., n, 2d) and of k (..., m, 2d), in their dtypes.

    Raises:
        ValueError: q or k is not an array of floats with two axes, d differs, a length that is not a positive
            integer or less than the positions, a start below 0.

    Cost: 2 products for each number, a cosine and a sine for each position; twice as many features as numbers.

    Source: Qin et al. (2022).

    Example:
        >>> import jax.numpy as jnp
        >>> q, k = cosine_reweighting(jnp.ones((3, 1)), jnp.ones((3, 1)), 4)
        >>> print((q @ k.T)[0].round(3))  # cos 0, cos π/8, cos π/4
        [1.    0.924 0.707]
    """
    name = "feature_maps.cosine_reweighting"
    _arrays.floating(name, q=q, k=k)
    _check.rank_at_least(name, 2, "(..., n, d)", q=q, k=k)
    _check.same_axis(name, -1, "d", q=q, k=k)
    _check.positive_int(name, length=length)
    n, m = q.shape[-2], k.shape[-2]
    if isinstance(start, int):
        _check.at_least(name, 0, start=start)
    elif not (hasattr(start, "dtype") and jnp.issubdtype(start.dtype, jnp.integer) and start.shape == ()):
        raise ValueError(f"{name}: start: expected an integer of at least 0, or an array of one, got {start!r}")
    positions = max(n, m) + (start if isinstance(start, int) else 0)
    if length < positions:
        raise ValueError(f"{name}: length: expected at least the {positions} positions there are, got {length}")
    return _on_a_quarter(q, max(0, m - n), start, length), _on_a_quarter(k, max(0, n - m), start, length)


def _on_a_quarter(x: Any, before: int, start: Any, length: int) -> Array:
    """Return relu(x) times the cosine and the sine of its positions' angles, which are those of a quarter turn."""
    x = jnp.asarray(x)
    angle = (before + start + jnp.arange(x.shape[-2])).astype(_arrays.wide(x)) * (math.pi / 2 / length)
    turn = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1).reshape((1,) * (x.ndim - 2) + (-1, 2))
    a = jax.nn.relu(x)
    return jnp.concatenate([a * turn[..., :1].astype(x.dtype), a * turn[..., 1:].astype(x.dtype)], axis=-1)
