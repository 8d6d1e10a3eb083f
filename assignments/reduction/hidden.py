"""Tests of *A reduction* that students do not see."""

# leakreductionxq

import math
from typing import Any

import numpy as np

from attnlib import hardness
from tools.assignments.harness import near, test


def clauses_of(cnf: Any) -> list[list[int]]:
    """The clauses as lists of integers."""
    return [[int(x) for x in clause] for clause in cnf.clauses]


def mixed(given: dict[str, Any], seed: int) -> Any:
    """A random formula of an odd number of variables, with clauses of width 1 to 4 that may repeat themselves."""
    f = given["formulas"]
    rng = np.random.default_rng([f["draw"], seed])
    rows = [
        tuple(int(x) for x in rng.integers(1, f["variables"] + 1, width) * rng.choice([-1, 1], width))
        for width in rng.integers(1, 5, f["clauses"])
    ]
    return hardness.CNF(f["variables"], tuple(rows))


def attend(x: dict[str, Any], rows: int) -> Any:
    """The outputs of attention, in float64."""
    q, k, v = (np.asarray(x[name], np.float64) for name in "qkv")
    assert len(q) == rows, f"expected {rows} queries, got {len(q)}"
    assert v.shape == (len(k), 1), f"expected values of shape {(len(k), 1)}, got {v.shape}"
    assert ((v >= 0) & (v <= 1)).all(), "a value is not between 0 and 1"
    s = q @ k.T / np.sqrt(q.shape[1])
    p = np.exp(s - s.max(axis=1, keepdims=True))
    return p @ v / p.sum(axis=1, keepdims=True)


@test("vectors", points=1)
def shapes(student: Any, given: dict[str, Any]) -> None:
    """The halves of an odd number of variables, of one variable, and of a formula without clauses."""
    for variables, clauses in ((5, [[1, -5]]), (1, [[1]]), (4, [])):
        found = student.run_split_and_list(variables, clauses)
        h = variables // 2
        assert found["a"].shape == (2**h, len(clauses)), f"{variables} variables: {found['a'].shape}"
        assert found["b"].shape == (2 ** (variables - h), len(clauses)), f"{variables} variables: {found['b'].shape}"


@test("vectors", points=2)
def counts(student: Any, given: dict[str, Any]) -> None:
    """Products count the clauses that stay false, for 3-SAT with an even number of variables."""
    cnf = hardness.random_ksat(8, given["formulas"]["clauses"], 3, seed=given["formulas"]["draw"])
    a, b = hardness.split_and_list(cnf)
    found = student.run_split_and_list(8, clauses_of(cnf))
    near(found["a"], a)
    near(found["b"], b)


@test("vectors", points=1)
def strange_clauses(student: Any, given: dict[str, Any]) -> None:
    """Clauses that are empty, repeat a literal, or hold a literal and its negation, with five variables."""
    cnf = hardness.CNF(5, ((), (1, 1), (2, -2), (-3, 4, 3), (-5, 1, -5), (5,)))
    a, b = hardness.split_and_list(cnf)
    found = student.run_split_and_list(5, clauses_of(cnf))
    near(found["a"], a)
    near(found["b"], b)


def lists(given: dict[str, Any], width: int) -> tuple[Any, Any]:
    """Two random lists of different lengths."""
    s = given["scores"]
    rng = np.random.default_rng(s["draw"])
    return tuple((rng.random((n, width)) < 0.35).astype(int) for n in (s["n_a"], s["n_b"]))  # type: ignore[return-value]


def by_formula(a: Any, b: Any, c: float, tau: float) -> Any:
    """The formula of the problem."""
    z = np.exp(-c * (a @ b.T)).sum(axis=1)
    return (z / (z + math.exp(-tau)))[:, None]


@test("scores", points=2)
def outputs(student: Any, given: dict[str, Any]) -> None:
    """Attention over your keys gives the formula, for lists of different lengths, either one the longer."""
    s = given["scores"]
    for a, b in (lists(given, s["width"]), lists(given, s["width"])[::-1]):
        found = attend(student.run_inputs(a, b, s["c"], s["tau"]), len(a))
        near(found, by_formula(a, b, s["c"], s["tau"]), abs=1e-6)


@test("scores", points=1)
def no_coordinates(student: Any, given: dict[str, Any]) -> None:
    """Vectors without coordinates, and of ones alone at a large temperature."""
    s = given["scores"]
    for width, c in ((0, s["c"]), (1, 40.0)):
        a, b = (np.ones((n, width), int) for n in (3, 5))
        near(attend(student.run_inputs(a, b, c, s["tau"]), 3), by_formula(a, b, c, s["tau"]), abs=1e-6)


@test("scores", points=1)
def no_answer_in_the_question(student: Any, given: dict[str, Any]) -> None:
    """Queries depend on the first list alone, keys and values on the second, and values lie between 0 and 1."""
    s = given["scores"]
    a, b = lists(given, s["width"])
    x = student.run_inputs(a, b, s["c"], s["tau"])
    attend(x, len(a))
    other = student.run_inputs(1 - a, b, s["c"], s["tau"])
    near(other["k"], x["k"])
    near(other["v"], x["v"])
    near(student.run_inputs(a, 1 - b, s["c"], s["tau"])["q"], x["q"])
    assert (x["q"] != other["q"]).any(), "the queries do not depend on the first list"


def decides(student: Any, n: int, mu: float, kind: str) -> None:
    """Fail unless the threshold separates the worst rows whatever the error, and c is not much too large."""
    t = student.run_temperature(n, mu, kind)
    assert t is not None, f"{kind} error {mu}: there is a choice"
    c, tau, theta = (float(t[name]) for name in ("c", "tau", "theta"))
    assert math.isfinite(c + tau + theta), "expected finite numbers"
    yes = 1 / (1 + math.exp(-tau))
    no = 1 / (1 + math.exp(min(700.0, c - math.log(n) - tau)))
    if kind == "additive":
        least, most, room = yes - mu, no + mu, 2 * math.log((1 + 2 * mu) / (1 - 2 * mu))
    else:
        least, most, room = yes * (1 - mu), no * (1 + mu), math.log((1 + mu) / (1 - mu))
    assert least > theta + 1e-6, f"{kind} error {mu}, n = {n}: a row that says yes may fall to {least:.6f}"
    assert most < theta - 1e-6, f"{kind} error {mu}, n = {n}: a row that says no may rise to {most:.6f}"
    assert c <= math.log(n) + room + 4 + 1e-9, f"{kind} error {mu}, n = {n}: c is larger than needed by more than 4"


@test("threshold", points=1)
def additive(student: Any, given: dict[str, Any]) -> None:
    """Additive errors, for few keys and for many."""
    e = given["errors"]
    for n in (1, e["n"], 10**6):
        for mu in (0.0, e["additive"]):
            decides(student, n, mu, "additive")


@test("threshold", points=1)
def multiplicative(student: Any, given: dict[str, Any]) -> None:
    """Multiplicative errors, for few keys and for many."""
    e = given["errors"]
    for n in (1, e["n"], 10**6):
        for mu in (0.0, e["multiplicative"]):
            decides(student, n, mu, "multiplicative")


@test("threshold", points=1)
def large_errors(student: Any, given: dict[str, Any]) -> None:
    """Errors just below what can be survived."""
    decides(student, given["errors"]["n"], 0.499, "additive")
    decides(student, given["errors"]["n"], 0.99, "multiplicative")


@test("threshold", points=1)
def too_large_errors(student: Any, given: dict[str, Any]) -> None:
    """None where no choice survives, and only there."""
    n = given["errors"]["n"]
    for mu, kind in ((0.5, "additive"), (0.8, "additive"), (1.0, "multiplicative")):
        assert student.run_temperature(n, mu, kind) is None, f"{kind} error {mu}: nothing survives it"
    decides(student, n, 0.8, "multiplicative")


def formulas(given: dict[str, Any]) -> list[Any]:
    """Satisfiable and unsatisfiable ones."""
    draw = given["formulas"]["draw"]
    return [
        hardness.random_ksat(8, 34, 3, seed=draw),
        hardness.random_ksat(10, 43, 3, seed=draw + 1),
        hardness.random_ksat(9, 70, 3, seed=draw + 2),
        mixed(given, 0),
        hardness.pigeonhole(3),
        hardness.planted_ksat(11, 50, 3, seed=draw)[0],
    ]


def worst() -> Any:
    """A formula with both extreme rows: all products are 1, or one is 0 and the others are large."""
    return hardness.CNF(12, ((1,), *((-1, x) for _ in range(9) for x in range(7, 13))))


def partners(cnf: Any) -> Any:
    """Which rows have a partner."""
    a, b = hardness.split_and_list(cnf)
    return (a.astype(int) @ b.T == 0).any(axis=1)


def right(cnf: Any, found: Any, satisfiable: bool) -> None:
    """Fail unless an answer is right."""
    if not satisfiable:
        assert found is None, f"no assignment satisfies the formula, got {found}"
        return
    assert found is not None, "the formula is satisfiable"
    values = np.asarray(found)
    assert values.shape == (cnf.variables,), f"expected {cnf.variables} truth values, got {found}"
    assert int(hardness.falsified(cnf, values.astype(bool))) == 0, "the assignment does not satisfy the formula"


def ask(student: Any, cnf: Any, mu: float, spoil: Any) -> Any:
    """One question, its outputs spoiled, and the answer."""
    clauses = clauses_of(cnf)
    y = attend(student.run_question(cnf.variables, clauses, mu), 2 ** (cnf.variables // 2))
    return student.run_answer(cnf.variables, clauses, mu, spoil(y))


@test("decide", points=2)
def against_brute_force(student: Any, given: dict[str, Any]) -> None:
    """Random, planted and pigeonhole formulas, against trying all assignments; the attention does not err."""
    for cnf in formulas(given):
        right(cnf, ask(student, cnf, 0.0, lambda y: y), hardness.brute_force(cnf) is not None)


@test("decide", points=1)
def errors_against_you(student: Any, given: dict[str, Any]) -> None:
    """Every output is moved to the wrong side by all of the promised error."""
    for mu in (given["sold"]["mu"], 0.45):
        for cnf in [*formulas(given), worst()]:
            sign = np.where(partners(cnf), -1, 1)[:, None]
            found = ask(student, cnf, mu, lambda y, shift=mu * sign: y + shift)
            right(cnf, found, hardness.brute_force(cnf) is not None)


@test("decide", points=1)
def rows_apart(student: Any, given: dict[str, Any]) -> None:
    """Outputs of rows with and without a partner stay apart by more than twice the error, in the worst formulas."""
    mu = given["sold"]["mu"]
    for cnf in [*formulas(given), worst()]:
        partner = partners(cnf)
        y = attend(student.run_question(cnf.variables, clauses_of(cnf), mu), len(partner)).ravel()
        assert y[partner].min(initial=1) - y[~partner].max(initial=0) > 2 * mu, "the error can hide a partner"


@test("decide", points=1)
def the_oracle_is_asked(student: Any, given: dict[str, Any]) -> None:
    """Where the outputs say no, or yes for the wrong row alone, the answer is None: only such rows are looked at."""
    cnf = hardness.planted_ksat(10, 60, 3, seed=given["formulas"]["draw"])[0]
    partner = partners(cnf)
    mu, clauses = given["sold"]["mu"], clauses_of(cnf)
    right(cnf, student.run_answer(10, clauses, mu, partner.astype(float)), True)
    assert student.run_answer(10, clauses, mu, np.zeros(32)) is None, "every output said no"
    wrong = np.zeros(32)
    wrong[np.flatnonzero(~partner)[:1]] = 1.0
    assert student.run_answer(10, clauses, mu, wrong) is None, "a row was looked at whose output said no"


@test("decide", points=1)
def lies(student: Any, given: dict[str, Any]) -> None:
    """Outputs that say yes where the formula is unsatisfiable: no assignment comes back that does not satisfy it."""
    cnf = hardness.pigeonhole(3)
    assert student.run_answer(cnf.variables, clauses_of(cnf), given["sold"]["mu"], np.ones((64, 1))) is None, "a lie"


@test("decide", points=1)
def smallest_formulas(student: Any, given: dict[str, Any]) -> None:
    """One variable, no clauses, the empty clause, variables in no clause."""
    mu = given["sold"]["mu"]
    for variables, clauses in ((1, ((1,),)), (1, ((1,), (-1,))), (3, ()), (2, ((),)), (5, ((-5,),))):
        cnf = hardness.CNF(variables, clauses)
        right(cnf, ask(student, cnf, mu, lambda y: y), hardness.brute_force(cnf) is not None)


def orthogonal(x: dict[str, Any]) -> Any:
    """Which rows are; products of small integers would wrap."""
    return np.asarray(x["a"], np.float64) @ np.asarray(x["b"], np.float64).T == 0


@test("others", points=1)
def sets(student: Any, given: dict[str, Any]) -> None:
    """Containment, for random lists of sets with the empty and the full one, in its direction."""
    rng = np.random.default_rng(given["graph"]["draw"])
    a, b = (rng.random((12, 6)) < 0.3).astype(int), (rng.random((15, 6)) < 0.6).astype(int)
    a[0], b[0], a[1] = 0, 1, 1
    x = student.run_contained(a, b)
    near(orthogonal(x), (a[:, None] <= b).all(axis=2))


@test("others", points=2)
def graphs(student: Any, given: dict[str, Any]) -> None:
    """Two vertices dominate: sparse and dense random graphs, a star, a graph without edges, two vertices."""
    n = given["graph"]["vertices"]
    rng = np.random.default_rng(given["graph"]["draw"])
    star = np.zeros((6, 6), int)
    star[0, 1:] = star[1:, 0] = 1
    some = [np.triu(rng.random((n, n)) < p, 1).astype(int) for p in (0.2, 0.6, 0.75)]
    for g in [x + x.T for x in some] + [star, np.zeros((5, 5), int), np.zeros((2, 2), int)]:
        reach = g + np.eye(len(g), dtype=int)
        x = student.run_dominating(g)
        near(orthogonal(x), (reach[:, None] + reach > 0).all(axis=2))
