"""Routing attention beyond the contract: who is taken, both forms, strict causality, k-means, the cost."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from support import FULL, float64

from attnlib import attention, cost, count, init_routing, reference, routing_attention, update_centroids
from attnlib.measure.count import with_backward


def arrays(rng, *shapes, dtype=np.float32):
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


# --- balanced clusters, and nearest ones ----------------------------------------------------------------------------


@pytest.mark.parametrize("trial", range(30 if FULL else 5))
def test_values_gradients_and_counts_are_those_of_the_definition(trial):
    """More clusters than fit in one word, centroids of each head, masks; gradients by finite differences."""
    rng = np.random.default_rng(trial)
    clusters, window, causal = (3, 40, 5, 65, 7)[trial % 5], (4, 3, 30, 2, 6)[trial % 5], bool(trial % 2)
    n, m = (int(x) for x in rng.integers(1, 30, 2))
    leads = [((2, 3), (2, 1)), ((), ()), ((3, 1), (1, 2))][trial % 3]
    options = {"window": window, "causal": causal}
    with float64():
        if trial % 4 > 1:
            options["mask"] = jnp.asarray(rng.random((1, m)) < 0.7)
        args = [rng.normal(size=s) for s in ((*leads[0], n, 4), (*leads[1], m, 4), (*leads[1], m, 3))]
        centroids = rng.normal(size=(*(leads[1] if trial % 2 else ()), clusters, 4))
        do = rng.normal(size=(*np.broadcast_shapes(*leads), n, 3))
        got = jax.jit(functools.partial(routing_attention, **options, return_routed=True))(*args, centroids)
        run = jax.jit(with_backward(lambda *a: routing_attention(*a, centroids, **options)))
        out, *gradients = run(do, *args)
    exact = reference.routing_attention(*args, centroids, **options, return_routed=True)
    for a, b in zip((out, *got[1:]), exact, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
    for at, gradient in enumerate(gradients):
        way = rng.normal(size=args[at].shape)
        ends = (
            reference.routing_attention(
                *(x + e * way if i == at else x for i, x in enumerate(args)), centroids, **options
            )
            for e in (1e-6, -1e-6)
        )
        slope = (np.subtract(*ends) / 2e-6 * do).sum()
        np.testing.assert_allclose((np.asarray(gradient) * way).sum(), slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("n", "m"), [(9, 9), (5, 12), (12, 5), (1, 1)])
def test_one_cluster_and_a_wide_window_are_attention(n, m, rng):
    q, k, v, c = arrays(rng, (2, n, 4), (2, m, 4), (2, m, 3), (1, 4))
    for causal in (False, True):
        out = routing_attention(q, k, v, c, window=max(n, m), causal=causal)
        np.testing.assert_allclose(out, attention(q, k, v, causal=causal), rtol=1e-5, atol=1e-6)
    # So do several, if each takes everything: a pair counts once.
    (c,) = arrays(rng, (6, 4))
    out = routing_attention(q, k, v, c, window=max(n, m))
    np.testing.assert_allclose(out, attention(q, k, v), rtol=1e-5, atol=1e-6)


def test_who_is_taken_by_nobody_is_counted_and_gets_zeros(rng):
    q, k, v, c = arrays(rng, (64, 4), (64, 4), (64, 3), (8, 4))
    out, of_q, of_k = routing_attention(q, k, v, c, window=8, return_routed=True)
    assert of_q.sum() == of_k.sum() == 64  # balanced: 8 clusters of 8
    nobody = np.asarray(of_q == 0)
    assert 5 < nobody.sum() < 40
    assert not out[nobody].any()
    assert out[~nobody].any(axis=-1).all()
    moved = routing_attention(q, k, v + jnp.where(of_k == 0, 100.0, 0)[:, None], c, window=8)
    np.testing.assert_array_equal(moved, out)
    # Each row goes to one centroid with causal; hidden keys to none.
    mask = jnp.arange(64) % 3 > 0
    _, of_q, of_k = routing_attention(q, k, v, c, window=8, causal=True, mask=mask, return_routed=True)
    assert (of_q == 1).all()
    np.testing.assert_array_equal(of_k, mask)


def test_lengths_do_not_decide_who_is_taken_and_ties_are_taken_in_order():
    x = jnp.asarray([[1.0, 0.0], [100.0, 1.0], [0.0, 1.0], [0.0, 2.0]])
    _, of_q, _ = routing_attention(x, x, x, jnp.asarray([[1.0, 0.0]]), window=1, return_routed=True)
    assert of_q.tolist() == [1, 0, 0, 0]
    same = jnp.ones((5, 2))
    out, of_q, _ = routing_attention(same, same, jnp.eye(5), jnp.ones((2, 2)), window=2, return_routed=True)
    assert of_q.tolist() == [2, 2, 0, 0, 0]
    np.testing.assert_allclose(out[0], [0.5, 0.5, 0, 0, 0])


@pytest.mark.parametrize("causal", [False, True])
def test_edges(causal):
    """One position, one dimension, equal keys, a window longer than the sequence, huge logits, all keys hidden."""
    rng = np.random.default_rng(0)
    centroids = np.asarray([[1.0], [-1.0]], "f")
    for n, size in ((1, 1.0), (5, 0.0), (6, 1e4)):
        q, v = size * (1 + rng.random((n, 1))), rng.normal(size=(n, 2))
        k = np.full((n, 1), np.sign(size) * size**0.5)
        options = {"window": 100, "causal": causal, "scale": 1.0}
        run = jax.value_and_grad(lambda *a, o=options: routing_attention(*a, centroids, **o).sum(), (0, 1, 2))
        args = [x.astype("f") for x in (q, k, v)]
        value, slopes = run(*args)
        exact = reference.routing_attention(q, k, v, centroids, **options).sum()
        np.testing.assert_allclose(value, exact, rtol=1e-4, atol=1e-4)
        assert all(jnp.isfinite(x).all() for x in slopes)
        assert not routing_attention(*args, centroids, mask=jnp.zeros(n, bool), **options).any()


# --- strict causality -----------------------------------------------------------------------------------------------


def test_nothing_later_moves_an_earlier_output():
    """200 changes of everything after a random position, the clusters of which change with it."""
    rng = np.random.default_rng(0)
    n, d, changes = 48, 4, 200
    x = rng.normal(size=(3, n, d)).astype(np.float32)
    cuts = rng.integers(0, n, changes)
    later = np.arange(n)[None, :, None] > cuts[:, None, None]
    changed = np.where(later[:, None], rng.normal(size=(changes, 3, n, d)) * 3, x[None]).astype(np.float32)
    centroids = init_routing(jax.random.key(0), d, 5)

    def run(x):
        return routing_attention(*x, centroids, window=4, causal=True, chunk=4)

    before, after = (np.asarray(y) for y in (jax.jit(run)(x), jax.jit(jax.vmap(run))(changed)))
    assert np.abs(after - before)[later[:, :, 0]].max() > 0.1
    np.testing.assert_allclose(np.where(later, 0, after - before), 0, atol=1e-6)


def test_balanced_clusters_under_a_causal_mask_leak(rng):
    """What published programs do: a later row takes the place of an earlier one in a cluster."""
    n, d, window = 32, 4, 6
    q, v, c = rng.normal(size=(n, d)), rng.normal(size=(n, 2)), rng.normal(size=(5, d))

    def published(q):
        of = reference.taken(q, c, window, True)
        seen = (of[:, :, None] & of[:, None, :]).any(axis=0) & np.tri(n, dtype=bool)
        return reference.attention(q, q, v, mask=seen)

    other = q.copy()
    other[n // 2 :] = rng.normal(size=(n // 2, d))
    assert np.abs(published(other) - published(q))[: n // 2].max() > 0.1
    ours = [
        routing_attention(x, x, v, c, window=window, causal=True)[: n // 2]
        for x in (q.astype("f"), other.astype("f"))
    ]
    np.testing.assert_allclose(*ours, atol=1e-6)


# --- k-means --------------------------------------------------------------------------------------------------------


def test_a_step_of_k_means_is_that_of_the_definition(rng):
    x = rng.normal(size=(2, 3, 30, 4))
    mask = rng.random((2, 3, 30)) < 0.7
    for lead in ((), (3,), (2, 1), (2, 3)):
        c = rng.normal(size=(*lead, 5, 4))
        for options in ({}, {"decay": 0.5, "mask": mask}, {"decay": 0.0}):
            got = update_centroids(c.astype("f"), x.astype("f"), **options)
            assert got.shape == c.shape
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, reference.update_centroids(c, x, **options), rtol=1e-4, atol=1e-5)
    bad = np.where(mask[..., None], x, np.nan).astype("f")
    np.testing.assert_allclose(
        update_centroids(c, bad, decay=0.5),
        reference.update_centroids(c, x, decay=0.5, mask=mask),
        rtol=1e-4,
        atol=1e-5,
    )
    np.testing.assert_array_equal(update_centroids(c, x.astype("f"), mask=np.zeros(30, bool)), c.astype("f"))


def test_k_means_finds_clusters_and_routing_follows_them(rng):
    """From one row of each cluster the centroids move to their middles, and each cluster takes what belongs to it."""
    middles = np.eye(8)[:4] * 3
    of = rng.permutation(np.repeat(np.arange(4), 16))
    x = jnp.asarray(middles[of] + 0.5 * rng.normal(size=(64, 8)), jnp.float32)
    start = x[np.asarray([np.flatnonzero(of == i)[0] for i in range(4)])]
    centroids = start
    for _ in range(20):
        centroids = update_centroids(centroids, x, decay=0.5)
    np.testing.assert_allclose(jnp.linalg.norm(centroids, axis=-1), 1, rtol=1e-5)
    along = np.diagonal(np.asarray(centroids))
    assert along.min() > 0.98
    weights = routing_attention(x, x, jnp.eye(64), centroids, window=16)
    np.testing.assert_array_equal(np.asarray(weights) > 0, of[:, None] == of)
    assert jax.grad(lambda c: update_centroids(c, x).sum())(centroids).any() == np.False_


# --- cost -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
def test_flops_are_those_of_the_model(causal):
    for n, clusters, window, chunk in ((300, 40, 16, None), (2000, 3, 700, 16 if causal else None)):
        q, k, v, out = (
            jax.ShapeDtypeStruct(s, jnp.float32) for s in ((2, 3, n, 8), (2, 1, n, 8), (2, 1, n, 5), (2, 3, n, 5))
        )
        options = {"window": window, "causal": causal, "chunk": chunk}

        def run(*args, options=options, clusters=clusters):
            return routing_attention(*args, jnp.ones((clusters, 8)), **options)

        model = functools.partial(cost.routing_attention, n, 8, clusters, d_v=5, h=3, h_kv=1, batch=2, **options)
        assert count.matmul_flops(run, q, k, v) == model().matmul_flops
        assert count.matmul_flops(with_backward(run), out, q, k, v) == model(backward=True).matmul_flops


def test_the_best_number_of_clusters_makes_it_n_to_the_three_halves():
    """4nCd for similarities and 4n²d/C for scores and values: least at C = √n."""
    n, d = 2**14, 64
    totals = {c: cost.routing_attention(n, d, c, n // c).matmul_flops for c in (32, 64, 128, 256, 512)}
    assert min(totals, key=totals.get) == 128
    assert totals[128] == pytest.approx(8 * n**1.5 * d, rel=0.1)
    longer = cost.routing_attention(4 * n, d, 256, 256).matmul_flops
    assert math.log(longer / totals[128], 4) == pytest.approx(1.5, abs=0.05)
    for causal in (False, True):
        several = cost.routing_attention([n, 2 * n], d, 128, 128, causal=causal)
        one = [cost.routing_attention(x, d, 128, 128, causal=causal).matmul_flops for x in (n, 2 * n)]
        np.testing.assert_array_equal(several.matmul_flops, one)


@pytest.mark.parametrize("causal", [False, True])
def test_memory_is_linear_in_the_length(causal):
    def of(n):
        x, c = jax.ShapeDtypeStruct((n, 16), jnp.float32), jax.ShapeDtypeStruct((16, 16), jnp.float32)

        def run(q, k, v, c):
            return routing_attention(q, k, v, c, window=64, causal=causal)

        return count.memory(with_backward(run), x, x, x, x, c)

    assert of(16384) / of(4096) < 4.1


X = jnp.ones((2, 5, 4))
C = jnp.ones((3, 4))


def bad(argument, expected, got, **kwargs):
    given = {"q": X, "k": X, "v": X, "centroids": C}
    given |= {a: kwargs.pop(a) for a in given if a in kwargs}
    return argument, expected, got, routing_attention, tuple(given.values()), {"window": 2} | kwargs


def bad_cost(argument, expected, got, **kwargs):
    return (
        argument,
        expected,
        got,
        cost.routing_attention,
        (),
        {"n": 8, "d_k": 4, "clusters": 4, "window": 2} | kwargs,
    )


BAD = [
    bad("q", "an array", "list", q=[1.0]),
    bad("k", "an array", "list", k=[1.0]),
    bad("v", "m = 5", "m = 4", v=X[:, :4]),
    bad("centroids", "an array", "list", centroids=[1.0]),
    bad("centroids", "d_k = 4", "d_k = 3", centroids=C[:, :3]),
    bad("centroids", "(..., clusters, d_k)", "(4,)", centroids=C[0]),
    bad("centroids", "leading axes that broadcast to (2,)", "(3,)", centroids=jnp.ones((3, 3, 4))),
    bad("clusters", "3, as there are centroids", "4", clusters=4),
    bad("clusters", "an integer of at least 1", "0", clusters=0),
    bad("window", "an integer of at least 1", "0", window=0),
    bad("chunk", "None without causal", "4", chunk=4),
    bad("chunk", "an integer of at least 1", "0", chunk=0, causal=True),
    bad("causal", "True or False", "1", causal=1),
    bad("return_routed", "True or False", "1", return_routed=1),
    bad("mask", "one row for all queries", "(5, 5)", mask=jnp.ones((5, 5), bool)),
    bad("scale", "a finite real number", "nan", scale=float("nan")),
    ("key", "a key of jax.random.key", "3", init_routing, (3, 4, 4), {}),
    ("d", "an integer of at least 1", "0", init_routing, (jax.random.key(0), 0, 4), {}),
    ("clusters", "an integer of at least 1", "0", init_routing, (jax.random.key(0), 4, 0), {}),
    ("dtype", "float32 or float64", "bfloat16", init_routing, (jax.random.key(0), 4, 4), {"dtype": jnp.bfloat16}),
    ("centroids", "d = 4", "d = 3", update_centroids, (C[:, :3], X), {}),
    ("x", "leading axes (7,)", "()", update_centroids, (jnp.ones((7, 3, 4)), X[0]), {}),
    ("decay", "a number from 0 to 1", "2", update_centroids, (C, X), {"decay": 2}),
    ("mask", "dtype bool", "float32", update_centroids, (C, X), {"mask": jnp.ones(5)}),
    *(
        bad_cost(a, "a whole number of at least 1", "0", **{a: 0})
        for a in ("n", "d_k", "clusters", "m", "d_v", "h", "batch")
    ),
    bad_cost("window", "an integer of at least 1", "0", window=0),
    bad_cost("chunk", "None without causal", "4", chunk=4),
    bad_cost("n", "integers", "symbols", n=sympy.Symbol("n")),
    bad_cost("h_kv", "a divisor of h = 4", "3", h=4, h_kv=3),
    bad_cost("causal", "True or False", "1", causal=1),
    bad_cost("backward", "True or False", "1", backward=1),
    bad_cost("dtype", "one of float64", "'int8'", dtype="int8"),
]


@pytest.mark.parametrize(("argument", "expected", "got", "fn", "args", "kwargs"), BAD)
def test_bad_input_is_refused(refuses, argument, expected, got, fn, args, kwargs):
    refuses(argument, expected, got, fn, *args, **kwargs)
