"""Questions of *Taylor attention*."""

import math
from random import Random

from attnlib import cost
from attnlib.book.questions import Number


def features(draw: Random) -> Number:
    """How many features an order takes."""
    d, order = draw.randrange(6, 97), draw.choice((2, 3, 4))
    made = cost.taylor_features(d, order)
    return Number(
        f"How many features does Taylor's polynomial of order $p = {order}$ take for heads of width $d_k = {d}$, one "
        f"for "
        "each monomial?",
        made,
        "features",
        0.0,
        rf"$\binom{{d_k + p}}{{p}} = \binom{{{d + order}}}{{{order}}}$.",
        (
            (
                cost.taylor_features(d, order, tensor=True),
                "Those are ordered products. Equal products need one feature, whatever the order of their factors.",
            ),
            (math.comb(d, order), "A coordinate may occur in a monomial more than once, and there are lower orders."),
            (
                math.comb(d + order - 1, order),
                f"Those are the monomials of order ${order}$. The lower ones count, too.",
            ),
        ),
    )


def state(draw: Random) -> Number:
    """A state against a cache."""
    d_k, d_v = draw.randrange(6, 41), 8 * draw.randrange(8, 17)
    count = cost.taylor_features(d_k, 2)
    positions = cost.taylor_state(d_k, 2, d_v=d_v) / (d_k + d_v)
    return Number(
        f"A head has keys of width $d_k = {d_k}$ and values of width $d_v = {d_v}$. How many positions of its KV "
        f"cache "
        "are as many numbers as the state of Taylor attention of order 2?",
        positions,
        "positions",
        0.01,
        rf"$D = \binom{{{d_k + 2}}}{{2}} = {count}$ features, and $D(d_v + 1)/(d_k + d_v) = {count} \cdot "
        rf"{d_v + 1} / {d_k + d_v}$.",
        (
            (count, "That is the number of features. Each of them keeps a sum of values, and a sum of weights."),
            (
                count * (d_v + 1),
                "That is the number of numbers in the state. A position of the cache has $d_k + d_v$.",
            ),
            (
                cost.taylor_features(d_k, 2, tensor=True) * (d_v + 1) / (d_k + d_v),
                "Equal products need one feature, whatever the order of their factors.",
            ),
        ),
    )
