"""Generation: every step equals the parallel causal pass, costs, a cache that is full, in place, bad arguments."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from jax import export
from support import FULL, float64

from attnlib import cost, count, flash_attention, init_multihead_attention, multihead_attention, reference
from attnlib.layers.decoding import KVCache, attend, init_cache, prefill, step

TRIALS, PARTS = (1000, 40) if FULL else (5, 5)


def draw(rng):
    """Draw a problem: lengths, heads, widths, batch, ring or not, dtype."""
    sizes = {"n": 14, "h_kv": 3, "g": 3, "d": 8, "d_k": 6, "d_v": 6}
    drawn = {name: int(rng.integers(1, most + 1)) for name, most in sizes.items()}
    ring = bool(rng.integers(2))
    capacity = int(rng.integers(1, drawn["n"] + 3)) if ring else drawn["n"] + int(rng.integers(3))
    dtype = [jnp.float32, jnp.float64, jnp.bfloat16, jnp.float16][rng.integers(4)]
    batch = [(), (2,), (2, 1)][rng.integers(3)]
    prompt = int(rng.integers(drawn["n"] + 1))
    return drawn | {"prompt": prompt, "ring": ring, "capacity": capacity, "dtype": dtype, "batch": batch}


def generate(params, x, cache, prompt):
    """Prefill the prompt, then one step after another, in one loop."""
    parts = []
    if prompt:
        y, cache = prefill(params, x[..., :prompt, :], cache)
        parts.append(y)
    if prompt < x.shape[-2]:
        rest = jnp.moveaxis(x[..., prompt:, :], -2, 0)[..., None, :]

        def body(cache, x):
            y, cache = step(params, x, cache)
            return cache, y

        cache, y = jax.lax.scan(body, cache, rest)
        parts.append(jnp.moveaxis(y[..., 0, :], 0, -2))
    return jnp.concatenate(parts, -2), cache


def definition(params, x, seen):
    """The layer in NumPy's widest float: what is exact for float64, too, where that is wider."""
    params, x = jax.tree.map(lambda a: a.astype(np.float64).astype(np.longdouble), (params, x))
    return reference.multihead_attention(params, x, mask=seen)


@pytest.mark.parametrize("part", range(PARTS))
def test_step_by_step_equals_the_parallel_pass(part):
    for trial in range(part, TRIALS, PARTS):
        rng = np.random.default_rng(trial)
        with float64():
            check(rng, **draw(rng))
        if FULL:
            jax.clear_caches()  # every trial compiles anew


def check(rng, n, h_kv, g, d, d_k, d_v, prompt, ring, capacity, dtype, batch):
    # In NumPy: what is drawn in JAX compiles for each shape.
    h = h_kv * g
    shapes = {"w_q": (h, d, d_k), "w_k": (h_kv, d, d_k), "w_v": (h_kv, d, d_v), "w_o": (h, d_v, d)}
    drawn = {w: rng.normal(size=shape) for w, shape in shapes.items()}, rng.normal(size=(*batch, n, d))
    params, x = jax.tree.map(lambda a: a.astype(dtype), drawn)

    def one_by_one(params, x):
        cache = init_cache(capacity, d_k, d_v=d_v, h_kv=h_kv, batch=batch, ring=ring, dtype=dtype)
        return generate(params, x, cache, prompt)

    y, filled = jax.jit(one_by_one)(params, x)
    assert filled.length == n
    assert y.dtype == dtype
    seen = reference.visible(n, n, causal=True, window=capacity if ring else None)
    mask = jnp.asarray(seen) if ring else None
    parallel = jax.jit(functools.partial(multihead_attention, causal=True))(params, x, mask=mask)
    exact = definition(params, x, seen)
    error, theirs = (np.abs(np.asarray(a, np.float64) - exact).max() for a in (y, parallel))
    assert error <= 2 * theirs + 4 * float(jnp.finfo(dtype).eps) * np.abs(exact).max()


def layer(h=4, h_kv=2, d=8, dtype=jnp.float32):
    return init_multihead_attention(jax.random.key(0), d, h, h_kv=h_kv, dtype=dtype)


@pytest.mark.parametrize("seen", [None, 5, 8])
def test_context_reads_fewer_slots(seen, rng):
    params, x = layer(), jnp.asarray(rng.normal(size=(5, 8)), jnp.float32)
    y, cache = prefill(params, x[:4], init_cache(8, 2, h_kv=2))
    got, _ = step(params, x[4:], cache, context=seen)
    exact = multihead_attention(params, x, causal=True)
    np.testing.assert_allclose(jnp.concatenate([y, got]), exact, rtol=1e-5, atol=1e-6)


def test_sequences_of_different_lengths_by_vmap(rng):
    params = layer()
    x = jnp.asarray(rng.normal(size=(2, 7, 8)), jnp.float32)
    fill = jax.jit(prefill)
    caches = [fill(params, x[i, :n], init_cache(9, 2, h_kv=2))[1] for i, n in enumerate((3, 6))]
    both = jax.tree.map(lambda *a: jnp.stack(a), *caches)
    y, both = jax.jit(jax.vmap(step, (None, 0, 0)))(params, jnp.stack([x[0, 3:4], x[1, 6:7]]), both)
    np.testing.assert_array_equal(both.length, [4, 7])
    for i, n in enumerate((3, 6)):
        exact = multihead_attention(params, x[i, : n + 1], causal=True)[n]
        np.testing.assert_allclose(y[i, 0], exact, rtol=1e-5, atol=1e-6)


def test_scale(rng):
    params, x = layer(), jnp.asarray(rng.normal(size=(4, 8)), jnp.float32)
    y, cache = prefill(params, x[:3], init_cache(4, 2, h_kv=2), scale=0.1)
    z, _ = step(params, x[3:], cache, scale=jnp.float32(0.1))
    exact = multihead_attention(params, x, causal=True, scale=0.1)
    np.testing.assert_allclose(jnp.concatenate([y, z]), exact, rtol=1e-5, atol=1e-6)


# --- a cache that is full -------------------------------------------------------------------------------------------


def test_a_full_cache_is_refused_where_its_length_is_known(rng):
    params, x = layer(), jnp.ones((5, 8))
    _, cache = prefill(params, x[:4], init_cache(4, 2, h_kv=2))
    with pytest.raises(ValueError, match=r"decoding\.step: cache: expected room for a position, got 4 of 4 in use"):
        step(params, x[4:], cache)
    with pytest.raises(ValueError, match=r"x: expected at most 4 positions, the capacity of the cache, got 5"):
        prefill(params, x, init_cache(4, 2, h_kv=2))
    with pytest.raises(ValueError, match=r"cache: expected an empty one, got one of length 4"):
        prefill(params, x[:1], cache)


def test_a_full_cache_gives_nan_where_its_length_is_traced(rng):
    params, x = layer(), jnp.asarray(rng.normal(size=(1, 8)), jnp.float32)
    run = jax.jit(step)
    cache = init_cache(3, 2, h_kv=2)
    for t in range(6):
        y, after = run(params, x, cache)
        assert jnp.isfinite(y).all() == (t < 3)
        assert jnp.isnan(y).all() == (t >= 3)
        assert after.length == t + 1
        if t >= 3:
            np.testing.assert_array_equal(after.k, cache.k)
            np.testing.assert_array_equal(after.v, cache.v)
        cache = after


@pytest.mark.parametrize("ring", [False, True])
def test_a_second_prefill_under_jit_poisons_the_cache(ring):
    params, x = layer(), jnp.ones((2, 8))
    cache = init_cache(6, 2, h_kv=2, ring=ring)
    _, first = jax.jit(prefill)(params, x, cache)
    y, second = jax.jit(prefill)(params, x, first)
    assert jnp.isnan(y).all()
    assert second.length == -1
    np.testing.assert_array_equal(second.k, first.k)
    y, third = jax.jit(step)(params, x[:1], second)
    assert jnp.isnan(y).all()
    assert third.length == -1
    with pytest.raises(ValueError, match="cache: expected room for a position, got one that was filled twice"):
        step(params, x[:1], third)


def test_a_context_too_small_gives_nan_where_the_length_is_traced():
    params, x = layer(), jnp.ones((3, 8))
    _, cache = prefill(params, x, init_cache(6, 2, h_kv=2))
    with pytest.raises(ValueError, match="context: expected 4 to 6 slots, got 3"):
        step(params, x[:1], cache, context=3)
    y, after = jax.jit(functools.partial(step, context=3))(params, x[:1], cache)
    assert jnp.isnan(y).all()
    y, _ = jax.jit(step)(params, x[:1], after)  # what was stored is right
    np.testing.assert_allclose(y, multihead_attention(params, jnp.ones((5, 8)), causal=True)[-1:], rtol=1e-5)


def test_a_ring_forgets(rng):
    """What lies beyond the window changes nothing, exactly; what lies within it does."""
    params, x = layer(), jnp.asarray(rng.normal(size=(9, 8)), jnp.float32)
    run = jax.jit(functools.partial(generate, prompt=5))
    y, cache = run(params, x, init_cache(3, 2, h_kv=2, ring=True))
    assert cache.length == 9
    far, _ = run(params, x.at[:6].set(7.0), init_cache(3, 2, h_kv=2, ring=True))
    near, _ = run(params, x.at[6].set(7.0), init_cache(3, 2, h_kv=2, ring=True))
    np.testing.assert_array_equal(far[8], y[8])
    assert abs(near[8] - y[8]).max() > 1e-3


# --- costs ----------------------------------------------------------------------------------------------------------


def test_operations_of_a_step_equal_the_model(rng):
    for _ in range(10):
        h_kv, g, d, d_k, d_v, t, batch = (int(s) for s in rng.integers(1, 9, 7))
        widths = {"h_kv": h_kv, "d_k": d_k, "d_v": d_v}
        init = functools.partial(init_multihead_attention, d=d, h=h_kv * g, **widths)
        params = jax.eval_shape(init, jax.random.key(0))
        cache = jax.eval_shape(functools.partial(init_cache, t, batch=(batch,), **widths))
        counted = count.operations(step, params, jax.ShapeDtypeStruct((batch, 1, d), jnp.float32), cache)
        c = cost.decode_step(t, d, h_kv * g, batch=batch, **widths)
        assert count.Operations(c.matmul_flops, c.other_flops, c.transcendentals) == counted
        assert c.parameters == sum(a.size for a in params.values())
        kept = cost.kv_cache(t, batch=batch, dtype="float32", **widths)
        assert c["scores"].bytes_read + c["values"].bytes_read >= kept


def test_all_steps_together_are_one_pass_that_skips_what_is_masked():
    """FLOPs counted from the programs: the steps of the loop, and flash attention in blocks of one pair."""
    for n, h, h_kv, d in ((1, 1, 1, 4), (9, 4, 2, 8), (5, 3, 3, 12)):
        params, cache = layer(h, h_kv, d), init_cache(n, d // h, h_kv=h_kv)
        x = jnp.ones((n, d))
        steps = sum(
            count.matmul_flops(functools.partial(step, context=t), params, x[:1], cache) for t in range(1, n + 1)
        )

        def one_pass(params, x, h_kv=h_kv):
            q, k, v = (jnp.einsum("nd,hdk->hnk", x, params[w]) for w in ("w_q", "w_k", "w_v"))
            q = q.reshape(h_kv, -1, *q.shape[1:])
            o = flash_attention(q, k[:, None], v[:, None], causal=True, block_q=1, block_k=1)
            return jnp.einsum("hnk,hkd->nd", o.reshape(-1, *o.shape[2:]), params["w_o"])

        assert steps == count.matmul_flops(one_pass, params, x) == cost.generation(n, d, h, h_kv=h_kv).matmul_flops
        again = sum(count.matmul_flops(multihead_attention, params, x[:t]) for t in range(1, n + 1))
        assert again == cost.generation(n, d, h, h_kv=h_kv, cached=False).matmul_flops


@pytest.mark.parametrize("cached", [False, True])
def test_generation_is_the_sum_of_its_steps(cached):
    n, d = sympy.symbols("n d", positive=True)
    formula = cost.generation(n, d, 2, cached=cached)
    one = cost.decode_step if cached else cost.multihead_attention
    arrays = cost.generation(np.array([1, 2, 7]), 6, 2, cached=cached, h_kv=1, batch=3)
    for i, length in enumerate((1, 2, 7)):
        exact = cost.generation(length, 6, 2, cached=cached, h_kv=1, batch=3)
        each = [one(t, 6, 2, h_kv=1, batch=3) for t in range(1, length + 1)]
        assert exact.live == each[-1].live
        for what in ("matmul_flops", "other_flops", "transcendentals", "bytes_read", "bytes_written", "sequential"):
            total = getattr(exact, what)
            assert type(total) is int
            assert total == sum(getattr(c, what) for c in each), what
            assert np.broadcast_to(getattr(arrays, what), 3)[i] == total
            plain = getattr(cost.generation(length, 6, 2, cached=cached), what)
            assert sympy.sympify(getattr(formula, what)).subs({n: length, d: 6}) == plain


def test_known_totals():
    n, d = sympy.symbols("n d", positive=True)
    cached, again = (cost.generation(n, d, 1, cached=c).matmul_flops for c in (True, False))
    assert sympy.expand(cached - (8 * n * d**2 + 2 * n * (n + 1) * d)) == 0
    assert sympy.expand(again - (4 * d**2 * n * (n + 1) + sympy.Rational(2, 3) * d * n * (n + 1) * (2 * n + 1))) == 0
    for length, width, ratio in ((1000, 512, 555), (4096, 4096, 2185), (32768, 4096, 20025)):
        both = [cost.generation(length, width, 8, cached=c).matmul_flops for c in (False, True)]
        assert both[0] // both[1] == ratio
    assert cost.generation(1000, 512, 8).matmul_flops == 3_122_176_000
    share = cost.decode_step(10**5, 4096, 32)
    core = share["scores"].matmul_flops + share["values"].matmul_flops
    assert round(100 * core / share.matmul_flops) == 92


# Older XLA copies a cache that has one head in all.
@pytest.mark.parametrize(
    ("h_kv", "batch"), [(16, ()), (16, (1,)), (16, (2, 3)), pytest.param(1, (), marks=pytest.mark.newest)], ids=str
)
def test_the_cache_is_updated_in_place(h_kv, batch):
    params = jax.eval_shape(lambda: layer(2 * h_kv, h_kv, 64 * h_kv))
    cache = jax.eval_shape(lambda: init_cache(4096, 32, h_kv=h_kv, batch=batch))
    size = cost.kv_cache(4096, 32, h_kv=h_kv, batch=math.prod(batch), dtype="float32")
    x = jax.ShapeDtypeStruct((*batch, 1, 64 * h_kv), jnp.float32)
    memory = jax.jit(step, donate_argnums=2).lower(params, x, cache).compile().memory_analysis()
    assert memory.alias_size_in_bytes >= size
    assert memory.temp_size_in_bytes < size / 8


def test_the_parameters_are_not_written_anew():
    """No temporary array is as large as one of them."""
    params, x = jax.eval_shape(lambda: layer(16, 16, 512)), jax.ShapeDtypeStruct((1, 512), jnp.float32)
    assert count.memory(step, params, x, jax.eval_shape(lambda: init_cache(4, 32, h_kv=16))) < 512 * 512 * 4


def test_export():
    params, cache = layer(), init_cache(4, 2, h_kv=2)

    def run(params, x, k, v, length):
        y, after = step(params, x, KVCache(k, v, length, False))
        return y, after.k, after.v, after.length

    for platform in ("cpu", "cuda", "tpu"):
        exported = export.export(jax.jit(run), platforms=[platform])(
            params, jnp.ones((1, 8)), cache.k, cache.v, cache.length
        )
        assert exported.platforms == (platform,)


# --- bad input ------------------------------------------------------------------------------------------------------

P, C, X = layer(), init_cache(4, 2, h_kv=2), jnp.ones((3, 8))
Q, K = jnp.ones((4, 1, 2)), jnp.ones((2, 1, 2))


def bad(fn, argument, expected, got, params=P, x=X, cache=C, **kwargs):
    x = x[:1] if fn is step and x is X else x
    return (argument, expected, got, fn, (params, x, cache), kwargs)


def core(argument, expected, got, q=Q, k=K, v=K, cache=C, **kwargs):
    return (argument, expected, got, attend, (q, k, v, cache), kwargs)


def make(argument, expected, got, **kwargs):
    return (argument, expected, got, init_cache, (), {"capacity": 4, "d_k": 2} | kwargs)


def model(fn, argument, expected, got, **kwargs):
    return (argument, expected, got, fn, (), {"t" if fn is cost.decode_step else "n": 8, "d": 8, "h": 4} | kwargs)


BAD = [
    *(make(a, "an integer of at least 1", "0", **{a: 0}) for a in ("capacity", "d_k", "d_v", "h_kv")),
    make("batch", "a tuple of positive integers", "3", batch=3),
    make("batch", "a tuple of positive integers", "(0,)", batch=(0,)),
    make("ring", "True or False", "1", ring=1),
    make("dtype", "floating-point", "int", dtype=jnp.int32),
    core("q", "an array", "list", q=[1.0]),
    core("q", "one position", "(4, 2, 2)", q=jnp.ones((4, 2, 2))),
    core("q", "(..., h, 1, d)", "(1, 2)", q=Q[0]),
    core("k", "one position", "(2, 3, 2)", k=jnp.ones((2, 3, 2))),
    core("k", "d_k = 2", "d_k = 3", k=K[..., :1].repeat(3, -1), cache=init_cache(4, 3, d_v=2, h_kv=2)),
    core("k", "a divisor of h = 3", "2", q=Q[:3]),
    core("v", "heads (2,)", "(1, 1, 2)", v=K[:1]),
    core("cache", "a KVCache", "NoneType", cache=None),
    core("cache", "k of shape (2, 2, 4)", "(1, 2, 4)", cache=init_cache(4, 2)),
    core("cache", "v of shape (2, 4, 2)", "(2, 4, 5)", cache=init_cache(4, 2, d_v=5, h_kv=2)),
    core("cache", "a length without axes", "(2,)", cache=KVCache(C.k, C.v, jnp.zeros(2, jnp.int32), False)),
    core("scale", "a finite real number", "nan", scale=float("nan")),
    core("context", "an integer of at least 1", "0", context=0),
    core("context", "1 to 4 slots", "5", context=5),
    *itertools.chain.from_iterable(
        (
            bad(fn, "params", "a dict of w_q", "NoneType", params=None),
            bad(fn, "w_q", "three axes", "(8, 2)", params=P | {"w_q": P["w_q"][0]}),
            bad(fn, "w_k", "a divisor of h = 3", "2", params=P | {"w_q": P["w_q"][:3]}),
            bad(fn, "w_o", "(4, 2, 8)", "(3, 2, 8)", params=P | {"w_o": P["w_o"][:3]}),
            bad(fn, "x", "an array", "list", x=[1.0]),
            bad(fn, "x", "floating-point", "int32", x=jnp.ones((1, 8), jnp.int32)),
            bad(fn, "cache", "a KVCache", "dict", cache={}),
            bad(fn, "cache", "leading axes (2,)", "()", x=jnp.ones((2, 1, 8))),
            bad(fn, "scale", "a finite real number", "inf", scale=float("inf")),
        )
        for fn in (prefill, step)
    ),
    bad(step, "x", "one position", "(2, 8)", x=jnp.ones((2, 8))),
    bad(step, "context", "1 to 4 slots", "9", context=9),
    bad(prefill, "x", "at most 4 positions", "5", x=jnp.ones((5, 8))),
    *(
        model(fn, a, "whole number", "0", **{a: 0})
        for fn in (cost.decode_step, cost.generation)
        for a in ("t" if fn is cost.decode_step else "n", "d", "h", "d_k", "d_v", "h_kv", "batch")
    ),
    *(model(fn, "h_kv", "a divisor of h = 4", "3", h_kv=3) for fn in (cost.decode_step, cost.generation)),
    *(model(fn, "dtype", "one of float64", "'int8'", dtype="int8") for fn in (cost.decode_step, cost.generation)),
    model(cost.generation, "cached", "True or False", "1", cached=1),
]
