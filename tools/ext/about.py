"""What a page says of itself to whoever has not opened it: search engines, and cards where a link is shared.

Each page gets a title that speaks alone (``page_title`` at the head of its source, where its heading does not), a
description, which is its first sentences, its address, and a card with its first drawing, or the book's. Beside the
pages stand ``sitemap.xml``, ``robots.txt`` and ``404.html``. Every address is that of `repository` in _config.yml; no
browser loads one of them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

from tools import card
from tools.ext.landing import read_edition
from tools.ext.search import readable
from tools.files import read_documents
from tools.mathml import mathml
from tools.repository import Repository, make_repository

LONGEST = 200  # what is shown of a description
CARDS = "cards"  # folder of the pages' own, beside the book's
DRAWING = re.compile(r'<div class="picture">(<svg\b.*?</svg>)', re.DOTALL)
# Found by an address that is not the book's, or by none: nothing to be listed.
UNLISTED = ("search", "404")


def words(node: nodes.Node) -> str:
    """The text of a part of a page, its formulas in Unicode."""
    text = str(node.astext())
    if isinstance(node, (nodes.math, nodes.math_block)):
        try:
            return readable(mathml(text))
        except ValueError:  # said by tools.ext.formulas
            return text
    if isinstance(node, nodes.Text):
        return text
    if isinstance(node, (nodes.raw, nodes.image)):
        return ""
    return "".join(map(words, node.children))


def shorten(text: str, longest: int = LONGEST) -> str:
    """As many whole sentences as fit, or as many words.

    Example:
        >>> shorten("One. Two three. Four.", 16), shorten("One two three", 10)
        ('One. Two three.', 'One two …')
    """
    text = " ".join(text.split())
    if len(text) <= longest:
        return text
    head = text[: longest + 1]
    sentences = re.match(r".*[.?!](?=\s)", head)
    if sentences and len(sentences[0]) >= longest // 2:
        return sentences[0]
    return head[: longest - 1].rpartition(" ")[0].rstrip(",;:") + " …"


def describe(doctree: nodes.document) -> str:
    """The first sentences of a page; what its first box promises, where that is all there is before a heading."""
    section = next(iter(doctree.findall(nodes.section)), None)
    if section is None:
        return ""
    said = [words(part) for part in section.children if isinstance(part, (nodes.paragraph, nodes.math_block))]
    if not said:
        box = next(iter(section.findall(nodes.Admonition)), None)
        said = [words(item).strip() for item in box.findall(nodes.list_item)] if box is not None else []
    if not said:
        said = [words(part) for part in section.findall(nodes.paragraph)]
    plain = itertools.takewhile(lambda text: not set(text) & set("{}\\$"), said)  # a formula of several lines is none
    text = re.sub(r"\s*\((?:Fig|Table)[^)]*\)", "", " ".join(plain))  # where there is none to look at
    return shorten(re.sub(r":\s*$", ".", text))


def draw_card(app: Sphinx, page: str, title: str, book: str, body: str) -> tuple[str, str]:
    """Draw a page's card, if the page has a drawing: the card's address below ``_static``, and what it shows."""
    drawing = DRAWING.search(body)
    if drawing is None:
        return card.CARD, card.SAYS
    name = f"{CARDS}/{page.rsplit('/', 1)[-1]}.png"
    path = Path(app.outdir, "_static", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(card.page_card(title, drawing[1], book))
    shown = re.search(r"<title\b[^>]*>(.*?)</title>", drawing[1], re.DOTALL)
    return name, unescape(shown[1]) if shown else title


def tags(title: str, description: str, address: str, image: str, shows: str, root: bool) -> str:
    """What stands in the head of a page."""
    width, height = map(str, card.SIZE)
    properties = {
        "og:type": "website" if root else "article",
        "og:site_name": "The Cost of Attention",
        "og:title": title,
        "og:description": description,
        "og:url": address,
        "og:image": image,
        "og:image:width": width,
        "og:image:height": height,
        "og:image:alt": shows,
    }
    named = {"description": description, "twitter:card": "summary_large_image"}
    return "\n".join(
        f'<meta {kind}="{key}" content="{escape(value)}" />'
        for kind, group in (("name", named), ("property", properties))
        for key, value in group.items()
        if value
    )


def _plain(html: str) -> str:
    math = re.compile(r"<math\b.*?</math>", re.DOTALL)
    return re.sub(r"<[^>]*>", "", math.sub(lambda found: readable(found[0]), html))


def _repository(config: Config) -> Repository:
    theme = config.html_theme_options
    return make_repository(theme.get("repository_url"), theme.get("repository_branch"))


def add_head(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Give ``layout.html`` the title and the head of one page."""
    if app.builder.name != "html":  # an EPUB or the sheets of a PDF are found in other ways
        return
    repository = _repository(app.config)
    licences = {"text_licence": repository.blob("LICENSE-text"), "code_licence": repository.blob("LICENSE")}
    root = Path(app.confdir)
    context["edition"] = read_edition(root) | licences if (root / "CITATION.cff").is_file() else None
    if page in UNLISTED:
        context["metatags"] = f'{context.get("metatags", "")}\n<meta name="robots" content="noindex" />'
        context["pageurl"] = None
    if doctree is None:
        return
    own = (app.env.metadata.get(page) or {}).get("page_title")
    title = str(own or _plain(context.get("title") or ""))
    context["page_title"] = title
    front = page == app.config.root_doc
    name = app.config.html_title if front else title
    drawn, shows = draw_card(app, page, title, app.config.html_title, context.get("body", ""))
    image = f"{app.config.html_baseurl}_static/{drawn}"
    context["pageurl"] = app.config.html_baseurl if front else f"{app.config.html_baseurl}{page}.html"
    context["metatags"] = "\n".join(
        [context.get("metatags", ""), tags(name, describe(doctree), context["pageurl"], image, shows, front)]
    )


def sitemap(site: str, documents: list[str]) -> str:
    """Every page in the order of the book. No dates: a build does not know when a text was changed."""
    rows = [
        f"  <url><loc>{escape(site + ('' if page == 'index' else f'{page}.html'))}</loc></url>" for page in documents
    ]
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
    return "\n".join([head, *rows, "</urlset>", ""])


def anchored(html: str, path: str) -> str:
    """A page whose addresses begin at the host, so that it is whole wherever it is shown.

    Example:
        >>> anchored('<a href="index.html"><a href="#x"><a href="https://a.b/"><form action="./s">', "/book/")
        '<a href="/book/index.html"><a href="#x"><a href="https://a.b/"><form action="/book/s">'
    """
    return re.sub(r'\b(href|src|action|data-content_root)="(?![a-z]+:|[/#])(?:\./)?([^"]*)"', rf'\1="{path}\2"', html)


def _settings(app: Sphinx, config: Config) -> None:
    config.html_baseurl = config.html_baseurl or _repository(config).site


def _missing(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    if app.builder.name == "html":
        yield "404", {"title": "No such page"}, "404.html"


def _write(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.name != "html":
        return
    html, site = Path(app.outdir), app.config.html_baseurl
    documents = [page for page in read_documents(Path(app.confdir)) if (html / f"{page}.html").is_file()]
    (html / "sitemap.xml").write_text(sitemap(site, documents), encoding="utf-8")
    (html / "robots.txt").write_text(f"User-agent: *\nAllow: /\n\nSitemap: {site}sitemap.xml\n", encoding="utf-8")
    missing = html / "404.html"
    missing.write_text(anchored(missing.read_text(encoding="utf-8"), urlsplit(site).path), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register it for every page, and for what stands beside them."""
    app.connect("config-inited", _settings, priority=900)
    app.connect("html-page-context", add_head, priority=900)
    app.connect("html-collect-pages", _missing)
    app.connect("build-finished", _write, priority=960)  # after the sheets and scripts have their names
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
