"""`make pdf`: the whole book in one PDF, printed by Chromium.

    python -m tools.shelf.pdf [BOOK]

Chromium knows of no page that a link leads to, so the book is printed twice: first with room for the numbers, and
then with those of the first print. What is wider than the paper is set smaller, or, where that would be too small to
read, on a page of its own across (theme/print/fit.js).
"""

from __future__ import annotations

import argparse
import io
import mimetypes
import re
import sys
import time
from collections.abc import Iterator, Mapping
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pikepdf
from playwright.sync_api import Browser, Error, Route

from tools.chromium import browser
from tools.ext.landing import cite, read_edition, write_formula
from tools.files import ROOT, save_bytes
from tools.repository import Repository, read_repository
from tools.shelf.pages import (
    ANSWERS,
    APPENDICES,
    BRIEF,
    CODE,
    BookError,
    Page,
    lower_headings,
    read_pages,
    sections,
    short,
)

NAME = "the-cost-of-attention.pdf"
# Where the book stands while it is printed; nothing of it leaves this machine.
HERE = "http://book.invalid"
# The column of theme/print/pdf.css in pixels of 1/96 inch: A4 less its margins.
COLUMN = 642
# Sections that each chapter has: the outline shows them, the contents name what differs.
EVERYWHERE = ("Remember", "Check yourself", "Exercises", "Further reading")
SHEET = re.compile(r"<link\b[^>]*\brel=\"(?:preload )?stylesheet\"[^>]*>")


# One document ------------------------------------------------------------


def write_document(book: Path, html: Path, pages: list[Page], repository: Repository) -> str:
    """The whole book as one document of HTML, to be read in the folder of the built pages."""
    edition = read_edition(book)
    links = "".join(f'<link rel="stylesheet" href="{sheet}">' for sheet in sheets(html))
    style = (book / "theme" / "print" / "pdf.css").read_text("utf8")
    # What stands at the top of a page belongs to the page's name, and each chapter's pages have one.
    heads = {page.slug: short(page) for page in pages} | {name: title for name, (title, _) in APPENDICES.items()}
    named = "\n".join(
        f"@page p-{name} {{ @top-left {{ content: {_quoted(text)}; }} }}" for name, text in heads.items()
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">'
        f"<title>{escape(edition['title'])}</title>{links}<style>{style}\n{named}</style></head><body>"
        f"{_title_page(edition)}{_imprint(edition, repository)}{_contents(pages)}"
        '<main class="bd-main"><div class="bd-content"><div class="bd-article-container"><div class="bd-article">'
        f"{''.join(_chapters(pages))}{''.join(_appendices(pages))}</div></div></div></main></body></html>"
    )


def sheets(html: Path) -> list[str]:
    """The style sheets of the built pages, as the front page names them."""
    links = SHEET.findall((html / "index.html").read_text("utf8"))
    names = [urlsplit(found[1]).path for link in links if (found := re.search(r'href="([^"]+)"', link))]
    return [name for name in dict.fromkeys(names) if (html / name).is_file()]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'


def _title_page(edition: dict[str, str]) -> str:
    return (
        f'<section class="title-page"><p class="book-title">{escape(edition["title"])}</p>'
        '<p class="book-subtitle">What a self-attention layer costs, and whether it could be cheaper</p>'
        f'{write_formula()}<p class="book-authors">{escape(edition["authors"])}</p>'
        f'<p class="book-edition">Version {escape(edition["version"])}<br>{escape(edition["date"])}</p></section>'
    )


def _imprint(edition: dict[str, str], repository: Repository) -> str:
    site, url = repository.site, repository.url
    text, code = repository.blob("LICENSE-text"), repository.blob("LICENSE")
    return f"""<section class="imprint">
<p><b>{escape(edition["title"])}</b>, version {escape(edition["version"])}, {escape(edition["date"])}.
By {escape(edition["authors"])}.</p>
<p>Text and figures may be used under <a href="{text}">Creative Commons Attribution 4.0</a>, code under the
<a href="{code}">MIT licence</a>.</p>
<p>In the browser, with what moves and what checks an answer, and with a notebook for every chapter:
<a href="{site}">{site}</a>. Its sources, and where to report an error: <a href="{url}">{url}</a>.</p>
<p>Numbers in sentences were computed, and times measured, by the build from which these pages were printed. The
pages name the machine. Answers, solutions and the code that a page folds away stand in the appendices; a number
behind a link is the page that it leads to.</p>
<p>To cite it:</p><pre>{escape(cite(edition))}</pre></section>"""


def _contents(pages: list[Page]) -> str:
    def entry(target: str, text: str, kind: str) -> str:
        return (
            f'<li class="{kind}"><a class="numbered" href="#{target}"><span class="entry">{escape(text)}</span>'
            '<span class="leader"></span></a></li>'
        )

    rows = []
    for part, group in groupby(pages, lambda page: page.part):
        if part:
            rows.append(f'<li class="part-entry">{escape(part)}</li>')
        for page in group:
            rows.append(entry(page.slug, page.title if page.part else BRIEF, "chapter-entry"))
            shown = [] if page.slug.startswith("api") else sections(page)
            rows += [entry(target, text, "section-entry") for target, text in shown if text not in EVERYWHERE]
    rows.append('<li class="part-entry">Appendices</li>')
    rows += [entry(name, title, "chapter-entry") for name, (title, _) in APPENDICES.items()]
    return f'<section class="contents"><h1>Contents</h1><ul>{"".join(rows)}</ul></section>'


def _chapters(pages: list[Page]) -> Iterator[str]:
    for part, group in groupby(pages, lambda page: page.part):
        title = f'<h1 class="part-title">{escape(part)}</h1>' if part else ""
        for page in group:
            heading = page.body.find("h1")
            if not page.part and heading is not None:
                heading.string = BRIEF
            lower_headings(page.body, 1)
            plain_code(page)
            yield f'<section class="chapter" style="page: p-{page.slug}">{title}{page.body}</section>'
            title = ""


def plain_code(page: Page) -> None:
    """Keep of the colours of code those of comments, words and strings: every span is a node of the tagged PDF."""
    for body in (page.body, *page.moved[ANSWERS], *page.moved[CODE]):
        for token in body.select(".highlight span"):
            if str((token.get("class") or [""])[0])[:1] not in ("c", "k", "s"):
                token.unwrap()
        body.smooth()


def _appendices(pages: list[Page]) -> Iterator[str]:
    for name, (title, said) in APPENDICES.items():
        yield f'<section class="chapter appendix" id="{name}" style="page: p-{name}">'
        yield f'<h1 class="part-title">{title}</h1><p>{said}</p>'
        for page in pages:
            if page.moved[name]:
                yield f"<h2>{escape(short(page))}</h2>{''.join(map(str, page.moved[name]))}"
        yield "</section>"


# Printing ------------------------------------------------------------


def print_document(document: str, html: Path, script: str) -> tuple[bytes, dict[str, Any]]:
    """Print a document in the folder `html`; returns the PDF and what `fit.js` found.

    Raises:
        BookError: something that is asked for is missing, or the numbers of the pages do not settle.
    """
    missing: list[str] = []

    def serve(route: Route) -> None:
        name = unquote(urlsplit(route.request.url).path).lstrip("/")
        file = html / name
        if not route.request.url.startswith(HERE):
            missing.append(route.request.url)
            route.abort()
        elif name == "book.html":
            route.fulfill(body=document, content_type="text/html; charset=utf-8")
        elif file.is_file():
            route.fulfill(
                body=file.read_bytes(), content_type=mimetypes.guess_type(name)[0] or "application/octet-stream"
            )
        else:
            missing.append(name)
            route.abort()

    def once(
        running: Browser, numbers: dict[str, int], **options: Any
    ) -> tuple[bytes, dict[str, int], dict[str, Any]]:
        # A page of its own for each print: what was laid out for one is not laid out for the next in the same way.
        page = running.new_page(viewport={"width": COLUMN, "height": 1000}, color_scheme="light")
        page.set_default_timeout(600_000)
        page.route("**/*", serve)
        page.emulate_media(media="print")
        page.goto(f"{HERE}/book.html", wait_until="load")
        page.evaluate("document.fonts.ready.then(() => true)")
        found: dict[str, Any] = page.evaluate(script)
        page.evaluate("numbers => window.writeNumbers(numbers)", numbers)
        pdf = page.pdf(prefer_css_page_size=True, print_background=True, **options)
        page.close()
        return pdf, read_numbers(pdf), found

    with browser() as running:
        _, numbers, _ = once(running, {})
        for _ in range(3):  # a number takes the room that was kept for it, so once is what it takes
            before = numbers
            pdf, numbers, found = once(running, before, tagged=True, outline=True)
            if numbers == before:
                break
        else:
            moved = [f"{name}: {before[name]}, {numbers[name]}" for name in numbers if before[name] != numbers[name]]
            raise BookError(f"the numbers of {len(moved)} places do not settle: {'; '.join(moved[:5])}")
    if missing:
        raise BookError(f"the book asks for what is not there: {', '.join(sorted(set(missing))[:5])}")
    return pdf, found


def read_numbers(pdf: bytes) -> dict[str, int]:
    """The page, counted from 1, of every place that a link leads to."""
    with pikepdf.open(io.BytesIO(pdf)) as read:
        pages = {page.objgen: i for i, page in enumerate(read.pages, 1)}
        places: Any = read.Root.Dests.items()
        return {name.lstrip("/"): pages[place[0].objgen] for name, place in places}


def describe(pdf: bytes, edition: Mapping[str, str]) -> bytes:
    """Say in the file who wrote the book, let readers open it with the outline beside it, and pack it."""
    written = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as read:
        read.docinfo["/Author"] = edition["authors"]
        read.docinfo["/Subject"] = f"Version {edition['version']}, {edition['date']}. Text CC BY 4.0, code MIT."
        read.Root.PageMode = pikepdf.Name.UseOutlines
        read.Root.ViewerPreferences = pikepdf.Dictionary(DisplayDocTitle=True)
        read.save(written, object_stream_mode=pikepdf.ObjectStreamMode.generate)
    return written.getvalue()


def make(book: Path) -> tuple[bytes, dict[str, Any]]:
    """The PDF of a built book, and what is in it."""
    html = book / "_build" / "html"
    repository = read_repository(book)
    pages = read_pages(book, html, repository)
    document = write_document(book, html, pages, repository)
    pdf, found = print_document(document, html, (book / "theme" / "print" / "fit.js").read_text("utf8"))
    return describe(pdf, read_edition(book)), found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("book", nargs="?", type=Path, default=ROOT)
    book = parser.parse_args(arguments).book.resolve()
    began = time.monotonic()
    try:
        pdf, found = make(book)
        if found["wide"]:
            raise BookError(f"wider than the paper: {'; '.join(found['wide'][:5])}")
    except (BookError, OSError, Error) as error:
        print(f"pdf: {error}", file=sys.stderr)
        return 1
    file = book / "_build" / "html" / NAME
    save_bytes(file, pdf)
    print(f"wrote {file}, {len(pdf) / 1e6:.1f} MB, in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
