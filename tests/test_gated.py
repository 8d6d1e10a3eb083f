"""Gated linear attention beyond the contract: every kind of decay, strong ones, closed forms, precision."""

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
    gated_linear_attention_state,
    gated_linear_attention_step,
    linear_attention,
    reference,
    spread,
)
from attnlib.cost.gated import CHUNK
from attnlib.measure.count import with_backward

KINDS = ("none", "number", "keys", "channels")


def arrays(rng, *shapes, dtype=np.float32):
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def decays(rng, kind, lead, m, d_k, dtype=np.float32):
    """Decays of one kind; half of them weak, so that many keys are felt."""
    shape = {"none": None, "number": (), "keys": (*lead, m), "channels": (*lead, m, d_k)}[kind]
    return None if shape is None else jnp.asarray(-rng.exponential(size=shape) * (rng.random(shape) < 0.5), dtype)


def weights(q, k, decay):
    """Every weight of one head by the recurrence, no exponent of a sum: those of one key fade from row to row."""
    fade, faded, rows = np.exp(decay), np.zeros_like(k), []
    for i in range(len(k)):
        faded = faded * fade[i]
        faded[i] = k[i]
        rows.append(faded @ q[i])
    return np.stack(rows)


# --- what it equals -------------------------------------------------------------------------------------------------


def test_without_decay_it_adds_up_what_linear_attention_averages(rng):
    """Features that end in a 1 tell the sum of the weights: linear attention times that sum."""
    q, k, v = arrays(rng, (2, 11, 4), (2, 13, 4), (2, 13, 3))
    q, k = jnp.abs(q), jnp.abs(k)
    total = gated_linear_attention(q, k, jnp.ones((2, 13, 1)))
    average = linear_attention(q, k, v, feature_map=lambda x: x, causal=True)
    for decay in (None, 0.0, jnp.zeros((2, 13)), jnp.zeros((1, 13, 4))):
        np.testing.assert_allclose(gated_linear_attention(q, k, v, decay), average * total, rtol=2e-5, atol=1e-5)


def test_one_decay_for_all_keys_is_retention(rng):
    """Sun et al. (2023), equation 5: weights q_i·k_j γ^(i−j)."""
    q, k, v = (np.asarray(x, np.float64) for x in arrays(rng, (40, 4), (40, 4), (40, 3)))
    i, j = np.arange(40)[:, None], np.arange(40)
    for gamma in (0.97, 0.5, 1e-3):
        exact = np.where(i >= j, q @ k.T * gamma ** np.maximum(i - j, 0), 0) @ v
        for decay in (float(np.log(gamma)), jnp.full(40, np.log(gamma), jnp.float32)):
            out = gated_linear_attention(*(x.astype("f") for x in (q, k, v)), decay, chunk=16)
            np.testing.assert_allclose(out, exact, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["keys", "channels"])
def test_decays_of_keys_and_channels_are_those_of_the_recurrence(rng, kind):
    """Mamba-2 and gated linear attention: kernel and definition beside weights that fade step by step."""
    q, k, v = (np.asarray(x, np.float64) for x in arrays(rng, (37, 4), (37, 4), (37, 3)))
    decay = np.asarray(decays(rng, kind, (), 37, 4), np.float64)
    exact = weights(q, k, decay if kind == "channels" else decay[:, None]) @ v
    np.testing.assert_allclose(reference.gated_linear_attention(q, k, v, decay), exact, rtol=1e-12, atol=1e-13)
    out = gated_linear_attention(*(x.astype("f") for x in (q, k, v, decay)), chunk=8)
    np.testing.assert_allclose(out, exact, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("trial", range(200 if FULL else 4))
def test_random_cases_agree_with_the_definition(trial):
    """Sizes, chunks, masks, shared keys, kinds of decay: outputs, and gradients of all by finite differences."""
    rng = np.random.default_rng(trial)
    n, m, d_k, d_v = (int(x) for x in rng.integers(1, (30, 30, 6, 6)))
    q_lead, k_lead, d_lead = [
        ((), (), ()),
        ((2, 3), (2, 1), (1, 1)),
        ((3, 2), (3, 1), (1, 2)),
        ((2, 1), (1, 2), (2, 1)),
        ((), (2,), (1,)),
    ][trial % 5]
    lead = np.broadcast_shapes(q_lead, k_lead)
    kind = KINDS[trial % 4]
    chunk = [None, 1, 2, 3, 5, 8][rng.integers(6)]
    mask = None if rng.integers(2) else rng.random([(m,), (1, m), (*lead, 1, m)][rng.integers(3)]) < 0.7
    with float64():
        args = arrays(rng, (*q_lead, n, d_k), (*k_lead, m, d_k), (*k_lead, m, d_v), dtype=np.float64)
        decay = decays(rng, kind, d_lead, m, d_k, np.float64)
        args = [np.asarray(x) for x in (*args, *(() if decay is None else (decay,)))]
        if mask is not None:
            mask = jnp.asarray(mask)

        def fn(*a):
            return gated_linear_attention(*a, mask=mask, chunk=chunk, scale=0.7)

        def exact(*a):
            return reference.gated_linear_attention(*a, mask=mask, scale=0.7)

        do = rng.normal(size=exact(*args).shape)
        out, *gradients = jax.jit(with_backward(fn))(do, *args)
        np.testing.assert_allclose(out, exact(*args), rtol=1e-11, atol=1e-12)
        for at, gradient in enumerate(gradients):  # one argument at a time: none hides behind another
            way = rng.normal(size=args[at].shape)
            ahead, behind = (
                exact(*(x + e * way if i == at else x for i, x in enumerate(args))) for e in (1e-5, -1e-5)
            )
            slope = ((ahead - behind) / 2e-5 * do).sum()
            np.testing.assert_allclose((np.asarray(gradient) * way).sum(), slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS if FULL else ["channels"])
def test_chunks_change_nothing(rng, kind):
    """Neither outputs nor gradients: chunks of one key, of a power of two, of none, longer than all keys."""
    q, k, v, do = arrays(rng, (2, 23, 4), (2, 29, 4), (2, 29, 3), (2, 23, 3))
    decay = decays(rng, kind, (2,), 29, 4)
    args = (q, k, v, *(() if decay is None else (decay,)))
    once = jax.jit(with_backward(gated_linear_attention))(do, *args)
    for chunk in (1, 2, 3, 7, 8, 1000) if FULL else (1, 3, 8):
        for a, b in zip(
            jax.jit(with_backward(lambda *x, c=chunk: gated_linear_attention(*x, chunk=c)))(do, *args),
            once,
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


# --- what it does not see -------------------------------------------------------------------------------------------


def test_nothing_later_moves_an_output(rng):
    """200 perturbations of everything after position i, decays too, some of them NaN: the same bits up to i."""
    n, m = 21, 26
    q, k, v = arrays(rng, (n, 4), (m, 4), (m, 3))
    for kind in ("keys", "channels"):
        decay = decays(rng, kind, (), m, 4)
        run = jax.jit(lambda *a: gated_linear_attention(*a, chunk=8))
        before = run(q, k, v, decay)
        for trial in range(100):
            i = int(rng.integers(n))
            size = (1.0, 1e4, np.nan, np.inf)[trial % 4]

            def later(x, start, size=size):
                noise = np.where(rng.random(x.shape) < 0.5, size, 1) * rng.normal(size=x.shape)
                late = np.arange(len(x)).reshape(-1, *[1] * (x.ndim - 1)) > start
                return jnp.asarray(np.where(late, noise, x), x.dtype)

            moved = [later(q, i), *(later(x, i + m - n) for x in (k, v))]
            after = run(*moved, -jnp.abs(later(decay, i + m - n)))
            np.testing.assert_array_equal(after[: i + 1], before[: i + 1])
            if i < n - 1:
                assert not np.array_equal(after[i + 1 :], before[i + 1 :])


def test_more_queries_than_keys_and_hidden_keys(rng):
    """The first n − m see nothing, whatever they are; a hidden key adds nothing, and its decay counts."""
    q, k, v, do = arrays(rng, (2, 9, 4), (2, 5, 4), (2, 5, 3), (2, 9, 3))
    decay = decays(rng, "channels", (2,), 5, 4)
    bad = q.at[:, :4].set(jnp.nan)
    out, dq, *_ = jax.jit(with_backward(gated_linear_attention))(do, bad, k, v, decay)
    assert not out[:, :4].any()
    assert not dq[:, :4].any()
    np.testing.assert_allclose(out[:, 4:], gated_linear_attention(q[:, 4:], k, v, decay), rtol=1e-6, atol=1e-6)
    mask = jnp.array([True, False, True, True, False])
    hidden = [x.at[:, jnp.array([1, 4])].set(jnp.inf) for x in (k, v)]
    zeros = [x.at[:, jnp.array([1, 4])].set(0) for x in (k, v)]
    for a, b in zip(
        jax.jit(with_backward(lambda *x: gated_linear_attention(*x, mask=mask)))(do, q, *hidden, decay),
        jax.jit(with_backward(gated_linear_attention))(do, q, *zeros, decay),
        strict=True,
    ):
        rows = np.isin(np.arange(a.shape[1]), [1, 4]) if a.shape[1] == 5 else np.zeros(a.shape[1], bool)
        np.testing.assert_allclose(a[:, ~rows], b[:, ~rows], rtol=1e-6, atol=1e-6)
        assert jnp.isfinite(a).all()


# --- strong decays --------------------------------------------------------------------------------------------------


@pytest.mark.sample(4)
@pytest.mark.parametrize("kind", ["number", "keys", "channels"])
@pytest.mark.parametrize("strong", [-1e4, -3e38, -np.inf])
def test_strong_decays_neither_overflow_nor_nan(rng, kind, strong):
    """Everywhere: each query sees its own key alone. Here and there: weak decays between lose no digit."""
    q, k, v, do = arrays(rng, (30, 4), (30, 4), (30, 3), (30, 3))
    if kind == "number":
        every, some = strong, -0.1
    else:
        weak = decays(rng, kind, (), 30, 4)
        every = jnp.full(weak.shape, strong, jnp.float32)
        some = jnp.where(jnp.asarray(rng.random(weak.shape) < 0.15), jnp.float32(strong), weak)
    alone = (q * k).sum(axis=-1, keepdims=True) * v
    np.testing.assert_allclose(gated_linear_attention(q, k, v, every, chunk=16), alone, rtol=1e-5, atol=1e-6)
    for decay in (every, some):
        args = (q, k, v) if kind == "number" else (q, k, v, decay)

        def fn(*a, decay=decay):
            return gated_linear_attention(*a, **({} if len(a) > 3 else {"decay": decay}), chunk=16)

        out, *gradients = jax.jit(with_backward(fn))(do, *args)
        exact = reference.gated_linear_attention(q, k, v, decay)
        np.testing.assert_allclose(out, exact, rtol=2e-5, atol=1e-5)
        assert all(jnp.isfinite(g).all() for g in gradients)
        with float64():
            double = jax.jit(with_backward(fn))(*(np.asarray(x, np.float64) for x in (do, *args)))
        for a, b in zip(gradients, double[1:], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("n", [2000])
def test_long_sums_of_decays_lose_no_digits(rng, n):
    """Strong decays early, weak ones after: a difference of running sums near 10⁶ would be off by a tenth."""
    q, k, v = arrays(rng, (n, 2), (n, 2), (n, 1))
    decay = jnp.where(jnp.arange(n) < 200, -5e3, -1e-3).astype(jnp.float32)
    exact = weights(*(np.asarray(x, np.float64) for x in (q, k)), np.asarray(decay, np.float64)[:, None]) @ v
    out = gated_linear_attention(q, k, v, decay)
    assert np.abs(out - exact).max() <= 1e-5 * np.abs(exact).max()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_costs_the_rounding_of_the_output_alone(rng, dtype):
    """Sums are float32: what is lost is half a unit of the output's own last place, at most."""
    q, k, v = arrays(rng, (2, 300, 16), (2, 300, 16), (2, 300, 8), dtype=dtype)
    decay = decays(rng, "channels", (2,), 300, 16, dtype)
    out, *gradients = jax.jit(with_backward(gated_linear_attention))(jnp.ones((2, 300, 8), dtype), q, k, v, decay)
    assert [x.dtype for x in (out, *gradients)] == [dtype] * 5
    exact = gated_linear_attention(*(x.astype(jnp.float32) for x in (q, k, v, decay)))
    np.testing.assert_allclose(out.astype(jnp.float32), exact, rtol=jnp.finfo(dtype).eps / 2, atol=1e-6)
    truth = reference.gated_linear_attention(*(x.astype(jnp.float32)[:1, :60] for x in (q, k, v, decay)))
    np.testing.assert_allclose(exact[:1, :60], truth, rtol=2e-5, atol=2e-5)


def test_mixed_dtypes(rng):
    q, k, v, decay = arrays(rng, (5, 4), (7, 4), (7, 3), (7,))
    dtypes = (jnp.bfloat16, jnp.float32, jnp.float16, jnp.float32)
    args = [x.astype(t) for x, t in zip((q, k, v, -jnp.abs(decay)), dtypes, strict=True)]
    out, *gradients = with_backward(gated_linear_attention)(jnp.ones((5, 3), dtypes[2]), *args)
    assert [x.dtype for x in (out, *gradients)] == [dtypes[2], *dtypes]


# --- states ---------------------------------------------------------------------------------------------------------


def test_the_gradient_of_a_state_is_a_slope(rng):
    with float64():
        state, q, k, v = arrays(rng, (4, 3), (6, 4), (6, 4), (6, 3), dtype=np.float64)
        decay = decays(rng, "channels", (), 6, 4, np.float64)

        def loss(*args):
            o, after = gated_linear_attention_step(*args, chunk=4)
            return (o**2).sum() + jnp.sin(after).sum()

        args = (state, q, k, v, decay)
        gradients = jax.grad(loss, (0, 1, 2, 3, 4))(*args)
        for at, gradient in enumerate(gradients):
            way = jnp.asarray(rng.normal(size=gradient.shape))
            ahead, behind = (
                loss(*(x + e * way if i == at else x for i, x in enumerate(args))) for e in (1e-5, -1e-5)
            )
            np.testing.assert_allclose((gradient * way).sum(), (ahead - behind) / 2e-5, rtol=1e-6, atol=1e-7)


# --- transformations ------------------------------------------------------------------------------------------------


def test_vmap_export_and_second_order(rng):
    q, k, v = arrays(rng, (3, 9, 4), (3, 9, 4), (3, 9, 2))
    decay = decays(rng, "channels", (3,), 9, 4)
    whole = jax.jit(with_backward(gated_linear_attention))(jnp.ones((3, 9, 2)), q, k, v, decay)
    mapped = jax.jit(jax.vmap(with_backward(gated_linear_attention)))(jnp.ones((3, 9, 2)), q, k, v, decay)
    for a, b in zip(mapped, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda *a: gated_linear_attention(*a).sum(), (0, 1, 2, 3)))
    exported = export.export(gradient)(q, k, v, decay)
    for a, b in zip(exported.call(q, k, v, decay), whole[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    with float64():
        q, k, v, decay = (jnp.asarray(np.asarray(x[0]), jnp.float64) for x in (q, k, v, decay))

        def dense(q, k, v, decay):
            past = jnp.cumsum(decay, axis=0)
            gap = past[:, None] - past[None]
            a = jnp.where(jnp.tril(jnp.ones((9, 9), bool)), (q[:, None] * jnp.exp(gap) * k[None]).sum(axis=-1), 0)
            return a @ v

        def twice(fn):
            inner = jax.grad(lambda *a: (fn(*a) ** 2).sum(), 3)
            return jax.jit(jax.grad(lambda *a: (inner(*a) ** 2).sum(), (0, 3)))(q, k, v, decay)

        for a, b in zip(twice(lambda *x: gated_linear_attention(*x, chunk=4)), twice(dense), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", ["keys", "channels"])
def test_heads_spread_over_two_devices(rng, kind):
    """The decays are split with the heads; those of keys are given an axis of length 1."""
    q, k, v = arrays(rng, (4, 9, 4), (1, 9, 4), (4, 9, 3))
    decay = decays(rng, kind, (4,), 9, 4)
    decay = decay[..., None] if kind == "keys" else decay
    whole = gated_linear_attention(q, k, v, decay)
    apart = spread(gated_linear_attention, jax.devices()[:2])(q, k, v, decay=decay)
    assert len(apart.sharding.device_set) == 2
    np.testing.assert_allclose(apart, whole, rtol=1e-6, atol=1e-6)


def test_heads_at_once_as_on_other_devices(rng, monkeypatch):
    q, k, v, do = arrays(rng, (3, 2, 9, 4), (3, 1, 9, 4), (3, 1, 9, 3), (3, 2, 9, 3))
    decay = decays(rng, "channels", (3, 1), 9, 4)
    run = jax.jit(with_backward(lambda *a: gated_linear_attention(*a, chunk=4)))
    expected = run(do, q, k, v, decay)
    jax.clear_caches()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for a, b in zip(run(do, q, k, v, decay), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    jax.clear_caches()


# --- costs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [None, 1, 7, 8])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 150), (5, 5), (64, 64), (65, 200), (150, 40)])
def test_flops_are_those_of_the_program(n, m, chunk):
    """Forward and backward, with decays of keys, and of channels of their own in every head."""
    shape = jax.ShapeDtypeStruct
    for decay, h_kv, channels in (((m,), 1, 1), ((2, m, 6), 2, 6)):
        k_lead = (1,)
        args = [shape(s, jnp.float32) for s in ((2, n, 6), (*k_lead, m, 6), (*k_lead, m, 3), decay)]
        args[3] = shape((1, m) if channels == 1 else decay, jnp.float32)

        def fn(*a):
            return gated_linear_attention(*a, chunk=chunk)

        def model(h_kv=h_kv, channels=channels, **more):
            return cost.gated_linear_attention(
                n, 6, m=m, d_v=3, h=2, h_kv=h_kv, channels=channels, chunk=chunk, **more
            )

        assert count.matmul_flops(fn, *args) == model().matmul_flops
        both = count.matmul_flops(with_backward(fn), shape((2, n, 3), jnp.float32), *args)
        assert both == model(backward=True).matmul_flops


def test_memory_of_the_backward_pass_is_the_sums_before_every_chunk():
    """At 65,536 tokens: one number for each of d_k·d_v / chunk of a token, for one head; nothing grows faster."""
    n, d = 65536, 64
    x = jax.ShapeDtypeStruct((2, n, d), jnp.float32)

    def temporary(fn, *args):
        return count.memory(fn, *args)

    states = n // CHUNK * d * d * 4
    assert temporary(gated_linear_attention, x, x, x) <= 3 * x.size * 4
    assert temporary(with_backward(gated_linear_attention), x, x, x, x) <= states + 8 * x.size * 4


def test_model_in_symbols_and_arrays():
    n, d = sympy.symbols("n d", positive=True, integer=True)
    for backward in (False, True):
        formula = cost.gated_linear_attention(n, d, chunk=32, backward=backward)
        number = cost.gated_linear_attention(96, 8, chunk=32, backward=backward)
        for part in ("matmul_flops", "other_flops", "transcendentals", "bytes_read", "bytes_written", "live"):
            assert sympy.sympify(getattr(formula, part)).subs({n: 96, d: 8}) == getattr(number, part), part
    plain = cost.gated_linear_attention(n, d).matmul_flops
    assert sympy.expand(plain - n * (4 * d**2 + (CHUNK - 1) * 2 * d)) == 0
    sizes = np.array([10, 70, 1000])
    many = cost.gated_linear_attention(sizes, 8, backward=True)
    for part in ("matmul_flops", "other_flops", "transcendentals", "bytes_read", "live", "saved"):
        each = [getattr(cost.gated_linear_attention(int(x), 8, backward=True), part) for x in sizes]
        assert getattr(many, part).tolist() == each, part


# --- bad input: argument, expected, got, function, arguments --------------------------------------------------------

X = jnp.ones((2, 5, 4))
STATE = jnp.zeros((2, 4, 4))


def bad(argument, expected, got, **kwargs):
    arrays = {"q": X, "k": X, "v": X} | {a: kwargs.pop(a) for a in ("q", "k", "v") if a in kwargs}
    return argument, expected, got, gated_linear_attention, tuple(arrays.values()), kwargs


def bad_state(argument, expected, got, **kwargs):
    sizes = {"d_k": 4, "d_v": 4} | kwargs
    return argument, expected, got, gated_linear_attention_state, (sizes.pop("d_k"), sizes.pop("d_v")), sizes


def bad_step(argument, expected, got, **kwargs):
    arrays = {"state": STATE, "q": X, "k": X, "v": X}
    arrays |= {a: kwargs.pop(a) for a in tuple(arrays) if a in kwargs}
    return argument, expected, got, gated_linear_attention_step, tuple(arrays.values()), kwargs


def bad_cost(fn, argument, expected, got, **kwargs):
    sizes = ({"n": 8} if fn is cost.gated_linear_attention else {}) | {"d_k": 4} | kwargs
    first = tuple(sizes.pop(a) for a in ("n", "d_k") if a in sizes)
    return argument, expected, got, fn, first, sizes


WHOLE = "a whole number of at least 1"
BAD = [
    bad("q", "an array", "list", q=[1.0]),
    bad("k", "d_k = 4", "d_k = 3", k=X[..., :3]),
    bad("v", "m = 5", "m = 4", v=X[:, :4]),
    bad("decay", "an array", "list", decay=[1.0]),
    bad("decay", "an array", "bool", decay=False),
    bad("decay", "a number of at most 0", "0.5", decay=0.5),
    bad("decay", "a number of at most 0", "nan", decay=float("nan")),
    bad("decay", "a real floating-point dtype", "int32", decay=jnp.zeros((2, 5), int)),
    bad("decay", "shape (..., 5), one axis less", "(5,)", decay=jnp.zeros(5)),
    bad("decay", "shape (..., 5), one axis less", "(2, 4)", decay=jnp.zeros((2, 4))),
    bad("decay", "(..., 5, 4), as many", "(2, 5, 3)", decay=jnp.zeros((2, 5, 3))),
    bad("decay", "leading axes that broadcast", "(3,)", decay=jnp.zeros((3, 5))),
    bad("causal", "True or False", "1", causal=1),
    bad("causal", "True: a decay has a direction", "False", causal=False),
    bad("mask", "dtype bool", "float32", mask=X),
    bad("mask", "one row for all queries", "(5, 5)", mask=jnp.ones((5, 5), bool)),
    bad("scale", "a finite real number", "nan", scale=float("nan")),
    bad("chunk", "an integer of at least 1", "0", chunk=0),
    bad_state("d_k", "an integer of at least 1", "0", d_k=0),
    bad_state("d_v", "an integer of at least 1", "1.5", d_v=1.5),
    bad_state("lead", "a tuple of positive integers", "[2]", lead=[2]),
    bad_state("dtype", "float32 or float64", "bfloat16", dtype=jnp.bfloat16),
    bad_step("state", "an array", "float", state=1.0),
    bad_step("state", "float32 or float64", "bfloat16", state=STATE.astype(jnp.bfloat16)),
    bad_step("state", "shape (2, 4, 4)", "(4, 4)", state=STATE[0]),
    bad_step("q", "an array", "list", q=[1.0]),
    bad_step("k", "n = 4 new keys", "5", q=X[:, :4]),
    bad_step("v", "m = 5", "m = 4", v=X[:, :4]),
    bad_step("decay", "a number of at most 0", "1", decay=1),
    bad_step("scale", "a finite real number", "inf", scale=float("inf")),
    bad_step("chunk", "an integer of at least 1", "0", chunk=0),
    *(
        bad_cost(fn, argument, expected, got, **{argument: value})
        for fn in (cost.gated_linear_attention, cost.gated_linear_attention_step)
        for argument, expected, got, value in (
            ("d_k", WHOLE, "0", 0),
            ("channels", "1 or d_k = 4", "3", 3),
            ("channels", WHOLE, "0", 0),
            ("d_v", WHOLE, "0", 0),
            ("h", WHOLE, "0", 0),
            ("h_kv", "a divisor of h = 1", "3", 3),
            ("batch", WHOLE, "0", 0),
            ("dtype", "one of float64", "'int8'", "int8"),
        )
    ),
    bad_cost(cost.gated_linear_attention, "n", WHOLE, "0", n=0),
    bad_cost(cost.gated_linear_attention, "m", WHOLE, "0", m=0),
    bad_cost(cost.gated_linear_attention, "causal", "True or False", "1", causal=1),
    bad_cost(cost.gated_linear_attention, "causal", "True: a decay has a direction", "False", causal=False),
    bad_cost(cost.gated_linear_attention, "backward", "True or False", "1", backward=1),
    bad_cost(cost.gated_linear_attention, "chunk", "an integer of at least 1", "0", chunk=0),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad[3].__module__}.{bad[3].__name__}-{bad[0]}-{bad[2]}")
def test_bad_input(refuses, bad):
    argument, expected, got, fn, args, kwargs = bad
    refuses(argument, expected, got, fn, *args, **kwargs)


def test_public_name():
    assert attnlib.gated_linear_attention is gated_linear_attention
