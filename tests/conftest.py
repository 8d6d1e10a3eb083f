"""Strict numerics for every test: no silent change of dtype, no silent broadcasting of ranks, two CPU devices."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jaxtyping
import numpy as np
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file in one process, whose fixtures its tests share; tests marked `anywhere` go where there is room."""
    for item in items:
        if not item.get_closest_marker("anywhere"):
            item.add_marker(pytest.mark.xdist_group(item.location[0]))


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
