"""Restricted attention: each query looks at the keys near it. Time linear in the length, and a longer way to go."""

from __future__ import annotations

from typing import cast

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from attnlib import _check
from attnlib.kernels.flash import flash_attention

AnyArray = Array | np.ndarray


def window_attention(
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b m d_k"],
    v: Float[AnyArray, "*#b m d_v"],
    *,
    r: int,
    causal: bool = False,
    mask: Bool[AnyArray, "..."] | None = None,
    scale: float | Float[Array, ""] | None = None,
    lengths: Int[AnyArray, "..."] | None = None,
    block_q: int | None = None,
    block_k: int | None = None,
) -> Float[Array, "*b n d_v"]:
    """Attend to the r nearest keys alone: restricted self-attention, or a sliding window.

    o_i = Σ_j w_ij v_j over |i + m − n − j| ≤ ⌊r/2⌋;   causal: over i + m − n − r < j ≤ i + m − n

    So an even r that is not causal looks at r + 1 keys: r/2 to each side, and the position's own. Only the blocks of
    scores that the window touches are computed, by `flash_attention`: its memory, its gradient, its masks.

    Args:
        q: queries, shape (..., n, d_k), any floating dtype; leading axes broadcast as in `attention`.
        k: keys, shape (..., m, d_k).
        v: values, shape (..., m, d_v).
        r: size of the neighbourhood: causal, the last r keys; otherwise ⌊r/2⌋ to each side.
        causal: query i sees key j only if j ≤ i + m − n.
        mask: boolean, True = may attend, broadcastable to (..., n, m); hides pairs but saves no work.
        scale: factor of the scores; 1/√d_k by default.
        lengths: how many keys exist, integers broadcastable to the leading axes.
        block_q: queries in a block; by default what was fastest on such a device.
        block_k: keys in a block.

    Returns:
        Array (..., n, d_v) in v's dtype. A query that may attend to nothing gets zeros, with zero gradient.

    Raises:
        ValueError: as `flash_attention`; an r that is not a positive integer.

    Cost: `cost.window_attention(n, d_k, r)`: about 2n(r + block)(d_k + d_v) FLOPs in matrix products; memory O(n).

    Source: Vaswani et al. (2017), section 4; Beltagy et al. (2020), section 3.1.

    Example:
        >>> import jax.numpy as jnp
        >>> q, k, v = jnp.zeros((4, 1)), jnp.zeros((4, 1)), jnp.array([[1.0], [2.0], [3.0], [4.0]])
        >>> print(window_attention(q, k, v, r=2, causal=True)[:, 0])  # means of two
        [1.  1.5 2.5 3.5]
    """
    name = "window_attention"
    _check.flags(name, causal=causal)
    _check.positive_int(name, r=r)
    # flash_attention's window counts the position itself: |i − j| < window.
    window = r if causal else r // 2 + 1
    with _check.named(name, "flash_attention"):
        out = flash_attention(
            *(q, k, v),
            causal=causal,
            mask=mask,
            scale=scale,
            window=window,
            lengths=lengths,
            block_q=block_q,
            block_k=block_k,
        )
    return cast(Array, out)  # without `return_lse` it is no tuple
