"""The chain of pair problems: each identity for all vectors up to d = 5, and at random beyond."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support import FULL
from test_hardness_cnf import cadical, formulas

from attnlib.hardness import (
    CNF,
    bhfp_to_bhcp,
    closest_pair,
    every_assignment,
    falsified,
    furthest_pair,
    join_halves,
    orthogonal_pair,
    ov_to_bhfp,
    ov_to_tvpp,
    product_pair,
    random_ksat,
    split_and_list,
    worst_case,
)


def products(a, b):
    return a.astype(int) @ b.astype(int).T


def distances(a, b):
    return (a[:, None, :] != b[None, :, :]).sum(-1)


@st.composite
def vectors(draw):
    d, n_a, n_b = draw(st.integers(0, 60)), draw(st.integers(1, 7)), draw(st.integers(1, 7))
    density = draw(st.sampled_from([1, 2, 5]))
    bits = st.integers(0, density).map(lambda x: int(x == 0))
    return tuple(draw(arrays(np.uint8, (n, d), elements=bits)) for n in (n_a, n_b))


def check_chain(a, b):
    d = a.shape[1]
    ab = products(a, b)
    p, q, t = ov_to_tvpp(a, b)
    assert t == d
    assert p.dtype == q.dtype == np.uint8
    assert (products(p, q) == d - ab).all()
    f, g, t2 = ov_to_bhfp(a, b)
    assert t2 == 2 * d
    assert (distances(f, g) == 2 * d - 2 * ab).all()
    c, e, s2 = bhfp_to_bhcp(f, g, t2)
    assert s2 == 3 * d - t2 + 1
    assert (distances(c, e) == 3 * d - distances(f, g)).all()
    assert ((distances(f, g) >= t2) == (distances(c, e) < s2)).all()
    return orthogonal_pair(a, b), product_pair(p, q, t), furthest_pair(f, g, t2), closest_pair(c, e, s2)


@pytest.mark.parametrize("d", range(6))
def test_identities_for_all_vectors(d):
    every = every_assignment(d).astype(np.uint8)
    check_chain(every, every)


@given(vectors())
@settings(max_examples=600 if FULL else 80, deadline=None)
def test_identities_at_random(ab):
    a, b = ab
    answers = check_chain(a, b)
    zero = np.argwhere(products(a, b) == 0)
    assert set(answers) == {tuple(zero[0].tolist()) if len(zero) else None}


@given(vectors(), st.integers(0, 60))
@settings(max_examples=300 if FULL else 60, deadline=None)
def test_brute_force_at_any_threshold(ab, t):
    a, b = ab
    for find, good in (
        (product_pair, products(a, b) >= t),
        (furthest_pair, distances(a, b) >= t),
        (closest_pair, distances(a, b) < t),
    ):
        assert find(a, b, t) == (tuple(np.argwhere(good)[0].tolist()) if good.any() else None)
    if t <= a.shape[1]:
        _, e, s2 = bhfp_to_bhcp(a, b, t)
        assert closest_pair(a, e, s2) == furthest_pair(a, b, t)


def test_brute_force_over_several_blocks():
    a, b = np.ones((9000, 3), np.uint8), np.ones((2, 3), np.uint8)
    assert orthogonal_pair(a, b) is None
    a[8999], b[1] = [0, 1, 1], [1, 0, 0]
    assert orthogonal_pair(a, b) == (8999, 1)


# --- split and list -------------------------------------------------------------------------------------------------


@given(formulas(5))
@settings(max_examples=400 if FULL else 40, deadline=None)
def test_products_count_falsified_clauses(f):
    f = CNF(*f)
    a, b = split_and_list(f)
    assert (len(a), len(b)) == (2 ** (f.variables // 2), 2 ** ((f.variables + 1) // 2))
    halves = [[join_halves(f.variables, i, j) for j in range(len(b))] for i in range(len(a))]
    assert (products(a, b) == falsified(f, np.array(halves))).all()
    assert len({x.tobytes() for row in halves for x in row}) == 2**f.variables  # each assignment once
    pair = orthogonal_pair(a, b)
    assert (pair is not None) == cadical(f)
    assert pair is None or falsified(f, join_halves(f.variables, *pair)) == 0


def test_three_clauses():
    f = CNF(4, ((1, -3), (2, 4), (-1, -2, 3)))
    a, b = split_and_list(f)
    rows = [[falsified(f, join_halves(4, i, j)).item() for j in range(4)] for i in range(4)]
    assert products(a, b).tolist() == rows


def test_larger_formula():
    f = random_ksat(16, 68, 3, seed=5)
    a, b = split_and_list(f)
    assert a.nbytes == b.nbytes == 256 * 68
    assert (orthogonal_pair(a, b) is not None) == cadical(f)


@pytest.mark.parametrize(("n", "d"), [(1, 2), (5, 2), (64, 9)])
def test_worst_case(n, d):
    a, b = worst_case(n, d, orthogonal=False)
    assert (products(a, b) == 1).all()
    a, b = worst_case(n, d, orthogonal=True)
    ab = products(a, b)
    assert ab[0, 0] == 0
    assert (ab[0, 1:] == d - 1).all()
    assert (ab[1:] == 1).all()


# --- bad input: argument, expected, got, function, arguments --------------------------------------------------------

Z = np.zeros((2, 3), np.uint8)
BAD = [
    ("cnf", "a CNF", "str", split_and_list, ("",), {}),
    ("cnf", "at most 48 variables", "49", split_and_list, (CNF(49, ()),), {}),
    ("variables", "an integer of at least 0", "None", join_halves, (None, 0, 0), {}),
    ("i", "a row below 2^1", "2", join_halves, (3, 2, 0), {}),
    ("j", "a row below 2^2", "4", join_halves, (3, 0, 4), {}),
    ("t2", "an integer of at least 0", "-1", bhfp_to_bhcp, (Z, Z, -1), {}),
    ("t2", "at most d = 3", "4", bhfp_to_bhcp, (Z, Z, 4), {}),
    ("t", "an integer of at least 0", "0.5", product_pair, (Z, Z, 0.5), {}),
    ("t2", "an integer of at least 0", "True", furthest_pair, (Z, Z, True), {}),
    ("t2", "an integer of at least 0", "None", closest_pair, (Z, Z, None), {}),
    ("n", "an integer of at least 1", "0", worst_case, (0, 2), {"orthogonal": True}),
    ("d", "an integer of at least 2", "1", worst_case, (2, 1), {"orthogonal": True}),
    ("orthogonal", "True or False", "0", worst_case, (2, 2), {"orthogonal": 0}),
]
PAIRS = {ov_to_tvpp: (), ov_to_bhfp: (), bhfp_to_bhcp: (0,), orthogonal_pair: (), product_pair: (0,)}
PAIRS |= {furthest_pair: (0,), closest_pair: (0,)}
for fn, rest in PAIRS.items():
    BAD += [
        ("a", "uint8 (n, d)", "list", fn, ([[0, 1]], Z, *rest), {}),
        ("a", "uint8 (n, d)", "float64 (2, 3)", fn, (Z * 1.0, Z, *rest), {}),
        ("a", "zeros and ones", "2", fn, (Z + np.uint8(2), Z, *rest), {}),
        ("b", "uint8 (n, d)", "uint8 (3,)", fn, (Z, Z[0], *rest), {}),
        ("b", "uint8 (n, d)", "uint8 (0, 3)", fn, (Z, Z[:0], *rest), {}),
        ("b", "dimension d = 3", "2", fn, (Z, Z[:, :2], *rest), {}),
    ]
