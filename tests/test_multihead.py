"""The multi-head layer: its definition, dtypes, parameters, gradients, every bad argument."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from support import float64

from attnlib import init_multihead_attention, multihead_attention, reference


def arrays(rng, *shapes, dtype=np.float32):
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


@pytest.mark.parametrize("h_kv", [1, 2, 4])
def test_layer_agrees_with_the_definition(rng, h_kv):
    params = init_multihead_attention(jax.random.key(1), 8, 4, h_kv=h_kv, d_k=5, d_v=3)
    x, z = arrays(rng, (2, 6, 8), (2, 7, 8))
    layer = jax.jit(multihead_attention, static_argnames="causal")
    mask = (rng.random((2, 4, 6, 7)) < 0.7) | (np.arange(7) == 0)
    for kwargs in (
        {},
        {"causal": True},
        {"memory": z},
        {"memory": z, "mask": mask},
        {"memory": z, "mask": mask[:1, :1], "causal": True},
    ):
        exact = reference.multihead_attention(params, x, **kwargs)
        np.testing.assert_allclose(layer(params, x, **kwargs), exact, rtol=1e-4, atol=1e-5)


def test_layer_without_batch_and_with_two_batch_axes(rng):
    params = init_multihead_attention(jax.random.key(0), 6, 2)
    (x,) = arrays(rng, (2, 3, 5, 6))
    out = multihead_attention(params, x)
    assert out.shape == x.shape
    np.testing.assert_allclose(out[1, 2], multihead_attention(params, x[1, 2]), rtol=1e-4, atol=1e-6)


def test_scale_of_the_layer(rng):
    params = init_multihead_attention(jax.random.key(0), 6, 2)
    (x,) = arrays(rng, (5, 6))
    doubled = params | {"w_q": 2 * params["w_q"]}
    np.testing.assert_allclose(
        multihead_attention(params, x, scale=2 / np.sqrt(3)), multihead_attention(doubled, x), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_layer_keeps_the_dtype_of_x(rng, dtype):
    params = init_multihead_attention(jax.random.key(0), 16, 4)
    (x,) = arrays(rng, (9, 16))
    out = multihead_attention(params, x.astype(dtype))
    assert out.dtype == dtype
    np.testing.assert_allclose(out.astype(jnp.float32), reference.multihead_attention(params, x), atol=0.05)
    narrow = init_multihead_attention(jax.random.key(0), 16, 4, dtype=dtype)
    assert {w.dtype for w in narrow.values()} == {jnp.dtype(dtype)}
    assert multihead_attention(narrow, x).dtype == jnp.float32


def test_parameters_are_a_pytree_with_variance_one_over_the_fan_in():
    params = init_multihead_attention(jax.random.key(0), 96, 4, h_kv=2, d_k=40, d_v=24)
    shapes = {"w_q": (4, 96, 40), "w_k": (2, 96, 40), "w_v": (2, 96, 24), "w_o": (4, 24, 96)}
    assert jax.tree.map(jnp.shape, params, is_leaf=lambda x: isinstance(x, jax.Array)) == shapes
    for name, fan_in in {"w_q": 96, "w_k": 96, "w_v": 96, "w_o": 96}.items():
        assert abs(params[name].var() * fan_in - 1) < 5 * np.sqrt(2 / params[name].size)
    leaves = jax.tree.leaves(params)
    assert len({float(w.ravel()[0]) for w in leaves}) == 4  # drawn from different keys
    again = init_multihead_attention(jax.random.key(0), 96, 4, h_kv=2, d_k=40, d_v=24)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), params, again))
    old_key = init_multihead_attention(jax.random.PRNGKey(0), 96, 4, h_kv=2, d_k=40, d_v=24)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), params, old_key))


def test_variance_is_kept_through_the_projections(rng):
    params = init_multihead_attention(jax.random.key(0), 256, 8)
    (x,) = arrays(rng, (64, 256))
    q = jnp.einsum("nd,hdk->hnk", x, params["w_q"])
    assert 0.9 < q.var() < 1.1
    scores = jnp.einsum("hnk,hmk->hnm", q, jnp.einsum("nd,hdk->hnk", x, params["w_k"])) / np.sqrt(32)
    assert 0.8 < scores.var() < 1.2


def test_gradients_of_the_layer(rng):
    with float64():
        params = init_multihead_attention(jax.random.key(0), 4, 2, h_kv=1, dtype=jnp.float64)
        x, z = arrays(rng, (3, 4), (5, 4), dtype=np.float64)
        check_grads(jax.jit(lambda p, x, z: multihead_attention(p, x, memory=z)), (params, x, z), 1, rtol=1e-5)


# --- bad input ------------------------------------------------------------------------------------------------------

KEY = jax.random.key(0)
P = {
    name: np.zeros(shape, "f")
    for name, shape in {"w_q": (4, 8, 2), "w_k": (2, 8, 2), "w_v": (2, 8, 3), "w_o": (4, 3, 8)}.items()
}
X = np.zeros((2, 5, 8), "f")


def layer(argument, expected, got, params=P, x=X, **kwargs):
    return [(argument, expected, got, multihead_attention, (params, x), kwargs)]


def init(argument, expected, got, *args, **kwargs):
    return [(argument, expected, got, init_multihead_attention, args or (KEY, 8, 4), kwargs)]


def without(name):
    return {w: x for w, x in P.items() if w != name}


BAD = [
    *init("key", "jax.random.key", "0", 0, 8, 4),
    *init("key", "jax.random.key", "(2,)", jax.random.split(KEY), 8, 4),
    *init("key", "jax.random.key", "float32", np.zeros(2, "f"), 8, 4),
    *init("d", "at least 1", "0", KEY, 0, 4),
    *init("d", "at least 1", "8.0", KEY, 8.0, 4),
    *init("h", "at least 1", "-4", KEY, 8, -4),
    *init("h", "at least 1", "True", KEY, 8, True),
    *init("h", "a divisor of d = 8", "3", KEY, 8, 3),
    *init("h_kv", "a divisor of h = 4", "3", h_kv=3),
    *init("h_kv", "a divisor of h = 4", "8", h_kv=8),
    *init("h_kv", "at least 1", "0", h_kv=0),
    *init("d_k", "at least 1", "0", d_k=0),
    *init("d_v", "at least 1", "2.5", d_v=2.5),
    *init("dtype", "floating-point", "int", dtype=jnp.int32),
    *init("dtype", "floating-point", "complex", dtype=jnp.complex64),
    *init("dtype", "floating-point", "'float31'", dtype="float31"),
    *layer("x", "an array", "list", x=[[1.0] * 8]),
    *layer("x", "floating-point", "int32", x=X.astype("int32")),
    *layer("x", "(..., n, d)", "(8,)", x=X[0, 0]),
    *layer("x", "no axis of length 0", "(2, 0, 8)", x=X[:, :0]),
    *layer("x", "width d = 8 as in w_q", "(2, 5, 7)", x=X[..., :7]),
    *layer("memory", "an array", "list", memory=[[1.0] * 8]),
    *layer("memory", "(*(2,), m, 8)", "(2, 6, 4)", memory=np.zeros((2, 6, 4), "f")),
    *layer("memory", "(*(2,), m, 8)", "(5, 8)", memory=X[0]),
    *layer("memory", "no axis of length 0", "(2, 0, 8)", memory=X[:, :0]),
    *layer("params", "w_q, w_k, w_v, w_o", "list", params=[P]),
    *layer("params", "w_q, w_k, w_v, w_o", "['w_o', 'w_q', 'w_v']", params=without("w_k")),
    *layer("params", "w_q, w_k, w_v, w_o", "'b'", params=P | {"b": X}),
    *layer("w_q", "an array", "float", params=P | {"w_q": 1.0}),
    *layer("w_o", "floating-point", "int32", params=P | {"w_o": P["w_o"].astype("int32")}),
    *layer("w_q", "three axes", "(8, 2)", params=P | {"w_q": P["w_q"][0]}),
    *layer("w_k", "a divisor of h = 4", "3", params=P | {"w_k": np.zeros((3, 8, 2), "f")}),
    *layer("w_k", "(2, 8, 2)", "(2, 8, 1)", params=P | {"w_k": P["w_k"][..., :1]}),
    *layer("w_v", "(2, 8, 3)", "(2, 7, 3)", params=P | {"w_v": P["w_v"][:, :7]}),
    *layer("w_o", "(4, 3, 8)", "(4, 2, 8)", params=P | {"w_o": P["w_o"][:, :2]}),
    *layer("mask", "(2, 4, 5, 5)", "(2, 5, 5)", mask=np.ones((2, 5, 5), bool)),
    *layer("mask", "dtype bool", "float32", mask=np.ones((5, 5), "f")),
    *layer("causal", "True or False", "1", causal=1),
    *layer("scale", "finite real number", "nan", scale=float("nan")),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad[3].__name__}-{bad[0]}-{bad[2]}")
def test_bad_input(refuses, bad):
    argument, expected, got, fn, args, kwargs = bad
    refuses(argument, expected, got, fn, *args, **kwargs)
