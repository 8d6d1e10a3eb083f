"""Questions of *Random features*."""

import math
from random import Random

from attnlib import cost
from attnlib.book.questions import Number, tex


def enough(draw: Random) -> Number:
    """Features that an accuracy takes."""
    length, error = draw.randrange(24, 61) / 20, draw.choice((5, 10, 20, 25, 50))
    needed = (math.exp(length**2) - 1) / (error / 100) ** 2
    return Number(
        f"A query and a key, both with $1/\\sqrt{{d_k}}$ in them, have $|q + k| = {length:g}$. How many independent "
        f"random features bring the relative standard deviation of their weight down to {error} %?",
        needed,
        "features",
        0.02,
        rf"$(e^{{|q + k|^2}} - 1)/D = {error / 100:g}^2$ gives $D = (e^{{{length**2:.4g}}} - "
        rf"1)/{(error / 100) ** 2:.4g}$.",
        (
            ((math.exp(length) - 1) / (error / 100) ** 2, "The length is squared in the exponent."),
            (
                length**2 / (error / 100) ** 2,
                "The variance is exponential in $|q + k|^2$, and not proportional to it.",
            ),
        ),
    )


def operations(draw: Random) -> Number:
    """Operations of random features."""
    d, h = draw.choice((64, 96, 128)), 4 * draw.randrange(2, 17)
    count = 64 * draw.randrange(2, 13)
    n = 1024 * draw.randrange(4, 65)
    made = cost.performer_attention(n, d, features=count, h=h).matmul_flops
    return Number(
        f"A layer of $h = {h}$ heads, $d_k = d_v = {d}$, uses $D = {count}$ random features on $n = {tex(n)}$ "
        f"tokens, "
        "without a mask. How many operations in matrix products is the core, about?",
        made / 1e9,
        "GFLOP",
        0.02,
        rf"$8nDd$ for each head: $8 \cdot {tex(n)} \cdot {count} \cdot {d} \cdot {h}$, for directions of queries and "
        rf"keys, "
        "the sums, and reading them. (Denominators add a little.)",
        (
            (
                made / 2e9,
                "Queries and keys are multiplied with the directions, and sums are formed and read: four products.",
            ),
            (made / h / 1e9, f"That is one of ${h}$ heads."),
            (cost.attention(n, d, h=h).matmul_flops / 1e9, "That is exact attention, $4n^2d$ for each head."),
        ),
    )
