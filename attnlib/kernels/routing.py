"""Routing attention: a query meets the keys of its clusters, whose centroids are learned by spherical k-means."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, DTypeLike, Float, Int, Key, UInt32

from attnlib import _arrays, _check
from attnlib._sharding import each_device
from attnlib.cost.routing import balanced_steps
from attnlib.kernels._buckets import Sizes, bucket_attention, unit
from attnlib.kernels._exponential import exp_nonpositive
from attnlib.kernels._heads import bad, lift
from attnlib.kernels._state import key_mask, wide_enough

AnyArray = Array | np.ndarray


def init_routing(
    key: Key[AnyArray, ""] | UInt32[AnyArray, "2"], d: int, clusters: int, *, dtype: DTypeLike = jnp.float32
) -> Float[Array, "clusters d"]:
    """Draw centroids of `routing_attention`: independent directions, uniform on the sphere.

    Args:
        key: a key of `jax.random.key`.
        d: width of queries and keys.
        clusters: how many.
        dtype: of the result, float32 or float64.

    Returns:
        Array (clusters, d), of rows of length 1.

    Raises:
        ValueError: a key that is none, sizes that are not positive integers, a dtype narrower than float32.

    Source: Roy et al. (2021), section 4.

    Example:
        >>> import jax
        >>> init_routing(jax.random.key(0), 64, 16).shape
        (16, 64)
    """
    name = "init_routing"
    _arrays.prng_key(name, key)
    _check.positive_int(name, d=d, clusters=clusters)
    wide_enough(name, dtype)
    return unit(jax.random.normal(key, (clusters, d), dtype))


def update_centroids(
    centroids: Float[AnyArray, "*a clusters d"],
    x: Float[AnyArray, "*b n d"],
    *,
    decay: float = 0.999,
    mask: Bool[AnyArray, "..."] | None = None,
) -> Float[Array, "*a clusters d"]:
    """Move centroids towards the rows that are nearest to them: one step of online spherical k-means.

    c ← u(λ c + (1 − λ) mean of u(x_i) over the rows i nearest to c),   u(x) = x/|x|

    A centroid that no row is nearest to stays. Call it with queries and keys, concatenated or one after the other.

    Args:
        centroids: shape (..., clusters, d).
        x: rows, shape (..., n, d); leading axes that the centroids do not have, or have once, are averaged over.
        decay: λ, from 0, which is k-means on this batch alone, to 1.
        mask: boolean, True = counts, broadcastable to (..., n).

    Returns:
        Array of the shape and dtype of the centroids, rows of length 1; no gradient passes. A row with a NaN or an
        infinity does not count.

    Raises:
        ValueError: arrays of other shapes or dtypes, a decay that is not a number from 0 to 1.

    Cost: 4n · clusters · d FLOPs in matrix products.

    Source: Roy et al. (2021), algorithm 1, whose sums are not divided by the number of rows.

    Example:
        >>> import jax.numpy as jnp
        >>> c, x = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[3.0, 4.0], [-1.0, 0.0]])
        >>> print(update_centroids(c, x, decay=0.0).round(2))  # both are nearest to the second: (0.6 − 1, 0.8 + 0)
        [[ 1.    0.  ]
         [-0.45  0.89]]
    """
    name = "update_centroids"
    _arrays.floating(name, centroids=centroids, x=x)
    _check.rank_at_least(name, 2, "(..., n, d)", centroids=centroids, x=x)
    _check.same_axis(name, -1, "d", x=x, centroids=centroids)
    lead = _check.broadcastable(name, x=x.shape[:-2], centroids=centroids.shape[:-2])
    if lead != x.shape[:-2]:
        raise ValueError(f"{name}: x: expected leading axes {lead}, as the centroids have, got {x.shape[:-2]}")
    if not _check.number(decay) or not 0 <= decay <= 1:
        raise ValueError(f"{name}: decay: expected a number from 0 to 1, got {decay!r}")
    _arrays.boolean_mask(name, mask, x.shape[:-1])
    old, x = jnp.asarray(centroids), jax.lax.stop_gradient(jnp.asarray(x))
    dtype, narrow = _arrays.wide(x, old), old.dtype
    old, x = old.astype(dtype), x.astype(dtype)
    there = ~bad(x) if mask is None else ~bad(x) & jnp.broadcast_to(jnp.asarray(mask), x.shape[:-1])
    old, x = jax.lax.stop_gradient(lift(old, max(old.ndim, x.ndim))), unit(jnp.where(there[..., None], x, 0))
    nearest = jnp.argmax(_similarity(x, old), axis=-2)
    of = jax.nn.one_hot(nearest, old.shape[-2], dtype=dtype) * there[..., None].astype(dtype)
    sums, numbers = jnp.einsum("...nc,...nd->...cd", of, x, precision="highest"), of.sum(axis=-2)[..., None]
    over = tuple(a for a, size in enumerate(old.shape[:-2]) if size == 1)
    sums, numbers = (y.sum(axis=over, keepdims=True) for y in (sums, numbers))
    new = unit(decay * old + (1 - decay) * sums / jnp.maximum(numbers, 1))
    return jnp.where(numbers > 0, new, old).reshape(centroids.shape).astype(narrow)


def routing_attention(
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b m d_k"],
    v: Float[AnyArray, "*#b m d_v"],
    centroids: Float[AnyArray, "*#b clusters d_k"],
    *,
    window: int,
    clusters: int | None = None,
    causal: bool = False,
    mask: Bool[AnyArray, "..."] | None = None,
    scale: float | Float[Array, ""] | None = None,
    chunk: int | None = None,
    return_routed: bool = False,
) -> Float[Array, "*b n d_v"] | tuple[Float[Array, "*b n d_v"], Int[Array, "*b n"], Int[Array, "*b m"]]:
    """Attend within clusters: o_i is the average of the values that query i sees, with the softmax of their scores.

    Balanced: every centroid takes the `window` queries and the `window` keys that point most nearly its way, whose
    lengths do not matter, and what it takes meets. Who is taken by nobody is not seen, or sees nothing; a pair that
    several take counts once. Which rows a centroid takes depends on the whole sequence, so published programs that
    hide later keys still let them decide who meets.

    With `causal` each query and key goes to the one centroid nearest to it instead, which depends on itself alone,
    and a query sees the last `window` keys of its cluster at or before its position.

    With one cluster and a window of max(n, m) both are `attention`. Clusters have no gradient; scores and values have
    that of `attention` over the same pairs.

    Args:
        q: queries, shape (..., n, d_k), any floating dtype; leading axes broadcast as in `attention`.
        k: keys, shape (..., m, d_k).
        v: values, shape (..., m, d_v).
        centroids: shape (..., clusters, d_k), as `init_routing` and `update_centroids` return them; without a
            gradient. Rows of another length than 1 count more, or less, with `causal`.
        window: queries and keys that each cluster takes, all if there are fewer; with `causal` the keys of its
            cluster that a query sees.
        clusters: how many centroids there are, if they are to be checked.
        causal: query i sees key j only if j ≤ i + m − n.
        mask: boolean, True = may attend, broadcastable to (..., 1, m): keys can be hidden from all queries. No
            cluster takes a hidden key in another's place.
        scale: factor of the scores; 1/√d_k by default.
        chunk: with `causal`, keys in a block of sorted ones, which changes the cost alone.
        return_routed: also return how many clusters take each query, and each key.

    Returns:
        Array (..., n, d_v) in v's dtype; scores and sums are float32 or wider. With return_routed also integers
        (..., n) and (..., m): where they are 0, no cluster takes the row. A query that sees nothing gets zeros, with
        zero gradient. A NaN or infinity in q, k or v never reaches an output or a gradient through a pair that is not
        seen; what sees one becomes NaN, and every balanced cluster takes it first.

    Raises:
        ValueError: as `attention`; centroids of another width or number, a window, chunk or number of clusters that
            is not a positive integer, a mask that differs between queries, a chunk without `causal`.

    Cost: `cost.routing_attention(n, d_k, clusters, window)`: similarities 2(n + m)d_k · clusters, then 2P(d_k + d_v)
        FLOPs with P = clusters · window² pairs, or about 1.5n(window + chunk) with `causal`; memory O(n · clusters).

    Source: Roy et al. (2021), algorithm 1, who average what several clusters give; the union of pairs, and `causal`:
        ours.

    Example:
        >>> import jax.numpy as jnp
        >>> q, c = jnp.array([[5.0], [-5.0]]), jnp.array([[1.0], [-1.0]])
        >>> print(routing_attention(q, q, jnp.array([[1.0], [2.0]]), c, window=1))
        [[1.]
         [2.]]
    """
    name = "routing_attention"
    lead = _arrays.attention(name, q, k, v, causal=causal, mask=mask, scale=scale)
    _check.flags(name, return_routed=return_routed)
    _arrays.floating(name, centroids=centroids)
    _check.rank_at_least(name, 2, "(..., clusters, d_k)", centroids=centroids)
    _check.same_axis(name, -1, "d_k", q=q, centroids=centroids)
    if not _check.fits(tuple(centroids.shape[:-2]), lead):
        raise ValueError(
            f"{name}: centroids: expected leading axes that broadcast to {lead}, got {tuple(centroids.shape[:-2])}"
        )
    _check.positive_int(name, window=window)
    _check.optional_int(name, clusters=clusters, chunk=chunk)
    if clusters is not None and clusters != centroids.shape[-2]:
        raise ValueError(f"{name}: clusters: expected {centroids.shape[-2]}, as there are centroids, got {clusters}")
    if chunk is not None and not causal:
        raise ValueError(f"{name}: chunk: expected None without causal: nothing is sorted, got {chunk}")
    arrays: dict[str, Any] = {"q": jnp.asarray(q), "k": jnp.asarray(k), "v": jnp.asarray(v)}
    factor = jnp.asarray(1 / math.sqrt(q.shape[-1]) if scale is None else scale, _arrays.wide(*arrays.values()))
    arrays |= {"mask": key_mask(name, mask, k), "centroids": jax.lax.stop_gradient(jnp.asarray(centroids))}
    call = (_attend, window, chunk, causal, return_routed)
    out: Any = each_device(name, call, arrays, OWN, {"scale": factor}, (2, 1, 1) if return_routed else (2,))
    return out if return_routed else out[0]  # type: ignore[no-any-return]


OWN = {"q": 2, "k": 2, "v": 2, "mask": 1, "centroids": 2}
"""Axes that follow the leading ones."""


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _attend(
    window: int,
    chunk: int | None,
    causal: bool,
    return_routed: bool,
    arrays: dict[str, Any],
    shared: dict[str, Array],
) -> tuple[Array, ...]:
    """Attend on one device, the mask is (..., m); the counts only if asked for."""
    q, k, v, seen, centroids = (arrays[a] for a in OWN)
    rank = max(q.ndim, k.ndim, v.ndim)
    q, k, v, centroids = (lift(x, rank) for x in (q, k, v, centroids))
    seen = None if seen is None else lift(seen, rank - 1)
    if not causal:
        o, *routed = _balanced(window, q, k, v, seen, centroids, shared["scale"])
        return (o, *routed) if return_routed else (o,)

    def nearest(x: Array) -> Array:
        return jnp.argmax(_similarity(x, centroids), axis=-2).astype(jnp.int32)[..., None, :]

    sizes = Sizes(centroids.shape[-2], window, chunk, causal, shared=False)
    o = bucket_attention(sizes, nearest, q, k, v, seen, shared["scale"])
    if not return_routed:
        return (o,)
    every = [jnp.ones((*o.shape[:-2], x.shape[-2]), jnp.int32) for x in (q, k)]
    return o, every[0], every[1] if seen is None else every[1] * seen.astype(jnp.int32)


def _similarity(x: Array, centroids: Array) -> Array:
    """Return the inner products (..., clusters, n), without a gradient and, on every device, with all digits."""
    dtype = _arrays.wide(x, centroids)
    x, centroids = jax.lax.stop_gradient(x).astype(dtype), centroids.astype(dtype)
    return jnp.einsum("...cd,...nd->...cn", centroids, x, precision="highest")


def _take(
    window: int, x: Array, ill: Array, seen: Array | None, centroids: Array, lead: tuple[int, ...]
) -> tuple[Array, ...]:
    """Return the rows of x that every cluster takes, (heads, clusters, window), and what is known of each of them.

    That is whether it is seen, whether it holds a bad number, and which clusters of its head take it, a bit for each
    in words of 32; at last how many take each row, (*lead, n).
    """
    n, clusters = x.shape[-2], centroids.shape[-2]
    s = _similarity(unit(x.astype(_arrays.wide(x, centroids))), centroids)
    s = jnp.where(ill[..., None, :], jnp.inf, s)
    if seen is not None:
        s = jnp.where(seen[..., None, :], s, -jnp.inf)
    _, rows = jax.lax.top_k(s, min(window, n))
    there = jnp.ones_like(rows, dtype=bool) if seen is None else jnp.take_along_axis(seen[..., None, :], rows, -1)
    ill = jnp.take_along_axis(ill[..., None, :], rows, -1)
    rows, there, ill = (
        jnp.broadcast_to(y, (*lead, *y.shape[-2:])).reshape(-1, clusters, y.shape[-1]) for y in (rows, there, ill)
    )
    heads = jnp.arange(len(rows))[:, None, None]
    number = jnp.arange(clusters)[None, :, None]
    bit = (jnp.uint32(1) << (number % 32).astype(jnp.uint32)) * there.astype(jnp.uint32)
    words = jnp.zeros((len(rows), n, -(-clusters // 32)), jnp.uint32).at[heads, rows, number // 32].add(bit)
    times = jax.lax.population_count(words).sum(axis=-1).astype(jnp.int32).reshape(*lead, n)
    return rows, there, ill, words[heads, rows], times


def _balanced(
    window: int, q: Array, k: Array, v: Array, seen: Array | None, centroids: Array, factor: Array
) -> tuple[Array, Array, Array]:
    """Attend in clusters that take equally many rows."""
    dtype, n, clusters = factor.dtype, q.shape[-2], centroids.shape[-2]
    ill_q, ill_k = bad(q), bad(k)
    there = ~ill_k if seen is None else seen
    lead = np.broadcast_shapes(*(x.shape[:-2] for x in (q, k, v, centroids)), there.shape[:-1])
    q = jnp.where(ill_q[..., None], 0, q)
    k = jnp.where((there & ~ill_k)[..., None], k, 0)
    rows_q, _, take_ill_q, words_q, times_q = _take(window, q, ill_q, None, centroids, lead)
    rows_k, there_k, take_ill_k, words_k, times_k = _take(window, k, ill_k, seen, centroids, lead)
    ill_v = bad(v)
    v = jnp.where(ill_v[..., None], 0, v)

    def read(x: Array, rows: Array) -> Array:
        """Gather rows of each head from an array that heads may share."""
        heads = math.prod(x.shape[: len(lead)])
        of = np.broadcast_to(np.arange(heads).reshape(x.shape[: len(lead)]), lead).reshape(-1, 1, 1)
        size = x.shape[len(lead)]
        return x.reshape(heads * size, *x.shape[len(lead) + 1 :])[jnp.asarray(of * size, jnp.int32) + rows]

    blocks = len(rows_q) * clusters
    batch, steps = balanced_steps(blocks, rows_q.shape[-1], rows_k.shape[-1])
    # A pair is left to the first cluster that takes both.
    before = np.tri(clusters, -(-clusters // 32) * 32, -1, dtype=bool).reshape(clusters, -1, 32)
    before = (before * (np.uint32(1) << np.arange(32, dtype=np.uint32))).sum(axis=-1).astype(np.uint32)
    words_q = words_q & jnp.asarray(before)[None, :, None]

    def cut(x: Array) -> Array:
        x = x.reshape(blocks, *x.shape[2:])
        x = jnp.pad(x, [(0, steps * batch - blocks), *[(0, 0)] * (x.ndim - 1)])
        return x.reshape(steps, batch, *x.shape[1:])

    ill_k = take_ill_k | read(ill_v, rows_k)
    xs = (read(q.astype(dtype) * factor, rows_q), read(k.astype(dtype), rows_k), read(v.astype(dtype), rows_k))
    out = jax.lax.map(_cluster, tuple(map(cut, (*xs, take_ill_q, ill_k, there_k, words_q, words_k))))
    c, z, o = (x.reshape(steps * batch, *x.shape[2:])[:blocks].reshape(len(rows_q), -1, *x.shape[3:]) for x in out)
    # Who is in several clusters adds up their sums, on the largest of their scores.
    rows, heads = rows_q.reshape(len(rows_q), -1), jnp.arange(len(rows_q))[:, None]
    top = jnp.full((len(rows_q), n), np.finfo(dtype).min, dtype).at[heads, rows].max(c)
    weight = exp_nonpositive(c - top[heads, rows])
    z = jnp.zeros((len(rows_q), n), dtype).at[heads, rows].add(z * weight)
    o = jnp.zeros((len(rows_q), n, v.shape[-1]), dtype).at[heads, rows].add(o * weight[..., None])
    o = (o / jnp.where(z == 0, 1, z)[..., None]).astype(v.dtype)
    return o.reshape(*lead, n, -1), times_q, times_k


@jax.checkpoint
def _cluster(x: tuple[Array, ...]) -> tuple[Array, Array, Array]:
    """Attend in a few clusters: return the largest scores, the sums of weights, and those of weighted values."""
    q, k, v, ill_q, ill_k, there, words_q, words_k = x
    s = jnp.einsum("bqd,bkd->bqk", q, k)
    s = jnp.where(ill_q[:, :, None] | ill_k[:, None, :], jnp.nan, s)
    visible = jnp.broadcast_to(there[:, None, :], s.shape)
    for word in range(words_q.shape[-1]):
        visible &= (words_q[:, :, None, word] & words_k[:, None, :, word]) == 0
    s = jnp.where(visible, s, -jnp.inf)
    top = jax.lax.stop_gradient(jnp.maximum(s.max(axis=-1), np.finfo(s.dtype).min))
    p = jnp.where(visible, exp_nonpositive(s - top[..., None]), 0)
    return top, p.sum(axis=-1), jnp.einsum("bqk,bkd->bqd", p, v)
