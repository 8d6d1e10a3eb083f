"""What the lower bound leaves open: widths across, sizes of logits upward."""

from __future__ import annotations

from collections.abc import Sequence

from attnlib.book.draw import Picture, Real, box, label, picture

KINDS = {
    "fast": ("right", False),
    "hard": ("wrong", False),
    "suspended": ("wrong", True),
    "unknown": ("muted", False),
}
"""The tone of a region, and whether its line is broken."""

Region = tuple[tuple[int, int], tuple[int, int], str, Sequence[str]]


def regions(
    widths: Sequence[tuple[str, Real]], logits: Sequence[str], known: Sequence[Region], notes: Sequence[str]
) -> Picture:
    """Draw where attention is fast, where it is hard and on what premise, and where nothing is known.

    Args:
        widths: the columns from left to right, each with its units in the picture, about 320 in all; what follows
            a "^" in a name is raised, to the next "^" if there is one.
        logits: the rows, from the bottom upward.
        known: of each region its first and last column, its first and last row, one of `KINDS`, and its lines.
        notes: what stands below.

    Returns:
        The chapter "What the lower bound leaves open" begins with it.

    Raises:
        ValueError: a kind that there is not, or a field in no region or in two.

    Example:
        >>> regions([("narrow", 160), ("wide", 160)], ["small"], [((0, 1), (0, 0), "fast", ["fast"])], [])
        Picture('Where attention is fast, hard, or unknown')
    """
    fields = [(c, r) for c in range(len(widths)) for r in range(len(logits))]
    covered = [(c, r) for (c0, c1), (r0, r1), _, _ in known for c in range(c0, c1 + 1) for r in range(r0, r1 + 1)]
    if sorted(covered) != fields:
        raise ValueError(f"regions: known: expected each of {len(fields)} fields once, got {sorted(covered)}")
    left, top, tall = 64, 20, 50
    bottom = top + tall * len(logits)
    edges = [float(left)]
    for _, width in widths:
        edges.append(edges[-1] + width)
    marks = [
        label(4, 8, "size of the logits", anchor="start", size=11, tone="muted"),
        label((edges[0] + edges[-1]) / 2, bottom + 32, "width of a head", size=11, tone="muted"),
    ]
    for row, name in enumerate(logits):
        marks.append(label(left - 6, bottom - (row + 0.5) * tall, name, anchor="end", size=12))
    for column, (name, _) in enumerate(widths):
        marks.append(_raised((edges[column] + edges[column + 1]) / 2, bottom + 14, name, 12))
    said = []
    for (c0, c1), (r0, r1), kind, lines in known:
        if kind not in KINDS:
            raise ValueError(f"regions: known: expected a kind of {', '.join(KINDS)}, got {kind!r}")
        tone, dashed = KINDS[kind]
        x, y = edges[c0], bottom - (r1 + 1) * tall
        wide, high = edges[c1 + 1] - x, (r1 + 1 - r0) * tall
        marks.append(box(x + 1, y + 1, wide - 2, high - 2, tone=tone, filled=kind != "unknown", dashed=dashed))
        for i, words in enumerate(lines):
            at = y + high / 2 + (i - (len(lines) - 1) / 2) * 17
            marks.append(_raised(x + wide / 2, at, words, 12, bold=not i and kind != "unknown"))
        across = _span([name for name, _ in widths[c0 : c1 + 1]])
        said.append(
            f"Width {across}, logits {_span(logits[r0 : r1 + 1])}: {' '.join(lines)}".replace("*", "").replace(
                "^)", ")"
            )
        )
    for i, words in enumerate(notes):
        marks.append(label(4, bottom + 52 + 15 * i, words, anchor="start", size=12, tone="muted"))
    return picture(
        bottom + (44 if not notes else 46 + 15 * len(notes)),
        *marks,
        title="Where attention is fast, hard, or unknown",
        description=f"The width of a head across, the size of the logits upward. {'. '.join(said)}.",
    )


def _span(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _raised(x: Real, y: Real, text: str, size: Real, *, bold: bool = False) -> str:
    """Write a line of which what follows a "^" is raised, to its end or to the next "^"."""
    base, _, rest = text.partition("^")
    power, _, after = rest.partition("^")
    if not power:
        return label(x, y, text, size=size, bold=bold)
    bare = [len(part.replace("*", "")) for part in (base, power, after)]
    at = x + 0.28 * size * (bare[0] - bare[1] - bare[2])
    marks = label(at, y, base, anchor="end", size=size, bold=bold)
    marks += label(at + 1, y - 5, power, anchor="start", size=11, bold=bold)
    if after:
        marks += label(at + 2 + 0.6 * 11 * bare[1], y, after, anchor="start", size=size, bold=bold)
    return marks
