"""Costs of selective scans: chunk by chunk, position by position or in trees of steps. No JAX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attnlib import _check
from attnlib.cost._sizes import Number, itemsizes, parts, size, symbolic
from attnlib.cost.algebra import Cost, Step

CHUNK = 32


def selective_scan(
    n: Number,
    d: Number,
    *,
    states: Number = 16,
    chunk: int | None = None,
    tree: bool = False,
    batch: Number = 1,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.selective_scan` with a skip, one position after the other or in trees. No matrix product.

    One position after the other it is 6dN + 3d FLOPs for each. A tree combines c steps 2c − 2 − log₂ c times, at 3
    FLOPs, where one after the other they take 2 each; then 2 more put in the state before them.

    Args:
        n: positions.
        d: channels.
        states: N, states of a channel.
        chunk: as in the function. For symbols n is a multiple of it.
        tree: whether a tree combines the positions of a chunk, as the function does unless it runs on a CPU.
        batch: sequences.
        backward: add the gradients with respect to all arguments.
        dtype: of u, Δ, B, C and the output; states are float32 at least.

    Returns:
        A `Cost` with the steps "decays", "inputs", "states", "reading" and "skip". All FLOPs are those of the
        program: it fills the last chunk, and puts results of a tree into their places by adding zeros, as JAX's
        `associative_scan` does; with gradients, where sizes are 1, it adds up a few less. What waits is a step for
        each position, or one tree, and then a step for each chunk.

    Raises:
        ValueError: a size below 1 or not whole, an unknown dtype.

    Source: Gu and Dao (2023); work of the tree: Blelloch (1990).

    Example:
        >>> for tree in (False, True):
        ...     cost = selective_scan(4096, 512, tree=tree)
        ...     print(cost.matmul_flops, cost["states"].flops / (4096 * 512 * 16), cost["states"].sequential)
        0 2.0 4096
        0 11.21875 138
    """
    name = "cost.selective_scan"
    n, d, batch = size(name, "n", n), size(name, "d", d), size(name, "batch", batch)
    states = size(name, "states", states)
    _check.optional_int(name, chunk=chunk)
    _check.flags(name, tree=tree, backward=backward)
    b, w = itemsizes(name, dtype)
    count, c = cut(n, CHUNK if chunk is None else chunk)
    rows, channels = count * c, batch * d
    at_once = c if tree else 1  # positions that are made together
    calls = rows / at_once if symbolic(n) else rows // at_once
    combined, moved, levels = combinations(at_once)
    own, x = channels * states, batch * n * d
    every, selection = rows * own * w, batch * n * states  # bytes of all states, numbers in B or C
    work, before = calls * own * (3 * combined + moved), calls * own * w

    decays = Step(
        "decays", 0, rows * own, rows * own, bytes_read=x * b + d * states * w, bytes_written=every, calls=calls
    )
    write = Step(
        "inputs",
        0,
        rows * (channels + own),
        bytes_read=(2 * x + selection) * b,
        bytes_written=every,
        calls=calls,
    )
    combine = Step(
        "states",
        0,
        work + 2 * rows * own,
        bytes_read=2 * every + before,
        bytes_written=2 * every + before if tree else every,
        sequential=2 * levels + calls,
        calls=(2 * levels + 1) * calls,
    )
    read = Step(
        "reading",
        0,
        2 * rows * own,
        bytes_read=every + selection * b,
        bytes_written=x * w,
        allocated=x * w,
        calls=calls,
    )
    skip = Step("skip", 0, 2 * x, bytes_read=x * (b + w) + d * w, bytes_written=x * b, allocated=x * b)
    kept = (2 * x + 2 * selection + count * own + d * states + d) * w
    within = c * (3 * channels + 2 * batch * states)  # a chunk's part of all that has positions
    live = (4 * at_once * own + within) * w
    forward = Cost((decays, write, combine, read, skip), live=live, saved=kept, path=1)
    if not backward:
        return forward
    more = (
        Step(
            "skip, backward", 0, 4 * x + d, bytes_read=2 * x * (b + w), bytes_written=x * w + d * w, allocated=x * w
        ),
        replace(decays * 2, name="decays, twice again"),
        replace(write, name="inputs, again"),
        replace(combine, name="states, again"),
        Step(
            "states, backward",
            0,
            work + 4 * rows * own,
            bytes_read=2 * every + x * b + selection * b,
            bytes_written=2 * every + before,
            sequential=2 * levels + calls,
            calls=(2 * levels + 1) * calls,
        ),
        Step(
            "steps, backward",
            0,
            11 * rows * own + 4 * rows * channels + (calls + 1) * own,
            bytes_read=3 * every + (2 * x + 2 * selection) * b,
            bytes_written=(2 * x + 2 * selection) * w + own * w,
            allocated=(2 * x + 2 * selection) * w,
            calls=6 * calls,
        ),
    )
    return replace(forward, steps=(*forward.steps, *more), live=((count + c + 6 * at_once) * own + 2 * within) * w)


def selective_scan_step(d: Number, *, states: Number = 16, batch: Number = 1, dtype: Any = "float32") -> Cost:
    """Cost of `attnlib.selective_scan_step` for one position, which no length of the context changes.

    6dN + 3d FLOPs, the formula.

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
        >>> selective_scan_step(1).flops  # 6 · 16 + 3
        99
    """
    name = "cost.selective_scan_step"
    with _check.named(name, "cost.selective_scan"):
        cost = selective_scan(1, d, states=states, batch=batch, dtype=dtype)
    return replace(cost, live=batch * d * states * itemsizes(name, dtype)[1], saved=0)


def cut(n: Number, chunk: int) -> tuple[Number, Number]:
    """Return how many chunks n positions make, and how many positions one has: alike, but that the last is filled.

    Example:
        >>> cut(100, 32), cut(10, 32)
        ((4, 25), (1, 10))
    """
    count = parts(n, chunk)
    return count, parts(n, count)


def combinations(c: Number) -> tuple[Number, Number, Number]:
    """Return how often a tree over c steps combines two, how many numbers it moves by adding, and its levels.

    Every other step is combined with the one before it, and these c/2 by a tree of their own; its results are the
    second, fourth, … of all, and one more combination each makes the third, fifth, ….

    Example:
        >>> combinations(8)  # 2 · 8 − 2 − 3
        (11, 28, 3)
    """
    if isinstance(c, np.ndarray):
        combined, moved, levels = np.vectorize(lambda c: combinations(int(c)), otypes=[float] * 3)(c)
        return combined, moved, levels
    combined = moved = levels = 0
    while c > 1:
        combined, moved, levels, c = combined + c - 1, moved + 2 * c, levels + 1, c // 2
    return combined, moved, levels
