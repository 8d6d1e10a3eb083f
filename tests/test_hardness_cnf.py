"""Formulas: the DIMACS format as it is found, families whose answer is known, brute force against CaDiCaL."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pysat.solvers import Solver
from support import FULL

from attnlib.hardness import (
    CNF,
    brute_force,
    every_assignment,
    falsified,
    parity,
    pigeonhole,
    planted_ksat,
    random_ksat,
    read_dimacs,
    write_dimacs,
)

THRESHOLD = {3: 4.27, 4: 9.93, 5: 21.1}  # clauses per variable where half of the large formulas can be satisfied


def cadical(f):
    """What CaDiCaL says: can the formula be satisfied?"""
    with Solver("cadical153", bootstrap_with=[list(c) for c in f.clauses if c]) as solver:
        return all(f.clauses) and solver.solve()  # CaDiCaL's binding takes no empty clause


@st.composite
def formulas(draw, variables=6):
    v = draw(st.integers(0, variables))
    literal = st.integers(1, max(v, 1)).flatmap(lambda x: st.sampled_from([x, -x]))
    clause = st.lists(literal, max_size=4 if v else 0).map(tuple)
    return v, tuple(draw(st.lists(clause, max_size=10)))  # not a CNF yet: checking its type draws random numbers


# --- formulas and assignments ---------------------------------------------------------------------------------------


@given(formulas())
@settings(max_examples=400 if FULL else 60, deadline=None)
def test_falsified_as_defined(f):
    f = CNF(*f)
    rows = every_assignment(f.variables)
    for x, count in zip(rows, falsified(f, rows), strict=True):
        true = {i + 1 if value else -i - 1 for i, value in enumerate(x.tolist())}
        assert count == sum(not true & set(clause) for clause in f.clauses)


@given(formulas())
@settings(max_examples=400 if FULL else 60, deadline=None)
def test_brute_force_agrees_with_cadical(f):
    f = CNF(*f)
    found = brute_force(f)
    assert (found is not None) == cadical(f)
    assert found is None or falsified(f, found) == 0


def test_brute_force_over_several_blocks():
    """The only solution sets every variable: it is in the last block of 2^14 assignments."""
    f = CNF(16, tuple((i,) for i in range(1, 17)))
    assert brute_force(f).all()
    assert brute_force(CNF(16, (*f.clauses, (-1, -2)))) is None


def test_assignments_in_order():
    rows = every_assignment(3)
    assert [int("".join(map(str, r[::-1].astype(int))), 2) for r in rows] == list(range(8))
    assert every_assignment(0).shape == (1, 0)
    assert falsified(CNF(3, ((1,), (2, 3))), rows.reshape(2, 4, 3)).shape == (2, 4)


def test_degenerate_formulas():
    assert brute_force(CNF(0, ())).shape == (0,)
    assert brute_force(CNF(0, ((),))) is None
    assert brute_force(CNF(2, ((1, -1), (2, 2, 2)))).tolist() == [False, True]


# --- families -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("v", "m", "k"), [(1, 3, 1), (5, 30, 3), (20, 85, 3), (12, 120, 4), (5, 9, 5), (7, 0, 2)])
def test_random_formulas_have_their_shape(v, m, k):
    for f in (random_ksat(v, m, k, seed=3), planted_ksat(v, m, k, seed=3)[0]):
        assert f.variables == v
        assert len(f.clauses) == m
        assert all(len({abs(x) for x in c}) == len(c) == k for c in f.clauses)
    assert random_ksat(v, m, k, seed=3) == random_ksat(v, m, k, seed=3)
    if m > 4:
        assert random_ksat(v, m, k, seed=3) != random_ksat(v, m, k, seed=4)


def test_random_clauses_are_uniform():
    """Each of the 8 · C(5, 3) clauses on 5 variables is as frequent as any other, within 5 standard deviations."""
    f = random_ksat(5, 40_000, 3, seed=0)
    seen = {}
    for c in f.clauses:
        seen[tuple(sorted(c, key=abs))] = seen.get(tuple(sorted(c, key=abs)), 0) + 1
    assert len(seen) == 80
    assert all(abs(count - 500) < 5 * np.sqrt(500) for count in seen.values())


def test_planted_clauses_are_uniform_among_the_satisfied_ones():
    f, hidden = planted_ksat(4, 35_000, 3, seed=1)
    assert falsified(f, hidden) == 0
    patterns = {}
    for c in f.clauses:
        key = tuple((abs(x), (x > 0) == hidden[abs(x) - 1]) for x in sorted(c, key=abs))
        patterns[key] = patterns.get(key, 0) + 1
    assert len(patterns) == 4 * 7
    assert all(abs(count - 1250) < 5 * np.sqrt(1250) for count in patterns.values())


def test_pigeonhole_and_parity():
    for holes in (1, 2, 3):
        f = pigeonhole(holes)
        assert f.variables == holes * (holes + 1)
        assert len(f.clauses) == holes + 1 + holes * holes * (holes + 1) // 2
        assert brute_force(f) is None
        # One pigeon less and they fit.
        assert cadical(CNF(f.variables, tuple(c for c in f.clauses if c != f.clauses[0])))
    for rungs in (3, 4, 5):
        odd, even = parity(rungs), parity(rungs, odd=False)
        assert len(odd.clauses) == len(even.clauses) == 8 * rungs
        assert len(set(even.clauses)) == 8 * rungs
        assert not cadical(odd)
        assert (falsified(even, every_assignment(3 * rungs)) == 0).sum() == 2 ** (rungs + 1)  # its cycles


@pytest.mark.parametrize("k", [3, 4, 5])
def test_threshold_is_where_it_is_said_to_be(k):
    """Well below almost all formulas can be satisfied, well above almost none."""
    for factor, least, most in ((0.6, 18, 20), (2.0, 0, 2)):
        fs = [random_ksat(16, round(factor * THRESHOLD[k] * 16), k, seed=s) for s in range(20)]
        assert least <= sum(cadical(f) for f in fs) <= most


# --- DIMACS ---------------------------------------------------------------------------------------------------------

F = CNF(3, ((1, -2), (2, 3)))
GOOD = {
    "plain": "p cnf 3 2\n1 -2 0\n2 3 0\n",
    "no newline at the end": "p cnf 3 2\n1 -2 0\n2 3 0",
    "comments anywhere": "c first\nc\n\np cnf 3 2\nc between\n1\nc inside a clause\n-2 0\nc\n2 3 0\nc last\n",
    "clauses over lines, several on one": "p cnf 3 2\n1\n\n-2\n0 2 3\n0\n",
    "trailer of SATLIB": "p cnf 3 2\n1 -2 0\n2 3 0\n%\n0\n\n",
    "tabs, spaces, carriage returns": "p  cnf\t3   2 \r\n  1 -2\t0\r\n 2 3 0 \r\n",
    "lines that end with a carriage return": "c first\rp cnf 3 2\r1 -2 0\r2 3 0\r",
    "anything in a comment": "c \x00\x1a\x85\u2028\ufffd\r\x0c%\np cnf 3 2\n1 -2 0\nc\xff 0\r7\n2 3 0\n",
    "byte order mark": "\ufeffp cnf 3 2\n1 -2 0\n2 3 0\n",
    "zeros before digits": "p cnf 03 02\n01 -02 0\n2 3 00\n",
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_reads(text):
    assert read_dimacs(text) == F


def test_reads_unusual_formulas():
    assert read_dimacs("p cnf 0 0\n") == CNF(0, ())
    assert read_dimacs("p cnf 2 3\n0\n1 1 0\n1 -1 0\n") == CNF(2, ((), (1, 1), (1, -1)))
    assert read_dimacs("p cnf 1000000000 1\n-999999999 0\n") == CNF(10**9, ((-999999999,),))


BROKEN = [
    ("", 1, "'p cnf VARIABLES CLAUSES', got the end of the file"),
    ("c only\nc comments\n", 2, "the end of the file"),
    ("1 2 0\n", 1, "'p cnf VARIABLES CLAUSES' before the clauses, got '1 2 0'"),
    ("c\np cnf 3\n", 2, "'p cnf VARIABLES CLAUSES', got 'p cnf 3'"),
    ("p wcnf 3 2 10\n", 1, "got 'p wcnf 3 2 10'"),
    ("p cnf 3 -2\n", 1, "got 'p cnf 3 -2'"),
    ("p cnf ٣ 2\n", 1, "'p cnf VARIABLES CLAUSES'"),
    ("p cnf 3 2\n1 0\np cnf 3 2\n", 3, "one header, got 'p cnf 3 2'"),
    ("p cnf 3 2\n1 x 0\n2 0\n", 2, "a literal or 0, got 'x'"),
    ("p cnf 3 2\n1 0\n2 1.5 0\n", 3, "got '1.5'"),
    ("p cnf 3 1\n1_0 0\n", 2, "got '1_0'"),
    ("c\rp cnf 3 1\r1 x 0\r", 3, "got 'x'"),
    ("p cnf 3 1\n1 -0\n", 2, "got '-0'"),
    ("p cnf 3 1\n1 " + "9" * 5000 + " 0\n", 2, "a literal or 0"),
    ("p cnf 3 2\n1 -2 0\nc\n2 4 0\n", 4, "a literal of one of 3 variables, got 4"),
    ("p cnf 3 2\n1 -2 0\n-4 0\n", 3, "a literal of one of 3 variables, got -4"),
    ("p cnf 3 2\n1 -2 0\n2 3\n", 3, "a 0 after the last clause"),
    ("p cnf 3 2\n1 -2 0\n2\n%\n0\n", 4, "a 0 after the last clause"),
    ("p cnf 3 3\n1 -2 0\n2 3 0\n\n", 3, "3 clauses as in the header, got 2"),
    ("p cnf 3 1\n1 -2 0\n2 3 0\n", 3, "1 clauses as in the header, got another one"),
]


@pytest.mark.parametrize(("text", "line", "reason"), BROKEN, ids=range(len(BROKEN)))
def test_says_what_is_wrong_and_where(text, line, reason):
    with pytest.raises(ValueError, match=r"expected .*, got") as error:
        read_dimacs(text, "f.cnf")
    assert f"f.cnf:{line}: expected" in str(error.value)
    assert reason in str(error.value)
    assert len(str(error.value)) < 300


@given(formulas(), st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
@settings(max_examples=400 if FULL else 60, deadline=None)
def test_what_is_written_is_read(f, comment):
    f = CNF(*f)
    assert read_dimacs(write_dimacs(f, comment)) == f


TOKENS = st.sampled_from(["p", "cnf", "c", "%", "0", "1", "-2", "3", "\n", "x", "-", "\t", "\x00"])


@given(st.lists(TOKENS, max_size=25))
@settings(max_examples=2000 if FULL else 200, deadline=None)
def test_any_text_is_a_formula_or_refused(tokens):
    for text in (" ".join(tokens), "p cnf 3 2\n" + " ".join(tokens)):
        try:
            f = read_dimacs(text)
        except ValueError:
            continue
        assert read_dimacs(write_dimacs(f)) == f


# --- bad input: argument, expected, got, function, arguments --------------------------------------------------------

BAD = [
    ("variables", "an integer of at least 0", "-1", CNF, (-1, ()), {}),
    ("clauses", "tuples of literals", "(1, 2)", CNF, (2, (1, 2)), {}),
    ("clauses", "integers", "'1'", CNF, (2, (("1",),)), {}),
    ("clauses", "literals of x_1 … x_2", "3", CNF, (2, ((1, 3),)), {}),
    ("clauses", "literals of x_1 … x_2", "0", CNF, (2, ((0,),)), {}),
    ("text", "a string", "bytes", read_dimacs, (b"p cnf 0 0",), {}),
    ("name", "a string", "None", read_dimacs, ("p cnf 0 0", None), {}),
    ("cnf", "a CNF", "str", write_dimacs, ("p cnf 0 0",), {}),
    ("comment", "a string", "3", write_dimacs, (F, 3), {}),
    ("holes", "an integer of at least 1", "0", pigeonhole, (0,), {}),
    ("rungs", "an integer of at least 3", "2", parity, (2,), {}),
    ("odd", "True or False", "1", parity, (3,), {"odd": 1}),
    ("variables", "an integer of at least 0", "2.0", every_assignment, (2.0,), {}),
    ("variables", "at most 30", "31", every_assignment, (31,), {}),
    ("cnf", "a CNF", "list", falsified, ([], np.ones(3, bool)), {}),
    ("assignments", "bool (..., 3)", "(4,)", falsified, (F, np.ones(4, bool)), {}),
    ("assignments", "bool (..., 3)", "float64", falsified, (F, np.ones(3)), {}),
    ("assignments", "bool (..., 3)", "list", falsified, (F, [True] * 3), {}),
    ("cnf", "a CNF", "None", brute_force, (None,), {}),
    ("cnf", "at most 30 variables", "31", brute_force, (CNF(31, ()),), {}),
]
for draw in (random_ksat, planted_ksat):
    BAD += [
        ("variables", "an integer of at least 1", "0", draw, (0, 1, 1), {"seed": 0}),
        ("clauses", "an integer of at least 0", "-1", draw, (3, -1, 1), {"seed": 0}),
        ("k", "an integer of at least 1", "0", draw, (3, 1, 0), {"seed": 0}),
        ("k", "at most variables = 3", "4", draw, (3, 1, 4), {"seed": 0}),
        ("seed", "an integer of at least 0", "None", draw, (3, 1, 1), {"seed": None}),
    ]


def test_every_clause_on_few_variables():
    """All 3^3 clauses without repetition on three variables, each alone: which assignments it falsifies."""
    rows = every_assignment(3)
    for signs in itertools.product((-1, 0, 1), repeat=3):
        clause = tuple(s * (i + 1) for i, s in enumerate(signs) if s)
        assert falsified(CNF(3, (clause,)), rows).sum() == 2 ** (3 - len(clause))
