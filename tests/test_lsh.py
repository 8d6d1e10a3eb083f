"""Attention by hashing beyond the contract: buckets, who is near in one, shared keys, strict causality, the cost."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from support import FULL, float64

from attnlib import attention, cost, count, init_lsh, lsh_attention, lsh_buckets, reference
from attnlib.cost._buckets import blocks
from attnlib.kernels._buckets import rank
from attnlib.measure.count import with_backward


def arrays(rng, *shapes, dtype=np.float32):
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


# --- buckets --------------------------------------------------------------------------------------------------------


def at_angle(theta, d):
    x = np.zeros((2, d))
    x[:, 0], x[1, 1] = (1, math.cos(theta)), math.sin(theta)
    return x


def sharing(theta, d, buckets, rounds=200_000):
    """The share of rotations that put two rows at an angle into one bucket."""
    rotations = init_lsh(jax.random.key(0), d, buckets, rounds)
    own = np.asarray(lsh_buckets(jnp.asarray(at_angle(theta, d), jnp.float32), rotations, buckets=buckets))
    return (own[:, 0] == own[:, 1]).mean()


def expected(theta, buckets, most=6.0, steps=1200):
    """The probability by integration over |x| and |u|, what a rotation makes of both rows along one axis.

    x and u are normal with the correlation cos θ. The rows share a bucket if on one axis |x| and |u| are the largest
    of all axes, with one sign: of b/2 axes each with the same probability.
    """
    x = (np.arange(steps) + 0.5) * most / steps
    x, u, c, s = x[:, None], x[None, :], math.cos(theta), math.sin(theta)
    same, other = (np.exp(-(x**2 + u**2 - 2 * sign * c * x * u) / (2 * s**2)) / (math.pi * s) for sign in (1, -1))
    cell = (most / steps) ** 2
    below = ((same + other) * cell).cumsum(axis=0).cumsum(axis=1)  # another axis has less of both
    return buckets // 2 * (same * cell * below ** (buckets // 2 - 1)).sum()


@pytest.mark.parametrize("theta", [0.3, 1.0, 2.0, 3.0])
def test_two_buckets_are_shared_with_probability_one_less_the_angle(theta):
    """And factors with the product of their probabilities."""
    p = 1 - theta / math.pi
    for buckets, power in ((2, 1), ((2, 2), 2), ((2, 1, 2, 2), 3)):
        assert sharing(theta, 5, buckets) == pytest.approx(p**power, abs=0.005)


def test_more_buckets_are_shared_as_the_integral_says():
    """Sharing falls faster with the angle the more buckets there are: what makes near rows meet and far ones not."""
    for theta in (0.5, 1.2, 2.5):
        assert expected(theta, 2) == pytest.approx(1 - theta / math.pi, abs=0.001)
        for buckets in (4, 16):
            assert sharing(theta, 8, buckets, 50_000) == pytest.approx(expected(theta, buckets), abs=0.008)
    steep = [math.log(expected(1.2, b)) / math.log(expected(0.5, b)) for b in (2, 4, 16, 64)]
    assert (np.diff(steep) > 0).all()


def test_opposite_rows_share_none_and_lengths_do_not_matter(rng):
    (x,) = arrays(rng, (3, 20, 6))
    rotations = init_lsh(jax.random.key(1), 6, 8, 3)
    own = lsh_buckets(x, rotations, buckets=8)
    assert own.shape == (3, 3, 20)
    np.testing.assert_array_equal(lsh_buckets(1e-3 * x, rotations, buckets=8), own)
    np.testing.assert_array_equal(lsh_buckets(-x, rotations, buckets=8), (own + 4) % 8)
    np.testing.assert_array_equal(own, reference.lsh_buckets(x, rotations, buckets=8))
    assert set(np.unique(own)) == set(range(8))


def test_factors_are_digits(rng):
    (x,) = arrays(rng, (50, 6))
    rotations = init_lsh(jax.random.key(1), 6, (4, 1, 6), 2)
    assert rotations.shape == (2, 6, 5)
    high, low = lsh_buckets(x, rotations[..., :2], buckets=4), lsh_buckets(x, rotations[..., 2:], buckets=6)
    np.testing.assert_array_equal(lsh_buckets(x, rotations, buckets=(4, 1, 6)), 6 * high + low)
    assert not lsh_buckets(x, rotations[..., :0], buckets=1).any()


# --- who is near ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trial", range(60 if FULL else 8))
def test_every_query_finds_its_keys_in_the_blocks_that_it_reads(trial):
    """The places that a query sees are those of the definition, and lie in the blocks of keys of its row."""
    rng = np.random.default_rng(trial)
    n, m = (int(x) for x in rng.integers(1, 40, 2))
    buckets, window, chunk = (int(x) for x in rng.integers(1, (9, 12, 12)))
    causal, exact = bool(trial % 2), trial % 3 == 0
    n = m if exact else n
    of_q, of_k = rng.integers(0, buckets, n), rng.integers(0, buckets + (not exact), m)
    of_q = of_k if exact else of_q
    cut = blocks(n, m, window, chunk, causal, exact)
    ranks = jax.tree.map(np.asarray, rank(cut, buckets, *(jnp.asarray(x[None], jnp.int32) for x in (of_q, of_k))))
    order, place, first, many, slot, query, start = (x[0] for x in ranks)
    np.testing.assert_array_equal(order[place], np.arange(m))
    np.testing.assert_array_equal(query[slot], np.arange(n))
    assert (query == n).sum() == len(query) - n
    seen = (place >= first[:, None]) & (place < (first + many)[:, None])
    np.testing.assert_array_equal(
        seen, reference.near_in_bucket(of_q, of_k, window, causal=causal, mask=of_k < buckets)
    )
    low = start[slot // cut.rows] * cut.chunk
    some = many > 0
    assert (first >= low)[some].all()
    assert (first + many <= low + cut.span * cut.chunk)[some].all()


@pytest.mark.sample(2)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_values_and_gradients_are_those_of_the_definition(causal, shared, seed):
    """In several rounds, whose pairs count once; gradients by finite differences of the definition."""
    rng = np.random.default_rng(seed)
    n, m = (23, 23) if shared else (19, 26)
    options = {"buckets": [4, (2, 2), 2][seed], "window": [3, 5, 30][seed], "shared": shared, "causal": causal}
    with float64():
        if seed:
            options["mask"] = jnp.asarray(rng.random((2, 1, m)) < 0.7)
        q, k, v = (rng.normal(size=s) for s in ((2, n, 4), (2, m, 4), (2, m, 3)))
        args = (q, v) if shared else (q, k, v)
        rotations = np.asarray(init_lsh(jax.random.key(seed), 4, options["buckets"], 3, dtype=jnp.float64))
        do = rng.normal(size=(2, n, 3))

        def call(fn, *args, **kwargs):
            q, k, v = (args[0], None, args[1]) if shared else args
            return fn(q, k, v, rotations, **options, **kwargs)

        run = jax.jit(with_backward(lambda *a: call(lsh_attention, *a, chunk=4)))
        out, *gradients = run(do, *args)
    np.testing.assert_allclose(out, call(reference.lsh_attention, *args), rtol=1e-11, atol=1e-12)
    for at, gradient in enumerate(gradients):
        way = rng.normal(size=args[at].shape)
        ends = (
            call(reference.lsh_attention, *(x + e * way if i == at else x for i, x in enumerate(args)))
            for e in (1e-6, -1e-6)
        )
        slope = (np.subtract(*ends) / 2e-6 * do).sum()
        np.testing.assert_allclose((np.asarray(gradient) * way).sum(), slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("n", "m"), [(9, 9), (5, 12), (12, 5), (1, 1)])
def test_one_bucket_and_a_wide_window_are_attention(n, m, rng):
    q, k, v = arrays(rng, (2, n, 4), (2, m, 4), (2, m, 3))
    rotations = jnp.zeros((2, 4, 0))
    for causal in (False, True):
        out = lsh_attention(q, k, v, rotations, buckets=1, window=max(n, m), causal=causal)
        np.testing.assert_allclose(out, attention(q, k, v, causal=causal), rtol=1e-5, atol=1e-6)


def test_a_pair_of_several_rounds_counts_once(rng):
    """The same rotation four times gives what it gives once."""
    q, k, v = arrays(rng, (17, 4), (17, 4), (17, 3))
    one = init_lsh(jax.random.key(0), 4, 4, 1)
    run = functools.partial(lsh_attention, q, k, v, buckets=4, window=5)
    np.testing.assert_allclose(run(jnp.tile(one, (4, 1, 1))), run(one), rtol=1e-5, atol=1e-6)


def test_a_shared_key_is_seen_by_its_query_only_if_there_is_no_other():
    q = jnp.asarray([[1.0, 0.1], [-2.0, 0.3], [3.0, -0.2]])
    v = jnp.asarray([[1.0], [2.0], [4.0]])
    rotations = jnp.asarray([[[1.0], [0.0]]])
    run = functools.partial(lsh_attention, q, None, v, rotations, buckets=2, window=3, shared=True)
    np.testing.assert_allclose(run()[:, 0], [4, 2, 1])
    np.testing.assert_allclose(run(causal=True)[:, 0], [1, 2, 1])
    # Its own key hidden, nothing is left.
    np.testing.assert_allclose(run(causal=True, mask=jnp.asarray([True, False, True]))[:, 0], [1, 0, 1])
    zeros = lsh_attention(0 * q, None, v, rotations, buckets=2, window=3, shared=True)
    np.testing.assert_allclose(zeros[:, 0], [3, 2.5, 1.5])
    slope = jax.grad(lambda q: lsh_attention(q, None, v, rotations, buckets=2, window=3, shared=True).sum())
    assert jnp.isfinite(slope(0 * q)).all()
    np.testing.assert_allclose(
        lsh_attention(1e30 * q, None, v, rotations, buckets=2, window=3, shared=True, scale=1e-30), run(scale=1.0)
    )


# --- strict causality -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
def test_nothing_later_moves_an_earlier_output(shared):
    """200 changes of everything after a random position, the hashes of which change with it."""
    rng = np.random.default_rng(0)
    n, d, changes = 48, 4, 200
    x = rng.normal(size=(3, n, d)).astype(np.float32)
    cuts = rng.integers(0, n, changes)
    later = np.arange(n)[None, :, None] > cuts[:, None, None]
    changed = np.where(later[:, None], rng.normal(size=(changes, 3, n, d)) * 3, x[None]).astype(np.float32)
    rotations = init_lsh(jax.random.key(0), d, 4, 2)

    def run(x):
        q, k, v = x
        k = None if shared else k
        return lsh_attention(q, k, v, rotations, buckets=4, window=4, causal=True, shared=shared, chunk=4)

    before, after = (np.asarray(y) for y in (jax.jit(run)(x), jax.jit(jax.vmap(run))(changed)))
    assert np.abs(after - before)[later[:, :, 0]].max() > 0.1
    np.testing.assert_allclose(np.where(later, 0, after - before), 0, atol=1e-6)


def test_chunks_of_sorted_positions_leak(rng):
    """What published programs do: a later key moves the end of a chunk, and with it an earlier output."""
    n, c, d = 32, 4, 4
    q, v = rng.normal(size=(n, d)), rng.normal(size=(n, 2))
    rotations = np.random.default_rng(1).normal(size=(1, d, 2))

    def published(q):
        bucket = reference.lsh_buckets(q, rotations, buckets=4)[0]
        chunk = np.empty(n, int)
        chunk[np.argsort(bucket, kind="stable")] = np.arange(n) // c
        behind = chunk[:, None] - chunk
        seen = (bucket[:, None] == bucket) & ((behind == 0) | (behind == 1)) & np.tri(n, dtype=bool)
        return reference.attention(q, q, v, mask=seen)

    other = q.copy()
    other[n // 2 :] = rng.normal(size=(n // 2, d))
    assert np.abs(published(other) - published(q))[: n // 2].max() > 0.1
    ours = [
        lsh_attention(x, x, v, rotations, buckets=4, window=c, causal=True)[: n // 2]
        for x in (q.astype("f"), other.astype("f"))
    ]
    np.testing.assert_allclose(*ours, atol=1e-6)


# --- edges ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_edges(causal, shared):
    """One position, one dimension, equal keys, a window longer than the sequence, huge logits, all keys hidden."""
    rng = np.random.default_rng(0)
    rotations = init_lsh(jax.random.key(0), 1, 4, 2)
    for n, size in ((1, 1.0), (5, 0.0), (6, 1e4)):
        q, v = size * (1 + rng.random((n, 1))), rng.normal(size=(n, 2))
        k = None if shared else np.full((n, 1), np.sign(size) * size**0.5)
        options = {"buckets": 4, "window": 100, "causal": causal, "shared": shared, "scale": 1.0}
        run = jax.jit(jax.value_and_grad(lambda q, k, v, o=options: lsh_attention(q, k, v, rotations, **o).sum()))
        f = np.float32
        value, slope = run(jnp.asarray(q, f), None if k is None else k.astype(f), v.astype(f))
        exact = reference.lsh_attention(q, k, v, rotations, **options).sum()
        np.testing.assert_allclose(value, exact, rtol=1e-4, atol=1e-4)
        assert jnp.isfinite(slope).all()
        args = [jnp.asarray(q, f), None if k is None else jnp.asarray(k, f), jnp.asarray(v, f)]
        hidden = jax.jit(functools.partial(lsh_attention, rotations=rotations, mask=jnp.zeros(n, bool), **options))
        assert not hidden(*args).any()


# --- cost -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
def test_flops_are_those_of_the_model(shared):
    for n, buckets, window, chunk, causal in ((300, 8, 16, None, True), (257, (4, 4), 40, 16, False)):
        q, v = (jax.ShapeDtypeStruct((2, 3, n, d), jnp.float32) for d in (8, 5))
        k = () if shared else (q,)
        half = sum(b // 2 for b in (buckets if isinstance(buckets, tuple) else (buckets,)))
        options = {"buckets": buckets, "window": window, "causal": causal, "shared": shared, "chunk": chunk}

        def run(q, *kv, options=options, half=half):
            k, v = (None, *kv) if shared else kv
            return lsh_attention(q, k, v, jnp.ones((3, 8, half)), **options)

        model = functools.partial(cost.lsh_attention, n, 8, d_v=5, h=3, batch=2, rounds=3, **options)
        assert count.matmul_flops(run, q, *k, v) == model().matmul_flops
        out = jax.ShapeDtypeStruct((2, 3, n, 5), jnp.float32)
        assert count.matmul_flops(with_backward(run), out, q, *k, v) == model(backward=True).matmul_flops


def test_the_hidden_quadratic_is_hashing_unless_it_is_factorised():
    """With n/64 buckets: all at once, and in two factors. Attention itself is linear."""
    one, two = (
        [cost.lsh_attention(n, 64, b(n), 64, shared=True) for n in (2**14, 2**16, 2**18)]
        for b in (lambda n: n // 64, lambda n: (int((n // 64) ** 0.5),) * 2)
    )

    def exponent(costs, step):
        return math.log(costs[2][step].matmul_flops / costs[0][step].matmul_flops, 16)

    assert exponent(one, "hashing") == 2
    assert exponent(two, "hashing") == 1.5
    assert exponent(one, "scores") == pytest.approx(1, abs=0.01)
    assert one[2]["hashing"].matmul_flops > 3 * (one[2]["scores"].matmul_flops + one[2]["values"].matmul_flops)
    assert two[2]["hashing"].matmul_flops < 0.2 * (two[2]["scores"].matmul_flops + two[2]["values"].matmul_flops)
    several = cost.lsh_attention([2**14, 2**16], 64, 64, 64)
    np.testing.assert_array_equal(
        several.matmul_flops, [cost.lsh_attention(n, 64, 64, 64).matmul_flops for n in (2**14, 2**16)]
    )


def test_work_and_memory_are_linear_in_the_length():
    def of(n):
        x = jax.ShapeDtypeStruct((n, 16), jnp.float32)

        def run(q, k, v):
            return lsh_attention(q, k, v, jnp.ones((2, 16, 8)), buckets=16, window=64, causal=True)

        both = with_backward(run)
        return count.matmul_flops(both, x, x, x, x), count.memory(both, x, x, x, x)

    (few, small), (many, large) = of(4096), of(16384)
    assert many / few == pytest.approx(4, rel=0.02)
    assert large / small < 4.1


X = jnp.ones((2, 5, 4))
R = jnp.ones((3, 4, 2))


def bad(argument, expected, got, *args, **kwargs):
    given = {"q": X, "k": X, "v": X, "rotations": R} | {
        a: kwargs.pop(a) for a in ("q", "k", "v", "rotations") if a in kwargs
    }
    return argument, expected, got, lsh_attention, tuple(given.values()), {"buckets": 4, "window": 2} | kwargs


def bad_cost(argument, expected, got, **kwargs):
    return argument, expected, got, cost.lsh_attention, (), {"n": 8, "d_k": 4, "buckets": 4, "window": 2} | kwargs


BAD = [
    bad("q", "an array", "list", q=[1.0]),
    bad("v", "m = 5", "m = 4", v=X[:, :4]),
    bad("k", "None with shared", "Array", shared=True),
    bad("v", "m = 5", "m = 4", k=None, v=X[:, :4], shared=True),
    bad("k", "an array", "NoneType", k=None),
    bad("rotations", "an array", "list", rotations=[1.0]),
    bad("rotations", "a real floating-point dtype", "int32", rotations=jnp.ones((3, 4, 2), int)),
    bad("rotations", "(rounds, 4, 2)", "(4, 2)", rotations=R[0]),
    bad("rotations", "(rounds, 4, 2)", "(0, 4, 2)", rotations=R[:0]),
    bad("rotations", "(rounds, 4, 3)", "(3, 4, 2)", buckets=(2, 4)),
    *(bad("buckets", "1 or an even number", str(b), buckets=b) for b in (0, 3, 2.0, (), (2, 3), True, [2, 2])),
    bad("buckets", "fewer than 2³¹", str(2**32), buckets=(2**16, 2**16)),
    bad("window", "an integer of at least 1", "0", window=0),
    bad("chunk", "an integer of at least 1", "0", chunk=0),
    bad("shared", "True or False", "1", shared=1),
    bad("causal", "True or False", "1", causal=1),
    bad("mask", "one row for all queries", "(5, 5)", mask=jnp.ones((5, 5), bool)),
    bad("scale", "a finite real number", "nan", scale=float("nan")),
    ("key", "a key of jax.random.key", "3", init_lsh, (3, 4, 4), {}),
    ("d", "an integer of at least 1", "0", init_lsh, (jax.random.key(0), 0, 4), {}),
    ("buckets", "1 or an even number", "3", init_lsh, (jax.random.key(0), 4, 3), {}),
    ("x", "an array", "list", lsh_buckets, ([1.0], R), {"buckets": 4}),
    ("rounds", "an integer of at least 1", "0", init_lsh, (jax.random.key(0), 4, 4, 0), {}),
    ("dtype", "float32 or float64", "bfloat16", init_lsh, (jax.random.key(0), 4, 4), {"dtype": jnp.bfloat16}),
    ("buckets", "1 or an even number", "5", lsh_buckets, (X, R), {"buckets": 5}),
    ("rotations", "(rounds, 4, 1)", "(3, 4, 2)", lsh_buckets, (X, R), {"buckets": 2}),
    *(bad_cost(a, "a whole number of at least 1", "0", **{a: 0}) for a in ("n", "d_k", "m", "d_v", "h", "batch")),
    bad_cost("buckets", "1 or an even number", "3", buckets=3),
    bad_cost("window", "an integer of at least 1", "0", window=0),
    bad_cost("rounds", "an integer of at least 1", "0", rounds=0),
    bad_cost("n", "integers", "n", n=sympy.Symbol("n")),
    bad_cost("m", "n = 8", "9", m=9, shared=True),
    bad_cost("h_kv", "a divisor of h = 4", "3", h=4, h_kv=3),
    bad_cost("shared", "True or False", "1", shared=1),
    bad_cost("chunk", "an integer of at least 1", "0", chunk=0),
    bad_cost("causal", "True or False", "1", causal=1),
    bad_cost("backward", "True or False", "1", backward=1),
    bad_cost("dtype", "one of float64", "'int8'", dtype="int8"),
]


@pytest.mark.parametrize(("argument", "expected", "got", "fn", "args", "kwargs"), BAD)
def test_bad_input_is_refused(refuses, argument, expected, got, fn, args, kwargs):
    refuses(argument, expected, got, fn, *args, **kwargs)
