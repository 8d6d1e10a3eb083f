"""The numbers of *Recurrence against attention*."""

from __future__ import annotations

from typing import Any

from tools.assignments.draw import Draw


def given(seed: int) -> dict[str, Any]:
    """Draw them: layers, a machine, and the measurements that the tests make up."""
    draw = Draw("crossover", seed)
    return {
        "story": {"claimed": draw.whole("claimed", 2000, 500, 9000, 100)},
        "layer": {
            "d": draw.whole("d", 512, 256, 1024, 32),
            "width": draw.whole("width", 700, 300, 1500, 4),
            "n": draw.whole("n", 1500, 300, 4000),
        },
        "machine": {
            "gflops": draw.whole("gflops", 400, 100, 900, 10),
            "step_gflops": draw.whole("step_gflops", 20, 5, 60),
            "wait_us": draw.whole("wait_us", 5, 1, 20),
        },
        "measured": {"draw": draw.whole("measured", 1, 2, 10**6), "first": draw.whole("first", 16, 8, 40)},
    }
