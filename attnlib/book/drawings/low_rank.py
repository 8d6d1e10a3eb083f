"""Low rank: a square matrix as a product of two thin ones."""

from __future__ import annotations

from collections.abc import Sequence

from attnlib.book.draw import Picture, Real, cells, label, picture


def low_rank(
    weights: Sequence[Sequence[Real]], left: Sequence[Sequence[Real]], right: Sequence[Sequence[Real]]
) -> Picture:
    """Draw a matrix of weights beside two narrow ones whose product comes close to it, and count their numbers.

    Args:
        weights: n rows of m numbers from 0 to 1; n and m of 16 at most fit.
        left: n rows of r, from 0 to 1.
        right: r rows of m, from 0 to 1.

    Returns:
        The three matrices, the darkest square of each its largest number.

    Raises:
        ValueError: shapes whose product is not that of the weights.

    Example:
        >>> low_rank([[0.5, 0.5], [0.5, 0.5]], [[1], [1]], [[0.5, 0.5]])
        Picture('A square as a product')
    """
    n, m, r = len(weights), len(weights[0]), len(right)
    if len(left) != n or any(len(row) != r for row in left) or any(len(row) != m for row in right):
        raise ValueError(
            f"low_rank: left: expected {n} rows of {r} numbers, and right {r} rows of {m}, got "
            f"{len(left)} of {len(left[0])} and {r} of {len(right[0])}"
        )
    size, top = 9, 26

    def matrix(x: Real, values: Sequence[Sequence[Real]], tone: str) -> str:
        most = max(max(row) for row in values)
        return cells(x, top, size, [[value / most for value in row] for row in values], tone=tone)

    x_left = 10 + size * m + 30
    x_right = x_left + size * r + 26
    middle = top + size * n / 2
    below = top + size * n + 14
    marks = (
        matrix(10, weights, "muted"),
        label(10 + size * m / 2, top - 12, "*n* × *n*"),
        label(10 + size * m / 2, below, f"{n * m} numbers", size=12, tone="muted"),
        label(x_left - 15, middle, "≈", size=18),
        matrix(x_left, left, "teal"),
        label(x_left + size * r / 2, top - 12, "*n* × *r*", tone="teal"),
        label(x_left + size * r / 2, below, f"{n * r}", size=12, tone="muted"),
        label(x_right - 13, middle, "·", size=18),
        matrix(x_right, right, "ochre"),
        label(x_right + size * m / 2, top - 12, "*r* × *n*", tone="ochre"),
        label(x_right + size * m / 2, top + size * r + 14, f"{r * m} numbers", size=12, tone="muted"),
        label(x_right, top + size * r + 48, "times the values first,", anchor="start", size=12),
        label(x_right, top + size * r + 65, "then the narrow matrix:", anchor="start", size=12),
        label(x_right, top + size * r + 82, "the square is never there", anchor="start", size=12),
    )
    return picture(
        below + 14,
        *marks,
        title="A square as a product",
        description=f"A square of {n} times {m} weights is close to the product of a narrow matrix, {n} times {r}, "
        f"and a flat one, {r} times {m}: {n * r + r * m} numbers instead of {n * m}.",
    )
