"""Questions of *Tiles*."""

from random import Random

from attnlib.book.questions import Number, tex


def traffic(draw: Random) -> Number:
    """Traffic of the tiles."""
    n, d, kib = 1024 * draw.randrange(4, 129), draw.choice((64, 96, 128)), 4 * draw.randrange(25, 58)
    fast = kib * 2**10 // 2
    moved = 2 * 8 * n * n * d * d / fast
    return Number(
        f"Attention in tiles takes $n = {tex(n)}$ tokens of a head of width $d = {d}$, with queries in the outer "
        f"loop and half of a fast memory of ${kib}$ KiB for what stays there. All numbers have sixteen bits. How "
        f"much is moved by "
        "$8n^2d^2/M$?",
        moved / 1e6,
        "MB",
        0.02,
        rf"$M = {kib} \cdot 1024 / 2 = {tex(fast)}$ numbers, so $8 \cdot {tex(n)}^2 \cdot {d}^2 / {tex(fast)}$ "
        rf"numbers of two "
        "bytes.",
        (
            (moved / 4e6, "$M$ counts numbers, not bytes, and each number that is moved takes two bytes."),
            (1.5 * moved / 1e6, "That is with keys in the outer loop, where outputs travel, too: $12n^2d^2/M$."),
            (
                8 * n * d / 1e6,
                "Those are inputs and output once. Keys and values stream past for each block of queries.",
            ),
        ),
    )


def segments(draw: Random) -> Number:
    """Memory with checkpoints."""
    size, saved, mib = draw.randrange(2, 7), draw.randrange(10, 35), 16 * draw.randrange(1, 17)
    layers = size * draw.randrange(6, 17)
    held = (layers // size + size * saved) * mib
    return Number(
        f"A stack has ${layers}$ layers. The input of each takes ${mib}$ MiB, and a layer saves ${saved}$ times as "
        f"much for its backward pass. How much is kept with checkpoints in segments of ${size}$ layers?",
        held / 1024,
        "GiB",
        0.01,
        rf"The inputs of ${layers // size}$ segments, and what the layers of one segment save: $({layers}/{size} + "
        rf"{size} \cdot {saved}) \cdot {mib}$ MiB.",
        (
            (layers * saved * mib / 1024, "So much is kept without checkpoints."),
            (size * saved * mib / 1024, "The input of each segment is kept as well, to compute it again from there."),
        ),
    )
