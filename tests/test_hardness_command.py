"""The command: its output as the SAT competitions have it, its exit status, what it refuses; memory at full size."""

import bz2
import gzip
import json
import lzma
import subprocess
import sys

import jax
import numpy as np
import pytest
from support import FULL
from test_hardness_cnf import cadical

from attnlib.hardness import CNF, falsified, memory_needed, pigeonhole, planted_ksat, random_ksat, write_dimacs
from attnlib.hardness.__main__ import main


def values(lines):
    """The assignment of the v lines: checked to be one number for each variable, then 0."""
    literals = [int(x) for line in lines if line.startswith("v ") for x in line.split()[1:]]
    assert literals[-1] == 0
    assert [abs(x) for x in literals[:-1]] == list(range(1, len(literals)))
    return np.array([x > 0 for x in literals[:-1]], bool)


@pytest.fixture
def run(tmp_path, capsys):
    def run(text, *options):
        path = tmp_path / "f.cnf"
        path.write_text(text)
        before = jax.config.jax_enable_x64
        try:
            status = main([str(path), *options])
        finally:
            jax.config.update("jax_enable_x64", before)
        out, err = capsys.readouterr()
        return status, out.splitlines(), err.replace(str(path), "f.cnf")

    return run


@pytest.mark.parametrize(
    ("options", "formula"),
    [
        ((), planted_ksat(12, 60, 3, seed=0)[0]),
        (("--kernel", "attention"), random_ksat(9, 30, 3, seed=1)),
        (("--dtype", "bfloat16"), pigeonhole(2)),
        (("--dtype", "float64", "--kernel", "attention"), random_ksat(7, 28, 3, seed=2)),
        (("--dtype", "float16", "--memory", "0.5"), CNF(1, ((1,), (-1,)))),
        ((), CNF(0, ())),
        ((), CNF(0, ((),))),
        ((), CNF(24, tuple((-i,) for i in range(1, 25)))),
    ],
    ids=str,
)
def test_answers(run, options, formula):
    status, lines, err = run(write_dimacs(formula, "a test"), *options)
    assert err == ""
    assert {line[:2] for line in lines} <= {"c ", "s ", "v "}
    assert max(map(len, lines)) <= 110
    solutions = [line for line in lines if line.startswith("s ")]
    if cadical(formula):
        assert (status, solutions) == (10, ["s SATISFIABLE"])
        x = values(lines)
        assert len(x) == formula.variables
        assert falsified(formula, x) == 0
    else:
        assert (status, solutions) == (20, ["s UNSATISFIABLE"])
        assert not any(line.startswith("v") for line in lines)
    said = "\n".join(lines)
    for part in ("variables", "tokens", "bytes" if formula.variables < 2 else "iB", " s,", "n^1.9", "hypothesis"):
        assert part in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p cnf 3 1\n1 x 0\n", "f.cnf:2: expected a literal or 0, got 'x'"),
        ("p cnf 3 2\n1 0\n", "f.cnf:2: expected 2 clauses as in the header, got 1 at the end of the file"),
        ("", "f.cnf:1: expected 'p cnf VARIABLES CLAUSES', got the end of the file"),
    ],
)
def test_malformed(run, text, message):
    assert run(text) == (2, [], message + "\n")


def test_unreadable(tmp_path, capsys):
    assert main([str(tmp_path / "none.cnf")]) == 2
    assert capsys.readouterr().err == f"{tmp_path}/none.cnf: No such file or directory\n"
    assert main([str(tmp_path)]) == 2
    assert "directory" in capsys.readouterr().err
    for end in ("gz", "xz", "bz2"):
        path = tmp_path / f"none.cnf.{end}"
        for data in (b"p cnf 1 1\n1 0\n", COMPRESS[end](b"p cnf 1 1\n1 0\n")[:-5]):
            path.write_bytes(data)
            assert main([str(path)]) == 2
            out, err = capsys.readouterr()
            assert out == ""
            assert err.startswith(f"{path}: ")
            assert err.count("\n") == 1


EVERY_BYTE = bytes(i for i in range(256) if i != ord("\n"))
COMPRESS = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}


@pytest.mark.parametrize("compression", [None, *COMPRESS])
def test_any_byte_in_a_comment(tmp_path, capsys, compression):
    data = b"c " + EVERY_BYTE + b"\np cnf 2 2\n1 0\nc" + EVERY_BYTE[::-1] + b"\n-1 2 0\nc \xe4\n"
    path = tmp_path / ("f.cnf" if compression is None else f"f.cnf.{compression}")
    path.write_bytes(data if compression is None else COMPRESS[compression](data))
    assert main([str(path)]) == 10
    out, err = capsys.readouterr()
    assert (values(out.splitlines()).tolist(), err) == ([True, True], "")


@pytest.mark.parametrize(
    ("data", "line", "got"),
    [
        (b"c \xff\np cnf 1 1\n\xff\xfe 0\n", 3, r"'\\xff\\xfe'"),
        (b"c\np cnf 1 1 \xe4\n1 0\n", 2, r"'p cnf 1 1 \\xe4'"),
        ("p cnf 1 1\n1 0\n".encode("utf-16"), 1, r"\xff"),
    ],
)
def test_other_bytes_are_refused_with_the_line(tmp_path, capsys, data, line, got):
    path = tmp_path / "f.cnf"
    path.write_bytes(data)
    assert main([str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{path}:{line}: expected")
    assert got in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("variables", "options", "parts"),
    [
        (400, (), ("2^200 tokens", "2^385 bytes", "flash_attention")),
        (40, ("--memory", "0.125"), ("2^20 tokens", "MiB of memory", "128 MiB may be used")),
        (32, ("--kernel", "attention", "--memory", "8"), ("2^16 tokens", "32 GiB", "attention; 8 GiB")),
    ],
)
def test_too_large_is_refused_beforehand(run, variables, options, parts):
    status, out, err = run(f"p cnf {variables} 3\n1 0 2 0 3 0\n", *options)
    assert (status, out) == (3, [])
    assert err.count("\n") == 1
    assert all(part in err for part in parts), err


@pytest.mark.parametrize("options", [["--dtype", "int8"], ["--kernel", "none"], ["--memory", "much"], []])
def test_usage(options, capsys, tmp_path):
    with pytest.raises(SystemExit) as exit:
        main([*options, *([str(tmp_path)] if options else [])])
    assert exit.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("python -m attnlib.hardness: ")
    assert err.count("\n") == 1


def test_as_a_program():
    """As it is called: reads the standard input, ends with the status of the competitions."""
    command = [sys.executable, "-m", "attnlib.hardness", "-"]
    text = write_dimacs(CNF(40, ((1, -2), (40,))))
    refused = subprocess.run([*command, "--memory", "0.01"], input=text, capture_output=True, text=True)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert refused.stderr.startswith("<stdin>: 40 variables are 2^20 tokens")
    text = "c \xe4\np cnf 3 2\n1 2 0\n-1\n0\n%\n0\n".encode("latin-1")
    for data in (text, text.replace(b"\n", b"\r")):
        done = subprocess.run(command, input=data, capture_output=True)
        assert (done.returncode, done.stderr) == (10, b"")
        assert done.stdout.decode().splitlines()[-2:] == ["s SATISFIABLE", "v -1 2 -3 0"]


CHILD = """
import json, sys, time
from attnlib import attention, flash_attention, hardness
from attnlib.hardness.__main__ import _peak_memory
v, m, seed, kernel = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
f = hardness.random_ksat(v, m, 3, seed=seed)
start, before = time.perf_counter(), _peak_memory()
d = hardness.decide(f, attention={"attention": attention, "flash_attention": flash_attention}[kernel])
good = d.assignment is not None and hardness.falsified(f, d.assignment).item() == 0
print(json.dumps([d.satisfiable, good, _peak_memory(), before, time.perf_counter() - start]))
"""


@pytest.mark.parametrize("v", [24, 26] if FULL else [20])
@pytest.mark.parametrize("ratio", [4.26, 5.2])
@pytest.mark.parametrize("kernel", ["attention", "flash_attention"])
def test_large_formulas_in_little_memory(v, ratio, kernel):
    """Right in float32, and below 2 GiB for the whole process with the tiled kernel."""
    m = round(ratio * v)
    for seed in range(3 if FULL else 1):
        command = [sys.executable, "-c", CHILD, str(v), str(m), str(seed), kernel]
        child = subprocess.run(command, capture_output=True, text=True, check=True, timeout=500)
        satisfiable, good, peak, before, seconds = json.loads(child.stdout)
        print(v, m, kernel, satisfiable, f"{peak >> 20} MiB, of them new {(peak - before) >> 20}, {seconds:.1f} s")
        assert satisfiable == good == cadical(random_ksat(v, m, 3, seed=seed))
        assert peak < 2 * 2**30
        if kernel == "flash_attention":
            # What is refused beforehand is refused by an estimate: 300 MiB are the compiler's.
            assert peak - before < memory_needed(v, m, attention=kernel) + 300 * 2**20
