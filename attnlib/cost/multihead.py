"""Cost of multi-head attention.

n = queries, m = keys, d = model width, d_k and d_v = width of one head's keys and values, h = heads,
h_kv = key and value heads. Sizes are integers, NumPy arrays or SymPy symbols. With backward=True the steps of the
backward pass follow, last step first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attnlib import _check
from attnlib.cost._sizes import Number, itemsize, quotient, size
from attnlib.cost.algebra import Cost, Step, product_backward
from attnlib.cost.softmax import attention


def multihead_attention(
    n: Number,
    d: Number,
    h: Number,
    *,
    m: Number | None = None,
    h_kv: Number | None = None,
    d_k: Number | None = None,
    d_v: Number | None = None,
    batch: Number = 1,
    causal: bool = False,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.multihead_attention`: projections in, attention in h heads, projection out.

    8nd² + 4n²d FLOPs in matrix products when h·d_k = h·d_v = d and m = n.

    Args:
        n: queries.
        d: model width.
        h: query heads.
        m: keys; n by default (self-attention).
        h_kv: key and value heads, a divisor of h; h by default.
        d_k: width of a head's queries and keys; d/h by default.
        d_v: width of a head's values; d_k by default.
        batch: sequences.
        causal: as in `attention`.
        backward: add the gradients with respect to x and the parameters.
        dtype: of x and the parameters.

    Returns:
        A `Cost` with the steps "projections", "scores", "softmax", "values" and "output", in FLOPs and bytes.

    Raises:
        ValueError: a size below 1 or not whole, heads that do not divide, an unknown dtype.

    Source: Vaswani et al. (2017), section 3.2.2; the counts are derived in the chapter "Derivation of
        the cost of self-attention".

    Example:
        >>> multihead_attention(8192, 1024, 16).matmul_flops
        343597383680
        >>> multihead_attention(8192, 1024, 16).parameters
        4194304
    """
    name = "cost.multihead_attention"
    n, d, h = size(name, "n", n), size(name, "d", d), size(name, "h", h)
    m_or_n = n if m is None else size(name, "m", m)
    d_k = quotient(name, "h", h, "d", d) if d_k is None else size(name, "d_k", d_k)
    d_v = d_k if d_v is None else size(name, "d_v", d_v)
    h_kv = h if h_kv is None else size(name, "h_kv", h_kv)
    batch = size(name, "batch", batch)
    with _check.named(name, "cost.attention"):
        core = attention(
            n, d_k, m=m_or_n, d_v=d_v, h=h, h_kv=h_kv, batch=batch, causal=causal, backward=backward, dtype=dtype
        )
    b = itemsize(name, dtype)

    q, k, v, o = n * h * d_k, m_or_n * h_kv * d_k, m_or_n * h_kv * d_v, n * h * d_v
    w_qkv, w_o = d * (h * d_k + h_kv * d_k + h_kv * d_v), h * d_v * d
    x = n * d if m is None else (n + m_or_n) * d
    projections = Step(
        "projections",
        2 * batch * (q + k + v) * d,
        bytes_read=b * (batch * x + w_qkv),
        bytes_written=b * batch * (q + k + v),
        allocated=b * batch * (q + k + v),
        calls=3,
    )
    output = Step(
        "output",
        2 * batch * o * d,
        bytes_read=b * (batch * o + w_o),
        bytes_written=b * batch * n * d,
        allocated=b * batch * n * d,
    )
    steps: tuple[Step, ...] = (projections, *core.steps[:3], output)
    if backward:
        # x's gradient is a sum of three, through queries, keys and values: two additions of its size. In
        # cross-attention only keys and values share an input, `memory`.
        sums = batch * d * (2 * n if m is None else m_or_n)
        back = replace(product_backward(projections), other_flops=sums)
        steps = (*steps, product_backward(output), *core.steps[3:], back)
    return Cost(
        steps,
        parameters=w_qkv + w_o,
        live=core.live + b * batch * (q + k + v + o),
        saved=core.saved + b * (batch * (x + o) + w_qkv + w_o),
        path=1,
    )
