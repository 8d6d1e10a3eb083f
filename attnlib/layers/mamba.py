"""Mamba: the layer around a selective scan."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from attnlib import _arrays, _check
from attnlib._sharding import each_device
from attnlib.kernels._state import wide_enough
from attnlib.layers._draw import draw
from attnlib.layers.s4d import check_state
from attnlib.layers.selective_scan import Plan, plan_of, scan_channels

Params = dict[str, Array]
AnyArray = Array | np.ndarray

NAMES = ["w_in", "w_conv", "b_conv", "w_x", "w_dt", "b_dt", "a_log", "skip", "w_out"]


class MambaState(NamedTuple):
    """All that `mamba` remembers of the past, however long.

    A JAX pytree. `np.savez(file, **state._asdict())` saves it, `MambaState(**np.load(file))` loads it.

    Attributes:
        window: what the convolution read at the last k − 1 positions, shape (..., k − 1, e), float32 or wider.
        h: the states, shape (..., e, N).

    Example:
        >>> import jax.numpy as jnp
        >>> MambaState(jnp.zeros((3, 8)), jnp.zeros((8, 16))).h.shape
        (8, 16)
    """

    window: Array
    h: Array


def init_mamba(
    key: Array,
    d: int,
    *,
    states: int = 16,
    expand: int = 2,
    k: int = 4,
    rank: int | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Params:
    """Draw the parameters of `mamba`: normal, with variance one over the fan-in, but for those of the scan.

    A = −1, −2, …, −N in every channel, D = 1, and a bias whose softplus, Δ without an input, is log-uniform from
    0.001 to 0.1.

    Args:
        key: PRNG key.
        d: model width.
        states: N, states of a channel.
        expand: inner channels for each channel of the model: e = expand · d.
        k: positions of the convolution, 2 or more.
        rank: numbers that Δ is made of; d/16, rounded up, by default.
        dtype: floating dtype of the parameters.

    Returns:
        A dict of w_in (d, 2e), w_conv (k, e), b_conv (e,), w_x (e, rank + 2N), w_dt (rank, e), b_dt (e,),
        a_log (e, N), skip (e,) and w_out (e, d). Columns of w_x: those of Δ, B, C.

    Raises:
        ValueError: a size that is not a positive integer, a dtype that is not floating.

    Cost: (25/4)d² + 6dN + 18d numbers with what is usual.

    Source: Gu and Dao (2023), and the code published with it, whose other weights are uniform.

    Example:
        >>> import jax
        >>> params = init_mamba(jax.random.key(0), 16, states=4)
        >>> {name: params[name].shape for name in ("w_in", "w_x", "w_dt", "a_log")}
        {'w_in': (16, 64), 'w_x': (32, 9), 'w_dt': (1, 32), 'a_log': (32, 4)}
    """
    name = "init_mamba"
    _arrays.prng_key(name, key)
    _check.positive_int(name, d=d, states=states, expand=expand)
    rank = -(-d // 16) if rank is None else rank
    _check.positive_int(name, rank=rank)
    _check.at_least(name, 2, k=k)
    _arrays.floating_dtype(name, dtype)
    e, (key, steps) = expand * d, jax.random.split(key)
    shapes = {
        "w_in": ((d, 2 * e), d),
        "w_conv": ((k, e), k),
        "w_x": ((e, rank + 2 * states), e),
        "w_dt": ((rank, e), rank),
        "w_out": ((e, d), e),
    }
    dt = jnp.exp(jax.random.uniform(steps, (e,), jnp.float32, float(np.log(1e-3)), float(np.log(1e-1))))
    rest = {
        "b_conv": jnp.zeros(e, dtype),
        "b_dt": (dt + jnp.log(-jnp.expm1(-dt))).astype(dtype),  # softplus of this is dt
        "a_log": jnp.broadcast_to(jnp.log(jnp.arange(1, states + 1, dtype=jnp.float32)), (e, states)).astype(dtype),
        "skip": jnp.ones(e, dtype),
    }
    return draw(key, shapes, dtype) | rest


def mamba(
    params: Params, x: Float[AnyArray, "*b n d"], *, chunk: int | None = None, tree: bool | None = None
) -> Float[Array, "*b n d"]:
    """Mix positions by a scan that each position steers: Mamba's block, without the norm and the sum around it.

    u, z = x W_in,   u ← SiLU(conv(u)),   Δ', B, C = u W_x,   Δ = softplus(Δ' W_dt + b_dt),
    y = (scan(u, Δ, −e^(a_log), B, C, D) ∘ SiLU(z)) W_out

    conv is causal and has a kernel of k positions for each channel.

    Args:
        params: as `init_mamba` returns them.
        x: positions, shape (..., n, d), any floating dtype.
        chunk: as in `selective_scan`.
        tree: as in `selective_scan`.

    Returns:
        Array (..., n, d) in x's dtype; Δ and the scan are float32 or wider. Causal to the bit, but for the blocks in
        which a backend's products add up.

    Raises:
        ValueError: a missing or misshapen parameter, an x of wrong rank, width or dtype, a chunk that is not a
            positive integer, a tree that is not a bool.

    Cost: `cost.mamba(n, d)`: (25/2)nd² + 8ndN FLOPs in matrix products with what is usual, and `cost.selective_scan`
        at width 2d.

    Source: Gu and Dao (2023), section 3.4, and the code published with it.

    Example:
        >>> import jax
        >>> params, x = init_mamba(jax.random.key(0), 16), jax.random.normal(jax.random.key(1), (5, 16))
        >>> mamba(params, x).shape
        (5, 16)
    """
    name = "mamba"
    _checked(name, params, x)
    plan = plan_of(name, chunk, tree)
    return _call(name, params, x, None, plan)[0]


def mamba_state(
    d: int,
    *,
    states: int = 16,
    expand: int = 2,
    k: int = 4,
    lead: tuple[int, ...] = (),
    dtype: DTypeLike = jnp.float32,
) -> MambaState:
    """Return the state before the first position: zeros.

    h = 0 (e × N), and k − 1 positions that were zero

    Args:
        d: model width.
        states: N, as in `init_mamba`.
        expand: as in `init_mamba`.
        k: as in `init_mamba`.
        lead: leading axes of x.
        dtype: of the state; float32 or wider.

    Returns:
        A `MambaState` of zeros.

    Raises:
        ValueError: sizes that are not positive integers, a dtype narrower than float32.

    Cost: (N + k − 1)e numbers, whatever came before: `cost.mamba_step`.

    Source: Gu and Dao (2023).

    Example:
        >>> state = mamba_state(16, lead=(2,))
        >>> state.window.shape, state.h.shape
        ((2, 3, 32), (2, 32, 16))
    """
    name = "mamba_state"
    _check.positive_int(name, d=d, states=states, expand=expand)
    _check.at_least(name, 2, k=k)
    _check.axes(name, "lead", lead)
    wide_enough(name, dtype)
    e = expand * d
    return MambaState(jnp.zeros((*lead, k - 1, e), dtype), jnp.zeros((*lead, e, states), dtype))


def mamba_step(
    params: Params,
    x: Float[AnyArray, "*b n d"],
    state: MambaState,
    *,
    chunk: int | None = None,
    tree: bool | None = None,
) -> tuple[Float[Array, "*b n d"], MambaState]:
    """Take n new positions: one to decode, many to read a prompt. Return their outputs and the state after them.

    Any split of a sequence into steps gives what `mamba` gives at once, gradients included.

    Args:
        params: as `init_mamba` returns them.
        x: the new positions, shape (..., n, d).
        state: what earlier calls returned, or `mamba_state`.
        chunk: as in `selective_scan`.
        tree: as in `selective_scan`.

    Returns:
        The outputs (..., n, d) in x's dtype, and the state after the last position, as it came.

    Raises:
        ValueError: as `mamba`; a state that is not a `MambaState` or does not fit x and the parameters.

    Cost: `cost.mamba_step(d)`: (25/2)d² + 8dN FLOPs in matrix products for one position, whatever came before it.

    Source: Gu and Dao (2023).

    Example:
        >>> import jax
        >>> params, x = init_mamba(jax.random.key(0), 16), jax.random.normal(jax.random.key(1), (5, 16))
        >>> first, state = mamba_step(params, x[:4], mamba_state(16))
        >>> last, state = mamba_step(params, x[4:], state)
        >>> bool(abs(last - mamba(params, x)[4:]).max() < 1e-5)
        True
    """
    name = "mamba_step"
    _checked(name, params, x)
    plan = plan_of(name, chunk, tree)
    if not isinstance(state, MambaState):
        raise ValueError(f"{name}: state: expected a MambaState, got {type(state).__name__}")
    (k, e), lead = params["w_conv"].shape, x.shape[:-2]
    for part, shape in (("window", (k - 1, e)), ("h", params["a_log"].shape)):
        check_state(name, getattr(state, part), (*lead, *shape), f"state.{part}")
    y, after = _call(name, params, x, state, plan)
    return y, after


# --- what runs ------------------------------------------------------------------------------------------------------


def _call(name: str, params: Params, x: Any, state: MambaState | None, plan: Plan) -> tuple[Array, Any]:
    arrays: dict[str, Any] = {"x": jnp.asarray(x)}
    results: Any = (2, None)
    if state is not None:
        axes: Any = MambaState  # a tree of their numbers
        results = (2, axes(2, 2))
        arrays |= {"state.window": jnp.asarray(state.window), "state.h": jnp.asarray(state.h)}
    own = {"x": 2, "state.window": 2, "state.h": 2}
    weights = {w: jnp.asarray(array) for w, array in params.items()}
    out: tuple[Array, Any] = each_device(name, (_mamba, plan), arrays, own, weights, results)
    return out


def _mamba(plan: Plan, arrays: dict[str, Any], params: Params) -> tuple[Array, Any]:
    x, window, h = arrays["x"], arrays.get("state.window"), arrays.get("state.h")
    wide, n = _arrays.wide(*arrays.values()), x.shape[-2]
    (k, e), rank, states = params["w_conv"].shape, len(params["w_dt"]), params["a_log"].shape[1]
    p = {w: params[w].astype(x.dtype) for w in ("w_in", "w_x", "w_dt", "w_out")}
    p |= {w: array.astype(wide) for w, array in params.items() if w not in p}
    u, z = jnp.split(x @ p["w_in"], 2, axis=-1)
    before = jnp.zeros((*x.shape[:-2], k - 1, e), wide) if window is None else window.astype(wide)
    u = jnp.concatenate([before, u.astype(wide)], axis=-2)
    after = u[..., n:, :]
    u = _short_convolution(u, p["w_conv"], p["b_conv"])
    selected = u.astype(x.dtype) @ p["w_x"]
    dt, b, c = (selected[..., :rank], selected[..., rank : rank + states], selected[..., rank + states :])
    delta = jax.nn.softplus((dt @ p["w_dt"]).astype(wide) + jnp.broadcast_to(p["b_dt"], u.shape))
    positions = {"u": u, "delta": delta, "b": b, "c": c} | ({} if h is None else {"state": h})
    y, h = scan_channels(plan, positions, {"a": -jnp.exp(p["a_log"]), "skip": p["skip"]})
    y = (y * jax.nn.silu(z.astype(wide))).astype(x.dtype) @ p["w_out"]
    return y, None if window is None else MambaState(after.astype(window.dtype), h)


@jax.checkpoint
def _short_convolution(u: Array, w: Array, bias: Array) -> Array:
    """Return SiLU of the causal convolution of each channel; its k shifted copies are made again, not kept."""
    k, e = w.shape
    shape = (*u.shape[:-2], u.shape[-2] - k + 1, e)
    taps = (u[..., t : t + shape[-2], :] * jnp.broadcast_to(w[t], shape) for t in range(k))
    return jax.nn.silu(sum(taps, jnp.broadcast_to(bias, shape)))


def _checked(name: str, params: Any, x: Any) -> None:
    _arrays.floating(name, x=x)
    _check.rank_at_least(name, 2, "(..., n, d)", x=x)
    _arrays.params(name, params, NAMES)
    for w in ("w_conv", "w_dt", "a_log"):
        if params[w].ndim != 2:
            raise ValueError(f"{name}: {w}: expected two axes, got {params[w].shape}")
    d, (k, e) = x.shape[-1], params["w_conv"].shape
    _check.at_least(f"{name}: w_conv", 2, k=k)
    rank, states = len(params["w_dt"]), params["a_log"].shape[1]
    shapes = {
        "w_in": (d, 2 * e),
        "b_conv": (e,),
        "w_x": (e, rank + 2 * states),
        "w_dt": (rank, e),
        "b_dt": (e,),
        "a_log": (e, states),
        "skip": (e,),
        "w_out": (e, d),
    }
    for w, shape in shapes.items():
        if params[w].shape != shape:
            raise ValueError(f"{name}: {w}: expected shape {shape}, got {params[w].shape}")
