"""Latent attention: the definition, both forms, generation, what a cache holds, costs, every bad argument."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from jax import export
from support import float64

import attnlib
from attnlib import (
    cost,
    count,
    decoding,
    flash_attention,
    init_latent_attention,
    latent_attention,
    latent_prefill,
    latent_step,
    reference,
)
from attnlib.measure.count import with_backward

SIZES = {"rank": 6, "d_k": 3, "d_rope": 4, "d_v": 5}  # no two alike, so that an axis tells what it is
DEEPSEEK = {"d": 5120, "h": 128, "rank": 512, "rank_q": 1536, "d_k": 128, "d_rope": 64, "d_v": 128}

both = pytest.mark.parametrize("absorbed", [False, True], ids=["expanded", "absorbed"])
low = pytest.mark.parametrize("rank_q", [None, 7], ids=["queries", "low queries"])


def draw(rng, n, d=8, h=2, lead=(2,), dtype=jnp.float32, **sizes):
    params = init_latent_attention(jax.random.key(1), d, h, **(SIZES | sizes), dtype=dtype)
    params = {w: a + jnp.asarray(0.1 * rng.normal(size=a.shape), dtype) for w, a in params.items()}
    return params, jnp.asarray(rng.normal(size=(*lead, n, d)), dtype)


def close(a, b, rtol=1e-10, atol=1e-10):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


# --- the definition -------------------------------------------------------------------------------------------------


@low
@both
@pytest.mark.parametrize(("n", "h"), [(1, 2), (9, 1), (9, 2)])
def test_values_and_gradients_are_those_of_the_definition(n, h, rank_q, absorbed, rng):
    with float64():
        params, x = draw(rng, n, h=h, rank_q=rank_q, dtype=jnp.float64)
        layer = partial(latent_attention, causal=True, absorbed=absorbed)
        y, *gradients = jax.jit(with_backward(layer))(jnp.ones_like(x), params, x)
        definition = partial(reference.latent_attention, causal=True)
        close(y, definition(params, x))
        way = jax.tree.map(lambda a: rng.normal(size=a.shape), (params, x))
        ahead, behind = (
            definition(*jax.tree.map(lambda a, w, e=e: np.asarray(a) + e * w, (params, x), way)).sum()
            for e in (1e-6, -1e-6)
        )
        predicted = sum(jax.tree.leaves(jax.tree.map(lambda g, w: float((g * w).sum()), tuple(gradients), way)))
        np.testing.assert_allclose(predicted, (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-7)


@low
def test_both_forms_have_the_same_gradients(rank_q, rng):
    with float64():
        params, x = draw(rng, 13, h=3, lead=(2, 2), rank_q=rank_q, dtype=jnp.float64)
        do = jnp.asarray(rng.normal(size=x.shape))
        mask = jnp.asarray(rng.random((2, 1, 3, 13, 13)) < 0.6)
        ways = (with_backward(partial(latent_attention, mask=mask, absorbed=a)) for a in (False, True))
        close(*(jax.jit(way)(do, params, x) for way in ways))


@both
def test_masks_scale_and_positions(absorbed, rng):
    with float64():
        params, x = draw(rng, 9, dtype=jnp.float64)
        layer = jax.jit(partial(latent_attention, absorbed=absorbed), static_argnames="causal")
        pairs = jnp.asarray(rng.random((2, 2, 9, 9)) < 0.6)
        for options in (
            {},
            {"mask": pairs},
            {"mask": pairs[:, :1, :1], "causal": True},  # keys of each sequence
            {"mask": pairs[0, 0, 0]},
            {"scale": jnp.float64(0.3)},
            {"positions": jnp.asarray(rng.integers(0, 1000, (2, 9)), jnp.int32)},
            {"positions": jnp.arange(9, dtype=jnp.int8), "causal": True},
        ):
            close(layer(params, x, **options), reference.latent_attention(params, x, **options))


@both
def test_hidden_keys_reach_nothing(absorbed, rng):
    params, x = draw(rng, 9)
    mask = jnp.arange(9) < 6
    run = jax.jit(partial(latent_attention, mask=mask, absorbed=absorbed))
    y = run(params, x.at[:, 7].set(jnp.nan))
    assert jnp.isnan(y[:, 7]).all()
    np.testing.assert_array_equal(y[:, :6], run(params, x)[:, :6])


@both
def test_distances_alone_matter(absorbed, rng):
    with float64():
        params, x = draw(rng, 9, dtype=jnp.float64)
        layer = jax.jit(partial(latent_attention, params, x, absorbed=absorbed))
        t = jnp.arange(9)
        close(layer(), layer(positions=t + 1000), 1e-9, 1e-9)
        assert abs(layer() - layer(positions=2 * t)).max() > 1e-3


def test_one_head_without_rotation_is_attention(rng):
    """Its latents for keys and values, where W_UK and W_UV are the identity and the rotary part is zero."""
    with float64():
        x = jnp.asarray(rng.normal(size=(7, 4)))
        one = {w: jnp.eye(4)[None] for w in ("w_uk", "w_uv", "w_o")}
        wide = {"w_q": jnp.eye(4, 6)[None], "w_dkv": jnp.eye(4, 6), "g_kv": jnp.ones(4)}
        c = x / jnp.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6)
        for absorbed in (False, True):
            y = latent_attention(one | wide, x, scale=0.7, absorbed=absorbed)
            close(y, reference.attention(x, c, c, scale=0.7))


@both
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision(dtype, absorbed, rng):
    params, x = draw(rng, 20, d=16, h=4)
    exact = reference.latent_attention(params, x, causal=True)
    half = {w: a.astype(dtype) for w, a in params.items()}
    for p, z in ((params, x.astype(dtype)), (half, x.astype(dtype)), (half, x)):
        y = jax.jit(partial(latent_attention, causal=True, absorbed=absorbed))(p, z)
        assert y.dtype == z.dtype
        np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=0.1)
    gradients = jax.jit(jax.grad(lambda p: latent_attention(p, x.astype(dtype), absorbed=absorbed).sum()))(half)
    assert {g.dtype for g in gradients.values()} == {jnp.dtype(dtype)}
    assert all(jnp.isfinite(g).all() for g in gradients.values())


# --- generation -----------------------------------------------------------------------------------------------------


def generate(params, x, cache, prompt, **options):
    parts = []
    if prompt:
        y, cache = jax.jit(partial(latent_prefill, **options))(params, x[..., :prompt, :], cache)
        parts.append(y)
    run = jax.jit(partial(latent_step, **options))
    for t in range(prompt, x.shape[-2]):
        y, cache = run(params, x[..., t : t + 1, :], cache)
        parts.append(y)
    return jnp.concatenate(parts, axis=-2), cache


@low
@both
@pytest.mark.parametrize(("prompt", "lead"), [(0, (2,)), (6, ()), (4, (2, 1))], ids=str)
def test_steps_are_rows_of_the_causal_layer(prompt, lead, absorbed, rank_q, rng):
    with float64():
        params, x = draw(rng, 7, lead=lead, rank_q=rank_q, dtype=jnp.float64)
        empty = decoding.init_cache(9, 4, d_v=6, batch=lead, dtype=jnp.float64)
        y, cache = generate(params, x, empty, prompt, absorbed=absorbed)
        close(y, jax.jit(partial(latent_attention, causal=True, absorbed=absorbed))(params, x))
        exact, filled = reference.latent_prefill(params, x, empty)
        close((y, cache.k, cache.v, cache.length), (exact, filled.k, filled.v, filled.length))


@both
def test_a_ring_forgets(absorbed, rng):
    with float64():
        params, x = draw(rng, 9, dtype=jnp.float64)
        near = jnp.asarray(reference.visible(9, 9, causal=True, window=3))
        for prompt in (0, 5):
            ring = decoding.init_cache(3, 4, d_v=6, batch=(2,), ring=True, dtype=jnp.float64)
            y, cache = generate(params, x, ring, prompt, absorbed=absorbed)
            assert cache.length == 9
            close(y, jax.jit(partial(latent_attention, mask=near))(params, x))


def test_scale_and_context_of_a_step(rng):
    params, x = draw(rng, 5)
    _, cache = latent_prefill(params, x[:, :4], decoding.init_cache(8, 4, d_v=6, batch=(2,)), scale=0.3)
    exact = reference.latent_attention(params, x, causal=True, scale=0.3)[:, 4:]
    for context in (None, 5, 8):
        y, _ = latent_step(params, x[:, 4:], cache, scale=jnp.float32(0.3), context=context)
        np.testing.assert_allclose(y, exact, rtol=1e-4, atol=1e-5)


def test_a_full_cache_gives_nan_where_its_length_is_traced(rng):
    params, x = draw(rng, 1)
    cache = decoding.init_cache(2, 4, d_v=6, batch=(2,))
    for t in range(4):
        y, cache = jax.jit(latent_step)(params, x, cache)
        assert jnp.isfinite(y).all() == (t < 2)
    y, _ = jax.jit(latent_prefill)(params, x, cache)
    assert jnp.isnan(y).all()


# Older XLA copies a cache that has one head in all.
@pytest.mark.parametrize("batch", [pytest.param((), marks=pytest.mark.newest), (3,)], ids=str)
def test_the_cache_is_updated_in_place(batch):
    sizes = {"rank": 256, "d_k": 64, "d_rope": 32, "d_v": 64}
    params = jax.eval_shape(lambda: init_latent_attention(jax.random.key(0), 512, 16, **sizes))
    cache = jax.eval_shape(lambda: decoding.init_cache(8192, 32, d_v=256, batch=batch))
    held = cost.latent_cache(8192, 256, 32, batch=math.prod(batch), dtype="float32")
    x = jax.ShapeDtypeStruct((*batch, 1, 512), jnp.float32)
    memory = jax.jit(latent_step, donate_argnums=2).lower(params, x, cache).compile().memory_analysis()
    assert memory.alias_size_in_bytes >= held
    assert memory.temp_size_in_bytes < held / 4


# --- transformations ------------------------------------------------------------------------------------------------


@both
def test_vmap_and_export(absorbed, rng):
    params, x = draw(rng, 12)
    layer = partial(latent_attention, causal=True, absorbed=absorbed)
    close(jax.jit(jax.vmap(layer, (None, 0)))(params, x), layer(params, x), 1e-5, 1e-5)

    def loss(params, x):
        return layer(params, x).astype(jnp.float32).sum()

    for platform, dtype in zip(("cpu", "cuda", "tpu"), (jnp.float16, jnp.bfloat16, jnp.float32), strict=True):
        exported = export.export(jax.jit(jax.value_and_grad(loss, (0, 1))), platforms=[platform])
        assert exported(params, x.astype(dtype)).platforms == (platform,)


# --- parameters and costs -------------------------------------------------------------------------------------------


@low
def test_parameters(rank_q):
    params = init_latent_attention(jax.random.key(0), 96, 4, rank_q=rank_q)
    assert sum(w.size for w in params.values()) == cost.latent_attention(5, 96, 4, rank_q=rank_q).parameters
    assert params["w_uk"].shape == (4, 96, 24)
    assert params["w_dkv"].shape == (96, 96 + 12)
    for w, fan_in in {"w_dkv": 96, "w_uk": 96, "w_o": 96, **({"w_uq": 7} if rank_q else {"w_q": 96})}.items():
        assert abs(params[w].var() * fan_in - 1) < 5 * np.sqrt(2 / params[w].size)
    assert all((params[w] == 1).all() for w in params if w.startswith("g_"))
    half = init_latent_attention(jax.random.key(0), 4, 2, dtype=jnp.bfloat16, rank_q=rank_q)
    assert {w.dtype for w in half.values()} == {jnp.dtype(jnp.bfloat16)}
    assert init_latent_attention(jax.random.key(0), 6, 2)["w_q"].shape == (2, 6, 3 + 2)


@low
@both
def test_operations_equal_the_model(absorbed, rank_q, rng):
    """In matrix products always; outside them forward, but for those of the tiles, of which the model is one."""
    for n, d, h, batch in ((21, 8, 2, 3), (1, 4, 1, 1), (1300, 8, 4, 1)):
        params, x = draw(rng, n, d, h, (batch,), rank_q=rank_q)
        for causal in (False, True):
            layer = partial(latent_attention, causal=causal, absorbed=absorbed)
            model = partial(
                cost.latent_attention, n, d, h, **SIZES, rank_q=rank_q, causal=causal, absorbed=absorbed, batch=batch
            )
            forward = count.operations(layer, params, x)
            assert forward.matmul_flops == model().matmul_flops
            assert count.matmul_flops(with_backward(layer), x, params, x) == model(backward=True).matmul_flops
            shapes = [(batch, h, n, 10), (batch, 1, n, 10), (batch, 1, n, 6)]
            if not absorbed:
                shapes = [(batch, h, n, 7), (batch, h, n, 7), (batch, h, n, 5)]
            tiles = count.operations(partial(flash_attention, causal=causal), *map(jnp.zeros, shapes))
            core = ("scores", "softmax", "values")
            around = [step for step in model().steps if step.name not in core]
            assert sum(s.other_flops for s in around) == forward.other_flops - tiles.other_flops
            assert sum(s.transcendentals for s in around) == forward.transcendentals - tiles.transcendentals
            assert count.saved(layer, params, x) == model().saved


@low
@both
def test_operations_of_a_step_equal_the_model(absorbed, rank_q, rng):
    """All of them, to the FLOP."""
    for t, d, h, batch in ((11, 8, 2, 3), (1, 4, 1, 1), (6, 12, 4, 2)):
        params, x = draw(rng, 1, d, h, (batch,), rank_q=rank_q)
        cache = decoding.init_cache(t, 4, d_v=6, batch=(batch,))
        model = cost.latent_step(t, d, h, **SIZES, rank_q=rank_q, absorbed=absorbed, batch=batch)
        counted = count.operations(partial(latent_step, absorbed=absorbed), params, x, cache)
        assert counted == count.Operations(model.matmul_flops, model.other_flops, model.transcendentals)
        assert model.parameters == sum(w.size for w in params.values())
        held = cost.latent_cache(t, 6, 4, batch=batch, dtype="float32")
        assert held == cache.k.nbytes + cache.v.nbytes
        assert model.bytes_read >= held + 4 * (model.parameters - 6 - (rank_q or 0))


@both
def test_no_square_in_memory(absorbed):
    """Four times the length, four times the memory; one square of scores would hold 256 MiB."""
    params = jax.eval_shape(lambda: init_latent_attention(jax.random.key(0), 32, 2))

    layer = partial(latent_attention, causal=True, absorbed=absorbed)

    def taken(n, backward):
        x = jax.ShapeDtypeStruct((n, 32), jnp.float32)
        return count.memory(with_backward(layer), x, params, x) if backward else count.memory(layer, params, x)

    for backward in (False, True):
        less, more = taken(2048, backward), taken(8192, backward)
        assert more < 5 * less
        assert more < 8192 * 8192 * 4 / 4


def test_what_deepseek_v2_keeps():
    """512 + 64 numbers for a token and layer: not 572, and no factor of 2 for keys and values."""
    sizes = {name: DEEPSEEK[name] for name in ("rank", "d_rope")}
    assert cost.latent_cache(1, **sizes) == 2 * 576
    assert cost.latent_cache(1, **sizes, layers=60) == 60 * 1152 == 69_120
    assert cost.latent_cache(131_072, **sizes, layers=60, batch=2, dtype="float8_e4m3fn") == 2 * 60 * 131_072 * 576
    cache = jax.eval_shape(lambda: decoding.init_cache(7, 64, d_v=512, dtype=jnp.bfloat16))
    assert 2 * (cache.k.size + cache.v.size) == cost.latent_cache(7, **sizes)
    assert cost.kv_cache(7, 64, d_v=512) == cost.latent_cache(7, **sizes)
    # "Equal to GQA with only 2.25 groups": section 2.1.4.
    assert cost.latent_cache(1, **sizes) / cost.kv_cache(1, 128) == 2.25
    layer = cost.latent_attention(1, **DEEPSEEK)
    params = jax.eval_shape(lambda: init_latent_attention(jax.random.key(0), **DEEPSEEK))
    assert layer.parameters == sum(w.size for w in params.values()) == 149_227_520
    # A pair costs 3.4 times as much absorbed, in a step with no keys and values to make.
    expanded, absorbed = (cost.latent_attention(4096, **DEEPSEEK, absorbed=a) for a in (False, True))
    pairs = [c["scores"].matmul_flops + c["values"].matmul_flops for c in (expanded, absorbed)]
    assert pairs[1] / pairs[0] == (2 * 512 + 64) / (2 * 128 + 64) == 3.4
    steps = [cost.latent_step(4096, **DEEPSEEK, absorbed=a, dtype="bfloat16") for a in (False, True)]
    assert steps[0].matmul_flops > 90 * steps[1].matmul_flops
    # 128 heads share what is read: beyond one query a key, 2·128·(2·512 + 64) FLOPs for 1,152 bytes.
    assert steps[1]["scores"].matmul_flops + steps[1]["values"].matmul_flops == 4096 * 2 * 128 * 1088


@both
def test_formulas(absorbed):
    n, d, h = sympy.symbols("n d h", positive=True)
    formula = cost.latent_attention(n, d, h, absorbed=absorbed)
    expected = (5 + 25 / h) * n * d**2 + (17 if absorbed else 5) * n**2 * d
    assert sympy.expand(formula.matmul_flops - expected) == 0
    parts = ("matmul_flops", "other_flops", "transcendentals", "bytes_read", "bytes_written", "live", "saved", "path")
    for backward in (False, True):
        for sizes in ({}, {"rank_q": 24}):
            model = partial(cost.latent_attention, h=4, absorbed=absorbed, backward=backward, **sizes)
            formula, number, many = model(n, d), model(2048, 64), model(np.array([2048, 5, 1300]), 64)
            each = [model(length, 64) for length in (2048, 5, 1300)]
            for part in parts:
                assert type(getattr(number, part)) is int, part
                if part not in ("bytes_read", "live"):  # those of the tiles have sizes of blocks
                    value = sympy.sympify(getattr(formula, part)).subs({n: 2048, d: 64})
                    assert part == "other_flops" or sympy.simplify(value - getattr(number, part)) == 0, part
                np.testing.assert_array_equal(
                    np.broadcast_to(getattr(many, part), 3), [getattr(one, part) for one in each]
                )
    step = cost.latent_step(n, d, h, absorbed=absorbed).matmul_flops
    assert step.subs({n: 100, d: 64, h: 4}) == cost.latent_step(100, 64, 4, absorbed=absorbed).matmul_flops
    m, rank, rope = sympy.symbols("m c r", positive=True)
    assert sympy.expand(cost.latent_cache(m, rank, rope) - 2 * m * (rank + rope)) == 0


# --- bad input ------------------------------------------------------------------------------------------------------

KEY = jax.random.key(0)
P = init_latent_attention(KEY, 8, 2, **SIZES)
LOW = init_latent_attention(KEY, 8, 2, **SIZES, rank_q=7)
X, C = jnp.zeros((5, 8)), decoding.init_cache(6, 4, d_v=6)
LAYERS = (latent_attention, latent_prefill, latent_step)


def bad(fn, argument, expected, got, params=P, x=X, cache=C, **kwargs):
    x = x[..., :1, :] if fn is latent_step and x is X else x
    return argument, expected, got, fn, (params, x) if fn is latent_attention else (params, x, cache), kwargs


def made(fn, argument, expected, got, **kwargs):
    given = {"key": KEY} if fn is init_latent_attention else {"t" if fn is cost.latent_step else "n": 8}
    return argument, expected, got, fn, (), given | {"d": 8, "h": 2} | kwargs


def held(argument, expected, got, **kwargs):
    return argument, expected, got, cost.latent_cache, (), {"m": 8, "rank": 6, "d_rope": 4} | kwargs


BAD = [
    *(
        entry
        for fn in LAYERS
        for entry in (
            bad(fn, "params", "a dict of w_q, w_dkv", "NoneType", params=None),
            bad(fn, "params", "a dict of w_dq, g_q, w_uq", "'w_q'", params=P | {"w_dq": LOW["w_dq"]}),
            bad(fn, "w_dkv", "2 axes", "(6,)", params=P | {"w_dkv": P["g_kv"]}),
            bad(fn, "w_dkv", "even d_rope", "(8, 9)", params=P | {"w_dkv": P["w_dkv"][:, :9]}),
            bad(fn, "w_dkv", "at least 2", "(8, 6)", params=P | {"w_dkv": P["w_dkv"][:, :6]}),
            bad(fn, "w_uk", "3 axes", "(6, 3)", params=P | {"w_uk": P["w_uk"][0]}),
            bad(fn, "w_q", "(2, 8, 7)", "(2, 8, 6)", params=P | {"w_q": P["w_q"][..., :6]}),
            bad(fn, "w_uv", "(2, 6, 5)", "(1, 6, 5)", params=P | {"w_uv": P["w_uv"][:1]}),
            bad(fn, "w_o", "(2, 5, 8)", "(2, 4, 8)", params=P | {"w_o": P["w_o"][:, :4]}),
            bad(fn, "w_o", "floating-point", "int32", params=P | {"w_o": P["w_o"].astype(jnp.int32)}),
            bad(fn, "g_kv", "(6,)", "(5,)", params=P | {"g_kv": P["g_kv"][:5]}),
            bad(fn, "w_dq", "2 axes", "(7,)", params=LOW | {"w_dq": LOW["g_q"]}),
            bad(fn, "w_uq", "(2, 7, 7)", "(2, 6, 7)", params=LOW | {"w_uq": LOW["w_uq"][:, :6]}),
            bad(fn, "x", "an array", "list", x=[1.0]),
            bad(fn, "x", "floating-point", "int32", x=X.astype(jnp.int32)),
            bad(fn, "x", "(..., n, d)", "(8,)", x=X[0]),
            bad(fn, "x", "width d = 8 as in w_dkv", "(5, 7)", x=X[:, :7]),
            bad(fn, "absorbed", "True or False", "1", absorbed=1),
            bad(fn, "scale", "a finite real number", "nan", scale=float("nan")),
        )
    ),
    *(
        entry
        for fn in (latent_prefill, latent_step)
        for entry in (
            bad(fn, "cache", "a KVCache", "NoneType", cache=None),
            bad(fn, "cache", "k of shape (1, 4, 6)", "(1, 6, 6)", cache=decoding.init_cache(6, 6, d_v=6)),
            bad(fn, "cache", "v of shape (1, 6, 6)", "(1, 6, 4)", cache=decoding.init_cache(6, 4)),
            bad(fn, "cache", "leading axes (2,)", "()", x=jnp.zeros((2, 1, 8))),
        )
    ),
    bad(latent_step, "x", "one position", "(5, 8)", x=jnp.zeros((5, 8))),
    bad(latent_step, "context", "1 to 6 slots", "7", context=7),
    bad(latent_prefill, "x", "at most 6 positions", "7", x=jnp.zeros((7, 8))),
    bad(latent_attention, "causal", "True or False", "1", causal=1),
    bad(latent_attention, "mask", "dtype bool", "float32", mask=np.ones((5, 5), "f")),
    bad(latent_attention, "mask", "(2, 5, 5)", "(3, 5, 5)", mask=np.ones((3, 5, 5), bool)),
    bad(latent_attention, "positions", "integers", "list", positions=[0, 1]),
    bad(latent_attention, "positions", "integers", "float32", positions=jnp.zeros(5)),
    bad(latent_attention, "positions", "ends with n = 5", "(4,)", positions=np.arange(4)),
    bad(latent_attention, "positions", "broadcasts to (5,)", "(2, 5)", positions=np.zeros((2, 5), int)),
    *(
        made(fn, argument, "at least 1", "0", **{argument: 0})
        for fn in (init_latent_attention, cost.latent_attention, cost.latent_step)
        for argument in ("d", "h", "rank", "rank_q", "d_k", "d_rope", "d_v")
    ),
    *(
        entry
        for fn in (init_latent_attention, cost.latent_attention, cost.latent_step)
        for entry in (
            made(fn, "h", "a divisor of d = 8", "3", h=3),
            made(fn, "d_rope", "an even number", "3", d_rope=3),
        )
    ),
    made(init_latent_attention, "key", "jax.random.key", "None", key=None),
    made(init_latent_attention, "dtype", "floating-point", "int", dtype=jnp.int32),
    *(
        made(fn, argument, "True or False", "1", **{argument: 1})
        for fn, arguments in (
            (cost.latent_attention, ("causal", "absorbed", "backward")),
            (cost.latent_step, ("absorbed",)),
        )
        for argument in arguments
    ),
    made(cost.latent_attention, "n", "whole number", "1.5", n=1.5),
    made(cost.latent_step, "t", "whole number", "0", t=0),
    *(
        entry
        for fn in (cost.latent_attention, cost.latent_step)
        for entry in (
            made(fn, "batch", "whole number", "0", batch=0),
            made(fn, "dtype", "one of float64", "'int8'", dtype="int8"),
        )
    ),
    *(held(a, "whole number", "0", **{a: 0}) for a in ("m", "rank", "d_rope", "layers", "batch")),
    held("d_rope", "an even number", "5", d_rope=5),
    held("dtype", "one of float64", "'int8'", dtype="int8"),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad[3].__module__}.{bad[3].__name__}-{bad[0]}-{bad[2]}")
def test_bad_input(refuses, bad):
    argument, expected, got, fn, args, kwargs = bad
    refuses(argument, expected, got, fn, *args, **kwargs)


def test_public_names():
    assert attnlib.latent_attention is latent_attention
    assert cost.latent_attention(4, 8, 2).path == 1
