"""Attention to the few keys that score highest: exact over them, found by an indexer that still meets every pair."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from attnlib import _arrays, _check
from attnlib._sharding import each_device
from attnlib.cost.topk import SELECT, gather_block, group_size
from attnlib.kernels._exponential import exp_nonpositive
from attnlib.kernels._heads import Index, at, bad, each_head, lift, share
from attnlib.kernels.flash import _scaled, _vary_alike

AnyArray = Array | np.ndarray


def topk_attention(
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b m d_k"],
    v: Float[AnyArray, "*#b m d_v"],
    *,
    top: int,
    index_q: Float[AnyArray, "..."] | None = None,
    index_k: Float[AnyArray, "..."] | None = None,
    index_weights: Float[AnyArray, "..."] | None = None,
    causal: bool = False,
    mask: Bool[AnyArray, "..."] | None = None,
    scale: float | Float[Array, ""] | None = None,
) -> Float[Array, "*b n d_v"]:
    """Attend to the `top` keys that an indexer scores highest, with the softmax of the true scores.

    o_i = Σ_j w_ij v_j / Σ_j w_ij,   w_ij = e^(scale · q_i·k_j),   over the keys j that are selected for query i

    `topk_select` selects. Without an indexer the true scores do: for tests and for teaching, as that is as much work
    as all of attention needs for its scores. An indexer meets as many pairs, but is narrow, with few heads that serve
    all heads of attention.

    Args:
        q: queries, shape (..., n, d_k), any floating dtype; leading axes broadcast as in `attention`.
        k: keys, shape (..., m, d_k).
        v: values, shape (..., m, d_v).
        top: how many keys a query meets, or all that it may, if they are fewer.
        index_q: queries of the indexer, (..., n, d_I), with index_weights (..., n, h_I·d_I). Its leading axes and
            those of index_k broadcast to those of q, k and v: an axis of heads of length 1 selects once for all.
        index_k: keys of the indexer, (..., m, d_I).
        index_weights: of its heads, (..., n, h_I), as in `topk_select`.
        causal: query i sees key j only if j ≤ i + m − n, and only then it may be selected.
        mask: boolean, True = may attend and may be selected, broadcastable to (..., n, m).
        scale: factor of the scores; 1/√d_k by default.

    Returns:
        Array (..., n, d_v) in v's dtype. A query that may attend to nothing gets zeros, with zero gradient. Gradients
        go through the selected keys alone, and none to the indexer, as which keys are the largest does not change
        with small steps: an indexer is trained by a loss of its own. A NaN or infinity in a key or value that is not
        selected reaches nothing; one that is makes the whole output NaN.

    Raises:
        ValueError: as `attention`; a top that is not a positive integer, an indexer's queries without keys or weights
            without both, shapes that do not fit.

    Cost: `cost.topk_attention(n, d_k, top, …)`: 2n·top(d_k + d_v) FLOPs in matrix products, and the indexer's
        2nm·h_I·d_I, which is quadratic in the length; backward 2n·top(d_k + d_v) more; memory O(n·top).

    Source: DeepSeek-AI (2025), section 2.1.

    Example:
        >>> import jax.numpy as jnp
        >>> q, k, v = jnp.ones((1, 1)), jnp.array([[0.0], [5.0], [5.0]]), jnp.array([[1.0], [2.0], [4.0]])
        >>> print(topk_attention(q, k, v, top=2))
        [[3.]]
        >>> print(topk_attention(q, k, v, top=1, index_q=-q, index_k=k))
        [[1.]]
    """
    name = "topk_attention"
    lead = _arrays.attention(name, q, k, v, causal=causal, mask=mask, scale=scale)
    _check.positive_int(name, top=top)
    if (index_q is None) != (index_k is None):
        missing, given = ("index_q", "index_k") if index_q is None else ("index_k", "index_q")
        raise ValueError(f"{name}: {missing}: expected an array beside {given}, got None")
    if index_q is None or index_k is None:
        if index_weights is not None:
            raise ValueError(f"{name}: index_weights: expected None without index_q and index_k, got an array")
    else:
        _check_index(name, index_q, index_k, index_weights, (*lead, q.shape[-2]), k.shape[-2])
    q, k, v = (jnp.asarray(x) for x in (q, k, v))
    factor = jnp.asarray(1 / math.sqrt(q.shape[-1]) if scale is None else scale, _arrays.wide(q, k))
    if index_q is None or index_k is None:
        index_q, index_k = q.astype(factor.dtype) * factor, k
    with _check.named(name, "topk_select"):
        chosen = topk_select(index_q, index_k, top=top, index_weights=index_weights, causal=causal, mask=mask)
    arrays = {"q": q, "k": k, "v": v, "chosen": chosen}
    out: Array = each_device(name, (_attend,), arrays, OWN, {"scale": factor}, 2)
    return out


def topk_select(
    index_q: Float[AnyArray, "..."],
    index_k: Float[AnyArray, "..."],
    *,
    top: int,
    index_weights: Float[AnyArray, "..."] | None = None,
    causal: bool = False,
    mask: Bool[AnyArray, "..."] | None = None,
) -> Int[Array, "..."]:
    """Find the `top` keys of the highest scores for every query, among those that it may see.

    I_ij = q_i·k_j,   with weights I_ij = Σ_h w_hi max(0, q_hi·k_j)

    Of equal scores the earlier key is taken, and a NaN counts as the highest. Scores are computed for a few queries
    at a time, in float32 at least, and rounded: keys that are equal up to rounding may change places.

    Args:
        index_q: queries, shape (..., n, d_I), with weights (..., n, h_I·d_I), head after head as a projection gives
            them; leading axes broadcast.
        index_k: keys, shape (..., m, d_I), shared by the heads that are weighted.
        top: how many.
        index_weights: shape (..., n, h_I), of any sign.
        causal: query i sees key j only if j ≤ i + m − n.
        mask: boolean, True = may be selected, broadcastable to (..., n, m), or with more leading axes.

    Returns:
        Integers (..., n, min(top, m)), numbers of keys, the highest score first; −1 where a query may see no more.
        Not differentiable: gradients are zero.

    Raises:
        ValueError: arrays, shapes or dtypes that do not fit; a top that is not a positive integer.

    Cost: `cost.topk_attention`, steps "indexer" and "selection": 2nm·h_I·d_I FLOPs in products; memory O(n·top).

    Source: DeepSeek-AI (2025), equation 1.

    Example:
        >>> import jax.numpy as jnp
        >>> print(topk_select(jnp.ones((3, 1)), jnp.array([[1.0], [7.0], [7.0]]), top=2, causal=True))
        [[ 0 -1]
         [ 1  0]
         [ 1  2]]
    """
    name = "topk_select"
    _check.positive_int(name, top=top)
    _check.flags(name, causal=causal)
    n = np.shape(index_q)[-2] if np.ndim(index_q) >= 2 else 0
    m = np.shape(index_k)[-2] if np.ndim(index_k) >= 2 else 0
    _check_index(name, index_q, index_k, index_weights, None, m)
    arrays = {"index_q": index_q, "index_k": index_k, "index_weights": index_weights}
    lead = np.broadcast_shapes(*(x.shape[:-2] for x in arrays.values() if x is not None))
    every = _check.broadcastable(name, indexer=lead, mask=tuple(getattr(mask, "shape", ()))[:-2])
    _arrays.boolean_mask(name, mask, (*every, n, m))
    given: dict[str, Any] = {
        a: None if x is None else jax.lax.stop_gradient(jnp.asarray(x)) for a, x in (*arrays.items(), ("mask", mask))
    }
    size = group_size(m, min(top, m))
    search = Search(n, m, min(top, m), min(SELECT, n), size, -(-m // size), causal)
    out: Array = each_device(name, (_select, search), given, OWN_INDEX, {}, 2)
    return out


OWN = {"q": 2, "k": 2, "v": 2, "chosen": 2}
OWN_INDEX = {"index_q": 2, "index_k": 2, "index_weights": 2, "mask": 2}
"""Axes that follow the leading ones."""


def _check_index(name: str, q: Any, k: Any, weights: Any, lead: tuple[int, ...] | None, m: int) -> None:
    """Raise unless the arrays of an indexer fit each other, and queries of the shape `lead`, if one is given."""
    arrays = {"index_q": q, "index_k": k} | ({} if weights is None else {"index_weights": weights})
    _arrays.floating(name, **arrays)
    for (argument, x), axes in zip(arrays.items(), ("n, d_I", "m, d_I", "n, h_I"), strict=False):
        _check.rank_at_least(name, 2, f"(..., {axes})", **{argument: x})
    heads = 1
    if weights is not None:
        _check.same_axis(name, -2, "n", index_q=q, index_weights=weights)
        heads = weights.shape[-1]
    if q.shape[-1] != heads * k.shape[-1]:
        raise ValueError(
            f"{name}: index_q: expected width h_I · d_I = {heads} · {k.shape[-1]} for keys {tuple(k.shape)}, "
            f"got {q.shape[-1]} in {tuple(q.shape)}"
        )
    leads = {argument: x.shape[:-2] for argument, x in arrays.items()}
    _check.broadcastable(name, **leads)
    if lead is None:
        return
    for argument, x, axis, letter, size in (("index_q", q, -2, "n", lead[-1]), ("index_k", k, -2, "m", m)):
        if x.shape[axis] != size:
            raise ValueError(f"{name}: {argument}: expected {letter} = {size}, got {x.shape[axis]} in {x.shape}")
    for argument, own in leads.items():
        if not _check.fits(own, lead[:-1]):
            raise ValueError(f"{name}: {argument}: expected leading axes that broadcast to {lead[:-1]}, got {own}")


# --- selection ------------------------------------------------------------------------------------------------------


class Search(NamedTuple):
    """How keys are searched: for `block` queries at a time, in `groups` groups of `size` keys that follow each other.

    The `top` largest of all lie in the `top` groups with the largest maxima, so that only those are searched. A group
    of about √(m/top) keys makes both searches equally long.
    """

    n: int
    m: int
    top: int
    block: int
    size: int
    groups: int
    causal: bool


@partial(jax.jit, static_argnums=0)
def _select(search: Search, arrays: dict[str, Any], shared: dict[str, Array]) -> Array:
    """Select for all leading axes that the indexer and the mask have."""
    given: list[Any] = [arrays[a] for a in OWN_INDEX]
    lead = np.broadcast_shapes(*(x.shape[:-2] for x in given if x is not None))
    given = [None if x is None else lift(x, len(lead) + 2) for x in given]
    index = share([(1,) * len(lead) if x is None else x.shape[: len(lead)] for x in given])
    flat = [None if x is None else x.reshape(-1, *x.shape[len(lead) :]) for x in given]
    wide = _arrays.wide(*(x for x in flat[:3] if x is not None))

    def head(where: Array, _: Any) -> tuple[Array, tuple[()]]:
        q, k, w = (None if x is None else at(x, i).astype(wide) for x, i in zip(flat[:3], where, strict=False))
        return _head_select(search, q, k, w, flat[3], where[3]), ()

    chosen, _ = each_head(head, index, ())
    out: Array = chosen.reshape(*lead, *chosen.shape[1:])
    return out


def _head_select(search: Search, q: Any, k: Any, w: Array | None, mask: Array | None, mask_at: Array) -> Array:
    n, m, top, block, size, groups, causal = search
    # Key g · size + s stands at [s, g]: the largest of each group is a maximum over rows, which are contiguous.
    spread = jnp.pad(k, ((0, groups * size - m), (0, 0))).reshape(groups, size, -1).swapaxes(0, 1)
    keys = spread.reshape(groups * size, -1)
    number = jnp.arange(size, dtype=jnp.int32)[:, None] + size * jnp.arange(groups, dtype=jnp.int32)[None, :]

    def body(_: None, start: Array) -> tuple[None, Array]:
        q_i, w_i = (None if x is None else jax.lax.dynamic_slice_in_dim(x, start, block) for x in (q, w))
        s = _index_scores(q_i, w_i, keys)
        s = jnp.where(jnp.isnan(s), jnp.inf, jnp.maximum(s, np.finfo(s.dtype).min)).reshape(block, size, groups)
        seen = number[None] < m
        if causal:
            past = start + (m - n) + jnp.arange(block, dtype=jnp.int32)
            seen &= number[None] <= past[:, None, None]
        if mask is not None:
            seen &= _mask_block(mask, mask_at, start, block)[:, jnp.minimum(number, mask.shape[2] - 1)]
        return None, _largest(jnp.where(seen, s, -jnp.inf), top)

    _, chosen = jax.lax.scan(body, None, _starts(n, block))
    return _in_order(chosen, n)


def _index_scores(q: Any, w: Array | None, keys: Array) -> Array:
    """Score queries (block, h_I · d_I) with every key: (block, keys). One head of the indexer after the other."""
    if w is None:
        s: Array = q @ keys.T
        return s
    heads = q.reshape(len(q), w.shape[1], -1).swapaxes(0, 1)

    def add(total: Array, head: tuple[Array, Array]) -> tuple[Array, None]:
        q, w = head
        return total + w[:, None] * jnp.maximum(q @ keys.T, 0), None

    total = w[:, :1] * jnp.maximum(heads[0] @ keys.T, 0)
    total, _ = jax.lax.scan(add, total, (heads[1:], w.T[1:]))
    return total


def _mask_block(mask: Array, head: Array, start: Array, block: int) -> Array:
    """Return the rows of one head's mask that belong to a block of queries, (block or 1, columns)."""
    _, rows, columns = mask.shape
    first = (head, start if rows > 1 else jnp.zeros_like(start), jnp.zeros_like(start))
    return jax.lax.dynamic_slice(mask, first, (1, block if rows > 1 else 1, columns))[0]


def _largest(s: Array, top: int) -> Array:
    """Return the numbers of the `top` largest of scores (block, size, groups), the earlier of equals; −1 for −∞."""
    size = s.shape[1]
    _, groups = jax.lax.top_k(s.max(axis=1), top)
    groups = jnp.sort(groups, axis=1)  # in the order of the keys, so that the earlier of two equal ones stands first
    few = jnp.take_along_axis(s, groups[:, None, :], axis=2).swapaxes(1, 2).reshape(len(s), -1)
    largest, place = jax.lax.top_k(few, top)
    number = jnp.take_along_axis(groups, place // size, axis=1) * size + place % size
    return jnp.where(largest > -jnp.inf, number, -1).astype(jnp.int32)


def _starts(n: int, block: int) -> Array:
    """Return where blocks of queries begin; the last ends at n, so it may repeat some."""
    return jnp.minimum(jnp.arange(-(-n // block), dtype=jnp.int32) * block, n - block)


def _in_order(x: Array, n: int) -> Array:
    """Put blocks (blocks, block, d) one after the other, without what the last one repeats."""
    count, block, width = x.shape
    return jnp.concatenate([x[:-1].reshape(-1, width), x[-1, count * block - n :]])


# --- attention to what was selected ---------------------------------------------------------------------------------


@jax.jit
def _attend(arrays: dict[str, Any], shared: dict[str, Array]) -> Array:
    """Attend in every head to the keys whose numbers are `chosen`, (..., n, top); −1 stands for none."""
    given = [arrays[a] for a in OWN]
    lead = np.broadcast_shapes(*(x.shape[:-2] for x in given))
    given = [lift(x, len(lead) + 2) for x in given]
    index = share([x.shape[: len(lead)] for x in given])
    q, k, v, chosen = (x.reshape(-1, *x.shape[-2:]) for x in given)
    q, k, v, factor = _vary_alike((q, k, v, shared["scale"]), (q, k, v, shared["scale"], chosen))
    o = _gathered(index, q, k, v, chosen, factor)
    return o.reshape(*lead, *o.shape[1:])


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _gathered(index: Index, *args: Any) -> Array:
    return _forward(index, *args)[0]


def _forward(index: Index, *args: Any) -> tuple[Array, tuple[Any, ...]]:
    (o, p), _ = each_head(lambda where, _: (_head_forward(*_head(args, where)), ()), index, ())
    return o.astype(args[2].dtype), (args, p)


def _backward(index: Index, kept: Any, do: Array) -> tuple[Array | None, ...]:
    args, p = kept
    q, k, v, _, factor = args

    def run(where: Array, x: Any) -> Any:
        return (), _head_backward(*_head(args, where), *x)

    totals = [jnp.zeros_like(x, dtype=factor.dtype) for x in (q, k, v)]
    _, (dq, dk, dv) = each_head(run, index, (p, do), totals)
    # dq is the gradient of factor · q.
    d_factor = (dq * q.astype(dq.dtype)).sum()
    return (dq * factor).astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype), None, d_factor


_gathered.defvjp(_forward, _backward)


def _head(args: tuple[Any, ...], where: Array) -> tuple[Array, Array, Array, Array]:
    """Pick what one head reads: factor · q, k and v with a row of zeros after the last, and the selected numbers."""
    q, k, v, chosen, factor = args
    q, k, v, chosen = _scaled(at(q, where[0]), factor), at(k, where[1]), at(v, where[2]), at(chosen, where[3])
    # A key with a bad number in it or its value gives NaN to the score: the whole output is NaN, if it is selected.
    ill = (bad(k) | bad(v))[:, None]
    k, v = jnp.where(ill, jnp.nan, k.astype(q.dtype)), jnp.where(ill, 0, v.astype(q.dtype))
    k, v = (jnp.pad(x, ((0, 1), (0, 0))) for x in (k, v))
    return q, k, v, jnp.where(chosen < 0, len(k) - 1, chosen)


def _blocks(chosen: Array) -> tuple[int, Array]:
    """Return how many queries are worked on at a time, so that the keys they selected stay in the caches."""
    block = gather_block(*chosen.shape)
    return block, _starts(len(chosen), block)


def _head_forward(q: Array, k: Array, v: Array, chosen: Array) -> tuple[Array, Array]:
    """Attend in one head: return o and the weights, (n, top)."""
    block, starts = _blocks(chosen)

    def body(_: None, start: Array) -> tuple[None, tuple[Array, Array]]:
        q_i, keys = (jax.lax.dynamic_slice_in_dim(x, start, block) for x in (q, chosen))
        s = jnp.einsum("qd,qtd->qt", q_i, k[keys])
        s = jnp.where(keys < len(k) - 1, s, -jnp.inf)
        # The lowest number, not −∞: −∞ − (−∞) is NaN, and a query that sees nothing adds nothing.
        p = exp_nonpositive(s - jnp.maximum(s.max(axis=1, keepdims=True), np.finfo(s.dtype).min))
        z = p.sum(axis=1, keepdims=True)
        p = p / jnp.where(z == 0, 1, z)
        return None, (jnp.einsum("qt,qtd->qd", p, v[keys]), p)

    _, out = jax.lax.scan(body, None, starts)
    o, p = (_in_order(x, len(q)) for x in out)
    return o, p


def _head_backward(q: Array, k: Array, v: Array, chosen: Array, p: Array, do: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of factor · q, k and v of one head: dv = pᵀ do, ds = p ∘ (dp − Σ p ∘ dp), dp = do vᵀ."""
    block, starts = _blocks(chosen)
    count, do = len(starts) * block - len(q), do.astype(q.dtype)

    def body(carry: tuple[Array, Array], start: Array) -> tuple[tuple[Array, Array], Array]:
        q_i, keys, p_i, do_i = (jax.lax.dynamic_slice_in_dim(x, start, block) for x in (q, chosen, p, do))
        # What the last block repeats is added once.
        new = start + jnp.arange(block, dtype=jnp.int32) >= jnp.where(start == starts[-1], starts[-1] + count, 0)
        keys = jnp.where(new[:, None], keys, len(k) - 1)
        dp = jnp.einsum("qd,qtd->qt", do_i, v[keys])
        ds = jnp.where(keys < len(k) - 1, p_i * (dp - (p_i * dp).sum(axis=1, keepdims=True)), 0)
        dk, dv = carry
        dk = dk.at[keys].add(ds[:, :, None] * q_i[:, None, :])
        dv = dv.at[keys].add(p_i[:, :, None] * do_i[:, None, :])
        return (dk, dv), jnp.einsum("qt,qtd->qd", ds, k[keys])

    (dk, dv), dq = jax.lax.scan(body, (jnp.zeros_like(k), jnp.zeros_like(v)), starts)
    return _in_order(dq, len(q)), dk[:-1], dv[:-1]
