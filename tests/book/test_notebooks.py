"""The notebooks: as their chapters, free of MyST, and running where only attnlib and Colab's packages are."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from book.conftest import absent
from book.sample_book import ROOT, build_sample, copy_sample, run
from bs4 import BeautifulSoup

from tools import myst, notebooks, release
from tools.ext.colab import point_at_notebook
from tools.labels import Target
from tools.repository import make_repository

BOOK = notebooks.read_book(ROOT)
CHAPTERS = [doc for doc in BOOK.documents if notebooks.has_twin(ROOT / f"{doc}.md", BOOK.extensions)]
RAW = re.compile(r"\{[a-zA-Z][\w:.+-]*\}`|^\s*(?:> ?)*(?::{3,}|`{3,}\s*\{|~{3,}\s*\{)|\{glue|^%|\{\{", re.MULTILINE)
FORK = "https://github.com/Fork-Org/fork-book"
SITE = "https://fork-org.github.io/fork-book/"
HERE = f"{SITE}chapters/here.html"
NOTE = " *(… stands for what the cell above prints on your machine.)*"
FILES = "https://raw.githubusercontent.com/Fork-Org/fork-book/trunk/"


def raw_myst(notebook: nbformat.NotebookNode) -> list[str]:
    """What a reader in Colab would see as markup, outside formulas and code."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return [match[0] for source in cells for match in RAW.finditer(source)]


# --- the sample ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, built and converted in a repository with another address: one line of _config.yml differs."""
    book = build_sample(copy_sample(tmp_path_factory.mktemp("fork"), FORK, "trunk"))
    done = run(book, "notebooks")
    assert (done.returncode, done.stdout) == (0, "notebooks/sample.ipynb\n")
    return book


@pytest.fixture
def twin(fork: Path) -> nbformat.NotebookNode:
    return nbformat.read(fork / "notebooks" / "sample.ipynb", as_version=4)


def prose(notebook: nbformat.NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_twin_opens_with_title_links_and_install(twin: nbformat.NotebookNode) -> None:
    first, second = twin.cells[:2]
    assert first.source.startswith("# Every construct once\n")
    assert f"]({SITE}chapters/sample.html)" in first.source
    colab = "https://colab.research.google.com/github/Fork-Org/fork-book/blob/trunk/notebooks/sample.ipynb"
    assert f"]({colab})" in first.source
    assert second.cell_type == "code"
    assert f'"attnlib[book] @ git+{FORK}"' in second.source


@pytest.mark.parametrize(
    "text",
    [
        "> **In this chapter**\n>\n> - count",
        f"([Vaswani et al., 2017]({SITE}chapters/bibliography.html",
        f"[Milakov and Gimelshein (2018)]({SITE}chapters/bibliography.html",
        f"see [Elsewhere]({SITE}chapters/other.html#sec-elsewhere)",
        f"[this section]({SITE}chapters/sample.html#sec-counting)",
        f"[Another page]({SITE}chapters/other.html), [Elsewhere]",
        "[the paper](https://arxiv.org/abs/1706.03762)",
        f"> **Note**\n>\n> Written once, shown on several pages ([Milakov and Gimelshein, 2018]({SITE}",
        "$$\nS = Q K^\\top \\tag{1}\n$$",
        "\\right) \\tag{2}\n$$",
        f"Equations [(1)]({SITE}chapters/sample.html#equation-eq-scores)",
        f"[(3)]({SITE}chapters/other.html#equation-eq-core) is elsewhere",
        f"[Theorem 1]({SITE}chapters/sample.html#thm-square) uses\n[Definition 1]",
        "$d = 768$ the core needs 805,306,368 operations. Doubling $n$ quadruples it\n(a ratio of 4).",
        "One run took … s, and\n… of memory. … *(… stands for what the cell above prints on your machine.)*",
        "> **Takeaway**\n>\n> The core needs 805,306,368 operations",
        "> **Theorem 1 – Doubling**\n>\n> For every $d$",
        "> $$c(2n) = 4 \\cdot 4 n^2 d = 4\\,c(n).$$",
        "> **Proof**\n>\n> Substitute $2n$",
        "*Fig. 1: The core of attention against length",
        f"[Fig. 1]({SITE}chapters/sample.html#fig-parabola) shows it, and [Figure 1]",
        "| scores | $2 n^2 d$ | pairs |",
        "| --- | ---: | --- |",
        "> **Tip**\n>\n> A colon fence",
        "```python\nunexecuted",
        "> - **A.** It doubles.\n> - **B.** It quadruples.\n>\n> <details><summary>Answer</summary>\n>\n> **B**",
        "> **A, B**\n",
        f"## Exercises\n\nSolutions: below each exercise on [the page]({SITE}chapters/sample.html#exercises).\n\n> ",
        "> **Exercise 1 (Width)**\n>\n> What does",
        "**Exercise 2 (Measure)**\n\nCount the operations",
    ],
)
def test_twin_says(twin: nbformat.NotebookNode, text: str) -> None:
    assert text in prose(twin)


def test_twin_keeps_code_and_drops_what_serves_the_page(twin: nbformat.NotebookNode) -> None:
    code = [cell for cell in twin.cells if cell.cell_type == "code"]
    assert [cell.source.splitlines()[0] for cell in code[1:]] == [
        "def core(n, d):",
        "from attnlib.book import say",
        "import matplotlib.pyplot as plt",
        "from attnlib.book import draw",
        "from attnlib.book import plot",
        "n = 32",
    ]
    assert code[2].metadata == {"cellView": "form", "jupyter": {"source_hidden": True}}
    assert all(cell.metadata == {} for cell in (code[1], *code[3:]))  # also what the page folds
    everything = json.dumps(twin)
    for word in ("SECRET", "secret_answer", "glue(", "remove-cell", "mystnb", "a comment for authors"):
        assert word not in everything
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert raw_myst(twin) == []


def test_raw_myst_is_seen() -> None:
    seen = ["a {ref}`b`", ":::{note}", "> ```{note}", "```{code-cell}", "x {glue:text}`a`", "% comment", "{{ x }}"]
    for source in seen:
        cell = nbformat.v4.new_markdown_cell(source)
        assert raw_myst(nbformat.v4.new_notebook(cells=[cell])), source
    fine = nbformat.v4.new_markdown_cell("$\\frac{1}{2}$ `x` {a} 50 % ```python\n```")
    assert raw_myst(nbformat.v4.new_notebook(cells=[fine])) == []


def test_links_of_the_twin_lead_to_built_anchors(fork: Path, twin: nbformat.NotebookNode) -> None:
    links = set(re.findall(re.escape(SITE) + r"([\w/-]+\.html)(?:#([^)\s]+))?", prose(twin)))
    assert len(links) > 8
    for page, anchor in links:
        soup = BeautifulSoup((fork / "_build" / "html" / page).read_text("utf8"), "html.parser")
        assert not anchor or soup.find(id=anchor), (page, anchor)


def test_same_bytes_every_time(fork: Path) -> None:
    file = fork / "notebooks" / "sample.ipynb"
    before = file.read_bytes()
    assert run(fork, "notebooks", "sample").returncode == 0
    assert file.read_bytes() == before
    assert before.endswith(b"}\n")
    notebook = nbformat.reads(before.decode(), as_version=4)
    nbformat.validate(notebook)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert notebook.metadata.kernelspec.name == "python3"


def test_page_of_a_fork_opens_its_own_twin(fork: Path) -> None:
    def colab(page: str) -> list[str]:
        soup = BeautifulSoup((fork / "_build" / "html" / page).read_text("utf8"), "html.parser")
        return [str(link["href"]) for link in soup.select("a[href*='colab.research.google.com']")]

    address = "https://colab.research.google.com/github/Fork-Org/fork-book/blob/trunk/notebooks/sample.ipynb"
    assert set(colab("chapters/sample.html")) == {address}
    for page in ("index.html", "chapters/other.html", "chapters/bibliography.html"):
        assert colab(page) == []


def test_check_finds_stale_missing_and_lost_twins(fork: Path) -> None:
    file, lost = fork / "notebooks" / "sample.ipynb", fork / "notebooks" / "lost.ipynb"
    kept = file.read_text("utf8")
    assert run(fork, "notebooks", "--check").returncode == 0
    try:
        file.write_text(kept.replace("quadruples", "doubles", 1), "utf8")
        stale = run(fork, "notebooks", "--check")
        assert (stale.returncode, stale.stdout.count("\n")) == (1, 1)
        assert stale.stdout.startswith("notebooks/sample.ipynb: stale")
        assert "make notebooks" in stale.stdout
        file.unlink()
        lost.write_text("{}")
        gone = run(fork, "notebooks", "--check")
        assert gone.returncode == 1
        assert "notebooks/sample.ipynb: missing" in gone.stdout
        assert "notebooks/lost.ipynb: no chapter" in gone.stdout
        assert not file.exists()
    finally:
        lost.unlink(missing_ok=True)
        file.write_text(kept, "utf8")


def test_chapter_that_was_not_executed_is_an_error(fork: Path) -> None:
    source = fork / "chapters" / "sample.md"
    kept = source.read_text("utf8")
    twin = (fork / "notebooks" / "sample.ipynb").read_bytes()
    try:
        source.write_text(kept.replace("core(512, 768)\n", "core(512, 769)\n", 1), "utf8")
        done = run(fork, "notebooks")
        assert done.returncode == 1
        assert done.stdout == "chapters/sample.md: not executed as it stands; run `make book` first\n"
    finally:
        source.write_text(kept, "utf8")
    assert (fork / "notebooks" / "sample.ipynb").read_bytes() == twin


def test_unknown_chapter_is_an_error(fork: Path) -> None:
    done = run(fork, "notebooks", "nowhere")
    assert (done.returncode, done.stdout) == (1, "nowhere: expected one of chapters/sample\n")


# --- the converter -------------------------------------------------------------------------------------


def context(**changes: Any) -> myst.Context:
    labels = {
        "/chapters/other": (Target("chapters/other", "", "Other"),),
        "equation-eq-x": (Target("chapters/other", "equation-eq-x", "(7)"),),
        "thm-x": (Target("chapters/here", "thm-x", "Theorem 3"),),
        "tab-x": (Target("chapters/here", "tab-x", "Table 4"),),
        "sec-x": (Target("chapters/here", "sec-x", "A section"),),
        "twice": (Target("chapters/a", "twice", "A"), Target("chapters/b", "twice", "B")),
    }
    settings: dict[str, Any] = {
        "file": "chapters/here.md",
        "doc": "chapters/here",
        "parser": myst.make_parser(list(BOOK.extensions)),
        "repository": make_repository(FORK, "trunk"),
        "labels": labels,
        "authors": {"key": ("Ada", "1843")},
        "glued": lambda doc, key: {"a": "1,024", "measured-m": "…"}[key],
    }
    return myst.Context(**(settings | changes))


@pytest.mark.parametrize(
    ("source", "converted"),
    [
        (r"a \* b &nbsp; *c* **d** `e` <b>f</b>", r"a \* b &nbsp; *c* **d** `e` <b>f</b>"),
        ("`` a`b ``", "``a`b``"),
        ("line\nbreak\\\nhard", "line\nbreak\\\nhard"),
        ("{math}`x^2` {sub}`i` {func}`attnlib.attention`", "$x^2$ <sub>i</sub> `attnlib.attention`"),
        ("{prf:ref}`thm-x` {ref}`words <sec-x>`", f"[Theorem 3]({HERE}#thm-x) [words]({HERE}#sec-x)"),
        ("[](thm-x), [w](#sec-x)", f"[Theorem 3]({HERE}#thm-x), [w]({HERE}#sec-x)"),
        ("[](other.md) {doc}`o <other>`", f"[Other]({SITE}chapters/other.html) [o]({SITE}chapters/other.html)"),
        ("[code](../attnlib/count.py)", f"[code]({FORK}/blob/trunk/attnlib/count.py)"),
        ("{cite}`key` {glue:text}`a`", f"([Ada, 1843]({SITE}chapters/bibliography.html)) 1,024"),
        ("{glue:text}`other.md::a`", "1,024"),
        ("{glue:text}`measured-m` s, {glue:text}`other.md::measured-m`.\n\nb", f"… s, ….{NOTE}\n\nb"),
        ("- {glue:text}`measured-m` s\n- b", f"- … s{NOTE}\n- b"),
        ("| a | b |\n|---|---|\n| {glue:text}`measured-m` | {glue:text}`measured-m` |",
         f"| a | b |\n| --- | --- |\n| … | … |\n\n{NOTE.strip()}"),
        ("![alt](../x.png)", f"![alt]({FILES}x.png)"),
        ("$$\na\n$$\n\n- b\n\n  $$\n  c\n  d\n  $$", "$$\na\n$$\n\n- b\n\n  $$c d$$"),
        ("\\begin{align*}\na &= b\n\\end{align*}", "$$\n\\begin{aligned}\na &= b\n\\end{aligned}\n$$"),
        ("term\n: meaning", "- **term**\n\n  meaning"),
        ("x[^n]\n\n[^n]: a note", "x<sup>n</sup>\n\n<sup>n</sup> a note"),
        ("(sec-a)=\n## A\n\n% gone\n\n<!-- gone -->", "## A"),
        ("3. a\n4. b\n   - c", "3. a\n4. b\n   - c"),
        ("````\n```\n````", "````\n```\n````"),
        ("```{list-table} T\n:header-rows: 1\n* - a\n  - b\n* - 1\n  - $2$\n```",
         "T\n\n| a | b |\n| --- | --- |\n| 1 | $2$ |"),
        ("```{table} Of $n$\n:name: tab-x\n\n| a |\n|---|\n| 1 |\n```\n\n{numref}`tab-x`",
         f"**Table 4.** Of $n$\n\n| a |\n| --- |\n| 1 |\n\n[Table 4]({HERE}#tab-x)"),
        ("```{figure} ../x.png\n:alt: a\nIt *is*.\n```", f"![a]({FILES}x.png)\n\n_It *is*._"),
        ("````{note}\n```{prf:remark}\nx\n```\n````", "> **Note**\n>\n> > **Remark**\n> >\n> > x"),
        ("```{note} First\nsecond\n```", "> **Note**\n>\n> First\n>\n> second"),
        ("```{dropdown} *Why*\nbecause\n```", "> ***Why***\n>\n> because"),
        ("```{solution} ex-a\n{unknown}`x`\n```\n\nb", "b"),
        ("| a |\n|:-:|\n| `x\\|y` |", "| a |\n| :---: |\n| `x\\|y` |"),
    ],
)  # fmt: skip
def test_conversion(source: str, converted: str) -> None:
    assert myst.render(source, context()) == converted


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("a\n\n```{mystery}\nx\n```", 3, "{mystery}"),
        ("a\n\n{mystery}`x`", 3, "{mystery}"),
        ("```{note}\n:class: x\n\na\n\n{mystery}`x`\n```", 6, "{mystery}"),
        ("- a\n- b\n\n  ```{mystery}\n  ```", 4, "{mystery}"),
        ("{{ x }}", 1, "substitution"),
        (":::plain\nx\n:::", 1, "plain"),
        ("- [ ] a task", 1, "task list"),
        ("a\n\n{ref}`nowhere`", 3, "nowhere"),
        ("{ref}`twice`", 1, "twice"),
        ("{eq}`eq-none`", 1, "eq-none"),
        ("[x](absent.md)", 1, "chapters/absent"),
        ("[x](other.md#absent)", 1, "absent"),
        ("{cite:p}`nobody`", 1, "nobody"),
        ("a\n\n{glue:text}`b`", 3, "glues 'b'"),
        ("{glue:text}`measured-b`", 1, "glues 'measured-b'"),
        ("a\n\n## {glue:text}`measured-m` s", 3, "a measured number in a heading"),
        ("{glue:figure}`b`", 1, "{glue:figure}"),
        ("```{code-cell}\n1\n```", 1, "{code-cell}"),
        ("```{figure} x.png\nA caption.\n```", 1, "without :alt:"),
        ("- $$\n  a % b\n  $$", 1, "TeX comment"),
        ("| a |\n|---|\n| $\\|x\\|$ |", 3, "lvert"),
        (":::{quiz} q\nWhich?\n\n- [ ] a\n  > x\n- [ ] b\n  > y\n:::", 4, "no option is marked correct"),
        ("```{exercise-start}\n```", 1, "{exercise-start}"),
        ("\\begin{alignat}{2}\na\n\\end{alignat}", 1, "alignat"),
    ],
)
def test_unknown_construct_is_an_error(source: str, line: int, message: str) -> None:
    with pytest.raises(myst.ConversionError) as caught:
        myst.render(source, context())
    assert str(caught.value).startswith(f"chapters/here.md:{line}: ")
    assert message in str(caught.value)


def test_included_file_is_shown_whole_and_its_faults_name_it(tmp_path: Path) -> None:
    (tmp_path / "chapters").mkdir()
    shared = tmp_path / "chapters" / "_shared.md"
    shared.write_text("```{note}\nOnce: {prf:ref}`thm-x`.\n```\n")
    ctx, source = context(root=tmp_path), "a\n\n```{include} _shared.md\n```\n\nb"
    note = f"> **Note**\n>\n> Once: [Theorem 3]({HERE}#thm-x)."
    assert myst.render(source, ctx) == f"a\n\n{note}\n\nb"
    faults = [
        ("a\n\n{mystery}`x`", "chapters/_shared.md:3: ", "{mystery}"),
        ("{glue:text}`a`", "chapters/here.md:3: ", "glues a value"),
    ]
    for text, place, message in faults:
        shared.write_text(text)
        with pytest.raises(myst.ConversionError, match=re.escape(message)) as caught:
            myst.render(source, ctx)
        assert str(caught.value).startswith(place)
    for include, message in (("_none.md\n", "no such file"), ("_shared.md\n:start-line: 1\n", "no options")):
        with pytest.raises(myst.ConversionError, match=message):
            myst.render(f"```{{include}} {include}```", ctx)


def test_citation_leads_to_its_entry_where_the_page_has_an_anchor_for_it() -> None:
    page = "chapters/bibliography"
    labels = {"cite-key": (Target(page, "cite-key", ""),), "cite-other": (Target("chapters/here", "cite-other", ""),)}
    ctx = context(labels=labels, authors={"key": ("Ada", "1843"), "other": ("Bob", "1900")})
    there = f"{SITE}{page}.html"
    assert myst.render("{cite:t}`key,other`", ctx) == f"[Ada (1843)]({there}#cite-key), [Bob (1900)]({there})"


def test_authors_as_a_citation_has_them(tmp_path: Path) -> None:
    entries = {
        "a": "Ada, A.",
        "b": "Ada, A. and Bob, B.",
        "c": "Ada, A. and Bob, B. and Eve, E.",
        "d": "Ada, A. and others",
    }
    text = "\n".join(
        f"@misc{{{key}, author = {{{who}}}, title = {{T}}, year = 1900}}" for key, who in entries.items()
    )
    (tmp_path / "references.bib").write_text(text)
    names = ["Ada", "Ada and Bob", "Ada et al.", "Ada et al."]
    assert [author for author, _ in notebooks.read_authors(tmp_path).values()] == names


def test_nothing_is_said_of_solutions_where_there_are_none() -> None:
    chapter = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("## Exercises\n\nThink.")])
    here = context(labels={"exercises": (Target("chapters/here", "exercises", "Exercises"),)})
    assert notebooks.where_solutions_are(chapter, here) == ""
    chapter.cells[0].source += "\n\n```{solution} ex\nx\n```"
    assert f"({HERE}#exercises)" in notebooks.where_solutions_are(chapter, here)


@pytest.mark.parametrize(
    "source",
    ["```{solution-start} ex\n```\n\nx", "x\n\n```{solution-end}\n```", "+++\n\n```{raw-cell}\nx\n```"],
)
def test_gate_without_partner_is_an_error(source: str, tmp_path: Path) -> None:
    header = (ROOT / "tests" / "book" / "sample" / "chapters" / "sample.md").read_text("utf8").split("\n# ")[0]
    file = tmp_path / "here.md"
    file.write_text(f"{header}\n# T\n\n```{{code-cell}}\n1\n```\n\n{source}\n", "utf8")
    chapter = notebooks.read_chapter(file, BOOK.extensions)
    assert chapter is not None
    with pytest.raises(myst.ConversionError, match=r"chapters/here\.md:\d+: "):
        list(notebooks.body(chapter, context()))


@pytest.mark.parametrize("url", ["", "https://example.org/a/b", "https://github.com/a", "git@github.com:a/b"])
def test_address_that_is_no_github_repository(url: str) -> None:
    with pytest.raises(ValueError, match=r"repository\.url: expected"):
        make_repository(url, "main")


def test_page_about_the_build_has_no_twin() -> None:
    assert "chapters/status" in BOOK.documents
    assert "chapters/status" not in CHAPTERS


def test_button_is_left_alone_where_the_theme_made_none() -> None:
    app = SimpleNamespace(config=SimpleNamespace(myst_enable_extensions=[]))
    page: dict[str, Any] = {"header_buttons": [{"label": "repository-buttons", "buttons": []}]}
    point_at_notebook(app, "index", "page.html", page, None)  # type: ignore[arg-type]
    assert page == {"header_buttons": [{"label": "repository-buttons", "buttons": []}]}


# --- the book ------------------------------------------------------------------------------------------


def test_twins_are_as_their_chapters(html: Path) -> None:
    assert notebooks.problems(BOOK) == []


def test_buttons_open_twins_that_exist(html: Path) -> None:
    for doc in BOOK.documents:
        soup = BeautifulSoup((html / f"{doc}.html").read_text("utf8"), "html.parser")
        links = {str(link["href"]) for link in soup.select("a[href*='colab.research.google.com']")}
        if doc == "index":  # which leads to the first chapter's
            assert links == {BOOK.repository.colab("chapters/question")}
            continue
        assert links == ({BOOK.repository.colab(doc)} if doc in CHAPTERS else set()), doc
        if doc in CHAPTERS:
            assert (ROOT / notebooks.twin_path(doc)).is_file()


@pytest.fixture(scope="module")
def colab_python() -> Path:
    """The interpreter of an environment with attnlib and Colab's packages, and nothing that builds the book."""
    python = ROOT / ".venv-colab" / "bin" / "python"
    if not python.is_file():
        absent(".venv-colab is absent: run `make .venv-colab/.attnlib`")
    return python


@pytest.fixture(scope="module")
def wheel_python(colab_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the library as a release has it: a wheel, and no repository beside it."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel, _ = release.build_dist(ROOT, folder / "dist")
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    clean = folder / "clean"
    subprocess.run([colab_python, "-m", "venv", "--without-pip", clean], check=True)
    python = clean / "bin" / "python"
    colab, here = (
        subprocess.run([each, "-c", where], capture_output=True, text=True, check=True).stdout.strip()
        for each in (colab_python, python)
    )
    pip = [sys.executable, "-m", "pip", "-q", "--python", python, "install", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, check=True, capture_output=True)
    # Afterwards, as pip would take the editable library there for the wheel's. A folder named so is searched; what is
    # installed there as editable is not found through it.
    Path(here, "colab.pth").write_text(f"{colab}\n")
    return python


def execute(notebook: nbformat.NotebookNode, python: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a notebook with nbclient in a kernel of `python`, away from the repository and the user's settings."""
    kernel = folder / "kernels" / "colab"
    kernel.mkdir(parents=True)
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "Colab", "language": "python"}))
    nbformat.write(notebook, folder / "twin.ipynb")
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
    environment = kept | {
        "HOME": str(folder),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_PATH": str(folder),
        "JAX_PLATFORMS": "cpu",
        "ATTNLIB_CLOCK": "0.1",  # that a twin runs is tested, not what it measures
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    run_it = "from nbclient.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", run_it, "--kernel_name=colab", "--timeout=300", "--startup_timeout=120", "twin.ipynb"],
        cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def script(*sources: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])


def test_colab_environment_cannot_build_the_book(colab_python: Path, tmp_path: Path) -> None:
    names = ["jupyter_book", "myst_nb", "sphinx", "jupytext", "pytest"]
    found = f"import importlib.util as u; print([name for name in {names} if u.find_spec(name)])"
    done = subprocess.run(
        [colab_python, "-c", found], cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.stdout.strip() == "[]"


def test_notebook_that_fails_is_red(colab_python: Path, tmp_path: Path) -> None:
    done = execute(script("1 / 0"), colab_python, tmp_path)
    assert done.returncode != 0
    assert "ZeroDivisionError" in done.stdout


def test_install_cell_acts_only_when_attnlib_is_absent(colab_python: Path, tmp_path: Path) -> None:
    install = notebooks.install(make_repository(FORK, "trunk"))
    assert not re.search(r"jax|numpy", install)
    spy = "calls = []\nget_ipython().register_magic_function(calls.append, 'line', 'pip')"
    hide = "importlib.util.find_spec = lambda name: None"
    once = f"""assert calls == ['install -q "attnlib[book] @ git+{FORK}"'], calls"""
    done = execute(script(spy, install, "assert calls == [], calls", hide, install, once), colab_python, tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]


def test_sample_twin_runs(fork: Path, colab_python: Path, tmp_path: Path) -> None:
    twin = nbformat.read(fork / "notebooks" / "sample.ipynb", as_version=4)
    done = execute(twin, colab_python, tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("doc", CHAPTERS)
def test_twin_is_plain_and_valid(doc: str) -> None:
    twin = nbformat.read(ROOT / notebooks.twin_path(doc), as_version=4)
    nbformat.validate(twin)
    assert raw_myst(twin) == []
    assert twin.cells[1].source == notebooks.install(BOOK.repository, notebooks.read_released(ROOT))


def undefined(*twins: Path) -> str:
    """What ruff says of names in these notebooks that nothing defines. Files that are named are never left out."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select=F821", *twins]
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout


def test_twins_use_no_name_that_they_do_not_define() -> None:
    """A notebook leaves out cells that serve the page alone."""
    assert undefined(*(ROOT / notebooks.twin_path(doc) for doc in CHAPTERS)) == "All checks passed!\n"


def test_a_name_that_no_cell_defines_is_found(tmp_path: Path) -> None:
    nbformat.write(script("%matplotlib inline\nn = 1", "print(n, m)"), tmp_path / "twin.ipynb")
    said = undefined(tmp_path / "twin.ipynb")
    assert "Undefined name `m`" in said
    assert "Found 1 error." in said


def taken(twin: nbformat.NotebookNode) -> Iterator[str]:
    """What a notebook imports, a statement for each name."""
    for cell in twin.cells:
        if cell.cell_type != "code":
            continue
        source = re.sub(r"(?m)^([ \t]*)[%!].*", r"\1pass", cell.source)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom):
                yield from (f"from {node.module} import {alias.name}" for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from (f"import {alias.name}" for alias in node.names)


def test_what_twins_import_is_there(wheel_python: Path, tmp_path: Path) -> None:
    """On Colab's versions, for every notebook: `make test` runs every third of them."""
    twins = [nbformat.read(ROOT / notebooks.twin_path(doc), as_version=4) for doc in CHAPTERS]
    imports = [list(taken(twin)) for twin in twins]
    assert all(imports)  # each imports something, to see whether attnlib is there if nothing else
    where = f"import attnlib; assert attnlib.__file__.startswith({str(wheel_python.parents[1])!r})"
    command = [wheel_python, "-I", "-c", "\n".join([where, *sorted({name for names in imports for name in names})])]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.anywhere
@pytest.mark.sample(3)
@pytest.mark.parametrize("doc", CHAPTERS)
def test_twin_runs(doc: str, wheel_python: Path, tmp_path: Path) -> None:
    twin = nbformat.read(ROOT / notebooks.twin_path(doc), as_version=4)
    where = f"import attnlib; assert attnlib.__file__.startswith({str(wheel_python.parents[1])!r}), attnlib.__file__"
    twin.cells.append(nbformat.v4.new_code_cell(where))
    done = execute(twin, wheel_python, tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]
