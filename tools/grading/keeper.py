"""Keeps one worker: starts it in namespaces and limits, watches it, ends all it started, says why it ended.

Started by an examiner as `python keeper.py JSON`, with standard library alone. On Linux, the worker gets name spaces
of its own where the system grants them: processes, network, mounts, interprocess communication, host name; as root, a
user id of its own besides, otherwise a user namespace. It then sees a root of nothing but Python, attnlib and system
libraries, all read-only, and a temporary folder in memory. Elsewhere the limits, and what this watches, remain.

The last line on stdout is JSON: {"reason": why it was ended or how it ended}, or {"setup": what was refused}.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

LINUX = sys.platform == "linux"
LIBC = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
FLAGS = ((2, NOSUID), (4, NODEV), (8, 8), (1024, 1024), (2048, 2048), (4096, 1 << 21))  # of statvfs, of mount
DETACH = 2
DEATHSIG, NO_NEW_PRIVS, SUBREAPER = 1, 38, 36  # of prctl
SYSTEM: tuple[str, ...] = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/passwd",
    "/etc/group",
)
SYSTEM += ("/etc/fonts", "/etc/ssl", "/etc/localtime", "/etc/nsswitch.conf", "/etc/alternatives")
DEVICES = ("null", "zero", "full", "random", "urandom")
POLL = 0.1 if LINUX else 0.5  # seconds between two looks; elsewhere a look is a run of `ps`
MB = 1 << 20
SHM = 64 * MB


def call(name: str, *args: Any) -> None:
    """Call the C library; OSError if it says no."""
    if getattr(LIBC, name)(*args) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Mount something."""
    encoded = (os.fsencode(source), os.fsencode(target), os.fsencode(kind) if kind else None)
    call("mount", *encoded, ctypes.c_ulong(flags), os.fsencode(options) or None)


def bind(source: str, target: str, readonly: bool) -> None:
    """Show a file or folder at a second place, read-only if asked."""
    mount(source, target, None, BIND | REC)
    if readonly:  # a user namespace may add restrictions to those that the mount has, and drop none
        has = os.statvfs(target).f_flag
        kept = sum(flag for bit, flag in FLAGS if has & bit)
        mount(source, target, None, BIND | REMOUNT | RDONLY | NOSUID | kept)


def view(root: str, config: dict[str, Any]) -> None:
    """Make the worker's root in a fresh tmpfs, and move into it. What is not named here does not exist there."""
    os.umask(0o022)
    mount("none", "/", None, REC | PRIVATE)
    mount("tmpfs", root, "tmpfs", NOSUID | NODEV, "mode=755,size=16m")
    for name in ("dev/shm", "proc", "tmp"):
        os.makedirs(f"{root}/{name}")
    mount("tmpfs", f"{root}/tmp", "tmpfs", NOSUID | NODEV, f"mode=1777,size={config['disk']}")
    shown: list[str] = []
    for path in sorted({p for name in (*SYSTEM, *config["view"]) for p in (name, os.path.realpath(name))}):
        target = root + path
        if not os.path.exists(path) or any(path == s or path.startswith(f"{s}/") for s in shown):
            continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.islink(path):
            os.symlink(os.readlink(path), target)
            continue
        if os.path.isdir(path):
            os.makedirs(target, exist_ok=True)
        else:
            Path(target).touch()
        bind(path, target, readonly=True)
        shown.append(path)
    for path in config["mask"]:  # in case Python is installed around them
        if os.path.isdir(root + path):
            mount("tmpfs", root + path, "tmpfs", RDONLY | NOSUID | NODEV, "mode=000,size=4k")
    for name in DEVICES:
        Path(f"{root}/dev/{name}").touch()
        bind(f"/dev/{name}", f"{root}/dev/{name}", readonly=False)
    mount("tmpfs", f"{root}/dev/shm", "tmpfs", NOSUID | NODEV, f"mode=1777,size={SHM}")
    with suppress(OSError):  # some containers forbid a second /proc; nothing here needs it
        mount("proc", f"{root}/proc", "proc", NOSUID | NODEV | 8)
    os.makedirs(f"{root}/grading")
    for file in config["files"]:
        shutil.copy(file, f"{root}/grading/")
    mount("none", root, None, REMOUNT | RDONLY | NOSUID | NODEV)
    os.chdir(root)
    call("pivot_root", b".", b".")
    call("umount2", b".", DETACH)
    os.chdir("/")


def drop(uid: int | None) -> None:
    """Become a user who owns nothing, and can become no other."""
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    if LINUX:
        call("prctl", NO_NEW_PRIVS, 1, 0, 0, 0)


def limit(config: dict[str, Any], others: int | None) -> None:
    """Set the limits of one process. `others`: tasks of its user that are not ours; None: nobody can tell."""
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: config["file"],
        resource.RLIMIT_CPU: config["cpu"],
        resource.RLIMIT_NOFILE: 256,
        # Not RLIMIT_AS: JAX reserves gigabytes of addresses that it never touches.
        resource.RLIMIT_DATA: config["memory"],
    }
    if others is not None:
        wanted[resource.RLIMIT_NPROC] = others + config["tasks"]
    for what, most in wanted.items():
        hard = resource.getrlimit(what)[1]
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        soft = value - (what == resource.RLIMIT_CPU)  # a signal that says why, a second before one that does not
        with suppress(ValueError, OSError):  # macOS knows, but does not grant, all of them
            resource.setrlimit(what, (soft, value))


def start(config: dict[str, Any], others: int | None) -> NoReturn:
    """Become the worker."""
    home = config["home"]
    for folder in (home, f"{home}/work"):
        os.makedirs(folder, exist_ok=True)
    os.chdir(f"{home}/work")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.closerange(3, config["pipe"])
    os.closerange(config["pipe"] + 1, 256)
    limit(config, others)
    os.execve(config["argv"][0], config["argv"], config["environment"])


def first(config: dict[str, Any]) -> NoReturn:
    """Be the first process of the namespace, and the parent of every orphan in it. All others end with this one."""
    try:
        call("prctl", DEATHSIG, signal.SIGKILL, 0, 0, 0)
        call("unshare", NEWNS | NEWNET | NEWIPC | NEWUTS)
        call("sethostname", b"grader", 6)
        view(config["folder"], config)
        os.setsid()
        drop(config["uid"])
        call("prctl", DEATHSIG, signal.SIGKILL, 0, 0, 0)  # a change of user has cleared it
    except Exception as error:
        print(json.dumps({"setup": str(error)}), flush=True)
        os._exit(1)
    worker = os.fork()
    if worker == 0:
        try:
            modern = tuple(map(int, os.uname().release.split(".")[:2])) >= (5, 14)  # counts by namespace
            start(config, 0 if modern or config["uid"] is not None else None)
        finally:
            os._exit(127)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2, config["pipe"]):
        os.dup2(null, descriptor)
    while True:
        pid, status = os.wait()
        if pid == worker:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def identity(path: str, name: int) -> None:
    """Map one user or group of the new namespace to the same outside."""
    Path(path).write_text(f"{name} {name} 1")


def launch(config: dict[str, Any]) -> int:
    """Fork the worker, or the first process of its namespace."""
    uid, gid = os.getuid(), os.getgid()
    if config["namespaces"]:
        try:
            call("unshare", NEWPID | (NEWUSER if config["uid"] is None else 0))
            if config["uid"] is None:
                identity("/proc/self/uid_map", uid)
                Path("/proc/self/setgroups").write_text("deny")
                identity("/proc/self/gid_map", gid)
        except OSError as error:
            print(json.dumps({"setup": str(error)}), flush=True)
            raise SystemExit(1) from None
    others = None
    if config["uid"] is not None:
        others = 0
    elif uid != 0 and LINUX:
        others = sum(threads for owner, threads in tasks() if owner == uid)
    child = os.fork()
    if child:
        return child
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        if config["namespaces"]:
            first(config)
        os.setsid()
        drop(config["uid"])
        start(config, others)
    finally:
        os._exit(127)


def processes() -> list[tuple[int, int, int]]:
    """Every process of the machine that can be seen: its number, its parent's, and on macOS its megabytes."""
    if not LINUX:
        text = subprocess.run(["ps", "-axo", "pid=,ppid=,rss="], capture_output=True, text=True, check=False).stdout
        rows = (line.split() for line in text.splitlines())
        return [(int(pid), int(parent), int(rss) >> 10) for pid, parent, rss in rows]
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                parent = int(Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()[1])
                found.append((int(name), parent, 0))
    return found


def resident(pid: int) -> int:
    """Megabytes of a process that no file on a disk could hold for it: its own and what it shares with others."""
    with suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text("utf8", "replace")
        lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return sum(int(lines[key].split()[0]) for key in ("RssAnon", "RssShmem") if key in lines) >> 10
    return 0


def tasks() -> list[tuple[int, int]]:
    """The owner of every process, and its number of threads."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                path = Path("/proc", name)
                found.append((path.stat().st_uid, len(os.listdir(path / "task"))))
    return found


def descendants() -> list[tuple[int, int]]:
    """What has come from this process and is left, each with its megabytes."""
    below: dict[int, list[tuple[int, int]]] = {}
    for pid, parent, size in processes():
        below.setdefault(parent, []).append((pid, size))
    found = []
    new = below.get(os.getpid(), [])
    while new:
        found += new
        new = [child for pid, _ in new for child in below.get(pid, [])]
    return found


def used(folder: str) -> int:
    """Bytes of the files in a folder."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def excess(config: dict[str, Any]) -> str:
    """Which limit has been passed by all processes together, if any."""
    found = descendants()
    if len(found) > config["processes"]:
        return f"started more than {config['processes']} processes"
    if sum(size or resident(pid) for pid, size in found) > config["memory"] // MB:
        return f"used more than {config['memory'] // MB} MB of memory"
    if not config["namespaces"] and used(config["home"]) > config["disk"]:
        return f"wrote more than {config['disk'] // MB} MB of files"
    return ""


def ended(code: int) -> str:
    """How a worker that nobody ended came to its end."""
    number = -code if code < 0 else code - 128
    if number == signal.SIGXCPU:
        return "used all of its seconds of processor time"
    with suppress(ValueError):
        return f"ended by {signal.Signals(number).name}"
    return f"left Python with exit code {code}"


def sweep() -> None:
    """Kill what is left, until nothing is: what is killed may have started another in between."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        left = descendants()
        for sent in (signal.SIGSTOP, signal.SIGKILL):  # what stands still starts nothing
            for pid, _ in left:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, sent)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not left:
            return
        time.sleep(0.01)


def main() -> None:
    """Keep the worker until it ends, passes a limit, or is not wanted any more."""
    config = json.loads(sys.argv[1])
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    if LINUX:
        call("prctl", SUBREAPER, 1, 0, 0, 0)
    deadline = time.monotonic() + config["wall"]
    if config["uid"] is not None and not config["namespaces"]:
        os.chown(config["folder"], config["uid"], config["uid"])
    worker = launch(config)
    os.close(config["pipe"])
    reason = ""
    while not reason:
        pid, status = os.waitpid(worker, os.WNOHANG)
        if pid:
            reason = ended(os.waitstatus_to_exitcode(status))
        elif stopped or os.getppid() != config["parent"]:
            reason = "stopped"
        elif time.monotonic() > deadline:
            reason = f"not done after {config['wall']:g} s"
        else:
            reason = excess(config)
            time.sleep(0 if reason else POLL)
    sweep()
    shutil.rmtree(config["folder"], ignore_errors=True)
    if os.getppid() != config["parent"]:  # nobody else is left to do it
        above = os.path.dirname(config["folder"])
        with suppress(OSError):
            if os.path.basename(above).startswith("attnlib-grade-"):
                os.rmdir(above)
    print(json.dumps({"reason": reason}), flush=True)


if __name__ == "__main__":
    main()
