"""Generation: who reads whom, and a text that is read at once and then written row by row."""

from __future__ import annotations

from attnlib.book.draw import WIDTH, Picture, arrow, cells, label, picture

SIZE = 13  # of a pair, and of a key or a value


def prefill_and_decode(prompt: int, steps: int) -> Picture:
    """Draw a prompt that is read in one call, and the calls that write after it, with the cache that they hand on.

    Args:
        prompt: positions of the prompt, 2 to 8.
        steps: tokens that are written, 1 to 4; prompt and steps together are at most 10.

    Returns:
        The chapter "Generation" begins with it.

    Raises:
        ValueError: a number of positions or steps out of range.

    Example:
        >>> prefill_and_decode(6, 3)
        Picture('Prefill, cache, decode')
    """
    if not 2 <= prompt <= 8:
        raise ValueError(f"prefill_and_decode: prompt: expected 2 to 8, got {prompt!r}")
    if not 1 <= steps <= min(4, 10 - prompt):
        raise ValueError(f"prefill_and_decode: steps: expected 1 to {min(4, 10 - prompt)}, got {steps!r}")
    total = prompt + steps
    rows, cache = 10.0, WIDTH - 10 - SIZE * total
    pairs = [prompt * (prompt + 1) // 2, *range(prompt + 1, total + 1)]
    tops = [52.0]
    for i in range(steps):
        tops.append(tops[-1] + (SIZE * prompt if i == 0 else SIZE) + 36)
    marks = [
        label(rows, 14, "computed", anchor="start", bold=True),
        label(WIDTH - 10, 14, "the cache: keys, values", anchor="end", bold=True),
    ]
    for call, top in enumerate(tops):
        now = prompt + call
        pair = 0.45  # pale enough for the lines around it
        seen = [[pair] * now] if call else [[pair if j <= i else None for j in range(now)] for i in range(now)]
        tall = SIZE * len(seen)
        middle = top + tall / 2
        said = f"{'decode' if call else 'prefill'}: {pairs[call]} pairs"
        marks.append(label(rows, top - 11, said, anchor="start", size=12, tone="violet" if call else "teal"))
        marks.append(cells(rows, top, SIZE, seen, tone="violet" if call else "teal"))
        if call:  # read what the call before left
            start = (cache - 4, tops[call - 1] + (SIZE * prompt / 2 if call == 1 else SIZE / 2) + SIZE + 4)
            marks.append(arrow(start, (rows + SIZE * now + 4, middle + 4), tone="muted"))
        new = [1.0 if j >= now - (1 if call else now) else 0.35 for j in range(now)]
        marks.append(cells(cache, middle - SIZE, SIZE, [new, new], tone="ochre"))
        from_x, added = rows + SIZE * now + 4, f"+{1 if call else prompt}"
        marks.append(arrow((from_x, middle - 4), (cache - 4, middle - 4), tone="ochre"))
        marks.append(
            label((from_x + cache) / 2, middle + (7 if call else -14), added, size=12, tone="ochre", bold=True)
        )
    bottom = tops[-1] + SIZE + 26
    whole = " + ".join(str(x) for x in pairs)
    one = f"{whole} = {sum(pairs)} pairs, as many as in one triangle of {total}."
    marks.append(label(rows, bottom, one, anchor="start", size=12))
    calls = f"{1 + steps} calls, and each reads all weights."
    marks.append(label(rows, bottom + 18, calls, anchor="start", size=12))
    return picture(
        bottom + 30,
        *marks,
        title="Prefill, cache, decode",
        description=(
            f"A prompt of {prompt} positions is read in one call, a triangle of {pairs[0]} pairs that leaves "
            f"{prompt} keys and values in a cache. Each of {steps} further calls reads the cache, computes one row "
            f"more of the triangle, and adds one key and one value: {one} {calls}"
        ),
    )


def three_shapes(source: int, target: int) -> Picture:
    """Draw who reads whom in an encoder, in a decoder, and in the cross-attention between them.

    Args:
        source: positions of the text that is read, 2 to 8.
        target: positions of the text that is written, 2 to 8.

    Returns:
        Three grids: a row is a position that reads, a column one that is read.

    Raises:
        ValueError: a number of positions out of range.

    Example:
        >>> three_shapes(6, 8)
        Picture('Three shapes of attention')
    """
    for name, value in (("source", source), ("target", target)):
        if not 2 <= value <= 8:
            raise ValueError(f"three_shapes: {name}: expected 2 to 8, got {value!r}")
    shapes = (
        ("encoder", [[1.0] * source] * source, "source", "source"),
        ("decoder", [[float(j <= i) for j in range(target)] for i in range(target)], "target", "target"),
        ("cross-attention", [[1.0] * source] * target, "source", "target"),
    )
    top, marks = 42.0, []
    gap = (WIDTH - 48 - SIZE * (2 * source + target)) / 2
    x = 20.0
    for name, seen, columns, rows in shapes:
        wide, tall = SIZE * len(seen[0]), SIZE * len(seen)
        pairs = sum(sum(row) for row in seen)
        marks += [
            label(x, 12, name, anchor="start", size=12, bold=True),
            label(x, 30, f"{columns} →", anchor="start", size=12, tone="muted"),
            label(x - 9, top + 6, "↓", size=12, tone="muted"),
            cells(x, top, SIZE, seen, tone="teal"),
            label(x, top + tall + 13, f"read by {rows}:", anchor="start", size=12, tone="muted"),
            label(x, top + tall + 29, f"{pairs:.0f} pairs", anchor="start", size=12, tone="muted"),
        ]
        x += wide + gap
    height = top + SIZE * max(source, target) + 42
    return picture(
        height,
        *marks,
        title="Three shapes of attention",
        description=(
            f"Three grids. Encoder: all {source} source positions read all {source}. Decoder: each of {target} "
            f"target positions reads itself and those before, a triangle. Cross-attention: all {target} target "
            f"positions read all {source} source positions."
        ),
    )
