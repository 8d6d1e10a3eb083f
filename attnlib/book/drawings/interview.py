"""The interview: a whiteboard after ten minutes, each line with a sketch and its number."""

from __future__ import annotations

from attnlib import cost
from attnlib.book.draw import Picture, Real, arrow, box, dots, label, line, picture
from attnlib.book.plot import format_bytes, format_count

ROW = 54
"""Units from one line of the board to the next."""


def board(n: int, d: int, h: int, *, h_kv: int | None = None, layers: int = 1) -> Picture:
    """Draw the eight lines of a whiteboard: sketch, formula, and its number for one model in sixteen bits.

    Args:
        n: positions.
        d: width, a multiple of the heads.
        h: query heads.
        h_kv: key and value heads, a divisor of h; h by default.
        layers: layers that keep a cache.

    Returns:
        The chapter "The interview" begins with it, and its ten minutes follow it line by line.

    Raises:
        ValueError: a size that is not a positive integer, or heads that do not divide.

    Example:
        >>> board(4096, 4096, 32, layers=32)
        Picture('A whiteboard after ten minutes')
    """
    h_kv = h if h_kv is None else h_kv
    for name, value in (("n", n), ("d", d), ("h", h), ("h_kv", h_kv), ("layers", layers)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"board: {name}: expected a positive integer, got {value!r}")
    for name, value, of, whole in (("h", h, "d", d), ("h_kv", h_kv, "h", h)):
        if whole % value:
            raise ValueError(f"board: {name}: expected a divisor of {of} = {whole}, got {value}")
    layer = cost.multihead_attention(n, d, h, dtype="bfloat16")
    core = cost.attention(n, d // h, h=h, dtype="bfloat16")
    projections = layer.matmul_flops - core.matmul_flops
    token = format_bytes(cost.kv_cache(1, d // h, h_kv=h_kv, layers=layers))
    written = format_bytes(core["scores"].allocated)
    rows = (
        ("8*nd*²", "four products (*n*, *d*) · (*d*, *d*)", _flop(projections)),
        ("2*n*²*d*", "*h* times (*n*, *d*ₖ) · (*d*ₖ, *n*)", _flop(core["scores"].matmul_flops)),
        ("2*n*²*d*", "*h* times (*n*, *n*) · (*n*, *d*ₖ)", _flop(core["values"].matmul_flops)),
        ("8*nd*² + 4*n*²*d*", f"equal at *n* = 2*d* = {2 * d:,}", _flop(layer.matmul_flops)),
        ("*hn*² scores, or tiles: O(*nd*)", "same output, same products", written),
        ("cache: 2 · layers · KV heads · *d*ₖ", "numbers for each token", token),
        ("max(FLOPs / peak, bytes / rate)", "writing: bytes. Reading: FLOPs", ""),
        ("Ω(*nd*) proved; *n*²⁻ᵒ⁽¹⁾ if OVC", "exact, all inputs, width *c* log *n*", ""),
    )
    sketches = (
        _project,
        _compare,
        _average,
        lambda y: _together(y, projections / layer.matmul_flops),
        _store,
        _write,
        _roof,
        _below,
    )
    marks = []
    for i, ((formula, words, number), sketch) in enumerate(zip(rows, sketches, strict=True)):
        y = 4 + i * ROW
        middle = y + ROW / 2 - 2
        marks += [
            dots([(13, middle)], radius=10, tone="muted", hollow=True),
            label(13, middle, str(i + 1), size=12, bold=True),
            sketch(middle),
            label(156, middle - 9, formula, anchor="start", bold=True),
            label(156, middle + 9, words, anchor="start", size=11, tone="muted"),
        ]
        if number:
            marks.append(label(398, middle + (9 if i in (4, 5) else -9), number, anchor="end", size=12))
        if i:
            marks.append(line([(2, y), (398, y)], tone="rule", width=1))
    return picture(
        8 + len(rows) * ROW,
        *marks,
        title="A whiteboard after ten minutes",
        description=f"Eight numbered lines, sketched. Projections, 8nd² FLOPs, {_flop(projections)}. Scores, 2n²d, "
        f"{_flop(core['scores'].matmul_flops)}, and the average of the values, as many. Together "
        f"{_flop(layer.matmul_flops)}; both terms are equal at n = 2d = {2 * d:,}. Scores in memory, hn² numbers, "
        f"{written}, or in tiles O(nd). A cache of {token} a token in all layers. Time: the longer one of FLOPs over "
        "peak and bytes over rate. From below: nd is proved, n to the power of 2 − o(1) follows from the orthogonal "
        f"vectors conjecture. Numbers for n = {n:,}, d = {d:,}, {h} query heads, {h_kv} key heads, {layers} layers, "
        "in sixteen bits, scores in thirty-two.",
    )


def _flop(count: int) -> str:
    return f"{format_count(float(f'{count / 1e9:.3g}'))} GFLOP"


def _tall(x: Real, y: Real, tone: str) -> str:
    return box(x, y - 18, 11, 36, tone=tone)


def _square(x: Real, y: Real, tone: str, *, dashed: bool = False) -> str:
    return box(x, y - 18, 36, 36, tone=tone, dashed=dashed, filled=not dashed)


def _project(y: Real) -> str:
    return (
        _tall(34, y, "ink")
        + label(53, y, "·")
        + box(61, y - 10, 20, 20, tone="ochre")
        + label(92, y, "=")
        + _tall(102, y, "ochre")
    )


def _compare(y: Real) -> str:
    return (
        _tall(34, y, "ochre")
        + label(52, y, "·")
        + box(58, y - 6, 36, 11, tone="ochre")
        + label(102, y, "=")
        + _square(110, y, "teal")
    )


def _average(y: Real) -> str:
    weights, averaged = _square(34, y, "teal"), _tall(116, y, "teal")
    return weights + label(78, y, "·") + _tall(86, y, "ochre") + label(106, y, "=") + averaged


def _together(y: Real, share: float) -> str:
    wide = 112 * share
    return box(34, y - 8, wide, 16, tone="ochre") + box(34 + wide, y - 8, 112 - wide, 16, tone="teal")


def _store(y: Real) -> str:
    return (
        _square(34, y, "teal", dashed=True)
        + box(46, y - 6, 12, 12, tone="teal")
        + arrow((62, y), (96, y), tone="muted")
        + box(100, y - 6, 4, 12, tone="teal")
        + box(107, y - 6, 4, 12, tone="teal")
        + box(114, y - 6, 11, 12, tone="teal")
    )


def _write(y: Real) -> str:
    kept = "".join(box(34 + 12 * i, y - 9, 9, 18, tone="muted") for i in range(7))
    return kept + box(118, y - 9, 9, 18, tone="ochre")


def _roof(y: Real) -> str:
    return (
        line([(36, y + 18), (84, y - 14), (142, y - 14)], tone="teal", width=1.8)
        + dots([(48, y + 10), (122, y - 14)], tone="ochre")
        + label(57, y + 14, "one token", anchor="start", size=11, tone="muted")
        + label(122, y, "a text", size=11, tone="muted")
    )


def _below(y: Real) -> str:
    return (
        line([(44, y + 6), (132, y + 6)], tone="muted", dashed=True)
        + dots([(44, y + 6)], tone="right")
        + dots([(132, y + 6)], tone="teal")
        + label(44, y - 9, "*nd*", size=12)
        + label(88, y - 9, "open", size=11, tone="muted")
        + label(132, y - 9, "*n*²*d*", size=12)
    )
