"""The ``{number}`` directive: a question whose answer is a number, with other numbers at the press of a button.

    :::{number} derivation.core
    :::

The question is a function of `attnlib.book.questions`, the chapter's module. The page holds it with the numbers of
the first `SEEDS` seeds, each with answer, reason and common mistakes in a ``<details>``, so that they can be read
without scripts; ``quiz.js`` shows one at a time and checks what is typed.
"""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from attnlib.book import questions
from tools.ext.quiz import claim

logger = logging.getLogger(__name__)

SEEDS = 4


class number(nodes.General, nodes.Element):
    """A question with all its seeds; attribute `label`."""


class number_variant(nodes.General, nodes.Element):
    """The question of one seed; attributes `label`, `seed` and `asked`, its text first among the children."""


class number_question(nodes.TextElement):
    """The text of a variant: HTML lets a legend hold text, not blocks."""


class number_remark(nodes.General, nodes.Element):
    """Why the answer is right (`value` is None), or what leads to a wrong `value`."""


def label_of(name: str) -> str:
    """The id of a question's form.

    >>> label_of("derivation.core_share")
    'number-derivation-core-share'
    """
    return "number-" + name.replace(".", "-").replace("_", "-")


class NumberDirective(SphinxDirective):
    """``{number} chapter.question``: see the module's docstring."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the form's nodes; a mistake is an error at the directive's line."""
        name = self.arguments[0]
        label = label_of(name)
        try:
            claim(self.env, label)
            asked = [questions.pose(name, seed) for seed in range(SEEDS)]
            if len({(each.question, each.answer) for each in asked}) < SEEDS:
                raise ValueError(f"expected {SEEDS} different questions of the first seeds, got some twice")
        except ValueError as error:
            logger.error("number %r: %s", name, error, location=(self.env.docname, self.lineno), type="number")
            return []
        root = number(label=label, ids=[label])
        for seed, each in enumerate(asked):
            variant = number_variant(label=label, seed=seed, asked=each)
            (paragraph,) = self._parse(each.question)
            variant += number_question("", "", *paragraph.children)
            for value, said in ((None, each.why), *each.wrong):
                variant += number_remark(
                    "",
                    *self._parse(said),
                    value=value,
                    shown=questions.with_unit(each.answer if value is None else value, each.unit),
                )
            root += variant
        self.set_source_info(root)
        return [root]

    def _parse(self, text: str) -> list[nodes.Element]:
        box = nodes.Element()
        self.state.nested_parse(StringList(text.splitlines(), source=self.get_source_info()[0]), 0, box)
        return [child for child in box.children if isinstance(child, nodes.Element)]


def _visit_number(self: Any, node: number) -> None:
    self.body.append(f'<form class="quiz quiz-numeric" id="{escape(node["label"])}" autocomplete="off">\n')


def _depart_number(self: Any, node: number) -> None:
    self.body.append("</form>\n")


def _visit_variant(self: Any, node: number_variant) -> None:
    asked = node["asked"]
    hidden = " hidden" if node["seed"] else ""
    unit = f' data-unit="{escape(asked.unit)}"' if asked.unit else ""
    within = f"a number, within {100 * asked.tolerance:g} %" if asked.tolerance else "a number, exactly"
    self.body.append(
        f'<fieldset data-seed="{node["seed"]}" data-answer="{asked.answer!r}" data-tolerance="{asked.tolerance!r}"'
        f'{unit}{hidden}>\n<legend><span class="quiz-kind">Question <span>({within})</span></span> '
    )


def _visit_question(self: Any, node: number_question) -> None:
    self.body.append('<span class="quiz-question">')


def _depart_question(self: Any, node: number_question) -> None:
    # The field and the buttons are of use only with scripts: quiz.js shows them.
    variant = node.parent
    field, unit = f"{escape(variant['label'])}-{variant['seed']}", escape(variant["asked"].unit)
    self.body.append(
        "</span></legend>\n"
        f'<p class="quiz-number" hidden><label for="{field}">Your answer{f" in {unit}" if unit else ""}</label> '
        f'<input type="text" inputmode="decimal" id="{field}" spellcheck="false"></p>\n'
        '<button type="button" class="quiz-check" disabled hidden>Check</button>\n'
        '<button type="button" class="quiz-other" disabled hidden>Other numbers</button>\n'
        '<div class="quiz-status" role="status" aria-live="polite"></div>\n'
        '<details class="quiz-answers"><summary>Answer and explanation</summary>\n'
    )


def _depart_variant(self: Any, node: number_variant) -> None:
    self.body.append("</details></fieldset>\n")


def _visit_remark(self: Any, node: number_remark) -> None:
    right, shown = node["value"] is None, escape(node["shown"])
    value = "" if right else f' data-value="{node["value"]!r}"'
    self.body.append(
        f'<div class="quiz-answer" data-correct="{"true" if right else "false"}"{value}>'
        f'<p class="quiz-judgement">{shown if right else f"If you got {shown}"}</p>'
    )


def _depart_remark(self: Any, node: number_remark) -> None:
    self.body.append("</div>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive and its nodes; the script is the quiz's."""
    app.setup_extension("tools.ext.quiz")
    app.add_directive("number", NumberDirective)
    app.add_node(number, html=(_visit_number, _depart_number))
    app.add_node(number_variant, html=(_visit_variant, _depart_variant))
    app.add_node(number_question, html=(_visit_question, _depart_question))
    app.add_node(number_remark, html=(_visit_remark, _depart_remark))
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
