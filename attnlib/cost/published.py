"""Published models, each with its source, and what their `config.json` says. No JAX.

A model here is built from the fields of its `config.json`, by the reader that users call; where a paper came without
one, its table stands in the place. `COUNTS` has the number of parameters that its authors or their checkpoint give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from attnlib import _check
from attnlib.cost.formats import near
from attnlib.cost.models import (
    Dense,
    Experts,
    Indexer,
    LatentAttention,
    Layer,
    Mixer,
    Model,
    SelfAttention,
    StateAttention,
)

NAME = "cost.read_config"


class Fields:
    """Reads fields of a configuration: each error names the field, what was expected and what was given."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def whole(self, *names: str, default: int | None = None, least: int = 1) -> int:
        """Return the integer that stands under the first of these names that there is."""
        for name in names:
            if self.values.get(name) is not None:
                value = self.values[name]
                if not _check.whole(value, least):
                    raise ValueError(f"{NAME}: {name}: expected an integer of at least {least}, got {value!r}")
                return int(value)
        if default is None:
            raise ValueError(f"{NAME}: {names[0]}: expected an integer of at least {least}, got no such field")
        return default

    def maybe(self, *names: str) -> int | None:
        """Return the integer under one of these names, None without any."""
        return self.whole(*names) if any(self.values.get(name) is not None for name in names) else None

    def flag(self, name: str, default: bool) -> bool:
        """Return the bool that stands under this name."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ValueError(f"{NAME}: {name}: expected true or false, got {value!r}")
        return value

    def kinds(self, layers: int, kinds: Mapping[str, Any], otherwise: Callable[[int], str]) -> list[str]:
        """Return the kind of each layer: what "layer_types" says, or the rule of its family."""
        types = self.values.get("layer_types")
        if types is None:
            return [otherwise(i) for i in range(layers)]
        if not isinstance(types, list | tuple) or len(types) != layers:
            raise ValueError(f"{NAME}: layer_types: expected a list of {layers} kinds, got {types!r}"[:200])
        for kind in types:
            if kind not in kinds:
                raise ValueError(f"{NAME}: layer_types: expected {' or '.join(kinds)}, got {kind!r}")
        return list(types)

    def d_k(self, d: int, h: int) -> int:
        """Return the width of a head: its own field, or d/h."""
        found = self.maybe("head_dim")
        if found is None and d % h:
            raise ValueError(f"{NAME}: num_attention_heads: expected a divisor of hidden_size = {d}, got {h}")
        return d // h if found is None else found


FULL, WINDOW, LINEAR = "full_attention", "sliding_attention", "linear_attention"


def read_config(config: Mapping[str, Any], *, name: str = "") -> Model:
    """Read a model from the `config.json` that is published with its weights.

    The families, by "model_type": bert, gpt2, llama, mistral, mixtral, gemma, gemma2, gemma3, gemma3_text, qwen2,
    qwen3, qwen3_moe, qwen3_next, deepseek_v2, deepseek_v3, deepseek_v32, gpt_oss, t5, bart. Of a model of text and
    images, the part for text. An encoder–decoder reads a source as long as its authors' longest; `with_memory`
    changes that. Modules that predict further tokens, which a checkpoint may hold besides, are not read.

    Args:
        config: what the file holds, as `json.load` gives it.
        name: what to call the model; by default what the file calls it, or its family.

    Returns:
        A `Model`.

    Raises:
        ValueError: a mapping without a field that its family needs, with one that holds something else, or of a
            family that is not read. The message names the field.

    Source: the configurations of Hugging Face Transformers.

    Example:
        >>> sizes = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000}
        >>> model = read_config({"model_type": "llama", "intermediate_size": 11008, **sizes})
        >>> from attnlib.cost import model_parameters
        >>> model_parameters(model)  # Llama 2, 7B
        6738415616
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"{NAME}: config: expected a mapping, got {type(config).__name__}")
    if not isinstance(name, str):
        raise ValueError(f"{NAME}: name: expected a string, got {name!r}")
    family = config.get("model_type")
    if family is None:
        raise ValueError(f"{NAME}: model_type: expected one of {', '.join(FAMILIES)}, got no such field in config")
    if not isinstance(family, str) or family not in FAMILIES:
        hint = near(family, FAMILIES)
        raise ValueError(f"{NAME}: model_type: expected one of {', '.join(FAMILIES)}, got {family!r}{hint}")
    called = name or str(config.get("_name_or_path") or family)
    try:
        return FAMILIES[family](called, config)
    except ValueError as error:
        if str(error).startswith(NAME):
            raise
        # What a dataclass refuses, as heads that do not divide.
        raise ValueError(f"{NAME}: {str(error).split(': ', 1)[1]}") from None


def _bert(name: str, config: Mapping[str, Any]) -> Model:
    f = Fields(config)
    d, h = f.whole("hidden_size"), f.whole("num_attention_heads")
    mixer = SelfAttention(h, f.d_k(d, h), bias=True, bias_out=True)
    layer = Layer(mixer, Dense(f.whole("intermediate_size"), bias=True))
    positions = f.whole("max_position_embeddings")
    return Model(
        name,
        d,
        f.whole("vocab_size"),
        f.whole("num_hidden_layers") * (layer,),
        head=False,
        positions=positions,
        types=f.whole("type_vocab_size", default=2, least=0),
        norm="layer",
        norm_first=True,
        norm_last=False,
        pooler=True,
        causal=False,
        context=positions,
    )


def _gpt2(name: str, config: Mapping[str, Any]) -> Model:
    f = Fields(config)
    d, h = f.whole("n_embd", "hidden_size"), f.whole("n_head", "num_attention_heads")
    if d % h:
        raise ValueError(f"{NAME}: n_head: expected a divisor of n_embd = {d}, got {h}")
    mixer = SelfAttention(h, d // h, bias=True, bias_out=True)
    positions = f.whole("n_positions", "n_ctx", "max_position_embeddings")
    return Model(
        name,
        d,
        f.whole("vocab_size"),
        f.whole("n_layer", "num_hidden_layers")
        * (Layer(mixer, Dense(f.whole("n_inner", default=4 * d), bias=True)),),
        tied=f.flag("tie_word_embeddings", True),
        positions=positions,
        norm="layer",
        context=positions,
    )


def _decoder(
    f: Fields,
    name: str,
    layers: list[Layer] | tuple[Layer, ...],
    *,
    tied: bool = False,
) -> Model:
    return Model(
        name,
        f.whole("hidden_size"),
        f.whole("vocab_size"),
        tuple(layers),
        tied=f.flag("tie_word_embeddings", tied),
        context=f.maybe("max_position_embeddings"),
    )


def _heads(f: Fields, **options: Any) -> SelfAttention:
    d, h = f.whole("hidden_size"), f.whole("num_attention_heads")
    return SelfAttention(h, f.d_k(d, h), h_kv=f.whole("num_key_value_heads", default=h), **options)


def _llama(name: str, config: Mapping[str, Any]) -> Model:
    f = Fields(config)
    bias = f.flag("attention_bias", False)
    mixer = _heads(f, bias=bias, bias_out=bias)
    inner = Dense(f.whole("intermediate_size"), gated=True, bias=f.flag("mlp_bias", False))
    return _decoder(f, name, f.whole("num_hidden_layers") * (Layer(mixer, inner),))


def _mistral(name: str, config: Mapping[str, Any]) -> Model:
    f = Fields(config)
    mixer = _heads(f, window=f.maybe("sliding_window"))
    inner = Dense(f.whole("intermediate_size"), gated=True)
    return _decoder(f, name, f.whole("num_hidden_layers") * (Layer(mixer, inner),))


def _mixtral(name: str, config: Mapping[str, Any]) -> Model:
    f = Fields(config)
    mixer = _heads(f, window=f.maybe("sliding_window"))
    inner = Experts(f.whole("num_local_experts"), f.whole("num_experts_per_tok"), f.whole("intermediate_size"))
    return _decoder(f, name, f.whole("num_hidden_layers") * (Layer(mixer, inner),))


def _gemma(name: str, config: Mapping[str, Any]) -> Model:
    f = Fields(config)
    f.whole("head_dim")
    inner = Dense(f.whole("intermediate_size"), gated=True)
    return _decoder(f, name, f.whole("num_hidden_layers") * (Layer(_heads(f), inner),), tied=True)


def _gemma2(name: str, config: Mapping[str, Any]) -> Model:
    return _gemma_hybrid(name, config, lambda i: FULL if (i + 1) % 2 == 0 else WINDOW)


def _gemma3(name: str, config: Mapping[str, Any]) -> Model:
    if config.get("model_type") == "gemma3":
        text = config.get("text_config")
        if not isinstance(text, Mapping):
            raise ValueError(f"{NAME}: text_config: expected a mapping, got {text!r}")
        # The file leaves out what the family's class has as its defaults.
        defaults = {"head_dim": 256, "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 262208}
        defaults |= {"sliding_window": 4096, "max_position_embeddings": 131072}
        config = {**defaults, **text}
    pattern = Fields(config).whole("sliding_window_pattern", "_sliding_window_pattern", default=6)
    return _gemma_hybrid(name, config, lambda i: WINDOW if (i + 1) % pattern else FULL, qk_norm=True)


def _gemma_hybrid(name: str, config: Mapping[str, Any], rule: Callable[[int], str], **options: Any) -> Model:
    f = Fields(config)
    f.whole("head_dim")  # not d/h in this family
    inner = Dense(f.whole("intermediate_size"), gated=True)
    kinds = {
        FULL: Layer(_heads(f, **options), inner, norms=4),
        WINDOW: Layer(_heads(f, window=f.whole("sliding_window"), **options), inner, norms=4),
    }
    layers = f.kinds(f.whole("num_hidden_layers"), kinds, rule)
    return _decoder(f, name, [kinds[kind] for kind in layers], tied=True)


def _qwen2(name: str, config: Mapping[str, Any]) -> Model:
    return _qwen(name, config, bias=True)


def _qwen3(name: str, config: Mapping[str, Any]) -> Model:
    return _qwen(name, config, qk_norm=True)


def _qwen(name: str, config: Mapping[str, Any], **options: Any) -> Model:
    f = Fields(config)
    inner = Dense(f.whole("intermediate_size"), gated=True)
    kinds = {FULL: Layer(_heads(f, **options), inner)}
    wide = f.flag("use_sliding_window", False)
    if wide:
        kinds[WINDOW] = Layer(_heads(f, window=f.whole("sliding_window"), **options), inner)
    first = f.whole("max_window_layers", default=28, least=0)
    layers = f.kinds(f.whole("num_hidden_layers"), kinds, lambda i: WINDOW if wide and i >= first else FULL)
    return _decoder(f, name, [kinds[kind] for kind in layers])


def _sparse(f: Fields, i: int) -> bool:
    """Whether layer i has experts, by the rule of Qwen's families."""
    dense = f.values.get("mlp_only_layers") or []
    if not isinstance(dense, list | tuple):
        raise ValueError(f"{NAME}: mlp_only_layers: expected a list, got {dense!r}")
    return i not in dense and (i + 1) % f.whole("decoder_sparse_step", default=1) == 0


def _qwen3_moe(name: str, config: Mapping[str, Any]) -> Model:
    f = Fields(config)
    mixer = _heads(f, qk_norm=True)
    many = Experts(
        f.whole("num_experts", "num_local_experts"), f.whole("num_experts_per_tok"), f.whole("moe_intermediate_size")
    )
    count = f.whole("num_hidden_layers")
    sparse = [_sparse(f, i) for i in range(count)]
    dense = many if all(sparse) else Dense(f.whole("intermediate_size"), gated=True)
    return _decoder(f, name, [Layer(mixer, many if x else dense) for x in sparse])


def _qwen3_next(name: str, config: Mapping[str, Any]) -> Model:
    f = Fields(config)
    kinds: dict[str, Mixer] = {
        FULL: _heads(f, qk_norm=True, gate=True),
        LINEAR: StateAttention(
            f.whole("linear_num_value_heads"),
            f.whole("linear_key_head_dim"),
            h_k=f.whole("linear_num_key_heads"),
            d_v=f.whole("linear_value_head_dim"),
            k=f.whole("linear_conv_kernel_dim"),
        ),
    }
    many = Experts(
        f.whole("num_experts"),
        f.whole("num_experts_per_tok"),
        f.whole("moe_intermediate_size"),
        shared_d_ff=f.whole("shared_expert_intermediate_size"),
        shared_gate=True,
    )
    count, step = f.whole("num_hidden_layers"), f.whole("full_attention_interval", default=4)
    sparse = [_sparse(f, i) for i in range(count)]
    dense = many if all(sparse) else Dense(f.whole("intermediate_size"), gated=True)
    layers = f.kinds(count, kinds, lambda i: LINEAR if (i + 1) % step else FULL)
    return _decoder(
        f, name, [Layer(kinds[kind], many if x else dense) for kind, x in zip(layers, sparse, strict=True)]
    )


def _deepseek(name: str, config: Mapping[str, Any]) -> Model:
    f = Fields(config)
    index = None
    if config["model_type"] == "deepseek_v32":
        index = Indexer(f.whole("index_n_heads"), f.whole("index_head_dim"), f.whole("index_topk"))
    mixer = LatentAttention(
        f.whole("num_attention_heads"),
        f.whole("qk_nope_head_dim"),
        f.whole("qk_rope_head_dim"),
        f.whole("v_head_dim"),
        rank=f.whole("kv_lora_rank"),
        q_rank=f.maybe("q_lora_rank"),
        index=index,
    )
    d_ff = f.whole("moe_intermediate_size")
    many = Experts(
        f.whole("n_routed_experts"),
        f.whole("num_experts_per_tok"),
        d_ff,
        shared_d_ff=f.whole("n_shared_experts", default=0, least=0) * d_ff,
        # A correction of the scores that choose; version 2 has none.
        bias_router=config["model_type"] != "deepseek_v2",
    )
    first = f.whole("first_k_dense_replace", default=0, least=0)
    dense = Dense(f.whole("intermediate_size"), gated=True) if first else many
    count = f.whole("num_hidden_layers")
    return _decoder(f, name, [Layer(mixer, dense if i < first else many) for i in range(count)])


def _t5(name: str, config: Mapping[str, Any]) -> Model:
    f = Fields(config)
    d, layers = f.whole("d_model"), f.whole("num_layers")
    h, d_k = f.whole("num_heads"), f.whole("d_kv")
    kind = config.get("feed_forward_proj", "relu")
    if not isinstance(kind, str):
        raise ValueError(f"{NAME}: feed_forward_proj: expected a string, got {kind!r}")
    inner = Dense(f.whole("d_ff"), gated=kind.startswith("gated-"))
    mixer, cross = SelfAttention(h, d_k), SelfAttention(h, d_k, memory=f.whole("n_positions", default=512))
    rest: dict[str, Any] = {"relative": f.whole("relative_attention_num_buckets", default=32)}
    vocab = f.whole("vocab_size")
    encoder = Model(f"{name}, encoder", d, vocab, layers * (Layer(mixer, inner),), head=False, causal=False, **rest)
    return Model(
        name,
        d,
        vocab,
        f.whole("num_decoder_layers", default=layers) * (Layer(mixer, inner, norms=3, cross=cross),),
        tied=f.flag("tie_word_embeddings", True),
        encoder=encoder,
        **rest,
    )


def _bart(name: str, config: Mapping[str, Any]) -> Model:
    f = Fields(config)
    d, vocab, positions = f.whole("d_model"), f.whole("vocab_size"), f.whole("max_position_embeddings")
    rest: dict[str, Any] = {
        "positions": positions + 2,  # two rows that no position uses
        "norm": "layer",
        "norm_first": True,
        "norm_last": False,
        "context": positions,
    }

    def attention(side: str, memory: int = 0) -> SelfAttention:
        h = f.whole(f"{side}_attention_heads")
        if d % h:
            raise ValueError(f"{NAME}: {side}_attention_heads: expected a divisor of d_model = {d}, got {h}")
        return SelfAttention(h, d // h, bias=True, bias_out=True, memory=memory)

    read = Layer(attention("encoder"), Dense(f.whole("encoder_ffn_dim"), bias=True))
    written = Dense(f.whole("decoder_ffn_dim"), bias=True)
    write = Layer(attention("decoder"), written, norms=3, cross=attention("decoder", positions))
    layers = f.whole("encoder_layers") * (read,)
    encoder = Model(f"{name}, encoder", d, vocab, layers, head=False, causal=False, **rest)
    tied = f.flag("tie_word_embeddings", True)
    return Model(name, d, vocab, f.whole("decoder_layers") * (write,), tied=tied, encoder=encoder, **rest)


def _gpt_oss(name: str, config: Mapping[str, Any]) -> Model:
    f = Fields(config)
    inner = Experts(
        f.whole("num_local_experts", "num_experts"),
        f.whole("num_experts_per_tok", "experts_per_token"),
        f.whole("intermediate_size"),
        bias=True,
        bias_router=True,
    )
    bias = f.flag("attention_bias", True)
    options = {"bias": bias, "bias_out": bias, "sinks": True}
    kinds = {
        FULL: Layer(_heads(f, **options), inner),
        WINDOW: Layer(_heads(f, window=f.whole("sliding_window"), **options), inner),
    }
    layers = f.kinds(f.whole("num_hidden_layers"), kinds, lambda i: WINDOW if (i + 1) % 2 else FULL)
    return _decoder(f, name, [kinds[kind] for kind in layers])


FAMILIES: dict[str, Callable[[str, Mapping[str, Any]], Model]] = {
    "bert": _bert,
    "gpt2": _gpt2,
    "llama": _llama,
    "mistral": _mistral,
    "mixtral": _mixtral,
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "gemma3_text": _gemma3,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "qwen3_moe": _qwen3_moe,
    "qwen3_next": _qwen3_next,
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
    "deepseek_v32": _deepseek,
    "gpt_oss": _gpt_oss,
    "t5": _t5,
    "bart": _bart,
}


def _fields(family: str, **fields: Any) -> dict[str, Any]:
    """Write a configuration with short names: d, layers, h, h_kv, d_k, d_ff, vocab, context."""
    short = {
        "d": "hidden_size",
        "layers": "num_hidden_layers",
        "h": "num_attention_heads",
        "h_kv": "num_key_value_heads",
        "d_k": "head_dim",
        "d_ff": "intermediate_size",
        "vocab": "vocab_size",
        "context": "max_position_embeddings",
        "window": "sliding_window",
    }
    return {"model_type": family, **{short.get(key, key): value for key, value in fields.items()}}


def _bert_sizes(d: int, layers: int) -> dict[str, Any]:
    return _fields("bert", d=d, layers=layers, h=d // 64, d_ff=4 * d, vocab=30522, context=512, type_vocab_size=2)


def _gpt_sizes(d: int, layers: int, h: int, context: int = 1024) -> dict[str, Any]:
    return {
        "model_type": "gpt2",
        "n_embd": d,
        "n_layer": layers,
        "n_head": h,
        "vocab_size": 50257,
        "n_positions": context,
    }


def _gpt_oss_sizes(layers: int, experts: int) -> dict[str, Any]:
    return _fields(
        "gpt_oss",
        d=2880,
        layers=layers,
        h=64,
        h_kv=8,
        d_k=64,
        d_ff=2880,
        vocab=201088,
        context=131072,
        window=128,
        num_local_experts=experts,
        num_experts_per_tok=4,
    )


def _t5_sizes(d: int, layers: int, h: int, d_k: int, d_ff: int) -> dict[str, Any]:
    sizes = {"d_model": d, "num_layers": layers, "num_heads": h, "d_kv": d_k, "d_ff": d_ff, "vocab_size": 32128}
    return {"model_type": "t5", **sizes, "relative_attention_num_buckets": 32, "n_positions": 512}


def _bart_sizes(d: int, layers: int) -> dict[str, Any]:
    sides = {
        f"{side}_{field}": value
        for side in ("encoder", "decoder")
        for field, value in (("layers", layers), ("attention_heads", d // 64), ("ffn_dim", 4 * d))
    }
    return {"model_type": "bart", "d_model": d, "vocab_size": 50265, "max_position_embeddings": 1024, **sides}


_LLAMA2 = {"vocab": 32000, "context": 4096}
_LLAMA3 = {"h_kv": 8, "vocab": 128256}
_LATENT: dict[str, Any] = {
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "context": 163840,
}
_DEEPSEEK2: dict[str, Any] = {
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "first_k_dense_replace": 1,
    "vocab": 102400,
    **_LATENT,
}
_DEEPSEEK3: dict[str, Any] = {
    "d": 7168,
    "layers": 61,
    "h": 128,
    "d_ff": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "vocab": 129280,
    "q_lora_rank": 1536,
    **_LATENT,
}
_QWEN3_MOE = {"h_kv": 4, "d_k": 128, "num_experts": 128, "num_experts_per_tok": 8, "vocab": 151936, "context": 40960}

# Where a figure comes from. "Confirmed": a model with these sizes has the parameters of its authors' checkpoint, to
# the last one. Sizes that change no parameter (windows, contexts) are the configuration's; nothing confirms them.
_TOUVRON = "Touvron et al. (2023), Llama 2, table 1, and the checkpoint's config.json; confirmed"
_DUBEY = "Dubey et al. (2024), The Llama 3 herd of models, table 3, and the checkpoint's config.json; confirmed"
_META = "Meta's model card of Llama 3.2 and the checkpoint's config.json; confirmed"
_RADFORD = "Radford et al. (2019), table 2, and the checkpoint's config.json; confirmed"
_DEVLIN = "Devlin et al. (2019), section 3; encoder and pooler, without the head that predicts words; confirmed"
_GEMMA2 = "Gemma Team (2024), Gemma 2, table 1, and the checkpoint's config.json; confirmed"
_GEMMA3 = "Gemma Team (2025), Gemma 3, tables 1 and 2, and the checkpoint's config.json"
_QWEN25 = "Qwen Team (2024), Qwen2.5 technical report, and the checkpoint's config.json; confirmed"
_QWEN3 = "Qwen Team (2025), Qwen3 technical report, table 2, and the checkpoint's config.json; confirmed"
_RAFFEL = "Raffel et al. (2020), section 3.7, and the checkpoint's config.json; confirmed"
_LEWIS = "Lewis et al. (2020), section 2.1, and the checkpoint's config.json; confirmed"
_OPENAI = (
    "OpenAI (2025), gpt-oss model card, table 1: 116.83 and 20.91 billion parameters, as many as here to these digits"
)

_PUBLISHED: dict[str, tuple[str, str, int | None, dict[str, Any]]] = {
    "bert-base": ("BERT-base", _DEVLIN, 109_482_240, _bert_sizes(768, 12)),
    "bert-large": ("BERT-large", _DEVLIN, 335_141_888, _bert_sizes(1024, 24)),
    "gpt-2": ("GPT-2", _RADFORD, 124_439_808, _gpt_sizes(768, 12, 12)),
    "gpt-2-medium": ("GPT-2 medium", _RADFORD, 354_823_168, _gpt_sizes(1024, 24, 16)),
    "gpt-2-large": ("GPT-2 large", _RADFORD, 774_030_080, _gpt_sizes(1280, 36, 20)),
    "gpt-2-xl": ("GPT-2 XL", _RADFORD, 1_557_611_200, _gpt_sizes(1600, 48, 25)),
    "gpt-3": (
        "GPT-3 175B",
        "Brown et al. (2020), table 2.1 and appendix D: 174,600 million parameters; all layers as dense "
        "attention, where the paper has every other one in bands of a width that it does not give",
        None,
        _gpt_sizes(12288, 96, 96, 2048),
    ),
    "llama-2-7b": (
        "Llama 2 7B",
        _TOUVRON,
        6_738_415_616,
        _fields("llama", d=4096, layers=32, h=32, d_ff=11008, **_LLAMA2),
    ),
    "llama-2-13b": (
        "Llama 2 13B",
        _TOUVRON,
        13_015_864_320,
        _fields("llama", d=5120, layers=40, h=40, d_ff=13824, **_LLAMA2),
    ),
    "llama-2-70b": (
        "Llama 2 70B",
        _TOUVRON,
        68_976_648_192,
        _fields("llama", d=8192, layers=80, h=64, h_kv=8, d_ff=28672, **_LLAMA2),
    ),
    "llama-3-8b": (
        "Llama 3 8B",
        _DUBEY,
        8_030_261_248,
        _fields("llama", d=4096, layers=32, h=32, d_ff=14336, context=8192, **_LLAMA3),
    ),
    "llama-3-70b": (
        "Llama 3 70B",
        _DUBEY,
        70_553_706_496,
        _fields("llama", d=8192, layers=80, h=64, d_ff=28672, context=8192, **_LLAMA3),
    ),
    "llama-3.1-8b": (
        "Llama 3.1 8B",
        _DUBEY,
        8_030_261_248,
        _fields("llama", d=4096, layers=32, h=32, d_ff=14336, context=131072, **_LLAMA3),
    ),
    "llama-3.1-70b": (
        "Llama 3.1 70B",
        _DUBEY,
        70_553_706_496,
        _fields("llama", d=8192, layers=80, h=64, d_ff=28672, context=131072, **_LLAMA3),
    ),
    "llama-3.1-405b": (
        "Llama 3.1 405B",
        _DUBEY,
        405_853_388_800,
        _fields("llama", d=16384, layers=126, h=128, d_ff=53248, context=131072, **_LLAMA3),
    ),
    "llama-3.2-1b": (
        "Llama 3.2 1B",
        _META,
        1_235_814_400,
        _fields("llama", d=2048, layers=16, h=32, d_ff=8192, context=131072, tie_word_embeddings=True, **_LLAMA3),
    ),
    "llama-3.2-3b": (
        "Llama 3.2 3B",
        _META,
        3_212_749_824,
        _fields("llama", d=3072, layers=28, h=24, d_ff=8192, context=131072, tie_word_embeddings=True, **_LLAMA3),
    ),
    "mistral-7b": (
        "Mistral 7B v0.1",
        "Jiang et al. (2023), table 1, and the checkpoint's config.json; confirmed",
        7_241_732_096,
        _fields("mistral", d=4096, layers=32, h=32, h_kv=8, d_ff=14336, vocab=32000, window=4096, context=32768),
    ),
    "mixtral-8x7b": (
        "Mixtral 8x7B",
        "Jiang et al. (2024), table 1, and the checkpoint's config.json; confirmed",
        46_702_792_704,
        _fields(
            *("mixtral",),
            d=4096,
            layers=32,
            h=32,
            h_kv=8,
            d_ff=14336,
            vocab=32000,
            context=32768,
            num_local_experts=8,
            num_experts_per_tok=2,
        ),
    ),
    "gemma-2-2b": (
        "Gemma 2 2B",
        _GEMMA2,
        2_614_341_888,
        _fields(
            "gemma2", d=2304, layers=26, h=8, h_kv=4, d_k=256, d_ff=9216, vocab=256000, window=4096, context=8192
        ),
    ),
    "gemma-2-9b": (
        "Gemma 2 9B",
        _GEMMA2,
        9_241_705_984,
        _fields(
            "gemma2", d=3584, layers=42, h=16, h_kv=8, d_k=256, d_ff=14336, vocab=256000, window=4096, context=8192
        ),
    ),
    "gemma-2-27b": (
        "Gemma 2 27B",
        _GEMMA2,
        27_227_128_320,
        _fields(
            "gemma2", d=4608, layers=46, h=32, h_kv=16, d_k=128, d_ff=36864, vocab=256000, window=4096, context=8192
        ),
    ),
    "gemma-3-1b": (
        "Gemma 3 1B",
        _GEMMA3 + "; confirmed",
        999_885_952,
        _fields(
            *("gemma3_text",),
            d=1152,
            layers=26,
            h=4,
            h_kv=1,
            d_k=256,
            d_ff=6912,
            vocab=262144,
            window=512,
            context=32768,
        ),
    ),
    "gemma-3-12b": (
        "Gemma 3 12B, text",
        _GEMMA3 + "; the part for text of a checkpoint that has images, too",
        None,
        _fields(
            *("gemma3_text",),
            d=3840,
            layers=48,
            h=16,
            h_kv=8,
            d_k=256,
            d_ff=15360,
            vocab=262208,
            window=1024,
            context=131072,
        ),
    ),
    "gemma-3-27b": (
        "Gemma 3 27B, text",
        _GEMMA3 + "; the part for text of a checkpoint that has images, too",
        None,
        _fields(
            *("gemma3_text",),
            d=5376,
            layers=62,
            h=32,
            h_kv=16,
            d_k=128,
            d_ff=21504,
            vocab=262208,
            window=1024,
            context=131072,
        ),
    ),
    "qwen2.5-7b": (
        "Qwen2.5 7B",
        _QWEN25,
        7_615_616_512,
        _fields("qwen2", d=3584, layers=28, h=28, h_kv=4, d_ff=18944, vocab=152064, context=131072),
    ),
    "qwen2.5-72b": (
        "Qwen2.5 72B",
        _QWEN25,
        72_706_203_648,
        _fields("qwen2", d=8192, layers=80, h=64, h_kv=8, d_ff=29568, vocab=152064, context=131072),
    ),
    "qwen3-30b-a3b": (
        "Qwen3 30B-A3B",
        _QWEN3,
        30_532_122_624,
        _fields("qwen3_moe", d=2048, layers=48, h=32, moe_intermediate_size=768, **_QWEN3_MOE),
    ),
    "qwen3-235b-a22b": (
        "Qwen3 235B-A22B",
        _QWEN3,
        235_093_634_560,
        _fields("qwen3_moe", d=4096, layers=94, h=64, moe_intermediate_size=1536, **_QWEN3_MOE),
    ),
    "qwen3-next-80b-a3b": (
        "Qwen3-Next 80B-A3B",
        "Qwen Team (2025), the checkpoint's config.json; 80 billion parameters, without the modules that "
        "predict further tokens; an exact count is not published",
        None,
        _fields(
            *("qwen3_next",),
            d=2048,
            layers=48,
            h=16,
            h_kv=2,
            d_k=256,
            vocab=151936,
            context=262144,
            linear_num_value_heads=32,
            linear_num_key_heads=16,
            linear_key_head_dim=128,
            linear_value_head_dim=128,
            linear_conv_kernel_dim=4,
            num_experts=512,
            num_experts_per_tok=10,
            moe_intermediate_size=512,
            shared_expert_intermediate_size=512,
            full_attention_interval=4,
        ),
    ),
    "deepseek-v2-lite": (
        "DeepSeek-V2-Lite",
        "DeepSeek-AI (2024), DeepSeek-V2, appendix B, and the checkpoint's config.json; confirmed",
        15_706_484_224,
        _fields(
            *("deepseek_v2",),
            d=2048,
            layers=27,
            h=16,
            d_ff=10944,
            moe_intermediate_size=1408,
            n_routed_experts=64,
            q_lora_rank=None,
            **_DEEPSEEK2,
        ),
    ),
    "deepseek-v2": (
        "DeepSeek-V2",
        "DeepSeek-AI (2024), DeepSeek-V2, section 3.1.2, and the checkpoint's config.json; confirmed",
        235_741_434_880,
        _fields(
            *("deepseek_v2",),
            d=5120,
            layers=60,
            h=128,
            d_ff=12288,
            moe_intermediate_size=1536,
            n_routed_experts=160,
            q_lora_rank=1536,
            **_DEEPSEEK2,
        ),
    ),
    "deepseek-v3": (
        "DeepSeek-V3",
        "DeepSeek-AI (2024), DeepSeek-V3, section 4.2, and the checkpoint's config.json: 671 billion parameters, "
        "without the module that predicts a further token; confirmed",
        671_026_419_200,
        _fields("deepseek_v3", **_DEEPSEEK3),
    ),
    "deepseek-v3.2": (
        "DeepSeek-V3.2",
        "DeepSeek-AI (2025), DeepSeek-V3.2, section 2, and the checkpoint's config.json; an exact count is not "
        "published",
        None,
        _fields("deepseek_v32", index_n_heads=64, index_head_dim=128, index_topk=2048, **_DEEPSEEK3),
    ),
    "t5-small": ("T5 small", _RAFFEL, 60_506_624, _t5_sizes(512, 6, 8, 64, 2048)),
    "t5-base": ("T5 base", _RAFFEL, 222_903_552, _t5_sizes(768, 12, 12, 64, 3072)),
    "t5-large": ("T5 large", _RAFFEL, 737_668_096, _t5_sizes(1024, 24, 16, 64, 4096)),
    "t5-3b": ("T5 3B", _RAFFEL, 2_851_598_336, _t5_sizes(1024, 24, 32, 128, 16384)),
    "t5-11b": ("T5 11B", _RAFFEL, 11_307_321_344, _t5_sizes(1024, 24, 128, 128, 65536)),
    "bart-base": ("BART base", _LEWIS, 139_420_416, _bart_sizes(768, 6)),
    "bart-large": ("BART large", _LEWIS, 406_291_456, _bart_sizes(1024, 12)),
    "gpt-oss-20b": ("gpt-oss-20b", _OPENAI, None, _gpt_oss_sizes(24, 32)),
    "gpt-oss-120b": ("gpt-oss-120b", _OPENAI, None, _gpt_oss_sizes(36, 128)),
}


class Models(dict[str, Model]):
    """Models by short name; a name that is not there is answered with those that are near."""

    def __missing__(self, name: str) -> Model:
        """Raise, and list near names, or all."""
        raise KeyError(f"cost.MODELS: expected one of {', '.join(self)}, got {name!r}{near(name, self)}")


def _models() -> Models:
    found = Models()
    for name, (title, source, _, config) in _PUBLISHED.items():
        found[name] = replace(read_config(config, name=title), source=source)
    return found


MODELS = _models()
"""Published models by short name; each names its source."""

COUNTS = {name: count for name, (_, _, count, _) in _PUBLISHED.items() if count is not None}
"""Parameters of `MODELS` that are published to the last one, by name."""

CONFIGS = {name: config for name, (_, _, _, config) in _PUBLISHED.items()}
"""The fields of `config.json` from which `MODELS` are read, by name."""
