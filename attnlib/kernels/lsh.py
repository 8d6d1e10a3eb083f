"""Attention by locality-sensitive hashing: a query meets the keys that random rotations put into its bucket."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, DTypeLike, Float, Int, Key, UInt32

from attnlib import _arrays, _check
from attnlib._sharding import each_device
from attnlib.cost.lsh import columns, factors
from attnlib.kernels._buckets import Sizes, bucket_attention, unit
from attnlib.kernels._heads import bad
from attnlib.kernels._state import key_mask, wide_enough

AnyArray = Array | np.ndarray


def init_lsh(
    key: Key[AnyArray, ""] | UInt32[AnyArray, "2"],
    d: int,
    buckets: int | tuple[int, ...],
    rounds: int = 4,
    *,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "rounds d columns"]:
    """Draw the rotations R of `lsh_attention`, all of whose numbers are independent and normal.

    Args:
        key: a key of `jax.random.key`. Reformer draws anew for every step of training.
        d: width of queries and keys.
        buckets: 1, an even number, or a tuple of these whose product is the number of buckets.
        rounds: independent rounds of hashing.
        dtype: of the result, float32 or float64.

    Returns:
        Array (rounds, d, columns): half a column for every bucket of each factor, none for a factor 1.

    Raises:
        ValueError: a key that is none, sizes that are not positive integers, a factor that is neither 1 nor even, a
            dtype narrower than float32.

    Source: Kitaev et al. (2020), section 2; Andoni et al. (2015).

    Example:
        >>> import jax
        >>> init_lsh(jax.random.key(0), 64, 256).shape, init_lsh(jax.random.key(0), 64, (16, 16)).shape
        ((4, 64, 128), (4, 64, 16))
    """
    name = "init_lsh"
    _arrays.prng_key(name, key)
    _check.positive_int(name, d=d, rounds=rounds)
    wide_enough(name, dtype)
    rotations: Array = jax.random.normal(key, (rounds, d, columns(factors(name, buckets))), dtype)
    return rotations


def lsh_buckets(
    x: Float[AnyArray, "*b n d"],
    rotations: Float[AnyArray, "rounds d columns"],
    *,
    buckets: int | tuple[int, ...],
) -> Int[Array, "*b rounds n"]:
    """Hash rows: one of b buckets for the axis, or its opposite, that is nearest to a row after a random rotation.

    h(x) = argmax (x R, −x R)

    Two rows at an angle θ share one of two buckets with probability 1 − θ/π. With factors b_1, b_2, …, each hashed by
    columns of R of its own, the number is h_1, then h_2, … in a number system with these bases: rows share it if they
    share all of them.

    Args:
        x: rows, shape (..., n, d), any floating dtype; their lengths do not matter.
        rotations: R, shape (rounds, d, columns), as `init_lsh` draws them.
        buckets: as for `init_lsh`.

    Returns:
        Integers (..., rounds, n), from 0 to the number of buckets less 1. Whoever holds a NaN or an infinity gets 0.

    Raises:
        ValueError: arrays of other shapes or dtypes, a factor that is neither 1 nor even.

    Cost: 2nd · rounds · Σ b/2 FLOPs: with n/c buckets in one factor n²d · rounds/c, quadratic; with two 2nd · rounds
        · √(n/c).

    Source: Kitaev et al. (2020), section 2; factors: the authors' program; the hash: Andoni et al. (2015).

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[3.0, 1.0], [-1.0, -4.0]])
        >>> print(lsh_buckets(x, jnp.eye(2)[None], buckets=4))  # the first axis; the opposite of the second
        [[0 3]]
    """
    name = "lsh_buckets"
    _arrays.floating(name, x=x)
    _check.rank_at_least(name, 2, "(..., n, d)", x=x)
    parts = factors(name, buckets)
    _check_rotations(name, rotations, x.shape[-1], parts)
    return _hash(parts, jnp.asarray(x), jnp.asarray(rotations))


def lsh_attention(
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b m d_k"] | None,
    v: Float[AnyArray, "*#b m d_v"],
    rotations: Float[AnyArray, "rounds d_k columns"],
    *,
    buckets: int | tuple[int, ...],
    window: int,
    shared: bool = False,
    causal: bool = False,
    mask: Bool[AnyArray, "..."] | None = None,
    scale: float | Float[Array, ""] | None = None,
    chunk: int | None = None,
) -> Float[Array, "*b n d_v"]:
    """Attend to the keys that share a bucket with the query in some round, the nearest of them in each bucket.

    o_i = Σ_j w_ij v_j,   w_ij = e^(s_ij) / Σ_l e^(s_il) over j, l ∈ S_i,   s_ij = scale · q_i·k_j
    S_i = ∪_r {j : h_r(k_j) = h_r(q_i), j near i in this bucket}

    Near: number the keys of a bucket by position. Of those at or before its own position a query sees the last
    `window`, and without `causal` the next window − 1, too. So what it sees depends on no later position: published
    programs sort all positions, cut them into chunks that attend to each other, and hide later keys, but where a
    chunk ends depends on later keys. A pair of several rounds counts once, as if the logarithm of the number of its
    rounds were subtracted from its score in each. With one bucket and a window of max(n, m) it is `attention`.

    Hashes have no gradient; scores and values have that of `attention` over the same pairs.

    Args:
        q: queries, shape (..., n, d_k), any floating dtype; leading axes broadcast as in `attention`.
        k: keys, shape (..., m, d_k); None with `shared`.
        v: values, shape (..., m, d_v).
        rotations: R, shape (rounds, d_k, columns), as `init_lsh` draws them; without a gradient.
        buckets: how many, 1 or an even number; or a tuple of factors, with which hashing costs less.
        window: keys of its bucket that a query sees at or before its position, in each round.
        shared: keys are the queries over their lengths, k_j = q_j/|q_j|, as in Reformer, and a query sees its own
            key only if it sees no other. The authors' program is that with scale = 1.
        causal: query i sees key j only if j ≤ i + m − n.
        mask: boolean, True = may attend, broadcastable to (..., 1, m): keys can be hidden from all queries. A hidden
            key has no number in its bucket.
        scale: factor of the scores; 1/√d_k by default.
        chunk: keys in a block of sorted ones, which changes the cost alone; by default what was fastest.

    Returns:
        Array (..., n, d_v) in v's dtype; scores and sums are float32 or wider. A query whose buckets hold no key gets
        zeros, with zero gradient. A NaN or infinity in q, k or v never reaches an output or a gradient through a pair
        that is not seen; what sees one becomes NaN.

    Raises:
        ValueError: as `attention`; rotations of another shape, a factor that is neither 1 nor even, a window or chunk
            that is not a positive integer, a mask that differs between queries, `shared` with keys or with n ≠ m.

    Cost: `cost.lsh_attention(n, d_k, buckets, window)`: hashing 2(n + m)d_k · rounds · Σ b/2 FLOPs, and about 2n ·
        rounds · 1.5(window + chunk)(d_k + d_v); memory O(n · rounds).

    Source: Kitaev et al. (2020), section 2; the window by rank, and the union of the rounds: ours.

    Example:
        >>> import jax.numpy as jnp
        >>> q, k = jnp.array([[5.0], [-5.0]]), jnp.array([[1.0], [-1.0]])
        >>> print(lsh_attention(q, k, jnp.array([[1.0], [2.0]]), jnp.ones((1, 1, 1)), buckets=2, window=2))
        [[1.]
         [2.]]
    """
    name = "lsh_attention"
    _check.flags(name, shared=shared)
    if shared and k is not None:
        raise ValueError(f"{name}: k: expected None with shared queries and keys, got {type(k).__name__}")
    _arrays.attention(name, q, q if shared else k, v, causal=causal, mask=mask, scale=scale)
    parts = factors(name, buckets)
    _check_rotations(name, rotations, q.shape[-1], parts)
    _check.positive_int(name, window=window)
    _check.optional_int(name, chunk=chunk)
    arrays = {"q": jnp.asarray(q), "k": None if shared else jnp.asarray(k), "v": jnp.asarray(v)}
    dtype = _arrays.wide(*(x for x in arrays.values() if x is not None))
    arrays["mask"] = key_mask(name, mask, v)
    whole = {
        "scale": jnp.asarray(1 / math.sqrt(q.shape[-1]) if scale is None else scale, dtype),
        "rotations": jax.lax.stop_gradient(jnp.asarray(rotations)),
    }
    o: Array = each_device(name, (_attend, parts, window, chunk, causal), arrays, OWN, whole, 2)
    return o


OWN = {"q": 2, "k": 2, "v": 2, "mask": 1}
"""Axes that follow the leading ones."""


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _attend(
    parts: tuple[int, ...],
    window: int,
    chunk: int | None,
    causal: bool,
    arrays: dict[str, Any],
    whole: dict[str, Array],
) -> Array:
    """Attend on one device; the mask is (..., m), without keys they are the queries over their lengths."""
    q, k, v, seen = (arrays[a] for a in OWN)
    shared = k is None
    if shared:
        k = unit(q.astype(whole["scale"].dtype))
    bucket = partial(_hash, parts, rotations=whole["rotations"])
    sizes = Sizes(math.prod(parts), window, chunk, causal, shared)
    return bucket_attention(sizes, bucket, q, k, v, seen, whole["scale"])


def _hash(parts: tuple[int, ...], x: Array, rotations: Array) -> Array:
    """Return the bucket of each row in each round, (..., rounds, n)."""
    dtype = _arrays.wide(x, rotations)
    x, rotations = jax.lax.stop_gradient(x).astype(dtype), rotations.astype(dtype)
    x = jnp.where(bad(x)[..., None], 0, x)
    # On every device with all digits: queries and keys that are the same have to stay so.
    turned = jnp.einsum("...nd,rdc->...rnc", x, rotations, precision="highest")
    number, used = jnp.zeros(turned.shape[:-1], jnp.int32), 0
    for part in parts:
        if part > 1:
            own = turned[..., used : used + part // 2]
            number = number * part + jnp.argmax(jnp.concatenate([own, -own], -1), axis=-1).astype(jnp.int32)
            used += part // 2
    return number


def _check_rotations(name: str, rotations: Any, d: int, parts: tuple[int, ...]) -> None:
    """Raise unless rotations are a floating-point array (rounds, d, columns)."""
    if not hasattr(rotations, "shape") or not hasattr(rotations, "dtype"):
        raise ValueError(f"{name}: rotations: expected an array, got {type(rotations).__name__}")
    if not jnp.issubdtype(rotations.dtype, jnp.floating):
        raise ValueError(f"{name}: rotations: expected a real floating-point dtype, got {rotations.dtype}")
    shape, wanted = tuple(rotations.shape), (d, columns(parts))
    if len(shape) != 3 or shape[0] < 1 or shape[1:] != wanted:
        raise ValueError(f"{name}: rotations: expected shape (rounds, {wanted[0]}, {wanted[1]}), got {shape}")
