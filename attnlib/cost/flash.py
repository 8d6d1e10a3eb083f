"""Blocks of tiled attention: which ones the kernel visits, and what visiting them costs. No JAX."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, TypeAlias

import numpy as np

from attnlib import _check
from attnlib.cost._sizes import Number, attention_sizes, itemsizes, smallest, symbolic
from attnlib.cost.algebra import Cost, Step
from attnlib.cost.softmax import state as state

Window: TypeAlias = int | tuple[int, int] | None
"""|i + m − n − j| < window, or the keys (before, after) the position itself, or all keys."""


def flash_attention(
    n: Number,
    d_k: Number,
    *,
    causal: bool = False,
    window: Window = None,
    m: Number | None = None,
    d_v: Number | None = None,
    h: Number = 1,
    h_kv: Number | None = None,
    batch: Number = 1,
    block_q: int | None = None,
    block_k: int | None = None,
    backward: bool = False,
    segments: tuple[Any, ...] | None = None,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.flash_attention`: every block of scores that may hold a visible pair, forgotten at once.

    With P pairs in the visited blocks: forward 2P(d_k + d_v) FLOPs in matrix products; backward 2P(3d_k + 2d_v)
    more, one product of them the recomputed scores. Without blocks to skip P = hnm, and the total is 3.5 times
    the forward pass. Forward, blocks are large where every pair is visible and small elsewhere; backward, small.

    Args:
        n: queries.
        d_k: width of a head's queries and keys.
        causal: whether later keys are hidden: blocks that hold no visible pair are skipped.
        window: as in the kernel, a number or a pair: blocks outside are skipped. Needs n and m to be integers or
            arrays.
        m: keys; n by default.
        d_v: width of a head's values; d_k by default.
        h: query heads.
        h_kv: key and value heads, a divisor of h; h by default.
        batch: sequences.
        block_q: queries in every block; by default the two sizes that the kernel takes on CPU.
        block_k: keys in every block.
        backward: add the gradients with respect to q, k and v.
        segments: lengths n_1, n_2, … of packed sequences in order, which add up to n = m; or a pair of such tuples,
            for queries and for keys. Only
            blocks whose ranges of ids overlap are counted: about Σ n_i² pairs.
        dtype: of q, k, v and the output; scores and sums are float32 at least.

    Returns:
        A `Cost` with the steps "scores", "softmax" and "values". Bytes are those of a program that holds one
        block in fast memory, and reads what a block needs again each time. For symbols P is exact for lengths
        that are multiples of all blocks.

    Raises:
        ValueError: a size below 1 or not whole, heads that do not divide, an unknown dtype, symbols with a window,
            segments that do not add up, or with lengths that are symbols or arrays.

    Source: Dao et al. (2022), algorithm 1; loop order and the unscaled sums: Dao (2023), algorithm 1.

    Example:
        >>> flash_attention(8192, 64).matmul_flops / 8192**2
        256.0
        >>> flash_attention(8192, 64, causal=True, block_q=512, block_k=512).matmul_flops / 8192**2
        136.0
        >>> round(flash_attention(8192, 64, segments=(1024,) * 8).matmul_flops / 8192**2)  # an eighth
        32
    """
    name = "cost.flash_attention"
    sizes = attention_sizes(name, n, d_k, m, d_v, h, h_kv, batch)
    n, d_k, m, d_v, h, h_kv, batch = sizes
    _check.flags(name, causal=causal, backward=backward)
    _check.optional_int(name, block_q=block_q, block_k=block_k)
    sides(name, window)
    narrow, wide = itemsizes(name, dtype)

    ids = segment_ids(name, segments, n, m)
    large, small = block_sizes(window, block_q, block_k, packed=ids is not None)
    heads = batch * h
    visited = partial(_visited, name, n, m, small=small, causal=causal, window=window)
    pairs, rows, columns, blocks = (heads * count for count in visited(large, ids=ids))
    q, k, v, o = (x * narrow for x in sizes.arrays)
    one = heads * n * wide
    scores = Step("scores", 2 * pairs * d_k, bytes_read=q + columns * d_k * narrow, calls=blocks)
    # A pair: subtract the maximum, compare, exponential, sum. A row of a block: compare, rescale its d_v + 1 sums.
    softmax = Step("softmax", 0, 3 * pairs + rows * (2 + d_v), pairs + rows, calls=blocks)
    values = Step(
        "values",
        2 * pairs * d_v,
        bytes_read=columns * d_v * narrow,
        bytes_written=o + 2 * one,
        allocated=o + 2 * one,
        calls=blocks,
    )
    tile, tile_backward = (smallest(n, b_q) * smallest(m, b_k) * wide for b_q, b_k in (large, small))
    sums = (heads * n * (d_k + d_v + 2)) * wide
    forward = Cost((scores, softmax, values), live=sums + 2 * tile, saved=q + k + v + o + 2 * one, path=1)
    if not backward:
        return forward
    pairs, rows, columns, blocks = (heads * count for count in visited(small, ids=ids))
    again = Step("scores, again", 2 * pairs * d_k, bytes_read=q + columns * d_k * narrow, calls=blocks)
    return replace(
        forward,
        steps=(
            *forward.steps,
            again,
            Step(
                "values, backward",
                4 * pairs * d_v,
                bytes_read=2 * o + columns * d_v * narrow,
                bytes_written=v,
                allocated=v,
                calls=2 * blocks,
            ),
            # p = exp(s − max), ds = p ∘ (dp − Σ do o).
            Step("softmax, backward", 0, 3 * pairs + 3 * heads * n * d_v, pairs, calls=blocks),
            Step(
                "scores, backward",
                4 * pairs * d_k,
                bytes_read=q + columns * d_k * narrow,
                bytes_written=q + k,
                allocated=q + k,
                calls=2 * blocks,
            ),
        ),
        live=sums + heads * n * (d_k + d_v) * wide + 3 * tile_backward,
    )


def sides(name: str, window: Any) -> tuple[int, int] | None:
    """Return how many keys before and after a query's own position its window holds, checked; None without one.

    Example:
        >>> sides("f", 3), sides("f", (5, 0))
        ((2, 2), (5, 0))
    """
    if window is None:
        return None
    if _check.whole(window):
        return (window - 1, window - 1)
    if isinstance(window, tuple) and len(window) == 2 and all(_check.whole(side, 0) for side in window):
        return window
    raise ValueError(
        f"{name}: window: expected an integer of at least 1, or a pair (left, right) of integers of at least 0, "
        f"got {window!r}"
    )


def block_sizes(
    window: Window, block_q: int | None, block_k: int | None, device: str = "cpu", *, packed: bool = False
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (queries, keys) of large and of small blocks: as given, or the fastest on a CPU; untried elsewhere.

    Packed sequences have small ones alone: where one ends is not known, and a block holds all pairs of two of them.
    """
    near = sides("block_sizes", window)
    best = BLOCKS["window" if near is not None and max(near) < 128 else device if device in BLOCKS else "gpu"]
    large, small = ((b_q if block_q is None else block_q, b_k if block_k is None else block_k) for b_q, b_k in best)
    return (small, small) if packed else (large, small)


BLOCKS = {
    "cpu": ((1024, 512), (256, 256)),
    "window": ((128, 128), (128, 128)),
    "gpu": ((512, 512), (512, 512)),
    "tpu": ((512, 512), (512, 512)),
}
"""Queries and keys in a large block and in a small one, which divide the large. Only the first two were measured."""


@lru_cache(maxsize=256)
def block_pairs(
    n: int, m: int, block_q: int, block_k: int, causal: bool, window: Window
) -> tuple[np.ndarray, np.ndarray]:
    """Return the (query block, key block) pairs to visit: those whose every pair is visible, and the others.

    Query i sees key j if low ≤ t ≤ high with t = i + m − n − j: low = 0 if causal, else −right, and high = left. The
    last block of either side may reach past the end, and is not wholly visible then.

    Example:
        >>> whole, part = block_pairs(6, 6, 2, 3, True, None)
        >>> whole.tolist(), part.tolist()
        ([[1, 0], [2, 0]], [[0, 0], [1, 1], [2, 1]])
    """
    left, right = sides("block_pairs", window) or (m + n, m + n)
    low, high = 0 if causal else -right, left
    rows, columns = -(-n // block_q), -(-m // block_k)
    i0, j0 = np.arange(rows)[:, None] * block_q, np.arange(columns)[None, :] * block_k
    i1, j1 = np.minimum(i0 + block_q, n), np.minimum(j0 + block_k, m)
    t_min, t_max = i0 + m - n - (j1 - 1), i1 - 1 + m - n - j0
    visit = (t_max >= low) & (t_min <= high)
    whole = visit & (t_min >= low) & (t_max <= high) & (i1 - i0 == block_q) & (j1 - j0 == block_k)
    return np.argwhere(whole), np.argwhere(visit & ~whole)


def cover(
    n: int, m: int, large: tuple[int, int], small: tuple[int, int], causal: bool, window: Window
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the blocks to visit: large ones that are wholly visible; for the rest small ones, whole and partial.

    A large product runs faster, a small block holds fewer hidden pairs.

    Args:
        n: queries.
        m: keys.
        large: queries and keys in a large block.
        small: the same in a small one. They divide those of a large block, or it holds the whole side.
        causal: query i sees keys j ≤ i + m − n only.
        window: query i sees keys |j − i − m + n| < window only, or with a pair (left, right) so many before and
            after its position; None: no window.

    Returns:
        Three integer arrays of shape (blocks, 2): the (query block, key block) pairs of whole large blocks, of whole
        small ones, and of small ones with some pair hidden.

    Raises:
        ValueError: a length, size or window below 1, causal not a bool, small blocks not dividing large ones.

    Cost: O(number of small blocks), once for the same arguments.

    Example:
        >>> [x.tolist() for x in cover(8, 8, (4, 4), (2, 2), True, None)]
        [[[1, 0]], [[1, 0], [3, 2]], [[0, 0], [1, 1], [2, 2], [3, 3]]]
    """
    name = "cost.cover"
    _check.positive_int(name, n=n, m=m)
    sides(name, window)
    _check.flags(name, causal=causal)
    for argument, pair in (("large", large), ("small", small)):
        if not isinstance(pair, tuple) or len(pair) != 2 or not all(map(_check.whole, pair)):
            raise ValueError(f"{name}: {argument}: expected two integers of at least 1, got {pair!r}")
    if any(b % part and b < side for b, part, side in zip(large, small, (n, m), strict=True)):
        raise ValueError(f"{name}: small: expected divisors of large = {large}, got {small}")
    return _cover(n, m, large, small, causal, window)


@lru_cache(maxsize=256)
def _cover(
    n: int, m: int, large: tuple[int, int], small: tuple[int, int], causal: bool, window: Window
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    whole, _ = block_pairs(n, m, *large, causal, window)
    taken = np.zeros((-(-n // large[0]), -(-m // large[1])), bool)
    taken[tuple(whole.T)] = True
    left, part = (x[~taken[tuple((x * small // large).T)]] for x in block_pairs(n, m, *small, causal, window))
    return whole, left, part


def segment_ids(name: str, segments: Any, n: Number, m: Number) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the ids of n queries and of m keys of packed sequences, from their lengths, checked.

    Example:
        >>> segment_ids("f", ((1, 2), (2, 3)), 3, 5)
        (array([0, 1, 1]), array([0, 0, 1, 1, 1]))
    """
    if segments is None:
        return None
    if not (isinstance(n, int) and isinstance(m, int)):
        raise ValueError(f"{name}: n: expected integers n and m with segments, got {n}, {m}")
    pair = (
        segments if isinstance(segments, tuple) and any(isinstance(x, tuple) for x in segments) else (segments,) * 2
    )
    whole = [isinstance(side, tuple) and all(_check.whole(x, 0) for x in side) for side in pair]
    if not all(whole) or len(pair) != 2 or len(pair[0]) != len(pair[1]):
        raise ValueError(
            f"{name}: segments: expected a tuple of integers of at least 0, or two of as many, got {segments!r}"
        )
    if (sum(pair[0]), sum(pair[1])) != (n, m):
        raise ValueError(
            f"{name}: segments: expected lengths that add up to n = {n} and m = {m}, "
            f"got {sum(pair[0])} and {sum(pair[1])}"
        )
    queries, keys = (np.repeat(np.arange(len(side)), side) for side in pair)
    return queries, keys


def meeting(ids: tuple[Any, Any], pairs: np.ndarray, block_q: int, block_k: int) -> Any:
    """Say between which of the (query block, key block) pairs ids may be equal: those whose ranges overlap.

    ids: of queries (n,) and of keys (m,), of NumPy or JAX. The last block of a side ends where the side does.

    Example:
        >>> meeting((np.array([0, 0, 1, 1]), np.array([0, 1, 1])), np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), 2, 2)
        array([ True, False,  True,  True])
    """
    ranges = []
    for x, block in zip(ids, (block_q, block_k), strict=True):
        first = np.minimum(np.arange(0, len(x), block), len(x) - block)
        rows = x[first[:, None] + np.arange(block)]
        ranges.append((rows.min(axis=1), rows.max(axis=1)))
    (low_q, high_q), (low_k, high_k) = ranges
    i, j = pairs.T
    return (low_q[i] <= high_k[j]) & (low_k[j] <= high_q[i])


def _visited(
    name: str,
    n: Number,
    m: Number,
    large: tuple[int, int],
    small: tuple[int, int],
    causal: bool,
    window: Window,
    ids: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[Number, Number, Number, Number]:
    """Count pairs, rows and columns of the visited blocks of one head, and the blocks."""
    if symbolic(n, m):
        if window is not None or (causal and n != m):
            raise ValueError(f"{name}: n: expected integers with window or with causal and m ≠ n, got {n}, {m}")
        whole = n * (n - max(large)) / 2 if causal else n * m
        rest = n * (max(large) + max(small)) / 2 if causal else 0
        return _totals((large, whole / math.prod(large)), (small, rest / math.prod(small)))

    def count(n: Number, m: Number) -> tuple[Number, ...]:
        n, m = int(n), int(m)
        wide, narrow = ((min(b_q, n), min(b_k, m)) for b_q, b_k in (large, small))
        whole, left, part = cover(n, m, wide, narrow, causal, window)
        if ids is not None:
            whole, left, part = (
                x[meeting(ids, x, *size)] for x, size in zip((whole, left, part), (wide, narrow, narrow), strict=True)
            )
        return _totals((wide, len(whole)), (narrow, len(left) + len(part)))

    if isinstance(n, np.ndarray) or isinstance(m, np.ndarray):
        return tuple(np.vectorize(count, otypes=[float] * 4)(n, m))
    return count(n, m)


def _totals(*counted: tuple[tuple[int, int], Number]) -> tuple[Number, Number, Number, Number]:
    """Pairs, rows, columns and number of blocks of several sizes."""
    return (
        sum(b_q * b_k * blocks for (b_q, b_k), blocks in counted),
        sum(b_q * blocks for (b_q, _), blocks in counted),
        sum(b_k * blocks for (_, b_k), blocks in counted),
        sum(blocks for _, blocks in counted),
    )
