"""Sparse attention: which keys which queries see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attnlib.book.draw import TONES, Picture, Real, label, line, picture, units


def patterns(shown: Sequence[tuple[str, str, Sequence[Sequence[Any]]]]) -> Picture:
    """Draw masks side by side, queries from top to bottom, with the number of pairs under each.

    Args:
        shown: of each its name, how it looks in a few words, and its rows of truth values, all of one shape.

    Returns:
        The chapter "Sparse attention" begins with it.

    Raises:
        ValueError: no mask, or masks of different shapes.

    Example:
        >>> patterns([("full", "all filled", [[True, True]] * 2)])
        Picture('Patterns of attention')
    """
    shapes = {(len(rows), len(row)) for _, _, rows in shown for row in rows}
    if len(shapes) != 1:
        raise ValueError(f"patterns: shown: expected masks of one shape, got {sorted(shapes)}")
    ((n, m),) = shapes
    side, gap, columns = 110, 33, 3
    tall, marks, said = side * n / m, [], []
    for i, (name, looks, rows) in enumerate(shown):
        x, y = 2 + (i % columns) * (side + gap), 22 + (i // columns) * (tall + 60)
        pairs = sum(bool(see) for row in rows for see in row)
        frame = [(x, y), (x + side, y), (x + side, y + tall), (x, y + tall)]
        marks += [
            label(x, y - 11, name, anchor="start", size=12, bold=True),
            _runs(x, y, side / m, rows),
            line(frame, closed=True, tone="muted", width=0.8),
            label(x, y + tall + 12, f"{pairs:,} pairs", anchor="start", size=12, tone="muted"),
        ]
        said.append(f"{name}: {looks}, {pairs:,} pairs")
    return picture(
        22 + -(-len(shown) // columns) * (tall + 60) - 36,
        *marks,
        title="Patterns of attention",
        description=f"Squares of {n} queries against {m} keys, {n * m:,} pairs each, filled where a query sees a "
        f"key. {'; '.join(said)}.",
    )


def _runs(x: Real, y: Real, size: Real, rows: Sequence[Sequence[Any]]) -> str:
    """Fill the true cells of a mask: one path, a strip for each run of a row."""
    strips = []
    for i, row in enumerate(rows):
        start = None
        for j, see in enumerate([*row, False]):
            if see and start is None:
                start = j
            elif not see and start is not None:
                width = (j - start) * size
                place = f"M{units(x + start * size)} {units(y + i * size)}"
                strips.append(f"{place}h{units(width)}v{units(size)}h{units(-width)}z")
                start = None
    return f'<path d="{"".join(strips)}" fill="{TONES["teal"]}" shape-rendering="crispEdges"/>'
