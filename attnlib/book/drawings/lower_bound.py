"""The lower bound: a formula as half assignments, as tokens, and as two rows of weights."""

from __future__ import annotations

from collections.abc import Sequence

from attnlib.book.draw import Picture, Real, arrow, box, cells, label, line, picture

Matrix = Sequence[Sequence[int]]
LOWERED = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def reduction(
    clauses: Sequence[Sequence[int]],
    names: Sequence[str],
    a: Matrix,
    b: Matrix,
    weights: Sequence[Sequence[Real]],
    shown: Sequence[int],
) -> Picture:
    """Draw how a formula becomes two lists of vectors, these tokens, and the weights of some queries an answer.

    Args:
        clauses: numbers of variables, negative where they are negated.
        names: of the assignments of a half, at most eight.
        a: for each assignment of the first half, a 1 for each clause that it leaves open.
        b: the same of the second half.
        weights: for each query, the weights of the dummy key and of all others, from 0 to 1.
        shown: the queries whose weights are drawn.

    Returns:
        The chapter "The lower bound" begins with it.

    Raises:
        ValueError: more than eight names; vectors or weights of another number; a query that there is not.

    Example:
        >>> rows = [[0.1, 0.9, 0.0], [1.0, 0.0, 0.0]]
        >>> reduction([(1, 2), (-1,)], "FT", [[1, 0], [0, 1]], [[1, 0], [0, 0]], rows, [0])
        Picture('From a formula to a row of weights')
    """
    n, d = len(names), len(clauses)
    if not 1 <= n <= 8:
        raise ValueError(f"reduction: names: expected one to eight, got {n}")
    for name, rows, width in (("a", a, d), ("b", b, d), ("weights", weights, n + 1)):
        if len(rows) != n or any(len(row) != width for row in rows):
            raise ValueError(
                f"reduction: {name}: expected {n} rows of {width} numbers, got {[len(row) for row in rows]}"
            )
    for i in shown:
        if not 0 <= i < n:
            raise ValueError(f"reduction: shown: expected rows from 0 to {n - 1}, got {i!r}")
    products = [[sum(x * y for x, y in zip(row, column, strict=True)) for column in b] for row in a]
    pairs = [(i, j) for i in shown for j in range(n) if not products[i][j]]
    variables = max(abs(x) for clause in clauses for x in clause)
    first = " ∧ ".join(_clause(clause) for clause in clauses[:2])
    marks = [
        label(4, 10, first + (" ∧ …" if d > 2 else ""), anchor="start", size=12),
        label(396, 10, f"{d} clauses", anchor="end", size=12, tone="muted"),
        arrow((110, 20), (110, 36), tone="muted"),
        arrow((314, 20), (314, 36), tone="muted"),
    ]
    size, pitch = min(10.0, 160 / d), 13
    top, half = 56, variables // 2
    lists = ((4, "a", a, [i for i, _ in pairs], 1, half), (208, "b", b, [j for _, j in pairs], half + 1, variables))
    for x, letter, rows, partners, low, high in lists:
        said = " ".join(f"*x*{_low(i)}" for i in range(low, high + 1))
        marks.append(label(x + 26 + size * d / 2, 45, f"*{letter}*: values of {said}", size=12))
        for i, name in enumerate(names):
            at, tone = top + i * pitch, "ochre" if i in partners else "ink"
            marks.append(label(x, at + size / 2, name, anchor="start", size=11, tone=tone, bold=i in partners))
            marks.append(cells(x + 26, at, size, [rows[i]], tone="teal"))
            if i in partners:
                marks.append(box(x + 24, at - 1.5, size * d + 4, size + 3, tone="ochre", filled=False))
    y = top + n * pitch + 8
    marks.append(label(200, y, "a filled square: this half leaves the clause open", size=11, tone="muted"))
    start, step, key = 114, 31, 28
    end = start + (n - 1) * step + key
    marks.append(arrow((110, y + 9), (start + 20, y + 28), tone="muted"))
    marks.append(arrow((314, y + 9), (min(314, end), y + 28), tone="muted"))
    marks.append(label(224, y + 19, "each token: a row of both", size=11, tone="muted"))
    bracket = [(start, y + 35), (start, y + 29), (end, y + 29), (end, y + 35)]
    marks.append(line(bracket, tone="muted", width=1))
    y += 38
    marks.append(label(4, y + 12, "tokens", anchor="start", size=12, bold=True))
    marks.append(box(62, y, 48, 24, tone="violet"))
    marks.append(label(86, y + 12, "dummy", size=11))
    for j, name in enumerate(names):
        marks.append(box(start + j * step, y, key, 24))
        marks.append(label(start + j * step + key / 2, y + 12, name, size=11))
    marks.append(label(396, y + 36, "output", anchor="end", size=11, tone="muted"))
    y += 38
    for i in shown:
        output = 1 - weights[i][0]
        marks.append(label(4, y, f"query {names[i]}", anchor="start", size=11, bold=True))
        marks.append(label(4, y + 22, "weights", anchor="start", size=11, tone="muted"))
        marks.append(cells(76, y + 9, key, [[weights[i][0]]], tone="violet"))
        for j in range(n):
            x, zero = start + j * step, not products[i][j]
            tone = "ochre" if zero else "ink"
            marks.append(label(x + key / 2, y, str(products[i][j]), size=12, tone=tone, bold=zero))
            marks.append(cells(x, y + 9, key, [[weights[i][j + 1]]], tone="ochre" if zero else "teal"))
            if zero:
                marks.append(box(x - 2, y - 9, key + 4, key + 20, tone="ochre", filled=False))
        marks.append(
            label(396, y + 23, f"{output:.2f}", anchor="end", tone="right" if output > 0.5 else "ink", bold=True)
        )
        y += 54
    return picture(
        y - 8,
        *marks,
        title="From a formula to a row of weights",
        description=(
            f"A formula of {d} clauses becomes two lists of {n} vectors, one for each assignment of half of the "
            f"variables, with a filled square for each clause that it leaves open. Each token carries a vector of "
            f"both lists, and a dummy token is added. " + " ".join(_row(names, products, weights, i) for i in shown)
        ),
    )


def products(names: Sequence[str], counts: Matrix, rows: str, columns: str) -> Picture:
    """Draw the inner products of all pairs as a square of numbers, its zeros marked.

    Args:
        names: of the rows, and of the columns.
        counts: the products.
        rows: what the rows are.
        columns: what the columns are.

    Returns:
        The chapter "The lower bound" shows it.

    Raises:
        ValueError: another number of rows or columns than of names.

    Example:
        >>> products("FT", [[1, 0], [2, 1]], "x₁", "x₂")
        Picture('Products of all pairs')
    """
    n = len(names)
    if not n or len(counts) != n or any(len(row) != n for row in counts):
        raise ValueError(f"products: counts: expected {n} rows of {n} numbers, got {[len(row) for row in counts]}")
    size, left, top = 22, 130, 42
    most = max(1, max(max(row) for row in counts))
    zeros = [(i, j) for i in range(n) for j in range(n) if not counts[i][j]]
    marks = [
        cells(left, top, size, [[0.4 * count / most for count in row] for row in counts]),
        label(left + n * size / 2, 10, columns, size=12, tone="muted"),
        label(left - 40, top + n * size / 2, rows, anchor="end", size=12, tone="muted"),
    ]
    for i, name in enumerate(names):
        marks.append(label(left + (i + 0.5) * size, 30, name, size=11))
        marks.append(label(left - 6, top + (i + 0.5) * size, name, anchor="end", size=11))
        for j, count in enumerate(counts[i]):
            x, y = left + (j + 0.5) * size, top + (i + 0.5) * size
            marks.append(label(x, y, str(count), tone="ink" if count else "ochre", bold=not count))
    for i, j in zeros:
        x, y = left + j * size, top + i * size
        corners = [(x, y), (x + size, y), (x + size, y + size), (x, y + size)]
        marks.append(line(corners, tone="ochre", width=2.5, closed=True, filled=True))
    found = "; ".join(f"row {names[i]}, column {names[j]}" for i, j in zeros) or "nowhere"
    return picture(
        top + n * size + 4,
        *marks,
        title="Products of all pairs",
        description=f"A square of {n} by {n} numbers from {min(map(min, counts))} to {most}. Zeros: {found}.",
    )


def _low(i: int) -> str:
    return str(i).translate(LOWERED)


def _clause(clause: Sequence[int]) -> str:
    return "(" + " ∨ ".join(("¬" if x < 0 else "") + f"*x*{_low(abs(x))}" for x in clause) + ")"


def _row(names: Sequence[str], products: Matrix, weights: Sequence[Sequence[Real]], i: int) -> str:
    """Say what a row of weights shows."""
    zeros = [names[j] for j, product in enumerate(products[i]) if not product]
    has = f"has the product zero with {' and '.join(zeros)}" if zeros else "has no product zero"
    dummy = weights[i][0]
    return f"Query {names[i]} {has}: the dummy gets the weight {dummy:.2f}, the output is {1 - dummy:.2f}."
