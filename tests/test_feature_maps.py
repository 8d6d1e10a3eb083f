"""Feature maps of linear attention: values, slopes, positivity, and cosine reweighting against its weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import float64

from attnlib import (
    feature_maps,
    linear_attention,
    linear_attention_state,
    linear_attention_step,
    reference,
)
from attnlib.kernels.feature_maps import cosine_reweighting, elu_plus_one, relu, squared_relu
from attnlib.measure.count import with_backward

MAPS = (elu_plus_one, relu, squared_relu)


def arrays(rng, *shapes, dtype=np.float32):
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


@pytest.mark.parametrize("phi", MAPS, ids=lambda phi: phi.__name__)
def test_values_are_those_of_the_definition_and_never_negative(rng, phi):
    x = jnp.asarray(np.concatenate([rng.normal(size=200), [0.0, -0.0, 1e4, -1e4]]), jnp.float32)
    np.testing.assert_allclose(phi(x), getattr(reference, phi.__name__)(np.asarray(x)), rtol=1e-6)
    assert (phi(x) >= 0).all()
    assert phi(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.sample(5)
@pytest.mark.parametrize("phi", MAPS, ids=lambda phi: phi.__name__)
@pytest.mark.parametrize("causal", [False, True])
def test_linear_attention_and_its_gradients(rng, phi, causal):
    """Against the definition, in 6 dimensions of queries that share no feature, in part or at all, with a key."""
    with float64():
        args = [np.array(x) for x in arrays(rng, (9, 6), (9, 6), (9, 3), dtype=np.float64)]
        args[0][4] = -1 - np.abs(args[0][4])
        kwargs = {"feature_map": phi, "causal": causal}
        dense = {"feature_map": getattr(reference, phi.__name__), "causal": causal}
        do, way = rng.normal(size=(9, 3)), [rng.normal(size=x.shape) for x in args]
        out, *gradients = jax.jit(with_backward(lambda *a: linear_attention(*a, **kwargs, chunk=4)))(do, *args)
        np.testing.assert_allclose(out, reference.linear_attention(*args, **dense), rtol=1e-10, atol=1e-12)
        ahead, behind = (
            reference.linear_attention(*(x + e * y for x, y in zip(args, way, strict=True)), **dense)
            for e in (1e-6, -1e-6)
        )
        predicted = sum((g * y).sum() for g, y in zip(gradients, way, strict=True))
        np.testing.assert_allclose(predicted, ((ahead - behind) / 2e-6 * do).sum(), rtol=1e-5, atol=1e-6)
        # No weight at all: zeros, and no gradient.
        assert out[4].any() == (phi is elu_plus_one)
        assert gradients[0][4].any() == (phi is elu_plus_one)


def test_slopes_where_the_branches_meet():
    x = jnp.array([-1.0, 2.0])
    np.testing.assert_allclose(jax.vmap(jax.grad(elu_plus_one))(x), [np.exp(-1), 1], rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(relu))(x), [0, 1])
    np.testing.assert_allclose(jax.vmap(jax.grad(squared_relu))(x), [0, 4])
    assert jax.grad(relu)(0.0) == jax.grad(squared_relu)(0.0) == 0
    assert jax.grad(elu_plus_one)(0.0) == 1


# --- cosine reweighting ---------------------------------------------------------------------------------------------


@pytest.mark.sample(3)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("n", "m"), [(9, 9), (4, 11), (11, 4), (1, 1)])
def test_weights_fade_with_the_cosine_of_the_distance(rng, n, m, causal):
    """Linear attention of the features beside weights that are written down with their positions, n ≠ m included."""
    with float64():
        q, k, v = arrays(rng, (2, n, 5), (2, m, 5), (2, m, 3), dtype=np.float64)
        distance = np.arange(n)[:, None] + (m - n) - np.arange(m)
        a = np.maximum(q, 0) @ np.maximum(k, 0).swapaxes(-1, -2) * np.cos(np.pi / 2 * distance / 12)
        a = a * (distance >= 0) if causal else a
        total = a.sum(axis=-1, keepdims=True)
        exact = np.where(total == 0, 0, a @ v / np.where(total == 0, 1, total))

        def fn(q, k, v):
            return linear_attention(*cosine_reweighting(q, k, 12), v, feature_map=relu, causal=causal, chunk=4)

        out, *gradients = jax.jit(with_backward(fn))(jnp.ones(exact.shape), q, k, v)
        np.testing.assert_allclose(out, exact, rtol=1e-10, atol=1e-12)
        assert all(np.isfinite(g).all() for g in gradients)
        features = cosine_reweighting(q, k, 12)
        assert all((x >= 0).all() for x in features)
        for ours, theirs in zip(features, reference.cosine_reweighting(q, k, 12), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)


def test_steps_and_a_longer_sequence_give_the_same_outputs(rng):
    """What a query sees decides its output: neither later positions nor the split into steps, traced or not."""
    q, k, v = arrays(rng, (13, 4), (13, 4), (13, 3))
    whole = linear_attention(*cosine_reweighting(q, k, 20), v, feature_map=relu, causal=True)
    for n in (1, 8):
        part = linear_attention(*cosine_reweighting(q[:n], k[:n], 20), v[:n], feature_map=relu, causal=True)
        np.testing.assert_allclose(part, whole[:n], rtol=1e-5, atol=1e-6)
    state, outputs = linear_attention_state(8, 3, feature_map=relu), []
    step = jax.jit(lambda q, k, start: cosine_reweighting(q, k, 20, start=start))
    for start, size in ((0, 5), (5, 1), (6, 7)):
        rows = slice(start, start + size)
        features = step(q[rows], k[rows], jnp.int32(start))
        for a, b in zip(features, cosine_reweighting(q[rows], k[rows], 20, start=start), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
        o, state = linear_attention_step(state, *features, v[rows], feature_map=relu)
        outputs.append(o)
    np.testing.assert_allclose(jnp.concatenate(outputs), whole, rtol=1e-5, atol=1e-6)


# --- bad input: argument, expected, got, function, arguments --------------------------------------------------------

X = jnp.ones((5, 4))


def bad(argument, expected, got, **kwargs):
    given = {"q": X, "k": X, "length": 8} | kwargs
    return argument, expected, got, cosine_reweighting, tuple(given.pop(a) for a in ("q", "k", "length")), given


BAD = [
    *(("x", "an array", "float", phi, (1.0,), {}) for phi in MAPS),
    *(("x", "a real floating-point dtype", "int32", phi, (jnp.ones(3, int),), {}) for phi in MAPS),
    bad("q", "an array", "list", q=[1.0]),
    bad("q", "shape (..., n, d)", "(4,)", q=X[0]),
    bad("k", "d = 4", "d = 3", k=X[:, :3]),
    bad("length", "an integer of at least 1", "0", length=0),
    bad("length", "at least the 5 positions", "4", length=4),
    bad("length", "at least the 9 positions", "8", start=4),
    bad("start", "an integer of at least 0", "-1", start=-1),
    bad("start", "an integer of at least 0", "1.5", start=1.5),
]


def test_public_names():
    assert feature_maps.elu_plus_one is elu_plus_one
