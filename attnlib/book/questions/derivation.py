"""Questions of *Derivation*."""

from random import Random

from attnlib import cost
from attnlib.book.questions import Number, tex


def core(draw: Random) -> Number:
    """Operations of the core."""
    # Shorter than 2d, where the core takes what the projections take.
    n, d = 128 * draw.randrange(4, 25), 64 * draw.randrange(28, 49)
    core = cost.attention(n, d).matmul_flops
    return Number(
        f"$n = {tex(n)}$ tokens of width $d = {tex(d)}$, no mask: how many operations are in the matrix "
        "products of the core, scores and weighted sum together?",
        core / 1e9,
        "GFLOP",
        0.02,
        f"$4n^2d = 4 \\cdot {tex(n)}^2 \\cdot {tex(d)}$.",
        (
            (core / 2 / 1e9, "That is one of the two products: $qk^\\top$ and the weighted sum take $2n^2d$ each."),
            (8 * n * d * d / 1e9, "$8nd^2$ are the four projections."),
            (n * n * d / 1e9, "A multiply-add is two operations, and there are two products."),
        ),
    )


def transformer(draw: Random) -> Number:
    """Operations of a Transformer layer."""
    d = 64 * draw.randrange(16, 129)
    n = 64 * draw.randrange(d // 128, 3 * d // 128)
    whole = cost.transformer_layer(n, d, 1).matmul_flops
    layer, core = cost.multihead_attention(n, d, 1).matmul_flops, cost.attention(n, d).matmul_flops
    return Number(
        f"A Transformer layer of width $d = {tex(d)}$, its feed-forward layer $4d$ wide inside, reads $n = {tex(n)}$ "
        "tokens. How many operations are in all its matrix products, with no mask?",
        whole / 1e9,
        "GFLOP",
        0.02,
        f"$24nd^2 + 4n^2d = 24 \\cdot {tex(n)} \\cdot {tex(d)}^2 + 4 \\cdot {tex(n)}^2 \\cdot {tex(d)}$.",
        (
            (layer / 1e9, "That is the attention layer. The feed-forward layer has two products of $8nd^2$ each."),
            ((whole - core) / 1e9, "The core is missing: $4n^2d$ for scores and weighted sum."),
            (whole / 2e9, "A multiply-add is two operations."),
        ),
    )
