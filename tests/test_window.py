"""Restricted attention beyond the contract: the neighbourhood exactly, its costs, every bad argument."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

from attnlib import cost, count, reference, window_attention


def agree(q, k, v, blocks, **options):
    got = jax.jit(lambda *a: window_attention(*a, **options, **blocks))(q, k, v)
    np.testing.assert_allclose(got, reference.window_attention(q, k, v, **options), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_the_neighbourhood_is_the_one_stated(causal, rng):
    for n, m, r in ((7, 7, 1), (13, 9, 3) if causal else (9, 13, 4), (6, 6, 50)):
        q, k, v = (jnp.asarray(rng.normal(size=(2, s, 3)), jnp.float32) for s in (n, m, m))
        agree(q, k, v, {"block_q": 4, "block_k": 3}, r=r, causal=causal)
    agree(q, k, v, {}, r=50, causal=causal, lengths=jnp.array([2, 5]))


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
    bad("causal", "True or False", "1", causal=1),
    bad("mask", "dtype bool", "float32", mask=X),
    bad("scale", "a finite real number", "nan", scale=float("nan")),
    bad("lengths", "an array of integers", "int", lengths=3),
    bad("block_q", "an integer of at least 1", "0", block_q=0),
    bad("block_k", "an integer of at least 1", "2.0", block_k=2.0),
    *(bad_cost(a, "a whole number of at least 1", "0", **{a: 0}) for a in ("n", "d_k", "m", "d_v", "h", "batch")),
    bad_cost("n", "integers", "n", n=sympy.Symbol("n")),
    bad_cost("r", "an integer of at least 1", "0", r=0),
    bad_cost("h_kv", "a divisor of h = 4", "3", h=4, h_kv=3),
    bad_cost("causal", "True or False", "1", causal=1),
    bad_cost("block_q", "an integer of at least 1", "0", block_q=0),
    bad_cost("block_k", "an integer of at least 1", "True", block_k=True),
    bad_cost("backward", "True or False", "1", backward=1),
    bad_cost("dtype", "one of float64", "'int8'", dtype="int8"),
    ("n", "whole number", "0", cost.window_pairs, (0, 3), {}),
    ("r", "whole number", "0", cost.window_pairs, (3, 0), {}),
    ("causal", "True or False", "1", cost.window_pairs, (3, 3), {"causal": 1}),
]
