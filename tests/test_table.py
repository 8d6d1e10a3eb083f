"""Table 1 of Vaswani et al. (2017), cell by cell: the formula, and what is counted in the program that runs.

Complexity per layer, sequential operations and maximum path length of self-attention, recurrent, convolutional and
restricted layers of width d on n positions. The third form, the clock's, is benchmarks/table.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from support import FULL

import attnlib
from attnlib import conv, cost, count, graph, init_conv, init_gru, init_lstm, init_rnn, registry

N, D, K, R = sympy.symbols("n d k r", positive=True)


def shape(*axes):
    return jax.ShapeDtypeStruct(axes, jnp.float32)


def attention(n, d):
    x = shape(n, d)
    return (lambda x: attnlib.attention(x, x, x), x), cost.attention(n, d)


def layered(layer, n, d):
    params = jax.eval_shape(lambda: layer.draw(jax.random.key(0), d))
    return (lambda p, x: layer.fn(p, x), params, shape(n, d)), layer.cost(n, d)


def convolution(n, d, k=3, **kwargs):
    separable = kwargs.get("separable", False)
    params = jax.eval_shape(lambda: init_conv(jax.random.key(0), d, k, separable=separable))
    return (conv, params, shape(n, d)), cost.conv(n, d, k, **kwargs)


def restricted(n, d, r=16):
    """Blocks of the size of the neighbourhood."""
    x, blocks = shape(n, d), {"block_q": r, "block_k": r}
    fn = functools.partial(attnlib.window_attention, r=r, causal=True, **blocks)
    return (lambda x: fn(x, x, x), x), cost.window_attention(n, d, r, causal=True, **blocks)


RNN = functools.partial(layered, next(layer for layer in registry.LAYERS if layer.name == "rnn"))
# FLOPs in matrix products by hand: what the cost models of the registry have to give for symbols.
BY_HAND = {
    "attention": 4 * N**2 * D,
    "vanilla": 4 * N * D**2,
    "GRU": 12 * N * D**2,
    "LSTM": 16 * N * D**2,
    "convolution": 6 * N * D**2,
    "separable": 2 * N * D**2,
    "state space": 2 * N * D * 16,
    "Mamba": sympy.Rational(25, 2) * N * D**2 + 8 * N * D * 8,
    "feed-forward": 16 * N * D**2,
    "multi-head attention": 8 * N * D**2 + 4 * N**2 * D,
    "latent attention": sympy.Rational(45, 4) * N * D**2 + 5 * N**2 * D,
}
# name: program and model of a layer, its model for symbols, its FLOPs by formula, exponents of n and d in it, the
# products on its longest chain and whether these grow with n
ROWS = {
    "attention": (attention, cost.attention, BY_HAND["attention"], (2, 1), 2, False),
    **{
        layer.title: (
            functools.partial(layered, layer),
            layer.cost,
            BY_HAND[layer.title],
            layer.time,
            layer.chain,
            layer.per_position,
        )
        for layer in registry.LAYERS
    },
}
each = pytest.mark.parametrize("row", ROWS)


# --- complexity per layer ---


@each
def test_complexity(row):
    build, model_of, formula, (of_n, of_d), *_ = ROWS[row]
    assert sympy.expand(model_of(N, D).matmul_flops - formula) == 0
    counted = {}
    for n, d in ((64, 32), (128, 32), (64, 64)):
        program, model = build(n, d)
        counted[n, d] = count.matmul_flops(*program)
        assert counted[n, d] == model.matmul_flops == formula.subs({N: n, D: d})
    # The exponents are those of the largest term: one formula has two.
    if isinstance(formula, sympy.Add):
        assert (sympy.degree(formula, N), sympy.degree(formula, D)) == (of_n, of_d)
        return
    assert counted[128, 32] == 2**of_n * counted[64, 32]
    assert counted[64, 64] == 2**of_d * counted[64, 32]


def test_complexity_of_restricted_attention():
    """O(r n d): 4d FLOPs for each pair in the window, n r of them up to the corner; its blocks hold twice that."""
    pairs = cost.window_pairs(N, R)
    inside = sympy.expand(pairs.subs(sympy.Min(N, R), R))
    assert sympy.expand(inside - (N * R - R * (R - 1) / 2)) == 0
    counted = {}
    for n, d, r in ((256, 32, 16), (512, 32, 16), (256, 64, 16), (256, 32, 32)):
        program, model = restricted(n, d, r)
        counted[n, d, r] = count.matmul_flops(*program)
        assert counted[n, d, r] == model.matmul_flops == 4 * d * (2 * n - r) * r
        assert 1 < counted[n, d, r] / (4 * d * cost.window_pairs(n, r)) < 2.01
    base = counted[256, 32, 16]
    assert counted[512, 32, 16] / base == pytest.approx(2, rel=0.04)
    assert counted[256, 64, 16] == 2 * base
    assert counted[256, 32, 32] / base == pytest.approx(2, rel=0.04)


def test_complexity_of_convolutions_in_k():
    one, three, nine = (convolution(64, 16, k) for k in (1, 3, 9))
    for (program, model), k in ((one, 1), (three, 3), (nine, 9)):
        assert count.matmul_flops(*program) == model.matmul_flops == k * one[1].matmul_flops
    # Separable: k n d + n d² in multiply-adds, the first outside of matrix products.
    program, model = convolution(64, 16, 9, separable=True)
    operations = count.operations(*program)
    assert operations.matmul_flops == model.matmul_flops == 2 * 64 * 16**2
    assert operations.other_flops == model.other_flops == (2 * 9 - 1) * 64 * 16 + 64 * 16


# --- sequential operations ---


@pytest.mark.parametrize("row", [*ROWS, "restricted"])
def test_sequential_operations(row):
    build, *_, chain, grows = ROWS.get(row, (restricted, 2, False))
    fixed = {step.name: step.sequential for step in build(16, 16)[1].steps}
    for n in (16, 64, 512):
        program, model = build(n, 16)
        assert graph.depth(*program) == (n if grows else chain)
        # The model has the products in a row that the program has; a recurrence projects its inputs beforehand.
        assert sum(step.sequential for step in model.steps if step.matmul_flops) == (n + 1 if grows else chain)
        # Nothing else waits for a longer sequence, but for the chunks of a scan, which are no products.
        for step in model.steps:
            assert grows or step.name == "states" or step.sequential == fixed[step.name] <= 2
    if grows:
        assert build(512, 16)[1].sequential - build(256, 16)[1].sequential == 2 * 256  # product and state


def test_constant_operations_are_not_constant_depth():
    """With operations on two numbers: attention Θ(log n + log d), a recurrent layer Θ(n log d)."""
    lengths = [2**i for i in range(4, 13)]
    spans = [graph.span(*attention(n, 64)[0]) for n in lengths]
    # Three sums or maxima of n numbers in a row: the largest score, the sum of the weights, the sum of the values.
    assert set(np.diff(spans)) == {3}
    widths = [graph.span(*attention(64, d)[0]) for d in (16, 32, 64)]
    assert set(np.diff(widths)) == {1}
    assert [graph.span(*convolution(n, 64)[0]) for n in (16, 4096)] == [1 + 8 + 1] * 2
    steps = [graph.span(*RNN(n, 64)[0]) for n in (16, 32, 64)]
    assert steps[2] - steps[1] == 2 * (steps[1] - steps[0]) == 32 * (1 + 6 + 2)  # product, sum, tanh


# --- maximum path length ---


@pytest.mark.parametrize("n", [2, 3, 10, 100] if FULL else [100])
def test_path_lengths_by_formula_by_search_and_by_jacobian(n):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(n, 2)), jnp.float32)

    def of(fn, causal):
        return graph.path_length(graph.depends(fn, x), n, causal=causal)

    assert cost.attention(n, 2).path == graph.path_length(graph.full(n), n) == 1
    assert of(lambda x: attnlib.attention(x, x, x), False) == 1
    assert of(lambda x: attnlib.attention(x, x, x, causal=True), True) == 1
    for k in (2, 3, 5):
        for causal in (False, True) if k % 2 else (True,):
            params = init_conv(jax.random.key(0), 2, k)
            searched = graph.path_length(graph.convolution(k, causal=causal), n, causal=causal)
            assert cost.conv(n, 2, k, causal=causal).path == searched
            assert of(lambda x, c=causal, p=params: conv(p, x, causal=c), causal) == searched
    for r, causal in ((2, True), (5, True), (2, False), (7, False)):
        searched = graph.path_length(graph.restricted(r, causal=causal), n, causal=causal)
        assert cost.window_attention(n, 2, r, causal=causal).path == searched
        fn = functools.partial(attnlib.window_attention, r=r, causal=causal)
        assert of(lambda x, fn=fn: fn(x, x, x), causal) == searched


@pytest.mark.parametrize("n", [2, 7, 30] if FULL else [7])
@pytest.mark.parametrize("layer", [attnlib.rnn, attnlib.gru, attnlib.lstm], ids=lambda f: f.__name__)
def test_path_length_of_a_recurrent_layer(layer, n):
    """One sweep applies the cell to all positions at once; the Jacobian of a sweep is what it reads."""
    init, model = {
        attnlib.rnn: (init_rnn, cost.rnn),
        attnlib.gru: (init_gru, cost.gru),
        attnlib.lstm: (init_lstm, cost.lstm),
    }[layer]
    params = init(jax.random.key(0), 2)
    x, h = jnp.asarray(np.random.default_rng(0).normal(size=(2, n, 2)), jnp.float32)

    def sweep(x, h):
        before = jnp.concatenate([jnp.zeros((1, 2)), h[:-1]])
        state = (before, before) if layer is attnlib.lstm else before
        return layer(params, x[:, None], state)[0][:, 0]

    of_input = graph.depends(lambda x: sweep(x, h), x)
    of_state = graph.depends(lambda h: sweep(x, h), h)
    np.testing.assert_array_equal(of_input, np.eye(n, dtype=bool))
    np.testing.assert_array_equal(of_state, np.eye(n, k=-1, dtype=bool))

    def reads(sweep, i):
        return np.flatnonzero(of_input[i] | (of_state[i] if sweep else False))

    searched = graph.path_length(reads, n, causal=True)
    assert searched == graph.path_length(graph.recurrent(), n, causal=True) == model(n, 2).path == n
    # The layer as a whole connects them, through n applications.
    np.testing.assert_array_equal(graph.depends(lambda x: layer(params, x)[0], x), np.tril(np.ones((n, n), bool)))


@pytest.mark.parametrize(("k", "paths"), [(3, (999, 500, 7)), (9, (250, 125, 4))])
def test_a_thousand_positions(k, paths):
    kinds = [{"causal": False}, {"causal": True}, {"causal": True, "dilated": True}]
    for path, kind in zip(paths, kinds, strict=True):
        assert cost.conv_path(1000, k, **kind) == path
        assert graph.path_length(graph.convolution(k, **kind), 1000, causal=kind["causal"]) == path
    assert cost.window_attention(1000, 2, k).path == graph.path_length(graph.restricted(k), 1000) == paths[0]
    # The dilated stack itself: with one layer less, the last output does not depend on the first input.
    layers = [{"w": jnp.ones((k, 1, 1)), "b": jnp.zeros(1)}] * paths[2]
    for used in (paths[2], paths[2] - 1):
        stack = functools.partial(
            attnlib.conv_stack, layers[:used], causal=True, dilations=[k**i for i in range(used)], activation=None
        )
        assert graph.receptive_field(stack, jnp.ones((1000, 1)), -1)[0] == (used == paths[2])


def test_path_lengths_by_search_at_random(rng):
    for _ in range(30):
        n, k = int(rng.integers(2, 200)), 2 * int(rng.integers(1, 6)) + 1
        for causal, dilated in ((False, False), (True, False), (True, True)):
            searched = graph.path_length(graph.convolution(k, causal=causal, dilated=dilated), n, causal=causal)
            assert cost.conv_path(n, k, causal=causal, dilated=dilated) == searched


def test_centred_dilated_stacks_do_not_connect_the_ends():
    """The one way from the first position to the third, −1 + 3 for k = 3, leads through one before the first."""
    for n in (3, 10, 170):
        with pytest.raises(ValueError, match="expected layers that connect all positions, got none"):
            graph.path_length(graph.convolution(3, dilated=True), n)
    layers = [{"w": jnp.ones((3, 1, 1)), "b": jnp.zeros(1)}] * 6
    stack = functools.partial(attnlib.conv_stack, layers, dilations=[3**i for i in range(6)], activation=None)
    meets = graph.depends(stack, jnp.ones((30, 1)))
    assert not meets[2, 0]
    assert not meets.all()
