"""Diagonal state spaces: one linear recurrence, as a convolution by Fourier transforms or position by position."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from attnlib import _arrays, _check
from attnlib._sharding import each_device
from attnlib.cost.s4d import DISCRETISATIONS, FORMS, cut, transformed
from attnlib.kernels._state import wide_enough

Params = dict[str, Array]
AnyArray = Array | np.ndarray

NAMES = ["log_dt", "log_a", "a_im", "c_re", "c_im", "skip"]


def init_s4d(
    key: Array,
    d: int,
    *,
    states: int = 64,
    init: str = "lin",
    dt: tuple[float, float] = (1e-3, 1e-1),
    dtype: DTypeLike = jnp.float32,
) -> Params:
    """Draw the parameters of `s4d`: rates of decay and rotation by a rule, steps and readings at random.

    lin: A_s = −1/2 + iπs;   inv: A_s = −1/2 + i(N/π)(N/(2s + 1) − 1);   real: A_s = −(s + 1)   (s = 0 … N/2 − 1)

    Steps Δ are log-uniform in `dt`, readings C complex normal with variance 1, skips normal.

    Args:
        key: PRNG key.
        d: width of the input; each channel is a state space of its own.
        states: N, numbers that a channel keeps: N/2 complex states, of which the other N/2 are the conjugates. Real
            states have imaginary parts of zero, and then half of the numbers say nothing.
        init: "lin", "inv" or "real".
        dt: least and largest step Δ: about what one position is of the unit in which A is a rate.
        dtype: floating dtype of the parameters.

    Returns:
        A dict of log_dt (d,), log_a (d, N/2), the logarithm of minus the real part of A, a_im (d, N/2), its imaginary
        part, c_re and c_im (d, N/2), and skip (d,).

    Raises:
        ValueError: a width that is not a positive integer, an odd number of states, an unknown rule, steps that are
            not two positive numbers in order, a dtype that is not floating.

    Cost: 2dN + 2d numbers.

    Source: Gu et al. (2022), S4D-Lin, S4D-Inv and S4D-Real.

    Example:
        >>> import jax
        >>> params = init_s4d(jax.random.key(0), 2, states=6)
        >>> print(-jnp.exp(params["log_a"][0]), (params["a_im"][0] / jnp.pi).round(3))
        [-0.5 -0.5 -0.5] [0. 1. 2.]
    """
    name = "init_s4d"
    _arrays.prng_key(name, key)
    _check.positive_int(name, d=d)
    even_states(name, states)
    if init not in ("lin", "inv", "real"):
        raise ValueError(f"{name}: init: expected 'lin', 'inv' or 'real', got {init!r}")
    pair = isinstance(dt, tuple | list) and len(dt) == 2 and all(map(_check.number, dt))
    if not pair or not 0 < dt[0] <= dt[1]:
        raise ValueError(f"{name}: dt: expected two positive numbers, the least first, got {dt!r}")
    _arrays.floating_dtype(name, dtype)
    s = np.arange(states // 2)
    rates = {"lin": np.pi * s, "inv": states / np.pi * (states / (2 * s + 1) - 1), "real": 0.0 * s}
    decays = s + 1.0 if init == "real" else np.full(states // 2, 0.5)
    step, real, imaginary, skip = jax.random.split(key, 4)
    each = (d, states // 2)
    return {
        "log_dt": jax.random.uniform(step, (d,), dtype, float(np.log(dt[0])), float(np.log(dt[1]))),
        "log_a": jnp.broadcast_to(jnp.asarray(np.log(decays), dtype), each),
        "a_im": jnp.broadcast_to(jnp.asarray(rates[init], dtype), each),
        "c_re": jax.random.normal(real, each, dtype) * jnp.asarray(0.5**0.5, dtype),
        "c_im": jax.random.normal(imaginary, each, dtype) * jnp.asarray(0.5**0.5, dtype),
        "skip": jax.random.normal(skip, (d,), dtype),
    }


def s4d(
    params: Params,
    x: Float[AnyArray, "*b n d"],
    *,
    mode: str = "convolution",
    discretisation: str = "zoh",
) -> Float[Array, "*b n d"]:
    """Carry N linear states along the sequence in each channel: a diagonal state space, by whichever way is shorter.

    h_t = Ā ∘ h_{t−1} + B̄ x_t,   y_t = 2 Re(C·h_t) + D x_t:   y_t = Σ_{l ≤ t} K_l x_{t−l} + D x_t,
    K_l = 2 Re Σ_s C_s B̄_s Ā_s^l

    zoh: Ā = e^(ΔA),   B̄ = (e^(ΔA) − 1)/A;   bilinear: Ā = (1 + ΔA/2)/(1 − ΔA/2),   B̄ = Δ/(1 − ΔA/2)

    All coefficients are the same at all positions and a state meets no other. So the recurrence is a convolution with
    one vector K for each channel. The convolution multiplies spectra of at least 2n − 1 numbers: its outputs know
    nothing of later positions but what rounding makes of them, about 10⁻⁷ of their size in float32, and a NaN or an
    infinity anywhere reaches every output of its channel. The recurrence is causal to the bit; its backward pass
    keeps all states, n times N numbers a channel, where the convolution keeps x and K.

    Only the product of B and C matters, so B is 1, and its parameter is missing.

    Args:
        params: as `init_s4d` returns them.
        x: positions, shape (..., n, d), any floating dtype. Channels do not meet.
        mode: "convolution" or "recurrence": the same function.
        discretisation: "zoh", x is held for a step, or "bilinear", the trapezoidal rule.

    Returns:
        Array (..., n, d) in x's dtype. All in between is float32 or wider.

    Raises:
        ValueError: a missing or misshapen parameter, an x of wrong rank, width or dtype, an unknown mode or
            discretisation.

    Cost: `cost.s4d(n, d)`: 2ndN FLOPs in matrix products for K, and 15nd log₂ 2n in transforms; as a recurrence about
        7ndN, one position after the other.

    Source: Gu et al. (2022).

    Example:
        >>> import jax
        >>> params, x = init_s4d(jax.random.key(0), 3, states=4), jax.random.normal(jax.random.key(1), (5, 3))
        >>> bool(abs(s4d(params, x) - s4d(params, x, mode="recurrence")).max() < 1e-5)
        True
    """
    name = "s4d"
    check(name, params, x, discretisation)
    if mode not in FORMS:
        raise ValueError(f"{name}: mode: expected 'convolution' or 'recurrence', got {mode!r}")
    arrays, own = {"x": jnp.asarray(x)}, {"x": 2}
    weights = {w: jnp.asarray(array) for w, array in params.items()}
    run = _convolution if mode == "convolution" else _recurrence
    out: Array = each_device(name, (run, discretisation), arrays, own, weights, 2)
    return out


def s4d_kernel(params: Params, n: int, *, discretisation: str = "zoh") -> Float[Array, "n d"]:
    """Return the vector with which each channel of `s4d` is convolved: what it answers to a 1 followed by zeros.

    K_l = 2 Re Σ_s C_s B̄_s Ā_s^l;   without D

    Powers are made of about √n of each state and √n of their √n-th powers: their products, summed over states, are
    one matrix product for each channel.

    Args:
        params: as `init_s4d` returns them.
        n: length.
        discretisation: as in `s4d`.

    Returns:
        Array (n, d), float32 or wider.

    Raises:
        ValueError: as `s4d`; an n that is not a positive integer.

    Cost: 2ndN FLOPs in matrix products, 3dN√n exponentials, sines and cosines.

    Source: Gu et al. (2022), section 3.2, a Vandermonde product.

    Example:
        >>> params = {w: jnp.zeros((1, 1)) for w in ("log_a", "a_im", "c_im")} | {"c_re": jnp.ones((1, 1))}
        >>> params |= {"log_dt": jnp.zeros(1), "skip": jnp.zeros(1)}  # A = −1, Δ = 1: 2(1 − 1/e) e^−l
        >>> print((1e3 * s4d_kernel(params, 3)[:, 0]).round())
        [1264.  465.  171.]
    """
    name = "s4d_kernel"
    check(name, params, None, discretisation)
    _check.positive_int(name, n=n)
    return _kernel(_wide(params, *params.values()), n, discretisation).swapaxes(0, 1)


def s4d_state(
    d: int, *, states: int = 64, lead: tuple[int, ...] = (), dtype: DTypeLike = jnp.float32
) -> Float[Array, "..."]:
    """Return the state before the first position: zeros.

    h = 0 (d × N)

    Args:
        d: width of the input.
        states: N, as in `init_s4d`.
        lead: leading axes of x.
        dtype: of the state; float32 or wider.

    Returns:
        Zeros, shape (*lead, d, N): real parts of N/2 states, then imaginary parts.

    Raises:
        ValueError: sizes that are not positive integers, an odd number of states, a dtype narrower than float32.

    Cost: d·N numbers, whatever came before: `cost.s4d_step`.

    Source: Gu et al. (2022).

    Example:
        >>> s4d_state(3, states=4, lead=(2,)).shape
        (2, 3, 4)
    """
    name = "s4d_state"
    _check.positive_int(name, d=d)
    even_states(name, states)
    _check.axes(name, "lead", lead)
    wide_enough(name, dtype)
    return jnp.zeros((*lead, d, states), dtype)


def s4d_step(
    params: Params,
    x: Float[AnyArray, "*b n d"],
    state: Float[AnyArray, "*b d N"],
    *,
    discretisation: str = "zoh",
) -> tuple[Float[Array, "*b n d"], Float[Array, "*b d N"]]:
    """Take n new positions: one to decode, many to read a prompt. Return their outputs and the state after them.

    h ← Ā ∘ h + B̄ x,   y = 2 Re(C·h) + D x

    Any split of a sequence into steps gives what `s4d` gives at once, gradients included.

    Args:
        params: as `init_s4d` returns them.
        x: the new positions, shape (..., n, d).
        state: what earlier calls returned, or `s4d_state`.
        discretisation: as in `s4d`.

    Returns:
        The outputs (..., n, d) in x's dtype, and the state after the last position, as it came.

    Raises:
        ValueError: as `s4d`; a state that does not fit x and the parameters.

    Cost: `cost.s4d_step(d)`: about 7dN FLOPs for one position, whatever came before it.

    Source: Gu et al. (2022).

    Example:
        >>> import jax
        >>> params, x = init_s4d(jax.random.key(0), 3, states=4), jax.random.normal(jax.random.key(1), (5, 3))
        >>> first, state = s4d_step(params, x[:4], s4d_state(3, states=4))
        >>> last, state = s4d_step(params, x[4:], state)
        >>> bool(abs(last - s4d(params, x)[4:]).max() < 1e-5)
        True
    """
    name = "s4d_step"
    check(name, params, x, discretisation)
    check_state(name, state, (*x.shape[:-2], x.shape[-1], 2 * params["log_a"].shape[1]))
    arrays = {"x": jnp.asarray(x), "state": jnp.asarray(state)}
    weights = {w: jnp.asarray(array) for w, array in params.items()}
    out: tuple[Array, Array] = each_device(
        name, (_steps, discretisation), arrays, {"x": 2, "state": 2}, weights, (2, 2)
    )
    return out


# --- the recurrence -------------------------------------------------------------------------------------------------


def _recurrence(discretisation: str, arrays: dict[str, Any], params: Params) -> Array:
    x = arrays["x"]
    p = _wide(params, x)
    h = jnp.zeros((*x.shape[:-2], x.shape[-1], 2 * p["log_a"].shape[1]), p["skip"].dtype)
    return _run(p, x, h, discretisation)[0]


def _steps(discretisation: str, arrays: dict[str, Any], params: Params) -> tuple[Array, Array]:
    x, state = arrays["x"], arrays["state"]
    p = _wide(params, x, state)
    y, h = _run(p, x, state.astype(p["skip"].dtype), discretisation)
    return y, h.astype(state.dtype)


def _run(p: Params, x: Array, h: Array, discretisation: str) -> tuple[Array, Array]:
    """Run the recurrence along the first axis of a loop; a state is two real numbers."""
    size, angle, *b = _discretise(p, discretisation)
    own = (*_polar(size, angle), *b, 2 * p["c_re"], 2 * p["c_im"], p["skip"][:, None])
    a_re, a_im, b_re, b_im, c_re, c_im, skip = (w.reshape((1,) * (h.ndim - 2) + w.shape) for w in own)

    def step(h: tuple[Array, Array], x_t: Array) -> tuple[tuple[Array, Array], Array]:
        re, im = h
        new = x_t[..., None]
        re, im = a_re * re - a_im * im + b_re * new, a_re * im + a_im * re + b_im * new
        y = (c_re * re - c_im * im).sum(axis=-1) + skip[..., 0] * x_t
        return (re, im), y.astype(x.dtype)

    ends = (h[..., : h.shape[-1] // 2], h[..., h.shape[-1] // 2 :])
    ends, y = jax.lax.scan(step, ends, jnp.moveaxis(x, -2, 0).astype(h.dtype))
    return jnp.moveaxis(y, 0, -2), jnp.concatenate(ends, axis=-1)


# --- the convolution ------------------------------------------------------------------------------------------------


def _convolution(discretisation: str, arrays: dict[str, Any], params: Params) -> Array:
    x = arrays["x"]
    n, d = x.shape[-2:]
    p = _wide(params, x)
    channels = x.astype(p["skip"].dtype).reshape(-1, n, d).swapaxes(1, 2)
    y: Array = _convolve(channels, _kernel(p, n, discretisation)) + p["skip"][None, :, None] * channels
    return y.swapaxes(1, 2).reshape(x.shape).astype(x.dtype)


def _kernel(p: Params, n: int, discretisation: str) -> Array:
    """Return K (d, n): with l = row · c + column, Ā^l is a power of Ā^c times one of Ā."""
    rows, c = cut(n)
    size, angle, b_re, b_im = _discretise(p, discretisation)
    coarse_re, coarse_im = _powers(size, angle, c * np.arange(rows))
    fine_re, fine_im = _powers(size, angle, np.arange(c))
    w_re, w_im = 2 * (p["c_re"] * b_re - p["c_im"] * b_im), 2 * (p["c_re"] * b_im + p["c_im"] * b_re)
    w_re, w_im = w_re[:, None], w_im[:, None]
    left = jnp.concatenate([w_re * coarse_re - w_im * coarse_im, -w_re * coarse_im - w_im * coarse_re], axis=-1)
    k: Array = jnp.einsum("drs,dcs->drc", left, jnp.concatenate([fine_re, fine_im], axis=-1))
    return k.reshape(len(k), rows * c)[:, :n]


def _powers(size: Array, angle: Array, exponents: np.ndarray) -> tuple[Array, Array]:
    """Return real and imaginary parts of Ā^t, (d, exponents, states), for log Ā = size + i angle."""
    t = jnp.asarray(exponents, size.dtype)[None, :, None]
    return _polar(size[:, None] * t, angle[:, None] * t)


@jax.custom_vjp
def _convolve(x: Array, k: Array) -> Array:
    """Convolve x (b, d, n) with k (d, n), as if zeros came before both."""
    return _inverse(*_times(_spectrum(x), _spectrum(k[None])), x.shape[-1])


def _convolve_forward(x: Array, k: Array) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(x, k), (x, k)


def _convolve_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    """The gradient of a convolution is a convolution with the other argument reversed: a conjugate spectrum."""
    n, out = dy.shape[-1], _spectrum(dy)
    (x_re, x_im), (k_re, k_im) = _spectrum(saved[0]), _spectrum(saved[1][None])
    dk_re, dk_im = _times(out, (x_re, -x_im))
    return _inverse(*_times(out, (k_re, -k_im)), n), _inverse(dk_re.sum(axis=0), dk_im.sum(axis=0), n)


_convolve.defvjp(_convolve_forward, _convolve_backward)


def _spectrum(x: Array) -> tuple[Array, Array]:
    f = jnp.fft.rfft(x, transformed(x.shape[-1]))
    return jnp.real(f), jnp.imag(f)


def _inverse(re: Array, im: Array, n: int) -> Array:
    y: Array = jnp.fft.irfft(jax.lax.complex(re, im), transformed(n))
    return y[..., :n]


def _times(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
    (a_re, a_im), (b_re, b_im) = a, b
    return a_re * b_re - a_im * b_im, a_re * b_im + a_im * b_re


# --- what both need -------------------------------------------------------------------------------------------------


def _discretise(p: Params, discretisation: str) -> tuple[Array, Array, Array, Array]:
    """Return log |Ā|, the angle of Ā, and B̄ as real and imaginary part, each (d, N/2)."""
    dt = jnp.exp(p["log_dt"])[:, None]
    a_re, a_im = -jnp.exp(p["log_a"]), p["a_im"]
    re, im = dt * a_re, dt * a_im
    if discretisation == "zoh":
        # e^z − 1 without the cancellation near z = 0: cos y − 1 is −2 sin² y/2.
        half = jnp.sin(im / 2)
        up_re = jnp.expm1(re) * jnp.cos(im) - 2 * half * half
        up_im = jnp.exp(re) * jnp.sin(im)
        square = a_re * a_re + a_im * a_im
        return re, im, (up_re * a_re + up_im * a_im) / square, (up_im * a_re - up_re * a_im) / square
    low_re, low_im = 1 - re / 2, -im / 2
    square = low_re * low_re + low_im * low_im
    # |Ā|² from its numerator where it is small, else from what it lacks of 1: |1 + z/2|² − |1 − z/2|² = 2 Re z.
    quotient = ((1 + re / 2) ** 2 + low_im * low_im) / square
    small = quotient < 0.5
    low = jnp.log(jnp.maximum(quotient, float(np.finfo(re.dtype).tiny)))  # 0 has no logarithm
    size = jnp.where(small, low, jnp.log1p(jnp.where(small, 0, 2 * re / square))) / 2
    real = 1 - (re * re + im * im) / 4
    angle = jnp.arctan2(im, jnp.where((real == 0) & (im == 0), 1, real))  # nor has it an angle, nor a slope
    return size, angle, dt * low_re / square, -dt * low_im / square


def _polar(size: Array, angle: Array) -> tuple[Array, Array]:
    """Return e^(size + i angle)."""
    modulus = jnp.exp(size)
    return modulus * jnp.cos(angle), modulus * jnp.sin(angle)


def _wide(params: Params, *arrays: Any) -> Params:
    return {w: jnp.asarray(array).astype(_arrays.wide(*arrays)) for w, array in params.items()}


def even_states(name: str, states: Any) -> None:
    """Raise unless states are an even positive integer: conjugate pairs."""
    if not _check.whole(states, 2) or states % 2:
        raise ValueError(f"{name}: states: expected an even positive integer, conjugate pairs, got {states!r}")


def check(name: str, params: Any, x: Any, discretisation: Any) -> None:
    """Check parameters and x, or parameters alone."""
    if x is not None:
        _arrays.floating(name, x=x)
        _check.rank_at_least(name, 2, "(..., n, d)", x=x)
    _arrays.params(name, params, NAMES)
    each = params["log_a"].shape
    if len(each) != 2 or (x is not None and each[0] != x.shape[-1]):
        raise ValueError(f"{name}: log_a: expected shape ({'d' if x is None else x.shape[-1]}, N/2), got {each}")
    for w in NAMES:
        shape = each[:1] if w in ("log_dt", "skip") else each
        if params[w].shape != shape:
            raise ValueError(f"{name}: {w}: expected shape {shape}, got {params[w].shape}")
    if discretisation not in DISCRETISATIONS:
        raise ValueError(f"{name}: discretisation: expected 'zoh' or 'bilinear', got {discretisation!r}")


def check_state(name: str, state: Any, shape: tuple[int, ...], argument: str = "state") -> None:
    """Raise unless a state has that shape and is float32 or wider."""
    _arrays.floating(name, **{argument: state})
    if _arrays.narrow(state.dtype):
        raise ValueError(
            f"{name}: {argument}: expected float32 or float64: a narrower one forgets, got {state.dtype}"
        )
    if tuple(state.shape) != shape:
        raise ValueError(f"{name}: {argument}: expected shape {shape}, got {tuple(state.shape)}")
