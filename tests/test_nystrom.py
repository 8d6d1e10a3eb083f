"""Nyström attention beyond the contract: landmarks of any length, where it is exact, and both pseudo-inverses."""

from dataclasses import replace

import contract
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from support import FULL, float64

from attnlib import attention, cost, count, nystrom_attention, reference, registry
from attnlib.kernels.nystrom import _segment_means, _solve, iterated_inverse
from attnlib.measure.count import with_backward


def arrays(rng, *shapes, dtype=np.float32):
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


# --- landmarks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "count"), [(1, 1), (7, 1), (7, 3), (8, 3), (9, 3), (7, 6), (7, 7), (3, 50)])
def test_segments_of_any_length_differ_by_at_most_one(n, count, rng):
    (x,) = arrays(rng, (2, n, 3))
    rows = np.array_split(np.arange(n), min(n, count))
    assert max(map(len, rows)) - min(map(len, rows)) <= 1
    means, some = _segment_means(x, count, None)
    assert some is None
    np.testing.assert_allclose(means, np.stack([np.asarray(x)[:, r].mean(axis=1) for r in rows], 1), rtol=1e-5)
    # Rows that are not there leave the means, and take a segment with them that has no others.
    there = rng.random((2, n)) < 0.5
    means, some = _segment_means(x, count, jnp.asarray(there))
    for b in range(2):
        for i, r in enumerate(rows):
            left = np.asarray(x)[b, r][there[b, r]]
            assert bool(some[b, i]) == (len(left) > 0)
            np.testing.assert_allclose(means[b, i], left.mean(axis=0) if len(left) else 0, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("n", "m"), [(9, 9), (5, 12), (12, 5), (1, 1)])
def test_with_a_landmark_for_each_query_and_key_it_is_attention(n, m, rng):
    """And in double precision to thirteen digits, masked and for grouped heads too."""
    with float64():
        q, k, v = arrays(rng, (2, 3, n, 4), (2, 1, m, 4), (2, 1, m, 5), dtype=np.float64)
        for mask in (None, jnp.asarray(rng.random((2, 3, 1, m)) < 0.6)):
            out = nystrom_attention(q, k, v, landmarks=max(n, m), mask=mask, rcond=1e-12)
            np.testing.assert_allclose(out, attention(q, k, v, mask=mask), rtol=1e-9, atol=1e-10)
    q, k, v = (np.asarray(x, np.float32) for x in (q, k, v))
    out = nystrom_attention(q, k, v, landmarks=max(n, m), mask=mask)
    np.testing.assert_allclose(out, attention(q, k, v, mask=mask), rtol=1e-3, atol=1e-4)


def test_one_query_is_exact_however_few_the_landmarks(rng):
    """It is its own landmark: F = A, and A A⁺ = 1 for one row."""
    q, k, v = arrays(rng, (1, 4), (50, 4), (50, 3))
    np.testing.assert_allclose(nystrom_attention(q, k, v, landmarks=3), attention(q, k, v), rtol=1e-5, atol=1e-6)


def test_a_mask_may_leave_no_key_in_a_segment(rng):
    """That segment is no landmark: its mean would be a zero key."""
    q, k, v = arrays(rng, (2, 11, 4), (2, 12, 4), (2, 12, 3))
    for pinv in ("exact", "iterative"):
        masked = nystrom_attention(q, k, v, landmarks=4, mask=jnp.arange(12) < 9, pinv=pinv)
        np.testing.assert_allclose(
            masked, reference.nystrom_attention(q, k, v, landmarks=4, mask=np.arange(12) < 9, pinv=pinv), rtol=1e-3
        )
        # Three segments of three keys are left, and four of queries, as with no key behind them at all.
        q_mean, _ = _segment_means(q, 4, None)
        k_mean, _ = _segment_means(k[:, :9], 3, None)
        f, a, b = (reference.attention_weights(x, y) for x, y in ((q, k_mean), (q_mean, k_mean), (q_mean, k[:, :9])))
        z = np.linalg.pinv(a) if pinv == "exact" else reference.iterated(a, 6)
        np.testing.assert_allclose(masked, f @ z @ b @ np.asarray(v[:, :9]), rtol=1e-3)


@pytest.mark.parametrize("pinv", ["exact", "iterative"])
def test_queries_that_are_padding_leave_the_means(pinv, rng):
    q, k, v = arrays(rng, (2, 11, 4), (2, 12, 4), (2, 12, 3))
    there = jnp.asarray([[True] * 7 + [False] * 4, [False] * 6 + [True] * 5])
    options = {"landmarks": 4, "pinv": pinv}
    out = nystrom_attention(q, k, v, query_mask=there, **options)
    exact = reference.nystrom_attention(q, k, v, query_mask=there, **options)
    np.testing.assert_allclose(out, exact, rtol=1e-3, atol=1e-4)
    other = nystrom_attention(jnp.where(there[..., None], q, jnp.nan), k, v, query_mask=there, **options)
    np.testing.assert_array_equal(other[there], out[there])
    without = nystrom_attention(q, k, v, **options)
    assert np.abs(without - out).max() > 0.01
    nobody = nystrom_attention(q, k, v, query_mask=jnp.zeros(11, bool), **options)
    assert not nobody.any()
    shared = nystrom_attention(q, k, v, query_mask=there[0], **options)
    np.testing.assert_allclose(shared[0], out[0], rtol=1e-5, atol=1e-6)


# --- pseudo-inverses ------------------------------------------------------------------------------------------------


def stochastic(c, size):
    """Weights with the singular values 1 and c, c, …, whose norms are 1: the iteration is one of numbers."""
    return c * np.eye(size) + (1 - c) / size


def turned(t, turns):
    """A singular value of Z A after so many turns of the iteration."""
    for _ in range(turns):
        t = t * (13 - t * (15 - t * (7 - t))) / 4
    return t


@pytest.mark.parametrize("turns", [1, 2, 6])
def test_the_iteration_is_the_one_of_the_paper(turns):
    """Z A has the singular values t with t ← t(13 − t(15 − t(7 − t)))/4, from c²; in NumPy's program, too."""
    for c in (0.9, 0.1):
        a = stochastic(c, 5)
        with float64():
            ours = np.asarray(jax.jit(iterated_inverse, static_argnums=1)(jnp.asarray(a), turns))
        for z in (ours, reference.iterated(a, turns)):
            exact = sorted([1.0, *[turned(c**2, turns)] * 4], reverse=True)
            np.testing.assert_allclose(np.linalg.svd(z @ a)[1], exact, rtol=1e-10)


def test_the_iteration_is_of_third_order_and_begins_slowly():
    """Near the end the error is cubed by a turn; before, a small singular value takes log(1/c²)/log(13/4) turns."""
    for e in (0.1, 0.03, 0.01):
        assert 0.75 * e**3 < 1 - turned(1 - e, 1) < 0.78 * e**3
    for c in (0.3, 0.1, 0.03, 0.01, 1e-3, 1e-5):
        needed = next(turns for turns in range(60) if turned(c**2, turns) > 0.5)
        assert abs(needed - np.log(1 / c**2) / np.log(13 / 4)) < 1
    # The six turns of the paper invert what is above a twentieth or so, and leave out what is far below.
    assert 1 - turned(0.2**2, 6) < 1e-6
    assert 0.9 < turned(0.05**2, 6) < 1
    assert turned(0.01**2, 6) < 0.15


def test_more_turns_come_to_the_exact_pseudo_inverse(rng):
    with float64():
        q, k, v = arrays(rng, (3, 40, 8), (3, 31, 8), (3, 31, 4), dtype=np.float64)
        q, k = 3 * q, 3 * k
        exact = nystrom_attention(q, k, v, landmarks=4)
        errors = [
            float(jnp.abs(nystrom_attention(q, k, v, landmarks=4, pinv="iterative", iterations=i) - exact).max())
            for i in (6, 12, 24, 48)
        ]
        assert errors[0] > errors[1] > errors[2]
        assert errors[0] > 0.01
        assert errors[3] < 1e-8
        six = nystrom_attention(q, k, v, landmarks=4, pinv="iterative")
        assert float(jnp.abs(six - exact).max()) == errors[0]


@pytest.mark.parametrize("pinv", ["exact", "iterative"])
def test_no_head_depends_on_the_others(pinv, rng):
    """The program of the paper's authors begins with the largest norm of the batch."""
    q, k, v = arrays(rng, (3, 12, 4), (3, 12, 4), (3, 12, 3))
    k = k * jnp.asarray([0.1, 1, 20])[:, None, None]
    together = nystrom_attention(q, k, v, landmarks=4, pinv=pinv)
    for h in range(3):
        alone = nystrom_attention(q[h], k[h], v[h], landmarks=4, pinv=pinv)
        np.testing.assert_allclose(together[h], alone, rtol=1e-4, atol=1e-5)
    norms = np.asarray(_norms(q, k))
    assert norms.max() > 1.5 * norms.min()


def _norms(q, k):
    a = reference.attention_weights(_segment_means(q, 4, None)[0], _segment_means(k, 4, None)[0])
    return a.sum(axis=-2).max(axis=-1)


@pytest.mark.parametrize(
    ("rows", "columns", "rank"), [(4, 4, 4), (3, 5, 3), (5, 3, 3), (4, 4, 2), (3, 5, 1), (2, 2, 0)]
)
def test_the_gradient_of_the_pseudo_inverse(rows, columns, rank, rng):
    """By finite differences of NumPy's, along factors that keep the rank; zero has gradient zero."""
    with float64():
        left, right, y = (rng.normal(size=s) for s in ((3, rows, rank), (3, rank, columns), (3, rows, 2)))
        do = rng.normal(size=(3, columns, 2))

        def numpy(left, right, y):
            return np.linalg.pinv(left @ right, 1e-8) @ y

        def ours(left, right, y):
            return _solve(1e-8, left @ right, y)

        out, vjp = jax.vjp(ours, *map(jnp.asarray, (left, right, y)))
        np.testing.assert_allclose(out, numpy(left, right, y), rtol=1e-10, atol=1e-12)
        gradients = vjp(jnp.asarray(do))
        for at, gradient in enumerate(gradients):
            args = [left, right, y]
            way = rng.normal(size=args[at].shape)
            ahead, behind = (
                numpy(*(x + step * way if i == at else x for i, x in enumerate(args))) for step in (1e-6, -1e-6)
            )
            slope = ((ahead - behind) / 2e-6 * do).sum()
            np.testing.assert_allclose((np.asarray(gradient) * way).sum(), slope, rtol=1e-5, atol=1e-6)


def test_singular_values_up_to_rcond_count_as_zero(rng):
    q, k, v = arrays(rng, (12, 4), (12, 4), (12, 3))
    for rcond in (0.0, 0.03, 0.3, 1.0):
        out = nystrom_attention(q, k, v, landmarks=4, rcond=rcond)
        exact = reference.nystrom_attention(q, k, v, landmarks=4, rcond=rcond)
        np.testing.assert_allclose(out, exact, rtol=1e-3, atol=1e-4)
    assert not out.any()  # not even the largest is above itself
    same = nystrom_attention(q, k, v, landmarks=4, rcond=1e-5)
    np.testing.assert_array_equal(nystrom_attention(q, k, v, landmarks=4), same)


@pytest.mark.parametrize("trial", range(100 if FULL else 3))
def test_random_cases_agree_with_the_definition(trial):
    """Sizes, landmarks, masks, shared keys; outputs, and gradients of both pseudo-inverses by finite differences."""
    rng = np.random.default_rng(trial)
    n, m, d_k, d_v, landmarks = (int(x) for x in rng.integers(1, (20, 20, 6, 6, 6)))
    q_lead, k_lead = [((), ()), ((2, 3), (2, 1)), ((3, 1), (1, 2))][trial % 3]
    lead = np.broadcast_shapes(q_lead, k_lead)
    options = {"pinv": "iterative", "iterations": 4} if trial % 2 else {"pinv": "exact"}
    options |= {"landmarks": landmarks, "scale": 1.3}
    if trial % 4 > 1:
        options["mask"] = jnp.asarray(rng.random([(m,), (1, m), (*lead, 1, m)][trial % 3]) < 0.7)
    if trial % 5 > 2:
        options["query_mask"] = jnp.asarray(rng.random([(n,), (*lead, n)][trial % 2]) < 0.7)
    with float64():
        args = [
            np.asarray(x) for x in arrays(rng, (*q_lead, n, d_k), (*k_lead, m, d_k), (*k_lead, m, d_v), dtype=float)
        ]
        do = rng.normal(size=(*lead, n, d_v))
        run = jax.jit(with_backward(lambda *a: nystrom_attention(*a, **options)))
        out, *gradients = run(do, *args)
        exact = reference.nystrom_attention(*args, **options)
        np.testing.assert_allclose(out, exact, rtol=1e-7, atol=1e-8)
        for at, gradient in enumerate(gradients):
            way = rng.normal(size=args[at].shape)
            ahead, behind = (
                reference.nystrom_attention(
                    *(x + step * way if i == at else x for i, x in enumerate(args)), **options
                )
                for step in (1e-6, -1e-6)
            )
            slope = ((ahead - behind) / 2e-6 * do).sum()
            np.testing.assert_allclose((np.asarray(gradient) * way).sum(), slope, rtol=1e-4, atol=1e-5)


# --- the contract with the exact pseudo-inverse ---------------------------------------------------------------------

EXACT = contract.Bound(replace(registry.mechanism("nystrom_attention"), options={"landmarks": 4}))


def test_the_exact_one_keeps_the_contract(rng):
    """But for the bound on gradients in single precision, which the condition of A decides: below."""
    shape = contract.FEW[0]
    contract.test_agrees_with_its_dense_definition(EXACT, shape, rng)
    contract.test_bad_numbers_in_masked_positions_reach_nothing(EXACT, rng)
    contract.test_logits_of_ten_thousand(EXACT, 1e4, rng)
    contract.test_matmul_flops_equal_the_cost_model(EXACT, shape, rng)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_the_exact_one_lowers_for_every_platform(platform, rng):
    contract.test_lowers_for_every_platform(EXACT, platform, jnp.bfloat16, rng)


def test_single_precision_loses_what_the_condition_says(rng):
    """Outputs 1/σ as often as rounding errors, gradients 1/σ²: σ the smallest singular value of A."""
    q, k, v, do = arrays(rng, (6, 24, 4), (6, 24, 4), (6, 24, 3), (6, 24, 3))
    run = with_backward(lambda *a: nystrom_attention(*a, landmarks=3))
    single = run(do, q, k, v)
    with float64():
        double = run(*(jnp.asarray(np.asarray(x), jnp.float64) for x in (do, q, k, v)))
        a = reference.attention_weights(_segment_means(q, 3, None)[0], _segment_means(k, 3, None)[0])
        least = np.linalg.svd(a)[1][:, -1]
    eps = float(np.finfo(np.float32).eps)
    assert least.max() > 3 * least.min()
    for x, y, power in zip(single, double, (1, 2, 2, 1), strict=True):
        for h in range(6):
            error, size = np.abs(np.asarray(x[h]) - np.asarray(y[h])).max(), np.abs(y[h]).max()
            assert error <= 30 * eps * least[h] ** -power * max(1, size)


# --- costs ----------------------------------------------------------------------------------------------------------


def shape(*axes):
    return jax.ShapeDtypeStruct(axes, jnp.float32)


@pytest.mark.parametrize("trial", range(60 if FULL else 6))
def test_matrix_products_are_those_of_the_model(trial):
    """More landmarks than queries or keys among them, so that A is no square."""
    rng = np.random.default_rng(trial)
    n, m, d_k, d_v, landmarks, batch, h_kv, g = (int(x) for x in rng.integers(1, (30, 30, 9, 9, 12, 3, 3, 3)))
    options = {"landmarks": landmarks, "pinv": ("exact", "iterative")[trial % 2]}
    if trial % 2:
        options["iterations"] = 1 + trial % 7
    q, k, v = shape(batch, h_kv, g, n, d_k), shape(batch, h_kv, 1, m, d_k), shape(batch, h_kv, 1, m, d_v)
    sizes = {"m": m, "d_v": d_v, "batch": batch, "h": h_kv * g, "h_kv": h_kv} | options

    def run(*a):
        return nystrom_attention(*a, **options)

    assert count.matmul_flops(run, q, k, v) == cost.nystrom_attention(n, d_k, **sizes).matmul_flops
    both = cost.nystrom_attention(n, d_k, **sizes, backward=True)
    assert count.matmul_flops(with_backward(run), shape(batch, h_kv, g, n, d_v), q, k, v) == both.matmul_flops


@pytest.mark.parametrize("pinv", ["exact", "iterative"])
def test_what_is_saved_is_what_the_model_says(pinv):
    """To the four bytes of the scale and the norms of each head."""
    args = shape(2, 400, 8), shape(2, 300, 8), shape(2, 300, 6)
    saved = count.saved(lambda *a: nystrom_attention(*a, landmarks=16, pinv=pinv), *args)
    model = cost.nystrom_attention(400, 8, 16, m=300, d_v=6, h=2, pinv=pinv)
    assert 0 <= saved - model.saved < 0.01 * model.saved


def test_no_matrix_of_queries_and_landmarks_is_held():
    n, landmarks = 16384, 512
    x = shape(n, 16)
    used = count.memory(
        lambda *a: nystrom_attention(*a, landmarks=landmarks, pinv="iterative", iterations=1), x, x, x
    )
    assert used < n * landmarks * 4 / 2


def test_literal_costs():
    iterative = cost.nystrom_attention(4096, 64, 64, pinv="iterative")
    assert iterative["pseudo-inverse"].matmul_flops == 48 * 64**3 + 2 * 64**3
    exact = cost.nystrom_attention(4096, 64, 64)
    assert exact["pseudo-inverse"].matmul_flops == 4 * 64**3
    assert exact["pseudo-inverse"].other_flops == 21 * 64**3
    assert exact["scores of keys"].matmul_flops == exact["scores of queries"].matmul_flops == 2 * 4096 * 64 * 64
    decomposed = count.operations(lambda a: jnp.linalg.svd(a, full_matrices=False), shape(64, 64)).other_flops
    assert decomposed == exact["pseudo-inverse"].other_flops
    # The share of landmarks alone does not grow with the length.
    longer = cost.nystrom_attention(8192, 64, 64)
    assert longer.matmul_flops - exact.matmul_flops == 8 * 4096 * 64 * 64
    assert exact.path == 1


def test_cost_is_the_same_for_numbers_arrays_and_symbols():
    n, d = sympy.symbols("n d", positive=True)
    for options in ({}, {"pinv": "iterative", "iterations": 3}):
        for backward in (False, True):
            options["backward"] = backward
            symbols = cost.nystrom_attention(n, d, 16, h=2, **options)
            array = cost.nystrom_attention(np.array([64, 128]), 8, 16, h=2, **options)
            for i, a in enumerate((64, 128)):
                exact = cost.nystrom_attention(a, 8, 16, h=2, **options)
                for total in ("matmul_flops", "flops", "transcendentals", "live", "saved", "bytes_read"):
                    assert getattr(array, total)[i] == getattr(exact, total)
                assert symbols.matmul_flops.subs({n: a, d: 8}) == exact.matmul_flops


X = jnp.ones((2, 5, 4))
WHOLE = "a whole number of at least 1"


def bad(argument, expected, got, **kwargs):
    given = {"q": X, "k": X, "v": X, "landmarks": 2} | kwargs
    return argument, expected, got, nystrom_attention, tuple(given.pop(a) for a in "qkv"), given


def bad_cost(argument, expected, got, **kwargs):
    return argument, expected, got, cost.nystrom_attention, (), {"n": 8, "d_k": 4, "landmarks": 3} | kwargs


BAD = [
    bad("q", "an array", "list", q=[1.0]),
    bad("k", "d_k = 4", "d_k = 3", k=X[..., :3]),
    bad("v", "m = 5", "m = 4", v=X[:, :4]),
    bad("landmarks", "an integer of at least 1", "0", landmarks=0),
    bad("landmarks", "an integer of at least 1", "2.0", landmarks=2.0),
    bad("pinv", "one of exact, iterative", "'svd'", pinv="svd"),
    bad("pinv", "one of exact, iterative", "None", pinv=None),
    bad("iterations", "an integer of at least 1", "0", pinv="iterative", iterations=0),
    bad("iterations", "None with the exact pseudo-inverse", "6", iterations=6),
    bad("rcond", "None with the iterative pseudo-inverse", "0.1", pinv="iterative", rcond=0.1),
    bad("rcond", "a number from 0 to 1", "-0.1", rcond=-0.1),
    bad("rcond", "a number from 0 to 1", "nan", rcond=float("nan")),
    bad("causal", "True or False", "1", causal=1),
    bad("causal", "False: a landmark is a mean over positions", "True", causal=True),
    bad("mask", "dtype bool", "float32", mask=X),
    bad("mask", "one row for all queries", "(5, 5)", mask=jnp.ones((5, 5), bool)),
    bad("query_mask", "a boolean array", "list", query_mask=[True]),
    bad("query_mask", "dtype bool", "float32", query_mask=X[..., 0]),
    bad("query_mask", "broadcasts to (2, 5)", "(4,)", query_mask=jnp.ones(4, bool)),
    bad("scale", "a finite real number", "nan", scale=float("nan")),
    *(bad_cost(a, WHOLE, "0", **{a: 0}) for a in ("n", "d_k", "landmarks", "m", "d_v", "h", "batch")),
    bad_cost("pinv", "one of exact, iterative", "'svd'", pinv="svd"),
    bad_cost("iterations", "an integer of at least 1", "0", pinv="iterative", iterations=0),
    bad_cost("iterations", "None with the exact pseudo-inverse", "6", iterations=6),
    bad_cost("h_kv", "a divisor of h = 4", "3", h=4, h_kv=3),
    bad_cost("causal", "True or False", "1", causal=1),
    bad_cost("causal", "False: a landmark is a mean over positions", "True", causal=True),
    bad_cost("backward", "True or False", "1", backward=1),
    bad_cost("dtype", "one of float64", "'int8'", dtype="int8"),
]
