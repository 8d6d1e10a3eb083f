"""Packed sequences: who meets whom, which blocks are visited when the program runs, devices, bad arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import export
from jax.sharding import NamedSharding, PartitionSpec
from support import FULL, float64

from attnlib import attention, cost, count, flash_attention, reference, spread, window_attention
from attnlib.cost.flash import BLOCKS, meeting
from attnlib.kernels import flash
from attnlib.measure.count import with_backward


def arrays(rng, *shapes, dtype=np.float32):
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def packed(rng, count, n):
    """Ids in order, of at most so many sequences, some of them empty."""
    return np.sort(rng.integers(0, count, n))


@pytest.mark.parametrize("trial", range(30 if FULL else 5))
def test_agrees_with_attention_on_random_problems(trial, monkeypatch):
    """With every other way to hide pairs; ids in order and not, shared by heads and not, of queries, keys or both."""
    monkeypatch.setitem(BLOCKS, "cpu", ((8, 6), (4, 3)))
    rng = np.random.default_rng(trial)
    n, m = rng.integers(1, 40, 2).tolist()
    m = n if trial % 3 == 0 else m
    q_lead, k_lead = [((), ()), ((2, 3), (2, 1)), ((2, 1), (1, 2)), ((2,), ())][trial % 4]
    lead = np.broadcast_shapes(q_lead, k_lead)
    own = lead[rng.integers(len(lead) + 1) :]
    shapes = (*own, n), m
    pair = [np.sort(rng.integers(-3, 3, s), axis=-1) if trial % 2 else rng.integers(-3, 3, s) for s in shapes]
    segments = pair[0] if n == m else tuple(pair)
    kwargs = {"causal": bool(trial % 2), "window": [None, 3, 50, (4, 1)][trial % 4], "segments": segments}
    kwargs["lengths"] = None if trial % 3 else rng.integers(0, m + 2, lead)
    kwargs["mask"] = None if trial % 2 else rng.random((n, m)) < 0.8
    blocks = {"block_q": int(rng.integers(1, 20)), "block_k": int(rng.integers(1, 20))} if trial % 3 else {}
    visible = jnp.asarray(reference.visible(n, m, **kwargs))
    with float64():
        shapes = (*lead, n, 3), (*q_lead, n, 4), (*k_lead, m, 4), (*k_lead, m, 3)
        args = arrays(rng, *shapes, dtype=np.float64)
        ours = jax.jit(with_backward(lambda *a: flash_attention(*a, **kwargs, **blocks)))(*args)
        theirs = jax.jit(with_backward(lambda *a: attention(*a, mask=visible)))(*args)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    exact = reference.flash_attention(*args[1:], **kwargs)
    np.testing.assert_allclose(ours[0], exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "options", [{"r": 5}, {"left": 2, "right": 1, "dilation": 3}, {"r": 2, "dilation": 2}], ids=str
)
def test_in_a_window(options, rng):
    for n, m in ((19, 19), (8, 21), (21, 8)):
        segments = packed(rng, 3, n)
        segments = segments if n == m else (segments, packed(rng, 3, m))
        causal = options.get("right", 0) == 0
        args = arrays(rng, (2, n, 4), (2, n, 4), (m, 4), (m, 4))
        fn = jax.jit(
            with_backward(lambda *a, s=segments, c=causal: window_attention(*a, **options, causal=c, segments=s))
        )
        out, *gradients = fn(*args)
        exact = reference.window_attention(*args[1:], **options, causal=causal, segments=segments)
        np.testing.assert_allclose(out, exact, rtol=1e-5, atol=2e-6)
        assert all(jnp.isfinite(g).all() for g in gradients)


def test_each_sequence_is_as_if_alone(rng):
    lengths = (5, 1, 0, 13, 8)
    ids = np.repeat(np.arange(5), lengths)
    q, k, v, do = arrays(rng, *[(27, 4)] * 4)
    together = jax.jit(with_backward(lambda *a: flash_attention(*a, causal=True, segments=ids, block_q=4, block_k=4)))
    got = together(do, q, k, v)
    for i in (0, 1, 3, 4):
        here = ids == i
        alone = jax.jit(with_backward(lambda *a: attention(*a, causal=True)))(*(x[here] for x in (do, q, k, v)))
        for a, b in zip(got, alone, strict=True):
            np.testing.assert_allclose(a[here], b, rtol=1e-5, atol=2e-6)
    # A NaN stays in its sequence, in outputs and gradients.
    bad = together(do, q, k.at[7].set(np.nan), v.at[9].set(np.inf))
    for a, b in zip(bad, got, strict=True):
        np.testing.assert_allclose(a[ids != 3], b[ids != 3], rtol=1e-5, atol=2e-6)


@pytest.fixture
def visited(monkeypatch):
    """How many pairs a program looks at when it runs: every weight is one exponential."""
    met = []
    exp = flash.exp_nonpositive

    def counted(x):
        if x.ndim == 2:
            jax.debug.callback(lambda size=x.size: met.append(size))
        return exp(x)

    monkeypatch.setattr(flash, "exp_nonpositive", counted)

    def run(fn, *args):
        met.clear()
        jax.block_until_ready(fn(*args))
        jax.effects_barrier()
        return sum(met)

    return run


@pytest.mark.parametrize("causal", [False, True])
def test_the_model_counts_what_is_visited(visited, causal, rng):
    """Sequences that end within blocks, empty ones, one that is all; odd widths, as programs are cached by shape."""
    for lengths in ((13, 0, 1, 30, 29), (73,), (24, 24, 25)):
        ids = jnp.asarray(np.repeat(np.arange(len(lengths)), lengths))
        do, q, k, v = arrays(rng, (73, 7), (73, 5), (73, 5), (73, 7))
        for blocks in ({"block_q": 8, "block_k": 6}, {}):
            given = {"causal": causal, "segments": lengths, "d_v": 7, **blocks}
            fn = lambda q, k, v, s, b=blocks: flash_attention(q, k, v, causal=causal, segments=s, **b)  # noqa: E731
            forward = cost.flash_attention(73, 5, **given).matmul_flops
            assert visited(fn, q, k, v, ids) * 2 * (5 + 7) == forward
            both = cost.flash_attention(73, 5, **given, backward=True).matmul_flops
            pairs = visited(with_backward(lambda *a, s=ids, fn=fn: fn(*a, s)), do, q, k, v)
            # Forward and backward visit the same small blocks; backward a pair takes 2(3d_k + 2d_v).
            assert pairs / 2 * 2 * (5 + 7 + 3 * 5 + 2 * 7) == both
    dilated = {"left": 3, "right": 0, "dilation": 3, "block_q": 4, "block_k": 4}
    lengths = (13, 0, 1, 30, 29)
    ids = np.repeat(np.arange(5), lengths)
    pairs = visited(lambda *a: window_attention(*a, **dilated, causal=causal, segments=ids), q, k, v)
    model = cost.window_attention(73, 5, d_v=7, **dilated, causal=causal, segments=lengths)
    assert pairs * 2 * (5 + 7) == model.matmul_flops


def test_pairs_are_those_of_each_sequence():
    """Blocks of one pair: exactly Σ n_i²; 16 sequences of 1,024 are a sixteenth of one of 16,384."""
    lengths = (3, 0, 4, 2)
    model = cost.flash_attention(9, 1, segments=lengths, block_q=1, block_k=1)
    assert model.matmul_flops == 4 * sum(x * x for x in lengths)
    pair = cost.flash_attention(5, 1, m=9, segments=((1, 0, 3, 1), lengths), block_q=1, block_k=1)
    assert pair.matmul_flops == 4 * (3 + 12 + 2)
    long, short = cost.flash_attention(16384, 64), cost.flash_attention(16384, 64, segments=(1024,) * 16)
    assert long.matmul_flops == 16 * short.matmul_flops
    ids = np.repeat(np.arange(4), lengths)
    every = np.argwhere(np.ones((3, 4), bool))
    for (i, j), meets in zip(every, meeting((ids, ids), every, 3, 2), strict=True):
        start = np.minimum((3 * i, 2 * j), (6, 7))
        a, b = ids[start[0] : start[0] + 3], ids[start[1] : start[1] + 2]
        assert meets == (a[:, None] == b).any()


def test_what_is_compiled(rng):
    """Linear memory; the same program without segments as ever; counts are refused where data decide the work."""
    x, ids = jax.ShapeDtypeStruct((1, 8), jnp.float32), jnp.zeros(1, jnp.int32)
    assert "cond" not in str(jax.make_jaxpr(flash_attention)(x, x, x))
    assert "cond" in str(jax.make_jaxpr(lambda *a: flash_attention(*a, segments=ids))(x, x, x))
    with pytest.raises(ValueError, match="whose cost depends on the data"):
        count.matmul_flops(lambda *a: flash_attention(*a, segments=ids), x, x, x)

    def temporary(n):
        x, ids = jax.ShapeDtypeStruct((n, 64), jnp.float32), jax.ShapeDtypeStruct((n,), jnp.int32)
        fn = jax.grad(lambda q, k, v, s: flash_attention(q, k, v, segments=s).sum(), (0, 1, 2))
        return count.memory(fn, x, x, x, ids)

    assert temporary(16384) < 2.1 * temporary(8192)


def test_on_other_devices_and_spread(rng, monkeypatch):
    do, q, k, v = arrays(rng, (2, 2, 11, 5), (2, 2, 11, 4), (2, 1, 14, 4), (2, 1, 14, 5))
    segments = jnp.asarray(packed(rng, 3, 22).reshape(2, 1, 11) % 3), jnp.asarray(packed(rng, 3, 14))
    given = {"segments": segments, "block_q": 4, "block_k": 3}
    whole = jax.jit(with_backward(lambda *a: flash_attention(*a, **given)))(do, q, k, v)
    shared = jax.jit(with_backward(lambda *a: spread(flash_attention)(*a, **given)))(do, q, k, v)
    one = spread(flash_attention)(q, q, q, segments=segments[0])
    np.testing.assert_allclose(one, flash_attention(q, q, q, segments=segments[0]), rtol=1e-5, atol=2e-6)
    mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
    there = NamedSharding(mesh, PartitionSpec("x"))
    with jax.set_mesh(mesh) if hasattr(jax, "set_mesh") else jax.sharding.use_mesh(mesh):
        laid = [jax.device_put(x, there) for x in (do, q, k, v)]
        laid_out = jax.jit(with_backward(lambda *a: flash_attention(*a, **given)))(*laid)
        assert laid_out[0].sharding.spec[0] == "x"
    stacked = jax.vmap(lambda q, k, v, s: flash_attention(q, k, v, **given | {"segments": (s, segments[1])}))
    np.testing.assert_allclose(stacked(q, k, v, segments[0]), whole[0], rtol=1e-5, atol=2e-6)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    given["block_q"] = 5  # programs are cached
    at_once = jax.jit(with_backward(lambda *a: flash_attention(*a, **given)))(do, q, k, v)
    for a, b, c, d in zip(whole, shared, laid_out, at_once, strict=True):
        for x in (b, c, d):
            np.testing.assert_allclose(x, a, rtol=1e-5, atol=2e-6)


def test_lowers_for_every_platform_and_differentiates_twice(rng):
    q, k, v = arrays(rng, (9, 4), (9, 4), (9, 3))
    ids = jnp.asarray(packed(rng, 3, 9))

    def fn(q, k=k, v=v, **kwargs):
        return flash_attention(q, k, v, segments=ids, block_q=4, block_k=3, **kwargs)

    for platform in ("cpu", "cuda", "tpu"):
        run = jax.jit(jax.grad(lambda q: fn(q, causal=True).sum()))
        assert export.export(run, platforms=[platform])(q).platforms == (platform,)
    seen = jnp.asarray(reference.visible(9, 9, segments=np.asarray(ids)))

    def twice(fn):
        return jax.jit(jax.grad(lambda q: (jax.grad(lambda q: fn(q).sum())(q) ** 2).sum()))(q)

    np.testing.assert_allclose(twice(fn), twice(lambda q: attention(q, k, v, mask=seen)), rtol=1e-4, atol=1e-6)


X, IDS = jnp.ones((2, 5, 4)), np.zeros(5, np.int32)


def bad(expected, got, fn=flash_attention, k=X, **kwargs):
    return "segments", expected, got, fn, (X, k, k), kwargs


def bad_cost(argument, expected, got, fn=cost.flash_attention, **kwargs):
    return argument, expected, got, fn, (kwargs.pop("n", 8), 4), kwargs


BAD = [
    bad("arrays of integers", "list", segments=[0]),
    bad("arrays of integers", "float32", segments=jnp.ones(5)),
    bad("n = 5 and m = 5", "(4,)", segments=IDS[:4]),
    bad("the leading axes (2,)", "(3, 5)", segments=np.zeros((3, 5), np.int32)),
    bad("a pair if n ≠ m", "(5,), (5,)", k=X[:, :4], segments=IDS),
    bad("a pair of arrays", "3", segments=(IDS, IDS, IDS)),
    bad("one dtype", "int8", segments=(IDS, IDS.astype(np.int8))),
    bad("n = 5 and m = 5", "(4,)", fn=window_attention, r=2, segments=IDS[:4]),
    bad("n = 5 and m = 5", "(4,)", fn=window_attention, r=2, dilation=2, segments=IDS[:4]),
    bad_cost("segments", "a tuple of integers of at least 0", "[8]", segments=[8]),
    bad_cost("segments", "a tuple of integers of at least 0", "-1", segments=(9, -1)),
    bad_cost("segments", "two of as many", "((8,), (4, 4))", segments=((8,), (4, 4))),
    bad_cost("segments", "add up to n = 8 and m = 8", "7 and 7", segments=(3, 4)),
    bad_cost("segments", "add up to n = 8 and m = 9", "8 and 8", segments=(4, 4), m=9),
    bad_cost("n", "integers n and m", "[", n=np.array([8, 9]), segments=(4, 4)),
    bad_cost("segments", "add up to", "7", fn=cost.window_attention, r=3, dilation=2, segments=(3, 4)),
]
