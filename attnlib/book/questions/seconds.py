"""Questions of *From operations to seconds*."""

from random import Random

from attnlib import cost
from attnlib.book.questions import Number

LARGE = ("A100", "H100", "TPU v5p")
DEVICES = (*LARGE, "L4", "TPU v5e", "TPU v6e")


def _peaks(draw: Random, names: tuple[str, ...]) -> tuple[cost.Device, str, float, float]:
    device = cost.ACCELERATORS[draw.choice(names)]
    flops, moved = device.ridge("bfloat16") * float(device.bandwidth), float(device.bandwidth)  # type: ignore[arg-type]
    said = f"{flops / 1e12:.4g} TFLOP/s in sixteen bits and {moved / 1e12:.4g} TB/s"
    return device, said, flops, moved


def step(draw: Random) -> Number:
    """Time of a step."""
    device, said, rate, bandwidth = _peaks(draw, DEVICES)
    # What takes less time takes a fifth to four fifths of what decides.
    longer, share, waits = draw.randrange(5, 200) / 100, draw.randrange(20, 81) / 100, draw.random() < 0.5
    flops = float(f"{rate * longer / 1e3 * (share if waits else 1):.2g}")
    moved = float(f"{bandwidth * longer / 1e3 * (1 if waits else share):.2g}")
    computing, moving = 1e3 * flops / rate, 1e3 * moved / bandwidth
    more, less = max(computing, moving), min(computing, moving)
    what = "arithmetic" if computing > moving else "memory"
    return Number(
        f"By its published peaks, the {device.name} does {said}. A step of large products has ${flops / 1e9:.15g}$ "
        f"GFLOP and moves ${moved / 1e6:.15g}$ MB. How long does it take by the roofline?",
        more,
        "ms",
        0.02,
        rf"$\max({computing:.3g}, {moving:.3g})$ ms: FLOPs over FLOP/s, and bytes over bytes per second. It waits "
        rf"for "
        f"the {what}.",
        (
            (less, "That is the part that is over first. The step takes as long as the longer of the two."),
            (more + less, "Arithmetic and movement go on at the same time, so the longer one decides, not the sum."),
        ),
    )


def decoding(draw: Random) -> Number:
    """Floor of a decode step."""
    device, said, rate, bandwidth = _peaks(draw, LARGE)
    billions, batch = draw.randrange(1, 15), draw.randrange(4, 17)
    cached = draw.randrange(25, 100) / 100
    weights, caches = 2e9 * billions, 1e9 * cached * batch
    return Number(
        f"A decode step of a model with {billions} billion parameters in sixteen bits serves {batch} different "
        f"texts, whose caches take {cached:g} GB each. The {device.name} does {said}. What is the least time that "
        f"the step "
        "takes?",
        1e3 * (weights + caches) / bandwidth,
        "ms",
        0.02,
        rf"${weights / 1e9:g}$ GB of weights, read once, and ${batch} \cdot {cached:g}$ GB of caches over "
        f"${bandwidth / 1e12:.4g}$ TB/s.",
        (
            (1e3 * batch * weights / rate, "So long takes the arithmetic on the weights. It waits for the memory."),
            (1e3 * (batch * weights + caches) / bandwidth, "The texts of a batch share each read of the weights."),
            (1e3 * (weights + 1e9 * cached) / bandwidth, "Each text has a cache of its own."),
        ),
    )
