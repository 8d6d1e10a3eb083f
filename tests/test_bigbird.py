"""BigBird beyond the contract: what a pattern is, where attention is exact, what it costs, and who connects whom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from support import float64

from attnlib import attention, bigbird_attention, bigbird_pattern, cost, count, graph, reference
from attnlib.measure.count import with_backward

KEY = jax.random.key(7)


def arrays(rng, *shapes, dtype=np.float32):
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def few(block=3, window_blocks=1, global_blocks=1, random_blocks=2):
    """The four numbers that make a pattern."""
    names = ("block", "window_blocks", "global_blocks", "random_blocks")
    return dict(zip(names, (block, window_blocks, global_blocks, random_blocks), strict=True))


# --- the pattern ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "n", "m"),
    [(few(), 26, 26), (few(2, 3, 2, 3), 5, 31), (few(4, 2, 0, 1), 31, 5), (few(1, 3, 1, 40), 26, 26), (few(), 1, 1)],
)
def test_random_blocks_add_to_what_a_row_sees(sizes, n, m):
    """Each once, none that is global or in the window, as many as asked for where there are as many; causal, past."""
    b = sizes["block"]
    columns = -(-m // b)
    for causal in (False, True):
        pattern = np.asarray(bigbird_pattern(KEY, n, m=m, causal=causal, **sizes))
        rows = range((m - n) // b, (m - 1) // b + 1)
        assert pattern.shape == (len(rows), sizes["random_blocks"])
        for row, drawn in zip(rows, pattern, strict=True):
            choice = set(range(sizes["global_blocks"], columns))
            w = sizes["window_blocks"]
            choice -= set(range(row - w + 1, columns) if causal else range(row - w // 2, row + w // 2 + 1))
            if not causal and 0 <= row < sizes["global_blocks"]:
                choice = set()
            drawn = [x for x in drawn.tolist() if x != -1]
            assert len(drawn) == len(set(drawn)) == min(len(choice), sizes["random_blocks"])
            assert set(drawn) <= choice


def test_sets_of_random_blocks_are_equally_likely():
    """Two of the five blocks that are neither global nor the row's own: ten sets, a tenth of the keys each."""
    keys = jax.random.split(KEY, 2000)
    draw = jax.jit(jax.vmap(lambda key: bigbird_pattern(key, 14, **few(2, 1, 1, 2))))
    sets = np.sort(np.asarray(draw(keys))[:, 3], axis=1)
    _, counts = np.unique(sets, axis=0, return_counts=True)
    assert len(counts) == 10
    # χ² with 9 degrees of freedom exceeds 28 once in a thousand.
    assert ((counts - 200) ** 2 / 200).sum() < 28


def test_what_is_decoded_has_the_pattern_of_the_whole(rng):
    """Causal, a row depends on its block and not on the length: the last queries alone are the last of all."""
    whole = bigbird_pattern(KEY, 41, causal=True, **few())
    np.testing.assert_array_equal(bigbird_pattern(KEY, 5, m=41, causal=True, **few()), whole[-2:])
    np.testing.assert_array_equal(bigbird_pattern(KEY, 30, causal=True, **few()), whole[:10])
    q, k, v = arrays(rng, (2, 41, 4), (2, 41, 4), (2, 41, 3))
    out = bigbird_attention(q, k, v, causal=True, key=KEY, **few())
    for n in (1, 5):
        np.testing.assert_allclose(
            bigbird_attention(q[:, -n:], k, v, causal=True, key=KEY, **few()), out[:, -n:], rtol=1e-5, atol=1e-6
        )
    np.testing.assert_allclose(
        bigbird_attention(q[:, :20], k[:, :20], v[:, :20], causal=True, key=KEY, **few()),
        out[:, :20],
        rtol=1e-5,
        atol=1e-6,
    )


def test_a_pattern_may_be_used_again_and_differ_between_heads(rng):
    q, k, v = arrays(rng, (2, 3, 26, 4), (2, 1, 26, 4), (2, 1, 26, 5))
    patterns = jax.vmap(lambda key: bigbird_pattern(key, 26, **few()))(jax.random.split(KEY, 3))
    out = bigbird_attention(q, k, v, pattern=patterns, **few())
    np.testing.assert_allclose(
        out, reference.bigbird_attention(q, k, v, pattern=patterns, **few()), rtol=1e-5, atol=1e-6
    )
    for i, pattern in enumerate(patterns):
        one = bigbird_attention(q[:, i], k[:, 0], v[:, 0], pattern=pattern, **few())
        np.testing.assert_allclose(out[:, i], one, rtol=1e-5, atol=1e-6)
    drawn = bigbird_attention(q[:, 0], k[:, 0], v[:, 0], key=KEY, **few())
    again = bigbird_attention(q[:, 0], k[:, 0], v[:, 0], pattern=bigbird_pattern(KEY, 26, **few()), **few())
    np.testing.assert_array_equal(drawn, again)


@pytest.mark.parametrize("causal", [False, True])
def test_any_integers_are_a_pattern(causal, rng):
    """Blocks that are seen anyway, named twice, later or not there count for nothing, as in the definition."""
    with float64():
        q, k, v = arrays(rng, (19, 4), (23, 4), (23, 3), dtype=np.float64)
        pattern = rng.integers(-5, 15, (7, 6))
        pattern[:, 3] = pattern[:, 0]
        sizes = {**few(random_blocks=6), "causal": causal}
        for x in (pattern, pattern.astype(np.uint32), np.full((7, 6), 2**31 - 1)):
            out = bigbird_attention(q, k, v, pattern=x, **sizes)
            np.testing.assert_allclose(out, reference.bigbird_attention(q, k, v, pattern=x, **sizes), rtol=1e-12)


# --- where it is exact ----------------------------------------------------------------------------------------------


@pytest.mark.sample(3)
@pytest.mark.parametrize(("n", "m"), [(23, 23), (7, 23), (23, 7), (1, 1), (2, 3)])
@pytest.mark.parametrize("sizes", [few(3, 17, 0, 0), few(3, 1, 0, 8), few(3, 1, 8, 0), few(64)], ids=str)
def test_with_all_blocks_it_is_attention(n, m, sizes, rng):
    """As a window, at random, globally, or in one block; with gradients, masks and both orders."""
    if n > m and sizes["random_blocks"] + sizes["window_blocks"] < 9:
        return  # queries before the first key are in no global block, and in no window
    q, k, v = arrays(rng, (2, n, 4), (2, m, 4), (2, m, 3))
    mask, do = jnp.asarray(rng.random((2, n, m)) < 0.7), jnp.asarray(rng.normal(size=(2, n, 3)), jnp.float32)
    for causal in (False, True):
        got, exact = (
            jax.jit(with_backward(lambda *a, f=f, kw=kwargs, c=causal: f(*a, causal=c, mask=mask, **kw)))(do, q, k, v)
            for f, kwargs in ((bigbird_attention, {"key": KEY, **sizes}), (attention, {}))
        )
        for a, b in zip(got, exact, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_are_those_of_the_pairs_of_the_pattern(causal, rng):
    q, k, v = arrays(rng, (2, 3, 29, 4), (1, 29, 4), (2, 1, 29, 3))
    pattern = bigbird_pattern(KEY, 29, causal=causal, **few())
    eye = np.eye(29)
    seen = reference.bigbird_attention(0 * eye, eye, eye, pattern=pattern, causal=causal, **few()) > 0
    assert seen.sum() < 0.7 * 29**2
    do = jnp.asarray(rng.normal(size=(2, 3, 29, 3)), jnp.float32)

    def run(f):
        return jax.jit(jax.grad(lambda q, k, v, scale: (f(q, k, v, scale) * do).sum(), (0, 1, 2, 3)))

    got = run(lambda q, k, v, s: bigbird_attention(q, k, v, pattern=pattern, causal=causal, scale=s, **few()))
    exact = run(lambda q, k, v, s: attention(q, k, v, mask=jnp.asarray(seen), scale=s))
    for a, b in zip(*(f(q, k, v, jnp.float32(0.4)) for f in (got, exact)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("change", ["redraw", "nan"])
def test_nothing_later_moves_an_output(change, rng):
    """In 200 perturbations of what comes after a query, the pattern's draw included."""
    n, trials = 37, 200
    q, k, v = arrays(rng, (n, 4), (n, 4), (n, 3))
    run = jax.jit(jax.vmap(lambda *a: bigbird_attention(*a, key=KEY, causal=True, **few())))
    before = np.asarray(run(q[None], k[None], v[None]))[0]
    last = rng.integers(0, n - 1, trials)
    later = (np.arange(n) > last[:, None])[..., None]
    noise = [np.nan if change == "nan" else rng.normal(size=(trials, *x.shape)) for x in (q, k, v)]
    after = run(*(np.where(later, e, x).astype(np.float32) for e, x in zip(noise, (q, k, v), strict=True)))
    moved = np.abs(np.asarray(after) - before).max(axis=-1)
    assert (np.where(later[..., 0], 0, moved) < 1e-6).all()
    if change == "redraw":
        assert (moved[later[..., 0]] > 1e-3).any()


def test_nothing_that_is_not_in_the_pattern_is_read(rng):
    """A NaN in a block that no row but its own sees."""
    sizes = few(4, 1, 0, 0)
    q, k, v = arrays(rng, (24, 4), (24, 4), (24, 3))
    clean, dirty = (
        with_backward(lambda *a: bigbird_attention(*a, **sizes))(jnp.ones((24, 3)), q, *x)
        for x in ((k, v), (k.at[9].set(jnp.nan), v.at[10].set(jnp.inf)))
    )
    far = np.r_[12:24]
    for a, b in zip(clean[:2], dirty[:2], strict=True):
        np.testing.assert_array_equal(a[far], b[far])
        assert np.isnan(b[8:12]).all()
    for a, b in zip(clean[2:], dirty[2:], strict=True):
        assert np.isfinite(np.asarray(a)).all()
        assert np.isfinite(np.asarray(b)[far]).all()


# --- what it costs --------------------------------------------------------------------------------------------------


def test_work_and_memory_are_linear_in_the_length():
    def program(q, k, v):
        return bigbird_attention(q, k, v, key=KEY, block=16)

    shapes = [jax.ShapeDtypeStruct((1, n, 8), jnp.float32) for n in (2048, 4096)]
    flops, memory = (
        [f(with_backward(program), x, x, x, x) for x in shapes] for f in (count.matmul_flops, count.memory)
    )
    assert 1.95 < flops[1] / flops[0] < 2.05
    assert 1.5 < memory[1] / memory[0] < 2.1
    assert memory[1] < 4096 * 4096  # bytes: no array of n × n
    for causal in (False, True):
        model = cost.bigbird_attention(4096, 8, block=16, causal=causal)
        assert model.matmul_flops == count.matmul_flops(
            lambda *a, c=causal: bigbird_attention(*a, key=KEY, block=16, causal=c), *[shapes[1]] * 3
        )


@pytest.mark.sample(3)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (100, 100), (9, 70), (70, 9), (64, 130)])
@pytest.mark.parametrize("sizes", [few(), few(64, 3, 2, 3), few(8, 4, 0, 1), few(16, 1, 3, 0)], ids=str)
def test_counts_for_all_lengths(n, m, sizes):
    q, k, v = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((4, n, 5), (1, m, 5), (1, m, 3)))
    do = jax.ShapeDtypeStruct((4, n, 3), jnp.float32)
    for causal in (False, True):

        def program(*a, c=causal):
            return bigbird_attention(*a, key=KEY, causal=c, **sizes)

        model = {"m": m, "d_v": 3, "h": 4, "h_kv": 1, "causal": causal, **sizes}
        forward, both = (cost.bigbird_attention(n, 5, backward=b, **model) for b in (False, True))
        assert forward.matmul_flops == count.matmul_flops(program, q, k, v)
        assert both.matmul_flops == count.matmul_flops(with_backward(program), do, q, k, v)
        lengths = cost.bigbird_attention(np.array([n, 200]), 5, backward=True, **model)
        assert lengths.matmul_flops[0] == both.matmul_flops
        assert lengths.live[0] == both.live
        assert [step.name for step in lengths.steps][: len(both.steps)] == [step.name for step in both.steps]


def test_pairs_of_practice():
    """Eight blocks of 64 a query: all of 512 keys, an eighth of 4,096, a 32nd of 16,384, and the global queries."""
    for n, share in ((512, 1), (4096, 8), (16384, 32)):
        model = cost.bigbird_attention(n, 64, causal=True)
        assert model.matmul_flops * share == cost.attention(n, 64).matmul_flops
        assert model["gathers"].bytes_read == n // 64 * 512 * 128 * 4
    both_ways = cost.bigbird_attention(4096, 64)
    assert both_ways["scores"].matmul_flops == 2 * (4096 - 128) * 512 * 64
    assert both_ways["scores of global queries"].matmul_flops == 2 * 128 * 4096 * 64


@pytest.mark.parametrize(
    "sizes", [few(2, 3, 1, 0), few(2, 1, 1, 0), few(3, 3, 0, 0), few(3, 2, 0, 0), few(64, 3, 0, 0)]
)
@pytest.mark.parametrize("causal", [False, True])
def test_path_lengths(sizes, causal):
    """As a search over the pairs finds them, without random blocks; with these it is no longer."""
    n, eye = 25, np.eye(25)
    for random_blocks in (0, 2):
        given = {**sizes, "random_blocks": random_blocks, "key": KEY if random_blocks else None}
        reads = reference.bigbird_attention(0 * eye, eye, eye, causal=causal, **given) > 0
        model = cost.bigbird_attention(n, 4, causal=causal, **{**sizes, "random_blocks": random_blocks}).path
        if not model and not random_blocks:
            with pytest.raises(ValueError, match="connect all positions"):
                graph.path_length(reads, n, causal=causal)
            continue
        if not model:
            continue
        found = graph.path_length(reads, n, causal=causal)
        assert found == model or (random_blocks and found < model)


def test_what_decoding_keeps():
    assert cost.bigbird.state(10**4, 5, 3) == 8 * 10**4
    assert cost.bigbird.state(10**4, 5, 3, block=16, random_blocks=0) == 8 * 16 * 5
    assert cost.bigbird.state(7, 5, 3, block=16, random_blocks=0) == 8 * 7


# --- bad input ------------------------------------------------------------------------------------------------------

X = jnp.ones((2, 9, 4))
P = np.zeros((3, 2), np.int32)


def bad(argument, expected, got, **kwargs):
    given = {"q": X, "k": X, "v": X} | {a: kwargs.pop(a) for a in ("q", "k", "v") if a in kwargs}
    return argument, expected, got, bigbird_attention, tuple(given.values()), few() | {"key": KEY} | kwargs


def bad_pattern(argument, expected, got, **kwargs):
    return argument, expected, got, bigbird_pattern, (kwargs.pop("key", KEY), kwargs.pop("n", 9)), few() | kwargs


def bad_cost(argument, expected, got, **kwargs):
    return argument, expected, got, cost.bigbird_attention, (), {"n": 8, "d_k": 4} | kwargs


COUNTS = [("block", 1), ("window_blocks", 1), ("global_blocks", 0), ("random_blocks", 0)]
BAD = [
    bad("q", "an array", "list", q=[1.0]),
    bad("k", "d_k = 4", "d_k = 3", k=X[..., :3]),
    bad("v", "m = 9", "m = 8", v=X[:, :8]),
    bad("causal", "True or False", "1", causal=1),
    bad("mask", "dtype bool", "float32", mask=X),
    bad("scale", "a finite real number", "nan", scale=float("nan")),
    bad("key", "either a key or a pattern", "neither", key=None),
    bad("key", "either a key or a pattern", "both", pattern=P),
    bad("key", "a key of jax.random.key", "3", key=3),
    bad("pattern", "an array of integers", "list", key=None, pattern=[1]),
    bad("pattern", "an array of integers", "float32", key=None, pattern=np.ones((3, 2), "f")),
    bad("pattern", "(..., 3, 2)", "(3, 3)", key=None, pattern=np.zeros((3, 3), int)),
    bad("pattern", "leading axes", "(5, 3, 2)", key=None, pattern=np.zeros((5, 3, 2), int)),
    *(
        make(name, f"an integer of at least {least}", repr(value), **{name: value})
        for make in (bad, bad_pattern, bad_cost)
        for name, least in COUNTS
        for value in (least - 1, 2.0)
    ),
    bad_pattern("key", "a key of jax.random.key", "None", key=None),
    bad_pattern("n", "an integer of at least 1", "0", n=0),
    bad_pattern("m", "an integer of at least 1", "0", m=0),
    bad_pattern("causal", "True or False", "1", causal=1),
    *(bad_cost(a, "a whole number of at least 1", "0", **{a: 0}) for a in ("n", "d_k", "m", "d_v", "h", "batch")),
    bad_cost("n", "integers", "n", n=sympy.Symbol("n")),
    bad_cost("h_kv", "a divisor of h = 4", "3", h=4, h_kv=3),
    bad_cost("causal", "True or False", "1", causal=1),
    bad_cost("backward", "True or False", "1", backward=1),
    bad_cost("dtype", "one of float64", "'int8'", dtype="int8"),
]
