"""Softmax attention as the formula says: it materialises the n × m weights and is the reference for the rest."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from attnlib import _arrays
from attnlib.kernels._heads import finite, good, lift

AnyArray = Array | np.ndarray


def attention(
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b m d_k"],
    v: Float[AnyArray, "*#b m d_v"],
    *,
    causal: bool = False,
    mask: Bool[AnyArray, "..."] | None = None,
    scale: float | Float[Array, ""] | None = None,
) -> Float[Array, "*b n d_v"]:
    """Average the values v with the softmax of the scaled scores of queries and keys.

    o_i = Σ_j w_ij v_j,   w_ij = exp(s_ij) / Σ_l exp(s_il),   s_ij = scale · q_i·k_j

    Leading axes (batch, heads) broadcast, so grouped queries need no copy of the keys: q (h_kv, g, n, d_k)
    against k (h_kv, 1, m, d_k). Scores, softmax and sums are computed in float32 at least.

    Args:
        q: queries, shape (..., n, d_k), any floating dtype.
        k: keys, shape (..., m, d_k).
        v: values, shape (..., m, d_v).
        causal: query i sees key j only if j ≤ i + m − n: the last query sees every key, as decoding needs.
        mask: boolean, True = may attend, broadcastable to (..., n, m); combined with `causal` by "and".
        scale: factor of the scores; 1/√d_k by default.

    Returns:
        Array (..., n, d_v) in v's dtype. A query that may attend to nothing gets zeros, with zero gradient.
        A NaN or infinity in q, k or v never reaches an output or a gradient through a masked pair; with a mask
        or `causal`, one that a query may see makes that query's whole output NaN.

    Raises:
        ValueError: wrong rank, empty axis, mismatched n, m, d_k or leading axes, a mask of wrong shape or dtype,
            a dtype that is not floating point.

    Cost: `cost.attention(n, d_k, m=m, d_v=d_v)`: 2nm(d_k + d_v) FLOPs in matrix products, 5nm in the softmax,
        nm exponentials; memory for the n × m weights. Masked pairs are computed too, then discarded.

    Source: Vaswani et al. (2017), equation 1.

    Example:
        >>> import jax.numpy as jnp
        >>> q = jnp.array([[1.0]])
        >>> k = jnp.array([[0.0], [1.0]])
        >>> v = jnp.array([[0.0], [1.0]])
        >>> print(attention(q, k, v))  # e / (1 + e)
        [[0.7310586]]
    """
    _arrays.attention("attention", q, k, v, causal=causal, mask=mask, scale=scale)
    rank = max(q.ndim, k.ndim, v.ndim)
    dtype = jnp.asarray(v).dtype
    q, k, v = (_widen(lift(jnp.asarray(x), rank)) for x in (q, k, v))
    visible = _visible(q, k, causal, mask)
    healthy = None
    if visible is not None:
        healthy, v = good(v), finite(v)
    w = _weights(q, k, visible, healthy, scale)
    return jnp.einsum("...nm,...md->...nd", w, v.astype(w.dtype)).astype(dtype)


def attention_weights(
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b m d_k"],
    *,
    causal: bool = False,
    mask: Bool[AnyArray, "..."] | None = None,
    scale: float | Float[Array, ""] | None = None,
) -> Float[Array, "*b n m"]:
    """Return the softmax weights w of `attention`: every row is a probability distribution over the keys.

    w_ij = exp(s_ij) / Σ_l exp(s_il),   s_ij = scale · q_i·k_j

    Args:
        q: queries, shape (..., n, d_k), any floating dtype.
        k: keys, shape (..., m, d_k).
        causal: as in `attention`.
        mask: as in `attention`.
        scale: as in `attention`.

    Returns:
        Array (..., n, m), float32 or wider. A row that may attend to nothing is zero.

    Raises:
        ValueError: as `attention`.

    Cost: 2nm·d_k FLOPs in one matrix product, 5nm FLOPs and nm exponentials in the softmax.

    Source: Vaswani et al. (2017), equation 1.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.zeros((3, 2))
        >>> print(attention_weights(x, x, causal=True))
        [[1.         0.         0.        ]
         [0.5        0.5        0.        ]
         [0.33333334 0.33333334 0.33333334]]
    """
    _arrays.attention("attention_weights", q, k, causal=causal, mask=mask, scale=scale)
    rank = max(q.ndim, k.ndim)
    q, k = (_widen(lift(jnp.asarray(x), rank)) for x in (q, k))
    return _weights(q, k, _visible(q, k, causal, mask), None, scale)


def _weights(
    q: Float[Array, "*#b n d_k"],
    k: Float[Array, "*#b m d_k"],
    visible: Bool[Array, "..."] | None,
    healthy: Bool[Array, "*#b m"] | None,
    scale: float | Float[Array, ""] | None,
) -> Float[Array, "*b n m"]:
    """Softmax over the visible pairs; `healthy` says which keys have values without NaN or infinity."""
    dtype = _arrays.wide(q, k)
    factor = jnp.asarray(1 / math.sqrt(q.shape[-1]) if scale is None else scale, dtype)
    if visible is None:
        return _softmax(factor * jnp.einsum("...nd,...md->...nm", q.astype(dtype), k.astype(dtype)))

    # 0 · NaN is NaN: a product with weight zero does not hide a bad number, in the forward pass or in the
    # backward one. So bad rows enter the products as zeros, and a pair that may really see one gets the score NaN.
    pairs = good(q)[..., :, None] & good(k)[..., None, :]
    if healthy is not None:
        pairs = pairs & healthy[..., None, :]
    q, k = finite(q), finite(k)
    s = factor * jnp.einsum("...nd,...md->...nm", q.astype(dtype), k.astype(dtype))
    # A row of −∞ has no softmax: a query that sees nothing is given zeros before it and after it.
    some = visible.any(axis=-1, keepdims=True)
    s = jnp.where(visible, jnp.where(pairs, s, jnp.nan), jnp.where(some, -jnp.inf, jnp.zeros((), dtype)))
    return jnp.where(some, _softmax(s), 0)


@jax.custom_jvp
def _softmax(s: Float[Array, "*b n m"]) -> Float[Array, "*b n m"]:
    """exp(s) / Σ exp(s) along the last axis, shifted by the largest score so that no exponential overflows."""
    p = jnp.exp(s - s.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


@_softmax.defjvp
def _softmax_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """dw = w ∘ (ds − Σ w ds): needs the weights only, so the backward pass keeps one n × m array, not three."""
    w = _softmax(*primals)
    (ds,) = tangents
    # One sign for each row, and no axis of length 1 that the transposed program would sum over again.
    minus = jax.lax.broadcast_in_dim(-(w * ds).sum(axis=-1), w.shape, range(w.ndim - 1))
    return w, w * (ds + minus)


def _visible(q: Array, k: Array, causal: bool, mask: AnyArray | None) -> Array | None:
    """Which pairs may meet, of q's rank and broadcastable to (..., n, m), or None when all may."""
    allowed = None if mask is None else lift(jnp.asarray(mask), q.ndim)
    if not causal:
        return allowed
    n, m = q.shape[-2], k.shape[-2]
    past = lift(jnp.arange(m)[None, :] <= jnp.arange(n)[:, None] + (m - n), q.ndim)
    return past if allowed is None else past & allowed


def _widen(x: Array) -> Array:
    """Float32 at least. Widening first is exact, and XLA's CPU backend has no float16 × float16 → float32."""
    return x.astype(_arrays.wide(x))
