"""Selective state spaces: a linear recurrence whose coefficients the input decides, and Mamba, the layer around."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from attnlib import _arrays, _check
from attnlib._sharding import each_device
from attnlib.cost.selective_scan import CHUNK, cut
from attnlib.kernels._state import wide_enough
from attnlib.layers._draw import draw
from attnlib.layers.s4d import check_state

Params = dict[str, Array]
AnyArray = Array | np.ndarray

OWN = {"u": 2, "delta": 2, "b": 2, "c": 2, "state": 2}
"""Axes that follow the leading ones."""


def selective_scan(
    u: Float[AnyArray, "*#b n d"],
    delta: Float[AnyArray, "*#b n d"],
    a: Float[AnyArray, "d N"],
    b: Float[AnyArray, "*#b n N"],
    c: Float[AnyArray, "*#b n N"],
    skip: Float[AnyArray, " d"] | None = None,
    *,
    chunk: int | None = None,
) -> Float[Array, "*b n d"]:
    """Carry N states along the sequence in each channel, with steps, inputs and readings of each position's own.

    h_t = e^(Δ_t A) ∘ h_{t−1} + Δ_t u_t B_t,   y_t = h_t·C_t + D u_t

    A step Δ_t decides both how much is forgotten and how much is written: near 0 the state stays, a large one starts
    anew. Since coefficients differ between positions, this is no convolution. It is a scan: two steps in a row,
    (Ā, x) then (Ā', x'), are one step (Ā'Ā, Ā'x + x'), and this product is associative. Within a chunk all states
    come from a tree of such products, 2 log₂ c deep; chunks follow one another. The backward pass has the state
    before every chunk and makes those within it again: nothing of length n times N is ever kept.

    The exponential is exact for A (a zero-order hold). B is not held but multiplied by Δ, Euler's rule, as in the
    code that its authors published, where their paper writes (ΔA)⁻¹(e^(ΔA) − 1) ΔB: both agree as Δ goes to 0.

    Args:
        u: inputs, shape (..., n, d), any floating dtype; leading axes of all four broadcast.
        delta: steps Δ, shape (..., n, d), at least 0; no value is looked at, and a negative one grows.
        a: rates A, shape (d, N), below 0.
        b: shape (..., n, N): how an input is written to the N states, alike in every channel.
        c: shape (..., n, N): how the states are read.
        skip: D, shape (d,): what of an input passes by; nothing by default.
        chunk: positions in a chunk; 32 by default. It changes time and memory, and of the result the rounding.

    Returns:
        Array (..., n, d) in u's dtype. All in between is float32 or wider. Causal to the bit.

    Raises:
        ValueError: an array of wrong rank, width or dtype, leading axes that do not broadcast, a chunk that is not a
            positive integer.

    Cost: `cost.selective_scan(n, d)`: no matrix product; 6ndN FLOPs as the formula has it, about three times as many
        in a tree; memory for one chunk, and backward nd + (n/chunk)dN numbers.

    Source: Gu and Dao (2023), algorithm 2.

    Example:
        >>> import jax.numpy as jnp
        >>> one = jnp.ones((3, 1))
        >>> delta = jnp.array([[1.0], [0.0], [4.0]])  # write, wait, write four times and forget almost all
        >>> print((1e3 * selective_scan(one, delta, -jnp.ones((1, 1)), one, one)[:, 0]).round())
        [1000. 1000. 4018.]
    """
    name = "selective_scan"
    arrays = _checked(name, u, delta, a, b, c, skip, chunk)
    return _call(name, arrays, a, skip, chunk)[0]


def selective_scan_state(
    d: int, states: int, *, lead: tuple[int, ...] = (), dtype: DTypeLike = jnp.float32
) -> Float[Array, "..."]:
    """Return the state before the first position: zeros.

    h = 0 (d × N)

    Args:
        d: channels.
        states: N, states of a channel.
        lead: leading axes of u, delta, b and c together.
        dtype: of the state; float32 or wider.

    Returns:
        Zeros, shape (*lead, d, N).

    Raises:
        ValueError: sizes that are not positive integers, a dtype narrower than float32.

    Cost: d·N numbers, whatever came before: `cost.selective_scan_step`.

    Source: Gu and Dao (2023).

    Example:
        >>> selective_scan_state(3, 16, lead=(2,)).shape
        (2, 3, 16)
    """
    name = "selective_scan_state"
    _check.positive_int(name, d=d, states=states)
    _check.axes(name, "lead", lead)
    wide_enough(name, dtype)
    return jnp.zeros((*lead, d, states), dtype)


def selective_scan_step(
    state: Float[AnyArray, "*b d N"],
    u: Float[AnyArray, "*#b n d"],
    delta: Float[AnyArray, "*#b n d"],
    a: Float[AnyArray, "d N"],
    b: Float[AnyArray, "*#b n N"],
    c: Float[AnyArray, "*#b n N"],
    skip: Float[AnyArray, " d"] | None = None,
    *,
    chunk: int | None = None,
) -> tuple[Float[Array, "*b n d"], Float[Array, "*b d N"]]:
    """Take n new positions: one to decode, many to read a prompt. Return their outputs and the state after them.

    h ← e^(ΔA) ∘ h + ΔuB,   y = h·C + D u

    Any split of a sequence into steps gives what `selective_scan` gives at once, gradients included.

    Args:
        state: what earlier calls returned, or `selective_scan_state`.
        u: inputs of the new positions, shape (..., n, d).
        delta: their steps, shape (..., n, d).
        a: as in `selective_scan`.
        b: of the new positions, shape (..., n, N).
        c: of the new positions, shape (..., n, N).
        skip: as in `selective_scan`.
        chunk: as in `selective_scan`.

    Returns:
        The outputs (..., n, d) in u's dtype, and the state after the last position, as it came.

    Raises:
        ValueError: as `selective_scan`; a state that does not fit the other arrays.

    Cost: `cost.selective_scan_step(d)`: 8dN FLOPs for one position, whatever came before it.

    Source: Gu and Dao (2023).

    Example:
        >>> import jax.numpy as jnp
        >>> one, state = jnp.ones((1, 1)), selective_scan_state(1, 1)
        >>> for step in (1.0, 0.0, 4.0):
        ...     y, state = selective_scan_step(state, one, step * one, -one, one, one)
        >>> print((1e3 * y).round(), (1e3 * state).round())
        [[4018.]] [[4018.]]
    """
    name = "selective_scan_step"
    arrays = _checked(name, u, delta, a, b, c, skip, chunk)
    lead = np.broadcast_shapes(*(x.shape[:-2] for x in arrays.values()))
    check_state(name, state, (*lead, *a.shape))
    y, after = _call(name, {**arrays, "state": jnp.asarray(state)}, a, skip, chunk)
    return y, after


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


def mamba(params: Params, x: Float[AnyArray, "*b n d"], *, chunk: int | None = None) -> Float[Array, "*b n d"]:
    """Mix positions by a scan that each position steers: Mamba's block, without the norm and the sum around it.

    u, z = x W_in,   u ← SiLU(conv(u)),   Δ', B, C = u W_x,   Δ = softplus(Δ' W_dt + b_dt),
    y = (scan(u, Δ, −e^(a_log), B, C, D) ∘ SiLU(z)) W_out

    conv is causal and has a kernel of k positions for each channel.

    Args:
        params: as `init_mamba` returns them.
        x: positions, shape (..., n, d), any floating dtype.
        chunk: as in `selective_scan`.

    Returns:
        Array (..., n, d) in x's dtype; Δ and the scan are float32 or wider. Causal to the bit, but for the blocks in
        which a backend's products add up.

    Raises:
        ValueError: a missing or misshapen parameter, an x of wrong rank, width or dtype, a chunk that is not a
            positive integer.

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
    _check_mamba(name, params, x, chunk)
    return _call_mamba(name, params, x, None, chunk)[0]


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
    params: Params, x: Float[AnyArray, "*b n d"], state: MambaState, *, chunk: int | None = None
) -> tuple[Float[Array, "*b n d"], MambaState]:
    """Take n new positions: one to decode, many to read a prompt. Return their outputs and the state after them.

    Any split of a sequence into steps gives what `mamba` gives at once, gradients included.

    Args:
        params: as `init_mamba` returns them.
        x: the new positions, shape (..., n, d).
        state: what earlier calls returned, or `mamba_state`.
        chunk: as in `selective_scan`.

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
    _check_mamba(name, params, x, chunk)
    if not isinstance(state, MambaState):
        raise ValueError(f"{name}: state: expected a MambaState, got {type(state).__name__}")
    (k, e), lead = params["w_conv"].shape, x.shape[:-2]
    for part, shape in (("window", (k - 1, e)), ("h", params["a_log"].shape)):
        check_state(name, getattr(state, part), (*lead, *shape), f"state.{part}")
    y, after = _call_mamba(name, params, x, state, chunk)
    return y, after


# --- the scan -------------------------------------------------------------------------------------------------------


def _call(name: str, arrays: dict[str, Array], a: Any, skip: Any, chunk: int | None) -> tuple[Array, Any]:
    shared = {"a": jnp.asarray(a)} | ({} if skip is None else {"skip": jnp.asarray(skip)})
    results = (2, 2 if "state" in arrays else None)
    call = (scan_channels, CHUNK if chunk is None else chunk)
    out: tuple[Array, Any] = each_device(name, call, arrays, OWN, shared, results)
    return out


def scan_channels(chunk: int, arrays: dict[str, Any], shared: Params) -> tuple[Array, Any]:
    """Scan on one device, in its part of the leading axes; positions first, then all leading axes as one."""
    state, given = arrays.get("state"), arrays["u"].dtype
    dtype = _arrays.wide(*arrays.values(), *shared.values())
    lead = np.broadcast_shapes(*(arrays[x].shape[:-2] for x in ("u", "delta", "b", "c")))
    a = shared["a"].astype(dtype)

    def first(x: Array) -> Array:
        x = jnp.broadcast_to(x.astype(dtype), (*lead, *x.shape[-2:]))
        return jnp.moveaxis(x.reshape(-1, *x.shape[-2:]), 1, 0)

    u, delta, b, c = (first(arrays[x]) for x in ("u", "delta", "b", "c"))
    h = jnp.zeros((u.shape[1], *a.shape), dtype) if state is None else state.astype(dtype).reshape(-1, *a.shape)
    y, h = _scan(chunk, u, delta, b, c, a, h)
    if "skip" in shared:
        y = y + shared["skip"].astype(dtype)[None, None] * u
    y = jnp.moveaxis(y, 0, 1).reshape(*lead, *y.shape[::2]).astype(given)
    return y, None if state is None else h.reshape(state.shape).astype(state.dtype)


@partial(jax.jit, static_argnums=0)
def _scan(chunk: int, *args: Array) -> tuple[Array, Array]:
    """Return outputs (n, b, d) and the last state (b, d, N), all in one dtype.

    args: u (n, b, d), delta (n, b, d), b (n, b, N), c (n, b, N), a (d, N), the state before the first (b, d, N).
    """
    out: tuple[Array, Array] = _recur(chunk, *args)
    return out


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recur(chunk: int, *args: Array) -> tuple[Array, Array]:
    return _forward(chunk, *args)[0]


def _forward(chunk: int, *args: Array) -> tuple[tuple[Array, Array], tuple[Any, ...]]:
    *each, a, h = args
    n = len(each[0])

    def step(h: Array, x: list[Array]) -> tuple[Array, tuple[Array, Array]]:
        _, states = _states(h, a, *x[:3])
        return states[-1], (h, (states * x[3][..., None, :]).sum(axis=-1))

    h, (before, y) = jax.lax.scan(step, h, _chunks(chunk, each))
    return (y.reshape(-1, *y.shape[2:])[:n], h), (each, a, before)


def _backward(chunk: int, saved: tuple[Any, ...], gradients: tuple[Array, Array]) -> tuple[Array, ...]:
    """Go through the chunks from the last to the first, and within one along the tree of the reversed recurrence."""
    each, a, before = saved
    dy, dh = gradients
    n = len(dy)

    def step(carry: tuple[Array, Array], x: tuple[Any, ...]) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        dh, da = carry
        (u, delta, b, c), h, dy = x
        keep, states = _states(h, a, u, delta, b)
        # What reaches a state: from its reading, and from the next state, through what is kept of it there.
        onward = jnp.concatenate([keep[1:], jnp.ones_like(keep[:1])])
        through, own = jax.lax.associative_scan(_then, (onward, dy[..., None] * c[..., None, :]), reverse=True)
        d_states = own + through * dh[None]
        d_log = d_states * jnp.concatenate([h[None], states[:-1]]) * keep
        written = (d_states * b[..., None, :]).sum(axis=-1)
        grown = (
            delta * written,
            (d_log * a[None, None]).sum(axis=-1) + u * written,
            ((delta * u)[..., None] * d_states).sum(axis=-2),
            (dy[..., None] * states).sum(axis=-2),
        )
        return (keep[0] * d_states[0], da + (d_log * delta[..., None]).sum(axis=(0, 1))), grown

    xs = (_chunks(chunk, each), before, _chunks(chunk, [dy])[0])
    (dh, da), grown = jax.lax.scan(step, (dh, jnp.zeros_like(a)), xs, reverse=True)
    return (*(g.reshape(-1, *g.shape[2:])[:n] for g in grown), da, dh)


_recur.defvjp(_forward, _backward)


def _states(h: Array, a: Array, u: Array, delta: Array, b: Array) -> tuple[Array, Array]:
    """Return what each position of a chunk keeps of a state, and all states, (c, b, d, N), given that before it."""
    keep = jnp.exp(delta[..., None] * a[None, None])
    kept, own = jax.lax.associative_scan(_then, (keep, (delta * u)[..., None] * b[..., None, :]))
    return keep, own + kept * h[None]


def _then(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return the one step that does what two steps h ↦ keep ∘ h + x do in a row."""
    (keep, x), (more, y) = first, second
    return more * keep, more * x + y


def _chunks(chunk: int, arrays: list[Array]) -> list[Array]:
    """Cut arrays (n, …) into (chunks, c, …). A step of length 0 fills the last one: it changes no state."""
    n = len(arrays[0])
    count, c = cut(n, chunk)
    fill = [jnp.pad(x, [(0, count * c - n), *[(0, 0)] * (x.ndim - 1)]) for x in arrays]
    return [x.reshape(count, c, *x.shape[1:]) for x in fill]


def _checked(name: str, u: Any, delta: Any, a: Any, b: Any, c: Any, skip: Any, chunk: Any) -> dict[str, Array]:
    """Check every argument and return those that have positions."""
    arrays = {"u": u, "delta": delta, "b": b, "c": c}
    _arrays.floating(name, **arrays, a=a, **({} if skip is None else {"skip": skip}))
    _check.rank_at_least(name, 2, "(..., n, d)", u=u, delta=delta)
    _check.rank_at_least(name, 2, "(..., n, N)", b=b, c=c)
    _check.same_axis(name, -2, "n", **arrays)
    _check.same_axis(name, -1, "d", u=u, delta=delta)
    d = u.shape[-1]
    if len(a.shape) != 2 or a.shape[0] != d:
        raise ValueError(f"{name}: a: expected shape ({d}, N), got {tuple(a.shape)}")
    _check.same_axis(name, -1, "N", a=a, b=b, c=c)
    if skip is not None and tuple(skip.shape) != (d,):
        raise ValueError(f"{name}: skip: expected shape ({d},), got {tuple(skip.shape)}")
    _check.broadcastable(name, **{x: array.shape[:-2] for x, array in arrays.items()})
    _check.optional_int(name, chunk=chunk)
    return {x: jnp.asarray(array) for x, array in arrays.items()}


# --- the layer ------------------------------------------------------------------------------------------------------

NAMES = ["w_in", "w_conv", "b_conv", "w_x", "w_dt", "b_dt", "a_log", "skip", "w_out"]


def _call_mamba(name: str, params: Params, x: Any, state: MambaState | None, chunk: int | None) -> tuple[Array, Any]:
    arrays: dict[str, Any] = {"x": jnp.asarray(x)}
    results: Any = (2, None)
    if state is not None:
        axes: Any = MambaState  # a tree of their numbers
        results = (2, axes(2, 2))
        arrays |= {"state.window": jnp.asarray(state.window), "state.h": jnp.asarray(state.h)}
    own = {"x": 2, "state.window": 2, "state.h": 2}
    weights = {w: jnp.asarray(array) for w, array in params.items()}
    out: tuple[Array, Any] = each_device(
        name, (_mamba, CHUNK if chunk is None else chunk), arrays, own, weights, results
    )
    return out


def _mamba(chunk: int, arrays: dict[str, Any], params: Params) -> tuple[Array, Any]:
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
    y, h = scan_channels(chunk, positions, {"a": -jnp.exp(p["a_log"]), "skip": p["skip"]})
    y = (y * jax.nn.silu(z.astype(wide))).astype(x.dtype) @ p["w_out"]
    return y, None if window is None else MambaState(after.astype(window.dtype), h)


@jax.checkpoint
def _short_convolution(u: Array, w: Array, bias: Array) -> Array:
    """Return SiLU of the causal convolution of each channel; its k shifted copies are made again, not kept."""
    k, e = w.shape
    shape = (*u.shape[:-2], u.shape[-2] - k + 1, e)
    taps = (u[..., t : t + shape[-2], :] * jnp.broadcast_to(w[t], shape) for t in range(k))
    return jax.nn.silu(sum(taps, jnp.broadcast_to(bias, shape)))


def _check_mamba(name: str, params: Any, x: Any, chunk: Any) -> None:
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
    _check.optional_int(name, chunk=chunk)
