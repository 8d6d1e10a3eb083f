"""The engine of linear attention: weights φ(q)·ψ(k) as running sums over chunks, with their own backward pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attnlib import _arrays
from attnlib.kernels._heads import Index, bad, each_head, lift, share
from attnlib.kernels.flash import _vary_alike


class Kernel(Protocol):
    """What a mechanism says of itself; hashable, because it decides what is compiled."""

    def query(self, q: Array, *consts: Array) -> Array:
        """Return the features of c queries, (D, c): row by row, which is the order the products read them in."""

    def key(self, k: Array, *consts: Array) -> Array:
        """Return the features of c keys, (D, c)."""

    def pairs(self, q: Array, k: Array, *consts: Array) -> Array:
        """Return query(q)ᵀ key(k), by the cheapest way."""


class Plan(NamedTuple):
    """How one head is cut: g queries share a key; the last `own` queries and keys meet in a triangle."""

    kernel: Any
    g: int
    n: int
    m: int
    chunk: int
    causal: bool
    keep: bool  # begin with given sums, and return the final ones

    @property
    def own(self) -> int:
        """Keys that not every query sees: the triangle."""
        return min(self.n, self.m) if self.causal else 0

    def sweep(self, body: Callable[..., Any], carry: Any, length: int, reverse: bool = False) -> Any:
        """Run carry = body(carry, start, size, last) on chunks of `length` rows; what is left over is one, too.

        `last`: no chunk follows this one, which is in no loop: what only later chunks need can be left out.
        """
        whole, rest = divmod(length, self.chunk)

        def step(carry: Any, start: Array) -> tuple[Any, None]:
            return body(carry, start, self.chunk, False), None

        def loop(carry: Any) -> Any:
            if whole < 2:
                return body(carry, jnp.int32(0), self.chunk, not rest) if whole else carry
            starts = self.chunk * jnp.arange(whole, dtype=jnp.int32)
            return jax.lax.scan(step, carry, starts, reverse=reverse)[0]

        def tail(carry: Any) -> Any:
            return body(carry, jnp.int32(whole * self.chunk), rest, True) if rest else carry

        return loop(tail(carry)) if reverse else tail(loop(carry))


def arrange(q: Array, k: Array, v: Array, mask: Array | None) -> Any:
    """Sort the leading axes: those that only queries have are rows of one head, which share its keys.

    Returns q (· g, n, ·), k (·, m, ·), v (·, m, ·) and mask (·, m), g, the index that says where each head finds its
    own, and a function that gives outputs (heads, g, n, d_v) their shape.
    """
    rank = max(x.ndim for x in (q, k, v) if x is not None)
    arrays = [lift(x, rank) for x in (q, k, v)]
    if mask is not None:
        arrays.append(lift(mask[..., None] if mask.ndim else mask[None, None], rank))
    leads = [x.shape[:-2] for x in arrays]
    lead = np.broadcast_shapes(*leads)
    group = [a for a in range(rank - 2) if leads[0][a] > 1 and all(x[a] == 1 for x in leads[1:])]
    batch = [a for a in range(rank - 2) if a not in group]
    order = (*batch, *group, rank - 2, rank - 1)
    g = math.prod(lead[a] for a in group)
    index = share([tuple(x[a] for a in batch) for x in leads])
    if mask is None:
        index = (*index, (0,) * len(index[0]))
    q_, k_, v_ = arrays[:3]
    q_ = q_.transpose(order).reshape(-1, *q_.shape[-2:]) if group else q_.reshape(-1, *q_.shape[-2:])
    k_, v_ = (x.reshape(-1, *x.shape[-2:]) for x in (k_, v_))
    mask_ = None if mask is None else arrays[3].reshape(-1, arrays[3].shape[-2])

    def restore(o: Array) -> Array:
        o = o.reshape(*(lead[a] for a in (*batch, *group)), *o.shape[-2:])
        return o.transpose(np.argsort(order)) if group else o

    return (q_, k_, v_, mask_), g, index, restore


@partial(jax.jit, static_argnums=(0, 1))
def attend(plan: Plan, index: Any, args: Any) -> tuple[Array, Any]:
    """Return outputs (heads, g, n, d_v) and, if the plan keeps them, the final sums (s, z) of every head.

    args: consts of the feature map, q (· g, n, ·), k (·, m, ·), v (·, m, d_v), mask (·, m) or None, sums (s, z) of
    heads or None. index: for each head, where to find it in q, k, v and mask, as tuples of integers.
    """
    leaves, tree = jax.tree.flatten(args)
    args = jax.tree.unflatten(tree, _vary_alike(tuple(leaves), tuple(leaves)))
    out: tuple[Array, Any] = _attend(plan, index, args)
    return out


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(plan: Plan, index: Index, args: Any) -> tuple[Array, Any]:
    o, sums, _ = _run(plan, index, args)
    return o, sums


def _run(plan: Plan, index: Index, args: Any) -> tuple[Array, Any, Array]:
    """Attend in every head. Each reads its chunks from the whole arrays, so that nothing of length n is copied."""
    out, _ = each_head(lambda where, sums: (_forward(plan, args, where, sums), ()), index, args[-1])
    result: tuple[Array, Any, Array] = out
    return result


def _attend_forward(plan: Plan, index: Index, args: Any) -> Any:
    # Without `causal` the final sums are what the backward pass needs too; with it, it runs through them again.
    o, sums, den = _run(plan._replace(keep=plan.keep or not plan.causal), index, args)
    return (o, sums if plan.keep else None), (args, o, den, None if plan.causal else sums)


def _attend_backward(plan: Plan, index: Index, kept: Any, gradients: Any) -> Any:
    args, o, den, sums = kept
    consts, q, k, v, _, start = args
    do, dsums = gradients
    own = (o, den, do, start if plan.causal else sums, dsums if plan.keep else None)
    shapes = (len(q) // plan.g, plan.g, *q.shape[1:]), k.shape, v.shape
    totals = [jnp.zeros_like(q, shape=shape, dtype=_arrays.wide(q, k)) for shape in shapes]

    def run(where: Array, own: Any) -> Any:
        *grown, dstart, dconsts = _backward(plan, args, where, own)
        return (dstart, dconsts), tuple(grown)

    (dstart, dconsts), grown = each_head(run, index, own, totals)
    dq, dk, dv = (x.reshape(like.shape).astype(like.dtype) for x, like in zip(grown, (q, k, v), strict=True))
    dconsts = [x.sum(0).astype(like.dtype) for x, like in zip(dconsts, consts, strict=True)]
    return ((dconsts, dq, dk, dv, None, None if start is None else dstart),)


_attend.defvjp(_attend_forward, _attend_backward)


class Head:
    """The chunks of one head, read from the whole arrays where they are needed: nothing of length n is copied."""

    def __init__(self, plan: Plan, args: Any, where: Array) -> None:
        self.plan, self.where = plan, where
        self.consts, self.q, self.k, self.v, self.mask, _ = args
        self.wide = _arrays.wide(self.q, self.k)

    def queries(self, start: Array, size: int) -> tuple[Array, Array]:
        """Return g·size queries from row `start` on, with ones for bad ones, and which are bad.

        Not zeros: there a feature map may have no derivative, and 0 · NaN is NaN.
        """
        x = _rows(self.q, self.where[0] * self.plan.g, start, size, self.plan.g).astype(self.wide)
        ill = bad(x)
        return once(jnp.where(ill[:, None], 1, x)), ill

    def keys(self, start: Array, size: int) -> tuple[Array, Array, Array | None, Array]:
        """Return keys, values, which of them exist, and which that exist are bad; ones and zeros for the others."""
        k = _rows(self.k, self.where[1], start, size).astype(self.wide)
        v = _rows(self.v, self.where[2], start, size).astype(self.wide)
        ill = bad(k) | bad(v)
        seen = None
        if self.mask is not None:
            seen = jax.lax.dynamic_slice(self.mask, (self.where[3], start), (1, size))[0]
        use = ~ill if seen is None else seen & ~ill
        k, v = once(jnp.where(use[:, None], k, 1)), once(jnp.where(use[:, None], v, 0))
        return k, v, seen, ill if seen is None else ill & seen

    def key_features(self, k: Array, seen: Array | None) -> Array:
        """Return the features of keys, zeros for those that do not exist."""
        x = self.plan.kernel.key(k, *self.consts)
        return once(x if seen is None else jnp.where(seen[None], x, 0))

    def visible(self, size: int, seen: Array | None) -> Array:
        """Return which pairs of a chunk on the diagonal meet, (g·size, size)."""
        past = jnp.tril(jnp.ones((size, size), bool))
        past = jnp.broadcast_to(past, (self.plan.g, size, size)).reshape(-1, size)
        return past if seen is None else past & seen[None]


def _forward(plan: Plan, args: Any, where: Array, sums: Any) -> tuple[Array, Any, Array]:
    """Attend in one head: return o (g, n, d_v), the final sums and the denominators (g, n)."""
    head = Head(plan, args, where)
    sums = _start(head, sums)
    sums = plan.sweep(partial(_write, head), sums, plan.m - plan.own)
    o = jnp.zeros_like(head.v, shape=(plan.g, plan.n, head.v.shape[-1]))
    den = jnp.zeros_like(o, shape=o.shape[:2], dtype=head.wide)
    hidden = plan.n - plan.own if plan.causal else 0  # queries above the triangle, when there are more than keys

    def body(carry: Any, start: Array, size: int, last: bool) -> Any:
        (s, z), o, den = carry
        q, ill = head.queries(start + hidden, size)
        x = once(plan.kernel.query(q, *head.consts))
        num, d = _across(x, s), z @ x
        if plan.causal:
            k, v, seen, ill_k = head.keys(start + (plan.m - plan.own), size)
            a = jnp.where(ill_k[None], jnp.nan, plan.kernel.pairs(q, k, *head.consts))
            a = jnp.where(head.visible(size, seen), a, 0)
            num, d = num + a @ v, d + a.sum(axis=1)
            if plan.keep or not last:
                s, z = _add(s, z, head.key_features(k, seen), v, ill_k)
        d = jnp.where(ill, jnp.nan, d)
        # The one place where anything is divided: no weight at all, no output.
        y = jnp.where((d == 0)[:, None], 0, num / jnp.where(d == 0, 1, d)[:, None])
        return (s, z), _put(o, y, start + hidden), _put(den, d, start + hidden)

    sums, o, den = plan.sweep(body, (sums, o, den), plan.own if plan.causal else plan.n)
    return o, sums if plan.keep else None, den


def _start(head: Head, sums: Any) -> Any:
    """Return the sums to begin with: given ones, or zeros."""
    if sums is not None:
        return tuple(x.astype(head.wide) for x in sums)
    features = jax.eval_shape(
        head.plan.kernel.key, jnp.zeros_like(head.k, shape=(1, head.k.shape[-1]), dtype=head.wide), *head.consts
    ).shape[0]
    z = jnp.zeros_like(head.v, shape=(features,), dtype=head.wide)
    return jnp.zeros_like(z, shape=(features, head.v.shape[-1])), z


def _write(head: Head, sums: Any, start: Array, size: int, last: bool) -> tuple[Array, Array]:
    """Add the keys of a chunk that every query sees to the sums."""
    k, v, seen, ill_k = head.keys(start, size)
    s, z = sums
    return _add(s, z, head.key_features(k, seen), v, ill_k)


def _add(s: Array, z: Array, x: Array, v: Array, ill: Array) -> tuple[Array, Array]:
    return s + x @ v, z + x.sum(axis=1) + jnp.where(ill.any(), jnp.nan, 0).astype(z.dtype)


def _backward(plan: Plan, args: Any, where: Array, own: Any) -> Any:
    """Return the gradients of q, k, v, the first sums and the consts of one head.

    With y = do/den and c = do·o/den, a weight a_ij has the gradient y_i·v_j − c_i: o_i = Σ_j a_ij v_j / den_i, and
    den_i = Σ_j a_ij. As a_ij = x_i·x_j is a product of features, with s = Σ_j x_j v_jᵀ and z = Σ_j x_j over the keys
    that i sees

        dx_i = s y_i − z c_i,   dx_j = ds v_j + dz,   dv_j = dsᵀ x_j,   ds = Σ_i x_i y_iᵀ,   dz = −Σ_i x_i c_i

    over the queries that see j. So the sums of keys grow once more, forward, and give dq; those of queries grow
    backward, from the last chunk on, and give dk and dv. Without `causal` everyone sees everyone: s and z are those
    that the forward pass kept, ds and dz are complete once all queries have passed. From dx to dq and dk: `jax.vjp`.
    """
    head = Head(plan, args, where)
    o, den, do, sums, dsums = own
    sums = _start(head, sums)
    hidden, before = (plan.n - plan.own, plan.m - plan.own) if plan.causal else (0, plan.m)
    length = plan.own if plan.causal else plan.n
    kernel, consts, dtype = plan.kernel, head.consts, head.wide

    def rows(start: Array, size: int) -> tuple[Array, Array, Array, Array]:
        """Queries of a chunk with their y and c; ones and zeros where one of them is bad."""
        q, ill = head.queries(start + hidden, size)
        out, g, d = (_rows(x, 0, start + hidden, size, plan.g).astype(dtype) for x in (o, do, den[..., None]))
        inverse = jnp.where(d == 0, 0, 1 / jnp.where(d == 0, 1, d))
        y, c = g * inverse, ((g * out).sum(axis=1, keepdims=True) * inverse)[:, 0]
        ill = ill | bad(y) | ~jnp.isfinite(c)
        return jnp.where(ill[:, None], 1, q), jnp.where(ill[:, None], 0, y), jnp.where(ill, 0, c), ill

    def forward(carry: Any, start: Array, size: int, last: bool) -> Any:
        """Gradients of queries, and of what meets on the diagonal."""
        # (s, z): keys before this chunk. back: (ds, dz, NaN if any query so far is bad), which grows here only when
        # every query sees every key.
        (s, z), dq, dk, dv, dconsts, back = carry
        q, y, c, ill = rows(start, size)
        x, pull = jax.vjp(kernel.query, q, *consts)
        dq_i, *more = pull(_dot(s, y, 1, 1) - z[:, None] * c[None])
        dconsts = [a + b for a, b in zip(dconsts, more, strict=True)]
        if plan.causal:
            k, v, seen, ill_k = head.keys(start + before, size)
            a, pull = jax.vjp(kernel.pairs, q, k, *consts)
            see = head.visible(size, seen)
            # A bad query was replaced by ones and zeros; its NaN goes to the keys that it sees, and to no other.
            poison = jnp.where(ill, jnp.nan, 0).astype(dtype)[:, None]
            da = jnp.where(see, _dot(y, v, 1, 1) - c[:, None] + poison, 0)
            dq_j, dk_j, *more = pull(da)
            dq_i, dconsts = dq_i + dq_j, [a + b for a, b in zip(dconsts, more, strict=True)]
            dk, dv = (
                _put(dk, dk_j, start + before),
                _put(dv, _across(jnp.where(see, a + poison, 0), y), start + before),
            )
            if not last:
                s, z = _add(s, z, head.key_features(k, seen), v, ill_k)
        else:
            back = later(back, x, y, c, ill)
        return (s, z), _put(dq, jnp.where(ill[:, None], jnp.nan, dq_i), start + hidden), dk, dv, dconsts, back

    def later(back: Any, x: Array, y: Array, c: Array, ill: Array) -> Any:
        ds, dz, poison = back
        return ds + x @ y, dz - x @ c, poison + jnp.where(ill.any(), jnp.nan, 0).astype(dtype)

    def backward(carry: Any, start: Array, size: int, last: bool, triangle: bool) -> Any:
        """Gradients of keys and values that later chunks of queries ask for."""
        dk, dv, dconsts, back = carry
        start_k = start + before if triangle else start
        ds, dz, poison = back
        k, v, seen, _ = head.keys(start_k, size)
        x, pull = jax.vjp(kernel.key, k, *consts)
        dx = _dot(ds, v, 1, 1) + dz[:, None]
        dv_j = _across(x, ds) + poison
        if seen is not None:
            dx, dv_j = jnp.where(seen[None], dx, 0), jnp.where(seen[:, None], dv_j, 0)
        dk_j, *more = pull(dx)
        dk_j = dk_j + poison
        # Hidden keys once more: `poison` went to all.
        if seen is not None:
            dk_j = jnp.where(seen[:, None], dk_j, 0)
        dk_j, dv_j = dk_j + _rows(dk[None], 0, start_k, size), dv_j + _rows(dv[None], 0, start_k, size)
        dconsts = [a + b for a, b in zip(dconsts, more, strict=True)]
        if triangle:  # only now: earlier keys see the queries of this chunk, its own have met them on the diagonal
            q, y, c, ill = rows(start, size)
            back = later(back, kernel.query(q, *consts), y, c, ill)
        return _put(dk, dk_j, start_k), _put(dv, dv_j, start_k), dconsts, back

    dq, dk, dv = (
        jnp.zeros_like(x, shape=shape, dtype=dtype)
        for x, shape in (
            (head.q, (plan.g, *head.q.shape[1:])),
            (head.k, head.k.shape[1:]),
            (head.v, head.v.shape[1:]),
        )
    )
    dconsts = [jnp.zeros_like(x) for x in consts]
    back = (*((jnp.zeros_like(x) for x in sums) if dsums is None else dsums), jnp.zeros_like(den[0, 0]))
    if plan.causal:
        sums = plan.sweep(partial(_write, head), sums, before)
    _, dq, dk, dv, dconsts, back = plan.sweep(forward, (sums, dq, dk, dv, dconsts, back), length)
    carry = (dk, dv, dconsts, back)
    if plan.causal:
        carry = plan.sweep(partial(backward, triangle=True), carry, length, reverse=True)
    dk, dv, dconsts, back = plan.sweep(partial(backward, triangle=False), carry, before, reverse=True)
    # What is left in `back` is the gradient of the sums that the head began with.
    first = args[-1] if args[-1] is not None else sums
    return dq, dk, dv, tuple((x + back[2]).astype(y.dtype) for x, y in zip(back[:2], first, strict=True)), dconsts


def _rows(x: Array, i: Any, start: Array, size: int, g: int = 1) -> Array:
    """Return rows `start` … of g arrays from x[i] on, one below the other: (g·size, d) of x (·, n, d)."""
    d = x.shape[-1]
    return jax.lax.dynamic_slice(x, (jnp.int32(i), start, jnp.int32(0)), (g, size, d)).reshape(g * size, d)


def _put(x: Array, y: Array, start: Array) -> Array:
    """Write y into the rows of x (g, n, d), (g, n) or (n, d) from `start` on."""
    if y.ndim == 1:
        return jax.lax.dynamic_update_slice(x, y.reshape(x.shape[0], -1).astype(x.dtype), (jnp.int32(0), start))
    if x.ndim == 2:
        return jax.lax.dynamic_update_slice(x, y.astype(x.dtype), (start, jnp.int32(0)))
    return jax.lax.dynamic_update_slice(
        x, y.reshape(x.shape[0], -1, x.shape[2]).astype(x.dtype), (jnp.int32(0), start, jnp.int32(0))
    )


def once(x: Array) -> Array:
    """Compute x here: XLA on CPU would rather make every number of it again, wherever one is read."""
    barrier: Any = jax.lax.optimization_barrier
    y: Array = barrier(x)
    return y


def _dot(a: Array, b: Array, i: int, j: int) -> Array:
    """Contract axis i of a with axis j of b."""
    return jax.lax.dot_general(a, b, (((i,), (j,)), ((), ())))


def _across(a: Array, b: Array) -> Array:
    """Return aᵀb, a (k, c) and b (k, d), as the transpose of bᵀa: for d < c that is the faster one on CPU."""
    return once(_dot(b, a, 0, 0)).T
