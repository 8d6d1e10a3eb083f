"""Every mechanism side by side: one row for each entry of the registry, at one size. No JAX is needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from attnlib import _check, registry
from attnlib.book import results

LENGTHS = tuple(2**e for e in range(5, 18))
"""Where it is looked for from which length on a mechanism is cheaper."""

SHARE = 0.9
"""A mechanism is cheaper if its FLOPs are below this share of tiled attention's: a tie is not."""


@dataclass(frozen=True)
class Row:
    """What a mechanism costs beside tiled attention: one head, at its typical options.

    Attributes:
        entry: of the registry.
        causal: whether the numbers are those of its causal form: True for what has no other.
        flops: of all steps.
        live: bytes of intermediate results.
        moved: bytes read and written.
        path: layers that a signal crosses between the two positions furthest apart.
        state: numbers that decoding keeps after n positions; None without a causal form.
        cheaper: the first of `LENGTHS` from which on it takes 10 % fewer FLOPs than tiled attention; None without
            one.
        faster: how many times longer tiled attention took, forward, in the median, as benchmarks measured it: length,
            ratio, machine. Tiled attention has the same mask.
    """

    entry: registry.Mechanism
    causal: bool
    flops: int
    live: int
    moved: int
    path: int
    state: int | None
    cheaper: int | None
    faster: tuple[tuple[int, float, str], ...]


def rows(n: int = 16384, d: int = 64) -> list[Row]:
    """Return a row for each mechanism of the registry.

    Args:
        n: positions.
        d: width of a head.

    Returns:
        A list of `Row`, in the order of the registry.

    Raises:
        ValueError: a size that is not a positive integer.

    Example:
        >>> [row.entry.name for row in rows(4096) if row.entry.exact and row.flops > 4 * 4096**2 * 64]
        ['attention', 'flash_attention']
    """
    _check.positive_int("summary.rows", n=n, d=d)
    tiled = registry.mechanism("flash_attention").cost
    base = {causal: {m: tiled(m, d, causal=causal).flops for m in LENGTHS} for causal in (False, True)}
    return [_row(entry, n, d, base[not entry.bidirectional]) for entry in registry.MECHANISMS]


def _row(entry: registry.Mechanism, n: int, d: int, tiled: dict[int, int]) -> Row:
    causal = not entry.bidirectional
    model = partial(entry.cost, **({"causal": True} if causal else {}), **entry.typical)
    cost = model(n, d)
    dearer = [m for m in LENGTHS if model(m, d).flops >= SHARE * tiled[m]]
    first = LENGTHS.index(max(dearer)) + 1 if dearer else 0
    return Row(
        entry,
        causal,
        cost.flops,
        cost.live,
        cost.bytes_read + cost.bytes_written,
        cost.path,
        None if entry.state is None else entry.state(n, d, d, **entry.typical),
        LENGTHS[first] if first < len(LENGTHS) else None,
        tuple(_measured(entry.name)),
    )


def _measured(name: str) -> list[tuple[int, float, str]]:
    found: dict[tuple[int, str], float] = {}
    groups = [(one, group) for suite in ("variants", "sparse") for one in results.load(suite) for group in one.groups]
    for one, group in groups:
        ours, beside = (f"{program}, {group.mask}" for program in (name, results.BESIDE))
        if group.ours == name != results.BESIDE and group.work == "forward" and {ours, beside} <= set(group.seconds):
            # Of several problems of one mechanism the first: it is the one at its typical options.
            found.setdefault((group.n, results.described(one.machine)), group.ratio(beside, ours).median)
    return [(n, ratio, machine) for (n, machine), ratio in found.items()]


def cells(row: Row) -> tuple[tuple[str, Any], ...]:
    """Return what a table shows of a row, but for its chapter, and by what its column is sorted: see `HEADS`.

    What is sorted by None stands last.
    """
    from attnlib.book.plot import format_bytes, format_count

    entry = row.entry
    function = "yes" if entry.exact and entry.time == 2 else "its pairs" if entry.exact else "no"
    causal = {(True, True): "either", (True, False): "only", (False, True): "never"}[
        entry.causal, entry.bidirectional
    ]
    square = {1: "*n*", 2: "*n*²"}
    ratio = min((ratio for _, ratio, _ in row.faster), default=None)
    return (
        (entry.title, entry.title.casefold()),
        (function, ("yes", "its pairs", "no").index(function)),
        (causal, ("either", "only", "never").index(causal)),
        (f"{square[int(entry.time)]}: {format_count(row.flops)}", row.flops),
        (f"{square[int(entry.memory)]}: {format_bytes(row.live)}", row.live),
        (format_bytes(row.moved), row.moved),
        (f"{row.path}", row.path),
        ("none" if row.state is None else format_count(row.state), row.state),
        ("never" if row.cheaper is None else f"{row.cheaper:,}", row.cheaper),
        ("" if ratio is None else f"{ratio:.3g}×", ratio),
        (entry.gives_up, entry.gives_up.casefold()),
    )


HEADS = (
    "Mechanism",
    "Exact?",
    "Causal?",
    "Work, FLOPs",
    "Memory",
    "Traffic",
    "Depth",
    "State",
    "10 % fewer FLOPs from *n*",
    "Time of tiles / its own",
    "Gives up",
)
"""Heads of the columns that `cells` fills; letters between two asterisks are italic."""
