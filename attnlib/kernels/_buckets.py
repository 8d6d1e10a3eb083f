"""Attention within buckets: a query meets the keys of its own bucket that lie near it, in one or several rounds.

A round gives every query and key a bucket. Keys are sorted by bucket, then position, and numbered: key j stands at
place_j. What query i sees are the places from first_i on, many_i of them: those of its bucket whose rank in it is
near the rank of i's own position. So which keys a query sees at or before its position depends on them alone: no
later position moves the end of a block, as it does where sorted rows are cut into chunks that attend to each other.

Every query sits in the block of keys that holds the last place it may see at or before its position; the queries of a
block are cut into blocks of rows, whose number has a bound. A block of rows reads a few blocks of keys in a row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attnlib.cost._buckets import Blocks, blocks
from attnlib.kernels._exponential import exp_nonpositive
from attnlib.kernels._heads import Index, at, bad, each_head, lift, share


class Sizes(NamedTuple):
    """What decides who meets, but for the buckets; `shared`: queries and keys have the same."""

    buckets: int
    window: int
    chunk: int | None
    causal: bool
    shared: bool


def bucket_attention(
    sizes: Sizes,
    bucket: Callable[[Array], Array],
    q: Array,
    k: Array,
    v: Array,
    seen: Array | None,
    factor: Array,
) -> Array:
    """Attend within buckets on one device: `bucket` gives those of rows, (..., rounds, n); `seen` is (..., m)."""
    rank_of = max(q.ndim, k.ndim, v.ndim)
    q, k, v = (lift(x, rank_of) for x in (q, k, v))
    n, m, dtype, narrow = q.shape[-2], k.shape[-2], factor.dtype, v.dtype
    ill_q, ill_k = bad(q), bad(k)
    # What is not seen becomes zeros at once: 0 · NaN is NaN.
    there = ~ill_k if seen is None else lift(seen, rank_of - 1)
    no_v = bad(v)
    q, k, v = (jnp.where(x[..., None], 0, y).astype(dtype) for x, y in ((ill_q, q), (~there, k), (no_v, v)))
    k = jnp.where(bad(k)[..., None], 0, k)
    ill_k = ill_k | no_v
    bucket_q = bucket(q)
    bucket_k = bucket_q if sizes.shared else bucket(k)
    if seen is not None:
        bucket_k = jnp.where(there[..., None, :], bucket_k, sizes.buckets)
    cut = blocks(n, m, sizes.window, sizes.chunk, sizes.causal, sizes.shared and seen is None)

    lead = np.broadcast_shapes(*(x.shape[:-2] for x in (q, k, v)), ill_k.shape[:-1], there.shape[:-1])
    arrays = [x.reshape(-1, *x.shape[rank_of - 2 :]) for x in (q * factor, k, v, ill_q, ill_k)]
    index = share([x.shape[: rank_of - 2] for x in (q, k, v, ill_q, ill_k)])
    by_head = [jnp.broadcast_to(x, (*lead, *x.shape[-2:])).reshape(-1, *x.shape[-2:]) for x in (bucket_q, bucket_k)]
    ranks = rank(cut, sizes.buckets, *by_head)
    o = attend(cut, sizes.shared, index, *arrays, ranks).reshape(*lead, n, -1)
    if sizes.shared:
        # The places that a query sees include its own, unless that key is hidden.
        own = (ranks.place - ranks.first).astype(jnp.uint32) < ranks.many.astype(jnp.uint32)
        nothing_else = ((ranks.many == 1) & own).all(axis=-2).reshape(*lead, n, 1)
        o = jnp.where(nothing_else, jnp.where(ill_k[..., None], jnp.nan, v), o)
    return o.astype(narrow)


def unit(x: Array) -> Array:
    """Divide rows by their lengths; zeros stay zeros. First by a number near it, whose square does not overflow."""
    near = jax.lax.stop_gradient(jnp.abs(x).max(axis=-1, keepdims=True))
    zero = near == 0
    x = jnp.where(zero, 1, x / jnp.where(zero, 1, near))
    return jnp.where(zero, 0, x / jnp.linalg.norm(x, axis=-1, keepdims=True))


class Ranks(NamedTuple):
    """Who sees whom, in one head; the first axis are the rounds."""

    order: Array  # (rounds, m): which key stands at each place
    place: Array  # (rounds, m): at which place each key stands
    first: Array  # (rounds, n): the first place that each query sees
    many: Array  # (rounds, n): how many places it sees from there
    slot: Array  # (rounds, n): in which row of all blocks of queries each query sits
    query: Array  # (rounds, rows of all blocks): which query sits in each; n: none
    start: Array  # (rounds, blocks of queries): the first block of keys that each reads


def rank(cut: Blocks, buckets: int, bucket_q: Array, bucket_k: Array) -> Ranks:
    """Sort what has a bucket below `buckets`; keys in bucket `buckets` are hidden. (..., n) and (..., m)."""
    lead = bucket_q.shape[:-1]
    flat = bucket_q.reshape(-1, cut.n), bucket_k.reshape(-1, cut.m)
    ranks = jax.vmap(partial(_rank, cut, buckets))(*flat)
    return Ranks(*(x.reshape(*lead, -1) for x in ranks))


def _rank(cut: Blocks, buckets: int, bucket_q: Array, bucket_k: Array) -> Ranks:
    """Sort queries and keys of one round together: keys and queries in a line by position, a key before its query."""
    n, m, rows = cut.n, cut.m, cut.rows
    numbers = partial(jnp.arange, dtype=jnp.int32)
    both = min(n, m)
    alone = numbers(m - both) if m > n else m + numbers(n - both)
    line = jnp.concatenate([alone, jnp.stack([m - both + numbers(both), m + n - both + numbers(both)], 1).ravel()])
    bucket = jnp.concatenate([bucket_k, bucket_q])[line]
    _, sorted_line = jax.lax.sort((bucket, line), num_keys=1, is_stable=True)
    passed = jnp.cumsum(sorted_line < m, dtype=jnp.int32)  # keys up to here
    where = _inverse(sorted_line)
    place, end = passed[where[:m]] - 1, passed[where[m:]]
    order = _inverse(place)

    held = jnp.zeros(buckets + 1, jnp.int32).at[bucket_k].add(1)
    starts = jnp.cumsum(held, dtype=jnp.int32) - held
    first = jnp.maximum(starts[bucket_q], end - cut.window)
    last = end if cut.causal else jnp.minimum(starts[bucket_q + 1], end + cut.window - 1)

    group = jnp.maximum(end - 1, 0) // cut.chunk
    sizes = jnp.zeros(cut.key_blocks, jnp.int32).at[group].add(1)
    ends = jnp.cumsum(-(-sizes // rows), dtype=jnp.int32)  # blocks of queries up to each block of keys
    turn = where[m:] - end - (jnp.cumsum(sizes, dtype=jnp.int32) - sizes)[group]
    slot = ((ends + (-sizes // rows))[group] + turn // rows) * rows + turn % rows
    query = jnp.full(cut.query_blocks * rows, n, jnp.int32).at[slot].set(numbers(n), unique_indices=True)
    # A block of queries belongs to the block of keys before which as many end as up to it; some are left over.
    group_of = jnp.cumsum(jnp.zeros(cut.query_blocks, jnp.int32).at[ends].add(1, mode="drop"), dtype=jnp.int32)
    start = jnp.clip(group_of - cut.reach, 0, cut.key_blocks - cut.span)
    return Ranks(order, place, first, last - first, slot, query, start)


def _inverse(order: Array) -> Array:
    """Return the inverse of a permutation."""
    return jnp.zeros_like(order).at[order].set(jnp.arange(len(order), dtype=order.dtype), unique_indices=True)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def attend(
    cut: Blocks, alone: bool, index: Index, q: Array, k: Array, v: Array, ill_q: Array, ill_k: Array, ranks: Ranks
) -> Array:
    """Attend over all pairs that a round covers, each once, in heads numbered by `index`: q (…, n, d_k), k, v.

    `alone`: a query does not see the key of its own number. Numbers are finite, those of the rows in ill_q and
    ill_k without a meaning: what sees them becomes NaN. A pair of several rounds is left to the first of them, which
    is what subtracting the logarithm of their number from its score in each of them comes to.
    """
    return _attend_forward(cut, alone, index, q, k, v, ill_q, ill_k, ranks)[0]


def _attend_forward(cut: Blocks, alone: bool, index: Index, *args: Any) -> tuple[Array, tuple[Any, ...]]:
    *arrays, ranks = args

    def run(where: Array, here: Ranks) -> Any:
        return _head_forward(cut, alone, Head(*(at(x, i) for x, i in zip(arrays, where, strict=True))), here), ()

    (o, c, z), _ = each_head(run, index, ranks)
    return o, (args, o, c, z)


def _attend_backward(cut: Blocks, alone: bool, index: Index, kept: Any, do: Array) -> tuple[Array | None, ...]:
    (*arrays, ranks), *own = kept

    def run(where: Array, here: Any) -> Any:
        head = Head(*(at(x, i) for x, i in zip(arrays, where, strict=True)))
        return (), _head_backward(cut, alone, head, *here)

    totals = [jnp.zeros_like(x) for x in arrays[:3]]
    _, gradients = each_head(run, index, (ranks, *own, do), totals)
    return (*gradients, None, None, None)


attend.defvjp(_attend_forward, _attend_backward)


class Head(NamedTuple):
    """What one head reads."""

    q: Array
    k: Array
    v: Array
    ill_q: Array
    ill_k: Array


class Step(NamedTuple):
    """What one step reads: `batch` blocks of queries, in one round."""

    block: Array  # (batch, span): which blocks of keys
    first: Array  # (rounds, batch, rows)
    many: Array  # (rounds, batch, rows): how many places; zero in rounds that come later
    own: Array  # (batch, rows): the place of its own key; −1 if it may see it
    ill: Array  # (batch, rows)


def _round(cut: Blocks, alone: bool, ill_q: Array, ill_k: Array, ranks: Ranks, number: Array) -> Any:
    """Return the order of the keys in a round, its queries, its steps, and what is known of keys at each place."""
    order, query, start = (at(x, number) for x in (ranks.order, ranks.query, ranks.start))
    shape = (cut.steps, cut.batch, cut.rows)
    empty = query == cut.n
    query = jnp.minimum(query, cut.n - 1)
    rounds = jnp.arange(len(ranks.order), dtype=jnp.int32)[:, None]
    count = jnp.where((rounds > number) | empty[None], 0, ranks.many[:, query])
    own = at(ranks.place, number)[query] if alone else jnp.full_like(query, -1)
    block = start[:, None] + jnp.arange(cut.span, dtype=jnp.int32)[None]
    first = ranks.first[:, query]
    steps = Step(
        block.reshape(cut.steps, cut.batch, cut.span),
        jnp.moveaxis(first.reshape(-1, *shape), 0, 1),
        jnp.moveaxis(count.reshape(-1, *shape), 0, 1),
        own.reshape(shape),
        (ill_q[query] & ~empty).reshape(shape),
    )
    return order, query, steps, (_key_blocks(cut, ranks.place[:, order].T), _key_blocks(cut, ill_k[order]))


def _key_blocks(cut: Blocks, x: Array) -> Array:
    """Cut what stands at m places into blocks; zeros fill the last, at places that nobody sees."""
    x = jnp.pad(x, [(0, cut.key_blocks * cut.chunk - cut.m), *[(0, 0)] * (x.ndim - 1)])
    return x.reshape(cut.key_blocks, cut.chunk, *x.shape[1:])


def _read(x: Array, block: Array) -> Array:
    """Read blocks of keys, (batch, span · chunk, …)."""
    x = x[block]
    return x.reshape(x.shape[0], -1, *x.shape[3:])


def _scores(
    cut: Blocks, alone: bool, q: Array, k: Array, step: Step, keys: tuple[Array, Array], number: Array
) -> tuple[Array, Array]:
    """Return the scores of a step, (batch, rows, span · chunk), and which of them count: here and not before."""
    s = jnp.einsum("brd,bkd->brk", q, k)
    places, ill = (_read(x, step.block) for x in keys)
    ill_pair = step.ill[:, :, None] | ill[:, None, :]
    s = jnp.where(ill_pair, jnp.nan, s)
    inside = jnp.arange(cut.chunk, dtype=jnp.int32)[None, None]
    here = (step.block[:, :, None] * cut.chunk + inside).reshape(len(q), 1, -1)

    def covered(place: Array, first: Array, count: Array) -> Array:
        # 0 ≤ place − first < count in one comparison: what is negative is huge without its sign.
        return (place - first[:, :, None]).astype(jnp.uint32) < count[:, :, None].astype(jnp.uint32)

    visible = covered(here, at(step.first, number), at(step.many, number))
    for other in range(len(step.first) - 1):  # the last round comes before none
        count = jnp.where(number == other, 0, step.many[other])
        visible &= ~covered(places[:, None, :, other], step.first[other], count)
    if alone:
        visible &= here != step.own[:, :, None]
    return s, visible


def _head_forward(cut: Blocks, alone: bool, head: Head, ranks: Ranks) -> tuple[Array, Array, Array]:
    """Attend in one head: return o, the largest scores c and the sums z."""
    q, k, v, ill_q, ill_k = head
    lowest = jnp.asarray(np.finfo(q.dtype).min, q.dtype)

    def one(carry: Any, number: Array) -> tuple[Any, None]:
        order, query, steps, keys = _round(cut, alone, ill_q, ill_k, ranks, number)
        k_sorted, v_sorted = _key_blocks(cut, k[order]), _key_blocks(cut, v[order])

        def body(x: tuple[Array, Step]) -> tuple[Array, ...]:
            rows, step = x
            s, visible = _scores(cut, alone, rows, _read(k_sorted, step.block), step, keys, number)
            s = jnp.where(visible, s, -jnp.inf)
            top = jnp.maximum(s.max(axis=-1), lowest)
            p = exp_nonpositive(s - top[..., None])
            return top, p.sum(axis=-1), jnp.einsum("brk,bkd->brd", p, _read(v_sorted, step.block))

        out = jax.lax.map(body, (q[query].reshape(cut.steps, cut.batch, cut.rows, -1), steps))
        slot = at(ranks.slot, number)
        new_c, new_z, new_o = (x.reshape(len(query), *x.shape[3:])[slot] for x in out)
        c, z, o = carry
        top = jnp.maximum(c, new_c)
        old, new = exp_nonpositive(c - top), exp_nonpositive(new_c - top)
        return (top, z * old + new_z * new, o * old[:, None] + new_o * new[:, None]), None

    start = jnp.full_like(q[:, 0], lowest), jnp.zeros_like(q[:, 0]), jnp.zeros_like(q, shape=(cut.n, v.shape[-1]))
    (c, z, o), _ = jax.lax.scan(one, start, jnp.arange(len(ranks.order), dtype=jnp.int32))
    return o / jnp.where(z == 0, 1, z)[:, None], c, z


def _head_backward(
    cut: Blocks, alone: bool, head: Head, ranks: Ranks, o: Array, c: Array, z: Array, do: Array
) -> tuple[Array, Array, Array]:
    """Return the gradients of q, k and v of one head."""
    q, k, v, ill_q, ill_k = head
    # With p = e^(s − c) / z: dv = pᵀ do and ds = p ∘ (do vᵀ − Σ do o). The 1 / z goes into do once.
    z = jnp.where(z == 0, 1, z)
    shift, do = (do * o).sum(axis=1) / z, do / z[:, None]
    # A query with a bad number in its output or its gradient: NaN in its scores, nothing that 0 · NaN could spread.
    ill_q = ill_q | bad(do) | ~jnp.isfinite(shift + c)
    do, shift, c = jnp.where(ill_q[:, None], 0, do), jnp.where(ill_q, 0, shift), jnp.where(ill_q, 0, c)

    def one(carry: Any, number: Array) -> tuple[Any, None]:
        order, query, steps, keys = _round(cut, alone, ill_q, ill_k, ranks, number)
        k_sorted, v_sorted = _key_blocks(cut, k[order]), _key_blocks(cut, v[order])

        def body(sums: tuple[Array, ...], x: Any) -> tuple[Any, Array]:
            rows, do_rows, c_rows, shift_rows, step = x
            k_read, v_read = _read(k_sorted, step.block), _read(v_sorted, step.block)
            s, visible = _scores(cut, alone, rows, k_read, step, keys, number)
            s = s - c_rows[..., None]
            # No visible score is above its maximum; rounded differently, a huge one could be.
            p = jnp.where(visible, exp_nonpositive(jnp.where(s > 0, 0, s)), 0)
            ds = p * (jnp.einsum("brd,bkd->brk", do_rows, v_read) - shift_rows[..., None])
            dk = jnp.einsum("brk,brd->bkd", ds, rows)
            dv = jnp.einsum("brk,brd->bkd", p, do_rows)
            sums = tuple(
                total.at[step.block].add(x.reshape(*step.block.shape, *total.shape[1:]))
                for total, x in zip(sums, (dk, dv), strict=True)
            )
            return sums, jnp.einsum("brk,bkd->brd", ds, k_read)

        shape = (cut.steps, cut.batch, cut.rows)
        xs = [x[query].reshape(*shape, *x.shape[1:]) for x in (q, do, c, shift)]
        zeros = jnp.zeros_like(k_sorted), jnp.zeros_like(v_sorted)
        sums, dq_new = jax.lax.scan(body, zeros, (*xs, steps))
        place = at(ranks.place, number)
        dk_new, dv_new = (x.reshape(-1, x.shape[-1])[place] for x in sums)
        dq, dk, dv = carry
        dq_new = dq_new.reshape(len(query), -1)[at(ranks.slot, number)]
        return (dq + dq_new, dk + dk_new, dv + dv_new), None

    zeros = jnp.zeros_like(q), jnp.zeros_like(k), jnp.zeros_like(v)
    gradients: Any
    gradients, _ = jax.lax.scan(one, zeros, jnp.arange(len(ranks.order), dtype=jnp.int32))
    return gradients  # type: ignore[no-any-return]
