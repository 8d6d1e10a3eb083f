"""A sliding window with global tokens: near keys and a few that all see, in time linear in the length."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from attnlib import _arrays, _check
from attnlib._sharding import each_device
from attnlib.cost.longformer import check, rows_of
from attnlib.kernels._heads import lift
from attnlib.kernels.flash import flash_attention

AnyArray = Array | np.ndarray


def longformer_attention(
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b m d_k"],
    v: Float[AnyArray, "*#b m d_v"],
    *,
    window: int | tuple[int, int],
    global_tokens: int | Bool[AnyArray, "..."],
    max_global: int | None = None,
    global_q: Float[AnyArray, "..."] | None = None,
    global_k: Float[AnyArray, "..."] | None = None,
    global_v: Float[AnyArray, "..."] | None = None,
    causal: bool = False,
    mask: Bool[AnyArray, "..."] | None = None,
    scale: float | Float[Array, ""] | None = None,
    block_q: int | None = None,
    block_k: int | None = None,
) -> Float[Array, "*b n d_v"]:
    """Attend to the keys in a window and to a few global tokens, which for their part attend to all.

    o_i = Σ_j w_ij v_j over the j with |i + m − n − j| < window, or j global;   over all j if i + m − n is global

    Weights are a softmax over these keys, and `causal` hides what comes later from global queries, too. Three calls
    of `flash_attention`: the window; the global keys for all queries, merged with it by the log-sums; the global
    queries. Each is linear in n, and so is the memory.

    Args:
        q: queries, shape (..., n, d_k), any floating dtype; leading axes broadcast as in `attention`.
        k: keys, shape (..., m, d_k).
        v: values, shape (..., m, d_v).
        window: as `flash_attention` has it, the keys nearer than this, or a pair (left, right). The paper's w keys,
            w/2 to each side, are window = w/2 + 1; causal, the last `window` keys.
        global_tokens: how many of the first tokens are global, 0 or more; or which are, a boolean array (..., m) that
            broadcasts to the leading axes. Tokens stand at the positions of keys, query i at i + m − n.
        max_global: with an array, and with it alone: up to so many tokens of a sequence are global, the first ones
            that it names; further ones are as others. An array with more is refused where its numbers are known.
        global_q: the queries of global tokens, shape as q: projections of their own, as in the paper; q by default.
        global_k: the keys that global queries see, shape as k; k by default.
        global_v: the values that they get, shape as v; v by default.
        causal: query i sees key j only if j ≤ i + m − n.
        mask: boolean, True = may attend, broadcastable to (..., n, m); hides pairs but saves no work.
        scale: factor of the scores; 1/√d_k by default.
        block_q: queries in a block; by default what was fastest on such a device.
        block_k: keys in a block.

    Returns:
        Array (..., n, d_v) in v's dtype. A query that may attend to nothing gets zeros, with zero gradient. The merge
        needs log-sums: where logits are millions away from 0, these round by tenths in float32.

    Raises:
        ValueError: as `flash_attention`; global tokens that are neither an integer of at least 0 nor a boolean array
            that ends with m, an array without max_global or with more than that, an integer with it, global_q,
            global_k or global_v that have not the shape of q, k or v.

    Cost: `cost.longformer_attention(n, d_k, window, g)`: about W + 2ng pairs for W in the blocks of the window, each
        2(d_k + d_v) FLOPs in matrix products. With an array max_global counts, not how many it names. Memory O(n),
        with an array also max_global · (n + m) booleans.

    Source: Beltagy et al. (2020), section 3.1.

    Example:
        >>> import jax.numpy as jnp
        >>> q, k, v = jnp.zeros((4, 1)), jnp.zeros((4, 1)), jnp.array([[1.0], [2.0], [3.0], [6.0]])
        >>> print(longformer_attention(q, k, v, window=1, global_tokens=1)[:, 0])  # a mean, then means with the first
        [3.  1.5 2.  3.5]
    """
    name = "longformer_attention"
    lead = _arrays.attention(name, q, k, v, causal=causal, mask=mask, scale=scale)
    named = not isinstance(global_tokens, int)
    if named:
        _check_named(name, global_tokens, max_global, lead, k.shape[-2])
    elif max_global is not None:
        raise ValueError(f"{name}: max_global: expected None with an integer of global_tokens, got {max_global!r}")
    near, count = check(name, window, None if named else global_tokens, max_global)
    _check.optional_int(name, block_q=block_q, block_k=block_k)
    arrays = {"q": q, "k": k, "v": v, "mask": mask, "global_tokens": global_tokens if named else None}
    for own, like, x in (("global_q", q, global_q), ("global_k", k, global_k), ("global_v", v, global_v)):
        if x is not None:
            _arrays.floating(name, **{own: x})
            if x.shape != like.shape:
                raise ValueError(f"{name}: {own}: expected the shape {like.shape} of {own[-1]}, got {x.shape}")
        arrays[own] = x
    arrays = {a: None if x is None else jnp.asarray(x) for a, x in arrays.items()}
    factor = jnp.asarray(1 / math.sqrt(q.shape[-1]) if scale is None else scale, _arrays.wide(q, k))
    options = (("causal", causal), ("block_q", block_q), ("block_k", block_k))
    call = (_named if named else _first, near, count, options)
    o: Array = each_device(name, call, arrays, OWN, {"scale": factor}, 2)
    return o


OWN = {"q": 2, "k": 2, "v": 2, "mask": 2, "global_q": 2, "global_k": 2, "global_v": 2, "global_tokens": 1}
"""Axes that follow the leading ones."""

Options = tuple[tuple[str, Any], ...]


def _check_named(name: str, tokens: Any, limit: Any, lead: tuple[int, ...], m: int) -> None:
    """Raise unless an array names global tokens, no more than may be."""
    if not hasattr(tokens, "shape") or not hasattr(tokens, "dtype") or tokens.dtype != jnp.bool_:
        got = tokens.dtype if hasattr(tokens, "dtype") else repr(tokens)
        raise ValueError(f"{name}: global_tokens: expected an integer or a boolean array, got {got}")
    if tokens.shape[-1:] != (m,) or not _check.fits(tokens.shape, (*lead, m)):
        raise ValueError(
            f"{name}: global_tokens: expected a shape that ends with m = {m} and broadcasts to the leading axes "
            f"{lead}, got {tokens.shape}"
        )
    if limit is None:
        raise ValueError(f"{name}: max_global: expected an integer with an array of global_tokens, got None")
    _check.positive_int(name, max_global=limit)
    if (
        not isinstance(tokens, jax.core.Tracer)
        and (most := int(np.asarray(tokens).sum(axis=-1).max(initial=0))) > limit
    ):
        raise ValueError(f"{name}: max_global: expected at least {most}, as global_tokens has so many, got {limit}")


@partial(jax.jit, static_argnums=(0, 1, 2))
def _first(
    near: tuple[int, int], count: int, options: Options, arrays: dict[str, Any], shared: dict[str, Array]
) -> Array:
    """Attend on one device; the first `count` tokens are global."""
    q, k, v, mask, q_g, k_g, v_g, _ = (arrays[a] for a in OWN)
    attend = partial(_attend, shared["scale"], dict(options))
    causal = dict(options)["causal"]
    n, m = q.shape[-2], k.shape[-2]
    lead = np.broadcast_shapes(*(x.shape[:-2] for x in (q, k, v)))
    start, first, last, g = rows_of(n, m, count, causal)

    # Query i and key j stand as before where rows and keys are left out at the front: the ends stay where they are.
    some = slice(start, n)
    near_by = attend(q[..., some, :], k[..., g:, :], v[..., g:, :], _part(mask, some, slice(g, m)), window=near)
    # These queries come after the global tokens, or see all of them: nothing is left for causal to hide.
    common = attend(q[..., some, :], k[..., :g, :], v[..., :g, :], _part(mask, some, slice(0, g)), causal=False)
    own, seen = slice(first, last), slice(0, last + m - n if causal else m)
    q_g, k_g, v_g = (x if y is None else y for x, y in ((q, q_g), (k, k_g), (v, v_g)))
    every, _ = attend(q_g[..., own, :], k_g[..., seen, :], v_g[..., seen, :], _part(mask, own, seen))
    out = _merge(near_by, common) if 0 < g < m else common[0] if g else near_by[0]
    dtype = out.dtype
    # Before them: causal, queries that stand before the first key.
    before = jnp.zeros((*lead, first, v.shape[-1]), dtype) if start else out[..., :first, :]
    after = out[..., last - start :, :]
    return jnp.concatenate([before, every.astype(dtype), after], axis=-2).astype(v.dtype)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _named(
    near: tuple[int, int], count: int, options: Options, arrays: dict[str, Any], shared: dict[str, Array]
) -> Array:
    """Attend on one device; an array names at most `count` global tokens of each sequence, which are gathered."""
    q, k, v, mask, q_g, k_g, v_g, tokens = (arrays[a] for a in OWN)
    attend = partial(_attend, shared["scale"], dict(options) | {"causal": False})
    causal = dict(options)["causal"]
    n, m, rank = q.shape[-2], k.shape[-2], max(x.ndim for x in (q, k, v))
    lifted: list[Any] = [None if x is None else lift(x, rank) for x in (q, k, v, mask, q_g, k_g, v_g)]
    q, k, v, mask, q_g, k_g, v_g = lifted
    tokens = lift(tokens, rank - 1)
    g = min(count, m)
    # Which tokens, in order, (..., g): the first that are named, then others, which nobody sees.
    there, place = jax.lax.top_k(tokens.astype(jnp.int32), g)
    there, place = there > 0, place.astype(jnp.int32)
    # And for each query whether its token is among them, and which of them it is.
    number = jnp.cumsum(tokens.astype(jnp.int32), axis=-1) - 1
    chosen = tokens & (number < g)
    skip = max(n - m, 0)  # queries that stand before the first token
    number, chosen = (x[..., max(m - n, 0) :] for x in (jnp.clip(number, 0, g - 1), chosen))
    number, chosen = (jnp.pad(x, [(0, 0)] * (rank - 2) + [(skip, 0)]) for x in (number, chosen))

    def rows(x: Array, index: Array) -> Array:
        return jnp.take_along_axis(x, index[..., None], axis=-2)

    # The window as it is; of the global keys those that it does not hold. Where global queries are others, a NaN in
    # what stands in their place must reach nothing.
    q_l = q if q_g is None else jnp.where(chosen[..., None], 0, q)
    near_by = attend(q_l, k, v, mask, window=near, causal=causal)
    past = lift(jnp.arange(m - n, m, dtype=jnp.int32)[:, None], rank) - place[..., None, :]
    left, right = near
    apart = there[..., None, :] & ((past > left) if causal else (past > left) | (past < -right))
    if mask is not None:
        apart &= mask if mask.shape[-1] == 1 else jnp.take_along_axis(mask, place[..., None, :], axis=-1)
    out = _merge(near_by, attend(q_l, rows(k, place), rows(v, place), apart))

    own = jnp.clip(place - (m - n), 0, n - 1)
    seen = (there & (place >= m - n))[..., None]
    if causal:
        seen = seen & (lift(jnp.arange(m, dtype=jnp.int32), rank) <= place[..., None])
    if mask is not None:
        seen = seen & (mask if mask.shape[-2] == 1 else rows(mask, own))
    q_g, k_g, v_g = (x if y is None else y for x, y in ((q, q_g), (k, k_g), (v, v_g)))
    every, _ = attend(rows(q_g, own), k_g, v_g, seen)
    return jnp.where(chosen[..., None], rows(every, number).astype(out.dtype), out).astype(v.dtype)


def _attend(
    scale: Array, options: dict[str, Any], q: Array, k: Array, v: Array, mask: Array | None, **more: Any
) -> tuple[Array, Array]:
    """Return the output in the dtype of sums, and the log-sums; zeros and −∞ where there are no keys."""
    wide = _arrays.wide(q, k, v)
    lead = np.broadcast_shapes(*(x.shape[:-2] for x in (q, k, v)))
    if not q.shape[-2] or not k.shape[-2]:
        rows = (*lead, q.shape[-2])
        return jnp.zeros((*rows, v.shape[-1]), wide), jnp.full(rows, -jnp.inf, wide)
    given = options | more
    o, lse = flash_attention(q, k, v.astype(wide), mask=mask, scale=scale, return_lse=True, **given)
    return o, lse.astype(wide)


def _merge(a: tuple[Array, Array], b: tuple[Array, Array]) -> Array:
    """Merge what a query gets from two sets of keys, by its log-sums."""
    (o_a, lse_a), (o_b, lse_b) = a, b
    nothing = (lse_a == -jnp.inf) & (lse_b == -jnp.inf)
    share = jax.nn.sigmoid(jnp.where(nothing, 0, lse_a) - jnp.where(nothing, 0, lse_b))[..., None]
    return share * o_a + (1 - share) * o_b


def _part(mask: Array | None, rows: slice, columns: slice) -> Array | None:
    """Cut rows and columns out of a mask, where it has an axis of them."""
    if mask is None:
        return None
    mask = mask if mask.ndim < 2 or mask.shape[-2] == 1 else mask[..., rows, :]
    return mask if mask.shape[-1:] in ((), (1,)) else mask[..., columns]
