"""What the tests of the book share: where it is, and what to do when it has not been built."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from book.pages import serve
from playwright.sync_api import Browser

from tools.chromium import browser, chromium

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


@pytest.fixture(scope="module")  # not the session: Playwright keeps a loop running, and notebooks start one, too
def running() -> Iterator[Browser]:
    """One browser for all tests of a file."""
    if chromium() is None:
        absent("no Chromium on this machine: install the package 'chromium', or set CHROMIUM")
    with browser() as started:
        yield started


@pytest.fixture(scope="session")
def site(html: Path) -> Iterator[str]:
    """Address of the built book."""
    with serve(html) as address:
        yield address
