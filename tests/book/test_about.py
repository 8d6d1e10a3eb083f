"""What pages say of themselves to search engines and where a link is shared."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest
import yaml
from bs4 import BeautifulSoup
from docutils import nodes

from attnlib.book import widgets
from tools import card
from tools.ext import about
from tools.ext.landing import read_edition
from tools.files import read_documents
from tools.repository import read_repository

ROOT = Path(__file__).resolve().parents[2]
SITE = read_repository(ROOT).site
DOCUMENTS = read_documents(ROOT)
CARD = ROOT / "theme" / "static" / card.CARD


def document(*parts: nodes.Node) -> Any:
    from docutils.utils import new_document

    made = new_document("x")
    made += nodes.section("", nodes.title("", "T"), *parts)
    return made


def test_description_is_the_first_sentences() -> None:
    box = nodes.admonition("", nodes.bullet_list("", nodes.list_item("", nodes.paragraph("", "Do this."))))
    first = nodes.paragraph("", "", nodes.Text("It takes "), nodes.math("", "n^2"), nodes.Text(" steps (Fig. 3)."))
    assert about.describe(document(box, first)) == "It takes n² steps."
    assert about.describe(document(box)) == "Do this."
    assert about.describe(document(first.deepcopy(), nodes.math_block("", "a = b"))) == "It takes n² steps. a = b"
    long = nodes.paragraph("", "A sentence of some length, again. " * 20)
    assert about.describe(document(long)).endswith("again.")
    assert len(about.describe(document(long.deepcopy()))) <= about.LONGEST


@pytest.mark.parametrize(
    ("text", "longest", "short"),
    [("One. Two three. Four.", 16, "One. Two three."), ("One two three", 10, "One two …"), ("a  b\nc", 9, "a b c")],
)
def test_shorten(text: str, longest: int, short: str) -> None:
    assert about.shorten(text, longest) == short


def test_addresses_begin_at_the_host() -> None:
    page = '<a href="index.html"><a href="#x"><a href="https://a.b/"><form action="./s"><html data-content_root="./">'
    whole = (
        '<a href="/b/index.html"><a href="#x"><a href="https://a.b/">'
        '<form action="/b/s"><html data-content_root="/b/">'
    )
    assert about.anchored(page, "/b/") == whole


def test_every_page_says_what_it_is(html: Path) -> None:
    titles, descriptions = [], []
    for name in DOCUMENTS:
        head = BeautifulSoup((html / f"{name}.html").read_text("utf8"), "html.parser").head
        assert head is not None
        said = {
            str(tag.get("property") or tag.get("name")): str(tag["content"]) for tag in head.select("meta[content]")
        }
        address = SITE if name == "index" else f"{SITE}{name}.html"
        assert [str(tag["href"]) for tag in head.select("link[rel=canonical]")] == [address]
        assert said["og:url"] == address
        assert said["description"] == said["og:description"]
        assert 40 <= len(said["description"]) <= about.LONGEST, (name, said["description"])
        assert not set("\\${}") & set(said["description"]), (name, said["description"])
        (title,) = head.select("title")
        titles.append(title.get_text())
        descriptions.append(said["description"])
        # A title has to say alone what the page is about.
        own = titles[-1].removesuffix(" — The Cost of Attention")
        assert name == "index" or len(own.split()) >= 3, own
        assert said["og:title"] == own
    assert [text for text, count in Counter(titles + descriptions).items() if count > 1] == []


def test_pages_to_be_found_are_listed(html: Path) -> None:
    tree = ElementTree.fromstring((html / "sitemap.xml").read_text("utf8"))
    listed = [loc.text for loc in tree.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")]
    assert listed == [SITE if name == "index" else f"{SITE}{name}.html" for name in DOCUMENTS]
    assert f"Sitemap: {SITE}sitemap.xml" in (html / "robots.txt").read_text("utf8")
    for name in about.UNLISTED:
        page = (html / f"{name}.html").read_text("utf8")
        assert '<meta name="robots" content="noindex" />' in page
        assert 'rel="canonical"' not in page


def test_card_is_what_the_cost_model_draws(html: Path, tmp_path: Path) -> None:
    width, height = card.SIZE
    kept = matplotlib.image.imread(CARD)
    assert kept.shape[:2] == (height, width)
    card.draw(str(yaml.safe_load((ROOT / "_config.yml").read_text("utf8"))["title"]), tmp_path / "card.png")
    drawn = matplotlib.image.imread(tmp_path / "card.png")
    # Another version of Matplotlib rounds letters otherwise.
    assert np.abs(kept - drawn).mean() < 0.01, "theme/static/card.png is not what `python -m tools.card` draws"
    assert all(term in card.SAYS for term in widgets.terms().values())
    assert (html / "_static" / card.CARD).read_bytes() == CARD.read_bytes()
    assert CARD.stat().st_size < 150_000


def test_a_card_has_its_page_s_drawing(html: Path) -> None:
    shown = {}
    for name in DOCUMENTS:
        page = BeautifulSoup((html / f"{name}.html").read_text("utf8"), "html.parser")
        said = {str(tag["property"]): str(tag["content"]) for tag in page.select("meta[property]")}
        drawing = page.select_one("div[class=picture] > svg")
        if drawing is None:
            assert (said["og:image"], said["og:image:alt"]) == (f"{SITE}_static/{card.CARD}", card.SAYS)
            continue
        title = drawing.find("title")
        assert title is not None
        assert said["og:image:alt"] == title.get_text()
        file = html / said["og:image"].removeprefix(SITE)
        width, height = card.SIZE
        pixels = matplotlib.image.imread(file)
        assert pixels.shape[:2] == (height, width)
        assert file.stat().st_size < 150_000
        # Something is drawn in the box and written beside it, and nothing reaches the edges.
        left, top, wide, high = card.BOX
        grey = pixels[..., :3].mean(axis=-1)
        assert (grey[top + 20 : top + high - 20, left + 20 : left + wide - 20] < 0.6).mean() > 0.002, name
        assert (grey[top:300, 60 : left - 20] < 0.5).mean() > 0.01, name
        assert (grey[:, left + wide + 5 :] > 0.9).all(), name
        assert (grey[:, left - 30 : left - 5] > 0.9).all(), name
        shown[name] = said["og:image"]
    assert len(set(shown.values())) == len(shown) >= 20


def test_every_page_says_whose_it_is(html: Path) -> None:
    edition = read_edition(ROOT)
    for name in (*DOCUMENTS, "404", "search"):
        page = BeautifulSoup((html / f"{name}.html").read_text("utf8"), "html.parser")
        (said,) = page.select(".edition")
        for fact in ("title", "version", "date", "authors"):
            assert edition[fact] in said.get_text(), (name, fact)
        there = [str(link["href"]) for link in said.select("a")]
        assert there[-1].endswith("#sec-cite")
        assert {"LICENSE", "LICENSE-text"} <= {link.rpartition("/")[2] for link in there}


def test_a_long_title_stays_above_the_book_s(tmp_path: Path) -> None:
    """Its letters are smaller; a short one's are the largest."""
    heights = []
    for title in ("A cost", "Transformers and their quadratically-growing self-attention " * 3):
        (tmp_path / "card.png").write_bytes(card.page_card(title, "<svg viewBox='0 0 1 1'></svg>", "B"))
        pixels = matplotlib.image.imread(tmp_path / "card.png")[..., :3].mean(axis=-1)
        rows = (pixels[:, 40 : card.BOX[0] - 10] < 0.5).any(axis=1)
        assert rows[50:400].any()
        assert not rows[400:530].any()  # the book's title stands on 556
        assert rows[530:560].any()
        heights.append(int(np.argmin(rows[np.argmax(rows) :])))  # of the first line
    assert heights[0] > 1.3 * heights[1]


def test_lines_break_at_spaces_and_hyphens() -> None:
    assert card.wrap("What self-attention costs", 44) == ["What self-", "attention costs"]
    assert card.wrap("unbreakable" * 9, 38) == ["unbreakable" * 9]
