"""Questions of *Hashing, routing and selected keys*."""

import math
from random import Random

from attnlib.book.questions import Number, tex


def pays(draw: Random) -> Number:
    """Where an indexer pays."""
    # No product of these makes the indexer a half or a third of attention, where two answers would be the same.
    narrow, width, h = draw.choice((32, 48, 64)), draw.choice((64, 128)), draw.choice((80, 112, 128))
    t = 256 * draw.randrange(2, 17)
    share = narrow * width / (h * 256)
    return Number(
        f"An indexer with $h_I = {narrow}$ heads of width $d_I = {width}$ chooses $t = {tex(t)}$ keys for an "
        f"attention of $h = {h}$ heads with $d_k = d_v = 128$. From how many keys on do both together take fewer "
        f"operations than full "
        "attention?",
        t / (1 - share),
        "keys",
        0.01,
        rf"$\sigma = \frac{{h_I d_I}}{{h(d_k + d_v)}} = \frac{{{narrow} \cdot {width}}}{{{h} \cdot 256}} = "
        rf"{share:.4g}$, and $t/(1 - \sigma)$.",
        (
            (t, "The search is not free: every key has to be scored."),
            (t / share, r"From $t/\sigma$ on the indexer is the larger part of the work."),
            (t / (1 - 2 * share), "Attention multiplies with keys and with values, $d_k + d_v$ for a pair."),
        ),
    )


def rounds(draw: Random) -> Number:
    """Rounds of hashing."""
    chance, recall = draw.randrange(10, 201) / 1000, draw.choice((90, 95, 99))
    needed = math.ceil(math.log(1 - recall / 100) / math.log(1 - chance))
    return Number(
        f"In a round of hashing, a query shares a bucket with its heaviest key with a probability of "
        f"{100 * chance:.3g} %. How many independent rounds find that key with a probability of {recall} %?",
        needed,
        "rounds",
        0.0,
        rf"All $r$ rounds miss it with probability $(1 - {chance:g})^r$, which has to be at most "
        rf"${1 - recall / 100:.2g}$: $r = \lceil \ln {1 - recall / 100:.2g} / \ln {1 - chance:g} \rceil$.",
        (
            (
                math.ceil(1 / chance),
                "So many rounds find it once on average. All of them miss it with a probability of "
                f"{100 * (1 - chance) ** math.ceil(1 / chance):.0f} %.",
            ),
            (
                math.ceil(math.log(1 - recall / 100) / math.log(chance)),
                "What has to become small is the probability that all rounds miss it, not that all find it.",
            ),
        ),
    )
