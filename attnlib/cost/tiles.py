"""How loops over matrices are cut for a fast memory of M numbers: tiles of a product, blocks of attention. No JAX."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnlib.cost.algebra import Number


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
    if symbols(memory, *lengths, *wide):
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


def parts(length: Number, block: Number) -> Number:
    """How many blocks a length is cut into."""
    return length / block if symbols(length, block) else -(-length // block)


def symbols(*sizes: Number) -> bool:
    """Return whether any of the sizes is a SymPy expression."""
    return any(hasattr(x, "free_symbols") for x in sizes)
