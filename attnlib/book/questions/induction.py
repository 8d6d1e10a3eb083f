"""Questions of *Looking back*."""

import math
from random import Random

from attnlib.book.questions import Number, tex


def state(draw: Random) -> Number:
    """Bits of a state."""
    p, exponent = draw.randrange(300, 2001), draw.randrange(4, 8)
    values = 2**exponent
    return Number(
        f"A text has $p = {tex(p)}$ pairs of a key and one of $V = {values}$ values. How many bits has a state at "
        f"least, "
        "if after the text any key may be asked for, and every answer is right?",
        p * exponent,
        "bits",
        0.01,
        rf"$p \log_2 V = {tex(p)} \cdot {exponent}$: there are $V^p$ texts of this kind, and no two may share a "
        rf"state.",
        (
            (p * math.log(values), "Bits are counted by the logarithm to base two."),
            (p * values, "One of $V$ values is told apart by $\\log_2 V$ bits; it does not take $V$."),
            (values * math.log2(p), "There are $V^p$ texts and not $p^V$: each key has one of $V$ values."),
        ),
    )


def sharpness(draw: Random) -> Number:
    """Score that holds a weight."""
    n, weight = draw.randrange(200, 20001), draw.choice((80, 90, 95, 99))
    others, odds = math.log(n - 1), math.log(weight / (100 - weight))
    return Number(
        f"A head should give one of $n = {tex(n)}$ positions the weight {weight} %, and all others have the score "
        f"$0$. "
        "Which score does that position need?",
        others + odds,
        "",
        0.01,
        rf"$\frac{{e^\beta}}{{e^\beta + n - 1}} = {weight / 100:g}$ gives $\beta = \ln(n - 1) + \ln\frac{{{weight}}}"
        rf"{{{100 - weight}}} = {others:.2f} + {odds:.2f}$.",
        (
            (others, "That is enough for a weight of one half."),
            (odds, "That is for a single other position. All $n - 1$ are in the denominator."),
            ((others + odds) / math.log(2), "The softmax is a quotient of powers of $e$: take natural logarithms."),
        ),
    )
