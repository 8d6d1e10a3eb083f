"""One cost model per kernel, with the kernel's own name and arguments.

n = queries, m = keys, d = model width, d_k and d_v = width of one head's keys and values, h = heads,
h_kv = key and value heads, d_ff = inner width of the feed-forward layer. Sizes are integers, NumPy arrays or
SymPy symbols. With backward=True the steps of the backward pass follow, last step first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attnlib.cost.algebra import Cost, Number, Step, attention_sizes, flags, itemsize, quotient, size, smallest


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

    Source: Vaswani et al. (2017), equation 1; the counts are derived in the chapter "The derivation".

    Example:
        >>> attention(512, 64, h=12).matmul_flops  # 4 n² d with d = 768
        805306368
        >>> import sympy
        >>> n, d = sympy.symbols("n d", positive=True)
        >>> attention(n, d).matmul_flops
        4*d*n**2
    """
    name = "cost.attention"
    n, d_k, m, d_v, h, h_kv, batch = attention_sizes(name, n, d_k, m, d_v, h, h_kv, batch)
    flags(name, causal=causal, backward=backward)
    narrow = itemsize(name, dtype)
    wide = max(narrow, BYTES_OF_SCORES)

    pairs = batch * h * n * m
    q, o = batch * h * n * d_k * narrow, batch * h * n * d_v * narrow
    k, v = batch * h_kv * m * d_k * narrow, batch * h_kv * m * d_v * narrow
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

    Source: Vaswani et al. (2017), section 3.2.2; the counts are derived in the chapter "The derivation".

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
        back = replace(_backward(projections), other_flops=sums)
        steps = (*steps, _backward(output), *core.steps[3:], back)
    return Cost(
        steps,
        parameters=w_qkv + w_o,
        live=core.live + b * batch * (q + k + v + o),
        saved=core.saved + b * (batch * (x + o) + w_qkv + w_o),
        path=1,
    )


def feed_forward(
    n: Number,
    d: Number,
    *,
    d_ff: Number | None = None,
    batch: Number = 1,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.feed_forward`: up to width d_ff, ReLU, back down to width d.

    4nd·d_ff FLOPs in matrix products: 16nd² with the default d_ff = 4d.

    Args:
        n: positions.
        d: model width.
        d_ff: inner width; 4d by default.
        batch: sequences.
        backward: add the gradients with respect to x and the parameters.
        dtype: of x and the parameters.

    Returns:
        A `Cost` with the steps "up", "activation" and "down", in FLOPs and bytes.

    Raises:
        ValueError: a size below 1 or not whole, an unknown dtype.

    Source: Vaswani et al. (2017), section 3.3, without biases.

    Example:
        >>> feed_forward(512, 768).matmul_flops
        4831838208
    """
    name = "cost.feed_forward"
    n, d, batch = size(name, "n", n), size(name, "d", d), size(name, "batch", batch)
    d_ff = 4 * d if d_ff is None else size(name, "d_ff", d_ff)
    flags(name, backward=backward)
    b = itemsize(name, dtype)
    x, inner, w = batch * n * d * b, batch * n * d_ff * b, d * d_ff * b
    kept_signs = batch * n * d_ff  # one byte each: where ReLU let the gradient through
    up = Step("up", 2 * batch * n * d * d_ff, bytes_read=x + w, bytes_written=inner, allocated=inner)
    activation = Step("activation", 0, batch * n * d_ff, bytes_read=inner, bytes_written=inner)
    down = Step("down", 2 * batch * n * d * d_ff, bytes_read=inner + w, bytes_written=x, allocated=x)
    steps: tuple[Step, ...] = (up, activation, down)
    if backward:
        select = Step("activation, backward", bytes_read=2 * inner, bytes_written=inner)
        steps = (*steps, _backward(down), select, _backward(up))
    # Backward: the inner layer before ReLU, after it, and its gradient.
    live = 3 * inner if backward else inner
    return Cost(steps, parameters=2 * d * d_ff, live=live, saved=x + inner + kept_signs + 2 * w, path=0)


def transformer_layer(
    n: Number,
    d: Number,
    h: Number,
    *,
    h_kv: Number | None = None,
    d_ff: Number | None = None,
    batch: Number = 1,
    causal: bool = False,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of one Transformer layer: multi-head self-attention, then the feed-forward layer.

    24nd² + 4n²d FLOPs in matrix products with the default widths. Residual sums and normalisation are O(nd) and left
    out.

    Args:
        n: positions.
        d: model width.
        h: query heads.
        h_kv: key and value heads; h by default.
        d_ff: inner width; 4d by default.
        batch: sequences.
        causal: as in `attention`.
        backward: add the gradients with respect to x and the parameters.
        dtype: of x and the parameters.

    Returns:
        A `Cost` with the steps of `multihead_attention`, then those of `feed_forward`.

    Raises:
        ValueError: as `multihead_attention` and `feed_forward`.

    Source: Vaswani et al. (2017), section 3.1.

    Example:
        >>> transformer_layer(512, 768, 12).matmul_flops
        8053063680
    """
    kwargs = {"batch": batch, "backward": backward, "dtype": dtype}
    return multihead_attention(n, d, h, h_kv=h_kv, causal=causal, **kwargs) + feed_forward(n, d, d_ff=d_ff, **kwargs)


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
    flags(name, causal=causal)
    if not causal:
        return n * m
    # The last r = min(n, m) queries see m − r + 1, …, m keys; queries before them see none.
    r = n if m is n else smallest(n, m)
    total = 2 * r * m - r * (r - 1)
    return total // 2 if isinstance(total, int | np.ndarray) else total / 2


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


BYTES_OF_SCORES = 4
"""Scores and weights are float32 at least, whatever the dtype of q, k and v."""


def _backward(step: Step) -> Step:
    """Two products for one: a matrix product y = x w needs dx = dy wᵀ and dw = xᵀ dy."""
    return Step(
        f"{step.name}, backward",
        2 * step.matmul_flops,
        bytes_read=2 * step.bytes_written + step.bytes_read,
        bytes_written=step.bytes_read,
        allocated=step.bytes_read,
        calls=2 * step.calls,
    )
