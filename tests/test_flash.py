"""Flash attention beyond the contract: adversarial numbers, skipped blocks, memory, devices, bad arguments."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from jax.sharding import PartitionSpec
from support import FULL, float64

import attnlib
from attnlib import _arrays, attention, cost, count, flash_attention, reference
from attnlib.cost.flash import BLOCKS, block_pairs, cover
from attnlib.measure.count import with_backward


def arrays(rng, *shapes, dtype=np.float32):
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def seen(n, m, **kwargs):
    """The definition of every kind of mask, pair by pair, for JAX."""
    return jnp.asarray(reference.visible(n, m, **kwargs))


@pytest.fixture
def two_sizes(monkeypatch):
    """Blocks as on long sequences, large ones and small ones, for short sequences."""
    monkeypatch.setitem(BLOCKS, "cpu", ((8, 6), (4, 3)))


@pytest.mark.sample(3)
@pytest.mark.parametrize("trial", range(60 if FULL else 12))
def test_agrees_with_attention_on_random_problems(trial, two_sizes):
    rng = np.random.default_rng(trial)
    n, m, d_k, d_v = rng.integers(1, 40, 4).tolist()
    q_lead, k_lead = [((), ()), ((2, 3), (2, 1)), ((2, 1), (1, 2)), ((2,), ())][trial % 4]
    kwargs = {"causal": bool(rng.integers(2)), "window": rng.choice([None, 1, 5, 50])}
    lead = np.broadcast_shapes(q_lead, k_lead)
    lengths = None if rng.integers(2) else rng.integers(0, m + 2, lead[rng.integers(len(lead) + 1) :])
    mask = None if rng.integers(2) else rng.random([(n, m), (1, m), (*lead, n, 1)][rng.integers(3)]) < 0.8
    blocks = {"block_q": int(rng.integers(1, 20)), "block_k": int(rng.integers(1, 20))} if trial % 3 else {}
    visible = seen(n, m, **kwargs, lengths=lengths, mask=mask)
    with float64():
        shapes = (*lead, n, d_v), (*q_lead, n, d_k), (*k_lead, m, d_k), (*k_lead, m, d_v)
        args = arrays(rng, *shapes, dtype=np.float64)
        kwargs |= {"lengths": lengths, "mask": mask}
        ours = jax.jit(with_backward(lambda *a: flash_attention(*a, **kwargs, **blocks)))
        theirs = jax.jit(with_backward(lambda *a: attention(*a, mask=visible)))
        for a, b in zip(ours(*args), theirs(*args), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_log_sum_and_its_gradient(rng):
    with float64():
        q, k, v, do = arrays(rng, (2, 3, 9, 4), (2, 1, 11, 4), (2, 1, 11, 5), (2, 3, 9, 5), dtype=np.float64)
        dlse = jnp.asarray(rng.normal(size=(2, 3, 9)))

        def dense(q, k, v):
            s = jnp.where(seen(9, 11, causal=True), jnp.einsum("bgnd,bhmd->bgnm", q, k) / 2, -jnp.inf)
            return attention(q, k, v, causal=True), jax.nn.logsumexp(s, axis=-1)

        def ours(q, k, v):
            return flash_attention(q, k, v, causal=True, block_q=4, block_k=3, return_lse=True)

        for a, b in zip(
            *(jax.tree.leaves(jax.jit(with_backward(f))((do, dlse), q, k, v)) for f in (ours, dense)), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_two_halves_of_the_keys_merge_with_their_log_sums(rng):
    q, k, v = arrays(rng, (2, 6, 4), (2, 10, 4), (2, 10, 3))
    (o_1, l_1), (o_2, l_2) = (flash_attention(q, k[:, a], v[:, a], return_lse=True) for a in (np.s_[:7], np.s_[7:]))
    share = jax.nn.sigmoid(l_1 - l_2)[..., None]
    np.testing.assert_allclose(share * o_1 + (1 - share) * o_2, flash_attention(q, k, v), rtol=1e-5, atol=1e-6)
    empty = flash_attention(q, k, v, lengths=jnp.array([0, 10]), return_lse=True)
    assert not empty[0][0].any()
    assert (empty[1][0] == -jnp.inf).all()


# --- numbers that break other programs ------------------------------------------------------------------------------


def test_lengths_beyond_every_key_hide_none(rng, untyped):
    """The largest number of any integer type: as int32, 2³² − 1 would be −1."""
    q, k, v = (jnp.asarray(rng.normal(size=(9, 4)), jnp.float32) for _ in range(3))
    for dtype in (np.int8, np.int32, np.uint8, np.uint32):
        lengths = np.array(np.iinfo(dtype).max, dtype)
        np.testing.assert_array_equal(
            flash_attention(q, k, v, lengths=lengths), flash_attention(q, k, v, lengths=np.array(9))
        )
        assert _arrays.within(lengths, (), 9).all()


@pytest.mark.sample(3)
@pytest.mark.parametrize("kwargs", [{}, {"causal": True}, {"window": 5}, {"lengths": jnp.array(14)}], ids=str)
@pytest.mark.parametrize("level", [-3e6, 3e6])
def test_every_logit_millions_away_from_zero(rng, kwargs, level):
    """A log-sum in float32 rounds by 0.25 there; the maximum and the sum, kept apart, lose nothing."""
    x, v, do = arrays(rng, (17, 1), (17, 3), (17, 3))
    k = jnp.round(x * 4) + level  # whole numbers: scores are exact
    q = jnp.ones((17, 1))
    run = jax.jit(with_backward(lambda *a: flash_attention(*a, **kwargs, block_q=4, block_k=4)))
    shifted = jax.jit(with_backward(lambda *a: attention(*a, mask=seen(17, 17, **kwargs))))
    out, _, dk, dv = run(do, q, k, v)
    exact = shifted(do, q, k - level, v)
    for a, b in zip((out, dk, dv), (exact[0], *exact[2:]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("where", [0, 7, 16])
def test_one_huge_logit_takes_all(rng, where):
    q, k, v = arrays(rng, (17, 4), (17, 4), (17, 3))
    q = q.at[:, 0].set(1.0)
    k = k.at[where, 0].set(1e30)
    out, *gradients = jax.jit(with_backward(lambda *a: flash_attention(*a, block_q=4, block_k=5)))(
        jnp.ones((17, 3)), q, k, v
    )
    np.testing.assert_array_equal(out, jnp.broadcast_to(v[where], out.shape))
    assert all(jnp.isfinite(g).all() for g in gradients)


def test_rows_masked_in_the_middle_of_a_block(rng):
    q, k, v, do = arrays(rng, (12, 4), (20, 4), (20, 3), (12, 3))
    mask = jnp.asarray(rng.random((12, 20)) < 0.5).at[jnp.array([1, 5, 6])].set(False)
    mask = mask.at[2, :15].set(False).at[2, 15:].set(True)  # the first blocks of row 2 are empty, the last is not
    run = jax.jit(with_backward(lambda *a: flash_attention(*a, mask=mask, block_q=4, block_k=5)))
    ours, theirs = run(do, q, k, v), jax.jit(with_backward(lambda *a: attention(*a, mask=mask)))(do, q, k, v)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)
    for x in ours[:2]:
        assert not x[jnp.array([1, 5, 6])].any()


@pytest.mark.sample(5)
@pytest.mark.parametrize("blocks", [{"block_q": 4, "block_k": 3}, {}], ids=["one size", "two sizes"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kwargs", [{"causal": True}, {"window": 4}, {"causal": True, "window": 4}, {"lengths": 11}])
def test_bad_numbers_stay_where_they_are_seen(rng, kwargs, bad, blocks, two_sizes):
    """Through skipped, partial and whole blocks: an output is NaN exactly if its query sees the bad key."""
    q, k, v, do = arrays(rng, (18, 4), (18, 4), (18, 3), (18, 3))
    kwargs = {a: jnp.array(x) if a == "lengths" else x for a, x in kwargs.items()}
    visible = np.array(seen(18, 18, **kwargs))
    run = jax.jit(with_backward(lambda *a: flash_attention(*a, **kwargs, **blocks)))
    clean = run(do, q, k, v)
    for spot in (2, 9, 15):
        for name in "qkv":
            args = {"q": q, "k": k, "v": v}
            args[name] = args[name].at[spot, 1].set(bad)
            rows = visible[:, spot] if name != "q" else (np.arange(18) == spot) & visible.any(axis=1)
            keys = visible[rows].any(axis=0)
            hit = (rows, rows, keys, keys)
            for got, before, ill in zip(run(do, *args.values()), clean, hit, strict=True):
                assert np.isnan(got[ill]).all()
                np.testing.assert_allclose(got[~ill], before[~ill], rtol=1e-5, atol=1e-6)
    # A gradient that arrives as NaN reaches the keys its query sees, and no other.
    _, dq, dk, dv = run(do.at[9].set(np.nan), q, k, v)
    for got, before, ill in zip((dq, dk, dv), clean[1:], (np.arange(18) == 9, visible[9], visible[9]), strict=True):
        assert np.isnan(got[ill]).all()
        np.testing.assert_allclose(got[~ill], before[~ill], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_512_queries_on_1500_keys(rng, causal):
    shapes = (2, 512, 16), (2, 512, 16), (1, 1500, 16), (1, 1500, 16)
    args = arrays(rng, *shapes)
    run = jax.jit(with_backward(lambda *a: flash_attention(*a, causal=causal)))
    dense = jax.jit(with_backward(lambda *a: attention(*a, causal=causal)))
    for got, expected in zip(run(*args), dense(*args), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-6)


def test_bfloat16_at_16384_is_rounded_once(rng):
    """Sums are float32: the error is that of one rounding of the result to bfloat16, 2⁻⁸ of it, at any length."""
    n = 16384
    q, k, v = arrays(rng, (n, 16), (n, 16), (n, 16), dtype=jnp.bfloat16)
    out = np.asarray(jax.jit(flash_attention)(q, k, v), np.float64)
    rows = rng.choice(n, 64, replace=False)
    exact = reference.attention(q[rows], k, v)
    np.testing.assert_allclose(out[rows], exact, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_bfloat16_gradients_of_long_sequences(rng, causal):
    """Rows of dq against float64. The output that the backward pass starts from is rounded to bfloat16, too."""
    n = 16384 if FULL else 4096
    q, k, v, do = arrays(rng, *[(n, 16)] * 4, dtype=jnp.bfloat16)
    _, dq, *_ = jax.jit(with_backward(lambda *a: flash_attention(*a, causal=causal)))(do, q, k, v)
    rows = rng.choice(n, 64, replace=False)
    mask = np.arange(n) <= rows[:, None] if causal else None
    exact, *_ = reference.attention_backward(q[rows], k, v, do[rows], mask=mask)
    np.testing.assert_allclose(np.asarray(dq, np.float64)[rows], exact, rtol=2**-7, atol=2e-3 * abs(exact).max())


# --- what is computed, and where it is kept -------------------------------------------------------------------------


@pytest.mark.sample(5)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 1, 30, 1000])
@pytest.mark.parametrize(("n", "m"), [(64, 64), (100, 37), (37, 100)])
def test_flops_equal_the_model_and_the_blocks_that_matter(causal, window, n, m, two_sizes):
    for block_q, block_k in ((8, 16), (16, 8), (7, 9), (128, 128), (None, None)):
        q, k, v = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((2, n, 3), (2, m, 3), (2, m, 5)))
        kwargs = {"causal": causal, "window": window, "block_q": block_q, "block_k": block_k}
        sizes = {"m": m, "d_v": 5, "h": 2, **kwargs}
        do = jax.ShapeDtypeStruct((2, n, 5), jnp.float32)
        forward = count.matmul_flops(lambda *a, kw=kwargs: flash_attention(*a, **kw), q, k, v)
        both = count.matmul_flops(with_backward(lambda *a, kw=kwargs: flash_attention(*a, **kw)), do, q, k, v)
        assert forward == cost.flash_attention(n, 3, **sizes).matmul_flops
        assert both == cost.flash_attention(n, 3, **sizes, backward=True).matmul_flops
        if block_q is None:
            continue
        # Block by block from the definition: visited if any pair is visible, whole if all are.
        b_q, b_k = min(block_q, n), min(block_k, m)
        pairs = reference.visible(n, m, causal=causal, window=window)
        whole, part = (set(map(tuple, x.tolist())) for x in block_pairs(n, m, b_q, b_k, causal, window))
        for i in range(-(-n // b_q)):
            for j in range(-(-m // b_k)):
                block = pairs[i * b_q : (i + 1) * b_q, j * b_k : (j + 1) * b_k]
                assert ((i, j) in whole) == (block.shape == (b_q, b_k) and bool(block.all()))
                assert ((i, j) in whole or (i, j) in part) == bool(block.any())


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 1, 7, 20])
def test_every_visible_pair_lies_in_one_block(causal, window):
    for n, m in itertools.product((1, 7, 8, 23, 40), (1, 6, 17, 36)):
        visible = reference.visible(n, m, causal=causal, window=window)
        large, small = ((min(b_q, n), min(b_k, m)) for b_q, b_k in ((8, 6), (4, 3)))
        met = np.zeros((n, m), int)
        for (b_q, b_k), pairs, whole in zip(
            (large, small, small), cover(n, m, large, small, causal, window), (True, True, False), strict=True
        ):
            for i, j in pairs:
                block = np.s_[i * b_q : (i + 1) * b_q, j * b_k : (j + 1) * b_k]
                met[block] += 1
                assert not whole or (visible[block].shape == (b_q, b_k) and visible[block].all())
                assert visible[block].any()
        assert (met[visible] == 1).all()
        assert (met <= 1).all()


@pytest.mark.parametrize("kwargs", [{}, {"causal": True}, {"window": 700}, {"lengths": np.array([1400, 0])}], ids=str)
def test_large_blocks_at_real_lengths(rng, kwargs):
    """Sequences long enough for the large blocks of today, with ends that no block divides."""
    n, m = 2100, 1700
    args = arrays(rng, (2, n, 8), (2, n, 8), (1, m, 8), (1, m, 8))
    ours = jax.jit(with_backward(lambda *a: flash_attention(*a, **kwargs)))(*args)
    dense = jax.jit(with_backward(lambda *a: attention(*a, mask=seen(n, m, **kwargs))))(*args)
    for got, expected in zip(ours, dense, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_model_in_symbols_and_arrays():
    n = sympy.Symbol("n", positive=True, integer=True)
    for causal, blocks in itertools.product((False, True), ({"block_q": 128, "block_k": 256}, {})):
        model = cost.flash_attention(n, 64, causal=causal, **blocks, backward=True)
        lengths = np.array([256 if blocks else 1024, 2048, 65536])
        array = cost.flash_attention(lengths, 64, causal=causal, **blocks, backward=True)
        for step, other in zip(model.steps, array.steps, strict=True):
            for what in ("matmul_flops", "other_flops", "bytes_read"):
                expected = [float(sympy.sympify(getattr(step, what)).subs(n, x)) for x in lengths]
                np.testing.assert_allclose(np.broadcast_to(getattr(other, what), 3), expected)
    assert cost.flash_attention(8192, 64).matmul_flops == cost.attention(8192, 64).matmul_flops


@pytest.mark.parametrize("causal", [False, True])
def test_memory_at_65536(causal):
    def memory(n, backward):
        x = jax.ShapeDtypeStruct((n, 64), jnp.float32)
        fn = with_backward(lambda *a: flash_attention(*a, causal=causal))
        return count.memory(fn, x, x, x, x) if backward else count.memory(lambda *a: fn(*a)[0], x, x, x, x)

    assert memory(65536, False) < 64 * 2**20
    assert memory(65536, True) < 128 * 2**20
    for backward in (False, True):
        plans = [
            memory(n, backward) for n in (8192, 16384, 32768, 65536, 131072)[slice(None) if FULL else slice(2, 4)]
        ]
        assert all(b <= 2 * a for a, b in itertools.pairwise(plans))


def test_grouped_queries_do_not_repeat_the_keys():
    q, k = (jax.ShapeDtypeStruct((h, 2048, 64), jnp.float32) for h in (16, 1))
    one, *_ = (count.memory(with_backward(flash_attention), q, q, x, x) for x in (k, q))
    assert one <= 5 * 16 * 2048 * 64 * 4
    assert count.matmul_flops(flash_attention, q, k, k) == cost.flash_attention(2048, 64, h=16, h_kv=1).matmul_flops


@pytest.mark.parametrize("h_kv", [4, 1])
def test_heads_spread_over_two_devices(rng, h_kv):
    """With one key head both devices hold the same keys, and their gradients are summed over the devices."""
    mesh = jax.make_mesh((2,), ("heads",), axis_types=(jax.sharding.AxisType.Auto,))
    spread, same = PartitionSpec("heads"), PartitionSpec()
    q, k, v, do = arrays(rng, (4, 19, 8), (h_kv, 19, 8), (h_kv, 19, 8), (4, 19, 8))

    def fn(q, k, v):
        return flash_attention(q, k, v, causal=True, block_q=8, block_k=4)

    keys = spread if h_kv == 4 else same
    parallel = jax.shard_map(fn, mesh=mesh, in_specs=(spread, keys, keys), out_specs=spread)
    runs = [jax.jit(with_backward(f))(do, q, k, v) for f in (parallel, fn)]
    for a, b in zip(*runs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)


def test_heads_at_once_as_on_other_devices(rng, monkeypatch):
    """The branch that accelerators take; shapes of its own, because programs are cached by shape."""
    shapes = (2, 3, 9, 5), (2, 3, 9, 4), (2, 1, 11, 4), (1, 1, 11, 5)
    args, mask = arrays(rng, *shapes), jnp.asarray(rng.random((2, 1, 9, 11)) < 0.7)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    run = with_backward(lambda *a: flash_attention(*a, mask=mask, block_q=4, block_k=3))
    assert "while" not in str(jax.make_jaxpr(run)(*args))
    expected = jax.jit(with_backward(lambda *a: attention(*a, mask=mask)))(*args)
    for a, b in zip(run(*args), expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)


def test_second_order(rng):
    q, k, v = arrays(rng, (5, 4), (7, 4), (7, 3))

    def twice(fn):
        return jax.jit(jax.grad(lambda q: (jax.grad(lambda q: fn(q, k, v).sum())(q) ** 2).sum()))(q)

    np.testing.assert_allclose(
        twice(lambda *a: flash_attention(*a, block_q=2, block_k=3)), twice(attention), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("scale", [0.3, 0, -1.5, np.float32(0.3), jnp.float32(0.3)])
def test_scale_of_any_kind_with_its_gradient(rng, untyped, scale):
    q, k, v = arrays(rng, (5, 4), (7, 4), (7, 3))
    np.testing.assert_allclose(
        flash_attention(q, k, v, scale=scale), attention(q, k, v, scale=scale), rtol=1e-5, atol=1e-6
    )
    slopes = [
        jax.grad(lambda s, f=f: (f(q, k, v, scale=s) ** 2).sum())(jnp.float32(scale))
        for f in (flash_attention, attention)
    ]
    np.testing.assert_allclose(*slopes, rtol=1e-4, atol=1e-6)


def test_mixed_dtypes(rng):
    q, k, v = arrays(rng, (5, 4), (7, 4), (7, 3))
    for dtypes in ((jnp.bfloat16, jnp.float32, jnp.float16), (jnp.float16, jnp.bfloat16, jnp.float32)):
        args = [x.astype(t) for x, t in zip((q, k, v), dtypes, strict=True)]
        out, *gradients = with_backward(flash_attention)(jnp.ones((5, 3), dtypes[2]), *args)
        assert [x.dtype for x in (out, *gradients)] == [dtypes[2], *dtypes]
        np.testing.assert_allclose(
            out.astype(jnp.float32), attention(*args).astype(jnp.float32), rtol=2e-3, atol=1e-3
        )


# --- bad input: argument, expected, got, function, arguments --------------------------------------------------------

X = jnp.ones((2, 5, 4))


def bad(argument, expected, got, **kwargs):
    arrays = {"q": X, "k": X, "v": X} | {a: kwargs.pop(a) for a in ("q", "k", "v") if a in kwargs}
    return argument, expected, got, flash_attention, tuple(arrays.values()), kwargs


def bad_cost(argument, expected, got, **kwargs):
    sizes = {"n": 8, "d_k": 4} | kwargs
    return argument, expected, got, cost.flash_attention, (sizes.pop("n"), sizes.pop("d_k")), sizes


def bad_cover(argument, expected, got, **kwargs):
    given = {"n": 8, "m": 8, "large": (4, 4), "small": (2, 2), "causal": True, "window": None} | kwargs
    return argument, expected, got, cost.cover, (), given


BAD = [
    *(bad_cover(name, "an integer of at least 1", "0", **{name: 0}) for name in ("n", "m", "window")),
    *(bad_cover(name, "two integers of at least 1", "(0, 2)", **{name: (0, 2)}) for name in ("large", "small")),
    bad_cover("large", "two integers of at least 1", "4", large=4),
    bad_cover("small", "divisors of large = (4, 4)", "(2, 3)", small=(2, 3)),
    bad_cover("causal", "True or False", "1", causal=1),
    bad("q", "an array", "list", q=[1.0]),
    bad("k", "d_k = 4", "d_k = 3", k=X[..., :3]),
    bad("v", "m = 5", "m = 4", v=X[:, :4]),
    bad("v", "an array", "NoneType", v=None),
    bad("causal", "True or False", "1", causal=1),
    bad("mask", "dtype bool", "float32", mask=X),
    bad("scale", "a finite real number", "nan", scale=float("nan")),
    bad("window", "an integer of at least 1", "0", window=0),
    bad("window", "or a pair (left, right)", "(1, -1)", window=(1, -1)),
    bad("lengths", "an array of integers", "int", lengths=3),
    bad("lengths", "an array of integers", "float32", lengths=jnp.ones(2)),
    bad("lengths", "a shape that broadcasts to (2,)", "(3,)", lengths=jnp.ones(3, jnp.int32)),
    bad("block_q", "an integer of at least 1", "0", block_q=0),
    bad("block_k", "an integer of at least 1", "2.0", block_k=2.0),
    bad("return_lse", "True or False", "None", return_lse=None),
    bad_cost("n", "a whole number of at least 1", "0", n=0),
    bad_cost("d_k", "a whole number of at least 1", "0", d_k=0),
    bad_cost("m", "a whole number of at least 1", "0", m=0),
    bad_cost("d_v", "a whole number of at least 1", "0", d_v=0),
    bad_cost("h", "a whole number of at least 1", "0", h=0),
    bad_cost("h_kv", "a divisor of h = 4", "3", h=4, h_kv=3),
    bad_cost("batch", "a whole number of at least 1", "0", batch=0),
    bad_cost("causal", "True or False", "1", causal=1),
    bad_cost("window", "an integer of at least 1", "0", window=0),
    bad_cost("block_q", "an integer of at least 1", "0", block_q=0),
    bad_cost("block_k", "an integer of at least 1", "True", block_k=True),
    bad_cost("backward", "True or False", "1", backward=1),
    bad_cost("dtype", "one of float64", "'int8'", dtype="int8"),
]


def test_public_name():
    assert attnlib.flash_attention is flash_attention
