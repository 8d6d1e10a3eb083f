"""Whole models built of the library's layers: their arrays are the parameters, their counted programs the FLOPs.

Nothing is computed: programs are traced for shapes. A model's layers are drawn one by one, each of its own kind.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnlib
from attnlib import cost
from attnlib.cost import Dense, Experts, LatentAttention, Layer, Model, SelfAttention, StateSpace
from attnlib.measure import count

KEY = jax.random.key(0)


def whole(rng, least, most):
    return int(rng.integers(least, most + 1))


def flag(rng):
    return bool(rng.integers(2))


def drawn_heads(rng, **more):
    h_kv = whole(rng, 1, 3)
    return SelfAttention(whole(rng, 1, 3) * h_kv, whole(rng, 1, 9), h_kv=h_kv, d_v=whole(rng, 1, 9), **more)


def drawn_mixer(rng, d):
    kind = rng.choice(["full", "window", "latent", "state"])
    if kind == "latent":
        widths = {"h": whole(rng, 1, 4), "d_nope": whole(rng, 1, 9), "d_rope": 2 * whole(rng, 1, 4)}
        q_rank = whole(rng, 1, 12) if flag(rng) else None
        return LatentAttention(**widths, d_v=whole(rng, 1, 9), rank=whole(rng, 1, 12), q_rank=q_rank)
    if kind == "state":
        return StateSpace(whole(rng, 1, 3) * d, whole(rng, 1, 8), rank=whole(rng, 1, 5), k=whole(rng, 2, 5))
    return drawn_heads(rng, window=whole(rng, 1, 30) if kind == "window" else None)


def drawn_feed_forward(rng):
    kind = rng.choice(["dense", "experts", "none"], p=[0.45, 0.45, 0.1])
    if kind == "none":
        return None
    if kind == "dense":
        return Dense(whole(rng, 1, 40), gated=flag(rng))
    experts, shared = whole(rng, 1, 6), whole(rng, 1, 12) if flag(rng) else 0
    options = {"shared_d_ff": shared, "gated": flag(rng), "shared_gate": shared > 0 and flag(rng)}
    return Experts(experts, whole(rng, 1, experts), whole(rng, 1, 20), **options)


def drawn_model(seed):
    """A model, sequences, positions, and whether attention to all keys goes in tiles, of random sizes."""
    rng = np.random.default_rng(seed)
    d, memory = whole(rng, 1, 24), whole(rng, 1, 20)
    layers = []
    for _ in range(whole(rng, 1, 4)):
        inner = drawn_feed_forward(rng)
        cross = drawn_heads(rng, memory=memory) if rng.random() < 0.2 else None
        norms = 1 + (inner is not None) + (cross is not None)
        layers.append(Layer(drawn_mixer(rng, d), inner, norms=norms, cross=cross))
    model = Model(
        "drawn",
        d,
        whole(rng, 2, 50),
        tuple(layers),
        tied=flag(rng),
        head=flag(rng),
        positions=60 if flag(rng) else 0,
        types=2 if flag(rng) else 0,
        norm=str(rng.choice(["rms", "layer"])),
        norm_first=flag(rng),
        norm_last=flag(rng),
        causal=flag(rng),
    )
    return model, whole(rng, 1, 3), whole(rng, 1, 60), flag(rng)


# --- the module ---


def init_heads(x, d):
    return attnlib.init_multihead_attention(KEY, d, x.h, h_kv=x.heads, d_k=x.d_k, d_v=x.values)


def init_mixer(x, d):
    if isinstance(x, SelfAttention):
        return init_heads(x, d)
    if isinstance(x, LatentAttention):
        widths = {"d_k": x.d_nope, "d_rope": x.d_rope, "d_v": x.d_v}
        return attnlib.init_latent_attention(KEY, d, x.h, rank=x.rank, rank_q=x.q_rank, **widths)
    return attnlib.init_mamba(KEY, d, states=x.states, expand=x.inner // d, k=x.k, rank=x.rank)


def init_dense(d, d_ff, gated):
    gate = {"gate": jnp.zeros((d, d_ff))} if gated else {}
    return attnlib.init_feed_forward(KEY, d, d_ff=d_ff) | gate


def init_inner(x, d):
    if isinstance(x, Dense):
        return init_dense(d, x.d_ff, x.gated)
    one = init_dense(d, x.d_ff, x.gated)
    params = {name: jnp.broadcast_to(w, (x.experts, *w.shape)) for name, w in one.items()}
    params |= {"router": jnp.zeros((d, x.experts))}
    if x.shared_d_ff:
        params["shared"] = init_dense(d, x.shared_d_ff, x.gated)
    if x.shared_gate:
        params["shared gate"] = jnp.zeros((d, 1))
    return params


def init(model):
    """The arrays of a model."""
    d = model.d

    def norm():
        return [jnp.ones(d)] if model.norm == "rms" else [jnp.ones(d), jnp.zeros(d)]

    def layer(x):
        params = {"mixer": init_mixer(x.mixer, d), "norms": [norm() for _ in range(x.norms)]}
        if x.cross is not None:
            params["cross"] = init_heads(x.cross, d)
        if x.feed_forward is not None:
            params["inner"] = init_inner(x.feed_forward, d)
        return params

    return {
        "words": jnp.zeros((model.vocab, d)),
        "positions": jnp.zeros((model.positions, d)),
        "types": jnp.zeros((model.types, d)),
        "layers": [layer(x) for x in model.layers],
        "first": norm() if model.norm_first else [],
        "last": norm() if model.norm_last else [],
        "head": [jnp.zeros((d, model.vocab))] if model.head and not model.tied else [],
    }


def normalise(params, x):
    if not params:
        return x
    if len(params) == 2:
        x = x - x.mean(-1, keepdims=True)
    x = x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True)) * jnp.expand_dims(params[0], (0, 1))
    return x + jnp.expand_dims(params[1], (0, 1)) if len(params) == 2 else x


def tiled_attention(params, x, mixer, causal):
    """Heads in tiles of one query and one key, of which those that the mask hides are left out."""
    q, k, v = (jnp.einsum("bnd,hdk->bhnk", x, params[w]) for w in ("w_q", "w_k", "w_v"))
    k, v = (jnp.repeat(y, mixer.h // mixer.heads, axis=1) for y in (k, v))
    options = {"causal": causal, "block_q": 1, "block_k": 1}
    if mixer.window is None:
        o = attnlib.flash_attention(q, k, v, **options)
    else:
        o = attnlib.window_attention(q, k, v, r=mixer.window, **options)
    return jnp.einsum("bhnk,hkd->bnd", o, params["w_o"])


def in_tiles(mixer, tiles):
    """Windows are always: other kernels compute what a window hides."""
    return isinstance(mixer, SelfAttention) and not mixer.memory and (tiles or mixer.window is not None)


def mix(mixer, params, x, causal, tiles, absorbed):
    if isinstance(mixer, StateSpace):
        return attnlib.mamba(params, x)
    if isinstance(mixer, LatentAttention):
        return attnlib.latent_attention(params, x, causal=causal, absorbed=absorbed)
    if in_tiles(mixer, tiles):
        return tiled_attention(params, x, mixer, causal)
    return attnlib.multihead_attention(params, x, causal=causal)


def dense(params, x):
    if "gate" not in params:
        return attnlib.feed_forward(params, x)
    return (jax.nn.silu(x @ params["gate"]) * (x @ params["w_1"])) @ params["w_2"]


def experts(layer, params, x):
    """Each position is sent to its best experts, whose matrices are gathered."""
    weight, best = jax.lax.top_k(jax.nn.softmax(x @ params["router"]), layer.active)
    up = jnp.einsum("bnd,bnadf->bnaf", x, params["w_1"][best])
    if layer.gated:
        up = jax.nn.silu(jnp.einsum("bnd,bnadf->bnaf", x, params["gate"][best])) * up
    # Added up by hand: `einsum` would make a product of weighing the experts.
    out = (jnp.einsum("bnaf,bnafd->bnad", up, params["w_2"][best]) * weight[..., None]).sum(-2)
    if layer.shared_d_ff:
        shared = dense(params["shared"], x)
        out = out + (shared * jax.nn.sigmoid(x @ params["shared gate"]) if layer.shared_gate else shared)
    return out


def forward(model, tiles, absorbed, params, words, memory):
    """Scores of words, or the last layer's output."""
    x = params["words"][words]
    if model.positions:
        x = x + params["positions"][None, : x.shape[1]]
    if model.types:
        x = x + params["types"][None, :1]
    x = normalise(params["first"], x)
    for layer, own in zip(model.layers, params["layers"], strict=True):
        norms = iter(own["norms"])
        put = normalise(next(norms, []), x)
        x = x + mix(layer.mixer, own["mixer"], put, model.causal, tiles, absorbed.get(layer.mixer))
        if layer.cross is not None:
            x = x + attnlib.multihead_attention(own["cross"], normalise(next(norms), x), memory=memory)
        if layer.feed_forward is not None:
            put, inner = normalise(next(norms), x), layer.feed_forward
            x = x + (dense(own["inner"], put) if isinstance(inner, Dense) else experts(inner, own["inner"], put))
    x = normalise(params["last"], x)
    if not model.head:
        return x
    return x @ (params["words"].T if model.tied else params["head"][0])


# --- what is compared ---


def shapes(model, batch, n):
    """The arrays of a model, words, and what cross-attention meets, as shapes."""
    words = jax.ShapeDtypeStruct((batch, n), jnp.int32)
    memory = jax.ShapeDtypeStruct((batch, max(1, model.memory), model.d), jnp.float32)
    return jax.eval_shape(lambda: init(model)), words, memory


def forms(model, batch, n):
    """For each latent whether its absorbed form takes fewer products than the other: both are counted."""
    found = {}
    for mixer in model.mixers:
        if isinstance(mixer, LatentAttention):
            alone = Model("alone", model.d, 1, (Layer(mixer, norms=0),), head=False, causal=model.causal)
            given = shapes(alone, batch, n)
            both = {x: count.matmul_flops(partial(forward, alone, False, {mixer: x}), *given) for x in (False, True)}
            found[mixer] = min(both, key=both.get)
    return found


@pytest.mark.sample(5)
@pytest.mark.parametrize("seed", range(200))
def test_parameters_and_flops(seed):
    model, batch, n, tiles = drawn_model(seed)
    given = shapes(model, batch, n)
    assert cost.model_parameters(model) == sum(x.size for x in jax.tree.leaves(given[0]))
    found = count.operations(partial(forward, model, tiles, forms(model, batch, n)), *given)
    every, seen = (cost.model_forward(model, n, batch=batch, causal_half=x) for x in (False, True))
    hidden = {f"attention{model.kinds[x]}" for x in model.mixers if in_tiles(x, tiles)}
    assert found.matmul_flops == sum((seen if x.name in hidden else every)[x.name].matmul_flops for x in every.steps)


def drawn_plain(seed):
    """A model whose layers all keep what they compute for the way back."""
    model, batch, n, _ = drawn_model(seed)
    layers = tuple(replace(x, mixer=drawn_heads(np.random.default_rng(seed + i))) for i, x in enumerate(model.layers))
    return replace(model, layers=layers), batch, n


@pytest.mark.sample(5)
@pytest.mark.parametrize("seed", range(200, 250))
def test_training(seed):
    """Forward and backward: three times the products, counted in the program of the gradient."""
    model, batch, n = drawn_plain(seed)
    params, words, memory = shapes(model, batch, n)

    def loss(both, words):
        return forward(model, False, {}, both[0], words, both[1]).sum()

    found = count.matmul_flops(jax.value_and_grad(loss), (params, memory), words)
    assert found == cost.model_training(model, n, batch=batch, causal_half=False).matmul_flops
