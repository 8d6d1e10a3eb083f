"""Linear attention beyond the contract: any feature map, forms that agree, NaN, memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from jax.sharding import PartitionSpec
from support import FULL, float64

import attnlib
from attnlib import cost, count, linear_attention, linear_attention_state, linear_attention_step, taylor_attention
from attnlib.kernels.linear import State, elu_plus_one
from attnlib.kernels.taylor import truncated_exponential
from attnlib.measure.count import with_backward

BOTH = (linear_attention, taylor_attention)  # one engine


def arrays(rng, *shapes, dtype=np.float32):
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def quadratic(weights, causal, mask=None):
    """The definition with every weight, one matrix."""

    def run(q, k, v):
        a = weights(q, k)
        n, m = a.shape[-2:]
        see = jnp.tril(jnp.ones((n, m), bool), m - n) if causal else jnp.ones((n, m), bool)
        see = see.reshape((1,) * (a.ndim - 2) + see.shape)
        see = see if mask is None else see & mask.reshape((1,) * (a.ndim - mask.ndim) + mask.shape)
        a = jnp.where(see, a, 0)
        total = a.sum(axis=-1, keepdims=True)
        return jnp.where(total == 0, 0, jnp.matmul(a, v) / jnp.where(total == 0, 1, total))

    return run


def products(feature_map):
    return lambda q, k: jnp.matmul(feature_map(q), jnp.swapaxes(feature_map(k), -1, -2))


def taylor_weights(order):
    def weights(q, k):
        return truncated_exponential(jnp.matmul(q, jnp.swapaxes(k, -1, -2)) / np.sqrt(q.shape[-1]), order)

    return weights


@pytest.mark.sample(3)
@pytest.mark.parametrize("trial", range(500 if FULL else 8))
def test_forms_agree_with_the_quadratic_definition(trial):
    """Parallel, chunked and step by step, outputs and gradients, of random sizes, masks and ways to share keys."""
    rng = np.random.default_rng(trial)
    n, m, d_k, d_v = (int(x) for x in rng.integers(1, (30, 30, 6, 6)))
    q_lead, k_lead = [((), ()), ((2, 3), (2, 1)), ((2, 1), (1, 2)), ((), (2,)), ((3, 2), (3, 2))][trial % 5]
    causal = bool(rng.integers(2))
    chunk = [None, 1, 2, 3, 5, 8][rng.integers(6)]
    lead = np.broadcast_shapes(q_lead, k_lead)
    mask = None if rng.integers(2) else jnp.asarray(rng.random([(m,), (1, m), (*lead, 1, m)][rng.integers(3)]) < 0.7)
    with float64():
        q, k, v, do = arrays(
            rng, (*q_lead, n, d_k), (*k_lead, m, d_k), (*k_lead, m, d_v), (*lead, n, d_v), dtype=np.float64
        )
        kwargs = {"causal": causal, "mask": mask, "chunk": chunk}
        if trial % 2:
            order = int(rng.choice([0, 2, 4]))
            weights, fn = taylor_weights(order), lambda *a: taylor_attention(*a, order=order, **kwargs)
        else:
            weights, fn = products(elu_plus_one), lambda *a: linear_attention(*a, **kwargs)
        ours = jax.jit(with_backward(fn))(do, q, k, v)
        theirs = jax.jit(with_backward(quadratic(weights, causal, mask)))(do, q, k, v)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.sample(3)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "features",
    [
        lambda x, w: jnp.exp(x @ w),
        lambda x, w: jax.nn.softmax(x @ w, axis=-1),
        lambda x, w: jnp.exp(x @ w - (x**2).sum(-1, keepdims=True) / 2),  # positive random features
        lambda x, w: jnp.concatenate([jnp.exp(x @ w), jnp.ones((*x.shape[:-1], 1))], axis=-1),
    ],
)
def test_learned_feature_map(rng, causal, features):
    """A feature map that closes over what is learned: its gradient, under jit too."""
    with float64():
        w, q, k, v = arrays(rng, (4, 6), (3, 11, 4), (3, 11, 4), (3, 11, 2), dtype=np.float64)

        def loss(w, form):
            def feature_map(x):
                return features(x, w)

            return (form(feature_map) ** 2).sum()

        def ours(phi):
            return linear_attention(q, k, v, feature_map=phi, causal=causal, chunk=4)

        exact = jax.jit(lambda w: jax.grad(loss)(w, lambda phi: quadratic(products(phi), causal)(q, k, v)))(w)
        np.testing.assert_allclose(jax.grad(loss)(w, ours), exact, rtol=1e-10)
        np.testing.assert_allclose(jax.jit(lambda w: jax.grad(loss)(w, ours))(w), exact, rtol=1e-10)


@pytest.mark.parametrize("causal", [False, True])
def test_hidden_keys_do_not_meet_the_singular_point_of_a_feature_map(rng, causal):
    """x/|x| has no derivative at zero: what replaces a hidden key must not be zero."""
    with float64():
        w, q, k, v = arrays(rng, (4, 6), (7, 4), (7, 4), (7, 2), dtype=np.float64)
        mask = jnp.array([True, False, True, True, False, True, True])

        def normalised(w):
            return lambda x: jnp.exp(x / jnp.linalg.norm(x, axis=-1, keepdims=True) @ w)

        def loss(w, q, k, v):
            out = linear_attention(q, k, v, feature_map=normalised(w), causal=causal, mask=mask, chunk=3)
            return (out**2).sum()

        def exact(w, q, k, v):
            phi = normalised(w)
            seen = jnp.tril(jnp.ones((7, 7), bool)) if causal else jnp.ones((7, 7), bool)
            a = jnp.where(seen & mask[None], phi(q) @ phi(k).T, 0)
            return ((a @ v / a.sum(axis=1, keepdims=True)) ** 2).sum()

        run, definition = (jax.jit(jax.grad(fn, (0, 1, 2, 3))) for fn in (loss, exact))
        for ours, theirs in zip(run(w, q, k, v), definition(w, q, k, v), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
        bad = k.at[1].set(np.nan)  # hidden: nobody sees it
        for gradient in run(w, q, bad, v):
            assert jnp.isfinite(gradient).all()


def test_no_weight_at_all_gives_zeros_and_zero_gradient(rng):
    """Features that share nothing: 0/0 is zero here, with no ε elsewhere."""
    q, k, v = arrays(rng, (5, 4), (5, 4), (5, 3))
    q = jnp.abs(q).at[2].set(-1.0)
    run = with_backward(lambda *a: linear_attention(*a, feature_map=jax.nn.relu))
    out, *gradients = run(jnp.ones((5, 3)), q, k, v)
    assert not out[2].any()
    assert out[jnp.array([0, 1, 3, 4])].any(axis=-1).all()
    assert all(jnp.isfinite(g).all() for g in gradients)
    tiny = linear_attention(q * 1e-20, k * 1e-10, v, feature_map=jax.nn.relu)
    np.testing.assert_allclose(tiny, out, rtol=1e-5, atol=1e-6)


def test_scale_multiplies_the_queries(rng):
    q, k, v = arrays(rng, (5, 4), (7, 4), (7, 3))
    np.testing.assert_allclose(linear_attention(q, k, v, scale=0.3), linear_attention(0.3 * q, k, v), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf] if FULL else [np.inf])
@pytest.mark.parametrize("fn", BOTH, ids=lambda fn: fn.__name__)
def test_bad_numbers_stay_where_they_are_seen(rng, fn, bad):
    """An output is NaN exactly if its query sees the bad key; a gradient, if such an output reaches it."""
    q, k, v, do = arrays(rng, (11, 4), (11, 4), (11, 3), (11, 3))
    visible = np.tril(np.ones((11, 11), bool))
    run = jax.jit(with_backward(lambda *a: fn(*a, causal=True, chunk=4)))
    clean = run(do, q, k, v)
    for spot in (1, 6, 9):
        for name in ("q", "k", "v", "do"):
            args = {"do": do, "q": q, "k": k, "v": v}
            args[name] = args[name].at[spot, 1].set(bad)
            rows = visible[:, spot] if name in "kv" else np.arange(11) == spot
            keys = visible[rows].any(axis=0)
            hit = (rows if name != "do" else np.zeros(11, bool), rows, keys, keys)
            for got, before, ill in zip(run(*args.values()), clean, hit, strict=True):
                assert np.isnan(got[ill]).all()
                np.testing.assert_allclose(got[~ill], before[~ill], rtol=1e-5, atol=1e-6)
    state = linear_attention_state(4, 3)
    _, state = linear_attention_step(state, q, k.at[3, 0].set(bad), v)
    assert np.isnan(linear_attention_step(state, q, k, v)[0]).all()


def test_heads_spread_over_two_devices(rng):
    q, k, v, do = arrays(rng, (2, 2, 9, 4), (2, 1, 9, 4), (2, 1, 9, 3), (2, 2, 9, 3))
    mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    for fn in BOTH:
        run = with_backward(lambda *a, fn=fn: fn(*a, causal=True, chunk=4))
        spec = PartitionSpec("x")
        spread = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=spec, out_specs=spec))
        for a, b in zip(spread(do, q, k, v), jax.jit(run)(do, q, k, v), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fn", BOTH if FULL else BOTH[1:], ids=lambda fn: fn.__name__)
def test_heads_at_once_as_on_other_devices(rng, monkeypatch, fn):
    args = arrays(rng, (3, 2, 9, 3), (3, 2, 9, 4), (3, 1, 9, 4), (3, 1, 9, 3))
    run = jax.jit(with_backward(lambda *a: fn(*a, causal=True, chunk=4)))
    expected = run(*args)
    jax.clear_caches()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for a, b in zip(run(*args), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    jax.clear_caches()


@pytest.mark.parametrize("fn", BOTH if FULL else BOTH[1:], ids=lambda fn: fn.__name__)
def test_second_order(rng, fn):
    weights = products(elu_plus_one) if fn is linear_attention else taylor_weights(2)
    with float64():
        q, k, v = arrays(rng, (5, 4), (5, 4), (5, 3), dtype=np.float64)

        def twice(fn):
            return jax.jit(jax.grad(lambda q: (jax.grad(lambda q: fn(q, k, v).sum())(q) ** 2).sum()))(q)

        ours = twice(lambda *a: fn(*a, causal=True, chunk=2))
        np.testing.assert_allclose(ours, twice(quadratic(weights, True)), rtol=1e-9, atol=1e-11)


def test_mixed_dtypes(rng):
    q, k, v = arrays(rng, (5, 4), (7, 4), (7, 3))
    dtypes = (jnp.bfloat16, jnp.float32, jnp.float16)
    args = [x.astype(t) for x, t in zip((q, k, v), dtypes, strict=True)]
    out, *gradients = with_backward(linear_attention)(jnp.ones((5, 3), dtypes[2]), *args)
    assert [x.dtype for x in (out, *gradients)] == [dtypes[2], *dtypes]
    np.testing.assert_allclose(out.astype(jnp.float32), linear_attention(q, k, v), rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize("causal", [False, True])
def test_memory_does_not_grow_with_the_chunks(causal):
    """Forward and backward at 65,536 tokens: beyond results, no array of the features or sums of every chunk."""

    def memory(n, backward):
        q = jax.ShapeDtypeStruct((n, 64), jnp.float32)
        program = with_backward(lambda *a: linear_attention(*a, causal=causal))
        return (
            count.memory(program, q, q, q, q)
            if backward
            else count.memory(lambda *a: linear_attention(*a, causal=causal), q, q, q)
        )

    state = cost.linear_attention_step(64).live
    # Work for one chunk and what the outputs were divided by; the sums of all 512 chunks would be 8 MiB.
    assert memory(65536, False) <= 1.1 * state + 2**20
    assert memory(65536, True) <= 1.1 * state + 2**20


@pytest.mark.parametrize("n", [1, 5, 64, 150])
def test_flops_of_chunks(n):
    q, k = jnp.ones((2, n, 8)), jnp.ones((1, n, 8))
    for fn, model in (
        (lambda *a: linear_attention(*a, causal=True), cost.linear_attention(n, 8, h=2, h_kv=1, causal=True)),
        (lambda *a: linear_attention(*a, chunk=7), cost.linear_attention(n, 8, h=2, h_kv=1, chunk=7)),
    ):
        assert count.matmul_flops(fn, q, k, k) == model.matmul_flops


def test_a_single_chunk_sums_nothing_and_still_takes_time():
    model = cost.linear_attention(7, 8, causal=True, backward=True)
    assert model["sums"].matmul_flops == model["sums, again"].matmul_flops == 0
    assert cost.roofline(model, cost.ACCELERATORS["H100"], dtype="float32").seconds > 0
    assert cost.linear_attention(200, 8, causal=True)["sums"].matmul_flops == 2 * 128 * 8 * 8


def test_model_in_symbols_and_arrays():
    n, d = sympy.symbols("n d", positive=True, integer=True)
    assert sympy.expand(cost.linear_attention(n, d).matmul_flops - n * (4 * d**2 + 2 * d)) == 0
    causal = cost.linear_attention(n, d, causal=True, chunk=32, backward=True).matmul_flops
    assert (
        causal.subs({n: 96, d: 8}) == cost.linear_attention(96, 8, causal=True, chunk=32, backward=True).matmul_flops
    )
    sizes = np.array([10, 70, 1000])
    many = cost.linear_attention(sizes, 8, causal=True).matmul_flops
    assert many.tolist() == [cost.linear_attention(int(x), 8, causal=True).matmul_flops for x in sizes]


# --- bad input: argument, expected, got, function, arguments --------------------------------------------------------

X = jnp.ones((2, 5, 4))
STATE = State(jnp.zeros((2, 4, 4)), jnp.zeros((2, 4)))


class Unhashable:
    """A function with an array in it, as layers of some libraries are."""

    __hash__ = None

    def __call__(self, x):
        return jnp.exp(x)


def bad(argument, expected, got, **kwargs):
    arrays = {"q": X, "k": X, "v": X} | {a: kwargs.pop(a) for a in ("q", "k", "v") if a in kwargs}
    return argument, expected, got, linear_attention, tuple(arrays.values()), kwargs


def bad_state(argument, expected, got, **kwargs):
    sizes = {"d_k": 4, "d_v": 4} | kwargs
    return argument, expected, got, linear_attention_state, (sizes.pop("d_k"), sizes.pop("d_v")), sizes


def bad_step(argument, expected, got, **kwargs):
    arrays = {"state": STATE, "q": X, "k": X, "v": X}
    arrays |= {a: kwargs.pop(a) for a in tuple(arrays) if a in kwargs}
    return argument, expected, got, linear_attention_step, tuple(arrays.values()), kwargs


def bad_cost(fn, argument, expected, got, **kwargs):
    sizes = ({"n": 8} if fn is cost.linear_attention else {}) | {"d_k": 4} | kwargs
    first = tuple(sizes.pop(a) for a in ("n", "d_k") if a in sizes)
    return argument, expected, got, fn, first, sizes


WHOLE = "a whole number of at least 1"
BAD = [
    bad("q", "an array", "list", q=[1.0]),
    bad("k", "d_k = 4", "d_k = 3", k=X[..., :3]),
    bad("v", "m = 5", "m = 4", v=X[:, :4]),
    bad("feature_map", "a function", "int", feature_map=3),
    bad("feature_map", "a hashable function", "Unhashable", feature_map=Unhashable()),
    bad("feature_map", "float32 or wider", "bfloat16", feature_map=lambda x: x.astype(jnp.bfloat16)),
    bad("feature_map", "real features (c, D)", "float32[2]", feature_map=lambda x: x.sum(axis=-1)),
    bad("causal", "True or False", "1", causal=1),
    bad("mask", "dtype bool", "float32", mask=X),
    bad("mask", "one row for all queries", "(5, 5)", mask=jnp.ones((5, 5), bool)),
    bad("scale", "a finite real number", "nan", scale=float("nan")),
    bad("chunk", "an integer of at least 1", "0", chunk=0),
    bad_state("d_k", "an integer of at least 1", "0", d_k=0),
    bad_state("d_v", "an integer of at least 1", "1.5", d_v=1.5),
    bad_state("lead", "a tuple of positive integers", "[2]", lead=[2]),
    bad_state("feature_map", "a function", "int", feature_map=3),
    bad_state("dtype", "float32 or float64", "bfloat16", dtype=jnp.bfloat16),
    bad_step("state", "a State of two arrays", "float", state=1.0),
    bad_step("state", "s (2, 4, 4) and z (2, 4)", "(4, 4)", state=State(STATE.s[0], STATE.z[0])),
    bad_step("q", "an array", "list", q=[1.0]),
    bad_step("k", "n = 4 new keys", "5", q=X[:, :4]),
    bad_step("v", "m = 5", "m = 4", v=X[:, :4]),
    bad_step("feature_map", "a function", "int", feature_map=3),
    bad_step("scale", "a finite real number", "inf", scale=float("inf")),
    bad_step("chunk", "an integer of at least 1", "0", chunk=0),
    *(
        bad_cost(fn, argument, expected, got, **{argument: value})
        for fn in (cost.linear_attention, cost.linear_attention_step)
        for argument, expected, got, value in (
            ("d_k", WHOLE, "0", 0),
            ("features", WHOLE, "0", 0),
            ("d_v", WHOLE, "0", 0),
            ("h", WHOLE, "0", 0),
            ("h_kv", "a divisor of h = 1", "3", 3),
            ("batch", WHOLE, "0", 0),
            ("dtype", "one of float64", "'int8'", "int8"),
        )
    ),
    bad_cost(cost.linear_attention, "n", WHOLE, "0", n=0),
    bad_cost(cost.linear_attention, "m", WHOLE, "0", m=0),
    bad_cost(cost.linear_attention, "causal", "True or False", "1", causal=1),
    bad_cost(cost.linear_attention, "backward", "True or False", "1", backward=1),
    bad_cost(cost.linear_attention, "chunk", "an integer of at least 1", "0", chunk=0),
]


def test_public_name():
    assert attnlib.linear_attention is linear_attention


def test_elu_plus_one_has_slope_one_at_zero():
    x = jnp.array([-1.0, -0.0, 0.0, 2.0, 200.0])
    np.testing.assert_allclose(jax.vmap(jax.grad(elu_plus_one))(x), [np.exp(-1), 1, 1, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(elu_plus_one(x), [np.exp(-1), 1, 1, 3, 201], rtol=1e-6)
