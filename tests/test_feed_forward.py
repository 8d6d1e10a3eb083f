"""The feed-forward layer: the definition as the oracle, parameters, every bad argument."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from support import float64

from attnlib import feed_forward, init_feed_forward, reference


@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 6), (2, 3, 1, 6)])
def test_agrees_with_the_definition(rng, shape):
    params = init_feed_forward(jax.random.key(0), 6, d_ff=9)
    x = rng.normal(size=shape).astype("f")
    expected = reference.feed_forward(params, x)
    np.testing.assert_allclose(feed_forward(params, x), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(jax.jit(feed_forward)(params, jnp.asarray(x)), expected, rtol=1e-5, atol=1e-5)


def test_positions_do_not_meet(rng):
    params = init_feed_forward(jax.random.key(0), 4)
    x = jnp.asarray(rng.normal(size=(5, 4)), jnp.float32)
    meets = jax.jacobian(lambda x: feed_forward(params, x))(x)
    for i, j in np.ndindex(5, 5):
        assert meets[i, :, j].any() == (i == j)


def test_gradients(rng):
    with float64():
        params = init_feed_forward(jax.random.key(0), 4, dtype=jnp.float64)
        x = jnp.asarray(rng.normal(size=(3, 4)))
        check_grads(jax.jit(feed_forward), (params, x), 1, rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_dtype_of_x_is_kept(rng, dtype):
    x = jnp.asarray(rng.normal(size=(5, 16)), jnp.float32)
    params = init_feed_forward(jax.random.key(0), 16)
    out = feed_forward(params, x.astype(dtype))
    assert out.dtype == dtype
    np.testing.assert_allclose(out.astype(jnp.float32), feed_forward(params, x), atol=0.1)
    narrow = init_feed_forward(jax.random.key(0), 16, dtype=dtype)
    assert {w.dtype for w in jax.tree.leaves(narrow)} == {jnp.dtype(dtype)}
    assert feed_forward(narrow, x).dtype == jnp.float32


def test_parameters_have_variance_one_over_the_fan_in():
    params = init_feed_forward(jax.random.key(0), 96)
    assert {name: w.shape for name, w in params.items()} == {"w_1": (96, 384), "w_2": (384, 96)}
    for name, fan_in in {"w_1": 96, "w_2": 384}.items():
        assert abs(params[name].var() * fan_in - 1) < 5 * np.sqrt(2 / params[name].size)
    assert params["w_1"][0, 0] != params["w_2"][0, 0]


KEY = jax.random.key(0)
P = {"w_1": np.zeros((8, 12), "f"), "w_2": np.zeros((12, 8), "f")}
X = np.zeros((2, 5, 8), "f")


def layer(argument, expected, got, params=P, x=X):
    return (argument, expected, got, feed_forward, (params, x), {})


def init(argument, expected, got, *args, **kwargs):
    return (argument, expected, got, init_feed_forward, args or (KEY, 8), kwargs)


BAD = [
    layer("x", "an array", "list", x=[[1.0] * 8]),
    layer("x", "floating-point", "int32", x=X.astype("int32")),
    layer("x", "floating-point", "complex64", x=X.astype("complex64")),
    layer("x", "(..., n, d)", "(8,)", x=X[0, 0]),
    layer("x", "no axis of length 0", "(2, 0, 8)", x=X[:, :0]),
    layer("params", "w_1, w_2", "NoneType", params=None),
    layer("params", "w_1, w_2", "['w_1']", params={"w_1": P["w_1"]}),
    layer("params", "w_1, w_2", "'b'", params=P | {"b": X}),
    layer("w_1", "an array", "int", params=P | {"w_1": 3}),
    layer("w_2", "floating-point", "bool", params=P | {"w_2": P["w_2"].astype(bool)}),
    layer("w_1", "(8, d_ff)", "(7, 12)", params=P | {"w_1": P["w_1"][:7]}),
    layer("w_1", "(8, d_ff)", "(8,)", params=P | {"w_1": P["w_1"][:, 0]}),
    layer("w_1", "(7, d_ff)", "(8, 12)", x=X[..., :7]),
    layer("w_2", "(12, 8)", "(8, 12)", params=P | {"w_2": P["w_1"]}),
    init("key", "jax.random.key", "None", None, 8),
    init("key", "jax.random.key", "int", jnp.arange(2), 8),
    init("d", "at least 1", "0", KEY, 0),
    init("d", "at least 1", "8.0", KEY, 8.0),
    init("d_ff", "at least 1", "-1", d_ff=-1),
    init("d_ff", "at least 1", "True", d_ff=True),
    init("dtype", "floating-point", "int", dtype=jnp.int32),
    init("dtype", "floating-point", "'float31'", dtype="float31"),
]
