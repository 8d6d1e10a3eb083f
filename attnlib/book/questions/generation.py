"""Questions of *Generation*."""

from random import Random

from attnlib import cost
from attnlib.book.questions import Number, tex


def with_cache(draw: Random) -> Number:
    """Operations of writing a text."""
    d = 64 * draw.randrange(16, 129)
    n = 64 * draw.randrange(d // 128, d // 32)
    made = cost.generation(n, d, 1).matmul_flops
    core = made - 8 * n * d * d
    return Number(
        f"One attention layer of width $d = {tex(d)}$ takes part in writing $n = {tex(n)}$ tokens, one after the "
        f"other, "
        "with a KV cache. How many operations in matrix products is that in all?",
        made / 1e9,
        "GFLOP",
        0.02,
        rf"$8nd^2 + 2n(n + 1)d = 8 \cdot {tex(n)} \cdot {tex(d)}^2 + 2 \cdot {tex(n)} \cdot {tex(n + 1)} \cdot "
        rf"{tex(d)}$.",
        (
            (
                cost.multihead_attention(n, d, 1).matmul_flops / 1e9,
                "With a cache the $t$-th token meets $t$ keys, so half of the square: $2n(n + 1)d$ and not $4n^2d$.",
            ),
            (core / 1e9, "Each token is projected as well, to query, key, value and output: $8d^2$."),
            (
                cost.generation(n, d, 1, cached=False).matmul_flops / 1e9,
                "That is without a cache, where every step runs the layer on all tokens so far.",
            ),
        ),
    )


def step_bytes(draw: Random) -> Number:
    """Bytes that a decode step reads."""
    h, batch = draw.randrange(8, 65), draw.randrange(3, 17)
    d = 128 * h
    t = 64 * draw.randrange(d // 128, d // 16)
    weights = 2 * cost.decode_step(t, d, h).parameters
    each = cost.kv_cache(t, 128, h_kv=h)
    return Number(
        f"An attention layer has the width $d = {tex(d)}$ and a key head for each query head. In one decode step it "
        f"serves $b = {batch}$ different texts of $t = {tex(t)}$ tokens. How many bytes of weights and caches does "
        f"it "
        "read, in sixteen bits?",
        (weights + batch * each) / 1e6,
        "MB",
        0.02,
        rf"$4d^2$ numbers of weights and $2td$ of each cache, two bytes each: $8 \cdot {tex(d)}^2 + {batch} \cdot 4 "
        rf"\cdot {tex(t)} \cdot {tex(d)}$ bytes.",
        (
            ((weights + each) / 1e6, "Each text has a cache of its own. Only the weights are shared."),
            (batch * (weights + each) / 1e6, "The weights are read once for the whole batch."),
            ((weights + batch * each / 2) / 1e6, "Keys and values are both in the cache."),
        ),
    )
