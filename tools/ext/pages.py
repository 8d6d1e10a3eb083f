"""What makes the pages work anywhere: offline, by keyboard, by screen reader, in light and dark, on a phone.

Each part mends one thing that the stock theme and extensions get wrong and says which. The style is in
``theme/static/book.css``; the mathematics is `tools.ext.formulas`.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache, partial
from typing import Any

import pybtex.plugin
from docutils import nodes
from myst_nb.core.execute.base import ExecutionResult
from myst_nb.core.variables import format_plain_text
from myst_nb.ext.execution_tables import ExecutionStatsNode
from myst_nb.ext.glue.crossref import read_glue_cache
from myst_nb.sphinx_ import HideCodeCellNode, NbMetadataCollector
from pybtex.database import Entry
from pybtex.style.formatting.plain import Style as PlainStyle
from pybtex.style.labels import BaseLabelStyle
from pybtex.style.template import FieldIsMissing, field, href, join, sentence
from pybtex.style.template import node as template
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.logging import getLogger
from sphinx.writers.html5 import HTML5Translator

logger = getLogger(__name__)

# Jupyter Book loads these whatever the configuration says. The first writes scripts into every page that name
# another host and, added twice, raise an error in the console; the second loads comment services.
UNWANTED = ("sphinx_thebe", "sphinx_comments")

# sphinx-proof and sphinx-exercise give these ids to every proof, exercise and solution of a page alike.
SHARED_IDS = {"proof", "proof-content", "exercise-content", "solution-content"}


class details_box(nodes.General, nodes.Element):
    """A box that opens on demand."""


class details_title(nodes.TextElement):
    """What the box says while it is closed."""


class NativeDropdowns(SphinxPostTransform):
    """Write ``:class: dropdown`` boxes as ``<details>``.

    sphinx-togglebutton hides them by script behind a button named "Toggle hidden content". A <details> has a
    name, works by keyboard and without scripts, and opens when the browser finds text in it.
    """

    default_priority = 200  # after sphinx-exercise has written the titles of solutions (20 to 22)
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Replace every box of the page."""
        for node in list(self.document.findall(nodes.Admonition)):
            if "dropdown" in node["classes"]:
                node.replace_self(_dropdown(node))


def _dropdown(node: nodes.Element) -> details_box:
    title, *content = node.children
    # A link inside what opens the box would be a control inside a control.
    text = [child.children if isinstance(child, nodes.reference) else [child] for child in title.children]
    classes = [name for name in node["classes"] if name not in ("dropdown", "toggle")]
    box: details_box = details_box(ids=node["ids"], classes=[*classes, "dropdown-box"])
    box += details_title("", "", *(child for group in text for child in group))
    box += content
    return box


class UniqueIds(SphinxPostTransform):
    """Drop ids that stand more than once in a page: an id must be unique, and nothing links to these."""

    default_priority = 201
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Drop the ids from every element of the page."""
        for node in self.document.findall(nodes.Element):
            if SHARED_IDS & set(node.get("ids", [])):
                node["ids"] = [name for name in node["ids"] if name not in SHARED_IDS]


class MathsInReferences(SphinxPostTransform):
    """Set the ``$O(n^2)$`` of a title in the bibliography: sphinxcontrib-bibtex leaves it as it stands."""

    default_priority = 200  # after sphinxcontrib-bibtex has written the references (5)

    def run(self, **kwargs: Any) -> None:
        """Replace the dollars in every reference of the page."""
        for citation in self.document.findall(nodes.citation):
            for text in list(citation.findall(nodes.Text)):
                parts = re.split(r"\$([^$]+)\$", text)
                if len(parts) > 1 and text.parent is not None:
                    # re.split alternates: what stands between formulas, a formula, and so on.
                    made = [nodes.math("", part) if i % 2 else nodes.Text(part) for i, part in enumerate(parts)]
                    text.parent.replace(text, made)


@template  # type: ignore[untyped-decorator]
def _names(children: Any, context: dict[str, Any], role: str) -> Any:
    """Template of pybtex: the persons of a role, "et al." for those that the entry leaves out."""
    persons = context["entry"].persons.get(role)
    if not persons:
        raise FieldIsMissing(role, context["entry"])
    written = [context["style"].format_name(person) for person in persons if str(person) != "others"]
    if len(written) < len(persons):
        return join(sep=" ")[join(sep=", ")[written], "et al."].format_data(context)
    return join(sep=", ", sep2=" and ", last_sep=", and ")[written].format_data(context)


class AuthorYear(BaseLabelStyle):
    """Label a reference as the text cites it: "Vaswani et al., 2017"."""

    def format_labels(self, sorted_entries: list[Entry]) -> Any:
        """Yield one label for each entry."""
        for entry in sorted_entries:
            last = [" ".join([*p.prelast_names, *p.last_names]) for p in entry.persons["author"]]
            names = " and ".join(last) if len(last) < 3 and "others" not in last else f"{last[0]} et al."
            yield f"{_plain_tex(names)}, {entry.fields['year']}"


def _plain_tex(text: str) -> str:
    from pybtex.richtext import Text

    return str(Text.from_latex(text))


class BookStyle(PlainStyle):
    """The plain style of references, with a title that links to the paper instead of a bare address."""

    default_label_style = AuthorYear

    def format_names(self, role: str, as_sentence: bool = True) -> Any:
        """Write "et al." for the authors that the entry leaves out."""
        return sentence[_names(role)] if as_sentence else _names(role)

    def format_title(self, e: Entry, which_field: str, as_sentence: bool = True) -> Any:
        """Write the title as its author did, as a link where there is an address."""
        title = field(which_field)
        address = e.fields.get("url") or (f"https://doi.org/{e.fields['doi']}" if "doi" in e.fields else None)
        linked = href(address)[title] if address else title
        return sentence[linked] if as_sentence else linked

    def format_web_refs(self, e: Entry) -> Any:
        """Write no addresses: the title is the link."""
        return join[""]


class FormulaAndPoint(SphinxPostTransform):
    """Keep a formula and the punctuation that touches it on one line: a line may end between them otherwise."""

    default_priority = 210
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Wrap every short formula of the page that punctuation touches."""
        for formula in list(self.document.findall(nodes.math)):
            if len(formula.astext()) > 40:  # a long one must be free to use the whole line
                continue
            place = formula.parent.index(formula)
            siblings = formula.parent.children
            before = siblings[place - 1] if place else None
            after = siblings[place + 1] if place + 1 < len(siblings) else None
            opening = re.search(r"[(\[“‘]+$", before) if isinstance(before, nodes.Text) else None
            closing = re.match(r"[.,;:!?)\]”’…]+", after) if isinstance(after, nodes.Text) else None
            if not opening and not closing:
                continue
            box = nodes.inline(classes=["unbroken"])
            parent = formula.parent
            # By place: docutils' `replace` finds a text by equality, and the first ". If " need not be this one.
            parent[place] = box
            if before is not None and opening:
                box += nodes.Text(opening[0])
                parent[place - 1] = nodes.Text(before[: opening.start()])
            box += formula
            if after is not None and closing:
                box += nodes.Text(closing[0])
                parent[place + 1] = nodes.Text(after[closing.end() :])


class WordsInAltTexts(SphinxPostTransform):
    """Read {glue:text}`key` in the alt text of a picture: MyST-NB takes it for the letters that it is written in."""

    default_priority = 5  # when MyST-NB shows what other pages have glued, and from the same file
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Replace every role in every alt text of the page. A key that no cell has glued is a warning."""
        glued = read_glue_cache(self.env.mystnb_config.output_folder, self.env.docname)  # type: ignore[attr-defined]
        for image in self.document.findall(nodes.image):
            if "{glue:" in image.get("alt", ""):
                image["alt"] = re.sub(r"\{glue:text\}`([^`]+)`", partial(self._said, image, glued), image["alt"])
                if "{glue:" in image["alt"]:
                    logger.warning("an alt text holds a role that is not {glue:text}", location=image)

    def _said(self, image: nodes.image, glued: dict[str, Any], role: re.Match[str]) -> str:
        if role[1] not in glued:
            logger.warning("no cell of this page glues %r, which an alt text shows", role[1], location=image)
            return ""
        return str(format_plain_text(glued[role[1]]["data"]["text/plain"], "s"))


class SingleLines(SphinxPostTransform):
    """Mark printed output of one line, which may be broken; the columns of several lines must stay aligned."""

    default_priority = 210
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Mark the outputs of the page."""
        for block in self.document.findall(nodes.literal_block):
            if {"stream", "text_plain"} & set(block["classes"]) and "\n" not in block.astext().strip():
                block["classes"].append("single-line")


class ExecutionTable(SphinxPostTransform):
    """Write the table of executed chapters with their titles, and in words.

    MyST-NB's own has file names, and a picture for the result, which needs a font that not every machine has.
    """

    default_priority = 7  # before MyST-NB writes its own (8)

    def run(self, **kwargs: Any) -> None:
        """Replace every place for a table."""
        for node in list(self.document.findall(ExecutionStatsNode)):
            found = NbMetadataCollector.get_doc_data(self.env)
            order = {name: i for i, name in enumerate(self.env.toctree_includes.get(self.config.root_doc, []))}
            names = sorted((name for name in found if found[name].get("exec_data")), key=lambda n: order.get(n, -1))
            rows = [_execution_row(self, name, found[name]["exec_data"]) for name in names]
            node.replace_self(_table(["Chapter", "Last run", "Seconds", "Result"], rows))


def _mark_failure(app: Sphinx, doctree: nodes.document) -> None:
    """Say at the top of a page that a cell in it failed, and in the table that its chapter did.

    Such a page exists only where the build was told to keep going. MyST-NB found the chapter in the cache and takes
    it for one that passed.
    """
    failed = [block for block in doctree.findall(nodes.literal_block) if "traceback" in block["classes"]]
    title = doctree.next_node(nodes.title)
    if not failed or title is None:
        return
    failed[0]["ids"].append("failed-cell")
    said = nodes.paragraph("", "A cell of this chapter failed, and what comes after it was not run. ")
    said += nodes.reference("", "The traceback", internal=True, refid="failed-cell")
    said += nodes.Text(" stands below that cell.")
    notice = nodes.admonition(
        "", nodes.title("", "This page is not whole"), said, classes=["danger", "failed-chapter"]
    )
    title.parent.insert(title.parent.index(title) + 1, notice)
    if ran := NbMetadataCollector.get_exec_data(app.env, app.env.docname):
        ran["succeeded"] = False


def _execution_row(transform: SphinxPostTransform, name: str, ran: ExecutionResult) -> list[nodes.Node]:
    document, builder = transform.env.docname, transform.app.builder
    title = nodes.reference("", "", internal=True, refuri=builder.get_relative_uri(document, name))
    title += nodes.Text(transform.env.titles[name].astext())
    when = datetime.fromtimestamp(ran["mtime"]).strftime("%Y\N{NON-BREAKING HYPHEN}%m\N{NON-BREAKING HYPHEN}%d %H:%M")
    seconds = "" if ran["runtime"] is None else f"{ran['runtime']:.1f}"
    return [title, nodes.Text(when), nodes.Text(seconds), nodes.Text("passed" if ran["succeeded"] else "failed")]


def _table(head: list[str], rows: list[list[nodes.Node]]) -> nodes.table:
    def row(cells: list[nodes.Node]) -> nodes.row:
        return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))

    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in head), cols=len(head))
    group += nodes.thead("", row([nodes.Text(text) for text in head]))
    group += nodes.tbody("", *(row(cells) for cells in rows))
    return nodes.table("", group, classes=["colwidths-auto"])


def _visit_dropdown(self: HTML5Translator, node: details_box) -> None:
    self.body.append(self.starttag(node, "details"))


def _depart_dropdown(self: HTML5Translator, node: details_box) -> None:
    self.body.append("</details>\n")


def _visit_title(self: HTML5Translator, node: details_title) -> None:
    self.body.append("<summary>")


def _depart_title(self: HTML5Translator, node: details_title) -> None:
    self.body.append("</summary>\n")


def _visit_hidden_cell(self: HTML5Translator, node: HideCodeCellNode) -> None:
    # MyST-NB's own has paragraphs inside <summary> and names all "Toggle hidden content", whatever they show.
    classes = " ".join(node["classes"])
    self.body.append(
        f'<details class="hide {classes}"><summary>'
        f'<span class="collapsed">{self.encode(node["prompt_show"])}</span>'
        f'<span class="expanded">{self.encode(node["prompt_hide"])}</span></summary>\n'
    )


def _visit_citation(self: HTML5Translator, node: nodes.citation) -> None:
    # A list wants list items: docutils writes the role doc-biblioentry, which ARIA 1.2 does not accept there.
    HTML5Translator.visit_citation(self, node)
    self.body[-1] = self.body[-1].replace('role="doc-biblioentry"', 'role="listitem"')


def _depart_citation(self: HTML5Translator, node: nodes.citation) -> None:
    HTML5Translator.depart_citation(self, node)


def _drop_unwanted(app: Sphinx) -> None:
    for listeners in app.events.listeners.values():
        listeners[:] = [one for one in listeners if one.handler.__module__.split(".")[0] not in UNWANTED]
    # Without its handlers the first no longer copies the sheet that it still asks for.
    app.registry.css_files[:] = [(name, tags) for name, tags in app.registry.css_files if name != "sphinx-thebe.css"]


def _name_sidebar(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Give the arrows of the sidebar a name: the theme's hold an icon only."""
    original = context.get("generate_toctree_html")
    if original is None:
        return

    @cache
    def named(kind: str, **options: Any) -> Any:
        soup = original(kind, **options)
        for summary in soup.select("summary") if hasattr(soup, "select") else ():
            link = summary.find_parent("li").find("a")
            summary["aria-label"] = f"Sections of {link.get_text(strip=True)}"
        return soup

    context["generate_toctree_html"] = named


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the overrides, the style and the script."""
    _drop_unwanted(app)
    pybtex.plugin.register_plugin("pybtex.style.formatting", "book", BookStyle)
    app.add_node(details_box, html=(_visit_dropdown, _depart_dropdown))
    app.add_node(details_title, html=(_visit_title, _depart_title))
    app.add_node(HideCodeCellNode, override=True, html=(_visit_hidden_cell, _depart_dropdown))
    app.add_node(nodes.citation, override=True, html=(_visit_citation, _depart_citation))
    app.add_post_transform(NativeDropdowns)
    app.add_post_transform(UniqueIds)
    app.add_post_transform(MathsInReferences)
    app.add_post_transform(FormulaAndPoint)
    app.add_post_transform(WordsInAltTexts)
    app.add_post_transform(SingleLines)
    app.add_post_transform(ExecutionTable)
    app.connect("doctree-read", _mark_failure)
    app.connect("html-page-context", _name_sidebar, priority=900)  # after the theme has put its function there
    app.add_css_file("book.css", priority=900)  # last, to win over sheets of equal weight
    app.add_js_file("book.js", loading_method="defer")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
