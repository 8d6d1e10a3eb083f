"""Linear attention by numbers: sums over keys, their reading, and the triangles of causal chunks. No JAX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from attnlib import _check
from attnlib.cost._sizes import (
    Number,
    Sizes,
    attention_sizes,
    itemsizes,
    largest,
    parts,
    quotient,
    size,
    smallest,
    symbolic,
)
from attnlib.cost.algebra import Cost, Step


def linear_attention(
    n: Number,
    d_k: Number,
    *,
    features: Number | None = None,
    m: Number | None = None,
    d_v: Number | None = None,
    h: Number = 1,
    h_kv: Number | None = None,
    batch: Number = 1,
    causal: bool = False,
    backward: bool = False,
    chunk: int | None = None,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.linear_attention`: sums over keys, their reading, and the triangles of causal chunks.

    With D features: sums 2mD·d_v, reading 2nD(d_v + 1), with `causal` triangles of 2·chunk(D + d_v) a query.

    Args:
        n: queries.
        d_k: width of a head's queries and keys.
        features: D, what the feature map makes of d_k numbers; d_k by default. Making them is not counted.
        m: keys; n by default.
        d_v: width of a head's values; d_k by default.
        h: query heads.
        h_kv: key and value heads, a divisor of h; h by default. The sums are taken once for each, unless a mask
            differs between the heads of a group.
        batch: sequences.
        causal: whether later keys are hidden.
        backward: add the gradients with respect to q, k and v.
        chunk: as in the kernel. For symbols, n is a multiple of it.
        dtype: of q, k, v and the output; features and sums are float32 at least.

    Returns:
        A `Cost` with the steps "features", "sums", "reading", with `causal` "triangles", and "division". Its FLOPs in
        products are those of the program; those outside are what the mathematics needs, and a program that adds
        chunk to chunk does more.

    Raises:
        ValueError: a size below 1 or not whole, heads that do not divide, an unknown dtype.

    Source: Katharopoulos et al. (2020), section 3.2; chunks: Hua et al. (2022), section 3.2.

    Example:
        >>> linear_attention(4096, 64).matmul_flops / 4096  # 4 · 64² + 2 · 64
        16512.0
    """
    name = "cost.linear_attention"
    sizes = attention_sizes(name, n, d_k, m, d_v, h, h_kv, batch)
    return kernel_cost(name, sizes, _map(name, sizes, features), causal, backward, chunk, dtype)


def linear_attention_step(
    d_k: Number,
    *,
    features: Number | None = None,
    d_v: Number | None = None,
    h: Number = 1,
    h_kv: Number | None = None,
    batch: Number = 1,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.linear_attention_step` for one token, which no length of the context changes.

    4D·d_v + 2D FLOPs in matrix products for a head, and the token's own pair.

    Args:
        d_k: width of a head's queries and keys.
        features: D; d_k by default.
        d_v: width of a head's values; d_k by default.
        h: query heads.
        h_kv: key and value heads, a divisor of h; h by default.
        batch: sequences.
        dtype: of q, k, v and the output; the state is float32 at least.

    Returns:
        A `Cost`; `live` is the state, to the byte: D(d_v + 1) numbers for each key and value head.

    Raises:
        ValueError: as `linear_attention`.

    Source: Katharopoulos et al. (2020), section 3.4.

    Example:
        >>> linear_attention_step(64).live  # 64 · 65 · 4
        16640
    """
    name = "cost.linear_attention_step"
    sizes = attention_sizes(name, 1, d_k, 1, d_v, h, h_kv, batch)
    return step_cost(name, sizes, _map(name, sizes, features), dtype)


def chunk_size(features: Number, chunk: int | None = None) -> Number:
    """Return the queries and keys in a chunk: the given number, or one whose features stay in a cache of a core."""
    if chunk is not None:
        return chunk
    if isinstance(features, np.ndarray):
        return np.clip(2**20 // features, 16, 128)
    return 128 if symbolic(features) else min(128, max(16, 2**20 // int(features)))


class Features(NamedTuple):
    """What a kernel of `attnlib.kernels._sums` makes of queries and keys.

    Attributes:
        features: D, how many there are.
        d_pair: width that a pair of a triangle contracts.
        pair: FLOPs of a pair besides.
        made: multiplications that make the features of a row.
        weighted: those more for a key.
    """

    features: Number
    d_pair: Number
    pair: int = 0
    made: Number = 0
    weighted: Number = 0


def _map(name: str, sizes: Sizes, features: Number | None) -> Features:
    """Return what a feature map makes; what it takes is not counted."""
    features = sizes.d_k if features is None else size(name, "features", features)
    return Features(features, features)


def step_cost(name: str, sizes: Sizes, made: Features, dtype: Any) -> Cost:
    """One token, causal, on top of the sums of those before it."""
    cost = kernel_cost(name, sizes, made, True, False, 1, dtype, keep=True)
    _, wide = itemsizes(name, dtype)
    return replace(cost, live=sizes.batch * sizes.h_kv * made.features * (sizes.d_v + 1) * wide)


def kernel_cost(
    name: str,
    sizes: Sizes,
    made_of: Features,
    causal: bool,
    backward: bool,
    chunk: int | None,
    dtype: Any,
    *,
    keep: bool = False,
) -> Cost:
    """Any kernel of `attnlib.kernels._sums`; `keep`: the last sums are wanted."""
    n, d_k, m, d_v, h, h_kv, batch = sizes
    features, d_pair, pair, made, weighted = made_of
    g = quotient(name, "h_kv", h_kv, "h", h)
    _check.flags(name, causal=causal, backward=backward)
    _check.optional_int(name, chunk=chunk)
    narrow, wide = itemsizes(name, dtype)

    c = chunk_size(features, chunk)
    rows = smallest(n, m) if causal else n
    kept = m - _ends(rows, c) if causal and not keep else m
    q_rows, k_rows, summed = batch * h * rows, batch * h_kv * m, batch * h_kv * kept
    read, written = (batch * h_kv * parts(x, c) for x in (rows, kept))
    writes = written if symbolic(written) else largest(written, 1)  # work may be none; calls may not
    pairs = batch * h * _triangles(rows, c) if causal else 0
    sums, row = features * (d_v + 1), features * wide
    q, k, v, o = (x * narrow for x in sizes.arrays)

    def make(name: str, queries: Number, keys: Number, calls: Number) -> Step:
        moved = (queries + keys) * d_k * narrow
        work = queries * made + keys * (made + weighted)
        return Step(name, 0, work, bytes_read=moved, bytes_written=(queries + keys) * row, calls=calls)

    # The features of a chunk are written once and read twice: by a product with the values, and by a plain sum.
    add = Step(
        "sums",
        2 * summed * features * d_v,
        summed * features,
        bytes_read=v + 2 * summed * row + written * sums * wide,
        bytes_written=written * sums * wide,
        calls=writes,
    )
    look = Step("reading", 2 * q_rows * sums, bytes_read=2 * q_rows * row + read * sums * wide, calls=read)
    triangles = Step(
        "triangles",
        2 * pairs * (d_pair + d_v),
        pairs * (pair + 1),
        bytes_read=2 * pairs * wide,
        bytes_written=pairs * wide,
        calls=2 * read,
    )
    division = Step("division", 0, q_rows * d_v, bytes_written=o, allocated=o, calls=read)
    steps = (make("features", q_rows, summed, read + written), add, look)
    block = smallest(n, c) * features * (g + 1)
    forward = Cost(
        (*steps, *((triangles,) if causal else ()), division),
        live=(2 * sums + block + g * n * (d_v + 1)) * wide,
        saved=q + k + v + o + batch * h * n * wide + (0 if causal else batch * h_kv * sums * wide),
        path=1,
    )
    if not backward:
        return forward
    # With y = do/den and c = do·o/den: s y for queries, then x y and x c summed, read for keys as values and as keys.
    both = batch * h_kv * parts(m, c)
    more = [
        make("features, again", (2 if causal else 1) * q_rows, k_rows, (2 if causal else 1) * read + both),
        Step(
            "reading, backward",
            2 * q_rows * features * d_v,
            bytes_read=2 * o + q + read * sums * wide,
            bytes_written=q + q_rows * row,
            allocated=q,
            calls=read,
        ),
        Step(
            "sums of queries",
            2 * q_rows * sums,
            bytes_read=2 * q_rows * row + read * sums * wide,
            bytes_written=read * sums * wide,
            calls=read,
        ),
        Step(
            "sums, backward",
            4 * k_rows * features * d_v,
            bytes_read=k + v + k_rows * row + both * sums * wide,
            bytes_written=k + v + k_rows * row,
            allocated=k + v,
            calls=2 * both,
        ),
        Step(
            "features, backward",
            0,
            2 * (q_rows + k_rows) * made,
            bytes_read=(q_rows + k_rows) * row,
            calls=read + both,
        ),
    ]
    if causal:
        more += [
            make("features of sums, again", 0 * q_rows, summed, writes),
            replace(add, name="sums, again"),
            Step(
                "triangles, backward",
                pairs * (6 * d_pair + 4 * d_v),
                pairs * (2 * pair + 2),
                bytes_read=6 * pairs * wide,
                bytes_written=2 * pairs * wide,
                calls=5 * read,
            ),
        ]
    return replace(forward, steps=(*forward.steps, *more), live=forward.live + (g * n * d_k + m * (d_k + d_v)) * wide)


def _triangles(rows: Number, chunk: Number) -> Number:
    """Pairs in the squares on the diagonal: the part of a square above it is computed, too."""
    if symbolic(rows):
        return rows * chunk
    return rows // chunk * chunk**2 + (rows % chunk) ** 2


def _ends(rows: Number, chunk: Number) -> Number:
    """Keys of a last chunk outside the loop: they are nobody's past, and not summed."""
    if symbolic(rows):
        return 0
    rest = rows % chunk
    return (
        rest + np.where(rows == chunk, chunk, 0) if isinstance(rows, np.ndarray) else rest or chunk * (rows == chunk)
    )


def state(n: Number, d_k: Number, d_v: Number, *, features: Number | None = None) -> Number:
    """Return how many numbers decoding keeps for a head of keys, whatever n: D sums of d_v numbers, and D of one."""
    return (d_k if features is None else features) * (d_v + 1)
