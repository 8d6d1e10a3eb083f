"""`make slides`: slides of the six central chapters, made from the built pages, as HTML and PDF.

    python -m tools.shelf.slides [--no-pdf] [CHAPTER …]

A slide for each figure, boxed formula and theorem of a section, with the section's takeaway; for a section without
them its table, in pieces where it is long, its code or its first paragraph. Each step of a drawing is a slide, and so
is each question, without its answer. A deck is one file that asks for nothing, in _build/html/slides/: arrow keys
turn it, printing gives a slide a page, and theme/print/slides.js sets smaller what would not fit.
"""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path

from bs4 import BeautifulSoup, Tag
from playwright.sync_api import Browser, Error

from tools.chromium import browser
from tools.ext.landing import read_edition
from tools.files import ROOT, save, save_bytes
from tools.repository import Repository, read_repository
from tools.shelf.pages import BookError, address, read_article, words

CHAPTERS = ("derivation", "memory", "generation", "flash", "lower-bound", "production")
FOLDER = "slides"
# What fits on a wall, of what a section shows when it has neither figure nor formula.
TABLE_LETTERS, TABLE_ROWS, TABLE_SLIDES, CODE_LINES, LEAD_LETTERS = 600, 9, 4, 20, 520
# With more than these a takeaway has a slide of its own.
SLIDE_LETTERS = 1000
# Statements of no more than these in all share a slide.
STATEMENT_LETTERS = 560
LEFT_OUT = ("exercises", "further-reading")
# Wider than this and a drawing stands above its words, else beside them.
WIDE = 1.9


@dataclass(frozen=True)
class Slide:
    """One slide: what its section is called, what it shows, and the words with it.

    Attributes:
        above: the section that its own stands in, if any.
        shown: HTML of a figure, formula, theorem, table or code, or "".
        words: HTML of caption and takeaway, or of the text.
        kind: a class: "title", "beside", "stacked", "statement", "text".
        place: id of the section in its page.
    """

    title: str
    shown: str = ""
    words: str = ""
    above: str = ""
    kind: str = "stacked"
    place: str = ""


@dataclass(frozen=True)
class Section:
    """A section of a page without those inside it."""

    title: str
    above: str
    place: str
    parts: list[Tag] = field(default_factory=list)
    has_sections: bool = False


# Sections ------------------------------------------------------------


def read_sections(body: Tag) -> Iterator[Section]:
    """Every section of a page in order, the page's own first."""
    for section in body.find_all("section"):
        heading = section.find(["h1", "h2", "h3", "h4"], recursive=False)
        if not isinstance(heading, Tag):
            continue
        outer = section.find_parent("section")
        above = outer.find(["h2", "h3"], recursive=False) if isinstance(outer, Tag) else None
        parts = [part for part in section.find_all(True, recursive=False) if part.name != "section"]
        yield Section(
            _inner(heading),
            _inner(above) if isinstance(above, Tag) else "",
            str(section.get("id", "")),
            [part for part in parts if part is not heading],
            any(part.name == "section" for part in section.find_all(True, recursive=False)),
        )


def _inner(tag: Tag) -> str:
    return tag.decode_contents().strip()


# Slides ------------------------------------------------------------


def make_slides(body: Tag, short: str) -> Iterator[Slide]:
    """The slides of a page, between the title and the end."""
    for number, section in enumerate(read_sections(body)):
        if section.place in LEFT_OUT:
            continue
        if section.place == "check-yourself":
            yield from _questions(section)
            continue
        if number == 0:
            section = replace(section, title=escape(short), has_sections=True)
            yield from (
                Slide("In this chapter", words=_box(part), kind="text", place=section.place)
                for part in section.parts
                if "objectives" in part.get_attribute_list("class")
            )
        yield from _section(section)


def _section(section: Section) -> Iterator[Slide]:
    """The slides of one section; its takeaway goes with the last."""
    slides = [slide for part in section.parts for slide in _exhibits(part, section)]
    if not slides:
        slides = list(_one_exhibit(section))
    taken = "".join(_box(part) for part in section.parts if "takeaway" in part.get_attribute_list("class"))
    if not slides and (taken or not section.has_sections):
        slides = [Slide(section.title, words=_lead(section), kind="text")]
        if not taken and not slides[0].words:
            raise BookError(
                f"section {section.place}: nothing to put on a slide; expected text before its tables and code"
            )
    if not slides:
        return
    slides = list(_together(slides))
    if taken:
        last = slides[-1]
        if len(words(BeautifulSoup(last.shown + last.words + taken, "html.parser"))) > SLIDE_LETTERS:
            slides.append(Slide(section.title, words=taken, kind="text"))
        else:
            slides[-1] = replace(last, words=last.words + taken)
    yield from (replace(slide, above=section.above, place=section.place) for slide in slides)


def _together(slides: list[Slide]) -> Iterator[Slide]:
    """Short statements that follow each other stand on one slide."""
    held: Slide | None = None
    for slide in slides:
        both = held and replace(held, shown=held.shown + slide.shown)
        if (
            both
            and slide.kind == "statement"
            and len(words(BeautifulSoup(both.shown, "html.parser"))) < STATEMENT_LETTERS
        ):
            held = both
            continue
        if held:
            yield held
            held = None
        if slide.kind == "statement":
            held = slide
        else:
            yield slide
    if held:
        yield held


def _exhibits(part: Tag, section: Section) -> Iterator[Slide]:
    """A slide for each figure, display formula and theorem that a part of a section is or holds."""
    classes = part.get_attribute_list("class")
    if part.name == "details" or {"takeaway", "objectives"} & set(classes):
        return
    if "proof" in classes:
        if part.select_one("p.admonition-title") and len(classes) > 2:  # a proof itself is "proof admonition"
            yield Slide(section.title, shown=_statement(part), kind="statement")
        return
    if "math" in classes and part.name == "div":
        yield Slide(section.title, shown=f'<div class="formula">{_before(part)}{part}</div>')
        return
    for figure in [part] if part.name == "figure" else part.find_all("figure"):
        yield from _figure(figure, section.title)


def _figure(figure: Tag, title: str) -> Iterator[Slide]:
    """A slide for a figure, or one for each of its steps."""
    caption = figure.select_one(".caption-text")
    said = f'<div class="caption">{_inner(caption)}</div>' if caption else ""
    steps = figure.select(".flash-steps .step")
    drawings = [drawing for drawing in figure.find_all("svg") if drawing.find_parent("svg") is None]
    if steps:
        told = figure.select(".flash-steps .all > li")
        if not len(drawings) == len(steps) == len(told):
            raise BookError(
                f"{figure.get('id')}: {len(steps)} steps, {len(drawings)} drawings, {len(told)} sentences"
            )
        for number, (drawing, line) in enumerate(zip(drawings, told, strict=True), 1):
            count = f'<p class="step-count">Step {number} of {len(steps)}</p>'
            yield Slide(title, shown=_drawn([drawing]), words=f"{count}<p>{_inner(line)}</p>", kind="beside")
        return
    if drawings:
        wide = min(_ratio(drawing) for drawing in drawings)
        kind = "stacked" if wide > WIDE or len(drawings) > 1 else "beside"
        yield Slide(title, shown=_drawn(drawings), words=said, kind=kind)
    elif picture := figure.find("img"):
        yield Slide(title, shown=f'<div class="drawing">{picture}</div>', words=said)


def _drawn(drawings: list[Tag]) -> str:
    return f'<div class="drawing">{"".join(map(str, drawings))}</div>'


def _ratio(drawing: Tag) -> float:
    _, _, width, height = map(float, str(drawing["viewBox"]).split())
    return width / height


def _one_exhibit(section: Section) -> Iterator[Slide]:
    """A table, or else code, of a section that has neither figure nor formula."""
    for part in section.parts:
        table = None if part.name == "details" else part.find("table")
        if isinstance(table, Tag):
            caption = part.select_one(".results-caption, caption")
            said = ""
            if isinstance(caption, Tag):
                caption.extract()
                for number in caption.select(".caption-number"):
                    number.decompose()
                said = f'<div class="caption">{_inner(caption)}</div>'
            tables = list(_split(table))
            if len(tables) <= TABLE_SLIDES:
                yield from (Slide(section.title, shown=f'<div class="table">{x}</div>', words=said) for x in tables)
                return
    for part in section.parts:
        code = part.select_one(".cell_input pre")
        folded = part.find("details") is not None or part.name == "details"
        if isinstance(code, Tag) and not folded and code.get_text().strip().count("\n") < CODE_LINES:
            lead = _before(part) if code.get_text().strip().count("\n") < CODE_LINES / 2 else ""
            yield Slide(section.title, shown=f'{lead}<div class="highlight">{code}</div>')
            return


def _split(table: Tag) -> Iterator[Tag]:
    """A table in pieces that fit on a slide, of as many rows each, with the heads of the columns."""
    rows = [row for row in table.find_all("tr") if row.find_parent("thead") is None]
    pieces = max(-(-len(rows) // TABLE_ROWS), -(-sum(map(_letters, rows)) // TABLE_LETTERS), 1)
    size = max(-(-len(rows) // pieces), 1)
    for start in range(0, len(rows), size):
        piece = copy(table)
        for row in [row for row in piece.find_all("tr") if row.find_parent("thead") is None]:
            row.decompose()
        body = piece.find("tbody") or piece
        for row in rows[start : start + size]:
            body.append(copy(row))
        yield piece


def _before(part: Tag) -> str:
    """The paragraph that leads to a formula or to code."""
    before = part.find_previous_sibling(True)
    return str(before) if isinstance(before, Tag) and before.name == "p" and _letters(before) < LEAD_LETTERS else ""


def _statement(theorem: Tag) -> str:
    """A theorem with its number and name."""
    made = copy(theorem)
    made["class"] = "statement"
    return str(made)


def _box(part: Tag) -> str:
    """A takeaway or the objectives without their title."""
    inner = "".join(str(x) for x in part.find_all(True, recursive=False) if x.get("class") != ["admonition-title"])
    return f'<div class="{"takeaway" if "takeaway" in part.get_attribute_list("class") else "aims"}">{inner}</div>'


def _lead(section: Section) -> str:
    """The text of a section without a drawing: its lists, or its first paragraphs."""
    said: list[str] = []
    room = LEAD_LETTERS
    for part in section.parts:
        if part.name not in ("p", "ul", "ol"):
            if said:
                break
            continue
        if said and _letters(part) > room:
            break
        said.append(str(part))
        room -= _letters(part)
    if len(said) > 1 and said[-1].endswith(":</p>"):  # leads to what is not on the slide
        said.pop()
    return f'<div class="lead">{"".join(said)}</div>' if said else ""


def _letters(tag: Tag) -> int:
    return len(words(tag))


def _questions(section: Section) -> Iterator[Slide]:
    """A slide for each question, without its answer: for a vote in the room."""
    for number, form in enumerate(filter(lambda part: part.name == "form", section.parts), 1):
        question = form.select_one(".quiz-question")
        if question is None:
            raise BookError(f"the question {form.get('id')} has no words")
        options = "".join(
            f'<p class="option">{_inner(x)}</p>'
            for x in form.select(".quiz-option")
            if x.find_parent("details") is None
        )
        said = f'<p class="question">{_inner(question)}</p>{options}'
        yield Slide(f"Question {number}", words=said, above=section.title, kind="text", place=section.place)


# One deck ------------------------------------------------------------


def write_deck(book: Path, html: Path, chapter: str, repository: Repository) -> str:
    """The slides of a chapter as one file of HTML."""
    doc = f"chapters/{chapter}"
    _, body = read_article(html, doc, steps=True)
    for tag in body.find_all(True):
        for name in ("href", "xlink:href"):
            if name in tag.attrs and not (tag.find_parent("svg") and str(tag[name]).startswith("#")):
                tag[name] = address(str(tag[name]), doc, set(), repository)
        for picture in [tag] if tag.name == "img" and not str(tag["src"]).startswith("data:") else []:
            file = html / "chapters" / str(picture["src"])
            kind = "svg+xml" if file.suffix == ".svg" else file.suffix[1:]
            picture["src"] = f"data:image/{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
        if tag.name != "svg" and tag.find_parent("svg") is None:  # tables stand on several slides, names once
            for name in ("id", "aria-labelledby", "aria-describedby") if tag.name != "section" else ():
                del tag[name]
    heading = body.find("h1")
    title = words(heading) if isinstance(heading, Tag) else chapter
    edition = read_edition(book)
    page = repository.page(doc)
    made = f"{escape(edition['authors'])} · version {escape(edition['version'])}, {escape(edition['date'])}"
    first = Slide(escape(title), kind="title", words=f'<p class="book">{escape(edition["title"])}</p><p>{made}</p>')
    end = (
        f'<p>The chapter, with every number computed and all answers: <a href="{page}">{page}</a></p>'
        '<p>Slides and figures: <a href="https://creativecommons.org/licenses/by/4.0/">CC BY 4.0</a>. Show, change '
        f"and share them with credit to “{escape(edition['title'])}”.</p>"
    )
    last = Slide("Where to read it", words=f'<div class="lead">{end}</div>', kind="text")
    slides = [first, *make_slides(body, title.partition(":")[0]), last]
    theme = book / "theme"
    font = base64.b64encode((theme / "static" / "mathematics.woff2").read_bytes()).decode()
    style = (
        (theme / "print" / "slides.css")
        .read_text("utf8")
        .replace("mathematics.woff2", f"data:font/woff2;base64,{font}")
    )
    script = (theme / "print" / "slides.js").read_text("utf8")
    shown = "\n".join(_write(slide, number, len(slides), page) for number, slide in enumerate(slides, 1))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<title>{escape(title)}: slides</title><link rel="icon" href="data:,"><style>{style}</style></head><body>'
        f'<main id="deck">{shown}</main>'
        '<nav aria-label="Slides"><button type="button" id="back">Back</button>'
        '<span id="place" role="status"></span><button type="button" id="on">Next</button></nav>'
        f"<script>{script}</script></body></html>\n"
    )


def _write(slide: Slide, number: int, count: int, page: str) -> str:
    level = "h1" if slide.kind == "title" else "h2"
    above = f'<p class="above">{slide.above}</p>' if slide.above else ""
    shown = f'<div class="shown">{slide.shown}</div>' if slide.shown else ""
    said = f'<div class="words">{slide.words}</div>' if slide.words else ""
    link = f'<a href="{page}#{slide.place}">in the book</a>' if slide.place else ""
    return (
        f'<section class="slide {slide.kind}" aria-roledescription="slide" aria-label="{number} of {count}">'
        f'<header>{above}<{level}>{slide.title}</{level}></header><div class="body">{shown}{said}</div>'
        f"<footer>{link}<span>{number}</span></footer></section>"
    )


def print_deck(running: Browser, file: Path) -> bytes:
    """Print a deck, a slide a page."""
    page = running.new_page(viewport={"width": 1280, "height": 720}, color_scheme="light")
    try:
        page.goto(file.as_uri(), wait_until="load")
        page.wait_for_function("document.documentElement.classList.contains('fitted')")
        return page.pdf(prefer_css_page_size=True, print_background=True, tagged=True, outline=True)
    finally:
        page.close()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("chapters", nargs="*", help=f"of {', '.join(CHAPTERS)}; all without")
    parser.add_argument("--book", type=Path, default=ROOT, help="folder with _config.yml and _build/html")
    parser.add_argument("--no-pdf", action="store_true", help="HTML alone, which needs no Chromium")
    asked = parser.parse_args(arguments)
    book: Path = asked.book.resolve()
    html = book / "_build" / "html"
    if unknown := [name for name in asked.chapters if name not in CHAPTERS]:
        print(f"slides: expected chapters of {', '.join(CHAPTERS)}, got {unknown[0]!r}", file=sys.stderr)
        return 1
    try:
        repository = read_repository(book)
        decks = {name: write_deck(book, html, name, repository) for name in asked.chapters or CHAPTERS}
        folder = html / FOLDER
        folder.mkdir(exist_ok=True)
        for name, deck in decks.items():
            save(folder / f"{name}.html", deck)
        if not asked.no_pdf:
            with browser() as running:
                for name in decks:
                    save_bytes(folder / f"{name}.pdf", print_deck(running, folder / f"{name}.html"))
    except (BookError, OSError, Error) as error:
        print(f"slides: {error}", file=sys.stderr)
        return 1
    print(f"wrote {len(decks)} decks to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
