"""Notation: the axes of an array, and which keys a causal query sees when there are more or fewer of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attnlib.book.draw import Picture, arrow, brace, cells, label, line, picture


def axes_and_triangles(shape: Sequence[int], masks: Sequence[Sequence[Sequence[Any]]]) -> Picture:
    """Draw an array with its four axes named, and causal masks whose last query and last key are marked.

    Args:
        shape: batch, heads, positions and width of the array, each small.
        masks: two matrices of truth values, queries from top to bottom.

    Returns:
        The chapter "Notation" begins with it.

    Raises:
        ValueError: a shape or a number of masks that does not fit.

    Example:
        >>> axes_and_triangles((2, 8, 5, 4), [[[1, 1, 0], [1, 1, 1]], [[0], [1]]])
        Picture('The axes of an array, and the causal mask')
    """
    limits = (2, 8, 6, 5)
    if len(shape) != 4 or not all(1 <= size <= most for size, most in zip(shape, limits, strict=True)):
        raise ValueError(f"axes_and_triangles: shape: expected four sizes of at most {limits}, got {shape!r}")
    if len(masks) != 2 or any(not 1 <= len(rows) <= 6 or len(rows[0]) > 5 for rows in masks):
        raise ValueError("axes_and_triangles: masks: expected two of at most 6 queries and 5 keys each")
    batch, heads, n, width = shape
    side, deep, foot = 12, 3.5, 120
    wide, tall = side * width, side * n
    far = 92  # from one sequence of the batch to the next
    left, top = 50, foot - tall
    x: float
    marks = [
        label(8, 12, f"*q*: batch, *h*, *n*, *d*ₖ = {', '.join(map(str, shape))}", anchor="start", size=12, bold=True)
    ]
    for b in range(batch):
        x = left + far * b
        for i in range(heads - 1, 0, -1):  # of the heads behind the first two edges are seen
            a, c = x + deep * i, top - deep * i
            edge = [(a, c + deep), (a, c), (a + wide, c), (a + wide, c + tall), (a + wide - deep, c + tall)]
            marks.append(line(edge, tone="muted", width=0.9))
        marks.append(cells(x, top, side, [[0.28] * width] * n))
    behind = deep * (heads - 1)
    marks += [
        brace((left - 4, top), (left - 4, foot), f"*n* = {n}"),
        brace((left, foot + 4), (left + wide, foot + 4), f"*d*ₖ = {width}"),
        arrow((left - 5, top - 5), (left + behind - 5, top - behind - 5), tone="muted", width=1),
        label(left + behind / 2 - 11, top - behind / 2 - 10, f"*h* = {heads}", anchor="end", size=12, tone="muted"),
        brace((left, foot + 32), (left + far * (batch - 1) + wide + behind, foot + 32), f"batch = {batch}"),
    ]
    right, said = 250, []
    for rows in masks:
        queries, keys = len(rows), len(rows[0])
        x, y = right, foot - side * queries
        marks.append(cells(x, y, side, [[0.75 if see else 0 for see in row] for row in rows]))
        last = [(x + side * keys, foot - side), (x + side * keys, foot), (x + side * (keys - 1), foot)]
        marks.append(line([*last, (x + side * (keys - 1), foot - side)], tone="ochre", width=2.2, closed=True))
        marks.append(label(x + side * keys / 2, foot + 14, f"*n* = {queries}", size=12, tone="muted"))
        marks.append(label(x + side * keys / 2, foot + 29, f"*m* = {keys}", size=12, tone="muted"))
        counts = ", ".join(str(sum(bool(see) for see in row)) for row in rows)
        said.append(f"with {queries} queries and {keys} keys the queries see {counts} keys")
        right = x + side * keys + 32
    marks += [
        label(250, 12, "causal, ends aligned", anchor="start", size=12, bold=True),
        label(250 - 8, foot - 6, "*i*", anchor="end", size=12, tone="muted"),
        label(250 + 6, foot - side * len(masks[0]) - 10, "*j*", size=12, tone="muted"),
        label(250, foot + 48, "last query, last key", anchor="start", size=12, tone="ochre"),
    ]
    return picture(
        foot + 60,
        *marks,
        title="The axes of an array, and the causal mask",
        description=(
            f"On the left queries q as an array: a sheet of n = {n} rows, the positions, and d_k = {width} columns, "
            f"the width; {heads} such sheets behind one another, the heads; {batch} such piles side by side, the "
            f"batch. On the right two causal masks, aligned at their bottom right corner, where the last query meets "
            f"the last key: {'; '.join(said)}."
        ),
    )
