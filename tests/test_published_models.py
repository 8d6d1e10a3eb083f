"""Whole models against the modules of Hugging Face Transformers: parameters, and FLOPs by torch's counter.

Modules are built from the same `config.json` without weights (the meta device), or small ones with random weights.
"""

import warnings

import pytest

from attnlib import cost
from attnlib.cost import CONFIGS, MODELS

pytestmark = [pytest.mark.published, pytest.mark.filterwarnings("ignore")]


def build(fields, device, **options):
    """The module of these fields. Experts are looped over, and scores written: products that a counter sees."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    fields = dict(fields)
    family = fields.pop("model_type")
    config = AutoConfig.for_model(family, **fields)
    kinds = {"bert": AutoModel, "t5": AutoModelForSeq2SeqLM, "bart": AutoModelForSeq2SeqLM}
    kind = kinds.get(family, AutoModelForCausalLM)
    with warnings.catch_warnings(), torch.device(device):
        warnings.simplefilter("ignore")
        return kind.from_config(config, **options)


@pytest.mark.parametrize("name", MODELS)
def test_parameters(name):
    module = build(CONFIGS[name], "meta")
    # What corrects the scores of a router is no parameter of theirs, but is in the checkpoint.
    corrections = sum(b.numel() for key, b in module.named_buffers() if "score_correction" in key)
    assert cost.model_parameters(MODELS[name]) == sum(p.numel() for p in module.parameters()) + corrections


SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 50}
GROUPED = {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 64}
LATENT = {"kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 6, "q_lora_rank": 12}
MANY = {"num_experts_per_tok": 2, "moe_intermediate_size": 10}
SMALL = {
    "bert": {**SIZES, "intermediate_size": 48, "max_position_embeddings": 64, "type_vocab_size": 2},
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "vocab_size": 50, "n_positions": 64},
    "llama": {**GROUPED, "head_dim": 10, "attention_bias": True, "mlp_bias": True},
    "mistral": {**GROUPED, "sliding_window": 40},
    "mixtral": {**GROUPED, "num_local_experts": 5, "num_experts_per_tok": 2},
    "gemma": {**GROUPED, "head_dim": 12},
    "gemma2": {**GROUPED, "head_dim": 12, "sliding_window": 40},
    "gemma3_text": {**GROUPED, "head_dim": 12, "sliding_window": 40},
    "qwen2": GROUPED,
    "qwen3": {**GROUPED, "head_dim": 12},
    "qwen3_moe": {**GROUPED, **MANY, "head_dim": 12, "num_experts": 6},
    "deepseek_v2": {**GROUPED, **LATENT, **MANY, "n_routed_experts": 6, "n_shared_experts": 2}
    | {"first_k_dense_replace": 1, "num_key_value_heads": 4, "n_group": 1, "topk_group": 1},
    "deepseek_v3": {**GROUPED, **LATENT, **MANY, "n_routed_experts": 8, "n_shared_experts": 1}
    | {"first_k_dense_replace": 1, "num_key_value_heads": 4, "n_group": 2, "topk_group": 1},
    "gpt_oss": {**GROUPED, "head_dim": 12, "num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": 40},
}


SMALL_INDEX = {**SMALL["deepseek_v3"], "index_n_heads": 3, "index_head_dim": 8}
SMALL_NEXT = {
    **GROUPED,
    **MANY,
    "num_hidden_layers": 4,
    "head_dim": 12,
    "num_experts": 6,
    "shared_expert_intermediate_size": 7,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 10,
    "linear_value_head_dim": 6,
    "linear_conv_kernel_dim": 4,
    "full_attention_interval": 4,
}
BATCH = 2


def counted(fields, n, **inputs):
    """The model that is read, and torch's count of the module's products by operation, without its rotations'."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    options = {"attn_implementation": "eager"}
    if "experts_per_tok" in str(fields):
        options["experts_implementation"] = "eager"
    module = build(fields, "cpu", **options).eval()
    model = cost.read_config(fields)
    corrections = sum(b.numel() for key, b in module.named_buffers() if "score_correction" in key)
    assert cost.model_parameters(model) == sum(p.numel() for p in module.parameters()) + corrections
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.randint(0, 50, (BATCH, n)), **inputs)
    counts = counter.get_flop_counts()
    # Angles of the rotation are a product of theirs, of positions and frequencies.
    angles = sum(sum(v.values()) for key, v in counts.items() if key.endswith("rotary_emb"))
    convolutions = sum(v for key, v in counts["Global"].items() if "convolution" in str(key))
    return model, counter.get_total_flops() - angles - convolutions


@pytest.mark.parametrize("family", SMALL)
def test_parameters_and_flops_of_small_models(family):
    model, found = counted({"model_type": family, **SMALL[family]}, 24)
    assert found == cost.model_forward(model, 24, batch=BATCH, causal_half=False).matmul_flops


@pytest.mark.parametrize("top", [8, 24])
def test_an_indexer(top):
    """DeepSeek-V3.2: the indexer's products meet every pair, and one more weighs its heads, no product of ours.

    The module writes all scores and hides those that were not selected: 24 keys where we count `top`.
    """
    n = 24
    model, found = counted({"model_type": "deepseek_v32", **SMALL_INDEX, "index_topk": top}, n)
    ours = cost.model_forward(model, n, batch=BATCH, causal_half=False)
    layers, pairs = len(model.layers), BATCH * n * n
    assert ours["index"].matmul_flops == layers * 2 * pairs * 3 * 8
    weighed = layers * 2 * pairs * 3
    assert ours["index"].other_flops == pytest.approx(weighed, rel=0.2)
    mixer = model.layers[0].mixer
    hidden = layers * 2 * BATCH * n * (n - top) * mixer.h * (mixer.d_nope + mixer.d_rope + mixer.d_v)
    assert found == ours.matmul_flops + weighed + hidden


@pytest.mark.parametrize("n", [64, 192])
def test_a_gated_delta_rule(n):
    """Qwen3-Next: the products with the state are ours, 6 · d_k · d_v; a chunk of 64 positions adds its own pairs'.

    The module computes in chunks: scores of keys with keys and with queries, and values by the latter, all written.
    Its triangular system is no product to the counter.
    """
    model, found = counted({"model_type": "qwen3_next", **SMALL_NEXT}, n)
    ours = cost.model_forward(model, n, batch=BATCH, causal_half=False)
    (mixer, layers), *_ = model.mixers.items()
    chunk = 64
    inside = layers * BATCH * n * mixer.h * 2 * chunk * (2 * mixer.d_k + mixer.values)
    assert found == ours.matmul_flops + inside
    assert ours["state, state 10×6"].matmul_flops == layers * BATCH * n * mixer.h * 6 * 10 * 6


ENCODERS = {
    "t5": {"d_model": 32, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4, "d_kv": 10, "d_ff": 48}
    | {"vocab_size": 50},
    "t5 gated": {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 10, "d_ff": 48, "vocab_size": 50}
    | {"feed_forward_proj": "gated-gelu"},
    "bart": {"d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4}
    | {"decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 40, "vocab_size": 50}
    | {"max_position_embeddings": 64},
}


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_and_decoders(name):
    """A source of 17 positions, 24 that are written."""
    import torch

    m, n = 17, 24
    inputs = {"decoder_input_ids": torch.randint(0, 50, (BATCH, n))}
    model, found = counted({"model_type": name.split()[0], **ENCODERS[name]}, m, **inputs)
    ours = cost.model_forward(cost.with_memory(model, m), n, batch=BATCH, causal_half=False)
    assert found == ours.matmul_flops
