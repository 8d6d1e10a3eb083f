"""What a chapter needs besides the library: numbers for its sentences, and tables of results.

Both work where the book is built and where a chapter's notebook runs on its own, without the book's tools.
"""

import hashlib
import html
import math
import re
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnlib._numbers import superscript
from attnlib.cost._sizes import symbolic


def glue(name: str, value: object) -> None:
    """Give a number the name by which sentences of the chapter show it: `{glue:text}`.

    Where myst_nb is not installed, as in Colab, there are no such sentences and nothing happens.

    Args:
        name: the key, chapter first: "derivation-core-small".
        value: an integer, a float or a string; `text` says how it is written.

    Raises:
        ValueError: a name that is empty or not a string, or a value that `text` refuses.

    Example:
        >>> glue("derivation-share", float("nan"))
        Traceback (most recent call last):
        ...
        ValueError: book.glue: derivation-share: expected an integer, a finite float or a string, got nan
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"book.glue: name: expected a non-empty string, got {name!r}")
    written = _write(value, f"book.glue: {name}")
    try:
        from myst_nb import glue as myst_glue
    except ImportError:
        return
    # A string and nothing cleverer: {glue:text} reads the value's repr as a Python literal, so it drops a
    # string's quotes, but would turn a bare 1,024 into the tuple (1, 24).
    myst_glue(name, written, display=False)


def say(name: str, words: str) -> None:
    """Give a sentence that measured numbers have chosen a name, and print it.

    The page shows it by {glue:text}`name`, in a sentence, caption, takeaway, quiz or alt text; its cell is
    tagged `remove-cell` and `said`. In a notebook the cell stays, folded, and prints what is true of that run.

    Args:
        name: the key: "said-", then the chapter: "said-seconds-caches".
        words: a sentence, or what stands in one; see `attnlib.book.words`. Plain text: no markup is read in it.

    Raises:
        ValueError: a name that does not begin with "said-", or words that are not one line of plain text.

    Example:
        >>> say("said-seconds-caches", "The larger one is not the slower one.")
        The larger one is not the slower one.
    """
    if not name.startswith("said-"):
        raise ValueError(f"book.say: name: expected a key that begins with 'said-', got {name!r}")
    if not words.strip() or re.search(r"[\n\\`${}]", words):
        raise ValueError(f"book.say: words: expected one line of plain text, got {words!r}")
    glue(name, words)
    print(textwrap.fill(words, 88))


def shell(line: str) -> None:
    """Run `python -m attnlib` in this process, and print what it prints.

    Args:
        line: what follows the program's name in a shell.

    Raises:
        ValueError: the command refused; it has said why on stderr.

    Example:
        >>> shell("roofline feed_forward --n 4 --d 8 --device h100")
        step        seconds   waits for  FLOP/byte
        up          2.48e-10  bandwidth  2.46
        activation  1.53e-10  bandwidth  0.25
        down        2.48e-10  bandwidth  2.46
        total       6.5e-10   H100 SXM
    """
    from attnlib.cli import main

    try:
        status = main(shlex.split(line))
    except SystemExit as refused:  # argparse ends the process
        status = refused.code if isinstance(refused.code, int) else 1
    if status:
        raise ValueError(f"book.shell: line: expected a command that succeeds, got status {status} of {line!r}")


def text(value: object) -> str:
    """Write a value as the book writes it: integers with commas, floats with 4 digits, strings as they are.

    Raises:
        ValueError: anything else, NaN and infinity included.

    Example:
        >>> text(805306368), text(0.0391234), text(1234567.8), text("2.7 %")
        ('805,306,368', '0.03912', '1,235,000', '2.7 %')
    """
    return _write(value, "book.text: value")


@dataclass(frozen=True)
class Formula:
    """A SymPy expression in the order in which the book writes it, as `formula` returns it."""

    latex: str
    mathml: str
    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex}$"


def formula(expression: Any) -> Formula:
    """Write a SymPy expression in the book's order: 8nd² + 4n²d, where SymPy has 8d²n + 4dn².

    In a product batch, heads and lengths come first, then the other letters by the alphabet. In a sum powers of the
    length rise from term to term, and of terms with the same power the one with more widths is first; what is
    subtracted comes after what is added, and a number that stands alone is last.

    Args:
        expression: as SymPy made it; no sum or product is expanded or collected.

    Returns:
        A `Formula`; a cell that ends with it shows it.

    Example:
        >>> import sympy
        >>> n, d = sympy.symbols("n d")
        >>> formula(4 * n**2 * d + 8 * n * d**2), formula(4 * d - 1)
        (8*n*d**2 + 4*n**2*d, 4*d - 1)
    """
    import sympy
    from sympy.printing.latex import LatexPrinter
    from sympy.printing.mathml import MathMLPresentationPrinter
    from sympy.printing.str import StrPrinter

    # SymPy sorts factors by name, so each symbol gets a name that sorts as the book does, and is printed as itself.
    expression = sympy.sympify(expression)
    symbols = sorted(expression.atoms(sympy.Symbol), key=lambda symbol: _rank(symbol.name))
    renamed = {symbol: sympy.Symbol(f"{i:04}", **symbol.assumptions0) for i, symbol in enumerate(symbols)}
    original = {new: symbol for symbol, new in renamed.items()}

    def place(term: Any) -> tuple[Any, ...]:
        powers = [
            (original[s].name, float(x)) for s, x in term.as_powers_dict().items() if s in original and x.is_number
        ]
        length = sum(x for name, x in powers if name in LENGTHS)
        width = sum(x for name, x in powers if name not in (*COPIES, *LENGTHS))
        return bool(term.could_extract_minus_sign()), not term.free_symbols, length, -width, term.sort_key()

    def written(printer: Any) -> str:
        class Ordered(printer):  # type: ignore[misc]
            def _as_ordered_terms(self, terms: Any, order: Any = None) -> list[Any]:
                return sorted(sympy.Add.make_args(terms), key=place)

            def _print_Symbol(self, symbol: Any, **style: Any) -> Any:
                return super()._print_Symbol(original.get(symbol, symbol), **style)

        return str(Ordered().doprint(expression.xreplace(renamed)))

    latex = written(LatexPrinter)
    alternative = html.escape(latex, quote=True)
    drawn = f'<math alttext="{alternative}">{written(MathMLPresentationPrinter)}</math>'
    return Formula(latex, drawn, written(StrPrinter))


def mathml(expression: Any) -> str:
    """Write a SymPy expression in MathML, which browsers typeset without any script, in the order of `formula`.

    Example:
        >>> import sympy
        >>> mathml(sympy.Symbol("n") ** 2)
        '<math alttext="n^{2}"><msup><mi>n</mi><mn>2</mn></msup></math>'
    """
    return formula(expression).mathml


@dataclass(frozen=True)
class Table:
    """A table that a notebook shows as HTML and a terminal as text. Made by `table`.

    Formulas are written in MathML: Colab typesets no LaTeX in a cell's HTML.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    caption: str

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th scope="col"{_right(not _is_text_column(self.rows, c))}>{_unbroken(name)}</th>'
            for c, name in enumerate(self.columns)
        )
        body = "\n".join(
            f"<tr>{_html_row(row, written)}</tr>" for row, written in zip(self.rows, _written(self.rows), strict=True)
        )
        caption = _unbroken(self.caption)
        name = "table-" + hashlib.sha256(repr((self.caption, self.rows)).encode()).hexdigest()[:12]
        # A wide table scrolls in its box instead of the page, and a box that scrolls must take the focus. The caption
        # stays outside, where it neither scrolls away nor breaks at the table's width. The theme knows the class
        # "dataframe": without it, it lays every output on a light ground in dark mode.
        return (
            f'<div class="results-table">\n<style>{STYLE}</style>\n'
            f'<p class="results-caption" id="{name}">{caption}</p>\n'
            f'<div class="results-scroll" tabindex="0" role="region" aria-labelledby="{name}">\n'
            f'<table class="dataframe" aria-labelledby="{name}">\n<thead><tr>{head}</tr></thead>\n'
            f"<tbody>\n{body}\n</tbody>\n</table>\n</div>\n</div>"
        )

    def __repr__(self) -> str:
        """Return the table as Markdown, numbers to the right."""
        cells = [list(self.columns)] + [
            [_plain(cell, number) for cell, number in zip(row, numbers, strict=True)]
            for row, numbers in zip(self.rows, _written(self.rows), strict=True)
        ]
        right = [not _is_text_column(self.rows, c) for c in range(len(self.columns))]
        widths = [max(3, *(len(row[c]) for row in cells)) for c in range(len(self.columns))]

        def line(row: Sequence[str]) -> str:
            padded = (x.rjust(w) if r else x.ljust(w) for x, w, r in zip(row, widths, right, strict=True))
            return f"| {' | '.join(padded)} |"

        rule = "|".join("-" * (w + 1) + ":" if r else "-" * (w + 2) for w, r in zip(widths, right, strict=True))
        return "\n".join([self.caption, "", line(cells[0]), f"|{rule}|", *(line(row) for row in cells[1:])])


def table(
    rows: Sequence[Sequence[object] | Mapping[str, object]],
    columns: Sequence[str] | None = None,
    *,
    caption: str,
) -> Table:
    """Make a table of results.

    The first cell of a row is its heading. Integers are written by `text`. The floats of a column have the same
    number of decimals, so that these line up: four significant digits for the largest, trailing zeros dropped
    only where all end in one. What is noise beside the largest becomes 0; where a column spans so many
    magnitudes that a smaller value would lose its digits, each is written by `text`. Numbers, and strings that
    begin with one, stand to the right; a SymPy expression is typeset; None leaves a cell empty.

    Args:
        rows: each a sequence with one cell per column, or a mapping from column to cell.
        columns: their headings; the keys of the first row if not given.
        caption: what the table shows, read out before it.

    Returns:
        A `Table`; a cell that ends with it shows it.

    Raises:
        ValueError: no rows, a row of another length or with other keys, an empty caption, or a cell that
            `text` refuses.

    Example:
        >>> table([("scores", 402653184), ("softmax", 0.5)], ["step", "FLOPs"], caption="One layer")
        One layer
        <BLANKLINE>
        | step    |       FLOPs |
        |---------|------------:|
        | scores  | 402,653,184 |
        | softmax |         0.5 |
    """
    if not rows:
        raise ValueError("book.table: rows: expected at least one, got none")
    if not caption.strip():
        raise ValueError("book.table: caption: expected what the table shows, got an empty string")
    if columns is None:
        first = rows[0]
        if not isinstance(first, Mapping):
            raise ValueError("book.table: columns: expected headings, or rows that are mappings, got neither")
        columns = list(first)
    kept = []
    for i, row in enumerate(rows):
        if isinstance(row, Mapping):
            if set(row) != set(columns):
                raise ValueError(f"book.table: rows[{i}]: expected keys {list(columns)}, got {list(row)}")
            cells = tuple(row[name] for name in columns)
        else:
            cells = tuple(row)
        if len(cells) != len(columns):
            raise ValueError(f"book.table: rows[{i}]: expected {len(columns)} cells, got {len(cells)}")
        for name, cell in zip(columns, cells, strict=True):
            if cell is not None and not _is_formula(cell):
                _write(cell, f"book.table: rows[{i}], column {name!r}")
        kept.append(cells)
    return Table(tuple(columns), tuple(kept), caption)


STYLE = (
    ".results-caption { margin: 0 0 .4rem; } "
    ".results-scroll { overflow-x: auto; } "
    ".results-table table { border-collapse: collapse; margin: 0 0 .5rem; } "
    ".results-table td { white-space: nowrap; } "
    ".results-table th { white-space: normal; min-width: 4em; vertical-align: bottom; } "
    ".results-table tbody th { vertical-align: baseline; } "
    ".results-table tbody th[style*=left] { min-width: 8em; } "
    ".results-table :is(th, td) { padding: .25rem .6rem; }"
)


def _write(value: object, what: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return f"{int(value):,}"
    if isinstance(value, float | np.floating) and math.isfinite(value):
        return _four_digits(float(value))
    raise ValueError(f"{what}: expected an integer, a finite float or a string, got {value!r}")


def _four_digits(x: float) -> str:
    """Return four significant digits, trailing zeros dropped; powers of ten below 10⁻⁴ and from 10¹⁵."""
    if x == 0:
        return "0"
    if 1e-4 <= abs(x) < 1e15:
        places = 3 - math.floor(math.log10(abs(x)))
        written = f"{round(x, places):,.{max(places, 0)}f}"
        return written.rstrip("0").rstrip(".") if "." in written else written
    mantissa, power = f"{x:.3e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}×10{superscript(str(int(power)))}"


COPIES = ("B", "L", "h")  # batch, layers and heads: the first letters of a product
LENGTHS = ("n", "m", "t")  # the next; the terms of a sum are sorted by their powers


def _rank(name: str) -> tuple[int, str, str]:
    first = (*COPIES, *LENGTHS)
    return first.index(name) if name in first else len(first), name.lower(), name


def _is_formula(cell: object) -> bool:
    return symbolic(cell)


def _is_text_column(rows: Sequence[Sequence[Any]], c: int) -> bool:
    return all(row[c] is None or _is_text(row[c]) for row in rows)


def _is_text(cell: object) -> bool:
    """Whether a cell is words: a string that begins with a digit, such as "1.2 ms", is read as a number."""
    return isinstance(cell, str) and not re.match(r"[-+−±<>≈~]?\s?\d", cell)


def _written(rows: Sequence[Sequence[Any]]) -> list[tuple[str | None, ...]]:
    """Return the text of every float of a table, and None for every other cell."""
    columns = (
        [cell if isinstance(cell, float | np.floating) else None for cell in c] for c in zip(*rows, strict=True)
    )
    return list(zip(*(_aligned(column) for column in columns), strict=True))


def _aligned(column: Sequence[Any]) -> list[str | None]:
    """Write the floats of a column with the same number of decimals."""
    sizes = [abs(float(x)) for x in column if x]
    largest = max(sizes, default=0.0)
    places = max(0, 3 - math.floor(math.log10(largest))) if largest else 0
    # Below a billionth of the largest a value is what rounding left over; any other keeps two digits at the least.
    digits = [x for x in sizes if x > 1e-9 * largest]
    if not (1e-4 <= largest < 1e4) or min(digits) < 10.0 ** (1 - places):
        return [None if x is None else text(x) for x in column]
    written = [None if x is None else f"{round(float(x), places) + 0.0:,.{places}f}" for x in column]
    if not places or len(digits) < len(sizes):  # what is not quite 0 is written 0.000
        return written
    zeros = min(len(x) - len(x.rstrip("0")) for x in written if x is not None)
    cut = places + 1 if zeros >= places else zeros  # the point goes with the last decimal
    return [x if x is None or not cut else x[:-cut] for x in written]


def _right(yes: bool) -> str:
    return ' style="text-align:right"' if yes else ' style="text-align:left"'


def _unbroken(words: str) -> str:
    """Escape a caption or heading, which may break into lines, but not within "d = 768"."""
    return html.escape(words).replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")


def _html_row(row: Sequence[Any], written: Sequence[str | None]) -> str:
    heading, *cells = (_html(cell, number) for cell, number in zip(row, written, strict=True))
    aligned = (f"<td{_right(not _is_text(value))}>{cell}</td>" for value, cell in zip(row[1:], cells, strict=True))
    return f'<th scope="row"{_right(not _is_text(row[0]))}>{heading}</th>{"".join(aligned)}'


def _html(cell: Any, written: str | None) -> str:
    if _is_formula(cell):
        return mathml(cell)
    return "" if cell is None else html.escape(written or text(cell))


def _plain(cell: Any, written: str | None) -> str:
    if _is_formula(cell):
        return f"${formula(cell).latex}$"
    return "" if cell is None else (written or text(cell)).replace("|", "\\|")
