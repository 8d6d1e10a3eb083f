"""Restricted attention beyond the contract: the neighbourhood exactly, its costs, every bad argument."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from contract import export
from support import float64

from attnlib import attention, cost, count, flash_attention, reference, spread, window_attention
from attnlib.cost.flash import block_pairs, cover
from attnlib.measure.count import with_backward


def agree(q, k, v, blocks, **options):
    got = jax.jit(lambda *a: window_attention(*a, **options, **blocks))(q, k, v)
    np.testing.assert_allclose(got, reference.window_attention(q, k, v, **options), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_the_neighbourhood_is_the_one_stated(causal, rng):
    for n, m, r in ((7, 7, 1), (13, 9, 3) if causal else (9, 13, 4), (6, 6, 50)):
        q, k, v = (jnp.asarray(rng.normal(size=(2, s, 3)), jnp.float32) for s in (n, m, m))
        agree(q, k, v, {"block_q": 4, "block_k": 3}, r=r, causal=causal)
    agree(q, k, v, {}, r=50, causal=causal, lengths=jnp.array([2, 5]))


DILATED = [
    # n, m, options: lengths that the dilation divides and does not, fewer positions than it, more queries than keys
    (13, 13, {"left": 2, "right": 1, "dilation": 3}),
    (12, 12, {"r": 3, "dilation": 2, "causal": True}),
    (7, 17, {"left": 0, "right": 2, "dilation": 4}),
    (17, 7, {"left": 3, "right": 4, "dilation": 5}),
    (6, 2, {"left": 1, "causal": True, "dilation": 4}),
    (3, 4, {"r": 5, "dilation": 1000}),
    (9, 14, {"left": 5, "right": 0}),
]


def masks(rng, n, m):
    """None, and a mask of every shape that broadcasts."""
    shapes = ((n, m), (1, m), (m,), (3, n, 1), (2, 1, n, m), (1, 1))
    return [None, *(jnp.asarray(rng.random(s) < 0.7) for s in shapes)]


@pytest.mark.sample(3)
@pytest.mark.parametrize(("n", "m", "options"), DILATED, ids=str)
def test_gaps_and_unequal_sides(n, m, options, rng):
    """Values and gradients in float64, with masks of every shape and lengths, are those of the definition."""
    for i, mask in enumerate(masks(rng, n, m)):
        kwargs = options | ({"lengths": jnp.asarray(rng.integers(0, m + 1, (2, 1)))} if i % 2 else {})
        seen = {"mask": None if mask is None else np.asarray(mask), "dilation": options.get("dilation", 1)}
        seen |= {"lengths": kwargs.get("lengths"), "causal": options.get("causal", False)}
        near = cost.window.neighbourhood("", *(options.get(a) for a in ("r", "left", "right")), 1, seen["causal"])
        visible = jnp.asarray(reference.visible(n, m, window=near, **seen))
        with float64():
            args = [jnp.asarray(rng.normal(size=s)) for s in ((2, 3, n, 2), (3, n, 4), (2, 1, m, 4), (1, m, 2))]
            ours = jax.jit(with_backward(lambda *a, kw=kwargs, x=mask: window_attention(*a, mask=x, **kw)))(*args)
            dense = jax.jit(with_backward(lambda *a, x=visible: attention(*a, mask=x)))(*args)
        exact = reference.window_attention(*args[1:], **kwargs, mask=mask)
        np.testing.assert_allclose(ours[0], exact, rtol=1e-11, atol=1e-12)
        for a, b in zip(ours, dense, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("n", "m", "options"), DILATED, ids=str)
def test_costs_with_gaps_are_those_counted(n, m, options):
    shapes = (2, n, 2), (2, n, 4), (1, m, 4), (1, m, 2)
    x = [jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes]
    for blocks in ({}, {"block_q": 2, "block_k": 3}):
        fn = with_backward(lambda *a, kw=options | blocks: window_attention(*a, **kw))
        model = cost.window_attention(n, 4, m=m, d_v=2, h=2, h_kv=1, **options, **blocks, backward=True)
        assert count.matmul_flops(fn, *x) == model.matmul_flops
    if n != m:
        return
    # With blocks of one pair exactly the pairs that matter.
    told = {"causal": False} | options
    model = cost.window_attention(n, 3, **options, block_q=1, block_k=1)
    assert model.matmul_flops == 4 * 3 * cost.window_pairs(n, **told)
    near = cost.window.neighbourhood("", *(options.get(a) for a in ("r", "left", "right")), 1, told["causal"])
    seen = reference.visible(n, n, window=near, causal=told["causal"], dilation=options.get("dilation", 1))
    assert seen.sum() == cost.window_pairs(n, **told)


def test_a_window_is_the_same_wherever_it_is_said(rng):
    """flash_attention's number and pair, r, left and right; unequal sides skip blocks."""
    q, k, v = (jnp.asarray(rng.normal(size=(20, 3)), jnp.float32) for _ in range(3))
    for a, b in (
        (window_attention(q, k, v, r=7), flash_attention(q, k, v, window=4)),
        (window_attention(q, k, v, r=7, causal=True), flash_attention(q, k, v, window=7, causal=True)),
        (window_attention(q, k, v, left=3, right=3), flash_attention(q, k, v, window=(3, 3))),
        (window_attention(q, k, v, left=6, right=0), flash_attention(q, k, v, window=7, causal=True)),
    ):
        np.testing.assert_array_equal(a, b)
    for near in ((0, 9), (9, 0), (3, 1), (0, 0)):
        seen = reference.visible(20, 23, window=near)
        whole, part = block_pairs(20, 23, 4, 5, False, near)
        for i in range(5):
            for j in range(5):
                block = seen[4 * i : 4 * i + 4, 5 * j : 5 * j + 5]
                assert ([i, j] in whole.tolist()) == (block.shape == (4, 5) and block.all())
                assert ([i, j] in [*whole.tolist(), *part.tolist()]) == block.any()
        met = cover(20, 23, (8, 10), (4, 5), False, near)
        assert sum(a * b * len(x) for (a, b), x in zip(((8, 10), (4, 5), (4, 5)), met, strict=True)) >= seen.sum()
    one_side = cost.flash_attention(8192, 64, window=(1024, 0)).matmul_flops
    assert one_side == cost.flash_attention(8192, 64, window=1025, causal=True).matmul_flops
    assert one_side < 0.6 * cost.flash_attention(8192, 64, window=1025).matmul_flops


def test_a_dilated_window_on_other_devices_and_spread(rng):
    q, k, v = (jnp.asarray(rng.normal(size=(2, 2, 11, 4)), jnp.float32) for _ in range(3))
    mask, lengths = jnp.asarray(rng.random((2, 1, 11, 11)) < 0.7), jnp.asarray([[7], [11]])
    options = {"left": 2, "right": 1, "dilation": 3, "mask": mask, "lengths": lengths}
    whole = window_attention(q, k, v, **options)
    np.testing.assert_allclose(spread(window_attention)(q, k, v, **options), whole, rtol=1e-5, atol=1e-6)
    stacked = jax.vmap(lambda *a: window_attention(*a, left=2, right=1, dilation=3))(q, k, v)
    np.testing.assert_allclose(stacked, window_attention(q, k, v, left=2, right=1, dilation=3), rtol=1e-5, atol=1e-6)
    mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
    there = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    with jax.set_mesh(mesh) if hasattr(jax, "set_mesh") else jax.sharding.use_mesh(mesh):
        on = jax.jit(lambda *a: window_attention(*a, **options))(*(jax.device_put(x, there) for x in (q, k, v)))
        np.testing.assert_allclose(on, whole, rtol=1e-5, atol=1e-6)
        assert on.sharding.spec[0] == "x"
    for platform in ("cpu", "cuda", "tpu"):
        fn = jax.jit(jax.grad(lambda *a: window_attention(*a, r=4, dilation=3, causal=True).sum()))
        assert export.export(fn, platforms=[platform])(q, k, v).platforms == (platform,)


def test_dilation_takes_no_more_memory():
    def temporary(n):
        x = jax.ShapeDtypeStruct((n, 32), jnp.float32)
        return count.memory(jax.grad(lambda *a: window_attention(*a, r=64, dilation=4).sum()), x, x, x)

    assert temporary(16384) < 2.1 * temporary(8192)


def pairs(n, r, causal):
    """How many weights of the definition are not zero."""
    zeros = np.zeros((n, 1))
    return (reference.window_attention(zeros, zeros, np.eye(n), r=r, causal=causal) > 0).sum()


@pytest.mark.parametrize("causal", [False, True])
def test_pairs(causal):
    for n in range(1, 9):
        for r in range(1, 12):
            assert cost.window_pairs(n, r, causal=causal) == pairs(n, r, causal)
            # With blocks of one pair the kernel visits these and no others.
            blocks = {"block_q": 1, "block_k": 1}
            model = cost.window_attention(n, 3, r, causal=causal, d_v=2, **blocks)
            assert model.matmul_flops == 2 * 5 * cost.window_pairs(n, r, causal=causal)
    n, r = sympy.symbols("n r", positive=True)
    array = cost.window_pairs(np.array([5, 9]), np.array([4, 12]), causal=causal)
    for i, (a, b) in enumerate(((5, 4), (9, 12))):
        exact = cost.window_pairs(a, b, causal=causal)
        assert type(exact) is int
        assert cost.window_pairs(n, r, causal=causal).subs({n: a, r: b}) == exact == array[i]


def test_work_is_linear_in_the_length_and_in_the_neighbourhood():
    x = [jax.ShapeDtypeStruct((n, 8), jnp.float32) for n in (4096, 8192)]

    def flops(x, r):
        return count.matmul_flops(lambda q, k, v: window_attention(q, k, v, r=r, causal=True), x, x, x)

    small, long, wide = flops(x[0], 256), flops(x[1], 256), flops(x[0], 512)
    assert 1.95 < long / small < 2.1
    assert 1.4 < wide / small < 2
    assert small == cost.window_attention(4096, 8, 256, causal=True).matmul_flops
    # The blocks overshoot the neighbourhood by at most a block on each side.
    assert 1 <= small / (4 * 8 * cost.window_pairs(4096, 256)) <= 2


def test_path_lengths():
    for r, causal, path in (
        (3, False, 999),
        (9, False, 250),
        (3, True, 500),
        (9, True, 125),
        (1, True, 0),
        (1, False, 0),
    ):
        assert cost.window_attention(1000, 4, r, causal=causal).path == path
    assert cost.window_attention(1000, 4, left=9, right=3).path == 333
    assert cost.window_attention(1000, 4, left=9, right=0).path == 111
    assert cost.window_attention(1000, 4, r=5, causal=True, dilation=3).path == -(-333 // 4)
    assert cost.window_attention(1000, 4, r=5, causal=True, dilation=2).path == 0  # odd from even positions
    np.testing.assert_array_equal(cost.window_attention([10, 1000], 4, 3).path, [9, 999])


X = jnp.ones((2, 5, 4))


def bad(argument, expected, got, **kwargs):
    arrays = {"q": X, "k": X, "v": X} | {a: kwargs.pop(a) for a in ("q", "k", "v") if a in kwargs}
    return argument, expected, got, window_attention, tuple(arrays.values()), {"r": 2} | kwargs


def bad_cost(argument, expected, got, **kwargs):
    return argument, expected, got, cost.window_attention, (), {"n": 8, "d_k": 4, "r": 3} | kwargs


BAD = [
    bad("q", "an array", "list", q=[1.0]),
    bad("k", "d_k = 4", "d_k = 3", k=X[..., :3]),
    bad("v", "m = 5", "m = 4", v=X[:, :4]),
    bad("r", "an integer of at least 1", "0", r=0),
    bad("r", "an integer of at least 1", "2.0", r=2.0),
    bad("r", "or left and right", "None", r=None),
    bad("left", "None together with r", "2", left=2),
    bad("right", "None together with r", "0", right=0, causal=True),
    bad("left", "an integer of at least 0", "-1", r=None, left=-1, right=2),
    bad("left", "an integer of at least 0", "None", r=None, right=2),
    bad("right", "an integer of at least 0", "None", r=None, left=2),
    bad("right", "0 with causal", "1", r=None, left=2, right=1, causal=True),
    bad("dilation", "an integer of at least 1", "0", dilation=0),
    bad("lengths", "an array of integers", "int", lengths=3, dilation=2),
    bad("mask", "dtype bool", "float32", mask=X, dilation=2),
    bad("block_q", "an integer of at least 1", "0", block_q=0, dilation=2),
    bad("causal", "True or False", "1", causal=1),
    bad("mask", "dtype bool", "float32", mask=X),
    bad("scale", "a finite real number", "nan", scale=float("nan")),
    bad("lengths", "an array of integers", "int", lengths=3),
    bad("block_q", "an integer of at least 1", "0", block_q=0),
    bad("block_k", "an integer of at least 1", "2.0", block_k=2.0),
    *(bad_cost(a, "a whole number of at least 1", "0", **{a: 0}) for a in ("n", "d_k", "m", "d_v", "h", "batch")),
    bad_cost("n", "integers", "n", n=sympy.Symbol("n")),
    bad_cost("r", "an integer of at least 1", "0", r=0),
    bad_cost("n", "integers n and m", "[", n=np.array([3, 4]), dilation=2),
    bad_cost("left", "None together with r", "2", left=2),
    bad_cost("right", "an integer of at least 0", "None", r=None, left=2),
    bad_cost("dilation", "an integer of at least 1", "0", dilation=0),
    bad_cost("h_kv", "a divisor of h = 4", "3", h=4, h_kv=3),
    bad_cost("causal", "True or False", "1", causal=1),
    bad_cost("block_q", "an integer of at least 1", "0", block_q=0),
    bad_cost("block_k", "an integer of at least 1", "True", block_k=True),
    bad_cost("backward", "True or False", "1", backward=1),
    bad_cost("dtype", "one of float64", "'int8'", dtype="int8"),
    ("n", "whole number", "0", cost.window_pairs, (0, 3), {}),
    ("r", "whole number", "0", cost.window_pairs, (3, 0), {}),
    ("causal", "True or False", "1", cost.window_pairs, (3, 3), {"causal": 1}),
    ("left", "None together with r", "1", cost.window_pairs, (3, 3), {"left": 1}),
    ("right", "0 with causal", "1", cost.window_pairs, (3,), {"left": 1, "right": 1}),
    ("dilation", "an integer of at least 1", "0", cost.window_pairs, (3, 3), {"dilation": 0}),
]
