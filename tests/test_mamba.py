"""Mamba: the definition, causality, states, parameters, costs, every bad argument."""

import io
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from jax import export
from support import float64

import attnlib
from attnlib import MambaState, cost, count, init_mamba, mamba, mamba_state, mamba_step, reference
from attnlib.measure.count import with_backward

SIZES = {"states": 4, "expand": 2, "k": 3, "rank": 2}


def draw_mamba(rng, n, d=4, lead=(), dtype=jnp.float32):
    params = init_mamba(jax.random.key(1), d, **SIZES, dtype=dtype)
    params = {w: a + 0.1 * jnp.asarray(rng.normal(size=a.shape), dtype) for w, a in params.items()}
    return params, jnp.asarray(rng.normal(size=(*lead, n, d)), dtype)


def close(a, b, rtol=1e-10, atol=1e-10):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


# --- the definition -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 9])
def test_mamba_agrees_with_the_definition(n, rng):
    with float64():
        params, x = draw_mamba(rng, n, lead=(2,), dtype=jnp.float64)
        y, *gradients = jax.jit(with_backward(mamba))(jnp.ones_like(x), params, x)
        close(y, reference.mamba(params, x))
        way = jax.tree.map(lambda a: rng.normal(size=a.shape), (params, x))
        ahead, behind = (
            reference.mamba(*jax.tree.map(lambda a, w, e=e: np.asarray(a) + e * w, (params, x), way)).sum()
            for e in (1e-6, -1e-6)
        )
        predicted = sum(jax.tree.leaves(jax.tree.map(lambda g, w: float((g * w).sum()), tuple(gradients), way)))
        np.testing.assert_allclose(predicted, (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-7)


def test_the_scan_within_goes_one_by_one_or_in_trees(rng):
    with float64():
        params, x = draw_mamba(rng, 21, lead=(2,), dtype=jnp.float64)
        ways = [jax.jit(with_backward(partial(mamba, chunk=8, tree=tree))) for tree in (False, True)]
        close(*(run(jnp.ones_like(x), params, x) for run in ways))


# --- causality and numbers ------------------------------------------------------------------------------------------


def test_what_comes_later_changes_nothing(rng):
    """200 random perturbations, to the bit."""
    trials, n = 200, 37
    params, x = draw_mamba(rng, n)
    later = np.arange(n)[None, :, None] >= rng.integers(1, n, trials)[:, None, None]
    other = jnp.where(later, jnp.abs(rng.normal(size=(trials, *x.shape)).astype("f")), x[None])
    run = jax.jit(partial(mamba, params, chunk=8))
    changed = np.abs(run(other) - run(jnp.broadcast_to(x, other.shape)))
    assert not changed[~np.broadcast_to(later, changed.shape)].any()
    assert (changed.max(axis=(1, 2)) > 1e-3).all()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision(dtype, rng):
    params, x = draw_mamba(rng, 20)
    low = mamba(params, x.astype(dtype))
    assert low.dtype == dtype
    np.testing.assert_allclose(low.astype(jnp.float32), mamba(params, x), atol=0.1)


# --- states ---------------------------------------------------------------------------------------------------------


def test_steps_of_mamba_make_one_run(rng):
    with float64():
        params, x = draw_mamba(rng, 11, lead=(2,), dtype=jnp.float64)
        sizes = {name: size for name, size in SIZES.items() if name != "rank"}
        empty = mamba_state(4, **sizes, lead=(2,), dtype=jnp.float64)

        def stepwise(params, x):
            state, outputs = empty, []
            for part in (np.s_[:1], np.s_[1:8], np.s_[8:]):  # the first shorter than the convolution's window
                y, state = mamba_step(params, x[:, part], state)
                outputs.append(y)
            return jnp.concatenate(outputs, axis=1), state

        do = jnp.asarray(rng.normal(size=x.shape))
        (y, state), *gradients = jax.jit(with_backward(stepwise))((do, empty), params, x)
        close((y, *gradients), jax.jit(with_backward(mamba))(do, params, x), 1e-9, 1e-9)
        exact, end = reference.mamba_step(params, x, empty)
        close((y, *state), (exact, *end))


def test_token_by_token_through_a_file(rng):
    """One program for all positions; the state goes through a file, to the byte, and never grows."""
    params, x = draw_mamba(rng, 14, lead=(2,))
    sizes = {name: size for name, size in SIZES.items() if name != "rank"}
    state, step, outputs = mamba_state(4, **sizes, lead=(2,)), jax.jit(mamba_step), []
    for t in range(14):
        if t == 7:
            file, before = io.BytesIO(), state
            np.savez(file, **state._asdict())
            file.seek(0)
            state = MambaState(**np.load(file))
            jax.tree.map(np.testing.assert_array_equal, state, before)
        assert sum(s.nbytes for s in state) == cost.mamba_step(4, **SIZES, batch=2).live == 2 * 8 * (4 + 2) * 4
        y, state = step(params, x[:, t : t + 1], state)
        outputs.append(y)
    np.testing.assert_allclose(jnp.concatenate(outputs, axis=1), mamba(params, x), rtol=2e-5, atol=2e-5)
    assert {s.dtype for s in state} == {jnp.dtype(jnp.float32)}


# --- transformations ------------------------------------------------------------------------------------------------


def test_vmap_and_export(rng):
    params, x = draw_mamba(rng, 12, lead=(2,))
    close(jax.vmap(mamba, (None, 0))(params, x), mamba(params, x), 1e-5, 1e-5)

    def loss(params, x):
        return mamba(params, x, chunk=4).astype(jnp.float32).sum()

    for platform, dtype in zip(("cpu", "cuda", "tpu"), (jnp.float16, jnp.bfloat16, jnp.float32), strict=True):
        exported = export.export(jax.jit(jax.value_and_grad(loss, (0, 1))), platforms=[platform])
        assert exported(params, x.astype(dtype)).platforms == (platform,)


# --- parameters and costs -------------------------------------------------------------------------------------------


def test_parameters():
    params = init_mamba(jax.random.key(0), 96)
    assert sum(w.size for w in params.values()) == cost.mamba(5, 96).parameters
    assert params["w_dt"].shape == (6, 192)
    assert init_mamba(jax.random.key(0), 17)["w_dt"].shape == (2, 34)
    for w, fan_in in {"w_in": 96, "w_x": 192, "w_out": 192}.items():
        assert abs(params[w].var() * fan_in - 1) < 5 * np.sqrt(2 / params[w].size)
    steps = jax.nn.softplus(params["b_dt"])
    assert 0.999e-3 < steps.min() < 2e-3
    assert 0.05 < steps.max() < 0.1001
    np.testing.assert_allclose(jnp.exp(params["a_log"][5]), np.arange(1, 17), rtol=1e-6)
    assert {w.dtype for w in init_mamba(jax.random.key(0), 4, dtype=jnp.bfloat16).values()} == {
        jnp.dtype(jnp.bfloat16)
    }


def test_operations_of_mamba(rng):
    """To the FLOP; what the gradient takes around products within a hundredth."""
    for n, d, sizes in ((64, 32, {}), (21, 20, {}), (33, 10, SIZES)):
        x = jax.ShapeDtypeStruct((2, n, d), jnp.float32)
        params = jax.eval_shape(lambda d=d, sizes=sizes: init_mamba(jax.random.key(0), d, **sizes))
        for backward in (False, True):
            c = cost.mamba(n, d, **sizes, batch=2, backward=backward)
            counted = (
                count.operations(with_backward(mamba), x, params, x)
                if backward
                else count.operations(mamba, params, x)
            )
            assert (counted.matmul_flops, counted.transcendentals) == (c.matmul_flops, c.transcendentals)
            assert counted.other_flops == pytest.approx(c.other_flops, rel=0.01 if backward else 0)
        assert count.saved(mamba, params, x) == c.saved


def test_operations_with_trees(rng):
    params, x = draw_mamba(rng, 21, lead=(2,))
    counted = count.operations(partial(mamba, chunk=8, tree=True), params, x)
    model = cost.mamba(21, 4, **SIZES, batch=2, chunk=8, tree=True)
    assert counted == count.Operations(model.matmul_flops, model.other_flops, model.transcendentals)


def test_a_step_costs_the_same_whatever_came_before(rng):
    layer, state = cost.mamba_step(4, **SIZES, batch=2), mamba_state(4, states=4, k=3, lead=(2,))
    params, x = draw_mamba(rng, 1, lead=(2,))
    for _ in range(3):
        assert count.matmul_flops(mamba_step, params, x, state) == layer.matmul_flops
        _, state = mamba_step(params, x, state)


def test_formulas():
    n, d, states = sympy.symbols("n d N", positive=True)
    parts = ("matmul_flops", "other_flops", "transcendentals", "bytes_read", "live", "saved", "sequential")
    for backward in (False, True):
        model = partial(cost.mamba, chunk=16, backward=backward)
        formula, number = model(n, d, states=states), model(96, 32, states=6)
        sizes = np.array([96, 5, 100])
        many, each = model(sizes, 32, states=6), [model(int(size), 32, states=6) for size in sizes]
        for part in parts:
            value = sympy.sympify(getattr(formula, part)).subs({n: 96, d: 32, states: 6})
            assert sympy.simplify(value - getattr(number, part)) == 0, part
            np.testing.assert_array_equal(
                np.broadcast_to(getattr(many, part), 3), [getattr(one, part) for one in each]
            )
        assert formula.path == 1
    products = sympy.Rational(25, 2) * n * d**2 + 8 * n * d * states
    assert sympy.expand(cost.mamba(n, d, states=states).matmul_flops - products) == 0


# --- bad input ------------------------------------------------------------------------------------------------------

KEY = jax.random.key(0)
X, P = jnp.zeros((2, 5, 4)), init_mamba(KEY, 4, **SIZES)
EMPTY = mamba_state(4, states=4, k=3, lead=(2,))


def bad_mamba(argument, expected, got, fn=mamba, **kwargs):
    given = [kwargs.pop("params", P | kwargs.pop("change", {})), kwargs.pop("x", X)]
    given += [kwargs.pop("state", EMPTY)] if fn is mamba_step else []
    return argument, expected, got, fn, tuple(given), kwargs


def bad_sizes(argument, expected, got, fn, **kwargs):
    sizes = ({"key": KEY} if fn is init_mamba else {"n": 8} if fn is cost.mamba else {}) | {"d": 4} | kwargs
    return argument, expected, got, fn, tuple(sizes.pop(a) for a in ("key", "n", "d") if a in sizes), sizes


BAD = [
    *(
        entry
        for fn in (mamba, mamba_step)
        for entry in (
            bad_mamba("params", "a dict of w_in", "NoneType", fn, params=None),
            bad_mamba("w_in", "(4, 16)", "(4, 8)", fn, change={"w_in": P["w_in"][:, :8]}),
            bad_mamba("w_x", "(8, 10)", "(8, 9)", fn, change={"w_x": P["w_x"][:, :9]}),
            bad_mamba("w_conv", "two axes", "(8,)", fn, change={"w_conv": P["b_conv"]}),
            bad_mamba("k", "at least 2", "1", fn, change={"w_conv": P["w_conv"][:1]}),
            bad_mamba("b_dt", "(8,)", "(4,)", fn, change={"b_dt": P["b_dt"][:4]}),
            bad_mamba("w_out", "floating-point", "int32", fn, change={"w_out": P["w_out"].astype(jnp.int32)}),
            bad_mamba("x", "an array", "list", fn, x=[1.0]),
            bad_mamba("x", "(..., n, d)", "(4,)", fn, x=X[0, 0]),
            bad_mamba("w_in", "(3, 16)", "(4, 16)", fn, x=X[..., :3]),
            bad_mamba("chunk", "at least 1", "2.0", fn, chunk=2.0),
            bad_mamba("tree", "True or False", "'no'", fn, tree="no"),
        )
    ),
    bad_mamba("state", "a MambaState", "tuple", mamba_step, state=tuple(EMPTY)),
    bad_mamba("state.h", "(2, 8, 4)", "(8, 4)", mamba_step, state=EMPTY._replace(h=EMPTY.h[0])),
    bad_mamba("state.window", "(2, 2, 8)", "(2, 1, 8)", mamba_step, state=EMPTY._replace(window=EMPTY.window[:, :1])),
    *(
        bad_sizes(argument, "at least", "0", fn, **{argument: 0})
        for fn, arguments in (
            (init_mamba, ("d", "states", "expand", "k", "rank")),
            (mamba_state, ("d", "states", "expand", "k")),
            (cost.mamba, ("n", "d", "states", "expand", "k", "rank", "chunk", "batch")),
            (cost.mamba_step, ("d", "states", "expand", "k", "rank", "batch")),
        )
        for argument in arguments
    ),
    bad_sizes("lead", "a tuple of positive integers", "[2]", mamba_state, lead=[2]),
    bad_sizes("dtype", "float32 or float64", "bfloat16", mamba_state, dtype=jnp.bfloat16),
    bad_sizes("key", "jax.random.key", "None", init_mamba, key=None),
    bad_sizes("dtype", "floating-point", "int", init_mamba, dtype=jnp.int32),
    bad_sizes("backward", "True or False", "1", cost.mamba, backward=1),
    bad_sizes("tree", "True or False", "1", cost.mamba, tree=1),
    bad_sizes("n", "a whole number of at least 1", "1.5", cost.mamba, n=1.5),
    *(bad_sizes("dtype", "one of float64", "'int8'", fn, dtype="int8") for fn in (cost.mamba, cost.mamba_step)),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad[3].__module__}.{bad[3].__name__}-{bad[0]}-{bad[2]}")
def test_bad_input(refuses, bad):
    argument, expected, got, fn, args, kwargs = bad
    refuses(argument, expected, got, fn, *args, **kwargs)


def test_public_names():
    assert attnlib.mamba is mamba
    assert EMPTY._fields == ("window", "h")
