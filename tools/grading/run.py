"""The command: finds submissions, hands them to examiners, goes on where it ended, writes the tables and pages."""

from __future__ import annotations

import argparse
import csv
import ctypes
import fcntl
import hashlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from tools.assignments import ASSIGNMENTS, Assignment, load
from tools.files import ROOT, save
from tools.grading import examine, report
from tools.grading.keeper import LIBC, LINUX, SUBREAPER, sweep
from tools.grading.student import MB, Limits, Sandbox, Ungradable, probe

SLACK = 120.0  # seconds that the tests of one submission may take besides its own
IGNORED = ("__MACOSX", "submission_metadata.yml")


@dataclass(frozen=True)
class Submission:
    """A file or folder that somebody has handed in.

    Attributes:
        name: as tables and pages show it.
        path: of its notebook.
        refused: why there is none, or "".
        key: of all that its result depends on.
    """

    name: str
    path: Path
    refused: str
    key: str


def printable(name: str) -> str:
    """A file's name in characters that can be printed."""
    text = os.fsencode(name).decode("utf8", "backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def notebook_of(path: Path, stem: str) -> tuple[Path, str]:
    """The notebook that is a submission, or the reason why there is none."""
    if path.is_symlink():
        return path, "a symbolic link, not a file"
    if path.is_dir():
        found = sorted(
            Path(parent, name)
            for parent, _, names in os.walk(path)
            for name in names
            if name.endswith(".ipynb") and ".ipynb_checkpoints" not in parent
        )
        named = [file for file in found if file.name == f"{stem}.ipynb"]
        if len(found) == 1 or len(named) == 1:
            return (named or found)[0], ""
        return path, f"the folder holds {len(found) or 'no'} notebook{'s' if found else ''}: expected one"
    return path, "" if path.suffix.lower() == ".ipynb" else "not a notebook (.ipynb)"


def find(folder: Path, stem: str, basis: str) -> list[Submission]:
    """Every submission in a folder, by name."""
    entries = [path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in IGNORED]
    short = {
        path: path.name[: -len(".ipynb")] if path.name.lower().endswith(".ipynb") else path.name for path in entries
    }
    counts: dict[str, int] = {}
    for name in short.values():
        counts[name] = counts.get(name, 0) + 1
    found = []
    for path in entries:
        name = short[path] if counts[short[path]] == 1 else path.name
        notebook, refused = notebook_of(path, stem)
        content = b""
        if not refused:
            try:
                content = examine.fetch(notebook)
            except Ungradable as error:
                refused = str(error)
        digest = hashlib.sha256(f"{basis} {refused} ".encode() + os.fsencode(name) + b"\0")
        digest.update(content)
        found.append(Submission(printable(name), notebook, refused, digest.hexdigest()))
    return sorted(found, key=lambda submission: (submission.name, submission.path))


def stored(file: Path, key: str) -> dict[str, Any] | None:
    """The result of an earlier run, if it still holds."""
    try:
        result: dict[str, Any] = json.loads(file.read_text("utf8"))
    except (OSError, ValueError):
        return None
    return result if result.get("key") == key else None


class Bar:
    """A line on a terminal that says how far it is; elsewhere nothing."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self.total, self.stream, self.shown = total, stream, stream.isatty()

    def __call__(self, done: int, doing: Sequence[str]) -> None:
        """Show how many are done, and which are being graded."""
        if self.shown:
            filled = 30 * done // max(self.total, 1)
            names = ", ".join(name[:20] for name in doing)
            self.stream.write(f"\r\x1b[K[{'#' * filled}{'·' * (30 - filled)}] {done}/{self.total} {names}")
            self.stream.flush()

    def close(self) -> None:
        """Clear the line."""
        if self.shown:
            self.stream.write("\r\x1b[K")
            self.stream.flush()


class Examiner:
    """A process of examine.py, and the submission that it has in hand."""

    def __init__(self, setting: Mapping[str, Any], log: Path) -> None:
        self.job: Submission | None = None
        self.ready = False
        self.deadline = 0.0
        self.log = log
        self.temporary = tempfile.mkdtemp(prefix="attnlib-grade-")
        os.chmod(self.temporary, 0o711)  # workers may be another user
        setting = {**setting, "temporary": self.temporary}
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tools.grading.examine", json.dumps(setting)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
                start_new_session=True,  # Ctrl-C is for the command, which ends its examiners in order
            )

    def give(self, job: Submission, result: Path, seconds: float) -> None:
        """Hand over a submission."""
        self.job, self.deadline = job, time.monotonic() + seconds
        line = {"path": os.fsencode(job.path).hex(), "result": str(result), "key": job.key}
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # its end is seen where answers are read
            self.process.stdin.write(json.dumps(line).encode() + b"\n")
            self.process.stdin.flush()

    def answer(self) -> str:
        """What it says: "ready", "done", "" at its end; ValueError if it cannot do its work."""
        assert self.process.stdout is not None
        said = self.process.stdout.readline().decode().strip()
        if said.startswith("broken") or not (said or self.ready):
            reason = said.removeprefix("broken").strip() or f"an examiner has not started, see {self.log}"
            raise ValueError(f"nothing can be graded here: {reason}")
        self.ready = True
        return said

    def end(self) -> None:
        """End it and what it keeps."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        shutil.rmtree(self.temporary, ignore_errors=True)


def grade_all(
    jobs: Sequence[Submission],
    results: Mapping[str, Path],
    setting: Mapping[str, Any],
    log: Path,
    together: int,
    bar: Bar,
    done: int,
) -> Iterator[tuple[Submission, str]]:
    """Have every submission graded; yield each with "" when its result is written, or why it has none."""
    waiting, tries = list(jobs), dict.fromkeys((job.key for job in jobs), 0)
    allowed = setting["limits"]["wall"] + SLACK
    examiners: list[Examiner] = []
    hired = 0
    chosen = selectors.DefaultSelector()

    def hire() -> None:
        nonlocal hired
        examiner = Examiner({**setting, "slot": hired % 64}, log)
        hired += 1
        examiners.append(examiner)
        assert examiner.process.stdout is not None
        chosen.register(examiner.process.stdout, selectors.EVENT_READ, examiner)

    def dismiss(examiner: Examiner) -> None:
        assert examiner.process.stdout is not None
        chosen.unregister(examiner.process.stdout)
        examiners.remove(examiner)
        examiner.end()

    try:
        while waiting or any(examiner.job for examiner in examiners):
            while len(examiners) < min(together, len(waiting) + sum(e.job is not None for e in examiners)):
                hire()
            for examiner in examiners:
                if examiner.job is None and waiting:
                    job = waiting.pop(0)
                    tries[job.key] += 1
                    examiner.give(job, results[job.key], allowed)
            bar(done, [examiner.job.name for examiner in examiners if examiner.job])
            ready = [key.data for key, _ in chosen.select(1.0)]
            for examiner in list(examiners):
                current = examiner.job
                if examiner in ready:
                    said = examiner.answer()
                    if said == "done" and current is not None:
                        examiner.job = None
                        done += 1
                        yield current, ""
                    if said:
                        continue
                    dismiss(examiner)
                    if current is not None and tries[current.key] < 2:
                        waiting.insert(0, current)  # it may have been somebody else's doing
                    elif current is not None:
                        done += 1
                        yield current, "it ended the process that grades"
                elif current is not None and time.monotonic() > examiner.deadline:
                    dismiss(examiner)
                    done += 1
                    yield current, f"the tests did not end within {allowed:g} s"
    finally:
        for examiner in examiners:
            examiner.process.terminate()
        for examiner in list(examiners):
            dismiss(examiner)
        chosen.close()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one command at a time write there."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"{folder}: another run is writing there") from None
        yield
    finally:
        os.close(descriptor)


def by_hand(file: Path | None) -> dict[str, float]:
    """Points of the open question that a person has given: a CSV of submission, points."""
    if file is None:
        return {}
    with file.open(encoding="utf-8-sig", newline="") as source:
        lines = list(csv.DictReader(source))
    try:
        return {line["submission"]: float(line["points"]) for line in lines}
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{file}: expected columns submission and points, and numbers in the latter") from None


def read_assignment(text: str, seed: int) -> Assignment:
    """An assignment by its stem, or by its folder."""
    path = Path(text)
    if path.is_dir():
        return load(path.resolve().name, seed, path.resolve().parent)
    return load(text, seed, ASSIGNMENTS)


def limits_of(assignment: Assignment, wall: float | None) -> Limits:
    """The assignment's limits, and a total: each test may use one call to its end, after two runs of the notebook."""
    own = assignment.limits
    most = 4 * own.seconds + (len(assignment.tests) + 3) * own.call_seconds
    return Limits(own.seconds, own.call_seconds, own.memory_gib * 1024 * MB, wall or float(most))


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m tools.grade", description="Grade a folder of notebooks.")
    parser.add_argument("assignment", help="a stem in assignments/, or the folder of an assignment")
    parser.add_argument("submissions", type=Path, help="a folder: a notebook, or a folder with one, for each student")
    parser.add_argument(
        "--out", type=Path, default=Path("results.csv"), help="the table; pages go into <out>-reports/"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the numbers in the notebooks that were handed out")
    parser.add_argument("--jobs", type=int, default=2, help="submissions at a time")
    parser.add_argument("--wall", type=float, help="seconds that one submission may take in all")
    parser.add_argument("--no-namespaces", action="store_true", help="limits alone, as where there are no namespaces")
    parser.add_argument("--open", type=Path, help="CSV of submission, points: the open question, graded by a person")
    parser.add_argument(
        "--gradebook", type=Path, help="CSV that Canvas, Moodle, … exported: filled in as <out>-gradebook.csv"
    )
    parser.add_argument("--key", default="ID", help="its column that names the student")
    parser.add_argument("--column", help="its column for the points")
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f"--jobs: expected at least 1, got {args.jobs}")
    if args.gradebook and not args.column:
        parser.error("--gradebook: expected --column, the name of its column for the points")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Grade; 0 when every submission has a result, 1 when the command cannot run, 130 when interrupted."""
    args = options(argv)
    # SIGTERM ends in order, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return command(args)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on where this one ended", file=sys.stderr)
        return 130
    except (OSError, ValueError) as error:
        print(f"tools.grade: {error}", file=sys.stderr)
        return 1


def command(args: argparse.Namespace) -> int:
    """Grade what has no result yet, then write everything."""
    out: Path = args.out.resolve()
    folder: Path = args.submissions.resolve()
    if not folder.is_dir():
        raise ValueError(f"submissions: expected a folder, got {args.submissions}")
    if out.parent == folder or folder in out.parents:
        raise ValueError(f"--out: expected a place outside {args.submissions}, got {args.out}")
    assignment = read_assignment(args.assignment, args.seed)
    head = report.table(report.rows(assignment, {}, {}))[: len("submission,points,of,")]
    if out.exists() and not out.read_text("utf-8-sig", "replace").startswith(head):
        raise ValueError(f"--out: {args.out} exists, and is not a table that this command wrote")
    hand = by_hand(args.open)
    reports = out.with_name(f"{out.stem}-reports")
    (reports / "data").mkdir(parents=True, exist_ok=True)
    with alone(reports):
        results, sandbox = grade(args, assignment, folder, reports)
        write(args, assignment, results, hand, out, reports, sandbox.notice)
    return 0


def grade(
    args: argparse.Namespace, assignment: Assignment, folder: Path, reports: Path
) -> tuple[dict[str, dict[str, Any]], Sandbox]:
    """The result of every submission, from this run or an earlier one."""
    if LINUX:  # what outlives an examiner becomes this process's to end
        LIBC.prctl(SUBREAPER, ctypes.c_ulong(1), 0, 0, 0)
    sandbox = probe(not args.no_namespaces)
    if sandbox.notice:
        print(f"tools.grade: {sandbox.notice}", file=sys.stderr)
    limits = limits_of(assignment, args.wall)
    basis = f"{examine.fingerprint(assignment.folder, args.seed, sandbox)} {limits}"
    submissions = find(folder, assignment.stem, basis)
    files = {s.key: reports / "data" / f"{hashlib.sha256(s.key.encode()).hexdigest()[:24]}.json" for s in submissions}
    todo = [s for s in submissions if stored(files[s.key], s.key) is None]
    setting = {
        "assignment": str(assignment.folder.resolve()),
        "seed": args.seed,
        "sandbox": asdict(sandbox),
        "limits": asdict(limits),
        "mask": [
            *(str(path) for path in (assignment.folder.resolve(), ASSIGNMENTS, folder, reports)),
            *(str(ROOT / name.replace(".", "/")) for name in assignment.without),
        ],
        "parent": os.getpid(),
    }

    def record(job: Submission, reason: str) -> None:
        text = json.dumps({"key": job.key, **examine.zero(assignment, reason)}, indent=1)
        save(files[job.key], text)

    for job in todo:
        if job.refused:
            record(job, job.refused)
    todo = [job for job in todo if not job.refused]
    bar = Bar(len(submissions), sys.stderr)
    try:
        log = reports / "data" / "examiners.log"
        for job, lost in grade_all(todo, files, setting, log, args.jobs, bar, len(submissions) - len(todo)):
            if lost:
                record(job, lost)
    finally:
        bar.close()
        sweep()
    found = {s.name: stored(files[s.key], s.key) for s in submissions}
    missing = [name for name, result in found.items() if result is None]
    if missing:
        raise ValueError(f"no result was written for {', '.join(missing)}")
    return {name: result for name, result in found.items() if result is not None}, sandbox


def write(
    args: argparse.Namespace,
    assignment: Assignment,
    results: Mapping[str, dict[str, Any]],
    hand: Mapping[str, float],
    out: Path,
    reports: Path,
    notice: str,
) -> None:
    """Write pages and tables."""
    unknown = sorted(set(hand) - set(results))
    if unknown:
        raise ValueError(f"--open: no submission of the name {', '.join(unknown)}")
    pages = {name: f"{hashlib.sha256(name.encode()).hexdigest()[:12]}.html" for name in results}
    for name, result in results.items():
        save(reports / pages[name], report.student_page(assignment, name, result))
    save(reports / "index.html", report.class_page(assignment, results, pages, notice))
    lines = report.rows(assignment, results, hand)
    made = f"{assignment.stem}, seed {assignment.seed}"
    others = [
        f"{name} ({result['of']})" for name, result in results.items() if result.get("of", "") not in ("", made)
    ]
    if others:
        print(f"tools.grade: not made for {made}: {', '.join(others)}", file=sys.stderr)
    lost = sum(bool(result["reason"]) for result in results.values())
    if args.gradebook:
        points = {name: str(line[1]) for name, line in zip(results, lines[1:], strict=True)}
        text, unplaced = report.gradebook(args.gradebook, args.key, args.column, points)
        save(out.with_name(f"{out.stem}-gradebook.csv"), text)
        if unplaced:
            print(f"tools.grade: not in {args.gradebook}: {', '.join(unplaced)}", file=sys.stderr)
    save(out, report.table(lines))
    print(f"{len(results)} submissions, {lost} of them could not be graded: {out}, {reports / 'index.html'}")
