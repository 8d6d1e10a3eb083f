"""Performer by numbers: directions, sums over keys, their reading, and the pairs of a chunk. No JAX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attnlib import _check
from attnlib.cost._sizes import Number, attention_sizes, itemsizes, quotient, size, smallest, symbolic
from attnlib.cost.algebra import Cost, Step
from attnlib.cost.gated import _cut, _halves

CHUNK = 64
LEAF = 4
KINDS = ("positive", "trigonometric")


def performer_attention(
    n: Number,
    d_k: Number,
    *,
    m: Number | None = None,
    d_v: Number | None = None,
    features: Number | None = None,
    h: Number = 1,
    h_kv: Number | None = None,
    kind: str = "positive",
    batch: Number = 1,
    causal: bool = False,
    backward: bool = False,
    chunk: int | None = None,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.performer_attention`: directions, sums over keys, their reading, and the halves of chunks.

    With D features: directions 2(n + m)D·d_k, sums 2mD(d_v + 1), reading 2nD(d_v + 1), and with `causal` within a
    chunk of c rows, c a power of two from 4 on, (c − 4)(D + d_v + 1) a query.

    Args:
        n: queries.
        d_k: width of a head's queries and keys.
        m: keys; n by default.
        d_v: width of a head's values; d_k by default.
        features: directions, D; d_k by default.
        h: query heads.
        h_kv: heads with sums of their own, a divisor of h; h by default. Those of keys and values, or h where masks
            differ between the heads of a group.
        kind: "positive", or "trigonometric", which makes 2D features of D directions.
        batch: sequences.
        causal: whether later keys are hidden.
        backward: add the gradients with respect to q, k, v and the projection.
        chunk: as in the kernel. For symbols it is a power of two from 4 on, n and m multiples of it, and with
            `causal` m no less than n.
        dtype: of q, k, v and the output; features and sums are float32 at least.

    Returns:
        A `Cost` with the steps "directions", "sums", "reading" and, with `causal`, "halves". Its FLOPs in products
        are those of the program, which fills the last chunk with zeros; those outside and exponentials are what the
        mathematics needs.

    Raises:
        ValueError: a size below 1 or not whole, heads that do not divide, an unknown kind or dtype.

    Source: Choromanski et al. (2021); the halves: `attnlib.performer_attention`.

    Example:
        >>> performer_attention(4096, 64, features=256).matmul_flops / 4096  # 4 · 256 · 64 + 4 · 256 · 65
        132096.0
    """
    name = "cost.performer_attention"
    n, d_k, m, d_v, h, h_kv, batch = attention_sizes(name, n, d_k, m, d_v, h, h_kv, batch)
    g = quotient(name, "h_kv", h_kv, "h", h)
    made, rows, exponents = _widths(name, kind, d_k, features)
    _check.flags(name, causal=causal, backward=backward)
    _check.optional_int(name, chunk=chunk)
    narrow, wide = itemsizes(name, dtype)
    most = CHUNK if chunk is None else chunk

    heads, width = batch * h_kv, d_v + 1  # the last column of the values adds up the weights
    # Keys that n queries meet, and those before, which every query sees: each part is cut by itself.
    own = 0 if not causal else n if symbolic(n) else smallest(n, m)
    (met, met_rows), (past, past_rows), (asked, asked_rows) = (_cut(x, most) for x in (own, m - own, n))
    if causal:
        asked, asked_rows = met, met_rows
    c = most if symbolic(n) else smallest(own if causal else n, most)
    pairs, late, levels = _halves(c, LEAF) if causal else (0, 0, 0)
    queries, reads, calls = batch * h * asked_rows, heads * asked, heads * (met + past)
    latest, earlier = heads * met_rows, heads * past_rows
    keys, pairs = latest + earlier, batch * h * met * pairs
    late, early = batch * h * met * late, heads * met * late
    sums = made * width
    q, o = batch * h * n * d_k * narrow, batch * h * n * d_v * narrow
    kv = heads * m * (d_k + d_v) * narrow

    def directions(name: str, queries: Number, keys: Number) -> Step:
        """Products with the directions, and exponents less their maxima."""
        return Step(
            name,
            2 * (queries + keys) * rows * d_k,
            (queries + keys) * (2 * exponents + made - rows) + 2 * keys * d_k,
            (queries + keys) * exponents + (late + early + (LEAF * queries if causal else 0)) * exponents,
            bytes_read=(queries + keys) * d_k * narrow + reads * rows * d_k * wide,
            bytes_written=(queries + keys) * rows * wide,
            calls=reads + calls,
        )

    add = Step(
        "sums",
        2 * keys * sums,
        2 * calls * sums,
        bytes_read=heads * m * d_v * narrow + keys * made * wide + calls * sums * wide,
        bytes_written=calls * sums * wide,
        calls=calls,
    )
    read = Step(
        "reading",
        2 * queries * sums,
        queries * d_v,
        bytes_read=queries * made * wide + reads * sums * wide,
        bytes_written=o,
        allocated=o,
        calls=reads,
    )
    halves = Step(
        "halves",
        2 * pairs * (made + width),
        queries * LEAF * (made + width) + late * width,
        bytes_read=(late * made + early * (made + width)) * wide,
        bytes_written=late * width * wide,
        calls=2 * levels * reads,
    )
    steps = (directions("directions", queries, keys), add, read, *((halves,) if causal else ()))
    block = smallest(c, most) * (g + 1) * made
    forward = Cost(
        steps,
        live=(4 * sums + 2 * block + g * n * width + m * (d_k + width)) * wide,
        saved=(batch * h * n * (d_k + width) + heads * (m * (d_k + width) + 2 * (sums + exponents))) * wide
        + heads * m,
        path=1,
    )
    if not backward:
        return forward
    more = (
        directions("directions, again", queries, 2 * latest + earlier),
        Step(
            "sums, again",
            2 * latest * sums,
            2 * heads * met * sums,
            bytes_read=latest * (made + width) * wide + heads * met * sums * wide,
            bytes_written=heads * met * sums * wide,
            calls=heads * met,
        )
        if causal
        else None,
        Step(
            "directions, backward",
            4 * (queries + keys) * rows * d_k,
            (queries + keys) * made,
            bytes_read=(queries + keys) * (made + d_k) * wide,
            bytes_written=q + heads * m * d_k * narrow + reads * rows * d_k * wide,
            allocated=q,
            calls=2 * (reads + calls),
        ),
        Step(
            "sums, backward",
            4 * keys * sums,
            calls * sums,
            bytes_read=kv + 2 * calls * sums * wide,
            bytes_written=kv,
            allocated=kv,
            calls=2 * calls,
        ),
        Step(
            "reading, backward",
            4 * queries * sums,
            reads * sums,
            bytes_read=o + queries * made * wide + 2 * reads * sums * wide,
            bytes_written=queries * made * wide + reads * sums * wide,
            calls=2 * reads,
        ),
        Step(
            "halves, backward",
            pairs * (6 * made + 4 * width),
            2 * queries * LEAF * (made + width) + (late + early) * made,
            bytes_read=(late + early) * (made + width) * wide,
            bytes_written=(late * made + early * (made + width)) * wide,
            calls=5 * levels * reads,
        )
        if causal
        else None,
    )
    kept = (met * sums + g * n * (2 * d_k + width) + m * (2 * d_k + 2 * width)) * wide
    return replace(
        forward, steps=(*forward.steps, *(step for step in more if step is not None)), live=forward.live + kept
    )


def performer_attention_step(
    d_k: Number,
    *,
    features: Number | None = None,
    kind: str = "positive",
    d_v: Number | None = None,
    h: Number = 1,
    h_kv: Number | None = None,
    batch: Number = 1,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.performer_attention_step` for one token, which no length of the context changes.

    4D(d_k + d_v + 1) FLOPs in matrix products for a head, and the token's own pair.

    Args:
        d_k: width of a head's queries and keys.
        features: directions, D; d_k by default.
        kind: as in `performer_attention`.
        d_v: width of a head's values; d_k by default.
        h: query heads.
        h_kv: key and value heads, a divisor of h; h by default.
        batch: sequences.
        dtype: of q, k, v and the output; the state is float32 at least.

    Returns:
        A `Cost`; `live` is the state, to the byte: D(d_v + 2) numbers for each key and value head, trigonometric
        2D(d_v + 1) + 1.

    Raises:
        ValueError: as `performer_attention`.

    Source: Choromanski et al. (2021); the exponents in the state: `attnlib.performer_attention`.

    Example:
        >>> performer_attention_step(64, features=256).live  # 256 · 66 · 4
        67584
    """
    name = "cost.performer_attention_step"
    with _check.named(name, "cost.performer_attention"):
        cost = performer_attention(
            1,
            d_k,
            features=features,
            kind=kind,
            d_v=d_v,
            h=h,
            h_kv=h_kv,
            batch=batch,
            dtype=dtype,
            causal=True,
            chunk=1,
        )
    numbers = state(1, d_k, d_k if d_v is None else d_v, features=features, kind=kind)
    return replace(cost, live=batch * (h if h_kv is None else h_kv) * numbers * itemsizes(name, dtype)[1])


def check_kind(name: str, kind: Any) -> None:
    """Raise unless `kind` names random features."""
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{name}: kind: expected one of {', '.join(KINDS)}, got {kind!r}")


def _widths(name: str, kind: Any, d_k: Number, features: Number | None) -> tuple[Number, Number, Number]:
    """Return how many features, directions and exponents there are."""
    check_kind(name, kind)
    rows = d_k if features is None else size(name, "features", features)
    return (rows, rows, rows) if kind == "positive" else (2 * rows, rows, 1)


def state(n: Number, d_k: Number, d_v: Number, *, features: Number | None = None, kind: str = "positive") -> Number:
    """Return how many numbers decoding keeps for a head of keys, whatever n: sums, and the exponents they lack."""
    made, _, exponents = _widths("cost.performer_attention", kind, d_k, features)
    return made * (d_v + 1) + exponents
