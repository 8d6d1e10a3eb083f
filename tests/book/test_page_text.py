"""The text of each page is the text of its source: nothing lost, doubled or moved on the way, over all paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from book.conftest import ROOT
from bs4 import BeautifulSoup
from markdown_it.tree import SyntaxTreeNode

from tools import myst, notebooks

BOOK = notebooks.read_book(ROOT)
PARSER = myst.make_parser(list(BOOK.extensions))
# Boxes whose content is text; of a quiz, a figure or a table the text is laid out anew.
BOXES = re.compile(r"prf:\w+|exercise|solution|admonition|note|tip|important|warning|hint|seealso")
FORMULA = "□"
# What a role or a link without words becomes: a number, a title, names and a year.
RESOLVED = f"[^{FORMULA}]{{1,250}}?"
SAME = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "\N{NO-BREAK SPACE}": " "})


def plain(text: str) -> str:
    """Text with straight quotes, short dashes and single spaces: those that Sphinx writes differ."""
    return re.sub(r"\s+", " ", re.sub("-{2,3}", "-", text.translate(SAME).replace("…", "...")))


def paragraphs(text: str) -> Iterator[str]:
    """A pattern for each paragraph of a source, those in boxes included."""
    for node in SyntaxTreeNode(PARSER.parse(text)).walk():
        if node.type == "inline" and node.parent and node.parent.type == "paragraph":
            yield "".join(map(pattern, node.children)).strip()
        elif (
            node.type in ("fence", "colon_fence") and (box := myst.read_directive(node)) and BOXES.fullmatch(box.name)
        ):
            yield from paragraphs(box.body)


def pattern(node: SyntaxTreeNode) -> str:
    """What an inline node looks like in the page."""
    match node.type:
        case "text" | "code_inline":
            return re.escape(plain(node.content))
        case "softbreak" | "hardbreak":
            return r"\ "
        case "math_inline":
            return FORMULA
        case "em" | "strong" | "s":
            return "".join(map(pattern, node.children))
        case "link" if node.children:
            return "".join(map(pattern, node.children))
        case "image":
            return ""
    return RESOLVED


def shown(html: str) -> str:
    """The text of a page, formulas as one sign each."""
    article = BeautifulSoup(html, "html.parser").find("article")
    assert article is not None
    for node in article.select(".headerlink, nav, script, style, .cell, div.math"):
        node.decompose()
    for node in article.select("span.math"):
        node.replace_with(FORMULA)
    return plain(article.get_text())


def missing(source: str, page: str) -> list[str]:
    """The paragraphs of a source that the page does not show as they are written."""
    return [p for p in paragraphs(source) if not re.search(p.replace("\\ ", r"\s?"), page)]


@pytest.mark.parametrize("document", [name for name in BOOK.documents if name != "chapters/status"])
def test_text_of_a_page(document: str, html: Path) -> None:
    page = shown((html / f"{document}.html").read_text("utf8"))
    assert missing((ROOT / f"{document}.md").read_text("utf8"), page) == []
    # A full stop that was moved ends beside another.
    assert re.findall(r".{0,30}(?:(?<!\.)\.\.(?!\.)|,,|;;| [.,;](?=\s|$)).{0,10}", page) == []


def test_a_lost_and_a_moved_point_are_seen() -> None:
    source = "By {prf:ref}`thm-a` it holds. If $p$, then *more*, see [](x.md).\n"
    fine = "By Theorem 16 it holds. If □, then more, see Taylor."
    assert missing(source, fine) == []
    for wrong in (fine.replace(". If", " If"), fine.replace(" □,", " □"), fine.replace("more,", "more")):
        assert len(missing(source, wrong)) == 1
