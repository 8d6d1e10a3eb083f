"""An examiner: holds the tests, and grades one submission after the other. A process of its own, told on stdin.

It never runs, imports or unpickles anything of a student's. A line on stdin names a submission and the file for its
result, which is written beside and renamed; a line on stdout says that it is there.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import signal
import stat
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tools.assignments import Assignment, load
from tools.assignments.harness import outcome
from tools.files import save
from tools.grading.keeper import LIBC, LINUX, SUBREAPER, sweep
from tools.grading.student import MB, Broken, Limits, Sandbox, Session, Student, Ungradable

SIZE = 100 * MB  # of a notebook

Result = dict[str, Any]


def fetch(path: Path) -> bytes:
    """Read a submission that is a plain file; `Ungradable` for all else. Follows no link, waits for no pipe."""
    if path.is_symlink():
        raise Ungradable("a symbolic link, not a file")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise Ungradable(f"the file cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise Ungradable("not a file")
        if about.st_size > SIZE:
            raise Ungradable(f"the file is too large: expected at most {SIZE // MB} MB, got {about.st_size // MB}")
        try:
            return file.read(SIZE + 1)
        except OSError as error:
            raise Ungradable(f"the file cannot be read: {error.strerror}") from None


def fingerprint(assignment: Path, seed: int, sandbox: Sandbox) -> str:
    """What a result depends on besides the submission: tests, numbers, limits, and this program."""
    digest = hashlib.sha256(f"{seed} {sandbox.namespaces} {sandbox.uid is None}".encode())
    here = Path(__file__).parent
    for path in sorted([*assignment.glob("*.py"), *assignment.glob("*.md"), *here.glob("*.py")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def zero(assignment: Assignment, reason: str) -> Result:
    """The result of a submission that cannot be graded."""
    return result(assignment, {}, reason)


def result(assignment: Assignment, whys: dict[tuple[bool, str], str], reason: str = "", **about: Any) -> Result:
    """Points by problem, and each test with why it failed."""
    tests = []
    for test in assignment.tests:
        why = whys.get((test.hidden, test.name), "not run")
        tests.append(
            {
                "problem": test.problem,
                "name": test.name,
                "message": test.message,
                "hidden": test.hidden,
                "max": test.points,
                "why": why,
            }
        )
    points = dict.fromkeys((problem.id for problem in assignment.graded), 0)
    for test in assignment.tests:
        points[test.problem] += 0 if whys.get((test.hidden, test.name), "not run") else test.points
    return {"reason": reason, "points": points, "tests": tests, **about}


def grade(assignment: Assignment, path: Path, sandbox: Sandbox, limits: Limits, mask: tuple[Path, ...]) -> Result:
    """Grade one submission."""
    try:
        session = Session(fetch(path), sandbox, limits, mask, assignment.without)
        ran = session.open()
    except Ungradable as error:
        return zero(assignment, str(error))
    try:
        student = Student(session)
        whys = {(t.hidden, t.name): outcome(t.function, student, assignment.given) for t in assignment.tests}
        if session.broken:  # a test takes every error for the student's; this one is ours
            raise Broken(session.broken)
    finally:
        session.close()
    return result(assignment, whys, **ran)


def orphaned(parent: int) -> None:
    """End with the command that started this, however that ended. A keeper ends when it sees this process gone."""
    while os.getppid() == parent:
        time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(15)
    os._exit(1)


def end(number: int, frame: Any) -> None:
    """End in order, once."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(1)


def serve(setting: dict[str, Any]) -> None:
    """Grade what stdin names, until it ends."""
    folder = Path(setting["assignment"])
    assignment = load(folder.name, setting["seed"], folder.parent)
    sandbox, limits = Sandbox(**setting["sandbox"]), Limits(**setting["limits"])
    if sandbox.uid is not None:  # each examiner's workers are a user of their own, whose processes are counted
        sandbox = replace(sandbox, uid=sandbox.uid + setting["slot"])
    mask = tuple(map(Path, setting["mask"]))
    # Tests may print, and so may what they import; the line on which we answer is not theirs.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print("ready", file=answers, flush=True)
    try:
        for line in sys.stdin:
            job = json.loads(line)
            found = grade(assignment, Path(os.fsdecode(bytes.fromhex(job["path"]))), sandbox, limits, mask)
            save(Path(job["result"]), json.dumps({"key": job["key"], **found}, indent=1))
            print("done", file=answers, flush=True)
    except Broken as error:
        print(f"broken {error}", file=answers, flush=True)


def main() -> None:
    """Serve, and leave nothing."""
    setting = json.loads(sys.argv[1])
    if LINUX:
        LIBC.prctl(SUBREAPER, ctypes.c_ulong(1), 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    tempfile.tempdir = setting["temporary"]
    try:
        threading.Thread(target=orphaned, args=(setting["parent"],), daemon=True).start()
        serve(setting)
    finally:
        with suppress(Exception):
            sweep()
        shutil.rmtree(setting["temporary"], ignore_errors=True)


if __name__ == "__main__":
    main()
