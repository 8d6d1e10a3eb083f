"""Selective state spaces: a linear recurrence whose coefficients the input decides."""

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
from attnlib.kernels._exponential import exp_nonpositive
from attnlib.kernels._state import wide_enough
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
    tree: bool | None = None,
) -> Float[Array, "*b n d"]:
    """Carry N states along the sequence in each channel, with steps, inputs and readings of each position's own.

    h_t = e^(Δ_t A) ∘ h_{t−1} + Δ_t u_t B_t,   y_t = h_t·C_t + D u_t

    A step Δ_t decides both how much is forgotten and how much is written: near 0 the state stays, a large one starts
    anew. Since coefficients differ between positions, this is no convolution. It is a scan: two steps in a row,
    (Ā, x) then (Ā', x'), are one step (Ā'Ā, Ā'x + x'), and this product is associative. Within a chunk all states
    come from a tree of such products, 2 log₂ c deep, or, on a CPU, one from another; chunks follow one another. The
    backward pass has the state before every chunk and makes those within it again: nothing of length n times N is
    ever kept.

    The exponential is exact for A (a zero-order hold). B is not held but multiplied by Δ, Euler's rule, as in the
    code that its authors published, where their paper writes (ΔA)⁻¹(e^(ΔA) − 1) ΔB: both agree as Δ goes to 0.

    Args:
        u: inputs, shape (..., n, d), any floating dtype; leading axes of all four broadcast.
        delta: steps Δ, shape (..., n, d), at least 0; no value is looked at.
        a: rates A, shape (d, N), below 0.
        b: shape (..., n, N): how an input is written to the N states, alike in every channel.
        c: shape (..., n, N): how the states are read.
        skip: D, shape (d,): what of an input passes by; nothing by default.
        chunk: positions in a chunk, at most; 32 by default. It changes time and memory, in a tree the rounding, too.
        tree: whether the states of a chunk come from a tree, or one from another. By default from a tree where there
            are thousands of units to keep busy, and not on a CPU, for which it is only more work.

    Returns:
        Array (..., n, d) in u's dtype. All in between is float32 or wider. Causal to the bit.

    Raises:
        ValueError: an array of wrong rank, width or dtype, leading axes that do not broadcast, a chunk that is not a
            positive integer, a tree that is not a bool.

    Cost: `cost.selective_scan(n, d)`: no matrix product; 6ndN FLOPs as the formula has it, about three times as many
        with a tree; memory for one position, with a tree for one chunk, and backward nd + (n/chunk)dN numbers.

    Source: Gu and Dao (2023), algorithm 2.

    Example:
        >>> import jax.numpy as jnp
        >>> one = jnp.ones((3, 1))
        >>> delta = jnp.array([[1.0], [0.0], [4.0]])  # write, wait, write four times and forget almost all
        >>> print((1e3 * selective_scan(one, delta, -jnp.ones((1, 1)), one, one)[:, 0]).round())
        [1000. 1000. 4018.]
    """
    name = "selective_scan"
    arrays = _checked(name, u, delta, a, b, c, skip)
    plan = plan_of(name, chunk, tree)
    return _call(name, arrays, a, skip, plan)[0]


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
    tree: bool | None = None,
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
        tree: as in `selective_scan`.
        chunk: as in `selective_scan`.

    Returns:
        The outputs (..., n, d) in u's dtype, and the state after the last position, as it came.

    Raises:
        ValueError: as `selective_scan`; a state that does not fit the other arrays.

    Cost: `cost.selective_scan_step(d)`: 6dN + 3d FLOPs for one position, whatever came before it.

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
    arrays = _checked(name, u, delta, a, b, c, skip)
    plan = plan_of(name, chunk, tree)
    lead = np.broadcast_shapes(*(x.shape[:-2] for x in arrays.values()))
    check_state(name, state, (*lead, *a.shape))
    y, after = _call(name, {**arrays, "state": jnp.asarray(state)}, a, skip, plan)
    return y, after


# --- the scan -------------------------------------------------------------------------------------------------------

LANES = 16
"""As many neighbours are added up one by one on a CPU: a vector of its registers, or two."""


class Plan(NamedTuple):
    """How a sequence is cut: the state before every chunk is kept; a tree combines all of a chunk, or nothing."""

    chunk: int
    tree: bool


def plan_of(name: str, chunk: Any, tree: Any) -> Plan:
    """Check both arguments and fill in what is not given: on a CPU a tree does more work and saves no time."""
    _check.optional_int(name, chunk=chunk)
    _check.flags(name, **({} if tree is None else {"tree": tree}))
    return Plan(CHUNK if chunk is None else chunk, jax.default_backend() != "cpu" if tree is None else tree)


def _call(name: str, arrays: dict[str, Array], a: Any, skip: Any, plan: Plan) -> tuple[Array, Any]:
    shared = {"a": jnp.asarray(a)} | ({} if skip is None else {"skip": jnp.asarray(skip)})
    results = (2, 2 if "state" in arrays else None)
    out: tuple[Array, Any] = each_device(name, (scan_channels, plan), arrays, OWN, shared, results)
    return out


def scan_channels(plan: Plan, arrays: dict[str, Any], shared: Params) -> tuple[Array, Any]:
    """Scan on one device, in its part of the leading axes; positions first, then all leading axes as one."""
    state, given = arrays.get("state"), arrays["u"].dtype
    dtype = _arrays.wide(*arrays.values(), *shared.values())
    lead = np.broadcast_shapes(*(arrays[x].shape[:-2] for x in ("u", "delta", "b", "c")))
    a = shared["a"].astype(dtype).T

    def first(x: Array) -> Array:
        x = jnp.broadcast_to(x.astype(dtype), (*lead, *x.shape[-2:]))
        return jnp.moveaxis(x.reshape(-1, *x.shape[-2:]), 1, 0)

    u, delta, b, c = (first(arrays[x]) for x in ("u", "delta", "b", "c"))
    # Channels are innermost: they are the many that do the same.
    h = jnp.zeros((u.shape[1], *a.shape), dtype)
    if state is not None:
        h = state.astype(dtype).reshape(-1, *state.shape[-2:]).swapaxes(-2, -1)
    y, h = _scan(plan, u, delta, b, c, a, h)
    if "skip" in shared:
        y = y + shared["skip"].astype(dtype)[None, None] * u
    y = jnp.moveaxis(y, 0, 1).reshape(*lead, *y.shape[::2]).astype(given)
    return y, None if state is None else h.swapaxes(-2, -1).reshape(state.shape).astype(state.dtype)


@partial(jax.jit, static_argnums=0)
def _scan(plan: Plan, *args: Array) -> tuple[Array, Array]:
    """Return outputs (n, b, d) and the last state (b, N, d), all in one dtype.

    args: u (n, b, d), delta (n, b, d), b (n, b, N), c (n, b, N), a (N, d), the state before the first (b, N, d).
    """
    out: tuple[Array, Array] = _recur(plan, *args)
    return out


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recur(plan: Plan, *args: Array) -> tuple[Array, Array]:
    return _forward(plan, *args)[0]


def _forward(plan: Plan, *args: Array) -> tuple[tuple[Array, Array], tuple[Any, ...]]:
    *each, a, h = args
    n = len(each[0])

    def step(h: Array, x: list[Array]) -> tuple[Array, Array]:
        _, states = _states(h, a, *x[:3])
        return states[-1:], _sum(states * x[3][..., None], -2)

    def chunk(h: Array, x: list[Array]) -> tuple[Array, tuple[Array, Array]]:
        after, y = jax.lax.scan(step, h, x)
        return after, (h, y)

    # What is carried has an axis of one position: a state of another shape would be made twice, once for its reading.
    h, (before, y) = jax.lax.scan(chunk, h[None], _cut(plan, each))
    return (_join(y, n), h[0]), (each, a, before)


def _backward(plan: Plan, saved: tuple[Any, ...], gradients: tuple[Array, Array]) -> tuple[Array, ...]:
    """Go through the chunks from the last to the first: make the states within again, then return along them."""
    each, a, before = saved
    dy, dh = gradients

    def again(h: Array, x: list[Array]) -> tuple[Array, tuple[Array, Array]]:
        *inputs, _, dy = x
        _, states = _states(h, a, *inputs)
        return states[-1:], (jnp.concatenate([h, states[:-1]]), _sum(dy[..., None, :] * states, -1))

    def step(carry: tuple[Array, Array], x: tuple[Any, ...]) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        (dh, da), ((u, delta, b, c, dy), earlier) = carry, x
        keep = _kept(a, delta)
        # What reaches a state: from its reading, and from the next state, through what is kept of it there.
        onward = jnp.concatenate([keep[1:], jnp.ones_like(keep[:1])])
        through, own = jax.lax.associative_scan(_then, (onward, dy[..., None, :] * c[..., None]), reverse=True)
        d_states = own + through * dh
        d_kept = keep * d_states
        d_log = d_kept * earlier
        written = _sum(d_states * b[..., None], -2)
        grown = (
            delta * written,
            _sum(d_log * a[None, None], -2) + u * written,
            _sum((delta * u)[..., None, :] * d_states, -1),
        )
        return (d_kept[:1], da + (d_log * delta[..., None, :]).sum(axis=0, keepdims=True)), grown

    def chunk(carry: tuple[Array, Array], x: tuple[Any, ...]) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        h, *inputs = x
        _, (earlier, dc) = jax.lax.scan(again, h, inputs)
        carry, grown = jax.lax.scan(step, carry, (inputs, earlier), reverse=True)
        return carry, (*grown, dc)

    xs = (before, *_cut(plan, [*each, dy]))
    (dh, da), grown = jax.lax.scan(chunk, (dh[None], jnp.zeros_like(dh[None])), xs, reverse=True)
    return (*(_join(g, len(dy)) for g in grown), da.sum(axis=(0, 1)), dh[0])


_recur.defvjp(_forward, _backward)


def _kept(a: Array, delta: Array) -> Array:
    """Return what positions (t, b, d) keep of each state, (t, b, N, d)."""
    return exp_nonpositive(delta[..., None, :] * a[None, None])


def _states(h: Array, a: Array, u: Array, delta: Array, b: Array) -> tuple[Array, Array]:
    """Return what each of t positions keeps of a state, and all states, (t, b, N, d), given that before it."""
    keep = _kept(a, delta)
    kept, own = jax.lax.associative_scan(_then, (keep, (delta * u)[..., None, :] * b[..., None]))
    return keep, own + kept * h


def _then(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return the one step that does what two steps h ↦ keep ∘ h + x do in a row."""
    (keep, x), (more, y) = first, second
    return more * keep, more * x + y


def _sum(x: Array, axis: int) -> Array:
    """Sum over the states (axis −2) or over the channels (axis −1).

    XLA for CPUs adds up one number after the other, since the order is its business to keep. Halves are added as
    vectors, as long as they are any.
    """
    if jax.default_backend() == "cpu":
        while x.shape[axis] % 2 == 0 and x.shape[axis] > (1 if axis == -2 else LANES):
            first, second = jnp.split(x, 2, axis=axis)
            x = first + second
    return x.sum(axis=axis)


def _cut(plan: Plan, arrays: list[Array]) -> list[Array]:
    """Cut arrays (n, …) into (chunks, steps, t, …): one step of t positions in a tree, or many of one.

    A position of length 0 fills the last chunk: it changes no state.
    """
    n = len(arrays[0])
    count, c = cut(n, plan.chunk)
    fill = [jnp.pad(x, [(0, count * c - n), *[(0, 0)] * (x.ndim - 1)]) for x in arrays]
    return [x.reshape(count, *((1, c) if plan.tree else (c, 1)), *x.shape[1:]) for x in fill]


def _join(x: Array, n: int) -> Array:
    """Undo `_cut`."""
    return x.reshape(-1, *x.shape[3:])[:n]


def _checked(name: str, u: Any, delta: Any, a: Any, b: Any, c: Any, skip: Any) -> dict[str, Array]:
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
    return {x: jnp.asarray(array) for x, array in arrays.items()}
