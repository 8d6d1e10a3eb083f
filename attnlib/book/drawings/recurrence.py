"""Recurrence and convolution: how a signal travels in three kinds of layers."""

from __future__ import annotations

from itertools import pairwise

from attnlib.book.draw import WIDTH, Picture, Point, arrow, dots, label, line, picture


def three_ways(n: int, k: int) -> Picture:
    """Draw the way from the first position to the last through recurrence, dilated convolutions and attention.

    Args:
        n: positions, 3 to 8.
        k: positions that a kernel covers, 2 to n. The convolutions are causal, with dilations 1, k, k² and so on.

    Returns:
        The chapter "Recurrence and convolution" begins with it.

    Raises:
        ValueError: a number of positions or a width out of range.

    Example:
        >>> three_ways(6, 2)
        Picture('Three ways from the first position to the last')
    """
    if not 3 <= n <= 8:
        raise ValueError(f"three_ways: n: expected 3 to 8, got {n!r}")
    if not 2 <= k <= n:
        raise ValueError(f"three_ways: k: expected 2 to n = {n}, got {k!r}")
    depth = next(power for power in range(1, n) if k**power >= n)
    panel, gap, top, bottom = 116, 24, 46, 166
    step = (panel - 12) / (n - 1)
    marks = []

    def at(which: int, i: int, layer: int, layers: int) -> Point:
        x = (WIDTH - 3 * panel - 2 * gap) / 2 + which * (panel + gap) + 6 + i * step
        return x, bottom - (bottom - top) * layer / layers

    def way(points: list[Point]) -> list[str]:
        """Mark a way: a line through its positions, an arrow in its last part."""
        (x0, y0), (x1, y1) = points[-2:]
        short = 1 - 5 / ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5  # the head ends where the dot begins
        end = (x0 + short * (x1 - x0), y0 + short * (y1 - y0))
        return [line(points[:-1], tone="ochre", width=2.4), arrow(points[-2], end, tone="ochre", width=2.4)]

    def panel_of(which: int, name: str, edges: list[tuple[Point, Point]], passed: list[Point], says: str) -> None:
        middle = at(which, 0, 0, 1)[0] + (panel - 12) / 2
        marks.append(label(middle, 12, name, size=12, bold=True))
        marks.append(label(middle, 28, says, size=12, tone="ochre"))
        heard = {passed[-1]}  # what leads to the last output is drawn darker; edges come from below upwards
        for edge in reversed(edges):
            if edge[1] in heard:
                heard.add(edge[0])
            strong = edge[1] in heard
            marks.append(line(edge, tone="muted", width=1.2 if strong else 0.9, opacity=0.9 if strong else 0.4))
        places = {point for edge in edges for point in edge} - set(passed)
        marks.append(dots(sorted(places), radius=2.6, tone="muted"))
        marks.extend(way(passed))
        marks.append(dots(passed, radius=3.6, tone="ochre"))
        marks.append(label(at(which, 0, 0, 1)[0], bottom + 15, "1", size=12, tone="muted"))
        marks.append(label(at(which, n - 1, 0, 1)[0], bottom + 15, str(n), size=12, tone="muted"))

    # A state for each position: its input from below, the state before it from the left.
    inputs, states = ([at(0, i, layer, 1) for i in range(n)] for layer in (0, 1))
    panel_of(
        0,
        "recurrence",
        [*zip(inputs, states, strict=True), *pairwise(states)],
        [inputs[0], *states],
        f"{n} steps",
    )
    # Layer l moves back by a digit times k^l: the digits of n − 1 in base k.
    place, passed = 0, [at(1, 0, 0, depth)]
    for layer in range(depth):
        place += (n - 1) // k**layer % k * k**layer
        passed.append(at(1, place, layer + 1, depth))
    taps = [
        (at(1, i - tap * k**layer, layer, depth), at(1, i, layer + 1, depth))
        for layer in range(depth)
        for i in range(n)
        for tap in range(k)
        if i >= tap * k**layer
    ]
    panel_of(1, "dilated convolutions", taps, passed, f"{depth} layers" if depth > 1 else "1 layer")
    pairs = [(at(2, j, 0, 1), at(2, i, 1, 1)) for i in range(n) for j in range(n)]
    panel_of(2, "self-attention", pairs, [at(2, 0, 0, 1), at(2, n - 1, 1, 1)], "1 layer")
    return picture(
        bottom + 26,
        *marks,
        title="Three ways from the first position to the last",
        description=(
            f"Three graphs over {n} positions, inputs below. Recurrence: a chain of {n} states; the marked way goes "
            f"up at position 1 and along the whole chain, {n} steps. Dilated convolutions of {k} positions: a layer "
            f"for each of the dilations {', '.join(str(k**layer) for layer in range(depth))}; the marked way takes a "
            f"line of each. Self-attention: a line from each of the {n} inputs to each of the {n} outputs; the "
            f"marked way is one line."
        ),
    )
