"""How large the logits must be: temperature and threshold of the gadget from the error promised of the attention."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from attnlib import _arrays, _check


@dataclass(frozen=True)
class Temperature:
    """The numbers of the gadget: key j has the logit −c · a_i·b_j, the dummy key −tau.

    The output of row i is Y_i = Z_i / (Z_i + e^−τ), Z_i = Σ_j e^(−c a_i·b_j): at least `yes` if some a_i·b_j is 0,
    at most `no` if all are at least 1.

    Attributes:
        n: keys at most, the dummy not counted.
        c: the logit of a pair with product 1, negated.
        tau: the logit of the dummy key, negated.
        theta: the formula is satisfiable iff some output exceeds theta.

    Example:
        >>> t = Temperature(n=2, c=math.log(2) + 2, tau=1.0, theta=0.5)
        >>> round(t.delta, 12), round(t.yes, 3), round(t.no, 3)
        (2.0, 0.731, 0.269)
    """

    n: int
    c: float
    tau: float
    theta: float

    @property
    def delta(self) -> float:
        """Return c − ln n: what is left of the temperature when n keys with product 1 stand against one with 0."""
        return self.c - math.log(self.n)

    @property
    def yes(self) -> float:
        """Return 1/(1 + e^−τ), the least output of a row with an orthogonal pair."""
        return 1 / (1 + math.exp(-self.tau))

    @property
    def no(self) -> float:
        """Return 1/(1 + e^(Δ−τ)), the largest output of a row without one."""
        return 1 / (1 + math.exp(self.delta - self.tau))

    @property
    def gap(self) -> float:
        """Return yes − no, which is largest for τ = Δ/2, where it is tanh(Δ/4)."""
        return self.yes - self.no


def temperature(n: int, *, additive: float = 0.0, multiplicative: float = 0.0, slack: float = 1.0) -> Temperature:
    """Choose temperature and threshold for an attention that errs by no more than promised.

    |Ŷ − Y| ≤ µ < ½:            L = ln((1 + 2µ)/(1 − 2µ)), τ = L + s, c = ln n + L + τ + s, θ = ½
    |Ŷ − Y| ≤ µ·|Y|, µ < 1:     τ = s, c = ln n + τ + ln(2(1 + µ)/(1 − µ)) + s, θ = (1 − µ)/2

    Then Ŷ_i > θ for every row with an orthogonal pair and Ŷ_i < θ for every other, with room s on either side
    of the logits for rounding.

    Args:
        n: keys at most, the dummy not counted.
        additive: the promised additive error µ, below ½; no bound of ½ or more can be decided with.
        multiplicative: the promised multiplicative error µ, below 1. One of the two errors is 0.
        slack: s > 0, room for rounding; `rounding_slack` says how much a dtype needs.

    Returns:
        A `Temperature`.

    Raises:
        ValueError: n is not an integer of at least 1, an error out of its range or both given, slack not positive.

    Source: theorem A of the chapter "The lower bound".

    Example:
        >>> t = temperature(1000, additive=0.4, slack=1e-12)
        >>> round(t.delta, 4), round(t.tau, 4)
        (4.3944, 2.1972)
    """
    name = "temperature"
    _errors(name, n, additive, multiplicative)
    if not _check.number(slack) or slack <= 0:
        raise ValueError(f"{name}: slack: expected a positive number, got {slack!r}")
    if multiplicative:
        tau = float(slack)
        c = math.log(n) + tau + math.log(2 * (1 + multiplicative) / (1 - multiplicative)) + slack
        return Temperature(n, c, tau, (1 - multiplicative) / 2)
    room = math.log((1 + 2 * additive) / (1 - 2 * additive))
    tau = room + slack
    return Temperature(n, math.log(n) + room + tau + slack, tau, 0.5)


def rounding_slack(n: int, dtype: Any, *, additive: float = 0.0, multiplicative: float = 0.0) -> float:
    """Return a slack with which rounding cannot change a decision.

    u = unit roundoff of the dtype, w = that of float32 or of the dtype if it is wider: products, exponentials and
    sums are computed there. A logit 0 or −c and the dummy's are off by η ≤ 4uc; sums of n exponentials and the
    quotient by a factor 1 ± ρ, ρ = (n + 16)w, in any order of summation; the output is rounded once more, by u.

        s ≥ 2η + 2 ln((1 + ρ)/(1 − ρ)) + what the last rounding takes from the promised error

    Args:
        n: keys at most, the dummy not counted.
        dtype: of q, k, v and the output.
        additive: as in `temperature`.
        multiplicative: as in `temperature`.

    Returns:
        The slack s; more is as good.

    Raises:
        ValueError: as `temperature`; a dtype too narrow for so many keys or for so large an error.

    Source: the lemma on rounding of the chapter "The lower bound".

    Example:
        >>> round(rounding_slack(1024, "bfloat16"), 2), round(rounding_slack(1024, "float32"), 4)
        (0.25, 0.0003)
    """
    name = "rounding_slack"
    _errors(name, n, additive, multiplicative)
    _arrays.floating_dtype(name, dtype)
    u = float(jnp.finfo(jnp.dtype(dtype)).eps) / 2  # type: ignore[no-untyped-call]
    rho = (n + 16) * min(u, 2.0**-24)
    if rho >= 0.5:
        raise ValueError(f"{name}: n: expected fewer keys than sums in {jnp.dtype(dtype).name} can tell, got {n}")
    if additive + u >= 0.5:
        raise ValueError(f"{name}: additive: expected less than 0.5 − {u:.2g}, outputs are rounded, got {additive}")
    room = math.log((1 + 2 * additive) / (1 - 2 * additive))
    if multiplicative:
        base, last = math.log(n) + math.log(2 * (1 + multiplicative) / (1 - multiplicative)), 4 * u
    else:
        base, last = math.log(n) + 2 * room, math.log((1 + 2 * (additive + u)) / (1 - 2 * (additive + u))) - room
    # c = base + 2s itself grows with the slack s: solve s = 2·4u(base + 2s) + ….
    return (8 * u * base + 2 * math.log((1 + rho) / (1 - rho)) + last) / (1 - 16 * u)


def _errors(name: str, n: int, additive: float, multiplicative: float) -> None:
    _check.positive_int(name, n=n)
    for argument, value, below in (("additive", additive, 0.5), ("multiplicative", multiplicative, 1.0)):
        if not _check.number(value) or not 0 <= value < below:
            raise ValueError(f"{name}: {argument}: expected a number from 0 to below {below}, got {value!r}")
    if additive and multiplicative:
        raise ValueError(f"{name}: multiplicative: expected 0 when additive is given, got {multiplicative}")
