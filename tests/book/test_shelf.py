"""The whole book as PDF, EPUB and Markdown: all of it is there, and nothing of it is cut."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pikepdf
import pypdfium2
import pytest
from book.conftest import absent
from bs4 import BeautifulSoup, Tag
from support import FULL

from tools.assignments.master import marker, stems
from tools.chromium import chromium
from tools.files import read_documents
from tools.repository import read_repository
from tools.shelf import epub, llms, pdf
from tools.shelf.pages import (
    ANSWERS,
    APPENDICES,
    CODE,
    BookError,
    Page,
    check_links,
    identifier,
    read_article,
    read_pages,
    read_parts,
    sections,
)

JAR = Path("/usr/share/java/epubcheck.jar")
MILLIMETRE = 72 / 25.4


def letters(text: str) -> str:
    """Letters and digits alone: lines, hyphens and spaces are the typesetter's."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def prose(tag: Tag) -> list[str]:
    """Runs of letters that stand outside formulas and code, whose text comes out of a PDF in another order."""
    strings = (s for s in tag.find_all(string=True) if s.find_parent(["math", "svg", "pre", "style"]) is None)
    return [run for run in map(letters, strings) if len(run) > 12]


# Pages of the book ------------------------------------------------------------


@pytest.fixture(scope="module")
def pages(root: Path, html: Path) -> list[Page]:
    """What all are made from."""
    return read_pages(root, html, read_repository(root))


def test_every_page_of_the_table_of_contents_in_its_order(root: Path, pages: list[Page]) -> None:
    assert [page.doc for page in pages] == read_documents(root)
    assert [page.part for page in pages][:2] == ["", "The quadratic"]


def test_answers_solutions_and_code_are_moved_and_none_is_lost(html: Path, pages: list[Page]) -> None:
    for page in pages:
        text = (html / f"{page.doc}.html").read_text("utf8")
        questions, solutions = text.count('<form class="quiz'), text.count('<details class="solution')
        assert len(page.moved[ANSWERS]) == questions + solutions, page.doc
        assert not page.body.select("details, form, input, button, script"), page.doc
        moved = [*page.moved[ANSWERS], *page.moved[CODE]]
        # Each is linked from its place, and links back.
        links = {str(link["href"])[1:] for link in page.body.select("a.turn")}
        assert {str(tag["id"]) for tag in moved} == links, page.doc


def test_a_link_that_leads_nowhere_is_named(pages: list[Page]) -> None:
    body = BeautifulSoup('<section><a href="#question--nothing">x</a></section>', "html5lib").section
    assert isinstance(body, Tag)
    with pytest.raises(BookError, match=r"chapters/broken\.html: a link to #question--nothing"):
        check_links([Page("chapters/broken", "", "Broken", body, {ANSWERS: [], CODE: []})])


def test_an_id_is_one_that_xml_accepts() -> None:
    assert identifier("chapters/api", "attnlib.cost:x(1)") == "api--attnlib.cost-x-1-"


def test_a_book_that_is_not_built_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BookError, match=r"chapters/memory\.html: not built; run `make book` first"):
        read_article(tmp_path, "chapters/memory")


# PDF ------------------------------------------------------------


@dataclass(frozen=True)
class Printed:
    """The PDF: its bytes, what its document held, its text by page."""

    content: bytes
    found: dict[str, Any]
    text: list[str]


@pytest.fixture(scope="module")
def printed(root: Path, html: Path) -> Printed:
    """The book, printed once for all tests."""
    if chromium() is None:
        absent("no Chromium on this machine: install the package 'chromium', or set CHROMIUM")
    content, found = pdf.make(root)
    document = pypdfium2.PdfDocument(content)
    text = [page.get_textpage().get_text_bounded() for page in document]
    return Printed(content, found, text)


def outline(items: Any) -> Iterator[str]:
    """Titles of an outline, from the first to the last."""
    for item in items:
        yield letters(str(item.title))
        yield from outline(item.children)


def test_the_pdf_is_tagged_outlined_and_small(pages: list[Page], printed: Printed) -> None:
    assert len(printed.content) < 15e6
    with pikepdf.open(io.BytesIO(printed.content)) as read:
        assert read.Root.MarkInfo.Marked
        assert "/StructTreeRoot" in read.Root
        assert str(read.Root.Lang).startswith("en")
        with read.open_outline() as tree:
            titles = list(outline(tree.root))
    wanted = [page.title for page in pages if page.part] + [title for title, _ in APPENDICES.values()]
    wanted += [page.part for page in pages if page.part]
    wanted += [text for page in pages for _, text in sections(page) if text.isascii()]
    assert not [title for title in wanted if letters(title) not in titles]


def test_the_contents_name_the_page_of_each_chapter(pages: list[Page], printed: Printed) -> None:
    numbers = pdf.read_numbers(printed.content)
    contents = letters("".join(printed.text[2:12]))
    for page in pages[1:]:
        number = numbers[page.slug]
        assert letters(page.title) in letters(printed.text[number - 1]), page.doc
        assert letters(page.title) + str(number) in contents, page.doc
        assert re.search(rf"(?m)^{number}\s*$", printed.text[number - 1]), f"{page.doc}: its page has no number"


def test_nothing_is_wider_than_the_paper(html: Path, printed: Printed) -> None:
    assert printed.found["wide"] == []
    drawn = sum((html / f"{doc}.html").read_text("utf8").count("<figure") for doc in read_documents(html.parents[1]))
    assert printed.found["figures"] == drawn
    # The print itself: nothing but paper within 10 mm of its left and right edges.
    document = pypdfium2.PdfDocument(printed.content)
    for number in range(0, len(document), 1 if FULL else 9):
        page = document[number]
        picture = page.render(scale=0.6, grayscale=True).to_numpy()
        margin = int(10 * MILLIMETRE * 0.6)
        assert picture[:, :margin].min() > 250, f"page {number + 1}"
        assert picture[:, -margin:].min() > 250, f"page {number + 1}"


def test_every_answer_and_solution_is_in_the_pdf(pages: list[Page], printed: Printed) -> None:
    text = letters("".join(printed.text))
    for page in pages:
        for tag in page.moved[ANSWERS]:
            missing = [run for run in prose(tag) if run not in text]
            assert not missing, f"{page.doc}: {missing[:2]}"


def test_no_solution_of_an_assignment_is_printed(printed: Printed) -> None:
    """`test_assignments.py` looks into files as they lie there, where a PDF is compressed."""
    text = letters("".join(printed.text)).lower()
    assert stems()
    assert not [stem for stem in stems() if letters(marker(stem)).lower() in text]


# EPUB ------------------------------------------------------------


@pytest.fixture(scope="module")
def shelved(root: Path, html: Path) -> bytes:
    """The EPUB."""
    return epub.make(root)


def test_the_epub_is_whole(pages: list[Page], shelved: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(shelved)) as archive:
        assert archive.namelist()[0] == "mimetype"
        assert archive.getinfo("mimetype").compress_type == zipfile.ZIP_STORED
        files = {name.removeprefix("EPUB/"): archive.read(name) for name in archive.namelist()}
    texts = {name: content.decode() for name, content in files.items() if name.endswith(".xhtml")}
    ids = {}
    for name, text in texts.items():
        tree = ElementTree.fromstring(text)
        ids[name] = {tag.get("id") for tag in tree.iter()}
        assert "<script" not in text, name
        assert "var(--" not in text, name
    for name, text in texts.items():
        for file, place in re.findall(r'href="([^":#]*\.xhtml)?#([^"]+)"', text):
            assert place in ids[file or name], f"{name}: {file}#{place}"
    for page in pages:
        formulas = [str(math) for math in page.body.select("math")]
        assert texts[f"{page.slug}.xhtml"].count("<math") == len(formulas), page.doc
        assert f'href="{page.slug}.xhtml"' in texts["contents.xhtml"]
        for name in APPENDICES:
            if page.moved[name]:
                shown = texts[f"{name}-{page.slug}.xhtml"]
                assert all(f'id="{tag["id"]}"' in shown for tag in page.moved[name]), page.doc


def test_epubcheck_accepts_the_epub(shelved: bytes, tmp_path: Path) -> None:
    if shutil.which("java") is None or not JAR.is_file():
        absent("no epubcheck on this machine: install the package 'epubcheck'")
    file = tmp_path / epub.NAME
    file.write_bytes(shelved)
    done = subprocess.run(["java", "-jar", str(JAR), str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_colour_is_what_it_is_in_the_light() -> None:
    assert epub.resolve("font: 12px var(--a, system-ui, serif)") == "font: 12px system-ui, serif"
    with pytest.raises(BookError, match="a colour without a plain one beside it"):
        epub.resolve("var(--figure-1)")


# Markdown ------------------------------------------------------------


def test_the_markdown_is_the_book(root: Path, html: Path) -> None:
    """As `make book` wrote it."""
    site = read_repository(root).site
    index, whole = (html / llms.INDEX).read_text("utf8"), (html / llms.WHOLE).read_text("utf8")
    assert index.startswith("# The Cost of Attention\n\n> ")
    for _, doc in read_parts(root)[1:]:
        text = (html / f"{doc}.html.md").read_text("utf8")
        assert text.startswith("# "), doc
        assert f"]({site}{doc}.html.md)" in index, doc
        assert text.strip() in whole, doc
        if doc.startswith("chapters/api"):  # its pages tell how roles are written
            continue
        outside = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
        assert not re.search(r"\{[a-z:]+\}`|\\\(|<span|<div|Hide the code|class=", outside), doc
    question = (html / "chapters/question.html.md").read_text("utf8")
    assert "n^2 d" in question.replace("{", "").replace("}", "")
    assert "[Drawing: " in question
    assert "```python" in question
    assert "A. Not this one." in question  # what each option's feedback begins with
    assert "Solution to Exercise 1" in question


def test_links_of_the_markdown_lead_to_pages(root: Path, html: Path) -> None:
    site = read_repository(root).site
    made_elsewhere = {pdf.NAME, epub.NAME}
    for target in re.findall(rf"\]\({re.escape(site)}([^)#]*)", (html / llms.WHOLE).read_text("utf8")):
        made = target in made_elsewhere or target.startswith("slides/")
        assert made or (html / target).exists(), target


# Where they are offered ------------------------------------------------------------


def test_the_front_page_offers_what_the_workflow_makes(root: Path, html: Path) -> None:
    front = (html / "index.html").read_text("utf8")
    site = read_repository(root).site
    for name in (pdf.NAME, epub.NAME, llms.WHOLE):
        assert f'href="{site}{name}"' in front
    workflow = (root / ".github/workflows/pages.yml").read_text("utf8")
    assert workflow.index("make book") < workflow.index("make pdf epub") < workflow.index("upload-pages-artifact")
