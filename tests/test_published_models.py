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
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    fields = dict(fields)
    family = fields.pop("model_type")
    config = AutoConfig.for_model(family, **fields)
    kind = AutoModel if family == "bert" else AutoModelForCausalLM
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


@pytest.mark.parametrize("family", SMALL)
def test_parameters_and_flops_of_small_models(family):
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    fields = {"model_type": family, **SMALL[family]}
    options = {"attn_implementation": "eager"}
    if "experts_per_tok" in str(fields):
        options["experts_implementation"] = "eager"
    module = build(fields, "cpu", **options).eval()
    model = cost.read_config(fields)
    corrections = sum(b.numel() for key, b in module.named_buffers() if "score_correction" in key)
    assert cost.model_parameters(model) == sum(p.numel() for p in module.parameters()) + corrections

    n, batch = 24, 2
    words = torch.randint(0, 50, (batch, n))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(words)
    counts = counter.get_flop_counts()
    # Angles of the rotation are a product of theirs, of positions and frequencies.
    angles = sum(sum(v.values()) for key, v in counts.items() if key.endswith("rotary_emb"))
    ours = cost.model_forward(model, n, batch=batch, causal_half=False).matmul_flops
    assert ours == counter.get_total_flops() - angles
