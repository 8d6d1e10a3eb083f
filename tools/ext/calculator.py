"""The ``{calculator}`` directive and the ``{calc}`` role: what a model takes, calculated in the page.

The form is made from `attnlib.book.calculator.FIELDS`, and so is the answer that it shows before anyone has changed
it, and without scripts. `tools.javascript` writes the calculation for the browser.

``{calc}`Words <model=…&context=…>``` is a link that opens the calculator with these settings; a setting that it would
refuse is an error of the build.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

PAGE = "chapters/calculator"
"""Where the calculator stands: links lead there."""

SCRIPT = "calculator-cost.js"
GROUPS = {"model": "Model", "sizes": "Its sizes", "devices": "Devices", "load": "Load"}


class calculator(nodes.General, nodes.Element):
    """The calculator."""


class CalculatorDirective(SphinxDirective):
    """``{calculator}``."""

    def run(self) -> list[nodes.Node]:
        """Put the calculator here."""
        return [calculator(ids=["calculator"])]


class CalculatorRole(SphinxRole):
    """``{calc}`Words <settings>```."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Write the link."""
        try:
            words, fragment = read_link(self.text)
        except ValueError as error:
            message = self.inliner.reporter.error(str(error), line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]
        link = nodes.reference("", words, internal=True, classes=["calc-link"])
        link["calc"] = fragment
        return [link], []


def read_link(content: str) -> tuple[str, str]:
    """Return the words and the fragment of a link to the calculator, or raise.

    Example:
        >>> read_link("A question <model=gemma-3-27b&context=128k>")
        ('A question', '#calc=model=gemma-3-27b&context=128k')
    """
    from attnlib.book import calculator as it

    match = re.fullmatch(r"(.+?)\s*<([^<>]+)>", content, re.DOTALL)
    if match is None:
        raise ValueError(f"calc: expected `words <field=value&…>`, got {content!r}")
    given = dict(parse_qsl(match[2], keep_blank_values=True))
    it.address(**given)
    it.calculate(it.settings(**given))
    # All that is given, whether it is as at the start or not: a link in the text means what it says.
    return match[1], f"#calc={match[2]}"


def write_addresses(app: Sphinx, doctree: nodes.document, document: str) -> None:
    """Let each link lead to the calculator's page."""
    for link in doctree.findall(nodes.reference):
        if "calc" in link:
            page = "" if document == PAGE else app.builder.get_relative_uri(document, PAGE)
            link["refuri"] = page + link["calc"]


def form() -> str:
    """Return the calculator's HTML."""
    from attnlib.book import calculator as it

    texts = it.starts()
    groups = []
    for group, title in GROUPS.items():
        entries = [entry for entry in it.FIELDS if entry.group == group]
        hidden = "" if any(entry.asked(texts) for entry in entries) else " hidden"
        fields = "".join(_field(entry, entry.asked(texts)) for entry in entries)
        groups.append(
            f'<fieldset data-group="{group}"{hidden}><legend>{title}</legend><div>{fields}</div></fieldset>'
        )
    answer = it.calculate(it.settings())
    return f"""<form class="calculator" id="calculator" aria-label="Calculator" autocomplete="off" novalidate>
<div class="calc-fields">{"".join(groups)}</div>
<div class="calc-answer" role="group" aria-label="Answer" tabindex="-1">
<div class="calc-said" role="status" aria-live="polite">{it.said(answer)}</div>
<div class="calc-shown">{it.shown(answer)}</div>
</div>
<p class="calc-tools" hidden><button type="button" class="calc-copy">Copy link</button>
<button type="reset">Start again</button> <span class="calc-told" role="status"></span></p>
<p class="calc-still">Other settings need JavaScript; <code>python -m attnlib model</code> takes them, too.</p>
</form>
"""


def _field(entry: Any, asked: bool) -> str:
    name = f"calc-{entry.key}"
    described = f'aria-describedby="{name}-hint {name}-error"' if entry.hint else f'aria-describedby="{name}-error"'
    common = f'id="{name}" data-key="{entry.key}" data-start="{escape(entry.start)}" {described} disabled'
    extra = ""
    if entry.kind == "choice":
        options = "".join(
            f'<option value="{escape(key)}"{" selected" if key == entry.start else ""}>{escape(words)}</option>'
            for key, words in entry.choices.items()
        )
        control = f"<select {common}>{options}</select>"
    elif entry.kind == "flag":
        control = f'<input type="checkbox" {common}{" checked" if entry.start == "yes" else ""}>'
    elif entry.kind == "json":
        control = f'<textarea {common} rows="5" spellcheck="false">{escape(entry.start)}</textarea>'
    else:
        mode = 'list="calc-models"' if entry.kind == "name" else 'inputmode="text"'
        control = f'<input type="text" {mode} {common} value="{escape(entry.start)}" spellcheck="false">'
    if entry.kind == "name":
        options = "".join(f'<option value="{escape(k)}">{escape(v)}</option>' for k, v in entry.choices.items())
        extra = f'<datalist id="calc-models">{options}</datalist>'
    first, _, index = entry.letter.partition("_")
    letter = f" <i>{first}{f'<sub>{index}</sub>' if index else ''}</i>" if first else ""
    hint = f'<span class="calc-hint" id="{name}-hint">{escape(entry.hint)}</span>' if entry.hint else ""
    return (
        f'<div class="calc-field kind-{entry.kind}"{"" if asked else " hidden"}>'
        f'<label for="{name}">{escape(entry.label)}{letter}</label>{control}{extra}{hint}'
        f'<span class="calc-error" id="{name}-error"></span></div>'
    )


def script() -> str:
    """Return the calculation in JavaScript."""
    from attnlib.book import calculator as it
    from tools.javascript import translate

    named = {name: getattr(it, name) for name in ("FIELDS", "read", "calculate", "said", "shown")}
    numbers = {"model_of": it.model_of, "served": it.served, "trained": it.trained}  # for the tests
    return translate("CALCULATOR", {**named, "asked": it.Field.asked, **numbers})


def write_script(app: Sphinx) -> None:
    """Write the calculation beside the book's other scripts."""
    if app.builder.format == "html":
        folder = Path(app.outdir) / "_static"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SCRIPT).write_text(script(), encoding="utf-8")


def add_files(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Give the page with the calculator its scripts and its sheet."""
    if doctree is not None and any(doctree.findall(calculator)):
        app.add_css_file("calculator.css", priority=904)
        app.add_js_file(SCRIPT, loading_method="defer", priority=600)
        app.add_js_file("calculator.js", loading_method="defer", priority=601)


def _visit(self: Any, node: calculator) -> None:
    self.body.append(form())


def _depart(self: Any, node: calculator) -> None:
    pass


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive, the role, the scripts and the sheet."""
    app.add_node(calculator, html=(_visit, _depart))
    app.add_directive("calculator", CalculatorDirective)
    app.add_role("calc", CalculatorRole())
    app.connect("builder-inited", write_script)
    app.connect("doctree-resolved", write_addresses)
    app.connect("html-page-context", add_files)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
