"""The appendix to the lower bound: its tokens under a causal mask, and in a sliding window."""

from __future__ import annotations

from attnlib.book.draw import WIDTH, Picture, Real, arrow, box, label, line, picture

TONES = {"dummy": "violet", "b": "teal", "a": "muted"}  # the first and the last have the value 0 as keys


def layouts(n: int, g: int, row: int) -> Picture:
    """Draw two lists of vectors as tokens under a causal mask and in a sliding window, and what one row sees.

    Args:
        n: vectors of a list, from 2 to 9.
        g: vectors of a group, which divides n.
        row: the vector of the first list whose view is marked, from 1 to n.

    Returns:
        The appendix to the lower bound begins with it.

    Raises:
        ValueError: a number outside of its range, or lists and groups that take more than 22 tokens.

    Example:
        >>> layouts(4, 2, 3)
        Picture('Two layouts of the same lists')
    """
    if not 2 <= n <= 9:
        raise ValueError(f"layouts: n: expected 2 to 9 vectors, got {n!r}")
    if g < 1 or n % g:
        raise ValueError(f"layouts: g: expected a divisor of n = {n}, got {g!r}")
    if not 1 <= row <= n:
        raise ValueError(f"layouts: row: expected 1 to n = {n}, got {row!r}")
    starts = range(1, n + 1, g)
    causal = ["dummy", *(f"b{j}" for j in range(1, n + 1)), *(f"a{i}" for i in range(1, n + 1))]
    window = [
        token
        for i in starts
        for j in starts
        for token in (*(f"a{i + s}" for s in range(g)), "dummy", *(f"b{j + s}" for s in range(g)))
    ]
    if max(len(causal), len(window)) > 22:
        raise ValueError(f"layouts: g: expected at most 22 tokens, got {max(len(causal), len(window))}")
    size = min(22.0, (WIDTH - 8) / max(len(causal), len(window)))
    at = causal.index(f"a{row}")
    marks = [
        label(4, 10, "causal mask", anchor="start", size=12, bold=True),
        *_tokens(24, size, causal, at, 0, at),
    ]
    block = 2 * g + 1
    # The second of its row's blocks: it has others on either side, except in the smallest drawings.
    at = window.index(f"a{row}", min(len(starts) - 1, 1) * block + window.index(f"a{row}"))
    first, last = max(0, at - 2 * g), min(len(window) - 1, at + 2 * g)
    marks += [
        label(4, 112, f"sliding window, groups of *g* = {g}", anchor="start", size=12, bold=True),
        *_tokens(126, size, window, at, first, last),
    ]
    for i in range(1, len(window) // block):
        x = 4 + i * block * size
        marks.append(line([(x, 121), (x, 131 + size)], tone="ink", width=1.8))
    y = 126 + size + 52
    for x, tone, text in (
        (4, "violet", "0: dummy key, value 0"),
        (158, "teal", "*b*: value 1"),
        (256, "muted", "*a*: as a key, value 0"),
    ):
        marks.append(box(x, y - 6, 12, 12, tone=tone))
        marks.append(label(x + 17, y, text, anchor="start", size=11, tone="muted"))
    met = [t for t in window[first : last + 1] if t.startswith("b")]
    return picture(
        y + 12,
        *marks,
        title="Two layouts of the same lists",
        description=(
            f"Under a causal mask: a dummy, {n} vectors b, {n} vectors a; the row a{row} sees the dummy, all vectors "
            f"b, and the rows up to itself. In a sliding window: {len(window) // block} blocks of {g} rows a, a "
            f"dummy and {g} vectors b, one block for each pair of groups; a row a{row} sees {2 * g} tokens to either "
            f"side, among them {', '.join(met)}."
        ),
    )


def _tokens(y: Real, size: Real, tokens: list[str], at: int, first: int, last: int) -> list[str]:
    """Draw a sequence with a bracket under what the token at one place sees."""
    marks = []
    for i, token in enumerate(tokens):
        kind = "dummy" if token == "dummy" else token[0]
        x = 4 + i * size
        marks.append(box(x, y, size - 1, size - 1, tone="ochre" if i == at else TONES[kind]))
        name = "0" if kind == "dummy" else f"*{kind}*{chr(ord('₀') + int(token[1:]))}"
        marks.append(label(x + (size - 1) / 2, y + size / 2 - 0.5, name, size=11, bold=i == at))
    x, bottom = 4 + (at + 0.5) * size - 0.5, y + size + 3
    left, right = 4 + first * size, 4 + (last + 1) * size - 1
    ends = [(left, bottom), (left, bottom + 7), (right, bottom + 7), (right, bottom)]
    marks.append(line(ends, tone="ochre", width=1.3))
    marks.append(arrow((x, bottom + 22), (x, bottom + 1), tone="ochre"))
    side = "end" if x > WIDTH - 120 else "middle"
    marks.append(
        label(x, bottom + 30, f"this row sees {last - first + 1} tokens", anchor=side, size=11, tone="ochre")
    )
    return marks
