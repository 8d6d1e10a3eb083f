"""The interview's sheet: the style in which it prints, ``theme/static/interview.css``."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

PAGE = "chapters/interview"


def add_style(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Give the page its style sheet."""
    if pagename == PAGE:
        app.add_css_file("interview.css", priority=903)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the style."""
    app.connect("html-page-context", add_style)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
