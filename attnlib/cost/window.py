"""Costs of restricted attention."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attnlib import _check
from attnlib.cost._sizes import Number, size, smallest, symbolic
from attnlib.cost.algebra import Cost
from attnlib.cost.flash import flash_attention


def window_attention(
    n: Number,
    d_k: Number,
    r: int,
    *,
    m: Number | None = None,
    d_v: Number | None = None,
    h: Number = 1,
    h_kv: Number | None = None,
    batch: Number = 1,
    causal: bool = False,
    block_q: int | None = None,
    block_k: int | None = None,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.window_attention`: the blocks of scores that the window touches.

    With P pairs in these blocks: 2P(d_k + d_v) FLOPs in matrix products. `window_pairs` counts the pairs that matter.

    Args:
        n: queries, integers or arrays.
        d_k: width of a head's queries and keys.
        r: size of the neighbourhood: causal, the last r keys; otherwise ⌊r/2⌋ to each side.
        m: keys; n by default.
        d_v: width of a head's values; d_k by default.
        h: query heads.
        h_kv: key and value heads, a divisor of h; h by default.
        batch: sequences.
        causal: whether later keys are hidden.
        block_q: queries in a block; by default what the kernel takes on CPU.
        block_k: keys in a block.
        backward: add the gradients with respect to q, k and v.
        dtype: of q, k, v and the output; scores and sums are float32 at least.

    Returns:
        A `Cost` with the steps of `flash_attention`. Its path is the number of such layers that connect the two ends:
        ⌈(n−1)/⌊r/2⌋⌉, causal ⌈(n−1)/(r−1)⌉, and 0 when no number does.

    Raises:
        ValueError: as `flash_attention`; an r that is not a positive integer, symbols.

    Source: Vaswani et al. (2017), table 1.

    Example:
        >>> c = window_attention(8192, 64, 128, causal=True, block_q=128, block_k=128)
        >>> round(c.matmul_flops / (4 * 64 * window_pairs(8192, 128)), 3), c.path
        (2.0, 65)
    """
    name = "cost.window_attention"
    _check.positive_int(name, r=r)
    _check.flags(name, causal=causal)
    n = size(name, "n", n)
    if symbolic(n):
        raise ValueError(f"{name}: n: expected integers, as blocks are counted one by one, got {n}")
    with _check.named(name, "cost.flash_attention"):
        cost = flash_attention(
            *(n, d_k),
            m=m,
            d_v=d_v,
            h=h,
            h_kv=h_kv,
            batch=batch,
            causal=causal,
            window=r if causal else r // 2 + 1,
            block_q=block_q,
            block_k=block_k,
            backward=backward,
            dtype=dtype,
        )
    step = r - 1 if causal else r // 2
    path = -(-(n - 1) // step) if step else 0 * n
    return replace(cost, path=path)


def window_pairs(n: Number, r: Number, *, causal: bool = True) -> Number:
    """Count the pairs of n queries and n keys that lie within a window: about nr.

    causal: nr − r(r−1)/2 for r ≤ n; otherwise n(2s + 1) − s(s + 1) with s = ⌊r/2⌋ < n.

    Args:
        n: queries and keys.
        r: size of the neighbourhood: causal, the last r keys; otherwise ⌊r/2⌋ to each side.
        causal: whether later keys are hidden.

    Returns:
        The number of pairs, of the type of n and r.

    Raises:
        ValueError: a size below 1 or not whole.

    Example:
        >>> window_pairs(4, 2), window_pairs(4, 2, causal=False), window_pairs(4, 9)
        (7, 10, 10)
    """
    name = "cost.window_pairs"
    n, r = size(name, "n", n), size(name, "r", r)
    _check.flags(name, causal=causal)
    exact = not symbolic(n, r)
    if causal:
        s = smallest(r, n)
        missing = s * (s - 1)
        return n * s - (missing // 2 if exact else missing / 2)
    if not exact:
        import sympy

        r = sympy.floor(sympy.sympify(r) / 2)
    s = smallest(r // 2 if exact else r, n - 1)
    return n * (2 * s + 1) - s * (s + 1)


def state(n: Number, d_k: Number, d_v: Number, *, r: int) -> Number:
    """Return how many numbers decoding keeps for a head of keys after n positions: the last r keys and values."""
    return smallest(n, r) * (d_k + d_v)
