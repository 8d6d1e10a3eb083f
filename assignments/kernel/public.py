"""Tests of *A kernel* that students see: sizes that one can do by hand."""

from typing import Any

import numpy as np

from tools.assignments.harness import near, test


@test("merge", points=1)
def two_parts(student: Any, given: dict[str, Any]) -> None:
    """Weights 1, 2 and 1 on the values 0, 4 and 8, in two parts: output 4, log-sum log 4."""
    scores = [np.log(np.array([[1.0, 2.0]], np.float32)), np.zeros((1, 1), np.float32)]
    values = [np.array([[0.0], [4.0]], np.float32), np.array([[8.0]], np.float32)]
    found = student.run_parts(scores, values, False)
    near(found["o"], [[4.0]], rel=1e-5)
    near(found["lse"], [np.log(4)], rel=1e-5)


@test("visible", points=1)
def two_queries(student: Any, given: dict[str, Any]) -> None:
    """Two queries that follow one key more: the first sees two keys, the last all three."""
    found = student.run_visible(np.arange(2), np.arange(3), 2, 3, True, None)
    near(np.asarray(found).astype(int), [[1, 1, 0], [1, 1, 1]])


@test("forward", points=1)
def running_means(student: Any, given: dict[str, Any]) -> None:
    """Equal scores and a causal mask give running means, with blocks of two and three positions."""
    q, k = np.ones((3, 1), np.float32), np.zeros((3, 1), np.float32)
    v = np.array([[0.0], [2.0], [4.0]], np.float32)
    found = student.run_forward(q, k, v, True, None, 2, "float32")
    near(found["o"], [[0.0], [1.0], [2.0]], rel=1e-4, abs=1e-5)
    near(found["lse"], np.log([1.0, 2.0, 3.0]), rel=1e-4, abs=1e-5)


@test("forward", points=1)
def four_numbers_a_key(student: Any, given: dict[str, Any]) -> None:
    """One query and keys of four numbers, scores 0 and log 3: weights 1/4 and 3/4, log-sum log 4."""
    q, k, v = np.ones((1, 4)), np.outer([0.0, np.log(3) / 2], np.ones(4)), np.array([[0.0], [4.0]])
    found = student.run_forward(*(x.astype(np.float32) for x in (q, k, v)), False, None, 1, "float32")
    near(found["o"], [[3.0]], rel=1e-4)
    near(found["lse"], [np.log(4)], rel=1e-4)


@test("forward", points=1)
def hidden_nan(student: Any, given: dict[str, Any]) -> None:
    """Two queries, two keys, causal; the second key and value are NaN: the first query does not see them."""
    q, k, v = (np.array(x, np.float32) for x in ([[1.0], [1.0]], [[0.5], [np.nan]], [[2.0], [np.nan]]))
    found = student.run_forward(q, k, v, True, None, 2, "float32")
    near(np.asarray(found["o"])[:1], [[2.0]], rel=1e-4)
    near(np.asarray(found["lse"])[:1], [0.5], rel=1e-4)


@test("backward", points=1)
def two_keys(student: Any, given: dict[str, Any]) -> None:
    """One query, two keys of four numbers and of equal score, values 0 and 2: all gradients by hand."""
    q, k, v = (np.array(x, np.float32) for x in ([[1.0] * 4], [[3.0] * 4] * 2, [[0.0], [2.0]]))
    o, lse, do = (np.array(x, np.float32) for x in ([[1.0]], [6.0 + np.log(2.0)], [[1.0]]))
    dq, dk, dv = student.run_backward(q, k, v, o, lse, do, False, None, 1)
    near(dv, [[0.5], [0.5]], rel=1e-4, abs=1e-5)
    near(dk, [[-0.25] * 4, [0.25] * 4], rel=1e-4, abs=1e-5)
    near(dq, [[0.0] * 4], rel=1e-4, abs=1e-5)
