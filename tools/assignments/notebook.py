"""The notebooks of an assignment: the student's, the same with solutions, and the source for nbgrader."""

from __future__ import annotations

import ast
import hashlib
import pprint
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

from tools.assignments import harness
from tools.assignments.marks import rubric
from tools.assignments.master import Assignment, Cell
from tools.files import ROOT
from tools.notebooks import KERNEL, install, read_released
from tools.repository import read_repository

FOLDED = {"cellView": "form", "jupyter": {"source_hidden": True}}  # Colab's name and Jupyter's
ABOUT_TESTS = "A `check(…)` cell runs the tests that you see. Your work is graded with these and with others."


def student(made: Assignment) -> nbformat.NotebookNode:
    """No solution, no hidden test."""
    return _notebook(made, "student")


def solution(made: Assignment) -> nbformat.NotebookNode:
    """What the students have, answered; the rubric in the place of the open answer."""
    return _notebook(made, "solution")


def nbgrader_source(made: Assignment) -> nbformat.NotebookNode:
    """The source from which nbgrader makes the student's notebook, and with which it grades."""
    return _notebook(made, "nbgrader")


def _notebook(made: Assignment, kind: str) -> nbformat.NotebookNode:
    cells = list(_cells(made, kind))
    for index, cell in enumerate(cells):
        cell.id = hashlib.sha256(f"{made.stem}:{index}".encode()).hexdigest()[:12]
    metadata = KERNEL | {"assignment": {"stem": made.stem, "seed": made.seed}}
    notebook: nbformat.NotebookNode = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    nbformat.validate(notebook)
    return notebook


def _cells(made: Assignment, kind: str) -> Iterator[nbformat.NotebookNode]:
    first, *rest = made.cells
    total = made.points + made.open.points
    points = f"**Points** {total}, of which {made.open.points} are for the open question, which a person grades."
    others = (
        "**Help** Books, people and assistants may explain; the answers are yours. AGENTS.md tells an assistant so."
    )
    yield _markdown("\n\n".join([first.source, points, ABOUT_TESTS, others]))
    yield _code(install(read_repository(ROOT), read_released(ROOT)))
    yield _code(setup(made), {**FOLDED, **_graded("setup", locked=True)})
    for index, cell in enumerate(rest):
        yield _cell(made, cell, kind)
        after = rest[index + 1].problem if index + 1 < len(rest) else ""
        if cell.problem and cell.problem != after and cell.problem != made.open.id:
            yield _check(made, cell.problem, kind)


def _cell(made: Assignment, cell: Cell, kind: str) -> nbformat.NotebookNode:
    if cell.role == "answer":
        metadata = _graded(f"{cell.problem}-answer", solution=True)
        return _code(cell.starter if kind == "student" else cell.source, metadata)
    if cell.role == "answer-text":
        metadata = _graded(f"{cell.problem}-answer", solution=True, points=made.open.points)
        return _markdown(rubric(made) if kind == "solution" else cell.source, metadata)
    return _markdown(cell.source) if cell.kind == "markdown" else _code(cell.source)


def _check(made: Assignment, problem: str, kind: str) -> nbformat.NotebookNode:
    """The cell that runs a problem's public tests; nbgrader's also holds what decides the points."""
    points = next(x.points for x in made.problems if x.id == problem)
    source = f'check("{problem}")'
    if kind == "nbgrader":
        source = f"{source}\n### BEGIN HIDDEN TESTS\n{earned(made, problem)}\n### END HIDDEN TESTS"
    return _code(source, _graded(f"{problem}-tests", points=points, locked=True))


def _graded(name: str, *, solution: bool = False, points: int | None = None, locked: bool = False) -> dict[str, Any]:
    """What nbgrader reads of a cell."""
    about = {"grade": points is not None, "grade_id": name, "locked": locked, "schema_version": 3}
    about |= {"solution": solution, "task": False} | ({} if points is None else {"points": points})
    return {"nbgrader": about}


def _markdown(source: str, metadata: dict[str, Any] | None = None) -> nbformat.NotebookNode:
    cell: nbformat.NotebookNode = nbformat.v4.new_markdown_cell(source, metadata=metadata or {})
    return cell


def _code(source: str, metadata: dict[str, Any] | None = None) -> nbformat.NotebookNode:
    cell: nbformat.NotebookNode = nbformat.v4.new_code_cell(source.strip("\n"), metadata=metadata or {})
    return cell


# Code that stands alone ------------------------------------------------------------


def pasted(text: str) -> str:
    """A module without its docstring and without imports of this repository's tools."""
    lines = text.split("\n")
    for node in ast.parse(text).body:
        tools = isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("tools", "__future__"))
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.lineno == 1
        if tools or docstring:
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = "\0"
    return "\n".join(x for x in lines if x != "\0").strip("\n")


def numbers(made: Assignment) -> str:
    """The assignment to GIVEN."""
    return "GIVEN = " + pprint.pformat(made.given, sort_dicts=False, width=100)


def setup(made: Assignment) -> str:
    """The cell with the numbers, the harness and the public tests; of its names a notebook has GIVEN and check."""
    title = "# Numbers and public tests: run this cell, and leave it as it is."
    program = f"{tests_text(made, 'public.py')}\n\nreturn checker(locals(), _names, GIVEN)"
    public = f"def _check(_names):\n{textwrap.indent(program, '    ')}"
    return "\n\n\n".join([f"{title}\n\n{numbers(made)}", public, "check = _check(globals())"])


def tests_text(made: Assignment, *files: str) -> str:
    """The harness and the tests of these files, as one program."""
    here = Path(harness.__file__).read_text("utf8")
    return "\n\n\n".join(pasted(text) for text in (here, *(made.text(file) for file in files)))


def earned(made: Assignment, problem: str) -> str:
    """An expression statement, and what it needs: the points of a problem, whatever the notebook has redefined."""
    program = f"{numbers(made)}\n\n{tests_text(made, 'public.py', 'hidden.py')}"
    program += "\n\nreturn sum("
    program += "\n    f.points"
    program += "\n    for f in list(locals().values())"
    program += f"\n    if getattr(f, 'problem', None) == {problem!r} and not outcome(f, Student(_names), GIVEN)\n)"
    return f"def _earned(_names):\n{textwrap.indent(program, '    ')}\n\n_earned(globals())"
