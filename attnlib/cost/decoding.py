"""Costs of generation: one step with a cache, and all steps with a cache or without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from attnlib import _check
from attnlib.cost._sizes import Number, itemsize, itemsizes, quotient, size, symbolic
from attnlib.cost.algebra import COUNTS, Cost, Step
from attnlib.cost.multihead import multihead_attention


def decode_step(
    t: Number,
    d: Number,
    h: Number,
    *,
    h_kv: Number | None = None,
    d_k: Number | None = None,
    d_v: Number | None = None,
    batch: Number = 1,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.decoding.step` with t slots read: one position attends to t, its own included.

    8d² + 4td FLOPs in matrix products when h·d_k = h·d_v = d and h_kv = h.

    Args:
        t: slots that are read: all of the capacity, or `context`.
        d: model width.
        h: query heads.
        h_kv: key and value heads, a divisor of h; h by default.
        d_k: width of a head's queries and keys; d/h by default.
        d_v: width of a head's values; d_k by default.
        batch: sequences.
        dtype: of x, the parameters and the cache.

    Returns:
        A `Cost` with the steps "projections", "scores", "softmax", "values" and "output". The bytes read are those of
        the parameters, of the cache, and little else.

    Raises:
        ValueError: a size below 1 or not whole, heads that do not divide, an unknown dtype.

    Source: Shazeer (2019), section 2.4.

    Example:
        >>> decode_step(8192, 1024, 16).matmul_flops, decode_step(8192, 1024, 16).bytes_read // 2**20
        (41943040, 81)
    """
    name = "cost.decode_step"
    t, d, h, batch = size(name, "t", t), size(name, "d", d), size(name, "h", h), size(name, "batch", batch)
    d_k = quotient(name, "h", h, "d", d) if d_k is None else size(name, "d_k", d_k)
    d_v = d_k if d_v is None else size(name, "d_v", d_v)
    h_kv = h if h_kv is None else size(name, "h_kv", h_kv)
    quotient(name, "h_kv", h_kv, "h", h)
    b, wide = itemsizes(name, dtype)
    scores = batch * h * t
    new = batch * (h * d_k + h_kv * d_k + h_kv * d_v)
    w_in, w_out = d * (h * d_k + h_kv * d_k + h_kv * d_v), h * d_v * d
    steps = (
        Step(
            "projections",
            2 * new * d,
            bytes_read=b * (batch * d + w_in),
            bytes_written=b * new,
            allocated=b * new,
            calls=3,
        ),
        # The scale multiplies the query: d_k products a head, not t.
        Step(
            "scores",
            2 * scores * d_k,
            batch * h * d_k,
            bytes_read=b * batch * (h + h_kv * t) * d_k,
            bytes_written=wide * scores,
            allocated=wide * scores,
        ),
        # Compare, subtract, exponential, sum for each slot.
        Step("softmax", 0, 3 * scores, scores, bytes_read=wide * scores, bytes_written=wide * scores),
        # Divided once, after the sum.
        Step(
            "values",
            2 * scores * d_v,
            batch * h * d_v,
            bytes_read=wide * scores + b * batch * h_kv * t * d_v,
            bytes_written=b * batch * h * d_v,
            allocated=b * batch * h * d_v,
        ),
        Step(
            "output",
            2 * batch * w_out,
            bytes_read=b * (batch * h * d_v + w_out),
            bytes_written=b * batch * d,
            allocated=b * batch * d,
        ),
    )
    return Cost(steps, parameters=w_in + w_out, live=2 * wide * scores, path=1)


def generation(
    n: Number,
    d: Number,
    h: Number,
    *,
    cached: bool = True,
    h_kv: Number | None = None,
    d_k: Number | None = None,
    d_v: Number | None = None,
    batch: Number = 1,
    dtype: Any = "float32",
) -> Cost:
    """Cost of generating n positions with one layer of multi-head attention, one after the other.

    With a cache 8nd² + 2n(n+1)d FLOPs in matrix products, as many as one causal pass over the pairs that matter;
    without, when every step runs the layer on all positions so far, 4d²n(n+1) + (2/3)dn(n+1)(2n+1).

    Args:
        n: positions generated; the t-th attends to t.
        d: model width.
        h: query heads.
        cached: whether keys and values are kept, or computed again at every step.
        h_kv: key and value heads, a divisor of h; h by default.
        d_k: width of a head's queries and keys; d/h by default.
        d_v: width of a head's values; d_k by default.
        batch: sequences.
        dtype: of x, the parameters and the cache.

    Returns:
        A `Cost`: the sum over t = 1 … n of `decode_step(t, d, h)`, or of `multihead_attention(t, d, h)`, step by
        step, with one set of parameters. Live memory is that of the last.

    Raises:
        ValueError: as `decode_step`.

    Source: the counts are derived in the chapter "Generation".

    Example:
        >>> import sympy
        >>> n, d = sympy.symbols("n d", positive=True)
        >>> sympy.factor(generation(n, d, 1).matmul_flops)
        2*d*n*(4*d + n + 1)
        >>> generation(1000, 512, 8, cached=False).matmul_flops // generation(1000, 512, 8).matmul_flops
        555
    """
    name = "cost.generation"
    n = size(name, "n", n)
    _check.flags(name, cached=cached)
    layer: Callable[..., Cost] = decode_step if cached else multihead_attention

    def at(t: Number) -> Cost:
        with _check.named(name, "cost.decode_step", "cost.multihead_attention"):
            return layer(t, d, h, h_kv=h_kv, d_k=d_k, d_v=d_v, batch=batch, dtype=dtype)

    # Every count is a polynomial in t of degree 2 at most: three values give it, and its sum (Newton's formula).
    first, second, third, last = at(1), at(2), at(3), at(n)
    pairs, triples = n * (n - 1), n * (n - 1) * (n - 2)
    exact = not symbolic(n)
    pairs, triples = (pairs // 2, triples // 6) if exact else (pairs / 2, triples / 6)

    def total(a: Step, b: Step, c: Step) -> Step:
        values = ((getattr(a, x), getattr(b, x), getattr(c, x)) for x in COUNTS)
        sums = (n * u + pairs * (v - u) + triples * (w - 2 * v + u) for u, v, w in values)
        return replace(a, **dict(zip(COUNTS, sums, strict=True)))

    steps = map(total, first.steps, second.steps, third.steps)
    return replace(first, steps=tuple(steps), live=last.live, saved=0)


def kv_cache(
    m: Number,
    d_k: Number,
    *,
    d_v: Number | None = None,
    h_kv: Number = 1,
    layers: Number = 1,
    batch: Number = 1,
    dtype: Any = "bfloat16",
) -> Number:
    """Return the bytes that hold the keys and values of m positions: batch · layers · h_kv · m · (d_k + d_v) numbers.

    Args:
        m: positions held.
        d_k: width of a head's keys.
        d_v: width of a head's values; d_k by default.
        h_kv: key and value heads.
        layers: layers that each hold their own.
        batch: sequences.
        dtype: of keys and values.

    Returns:
        Bytes.

    Raises:
        ValueError: a size below 1 or not whole, an unknown dtype.

    Source: Shazeer (2019), section 2.4.

    Example:
        >>> kv_cache(2048, 128, h_kv=96, layers=96, dtype="float16") / 2**30  # GPT-3's shape
        9.0
    """
    name = "cost.kv_cache"
    m, d_k = size(name, "m", m), size(name, "d_k", d_k)
    d_v = d_k if d_v is None else size(name, "d_v", d_v)
    numbers = size(name, "batch", batch) * size(name, "layers", layers) * size(name, "h_kv", h_kv) * m * (d_k + d_v)
    return numbers * itemsize(name, dtype)
