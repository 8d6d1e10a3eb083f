"""Questions of *Notation*."""

from random import Random

from attnlib import cost
from attnlib.book.questions import Number, tex


def product(draw: Random) -> Number:
    """Operations of a matrix product."""
    n, d, m = (8 * draw.randrange(8, 250) for _ in range(3))
    flops = 2 * n * d * m
    return Number(
        f"A matrix of ${tex(n)} \\times {tex(d)}$ numbers is multiplied by one of ${tex(d)} \\times {tex(m)}$. How "
        f"many "
        "FLOPs is that in this book?",
        flops / 1e6,
        "MFLOP",
        0.01,
        rf"$2nmd = 2 \cdot {tex(n)} \cdot {tex(m)} \cdot {tex(d)}$.",
        (
            (flops / 2e6, "That is the number of multiply-adds. Each is two FLOPs."),
            (2 * n * m / 1e6, f"Each of the $nm$ numbers of the result takes a sum over ${tex(d)}$ products."),
        ),
    )


def visible(draw: Random) -> Number:
    """Pairs that a causal mask leaves."""
    # An even number of keys, never 2n − 1: there nm and m(m + 1)/2 are the same.
    n = draw.randrange(20, 91)
    m = 2 * (n // 2) + 2 * draw.randrange(6, 101)
    return Number(
        f"The last ${n}$ positions of a text of ${m}$ are queries, and all of them are keys. How many pairs does a "
        "causal mask leave?",
        cost.visible_pairs(n, m),
        "pairs",
        0.0,
        rf"$nm - \frac12 n(n - 1) = {n} \cdot {m} - \frac12 \cdot {n} \cdot {n - 1}$: the last query sees all keys, "
        "each query before it one fewer.",
        (
            (n * m, "Those are all pairs. Only the last query sees every key."),
            (
                cost.visible_pairs(n, n),
                "That is the triangle of the first positions. The last query lines up with the last key.",
            ),
            (cost.visible_pairs(m, m), f"That is a mask for ${m}$ queries. There are ${n}$."),
            (cost.visible_pairs(n, m) - n, "A query sees its own position, too: $j \\le i + m - n$."),
        ),
    )
