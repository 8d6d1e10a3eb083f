"""The tests that students see."""

from typing import Any

import numpy as np

from tools.assignments.harness import near, test


@test("count", points=1)
def one_sequence(student: Any, given: dict[str, Any]) -> None:
    """One sequence has n² pairs."""
    near(student.run_count(given["n"], 1), given["n"] ** 2)


@test("softmax", points=1)
def equal_scores(student: Any, given: dict[str, Any]) -> None:
    """Equal scores give equal weights."""
    near(student.run_softmax(np.zeros((2, given["n"]))), np.full((2, given["n"]), 1 / given["n"]))


@test("attend", points=1)
def one_key(student: Any, given: dict[str, Any]) -> None:
    """With one key the result is its value."""
    d = given["d"]
    near(student.run_attend(np.ones((1, d)), np.ones((1, d)), np.arange(d)[None] / 2)["out"], np.arange(d)[None] / 2)
