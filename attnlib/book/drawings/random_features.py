"""Random features: slices of the exponential, and their mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

from attnlib.book.draw import TINT, TONES, Picture, Point, Real, dots, label, line, picture, units


def random_features(directions: Sequence[Point], key: Point, counts: Sequence[int], *, reach: Real = 2.5) -> Picture:
    """Draw what random features make of e^(q·k): over the plane of queries, for one key and directions in it.

    Above, each of the first three directions w alone, e^(w·q − |q|²/2) e^(w·k − |k|²/2), a bump around w; then their
    average. Below, averages of more, and e^(q·k) itself. Each step of the shade is a factor of two.

    Args:
        directions: at least three, and as many as the largest of the counts; standard normal.
        key: k.
        counts: three, growing: how many directions make each average below.
        reach: the plane is shown from −reach to reach.

    Returns:
        A picture of eight panels.

    Raises:
        ValueError: fewer than three directions, counts that are not three, or one for which there are too few
            directions.

    Example:
        >>> random_features([(1, 0), (0, 1), (-1, -1)], (1, 0), (1, 2, 3))
        Picture('A softmax surface and its random slices')
    """
    name = "random_features"
    if len(directions) < 3:
        raise ValueError(f"{name}: directions: expected at least 3, got {len(directions)}")
    if len(counts) != 3 or not 1 <= min(counts) <= max(counts) <= len(directions):
        raise ValueError(f"{name}: counts: expected 3, from 1 to {len(directions)}, got {list(counts)}")
    side, gap, top, steps = 88, 16, 4, 44
    at = [reach * (2 * (i + 0.5) / steps - 1) for i in range(steps)]

    def slices(many: Sequence[Point]) -> list[list[float]]:
        """Average over some directions, at every query of the grid: a product of a factor for each units."""
        rows = [[0.0] * steps for _ in at]
        for w in many:
            # w·(q + k) − (|q|² + |k|²)/2, units by units
            x, y = ([math.exp(w[c] * (q + key[c]) - (q * q + key[c] ** 2) / 2) for q in at] for c in (0, 1))
            for row, factor in zip(rows, reversed(y), strict=True):  # y points up
                for j, other in enumerate(x):
                    row[j] += factor * other / len(many)
        return rows

    exact = [[math.exp(x * key[0] + y * key[1]) for x in at] for y in reversed(at)]
    panels = [
        *(([w], slices([w]), f"direction {i}") for i, w in enumerate(directions[:3], 1)),
        (directions[:3], slices(directions[:3]), "mean of 3"),
        *(([], slices(directions[:count]), f"mean of {count:,}") for count in counts),
        ([], exact, "*e* to the *q* · *k*"),
    ]
    marks = []
    for i, (shown, values, text) in enumerate(panels):
        x, y = (i % 4) * (side + gap), top + (i // 4) * (side + 34)

        def place(point: Point, x: float = x, y: float = y) -> Point:
            return x + side * (point[0] / reach + 1) / 2, y + side * (1 - point[1] / reach) / 2

        inside = [place(w) for w in shown if max(abs(w[0]), abs(w[1])) < reach]
        marks += [
            _terraces(x, y, side / steps, values, [2.0**e for e in range(-3, 5)]),
            line([(x, y), (x + side, y), (x + side, y + side), (x, y + side)], closed=True, tone="muted", width=0.8),
            dots(inside, radius=3, tone="ochre"),
            dots([place(key)], radius=3, tone="violet", hollow=True),
            label(x + side / 2, y + side + 12, text, size=12),
        ]
    return picture(
        2 * (side + 34) + 2,
        *marks,
        title="A softmax surface and its random slices",
        description=(
            "Eight squares, each a plane of queries with one key marked in it. Three of them show one direction "
            "each: a round bump around the direction. The fourth is their average. The next three are averages of "
            f"{counts[0]:,}, {counts[1]:,} and {counts[2]:,} directions; with more of them the bands become "
            "straight and parallel, as they are in the last square, which shows the exponential of the inner "
            "product, except at the edge where query and key agree most."
        ),
    )


def _terraces(x: Real, y: Real, size: Real, values: Sequence[Sequence[float]], levels: Sequence[float]) -> str:
    """Draw where values reach each level, one tint on the other: one path a level, a strip for each run of a row."""
    marks = []
    for level in levels:
        strips = []
        for i, row in enumerate(values):
            start = None
            for j, value in enumerate([*row, -math.inf]):
                if value >= level and start is None:
                    start = j
                elif value < level and start is not None:
                    place = f"M{units(x + start * size)} {units(y + i * size)}"
                    strips.append(f"{place}h{units((j - start) * size)}v{units(size)}H{units(x + start * size)}z")
                    start = None
        if strips:
            marks.append(f'<path d="{"".join(strips)}" fill="{TONES["teal"]}" fill-opacity="{TINT}"/>')
    return f'<g shape-rendering="crispEdges">{"".join(marks)}</g>'
