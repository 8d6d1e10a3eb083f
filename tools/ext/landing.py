"""The front page: what it says of the library and of other pages comes from them, so that nothing is written twice.

Directives: ``{landing} formula``, what a layer costs, printed from its cost model; ``{landing} chart``, the growth
chart; ``{landing} chapters``, the parts of _toc.yml with each page's title, the minutes that its first box states,
and the line that the body has for it (``question: What is the answer?``); ``{landing} citation``, from CITATION.cff.

Roles: ``{edition}`` with a key of `read_edition`; ``{colab}`` to a chapter's notebook; ``{repository}`` to a file of
the repository, or to a page of its site on GitHub; ``{published}`` to a file beside the published pages, which
``make book`` alone does not make.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import ReferenceRole, SphinxDirective, SphinxRole
from sphinx_external_toc.parsing import parse_toc_yaml

from tools.repository import Repository, make_repository

logger = logging.getLogger(__name__)

TIME = re.compile(r"\*\*Time\*\*\s+(.+?)\s+to\s+read")
TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50}
ONES = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
WORDS = {
    **{word: i for i, word in enumerate(ONES, 1)},
    "fifteen": 15,
    **TENS,
    **{f"{ten}-{one}": tens + i for ten, tens in TENS.items() for i, one in enumerate(ONES[:9], 1)},
}
GROWTH = {1: "linear in the length", 2: "quadratic in the length"}


def read_minutes(words: str) -> int:
    """Minutes of "twenty-five minutes", "half an hour" or "an hour".

    Example:
        >>> read_minutes("twenty-five minutes"), read_minutes("half an hour")
        (25, 30)
    """
    hours = {"half an hour": 30, "an hour": 60, "one hour": 60}
    number = re.fullmatch(r"([\w-]+) minutes?", words)
    if words in hours:
        return hours[words]
    if number and (number[1] in WORDS or number[1].isdigit()):
        return WORDS.get(number[1]) or int(number[1])
    raise ValueError(f'expected a time such as "twenty-five minutes" or "half an hour", got {words!r}')


def read_lines(text: str) -> dict[str, str]:
    """`{page: its line}` of the body of ``{landing} chapters``."""
    lines = {}
    for row in filter(None, map(str.strip, text.splitlines())):
        page, colon, line = row.partition(": ")
        if not colon or not re.fullmatch(r"[\w-]+", page):
            raise ValueError(f"expected 'page: its line', got {row!r}")
        lines[page] = line.strip()
    return lines


def read_edition(root: Path) -> dict[str, str]:
    """What the book says of its edition: title, version, date, year, authors and address, from CITATION.cff."""
    cff = yaml.safe_load((root / "CITATION.cff").read_text("utf8"))
    day = date.fromisoformat(str(cff["date-released"]))
    people = [a.get("name") or f"{a['given-names']} {a['family-names']}" for a in cff["authors"]]
    return {
        "title": cff["title"],
        "version": str(cff["version"]),
        "date": f"{day.day} {day:%B %Y}",
        "year": str(day.year),
        "authors": " and ".join(people),
        "address": cff["url"],
    }


def cite(edition: dict[str, str]) -> str:
    """The book as an entry for BibTeX."""
    # A name in double braces stays whole: BibTeX would take the last word for a family name.
    rows = {
        "author": f"{{{edition['authors']}}}" if "authors" in edition["authors"] else edition["authors"],
        "title": f"{{{edition['title']}}}",
        "year": edition["year"],
        "note": f"Version {edition['version']}",
        "url": edition["address"],
    }
    width = max(map(len, rows))
    body = "".join(f"  {name.ljust(width)} = {{{value}}},\n" for name, value in rows.items())
    return f"@book{{cost-of-attention,\n{body}}}"


def write_formula() -> str:
    """The two terms of a layer with their names, and how each grows, as HTML."""
    import sympy

    from attnlib.book import widgets

    n = sympy.Symbol("n", positive=True)
    parts = []
    for name, term in widgets.terms().items():
        product = re.sub(r"[a-z]", r"<i>\g<0></i>", term)
        growth = GROWTH[sympy.degree(widgets.formulas()[name], n)]
        title = {"core": "the quadratic core"}.get(name, name)
        parts.append(
            f'<div class="term {name}"><span class="product">{product}</span> <span class="part">{title}</span> '
            f'<span class="growth">{growth}</span></div>'
        )
    return '<div class="landing-formula">' + '<div class="plus">+</div>'.join(parts) + "</div>"


class LandingDirective(SphinxDirective):
    """``{landing} formula``, ``chart``, ``chapters`` or ``citation``."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Write one part of the page."""
        parts = {
            "formula": self._formula,
            "chart": self._chart,
            "chapters": self._chapters,
            "citation": self._citation,
        }
        if self.arguments[0] not in parts:
            raise self.error(f"landing: expected one of {', '.join(parts)}, got {self.arguments[0]!r}")
        try:
            return parts[self.arguments[0]]()
        except ValueError as error:
            raise self.error(f"landing: {error}") from None

    def _formula(self) -> list[nodes.Node]:
        return [nodes.raw("", write_formula(), format="html")]

    def _chart(self) -> list[nodes.Node]:
        from attnlib.book.widgets import growth_chart

        return [nodes.raw("", growth_chart()._repr_html_(), format="html")]

    def _citation(self) -> list[nodes.Node]:
        text = cite(read_edition(_root(self)))
        return [nodes.literal_block(text, text, language="bibtex")]

    def _chapters(self) -> list[nodes.Node]:
        lines = read_lines("\n".join(self.content))
        toc = _root(self) / "_toc.yml"
        self.env.note_dependency(str(toc))
        made: list[nodes.Node] = []
        for part in parse_toc_yaml(toc).root.subtrees:
            pages = [str(item).removesuffix(".md") for item in part.items]
            items = [self._item(page, lines.get(page.rpartition("/")[2], "")) for page in pages]
            box = nodes.container(classes=["landing-part"])
            if part.caption:
                box += nodes.rubric("", part.caption)
            box += nodes.bullet_list("", *items)
            made.append(box)
        return made

    def _item(self, page: str, line: str) -> nodes.list_item:
        file = Path(self.env.doc2path(page))
        text = file.read_text("utf8") if file.is_file() else ""
        self.env.note_dependency(str(file))
        # A chapter has a name, and behind a colon what it asks: here the line says that.
        heading = re.search(r"^# (.+)$", text, re.MULTILINE)
        name = heading[1].partition(":")[0] if heading and ":" in heading[1] else ""
        link = addnodes.pending_xref(
            "",
            nodes.inline("", name, classes=["std", "std-doc"]),
            refdomain="std",
            reftype="doc",
            reftarget=f"/{page}",
            refdoc=self.env.docname,
            refexplicit=bool(name),
            refwarn=True,
        )
        first = nodes.paragraph("", "", link)
        if time := TIME.search(text):
            try:
                minutes = read_minutes(time[1])
            except ValueError as error:
                logger.warning("**Time** of %s: %s", page, error, location=page, type="landing")
            else:
                first += [nodes.Text(" "), nodes.inline("", f"{minutes}\N{NO-BREAK SPACE}min", classes=["minutes"])]
        item = nodes.list_item("", first)
        if line:
            said, messages = self.state.inline_text(line, self.lineno)
            item += [nodes.paragraph("", "", *said), *messages]
        return item


class EditionRole(SphinxRole):
    """``{edition}`version```: what CITATION.cff says."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Write the value of a key."""
        edition = read_edition(_root(self))
        if self.text not in edition:
            message = f"edition: expected one of {', '.join(edition)}, got {self.text!r}"
            return [], [self.inliner.reporter.error(message, line=self.lineno)]
        return [nodes.Text(edition[self.text])], []


class ColabRole(ReferenceRole):
    """``{colab}`words <chapters/question>```: the notebook of a chapter, in Colab."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Write the link."""
        return [_link(self.title, _repository(self).colab(self.target))], []


class RepositoryRole(ReferenceRole):
    """``{repository}`words <LICENSE>``` or ``<issues/new>``: a file, or else a page of the repository's site."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Write the link."""
        repository = _repository(self)
        is_file = (_root(self) / self.target).is_file()
        address = repository.blob(self.target) if is_file else f"{repository.url}/{self.target}"
        return [_link(self.title, address)], []


class PublishedRole(ReferenceRole):
    """``{published}`words <the-cost-of-attention.pdf>```: a file that is published with the pages."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Write the link, with the address of the published book: beside pages built here the file may be missing."""
        return [_link(self.title, _repository(self).site + self.target)], []


def _root(part: SphinxDirective | SphinxRole) -> Path:
    return Path(part.env.app.confdir)


def _repository(part: SphinxRole) -> Repository:
    theme = part.config.html_theme_options
    return make_repository(theme.get("repository_url"), theme.get("repository_branch"))


def _link(words: str, address: str) -> nodes.reference:
    return nodes.reference("", words, internal=False, refuri=address)


def _add_style(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """The front page alone has use for its sheet: what is added while a page is written is that page's."""
    if page == app.config.root_doc:
        app.add_css_file("landing.css", priority=902)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive, the roles and the style."""
    app.add_directive("landing", LandingDirective)
    app.add_role("edition", EditionRole())
    app.add_role("colab", ColabRole())
    app.add_role("repository", RepositoryRole())
    app.add_role("published", PublishedRole())
    app.connect("html-page-context", _add_style)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
