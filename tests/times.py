"""Where the minutes of `make test` went: seconds of each kind of test, over every run of pytest in it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

BOOK = {"test_browser.py": "browser", "test_notebooks.py": "notebooks"}


def kind(path: Path, params: Mapping[str, Any]) -> str:
    """The row of a test: its mechanism in the contract suite, or its file; the examples of all modules in one."""
    if path.name == "contract.py":
        return f"contract: {params['mech'].name}" if "mech" in params else "contract"
    stem = path.stem.removeprefix("test_")
    if path.parent.name == "book":
        return BOOK.get(path.name, f"pages: {stem}")
    return f"library: {stem}" if path.name.startswith("test_") else "library: examples"


def merged(rows: Mapping[str, float]) -> dict[str, float]:
    """The rows, with those of less than a hundredth of the time put together as the others of their kind."""
    small = sum(rows.values()) / 100
    result: dict[str, float] = {}
    for row, spent in rows.items():
        kind = row.partition(": ")[0]
        name = f"{kind}: others" if spent < small and kind in ("library", "pages") else row
        result[name] = result.get(name, 0.0) + spent
    return result


def environment(prefix: str = sys.prefix) -> str:
    """What `make` calls the environment: `oldest` in .venv-oldest, '' in .venv."""
    return Path(prefix).name.removeprefix(".venv").removeprefix("-")


def shares(seconds: Mapping[str, float], wall: float, processes: int) -> dict[str, float]:
    """The seconds of each row that passed on the clock; what is left went into starting, collecting and waiting."""
    rows = {row: spent / processes for row, spent in sorted(seconds.items())}
    return rows | {"starting, collecting, waiting": max(0.0, wall - sum(rows.values()))}


def table(here: Mapping[str, float], others: Iterable[tuple[str, float]]) -> list[str]:
    """The lines to print: the runs in other environments, each as one row, then the rows of this one."""
    rows = [*((f"library, {name}", spent) for name, spent in others), *here.items()]
    total = sum(spent for _, spent in rows)
    width = max(len(row) for row, _ in rows)
    lines = [f"{row:<{width}}  {spent:6.0f} s  {100 * spent / total:3.0f} %" for row, spent in rows]
    return [*lines, f"{'together':<{width}}  {total:6.0f} s"]


def report(folder: Path, here: Mapping[str, float], name: str) -> list[str]:
    """Keep the run of an environment for the last of them, the main one, which prints the table."""
    if name:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(here))
        return []
    others = [(file.stem, sum(json.loads(file.read_text()).values())) for file in sorted(folder.glob("*.json"))]
    return table(merged(here), others)
