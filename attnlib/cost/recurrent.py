"""Costs of recurrent layers: the input's products at once, then n steps that wait for one another."""

from __future__ import annotations

from typing import Any

from attnlib.cost.algebra import Cost, Number, Step, flags, itemsize, size


def rnn(
    n: Number,
    d: Number,
    *,
    d_h: Number | None = None,
    batch: Number = 1,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.rnn`: one product with the input and one with the state at each position.

    2n(d·d_h + d_h²) FLOPs in matrix products: 4nd² at d_h = d.

    Args:
        n: positions.
        d: width of the input.
        d_h: width of the state; d by default.
        batch: sequences.
        backward: add the gradients with respect to x and the parameters.
        dtype: of x and the output; the state is float32 at least.

    Returns:
        A `Cost` with the steps "input", "recurrence" and "state". The recurrence reads its matrix n times. Its path
        is n: what x_1 says reaches the last output through n applications of the cell.

    Raises:
        ValueError: a size below 1 or not whole, an unknown dtype.

    Source: Vaswani et al. (2017), table 1.

    Example:
        >>> rnn(1000, 512).matmul_flops, rnn(1000, 512).path
        (1048576000, 1000)
    """
    return _recurrent("cost.rnn", 1, (1, 1, 0), (5, 0), 2, n, d, d_h, batch, backward, dtype)


def gru(
    n: Number,
    d: Number,
    *,
    d_h: Number | None = None,
    batch: Number = 1,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.gru`: three times the products of `rnn`, for two gates and the candidate.

    6n(d·d_h + d_h²) FLOPs in matrix products: 12nd² at d_h = d.

    Args:
        n: positions.
        d: width of the input.
        d_h: width of the state; d by default.
        batch: sequences.
        backward: add the gradients with respect to x and the parameters.
        dtype: of x and the output; the state is float32 at least.

    Returns:
        A `Cost` with the steps "input", "recurrence" and "state".

    Raises:
        ValueError: a size below 1 or not whole, an unknown dtype.

    Source: Cho et al. (2014).

    Example:
        >>> gru(1000, 512).matmul_flops // rnn(1000, 512).matmul_flops
        3
    """
    return _recurrent("cost.gru", 3, (8, 3, 1), (21, 1), 8, n, d, d_h, batch, backward, dtype)


def lstm(
    n: Number,
    d: Number,
    *,
    d_h: Number | None = None,
    batch: Number = 1,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.lstm`: four times the products of `rnn`, for three gates and the candidate.

    8n(d·d_h + d_h²) FLOPs in matrix products: 16nd² at d_h = d.

    Args:
        n: positions.
        d: width of the input.
        d_h: width of the state; d by default.
        batch: sequences.
        backward: add the gradients with respect to x and the parameters.
        dtype: of x and the output; the state is float32 at least.

    Returns:
        A `Cost` with the steps "input", "recurrence" and "state".

    Raises:
        ValueError: a size below 1 or not whole, an unknown dtype.

    Source: Hochreiter and Schmidhuber (1997).

    Example:
        >>> lstm(1000, 512).matmul_flops // rnn(1000, 512).matmul_flops
        4
    """
    return _recurrent("cost.lstm", 4, (8, 5, 0), (27, 0), 12, n, d, d_h, batch, backward, dtype)


def _recurrent(
    name: str,
    gates: int,
    state_work: tuple[int, int, int],
    gradient_work: tuple[int, int],
    kept: int,
    n: Number,
    d: Number,
    d_h: Number | None,
    batch: Number,
    backward: bool,
    dtype: Any,
) -> Cost:
    """Cost of a cell with `gates` blocks of width d_h.

    state_work: a number of the state takes so many FLOPs and transcendentals, and has so many biases of its own;
    gradient_work: FLOPs of the gradient for each number of the state, and for each number of those biases;
    kept: numbers kept for the backward pass, for each number of the state.
    """
    n, d, batch = size(name, "n", n), size(name, "d", d), size(name, "batch", batch)
    d_h = d if d_h is None else size(name, "d_h", d_h)
    flags(name, backward=backward)
    b = itemsize(name, dtype)
    wide = max(b, 4)
    flops, transcendentals, own_biases = state_work

    x, y, pre = batch * n * d, batch * n * d_h, batch * n * gates * d_h
    w, u, biases = d * gates * d_h, gates * d_h * d_h, (gates + own_biases) * d_h
    products = pre * wide
    steps = [
        # The bias is added here, once for every position.
        Step(
            "input",
            2 * x * gates * d_h,
            pre,
            bytes_read=x * b + w * wide,
            bytes_written=products,
            allocated=products,
        ),
        Step(
            "recurrence",
            2 * y * gates * d_h,
            bytes_read=n * u * wide + y * wide,
            bytes_written=products,
            sequential=n,
            calls=n,
        ),
        Step(
            "state",
            0,
            flops * y,
            transcendentals * y,
            bytes_read=2 * products + y * wide,
            bytes_written=y * b + y * wide,
            sequential=n,
            allocated=y * b,
            calls=n,
        ),
    ]
    if backward:
        per_state, per_bias = gradient_work
        steps += [
            Step(
                "state, backward",
                0,
                per_state * y + per_bias * n * d_h,
                bytes_read=(kept + 1) * y * wide,
                bytes_written=products,
                sequential=n,
                allocated=products,
                calls=n,
            ),
            # dh = dp uᵀ and, summed over the steps, du = hᵀ dp.
            Step(
                "recurrence, backward",
                4 * y * gates * d_h,
                n * u,
                bytes_read=2 * n * u * wide + 2 * products,
                bytes_written=n * u * wide + y * wide,
                sequential=n,
                calls=2 * n,
            ),
            Step(
                "input, backward",
                4 * x * gates * d_h,
                bytes_read=2 * products + x * b + w * wide,
                bytes_written=x * b + w * wide,
                allocated=x * b + w * wide,
                calls=2,
            ),
        ]
    saved = x * b + (w + u) * wide + kept * y * wide
    live = (products + y * wide) if not backward else saved + products
    return Cost(tuple(steps), parameters=w + u + biases, live=live, saved=saved, path=n)
