"""Attention beyond the contract: outside oracles, values by hand, every bad argument."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from support import float64

from attnlib import attention, attention_weights


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


# --- bad input ------------------------------------------------------------------------------------------------------

Q, K, V = np.zeros((2, 5, 4), "f"), np.zeros((2, 6, 4), "f"), np.zeros((2, 6, 3), "f")
SEEN = np.ones((2, 5, 6), bool)


def core(argument, expected, got, *args, **kwargs):
    """Return the entry for attention, and for attention_weights where it takes the same arguments."""
    q, k, v = args or (Q, K, V)
    with_values = (argument, expected, got, attention, (q, k, v), kwargs)
    return [with_values] + ([(argument, expected, got, attention_weights, (q, k), kwargs)] if argument != "v" else [])


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
]
