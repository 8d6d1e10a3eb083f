"""The numbers of *A kernel*."""

from __future__ import annotations

from typing import Any

from tools.assignments.draw import Draw


def given(seed: int) -> dict[str, Any]:
    """Draw them: the lengths of the story, and sizes of the tests' arrays, which are no multiples of a block."""
    draw = Draw("kernel", seed)
    block = draw.one("block", 8, (7, 9, 10, 11, 12))
    return {
        "draw": draw.whole("draw", 1, 2, 10**6),
        "story": {
            "n": draw.whole("n", 32_768, 16_384, 65_536, 1024),
            "d": draw.one("d", 64, (48, 80, 96, 112, 128)),
            "rest": draw.whole("rest", 17, 3, 60),
        },
        "block": block,
        "few": draw.one("few", 21, [x for x in range(18, 30) if x % block]),
        "many": draw.one("many", 37, [x for x in range(32, 48) if x % block]),
        "d_k": draw.whole("d_k", 5, 3, 9),
        "d_v": draw.whole("d_v", 6, 2, 8),
        "length": draw.whole("length", 1000, 960, 1100),
        "size": draw.whole("size", 300, 200, 400),
    }
