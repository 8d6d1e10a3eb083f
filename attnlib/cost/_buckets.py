"""Attention within buckets by numbers: how sorted keys and their queries are cut into blocks. No JAX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from attnlib.cost._sizes import Number, Sizes, itemsizes, symbolic
from attnlib.cost.algebra import Cost, Step

LEAST, MOST = 32, 128
SCORES = 2**18
"""Keys in a block by default, at least and at most, and scores that are computed at once: the fastest on a CPU."""


class Blocks(NamedTuple):
    """How one round of one head is cut.

    Attributes:
        n: queries.
        m: keys.
        window: as in the kernel, no larger than makes a difference.
        causal: whether a query sees no key behind its own position.
        chunk: keys in a block of the sorted ones.
        key_blocks: blocks of keys, the last filled up.
        reach: blocks before its own, and behind it, that a query may see keys of.
        span: blocks of keys that a block of queries reads.
        rows: queries in a block.
        steps: steps one after another.
        batch: blocks of queries in a step.
    """

    n: int
    m: int
    window: int
    causal: bool
    chunk: int
    key_blocks: int
    reach: int
    span: int
    rows: int
    steps: int
    batch: int

    @property
    def query_blocks(self) -> int:
        """Blocks of queries."""
        return self.steps * self.batch

    @property
    def pairs(self) -> int:
        """Scores that are computed."""
        return self.query_blocks * self.rows * self.span * self.chunk


def blocks(n: int, m: int, window: int, chunk: int | None, causal: bool, exact: bool) -> Blocks:
    """Cut sorted keys into blocks, and the queries of each, which sit in it, into blocks of their own.

    A query sits in the block of keys that holds the last it may see at or before its own position. If that is its own
    key (`exact`), there are as many queries in a block as keys. If not, any number sits in each, and half a block of
    rows is filled up for each block of keys on average: so these are half as large.

    Example:
        >>> cut = blocks(1000, 1000, 64, None, True, True)
        >>> cut.key_blocks, cut.span, cut.query_blocks, cut.pairs / 1000
        (16, 2, 16, 131.072)
        >>> blocks(1000, 1000, 64, None, True, False).pairs / 1000
        188.416
    """
    window = min(window, m + 1)
    c = min(m, min(MOST, max(LEAST, window)) if chunk is None else chunk)
    key_blocks = -(-m // c)
    reach = -(-(window - 1) // c)
    span = min(key_blocks, reach + 1 if causal else 2 * reach + 1)
    rows = c if exact else max(1, c // 2)
    # Most blocks are needed if each group of queries fills one row alone of its last.
    most = key_blocks if exact else (n + min(key_blocks, n) * (rows - 1)) // rows
    steps = -(-most // max(1, SCORES // (rows * span * c)))
    return Blocks(n, m, window, causal, c, key_blocks, reach, span, rows, steps, -(-most // steps))


class Sorted(NamedTuple):
    """What `sorted_attention` is told beside sizes."""

    rounds: int
    window: int
    chunk: int | None
    causal: bool
    exact: bool
    backward: bool


def sorted_attention(name: str, sizes: Sizes, hashing: Step, told: Sorted, dtype: Any) -> Cost:
    """Cost of attention within buckets: what gives the buckets, sorting, gathering rows, and the blocks of scores."""
    n, d_k, m, d_v, h, _, batch = sizes
    if symbolic(n, m):
        raise ValueError(f"{name}: n: expected integers, as blocks are counted one by one, got {n}")
    narrow, wide = itemsizes(name, dtype)
    rounds, backward, heads = told.rounds, told.backward, batch * h

    def cut(n: Number, m: Number) -> tuple[int, ...]:
        one = blocks(int(n), int(m), told.window, told.chunk, told.causal, told.exact)
        rows, columns = one.query_blocks * one.rows, one.query_blocks * one.span * one.chunk
        return one.pairs, rows, columns, one.steps

    several = isinstance(n, np.ndarray) or isinstance(m, np.ndarray)
    each = heads * rounds
    pairs, rows, columns, calls = (
        each * x for x in (np.vectorize(cut, otypes=[float] * 4) if several else cut)(n, m)
    )
    q, k, v, o = (x * narrow for x in sizes.arrays)
    items = n + m if not told.exact else 2 * n
    logs = np.ceil(np.log2(items)) if several else max(1, (items - 1).bit_length())
    ints = each * (3 * m + 3 * n) * 4
    sorting = Step("sorting", 0, each * items * logs, bytes_read=each * items * 8, bytes_written=ints, allocated=ints)
    moved = (rows * d_k + each * m * (d_k + d_v)) * wide
    gathering = Step(
        "gathering", bytes_read=q + heads * m * (d_k + d_v) * narrow, bytes_written=moved, calls=3 * each
    )
    kept = heads * n * (d_v + 2) * wide
    scores = Step("scores", 2 * pairs * d_k, bytes_read=(rows + columns) * d_k * wide, calls=calls)
    # A pair: subtract the maximum, compare, exponential, sum. A row: merge its d_v + 1 sums with those of the rounds.
    softmax = Step("softmax", 0, 3 * pairs + each * n * (3 * d_v + 4), pairs + 2 * each * n, calls=calls)
    values = Step(
        "values",
        2 * pairs * d_v,
        bytes_read=columns * d_v * wide,
        bytes_written=rows * d_v * wide + o,
        allocated=o + rows * (d_v + 2) * wide / heads,
        calls=calls,
    )
    live = ints + kept + (moved + rows * (d_k + d_v)) // each if not several else ints + kept + moved / each
    saved = q + k + v + o + ints + kept
    forward = Cost((hashing, sorting, gathering, scores, softmax, values), live=live, saved=saved, path=1)
    if not backward:
        return forward
    again = Step("scores, again", 2 * pairs * d_k, bytes_read=(rows + columns) * d_k * wide, calls=calls)
    more = (
        again,
        Step(
            "values, backward",
            4 * pairs * d_v,
            bytes_read=(rows + 2 * columns) * d_v * wide,
            bytes_written=columns * d_v * wide + v,
            allocated=v,
            calls=2 * calls,
        ),
        Step("softmax, backward", 0, 3 * pairs + 3 * heads * n * d_v, pairs, calls=calls),
        Step(
            "scores, backward",
            4 * pairs * d_k,
            bytes_read=(rows + 2 * columns) * d_k * wide,
            bytes_written=(rows + columns) * d_k * wide + q + k,
            allocated=q + k,
            calls=2 * calls,
        ),
    )
    return replace(forward, steps=(*forward.steps, *more), live=live + heads * (n + m) * (d_k + d_v) * wide)
