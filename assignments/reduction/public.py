"""Tests of *A reduction* that students see: sizes that one can do by hand."""

from typing import Any

import numpy as np

from tools.assignments.harness import near, test


@test("vectors", points=1)
def two_variables(student: Any, given: dict[str, Any]) -> None:
    """(x1 or x2) and (not x1): the vectors 10, 01 of x1 and 11, 01 of x2."""
    found = student.run_split_and_list(2, [[1, 2], [-1]])
    near(found["a"], [[1, 0], [0, 1]])
    near(found["b"], [[1, 1], [0, 1]])


@test("scores", points=1)
def one_key(student: Any, given: dict[str, Any]) -> None:
    """One key beside the dummy, c = 2 and tau = 1: rows with the products 0 and 1 get 0.731 and 0.269."""
    x = student.run_inputs(np.array([[1, 0], [0, 1]]), np.array([[0, 1]]), 2.0, 1.0)
    q, k, v = (np.asarray(x[name], np.float64) for name in "qkv")
    weights = np.exp(q @ k.T / np.sqrt(q.shape[1]))
    near((weights @ v / weights.sum(axis=1, keepdims=True)).ravel(), [0.731058578630, 0.268941421370], abs=1e-6)


@test("threshold", points=1)
def no_error(student: Any, given: dict[str, Any]) -> None:
    """Without error and for 10 keys, of either kind: θ separates yes and no, and c is above ln 10 by 4 at most."""
    for kind in ("additive", "multiplicative"):
        t = student.run_temperature(10, 0.0, kind)
        c, tau, theta = (float(t[name]) for name in ("c", "tau", "theta"))
        yes, no = 1 / (1 + np.exp(-tau)), 10 / (10 + np.exp(c - tau))
        assert yes > theta + 1e-6, f"{kind}: a row that says yes has {yes:.6f}, and the threshold is {theta}"
        assert no < theta - 1e-6, f"{kind}: a row that says no has {no:.6f}, and the threshold is {theta}"
        assert c <= np.log(10) + 4 + 1e-9, f"{kind}: c is {c:.3f}, more than 4 above ln 10 = {np.log(10):.3f}"


@test("decide", points=1)
def four_variables(student: Any, given: dict[str, Any]) -> None:
    """Through attnlib.attention: a formula with one solution, and one with none."""
    clauses = [[1], [-2], [3, 2], [-4, -3]]
    found = student.run_decide(4, clauses, 0.25)
    assert found == [True, False, True, False], f"expected x1, not x2, x3, not x4, got {found}"
    found = student.run_decide(4, [*clauses, [4, -1]], 0.25)
    assert found is None, f"no assignment satisfies it, got {found}"


@test("others", points=1)
def small_sets(student: Any, given: dict[str, Any]) -> None:
    """The set {1} is contained in {1, 2} and not in {2}."""
    x = student.run_contained(np.array([[1, 0]]), np.array([[1, 1], [0, 1]]))
    products = (np.asarray(x["a"], np.int64) @ np.asarray(x["b"], np.int64).T).ravel()
    assert products[0] == 0, "a set and one that contains it have to be orthogonal"
    assert products[1] != 0, "a set and one that does not contain it must not be orthogonal"


@test("others", points=1)
def a_path(student: Any, given: dict[str, Any]) -> None:
    """The path of four vertices 1 - 2 - 3 - 4: 2 and 3 dominate it, 1 and 4, 1 and 3, 2 and 4, and nobody alone."""
    x = student.run_dominating(np.array([[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]]))
    products = np.asarray(x["a"], np.int64) @ np.asarray(x["b"], np.int64).T
    near(products == 0, [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]])
