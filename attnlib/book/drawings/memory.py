"""Memory: the square of weights beside what a head stores anyway, and the strip that a program needs of it."""

from __future__ import annotations

from attnlib.book.draw import WIDTH, Picture, Real, box, label, picture


def square_and_strip(n: int, d_k: int, block: int) -> Picture:
    """Draw the arrays of one head to scale: with all of its weights at once, and with those of one block of queries.

    Args:
        n: queries, and keys.
        d_k: width of queries, keys, values and output, at most n.
        block: queries at a time, at most a quarter of n.

    Returns:
        The chapter "The memory of self-attention" begins with it.

    Raises:
        ValueError: a size out of its range.

    Example:
        >>> square_and_strip(1024, 64, 128)
        Picture('A square and a strip')
    """
    for name, value, most, says in (("d_k", d_k, n, "n"), ("block", block, n // 4, "n/4")):
        if not 1 <= value <= most:
            raise ValueError(f"square_and_strip: {name}: expected 1 to {says} = {most}, got {value!r}")
    half, gap, top = WIDTH / 2 - 8, 6, 46
    side = (half - 5 * gap) / (1 + 4 * d_k / n)
    wide, tall = side * d_k / n, side * block / n
    begin = top + 2 * tall  # the third block is at work
    marks = []

    def panel(x: Real, says: str, numbers: int, shape: str, tone: str) -> Real:
        """The four arrays; the left end of what stands beside them."""
        marks.append(label(x, 11, says, anchor="start", bold=True, size=12))
        for i, (name, colour) in enumerate(zip("qkvo", ("violet", "ochre", "ochre", "violet"), strict=True)):
            left = x + i * (wide + gap)
            marks.append(box(left, top, wide, side, tone=colour))
            marks.append(label(left + wide / 2, top - 12, f"*{name}*"))
        at = x + 4 * (wide + gap) + gap
        marks.append(label(at + side / 2, top - 12, shape, tone=tone, bold=True))
        marks.append(label(x, top + side + 13, f"4 × {n * d_k:,}", anchor="start", size=11, tone="muted"))
        marks.append(label(at + side, top + side + 13, f"{numbers:,} numbers", anchor="end", size=12, tone=tone))
        return at

    at = panel(2, "All weights at once", n * n, "*n* × *n*", "wrong")
    marks.append(box(at, top, side, side, tone="wrong"))
    x = WIDTH - half - 2
    at = panel(x, "A block of queries at a time", block * n, "*b* × *n*", "teal")
    marks.append(box(at, top, side, side, tone="muted", filled=False, dashed=True))
    for left in (x, x + 3 * (wide + gap)):
        marks.append(box(left, begin, wide, tall, tone="teal"))
    marks.append(box(at, begin, side, tall, tone="teal"))
    marks.append(label(at + side / 2, top + tall, "forgotten", size=11, tone="muted"))
    marks.append(label(at + side / 2, (begin + tall + top + side) / 2, "not yet there", size=11, tone="muted"))
    return picture(
        top + side + 24,
        *marks,
        title="A square and a strip",
        description=(
            f"The arrays of one head, drawn to scale for n = {n:,} and width {d_k}. Left: queries, keys, values and "
            f"output are narrow, {n * d_k:,} numbers each, and the weights beside them are a square of {n * n:,}. "
            f"Right: of the square only a strip is there, {block:,} rows of {n:,}, {block * n:,} numbers; the rows "
            f"before it are forgotten and the rows after it are not there yet."
        ),
    )
