"""Induction heads: a lookup through two layers."""

from __future__ import annotations

from collections.abc import Sequence

from attnlib.book.draw import WIDTH, Picture, Real, arrow, box, label, line, picture


def two_layers(tokens: Sequence[str], before: Sequence[Sequence[Real]], found: Sequence[Real]) -> Picture:
    """Draw the weights of two layers that look up what followed the last token when it stood earlier.

    Args:
        tokens: a text of 3 to 8 tokens, each of a letter or two, from left to right.
        before: weights of the first layer, a row for each token that reads, from 0 to 1.
        found: weights of the second layer, of the last token.

    Returns:
        The chapter on induction heads begins with it. Lines are thicker where weights are larger; the arrows are
        the largest.

    Raises:
        ValueError: a number of tokens or weights that does not fit.

    Example:
        >>> two_layers("ABA", [[0, 0, 0], [1, 0, 0], [0, 1, 0]], [0, 1, 0])
        Picture('A lookup in two layers')
    """
    n = len(tokens)
    if not 3 <= n <= 8:
        raise ValueError(f"two_layers: tokens: expected 3 to 8, got {n}")
    if len(before) != n or any(len(row) != n for row in before):
        raise ValueError(f"two_layers: before: expected {n} rows of {n} weights, as there are tokens")
    if len(found) != n:
        raise ValueError(f"two_layers: found: expected {n} weights, as there are tokens, got {len(found)}")
    half, left, size = 19, 64.0, 26
    gap = (WIDTH - left - 8 - 2 * half) / (n - 1)
    middles = [left + half + gap * i for i in range(n)]
    text, known, answer = 252, 142, 30  # upper ends of three rows of boxes
    match = max(range(n), key=lambda j: found[j])
    previous = [max(range(n), key=lambda j: before[i][j]) if sum(before[i]) else None for i in range(n)]
    marks = [
        label(8, text + size / 2, "text", anchor="start", size=12, bold=True),
        label(8, known + size / 2 - 7, "before,", anchor="start", size=11, tone="teal"),
        label(8, known + size / 2 + 8, "here", anchor="start", size=11, tone="violet"),
        label(8, (text + known + size) / 2, "layer 1", anchor="start", size=12, bold=True),
        label(8, (known + answer + size) / 2, "layer 2", anchor="start", size=12, bold=True),
        label(8, answer + size / 2, "next", anchor="start", size=12, bold=True),
    ]
    marks += [
        line([(middles[j], text), (middles[i] - half / 2, known + size)], tone="teal", width=0.8 + 6 * w, opacity=0.7)
        for i, row in enumerate(before)
        for j, w in enumerate(row)
        if w >= 0.02 and previous[i] != j
    ]
    marks += [
        line([(middles[j], known), (middles[-1], answer + size)], tone="ochre", width=0.8 + 6 * w, opacity=0.7)
        for j, w in enumerate(found)
        if w >= 0.02 and j != match
    ]
    for i, (token, middle) in enumerate(zip(tokens, middles, strict=True)):
        part = i in (match, n - 1, previous[match])
        marks.append(box(middle - half, text, 2 * half, size, token, tone="violet" if part else "muted", filled=part))
        told = previous[i]
        name = "" if told is None else tokens[told]
        tone = "teal" if i == match else "muted"
        marks.append(box(middle - half, known, half, size, name, tone=tone, filled=i == match))
        marks.append(
            box(middle, known, half, size, token, tone="violet" if part else "muted", filled=i in (match, n - 1))
        )
        marks.append(line([(middle + half / 2, text), (middle + half / 2, known + size)], tone="muted", width=0.6))
        if told is not None:
            end = (middle - half / 2, known + size)
            wide = 2.4 if i == match else 1
            marks.append(arrow((middles[told], text), end, tone="teal" if i == match else "muted", width=wide))
    last = middles[-1]
    marks.append(arrow((middles[match], known), (last - 4, answer + size), tone="ochre", width=2.4, bend=-10))
    marks.append(box(last - half, answer, 2 * half, size, tokens[match], tone="ochre"))
    marks.append(label(left, 76, f"Who comes after {tokens[-1]}?", anchor="start", size=12, tone="ochre"))
    marks.append(label(left, 92, "Copy it.", anchor="start", size=12, tone="ochre"))
    marks.append(
        label(left, 292, "Each position is told which token stands before it.", anchor="start", size=11, tone="teal")
    )
    least = min(before[i][j] for i, j in enumerate(previous) if j is not None)
    return picture(
        302,
        *marks,
        title="A lookup in two layers",
        description=(
            f"The text {' '.join(tokens)}. In layer 1 an arrow leads from every token to the position after it, "
            f"which then knows its predecessor. In layer 2 one arrow leads from the position whose predecessor is "
            f"{tokens[-1]} to the end of the text: the next token is {tokens[match]}. Each arrow of layer 1 has "
            f"{least:.0%} of a position's weight or more, that of layer 2 has {found[match]:.0%}."
        ),
    )
