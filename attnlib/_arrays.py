"""Checks of arguments that are arrays, and what several kernels and layers do to them first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnlib import _check


def floating(function: str, **arrays: Any) -> None:
    """Raise unless every argument is an array of real floating-point numbers, with no empty axis."""
    for name, x in arrays.items():
        if not hasattr(x, "shape") or not hasattr(x, "dtype"):
            raise ValueError(f"{function}: {name}: expected an array, got {type(x).__name__}")
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(f"{function}: {name}: expected a real floating-point dtype, got {x.dtype}")
        if 0 in x.shape:
            raise ValueError(f"{function}: {name}: expected no axis of length 0, got shape {x.shape}")


def attention(function: str, q: Any, k: Any, *v: Any, causal: Any, mask: Any, scale: Any) -> tuple[int, ...]:
    """Check the arguments that every kind of attention has, and return the common leading axes; v may be left out."""
    arrays = dict(zip("qkv", (q, k, *v), strict=False))
    floating(function, **arrays)
    _check.rank_at_least(function, 2, "(..., n, d)", **arrays)
    _check.same_axis(function, -1, "d_k", q=q, k=k)
    if v:
        _check.same_axis(function, -2, "m", k=k, v=v[0])
    lead = _check.broadcastable(function, **{a: x.shape[:-2] for a, x in arrays.items()})
    _check.flags(function, causal=causal)
    scalar(function, "scale", scale)
    boolean_mask(function, mask, (*lead, q.shape[-2], k.shape[-2]))
    return lead


def boolean_mask(function: str, mask: Any, shape: tuple[int, ...], name: str = "mask") -> None:
    """Raise unless `mask` is None or a boolean array that broadcasts to `shape` without enlarging it."""
    if mask is None:
        return
    if not hasattr(mask, "shape") or not hasattr(mask, "dtype"):
        raise ValueError(f"{function}: {name}: expected a boolean array, got {type(mask).__name__}")
    if mask.dtype != jnp.bool_:
        raise ValueError(f"{function}: {name}: expected dtype bool (True = may attend), got {mask.dtype}")
    if not _check.fits(mask.shape, shape):
        raise ValueError(f"{function}: {name}: expected a shape that broadcasts to {shape}, got {mask.shape}")


def lengths(function: str, value: Any, lead: tuple[int, ...]) -> None:
    """Raise unless `value` is None or an array of integers that broadcasts to the leading axes `lead`."""
    if value is None:
        return
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        raise ValueError(f"{function}: lengths: expected an array of integers, got {type(value).__name__}")
    if not jnp.issubdtype(value.dtype, jnp.integer):
        raise ValueError(f"{function}: lengths: expected an array of integers, got {value.dtype}")
    if not _check.fits(value.shape, lead):
        raise ValueError(f"{function}: lengths: expected a shape that broadcasts to {lead}, got {value.shape}")


def segments(function: str, value: Any, lead: tuple[int, ...], n: int, m: int) -> tuple[Any, Any]:
    """Return the ids of n queries and of m keys, or None and None; raise unless they are integers of these shapes."""
    if value is None:
        return None, None
    pair = value if isinstance(value, tuple) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{function}: segments: expected an array or a pair of arrays, got {len(pair)} of them")
    for x, rows in zip(pair, (n, m), strict=True):
        if not hasattr(x, "shape") or not hasattr(x, "dtype"):
            raise ValueError(f"{function}: segments: expected arrays of integers, got {type(x).__name__}")
        if not jnp.issubdtype(x.dtype, jnp.integer):
            raise ValueError(f"{function}: segments: expected arrays of integers, got {x.dtype}")
        if x.shape[-1:] != (rows,) or not _check.fits(x.shape, (*lead, rows)):
            raise ValueError(
                f"{function}: segments: expected shapes that end with n = {n} and m = {m} and broadcast to the "
                f"leading axes {lead}, a pair if n ≠ m, got {', '.join(str(x.shape) for x in pair)}"
            )
    if pair[0].dtype != pair[1].dtype:
        raise ValueError(f"{function}: segments: expected one dtype, got {pair[0].dtype} and {pair[1].dtype}")
    return jnp.asarray(pair[0]), jnp.asarray(pair[1])


def clipped(lengths: Any, n: int) -> jax.Array:
    """Return checked lengths as int32, no larger than n, whatever integers they are: 2³² − 1 is not −1."""
    lengths = jnp.asarray(lengths)
    return jnp.minimum(lengths, jnp.asarray(min(n, int(np.iinfo(lengths.dtype).max)), lengths.dtype)).astype(
        jnp.int32
    )


def within(lengths: Any, lead: Sequence[int], n: int) -> jax.Array:
    """Return which of n positions exist, (*lead, n), for checked lengths that broadcast to the leading axes."""
    count = jnp.broadcast_to(clipped(lengths, n), (*lead,))[..., None]
    return jax.lax.broadcasted_iota(jnp.int32, (*lead, n), len(lead)) < count


def scalar(function: str, name: str, value: Any) -> None:
    """Raise unless `value` is None, a finite number or a JAX array with no axes, whose value may be traced."""
    if value is None or _check.number(value):
        return
    if isinstance(value, jax.Array | np.ndarray) and value.shape == () and jnp.issubdtype(value.dtype, jnp.floating):
        return
    array = hasattr(value, "dtype") and not isinstance(value, _check.NUMBERS)
    got = f"shape {value.shape}, dtype {value.dtype}" if array else repr(value)
    raise ValueError(f"{function}: {name}: expected a finite real number, got {got}")


def params(function: str, value: Any, names: list[str]) -> None:
    """Raise unless `value` is a dict of exactly these names, of floating-point arrays."""
    if not isinstance(value, dict) or set(value) != set(names):
        got = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise ValueError(f"{function}: params: expected a dict of {', '.join(names)}, got {got}")
    floating(function, **value)


def floating_dtype(function: str, dtype: Any) -> None:
    """Raise unless `dtype` names a real floating-point dtype."""
    try:
        known = jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        known = False
    if not known:
        raise ValueError(f"{function}: dtype: expected a real floating-point dtype, got {dtype!r}")


def prng_key(function: str, key: Any) -> None:
    """Raise unless `key` is one key of `jax.random.key`, or one of the older `jax.random.PRNGKey`."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    new = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and shape == ()
    if not new and not (dtype == jnp.uint32 and shape == jax.random.key_data(jax.random.key(0)).shape):
        got = f"shape {shape}, dtype {dtype}" if dtype is not None else repr(key)
        raise ValueError(f"{function}: key: expected a key of jax.random.key, got {got}")


def narrow(dtype: Any) -> bool:
    """Return whether a long sum in `dtype` would stop growing: whether it is narrower than float32."""
    return bool(jnp.dtype(dtype).itemsize < 4)


def wide(*arrays: Any) -> Any:
    """Return the dtype of scores, features and sums: float64 if one of the arrays is, else float32."""
    return jnp.float64 if any(x.dtype == jnp.float64 for x in arrays) else jnp.float32
