"""Multi-head latent attention: keys and values of all heads are made of one short vector for each position."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from attnlib import _arrays, _check
from attnlib._sharding import each_device
from attnlib.kernels._heads import lift
from attnlib.kernels.flash import flash_attention
from attnlib.layers._draw import draw
from attnlib.layers.decoding import (
    KVCache,
    _attend,
    _check_cache,
    _check_context,
    _check_prompt,
    _each_device,
    _fill,
    _project,
)

Params = dict[str, Array]
AnyArray = Array | np.ndarray

NAMES = ["w_q", "w_dkv", "g_kv", "w_uk", "w_uv", "w_o"]
NAMES_LOW = ["w_dq", "g_q", "w_uq", *NAMES[1:]]
"""With queries of low rank."""

BASE, EPS = 10_000.0, 1e-6


def init_latent_attention(
    key: Array,
    d: int,
    h: int,
    *,
    rank: int | None = None,
    rank_q: int | None = None,
    d_k: int | None = None,
    d_rope: int | None = None,
    d_v: int | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Params:
    """Draw the parameters of `latent_attention`: normal, with variance one over the fan-in, and gains of one.

    Args:
        key: PRNG key.
        d: model width.
        h: number of heads.
        rank: width of the latent, of which keys and values of all heads are made; 4 d_k by default.
        rank_q: width of a latent of the queries, too; by default they are made of x itself.
        d_k: width of a head's queries and keys without the rotary part; d/h by default.
        d_rope: width of the rotary part, even; d_k/2 by default, rounded up to an even number.
        d_v: width of a head's values; d_k by default.
        dtype: floating dtype of the parameters.

    Returns:
        A dict of w_q (h, d, d_k + d_rope), w_dkv (d, rank + d_rope), g_kv (rank,), w_uk (h, rank, d_k),
        w_uv (h, rank, d_v) and w_o (h, d_v, d); with rank_q, in place of w_q, w_dq (d, rank_q), g_q (rank_q,) and
        w_uq (h, rank_q, d_k + d_rope). Last columns of w_q, w_uq and w_dkv: those of the rotary part.

    Raises:
        ValueError: a size that is not a positive integer, an odd d_rope, heads that do not divide the width, a dtype
            that is not floating.

    Cost: dh(d_k + d_rope) + d(rank + d_rope) + h·rank(d_k + d_v) + h·d_v·d numbers and the gains, without rank_q.

    Source: DeepSeek-AI (2024), section 2.1, whose widths are the defaults.

    Example:
        >>> import jax
        >>> params = init_latent_attention(jax.random.key(0), d=16, h=4, rank=6)
        >>> {name: params[name].shape for name in ("w_q", "w_dkv", "w_uk")}
        {'w_q': (4, 16, 6), 'w_dkv': (16, 8), 'w_uk': (4, 6, 4)}
    """
    name = "init_latent_attention"
    _arrays.prng_key(name, key)
    _check.positive_int(name, d=d, h=h)
    d_k = _check.divides(name, "h", h, "d", d) if d_k is None else d_k
    _check.positive_int(name, d_k=d_k)
    d_v = d_k if d_v is None else d_v
    rank = 4 * d_k if rank is None else rank
    d_rope = 2 * -(-d_k // 4) if d_rope is None else d_rope
    _check.positive_int(name, rank=rank, d_rope=d_rope, d_v=d_v)
    _check.optional_int(name, rank_q=rank_q)
    if d_rope % 2:
        raise ValueError(f"{name}: d_rope: expected an even number, got {d_rope}")
    _arrays.floating_dtype(name, dtype)
    own: dict[str, tuple[tuple[int, ...], int]] = {"w_q": ((h, d, d_k + d_rope), d)}
    gains = {"g_kv": rank}
    if rank_q is not None:
        own = {"w_dq": ((d, rank_q), d), "w_uq": ((h, rank_q, d_k + d_rope), rank_q)}
        gains |= {"g_q": rank_q}
    shapes = own | {
        "w_dkv": ((d, rank + d_rope), d),
        "w_uk": ((h, rank, d_k), rank),
        "w_uv": ((h, rank, d_v), rank),
        "w_o": ((h, d_v, d), h * d_v),
    }
    return draw(key, shapes, dtype) | {g: jnp.ones(size, dtype) for g, size in gains.items()}


def latent_attention(
    params: Params,
    x: Float[AnyArray, "*b n d"],
    *,
    causal: bool = False,
    mask: Bool[AnyArray, "..."] | None = None,
    scale: float | Float[Array, ""] | None = None,
    positions: Int[AnyArray, "..."] | None = None,
    absorbed: bool = False,
) -> Float[Array, "*b n d"]:
    """Attend in heads whose keys and values are all made of one latent vector c of each position.

    c, r = x W_DKV,   c ← norm(c) g_kv,   (q_i, t_i) = x W_Q[i],   k_i = c W_UK[i],   v_i = c W_UV[i],
    out = Σ_i attention((q_i, R t_i), (k_i, R r), v_i) W_O[i],   norm(c) = c / √(mean c² + ε)

    ε is 1e-6. R turns the numbers 2j and 2j + 1 of a vector of width d_rope at position p by the angle
    p · 10000^(−2j/d_rope). With queries of low rank x W_Q[i] is norm(x W_DQ) g_q W_UQ[i]. Absorbed, the same scores
    and sums come of the latents as they are: q_i·(c W_UK[i]) = (q_i W_UK[i]ᵀ)·c, and values are summed before W_UV.

    Args:
        params: as `init_latent_attention` returns them.
        x: positions, shape (..., n, d), any floating dtype.
        causal: as in `attention`.
        mask: boolean, True = may attend, broadcastable to (..., h, n, n).
        scale: factor of the scores; 1/√(d_k + d_rope) by default.
        positions: what R turns by: integers broadcastable to (..., n); 0 to n − 1 by default.
        absorbed: attend to the latents, one head of keys of width rank + d_rope, instead of keys and values of each
            head. Equal but for rounding.

    Returns:
        Array (..., n, d) in x's dtype; norms and rotations are float32 or wider.

    Raises:
        ValueError: a missing or misshapen parameter, positions that are not integers or do not broadcast, and what
            `attention` raises.

    Cost: `cost.latent_attention(n, d, h)`: (5 + 25/h)nd² + 5n²d FLOPs in matrix products with the default widths,
        absorbed (5 + 25/h)nd² + 17n²d; memory grows as that of `flash_attention`, in which it runs.

    Source: DeepSeek-AI (2024), section 2.1; the norms: section 3.1.2; the rotation: Su et al. (2021), section 3.2.2.

    Example:
        >>> import jax
        >>> params = init_latent_attention(jax.random.key(0), d=16, h=4)
        >>> x = jax.random.normal(jax.random.key(1), (5, 16))
        >>> expanded, absorbed = (latent_attention(params, x, causal=True, absorbed=a) for a in (False, True))
        >>> expanded.shape, bool(abs(expanded - absorbed).max() < 1e-5)
        ((5, 16), True)
    """
    name = "latent_attention"
    sizes = _checked(name, params, x)
    _check.flags(name, causal=causal, absorbed=absorbed)
    _arrays.scalar(name, "scale", scale)
    lead, n = x.shape[:-2], x.shape[-2]
    _arrays.boolean_mask(name, mask, (*lead, sizes["h"], n, n))
    _check_positions(name, positions, (*lead, n))
    arrays = {"x": x, "mask": mask, "positions": positions}
    arrays = {a: None if array is None else jnp.asarray(array) for a, array in arrays.items()}
    shared = {w: jnp.asarray(array) for w, array in params.items()}
    if scale is not None:
        shared["scale"] = jnp.asarray(scale, _arrays.wide(arrays["x"]))
    own = {"x": 2, "mask": 3, "positions": 1}
    return cast(Array, each_device(name, (_whole, causal, absorbed), arrays, own, shared, 2))


def latent_prefill(
    params: Params,
    x: Float[AnyArray, "*b n d"],
    cache: KVCache,
    *,
    scale: float | Float[Array, ""] | None = None,
    absorbed: bool = False,
) -> tuple[Float[Array, "*b n d"], KVCache]:
    """Run latent attention on a prompt, causally and all positions at once, and fill an empty cache.

    The output is that of `latent_attention(params, x, causal=True)`, within the window if the cache is a ring.

    Args:
        params: as `init_latent_attention` returns them.
        x: the prompt, shape (..., n, d), any floating dtype.
        cache: an empty one for rotary keys and latents: `decoding.init_cache(capacity, d_rope, d_v=rank)`, with the
            leading axes of x as its batch.
        scale: as in `latent_attention`.
        absorbed: as in `latent_attention`.

    Returns:
        Array (..., n, d) in x's dtype, and the filled cache. Where the length is traced and the cache was not empty,
        the output is NaN, and every output after it.

    Raises:
        ValueError: a missing or misshapen parameter, a cache of other widths, a prompt longer than the capacity of a
            cache that is no ring; a cache known not to be empty.

    Cost: `cost.latent_attention(n, d, h, causal=True)`.

    Source: DeepSeek-AI (2024), section 2.1.

    Example:
        >>> import jax
        >>> from attnlib import decoding
        >>> params = init_latent_attention(jax.random.key(0), d=16, h=4, rank=6, d_rope=2)
        >>> y, cache = latent_prefill(params, jax.numpy.ones((5, 16)), decoding.init_cache(9, 2, d_v=6))
        >>> y.shape, int(cache.length)
        ((5, 16), 5)
    """
    name = "latent_prefill"
    sizes = _checked(name, params, x)
    _check.flags(name, absorbed=absorbed)
    _arrays.scalar(name, "scale", scale)
    _check_cache(name, cache, tuple(x.shape[:-2]), 1, sizes["d_rope"], sizes["rank"])
    _check_prompt(name, x, cache)
    return _each_device(name, (_prefill, absorbed), {"x": jnp.asarray(x)}, 2, cache, params, scale)


def latent_step(
    params: Params,
    x: Float[AnyArray, "*b 1 d"],
    cache: KVCache,
    *,
    scale: float | Float[Array, ""] | None = None,
    context: int | None = None,
    absorbed: bool = True,
) -> tuple[Float[Array, "*b 1 d"], KVCache]:
    """Run latent attention for the next position: it reads the cache and adds its own latent and rotary key.

    The cache holds rank + d_rope numbers for each position, whatever the number of heads: a latent is read for its
    keys and for its values.

    Args:
        params: as `init_latent_attention` returns them.
        x: the position, shape (..., 1, d), any floating dtype.
        cache: as in `latent_prefill`, with the positions before it; their number is the position of x.
        scale: as in `latent_attention`.
        context: as in `decoding.attend`.
        absorbed: attend to the latents as they are. Otherwise every step makes keys and values of all of them anew.

    Returns:
        Array (..., 1, d) in x's dtype, and the cache with one position more; NaN as in `decoding.attend`.

    Raises:
        ValueError: a missing or misshapen parameter, a cache of other widths, and what `decoding.attend` raises.

    Cost: `cost.latent_step(t, d, h)`: 2ht(2 rank + d_rope) FLOPs in matrix products with t slots read, and those of
        the projections.

    Source: DeepSeek-AI (2024), section 2.1 and appendix C.

    Example:
        >>> import jax
        >>> from attnlib import decoding
        >>> params = init_latent_attention(jax.random.key(0), d=16, h=4, rank=6, d_rope=2)
        >>> run = jax.jit(latent_step, donate_argnums=2)
        >>> y, cache = run(params, jax.numpy.ones((1, 16)), decoding.init_cache(9, 2, d_v=6))
        >>> y.shape, int(cache.length), (cache.k.size + cache.v.size) // cache.capacity
        ((1, 16), 1, 8)
    """
    name = "latent_step"
    sizes = _checked(name, params, x)
    _check.flags(name, absorbed=absorbed)
    _arrays.scalar(name, "scale", scale)
    _check_cache(name, cache, tuple(x.shape[:-2]), 1, sizes["d_rope"], sizes["rank"])
    if x.shape[-2] != 1:
        raise ValueError(f"{name}: x: expected one position, (..., 1, d), got shape {x.shape}")
    context = _check_context(name, cache, context)
    return _each_device(name, (_step, context, absorbed), {"x": jnp.asarray(x)}, 2, cache, params, scale)


# --- what runs ------------------------------------------------------------------------------------------------------

Heads = Callable[[Array, Array], Array]
"""Positions (..., n, d) times a matrix of each head (h, d, k): (..., h, n, k)."""


def _whole(causal: bool, absorbed: bool, arrays: dict[str, Any], params: Params) -> Array:
    x, positions = arrays["x"], arrays["positions"]
    positions = jnp.arange(x.shape[-2], dtype=jnp.int32) if positions is None else positions
    return _attend_all(absorbed, x, params, positions, causal=causal, mask=arrays["mask"])[0]


def _attend_all(
    absorbed: bool, x: Array, params: Params, positions: Array, **options: Any
) -> tuple[Array, Array, Array]:
    """Return the output, the rotary keys (..., n, d_rope) and the latents (..., n, rank)."""
    p = {w: array.astype(x.dtype) for w, array in params.items()}
    q, turned, latent, key = _queries_and_latents(_each, x, p, positions)
    keys, one = key[..., None, :, :], latent[..., None, :, :]
    if absorbed:
        q, k, v = jnp.einsum("...hnk,hrk->...hnr", q, p["w_uk"]), one, one
    else:
        k, v = _each(latent, p["w_uk"]), _each(latent, p["w_uv"])
        keys = jnp.broadcast_to(keys, (*k.shape[:-1], keys.shape[-1]))
    q, k = jnp.concatenate([q, turned], axis=-1), jnp.concatenate([k, keys], axis=-1)
    o = cast(Array, flash_attention(q, k, v, scale=_scale(params), **options))
    if absorbed:
        o = jnp.einsum("...hnr,hrv->...hnv", o, p["w_uv"])
    return jnp.einsum("...hnv,hvd->...nd", o, p["w_o"]), key, latent


def _prefill(absorbed: bool, arrays: dict[str, Array], cache: KVCache, params: Params) -> tuple[Array, KVCache]:
    x = arrays["x"]
    positions = jnp.arange(x.shape[-2], dtype=jnp.int32)
    weights = {w: array for w, array in params.items() if w != "cache.length"}
    window = cache.capacity if cache.ring else None
    y, key, latent = _attend_all(absorbed, x, weights, positions, causal=True, window=window)
    return _fill(y, key, latent, cache)


def _step(
    context: int, absorbed: bool, arrays: dict[str, Array], cache: KVCache, params: Params
) -> tuple[Array, KVCache]:
    x = arrays["x"]
    p = {w: array.astype(x.dtype) for w, array in params.items() if w != "cache.length"}
    wide = _arrays.wide(x, cache.k)
    q, turned, latent, key = _queries_and_latents(_project, x, p, cache.length[None])
    if absorbed:
        q = jnp.einsum("...hnk,hrk->...hnr", q, p["w_uk"])
    w_uk, w_uv = (p[w].astype(wide) for w in ("w_uk", "w_uv"))

    def meet(q: Array, keys: Array, latents: Array) -> Array:
        """Return the scores (sequences, h, slots) of both parts."""
        q, turned = q[..., : -keys.shape[-2]], q[..., -keys.shape[-2] :]
        if absorbed:
            return turned @ keys + jnp.einsum("bhr,btr->bht", q, latents)
        return turned @ keys + jnp.einsum("bhk,bhtk->bht", q, _each(latents, w_uk))

    def read(weights: Array, latents: Array) -> Array:
        return weights @ latents if absorbed else jnp.einsum("bht,bhtv->bhv", weights, _each(latents, w_uv))

    q = jnp.concatenate([q, turned], axis=-1)
    o, cache = _attend(q, key, latent, cache, _scale(params), context, meet, read)
    if absorbed:
        o = jnp.einsum("...hnr,hrv->...hnv", o, p["w_uv"])
    return jnp.einsum("...hnv,hvd->...nd", o, p["w_o"]), cache


def _each(x: Array, w: Array) -> Array:
    return jnp.einsum("...nd,hdk->...hnk", x, w)


def _queries_and_latents(each: Heads, x: Array, p: Params, positions: Array) -> tuple[Array, Array, Array, Array]:
    """Return queries (..., h, n, d_k) and their rotary part, latents (..., n, rank) and rotary keys."""
    (_, rank, d_k), wide = p["w_uk"].shape, _arrays.wide(x)
    low = "w_dq" in p
    q = each(_norm(x @ p["w_dq"], p["g_q"]) if low else x, p["w_uq" if low else "w_q"])
    both = x @ p["w_dkv"]
    latent, key = both[..., :rank], both[..., rank:]
    d_rope = key.shape[-1]
    turns = jnp.asarray(BASE ** (-np.arange(0, d_rope, 2) / d_rope), wide)
    angles = positions.astype(wide)[..., None] * lift(turns, positions.ndim + 1)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    cos, sin = jnp.stack([cos, cos], axis=-1), jnp.stack([-sin, sin], axis=-1)
    turned = _rotated(q[..., d_k:], cos[..., None, :, :, :], sin[..., None, :, :, :])
    return q[..., :d_k], turned, _norm(latent, p["g_kv"]), _rotated(key, cos, sin)


def _rotated(x: Array, cos: Array, sin: Array) -> Array:
    """Turn pairs of neighbours in x (..., n, d) by angles, whose cosines and ∓ sines are (..., n, d/2, 2)."""
    pairs = x.astype(cos.dtype).reshape(*x.shape[:-1], -1, 2)
    turned = pairs * lift(cos, x.ndim + 1) + jnp.flip(pairs, axis=-1) * lift(sin, x.ndim + 1)
    return turned.reshape(x.shape).astype(x.dtype)


@jax.checkpoint
def _norm(x: Array, gain: Array) -> Array:
    """Divide x by its root mean square, in float32 or wider, and multiply by the gain. Gradients keep x alone."""
    wide = x.astype(_arrays.wide(x))
    wide = wide / jnp.sqrt((wide * wide).mean(axis=-1, keepdims=True) + EPS)
    return (wide * jnp.broadcast_to(gain, x.shape).astype(wide.dtype)).astype(x.dtype)


def _scale(params: Params) -> Any:
    w = "w_uq" if "w_uq" in params else "w_q"
    return params["scale"] if "scale" in params else 1 / math.sqrt(params[w].shape[-1])


# --- checks ---------------------------------------------------------------------------------------------------------


def _check_positions(name: str, value: Any, shape: tuple[int, ...]) -> None:
    """Raise unless `value` is None or an array of integers that broadcasts to `shape`, the last axis that of n."""
    if value is None:
        return
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        raise ValueError(f"{name}: positions: expected an array of integers, got {type(value).__name__}")
    if not jnp.issubdtype(value.dtype, jnp.integer):
        raise ValueError(f"{name}: positions: expected an array of integers, got {value.dtype}")
    if value.shape[-1:] != shape[-1:] or not _check.fits(value.shape, shape):
        raise ValueError(
            f"{name}: positions: expected a shape that ends with n = {shape[-1]} and broadcasts to {shape}, "
            f"got {value.shape}"
        )


def _checked(name: str, params: Any, x: Any) -> dict[str, int]:
    """Check parameters and x against one another; return the sizes that the parameters have."""
    _arrays.floating(name, x=x)
    _check.rank_at_least(name, 2, "(..., n, d)", x=x)
    low = isinstance(params, dict) and "w_dq" in params
    _arrays.params(name, params, NAMES_LOW if low else NAMES)
    for w, rank in {"w_dkv": 2, "w_uk": 3, "w_uv": 3, **({"w_dq": 2} if low else {})}.items():
        if params[w].ndim != rank:
            raise ValueError(f"{name}: {w}: expected {rank} axes, got shape {params[w].shape}")
    (d, both), (h, rank, d_k), d_v = params["w_dkv"].shape, params["w_uk"].shape, params["w_uv"].shape[-1]
    d_rope = both - rank
    if d != x.shape[-1]:
        w = params["w_dkv"].shape
        raise ValueError(f"{name}: x: expected width d = {d} as in w_dkv {w}, got shape {x.shape}")
    if d_rope < 2 or d_rope % 2:
        raise ValueError(
            f"{name}: w_dkv: expected shape (d, rank + d_rope) with rank = {rank} as in w_uk and an even d_rope of "
            f"at least 2, got {params['w_dkv'].shape}"
        )
    shapes = {"g_kv": (rank,), "w_uv": (h, rank, d_v), "w_o": (h, d_v, d)}
    if low:
        rank_q = params["w_dq"].shape[1]
        shapes |= {"w_dq": (d, rank_q), "g_q": (rank_q,), "w_uq": (h, rank_q, d_k + d_rope)}
    else:
        shapes |= {"w_q": (h, d, d_k + d_rope)}
    for w, shape in shapes.items():
        if params[w].shape != shape:
            raise ValueError(f"{name}: {w}: expected shape {shape}, got {params[w].shape}")
    return {"h": h, "rank": rank, "d_rope": d_rope}
