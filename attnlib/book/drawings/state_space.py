"""State-space models: one map as a convolution and as a loop."""

from __future__ import annotations

from attnlib.book.draw import WIDTH, Picture, arrow, box, label, line, picture


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
        raise ValueError(f"convolution_and_loop: n: expected 3 to 8, got {n!r}")
    if not 0 < decay < 1:
        raise ValueError(f"convolution_and_loop: decay: expected a number between 0 and 1, got {decay!r}")
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
