"""Costs of Mamba: a selective scan and the layer around it. No JAX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attnlib import _check
from attnlib.cost._sizes import Number, itemsizes, parts, size
from attnlib.cost.algebra import Cost, Step, product_backward
from attnlib.cost.selective_scan import selective_scan


def mamba(
    n: Number,
    d: Number,
    *,
    states: Number = 16,
    expand: Number = 2,
    k: Number = 4,
    rank: Number | None = None,
    chunk: int | None = None,
    tree: bool = False,
    batch: Number = 1,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.mamba`: products up to two halves of width e = expand · d, to Δ, B and C, and back down.

    2n(2de + e(rank + 2N) + rank·e + ed) FLOPs in matrix products: with what is usual, (25/2)nd² + 8ndN.

    Args:
        n: positions.
        d: model width.
        states: N, states of a channel.
        expand: inner channels for each channel of the model.
        k: positions of the convolution.
        rank: numbers that Δ is made of; d/16, rounded up, by default.
        chunk: as in `selective_scan`.
        tree: as in `selective_scan`.
        batch: sequences.
        backward: add the gradients with respect to x and the parameters.
        dtype: of x and the output; the scan is float32 at least.

    Returns:
        A `Cost` with the steps "in", "convolution", "selection", "steps", those of `selective_scan`, "gate" and
        "out". Its FLOPs are those of the program; with gradients, those outside products within a hundredth.

    Raises:
        ValueError: a size below 1 or not whole, an unknown dtype.

    Source: Gu and Dao (2023), section 3.4, and the code published with it.

    Example:
        >>> layer = mamba(4096, 1024)
        >>> layer.parameters, layer.matmul_flops  # (25/2) n d² + 8 n d N
        (6666240, 54223962112)
    """
    name = "cost.mamba"
    n, d, batch = size(name, "n", n), size(name, "d", d), size(name, "batch", batch)
    states, expand, k = size(name, "states", states), size(name, "expand", expand), size(name, "k", k)
    rank = parts(d, 16) if rank is None else size(name, "rank", rank)
    e = expand * d
    with _check.named(name, "cost.selective_scan"):
        scan = selective_scan(
            n, e, states=states, chunk=chunk, tree=tree, batch=batch, backward=backward, dtype=dtype
        )
    b, w = itemsizes(name, dtype)
    positions, inner = batch * n, batch * n * e

    def product(step: str, before: Number, after: Number) -> Step:
        read, written = (positions * before + before * after) * b, positions * after * b
        return Step(step, 2 * positions * before * after, bytes_read=read, bytes_written=written, allocated=written)

    up, select = product("in", d, 2 * e), product("selection", e, rank + 2 * states)
    step, down = product("steps", rank, e), product("out", e, d)
    # Softplus: an exponential and a logarithm, six FLOPs around them, and a bias. A is −e^(a_log).
    step = replace(step, other_flops=7 * inner + e * states, transcendentals=2 * inner + e * states)
    shift = Step(
        "convolution",
        0,
        (2 * k + 1) * inner,  # k products, k sums with the bias, and SiLU's product
        inner,
        bytes_read=inner * b + (k + 1) * e * w,
        bytes_written=inner * w,
        allocated=inner * w,
    )
    gate = Step("gate", 0, 2 * inner, inner, bytes_read=inner * (w + b), bytes_written=inner * b, allocated=inner * b)
    first, later = scan.steps[:5], scan.steps[5:]
    steps: tuple[Step, ...] = (up, shift, select, step, *first, gate, down)
    if backward:
        around = Step(
            "gates and convolution, backward",
            0,
            (6 * k + 21) * inner,
            3 * inner,  # SiLU, again; the slope of softplus
            bytes_read=6 * inner * w,
            bytes_written=4 * inner * w,
            allocated=4 * inner * w,
            calls=4,
        )
        steps = (*steps, product_backward(down), *later, product_backward(step), product_backward(select))
        steps = (*steps, around, product_backward(up))
    weights = 2 * d * e + k * e + e + e * (rank + 2 * states) + rank * e + e + e * states + e + e * d
    kept = scan.saved + (10 * inner + positions * (d + rank) + batch * (k - 1) * e + weights - 2 * e) * w
    return Cost(
        steps,
        parameters=weights,
        live=scan.live + (kept - scan.saved if backward else 4 * inner * w),
        saved=kept,
        path=1,
    )


def mamba_step(
    d: Number,
    *,
    states: Number = 16,
    expand: Number = 2,
    k: Number = 4,
    rank: Number | None = None,
    batch: Number = 1,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.mamba_step` for one position, which no length of the context changes.

    (25/2)d² + 8dN FLOPs in matrix products with what is usual, as for a position of `mamba`.

    Args:
        d: model width.
        states: N, states of a channel.
        expand: as in `mamba`.
        k: as in `mamba`.
        rank: as in `mamba`.
        batch: sequences.
        dtype: of x and the output; the state is float32 at least.

    Returns:
        A `Cost`; `live` is the state, to the byte: (N + k − 1)e numbers for each sequence.

    Raises:
        ValueError: as `mamba`.

    Source: Gu and Dao (2023).

    Example:
        >>> mamba_step(1024).live  # 2048 · (16 + 3) · 4
        155648
    """
    name = "cost.mamba_step"
    with _check.named(name, "cost.mamba"):
        cost = mamba(1, d, states=states, expand=expand, k=k, rank=rank, batch=batch, dtype=dtype)
    return replace(cost, live=batch * expand * d * (states + k - 1) * itemsizes(name, dtype)[1], saved=0)
