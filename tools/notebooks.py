"""Make the notebooks of the book: one clean .ipynb in notebooks/ for each chapter that runs code.

python -m tools.notebooks [--check] [--book DIR] [CHAPTER …]

Needs a built book: numbers of theorems and figures come from its pages, glued values from its executed
chapters.
`--check` writes nothing and fails on a notebook that is missing, stale or without a chapter.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import nbformat
from jupyter_cache import get_cache
from myst_nb.core.variables import format_plain_text
from myst_nb.ext.glue import extract_glue_data_cell
from pybtex.backends.plaintext import Backend
from pybtex.database import Person, parse_file

from tools import myst
from tools.files import ROOT, read_documents, read_extensions, read_notebook, read_settings, save
from tools.labels import Labels, find, read_labels
from tools.myst import Context, ConversionError
from tools.repository import Repository, read_repository, twin_path

KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
ORPHAN = "no chapter has this notebook; delete it"
PLAIN = Backend()  # looked up by its name it would be looked for among all packages, each time


@dataclass(frozen=True)
class Book:
    """The settings of a book that every chapter shares."""

    root: Path
    repository: Repository
    documents: tuple[str, ...]
    extensions: tuple[str, ...]


def read_book(root: Path) -> Book:
    """Read _config.yml and _toc.yml in `root`."""
    return Book(root, read_repository(root), tuple(read_documents(root)), read_extensions(read_settings(root)))


def read_released(root: Path) -> str:
    """The release on the package index that notebooks install: `released` in pyproject.toml, set by tools.release."""
    file = root / "pyproject.toml"
    settings = tomllib.loads(file.read_text("utf8")) if file.is_file() else {}
    return str(settings.get("tool", {}).get("book", {}).get("released", ""))


def read_chapter(path: Path, extensions: tuple[str, ...]) -> nbformat.NotebookNode | None:
    """A chapter as the notebook that the build executes; None for a page without a twin."""
    chapter = read_notebook(path, extensions)
    if chapter is None:
        return None
    runs = any(cell.cell_type == "code" for cell in chapter.cells)
    # The status page tells how the book was built; nothing of it is there to see in Colab.
    about_the_build = any("{nb-exec-table}" in cell.source for cell in chapter.cells)
    return chapter if runs and not about_the_build else None


def has_twin(path: Path, extensions: tuple[str, ...]) -> bool:
    """Whether a source file has a notebook: it holds code cells and is not about the build itself."""
    return path.suffix == ".md" and read_chapter(path, extensions) is not None


# Glued values and citations ------------------------------------------------------------


@contextmanager
def open_store(store: Path) -> Iterator[Any]:
    """The executed chapters. Python 3.13 warns of a connection to their database that nobody closed."""
    executed = get_cache(store)
    try:
        yield executed
    finally:
        executed.db.dispose()


def read_glued(book: Book, doc: str) -> dict[str, str]:
    """Every glued value of an executed chapter, as `{glue:text}` prints it."""
    chapter = read_chapter(book.root / f"{doc}.md", book.extensions)
    if chapter is None:
        raise ConversionError(f"{doc}.md: runs no code, so nothing can be glued from it")
    store = book.root / "_build" / ".jupyter_cache"
    try:
        if not store.is_dir():
            raise KeyError(doc)
        with open_store(store) as executed:
            found = executed.get_cache_bundle(executed.match_cache_notebook(chapter).pk).nb
    except KeyError:
        raise ConversionError(f"{doc}.md: not executed as it stands; run `make book` first") from None
    cells = (cell for cell in found.cells if cell.cell_type == "code")
    outputs = (pair for cell in cells for pair in extract_glue_data_cell(cell))
    return {key: format_plain_text(output["data"]["text/plain"], "s") for key, output in outputs}


def read_authors(root: Path) -> dict[str, tuple[str, str]]:
    """`key: (authors, year)` of references.bib, written as an author-year citation has them."""
    entries = parse_file(str(root / "references.bib")).entries
    return {key: (_authors(entry), str(entry.fields.get("year", "n.d."))) for key, entry in entries.items()}


def _authors(entry: Any) -> str:
    people: list[Person] = entry.persons.get("author") or entry.persons.get("editor") or []
    parts = ([*who.rich_prelast_names, *who.rich_last_names] for who in people)
    names = [" ".join(str(part.render(PLAIN)) for part in name) for name in parts]
    if not names:
        return str(entry.rich_fields["title"].render(PLAIN))
    # BibTeX's "and others" stands for the authors that an entry leaves out.
    return " and ".join(names) if len(names) < 3 and "others" not in names else f"{names[0]} et al."


# Cells ------------------------------------------------------------


def convert(chapter: nbformat.NotebookNode, ctx: Context) -> nbformat.NotebookNode:
    """The twin of a chapter: plain Markdown and code, no outputs, stable ids."""
    first, *rest = body(chapter, ctx)
    title, _, opening = first.source.partition("\n")
    if first.cell_type != "markdown" or not title.startswith("# "):
        raise ConversionError(f"{ctx.file}:1: the chapter does not open with its title, '# …'")
    cells = [_markdown(f"{title}\n\n{links(ctx)}"), _code(install(ctx.repository, read_released(ctx.root)))]
    if opening.strip():
        cells.append(_markdown(opening.strip("\n")))
    cells += rest
    for index, cell in enumerate(cells):
        cell.id = hashlib.sha256(f"{ctx.doc}:{index}".encode()).hexdigest()[:12]
    notebook: nbformat.NotebookNode = nbformat.v4.new_notebook(cells=cells, metadata=KERNEL)
    return notebook


def links(ctx: Context) -> str:
    """The line under the title: the published page and the badge that opens this notebook in Colab."""
    badge = "![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)"
    page, colab = ctx.repository.page(ctx.doc), ctx.repository.colab(ctx.doc)
    return f"[{badge}]({colab})\n\nThis notebook runs the code of [the chapter in the book]({page})."


def install(repository: Repository, released: str = "") -> str:
    """The first code cell: the release, where notebooks go with one, else the repository.

    Colab's own jax and numpy meet attnlib's lower bounds, so they stay.
    """
    source = f"attnlib[book]=={released}" if released else f"attnlib[book] @ git+{repository.url}"
    return f'import importlib.util\n\nif importlib.util.find_spec("attnlib") is None:\n    %pip install -q "{source}"'


def body(chapter: nbformat.NotebookNode, ctx: Context) -> Iterator[nbformat.NotebookNode]:
    """The cells of a chapter; solutions, and cells that only serve the page, are left out."""
    solution = False
    for cell, line in zip(chapter.cells, chapter.metadata.source_map, strict=True):
        here = replace(ctx, line=line)
        if cell.cell_type == "markdown":
            blocks: list[str] = []
            asked: list[str] = []
            for node in myst.parse(cell.source, here):
                gate = myst.directive(node, here)
                if gate is not None and gate.name in ("solution-start", "solution-end"):
                    if solution == (gate.name == "solution-start"):
                        here.fail(node, f"{{{gate.name}}} without its partner")
                    solution = not solution
                elif not solution:
                    if node.type == "heading" and any(blocks):  # a cell for each section folds and links well
                        yield _markdown(myst.join(blocks))
                        yield from ask(asked)
                        blocks, asked = [], []
                    if gate is not None and gate.name == "number":
                        asked.append(gate.argument)
                    blocks.append(gated_exercise(gate, node, here) or myst.render_block(node, here))
                    if blocks[-1] == "## Exercises":
                        blocks.append(where_solutions_are(chapter, here))
            if text := myst.join(blocks):
                yield _markdown(text)
            yield from ask(asked)
        elif cell.cell_type == "code":
            tags = cell.metadata.get("tags", [])
            if not solution and ("remove-cell" not in tags or "said" in tags):
                yield from code(cell, here)
        else:
            here.fail(None, f"a notebook has no use for a {cell.cell_type} cell")
    if solution:
        ctx.fail(None, "{solution-start} without {solution-end}")


def ask(names: list[str]) -> Iterator[nbformat.NotebookNode]:
    """The cell after a section's numeric questions: it asks them with other numbers, and says how to answer."""
    if names:
        calls = [f'ask("{name}", seed=1)' for name in names]
        yield _code(
            "\n".join(
                [
                    "from attnlib.book import ask",
                    "",
                    f'# Your number for the question above: ask("{names[0]}", 12.5). With other numbers:',
                    *calls,
                ]
            )
        )


def where_solutions_are(chapter: nbformat.NotebookNode, ctx: Context) -> str:
    """The line under the heading of the exercises; '' when there is none, or nothing is solved."""
    page = find(ctx.labels, "exercises", ctx.doc)
    solved = any("{solution" in cell.source for cell in chapter.cells if cell.cell_type == "markdown")
    if not solved or page is None or page.doc != ctx.doc:
        return ""
    return f"Solutions: below each exercise on [the page]({ctx.repository.page(ctx.doc)}#{page.anchor})."


def gated_exercise(gate: myst.Block | None, node: Any, ctx: Context) -> str:
    """What opens a gated exercise; its body follows as ordinary cells."""
    if gate is None or gate.name not in ("exercise-start", "exercise-end"):
        return ""
    if gate.name == "exercise-end":
        return "---"
    title = myst.heading("exercise", gate, node, ctx)
    return myst.join([f"**{title}**", myst.render(gate.body, ctx.inside(node, gate.line))])


def code(cell: nbformat.NotebookNode, ctx: Context) -> Iterator[nbformat.NotebookNode]:
    """A code cell, and its caption as a line below."""
    tags = cell.metadata.get("tags", [])
    metadata: dict[str, Any] = {}
    # What is folded on the page is for its readers; who opens the notebook wants to change it.
    if {"hide-cell", "remove-input", "said"} & set(tags):
        metadata = {"cellView": "form", "jupyter": {"source_hidden": True}}  # Colab's name and Jupyter's
    if "raises-exception" in tags:
        metadata["tags"] = ["raises-exception"]
    yield _code(cell.source, metadata)
    figure = cell.metadata.get("mystnb", {}).get("figure", {})
    if caption := figure.get("caption"):
        node = myst.parse("caption", ctx)[0]
        label = figure.get("name")
        number = f"{myst.target(label, node, ctx).text}: " if label else ""
        yield _markdown(myst.italic(number + myst.text(" ".join(caption.split()), node, ctx)))


def _markdown(source: str) -> nbformat.NotebookNode:
    cell: nbformat.NotebookNode = nbformat.v4.new_markdown_cell(source)
    return cell


def _code(source: str, metadata: dict[str, Any] | None = None) -> nbformat.NotebookNode:
    cell: nbformat.NotebookNode = nbformat.v4.new_code_cell(source.strip("\n"), metadata=metadata or {})
    return cell


# Files ------------------------------------------------------------


def make_twins(book: Book, chapters: Iterable[str] = ()) -> dict[str, str]:
    """`path: text` of the notebooks of the given chapters (names or documents; all when none is given)."""
    sources = {doc: read_chapter(book.root / f"{doc}.md", book.extensions) for doc in book.documents}
    executable = {doc: chapter for doc, chapter in sources.items() if chapter is not None}
    wanted = list(executable)
    if chapters:
        names = {name: doc for doc in executable for name in (doc, f"{doc}.md", doc.rsplit("/", 1)[-1])}
        if unknown := [name for name in chapters if name not in names]:
            raise ConversionError(f"{unknown[0]}: expected one of {', '.join(executable)}")
        wanted = [names[name] for name in chapters]
    paths = [twin_path(doc) for doc in executable]
    if twice := {path for path in paths if paths.count(path) > 1}:
        raise ConversionError(f"{twice.pop()}: two chapters would write this notebook")
    glued = cache(partial(read_glued, book))
    for doc in wanted:
        glued(doc)  # a chapter that is not executed as it stands has no twin, whether it glues or not
    labels = read_labels(book.root / "_build" / "html", book.documents)

    def printed(doc: str, key: str) -> str:
        value = glued(doc)[key]
        return myst.MEASURED if myst.measured(key) else value

    twins = ((doc, make_twin(book, doc, labels, printed)) for doc in wanted)
    return {twin_path(doc): write(twin) for doc, twin in twins}


def make_twin(book: Book, doc: str, labels: Labels, glued: Callable[[str, str], str]) -> nbformat.NotebookNode:
    """The twin of one chapter; `glued(document, key)` says what a glued value prints."""
    file = f"{doc}.md"
    chapter = read_chapter(book.root / file, book.extensions)
    if chapter is None:
        raise ConversionError(f"{file}: runs no code, so it has no notebook")
    parser = myst.make_parser(list(book.extensions))
    known: dict[str, Any] = {}
    parser.parse((book.root / file).read_text("utf8"), known)
    authors, references = read_authors(book.root), known.get("references", {})
    context = Context(
        file, doc, parser, book.repository, labels, authors, glued, root=book.root, references=references
    )
    return convert(chapter, context)


def write(notebook: nbformat.NotebookNode) -> str:
    """The bytes of a notebook, the same for the same cells on every machine."""
    nbformat.validate(notebook)
    return str(nbformat.writes(notebook)).rstrip("\n") + "\n"


def problems(book: Book, chapters: Iterable[str] = ()) -> list[str]:
    """What `--check` complains about."""
    twins = make_twins(book, chapters)
    found = []
    for path, text in twins.items():
        file = book.root / path
        if not file.is_file():
            found.append(f"{path}: missing; run `make notebooks`")
        elif file.read_text("utf8") != text:
            found.append(f"{path}: stale, differs from its chapter; run `make notebooks`")
    return found if chapters else [*found, *(f"{path}: {ORPHAN}" for path in orphans(book))]


def orphans(book: Book) -> list[str]:
    """Notebooks that no chapter of the book has."""
    paths = {twin_path(doc) for doc in book.documents if has_twin(book.root / f"{doc}.md", book.extensions)}
    here = sorted(f"notebooks/{path.name}" for path in (book.root / "notebooks").glob("*.ipynb"))
    return [path for path in here if path not in paths]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help="memory or chapters/memory")
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a stale notebook")
    parser.add_argument("--book", type=Path, default=ROOT, help="the folder with _config.yml")
    options = parser.parse_args(arguments)
    try:
        book = read_book(options.book)
        if options.check:
            found = problems(book, options.chapters)
            print(
                "\n".join(found) or "every notebook is as its chapter",
                file=sys.stderr if found else sys.stdout,
            )
            return 1 if found else 0
        for path, text in make_twins(book, options.chapters).items():
            (book.root / path).parent.mkdir(exist_ok=True)
            save(book.root / path, text)
            print(path)
        if lost := orphans(book):
            print(f"{', '.join(lost)}: {ORPHAN}", file=sys.stderr)
            return 1
    except (ValueError, OSError) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
