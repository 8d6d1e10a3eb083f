"""What a test calls as `student`: each `run_x(…)` is a call that another process answers, or fails to."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tools.files import ROOT
from tools.grading import wire
from tools.grading.keeper import sweep

HERE = Path(__file__).resolve().parent
START = 60.0  # seconds in which a worker must have read the notebook, before anything of it runs
GRACE = 3.0  # seconds after which a call is ended from outside that should have ended itself
AGAIN = 3  # how often the notebook is run anew after a call that has ended its process
MB = 1 << 20


class Ungradable(Exception):
    """Nothing can be asked of this submission; the message says why."""


class Broken(Exception):
    """No worker can be started: nobody's fault who handed something in, and no reason for a zero."""


class CallError(Exception):
    """A call has no answer: what the student's function raised, or why it did not return."""


@dataclass(frozen=True)
class Limits:
    """What a submission may take. The first three are the assignment's.

    Attributes:
        seconds: a cell of the notebook; all of them get twice that, so that one endless loop spoils its cell alone.
        call_seconds: a call of an adapter.
        memory: bytes of all its processes.
        wall: seconds of everything, notebook and calls, runs after a crash included.
        processes: at a time.
        tasks: processes and threads at a time.
        file: bytes of a file.
        disk: bytes of all its files.
    """

    seconds: float
    call_seconds: float
    memory: int
    wall: float = 900.0
    processes: int = 32
    tasks: int = 256
    file: int = 64 * MB
    disk: int = 256 * MB


@dataclass(frozen=True)
class Sandbox:
    """How far a worker can be shut in on this machine.

    Attributes:
        namespaces: it has processes, network and files of its own.
        uid: it runs as this user, because the grader is root; None: as the grader's own.
        notice: what is missing, for whoever grades; "" if nothing is.
    """

    namespaces: bool
    uid: int | None
    notice: str = ""


def environment(home: str) -> dict[str, str]:
    """All that a worker knows of its surroundings; hashes are the same in every run."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": home,
        "TMPDIR": home,
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "utf8:backslashreplace",
        "IPYTHONDIR": f"{home}/.ipython",
        "MPLCONFIGDIR": f"{home}/.matplotlib",
        "MPLBACKEND": "agg",
        "JAX_PLATFORMS": "cpu",
    }


class Keeper:
    """A keeper.py with its worker, and the pipe to the latter."""

    def __init__(
        self, sandbox: Sandbox, limits: Limits, mask: tuple[Path, ...], argv: list[str], wall: float | None = None
    ) -> None:
        self.pipe, theirs = socket.socketpair()
        self.folder = tempfile.mkdtemp(prefix="attnlib-grade-worker-")
        home = "/tmp/home" if sandbox.namespaces else f"{self.folder}/home"
        descriptor = theirs.fileno()
        files = [str(HERE / "worker.py"), str(HERE / "wire.py")]
        script = "/grading/worker.py" if sandbox.namespaces else files[0]
        config = {
            **asdict(limits),
            "wall": limits.wall if wall is None else wall,
            "cpu": int(limits.seconds + limits.wall) * 2,
            "namespaces": sandbox.namespaces,
            "uid": sandbox.uid,
            "parent": os.getpid(),
            "pipe": descriptor,
            "folder": self.folder,
            "home": home,
            "files": files,
            "view": [sys.prefix, sys.base_prefix, str(ROOT / "attnlib")],
            "mask": [str(path) for path in mask],
            "argv": argv or [sys.executable, script, str(descriptor)],
            "environment": environment(home),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(HERE / "keeper.py"), json.dumps(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[descriptor],
            start_new_session=True,
        )
        theirs.close()

    def end(self, patience: float = 1.0) -> dict[str, str]:
        """Wait a moment for its own end, then end it; what it said of the worker. Nothing is left after this."""
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.terminate()
        try:
            said, _ = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            said, _ = self.process.communicate()
        sweep()
        self.pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        found: dict[str, str] = {}
        for line in said.splitlines():
            with suppress(ValueError):
                found |= json.loads(line)
        return found


def probe(wanted: bool) -> Sandbox:
    """Find the closest sandbox that this machine grants, by starting Python in it."""
    code = "import IPython, jax, attnlib.reference"
    limits = Limits(60, 60, 2048 * MB)
    root = os.getuid() == 0
    fresh = 60_706 + os.getpid() % 400  # of a range that systemd leaves unused
    refused = "switched off"
    if wanted and sys.platform == "linux":
        keeper = Keeper(Sandbox(True, fresh if root else None), limits, (), [sys.executable, "-c", code], 60)
        said = keeper.end(60)
        if said.get("reason") == "left Python with exit code 0":
            return Sandbox(True, fresh if root else None)
        refused = said.get("setup") or said.get("reason", "")
    elif wanted:
        refused = f"{platform.system()} has none"
    lost = f"no namespaces ({refused}): submissions can use the network, read what this user may read"
    if root and sys.platform == "linux":
        said = Keeper(Sandbox(False, fresh), limits, (), [sys.executable, "-c", code], 60).end(60)
        if said.get("reason") == "left Python with exit code 0":
            return Sandbox(False, fresh, lost.replace("this user", "any user") + "; they run as a user of their own")
    return Sandbox(False, None, lost + ", and write and signal as this user, too")


class Session:
    """One submission under test."""

    def __init__(
        self,
        notebook: bytes,
        sandbox: Sandbox,
        limits: Limits,
        mask: tuple[Path, ...] = (),
        without: tuple[str, ...] = (),
    ) -> None:
        self.notebook = np.frombuffer(notebook, np.uint8)
        self.sandbox, self.limits, self.mask, self.without = sandbox, limits, mask, without
        self.deadline = time.monotonic() + limits.wall
        self.keeper: Keeper | None = None
        self.asked = 0
        self.lives = 1 + AGAIN
        self.last = ""
        self.broken = ""

    def open(self) -> dict[str, Any]:
        """Run the notebook: how many cells it has, which failed; `Ungradable` if that did not come to its end."""
        self.lives -= 1
        left = self.deadline - time.monotonic()
        self.keeper = Keeper(self.sandbox, self.limits, self.mask, [], left + GRACE)
        pipe = self.keeper.pipe
        try:
            pipe.settimeout(START)
            seconds = self.limits.seconds
            wire.send(pipe, {"notebook": self.notebook, "cell_seconds": seconds, "without": self.without})
            about = wire.receive(pipe, time.monotonic() + START)
            if "refused" in about:
                raise Ungradable(str(about["refused"])[:300])
            ran = wire.receive(pipe, min(time.monotonic() + 2 * self.limits.seconds, self.deadline))
            failed = [(int(number), str(text)[:500]) for number, text in ran["failed"][:50]]
            read = about["read"]
            return {"cells": int(read["cells"]), "essay": str(read["essay"]), "of": str(read["of"]), "failed": failed}
        except Ungradable:
            self.close()
            raise
        except TimeoutError:
            why = f"the notebook did not run to its end within {2 * self.limits.seconds:g} s"
        except (EOFError, OSError):
            why = f"the notebook's process {self._why()}"
        except (wire.WireError, KeyError, TypeError, ValueError, AttributeError):
            why = "the notebook wrote on the pipe to the grader"
        self.close()
        raise Ungradable(why)

    def call(self, name: str, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Ask for `name(*args, **named)`; `CallError` if there is no answer."""
        if time.monotonic() > self.deadline:
            raise CallError(f"the submission has used its {self.limits.wall:g} s")
        if self.keeper is None:
            if self.lives <= 0:
                raise CallError(f"not asked: {self.last}, which has ended the notebook's process {1 + AGAIN} times")
            try:
                self.open()
            except Ungradable as error:
                self.last = str(error)
                raise CallError(self.last) from None
        assert self.keeper is not None
        pipe, self.asked = self.keeper.pipe, self.asked + 1
        request = {"id": self.asked, "call": name, "args": args, "kwargs": named, "seconds": self.limits.call_seconds}
        end = min(time.monotonic() + self.limits.call_seconds + GRACE, self.deadline)
        try:
            pipe.settimeout(max(0.1, end - time.monotonic()))
            wire.send(pipe, request)
            reply = wire.receive(pipe, end)
            if reply.get("id") != self.asked or ("value" in reply) == ("error" in reply):
                raise wire.WireError("an answer to another question")
        except TimeoutError:
            self.last = f"{name} did not return within {self.limits.call_seconds:g} s"
        except (EOFError, OSError):
            self.last = f"{name}: the process {self._why()}"
        except wire.WireError as error:
            self.last = f"{name}: {error}"
        else:
            if "error" in reply:
                raise CallError(str(reply["error"])[:500])
            return reply["value"]
        self.close()
        raise CallError(self.last)

    def _why(self) -> str:
        """What the keeper says of a process that has hung up."""
        assert self.keeper is not None
        said = self.keeper.end()
        if "setup" in said:
            self.broken = said["setup"]
            raise Broken(self.broken)
        reason = said.get("reason", "ended")
        return "closed the pipe to the grader" if reason == "stopped" else reason

    def close(self) -> None:
        """End the worker and all that it started."""
        if self.keeper is not None:
            self.keeper.end(0)
            self.keeper = None


class Student:
    """What tests get."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if not name.startswith("run_"):
            raise AttributeError(name)
        return lambda *args, **named: self._session.call(name, args, named)
