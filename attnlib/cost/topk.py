"""Selected keys by numbers: an indexer that meets every pair, and attention to the few that it leaves. No JAX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attnlib import _check
from attnlib.cost._sizes import Number, attention_sizes, itemsizes, largest, parts, size, smallest, symbolic
from attnlib.cost.algebra import Cost, Step
from attnlib.cost.softmax import state as keys_and_values


def topk_attention(
    n: Number,
    d_k: Number,
    top: Number,
    *,
    m: Number | None = None,
    d_v: Number | None = None,
    h: Number = 1,
    h_kv: Number | None = None,
    batch: Number = 1,
    d_index: Number | None = None,
    h_index: Number = 1,
    causal: bool = False,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.topk_attention`: an indexer over all pairs, a search for the largest, and attention to these.

    The indexer 2nm·h_I·d_I FLOPs in matrix products for each sequence, or 2nm·d_k for each head where the true scores
    select; attention 2n·t(d_k + d_v) with t = min(top, m), backward as many again. So it is quadratic in the length,
    and what falls is the constant: h_I·d_I for h(d_k + d_v).

    Args:
        n: queries.
        d_k: width of a head's queries and keys.
        top: how many keys a query meets.
        m: keys; n by default.
        d_v: width of a head's values; d_k by default.
        h: query heads.
        h_kv: key and value heads, a divisor of h; h by default.
        batch: sequences.
        d_index: width of the indexer, whose selection all heads share; None where the true scores of each select.
        h_index: heads of the indexer.
        causal: changes nothing: the indexer scores later keys, too, and forgets them.
        backward: add the gradients with respect to q, k and v; the indexer has none.
        dtype: of q, k, v, of the indexer and the output; scores and sums are float32 at least.

    Returns:
        A `Cost` with the steps "indexer", "selection", "gathers", "scores", "softmax" and "values". The indexer
        computes scores for blocks of 64 queries, the last of which begins earlier, so that n counts as a multiple of
        the block, if it is longer than one; attention the same with blocks of 2048/t. For symbols it is exact where
        lengths are multiples.

    Raises:
        ValueError: a size below 1 or not whole, heads that do not divide, an unknown dtype, an h_index without width.

    Source: DeepSeek-AI (2025).

    Example:
        >>> c = topk_attention(131072, 128, 2048, d_index=128, h_index=64, h=128)
        >>> f"{c['indexer'].matmul_flops:.2g} {(c['scores'].matmul_flops + c['values'].matmul_flops):.2g}"
        '2.8e+14 1.8e+13'
    """
    name = "cost.topk_attention"
    sizes = attention_sizes(name, n, d_k, m, d_v, h, h_kv, batch)
    n, d_k, m, d_v, h, h_kv, batch = sizes
    top, h_index = size(name, "top", top), size(name, "h_index", h_index)
    _check.flags(name, causal=causal, backward=backward)
    if d_index is None and not (isinstance(h_index, int) and h_index == 1):
        raise ValueError(f"{name}: h_index: expected 1 without d_index, got {h_index}")
    narrow, wide = itemsizes(name, dtype)

    t, heads = smallest(top, m), batch * h
    found = heads if d_index is None else batch
    wide_index = d_k if d_index is None else h_index * size(name, "d_index", d_index)
    length = group_size(m, t)
    keys, scored = parts(m, length) * length, _padded(n, smallest(n, SELECT))
    pairs = found * scored * keys
    # Heads of the indexer: ReLU is a comparison; weigh and add.
    indexer = Step(
        *("indexer", 2 * pairs * wide_index, 0 if d_index is None else (2 * h_index - 1) * pairs),
        bytes_read=found * (n + m) * wide_index * narrow,
        bytes_written=pairs * wide,
        calls=h_index * found * parts(n, smallest(n, SELECT)),
    )
    # Comparisons are no FLOPs: every score for the largest of its group, then two searches among √(m · t).
    selection = Step(
        "selection",
        bytes_read=pairs * wide + found * scored * (keys / length if symbolic(m, t) else keys // length) * wide,
        bytes_written=4 * found * n * t,
        allocated=4 * found * n * t,
        calls=2 * found * parts(n, smallest(n, SELECT)),
    )
    block = gather_block(n, t)
    rows = heads * _padded(n, block)
    met, calls = rows * t, heads * parts(n, block)
    q, k, v, o = (x * narrow for x in sizes.arrays)
    moved, weights = met * (d_k + d_v) * wide, heads * n * t * wide
    gathers = Step("gathers", bytes_read=moved + 4 * met, bytes_written=moved, calls=2 * calls)
    scores = Step("scores", 2 * met * d_k, bytes_read=q + met * d_k * wide, calls=calls)
    # A pair: compare with the largest, subtract it, sum, divide.
    softmax = Step("softmax", 0, 4 * met, met, calls=calls)
    values = Step(
        *("values", 2 * met * d_v),
        bytes_read=met * d_v * wide,
        bytes_written=o + weights,
        allocated=o + weights,
        calls=calls,
    )
    steps: tuple[Step, ...] = (indexer, selection, gathers, scores, softmax, values)
    tile = smallest(n, SELECT) * keys * wide
    held = (n + m) * (d_k + d_v) * wide + weights + 4 * found * n * t
    live = held + largest(2 * tile, block * t * (d_k + d_v) * wide)
    if backward:
        steps += (
            replace(gathers, name="gathers, again"),
            Step("values, backward", 2 * met * d_v, met * d_v, bytes_read=2 * o + met * d_v * wide, calls=2 * calls),
            Step("softmax, backward", 0, 4 * met, bytes_read=weights, calls=calls),
            Step("scores, backward", 2 * met * d_k, met * d_k, bytes_read=q + met * d_k * wide, calls=2 * calls),
            # What a pair adds to the gradients of its key and value: read, add, write.
            Step(
                *("scatters", 0, met * (d_k + d_v)),
                bytes_read=2 * moved,
                bytes_written=moved + q + k + v,
                allocated=q + k + v,
                calls=2 * calls,
            ),
        )
        live = held + heads * (n + m) * (d_k + d_v) * wide + largest(2 * tile, 2 * block * t * (d_k + d_v) * wide)
    return Cost(steps, live=live, saved=q + k + v + weights + 4 * found * n * t, path=1)


SELECT = 64
"""Queries whose scores the indexer computes at a time."""
GATHER = 2048
"""Keys that are gathered at a time, whoever selected them: with 64 numbers each half a megabyte."""


def gather_block(n: Number, top: Number) -> Number:
    """Return how many queries attend at a time, each to its `top` keys."""
    return smallest(n, GATHER / top if symbolic(top) else largest(1, GATHER // top))


def group_size(m: Number, top: Number) -> Number:
    """Return how many keys are a group in the search for the `top` largest of m: √(m/top), down to a power of two.

    Then the search among the largest of each group and that in the groups of these are equally long.
    """
    if symbolic(m, top):
        import sympy

        return sympy.sqrt(sympy.sympify(m) / top)
    if isinstance(m // top, np.ndarray):
        return 2.0 ** ((np.frexp(m // top)[1] - 1) // 2)
    return 1 << ((m // top).bit_length() - 1) // 2


def _padded(n: Number, block: Number) -> Number:
    """Return how many queries are computed, where the last block repeats some."""
    return parts(n, block) * block


def state(n: Number, d_k: Number, d_v: Number, *, top: Number) -> Number:
    """Return how many numbers decoding keeps for a head of keys after n positions: all keys and values.

    As any may be selected; an indexer keeps its keys besides, n · d_I for all heads.
    """
    return keys_and_values(n, d_k, d_v)
