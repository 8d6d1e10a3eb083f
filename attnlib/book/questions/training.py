"""Questions of *Training a whole model*."""

from random import Random

from attnlib.book.questions import Number, tex


def token(draw: Random) -> Number:
    """Operations of a trained token."""
    heads, layers = draw.randrange(16, 97), draw.randrange(16, 97)
    width = 128 * heads
    billions = round(12 * layers * width**2 / 1e8) / 10
    n = 1024 * draw.randrange(width // 1024 + 1, 8 * width // 1024)
    six, pairs = 6e9 * billions, 6 * n * layers * width
    return Number(
        f"A dense causal model has $P = {billions:g}$ billion parameters at work on a token, ${layers}$ layers and "
        f"$hd_k = {tex(width)}$. It is trained on sequences of $n = {tex(n)}$. How many operations is a token, "
        f"forward "
        "and backward, with no pair that the mask hides?",
        (six + pairs) / 1e9,
        "GFLOP",
        0.02,
        rf"$6P + 6nLhd_k = 6 \cdot {billions:g} \cdot 10^9 + 6 \cdot {tex(n)} \cdot {layers} \cdot {tex(width)}$.",
        (
            (six / 1e9, "That is $6ND$. Scores and values have no parameters, and take $6nLhd_k$."),
            ((six + 2 * pairs) / 1e9, "That is PaLM's formula, which counts hidden pairs."),
            ((six + pairs) / 3e9, "That is the forward pass. The backward pass takes twice as much."),
        ),
    )


def hours(draw: Random) -> Number:
    """Hours of training."""
    flops, trillions, share = draw.randrange(10, 600), draw.randrange(1, 21), draw.randrange(25, 61)
    peak = draw.choice((312, 989, 459))
    seconds = flops * 1e9 * trillions * 1e12 / (share / 100 * peak * 1e12)
    return Number(
        f"A model takes {flops} GFLOP a token, forward and backward, and is trained on {trillions} trillion tokens, "
        f"at {share} % of a device's peak of {peak} TFLOP/s. How many thousand hours of one device is that?",
        seconds / 3.6e6,
        "thousand hours",
        0.02,
        rf"$\frac{{{flops} \cdot 10^9 \cdot {trillions} \cdot 10^{{12}}}}"
        rf"{{{share / 100:g} \cdot {peak} \cdot 10^{{12}}}}$ "
        "seconds, and 3.6 million of them are a thousand hours.",
        (
            (seconds * share / 3.6e8, "So long it would take at the full peak."),
            (seconds / 6e4, "Those are thousand minutes."),
            (3 * seconds / 3.6e6, "Forward and backward are both in the number already."),
        ),
    )
