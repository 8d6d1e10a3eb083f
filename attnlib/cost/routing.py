"""Routing attention by numbers: similarities to centroids, who is taken, and attention within clusters. No JAX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attnlib import _check
from attnlib.cost._buckets import SCORES, Sorted, sorted_attention
from attnlib.cost._sizes import Number, Sizes, attention_sizes, itemsizes, parts, size, smallest, symbolic
from attnlib.cost.algebra import Cost, Step


def routing_attention(
    n: Number,
    d_k: Number,
    clusters: Number,
    window: int,
    *,
    m: Number | None = None,
    d_v: Number | None = None,
    h: Number = 1,
    h_kv: Number | None = None,
    batch: Number = 1,
    causal: bool = False,
    chunk: int | None = None,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.routing_attention`: similarities, who is taken, and the scores within clusters.

    Similarities take 2(n + m)d_k · clusters FLOPs. Balanced, P = clusters · window² scores, 2P(d_k + d_v) FLOPs; with
    window = n/clusters the sum is least at clusters = √n or so, where it is n^1.5. With `causal` it costs what one
    round of `lsh_attention` does. Backward 2P(3d_k + 2d_v) more.

    Args:
        n: queries.
        d_k: width of a head's queries and keys.
        clusters: centroids.
        window: queries and keys that a cluster takes, or with `causal` keys that a query sees.
        m: keys; n by default.
        d_v: width of a head's values; d_k by default.
        h: query heads.
        h_kv: key and value heads, a divisor of h; h by default. Centroids are the same for heads that share keys.
        batch: sequences.
        causal: whether later keys are hidden.
        chunk: with `causal`, as in the kernel.
        backward: add the gradients with respect to q, k and v.
        dtype: of q, k, v and the output; scores and sums are float32 at least.

    Returns:
        A `Cost` with the steps "similarities", "choice" ("sorting" with `causal`), "gathering", "scores",
        "softmax" and "values". The choice is a comparison for each similarity; that a pair counts once, an operation
        on bits for each score and 32 clusters: P · clusters/32, which grows as n² does where both factors do.

    Raises:
        ValueError: a size below 1 or not whole, heads that do not divide, an unknown dtype, symbols, a chunk without
            `causal`.

    Source: Roy et al. (2021), section 4.

    Example:
        >>> c = routing_attention(16_384, 64, 128, 128)
        >>> c["similarities"].matmul_flops == c["scores"].matmul_flops + c["values"].matmul_flops
        True
    """
    name = "cost.routing_attention"
    clusters = size(name, "clusters", clusters)
    _check.positive_int(name, window=window)
    _check.flags(name, causal=causal, backward=backward)
    _check.optional_int(name, chunk=chunk)
    if chunk is not None and not causal:
        raise ValueError(f"{name}: chunk: expected None without causal: nothing is sorted, got {chunk}")
    sizes = attention_sizes(name, n, d_k, m, d_v, h, h_kv, batch)
    if symbolic(clusters, *sizes):
        raise ValueError(f"{name}: n: expected integers, as blocks are counted one by one, got symbols")
    _, wide = itemsizes(name, dtype)
    rows = sizes.batch * (sizes.h * sizes.n + sizes.h_kv * sizes.m)
    similarities = Step(
        "similarities",
        2 * rows * sizes.d_k * clusters,
        rows * clusters,
        bytes_read=rows * sizes.d_k * wide,
        bytes_written=rows * clusters * wide,
        allocated=rows * clusters * wide,
        calls=2,
    )
    if causal:
        told = Sorted(1, window, chunk, causal, exact=False, backward=backward)
        return sorted_attention(name, sizes, similarities, told, dtype)
    return _balanced(name, sizes, clusters, window, similarities, backward, dtype)


def _balanced(
    name: str, sizes: Sizes, clusters: Number, window: int, similarities: Step, backward: bool, dtype: Any
) -> Cost:
    n, d_k, m, d_v, h, _, batch = sizes
    narrow, wide = itemsizes(name, dtype)
    heads, wide_q, wide_k = batch * h, smallest(window, n), smallest(window, m)
    each, calls = _steps(heads * clusters, wide_q, wide_k)
    blocks = each * calls
    pairs, taken_q, taken_k = blocks * wide_q * wide_k, heads * clusters * wide_q, heads * clusters * wide_k
    q, k, v, o = (x * narrow for x in sizes.arrays)
    ints = (taken_q + taken_k) * 4
    words = parts(clusters, 32)
    choice = Step(
        "choice", 0, heads * clusters * (n + m), bytes_read=heads * clusters * (n + m) * wide, bytes_written=ints
    )
    moved = (taken_q * d_k + taken_k * (d_k + d_v)) * wide
    gathering = Step("gathering", bytes_read=q + k + v, bytes_written=moved, allocated=moved, calls=3)
    scores = Step("scores", 2 * pairs * d_k, bytes_read=(taken_q + taken_k) * d_k * wide, calls=calls)
    softmax = Step("softmax", 0, (3 + 2 * words) * pairs + taken_q * (3 * d_v + 4), pairs + taken_q, calls=calls)
    sums = taken_q * (d_v + 2) * wide
    values = Step(
        "values",
        2 * pairs * d_v,
        bytes_read=taken_k * d_v * wide,
        bytes_written=sums + o,
        allocated=sums + o,
        calls=calls,
    )
    tile = each * wide_q * wide_k * wide
    one = heads * n * (d_v + 2) * wide
    live = similarities.bytes_written + moved + sums + one + 2 * tile
    forward = Cost(
        (similarities, choice, gathering, scores, softmax, values),
        live=live,
        saved=q + k + v + o + moved + sums + one + ints,
        path=1,
    )
    if not backward:
        return forward
    more = (
        replace(scores, name="scores, again"),
        Step(
            "values, backward",
            4 * pairs * d_v,
            bytes_read=(taken_q + taken_k) * d_v * wide,
            bytes_written=taken_k * d_v * wide + v,
            allocated=v,
            calls=2 * calls,
        ),
        Step("softmax, backward", 0, 3 * pairs + 3 * heads * n * d_v, pairs, calls=calls),
        Step(
            "scores, backward",
            4 * pairs * d_k,
            bytes_read=(taken_q + taken_k) * d_k * wide,
            bytes_written=(taken_q + taken_k) * d_k * wide + q + k,
            allocated=q + k,
            calls=2 * calls,
        ),
    )
    return replace(forward, steps=(*forward.steps, *more), live=live + 2 * moved + tile)


def balanced_steps(blocks: int, rows: int, columns: int) -> tuple[int, int]:
    """Return how many clusters are computed at once, and in how many steps.

    Example:
        >>> balanced_steps(100, 128, 128)
        (15, 7)
    """
    steps = -(-blocks // max(1, SCORES // (rows * columns)))
    return -(-blocks // steps), steps


def _steps(blocks: Number, rows: Number, columns: Number) -> tuple[Number, Number]:
    """Return `balanced_steps` of numbers or arrays."""
    if not any(isinstance(x, np.ndarray) for x in (blocks, rows, columns)):
        return balanced_steps(blocks, rows, columns)
    each, steps = np.vectorize(lambda *x: balanced_steps(*map(int, x)), otypes=[float, float])(blocks, rows, columns)
    return each, steps


def state(n: Number, d_k: Number, d_v: Number, *, clusters: int, window: int) -> Number:
    """Return how many numbers decoding keeps for a head of keys: the last `window` keys of each cluster."""
    return smallest(n, clusters * window) * (d_k + d_v)
