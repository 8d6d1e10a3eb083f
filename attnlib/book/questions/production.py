"""Questions of *Whole models in production*."""

from random import Random

from attnlib import cost
from attnlib.book.questions import Number, tex


def hybrid(draw: Random) -> Number:
    """Cache of a hybrid."""
    every, window, times = draw.randrange(3, 9), 512 * draw.randrange(1, 9), draw.randrange(10, 25)
    t = window * times
    share = (t + (every - 1) * window) / (every * t)
    return Number(
        f"One of {every} layers of a model is full, all others have a window of ${tex(window)}$ positions. Which "
        f"share of the cache of full layers does it keep at $t = {tex(t)}$ positions?",
        100 * share,
        "%",
        0.01,
        rf"$\frac{{1}}{{{every}}} + \frac{{{every - 1}}}{{{every}}} \cdot \frac{{{tex(window)}}}{{{tex(t)}}}$.",
        (
            (100 / every, "Those are the full layers. A window has a cache, too."),
            (100 / times, "That is a layer with a window. Full layers keep everything."),
            (100 / every + 100 / times, f"Only {every - 1} of {every} layers have a window."),
        ),
    )


def ceiling(draw: Random) -> Number:
    """Rate that no batch exceeds."""
    device = cost.ACCELERATORS[draw.choice(("A100", "H100", "TPU v5p"))]
    layers, h_kv, t = draw.randrange(24, 81), draw.choice((4, 8)), 4096 * draw.randrange(1, 17)
    bandwidth, cache = float(device.bandwidth), cost.kv_cache(t, 128, h_kv=h_kv, layers=layers)  # type: ignore[arg-type]
    weights = 2e9 * draw.randrange(4, 31)
    return Number(
        f"The {device.name} reads {bandwidth / 1e12:.4g} TB/s. It serves texts of ${tex(t)}$ tokens with a model of "
        f"{layers} layers and {h_kv} key heads of width 128, whose weights take {weights / 1e9:.0f} GB, all in "
        f"sixteen bits. Above "
        "how many tokens a second, of all texts together, does no batch lift it?",
        bandwidth / cache,
        "tokens/s",
        0.02,
        rf"Bandwidth over the cache of one text: ${bandwidth / 1e12:.4g} \cdot 10^{{12}} / (2 \cdot {layers} \cdot "
        rf"{h_kv} \cdot 128 \cdot 2 \cdot {tex(t)})$.",
        (
            (bandwidth / (weights + cache), "That is a single text. A batch shares the weights."),
            (2 * bandwidth / cache, "Keys and values are both read."),
        ),
    )
