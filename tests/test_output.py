"""Numbers for sentences and tables of results, with the book's tools and without them."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import sympy
from support import Html

from attnlib import book
from attnlib.book import shell


@pytest.fixture
def glued(monkeypatch):
    """A myst_nb that notes what it is given."""
    calls = {}

    def glue(name, value, display=True):
        calls[name] = (value, display)

    monkeypatch.setitem(sys.modules, "myst_nb", SimpleNamespace(glue=glue))
    return calls


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (805306368, "805,306,368"),
        (-1234, "-1,234"),
        (2**70, "1,180,591,620,717,411,303,424"),
        (np.int32(4096), "4,096"),
        (np.uint8(7), "7"),
        (0.5, "0.5"),
        (2.0, "2"),
        (-0.0, "0"),
        (0.027315, "0.02731"),
        (3.14159, "3.142"),
        (999.96, "1,000"),
        (1234567.8, "1,235,000"),
        (-1234.56, "-1,235"),
        (np.float32(0.25), "0.25"),
        (np.float64(1e-5), "1×10⁻⁵"),
        (6.02214e23, "6.022×10²³"),
        ("1.23 ms (1.20–1.31)", "1.23 ms (1.20–1.31)"),
        ("1,024", "1,024"),
    ],
)
def test_glue_gives_the_text_of_the_value(glued, value, text):
    assert book.text(value) == text
    book.glue("chapter-name", value)
    assert glued == {"chapter-name": (text, False)}


@pytest.mark.parametrize("value", ["805,306,368", "it's 5 %", 'a "quoted" word', "2.7 %", "n²", "1_0", "None"])
def test_the_role_of_myst_nb_renders_the_glued_text_as_it_is(value):
    variables = pytest.importorskip("myst_nb.core.variables")
    assert variables.format_plain_text(repr(book.text(value)), "s") == value


def test_glue_does_nothing_without_myst_nb(monkeypatch):
    monkeypatch.setitem(sys.modules, "myst_nb", None)  # makes the import fail
    assert book.glue("chapter-name", 1) is None


def test_glue_lets_other_errors_through(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("from within")

    monkeypatch.setitem(sys.modules, "myst_nb", SimpleNamespace(glue=broken))
    with pytest.raises(RuntimeError, match="from within"):
        book.glue("chapter-name", 1)


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -np.inf, True, np.True_, None, [1], 1j, np.array([1]), sympy.Integer(1)],
)
def test_bad_values(glued, value):
    with pytest.raises(ValueError, match="value: expected an integer, a finite float or a string, got"):
        book.text(value)
    with pytest.raises(ValueError, match=r"book\.glue: a-b: expected an integer, .*, got"):
        book.glue("a-b", value)
    assert glued == {}


def test_bad_name(glued):
    with pytest.raises(ValueError, match="name: expected a non-empty string, got ''"):
        book.glue("", 1)
    assert glued == {}


n, d = sympy.symbols("n d", positive=True)


def example():
    rows = [("scores <1>", 402653184, 2 * n**2 * d, None), ("softmax", 0.5, sympy.sqrt(n) / d, "text & more")]
    return book.table(rows, ["step", "FLOPs", "formula", "note"], caption='Costs "here" & now')


def test_table_html_is_semantic():
    page = Html(example()._repr_html_())
    names = [tag for tag, _ in page.tags]
    assert names.count("table") == names.count("thead") == names.count("tbody") == 1
    assert [a["scope"] for tag, a in page.tags if tag == "th"] == ["col"] * 4 + ["row"] * 2
    assert 'Costs "here" & now' in page.words
    assert "402,653,184" in page.words
    assert "scores <1>" in page.words
    assert "text & more" in page.words
    assert names.count("math") == 2
    (caption,) = (a["id"] for tag, a in page.tags if a.get("class") == "results-caption")
    (box,) = (a for tag, a in page.tags if a.get("class") == "results-scroll")
    assert box["tabindex"] == "0"
    assert box["aria-labelledby"] == dict(page.tags)["table"]["aria-labelledby"] == caption
    to_the_right = [
        a["style"] == "text-align:right" for tag, a in page.tags if tag in ("th", "td") and a.get("scope") != "row"
    ]
    assert to_the_right == [False, True, True, False, True, True, True, True, True, False]


def column(*cells):
    """The cells of a column as a table writes them."""
    lines = repr(book.table([("r", cell) for cell in cells], ["a", "b"], caption="c")).splitlines()[4:]
    return [line.split("|")[2].strip() for line in lines]


@pytest.mark.parametrize(
    ("cells", "written"),
    [
        ((12.345, 3.4567, 0.5), ["12.35", "3.46", "0.50"]),
        ((1.0, 0.5, 0.25), ["1.00", "0.50", "0.25"]),
        ((2.0, 4.0), ["2", "4"]),
        ((1.0, 0.5, 1.266e-14, -1e-17), ["1.000", "0.500", "0.000", "0.000"]),
        ((0.0, 0.0), ["0", "0"]),
        ((1234.5, 0.00123), ["1,234", "0.00123"]),  # one number of decimals would show the second as 0
        ((1e-5, 2.5e-7), ["1×10⁻⁵", "2.5×10⁻⁷"]),
        ((402653184, 0.5, None, "about 2"), ["402,653,184", "0.5", "", "about 2"]),
        ((np.float32(0.125), 10.0), ["0.12", "10.00"]),
    ],
)
def test_decimals_of_a_column_line_up(cells, written):
    assert column(*cells) == written


def test_strings_that_begin_with_a_digit_stand_to_the_right():
    rows = [("a", "1.2 ms (1–2)", "2 or so", "x"), ("b", "≈ 900 ms", "many", "3")]
    page = Html(book.table(rows, ["w", "x", "y", "z"], caption="c")._repr_html_())
    right = [a["style"] == "text-align:right" for tag, a in page.tags if tag in ("th", "td")]
    assert right == [False, True, True, True, False, True, True, False, False, True, False, True]


def test_table_text_is_markdown():
    lines = repr(example()).splitlines()
    assert lines[0] == 'Costs "here" & now'
    assert [c.strip() for c in lines[2].split("|")[1:-1]] == ["step", "FLOPs", "formula", "note"]
    assert [c.endswith(":") for c in lines[3].split("|")[1:-1]] == [False, True, True, False]
    assert [c.strip() for c in lines[4].split("|")[1:-1]] == ["scores <1>", "402,653,184", "$2 n^{2} d$", ""]
    assert len({len(line) for line in lines[2:]}) == 1


def test_table_takes_mappings_in_the_order_of_the_columns():
    rows = [{"a": 1, "b": 2}, {"b": 4, "a": 3}]
    assert book.table(rows, caption="c") == book.table([(1, 2), (3, 4)], ["a", "b"], caption="c")
    assert book.table(rows, ["b", "a"], caption="c").rows == ((2, 1), (4, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: book.table([], ["a"], caption="c"), "rows: expected at least one, got none"),
        (lambda: book.table([(1,)], caption="c"), "columns: expected headings"),
        (lambda: book.table([(1,)], ["a"], caption=" "), "caption: expected what the table shows"),
        (lambda: book.table([(1,), (1, 2)], ["a"], caption="c"), r"rows\[1\]: expected 1 cells, got 2"),
        (
            lambda: book.table([{"a": 1}, {"b": 1}], caption="c"),
            r"rows\[1\]: expected keys \['a'\], got \['b'\]",
        ),
        (lambda: book.table([(float("nan"),)], ["a"], caption="c"), r"rows\[0\], column 'a': .* got nan"),
    ],
)
def test_bad_tables(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_mathml_keeps_the_formula_for_readers_without_it():
    page = Html(book.mathml(8 * n * d**2 + 4 * n**2 * d))
    assert dict(page.tags)["math"]["alttext"] == "8 n d^{2} + 4 n^{2} d"
    assert [w for w in page.words if w.isalnum()].count("n") == 2


B, h, m, t = sympy.symbols("B h m t")


@pytest.mark.parametrize(
    ("expression", "written"),
    [
        (4 * n**2 * d + 8 * n * d**2, "8*n*d**2 + 4*n**2*d"),
        (B * (5 * h * n**2 + 4 * n**2 * d + 8 * n * d**2), "B*(8*n*d**2 + 4*n**2*d + 5*h*n**2)"),
        (8 * d**2 + 4 * d * t, "8*d**2 + 4*t*d"),
        (d - 1, "d - 1"),
        (2 - d, "2 - d"),
        (n * (n + 1) / 2, "n*(n + 1)/2"),
        (n * m - n * (n - 1) / 2, "n*m - n*(n - 1)/2"),
        (n**2 - n, "n**2 - n"),
        (sympy.Rational(4, 3) * d * n**3 + d**2 * n**2, "n**2*d**2 + 4*n**3*d/3"),
        (n * d * sympy.log(n, 2), "n*d*log(n)/log(2)"),
        (sympy.Max(m, n) * sympy.sqrt(d) / n, "sqrt(d)*Max(n, m)/n"),
        (sympy.Integer(7), "7"),
    ],
)
def test_formulas_are_written_in_the_order_of_the_book(expression, written):
    formula = book.formula(expression)
    assert repr(formula) == written
    again = sympy.sympify(written, {str(s): s for s in expression.free_symbols})
    assert sympy.simplify(again - expression) == 0
    assert formula._repr_latex_() == f"$\\displaystyle {formula.latex}$"
    assert dict(Html(formula.mathml).tags)["math"]["alttext"] == formula.latex


def test_mathml_has_the_order_of_the_book():
    words = [w for w in Html(book.mathml(4 * n**2 * d + 8 * n * d**2)).words if w.isalnum()]
    assert "".join(words) == "8nd24n2d"


def test_a_sentence_is_glued_and_printed(glued, capsys):
    book.say("said-x-y", "The smaller one is 2.0 times as fast.")
    assert glued == {"said-x-y": ("The smaller one is 2.0 times as fast.", False)}
    assert capsys.readouterr().out == "The smaller one is 2.0 times as fast.\n"


def test_a_sentence_is_printed_without_the_book(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "myst_nb", None)
    book.say("said-x-y", "So it is. " * 20)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 88


@pytest.mark.parametrize("name", ["", "x", "measured-x"])
def test_a_sentence_has_a_name_of_its_own_kind(name):
    with pytest.raises(ValueError, match=r"book.say: name: expected a key that begins with 'said-', got"):
        book.say(name, "So it is.")


@pytest.mark.parametrize("words", ["", "  ", "two\nlines", "`code`", "$n$", "{glue:text}", "a\\b"])
def test_a_sentence_is_one_line_of_plain_text(words):
    with pytest.raises(ValueError, match=r"book.say: words: expected one line of plain text, got"):
        book.say("said-x", words)


def test_shell_prints_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    shell("model llama-3-8b --context 8192")
    assert "Llama 3 8B" in capsys.readouterr().out


def test_shell_refuses_what_the_command_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="line: expected a command that succeeds, got status 2 of 'model nothing'"):
        shell("model nothing")
    assert "expected the name of a published model" in capsys.readouterr().err
