"""The tests that students do not see."""

# leaktinyxq

from typing import Any

import numpy as np

from attnlib import reference
from tools.assignments.harness import near, test


@test("count", points=2)
def many_sequences(student: Any, given: dict[str, Any]) -> None:
    """Every sequence of a batch has its own pairs."""
    near(student.run_count(given["n"], given["batch"]), given["batch"] * given["n"] ** 2)


@test("softmax", points=2)
def large_scores(student: Any, given: dict[str, Any]) -> None:
    """Large scores do not overflow."""
    near(student.run_softmax(np.array([[1000.0, 1000.0]])), np.array([[0.5, 0.5]]))


@test("softmax", points=1)
def sums_to_one(student: Any, given: dict[str, Any]) -> None:
    """Each row of weights sums to one."""
    scores = np.random.default_rng(given["n"]).normal(size=(3, given["n"]))
    near(np.asarray(student.run_softmax(scores)).sum(-1), np.ones(3))


@test("attend", points=3)
def reference_agrees(student: Any, given: dict[str, Any]) -> None:
    """Random queries, keys and values give what the definition gives."""
    rng = np.random.default_rng(given["d"])
    q, k, v = (rng.normal(size=(given["n"], given["d"])) for _ in range(3))
    near(student.run_attend(q, k, v)["out"], reference.attention(q, k, v), rel=1e-6, abs=1e-9)


@test("attend", points=2)
def shape(student: Any, given: dict[str, Any]) -> None:
    """The shape is a list of the result's lengths."""
    d = given["d"]
    got = student.run_attend(np.ones((3, d)), np.ones((5, d)), np.ones((5, d)))["shape"]
    assert got == [3, d], f"expected {[3, d]}, got {got}"
