"""Questions of *State spaces*."""

import math
from random import Random

from attnlib.book.questions import Number, tex


def left(draw: Random) -> Number:
    """What is left of an input."""
    parts, step = draw.choice((2, 4)), draw.randrange(1, 101) / 1000
    a = 1 / parts
    distance = round(draw.randrange(90, 251) / 100 / (a * step))
    exponent = a * step * distance
    return Number(
        rf"A channel has $A = -\frac{{1}}{{{parts}}}$ and the step $\Delta = {step:g}$. Which share of an input is "
        rf"left in "
        f"its state after $l = {tex(distance)}$ positions?",
        100 * math.exp(-exponent),
        "%",
        0.02,
        rf"$e^{{-l\Delta|\mathrm{{Re}}\,A|}} = e^{{-{exponent:.4g}}}$: the horizon is "
        rf"$1/(\Delta|\mathrm{{Re}}\,A|) = {1 / (a * step):.4g}$ positions.",
        (
            (100 * (1 - math.exp(-exponent)), "So much has faded. What is left is the rest."),
            (100 * 2**-exponent, "After a horizon $1/e$ is left, and not one half."),
            (
                100 * math.exp(-exponent * parts),
                r"The exponent has both factors: $l\Delta$ times $|\mathrm{Re}\,A|$.",
            ),
        ),
    )


def convolution(draw: Random) -> Number:
    """Operations of the convolution."""
    # From 64 states on, where the loop takes clearly more.
    states, exponent = 8 * draw.randrange(8, 17), draw.randrange(10, 19)
    n, level = 2**exponent, exponent + 1
    return Number(
        f"One channel of S4D with $N = {states}$ real numbers of state reads $n = {tex(n)}$ positions as a "
        f"convolution, by "
        "Fourier transforms. How many operations is that for each position, kernel and transforms?",
        2 * states + 15 * level,
        "FLOP",
        0.01,
        rf"$2N + 15\log_2 2n = 2 \cdot {states} + 15 \cdot {level}$.",
        (
            (7 * states, "That is the loop, $7N$ for each position."),
            (
                2 * states + 15 * exponent,
                "The transforms are $2n$ long: the sequence is padded, so that it does not wrap.",
            ),
            (2 * states + 5 * level, "There are three transforms: of the kernel, of the inputs, and back."),
        ),
    )
