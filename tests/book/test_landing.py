"""The front page: minutes, titles, edition and formula come from elsewhere, for any table of contents."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import pytest
import yaml
from book.conftest import ROOT
from bs4 import BeautifulSoup
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from tools import notebooks
from tools.ext import landing
from tools.files import read_documents
from tools.repository import read_repository

INDEX = (ROOT / "index.md").read_text("utf8")


@pytest.mark.parametrize(
    ("words", "minutes"),
    [
        ("ten minutes", 10),
        ("twenty-five minutes", 25),
        ("half an hour", 30),
        ("forty minutes", 40),
        ("an hour", 60),
        ("15 minutes", 15),
    ],
)
def test_minutes(words: str, minutes: int) -> None:
    assert landing.read_minutes(words) == minutes


@pytest.mark.parametrize("words", ["a while", "minutes", "twenty-eleven minutes", "two days"])
def test_a_time_that_cannot_be_read_is_named(words: str) -> None:
    with pytest.raises(ValueError, match=f"or \"half an hour\", got '{words}'"):
        landing.read_minutes(words)


def test_lines() -> None:
    assert landing.read_lines("one: What?\n\n two-b: So: that.\n") == {"one": "What?", "two-b": "So: that."}
    with pytest.raises(ValueError, match="expected 'page: its line', got 'What\\?'"):
        landing.read_lines("one: a\nWhat?")


def test_edition_is_that_of_citation_and_package() -> None:
    edition = landing.read_edition(ROOT)
    assert f'version = "{edition["version"]}"\n' in (ROOT / "pyproject.toml").read_text("utf8")
    assert edition["address"] == read_repository(ROOT).site
    assert re.fullmatch(r"\d{1,2} [A-Z][a-z]+ 20\d\d", edition["date"])
    assert edition["date"].endswith(edition["year"])


def test_citation_keeps_a_group_of_authors_whole() -> None:
    edition = {"title": "T", "version": "1", "year": "2030", "authors": "The T authors", "address": "https://t/"}
    entry = landing.cite(edition)
    assert entry.startswith("@book{cost-of-attention,\n  author = {{The T authors}},\n")
    assert entry.count("{") == entry.count("}")
    assert "author = {Ada Byron and Bo Li}" in landing.cite({**edition, "authors": "Ada Byron and Bo Li"})


def test_formula_is_that_of_the_cost_model() -> None:
    soup = BeautifulSoup(landing.write_formula(), "html.parser")
    assert [tag.get_text() for tag in soup.select(".product")] == ["8nd²", "4n²d"]
    assert [tag.get_text() for tag in soup.select(".part")] == ["projections", "the quadratic core"]
    assert [tag.get_text() for tag in soup.select(".growth")] == ["linear in the length", "quadratic in the length"]


# ------------------------------------------------------------------ in Sphinx

PAGE = """# A book

```{landing} formula
```

```{landing} chart
```

{colab}`Run <chapters/one>` {repository}`licence <LICENSE>` {repository}`write <issues/new>`
{published}`paper <book.pdf>`
Version {edition}`version`, {edition}`date`.

```{landing} chapters
one: What is *one*?
absent: Of a page that this book has not.
```

```{landing} citation
```
"""
PARTS = """format: jb-book
root: index
parts:
  - caption: First
    chapters:
      - file: chapters/one
  - caption: Second
    chapters:
      - file: chapters/two
      - file: chapters/three
"""
FLAT = "format: jb-book\nroot: index\nchapters:\n  - file: chapters/one\n  - file: chapters/two\n"
CHAPTERS = {
    "one": "# One: is it a number?\n\n**You need** nothing. **Time** twenty-five minutes to read, one to run.\n",
    "two": "# Two\n\nText.\n",
    "three": "# Three\n\n**Time** half an hour\nto read.\n",
}


def build(place: Path, toc: str = PARTS, page: str = PAGE, **chapters: str) -> tuple[BeautifulSoup, str]:
    """Build a book of three pages; gives its front page and the warnings."""
    source = place / "source"
    (source / "chapters").mkdir(parents=True)
    (source / "LICENSE").write_text("MIT")
    (source / "CITATION.cff").write_text((ROOT / "CITATION.cff").read_text("utf8"))
    (source / "_toc.yml").write_text(toc)
    (source / "index.md").write_text(page)
    for name, text in {**CHAPTERS, **chapters}.items():
        (source / "chapters" / f"{name}.md").write_text(f"---\norphan: true\n---\n{text}")
    settings = {
        "extensions": ["myst_parser", "tools.ext.landing"],
        "html_theme": "basic",
        "html_static_path": [str(ROOT / "theme" / "static")],
        "language": "en",
    }
    warnings = StringIO()
    with patch_docutils(str(source)), docutils_namespace():
        app = Sphinx(source, None, place / "html", place / "trees", "html", settings, StringIO(), warnings)
        # The theme's options, which the plain theme of this test would refuse in a file of settings.
        options = {"repository_url": "https://github.com/us/book", "repository_branch": "trunk"}
        app.config.html_theme_options = options
        app.build()
    return BeautifulSoup((place / "html" / "index.html").read_text("utf8"), "html.parser"), warnings.getvalue()


def items(soup: BeautifulSoup) -> list[str]:
    return [" ".join(item.get_text(" ", strip=True).split()) for item in soup.select(".landing-part li")]


def test_chapters_of_the_parts(tmp_path: Path) -> None:
    soup, warnings = build(tmp_path)
    assert warnings == ""
    assert [tag.get_text() for tag in soup.select(".landing-part .rubric")] == ["First", "Second"]
    assert items(soup) == ["One 25 min What is one ?", "Two", "Three 30 min"]
    links = [str(a["href"]) for a in soup.select(".landing-part li a")]
    assert links == [f"chapters/{name}.html" for name in ("one", "two", "three")]
    assert soup.select_one(".landing-part em")


def test_a_book_without_parts_is_one_list(tmp_path: Path) -> None:
    soup, warnings = build(tmp_path, FLAT)
    assert warnings == ""
    assert not soup.select(".rubric")
    assert items(soup) == ["One 25 min What is one ?", "Two"]


def test_links_and_edition(tmp_path: Path) -> None:
    soup, _ = build(tmp_path)
    links = {a.get_text(): a["href"] for a in soup.select("p a.external")}
    assert links == {
        "Run": "https://colab.research.google.com/github/us/book/blob/trunk/notebooks/one.ipynb",
        "licence": "https://github.com/us/book/blob/trunk/LICENSE",
        "write": "https://github.com/us/book/issues/new",
        "paper": "https://us.github.io/book/book.pdf",
    }
    edition = landing.read_edition(ROOT)
    assert f"Version {edition['version']}, {edition['date']}." in soup.get_text()
    assert "@book{cost-of-attention," in soup.get_text()
    assert soup.select_one(".growth-chart svg desc")
    assert soup.select_one(".landing-formula")


def test_the_sheet_is_the_front_page_s_alone(tmp_path: Path) -> None:
    soup, _ = build(tmp_path)
    sheet = "link[href*='landing.css']"
    assert len(soup.select(sheet)) == 1
    other = (tmp_path / "html" / "chapters" / "one.html").read_text("utf8")
    assert not BeautifulSoup(other, "html.parser").select(sheet)


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (
            "# A\n\n```{landing} song\n```\n",
            "landing: expected one of formula, chart, chapters, citation, got 'song'",
        ),
        ("# A\n\n```{landing} chapters\nWhat?\n```\n", "landing: expected 'page: its line', got 'What?'"),
        ("# A\n\n{edition}`price`\n", "edition: expected one of title, version, date, year, authors, address, got"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, page: str, message: str) -> None:
    _, warnings = build(tmp_path, page=page)
    assert message in warnings


def test_a_chapter_whose_time_cannot_be_read_is_named(tmp_path: Path) -> None:
    soup, warnings = build(tmp_path, two="# Two\n\n**Time** a while to read.\n")
    assert "**Time** of chapters/two: expected a time such as" in warnings
    assert items(soup)[1] == "Two"


# ------------------------------------------------------------------ the book's own


def toc_parts() -> list[str]:
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text("utf8"))["parts"]
    return [chapter["file"].rpartition("/")[2] for part in parts for chapter in part["chapters"]]


def test_every_page_of_the_book_has_a_line_and_every_chapter_its_minutes() -> None:
    (body,) = re.findall(r"```\{landing\} chapters\n(.*?)```", INDEX, re.DOTALL)
    lines = landing.read_lines(body)
    assert set(lines) == set(toc_parts())
    assert all(line.endswith((".", "?")) for line in lines.values())
    for doc in read_documents(ROOT):
        text = (ROOT / f"{doc}.md").read_text("utf8")
        if ":class: objectives" in text:
            time = landing.TIME.search(text)
            assert time, doc
            assert 5 <= landing.read_minutes(time[1]) <= 60


def test_results_of_the_front_page_are_those_of_their_chapters(html: Path) -> None:
    """Each number is printed as its chapter glued it; `test_numbers` holds those to the library."""
    keys = re.findall(r"\{glue:text\}`([\w/-]+)\.md::([\w-]+):s`", INDEX)
    assert len(keys) == INDEX.count("{glue:text}") >= 6
    soup = BeautifulSoup((html / "index.html").read_text("utf8"), "html.parser")
    printed = [span.get_text() for span in soup.select("article .pasted-text")]
    book = notebooks.read_book(ROOT)
    glued = {doc: notebooks.read_glued(book, doc) for doc, _ in keys}
    assert printed == [glued[doc][key] for doc, key in keys]
    cards = soup.select(".landing-results li")
    assert len(cards) == 6
    for card in cards:
        assert len(card.select("a.reference.internal")) == 1
