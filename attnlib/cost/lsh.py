"""Attention by locality-sensitive hashing, by numbers: hashing, sorting, and blocks of sorted keys. No JAX."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from attnlib import _check
from attnlib.cost._buckets import Sorted, sorted_attention
from attnlib.cost._sizes import Number, attention_sizes, itemsizes, smallest
from attnlib.cost.algebra import Cost, Step


def lsh_attention(
    n: Number,
    d_k: Number,
    buckets: int | tuple[int, ...],
    window: int,
    *,
    m: Number | None = None,
    d_v: Number | None = None,
    h: Number = 1,
    h_kv: Number | None = None,
    batch: Number = 1,
    rounds: int = 4,
    shared: bool = False,
    causal: bool = False,
    chunk: int | None = None,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.lsh_attention`: hashing, sorting, and the blocks of scores that are computed.

    Hashing takes 2(n + m)d_k · rounds · Σ b/2 FLOPs for factors b of the buckets. So with n/c buckets it is
    quadratic, n²d_k · rounds/c for shared queries and keys, and with two factors √(n/c) of them n^1.5. With P scores
    computed: 2P(d_k + d_v) FLOPs, backward 2P(3d_k + 2d_v) more; P is rounds · n times the window and a chunk
    (without `causal` two windows and a chunk), and half as much again where queries and keys differ.

    Args:
        n: queries.
        d_k: width of a head's queries and keys.
        buckets: how many, or their factors, as in the kernel.
        window: keys of its bucket that a query sees at or before its position.
        m: keys; n by default.
        d_v: width of a head's values; d_k by default.
        h: query heads.
        h_kv: key and value heads, a divisor of h; h by default.
        batch: sequences.
        rounds: of hashing.
        shared: whether keys are the queries, as in Reformer, none of them hidden.
        causal: whether later keys are hidden.
        chunk: as in the kernel.
        backward: add the gradients with respect to q, k and v.
        dtype: of q, k, v and the output; scores and sums are float32 at least.

    Returns:
        A `Cost` with the steps "hashing", "sorting", "gathering", "scores", "softmax" and "values". Sorting N numbers
        is N log₂ N comparisons, FLOPs outside matrix products.

    Raises:
        ValueError: a size below 1 or not whole, heads that do not divide, a factor that is neither 1 nor even, an
            unknown dtype, symbols, `shared` with n ≠ m.

    Source: Kitaev et al. (2020), section 2; the blocks: `attnlib.lsh_attention`.

    Example:
        >>> one, two = (lsh_attention(65_536, 64, b, 64, shared=True) for b in (1024, (32, 32)))
        >>> one["hashing"].matmul_flops // two["hashing"].matmul_flops
        16
    """
    name = "cost.lsh_attention"
    parts = factors(name, buckets)
    _check.positive_int(name, window=window, rounds=rounds)
    _check.flags(name, shared=shared, causal=causal, backward=backward)
    _check.optional_int(name, chunk=chunk)
    sizes = attention_sizes(name, n, d_k, m, d_v, h, h_kv, batch)
    if shared and np.any(sizes.n != sizes.m):
        raise ValueError(f"{name}: m: expected n = {sizes.n} with shared queries and keys, got {sizes.m}")
    _, wide = itemsizes(name, dtype)
    rows = sizes.batch * (sizes.h * sizes.n + (0 if shared else sizes.h_kv * sizes.m))
    half = columns(parts)
    hashing = Step(
        "hashing",
        2 * rows * sizes.d_k * rounds * half,
        2 * rows * rounds * half,
        bytes_read=rows * sizes.d_k * wide,
        bytes_written=rows * rounds * 4,
        allocated=rows * rounds * half * wide,
    )
    return sorted_attention(name, sizes, hashing, Sorted(rounds, window, chunk, causal, shared, backward), dtype)


def factors(name: str, buckets: Any) -> tuple[int, ...]:
    """Return the factors of a number of buckets, checked."""
    parts = buckets if isinstance(buckets, tuple) else (buckets,)
    if not parts or not all(_check.whole(part) and (part == 1 or part % 2 == 0) for part in parts):
        raise ValueError(f"{name}: buckets: expected 1 or an even number, or a tuple of these, got {buckets!r}")
    if math.prod(parts) >= 2**31:
        raise ValueError(f"{name}: buckets: expected fewer than 2³¹, got {math.prod(parts)}")
    return tuple(parts)


def columns(parts: tuple[int, ...]) -> int:
    """Return how many columns the rotations of a round have: half the buckets of each factor."""
    return sum(part // 2 for part in parts)


def state(
    n: Number, d_k: Number, d_v: Number, *, buckets: int | tuple[int, ...], window: int, rounds: int = 4
) -> Number:
    """Return how many numbers decoding keeps for a head of keys: at most `window` keys of each bucket and round."""
    return smallest(n, rounds * math.prod(factors("cost.lsh.state", buckets)) * window) * (d_k + d_v)
