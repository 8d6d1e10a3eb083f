"""The table that ends `make test`: each test in one row, each run of pytest counted, pytest's own last line last."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import times

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("path", "params", "row"),
    [
        ("tests/contract.py", {"mech": SimpleNamespace(name="attention")}, "contract: attention"),
        ("tests/contract.py", {}, "contract"),
        ("tests/test_flash.py", {"mech": 1}, "library: flash"),
        ("attnlib/clock.py", {}, "library: examples"),
        ("tests/book/test_browser.py", {}, "browser"),
        ("tests/book/test_notebooks.py", {}, "notebooks"),
        ("tests/book/test_build.py", {}, "pages: build"),
    ],
)
def test_every_test_has_a_row(path: str, params: dict[str, object], row: str) -> None:
    assert times.kind(ROOT / path, params) == row


def test_rows_add_up_to_the_clock(tmp_path: Path) -> None:
    oldest = times.shares({"contract: attention": 30.0, "contract": 10.0}, 25.0, 2)
    assert oldest == {"contract": 5.0, "contract: attention": 15.0, "starting, collecting, waiting": 5.0}
    assert times.report(tmp_path / "times", oldest, "oldest") == []
    here = times.shares({"pages": 60.0}, 75.0, 1)
    lines = times.report(tmp_path / "times", here, "")
    assert [line.split("  ")[0] for line in lines] == [
        "library, oldest", "pages", "starting, collecting, waiting", "together",
    ]  # fmt: skip
    assert [re.findall(r"(\d+) s", line) for line in lines] == [["25"], ["60"], ["15"], ["100"]]
    assert [re.findall(r"(\d+) %", line) for line in lines] == [["25"], ["60"], ["15"], []]


def test_small_rows_are_one() -> None:
    rows = {
        "library: a": 600.0,
        "library: b": 5.0,
        "library: c": 4.0,
        "pages: d": 1.0,
        "browser": 2.0,
        "contract": 388.0,
    }
    assert times.merged(rows) == {
        "library: a": 600.0, "library: others": 9.0, "pages: others": 1.0, "browser": 2.0, "contract": 388.0,
    }  # fmt: skip


@pytest.mark.parametrize(("prefix", "name"), [("/a/.venv", ""), ("/a/.venv-oldest", "oldest")])
def test_an_environment_has_the_name_that_make_gives_it(prefix: str, name: str) -> None:
    assert times.environment(prefix) == name


def test_a_run_prints_the_table_and_then_its_own_last_line(tmp_path: Path) -> None:
    """Two processes, one test of the contract and another, after a run in another environment."""
    (tmp_path / "oldest.json").write_text(json.dumps({"contract": 40.0, "library: flash": 2.0}))
    chosen = [
        "-k",
        "(block_sizes and window) or sample_is_clean",
        "tests/contract.py",
        "tests/book/test_lint_numbers.py",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", *chosen],
        cwd=ROOT, env={**os.environ, "ATTNLIB_TIMES": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert re.fullmatch(r"\d+ passed in [\d.]+s.*", done.stdout.splitlines()[-1])
    rows = re.search(r"where the time went =+\n(.*?\n)together", done.stdout, re.DOTALL)
    assert rows
    names = [re.split(r"  +", line)[0] for line in rows[1].splitlines()]
    assert names[0] == "library, oldest"
    assert "contract: window_attention" in names
    assert {"pages: lint_numbers", "pages: others"} & set(names)
    assert "42 s" in rows[1].splitlines()[0]
    assert names[-1] == "starting, collecting, waiting"


def test_without_being_asked_a_run_prints_no_table() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "ATTNLIB_TIMES"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/book/test_lint_numbers.py", "--collect-only"],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "where the time went" not in done.stdout


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process runs all tests")
def test_a_file_stays_in_one_process(request: pytest.FixtureRequest) -> None:
    """Else browsers, builds and prints are made in each, which nobody would see but by the clock."""
    assert request.node.nodeid.endswith("@tests/book/test_times.py")
