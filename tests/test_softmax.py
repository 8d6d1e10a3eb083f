"""Attention and the multi-head layer beyond the contract: outside oracles, values by hand, every bad argument."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from support import float64

from attnlib import attention, attention_weights, init_multihead_attention, multihead_attention, reference


def arrays(rng, *shapes, dtype=np.float32):
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


# --- attention, attention_weights -----------------------------------------------------------------------------------


@pytest.mark.parametrize("h_kv", [1, 2, 4])
@pytest.mark.parametrize("causal", [False, True])
def test_agrees_with_jax_nn(rng, h_kv, causal):
    b, h, n, m, d = 2, 4, 7, 7 if causal else 5, 6
    q, k, v = arrays(rng, (b, n, h, d), (b, m, h_kv, d), (b, m, h_kv, d))
    mask = jnp.asarray(rng.random((b, h, n, m)) < 0.7).at[..., 0].set(True)

    def ours(q, k, v, mask):
        q = q.transpose(0, 2, 1, 3).reshape(b, h_kv, h // h_kv, n, d)
        k, v = (x.transpose(0, 2, 1, 3)[:, :, None] for x in (k, v))
        mask = None if mask is None else mask.reshape(b, h_kv, h // h_kv, n, m)
        return attention(q, k, v, causal=causal, mask=mask).reshape(b, h, n, d).transpose(0, 2, 1, 3)

    for seen in (None, mask):
        theirs = jax.nn.dot_product_attention(q, k, v, mask=seen, is_causal=causal)
        np.testing.assert_allclose(jax.jit(ours)(q, k, v, seen), theirs, rtol=1e-5, atol=1e-6)


def test_weights_are_a_softmax(rng):
    q, k = arrays(rng, (3, 7, 4), (3, 9, 4))
    w = attention_weights(q, k)
    np.testing.assert_allclose(w, jax.nn.softmax(jnp.einsum("bnd,bmd->bnm", q, k) / 2, axis=-1), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(w.sum(axis=-1), np.ones((3, 7)), rtol=1e-6)
    assert (w > 0).all()
    w = attention_weights(q, k, causal=True)
    np.testing.assert_allclose(w.sum(axis=-1), np.ones((3, 7)), rtol=1e-6)
    assert not np.triu(w, 3).any()
    assert np.tril(np.asarray(w), 2)[:, :, :3].all()


def test_output_is_the_weights_times_the_values(rng):
    q, k, v = arrays(rng, (2, 5, 4), (2, 6, 4), (2, 6, 3))
    mask = jnp.asarray(rng.random((2, 5, 6)) < 0.6).at[0, 1].set(False)
    for kwargs in ({}, {"causal": True}, {"mask": mask}, {"scale": 2.0}, {"mask": mask, "causal": True}):
        w = attention_weights(q, k, **kwargs)
        np.testing.assert_allclose(attention(q, k, v, **kwargs), w @ v, rtol=1e-5, atol=1e-6)


def test_values_by_hand():
    one, e = jnp.ones((1, 1)), np.e
    k = jnp.array([[0.0], [1.0]])
    np.testing.assert_allclose(attention_weights(one, k), [[1 / (1 + e), e / (1 + e)]], rtol=1e-6)
    np.testing.assert_allclose(attention(one, k, jnp.array([[10.0], [20.0]])), [[10 + 10 * e / (1 + e)]], rtol=1e-6)
    # √d_k: q·k = 4 with d_k = 4 is a score of 2.
    w = attention_weights(jnp.ones((1, 4)), jnp.stack([jnp.zeros(4), jnp.ones(4)]))
    np.testing.assert_allclose(w, [[1 / (1 + e**2), e**2 / (1 + e**2)]], rtol=1e-6)
    # A query of zeros averages; a single key is copied.
    np.testing.assert_allclose(attention(jnp.zeros((1, 1)), k, k), [[0.5]], rtol=1e-6)
    np.testing.assert_array_equal(attention(one, one, jnp.array([[7.0]])), [[7.0]])


def test_permutations(rng):
    q, k, v = arrays(rng, (6, 4), (8, 4), (8, 3))
    p, r = rng.permutation(6), rng.permutation(8)
    out = attention(q, k, v)
    np.testing.assert_allclose(attention(q[p], k, v), out[p], rtol=1e-5, atol=1e-6)  # equivariant in the queries
    np.testing.assert_allclose(attention(q, k[r], v[r]), out, rtol=1e-5, atol=1e-6)  # invariant in the keys
    assert not np.allclose(attention(q, k[r], v), out)


@pytest.mark.parametrize(
    "scale", [2, 0.3, 0.0, -1.0, np.float32(0.3), np.float64(0.3), np.array(0.3, "f"), jnp.array(2.0)]
)
def test_scale_of_any_kind(rng, untyped, scale):
    q, k, v = arrays(rng, (5, 4), (6, 4), (6, 3))
    expected = attention(q * jnp.float32(2 * float(scale)), k, v)  # the default scale is 1/2
    np.testing.assert_allclose(attention(q, k, v, scale=scale), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(attention_weights(q, k, scale=scale) @ v, expected, rtol=1e-5, atol=1e-6)


def test_scale_can_be_traced_and_differentiated(rng):
    q, k, v = arrays(rng, (5, 4), (6, 4), (6, 3))
    f = jax.jit(lambda s: attention(q, k, v, scale=s).sum())
    np.testing.assert_allclose(f(jnp.float32(0.5)), attention(q, k, v).sum(), rtol=1e-5)
    slope = (f(jnp.float32(0.51)) - f(jnp.float32(0.49))) / 0.02
    np.testing.assert_allclose(jax.grad(f)(jnp.float32(0.5)), slope, rtol=1e-2)


def test_numpy_arrays_and_masks_of_lower_rank(rng):
    q, k, v = (rng.normal(size=s).astype("f") for s in ((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 3)))
    as_jax = [jnp.asarray(x) for x in (q, k, v)]
    assert isinstance(attention(q, k, v), jax.Array)
    np.testing.assert_array_equal(attention(q, k, v), attention(*as_jax))
    np.testing.assert_array_equal(attention_weights(q, k), attention_weights(*as_jax[:2]))
    for shape in ((), (6,), (1, 6), (5, 1), (5, 6), (3, 1, 6), (2, 1, 1, 1)):
        mask = rng.random(shape) < 0.7
        full = jnp.broadcast_to(jnp.asarray(mask), (2, 3, 5, 6))
        np.testing.assert_array_equal(attention(q, k, v, mask=np.asarray(mask)), attention(*as_jax, mask=full))


def test_leading_axes_broadcast(rng):
    q, k, v = arrays(rng, (4, 1, 5, 3), (2, 6, 3), (6, 2))
    out = attention(q, k, v)
    assert out.shape == (4, 2, 5, 2)
    for i, j in np.ndindex(4, 2):
        np.testing.assert_allclose(out[i, j], attention(q[i, 0], k[j], v), rtol=1e-5, atol=1e-6)


def test_mixed_dtypes(rng):
    q, k = arrays(rng, (5, 4), (6, 4), dtype=jnp.bfloat16)
    (v,) = arrays(rng, (6, 3), dtype=jnp.float32)
    assert attention(q, k, v).dtype == jnp.float32
    assert attention(v[:, :2], v[:, :2], q[:1].repeat(6, 0)).dtype == jnp.bfloat16
    assert attention_weights(q, k).dtype == jnp.float32


@pytest.mark.parametrize("masked", [False, True])
def test_forward_mode_and_second_order(rng, masked):
    with float64():
        args = arrays(rng, (2, 4, 3), (2, 5, 3), (2, 5, 2), dtype=np.float64)
        mask = jnp.asarray(rng.random((2, 4, 5)) < 0.6).at[0, 1].set(False) if masked else None
        fn = jax.jit(lambda *a: attention(*a, causal=masked, mask=mask))
        check_grads(fn, args, order=2, modes=["fwd", "rev"], rtol=1e-4, atol=1e-5)


# --- the multi-head layer -------------------------------------------------------------------------------------------


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

Q, K, V = np.zeros((2, 5, 4), "f"), np.zeros((2, 6, 4), "f"), np.zeros((2, 6, 3), "f")
SEEN = np.ones((2, 5, 6), bool)


def core(argument, expected, got, *args, **kwargs):
    """Return the entry for attention, and for attention_weights where it takes the same arguments."""
    q, k, v = args or (Q, K, V)
    with_values = (argument, expected, got, attention, (q, k, v), kwargs)
    return [with_values] + ([(argument, expected, got, attention_weights, (q, k), kwargs)] if argument != "v" else [])


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
    *core("q", "an array", "list", [[1.0]], K, V),
    *core("q", "an array", "float", 1.0, K, V),
    *core("k", "an array", "NoneType", Q, None, V),
    *core("v", "an array", "list", Q, K, [[1.0]]),
    *core("q", "(..., n, d)", "(4,)", Q[0, 0], K, V),
    *core("k", "(..., n, d)", "(4,)", Q, K[0, 0], V),
    *core("v", "(..., n, d)", "(6,)", Q, K, V[0, :, 0]),
    *core("k", "d_k = 4 as in q", "d_k = 3", Q, K[..., :3], V),
    *core("v", "m = 6 as in k", "m = 5", Q, K, V[:, :5]),
    *core("k", "leading axes that broadcast", "(3,)", Q, np.zeros((3, 6, 4), "f"), V[0]),
    *core("v", "leading axes that broadcast", "(3,)", Q, K, np.zeros((3, 6, 3), "f")),
    *core("q", "no axis of length 0", "(2, 0, 4)", Q[:, :0], K, V),
    *core("k", "no axis of length 0", "(2, 0, 4)", Q, K[:, :0], V[:, :0]),
    *core("q", "no axis of length 0", "(2, 5, 0)", Q[..., :0], K[..., :0], V),
    *core("v", "no axis of length 0", "(2, 6, 0)", Q, K, V[..., :0]),
    *core("q", "no axis of length 0", "(0, 5, 4)", Q[:0], K, V),
    *core("q", "floating-point", "int32", Q.astype("int32"), K, V),
    *core("k", "floating-point", "complex64", Q, K.astype("complex64"), V),
    *core("v", "floating-point", "bool", Q, K, V.astype(bool)),
    *core("mask", "broadcasts to (2, 5, 6)", "(5, 5)", mask=SEEN[0, :, :5]),
    *core("mask", "broadcasts to (2, 5, 6)", "(3, 5, 6)", mask=np.ones((3, 5, 6), bool)),
    *core("mask", "broadcasts to (2, 5, 6)", "(1, 2, 5, 6)", mask=SEEN[None]),
    *core("mask", "dtype bool", "int32", mask=SEEN.astype("int32")),
    *core("mask", "dtype bool", "float32", mask=SEEN.astype("f")),
    *core("mask", "a boolean array", "list", mask=[[True]]),
    *core("mask", "a boolean array", "bool", mask=True),
    *core("causal", "True or False", "1", causal=1),
    *core("causal", "True or False", "'yes'", causal="yes"),
    *core("causal", "True or False", "None", causal=None),
    *core("scale", "finite real number", "'x'", scale="x"),
    *core("scale", "finite real number", "nan", scale=float("nan")),
    *core("scale", "finite real number", "inf", scale=np.float32("inf")),
    *core("scale", "finite real number", "1j", scale=1j),
    *core("scale", "finite real number", "True", scale=True),
    *core("scale", "finite real number", "(2,)", scale=jnp.ones(2)),
    *core("scale", "finite real number", "int32", scale=jnp.array(2)),
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
    *layer("memory", "(*(2,), m, 8)", "(2, 6, 4)", memory=K),
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
