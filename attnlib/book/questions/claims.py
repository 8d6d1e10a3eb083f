"""Questions of *Claims*."""

from random import Random

from attnlib import cost
from attnlib.book.questions import Number, tex


def core(draw: Random) -> Number:
    """By what the core grows."""
    # The factors of length and width are never the same, nor one the square of the other.
    longer, wider = draw.choice((5, 6, 7, 8, 10, 12, 16)), draw.choice((2, 3))
    n, d = 256 * draw.randrange(2, 33), 128 * draw.randrange(4, 33)
    before, after = cost.attention(n, d).matmul_flops, cost.attention(longer * n, wider * d).matmul_flops
    return Number(
        f"A model of width $d = {tex(d)}$ that reads $n = {tex(n)}$ tokens is replaced by one of width "
        f"${tex(wider * d)}$ that reads ${tex(longer * n)}$. By which factor do the operations of the core grow, in "
        f"matrix products?",
        after / before,
        "",
        0.01,
        rf"The core is $4n^2d$: ${longer}^2 \cdot {wider}$.",
        (
            (longer * wider**2, "So grow the projections, $8nd^2$."),
            (longer**2, "The core is proportional to the width as well."),
            (longer * wider, "The length counts twice: every token meets every other."),
        ),
    )
