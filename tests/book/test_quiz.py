"""The quiz: its grammar, its pages, and the mistakes it names."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from bs4 import BeautifulSoup, Tag
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from tools.ext.quiz import Option, QuizError, parse_quiz

ROOT = Path(__file__).resolve().parents[2]

GOOD = """Doubling $n$:
what happens?

- [ ] It doubles.
  > Only the projections do.
- [x] It quadruples,
  as $n^2$ does.
  > Each pair,
  > counted twice.
  >
  > ```python
  > - [x] not an option
  > ```
"""


def test_parse() -> None:
    """Question, options and feedback come out without indentation and marks, each with its line."""
    quiz = parse_quiz(GOOD)
    assert quiz.question == "Doubling $n$:\nwhat happens?"
    assert quiz.options[0] == Option("It doubles.", False, "Only the projections do.", 3, 4)
    assert quiz.options[1].text == "It quadruples,\nas $n^2$ does."
    assert quiz.options[1].feedback == "Each pair,\ncounted twice.\n\n```python\n- [x] not an option\n```"
    assert (quiz.options[1].line, quiz.options[1].feedback_line) == (5, 7)
    assert (quiz.answer, quiz.multiple) == ("B", False)


def test_parse_several_answers() -> None:
    """Several correct options make it a multiple choice."""
    quiz = parse_quiz("Which?\n\n- [x] One.\n  > a\n- [ ] Two.\n  > b\n- [X] Three.\n  > c\n")
    assert (quiz.answer, quiz.multiple) == ("A, C", True)


def test_a_list_in_a_fence_is_not_an_option() -> None:
    """Code in the question may look like an option."""
    quiz = parse_quiz("What is this?\n\n```\n- [x] a list\n```\n\n- [ ] Code.\n  > no\n- [x] Text.\n  > yes")
    assert "- [x] a list" in quiz.question
    assert [option.text for option in quiz.options] == ["Code.", "Text."]


TWO = "- [x] Yes.\n  > a\n- [ ] No.\n  > b\n"
WRONG = {
    "no question": (TWO, "a quiz needs a question", 0),
    "no options": ("Why?", "needs 2 to 26 options '- [ ] …', got 0", 0),
    "one option": ("Why?\n\n- [x] So.\n  > a", "got 1", 0),
    "none correct": ("Why?\n\n- [ ] So.\n  > a\n- [ ] Not so.\n  > b", "no option is marked correct", 2),
    "no feedback": ("Why?\n\n- [x] So.\n- [ ] Not so.\n  > b", "option 'So.' has no feedback", 2),
    "empty feedback": ("Why?\n\n- [x] So.\n  >\n- [ ] Not so.\n  > b", "option 'So.' has empty feedback", 3),
    "quote not indented": ("Why?\n\n- [x] So.\n> a\n- [ ] Not so.\n  > b", "option 'So.' has no feedback", 2),
    "no text": ("Why?\n\n- [x] So.\n  > a\n- [ ]\n  > b", "an option has no text", 4),
    "strange mark": ("Why?\n\n- [x] So.\n  > a\n- [*] Not so.\n  > b", "got '[*]'", 4),
    "text after feedback": ("Why?\n\n- [x] So.\n  > a\n  more\n- [ ] No.\n  > b", "nothing follows the feedback", 4),
}


@pytest.mark.parametrize(("text", "message", "line"), WRONG.values(), ids=WRONG)
def test_parse_names_the_mistake(text: str, message: str, line: int) -> None:
    """Each mistake is a ValueError that says what was expected, and where."""
    with pytest.raises(QuizError, match=re.escape(message)) as caught:
        parse_quiz(text)
    assert isinstance(caught.value, ValueError)
    assert caught.value.line == line


# ------------------------------------------------------------------ in Sphinx

QUIZ = ":::{quiz} quiz-size\n" + GOOD + ":::\n"
Build = Callable[..., tuple[Path, str]]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Build pages (name to Markdown) with a builder; gives the output and the warnings."""

    def run(builder: str = "html", **pages: str) -> tuple[Path, str]:
        source = tmp_path / "source"
        source.mkdir()
        others = [name for name in pages if name != "index"]
        toctree = "\n```{toctree}\n" + "\n".join(others) + "\n```\n" if others else ""
        for name, text in pages.items():
            (source / f"{name}.md").write_text(f"# {name}\n\n{text}{toctree if name == 'index' else ''}", "utf-8")
        settings = {
            "extensions": ["myst_parser", "tools.ext.quiz"],
            "myst_enable_extensions": ["colon_fence", "dollarmath"],
            "html_theme": "basic",
            "language": "en",
        }
        warnings = StringIO()
        with patch_docutils(str(source)), docutils_namespace():
            out = tmp_path / builder
            app = Sphinx(source, None, out, tmp_path / "trees", builder, settings, StringIO(), warnings)
            app.build()
        return out, warnings.getvalue()

    return run


def only(found: list[Tag]) -> Tag:
    """Return the one element."""
    assert len(found) == 1
    return found[0]


def test_page(build: Build) -> None:
    """Native inputs in a fieldset with a legend, each with its label; feedback in a closed box; a live region."""
    out, warnings = build(index=QUIZ)
    assert warnings == ""
    form = only(BeautifulSoup((out / "index.html").read_text("utf-8"), "html.parser").select("form.quiz"))
    legend = only(form.select("fieldset > legend"))
    assert "choose one" in legend.get_text()
    assert r"Doubling \(n\)" in legend.get_text()
    inputs = form.select("input")
    assert [(i["type"], i["name"], i["value"]) for i in inputs] == [("radio", "quiz-size", m) for m in "AB"]
    for one in inputs:
        assert only(form.select(f"label[for={one['id']}]")).get_text(strip=True)
    assert only(form.select("[role=status][aria-live=polite]")).get_text() == ""
    box = only(form.select("details"))
    assert not box.has_attr("open")
    assert [a["data-correct"] for a in box.select(".quiz-answer")] == ["false", "true"]
    assert "not an option" in only(box.select(".quiz-answer[data-option=B] pre")).get_text()
    button = only(form.select("button[type=submit]"))
    assert button.has_attr("disabled")
    assert button.has_attr("hidden")
    identities = [tag["id"] for tag in form.select("[id]")]
    assert len(identities) == len(set(identities))


def test_blocks_stay_out_of_the_legend(build: Build) -> None:
    """A legend and a label hold text only: further blocks follow them, and describe the group and the input."""
    text = "What follows?\n\n$$x^2$$\n\n- [x] This:\n\n  ```\n  code\n  ```\n  > Right.\n- [ ] Nothing.\n  > No.\n"
    out, warnings = build(index=":::{quiz} quiz-blocks\n" + text + ":::\n")
    assert warnings == ""
    form = only(BeautifulSoup((out / "index.html").read_text("utf-8"), "html.parser").select("form.quiz"))
    assert not form.select("legend div, label div, legend p, label p")
    for holder in (form.fieldset, form.select_one("#quiz-blocks-a")):
        assert holder is not None
        described = [form.find(id=name) for name in str(holder["aria-describedby"]).split()]
        assert all(described)
    assert "x^2" in only(form.select("#quiz-blocks-more .math")).get_text()
    assert "code" in only(form.select("#quiz-blocks-a-more pre")).get_text()


def test_several_answers_are_checkboxes(build: Build) -> None:
    """Two correct options: boxes to tick."""
    out, _ = build(index=QUIZ.replace("[ ] It", "[x] It"))
    page = BeautifulSoup((out / "index.html").read_text("utf-8"), "html.parser")
    assert {i["type"] for i in page.select("form.quiz input")} == {"checkbox"}
    assert "choose all that apply" in only(page.select("legend")).get_text()


MISTAKES = {
    "none correct": (QUIZ.replace("[x] It", "[ ] It"), 7, "no option is marked correct"),
    "no feedback": (QUIZ.replace("  > Only the projections do.\n", ""), 7, "has no feedback"),
    "bad label": (QUIZ.replace("quiz-size", "Quiz_Size"), 3, "a label is lower-case letters"),
    "used twice": (QUIZ + "\n" + QUIZ, 19, "already used in index.md"),
}


@pytest.mark.parametrize(("text", "line", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_names_file_and_line(build: Build, text: str, line: int, message: str) -> None:
    """A wrong quiz is an error (with -W, the end of the build) at its own line."""
    _, warnings = build(index=text)
    found = re.search(r"index\.md:(\d+): ERROR: quiz '[\w-]+': (.*)", warnings)
    assert found, warnings
    assert message in found[2]
    assert int(found[1]) == line


def test_a_label_used_on_two_pages(build: Build) -> None:
    """A label is unique in the book."""
    _, warnings = build(index=QUIZ, other=QUIZ)
    assert re.search(r"other\.md:\d+: ERROR: quiz 'quiz-size': this label is already used in index\.md", warnings)
