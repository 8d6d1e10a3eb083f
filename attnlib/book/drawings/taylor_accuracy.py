"""Accuracy of Taylor attention: the exponential and its polynomials, with what becomes of the outermost weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

from attnlib.book.draw import Picture, Point, Real, dots, label, line, picture


def polynomials(bound: Real, orders: Sequence[int]) -> Picture:
    """Draw the exponential and three of its Taylor polynomials, and by which factor each is off at both ends.

    Args:
        bound: B, the scores being drawn from −B to B; at most 4.
        orders: three whole numbers from 0 on.

    Returns:
        Three panels of one scale.

    Raises:
        ValueError: a bound that is not from 0 to 4, orders that are not three whole numbers from 0 on.

    Example:
        >>> polynomials(2.5, (1, 2, 4))
        Picture('The exponential and its Taylor polynomials')
    """
    if not 0 < bound <= 4:
        raise ValueError(f"polynomials: bound: expected a number above 0 and up to 4, got {bound!r}")
    if len(orders) != 3 or any(not isinstance(p, int) or p < 0 for p in orders):
        raise ValueError(f"polynomials: orders: expected three whole numbers from 0 on, got {list(orders)}")
    wide, high, gap, top = 112, 136, 26, 26
    xs = [bound * (i / 24 - 1) for i in range(49)]
    low = min(0.0, *(taylor(x, p) for p in orders for x in xs))
    most = max(math.exp(bound), *(taylor(x, p) for p in orders for x in xs))
    marks, says = [], []
    for i, p in enumerate(orders):
        left = 6 + i * (wide + gap)

        def place(x: Real, y: Real, left: Real = left) -> Point:
            return left + wide * (x / bound + 1) / 2, top + high * (most - y) / (most - low)

        marks += [
            label(left + wide / 2, 11, f"order {p}", tone="teal", bold=True),
            line([place(-bound, 0), place(bound, 0)], tone="muted", width=0.8),
            line([place(0, low), place(0, most)], tone="muted", width=0.8),
            line([place(x, math.exp(x)) for x in xs], dashed=True),
            line([place(x, taylor(x, p)) for x in xs], tone="teal", width=2),
        ]
        for x, anchor in ((-bound, "start"), (bound, "end")):
            ends = [place(x, math.exp(x)), place(x, taylor(x, p))]
            factor = taylor(x, p) / math.exp(x)
            at = left if x < 0 else left + wide
            marks += [
                line(ends, tone="wrong", width=3),
                dots(ends[:1], radius=3),
                dots(ends[1:], radius=3, tone="teal"),
                label(at, top + high + 14, _number(x), anchor=anchor, size=12, tone="muted"),
                label(at, top + high + 33, f"× {_number(factor)}", anchor=anchor, tone="wrong", bold=True),
            ]
        says.append(
            f"Order {p}: {_number(taylor(-bound, p) / math.exp(-bound))} times the exponential at the left end, "
            f"{_number(taylor(bound, p) / math.exp(bound))} times at the right one."
        )
    # Left of the exponential's end, where no other line is.
    marks.append(label(6 + wide * 0.7, top + 14, "*e*ˣ"))
    return picture(
        top + high + 46,
        *marks,
        title="The exponential and its Taylor polynomials",
        description=(
            "Three panels, each with the exponential and one of its polynomials for scores from "
            f"{_number(-bound)} to {_number(bound)}. {' '.join(says)}"
        ),
    )


def taylor(x: Real, order: int) -> float:
    """The series of the exponential up to that order.

    Example:
        >>> taylor(2, 2)
        5.0
    """
    return math.fsum(x**r / math.factorial(r) for r in range(order + 1))


def _number(x: Real) -> str:
    """Two digits, and a proper sign."""
    return f"{x:.2g}".replace("-", "−")
