"""Generation one position at a time: a cache of keys and values, filled by a prompt and read by every step.

Shapes never change, so prefill and step compile once. A full cache is refused where its length is known, and where it
is not, inside `jit`, every output is NaN from there on: nothing is overwritten and nothing is silently wrong. A ring
forgets instead, as asked. `jax.jit(step, donate_argnums=2)` updates the cache in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from attnlib import _arrays, _check
from attnlib._sharding import MERGED, each_device
from attnlib.kernels.flash import flash_attention
from attnlib.layers.multihead import check_parameters

Params = dict[str, Array]
AnyArray = Array | np.ndarray


@partial(jax.tree_util.register_dataclass, data_fields=["k", "v", "length"], meta_fields=["ring", "batch"])
@dataclass(frozen=True)
class KVCache:
    """The keys and values of the positions so far. A pytree: it goes through `jit`, `vmap` and donation.

    Attributes:
        k: keys, (heads, d_k, capacity): transposed, so that a step reads them as one stream. The heads of all
            sequences are one axis, as the products want it: with more axes XLA would copy the cache at each step.
        v: values, (heads, capacity, d_v).
        length: positions seen, an int32 without axes; more than the capacity after an overflow (or in a ring), and
            −1 after a prefill of a cache that was not empty. `vmap` over caches gives each sequence its own.
        ring: whether position t takes the slot t mod capacity and the oldest is forgotten.
        batch: leading axes of what it serves; heads = Π batch · h_kv.
    """

    k: Any
    v: Any
    length: Any
    ring: bool
    batch: tuple[int, ...] = ()

    @property
    def capacity(self) -> int:
        """Positions that fit."""
        return int(self.v.shape[-2])


def init_cache(
    capacity: int,
    d_k: int,
    *,
    d_v: int | None = None,
    h_kv: int = 1,
    batch: tuple[int, ...] = (),
    ring: bool = False,
    dtype: DTypeLike = jnp.float32,
) -> KVCache:
    """Make an empty cache.

    Args:
        capacity: positions that fit; of a ring, the window.
        d_k: width of a head's keys.
        d_v: width of a head's values; d_k by default.
        h_kv: key and value heads: 1 for multi-query, fewer than the query heads for grouped-query attention.
        batch: leading axes of what the cache serves.
        ring: forget the oldest position when full: each query sees the last `capacity` positions, its own included.
        dtype: floating dtype of keys and values.

    Returns:
        A `KVCache` of zeros and length 0.

    Raises:
        ValueError: a size that is not a positive integer, a dtype that is not floating.

    Cost: `cost.kv_cache(capacity, d_k, …)` bytes.

    Source: Shazeer (2019), section 2.4.

    Example:
        >>> cache = init_cache(100, 64, h_kv=8)
        >>> cache.capacity, cache.k.shape, cache.v.shape
        (100, (8, 64, 100), (8, 100, 64))
    """
    name = "decoding.init_cache"
    d_v = d_k if d_v is None else d_v
    _check.positive_int(name, capacity=capacity, d_k=d_k, d_v=d_v, h_kv=h_kv)
    _check.axes(name, "batch", batch)
    _check.flags(name, ring=ring)
    _arrays.floating_dtype(name, dtype)
    heads = math.prod(batch) * h_kv
    k, v = jnp.zeros((heads, d_k, capacity), dtype), jnp.zeros((heads, capacity, d_v), dtype)
    return KVCache(k, v, jnp.zeros((), jnp.int32), ring, batch)


def attend(
    q: Float[AnyArray, "*b h 1 d_k"],
    k: Float[AnyArray, "*b h_kv 1 d_k"],
    v: Float[AnyArray, "*b h_kv 1 d_v"],
    cache: KVCache,
    *,
    scale: float | Float[Array, ""] | None = None,
    context: int | None = None,
) -> tuple[Float[Array, "*b h 1 d_v"], KVCache]:
    """Store one position's keys and values, and attend to all that are stored.

    o = Σ_j e^(s_j − c) v_j / Σ_j e^(s_j − c),   s_j = scale · q·k_j,   c = max_j s_j,   over the slots in use

    Args:
        q: the position's queries, shape (..., h, 1, d_k), any floating dtype.
        k: its keys, shape (..., h_kv, 1, d_k); query head i reads key head ⌊i·h_kv/h⌋.
        v: its values, shape (..., h_kv, 1, d_v).
        cache: positions before it.
        scale: factor of the scores; 1/√d_k by default.
        context: read the first `context` slots alone, a Python integer: the slots in use must be among them. All by
            default. Each value compiles once, so let it grow in powers of two.

    Returns:
        Array (..., h, 1, d_v) in v's dtype, and the cache with one position more. Where the length is traced and the
        cache is full, or `context` too small, the output is NaN; a full cache is left as it is.

    Raises:
        ValueError: wrong shapes or dtypes; a cache known to be full, or a context known to be too small.

    Cost: `cost.decode_step(t, d, h)` has this core: 2hc(d_k + d_v) FLOPs in matrix products for c slots read.

    Source: Shazeer (2019), section 2.4.

    Example:
        >>> import jax.numpy as jnp
        >>> cache, zero = init_cache(2, 1), jnp.zeros((1, 1, 1))
        >>> _, cache = attend(zero, zero, jnp.full((1, 1, 1), 2.0), cache)
        >>> o, cache = attend(zero, zero, jnp.full((1, 1, 1), 4.0), cache)
        >>> print(o[0, 0], cache.length)  # the mean
        [3.] 2
        >>> attend(zero, zero, zero, cache)
        Traceback (most recent call last):
        ...
        ValueError: decoding.attend: cache: expected room for a position, got 2 of 2 in use
    """
    name = "decoding.attend"
    _arrays.floating(name, q=q, k=k, v=v)
    _check.rank_at_least(name, 3, "(..., h, 1, d)", q=q, k=k, v=v)
    for argument, x in {"q": q, "k": k, "v": v}.items():
        if x.shape[-2] != 1:
            raise ValueError(f"{name}: {argument}: expected one position, (..., h, 1, d), got shape {x.shape}")
    lead, h = q.shape[:-3], q.shape[-3]
    _check_cache(name, cache, lead, k.shape[-3], k.shape[-1], v.shape[-1])
    for argument, x in {"k": k, "v": v}.items():
        if x.shape[:-2] != (*lead, k.shape[-3]):
            raise ValueError(f"{name}: {argument}: expected heads {(*lead, k.shape[-3])}, got shape {x.shape}")
    _check.same_axis(name, -1, "d_k", q=q, k=k)
    _check.divides(name, "k", k.shape[-3], "h", h)
    _arrays.scalar(name, "scale", scale)
    context = _check_context(name, cache, context)
    arrays = {"q": jnp.asarray(q), "k": jnp.asarray(k), "v": jnp.asarray(v)}
    return _each_device(name, (_attend_here, context), arrays, 3, cache, {}, scale)


def prefill(
    params: Params,
    x: Float[AnyArray, "*b n d"],
    cache: KVCache,
    *,
    scale: float | Float[Array, ""] | None = None,
) -> tuple[Float[Array, "*b n d"], KVCache]:
    """Run multi-head attention on a prompt, causally and all positions at once, and fill an empty cache.

    The output is that of `multihead_attention(params, x, causal=True)`, within the window if the cache is a ring.

    Args:
        params: w_q (h, d, d_k), w_k (h_kv, d, d_k), w_v (h_kv, d, d_v), w_o (h, d_v, d), as
            `init_multihead_attention` returns them.
        x: the prompt, shape (..., n, d), any floating dtype.
        cache: an empty one, of the same leading axes and heads.
        scale: factor of the scores; 1/√d_k by default.

    Returns:
        Array (..., n, d) in x's dtype, and the filled cache. Where the length is traced and the cache was not empty,
        the output is NaN, and every output after it.

    Raises:
        ValueError: wrong shapes or dtypes; a prompt longer than the capacity of a cache that is no ring; a cache
            known not to be empty.

    Cost: 8nd² for the projections and `cost.flash_attention(n, d_k, h=h, causal=True)`, which skips hidden blocks.

    Source: Pope et al. (2022), section 2.

    Example:
        >>> import jax
        >>> from attnlib import init_multihead_attention
        >>> params = init_multihead_attention(jax.random.key(0), d=8, h=2)
        >>> y, cache = prefill(params, jax.numpy.ones((5, 8)), init_cache(10, 4, h_kv=2))
        >>> y.shape, int(cache.length)
        ((5, 8), 5)
    """
    name = "decoding.prefill"
    _check_layer(name, params, x, cache)
    _arrays.scalar(name, "scale", scale)
    _check_prompt(name, x, cache)
    return _each_device(name, (_prefill,), {"x": jnp.asarray(x)}, 2, cache, params, scale)


def step(
    params: Params,
    x: Float[AnyArray, "*b 1 d"],
    cache: KVCache,
    *,
    scale: float | Float[Array, ""] | None = None,
    context: int | None = None,
) -> tuple[Float[Array, "*b 1 d"], KVCache]:
    """Run multi-head attention for the next position: it reads the cache and adds its own keys and values.

    Args:
        params: as in `prefill`.
        x: the position, shape (..., 1, d), any floating dtype.
        cache: the positions before it.
        scale: factor of the scores; 1/√d_k by default.
        context: as in `attend`.

    Returns:
        Array (..., 1, d) in x's dtype, and the cache with one position more; NaN as in `attend`.

    Raises:
        ValueError: wrong shapes or dtypes, and what `attend` raises.

    Cost: `cost.decode_step(t, d, h)`: 8d² + 4td FLOPs in matrix products with t slots read. It reads the parameters
        and the cache once; the cache is not copied when it is donated.

    Source: Shazeer (2019), section 2.4.

    Example:
        >>> import jax
        >>> from attnlib import init_multihead_attention
        >>> params = init_multihead_attention(jax.random.key(0), d=8, h=4, h_kv=2)
        >>> run = jax.jit(step, donate_argnums=2)
        >>> y, cache = run(params, jax.numpy.ones((1, 8)), init_cache(10, 2, h_kv=2))
        >>> y.shape, int(cache.length)
        ((1, 8), 1)
    """
    name = "decoding.step"
    _check_layer(name, params, x, cache)
    if x.shape[-2] != 1:
        raise ValueError(f"{name}: x: expected one position, (..., 1, d), got shape {x.shape}")
    _arrays.scalar(name, "scale", scale)
    context = _check_context(name, cache, context)
    return _each_device(name, (_step, context), {"x": jnp.asarray(x)}, 2, cache, params, scale)


def _each_device(
    name: str,
    call: tuple[Any, ...],
    arrays: dict[str, Array],
    own: int,
    cache: KVCache,
    params: Params,
    scale: Any,
) -> tuple[Array, KVCache]:
    """Return fn(*static, arrays, cache, shared), (fn, *static) = call, on each device's part of the batch."""
    wide = _arrays.wide(*arrays.values(), cache.k)
    shared = {w: jnp.asarray(array) for w, array in params.items()} | {"cache.length": jnp.asarray(cache.length)}
    if scale is not None:
        shared["scale"] = jnp.asarray(scale, wide)
    axes = dict.fromkeys(arrays, own) | {"cache.k": MERGED, "cache.v": MERGED}
    parts = arrays | {"cache.k": jnp.asarray(cache.k), "cache.v": jnp.asarray(cache.v)}
    call = (_with_cache, call, own, cache.ring)
    o, k, v, length = each_device(name, call, parts, axes, shared, (own, MERGED, MERGED, 0))
    return o, replace(cache, k=k, v=v, length=length)


def _with_cache(
    call: tuple[Any, ...], own: int, ring: bool, arrays: dict[str, Array], shared: dict[str, Array]
) -> tuple[Array, Array, Array, Array]:
    lead = next(iter(arrays.values())).shape[:-own]
    cache = KVCache(arrays["cache.k"], arrays["cache.v"], shared["cache.length"], ring, lead)
    o, cache = call[0](*call[1:], arrays, cache, shared)
    return o, cache.k, cache.v, cache.length


_barrier: Any = jax.lax.optimization_barrier


def _attend_here(
    context: int, arrays: dict[str, Array], cache: KVCache, shared: dict[str, Array]
) -> tuple[Array, KVCache]:
    q, k, v = (arrays[a] for a in "qkv")
    return _attend(q, k, v, cache, shared.get("scale"), context)


def _prefill(arrays: dict[str, Array], cache: KVCache, params: Params) -> tuple[Array, KVCache]:
    x, scale, (h_kv, h) = arrays["x"], params.get("scale"), (len(params[w]) for w in ("w_k", "w_q"))
    lead, n = x.shape[:-2], x.shape[-2]
    w_q, w_k, w_v, w_o = (params[w].astype(x.dtype) for w in ("w_q", "w_k", "w_v", "w_o"))
    q, k, v = (jnp.einsum("...nd,hdk->...hnk", x, w) for w in (w_q, w_k, w_v))
    grouped = q.reshape(*lead, h_kv, h // h_kv, n, -1)
    window = cache.capacity if cache.ring else None
    o = flash_attention(grouped, k[..., None, :, :], v[..., None, :, :], causal=True, scale=scale, window=window)
    o = cast(Array, o)  # without `return_lse` it is no tuple
    return _fill(jnp.einsum("...hnk,hkd->...nd", o.reshape(*lead, h, n, -1), w_o), k, v, cache)


def _fill(y: Array, k: Array, v: Array, cache: KVCache) -> tuple[Array, KVCache]:
    """Return the output y, NaN unless the cache is empty, and the cache filled with k (..., n, d_k) and v."""
    empty, n, c = cache.length == 0, k.shape[-2], cache.capacity
    # Position t lies in slot t mod c: the last c of a longer prompt, turned.
    keep = min(n, c)
    k, v = (jnp.roll(a[..., n - keep :, :], n % c if keep == c else 0, axis=-2) for a in (k, v))
    k, v = (a.reshape(-1, *a.shape[-2:]) for a in (k, v))
    k = jnp.where(empty, k.swapaxes(-1, -2).astype(cache.k.dtype), cache.k[..., :keep])
    v = jnp.where(empty, v.astype(cache.v.dtype), cache.v[:, :keep])
    filled = replace(
        cache,
        k=jax.lax.dynamic_update_slice_in_dim(cache.k, k, 0, axis=2),
        v=jax.lax.dynamic_update_slice_in_dim(cache.v, v, 0, axis=1),
        length=jnp.where(empty, n, -1).astype(jnp.int32),
    )
    return jnp.where(empty, y, jnp.nan), filled


def _step(context: int, arrays: dict[str, Array], cache: KVCache, params: Params) -> tuple[Array, KVCache]:
    x, scale = arrays["x"], params.get("scale")
    lead, h = x.shape[:-2], len(params["w_q"])
    w_q, w_k, w_v, w_o = (params[w].astype(x.dtype) for w in ("w_q", "w_k", "w_v", "w_o"))
    o, cache = _attend(_project(x, w_q), _project(x, w_k), _project(x, w_v), cache, scale, context)
    return jnp.einsum("...hnk,hkd->...nd", o.reshape(*lead, h, 1, -1).astype(x.dtype), w_o), cache


def _project(x: Array, w: Array) -> Array:
    """Return one position (..., 1, d) times a matrix of each head, (..., h, 1, k)."""
    rows = x.reshape(1, -1, x.shape[-1])
    # One product a head. The barrier keeps XLA from making one product of all heads, for which it would write
    # every matrix anew at each step: that alone takes as long as reading the cache.
    each: Array = _barrier(jnp.broadcast_to(rows, (len(w), *rows.shape[1:])))
    return jnp.moveaxis(each @ w, 0, 1).reshape(*x.shape[:-2], len(w), 1, -1)


def _attend(
    q: Array,
    k: Array,
    v: Array,
    cache: KVCache,
    scale: Any,
    context: int,
    meet: Callable[[Array, Array, Array], Array] = lambda q, keys, _: q @ keys,
    read: Callable[[Array, Array], Array] = jnp.matmul,
) -> tuple[Array, KVCache]:
    """Store k and v, and attend: scores are meet(q, keys, values), and read(p, values) sums values with weights p."""
    lead = q.shape[:-1]
    heads, d_k, c = cache.k.shape
    wide = _arrays.wide(q, cache.k)
    t = cache.length
    full = (t < 0) if cache.ring else (t < 0) | (t >= c)
    slot = t % c if cache.ring else jnp.clip(t, 0, c - 1)
    keys = _write(cache.k, k.reshape(heads, d_k, 1), slot, -1, full)
    values = _write(cache.v, v.reshape(heads, 1, -1), slot, -2, full)
    # With one head XLA would write twice, once for the cache and once for what reads it, each into a copy of its own.
    keys, values = _barrier((keys, values))
    # The queries of a group as rows: two plain products, which read the cache once.
    q = (q.astype(wide) * jnp.asarray(1 / math.sqrt(d_k) if scale is None else scale, wide)).reshape(
        heads, -1, q.shape[-1]
    )
    read_keys, read_values = keys[..., :context].astype(wide), values[:, :context].astype(wide)
    s = meet(q, read_keys, read_values)
    used = jnp.minimum(t + 1, c)
    seen = jax.lax.broadcasted_iota(jnp.int32, s.shape, 2) < used
    s = jnp.where(seen, s, -jnp.inf)
    p = jnp.exp(s - s.max(axis=-1, keepdims=True))
    o = read(p, read_values) / p.sum(axis=-1, keepdims=True)
    o = jnp.where(full | (used > context), jnp.nan, o).astype(v.dtype).reshape(*lead, o.shape[-1])
    return o, replace(cache, k=keys, v=values, length=jnp.where(t < 0, t, t + 1))


def _write(array: Array, new: Array, slot: Array, axis: int, refuse: Array) -> Array:
    """Put one position into its slot, or leave the slot as it is."""
    axis += array.ndim
    old = jax.lax.dynamic_slice_in_dim(array, slot, 1, axis)
    new = jnp.where(refuse, old, new.astype(array.dtype))
    return jax.lax.dynamic_update_slice_in_dim(array, new, slot, axis)


def _known(length: Any) -> int | None:
    """Return a length that is not traced."""
    return None if isinstance(length, jax.core.Tracer) else int(length)


def _check_cache(name: str, cache: Any, lead: tuple[int, ...], h_kv: int, d_k: int, d_v: int) -> None:
    if not isinstance(cache, KVCache):
        raise ValueError(f"{name}: cache: expected a KVCache, got {type(cache).__name__}")
    if cache.batch != lead:
        raise ValueError(f"{name}: cache: expected one for the leading axes {lead}, got one for {cache.batch}")
    c, heads = cache.capacity, math.prod(lead) * h_kv
    for part, array, shape in (("k", cache.k, (heads, d_k, c)), ("v", cache.v, (heads, c, d_v))):
        if array.shape != shape:
            raise ValueError(f"{name}: cache: expected {part} of shape {shape}, got {array.shape}")
    if cache.length.shape:
        raise ValueError(f"{name}: cache: expected a length without axes (use vmap), got shape {cache.length.shape}")


def _check_context(name: str, cache: KVCache, context: Any) -> int:
    """Check that there is room and that the context holds what is in use; return the context."""
    c, known = cache.capacity, _known(cache.length)
    if known is not None and (known < 0 or (known >= c and not cache.ring)):
        got = f"{min(known, c)} of {c} in use" if known >= 0 else "one that was filled twice"
        raise ValueError(f"{name}: cache: expected room for a position, got {got}")
    if context is None:
        return c
    _check.positive_int(name, context=context)
    used = 1 if known is None else min(known + 1, c)
    if not used <= context <= c:
        raise ValueError(f"{name}: context: expected {used} to {c} slots, got {context}")
    return int(context)


def _check_prompt(name: str, x: Any, cache: KVCache) -> None:
    """Check that a prompt fits, and that the cache is empty as far as is known."""
    n, c = x.shape[-2], cache.capacity
    if n > c and not cache.ring:
        raise ValueError(f"{name}: x: expected at most {c} positions, the capacity of the cache, got {n}")
    known = _known(cache.length)
    if known is not None and known != 0:
        raise ValueError(f"{name}: cache: expected an empty one, got one of length {known}")


def _check_layer(name: str, params: Any, x: Any, cache: Any) -> None:
    """Check parameters, x and cache against one another."""
    _arrays.floating(name, x=x)
    _check.rank_at_least(name, 2, "(..., n, d)", x=x)
    _, h_kv = check_parameters(name, params, x)
    lead = tuple(x.shape[:-2])
    _check_cache(name, cache, lead, h_kv, params["w_k"].shape[-1], params["w_v"].shape[-1])
