"""Reads an assignment: the master, its numbers, tests and wrong solutions. The format is told in the package."""

from __future__ import annotations

import ast
import datetime
import importlib.util
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from tools.files import ROOT, read_notebook
from tools.repository import read_repository

ASSIGNMENTS = ROOT / "assignments"
BEGIN, END = "# BEGIN SOLUTION", "# END SOLUTION"
STUB = "# your code here"


@dataclass(frozen=True)
class Cell:
    """A cell of the master, its numbers filled in.

    Attributes:
        kind: "markdown" or "code".
        source: with the solution.
        role: "answer", "adapters", "answer-text", "statement" (a problem's first cell), "changes", or "".
        problem: id of the problem that it belongs to; "" before the first and after the last.
    """

    kind: str
    source: str
    role: str = ""
    problem: str = ""

    @property
    def starter(self) -> str:
        """The source without the solution."""
        return without_solution(self.source) if self.role == "answer" else self.source


@dataclass(frozen=True)
class Test:
    """A test. `function(student, given)` raises when it fails."""

    name: str
    problem: str
    points: int
    message: str
    hidden: bool
    function: Callable[[Any, dict[str, Any]], None]


@dataclass(frozen=True)
class Problem:
    """A problem; an open one has no tests and is graded by hand."""

    id: str
    title: str
    points: int
    open: bool = False


@dataclass(frozen=True)
class Variant:
    """Another solution: which cells it replaces, and what problems that lose points then get."""

    name: str
    replaced: Mapping[str, str | tuple[tuple[str, str], ...]]
    points: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """What a submission may take: seconds for all cells, for one call of an adapter, and GiB of memory."""

    seconds: int
    call_seconds: int
    memory_gib: int


@dataclass(frozen=True)
class Assignment:
    """An assignment with the numbers of one seed."""

    stem: str
    folder: Path
    seed: int
    title: str
    minutes: int
    limits: Limits
    without: tuple[str, ...]
    given: dict[str, Any]
    cells: tuple[Cell, ...]
    problems: tuple[Problem, ...]
    tests: tuple[Test, ...]
    mistakes: tuple[Variant, ...]
    right: tuple[Variant, ...]
    rubric: str

    @property
    def graded(self) -> tuple[Problem, ...]:
        """The problems that tests decide."""
        return tuple(x for x in self.problems if not x.open)

    @property
    def open(self) -> Problem:
        """The open question."""
        return next(x for x in self.problems if x.open)

    @property
    def points(self) -> int:
        """Of all tests."""
        return sum(x.points for x in self.graded)

    def text(self, name: str) -> str:
        """A file of the folder: "public.py", "hidden.py"."""
        return (self.folder / name).read_text("utf8")


def marker(stem: str) -> str:
    """The word that marks what no student may see."""
    return f"leak{stem.replace('-', '')}xq"


def stems(folder: Path = ASSIGNMENTS) -> tuple[str, ...]:
    """Every assignment there is."""
    return tuple(sorted(path.parent.name for path in folder.glob("*/assignment.md")))


def load(stem: str, seed: int = 0, folder: Path = ASSIGNMENTS) -> Assignment:
    """Read assignments/<stem> with the numbers of a seed; ValueError says what is wrong with it."""
    home = folder / stem
    if not (home / "assignment.md").is_file():
        raise ValueError(f"assignment: expected one of {', '.join(stems(folder)) or 'none'}, got {stem!r}")
    modules = {name: _module(home / f"{name}.py") for name in ("public", "hidden", "mistakes")}
    given = read_given(home / "given.py", seed)
    tests = (*_tests(modules["public"], home, hidden=False), *_tests(modules["hidden"], home, hidden=True))
    rubric = (home / "rubric.md").read_text("utf8")
    title, settings, without, cells, problems = _master(home / "assignment.md", given, tests)
    made = Assignment(
        stem,
        home,
        seed,
        title,
        settings["minutes"],
        Limits(settings["seconds"], settings["call_seconds"], settings["memory_gib"]),
        without,
        given,
        cells,
        problems,
        tests,
        tuple(modules["mistakes"].MISTAKES),
        tuple(modules["mistakes"].RIGHT),
        rubric,
    )
    _consistent(made)
    return made


# The pieces ------------------------------------------------------------


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"assignments.{path.parent.name}.{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ValueError(f"{path}: missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Every number and word of `given`, with its place."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{at}.{key}" if at else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{at}.{index}")
    else:
        yield at, value


def read_given(path: Path, seed: int) -> dict[str, Any]:
    """The numbers of a seed; ValueError where one is that of seed 0."""
    module = _module(path)
    given: dict[str, Any] = module.given(seed)
    if json.loads(json.dumps(given)) != given:
        raise ValueError(f"{path}: expected plain JSON values")
    if seed:
        first = dict(leaves(module.given(0)))
        same = [at for at, value in leaves(given) if at in first and value == first[at]]
        if same:
            raise ValueError(f"{path}: seed {seed} repeats {', '.join(same)} of seed 0")
    return given


def _tests(module: ModuleType, home: Path, *, hidden: bool) -> Iterator[Test]:
    for name, function in vars(module).items():
        if hasattr(function, "problem") and hasattr(function, "points"):
            message = (function.__doc__ or "").strip().split("\n")[0]
            if not message:
                raise ValueError(f"{home}: test {name}: expected a docstring, which is what a student reads")
            yield Test(name, function.problem, function.points, message, hidden, function)


def _master(
    path: Path, given: dict[str, Any], tests: tuple[Test, ...]
) -> tuple[str, dict[str, int], tuple[str, ...], tuple[Cell, ...], tuple[Problem, ...]]:
    notebook = read_notebook(path, ("dollarmath",))
    if notebook is None:
        raise ValueError(f"{path}: expected a MyST notebook with jupytext's header")
    settings = dict(notebook.metadata.get("assignment", {}))
    without = tuple(settings.pop("without", ()))
    if found := [x for x in without if not (ROOT / x.replace(".", "/")).is_dir()]:
        raise ValueError(f"{path}: assignment: without: expected packages of this repository, got {', '.join(found)}")
    wanted = ("minutes", "seconds", "call_seconds", "memory_gib")
    if sorted(settings) != sorted(wanted) or not all(isinstance(x, int) for x in settings.values()):
        raise ValueError(f"{path}: assignment: expected {', '.join(wanted)} as integers, got {settings}")
    cells: list[Cell] = []
    problems: list[Problem] = []
    problem, title = "", ""
    for number, cell in enumerate(notebook.cells):
        tags = [x for x in cell.metadata.get("tags", []) if x in ("answer", "adapters", "answer-text")]
        role = tags[0] if tags else ""
        source = cell.source.strip("\n")
        if cell.metadata.get("section") == "changes":
            role, problem = "changes", ""
        if "problem" in cell.metadata:
            problem, role = cell.metadata["problem"], "statement"
        if cell.cell_type == "markdown":
            source = _fill(source, given, path)
        if number == 0:
            title = _heading(source, "# ", path)
        if role == "statement":
            name = _heading(source, "## ", path)
            points = sum(x.points for x in tests if x.problem == problem)
            open_points = cell.metadata.get("points")
            if any(x.id == problem for x in problems):
                raise ValueError(f"{path}: problem {problem}: stands twice")
            if bool(points) == bool(open_points):
                raise ValueError(f"{path}: problem {problem}: expected tests, or points of an open question")
            if "*Deliverable*" not in source:
                raise ValueError(f"{path}: problem {problem}: expected a line *Deliverable*: …")
            problems.append(Problem(problem, name, points or int(open_points), open=bool(open_points)))
            total = problems[-1].points
            new = f"## Problem {len(problems)}: {name} ({total} point{'s' if total != 1 else ''})"
            source = source.replace(f"## {name}", new, 1)
        cells.append(Cell(cell.cell_type, source, role, problem))
    return title, settings, without, tuple(cells), tuple(problems)


def _heading(source: str, mark: str, path: Path) -> str:
    first = source.split("\n")[0]
    if not first.startswith(mark):
        raise ValueError(f"{path}: expected a cell that opens with {mark!r}, got {first[:60]!r}")
    return first.removeprefix(mark).strip()


def _fill(source: str, given: dict[str, Any], path: Path) -> str:
    """Put numbers for `{{ name }}` and addresses for links to chapters."""

    def number(match: re.Match[str]) -> str:
        value: Any = given
        for key in match[1].split("."):
            try:
                value = value[int(key)] if isinstance(value, list) else value[key]
            except (KeyError, IndexError, ValueError, TypeError):
                raise ValueError(f"{path}: {{{{ {match[1]} }}}}: given has no such number") from None
        return f"{value:,}" if isinstance(value, int) else str(value)

    def link(match: re.Match[str]) -> str:
        text, doc, anchor = match[1], match[2], match[3] or ""
        title, labels = _chapter(doc, path)
        if anchor and anchor[1:] not in labels:
            raise ValueError(f"{path}: {doc}{anchor}: the chapter has no such label")
        return f"[{text or title}]({read_repository(ROOT).page(doc)}{anchor})"

    if found := re.search(r"^(```|:::)\{\w|\{[a-z:]+\}`", source, re.MULTILINE):
        raise ValueError(f"{path}: {found[0]}: a notebook shows no roles and directives of MyST")
    return re.sub(r"\[([^\]]*)\]\((chapters/[\w-]+)(#[\w-]+)?\)", link, re.sub(r"\{\{ ([\w.]+) \}\}", number, source))


def _chapter(doc: str, path: Path) -> tuple[str, tuple[str, ...]]:
    """The title and the labels of a chapter that a master links to."""
    if not (ROOT / f"{doc}.md").is_file():
        raise ValueError(f"{path}: {doc}: there is no such chapter")
    return _read_chapter(doc)


@cache
def _read_chapter(doc: str) -> tuple[str, tuple[str, ...]]:
    text = (ROOT / f"{doc}.md").read_text("utf8")
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    return title[1] if title else doc, tuple(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))


def without_solution(source: str) -> str:
    """The answer cell that students get."""
    lines: list[str] = []
    inside = False
    for line in source.split("\n"):
        if line.strip() == BEGIN:
            indent = line[: len(line) - len(line.lstrip())]
            lines.append(f"{indent}raise NotImplementedError  {STUB}" if indent else f"...  {STUB}")
            inside = True
        elif line.strip() == END:
            inside = False
        elif not inside:
            lines.append(line)
    return "\n".join(lines)


def _imports(text: str) -> set[str]:
    """The packages that a module imports, the harness aside."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {x.name.split(".")[0] for x in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module != "tools.assignments.harness":
            found.add((node.module or ".").split(".")[0])
    return found


def _consistent(made: Assignment) -> None:
    """What must agree between the files."""
    file, word = made.folder / "assignment.md", marker(made.stem)
    ids = [x.id for x in made.problems]
    for test in made.tests:
        if test.problem not in ids:
            raise ValueError(f"{made.folder}: test {test.name}: expected a problem of {', '.join(ids)}")
    if [x.open for x in made.problems].count(True) != 1 or not made.problems[-1].open:
        raise ValueError(f"{file}: expected one open question, at the end")
    roles = [(x.role, x.problem) for x in made.cells]
    for problem in made.graded:
        answers = [x for x in made.cells if (x.role, x.problem) == ("answer", problem.id)]
        if len(answers) != 1 or answers[0].source.count(BEGIN) < 1:
            raise ValueError(f"{file}: problem {problem.id}: expected one cell tagged answer, with {BEGIN}")
        solution = answers[0].source
        if solution.count(BEGIN) != solution.count(END) or word not in solution:
            raise ValueError(f"{file}: problem {problem.id}: expected {word} between {BEGIN} and {END}")
        kinds = {x.hidden for x in made.tests if x.problem == problem.id}
        if kinds != {True, False}:
            raise ValueError(f"{made.folder}: problem {problem.id}: expected public and hidden tests")
    if len(re.findall(r"^- .*\]\(https://\S+/chapters/", made.cells[0].source, re.MULTILINE)) < 3:
        raise ValueError(f"{file}: expected at least three objectives in the first cell, each with a chapter")
    for name, more in (("public.py", {"numpy"}), ("hidden.py", {"numpy", "attnlib"})):
        if other := _imports(made.text(name)) - sys.stdlib_module_names - more:
            raise ValueError(f"{made.folder / name}: expected imports of {', '.join(sorted(more))}, got {min(other)}")
    if [x.role for x in made.cells].count("adapters") != 1:
        raise ValueError(f"{file}: expected one cell tagged adapters")
    if ("answer-text", made.open.id) not in roles:
        raise ValueError(f"{file}: expected a cell tagged answer-text in the open question")
    changes = [x.source for x in made.cells if x.role == "changes"]
    dates = re.findall(r"^- (\d{4}-\d\d-\d\d): \S", changes[0] if changes else "", re.MULTILINE)
    if not dates or sorted(dates, reverse=True) != dates or not all(map(datetime.date.fromisoformat, dates)):
        raise ValueError(f"{file}: expected a section of changes, '- 2026-11-30: …', newest first")
    rubric = [int(x) for x in re.findall(r"^- \((\d+)\) ", made.rubric, re.MULTILINE)]
    if sum(rubric) != made.open.points:
        raise ValueError(f"{made.folder / 'rubric.md'}: expected {made.open.points} points in all, got {sum(rubric)}")
    for name in ("hidden.py", "mistakes.py", "rubric.md"):
        mark = f"# {word}\n" if name.endswith(".py") else word  # a docstring is lost where tests are pasted
        if mark not in made.text(name):
            raise ValueError(f"{made.folder / name}: expected the marker {mark!r}")
    if word in "\n".join([*(x.starter for x in made.cells), made.text("public.py"), made.text("given.py")]):
        raise ValueError(f"{made.folder}: the marker {word} stands in what students get")
