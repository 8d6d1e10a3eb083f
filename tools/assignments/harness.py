"""What tests of an assignment are written with; pasted into a function of the notebook, away from students' names."""

import contextlib
import copy
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np


def test(problem: str, points: int) -> Callable[[Any], Any]:
    """Mark a function of (student, given) as a test of a problem."""

    def marked(function: Any) -> Any:
        function.problem, function.points = problem, points
        return function

    return marked


def near(value: Any, expected: Any, rel: float = 1e-9, abs: float = 0.0) -> None:
    """Fail unless a number, or every number of an array, is |value - expected| <= abs + rel |expected|."""
    wanted = np.asarray(expected)
    found = np.asarray(value)
    assert found.dtype.kind in "biuf" or _exact(found), f"expected numbers, got {str(value)[:60]!r}"
    assert found.shape == wanted.shape, f"expected the shape {wanted.shape}, got {found.shape}"
    # Integers beyond 64 bits and fractions are Python's own, and NumPy's isclose does not take them.
    for x, y in zip(found.ravel().tolist(), wanted.ravel().tolist(), strict=True):
        limit = abs + rel * (y if y > 0 else -y)
        assert -limit <= x - y <= limit, f"expected {y:,}, got {x}" if found.ndim == 0 else f"{x} is not near {y}"


def _exact(found: Any) -> bool:
    return found.dtype.kind == "O" and all(type(x) in (int, Fraction) for x in found.ravel().tolist())


class Student:
    """The adapters of a namespace; they get copies, so that no call changes what a test compares with."""

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("run_") or name not in self._names:
            raise AttributeError(f"the notebook has no function {name}")
        return lambda *args, **named: self._names[name](*copy.deepcopy(args), **copy.deepcopy(named))


def outcome(function: Any, student: Any, given: dict[str, Any]) -> str:
    """Run a test: "" when it passes, else why not."""
    try:
        with contextlib.redirect_stderr(sys.stdout):  # a warning is no failure, and nbgrader would take it for one
            function(student, copy.deepcopy(given))
    except Exception as error:
        return f"{type(error).__name__}: {error}".removeprefix("AssertionError: ")[:300]
    return ""


def checker(found: dict[str, Any], names: dict[str, Any], given: dict[str, Any]) -> Callable[[str], None]:
    """The notebook's `check`: runs the public tests, those among `found`, on the functions in `names`."""
    tests = [f for f in found.values() if hasattr(f, "problem") and hasattr(f, "points")]
    given = copy.deepcopy(given)

    def check(problem: str) -> None:
        """Run the public tests of a problem on the functions of this notebook."""
        asked = [f for f in tests if f.problem == problem]
        for function in asked:
            why = outcome(function, Student(names), given)
            title = (function.__doc__ or function.__name__).strip().split("\n")[0]
            print(f"{'✗' if why else '✓'} {title}" + (f"\n    {why}" if why else ""))
        more = "These are the tests that you see; your work is graded with more."
        print(more if asked else f"{problem}: no such problem")

    return check
