"""The features of Taylor attention, to look at: which monomials there are, what they are made of, and T_p itself."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attnlib import _arrays, _check
from attnlib.cost.taylor import check_order
from attnlib.kernels import _monomials

AnyArray = Array | np.ndarray


class Monomials(NamedTuple):
    """Every monomial x^α of degree at most p in d variables, degree by degree.

    Attributes:
        exponents: α, shape (D, d).
        parent: the monomial that a multiplication with `variable` makes this one of; −1 for the constant.
        variable: see `parent`.
        factorial: α! = Π α_i!, exact integers.
    """

    exponents: np.ndarray
    parent: np.ndarray
    variable: np.ndarray
    factorial: tuple[int, ...]


def monomials(d: int, order: int) -> Monomials:
    """List the monomials of degree at most p in d variables, each with the shorter one it is made of.

    (q·k)ᵃ/a! = Σ_{|α|=a} q^α k^α / α!: so features x^α/√α! have the product T_p(q·k).

    Args:
        d: variables.
        order: p ≥ 0.

    Returns:
        `Monomials`, in the order of `features` and of the state.

    Raises:
        ValueError: d below 1, an order as in `taylor_attention`, more than taylor.MAX_FEATURES of them.

    Source: the multinomial theorem.

    Example:
        >>> monomials(2, 2).exponents.tolist()
        [[0, 0], [1, 0], [0, 1], [2, 0], [1, 1], [0, 2]]
        >>> monomials(2, 2).factorial
        (1, 1, 1, 2, 1, 2)
    """
    _check.positive_int("taylor.monomials", d=d)
    check_order("taylor.monomials", order, d, 1)
    table = _monomials.table(d, order)
    exponents = np.zeros((len(table.parent), d), int)
    for i in range(1, len(exponents)):
        exponents[i] = exponents[table.parent[i]]
        exponents[i, table.variable[i]] += 1
    return Monomials(exponents, table.parent.copy(), table.variable.copy(), table.factorial)


def features(x: Float[AnyArray, "*b n d"], order: int, *, tensor: bool = False) -> Float[Array, "*b n features"]:
    """Return features φ with φ(q)·φ(k) = T_p(q·k), for `linear_attention`, or to look at them.

    φ_α(x) = x^α/√α! for |α| ≤ p; as tensor powers x⊗…⊗x/√a!, the same products over and over.

    Args:
        x: rows, shape (..., n, d).
        order: p ≥ 0.
        tensor: tensor powers, Σ dᵃ of them, instead of the C(d + p, p) monomials.

    Returns:
        Array (..., n, D) in x's dtype.

    Raises:
        ValueError: x is not an array of floats with two axes, an order as in `taylor_attention`, too many features.

    Cost: one multiplication for each monomial of degree 2 or more, one for its weight.

    Source: monomials: the multinomial theorem; tensor powers: Duman Keles et al. (2023), lemma 8.

    Example:
        >>> import jax.numpy as jnp
        >>> q, k = jnp.array([[1.0, 2.0]]), jnp.array([[0.5, 0.25]])
        >>> print(features(q, 2) @ features(k, 2).T, truncated_exponential(q @ k.T, 2))
        [[2.5]] [[2.5]]
        >>> features(q, 3).shape, features(q, 3, tensor=True).shape
        ((1, 10), (1, 15))
    """
    name = "taylor.features"
    _arrays.floating(name, x=x)
    _check.rank_at_least(name, 2, "(..., n, d)", x=x)
    _check.flags(name, tensor=tensor)
    check_order(name, order, x.shape[-1], 1, tensor)
    x = jnp.asarray(x)
    flat = x.reshape(-1, x.shape[-1])
    if tensor:
        powers = [jnp.ones_like(flat[:, :1])]
        for a in range(1, order + 1):
            last = powers[-1][:, :, None] * flat[:, None, :] / jnp.asarray(math.sqrt(a), x.dtype)
            powers.append(last.reshape(len(flat), -1))
        out = jnp.concatenate(powers, axis=1)
    else:
        root = jnp.asarray(np.sqrt(_monomials.table(x.shape[-1], order).weight), x.dtype)
        out = _monomials.evaluate(flat.T, order).T * root[None, :]
    return out.reshape(*x.shape[:-1], -1)


def truncated_exponential(x: Float[AnyArray, "..."], order: int) -> Float[Array, "..."]:
    """Return T_p(x) = Σ_{a ≤ p} xᵃ/a!, the exponential cut after order p.

    T_p(x) = 1 + x(1 + x/2(1 + x/3(…)))

    Args:
        x: any array of floats.
        order: p ≥ 0.

    Returns:
        Array of x's shape and dtype.

    Raises:
        ValueError: x is not an array of floats, an order that is not a whole number from 0 to 170.

    Source: Horner's rule.

    Example:
        >>> import jax.numpy as jnp
        >>> print(truncated_exponential(jnp.array([-1.0, 0.0, 1.0]), 2))
        [0.5 1.  2.5]
    """
    _arrays.floating("taylor.truncated_exponential", x=x)
    check_order("taylor.truncated_exponential", order)
    x = jnp.asarray(x)
    out = jnp.ones_like(x)
    for a in range(order, 0, -1):
        out = 1 + x * jnp.asarray(1 / a, x.dtype) * out
    return out
