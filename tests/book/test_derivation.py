"""The formulas that the derivation states by hand are read from the chapter and compared with the cost models."""

import re
from pathlib import Path

import pytest
import sympy

from attnlib import cost

CHAPTER = Path(__file__).parents[2] / "chapters" / "derivation.md"
n, d, h, d_k, d_v = symbols = sympy.symbols("n d h d_k d_v")


def formula(latex: str) -> sympy.Expr:
    """Read a polynomial from LaTeX: numbers, letters with or without _k and _v, powers, sums."""
    terms = []
    for term in latex.split("+"):
        factors = re.findall(r"(\d+|[a-z](?:_[kv])?)(?:\^(\d+))?", term)
        assert "".join(base + (f"^{power}" if power else "") for base, power in factors) == term.replace(" ", "")
        terms.append(sympy.prod(sympy.sympify(base) ** int(power or 1) for base, power in factors))
    return sum(terms)


def table_by_hand(source: str) -> dict[str, sympy.Expr]:
    """The last column of the table labelled table-by-hand, by its first column."""
    table = re.search(r":name: table-by-hand\n\n((?:\|.*\n)+)", source)
    assert table, "derivation.md has no table labelled table-by-hand"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()[2:]]
    return {row[0]: formula(row[-1].strip("$")) for row in rows}


def test_every_row_of_the_table_by_hand_is_the_cost_model() -> None:
    by_hand = table_by_hand(CHAPTER.read_text())
    layer = cost.multihead_attention(n, d, h)
    assert list(by_hand) == [step.name for step in layer.steps]
    for step in layer.steps:
        assert sympy.expand(step.flops - by_hand[step.name]) == 0, step.name


def test_a_wrong_row_is_found() -> None:
    wrong = CHAPTER.read_text().replace("| $2 n^2 d$ |", "| $n^2 d$ |", 1)
    layer = cost.multihead_attention(n, d, h)
    assert any(sympy.expand(layer[name].flops - hand) != 0 for name, hand in table_by_hand(wrong).items())


@pytest.mark.parametrize(
    ("statement", "model"),
    [
        ("8nd^2 + 4n^2d", cost.multihead_attention(n, d, h).matmul_flops),
        ("5hn^2", cost.multihead_attention(n, d, h)["softmax"].flops),
        ("hn^2", cost.multihead_attention(n, d, h).transcendentals),
    ],
)
def test_the_theorem_states_the_cost_model(statement: str, model: sympy.Expr) -> None:
    theorem = re.search(r"```\{prf:theorem\}.*?```", CHAPTER.read_text(), re.DOTALL)
    assert theorem
    assert statement in theorem[0]
    assert sympy.expand(formula(statement) - model) == 0
