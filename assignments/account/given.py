"""The numbers of *Account for a layer*."""

from __future__ import annotations

from typing import Any

from tools.assignments.draw import Draw


def given(seed: int) -> dict[str, Any]:
    """Draw them: a layer, the memory of a machine, a model, and the two lengths of the story."""
    draw = Draw("account", seed)
    d_k = draw.one("d_k", 128, (48, 72, 80, 96, 112))
    h_kv = draw.whole("h_kv", 4, 2, 9)
    h = draw.one("h", 24, [h_kv * group for group in (2, 3, 4, 5, 6, 8)])
    d = draw.one("d", 1536, [d for d in range(1024, 4097, 64) if d != h * d_k])  # a head's width is not d/h
    return {
        "short": draw.whole("short", 1024, 768, 1920, 64),
        "long": draw.whole("long", 16384, 12288, 40960, 1024),
        "layer": {
            "n": draw.whole("n", 2048, 1000, 4000),
            "d": d,
            "h": h,
            "h_kv": h_kv,
            "d_k": d_k,
            "d_ff": draw.whole("d_ff", 6144, 3000, 12000, 8),
            "batch": draw.whole("batch", 3, 2, 9),
        },
        "memory": {
            "gib": draw.whole("gib", 40, 12, 96),
            "h": draw.whole("memory h", 32, 12, 40),
            "batch": draw.whole("memory batch", 4, 2, 9),
            "itemsize": draw.one("itemsize", 4, (2, 8)),
            "copies": draw.one("copies", 2, (3, 4)),
            "another_n": draw.whole("fits", 7301, 3000, 9000),
        },
        "model": {
            "layers": draw.whole("layers", 28, 10, 60),
            "d": draw.whole("model d", 1152, 512, 4096, 64),
            "d_ff": draw.whole("model d_ff", 5000, 2000, 16000, 8),
            "vocab": draw.whole("vocab", 32003, 20000, 60000),
            "positions": draw.whole("positions", 3000, 1000, 5000),
            "n": draw.whole("model n", 2500, 500, 6000),
        },
    }
