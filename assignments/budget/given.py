"""The numbers of *Choose a variant for a budget*."""

from __future__ import annotations

from typing import Any

from tools.assignments.draw import Draw


def given(seed: int) -> dict[str, Any]:
    """Draw them: the archive's job, the variants on offer, and jobs of the tests."""
    draw = Draw("budget", seed)
    n = draw.whole("n", 65_536, 32_768, 131_072, 4096)
    d = draw.one("d", 64, (48, 72, 80, 96))
    heads, layers = draw.whole("heads", 16, 8, 32), draw.whole("layers", 24, 12, 48)
    exact = 2 * n * (n + 1) * d * heads * layers  # FLOPs of the visible pairs
    return {
        "job": {
            "n": n,
            "d": d,
            "heads": heads,
            "layers": layers,
            # Enough for the visible pairs and not for all, so that the third voice is wrong.
            "tflop": draw.one("room", 275, range(exact * 11 // 10**13 + 1, exact * 18 // 10**13 + 1)),
            "mib": draw.whole("mib", 256, 40, 500, 4),
            "size": draw.whole("size", 20, 10, 40) / 10,
            "tolerance": draw.whole("tolerance", 10, 5, 60) / 1000,
        },
        "window": draw.whole("window", 1024, 512, 2000, 8),
        "features": draw.whole("features", 128, 64, 400, 8),
        "costs": {
            "n": draw.whole("costs n", 300, 150, 600),
            "d": draw.whole("costs d", 10, 5, 20),
            "w": draw.whole("costs w", 50, 20, 120),
            "features": draw.whole("costs features", 33, 15, 70),
        },
        "draw": draw.whole("draw", 1, 2, 10**6),
        "distance": draw.whole("distance", 5000, 1000, 20_000),
    }
