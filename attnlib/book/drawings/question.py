"""The question: a line through each token, an arc for each two, which are two pairs."""

from __future__ import annotations

from collections.abc import Sequence

from attnlib.book.draw import TONES, Picture, dots, label, line, picture, units


def lines_and_arcs(sizes: Sequence[int]) -> Picture:
    """Draw rows of tokens: a line through each is its projections, an arc between two is two pairs of the core.

    Args:
        sizes: tokens in each row, from left to right, at most 28 in all.

    Returns:
        The chapter "The question" begins with it.

    Raises:
        ValueError: a row of fewer than two tokens, or more tokens than fit.

    Example:
        >>> lines_and_arcs((4, 8, 16))
        Picture('Tokens and pairs')
    """
    if not sizes or min(sizes) < 2 or sum(sizes) > 28:
        raise ValueError(f"lines_and_arcs: sizes: expected rows of 2 tokens or more, 28 in all, got {sizes!r}")
    margin, gap = 24, 34
    step = (400 - 2 * margin - gap * (len(sizes) - 1)) / sum(n - 1 for n in sizes)
    y = 10 + max(46.0, step * (max(sizes) - 1) / 2)
    marks = [
        label(8, 12, "a line through each token: projections", anchor="start", size=12, tone="teal"),
        label(8, 28, "an arc for two pairs,", anchor="start", size=12, tone="ochre"),
        label(8, 44, "a ring for one: the core", anchor="start", size=12, tone="ochre"),
    ]
    x, said = float(margin), []
    for n in sizes:
        at = [x + i * step for i in range(n)]
        # One path for all arcs of a row. A ring is the pair that a token makes with itself.
        arcs = "".join(
            f"M{units(a)} {units(y)}A{units((b - a) / 2)} {units((b - a) / 2)} 0 0 1 {units(b)} {units(y)}"
            for i, a in enumerate(at)
            for b in at[i + 1 :]
        )
        marks.append(f'<path d="{arcs}" fill="none" stroke="{TONES["ochre"]}" stroke-width="0.6"/>')
        marks += [line([(a, y - 11), (a, y + 19)], tone="teal", width=1.8) for a in at]
        marks.append(dots([(a, y) for a in at], radius=4.4, tone="ochre", hollow=True))
        marks.append(dots([(a, y) for a in at], radius=2.6))
        middle = (at[0] + at[-1]) / 2
        marks += [
            label(middle, y + 32, f"*n* = {n}", size=12, bold=True),
            label(middle, y + 48, f"{n} lines", size=12, tone="teal"),
            label(middle, y + 64, f"{n * n:,} pairs", size=12, tone="ochre"),
        ]
        said.append(f"{n} tokens have {n} lines and {n * n:,} pairs")
        x = at[-1] + gap
    return picture(
        y + 76,
        *marks,
        title="Tokens and pairs",
        description=(
            "Rows of dots, each a token. A short line goes through each token: its projections. An arc joins each "
            "two and stands for two pairs, and a ring around a token is the pair it makes with itself: the core. "
            f"{'; '.join(said)}. The arcs of the longest row fill their half circle, its lines stay apart."
        ),
    )
