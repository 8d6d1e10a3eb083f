"""Selective scans and Mamba: the definitions, gradients, causality, states, costs, every bad argument."""

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
from attnlib import (
    MambaState,
    cost,
    count,
    gated_linear_attention,
    graph,
    init_mamba,
    mamba,
    mamba_state,
    mamba_step,
    reference,
    selective_scan,
    selective_scan_state,
    selective_scan_step,
)
from attnlib.measure.count import with_backward

CHUNKS = (1, 3, 8, None)
SIZES = {"states": 4, "expand": 2, "k": 3, "rank": 2}


def draw(rng, n, d=3, states=4, lead=(), dtype=jnp.float32):
    """u, Δ, A, B, C and D."""
    shapes = ((*lead, n, d), (*lead, n, d), (d, states), (*lead, n, states), (*lead, n, states), (d,))
    u, delta, a, b, c, skip = (rng.normal(size=s) for s in shapes)
    return [jnp.asarray(x, dtype) for x in (u, np.abs(delta), -np.exp(a), b, c, skip)]


def draw_mamba(rng, n, d=4, lead=(), dtype=jnp.float32):
    params = init_mamba(jax.random.key(1), d, **SIZES, dtype=dtype)
    params = {w: a + 0.1 * jnp.asarray(rng.normal(size=a.shape), dtype) for w, a in params.items()}
    return params, jnp.asarray(rng.normal(size=(*lead, n, d)), dtype)


def close(a, b, rtol=1e-10, atol=1e-10):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


# --- the definition -------------------------------------------------------------------------------------------------


@pytest.mark.sample(3)
@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("n", [1, 2, 7, 30, 65])
def test_agrees_with_the_definition(chunk, n, rng):
    """And its gradient with that of one step after the other, in JAX."""

    def one_by_one(u, delta, a, b, c, skip):
        def step(h, now):
            u, delta, b, c = now
            h = jnp.exp(delta[..., None] * a[None]) * h + (delta * u)[..., None] * b[:, None]
            return h, (h * c[:, None]).sum(axis=-1) + skip[None] * u

        each = [jnp.moveaxis(x, -2, 0) for x in (u, delta, b, c)]
        return jnp.moveaxis(jax.lax.scan(step, jnp.zeros((2, *a.shape)), tuple(each))[1], 0, 1)

    with float64():
        args = draw(rng, n, lead=(2,), dtype=jnp.float64)
        do = jnp.asarray(rng.normal(size=args[0].shape))
        y, *gradients = jax.jit(with_backward(partial(selective_scan, chunk=chunk)))(do, *args)
        close(y, reference.selective_scan(*args))
        close(gradients, jax.jit(with_backward(one_by_one))(do, *args)[1:])


def test_leading_axes_broadcast_and_the_skip_may_be_missing(rng):
    with float64():
        u, delta, a, b, c, _ = draw(rng, 6, lead=(2, 3), dtype=jnp.float64)
        b, c = b[:, :1], c[0, 0]
        do = jnp.asarray(rng.normal(size=u.shape))
        y, *gradients = jax.jit(with_backward(selective_scan))(do, u, delta, a, b, c)
        close(y, reference.selective_scan(u, delta, a, b, c))
        assert [g.shape for g in gradients] == [x.shape for x in (u, delta, a, b, c)]


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


def test_with_one_rate_for_all_states_it_is_gated_linear_attention(rng):
    """Mamba-2: A is a number a head, keys are B, queries C, values Δu, and the log-decay is ΔA."""
    with float64():
        u, delta, a, b, c, skip = draw(rng, 40, d=5, lead=(2,), dtype=jnp.float64)
        delta, a = jnp.broadcast_to(delta[..., :1], u.shape), jnp.full_like(a, -0.7)
        y = gated_linear_attention(c, b, delta * u, -0.7 * delta[..., 0]) + skip[None, None] * u
        close(selective_scan(u, delta, a, b, c, skip), y)


# --- causality and numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [False, True], ids=["scan", "mamba"])
def test_what_comes_later_changes_nothing(layer, rng):
    """200 random perturbations of all that has positions, to the bit."""
    trials, n = 200, 37
    if layer:
        params, x = draw_mamba(rng, n)
        each, run = [x], partial(mamba, params, chunk=8)
    else:
        u, delta, a, b, c, skip = draw(rng, n)
        each, run = [u, delta, b, c], lambda u, delta, b, c: selective_scan(u, delta, a, b, c, skip, chunk=8)
    at = rng.integers(1, n, trials)
    later = np.arange(n)[None, :, None] >= at[:, None, None]
    other = [jnp.where(later, jnp.abs(rng.normal(size=(trials, *x.shape)).astype("f")), x[None]) for x in each]
    run = jax.jit(run)
    same = run(*(jnp.broadcast_to(x, (trials, *x.shape)) for x in each))
    changed = np.abs(run(*other) - same)
    assert not changed[~np.broadcast_to(later, changed.shape)].any()
    assert (changed.max(axis=(1, 2)) > 1e-3).all()


@pytest.mark.parametrize("step", [1e-30, 1e3, 1e30, 3e38])
def test_steps_however_large_neither_overflow_nor_nan(step, rng):
    """Everywhere, and at some positions among ordinary ones, which then remember nothing of what came before."""
    u, delta, a, b, c, skip = draw(rng, 20)
    u = u / max(step, 1)
    for there in (jnp.ones((20, 3), bool), jnp.asarray(rng.random((20, 3)) < 0.2)):
        args = (u, jnp.where(there, jnp.float32(step), delta), a, b, c, skip)
        y, *gradients = with_backward(partial(selective_scan, chunk=8))(jnp.ones_like(u), *args)
        np.testing.assert_allclose(y, reference.selective_scan(*args), rtol=1e-4, atol=1e-5)
        assert all(jnp.isfinite(g).all() for g in gradients[2:])


def test_long_memories_in_float32(rng):
    """10,000 positions, of which the first is still felt: as in float64."""
    u, delta, a, b, c, skip = draw(rng, 10_000, d=2)
    args = [u, delta * 1e-4, a, b, c, skip]
    exact = reference.selective_scan(*args)
    assert np.abs(selective_scan(*args) - exact).max() < 2e-5 * np.abs(exact).max()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_rounds_the_output_alone(dtype, rng):
    args = draw(rng, 200, dtype=dtype)
    y, *gradients = with_backward(selective_scan)(jnp.ones_like(args[0]), *args)
    assert [x.dtype for x in (y, *gradients)] == [dtype] * 7
    exact = reference.selective_scan(*args)
    assert (np.abs(np.asarray(y, np.float64) - exact) <= float(jnp.finfo(dtype).eps) / 2 * np.abs(exact) + 1e-4).all()
    params, x = draw_mamba(rng, 20)
    low = mamba(params, x.astype(dtype))
    assert low.dtype == dtype
    np.testing.assert_allclose(low.astype(jnp.float32), mamba(params, x), atol=0.1)


# --- states ---------------------------------------------------------------------------------------------------------


def test_steps_of_any_length_make_one_run(rng):
    with float64():
        u, delta, a, b, c, skip = draw(rng, 23, lead=(2,), dtype=jnp.float64)
        do = jnp.asarray(rng.normal(size=u.shape))
        empty = selective_scan_state(3, 4, lead=(2,), dtype=jnp.float64)

        def stepwise(u, delta, a, b, c, skip):
            state, outputs = empty, []
            for part in (np.s_[:9], np.s_[9:10], np.s_[10:]):
                now = (x[:, part] for x in (u, delta)), (x[:, part] for x in (b, c))
                y, state = selective_scan_step(state, *now[0], a, *now[1], skip, chunk=4)
                outputs.append(y)
            return jnp.concatenate(outputs, axis=1), state

        args = (u, delta, a, b, c, skip)
        (y, state), *gradients = jax.jit(with_backward(stepwise))((do, empty), *args)
        close((y, *gradients), jax.jit(with_backward(selective_scan))(do, *args), 1e-9, 1e-9)
        close((y, state), reference.selective_scan_step(empty, *args))
        slope = jax.grad(lambda h: selective_scan_step(h, *args)[1].sum())(empty)
        np.testing.assert_allclose(slope, jnp.exp((delta[..., None] * a[None, None]).sum(axis=1)), rtol=1e-9)


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
    h = selective_scan_state(3, 4, lead=(2,))
    assert h.nbytes == cost.selective_scan_step(3, states=4, batch=2).live
    y, after = selective_scan_step(h, *draw(rng, 1, lead=(2,), dtype=jnp.bfloat16))
    assert (y.dtype, after.dtype, after.nbytes) == (jnp.bfloat16, jnp.float32, h.nbytes)


# --- transformations ------------------------------------------------------------------------------------------------


def test_vmap_and_export(rng):
    u, delta, a, b, c, skip = draw(rng, 12, lead=(2,))
    run = partial(selective_scan, chunk=4)
    close(jax.vmap(run, (0, 0, None, 0, 0, None))(u, delta, a, b, c, skip), run(u, delta, a, b, c, skip), 1e-5, 1e-5)
    params, x = draw_mamba(rng, 12, lead=(2,))
    close(jax.vmap(mamba, (None, 0))(params, x), mamba(params, x), 1e-5, 1e-5)

    def loss(params, x):
        return mamba(params, x, chunk=4).astype(jnp.float32).sum()

    for platform, dtype in zip(("cpu", "cuda", "tpu"), (jnp.float16, jnp.bfloat16, jnp.float32), strict=True):
        exported = export.export(jax.jit(jax.value_and_grad(loss, (0, 1))), platforms=[platform])
        assert exported(params, x.astype(dtype)).platforms == (platform,)


def test_second_order(rng):
    with float64():
        args = draw(rng, 6, dtype=jnp.float64)

        def twice(chunk):
            inner = jax.grad(lambda *a: (selective_scan(*a, chunk=chunk) ** 3).sum(), (1, 2))
            return jax.jit(jax.grad(lambda *a: sum((g**2).sum() for g in inner(*a)), tuple(range(6))))(*args)

        close(twice(1), twice(4), 1e-8, 1e-8)


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


def shapes(n, d, states, batch):
    f32 = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    u, b = f32((batch, n, d)), f32((batch, n, states))
    return [u, u, f32((d, states)), b, b, f32((d,))]


@pytest.mark.parametrize("chunk", CHUNKS)
def test_operations_equal_what_the_compiler_counts(chunk, rng):
    run = partial(selective_scan, chunk=chunk)
    for trial in range(20 if FULL else 5):
        n, d, states, batch = (int(s) for s in rng.integers(2, (100, 9, 9, 5))) if trial else (1, 1, 1, 1)
        args = shapes(n, d, states, batch)
        for backward in (False, True) if trial else (False,):  # where sizes are 1, sums of gradients are none
            c = cost.selective_scan(n, d, states=states, batch=batch, chunk=chunk, backward=backward)
            counted = (
                count.operations(with_backward(run), args[0], *args) if backward else count.operations(run, *args)
            )
            assert count.Operations(c.matmul_flops, c.other_flops, c.transcendentals) == counted
        assert c.saved == count.saved(run, *args)


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


def test_a_step_costs_the_same_whatever_came_before(rng):
    args = draw(rng, 1, lead=(2,))
    model, state = cost.selective_scan_step(3, states=4, batch=2), selective_scan_state(3, 4, lead=(2,))
    layer, window = cost.mamba_step(4, **SIZES, batch=2), mamba_state(4, states=4, k=3, lead=(2,))
    params, x = draw_mamba(rng, 1, lead=(2,))
    for _ in range(3):
        counted = count.operations(selective_scan_step, state, *args)
        assert count.Operations(0, model.other_flops, model.transcendentals) == counted
        assert count.matmul_flops(mamba_step, params, x, window) == layer.matmul_flops
        (_, state), (_, window) = selective_scan_step(state, *args), mamba_step(params, x, window)


def test_nothing_of_length_n_times_states_is_kept():
    """65,536 positions of 32 × 16 states would be 134 MB; the state before every chunk is a 32nd of that."""
    n, d, states = 65_536, 32, 16
    args = shapes(n, d, states, 1)
    forward, backward = (cost.selective_scan(n, d, states=states, backward=b) for b in (False, True))
    sizes = count.memory(selective_scan, *args), count.memory(with_backward(selective_scan), args[0], *args)
    assert sizes[0] < n * d * 4 + 2 * forward.live
    assert sizes[1] < backward.live + 6 * n * d * 4
    assert sizes[1] < n * d * states * 4 / 3
    half = shapes(n // 2, d, states, 1)
    assert sizes[1] < 2.05 * count.memory(with_backward(selective_scan), half[0], *half)


def test_depth_falls_with_the_chunk_and_work_grows():
    """One after the other 2 steps a position; a tree over all of them about 4 log₂ n in all."""
    n = 1024
    args = shapes(n, 2, 2, 1)
    spans = {chunk: graph.span(partial(selective_scan, chunk=chunk), *args) for chunk in (1, 32, n)}
    assert spans[1] > 2 * n > 20 * spans[32] > 20 * spans[n]
    assert spans[n] < 6 * np.log2(n)
    works = [cost.selective_scan(n, 2, states=2, chunk=chunk).flops for chunk in (1, 32, n)]
    assert works[0] < works[1] < works[2] < 2.5 * works[0]
    assert all(graph.depth(partial(selective_scan, chunk=chunk), *args) == 0 for chunk in (1, 32, n))


def test_formulas():
    n, d, states = sympy.symbols("n d N", positive=True)
    for backward in (False, True):
        for model in (cost.selective_scan, cost.mamba):
            formula = model(n, d, states=states, chunk=16, backward=backward)
            number = model(96, 32, states=6, chunk=16, backward=backward)
            sizes = np.array([96, 5, 100])
            many = model(sizes, 32, states=6, chunk=16, backward=backward)
            each = [model(int(size), 32, states=6, chunk=16, backward=backward) for size in sizes]
            for part in (
                "matmul_flops",
                "other_flops",
                "transcendentals",
                "bytes_read",
                "live",
                "saved",
                "sequential",
            ):
                value = sympy.sympify(getattr(formula, part)).subs({n: 96, d: 32, states: 6})
                assert sympy.simplify(value - getattr(number, part)) == 0, part
                expected = [getattr(one, part) for one in each]
                np.testing.assert_array_equal(np.broadcast_to(getattr(many, part), 3), expected)
            assert formula.path == 1
    products = sympy.Rational(25, 2) * n * d**2 + 8 * n * d * states
    assert sympy.expand(cost.mamba(n, d, states=states).matmul_flops - products) == 0


# --- bad input ------------------------------------------------------------------------------------------------------

KEY = jax.random.key(0)
U, B, A, D = jnp.zeros((2, 5, 3)), jnp.zeros((2, 5, 4)), jnp.zeros((3, 4)), jnp.zeros(3)
ARRAYS = {"u": U, "delta": U, "a": A, "b": B, "c": B, "skip": D}
X, P = jnp.zeros((2, 5, 4)), init_mamba(KEY, 4, **SIZES)
EMPTY = mamba_state(4, states=4, k=3, lead=(2,))


def bad(argument, expected, got, fn=selective_scan, **kwargs):
    given = ({"state": jnp.zeros((2, 3, 4))} if fn is selective_scan_step else {}) | ARRAYS
    given |= {a: kwargs.pop(a) for a in tuple(given) if a in kwargs}
    return argument, expected, got, fn, tuple(given.values()), kwargs


def bad_mamba(argument, expected, got, fn=mamba, **kwargs):
    given = [kwargs.pop("params", P | kwargs.pop("change", {})), kwargs.pop("x", X)]
    given += [kwargs.pop("state", EMPTY)] if fn is mamba_step else []
    return argument, expected, got, fn, tuple(given), kwargs


def bad_sizes(argument, expected, got, fn, **kwargs):
    first = {"key": KEY} if fn is init_mamba else {"n": 8} if fn in (cost.mamba, cost.selective_scan) else {}
    sizes = first | {"d": 4} | ({"states": 4} if fn is selective_scan_state else {}) | kwargs
    taken = ("key", "n", "d", "states") if fn is selective_scan_state else ("key", "n", "d")
    return argument, expected, got, fn, tuple(sizes.pop(a) for a in taken if a in sizes), sizes


WHOLE, STEPS = "a whole number of at least 1", (cost.selective_scan_step, cost.mamba_step)
BAD = [
    *(
        entry
        for fn in (selective_scan, selective_scan_step)
        for entry in (
            bad("u", "an array", "list", fn, u=[1.0]),
            bad("delta", "floating-point", "int32", fn, delta=U.astype(jnp.int32)),
            bad("u", "(..., n, d)", "(3,)", fn, u=U[0, 0]),
            bad("b", "(..., n, N)", "(4,)", fn, b=B[0, 0]),
            bad("delta", "d = 3", "d = 2", fn, delta=U[..., :2]),
            bad("b", "n = 5", "n = 4", fn, b=B[:, :4]),
            bad("a", "(3, N)", "(2, 4)", fn, a=A[:2]),
            bad("a", "(3, N)", "(3,)", fn, a=D),
            bad("c", "N = 4", "N = 3", fn, c=B[..., :3]),
            bad("skip", "(3,)", "(3, 4)", fn, skip=A),
            bad("c", "leading axes that broadcast", "c (3,)", fn, c=jnp.zeros((3, 5, 4))),
            bad("u", "no axis of length 0", "(2, 0, 3)", fn, u=U[:, :0]),
            bad("chunk", "at least 1", "0", fn, chunk=0),
        )
    ),
    bad("state", "(2, 3, 4)", "(3, 4)", selective_scan_step, state=A),
    bad("state", "float32 or float64", "bfloat16", selective_scan_step, state=jnp.zeros((2, 3, 4), jnp.bfloat16)),
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
            (selective_scan_state, ("d", "states")),
            (cost.selective_scan, ("n", "d", "states", "chunk", "batch")),
            (cost.mamba, ("n", "d", "states", "expand", "k", "rank", "chunk", "batch")),
            (cost.selective_scan_step, ("d", "states", "batch")),
            (cost.mamba_step, ("d", "states", "expand", "k", "rank", "batch")),
        )
        for argument in arguments
    ),
    *(
        bad_sizes(argument, expected, got, fn, **{argument: value})
        for fn in (mamba_state, selective_scan_state)
        for argument, expected, got, value in (
            ("lead", "a tuple of positive integers", "[2]", [2]),
            ("dtype", "float32 or float64", "bfloat16", jnp.bfloat16),
        )
    ),
    bad_sizes("key", "jax.random.key", "None", init_mamba, key=None),
    bad_sizes("dtype", "floating-point", "int", init_mamba, dtype=jnp.int32),
    *(
        bad_sizes(argument, expected, got, fn, **{argument: value})
        for fn in (cost.selective_scan, cost.mamba)
        for argument, expected, got, value in (
            ("backward", "True or False", "1", 1),
            ("dtype", "one of float64", "'int8'", "int8"),
            ("n", WHOLE, "1.5", 1.5),
        )
    ),
    *(bad_sizes("dtype", "one of float64", "'int8'", fn, dtype="int8") for fn in STEPS),
    *(bad_sizes("dtype", "one of float64", "'int8'", fn, dtype="int8") for fn in STEPS),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad[3].__module__}.{bad[3].__name__}-{bad[0]}-{bad[2]}")
def test_bad_input(refuses, bad):
    argument, expected, got, fn, args, kwargs = bad
    refuses(argument, expected, got, fn, *args, **kwargs)


def test_public_names():
    assert attnlib.selective_scan is selective_scan
    assert attnlib.mamba is mamba
    assert list(itertools.chain(EMPTY._fields)) == ["window", "h"]
