"""Performer beyond the contract: random features as estimates, causality to the bit, far keys, states, costs."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import sympy
from jax.sharding import PartitionSpec
from support import FULL, float64

import attnlib
from attnlib import (
    attention,
    cost,
    count,
    init_performer,
    performer_attention,
    performer_attention_state,
    performer_attention_step,
    reference,
)
from attnlib.kernels.performer import State
from attnlib.measure.count import with_backward

KINDS = ("positive", "trigonometric")


def arrays(rng, *shapes, dtype=np.float32):
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


@cache
def draws(orthogonal):
    """20,000 independent projections (·, 11, 8), in float64; so are their first rows: 11 directions cut a block."""
    one = jax.vmap(lambda key: init_performer(key, 8, 11, orthogonal=orthogonal))
    return np.asarray(jax.jit(one)(jax.random.split(jax.random.key(0), 20_000)), np.float64)


def weights(q, k, w, kind):
    """The estimates of e^(q·k), one for each projection of w (draws, features, d)."""
    trials, features, d = w.shape
    (e, x), (f, y) = (reference.random_features(a[None], w.reshape(-1, d), kind) for a in (q, k))
    return (np.exp(e + f) * x * y).reshape(-1, trials, features).sum(axis=(0, 2)) / features


def mean_and_error(x):
    return x.mean(), x.std() / np.sqrt(len(x))


# --- random features ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair():
    """A query and a key in 8 dimensions; the key not along an axis, both with a part along the first."""
    rng = np.random.default_rng(3)
    q, k = rng.normal(size=(2, 8))
    return 0.45 * q / np.linalg.norm(q) + 0.3 * np.eye(8)[0], 0.35 * k / np.linalg.norm(k) + 0.2 * np.eye(8)[0]


@pytest.mark.parametrize("orthogonal", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_unbiased(pair, kind, orthogonal):
    """Within four standard errors of 20,000 draws."""
    for features in (8, 11):
        mean, error = mean_and_error(weights(*pair, draws(orthogonal)[:, :features], kind))
        assert error < 0.01
        assert abs(mean - np.exp(pair[0] @ pair[1])) < 4 * error


def test_variance_is_that_of_the_formula(pair):
    """Independent directions: Choromanski et al. (2021), as the docstring has it; trigonometric ones likewise."""
    q, k = pair
    w = draws(False)[:, :4]
    together, apart, softmax = ((q + k) ** 2).sum(), ((q - k) ** 2).sum(), np.exp(q @ k)
    formulas = {
        "positive": softmax**2 * np.expm1(together) / 4,
        "trigonometric": np.exp(together) / softmax**2 * np.expm1(-apart) ** 2 / 8,
    }
    for kind, formula in formulas.items():
        squares = (weights(q, k, w, kind) - softmax) ** 2
        mean, error = mean_and_error(squares)
        assert error < 0.1 * formula
        assert abs(mean - formula) < 4 * error


@pytest.mark.parametrize("kind", KINDS)
def test_orthogonal_directions_vary_less(pair, kind):
    q, k = pair
    variances = []
    for orthogonal in (True, False):
        squares = (weights(q, k, draws(orthogonal)[:, :8], kind) - np.exp(q @ k)) ** 2
        variances.append(mean_and_error(squares))
    (less, error), (more, other) = variances
    assert less < more - 3 * np.hypot(error, other)


def test_directions_are_orthogonal_in_blocks_and_as_long_as_gaussian_ones():
    w = draws(True)
    for block in (w[:, :8], w[:, 8:]):
        products = block @ block.swapaxes(1, 2)
        np.testing.assert_allclose(products * (1 - np.eye(block.shape[1])), 0, atol=1e-4)
    squares, error = mean_and_error((w**2).sum(axis=-1).ravel())  # χ² of 8 degrees of freedom: mean 8, variance 16
    assert abs(squares - 8) < 4 * error
    assert abs((w**2).sum(axis=-1).var() - 16) < 0.5
    mean, error = mean_and_error(w[:, 0, 0])
    assert abs(mean) < 4 * error
    # As QR gives it, the first row points away from the first axis, always: published programs leave it so.
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(500, 4, 4)))
    assert (q[:, 0, 0] < 0).all()


def test_one_dimension_and_the_same_key_twice():
    w = init_performer(jax.random.key(0), 1, 7)
    assert w.shape == (7, 1)
    assert len(np.unique(w)) == 7
    np.testing.assert_array_equal(w, init_performer(jax.random.key(0), 1, 7))
    assert not np.array_equal(w, init_performer(jax.random.key(1), 1, 7))


def test_error_falls_with_the_root_of_the_features(rng):
    """Against softmax attention: the slope of log error over log features is −1/2, within 0.1."""
    q, k, v = arrays(rng, (12, 4), (12, 4), (12, 3))
    exact, sizes, errors = attention(q, k, v, scale=0.2), (64, 256, 1024, 4096), []
    run = jax.jit(lambda w: performer_attention(q, k, v, w, scale=0.2))
    for features in sizes:
        off = [run(init_performer(jax.random.key(i), 4, features)) - exact for i in range(24)]
        errors.append(np.sqrt(np.mean(np.square(off))))
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert abs(slope + 0.5) < 0.1
    assert errors[-1] < 0.01


# --- what it computes -----------------------------------------------------------------------------------------------


def test_it_is_two_softmaxes_in_a_row(rng):
    """Each direction averages the values by a softmax over keys; each query averages the directions by another."""
    q, k, v, w = (np.asarray(x, np.float64) for x in arrays(rng, (9, 4), (11, 4), (11, 3), (6, 4)))
    e = w @ k.T - (k**2).sum(axis=1) / 2
    read = scipy.special.softmax(q @ w.T + scipy.special.logsumexp(e, axis=1), axis=1)
    exact = read @ scipy.special.softmax(e, axis=1) @ v
    np.testing.assert_allclose(reference.performer_attention(q, k, v, w, scale=1), exact, rtol=1e-12)
    out = performer_attention(*(x.astype("f") for x in (q, k, v, w)), scale=1.0)
    np.testing.assert_allclose(out, exact, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("trial", range(200 if FULL else 4))
def test_random_cases_agree_with_the_definition(trial):
    """Sizes, kinds, chunks, masks, scales, shared keys: outputs, and gradients of all by finite differences."""
    rng = np.random.default_rng(trial)
    n, m, d_k, d_v, features = (int(x) for x in rng.integers(1, (30, 30, 6, 6, 9)))
    q_lead, k_lead = [((), ()), ((2, 3), (2, 1)), ((2, 1), (1, 2)), ((), (2,))][trial % 4]
    lead = np.broadcast_shapes(q_lead, k_lead)
    mask = None if rng.integers(2) else rng.random([(m,), (1, m), (*lead, 1, m)][rng.integers(3)]) < 0.7
    kwargs = {"kind": KINDS[trial % 2], "causal": trial % 4 > 0, "mask": mask, "scale": [0.7, -0.4][trial % 2]}
    with float64():
        shapes = (*q_lead, n, d_k), (*k_lead, m, d_k), (*k_lead, m, d_v), (features, d_k)
        args = [0.5 * np.asarray(x) for x in arrays(rng, *shapes, dtype=np.float64)]
        chunk = [None, 1, 2, 3, 5, 8][rng.integers(6)]
        exact = reference.performer_attention(*args, **kwargs)
        if mask is not None:
            kwargs["mask"] = jnp.asarray(mask)
        do = rng.normal(size=exact.shape)
        run = jax.jit(with_backward(lambda *a: performer_attention(*a, **kwargs, chunk=chunk)))
        out, *gradients = run(do, *args)
        np.testing.assert_allclose(out, exact, rtol=1e-10, atol=1e-11)
        way = [rng.normal(size=x.shape) for x in args]
        ahead, behind = (
            reference.performer_attention(*(x + e * y for x, y in zip(args, way, strict=True)), **kwargs)
            for e in (1e-5, -1e-5)
        )
        predicted = sum((g * y).sum() for g, y in zip(gradients, way, strict=True))
        np.testing.assert_allclose(predicted, ((ahead - behind) / 2e-5 * do).sum(), rtol=1e-5, atol=1e-6)


def test_no_future_key_moves_a_bit(rng):
    """200 perturbations of what comes later, the kind that moves published programs among them."""
    n = 37
    q, k, v = (np.array(x) for x in arrays(rng, (n, 4), (n, 4), (n, 3)))
    w = np.asarray(init_performer(jax.random.key(0), 4, 8))
    run = jax.jit(lambda q, k, v: performer_attention(q, k, v, w, causal=True, chunk=16))
    before = np.asarray(run(q, k, v))
    for trial in range(200):
        i = int(rng.integers(n))
        later = [x.copy() for x in (q, k, v)]
        for x in later:
            noise = rng.normal(size=x[i + 1 :].shape)
            x[i + 1 :] = [noise, 3 * x[i + 1 :], 1e4 * noise, 0 * noise, np.nan * noise, w[0, 0] + 0 * noise][
                trial % 6
            ]
        np.testing.assert_array_equal(np.asarray(run(*later))[: i + 1], before[: i + 1])


@pytest.mark.parametrize("far", [30.0, 300.0])
def test_keys_that_are_nothing_beside_later_ones_keep_their_weights(rng, far):
    """Features of far keys are e^−450 or e^−45,000: with any factor in common with near ones the outputs are 0/0."""
    q, k, v, w = (np.asarray(x, np.float64) for x in arrays(rng, (24, 3), (24, 3), (24, 2), (5, 3)))
    k[:11] = far * (k[:11] / np.linalg.norm(k[:11], axis=1, keepdims=True)) + 1e-3 * k[:11]
    exact = reference.performer_attention(q, k, v, w, causal=True, scale=1)
    with float64():
        run = jax.jit(with_backward(lambda *a: performer_attention(*a, causal=True, scale=1.0, chunk=16)))
        out, *gradients = run(np.ones((24, 2)), q, k, v, w)
    np.testing.assert_allclose(out, exact, rtol=1e-9, atol=1e-10)
    assert all(np.isfinite(g).all() for g in gradients)
    args = [x.astype("f") for x in (q, k, v, w)]
    out = performer_attention(*args, causal=True, scale=1.0, chunk=16)
    rounded = reference.performer_attention(*args, causal=True, scale=1)
    # e^−45,000 has the absolute error of a float32 in its exponent, 4e-3.
    np.testing.assert_allclose(out, rounded, rtol=0, atol=2e-5 if far < 100 else 2e-2)


def test_logits_of_minus_ten_thousand(rng):
    q, k, v = arrays(rng, (9, 4), (9, 4), (9, 3))
    q, k = jnp.ones_like(q), k - 5e3
    w = init_performer(jax.random.key(0), 4, 16)
    for causal in (False, True):
        run = jax.jit(with_backward(lambda *a, c=causal: performer_attention(*a, w, causal=c)))
        out, *gradients = run(np.ones((9, 3), "f"), q, k, v)
        np.testing.assert_allclose(out, reference.performer_attention(q, k, v, w, causal=causal), atol=5e-3)
        assert all(jnp.isfinite(g).all() for g in gradients)


def test_bad_numbers_stay_where_they_are_seen(rng):
    """An output is NaN exactly if its query sees the bad key; a gradient, if it depends on that output."""
    q, k, v, do = (np.array(x) for x in arrays(rng, (11, 4), (11, 4), (11, 3), (11, 3)))
    w = init_performer(jax.random.key(0), 4, 6)
    visible = np.tril(np.ones((11, 11), bool))
    run = jax.jit(with_backward(lambda *a: performer_attention(*a, w, causal=True, chunk=4)))
    clean = run(do, q, k, v)
    for spot in (1, 6, 9):
        for name in ("q", "k", "v", "do"):
            args = {"do": do.copy(), "q": q.copy(), "k": k.copy(), "v": v.copy()}
            args[name][spot] = np.nan
            rows = visible[:, spot] if name in "kv" else np.arange(11) == spot
            keys = visible[rows].any(axis=0)
            none = np.zeros(11, bool)  # no output depends on `do`, and no gradient of the values on the values
            hit = (rows if name != "do" else none, rows, keys, keys if name != "v" else none)
            for got, before, ill in zip(run(*args.values()), clean, hit, strict=True):
                assert np.isnan(got[ill]).all()
                np.testing.assert_allclose(got[~ill], before[~ill], rtol=1e-5, atol=1e-6)


def test_narrow_inputs_are_computed_in_float32(rng):
    q, k, v = arrays(rng, (5, 4), (7, 4), (7, 3))
    w = init_performer(jax.random.key(0), 4, 6)
    dtypes = (jnp.bfloat16, jnp.float32, jnp.float16)
    args = [x.astype(t) for x, t in zip((q, k, v), dtypes, strict=True)]
    out, *gradients = with_backward(lambda *a: performer_attention(*a, w))(jnp.ones((5, 3), dtypes[2]), *args)
    assert [x.dtype for x in (out, *gradients)] == [dtypes[2], *dtypes]
    wide = performer_attention(*(x.astype(jnp.float32) for x in args), w)
    np.testing.assert_array_equal(out, wide.astype(jnp.float16))


def test_second_order(rng):
    """Maxima are constants to every derivative, not to the first alone."""
    with float64():
        q, k, v, w = arrays(rng, (5, 4), (5, 4), (5, 3), (3, 4), dtype=np.float64)

        def quadratic(q):
            e = (q @ w.T)[:, None] + (k @ w.T - (k**2).sum(axis=1, keepdims=True) / 2)[None]
            a = jnp.where(jnp.tril(jnp.ones((5, 5), bool)), jnp.exp(e).sum(axis=-1), 0)
            return a @ v / a.sum(axis=1, keepdims=True)

        def twice(fn):
            return jax.jit(jax.grad(lambda q: (jax.grad(lambda q: fn(q).sum())(q) ** 2).sum()))(q)

        ours = twice(lambda q: performer_attention(q, k, v, w, causal=True, chunk=2, scale=1.0))
        np.testing.assert_allclose(ours, twice(quadratic), rtol=1e-9, atol=1e-11)


def test_heads_spread_over_two_devices(rng):
    q, k, v, do = arrays(rng, (2, 2, 9, 4), (2, 1, 9, 4), (2, 1, 9, 3), (2, 2, 9, 3))
    w = init_performer(jax.random.key(0), 4, 6)
    mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    run = with_backward(lambda *a: performer_attention(*a, causal=True, chunk=4))
    spec, all_of_it = PartitionSpec("x"), PartitionSpec()
    specs = (spec, spec, spec, spec, all_of_it)
    spread = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=specs, out_specs=specs))
    for a, b in zip(spread(do, q, k, v, w), jax.jit(run)(do, q, k, v, w), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_heads_at_once_as_on_other_devices(rng, monkeypatch):
    args = arrays(rng, (3, 2, 9, 3), (3, 2, 9, 4), (3, 1, 9, 4), (3, 1, 9, 3))
    w = init_performer(jax.random.key(0), 4, 6)
    run = jax.jit(with_backward(lambda *a: performer_attention(*a, w, causal=True, chunk=4)))
    expected = run(*args)
    jax.clear_caches()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for a, b in zip(run(*args), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    jax.clear_caches()


# --- steps ----------------------------------------------------------------------------------------------------------


def test_a_state_keeps_its_dtype_and_far_keys(rng):
    """The first keys are nothing beside the later ones; after them they are nothing in the state, and no NaN."""
    q, k, v = arrays(rng, (12, 3), (12, 3), (12, 2))
    k, w = k.at[:6].multiply(1e3), init_performer(jax.random.key(0), 3, 4)
    state, outputs = performer_attention_state(4, 2), []
    step = jax.jit(performer_attention_step)
    for t in range(12):
        o, state = step(state, q[t : t + 1], k[t : t + 1], v[t : t + 1], w)
        outputs.append(o)
    assert [x.dtype for x in state] == [jnp.float32] * 3
    assert all(jnp.isfinite(x).all() for x in state)
    assert (state.z >= 1).all()
    assert (state.z <= 12).all()
    exact = reference.performer_attention(q, k, v, w, causal=True)
    np.testing.assert_allclose(jnp.concatenate(outputs)[6:], exact[6:], rtol=1e-4, atol=1e-5)


# --- costs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_state_is_as_large_as_the_cost_model_says_to_the_byte(kind):
    state = performer_attention_state(256, 64, kind=kind, lead=(2, 4))
    model = cost.performer_attention_step(64, features=256, kind=kind, h=8, h_kv=4, batch=2)
    assert sum(x.nbytes for x in state) == model.live
    assert model.live == 8 * 4 * (256 * 66 if kind == "positive" else 512 * 65 + 1)
    one = [jax.ShapeDtypeStruct((2, h, 1, 64), jnp.float32) for h in (8, 4, 4)]
    one[0] = jax.ShapeDtypeStruct((2, 4, 2, 1, 64), jnp.float32)
    one[1:] = [jax.ShapeDtypeStruct((2, 4, 1, 1, 64), jnp.float32)] * 2
    state = performer_attention_state(256, 64, kind=kind, lead=(2, 4, 1))
    w = jax.ShapeDtypeStruct((256, 64), jnp.float32)
    flops = count.matmul_flops(lambda *a: performer_attention_step(*a, kind=kind), state, *one, w)
    assert flops == model.matmul_flops


@pytest.mark.parametrize("n", [1, 5, 64, 150])
def test_flops_of_programs(n):
    q, k, w = jnp.ones((2, n, 8)), jnp.ones((1, n + 7, 8)), jnp.ones((5, 8))
    for causal in (False, True):
        for kind, chunk in (("positive", None), ("trigonometric", 16), ("positive", 7)):
            options = {"kind": kind, "causal": causal, "chunk": chunk}
            sizes = {"features": 5, "m": n + 7, "h": 2, "h_kv": 1, **options}
            model = cost.performer_attention(n, 8, **sizes)
            both = cost.performer_attention(n, 8, backward=True, **sizes)

            def fn(*a, options=options):
                return performer_attention(*a, **options)

            assert count.matmul_flops(fn, q, k, k, w) == model.matmul_flops
            assert count.matmul_flops(with_backward(fn), q, q, k, k, w) == both.matmul_flops


def test_model_in_symbols_and_arrays():
    n, d, f = sympy.symbols("n d D", positive=True, integer=True)
    free = cost.performer_attention(n, d, features=f).matmul_flops
    assert sympy.expand(free - n * (4 * f * d + 4 * f * (d + 1))) == 0
    causal = cost.performer_attention(n, d, features=f, causal=True, chunk=32).matmul_flops
    assert sympy.expand(causal - free - n * 28 * (f + d + 1)) == 0
    whole = cost.performer_attention(96, 8, features=16, causal=True, chunk=32, backward=True).matmul_flops
    causal = cost.performer_attention(n, d, features=f, causal=True, chunk=32, backward=True).matmul_flops
    assert causal.subs({n: 96, d: 8, f: 16}) == whole
    sizes = np.array([10, 70, 1000])
    many = cost.performer_attention(sizes, 8, causal=True, backward=True).matmul_flops
    each = [cost.performer_attention(int(x), 8, causal=True, backward=True).matmul_flops for x in sizes]
    assert many.tolist() == each


# --- bad input: argument, expected, got, function, arguments --------------------------------------------------------

X = jnp.ones((2, 5, 4))
W = jnp.ones((3, 4))
STATE = State(jnp.zeros((2, 3, 4)), jnp.zeros((2, 3)), jnp.zeros((2, 3)))


def bad(argument, expected, got, **kwargs):
    arrays = {"q": X, "k": X, "v": X, "projection": W}
    arrays |= {a: kwargs.pop(a) for a in tuple(arrays) if a in kwargs}
    return argument, expected, got, performer_attention, tuple(arrays.values()), kwargs


def bad_draw(argument, expected, got, **kwargs):
    sizes = {"key": jax.random.key(0), "d": 4, "features": 4} | kwargs
    return argument, expected, got, init_performer, tuple(sizes.pop(a) for a in ("key", "d", "features")), sizes


def bad_state(argument, expected, got, **kwargs):
    sizes = {"features": 3, "d_v": 4} | kwargs
    return argument, expected, got, performer_attention_state, (sizes.pop("features"), sizes.pop("d_v")), sizes


def bad_step(argument, expected, got, **kwargs):
    arrays = {"state": STATE, "q": X, "k": X, "v": X, "projection": W}
    arrays |= {a: kwargs.pop(a) for a in tuple(arrays) if a in kwargs}
    return argument, expected, got, performer_attention_step, tuple(arrays.values()), kwargs


def bad_cost(fn, argument, expected, got, **kwargs):
    sizes = ({"n": 8} if fn is cost.performer_attention else {}) | {"d_k": 4} | kwargs
    first = tuple(sizes.pop(a) for a in ("n", "d_k") if a in sizes)
    return argument, expected, got, fn, first, sizes


WHOLE = "a whole number of at least 1"
KIND = "one of positive, trigonometric"
BAD = [
    bad("q", "an array", "list", q=[1.0]),
    bad("k", "d_k = 4", "d_k = 3", k=X[..., :3]),
    bad("v", "m = 5", "m = 4", v=X[:, :4]),
    bad("projection", "an array", "list", projection=[1.0]),
    bad("projection", "(features, d_k = 4)", "(3, 5)", projection=jnp.ones((3, 5))),
    bad("projection", "(features, d_k = 4)", "(2, 3, 4)", projection=jnp.ones((2, 3, 4))),
    bad("kind", KIND, "'plain'", kind="plain"),
    bad("kind", KIND, "None", kind=None),
    bad("causal", "True or False", "1", causal=1),
    bad("mask", "dtype bool", "float32", mask=X),
    bad("mask", "one row for all queries", "(5, 5)", mask=jnp.ones((5, 5), bool)),
    bad("scale", "a finite real number", "nan", scale=float("nan")),
    bad("chunk", "an integer of at least 1", "0", chunk=0),
    bad_draw("key", "a key of jax.random.key", "3", key=3),
    bad_draw("d", "an integer of at least 1", "0", d=0),
    bad_draw("features", "an integer of at least 1", "1.5", features=1.5),
    bad_draw("orthogonal", "True or False", "1", orthogonal=1),
    bad_draw("dtype", "float32 or float64", "bfloat16", dtype=jnp.bfloat16),
    bad_state("features", "an integer of at least 1", "0", features=0),
    bad_state("d_v", "an integer of at least 1", "1.5", d_v=1.5),
    bad_state("kind", KIND, "'plain'", kind="plain"),
    bad_state("lead", "a tuple of positive integers", "[2]", lead=[2]),
    bad_state("dtype", "float32 or float64", "bfloat16", dtype=jnp.bfloat16),
    bad_step("state", "a State of three arrays", "float", state=1.0),
    bad_step("state", "s, z and c of shapes", "((2, 3, 4), (2, 3), (2, 1))", state=STATE._replace(c=STATE.c[:, :1])),
    bad_step("state", "float32 or float64", "float16", state=STATE._replace(z=STATE.z.astype(jnp.float16))),
    bad_step("q", "an array", "list", q=[1.0]),
    bad_step("k", "n = 4 new keys", "5", q=X[:, :4]),
    bad_step("v", "m = 5", "m = 4", v=X[:, :4]),
    bad_step("projection", "(features, d_k = 4)", "(3, 5)", projection=jnp.ones((3, 5))),
    bad_step("kind", KIND, "'plain'", kind="plain"),
    bad_step("scale", "a finite real number", "inf", scale=float("inf")),
    bad_step("chunk", "an integer of at least 1", "0", chunk=0),
    *(
        bad_cost(fn, argument, expected, got, **{argument: value})
        for fn in (cost.performer_attention, cost.performer_attention_step)
        for argument, expected, got, value in (
            ("d_k", WHOLE, "0", 0),
            ("features", WHOLE, "0", 0),
            ("kind", KIND, "'plain'", "plain"),
            ("d_v", WHOLE, "0", 0),
            ("h", WHOLE, "0", 0),
            ("h_kv", "a divisor of h = 1", "3", 3),
            ("batch", WHOLE, "0", 0),
            ("dtype", "one of float64", "'int8'", "int8"),
        )
    ),
    bad_cost(cost.performer_attention, "n", WHOLE, "0", n=0),
    bad_cost(cost.performer_attention, "m", WHOLE, "0", m=0),
    bad_cost(cost.performer_attention, "causal", "True or False", "1", causal=1),
    bad_cost(cost.performer_attention, "backward", "True or False", "1", backward=1),
    bad_cost(cost.performer_attention, "chunk", "an integer of at least 1", "0", chunk=0),
]


def test_public_names():
    assert attnlib.performer_attention is performer_attention
    assert attnlib.init_performer is init_performer
