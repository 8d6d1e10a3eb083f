"""Questions of *Self-attention*."""

import math
from random import Random

from attnlib import cost
from attnlib.book.questions import Number, tex


def weight(draw: Random) -> Number:
    """Weight of the best key."""
    root, score, m = draw.choice((4, 8, 16)), draw.randrange(8, 25) / 4, 10 * draw.randrange(5, 101)
    product = score * root

    def share(s: float) -> float:
        return 100 / (1 + (m - 1) * math.exp(-s))

    return Number(
        f"The width of a head is $d_k = {root**2}$. A query has the inner product ${product:g}$ with one of "
        f"$m = {tex(m)}$ keys, and $0$ with all others. Which weight does that key get?",
        share(score),
        "%",
        0.02,
        rf"The score is ${product:g}/\sqrt{{{root**2}}} = {score:g}$, and the weight "
        rf"$\frac{{e^{{{score:g}}}}}{{e^{{{score:g}}} + {tex(m - 1)}}}$.",
        (
            (share(product), r"The scores are the inner products divided by $\sqrt{d_k}$."),
            (share(product / root**2), r"The scores are divided by $\sqrt{d_k}$, not by $d_k$."),
            (100 / m, "That is the plain mean, $1/m$. A larger score gets a larger weight."),
        ),
    )


def parameters(draw: Random) -> Number:
    """Parameters of a layer with shared keys."""
    shared = draw.choice((4, 8, 16))
    h = shared * draw.randrange(1 + 16 // shared, 1 + 96 // shared)
    d, h_kv = 128 * h, h // shared
    full, made = (cost.multihead_attention(1, d, h, h_kv=heads).parameters for heads in (h, h_kv))
    return Number(
        f"A layer of width $d = {tex(d)}$ has $h = {h}$ query heads and $h_{{kv}} = {h_kv}$ heads of keys and "
        f"values, all of width $d/h$. How many parameters do its four matrices have together?",
        made / 1e6,
        "million",
        0.01,
        rf"$2d^2(1 + h_{{kv}}/h) = 2 \cdot {tex(d)}^2 \cdot \left(1 + \frac{{1}}{{{shared}}}\right)$.",
        (
            (full / 1e6, "So many has a layer with a key for each query head, $4d^2$."),
            (full / shared / 1e6, "Queries and output are as wide as before; only keys and values become narrower."),
            ((made - d * d) / 1e6, "The projection to the output has $d^2$ numbers, too."),
            ((3 * d * d + d * d // shared) / 1e6, "Keys and values are both shared, not one of them."),
        ),
    )
