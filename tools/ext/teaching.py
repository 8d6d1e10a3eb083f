"""What the instructor's guide says of assignments and questions, read where they stand.

``{assignments} table`` sets a table of all masters in assignments/: title, time, points; ``{assignments} objectives``
tells of each what a student can do after it, with the chapters, and the points of its problems. Nothing of a
solution, of a hidden test or of a rubric is read into the page.

``{assignment}`account` `` names one of them and leads to what it tests.

``{question}`quiz-flash-linear` `` leads to a question of a chapter and names it by that and its number there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

from tools.assignments.master import Assignment, load, stems
from tools.ext.number import label_of
from tools.repository import Repository, make_repository

# A question in a chapter's source: `:::{quiz} quiz-flash-linear`, `:::{number} derivation.core`.
QUESTION = re.compile(r"^:{3,}\{(quiz|number)\} (\S+)$", re.MULTILINE)


def write_table(made: list[Assignment], repository: Repository) -> str:
    """Every assignment in a row, as Markdown."""
    tree = f"{repository.url}/tree/{repository.branch}/assignments"
    rows = [
        f"| [{x.title}]({tree}/{x.stem}) | `{x.stem}` | {x.minutes} min "
        f"| {len(x.graded)} | {x.points} | {x.open.points} |"
        for x in made
    ]
    head = (
        "| assignment | stem | time | problems | points by tests | points by a person |\n|---|---|--:|--:|--:|--:|\n"
    )
    caption = "Assignments: what each takes and how it is marked. One more problem is answered in words"
    return f"````{{table}} {caption}\n:name: tab-assignments\n\n{head}" + "\n".join(rows) + "\n````\n"


def write_objectives(made: Assignment, repository: Repository) -> str:
    """What an assignment tests, as Markdown: its objectives, and its problems with their points."""
    aims = re.findall(r"^- .+$", made.cells[0].source, re.MULTILINE)
    # For students the master's links lead to the published pages; here the page is in the same folder.
    site = re.escape(repository.site)
    local = (re.sub(rf"\[[^\]]*\]\({site}chapters/([\w-]+)\.html(?:#[\w-]+)?\)", r"[](\1.md)", aim) for aim in aims)
    problems = " · ".join(f"{p.title} ({p.points}{', in words' if p.open else ''})" for p in made.problems)
    return "\n".join(local) + f"\n\nProblems and their points: {problems}.\n"


class AssignmentsDirective(SphinxDirective):
    """``{assignments} table`` or ``{assignments} objectives``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Read the masters and write their part."""
        what = self.arguments[0]
        if what not in ("table", "objectives"):
            raise self.error(f"assignments: expected table or objectives, got {what!r}")
        folder = Path(self.env.srcdir) / "assignments"
        theme = self.config.html_theme_options
        try:
            made = [load(stem, folder=folder) for stem in stems(folder)]
            repository = make_repository(theme.get("repository_url"), theme.get("repository_branch"))
        except ValueError as error:
            raise self.error(f"assignments: {error}") from None
        for file in folder.glob("*/*.*"):
            self.env.note_dependency(str(file))
        if what == "table":
            return self._parse(write_table(made, repository))
        parts: list[nodes.Node] = []
        for one in made:
            name = nodes.strong("", one.title)
            parts.append(nodes.paragraph("", "", name, ids=[_id(one.stem)]))
            parts += self._parse(write_objectives(one, repository))
        return parts

    def _parse(self, text: str) -> list[nodes.Node]:
        box = nodes.Element()
        lines = StringList(text.splitlines(), source=self.get_source_info()[0])
        self.state.nested_parse(lines, self.content_offset, box)
        return list(box.children)


def _id(stem: str) -> str:
    return f"assignment-{stem}"


class AssignmentRole(SphinxRole):
    """``{assignment}`account` ``."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Write the title with its link."""
        file = Path(self.env.srcdir) / "assignments" / self.text / "assignment.md"
        title = re.search(r"^# (.+)$", file.read_text("utf8"), re.MULTILINE) if file.is_file() else None
        if title is None:
            message = f"assignment: expected one of {', '.join(stems(file.parent.parent))}, got {self.text!r}"
            return [], [self.inliner.reporter.error(message, line=self.lineno)]
        self.env.note_dependency(str(file))
        inner = nodes.emphasis("", title[1])
        return [nodes.reference("", "", inner, internal=True, refid=_id(self.text))], []


def find_question(root: Path, label: str) -> tuple[str, int, str] | None:
    """Chapter, number from 1 and id of a question, or None."""
    for file in sorted((root / "chapters").glob("*.md")):
        found = QUESTION.findall(file.read_text("utf8"))
        if label in [name for _, name in found]:
            kind, name = next(pair for pair in found if pair[1] == label)
            number = [other for _, other in found].index(label) + 1
            return file.stem, number, name if kind == "quiz" else label_of(name)
    return None


class QuestionRole(SphinxRole):
    """``{question}`quiz-flash-linear` `` or ``{question}`derivation.core` ``."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Write the link."""
        root = Path(self.env.srcdir)
        found = find_question(root, self.text)
        if found is None:
            message = f"question: no chapter asks {self.text!r}; expected the label of a quiz or of a number"
            return [], [self.inliner.reporter.error(message, line=self.lineno)]
        chapter, number, name = found
        self.env.note_dependency(str(root / "chapters" / f"{chapter}.md"))
        shown = f"{chapter.replace('-', ' ')} {number}"
        return [nodes.reference("", shown, internal=True, refuri=f"{chapter}.html#{name}")], []


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive and the roles."""
    app.add_directive("assignments", AssignmentsDirective)
    app.add_role("assignment", AssignmentRole())
    app.add_role("question", QuestionRole())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
