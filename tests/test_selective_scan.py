"""Selective scans: the definition, both orders of steps, gradients, causality, states, costs, every bad argument."""

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
    cost,
    count,
    gated_linear_attention,
    graph,
    reference,
    selective_scan,
    selective_scan_state,
    selective_scan_step,
)
from attnlib.measure.count import with_backward

CHUNKS = (1, 3, 8, None)
PLANS = [(chunk, tree) for chunk in CHUNKS for tree in (False, True) if tree is False or chunk != 1]


def draw(rng, n, d=3, states=4, lead=(), dtype=jnp.float32):
    """u, Δ, A, B, C and D."""
    shapes = ((*lead, n, d), (*lead, n, d), (d, states), (*lead, n, states), (*lead, n, states), (d,))
    u, delta, a, b, c, skip = (rng.normal(size=s) for s in shapes)
    return [jnp.asarray(x, dtype) for x in (u, np.abs(delta), -np.exp(a), b, c, skip)]


def close(a, b, rtol=1e-10, atol=1e-10):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


# --- the definition -------------------------------------------------------------------------------------------------


@pytest.mark.sample(4)
@pytest.mark.parametrize(("chunk", "tree"), PLANS)
@pytest.mark.parametrize("n", [1, 2, 7, 30, 65])
def test_agrees_with_the_definition(chunk, tree, n, rng):
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
        y, *gradients = jax.jit(with_backward(partial(selective_scan, chunk=chunk, tree=tree)))(do, *args)
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


def test_with_one_rate_for_all_states_it_is_gated_linear_attention(rng):
    """Mamba-2: A is a number a head, keys are B, queries C, values Δu, and the log-decay is ΔA."""
    with float64():
        u, delta, a, b, c, skip = draw(rng, 40, d=5, lead=(2,), dtype=jnp.float64)
        delta, a = jnp.broadcast_to(delta[..., :1], u.shape), jnp.full_like(a, -0.7)
        y = gated_linear_attention(c, b, delta * u, -0.7 * delta[..., 0]) + skip[None, None] * u
        close(selective_scan(u, delta, a, b, c, skip), y)


# --- causality and numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tree", [False, True])
def test_both_orders_agree_in_float32(tree, rng):
    """One after the other and in trees: of widths that the sums over states and channels halve, and of odd ones."""
    for n, d, states, lead in ((70, 64, 16, (2,)), (50, 33, 6, ()), (40, 48, 5, (3, 1))):
        with float64():
            args = [jnp.asarray(rng.normal(size=(*lead, n, d))), *draw(rng, n, d, states, lead, jnp.float64)]
            exact = jax.jit(with_backward(partial(selective_scan, tree=not tree)))(*args)
        low = (jnp.asarray(np.asarray(x), jnp.float32) for x in args)
        got = jax.jit(with_backward(partial(selective_scan, tree=tree)))(*low)
        assert len(got) == 7
        for x, y in zip(got, exact, strict=True):
            assert np.abs(np.asarray(x) - np.asarray(y)).max() < 1e-5 * np.abs(np.asarray(y)).max()


def test_what_runs_on_a_cpu_has_no_tree(rng):
    args = draw(rng, 40)
    assert jax.default_backend() == "cpu"
    ways = {tree: graph.span(partial(selective_scan, tree=tree), *args) for tree in (None, False, True)}
    assert ways[None] == ways[False] > 2 * ways[True]


@pytest.mark.parametrize("tree", [False, True])
def test_what_comes_later_changes_nothing(tree, rng):
    """200 random perturbations of all that has positions, to the bit."""
    trials, n = 200, 37
    u, delta, a, b, c, skip = draw(rng, n)
    each = [u, delta, b, c]
    run = jax.jit(lambda u, delta, b, c: selective_scan(u, delta, a, b, c, skip, chunk=8, tree=tree))
    at = rng.integers(1, n, trials)
    later = np.arange(n)[None, :, None] >= at[:, None, None]
    other = [jnp.where(later, jnp.abs(rng.normal(size=(trials, *x.shape)).astype("f")), x[None]) for x in each]
    same = run(*(jnp.broadcast_to(x, (trials, *x.shape)) for x in each))
    changed = np.abs(run(*other) - same)
    assert not changed[~np.broadcast_to(later, changed.shape)].any()
    assert (changed.max(axis=(1, 2)) > 1e-3).all()


@pytest.mark.parametrize("tree", [False, True])
@pytest.mark.parametrize("step", [1e-30, 1e3, 1e30, 3e38])
def test_steps_however_large_neither_overflow_nor_nan(step, tree, rng):
    """Everywhere, and at some positions among ordinary ones, which then remember nothing of what came before."""
    u, delta, a, b, c, skip = draw(rng, 20)
    u = u / max(step, 1)
    for there in (jnp.ones((20, 3), bool), jnp.asarray(rng.random((20, 3)) < 0.2)):
        args = (u, jnp.where(there, jnp.float32(step), delta), a, b, c, skip)
        y, *gradients = jax.jit(with_backward(partial(selective_scan, chunk=8, tree=tree)))(jnp.ones_like(u), *args)
        np.testing.assert_allclose(y, reference.selective_scan(*args), rtol=1e-4, atol=1e-5)
        assert all(jnp.isfinite(g).all() for g in gradients[2:])


def test_long_memories_in_float32(rng):
    """10,000 positions, of which the first is still felt: as in float64."""
    u, delta, a, b, c, skip = draw(rng, 10_000, d=2)
    args = [u, delta * 1e-4, a, b, c, skip]
    exact = reference.selective_scan(*args)
    for tree in (False, True):
        assert np.abs(selective_scan(*args, tree=tree) - exact).max() < 2e-5 * np.abs(exact).max()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_rounds_the_output_alone(dtype, rng):
    args = draw(rng, 200, dtype=dtype)
    y, *gradients = jax.jit(with_backward(selective_scan))(jnp.ones_like(args[0]), *args)
    assert [x.dtype for x in (y, *gradients)] == [dtype] * 7
    exact = reference.selective_scan(*args)
    assert (np.abs(np.asarray(y, np.float64) - exact) <= float(jnp.finfo(dtype).eps) / 2 * np.abs(exact) + 1e-4).all()


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


# --- transformations ------------------------------------------------------------------------------------------------


def test_vmap_and_export(rng):
    u, delta, a, b, c, skip = draw(rng, 12, lead=(2,))
    run = partial(selective_scan, chunk=4)
    close(jax.vmap(run, (0, 0, None, 0, 0, None))(u, delta, a, b, c, skip), run(u, delta, a, b, c, skip), 1e-5, 1e-5)

    def loss(*args):
        return selective_scan(*args, chunk=4, tree=True).astype(jnp.float32).sum()

    for platform, dtype in zip(("cpu", "cuda", "tpu"), (jnp.float16, jnp.bfloat16, jnp.float32), strict=True):
        exported = export.export(jax.jit(jax.value_and_grad(loss, tuple(range(6)))), platforms=[platform])
        assert exported(*draw(rng, 12, lead=(2,), dtype=dtype)).platforms == (platform,)


def test_second_order(rng):
    with float64():
        args = draw(rng, 6, dtype=jnp.float64)

        def twice(chunk, tree):
            inner = jax.grad(lambda *a: (selective_scan(*a, chunk=chunk, tree=tree) ** 3).sum(), (1, 2))
            return jax.jit(jax.grad(lambda *a: sum((g**2).sum() for g in inner(*a)), tuple(range(6))))(*args)

        close(twice(4, False), twice(4, True), 1e-8, 1e-8)


# --- costs ----------------------------------------------------------------------------------------------------------


PARTS = ("matmul_flops", "other_flops", "transcendentals", "bytes_read", "live", "saved", "sequential")


def shapes(n, d, states, batch):
    f32 = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    u, b = f32((batch, n, d)), f32((batch, n, states))
    return [u, u, f32((d, states)), b, b, f32((d,))]


@pytest.mark.parametrize(("chunk", "tree"), PLANS)
def test_operations_equal_what_the_compiler_counts(chunk, tree, rng):
    run = partial(selective_scan, chunk=chunk, tree=tree)
    for trial in range(20 if FULL else 4):
        n, d, states, batch = (int(s) for s in rng.integers(2, (100, 70, 20, 5))) if trial else (1, 1, 1, 1)
        args, sizes = shapes(n, d, states, batch), {"states": states, "batch": batch}
        for backward in (False, True) if trial else (False,):  # where sizes are 1, sums of gradients are none
            c = cost.selective_scan(n, d, **sizes, chunk=chunk, tree=tree, backward=backward)
            counted = (
                count.operations(with_backward(run), args[0], *args) if backward else count.operations(run, *args)
            )
            assert count.Operations(c.matmul_flops, c.other_flops, c.transcendentals) == counted
        assert c.saved == count.saved(run, *args)


def test_a_step_costs_the_same_whatever_came_before(rng):
    args = draw(rng, 1, lead=(2,))
    model, state = cost.selective_scan_step(3, states=4, batch=2), selective_scan_state(3, 4, lead=(2,))
    for _ in range(3):
        counted = count.operations(selective_scan_step, state, *args)
        assert count.Operations(0, model.other_flops, model.transcendentals) == counted
        _, state = selective_scan_step(state, *args)
    assert state.nbytes == model.live
    y, after = selective_scan_step(state, *draw(rng, 1, lead=(2,), dtype=jnp.bfloat16))
    assert (y.dtype, after.dtype, after.nbytes) == (jnp.bfloat16, jnp.float32, state.nbytes)


@pytest.mark.parametrize("tree", [False, True])
def test_nothing_of_length_n_times_states_is_kept(tree):
    """65,536 positions of 32 × 16 states would be 134 MB; the state before every chunk is a 32nd of that."""
    n, d, states = 65_536, 32, 16
    args, run = shapes(n, d, states, 1), partial(selective_scan, tree=tree)
    forward, backward = (cost.selective_scan(n, d, states=states, tree=tree, backward=b) for b in (False, True))
    sizes = count.memory(run, *args), count.memory(with_backward(run), args[0], *args)
    assert sizes[0] < n * d * 4 + 2 * forward.live
    assert sizes[1] < backward.live + 6 * n * d * 4
    assert sizes[1] < n * d * states * 4 / 3
    half = shapes(n // 2, d, states, 1)
    assert sizes[1] < 2.05 * count.memory(with_backward(run), half[0], *half)


def test_depth_falls_with_the_chunk_of_a_tree_and_work_grows():
    """One after the other 2 steps a position; a tree over all of them about 4 log₂ n in all."""
    n = 1024
    args, chunks = shapes(n, 2, 2, 1), (1, 32, n)
    spans = {c: graph.span(partial(selective_scan, chunk=c, tree=True), *args) for c in chunks}
    assert spans[1] > 2 * n > 15 * spans[32] > 15 * spans[n]
    assert spans[n] < 8 * np.log2(n)
    assert all(graph.span(partial(selective_scan, chunk=c, tree=False), *args) > 2 * n for c in chunks)
    models = {c: [cost.selective_scan(n, 2, states=2, chunk=c, tree=tree) for tree in (False, True)] for c in chunks}
    works = [models[c][True].flops for c in chunks]
    assert works[0] < works[1] < works[2] < 2.5 * works[0]
    assert [models[c][False].flops for c in chunks] == [works[0]] * 3
    waits = [[model["states"].sequential for model in models[c]] for c in chunks]
    assert waits == [[n, n], [n, 10 + 32], [n, 20 + 1]]
    assert all(graph.depth(partial(selective_scan, chunk=c), *args) == 0 for c in chunks)


@pytest.mark.parametrize("tree", [False, True])
def test_formulas(tree):
    n, d, states = sympy.symbols("n d N", positive=True)
    for backward in (False, True):
        model = partial(cost.selective_scan, chunk=16, tree=tree, backward=backward)
        formula, number = model(n, d, states=states), model(96, 32, states=6)
        sizes = np.array([96, 5, 100])
        many, each = model(sizes, 32, states=6), [model(int(size), 32, states=6) for size in sizes]
        for part in PARTS:
            value = sympy.sympify(getattr(formula, part)).subs({n: 96, d: 32, states: 6})
            assert sympy.simplify(value - getattr(number, part)) == 0, part
            np.testing.assert_array_equal(
                np.broadcast_to(getattr(many, part), 3), [getattr(one, part) for one in each]
            )
        assert formula.path == 1
    one = cost.selective_scan(n, d, states=states)
    assert sympy.expand(one.flops - 6 * n * d * states - 3 * n * d) == 0


# --- bad input ------------------------------------------------------------------------------------------------------

U, B, A, D = jnp.zeros((2, 5, 3)), jnp.zeros((2, 5, 4)), jnp.zeros((3, 4)), jnp.zeros(3)
ARRAYS = {"u": U, "delta": U, "a": A, "b": B, "c": B, "skip": D}


def bad(argument, expected, got, fn=selective_scan, **kwargs):
    given = ({"state": jnp.zeros((2, 3, 4))} if fn is selective_scan_step else {}) | ARRAYS
    given |= {a: kwargs.pop(a) for a in tuple(given) if a in kwargs}
    return argument, expected, got, fn, tuple(given.values()), kwargs


def bad_sizes(argument, expected, got, fn, **kwargs):
    first = {"n": 8} if fn is cost.selective_scan else {}
    sizes = first | {"d": 4} | ({"states": 4} if fn is selective_scan_state else {}) | kwargs
    taken = ("n", "d", "states") if fn is selective_scan_state else ("n", "d")
    return argument, expected, got, fn, tuple(sizes.pop(a) for a in taken if a in sizes), sizes


WHOLE = "a whole number of at least 1"
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
            bad("tree", "True or False", "1", fn, tree=1),
        )
    ),
    bad("state", "(2, 3, 4)", "(3, 4)", selective_scan_step, state=A),
    bad("state", "float32 or float64", "bfloat16", selective_scan_step, state=jnp.zeros((2, 3, 4), jnp.bfloat16)),
    *(
        bad_sizes(argument, "at least", "0", fn, **{argument: 0})
        for fn, arguments in (
            (selective_scan_state, ("d", "states")),
            (cost.selective_scan, ("n", "d", "states", "chunk", "batch")),
            (cost.selective_scan_step, ("d", "states", "batch")),
        )
        for argument in arguments
    ),
    bad_sizes("lead", "a tuple of positive integers", "[2]", selective_scan_state, lead=[2]),
    bad_sizes("dtype", "float32 or float64", "bfloat16", selective_scan_state, dtype=jnp.bfloat16),
    bad_sizes("backward", "True or False", "1", cost.selective_scan, backward=1),
    bad_sizes("tree", "True or False", "None", cost.selective_scan, tree=None),
    bad_sizes("n", WHOLE, "1.5", cost.selective_scan, n=1.5),
    *(
        bad_sizes("dtype", "one of float64", "'int8'", fn, dtype="int8")
        for fn in (cost.selective_scan, cost.selective_scan_step)
    ),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad[3].__module__}.{bad[3].__name__}-{bad[0]}-{bad[2]}")
def test_bad_input(refuses, bad):
    argument, expected, got, fn, args, kwargs = bad
    refuses(argument, expected, got, fn, *args, **kwargs)


def test_public_name():
    assert attnlib.selective_scan is selective_scan
