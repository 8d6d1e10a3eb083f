"""Under a mesh of any kind, with leading axes sharded: the same values and gradients, lying as the arguments do."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from support import FULL

from attnlib import (
    decoding,
    flash_attention,
    init_latent_attention,
    init_multihead_attention,
    latent_prefill,
    latent_step,
    registry,
    spread,
    taylor_attention,
)
from attnlib.kernels import linear
from attnlib.kernels.gated import gated_linear_attention_state, gated_linear_attention_step

pytestmark = pytest.mark.skipif(jax.device_count() != 2, reason="needs the two devices of the test session")

AUTO, EXPLICIT = jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit
set_mesh = jax.set_mesh if hasattr(jax, "set_mesh") else jax.sharding.use_mesh
N, D = 5, 4


def mesh_of(kind, sizes=(2,)):
    return jax.make_mesh(sizes, ("x", "y")[: len(sizes)], axis_types=(kind,) * len(sizes))


def on(mesh, x, *axes):
    return jax.device_put(x, NamedSharding(mesh, PartitionSpec(*axes)))


def mechanism_case(entry, lead, k_lead, rng):
    """fn(**arrays) and its arrays: with a mask where there may be one, causal where it may be."""
    arrays = {
        "q": rng.normal(size=(*lead, N, D)),
        "k": rng.normal(size=(*k_lead, N, D)),
        "v": rng.normal(size=(*k_lead, N, D)),
    }
    options = entry.arguments(N, D) | ({"causal": True} if entry.causal else {})
    if "decay" in entry.leading:
        arrays["decay"] = -rng.random((*k_lead, N))
    arrays = {a: jnp.asarray(x, jnp.float32) for a, x in arrays.items()}
    if entry.mask:
        arrays["mask"] = jnp.asarray(rng.random((*lead, N if entry.mask == "pairs" else 1, N)) < 0.7)
    if "lengths" in entry.leading:
        arrays["lengths"] = jnp.asarray(rng.integers(1, N + 1, lead), jnp.int32)

    def fn(a):
        rest = {o: x for o, x in a.items() if o not in "qkv"}
        return entry.fn(a["q"], a["k"], a["v"], **{**options, **rest})

    return fn, arrays


def layer_case(entry, rng):
    params = entry.draw(jax.random.key(0), D)
    x = jnp.asarray(rng.normal(size=(4, N, D)), jnp.float32)

    def fn(a):
        return entry.fn({w: p for w, p in a.items() if w != "x"}, a["x"])

    return fn, {**params, "x": x}


def spread_case(rng):
    _, arrays = mechanism_case(registry.mechanism("flash_attention"), (2, 2), (2, 1), rng)
    return lambda a: spread(flash_attention)(a["q"], a["k"], a["v"], mask=a["mask"], causal=True), arrays


def prefill_and_steps(ring, rng):
    """A prompt, then two positions."""
    params = init_multihead_attention(jax.random.key(0), 8, 4, h_kv=2)
    x = jnp.asarray(rng.normal(size=(2, 6, 8)), jnp.float32)

    def fn(a):
        cache = decoding.init_cache(4 if ring else 8, 2, h_kv=2, batch=(2,), ring=ring)
        weights = {w: p for w, p in a.items() if w != "x"}
        out, cache = decoding.prefill(weights, a["x"][:, :4], cache, scale=0.5)
        outs = [out]
        for t in (4, 5):
            out, cache = decoding.step(weights, a["x"][:, t : t + 1], cache)
            outs.append(out)
        return jnp.concatenate(outs, axis=1), cache.k, cache.v

    return fn, {**params, "x": x}


def latent_prefill_and_steps(rng):
    """A prompt, then a position in each form."""
    params = init_latent_attention(jax.random.key(0), 8, 2, rank=6, rank_q=5)
    x = jnp.asarray(rng.normal(size=(2, 6, 8)), jnp.float32)

    def fn(a):
        weights = {w: p for w, p in a.items() if w != "x"}
        out, cache = latent_prefill(weights, a["x"][:, :4], decoding.init_cache(8, 2, d_v=6, batch=(2,)), scale=0.5)
        outs = [out]
        for t, absorbed in ((4, True), (5, False)):
            out, cache = latent_step(weights, a["x"][:, t : t + 1], cache, absorbed=absorbed)
            outs.append(out)
        return jnp.concatenate(outs, axis=1), cache.k, cache.v

    return fn, {**params, "x": x}


def attend_once(rng):
    q, k, v = (jnp.asarray(rng.normal(size=(2, h, 1, 3)), jnp.float32) for h in (4, 2, 2))

    def fn(a):
        cache = decoding.init_cache(4, 3, h_kv=2, batch=(2,))
        _, cache = decoding.attend(a["k"].repeat(2, axis=1), a["v"], a["k"], cache)
        return decoding.attend(a["q"], a["k"], a["v"], cache)[0]

    return fn, {"q": q, "k": k, "v": v}


def linear_steps(rng):
    _, arrays = mechanism_case(registry.mechanism("linear_attention"), (2, 2), (2, 1), rng)
    del arrays["mask"]

    def run(a):
        state = linear.linear_attention_state(D, D, lead=(2, 1))
        o, state = linear.linear_attention_step(state, a["q"], a["k"], a["v"], scale=0.5)
        p, state = linear.linear_attention_step(state, a["q"], a["v"], a["k"])
        return o, p, state

    return run, arrays


def gated_steps(rng):
    _, arrays = mechanism_case(registry.mechanism("gated_linear_attention"), (2, 2), (2, 1), rng)

    def run(a):
        state = gated_linear_attention_state(D, D, lead=(2, 1))
        o, state = gated_linear_attention_step(state, a["q"], a["k"], a["v"], a["decay"])
        return o, gated_linear_attention_step(state, a["q"], a["v"], a["k"])

    return run, {a: x for a, x in arrays.items() if a != "mask"}


def taylor_centred(rng):
    _, arrays = mechanism_case(registry.mechanism("taylor_attention"), (2, 2), (2, 1), rng)
    arrays["shifts"] = jnp.asarray(rng.normal(size=(2, 2, N)), jnp.float32)

    def run(a):
        args, mask = (a["q"], a["k"], a["v"]), a["mask"]
        return (
            taylor_attention(*args, mask=mask, centre_keys=True, centre_rows=True),
            taylor_attention(*args, centre_rows=a["shifts"], causal=True),
        )

    return run, arrays


def recurrent_states(name, rng):
    entry = next(x for x in registry.LAYERS if x.name == name)
    params = entry.draw(jax.random.key(0), D)
    x = jnp.asarray(rng.normal(size=(2, N, D)), jnp.float32)
    h = jnp.asarray(rng.normal(size=(2, D)), jnp.float32)
    lengths = jnp.asarray([3, 5], jnp.int32)

    def fn(a):
        state = (a["h"], a["h"]) if name == "lstm" else a["h"]
        weights = {w: p for w, p in a.items() if w not in ("x", "h", "lengths")}
        return entry.fn(weights, a["x"], state, lengths=a["lengths"], reverse=True)

    return fn, {**params, "x": x, "h": h, "lengths": lengths}


CASES = {
    **{e.name: partial(mechanism_case, e, (2, 2), (2, 1)) for e in registry.MECHANISMS},
    **{f"{e.name}, {e.title}": partial(layer_case, e) for e in registry.LAYERS},
    **{f"{name}, states": partial(recurrent_states, name) for name in ("gru", "lstm")},
    "prefill and steps": partial(prefill_and_steps, False),
    "prefill and steps, ring": partial(prefill_and_steps, True),
    "latent, prefill and steps": latent_prefill_and_steps,
    "attend": attend_once,
    "linear, steps": linear_steps,
    "gated, steps": gated_steps,
    "taylor, centred": taylor_centred,
    "spread": spread_case,
}
STEPS = (
    *("prefill and steps", "prefill and steps, ring", "latent, prefill and steps", "attend"),
    *("linear, steps", "gated, steps", "taylor, centred"),
)
"""Long programs: their gradients only where every case is tried."""
WEIGHTS = {
    *("w", "u", "b", "b_n", "w_1", "w_2", "w_q", "w_k", "w_v", "w_o", "w_depth", "w_point"),
    *("log_dt", "log_a", "a_im", "c_re", "c_im", "skip"),
    *("w_in", "w_conv", "b_conv", "w_x", "w_dt", "b_dt", "a_log", "w_out"),
    *("w_dq", "g_q", "w_uq", "w_dkv", "g_kv", "w_uk", "w_uv"),
}


compiled = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # sooner, and as right


def both(fn, arrays, differentiate=True):
    """Value, and gradient with respect to every array of floating point, of one function."""
    if not differentiate:
        return fn(arrays), {}
    real = {a: x for a, x in arrays.items() if jnp.issubdtype(x.dtype, jnp.floating)}
    rest = {a: x for a, x in arrays.items() if a not in real}

    def loss(real):
        out = fn({**real, **rest})
        return sum((x**2).sum() for x in jax.tree.leaves(out)), out

    gradient, out = jax.grad(loss, has_aux=True)(real)
    return out, gradient


def agree(found, expected):
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=2e-5, atol=2e-5)


@pytest.fixture(scope="module")
def unsharded():
    """Values and gradients where no mesh is."""
    return {}


EVERY = [(kind, case, way) for case in CASES for kind in (AUTO, EXPLICIT) for way in ("eager", "compiled")]
FEW = [
    *((EXPLICIT, case, "compiled") for case in CASES),
    *((AUTO, name, "compiled") for name in ("attention", "flash_attention", "gru, GRU", "spread")),
    *((EXPLICIT, name, "eager") for name in ("flash_attention", "linear_attention", "rnn, vanilla", "attend")),
]


@pytest.mark.parametrize(("kind", "case", "way"), EVERY if FULL else FEW, ids=str)
def test_the_same_under_a_mesh(kind, case, way, unsharded):
    """Batch sharded: values and gradients are those without a mesh, and lie as the arguments do."""
    fn, arrays = CASES[case](np.random.default_rng(0))
    run = partial(both, fn, differentiate=FULL or case not in STEPS)
    if case not in unsharded:
        unsharded[case] = compiled(run)(arrays)
    mesh = mesh_of(kind)
    there = {a: on(mesh, x, *([] if a in WEIGHTS else ["x"])) for a, x in arrays.items()}
    with set_mesh(mesh):
        out, gradient = (compiled(run) if way == "compiled" else run)(there)
    agree((out, gradient), unsharded[case])
    if kind == EXPLICIT:
        assert jax.tree.leaves(out)[0].sharding.spec[0] == "x"
        for a, x in gradient.items():
            assert x.sharding.is_fully_replicated == (a in WEIGHTS), a


def heads(rng, lead=(2, 2), k_lead=(2, 1)):
    return mechanism_case(registry.mechanism("flash_attention"), lead, k_lead, rng)


@pytest.mark.parametrize("set_", [True, False], ids=["set", "not set"])
@pytest.mark.parametrize("axes", [(None, "x"), ("y", "x"), ("x", "y")] if FULL else [("y", "x")], ids=str)
def test_heads_and_two_axes(axes, set_, rng):
    """Query heads that share their keys; a mesh of two axes; with no mesh set, too."""
    fn, arrays = heads(rng)
    expected = compiled(partial(both, fn))(arrays)
    mesh = mesh_of(EXPLICIT, (2, 1))
    there = dict(arrays) | {"q": on(mesh, arrays["q"], *axes)}
    with set_mesh(mesh) if set_ else nullcontext():
        found = compiled(partial(both, fn))(there)
    agree(found, expected)
    assert found[0].sharding.spec[:2] == found[1]["q"].sharding.spec[:2] == axes


def test_in_vmap_and_where_nothing_is_sharded(rng):
    fn, arrays = heads(rng)
    expected, several = compiled(fn)(arrays), [arrays[a] for a in "qkv"]
    mesh = mesh_of(EXPLICIT)
    with set_mesh(mesh):
        agree(compiled(fn)({a: on(mesh, x) for a, x in arrays.items()}), expected)
        mapped = jax.vmap(flash_attention)(*(on(mesh, x, "x") for x in several))
    agree(mapped, flash_attention(*several))


def test_what_cannot_be_sharded_is_refused(refuses, rng):
    """Lengths and widths, two ways to split one axis, one axis of the mesh for two, parameters, heads of a cache."""
    mesh = mesh_of(EXPLICIT)
    q, k, v = (jnp.ones((2, 2, 4, 4)) for _ in range(3))
    params = init_multihead_attention(jax.random.key(0), 4, 2)
    cache = decoding.init_cache(4, 2, h_kv=2, batch=(2,))
    with set_mesh(mesh):
        length, width, batch = on(mesh, q, None, None, "x"), on(mesh, q, None, None, None, "x"), on(mesh, q, "x")
        for fn in (flash_attention, taylor_attention, linear.linear_attention):
            for run in (fn, jax.jit(fn)):
                refuses("q", "the leading ones", "4@x", run, length, k, v)
                refuses("v", "the leading ones", "4@x", run, q, k, width)
        refuses("q, k, v", "to split one leading axis", "2@x", flash_attention, batch, on(mesh, q, None, "x"), v)
        with pytest.raises(ValueError, match=r"attnlib\.spread"):
            flash_attention(length, k, v)
        rnn = registry.LAYERS[0].fn
        weights = {"w": on(mesh, jnp.ones((4, 4)), None, "x"), "u": jnp.ones((4, 4)), "b": jnp.ones(4)}
        refuses("w", "the same on every device", "4@x", rnn, weights, batch[:, 0])
        refuses("x", "the leading ones", "4@x", rnn, weights | {"w": jnp.ones((4, 4))}, length[:, 0])
        here = replace(cache, k=on(mesh, cache.k, "x"))
        refuses("cache.k", "sharded as the first leading axis", "4@x", decoding.prefill, params, q[:, 0], here)
        two = decoding.init_cache(4, 2, h_kv=2, batch=(2, 2))
        refuses("cache.k", "alone to be sharded", "x", decoding.prefill, params, on(mesh, q, None, "x"), two)
    grid = mesh_of(EXPLICIT, (2, 1))
    refuses("k", "sharded over ('x',)", "2@y", flash_attention, on(grid, q, "x"), on(grid, k, "y"), v)
