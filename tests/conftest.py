"""Strict numerics for every test: no silent change of dtype, no silent broadcasting of ranks, two CPU devices.

With ATTNLIB_TIMES, a folder, a run ends with the table of where its time went (`make test` sets it).
"""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jaxtyping
import numpy as np
import pytest
import times
from support import FULL

BEGAN = time.time()

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 2)


@pytest.hookimpl(tryfirst=True)  # before the hook of xdist, which reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a file in one process, whose fixtures its tests share; tests marked `anywhere` go where there is room.

    Of a test marked `sample(k)`, every k-th case is run, unless all trials are asked for. Choose a k without a factor
    in common with the numbers of values of its parameters: then no value of a parameter is always left out.

    Tests marked `published` run where they are asked for by that name: in the environment that has what they import.
    """
    seen: dict[str, int] = defaultdict(int)
    left_out = set()
    for item in items:
        if item.get_closest_marker("published") and "published" not in config.getoption("markexpr"):
            left_out.add(item)
        mark = item.get_closest_marker("sample")
        if mark and not FULL:
            test = item.nodeid.partition("[")[0]
            if seen[test] % mark.args[0]:
                left_out.add(item)
            seen[test] += 1
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]
    for item in items:
        params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        item.user_properties.append(("kind", times.kind(item.path, params)))
        if not item.get_closest_marker("anywhere"):
            item.add_marker(pytest.mark.xdist_group(item.location[0]))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Compile without LLVM's optimisations, which take half of a test's time, unless the test is marked `optimised`.

    On the oldest versions not those either. What XLA makes of a program, its operations and memory, is the same.
    `make test-full` compiles as users do.
    """
    marked = item.get_closest_marker("optimised") is not None
    optimised = FULL or (marked and times.environment() != "oldest")
    jax.config.update("jax_disable_most_optimizations", not optimised)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print where the time went, before the line that says what passed; xdist's workers have no terminal."""
    folder = os.environ.get("ATTNLIB_TIMES")
    if not folder:
        return
    spent: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                spent[dict(report.user_properties)["kind"]] += report.duration
    wall, processes = time.time() - BEGAN, config.getoption("numprocesses", None) or 1
    here = times.shares(spent, wall, processes)
    if lines := times.report(config.rootpath / folder, here, times.environment()):
        terminalreporter.section("where the time went")
        terminalreporter.write("\n".join(lines) + "\n")


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator of random numbers, the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture
def untyped() -> Iterator[None]:
    """Switch the executed shape annotations off, as users have them: bad input must meet our own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def refuses(untyped: None) -> Callable[..., None]:
    """Return a checker that a call raises a ValueError naming the argument, what was expected and what came."""

    def check(argument: str, expected: str, got: str, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        with pytest.raises(ValueError, match=rf"(?s)\b{argument}\b.*: expected .*got") as error:
            fn(*args, **kwargs)
        assert expected in str(error.value), str(error.value)
        assert got in str(error.value).split("got", 1)[1], str(error.value)

    return check
