"""Families of formulas to try: random ones, and two whose answer is known."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Bool

from attnlib import _check
from attnlib.hardness.cnf import CNF


def random_ksat(variables: int, clauses: int, k: int, *, seed: int) -> CNF:
    """Draw each clause at random: k different variables, each negated with probability one half.

    Near 4.27 clauses per variable for k = 3, 9.93 for k = 4, 21.1 for k = 5 about half of the large formulas
    can be satisfied.

    Args:
        variables: number of variables.
        clauses: number of clauses; 0 is allowed.
        k: literals in a clause, at most `variables`.
        seed: of NumPy's generator.

    Returns:
        The formula.

    Raises:
        ValueError: a number that is not a whole number of the stated size.

    Cost: O(clauses · variables).

    Source: the thresholds: Mertens, Mézard and Zecchina (2006), table 1.

    Example:
        >>> len(random_ksat(20, 85, 3, seed=0).clauses)
        85
    """
    picked, signs = _draw("random_ksat", variables, clauses, k, seed)
    return _from_arrays(variables, picked, signs)


def planted_ksat(variables: int, clauses: int, k: int, *, seed: int) -> tuple[CNF, Bool[np.ndarray, "v"]]:
    """Draw an assignment, then clauses like `random_ksat` among those that it satisfies.

    Args:
        variables: number of variables.
        clauses: number of clauses; 0 is allowed.
        k: literals in a clause, at most `variables`.
        seed: of NumPy's generator.

    Returns:
        The formula and the assignment, bool (variables,).

    Raises:
        ValueError: a number that is not a whole number of the stated size.

    Cost: O(clauses · variables).

    Example:
        >>> formula, hidden = planted_ksat(20, 200, 3, seed=0)
        >>> falsified(formula, hidden).item()
        0
    """
    picked, _ = _draw("planted_ksat", variables, clauses, k, seed)
    rng = np.random.default_rng([seed, 1])
    hidden = rng.integers(0, 2, variables).astype(bool)
    # Which literals are true under the assignment: any pattern but "none".
    pattern = rng.integers(1, 2**k, clauses)
    true = (pattern[:, None] >> np.arange(k)) & 1 == 1
    return _from_arrays(variables, picked, hidden[picked] == true), hidden


def pigeonhole(holes: int) -> CNF:
    """Return "holes + 1 pigeons fit into holes, no two in one": never true.

    Variable 1 + p·holes + h says that pigeon p sits in hole h. One clause for each pigeon (it sits somewhere), and
    one for each hole and pair of pigeons (not both).

    Args:
        holes: number of holes.

    Returns:
        A formula with (holes + 1)·holes variables that no assignment satisfies.

    Raises:
        ValueError: holes is not an integer of at least 1.

    Cost: O(holes³).

    Source: Haken, The intractability of resolution (1985).

    Example:
        >>> pigeonhole(1)
        CNF(variables=2, clauses=((1,), (2,), (-1, -2)))
    """
    _check.positive_int("pigeonhole", holes=holes)
    sits = [[1 + p * holes + h for h in range(holes)] for p in range(holes + 1)]
    apart: list[tuple[int, ...]] = []
    for h in range(holes):
        apart += [(-p[h], -r[h]) for p, r in itertools.combinations(sits, 2)]
    return CNF((holes + 1) * holes, (*map(tuple, sits), *apart))


def parity(rungs: int, *, odd: bool = True) -> CNF:
    """Return "at each vertex of a ladder bent to a ring, the edges sum to its charge modulo 2".

    Every edge is a variable and meets two vertices, so the charges must sum to an even number. With odd=True one
    vertex has charge 1 and the others 0: no assignment satisfies the formula. With odd=False all charges are 0.

    Args:
        rungs: rungs of the ladder, at least 3.
        odd: whether the charges sum to an odd number.

    Returns:
        A formula with 3·rungs variables and 8·rungs clauses of 3 literals.

    Raises:
        ValueError: rungs is not an integer of at least 3, odd is not a bool.

    Cost: O(rungs).

    Source: Tseitin, On the complexity of derivation in propositional calculus (1968).

    Example:
        >>> f = parity(3)
        >>> f.variables, len(f.clauses), brute_force(f) is None
        (9, 24, True)
    """
    _check.at_least("parity", 3, rungs=rungs)
    _check.flags("parity", odd=odd)
    clauses = []
    for i in range(rungs):
        for side in (0, 1):
            after, before = 1 + 2 * i + side, 1 + 2 * ((i - 1) % rungs) + side
            edges = (after, before, 1 + 2 * rungs + i)
            charge = int(odd and i == side == 0)
            # A clause forbids one assignment of the three edges: those whose sum is not the charge.
            for values in range(8):
                bits = [values >> e & 1 for e in range(3)]
                if sum(bits) % 2 != charge:
                    clauses.append(tuple(-edge if bit else edge for edge, bit in zip(edges, bits, strict=True)))
    return CNF(3 * rungs, tuple(clauses))


def _draw(name: str, variables: int, clauses: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which variables stand in each clause, and which of them without negation."""
    _check.positive_int(name, variables=variables, k=k)
    _check.at_least(name, 0, clauses=clauses, seed=seed)
    if k > variables:
        raise ValueError(f"{name}: k: expected at most variables = {variables}, got {k}")
    rng = np.random.default_rng(seed)
    picked = rng.random((clauses, variables)).argsort(axis=1)[:, :k]
    return picked, rng.integers(0, 2, (clauses, k)) == 1


def _from_arrays(variables: int, picked: np.ndarray, positive: np.ndarray) -> CNF:
    literals = np.where(positive, picked + 1, -picked - 1)
    return CNF(variables, tuple(map(tuple, literals.tolist())))
