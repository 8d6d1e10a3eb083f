"""Cost of attention as the formula says it: scores, softmax, weighted sum.

n = queries, m = keys, d = model width, d_k and d_v = width of one head's keys and values, h = heads,
h_kv = key and value heads. Sizes are integers, NumPy arrays or SymPy symbols. With backward=True the steps of the
backward pass follow, last step first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attnlib import _check
from attnlib.cost._sizes import Number, attention_sizes, itemsizes, size, smallest
from attnlib.cost.algebra import Cost, Step


def attention(
    n: Number,
    d_k: Number,
    *,
    m: Number | None = None,
    d_v: Number | None = None,
    h: Number = 1,
    h_kv: Number | None = None,
    batch: Number = 1,
    causal: bool = False,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.attention`: scores, softmax, weighted sum of the values.

    scores 2hnm·d_k, softmax 5hnm FLOPs and hnm exponentials, values 2hnm·d_v.

    Args:
        n: queries.
        d_k: width of a head's queries and keys.
        m: keys; n by default.
        d_v: width of a head's values; d_k by default.
        h: query heads.
        h_kv: key and value heads, a divisor of h; h by default.
        batch: sequences.
        causal: changes nothing: this kernel computes every pair and discards the masked ones. `visible_pairs` counts
            those that matter.
        backward: add the gradients with respect to q, k and v.
        dtype: of q, k, v and the output; scores and weights are float32 at least.

    Returns:
        A `Cost` with the steps "scores", "softmax" and "values", in FLOPs and bytes.

    Raises:
        ValueError: a size below 1 or not whole, heads that do not divide, an unknown dtype.

    Source: Vaswani et al. (2017), equation 1; the counts are derived in the chapter "Derivation of
        the cost of self-attention".

    Example:
        >>> attention(512, 64, h=12).matmul_flops  # 4 n² d with d = 768
        805306368
        >>> import sympy
        >>> n, d = sympy.symbols("n d", positive=True)
        >>> attention(n, d).matmul_flops
        4*d*n**2
    """
    name = "cost.attention"
    sizes = attention_sizes(name, n, d_k, m, d_v, h, h_kv, batch)
    n, d_k, m, d_v, h, h_kv, batch = sizes
    _check.flags(name, causal=causal, backward=backward)
    narrow, wide = itemsizes(name, dtype)

    pairs = batch * h * n * m
    q, k, v, o = (x * narrow for x in sizes.arrays)
    scores = Step("scores", 2 * pairs * d_k, bytes_read=q + k, bytes_written=pairs * wide, allocated=pairs * wide)
    # No new memory: fused programs write the weights over the scores, most of the time. Others take a second array.
    softmax = Step("softmax", 0, 5 * pairs, pairs, bytes_read=pairs * wide, bytes_written=pairs * wide)
    values = Step("values", 2 * pairs * d_v, bytes_read=pairs * wide + v, bytes_written=o, allocated=o)
    forward = Cost((scores, softmax, values), live=2 * pairs * wide, saved=q + k + v + pairs * wide, path=1)
    if not backward:
        return forward
    return replace(
        forward,
        steps=(
            *forward.steps,
            # o = w v: the weights' gradient is do vᵀ, the values' gradient is wᵀ do.
            Step(
                "values, backward",
                4 * pairs * d_v,
                bytes_read=o + v + pairs * wide,
                bytes_written=pairs * wide + v,
                allocated=pairs * wide + v,
                calls=2,
            ),
            # ds = scale · w ∘ (dw − Σ w dw): multiply, sum, add, multiply, multiply, and one sign per row.
            Step(
                "softmax, backward",
                0,
                5 * pairs + batch * h * n,
                bytes_read=2 * pairs * wide,
                bytes_written=pairs * wide,
            ),
            # s = q kᵀ: dq = ds k, dk = dsᵀ q.
            Step(
                "scores, backward",
                4 * pairs * d_k,
                bytes_read=pairs * wide + q + k,
                bytes_written=q + k,
                allocated=q + k,
                calls=2,
            ),
        ),
        live=3 * pairs * wide,  # w, dw and ds
    )


def visible_pairs(n: Number, m: Number | None = None, *, causal: bool = True) -> Number:
    """Count the pairs (query, key) that may meet: n(n + 1)/2 for a causal square, nm without a mask.

    Causal aligns bottom-right, as `attnlib.attention` does: query i sees key j if j ≤ i + m − n.

    Args:
        n: queries.
        m: keys; n by default.
        causal: whether later keys are hidden.

    Returns:
        The number of pairs, of the type of n and m.

    Raises:
        ValueError: a size below 1 or not whole.

    Example:
        >>> visible_pairs(4), visible_pairs(1, 4), visible_pairs(4, 2), visible_pairs(4, causal=False)
        (10, 4, 3, 16)
    """
    name = "cost.visible_pairs"
    n = size(name, "n", n)
    m = n if m is None else size(name, "m", m)
    _check.flags(name, causal=causal)
    if not causal:
        return n * m
    # The last r = min(n, m) queries see m − r + 1, …, m keys; queries before them see none.
    r = n if m is n else smallest(n, m)
    total = 2 * r * m - r * (r - 1)
    return total // 2 if isinstance(total, int | np.ndarray) else total / 2


def state(n: Number, d_k: Number, d_v: Number) -> Number:
    """Return how many numbers decoding keeps for a head of keys after n positions: all keys and values."""
    return n * (d_k + d_v)
