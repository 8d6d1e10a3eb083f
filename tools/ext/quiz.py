"""The ``{quiz}`` directive: a question to check oneself with, by keyboard, by screen reader, without scripts.

A quiz is written as a question followed by a task list. Each option carries its feedback as a blockquote::

    :::{quiz} quiz-doubling
    Doubling $n$ at fixed $d$: what happens to the core?

    - [ ] It doubles.
      > Only the projections double.
    - [x] It quadruples.
      > Scores and weighted sum each touch $n^2$ pairs.
    :::

One ``[x]`` gives radio buttons, several give checkboxes. `parse_quiz` is a pure function, shared with the
notebook converter. In HTML the answers sit in a ``<details>``, so that they can be read without scripts;
``quiz.js`` adds the button that checks a choice. The book is written by no other builder.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

_OPTION = re.compile(r"- \[(?P<mark>.)\](?:\s+(?P<text>.*))?$")
_FENCE = re.compile(r"\s*(`{3,}|~{3,}|:{3,})")
_LABEL = re.compile(r"[a-z][a-z0-9-]*")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class QuizError(ValueError):
    """A quiz that cannot be used; `line` counts from 0 in its text, and is -1 for what precedes the text."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Option:
    """One option: Markdown of its text and of its feedback, and the lines (from 0) where they start."""

    text: str
    correct: bool
    feedback: str
    line: int = 0
    feedback_line: int = 0


@dataclass(frozen=True)
class Quiz:
    """A question and its options, in Markdown."""

    question: str
    options: list[Option]

    @property
    def multiple(self) -> bool:
        """Whether several options are correct, so that the reader ticks boxes."""
        return sum(option.correct for option in self.options) > 1

    @property
    def answer(self) -> str:
        """The letters of the correct options, such as ``B`` or ``A, C``."""
        return ", ".join(letter(i) for i, option in enumerate(self.options) if option.correct)


def letter(index: int) -> str:
    """Letter by which a reader refers to an option: 0 is A."""
    return _LETTERS[index]


def parse_quiz(text: str) -> Quiz:
    r"""Parse the body of a quiz directive.

    Args:
        text: Markdown: a question, then ``- [ ]`` and ``- [x]`` items, each with a blockquote as feedback.

    Returns:
        The question and its options, with indentation and quote marks removed.

    Raises:
        QuizError: No question, fewer than two options, none correct, or an option without text or feedback.

    Example:
        >>> quiz = parse_quiz("Is $2 > 1$?\n\n- [x] Yes.\n  > By one.\n- [ ] No.\n  > Subtract.")
        >>> quiz.question, quiz.answer, quiz.options[1].feedback
        ('Is $2 > 1$?', 'A', 'Subtract.')
    """
    lines = text.splitlines()
    starts = list(_option_lines(lines))
    question = "\n".join(lines[: starts[0]] if starts else lines).strip()
    if not question:
        raise QuizError("a quiz needs a question before its first option", 0)
    if not 2 <= len(starts) <= len(_LETTERS):
        raise QuizError(f"a quiz needs 2 to {len(_LETTERS)} options '- [ ] …', got {len(starts)}", 0)
    ends = [*starts[1:], len(lines)]
    options = [_parse_option(lines[a:b], a) for a, b in zip(starts, ends, strict=True)]
    if not any(option.correct for option in options):
        raise QuizError("no option is marked correct with '- [x]'", starts[0])
    return Quiz(question, options)


def _option_lines(lines: list[str]) -> Iterator[int]:
    """Indices of the lines that open an option, outside fenced blocks."""
    fence = ""
    for i, line in enumerate(lines):
        found = _FENCE.match(line)
        if fence:
            if line.strip() and set(line.strip()) == {fence[0]} and len(line.strip()) >= len(fence):
                fence = ""
        elif found:
            fence = found[1]
        elif _OPTION.match(line):
            yield i


def _parse_option(lines: list[str], start: int) -> Option:
    head = _OPTION.match(lines[0])
    assert head is not None  # `_option_lines` chose this line with the same pattern
    mark = head["mark"]
    if mark not in " xX":
        raise QuizError(f"an option is marked '[ ]' or '[x]', got '[{mark}]'", start)
    # A quote belongs to the item's own indentation: a '>' inside a fenced block is not feedback.
    quotes = [i for i, line in enumerate(lines[1:], 1) if re.match(r" {1,5}>", line)]
    if not quotes:
        raise QuizError(f"option {head['text']!r} has no feedback: add an indented '> …' below it", start)
    first = quotes[0]
    body = [head["text"] or "", textwrap.dedent("\n".join(lines[1:first]))]
    text = "\n".join(body).strip()
    if not text:
        raise QuizError("an option has no text", start)
    loose = [i for i, line in enumerate(lines[first:], first) if line.strip() and not re.match(r" {1,5}>", line)]
    if loose:
        raise QuizError(
            f"expected '>' before {lines[loose[0]].strip()!r}: nothing follows the feedback of an option",
            start + loose[0],
        )
    feedback = "\n".join(re.sub(r"^ {1,5}> ?", "", lines[i]) for i in quotes).strip()
    if not feedback:
        raise QuizError(f"option {head['text']!r} has empty feedback", start + first)
    return Option(text, mark != " ", feedback, start, start + first)


class quiz(nodes.General, nodes.Element):
    """A whole quiz; attributes `label` and `multiple`."""


class quiz_legend(nodes.TextElement):
    """First paragraph of the question: HTML lets a legend hold text, not blocks."""


class quiz_blocks(nodes.General, nodes.Element):
    """Blocks of the question or of an option after its first paragraph."""


class quiz_option(nodes.General, nodes.Element):
    """One option; attributes `index` and `correct`."""


class quiz_text(nodes.TextElement):
    """First paragraph of an option, inside its label."""


class quiz_answers(nodes.General, nodes.Element):
    """What to think of each option."""


class quiz_answer(nodes.General, nodes.Element):
    """Feedback on one option; attributes `index` and `correct`."""


class QuizDirective(SphinxDirective):
    """``{quiz} label``: see the module's docstring."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Parse the quiz into its nodes; a mistake is an error at its own line, and leaves nothing."""
        label = self.arguments[0]
        try:
            claim(self.env, label)
            parsed = parse_quiz("\n".join(self.content))
        except QuizError as error:
            # MyST counts the body's lines from the line that opens the directive.
            line = self.lineno if error.line < 0 else self.lineno + self.content_offset + error.line + 1
            logger.error("quiz %r: %s", label, error, location=(self.env.docname, line), type="quiz")
            return []
        root = quiz(label=label, multiple=parsed.multiple, ids=[label])
        root += self._split(parsed.question, self._first_line(), quiz_legend)
        answers = quiz_answers()
        for i, option in enumerate(parsed.options):
            node = quiz_option(label=label, multiple=parsed.multiple, index=i, correct=option.correct)
            node += self._split(option.text, option.line, quiz_text)
            root += node
            answer = quiz_answer(index=i, correct=option.correct)
            answer += self._parse(option.feedback, option.feedback_line)
            answers += answer
        root += answers
        self.set_source_info(root)
        return [root]

    def _first_line(self) -> int:
        return next(i for i, line in enumerate(self.content) if line.strip())

    def _parse(self, text: str, line: int) -> list[nodes.Node]:
        """Parse Markdown that stands at `line` of the directive's body."""
        box = nodes.Element()
        content = StringList(text.splitlines(), source=self.get_source_info()[0])
        self.state.nested_parse(content, self.content_offset + line, box)
        return list(box.children)

    def _split(self, text: str, line: int, inline: type[nodes.TextElement]) -> list[nodes.Node]:
        """Parse `text`: its first paragraph as an `inline` node, the rest as blocks."""
        first, *rest = self._parse(text, line)
        if not isinstance(first, nodes.paragraph):
            first, rest = nodes.paragraph(), [first, *rest]
        head = inline(first.rawsource, "", *first.children)
        return [head, quiz_blocks("", *rest)] if rest else [head]


def claim(env: BuildEnvironment, label: str) -> None:
    """Keep a label of the whole book for the page that is being read.

    Raises:
        QuizError: a label of another form, or one that is taken.
    """
    if not _LABEL.fullmatch(label):
        raise QuizError("a label is lower-case letters, digits and hyphens, starting with a letter", -1)
    seen = _labels(env)
    if label in seen:
        raise QuizError(f"this label is already used in {env.doc2path(seen[label], False)}", -1)
    seen[label] = env.docname


def _labels(env: BuildEnvironment) -> dict[str, str]:
    """Quiz labels of the whole book and the page where each stands."""
    labels: dict[str, str] = vars(env).setdefault("quiz_labels", {})
    return labels


def _purge(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    for label in [label for label, page in _labels(env).items() if page == docname]:
        del _labels(env)[label]


def _merge(app: Sphinx, env: BuildEnvironment, docnames: list[str], other: BuildEnvironment) -> None:
    for label, page in _labels(other).items():
        if _labels(env).setdefault(label, page) != page:
            message = "quiz %r: this label is already used in %s"
            logger.error(message, label, env.doc2path(_labels(env)[label], False), location=page, type="quiz")


def _verdict(correct: bool) -> str:
    return "Correct." if correct else "Not this one."


def _name(node: nodes.Element) -> str:
    return f"{node['label']}-{letter(node['index']).lower()}"


def _has_blocks(node: nodes.Element) -> bool:
    return any(isinstance(child, quiz_blocks) for child in node.children)


def _visit_quiz(self: Any, node: quiz) -> None:
    label = escape(node["label"])
    how = "choose all that apply" if node["multiple"] else "choose one"
    more = f' aria-describedby="{label}-more"' if _has_blocks(node) else ""
    self.body.append(f'<form class="quiz" id="{label}" autocomplete="off"><fieldset{more}>\n<legend>')
    self.body.append(f'<span class="quiz-kind">Question <span>({how})</span></span> ')


def _visit_legend(self: Any, node: quiz_legend) -> None:
    self.body.append('<span class="quiz-question">')


def _depart_legend(self: Any, node: quiz_legend) -> None:
    self.body.append("</span></legend>\n")


def _visit_blocks(self: Any, node: quiz_blocks) -> None:
    parent = node.parent
    name = parent["label"] if isinstance(parent, quiz) else _name(parent)
    self.body.append(f'<div class="quiz-more" id="{escape(name)}-more">')


def _close_div(self: Any, node: nodes.Element) -> None:
    self.body.append("</div>\n")


def _visit_option(self: Any, node: quiz_option) -> None:
    kind = "checkbox" if node["multiple"] else "radio"
    name, label, mark = escape(_name(node)), escape(node["label"]), letter(node["index"])
    more = f" {name}-more" if _has_blocks(node) else ""
    self.body.append(
        f'<div class="quiz-option"><input type="{kind}" name="{label}" id="{name}" value="{mark}"'
        f' aria-describedby="{name}-verdict{more}">'
        f'<label for="{name}"><span class="quiz-letter">{mark}.</span> '
    )


def _visit_text(self: Any, node: quiz_text) -> None:
    self.body.append('<span class="quiz-text">')


def _depart_text(self: Any, node: quiz_text) -> None:
    name = escape(_name(node.parent))
    self.body.append(f'</span></label><span class="quiz-verdict" id="{name}-verdict"></span>\n')


def _visit_answers(self: Any, node: quiz_answers) -> None:
    # The button is of use only with scripts: quiz.js shows it. A disabled submit button also keeps Enter from
    # sending the form where there are none.
    self.body.append(
        '<button type="submit" class="quiz-check" disabled hidden>Check</button>\n'
        '<div class="quiz-status" role="status" aria-live="polite"></div>\n'
        '<details class="quiz-answers"><summary>Answer and explanation</summary>\n'
    )


def _depart_answers(self: Any, node: quiz_answers) -> None:
    self.body.append("</details></fieldset>")


def _visit_answer(self: Any, node: quiz_answer) -> None:
    mark = letter(node["index"])
    correct = "true" if node["correct"] else "false"
    self.body.append(
        f'<div class="quiz-answer" data-option="{mark}" data-correct="{correct}">'
        f'<p class="quiz-judgement">{mark}. {_verdict(node["correct"])}</p>'
    )


def _depart_quiz(self: Any, node: quiz) -> None:
    self.body.append("</form>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive, its nodes and its script."""
    app.add_directive("quiz", QuizDirective)
    app.add_node(quiz, html=(_visit_quiz, _depart_quiz))
    app.add_node(quiz_legend, html=(_visit_legend, _depart_legend))
    app.add_node(quiz_blocks, html=(_visit_blocks, _close_div))
    app.add_node(quiz_option, html=(_visit_option, _close_div))
    app.add_node(quiz_text, html=(_visit_text, _depart_text))
    app.add_node(quiz_answers, html=(_visit_answers, _depart_answers))
    app.add_node(quiz_answer, html=(_visit_answer, _close_div))
    app.connect("env-purge-doc", _purge)
    app.connect("env-merge-info", _merge)
    app.add_js_file("quiz.js", loading_method="defer")
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
