"""From operations to seconds: a ramp and a roof, and the steps of attention on them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from attnlib.book.draw import Picture, Real, arrow, dots, label, line, picture

LEAST, MOST = 0.1, 1e4  # FLOPs per byte at the left end and at the right


def ramp_and_roof(
    device: str, peak: Real, bandwidth: Real, steps: Mapping[str, Real], blocks: tuple[str, Real]
) -> Picture:
    """Draw the roofline of a device, and where steps of attention stand on it.

    Args:
        device: its name, and for which numbers the rates are.
        peak: FLOPs a second.
        bandwidth: bytes a second.
        steps: FLOPs per byte of each, ascending, at least the first below the ridge, peak/bandwidth.
        blocks: what the last step on the ramp becomes in blocks, and its FLOPs per byte, on the roof.

    Returns:
        The chapter "From operations to seconds" begins with it.

    Raises:
        ValueError: a rate that is not positive, an intensity that is not from 0.1 to 10,000, steps that do not
            ascend or of which none is below the ridge, or blocks below the ridge.

    Example:
        >>> ramp_and_roof("A device", 1e15, 4e12, {"softmax": 0.6, "scores": 64}, ("in blocks", 400))
        Picture('A ramp and a roof')
    """
    for name, rate in (("peak", peak), ("bandwidth", bandwidth)):
        if not (rate > 0 and math.isfinite(rate)):
            raise ValueError(f"ramp_and_roof: {name}: expected a positive rate, got {rate!r}")
    ridge = peak / bandwidth
    places = list(steps.values())
    if not places or places != sorted(places) or not LEAST <= places[0] < ridge or places[-1] > MOST:
        raise ValueError(
            f"ramp_and_roof: steps: expected FLOPs per byte that ascend from {LEAST:g} to {MOST:,.0f}, the first "
            f"below the ridge at {ridge:.3g}, got {places}"
        )
    named, place = blocks
    if not ridge <= place <= MOST:
        raise ValueError(
            f"ramp_and_roof: blocks: expected from the ridge at {ridge:.3g} to {MOST:,.0f}, got {place!r}"
        )
    left, right, top, ground = 8, 394, 64, 232
    across = (right - left) / math.log10(MOST / LEAST)
    up = (ground - top) / math.log10(ridge / LEAST)

    def point(intensity: Real) -> tuple[float, float]:
        height = min(peak, bandwidth * intensity) / (bandwidth * LEAST)
        return left + across * math.log10(intensity / LEAST), ground - up * math.log10(height)

    house = [(left, ground), point(ridge), (right, top)]
    edge, _ = point(ridge)
    rates = f"{peak / 1e12:,.0f} TFLOP/s, {bandwidth / 1e12:.3g} TB/s"
    marks = [
        line([*house, (right, ground)], closed=True, filled=True, tone="muted", width=0.6),
        line(house, width=2.4),
        line([(edge, top), (edge, ground)], dashed=True, tone="muted", width=1),
        label(left, 11, f"{device}: {rates}", anchor="start", bold=True),
        label(edge, ground + 15, f"{ridge:.0f}", size=12, bold=True),
        label((left + right) / 2, ground + 34, "FLOPs per byte moved", size=12, tone="muted"),
    ]
    for x, says in ((0.35 * left + 0.65 * edge, "memory"), ((edge + right) / 2, "arithmetic")):
        marks.append(label(x, ground - 40, "waits for", size=12, tone="muted"))
        marks.append(label(x, ground - 24, says, size=12, tone="muted"))
    for tick in (1, 10, 100, 1000, 10_000):
        x, _ = point(tick)
        marks.append(line([(x, ground), (x, ground + 4)], tone="muted", width=1))
        if abs(x - edge) > 30:
            last = tick == MOST
            anchor = "end" if last else "middle"
            marks.append(label(x + 4 * last, ground + 15, f"{tick:,}", anchor=anchor, size=12, tone="muted"))
    said = []
    for name, intensity in steps.items():
        (x, y), below = point(intensity), intensity < ridge
        what, reached = _three(intensity), _three(min(peak, bandwidth * intensity) / 1e12)
        marks.append(dots([(x, y)], radius=5, tone="wrong" if below else "right"))
        if not below:
            marks.append(label(x, y + 16, name, size=12, bold=True))
            marks.append(label(x, y + 31, what, size=12))
        elif x > 120:  # to the left of the ramp, where there is room
            marks.append(label(x - 9, y - 18, name, anchor="end", size=12, bold=True))
            marks.append(label(x - 9, y - 3, what, anchor="end", size=12))
        else:
            marks.append(label(x + 11, y + 6, name, anchor="start", size=12, bold=True))
            marks.append(label(x + 11, y + 21, what, anchor="start", size=12))
        said.append(f"{name} at {what}, which reaches {reached}")
    start, end = point([i for i in places if i < ridge][-1]), point(place)
    marks.append(arrow((start[0] + 1, start[1] - 6), (end[0] - 6, end[1] - 3), bend=20, tone="right", width=1.6))
    marks.append(dots([end], radius=5, tone="right", hollow=True))
    marks.append(label(end[0] - 6, end[1] - 29, named, anchor="start", size=12, tone="right", bold=True))
    marks.append(label(end[0] - 6, end[1] - 14, f"{place:,.0f}", anchor="start", size=12, tone="right"))
    return picture(
        ground + 44,
        *marks,
        title="A ramp and a roof",
        description=(
            f"The roofline of {device}: what can be reached, in TFLOP/s, over the FLOPs per byte, both axes "
            f"logarithmic. A ramp rises to the ridge at {ridge:.0f}, from where on the roof is flat at "
            f"{peak / 1e12:,.0f}. On it stand {'; '.join(said)}. An arrow leads from the last step on the ramp to "
            f"the roof: {named}, at {place:,.0f}."
        ),
    )


def _three(value: Real) -> str:
    """Write three significant digits: 0.625, 63, 2,234."""
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
