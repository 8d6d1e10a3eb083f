"""The program of random features: sums relative to the largest exponent of each, with their own backward pass.

With exponents t_ir of the queries' features and e_jr of the keys', every program here computes, up to a factor of
row i that the quotient does not have,

    [Σ_j a_ij v_j, Σ_j a_ij],   a_ij = Σ_r x_ir y_jr,   x_ir = e^(t_ir + c_r − top_i),   y_jr = e^(e_jr − c_r)

where c_r is the largest e_jr of some keys that all queries at hand see, and top_i = max_r (t_ir + C_ir) with C_ir
over all keys that query i sees. So no exponent is positive, and the largest product is 1. c and top cancel: they
are constants to every derivative.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attnlib import _arrays
from attnlib._sharding import each_device
from attnlib.cost.performer import LEAF
from attnlib.kernels import _chunks
from attnlib.kernels._exponential import exp_nonpositive
from attnlib.kernels._heads import by_state, each_head, lift
from attnlib.kernels.flash import _vary_alike


class State(NamedTuple):
    """All that causal `performer_attention` remembers of the past, however long.

    A JAX pytree. `np.savez(file, **state._asdict())` saves it, `State(**np.load(file))` loads it. The sums are those
    of the features over e^c, which is all that anyone reads of them: no gradient flows through c itself.

    Attributes:
        s: Σ_j φ_r(k_j) v_jᵀ / e^(c_r), shape (..., D, d_v), float32 or wider.
        z: Σ_j φ_r(k_j) / e^(c_r), shape (..., D).
        c: the largest exponent so far, of each positive feature, (..., D), or of all trigonometric ones, (..., 1).

    Example:
        >>> import jax.numpy as jnp
        >>> State(jnp.zeros((4, 3)), jnp.zeros(4), jnp.full(4, -jnp.inf)).s.shape
        (4, 3)
    """

    s: Array
    z: Array
    c: Array


def widths(kind: str, features: int) -> tuple[int, int]:
    """Return how many features D directions make, and how many exponents these have."""
    return (features, features) if kind == "positive" else (2 * features, 1)


class Plan(NamedTuple):
    """What decides the program."""

    kind: str
    causal: bool
    chunk: int


class Features(NamedTuple):
    """Features of rows before their exponential: factor · e^exponent."""

    exponent: Array
    factor: Array | None


OWN = {"q": 2, "k": 2, "v": 2, "mask": 1, "state.s": 2, "state.z": 1, "state.c": 1}
"""Axes that follow the leading ones."""


def run(
    name: str,
    plan: Plan,
    q: Any,
    k: Any,
    v: Any,
    projection: Any,
    mask: Array | None,
    scale: Any,
    state: State | None,
) -> tuple[Array, Any]:
    """Attend; with a state, also return the state after the last key, as it came."""
    arrays = {"q": jnp.asarray(q), "k": jnp.asarray(k), "v": jnp.asarray(v), "mask": mask}
    factor = jnp.asarray(1 / math.sqrt(k.shape[-1]) if scale is None else scale, _arrays.wide(q, k, v))
    results: Any = (2, None)
    if state is not None:
        axes: Any = State  # a tree of their numbers
        arrays |= {f"state.{part}": x for part, x in state._asdict().items()}
        results = (2, axes(2, 1, 1))
    shared = {"scale": factor, "projection": jnp.asarray(projection, factor.dtype)}
    out: tuple[Array, Any] = each_device(name, (attend, plan), arrays, OWN, shared, results)
    return out


@partial(jax.jit, static_argnums=0)
def attend(plan: Plan, arrays: dict[str, Any], shared: dict[str, Array]) -> tuple[Array, Any]:
    """Put the scale into queries and keys, sort the heads, attend in each on one device, and divide."""
    q, k, v, mask = (arrays[a] for a in ("q", "k", "v", "mask"))
    factor, projection = shared["scale"], shared["projection"]
    state = State(*(arrays[f"state.{part}"] for part in State._fields)) if "state.s" in arrays else None
    dtype, given = factor.dtype, v.dtype
    root, sign = jnp.sqrt(jnp.abs(factor)), jnp.where(factor < 0, -1, 1).astype(dtype)
    mask = jnp.ones(k.shape[-2:-1], bool) if mask is None else mask
    rank = max(q.ndim, k.ndim, v.ndim, mask.ndim + 1)
    q, k, v, seen = (lift(x, rank) for x in (q, k, v, mask[..., None]))
    # 0 · NaN is NaN: a hidden key and its value are zeros from here on.
    k, v = (jnp.where(seen, x.astype(dtype), 0) for x in (k, v))
    v = jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)  # the last column adds up the weights
    q, (k, v, seen), restore = by_state(q.astype(dtype) * (root * sign), k * root, v, seen)
    made, exponents = widths(plan.kind, len(projection))
    if state is None:
        s, c = jnp.zeros((len(k), made, v.shape[-1]), dtype), jnp.full((len(k), exponents), -jnp.inf, dtype)
    else:
        s = jnp.concatenate([state.s, state.z[..., None]], axis=-1).astype(dtype).reshape(len(k), made, -1)
        c = state.c.astype(dtype).reshape(len(k), exponents)
    args = (projection, q, k, v, seen, s, c)
    o, s, c = _attend(plan, *_vary_alike(args, args))
    total = o[..., -1:]
    # The one place where anything is divided: no weight at all, no output.
    o = jnp.where(total == 0, 0, o[..., :-1] / jnp.where(total == 0, 1, total))
    if state is None:
        return restore(o).astype(given), None
    new = (x.reshape(old.shape).astype(old.dtype) for x, old in zip((s[..., :-1], s[..., -1], c), state, strict=True))
    return restore(o).astype(given), State(*new)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(plan: Plan, *args: Array) -> tuple[Array, Array, Array]:
    """Return sums of weighted values and weights (heads, g, n, d_v + 1), and the sums and c after the last key.

    args: projection (D, d_k), q (heads, g, n, d_k), k (heads, m, d_k), v (heads, m, d_v + 1), seen (heads, m, 1), the
    sums before the first key (heads, D, d_v + 1) and their c (heads, D or 1).
    """
    out: tuple[Array, Array, Array] = _attend_forward(plan, *args)[0]
    return out


def _attend_forward(plan: Plan, w: Array, *args: Array) -> Any:
    (*out, s, c), _ = each_head(lambda _, x: (_forward(plan, w, x), ()), (), args)
    return tuple(out), (w, args, s, c)


def _attend_backward(plan: Plan, kept: Any, gradients: tuple[Array, ...]) -> tuple[Any, ...]:
    w, args, s, c = kept
    do, ds, _ = gradients
    own = (*args, s, c, do, ds)
    own = _vary_alike(own, (w, *own))
    (dw, dq, dk, dv, ds), _ = each_head(lambda _, x: (_backward(plan, w, x), ()), (), own)
    return dw.sum(axis=0), dq, dk, dv, None, ds, jnp.zeros_like(args[-1])


_attend.defvjp(_attend_forward, _attend_backward)


def _forward(plan: Plan, w: Array, args: tuple[Array, ...]) -> tuple[Array, ...]:
    """Attend in one head. Return also the sums and their c of the keys that every query sees."""
    q, k, v, seen, s, c = args
    n, own = q.shape[-2], min(q.shape[-2], k.shape[-2]) if plan.causal else 0
    earlier, latest = _chunks.parts((k, v, seen), own, plan.chunk)
    (queries,) = _chunks.cut((q[:, n - own :] if plan.causal else q,), plan.chunk)

    def write(state: Any, x: Any) -> Any:
        k, v, seen = x
        s, c = state
        return _write(s, c, _key(plan.kind, k, w, seen), v), None

    def meet(state: Any, x: Any) -> Any:
        q, k, v, seen = x
        (s, c), y = state, _key(plan.kind, k, w, seen)
        return _write(s, c, y, v), _read(s, c, _query(plan.kind, q, w), y, v)

    past: Any = (s, c)
    if len(earlier[0]):  # a loop that never runs takes its time to compile
        past, _ = jax.lax.scan(write, past, earlier)
    if plan.causal:
        (s, c), o = jax.lax.scan(meet, past, (queries, *latest))
        o = jnp.pad(_chunks.rows(o, own), ((0, 0), (n - own, 0), (0, 0)))
    else:
        (s, c), o = past, jax.lax.map(lambda q: _look(past[0], past[1], _query(plan.kind, q, w)), queries)
        o = _chunks.rows(o, n)
    return o, s, c, *past


def _backward(plan: Plan, w: Array, args: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return the gradients of the projection, q, k, v and the sums that one head began with.

    The chunks that queries meet pass twice: forward for the sums before each, backward for the gradients. `ds`, the
    gradient of the sums, is that of sums over e^c for the c of the same place. Keys that every query sees need no
    sums before them, and their gradient is that of the sums after the last of them.
    """
    q, k, v, seen, _, c, s_past, c_past, do, ds = args
    n, own = q.shape[-2], min(q.shape[-2], k.shape[-2]) if plan.causal else 0
    first = n - own if plan.causal else 0
    earlier, latest = _chunks.parts((k, v, seen), own, plan.chunk)
    queries, do = _chunks.cut((q[:, first:], do[:, first:]), plan.chunk)

    def sums(state: Any, x: Any) -> Any:
        k, v, seen = x
        s, c = state
        return _write(s, c, _key(plan.kind, k, w, seen), v), state

    def meet(carry: Any, x: Any) -> Any:
        (ds, dw), (s, c, q, k, v, seen, do) = carry, x
        x, pull_x = jax.vjp(partial(_query, plan.kind), q, w)
        y, pull_y = jax.vjp(lambda k, w: _key(plan.kind, k, w, seen), k, w)
        more, dx, dy, dv = _read_backward(do, s, c, x, y, v)
        new = _largest(c, y)
        dy_, dv_ = _write_backward(ds, new, y, v)
        dq, dw_q = pull_x(dx)
        dk, dw_k = pull_y(jax.tree.map(jnp.add, dy, dy_))
        return (_fade(c, new) * ds + more, dw + dw_q + dw_k), (dq, dk, dv + dv_)

    def look(carry: Any, x: Any) -> Any:
        (ds, dw), (q, do) = carry, x
        x, pull = jax.vjp(partial(_query, plan.kind), q, w)
        more, dx = _look_backward(do, s_past, c_past, x, _top(x, c_past[None]))
        dq, dw_q = pull(dx)
        return (ds + more, dw + dw_q), dq

    def write(dw: Any, x: Any) -> Any:
        k, v, seen = x
        y, pull = jax.vjp(lambda k, w: _key(plan.kind, k, w, seen), k, w)
        dy, dv = _write_backward(ds, c_past, y, v)
        dk, dw_k = pull(dy)
        return dw + dw_k, (dk, dv)

    start = ds, jnp.zeros_like(w)
    if plan.causal:
        _, before = jax.lax.scan(sums, (s_past, c_past), latest)
        (ds, dw), (dq, *last) = jax.lax.scan(meet, start, (*before, queries, *latest, do), reverse=True)
    else:
        (ds, dw), dq = jax.lax.scan(look, start, (queries, do))
        last = [x[..., :0, :, :] for x in earlier[:2]]
    both: Any = earlier[:2]
    if len(earlier[0]):
        dw, both = jax.lax.scan(write, dw, earlier)
    dk, dv = (
        jnp.concatenate([_chunks.rows(a, len(k) - own), _chunks.rows(b, own)], axis=-2)
        for a, b in zip(both, last, strict=True)
    )
    dq = jnp.pad(_chunks.rows(dq, n - first), ((0, 0), (first, 0), (0, 0)))
    return dw, dq, dk, dv, _fade(c, c_past) * ds


# --- features -------------------------------------------------------------------------------------------------------


def _query(kind: str, q: Array, w: Array) -> Features:
    """Return the features of queries (..., d_k), without a factor that all of a query's have in common."""
    p = jnp.einsum("...d,rd->...r", q, w)
    if kind == "positive":
        return Features(p, None)
    return Features(jnp.zeros_like(p[..., :1]), jnp.concatenate([jnp.cos(p), jnp.sin(p)], axis=-1))


def _key(kind: str, k: Array, w: Array, seen: Array) -> Features:
    """Return the features of keys (c, d_k): e^−∞ for those that do not exist."""
    p, half = jnp.einsum("...d,rd->...r", k, w), (k * k).sum(axis=-1, keepdims=True) / 2
    if kind == "positive":
        return Features(jnp.where(seen, p - half, -jnp.inf), None)
    return Features(jnp.where(seen, half, -jnp.inf), jnp.concatenate([jnp.cos(p), jnp.sin(p)], axis=-1))


def _evaluate(x: Features, plus: Array | float, minus: Array) -> Array:
    """Return the features times e^(plus − minus)."""
    y = exp_nonpositive(x.exponent + plus - minus)
    return y if x.factor is None else x.factor * y


def _finite(c: Array) -> Array:
    """Return c, or 0 where no key has been seen: −∞ − (−∞) is NaN."""
    return jnp.where(c == -jnp.inf, 0, c)


def _largest(c: Array, y: Features) -> Array:
    """Return c after a chunk of keys."""
    return jnp.maximum(c, jax.lax.stop_gradient(y.exponent).max(axis=0))


def _up_to(c: Array, y: Features) -> Array:
    """Return c after each key of a chunk, (c, D or 1)."""
    return jnp.maximum(c[None], jax.lax.cummax(jax.lax.stop_gradient(y.exponent), axis=0))


def _top(x: Features, c: Array) -> Array:
    """Return the largest exponent of each query's pairs (g, c, 1), 0 for none; c: (c or 1, D or 1)."""
    return _finite((jax.lax.stop_gradient(x.exponent) + c[None]).max(axis=-1, keepdims=True))


def _fade(c: Array, new: Array) -> Array:
    """Return the factor of sums over e^c that makes them sums over e^new."""
    return exp_nonpositive(c - _finite(new))[:, None]


# --- one chunk: x of queries (g, c, D), y of keys (c, D), v (c, d_v + 1), the sums before s (D, d_v + 1), c (D) -----


def _write(s: Array, c: Array, y: Features, v: Array) -> tuple[Array, Array]:
    """Return the sums after a chunk of keys."""
    new = _largest(c, y)
    return _fade(c, new) * s + jnp.einsum("cr,cv->rv", _evaluate(y, 0.0, _finite(new)[None]), v), new


def _write_backward(ds: Array, new: Array, y: Features, v: Array) -> tuple[Features, Array]:
    """Given the gradient of sums over e^new, return those of a chunk of keys and values in them."""
    y_, pull = jax.vjp(lambda y: _evaluate(y, 0.0, _finite(new)[None]), y)
    return pull(jnp.einsum("cv,rv->cr", v, ds))[0], jnp.einsum("cr,rv->cv", y_, ds)


def _look(s: Array, c: Array, x: Features) -> Array:
    """Return what queries make of keys that all of them see, and of no others."""
    return jnp.einsum("gcr,rv->gcv", _evaluate(x, c[None, None], _top(x, c[None])), s)


def _look_backward(do: Array, s: Array, c: Array, x: Features, top: Array) -> tuple[Array, Features]:
    """Return the gradients of sums over e^c and of the queries that read them."""
    x_, pull = jax.vjp(lambda x: _evaluate(x, c[None, None], top), x)
    return jnp.einsum("gcr,gcv->rv", x_, do), pull(jnp.einsum("gcv,rv->gcr", do, s))[0]


def _read(s: Array, c: Array, x: Features, y: Features, v: Array) -> Array:
    """Return what queries make of the sums before them, of their own keys, and of the keys between."""
    up_to = _up_to(c, y)
    top = _top(x, up_to)
    o = jnp.einsum("gcr,rv->gcv", _evaluate(x, c[None, None], top), s)
    o = o + _leaves(top, x, y, v)
    for size in _sizes(len(v)):
        a = jnp.einsum("gbir,bjr->gbij", _late(size, up_to, top, x), _early(size, up_to, y))
        o = o + _chunks.second(jnp.einsum("gbij,bjv->gbiv", a, _chunks.pairs(v, size)[:, 0]), len(v))
    return o


def _read_backward(
    do: Array, s: Array, c: Array, x: Features, y: Features, v: Array
) -> tuple[Array, Features, Features, Array]:
    """Given the gradient of `_read`, return those of s, x, y and v."""
    up_to = _up_to(c, y)
    top = _top(x, up_to)
    ds, dx = _look_backward(do, s, c, x, top)
    dx_, dy, dv = jax.vjp(partial(_leaves, top), x, y, v)[1](do)
    dx = jax.tree.map(jnp.add, dx, dx_)
    for size in _sizes(len(v)):
        x_, pull_x = jax.vjp(partial(_late, size, up_to, top), x)
        y_, pull_y = jax.vjp(partial(_early, size, up_to), y)
        late, early = _chunks.pairs(do, size)[..., 1, :, :], _chunks.pairs(v, size)[:, 0]
        a, da = jnp.einsum("gbir,bjr->gbij", x_, y_), jnp.einsum("gbiv,bjv->gbij", late, early)
        dx = jax.tree.map(jnp.add, dx, pull_x(jnp.einsum("gbij,bjr->gbir", da, y_))[0])
        dy = jax.tree.map(jnp.add, dy, pull_y(jnp.einsum("gbij,gbir->bjr", da, x_))[0])
        dv = dv + _chunks.first(jnp.einsum("gbij,gbiv->bjv", a, late), len(v))
    return ds, dx, dy, dv


def _leaves(top: Array, x: Features, y: Features, v: Array) -> Array:
    """Return what queries make of the keys of their own leaf, pair by pair: LEAF rows are too few for a product."""
    c = len(v)
    b = min(LEAF, c)
    see = np.tril(np.ones((b, b), bool))[..., None]

    def leaves(a: Array, value: float = 0.0) -> Array:
        """Cut rows (..., c, d) into (..., c/b, b, d)."""
        a = _chunks.fill(a, -c % b, value)
        return a.reshape(*a.shape[:-2], -1, b, a.shape[-1])

    # What is hidden is replaced before it meets anything: 0 · NaN is NaN, in a gradient, too.
    e = jnp.where(see, leaves(y.exponent, -math.inf)[:, None], -jnp.inf)[None]
    a = exp_nonpositive(leaves(x.exponent, -math.inf)[:, :, :, None] + e - leaves(top)[:, :, :, None])
    if x.factor is not None and y.factor is not None:
        a = a * leaves(x.factor)[:, :, :, None] * jnp.where(see, leaves(y.factor)[:, None], 0)[None]
    o = a.sum(axis=-1, keepdims=True) * jnp.where(see, leaves(v)[:, None], 0)[None]
    o = o.sum(axis=3)
    return o.reshape(len(o), -1, o.shape[-1])[:, :c]


def _sizes(c: int) -> list[int]:
    """Return the sizes of the halves of a chunk that are no leaves."""
    return [size for size in _chunks.sizes(c) if size >= LEAF]


def _late(size: int, up_to: Array, top: Array, x: Features) -> Array:
    """Return the features of second halves as they see the first ones: over e^c for the c of the middle."""
    top = _chunks.pairs(top, size)[..., 1, :, :]
    return _evaluate(_half(size, 1, x), _middle(size, up_to)[None, :, None], top)


def _early(size: int, up_to: Array, y: Features) -> Array:
    """Return the features of first halves."""
    return _evaluate(_half(size, 0, y), 0.0, _finite(_middle(size, up_to))[:, None])


def _half(size: int, which: int, x: Features) -> Features:
    """Return the first or the second halves; rows of features e^−∞ fill the last pair."""
    exponent = _chunks.pairs(x.exponent, size, -math.inf)[..., which, :, :]
    return Features(exponent, None if x.factor is None else _chunks.pairs(x.factor, size)[..., which, :, :])


def _middle(size: int, up_to: Array) -> Array:
    """Return c after the first half of each pair; where that half is the last of the chunk, no query asks."""
    c = len(up_to)
    return up_to[np.minimum(np.arange(0, c, 2 * size) + size - 1, c - 1)]
