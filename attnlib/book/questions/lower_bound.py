"""Questions of *The lower bound*."""

import math
from random import Random

from attnlib.book.questions import Number


def queries(draw: Random) -> Number:
    """Size of the gadget's queries."""
    variables, ratio = 2 * draw.randrange(10, 19), draw.randrange(43, 60) / 10
    clauses = round(ratio * variables)
    tokens = 2 ** (variables // 2) + 1
    held = 4 * tokens * (clauses + 1)
    return Number(
        f"A formula has ${variables}$ variables and ${clauses}$ clauses. How much memory do the queries take that "
        f"decide "
        "it by one call of attention, in float32?",
        held / 1e6,
        "MB",
        0.01,
        rf"$2^{{{variables // 2}}} + 1$ tokens, one for each half assignment and a dummy, with ${clauses} + 1$ "
        rf"numbers of "
        "four bytes.",
        (
            (held / 4e6, "That is the number of numbers. One in float32 takes four bytes."),
            (
                4 * tokens * (variables + 1) / 1e6,
                "A coordinate stands for a clause, not for a variable: an assignment satisfies it or does not.",
            ),
            (
                4 * (2**variables + 1) * (clauses + 1) / 1e6,
                "Tokens are half assignments. Attention puts the halves together.",
            ),
        ),
    )


def temperature(draw: Random) -> Number:
    """How large C has to be."""
    variables, error = 2 * draw.randrange(10, 25), draw.choice((0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45))
    length, room = variables / 2 * math.log(2), 4 * math.atanh(2 * error)
    return Number(
        f"A program errs by up to $\\mu = {error}$ in every output, for values between 0 and 1. It is to decide "
        f"formulas "
        rf"of ${variables}$ variables, with the dummy at $\tau = \Delta/2$. Above which $C$ does it decide all of "
        rf"them?",
        length + room,
        "",
        0.01,
        rf"$\mu < \frac12\tanh(\Delta/4)$ with $\Delta = C - \ln n$ asks for $C > \ln n + "
        rf"4\,\mathrm{{artanh}}(2\mu) = {length:.2f} + {room:.2f}$, since $n = 2^{{{variables // 2}}}$.",
        (
            (length, "That is enough for an attention without any error."),
            (room, r"That is $\Delta = C - \ln n$. The keys with the product one, together, weigh $ne^{-C}$."),
            (2 * length + room, "Half assignments are the keys: there are $2^{N/2}$ of them and not $2^N$."),
            (variables / 2 + room, "Weights are powers of $e$: take the natural logarithm of $n$."),
        ),
    )
