"""Questions of *The interview*."""

from random import Random

from attnlib import cost
from attnlib.book.questions import Number, tex


def share(draw: Random) -> Number:
    """Share of the causal core."""
    d = 128 * draw.randrange(8, 97)
    n = 128 * draw.randrange(d // 256, 8 * d // 128)
    made, full = cost.generation(n, d, 1).matmul_flops, cost.multihead_attention(n, d, 1).matmul_flops
    projections = 8 * n * d * d
    return Number(
        f"A causal self-attention layer of width $d = {tex(d)}$ reads $n = {tex(n)}$ tokens and skips all hidden "
        f"pairs. "
        "Which share of its operations in matrix products is the core?",
        100 * (1 - projections / made),
        "%",
        0.02,
        rf"$\frac{{2n(n + 1)d}}{{8nd^2 + 2n(n + 1)d}} = \frac{{n + 1}}{{4d + n + 1}} = \frac{{{tex(n + 1)}}}"
        rf"{{{tex(4 * d + n + 1)}}}$.",
        (
            (100 * (1 - projections / full), "That is without a mask, or with a program that computes hidden pairs."),
            (
                100 * (made - projections) / (made + 16 * n * d * d),
                "That is the share in a whole Transformer layer, whose feed-forward layer has $16nd^2$.",
            ),
        ),
    )


def context(draw: Random) -> Number:
    """Context that fits."""
    devices, layers, batch = draw.choice((1, 2, 4, 8)), draw.randrange(24, 97), draw.randrange(3, 33)
    memory = devices * cost.ACCELERATORS["H100"].memory
    billions = round(memory / 2e9 * draw.randrange(20, 43) / 100)
    token = cost.kv_cache(1, 128, h_kv=8, layers=layers)
    room = memory - 2e9 * billions
    return Number(
        f"{memory / 1e9:.0f} GB of memory hold a model of {billions} billion parameters and the caches of ${batch}$ "
        f"texts, all in sixteen bits, and nothing else. It has ${layers}$ layers with 8 key heads of width 128. How "
        "many tokens can each text have, at most?",
        room / (batch * token),
        "tokens",
        0.02,
        rf"$\frac{{{memory / 1e9:.0f} \cdot 10^9 - 2 \cdot {billions} \cdot 10^9}}"
        rf"{{{batch} \cdot {tex(int(token))}}}$, with $2 \cdot {layers} \cdot 8 \cdot 128$ "
        "numbers of two bytes for a token.",
        (
            (memory / (batch * token), "The weights take memory, too: two bytes for each parameter."),
            (room / token, "That is for one text. Each of the batch has a cache of its own."),
            (2 * room / (batch * token), "Keys and values are kept, both."),
        ),
    )
