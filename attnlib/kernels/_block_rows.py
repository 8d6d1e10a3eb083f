"""Attention of blocks of queries to lists of key blocks: what sparse patterns of blocks run on, forward and back."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attnlib.kernels._exponential import exp_nonpositive
from attnlib.kernels._heads import Index, at, bad, each_head, finite, lift, share
from attnlib.kernels.flash import _scaled, _vary_alike

OWN = {"q": 2, "k": 2, "v": 2, "mask": 2, "lists": 2}
"""Axes that follow the leading ones."""


class Rows(NamedTuple):
    """How one head is cut: keys into blocks, and queries into rows of those that stand beside the same block.

    Keys stand at the positions 0, 1, …, m − 1, queries at `start`, `start` + 1, …, which may be negative.
    """

    n: int
    m: int
    start: int
    block: int
    causal: bool

    @property
    def blocks(self) -> np.ndarray:
        """The number of the key block beside each row; where it is negative there is none."""
        return np.arange(self.start // self.block, (self.start + self.n - 1) // self.block + 1)

    @property
    def height(self) -> int:
        """Queries in a row: those of a block, or all, if they stand beside one."""
        return self.n if len(self.blocks) == 1 else self.block

    @property
    def first(self) -> int:
        """The position of the first query of the first row, which may be padding."""
        return self.start if len(self.blocks) == 1 else int(self.blocks[0]) * self.block

    @property
    def width(self) -> int:
        """Keys in a block: no more than there are."""
        return min(self.block, self.m)

    def in_rows(self, x: Array) -> Array:
        """Cut (n, …) into (rows, height, …), zeros where no query is."""
        before, count = self.start - self.first, len(self.blocks)
        after = count * self.height - before - self.n
        x = jnp.pad(x, [(before, after), *[(0, 0)] * (x.ndim - 1)])
        return x.reshape(count, self.height, *x.shape[1:])

    def in_order(self, x: Array) -> Array:
        """Undo `in_rows`."""
        before = self.start - self.first
        return x.reshape(-1, *x.shape[2:])[before : before + self.n]

    def in_blocks(self, x: Array) -> Array:
        """Cut (m, d) into key blocks (blocks, block, d), zeros at the end."""
        x = jnp.pad(x, ((0, -self.m % self.width), (0, 0)))
        return x.reshape(-1, self.width, x.shape[-1])

    def visible(self, row: Array, blocks: Array, head: Array, mask: Array | None) -> Array:
        """Return which queries of a row may meet which keys of a list of blocks, (height, keys)."""
        queries = self.first + row * self.height + jnp.arange(self.height, dtype=jnp.int32)[:, None]
        keys = (blocks[:, None] * self.block + jnp.arange(self.width, dtype=jnp.int32)[None, :]).reshape(1, -1)
        seen = jnp.broadcast_to(keys < self.m, (self.height, keys.shape[1]))
        if self.causal:
            seen &= keys <= queries
        if mask is not None:
            _, rows, columns = mask.shape
            i = jnp.clip(queries - self.start, 0, rows - 1)
            seen &= mask[head, i, jnp.minimum(keys, columns - 1)]
        return seen


@partial(jax.jit, static_argnums=0)
def attend(rows: Rows, arrays: dict[str, Any], shared: dict[str, Array]) -> Array:
    """Attend in every head to the key blocks that stand in the list of each row: `lists` (..., rows, length).

    No block may stand in a list twice; the number of blocks, or a larger one, stands for none. So the time is that of
    all lists at full length. On CPU head after head and row after row: what a row works on stays in the caches.
    """
    given: list[Any] = [arrays[a] for a in OWN]
    lead = np.broadcast_shapes(*(x.shape[:-2] for x in given if x is not None))
    given = [None if x is None else lift(x, len(lead) + 2) for x in given]
    index = share([(1,) * len(lead) if x is None else x.shape[: len(lead)] for x in given])
    flat: list[Any] = [None if x is None else x.reshape(-1, *x.shape[len(lead) :]) for x in given]
    q, k, v, mask, lists = flat
    q, k, v, factor = _vary_alike((q, k, v, shared["scale"]), (q, k, v, shared["scale"], mask, lists))
    o = _attend(rows, index, q, k, v, mask, lists, factor)
    return o.reshape(*lead, *o.shape[1:])


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(rows: Rows, index: Index, *args: Any) -> Array:
    return _forward(rows, index, *args)[0]


def _forward(rows: Rows, index: Index, *args: Any) -> tuple[Array, tuple[Any, ...]]:
    (o, c, z), _ = each_head(lambda where, _: (_head_forward(rows, *_head(args, where)), ()), index, ())
    return o, (args, o, c, z)


def _backward(rows: Rows, index: Index, kept: Any, do: Array) -> tuple[Array | None, ...]:
    args, *own = kept
    q, k, v, *_, factor = args

    def run(where: Array, x: Any) -> Any:
        return (), _head_backward(rows, *_head(args, where), *x)

    totals = [jnp.zeros_like(x, dtype=factor.dtype) for x in (q, k, v)]
    _, (dq, dk, dv) = each_head(run, index, (*own, do), totals)
    # dq is the gradient of factor · q.
    d_factor = (dq * q.astype(dq.dtype)).sum()
    return (dq * factor).astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype), None, None, d_factor


_attend.defvjp(_forward, _backward)


def _head(args: tuple[Any, ...], where: Array) -> tuple[Any, ...]:
    """Pick what one head reads: factor · q, k, v, the mask of all heads and its place there, and the lists.

    The mask stays that of all heads: a copy for each would be quadratic.
    """
    q, k, v, mask, lists, factor = args
    return _scaled(at(q, where[0]), factor), at(k, where[1]), at(v, where[2]), mask, where[3], at(lists, where[4])


def _head_forward(
    rows: Rows, q: Array, k: Array, v: Array, mask: Array | None, mask_at: Array, lists: Array
) -> tuple[Array, Array, Array]:
    """Attend in one head: return o, the largest scores c and the sums z."""
    ill = bad(k) | bad(v)
    # 0 · NaN is NaN: a weight of zero does not hide a bad value, so it is replaced, and its key gets the NaN.
    keys = rows.in_blocks(jnp.where(ill[:, None], jnp.nan, k.astype(q.dtype)))
    values = rows.in_blocks(jnp.where(ill[:, None], 0, v.astype(q.dtype)))

    def body(_: None, x: tuple[Array, ...]) -> tuple[None, tuple[Array, ...]]:
        row, q_i, blocks = x
        k_i, v_i = (_gather(y, blocks) for y in (keys, values))
        s = jnp.where(rows.visible(row, blocks, mask_at, mask), q_i @ k_i.T, -jnp.inf)
        # The lowest number, not −∞: −∞ − (−∞) is NaN, and a row whose pairs are all hidden adds nothing.
        c = jnp.maximum(s.max(axis=1), np.finfo(q.dtype).min)
        p = exp_nonpositive(s - c[:, None])
        z = p.sum(axis=1)
        return None, (((p @ v_i) / jnp.where(z == 0, 1, z)[:, None]).astype(v.dtype), c, z)

    _, out = jax.lax.scan(body, None, (_numbers(lists), rows.in_rows(q), lists))
    o, c, z = (rows.in_order(x) for x in out)
    return o, c, z


def _head_backward(
    rows: Rows,
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    mask_at: Array,
    lists: Array,
    o: Array,
    c: Array,
    z: Array,
    do: Array,
) -> tuple[Array, Array, Array]:
    """Return the gradients of factor · q, k and v of one head, in the dtype of the factor."""
    # With p = e^(s − c) / z: dv = pᵀ do and ds = p ∘ (do vᵀ − Σ do o). The 1 / z goes into do once.
    z = jnp.where(z == 0, 1, z)
    do = do.astype(q.dtype)
    shift = (do * o.astype(q.dtype)).sum(axis=1) / z
    do = do / z[:, None]
    # A query with a bad number in its output or its gradient: NaN in its scores, nothing that 0 · NaN could spread.
    ill_q = bad(do) | ~jnp.isfinite(shift + c)
    do, shift, c = jnp.where(ill_q[:, None], 0, do), jnp.where(ill_q, 0, shift), jnp.where(ill_q, jnp.nan, c)
    ill = (bad(k) | bad(v))[:, None]
    keys, values = (rows.in_blocks(jnp.where(ill, 0, x.astype(q.dtype))) for x in (k, v))

    def body(carry: tuple[Array, Array], x: tuple[Array, ...]) -> tuple[tuple[Array, Array], Array]:
        row, blocks, q_i, do_i, shift_i, c_i = x
        k_i, v_i = (_gather(y, blocks) for y in (keys, values))
        # No visible score is above its maximum; rounded differently, a huge one could be.
        s = q_i @ k_i.T - c_i[:, None]
        p = exp_nonpositive(jnp.where(s > 0, 0, s))
        p = jnp.where(rows.visible(row, blocks, mask_at, mask), p, 0)
        ds = p * (do_i @ v_i.T - shift_i[:, None])
        return (_scatter(carry[0], blocks, ds.T @ finite(q_i)), _scatter(carry[1], blocks, p.T @ do_i)), ds @ k_i

    xs = (_numbers(lists), lists, *(rows.in_rows(x) for x in (q, do, shift, c)))
    (dk, dv), dq = jax.lax.scan(body, (jnp.zeros_like(keys), jnp.zeros_like(values)), xs)
    dk, dv = (x.reshape(-1, x.shape[-1])[: rows.m] for x in (dk, dv))
    return rows.in_order(dq), dk, dv


def _numbers(lists: Array) -> Array:
    """Number the rows."""
    return jnp.arange(len(lists), dtype=jnp.int32)


def _gather(x: Array, blocks: Array) -> Array:
    """Return the blocks of a list one below the other; any block for one that is none."""
    return x.at[blocks].get(mode="clip").reshape(-1, x.shape[-1])


def _scatter(x: Array, blocks: Array, y: Array) -> Array:
    """Add what `_gather` laid one below the other to the blocks it is from."""
    new: Array = x.at[blocks].add(y.reshape(len(blocks), *x.shape[1:]), mode="drop")
    return new
