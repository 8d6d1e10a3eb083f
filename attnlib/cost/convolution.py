"""Costs of convolutions, and how many of them connect the two ends of a sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnlib import _check
from attnlib.cost._sizes import Number, itemsize, size, symbolic
from attnlib.cost.algebra import Cost, Step, product_backward


def conv(
    n: Number,
    d: Number,
    k: Number,
    *,
    d_out: Number | None = None,
    separable: bool = False,
    causal: bool = False,
    dilation: int = 1,
    batch: Number = 1,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.conv`: k products for each position, or k multiplications a channel and one product.

    2nkd·d_out FLOPs in matrix products; separable 2nd·d_out, and (2k − 1)nd outside.

    Args:
        n: positions; products with the zeros beyond the ends count too, as they are computed.
        d: width of the input.
        k: positions that a kernel covers.
        d_out: width of the output; d by default.
        separable: a kernel for each channel, then a product that mixes the channels.
        causal: changes the path alone.
        dilation: changes the path alone.
        batch: sequences.
        backward: add the gradients with respect to x and the parameters.
        dtype: of x, the parameters and the output.

    Returns:
        A `Cost` with the steps "convolution" (separable: "depthwise" and "pointwise") and "bias". Its path is
        `conv_path`: the number of such layers that connect the two ends; 0 when no number does (k = 1, dilation > 1).

    Raises:
        ValueError: a size below 1 or not whole, an even k that is not causal, an unknown dtype.

    Source: Vaswani et al. (2017), table 1 and section 4.

    Example:
        >>> conv(1000, 512, 3).matmul_flops, conv(1000, 512, 3).path
        (1572864000, 999)
        >>> conv(1000, 512, 3, separable=True).matmul_flops
        524288000
    """
    name = "cost.conv"
    n, d, k = size(name, "n", n), size(name, "d", d), size(name, "k", k)
    d_out = d if d_out is None else size(name, "d_out", d_out)
    batch = size(name, "batch", batch)
    _check.flags(name, separable=separable, causal=causal, backward=backward)
    _check.positive_int(name, dilation=dilation)
    b = itemsize(name, dtype)
    path = _path(name, n, k, causal, False) if dilation == 1 else 0 * n
    x, y = batch * n * d, batch * n * d_out
    bias = Step("bias", 0, y, bytes_read=b * (y + d_out), bytes_written=b * y)
    if separable:
        weights, inner = k * d + d * d_out, x
        # k multiplications and k − 1 additions for each number: no matrix product.
        work = (2 * k - 1) * x
        depthwise = Step("depthwise", 0, work, bytes_read=b * (x + k * d), bytes_written=b * x, allocated=b * x)
        read = b * (x + d * d_out)
        pointwise = Step("pointwise", 2 * x * d_out, bytes_read=read, bytes_written=b * y, allocated=b * y)
        steps = [depthwise, pointwise, bias]
        if backward:
            steps += [
                product_backward(pointwise),
                # The input's gradient is a convolution again; the kernel's takes k sums of n products a channel.
                Step(
                    "depthwise, backward",
                    0,
                    work + 2 * k * x,
                    bytes_read=b * (3 * x + k * d),
                    bytes_written=b * (x + k * d),
                    allocated=b * (x + k * d),
                    calls=2,
                ),
            ]
    else:
        weights, inner = k * d * d_out, 0 * x
        read = b * (x + weights)
        product = Step("convolution", 2 * k * x * d_out, bytes_read=read, bytes_written=b * y, allocated=b * y)
        steps = [product, bias]
        if backward:
            steps.append(product_backward(product))
    if backward:
        steps.append(Step("bias, backward", 0, y, bytes_read=b * y, bytes_written=b * d_out))
    saved = b * (x + inner + weights)
    live = b * (2 * inner if backward else inner)
    return Cost(tuple(steps), parameters=weights + d_out, live=live, saved=saved, path=path)


def conv_path(n: Number, k: Number, *, causal: bool = False, dilated: bool = False) -> Number:
    """Count the convolutions in a row after which the last position knows the first: the maximum path length.

    A causal layer reaches k − 1 positions back, a centred one (k − 1)/2 to each side: ⌈(n−1)/(k−1)⌉ layers,
    or ⌈2(n−1)/(k−1)⌉. With dilations 1, k, k², … L causal layers reach k^L − 1 positions back: ⌈log_k n⌉. Centred and
    dilated, no number of layers connects every pair: each distance has one way, and that from the first position to
    the third leads through one before the first, which does not exist.

    Args:
        n: positions.
        k: positions that a kernel covers.
        causal: the kernel ends at its position instead of being centred there.
        dilated: layer l has dilation k^l instead of 1; needs `causal`.

    Returns:
        The number of layers, of the type of n and k: 0 when one position is the whole sequence or k = 1.

    Raises:
        ValueError: a size below 1 or not whole, an even k that is not causal, a dilated stack that is not causal.

    Source: Vaswani et al. (2017), section 4, whose table 1 gives log_k n; the constants are derived in the chapter
        "Recurrence and convolution".

    Example:
        >>> conv_path(1000, 3), conv_path(1000, 3, causal=True), conv_path(1000, 3, causal=True, dilated=True)
        (999, 500, 7)
    """
    name = "cost.conv_path"
    n, k = size(name, "n", n), size(name, "k", k)
    _check.flags(name, causal=causal, dilated=dilated)
    if dilated and not causal:
        raise ValueError(f"{name}: causal: expected True for a dilated stack, whose ends do not connect, got False")
    return _path(name, n, k, causal, dilated)


def _path(name: str, n: Number, k: Number, causal: bool, dilated: bool) -> Number:
    if symbolic(n, k):
        import sympy

        reach = n if causal else 2 * n - 1  # positions that the last layer must cover
        return sympy.ceiling(sympy.log(reach) / sympy.log(k) if dilated else (reach - 1) / (k - 1))
    if not causal and np.any(np.asarray(k) % 2 == 0):
        raise ValueError(f"{name}: k: expected an odd width unless causal, got {k}")

    def layers(n: Number, k: Number) -> Number:
        n, k = int(n), int(k)
        reach = n if causal else 2 * n - 1
        if k == 1:
            return 0
        if not dilated:
            return -(-(reach - 1) // (k - 1))
        count, covered = 0, 1
        while covered < reach:
            count, covered = count + 1, covered * k
        return count

    if isinstance(n, np.ndarray) or isinstance(k, np.ndarray):
        return np.vectorize(layers, otypes=[float])(n, k)
    return layers(n, k)
