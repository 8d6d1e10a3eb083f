"""Numbers moved between a slow and a small fast memory by attention, loop by loop. No JAX.

The machine: arithmetic happens in a fast memory of M numbers; everything else lies in a slow one. Moving a number
either way costs one, computing is free, the few registers of the row at work are not counted. One head, no batch:
heads share nothing. `attnlib.measure.fastmemory` runs these very loops and counts what they move.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from attnlib import _check
from attnlib.cost._sizes import Number, attention_sizes, parts, size, symbolic
from attnlib.cost.algebra import named_step


@dataclass(frozen=True)
class Transfer:
    """What one step moves, in numbers, not bytes.

    Attributes:
        name: the step.
        read: numbers moved from slow to fast memory.
        written: numbers moved from fast to slow memory.
        held: the most numbers the fast memory holds at once; None for symbols.
        blocks: rows of queries and of keys in a block, or rows and columns of the tile of a product.
    """

    name: str
    read: Number
    written: Number
    held: Number = None
    blocks: tuple[Number, Number] = (1, 1)


@dataclass(frozen=True)
class Traffic:
    """What a computation moves between slow and fast memory: its steps in order.

    Example:
        >>> moved = Traffic((Transfer("load", 6, 0), Transfer("store", 0, 2)))
        >>> moved.read, moved.written, moved.total, moved["load"].read
        (6, 2, 8, 6)
    """

    steps: tuple[Transfer, ...]

    @property
    def read(self) -> Number:
        """Numbers moved from slow to fast memory."""
        return sum(step.read for step in self.steps)

    @property
    def written(self) -> Number:
        """Numbers moved from fast to slow memory."""
        return sum(step.written for step in self.steps)

    @property
    def total(self) -> Number:
        """Numbers moved either way."""
        return self.read + self.written

    def __getitem__(self, name: str) -> Transfer:
        """Return the step of that name."""
        return named_step(self.steps, name)


def attention_io(
    n: Number,
    d_k: Number,
    memory: Number,
    *,
    m: Number | None = None,
    d_v: Number | None = None,
    backward: bool = False,
) -> Traffic:
    """Count the numbers moved by attention that writes its scores down, its products in good tiles.

    4nm for the scores, written, read, written as weights and read again; 2nd for q and o; and for M ≥ d² about
    2nm·d²/M because keys and values are read again for every block of queries, 2nd at least.

    Args:
        n: queries.
        d_k: width of the queries and keys.
        memory: M, how many numbers the fast memory holds.
        m: keys; n by default.
        d_v: width of the values; d_k by default.
        backward: add the gradients with respect to q, k and v from the saved weights: 7nm more, and the products.

    Returns:
        `Traffic`, in numbers, with the steps "scores", "softmax" and "values". Products run in the tiles that
        move least; a softmax row longer than M is read twice. For symbols: no rounding, and the tiles that are best
        for M ≥ d².

    Raises:
        ValueError: a size below 1 or not whole, or a fast memory of fewer than three numbers.

    Cost: O(1).

    Source: Dao et al. (2022), algorithm 0, where each factor of a product is read once; the tiles are ours.

    Example:
        >>> attention_io(1024, 64, 10**9).total == 4 * 1024**2 + 4 * 1024 * 64
        True
        >>> round(attention_io(16384, 64, 50_000).total / 16384**2, 2)
        4.18
    """
    name = "cost.attention_io"
    n, d_k, m, d_v, *_ = attention_sizes(name, n, d_k, m, d_v, 1, 1, 1)
    memory = size(name, "memory", memory)
    _check.flags(name, backward=backward)
    if _arrays(n, d_k, m, d_v, memory):
        return _each(partial(attention_io, backward=backward), n, d_k, m, d_v, memory)
    exact = not symbolic(n, d_k, m, d_v, memory)
    if exact and memory < 3:
        raise ValueError(f"{name}: memory: expected room for at least 3 numbers, got {memory}")
    passes, row = (1 if m <= memory else 2, min(m, memory)) if exact else (1, None)
    forward = (
        _product("scores", n, m, d_k, memory, "left"),
        Transfer("softmax", passes * n * m, n * m, row),
        _product("values", n, d_v, m, memory, "result"),
    )
    if not backward:
        return Traffic(forward)
    return Traffic(
        (
            *forward,
            _delta(n, d_v),
            _product("dv", m, d_v, n, memory, "result"),
            _product("dw", n, m, d_v, memory, "left"),
            Transfer("ds", 2 * n * m + n, n * m, 3),
            _product("dq", n, d_k, m, memory, "result"),
            _product("dk", m, d_k, n, memory, "result"),
        )
    )


def flash_attention_io(
    n: Number,
    d_k: Number,
    memory: Number,
    *,
    m: Number | None = None,
    d_v: Number | None = None,
    outer: str = "queries",
    causal: bool = False,
    window: int | None = None,
    resident: float | int = 0.5,
    block_q: int | None = None,
    block_k: int | None = None,
    backward: bool = False,
) -> Traffic:
    """Count the numbers moved by tiled attention with an online softmax, with either loop outside.

    Queries outside: a block of queries and its output stay, all keys and values stream past: 4n²d²/(rM) and 2nd.
    Keys outside: a block of keys and values stays, all queries and outputs stream past: 6n²d²/(rM) and 2nd. With
    r = ½ these are the 8 and 12 n²d²/M of blocks of M/4d rows.

    Args:
        n: queries.
        d_k: width of the queries and keys.
        memory: M, how many numbers the fast memory holds.
        m: keys; n by default.
        d_v: width of the values; d_k by default.
        outer: "queries", as in FlashAttention-2, or "keys", as in FlashAttention-1.
        causal: query i sees key j only if j ≤ i + m − n; blocks without a visible pair are not loaded.
        window: query i sees key j only if |i + m − n − j| < window.
        resident: r, the share of the fast memory for the matrix rows that stay. The rest holds what streams past
            and the scores. 1 leaves room for one streamed row.
        block_q: queries in a block; by default from M.
        block_k: keys in a block.
        backward: add the backward pass with the same loop outside. It computes the scores again from q and k; at
            r = ½ it moves 36n²d²/M with queries outside, 32 with keys outside.

    Returns:
        `Traffic`, in numbers, with the step "forward", then "delta" (Σ do∘o for each query) and "backward".
        For symbols: exact when blocks divide lengths.

    Raises:
        ValueError: a size below 1 or not whole, blocks that do not fit in the fast memory, symbols with causal or
            window.

    Cost: O(number of blocks).

    Source: Dao et al. (2022), algorithms 1 and 4; Dao (2023), algorithms 1 and 2. With their blocks of M/4d rows on
        both sides the scores do not fit beside them; here everything does.

    Example:
        >>> import sympy
        >>> n, d, M = sympy.symbols("n d M", positive=True)
        >>> for outer in ("queries", "keys"):  # the 16d/M moves c and z in and out
        ...     print(sympy.expand(flash_attention_io(n, d, M, outer=outer).total / n**2).coeff(n, 0))
        8*d**2/M
        12*d**2/M + 16*d/M
        >>> flash_attention_io(16384, 64, 50_000)["forward"].blocks
        (195, 76)
    """
    name = "cost.flash_attention_io"
    n, d_k, m, d_v, *_ = attention_sizes(name, n, d_k, m, d_v, 1, 1, 1)
    memory = size(name, "memory", memory)
    if outer not in ("queries", "keys"):
        raise ValueError(f"{name}: outer: expected 'queries' or 'keys', got {outer!r}")
    _check.flags(name, causal=causal, backward=backward)
    _check.optional_int(name, window=window, block_q=block_q, block_k=block_k)
    if isinstance(resident, bool) or not isinstance(resident, int | float) or not 0 < resident <= 1:
        raise ValueError(f"{name}: resident: expected a share above 0 and at most 1, got {resident!r}")
    if _arrays(n, d_k, m, d_v, memory):
        options: dict[str, Any] = {"outer": outer, "causal": causal, "window": window, "resident": resident}
        options |= {"block_q": block_q, "block_k": block_k, "backward": backward}
        return _each(partial(flash_attention_io, **options), n, d_k, m, d_v, memory)
    if symbolic(n, d_k, m, d_v, memory) and (causal or window is not None):
        raise ValueError(f"{name}: n: expected integers with causal or window, got {n}")

    def cut(wide: tuple[Number, Number], sums: tuple[int, int], tiles: int) -> tuple[Transfer, Visits]:
        """Choose blocks whose rows are `wide` and bring `sums` along, on either side, beside `tiles` of scores."""
        given, stay = (block_q, block_k), 0 if outer == "queries" else 1
        b_q, b_k, held = block_rows(name, memory, (n, m), given, stay, resident, wide, sums, tiles)
        return Transfer("", 0, 0, held, (b_q, b_k)), visits(n, m, b_q, b_k, causal, window)

    # Of a query q, o, c and z are in fast memory; of a key k and v.
    pair = d_k + d_v
    blocks, seen = cut((pair, pair), (2, 0), 1)
    if outer == "queries":
        read, written = seen.rows_q * d_k + seen.visits_k * pair, n * (d_v + 2)
    else:  # the first visit to a block of queries starts its sums; every other one loads them
        read = seen.rows_k * pair + seen.visits_q * (pair + 2) - seen.rows_q * (d_v + 2)
        written = (n - seen.rows_q + seen.visits_q) * (d_v + 2)
    forward = Transfer("forward", read, written, blocks.held, blocks.blocks)
    if not backward:
        return Traffic((forward,))

    # Of a query q, do, dq, c, z and delta; of a key k, v, dk and dv; and two tiles, w and ds.
    blocks, seen = cut((pair + d_k, 2 * pair), (3, 0), 2)
    if outer == "queries":
        read = seen.rows_q * (pair + 3) + (2 * seen.visits_k - seen.rows_k) * pair
        written = n * d_k + (m - seen.rows_k + seen.visits_k) * pair
    else:
        read = seen.rows_k * pair + seen.visits_q * (pair + 3) + (seen.visits_q - seen.rows_q) * d_k
        written = m * pair + (n - seen.rows_q + seen.visits_q) * d_k
    return Traffic((forward, _delta(n, d_v), Transfer("backward", read, written, blocks.held, blocks.blocks)))


def _product(name: str, rows: Number, columns: Number, depth: Number, memory: Number, stays: str) -> Transfer:
    """Multiply (rows, depth) by (depth, columns) and write the result once."""
    if symbolic(rows, columns, depth, memory):
        x = memory / (depth if stays == "left" else columns)
        return Transfer(name, reads(rows, columns, depth, stays, x, columns), rows * columns)
    stays, x, y = tiling(rows, columns, depth, memory)
    held = {"left": x * depth + depth + x, "right": y * depth + depth + y, "result": x * y + x + y}[stays]
    return Transfer(name, reads(rows, columns, depth, stays, x, y), rows * columns, held, (x, y))


def _delta(n: Number, d_v: Number) -> Transfer:
    """Σ do∘o for every query."""
    return Transfer("delta", 2 * n * d_v, n, 3)


def _arrays(*sizes: Number) -> bool:
    return any(isinstance(x, np.ndarray) for x in sizes)


def _each(model: Callable[..., Traffic], n: Number, d_k: Number, m: Number, d_v: Number, memory: Number) -> Traffic:
    """Apply a model of integers to arrays, number by number."""
    points = np.broadcast(n, d_k, m, d_v, memory)
    each = [model(n, d_k, memory, m=m, d_v=d_v).steps for n, d_k, m, d_v, memory in (map(int, x) for x in points)]

    def join(steps: tuple[Transfer, ...]) -> Transfer:
        rows = [(s.read, s.written, s.held, *s.blocks) for s in steps]
        read, written, held, *blocks = np.asarray(rows, float).T.reshape(5, *points.shape)
        return Transfer(steps[0].name, read, written, held, (blocks[0], blocks[1]))

    return Traffic(tuple(map(join, zip(*each, strict=True))))


# --- how loops are cut: tiles of a product, blocks of attention ---


def tiling(rows: int, columns: int, depth: int, memory: int) -> tuple[str, int, int]:
    """Return how to multiply (rows, depth) by (depth, columns): what stays in fast memory, and the tile (x, y).

    Of three ways the one that moves least. "left": x whole rows of the left factor stay, the columns of the right
    one pass. "right": the same transposed. "result": a tile (x, y) of the result stays; a column of the left factor
    and a row of the right one pass.

    Example:
        >>> tiling(1000, 1000, 8, 90), tiling(1000, 1000, 100, 120)
        (('left', 9, 1), ('result', 10, 10))
    """
    # A tile of the result: nearly square, or as wide or as high as the result, or an even part of that.
    side = math.isqrt(memory + 1) - 1
    widths = {min(y, columns, (memory - 1) // 2) for y in (side, *(parts(columns, t) for t in range(1, 9)))}
    heights = {min(x, rows, (memory - 1) // 2) for x in (side, *(parts(rows, t) for t in range(1, 9)))}
    choices = [("result", min((memory - y) // (y + 1), rows), y) for y in sorted(widths)]
    choices += [("result", x, min((memory - x) // (x + 1), columns)) for x in sorted(heights)]
    if (most := (memory - depth) // (depth + 1)) >= 1:
        choices += [("left", min(most, rows), 1), ("right", 1, min(most, columns))]
    return min(choices, key=lambda choice: reads(rows, columns, depth, *choice))


def reads(rows: Number, columns: Number, depth: Number, stays: str, x: Number, y: Number) -> Number:
    """Return the numbers a product reads: what stays once, what passes by once for every tile."""
    left = 1 if stays == "left" else parts(columns, y)
    right = 1 if stays == "right" else parts(rows, x)
    return left * rows * depth + right * depth * columns


def block_rows(
    name: str,
    memory: Number,
    lengths: tuple[Number, Number],
    given: tuple[int | None, int | None],
    stay: int,
    resident: float | int,
    wide: tuple[Number, Number],
    sums: tuple[int, int],
    tiles: int,
) -> tuple[Number, Number, Number]:
    """Return rows in a block on either side, as given or by default, and the numbers held; side `stay` stays."""
    pass_by, blocks = 1 - stay, list[Any](given)
    whole = [w + s for w, s in zip(wide, sums, strict=True)]
    if symbolic(memory, *lengths, *wide):
        import sympy

        # How many rows pass by at once does not matter: all of them do.
        blocks[stay] = given[stay] or sympy.Rational(resident) * memory / wide[stay]
        return blocks[0] or 1, blocks[1] or 1, None
    if blocks[stay] is None:
        least = min(blocks[pass_by] or 1, lengths[pass_by])
        most = (memory - least * whole[pass_by]) // (whole[stay] + tiles * least)
        blocks[stay] = max(1, min(int(resident * memory) // wide[stay], most))
    blocks[stay] = min(blocks[stay], lengths[stay])
    if blocks[pass_by] is None:
        room = memory - blocks[stay] * whole[stay]
        blocks[pass_by] = max(1, room // (whole[pass_by] + tiles * blocks[stay]))
    blocks[pass_by] = min(blocks[pass_by], lengths[pass_by])
    b_q, b_k = blocks
    held = b_q * whole[0] + b_k * whole[1] + tiles * b_q * b_k
    if held > memory:
        blocks_said = f"blocks of {b_q} queries and {b_k} keys"
        raise ValueError(f"{name}: memory: expected at least {held} numbers for {blocks_said}, got {memory}")
    return b_q, b_k, held


@dataclass(frozen=True)
class Visits:
    """Rows of queries and of keys that meet any at all, and their sums over the visited blocks."""

    rows_q: Number
    rows_k: Number
    visits_q: Number
    visits_k: Number


def visits(n: Number, m: Number, b_q: Number, b_k: Number, causal: bool, window: int | None) -> Visits:
    """Count the rows of the blocks that hold a visible pair."""
    if not causal and window is None:
        return Visits(n, m, n * parts(m, b_k), m * parts(n, b_q))
    # The keys that a block of queries sees are an interval: from those of its first query to those of its last.
    low = np.arange(0, n, b_q)
    high = np.minimum(low + b_q, n)
    first = np.maximum(low + m - n - (m + n if window is None else window - 1), 0)
    last = np.minimum(high - 1 + m - n + (0 if causal or window is None else window - 1), m - 1)
    some = last >= first
    rows, first, last = (high - low)[some], first[some] // b_k, last[some] // b_k
    # From one block of queries to the next these intervals overlap or touch, so that together they are one.
    rows_k = int(min((last.max() + 1) * b_k, m) - first.min() * b_k) if some.any() else 0
    return Visits(
        rows_q=int(rows.sum()),
        rows_k=rows_k,
        visits_q=int((rows * (last - first + 1)).sum()),
        visits_k=int((np.minimum((last + 1) * b_k, m) - first * b_k).sum()),
    )
