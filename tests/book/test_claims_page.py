"""The page of claims: the directive in a book of two pages, and every claim on the built page."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from book.conftest import ROOT
from bs4 import BeautifulSoup, Tag
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from attnlib.book import claims


def build(root: Path, page: str) -> tuple[BeautifulSoup, str]:
    """A book of a page and a chapter that has every label the claims lead to."""
    (root / "chapters").mkdir()
    labels = "\n\n".join(f"({label})=\n## At {label}" for label in sorted({claim.see for claim in claims.CLAIMS}))
    (root / "chapters" / "all.md").write_text(f"# Everything: in one place\n\n{labels}\n", "utf8")
    (root / "index.md").write_text(page, "utf8")
    settings = {"extensions": ["myst_parser", "tools.ext.claims"], "myst_enable_extensions": ["dollarmath"]}
    warnings = StringIO()
    with patch_docutils(str(root)), docutils_namespace():
        app = Sphinx(root, None, root / "out", root / "trees", "html", settings, StringIO(), warnings, parallel=0)
        app.build()
    return BeautifulSoup((root / "out" / "index.html").read_text("utf8"), "html.parser"), warnings.getvalue()


def words(element: Tag) -> str:
    """The text of an element in one line, without the quotation marks that a browser writes in another way."""
    return " ".join(element.get_text().split()).replace("’", "'")


def test_a_claim_is_a_term_with_a_verdict_and_a_statement(tmp_path: Path) -> None:
    soup, warnings = build(tmp_path, "# A book\n\n```{claims} recurrence\n```\n")
    assert "undefined label" not in warnings
    terms = soup.select("dl.claims > dt")
    shown = claims.select("recurrence")
    assert [term["id"] for term in terms] == [f"claim-{claim.key}" for claim in shown]
    for term, claim in zip(terms, shown, strict=True):
        said = term.find_next_sibling("dd")
        assert isinstance(said, Tag)
        verdict, mark = term.select_one(".claim-verdict"), term.select_one(".claim-mark")
        assert verdict is not None
        assert mark is not None
        assert words(verdict) == f"{claims.VERDICTS[claim.verdict].mark} {claim.verdict}"
        assert mark["aria-hidden"] == "true"  # the words say it
        kind = "claim-" + claim.verdict.replace(" ", "-")
        assert kind in term["class"]
        assert kind in said["class"]
        assert len(said.select("strong")) == 1
        links = [link["href"] for link in said.select(".claim-see a")]
        assert links == [f"chapters/all.html#{claim.see}", "chapters/all.html"]
        assert words(said.select(".claim-see")[0]) == f"See At {claim.see} in Everything"
    assert "“" in terms[0].get_text()
    assert "{" not in " ".join(node.get_text() for node in soup.select("dl.claims > dd p:first-child strong"))


def test_the_table_counts_every_verdict(tmp_path: Path) -> None:
    soup, _ = build(tmp_path, "# A book\n\n```{claims} verdicts\n```\n\n```{claims} drawing\n```\n")
    rows = [[words(cell) for cell in row.select("td")] for row in soup.select("table.verdicts tbody tr")]
    tally = claims.tally()
    assert [row[0] for row in rows] == [*(f"{claims.VERDICTS[name].mark} {name}" for name in tally), "all"]
    assert [int(row[2]) for row in rows] == [*tally.values(), len(claims.CLAIMS)]
    assert all(row[1] for row in rows[:-1])
    assert len(soup.select(".claims-drawing svg[role=img] > desc")) == 1


def test_an_unknown_group_is_an_error(tmp_path: Path) -> None:
    _, warnings = build(tmp_path, "# A book\n\n```{claims} everything\n```\n")
    assert "claims: expected one of growth, memory" in warnings
    assert "drawing, got 'everything'" in warnings


def test_every_verdict_has_a_colour_in_the_sheet() -> None:
    sheet = (ROOT / "theme" / "static" / "book.css").read_text("utf8")
    for name in claims.VERDICTS:
        if claims.VERDICTS[name].tone != "muted":
            assert f"dl.claims > .claim-{name.replace(' ', '-')})" in sheet


# ------------------------------------------------------------------ the built book


def page(html: Path) -> BeautifulSoup:
    """The page of the built book."""
    return BeautifulSoup((html / "chapters" / "claims.html").read_text("utf8"), "html.parser")


def test_built_page_shows_every_claim(html: Path) -> None:
    soup = page(html)
    terms = soup.select("dl.claims > dt")
    assert [term["id"] for term in terms] == [f"claim-{claim.key}" for claim in claims.CLAIMS]
    assert [words(verdict).split(" ", 1)[1] for verdict in soup.select("dl.claims .claim-verdict")] == [
        claim.verdict for claim in claims.CLAIMS
    ]
    titles = [words(title).rstrip("#") for title in soup.select("section:has(> dl.claims) > h2")]
    assert titles == list(claims.GROUPS.values())


@pytest.mark.parametrize("claim", claims.CLAIMS, ids=lambda claim: claim.key)
def test_built_claim_has_its_number_and_leads_to_its_section(claim: claims.Claim, html: Path) -> None:
    term = page(html).find(id=f"claim-{claim.key}")
    assert isinstance(term, Tag)
    said = term.find_next_sibling("dd")
    assert isinstance(said, Tag)
    number = claim.said().split("**")[1]
    (strong,) = said.select("strong")
    assert words(strong) == " ".join(number.split())
    section, chapter = (str(link["href"]) for link in said.select(".claim-see a"))
    file, _, label = section.partition("#")
    assert chapter == file
    assert BeautifulSoup((html / "chapters" / file).read_text("utf8"), "html.parser").find(id=label) is not None
    assert label == claim.see
