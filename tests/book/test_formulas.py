"""Formulas as MathML, and the one sheet and script of the pages."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tools.ext.formulas import join_equations
from tools.ext.weight import combine, prune
from tools.mathml import mathml, plain

FORMULAS = [
    r"\begin{cases} 4nd^2 & \text{Elman: never} \\ 12nd^2 & \text{GRU: } n < d \end{cases}",
    r"\boxed{\underbrace{8nd^2}_{\text{projections}} + \underbrace{4n^2d}_{\text{core}}}",
    r"\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix} \operatorname{softmax}\left(\frac{QK^\top}{\sqrt{d_k}}\right)",
    r"\text{für alle } x \in \mathbb{R}: \quad \lVert x \rVert \ge 0 \text{ – “so” } \color{red}{x}",
    r"\int_0^\infty e^{-t^2/2}\,dt = \sqrt{\tfrac{\pi}{2}}",
    "a < b & c"[:5],
]


@pytest.mark.parametrize("tex", FORMULAS)
@pytest.mark.parametrize("display", [False, True])
def test_a_formula_is_mathml_that_keeps_its_tex(tex: str, display: bool) -> None:
    formula = ET.fromstring(mathml(tex, display, xml=True))
    space = "{http://www.w3.org/1998/Math/MathML}"
    assert formula.tag == f"{space}math"
    assert (formula.get("display") == "block") is display
    (semantics,) = formula
    shown, annotation = semantics
    assert annotation.get("encoding") == "application/x-tex"
    assert annotation.text == tex
    assert "\\" not in "".join(shown.itertext())


@pytest.mark.parametrize("tex", [r"\frac{1}{2", r"\unknown{x}", "a & b", r"\left( x", "x^2^3"])
def test_what_is_no_tex_is_refused(tex: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        mathml(tex)


def test_a_title_keeps_its_formula_as_text() -> None:
    assert plain(f"{mathml('n^2')} and {mathml(r'{d_k} < x')}") == "n^2 and d_k &lt; x"


def test_equations_are_joined_where_no_environment_does() -> None:
    inside = "\\boxed{\n\\begin{aligned} a &= \\begin{cases} b \\\\ c \\end{cases} \\\\ d &= e \\end{aligned}}"
    assert join_equations(inside) == inside
    assert join_equations("a &= b \\\\ c &= d") == r"\begin{aligned}a &= b \\ c &= d\end{aligned}"
    assert mathml(join_equations("a = b\n\nc = d"), True).count("<mtr>") == 2


def test_only_rules_that_select_something_are_kept() -> None:
    css = (
        '/*! licence */@charset "UTF-8";.used,.unused{a:"}"}.used:is(.unused,b){c:d}#there>i,#gone{e:f}'
        "@media print{.unused{g:h}}@media (x){.used{i:j}.unused{k:l}}@font-face{font-family:Font Awesome}"
        "[data-x=y]{m:url(data:image/svg+xml;x)}.unused .used{n:o}"
    )
    assert prune(css, {"used", "there"}) == (
        '@charset "UTF-8";.used{a:"}"}.used:is(.unused,b){c:d}#there>i{e:f}@media (x){.used{i:j}}'
        "[data-x=y]{m:url(data:image/svg+xml;x)}"
    )


def test_pages_share_one_sheet_and_one_script(tmp_path: Path) -> None:
    """In order, those that wait last; what one page alone loads stays; a fork below any folder works."""
    static = tmp_path / "_static"
    (static / "styles").mkdir(parents=True)
    (tmp_path / "chapters").mkdir()
    (static / "basic.css").write_text("p{a:b}")
    (static / "styles" / "theme.css").write_text('@import "../basic.css";\n.x{c:url(../y.svg)}.gone{d:e}')
    (static / "book.css").write_text("/* why */ .later {\n  f: g;\n}")
    (static / "landing.css").write_text("h1{}")
    for name in ("a.js", "b.js", "own.js", "documentation_options.js"):
        (static / name).write_text(f"run('{name}')")
    head = (
        '<link href="{0}_static/styles/theme.css?v=1" rel="stylesheet" />'
        '<link rel="stylesheet" href="{0}_static/book.css" />{1}'
        '<script defer src="{0}_static/b.js"></script><script src="{0}_static/documentation_options.js"></script>'
        '<script src="{0}_static/a.js"></script><p class="x">'
    )
    (tmp_path / "index.html").write_text(head.format("", '<link rel="stylesheet" href="_static/landing.css" />'))
    with (tmp_path / "index.html").open("a") as page:
        page.write('<script src="_static/own.js"></script>')
    for name in ("one", "two"):
        (tmp_path / "chapters" / f"{name}.html").write_text(head.format("../", ""))
    combine(tmp_path, {"book.css", "landing.css"})
    assert (static / "style.css").read_text() == "p{a:b}.x{c:url(y.svg)} .later { f: g; }"
    script = (static / "script.js").read_text()
    assert script.index("a.js") < script.index("b.js")
    index, one = ((tmp_path / name).read_text() for name in ("index.html", "chapters/one.html"))
    assert [index.count(name) for name in ("style.css", "script.js", "landing.css", "options.js")] == [1] * 4
    assert 'href="../_static/style.css?v=' in one
    assert "landing" not in one
    assert '<script defer src="_static/own.js">' in index
    assert '<script src="_static/documentation_options.js">' in index
    assert not (static / "styles" / "theme.css").exists()
