"""Cost of the feed-forward layer: n = positions, d = model width, d_ff = inner width."""

from __future__ import annotations

from typing import Any

from attnlib import _check
from attnlib.cost._sizes import Number, itemsize, size
from attnlib.cost.algebra import Cost, Step, product_backward


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
    _check.flags(name, backward=backward)
    b = itemsize(name, dtype)
    x, inner, w = batch * n * d * b, batch * n * d_ff * b, d * d_ff * b
    kept_signs = batch * n * d_ff  # one byte each: where ReLU let the gradient through
    up = Step("up", 2 * batch * n * d * d_ff, bytes_read=x + w, bytes_written=inner, allocated=inner)
    activation = Step("activation", 0, batch * n * d_ff, bytes_read=inner, bytes_written=inner)
    down = Step("down", 2 * batch * n * d * d_ff, bytes_read=inner + w, bytes_written=x, allocated=x)
    steps: tuple[Step, ...] = (up, activation, down)
    if backward:
        select = Step("activation, backward", bytes_read=2 * inner, bytes_written=inner)
        steps = (*steps, product_backward(down), select, product_backward(up))
    # Backward: the inner layer before ReLU, after it, and its gradient.
    live = 3 * inner if backward else inner
    return Cost(steps, parameters=2 * d * d_ff, live=live, saved=x + inner + kept_signs + 2 * w, path=0)
