"""What the tests of the book share: where it is, and what to do when it has not been built."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def absent(what: str) -> None:
    """Skip a test that needs something absent; in continuous integration that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI is set", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def html() -> Path:
    """The pages of the book, as `make book` built them."""
    pages = ROOT / "_build" / "html"
    if not (pages / "index.html").is_file():
        absent("the book has not been built: run `make book`")
    return pages
