"""The ``{claims}`` directive: printed claims with their verdicts, made from `attnlib.book.claims`.

``{claims} GROUP`` writes the claims of a group, ``{claims} verdicts`` a table of how many there are of each verdict,
``{claims} drawing`` the same as bars, group by group.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class ClaimsDirective(SphinxDirective):
    """``{claims} GROUP``, ``{claims} verdicts`` or ``{claims} drawing``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write one part of the page."""
        from attnlib.book import claims  # with NumPy, which other pages need not wait for

        what = self.arguments[0]
        parts = {"verdicts": self._verdicts, "drawing": self._drawing}
        if what in parts:
            return parts[what]()
        if what not in claims.GROUPS:
            expected = ", ".join((*claims.GROUPS, *parts))
            raise self.error(f"claims: expected one of {expected}, got {what!r}")
        return [nodes.definition_list("", *map(self._claim, claims.select(what)), classes=["claims"])]

    def _claim(self, claim: Any) -> nodes.definition_list_item:
        """The claim between quotation marks and its verdict, then what holds and where it is shown."""
        kind = "claim-" + claim.verdict.replace(" ", "-")
        quoted = nodes.inline("", "", *self._inline(f"“{claim.claim}”"), classes=["claim-words"])
        term = nodes.term("", "", quoted, nodes.Text(" "), verdict_of(claim.verdict), classes=[kind])
        term["ids"].append(f"claim-{claim.key}")
        statement = nodes.paragraph("", "", *self._inline(claim.said()))
        see = nodes.paragraph("", "See ", *self._section(claim.see), classes=["claim-see"])
        return nodes.definition_list_item("", term, nodes.definition("", statement, see, classes=[kind]))

    def _inline(self, text: str) -> list[nodes.Node]:
        found, messages = self.state.inline_text(text, self.lineno)
        return [*found, *messages]

    def _section(self, label: str) -> list[nodes.Node]:
        """Links to a section and, where it is not the page itself, its page."""
        document = find_label(Path(self.env.srcdir), label)
        section = _reference(self.env.docname, "ref", label)
        if document is None:
            return [section]  # Sphinx says that there is no such label
        page = addnodes.pending_xref(
            "",
            nodes.inline("", read_name(Path(self.env.srcdir) / f"{document}.md"), classes=["std", "std-doc"]),
            refdomain="std",
            reftype="doc",
            reftarget=f"/{document}",
            refdoc=self.env.docname,
            refexplicit=True,
            refwarn=True,
        )
        self.env.note_dependency(str(Path(self.env.srcdir) / f"{document}.md"))
        return [section, nodes.Text(" in "), page]

    def _verdicts(self) -> list[nodes.Node]:
        from attnlib.book import claims

        columns = ("Verdict", "Given when", "Claims")
        group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in columns), cols=len(columns))
        group += nodes.thead("", _row([[nodes.Text(name)] for name in columns]))
        body = [
            _row([[verdict_of(name)], [nodes.Text(claims.VERDICTS[name].meaning)], [nodes.Text(str(number))]])
            for name, number in claims.tally().items()
        ]
        total = _row([[nodes.Text("all")], [], [nodes.Text(str(len(claims.CLAIMS)))]])
        group += nodes.tbody("", *body, total)
        return [nodes.table("", group, classes=["colwidths-auto", "verdicts"])]

    def _drawing(self) -> list[nodes.Node]:
        from attnlib.book.drawings.claims import verdicts

        drawn = nodes.raw("", f'<div class="claims-drawing">{verdicts()._repr_html_()}</div>', format="html")
        caption = "How the verdicts fall in each group: a box is a verdict, as wide as the number of its claims."
        return [nodes.figure("", drawn, nodes.caption("", caption), ids=["fig-claims-verdicts"])]


def verdict_of(verdict: str) -> nodes.inline:
    """A verdict as words with a mark, which a reader that speaks leaves out."""
    from attnlib.book import claims

    kind = "claim-" + verdict.replace(" ", "-")
    mark = f'<span class="claim-mark" aria-hidden="true">{claims.VERDICTS[verdict].mark}</span> '
    return nodes.inline(
        "", "", nodes.raw("", mark, format="html"), nodes.Text(verdict), classes=["claim-verdict", kind]
    )


def find_label(root: Path, label: str) -> str | None:
    """The chapter, as a document's name, whose source has a label before a heading."""
    for file in sorted((root / "chapters").glob("*.md")):
        if f"\n({label})=\n" in file.read_text("utf8"):
            return f"chapters/{file.stem}"
    return None


def read_name(file: Path) -> str:
    """The title of a chapter up to its colon."""
    heading = re.search(r"^# (.+)$", file.read_text("utf8"), re.MULTILINE)
    return heading[1].partition(":")[0] if heading else file.stem


def _reference(document: str, kind: str, target: str) -> addnodes.pending_xref:
    options = {"refdomain": "std", "reftype": kind, "reftarget": target, "refdoc": document}
    return addnodes.pending_xref("", nodes.inline(), **options, refexplicit=False, refwarn=True)


def _row(cells: list[list[nodes.Node]]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", *(nodes.paragraph("", "", part) for part in cell)) for cell in cells))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("claims", ClaimsDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
