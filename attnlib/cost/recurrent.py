"""Costs of recurrent layers: the input's products at once, then n steps that wait for one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from attnlib import _check
from attnlib.cost._sizes import Number, itemsizes, size
from attnlib.cost.algebra import Cost, Step, product_backward


@dataclass(frozen=True)
class Cell:
    """What a recurrent cell takes besides its matrix products, for each number of its state.

    Attributes:
        gates: blocks of width d_h that a product makes.
        flops: FLOPs outside products.
        transcendentals: exponentials and the like.
        kept: numbers kept for the backward pass.
        gradient_flops: FLOPs of the gradient outside products.
        own_biases: biases of the state's product, beside those of the input's.
        bias_gradient_flops: FLOPs of their gradient at each position.
    """

    gates: int
    flops: int
    transcendentals: int
    kept: int
    gradient_flops: int
    own_biases: int = 0
    bias_gradient_flops: int = 0


RNN = Cell(gates=1, flops=1, transcendentals=1, kept=2, gradient_flops=5)
GRU = Cell(gates=3, flops=8, transcendentals=3, kept=8, gradient_flops=21, own_biases=1, bias_gradient_flops=1)
LSTM = Cell(gates=4, flops=8, transcendentals=5, kept=12, gradient_flops=27)


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
    return _recurrent("cost.rnn", RNN, n, d, d_h, batch, backward, dtype)


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
        d_h: width of the state, of each gate and of the candidate; d by default.
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
    return _recurrent("cost.gru", GRU, n, d, d_h, batch, backward, dtype)


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
        d_h: width of h, of c and of each gate; d by default.
        batch: sequences.
        backward: add the gradients with respect to x and the parameters.
        dtype: of x and the output; h and c are float32 at least.

    Returns:
        A `Cost` with the steps "input", "recurrence" and "state".

    Raises:
        ValueError: a size below 1 or not whole, an unknown dtype.

    Source: Hochreiter and Schmidhuber (1997).

    Example:
        >>> lstm(1000, 512).matmul_flops // rnn(1000, 512).matmul_flops
        4
    """
    return _recurrent("cost.lstm", LSTM, n, d, d_h, batch, backward, dtype)


def _recurrent(
    name: str, cell: Cell, n: Number, d: Number, d_h: Number | None, batch: Number, backward: bool, dtype: Any
) -> Cost:
    n, d, batch = size(name, "n", n), size(name, "d", d), size(name, "batch", batch)
    d_h = d if d_h is None else size(name, "d_h", d_h)
    _check.flags(name, backward=backward)
    b, wide = itemsizes(name, dtype)

    blocks = cell.gates * d_h
    x, y, pre = batch * n * d, batch * n * d_h, batch * n * blocks
    w, u, biases = d * blocks, d_h * blocks, blocks + cell.own_biases * d_h
    products, kept = pre * wide, cell.kept * y * wide
    # The bias is added here, once for every position.
    of_input = Step(
        "input",
        2 * x * blocks,
        pre,
        bytes_read=x * b + w * wide,
        bytes_written=products,
        allocated=products,
    )
    steps = [
        of_input,
        Step(
            "recurrence",
            2 * y * blocks,
            bytes_read=n * u * wide + y * wide,
            bytes_written=products,
            sequential=n,
            calls=n,
        ),
        Step(
            "state",
            0,
            cell.flops * y,
            cell.transcendentals * y,
            bytes_read=2 * products + y * wide,
            bytes_written=y * b + y * wide,
            sequential=n,
            allocated=y * b,
            calls=n,
        ),
    ]
    if backward:
        steps += [
            Step(
                "state, backward",
                0,
                cell.gradient_flops * y + cell.bias_gradient_flops * n * d_h,
                bytes_read=kept + y * wide,
                bytes_written=products,
                sequential=n,
                allocated=products,
                calls=n,
            ),
            # dh = dp uᵀ and, summed over the steps, du = hᵀ dp.
            Step(
                "recurrence, backward",
                4 * y * blocks,
                n * u,
                bytes_read=2 * n * u * wide + 2 * products,
                bytes_written=n * u * wide + y * wide,
                sequential=n,
                calls=2 * n,
            ),
            product_backward(of_input),
        ]
    saved = x * b + (w + u) * wide + kept
    live = (products + y * wide) if not backward else saved + products
    return Cost(tuple(steps), parameters=w + u + biases, live=live, saved=saved, path=n)
