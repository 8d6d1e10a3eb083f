"""Linformer beyond the contract: what it equals, projections of heads and of shorter inputs, what a mask means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from support import float64

from attnlib import attention, cost, count, init_linformer, linformer_attention, reference, spread
from attnlib.measure.count import with_backward


def arrays(rng, *shapes, dtype=np.float32):
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def test_with_the_identity_it_is_attention(rng):
    """rank = m, e = f = 1."""
    q, k, v = arrays(rng, (2, 3, 7, 4), (2, 1, 9, 4), (2, 1, 9, 5))
    np.testing.assert_allclose(linformer_attention(q, k, v, jnp.eye(9)), attention(q, k, v), rtol=2e-5, atol=2e-6)
    with float64():
        q, k, v = (x.astype(jnp.float64) for x in (q, k, v))
        exact = attention(q, k, v)
        np.testing.assert_allclose(linformer_attention(q, k, v, jnp.eye(9)), exact, rtol=1e-12, atol=1e-13)


def test_any_order_of_the_mixtures_is_the_same(rng):
    """A permutation of keys and values together changes no average: e = f = P is attention, e = P alone is not."""
    q, k, v = arrays(rng, (7, 4), (9, 4), (9, 5))
    p = jnp.eye(9)[rng.permutation(9)]
    np.testing.assert_allclose(linformer_attention(q, k, v, p), attention(q, k, v), rtol=2e-5, atol=2e-6)
    assert np.abs(linformer_attention(q, k, v, p, jnp.eye(9)) - attention(q, k, v)).max() > 0.1


def test_shorter_inputs_meet_the_first_columns(rng):
    q, k, v, e, f = arrays(rng, (3, 7, 4), (3, 9, 4), (3, 9, 5), (6, 14), (6, 14))
    for m in (1, 5, 9):
        short = linformer_attention(q, k[:, :m], v[:, :m], e, f)
        np.testing.assert_array_equal(short, linformer_attention(q, k[:, :m], v[:, :m], e[:, :m], f[:, :m]))
        # What a mask makes of the keys behind is the same input.
        masked = linformer_attention(q, k, v, e, f, mask=jnp.arange(9)[None] < m)
        np.testing.assert_allclose(masked, short, rtol=1e-5, atol=1e-6)


def test_a_hidden_key_is_a_zero_before_the_projection_and_its_mixture_stays(rng):
    """With the identity a hidden key is a zero key with a zero value: not attention without it."""
    q, k, v = arrays(rng, (7, 4), (9, 4), (9, 5))
    seen = jnp.asarray(rng.random(9) < 0.5)
    zeros = (jnp.where(seen[:, None], x, 0) for x in (k, v))
    got = linformer_attention(q, k, v, jnp.eye(9), mask=seen)
    np.testing.assert_allclose(got, attention(q, *zeros), rtol=2e-5, atol=2e-6)
    assert np.abs(got - attention(q, k, v, mask=seen)).max() > 0.05


@pytest.mark.parametrize(
    ("e_lead", "k_lead"), [((4,), (4,)), ((4,), (1,)), ((1,), (4,)), ((2, 1), (4,)), ((), (2, 1))]
)
def test_heads_have_their_own_projections_or_share_them(e_lead, k_lead, rng):
    q, k, v, e, f = arrays(rng, (2, 4, 7, 3), (*k_lead, 9, 3), (*k_lead, 9, 2), (*e_lead, 5, 9), (*e_lead, 5, 9))
    out = linformer_attention(q, k, v, e, f)
    k, v, e, f = (jnp.broadcast_to(x, (2, 4, *x.shape[-2:])) for x in (k, v, e, f))
    for b in range(2):
        for h in range(4):
            alone = attention(q[b, h], e[b, h] @ k[b, h], f[b, h] @ v[b, h])
            np.testing.assert_allclose(out[b, h], alone, rtol=2e-5, atol=2e-6)


def test_tied_projections_are_one_parameter(rng):
    q, k, v, e, do = arrays(rng, (7, 4), (9, 4), (9, 5), (6, 9), (7, 5))
    np.testing.assert_array_equal(linformer_attention(q, k, v, e), linformer_attention(q, k, v, e, e))
    (tied,) = jax.vjp(lambda e: linformer_attention(q, k, v, e), e)[1](do)
    keys, values = jax.vjp(lambda e, f: linformer_attention(q, k, v, e, f), e, e)[1](do)
    np.testing.assert_allclose(tied, keys + values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("lead", [(), (4,)])
def test_gradients_of_the_projections(lead, rng):
    """By finite differences, one at a time; nothing for columns that no key meets."""
    with float64():
        shapes = (2, 4, 7, 3), (2, 1, 9, 3), (2, 1, 9, 2), (*lead, 5, 12), (*lead, 5, 12)
        q, k, v, *projections = (np.asarray(x) for x in arrays(rng, *shapes, dtype=np.float64))
        mask = jnp.asarray(np.arange(9) != 6)
        do = rng.normal(size=(2, 4, 7, 2))
        gradients = jax.vjp(lambda *p: linformer_attention(q, k, v, *p, mask=mask), *projections)[1](do)
        for at, gradient in enumerate(gradients):
            way = rng.normal(size=projections[at].shape)
            ahead, behind = (
                reference.linformer_attention(
                    q, k, v, *(p + step * way if i == at else p for i, p in enumerate(projections)), mask=mask
                )
                for step in (1e-5, -1e-5)
            )
            slope = ((ahead - behind) / 2e-5 * do).sum()
            np.testing.assert_allclose((np.asarray(gradient) * way).sum(), slope, rtol=1e-7, atol=1e-9)
            assert not gradient[..., 9:].any()
            assert not gradient[..., 6].any()
            assert gradient[..., :6].any(axis=-1).all()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_sums_over_the_length_are_not_in_low_precision(dtype, rng):
    """A long sum of ones in float16 or bfloat16 stops growing; projected, 4,096 of them are 4,096."""
    q, k, v = jnp.zeros((1, 1), dtype), jnp.zeros((4096, 1), dtype), jnp.ones((4096, 1), dtype)
    out = linformer_attention(q, k, v, jnp.ones((1, 4096), dtype))
    assert out.dtype == dtype
    assert float(out[0, 0]) == 4096


def test_it_spreads_over_devices(rng):
    q, k, v, e, f = arrays(rng, (4, 7, 4), (4, 9, 4), (4, 9, 5), (4, 6, 9), (4, 6, 9))
    whole = linformer_attention(q, k, v, e, f)
    np.testing.assert_allclose(spread(linformer_attention)(q, k, v, e, f), whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(spread(linformer_attention)(q, k, v, e=e, f=f), whole, rtol=1e-5, atol=1e-6)


# --- parameters and costs -------------------------------------------------------------------------------------------


def test_parameters():
    key = jax.random.key(1)
    both, own, tied = (init_linformer(key, 500, 40, **o) for o in ({}, {"h": 3}, {"shared": True, "h": 3}))
    assert {name: p.shape for name, p in both.items()} == {"e": (40, 500), "f": (40, 500)}
    assert {name: p.shape for name, p in own.items()} == {"e": (3, 40, 500), "f": (3, 40, 500)}
    assert {name: p.shape for name, p in tied.items()} == {"e": (3, 40, 500)}
    for drawn, matrices in ((both, 2), (own, 6), (tied, 3)):
        model = cost.linformer_attention(8, 4, 40, m=500, h=3, projections=matrices)
        assert model.parameters == sum(p.size for p in drawn.values())
    numbers = np.concatenate([np.ravel(p) for p in own.values()])
    assert abs(numbers.std() * 500**0.5 - 1) < 4 / (2 * numbers.size) ** 0.5  # four standard errors
    assert abs(numbers.mean()) * 500**0.5 < 4 / numbers.size**0.5
    assert abs(np.corrcoef(np.ravel(both["e"]), np.ravel(both["f"]))[0, 1]) < 4 / both["e"].size ** 0.5
    assert init_linformer(key, 5, 4, dtype=jnp.bfloat16)["e"].dtype == jnp.bfloat16
    assert linformer_attention(jnp.ones((7, 2)), jnp.ones((500, 2)), jnp.ones((500, 3)), **both).shape == (7, 3)


@pytest.mark.parametrize("own", [False, True])
def test_projections_of_heads_cost_what_the_model_says(own):
    """Grouped keys, projected once for the group, or for each of its heads if these have their own projections."""

    def shape(*axes):
        return jax.ShapeDtypeStruct(axes, jnp.float32)

    n, m, d_k, d_v, rank, batch, h_kv, g = 19, 23, 4, 5, 7, 2, 3, 2
    lead = (h_kv, g) if own else ()
    args = [shape(batch, h_kv, g, n, d_k), shape(batch, h_kv, 1, m, d_k), shape(batch, h_kv, 1, m, d_v)]
    args += [shape(*lead, rank, m), shape(*lead, rank, m)]
    sizes = {"m": m, "d_v": d_v, "batch": batch, "h": h_kv * g, "h_kv": h_kv * g if own else h_kv}
    model = cost.linformer_attention(n, d_k, rank, **sizes)
    assert count.matmul_flops(linformer_attention, *args) == model.matmul_flops
    out = shape(batch, h_kv, g, n, d_v)
    both = cost.linformer_attention(n, d_k, rank, **sizes, backward=True)
    assert count.matmul_flops(with_backward(linformer_attention), out, *args) == both.matmul_flops


def test_what_is_saved_is_what_the_model_says():
    q, k, v, e = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((2, 400, 8), (2, 300, 8), (2, 300, 6), (16, 300)))
    model = cost.linformer_attention(400, 8, 16, m=300, d_v=6, h=2)
    assert count.saved(linformer_attention, q, k, v, e, e) == model.saved


def test_cost_is_the_same_for_numbers_arrays_and_symbols():
    n, r = sympy.symbols("n r", positive=True)
    for backward in (False, True):
        symbols = cost.linformer_attention(n, 8, r, d_v=6, h=2, backward=backward)
        array = cost.linformer_attention(np.array([64, 128]), 8, np.array([16, 32]), d_v=6, h=2, backward=backward)
        for i, (a, b) in enumerate(((64, 16), (128, 32))):
            exact = cost.linformer_attention(a, 8, b, d_v=6, h=2, backward=backward)
            for total in ("matmul_flops", "flops", "transcendentals", "parameters", "live", "saved", "bytes_read"):
                assert getattr(array, total)[i] == getattr(exact, total)
            for total in ("matmul_flops", "parameters"):
                assert getattr(symbols, total).subs({n: a, r: b}) == getattr(exact, total)


def test_the_work_grows_with_rank_times_length():
    one, longer, wider = (cost.linformer_attention(n, 64, r) for n, r in ((4096, 64), (8192, 64), (4096, 128)))
    assert longer.matmul_flops == wider.matmul_flops == 2 * one.matmul_flops
    assert one.matmul_flops == 8 * 4096 * 64 * 64
    assert one.path == 1


X = jnp.ones((2, 5, 4))
E = jnp.ones((3, 6))
WHOLE = "a whole number of at least 1"


def bad(argument, expected, got, **kwargs):
    given = {"q": X, "k": X, "v": X, "e": E} | kwargs
    return argument, expected, got, linformer_attention, tuple(given.pop(a) for a in ("q", "k", "v", "e")), given


def bad_init(argument, expected, got, **kwargs):
    return argument, expected, got, init_linformer, (), {"key": jax.random.key(0), "m": 5, "rank": 3} | kwargs


def bad_cost(argument, expected, got, **kwargs):
    return argument, expected, got, cost.linformer_attention, (), {"n": 8, "d_k": 4, "rank": 3} | kwargs


BAD = [
    bad("q", "an array", "list", q=[1.0]),
    bad("k", "d_k = 4", "d_k = 3", k=X[..., :3]),
    bad("v", "m = 5", "m = 4", v=X[:, :4]),
    bad("e", "an array", "list", e=[1.0]),
    bad("e", "(..., rank, length)", "(6,)", e=E[0]),
    bad("e", "at least m = 5 keys", "(3, 4)", e=E[:, :4]),
    bad("e", "leading axes that broadcast", "(3,)", e=jnp.ones((3, 3, 6))),
    bad("f", "a real floating-point dtype", "int32", f=E.astype(int)),
    bad("f", "rank = 3", "rank = 2", f=E[:2]),
    bad("f", "length = 6", "length = 5", f=E[:, :5]),
    bad("causal", "True or False", "1", causal=1),
    bad("causal", "False: a projected key mixes all positions", "True", causal=True),
    bad("mask", "dtype bool", "float32", mask=X),
    bad("mask", "one row for all queries", "(5, 5)", mask=jnp.ones((5, 5), bool)),
    bad("scale", "a finite real number", "nan", scale=float("nan")),
    bad_init("key", "a key of jax.random.key", "0", key=0),
    bad_init("m", "an integer of at least 1", "0", m=0),
    bad_init("rank", "an integer of at least 1", "1.5", rank=1.5),
    bad_init("h", "an integer of at least 1", "0", h=0),
    bad_init("shared", "True or False", "1", shared=1),
    bad_init("dtype", "a real floating-point dtype", "int", dtype=int),
    *(bad_cost(a, WHOLE, "0", **{a: 0}) for a in ("n", "d_k", "rank", "projections", "m", "d_v", "h", "batch")),
    bad_cost("h_kv", "a divisor of h = 4", "3", h=4, h_kv=3),
    bad_cost("causal", "True or False", "1", causal=1),
    bad_cost("causal", "False: a projected key mixes all positions", "True", causal=True),
    bad_cost("backward", "True or False", "1", backward=1),
    bad_cost("dtype", "one of float64", "'int8'", dtype="int8"),
]
