"""The map and the API page: every public name, formulas set, links that lead somewhere; what is missing fails."""

from __future__ import annotations

import ast
import doctest
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jupytext
import pytest
from bs4 import BeautifulSoup, Tag

from attnlib import registry
from attnlib.book import summary
from tools import docstrings, names
from tools.repository import read_repository

ROOT = Path(__file__).resolve().parents[2]

CHAPTER = """# A chapter about `attnlib.flash_attention`

(one)=
## It begins

Here `attnlib.flash_attention` comes first, `flash_attention` again, then `cost.attention(n, d_k)`, `jax.jit`, and
`nothing.of_ours`.

    attnlib.attention

## It ends

`flash_attention(q, k, v)` once more.
"""
API = tuple(sorted(path.stem for path in (ROOT / "chapters").glob("api*.md")))
PAGES = ("map", *API)


def write_book(book: Path) -> Path:
    """Write a book of one short chapter and the API pages that it leads to."""
    for name in ("tools", "theme", "attnlib"):
        shutil.copytree(ROOT / name, book / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_config.yml", "pyproject.toml", "requirements.txt", "references.bib"):
        shutil.copy(ROOT / name, book)
    (book / "chapters").mkdir()
    for page in ("api", "api-cost"):
        shutil.copy(ROOT / "chapters" / f"{page}.md", book / "chapters")
    (book / "chapters" / "one.md").write_text(CHAPTER)
    listed = "".join(f"  - file: chapters/{name}\n" for name in ("one", "api", "api-cost"))
    (book / "_toc.yml").write_text(f"format: jb-book\nroot: index\nchapters:\n{listed}")
    (book / "index.md").write_text("# A book\n\nText.\n")
    return book


def build(book: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tools.build"],
        cwd=book,
        env={**os.environ, "PYTHONPATH": str(book), "JAX_PLATFORMS": "cpu"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=500,
    )
    return done.returncode, done.stdout


FAULTS = {
    "attnlib/cost/_sizes.py": ('"""Bytes of one number of each dtype that has a name here."""', ""),
    "attnlib/kernels/flash.py": ("Three running numbers", "With `jax.no_such_thing`, three running numbers"),
    "attnlib/kernels/softmax.py": ("Σ_j w_ij v_j", "Σ_j w_ij ☃_j"),
}


@dataclass(frozen=True)
class Spoiled:
    """What the build of a book with faults said, and the pages that it did not publish."""

    code: int
    output: str
    html: Path


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Spoiled:
    """A book with faults, and without the page of `attnlib.hardness`, built."""
    book = write_book(tmp_path_factory.mktemp("book"))
    for name, (old, new) in FAULTS.items():
        text = (book / name).read_text("utf8")
        assert old in text
        (book / name).write_text(text.replace(old, new), "utf8")
    return Spoiled(*build(book), book / "_build" / "work" / "_build" / "html")


@cache
def read(html: Path, page: str) -> BeautifulSoup:
    return BeautifulSoup((html / "chapters" / f"{page}.html").read_text("utf8"), "html.parser")


@pytest.fixture(scope="module")
def api(html: Path) -> BeautifulSoup:
    """The book's API pages as one."""
    return BeautifulSoup("".join(str(read(html, page).select_one("article")) for page in API), "html.parser")


def entry(api: BeautifulSoup, name: str) -> Tag:
    found = api.find(id=name)
    assert isinstance(found, Tag)
    assert isinstance(found.parent, Tag)
    return found.parent


def test_every_public_name_has_an_entry_with_text(api: BeautifulSoup) -> None:
    entries = {str(tag["id"]): tag.parent for tag in api.select("dt[id]")}  # looked up once: the page is long
    for name in names.public_names():
        assert entries.get(name) is not None, name
        text = entries[name].find("dd")
        assert text is not None, name
        assert text.get_text(strip=True), name


def test_public_names_are_those_that_can_be_imported() -> None:
    public = names.public_names()
    assert {"attnlib.flash_attention", "attnlib.cost.roofline", "attnlib.hardness.decide"} < set(public)
    assert {"attnlib.count.flops", "attnlib.clock.time", "attnlib.graph.full", "attnlib.taylor.features"} < set(
        public
    )
    assert {"attnlib.registry.MECHANISMS", "attnlib.book.glue", "attnlib.book.plot.use"} < set(public)
    assert not [name for name in public if name.rpartition(".")[2].startswith("_")]
    functions = [value for value in public.values() if callable(value)]
    assert len(set(map(id, functions))) == len(functions)  # nothing has two entries


def test_a_module_shows_what_it_takes_from_a_private_one_under_its_name() -> None:
    public = set(names.public_names())
    assert {"attnlib.taylor.error_bound", "attnlib.count.Operations", "attnlib.graph.depth"} < public
    assert "attnlib.taylor.MAX_FEATURES" in public  # a constant: its docstring stands where it is made
    assert not {"attnlib.taylor.check_order", "attnlib.taylor.run", "attnlib.graph.Array"} & public


def used_names(text: str) -> set[tuple[str, str]]:
    """(module, name) of what a program takes from attnlib: `from attnlib import count` and `count.flops`, say."""
    nodes = list(ast.walk(ast.parse(text)))
    imports = [
        node for node in nodes if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("attnlib.")
    ]
    taken = {a.asname or a.name: (str(node.module), a.name) for node in imports for a in node.names}
    modules = {name: value for name in taken if inspect.ismodule(value := find(*taken[name]))}
    parts = {
        (modules[node.value.id].__name__, node.attr)
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules
    }
    return parts | {pair for name, pair in taken.items() if name not in modules}


def find(module: str, name: str) -> Any:
    value = getattr(import_module(module), name, None)
    return import_module(f"{module}.{name}") if value is None else value


def programs() -> Iterator[tuple[str, str]]:
    """What chapters run, and the examples in the library's docstrings, each file as one program."""
    for path in sorted((ROOT / "chapters").glob("*.md")):
        cells = jupytext.read(path, fmt="md:myst").cells
        yield path.name, "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for path in sorted((ROOT / "attnlib").rglob("*.py")):
        nodes = [node for node in ast.walk(ast.parse(path.read_text("utf8"))) if isinstance(node, documented)]
        examples = [x for node in nodes for x in doctest.DocTestParser().get_examples(ast.get_docstring(node) or "")]
        yield path.name, "".join(example.source for example in examples)


def test_what_chapters_and_examples_use_has_an_entry() -> None:
    public = names.public_names()
    entries = {id(value) for value in public.values() if callable(value)}
    used = {(*pair, where) for where, text in programs() for pair in used_names(text)}
    assert len(used) > 100
    found = [(m, n, where) for m, n, where in used if not inspect.ismodule(find(m, n))]
    assert not [(m, n, where) for m, n, where in found if id(find(m, n)) not in entries and f"{m}.{n}" not in public]


def test_what_an_entry_names_alone_has_an_entry() -> None:
    """A name in backticks that its module knows, and nobody else's: `State` in the docstring of a step."""
    public = names.public_names()
    entries = {id(value) for value in public.values() if callable(value)}
    for room in names.rooms():
        for name in room.names:
            home = import_module(getattr(room.find(name), "__module__", room.module.__name__))
            for word in re.findall(r"`([A-Za-z]\w*)`", names.documentation(room, name)):
                value = getattr(home, word, None)
                ours = getattr(value, "__module__", "attnlib").partition(".")[0] == "attnlib"
                if value is not None and ours and not inspect.ismodule(value):
                    assert id(value) in entries or f"{room.path}.{word}" in public, (room.path, name, word)


def test_formulas_are_typeset(api: BeautifulSoup) -> None:
    assert len(api.select(".formula .line")) > 40
    for line in api.select(".formula .line"):
        assert line.select(".math"), line
    formula = entry(api, "attnlib.flash_attention").select_one(".formula")
    assert formula is not None
    assert r"\sum _{j} e^{s_{ij} - c_{i}} v_{j}" in formula.get_text()


def test_every_formula_of_the_library_has_tex() -> None:
    for room in names.rooms():
        for name in room.names:
            for line in docstrings.to_rst(names.documentation(room, name)):
                assert ":math:" not in line or re.fullmatch(r" *\| (:math:`\S[^`]*\S`\u2003?)+", line), line


def test_a_symbol_without_tex_is_refused() -> None:
    with pytest.raises(ValueError, match="'☃'"):
        docstrings.tex("x = ☃")


def test_sections_become_fields_and_examples_code(api: BeautifulSoup) -> None:
    flash = entry(api, "attnlib.flash_attention")
    fields = [field.get_text(strip=True).rstrip(":") for field in flash.select("dl.field-list > dt")]
    assert fields == ["Arguments", "Returns", "Raises", "Cost", "Source"]
    assert [item.get_text() for item in flash.select("dl.field-list li > p > strong")][:3] == ["q", "k", "v"]
    example = flash.select_one(".highlight pre")
    assert example is not None
    assert ">>> print(flash_attention(q, k, v" in example.get_text()


def test_names_in_docstrings_lead_to_what_they_name(api: BeautifulSoup) -> None:
    flash = entry(api, "attnlib.flash_attention")
    links = {link.get_text(): link["href"] for link in flash.select("dd a")}
    assert links["attention(q, k, v)"] == "#attnlib.attention"
    assert links["ValueError"] == "https://docs.python.org/3/library/exceptions.html#ValueError"
    spread = {link.get_text(): link["href"] for link in entry(api, "attnlib.spread").select("dd a")}
    assert spread["jax.shard_map"] == "https://docs.jax.dev/en/latest/_autosummary/jax.shard_map.html#jax.shard_map"
    own = entry(api, "attnlib.cost.roofline").select('dd a[href="#attnlib.cost.roofline"]')
    assert not own  # no entry leads to itself


def test_every_entry_leads_to_its_lines(api: BeautifulSoup) -> None:
    repository = read_repository(ROOT)
    (link,) = entry(api, "attnlib.count.flops").select("dt > a.reference.external")
    found = re.fullmatch(rf"{re.escape(repository.blob(''))}(\S+)#L(\d+)-L\d+", str(link["href"]))
    assert found is not None
    assert (ROOT / found[1]).read_text("utf8").splitlines()[int(found[2]) - 1].startswith("def flops(")


def test_the_map_is_the_registry(html: Path) -> None:
    tables = read(html, "map").select("table.map")
    for table, entries in zip(tables, (registry.MECHANISMS, registry.LAYERS), strict=True):
        rows = table.select("tbody tr")
        assert [row.find("p").get_text(strip=True) for row in rows] == [entry.title for entry in entries]  # type: ignore[union-attr]
        assert all(len(row.select("a")) == 8 for row in rows)


def test_the_summary_is_the_registry(html: Path) -> None:
    """In the book: a row for each mechanism, which leads to its chapter, and a rank wherever there is one."""
    rows = read(html, "summary").select("table.summary tbody tr")
    assert [row.find("p").get_text(strip=True) for row in rows] == [entry.title for entry in registry.MECHANISMS]  # type: ignore[union-attr]
    for row, made in zip(rows, summary.rows(), strict=True):
        name, *others = row.select("td")
        assert str(name.select("a")[0]["href"]).startswith(f"{made.entry.chapter}.html")
        assert name.select_one(".gives-up").get_text() == f"gives up {made.entry.gives_up}"  # type: ignore[union-attr]
        assert len(others) == len(summary.HEADS) - 2
        assert len(row.select("[data-rank]")) == sum(key is not None for _, key in summary.cells(made)[:-1])


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(html: Path, page: str) -> None:
    """Inside the book to an anchor, to the repository's files to a file."""
    blob = read_repository(ROOT).blob("")
    pages: dict[str, BeautifulSoup] = {}
    for link in read(html, page).select("article a[href]"):
        address = str(link["href"])
        if address.startswith(blob):
            assert (ROOT / urlsplit(address.removeprefix(blob)).path).is_file(), address
        elif not urlsplit(address).netloc and not address.startswith(".."):
            name = urlsplit(address).path.removesuffix(".html") or page
            soup = pages.get(name) or pages.setdefault(name, read(html, name))
            assert not urlsplit(address).fragment or soup.find(id=urlsplit(address).fragment), address


def test_code_in_a_chapter_leads_to_the_api_once_a_section(spoiled: Spoiled) -> None:
    one = read(spoiled.html, "one")
    links = [(link.get_text(), link["href"]) for link in one.select("article p a:has(code)")]
    assert links == [
        ("attnlib.flash_attention", "api.html#attnlib.flash_attention"),
        ("cost.attention(n, d_k)", "api-cost.html#attnlib.cost.attention"),
        ("jax.jit", "https://docs.jax.dev/en/latest/_autosummary/jax.jit.html#jax.jit"),
        ("flash_attention(q, k, v)", "api.html#attnlib.flash_attention"),
    ]
    assert not one.select("h1 a:has(code), pre a")


def test_inventories_name_what_exists() -> None:
    for file in sorted((ROOT / "tools" / "ext" / "inventory").glob("*.txt")):
        for line in file.read_text("utf8").splitlines()[3:]:
            name = line.split()[0]
            first, *rest = (name if "." in name else f"builtins.{name}").split(".")
            value = import_module(first)
            for part in rest:
                value = getattr(value, part, None) or import_module(f"{value.__name__}.{part}")
            assert value is not None


def test_what_is_missing_turns_the_build_red(spoiled: Spoiled) -> None:
    assert spoiled.code == 1
    assert "attnlib.hardness is public and on no page" in spoiled.output
    assert "attnlib.cost.BYTES has no docstring" in spoiled.output
    assert "jax.no_such_thing is in none of the inventories" in spoiled.output
    assert "attnlib.attention: expected a symbol that has TeX" in spoiled.output
