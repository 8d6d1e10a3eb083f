"""Gated linear attention: sums over keys that decay, chunk by chunk, or one step at a time with a state to keep."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from attnlib import _arrays, _check
from attnlib._sharding import each_device
from attnlib.cost.gated import CAUSAL_ONLY, CHUNK
from attnlib.kernels import _chunks
from attnlib.kernels._heads import by_state, each_head, lift
from attnlib.kernels._state import check_arguments, key_mask, wide_enough
from attnlib.kernels.flash import _vary_alike

AnyArray = Array | np.ndarray


def gated_linear_attention(
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b m d_k"],
    v: Float[AnyArray, "*#b m d_v"],
    decay: float | Float[AnyArray, "..."] | None = None,
    *,
    causal: bool = True,
    mask: Bool[AnyArray, "..."] | None = None,
    scale: float | Float[Array, ""] | None = None,
    chunk: int | None = None,
) -> Float[Array, "*b n d_v"]:
    """Add up the values with weights that are products of queries and keys and fade with every later key.

    o_i = scale · Σ_{j ≤ i} (q_i ∘ e^(decay_{j+1} + … + decay_i)) · k_j v_j

    Nothing is divided: the weights do not sum to one. With one decay for all keys this is the retention of RetNet,
    with one for each key the form of Mamba-2, with one for each key and channel gated linear attention, and without
    decay it is linear attention with φ(x) = x, not normalised.

    All decays are applied as products of e^x for sums x of consecutive ones, never as e^x / e^y: where they are at
    most 0 nothing overflows, however strong they are, and no difference of long sums loses digits. The pairs within a
    chunk are halved for that: the second half of the queries sees the first half of the keys through the middle, the
    rest are two chunks of half the length. No hidden pair is computed at all. The backward pass runs through the
    chunks again instead of keeping what the products read.

    Args:
        q: queries, shape (..., n, d_k), any floating dtype; leading axes broadcast as in `attention`.
        k: keys, shape (..., m, d_k).
        v: values, shape (..., m, d_v).
        decay: log-decays, at most 0: decay_t is added to the exponents of all keys before t. A number: one for all
            keys. One axis less than k, (..., m): one for each key. As many axes as k, (..., m, d_k): one for each
            channel; (..., m, 1) is again one for each key, and what `spread` can split. Leading axes broadcast. −∞
            forgets whatever finite came before. None: no decay. In arrays no value is looked at: one above 0 grows.
        causal: True, the only choice: a decay has a direction.
        mask: boolean, True = may attend, broadcastable to (..., 1, m): keys can be hidden from all queries. The decay
            of a hidden key counts all the same.
        scale: factor of the queries; 1 by default, as in the papers.
        chunk: queries and keys in a chunk; 32 by default.

    Returns:
        Array (..., n, d_v) in v's dtype; sums are float32 or wider. Zeros, with zero gradient, for a query that sees
        no key. A NaN or infinity in q, k or v never reaches an output or a gradient through a hidden pair; through
        one that is seen, and past any decay, it goes as arithmetic has it.

    Raises:
        ValueError: as `attention`; a decay whose shape is none of these, `causal` that is not True, a mask that
            differs between queries, a chunk that is not a positive integer.

    Cost: `cost.gated_linear_attention(n, d_k, …)`: 4nd_k·d_v + n(chunk − 1)(d_k + d_v) FLOPs in matrix products;
        memory for one chunk and d_k·d_v sums, backward for those sums before every chunk of one head.

    Source: Yang et al. (2024); one decay for all keys: Sun et al. (2023); one for each key:
        Dao and Gu (2024).

    Example:
        >>> import jax.numpy as jnp
        >>> q, v = jnp.ones((3, 1)), jnp.array([[8.0], [2.0], [1.0]])
        >>> print(gated_linear_attention(q, q, v, jnp.array([0.0, 0.0, -jnp.inf])))  # the third forgets the others
        [[ 8.]
         [10.]
         [ 1.]]
    """
    name = "gated_linear_attention"
    check_arguments(name, q, k, v, causal, mask, scale, chunk)
    if not causal:
        raise ValueError(f"{name}: causal: expected True: {CAUSAL_ONLY}, got False")
    decay = channels(name, q, k, v, decay)
    return run(name, q, k, v, decay, key_mask(name, mask, k), scale, chunk, None)[0]


def gated_linear_attention_state(
    d_k: int, d_v: int, *, lead: tuple[int, ...] = (), dtype: DTypeLike = jnp.float32
) -> Float[Array, "..."]:
    """Return the state before the first token: a sum over no keys.

    s = 0 (d_k × d_v)

    Args:
        d_k: width of the keys.
        d_v: width of the values.
        lead: leading axes, those of k, v and decay together: (batch, h_kv), or (batch, h_kv, 1) for grouped queries.
        dtype: of the sum; float32 or wider.

    Returns:
        Zeros, shape (*lead, d_k, d_v).

    Raises:
        ValueError: sizes that are not positive integers, a dtype narrower than float32.

    Cost: d_k·d_v numbers for each head: `cost.gated_linear_attention_step`.

    Source: Yang et al. (2024).

    Example:
        >>> gated_linear_attention_state(16, 64, lead=(8,)).shape
        (8, 16, 64)
    """
    name = "gated_linear_attention_state"
    _check.positive_int(name, d_k=d_k, d_v=d_v)
    _check.axes(name, "lead", lead)
    wide_enough(name, dtype)
    return jnp.zeros((*lead, d_k, d_v), dtype)


def gated_linear_attention_step(
    state: Float[AnyArray, "..."],
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b n d_k"],
    v: Float[AnyArray, "*#b n d_v"],
    decay: float | Float[AnyArray, "..."] | None = None,
    *,
    scale: float | Float[Array, ""] | None = None,
    chunk: int | None = None,
) -> tuple[Float[Array, "*b n d_v"], Float[Array, "..."]]:
    """Take n new tokens: one to decode, many to read a prompt. Return their outputs and the state after them.

    s ← e^decay ∘ s + k vᵀ,   o = scale · qᵀ s

    Any split of a sequence into steps gives what `gated_linear_attention` gives at once, gradients included: they
    flow through the state.

    Args:
        state: what earlier calls returned, or `gated_linear_attention_state`.
        q: queries of the new tokens, shape (..., n, d_k).
        k: their keys, shape (..., n, d_k).
        v: their values, shape (..., n, d_v).
        decay: their log-decays, as in `gated_linear_attention`.
        scale: as in `gated_linear_attention`.
        chunk: as in `gated_linear_attention`.

    Returns:
        The outputs (..., n, d_v) in v's dtype, and the state after the last token.

    Raises:
        ValueError: as `gated_linear_attention`; n keys that are not n queries, a state that does not fit them.

    Cost: `cost.gated_linear_attention_step(d_k, …)`: 4d_k·d_v FLOPs in matrix products for one token, whatever came
        before it.

    Source: Yang et al. (2024).

    Example:
        >>> import jax.numpy as jnp
        >>> one, state = jnp.ones((1, 1)), gated_linear_attention_state(1, 1)
        >>> for value, decay in ((8.0, 0.0), (2.0, -jnp.inf), (1.0, 0.0)):
        ...     o, state = gated_linear_attention_step(state, one, one, value * one, decay * one)
        >>> print(o, state)  # the second key forgot the first
        [[3.]] [[3.]]
    """
    name = "gated_linear_attention_step"
    check_arguments(name, q, k, v, True, None, scale, chunk)
    if q.shape[-2] != k.shape[-2]:
        raise ValueError(f"{name}: k: expected n = {q.shape[-2]} new keys as in q, got {k.shape[-2]}")
    decay = channels(name, q, k, v, decay)
    _arrays.floating(name, state=state)
    if _arrays.narrow(state.dtype):
        raise ValueError(
            f"{name}: state: expected float32 or float64: a narrower sum stops growing, got {state.dtype}"
        )
    shape = (*np.broadcast_shapes(k.shape[:-2], v.shape[:-2], decay.shape[:-2]), k.shape[-1], v.shape[-1])
    if tuple(state.shape) != shape:
        raise ValueError(
            f"{name}: state: expected shape {shape} for these keys, values and decays, got {tuple(state.shape)}"
        )
    return run(name, q, k, v, decay, None, scale, chunk, jnp.asarray(state))


def channels(name: str, q: Any, k: Any, v: Any, decay: Any) -> Array:
    """Return checked decays as (..., m, 1) or (..., m, d_k)."""
    if decay is None:
        decay = 0.0
    if isinstance(decay, _check.NUMBERS) and not isinstance(decay, bool):
        if not decay <= 0:
            raise ValueError(f"{name}: decay: expected a number of at most 0, got {decay!r}")
        return jnp.full((k.shape[-2], 1), decay, _arrays.wide(k))
    _arrays.floating(name, decay=decay)
    if decay.ndim == 0:
        return jnp.broadcast_to(jnp.asarray(decay), (k.shape[-2], 1))
    m, d_k = k.shape[-2:]
    shape = (*decay.shape, 1) if decay.ndim == k.ndim - 1 else decay.shape
    if len(shape) != k.ndim or shape[-2:] not in ((m, 1), (m, d_k)):
        raise ValueError(
            f"{name}: decay: expected shape (..., {m}), one axis less than k {tuple(k.shape)}, "
            f"or (..., {m}, {d_k}), as many, got {tuple(decay.shape)}"
        )
    _check.broadcastable(name, q=q.shape[:-2], k=k.shape[:-2], v=v.shape[:-2], decay=shape[:-2])
    return jnp.asarray(decay).reshape(shape)


OWN = {"q": 2, "k": 2, "v": 2, "decay": 2, "mask": 1, "state": 2}
"""Axes that follow the leading ones."""


def run(
    name: str,
    q: Any,
    k: Any,
    v: Any,
    decay: Array,
    mask: Array | None,
    scale: Any,
    chunk: int | None,
    state: Array | None,
) -> tuple[Array, Any]:
    """Attend; with a state, also return the state after the last key, as it came."""
    arrays = {"q": jnp.asarray(q), "k": jnp.asarray(k), "v": jnp.asarray(v), "decay": decay, "mask": mask}
    factor = jnp.asarray(1 if scale is None else scale, _arrays.wide(q, k, v, decay))
    results = (2, None if state is None else 2)
    call = (attend_heads, CHUNK if chunk is None else chunk)
    out: tuple[Array, Any] = each_device(name, call, {**arrays, "state": state}, OWN, {"scale": factor}, results)
    return out


def attend_heads(chunk: int, arrays: dict[str, Any], shared: dict[str, Array]) -> tuple[Array, Any]:
    """Attend on one device, in its part of the leading axes.

    A head is what shares a state: keys, values and decays.
    """
    q, k, v, decay, mask, state = (arrays[a] for a in OWN)
    dtype, given = shared["scale"].dtype, v.dtype
    mask = None if mask is None else mask[..., None]
    rank = max(x.ndim for x in (q, k, v, decay, mask) if x is not None)
    q, k, v, decay = (lift(x.astype(dtype), rank) for x in (q, k, v, decay))
    q = q * shared["scale"]
    if mask is not None:
        k, v = (jnp.where(lift(mask, rank), x, 0) for x in (k, v))
    q, (k, v, decay), restore = by_state(q, k, v, decay)
    s = jnp.zeros((len(k), k.shape[-1], v.shape[-1]), dtype) if state is None else state.astype(dtype)
    o, s = attend(chunk, q, k, v, decay, s.reshape(len(k), *s.shape[-2:]))
    return restore(o).astype(given), None if state is None else s.reshape(state.shape).astype(state.dtype)


@partial(jax.jit, static_argnums=0)
def attend(chunk: int, *args: Array) -> tuple[Array, Array]:
    """Return outputs (heads, g, n, d_v) and the sums after the last key, all in one dtype.

    args: q (heads, g, n, d_k), k (heads, m, d_k), v (heads, m, d_v), decay (heads, m, 1 or d_k), the sums before the
    first key (heads, d_k, d_v).
    """
    out: tuple[Array, Array] = _attend(chunk, *_vary_alike(args, args))
    return out


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(chunk: int, *args: Array) -> tuple[Array, Array]:
    return _attend_forward(chunk, *args)[0]


def _attend_forward(chunk: int, *args: Array) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
    out, _ = each_head(lambda _, x: (_forward(chunk, x), ()), (), args)
    return out, args


def _attend_backward(chunk: int, args: tuple[Array, ...], gradients: tuple[Array, Array]) -> tuple[Array, ...]:
    args = (*args, *gradients)
    out: tuple[Array, ...] = each_head(lambda _, x: (_backward(chunk, x), ()), (), _vary_alike(args, args))[0]
    return out


_attend.defvjp(_attend_forward, _attend_backward)


def _forward(chunk: int, args: tuple[Array, ...]) -> tuple[Array, Array]:
    """Attend in one head: the keys that every query sees, then those that queries meet one by one."""
    q, k, v, decay, s = args
    n, own = q.shape[-2], min(q.shape[-2], k.shape[-2])
    earlier, latest = _chunks.parts((k, v, decay), own, chunk)
    s, _ = jax.lax.scan(lambda s, x: (_write(s, *x), None), s, earlier)
    (queries,) = _chunks.cut((q[:, n - own :],), chunk)
    s, o = jax.lax.scan(lambda s, x: (_write(s, *x[1:]), _read(s, *x)), s, (queries, *latest))
    return jnp.pad(_chunks.rows(o, own), ((0, 0), (n - own, 0), (0, 0))), s


def _backward(chunk: int, args: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return the gradients of one head: its sums again, then the chunks from the last to the first."""
    q, k, v, decay, s, do, ds = args
    n, own = q.shape[-2], min(q.shape[-2], k.shape[-2])
    earlier, latest = _chunks.parts((k, v, decay), own, chunk)
    s, before = jax.lax.scan(lambda s, x: (_write(s, *x), s), s, earlier)
    _, between = jax.lax.scan(lambda s, x: (_write(s, *x), s), s, latest)
    queries, do = _chunks.cut((q[:, n - own :], do[:, n - own :]), chunk)

    def both(ds: Array, x: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        s, q, k, v, decay, do = x
        more, (dk, dv, dd) = _write_backward(ds, s, k, v, decay)
        ds, dq, dk_, dv_, dd_ = _read_backward(do, s, q, k, v, decay)
        return more + ds, (dq, dk + dk_, dv + dv_, dd + dd_)

    ds, (dq, *last) = jax.lax.scan(both, ds, (between, queries, *latest, do), reverse=True)
    ds, first = jax.lax.scan(lambda ds, x: _write_backward(ds, *x), ds, (before, *earlier), reverse=True)
    grown = (
        jnp.concatenate([_chunks.rows(a, len(k) - own), _chunks.rows(b, own)], axis=-2)
        for a, b in zip(first, last, strict=True)
    )
    return jnp.pad(_chunks.rows(dq, own), ((0, 0), (n - own, 0), (0, 0))), *grown, ds


# --- one chunk: q (g, c, d_k), k (c, d_k), v (c, d_v), decay (c, 1 or d_k), the sums before it s (d_k, d_v) ---------


class Spans(NamedTuple):
    """What decays add up to on spans of a chunk, or e to the power of that: what is left after them."""

    before: Array  # from the first row to row i, (c, 1 or d_k)
    after: Array  # from the row after j to the last
    halves: list[tuple[Array, Array]]  # by size: `before` of second halves, `after` of first ones, (pairs, size, ·)


def _spans(decay: Array) -> Spans:
    """Add up decays on spans that double from size to size: each sum is made of two, none by taking one away."""
    c, width = decay.shape
    before = _chunks.fill(decay, (1 << (c - 1).bit_length()) - c)
    after, halves = jnp.zeros_like(before), []
    for size in _chunks.sizes(c):
        b, a = (x.reshape(-1, 2, size, width) for x in (before, after))
        pairs = -(-c // (2 * size))  # those of `_chunks.pairs`
        halves.append((b[:pairs, 1], a[:pairs, 0]))
        before = jnp.stack([b[:, 0], b[:, 1] + b[:, 0, -1:]], axis=1).reshape(-1, width)
        after = jnp.stack([a[:, 0] + b[:, 1, -1:], a[:, 1]], axis=1).reshape(-1, width)
    return Spans(before[:c], after[:c], halves)


def _fades(decay: Array) -> Spans:
    """e^(sums of decays): not products of e^decay, which are faster, but whose roundings pile up."""
    fades: Spans = jax.tree.map(jnp.exp, _spans(decay))
    return fades


def _spans_backward(grown: Spans, decay: Array) -> Array:
    """Return the gradient of the decays, given those of the sums of every channel on all spans: the way back.

    Not `jax.linear_transpose`, which adds other zeros in another version of JAX.
    """
    grown = jax.tree.map(lambda x: _sum_channels(x, decay), grown)
    c, width = decay.shape
    before, after = (_chunks.fill(x, (1 << (c - 1).bit_length()) - c) for x in (grown.before, grown.after))
    for size, (late, early) in reversed(list(zip(_chunks.sizes(c), grown.halves, strict=True))):
        b, a = (x.reshape(-1, 2, size, width) for x in (before, after))
        late, early = (jnp.pad(x, ((0, len(b) - len(x)), (0, 0), (0, 0))) for x in (late, early))
        # The last sum of a half went into all sums of the other.
        first, second = _add_to_last(b[:, 0], b[:, 1]), _add_to_last(b[:, 1] + late, a[:, 0])
        before = jnp.stack([first, second], axis=1).reshape(-1, width)
        after = jnp.stack([a[:, 0] + early, a[:, 1]], axis=1).reshape(-1, width)
    return before[:c]


def _add_to_last(x: Array, rows: Array) -> Array:
    """Add the sum of rows to the last row of x, (pairs, size, ·)."""
    return jnp.concatenate([x[:, :-1], x[:, -1:] + rows.sum(axis=1, keepdims=True)], axis=1)


def _sum_channels(x: Array, decay: Array) -> Array:
    return x.sum(axis=-1, keepdims=True) if decay.shape[-1] == 1 else x


def _write(s: Array, k: Array, v: Array, decay: Array) -> Array:
    """Return the sums after a chunk of keys."""
    fades = _fades(decay)
    return fades.before[-1][:, None] * s + jnp.einsum("ck,cv->kv", k * fades.after, v)


def _write_backward(ds: Array, s: Array, k: Array, v: Array, decay: Array) -> tuple[Array, tuple[Array, ...]]:
    """Given the gradient of the sums after a chunk, return that of the sums before it, and of k, v and decay."""
    fades = _fades(decay)
    left, x = fades.before[-1][:, None], k * fades.after
    dx, dv = jnp.einsum("cv,kv->ck", v, ds), jnp.einsum("ck,kv->cv", x, ds)
    dd = jax.lax.cumsum(_sum_channels(dx * x, decay), 0)
    dd = jnp.pad(dd[:-1], ((1, 0), (0, 0))) + _sum_channels((left * s * ds).sum(axis=1)[None], decay)
    return left * ds, (dx * fades.after, dv, dd)


def _read(s: Array, q: Array, k: Array, v: Array, decay: Array) -> Array:
    """Return the outputs of a chunk: from the sums before it, from each query's own key, from the keys between."""
    fades, c = _fades(decay), len(k)
    o = jnp.einsum("gck,kv->gcv", q * fades.before[None], s) + (q * k[None]).sum(axis=-1, keepdims=True) * v[None]
    for size, fade in zip(_chunks.sizes(c), fades.halves, strict=True):
        x, y, w = _halves(size, fade, q, k, v)
        late = jnp.einsum("bgij,bjv->bgiv", jnp.einsum("bgik,bjk->bgij", x, y), w)
        o = o + _back(late, c)
    return o


def _read_backward(do: Array, s: Array, q: Array, k: Array, v: Array, decay: Array) -> tuple[Array, ...]:
    """Given the gradient of a chunk's outputs, return those of s, q, k, v and decay."""
    fades, c = _fades(decay), len(k)
    x = q * fades.before[None]
    dx, ds = jnp.einsum("gcv,kv->gck", do, s), jnp.einsum("gck,gcv->kv", x, do)
    before, halves = (dx * x).sum(axis=0), []
    own = (do * v[None]).sum(axis=-1, keepdims=True)
    dq, dk = dx * fades.before[None] + own * k[None], (own * q).sum(axis=0)
    dv = ((q * k[None]).sum(axis=-1, keepdims=True) * do).sum(axis=0)
    for size, fade in zip(_chunks.sizes(c), fades.halves, strict=True):
        x, y, w = _halves(size, fade, q, k, v)
        late = _late(do, size)
        a, da = jnp.einsum("bgik,bjk->bgij", x, y), jnp.einsum("bgiv,bjv->bgij", late, w)
        dx, dy = jnp.einsum("bgij,bjk->bgik", da, y), jnp.einsum("bgij,bgik->bjk", da, x)
        dq, dk = dq + _back(dx * fade[0][:, None], c), dk + _chunks.first(dy * fade[1], c)
        dv = dv + _chunks.first(jnp.einsum("bgij,bgiv->bjv", a, late), c)
        halves.append(((dx * x).sum(axis=1), dy * y))
    return ds, dq, dk, dv, _spans_backward(Spans(before, jnp.zeros_like(k), halves), decay)


def _halves(size: int, fade: tuple[Array, Array], q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
    """Return second queries and first keys as the middle of their pair sees them, and first values.

    Pairs come first, (pairs, g, size, d) and (pairs, size, d): a product for each of them, whose rows lie together.
    """
    x, y = _late(q, size) * fade[0][:, None], _chunks.pairs(k, size)[:, 0] * fade[1]
    return x, y, _chunks.pairs(v, size)[:, 0]


def _late(x: Array, size: int) -> Array:
    """Return the second halves of rows (g, c, d)."""
    return jnp.moveaxis(_chunks.pairs(x, size)[:, :, 1], 0, 1)


def _back(x: Array, c: int) -> Array:
    """Put second halves where `_late` took them from, zeros elsewhere."""
    return _chunks.second(jnp.moveaxis(x, 1, 0), c)
