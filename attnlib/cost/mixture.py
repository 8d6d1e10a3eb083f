"""Cost of a mixture of experts: many feed-forward layers, of which a position is sent to a few."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from attnlib import _check
from attnlib.cost._sizes import Number, itemsizes, size, smallest, symbolic
from attnlib.cost.algebra import Cost, Step
from attnlib.cost.formats import Format, format_of


def mixture_of_experts(
    n: Number,
    d: Number,
    experts: Number,
    active: Number,
    *,
    d_ff: Number | None = None,
    gated: bool = False,
    shared_d_ff: Number = 0,
    shared_gate: bool = False,
    batch: Number = 1,
    dtype: Any = "float32",
    weights: Any = None,
) -> Cost:
    """Cost of a mixture of experts in the place of `feed_forward`: a router, then `active` layers for each position.

    active · 4nd·d_ff + 2nd·experts FLOPs in matrix products, with gates 6 in place of 4; shared experts as much for
    their width as one of the active: those of experts that a position is not sent to are not among them, and nothing
    of attention is. Memory holds all experts.

    Args:
        n: positions.
        d: model width.
        experts: feed-forward layers there are, of which a router chooses.
        active: how many of them a position is sent to.
        d_ff: inner width of one expert; 4d by default.
        gated: whether a second matrix up makes a gate for the inner layer (SiLU), in place of ReLU.
        shared_d_ff: inner width of all experts together that every position passes through; 0: none.
        shared_gate: whether the shared ones are multiplied by a gate of one number a position.
        batch: sequences.
        dtype: of x and the parameters; the router's scores are float32 at least.
        weights: format of the parameters in memory: a `Format`, its name, or a dtype; None: dtype.

    Returns:
        A `Cost` with the steps "router", "choice", "up", "gate" with gates, "activation", "down", the shared ones'
        "shared up" and so on, and "mixing". Its parameters are all there are, of which `active_parameters` work on a
        position. Weights are read once for every expert that has a position: as many experts as the positions can
        reach, min(experts, batch · n · active).

    Raises:
        ValueError: a size below 1 or not whole, more active experts than there are, flags that are none, a gate of
            shared experts without any, an unknown dtype or format.

    Source: Shazeer et al. (2017), section 2, with the two layers of `feed_forward` as experts; DeepSeek-AI (2024),
    section 2.2, for shared ones.

    Example:
        >>> from attnlib.cost.feed_forward import feed_forward
        >>> mixture, dense = mixture_of_experts(4096, 1024, 64, 2), feed_forward(4096, 1024)
        >>> mixture.parameters // dense.parameters, round(mixture.matmul_flops / dense.matmul_flops, 2)
        (64, 2.01)
        >>> qwen = mixture_of_experts(1, 2048, 512, 10, d_ff=512, gated=True, shared_d_ff=512, shared_gate=True)
        >>> qwen.parameters  # of one layer of Qwen3-Next
        1614809088
    """
    name = "cost.mixture_of_experts"
    n, batch = size(name, "n", n), size(name, "batch", batch)
    s = _sizes(name, d, experts, active, d_ff, gated, shared_d_ff, shared_gate)
    b, w = itemsizes(name, dtype)
    stored = None if weights is None else format_of(name, "weights", weights)
    positions = batch * n
    sent, scores = positions * s.active, positions * s.experts
    products = {x.name: _product(x, positions, b, w, stored) for x in matrices(s)}
    inner = sent * s.d_ff + positions * s.shared_d_ff
    rows = sent + (positions if s.shared else 0)
    gate = positions if s.shared_gate else 0
    moved = (2 if gated else 1) * inner * b
    # Of a shared gate a sigmoid, and products with it; the first of the experts' rows is added to nothing.
    mixing = 2 * sent * s.d + (positions * s.d if s.shared else 0) + gate * (s.d + 3)
    choice = Step("choice", 0, 3 * scores + sent, scores, bytes_read=scores * w, bytes_written=2 * sent * w)
    activation = Step(
        "activation",
        0,
        (3 if gated else 1) * inner,
        inner if gated else 0,
        bytes_read=moved,
        bytes_written=inner * b,
    )
    x = rows * s.d * b
    mixed = Step("mixing", 0, mixing, gate, bytes_read=x + sent * w, bytes_written=positions * s.d * b)
    ups, downs = ("up", "gate", "shared up", "shared gate"), ("down", "shared down", "shared score")
    steps = (
        products["router"],
        choice,  # the largest score, a difference, a sum; the best are divided by it
        *(products[x] for x in ups if x in products),
        activation,  # ReLU compares; a gate's SiLU is an exponential, a sum, a division; and it multiplies
        *(products[x] for x in downs if x in products),
        mixed,
    )
    numbers = sum(x.copies * x.rows * x.columns for x in matrices(s))
    return Cost(steps, parameters=numbers, live=moved + x, path=0)


def active_parameters(
    d: Number,
    experts: Number,
    active: Number,
    *,
    d_ff: Number | None = None,
    gated: bool = False,
    shared_d_ff: Number = 0,
    shared_gate: bool = False,
) -> Number:
    """Count the parameters of a mixture of experts that work on one position: the router's and its experts'.

    d·experts + active · 2d·d_ff, with gates 3 in place of 2, and shared ones as much for their width

    Args:
        d: model width.
        experts: feed-forward layers there are.
        active: how many of them a position is sent to.
        d_ff: inner width of one expert; 4d by default.
        gated: as in `mixture_of_experts`.
        shared_d_ff: as in `mixture_of_experts`.
        shared_gate: as in `mixture_of_experts`.

    Returns:
        Numbers: what decoding one position reads.

    Raises:
        ValueError: as `mixture_of_experts`.

    Source: Shazeer et al. (2017).

    Example:
        >>> active_parameters(1024, 64, 2), mixture_of_experts(1, 1024, 64, 2).parameters
        (16842752, 536936448)
    """
    s = _sizes("cost.active_parameters", d, experts, active, d_ff, gated, shared_d_ff, shared_gate)
    return sum(x.active * x.rows * x.columns for x in matrices(s))


class Sizes(NamedTuple):
    """The sizes of a mixture of experts, checked."""

    d: Number
    experts: Number
    active: Number
    d_ff: Number
    gated: bool
    shared_d_ff: Number
    shared_gate: bool

    @property
    def shared(self) -> bool:
        """Whether there are experts that every position passes through."""
        return symbolic(self.shared_d_ff) or bool(np.any(np.asarray(self.shared_d_ff)))


class Part(NamedTuple):
    """A matrix: what it makes, its shape, how many there are, how many of them a position meets."""

    name: str
    rows: Number
    columns: Number
    copies: Number
    active: Number


def matrices(s: Sizes) -> tuple[Part, ...]:
    """List the matrices of a mixture of experts.

    Example:
        >>> [x.name for x in matrices(Sizes(8, 4, 2, 16, gated=True, shared_d_ff=0, shared_gate=False))]
        ['router', 'up', 'gate', 'down']
    """
    up = ("up", "gate") if s.gated else ("up",)
    found = [Part("router", s.d, s.experts, 1, 1)]
    found += [Part(x, s.d, s.d_ff, s.experts, s.active) for x in up]
    found.append(Part("down", s.d_ff, s.d, s.experts, s.active))
    if s.shared:
        found += [Part(f"shared {x}", s.d, s.shared_d_ff, 1, 1) for x in up]
        found.append(Part("shared down", s.shared_d_ff, s.d, 1, 1))
    if s.shared_gate:
        found.append(Part("shared score", s.d, 1, 1, 1))
    return tuple(found)


def _product(x: Part, positions: Number, b: int, w: int, stored: Format | None) -> Step:
    sent = positions * x.active
    row = x.columns * b if stored is None else stored.vector(x.columns)
    alone = isinstance(x.copies, int) and x.copies == 1
    reached = 1 if alone else smallest(x.copies, sent)
    written = sent * x.columns * (w if x.name in ("router", "shared score") else b)
    return Step(
        x.name,
        2 * sent * x.rows * x.columns,
        bytes_read=sent * x.rows * b + reached * x.rows * row,
        bytes_written=written,
        allocated=written,
    )


def _sizes(
    name: str, d: Number, experts: Number, active: Number, d_ff: Number | None, gated: Any, shared: Number, gate: Any
) -> Sizes:
    d, experts, active = size(name, "d", d), size(name, "experts", experts), size(name, "active", active)
    if not symbolic(experts, active) and np.any(np.asarray(active > experts)):
        raise ValueError(f"{name}: active: expected at most experts = {experts}, got {active}")
    _check.flags(name, gated=gated, shared_gate=gate)
    none = not symbolic(shared) and isinstance(shared, int) and not isinstance(shared, bool) and shared == 0
    if none and gate:
        raise ValueError(f"{name}: shared_gate: expected False without shared_d_ff, got True")
    shared = 0 if none else size(name, "shared_d_ff", shared)
    return Sizes(d, experts, active, 4 * d if d_ff is None else size(name, "d_ff", d_ff), gated, shared, gate)
