"""The marks of the book's drawings: inline SVG, made of small functions that return its marks as strings.

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
    size = f'viewBox="0 0 {units(width)} {units(height)}" font-family="{SANS}" font-size="13"'
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
    extra = ("" if size == 13 else f' font-size="{units(size)}"') + (' font-weight="600"' if bold else "")
    # Half the height of a capital below the middle: `dominant-baseline` differs between programs.
    return (
        f'<text x="{units(x)}" y="{units(y + 0.35 * size)}" text-anchor="{anchor}" '
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
        f'<rect x="{units(x)}" y="{units(y)}" width="{units(width)}" height="{units(height)}" rx="2" '
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
                f'<rect x="{units(x + j * size)}" y="{units(y + i * size)}" width="{units(size)}" '
                f'height="{units(size)}" fill="{colour}" fill-opacity="{units(float(value))}"{rule}/>'
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
    return "".join(f'<circle cx="{units(x)}" cy="{units(y)}" r="{units(radius)}" {fill}/>' for x, y in points)


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
    path = "M" + "L".join(f"{units(x)} {units(y)}" for x, y in points) + ("Z" if closed else "")
    ground = f'fill="{colour}" fill-opacity="{TINT}"' if filled else 'fill="none"'
    extra = (' stroke-dasharray="4 3"' if dashed else "") + (f' stroke-opacity="{opacity}"' if opacity != 1 else "")
    return f'<path d="{path}" {ground} stroke="{colour}" stroke-width="{units(width)}"{extra}/>'


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
    points = "L".join(f"{units(x)} {units(y)}" for x, y in head)
    return (
        f'<path d="M{units(x0)} {units(y0)}Q{units(cx)} {units(cy)} {units(bx)} {units(by)}" fill="none" '
        f'stroke="{colour}" stroke-width="{units(width)}"/><path d="M{points}Z" fill="{colour}"/>'
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


def units(x: Any) -> str:
    """Write a coordinate with two digits behind the point at most.

    Example:
        >>> units(12), units(1 / 3), units(-0.0)
        ('12', '0.33', '0')
    """
    return f"{round(float(x), 2) + 0.0:g}" if abs(float(x)) < 1e5 else f"{float(x):.2f}"
