"""What page and notebook must print for each glued number, computed with the library: chapter → key → text."""

import numpy as np

from attnlib import cost
from attnlib.book import text
from attnlib.plot import format_bytes

core = {"small": cost.attention(512, 64, h=12), "large": cost.attention(8192, 64, h=16)}
layer = {"small": cost.multihead_attention(512, 768, 12), "large": cost.multihead_attention(8192, 1024, 16)}
whole = {"small": cost.transformer_layer(512, 768, 12), "large": cost.transformer_layer(8192, 1024, 16)}


def ratio(part: dict[str, cost.Cost]) -> str:
    """By how much a part grows from the small example to the large one."""
    return f"{part['large'].matmul_flops / part['small'].matmul_flops:.4g}"


def doubling(n: int) -> str:
    """By how much a Transformer layer with d = 4096 grows when its length doubles."""
    a, b = (cost.transformer_layer(size, 4096, 32).matmul_flops for size in (n, 2 * n))
    return f"{b / a:.2f}"


def gpt3_share(n: int) -> str:
    """Share of the core in a Transformer layer with GPT-3's width."""
    part = cost.attention(n, 128, h=96).matmul_flops / cost.transformer_layer(n, 12288, 96).matmul_flops
    return f"{part:.1%}"


def largest_scores() -> list[str]:
    """The largest scaled score among n² random pairs, d_k = 64, for n = 128, 1024, 4096."""
    rng = np.random.default_rng(1)
    peaks = []
    for n in (128, 1024, 4096):
        q, k = rng.normal(size=(2, n, 64)).astype(np.float32)
        peaks.append(f"{np.abs(q @ k.T / 8).max():.1f}")
    return peaks


def top_weights() -> list[str]:
    """Mean largest weight of 1,000 random queries over 1,000 random keys, d_k = 256, unscaled and scaled."""
    rng = np.random.default_rng(0)
    for d_k in (4, 16, 64, 256):
        q, k = rng.normal(size=(2, 1000, d_k)).astype(np.float32)
    s = q @ k.T
    return [f"{softmax(scale * s).max(axis=-1).mean():.0%}" for scale in (1.0, 1 / 16)]


def softmax(s: np.ndarray) -> np.ndarray:
    """Softmax along the last axis."""
    p = np.exp(s - s.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


peaks = largest_scores()

# A key `measured-…` differs from run to run and stands in no list; it has to be a number.
EXPECTED: dict[str, dict[str, str]] = {
    "question": {
        "question-bert-gflop": f"{layer['small'].matmul_flops / 1e9:.3f}",
        "question-bert-core-share": f"{core['small'].matmul_flops / layer['small'].matmul_flops:.0%}",
        "question-double-2k": doubling(2048),
        "question-double-32k": doubling(32768),
        "question-exponential-digits": text(len(str(2**1000))),
    },
    "notation": {
        "notation-mac": text(core["small"].matmul_flops // 2),
        "notation-visible": text(cost.visible_pairs(512)),
        "notation-share": f"{cost.visible_pairs(512) / cost.visible_pairs(512, causal=False):.1%}",
        "notation-loop-hand": text(10 * cost.feed_forward(64, 64, d_ff=64).matmul_flops // 2),
    },
    "self-attention": {
        **dict(zip(("self-attention-unscaled", "self-attention-scaled"), top_weights(), strict=True)),
        "self-attention-focus-thousand": f"{np.log(999) / 2:.1f}",
        "self-attention-focus-million": f"{np.log(999_999) / 2:.1f}",
        "self-attention-peak-small": peaks[0],
        "self-attention-peak-large": peaks[-1],
    },
    "derivation": {
        "derivation-product-small": text(core["small"]["scores"].matmul_flops // 2),
        "derivation-product-large": text(core["large"]["scores"].matmul_flops // 2),
        "derivation-core-small": text(core["small"].matmul_flops),
        "derivation-core-large-gflop": f"{core['large'].matmul_flops / 1e9:.1f}",
        "derivation-layer-small-gflop": f"{layer['small'].matmul_flops / 1e9:.3f}",
        "derivation-layer-large-gflop": f"{layer['large'].matmul_flops / 1e9:.1f}",
        "derivation-ratio-pairs": text(
            cost.visible_pairs(8192, causal=False) // cost.visible_pairs(512, causal=False)
        ),
        "derivation-ratio-core": ratio(core),
        "derivation-ratio-layer": ratio(layer),
        "derivation-ratio-whole": ratio(whole),
        "derivation-exact-parts": f"{layer['small'].flops / (5 * 512 * 768 + 12 * 512**2 + 2 * 12 * 512):.0f}",
        "derivation-gpt3-share": gpt3_share(2048),
        "derivation-gpt3-share-long": gpt3_share(32768),
        "derivation-gpt3-crossover": text(6 * 12288),
        "derivation-softmax-share": f"{5 / (4 * 64):.1%}",
    },
    "memory": {
        "memory-hundred-thousand": f"{cost.attention(100_000, 64, h=8).live / 2 / 2**30:.0f}",
        "memory-bytes-per-flop": str(8 / 512),
        "memory-twelve-layers": f"{12 * cost.multihead_attention(2048, 512, 8).saved / 2**30:.2f}",
        "memory-gpt3-cache": format_bytes(cost.kv_cache(2048, 128, h_kv=96, layers=96)),
        "memory-llama-cache": format_bytes(cost.kv_cache(131_072, 128, h_kv=8, layers=32)),
        "memory-llama-full-cache": format_bytes(cost.kv_cache(131_072, 128, h_kv=32, layers=32)),
    },
}
