"""Questions of *Sparse attention*."""

from random import Random

from attnlib import cost
from attnlib.book.questions import Number, tex


def window(draw: Random) -> Number:
    """Pairs of a causal window."""
    w = 64 * draw.randrange(4, 65)
    n = 64 * draw.randrange(3 * w // 64, 8 * w // 64)
    pairs = cost.window_pairs(n, w)
    return Number(
        f"A layer has a causal window of $w = {tex(w)}$ keys, the query's own included. How many pairs does it have "
        f"on $n = {tex(n)}$ tokens?",
        pairs / 1e6,
        "million",
        0.01,
        rf"$nw - \frac12 w(w - 1) = {tex(n)} \cdot {tex(w)} - \frac12 \cdot {tex(w)} \cdot {tex(w - 1)}$.",
        (
            (n * w / 1e6, "The first queries see fewer than $w$ keys, as nothing comes before the beginning."),
            (cost.visible_pairs(n, n) / 1e6, "That is a causal mask without a window."),
            (n * n / 1e6, "That is every pair."),
        ),
    )


def packed(draw: Random) -> Number:
    """Pairs of packed texts."""
    lengths = [64 * draw.randrange(*bounds) for bounds in ((8, 17), (20, 32), (40, 65))]
    draw.shuffle(lengths)
    total, squares = sum(lengths), sum(n * n for n in lengths)
    said = ", ".join(f"${tex(n)}$" for n in lengths[:-1]) + f" and ${tex(lengths[-1])}$"
    return Number(
        f"Texts of {said} tokens are packed into one row, with segments and no other mask. Which share of the row's "
        "pairs lies within a text, so that attention has to compute it?",
        100 * squares / total**2,
        "%",
        0.01,
        rf"$\sum n_i^2 / (\sum n_i)^2$: ${' + '.join(f'{tex(n)}^2' for n in lengths)}$ of ${tex(total)}^2$ pairs.",
        (
            (100 / len(lengths), "So it would be with three texts of the same length."),
            (100 * max(lengths) / total, "That is the longest text's share of the tokens. Pairs go by squares."),
        ),
    )
