"""Formulas are MathML in the page: nothing is typeset by the reader's browser, and nothing is loaded for it.

A formula that Temml does not read is a warning with its place, which fails the build. The TeX stays with each formula
as an annotation, which a copy of it holds and a screen reader skips; titles and previews leave it out.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

from tools.mathml import mathml, plain

logger = getLogger(__name__)

ENVIRONMENT = re.compile(r"\\begin\{([a-z]+\*?)\}(?:(?!\\begin).)*?\\end\{\1\}", re.DOTALL)


def _set(self: HTML5Translator, node: nodes.Element, tex: str, display: bool) -> str:
    try:
        return mathml(tex, display, self.builder.name == "epub")
    except ValueError as error:
        logger.warning("a formula is no TeX: %s: %s", " ".join(str(error).split()), tex.strip(), location=node)
        return f"<code>{self.encode(tex)}</code>"


def _visit_math(self: HTML5Translator, node: nodes.math) -> None:
    formula = _set(self, node, node.astext(), False)
    long = " long" if len(node.astext()) > 40 else ""  # on a phone it may have to scroll
    self.body.append(
        self.starttag(node, "span", "", CLASS=f"math notranslate nohighlight{long}") + f"{formula}</span>"
    )
    raise nodes.SkipNode


def join_equations(text: str) -> str:
    r"""A block of the source as one formula: an empty line, or \\ in no environment, begins another equation.

    Example:
        >>> print(join_equations("a &= b" + 2 * chr(10) + "c &= d"))
        \begin{aligned}a &= b\\c &= d\end{aligned}
    """
    parts = [part.strip() for part in text.split("\n\n") if part.strip()]
    if len(parts) == 1 and r"\\" not in _outside(text):
        return parts[0]
    return rf"\begin{{aligned}}{(chr(92) * 2).join(parts)}\end{{aligned}}"


def _outside(tex: str) -> str:
    """What is in no environment."""
    shorter = ENVIRONMENT.sub("", tex)
    return tex if shorter == tex else _outside(shorter)


def _visit_block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    tex = node.astext() if node["nowrap"] else join_equations(node.astext())
    # A box of its own: a wide formula scrolls in it, and its number stays in sight.
    self.body.append(f'<div class="typeset">{_set(self, node, tex, True)}</div></div>\n')
    raise nodes.SkipNode


def _plain_titles(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """What becomes text without tags (a page's title, its neighbours') keeps of a formula what it says."""
    if "title" in context:
        context["title"] = plain(context["title"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer, and make it the one that is used."""
    app.add_html_math_renderer("mathml", (_visit_math, None), (_visit_block, None))
    app.connect("html-page-context", _plain_titles)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
