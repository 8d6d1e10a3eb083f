"""Questions of *The accuracy of Taylor attention*."""

import math
from random import Random

from attnlib.book.questions import Number


def worst(draw: Random) -> Number:
    """Worst error of order two."""
    bound = draw.randrange(12, 61) / 20
    low, high = (1 + x + x * x / 2 for x in (-bound, bound))
    spread = 2 * bound + math.log(low / high)
    return Number(
        f"All scores lie within $\\pm {bound:g}$, and attention is approximated by order $p = 2$. By how much of the "
        f"range "
        "of the values can an output be off, at most?",
        100 * math.tanh(spread / 4),
        "%",
        0.02,
        rf"$T_2(\pm {bound:g})$ is ${high:.4g}$ and ${low:.4g}$, so $H = {2 * bound:g} + "
        rf"\ln\frac{{{low:.4g}}}{{{high:.4g}}} = {spread:.3g}$, and the bound is $\tanh(H/4)$.",
        (
            (
                100 * (low * math.exp(bound) - 1),
                f"So much is the weight of the score $-{bound:g}$ off, as a share of itself. An output is an "
                f"average.",
            ),
            (
                100 * (low - math.exp(-bound)),
                f"That is the polynomial minus the exponential, at $-{bound:g}$. Weights count by their ratios.",
            ),
        ),
    )


def factors(draw: Random) -> Number:
    """Error of weights that are off by factors."""
    least = draw.randrange(12, 21) / 10
    most = least + draw.randrange(5, 31) / 10
    ratio = most / least
    return Number(
        f"Somebody approximates attention, and before they are normalised all weights are too large, by factors "
        f"between ${least:g}$ and ${most:g}$. By how much of the range of the values can an output be off, at most?",
        100 * math.tanh(math.log(ratio) / 4),
        "%",
        0.02,
        rf"$H = \ln\frac{{{most:g}}}{{{least:g}}} = {math.log(ratio):.3g}$, and $\tanh(H/4)$. A factor that all "
        rf"weights "
        "share cancels.",
        (
            (100 * (most - 1), "That is the largest error of a weight. An output is a quotient, and an average."),
            (
                100 * (ratio - 1),
                "A factor that all weights share cancels; what is left is not yet an error of the output.",
            ),
            (100 * (ratio - 1) / (ratio + 1), r"That is $\tanh(H/2)$. The theorem has $\tanh(H/4)$."),
        ),
    )
