"""Cost of a mixture of experts: many feed-forward layers, of which a position is sent to a few."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnlib.cost._sizes import Number, itemsizes, size, smallest, symbolic
from attnlib.cost.algebra import Cost, Step


def mixture_of_experts(
    n: Number,
    d: Number,
    experts: Number,
    active: Number,
    *,
    d_ff: Number | None = None,
    batch: Number = 1,
    dtype: Any = "float32",
) -> Cost:
    """Cost of a mixture of experts in the place of `feed_forward`: a router, then `active` layers for each position.

    active · 4nd·d_ff + 2nd·experts FLOPs in matrix products: those of experts that a position is not sent to are not
    among them, and nothing of attention is. Memory holds all experts.

    Args:
        n: positions.
        d: model width.
        experts: feed-forward layers there are.
        active: how many of them a position is sent to.
        d_ff: inner width of one expert; 4d by default.
        batch: sequences.
        dtype: of x and the parameters; the router's scores are float32 at least.

    Returns:
        A `Cost` with the steps "router", "choice", "up", "activation", "down" and "mixing". Its parameters are all
        there are, of which `active_parameters` work on a position. Weights are read once for every expert that has a
        position: as many experts as the positions can reach, min(experts, batch · n · active).

    Raises:
        ValueError: a size below 1 or not whole, more active experts than there are, an unknown dtype.

    Source: Shazeer et al. (2017), section 2, with the two layers of `feed_forward` as experts.

    Example:
        >>> from attnlib.cost.feed_forward import feed_forward
        >>> mixture, dense = mixture_of_experts(4096, 1024, 64, 2), feed_forward(4096, 1024)
        >>> mixture.parameters // dense.parameters, round(mixture.matmul_flops / dense.matmul_flops, 2)
        (64, 2.01)
    """
    name = "cost.mixture_of_experts"
    n, batch = size(name, "n", n), size(name, "batch", batch)
    d, experts, active, d_ff = _sizes(name, d, experts, active, d_ff)
    b, w = itemsizes(name, dtype)
    positions = batch * n
    sent, scores = positions * active, positions * experts
    weights = smallest(experts, sent) * d * d_ff * b  # of one of the two layers
    x, inner = sent * d * b, sent * d_ff * b
    steps = (
        Step(
            "router",
            2 * scores * d,
            bytes_read=(positions * d + d * experts) * b,
            bytes_written=scores * w,
            allocated=scores * w,
        ),
        # The largest score, a difference, a sum; the best are divided by it.
        Step("choice", 0, 3 * scores + sent, scores, bytes_read=scores * w, bytes_written=2 * sent * w),
        Step("up", 2 * sent * d * d_ff, bytes_read=x + weights, bytes_written=inner, allocated=inner),
        Step("activation", 0, sent * d_ff, bytes_read=inner, bytes_written=inner),
        Step("down", 2 * sent * d * d_ff, bytes_read=inner + weights, bytes_written=x, allocated=x),
        Step("mixing", 0, 2 * sent * d, bytes_read=x + sent * w, bytes_written=positions * d * b),
    )
    return Cost(steps, parameters=d * experts + 2 * experts * d * d_ff, live=inner + x, path=0)


def active_parameters(d: Number, experts: Number, active: Number, *, d_ff: Number | None = None) -> Number:
    """Count the parameters of a mixture of experts that work on one position: the router's and its experts'.

    d·experts + active · 2d·d_ff

    Args:
        d: model width.
        experts: feed-forward layers there are.
        active: how many of them a position is sent to.
        d_ff: inner width of one expert; 4d by default.

    Returns:
        Numbers: what decoding one position reads.

    Raises:
        ValueError: as `mixture_of_experts`.

    Source: Shazeer et al. (2017).

    Example:
        >>> active_parameters(1024, 64, 2), mixture_of_experts(1, 1024, 64, 2).parameters
        (16842752, 536936448)
    """
    d, experts, active, d_ff = _sizes("cost.active_parameters", d, experts, active, d_ff)
    return d * experts + 2 * active * d * d_ff


def _sizes(
    name: str, d: Number, experts: Number, active: Number, d_ff: Number | None
) -> tuple[Number, Number, Number, Number]:
    d, experts, active = size(name, "d", d), size(name, "experts", experts), size(name, "active", active)
    if not symbolic(experts, active) and np.any(np.asarray(active > experts)):
        raise ValueError(f"{name}: active: expected at most experts = {experts}, got {active}")
    return d, experts, active, 4 * d if d_ff is None else size(name, "d_ff", d_ff)
