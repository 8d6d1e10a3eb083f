"""What `make bench` measured, kept with the library: every repeat, the machine, the date, the versions.

A chapter shows these beside what it measures itself: a benchmark needs peers that no reader has installed, and
minutes of a quiet machine. Each machine has a file of its own. Nothing here measures; benchmarks/run.py does.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from attnlib.book import Table
from attnlib.book import table as book_table
from attnlib.measure.clock import Sample, Timing

MATMUL = ("matrix product, torch", "matrix product, XLA")


@dataclass(frozen=True)
class Group:
    """Programs timed in turn: `seconds[program][r]` was taken in round r, next to the others'.

    Programs are named "peer, mask"; ours runs with other masks than the group's, too. A slow one takes part in the
    first rounds only. `skipped` says why a program did not run. `flops` are those of the visible pairs, exactly.
    `problem` tells groups of a suite apart that measure different things.
    """

    work: str
    mask: str
    n: int
    seconds: Mapping[str, tuple[float, ...]]
    flops: Mapping[str, float]
    skipped: Mapping[str, str]
    problem: str = ""

    @property
    def ours(self) -> str:
        """The program that the others are compared with: the first."""
        return next(iter(self.seconds)).rpartition(", ")[0]

    def timing(self, program: str) -> Timing:
        """Return the times of one program."""
        return Timing(self._of(program))

    def ratio(self, program: str, base: str) -> Sample:
        """Return how many times longer `program` took than `base`, round by round."""
        return Sample(tuple(t / b for t, b in zip(self._of(program), self._of(base), strict=False)))

    def _of(self, program: str) -> tuple[float, ...]:
        if program not in self.seconds:
            raise ValueError(f"results: program: expected one of {sorted(self.seconds)}, got {program!r}")
        return self.seconds[program]

    @cached_property
    def rate(self) -> float:
        """FLOP/s of a large matrix product on this machine: the best of torch's and XLA's median."""
        rates = [self.flops[p] / self.timing(p).median for p in MATMUL if p in self.seconds]
        return max(rates, default=float("nan"))


@dataclass(frozen=True)
class Results:
    """One suite of benchmarks as it was run on one machine."""

    suite: str
    about: str
    date: str
    machine: str
    versions: Mapping[str, str]
    groups: tuple[Group, ...]

    @property
    def origin(self) -> str:
        """Where and when, in one sentence for a caption."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items() if name != "jax")
        return f"{self.about}. {self.machine}; {versions}; {self.date}."

    @property
    def ours(self) -> str:
        """The program that the others are compared with: the first of the suite."""
        return self.groups[0].ours

    def ratio(self, work: str, n: int, program: str, base: str) -> Sample:
        """Return how many times longer `program` took than `base` ("torch SDPA, full"), round by round."""
        for group in self.groups:
            if (group.work, group.n) == (work, n) and {program, base} <= set(group.seconds):
                return group.ratio(program, base)
        known = sorted({(g.work, g.n, p) for g in self.groups for p in g.seconds})
        raise ValueError(f"results: program: expected two of one group of {known}, got {(work, n, program, base)}")


@dataclass(frozen=True)
class Report:
    """Medians that somebody read off a run of which no file was kept: times over ours, by program."""

    suite: str
    work: str
    mask: str
    n: int
    machine: str
    date: str
    ratios: Mapping[str, float]


REPORTS = (
    Report(
        *("exact", "forward", "full", 4096),
        machine="another machine with two cores",
        date="2026-11-28",
        ratios={"torch SDPA": 1.16, "jax.nn": 4.7},
    ),
)
"""What was seen on machines of which the library has no file."""


def load(suite: str = "exact") -> tuple[Results, ...]:
    """Read the results that came with the library: one file for each machine, in the order of their names.

    Raises:
        ValueError: no such suite.

    Example:
        >>> {one.suite for one in load("exact")}
        {'exact'}
    """
    there = sorted((p for p in (files("attnlib.book") / "data").iterdir() if p.name.endswith(".json")), key=str)
    found = tuple(parse(json.loads(p.read_text(encoding="utf-8"))) for p in there if _suite(p.name) == suite)
    if not found:
        known = sorted({_suite(p.name) for p in there})
        raise ValueError(f"results.load: suite: expected one of {known}, got {suite!r}")
    return found


def file_name(suite: str, machine: str) -> str:
    """Return the name of a suite's file for a machine, as `clock.machine()` describes it or as its owner calls it.

    Example:
        >>> file_name("exact", "AMD EPYC, 2 cores, jax 0.10.2 on cpu, Python 3.11.7")
        'exact-amd-epyc-2-cores.json'
    """
    return f"{suite}-{re.sub('[^a-z0-9]+', '-', described(machine).lower()).strip('-')}.json"


def described(machine: str) -> str:
    """Return what a description says of the machine itself, without the versions: processor and cores."""
    return ", ".join(machine.split(", ")[:2])


def _suite(name: str) -> str:
    return name.partition("-")[0].removesuffix(".json")


def read(path: Path) -> Results:
    """Read a file that benchmarks/run.py wrote."""
    return parse(json.loads(path.read_text(encoding="utf-8")))


def parse(data: Mapping[str, Any]) -> Results:
    """Make `Results` of the decoded file."""
    groups = [
        Group(
            g["work"],
            g["mask"],
            g["n"],
            {p: tuple(s) for p, s in g["seconds"].items()},
            g["flops"],
            g["skipped"],
            g.get("problem", ""),
        )
        for g in data["groups"]
    ]
    return Results(**{**data, "groups": tuple(groups)})


def table(results: Results) -> Table:
    """Show our time, each peer's as a multiple of it with its quartiles, and our share of the matrix-product rate.

    A suite of several problems has one row for each of them and each peer instead: see `problems`.

    The rate is that of one product of two 4096 × 4096 matrices, the better of torch's and XLA's medians in the same
    group: a yardstick, which a kernel whose blocks stay in the caches can pass. An empty cell was not run:
    `Group.skipped` says why.
    """
    if any(group.problem for group in results.groups):
        return problems(results)
    peers = list(dict.fromkeys(p.rpartition(", ")[0] for g in results.groups for p in g.seconds))
    peers = [p for p in peers if p not in (results.ours, "matrix product")]
    rows = []
    for group in results.groups:
        for program in group.seconds:
            name, _, mask = program.rpartition(", ")
            if name != results.ours or mask != group.mask:
                continue
            theirs = [
                str(group.ratio(f"{p}, {mask}", program)) if f"{p}, {mask}" in group.seconds else None for p in peers
            ]
            speed = group.flops[program] / group.timing(program).median
            share = f"{100 * speed / group.rate:.0f} %" if group.rate == group.rate else None
            rows.append((f"{group.work}, {mask}", group.n, str(group.timing(program)), share, *theirs))
    return book_table(
        rows,
        ["pass", "n", results.ours, "of the matmul rate", *peers],
        caption=f"Time of {results.ours}, and how many times longer the others took (quartiles). {results.origin}",
    )


def by_program(results: Results) -> Table:
    """Show what `table` shows the other way round: a row for each program, a column for each pass and length.

    A page is wide enough for a few lengths with their quartiles, but not for many programs.
    """
    made = table(results)
    rows = zip(made.columns[2:], *(row[2:] for row in made.rows), strict=True)
    heads = (f"{name}, n = {n:,}" for name, n, *_ in made.rows)
    return book_table(list(rows), ["program", *heads], caption=made.caption)


def beside(results: Results, n: int) -> Table:
    """Show at one length how many times longer than ours each program took: a row for each, a column for each pass.

    Medians alone: `table` has the quartiles and the other lengths. An empty cell was not run.

    Raises:
        ValueError: a length at which nothing was measured.
    """
    groups = {f"{group.work}, {group.mask}": group for group in results.groups if group.n == n}
    if not groups:
        raise ValueError(f"results.beside: n: expected one of {sorted({g.n for g in results.groups})}, got {n!r}")
    names = dict.fromkeys(p.rpartition(", ")[0] for group in groups.values() for p in group.seconds)
    rows = []
    for name in (name for name in names if name not in (results.ours, "matrix product")):
        cells: list[str | None] = []
        for group in groups.values():
            program, ours = f"{name}, {group.mask}", f"{results.ours}, {group.mask}"
            cells.append(f"{group.ratio(program, ours).median:.2f}×" if program in group.seconds else None)
        rows.append((name, *cells))
    return book_table(
        rows,
        ["program", *(name.replace("forward and backward", "both passes") for name in groups)],
        caption=f"How many times longer than {results.ours} others took (median), n = {n:,}. {results.origin}",
    )


BESIDE = "flash_attention"
"""What every problem of the suite "variants" is measured beside: softmax attention of the same length."""


def problems(results: Results) -> Table:
    """Show each problem of a suite: our time, how many times longer its peer took, and softmax attention (quartiles).

    A peer that was not run has an empty cell: `Group.skipped` says why.
    """
    rows = []
    for group in results.groups:
        ours, beside = (f"{name}, {group.mask}" for name in (group.ours, BESIDE))
        softmax = str(group.ratio(beside, ours)) if beside in group.seconds else None
        for program in (*group.seconds, *group.skipped):
            name, _, mask = program.rpartition(", ")
            if mask == group.mask and name not in (group.ours, BESIDE):
                ratio = str(group.ratio(program, ours)) if program in group.seconds else None
                about = (group.problem, f"{group.work}, {mask}", group.n)
                rows.append((*about, str(group.timing(ours)), name, ratio, softmax))
    return book_table(
        rows,
        ["problem", "pass", "n", "ours", "peer", "peer / ours", f"{BESIDE} / ours"],
        caption=f"Time of ours, and how many times longer the others took (quartiles). {results.origin}",
    )


def medians(results: Results) -> Table:
    """Show how many times longer than ours each peer took, and softmax attention in tiles: a row for each of them.

    Medians alone, with the forward pass and both passes side by side: `problems` has the quartiles and our times. A
    problem without a peer has its row, too.
    """
    found: dict[tuple[str, str], dict[str, str]] = {}
    measured: dict[str, dict[str, None]] = {}  # peers of a problem, in their order; one may have run one pass alone
    for group in results.groups:
        names = (program.rpartition(", ") for program in group.seconds)
        theirs = (name for name, _, mask in names if mask == group.mask and name not in (group.ours, BESIDE))
        measured.setdefault(f"{group.problem}, {group.mask}", {}).update(dict.fromkeys(theirs))
    for group in results.groups:
        problem, work = f"{group.problem}, {group.mask}", "forward" if group.work == "forward" else "both"
        ours, tiles = f"{group.ours}, {group.mask}", f"{BESIDE}, {group.mask}"
        for peer in measured[problem] or [""]:
            row = found.setdefault((problem, peer), {})
            if f"{peer}, {group.mask}" in group.seconds:
                row[work] = f"{group.ratio(f'{peer}, {group.mask}', ours).median:.3g}×"
            if ours != tiles and tiles in group.seconds:
                row[f"{BESIDE}, {work}"] = f"{group.ratio(tiles, ours).median:.3g}×"
    cells = ("forward", "both", f"{BESIDE}, forward", f"{BESIDE}, both")
    lengths = ", ".join(f"{n:,}" for n in sorted({group.n for group in results.groups}))
    return book_table(
        [(*names, *map(row.get, cells)) for names, row in found.items()],
        ["ours", "peer", "forward", "both passes", "tiles, forward", "tiles, both passes"],
        caption="How many times longer than ours a peer took, and attention in tiles (medians). "
        f"n = {lengths}. {results.origin}",
    )


def forward(results: Results, mask: str) -> dict[str, dict[int, float]]:
    """Return the median of each peer's forward time over ours: peer → length → ratio."""
    found: dict[str, dict[int, float]] = {}
    for group in results.groups:
        ours = f"{results.ours}, {mask}"
        if group.work == "forward" and group.mask == mask and ours in group.seconds:
            for program in group.seconds:
                name, _, its_mask = program.rpartition(", ")
                if its_mask == mask and name != results.ours:
                    found.setdefault(name, {})[group.n] = group.ratio(program, ours).median
    return found


def own(results: Results) -> Table:
    """Compare our times with our own time without any mask, round by round: what skipping blocks saves."""
    rows = []
    for group in results.groups:
        full = f"{group.ours}, full"
        for program in group.seconds:
            name, _, mask = program.rpartition(", ")
            if name == group.ours and mask != "full" and full in group.seconds:
                share = group.flops[program] / group.flops[full]
                rows.append((f"{group.work}, {mask}", group.n, str(group.ratio(program, full)), share))
    return book_table(
        rows,
        ["pass", "n", "time / time without a mask", "FLOPs / FLOPs without a mask"],
        caption=f"{results.ours} against itself (quartiles). {results.origin}",
    )


def figure(results: Results) -> Any:
    """Draw how many times longer than our kernel each peer takes, over the length, causal and not."""
    from attnlib.book import plot

    masks, lengths = ("full", "causal"), {g.n for g in results.groups}
    fig, axes = plot.figure(5.2, 5.6, nrows=2, sharex=True, sharey=True)
    names = list(dict.fromkeys(p.rpartition(", ")[0] for g in results.groups for p in g.seconds))
    for ax, mask in zip(axes, masks, strict=True):
        for name in names:
            points = list(forward(results, mask).get(name, {}).items())
            alone = len(points) < 2 < len(lengths)  # a peer at one length has no line to follow
            if points and not alone and name not in (results.ours, "matrix product"):
                ax.plot(*zip(*points, strict=True), label=name)
        ax.axhline(1, color=plot.GUIDE, linewidth=0.9)
        ax.set_yscale("log", base=2)
    # Both panels first: labels at the ends of lines keep the limits that they find.
    top = max(ax.dataLim.y1 for ax in axes)
    base = 2 if top <= 32 else 4
    ticks = [base**e for e in range(math.ceil(math.log(top, base)) + 1)]
    for ax, mask in zip(axes, masks, strict=True):
        ax.set_yticks(ticks, [f"{x}×" for x in ticks])
        plot.length_axis(ax)
        ax.set_title(f"forward, {mask}", loc="left")
        if ax.get_legend_handles_labels()[1]:
            plot.label_lines(ax, size=10)
    axes[1].set_xlabel("length n")
    fig.supylabel(f"time / time of {results.ours}", size=12)
    return fig
