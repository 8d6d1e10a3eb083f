"""What every linear mechanism does around the engine of `_sums`: checks, one call, and steps that keep a state."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attnlib import _arrays, _check
from attnlib._sharding import each_device
from attnlib.cost.linear import chunk_size
from attnlib.kernels._sums import Plan, arrange, attend


class State(NamedTuple):
    """All that causal linear attention remembers of the past, however long: two sums over the keys so far.

    A JAX pytree. `np.savez(file, **state._asdict())` saves it, `State(**np.load(file))` loads it.

    Attributes:
        s: Σ_j φ(k_j) v_jᵀ, shape (..., D, d_v), float32 or wider.
        z: Σ_j φ(k_j), shape (..., D): what the outputs are divided by is φ(q)·z.

    Example:
        >>> import jax.numpy as jnp
        >>> State(jnp.zeros((4, 3)), jnp.zeros(4)).s.shape
        (4, 3)
    """

    s: Array
    z: Array


def check_arguments(
    name: str, q: Any, k: Any, v: Any, causal: Any, mask: Any, scale: Any, chunk: Any
) -> tuple[int, ...]:
    """Check what every linear mechanism takes; return the common leading axes."""
    _check.optional_int(name, chunk=chunk)
    return _arrays.attention(name, q, k, v, causal=causal, mask=mask, scale=scale)


def key_mask(name: str, mask: Any, k: Any) -> Array | None:
    """Return a checked mask as (..., m), or raise when it differs between queries."""
    if mask is None:
        return None
    mask = jnp.asarray(mask)
    mask = mask.reshape((1,) * (2 - mask.ndim) + mask.shape)
    if mask.shape[-2] > 1:
        raise ValueError(
            f"{name}: mask: expected one row for all queries, broadcastable to (..., 1, m): the sums over "
            f"keys are the same for every query, got shape {mask.shape}"
        )
    return jnp.broadcast_to(mask[..., 0, :], (*mask.shape[:-2], k.shape[-2]))


OWN = {"q": 2, "k": 2, "v": 2, "mask": 1, "state.s": 2, "state.z": 1}
"""Axes that follow the leading ones."""


def run(
    name: str,
    kernel: Any,
    consts: list[Array],
    q: Any,
    k: Any,
    v: Any,
    mask: Array | None,
    causal: bool,
    chunk: int | None,
    state: State | None,
) -> tuple[Array, Any]:
    """Attend with any kernel of `_sums`; with a state, also return the state after the last key, as it came."""
    arrays = {"q": jnp.asarray(q), "k": jnp.asarray(k), "v": jnp.asarray(v), "mask": mask}
    results: Any = (2, None)
    if state is not None:
        axes: Any = State  # a tree of their numbers
        arrays, results = arrays | {"state.s": state.s, "state.z": state.z}, (2, axes(2, 1))
    shared = {"scale": consts[0], "feature_map": consts[1:]}
    out: tuple[Array, Any] = each_device(name, (attend_heads, kernel, causal, chunk), arrays, OWN, shared, results)
    return out


def attend_heads(
    kernel: Any, causal: bool, chunk: int | None, arrays: dict[str, Any], shared: dict[str, Any]
) -> tuple[Array, Any]:
    """Attend on one device, in its part of the leading axes."""
    q, k, v, mask = (arrays[a] for a in ("q", "k", "v", "mask"))
    consts = [shared["scale"], *shared["feature_map"]]
    state = State(arrays["state.s"], arrays["state.z"]) if "state.s" in arrays else None
    rows, g, index, restore = arrange(q, k, v, mask)
    n, m = q.shape[-2], k.shape[-2]
    example = shape_of((1, k.shape[-1]), consts[0].dtype)
    features = jax.eval_shape(kernel.key, example, *consts).shape[0]
    sums = None if state is None else tuple(x.reshape(-1, *x.shape[state.z.ndim - 1 :]) for x in state)
    plan = Plan(kernel, g, n, m, chunk_size(features, chunk), causal, state is not None)
    o, sums = attend(plan, index, (consts, *rows, sums))
    if state is None:
        return restore(o), None
    new = (x.reshape(old.shape).astype(old.dtype) for x, old in zip(sums, state, strict=True))
    return restore(o), State(*new)


def step(
    name: str, kernel: Any, consts: list[Array], state: Any, q: Any, k: Any, v: Any, chunk: int | None
) -> tuple[Array, State]:
    """Check the state, attend, and return it in the shape and dtype in which it came."""
    if q.shape[-2] != k.shape[-2]:
        raise ValueError(f"{name}: k: expected n = {q.shape[-2]} new keys as in q, got {k.shape[-2]}")
    if not isinstance(state, tuple) or len(state) != 2:
        raise ValueError(f"{name}: state: expected a State of two arrays, got {type(state).__name__}")
    state = State(*state)
    _arrays.floating(name, **{"state.s": state.s, "state.z": state.z})
    for part, x in state._asdict().items():
        if _arrays.narrow(x.dtype):
            raise ValueError(
                f"{name}: state.{part}: expected float32 or float64: a narrower sum stops growing, got {x.dtype}"
            )
    features = jax.eval_shape(kernel.key, shape_of((1, k.shape[-1]), consts[0].dtype), *consts).shape[0]
    lead = np.broadcast_shapes(k.shape[:-2], v.shape[:-2])
    got = tuple(state.s.shape), tuple(state.z.shape)
    if got != ((*lead, features, v.shape[-1]), (*lead, features)):
        raise ValueError(
            f"{name}: state: expected s {(*lead, features, v.shape[-1])} and z {(*lead, features)} "
            f"for these keys and values, got {got[0]} and {got[1]}"
        )
    state = State(*(jnp.asarray(x) for x in state))
    return run(name, kernel, consts, q, k, v, None, True, chunk, state)


def empty(name: str, features: int, d_v: int, lead: Any, dtype: Any) -> State:
    """Return a state of zeros."""
    _check.axes(name, "lead", lead)
    return State(jnp.zeros((*lead, features, d_v), dtype), jnp.zeros((*lead, features), dtype))


def wide_enough(name: str, dtype: Any) -> None:
    """Raise unless sums may be kept in `dtype`."""
    _arrays.floating_dtype(name, dtype)
    if _arrays.narrow(dtype):
        raise ValueError(f"{name}: dtype: expected float32 or float64: a narrower sum stops growing, got {dtype!r}")


def shape_of(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return an array without numbers."""
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call, unused-ignore]
