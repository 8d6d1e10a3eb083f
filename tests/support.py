"""What several test modules share. Not in conftest.py: with two of those, `import conftest` may find either."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import jax

FULL = os.environ.get("ATTNLIB_FULL") == "1"
"""`make test-full` runs every random trial; `make test` a share of them."""


@contextmanager
def float64() -> Iterator[None]:
    """Run JAX in 64 bits."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)
