"""The derivation: five steps, what flows between them, and what each costs."""

from __future__ import annotations

from attnlib import cost
from attnlib.book.draw import Picture, Real, arrow, box, label, picture

STEPS = {
    "projections": ("3 times (*n*, *d*) · (*d*, *d*)", "6*nd*²", "*q*, *k*, *v*: (*n*, *d*) each", "teal"),
    "scores": ("*h* times (*n*, *d*ₖ) · (*d*ₖ, *n*)", "2*n*²*d*", "*h* times (*n*, *n*)", "ochre"),
    "softmax": ("*h* times (*n*, *n*)", "5*hn*²", "*h* times (*n*, *n*)", "ochre"),
    "values": ("*h* times (*n*, *n*) · (*n*, *d*ₖ)", "2*n*²*d*", "(*n*, *d*)", "ochre"),
    "output": ("(*n*, *d*) · (*d*, *d*)", "2*nd*²", "(*n*, *d*)", "teal"),
}
"""Of each step the shapes of its factors, its FLOPs, the shape of what comes out, and its tone."""


def five_steps(n: int, d: int, h: int) -> Picture:
    """Draw the five steps of a self-attention layer, with shapes, and bars as long as their FLOPs.

    Args:
        n: positions.
        d: width, a multiple of the heads.
        h: heads.

    Returns:
        The chapter on the derivation begins with it.

    Raises:
        ValueError: a size that is not a positive integer, or heads that do not divide the width.

    Example:
        >>> five_steps(512, 768, 12)
        Picture('Five steps')
    """
    for name, value in (("n", n), ("d", d), ("h", h)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"five_steps: {name}: expected a positive integer, got {value!r}")
    if d % h:
        raise ValueError(f"five_steps: h: expected a divisor of d = {d}, got {h}")
    flops = {step.name: step.flops for step in cost.multihead_attention(n, d, h).steps}
    most = max(flops.values())
    left, wide, tall, gap, longest = 2, 96, 36, 25, 190
    middle, shapes, right = left + wide / 2, left + wide + 12, 398

    def flow(y: Real, what: str) -> list[str]:
        return [
            arrow((middle, y + 2), (middle, y + gap - 2), tone="muted"),
            label(middle + 9, y + gap / 2, what, anchor="start", size=11, tone="muted"),
        ]

    marks, y = flow(0, "*x*: (*n*, *d*)"), float(gap)
    for name, (factors, formula, result, tone) in STEPS.items():
        marks += [
            box(left, y, wide, tall, name, tone=tone),
            label(shapes, y + 9, factors, anchor="start", size=12),
            box(shapes, y + 23, longest * flops[name] / most, 9, tone=tone),
            label(right, y + 9, formula, anchor="end", bold=True),
            label(right, y + 27, f"{flops[name]:,}", anchor="end", size=12, tone="muted"),
            *flow(y + tall, result),
        ]
        y += tall + gap
    said = ", ".join(f"{name} {count:,}" for name, count in flops.items())
    return picture(
        y,
        *marks,
        title="Five steps",
        description="A self-attention layer from top to bottom as five boxes: projections, scores, softmax, values "
        "and output, with the shapes of the matrices that each multiplies and what it hands on. Queries, keys and "
        "values have shape (n, d), scores and weights are h matrices of shape (n, n). "
        f"FLOPs at n = {n:,}, d = {d:,}, h = {h:,}, as bars to scale: {said}.",
    )
