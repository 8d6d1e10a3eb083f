"""Self-attention: queries, keys and values, and the weights between average and lookup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attnlib.book.draw import Picture, Real, arrow, box, label, line, picture

TONES = ("teal", "ochre", "violet")


def average_to_lookup(
    query: Sequence[Real],
    keys: Sequence[Sequence[Real]],
    values: Sequence[Real],
    weights: Mapping[Real, Sequence[Real]],
) -> Picture:
    """Draw a query that meets three keys, and the weights of their values as parts of a bar, scale by scale.

    Args:
        query: its entries.
        keys: three, each with as many entries.
        values: three numbers.
        weights: scale → the three weights, which add up to 1; two scales at least, the smallest first.

    Returns:
        The chapter on self-attention begins with it.

    Raises:
        ValueError: another number of keys, values or weights, weights that do not add up to 1, or one scale.

    Example:
        >>> average_to_lookup((1, 0), [(1, 0), (0, 1), (0, -1)], [3, 6, 9], {0: (1 / 3,) * 3, 99: (1, 0, 0)})
        Picture('From average to lookup')
    """
    for name, found in (
        ("keys", len(keys)),
        ("values", len(values)),
        *(("weights", len(w)) for w in weights.values()),
    ):
        if found != len(TONES):
            raise ValueError(f"average_to_lookup: {name}: expected {len(TONES)}, got {found}")
    if len(weights) < 2:
        raise ValueError(f"average_to_lookup: weights: expected two scales at least, got {list(weights)}")
    for scale, parts in weights.items():
        if min(parts) < 0 or abs(sum(parts) - 1) > 1e-3:
            raise ValueError(f"average_to_lookup: weights: expected numbers with sum 1 at {scale}, got {list(parts)}")
    tall, step, top = 26, 34, 26
    middle = top + step + tall / 2
    marks = [
        *(label(x, 12, name, size=12, tone="muted") for x, name in ((50, "query"), (192, "keys"), (304, "values"))),
        box(10, middle - tall / 2, 80, tall, f"*q* = {_entries(query)}"),
    ]
    for j, (key, value, tone) in enumerate(zip(keys, values, TONES, strict=True)):
        y = top + j * step
        score = sum(a * b for a, b in zip(query, key, strict=True))
        marks += [
            line([(90, middle), (138, y + tall / 2)], tone="muted"),
            box(138, y, 108, tall, f"*k*{'₁₂₃'[j]} = {_entries(key)}", tone=tone),
            box(264, y, 80, tall, f"*v*{'₁₂₃'[j]} = {value:g}", tone=tone),
            label(398, y + tall / 2, _signed(score), anchor="end", bold=True),
        ]
    marks.append(label(398, 12, "*q* · *k*", anchor="end", size=12, tone="muted"))
    first, left, long = top + 3 * step + 40, 90, 242
    marks += [
        label(2, first - 16, "scale", anchor="start", size=12, tone="muted"),
        label(left + long / 2, first - 16, "weights of the three values", size=12, tone="muted"),
        label(398, first - 16, "output", anchor="end", size=12, tone="muted"),
    ]
    said = []
    for i, (scale, parts) in enumerate(weights.items()):
        y, x = first + i * step, float(left)
        name = {0: "average", len(weights) - 1: "lookup"}.get(i, "")
        marks.append(label(2, y + tall / 2 - (6 if name else 0), f"β = {scale:g}", anchor="start"))
        if name:
            marks.append(label(2, y + tall / 2 + 9, name, anchor="start", size=11, tone="muted"))
        for weight, tone in zip(parts, TONES, strict=True):
            if weight * long >= 1:
                marks.append(box(x, y, weight * long, tall, tone=tone))
            if weight >= 0.11:
                marks.append(label(x + weight * long / 2, y + tall / 2, f"{weight:.2f}", size=11))
            x += weight * long
        output = sum(w * v for w, v in zip(parts, values, strict=True))
        marks.append(label(398, y + tall / 2, f"{output:.2f}", anchor="end", bold=True))
        said.append(f"at β = {scale:g} {', '.join(f'{w:.2f}' for w in parts)}, output {output:.2f}")
    end = first + len(weights) * step
    marks.append(arrow((left - 12, first + tall / 2), (left - 12, end - step + tall / 2), tone="muted"))
    return picture(
        end + 4,
        *marks,
        title="From average to lookup",
        description="A query meets three keys, and each key has a value. Below, a bar for each scale is divided "
        f"into the weights of the three values: {'; '.join(said)}.",
    )


def _entries(vector: Sequence[Real]) -> str:
    return f"({', '.join(_signed(x) for x in vector)})"


def _signed(x: Real) -> str:
    return f"{x:g}".replace("-", "−")
