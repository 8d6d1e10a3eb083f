"""Gated linear attention by numbers: sums over keys that decay, their reading, and the pairs of a chunk. No JAX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attnlib import _check
from attnlib.cost._sizes import Number, attention_sizes, itemsizes, largest, quotient, size, smallest, symbolic
from attnlib.cost.algebra import Cost, Step

CHUNK = 32
CAUSAL_ONLY = "a decay has a direction, and says nothing of keys after the query"


def gated_linear_attention(
    n: Number,
    d_k: Number,
    *,
    channels: Number = 1,
    m: Number | None = None,
    d_v: Number | None = None,
    h: Number = 1,
    h_kv: Number | None = None,
    batch: Number = 1,
    causal: bool = True,
    backward: bool = False,
    chunk: int | None = None,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.gated_linear_attention`: sums over keys, their reading, and the halves of chunks.

    Sums 2m·d_k·d_v, reading 2n·d_k·d_v, and within a chunk of c rows, c a power of two, (c − 1)(d_k + d_v) a query.

    Args:
        n: queries.
        d_k: width of a head's queries and keys.
        channels: decays of a key: 1, or d_k. They change no matrix product.
        m: keys; n by default.
        d_v: width of a head's values; d_k by default.
        h: query heads.
        h_kv: heads with sums of their own, a divisor of h; h by default. Those of keys and values, or h where decays
            or masks differ between the heads of a group.
        batch: sequences.
        causal: True, as in the kernel.
        backward: add the gradients with respect to q, k, v and decay.
        chunk: as in the kernel. For symbols it is a power of two, n a multiple of it, and m no less than n.
        dtype: of q, k, v and the output; sums are float32 at least.

    Returns:
        A `Cost` with the steps "decays", "sums", "reading" and "halves". Its FLOPs in products are those of the
        program, which fills the last chunk with zeros; those outside and exponentials are what the mathematics needs.

    Raises:
        ValueError: a size below 1 or not whole, heads that do not divide, channels that are neither 1 nor d_k,
            `causal` that is not True, an unknown dtype.

    Source: Yang et al. (2024); the halves: `attnlib.gated_linear_attention`.

    Example:
        >>> gated_linear_attention(4096, 64).matmul_flops / 4096  # 4 · 64² + 31 · 128
        20352.0
    """
    name = "cost.gated_linear_attention"
    n, d_k, m, d_v, h, h_kv, batch = attention_sizes(name, n, d_k, m, d_v, h, h_kv, batch)
    g = quotient(name, "h_kv", h_kv, "h", h)
    channels = _channels(name, channels, d_k)
    _check.flags(name, causal=causal, backward=backward)
    if not causal:
        raise ValueError(f"{name}: causal: expected True: {CAUSAL_ONLY}, got False")
    _check.optional_int(name, chunk=chunk)
    narrow, wide = itemsizes(name, dtype)
    most = CHUNK if chunk is None else chunk

    heads = batch * h_kv
    # Keys that n queries meet, and those before, which every query sees: each part is cut by itself.
    own = n if symbolic(n) else smallest(n, m)
    c = most if symbolic(n) else smallest(own, most)
    (chunks, met), (past, seen) = _cut(own, most), _cut(m - own, most)
    pairs, late, levels = _halves(c)
    reads, calls, keys = heads * chunks, heads * (chunks + past), heads * (met + seen)
    queries, pairs, early, late = batch * h * met, batch * h * chunks * pairs, reads * late, batch * h * chunks * late
    sums = d_k * d_v
    fades = channels * (heads * (met + past) + 2 * early + keys)
    q, o = batch * h * n * d_k * narrow, batch * h * n * d_v * narrow
    kv, decay = heads * m * (d_k + d_v) * narrow, heads * m * channels * wide

    decays = Step("decays", 0, fades, fades, bytes_read=decay, bytes_written=fades * wide, calls=calls)
    add = Step(
        "sums",
        2 * keys * sums,
        keys * d_k + calls * sums,
        bytes_read=kv + calls * sums * wide,
        bytes_written=calls * sums * wide,
        calls=calls,
    )
    read = Step(
        "reading",
        2 * queries * sums,
        queries * (3 * d_k + 2 * d_v),
        bytes_read=q + reads * sums * wide,
        bytes_written=o,
        allocated=o,
        calls=reads,
    )
    halves = Step(
        "halves",
        2 * pairs * (d_k + d_v),
        (late + early) * d_k + late * d_v,
        bytes_read=(late * d_k + early * (d_k + d_v)) * wide,
        bytes_written=late * d_v * wide,
        calls=2 * levels * reads,
    )
    forward = Cost(
        (decays, add, read, halves),
        live=(2 * sums + c * (g + 1) * (d_k + d_v) + g * n * d_v) * wide,
        saved=(batch * h * n * d_k + heads * (m * (d_k + d_v + channels) + sums)) * wide,
        path=1,
    )
    if not backward:
        return forward
    # Sums before every chunk again; then, for each, a product for each argument of each product.
    more = (
        replace(decays, name="decays, again"),
        replace(add, name="sums, again"),
        Step(
            "sums, backward",
            4 * keys * sums,
            3 * keys * d_k + 3 * calls * sums,
            bytes_read=kv + 2 * calls * sums * wide,
            bytes_written=kv + decay + calls * sums * wide,
            allocated=kv + decay,
            calls=2 * calls,
        ),
        Step(
            "reading, backward",
            4 * queries * sums,
            queries * (8 * d_k + 4 * d_v) + reads * sums,
            bytes_read=q + o + 2 * reads * sums * wide,
            bytes_written=q + reads * sums * wide,
            allocated=q,
            calls=2 * reads,
        ),
        Step(
            "halves, backward",
            pairs * (6 * d_k + 4 * d_v),
            3 * (late + early) * d_k,
            bytes_read=(late + early) * (d_k + d_v) * wide,
            bytes_written=(late * d_k + early * (d_k + d_v)) * wide,
            calls=5 * levels * reads,
        ),
    )
    kept = ((chunks + past) * sums + g * n * (2 * d_k + d_v) + m * (d_k + d_v + channels)) * wide
    return replace(forward, steps=(*forward.steps, *more), live=forward.live + kept)


def gated_linear_attention_step(
    d_k: Number,
    *,
    channels: Number = 1,
    d_v: Number | None = None,
    h: Number = 1,
    h_kv: Number | None = None,
    batch: Number = 1,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.gated_linear_attention_step` for one token, which no length of the context changes.

    4d_k·d_v FLOPs in matrix products for a head, and the token's own pair.

    Args:
        d_k: width of a head's queries and keys.
        channels: decays of a key: 1, or d_k.
        d_v: width of a head's values; d_k by default.
        h: query heads.
        h_kv: heads with sums of their own, a divisor of h; h by default.
        batch: sequences.
        dtype: of q, k, v and the output; the state is float32 at least.

    Returns:
        A `Cost`; `live` is the state, to the byte: d_k·d_v numbers for each head with sums of its own.

    Raises:
        ValueError: as `gated_linear_attention`.

    Source: Yang et al. (2024).

    Example:
        >>> gated_linear_attention_step(64).live  # 64 · 64 · 4
        16384
    """
    name = "cost.gated_linear_attention_step"
    with _check.named(name, "cost.gated_linear_attention"):
        cost = gated_linear_attention(
            1, d_k, channels=channels, d_v=d_v, h=h, h_kv=h_kv, batch=batch, dtype=dtype, chunk=1
        )
    numbers = state(1, d_k, d_k if d_v is None else d_v)
    return replace(cost, live=batch * (h if h_kv is None else h_kv) * numbers * itemsizes(name, dtype)[1])


def _channels(name: str, channels: Number, d_k: Number) -> Number:
    """Return the decays of a key, checked."""
    channels = size(name, "channels", channels)
    if np.any(np.asarray((channels != 1) & (channels != d_k))):
        raise ValueError(f"{name}: channels: expected 1 or d_k = {d_k}, got {channels}")
    return channels


def _cut(rows: Any, most: int) -> tuple[Any, Any]:
    """Return how many chunks rows make, and their rows, those that fill the last one included."""
    if symbolic(rows):
        return rows / most, rows
    c = largest(1, smallest(rows, most))
    chunks = -(-rows // c)
    return chunks, chunks * c


def _halves(c: Any, least: int = 1) -> tuple[Any, Any, Any]:
    """Return of a chunk of c rows the pairs in products, the queries that take part, and how often it is halved.

    Halves of fewer than `least` rows are left out.
    """
    pairs, rows, levels = 0 * c, 0 * c, 0 * c
    for half in (2**i for i in range(int(np.max(c) - 1).bit_length()) if 2**i >= least):
        there = (half < c) * -(-c // (2 * half))  # pairs of halves; the last may be filled with zeros
        pairs, rows, levels = pairs + there * half**2, rows + there * half, levels + (half < c)
    return pairs, rows, levels


def state(n: Number, d_k: Number, d_v: Number) -> Number:
    """Return how many numbers decoding keeps for a head of keys, whatever n: d_k sums of d_v numbers."""
    return d_k * d_v
