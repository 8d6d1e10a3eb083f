"""What the built pages call things: every label's page, anchor and printed number, read from the HTML.

The numbers of theorems, figures and equations are Sphinx's; reading them back is shorter and surer than
counting again, and a link made here points at an anchor that exists.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bs4 import BeautifulSoup, Tag
from docutils.nodes import make_id


@dataclass(frozen=True)
class Target:
    """A thing one can link to: `doc` is its document, `anchor` its id, `text` what a reference prints."""

    doc: str
    anchor: str
    text: str


Labels = Mapping[str, tuple[Target, ...]]


def read_labels(html: Path, documents: Iterable[str]) -> Labels:
    """Collect the targets of the built pages; a page itself stands under the key `/<document>`."""
    found: dict[str, list[Target]] = {}
    for doc in documents:
        page = html / f"{doc}.html"
        if not page.is_file():
            raise FileNotFoundError(f"{page}: the page is not built; run `make book` first")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a page may hold a line that looks like an address to bs4
            article = BeautifulSoup(page.read_text("utf8"), "html.parser").select_one("article")
        if article is None:
            raise ValueError(f"{page}: no <article> in the page")
        found[f"/{doc}"] = [Target(doc, "", _heading(article))]
        for element in article.find_all(id=True):
            anchor = str(element["id"])
            found.setdefault(anchor, []).append(Target(doc, anchor, _text(element)))
    return {key: tuple(targets) for key, targets in found.items()}


def find(labels: Labels, label: str, doc: str) -> Target | None:
    """The target of a label as `doc` would reach it: its own page first; None when absent or ambiguous."""
    for key in dict.fromkeys((make_id(label), label)):
        targets = labels.get(key, ())
        here = [target for target in targets if target.doc == doc]
        if here or len(targets) == 1:
            return (here or targets)[0]
    return None


def _text(element: Tag) -> str:
    number = element.select_one(".eqno, .caption-number")
    if number is not None and element.name != "section":
        return _plain(number).rstrip(".")  # a table's caption goes on after "Table 7."
    caption = element.select_one("caption, figcaption, .caption-text")
    if caption is not None and element.name != "section":
        return _plain(caption)
    section = element if element.name == "section" else element.parent
    return _heading(section) if isinstance(section, Tag) else ""


def _heading(element: Tag) -> str:
    heading = element.select_one("h1, h2, h3, h4, h5, h6")
    return _plain(heading) if heading is not None else ""


def _plain(element: Tag) -> str:
    """The text of an element without the theme's permalink; mathematics back in dollars."""
    parts = []
    for piece in element.find_all(string=True):
        if not any("headerlink" in (parent.get("class") or []) for parent in piece.parents):
            parts.append(str(piece))
    return " ".join("".join(parts).replace(r"\(", "$").replace(r"\)", "$").split())
