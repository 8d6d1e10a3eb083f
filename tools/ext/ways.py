"""Ways through the book: a page's place in it, numbers of tables, and the way back from a reference.

What a browser does with them is ``theme/static/ways.js``; the look is ``theme/static/ways.css``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from html import unescape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx_external_toc.parsing import parse_toc_yaml

from tools.files import read_documents
from tools.notebooks import has_twin
from tools.repository import make_repository

CAPTION = '<p class="results-caption"'


def add_place(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Give a chapter's page its place in the book, its neighbours and its notebook, for ``ways.html``."""
    parts = parse_toc_yaml(Path(app.confdir) / "_toc.yml").root.subtrees if doctree is not None else []
    for part in parts:
        chapters = [str(item).removesuffix(".md") for item in part.items]
        above = next((page for page in chapters if pagename in app.env.toctree_includes.get(page, ())), pagename)
        if above in chapters:
            theme = app.config.html_theme_options
            repository = make_repository(theme.get("repository_url"), theme.get("repository_branch"))
            twin = has_twin(Path(app.env.doc2path(pagename)), tuple(app.config.myst_enable_extensions))
            context["ways"] = {
                "place": f"{part.caption} · {chapters.index(above) + 1} of {len(chapters)}",
                "prev": _plain(context.get("prev")),
                "next": _plain(context.get("next")),
                "colab": repository.colab(pagename) if twin else None,
                "issues": f"{repository.url.removesuffix('.git')}/issues",
                "page": repository.page(pagename),
            }


def _plain(neighbour: dict[str, str] | None) -> dict[str, str] | None:
    """A neighbour with its title as text: Sphinx writes it as HTML, formulas included."""
    if not neighbour:
        return None
    title = unescape(re.sub(r"<[^>]*>", "", neighbour["title"]))
    return {"link": neighbour["link"], "title": re.sub(r"\\\((.*?)\\\)", r"\1", title).partition(":")[0]}


def number_tables(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Count the tables of results before each page, in the order of the book: the first has number 1."""
    before, first = 0, {}
    for document in read_documents(Path(app.confdir)):
        if document in env.found_docs:
            first[document] = before + 1
            before += sum(_tables(raw) for raw in env.get_doctree(document).findall(nodes.raw))
    env.__dict__["first_table"] = first
    return []


def _tables(raw: nodes.raw) -> int:
    return str(raw.astext()).count(CAPTION)


def write_numbers(app: Sphinx, doctree: nodes.document, document: str) -> None:
    """Write the number of each table of results before its caption."""
    number = app.env.__dict__.get("first_table", {}).get(document, 1)
    for raw in doctree.findall(nodes.raw):
        head, *rest = raw.astext().split(CAPTION)
        for tail in rest:
            attributes, _, words = tail.partition(">")
            head += f'{CAPTION}{attributes}><span class="caption-number">Table {number}.</span> {words}'
            number += 1
        if rest:
            raw.children = [nodes.Text(head)]
            raw.rawsource = head


def link_back(app: Sphinx, doctree: nodes.document, document: str) -> None:
    """Say below each reference which chapters cite it, with links to the places."""
    citations = list(doctree.findall(nodes.citation))
    if not citations:
        return
    order = {
        str(name).removesuffix(".md"): i for i, name in enumerate(parse_toc_yaml(Path(app.confdir) / "_toc.yml"))
    }
    places: dict[str, dict[str, str]] = defaultdict(dict)  # key → page → where it is cited first
    for cited in app.env.get_domain("cite").citation_refs:  # type: ignore[attr-defined]
        for key in (target.key for target in cited.targets):
            places[key].setdefault(cited.docname, cited.citation_ref_id)
    prefix = str(app.config.bibtex_cite_id).partition("{")[0]
    for citation in citations:
        key = next((name.removeprefix(prefix) for name in citation["ids"] if name.startswith(prefix)), "")
        pages = sorted(places.get(key, ()), key=lambda name: order.get(name, len(order)))
        if not pages:
            continue
        said = nodes.paragraph("", "Cited in ", classes=["cited-in"])
        for i, page in enumerate(pages):
            address = app.builder.get_relative_uri(document, page)
            title = app.env.titles[page].astext().partition(":")[0]
            link = nodes.reference("", title, internal=True, refuri=f"{address}#{places[key][page]}")
            said += [nodes.Text(", " if i else ""), link]
        citation += said


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what is written into the pages, the style and the script."""
    app.connect("env-updated", number_tables)
    app.connect("doctree-resolved", write_numbers)
    app.connect("doctree-resolved", link_back)
    app.connect("html-page-context", add_place, priority=900)
    app.add_css_file("ways.css", priority=901)
    app.add_js_file("ways.js", loading_method="defer")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
