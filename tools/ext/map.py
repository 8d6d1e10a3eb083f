"""The ``{map}`` directive: for each entry of the registry its chapter, definition, kernel, cost model and test.

And ``{summary}``: for each mechanism what it costs, at one size, in a table that a reader can sort.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.parsers.rst.directives import positive_int
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

from tools.repository import Repository, make_repository

COLUMNS = ("Idea, chapter", "Definition", "Kernel", "Cost model", "Test")


class MapDirective(SphinxDirective):
    """``{map} mechanisms`` or ``{map} layers``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write the table of the registry's mechanisms, or of its layers."""
        from tools.names import map_rows  # with the library, which other pages need not wait for

        kinds = dict(zip(("mechanisms", "layers"), map_rows(), strict=True))
        if self.arguments[0] not in kinds:
            raise self.error(f"map: expected one of {', '.join(kinds)}, got {self.arguments[0]!r}")
        theme = self.config.html_theme_options
        repository = make_repository(theme.get("repository_url"), theme.get("repository_branch"))
        group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in COLUMNS), cols=len(COLUMNS))
        group += nodes.thead("", _row([[nodes.Text(name)] for name in COLUMNS]))
        group += nodes.tbody("", *(_row(self._cells(row, repository)) for row in kinds[self.arguments[0]]))
        return [nodes.table("", group, classes=["colwidths-auto", "map"])]

    def _cells(self, row: Any, repository: Repository) -> list[list[nodes.Node]]:
        places = (self._place(place, repository) for place in (row.definition, row.kernel, row.cost))
        chapter = _reference(self.env.docname, "std", "doc", f"/{row.chapter}", nodes.inline())
        return [[nodes.Text(row.title), chapter], *places, [_file(row.test, repository)]]

    def _place(self, place: Any, repository: Repository) -> list[nodes.Node]:
        """The function's entry on the API page, and below it its file."""
        short = place.name.rpartition(".")[2]
        entry = _reference(self.env.docname, "py", "obj", place.name, nodes.literal("", short))
        return [entry, _file(place.file, repository)]


class ranked(nodes.inline):
    """What a cell says, and the place of its row when its column is sorted; None stands last."""


class SummaryDirective(SphinxDirective):
    """``{summary}``, ``:n:`` positions of width ``:d:``: every mechanism of the registry side by side."""

    option_spec = {"n": positive_int, "d": positive_int}  # noqa: RUF012 (docutils declares it so)

    def run(self) -> list[nodes.Node]:
        """Write the table."""
        from attnlib.book import summary

        found = summary.rows(self.options.get("n", 16384), self.options.get("d", 64))
        *heads, last = summary.HEADS  # what it gives up is prose: it stands below the name
        columns = list(zip(*(summary.cells(row)[:-1] for row in found), strict=True))
        ranks = [
            {key: i for i, key in enumerate(sorted({key for _, key in column if key is not None}))}
            for column in columns
        ]
        group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in columns), cols=len(columns))
        group += nodes.thead("", _row([[nodes.inline("", "", *_italic(name))] for name in heads]))
        body = []
        for row in found:
            (title, place), *others = zip(summary.cells(row)[:-1], ranks, strict=True)
            shown: list[list[nodes.Node]] = [
                [ranked("", "", *_italic(text), rank=rank.get(key))] for (text, key), rank in others
            ]
            words = nodes.inline("", title[0], classes=["std", "std-doc"])
            chapter = _reference(self.env.docname, "std", "doc", f"/chapters/{row.entry.chapter}", words)
            without = nodes.inline("", f"{last.lower()} {row.entry.gives_up}", classes=["gives-up"])
            body.append(_row([[ranked("", "", chapter, rank=place[title[1]]), without], *shown]))
        group += nodes.tbody("", *body)
        return [nodes.table("", group, classes=["colwidths-auto", "summary", "sortable"])]


def _reference(document: str, domain: str, kind: str, target: str, text: nodes.Node) -> addnodes.pending_xref:
    options = {"refdomain": domain, "reftype": kind, "reftarget": target, "refdoc": document}
    return addnodes.pending_xref("", text, **options, refexplicit=bool(text.astext()), refwarn=True)


def _italic(text: str) -> list[nodes.Node]:
    parts = enumerate(text.split("*"))
    return [nodes.emphasis("", part) if i % 2 else nodes.Text(part) for i, part in parts if part]


def _file(path: str, repository: Repository) -> nodes.reference:
    short = path.partition("/")[2]
    return nodes.reference("", short, internal=False, refuri=repository.blob(path), classes=["map-file"])


def _row(cells: list[list[nodes.Node]]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", *(nodes.paragraph("", "", part) for part in cell)) for cell in cells))


def _visit_ranked(self: HTML5Translator, node: ranked) -> None:
    rank = node["rank"]
    self.body.append("<span>" if rank is None else f'<span data-rank="{rank}">')


def _depart_ranked(self: HTML5Translator, node: ranked) -> None:
    self.body.append("</span>")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("map", MapDirective)
    app.add_directive("summary", SummaryDirective)
    app.add_node(ranked, html=(_visit_ranked, _depart_ranked))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
