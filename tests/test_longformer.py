"""A window with global tokens beyond the contract: which tokens, projections of their own, limits, costs, devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from contract import export
from jax.sharding import NamedSharding, PartitionSpec
from support import FULL, float64

from attnlib import attention, cost, count, graph, longformer_attention, reference, spread, window_attention
from attnlib.cost.longformer import rows_of, state
from attnlib.measure.count import with_backward

GLOBAL = ("global_q", "global_k", "global_v")


def arrays(rng, *shapes, dtype=np.float32):
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def problem(trial):
    """A random problem of every kind: q, k, v, those of global tokens, and options."""
    rng = np.random.default_rng(trial)
    n, m = ((9, 9), (12, 12), (7, 13), (13, 7), (1, 5), (5, 1))[trial % 6]
    q_lead, k_lead = [((), ()), ((2, 3), (2, 1)), ((2, 1), (1, 2)), ((2,), ())][trial % 4]
    lead = np.broadcast_shapes(q_lead, k_lead)
    shapes = (*q_lead, n, 4), (*k_lead, m, 4), (*k_lead, m, 3)
    args, own = ([rng.normal(size=s) for s in shapes] for _ in range(2))
    options = {"window": [1, 3, (2, 0), (0, 4)][rng.integers(4)], "causal": bool(rng.integers(2))}
    if trial % 2:
        options["global_tokens"] = int(rng.integers(0, 7))
    else:
        options["max_global"] = int(rng.integers(1, 6))
        tokens = rng.random((*lead[rng.integers(len(lead) + 1) :], m)) < 0.4
        options["global_tokens"] = tokens & (tokens.cumsum(axis=-1) <= options["max_global"])
    if rng.integers(2):
        options["mask"] = rng.random([(n, m), (m,), (1, m), (*lead, n, 1)][rng.integers(4)]) < 0.8
    return args, (own if trial % 3 else []), options, rng.normal(size=(*lead, n, 3))


@pytest.mark.parametrize("trial", range(60 if FULL else 6))
def test_agrees_with_its_definition(trial):
    """Values and gradients in float64: masks, leading axes, n ≠ m, both kinds of global tokens, own projections."""
    args, own, options, do = problem(trial)
    names = GLOBAL[: len(own)]

    def fn(q, k, v, *own):
        return longformer_attention(q, k, v, **dict(zip(names, own, strict=True)), **options)

    def dense(q, k, v, *own):
        own = own or (q, k, v)
        n, m = q.shape[-2], k.shape[-2]
        tokens, near = options["global_tokens"], reference.visible(n, m, window=options["window"])
        tokens = np.arange(m) < tokens if isinstance(tokens, int) else tokens
        place = np.arange(n) + m - n
        rows = (place >= 0) & tokens[..., np.maximum(place, 0)]
        given = {"causal": options["causal"], "mask": options.get("mask", np.ones((1, 1), bool))}
        seen = near | tokens[..., None, :]
        local = attention(q, k, v, causal=options["causal"], mask=jnp.asarray(seen & given["mask"]))
        return jnp.where(rows[..., None], attention(*own, **given), local)

    with float64():
        given = [jnp.asarray(x) for x in (do, *args, *own)]
        ours = jax.jit(with_backward(fn))(*given)
        with jax.numpy_rank_promotion("allow"):
            theirs = jax.jit(with_backward(dense))(*given)
    exact = reference.longformer_attention(*args, **dict(zip(names, own, strict=True)), **options)
    np.testing.assert_allclose(ours[0], exact, rtol=1e-10, atol=1e-12)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("causal", [False, True])
def test_where_it_is_softmax_attention(causal, rng):
    """A window that holds all, or nothing but global tokens; without global tokens a window."""
    with float64():
        for n, m in ((9, 9), (5, 11), (11, 5)):
            q, k, v = arrays(rng, (2, n, 4), (2, m, 4), (2, m, 3), dtype=np.float64)
            whole = attention(q, k, v, causal=causal)
            every = jnp.ones(m, bool)
            for options in (
                {"window": 11, "global_tokens": 0},
                {"window": 11, "global_tokens": 3},
                {"window": (10, 10), "global_tokens": jnp.arange(m) % 3 == 1, "max_global": 4},
                *([{"window": 1, "global_tokens": every, "max_global": m}] if n <= m else []),
                *([{"window": 1, "global_tokens": 99}] if n <= m or causal else []),
            ):
                out = jax.jit(functools.partial(longformer_attention, causal=causal, **options))(q, k, v)
                np.testing.assert_allclose(out, whole, rtol=1e-12, atol=1e-13)
            out = longformer_attention(q, k, v, window=3, global_tokens=0, causal=causal)
            near = window_attention(q, k, v, r=3 if causal else 5, causal=causal)
            np.testing.assert_allclose(out, near, rtol=1e-12, atol=1e-13)


def test_two_hundred_changes_of_the_future_move_no_past(rng):
    n, trials = 24, 200
    q, k, v, *own = arrays(rng, *[(n, 4), (n, 4), (n, 3)] * 2)
    tokens = jnp.asarray(rng.random(n) < 0.2).at[17].set(True)

    @jax.jit
    def both(q, k, v, *own):
        given = dict(zip(GLOBAL, own, strict=True))
        return (
            longformer_attention(q, k, v, window=3, global_tokens=2, causal=True, **given),
            longformer_attention(q, k, v, window=(4, 0), global_tokens=tokens, max_global=10, causal=True, **given),
        )

    before = both(q, k, v, *own)
    for i in range(trials):
        last = int(rng.integers(0, n - 1))
        size = [1.0, 1e4, np.nan, np.inf][i % 4]
        changed = [x.at[last + 1 :].add(jnp.asarray(size * rng.normal(size=x[last + 1 :].shape), x.dtype))
                   for x in (q, k, v, *own)]  # fmt: skip
        for a, b in zip(both(*changed), before, strict=True):
            np.testing.assert_array_equal(a[: last + 1], b[: last + 1])


def test_only_so_many_of_an_array_are_global(rng, untyped):
    """Traced, tokens beyond the limit are as others; where numbers are known they are refused."""
    q, k, v = arrays(rng, (3, 10, 4), (3, 10, 4), (3, 10, 3))
    tokens = rng.random((3, 10)) < 0.6
    options = {"window": 2, "max_global": 3}
    got = jax.jit(lambda t: longformer_attention(q, k, v, global_tokens=t, **options))(tokens)
    few = tokens & (tokens.cumsum(axis=-1) <= 3)
    np.testing.assert_allclose(got, longformer_attention(q, k, v, global_tokens=few, **options), rtol=1e-6, atol=1e-6)
    exact = reference.longformer_attention(q, k, v, global_tokens=tokens, **options)
    np.testing.assert_allclose(got, exact, rtol=1e-5, atol=2e-6)
    with pytest.raises(ValueError, match=rf"max_global: expected at least {tokens.sum(axis=-1).max()}"):
        longformer_attention(q, k, v, global_tokens=tokens, **options)


@pytest.mark.parametrize("tokens", [2, np.arange(8) % 4 == 1], ids=["first", "named"])
def test_nothing_bad_comes_through_what_is_hidden(tokens, rng):
    """A NaN in a hidden key, and in what global rows do not read because they have projections of their own."""
    q, k, v, *own, do = arrays(rng, *[(8, 4), (8, 4), (8, 3)] * 2, (8, 3))
    mask = jnp.ones((8, 8), bool).at[:, 6].set(False)
    limit = {} if isinstance(tokens, int) else {"max_global": 2}

    def fn(q, k, v, *own):
        given = dict(zip(GLOBAL, own, strict=True))
        return longformer_attention(q, k, v, window=2, global_tokens=tokens, mask=mask, **given, **limit)

    run = jax.jit(with_backward(fn))
    row = 1
    clean = run(do, q, k, v, *own)
    bad = run(
        do, q.at[row].set(np.nan), k.at[6].set(np.inf), v.at[6].set(np.nan), own[0].at[4].set(np.nan),
        own[1].at[6].set(np.nan), own[2].at[6].set(np.nan),
    )  # fmt: skip
    for a, b in zip(bad, clean, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    hidden = longformer_attention(q, k, v, window=2, global_tokens=tokens, mask=jnp.zeros((1, 8), bool), **limit)
    assert not hidden.any()


def shapes(n, m, d_k=4, d_v=3):
    return [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((2, n, d_v), (2, n, d_k), (1, m, d_k), (1, m, d_v))]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("which", ["global_tokens", "max_global"])
def test_costs_are_those_counted(which, causal):
    for i, (n, m, window, g) in enumerate(((9, 9, 2, 2), (5, 13, 3, 10), (13, 5, (2, 1), 2), (6, 6, 50, 20))):
        blocks = {"block_q": 2, "block_k": 3} if i % 2 else {}
        named = {"global_tokens": jnp.zeros(m, bool), "max_global": g}
        tokens = named if which == "max_global" else {"global_tokens": g}
        fn = functools.partial(longformer_attention, window=window, causal=causal, **tokens, **blocks)
        given = {which: g, "m": m, "d_v": 3, "h": 2, "h_kv": 1, "causal": causal, **blocks}
        model = cost.longformer_attention(n, 4, window, **given, backward=True)
        do, *args = shapes(n, m)
        assert count.matmul_flops(with_backward(fn), do, *args) == model.matmul_flops
        forward = cost.longformer_attention(n, 4, window, **given)
        assert count.matmul_flops(fn, *args) == forward.matmul_flops


def test_work_is_linear_and_counted_in_pairs():
    def pairs(n, g, **options):
        model = cost.longformer_attention(n, 1, (16, 16), g, block_q=1, block_k=1, **options)
        return model.matmul_flops // 4

    # Blocks of one pair: the window of what is not global, g keys for these, all keys for g queries.
    assert pairs(1000, 10) == cost.window_pairs(990, 33, causal=False) + 990 * 10 + 10 * 1000
    assert pairs(1000, 10, causal=True) == cost.window_pairs(990, 17) + 990 * 10 + 10 * 11 // 2
    long, short = (cost.longformer_attention(n, 64, 257, 16).matmul_flops for n in (65536, 32768))
    assert 1.95 < long / short < 2.05
    assert cost.longformer_attention(8192, 4, 65, 16).path == 2
    assert (
        cost.longformer_attention(8192, 4, 65, 0).path == cost.longformer_attention(8192, 4, 65, 1, causal=True).path
    )
    assert cost.longformer_attention(8192, 4, 65, 0).path == 128
    reads = lambda layer, i: range(64) if i == 0 else {0, *range(max(i - 3, 0), min(i + 4, 64))}  # noqa: E731
    assert graph.path_length(reads, 64) <= cost.longformer_attention(64, 4, 4, 1).path == 2
    assert state(100, 4, 3, window=8, global_tokens=5) == 13 * 7
    assert state(6, 4, 3, window=(7, 2), max_global=5) == 6 * 7
    for n, m, g, causal in ((8, 8, 3, True), (5, 9, 6, False), (9, 5, 2, True), (9, 5, 2, False), (9, 5, 7, True)):
        start, first, last, columns = rows_of(n, m, g, causal)
        place = np.arange(n) + m - n
        assert np.flatnonzero((place >= 0) & (place < g)).tolist() == list(range(first, last))
        assert columns == min(g, m)
        assert start in (0, last)


@pytest.mark.parametrize("which", ["first", "named"])
def test_memory_is_linear(which):
    def temporary(n):
        x, t = jax.ShapeDtypeStruct((n, 32), jnp.float32), jax.ShapeDtypeStruct((n,), jnp.bool_)
        named = {"max_global": 8} if which == "named" else {}

        def loss(q, k, v, t):
            return longformer_attention(
                q, k, v, window=64, global_tokens=t if named else 8, causal=True, **named
            ).sum()

        return count.memory(jax.grad(loss, (0, 1, 2)), x, x, x, t)

    assert temporary(16384) < 2.1 * temporary(8192)


def test_everywhere(rng):
    """jit, vmap, spread, a mesh, other platforms, half precision."""
    q, k, v = arrays(rng, (2, 2, 11, 4), (2, 1, 11, 4), (2, 1, 11, 4))
    tokens = jnp.asarray(rng.random((2, 1, 11)) < 0.3)
    mask = jnp.asarray(rng.random((2, 1, 11, 11)) < 0.8)
    for named in ({"global_tokens": tokens, "max_global": 8}, {"global_tokens": 3}):
        given = {"window": 3, "causal": True, **named}
        whole = jax.jit(functools.partial(longformer_attention, mask=mask, global_q=2 * q, **given))(q, k, v)
        shared = spread(longformer_attention)(q, k, v, mask=mask, global_q=2 * q, **given)
        np.testing.assert_allclose(shared, whole, rtol=1e-5, atol=1e-6)
        mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
        there = NamedSharding(mesh, PartitionSpec("x"))
        with jax.set_mesh(mesh) if hasattr(jax, "set_mesh") else jax.sharding.use_mesh(mesh):
            fn = jax.jit(lambda q, k, v, g=given: longformer_attention(q, k, v, mask=mask, global_q=2 * q, **g))
            on = fn(*(jax.device_put(x, there) for x in (q, k, v)))
            assert on.sharding.spec[0] == "x"
        np.testing.assert_allclose(on, whole, rtol=1e-5, atol=1e-6)
        several = jax.jit(jax.vmap(lambda q, k, v, t, g=given: longformer_attention(
            q, k, v, **{**g, "global_tokens": t if "max_global" in g else 3}
        )))(q, k, v, tokens)  # fmt: skip
        np.testing.assert_allclose(several, longformer_attention(q, k, v, **given), rtol=1e-5, atol=1e-6)
        half = longformer_attention(*(x.astype(jnp.bfloat16) for x in (q, k, v)), **given)
        assert half.dtype == jnp.bfloat16
        for platform in ("cpu", "cuda", "tpu"):
            fn = jax.jit(jax.grad(lambda *a, g=given: longformer_attention(*a, **g).sum()))
            assert export.export(fn, platforms=[platform])(q, k, v).platforms == (platform,)


X, T = jnp.ones((2, 5, 4)), np.arange(5) < 2


def bad(argument, expected, got, **kwargs):
    arrays = {"q": X, "k": X, "v": X} | {a: kwargs.pop(a) for a in ("q", "k", "v") if a in kwargs}
    options = {"window": 2, "global_tokens": 1} | kwargs
    return argument, expected, got, longformer_attention, tuple(arrays.values()), options


def bad_cost(argument, expected, got, **kwargs):
    options = {"n": 8, "d_k": 4, "window": 3, "global_tokens": 2} | kwargs
    return argument, expected, got, cost.longformer_attention, (), options


BAD = [
    bad("q", "an array", "list", q=[1.0]),
    bad("k", "d_k = 4", "d_k = 3", k=X[..., :3]),
    bad("v", "m = 5", "m = 4", v=X[:, :4]),
    bad("window", "an integer of at least 1", "0", window=0),
    bad("window", "a pair (left, right)", "None", window=None),
    bad("global_tokens", "an integer of at least 0", "-1", global_tokens=-1),
    bad("global_tokens", "an integer of at least 0", "True", global_tokens=True),
    bad("global_tokens", "an integer or a boolean array", "None", global_tokens=None),
    bad("global_tokens", "an integer or a boolean array", "int32", global_tokens=np.zeros(5, np.int32), max_global=2),
    bad("global_tokens", "ends with m = 5", "(4,)", global_tokens=T[:4], max_global=2),
    bad("global_tokens", "the leading axes (2,)", "(3, 5)", global_tokens=np.tile(T, (3, 1)), max_global=2),
    bad("max_global", "an integer with an array", "None", global_tokens=T),
    bad("max_global", "an integer of at least 1", "0", global_tokens=T, max_global=0),
    bad("max_global", "at least 2", "1", global_tokens=T, max_global=1),
    bad("max_global", "None with an integer", "3", max_global=3),
    bad("global_q", "the shape (2, 5, 4) of q", "(5, 4)", global_q=X[0]),
    bad("global_k", "an array", "float", global_k=1.0),
    bad("global_v", "the shape (2, 5, 4) of v", "(2, 4, 4)", global_v=X[:, :4]),
    bad("causal", "True or False", "1", causal=1),
    bad("mask", "dtype bool", "float32", mask=X),
    bad("scale", "a finite real number", "nan", scale=float("nan")),
    bad("block_q", "an integer of at least 1", "0", block_q=0),
    bad("block_k", "an integer of at least 1", "2.0", block_k=2.0),
    *(bad_cost(a, "a whole number of at least 1", "0", **{a: 0}) for a in ("n", "d_k", "m", "d_v", "h", "batch")),
    bad_cost("n", "integers n and m", "n", n=sympy.Symbol("n")),
    bad_cost("n", "integers n and m", "[", n=np.array([3, 4])),
    bad_cost("window", "an integer of at least 1", "0", window=0),
    bad_cost("window", "a pair (left, right)", "None", window=None),
    bad_cost("global_tokens", "an integer of at least 0", "-1", global_tokens=-1),
    bad_cost("global_tokens", "max_global in its place", "None", global_tokens=None),
    bad_cost("max_global", "an integer of at least 1", "0", global_tokens=None, max_global=0),
    bad_cost("global_tokens", "max_global in its place", "2", max_global=2),
    bad_cost("h_kv", "a divisor of h = 4", "3", h=4, h_kv=3),
    bad_cost("causal", "True or False", "1", causal=1),
    bad_cost("block_q", "an integer of at least 1", "0", block_q=0),
    bad_cost("block_k", "an integer of at least 1", "True", block_k=True),
    bad_cost("backward", "True or False", "1", backward=1),
    bad_cost("dtype", "one of float64", "'int8'", dtype="int8"),
]
