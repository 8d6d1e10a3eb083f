"""The build: deliberate faults turn it red, it runs nothing twice, and killing it does no harm."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import nbformat
import psutil
import pytest
from bs4 import BeautifulSoup, Tag

from tools import check_pages, execute
from tools.execute import measures, read_chapters

ROOT = Path(__file__).resolve().parents[2]

HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
    format_version: 0.13
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

"""

# The cell leaves a line in a file outside the book, so that the tests count runs and not messages about runs.
CHAPTER = """# A chapter

Some text, $x^2$, and a link to [the start](../index.md).

```{code-cell} ipython3
import os
with open(os.environ["RUNS"], "a") as runs:
    runs.write("x")
```

```{code-cell} ipython3
---
mystnb:
  figure:
    caption: "A dot."
    name: fig-dot
  image:
    alt: "One dark dot"
---
import base64
from IPython.display import Image
Image(base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="))
```
"""


def cell(code: str) -> str:
    return f"\n```{{code-cell}} ipython3\n{code}\n```\n"


def write_book(book: Path) -> Path:
    """Write a book of two pages with this repository's own configuration, tools and assets."""
    for name in ("_config.yml", "pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, book / name)
    for name in ("tools", "theme"):
        shutil.copytree(ROOT / name, book / name, ignore=shutil.ignore_patterns("__pycache__"))
    (book / "attnlib").mkdir()
    (book / "attnlib" / "one.py").write_text("ONE = 1\n")
    (book / "chapters").mkdir()
    (book / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters:\n  - file: chapters/one\n")
    (book / "references.bib").write_text("")
    (book / "index.md").write_text("# A book\n\nIt begins with [](chapters/one.md).\n")
    (book / "chapters" / "one.md").write_text(HEADER + CHAPTER)
    return book


def start(book: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tools.build", *arguments],
        cwd=book,
        env={**os.environ, "RUNS": str(book / "runs")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def build(book: Path, *arguments: str) -> tuple[int, str]:
    process = start(book, *arguments)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def runs(book: Path) -> int:
    return len((book / "runs").read_text()) if (book / "runs").exists() else 0


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file of a built book with its content."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A book that is fine, not yet built."""
    return write_book(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def good(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, built once; tests work on copies."""
    book = shutil.copytree(source, tmp_path_factory.mktemp("good") / "book")
    code, output = build(book)
    assert code == 0, output
    assert runs(book) == 1
    return book


@pytest.fixture
def book(good: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the good book, with its pages and its cache."""
    yield shutil.copytree(good, tmp_path / "book")
    shutil.rmtree(tmp_path / "book", ignore_errors=True)


def in_chapter(text: str) -> Callable[[Path], None]:
    def append(book: Path) -> None:
        with (book / "chapters" / "one.md").open("a") as chapter:
            chapter.write(text)

    return append


PLAIN = "# A chapter\n\nSome text.\n"


def changed(old: str, new: str) -> str:
    assert old in CHAPTER
    return CHAPTER.replace(old, new)


# Of a chapter with each fault, what is said of it: the warnings of one build that renders all of them, and the
# problems in the pages of another.
WARNINGS: dict[str, tuple[str, str]] = {
    "a cell writes to stderr": (PLAIN + cell("import sys; print('careful', file=sys.stderr)"), "stderr"),
    "a duplicate label": (PLAIN + "\n(twice)=\n## Two\n\ntext\n\n(twice)=\n## Three\n\ntext\n", "twice"),
    "an unknown role": (PLAIN + "\nThis is {nothing}`like it`.\n", "nothing"),
    "an unknown directive": (PLAIN + "\n```{nothing}\n```\n", "nothing"),
    "a link to no page": (PLAIN + "\nSee [](nowhere.md).\n", "nowhere"),
    "a reference to no label": (PLAIN + "\nSee {ref}`nowhere`.\n", "nowhere"),
    "a reference to no equation": (PLAIN + "\nSee {eq}`nowhere`.\n", "nowhere"),
    "a formula that is no TeX": (PLAIN + "\nIt is $\\frac{1}{2$.\n", "a formula is no TeX"),
    "a formula with a command that is not there": (PLAIN + "\nIt is $\\nothing$.\n", "a formula is no TeX"),
    "a citation of nothing": (PLAIN + "\nSee {cite:t}`nowhere`.\n", "nowhere"),
    "a glued number that is not there": (PLAIN + "\nIt is {glue:text}`nowhere`.\n", "nowhere"),
}
PROBLEMS: dict[str, tuple[str, str]] = {
    "a figure without alt text": (changed('  image:\n    alt: "One dark dot"\n', ""), "an image without alt text"),
    "a figure without a caption": (changed('caption: "A dot."', 'caption: ""'), "caption"),
    "an image that is no figure": (
        changed('  figure:\n    caption: "A dot."\n    name: fig-dot\n', ""),
        "not a figure with a caption",
    ),
    "a script from another host": (
        PLAIN + '\n<script src="https://example.org/x.js"></script>\n',
        "loads from another host: https://example.org/x.js",
    ),
}


def build_faults(good: Path, book: Path, faults: dict[str, tuple[str, str]]) -> str:
    """Build the good book and a chapter with each fault: red, and the pages stay. Return what it says."""
    shutil.copytree(good, book)
    before = tree(book / "_build" / "html")
    with (book / "_toc.yml").open("a") as toc:
        toc.writelines(f"  - file: chapters/fault-{i}\n" for i in range(len(faults)))
    for i, (chapter, _) in enumerate(faults.values()):
        file = book / "chapters" / f"fault-{i}.md"
        file.write_text(HEADER + chapter.replace("fig-dot", f"fig-dot-{i}"))
    code, output = build(book)
    assert code == 1, output
    assert tree(book / "_build" / "html") == before
    return output


@pytest.fixture(scope="module")
def warnings(good: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_faults(good, tmp_path_factory.mktemp("warnings") / "book", WARNINGS)


@pytest.fixture(scope="module")
def problems(good: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_faults(good, tmp_path_factory.mktemp("problems") / "book", PROBLEMS)


@pytest.mark.parametrize("fault", WARNINGS)
def test_a_fault_is_a_warning_that_names_its_line(warnings: str, fault: str) -> None:
    """A warning is an error: `test_a_failed_build_stays_failed_until_it_is_mended` has one alone."""
    file = f"chapters/fault-{list(WARNINGS).index(fault)}.md"
    said = [line for line in warnings.splitlines() if re.search(rf"{file}:\d+: WARNING: ", line)]
    assert any(WARNINGS[fault][1] in line for line in said), warnings


def test_nothing_but_faults_is_warned_of(warnings: str) -> None:
    assert len(re.findall(r"WARNING", warnings)) == len(WARNINGS), warnings


@pytest.mark.parametrize("fault", PROBLEMS)
def test_a_fault_is_seen_in_the_page(problems: str, fault: str) -> None:
    page = f"chapters/fault-{list(PROBLEMS).index(fault)}.html: "
    assert any(line.startswith(page) and PROBLEMS[fault][1] in line for line in problems.splitlines()), problems


def test_a_listed_page_without_a_source_turns_the_build_red(book: Path) -> None:
    before = tree(book / "_build" / "html")
    edit(book / "_toc.yml", "chapters/one", "chapters/one\n  - file: chapters/two")
    code, output = build(book)
    assert code == 1, output
    assert "chapters/two" in output
    assert tree(book / "_build" / "html") == before


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (CHAPTER + cell("1 / 0"), "ZeroDivisionError"),
        WARNINGS["a duplicate label"],
        PROBLEMS["a figure without alt text"],
    ],
    ids=["a cell raises", "a duplicate label", "a figure without alt text"],
)
def test_a_failed_build_stays_failed_until_it_is_mended(book: Path, fault: str, message: str) -> None:
    before, chapter = tree(book / "_build" / "html"), book / "chapters" / "one.md"
    fine = chapter.read_text()
    chapter.write_text(HEADER + fault)
    for _ in range(2):
        code, output = build(book)
        assert code == 1, output
        assert message in output
        assert tree(book / "_build" / "html") == before
    chapter.write_text(fine)
    code, output = build(book)
    assert code == 0, output


def test_nothing_changed_nothing_is_done(book: Path) -> None:
    before = tree(book / "_build" / "html")
    began = time.monotonic()
    code, output = build(book)
    assert code == 0, output
    assert "is up to date" in output
    assert time.monotonic() - began < 10
    assert runs(book) == 1
    assert tree(book / "_build" / "html") == before


def test_edited_text_is_rendered_and_not_executed(book: Path) -> None:
    in_chapter("\nOne more sentence.\n")(book)
    code, output = build(book)
    assert code == 0, output
    assert "executed no chapter(s)" in output
    assert runs(book) == 1
    assert "One more sentence." in (book / "_build" / "html" / "chapters" / "one.html").read_text()


def test_edited_code_is_executed(book: Path) -> None:
    in_chapter(cell("print('hello')"))(book)
    code, output = build(book)
    assert code == 0, output
    assert "executed chapters/one.md in" in output
    assert runs(book) == 2


@pytest.mark.parametrize("name", ["attnlib/one.py", "requirements.txt"])
def test_changed_library_or_lock_executes_every_chapter(book: Path, name: str) -> None:
    with (book / name).open("a") as file:
        file.write("# changed\n")
    code, output = build(book)
    assert code == 0, output
    assert runs(book) == 2


def test_the_download_button_offers_the_clean_notebook(book: Path) -> None:
    offered = book / "_build" / "html" / "_sources" / "chapters" / "one.ipynb"
    assert all(not cell.get("outputs") for cell in json.loads(offered.read_text())["cells"])
    (book / "notebooks").mkdir()
    (book / "notebooks" / "one.ipynb").write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    code, output = build(book)
    assert code == 0, output
    assert offered.read_bytes() == (book / "notebooks" / "one.ipynb").read_bytes()


def test_a_page_that_vanished_is_built_again(book: Path) -> None:
    (book / "_build" / "html" / "chapters" / "one.html").unlink()
    code, output = build(book)
    assert code == 0, output
    assert (book / "_build" / "html" / "chapters" / "one.html").is_file()
    assert runs(book) == 1


def truncate_entry(cache: Path) -> None:
    for notebook in cache.glob("executed/*/base.ipynb"):
        notebook.write_bytes(notebook.read_bytes()[:200])


def remove_entry(cache: Path) -> None:
    shutil.rmtree(cache / "executed")


def break_database(cache: Path) -> None:
    (cache / "global.db").write_bytes(b"not a database" * 99)


def remove_stamp(cache: Path) -> None:
    (cache / "library.sha256").unlink()


@pytest.mark.parametrize("damage", [truncate_entry, remove_entry, break_database, remove_stamp])
def test_a_damaged_cache_is_mended(book: Path, damage: Callable[[Path], None]) -> None:
    before = tree(book / "_build" / "html")
    damage(book / "_build" / ".jupyter_cache")
    code, output = build(book, "--force")
    assert code == 0, output
    assert runs(book) == 2
    assert tree(book / "_build" / "html") == before


def executing(book: Path) -> bool:
    return runs(book) > 0


def cached(book: Path) -> bool:
    return any((book / "_build" / ".jupyter_cache").glob("executed/*"))


def reading(book: Path) -> bool:
    return (book / "_build" / "work").exists()


def writing(book: Path) -> bool:
    return (book / "_build" / "work" / "_build" / "html" / "index.html").exists()


@pytest.mark.parametrize("moment", [reading, executing, cached, writing])
def test_a_killed_build_run_again_gives_the_same_book(
    source: Path, good: Path, tmp_path: Path, moment: Callable[[Path], bool]
) -> None:
    book = shutil.copytree(source, tmp_path / "book")
    process = start(book)
    deadline = time.monotonic() + 60
    while not moment(book):
        assert process.poll() is None, "the build ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (book / "_build" / "html").exists()
    code, output = build(book)
    assert code == 0, output
    assert tree(book / "_build" / "html") == tree(good / "_build" / "html")


def test_a_build_killed_between_the_renames_gives_the_old_pages_back(book: Path) -> None:
    html = book / "_build" / "html"
    before = tree(html)
    html.rename(html.with_name("html.old"))
    in_chapter(cell("1 / 0"))(book)
    code, _ = build(book)
    assert code == 1
    assert tree(html) == before


def test_two_builds_at_once_wait_for_each_other(source: Path, good: Path, tmp_path: Path) -> None:
    book = shutil.copytree(source, tmp_path / "book")
    both = [start(book), start(book)]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert runs(book) == 1
    assert any("waiting" in output for output in outputs)
    assert tree(book / "_build" / "html") == tree(good / "_build" / "html")


def test_a_folder_that_is_no_book_is_refused(tmp_path: Path) -> None:
    output = subprocess.run(
        [sys.executable, "-m", "tools.build", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert output.returncode == 2
    assert "_toc.yml" in output.stderr


# --- A chapter that fails: by an exception, by taking too long, by taking its kernel with it ------------------------


def shorten_timeout(book: Path) -> None:
    edit(book / "_config.yml", "timeout: 600", "timeout: 3")


def nothing(book: Path) -> None: ...


# What else the book needs to fail so, the cell, what is said of it.
FAILURES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "raises": (nothing, "raise RuntimeError('\\x1b[31mno\\n  way\\x1b[0m')", "RuntimeError: no way"),
    "takes too long": (shorten_timeout, "import time\n\ntime.sleep(60)", "CellTimeoutError: not done after 3 s"),
    "kills its kernel": (nothing, "import os\n\nos.kill(os.getpid(), 9)", "DeadKernelError: the process"),
}


@pytest.fixture
def two(book: Path) -> Path:
    """The good book with a second chapter, not yet built, that is listed after the first and leaves its own trace."""
    edit(book / "_toc.yml", "chapters/one\n", "chapters/one\n  - file: chapters/two\n")
    traces = "import os\nfrom pathlib import Path\n\nPath(os.environ['RUNS']).with_name('two').open('a').write('y')"
    (book / "chapters" / "two.md").write_text(f"{HEADER}# Another chapter\n\nIt is fine.\n{cell(traces)}")
    return book


def said_last(output: str, book: Path, code: str, error: str) -> None:
    """The last lines name the cell of the first chapter, its error, the versions, and that the other is fine."""
    said, summary = output.splitlines()[-2:]
    line = (book / "chapters" / "one.md").read_text().split(code)[0].count("\n")  # where the cell opens
    assert said.startswith(f"build: chapters/one.md, code cell 3 (line {line}): {error}"), output
    assert "the book is not whole" in summary
    assert f"Python {sys.version.split()[0]}, jax {version('jax')}, numpy {version('numpy')}" in summary
    assert "the other 1 chapter(s) ran without an error" in summary


def failed_page(book: Path) -> Tag:
    """The page of the first chapter, if the chapter that failed is marked at its top."""
    soup = BeautifulSoup((book / "_build" / "html" / "chapters" / "one.html").read_text(), "html.parser")
    notice = soup.select_one("h1 + .admonition.danger")
    assert notice
    assert "This page is not whole" in notice.get_text()
    page = soup.select_one("article")
    assert page
    return page


@pytest.mark.parametrize("kind", FAILURES)
def test_a_build_that_keeps_going_marks_the_page_that_failed(two: Path, kind: str) -> None:
    prepare, code, error = FAILURES[kind]
    prepare(two)
    in_chapter(cell(code) + cell("print('not' + 'reached')") + "\nThe text goes on with {glue:text}`nothing`.\n")(two)
    status, output = build(two, "--keep-going")
    assert status == 1, output
    said_last(output, two, code, error)
    page = failed_page(two)
    link = page.select_one(".danger a")
    assert link
    traceback = page.select_one(str(link["href"]))
    assert traceback
    assert error.split(":")[0] in traceback.get_text()
    (source,) = (block for block in page.select(".cell_input") if code.splitlines()[-1] in block.get_text())
    assert source.parent
    assert traceback in source.parent.select("*")
    assert "notreached" not in page.get_text()
    assert "The text goes on with" in page.get_text()
    other = BeautifulSoup((two / "_build" / "html" / "chapters" / "two.html").read_text(), "html.parser")
    assert "It is fine." in other.get_text()
    assert not other.select(".danger")


def test_a_chapter_that_failed_is_tried_again_until_it_is_mended(two: Path) -> None:
    html, before = two / "_build" / "html", tree(two / "_build" / "html")
    fine = (two / "chapters" / "one.md").read_text()
    in_chapter(cell("1 / 0"))(two)
    for times, arguments in enumerate(((), ("--keep-going",), ()), 2):
        status, output = build(two, *arguments)
        assert status == 1, output
        said_last(output, two, "1 / 0", "ZeroDivisionError: division by zero")
        assert runs(two) == times
        if times == 2:
            assert tree(html) == before  # the last whole book stays, unless asked otherwise
        else:
            failed_page(two)
            assert any("a cell failed" in problem for problem in check_pages.check(two, html))
    (two / "chapters" / "one.md").write_text(fine)
    status, output = build(two)
    assert status == 0, output
    assert (two / "two").read_text() == "y"
    assert "not whole" not in (html / "chapters" / "one.html").read_text()


def test_a_build_that_keeps_going_stops_for_what_is_no_failed_chapter(two: Path) -> None:
    before = tree(two / "_build" / "html")
    in_chapter("\nSee {ref}`nowhere`.\n")(two)
    status, output = build(two, "--keep-going")
    assert status == 1, output
    assert "nowhere" in output
    assert tree(two / "_build" / "html") == before


def test_two_failed_chapters_are_both_named_and_marked_and_in_the_table(two: Path) -> None:
    in_chapter(cell("1 / 0"))(two)
    with (two / "chapters" / "two.md").open("a") as chapter:
        chapter.write(cell("undefined"))
    with (two / "index.md").open("a") as index:
        index.write("\n```{nb-exec-table}\n```\n")
    status, output = build(two, "--keep-going")
    assert status == 1, output
    *_, first, second, summary = output.splitlines()
    assert "chapters/one.md, code cell 3" in first
    assert "ZeroDivisionError: division by zero" in first
    assert "chapters/two.md, code cell 2" in second
    assert "NameError: name 'undefined' is not defined" in second
    assert "no other chapter holds cells" in summary
    failed_page(two)
    soup = BeautifulSoup((two / "_build" / "html" / "index.html").read_text(), "html.parser")
    rows = [[cell.get_text(strip=True) for cell in row.select("td")] for row in soup.select("main tbody tr")]
    assert {row[0]: row[-1] for row in rows} == {"A chapter": "failed", "Another chapter": "failed"}


def test_make_book_says_it_in_its_last_three_lines(two: Path) -> None:
    """Through make itself, which has a last line of its own."""
    shutil.copy(ROOT / "Makefile", two)
    python = two / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    for stamp in (".stamp", ".attnlib"):
        (two / ".venv" / stamp).touch()
    in_chapter(cell("1 / 0"))(two)
    for arguments in ((), ("KEEP_GOING=1",)):
        done = make(two, "book", *arguments, RUNS=str(two / "runs"))
        assert done.returncode != 0
        said, versions, _ = done.stderr.splitlines()[-3:]
        assert "chapters/one.md, code cell 3 (line " in said
        assert "ZeroDivisionError: division by zero" in said
        assert f"Python {sys.version.split()[0]}, jax {version('jax')}, numpy {version('numpy')}" in versions
        assert "the other 1 chapter(s) ran without an error" in versions
    failed_page(two)


def test_a_build_killed_while_it_shows_a_failure_does_not_keep_it(two: Path) -> None:
    in_chapter(cell("1 / 0"))(two)
    process = start(two, "--keep-going")
    deadline = time.monotonic() + 60
    while not writing(two):
        assert process.poll() is None, "the build ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    ran = runs(two)
    status, output = build(two)
    assert status == 1, output
    assert "ZeroDivisionError" in output.splitlines()[-2]
    assert runs(two) == ran + 1


def write_chapters(book: Path, cells: dict[str, str]) -> None:
    listed = "".join(f"  - file: chapters/{name}\n" for name in cells)
    (book / "_toc.yml").write_text(f"format: jb-book\nroot: index\nchapters:\n{listed}")
    (book / "index.md").write_text("# A book\n\nText.\n")
    (book / "chapters" / "one.md").unlink()
    for name, code in cells.items():
        (book / "chapters" / f"{name}.md").write_text(f"{HEADER}# Chapter {name}\n\nText.\n{cell(code)}")


@pytest.mark.parametrize("deaths", [2, 9])
def test_a_kernel_that_another_program_robbed_of_its_port_is_started_again(
    deaths: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []

    class Client:
        def __init__(self, notebook: object, **options: object) -> None:
            pass

        async def async_execute(self) -> None:
            starts.append(self)
            if len(starts) <= deaths:
                raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setattr(execute, "NotebookClient", Client)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")], metadata={"source_map": [7]})
    done = asyncio.run(execute._execute(execute.Chapter("one.md", Path("one.md"), notebook), 10))
    assert len(starts) == 3
    if deaths == 2:
        assert isinstance(done, float)
    else:
        assert str(done).startswith("one.md, before code cell 1 (line 7): RuntimeError: Kernel died before replying")


def test_an_interrupt_ends_the_build_and_its_kernels(source: Path, tmp_path: Path) -> None:
    """Two chapters hang, a third waits for its turn: no kernel is left, none is started, nobody is called failed."""
    book = shutil.copytree(source, tmp_path / "book")
    hang = "import os, threading\n\nopen('../{}.pid', 'w').write(str(os.getpid()))\nthreading.Event().wait(99)"
    write_chapters(book, {name: hang.format(name) for name in "ab"} | {"c": "import time\n\nopen('../c', 'w')"})
    process = start(book)
    pids = [book / f"{name}.pid" for name in "ab"]
    deadline = time.monotonic() + 60
    while not all(pid.exists() and pid.read_text() for pid in pids):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert "build: interrupted; what was executed is kept" in output.splitlines()
    assert "failed" not in output.split("build: interrupted")[0]
    assert not (book / "c").exists()
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(int(pid.read_text())).wait(10)


# --- Chapters that measure no time execute two at a time ------------------------------------------------------------

SPAN = """import os, {clock}
from pathlib import Path

spans, me = Path(os.environ["RUNS"]).parent, "{name}"
spans.joinpath(me + ".began").touch()
running = {{path.stem for path in spans.glob("*.began")}} - {{path.stem for path in spans.glob("*.ended")}}
deadline = 100
while {wait} and deadline:
    os.system("sleep 0.1")
    deadline -= 1
assert deadline, "nobody came"
spans.joinpath(me + ".met").write_text(" ".join(sorted(running)))
spans.joinpath(me + ".ended").touch()
"""


def test_two_chapters_at_a_time_and_alone_what_measures(source: Path, tmp_path: Path) -> None:
    """Two meet: each waits for the other to have begun. Those that measure find nobody running."""
    book = shutil.copytree(source, tmp_path / "book")
    meet = 'len(list(spans.glob("*.began"))) < 2'
    cells = {
        "a": SPAN.format(clock="time", name="a", wait="False"),
        "b": SPAN.format(clock="sys", name="b", wait=meet),
        "c": SPAN.format(clock="timeit", name="c", wait="False"),
        "d": SPAN.format(clock="sys", name="d", wait=meet),
    }
    write_chapters(book, cells)
    code, output = build(book)
    assert code == 0, output
    met = {name: (book / f"{name}.met").read_text() for name in cells}
    assert (met["a"], met["c"]) == ("a", "c")
    assert sorted([met["b"], met["d"]]) in (["b", "b d"], ["b d", "d"], ["b d", "b d"])
    said = [line.split()[1] for line in output.splitlines() if line.startswith("executing ")]
    assert said == [f"chapters/{name}.md" for name in "bdac"]
    assert "executed 4 chapter(s)" in output
    code, output = build(book, "--force")
    assert code == 0, output
    assert "executed no chapter(s); 4 came from the cache" in output


@pytest.mark.parametrize(
    ("code", "measuring"),
    [
        ("from attnlib import clock\nprint(clock.machine())", False),
        ("from attnlib import attention, clock\nattention.clock", False),
        ("x = 1  # clock.time(x), in a comment", False),
        ("print('clock.time')", False),
        ("from attnlib import clock\nclock.time(f, 1)", True),
        ("import attnlib\nattnlib.clock.compare({})", True),
        ("run = clock.exponent", True),
        ("from attnlib.clock import compare", True),
        ("from attnlib.measure.clock import compare", True),
        ("from attnlib import (\n    cost,\n    measure_device,\n)", True),
        ("attnlib.measure_device()", True),
        ("from attnlib.train import fit", True),
        ("from attnlib.book import train", True),
        ("import time", True),
        ("from time import perf_counter", True),
        ("%timeit f()", True),
    ],
)
def test_a_chapter_says_itself_whether_it_measures(code: str, measuring: bool) -> None:
    cells = [nbformat.v4.new_markdown_cell("clock.time"), nbformat.v4.new_code_cell(code)]
    assert measures(nbformat.v4.new_notebook(cells=cells)) is measuring


def test_the_chapters_that_measure_are_known() -> None:
    """The text of every chapter, looked through for what takes times."""
    chapters = {chapter.file: chapter.notebook for chapter in read_chapters(ROOT)}
    timed = [file for file, notebook in chapters.items() if measures(notebook)]
    assert "chapters/question.md" in timed
    assert "chapters/status.md" not in timed
    for file, notebook in chapters.items():
        source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
        if re.search(r"clock\.(time|compare)\(|measure_device\(", source):
            assert file in timed


# --- tools/check_pages.py on pages that were spoiled after the build ---------------------------------------

SPOILED = {
    "external style": (
        "</head>",
        '<link rel="stylesheet" href="//example.org/x.css"></head>',
        "another host",
    ),
    "external image": (
        "</article>",
        '<img alt="x" src="https://example.org/x.png"></article>',
        "another host",
    ),
    "external frame": (
        "</article>",
        '<iframe src="https://example.org/"></iframe></article>',
        "another host",
    ),
    "external module": (
        "</head>",
        '<script type="module">import "https://example.org/x.js"</script></head>',
        "another host",
    ),
    "external font": (
        "</head>",
        "<style>@font-face {src: url(https://example.org/x.woff2)}</style></head>",
        "another host",
    ),
    "alt that is a file name": (
        "</article>",
        '<img alt="a/x.png" src="../a/x.png"></article>',
        "without alt text",
    ),
    "empty alt": ("</article>", '<img alt=" " src="data:,"></article>', "without alt text"),
    "system message": (
        "</article>",
        '<div class="system-message">oops</div></article>',
        "message of the parser",
    ),
    "traceback": (
        "</article>",
        '<div class="cell_output"><div class="output traceback">NameError</div></div></article>',
        "a cell failed",
    ),
    "raw role": ("</article>", "<p>see {ref}`x`</p></article>", "role"),
    "role set as code": ("</article>", "<p>see {ref}<code>x</code></p></article>", "role"),
    "dead link": ("</article>", '<a href="nowhere.html">x</a></article>', "not there: nowhere.html"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_check_pages_finds(book: Path, name: str) -> None:
    old, new, message = SPOILED[name]
    edit(book / "_build" / "html" / "chapters" / "one.html", old, new)
    problems = check_pages.check(book, book / "_build" / "html")
    assert problems
    assert all(problem.startswith("chapters/one.html: ") for problem in problems)
    assert any(message in problem for problem in problems)


def test_check_pages_accepts_what_is_fine(good: Path) -> None:
    assert check_pages.check(good, good / "_build" / "html") == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda page: page.unlink(), "not built"),
        (lambda page: page.write_text(""), "empty"),
        (
            lambda page: page.write_text("<main><article><h1>Title</h1></article></main>"),
            "nothing but a title",
        ),
    ],
)
def test_a_page_missing_from_the_output_is_red(
    book: Path, spoil: Callable[[Path], object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(book / "_build" / "html" / "chapters" / "one.html")
    assert check_pages.main(["--book", str(book)]) == 1
    error = capsys.readouterr().err
    assert "chapters/one.html" in error
    assert message in error


def test_check_pages_looks_into_style_sheets(book: Path) -> None:
    (book / "_build" / "html" / "_static" / "x.css").write_text(
        "/* url(https://a.org) */ @import 'https://example.org/y.css';"
    )
    problems = check_pages.check(book, book / "_build" / "html")
    assert problems == ["_static/x.css: loads from another host: https://example.org/y.css"]


def test_the_book_itself(html: Path, root: Path) -> None:
    assert check_pages.check(root, html) == []


def test_pages_say_nothing_of_the_day_and_lead_to_no_empty_index(good: Path) -> None:
    html = good / "_build" / "html"
    assert {page.name for page in html.glob("*.html")} == {"index.html", "search.html", "404.html"}
    for page in html.rglob("*.html"):
        text = page.read_text()
        assert "last-update" not in text, page
        assert "Last updated" not in text, page
        assert "genindex" not in text, page


def test_titles_and_icon(good: Path) -> None:
    html = good / "_build" / "html"
    titles = {"index": "The Cost of Attention", "search": "Search — The Cost of Attention"}
    for name, title in {**titles, "chapters/one": "A chapter — The Cost of Attention"}.items():
        soup = BeautifulSoup((html / f"{name}.html").read_text(), "html.parser")
        assert soup.title
        assert soup.title.get_text() == title
        icon = soup.select_one("link[rel=icon]")
        assert icon
        assert (html / name).parent.joinpath(str(icon["href"])).is_file()


def test_punctuation_stays_with_its_formula(good: Path) -> None:
    soup = BeautifulSoup((good / "_build" / "html" / "chapters" / "one.html").read_text(), "html.parser")
    (formula,) = soup.select("main span.math")
    assert formula.parent
    assert formula.select_one("annotation").get_text() == "x^2"  # type: ignore[union-attr]
    assert formula.parent.contents == [formula, ","]
    assert "unbroken" in (formula.parent.get("class") or [])


def test_references_are_labelled_as_the_text_cites_them(html: Path) -> None:
    references = BeautifulSoup((html / "chapters" / "bibliography.html").read_text(), "html.parser").select(
        ".citation"
    )
    labels = [entry.select(".label")[0].get_text().strip("[]") for entry in references]
    assert {"Vaswani et al., 2017", "Alman and Song, 2023", "Duman Keles et al., 2023"} <= set(labels)
    assert len(set(labels)) == len(labels)
    for entry in references:
        assert "others" not in entry.get_text(), entry
        assert entry.select_one('p a[href^="https://"]'), entry


def test_status_in_words(html: Path) -> None:
    soup = BeautifulSoup((html / "chapters" / "status.html").read_text(), "html.parser")
    rows = [[cell.get_text(strip=True) for cell in row.select("td")] for row in soup.select("main tbody tr")]
    assert "Derivation of the cost of self-attention" in [row[0] for row in rows]
    assert {row[-1] for row in rows} == {"passed"}


# --- The environments that the Makefile makes -----------------------------------------------------------------------


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "-C", str(folder), *arguments]
    environment = {**os.environ, **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A folder with the Makefile and a lock that names nothing, so that making an environment is quick."""
    shutil.copy(ROOT / "Makefile", tmp_path / "Makefile")
    (tmp_path / "requirements.txt").write_text("# nothing\n")
    return tmp_path


def test_too_old_a_python_is_one_clear_line(fresh: Path) -> None:
    finished = make(fresh, ".venv/.stamp", "PYTHON=false")
    assert finished.returncode != 0
    assert "'false' is not Python 3.11 or later; name one with PYTHON=" in finished.stderr
    assert not (fresh / ".venv").exists()


def test_an_installation_that_was_killed_is_made_again(fresh: Path) -> None:
    python = fresh / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("half a file")
    finished = make(fresh, ".venv/.stamp", f"PYTHON={sys.executable}")
    assert finished.returncode == 0, finished.stderr
    assert subprocess.run([python, "-c", "import pip"], check=False).returncode == 0
    stamped = (fresh / ".venv" / ".stamp").stat().st_mtime_ns
    assert "installing" not in make(fresh, ".venv/.stamp", f"PYTHON={sys.executable}").stdout
    assert (fresh / ".venv" / ".stamp").stat().st_mtime_ns == stamped


def test_help_names_every_command() -> None:
    listed = make(ROOT, "help").stdout
    for command in ("book", "test", "test-full", "serve", "notebooks", "lint", "lock", "clean"):
        assert f"make {command} " in listed
