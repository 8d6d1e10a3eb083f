"""Restricted attention: each query looks at the keys near it. Time linear in the length, and a longer way to go."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from attnlib import _arrays, _check
from attnlib._sharding import each_device
from attnlib.cost.window import neighbourhood, residues
from attnlib.kernels._heads import lift
from attnlib.kernels.flash import OWN, Segments, flash_attention

AnyArray = Array | np.ndarray


def window_attention(
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b m d_k"],
    v: Float[AnyArray, "*#b m d_v"],
    *,
    r: int | None = None,
    left: int | None = None,
    right: int | None = None,
    dilation: int = 1,
    causal: bool = False,
    mask: Bool[AnyArray, "..."] | None = None,
    scale: float | Float[Array, ""] | None = None,
    lengths: Int[AnyArray, "..."] | None = None,
    segments: Segments | None = None,
    block_q: int | None = None,
    block_k: int | None = None,
) -> Float[Array, "*b n d_v"]:
    """Attend to the nearest keys alone: restricted self-attention, or a sliding window, or a dilated one.

    o_i = Σ_j w_ij v_j over the keys with i + m − n − j = t · dilation,   −right ≤ t ≤ left

    The neighbourhood has `left` keys before the position itself, the position's own, and `right` after it. The size r
    is another way to say so: left = right = ⌊r/2⌋, causal: left = r − 1 and right = 0. So an even r that is not
    causal looks at r + 1 keys. In terms of `flash_attention` it is window = (left, right), and its window = w is
    left = right = w − 1. Only the blocks of scores that the window touches are computed, by `flash_attention`: its
    memory, its gradient, its masks. Positions that differ by no multiple of the dilation never meet, so a dilated
    window is `dilation` shorter problems, each with a window without gaps.

    Args:
        q: queries, shape (..., n, d_k), any floating dtype; leading axes broadcast as in `attention`.
        k: keys, shape (..., m, d_k).
        v: values, shape (..., m, d_v).
        r: size of the neighbourhood: causal, the last r keys; otherwise ⌊r/2⌋ to each side. In place of left and
            right.
        left: keys before the position itself, 0 or more.
        right: keys after it, 0 or more; causal, 0 and may be left out.
        dilation: only every dilation-th key counts: the window has as many keys, and reaches dilation times as far.
        causal: query i sees key j only if j ≤ i + m − n.
        mask: boolean, True = may attend, broadcastable to (..., n, m); hides pairs but saves no work.
        scale: factor of the scores; 1/√d_k by default.
        lengths: how many keys exist, integers broadcastable to the leading axes.
        segments: ids of packed sequences, as `flash_attention` takes them: a query sees keys of its own id alone.
        block_q: queries in a block; by default what was fastest on such a device.
        block_k: keys in a block.

    Returns:
        Array (..., n, d_v) in v's dtype. A query that may attend to nothing gets zeros, with zero gradient.

    Raises:
        ValueError: as `flash_attention`; an r or dilation that is not a positive integer, r together with left or
            right, neither, a left or right that is not an integer of at least 0, left without right unless causal,
            right > 0 with `causal`.

    Cost: `cost.window_attention(n, d_k, r)`: about 2n(r + block)(d_k + d_v) FLOPs in matrix products; memory O(n).

    Source: Vaswani et al. (2017), section 4; Beltagy et al. (2020), section 3.1.

    Example:
        >>> import jax.numpy as jnp
        >>> q, k, v = jnp.zeros((4, 1)), jnp.zeros((4, 1)), jnp.array([[1.0], [2.0], [3.0], [4.0]])
        >>> print(window_attention(q, k, v, r=2, causal=True)[:, 0])  # means of two
        [1.  1.5 2.5 3.5]
        >>> print(window_attention(q, k, v, left=1, right=0, dilation=2)[:, 0])  # of its own and the one before last
        [1. 2. 2. 3.]
    """
    name = "window_attention"
    near = neighbourhood(name, r, left, right, dilation, causal)
    common: dict[str, Any] = {"mask": mask, "scale": scale, "lengths": lengths, "segments": segments}
    options: dict[str, Any] = {"window": near, "causal": causal, "block_q": block_q, "block_k": block_k}
    if dilation == 1:
        with _check.named(name, "flash_attention"):
            return cast(Array, flash_attention(q, k, v, **common, **options))
    lead = _arrays.attention(name, q, k, v, causal=causal, mask=mask, scale=scale)
    _check.optional_int(name, block_q=block_q, block_k=block_k)
    _arrays.lengths(name, lengths, lead)
    ids = _arrays.segments(name, segments, lead, q.shape[-2], k.shape[-2])
    arrays = {
        "q": jnp.asarray(q),
        "k": jnp.asarray(k),
        "v": jnp.asarray(v),
        "mask": None if mask is None else jnp.asarray(mask),
        "lengths": None if lengths is None else _arrays.clipped(lengths, k.shape[-2]),
        "segments": ids[0],
        "segments of keys": ids[1],
    }
    factor = jnp.asarray(1 / math.sqrt(q.shape[-1]) if scale is None else scale, _arrays.wide(q, k))
    call = (_dilated, dilation, tuple(options.items()))
    return cast(Array, each_device(name, call, arrays, OWN, {"scale": factor}, 2))


@partial(jax.jit, static_argnums=(0, 1))
def _dilated(
    dilation: int, options: tuple[tuple[str, Any], ...], arrays: dict[str, Any], shared: dict[str, Array]
) -> Array:
    """Attend within each class of positions that are a multiple of the dilation apart, counted from the last."""
    q, k, v, mask, lengths, *ids = (arrays[a] for a in OWN)
    n, m = q.shape[-2], k.shape[-2]
    lead = np.broadcast_shapes(*(x.shape[:-2] for x in (q, k, v)))
    dilation, groups = residues(n, m, dilation)
    missing = -m % dilation
    q, k, v = (jnp.moveaxis(_fold(x, -2, dilation), -2, -3) for x in (q, k, v))
    mask = None if mask is None else _fold_mask(mask, dilation)
    ids = [None if x is None else jnp.moveaxis(_fold(x, -1, dilation), -1, -2) for x in ids]
    outs = []
    for first, last, rows, columns in groups:
        here = slice(first, last)
        # Classes in which the front was filled up begin with a row that is none: it is cut off.
        q_c, k_c, v_c = (x[..., here, x.shape[-2] - r :, :] for x, r in ((q, rows), (k, columns), (v, columns)))
        if rows == 0 or columns == 0:
            o = jnp.zeros((*lead, last - first, rows, v.shape[-1]), v.dtype)
        else:
            some: dict[str, Any] = {}
            if mask is not None:
                own = here if mask.shape[-3] > 1 else slice(None)
                some["mask"] = mask[..., own, -rows:, -columns:]  # an axis of length 1 stays
            if lengths is not None:
                place = lift(jnp.arange(first, last, dtype=jnp.int32), lengths.ndim + 1)
                there = -((place - missing - lengths[..., None]) // dilation) - (k.shape[-2] - columns)
                some["lengths"] = jnp.maximum(there, 0)
            if ids[0] is not None:
                some["segments"] = ids[0][..., here, -rows:], ids[1][..., here, -columns:]
            o = cast(Array, flash_attention(q_c, k_c, v_c, scale=shared["scale"], **some, **dict(options)))
        outs.append(_fill(o, -2, q.shape[-2] - rows))
    out = jnp.moveaxis(jnp.concatenate(outs, axis=-3), -3, -2)
    return out.reshape(*lead, -1, v.shape[-1])[..., -n:, :]


def _fill(x: Array, axis: int, rows: int) -> Array:
    """Put rows of zeros before the first."""
    widths = [(0, 0)] * x.ndim
    widths[axis] = (rows, 0)
    return jnp.pad(x, widths) if rows else x


def _fold(x: Array, axis: int, dilation: int) -> Array:
    """Cut an axis into rows of `dilation` positions, the last row full: axes (rows, dilation) in its place."""
    x, axis = _fill(x, axis, -x.shape[axis] % dilation), axis % x.ndim
    return x.reshape(*x.shape[:axis], -1, dilation, *x.shape[axis + 1 :])


def _fold_mask(mask: Array, dilation: int) -> Array:
    """Return the mask of each class, (..., dilation, rows, columns); an axis of length 1 stays one."""
    mask = mask.reshape((1,) * (2 - mask.ndim) + mask.shape)
    rows, columns = mask.shape[-2:]
    if rows == columns == 1:
        return mask[..., None, :, :]
    if columns == 1:
        return jnp.moveaxis(_fold(mask, -2, dilation), -2, -3)
    mask = jnp.moveaxis(_fold(mask, -1, dilation), -1, -3)
    if rows == 1:
        return mask
    mask = jnp.moveaxis(_fold(mask, -2, dilation), -2, -4)  # (..., of queries, of keys, rows, columns)
    return jnp.moveaxis(jnp.diagonal(mask, axis1=-4, axis2=-3), -1, -3)
