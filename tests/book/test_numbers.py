"""Every glued number is read back from the page and from the notebook and compared with the library.

A number in the book is wrong only if the cell that glued it and its entry in EXPECTED are wrong alike: the cell
computed it when the book was built, EXPECTED computes it here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import nbformat
import pytest
from book.sample_book import ROOT, build_sample, copy_sample, run
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from tools import myst, notebooks
from tools.ext.quiz import parse_quiz
from tools.labels import Labels, read_labels

Value = tuple[str, str]  # key, text


# What stands in the sources, the page and the notebook ---------------------------------------------


def glued_keys(chapter: nbformat.NotebookNode, parser: MarkdownIt) -> list[str]:
    """The keys of all `{glue:text}` roles of a chapter, in the order in which its page shows them."""

    def inline(node: SyntaxTreeNode) -> Iterator[str]:
        for child in node.walk():
            if child.type == "myst_role" and child.meta["name"] == "glue:text":
                yield child.content

    def blocks(source: str) -> Iterator[str]:
        for node in SyntaxTreeNode(parser.parse(source)).children:
            yield from fences(node)

    def fences(node: SyntaxTreeNode) -> Iterator[str]:
        opened = myst.read_directive(node)
        if opened is not None and opened.name == "quiz":
            quiz = parse_quiz(opened.body)
            parts = [quiz.question, *(o.text for o in quiz.options), *(o.feedback for o in quiz.options)]
            yield from (key for part in parts for key in blocks(part))
        elif opened is not None:
            yield from blocks(opened.argument)
            yield from blocks(opened.body)
        elif node.type == "inline":
            yield from inline(node)
        else:
            for child in node.children:
                yield from fences(child)

    found: list[str] = []
    for cell in chapter.cells:
        if cell.cell_type == "markdown":
            found += blocks(cell.source)
        elif "remove-cell" not in cell.metadata.get("tags", []):
            found += blocks(cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", ""))
    return [key.rpartition("::")[2] for key in found]


def alt_values(chapter: nbformat.NotebookNode, page: str) -> list[Value]:
    """What the alt texts of a built page print for the keys in the chapter's."""
    printed = [image.get("alt", "") for image in BeautifulSoup(page, "html.parser").select("article img")]
    found: list[Value] = []
    for cell in chapter.cells:
        parts = re.split(r"\{glue:text\}`([^`]+)`", cell.metadata.get("mystnb", {}).get("image", {}).get("alt", ""))
        if len(parts) > 1:
            pattern = "".join("(.+?)" if i % 2 else re.escape(part) for i, part in enumerate(parts))
            match = next(filter(None, (re.fullmatch(pattern, alt) for alt in printed)), None)
            if match is None:
                raise AssertionError(f"no picture of the page has the alt text {''.join(parts)!r}")
            found += zip(parts[1::2], match.groups(), strict=True)
    return found


def page_values(keys: list[str], page: str) -> list[Value]:
    """What a built page prints for each key."""
    spans = BeautifulSoup(page, "html.parser").select("article .pasted-text")
    if len(spans) != len(keys):
        raise AssertionError(f"the page prints {len(spans)} glued numbers, its source has {len(keys)}")
    return [(key, span.get_text().strip()) for key, span in zip(keys, spans, strict=True)]


def twin_values(template: nbformat.NotebookNode, twin: nbformat.NotebookNode) -> list[Value]:
    """What a notebook prints for each key; `template` is the notebook with the keys between marks."""
    found: list[Value] = []
    if len(template.cells) != len(twin.cells):
        raise AssertionError("the notebook has other cells than its chapter; run `make notebooks`")
    for index, (marked, cell) in enumerate(zip(template.cells, twin.cells, strict=True)):
        parts = re.split("\ue100(.*?)\ue101", marked.source)
        pattern = "".join("(.+?)" if i % 2 else re.escape(part) for i, part in enumerate(parts))
        match = re.fullmatch(pattern, cell.source, re.DOTALL)
        if match is None:
            raise AssertionError(f"cell {index} of the notebook is not its chapter's; run `make notebooks`")
        found += zip(parts[1::2], match.groups(), strict=True)
    return found


def template(book: notebooks.Book, doc: str) -> nbformat.NotebookNode:
    """The notebook of a chapter with the key of each glued value instead of the value."""
    return notebooks.make_twin(book, doc, labels(book), lambda page, key: f"\ue100{key}\ue101")


@cache
def labels(book: notebooks.Book) -> Labels:
    return read_labels(book.root / "_build" / "html", book.documents)


MEASURED = re.compile(r"[-−]?\d[\d,]*(\.\d+)?(e[+-]?\d+)?( ?%| [KMGT]?i?B| [mµn]?s)?")
SAID = re.compile(r"[^`{}\\$\n]*[a-z]{2}[^`{}\\$\n]*")  # what words they are is tests/test_words.py's to check
IN_TWIN = re.compile(re.escape(myst.MEASURED))  # a notebook holds nothing that differs between machines


def wrong(values: list[Value], expected: Mapping[str, str], measured: re.Pattern[str] = MEASURED) -> list[str]:
    """What is wrong with the printed values, one line each."""
    lines = []
    for key, printed in values:
        if myst.measured(key):
            pattern = SAID if measured is MEASURED and key.startswith("said-") else measured
            if not pattern.fullmatch(printed):
                wanted = {SAID: "words", MEASURED: "a number"}.get(pattern, repr(myst.MEASURED))
                lines.append(f"{key}: expected {wanted}, got {printed!r}")
        elif key not in expected:
            lines.append(f"{key}: EXPECTED says nothing, printed is {printed!r}")
        elif printed != expected[key]:
            lines.append(f"{key}: expected {expected[key]!r}, got {printed!r}")
    return lines


def check_chapter(book: notebooks.Book, doc: str, expected: Mapping[str, str]) -> list[str]:
    """Compare page and notebook of one chapter with the expected values."""
    chapter = notebooks.read_chapter(book.root / f"{doc}.md", book.extensions)
    assert chapter is not None
    keys = glued_keys(chapter, myst.make_parser(list(book.extensions)))
    built = (book.root / "_build" / "html" / f"{doc}.html").read_text("utf8")
    page = page_values(keys, built) + alt_values(chapter, built)
    twin = notebooks.twin_path(doc)
    printed = twin_values(template(book, doc), nbformat.read(book.root / twin, as_version=4))
    unused = [f"{key}: expected, but no sentence shows it" for key in expected if key not in dict(page)]
    lines = [f"{doc}.html: {line}" for line in [*wrong(page, expected), *unused]]
    return lines + [f"{twin}: {line}" for line in wrong(printed, expected, IN_TWIN)]


# The book ------------------------------------------------------------------------------------------

BOOK = notebooks.read_book(ROOT)
CHAPTERS = [doc for doc in BOOK.documents if notebooks.has_twin(ROOT / f"{doc}.md", BOOK.extensions)]


@pytest.fixture(scope="module")
def expected() -> Mapping[str, Mapping[str, str]]:
    """What `book.expected` computes, in a third of a minute: in the one process that asks for it."""
    from book.expected import EXPECTED

    return EXPECTED


@pytest.mark.parametrize("doc", CHAPTERS)
def test_numbers_of_the_book(doc: str, html: Path, expected: Mapping[str, Mapping[str, str]]) -> None:
    assert check_chapter(BOOK, doc, expected.get(doc.rsplit("/", 1)[-1], {})) == []


def test_nothing_is_expected_of_chapters_that_do_not_exist(expected: Mapping[str, Mapping[str, str]]) -> None:
    assert set(expected) <= {doc.rsplit("/", 1)[-1] for doc in CHAPTERS}


# The machinery, on the sample ----------------------------------------------------------------------

DOC = "chapters/sample"
SAMPLE_EXPECTED = {
    "sample-core": f"{4 * 512 * 512 * 768:,}",
    "sample-ratio": "4",
    "sample-word": "quadruples",
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> notebooks.Book:
    book = build_sample(copy_sample(tmp_path_factory.mktemp("numbers")))
    done = run(book, "notebooks")
    assert done.returncode == 0, done.stdout
    return notebooks.read_book(book)


@pytest.fixture
def doctored(sample: notebooks.Book) -> Iterator[Path]:
    """The sample's folder; page and notebook are put back afterwards."""
    files = [sample.root / "_build" / "html" / f"{DOC}.html", sample.root / "notebooks" / "sample.ipynb"]
    kept = {file: file.read_bytes() for file in files}
    yield sample.root
    for file, content in kept.items():
        file.write_bytes(content)


def test_sample_is_right(sample: notebooks.Book) -> None:
    assert check_chapter(sample, DOC, SAMPLE_EXPECTED) == []


def test_every_role_is_read_back(sample: notebooks.Book) -> None:
    source = (sample.root / f"{DOC}.md").read_text("utf8")
    chapter = notebooks.read_chapter(sample.root / f"{DOC}.md", sample.extensions)
    keys = glued_keys(chapter, myst.make_parser(list(sample.extensions)))
    page = (sample.root / "_build" / "html" / f"{DOC}.html").read_text("utf8")
    in_alts = [key for key, _ in alt_values(chapter, page)]
    assert in_alts == ["sample-word", "said-sample-runs"]
    assert sorted(keys + in_alts) == sorted(re.findall(r"\{glue:text\}`([^`]+)`", source))
    twin = nbformat.read(sample.root / "notebooks" / "sample.ipynb", as_version=4)
    in_twin = [key for key, _ in twin_values(template(sample, DOC), twin)]
    solution = source[source.index("```{solution}") : source.index("```{exercise-start}")]
    assert len(in_twin) == len(keys) - solution.count("{glue:text}")
    assert {"measured-sample-time", "measured-sample-memory", "said-sample-runs"} <= set(in_twin)


SAID_IN_SAMPLE = 'The second run took 1.20 times as long: it "wasn\'t" quicker.'


def test_chosen_words_stand_in_the_sentence_and_in_the_alt_text(sample: notebooks.Book) -> None:
    page = BeautifulSoup((sample.root / "_build" / "html" / f"{DOC}.html").read_text("utf8"), "html.parser")
    said = [span.get_text() for span in page.select("article .pasted-text")]
    assert said.count(SAID_IN_SAMPLE.replace('"wasn\'t"', "“wasn’t”")) == 1  # the page has typographic quotes
    (image,) = page.select("figure img")
    assert image["alt"] == f"The curve of the core quadruples each time the length doubles. {SAID_IN_SAMPLE}"


def test_a_notebook_says_what_its_own_run_has_chosen(sample: notebooks.Book) -> None:
    twin = nbformat.read(sample.root / "notebooks" / "sample.ipynb", as_version=4)
    (cell,) = (cell for cell in twin.cells if cell.cell_type == "code" and "say(" in cell.source)
    assert cell.metadata["jupyter"]["source_hidden"]
    text = next(cell.source for cell in twin.cells if "One run took" in cell.source)
    assert f"of memory. {myst.MEASURED}{myst.MEASURED_NOTE}" in " ".join(text.split())


def test_an_alt_text_that_shows_what_no_cell_glues_fails_the_build(tmp_path: Path) -> None:
    book = copy_sample(tmp_path)
    file = book / f"{DOC}.md"
    file.write_text(file.read_text("utf8").replace("core {glue:text}`sample-word` each", "core {glue:text}`x` each"))
    done = run(book, "build")
    assert done.returncode == 1
    assert "no cell of this page glues 'x', which an alt text shows" in done.stdout


def test_no_alt_text_of_the_book_shows_a_role(html: Path) -> None:
    for page in html.rglob("*.html"):
        for image in BeautifulSoup(page.read_text("utf8"), "html.parser").select("article img"):
            assert "{glue" not in image.get("alt", ""), page.name


def test_page_that_shows_another_number_is_red(sample: notebooks.Book, doctored: Path) -> None:
    page = doctored / "_build" / "html" / f"{DOC}.html"
    page.write_text(page.read_text("utf8").replace("805,306,368", "805,306,369", 1), "utf8")
    (line,) = check_chapter(sample, DOC, SAMPLE_EXPECTED)
    assert line == f"{DOC}.html: sample-core: expected '805,306,368', got '805,306,369'"


def test_page_that_lost_a_number_is_red(sample: notebooks.Book, doctored: Path) -> None:
    page = doctored / "_build" / "html" / f"{DOC}.html"
    page.write_text(page.read_text("utf8").replace('class="pasted-text"', "", 1), "utf8")
    with pytest.raises(AssertionError, match="prints 9 glued numbers, its source has 10"):
        check_chapter(sample, DOC, SAMPLE_EXPECTED)


def test_notebook_that_shows_another_number_is_red(sample: notebooks.Book, doctored: Path) -> None:
    twin = doctored / "notebooks" / "sample.ipynb"
    twin.write_text(twin.read_text("utf8").replace("805,306,368", "805,306,369", 1), "utf8")
    (line,) = check_chapter(sample, DOC, SAMPLE_EXPECTED)
    assert line == "notebooks/sample.ipynb: sample-core: expected '805,306,368', got '805,306,369'"


def test_notebook_that_prints_a_measured_number_is_red(sample: notebooks.Book, doctored: Path) -> None:
    twin = doctored / "notebooks" / "sample.ipynb"
    twin.write_text(twin.read_text("utf8").replace("One run took … s", "One run took 0.00123 s", 1), "utf8")
    (line,) = check_chapter(sample, DOC, SAMPLE_EXPECTED)
    assert line == "notebooks/sample.ipynb: measured-sample-time: expected '…', got '0.00123'"


def test_notebook_with_other_sentences_is_red(sample: notebooks.Book, doctored: Path) -> None:
    twin = doctored / "notebooks" / "sample.ipynb"
    twin.write_text(twin.read_text("utf8").replace("the core needs", "the core wants", 1), "utf8")
    with pytest.raises(AssertionError, match="is not its chapter's"):
        check_chapter(sample, DOC, SAMPLE_EXPECTED)


def test_library_that_computes_another_number_is_red(sample: notebooks.Book) -> None:
    lines = check_chapter(sample, DOC, SAMPLE_EXPECTED | {"sample-ratio": "8"})
    assert [line.split(": ", 1)[1] for line in lines] == ["sample-ratio: expected '8', got '4'"] * 4


def test_number_that_nobody_expects_is_red(sample: notebooks.Book) -> None:
    lines = check_chapter(sample, DOC, {key: SAMPLE_EXPECTED[key] for key in ("sample-core", "sample-ratio")})
    assert len(lines) == 4
    assert all("sample-word: EXPECTED says nothing" in line for line in lines)


def test_expected_number_that_nobody_shows_is_red(sample: notebooks.Book) -> None:
    (line,) = check_chapter(sample, DOC, SAMPLE_EXPECTED | {"sample-forgotten": "1"})
    assert "sample-forgotten: expected, but no sentence shows it" in line


@pytest.mark.parametrize("printed", ["0.00123", "1,024", "-3.5", "1e-05", "512 MiB", "3.1 GB", "12 ms", "0.0123%"])
def test_measured_number(printed: str) -> None:
    assert wrong([("measured-x", printed)], {}) == []


@pytest.mark.parametrize("printed", ["", "1.2", "…", "{glue:text}`said-x`"])
def test_said_that_is_no_sentence_is_red(printed: str) -> None:
    assert len(wrong([("said-x", printed)], {})) == 1
    assert wrong([("said-x", "as long as before")], {}) == []


@pytest.mark.parametrize("printed", ["", "nan", "fast", "1.2.3", "12 apples", "MiB", "…", "{glue:text}`measured-x`"])
def test_measured_that_is_no_number_is_red(printed: str) -> None:
    assert len(wrong([("measured-x", printed)], {})) == 1
