"""Whole models: every published count, what is kept and computed, and sums that are those of the layers alone."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

import attnlib
from attnlib import cost
from attnlib.cost import (
    ACCELERATORS,
    COUNTS,
    MODELS,
    Dense,
    Experts,
    Indexer,
    LatentAttention,
    Layer,
    Model,
    SelfAttention,
    StateAttention,
    StateSpace,
)

H100, T4 = ACCELERATORS["H100"], ACCELERATORS["T4"]
LLAMA, LLAMA70, GEMMA = MODELS["llama-3-8b"], MODELS["llama-3-70b"], MODELS["gemma-3-27b"]
V3, V32, GPT3, BERT = MODELS["deepseek-v3"], MODELS["deepseek-v3.2"], MODELS["gpt-3"], MODELS["bert-base"]
T5 = MODELS["t5-base"]
NEXT, MIXTRAL, OSS = MODELS["qwen3-next-80b-a3b"], MODELS["mixtral-8x7b"], MODELS["gpt-oss-20b"]


# --- parameters ---


@pytest.mark.parametrize("name", COUNTS)
def test_published_counts(name):
    assert cost.model_parameters(MODELS[name]) == COUNTS[name]


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [
        ("gpt-3", "174.60", "174.58"),  # Brown et al. (2020), appendix D: 174,600 million
        ("gpt-oss-20b", "20.91", "3.61"),  # OpenAI (2025), model card, table 1: both numbers, of both models
        ("gpt-oss-120b", "116.83", "5.13"),
        ("qwen3-next-80b-a3b", "79.67", "3.56"),  # "80B-A3B"
    ],
)
def test_published_counts_that_are_rounded(name, total, active):
    model = MODELS[name]
    assert f"{cost.model_parameters(model) / 1e9:.2f}" == total
    assert f"{cost.model_parameters(model, active=True) / 1e9:.2f}" == active


def test_parameters_at_work():
    """Mixtral: 12.9 billion, DeepSeek-V3: 37, V2: 21, with the table of the embedding, which is looked up."""
    for name, said in (("mixtral-8x7b", 12.9), ("deepseek-v3", 37.6), ("deepseek-v2", 21.4), ("qwen3-30b-a3b", 3.35)):
        model = MODELS[name]
        table = model.vocab * model.d
        assert (cost.model_parameters(model, active=True) + table) / 1e9 == pytest.approx(said, abs=0.05)
    # Without experts nothing but tables is left out, and a tied one works.
    assert cost.model_parameters(LLAMA, active=True) == cost.model_parameters(LLAMA) - LLAMA.vocab * LLAMA.d
    tied = MODELS["gemma-2-9b"]
    assert cost.model_parameters(tied, active=True) == cost.model_parameters(tied)


def test_every_model_says_where_it_comes_from():
    assert all(model.source and model.name for model in MODELS.values())
    assert set(COUNTS) < set(MODELS) == set(cost.CONFIGS)
    with pytest.raises(KeyError, match="did you mean llama-3-8b"):
        MODELS["llama-3-8"]
    with pytest.raises(KeyError, match="got 'int3'"):
        cost.FORMATS["int3"]


def draw(rng):
    """A configuration of random sizes, of layers that the library has itself."""
    whole = lambda least, most: int(rng.integers(least, most + 1))  # noqa: E731
    h_kv, g, d, layers = whole(1, 3), whole(1, 3), whole(1, 24), whole(1, 4)
    sizes = {"h": g * h_kv, "h_kv": h_kv, "d_k": whole(1, 9), "d_v": whole(1, 9)}
    d_ff, experts = whole(1, 40), whole(1, 5)
    active = whole(1, experts)
    sparse = bool(rng.integers(2))
    inner = Experts(experts, active, d_ff, gated=False) if sparse else Dense(d_ff)
    vocab = whole(2, 50)
    model = Model("drawn", d, vocab, layers * (Layer(SelfAttention(**sizes), inner),), tied=bool(rng.integers(2)))
    return model, sizes, (experts, active) if sparse else None, d_ff


def test_200_random_models_are_the_sums_of_the_librarys_layers(rng):
    for _ in range(200):
        model, sizes, experts, d_ff = draw(rng)
        n, batch, layers, d = int(rng.integers(1, 70)), int(rng.integers(1, 4)), len(model.layers), model.d
        heads = cost.multihead_attention(n, d, batch=batch, **sizes)
        inner = (
            cost.feed_forward(n, d, d_ff=d_ff, batch=batch)
            if experts is None
            else cost.mixture_of_experts(n, d, *experts, d_ff=d_ff, batch=batch)
        )
        norms = (2 * layers + 1) * d
        outer = model.vocab * d * (1 if model.tied else 2)
        assert cost.model_parameters(model) == layers * (heads.parameters + inner.parameters) + norms + outer
        words = 2 * batch * n * d * model.vocab
        every = cost.model_forward(model, n, batch=batch, causal_half=False)
        assert every.matmul_flops == layers * (heads.matmul_flops + inner.matmul_flops) + words
        own = [s for s in every.steps if s.name not in ("norms", "embedding", "head")]
        assert sum(s.other_flops for s in own) == layers * (heads.other_flops + inner.other_flops)
        assert sum(s.transcendentals for s in own) == layers * (heads.transcendentals + inner.transcendentals)
        half = cost.model_forward(model, n, batch=batch)
        hidden = batch * layers * sizes["h"] * (n * n - cost.visible_pairs(n))
        assert every.matmul_flops - half.matmul_flops == 2 * hidden * (sizes["d_k"] + sizes["d_v"])
        # One token with a cache, and all of them together: the layer's own sums.
        t = int(rng.integers(1, 90))
        one = cost.model_forward(model, 1, past=t - 1, batch=batch)
        step = cost.decode_step(t, d, batch=batch, **sizes)
        expert = cost.feed_forward(1, d, d_ff=d_ff, batch=batch)
        if experts is not None:
            expert = cost.mixture_of_experts(1, d, *experts, d_ff=d_ff, batch=batch)
        assert one.matmul_flops == layers * (step.matmul_flops + expert.matmul_flops) + words // n
        # Two chunks are one pass.
        cut = int(rng.integers(0, n))
        second = cost.model_forward(model, n - cut, past=cut, batch=batch).matmul_flops
        first = cost.model_forward(model, cut, batch=batch).matmul_flops if cut else 0
        assert first + second == half.matmul_flops
        # The cache is that of kv_cache, for the whole and for each device's heads.
        kept = cost.model_cache(model, t, batch=batch).needed
        assert kept == cost.kv_cache(t, **{k: sizes[k] for k in ("d_k", "d_v", "h_kv")}, layers=layers, batch=batch)


def test_parameters_are_those_of_arrays_that_are_drawn(rng):
    for _ in range(12):
        model, sizes, experts, d_ff = draw(rng)
        key = jax.random.key(0)
        heads = attnlib.init_multihead_attention(key, model.d, **sizes)
        inner = attnlib.init_feed_forward(key, model.d, d_ff=d_ff)
        count = lambda tree: sum(x.size for x in jax.tree.leaves(tree))  # noqa: E731
        one = count(inner) if experts is None else experts[0] * (count(inner) + model.d)
        norms, outer = (2 * len(model.layers) + 1) * model.d, model.vocab * model.d * (1 if model.tied else 2)
        assert cost.model_parameters(model) == len(model.layers) * (count(heads) + one) + norms + outer


def test_a_state_space_is_the_librarys_mamba():
    model = Model("m", 32, 10, (Layer(StateSpace(64, 16, rank=2), norms=1),), head=False)
    layer = cost.mamba(20, 32)
    table, norms = 10 * 32, 2 * 32
    assert cost.model_parameters(model) == layer.parameters + table + norms
    assert cost.model_forward(model, 20).matmul_flops == layer.matmul_flops
    assert cost.model_cache(model, 5).needed == 4 * 64 * 16 + 2 * 3 * 64 == cost.model_cache(model, 500).needed


def test_the_list_of_matrices_is_the_count():
    for model in MODELS.values():
        weights = cost.model_weights(model)
        rest = cost.model_parameters(model) - sum(count * x.numbers for x, count in weights)
        assert 0 < rest < 0.01 * cost.model_parameters(model)


# --- caches: theory, and what calculators get wrong ---


@pytest.mark.parametrize(
    ("name", "a_token", "t", "gib"),
    [("gpt-3", 4_718_592, 2048, 9), ("llama-2-7b", 524_288, 4096, 2), ("llama-3-8b", 131_072, 131_072, 16)],
)
def test_cache_sizes(name, a_token, t, gib):
    assert cost.model_cache(MODELS[name], 1).needed == a_token
    assert cost.model_cache(MODELS[name], t).needed == gib * 2**30


def test_a_hybrid_of_windows():
    """Gemma 3 27B at 128k: 10 layers keep all, 52 the last 1,024; as if all kept everything it would be 62 GiB."""
    kept = cost.model_cache(GEMMA, 131_072)
    full = cost.kv_cache(131_072, 128, h_kv=16, layers=10)
    near = cost.kv_cache(1024, 128, h_kv=16, layers=52)
    assert [(kind.layers, kind.needed) for kind in kept.kinds] == [(52, near), (10, full)]
    assert kept.needed == full + near < cost.kv_cache(131_072, 128, h_kv=16, layers=62) / 5.9
    # And so do its FLOPs: a window's pairs do not grow.
    far, nearer = (cost.model_forward(GEMMA, 1, past=t)["attention, window 1,024"] for t in (131_071, 2047))
    assert far == nearer


def test_a_latent_is_kept_once():
    """DeepSeek-V3: 512 + 64 numbers a layer and token; with the factor 2, or as 128 heads, it would be more."""
    assert cost.model_cache(V3, 1).needed == 61 * (512 + 64) * 2 == 70_272
    heads = cost.kv_cache(1, 192, d_v=128, h_kv=128, layers=61)
    assert heads / cost.model_cache(V3, 1).needed == pytest.approx(71.1, abs=0.1)
    # On eight devices each has all of it.
    assert cost.model_cache(V3, 1, devices=8).needed == 70_272


def test_a_latent_is_absorbed_where_that_takes_less():
    mixer = next(iter(V3.mixers))
    one, t = cost.model_forward(V3, 1, past=8191), 8192
    assert one["attention"].matmul_flops == 61 * 2 * t * mixer.h * (2 * 512 + 64)
    many = cost.model_forward(V3, 8192)
    assert many["attention"].matmul_flops == 61 * 2 * cost.visible_pairs(8192) * mixer.h * (192 + 128)
    # Expanding takes as many FLOPs a position, either way.
    assert many["projections"].matmul_flops == 8192 * one["projections"].matmul_flops


def test_an_indexer_is_counted():
    """Top-k attention is not linear: the indexer meets every pair, and at 131,072 it is most of attention."""
    n = 131_072
    dense, sparse = (cost.model_forward(model, n) for model in (V3, V32))
    index = sparse["index"].matmul_flops
    assert index == 61 * 2 * 64 * 128 * cost.visible_pairs(n)
    met = cost.window_pairs(n, 2048)
    assert sparse["attention"].matmul_flops == 61 * 2 * 128 * (192 + 128) * met
    assert index > 6 * sparse["attention"].matmul_flops
    assert dense["attention"].matmul_flops / (index + sparse["attention"].matmul_flops) == pytest.approx(4.3, abs=0.1)
    assert cost.model_cache(V32, 1).needed == 61 * (512 + 64 + 128) * 2
    # Four times the length, sixteen times the pairs.
    assert cost.model_forward(V32, 4 * n)["index"].matmul_flops / index == pytest.approx(16, rel=1e-4)


def test_a_linear_hybrid():
    """Qwen3-Next: a cache in every fourth layer, and a state that no length changes."""
    short, long = (cost.model_cache(NEXT, t) for t in (1, 262_144))
    states = 36 * (4 * 32 * 128 * 128 + 2 * 3 * (2 * 16 * 128 + 32 * 128))
    assert [kind.state for kind in long.kinds] == [states, 0]
    assert long.needed == states + cost.kv_cache(262_144, 256, h_kv=2, layers=12)
    assert short.kinds[0] == long.kinds[0]
    assert long.needed < cost.kv_cache(262_144, 256, h_kv=2, layers=48) / 3.9


def test_flops_of_experts():
    """Qwen3-30B-A3B computes a tenth of what its parameters say, and a token's 6ND is that of those at work."""
    model = MODELS["qwen3-30b-a3b"]
    counts = cost.training_conventions(model, 4096)
    assert counts["6ND"] / counts["6ND, active"] == pytest.approx(10.04, abs=0.01)
    assert counts["6ND, active"] / 1e9 == pytest.approx(18.25, abs=0.01)
    assert cost.model_forward(model, 1)["experts"].matmul_flops == 48 * 2 * (8 * 3 * 2048 * 768 + 2048 * 128)


def test_fewer_heads_than_devices():
    """8 heads of keys on 16 devices: each twice, so that a device keeps an eighth and not a sixteenth."""
    whole = cost.model_cache(LLAMA, 1000).needed
    assert [cost.model_cache(LLAMA, 1000, devices=p).needed * p / whole for p in (1, 2, 8, 16, 32)] == [1, 1, 1, 2, 4]
    share = cost.model_share(LLAMA, 16)
    assert next(iter(share.mixers)).h == 2
    # Where heads do not come out even, the device with most: 3 of 8, each with its 4 queries.
    mixer = next(iter(cost.model_share(LLAMA, 3).mixers))
    assert (mixer.h, mixer.heads) == (12, 3)
    assert cost.model_share(LLAMA, 1) is LLAMA
    even = cost.model_parameters(cost.model_share(LLAMA70, 4))
    assert even == pytest.approx(cost.model_parameters(LLAMA70) / 4, rel=1e-4)


def test_formats_count_their_scales():
    numbers = 32 * 2 * 8 * 128
    found = {name: cost.model_cache(LLAMA, 1, cache=name).needed for name in cost.FORMATS}
    assert found == {
        "float32": 4 * numbers,
        "bfloat16": 2 * numbers,
        "float16": 2 * numbers,
        "fp8": numbers,
        "int8": numbers + numbers // 128 * 2,
        "int4": numbers // 2 + numbers // 32 * 4,
        "mxfp4": numbers // 2 + numbers // 32,
    }
    assert cost.model_cache(LLAMA, 1, cache="float8_e4m3fn") == cost.model_cache(LLAMA, 1, cache="fp8")
    # 33 numbers are two groups of 32, the second of one number.
    assert cost.FORMATS["int4"].vector(33) == -(-(33 * 4 + 2 * 32) // 8)


def test_pages():
    kept = cost.model_cache(LLAMA, 1000, batch=3, page=256)
    assert kept.needed == 3 * 1000 * 131_072
    assert kept.allocated == 3 * 1024 * 131_072
    assert cost.model_cache(GEMMA, 5000, page=100).kinds[0].allocated == cost.kv_cache(1100, 128, h_kv=16, layers=52)


def test_shared_keys_and_cross_attention():
    own, shared = SelfAttention(4, 8), SelfAttention(4, 8, shared=True)
    a, b = (Model("m", 16, 10, (Layer(own), Layer(x)), head=False) for x in (own, shared))
    assert cost.model_parameters(a) - cost.model_parameters(b) == 2 * 16 * 32
    assert cost.model_cache(a, 7).needed == 2 * cost.model_cache(b, 7).needed
    across = Model("m", 16, 10, (Layer(own, cross=SelfAttention(4, 8, memory=100)),), head=False)
    assert cost.model_cache(across, 7).needed == 2 * 2 * 4 * 8 * (7 + 100)
    first, later = cost.model_forward(across, 1), cost.model_forward(across, 1, past=6)
    # Keys and values of the memory are made once.
    extra = first["projections, cross 100"].matmul_flops - later["projections, cross 100"].matmul_flops
    assert extra == 2 * 100 * 2 * 16 * 32
    assert later["attention, cross 100"].matmul_flops == 4 * 4 * 8 * 100


def test_an_encoder_is_counted_once():
    """T5: one table of words for both sides; the source is read once, its keys and values are kept."""
    model = cost.with_memory(T5, 100)
    table = model.vocab * model.d
    encoder = cost.model_parameters(model.encoder) - table
    decoder = cost.model_parameters(replace(model, encoder=None))
    assert cost.model_parameters(model) == encoder + decoder
    first, later = cost.model_forward(model, 1), cost.model_forward(model, 1, past=6)
    read = cost.model_forward(model.encoder, 100)
    made = 12 * 100 * 2 * 2 * 768 * 768
    assert first.matmul_flops - read.matmul_flops - made == later.matmul_flops - 12 * 4 * 768 * 6
    assert [x.name for x in first.steps[:2]] == ["encoder, embedding", "encoder, projections"]
    kept = cost.model_cache(model, 7)
    assert [(x.title, x.needed, x.state) for x in kept.kinds] == [
        ("full", 12 * 2 * 768 * 2 * 7, 0),
        ("cross 100", 12 * 2 * 768 * 2 * 100, 12 * 2 * 768 * 2 * 100),
    ]
    # Half the heads on each of two devices, of both sides.
    assert cost.model_cache(model, 7, devices=2).needed == kept.needed // 2
    assert cost.model_parameters(cost.model_share(model, 2)) == pytest.approx(
        cost.model_parameters(model) / 2, rel=1e-3
    )
    # Version 1.1: gated, with a head of its own.
    fields = cost.CONFIGS["t5-base"] | {"d_ff": 2048, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    assert cost.model_parameters(cost.read_config(fields)) == 247_577_856


def test_training_an_encoder():
    n = 64
    model = cost.with_memory(T5, 64)
    step = cost.model_training(model, n, recompute="scores")
    pairs = 12 * 2 * 768 * (2 * 64 * 64 + cost.visible_pairs(64))
    assert step["recomputation"].matmul_flops == pairs
    both = cost.activation_memory(model, n)
    alone = cost.activation_memory(replace(model, encoder=None), n)
    assert both == alone + cost.activation_memory(model.encoder, 64)
    # With a source as long as the text nothing is named after its length.
    assert not any("source" in name for name in cost.training_differences(model, n))
    assert any("source" in name for name in cost.training_differences(T5, n))


# --- training ---


def test_training_of_gpt3_and_llama_2():
    """3.14e23 (Brown et al., table D.1) for 300 billion tokens; 6 · 6.74e9 · 2e12 for Llama 2, 7B."""
    counts = cost.training_conventions(GPT3, 2048, tokens=300 * 10**9)
    assert counts["6ND"] == pytest.approx(3.14e23, rel=0.02)
    assert counts["causal half"] == pytest.approx(3.14e23, rel=0.02)
    llama = cost.training_conventions(MODELS["llama-2-7b"], 4096, tokens=2 * 10**12)
    assert llama["6ND"] == pytest.approx(8.09e22, rel=0.02)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("start", ["6ND", "PaLM"])
def test_differences_add_up(name, start):
    n = 512
    counts = cost.training_conventions(MODELS[name], n, tokens=n)
    found = cost.training_differences(MODELS[name], n, tokens=n, start=start)
    assert next(iter(found)) == start
    assert sum(found.values()) == counts["causal half"]
    assert found[start] == counts[start]


def test_what_is_computed_twice():
    n = 64
    forward = cost.model_forward(LLAMA, n).matmul_flops
    scores = 32 * 2 * 32 * 128 * cost.visible_pairs(n)
    head = 2 * n * LLAMA.d * LLAMA.vocab
    found = {x: cost.model_training(LLAMA, n, recompute=x) for x in ("nothing", "scores", "layers")}
    again = {x: step["recomputation"].matmul_flops for x, step in found.items()}
    assert again == {"nothing": 0, "scores": scores, "layers": scores + forward - head}
    assert found["nothing"].matmul_flops == 3 * forward


def test_activations_are_korthikantis():
    """sbh(34 + 5as/h) bytes a layer (equation 2), without scores 34sbh, and of recomputed layers 2sbh."""
    layer = Layer(SelfAttention(8, 16), Dense(512))
    n, batch, d = 96, 3, 128
    one, two = (Model("m", d, 10, k * (layer,), head=False) for k in (1, 2))

    def kept(**options):
        a, b = (cost.activation_memory(m, n, batch=batch, **options) for m in (one, two))
        return (b - a) / (n * batch * d)

    assert kept(recompute="nothing", dropout=True) == 34 + 5 * 8 * n / d
    assert kept(recompute="scores", dropout=True) == 34
    assert kept(recompute="layers") == 2


def test_sixteen_bytes_a_parameter():
    assert sum(cost.training_state(LLAMA).values()) == 16 * cost.model_parameters(LLAMA)
    plain = cost.training_state(LLAMA, dtype="float32", moments=0)
    assert plain["optimizer"] == 0
    assert plain["weights"] == 4 * cost.model_parameters(LLAMA)


# --- on devices ---


def test_llama_70b_on_four_h100s():
    """64k of context for 16 sequences: not in 16 bits; the cache is most, and fp8 for both is enough."""
    found = cost.serving(LLAMA70, 65_536, H100, batch=16, devices=4)
    assert not found.fits
    assert found.cache.allocated == cost.kv_cache(65_536, 128, h_kv=2, layers=80, batch=16)
    assert found.cache.allocated > 2.4 * found.weights
    others = cost.alternatives(found)
    assert not others["weights in int4"].fits
    assert not others["cache in fp8"].fits
    assert others["both in fp8"].fits
    assert others["cache in int4"].fits


def test_decoding_waits_for_the_bytes_of_weights_and_cache():
    found = cost.serving(LLAMA, 8192, H100)
    kept = cost.model_cache(LLAMA, 8192).needed
    # The table is looked up; the rest of the weights and the cache are read.
    read = found.weights - 2 * LLAMA.vocab * LLAMA.d + kept
    assert found.decode.seconds == pytest.approx(read / 3.35e12, rel=0.01)
    assert found.decode["attention"].bound == found.decode["feed-forward"].bound == "bandwidth"
    assert found.prefill["feed-forward"].bound == "matmul"
    assert found.sent == 0
    # On four: sums of two halves of 32 layers and of the embedding, and each its quarter of the scores.
    assert cost.serving(LLAMA, 8192, H100, devices=4).sent == 2 * (2 * 3 * 65 * 4096 + 3 * LLAMA.vocab) // 4


@pytest.mark.parametrize("name", ["llama-3-8b", "gemma-2-9b", "deepseek-v2-lite", "gpt-oss-20b"])
def test_the_inverse_is_the_largest_that_fits(name):
    options = {"devices": 2, "cache": "fp8"}
    longest = cost.longest_context(MODELS[name], H100, batch=8, **options)
    fits = lambda t, batch=8: cost.serving(MODELS[name], t, H100, batch=batch, **options).fits  # noqa: E731
    assert fits(longest)
    assert not fits(longest + 1)
    most = cost.largest_batch(MODELS[name], 32_768, H100, **options)
    assert fits(32_768, most)
    assert not fits(32_768, most + 1)


def test_what_never_fits_and_what_always_does():
    assert cost.longest_context(LLAMA70, H100) == cost.largest_batch(LLAMA70, 1, H100) == 0
    mamba = Model("m", 32, 10, (Layer(StateSpace(64, 16, rank=2), norms=1),))
    assert cost.longest_context(mamba, H100) is None
    encoder = cost.serving(BERT, 512, T4, dtype="float16")
    assert encoder.decode is None
    assert encoder.cache.needed == 0
    assert "cache in fp8" not in cost.alternatives(encoder)


def test_utilisation():
    """The same run by three conventions; PaLM's appendix B is ours with every pair, but for tables and norms."""
    ours, palm = (cost.flops_utilisation(GPT3, 2048, 100, H100, convention=x) for x in ("every pair", "PaLM"))
    assert ours / palm == pytest.approx(1, rel=1e-3)
    assert cost.flops_utilisation(GPT3, 2048, 100, H100, devices=4) == pytest.approx(ours / 4, rel=0.02)


# --- batching ---


def test_layouts(rng):
    for _ in range(50):
        lengths = tuple(int(x) for x in rng.integers(1, 300, rng.integers(1, 40)))
        batch = int(rng.integers(1, 9))
        plain, sorted_ = (cost.padded(lengths, batch, by_length=x) for x in (False, True))
        places = sum(max(lengths[i : i + batch]) * len(lengths[i : i + batch]) for i in range(0, len(lengths), batch))
        assert plain.places == places
        assert sum(lengths) == plain.tokens <= sorted_.places
        assert len(lengths) % batch or sorted_.places <= plain.places
        tight = cost.packed(lengths, 300)
        assert tight.pairs == tight.met == sum(x * x for x in lengths)
        assert tight.places >= sum(lengths)
        rows = tight.shapes[0][0]
        assert rows <= np.ceil(sum(lengths) / 300) * 11 / 9 + 1 + len(lengths) * 0.2
        assert cost.packed(lengths, 300, segments=False).pairs == rows * 300**2


def test_sorting_may_cost_places_where_a_batch_is_short():
    plain, sorted_ = (cost.padded((10, 10, 1), 2, by_length=x) for x in (False, True))
    assert (plain.places, sorted_.places) == (21, 30)


def test_what_chapters_say_does_not_fit():
    llama, oss = MODELS["llama-3.1-8b"], MODELS["gpt-oss-120b"]
    for t, batch in ((8192, 64), (32_768, 16), (131_072, 4)):
        assert not cost.serving(llama, t, H100, batch=batch).fits
        if t > 8192:
            assert not cost.serving(llama, t, H100, batch=batch, weights="fp8").fits
            assert cost.serving(llama, t, H100, batch=batch, cache="fp8").fits
    for way in ("tensor", "tensor=8,data=2"):
        assert not cost.serving(V3, 2**17, H100, batch=16, devices=16, parallel=way, weights="fp8").fits
    assert cost.serving(oss, oss.context, H100, weights="mxfp4").fits
    assert not cost.serving(oss, 1, H100).fits
    # A step of a mixture, and of a model with a table of embeddings, reads less than all weights.
    for model, devices in ((oss, 8), (llama, 1)):
        found = cost.serving(model, 1, H100, devices=devices)
        assert found.decode.seconds < found.weights / H100.bandwidth


def test_chunks_are_one_prefill():
    for model in (LLAMA, GEMMA, V32, NEXT, OSS):
        whole = cost.model_forward(model, 1000, logits=1)
        found = cost.chunked_prefill(model, 1000, 300)
        assert found.chunks == 4
        assert found.bytes > whole.bytes_read + whole.bytes_written
        # A latent is expanded anew in each chunk, or absorbed: more FLOPs, never fewer.
        assert found.flops == whole.matmul_flops or (model is V32 and found.flops > whole.matmul_flops)


def test_speculation():
    """With all accepted k + 1 tokens come of a round, with none one."""
    draft = MODELS["llama-3.2-1b"]
    all_, none = (cost.speculative_decoding(LLAMA70, draft, 100, 4, alpha) for alpha in (1, 0))
    assert (all_.tokens, none.tokens) == (5, 1)
    assert none.speed < 1 < all_.speed
    assert cost.speculative_decoding(LLAMA70, draft, 100, 4, 0.5).tokens == (1 - 0.5**5) / 0.5


def test_shared_prefixes():
    found = cost.shared_prefix(LLAMA, 4096, 100, 8, page=64)
    assert found.separate_cache - found.cache == 7 * cost.kv_cache(4096, 128, h_kv=8, layers=32)
    once = cost.model_forward(LLAMA, 4096, logits=1).matmul_flops
    words = 2 * LLAMA.d * LLAMA.vocab
    assert found.separate_flops - found.flops == 7 * (once - words)
    # Of a hybrid, only its full layers share.
    hybrid = cost.shared_prefix(GEMMA, 4096, 100, 8, page=64)
    assert hybrid.separate_cache - hybrid.cache == 7 * cost.kv_cache(4096, 128, h_kv=16, layers=10)
    assert (
        cost.shared_prefix(LLAMA, 10, 100, 8, page=64).cache
        == cost.model_cache(LLAMA, 110, batch=8, page=64).allocated
    )


# --- config.json ---


def test_a_config_may_say_more_than_is_read():
    fields = cost.CONFIGS["gemma-2-9b"] | {"architectures": ["Gemma2ForCausalLM"], "rope_theta": 10000.0}
    assert replace(cost.read_config(fields), name="", source="") == replace(MODELS["gemma-2-9b"], name="", source="")
    types = ["full_attention", "sliding_attention"] * 21
    turned = cost.read_config(fields | {"layer_types": types})
    assert turned.layers[0].mixer.window is None
    assert cost.model_parameters(turned) == COUNTS["gemma-2-9b"]
    text = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024}
    model = cost.read_config({"model_type": "gemma3", "text_config": text}, name="Gemma 3 4B")
    assert model.name == "Gemma 3 4B"
    assert round(cost.model_parameters(model) / 1e9, 2) == 3.88
    assert cost.read_config(json.loads(json.dumps(cost.CONFIGS["mistral-7b"]))).layers[0].mixer.window == 4096


def config(argument, expected, got, drop=(), of="llama-2-7b", **fields):
    changed = {k: v for k, v in (cost.CONFIGS[of] | fields).items() if k not in drop}
    return (argument, expected, got, cost.read_config, (changed,), {})


# --- bad input ---

WHOLE = "an integer of at least 1"


def bad(argument, expected, got, fn, *args, **kwargs):
    return (argument, expected, got, fn, args, kwargs)


def every(fn, *args, whole=(), flags=(), formats=(), dtype=None, **more):
    """What each function refuses in the same words: no model, sizes below 1, flags that are none, formats."""
    kwargs = more
    rows = [bad("model", "a Model", "int", fn, 3, *args[1:], **kwargs)]
    rows += [bad(a, WHOLE, "0", fn, *args, **(kwargs | {a: 0})) for a in whole]
    rows += [bad(a, "True or False", "1", fn, *args, **(kwargs | {a: 1})) for a in flags]
    rows += [bad(a, "one of float32, bfloat16", "'int5'", fn, *args, **(kwargs | {a: "int5"})) for a in formats]
    if dtype:
        rows.append(bad("dtype", dtype, "int5", fn, *args, **(kwargs | {"dtype": "int5"})))
    return rows


SERVING = {"whole": ("devices", "page", "chunk"), "formats": ("weights", "cache"), "dtype": "one of"}
RECOMPUTE = "one of nothing, scores, layers"
BAD = [
    *every(cost.model_weights, LLAMA),
    *every(cost.model_parameters, LLAMA, flags=("active",)),
    *every(cost.model_share, LLAMA, devices=2, whole=("devices",)),
    *every(cost.model_cache, LLAMA, t=5, whole=("t", "batch", "page", "devices"), formats=("cache",)),
    bad("model", "one that is causal", "BERT-base", cost.model_cache, BERT, 5),
    *every(cost.with_memory, T5, m=5, whole=("m",)),
    bad("model", "one with cross-attention", "Llama 3 8B", cost.with_memory, LLAMA, 5),
    *every(
        *(cost.model_forward, LLAMA),
        n=5,
        whole=("n", "batch", "logits"),
        flags=("causal_half",),
        formats=("weights", "cache"),
        dtype="one of float64",
    ),
    bad("past", "an integer of at least 0", "-1", cost.model_forward, LLAMA, 5, past=-1),
    bad("past", "0 for BERT-base", "3", cost.model_forward, BERT, 5, past=3),
    bad("logits", "at most n = 5", "6", cost.model_forward, LLAMA, 5, logits=6),
    *every(cost.model_training, LLAMA, n=5, whole=("n", "batch"), flags=("causal_half",)),
    bad("recompute", RECOMPUTE, "'all'", cost.model_training, LLAMA, 5, recompute="all"),
    *every(cost.training_conventions, LLAMA, n=5, whole=("n", "tokens")),
    *every(cost.training_differences, LLAMA, n=5, whole=("n", "tokens")),
    bad("start", "6ND or PaLM", "'7ND'", cost.training_differences, LLAMA, 5, start="7ND"),
    *every(cost.activation_memory, LLAMA, n=5, whole=("n", "batch"), flags=("dropout",), dtype="one of float64"),
    bad("recompute", RECOMPUTE, "'all'", cost.activation_memory, LLAMA, 5, recompute="all"),
    *every(cost.training_state, LLAMA, flags=("master",), dtype="one of float64"),
    bad("moments", "an integer of at least 0", "-1", cost.training_state, LLAMA, moments=-1),
    *every(
        cost.serving, LLAMA, context=5, device=H100, **SERVING | {"whole": ("context", "batch", *SERVING["whole"])}
    ),
    bad("device", "a Device", "str", cost.serving, LLAMA, 5, "H100"),
    bad("usable", "above 0 and at most 1", "1.5", cost.serving, LLAMA, 5, H100, usable=1.5),
    bad("dtype", "one of float16, float32 on T4", "bfloat16", cost.serving, LLAMA, 5, T4),
    *every(cost.longest_context, LLAMA, device=H100, **SERVING | {"whole": ("batch", *SERVING["whole"])}),
    bad("device", "a Device", "str", cost.longest_context, LLAMA, "H100"),
    bad("usable", "above 0 and at most 1", "0", cost.longest_context, LLAMA, H100, usable=0),
    bad("model", "one that is causal", "BERT-base", cost.longest_context, BERT, H100),
    *every(cost.largest_batch, LLAMA, context=5, device=H100, **SERVING | {"whole": ("context", *SERVING["whole"])}),
    bad("device", "a Device", "str", cost.largest_batch, LLAMA, 5, "H100"),
    bad("usable", "above 0 and at most 1", "nan", cost.largest_batch, LLAMA, 5, H100, usable=float("nan")),
    bad("model", "one that is causal", "BERT-base", cost.largest_batch, BERT, 5, H100),
    bad("found", "a Serving", "int", cost.alternatives, 3),
    *every(
        *(cost.flops_utilisation, LLAMA),
        n=5,
        tokens_per_second=1.0,
        device=H100,
        whole=("n", "devices"),
        dtype="one of",
    ),
    bad("device", "a Device", "str", cost.flops_utilisation, LLAMA, 5, 1.0, "H100"),
    bad("tokens_per_second", "a number above 0", "0", cost.flops_utilisation, LLAMA, 5, 0, H100),
    bad("convention", "one of 6ND", "'7ND'", cost.flops_utilisation, LLAMA, 5, 1.0, H100, convention="7ND"),
    bad("lengths", "integers of at least 1", "()", cost.padded, (), 2),
    bad("lengths", "integers of at least 1", "0", cost.padded, (3, 0), 2),
    bad("batch", WHOLE, "0", cost.padded, (3,), 0),
    bad("multiple", WHOLE, "0", cost.padded, (3,), 2, multiple=0),
    bad("by_length", "True or False", "1", cost.padded, (3,), 2, by_length=1),
    bad("lengths", "integers of at least 1", "'abc'", cost.packed, "abc", 2),
    bad("width", WHOLE, "0", cost.packed, (3,), 0),
    bad("width", "at least the longest, 3", "2", cost.packed, (3,), 2),
    bad("segments", "True or False", "1", cost.packed, (3,), 4, segments=1),
    *every(
        *(cost.gradient_accumulation, LLAMA),
        n=5,
        batch=4,
        micro=2,
        whole=("n", "batch", "micro"),
        dtype="one of float64",
    ),
    bad("micro", "a divisor of batch = 4", "3", cost.gradient_accumulation, LLAMA, 5, 4, 3),
    bad("recompute", RECOMPUTE, "'all'", cost.gradient_accumulation, LLAMA, 5, 4, 2, recompute="all"),
    *every(
        *(cost.chunked_prefill, LLAMA),
        n=5,
        chunk=2,
        whole=("n", "chunk"),
        formats=("weights", "cache"),
        dtype="one of float64",
    ),
    bad("past", "an integer of at least 0", "-1", cost.chunked_prefill, LLAMA, 5, 2, past=-1),
    bad("model", "one that is causal", "BERT-base", cost.chunked_prefill, BERT, 5, 2),
    *every(
        *(cost.speculative_decoding, LLAMA),
        draft=LLAMA,
        t=5,
        proposed=2,
        accepted=0.5,
        whole=("t", "proposed", "batch"),
        formats=("weights", "cache"),
    ),
    bad("draft", "a Model", "int", cost.speculative_decoding, LLAMA, 3, 5, 2, 0.5),
    bad("draft", "one that is causal", "BERT-base", cost.speculative_decoding, LLAMA, BERT, 5, 2, 0.5),
    bad("accepted", "a number from 0 to 1", "1.5", cost.speculative_decoding, LLAMA, LLAMA, 5, 2, 1.5),
    *every(
        *(cost.shared_prefix, LLAMA),
        prefix=5,
        own=2,
        batch=3,
        whole=("prefix", "own", "batch", "page"),
        formats=("cache",),
    ),
    bad("model", "one that is causal", "BERT-base", cost.shared_prefix, BERT, 5, 2, 3),
    bad("config", "a mapping", "list", cost.read_config, []),
    bad("name", "a string", "3", cost.read_config, cost.CONFIGS["gpt-2"], name=3),
    config("model_type", "one of bert", "no such field", drop=("model_type",)),
    config("model_type", "one of bert", "'lama'; did you mean llama", model_type="lama"),
    config("hidden_size", WHOLE, "no such field", drop=("hidden_size",)),
    config("num_hidden_layers", WHOLE, "'many'", num_hidden_layers="many"),
    config("num_attention_heads", "a divisor of hidden_size = 4096", "33", num_attention_heads=33),
    config("h_kv", "a divisor of h = 32", "5", num_key_value_heads=5),
    config("tie_word_embeddings", "true or false", "1", tie_word_embeddings=1),
    config("n_head", "a divisor of n_embd = 768", "7", of="gpt-2", n_head=7),
    config("head_dim", WHOLE, "no such field", of="gemma-2-9b", drop=("head_dim",)),
    config(
        "layer_types", "a list of 42 kinds", "['full_attention']", of="gemma-2-9b", layer_types=["full_attention"]
    ),
    config("layer_types", "full_attention or sliding_attention", "'x'", of="gemma-2-9b", layer_types=42 * ["x"]),
    config("text_config", "a mapping", "None", of="gemma-3-27b", model_type="gemma3"),
    config("mlp_only_layers", "a list", "3", of="qwen3-30b-a3b", mlp_only_layers=3),
    config("active", "at most experts = 8", "9", of="mixtral-8x7b", num_experts_per_tok=9),
    config("kv_lora_rank", WHOLE, "no such field", of="deepseek-v3", drop=("kv_lora_rank",)),
]

CLASSES = [
    (lambda: SelfAttention(0, 8), "h: expected an integer of at least 1, got 0"),
    (lambda: SelfAttention(4, 8, h_kv=3), "h_kv: expected a divisor of h = 4, got 3"),
    (lambda: SelfAttention(4, 8, window=0), "window: expected an integer of at least 1, got 0"),
    (lambda: SelfAttention(4, 8, bias=1), "bias: expected True or False, got 1"),
    (lambda: SelfAttention(4, 8, index=3), "index: expected an Indexer or None, got 3"),
    (lambda: SelfAttention(4, 8, window=3, index=Indexer(1, 2, 3)), "index: expected None with a window"),
    (lambda: SelfAttention(4, 8, memory=3, shared=True), "memory: expected 0 with a window or shared keys, got 3"),
    (lambda: Indexer(1, 2, 0), "top: expected an integer of at least 1, got 0"),
    (lambda: LatentAttention(1, 2, 3, 4, rank=0), "rank: expected an integer of at least 1, got 0"),
    (lambda: LatentAttention(1, 2, 3, 4, rank=1, index=3), "index: expected an Indexer or None, got 3"),
    (lambda: StateAttention(4, 8, h_k=3), "h_k: expected a divisor of h = 4, got 3"),
    (lambda: StateSpace(4, 0, rank=1), "states: expected an integer of at least 1, got 0"),
    (lambda: Dense(0), "d_ff: expected an integer of at least 1, got 0"),
    (lambda: Experts(2, 3, 4), "active: expected at most experts = 2, got 3"),
    (lambda: Experts(2, 1, 4, shared_gate=True), "shared_gate: expected False without shared_d_ff, got True"),
    (lambda: Layer(3), "mixer: expected attention or a state, got 3"),
    (lambda: Layer(SelfAttention(1, 1), 3), "feed_forward: expected Dense, Experts or None, got 3"),
    (lambda: Layer(SelfAttention(1, 1), cross=SelfAttention(1, 1)), "cross: expected SelfAttention with memory"),
    (lambda: Model("m", 1, 1, ()), "layers: expected a tuple of Layer, got ()"),
    (lambda: Model("m", 1, 1, LLAMA.layers, norm="l2"), "norm: expected 'rms' or 'layer', got 'l2'"),
    (lambda: Model("m", 1, 1, LLAMA.layers, encoder=LLAMA), "encoder: expected a Model that is not causal, or None"),
    (lambda: Model("m", 1, 1, LLAMA.layers, encoder=BERT), "encoder: expected cross-attention to one memory, got []"),
    (
        lambda: Model("m", 1, 1, V3.layers, relative=2),
        "relative: expected 0 without softmax attention in heads, got 2",
    ),
    (lambda: cost.Format("x", 0), "bits: expected an integer of at least 1, got 0"),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad[3].__name__}-{bad[0]}-{bad[2]}"[:60])
def test_bad_input(refuses, bad):
    argument, expected, got, fn, args, kwargs = bad
    refuses(argument, expected, got, fn, *args, **kwargs)


@pytest.mark.parametrize("made", CLASSES, ids=lambda made: made[1].split(",")[0])
def test_bad_classes(untyped, made):
    with pytest.raises(ValueError, match="expected") as error:
        made[0]()
    assert made[1] in str(error.value)
