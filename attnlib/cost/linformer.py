"""Linformer by numbers: keys and values projected along the length, then attention over what is left. No JAX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attnlib import _check
from attnlib.cost._sizes import Number, attention_sizes, itemsizes, size
from attnlib.cost.algebra import Cost, Step, product_backward
from attnlib.cost.flash import flash_attention

NOT_CAUSAL = "a projected key mixes all positions, so that a query would see what comes after it"


def linformer_attention(
    n: Number,
    d_k: Number,
    rank: Number,
    *,
    m: Number | None = None,
    d_v: Number | None = None,
    h: Number = 1,
    h_kv: Number | None = None,
    projections: Number = 2,
    batch: Number = 1,
    causal: bool = False,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.linformer_attention`: two projections, then attention in tiles over `rank` projected keys.

    Projections 2m·rank(d_k + d_v), attention 2n·rank(d_k + d_v).

    Args:
        n: queries.
        d_k: width of a head's queries and keys.
        rank: projected keys, whatever the length.
        m: keys; n by default.
        d_v: width of a head's values; d_k by default.
        h: query heads.
        h_kv: heads with projected keys of their own, a divisor of h; h by default. Those of keys and values, or h
            where projections or masks differ between the heads of a group.
        projections: matrices of rank × m numbers that are learned: 2 for e and f, 1 if e is f, 2h if every head has
            its own. They change the parameters, and no FLOP.
        batch: sequences.
        causal: False, as in the kernel.
        backward: add the gradients with respect to q, k, v, e and f.
        dtype: of q, k, v and the output; projected keys and values are float32 at least.

    Returns:
        A `Cost` with the steps "keys" and "values projected", and those of `flash_attention`.

    Raises:
        ValueError: a size below 1 or not whole, heads that do not divide, `causal` that is not False, an unknown
            dtype.

    Source: Wang et al. (2020), equation 7.

    Example:
        >>> linformer_attention(4096, 64, 256).matmul_flops / 4096  # 2 · 2 · 256 · 128
        131072.0
        >>> import sympy
        >>> n, d, r = sympy.symbols("n d r", positive=True)
        >>> linformer_attention(n, d, r).matmul_flops
        8*d*n*r
    """
    name = "cost.linformer_attention"
    sizes = attention_sizes(name, n, d_k, m, d_v, h, h_kv, batch)
    rank, projections = size(name, "rank", rank), size(name, "projections", projections)
    _check.flags(name, causal=causal, backward=backward)
    if causal:
        raise ValueError(f"{name}: causal: expected False: {NOT_CAUSAL}, got True")
    narrow, wide = itemsizes(name, dtype)
    learned = projections * rank * sizes.m

    def project(what: str, width: Number) -> Step:
        heads = sizes.batch * sizes.h_kv
        kept = heads * rank * width * wide
        return Step(
            f"{what} projected",
            2 * heads * rank * sizes.m * width,
            bytes_read=heads * sizes.m * width * narrow + rank * sizes.m * wide,
            bytes_written=kept,
            allocated=kept,
        )

    steps = (project("keys", sizes.d_k), project("values", sizes.d_v))
    with _check.named(name, "cost.flash_attention"):
        attend = flash_attention(
            *(sizes.n, sizes.d_k),
            m=rank,
            d_v=sizes.d_v,
            h=sizes.h,
            h_kv=sizes.h_kv,
            batch=sizes.batch,
            backward=backward,
            dtype=dtype,
        )
    kept = sum(step.bytes_written for step in steps)
    _, k, v, _ = sizes.arrays
    return replace(
        attend,
        steps=(*steps, *attend.steps, *(product_backward(step) for step in reversed(steps) if backward)),
        parameters=learned,
        live=attend.live + kept,
        saved=attend.saved + (k + v) * narrow + learned * wide,
    )
