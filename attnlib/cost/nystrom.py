"""Nyström attention by numbers: landmarks, three softmax kernels and a pseudo-inverse between them. No JAX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attnlib import _check
from attnlib.cost._sizes import Number, attention_sizes, itemsizes, largest, size, smallest
from attnlib.cost.algebra import Cost, Step
from attnlib.cost.flash import flash_attention

PINV = ("exact", "iterative")
ITERATIONS = 6
NOT_CAUSAL = "a landmark is a mean over positions, so that a query would see what comes after it"


def nystrom_attention(
    n: Number,
    d_k: Number,
    landmarks: Number,
    *,
    m: Number | None = None,
    d_v: Number | None = None,
    h: Number = 1,
    h_kv: Number | None = None,
    batch: Number = 1,
    pinv: str = "exact",
    iterations: int | None = None,
    causal: bool = False,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.nystrom_attention`: attention to and from l landmarks, and a pseudo-inverse of l × l numbers.

    Landmarks to keys 2lm(d_k + d_v), queries to landmarks 2nl(d_k + d_v), landmarks to landmarks 2l²d_k; the exact
    pseudo-inverse 4l²d_v and a singular value decomposition, the iterative one 8l³ an iteration and 2l²d_v.

    Args:
        n: queries.
        d_k: width of a head's queries and keys.
        landmarks: l; no more of queries than there are, nor of keys.
        m: keys; n by default.
        d_v: width of a head's values; d_k by default.
        h: query heads.
        h_kv: key and value heads, a divisor of h; h by default.
        batch: sequences.
        pinv: "exact" or "iterative", as in the kernel.
        iterations: of the iterative pseudo-inverse; 6 by default.
        causal: False, as in the kernel.
        backward: add the gradients with respect to q, k and v.
        dtype: of q, k, v and the output; everything between is float32 at least.

    Returns:
        A `Cost` with the steps "means", "landmarks", "pseudo-inverse", and twice those of `flash_attention`: "scores
        of keys", …, "scores of queries", …. A singular value decomposition is 21l³ FLOPs outside matrix products, as
        `count` has it.

    Raises:
        ValueError: a size below 1 or not whole, heads that do not divide, a pinv that is neither, iterations without
            an iterative one, `causal` that is not False, an unknown dtype.

    Source: Xiong et al. (2021), equations 14, 16 and 17; the decomposition: Golub and Van Loan.

    Example:
        >>> nystrom_attention(4096, 64, 64, pinv="iterative").matmul_flops / 4096  # 8 · 64² + 52 · 64³/4096
        36096.0
    """
    name = "cost.nystrom_attention"
    sizes = attention_sizes(name, n, d_k, m, d_v, h, h_kv, batch)
    n, d_k, m, d_v, h, h_kv, batch = sizes
    landmarks = size(name, "landmarks", landmarks)
    _check.flags(name, causal=causal, backward=backward)
    if causal:
        raise ValueError(f"{name}: causal: expected False: {NOT_CAUSAL}, got True")
    iterations = pinv_iterations(name, pinv, iterations)
    narrow, wide = itemsizes(name, dtype)

    rows, columns = smallest(landmarks, n), smallest(landmarks, m)
    heads, pairs = batch * h, batch * h * rows * columns
    q, k, v, o = (x * narrow for x in sizes.arrays)
    kept = (heads * rows * (d_k + d_v) + batch * h_kv * columns * d_k + heads * columns * d_v) * wide
    numbers = heads * n * d_k + batch * h_kv * m * d_k
    means = Step("means", 0, numbers, bytes_read=q + k, bytes_written=kept, allocated=kept)
    one = Step("landmarks", 2 * pairs * d_k, 5 * pairs, pairs, bytes_read=kept, bytes_written=pairs * wide)
    inverse = _inverse(heads, rows, columns, d_v, iterations, wide)

    def attend(what: str, n: Number, m: Number, h_kv: Number) -> Cost:
        with _check.named(name, "cost.flash_attention"):
            cost = flash_attention(n, d_k, m=m, d_v=d_v, h=h, h_kv=h_kv, batch=batch, backward=backward, dtype=dtype)
        return replace(cost, steps=tuple(replace(step, name=f"{step.name} of {what}") for step in cost.steps))

    keys, queries = attend("keys", rows, m, h_kv), attend("queries", n, columns, h)
    more = (
        replace(means, name="means, backward"),
        replace(one, name="landmarks, backward", matmul_flops=4 * pairs * d_k, other_flops=5 * pairs, calls=3),
        _inverse_backward(heads, rows, columns, d_v, iterations, wide),
    )
    held = _held(rows, columns, d_v, iterations)
    sums = 2 * heads * (n + rows) * wide
    return Cost(
        (means, one, *keys.steps, inverse, *queries.steps, *(more if backward else ())),
        live=largest(keys.live, queries.live) + kept + heads * (held if backward else 5 * rows * columns) * wide,
        saved=q + k + v + o + sums + kept + (pairs + heads * held) * wide,
        path=1,
    )


def pinv_iterations(name: str, pinv: Any, iterations: Any) -> int | None:
    """Return how often to iterate, checked; None for the exact pseudo-inverse."""
    if not isinstance(pinv, str) or pinv not in PINV:
        raise ValueError(f"{name}: pinv: expected one of {', '.join(PINV)}, got {pinv!r}")
    _check.optional_int(name, iterations=iterations)
    if pinv == "iterative":
        return ITERATIONS if iterations is None else int(iterations)
    if iterations is not None:
        raise ValueError(f"{name}: iterations: expected None with the exact pseudo-inverse, got {iterations}")
    return None


def _inverse(heads: Number, rows: Number, columns: Number, d_v: Number, iterations: int | None, wide: int) -> Step:
    """Multiply by the pseudo-inverse of rows × columns numbers."""
    least, most = smallest(rows, columns), largest(rows, columns)
    moved = {
        "bytes_read": heads * rows * (columns + d_v) * wide,
        "bytes_written": heads * columns * d_v * wide,
        "allocated": heads * columns * d_v * wide,
    }
    if iterations is None:
        products = 2 * heads * least * (rows + columns) * d_v
        decomposition = heads * (4 * most**2 * least + 8 * most * least**2 + 9 * least**3)
        return Step("pseudo-inverse", products, decomposition, calls=3, **moved)
    # A product with a and one with z are rows² · columns; two of a z with itself are rows³.
    products = iterations * 4 * rows**2 * (rows + columns) + 2 * rows * columns * d_v
    outside = iterations * (6 * rows**2 + rows * columns) + 3 * rows * columns
    return Step("pseudo-inverse", heads * products, heads * outside, calls=4 * iterations + 1, **moved)


def _held(rows: Number, columns: Number, d_v: Number, iterations: int | None) -> Number:
    """Numbers of one head that the pseudo-inverse keeps for the backward pass."""
    if iterations is None:
        return smallest(rows, columns) * (rows + columns + d_v + 1)
    return 2 * rows * columns + iterations * (rows * columns + 4 * rows**2)


def _inverse_backward(
    heads: Number, rows: Number, columns: Number, d_v: Number, iterations: int | None, wide: int
) -> Step:
    moved = {
        "bytes_read": heads * (rows * columns + (rows + columns) * d_v) * wide,
        "bytes_written": heads * rows * (columns + d_v) * wide,
        "allocated": heads * rows * (columns + d_v) * wide,
    }
    if iterations is None:
        least = smallest(rows, columns)
        products = 6 * least * (rows + columns) * d_v + 6 * rows * columns * d_v
        return Step("pseudo-inverse, backward", heads * products, heads * 5 * rows * d_v, calls=7, **moved)
    products = iterations * 8 * rows**2 * (rows + columns) + 4 * rows * columns * d_v
    outside = iterations * (6 * rows**2 + 2 * rows * columns)
    return Step("pseudo-inverse, backward", heads * products, heads * outside, calls=8 * iterations + 2, **moved)
