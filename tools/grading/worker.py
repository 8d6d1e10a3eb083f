"""The only process that runs what a student wrote: it executes the notebook's cells, then answers calls on a pipe.

Started by keeper.py as `python worker.py FD`, in a folder of its own. It keeps nothing secret and decides nothing: no
test, no reference and no mark is in it, so that a student who changes all of it has changed his own answers alone.
"""

from __future__ import annotations

import builtins
import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import wire  # type: ignore[import-not-found]  # beside this file, wherever that has been put

sys.path[0] = ""  # `import report` in a notebook means the student's own file, not one beside this

ERRORS = 50  # failed cells that are reported
WORDS = 500  # characters of an error
ESSAY = 20_000  # characters of an answer in words


class TimeLimit(KeyboardInterrupt):
    """A cell or a call has used its seconds. No `except Exception` catches it."""


def read(data: bytes) -> tuple[list[str], dict[str, Any]]:
    """The sources of a notebook's code cells, and what the report shows; ValueError says why there are none."""
    if not data.strip():
        raise ValueError("the file is empty")
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError("the file is not a notebook: it is not text in UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"the file is not a notebook: no valid JSON at line {error.lineno}") from None
    except RecursionError:
        raise ValueError("the file is not a notebook: its JSON is nested too deeply") from None
    except ValueError:  # a number of more digits than Python reads
        raise ValueError("the file is not a notebook: its JSON has a number that is too long") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise ValueError("the file is not a notebook: it has no list of cells (of nbformat 4)")
    language = _language(notebook.get("metadata"))
    if language not in ("python", "python3", "ipython", ""):
        raise ValueError(f"the notebook is written for {language[:40]}: expected Python")
    code = [_source(cell) for cell in cells if cell.get("cell_type") == "code"]
    essays = [_source(cell)[:ESSAY] for cell in cells if cell.get("cell_type") == "markdown" and _is_essay(cell)]
    return code, {"cells": len(code), "essay": "\n\n".join(essays)[:ESSAY], "of": _of(notebook.get("metadata"))}


def _language(metadata: Any) -> str:
    """What the notebook says it is written in; a kernel of another name that runs Python is as good as ours."""
    for key, name in (("language_info", "name"), ("kernelspec", "language")):
        part = metadata.get(key) if isinstance(metadata, dict) else None
        if isinstance(part, dict) and isinstance(part.get(name), str):
            return str(part[name]).lower()
    return ""


def _of(metadata: Any) -> str:
    """The assignment and the seed that a notebook was made for; "" if it does not say so."""
    about = metadata.get("assignment") if isinstance(metadata, dict) else None
    return f"{about.get('stem')}, seed {about.get('seed')}"[:80] if isinstance(about, dict) else ""


def _source(cell: dict[str, Any]) -> str:
    source = cell.get("source", "")
    return "".join(map(str, source)) if isinstance(source, list) else str(source)


def _is_essay(cell: dict[str, Any]) -> bool:
    """Whether it is the answer to the open question, which nbgrader's metadata mark."""
    metadata = cell.get("metadata")
    about = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return isinstance(about, dict) and about.get("solution") is True


def limited(seconds: float, fn: Callable[[], Any]) -> Any:
    """Call it, and raise TimeLimit in it when its seconds are over. Who defies this is killed from outside."""

    def stop(signum: int, frame: Any) -> None:
        raise TimeLimit(f"not done after {seconds:g} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return fn()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def shell() -> Any:
    """IPython without a kernel: magics, `!commands`, `await` and `display`, and no port."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    class Shell(InteractiveShell):
        system = InteractiveShell.system_raw  # `!command` without a terminal of its own

        def ask_exit(self) -> None:
            raise SystemExit

        def enable_gui(self, gui: Any = None) -> None:
            return None

        @contextmanager
        def _tee(self, channel: str) -> Iterator[None]:  # IPython 9 would keep all that is printed, in memory
            yield

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "NoColor"
    config.InteractiveShell.xmode = "Minimal"
    config.InteractiveShell.cache_size = 0
    return Shell.instance(config=config)


def describe(error: BaseException) -> str:
    """An error in one short line, whatever its `__str__` does."""
    text = ""
    with suppress(BaseException):
        text = str(error)
    name = type(error).__name__
    return (f"{name}: {text}" if text else name)[:WORDS]


def run(ip: Any, cells: list[str], seconds: float) -> list[Any]:
    """Run every cell, whatever became of those before it; the number and the error of each that failed."""
    failed: list[Any] = []
    for number, source in enumerate(cells, 1):
        error: BaseException | None
        try:
            result = limited(seconds, partial(ip.run_cell, source))
            error = result.error_before_exec or result.error_in_exec
        except BaseException as caught:
            error = caught
        if error is not None and len(failed) < ERRORS:
            failed.append([number, describe(error)])
    return failed


def answer(ip: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Call an adapter; what it raises becomes a message."""
    name = request["call"]
    fn = ip.user_ns.get(name)
    if not callable(fn):
        return {"error": f"NameError: the notebook defines no function {name}"}
    try:
        return {"value": limited(request["seconds"], lambda: fn(*request["args"], **request["kwargs"]))}
    except BaseException as error:
        return {"error": describe(error)}


def main(pipe: socket.socket) -> None:
    """Read the notebook, run it, answer until the examiner hangs up."""
    job = wire.receive(pipe)
    try:
        cells, about = read(job["notebook"].tobytes())
    except ValueError as error:
        wire.send(pipe, {"refused": str(error)})
        return
    ip = shell()
    sys.modules.update(dict.fromkeys(job["without"]))  # None: an import of it raises
    wire.send(pipe, {"read": about})  # from here on the student's seconds run
    wire.send(pipe, {"failed": run(ip, cells, job["cell_seconds"])})
    with suppress(EOFError):
        while True:
            request = wire.receive(pipe)
            reply = answer(ip, request)
            try:
                frame = wire.pack({"id": request["id"], **reply})
            except wire.WireError as error:
                frame = wire.pack({"id": request["id"], "error": f"TypeError: {error}"})
            except BaseException as error:  # a dict that changes while it is read, an `__array__` that raises
                frame = wire.pack({"id": request["id"], "error": describe(error)})
            pipe.sendall(frame)


if __name__ == "__main__":
    builtins.quit = builtins.exit = sys.exit  # type: ignore[assignment]
    main(socket.socket(fileno=int(sys.argv[1])))
