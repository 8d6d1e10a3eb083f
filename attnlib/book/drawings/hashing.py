"""Hashing: what sorting by buckets brings together."""

from __future__ import annotations

from collections.abc import Sequence

from attnlib.book.draw import Picture, Real, arrow, box, cells, label, picture


def sorted_pairs(weights: Sequence[Sequence[Real]], buckets: Sequence[int]) -> Picture:
    """Draw weights in the order of positions and in that of buckets, where the pairs of a bucket are a square.

    Args:
        weights: n rows of n numbers from 0 to 1, each row with sum 1; n of 16 at most fits.
        buckets: the bucket of each of the n positions.

    Returns:
        The matrix twice, its darkest square the largest weight, and how many pairs are in squares.

    Raises:
        ValueError: weights that are not square, or another number of buckets.

    Example:
        >>> sorted_pairs([[0.5, 0.5], [0.5, 0.5]], [1, 0])
        Picture('Pairs sorted by bucket')
    """
    n = len(buckets)
    if len(weights) != n or any(len(row) != n for row in weights):
        raise ValueError(f"sorted_pairs: weights: expected {n} rows of {n} numbers, as there are buckets")
    most = max(max(row) for row in weights)
    order = sorted(range(n), key=lambda i: buckets[i])
    sizes = [list(buckets).count(bucket) for bucket in sorted(set(buckets))]
    pairs = sum(size**2 for size in sizes)
    share = sum(w for i, row in enumerate(weights) for j, w in enumerate(row) if buckets[i] == buckets[j]) / n
    size, top, left, right = 10, 26, 12, 228
    start, squares = 0, []
    for many in sizes:
        at = start * size
        squares.append(box(right + at, top + at, many * size, many * size, tone="ochre", filled=False))
        start += many
    below = top + size * n + 14
    marks = (
        cells(left, top, size, [[w / most for w in row] for row in weights]),
        label(left + size * n / 2, top - 12, "by position"),
        label(left + size * n / 2, below, f"{n * n} pairs", size=12, tone="muted"),
        arrow((left + size * n + 12, top + size * n / 2), (right - 12, top + size * n / 2)),
        label((left + size * n + right) / 2, top + size * n / 2 - 14, "sort", size=12),
        cells(right, top, size, [[weights[i][j] / most for j in order] for i in order]),
        *squares,
        label(right + size * n / 2, top - 12, "by bucket", tone="ochre"),
        label(right + size * n / 2, below, f"{pairs} pairs, {share:.0%} of the weight", size=12, tone="muted"),
    )
    return picture(
        below + 14,
        *marks,
        title="Pairs sorted by bucket",
        description=f"{n} times {n} weights: in the order of positions the large ones are scattered. In the order of "
        f"{len(sizes)} buckets {share:.0%} of the weight lies in squares on the diagonal, which hold {pairs} of "
        f"{n * n} pairs.",
    )
