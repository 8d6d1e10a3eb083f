"""Questions of *Low rank*."""

import math
from random import Random

from attnlib import cost
from attnlib.book.questions import Number, tex


def lookup(draw: Random) -> Number:
    """What the best low rank leaves."""
    rank = 8 * draw.randrange(4, 65)
    n = round(rank * draw.randrange(35, 121) / 10)
    share = rank / n
    return Number(
        f"A head looks up $n = {tex(n)}$ different things: its weights are a permutation. Which error does the best "
        f"matrix of rank $r = {rank}$ leave, as a share of the weights' size (the root of the sum of all squares)?",
        100 * math.sqrt(1 - share),
        "%",
        0.01,
        rf"All singular values are one, so $\sqrt{{(n - r)/n}} = \sqrt{{1 - {rank}/{tex(n)}}}$.",
        (
            (100 * (1 - share), "That is the share of the squares. The size is the root of their sum."),
            (100 * math.sqrt(share), "That is the size of what the matrix of low rank holds."),
            (100 * share, "That is the share of the singular values that are kept."),
        ),
    )


def linformer(draw: Random) -> Number:
    """Operations of Linformer."""
    d, h, rank = draw.choice((64, 128)), 4 * draw.randrange(2, 17), 64 * draw.randrange(1, 9)
    n = 8 * rank * draw.randrange(1, 17)
    made = cost.linformer_attention(n, d, rank, h=h).matmul_flops
    return Number(
        f"Linformer with $r = {rank}$ mixtures runs on $n = {tex(n)}$ tokens in $h = {h}$ heads, $d_k = d_v = {d}$. "
        f"How "
        "many operations in matrix products is its core, mixing included?",
        made / 1e9,
        "GFLOP",
        0.02,
        rf"$8ndr$ for each head, $2ndr$ for each of four products: $8 \cdot {tex(n)} \cdot {d} \cdot {rank} \cdot "
        rf"{h}$.",
        (
            (made / 2e9, "Keys and values have to be mixed first: $2ndr$ for each of the two."),
            (cost.attention(n, d, h=h).matmul_flops / 1e9, "That is exact attention, $4n^2d$ for each head."),
            (made / h / 1e9, f"That is one of ${h}$ heads."),
        ),
    )
