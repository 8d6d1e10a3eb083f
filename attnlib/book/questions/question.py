"""Questions of *The question*."""

from random import Random

from attnlib import cost
from attnlib.book.questions import Number, tex


def layer(draw: Random) -> Number:
    """Operations of a layer."""
    d = 64 * draw.randrange(16, 65)
    n = 64 * draw.randrange(d // 256, d // 48)  # up to 4d/3: the core is then far from half of the whole
    whole, core = cost.multihead_attention(n, d, 1).matmul_flops, cost.attention(n, d).matmul_flops
    return Number(
        f"A self-attention layer of width $d = {tex(d)}$ reads $n = {tex(n)}$ tokens. How many operations are in its "
        "matrix products, projections and core together?",
        whole / 1e9,
        "GFLOP",
        0.02,
        rf"$8nd^2 + 4n^2d = 8 \cdot {tex(n)} \cdot {tex(d)}^2 + 4 \cdot {tex(n)}^2 \cdot {tex(d)}$.",
        (
            (core / 1e9, "That is the core alone, $4n^2d$. The four projections take $8nd^2$ besides."),
            ((whole - core) / 1e9, "Those are the projections, $8nd^2$. Every pair is still to be compared."),
            (whole / 2e9, "A multiply and an add are two operations."),
        ),
    )


def doubled(draw: Random) -> Number:
    """By what a layer grows."""
    d = 128 * draw.randrange(8, 97)
    n = 128 * draw.randrange(d // 256, 6 * d // 128)
    grown = cost.multihead_attention(2 * n, d, 1).matmul_flops / cost.multihead_attention(n, d, 1).matmul_flops
    whole = cost.transformer_layer(2 * n, d, 1).matmul_flops / cost.transformer_layer(n, d, 1).matmul_flops
    return Number(
        f"A self-attention layer has the width $d = {tex(d)}$. Its texts become twice as long, from $n = {tex(n)}$ "
        f"to ${tex(2 * n)}$ tokens. By which factor do the operations in its matrix products grow?",
        grown,
        "",
        0.01,
        rf"$\frac{{16nd^2 + 16n^2d}}{{8nd^2 + 4n^2d}} = \frac{{4(d + n)}}{{2d + n}}$ with $d = {tex(d)}$ and "
        f"$n = {tex(n)}$.",
        (
            (4.0, "So grows the core. The projections only double."),
            (2.0, "So grow the projections. The core becomes four times as large."),
            (whole, "So grows a whole Transformer layer, whose feed-forward layer only doubles, too."),
        ),
    )
