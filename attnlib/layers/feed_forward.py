"""The position-wise feed-forward layer: what attention is compared with inside a Transformer layer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from attnlib import _arrays, _check
from attnlib.layers._draw import draw

Params = dict[str, Array]


def init_feed_forward(key: Array, d: int, *, d_ff: int | None = None, dtype: DTypeLike = jnp.float32) -> Params:
    """Draw the two matrices of a feed-forward layer: normal, with variance one over the fan-in.

    Args:
        key: PRNG key.
        d: model width.
        d_ff: inner width; 4d by default.
        dtype: floating dtype of the parameters.

    Returns:
        A dict of w_1 (d, d_ff) and w_2 (d_ff, d); no biases.

    Raises:
        ValueError: a size that is not a positive integer, or a dtype that is not floating.

    Cost: 2·d·d_ff numbers: 8d² with the default.

    Source: Vaswani et al. (2017), section 3.3.

    Example:
        >>> import jax
        >>> {name: w.shape for name, w in init_feed_forward(jax.random.key(0), 3).items()}
        {'w_1': (3, 12), 'w_2': (12, 3)}
    """
    name = "init_feed_forward"
    _arrays.prng_key(name, key)
    _check.positive_int(name, d=d)
    d_ff = 4 * d if d_ff is None else d_ff
    _check.positive_int(name, d_ff=d_ff)
    _arrays.floating_dtype(name, dtype)
    return draw(key, {"w_1": ((d, d_ff), d), "w_2": ((d_ff, d), d_ff)}, dtype)


def feed_forward(params: Params, x: Float[Array | np.ndarray, "*b n d"]) -> Float[Array, "*b n d"]:
    """Apply the same two-layer network to every position: max(0, x W_1) W_2.

    Args:
        params: w_1 (d, d_ff) and w_2 (d_ff, d), as `init_feed_forward` returns them.
        x: positions, shape (..., n, d), any floating dtype.

    Returns:
        Array (..., n, d) in x's dtype. Positions do not meet: out_i depends on x_i alone.

    Raises:
        ValueError: a missing or misshapen parameter, an x of wrong rank, width or dtype.

    Cost: `cost.feed_forward(n, d)`: 16nd² FLOPs in matrix products with the default inner width.

    Source: Vaswani et al. (2017), equation 2, without biases.

    Example:
        >>> import jax.numpy as jnp
        >>> params = {"w_1": jnp.array([[1.0, -1.0]]), "w_2": jnp.array([[1.0], [1.0]])}
        >>> print(feed_forward(params, jnp.array([[-3.0], [2.0]])))  # the absolute value
        [[3.]
         [2.]]
    """
    name = "feed_forward"
    _arrays.floating(name, x=x)
    _check.rank_at_least(name, 2, "(..., n, d)", x=x)
    _arrays.params(name, params, ["w_1", "w_2"])
    d, w_1, w_2 = x.shape[-1], params["w_1"], params["w_2"]
    if w_1.ndim != 2 or w_1.shape[0] != d:
        raise ValueError(f"{name}: w_1: expected shape ({d}, d_ff), got {w_1.shape}")
    if w_2.shape != w_1.shape[::-1]:
        raise ValueError(f"{name}: w_2: expected shape {w_1.shape[::-1]}, got {w_2.shape}")
    x = jnp.asarray(x)
    return jax.nn.relu(x @ w_1.astype(x.dtype)) @ w_2.astype(x.dtype)
