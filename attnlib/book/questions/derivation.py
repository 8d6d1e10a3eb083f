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
