"""What several test modules share. Not in conftest.py: with two of those, `import conftest` may find either."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser

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


class Html(HTMLParser):
    """Reads HTML: keeps its tags, its words in order, its text by tag; fails when a tag closes that is not open."""

    VOID = frozenset({"input", "br", "meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.words, self.text = [], [], [], {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data.strip())
        if self.open:
            self.text.setdefault(self.open[-1], []).append(data)

    def all(self, tag):
        """The attributes of every tag of that name."""
        return [attrs for name, attrs in self.tags if name == tag]
