"""Selection beyond the contract: which keys, of equal ones the earlier, by whom, and what of it stays quadratic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from support import float64

from attnlib import attention, cost, count, reference, spread, topk_attention, topk_select
from attnlib.cost.topk import group_size
from attnlib.measure.count import with_backward


def arrays(rng, *shapes, dtype=np.float32):
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def indexer(rng, n, m, lead=(), heads=3, width=2):
    """Queries, keys and weights of an indexer."""
    shapes = ((*lead, n, heads * width), (*lead, m, width), (*lead, n, heads))
    return dict(zip(("index_q", "index_k", "index_weights"), arrays(rng, *shapes), strict=True))


# --- which keys -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m", "top"), [(9, 9, 4), (5, 300, 3), (70, 40, 50), (1, 1, 1), (66, 150, 2)])
def test_of_equal_scores_the_earlier_key_is_taken(n, m, top, rng):
    """Few different scores, exact in any order of summation: groups of keys, masks and the line of causality."""
    q, k = jnp.asarray(rng.integers(-1, 2, (2, n, 2)), jnp.float32), jnp.asarray(rng.integers(-1, 2, (m, 2)), "f")
    w = jnp.asarray(rng.integers(-1, 2, (n, 2)), jnp.float32)
    for kwargs in (
        {},
        {"causal": True},
        {"mask": jnp.asarray(rng.random((2, n, m)) < 0.3)},
        {"index_weights": w, "causal": True, "mask": jnp.asarray(rng.random((1, m)) < 0.6)},
    ):
        keys = k[..., :1] if "index_weights" in kwargs else k
        got = topk_select(q, keys, top=top, **kwargs)
        np.testing.assert_array_equal(got, reference.topk_select(q, keys, top=top, **kwargs))
        assert got.dtype == jnp.int32
        assert got.shape == (2, n, min(top, m))


def test_the_earliest_keys_if_all_are_equal():
    for m in (5, 500):
        chosen = topk_select(jnp.ones((3, 4)), jnp.ones((m, 4)), top=4)
        assert chosen.tolist() == [[0, 1, 2, 3]] * 3
    k, v = jnp.ones((6, 4)), jnp.arange(6.0)[:, None]
    np.testing.assert_allclose(topk_attention(jnp.ones((1, 4)), k, v, top=3), [[1.0]], rtol=1e-6)


def test_bad_numbers_are_the_highest_where_they_are_seen():
    k = jnp.asarray([[0.0], [jnp.nan], [3.0], [jnp.inf], [-jnp.inf]])
    assert topk_select(jnp.ones((1, 1)), k, top=5).tolist() == [[1, 3, 2, 0, 4]]
    seen = jnp.asarray([True, False, True, False, True])
    assert topk_select(jnp.ones((1, 1)), k, top=5, mask=seen).tolist() == [[2, 0, 4, -1, -1]]


@pytest.mark.parametrize(("m", "top"), [(1, 1), (50, 3), (257, 4), (400, 100), (33, 33)])
def test_groups_find_what_a_search_among_all_finds(m, top, rng):
    """Near ties, too: values of three kinds, crowded together and spread."""
    assert (group_size(m, top) > 1) == (m >= 4 * top)
    for x in (rng.normal(size=m), rng.integers(0, 3, m), np.sort(rng.integers(0, 9, m))):
        k = jnp.asarray(x, jnp.float32)[:, None]
        chosen = topk_select(jnp.ones((2, 1)), k, top=top)
        assert chosen[1].tolist() == np.argsort(-np.asarray(k[:, 0]), kind="stable")[:top].tolist()


# --- what it attends to ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m"), [(23, 23), (7, 23), (23, 7), (1, 1)])
def test_with_as_many_as_there_are_it_is_attention(n, m, rng):
    """Whoever selects; with gradients, masks and both orders."""
    q, k, v = arrays(rng, (2, n, 4), (2, m, 4), (2, m, 3))
    mask, do = jnp.asarray(rng.random((2, n, m)) < 0.7), jnp.asarray(rng.normal(size=(2, n, 3)), jnp.float32)
    for causal, by in ((False, {}), (True, indexer(rng, n, m))):

        def run(f, causal=causal, **kwargs):
            return jax.jit(with_backward(lambda *x: f(*x, causal=causal, mask=mask, **kwargs)))(do, q, k, v)

        whole = run(attention)
        for top in (m, m + 5):
            for a, b in zip(run(topk_attention, top=top, **by), whole, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_an_indexer_selects_and_the_true_scores_weigh(causal, rng):
    """One selection for the heads of a sequence; gradients go through the selected pairs, and none to the indexer."""
    with float64():
        q, k, v, do = arrays(rng, (2, 3, 70, 4), (2, 1, 90, 4), (2, 1, 90, 3), (2, 3, 70, 3), dtype=np.float64)
        by = {a: x.astype(np.float64) for a, x in indexer(rng, 70, 90, (2, 1)).items()}
        chosen = reference.topk_select(**by, top=5, causal=causal)
        seen = jnp.asarray((chosen[..., None] == np.arange(90)).any(axis=-2))
        assert not np.array_equal(chosen, reference.topk_select(q, k, top=5, causal=causal)[:, :1])

        def run(f, **kwargs):
            loss = jax.value_and_grad(lambda *a: (f(*a[:3], scale=a[3], **kwargs) * do).sum(), (0, 1, 2, 3))
            return jax.tree.leaves(jax.jit(loss)(q, k, v, jnp.float64(0.4)))

        got, exact = run(topk_attention, top=5, causal=causal, **by), run(attention, mask=seen)
        for a, b in zip(got, exact, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
        none = jax.grad(lambda by: topk_attention(q, k, v, top=5, causal=causal, **by).sum())(by)
        assert not any(x.any() for x in jax.tree.leaves(none))


def test_a_negative_scale_turns_the_true_scores(rng):
    q, k, v = arrays(rng, (9, 4), (30, 4), (30, 3))
    for scale in (-0.5, jnp.float32(-0.5)):
        out = topk_attention(q, k, v, top=3, scale=scale)
        np.testing.assert_allclose(out, reference.topk_attention(q, k, v, top=3, scale=-0.5), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(out, topk_attention(-q, k, v, top=3, scale=0.5), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("change", ["redraw", "nan"])
def test_nothing_later_moves_an_output(change, rng):
    """In 200 perturbations of what comes after a query, of the indexer too."""
    n, trials = 70, 200
    x = [*arrays(rng, (n, 4), (n, 4), (n, 3)), *indexer(rng, n, n).values()]

    def fn(q, k, v, *by):
        by = dict(zip(("index_q", "index_k", "index_weights"), by, strict=True))
        return topk_attention(q, k, v, top=3, causal=True, **by)

    run = jax.jit(jax.vmap(fn))
    before = np.asarray(run(*(a[None] for a in x)))[0]
    last = rng.integers(0, n - 1, trials)
    later = (np.arange(n) > last[:, None])[..., None]
    noise = [np.nan if change == "nan" else rng.normal(size=(trials, *a.shape)) for a in x]
    after = run(*(np.where(later, e, a).astype(np.float32) for e, a in zip(noise, x, strict=True)))
    moved = np.abs(np.asarray(after) - before).max(axis=-1)
    assert (np.where(later[..., 0], 0, moved) < 1e-6).all()
    if change == "redraw":
        assert (moved[later[..., 0]] > 1e-2).any()


def test_what_is_not_selected_reaches_nothing(rng):
    q, k, v = arrays(rng, (40, 4), (50, 4), (50, 3))
    by = indexer(rng, 40, 50)
    chosen = np.asarray(topk_select(**by, top=3))
    (free,) = np.nonzero(np.bincount(chosen.ravel(), minlength=50) == 0)
    taken = chosen[0, 0]
    run = jax.jit(with_backward(lambda *a: topk_attention(*a, top=3, **by)))
    clean = run(jnp.ones((40, 3)), q, k, v)
    dirty = run(jnp.ones((40, 3)), q, k.at[free].set(jnp.nan), v.at[free].set(jnp.inf))
    assert len(free)
    for a, b in zip(clean, dirty, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not clean[2][free].any()
    seen = (chosen == taken).any(axis=1)
    dirty = run(jnp.ones((40, 3)), q, k, v.at[taken, 1].set(jnp.nan))
    for a, b in zip(clean[:2], dirty[:2], strict=True):
        assert np.isnan(b[seen]).all()
        np.testing.assert_array_equal(a[~seen], b[~seen])


@pytest.mark.skipif(jax.device_count() != 2, reason="needs the two devices of the test session")
def test_an_indexer_is_spread_with_what_it_selects_for(rng):
    q, k, v = arrays(rng, (2, 3, 9, 4), (2, 1, 11, 4), (2, 1, 11, 3))
    by = indexer(rng, 9, 11, (2, 1))
    out = spread(topk_attention)(q, k, v, top=3, **by)
    np.testing.assert_allclose(out, topk_attention(q, k, v, top=3, **by), rtol=1e-5, atol=1e-6)
    assert len(out.sharding.device_set) == 2


# --- what it costs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m", "top"), [(1, 1, 1), (100, 100, 3), (70, 300, 60), (130, 9, 20)])
def test_counts_for_all_lengths(n, m, top):
    q, k, v, do = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((4, n, 5), (1, m, 5), (1, m, 3), (4, n, 3)))
    shapes = {"index_q": (n, 6), "index_k": (m, 2), "index_weights": (n, 3)}
    by = {a: jnp.zeros(s) for a, s in shapes.items()}
    for kwargs, told in (({"causal": True}, {}), (by, {"d_index": 2, "h_index": 3})):

        def program(*a, kw=kwargs):
            return topk_attention(*a, top=top, **kw)

        model = {"m": m, "d_v": 3, "h": 4, "h_kv": 1, **told}
        forward, both = (cost.topk_attention(n, 5, top, backward=b, **model) for b in (False, True))
        assert forward.matmul_flops == count.matmul_flops(program, q, k, v)
        assert both.matmul_flops == count.matmul_flops(with_backward(program), do, q, k, v)
        assert type(both.matmul_flops) is int
        lengths = cost.topk_attention(np.array([n, 4096]), 5, top, backward=True, **model)
        assert lengths.matmul_flops[0] == both.matmul_flops
        assert lengths.live[0] == both.live


def test_attention_is_linear_and_the_indexer_is_not():
    n, m, t, d, w = sympy.symbols("n m t d w", positive=True)
    model = cost.topk_attention(n, d, t, m=m, d_index=w, h_index=4, h=8)
    assert sympy.simplify(model["indexer"].matmul_flops - 2 * n * m * 4 * w) == 0
    assert sympy.simplify(model["scores"].matmul_flops - 2 * 8 * n * sympy.Min(t, m) * d) == 0
    exact = cost.topk_attention(8192, 64, 64, d_index=32, h_index=4, h=8)
    assert exact["indexer"].matmul_flops == 2 * 8192**2 * 4 * 32
    assert exact["values"].matmul_flops == 2 * 8 * 8192 * 64 * 64
    assert exact["gathers"].bytes_written == 8 * 8192 * 64 * 128 * 4
    # A model of 2025, at its full context: the indexer is 16 times what it leaves.
    long = cost.topk_attention(131072, 128, 2048, d_index=128, h_index=64, h=128)
    assert round(long["indexer"].matmul_flops / (long["scores"].matmul_flops + long["values"].matmul_flops)) == 16
    assert cost.topk.state(100, 5, 3, top=7) == 800


def test_memory_is_linear_in_the_length():
    def program(q, k, v):
        return topk_attention(q, k, v, top=16, causal=True)

    shapes = [jax.ShapeDtypeStruct((1, n, 8), jnp.float32) for n in (4096, 8192)]
    memory = [count.memory(with_backward(program), x, x, x, x) for x in shapes]
    assert 1.5 < memory[1] / memory[0] < 2.1
    assert memory[1] < 8192 * 8192 / 4  # bytes, of which n × n numbers would take 16 times as many


# --- bad input ------------------------------------------------------------------------------------------------------

X = jnp.ones((2, 5, 4))
BY = {"index_q": X[..., :2], "index_k": X[..., :2]}
HEADS = {"index_q": X, "index_k": X[..., :2], "index_weights": X[..., :2]}


def bad(argument, expected, got, **kwargs):
    given = {"q": X, "k": X, "v": X} | {a: kwargs.pop(a) for a in ("q", "k", "v") if a in kwargs}
    return argument, expected, got, topk_attention, tuple(given.values()), {"top": 2} | kwargs


def bad_select(argument, expected, got, **kwargs):
    return argument, expected, got, topk_select, (), {**BY, "top": 2} | kwargs


def bad_cost(argument, expected, got, **kwargs):
    return argument, expected, got, cost.topk_attention, (), {"n": 8, "d_k": 4, "top": 2} | kwargs


BAD = [
    bad("q", "an array", "list", q=[1.0]),
    bad("k", "d_k = 4", "d_k = 3", k=X[..., :3]),
    bad("v", "m = 5", "m = 4", v=X[:, :4]),
    *(make("top", "an integer of at least 1", repr(top), top=top) for make in (bad, bad_select) for top in (0, 2.0)),
    *(make("causal", "True or False", "1", causal=1) for make in (bad, bad_select)),
    *(make("mask", "dtype bool", "float32", mask=X) for make in (bad, bad_select)),
    bad("mask", "broadcasts to (2, 5, 5)", "(4, 1)", mask=jnp.ones((4, 1), bool)),
    bad_select("mask", "leading axes that broadcast", "(3,)", mask=jnp.ones((3, 5, 5), bool)),
    bad("scale", "a finite real number", "nan", scale=float("nan")),
    bad("index_k", "an array beside index_q", "None", index_q=X),
    bad("index_q", "an array beside index_k", "None", index_k=X),
    bad("index_weights", "None without index_q", "an array", index_weights=X),
    bad("index_q", "n = 5", "4", **{**BY, "index_q": X[:, :4, :2]}),
    bad("index_k", "m = 5", "4", **{**BY, "index_k": X[:, :4, :2]}),
    bad("index_q", "leading axes that broadcast", "(3, 2)", **{**BY, "index_q": jnp.ones((3, 2, 5, 2))}),
    *(
        case
        for make in (bad, bad_select)
        for case in (
            make("index_q", "an array", "list", **{**BY, "index_q": [1.0]}),
            make("index_k", "floating-point", "int32", **{**BY, "index_k": jnp.ones((5, 2), jnp.int32)}),
            make("index_q", "shape (..., n, d_I)", "(2,)", **{**BY, "index_q": jnp.ones(2)}),
            make("index_k", "shape (..., m, d_I)", "(2,)", **{**BY, "index_k": jnp.ones(2)}),
            make("index_q", "h_I · d_I = 1 · 3", "2", **{**BY, "index_k": X[..., :3]}),
            make("index_q", "h_I · d_I = 3 · 2", "4", **{**HEADS, "index_weights": X[..., :3]}),
            make("index_weights", "n = 5", "n = 4", **{**HEADS, "index_weights": X[:, :4, :2]}),
        )
    ),
    *(
        bad_cost(a, "a whole number of at least 1", "0", **{a: 0})
        for a in ("n", "d_k", "top", "m", "d_v", "h", "batch")
    ),
    bad_cost("d_index", "a whole number of at least 1", "0", d_index=0),
    bad_cost("h_index", "a whole number of at least 1", "0", d_index=4, h_index=0),
    bad_cost("h_index", "1 without d_index", "2", h_index=2),
    bad_cost("h_kv", "a divisor of h = 4", "3", h=4, h_kv=3),
    bad_cost("causal", "True or False", "1", causal=1),
    bad_cost("backward", "True or False", "1", backward=1),
    bad_cost("dtype", "one of float64", "'int8'", dtype="int8"),
]
