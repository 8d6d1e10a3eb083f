"""Marks of solutions that we wrote ourselves, in this process: the master's, the starter, wrong and right variants.

Students' work never runs here: that is what tools.grading is for.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Mapping
from typing import Any

from tools.assignments import harness
from tools.assignments.master import Assignment, Cell, Test, Variant


def answers(made: Assignment, variant: Variant | None = None) -> dict[str, str]:
    """The source of each answer cell by its problem, and of the adapters."""
    found = {x.problem: x.source for x in made.cells if x.role == "answer"}
    found["adapters"] = next(x.source for x in made.cells if x.role == "adapters")
    for place, change in (variant.replaced if variant else {}).items():
        if place not in found:
            raise ValueError(
                f"{made.stem}: {variant and variant.name}: expected one of {', '.join(found)}, got {place!r}"
            )
        if isinstance(change, str):
            found[place] = change
            continue
        for old, new in change:
            if found[place].count(old) != 1:
                raise ValueError(f"{made.stem}: {variant and variant.name}: {old!r}: expected once in the solution")
            found[place] = found[place].replace(old, new)
    return found


def run(made: Assignment, sources: Mapping[str, str]) -> dict[str, Any]:
    """Run the code cells, answers and adapters replaced by these; a cell that raises does not stop the others."""
    names: dict[str, Any] = {"__name__": "__main__", "GIVEN": made.given, "check": lambda problem: None}
    for cell in made.cells:
        if cell.kind == "code":
            with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
                exec(compile(_source(cell, sources), f"<{made.stem} {cell.problem}>", "exec"), names)
    return names


def _source(cell: Cell, sources: Mapping[str, str]) -> str:
    if cell.role == "answer":
        return sources[cell.problem]
    return sources["adapters"] if cell.role == "adapters" else cell.source


def marks(made: Assignment, sources: Mapping[str, str]) -> dict[str, int]:
    """Points of each problem."""
    points = {x.id: x.points for x in made.graded}
    for test, _ in outcomes(made, sources):
        points[test.problem] -= test.points
    return points


def failures(made: Assignment, sources: Mapping[str, str]) -> list[str]:
    """The tests that fail, and why, in words."""
    return [f"{test.problem}: {test.name}: {why}" for test, why in outcomes(made, sources)]


def outcomes(made: Assignment, sources: Mapping[str, str]) -> list[tuple[Test, str]]:
    """The tests that fail, and why."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of wrong solutions, which overflow
        student = harness.Student(run(made, sources))
        found = [(x, harness.outcome(x.function, student, made.given)) for x in made.tests]
    return [(test, why) for test, why in found if why]


def starter(made: Assignment) -> dict[str, str]:
    """The answer cells that students get."""
    return answers(made) | {x.problem: x.starter for x in made.cells if x.role == "answer"}


def wrong(made: Assignment) -> list[str]:
    """What is wrong with the marks of the master: empty when all is as stated."""
    full = {x.id: x.points for x in made.graded}
    found = [f"the solution fails {x}" for x in failures(made, answers(made))]
    if any(marks(made, starter(made)).values()):
        found.append("the starter gets points")
    for variant in made.right:
        found += [f"right but refused: {variant.name}: {x}" for x in failures(made, answers(made, variant))]
    for variant in made.mistakes:
        got = marks(made, answers(made, variant))
        if got != full | dict(variant.points):
            less = {key: value for key, value in got.items() if value != full[key]}
            found.append(f"{variant.name}: expected {dict(variant.points)}, got {less}")
        elif got == full:
            found.append(f"{variant.name}: gets full marks")
    return [f"{made.stem}, seed {made.seed}: {x}" for x in found]


def rubric(made: Assignment) -> str:
    """The rubric with the numbers that the solution finds: `{{= expression }}` is computed after its cells."""
    names = run(made, answers(made))
    return re.sub(r"\{\{= (.+?) \}\}", lambda found: str(eval(found[1], names)), made.rubric)
