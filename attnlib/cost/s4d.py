"""Costs of diagonal state spaces: the vector that they convolve with, its transforms, or n steps. No JAX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attnlib import _check
from attnlib.cost._sizes import Number, itemsizes, size, symbolic
from attnlib.cost.algebra import Cost, Step, product_backward

DISCRETISATIONS = ("zoh", "bilinear")
FORMS = ("convolution", "recurrence")
# For each state and for each channel: FLOPs and transcendentals of Δ, Ā and B̄, then the same of their gradient.
_DISCRETISE = {"zoh": ((20, 6), (0, 1)), "bilinear": ((29, 4), (1, 1))}
_BACKWARD = {"zoh": ((91, 4), (4, 0)), "bilinear": ((116, 0), (7, 0))}


def s4d(
    n: Number,
    d: Number,
    *,
    states: Number = 64,
    mode: str = "convolution",
    discretisation: str = "zoh",
    batch: Number = 1,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.s4d`: a vector for each channel, and its convolution by transforms; or n steps.

    Convolution: 2ndN FLOPs in matrix products, (2·batch + 1)d transforms of L ≥ 2n − 1 real numbers, L a power of
    two, each 5/2 L log₂ L. Recurrence: 7N + 2 FLOPs for each channel and position.

    Args:
        n: positions. For symbols it is a power of four.
        d: width of the input.
        states: N, numbers that a channel keeps.
        mode: "convolution" or "recurrence".
        discretisation: "zoh" or "bilinear".
        batch: sequences, which share the vector.
        backward: add the gradients with respect to x and the parameters.
        dtype: of x and the output; all in between is float32 at least.

    Returns:
        A `Cost` with the steps "discretisation", "powers", "kernel", "transforms", "spectra" and "skip", or
        "discretisation" and "recurrence". All FLOPs are those of the program; with gradients, where sizes are 1, it
        adds up a few less. Its path is 1, as that of attention: no layer between x_1 and the last output.

    Raises:
        ValueError: a size below 1 or not whole, an odd number of states, an unknown mode, discretisation or dtype.

    Source: Gu et al. (2022); FLOPs of a transform: the convention of `attnlib.count`.

    Example:
        >>> convolution, recurrence = (s4d(4096, 512, mode=mode) for mode in ("convolution", "recurrence"))
        >>> convolution.matmul_flops, convolution["transforms"].flops, recurrence.flops
        (268435456, 408944640, 944111616)
    """
    name = "cost.s4d"
    n, d, batch = size(name, "n", n), size(name, "d", d), size(name, "batch", batch)
    states = size(name, "states", states)
    if not symbolic(states) and np.any(np.asarray(states % 2)):
        raise ValueError(f"{name}: states: expected an even number, conjugate pairs, got {states}")
    half = states / 2 if symbolic(states) else states // 2
    _check.flags(name, backward=backward)
    for argument, value, choices in (("mode", mode, FORMS), ("discretisation", discretisation, DISCRETISATIONS)):
        if value not in choices:
            raise ValueError(f"{name}: {argument}: expected one of {', '.join(choices)}, got {value!r}")
    b, w = itemsizes(name, dtype)
    per_state, per_channel = _DISCRETISE[discretisation]
    run = _convolution if mode == "convolution" else _recurrence
    given = 2 * d * (states + 1) * w
    discretise = Step(
        "discretisation",
        0,
        d * half * per_state[0] + d * per_channel[0],
        d * half * per_state[1] + d * per_channel[1],
        bytes_read=given,
        bytes_written=2 * d * states * w,
        allocated=2 * d * states * w,
    )
    steps, live, saved = run(n, d, states, half, batch, backward, b, w)
    if backward:
        per_state, per_channel = _BACKWARD[discretisation]
        fewer, more = (14, 2) if mode == "recurrence" else (0, 0)  # of Ā itself
        steps = (
            *steps,
            Step(
                "discretisation, backward",
                0,
                d * half * (per_state[0] - fewer) + d * per_channel[0],
                d * half * (per_state[1] + more),
                bytes_read=given + 2 * d * states * w,
                bytes_written=given,
                allocated=given,
            ),
        )
    bilinear = int(discretisation == "bilinear")
    saved = saved + d * (3 + bilinear) * w + d * half * (4 * w + 2) * bilinear
    return Cost((discretise, *steps), parameters=2 * d * (states + 1), live=live, saved=saved, path=1)


def s4d_step(
    d: Number,
    *,
    states: Number = 64,
    discretisation: str = "zoh",
    batch: Number = 1,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.s4d_step` for one position, which no length of the context changes.

    7N + 2 FLOPs for each channel, and what makes Ā and B̄ of the parameters.

    Args:
        d: width of the input.
        states: N, numbers that a channel keeps.
        discretisation: "zoh" or "bilinear".
        batch: sequences.
        dtype: of x and the output; the state is float32 at least.

    Returns:
        A `Cost`; `live` is the state, to the byte: dN numbers for each sequence.

    Raises:
        ValueError: as `s4d`.

    Source: Gu et al. (2022).

    Example:
        >>> s4d_step(512).live  # 512 · 64 · 4
        131072
    """
    name = "cost.s4d_step"
    with _check.named(name, "cost.s4d"):
        cost = s4d(1, d, states=states, mode="recurrence", discretisation=discretisation, batch=batch, dtype=dtype)
    return replace(cost, live=batch * d * states * itemsizes(name, dtype)[1], saved=0)


def _convolution(
    n: Number, d: Number, states: Number, half: Number, batch: Number, backward: bool, b: int, w: int
) -> tuple[tuple[Step, ...], Number, Number]:
    """Return steps, live and saved bytes of the convolution."""
    rows, c = cut(n)
    length = transformed(n)
    bins = length / 2 + 1 if symbolic(n) else length // 2 + 1
    one = _transform(length)
    x, channels, powers = batch * n * d, batch * d, d * (rows + c)
    spectra = 2 * bins * (channels + d) * w
    make = Step(
        "powers",
        0,
        half * (d * 9 + d * rows * 10 + d * c * 4),
        half * 3 * powers,
        bytes_read=2 * d * states * w,
        bytes_written=states * powers * w,
        allocated=states * powers * w,
    )
    kernel = Step(
        "kernel",
        2 * d * rows * c * states,
        bytes_read=states * powers * w,
        bytes_written=d * rows * c * w,
        allocated=d * rows * c * w,
    )
    transforms = Step(
        "transforms",
        0,
        (2 * channels + d) * one,
        bytes_read=x * b + (n * d + 2 * bins * channels) * w,
        bytes_written=spectra + x * w,
        allocated=spectra + x * w,
        sequential=2,
        calls=3,
    )
    product = Step("spectra", 0, 6 * channels * bins, bytes_read=spectra, bytes_written=2 * bins * channels * w)
    skip = Step("skip", 0, 2 * x, bytes_read=x * (b + w) + d * w, bytes_written=x * b, allocated=x * b)
    steps: tuple[Step, ...] = (make, kernel, transforms, product, skip)
    kept = (half * (27 * d + 9 * d * rows + 7 * d * c) + x + n * d) * w
    if backward:
        steps = (
            *steps,
            Step(
                "skip, backward", 0, 4 * x, bytes_read=2 * x * (b + w), bytes_written=x * w + d * w, allocated=x * w
            ),
            Step(
                "transforms, backward",
                0,
                (3 * channels + 2 * d) * one,
                bytes_read=2 * x * w + n * d * w + spectra,
                bytes_written=spectra + 2 * bins * channels * w + x * w + n * d * w,
                allocated=spectra + 2 * bins * channels * w + x * w + n * d * w,
                sequential=2,
                calls=5,
            ),
            Step(
                "spectra, backward",
                0,
                (15 * channels + d) * bins,
                bytes_read=2 * spectra,
                bytes_written=spectra,
                allocated=spectra,
                calls=2,
            ),
            product_backward(kernel),
            Step(
                "powers, backward",
                0,
                half * (30 * d * rows + 14 * d * c),
                half * 2 * powers,
                bytes_read=2 * states * powers * w,
                bytes_written=2 * d * states * w,
                calls=2,
            ),
        )
    # A transform reads x with its zeros and writes a spectrum; backward, those of x, of its gradient and of K meet.
    live = (length + 2 * bins) * channels * w
    return steps, spectra + (2 * bins * channels + x + n * d) * w if backward else live, kept


def _recurrence(
    n: Number, d: Number, states: Number, half: Number, batch: Number, backward: bool, b: int, w: int
) -> tuple[tuple[Step, ...], Number, Number]:
    """Return steps, live and saved bytes of n steps."""
    x, inner = batch * n * d, batch * n * d * half
    state, own = batch * d * states * w, d * states * w
    prepare = Step("coefficients", 0, 4 * d * half, 3 * d * half, bytes_read=2 * own, bytes_written=3 * own)
    run = Step(
        "recurrence",
        0,
        14 * inner + 2 * x,
        bytes_read=n * (state + 3 * own + d * w) + x * b,
        bytes_written=n * state + x * b,
        sequential=n,
        allocated=x * b,
        calls=n,
    )
    kept = (4 * inner + 2 * x + 31 * d * half) * w
    steps: tuple[Step, ...] = (prepare, run)
    if backward:
        steps = (
            *steps,
            Step(
                "recurrence, backward",
                0,
                32 * inner + 6 * x + n * d * (8 * half + 1),
                bytes_read=n * (3 * state + 3 * own + d * w) + 2 * x * b,
                bytes_written=n * (state + 3 * own + d * w) + x * b,
                sequential=n,
                allocated=x * b,
                calls=n,
            ),
        )
    return steps, state + (kept if backward else x * w), kept


def cut(n: Number) -> tuple[Number, Number]:
    """Return how many powers of Ā^c and of Ā make all up to n: both about √n, the second a power of two.

    Example:
        >>> cut(100)  # 7 · 16 = 112
        (7, 16)
    """
    if symbolic(n):
        import sympy

        return sympy.sqrt(n), sympy.sqrt(n)
    if isinstance(n, np.ndarray):
        rows, c = np.vectorize(lambda n: cut(int(n)), otypes=[float, float])(n)
        return rows, c
    c = 1 << ((n - 1).bit_length() + 1) // 2
    return -(-n // c), c


def transformed(n: Number) -> Number:
    """Return how many numbers are transformed: the least power of two that is at least 2n − 1.

    Example:
        >>> transformed(100)
        256
    """
    if symbolic(n):
        return 2 * n
    if isinstance(n, np.ndarray):
        return np.vectorize(lambda n: transformed(int(n)), otypes=[float])(n)
    return 1 << (2 * n - 2).bit_length()


def _transform(length: Number) -> Number:
    """Return the FLOPs of a transform of real numbers, 5/2 L log₂ L."""
    if symbolic(length):
        import sympy

        return 5 * length * sympy.log(length, 2) / 2
    if isinstance(length, np.ndarray):
        return 2.5 * length * np.log2(length)
    return 5 * length * (length.bit_length() - 1) // 2
