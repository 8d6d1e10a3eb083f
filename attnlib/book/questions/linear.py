"""Questions of *Linear attention*."""

import math
from random import Random

from attnlib.book.questions import Number, tex


def equal(draw: Random) -> Number:
    """Where both brackets cost the same."""
    d_v = draw.choice((32, 64, 96, 128, 256))
    features = 8 * draw.randrange(3 * d_v // 8, 16 * d_v // 8)
    meet = 2 * features * d_v / (features + d_v)
    return Number(
        f"A head has $D = {tex(features)}$ features and values of width $d_v = {d_v}$. From which length on does it "
        f"take "
        "fewer operations to form the sums first, without a mask?",
        meet,
        "tokens",
        0.01,
        rf"$2n^2(D + d_v) = 4nDd_v$ at $n = \frac{{2Dd_v}}{{D + d_v}} = \frac{{{tex(2 * features * d_v)}}}"
        rf"{{{tex(features + d_v)}}}$.",
        (
            (
                features,
                "That is the number of features. The values' width counts as well, and the smaller number more.",
            ),
            ((features + d_v) / 2, "That is the arithmetic mean of $D$ and $d_v$. It is the harmonic one."),
            (meet / 2, "Sums are formed and then read: $4nDd_v$ in all."),
        ),
    )


def chunks(draw: Random) -> Number:
    """Operations in causal chunks."""
    d_v, chunk, n = draw.choice((64, 128)), draw.choice((64, 128, 256)), 1024 * draw.randrange(2, 65)
    features = d_v * draw.choice((1, 2, 3, 4))
    pairs, sums = 2 * n * chunk * (features + d_v), 4 * n * features * d_v
    return Number(
        f"Causal linear attention takes $n = {tex(n)}$ tokens in chunks of $C = {chunk}$, with $D = {features}$ "
        f"features and values of width $d_v = {d_v}$. How many operations is that for one head, all pairs within a "
        f"chunk "
        "computed?",
        (pairs + sums) / 1e9,
        "GFLOP",
        0.01,
        rf"$2nC(D + d_v) + 4nDd_v = 2 \cdot {tex(n)} \cdot {chunk} \cdot {features + d_v} + 4 \cdot {tex(n)} \cdot "
        rf"{features} \cdot {d_v}$.",
        (
            (sums / 1e9, "Those are the sums between chunks. The pairs within a chunk are computed, too."),
            (2 * n * n * (features + d_v) / 1e9, "That is the square: each token meets its own chunk only."),
        ),
    )


def lost(draw: Random) -> Number:
    """What a state must lose."""
    features = 16 * draw.randrange(2, 33)
    pairs = round(features * draw.randrange(23, 61) / 10)
    share = features / pairs
    return Number(
        f"A state has $D = {features}$ features, and $p = {tex(pairs)}$ pairs are stored in it. Keys, queries and "
        f"feature "
        "map may be the best ones. Which share of the values' variance is lost, at least?",
        100 * (1 - share),
        "%",
        0.01,
        rf"$1 - D/p = 1 - {features}/{tex(pairs)}$.",
        (
            (100 * share, "That is what can be kept, $D/p$."),
            (100 * math.sqrt(1 - share), "The root of it is the size of the error. The variance is its square."),
        ),
    )
