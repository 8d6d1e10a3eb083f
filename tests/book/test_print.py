"""A page on paper: nothing is cut, what a screen folds or hides is there."""

from __future__ import annotations

import re
from pathlib import Path

import pypdfium2
import pytest
from book.pages import context, page_names, visit
from playwright.sync_api import Browser
from support import FULL

# A4 less the margins of book.css, in pixels of 1/96 inch.
COLUMN = 672
SOME = ("chapters/question.html", "chapters/benchmarks.html", "chapters/flash.html", "chapters/summary.html")
WIDE = """() => {
    const column = document.querySelector(".bd-article").getBoundingClientRect();
    return [...document.querySelectorAll(".bd-article *")].filter(e => {
        if (e.closest("svg, dialog, .visually-hidden") || e.parentElement.closest("math")) return false;
        const place = e.getBoundingClientRect();
        return place.width > 0 && place.right > column.right + 2;
    }).map(e => `${e.tagName} ${e.className} ${e.textContent.trim().slice(0, 40)}`);
}"""


def test_no_page_loses_a_column(running: Browser, site: str, html: Path) -> None:
    names = page_names(html) if FULL else [name for name in SOME if (html / name).is_file()]
    with context(running, "light", (COLUMN, 1000)) as opened:
        for name in names:
            with visit(opened, site, name) as seen:
                seen.page.evaluate("dispatchEvent(new Event('beforeprint'))")
                seen.page.emulate_media(media="print")
                assert seen.page.evaluate(WIDE) == [], name


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_a_printed_page_has_title_numbers_and_answers(running: Browser, site: str, paper: str) -> None:
    with context(running, "dark") as opened, visit(opened, site, "chapters/question.html") as seen:
        answers = seen.page.locator(".quiz-answer[data-option]").count()
        made = seen.page.pdf(format=paper, print_background=True)
    document = pypdfium2.PdfDocument(made)
    text = [page.get_textpage().get_text_bounded() for page in document]
    assert "The question: what does self-attention cost?" in text[0]
    assert sum(page.count("Not this one.") + page.count("Correct.") for page in text) == answers > 0
    for number, page in enumerate(text, 1):
        assert re.search(rf"(?m)^{number}\s*$", page), number


def test_a_frame_goes_with_its_code(running: Browser, site: str) -> None:
    """Around the box of a cell a frame would stay behind, empty, where its code goes on to the next page."""
    with context(running, "light") as opened, visit(opened, site, "chapters/question.html") as seen:
        seen.page.emulate_media(media="print")
        grounds = """() => [...document.querySelectorAll(".cell_input, .cell_input .highlight")]
            .map(e => getComputedStyle(e).backgroundColor)"""
        assert set(seen.page.evaluate(grounds)) == {"rgba(0, 0, 0, 0)"}
