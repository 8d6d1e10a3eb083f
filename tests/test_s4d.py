"""Diagonal state spaces: the definition, both forms of it, causality, states, costs, every bad argument."""

import io
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from jax import export
from support import FULL, float64

import attnlib
from attnlib import cost, count, graph, init_s4d, reference, s4d, s4d_kernel, s4d_state, s4d_step
from attnlib.measure.count import with_backward

KINDS = [*itertools.product(("lin", "inv", "real"), ("zoh", "bilinear"))]
modes = pytest.mark.parametrize("mode", ["convolution", "recurrence"])
discretisations = pytest.mark.parametrize("discretisation", ["zoh", "bilinear"])


def draw(rng, n, d=3, states=6, lead=(), init="lin", dtype=jnp.float32, steps=(1e-2, 1.0)):
    """Parameters, rates and rotations a little off the rule, and x."""
    params = init_s4d(jax.random.key(1), d, states=states, init=init, dt=steps, dtype=dtype)
    params = {w: a + 0.1 * jnp.asarray(rng.normal(size=a.shape), dtype) for w, a in params.items()}
    return params, jnp.asarray(rng.normal(size=(*lead, n, d)), dtype)


def close(a, b, rtol=1e-10, atol=1e-10):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


@pytest.mark.sample(5)
@modes
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_agrees_with_the_definition(mode, kind, n, rng):
    init, discretisation = kind
    with float64():
        params, x = draw(rng, n, lead=(2, 1), init=init, dtype=jnp.float64)
        run = partial(s4d, mode=mode, discretisation=discretisation)
        y = jax.jit(run)(params, x)
        close(y, reference.s4d(params, x, discretisation=discretisation))
        if n == 7:
            close(jax.jit(run)(params, x[0, 0]), y[0, 0])


@discretisations
def test_the_kernel_is_the_answer_to_a_one(discretisation, rng):
    with float64():
        params, _ = draw(rng, 50, dtype=jnp.float64)
        one = np.zeros((50, 3))
        one[0] = 1
        answer = reference.s4d(params, one, discretisation=discretisation)
        answer[0] -= params["skip"]
        kernel = s4d_kernel(params, 50, discretisation=discretisation)
        close(kernel, answer)
        close(kernel, reference.s4d_kernel(params, 50, discretisation=discretisation))
        close(kernel, reference.s4d_kernel(params, 50, discretisation=discretisation))
        close(s4d_kernel(params, 9, discretisation=discretisation), kernel[:9])


@pytest.mark.parametrize("dt", [2.0, 1.0, 0.5])
def test_a_bilinear_state_that_forgets_at_once(dt, rng):
    """At ΔA = −2 Ā is 0: no logarithm, and nothing that is not a number."""
    with float64():
        params, x = draw(rng, 9, init="real", dtype=jnp.float64)
        params = init_s4d(jax.random.key(0), 3, states=6, init="real", dtype=jnp.float64)
        params |= {"log_dt": jnp.full(3, jnp.log(dt))}
        exact = reference.s4d(params, x, discretisation="bilinear")
        close(s4d(params, x, discretisation="bilinear"), exact)
        slope = jax.jit(jax.grad(lambda p: (s4d(p, x, discretisation="bilinear") ** 2).sum()))(params)
        assert all(jnp.isfinite(g).all() for g in slope.values())


@discretisations
@pytest.mark.parametrize("n", [1, 13, 32])
def test_gradients(discretisation, n, rng):
    """Of both forms alike, and as central differences of the definition say."""
    with float64():
        params, x = draw(rng, n, lead=(2,), dtype=jnp.float64)
        do = rng.normal(size=x.shape)

        def slope(mode):
            run = partial(s4d, mode=mode, discretisation=discretisation)
            return jax.jit(jax.grad(lambda p, x: (run(p, x) * do).sum(), (0, 1)))(params, x)

        gradient = slope("convolution")
        close(gradient, slope("recurrence"), 1e-9, 1e-9)
        way = jax.tree.map(lambda a: rng.normal(size=a.shape), (params, x))
        ahead, behind = (
            reference.s4d(
                *jax.tree.map(lambda a, w, e=e: np.asarray(a) + e * w, (params, x), way),
                discretisation=discretisation,
            )
            for e in (1e-6, -1e-6)
        )
        predicted = sum(jax.tree.leaves(jax.tree.map(lambda g, w: float((g * w).sum()), gradient, way)))
        np.testing.assert_allclose(predicted, ((ahead - behind) / 2e-6 * do).sum(), rtol=1e-6, atol=1e-6)


def test_causality(rng):
    """What comes later changes nothing: to the bit in the recurrence, to rounding in the convolution."""
    trials, n = 200, 37
    params, x = draw(rng, n, d=2)
    at = rng.integers(1, n, trials)
    later = np.arange(n)[None, :, None] >= at[:, None, None]
    other = jnp.where(later, jnp.asarray(rng.normal(size=(trials, n, 2)) * 10, jnp.float32), x[None])
    for mode, most in (("recurrence", 0.0), ("convolution", 1e-5)):
        run = jax.jit(partial(s4d, mode=mode))
        changed = np.abs(run(params, other) - run(params, jnp.broadcast_to(x, other.shape)))
        assert changed[~np.broadcast_to(later, changed.shape)].max() <= most
        assert (changed.max(axis=(1, 2)) > 0.1).all()
    np.testing.assert_array_equal(
        graph.depends(lambda x: s4d(params, x, mode="recurrence"), x), np.tril(np.ones((n, n), bool))
    )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@modes
def test_low_precision_rounds_the_output_alone(mode, dtype, rng):
    params, x = draw(rng, 300, d=4, states=16, dtype=dtype, steps=(1e-3, 1e-1))
    y = s4d(params, x, mode=mode)
    assert y.dtype == dtype
    exact = reference.s4d(params, x)
    half_step = float(jnp.finfo(dtype).eps) / 2
    assert (np.abs(np.asarray(y, np.float64) - exact) <= 1.01 * half_step * np.abs(exact) + 1e-4).all()


def test_long_sequences_in_float32(rng):
    """Phases of a thousand turns, and powers of Ā that are no more: as in float64."""
    params, x = draw(rng, 5000, d=2, states=64, steps=(1e-3, 1e-1))
    with float64():
        exact = np.asarray(
            s4d(jax.tree.map(lambda a: a.astype(jnp.float64), params), x.astype(jnp.float64), mode="recurrence")
        )
    for mode in ("convolution", "recurrence"):
        assert np.abs(np.asarray(s4d(params, x, mode=mode), np.float64) - exact).max() < 2e-5 * np.abs(exact).max()


def test_large_steps_and_rates(rng):
    params, x = draw(rng, 9)
    for mode, discretisation in itertools.product(("convolution", "recurrence"), ("zoh", "bilinear")):
        run = jax.jit(with_backward(partial(s4d, mode=mode, discretisation=discretisation)))
        for name, size in (("log_dt", 8.0), ("log_a", 20.0), ("log_dt", -20.0)):
            there = params | {name: jnp.full_like(params[name], size)}
            y, *gradients = run(jnp.ones_like(x), there, x)
            exact = reference.s4d(there, x, discretisation=discretisation)
            np.testing.assert_allclose(y, exact, rtol=1e-4, atol=1e-4)
            assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(gradients))


# --- states ---------------------------------------------------------------------------------------------------------


@discretisations
def test_steps_of_any_length_make_one_run(discretisation, rng):
    with float64():
        params, x = draw(rng, 23, lead=(2,), dtype=jnp.float64)
        do = jnp.asarray(rng.normal(size=x.shape))
        empty = s4d_state(3, states=6, lead=(2,), dtype=jnp.float64)

        def stepwise(params, x):
            state, outputs = empty, []
            for part in (np.s_[:9], np.s_[9:10], np.s_[10:]):
                y, state = s4d_step(params, x[:, part], state, discretisation=discretisation)
                outputs.append(y)
            return jnp.concatenate(outputs, axis=1), state

        (y, state), *gradients = jax.jit(with_backward(stepwise))((do, empty), params, x)
        once = jax.jit(with_backward(partial(s4d, discretisation=discretisation)))(do, params, x)
        close((y, *gradients), once, 1e-9, 1e-9)
        close((y, state), reference.s4d_step(params, x, empty, discretisation=discretisation))


def test_token_by_token_through_a_file(rng):
    """One program for all positions; the state goes through a file, to the byte, and never grows."""
    params, x = draw(rng, 20, lead=(2,))
    state, step, outputs = s4d_state(3, states=6, lead=(2,)), jax.jit(s4d_step), []
    for t in range(20):
        if t == 11:
            file, before = io.BytesIO(), state
            np.save(file, state)
            file.seek(0)
            state = np.load(file)
            np.testing.assert_array_equal(state, before)
        assert state.nbytes == cost.s4d_step(3, states=6, batch=2).live == 2 * 3 * 6 * 4
        y, state = step(params, x[:, t : t + 1], state)
        outputs.append(y)
    np.testing.assert_allclose(jnp.concatenate(outputs, axis=1), s4d(params, x), rtol=2e-5, atol=2e-5)
    assert state.dtype == jnp.float32
    narrow, after = s4d_step(params, x.astype(jnp.bfloat16), state)
    assert (narrow.dtype, after.dtype) == (jnp.bfloat16, jnp.float32)


# --- transformations ------------------------------------------------------------------------------------------------


@modes
def test_vmap_and_export(mode, rng):
    params, x = draw(rng, 12, lead=(2,))
    run = partial(s4d, mode=mode)
    close(jax.vmap(run, (None, 0))(params, x), run(params, x), 1e-5, 1e-5)
    many = jax.tree.map(lambda a: jnp.stack([a, a + 0.1]), params)
    close(jax.vmap(run)(many, x)[1], run(jax.tree.map(lambda a: a + 0.1, params), x[1]), 1e-5, 1e-5)

    def loss(p, x):
        return run(p, x).astype(jnp.float32).sum()

    for platform, dtype in zip(("cpu", "cuda", "tpu"), (jnp.float16, jnp.bfloat16, jnp.float32), strict=True):
        exported = export.export(jax.jit(jax.value_and_grad(loss, (0, 1))), platforms=[platform])
        assert exported(params, x.astype(dtype)).platforms == (platform,)


def test_second_order(rng):
    with float64():
        params, x = draw(rng, 6, dtype=jnp.float64)

        def twice(mode):
            inner = jax.grad(lambda p, x: (s4d(p, x, mode=mode) ** 3).sum())
            outer = jax.grad(lambda p, x: sum((g**2).sum() for g in inner(p, x).values()), (0, 1))
            return jax.jit(outer)(params, x)

        close(twice("convolution"), twice("recurrence"), 1e-7, 1e-7)


# --- parameters and costs -------------------------------------------------------------------------------------------


def test_parameters():
    params = init_s4d(jax.random.key(0), 200, states=64)
    assert sum(a.size for a in params.values()) == cost.s4d(5, 200).parameters
    assert -6.91 < params["log_dt"].min() < -6.5
    assert -2.8 < params["log_dt"].max() < -2.30
    variance = float((params["c_re"] ** 2 + params["c_im"] ** 2).mean())
    assert abs(variance - 1) < 0.05
    np.testing.assert_allclose(params["a_im"][7], np.pi * np.arange(32), rtol=1e-6)
    inverse = init_s4d(jax.random.key(0), 2, states=4, init="inv")
    np.testing.assert_allclose(inverse["a_im"][0], [4 / np.pi * 3, 4 / np.pi * (4 / 3 - 1)], rtol=1e-6)
    real = init_s4d(jax.random.key(0), 2, states=6, init="real", dtype=jnp.bfloat16)
    assert real["c_re"].dtype == jnp.bfloat16
    np.testing.assert_allclose(jnp.exp(real["log_a"][0].astype(jnp.float32)), [1, 2, 3], rtol=1e-2)
    assert not real["a_im"].any()


def shapes(n, d, states, batch):
    f32 = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    return jax.eval_shape(lambda: init_s4d(jax.random.key(0), d, states=states)), f32((batch, n, d))


@modes
@discretisations
def test_operations_equal_what_the_compiler_counts(mode, discretisation, rng):
    run = partial(s4d, mode=mode, discretisation=discretisation)
    for trial in range(20 if FULL else 5):
        n, d, half, batch = (int(s) for s in rng.integers((6, 2, 2, 2), (200, 9, 9, 5)))
        if trial == 0:
            n, d, half, batch = 1, 1, 1, 1
        model = partial(cost.s4d, n, d, states=2 * half, mode=mode, discretisation=discretisation, batch=batch)
        params, x = shapes(n, d, 2 * half, batch)
        c = model()
        counted = count.operations(run, params, x)
        assert count.Operations(c.matmul_flops, c.other_flops, c.transcendentals) == counted
        assert c.saved == count.saved(run, params, x)
        if trial:  # where sizes are 1, sums of gradients are none; versions of JAX differ by a few a channel
            c = model(backward=True)
            counted = count.operations(with_backward(run), x, params, x)
            assert c.matmul_flops == counted.matmul_flops
            assert c.other_flops == pytest.approx(counted.other_flops, rel=0, abs=4 * d)
            assert c.transcendentals == pytest.approx(counted.transcendentals, rel=0, abs=4 * d)


def test_a_step_costs_the_same_whatever_came_before(rng):
    params, x = draw(rng, 1, lead=(2,))
    step, state = jax.jit(s4d_step), s4d_state(3, states=6, lead=(2,))
    model = cost.s4d_step(3, states=6, batch=2)
    for _ in range(3):
        counted = count.operations(s4d_step, params, x, state)
        assert count.Operations(0, model.other_flops, model.transcendentals) == counted
        _, state = step(params, x, state)


@modes
def test_memory_is_linear_and_of_the_size_of_the_model(mode):
    run, sizes = partial(s4d, mode=mode), []
    for n in (1024, 2048):
        params, x = shapes(n, 64, 64, 2)
        for backward, most in ((False, 2.1), (True, 1.4)):
            program = (with_backward(run), x, params, x) if backward else (run, params, x)
            live = cost.s4d(n, 64, mode=mode, batch=2, backward=backward).live
            sizes.append(count.memory(*program))
            assert 0.97 < sizes[-1] / live < most
    assert sizes[2] < 2.05 * sizes[0]
    assert sizes[3] < 2.05 * sizes[1]


def test_formulas():
    n, d, states = sympy.symbols("n d N", positive=True)
    for mode, backward in itertools.product(("convolution", "recurrence"), (False, True)):
        formula = cost.s4d(n, d, states=states, mode=mode, backward=backward)
        number = cost.s4d(256, 8, states=6, mode=mode, backward=backward)
        many = cost.s4d(np.array([256, 100]), 8, states=6, mode=mode, backward=backward)
        other = cost.s4d(100, 8, states=6, mode=mode, backward=backward)
        for part in (
            "matmul_flops",
            "other_flops",
            "transcendentals",
            "bytes_read",
            "bytes_written",
            "live",
            "saved",
        ):
            value = sympy.sympify(getattr(formula, part)).subs({n: 256, d: 8, states: 6})
            assert sympy.simplify(value - getattr(number, part)) == 0, part
            expected = [getattr(number, part), getattr(other, part)]
            np.testing.assert_array_equal(np.broadcast_to(getattr(many, part), 2), expected)
        assert formula.path == 1
    assert sympy.expand(cost.s4d(n, d, states=states).matmul_flops - 2 * n * d * states) == 0
    transforms = cost.s4d(n, d, states=states)["transforms"].flops
    assert sympy.simplify(transforms - 15 * n * d * sympy.log(2 * n, 2)) == 0
    assert sympy.expand(cost.s4d(n, d, states=states, mode="recurrence")["recurrence"].flops) == sympy.expand(
        n * d * (7 * states + 2)
    )
    assert graph.span(s4d, *shapes(4096, 4, 8, 1)) < 130  # 3 log₂ 8192 there, and as many back
    assert graph.span(partial(s4d, mode="recurrence"), *shapes(4096, 4, 8, 1)) > 2 * 4096


# --- bad input ------------------------------------------------------------------------------------------------------

KEY = jax.random.key(0)
P = {w: jnp.zeros((3, 2)) for w in ("log_a", "a_im", "c_re", "c_im")} | {w: jnp.zeros(3) for w in ("log_dt", "skip")}
X = jnp.zeros((2, 5, 3))
STATE = jnp.zeros((2, 3, 4))


def bad(argument, expected, got, fn=s4d, **kwargs):
    given = [kwargs.pop("params", P | kwargs.pop("change", {})), kwargs.pop("x", X)]
    if fn is s4d_step:
        given.append(kwargs.pop("state", STATE))
    return argument, expected, got, fn, tuple(given), kwargs


def bad_init(argument, expected, got, **kwargs):
    given = {"key": KEY, "d": 3} | kwargs
    return argument, expected, got, init_s4d, (given.pop("key"), given.pop("d")), given


def bad_model(argument, expected, got, fn=cost.s4d, **kwargs):
    sizes = ({"n": 8} if fn is cost.s4d else {}) | {"d": 4} | kwargs
    return argument, expected, got, fn, tuple(sizes.pop(a) for a in ("n", "d") if a in sizes), sizes


BAD = [
    *(
        entry
        for fn in (s4d, s4d_step)
        for entry in (
            bad("params", "a dict of log_dt", "NoneType", fn, params=None),
            bad("params", "a dict of log_dt", "['log_a']", fn, params={"log_a": X}),
            bad("log_a", "(3, N/2)", "(3,)", fn, change={"log_a": jnp.zeros(3)}),
            bad("log_a", "(2, N/2)", "(3, 2)", fn, x=X[..., :2]),
            bad("c_re", "(3, 2)", "(3, 4)", fn, change={"c_re": jnp.zeros((3, 4))}),
            bad("skip", "(3,)", "(2,)", fn, change={"skip": jnp.zeros(2)}),
            bad("log_dt", "floating-point", "int32", fn, change={"log_dt": jnp.zeros(3, jnp.int32)}),
            bad("x", "an array", "list", fn, x=[1.0]),
            bad("x", "floating-point", "complex64", fn, x=X.astype("complex64")),
            bad("x", "(..., n, d)", "(3,)", fn, x=X[0, 0]),
            bad("x", "no axis of length 0", "(2, 0, 3)", fn, x=X[:, :0]),
            bad("discretisation", "'zoh' or 'bilinear'", "'euler'", fn, discretisation="euler"),
        )
    ),
    bad("mode", "'convolution' or 'recurrence'", "'scan'", mode="scan"),
    bad("state", "(2, 3, 4)", "(3, 4)", s4d_step, state=STATE[0]),
    bad("state", "float32 or float64", "bfloat16", s4d_step, state=STATE.astype(jnp.bfloat16)),
    bad("state", "an array", "NoneType", s4d_step, state=None),
    ("n", "at least 1", "0", s4d_kernel, (P, 0), {}),
    ("params", "a dict of log_dt", "NoneType", s4d_kernel, (None, 4), {}),
    ("discretisation", "'zoh' or 'bilinear'", "None", s4d_kernel, (P, 4), {"discretisation": None}),
    ("params", "a dict of log_dt", "NoneType", s4d_kernel, (None, 4), {}),
    ("discretisation", "'zoh' or 'bilinear'", "None", s4d_kernel, (P, 4), {"discretisation": None}),
    ("log_a", "(d, N/2)", "(3,)", s4d_kernel, (P | {"log_a": jnp.zeros(3)}, 4), {}),
    ("d", "at least 1", "0", s4d_state, (0,), {}),
    ("states", "an even positive integer", "3", s4d_state, (2,), {"states": 3}),
    ("lead", "a tuple of positive integers", "[2]", s4d_state, (2,), {"lead": [2]}),
    ("dtype", "float32 or float64", "bfloat16", s4d_state, (2,), {"dtype": jnp.bfloat16}),
    bad_init("key", "jax.random.key", "None", key=None),
    bad_init("d", "at least 1", "0", d=0),
    bad_init("states", "an even positive integer", "5", states=5),
    bad_init("states", "an even positive integer", "2.0", states=2.0),
    bad_init("init", "'lin', 'inv' or 'real'", "'legs'", init="legs"),
    bad_init("dt", "two positive numbers", "(0.1, 0.01)", dt=(0.1, 0.01)),
    bad_init("dt", "two positive numbers", "0.1", dt=0.1),
    bad_init("dtype", "floating-point", "int", dtype=jnp.int32),
    *(
        bad_model(argument, expected, got, fn, **{argument: value})
        for fn in (cost.s4d, cost.s4d_step)
        for argument, expected, got, value in (
            ("d", "a whole number of at least 1", "0", 0),
            ("batch", "a whole number of at least 1", "0", 0),
            ("states", "a whole number of at least 1", "0", 0),
            ("discretisation", "one of zoh, bilinear", "'euler'", "euler"),
            ("dtype", "one of float64", "'int8'", "int8"),
        )
    ),
    bad_model("n", "a whole number of at least 1", "0", n=0),
    bad_model("states", "an even number", "5", states=5),
    bad_model("mode", "one of convolution, recurrence", "'scan'", mode="scan"),
    bad_model("backward", "True or False", "1", backward=1),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad[3].__module__}.{bad[3].__name__}-{bad[0]}-{bad[2]}")
def test_bad_input(refuses, bad):
    argument, expected, got, fn, args, kwargs = bad
    refuses(argument, expected, got, fn, *args, **kwargs)


def test_public_names():
    assert attnlib.s4d is s4d
    assert attnlib.s4d_step is s4d_step
