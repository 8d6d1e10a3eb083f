"""Recurrent layers: Equinox's cells and the definitions, resumed runs, lengths, costs, every bad argument."""

import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from jax import export
from support import FULL, float64

from attnlib import cost, count, gru, init_gru, init_lstm, init_rnn, lstm, reference, rnn
from attnlib.measure.count import with_backward

LAYERS = {rnn: init_rnn, gru: init_gru, lstm: init_lstm}
DEFINITIONS = {rnn: reference.rnn, gru: reference.gru, lstm: reference.lstm}
each = pytest.mark.parametrize("layer", LAYERS, ids=lambda f: f.__name__)
# Every layer in both directions; outside of FULL, in one.
BOTH = [(layer, reverse) for i, layer in enumerate(LAYERS) for reverse in (False, True) if FULL or reverse == i % 2]
directions = pytest.mark.parametrize(("layer", "reverse"), BOTH, ids=lambda x: getattr(x, "__name__", str(x)))
trials = pytest.mark.parametrize("trial", range(20 if FULL else 1))


def draw(layer, rng, n, d, d_h, lead=(), dtype=jnp.float32):
    """Random parameters, biases too, and input: in NumPy, since what is drawn in JAX compiles for each shape."""
    params = jax.eval_shape(functools.partial(LAYERS[layer], d=d, d_h=d_h), jax.random.key(0))
    params = {w: jnp.asarray(0.6 * rng.normal(size=a.shape), dtype) for w, a in params.items()}
    return params, jnp.asarray(rng.normal(size=(*lead, n, d)), dtype)


def equal(a, b, **tolerance):
    tolerance = tolerance or {"rtol": 1e-5, "atol": 1e-6}
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **tolerance)


@each
@pytest.mark.parametrize("shape", [(1, 1, 1, ()), (6, 2, 5, (2, 3))], ids=str)
def test_agrees_with_the_definition(layer, shape, rng):
    params, x = draw(layer, rng, *shape)
    equal(jax.jit(layer)(params, x), DEFINITIONS[layer](params, x))
    state = DEFINITIONS[layer](params, x)[1]
    start = jax.tree.map(lambda s: jnp.asarray(s, jnp.float32), state)
    equal(jax.jit(layer)(params, x, start), DEFINITIONS[layer](params, x, state))


def equinox_run(cell, x, state):
    ys = []
    for x_t in x:
        state = cell(x_t, state)
        ys.append(state[0] if isinstance(state, tuple) else state)
    return jnp.stack(ys), state


def place(cell, **arrays):
    """Return the cell with these parameters."""
    return eqx.tree_at(lambda c: [getattr(c, a) for a in arrays], cell, list(arrays.values()))


@trials
@pytest.mark.parametrize("layer", [gru, lstm], ids=lambda f: f.__name__)
def test_values_and_gradients_are_those_of_equinox(layer, trial):
    rng = np.random.default_rng(trial)
    n, d, d_h = (int(s) for s in rng.integers(1, 6, 3))
    with float64():
        params, x = draw(layer, rng, n, d, d_h, dtype=jnp.float64)
        start = jnp.asarray(rng.normal(size=d_h)), jnp.asarray(rng.normal(size=d_h))
        start = start if layer is lstm else start[0]
        weigh = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape)), layer(params, x, start))

        def theirs(p, x, start):
            names = {"weight_ih": p["w"].T, "weight_hh": p["u"].T, "bias": p["b"]}
            if layer is gru:
                cell = eqx.nn.GRUCell(d, d_h, key=jax.random.key(0), dtype=jnp.float64)
                names |= {"bias_n": p["b_n"]}
            else:
                cell = eqx.nn.LSTMCell(d, d_h, key=jax.random.key(0), dtype=jnp.float64)
            return equinox_run(place(cell, **names), x, start)

        def loss(fn, *args):
            return sum(jax.tree.leaves(jax.tree.map(lambda a, b: (a * b).sum(), fn(*args), weigh)))

        args = params, x, start
        tight = {"rtol": 1e-11, "atol": 1e-12}
        equal(jax.jit(layer)(*args), jax.jit(theirs)(*args), **tight)
        ours = jax.jit(jax.grad(functools.partial(loss, layer), (0, 1, 2)))(*args)
        equal(ours, jax.jit(jax.grad(functools.partial(loss, theirs), (0, 1, 2)))(*args), **tight)


@each
def test_gradients(layer, rng):
    """The vanilla layer too, which Equinox has not: against central differences of the definition."""
    with float64():
        params, x = draw(layer, rng, 6, 3, 4, (2,), dtype=jnp.float64)
        do = rng.normal(size=(2, 6, 4))
        gradient = jax.jit(jax.grad(lambda p, x: (layer(p, x)[0] * do).sum(), (0, 1)))(params, x)
        way = jax.tree.map(lambda a: rng.normal(size=a.shape), (params, x))
        ahead, behind = (
            DEFINITIONS[layer](*jax.tree.map(lambda a, w, e=e: np.asarray(a) + e * w, (params, x), way))[0]
            for e in (1e-6, -1e-6)
        )
        predicted = sum(jax.tree.leaves(jax.tree.map(lambda g, w: float((g * w).sum()), gradient, way)))
        np.testing.assert_allclose(predicted, ((ahead - behind) / 2e-6 * do).sum(), rtol=1e-6)


@directions
def test_a_run_in_two_parts_is_one_run(layer, reverse, rng):
    params, x = draw(layer, rng, 9, 3, 4, (2,))
    whole, last = layer(params, x, reverse=reverse)
    first, second = (x[:, 5:], x[:, :5]) if reverse else (x[:, :5], x[:, 5:])
    a, state = layer(params, first, reverse=reverse)
    b, resumed = layer(params, second, state, reverse=reverse)
    equal(jnp.concatenate([b, a] if reverse else [a, b], 1), whole)
    equal(resumed, last)


@each
def test_reverse_is_the_layer_on_the_reversed_sequence(layer, rng):
    params, x = draw(layer, rng, 7, 3, 4, (2,))
    y, state = layer(params, x, reverse=True)
    z, other = layer(params, x[:, ::-1])
    equal((y[:, ::-1], state), (z, other))


@directions
def test_lengths(layer, reverse, rng):
    """Whatever stands beyond the end; each sequence alone, cut to its length, is the oracle."""
    params, x = draw(layer, rng, 6, 3, 4, (2, 3))
    lengths = jnp.array([[0, 1, 6], [4, 9, 3]])
    run = jax.jit(lambda p, x, lengths: layer(p, x, lengths=lengths, reverse=reverse))
    slope = jax.jit(jax.grad(lambda p, x: (layer(p, x, lengths=lengths, reverse=reverse)[0] ** 2).sum(), (0, 1)))
    clean = slope(params, x)
    for pad in (0.0, 1e30, np.nan, np.inf):
        padded = jnp.where(jnp.arange(6)[None, None, :, None] < lengths[..., None, None], x, pad)
        y, state = run(params, padded, lengths)
        gradients = slope(params, padded)
        equal(gradients, clean)
        for i, j in itertools.product(range(2), range(3)):
            m = min(int(lengths[i, j]), 6)
            assert not y[i, j, m:].any()
            assert not gradients[1][i, j, m:].any()
            if m:
                alone, last = DEFINITIONS[layer](params, x[i, j, :m][:: -1 if reverse else 1])
                equal(y[i, j, :m], alone[:: -1 if reverse else 1])
                equal(jax.tree.map(lambda s, i=i, j=j: s[i, j], state), last)
    equal(run(params, x, jnp.array(4)), run(params, x, jnp.full((2, 3), 4)))


@each
def test_vmap_and_export(layer, rng):
    params, x = draw(layer, rng, 5, 3, 4, (2,))
    equal(jax.vmap(layer, (None, 0))(params, x), layer(params, x))
    many = jax.tree.map(lambda a: jnp.stack([a, -a]), params)
    equal(jax.vmap(layer)(many, x)[0][1], layer(jax.tree.map(lambda a: -a, params), x[1])[0])

    def loss(p, x):
        return layer(p, x)[0].astype(jnp.float32).sum()

    for platform, dtype in zip(("cpu", "cuda", "tpu"), (jnp.float16, jnp.bfloat16, jnp.float32), strict=True):
        exported = export.export(jax.jit(jax.value_and_grad(loss, (0, 1))), platforms=[platform])
        assert exported(params, x.astype(dtype)).platforms == (platform,)


@each
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_rounds_the_output_and_not_the_state(layer, dtype, rng):
    params, x = draw(layer, rng, 200, 8, 8, dtype=dtype)
    y, state = layer(params, x)
    exact, _ = DEFINITIONS[layer](params, x)
    assert y.dtype == dtype
    assert all(s.dtype == jnp.float32 for s in jax.tree.leaves(state))
    half_step = float(jnp.finfo(dtype).eps) / 2
    assert np.abs(np.asarray(y, np.float64) - exact).max() <= 1.05 * half_step


@each
def test_parameters(layer):
    params = LAYERS[layer](jax.random.key(0), 96, d_h=64)
    gates = {rnn: 1, gru: 3, lstm: 4}[layer]
    assert params["w"].shape == (96, gates * 64)
    assert params["u"].shape == (64, gates * 64)
    for w, fan_in in {"w": 96, "u": 64}.items():
        assert abs(params[w].var() * fan_in - 1) < 5 * np.sqrt(2 / params[w].size)
    bias = np.zeros(gates * 64)
    if layer is lstm:
        bias[64:128] = 1
    np.testing.assert_array_equal(params["b"], bias)
    assert sum(a.size for a in params.values()) == MODELS[layer](5, 96, d_h=64).parameters
    assert LAYERS[layer](jax.random.key(0), 3, dtype=jnp.bfloat16)["w"].dtype == jnp.bfloat16


# --- costs ----------------------------------------------------------------------------------------------------------

MODELS = {rnn: cost.rnn, gru: cost.gru, lstm: cost.lstm}


def shapes(layer, n, d, d_h, batch):
    params = jax.eval_shape(lambda: LAYERS[layer](jax.random.key(0), d, d_h=d_h))
    f32 = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    return f32((batch, n, d_h)), params, f32((batch, n, d))


@each
def test_operations_equal_what_the_compiler_counts(layer, rng):
    for _ in range(20 if FULL else 6):
        n, d, d_h, batch = (int(s) for s in rng.integers(1, 30, 4))
        y, *args = shapes(layer, n, d, d_h, batch)

        def fn(p, x):
            return layer(p, x)[0]

        for backward in (False, True):
            c = MODELS[layer](n, d, d_h=d_h, batch=batch, backward=backward)
            program = (with_backward(fn), y, *args) if backward else (fn, *args)
            counted = count.operations(*program)
            assert count.Operations(c.matmul_flops, c.other_flops, c.transcendentals) == counted
        assert c.saved == count.saved(fn, *args)


@each
def test_live_memory_is_of_the_size_that_the_compiler_reserves(layer):
    """What is live is the least that the steps need; XLA copies what a loop reads or writes, but not more often."""
    y, *args = shapes(layer, 1024, 64, 64, 2)

    def fn(p, x):
        return layer(p, x)[0]

    forward = count.memory(fn, *args) / MODELS[layer](1024, 64, batch=2).live
    both = count.memory(with_backward(fn), y, *args) / MODELS[layer](1024, 64, batch=2, backward=True).live
    assert 0.97 < forward < 2
    assert 0.97 < both < 2
    y, *args = shapes(layer, 2048, 64, 64, 2)
    assert count.memory(fn, *args) < 2.05 * forward * MODELS[layer](1024, 64, batch=2).live


def test_formulas_and_crossovers():
    n, d = sympy.symbols("n d", positive=True)
    core, layer = cost.attention(n, d).matmul_flops, cost.multihead_attention(n, d, 1).matmul_flops
    for model, per_token, core_meets, layer_meets in (
        (cost.rnn, 4, [d], []),
        (cost.gru, 12, [3 * d], [d]),
        (cost.lstm, 16, [4 * d], [2 * d]),
    ):
        c = model(n, d)
        assert sympy.expand(c.matmul_flops - per_token * n * d**2) == 0
        assert c.path == n
        assert sympy.degree(c.sequential, n) == 1
        assert sympy.solve(core - c.matmul_flops, n) == core_meets
        assert [s for s in sympy.solve(layer - c.matmul_flops, n) if s.is_positive] == layer_meets
        assert sympy.expand(model(n, d, backward=True).matmul_flops - 3 * c.matmul_flops) == 0
    # At n = d = 512 the core and the vanilla layer cost the same; in multiply-adds of half of it, not 262,144.
    assert cost.rnn(512, 512).matmul_flops == cost.attention(512, 512).matmul_flops == 4 * 134_217_728


# --- bad input ------------------------------------------------------------------------------------------------------

KEY = jax.random.key(0)
X = np.zeros((2, 5, 3), "f")


def bad(argument, expected, got, layer, **kwargs):
    params = LAYERS[layer](KEY, 3, d_h=4)
    params = kwargs.pop("params", params) if "params" in kwargs else params | kwargs.pop("change", {})
    x = kwargs.pop("x", X)
    return (argument, expected, got, layer, (params, x), kwargs)


BAD = [
    *(
        entry
        for layer, g in ((rnn, 1), (gru, 3), (lstm, 4))
        for entry in (
            bad("params", "a dict of w, u, b", "NoneType", layer, params=None),
            bad("params", "a dict of w, u, b", "['w']", layer, params={"w": X}),
            bad("w", f"({3}, {4 * g})", "(5,)", layer, change={"w": jnp.zeros(5)}),
            bad("w", f"(2, {4 * g})", f"(3, {4 * g})", layer, x=X[..., :2]),
            bad("u", "(d_h, ", "(4, 5)", layer, change={"u": jnp.zeros((4, 5))}),
            bad("b", f"({4 * g},)", "(5,)", layer, change={"b": jnp.zeros(5)}),
            bad("b", "floating-point", "int32", layer, change={"b": jnp.zeros(5, jnp.int32)}),
            bad("x", "an array", "list", layer, x=[1.0]),
            bad("x", "floating-point", "int32", layer, x=X.astype("int32")),
            bad("x", "(..., n, d)", "(3,)", layer, x=X[0, 0]),
            bad("x", "no axis of length 0", "(2, 0, 3)", layer, x=X[:, :0]),
            bad("lengths", "an array of integers", "int", layer, lengths=3),
            bad("lengths", "broadcasts to (2,)", "(3,)", layer, lengths=jnp.ones(3, jnp.int32)),
            bad("reverse", "True or False", "1", layer, reverse=1),
        )
    ),
    bad("b_n", "(4,)", "(5,)", gru, change={"b_n": jnp.zeros(5)}),
    bad("state", "(2, 4)", "(4,)", rnn, state=jnp.zeros(4)),
    bad("state", "floating-point", "int32", gru, state=jnp.zeros((2, 4), jnp.int32)),
    bad("state", "a pair (h, c)", "ndarray", lstm, state=np.zeros((2, 4))),
    bad("state", "a pair (h, c)", "1 of them", lstm, state=(np.zeros((2, 4)),)),
    ("state", "(2, 4)", "(2, 3)", lstm, (init_lstm(KEY, 3, d_h=4), X, (X[:, 0, :1].repeat(4, 1), X[:, 0])), {}),
    *(
        entry
        for init in LAYERS.values()
        for entry in (
            ("key", "jax.random.key", "None", init, (None, 3), {}),
            ("d", "at least 1", "0", init, (KEY, 0), {}),
            ("d_h", "at least 1", "2.0", init, (KEY, 3), {"d_h": 2.0}),
            ("dtype", "floating-point", "int", init, (KEY, 3), {"dtype": jnp.int32}),
        )
    ),
]
