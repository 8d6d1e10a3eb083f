"""Submissions that attack, confuse or merely trouble the grader, and what each has to get.

Every one starts from the full solution (13 points) or from the empty starter (0 points) of grading/tiny. What one
does is bounded by itself where the machine might not bound it: a few hundred processes, seconds, gigabytes that are
asked for and mostly not touched.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from tools.assignments import load
from tools.assignments import notebook as notebooks

TINY = Path(__file__).parent / "grading" / "tiny"
FULL_MARKS = {"count": 3, "softmax": 4, "attend": 6}
NOTHING = {"count": 0, "softmax": 0, "attend": 0}
MB = 1 << 20

ASSIGNMENT = load(TINY.name, 0, TINY.parent)
SOLUTION = json.loads(nbformat.writes(notebooks.solution(ASSIGNMENT)))
STARTER = json.loads(nbformat.writes(notebooks.student(ASSIGNMENT)))


@dataclass(frozen=True)
class Place:
    """What a submission may know of the machine it attacks: the test's folder, a port that listens, a mark."""

    folder: Path
    port: int
    mark: str


@dataclass(frozen=True)
class Hostile:
    """A submission.

    Attributes:
        write: puts it into the folder of submissions.
        points: by problem, if it is graded.
        reason: a part of why it is not.
        needs: "" if it is safe and decided anywhere; else "namespaces"; "bounds", a limit on processes; or "apart", a
            user of its own.
    """

    write: Callable[[Place, Path], None]
    points: dict[str, int]
    reason: str = ""
    needs: str = ""


def code(source: str) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": source}


def with_cells(base: dict[str, Any], first: str = "", last: str = "") -> dict[str, Any]:
    """The notebook with a cell before all others, or after."""
    made = copy.deepcopy(base)
    made["cells"] = [code(s) for s in [first] if s] + made["cells"] + [code(s) for s in [last] if s]
    return made


def changed(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], base: dict[str, Any] = SOLUTION) -> Any:
    """The notebook with other cells."""
    made = copy.deepcopy(base)
    made["cells"] = change(made["cells"])
    return made


def text_of(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def notebook(made: Any, points: dict[str, int], reason: str = "", needs: str = "") -> Hostile:
    """A submission that is this notebook, or what a function of the place makes."""

    def write(place: Place, target: Path) -> None:
        target.with_name(f"{target.name}.ipynb").write_text(json.dumps(made(place) if callable(made) else made))

    return Hostile(write, points, reason, needs)


def first(source: str, points: dict[str, int] = FULL_MARKS, reason: str = "", needs: str = "") -> Hostile:
    """The solution, with this before all."""
    return notebook(lambda place: with_cells(SOLUTION, first=fill(source, place)), points, reason, needs)


def last(source: str, points: dict[str, int] = FULL_MARKS, reason: str = "", needs: str = "") -> Hostile:
    """The solution, with this after all: functions in it replace those of the solution."""
    return notebook(lambda place: with_cells(SOLUTION, last=fill(source, place)), points, reason, needs)


def starter(source: str, points: dict[str, int] = NOTHING, reason: str = "", needs: str = "") -> Hostile:
    """No solution, but this."""
    return notebook(lambda place: with_cells(STARTER, first=fill(source, place), last=fill(source, place)), points)


def fill(source: str, place: Place) -> str:
    """Put in what a submission knows of its place."""
    root = Path(__file__).resolve().parents[2]
    names = {"FOLDER": place.folder, "PORT": place.port, "MARK": place.mark, "TESTS": TINY, "ROOT": root}
    for name, value in names.items():
        source = source.replace(f"@{name}@", str(value))
    return source


def file(content: bytes | Callable[[Place], bytes], reason: str, suffix: str = ".ipynb") -> Hostile:
    """A submission of these bytes."""

    def write(place: Place, target: Path) -> None:
        target.with_name(target.name + suffix).write_bytes(content(place) if callable(content) else content)

    return Hostile(write, NOTHING, reason)


def path(make: Callable[[Place, Path], None], reason: str = "", points: dict[str, int] = NOTHING) -> Hostile:
    return Hostile(make, points, reason)


def _sparse(place: Place, target: Path) -> None:
    with target.with_name(f"{target.name}.ipynb").open("wb") as out:
        out.truncate(101 * MB)


def _link(place: Place, target: Path) -> None:
    elsewhere = place.folder / "elsewhere.ipynb"
    elsewhere.write_text(json.dumps(SOLUTION))
    target.with_name(f"{target.name}.ipynb").symlink_to(elsewhere)


def _folder(*names: str) -> Callable[[Place, Path], None]:
    def make(place: Place, target: Path) -> None:
        target.mkdir()
        for name in names:
            (target / name).write_text(json.dumps(SOLUTION))

    return make


def _linked_folder(place: Place, target: Path) -> None:
    target.mkdir()
    (target / "work.ipynb").symlink_to("/etc/passwd")


def _large(place: Place) -> Any:
    made = copy.deepcopy(SOLUTION)
    cell = next(cell for cell in made["cells"] if cell["cell_type"] == "code")
    cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x" * (50 * MB)}]
    return made


def _without(word: str) -> Any:
    return changed(lambda cells: [cell for cell in cells if word not in text_of(cell)])


def _replaced(old: str, new: str, base: dict[str, Any]) -> Any:
    return changed(lambda cells: [{**cell, "source": text_of(cell).replace(old, new)} for cell in cells], base)


def _metadata(metadata: dict[str, Any]) -> Any:
    return {**copy.deepcopy(SOLUTION), "metadata": metadata}


def less(**points: int) -> dict[str, int]:
    return FULL_MARKS | points


LIVE_ON = """
import os, subprocess, sys, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", "@MARK@"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(1000)", "@MARK@"])
"""

SPY = """
import glob, os
def readable(name):
    try:
        return bool(os.listdir(name)) if os.path.isdir(name) else bool(open(name).read())
    except OSError:
        return False
found = [n for n in ("@TESTS@", "@TESTS@/hidden.py", "@FOLDER@", "@ROOT@/assignments", "@ROOT@/tools", "/etc/shadow",
                     "/proc/1/environ", "/proc/1/root@TESTS@/hidden.py", "/dev/mem") if readable(n)]
found += glob.glob("@ROOT@/**/hidden.py", recursive=True) + glob.glob("/grading/*.json")
found += [p for p in os.listdir("/proc") if p.isdigit() and int(p) > 50][20:]
if found:
    del count
"""

ESCAPE = """
import os, pathlib
for folder in ("@FOLDER@", "@FOLDER@/submissions", "@ROOT@", "@ROOT@/attnlib", "/", "/usr", "/usr/bin", "/etc",
               "/var/tmp", "/dev/shm", "/tmp", "/proc/sys/kernel", os.path.expanduser("~"), "."):
    try:
        pathlib.Path(folder, "@MARK@").write_text("escaped")
    except OSError:
        pass
"""

CALL_HOME = """
import socket
for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0"):
    try:
        socket.create_connection((host, @PORT@), timeout=1).sendall(b"the hidden tests")
    except OSError:
        pass
"""

LISTEN = """
import socket
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", 0))
listener.listen()
"""

PIPES = """
import os, socket, stat
pipes = [fd for fd in range(3, 200) if os.path.exists(f"/proc/self/fd/{fd}") and stat.S_ISSOCK(os.fstat(fd).st_mode)]
"""

FORGED = """
import json, struct
def frame(message):
    text = json.dumps({"message": message, "buffers": []}).encode()
    return struct.pack(">2sII", b"AW", len(text), 0) + text
"""

KILL_PARENTS = """
import os, signal
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL):
    try:
        os.kill(os.getppid(), number)
    except OSError:
        pass
"""

KILL_ALL = """
import os, signal
mine = os.listdir("/proc/self/task")
for pid in [-1, *range(1, 4000)]:
    if str(pid) not in mine:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
"""

STUBBORN = """
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
"""


def stubborn(function: str) -> str:
    return f"def {function}(*args):\n" + "\n".join(f"    {line}" for line in STUBBORN.strip().splitlines())


HOSTILE: dict[str, Hostile] = {
    # Time
    "endless loop": first("while True: pass"),
    "endless loop that catches all": first(STUBBORN, NOTHING, "did not run to its end"),
    "endless loop in an answer": last("def count(n, batch):\n    while True: pass", less(count=0)),
    "endless loop in an answer that catches all": last(stubborn("count"), less(count=0)),
    "stops itself": first("import os; os.kill(os.getpid(), 19)", NOTHING, "did not run to its end"),
    "alarm switched off": first("import signal; signal.alarm(0)\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)"),
    # Processes
    "three hundred processes": first(
        "import os, time\nfor _ in range(300):\n    if os.fork() == 0:\n        time.sleep(30); os._exit(0)",
        NOTHING,
        "started more than 32 processes",
    ),
    "fork bomb": first("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", NOTHING, "", "bounds"),
    "threads without end": first(
        "import threading, time\ntry:\n    for _ in range(2000):\n"
        "        threading.Thread(target=time.sleep, args=(1,)).start()\n"
        "except RuntimeError: pass\ntime.sleep(1.2)",
        needs="bounds",
    ),
    "lives on": last(LIVE_ON),
    "lives on by shell": first("%%bash\nnohup setsid sleep 1000 @MARK@ >/dev/null 2>&1 &\n(sleep 1001 &)"),
    # Memory and files
    "memory at once": first("x = bytearray(8 << 30)"),
    "memory of many": notebook(
        with_cells(
            SOLUTION,
            first="import os, time\nfor _ in range(5):\n    if os.fork() == 0:\n"
            "        x = b'x' * (300 << 20); time.sleep(20); os._exit(0)\ntime.sleep(2)",
            last="time.sleep(2.5)",
        ),
        NOTHING,
        "used more than 1024 MB of memory",
    ),
    "memory that is shared": notebook(
        with_cells(
            SOLUTION,
            first="import mmap, threading\nm, piece = mmap.mmap(-1, 1280 << 20), b'x' * (16 << 20)\n"
            "def touch():\n    for i in range(80): m[i << 24:(i + 1) << 24] = piece\n"
            "thread = threading.Thread(target=touch)\nthread.start()\nthread.join()",
            last="import time; thread.join(); time.sleep(1)",
        ),
        NOTHING,
        "used more than 1024 MB of memory",
    ),
    "memory in an answer": last("def softmax(s):\n    return bytearray(8 << 30)", less(softmax=0)),
    "enormous output": first("import sys\nfor _ in range(500): print('x' * 10**6); sys.stderr.write('y' * 10**6)"),
    "output without end": first("while True: print('x' * 10**6)"),
    "enormous file": first("with open('big', 'wb') as f:\n    while True: f.write(b'x' * (1 << 20))"),
    "many files": first(
        "for i in range(12):\n    with open(f'big{i}', 'wb') as f: f.write(b'x' * (30 << 20))", needs="namespaces"
    ),
    # Ends
    "os._exit": first("import os; os._exit(0)", NOTHING, "left Python with exit code 0"),
    "os._exit in an answer": last("import os\ndef count(n, batch): os._exit(0)", less(count=0)),
    "sys.exit": first("import sys; sys.exit(0)"),
    "exit and quit": first("exit()", FULL_MARKS),
    "kills itself": first("import os; os.kill(os.getpid(), 9)", NOTHING, "ended by SIGKILL"),
    "kills its group": first("import os; os.kill(0, 9)", NOTHING, "SIGKILL"),
    "kills its parent": first(KILL_PARENTS, needs="apart"),
    "kills all": first(KILL_ALL, needs="namespaces"),
    "segmentation fault": first("import ctypes; ctypes.string_at(0)", NOTHING, "ended by SIGSEGV"),
    # Notebooks
    "syntax error": last("def count(n, batch:\n    return 0"),
    "syntax error in an answer": notebook(
        _replaced("def count(n, batch):", "def count(n, batch:", SOLUTION), less(count=0)
    ),
    "malformed JSON": file(json.dumps(SOLUTION).encode()[:-20], "no valid JSON"),
    "empty": file(b"", "the file is empty"),
    "not text": file(bytes(range(256)) * 10, "not text in UTF-8"),
    "a list": file(b"[]", "no list of cells"),
    "nested": file(b'{"cells": ' + b"[" * 200_000, "the file is not a notebook"),
    "cells that are none": file(b'{"cells": [1, 2], "metadata": null}', "no list of cells"),
    "deleted tests": notebook(_without("check("), FULL_MARKS),
    "deleted answer": notebook(_without("def count(n"), less(count=0)),
    "deleted adapters": notebook(_without("def run_count"), NOTHING),
    "duplicated cells": notebook(changed(lambda cells: [cell for cell in cells for _ in range(3)]), FULL_MARKS),
    "reordered cells": notebook(changed(lambda cells: cells[::-1]), FULL_MARKS),
    "edited tests": notebook(_replaced("return function", "return lambda *a: None", STARTER), NOTHING),
    "wrong kernel": notebook(
        _metadata({"kernelspec": {"name": "conda-env-ml-py", "display_name": "ML", "language": "python"}}), FULL_MARKS
    ),
    "no metadata": notebook(_metadata({}), FULL_MARKS),
    "odd metadata": notebook(_metadata({"kernelspec": [1], "language_info": "python"}), FULL_MARKS),
    "foreign language": notebook(
        _metadata({"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}}), NOTHING, "is written for r"
    ),
    "50 MB": notebook(_large, FULL_MARKS),
    "101 MB": path(_sparse, "too large"),
    "asks for input": first("name = input('Who are you? ')"),
    "script.py": file(b"print(13)", "not a notebook", ".py"),
    # Files that are none
    "symbolic link": path(_link, "a symbolic link"),
    "link in a folder": path(_linked_folder, "a symbolic link"),
    "pipe": path(lambda place, target: os.mkfifo(target.with_name(f"{target.name}.ipynb")), "not a file"),
    "folder": path(_folder("any name.ipynb"), points=FULL_MARKS),
    "folder of two": path(_folder("a.ipynb", "b.ipynb"), "the folder holds 2 notebooks"),
    "folder of none": path(_folder(), "the folder holds no notebook"),
    # Names
    "Zoë 名前 🙂": first("größe = 3"),
    "=1+1": first("pass"),
    "two\nlines": first("pass"),
    "<script>alert(1)</script>".replace("/", "∕"): first("raise ValueError('<script>alert(2)</script>\\ud800')"),
    os.fsdecode(b"latin-\xe9"): first("pass"),
    # Forgery
    "prints marks": starter(
        "print('count: 3 of 3'); print({'points': 13, 'passed': True}); print('All tests passed!')"
    ),
    "patched grader": starter(
        "import sys, __main__\nfor name in ('wire', 'worker', '__main__'):\n    module = sys.modules.get(name)\n"
        "    for key in ('describe', 'answer', 'limited') if module else ():\n"
        "        setattr(module, key, lambda *a: {'value': 13})\n"
        "def outcome(*args): return ''\ndef near(*args, **kwargs): pass\ndef check(*args): print('passed')"
    ),
    "patched reference": last(
        "import attnlib.reference\nattnlib.reference.attention = lambda q, k, v, **kw: v * 0\n"
        "def attend(q, k, v):\n    import numpy as np\n    out = np.zeros((len(q), v.shape[1]))\n"
        "    return {'out': out, 'shape': list(out.shape)}",
        less(attend=2),
    ),
    "patched NumPy": starter("import numpy as np\nnp.asarray = np.isclose = np.allclose = lambda *a, **k: True"),
    "patched JSON": first("import json; json.dumps = None", NOTHING, "left Python with exit code 1"),
    "answers that equal everything": starter(
        "class Any(int):\n    def __eq__(self, other): return True\n"
        "    __le__ = __ge__ = __sub__ = __rsub__ = __eq__\n"
        "    __array_priority__ = 10**6\ndef count(n, batch): return Any(0)"
    ),
    # The pipe
    "garbage on the pipe": first(
        PIPES + "for fd in pipes: os.write(fd, b'x' * 100)", NOTHING, "wrote on the pipe to the grader"
    ),
    "garbage in an answer": last(PIPES + "def count(n, batch):\n    os.write(pipes[0], b'x' * 100)", less(count=0)),
    "closed pipe": first("import os; os.closerange(3, 200)", NOTHING, ""),
    "forged frames": starter(
        PIPES + FORGED + "os.write(pipes[0], frame({'failed': ['l']}))\n"
        "for i in range(20): os.write(pipes[0], frame({'id': i, 'value': 5}))"
    ),
    "a frame of gigabytes": first(
        PIPES + "import struct\nos.write(pipes[0], struct.pack('>2sII', b'AW', 2**32 - 1, 2**32 - 1))",
        NOTHING,
        "wrote on the pipe to the grader",
    ),
    # Answers
    "another order": last(
        "def attend(k, v, q):\n    q, k, v = k, v, q\n    o = softmax(q @ k.T / q.shape[-1] ** 0.5) @ v\n"
        "    return {'shape': [*o.shape], 'note': (1, None), 'out': o}"
    ),
    "JAX arrays": last(
        "import jax.numpy as jnp, numpy as np\ndef softmax(s):\n    e = np.exp(s - s.max(-1, keepdims=True))\n"
        "    return jnp.asarray(e / e.sum(-1, keepdims=True))",
        less(softmax=2),  # thirds in float32 are not near enough for these tests
    ),
    "NaN": last(
        "def count(n, batch): return float('nan')\ndef softmax(s): return s * float('nan')", less(count=0, softmax=0)
    ),
    "wrong types": last(
        "def count(n, batch): return str(batch * n * n)\ndef softmax(s): return {'weights': s}\n"
        "def attend(q, k, v): return None",
        NOTHING,
    ),
    "what cannot be sent": last(
        "def count(n, batch): return object()\ndef softmax(s): return (x for x in s)\n"
        "def attend(q, k, v): return {1, 2}",
        NOTHING,
    ),
    "objects in arrays": last(
        "def softmax(s):\n    return __import__('numpy').array([None, print])", less(softmax=0)
    ),
    "too much to send": last("def count(n, batch): return 'x' * (20 << 20)", less(count=0)),
    "too deep to send": last(
        "def count(n, batch):\n    x = []\n    for _ in range(9999): x = [x]\n    return x", less(count=0)
    ),
    "too long an integer": last("def count(n, batch): return 10**10000", less(count=0)),
    "a list that holds itself": last("def count(n, batch):\n    x = []; x.append(x); return x", less(count=0)),
    "an error that fails": last(
        "class E(Exception):\n    def __str__(self): raise E\ndef count(n, batch): raise E", less(count=0)
    ),
    # Attacks on what is outside
    "reads the tests": last(SPY, needs="namespaces"),
    "writes outside": first(ESCAPE, needs="namespaces"),
    "network": first(CALL_HOME),
    "listens": last(LISTEN),
}
