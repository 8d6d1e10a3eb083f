"""Questions of *Memory*."""

from random import Random

from attnlib import cost
from attnlib.book.questions import Number, tex

GIB = 2**30
DECIMAL = "That number is in GB. A GiB has $2^{30}$ bytes, 7 % more than $10^9$."


def weights(draw: Random) -> Number:
    """Bytes of the attention weights."""
    n, h = 1024 * draw.randrange(4, 65), 8 * draw.randrange(1, 13)
    held = cost.attention(n, 64, h=h)["softmax"].bytes_written
    return Number(
        f"A layer with $h = {h}$ heads attends over $n = {tex(n)}$ tokens and writes its attention weights down in "
        "float32. How much memory does one copy of them take?",
        held / GIB,
        "GiB",
        0.02,
        f"$4hn^2 = 4 \\cdot {h} \\cdot {tex(n)}^2$ bytes, divided by $2^{{30}}$.",
        (
            (held / h / GIB, "That is one head. Each has a square of its own."),
            (held / 1e9, DECIMAL),
            (held / 4 / GIB, "A number in float32 takes four bytes."),
        ),
    )


def cache(draw: Random) -> Number:
    """Bytes of a cache."""
    layers, h_kv, shared = draw.randrange(16, 97), draw.choice((4, 8, 16)), draw.choice((3, 4, 8))
    m = 4096 * draw.randrange(1, 33)
    held = cost.kv_cache(m, 128, h_kv=h_kv, layers=layers)
    return Number(
        f"A model has ${layers}$ layers with ${h_kv * shared}$ query heads and $h_{{kv}} = {h_kv}$ heads of keys and "
        f"values, all 128 wide. How much memory does its KV cache take for one text of ${tex(m)}$ tokens, in sixteen "
        "bits?",
        held / GIB,
        "GiB",
        0.02,
        f"$2 \\cdot 128$ numbers of two bytes for each position, key head and layer: $2 \\cdot 256 \\cdot {tex(m)} "
        f"\\cdot {h_kv} \\cdot {layers}$ bytes, divided by $2^{{30}}$.",
        (
            (held / 2 / GIB, "Keys and values are kept, both."),
            (held * shared / GIB, "The number of query heads does not matter: queries are not kept."),
            (held / layers / GIB, "Each layer keeps its own."),
            (held / 1e9, DECIMAL),
        ),
    )
