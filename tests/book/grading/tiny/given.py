"""The numbers."""

from typing import Any

from tools.assignments.draw import Draw


def given(seed: int) -> dict[str, Any]:
    """Draw them."""
    draw = Draw("tiny", seed)
    return {"n": draw.whole("n", 5, 3, 9), "batch": draw.whole("batch", 2, 2, 9), "d": draw.whole("d", 4, 2, 8)}
