"""Decide a formula in DIMACS format by one call of self-attention: `python -m attnlib.hardness formula.cnf`."""

from __future__ import annotations

import argparse
import bz2
import gzip
import lzma
import math
import os
import resource
import signal
import sys
import time
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from attnlib import registry
from attnlib._numbers import binary
from attnlib.cli import Parser
from attnlib.hardness.cnf import CNF, read_dimacs
from attnlib.hardness.decision import Decision, decide, memory_needed
from attnlib.hardness.vectors import LARGEST

SATISFIABLE, UNSATISFIABLE, UNKNOWN, BAD_FILE, TOO_LARGE = 10, 20, 0, 2, 3
OPEN: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
WIDTH = 78  # of a line of values; the competitions allow 4096

DESCRIPTION = """\
Decide whether a formula in conjunctive normal form can be satisfied, by one call of self-attention over
2^(variables/2) tokens. Input and output follow the conventions of the SAT competitions."""
STATUS = """\
exit status: 10 satisfiable, 20 unsatisfiable, 0 unknown (the kernel said yes and its witness is none),
2 wrong usage, or a file that cannot be read or is malformed, 3 the formula needs more memory than there is."""


def kernels() -> list[str]:
    """Softmax attention over every pair. What approximates it, or leaves pairs out, decides nothing."""
    return [entry.name for entry in registry.MECHANISMS if entry.exact and not entry.options]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = Parser("python -m attnlib.hardness", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("formula", help="a file in DIMACS format (.gz, .xz, .bz2: compressed), or -: standard input")
    parser.add_argument("--kernel", choices=kernels(), default="flash_attention", help="default: %(default)s")
    parser.add_argument("--dtype", choices=("float64", "float32", "float16", "bfloat16"), default="float32")
    parser.add_argument("--memory", type=_gib, metavar="GIB", help="how much may be used; default: what is free")
    options = parser.parse_args(arguments)
    if options.dtype == "float64":
        jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]

    name = "<stdin>" if options.formula == "-" else options.formula
    try:
        cnf = read_dimacs(_read(options.formula), name)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return _fail(f"{name}: {reason}", BAD_FILE)
    except ValueError as error:
        return _fail(str(error).removeprefix("read_dimacs: text: "), BAD_FILE)

    needed = memory_needed(cnf.variables, len(cnf.clauses), attention=options.kernel, dtype=options.dtype)
    free = options.memory if options.memory is not None else _free_memory()
    if needed > free or cnf.variables > LARGEST:
        return _fail(
            f"{name}: {cnf.variables} variables are 2^{(cnf.variables + 1) // 2} tokens, which need "
            f"{_bytes(needed)} of memory with {options.kernel}; {_bytes(free)} may be used",
            TOO_LARGE,
        )
    _sizes(cnf, options.kernel, options.dtype, needed)
    start = time.perf_counter()
    decision = decide(cnf, attention=registry.mechanism(options.kernel).fn, dtype=options.dtype)
    _comment(f"one call of attention: {time.perf_counter() - start:.2f} s, compilation and the rest included")
    _comment(f"peak memory of this process, Python and JAX included: {_bytes(_peak_memory())}")
    return _answer(decision)


def _sizes(cnf: CNF, kernel: str, dtype: str, needed: int) -> None:
    """Say what is about to be run, and what a faster attention would mean."""
    n = 1 << (cnf.variables + 1) // 2
    _comment(f"{cnf.variables} variables, {len(cnf.clauses)} clauses")
    _comment(f"{n + 1} tokens, {kernel} in {dtype}, arrays of {_bytes(needed)} at most")
    _comment(f"attention compares {n}^2 = {n * n} pairs; the assignments are 2^{cnf.variables} of them")
    _comment(f"in n^1.9 steps it would be {n**1.9:.3g}, and formulas on v variables take about 2^(0.95 v);")
    _comment("that no algorithm does this, with clauses of any width, is a hypothesis that nobody has proved")


def _answer(decision: Decision) -> int:
    """Print the verdict and the assignment, which `decide` has checked; return the exit status."""
    t = decision.temperature
    _comment(f"largest output {np.nanmax(decision.outputs, initial=-math.inf):.4f}, yes if above {t.theta:g}")
    _comment(f"proved: {t.yes:.4f} or more for yes, {t.no:.4f} or less for no, up to rounding")
    if not decision.satisfiable:
        print("s UNSATISFIABLE")
        return UNSATISFIABLE
    if decision.assignment is None:
        print("s UNKNOWN")
        return UNKNOWN
    print("s SATISFIABLE")
    line = "v"
    for literal in (*((i if x else -i) for i, x in enumerate(decision.assignment.tolist(), 1)), 0):
        if len(line) + 1 + len(str(literal)) > WIDTH:
            print(line)
            line = "v"
        line += f" {literal}"
    print(line)
    return SATISFIABLE


def _read(path: str) -> str:
    r"""Return the text of a file, decompressed if its name says so; bytes that are no UTF-8 as \xff.

    A comment may hold any bytes. Elsewhere that is as wrong as they are, and `read_dimacs` names the line.
    """
    if path == "-":
        data = sys.stdin.buffer.read()
    else:
        with OPEN.get(os.path.splitext(path)[1], open)(path, "rb") as file:
            data = file.read()
    return data.decode("utf-8", errors="backslashreplace")


def _free_memory() -> int:
    """Return how many bytes this process may use: free memory, or what is left of a limit on the container."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            free = 1024 * int(file.read().split("MemAvailable:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        pass  # another system than Linux: all there is
    try:
        with open("/sys/fs/cgroup/memory.max") as limit, open("/sys/fs/cgroup/memory.current") as used:
            free = min(free, int(limit.read()) - int(used.read()))
    except (OSError, ValueError):
        pass  # no limit: the file says "max" or is not there
    return free


def _peak_memory() -> int:
    """Return the largest number of bytes this process has held."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return 1024 * int(file.read().split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):  # not Linux, or a kernel that does not say
        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return highest if sys.platform == "darwin" else 1024 * highest


def _gib(text: str) -> int:
    try:
        return max(1, int(float(text) * 2**30))
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"expected a number of GiB, got {text!r}") from None


def _bytes(count: int) -> str:
    return f"2^{count.bit_length() - 1} bytes" if count >= 1 << 60 else binary(count, "bytes")


def _comment(text: str) -> None:
    print(f"c {text}")


def _fail(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end quietly when `| head` has seen enough
    sys.exit(main())
