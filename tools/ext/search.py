"""Search finds sections: the text of each, in one script that the page of results alone loads.

Sphinx's own search finds pages and fetches them for its excerpts, which no browser allows from a file. Here
``_static/sections.js`` holds the text that a reader sees, section by section, read from the built pages; formulas are
Unicode in it (``8nd²``). What finds, ranks and shows is ``theme/static/search.js``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from sphinx.application import Sphinx

from tools.mathml import plain

MATH = re.compile(r"<math\b.*?</math>", re.DOTALL)
RAISED = str.maketrans("0123456789+−-()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁽⁾ⁿⁱ")
LOWERED = str.maketrans("0123456789+−-()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₋₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")
# What a reader does not read as text, or reads elsewhere: code, drawings, navigation.
SKIPPED = {"script", "style", "pre", "svg", "nav", "button", "template", "textarea", "noscript", "select"}
SKIPPED_CLASSES = {"headerlink", "ways", "sig", "backrefs", "caption-number", "eqno", "results-scroll"}
SKIPPED_CLASSES |= {"collapsed", "expanded"}  # the names of buttons
VOID = {"br", "img", "hr", "input", "wbr", "link", "meta", "source", "col"}
INLINE = {"a", "b", "code", "em", "i", "span", "strong", "sub", "sup", "kbd", "abbr", "cite", "mark", "small"}
# How much a place counts: the text explains, lists repeat what it explains.
PLACES = {r"chapters/api": 0.35, r"chapters/(bibliography|status|benchmarks|map)": 0.4}
HEADINGS = {r"(Check yourself|Exercises|Further reading|Symbols)$": 0.5, r"Remember$": 0.8}
DEFINITION = 400  # characters of a definition in the API: its page has the rest
# What readers ask for by names that the text writes out.
NAMES = {
    "rnn": "recurrent recurrence",
    "rnns": "recurrent recurrence",
    "gqa": "grouped",
    "mqa": "multi-query",
    "mla": "latent",
    "moe": "mixture experts",
    "ssm": "state-space",
    "ov": "orthogonal",
    "cnn": "convolution",
    "bptt": "gradients",
    "vram": "memory",
    "quantize": "quantise",
    "quantized": "quantised",
    "quantization": "quantise quantised",
    "quantizing": "quantise",
}


@dataclass
class Section:
    """A heading of a page and the text below it, up to the next heading."""

    anchor: str
    heading: str = ""
    text: str = ""


def _characters(text: str, table: dict[int, int], mark: str) -> str:
    """An exponent or index in small characters where all of its characters have one, else behind a mark."""
    text = text.replace(" ", "")
    if text and all(ord(sign) in table for sign in text):
        return text.translate(table)
    return f"{mark}{text}" if len(text) < 2 else f"{mark}({text})"


def _word(node: ElementTree.Element) -> str:
    parts = [_word(child) for child in node if not child.tag.startswith("annotation")]
    name = node.tag
    if name in ("msup", "mover") and len(parts) == 2 and (name == "msup" or parts[1].isalnum()):
        return parts[0] + _characters(parts[1], RAISED, "^")
    if name in ("msub", "munder") and len(parts) == 2:
        return parts[0] + (_characters(parts[1], LOWERED, "_") if parts[1] not in "⏟_" else "")
    if name == "msubsup":
        return parts[0] + _characters(parts[1], LOWERED, "_") + _characters(parts[2], RAISED, "^")
    if name == "mfrac":
        return "/".join(part if re.fullmatch(r"\w+|√\([^()]*\)", part) else f"({part})" for part in parts)
    if name in ("msqrt", "mroot"):
        inside = "".join(parts[:1] if name == "mroot" else parts)
        return f"√{inside}" if len(inside) == 1 else f"√({inside})"
    if name in ("mtr", "mtable"):
        return " ".join(parts)
    own = (node.text or "").strip(" \n")
    if name == "mo" and own in "=≤≥<>≈→+−±∈≪≫":
        return f" {own} " if own else ""
    return f"{' ' if name == 'mtext' else ''}{own}{''.join(parts)}"


@cache
def readable(math: str) -> str:
    r"""A ``<math>`` element as a line of Unicode, as a reader would type it.

    Example:
        >>> from tools.mathml import mathml
        >>> [readable(mathml(tex)) for tex in ("8nd^2 + 4n^2d", r"O(n^2)", r"QK^T/\sqrt{d_k}")]
        ['8nd² + 4n²d', 'O(n²)', 'QK^T/√(dₖ)']
    """
    try:
        words = _word(ElementTree.fromstring(math))
    except ElementTree.ParseError:  # a named character of HTML
        words = re.sub(r"<[^>]*>", "", plain(math))
    return re.sub(r"[\s\u2061-\u2064]+", " ", words).strip()


@dataclass
class _Reader(HTMLParser):
    """Collects the sections of a page as its tags go by."""

    sections: list[Section] = field(default_factory=list)
    anchor: str = ""  # of a <section> whose heading has not come
    heading: str = ""  # the tag of a heading that is being read
    reading: bool = False  # within <article>
    skipped: list[str] = field(default_factory=list)  # the tags in what is left out

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a section, or what is left out."""
        found = dict(attrs)
        classes = set((found.get("class") or "").split())
        self.reading = self.reading or tag == "article"
        if tag == "dt" and "sig" in classes and found.get("id"):  # a name of the API
            self.sections.append(Section(found["id"] or "", (found["id"] or "").removeprefix("attnlib.")))
        if tag == "div" and "citation" in classes and found.get("id"):
            self.sections.append(Section(found["id"] or ""))
            self.heading = ""
        if self.skipped or tag in SKIPPED or classes & SKIPPED_CLASSES:
            if tag not in VOID:
                self.skipped.append(tag)
            return
        if tag == "section" and found.get("id"):
            self.anchor = found["id"] or ""
        elif self.anchor and re.fullmatch(r"h[1-6]", tag):
            self.sections.append(Section(self.anchor))
            self.anchor, self.heading = "", tag
        elif tag == "span" and "label" in classes and self.sections and not self.sections[-1].heading:
            self.heading = tag
        elif tag not in INLINE:
            self.handle_data(" ")

    def handle_endtag(self, tag: str) -> None:
        """End a section's heading, or what was left out."""
        if self.skipped:
            if tag in self.skipped:  # and what was left open in it
                del self.skipped[len(self.skipped) - 1 - self.skipped[::-1].index(tag) :]
        elif tag == "article":
            self.reading = False
        elif tag == self.heading:
            self.heading = ""
        elif tag not in INLINE:
            self.handle_data(" ")

    def handle_data(self, data: str) -> None:
        """Add to the heading or to the text."""
        if not self.reading or self.skipped or not self.sections:
            return
        if self.heading:
            self.sections[-1].heading += data
        else:
            self.sections[-1].text += data


def read_sections(html: str) -> list[Section]:
    """The sections of a built page, in their order.

    Example:
        >>> page = '<article><section id="a"><h1>Cost<a class="headerlink">#</a></h1><p>Of <i>n</i>.</p><pre>1</pre>'
        >>> read_sections(page)
        [Section(anchor='a', heading='Cost', text='Of n.')]
    """
    reader = _Reader()
    reader.feed(MATH.sub(lambda math: escape(readable(math[0])), html))
    reader.close()
    for section in reader.sections:
        section.heading = " ".join(section.heading.split()).strip("[]")
        section.text = re.sub(r"\s+([.,;:)])", r"\1", " ".join(section.text.split()))
        if section.anchor.startswith("attnlib.") and len(section.text) > DEFINITION:
            section.text = section.text[:DEFINITION].rpartition(" ")[0] + " …"
    return [section for section in reader.sections if section.heading]


def _weight(page: str, heading: str) -> float:
    found = 1.0
    for table, name in ((PLACES, page), (HEADINGS, heading)):
        found *= next((weight for pattern, weight in table.items() if re.match(pattern, name)), 1.0)
    return found


def index(html: Path, names: list[str]) -> dict[str, Any]:
    """What ``search.js`` reads: pages (address, title) and sections (page, anchor, heading, text, weight)."""
    pages, rows = [], []
    for name in names:
        sections = read_sections((html / f"{name}.html").read_text(encoding="utf-8"))
        if sections:
            pages.append([f"{name}.html", sections[0].heading])
        for section in sections:
            weight = round(_weight(name, section.heading), 3)
            rows.append([len(pages) - 1, section.anchor, section.heading, section.text, weight])
    return {"pages": pages, "sections": rows, "names": NAMES}


def write_index(html: Path, names: list[str]) -> Path:
    """Write the index as a script: a page that is a file may load that, and nothing else."""
    file = html / "_static" / "sections.js"
    text = json.dumps(index(html, names), ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    file.write_text(f"window.bookSections={text};\n", encoding="utf-8")
    return file


def _results(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """The page of results, which Sphinx makes only together with its own index."""
    if app.builder.name == "html":
        yield "search", {"title": "Search"}, "search.html"


def _no_index(app: Sphinx) -> None:
    """Sphinx makes no index of words: nobody reads it."""
    if app.builder.name == "html":
        app.builder.search = False  # type: ignore[attr-defined]


def _add_own(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """The page of results alone has use for its script and its sheet."""
    if page == "search":
        app.add_css_file("search.css", priority=902)
        app.add_js_file("search.js", loading_method="defer")


def _write(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.name == "html":
        html = Path(app.outdir)
        names = sorted(app.env.found_docs, key=lambda name: (name != app.config.root_doc, name))
        write_index(html, [name for name in names if (html / f"{name}.html").is_file()])
        (html / "_static" / "searchtools.js").unlink(missing_ok=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Read the pages when they are written."""
    app.connect("builder-inited", _no_index)
    app.connect("html-collect-pages", _results)
    app.connect("html-page-context", _add_own)
    app.connect("build-finished", _write, priority=950)  # after their scripts have been made one
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
