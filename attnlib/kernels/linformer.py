"""Linformer: keys and values projected along the length to a fixed number, then exact attention over those."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from attnlib import _arrays, _check
from attnlib._sharding import each_device
from attnlib.cost.linformer import NOT_CAUSAL
from attnlib.kernels._heads import lift
from attnlib.kernels._state import key_mask
from attnlib.kernels.flash import flash_attention
from attnlib.layers._draw import draw

AnyArray = Array | np.ndarray


def linformer_attention(
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b m d_k"],
    v: Float[AnyArray, "*#b m d_v"],
    e: Float[AnyArray, "*#b rank length"],
    f: Float[AnyArray, "*#b rank length"] | None = None,
    *,
    causal: bool = False,
    mask: Bool[AnyArray, "..."] | None = None,
    scale: float | Float[Array, ""] | None = None,
) -> Float[Array, "*b n d_v"]:
    """Attend to `rank` mixtures of the keys instead of the keys: the softmax of a low-rank matrix.

    o = softmax(scale · q (e k)ᵀ) (f v)

    e and f are learned, for positions: they know nothing of what the keys are. With rank = m and e = f = 1 it is
    `attention`. The projected keys are few, so nothing else grows with the length; `flash_attention` runs over them.

    Args:
        q: queries, shape (..., n, d_k), any floating dtype; leading axes broadcast as in `attention`.
        k: keys, shape (..., m, d_k).
        v: values, shape (..., m, d_v).
        e: projection of the keys, shape (..., rank, length) with length ≥ m: fewer keys than it was made for meet its
            first m columns. Its leading axes broadcast with the others: (h, rank, length) for each head its own.
        f: projection of the values, of the same rank and length; e by default.
        causal: False, the only choice: a projected key mixes all positions.
        mask: boolean, True = may attend, broadcastable to (..., 1, m): keys can be hidden from all queries. A hidden
            key and its value are zeros before the projection, so that they add nothing to any mixture: keys hidden at
            the end are what a shorter input would be. The mixtures themselves are all seen: one that only hidden keys
            would have fed is a zero key with a zero value, and takes its share of the softmax.
        scale: factor of the scores; 1/√d_k by default.

    Returns:
        Array (..., n, d_v) in v's dtype; projections are float32 or wider. Zeros, with zero gradient, where all keys
        are hidden. A NaN or infinity in k or v never reaches an output or a gradient from behind the mask; from a key
        that is seen it reaches all of them.

    Raises:
        ValueError: as `attention`; a projection for fewer keys than there are, an f of another shape than e, `causal`
            that is not False, a mask that differs between queries.

    Cost: `cost.linformer_attention(n, d_k, rank)`: 2(n + m)·rank(d_k + d_v) FLOPs in matrix products; memory O(n).

    Source: Wang et al. (2020), equation 7.

    Example:
        >>> import jax.numpy as jnp
        >>> q, k, v = jnp.zeros((1, 1)), jnp.zeros((3, 1)), jnp.array([[0.0], [3.0], [9.0]])
        >>> halves = jnp.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]])  # made for four keys
        >>> print(linformer_attention(q, k, v, halves))  # the mean of 3/2 and 9/2
        [[3.]]
    """
    name = "linformer_attention"
    _arrays.attention(name, q, k, v, causal=causal, mask=mask, scale=scale)
    if causal:
        raise ValueError(f"{name}: causal: expected False: {NOT_CAUSAL}, got True")
    m = k.shape[-2]
    f = e if f is None else f
    _arrays.floating(name, e=e, f=f)
    _check.rank_at_least(name, 2, "(..., rank, length)", e=e, f=f)
    if e.shape[-1] < m:
        raise ValueError(f"{name}: e: expected a projection of at least m = {m} keys, got shape {tuple(e.shape)}")
    _check.same_axis(name, -2, "rank", e=e, f=f)
    _check.same_axis(name, -1, "length", e=e, f=f)
    _check.broadcastable(name, **{a: x.shape[:-2] for a, x in {"q": q, "k": k, "v": v, "e": e, "f": f}.items()})
    seen = key_mask(name, mask, k)
    factor = jnp.asarray(1 / math.sqrt(q.shape[-1]) if scale is None else scale, _arrays.wide(q, k))
    arrays = {a: jnp.asarray(x) for a, x in {"q": q, "k": k, "v": v, "e": e, "f": f}.items()}
    o: Array = each_device(name, (_attend,), {**arrays, "mask": seen}, OWN, {"scale": factor}, 2)
    return o


OWN = {"q": 2, "k": 2, "v": 2, "e": 2, "f": 2, "mask": 1}
"""Axes that follow the leading ones."""


@jax.jit
def _attend(arrays: dict[str, Any], shared: dict[str, Array]) -> Array:
    """Project, then attend, on one device; the mask is one of keys, (..., m)."""
    q, k, v, e, f, seen = (arrays[a] for a in OWN)
    rank = max(x.ndim for x in (q, k, v, e, f))
    q, k, v, e, f = (lift(x, rank) for x in (q, k, v, e, f))
    if seen is not None:
        k, v = (jnp.where(lift(seen[..., None], rank), x, 0) for x in (k, v))
        seen = seen.any(axis=-1)[..., None, None]
    o: Any = flash_attention(q, _project(e, k), _project(f, v), mask=seen, scale=shared["scale"])
    return o.astype(v.dtype)  # type: ignore[no-any-return]


def _project(p: Array, x: Array) -> Array:
    """The first columns of p times x, in float32 or wider."""
    dtype = _arrays.wide(p, x)
    return jnp.einsum("...rm,...md->...rd", p[..., : x.shape[-2]].astype(dtype), x.astype(dtype))


def init_linformer(
    key: Array,
    m: int,
    rank: int,
    *,
    h: int | None = None,
    shared: bool = False,
    dtype: DTypeLike = jnp.float32,
) -> dict[str, Array]:
    """Draw the projections of `linformer_attention`: normal, with variance one over the fan-in m.

    Args:
        key: PRNG key.
        m: keys, the most that there will be.
        rank: what they are projected to.
        h: heads with projections of their own; by default all heads share them.
        shared: whether keys and values share one, too: e alone is returned, and f is e.
        dtype: floating dtype of the projections.

    Returns:
        A dict of e and f (rank, m), or (h, rank, m), to be passed on: `linformer_attention(q, k, v, **params)`.

    Raises:
        ValueError: a size that is not a positive integer, `shared` that is not a bool, a dtype that is not floating.

    Cost: 2·rank·m numbers, h times as many with heads of their own, half as many if shared.

    Source: Wang et al. (2020), section 4, whose headwise sharing is the default and key-value sharing `shared`.

    Example:
        >>> import jax
        >>> {name: p.shape for name, p in init_linformer(jax.random.key(0), 512, 16, h=8).items()}
        {'e': (8, 16, 512), 'f': (8, 16, 512)}
    """
    name = "init_linformer"
    _arrays.prng_key(name, key)
    _check.positive_int(name, m=m, rank=rank)
    _check.optional_int(name, h=h)
    _check.flags(name, shared=shared)
    _arrays.floating_dtype(name, dtype)
    shape = (rank, m) if h is None else (h, rank, m)
    return draw(key, dict.fromkeys(("e",) if shared else ("e", "f"), (shape, m)), dtype)
