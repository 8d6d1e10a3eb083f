"""The numbers of *A reduction*."""

from __future__ import annotations

from typing import Any

from tools.assignments.draw import Draw


def given(seed: int) -> dict[str, Any]:
    """Draw them: what the start-up promises, and the formulas, vectors and errors of the tests."""
    draw = Draw("reduction", seed)
    return {
        "sold": {
            "mu": draw.whole("mu", 250, 150, 440, 10) / 1000,
            "variables": draw.whole("sold variables", 60, 40, 100, 2),
            "clauses": draw.whole("sold clauses", 400, 200, 900, 10),
            "logit": draw.whole("logit", 8, 3, 12),
        },
        "own": {
            "variables": draw.whole("own variables", 10, 8, 13),
            "clauses": draw.whole("own clauses", 38, 24, 44),
            "draw": draw.whole("own draw", 1, 2, 10**6),
        },
        "formulas": {
            "draw": draw.whole("formulas", 2, 3, 10**6),
            "variables": draw.one("variables", 9, (7, 11)),
            "clauses": draw.whole("clauses", 40, 20, 60),
        },
        "scores": {
            "draw": draw.whole("scores", 3, 4, 10**6),
            "n_a": draw.whole("n_a", 20, 9, 40),
            "n_b": draw.whole("n_b", 31, 41, 60),
            "width": draw.whole("width", 12, 6, 30),
            "c": draw.whole("c", 55, 30, 90) / 10,
            "tau": draw.whole("tau", 21, 10, 40) / 10,
        },
        "errors": {
            "n": draw.whole("n", 1024, 500, 5000),
            "additive": draw.whole("additive", 310, 200, 450) / 1000,
            "multiplicative": draw.whole("multiplicative", 600, 300, 900) / 1000,
        },
        "graph": {"draw": draw.whole("graph", 4, 5, 10**6), "vertices": draw.whole("vertices", 23, 15, 35)},
    }
