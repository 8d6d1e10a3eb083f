"""Nyström attention: every query meets every key through a few landmarks, in time linear in the length."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from attnlib import _arrays, _check
from attnlib._sharding import each_device
from attnlib.cost.nystrom import NOT_CAUSAL, pinv_iterations
from attnlib.kernels._heads import lift
from attnlib.kernels._state import key_mask
from attnlib.kernels.flash import flash_attention
from attnlib.kernels.softmax import attention_weights

AnyArray = Array | np.ndarray

RCOND = 1e-5
"""Above what float32 leaves of a singular value that is zero, and the same in every dtype: so is the function."""


def nystrom_attention(
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b m d_k"],
    v: Float[AnyArray, "*#b m d_v"],
    *,
    landmarks: int,
    pinv: str = "exact",
    iterations: int | None = None,
    rcond: float | None = None,
    causal: bool = False,
    mask: Bool[AnyArray, "..."] | None = None,
    query_mask: Bool[AnyArray, "..."] | None = None,
    scale: float | Float[Array, ""] | None = None,
) -> Float[Array, "*b n d_v"]:
    """Replace the softmax matrix by three small ones, through the means of l segments of queries and of keys.

    o = F A⁺ (B v),   F = softmax(scale · q k̃ᵀ),   A = softmax(scale · q̃ k̃ᵀ),   B = softmax(scale · q̃ kᵀ)

    q̃ and k̃ are means of consecutive queries and keys, A⁺ is the pseudo-inverse of A. With at least n and m landmarks
    q̃ = q and k̃ = k, so F = A = B and o = A A⁺ A v = A v: `attention`. No matrix of n × l numbers is held: F and B
    are applied by `flash_attention`.

    Args:
        q: queries, shape (..., n, d_k), any floating dtype; leading axes broadcast as in `attention`.
        k: keys, shape (..., m, d_k).
        v: values, shape (..., m, d_v).
        landmarks: l, the segments; one for each query or key where there are fewer. Lengths need not be multiples of
            it: segments differ by at most one row, the longer ones first.
        pinv: "exact", by a singular value decomposition, or "iterative", by the third-order iteration of the paper,
            Z ← Z(13 − AZ(15 − AZ(7 − AZ)))/4 from Aᵀ/(‖A‖₁‖A‖_∞), norms of each head. It triples the number of
            digits where it is close, but far from it a small singular value σ needs about log(‖A‖₁/σ²)/log(13/4)
            turns: until then its direction is left out, as the exact one would with a larger rcond.
        iterations: turns of the iterative one; 6 by default, as in the paper.
        rcond: with the exact one, singular values up to rcond times the largest count as zero; 1e-5 by default.
        causal: False, the only choice: a landmark is a mean over positions.
        mask: boolean, True = may attend, broadcastable to (..., 1, m): keys can be hidden from all queries. Hidden
            keys leave the means, and a segment with nothing but hidden keys is no landmark.
        query_mask: boolean, broadcastable to (..., n): queries whose value is False leave the means of queries, as
            positions that pad a sequence have to: every query of a mean moves every output. They get outputs of
            their own all the same.
        scale: factor of the scores; 1/√d_k by default.

    Returns:
        Array (..., n, d_v) in v's dtype; means, matrices and sums are float32 or wider. Weights may be negative.
        Zeros, with zero gradient, where all keys are hidden, or all queries by `query_mask`. A NaN or infinity in k
        or v never reaches an output or a gradient from behind the mask; one that is seen, or is in a query that
        enters a mean, reaches all outputs.

    Raises:
        ValueError: as `attention`; landmarks or iterations that are not positive integers, a pinv that is neither,
            iterations without the iterative one, an rcond without the exact one or not from 0 to 1, `causal` that is
            not False, a mask that differs between queries.

    Cost: `cost.nystrom_attention(n, d_k, l)`: 2l(n + m)(d_k + d_v) FLOPs in matrix products, and what l alone
        decides; memory O(n).

    Source: Xiong et al. (2021), algorithm 1, equations 14, 16 and 17.

    Example:
        >>> import jax.numpy as jnp
        >>> q, k, v = jnp.zeros((3, 1)), jnp.zeros((5, 1)), jnp.arange(5.0)[:, None]
        >>> print(nystrom_attention(q, k, v, landmarks=2)[:, 0])  # equal weights: A has rank one
        [2. 2. 2.]
    """
    name = "nystrom_attention"
    lead = _arrays.attention(name, q, k, v, causal=causal, mask=mask, scale=scale)
    if causal:
        raise ValueError(f"{name}: causal: expected False: {NOT_CAUSAL}, got True")
    _check.positive_int(name, landmarks=landmarks)
    turns = pinv_iterations(name, pinv, iterations)
    cut = _check_rcond(name, pinv, rcond)
    _arrays.boolean_mask(name, query_mask, (*lead, q.shape[-2]), "query_mask")
    factor = jnp.asarray(1 / math.sqrt(q.shape[-1]) if scale is None else scale, _arrays.wide(q, k))
    arrays = {"q": jnp.asarray(q), "k": jnp.asarray(k), "v": jnp.asarray(v), "mask": key_mask(name, mask, k)}
    arrays["query_mask"] = None if query_mask is None else jnp.asarray(query_mask)
    o: Array = each_device(name, (_attend, landmarks, turns, cut), arrays, OWN, {"scale": factor}, 2)
    return o


OWN = {"q": 2, "k": 2, "v": 2, "mask": 1, "query_mask": 1}
"""Axes that follow the leading ones."""


@partial(jax.jit, static_argnums=(0, 1, 2))
def _attend(
    landmarks: int, turns: int | None, rcond: float, arrays: dict[str, Any], shared: dict[str, Array]
) -> Array:
    """Attend through landmarks on one device; masks are (..., m) of keys and (..., n) of queries."""
    q, k, v, seen, met = (arrays[a] for a in OWN)
    rank = max(q.ndim, k.ndim, v.ndim)
    q, k, v = (lift(x, rank) for x in (q, k, v))
    seen = None if seen is None else lift(seen, rank - 1)
    met = None if met is None else _rows(met, rank, q.shape[-2])
    dtype, factor = _arrays.wide(q, k, v), shared["scale"]
    q_mean, some_q = _segment_means(q.astype(dtype), landmarks, met)
    k_mean, some_k = _segment_means(k.astype(dtype), landmarks, seen)

    def between(mask: Array | None) -> Array | None:
        return None if mask is None else mask[..., None, :]

    both = between(some_k)
    if some_q is not None:
        both = some_q[..., None] if both is None else both & some_q[..., None]
    a = attention_weights(q_mean, k_mean, mask=both, scale=factor)
    # Values widen first: what is divided by a small singular value has to keep its digits.
    y: Any = flash_attention(q_mean, k, v.astype(dtype), mask=between(seen), scale=factor)
    if some_q is not None:
        y = jnp.where(some_q[..., None], y, 0)
    common = np.broadcast_shapes(a.shape[:-2], y.shape[:-2])
    a, y = (jnp.broadcast_to(x, (*common, *x.shape[-2:])) for x in (a, y))
    x = _solve(rcond, a, y) if turns is None else _product("ij,jv->iv", iterated_inverse(a, turns), y)
    o: Any = flash_attention(q, k_mean, x, mask=between(some_k), scale=factor)
    return o.astype(v.dtype)  # type: ignore[no-any-return]


def _check_rcond(name: str, pinv: str, rcond: Any) -> float:
    """Return rcond, checked."""
    if rcond is None:
        return RCOND
    if pinv != "exact":
        raise ValueError(f"{name}: rcond: expected None with the iterative pseudo-inverse, got {rcond!r}")
    if not _check.number(rcond) or not 0 <= rcond <= 1:
        raise ValueError(f"{name}: rcond: expected a number from 0 to 1, got {rcond!r}")
    return float(rcond)


def _rows(mask: Array, rank: int, n: int) -> Array:
    """Return a checked mask of rows as (..., n), with all leading axes."""
    mask = lift(mask, rank - 1)
    return jnp.broadcast_to(mask, (*mask.shape[:-1], n))


def _segment_means(x: Array, count: int, there: Array | None) -> tuple[Array, Array | None]:
    """Return the means of at most `count` segments of the rows of x that are there, and which segments have any."""
    n, count = x.shape[-2], min(count, x.shape[-2])
    short, longer = divmod(n, count)
    end = longer * (short + 1)

    def sums(x: Array) -> Array:
        parts = ((x[..., :end, :], longer, short + 1), (x[..., end:, :], count - longer, short))
        return jnp.concatenate(
            [p.reshape(*p.shape[:-2], rows, size, p.shape[-1]).sum(axis=-2) for p, rows, size in parts], axis=-2
        )

    if there is None:
        sizes = np.repeat((short + 1, short), (longer, count - longer))
        return sums(x) / jnp.asarray(sizes, x.dtype).reshape((1,) * (x.ndim - 2) + (count, 1)), None
    seen = sums(there[..., None].astype(x.dtype))
    return sums(jnp.where(there[..., None], x, 0)) / jnp.maximum(seen, 1), seen[..., 0] > 0


def _product(axes: str, x: Array, y: Array) -> Array:
    """A small product whose digits count: a pseudo-inverse makes an error of its factors larger, on every device."""
    left, right, out = axes.replace("->", ",").split(",")
    return jnp.einsum(f"...{left},...{right}->...{out}", x, y, precision="highest")


def iterated_inverse(a: Float[Array, "*b i j"], turns: int) -> Float[Array, "*b j i"]:
    """Approximate the pseudo-inverse of matrices of weights, none negative, each by itself."""
    norms = a.sum(axis=-2).max(axis=-1) * a.sum(axis=-1).max(axis=-1)
    z = a.mT / jnp.where(norms == 0, 1, norms)[..., None, None]
    one = lift(jnp.eye(a.shape[-2], dtype=a.dtype), a.ndim)

    def turn(z: Array, _: None) -> tuple[Array, None]:
        az = _product("ij,jk->ik", a, z)
        inner = 15 * one - _product("ij,jk->ik", az, 7 * one - az)
        return _product("ij,jk->ik", z, 13 * one - _product("ij,jk->ik", az, inner)) / 4, None

    return jax.lax.scan(turn, z, None, length=turns)[0]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _solve(rcond: float, a: Array, y: Array) -> Array:
    """The pseudo-inverse of a times y: of all that minimise |a x − y|, the smallest x."""
    return _solve_forward(rcond, a, y)[0]


def _solve_forward(rcond: float, a: Array, y: Array) -> tuple[Array, tuple[Array, ...]]:
    u, s, vt = jnp.linalg.svd(a, full_matrices=False)
    keep = s > rcond * s[..., :1]
    inverse = jnp.where(keep, 1 / jnp.where(keep, s, 1), 0)[..., None]
    c = _product("ir,iv->rv", u, y)
    x = _product("rj,rv->jv", vt, inverse * c)
    return x, (u, inverse, vt, y, c, x)


def _solve_backward(rcond: float, kept: tuple[Array, ...], g: Array) -> tuple[Array, Array]:
    """With Z the pseudo-inverse: dy = Zᵀ g, da = −dy xᵀ + (y − a x)(Z dy)ᵀ + (Zᵀ x)(g − Z a g)ᵀ.

    The two projections are those of the singular vectors that are kept, not products with a and Z: the errors of
    these would be divided by a small singular value once more. What was counted as zero is differentiated as zero.
    """
    u, inverse, vt, y, c, x = kept
    keep = inverse > 0
    b = _product("rj,jv->rv", vt, g)
    dy = _product("ir,rv->iv", u, inverse * b)
    rest_y = y - _product("ir,rv->iv", u, jnp.where(keep, c, 0))
    rest_g = g - _product("rj,rv->jv", vt, jnp.where(keep, b, 0))
    z_dy = _product("rj,rv->jv", vt, inverse**2 * b)
    zt_x = _product("ir,rv->iv", u, inverse**2 * c)
    left, right = jnp.concatenate([-dy, rest_y, zt_x], axis=-1), jnp.concatenate([x, z_dy, rest_g], axis=-1)
    return _product("iv,jv->ij", left, right), dy


_solve.defvjp(_solve_forward, _solve_backward)
