"""Questions of *Recurrence and convolution*."""

from random import Random

from attnlib import cost
from attnlib.book.questions import Number, tex


def path(draw: Random) -> Number:
    """Layers that connect all positions."""
    n, k = draw.randrange(200, 8001), draw.choice((3, 5, 7, 9))
    return Number(
        f"Causal convolutions of width $k = {k}$, without dilation, are stacked. How many layers does it take until "
        f"the last of ${tex(n)}$ positions knows of the first?",
        cost.conv_path(n, k, causal=True),
        "layers",
        0.0,
        rf"$\lceil (n - 1)/(k - 1) \rceil = \lceil {tex(n - 1)} / {k - 1} \rceil$.",
        (
            (cost.conv_path(n, k, causal=True, dilated=True), r"$\lceil \log_k n \rceil$ takes dilated kernels."),
            (cost.conv_path(n, k), "So many take centred kernels, which reach half as far back."),
            (-(-n // k), r"A layer reaches $k - 1$ positions back, since a kernel covers its own position, too."),
        ),
    )


def gru(draw: Random) -> Number:
    """Attention against a GRU."""
    d = 128 * draw.randrange(4, 33)
    n = 64 * draw.randrange(3 * d // 128, 4 * d // 64)
    layer, core = cost.multihead_attention(n, d, 1).matmul_flops, cost.attention(n, d).matmul_flops
    vanilla, gated, lstm = (model(n, d).matmul_flops for model in (cost.rnn, cost.gru, cost.lstm))
    return Number(
        f"A self-attention layer with its projections and a GRU, both of width $d = {tex(d)}$, read $n = {tex(n)}$ "
        "tokens. How many times the operations of the GRU does attention do in matrix products?",
        layer / gated,
        "",
        0.02,
        rf"$\frac{{8nd^2 + 4n^2d}}{{12nd^2}} = \frac{{2d + n}}{{3d}} = \frac{{{tex(2 * d + n)}}}{{{tex(3 * d)}}}$.",
        (
            (core / gated, "The projections are part of the layer: $8nd^2$ besides the core."),
            (
                layer / vanilla,
                "A vanilla layer takes $4nd^2$. A GRU has three such products: two gates and the state.",
            ),
            (layer / lstm, "Four such products has the LSTM. A GRU has three."),
        ),
    )
