"""Costs of a window with global tokens: three calls of attention in tiles, and which rows each gets. No JAX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attnlib import _check
from attnlib.cost._sizes import Number, attention_sizes, itemsizes, largest, smallest, symbolic
from attnlib.cost.algebra import Cost, Step
from attnlib.cost.flash import Window, flash_attention, sides


def longformer_attention(
    n: Number,
    d_k: Number,
    window: Window,
    global_tokens: int | None = None,
    *,
    max_global: int | None = None,
    m: Number | None = None,
    d_v: Number | None = None,
    h: Number = 1,
    h_kv: Number | None = None,
    batch: Number = 1,
    causal: bool = False,
    block_q: int | None = None,
    block_k: int | None = None,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.longformer_attention`: a window for all, g keys for all, and all keys for g queries.

    With W pairs in the blocks of the window about W + 2ng pairs, of 2(d_k + d_v) FLOPs each. Rows and columns of the
    first g tokens leave the window, and causal, global queries see each other alone. Tokens that an array names are
    gathered: the window is that of all n, and the two others are max_global · n pairs each, however many there are.

    Args:
        n: queries.
        d_k: width of a head's queries and keys.
        window: as in the kernel.
        global_tokens: g, if the first so many tokens are global, 0 or more.
        max_global: in its place, if an array names them: how many there may be.
        m: keys; n by default.
        d_v: width of a head's values; d_k by default.
        h: query heads.
        h_kv: key and value heads, a divisor of h; h by default.
        batch: sequences.
        causal: whether later keys are hidden.
        block_q: queries in a block; by default what the kernel takes on CPU.
        block_k: keys in a block.
        backward: add the gradients with respect to q, k and v.
        dtype: of q, k, v and the output; scores and sums are float32 at least.

    Returns:
        A `Cost` with the steps of `flash_attention`, "… in the window", "… of global keys" and "… of global queries",
        those that there are, and "merge". Its path is 2 at most, one layer to a global token and one from it; with
        causal it is that of the window, as nothing comes before the first tokens.

    Raises:
        ValueError: as `flash_attention`; a window that is neither a positive integer nor a pair, global tokens that
            are no integer of at least 0, both or neither way to say which, symbols.

    Source: Beltagy et al. (2020), section 3.1.

    Example:
        >>> c = longformer_attention(8192, 64, 257, 16)
        >>> round(c.matmul_flops / flash_attention(8192, 64).matmul_flops, 3), c.path
        (0.096, 2)
    """
    name = "cost.longformer_attention"
    sizes = attention_sizes(name, n, d_k, m, d_v, h, h_kv, batch)
    n, d_k, m, d_v, h, h_kv, batch = sizes
    if symbolic(n, m) or not (isinstance(n, int) and isinstance(m, int)):
        raise ValueError(f"{name}: n: expected integers n and m, as blocks are counted one by one, got {n}, {m}")
    near, count = check(name, window, global_tokens, max_global)
    _check.flags(name, causal=causal, backward=backward)
    narrow, wide = itemsizes(name, dtype)

    def attend(what: str, rows: int, columns: int, h_kv: Number = h_kv, **options: Any) -> Cost:
        if not rows or not columns:
            return Cost()
        given: dict[str, Any] = {"d_v": d_v, "h": h, "h_kv": h_kv, "batch": batch, "backward": backward}
        given |= {"block_q": block_q, "block_k": block_k, "dtype": dtype} | options
        with _check.named(name, "cost.flash_attention"):
            cost = flash_attention(rows, d_k, m=columns, **given)
        return replace(cost, steps=tuple(replace(step, name=f"{step.name} {what}") for step in cost.steps))

    if max_global is None:
        start, first, last, g = rows_of(n, m, count, causal)
        parts = (
            attend("in the window", n - start, m - g, window=near, causal=causal),
            attend("of global keys", n - start, g),
            attend("of global queries", last - first, last + m - n if causal else m, causal=causal),
        )
        merged = (n - start) * bool(g and m > g)
    else:
        g = min(count, m)
        parts = (
            attend("in the window", n, m, window=near, causal=causal),
            attend("of global keys", n, g),
            attend("of global queries", g, m),
        )
        merged = n
    rows = batch * h * merged
    moved = 3 * rows * d_v * wide
    merge = [
        Step(f"merge{after}", 0, times * rows * (3 * d_v + 4), rows, bytes_read=moved, bytes_written=moved // 3)
        for after, times in (("", 1), *([(", backward", 2)] if backward else []))
        if merged
    ]
    q, k, v, o = (x * narrow for x in sizes.arrays)
    live: Number = 0
    for part in parts:
        live = largest(live, part.live)
    return Cost(
        steps=tuple(step for part in parts for step in part.steps) + tuple(merge),
        live=live + 2 * batch * h * n * d_v * wide,
        saved=q + k + v + o + sum((part.saved for part in parts), start=0),
        path=_path(n, near, g, causal),
    )


def check(name: str, window: Any, global_tokens: Any, max_global: Any) -> tuple[tuple[int, int], int]:
    """Return how many keys before and after a query its window holds, and how many tokens may be global, checked."""
    near = sides(name, window)
    if near is None:
        raise ValueError(f"{name}: window: expected an integer of at least 1, or a pair (left, right), got None")
    if (global_tokens is None) == (max_global is None):
        raise ValueError(
            f"{name}: global_tokens: expected an integer, or max_global in its place, got {global_tokens!r} and "
            f"max_global = {max_global!r}"
        )
    if max_global is not None:
        _check.positive_int(name, max_global=max_global)
        return near, max_global
    _check.at_least(name, 0, global_tokens=global_tokens)
    return near, global_tokens


def rows_of(n: int, m: int, count: int, causal: bool) -> tuple[int, int, int, int]:
    """Say what each call gets if the first tokens are global: the number of global keys, and ranges of queries.

    Query i stands at position i + m − n and is global if that is one of the first `count`.

    Returns:
        start, first, last, g: queries from `start` on look through the window and at the g global keys, those from
        `first` to before `last` at everything.

    Example:
        >>> rows_of(8, 8, 2, False), rows_of(5, 8, 4, False), rows_of(8, 5, 2, True), rows_of(8, 5, 2, False)
        ((2, 0, 2, 2), (1, 0, 1, 4), (5, 3, 5, 2), (0, 3, 5, 2))
    """
    g = min(count, m)
    first = max(n - m, 0)
    last = min(max(g + n - m, first), n)
    # Queries that stand before the first key: causal, they see nothing; otherwise they come before the global ones.
    return (last if causal or first == 0 else 0), first, last, g


def _path(n: int, near: tuple[int, int], g: int, causal: bool) -> int:
    """Return the number of layers between the two positions furthest apart."""
    steps = [side for side in near[: 1 if causal else 2] if side]
    path = -(-(n - 1) // min(steps)) if steps else 0
    # Causal, a global token sends on what came before it, and nothing came before the first ones.
    return path if causal or not g or n == 1 else min(path or 2, 2)


def state(
    n: Number,
    d_k: Number,
    d_v: Number,
    *,
    window: Window,
    global_tokens: int | None = None,
    max_global: int | None = None,
) -> Number:
    """Return how many numbers decoding keeps for a head of keys: those in the window, and the global ones."""
    (left, _), count = check("cost.longformer.state", window, global_tokens, max_global)
    return smallest(n, left + 1 + count) * (d_k + d_v)
