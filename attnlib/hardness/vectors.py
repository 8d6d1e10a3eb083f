"""From a formula to orthogonal vectors, and from those to the other pair problems of the paper; brute force for each.

All vectors are rows of 0/1 arrays a (n_a, d) and b (n_b, d), uint8. Thresholds of distances are squared: integers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from attnlib import _check
from attnlib.hardness.cnf import CNF, _bits, _formula

A = UInt8[np.ndarray, "n_a d"]
B = UInt8[np.ndarray, "n_b d"]
Vectors = UInt8[np.ndarray, "_ _"]
LARGEST = 48  # variables that split_and_list accepts: 2^24 vectors a side
BLOCK = 1 << 12  # rows of a that brute force compares with all of b together


def split_and_list(cnf: CNF) -> tuple[A, B]:
    """Turn a formula into two lists of vectors, one of which is orthogonal to one of the other iff it is satisfiable.

    The variables are split into x_1 … x_h and the rest, h = ⌊variables/2⌋. Every assignment of a half becomes a
    vector with one coordinate for each clause: 1 if that half does not satisfy the clause, else 0.

        a_i · b_j = number of clauses that assignment i of the first half with j of the second falsifies

    Args:
        cnf: the formula.

    Returns:
        a (2^h, clauses) and b (2^(variables − h), clauses); rows in the order of `every_assignment`.

    Raises:
        ValueError: cnf is not a `CNF` or has more than 48 variables.

    Cost: O(2^(variables/2) · literals) operations, 2^(variables/2 + 1) · clauses bytes.

    Source: Williams, A new algorithm for optimal 2-constraint satisfaction (2005).

    Example:
        >>> a, b = split_and_list(CNF(2, ((1, 2), (-1,))))
        >>> a.tolist(), b.tolist()
        ([[1, 0], [0, 1]], [[1, 1], [0, 1]])
    """
    _formula("split_and_list", cnf)
    if cnf.variables > LARGEST:
        raise ValueError(f"split_and_list: cnf: expected at most {LARGEST} variables, got {cnf.variables}")
    h = cnf.variables // 2
    halves = []
    for first, last in ((0, h), (h, cnf.variables)):
        values = _bits(0, 1 << (last - first), last - first)
        unsatisfied = np.ones((len(values), len(cnf.clauses)), np.uint8)
        for c, clause in enumerate(cnf.clauses):
            for literal in clause:
                if first < abs(literal) <= last:
                    unsatisfied[:, c] &= values[:, abs(literal) - 1 - first] != (literal > 0)
        halves.append(unsatisfied)
    return halves[0], halves[1]


def join_halves(variables: int, i: int, j: int) -> Bool[np.ndarray, "v"]:
    """Return the assignment that row i of the first list and row j of the second stand for.

    Args:
        variables: number of variables of the formula.
        i: row of the first list of `split_and_list`.
        j: row of the second list.

    Returns:
        Bool array (variables,).

    Raises:
        ValueError: a row that does not exist.

    Cost: O(variables).

    Example:
        >>> join_halves(4, 1, 2).astype(int).tolist()
        [1, 0, 0, 1]
    """
    _check.at_least("join_halves", 0, variables=variables, i=i, j=j)
    h = variables // 2
    for name, value, bits in (("i", i, h), ("j", j, variables - h)):
        if value >> bits:
            raise ValueError(f"join_halves: {name}: expected a row below 2^{bits}, got {value}")
    return np.array([(i | j << h) >> x & 1 for x in range(variables)], bool)


def ov_to_tvpp(a: A, b: B) -> tuple[Vectors, Vectors, int]:
    """Map orthogonal vectors to the threshold vector product problem: a pair with product at least t.

    a' = (a, 1 − a), b' = (1 − b, 1), so a'·b' = d − a·b and t = d.

    Args:
        a: 0/1 vectors, uint8 (n_a, d).
        b: 0/1 vectors, uint8 (n_b, d).

    Returns:
        a', b' of dimension 2d, and t.

    Raises:
        ValueError: not uint8 arrays of zeros and ones, or of different dimensions.

    Cost: O(nd).

    Source: Duman Keles, Wijewardena and Hegde (2023), lemma 1.

    Example:
        >>> a, b, t = ov_to_tvpp(np.array([[1, 0]], np.uint8), np.array([[0, 1]], np.uint8))
        >>> int(a[0] @ b[0]), t
        (2, 2)
    """
    _vectors("ov_to_tvpp", a, b)
    return np.hstack([a, 1 - a]), np.hstack([1 - b, np.ones_like(b)]), a.shape[1]


def ov_to_bhfp(a: A, b: B) -> tuple[Vectors, Vectors, int]:
    """Map orthogonal vectors to the furthest pair: a pair with squared distance at least t².

    a' = (a, 1 − a, 0), b' = (b, 0, 1 − b), so |a' − b'|² = 2d − 2 a·b and t² = 2d.

    Args:
        a: 0/1 vectors, uint8 (n_a, d).
        b: 0/1 vectors, uint8 (n_b, d).

    Returns:
        a', b' of dimension 3d, and t².

    Raises:
        ValueError: not uint8 arrays of zeros and ones, or of different dimensions.

    Cost: O(nd).

    Source: Duman Keles, Wijewardena and Hegde (2023), lemma 2.

    Example:
        >>> a, b, t2 = ov_to_bhfp(np.array([[1, 0]], np.uint8), np.array([[0, 1]], np.uint8))
        >>> int((a[0] != b[0]).sum()), t2
        (4, 4)
    """
    _vectors("ov_to_bhfp", a, b)
    return np.hstack([a, 1 - a, np.zeros_like(a)]), np.hstack([b, np.zeros_like(b), 1 - b]), 2 * a.shape[1]


def bhfp_to_bhcp(a: A, b: B, t2: int) -> tuple[Vectors, Vectors, int]:
    """Map the furthest pair to the closest pair: a pair with squared distance less than t'².

    b' = 1 − b, so |a − b'|² = d − |a − b|² and t'² = d − t² + 1.

    Args:
        a: 0/1 vectors, uint8 (n_a, d).
        b: 0/1 vectors, uint8 (n_b, d).
        t2: the squared threshold of the furthest pair, from 0 to d.

    Returns:
        a, b' and t'².

    Raises:
        ValueError: not uint8 arrays of zeros and ones, or of different dimensions; t2 not an integer from 0 to d.

    Cost: O(nd).

    Source: Duman Keles, Wijewardena and Hegde (2023), lemma 3.

    Example:
        >>> a, b, t2 = bhfp_to_bhcp(np.array([[1, 0]], np.uint8), np.array([[0, 1]], np.uint8), 2)
        >>> int((a[0] != b[0]).sum()), t2
        (0, 1)
    """
    _vectors("bhfp_to_bhcp", a, b)
    _check.at_least("bhfp_to_bhcp", 0, t2=t2)
    if t2 > a.shape[1]:
        raise ValueError(f"bhfp_to_bhcp: t2: expected at most d = {a.shape[1]}, got {t2}")
    return a, 1 - b, a.shape[1] - t2 + 1


def orthogonal_pair(a: A, b: B) -> tuple[int, int] | None:
    """Find the first pair with a_i · b_j = 0 by comparing all.

    Args:
        a: 0/1 vectors, uint8 (n_a, d).
        b: 0/1 vectors, uint8 (n_b, d).

    Returns:
        (i, j) with the least i, then the least j, or None.

    Raises:
        ValueError: not uint8 arrays of zeros and ones, or of different dimensions.

    Cost: 2·n_a·n_b·d FLOPs, 2^13 n_b bytes and more.

    Example:
        >>> orthogonal_pair(np.eye(2, dtype=np.uint8), np.eye(2, dtype=np.uint8))
        (0, 1)
    """
    _vectors("orthogonal_pair", a, b)
    return _first_pair(a, b, lambda product, _: product == 0)


def product_pair(a: A, b: B, t: int) -> tuple[int, int] | None:
    """Find the first pair with a_i · b_j ≥ t by comparing all: the threshold vector product problem.

    Args:
        a: 0/1 vectors, uint8 (n_a, d).
        b: 0/1 vectors, uint8 (n_b, d).
        t: the threshold.

    Returns:
        (i, j) with the least i, then the least j, or None.

    Raises:
        ValueError: not uint8 arrays of zeros and ones, or of different dimensions; t not an integer of at least 0.

    Cost: 2·n_a·n_b·d FLOPs.

    Source: Duman Keles, Wijewardena and Hegde (2023), definition 2.

    Example:
        >>> product_pair(np.eye(2, dtype=np.uint8), np.eye(2, dtype=np.uint8), 1)
        (0, 0)
    """
    _vectors("product_pair", a, b)
    _check.at_least("product_pair", 0, t=t)
    return _first_pair(a, b, lambda product, _: product >= t)


def furthest_pair(a: A, b: B, t2: int) -> tuple[int, int] | None:
    """Find the first pair with |a_i − b_j|² ≥ t² by comparing all: the bichromatic Hamming furthest pair.

    Args:
        a: 0/1 vectors, uint8 (n_a, d).
        b: 0/1 vectors, uint8 (n_b, d).
        t2: the squared threshold.

    Returns:
        (i, j) with the least i, then the least j, or None.

    Raises:
        ValueError: not uint8 arrays of zeros and ones, or of different dimensions; t2 not an integer of at least 0.

    Cost: 2·n_a·n_b·d FLOPs.

    Source: Duman Keles, Wijewardena and Hegde (2023), definition 3.

    Example:
        >>> furthest_pair(np.eye(2, dtype=np.uint8), np.eye(2, dtype=np.uint8), 2)
        (0, 1)
    """
    _vectors("furthest_pair", a, b)
    _check.at_least("furthest_pair", 0, t2=t2)
    return _first_pair(a, b, lambda _, distance: distance >= t2)


def closest_pair(a: A, b: B, t2: int) -> tuple[int, int] | None:
    """Find the first pair with |a_i − b_j|² < t² by comparing all: the bichromatic Hamming closest pair.

    Args:
        a: as in `furthest_pair`.
        b: as in `furthest_pair`.
        t2: the squared threshold.

    Returns:
        (i, j) with the least i, then the least j, or None.

    Raises:
        ValueError: as `furthest_pair`.

    Cost: 2·n_a·n_b·d FLOPs.

    Source: Duman Keles, Wijewardena and Hegde (2023), definition 4.

    Example:
        >>> closest_pair(np.eye(2, dtype=np.uint8), np.eye(2, dtype=np.uint8), 1)
        (0, 0)
    """
    _vectors("closest_pair", a, b)
    _check.at_least("closest_pair", 0, t2=t2)
    return _first_pair(a, b, lambda _, distance: distance < t2)


def worst_case(n: int, d: int, *, orthogonal: bool) -> tuple[Vectors, Vectors]:
    """Return the vectors that bring the outputs of the gadget as close to one another as they can come.

    All products are 1, the least that is not 0. With orthogonal=True row 0 of a has one product 0, and its others
    are d − 1, so large that only the one counts.

    Args:
        n: vectors a side.
        d: dimension, at least 2.
        orthogonal: whether there is an orthogonal pair: (0, 0), and only that one.

    Returns:
        a and b, uint8 (n, d).

    Raises:
        ValueError: n or d too small or no integer, orthogonal not a bool.

    Cost: O(nd).

    Example:
        >>> a, b = worst_case(3, 4, orthogonal=True)
        >>> (a.astype(int) @ b.T).tolist()
        [[0, 3, 3], [1, 1, 1], [1, 1, 1]]
    """
    _check.positive_int("worst_case", n=n)
    _check.at_least("worst_case", 2, d=d)
    _check.flags("worst_case", orthogonal=orthogonal)
    a, b = np.zeros((n, d), np.uint8), np.ones((n, d), np.uint8)
    a[:, 0] = 1
    if orthogonal:
        a[0] = 1 - a[0]
        b[0] = 1 - a[0]
    return a, b


def _first_pair(a: A, b: B, good: Callable[[Any, Any], Any]) -> tuple[int, int] | None:
    # Products of 0/1 vectors are exact in float32 up to d = 2^24.
    wide, ones = b.astype(np.float32).T, b.sum(axis=1, dtype=np.float32)
    for first in range(0, len(a), BLOCK):
        block = a[first : first + BLOCK].astype(np.float32)
        product = block @ wide
        hit = good(product, block.sum(axis=1)[:, None] + ones - 2 * product)
        if hit.any():
            i, j = np.unravel_index(int(hit.argmax()), hit.shape)
            return first + int(i), int(j)
    return None


def _vectors(function: str, a: Any, b: Any) -> None:
    """Raise unless a and b are uint8 arrays (n, d) of zeros and ones with the same d."""
    for name, x in (("a", a), ("b", b)):
        if not isinstance(x, np.ndarray) or x.dtype != np.uint8 or x.ndim != 2 or not len(x):
            got = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
            raise ValueError(f"{function}: {name}: expected a NumPy array uint8 (n, d), n ≥ 1, got {got}")
        if x.size and x.max() > 1:
            raise ValueError(f"{function}: {name}: expected zeros and ones, got {x.max()}")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"{function}: b: expected dimension d = {a.shape[1]} as in a, got {b.shape[1]}")
