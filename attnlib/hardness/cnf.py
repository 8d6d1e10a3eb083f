"""Formulas in conjunctive normal form: the DIMACS format, and brute force as the truth."""

from __future__ import annotations

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
        _check.at_least("CNF", 0, variables=self.variables)
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
    _check.at_least("every_assignment", 0, variables=variables)
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


def _formula(function: str, cnf: object) -> None:
    if not isinstance(cnf, CNF):
        raise ValueError(f"{function}: cnf: expected a CNF, got {type(cnf).__name__}")
