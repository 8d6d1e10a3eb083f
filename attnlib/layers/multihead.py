"""Multi-head attention: projections in, softmax attention in every head, projection out."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from attnlib import _arrays, _check
from attnlib.kernels.softmax import attention
from attnlib.layers._draw import draw

Params = dict[str, Array]
AnyArray = Array | np.ndarray


def init_multihead_attention(
    key: Array,
    d: int,
    h: int,
    *,
    h_kv: int | None = None,
    d_k: int | None = None,
    d_v: int | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Params:
    """Draw the projections of a multi-head layer: normal, with variance one over the fan-in.

    Args:
        key: PRNG key.
        d: model width.
        h: number of query heads.
        h_kv: number of key and value heads: h by default, 1 for multi-query, a divisor of h for grouped queries.
        d_k: width of a head's queries and keys; d/h by default.
        d_v: width of a head's values; d_k by default.
        dtype: floating dtype of the parameters.

    Returns:
        A dict of w_q (h, d, d_k), w_k (h_kv, d, d_k), w_v (h_kv, d, d_v), w_o (h, d_v, d); no biases.

    Raises:
        ValueError: a size that is not a positive integer, heads that do not divide, a dtype that is not floating.

    Cost: d(h·d_k + h_kv·d_k + h_kv·d_v + h·d_v) numbers: 4d² with the defaults.

    Source: Vaswani et al. (2017), section 3.2.2; grouped queries: Ainslie et al. (2023).

    Example:
        >>> import jax
        >>> params = init_multihead_attention(jax.random.key(0), d=8, h=4, h_kv=2)
        >>> {name: w.shape for name, w in params.items()}
        {'w_q': (4, 8, 2), 'w_k': (2, 8, 2), 'w_v': (2, 8, 2), 'w_o': (4, 2, 8)}
    """
    name = "init_multihead_attention"
    _arrays.prng_key(name, key)
    h_kv = h if h_kv is None else h_kv
    _check.positive_int(name, d=d, h=h, h_kv=h_kv)
    _check.divides(name, "h_kv", h_kv, "h", h)
    d_k = _check.divides(name, "h", h, "d", d) if d_k is None else d_k
    d_v = d_k if d_v is None else d_v
    _check.positive_int(name, d_k=d_k, d_v=d_v)
    _arrays.floating_dtype(name, dtype)
    inward = {"w_q": ((h, d, d_k), d), "w_k": ((h_kv, d, d_k), d), "w_v": ((h_kv, d, d_v), d)}
    return draw(key, inward | {"w_o": ((h, d_v, d), h * d_v)}, dtype)


def multihead_attention(
    params: Params,
    x: Float[AnyArray, "*b n d"],
    *,
    memory: Float[AnyArray, "*b m d"] | None = None,
    causal: bool = False,
    mask: Bool[AnyArray, "..."] | None = None,
    scale: float | Float[Array, ""] | None = None,
) -> Float[Array, "*b n d"]:
    """Project x to h heads, attend in each, and project the heads back to the width of x.

    out = Σ_i attention(x W_q[i], z W_k[⌊i/g⌋], z W_v[⌊i/g⌋]) W_o[i],   z = memory or x,   g = h/h_kv

    Args:
        params: w_q (h, d, d_k), w_k (h_kv, d, d_k), w_v (h_kv, d, d_v), w_o (h, d_v, d), as
            `init_multihead_attention` returns them.
        x: positions, shape (..., n, d), any floating dtype.
        memory: what the keys and values are made of, shape (..., m, d), for cross-attention; x by default.
        causal: as in `attention`.
        mask: boolean, True = may attend, broadcastable to (..., h, n, m).
        scale: as in `attention`.

    Returns:
        Array (..., n, d) in x's dtype.

    Raises:
        ValueError: a missing or misshapen parameter, heads that do not divide, and what `attention` raises.

    Cost: `cost.multihead_attention(n, d, h)`: 8nd² + 4n²d FLOPs in matrix products with the default widths.

    Source: Vaswani et al. (2017), section 3.2.2.

    Example:
        >>> import jax
        >>> params = init_multihead_attention(jax.random.key(0), d=8, h=2)
        >>> multihead_attention(params, jax.numpy.ones((5, 8))).shape
        (5, 8)
    """
    name = "multihead_attention"
    z = x if memory is None else memory
    _arrays.floating(name, x=x, memory=z)
    _check.rank_at_least(name, 2, "(..., n, d)", x=x, memory=z)
    if z.shape[:-2] != x.shape[:-2] or z.shape[-1] != x.shape[-1]:
        raise ValueError(f"{name}: memory: expected shape (*{tuple(x.shape[:-2])}, m, {x.shape[-1]}), got {z.shape}")
    h, h_kv = check_parameters(name, params, x)
    x, z = jnp.asarray(x), jnp.asarray(z)
    g = h // h_kv
    *b, n, _ = x.shape
    m = z.shape[-2]
    _arrays.boolean_mask(name, mask, (*b, h, n, m))
    w_q, w_k, w_v, w_o = (params[w].astype(x.dtype) for w in ("w_q", "w_k", "w_v", "w_o"))
    # Query head i shares the keys of head ⌊i/g⌋: an axis of length 1 stands for the group, nothing is repeated.
    q = jnp.einsum("...nd,hdk->...hnk", x, w_q).reshape(*b, h_kv, g, n, -1)
    k = jnp.einsum("...md,hdk->...hmk", z, w_k).reshape(*b, h_kv, 1, m, -1)
    v = jnp.einsum("...md,hdk->...hmk", z, w_v).reshape(*b, h_kv, 1, m, -1)
    if mask is not None:
        mask = jnp.broadcast_to(jnp.asarray(mask), (*b, h, n, m)).reshape(*b, h_kv, g, n, m)
    with _check.named(name, "attention"):
        o = attention(q, k, v, causal=causal, mask=mask, scale=scale).reshape(*b, h, n, -1)
    return jnp.einsum("...hnk,hkd->...nd", o, w_o)


def check_parameters(name: str, params: Params, x: AnyArray) -> tuple[int, int]:
    """Check the parameters of a layer against its positions x; return h and h_kv."""
    _arrays.params(name, params, ["w_q", "w_k", "w_v", "w_o"])
    for w, array in params.items():
        if array.ndim != 3:
            raise ValueError(f"{name}: {w}: expected three axes (heads, in, out), got shape {array.shape}")
    h, d, d_k = params["w_q"].shape
    h_kv, d_v = params["w_k"].shape[0], params["w_v"].shape[-1]
    if d != x.shape[-1]:
        raise ValueError(f"{name}: x: expected width d = {d} as in w_q {params['w_q'].shape}, got shape {x.shape}")
    _check.divides(name, "w_k", h_kv, "h", h)
    for w, shape in {"w_k": (h_kv, d, d_k), "w_v": (h_kv, d, d_v), "w_o": (h, d_v, d)}.items():
        if params[w].shape != shape:
            raise ValueError(f"{name}: {w}: expected shape {shape}, got {params[w].shape}")
    return h, h_kv
