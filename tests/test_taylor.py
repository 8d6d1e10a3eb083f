"""Taylor attention: features, counts and crossovers of the tables, bounds that hold and are attained, memory."""

import math
import warnings
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from support import FULL, float64

import attnlib
from attnlib import (
    attention,
    cost,
    count,
    reference,
    taylor,
    taylor_attention,
    taylor_attention_state,
    taylor_attention_step,
)
from attnlib.kernels import _monomials
from attnlib.kernels.linear import State, linear_attention

# d, order, C(d + p, p), Σ dᵃ, n* full, n* causal, context whose cache is as large as the state
TABLE = [
    (8, 2, 45, 73, 48, 96, 25),
    (8, 4, 495, 4681, 523, 1073, 278),
    (8, 8, 12870, 19173961, 13605, 27945, 7239),
    (16, 2, 153, 273, 158, 318, 81),
    (16, 4, 4845, 69905, 4990, 10122, 2574),
    (32, 4, 58905, 1082401, 59804, 120506, 30373),
    (64, 1, 65, 65, 66, 130, 33),
    (64, 2, 2145, 4161, 2162, 4338, 1089),
    (64, 3, 47905, 266305, 48275, 96918, 24327),
    (64, 4, 814385, 17043521, 820674, 1647635, 413555),
    (128, 2, 8385, 16513, 8418, 16866, 4225),
    (128, 4, 12082785, 270549121, 12129708, 24306339, 6088591),
]


def arrays(rng, *shapes, dtype=np.float32):
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


# --- features -------------------------------------------------------------------------------------------------------


def every_size():
    """All (d, p), p ≥ 2, with at most 10⁵ features, d up to 446; p = 0 and 1 for some; d = 1 up to order 40."""
    sizes = [(1, p) for p in range(41)] + [(d, p) for d in (2, 64, 1000, 99_999) for p in (0, 1)]
    for d in range(2, 447):
        sizes += [(d, p) for p in range(2, 171) if math.comb(d + p, p) <= taylor.MAX_FEATURES]
    return sizes


@pytest.mark.parametrize("part", range(20 if FULL else 6))
def test_features_multiply_to_the_truncated_exponential(part):
    """To rounding: error below 4 (p + 2) u Σ |q·k|ᵃ/a! with absolute values inside."""
    sizes = every_size()[part :: 20 if FULL else 300]
    rng = np.random.default_rng(part)
    for d, p in sizes:
        table = _monomials.table(d, p)
        assert len(table.parent) == math.comb(d + p, p) == cost.taylor_features(d, p)
        q, k = rng.normal(size=(2, 3, d)) / math.sqrt(d)
        with float64():
            product = np.asarray(taylor.features(jnp.asarray(q), p) * taylor.features(jnp.asarray(k), p)).sum(axis=-1)
            exact = np.asarray(taylor.truncated_exponential(jnp.asarray((q * k).sum(axis=-1)), p))
            size = np.asarray(taylor.truncated_exponential(jnp.asarray(abs(q * k).sum(axis=-1)), p))
        assert (abs(product - exact) <= 4 * (p + 16) * 2**-53 * size).all(), (d, p)


@pytest.mark.parametrize(("d", "p"), [(1, 5), (2, 3), (3, 4), (5, 6)])
def test_monomials_are_all_of_them_with_exact_weights(d, p):
    list_ = taylor.monomials(d, p)
    wanted = {a for a in np.ndindex(*[p + 1] * d) if sum(a) <= p}
    assert {tuple(a) for a in list_.exponents.tolist()} == wanted
    assert list_.factorial == tuple(math.prod(map(math.factorial, a)) for a in list_.exponents.tolist())
    assert (np.diff(list_.exponents.sum(axis=1)) >= 0).all()
    for row, parent, variable in zip(list_.exponents[1:], list_.parent[1:], list_.variable[1:], strict=True):
        assert (row - list_.exponents[parent] == np.eye(d, dtype=int)[variable]).all()


@pytest.mark.parametrize(("d", "p"), [(1, 3), (3, 0), (3, 1), (4, 3), (5, 4)])
def test_tensor_powers_have_the_same_products(rng, d, p):
    with float64():
        q, k = arrays(rng, (2, 3, d), (2, 3, d), dtype=np.float64)
        short, long = (
            (taylor.features(q, p, tensor=t) * taylor.features(k, p, tensor=t)).sum(axis=-1) for t in (False, True)
        )
        assert taylor.features(q, p, tensor=True).shape[-1] == cost.taylor_features(d, p, tensor=True)
        np.testing.assert_allclose(short, long, rtol=1e-13)
        v = arrays(rng, (2, 3, 2), dtype=np.float64)[0]
        as_linear = linear_attention(q, k, v, feature_map=lambda x: taylor.features(x, p))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            np.testing.assert_allclose(as_linear, taylor_attention(q, k, v, order=p, scale=1.0), rtol=1e-9)


# --- counts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_table_of_features_and_crossovers(row):
    d, p, features, tensor, full, causal, cache = row
    assert cost.taylor_features(d, p) == features
    assert cost.taylor_features(d, p, tensor=True) == tensor
    at = taylor.crossover(d, p)
    assert (at.full, at.causal, at.cache) == (full, causal, cache)
    # The lengths are the first at which the counts say so, and so is the context of decoding.
    for n, kwargs in ((full, {}), (causal, {"causal": True})):
        less = [
            cost.taylor_operations(x, d, p, **kwargs) < cost.softmax_operations(x, d, **kwargs) for x in (n - 1, n)
        ]
        assert less == [False, True]
    token = cost.taylor_operations(1, d, p, causal=True)
    assert token < at.decode * (4 * d + 3)
    assert token >= (at.decode - 1) * (4 * d + 3)
    assert round(Fraction(cost.taylor_state(d, p), 2 * d)) == cache


class Counted:
    """A number that counts what is done to it."""

    operations = 0

    def __init__(self, x):
        self.x = x

    def _do(self, x):
        Counted.operations += 1
        return Counted(x)

    def __mul__(self, other):
        return self._do(self.x * other.x)

    def __add__(self, other):
        return self._do(self.x + other.x)

    def __truediv__(self, other):
        return self._do(self.x / other.x)


def summed(xs):
    total = xs[0]
    for x in xs[1:]:
        total = total + x
    return total


def counted_features(x, table):
    out = [Counted(1.0), *x]  # the constant and the variables are there already
    for parent, variable in zip(table.parent[len(out) :], table.variable[len(out) :], strict=True):
        out.append(out[parent] * x[variable])
    return out


@pytest.mark.parametrize(("n", "d", "d_v", "p"), [(3, 2, 2, 1), (4, 2, 3, 2), (2, 3, 2, 4), (5, 4, 1, 3)])
@pytest.mark.parametrize("causal", [False, True])
def test_operations_equal_code_that_counts_what_it_does(rng, n, d, d_v, p, causal):
    q, k, v = rng.normal(size=(n, d)), rng.normal(size=(n, d)), rng.normal(size=(n, d_v))
    Q, K, V = ([[Counted(x) for x in row] for row in a.tolist()] for a in (q, k, v))
    table = taylor.monomials(d, p)
    weights = [Counted(1 / f) for f in table.factorial]
    Counted.operations = 0
    out = []

    def read(x, s, z):
        total = summed([a * b for a, b in zip(x, z, strict=True)])
        return [summed([a * row[c] for a, row in zip(x, s, strict=True)]) / total for c in range(d_v)]

    if causal:  # token by token, on top of a state that is there
        s, z = [[Counted(0.0)] * d_v for _ in weights], [Counted(0.0) for _ in weights]
        for q_i, k_i, v_i in zip(Q, K, V, strict=True):
            y = [a * w for a, w in zip(counted_features(k_i, table), weights, strict=True)]
            s = [[c + a * b for c, b in zip(row, v_i, strict=True)] for row, a in zip(s, y, strict=True)]
            z = [a + b for a, b in zip(z, y, strict=True)]
            out.append(read(counted_features(q_i, table), s, z))
    else:
        ys = [counted_features(k_j, table) for k_j in K]
        s = [
            [summed([y[r] * v_j[c] for y, v_j in zip(ys, V, strict=True)]) for c in range(d_v)]
            for r in range(len(weights))
        ]
        s = [[w * x for x in row] for w, row in zip(weights, s, strict=True)]
        z = [w * summed([y[r] for y in ys]) for r, w in enumerate(weights)]
        out = [read(counted_features(q_i, table), s, z) for q_i in Q]
    assert Counted.operations == cost.taylor_operations(n, d, p, d_v=d_v, causal=causal)
    x = q @ k.T
    a = sum(x**j / math.factorial(j) for j in range(p + 1))
    a = np.tril(a) if causal else a
    np.testing.assert_allclose([[o.x for o in row] for row in out], a @ v / a.sum(axis=1, keepdims=True), rtol=1e-9)


@pytest.mark.parametrize("causal", [False, True])
def test_softmax_operations_equal_code_that_counts_what_it_does(rng, causal):
    n, d, d_v = 5, 3, 2
    Q, K, V = ([[Counted(x) for x in row] for row in rng.normal(size=(n, w)).tolist()] for w in (d, d, d_v))
    Counted.operations = 0
    for i, q_i in enumerate(Q):
        seen = range(i + 1) if causal else range(n)
        x = [summed([a * b for a, b in zip(q_i, K[j], strict=True)]) for j in seen]
        top = x[0]
        for s in x[1:]:
            top = top._do(max(top.x, s.x))
        w = [s._do(math.exp((s + Counted(-top.x)).x)) for s in x]
        total = summed(w)
        for c in range(d_v):
            summed([a * V[j][c] for a, j in zip(w, seen, strict=True)]) / total
    # Per pair 2d + 2d_v + 3: 2d − 1 for the logit, maximum, subtraction, exponential, sum, 2d_v for the values;
    # per row the first maximum and the first sum are for nothing; d_v divisions make up for the values' first sums.
    assert Counted.operations == cost.softmax_operations(n, d, d_v=d_v, causal=causal)


@pytest.mark.parametrize("order", [0, 2, 4])
@pytest.mark.parametrize("causal", [False, True])
def test_matmul_flops_equal_the_cost_model(order, causal):
    for n, chunk in ((1, None), (150, None), (20, 6)):
        q, v = jnp.ones((2, n, 5)), jnp.ones((2, n, 3))

        def run(q, v, chunk=chunk):
            return taylor_attention(q, q, v, order=order, causal=causal, chunk=chunk)

        def both(q, v, run=run):
            out, pull = jax.vjp(run, q, v)
            return pull(out)

        for backward in (False, True):
            model = cost.taylor_attention(
                n, 5, order=order, d_v=3, h=2, causal=causal, chunk=chunk, backward=backward
            )
            assert count.matmul_flops(both if backward else run, q, v) == model.matmul_flops


def test_model_in_symbols():
    n, d = sympy.symbols("n d", positive=True, integer=True)
    for p in (1, 2, 4):
        assert cost.taylor_features(d, p).subs(d, 16) == math.comb(16 + p, p)
        for causal in (False, True):
            formula = cost.taylor_operations(n, d, p, causal=causal)
            assert formula.subs({n: 100, d: 16}) == cost.taylor_operations(100, 16, p, causal=causal)
            assert cost.softmax_operations(n, d, causal=causal).subs({n: 100, d: 16}) == cost.softmax_operations(
                100, 16, causal=causal
            )
        assert cost.taylor_attention(n, d, order=p).matmul_flops.subs({n: 128, d: 16}) == (
            cost.taylor_attention(128, 16, order=p).matmul_flops
        )
    assert cost.taylor_state(d, 2).subs(d, 64) == cost.taylor_state(64, 2) == 139425
    assert cost.taylor_operations(np.array([10, 20]), 8, 2).tolist() == [
        cost.taylor_operations(10, 8, 2),
        cost.taylor_operations(20, 8, 2),
    ]


# --- state and memory -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("d", "order"), [(16, 2), (64, 2), (16, 4), (64, 3)])
def test_memory_at_65536(causal, d, order):
    """What the program needs beyond arguments and results: 1.1 states and 64 MiB, for eight heads."""
    x = jax.ShapeDtypeStruct((8, 65536, d), jnp.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # order 3 is odd
        needed = count.memory(lambda q, k, v: taylor_attention(q, k, v, order=order, causal=causal), x, x, x)
    assert needed <= 1.1 * cost.taylor_state(d, order) * 4 + 64 * 2**20


def test_backward_memory_does_not_grow_with_the_chunks():
    def memory(n):
        x = jax.ShapeDtypeStruct((n, 16), jnp.float32)
        return count.memory(jax.grad(lambda *a: taylor_attention(*a, causal=True).sum(), (0, 1, 2)), x, x, x)

    # Another 32,768 tokens are 2 MiB for each array of their rows, and there are two; their 256 states would be
    # another 2.5 MiB, their features 20 MiB.
    assert memory(65536) - memory(32768) <= 5 * 2**20


# --- accuracy -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "zero"), [(1, 1), (3, 1.59607), (5, 2.18061), (7, 2.75900), (9, 3.33355), (21, 6.74309)]
)
def test_odd_orders_warn_where_weights_turn_negative(rng, order, zero):
    assert round(taylor.negative_below(order), 5) == zero
    t = [
        sum(Fraction(-x) ** a / math.factorial(a) for a in range(order + 1))
        for x in (Fraction(taylor.negative_below(order)) + e for e in (Fraction(-1, 10**12), Fraction(1, 10**12)))
    ]
    assert t[0] > 0 > t[1]
    q, k, v = arrays(rng, (3, 2), (3, 2), (3, 2))
    with pytest.warns(UserWarning, match=rf"logits below −{taylor.negative_below(order):.5g} "):
        taylor_attention(q, k, v, order=order)
    with pytest.warns(UserWarning, match="order"):
        taylor_attention_step(taylor_attention_state(2, 2, order=order), q, k, v, order=order)


def exact_ratio(x, p):
    """T_p(x)/eˣ with 30 digits."""
    return float(
        sum(sympy.Rational(x) ** a / sympy.factorial(a) for a in range(p + 1)) * sympy.exp(-sympy.Rational(x)).n(60)
    )


@pytest.mark.parametrize(("b", "p"), [(0.25, 2), (1, 4), (2, 8), (4, 16), (8, 32), (8, 8), (3, 0), (1, 3), (0.9, 1)])
def test_kernel_error_is_the_exact_one(b, p):
    bound = taylor.error_bound(p, b)
    high, low = exact_ratio(-Fraction(b), p), exact_ratio(Fraction(b), p)
    assert math.isclose(bound.kernel, max(abs(high - 1), abs(low - 1)), rel_tol=1e-9)
    ratios = (high, low) if p % 2 == 0 else (1.0, min(high, low))
    assert math.isclose(bound.variation, math.tanh(math.log(ratios[0] / ratios[1]) / 4), rel_tol=1e-8)
    assert bound.kernel <= bound.closed_form <= bound.kernel * math.exp(b / (p + 2)) * (1 + 1e-12)
    assert bound.output == 2 * bound.variation


def test_error_bounds_of_the_table():
    table = {
        (1, 4): (1.94e-2, 2.27e-2),
        (2, 8): (8.66e-3, 1.04e-2),
        (4, 16): (2.15e-3, 2.64e-3),
        (8, 32): (1.76e-4, 2.18e-4),
    }
    for (b, p), (kernel, closed) in table.items():
        bound = taylor.error_bound(p, float(b))
        assert math.isclose(bound.kernel, kernel, rel_tol=5e-3)
        assert math.isclose(bound.closed_form, closed, rel_tol=5e-3)
    assert taylor.error_bound(3, 1.6).output == math.inf
    assert taylor.error_bound(3, 1.5).output < math.inf
    assert taylor.error_bound(2, 600.0).variation == 1.0
    assert taylor.error_bound(4, 0).output == 0.0


def test_output_bound_is_never_exceeded():
    """Random logits, and logits at ±B only with random numbers of each: 10⁵ problems."""
    rng = np.random.default_rng(0)
    worst = 0.0
    for order, b in (
        (0, 0.3),
        (2, 0.5),
        (2, 3.0),
        (4, 1.0),
        (6, 2.0),
        (12, 4.0),
        (8, 8.0),
        (1, 0.8),
        (3, 1.5),
        (5, 2.0),
    ):
        bound = taylor.error_bound(order, b)
        for kind in range(4):
            trials = 2500
            keys = int(rng.integers(2, 40))
            x = rng.uniform(-b, b, (trials, keys))
            if kind == 1:
                x = np.where(rng.random(x.shape) < rng.random((trials, 1)), b, -b)
            elif kind == 2:  # one key against many
                x = np.full_like(x, -b)
                x[:, 0] = b * rng.uniform(-1, 1, trials)
            elif kind == 3:  # the largest and the least ratio of an odd order are at 0 and at the ends
                x = np.where(rng.random(x.shape) < 0.5, 0, -b)
            v = rng.choice([-1.0, 1.0], x.shape) if kind else rng.uniform(-1, 1, x.shape)
            soft = np.exp(x)
            cut = sum(x**a / math.factorial(a) for a in range(order + 1))
            o, o_hat = ((w * v).sum(axis=1) / w.sum(axis=1) for w in (soft, cut))
            error = abs(o - o_hat) / bound.output
            worst = max(worst, error.max())
            assert error.max() <= 1 + 1e-9, (order, b, kind)
            spread = v.max(axis=1) - v.min(axis=1)
            assert (abs(o - o_hat) <= bound.variation * spread * (1 + 1e-9) + 1e-15).all()
    assert worst > 0.9


@pytest.mark.parametrize(("order", "b"), [(2, 1.0), (4, 2.0), (8, 3.0), (2, 3.0)])
def test_output_bound_is_attained_by_two_kinds_of_keys(order, b):
    """Keys at −B with value 1 and keys at B with value −1, in numbers that balance the two: six digits."""
    bound = taylor.error_bound(order, b)
    with float64():
        h = 4 * math.atanh(bound.variation)
        ratio = Fraction(math.exp(2 * b - h / 2)).limit_denominator(200)
        few, many = ratio.denominator, ratio.numerator
        k = jnp.concatenate([jnp.full((many, 1), -b, jnp.float64), jnp.full((few, 1), b, jnp.float64)])
        v = jnp.where(k < 0, 1.0, -1.0)
        q = jnp.ones((1, 1), jnp.float64)
        error = float(abs(taylor_attention(q, k, v, order=order, scale=1.0) - attention(q, k, v, scale=1.0))[0, 0])
    assert math.isclose(error, bound.output, rel_tol=1e-6)
    assert error <= bound.output * (1 + 1e-9)


MINIMAL = {
    0.25: ((1, 2), (2, 2), (3, 4), (5, 6)),
    0.5: ((2, 2), (3, 4), (4, 4), (7, 8)),
    1.0: ((4, 4), (5, 6), (6, 6), (9, 10)),
    2.0: ((7, 8), (9, 10), (10, 10), (14, 14)),
    4.0: ((14, 14), (16, 16), (17, 18), (21, 22)),
    8.0: ((28, 28), (30, 30), (31, 32), (36, 36)),
    16.0: ((56, 56), (58, 58), (60, 60), (65, 66)),
    32.0: ((114, 114), (115, 116), (117, 118), (122, 122)),
}


@pytest.mark.parametrize("b", MINIMAL)
def test_minimal_order(b):
    for error, (least, even) in zip((0.1, 0.01, 1e-3, 1e-6), MINIMAL[b], strict=True):
        assert taylor.minimal_order(b, error, even=False) == least
        assert taylor.minimal_order(b, error) == even
        assert taylor.error_bound(least, b).closed_form <= error < taylor.error_bound(least - 1, b).closed_form
    assert abs(taylor.minimal_order(1e6, 0.01) / 1e6 - 3.5911) < 1e-3
    assert taylor.minimal_order(0, 0.01) == 0


@pytest.mark.parametrize("causal", [False, True])
def test_centring_rows_is_the_definition_with_shifted_logits(rng, causal):
    with float64():
        q, k, v, do = arrays(rng, (2, 3, 9, 4), (2, 1, 9, 4), (2, 1, 9, 5), (2, 3, 9, 5), dtype=np.float64)
        for r in arrays(rng, (2, 3, 9), (9,), (3, 1), dtype=np.float64):
            full = jnp.broadcast_to(r, (2, 3, 9))

            def definition(q, k, v, full=full):
                x = jnp.einsum("bgnd,bhmd->bgnm", q, k) / 2 - full[..., None]
                a = taylor.truncated_exponential(x, 4)
                a = a * jnp.tril(jnp.ones((1, 1, 9, 9))) if causal else a
                return jnp.matmul(a, v) / a.sum(axis=-1, keepdims=True)

            def ours(q, k, v, r=r):
                return taylor_attention(q, k, v, order=4, causal=causal, centre_rows=r, chunk=4)

            a, b = (jax.vjp(f, q, k, v) for f in (ours, definition))
            for x, y in zip((a[0], *a[1](do)), (b[0], *b[1](do)), strict=True):
                np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_know_that_the_middle_of_a_row_moves(rng, causal):
    """Softmax would not care how the shift depends on q and k; Taylor weights do."""
    with float64():
        q, k, v, do = arrays(rng, (5, 4), (7, 4), (7, 3), (5, 3), dtype=np.float64)
        hidden = ~np.tril(np.ones((5, 7), bool), 2) & causal

        def middle(q, k):
            x = q @ k.T / 2
            return (jnp.where(hidden, -jnp.inf, x).max(axis=1) + jnp.where(hidden, jnp.inf, x).min(axis=1)) / 2

        def run(rows):
            return jax.grad(
                lambda q, k, v: (
                    taylor_attention(q, k, v, order=2, causal=causal, centre_rows=rows(q, k), chunk=3) * do
                ).sum(),
                (0, 1, 2),
            )(q, k, v)

        for ours, exact in zip(run(lambda q, k: True), run(middle), strict=True):
            np.testing.assert_allclose(ours, exact, rtol=1e-9, atol=1e-11)


def test_centring_brings_taylor_nearer_and_softmax_nowhere(rng):
    """Keys with an offset, order 16: the error falls from raw, to centred keys, to centred keys and rows."""
    q, k, v = (rng.normal(size=(300, 4)) + offset for offset in (1.5, 2.0, 0.0))
    with float64():
        exact = attention(q, k, v)
        np.testing.assert_allclose(attention(q, k - k.mean(axis=0), v), exact, rtol=1e-10, atol=1e-12)
        errors = [
            float(jnp.abs(taylor_attention(q, k, v, order=16, **kwargs) - exact).max())
            for kwargs in ({}, {"centre_keys": True}, {"centre_keys": True, "centre_rows": True})
        ]
        centred = {"order": 16, "centre_keys": True, "centre_rows": True}
        np.testing.assert_allclose(
            taylor_attention(q, k, v, **centred), reference.taylor_attention(q, k, v, **centred), rtol=1e-7
        )
        assert errors[0] > 5 * errors[1] > 5 * errors[2]
        hidden = {"mask": jnp.asarray(rng.random(300) < 0.5), "centre_keys": True}
        np.testing.assert_allclose(
            taylor_attention(q, k, v, **hidden), reference.taylor_attention(q, k, v, **hidden), rtol=1e-9
        )


def test_centred_rows_are_strictly_causal(rng):
    q, k, v = arrays(rng, (2, 8, 4), (2, 8, 4), (2, 8, 3))
    before = taylor_attention(q, k, v, causal=True, centre_rows=True, chunk=3)
    for i in range(7):
        after = taylor_attention(q, k.at[:, i + 1 :].mul(-3), v, causal=True, centre_rows=True, chunk=3)
        np.testing.assert_allclose(after[:, : i + 1], before[:, : i + 1], rtol=1e-6, atol=1e-7)


# --- bad input: argument, expected, got, function, arguments --------------------------------------------------------

X = jnp.ones((2, 5, 4))
STATE = State(jnp.zeros((2, 15, 4)), jnp.zeros((2, 15)))
WHOLE, ORDER = "a whole number of at least 1", "a whole number from 0 to 170"


def bad(fn, argument, expected, got, **kwargs):
    """A call of fn with good arguments but one."""
    good = {
        taylor_attention: {"q": X, "k": X, "v": X},
        taylor_attention_state: {"d_k": 4, "d_v": 4},
        taylor_attention_step: {"state": STATE, "q": X, "k": X, "v": X},
        taylor.monomials: {"d": 3, "order": 2},
        taylor.features: {"x": X, "order": 2},
        taylor.truncated_exponential: {"x": X, "order": 2},
        taylor.negative_below: {"order": 3},
        taylor.error_bound: {"order": 2, "logit_bound": 1.0},
        taylor.minimal_order: {"logit_bound": 1.0, "error": 0.1},
        taylor.crossover: {"d": 8, "order": 2},
        cost.taylor_attention: {"n": 8, "d_k": 4},
        cost.taylor_attention_step: {"d_k": 4},
        cost.taylor_features: {"d": 4, "order": 2},
        cost.taylor_operations: {"n": 8, "d": 4, "order": 2},
        cost.softmax_operations: {"n": 8, "d": 4},
        cost.taylor_state: {"d": 4, "order": 2},
    }[fn]
    first = tuple({a: kwargs.pop(a) if a in kwargs else x for a, x in good.items()}.values())
    return argument, expected, got, fn, first, kwargs


def bad_sizes(fn, *names):
    values = {
        "h_kv": ("a divisor of h = 1", "3", 3),
        "dtype": ("one of float64", "'int8'", "int8"),
        "causal": ("True or False", "1", 1),
        "backward": ("True or False", "1", 1),
        "chunk": ("an integer of at least 1", "0", 0),
        "order": (ORDER, "2.0", 2.0),
        "tensor": ("True or False", "1", 1),
    }
    for name in names:
        expected, got, value = values.get(name, (WHOLE, "0", 0))
        yield bad(fn, name, expected, got, **{name: value})


BAD = [
    bad(taylor_attention, "q", "an array", "list", q=[1.0]),
    bad(taylor_attention, "k", "d_k = 4", "d_k = 3", k=X[..., :3]),
    bad(taylor_attention, "v", "m = 5", "m = 4", v=X[:, :4]),
    bad(taylor_attention, "order", ORDER, "-1", order=-1),
    bad(taylor_attention, "order", ORDER, "2.0", order=2.0),
    bad(taylor_attention, "order", ORDER, "True", order=True),
    bad(taylor_attention, "order", "at most 100,000 features", "C(4 + 60, 60) = 635,376", order=60),
    bad(taylor_attention, "causal", "True or False", "1", causal=1),
    bad(taylor_attention, "mask", "one row for all queries", "(5, 5)", mask=jnp.ones((5, 5), bool)),
    bad(taylor_attention, "scale", "a finite real number", "nan", scale=float("nan")),
    bad(taylor_attention, "centre_keys", "True or False", "1", centre_keys=1),
    bad(taylor_attention, "centre_keys", "False with causal=True", "True", centre_keys=True, causal=True),
    bad(taylor_attention, "centre_rows", "shifts that broadcast to (2, 5)", "(4,)", centre_rows=jnp.ones(4)),
    bad(taylor_attention, "centre_rows", "an array", "float", centre_rows=1.0),
    bad(taylor_attention, "chunk", "an integer of at least 1", "0", chunk=0),
    bad(taylor_attention_state, "d_k", "an integer of at least 1", "0", d_k=0),
    bad(taylor_attention_state, "d_v", "an integer of at least 1", "0", d_v=0),
    bad(
        taylor_attention_state,
        "order",
        "100,000 features",
        "814,385 for order 4: 211,740,100 bytes",
        d_k=64,
        d_v=64,
        order=4,
    ),
    bad(taylor_attention_state, "lead", "a tuple of positive integers", "(0,)", lead=(0,)),
    bad(taylor_attention_state, "dtype", "float32 or float64", "float16", dtype=jnp.float16),
    bad(taylor_attention_step, "state", "a State of two arrays", "None", state=None),
    bad(taylor_attention_step, "state", "s (2, 15, 4)", "(2, 14, 4)", state=State(STATE.s[:, 1:], STATE.z)),
    bad(taylor_attention_step, "q", "an array", "list", q=[1.0]),
    bad(taylor_attention_step, "k", "n = 4 new keys", "5", q=X[:, :4]),
    bad(taylor_attention_step, "v", "m = 5", "m = 4", v=X[:, :4]),
    bad(taylor_attention_step, "order", ORDER, "'2'", order="2"),
    bad(taylor_attention_step, "scale", "a finite real number", "inf", scale=float("inf")),
    bad(taylor_attention_step, "chunk", "an integer of at least 1", "0", chunk=0),
    bad(taylor.monomials, "d", "an integer of at least 1", "0", d=0),
    bad(taylor.monomials, "order", ORDER, "171", order=171),
    bad(taylor.features, "x", "an array", "float", x=1.0),
    bad(taylor.features, "order", "at most 100,000 features", "Σ 4^a = 349,525", order=9, tensor=True),
    bad(taylor.features, "tensor", "True or False", "1", tensor=1),
    bad(taylor.truncated_exponential, "x", "an array", "float", x=1.0),
    bad(taylor.truncated_exponential, "order", ORDER, "-2", order=-2),
    bad(taylor.negative_below, "order", ORDER, "1.0", order=1.0),
    bad(taylor.error_bound, "order", ORDER, "-1", order=-1),
    bad(taylor.error_bound, "logit_bound", "a finite number of at least 0", "nan", logit_bound=float("nan")),
    bad(taylor.error_bound, "logit_bound", "a finite number of at least 0", "-1.0", logit_bound=-1.0),
    bad(taylor.minimal_order, "logit_bound", "a finite number of at least 0", "inf", logit_bound=float("inf")),
    bad(taylor.minimal_order, "error", "a finite number above 0", "0", error=0),
    bad(taylor.minimal_order, "even", "True or False", "2", even=2),
    bad(taylor.crossover, "d", "an integer of at least 1", "1.5", d=1.5),
    bad(taylor.crossover, "order", "from 1 to 170", "0", order=0),
    bad(taylor.crossover, "d_v", "an integer of at least 1", "0", d_v=0),
    *bad_sizes(
        cost.taylor_attention,
        *("n", "d_k", "order", "m", "d_v", "h", "h_kv", "batch", "causal", "backward", "chunk", "dtype"),
    ),
    *bad_sizes(cost.taylor_attention_step, "d_k", "order", "d_v", "h", "h_kv", "batch", "dtype"),
    *bad_sizes(cost.taylor_features, "d", "order", "tensor"),
    *bad_sizes(cost.taylor_operations, "n", "d", "order", "d_v", "causal"),
    *bad_sizes(cost.softmax_operations, "n", "d", "d_v", "causal"),
    *bad_sizes(cost.taylor_state, "d", "order", "d_v"),
]


def test_public_names():
    assert attnlib.taylor_attention is taylor_attention
