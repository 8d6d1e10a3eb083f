"""What comes out of grading: a table for the course's system, a page for each student, a page of the class.

All text of a page that a student can choose (names, errors, answers) is escaped, and no page loads anything.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tools.assignments import Assignment

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell that begins so is computed by spreadsheets
STYLE = """
:root { color-scheme: light dark; --ink: #1f2a30; --ground: #fff; --quiet: #5a6468; --rule: #d8dedd; --bar: #0b5c6b;
  --right: #1d6b3a; --wrong: #a02b2b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebea; --ground: #14191b; --quiet: #a5b0b3; --rule: #3a4447;
  --bar: #6fb8c6; --right: #7fcb9b; --wrong: #f0908a; } }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--ground); }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
th { overflow-wrap: normal; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.right { color: var(--right); } .wrong { color: var(--wrong); } .quiet { color: var(--quiet); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border-left: 3px solid var(--rule); padding-left: 1rem; }
svg { width: 100%; height: auto; } svg rect { fill: var(--bar); } svg text { fill: var(--ink); font-size: 13px; }
svg line { stroke: var(--rule); } a { color: var(--bar); } .wide { overflow-x: auto; }
"""

Result = dict[str, Any]


def total(result: Result) -> int:
    """Points of all problems that tests decide."""
    return sum(result["points"].values())


def plain(text: str) -> str:
    """A cell of a table that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def rows(assignment: Assignment, results: Mapping[str, Result], by_hand: Mapping[str, float]) -> list[list[Any]]:
    """The table: a header, then a line for each submission."""
    problems = [problem.id for problem in assignment.graded]
    hand = [assignment.open.id] if by_hand else []
    most = assignment.points + (assignment.open.points if by_hand else 0)
    lines: list[list[Any]] = [["submission", "points", "of", *problems, *hand, "status", "reason"]]
    for name, result in results.items():
        essay = [by_hand.get(name, 0)] if by_hand else []
        points = [result["points"][problem] for problem in problems] + essay
        status = "not graded" if result["reason"] else "graded"
        lines.append([plain(name), f"{sum(points):g}", most, *points, status, plain(result["reason"])])
    return lines


def table(lines: Sequence[Sequence[Any]]) -> str:
    """Lines as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode("utf8", "backslashreplace").decode()


def gradebook(file: Path, key: str, column: str, points: Mapping[str, str]) -> tuple[str, list[str]]:
    """A system's own table with the points filled in, and the submissions whose student it does not name.

    A student is found when `key` is a submission's name, or one of the parts that `_` divides it into: systems name
    files they hand out so (`lovelaceada_4711_98765_account.ipynb`).
    """
    with file.open(encoding="utf-8-sig", newline="") as source:
        lines = list(csv.reader(source))
    header = lines[0] if lines else []
    for wanted in (key, column):
        if header.count(wanted) != 1:
            raise ValueError(f"{file}: expected one column {wanted!r}, got {', '.join(header)}")
    at, to = header.index(key), header.index(column)
    names: dict[str, list[str]] = {}
    for name in points:
        for part in {name, *name.split("_")}:
            names.setdefault(part, []).append(name)
    placed: set[str] = set()
    for line in lines[1:]:
        found = names.get(line[at].strip(), []) if len(line) > max(at, to) and line[at].strip() else []
        if len(found) > 1:
            raise ValueError(f"{file}: {line[at]} is part of the names of {' and '.join(found)}")
        if found:
            line[to] = points[found[0]]
            placed.add(found[0])
    return table(lines), [name for name in points if name not in placed]


def page(title: str, body: str) -> str:
    """An HTML page that needs no other file."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    head += f"<style>{STYLE}</style>"
    text = f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
    return text.encode("utf8", "backslashreplace").decode()  # students' errors may hold half a character


def student_page(assignment: Assignment, name: str, result: Result) -> str:
    """The report that a student reads: points, tests, and for tests that he knows why they fail."""
    parts = [
        f"<h1>{escape(assignment.title)}</h1>",
        f"<p>{escape(name)}: <strong>{total(result)} of {assignment.points} points</strong></p>",
    ]
    if result["reason"]:
        parts.append(f'<p class="wrong">This submission could not be graded: {escape(result["reason"])}.</p>')
        return page(f"{assignment.title}: {name}", "\n".join(parts))
    for problem in assignment.graded:
        points = result["points"][problem.id]
        lines = []
        for test in (test for test in result["tests"] if test["problem"] == problem.id):
            passed = not test["why"]
            mark = '<span class="right">✓ passed</span>' if passed else '<span class="wrong">✗ failed</span>'
            why = "a test that you do not see" if test["hidden"] else ("" if passed else test["why"])
            more = f'<br><span class="quiet">{escape(why)}</span>' if why else ""
            score = f'<td class="number">{test["max"] if passed else 0} of {test["max"]}</td>'
            lines.append(f"<tr><td>{mark}</td><td>{escape(test['message'])}{more}</td>{score}</tr>")
        heading = f"<h2>{escape(problem.title)}: {points} of {problem.points}</h2>"
        header = '<tr><th>Test</th><th>What it asks</th><th class="number">Points</th></tr>'
        parts.append(f"{heading}\n<table>{header}\n" + "\n".join(lines) + "</table>")
    if result["failed"]:
        parts.append(f"<h2>Cells that raised an error</h2><p>Of {result['cells']} cells of code:</p><ul>")
        parts += [f"<li>cell {number}: <code>{escape(error)}</code></li>" for number, error in result["failed"]]
        parts.append("</ul>")
    question = assignment.open
    essay = escape(result["essay"].strip()) or '<span class="quiet">no answer found</span>'
    parts.append(f"<h2>{escape(question.title)} (read by a person, {question.points} points)</h2><pre>{essay}</pre>")
    return page(f"{assignment.title}: {name}", "\n".join(parts))


def histogram(points: Sequence[int], most: int) -> str:
    """How many submissions have how many points, in at most twelve bars."""
    width = max(1, -(-(most + 1) // 12))
    bars = [sum(low <= p < low + width for p in points) for low in range(0, most + 1, width)]
    labels = [f"{low}" if width == 1 else f"{low}–{min(low + width - 1, most)}" for low in range(0, most + 1, width)]
    step, tall = 600 / len(bars), max(max(bars), 1)
    drawn = []
    for i, (count, label) in enumerate(zip(bars, labels, strict=True)):
        height = 150 * count / tall
        middle = (i + 0.5) * step
        drawn.append(
            f'<rect x="{i * step + 3:.1f}" y="{175 - height:.1f}" width="{step - 6:.1f}" height="{height:.1f}"/>'
        )
        if count:
            drawn.append(f'<text x="{middle:.1f}" y="{170 - height:.1f}" text-anchor="middle">{count}</text>')
        drawn.append(f'<text x="{middle:.1f}" y="193" text-anchor="middle">{label}</text>')
    said = ", ".join(f"{label} points: {count}" for count, label in zip(bars, labels, strict=True) if count)
    drawn.append('<line x1="0" y1="175" x2="600" y2="175"/>')
    label = f"Submissions by points. {said}"
    return f'<svg viewBox="0 0 600 200" role="img" aria-label="{label}">{"".join(drawn)}</svg>'


def hardest(assignment: Assignment, results: Sequence[Result]) -> list[tuple[float, Any]]:
    """Tests by the share of submissions that pass them, the hardest first; without those that could not be graded."""
    graded = [result for result in results if not result["reason"]]
    shares = []
    for i, test in enumerate(assignment.tests):
        passed = sum(not result["tests"][i]["why"] for result in graded)
        shares.append((passed / len(graded) if graded else 0.0, test))
    return sorted(shares, key=lambda pair: pair[0])


def class_page(assignment: Assignment, results: Mapping[str, Result], files: Mapping[str, str], notice: str) -> str:
    """The page of the class: distribution, hardest tests, everyone's points."""
    points = [total(result) for result in results.values()]
    parts = [f"<h1>{escape(assignment.title)}: the class</h1>"]
    if points:
        middle = f"mean {statistics.fmean(points):.1f}, median {statistics.median(points):g}"
        parts.append(f"<p>{len(points)} submissions, {middle} of {assignment.points} points.</p>")
        parts.append(histogram(points, assignment.points))
    if notice:
        parts.append(f'<p class="wrong">Graded with {escape(notice)}.</p>')
    lost = {name: result["reason"] for name, result in results.items() if result["reason"]}
    if lost:
        parts.append("<h2>Not graded</h2><p>These have no points, for the reason given.</p><ul>")
        parts += [f"<li>{escape(name)}: {escape(reason)}</li>" for name, reason in lost.items()]
        parts.append("</ul>")
    parts.append(
        '<h2>Hardest tests</h2><table><tr><th class="number">Passed by</th><th>Problem</th><th>What it asks</th></tr>'
    )
    for share, test in hardest(assignment, list(results.values()))[:8]:
        cells = f"<td>{escape(test.problem)}</td><td>{escape(test.message)}</td>"
        parts.append(f'<tr><td class="number">{share:.0%}</td>{cells}</tr>')
    parts.append("</table><h2>Everyone</h2>")
    heads = "".join(f'<th class="number">{escape(problem.id)}</th>' for problem in assignment.graded)
    parts.append(f'<div class="wide"><table><tr><th>Submission</th><th class="number">Points</th>{heads}</tr>')
    for name, result in results.items():
        cells = "".join(f'<td class="number">{result["points"][problem.id]}</td>' for problem in assignment.graded)
        link = f'<a href="{escape(files[name])}">{escape(name)}</a>'
        parts.append(f'<tr><td>{link}</td><td class="number">{total(result)}</td>{cells}</tr>')
    parts.append("</table></div>")
    return page(f"{assignment.title}: the class", "\n".join(parts))
