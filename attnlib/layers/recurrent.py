"""Recurrent layers: what attention replaced. One product of the whole input, then one small product after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from attnlib import _arrays, _check
from attnlib._sharding import each_device
from attnlib.layers._draw import draw

Params = dict[str, Array]
AnyArray = Array | np.ndarray


def init_rnn(key: Array, d: int, *, d_h: int | None = None, dtype: DTypeLike = jnp.float32) -> Params:
    """Draw the parameters of `rnn`: normal, with variance one over the fan-in; the bias is zero.

    Args:
        key: PRNG key.
        d: width of the input.
        d_h: width of the state; d by default.
        dtype: floating dtype of the parameters.

    Returns:
        A dict of w (d, d_h), u (d_h, d_h) and b (d_h,).

    Raises:
        ValueError: a size that is not a positive integer, a dtype that is not floating.

    Cost: d·d_h + d_h² + d_h numbers.

    Source: Elman (1990), with a bias.

    Example:
        >>> import jax
        >>> {name: w.shape for name, w in init_rnn(jax.random.key(0), 3, d_h=4).items()}
        {'w': (3, 4), 'u': (4, 4), 'b': (4,)}
    """
    return _init("init_rnn", 1, key, d, d_h, dtype)


def init_gru(key: Array, d: int, *, d_h: int | None = None, dtype: DTypeLike = jnp.float32) -> Params:
    """Draw the parameters of `gru`: normal, with variance one over the fan-in; biases are zero.

    Args:
        key: PRNG key.
        d: width of the input.
        d_h: width of the state; d by default.
        dtype: floating dtype of the parameters.

    Returns:
        A dict of w (d, 3d_h), u (d_h, 3d_h), b (3d_h,) and b_n (d_h,). Columns: reset, update, candidate.

    Raises:
        ValueError: a size that is not a positive integer, a dtype that is not floating.

    Cost: 3(d·d_h + d_h²) + 4d_h numbers.

    Source: Cho et al. (2014); the second bias of the candidate as in cuDNN.

    Example:
        >>> import jax
        >>> {name: w.shape for name, w in init_gru(jax.random.key(0), 3, d_h=4).items()}
        {'w': (3, 12), 'u': (4, 12), 'b': (12,), 'b_n': (4,)}
    """
    params = _init("init_gru", 3, key, d, d_h, dtype)
    return params | {"b_n": jnp.zeros(params["u"].shape[0], dtype)}


def init_lstm(key: Array, d: int, *, d_h: int | None = None, dtype: DTypeLike = jnp.float32) -> Params:
    """Draw the parameters of `lstm`: normal, with variance one over the fan-in; the forget gate's bias is one.

    Args:
        key: PRNG key.
        d: width of the input.
        d_h: width of the state; d by default.
        dtype: floating dtype of the parameters.

    Returns:
        A dict of w (d, 4d_h), u (d_h, 4d_h) and b (4d_h,). Columns: input, forget, candidate, output.

    Raises:
        ValueError: a size that is not a positive integer, a dtype that is not floating.

    Cost: 4(d·d_h + d_h² + d_h) numbers.

    Source: Hochreiter and Schmidhuber (1997); the forget gate and its bias of one: Gers et al. (2000).

    Example:
        >>> import jax
        >>> print(init_lstm(jax.random.key(0), 3, d_h=1)["b"])
        [0. 1. 0. 0.]
    """
    params = _init("init_lstm", 4, key, d, d_h, dtype)
    d_h = params["u"].shape[0]
    return params | {"b": params["b"].at[d_h : 2 * d_h].set(1)}


def rnn(
    params: Params,
    x: Float[AnyArray, "*b n d"],
    state: Float[AnyArray, "*b d_h"] | None = None,
    *,
    lengths: Int[AnyArray, "..."] | None = None,
    reverse: bool = False,
) -> tuple[Float[Array, "*b n d_h"], Float[Array, "*b d_h"]]:
    """Carry a state along the sequence: a vanilla recurrent layer.

    h_t = tanh(x_t W + h_{t−1} U + b)

    Args:
        params: w (d, d_h), u (d_h, d_h), b (d_h,), as `init_rnn` returns them.
        x: positions, shape (..., n, d), any floating dtype.
        state: h_0, shape (..., d_h); zeros by default. The state that a run returns resumes it.
        lengths: how many positions exist, integers broadcastable to the leading axes: later ones leave the state
            alone, have output zero, and whatever x holds there reaches nothing.
        reverse: run from the last position to the first; y_t then knows what comes after t.

    Returns:
        y (..., n, d_h) with y_t = h_t, in x's dtype, and the last state (..., d_h), float32 or wider.

    Raises:
        ValueError: a missing or misshapen parameter, an x or state of wrong rank, width or dtype, lengths that are
            not integers or do not broadcast.

    Cost: `cost.rnn(n, d)`: 4nd² FLOPs in matrix products at d_h = d, half of them in n products that wait for one
        another.

    Source: Elman (1990).

    Example:
        >>> import jax.numpy as jnp
        >>> one = jnp.ones((1, 1))
        >>> y, state = rnn({"w": one, "u": one, "b": jnp.zeros(1)}, jnp.array([[1.0], [0.0]]))
        >>> print(y[:, 0].round(3), state.round(3))  # tanh 1, tanh tanh 1
        [0.762 0.642] [0.642]
    """
    y, (h,) = _run("rnn", 1, _rnn, params, x, (state,), ("state",), lengths, reverse)
    return y, h


def gru(
    params: Params,
    x: Float[AnyArray, "*b n d"],
    state: Float[AnyArray, "*b d_h"] | None = None,
    *,
    lengths: Int[AnyArray, "..."] | None = None,
    reverse: bool = False,
) -> tuple[Float[Array, "*b n d_h"], Float[Array, "*b d_h"]]:
    """Carry a state that gates decide how much to overwrite: a gated recurrent unit.

    r, z = σ(x_t W_rz + h_{t−1} U_rz + b_rz),   c = tanh(x_t W_n + b_n' + r ∘ (h_{t−1} U_n + b_n)),
    h_t = (1 − z) ∘ c + z ∘ h_{t−1}

    The reset gate r multiplies after the product with U_n, as in cuDNN, PyTorch and Equinox: one product a step gives
    all three gates. The paper multiplies before it, U_n(r ∘ h), which is another function.

    Args:
        params: w (d, 3d_h), u (d_h, 3d_h), b (3d_h,), b_n (d_h,), as `init_gru` returns them; columns r, z, c.
        x: positions, shape (..., n, d), any floating dtype.
        state: h_0, shape (..., d_h); zeros by default.
        lengths: as in `rnn`.
        reverse: as in `rnn`.

    Returns:
        y (..., n, d_h) with y_t = h_t, in x's dtype, and the last state (..., d_h), float32 or wider.

    Raises:
        ValueError: as `rnn`.

    Cost: `cost.gru(n, d)`: 12nd² FLOPs in matrix products at d_h = d.

    Source: Cho et al. (2014), equations 5–8, with the reset gate after the product.

    Example:
        >>> import jax
        >>> y, state = gru(init_gru(jax.random.key(0), 3, d_h=4), jax.numpy.ones((5, 3)))
        >>> y.shape, state.shape
        ((5, 4), (4,))
    """
    y, (h,) = _run("gru", 3, _gru, params, x, (state,), ("state",), lengths, reverse)
    return y, h


def lstm(
    params: Params,
    x: Float[AnyArray, "*b n d"],
    state: tuple[Float[AnyArray, "*b d_h"], Float[AnyArray, "*b d_h"]] | None = None,
    *,
    lengths: Int[AnyArray, "..."] | None = None,
    reverse: bool = False,
) -> tuple[Float[Array, "*b n d_h"], tuple[Float[Array, "*b d_h"], Float[Array, "*b d_h"]]]:
    """Carry a state and a cell that gates add to and forget from: long short-term memory.

    i, f, o = σ(x_t W_ifo + h_{t−1} U_ifo + b_ifo),   g = tanh(x_t W_g + h_{t−1} U_g + b_g),
    c_t = f ∘ c_{t−1} + i ∘ g,   h_t = o ∘ tanh(c_t)

    Args:
        params: w (d, 4d_h), u (d_h, 4d_h), b (4d_h,), as `init_lstm` returns them; columns i, f, g, o.
        x: positions, shape (..., n, d), any floating dtype.
        state: (h_0, c_0), each (..., d_h); zeros by default.
        lengths: as in `rnn`.
        reverse: as in `rnn`.

    Returns:
        y (..., n, d_h) with y_t = h_t, in x's dtype, and the last state (h, c), each (..., d_h), float32 or wider.

    Raises:
        ValueError: as `rnn`; a state that is not a pair.

    Cost: `cost.lstm(n, d)`: 16nd² FLOPs in matrix products at d_h = d.

    Source: Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000).

    Example:
        >>> import jax
        >>> y, (h, c) = lstm(init_lstm(jax.random.key(0), 3, d_h=4), jax.numpy.ones((5, 3)))
        >>> y.shape, h.shape, c.shape
        ((5, 4), (4,), (4,))
    """
    if state is not None and (not isinstance(state, tuple | list) or len(state) != 2):
        got = f"{len(state)} of them" if isinstance(state, tuple | list) else type(state).__name__
        raise ValueError(f"lstm: state: expected a pair (h, c), got {got}")
    pair = (None, None) if state is None else tuple(state)
    y, (h, c) = _run("lstm", 4, _lstm, params, x, pair, ("state[0]", "state[1]"), lengths, reverse)
    return y, (h, c)


def _rnn(pre: Array, h: tuple[Array], p: Params) -> tuple[Array]:
    return (_tanh(pre + h[0] @ p["u"]),)


def _gru(pre: Array, h: tuple[Array], p: Params) -> tuple[Array]:
    (x_r, x_z, x_n), (h_r, h_z, h_n) = jnp.split(pre, 3, axis=-1), jnp.split(h[0] @ p["u"], 3, axis=-1)
    r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
    c = _tanh(x_n + r * (h_n + jnp.broadcast_to(p["b_n"], h_n.shape)))
    return (c + z * (h[0] - c),)


def _lstm(pre: Array, state: tuple[Array, Array], p: Params) -> tuple[Array, Array]:
    h, c = state
    i, f, g, o = jnp.split(pre + h @ p["u"], 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * _tanh(g)
    return jax.nn.sigmoid(o) * _tanh(c), c


@jax.custom_jvp
def _tanh(x: Array) -> Array:
    """The hyperbolic tangent; its derivative keeps one array, where an older JAX keeps two."""
    return jnp.tanh(x)


@_tanh.defjvp
def _tanh_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    t = _tanh(*primals)
    return t, tangents[0] * (1 - t * t)


def _init(name: str, gates: int, key: Array, d: int, d_h: int | None, dtype: Any) -> Params:
    _arrays.prng_key(name, key)
    d_h = d if d_h is None else d_h
    _check.positive_int(name, d=d, d_h=d_h)
    _arrays.floating_dtype(name, dtype)
    shapes = {"w": ((d, gates * d_h), d), "u": ((d_h, gates * d_h), d_h)}
    return draw(key, shapes, dtype) | {"b": jnp.zeros(gates * d_h, dtype)}


def _run(
    name: str,
    gates: int,
    cell: Callable[[Array, Any, Params], Any],
    params: Params,
    x: AnyArray,
    state: tuple[Any, ...],
    state_names: tuple[str, ...],
    lengths: Any,
    reverse: bool,
) -> tuple[Array, tuple[Array, ...]]:
    """Run state = cell(x_t W + b, state) along the sequence; the first part of the state is the output."""
    _check_arguments(name, gates, params, x, state, state_names, lengths, reverse)
    arrays = {"x": jnp.asarray(x), "lengths": None if lengths is None else _arrays.clipped(lengths, x.shape[-2])}
    given = {part: None if h is None else jnp.asarray(h) for part, h in zip(state_names, state, strict=True)}
    own = {"x": 2, "lengths": 0, **dict.fromkeys(state_names, 1)}
    weights = {w: jnp.asarray(array) for w, array in params.items()}
    call = (_loop, cell, state_names, reverse)
    out: tuple[Array, tuple[Array, ...]] = each_device(
        name, call, arrays | given, own, weights, (2, (1,) * len(state))
    )
    return out


def _loop(
    cell: Callable[[Array, Any, Params], Any],
    state_names: tuple[str, ...],
    reverse: bool,
    arrays: dict[str, Any],
    params: Params,
) -> tuple[Array, tuple[Array, ...]]:
    x, lengths = arrays["x"], arrays["lengths"]
    *lead, n, _ = x.shape
    wide, d_h = _arrays.wide(x), len(params["u"])
    p = {w: array.astype(wide) for w, array in params.items()}
    state = (arrays[part] for part in state_names)
    h = tuple(jnp.zeros((*lead, d_h), wide) if s is None else s.astype(wide) for s in state)
    exists = None
    if lengths is not None:
        exists = _arrays.within(lengths, lead, n)[..., None]
        x = jnp.where(exists, x, 0)  # before the products: 0 · NaN is NaN in the backward pass
    # The input's products do not wait for one another: all at once, before the loop, which runs along the first axis.
    pre = jnp.moveaxis(x, -2, 0).astype(wide) @ p["w"]
    pre = pre + jnp.broadcast_to(p["b"], pre.shape)

    def step(h: tuple[Array, ...], now: tuple[Array, Array | None]) -> tuple[tuple[Array, ...], Array]:
        pre_t, exists_t = now
        new = cell(pre_t, h, p)
        if exists_t is None:
            return new, new[0].astype(x.dtype)
        new = tuple(jnp.where(exists_t, a, b) for a, b in zip(new, h, strict=True))
        return new, jnp.where(exists_t, new[0], 0).astype(x.dtype)

    exists = None if exists is None else jnp.moveaxis(exists, -2, 0)
    h, y = jax.lax.scan(step, h, (pre, exists), reverse=reverse)
    return jnp.moveaxis(y, 0, -2), h


def _check_arguments(
    name: str,
    gates: int,
    params: Any,
    x: Any,
    state: tuple[Any, ...],
    state_names: tuple[str, ...],
    lengths: Any,
    reverse: Any,
) -> None:
    _arrays.floating(name, x=x)
    _check.rank_at_least(name, 2, "(..., n, d)", x=x)
    names = ["w", "u", "b", *(["b_n"] if gates == 3 else [])]
    _arrays.params(name, params, names)
    u = params["u"]
    if u.ndim != 2 or u.shape[1] != gates * u.shape[0]:
        raise ValueError(f"{name}: u: expected shape (d_h, {gates} d_h), got {u.shape}".replace(" 1 d_h", " d_h"))
    d_h, d = u.shape[0], x.shape[-1]
    for w, shape in {"w": (d, gates * d_h), "b": (gates * d_h,), "b_n": (d_h,)}.items():
        if w in names and params[w].shape != shape:
            raise ValueError(f"{name}: {w}: expected shape {shape}, got {params[w].shape}")
    for part, array in zip(state_names, state, strict=True):
        if array is not None:
            _arrays.floating(name, **{part: array})
            if array.shape != (*x.shape[:-2], d_h):
                raise ValueError(f"{name}: {part}: expected shape {(*x.shape[:-2], d_h)}, got {array.shape}")
    _arrays.lengths(name, lengths, x.shape[:-2])
    _check.flags(name, reverse=reverse)
