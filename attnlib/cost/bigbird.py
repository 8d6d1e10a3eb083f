"""BigBird by numbers: how many blocks a row of queries sees, and what gathering them costs. No JAX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attnlib import _check
from attnlib.cost._sizes import Number, attention_sizes, itemsizes, largest, smallest, symbolic
from attnlib.cost.algebra import Cost, Step
from attnlib.cost.flash import flash_attention
from attnlib.cost.softmax import state as keys_and_values


def bigbird_attention(
    n: Number,
    d_k: Number,
    *,
    block: int = 64,
    window_blocks: int = 3,
    global_blocks: int = 2,
    random_blocks: int = 3,
    causal: bool = False,
    m: Number | None = None,
    d_v: Number | None = None,
    h: Number = 1,
    h_kv: Number | None = None,
    batch: Number = 1,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.bigbird_attention`: every row of queries with its list of key blocks, and the global queries.

    A row of b = block queries has a list of S = min(⌈m/b⌉, global_blocks + window_blocks + random_blocks) key blocks,
    some of which may be none: P = rows · b · S · b pairs, forward 2P(d_k + d_v) FLOPs in matrix products, backward
    2P(3d_k + 2d_v) more. The queries of global blocks see all keys; `causal`, they are rows as the others. Gathering
    the keys and values of a row copies S · b(d_k + d_v) numbers, one for every 2b FLOPs.

    Args:
        n: queries, integers or arrays.
        d_k: width of a head's queries and keys.
        block: positions in a block.
        window_blocks: size of the window in blocks; an even one that is not causal has one more.
        global_blocks: how many blocks are global.
        random_blocks: how many random blocks a row sees.
        causal: whether later keys are hidden.
        m: keys; n by default.
        d_v: width of a head's values; d_k by default.
        h: query heads.
        h_kv: key and value heads, a divisor of h; h by default.
        batch: sequences.
        backward: add the gradients with respect to q, k and v.
        dtype: of q, k, v and the output; scores and sums are float32 at least.

    Returns:
        A `Cost` with the steps "gathers", "scores", "softmax" and "values"; then, not causal, those of
        `flash_attention` for the global queries, "scores of global queries", …. Its path is 2 with global blocks,
        over which any two positions meet, or 1 where all are in the window. Causal or without them it is what the
        window needs, ⌈(⌈n/b⌉ − 1 − global_blocks)/⌊window_blocks/2⌋⌉, causal window_blocks − 1 under the line, and 0
        when no number of layers does. Random blocks make it shorter in all likelihood.

    Raises:
        ValueError: as the kernel; symbols, as blocks are counted one by one.

    Source: Zaheer et al. (2020), section 2.

    Example:
        >>> costs = [bigbird_attention(n, 64).matmul_flops / (4 * 64 * n) for n in (4096, 8192, 16384)]
        >>> [round(pairs) for pairs in costs]  # keys that a query meets: 8 blocks of 64, and 2 rows meet all
        [624, 632, 636]
    """
    name = "cost.bigbird_attention"
    sizes = attention_sizes(name, n, d_k, m, d_v, h, h_kv, batch)
    n, d_k, m, d_v, h, h_kv, batch = sizes
    check_counts(name, block, window_blocks, global_blocks, random_blocks)
    _check.flags(name, causal=causal, backward=backward)
    if symbolic(n, m):
        raise ValueError(f"{name}: n: expected integers, as blocks are counted one by one, got {n}, {m}")
    narrow, wide = itemsizes(name, dtype)

    def count(n: Number, m: Number) -> tuple[int, ...]:
        return _count(int(n), int(m), block, window_blocks, global_blocks, random_blocks, causal)

    arrays = isinstance(n, np.ndarray) or isinstance(m, np.ndarray)
    counted = np.vectorize(count, otypes=[float] * 7)(n, m) if arrays else count(n, m)
    pairs, columns, rows, tile, queries, length, some = counted
    heads = batch * h
    pairs, columns, queries, rows = heads * pairs, heads * columns, heads * queries, largest(heads * rows, 1)
    q, k, v, o = (x * narrow for x in sizes.arrays)
    one, moved = heads * n * wide, columns * (d_k + d_v) * wide
    gathers = Step("gathers", bytes_read=moved, bytes_written=moved, allocated=moved, calls=2 * rows)
    scores = Step("scores", 2 * pairs * d_k, bytes_read=q + columns * d_k * wide, calls=rows)
    # A pair: compare with the largest, subtract it, sum. A query: divide.
    softmax = Step("softmax", 0, 3 * pairs + queries * d_v, pairs, calls=rows)
    values = Step(
        *("values", 2 * pairs * d_v),
        bytes_read=columns * d_v * wide,
        bytes_written=o + 2 * one,
        allocated=o + 2 * one,
        calls=rows,
    )
    steps: tuple[Step, ...] = (gathers, scores, softmax, values)
    # A padded copy of a head, one list of its keys and values, one tile of scores and of weights.
    held = (n + m) * (d_k + d_v) * wide + length * (d_k + d_v) * wide + 2 * tile * wide
    if backward:
        steps += (
            replace(gathers, name="gathers, again"),
            replace(scores, name="scores, again"),
            Step("values, backward", 4 * pairs * d_v, bytes_read=2 * o + columns * d_v * wide, calls=2 * rows),
            Step("softmax, backward", 0, 3 * pairs + 3 * heads * n * d_v, pairs, calls=rows),
            Step("scores, backward", 4 * pairs * d_k, bytes_read=q + columns * d_k * wide, calls=2 * rows),
            # What a list adds to the gradients of its keys and values: read, add, write.
            Step(
                *("scatters", 0, columns * (d_k + d_v)),
                bytes_read=2 * moved,
                bytes_written=moved + q + k + v,
                allocated=q + k + v,
                calls=2 * rows,
            ),
        )
        held = heads * (n + m) * (d_k + d_v) * wide + held + length * (d_k + d_v) * wide + tile * wide
    path = _path(n, block, window_blocks, global_blocks, causal)
    cost = Cost(steps, live=held, saved=q + k + v + o + 2 * one, path=path)
    if not np.any(some):
        return cost
    with _check.named(name, "cost.flash_attention"):
        dense = flash_attention(
            largest(some, 1), d_k, m=m, d_v=d_v, h=h, h_kv=h_kv, batch=batch, backward=backward, dtype=dtype
        )
    here = np.where(some > 0, 1.0, 0.0) if arrays else 1
    more = tuple(replace(here * step, name=f"{step.name} of global queries") for step in dense.steps)
    return replace(
        cost,
        steps=(*cost.steps, *more),
        live=largest(cost.live, here * dense.live),
        saved=cost.saved + heads * some * (d_k * narrow + d_v * narrow + 2 * wide),
    )


def check_counts(function: str, block: Any, window_blocks: Any, global_blocks: Any, random_blocks: Any) -> None:
    """Raise unless the numbers that make a pattern are integers, block and window of at least 1."""
    _check.positive_int(function, block=block, window_blocks=window_blocks)
    _check.at_least(function, 0, global_blocks=global_blocks, random_blocks=random_blocks)


def global_queries(n: int, m: int, block: int, global_blocks: int, causal: bool) -> tuple[int, int]:
    """Return the first query that sees every key and the one after the last: those of the global blocks.

    None with `causal`: what they may see is global anyway.

    Example:
        >>> global_queries(10, 10, 2, 2, False), global_queries(10, 7, 2, 2, False)
        ((0, 4), (3, 7))
    """
    if causal:
        return 0, 0
    begin, end = (min(max(i, 0), n) for i in (n - m, block * global_blocks + n - m))
    return (begin, end) if begin < end else (0, 0)


def window_offsets(window_blocks: int, causal: bool) -> np.ndarray:
    """Return how far the blocks of a window are from their own: as many behind, or half of them to each side."""
    return np.arange(1 - window_blocks, 1) if causal else np.arange(-(window_blocks // 2), window_blocks // 2 + 1)


def _count(
    n: int, m: int, block: int, window_blocks: int, global_blocks: int, random_blocks: int, causal: bool
) -> tuple[int, ...]:
    """Count pairs, gathered keys, rows, the largest tile, padded queries, the list and global queries of one head."""
    begin, end = global_queries(n, m, block, global_blocks, causal)
    columns, width = -(-m // block), min(block, m)
    length = width * min(columns, global_blocks + len(window_offsets(window_blocks, causal)) + random_blocks)
    total = [0] * 5
    for first, last in ((0, begin), (end, n)):
        if first < last:
            start = first + m - n
            rows = (last + m - n - 1) // block - start // block + 1
            height = last - first if rows == 1 else block
            more = (rows * height * length, rows * length, rows, rows * height)
            total = [a + b for a, b in zip(total, more, strict=False)] + [max(total[4], height * length)]
    pairs, gathered, rows, queries, tile = total
    return pairs, gathered, rows, tile, queries, length, end - begin


def _path(n: Number, block: int, window_blocks: int, global_blocks: int, causal: bool) -> Number:
    """Return how many layers connect any two positions, the later with the earlier, without help of random blocks."""
    far, step = -(-n // block) - 1 - global_blocks, window_blocks - 1 if causal else window_blocks // 2
    if global_blocks and not causal:
        return 1 + (far > step)
    return largest(1, -(-far // step)) if step else 1 * (far <= 0)


def state(
    n: Number,
    d_k: Number,
    d_v: Number,
    *,
    block: int = 64,
    window_blocks: int = 3,
    global_blocks: int = 2,
    random_blocks: int = 3,
) -> Number:
    """Return how many numbers decoding keeps for a head of keys after n positions.

    All keys and values with random blocks, as a later row may draw any; else those of global blocks and the window.
    """
    if random_blocks:
        return keys_and_values(n, d_k, d_v)
    return smallest(n, block * (global_blocks + window_blocks)) * (d_k + d_v)
