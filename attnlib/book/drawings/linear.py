"""Linear attention: the product bracketed twice, and the causal triangle in chunks."""

from __future__ import annotations

from attnlib.book.draw import Picture, Real, arrow, box, brace, cells, label, line, picture


def two_orders(n: int, features: int, d_v: int) -> Picture:
    """Draw the product of three matrices, bracketed twice, with what lies between drawn to scale.

    Args:
        n: queries, and keys.
        features: of a query or key, at most n.
        d_v: width of the values, at most n.

    Returns:
        The chapter "Linear attention" begins with it.

    Raises:
        ValueError: a size that is not from 1 to n.

    Example:
        >>> two_orders(192, 64, 64)
        Picture('One product, two brackets')
    """
    for name, value in (("features", features), ("d_v", d_v)):
        if not 1 <= value <= n:
            raise ValueError(f"two_orders: {name}: expected 1 to n = {n}, got {value!r}")
    side = 84
    wide, thin = side * features / n, side * d_v / n
    marks = []

    def factors(
        top: Real, says: str, first: bool, between: tuple[Real, Real], tone: str, shape: str, size: int
    ) -> None:
        x = [8.0, 8 + wide + 10, 8 + wide + 10 + side + 10]
        middle = top + side / 2
        marks.append(label(8, top - 14, says, anchor="start", bold=True))
        marks.append(box(x[0], top, wide, side, tone="violet"))
        marks.append(box(x[1], middle - wide / 2, side, wide, tone="violet"))
        marks.append(box(x[2], top, thin, side, tone="ochre"))
        centres = ((x[0] + wide / 2, "φ(*q*)"), (x[1] + side / 2, "φ(*k*)ᵀ"), (x[2] + thin / 2, "*v*"))
        marks.extend(label(at, middle, name, size=11) for at, name in centres)
        start, end = (x[0], x[1] + side) if first else (x[1], x[2] + thin)
        marks.append(brace((start, top + side + 4), (end, top + side + 4), "first"))
        at = x[2] + thin + 12
        marks.append(arrow((at, middle), (at + 22, middle), tone="muted"))
        at += 28
        width, height = between
        marks.append(box(at, middle - height / 2, width, height, tone=tone, dashed=first))
        marks.append(label(at + side + 8, middle - 9, shape, anchor="start", tone=tone, bold=True))
        marks.append(label(at + side + 8, middle + 9, f"{size:,} numbers", anchor="start", size=12, tone="muted"))

    factors(30, "(φ(*q*) φ(*k*)ᵀ) *v*: scores first", True, (side, side), "wrong", "*n* × *n*", n * n)
    state = thin, wide
    factors(178, "φ(*q*) (φ(*k*)ᵀ *v*): sums first", False, state, "teal", "*D* × *d*ᵥ", features * d_v)
    return picture(
        296,
        *marks,
        title="One product, two brackets",
        description=(
            f"The matrices φ(q), φ(k) transposed and v, multiplied in two orders. Scores first: between the two "
            f"products lies a matrix of n × n = {n * n:,} numbers. Sums first: one of D × d_v = {features * d_v:,} "
            f"numbers. Drawn to scale for n = {n}, D = {features}, d_v = {d_v}."
        ),
    )


def chunked_triangle(n: int, chunk: int) -> Picture:
    """Draw which pairs of a causal sequence a chunked program computes one by one, and which go through a state.

    Args:
        n: positions, a multiple of the chunk.
        chunk: positions in a chunk.

    Returns:
        The chapter "Linear attention" shows it.

    Raises:
        ValueError: a chunk that does not divide n.

    Example:
        >>> chunked_triangle(12, 3)
        Picture('Triangles and states')
    """
    if chunk < 1 or n % chunk:
        raise ValueError(f"chunked_triangle: chunk: expected a divisor of n = {n}, got {chunk!r}")
    parts, size, left, top = n // chunk, 150 / n, 26, 24
    seen = [[(1.0 if i // chunk == j // chunk else 0.25) if j <= i else 0.0 for j in range(n)] for i in range(n)]
    marks = [
        cells(left, top, size, seen),
        label(left + 75, 12, "keys", size=12, tone="muted"),
        label(left, top + 162, "queries, from top to bottom", anchor="start", size=12, tone="muted"),
    ]
    step = 150 / parts
    for i in range(parts):
        y = top + i * step
        marks.append(box(208, y + 3, 74, step - 6, f"chunk {i + 1}", tone="teal"))
        if i + 1 < parts:
            marks.append(arrow((286, y + step / 2), (330, y + step), tone="violet"))
            marks.append(arrow((330, y + step), (286, y + 1.5 * step), tone="violet"))
            marks.append(
                label(337, y + step, f"*S*, *z* after {(i + 1) * chunk}", anchor="start", size=11, tone="violet")
            )
    square = [(left - 3, top), (left - 3, top + chunk * size)]
    marks.append(line(square, tone="ink", width=2))
    marks.append(label(left - 14, top + chunk * size / 2, "*C*", size=12))
    return picture(
        198,
        *marks,
        title="Triangles and states",
        description=(
            f"A causal triangle of {n} positions in {parts} chunks of {chunk}. The {parts} triangles on the diagonal "
            f"are computed pair by pair. All pairs below them go through a state, two sums that are handed from each "
            f"chunk to the next, {parts - 1} times."
        ),
    )
