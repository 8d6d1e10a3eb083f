"""Costs of selective state spaces: trees of steps, chunk by chunk, and the layer around them. No JAX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attnlib import _check
from attnlib.cost._sizes import Number, itemsizes, parts, size, smallest, symbolic
from attnlib.cost.algebra import Cost, Step, product_backward

CHUNK = 32


def selective_scan(
    n: Number,
    d: Number,
    *,
    states: Number = 16,
    chunk: int | None = None,
    batch: Number = 1,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.selective_scan` with a skip: a tree of steps for each chunk of each state. No matrix product.

    One position after the other it would be 6dN + 3d FLOPs for each. A tree combines c steps 2c − 2 − log₂ c times,
    at 3 FLOPs, where one after the other they take 2 each.

    Args:
        n: positions.
        d: channels.
        states: N, states of a channel.
        chunk: as in the function. For symbols n is a multiple of it.
        batch: sequences.
        backward: add the gradients with respect to all arguments.
        dtype: of u, Δ, B, C and the output; states are float32 at least.

    Returns:
        A `Cost` with the steps "decays", "inputs", "tree", "reading" and "skip". All FLOPs are those of the program:
        it fills the last chunk, and puts results of a tree into their places by adding zeros, as JAX's
        `associative_scan` does; with gradients, where sizes are 1, it adds up a few less. What waits is one tree, and
        then one step for each chunk.

    Raises:
        ValueError: a size below 1 or not whole, an unknown dtype.

    Source: Gu and Dao (2023); work of the tree: Blelloch (1990).

    Example:
        >>> cost = selective_scan(4096, 512)
        >>> cost.matmul_flops, cost["tree"].flops / (4096 * 512 * 16), cost["tree"].sequential  # 2 one by one
        (0, 11.21875, 138)
    """
    name = "cost.selective_scan"
    n, d, batch = size(name, "n", n), size(name, "d", d), size(name, "batch", batch)
    states = size(name, "states", states)
    _check.optional_int(name, chunk=chunk)
    _check.flags(name, backward=backward)
    b, w = itemsizes(name, dtype)
    count, c = cut(n, CHUNK if chunk is None else chunk)
    combined, moved, levels = tree(c)
    rows, channels = count * c, batch * d
    own, x = channels * states, batch * n * d
    every, selection = rows * own * w, batch * n * states  # bytes of all states, numbers in B or C
    work = count * own * (3 * combined + moved)

    decays = Step(
        "decays", 0, rows * own, rows * own, bytes_read=x * b + d * states * w, bytes_written=every, calls=count
    )
    write = Step(
        "inputs",
        0,
        rows * (channels + own),
        bytes_read=(2 * x + selection) * b,
        bytes_written=every,
        calls=count,
    )
    combine = Step(
        "tree",
        0,
        work + 2 * rows * own,
        bytes_read=2 * every + count * own * w,
        bytes_written=2 * every + count * own * w,
        sequential=2 * levels + count,
        calls=2 * levels * count + count,
    )
    read = Step(
        "reading",
        0,
        2 * rows * own,
        bytes_read=every + selection * b,
        bytes_written=x * w,
        allocated=x * w,
        calls=count,
    )
    skip = Step("skip", 0, 2 * x, bytes_read=x * (b + w) + d * w, bytes_written=x * b, allocated=x * b)
    kept = (2 * x + 2 * selection + count * own + d * states + d) * w
    forward = Cost(
        (decays, write, combine, read, skip),
        live=4 * c * own * w,
        saved=kept,
        path=1,
    )
    if not backward:
        return forward
    more = (
        Step(
            "skip, backward", 0, 4 * x + d, bytes_read=2 * x * (b + w), bytes_written=x * w + d * w, allocated=x * w
        ),
        replace(decays, name="decays, again"),
        replace(write, name="inputs, again"),
        replace(combine, name="tree, again", sequential=2 * levels + 1),
        Step(
            "tree, backward",
            0,
            work + 3 * rows * own + count * own,
            bytes_read=2 * every + x * b + selection * b,
            bytes_written=2 * every + count * own * w,
            sequential=2 * levels + count,
            calls=2 * levels * count + count,
        ),
        Step(
            "steps, backward",
            0,
            12 * rows * own + 4 * rows * channels + count * d * states,
            bytes_read=3 * every + (2 * x + 2 * selection) * b,
            bytes_written=(2 * x + 2 * selection) * w + d * states * w,
            allocated=(2 * x + 2 * selection) * w,
            calls=6 * count,
        ),
    )
    return replace(forward, steps=(*forward.steps, *more), live=(count + 6 * c) * own * w)


def selective_scan_step(d: Number, *, states: Number = 16, batch: Number = 1, dtype: Any = "float32") -> Cost:
    """Cost of `attnlib.selective_scan_step` for one position, which no length of the context changes.

    8dN + 3d FLOPs: 6dN that the formula has, and 2dN since even a tree of one step is joined to the state.

    Args:
        d: channels.
        states: N, states of a channel.
        batch: sequences.
        dtype: of u, Δ, B, C and the output; the state is float32 at least.

    Returns:
        A `Cost`; `live` is the state, to the byte: dN numbers for each sequence.

    Raises:
        ValueError: as `selective_scan`.

    Source: Gu and Dao (2023).

    Example:
        >>> selective_scan_step(512).live  # 512 · 16 · 4
        32768
    """
    name = "cost.selective_scan_step"
    with _check.named(name, "cost.selective_scan"):
        cost = selective_scan(1, d, states=states, batch=batch, dtype=dtype)
    return replace(cost, live=batch * d * states * itemsizes(name, dtype)[1], saved=0)


def mamba(
    n: Number,
    d: Number,
    *,
    states: Number = 16,
    expand: Number = 2,
    k: Number = 4,
    rank: Number | None = None,
    chunk: int | None = None,
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
        scan = selective_scan(n, e, states=states, chunk=chunk, batch=batch, backward=backward, dtype=dtype)
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


def cut(n: Number, chunk: int) -> tuple[Number, Number]:
    """Return how many chunks n positions make, and how many positions one has, the last one filled.

    Example:
        >>> cut(100, 32), cut(10, 32)
        ((4, 32), (1, 10))
    """
    if symbolic(n):
        return n / chunk, chunk
    c = smallest(n, chunk)
    return -(-n // c), c


def tree(c: Number) -> tuple[Number, Number, Number]:
    """Return how often a tree over c steps combines two, how many numbers it moves by adding, and its levels.

    Every other step is combined with the one before it, and these c/2 by a tree of their own; its results are the
    second, fourth, … of all, and one more combination each makes the third, fifth, ….

    Example:
        >>> tree(8)  # 2 · 8 − 2 − 3
        (11, 28, 3)
    """
    if isinstance(c, np.ndarray):
        combined, moved, levels = np.vectorize(lambda c: tree(int(c)), otypes=[float] * 3)(c)
        return combined, moved, levels
    combined = moved = levels = 0
    while c > 1:
        combined, moved, levels, c = combined + c - 1, moved + 2 * c, levels + 1, c // 2
    return combined, moved, levels
