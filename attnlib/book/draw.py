"""Drawings of the book: inline SVG, made of small functions that return its marks as strings.

A picture is 400 units wide, so that its letters are of 10 pixels and more on a phone. Colours are variables of the
page's style sheet, with the light page's colour where there is none, as in a notebook; what has none is drawn in the
colour of the text.
"""

from __future__ import annotations

import hashlib
import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Real = int | float
Point = tuple[Real, Real]

WIDTH = 400
"""Units from the left end of a picture to its right."""

TONES = {
    "ink": "currentColor",
    "muted": "var(--pst-color-text-muted, #4d5b63)",
    "rule": "var(--book-rule, #d8dedd)",
    "quiet": "var(--book-quiet, #f5f7f6)",
    "teal": "var(--book-teal, #0b5c6b)",
    "ochre": "var(--book-ochre-ink, #7a4a00)",
    "violet": "var(--book-violet, #5a4a9c)",
    "right": "var(--book-right, #1d6b3a)",
    "wrong": "var(--book-wrong, #a02b2b)",
}
"""Colours by their names; what is filled with one is tinted, so that letters stay legible on it."""

SANS = "var(--book-sans, system-ui, 'Liberation Sans', Arial, sans-serif)"
TINT = 0.16  # how much of a tone a filled box has
HEAD = 7  # length of an arrow's head


@dataclass(frozen=True)
class Picture:
    """A drawing, as `picture` returns it; a notebook shows it as HTML."""

    title: str
    description: str
    svg: str

    def __repr__(self) -> str:
        return f"Picture({self.title!r})"

    def _repr_html_(self) -> str:
        return f'<div class="picture">{self.svg}</div>'


def picture(height: Real, *marks: str, title: str, description: str, width: Real = WIDTH) -> Picture:
    """Put marks together to a picture that says what it shows.

    Args:
        height: units from top to bottom; y points down.
        *marks: what the functions of this module return, the lowest first.
        title: a few words.
        description: what is to be seen in it, for whoever does not see it.
        width: units from left to right; letters of a wider picture are smaller on a phone.

    Returns:
        A `Picture`; a cell that ends with it shows it.

    Raises:
        ValueError: a size that is not positive, or no title or description.

    Example:
        >>> picture(50, box(10, 10, 80, 30, "q"), title="Queries", description="A box with the letter q.")
        Picture('Queries')
    """
    for name, value in (("height", height), ("width", width)):
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"draw.picture: {name}: expected a positive number, got {value!r}")
    body = "".join(marks)
    size = f'viewBox="0 0 {_number(width)} {_number(height)}" font-family="{SANS}" font-size="13"'
    return Picture(title, description, described(body, size, title, description))


def described(body: str, attributes: str, title: str, description: str) -> str:
    """Return an SVG element with its title and description, which a screen reader reads in its place.

    Raises:
        ValueError: an empty title or description.
    """
    for name, words in (("title", title), ("description", description)):
        if not isinstance(words, str) or not words.strip():
            raise ValueError(f"draw: {name}: expected a sentence that says what is shown, got {words!r}")
    # Two pictures of one page never share an id, unless they are the same picture.
    root = "picture-" + hashlib.sha256((title + description + body).encode()).hexdigest()[:8]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="{root}-t" aria-describedby="{root}-d" '
        f'{attributes}><title id="{root}-t">{html.escape(title)}</title>'
        f'<desc id="{root}-d">{html.escape(description)}</desc>{body}</svg>'
    )


def label(
    x: Real,
    y: Real,
    text: str,
    *,
    anchor: str = "middle",
    size: Real = 13,
    tone: str = "ink",
    bold: bool = False,
) -> str:
    """Write a line of text whose middle is at height y; letters between two asterisks are italic: "*n* × *d*".

    Args:
        x: where it begins, has its middle, or ends, as `anchor` says.
        y: the middle of its height.
        text: plain text.
        anchor: "start", "middle" or "end".
        size: of the letters, in units; at least 11, for phones.
        tone: one of `TONES`.
        bold: whether it stands out.

    Raises:
        ValueError: an anchor or a tone that there is not, or letters too small for a phone.

    Example:
        >>> label(10, 20, "keys")
        '<text x="10" y="24.55" text-anchor="middle" fill="currentColor">keys</text>'
    """
    if anchor not in ("start", "middle", "end"):
        raise ValueError(f"draw.label: anchor: expected 'start', 'middle' or 'end', got {anchor!r}")
    if size < 11:
        raise ValueError(f"draw.label: size: expected at least 11, which a phone shows in 10 pixels, got {size!r}")
    parts = text.split("*")
    spans = "".join(
        f'<tspan font-style="italic">{html.escape(part)}</tspan>' if i % 2 else html.escape(part)
        for i, part in enumerate(parts)
        if part
    )
    extra = ("" if size == 13 else f' font-size="{_number(size)}"') + (' font-weight="600"' if bold else "")
    # Half the height of a capital below the middle: `dominant-baseline` differs between programs.
    return (
        f'<text x="{_number(x)}" y="{_number(y + 0.35 * size)}" text-anchor="{anchor}" '
        f'fill="{_tone("label", tone)}"{extra}>{spans}</text>'
    )


def box(
    x: Real,
    y: Real,
    width: Real,
    height: Real,
    text: str = "",
    *,
    below: str = "",
    tone: str = "ink",
    filled: bool = True,
    dashed: bool = False,
) -> str:
    """Draw a rectangle with its name in the middle, and its size or shape below it.

    Args:
        x: its left end.
        y: its upper end.
        width: to the right.
        height: downwards.
        text: what stands in it, as in `label`.
        below: what stands under it.
        tone: one of `TONES`, of its line and, tinted, of its ground.
        filled: whether it has a ground.
        dashed: whether its line is broken: something that is never stored.

    Raises:
        ValueError: a tone that there is not.

    Example:
        >>> box(0, 0, 10, 10).count("<rect")
        1
    """
    colour = _tone("box", tone)
    ground = f'fill="{colour}" fill-opacity="{TINT}"' if filled else 'fill="none"'
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    rectangle = (
        f'<rect x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(height)}" rx="2" '
        f'{ground} stroke="{colour}" stroke-width="1.3"{dash}/>'
    )
    middle = x + width / 2
    return (
        rectangle
        + (label(middle, y + height / 2, text) if text else "")
        + (label(middle, y + height + 11, below, size=12, tone="muted") if below else "")
    )


def cells(
    x: Real,
    y: Real,
    size: Real,
    values: Sequence[Sequence[Real | None]],
    *,
    tone: str = "teal",
    grid: bool = True,
) -> str:
    """Draw a matrix as squares: 0 is empty, 1 is full.

    Args:
        x: the left end of its first column.
        y: the upper end of its first row.
        size: of a square.
        values: its rows, of numbers from 0 to 1; None leaves a square out.
        tone: one of `TONES`.
        grid: whether squares have a line around them.

    Raises:
        ValueError: a number outside of 0 to 1, or a tone that there is not.

    Example:
        >>> cells(0, 0, 5, [[1, 0], [0.5, 1]]).count("<rect")
        4
    """
    colour = _tone("cells", tone)
    rule = f' stroke="{TONES["muted"]}" stroke-width="0.5"' if grid else ""
    marks = []
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            if value is None:
                continue
            if not 0 <= value <= 1:
                raise ValueError(f"draw.cells: values: expected numbers from 0 to 1, got {value!r}")
            marks.append(
                f'<rect x="{_number(x + j * size)}" y="{_number(y + i * size)}" width="{_number(size)}" '
                f'height="{_number(size)}" fill="{colour}" fill-opacity="{_number(float(value))}"{rule}/>'
            )
    return "".join(marks)


def dots(points: Iterable[Point], *, radius: Real = 4, tone: str = "ink", hollow: bool = False) -> str:
    """Draw a dot at each of the points.

    Raises:
        ValueError: a tone that there is not.

    Example:
        >>> dots([(0, 0), (10, 0)]).count("<circle")
        2
    """
    colour = _tone("dots", tone)
    fill = f'fill="none" stroke="{colour}" stroke-width="1.3"' if hollow else f'fill="{colour}"'
    return "".join(f'<circle cx="{_number(x)}" cy="{_number(y)}" r="{_number(radius)}" {fill}/>' for x, y in points)


def line(
    points: Iterable[Point],
    *,
    tone: str = "ink",
    width: Real = 1.3,
    dashed: bool = False,
    closed: bool = False,
    filled: bool = False,
    opacity: Real = 1,
) -> str:
    """Draw a line through points.

    Args:
        points: from its beginning to its end.
        tone: one of `TONES`.
        width: of the line.
        dashed: whether it is broken.
        closed: whether it returns to its beginning.
        filled: whether what it surrounds has a ground of its tone, tinted.
        opacity: of the line, from 0 to 1.

    Raises:
        ValueError: a tone that there is not.

    Example:
        >>> line([(0, 0), (10, 5)])
        '<path d="M0 0L10 5" fill="none" stroke="currentColor" stroke-width="1.3"/>'
    """
    colour = _tone("line", tone)
    path = "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points) + ("Z" if closed else "")
    ground = f'fill="{colour}" fill-opacity="{TINT}"' if filled else 'fill="none"'
    extra = (' stroke-dasharray="4 3"' if dashed else "") + (f' stroke-opacity="{opacity}"' if opacity != 1 else "")
    return f'<path d="{path}" {ground} stroke="{colour}" stroke-width="{_number(width)}"{extra}/>'


def arrow(start: Point, end: Point, *, tone: str = "ink", bend: Real = 0, width: Real = 1.3) -> str:
    """Draw an arrow from one point to another.

    Args:
        start: where it begins.
        end: where its head is.
        tone: one of `TONES`.
        bend: how far its middle is to the left of the straight way; negative to the right.
        width: of its line.

    Raises:
        ValueError: two equal points, or a tone that there is not.

    Example:
        >>> arrow((0, 0), (20, 0)).count("<path")
        2
    """
    colour = _tone("arrow", tone)
    (x0, y0), (x1, y1) = start, end
    length = math.hypot(x1 - x0, y1 - y0)
    if not length:
        raise ValueError(f"draw.arrow: end: expected another point than the start, got {end!r}")
    # The control point of a quadratic curve is twice as far out as its middle.
    cx = (x0 + x1) / 2 + 2 * bend * (y1 - y0) / length
    cy = (y0 + y1) / 2 - 2 * bend * (x1 - x0) / length
    away = math.hypot(x1 - cx, y1 - cy)
    ux, uy = (x1 - cx) / away, (y1 - cy) / away  # the way in which it arrives
    bx, by = x1 - HEAD * ux, y1 - HEAD * uy
    half = HEAD / 2.4
    head = ((x1, y1), (bx - half * uy, by + half * ux), (bx + half * uy, by - half * ux))
    points = "L".join(f"{_number(x)} {_number(y)}" for x, y in head)
    return (
        f'<path d="M{_number(x0)} {_number(y0)}Q{_number(cx)} {_number(cy)} {_number(bx)} {_number(by)}" fill="none" '
        f'stroke="{colour}" stroke-width="{_number(width)}"/><path d="M{points}Z" fill="{colour}"/>'
    )


def brace(start: Point, end: Point, text: str, *, depth: Real = 8, tone: str = "muted") -> str:
    """Mark a length by a bracket to the right of the way from start to end, and say what it is.

    Example:
        >>> brace((0, 10), (50, 10), "*n*").count("<path")
        1
    """
    (x0, y0), (x1, y1) = start, end
    length = math.hypot(x1 - x0, y1 - y0)
    if not length:
        raise ValueError(f"draw.brace: end: expected another point than the start, got {end!r}")
    nx, ny = -(y1 - y0) / length, (x1 - x0) / length
    corners = [(x0, y0), (x0 + depth * nx, y0 + depth * ny), (x1 + depth * nx, y1 + depth * ny), (x1, y1)]
    out = depth + (9 if abs(ny) > abs(nx) else 5)
    x, y = (x0 + x1) / 2 + out * nx, (y0 + y1) / 2 + out * ny
    anchor = "middle" if abs(ny) > abs(nx) else ("start" if nx > 0 else "end")
    return line(corners, tone=tone, width=1) + label(x, y, text, anchor=anchor, size=12, tone=tone)


def _tone(where: str, tone: str) -> str:
    if tone not in TONES:
        raise ValueError(f"draw.{where}: tone: expected one of {', '.join(TONES)}, got {tone!r}")
    return TONES[tone]


def _number(x: Any) -> str:
    """A coordinate with two digits behind the point at most: 12, 0.5, 3.33."""
    return f"{round(float(x), 2) + 0.0:g}" if abs(float(x)) < 1e5 else f"{float(x):.2f}"


# --- The chapters' drawings -----------------------------------------------------------------------------------------


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
            raise ValueError(f"draw.two_orders: {name}: expected 1 to n = {n}, got {value!r}")
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
        raise ValueError(f"draw.chunked_triangle: chunk: expected a divisor of n = {n}, got {chunk!r}")
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


def convolution_and_loop(n: int, decay: float) -> Picture:
    """Draw one linear recurrence twice: as a loop over positions, and as a convolution with the powers of its decay.

    Args:
        n: positions, 3 to 8.
        decay: what a position keeps of the state before it, between 0 and 1.

    Returns:
        The chapter "State-space models" begins with it.

    Raises:
        ValueError: a number of positions or a decay out of range.

    Example:
        >>> convolution_and_loop(6, 0.7)
        Picture('A loop and a convolution')
    """
    if not 3 <= n <= 8:
        raise ValueError(f"draw.convolution_and_loop: n: expected 3 to 8, got {n!r}")
    if not 0 < decay < 1:
        raise ValueError(f"draw.convolution_and_loop: decay: expected a number between 0 and 1, got {decay!r}")
    size, left = 26, 44
    gap = (WIDTH - left - 10 - size) / (n - 1)
    xs = [left + gap * t for t in range(n)]
    middles = [x + size / 2 for x in xs]
    marks = [label(8, 12, "A loop: one state, position after position", anchor="start", bold=True)]
    rows = ((30, "*y*", "ochre"), (78, "*h*", "teal"), (126, "*x*", "violet"))
    for top, name, tone in rows:
        marks.append(label(18, top + size / 2, name))
        marks.extend(box(x, top, size, size, tone=tone) for x in xs)
    for t, middle in enumerate(middles):
        marks.append(arrow((middle, 126), (middle, 78 + size), tone="muted"))
        marks.append(arrow((middle, 78), (middle, 30 + size), tone="muted"))
        if t:
            marks.append(arrow((xs[t - 1] + size, 91), (xs[t], 91), tone="teal", width=2))
            marks.append(label((xs[t - 1] + size + xs[t]) / 2, 81, "*a*", size=12, tone="teal"))
    marks.append(label(8, 186, "A convolution: every output at once", anchor="start", bold=True))
    marks.append(label(18, 204 + size / 2, "*y*"))
    marks.append(label(18, 292 + size / 2, "*x*"))
    for t, x in enumerate(xs):
        marks.append(box(x, 204, size, size, tone="ochre", filled=t == n - 1))
        marks.append(box(x, 292, size, size, tone="violet"))
    for t, middle in enumerate(middles):
        lag = n - 1 - t
        width = 0.8 + 3.2 * decay**lag
        marks.append(line([(middle, 292), (middles[-1], 204 + size)], tone="ochre", width=width))
    for t, (x, middle) in enumerate(zip(xs, middles, strict=True)):
        lag = n - 1 - t
        marks.append(box(x, 376 - 40 * decay**lag, size, 40 * decay**lag, tone="ochre"))
        power = "1" if lag == 0 else "*a*" if lag == 1 else f"*a*{_raised(lag)}"
        marks.append(label(middle, 387, power, size=12))
    marks.append(label(18, 358, "*K*"))
    return picture(
        398,
        *marks,
        title="A loop and a convolution",
        description=(
            f"Above, {n} positions with a state each: an arrow carries a times the state to the next position, which "
            f"adds its input and is read. Below, the last output as a sum over all {n} inputs, with lines that are "
            f"thinner the older the input is, and under each input its weight as a bar: a power of a, from 1 for the "
            f"latest input down to {decay ** (n - 1):.2f} for the first."
        ),
    )


def _raised(power: int) -> str:
    """Write a power of one digit above the line."""
    return "⁰¹²³⁴⁵⁶⁷⁸⁹"[power]


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
    name = "draw.random_features"
    if len(directions) < 3:
        raise ValueError(f"{name}: directions: expected at least 3, got {len(directions)}")
    if len(counts) != 3 or not 1 <= min(counts) <= max(counts) <= len(directions):
        raise ValueError(f"{name}: counts: expected 3, from 1 to {len(directions)}, got {list(counts)}")
    side, gap, top, steps = 88, 16, 4, 44
    at = [reach * (2 * (i + 0.5) / steps - 1) for i in range(steps)]

    def slices(many: Sequence[Point]) -> list[list[float]]:
        """Average over some directions, at every query of the grid: a product of a factor for each coordinate."""
        rows = [[0.0] * steps for _ in at]
        for w in many:
            # w·(q + k) − (|q|² + |k|²)/2, coordinate by coordinate
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
                    place = f"M{_number(x + start * size)} {_number(y + i * size)}"
                    strips.append(
                        f"{place}h{_number((j - start) * size)}v{_number(size)}H{_number(x + start * size)}z"
                    )
                    start = None
        if strips:
            marks.append(f'<path d="{"".join(strips)}" fill="{TONES["teal"]}" fill-opacity="{TINT}"/>')
    return f'<g shape-rendering="crispEdges">{"".join(marks)}</g>'


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
            f"draw.low_rank: left: expected {n} rows of {r} numbers, and right {r} rows of {m}, got "
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
        raise ValueError(f"draw.patterns: shown: expected masks of one shape, got {sorted(shapes)}")
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
                place = f"M{_number(x + start * size)} {_number(y + i * size)}"
                strips.append(f"{place}h{_number(width)}v{_number(size)}h{_number(-width)}z")
                start = None
    return f'<path d="{"".join(strips)}" fill="{TONES["teal"]}" shape-rendering="crispEdges"/>'


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
        raise ValueError(f"draw.sorted_pairs: weights: expected {n} rows of {n} numbers, as there are buckets")
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
