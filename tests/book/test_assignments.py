"""Assignments: what students, graders and instructors get, the marks, and that nothing leaks.

The build writes into a temporary folder; what `make book` and `make notebooks` wrote is only read.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import shutil
import sys
import types
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import nbformat
import numpy as np
import pytest

from tools.assignments import make, marks, notebook, otter
from tools.assignments.harness import Student, near, outcome
from tools.assignments.master import ASSIGNMENTS, Assignment, leaves, load, marker, read_given, stems

STEMS = stems()
ROOT = ASSIGNMENTS.parent


@cache
def loaded(stem: str, seed: int = 0) -> Assignment:
    """An assignment; tests only read it."""
    return load(stem, seed)


def full(made: Assignment) -> dict[str, int]:
    return {x.id: x.points for x in made.graded}


def code(cells) -> Iterator[nbformat.NotebookNode]:
    return (cell for cell in cells if cell.cell_type == "code")


# Marks ------------------------------------------------------------


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("seed", [0, 2026])
def test_marks_are_as_stated(stem, seed):
    """Right ones, however written, get everything, the starter nothing, wrong ones what is stated."""
    made = loaded(stem, seed)
    assert marks.wrong(made) == []
    assert len(made.mistakes) == 10
    assert len(made.right) >= 3
    for problem in made.graded:  # three ways to be right, the solution's included
        assert sum(problem.id in x.replaced for x in made.right) >= 2, problem.id
    assert len({x.name for x in (*made.mistakes, *made.right)}) == len(made.mistakes) + len(made.right)


@pytest.mark.parametrize("stem", STEMS)
def test_wrong_marks_are_noticed(stem):
    made = loaded(stem)
    first = made.mistakes[0]
    problem = next(iter(first.points))
    stated = replace(first, points={problem: first.points[problem] + 1})
    (found,) = marks.wrong(replace(made, mistakes=(stated,), right=()))
    assert first.name in found
    found = marks.wrong(replace(made, mistakes=(), right=(first,)))
    assert found
    assert all("right but refused" in line for line in found)
    # Without adapters everything fails, and says so.
    failed = marks.failures(made, marks.answers(made) | {"adapters": ""})
    assert len(failed) == len(made.tests)
    assert all("the notebook has no function run_" in line for line in failed)


@pytest.mark.parametrize("stem", STEMS)
def test_every_number_changes_with_the_seed(stem):
    first = dict(leaves(loaded(stem).given))
    assert first
    assert all(isinstance(x, int | float) for x in first.values())
    for seed in (1, 2, 3):
        again = loaded(stem, seed)
        assert marks.marks(again, marks.answers(again)) == full(again)
        other = dict(leaves(again.given))
        assert other.keys() == first.keys()
        assert [at for at in first if other[at] == first[at]] == []
        assert load(stem, seed).given == again.given  # the same for the same seed
    # No seed is refused because it repeats a number of seed 0.
    for seed in range(4, 500):
        read_given(ASSIGNMENTS / stem / "given.py", seed)


def test_near():
    near(3, 3.0)
    near(10**30 + 1, 10**30)
    near([1, 2.0], [1.0, 2])
    near(Fraction(6, 2), 3)
    near([Fraction(1, 3), 10**30], [1 / 3, 10**30])
    near(np.array([[True, False]]), [[1, 0]])
    near(np.array([0, 255], np.uint8), [0, 255])
    for value in (
        float("nan"),
        "3",
        None,
        True,
        Fraction(7, 2),
        np.uint8(4),
        [3],
        [[3]],
        3.1,
        {"a": 3},
        3j,
        float("inf"),
    ):
        with pytest.raises(AssertionError):
            near(value, 3)
    with pytest.raises(AssertionError, match="expected the shape"):
        near([3, 3], 3)
    near(3.1, 3, abs=0.2)


def test_a_test_hands_out_copies():
    def spoil(x):
        x.append(1)
        return len(x)

    given = {"x": [0]}

    def twice(student, given):
        assert student.run_f(given["x"]) == student.run_f(given["x"]) == 2
        given["x"].clear()

    assert outcome(twice, Student({"run_f": spoil}), given) == ""
    assert given == {"x": [0]}
    assert "no function run_g" in outcome(lambda s, g: s.run_g(), Student({"run_f": spoil, "g": 1}), given)


# What is written ------------------------------------------------------------


@pytest.mark.parametrize("stem", STEMS)
def test_student_notebook(stem):
    made = loaded(stem)
    student = notebook.student(made)
    first, install, setup = student.cells[:3]
    assert first.source.startswith(f"# {made.title}\n")
    assert "attnlib" in install.source
    assert "%pip" in install.source
    assert "GIVEN = {" in setup.source
    assert setup.metadata.nbgrader.locked
    text = "\n".join(cell.source for cell in student.cells)
    assert "BEGIN SOLUTION" not in text
    assert "{{" not in text
    assert "# your code here" in text
    for problem in made.problems:
        assert f": {problem.title} ({problem.points} points)" in text
    for cell in list(code(student.cells))[1:]:
        ast.parse(cell.source)  # no magic but the install cell's
    # Every address is a page of this book.
    pages = re.findall(r"\]\((https://[^)#]+)", first.source)
    assert pages
    assert all((ROOT / "chapters" / f"{Path(x).stem}.md").is_file() for x in pages)


@pytest.mark.parametrize("stem", STEMS)
def test_checks_in_the_notebook(stem):
    """In the student's notebook no check passes before anything is written, in the solution's all do."""
    made = loaded(stem)
    for made_notebook, mark in ((notebook.student(made), "✗"), (notebook.solution(made), "✓")):
        names: dict[str, object] = {"__name__": "__main__"}
        printed = io.StringIO()
        for cell in list(code(made_notebook.cells))[1:]:
            with contextlib.suppress(NotImplementedError), contextlib.redirect_stdout(printed):
                exec(compile(cell.source, stem, "exec"), names)
        lines = [line for line in printed.getvalue().split("\n") if line[:1] in ("✗", "✓")]
        assert len(lines) == sum(not x.hidden for x in made.tests)
        assert {line[0] for line in lines} == {mark}


@pytest.mark.filterwarnings("ignore")  # what overflows warns, in a notebook too
@pytest.mark.parametrize("stem", STEMS)
def test_names_of_the_student(stem):
    """Whatever the tests call their helpers, a student may call his own things so: check runs all the same."""
    made = loaded(stem)
    first, *rest = list(code(notebook.solution(made).cells))[1:]
    names: dict[str, object] = {"__name__": "__main__"}
    exec(first.source, names)
    assert {x for x in names if not x.startswith("__")} == {"GIVEN", "_check", "check"}
    tests = ast.parse(notebook.tests_text(made, "public.py", "hidden.py")).body
    taken = {x.name for x in tests if isinstance(x, ast.FunctionDef | ast.ClassDef)}
    assert {"near", "test", "outcome", "Student", "checker"} < taken
    printed = io.StringIO()
    for cell in rest:
        with contextlib.redirect_stdout(printed):
            exec(compile(cell.source, stem, "exec"), names)
        names |= dict.fromkeys(taken - set(names), 0)
    assert "✓" in printed.getvalue()
    assert "✗" not in printed.getvalue()


@pytest.mark.filterwarnings("ignore")  # what overflows warns, in a notebook too
@pytest.mark.parametrize("stem", STEMS)
def test_nbgrader_cells(stem):
    """The metadata that nbgrader asks for; its source's test cells give the marks that we do."""
    made = loaded(stem)
    source, student = notebook.nbgrader_source(made), notebook.student(made)
    assert [x.metadata for x in source.cells] == [x.metadata for x in student.cells]
    about = [x.metadata.nbgrader for x in student.cells if "nbgrader" in x.metadata]
    ids = [x.grade_id for x in about]
    assert len(set(ids)) == len(ids)
    assert sum(x.points for x in about if x.grade) == made.points + made.open.points
    assert all(x.schema_version == 3 and not x.task for x in about)
    for cell in source.cells:
        if cell.metadata.get("nbgrader", {}).get("solution") and cell.cell_type == "code":
            assert cell.source.count("BEGIN SOLUTION") == cell.source.count("END SOLUTION") > 0

    variant = made.mistakes[-1]
    for sources in (marks.answers(made), marks.answers(made, variant), marks.starter(made)):
        names = marks.run(made, sources)
        got = {}
        for cell in source.cells:
            about = cell.metadata.get("nbgrader", {})
            if about.get("locked") and about.get("grade"):
                body, _, rest = cell.source.partition("### BEGIN HIDDEN TESTS\n")
                program, last = rest.rsplit("\n\n_earned", 1)
                assert body.startswith("check(")
                assert last == "(globals())\n### END HIDDEN TESTS"
                exec(program, names)
                got[about["grade_id"].removesuffix("-tests")] = names["_earned"](names)
        assert got == marks.marks(made, sources)


@pytest.mark.filterwarnings("ignore")  # what overflows warns, in a notebook too
@pytest.mark.parametrize("stem", STEMS)
def test_otter_files(stem, monkeypatch):
    """Otter's test files, run as Otter runs them, give the marks that we do."""

    class Case:
        def __init__(self, name, points, hidden, failure_message):
            self.points, self.hidden, self.message = points, hidden, failure_message

        def __call__(self, function):
            self.function = function
            return self

    module = types.ModuleType("otter.test_files")
    module.test_case = Case
    monkeypatch.setitem(sys.modules, "otter", types.ModuleType("otter"))
    monkeypatch.setitem(sys.modules, "otter.test_files", module)
    made = loaded(stem)
    with zipfile.ZipFile(io.BytesIO(otter.archive(made))) as packed:
        files = {name: packed.read(name).decode() for name in packed.namelist()}
    assert files == otter.files(made)
    assert otter.archive(made) == otter.archive(made)
    assert json.loads(files["otter_config.json"])["show_hidden"] is False
    cases = {}
    for problem in made.graded:
        env: dict[str, object] = {}
        exec(files[f"tests/{problem.id}.py"], env)
        assert (env["OK_FORMAT"], env["name"]) == (False, problem.id)
        cases[problem.id] = [x for x in env.values() if isinstance(x, Case)]
        assert [x.hidden for x in cases[problem.id]] == [x.hidden for x in made.tests if x.problem == problem.id]
    for sources in (marks.answers(made), marks.answers(made, made.mistakes[-1]), marks.starter(made)):
        names = marks.run(made, sources)
        got = dict.fromkeys(cases, 0)
        for problem, tests in cases.items():
            for case in tests:
                with contextlib.suppress(Exception):
                    case.function(names)
                    got[problem] += case.points
        assert got == marks.marks(made, sources)


def test_command(tmp_path, capsys):
    """Files of a seed, and of another in the same place; nothing half-written stays."""
    stem = STEMS[0]
    assert make.main([stem, "--out", str(tmp_path)]) == 0
    assert f"{stem}: " in capsys.readouterr().out
    before = {x: x.read_bytes() for x in tmp_path.rglob("*") if x.is_file()}
    assert {x.relative_to(tmp_path / stem).parts[0] for x in before} == {"student", "instructor"}
    agents = (tmp_path / stem / "student" / "AGENTS.md").read_text("utf8")
    assert "chapters/" in agents
    assert "{" not in agents
    rubric = (tmp_path / stem / "instructor" / "rubric.md").read_text("utf8")
    assert "{{" not in rubric
    assert make.main([stem, "--out", str(tmp_path), "--seed", "5"]) == 0
    after = {x: x.read_bytes() for x in tmp_path.rglob("*") if x.is_file()}
    assert after.keys() == before.keys()
    changed = {x.name for x in before if before[x] != after[x]}
    assert {f"{stem}.ipynb", f"{stem}-solution.ipynb", "autograder.zip", "given.json", "rubric.md"} <= changed
    assert make.main(["nonsense", "--out", str(tmp_path)]) == 1
    assert "assignment: expected one of" in capsys.readouterr().err


def test_a_failure_leaves_the_old_folder(tmp_path):
    folder = tmp_path / "x"
    make.save_folder(folder, {"a/b": "old"})
    with pytest.raises(TypeError):
        make.save_folder(folder, {"a/b": "new", "c": 3})
    assert (folder / "a" / "b").read_text() == "old"
    make.save_folder(folder, {"c": b"new"})
    assert [x.name for x in folder.iterdir()] == ["c"]
    assert [x.name for x in tmp_path.iterdir()] == ["x"]


EDITS = {
    "no such chapter": ("assignment.md", "](chapters/memory)", "](chapters/nowhere)", "there is no such chapter"),
    "no such number": ("assignment.md", "{{ long }}", "{{ longer }}", "given has no such number"),
    "a role": ("assignment.md", "**Time**", "{math}`x`", "no roles and directives"),
    "no deliverable": ("assignment.md", "*Deliverable*: at most", "At most", "Deliverable"),
    "no marker": (
        "assignment.md",
        "    # leakaccountxq\n    return batch",
        "    return batch",
        "leakaccountxq between",
    ),
    "marker outside": ("assignment.md", "import math", "import math  # leakaccountxq", "what students get"),
    "no date": ("assignment.md", "- 2026-11-30: ", "- ", "a section of changes"),
    "no minutes": ("assignment.md", "minutes: 120, ", "", "expected minutes, seconds"),
    "no such package": (
        "assignment.md",
        "memory_gib: 4}",
        "memory_gib: 4, without: [attnlib.x]}",
        "without: expected packages",
    ),
    "rubric": ("rubric.md", "- (1) Names", "- (2) Names", "expected 4 points in all, got 5"),
    "unknown problem": (
        "hidden.py",
        '@test("model", points=1)',
        '@test("models", points=1)',
        "expected a problem of",
    ),
    "no words for a student": ("public.py", '    """A step without', '    # """A step without', "docstring"),
    "a repeated number": ("given.py", 'draw.whole("batch", 3, 2, 9)', "3", "repeats layer.batch"),
    "not JSON": ("given.py", 'draw.whole("batch", 3, 2, 9)', "(3, seed)", "plain JSON"),
    "hidden marker": ("hidden.py", "# leakaccountxq\n", "\n", "expected the marker"),
    "a reference in public": (
        "public.py",
        "from typing import Any",
        "from typing import Any\n\nimport attnlib",
        "got attnlib",
    ),
    "replaces nothing": ("mistakes.py", '"math.isqrt("', '"math.sqrt("', "expected once in the solution"),
}


@pytest.mark.parametrize("what", EDITS)
def test_a_master_that_is_refused(what, tmp_path, capsys):
    """Every rule of the format names the file and what it expects."""
    file, old, new, message = EDITS[what]
    shutil.copytree(ASSIGNMENTS / "account", tmp_path / "account", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "account" / file
    text = path.read_text("utf8")
    assert old in text
    path.write_text(text.replace(old, new), "utf8")
    out = tmp_path / "out"
    assert make.main(["account", "--seed", "3", "--masters", str(tmp_path), "--out", str(out)]) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


# Nothing leaks ------------------------------------------------------------


def texts(path: Path) -> Iterator[str]:
    """What a file holds, with what is packed in it."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            for name in packed.namelist():
                yield packed.read(name).decode("utf8", "replace")
    else:
        yield path.read_bytes().decode("utf8", "replace")


def leaks(folder: Path) -> list[str]:
    """Files below a folder in which a marker stands."""
    words = re.compile("|".join(marker(stem) for stem in STEMS), re.IGNORECASE)
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [str(path.relative_to(folder)) for path in files if any(words.search(text) for text in texts(path))]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """Every assignment as the build writes it."""
    out = tmp_path_factory.mktemp("assignments")
    for stem in STEMS:
        make.save_folder(out / stem, make.contents(loaded(stem)))
    return out


def test_nothing_leaks_to_students(written):
    for stem in STEMS:
        assert leaks(written / stem / "student") == []
        # The test would notice: what instructors get is full of markers.
        assert {"otter/autograder.zip", "rubric.md", f"{stem}-solution.ipynb"} <= set(
            leaks(written / stem / "instructor")
        )


def test_no_line_of_a_solution_or_hidden_test_leaks(written):
    """Markers aside: no line that only the solution, or a hidden test, has."""
    for stem in STEMS:
        made = loaded(stem)
        public = "\n".join([*(cell.starter for cell in made.cells), made.text("public.py")])
        folder = written / stem / "student"
        cells = nbformat.read(folder / f"{stem}.ipynb", 4).cells
        given = "\n".join([*(x.source for x in cells), (folder / "AGENTS.md").read_text("utf8")])
        secret = "\n".join([*(x.source for x in made.cells), made.text("hidden.py"), made.rubric])
        lines = {line.strip() for line in secret.split("\n")} - {line.strip() for line in public.split("\n")}
        assert len(lines) > 50
        harness = (ROOT / "tools" / "assignments" / "harness.py").read_text("utf8")
        assert [line for line in sorted(lines) if len(line) > 24 and line in given and line not in harness] == []


def test_nothing_leaks_into_notebooks(root):
    assert leaks(root / "notebooks") == []


def test_nothing_leaks_into_the_book(html):
    """Pages, search index, sources, and whatever else lies in the folder that is published."""
    assert leaks(html) == []
    assert not list(html.rglob("*assignment.md*"))


def test_masters_are_no_sources_of_the_book(root):
    settings = (root / "_config.yml").read_text("utf8")
    patterns = re.search(r"^exclude_patterns: \[(.*)\]$", settings, re.MULTILINE)
    assert patterns
    assert "assignments" in patterns[1].split(", ")
    assert "assignments" not in (root / "_toc.yml").read_text("utf8")
