"""Taylor attention: the products of coordinates that are its features."""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import comb, factorial, prod

from attnlib.book.draw import Picture, box, label, picture

TONES = ("muted", "violet", "teal")  # of the degrees 0, 1, 2
DIGITS = "₀₁₂₃"


def features(d: int, wide: int) -> Picture:
    """Draw the features of degree 0, 1 and 2 by themselves, then as one row with their weights, and count them.

    Args:
        d: width of the query that is drawn, 2 or 3.
        wide: a width whose features are counted and not drawn.

    Returns:
        The chapter "Taylor attention" begins with it.

    Raises:
        ValueError: a width that is not 2 or 3, or one to count that is not a positive whole number.

    Example:
        >>> features(3, 64)
        Picture('Features of degree 0, 1 and 2')
    """
    if d not in (2, 3):
        raise ValueError(f"features: d: expected 2 or 3, whose products can be read, got {d!r}")
    if not isinstance(wide, int) or wide < 1:
        raise ValueError(f"features: wide: expected a positive whole number, got {wide!r}")
    size, top = 34, 26
    left = (72, 150, 222)  # of each degree
    centre = (left[0] + size / 2, left[1] + size / 2, left[2] + size * d / 2)
    bottom = top + size * d
    marks = [label(x, 12, f"degree {r}", tone=TONES[r], bold=True) for r, x in enumerate(centre)]
    marks.append(box(left[0], top, size, size, "1", tone=TONES[0]))
    for i in range(1, d + 1):
        marks.append(box(left[1], top + (i - 1) * size, size, size, _product((i,)), tone=TONES[1]))
        for j in range(1, d + 1):
            at = left[2] + (j - 1) * size, top + (i - 1) * size
            if i <= j:
                marks.append(box(*at, size, size, _product((i, j)), tone=TONES[2]))
            else:
                marks.append(box(*at, size, size, tone="muted", filled=False, dashed=True))
    beside = left[2] + size * d + 8
    marks += [
        label(beside, bottom - size / 2 + 15 * row, text, anchor="start", size=11, tone="muted")
        for row, text in ((-1, "dashed: the"), (0, "same again"))
    ]
    for row, width in enumerate((d, wide)):
        y = bottom + 18 + 18 * row
        pairs = comb(width + 1, 2)
        marks += [
            label(8, y, f"width {width:,}", anchor="start", size=12),
            label(centre[0], y, "1", size=12),
            label(centre[1], y, f"{width:,}", size=12),
            label(centre[2], y, f"{pairs:,} of {width**2:,}", size=12),
            label(398, y, f"*D* = {1 + width + pairs:,}", anchor="end", size=12, bold=True),
        ]
    strip = bottom + 58
    marks.append(label(8, strip + size / 2, "φ(*q*)", anchor="start"))
    marks.append(label(8, strip + size + 13, "weight", anchor="start", size=11, tone="muted"))
    chosen = [c for r in range(3) for c in combinations_with_replacement(range(1, d + 1), r)]
    for column, product in enumerate(chosen):
        x = 54 + size * column
        weight = prod(factorial(product.count(i)) for i in set(product))
        marks.append(box(x, strip, size, size, _product(product), tone=TONES[len(product)]))
        marks.append(label(x + size / 2, strip + size + 13, "1" if weight == 1 else "½", size=12, tone="muted"))
    marks.append(label(200, strip + size + 36, "φ(*q*) · φ(*k*), so weighted, is 1 + *q* · *k* + ½ (*q* · *k*)²"))
    count = comb(d + 2, 2)
    return picture(
        strip + size + 50,
        *marks,
        title="Features of degree 0, 1 and 2",
        description=(
            f"The products of at most two of {d} coordinates: the constant 1, the {d} coordinates, and of the "
            f"{d * d} products of two the {comb(d + 1, 2)} different ones, a triangle. In one row they are "
            f"the {count} features of a query; squares have the weight one half, all others one. "
            f"At width {wide:,} there are {comb(wide + 2, 2):,}."
        ),
    )


def _product(of: tuple[int, ...]) -> str:
    """Write a product of coordinates: 1, q₁, q₁q₂, q₁²."""
    if len(of) == 2 and of[0] == of[1]:
        return f"*q*{DIGITS[of[0]]}²"
    return "".join(f"*q*{DIGITS[i]}" for i in of) or "1"
