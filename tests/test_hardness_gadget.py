"""Satisfiability by attention: verdicts against CaDiCaL, the extremes of Theorem A, rounding, every variant."""

import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import FULL, float64
from test_hardness_cnf import THRESHOLD, cadical

import attnlib
from attnlib import attention, flash_attention, reference
from attnlib.hardness import (
    CNF,
    Temperature,
    attend,
    causal_gadget,
    decide,
    dummy_gadget,
    falsified,
    find_witness,
    l2_attention,
    l2_gadget,
    memory_needed,
    parity,
    pigeonhole,
    planted_ksat,
    project,
    random_ksat,
    rounding_slack,
    row_outputs,
    split_and_list,
    temperature,
    tied_gadget,
    window_gadget,
    worst_case,
)

DTYPES = ("float64", "float32", "bfloat16")
EXACT = (attention, flash_attention)
COMPILED = tuple(jax.jit(kernel) for kernel in EXACT)
VARIANTS = ("dummy", "causal", "tied", "window", "l2")


# --- random and structured formulas ---------------------------------------------------------------------------------


def structured(v):
    """Formulas on v variables whose answer has a reason."""
    every = (CNF(v, tuple((i,) for i in range(1, v + 1))), CNF(v, ((1, -1), (2, 2), (-2, -2, 3), ())), CNF(v, ()))
    first_half = CNF(v, tuple((-i,) for i in range(1, v // 2 + 1)))  # b has the vector 0
    known = {6: (pigeonhole(2),), 9: (parity(3), parity(3, odd=False)), 12: (pigeonhole(3), parity(4))}
    known[15] = (parity(5), parity(5, odd=False))
    return (*every, first_half, *known.get(v, ()))


def family(v, each):
    """For k = 3, 4, 5: near the threshold, below, above, planted above; and the structured ones."""
    fs = list(structured(v))
    for k, ratio in THRESHOLD.items():
        for kind, factor in enumerate((1.0, 0.7, 1.4)):
            fs += [
                random_ksat(v, round(factor * ratio * v), k, seed=1000 * kind + s)
                for s in range(2 * each if kind == 0 else each)
            ]
        fs += [planted_ksat(v, round(1.4 * ratio * v), k, seed=s)[0] for s in range(2 * each)]
    return fs


def lengthen(f, m):
    """Add clauses that are always true, so that one compiled program serves formulas of different lengths."""
    return CNF(f.variables, f.clauses + ((1, -1),) * (m - len(f.clauses)))


def check_batch(fs, kernel, dtype, **errors):
    """Decide formulas with the same number of variables in one batch of calls; return verdicts and witnesses.

    Clauses that hold a literal and its negation change nothing, so all formulas get as many as the longest.
    """
    width = max(len(f.clauses) for f in fs)
    lists = [[np.pad(x, ((0, 0), (0, width - x.shape[1]))) for x in split_and_list(f)] for f in fs]
    n = len(lists[0][1])
    t = temperature(n, slack=max(1.0, rounding_slack(n, dtype, **errors)), **errors)
    gadgets = [dummy_gadget(a, b, t) for a, b in lists]
    batch = replace(gadgets[0], x=np.stack([g.x for g in gadgets]))
    outputs = row_outputs(batch, attend(batch, kernel, dtype))
    for f, (a, b), y in zip(fs, lists, outputs, strict=True):
        sat, m = cadical(f), len(f.clauses)
        assert (y > t.theta).any() == sat, f
        if sat:
            x = find_witness(f, a[:, :m], b[:, :m], y)
            assert x is not None, f
            assert falsified(f, x) == 0
    return outputs


@pytest.mark.parametrize("v", range(6, 17) if FULL else (6, 9, 13))
@pytest.mark.parametrize("kernel", EXACT, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", DTYPES)
def test_verdicts_and_witnesses(v, kernel, dtype):
    """With FULL: 2,031 formulas, each by every exact kernel in every precision."""
    fs = family(v, 10 if FULL else 1)
    assert not FULL or sum(len(structured(v)) + 180 for v in range(6, 17)) == 2031
    with float64():
        check_batch(fs, kernel, dtype)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kernel", EXACT, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", DTYPES if FULL else ("bfloat16",))
def test_variants(variant, kernel, dtype):
    v = 9
    fs = [*structured(v), *(random_ksat(v, 40, 3, seed=s) for s in range(40 if FULL else 6))]
    fs = [lengthen(f, 72) for f in fs]
    with float64():
        for f in fs:
            d = decide(f, attention=kernel, dtype=dtype, variant=variant)
            assert d.satisfiable == (d.assignment is not None) == cadical(f), f
            assert d.assignment is None or falsified(f, d.assignment) == 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_smallest_formulas(variant):
    fs = [CNF(0, ()), CNF(0, ((),)), CNF(1, ((1,),)), CNF(1, ((-1,),)), CNF(1, ((1,), (-1,))), CNF(1, ()), CNF(3, ())]
    fs += [CNF(2, ((1,), (2,))), CNF(2, ((1, 2), (1, -2), (-1, 2), (-1, -2))), CNF(3, ((3,), (-3, 1)))]
    for f in (lengthen(f, 4) if f.variables else f for f in fs):
        d = decide(f, variant=variant)
        assert d.satisfiable == (d.assignment is not None) == cadical(f), f


# --- the construction -----------------------------------------------------------------------------------------------


def logits(g):
    q, k, _ = (np.asarray(x, np.float64) for x in project(g, "float64"))
    return q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])


def test_sizes_and_logits_of_the_gadget(rng):
    a, b = (rng.integers(0, 2, (n, 5)).astype(np.uint8) for n in (3, 4))
    t = temperature(4)
    g = dummy_gadget(a, b, t, shift=2.5)
    assert g.x.shape == (5, 12)
    assert g.w_q.shape == g.w_k.shape == (12, 6)
    assert g.w_v.shape == (12, 1)
    assert np.unique(g.w_q).tolist() == [0, 1]
    with float64():
        s = logits(g)
        np.testing.assert_allclose(s[1:4, 1:], -t.c * (a.astype(int) @ b.T) + 2.5, atol=1e-12)
        np.testing.assert_allclose(s[4, 1:], -t.c * b.sum(1) + 2.5, atol=1e-12)  # filled in: all ones
        np.testing.assert_allclose(s[1:, 0], -t.tau + 2.5, atol=1e-12)
        assert np.asarray(project(g, "float64")[2]).ravel().tolist() == [0, 1, 1, 1, 1]
        unshifted = attend(replace(g, w_k=dummy_gadget(a, b, t).w_k), dtype="float64")
        np.testing.assert_allclose(attend(g, dtype="float64")[1:], unshifted[1:], rtol=1e-12)


def test_output_is_the_formula(rng):
    """Y_i = Z_i/(Z_i + e^−τ), computed here from the vectors."""
    a, b = (rng.integers(0, 2, (6, 8)).astype(np.uint8) for _ in range(2))
    a[0], a[5] = 1 - b[0], 1  # one row that says yes, one that says no
    t = temperature(6, additive=0.2)
    z = np.exp(-t.c * (a.astype(int) @ b.T)).sum(1)
    expected = z / (z + math.exp(-t.tau))
    with float64():
        for g in (dummy_gadget(a, b, t), l2_gadget(a, b, t)):
            np.testing.assert_allclose(row_outputs(g, attend(g, dtype="float64")), expected, rtol=1e-10)
        # The other variants raise c and τ and have other keys in sight: bounds instead.
        for make in (causal_gadget, tied_gadget, partial(window_gadget, group=2)):
            g = make(a, b, temperature(6, additive=0.2))
            y = row_outputs(g, attend(g, dtype="float64"))
            has = ((a.astype(int) @ b.T) == 0).any(1)
            assert (y[has] >= t.yes - 1e-12).all()
            assert (y[~has] <= t.no + 1e-12).all()
            assert has.any()
            assert not has.all()


def test_tied_weights_are_one_matrix(rng):
    a, b = (rng.integers(0, 2, (6, 4)).astype(np.uint8) for _ in range(2))
    g = tied_gadget(a, b, temperature(6))
    t = g.temperature
    assert g.w_q is g.w_k
    with float64():
        s = logits(g)
    np.testing.assert_allclose(s[7:, 1:7], t.c * (4 - a.astype(int) @ b.T), rtol=1e-12)
    np.testing.assert_allclose(s[7:, 0], 4 * t.c - t.tau, rtol=1e-12)
    assert (s[7:, 7:] <= 1 + 1e-12).all()


@pytest.mark.parametrize(("n", "group"), [(8, 1), (8, 2), (8, 8), (9, 4), (32, 8)])
def test_window_blocks_hold_every_pair_once(n, group, rng):
    a, b = (rng.integers(0, 2, (n, 6)).astype(np.uint8) for _ in range(2))
    g = window_gadget(a, b, temperature(2 * group), group=group)
    blocks = math.ceil(n / group)
    tokens = (2 * group + 1) * blocks**2
    assert g.x.shape == (tokens, 2 * 6 + 3)
    assert g.window == 2 * group + 1
    is_a, is_b, dummy = (g.x[:, 12 + i] == 1 for i in range(3))
    near = abs(np.arange(tokens)[:, None] - np.arange(tokens)) < g.window
    sees = near[is_a]
    assert (sees[:, is_b].sum(1) <= 2 * group).all()
    assert set(sees[:, dummy].sum(1).tolist()) <= {1, 2}
    # Which pairs (a, b) some row has in sight: all of them.
    ids = np.concatenate([np.repeat(np.arange(blocks), blocks)[:, None] * group + np.arange(group)]).ravel()
    assert (g.row[is_a] == ids).all()
    columns = np.concatenate([np.tile(np.arange(blocks), blocks)[:, None] * group + np.arange(group)]).ravel()
    covered = np.zeros((blocks * group, blocks * group), bool)
    at_a, at_b = np.nonzero(sees[:, is_b])
    covered[ids[at_a], columns[at_b]] = True
    assert covered.all()
    # One token less of sight and some are missing.
    narrower = abs(np.arange(tokens)[:, None] - np.arange(tokens)) < g.window - 1
    covered[:] = False
    at_a, at_b = np.nonzero(narrower[is_a][:, is_b])
    covered[ids[at_a], columns[at_b]] = True
    assert not covered.all()


@pytest.mark.parametrize("kernel", EXACT, ids=lambda f: f.__name__)
def test_l2_attention_is_what_it_says(rng, kernel):
    q, k, v = (rng.normal(size=s) for s in ((2, 5, 3), (7, 3), (2, 7, 2)))
    mask = rng.integers(0, 2, (5, 7)).astype(bool)
    expected = reference.l2_attention(q, k, v, causal=True, mask=mask, scale=0.7)
    with float64():
        q, k, v = map(jnp.asarray, (q, k, v))
        out = l2_attention(q, k, v, attention=kernel, causal=True, mask=jnp.asarray(mask), scale=0.7)
        np.testing.assert_allclose(out, expected, rtol=1e-9)
        assert l2_attention(q, k, v.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_l2_attention_takes_a_mask_with_the_leading_axes_of_values(rng):
    q, k, v = (jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((3, 2), (4, 2), (2, 4, 1)))
    mask = jnp.asarray(rng.random((2, 3, 4)) < 0.7)
    expected = reference.l2_attention(q, k, v, mask=mask)
    np.testing.assert_allclose(l2_attention(q, k, v, mask=mask), expected, rtol=1e-5, atol=1e-6)


# --- Theorem A at its limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 10, 1000, 10**9])
def test_gap_and_parameters(n):
    for c in (math.log(n) + d for d in (0.1, 1.0, 5.0, 20.0)):
        delta = c - math.log(n)
        best = Temperature(n, c, delta / 2, 0.5)
        assert best.gap == pytest.approx(math.tanh(delta / 4), rel=1e-9)
        assert best.yes + best.no == pytest.approx(1)
        assert all(Temperature(n, c, delta * f, 0.5).gap < best.gap for f in (0, 0.3, 0.49, 0.51, 1, 2))
    for additive, least in ((0.01, 0.0800), (0.1, 0.8109), (0.25, 2.1972), (0.4, 4.3944), (0.49, 9.1902)):
        t = temperature(n, additive=additive, slack=1e-9)
        assert t.delta == pytest.approx(least, abs=1e-4)
        assert t.delta == pytest.approx(4 * math.atanh(2 * additive), rel=1e-6)
        assert t.tau == pytest.approx(t.delta / 2)
        assert 0.5 < t.yes - additive < 0.5 + 1e-8
    for multiplicative, more in ((0.1, 0.894), (0.5, 1.792), (0.9, 3.638), (0.999, 8.294)):
        t = temperature(n, multiplicative=multiplicative, slack=1e-9)
        assert t.delta - t.tau == pytest.approx(more, abs=1e-3)
        assert (1 + multiplicative) * t.no < t.theta < (1 - multiplicative) * t.yes
    t = temperature(n)
    assert (t.yes, t.no) == (pytest.approx(0.7311, abs=1e-4), pytest.approx(0.2689, abs=1e-4))


def adversary(q, k, v, *, kernel=attention, additive=0.0, multiplicative=0.0):
    """Attention whose error is as large as allowed and always on the wrong side."""
    y = kernel(q, k, v).astype(jnp.float64)
    toward = jnp.sign(0.5 - y)
    return y + toward * additive + toward * multiplicative * y


@pytest.mark.parametrize("delta", [0.5, 2.0, 6.0, 12.0])
def test_an_additive_error_decides_wrongly_from_half_tanh_on(delta):
    n = 64
    t = Temperature(n, math.log(n) + delta, delta / 2, 0.5)
    limit = math.tanh(delta / 4) / 2
    with float64():
        for orthogonal in (True, False):
            g = dummy_gadget(*worst_case(n, 40, orthogonal=orthogonal), t)
            y = attend(g, dtype="float64")[1:]
            assert y[0] == pytest.approx(t.yes if orthogonal else t.no, rel=1e-9)
            for factor, right in ((1 - 1e-7, True), (1 + 1e-7, False)):
                outputs = attend(g, partial(adversary, additive=limit * factor), "float64")[1:]
                # Of a formula that can be satisfied one row must say so; of another none may.
                assert (outputs > t.theta)[0] == (orthogonal == right)


@pytest.mark.parametrize("error", [{"additive": e} for e in (0.1, 0.3, 0.45, 0.49, 0.499)], ids=str)
@pytest.mark.parametrize("kernel", EXACT if FULL else EXACT[:1], ids=lambda f: f.__name__)
def test_additive_errors_below_one_half(error, kernel):
    fs = [random_ksat(10, 43, 3, seed=s) for s in range(60 if FULL else 8)]
    with float64():
        for dtype in (DTYPES if error["additive"] < 0.499 else DTYPES[:2]) if FULL else ("float32",):
            check_batch(fs, partial(adversary, kernel=kernel, **error), dtype, **error)


@pytest.mark.parametrize("error", [{"multiplicative": e} for e in (0.1, 0.5, 0.9, 0.999)], ids=str)
@pytest.mark.parametrize("kernel", EXACT if FULL else EXACT[1:], ids=lambda f: f.__name__)
def test_multiplicative_errors_below_one(error, kernel):
    fs = [random_ksat(10, 43, 3, seed=s) for s in range(60 if FULL else 8)]
    with float64():
        for dtype in DTYPES if FULL else ("bfloat16",):
            check_batch(fs, partial(adversary, kernel=kernel, **error), dtype, **error)


@pytest.mark.parametrize("log_n", (10, 12, 14, 16, 18, 20) if FULL else (10, 14))
@pytest.mark.parametrize("dtype", [*DTYPES, "float16"])
@pytest.mark.parametrize("d", [49, 128] if FULL else [49])
def test_worst_case_rows(log_n, dtype, d):
    """The rows that come closest to the threshold, with no more slack than `rounding_slack` asks for."""
    n = 2**log_n
    least = rounding_slack(n, dtype)
    with float64():
        for orthogonal in (True, False):
            a, b = worst_case(n, d if log_n < 19 else 15, orthogonal=orthogonal)
            for slack in (least, max(least, 0.25), 1.0, 2.0):
                t = temperature(n, slack=slack)
                # Rows 1 and 2 stand for all: the others are copies of row 2.
                q, k, v = project(dummy_gadget(a[:2], b, t), dtype)
                for kernel in COMPILED:
                    y = np.asarray(kernel(q[1:3], k, v)).astype(float)[:, 0]
                    assert (y > 0.5).tolist() == [orthogonal, False], (slack, y)


def test_slack_is_small_and_grows_with_what_it_covers():
    for n in (2**10, 2**20):
        slacks = [rounding_slack(n, dtype) for dtype in ("float64", "float32", "float16", "bfloat16")]
        assert slacks == sorted(slacks)
        assert slacks[-1] < 1
    assert rounding_slack(2**10, "float64") < 1e-11
    assert rounding_slack(2**10, "bfloat16", additive=0.4) > rounding_slack(2**10, "bfloat16")


# --- wrong attentions -----------------------------------------------------------------------------------------------


def test_an_attention_that_is_wrong_has_no_witness():
    f = pigeonhole(2)
    d = decide(f, attention=lambda q, k, v: jnp.ones_like(v))
    assert d.satisfiable
    assert d.assignment is None
    d = decide(f, attention=lambda q, k, v: jnp.full_like(v, jnp.nan))
    assert not d.satisfiable
    d = decide(CNF(2, ()), attention=lambda q, k, v: v * 0)
    assert not d.satisfiable
    assert d.assignment is None


def test_averaging_without_scores_decides_nothing():
    """A mean of the values, which needs linear time, says yes to everything or nothing."""
    verdicts = {
        decide(random_ksat(8, 48, 3, seed=s), attention=lambda q, k, v: v.mean(0, keepdims=True) + 0 * v).satisfiable
        for s in range(8)
    }
    assert len(verdicts) == 1
    assert {cadical(random_ksat(8, 48, 3, seed=s)) for s in range(8)} == {True, False}


def test_decision_says_what_was_run():
    d = decide(random_ksat(7, 20, 3, seed=0))
    assert (d.tokens, d.d_k, d.outputs.shape) == (17, 21, (16,))
    assert d.temperature == temperature(16)
    assert decide(random_ksat(7, 20, 3, seed=0), variant="window", group=2).tokens == 5 * 64
    assert decide(random_ksat(7, 20, 3, seed=0), slack=3.0).temperature.tau == 3.0


# --- bad input: argument, expected, got, function, arguments --------------------------------------------------------

Z, T, F = np.ones((2, 3), np.uint8), temperature(2), CNF(2, ((1, 2), (-1,)))
G = dummy_gadget(Z, Z, T)
X = jnp.ones((2, 3))
LISTS = split_and_list(F)
BAD = [
    ("n", "an integer of at least 1", "0", temperature, (0,), {}),
    ("additive", "a number from 0 to below 0.5", "0.5", temperature, (4,), {"additive": 0.5}),
    ("multiplicative", "a number from 0 to below 1", "1.0", temperature, (4,), {"multiplicative": 1.0}),
    ("multiplicative", "0 when additive", "0.1", temperature, (4,), {"multiplicative": 0.1, "additive": 0.1}),
    ("slack", "a positive number", "0", temperature, (4,), {"slack": 0}),
    ("n", "an integer of at least 1", "1.5", rounding_slack, (1.5, "float32"), {}),
    ("n", "fewer keys than sums in float32", "16777216", rounding_slack, (2**24, "float32"), {}),
    ("dtype", "a real floating-point dtype", "'int8'", rounding_slack, (4, "int8"), {}),
    ("additive", "a number from 0 to below 0.5", "-0.1", rounding_slack, (4, "float32"), {"additive": -0.1}),
    ("additive", "outputs are rounded", "0.499", rounding_slack, (4, "bfloat16"), {"additive": 0.499}),
    (
        "multiplicative",
        "a number from 0 to below 1",
        "nan",
        rounding_slack,
        (4, "float32"),
        {"multiplicative": np.nan},
    ),
    ("group", "an integer of at least 1", "0", window_gadget, (Z, Z, T), {"group": 0}),
    ("t", "a temperature for 4 keys at least", "2", window_gadget, (Z, Z, T), {"group": 2}),
    ("gadget", "a Gadget", "tuple", project, ((),), {}),
    ("dtype", "a real floating-point dtype", "int", project, (G, int), {}),
    ("dtype", "32 bits or less unless jax_enable_x64", "float64", project, (G, "float64"), {}),
    ("gadget", "a Gadget", "None", attend, (None,), {}),
    ("attention", "a function of q, k, v", "'flash'", attend, (G, "flash"), {}),
    ("attention", "outputs (3, 1)", "(3, 4)", attend, (G, lambda q, k, v: q), {}),
    ("dtype", "a real floating-point dtype", "'int4'", attend, (G, attention, "int4"), {}),
    ("q", "an array", "list", l2_attention, ([1.0], X, X), {}),
    ("k", "d_k = 3", "d_k = 2", l2_attention, (X, X[:, :2], X), {}),
    ("v", "m = 2", "m = 1", l2_attention, (X, X, X[:1]), {}),
    ("attention", "a function of q, k, v", "None", l2_attention, (X, X, X), {"attention": None}),
    ("causal", "True or False", "1", l2_attention, (X, X, X), {"causal": 1}),
    ("mask", "dtype bool", "float32", l2_attention, (X, X, X), {"mask": X}),
    ("scale", "a finite real number", "None", l2_attention, (X, X, X), {"scale": None}),
    ("cnf", "a CNF", "str", decide, ("",), {}),
    ("attention", "a function of q, k, v", "3", decide, (F,), {"attention": 3}),
    ("dtype", "a real floating-point dtype", "'int8'", decide, (F,), {"dtype": "int8"}),
    ("variant", "one of dummy, causal", "'sparse'", decide, (F,), {"variant": "sparse"}),
    ("additive", "a number from 0 to below 0.5", "0.7", decide, (F,), {"additive": 0.7}),
    ("multiplicative", "a number from 0 to below 1", "2.0", decide, (F,), {"multiplicative": 2.0}),
    ("slack", "a positive number", "-1", decide, (F,), {"slack": -1}),
    ("shift", "a finite real number", "inf", decide, (F,), {"shift": np.inf}),
    ("shift", "0 for variant 'tied'", "1.0", decide, (F,), {"shift": 1.0, "variant": "tied"}),
    ("group", "None for variant 'dummy'", "2", decide, (F,), {"group": 2}),
    ("group", "an integer of at least 1", "0", decide, (F,), {"group": 0, "variant": "window"}),
    ("gadget", "a Gadget", "int", row_outputs, (3, np.ones(3)), {}),
    ("y", "a NumPy array (..., 3)", "(4,)", row_outputs, (G, np.ones(4)), {}),
    ("y", "a NumPy array (..., 3)", "list", row_outputs, (G, [1.0] * 3), {}),
    ("cnf", "a CNF", "None", find_witness, (None, *LISTS, np.ones(2)), {}),
    ("a", "(2, 2)", "(1, 2)", find_witness, (F, LISTS[0][:1], LISTS[1], np.ones(2)), {}),
    ("b", "(2, 2)", "list", find_witness, (F, LISTS[0], [], np.ones(2)), {}),
    ("outputs", "2 numbers or more", "(1,)", find_witness, (F, *LISTS, np.ones(1)), {}),
    ("variables", "an integer of at least 0", "-1", memory_needed, (-1, 3), {}),
    ("clauses", "an integer of at least 0", "None", memory_needed, (3, None), {}),
    ("attention", "'attention' or 'flash_attention'", "'taylor'", memory_needed, (3, 3), {"attention": "taylor"}),
    ("dtype", "a real floating-point dtype", "'int8'", memory_needed, (3, 3), {"dtype": "int8"}),
]
for make in (dummy_gadget, causal_gadget, tied_gadget, l2_gadget, partial(window_gadget, group=1)):
    fn = getattr(make, "func", make)
    rest = getattr(make, "keywords", {})
    BAD += [
        ("a", "uint8 (n, d)", "float64", fn, (Z * 1.0, Z, T), rest),
        ("b", "dimension d = 3", "2", fn, (Z, Z[:, :2], T), rest),
        ("t", "a Temperature", "float", fn, (Z, Z, 3.0), rest),
    ]
    if fn not in (tied_gadget, l2_gadget):
        BAD += [("shift", "a finite real number", "nan", fn, (Z, Z, T), rest | {"shift": math.nan})]
    if fn is not window_gadget:
        BAD += [("t", "a temperature for 3 keys at least", "2", fn, (Z, np.ones((3, 3), np.uint8), T), rest)]


def test_importable():
    assert attnlib.hardness.decide is decide
