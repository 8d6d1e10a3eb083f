"""How far the truncated exponential is from the exponential, and what that does to attention. No JAX."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from attnlib import _check
from attnlib.cost.taylor import check_order


def negative_below(order: int) -> float:
    """Return x_p, the only zero of an odd T_p being −x_p: logits below −x_p get negative weights.

    T_p(−x_p) = 0 for odd p; infinity for even p, whose weights are positive everywhere.

    Args:
        order: p ≥ 0.

    Returns:
        x_p; x_p/p falls to W(1/e) = 0.2785 as p grows.

    Raises:
        ValueError: an order that is not a whole number from 0 to 170.

    Source: Szegő (1924) for the limit; the chapter "Accuracy of Taylor attention" for the sign.

    Example:
        >>> negative_below(1), round(negative_below(3), 5), negative_below(2)
        (1.0, 1.59607, inf)
    """
    check_order("taylor.negative_below", order)
    if order % 2 == 0:
        return math.inf
    # T_p(−x) e^x = 1 − (1/p!)∫₀ˣ tᵖ eᵗ dt: a sum of positive terms that grows with x, so nothing cancels.
    low, high = 0.0, float(order)
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return high
        low, high = (middle, high) if _grown(middle, order) < 1 else (low, middle)


class ErrorBound(NamedTuple):
    """How far Taylor attention of order p may be from softmax attention when every |logit| ≤ B.

    Attributes:
        kernel: the largest |T_p(x)/eˣ − 1| for |x| ≤ B; attained, at −B.
        closed_form: e^B B^(p+1)/(p+1)!, at least `kernel` and at most e^(B/(p+2)) times it.
        variation: tanh(H/4), H the logarithm of the largest over the smallest T_p(x)/eˣ: no weights α̂ are further
            than that from softmax weights α in ½ Σ|α_j − α̂_j|, and some come as near to it as one likes. 1 where
            weights can vanish or turn negative: then there is no bound, and `output` is infinite.
        output: 2 · variation: |o − ô| ≤ output · max|v|. Also |o − ô| ≤ variation · (max v − min v).
    """

    kernel: float
    closed_form: float
    variation: float
    output: float


def error_bound(order: int, logit_bound: float | int) -> ErrorBound:
    """Bound the distance between Taylor and softmax attention whose logits lie within ±logit_bound.

    variation = tanh(H/4),   H = ln max_x T_p(x) e^(−x) − ln min_x T_p(x) e^(−x),   |x| ≤ B

    Args:
        order: p ≥ 0.
        logit_bound: B ≥ 0, finite.

    Returns:
        `ErrorBound`.

    Raises:
        ValueError: an order that is not a whole number from 0 to 170, a bound that is negative, infinite or NaN.

    Source: proved in the chapter "Accuracy of Taylor attention": total variation by Hilbert's projective distance,
        for which Cohen and Fausti (2023) have a sharp bound.

    Example:
        >>> bound = error_bound(4, 1.0)
        >>> round(bound.kernel, 4), round(bound.closed_form, 4), round(bound.output, 4)
        (0.0194, 0.0227, 0.0114)
    """
    name = "taylor.error_bound"
    check_order(name, order)
    b = _positive(name, "logit_bound", logit_bound, zero=True)
    if b == 0:
        return ErrorBound(0.0, 0.0, 0.0, 0.0)
    log_closed = b + (order + 1) * math.log(b) - math.lgamma(order + 2)
    closed = math.exp(log_closed) if log_closed < 709 else math.inf
    grown, shrunk = _grown(b, order), _kept(b, order)
    if order % 2:  # T_p e⁻ˣ is largest at 0, where it is 1
        kernel = max(grown, 1 - shrunk) if grown < math.inf else math.inf
        if grown >= 1:
            return ErrorBound(kernel, closed, 1.0, math.inf)
        h = -min(math.log1p(-grown), math.log(shrunk))
    else:
        kernel = grown
        h = math.log1p(grown) - math.log(shrunk) if shrunk > 0 else math.inf
    variation = math.tanh(h / 4)
    return ErrorBound(kernel, closed, variation, 2 * variation)


def minimal_order(logit_bound: float | int, error: float | int, *, even: bool = True) -> int:
    """Return the least order whose relative error of the kernel is at most `error` for every |logit| ≤ B.

    the least p with e^B B^(p+1)/(p+1)! ≤ error: p ≈ 3.5911·B for large B

    Args:
        logit_bound: B ≥ 0, finite.
        error: ε > 0.
        even: round up to an even order, whose weights are positive.

    Returns:
        The order, which may be one that no machine can afford.

    Raises:
        ValueError: a bound that is negative, infinite or NaN, an error that is not positive and finite.

    Source: ours, proved in the chapter "Accuracy of Taylor attention" (Taylor's theorem with the integral remainder).

    Example:
        >>> minimal_order(1.0, 0.01), minimal_order(1.0, 0.01, even=False), minimal_order(8.0, 0.01)
        (6, 5, 30)
    """
    name = "taylor.minimal_order"
    b = _positive(name, "logit_bound", logit_bound, zero=True)
    error = _positive(name, "error", error)
    _check.flags(name, even=even)
    if b == 0:
        return 0

    def small_enough(p: int) -> bool:
        return b + (p + 1) * math.log(b) - math.lgamma(p + 2) <= math.log(error)

    # The bound grows until p + 1 = B and falls from there on. For B ≥ 1 it starts at e^B · B, so the first order
    # below a small ε is on the falling side, where bisection finds it.
    low = 0 if b < 1 else int(b)
    if small_enough(0):
        p = 0
    else:
        high = low + 1
        while not small_enough(high):
            high *= 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if small_enough(middle) else (middle, high)
        p = high
    return p + p % 2 if even else p


def _grown(b: float, order: int) -> float:
    """(1/p!) ∫₀ᴮ tᵖ eᵗ dt = |T_p(−B)e^B − 1|, term by positive term."""
    term = math.exp(min((order + 1) * math.log(b) - math.lgamma(order + 1), 700)) if b > 0 else 0.0
    total, j = 0.0, 0
    while True:
        add = term / (order + 1 + j)
        total += add
        if add <= 1e-18 * total or total == math.inf:
            return total
        j += 1
        term *= b / j


def _kept(b: float, order: int) -> float:
    """T_p(B) e^(−B): the probability that a Poisson number of mean B is at most p."""
    return min(1.0, math.fsum(math.exp(a * math.log(b) - math.lgamma(a + 1) - b) for a in range(order + 1)))


def _positive(name: str, argument: str, value: Any, zero: bool = False) -> float:
    if not _check.number(value) or value < 0 or (value == 0 and not zero):
        raise ValueError(
            f"{name}: {argument}: expected a finite number {'of at least' if zero else 'above'} 0, got {value!r}"
        )
    return float(value)
