"""The ``{map}`` directive: for each entry of the registry its chapter, definition, kernel, cost model and test."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from tools.repository import Repository, make_repository

COLUMNS = ("Idea", "Chapter", "Definition", "Kernel", "Cost model", "Test")


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
        chapter = self._reference("std", "doc", f"/{row.chapter}", nodes.inline())
        return [[nodes.Text(row.title)], [chapter], *places, [_file(row.test, repository)]]

    def _place(self, place: Any, repository: Repository) -> list[nodes.Node]:
        """The function's entry on the API page, and below it its file."""
        short = place.name.rpartition(".")[2]
        entry = self._reference("py", "obj", place.name, nodes.literal("", short))
        return [entry, _file(place.file, repository)]

    def _reference(self, domain: str, kind: str, target: str, text: nodes.Node) -> addnodes.pending_xref:
        return addnodes.pending_xref(
            "",
            text,
            refdomain=domain,
            reftype=kind,
            reftarget=target,
            refdoc=self.env.docname,
            refexplicit=domain == "py",
            refwarn=True,
        )


def _file(path: str, repository: Repository) -> nodes.reference:
    short = path.partition("/")[2]
    return nodes.reference("", short, internal=False, refuri=repository.blob(path), classes=["map-file"])


def _row(cells: list[list[nodes.Node]]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", *(nodes.paragraph("", "", part) for part in cell)) for cell in cells))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("map", MapDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
