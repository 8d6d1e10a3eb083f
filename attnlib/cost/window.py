"""Costs of restricted attention: which keys are near, and what looking at them costs. No JAX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from attnlib import _check
from attnlib.cost._sizes import Number, largest, size, smallest, symbolic
from attnlib.cost.algebra import COUNTS, Cost
from attnlib.cost.flash import flash_attention, segment_ids


def window_attention(
    n: Number,
    d_k: Number,
    r: int | None = None,
    *,
    left: int | None = None,
    right: int | None = None,
    dilation: int = 1,
    m: Number | None = None,
    d_v: Number | None = None,
    h: Number = 1,
    h_kv: Number | None = None,
    segments: tuple[Any, ...] | None = None,
    batch: Number = 1,
    causal: bool = False,
    block_q: int | None = None,
    block_k: int | None = None,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.window_attention`: the blocks of scores that the window touches.

    With P pairs in these blocks: 2P(d_k + d_v) FLOPs in matrix products. `window_pairs` counts the pairs that matter.
    A dilated window is that of `dilation` shorter problems.

    Args:
        n: queries, integers or arrays; an integer with a dilation.
        d_k: width of a head's queries and keys.
        r: size of the neighbourhood: causal, the last r keys; otherwise ⌊r/2⌋ to each side.
        left: keys before the position itself, in place of r.
        right: keys after it; causal, 0.
        dilation: only every dilation-th key counts.
        m: keys; n by default.
        d_v: width of a head's values; d_k by default.
        h: query heads.
        h_kv: key and value heads, a divisor of h; h by default.
        segments: lengths of packed sequences, as `cost.flash_attention` takes them.
        batch: sequences.
        causal: whether later keys are hidden.
        block_q: queries in a block; by default what the kernel takes on CPU.
        block_k: keys in a block.
        backward: add the gradients with respect to q, k and v.
        dtype: of q, k, v and the output; scores and sums are float32 at least.

    Returns:
        A `Cost` with the steps of `flash_attention`. Its path is the number of such layers that connect the two ends,
        either way if the window has keys on both sides: ⌈(n−1)/⌊r/2⌋⌉, causal ⌈(n−1)/(r−1)⌉, and 0 when no number
        does, as where n − 1 is no multiple of the dilation.

    Raises:
        ValueError: as `flash_attention`; what the kernel refuses of a neighbourhood, symbols.

    Source: Vaswani et al. (2017), table 1.

    Example:
        >>> c = window_attention(8192, 64, 128, causal=True, block_q=128, block_k=128)
        >>> round(c.matmul_flops / (4 * 64 * window_pairs(8192, 128)), 3), c.path
        (2.0, 65)
    """
    name = "cost.window_attention"
    near = neighbourhood(name, r, left, right, dilation, causal)
    n, m = size(name, "n", n), None if m is None else size(name, "m", m)
    if symbolic(n):
        raise ValueError(f"{name}: n: expected integers, as blocks are counted one by one, got {n}")
    if dilation > 1 and not (isinstance(n, int) and isinstance(m, int | None)):
        raise ValueError(f"{name}: n: expected integers n and m with a dilation, got {n}, {m}")
    options: dict[str, Any] = {"d_v": d_v, "h": h, "h_kv": h_kv, "causal": causal, "window": near}
    options |= {"block_q": block_q, "block_k": block_k, "backward": backward, "dtype": dtype}
    with _check.named(name, "cost.flash_attention"):
        whole = flash_attention(n, d_k, m=m, batch=batch, segments=segments, **options)
        if dilation > 1:
            whole = _together(
                whole, _classes(name, n, n if m is None else m, d_k, dilation, batch, segments, options)
            )
    steps = [side for side in (near if not causal else near[:1]) if side]
    path = -(-(n - 1) // (min(steps) * dilation)) if steps else 0 * n
    return replace(whole, path=path if dilation == 1 or (n - 1) % dilation == 0 else 0)


def _classes(
    name: str, n: int, m: int, d_k: Number, dilation: int, batch: Number, segments: Any, options: dict[str, Any]
) -> list[Cost]:
    """Return the cost of attention within each class of positions; without segments those that are alike at once."""
    dilation, groups = residues(n, m, dilation)
    met = [(first, last, rows, columns) for first, last, rows, columns in groups if rows and columns]
    ids = segment_ids(name, segments, n, m)
    if ids is None:
        return [
            flash_attention(rows, d_k, m=columns, batch=batch * (b - a), **options) for a, b, rows, columns in met
        ]

    least = 1 + max(int(x.max()) for x in ids)

    def part(x: Any, c: int) -> tuple[int, ...]:
        """How many positions of class c each segment has: the last class has the last position."""
        return tuple(int(count) for count in np.bincount(x[::-1][dilation - 1 - c :: dilation], minlength=least))

    return [
        flash_attention(rows, d_k, m=columns, batch=batch, segments=tuple(part(x, c) for x in ids), **options)
        for a, b, rows, columns in met
        for c in range(a, b)
    ]


def neighbourhood(name: str, r: Any, left: Any, right: Any, dilation: Any, causal: Any) -> tuple[int, int]:
    """Return how many keys before and after its own a query sees, checked.

    Example:
        >>> neighbourhood("f", 4, None, None, 1, False), neighbourhood("f", None, 3, None, 1, True)
        ((2, 2), (3, 0))
    """
    _check.flags(name, causal=causal)
    _check.positive_int(name, dilation=dilation)
    if r is not None:
        _check.positive_int(name, r=r)
        for side, value in (("left", left), ("right", right)):
            if value is not None:
                raise ValueError(f"{name}: {side}: expected None together with r, got {value!r}")
        return (r - 1, 0) if causal else (r // 2, r // 2)
    if left is None and right is None:
        raise ValueError(f"{name}: r: expected an integer of at least 1, or left and right, got None")
    right = 0 if right is None and causal else right
    _check.at_least(name, 0, left=left, right=right)
    if causal and right:
        raise ValueError(f"{name}: right: expected 0 with causal, which hides what comes after, got {right}")
    return left, right


def residues(n: int, m: int, dilation: int) -> tuple[int, list[tuple[int, int, int, int]]]:
    """Group the classes of positions that are multiples of the dilation apart by their numbers of queries and keys.

    Query i stands at position i + m − n. Filled up at the front, both lengths are multiples of the dilation: class c
    holds the positions c, c + dilation, …, and one fewer if it begins in what was filled up.

    Returns:
        The dilation, or max(n, m) where it is larger: a query sees its own key alone either way. And the groups
        (first class, last class + 1, queries, keys).

    Example:
        >>> residues(5, 5, 2), residues(7, 5, 3)
        ((2, [(0, 1, 2, 2), (1, 2, 3, 3)]), (3, [(0, 1, 2, 1), (1, 2, 2, 2), (2, 3, 3, 2)]))
    """
    dilation = min(dilation, max(n, m))
    cut = sorted({0, -n % dilation, -m % dilation, dilation})
    rows, columns = -(-n // dilation), -(-m // dilation)
    groups = [
        (first, last, rows - (first < -n % dilation), columns - (first < -m % dilation))
        for first, last in pairwise(cut)
    ]
    return dilation, groups


def _together(whole: Cost, parts: Sequence[Cost]) -> Cost:
    """Add up the same steps of several problems that share out one, `whole`; they keep what it keeps."""
    steps = (
        replace(step, **{field: sum(getattr(part[step.name], field) for part in parts) for field in COUNTS})
        for step in whole.steps
    )
    live = 0
    for part in parts:
        live = largest(live, part.live)
    return replace(whole, steps=tuple(steps), live=live)


def window_pairs(
    n: Number,
    r: Number | None = None,
    *,
    causal: bool = True,
    left: int | None = None,
    right: int | None = None,
    dilation: int = 1,
) -> Number:
    """Count the pairs of n queries and n keys that lie within a window: about n times its keys.

    Σ_t (n − |t| · dilation) over −right ≤ t ≤ left;   with r, causal: n · r − r(r−1)/2 for r ≤ n

    Args:
        n: queries and keys.
        r: size of the neighbourhood: causal, the last r keys; otherwise ⌊r/2⌋ to each side.
        causal: whether later keys are hidden.
        left: keys before the position itself, in place of r.
        right: keys after it; causal, 0.
        dilation: only every dilation-th key counts.

    Returns:
        The number of pairs, of the type of n and r.

    Raises:
        ValueError: a size below 1 or not whole; what the kernel refuses of a neighbourhood.

    Example:
        >>> window_pairs(4, 2), window_pairs(4, 2, causal=False), window_pairs(4, 9)
        (7, 10, 10)
        >>> window_pairs(5, left=1, right=0, causal=False, dilation=2)
        8
    """
    name = "cost.window_pairs"
    n = size(name, "n", n)
    if r is None or left is not None or right is not None:
        sides: tuple[Number, ...] = neighbourhood(name, r, left, right, dilation, causal)
    else:
        r = size(name, "r", r)
        _check.flags(name, causal=causal)
        _check.positive_int(name, dilation=dilation)
        sides = (r - 1, 0 * r) if causal else (_half(r), _half(r))
    exact = not symbolic(n, *sides)
    furthest = _half(n - 1, dilation)
    total = n
    for side in sides:
        if not exact and side == 0:
            continue
        # The same number, in the form that symbols simplify to.
        s = smallest(side, furthest) if exact or dilation != 1 else smallest(side + 1, n) - 1
        missing = dilation * s * (s + 1)
        total = total + n * s - (missing // 2 if exact else missing / 2)
    return total


def _half(x: Number, part: int = 2) -> Number:
    """Return ⌊x/part⌋."""
    if not symbolic(x):
        return x // part
    import sympy

    return x if part == 1 else sympy.floor(x / part)


def state(
    n: Number,
    d_k: Number,
    d_v: Number,
    *,
    r: int | None = None,
    left: int | None = None,
    dilation: int = 1,
) -> Number:
    """Return how many numbers decoding keeps for a head of keys after n positions: keys and values within reach."""
    before, _ = neighbourhood("cost.window.state", r, left, None, dilation, True)
    return smallest(n, before * dilation + 1) * (d_k + d_v)
