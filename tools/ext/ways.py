"""Ways through the book: a page's place in it, numbers of tables, and the way back from a reference.

What a browser does with them is ``theme/static/ways.js``; the look is ``theme/static/ways.css``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.writers.html5 import HTML5Translator
from sphinx_external_toc.parsing import parse_toc_yaml

from tools.files import read_documents
from tools.mathml import plain
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
    title = unescape(re.sub(r"<[^>]*>", "", plain(neighbour["title"])))
    return {"link": neighbour["link"], "title": title.partition(":")[0]}


def number_tables(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Count the tables before each page, in the order of the book, those of cells and those of ``{table}`` alike.

    Sphinx counts the latter by themselves, for its {numref}: it is told the numbers that stand in the pages.
    """
    number, first = 1, {}
    for document in read_documents(Path(app.confdir)):
        if document in env.found_docs:
            first[document] = number
            own = env.toc_fignumbers.setdefault(document, {})["table"] = {}
            for node in _tables(env.get_doctree(document)):
                if isinstance(node, nodes.table):
                    own[node["ids"][0]] = (number,)
                number += _count(node)
    env.__dict__["first_table"] = first
    return []


def _tables(doctree: nodes.document) -> Iterator[nodes.Element]:
    """What holds tables with captions, in the order of the page."""
    for node in doctree.findall(nodes.Element):
        if isinstance(node, nodes.raw) or (isinstance(node, nodes.table) and isinstance(node[0], nodes.title)):
            yield node


def _count(node: nodes.Element) -> int:
    return 1 if isinstance(node, nodes.table) else str(node.astext()).count(CAPTION)


def write_numbers(app: Sphinx, doctree: nodes.document, document: str) -> None:
    """Write the number of each table before its caption."""
    number = app.env.__dict__.get("first_table", {}).get(document, 1)
    for node in list(_tables(doctree)):
        count = _count(node)
        if isinstance(node, nodes.table):
            _set_caption(node, number)
        elif count:
            head, *rest = node.astext().split(CAPTION)
            for i, tail in enumerate(rest, number):
                attributes, _, words = tail.partition(">")
                head += f'{CAPTION}{attributes}><span class="caption-number">Table {i}.</span> {words}'
            node.children = [nodes.Text(head)]
            node.rawsource = head
        number += count


def _set_caption(table: nodes.table, number: int) -> None:
    """Put the caption above the box that scrolls, where that of a cell's table stands, and the name on both."""
    title, name = table.pop(0), table["ids"][0]
    count = nodes.inline("", f"Table {number}.", classes=["caption-number"])
    caption = nodes.paragraph("", "", count, nodes.Text(" "), *title.children, classes=["results-caption"])
    table["labelledby"] = f"{name}-caption"
    caption["ids"] = [table["labelledby"]]
    box = nodes.compound("", classes=["captioned"], ids=table["ids"])
    table["ids"] = []
    parent = table.parent
    parent[parent.index(table)] = box  # `replace_self` would give the box the table's classes
    box += [caption, table]


def _visit_table(self: HTML5Translator, node: nodes.table) -> None:
    type(self).visit_table(self, node)
    if "labelledby" in node:
        name = node["labelledby"]
        self.body[-2] = '<div class="pst-scrollable-table-container results-scroll">'
        self.body[-1] = self.body[-1].replace("<table", f'<table aria-labelledby="{name}"', 1)


def _depart_table(self: HTML5Translator, node: nodes.table) -> None:
    type(self).depart_table(self, node)


def _visit_caption(self: HTML5Translator, node: nodes.caption) -> None:
    """End the number of a figure as that of a table ends: with a full stop."""
    begin = len(self.body)
    type(self).visit_caption(self, node)
    if '<span class="caption-number">' in self.body[begin:]:
        place = self.body.index('<span class="caption-number">', begin) + 1
        self.body[place] = f"{self.body[place].rstrip()}. "


def _depart_caption(self: HTML5Translator, node: nodes.caption) -> None:
    type(self).depart_caption(self, node)


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
    app.add_node(nodes.table, override=True, html=(_visit_table, _depart_table))
    app.add_node(nodes.caption, override=True, html=(_visit_caption, _depart_caption))
    app.connect("env-get-updated", number_tables, priority=900)  # after Sphinx has counted
    app.connect("doctree-resolved", write_numbers)
    app.connect("doctree-resolved", link_back)
    app.connect("html-page-context", add_place, priority=900)
    app.add_css_file("ways.css", priority=901)
    app.add_js_file("ways.js", loading_method="defer")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
