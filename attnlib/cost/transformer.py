"""Cost of one Transformer layer: multi-head attention, then the feed-forward layer."""

from __future__ import annotations

from typing import Any

from attnlib import _check
from attnlib.cost._sizes import Number
from attnlib.cost.algebra import Cost
from attnlib.cost.feed_forward import feed_forward
from attnlib.cost.multihead import multihead_attention


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
    with _check.named("cost.transformer_layer", "cost.multihead_attention", "cost.feed_forward"):
        heads = multihead_attention(n, d, h, h_kv=h_kv, causal=causal, **kwargs)
        return heads + feed_forward(n, d, d_ff=d_ff, **kwargs)
