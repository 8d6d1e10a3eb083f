"""Formulas in conjunctive normal form: the DIMACS format, families to try, and brute force as the truth."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from attnlib import _check

BLOCK = 1 << 14  # assignments that brute force looks at together
LARGEST = 30  # variables that brute force accepts: 2^30 assignments


@dataclass(frozen=True)
class CNF:
    """A conjunction of clauses; a clause is a disjunction of literals: i for x_i, −i for its negation.

    A clause may be empty (no assignment satisfies it), repeat a literal, or hold a literal and its negation
    (every assignment satisfies it). Variables that occur in no clause count too.

    Attributes:
        variables: number of variables, x_1 … x_variables.
        clauses: the clauses, each a tuple of literals.

    Example:
        >>> f = CNF(2, ((1, 2), (-1,)))
        >>> len(f.clauses), falsified(f, np.array([False, True])).item()
        (2, 0)
    """

    variables: int
    clauses: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        _whole("CNF", 0, variables=self.variables)
        try:
            clauses = tuple(tuple(clause) for clause in self.clauses)
        except TypeError:
            raise ValueError(f"CNF: clauses: expected tuples of literals, got {self.clauses!r:.80}") from None
        object.__setattr__(self, "clauses", clauses)
        for clause in clauses:
            for literal in clause:
                if isinstance(literal, bool) or not isinstance(literal, int | np.integer):
                    raise ValueError(f"CNF: clauses: expected integers, got {literal!r}")
                if not 1 <= abs(literal) <= self.variables:
                    raise ValueError(f"CNF: clauses: expected literals of x_1 … x_{self.variables}, got {literal}")


def read_dimacs(text: str, name: str = "<string>") -> CNF:
    r"""Read a formula in the DIMACS format.

    Lines that begin with c are comments, wherever they stand, and may hold anything. One line
    "p cnf VARIABLES CLAUSES" comes before the clauses; a clause is a list of literals up to a 0 and may go over
    several lines. A line that begins with % ends the formula, as in the files of SATLIB. Lines end with a line feed,
    or with a carriage return if the text has no line feed.

    Args:
        text: the contents of the file.
        name: what to call the file in messages.

    Returns:
        The formula, clauses and literals in the order of the file.

    Raises:
        ValueError: with the name, the line and the reason: no header or two, another format than cnf, a token that
            is no integer, a literal beyond the header's variables, a last clause without 0, a number of clauses
            other than the header's.

    Cost: linear in the text.

    Source: DIMACS, Satisfiability: Suggested Format (1993); the trailer: Hoos and Stützle, SATLIB.

    Example:
        >>> read_dimacs("c two clauses\np cnf 3 2\n1 -3 0 2\n3 0\n")
        CNF(variables=3, clauses=((1, -3), (2, 3)))
    """
    if not isinstance(text, str):
        raise ValueError(f"read_dimacs: text: expected a string, got {type(text).__name__}")
    if not isinstance(name, str):
        raise ValueError(f"read_dimacs: name: expected a string, got {name!r}")

    def wrong(line: int, expected: str, got: str) -> ValueError:
        return ValueError(f"read_dimacs: text: {name}:{line}: expected {expected}, got {got}")

    header: tuple[int, int] | None = None
    clauses: list[tuple[int, ...]] = []
    clause: list[int] = []
    lines = text.removeprefix("\ufeff").rstrip().split("\n" if "\n" in text else "\r")
    for line, raw in enumerate(lines, 1):
        content = raw.strip()
        if not content or content.startswith("c"):
            continue
        if content.startswith("%"):
            break
        if content.startswith("p"):
            sizes = re.fullmatch(r"p\s+cnf\s+([0-9]{1,18})\s+([0-9]{1,18})", content)
            if header is not None or sizes is None:
                expected = "'p cnf VARIABLES CLAUSES'" if header is None else "one header"
                raise wrong(line, expected, f"{content!r:.60}")
            header = int(sizes[1]), int(sizes[2])
            continue
        if header is None:
            raise wrong(line, "'p cnf VARIABLES CLAUSES' before the clauses", f"{content!r:.60}")
        for token in content.split():
            if not re.fullmatch(r"-?[0-9]{1,18}", token) or token == "-0":
                raise wrong(line, "a literal or 0", f"{token!r:.60}")
            literal = int(token)
            if abs(literal) > header[0]:
                raise wrong(line, f"a literal of one of {header[0]} variables", token)
            if literal:
                clause.append(literal)
                continue
            clauses.append(tuple(clause))
            clause = []
            if len(clauses) > header[1]:
                raise wrong(line, f"{header[1]} clauses as in the header", "another one")
    if header is None:
        raise wrong(line, "'p cnf VARIABLES CLAUSES'", "the end of the file")
    if clause:
        raise wrong(line, "a 0 after the last clause", "the end of the file")
    if len(clauses) < header[1]:
        raise wrong(line, f"{header[1]} clauses as in the header", f"{len(clauses)} at the end of the file")
    return CNF(header[0], tuple(clauses))


def write_dimacs(cnf: CNF, comment: str = "") -> str:
    r"""Write a formula in the DIMACS format: `read_dimacs` gives the same formula back.

    Args:
        cnf: the formula.
        comment: text for comment lines at the top.

    Returns:
        The text, one clause on a line.

    Raises:
        ValueError: cnf is not a `CNF`, comment is not a string.

    Cost: linear in the formula.

    Source: DIMACS, Satisfiability: Suggested Format (1993).

    Example:
        >>> print(write_dimacs(CNF(3, ((1, -3), (2, 3))), "two clauses"), end="")
        c two clauses
        p cnf 3 2
        1 -3 0
        2 3 0
    """
    _formula("write_dimacs", cnf)
    if not isinstance(comment, str):
        raise ValueError(f"write_dimacs: comment: expected a string, got {comment!r}")
    lines = [f"c {line}".rstrip() for line in comment.splitlines()]
    lines.append(f"p cnf {cnf.variables} {len(cnf.clauses)}")
    lines += [" ".join(map(str, (*clause, 0))) for clause in cnf.clauses]
    return "\n".join(lines) + "\n"


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
    _whole("pigeonhole", 1, holes=holes)
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
    _whole("parity", 3, rungs=rungs)
    _check.flag("parity", "odd", odd)
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


def every_assignment(variables: int) -> Bool[np.ndarray, "r v"]:
    """List all assignments: in row r, x_{i+1} is bit i of r.

    Args:
        variables: number of variables, at most 30.

    Returns:
        Bool array (2^variables, variables).

    Raises:
        ValueError: variables is not an integer from 0 to 30.

    Cost: variables · 2^variables bytes.

    Example:
        >>> every_assignment(2).astype(int).tolist()
        [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    _whole("every_assignment", 0, variables=variables)
    if variables > LARGEST:
        raise ValueError(f"every_assignment: variables: expected at most {LARGEST}, got {variables}")
    return _bits(0, 1 << variables, variables)


def falsified(cnf: CNF, assignments: Bool[np.ndarray, "*b v"]) -> Int[np.ndarray, "*b"]:
    """Count the clauses that each assignment falsifies; an assignment with 0 satisfies the formula.

    Args:
        cnf: the formula.
        assignments: bool (..., variables), entry i is the value of x_{i+1}.

    Returns:
        Integers (...).

    Raises:
        ValueError: cnf is not a `CNF`; assignments are not bool, or not one value for each variable.

    Cost: O(assignments · literals).

    Example:
        >>> falsified(CNF(2, ((1, 2), (-1,))), every_assignment(2)).tolist()
        [1, 1, 0, 1]
    """
    _formula("falsified", cnf)
    if getattr(assignments, "dtype", None) != np.bool_ or assignments.shape[-1:] != (cnf.variables,):
        got = f"{type(assignments).__name__} {getattr(assignments, 'dtype', '')} {getattr(assignments, 'shape', '')}"
        raise ValueError(f"falsified: assignments: expected bool (..., {cnf.variables}), got {got}")
    count = np.zeros(assignments.shape[:-1], np.int64)
    for clause in cnf.clauses:
        false = np.ones(count.shape, bool)
        for literal in clause:
            false &= assignments[..., abs(literal) - 1] != (literal > 0)
        count += false
    return count


def brute_force(cnf: CNF) -> Bool[np.ndarray, "v"] | None:
    """Try all assignments, a block at a time.

    Args:
        cnf: the formula, with at most 30 variables.

    Returns:
        The first assignment in the order of `every_assignment` that satisfies the formula, or None.

    Raises:
        ValueError: cnf is not a `CNF` or has more than 30 variables.

    Cost: O(2^variables · literals) operations, 2^14 · variables bytes.

    Example:
        >>> brute_force(CNF(2, ((1, 2), (-1,)))).tolist()
        [False, True]
    """
    _formula("brute_force", cnf)
    if cnf.variables > LARGEST:
        raise ValueError(f"brute_force: cnf: expected at most {LARGEST} variables, got {cnf.variables}")
    for first in range(0, 1 << cnf.variables, BLOCK):
        block = _bits(first, min(first + BLOCK, 1 << cnf.variables), cnf.variables)
        (good,) = np.nonzero(falsified(cnf, block) == 0)
        if len(good):
            found: Bool[np.ndarray, "v"] = block[good[0]]
            return found
    return None


def _bits(first: int, last: int, variables: int) -> Bool[np.ndarray, "r v"]:
    rows = np.arange(first, last, dtype=np.int64)
    bits: Bool[np.ndarray, "r v"] = rows[:, None] >> np.arange(variables) & 1 == 1
    return bits


def _draw(name: str, variables: int, clauses: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which variables stand in each clause, and which of them without negation."""
    _whole(name, 1, variables=variables, k=k)
    _whole(name, 0, clauses=clauses, seed=seed)
    if k > variables:
        raise ValueError(f"{name}: k: expected at most variables = {variables}, got {k}")
    rng = np.random.default_rng(seed)
    picked = rng.random((clauses, variables)).argsort(axis=1)[:, :k]
    return picked, rng.integers(0, 2, (clauses, k)) == 1


def _from_arrays(variables: int, picked: np.ndarray, positive: np.ndarray) -> CNF:
    literals = np.where(positive, picked + 1, -picked - 1)
    return CNF(variables, tuple(map(tuple, literals.tolist())))


def _formula(function: str, cnf: object) -> None:
    if not isinstance(cnf, CNF):
        raise ValueError(f"{function}: cnf: expected a CNF, got {type(cnf).__name__}")


def _whole(function: str, least: int, **values: object) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{function}: {name}: expected an integer of at least {least}, got {value!r}")
