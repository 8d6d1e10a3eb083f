"""The grader: marks, hostile submissions, an end half-way, tables and pages."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import psutil
import pytest
from book.grading.tiny.mistakes import ANSWERS
from book.hostile import ASSIGNMENT, FULL_MARKS, HOSTILE, SOLUTION, TINY, Hostile, Place, text_of
from support import Html

from tools.assignments import load, marks, stems
from tools.assignments import notebook as notebooks
from tools.files import ROOT
from tools.grading import report, run, wire
from tools.grading.student import Sandbox, probe

LIMITS_ONLY = (
    "os._exit",
    "lives on",
    "three hundred processes",
    "memory of many",
    "garbage on the pipe",
)


def command(*args: Any) -> list[str]:
    return [sys.executable, "-m", "tools.grade", *map(str, args)]


def grade(*args: Any, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    names = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command(*args), cwd=ROOT, env=names, capture_output=True, text=True, timeout=590)


def table(file: Path) -> dict[str, dict[str, str]]:
    with file.open(encoding="utf8", newline="") as source:
        return {row["submission"]: row for row in csv.DictReader(source)}


def points(row: dict[str, str], problems: Any = FULL_MARKS) -> dict[str, int]:
    return {problem: int(row[problem]) for problem in problems}


def chosen(request: pytest.FixtureRequest, test: str, name: str) -> list[Any]:
    """The values of a parameter with which a test will run: nothing else needs to be graded."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    return [item.callspec.params[name] for item in items if item.originalname == test]


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return probe(True)


# Marks ------------------------------------------------------------


def mixed() -> list[tuple[dict[str, str], dict[str, int]]]:
    """Sixty notebooks: each answer of one problem with each of the others, and the points they get."""
    found = []
    for (count, c), (softmax, s), (attend, a) in itertools.product(
        *(ANSWERS[problem].items() for problem in ANSWERS)
    ):
        found.append(
            ({"count": count, "softmax": softmax, "attend": attend}, {"count": c, "softmax": s, "attend": a[s]})
        )
    return found


MIXED = mixed()


def answered(answers: dict[str, str]) -> dict[str, Any]:
    """The notebook with these answers."""
    made = json.loads(json.dumps(SOLUTION))
    for problem, source in answers.items():
        cell = next(
            c for c in made["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == f"{problem}-answer"
        )
        cell["source"] = source
    return made


@pytest.fixture(scope="module")
def mixture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The submissions that are graded in this run, named by their number."""
    folder = tmp_path_factory.mktemp("mixed") / "submissions"
    folder.mkdir()
    for i in chosen(request, "test_every_submission_gets_its_marks", "i"):
        (folder / f"student{i:02}.ipynb").write_text(json.dumps(answered(MIXED[i][0])))
    return folder


@pytest.fixture(scope="module")
def graded(mixture: Path) -> Path:
    out = mixture.parent / "straight.csv"
    done = grade(TINY, mixture, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.sample(7)
@pytest.mark.parametrize("i", range(len(MIXED)))
def test_every_submission_gets_its_marks(graded: Path, i: int) -> None:
    row = table(graded)[f"student{i:02}"]
    assert points(row) == MIXED[i][1]
    assert (row["points"], row["of"], row["status"]) == (str(sum(MIXED[i][1].values())), "13", "graded")


def test_there_are_sixty() -> None:
    assert len(MIXED) == 60
    assert len({sum(points.values()) for _, points in MIXED}) > 8


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_ended_half_way_it_resumes(mixture: Path, graded: Path, sent: signal.Signals) -> None:
    """The table after an end half-way is the table of a straight run, byte for byte, and nothing is left running."""
    out = mixture.parent / f"resumed{sent}.csv"
    data = out.with_name(f"{out.stem}-reports") / "data"
    temporary = mixture.parent / f"temporary{sent}"
    temporary.mkdir()
    started = subprocess.Popen(
        command(TINY, mixture, "--out", out),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while len(list(data.glob("[!.]*.json"))) < 3:
        assert started.poll() is None, started.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    below = psutil.Process(started.pid).children(recursive=True)
    assert below
    started.send_signal(sent)
    said = started.communicate(timeout=60)[1]
    assert not out.exists()
    if sent == signal.SIGINT:
        assert started.returncode == 130
        assert "goes on where this one ended" in said
    assert psutil.wait_procs(below, timeout=20)[1] == []
    assert list(temporary.iterdir()) == []
    first = {file: file.stat().st_mtime_ns for file in data.glob("[!.]*.json")}
    assert 3 <= len(first) < len(list(mixture.iterdir())) or len(list(mixture.iterdir())) < 6
    done = grade(TINY, mixture, "--out", out)
    assert done.returncode == 0, done.stderr
    assert {file: file.stat().st_mtime_ns for file in first} == first  # what was graded is not graded again
    assert out.read_bytes() == graded.read_bytes()


def test_another_seed_or_another_file_is_graded_anew(mixture: Path, graded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    out = tmp_path / "one.csv"
    source = answered({"count": "def count(n, batch):\n    return 5 * 5 * batch"})
    (folder / "ada.ipynb").write_text(json.dumps(source))
    assert grade(TINY, folder, "--out", out).returncode == 0
    assert points(table(out)["ada"]) == FULL_MARKS  # 5 is n for seed 0
    other = grade(TINY, folder, "--out", out, "--seed", 1)
    assert points(table(out)["ada"]) == FULL_MARKS | {"count": 0}
    assert "not made for tiny, seed 1: ada (tiny, seed 0)" in other.stderr
    (folder / "ada.ipynb").write_text(json.dumps(SOLUTION))
    assert grade(TINY, folder, "--out", out, "--seed", 1).returncode == 0
    assert points(table(out)["ada"]) == FULL_MARKS


REAL = [(stem, variant.name) for stem in stems() for variant in (*load(stem).right, *load(stem).mistakes)]


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tables of the real assignments, for the solutions that are asked for."""
    wanted: dict[str, list[str]] = {}
    for stem, name in chosen(request, "test_real_solutions_get_their_stated_marks", "case"):
        wanted.setdefault(stem, []).append(name)
    tables = {}
    for stem, names in wanted.items():
        folder = tmp_path_factory.mktemp(stem) / "submissions"
        folder.mkdir()
        made = load(stem)
        for variant in (*made.right, *made.mistakes):
            if variant.name in names:
                sources = marks.answers(made, variant)
                notebook = notebooks.solution(made)
                replace_answers(notebook, made, sources)
                nbformat.write(notebook, folder / f"{file_name(variant.name)}.ipynb")
        tables[stem] = folder.parent / "results.csv"
        done = grade(stem, folder, "--out", tables[stem])
        assert done.returncode == 0, done.stderr
    return tables


def file_name(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def replace_answers(notebook: nbformat.NotebookNode, made: Any, sources: dict[str, str]) -> None:
    old = marks.answers(made)
    for cell in notebook.cells:
        for place, source in old.items():
            if cell.cell_type == "code" and cell.source.strip("\n") == source.strip("\n"):
                cell.source = sources[place]


def test_a_package_that_gives_answers_away(tmp_path: Path) -> None:
    """*A reduction* is graded without attnlib.hardness, however it is imported; other answers keep their points."""
    made = load("reduction")
    (tmp_path / "submissions").mkdir()
    for name, line in {
        "from": "from attnlib.hardness import CNF, split_and_list as ready",
        "attribute": "CNF, ready = attnlib.hardness.CNF, attnlib.hardness.split_and_list",
        "below": "from attnlib.hardness.cnf import CNF; from attnlib.hardness.vectors import split_and_list as ready",
    }.items():
        notebook, answers = notebooks.solution(made), marks.answers(made)
        call = "return ready(CNF(n, tuple(map(tuple, clauses))))"
        looked_up = answers | {"vectors": f"def split_and_list(n, clauses):\n    {line}\n    {call}"}
        assert marks.marks(made, looked_up) == marks.marks(made, answers)
        replace_answers(notebook, made, looked_up)
        nbformat.write(notebook, tmp_path / "submissions" / f"{name}.ipynb")
    out = tmp_path / "results.csv"
    done = grade("reduction", tmp_path / "submissions", "--out", out)
    assert done.returncode == 0, done.stderr
    for row in table(out).values():
        assert (row["vectors"], row["scores"]) == ("0", str(marks.marks(made, marks.answers(made))["scores"]))


@pytest.mark.sample(11)
@pytest.mark.parametrize("case", REAL, ids=lambda case: f"{case[0]}: {case[1]}")
def test_real_solutions_get_their_stated_marks(real: dict[str, Path], case: tuple[str, str]) -> None:
    """What `make assignments` finds in one process, the grader finds in two."""
    stem, name = case
    made = load(stem)
    variant = next(v for v in (*made.right, *made.mistakes) if v.name == name)
    row = table(real[stem])[file_name(name)]
    expected = {problem.id: problem.points for problem in made.graded} | dict(variant.points)
    assert (points(row, expected), row["reason"]) == (expected, "")


# Hostile submissions ------------------------------------------------------------


def possible(case: Hostile, sandbox: Sandbox) -> bool:
    """Whether the machine decides a case: what is dangerous without bounds is not tried without them."""
    apart = sandbox.namespaces or sandbox.uid is not None
    bounds = apart or os.getuid() != 0
    return {"": True, "namespaces": sandbox.namespaces, "bounds": bounds, "apart": apart}[case.needs]


class Attack:
    """One run over hostile submissions, and what was there before and after."""

    def __init__(self, folder: Path, names: list[str], *more: str) -> None:
        self.mark = f"mark{uuid.uuid4().hex}"
        submissions = folder / "submissions"
        submissions.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            place = Place(folder, listener.getsockname()[1], self.mark)
            for name in names:
                HOSTILE[name].write(place, submissions / name)
            before = self.state(submissions)
            self.out = folder / "results.csv"
            temporary = Path(tempfile.mkdtemp(prefix="grading-"))
            temporary.chmod(0o755)  # for a worker that is another user
            self.ran = grade(TINY, submissions, "--out", self.out, *more, TMPDIR=str(temporary))
            self.same = self.state(submissions) == before
            self.files = list(temporary.rglob("*"))
            shutil.rmtree(temporary)
            listener.settimeout(0)
            try:
                listener.accept()
                self.called = True
            except BlockingIOError:
                self.called = False
        assert self.ran.returncode == 0, self.ran.stderr
        self.rows = table(self.out)

    @staticmethod
    def state(folder: Path) -> Any:
        """What must be as before."""
        return sorted((str(p), p.lstat().st_size, p.lstat().st_mtime_ns) for p in folder.rglob("*"))

    def row(self, name: str) -> dict[str, str]:
        shown = report.plain(run.printable(name).removesuffix(".ipynb"))
        return self.rows[shown + (".py" if name == "script.py" else "")]

    def check(self, name: str) -> None:
        case, row = HOSTILE[name], self.row(name)
        assert points(row) == case.points, row
        assert case.reason in row["reason"]
        if case.reason:
            assert row["status"] == "not graded"
        elif case.points == FULL_MARKS:
            assert (row["status"], row["reason"]) == ("graded", "")

    def left(self) -> list[str]:
        """Processes that outlived the grader."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = " ".join(process.info["cmdline"] or [])
            if self.mark in words:
                found.append(words)
        return found


@pytest.fixture(scope="module")
def attack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Attack:
    names = [name for name in chosen(request, "test_hostile", "name") if possible(HOSTILE[name], sandbox)]
    return Attack(tmp_path_factory.mktemp("hostile"), names or ["sys.exit"])


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(attack: Attack, name: str, sandbox: Sandbox) -> None:
    if not possible(HOSTILE[name], sandbox):
        pytest.skip("dangerous, or undecided, where there are no namespaces")
    attack.check(name)


def test_nothing_is_left_behind(attack: Attack, sandbox: Sandbox) -> None:
    """No process, no file, no port; and no call has left the namespace."""
    assert attack.left() == []
    assert attack.same
    assert attack.files == []
    if sandbox.namespaces:
        assert not attack.called
        places = [
            attack.out.parent,
            ROOT,
            ROOT / "attnlib",
            "/",
            "/usr",
            "/usr/bin",
            "/etc",
            "/var/tmp",
            "/dev/shm",
            "/tmp",
        ]
        assert [place for place in (*places, Path.home()) if Path(place, attack.mark).exists()] == []
    else:
        assert "no namespaces" in attack.ran.stderr


def test_pages_of_hostile_submissions_are_pages(attack: Attack) -> None:
    pages = list(attack.out.with_name("results-reports").glob("*.html"))
    assert len(pages) == 1 + len(attack.rows)
    for page in pages:
        text = page.read_text("utf8")
        assert "<script" not in text.lower()
        assert "http" not in text


def test_limits_hold_without_namespaces(tmp_path: Path) -> None:
    """As on macOS: limits, a watch, a sweep; and a notice that says what is missing."""
    attack = Attack(tmp_path, [*LIMITS_ONLY, "kills its parent", "sys.exit"], "--no-namespaces")
    attack.check("sys.exit")
    for name in LIMITS_ONLY:
        attack.check(name)
    assert sum(points(attack.row("kills its parent")).values()) in (0, 13)  # as its own user, or as another
    assert attack.left() == []
    assert attack.files == []
    assert attack.same
    assert "no namespaces (switched off)" in attack.ran.stderr
    assert "no namespaces" in (attack.out.with_name("results-reports") / "index.html").read_text("utf8")


# Values on the pipe ------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(2**70),
        1.5,
        float("inf"),
        "ü\ud800",
        [1, (2, [])],
        {"a": 1, 3: (), None: {}},
        np.arange(6, dtype=np.int16).reshape(2, 3).T,
        np.zeros((0, 3), np.complex64),
        np.array(True),
        np.float32(0.1),
        np.arange(3, dtype=">f8"),
    ],
    ids=repr,
)
def test_values_cross(value: Any) -> None:
    frame = wire.pack({"value": value})
    _, text, _ = wire.HEAD.unpack(frame[: wire.HEAD.size])
    body = frame[wire.HEAD.size :]
    back = wire.unpack(body[:text], body[text:])["value"]
    assert type(back) is type(value)
    if isinstance(value, np.ndarray | np.generic):
        assert back.dtype == value.dtype.newbyteorder("=")
        assert back.shape == value.shape
        np.testing.assert_array_equal(back, value)
    else:
        assert back == value


@pytest.mark.parametrize(("value", "number"), [(Fraction(6, 2), 3), (Fraction(1, 4), 0.25)], ids=repr)
def test_fractions_cross_as_numbers(value: Fraction, number: float) -> None:
    frame = wire.pack({"value": [value]})
    _, text, _ = wire.HEAD.unpack(frame[: wire.HEAD.size])
    body = frame[wire.HEAD.size :]
    (back,) = wire.unpack(body[:text], body[text:])["value"]
    assert (type(back), back) == (type(number), number)


def test_frames_that_are_none_are_refused() -> None:
    """Whatever bytes come, the reader raises its own error, and soon."""
    rng = np.random.default_rng(0)
    frame = wire.pack({"id": 1, "value": [np.arange(4.0), {"a": (1, "b")}, np.float32(2)]})
    text = struct.unpack(">I", frame[2:6])[0]
    body = bytearray(frame[wire.HEAD.size :])
    for _ in range(2000):
        broken = body.copy()
        for at in rng.integers(0, text, rng.integers(1, 4)):
            broken[at] = rng.integers(32, 127)
        try:
            wire.unpack(bytes(broken[:text]), bytes(broken[text:]))
        except wire.WireError:
            continue


@pytest.mark.parametrize(
    ("message", "buffers", "why"),
    [
        (["a", "float64", [2], 0], [8], "another length"),
        (["a", "object", [1], 0], [8], "unknown dtype"),
        (["a", "float64", [-1], 0], [8], "unknown dtype or shape"),
        (["a", "float64", [1], 5], [8], "no message"),
        (["a", "float64", [1], -1], [8], "without a buffer"),
        (["a", "bool", [8], 0], [8], "other bytes"),
        (["x"], [8], "unknown kind"),
        ({"a": 1}, [8], "an object"),
        (["d", [["l"], 1]], [8], "no message"),
        (1, [9], "sizes"),
        (1, [True] * 8, "sizes"),
    ],
)
def test_forged_arrays_are_refused(message: Any, buffers: list[int], why: str) -> None:
    text = json.dumps({"message": {"value": message}, "buffers": buffers}).encode()
    with pytest.raises(wire.WireError, match=why):
        wire.unpack(text, b"\x07" * 8)


# Tables, pages, the command ------------------------------------------------------------


def results(**points: dict[str, int]) -> dict[str, dict[str, Any]]:
    """Made-up results: all tests of a problem pass or none."""
    found = {}
    for name, by_problem in points.items():
        tests = [
            {"problem": t.problem, "message": t.message, "hidden": t.hidden, "max": t.points}
            | {"why": "" if by_problem[t.problem] else "CallError: <b>no</b>"}
            for t in ASSIGNMENT.tests
        ]
        found[name] = {
            "reason": "",
            "points": by_problem,
            "tests": tests,
            "cells": 3,
            "failed": [[2, "x"]],
            "essay": "I",
        }
    return found


TWO = results(ada=FULL_MARKS, bob=FULL_MARKS | {"count": 0})


def test_a_person_grades_the_open_question() -> None:
    lines = report.rows(ASSIGNMENT, TWO, {"ada": 1.5})
    assert lines[0] == ["submission", "points", "of", *FULL_MARKS, "open", "status", "reason"]
    assert lines[1] == ["ada", "14.5", 15, 3, 4, 6, 1.5, "graded", ""]
    assert lines[2] == ["bob", "10", 15, 0, 4, 6, 0, "graded", ""]


def test_a_gradebook_is_filled_in(tmp_path: Path) -> None:
    """Rows, order and other columns stay as the system exported them."""
    book = tmp_path / "book.csv"
    book.write_text('\ufeffStudent,ID,Homework (1),Other\n"Lovelace, Ada",4711,,5\nPoints Possible,,13,\nBob,12,7,\n')
    points = {"lovelaceada_4711_98765_tiny": "13", "carla_99_1_tiny": "2"}
    text, unplaced = report.gradebook(book, "ID", "Homework (1)", points)
    assert text == 'Student,ID,Homework (1),Other\n"Lovelace, Ada",4711,13,5\nPoints Possible,,13,\nBob,12,7,\n'
    assert unplaced == ["carla_99_1_tiny"]
    with pytest.raises(ValueError, match="expected one column 'Id'"):
        report.gradebook(book, "Id", "Homework (1)", points)
    with pytest.raises(ValueError, match="part of the names of"):
        report.gradebook(book, "ID", "Homework (1)", {"a_12": "1", "b_12": "2"})


def test_pages() -> None:
    """A student reads why tests fail that he knows, and of the others nothing but what they ask."""
    page = report.student_page(ASSIGNMENT, "bob & co", TWO["bob"])
    html = Html(page)
    assert "bob &amp; co" in page
    assert "10 of 13 points" in html.words
    assert "<b>" not in page
    assert page.count("CallError") == 1  # of the public test; the hidden one's is not shown
    assert len(html.all("tr")) == 3 + len(ASSIGNMENT.tests)
    page = report.class_page(ASSIGNMENT, TWO, {"ada": "a.html", "bob": "b.html"}, "")
    html = Html(page)
    assert "2 submissions, mean 11.5, median 11.5 of 13 points." in html.words
    assert html.all("svg")[0]["aria-label"] == "Submissions by points. 10–11 points: 1, 12–13 points: 1"
    assert [a["href"] for a in html.all("a")] == ["a.html", "b.html"]
    hardest = report.hardest(ASSIGNMENT, list(TWO.values()))
    assert [(share, test.problem) for share, test in hardest[:3]] == [
        (0.5, "count"),
        (0.5, "count"),
        (1.0, "softmax"),
    ]


@pytest.mark.parametrize("count", [0, 1])
def test_a_class_of_nobody_has_a_page(count: int) -> None:
    few = dict(list(TWO.items())[:count])
    Html(report.class_page(ASSIGNMENT, few, dict.fromkeys(few, "x.html"), "limits alone"))


def test_formulas_stay_text() -> None:
    assert [report.plain(name) for name in ("=1", "@x", "-2", "+3", "ada")] == ["'=1", "'@x", "'-2", "'+3", "ada"]


def test_names(tmp_path: Path) -> None:
    """A file and a folder of one name are two submissions; what systems add is none."""
    (tmp_path / "ada").mkdir()
    for name in ("ada.ipynb", "ada/x.ipynb", "bob.IPYNB", ".hidden.ipynb", "submission_metadata.yml"):
        (tmp_path / name).write_text("{}")
    found = run.find(tmp_path, "tiny", "")
    assert [submission.name for submission in found] == ["ada", "ada.ipynb", "bob"]
    assert len({submission.key for submission in found}) == 3


def test_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    bar = run.Bar(4, stream)
    bar(1, ["ada", "b" * 99])
    assert re.search(r"\[#{7}·{23}\] 1/4 ada, b{20}$", stream.getvalue())
    bar.close()
    assert stream.getvalue().endswith("\r\x1b[K")
    silent = io.StringIO()
    run.Bar(4, silent)(1, ["ada"])
    assert silent.getvalue() == ""


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("nothing", "{folder}"), "expected one of"),
        ((TINY, "{folder}/none"), "submissions: expected a folder"),
        ((TINY, "{folder}", "--out", "{folder}/results.csv"), "expected a place outside"),
        ((TINY, "{folder}", "--out", "{folder}/../notes.csv"), "not a table that this command wrote"),
        ((TINY, "{folder}", "--out", "{folder}/../new.csv", "--open", "{folder}/../notes.csv"), "columns submission"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, args: tuple[Any, ...], why: str, capsys: Any) -> None:
    folder = tmp_path / "submissions"
    folder.mkdir()
    notes = tmp_path / "notes.csv"
    notes.write_text("my notes\n1\n")
    assert run.main([str(arg).format(folder=folder) for arg in args]) == 1
    said = capsys.readouterr().err
    assert why in said
    assert len(said.splitlines()) == 1
    assert notes.read_text() == "my notes\n1\n"


def test_a_machine_that_starts_no_worker_is_nobodys_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The command ends with the reason, and records nothing."""
    folder = tmp_path / "submissions"
    folder.mkdir()
    (folder / "ada.ipynb").write_text(json.dumps(SOLUTION))
    monkeypatch.setattr(run, "probe", lambda wanted: Sandbox(True, 2**33))  # a user that cannot be
    assert run.main([str(TINY), str(folder), "--out", str(tmp_path / "results.csv")]) == 1
    assert "nothing can be graded here" in capsys.readouterr().err
    assert not (tmp_path / "results.csv").exists()
    assert list((tmp_path / "results-reports" / "data").glob("*.json")) == []


def test_two_commands_do_not_write_in_one_place(tmp_path: Path) -> None:
    with run.alone(tmp_path), pytest.raises(ValueError, match="another run is writing there"), run.alone(tmp_path):
        pass


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The command takes SIGTERM for itself; a test gives it back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_nothing_here_needs_more_than_the_copy(tmp_path: Path) -> None:
    """The worker's two files import nothing of this repository: they are all of it that is in the sandbox."""
    for name in ("worker.py", "wire.py"):
        shutil.copy(ROOT / "tools" / "grading" / name, tmp_path)
    code = "import sys; sys.path.insert(0, '.'); import worker; print('tools' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
    assert text_of({"source": ["a", "b"]}) == "ab"
