"""Widgets that work in a static page and in Colab: HTML, SVG and a little script, from no other host.

The formulas in the script are printed by SymPy from `attnlib.cost`: page and library cannot disagree.
"""

import itertools
import json
import math
import re
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from attnlib import cost
from attnlib._numbers import superscript
from attnlib.book.output import formula

LENGTHS = (*(s for k in range(6, 20) for s in (2**k, 3 * 2 ** (k - 1))), 2**20)
"""The lengths that a chart has: powers of two, and the sizes half-way between them."""

WIDTHS = (*(s for k in range(6, 14) for s in (2**k, 3 * 2 ** (k - 1))), 2**14)
"""Its widths, likewise."""

# The picture, in the units of its viewBox: small, so that its letters stay legible on a phone.
SIZE, LEFT, RIGHT, TOP, BOTTOM = (400, 250), 46, 300, 10, 212
LOWEST, HIGHEST = 2e5, 3e17  # FLOPs: every curve at every position of the sliders lies between
GAP = 15  # between the names at the curves' ends
ROOM, NAMED = 64, 30  # the width and the height that the name of a region takes

CURVES = ("projections", "core", "total")
UNITS = ("", "k", "M", "G", "T", "P", "E")
NUMBERS = "core {share}, ×{doubled} at 2n"
DESCRIPTION = (
    "FLOPs of one layer in matrix products against its length, both logarithmic, at width {d}. Projections, "
    "{projections_formula}, rise with slope 1, the core, {core_formula}, with slope 2. They cross in a ring at "
    "n = 2d = {equal_n}: left of it more than half of the total is projections, right of it core. At length {n}: "
    "projections {projections}, core {core}, total {total}, of which the core is {share}; twice the length costs "
    "{doubled} times as much."
)

_instances = itertools.count(1)


def formulas() -> dict[str, Any]:
    """Return what the growth chart computes, as SymPy expressions in n and d.

    The three curves, in FLOPs of matrix products: "projections" (queries, keys, values and output), "core"
    (scores and values) and their "total"; "share", the core's part of it; "doubled", by how much the total
    grows when the length doubles; "equal_n", the length at which core and projections cost the same.

    Example:
        >>> f = formulas()
        >>> f["projections"], f["core"], f["equal_n"]
        (8*d**2*n, 4*d*n**2, 2*d)
    """
    return dict(_formulas())


@cache
def _formulas() -> dict[str, Any]:
    import sympy

    n, d, h = sympy.symbols("n d h", positive=True)
    layer = cost.multihead_attention(n, d, h)
    projections = layer["projections"].matmul_flops + layer["output"].matmul_flops
    core = cost.attention(n, d / h, h=h).matmul_flops
    total = layer.matmul_flops
    (equal,) = sympy.solve(sympy.Eq(core, projections), n)
    found = {
        "projections": projections,
        "core": core,
        "total": total,
        "share": core / total,
        "doubled": total.subs(n, 2 * n) / total,
        "equal_n": equal,
    }
    return {name: sympy.factor(sympy.simplify(expression)) for name, expression in found.items()}


def terms() -> dict[str, str]:
    """Return projections and core as the book writes them.

    Example:
        >>> terms()
        {'projections': '8nd²', 'core': '4n²d'}
    """
    found = {}
    for name in CURVES[:2]:
        powers = re.sub(r"\*\*(\d+)", lambda power: superscript(power[1]), formula(formulas()[name]).text)
        found[name] = powers.replace("*", "")
    return found


@dataclass(frozen=True)
class GrowthChart:
    """The chart that `growth_chart` returns; a notebook shows it as HTML."""

    n: int
    d: int
    number: int = field(default_factory=lambda: next(_instances), compare=False)

    def __repr__(self) -> str:
        return f"GrowthChart(n={self.n}, d={self.d})"

    def _repr_html_(self) -> str:
        return _page(self)


def growth_chart(n: int = 4096, d: int = 1024) -> GrowthChart:
    """Make the interactive growth chart: FLOPs of a self-attention layer against its length.

    Sliders set length n and width d, and so does dragging on the plot for n; curves and numbers follow.
    Without JavaScript it shows the curves for the given sizes.

    Args:
        n: length at the start, one of `LENGTHS`: 64, 96, 128, …, 1048576.
        d: width at the start, one of `WIDTHS`: 64, 96, 128, …, 16384.

    Returns:
        A `GrowthChart`; a cell that ends with it shows it.

    Raises:
        ValueError: a size that its slider does not have.

    Example:
        >>> growth_chart(n=512)
        GrowthChart(n=512, d=1024)
    """
    for name, value, choices in (("n", n, LENGTHS), ("d", d, WIDTHS)):
        if value not in choices:
            shown = ", ".join(map(str, choices))
            raise ValueError(f"widgets.growth_chart: {name}: expected one of {shown}, got {value!r}")
    return GrowthChart(int(n), int(d))


def _page(chart: GrowthChart) -> str:
    """Return the chart's HTML, drawn for its sizes; the script redraws it when a slider moves."""
    import sympy

    expressions = formulas()
    symbols = sympy.symbols("n d", positive=True)
    functions = {name: sympy.lambdify(symbols, e, modules="math") for name, e in expressions.items()}
    now = {name: float(fn(chart.n, chart.d)) for name, fn in functions.items()}
    words = _words(chart, now)
    ends = _label_heights([_y(functions[c](LENGTHS[-1], chart.d)) for c in CURVES])
    curves = []
    for curve, end in zip(CURVES, ends, strict=True):
        points = [(_x(n), _y(functions[curve](n, chart.d))) for n in LENGTHS]
        line = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
        # A long name has its formula below it, where at the right end there is nothing.
        below = f'<tspan x="{RIGHT + 5}" dy="14">' if len(curve) > 5 else "<tspan> "
        name = f"{curve}{below}{_italic(terms()[curve])}</tspan>" if curve in terms() else curve
        curves.append(
            f'<path class="curve {curve}" d="{line}"/>'
            f'<text class="name {curve}" x="{RIGHT + 5}" y="{end + 4:.1f}">{name}</text>'
            f'<circle class="dot {curve}" r="4" cx="{_x(chart.n):.1f}" cy="{_y(now[curve]):.1f}"/>'
        )
    meet = _x(now["equal_n"])
    ring = _y(functions["core"](now["equal_n"], chart.d))
    root = f"growth-chart-{chart.number}"
    sliders = "".join(
        f'<div><label for="{root}-{name}">{label} <i>{name}</i></label>'
        f'<input type="range" id="{root}-{name}" data-size="{name}" min="0" max="{len(choices) - 1}" '
        f'value="{choices.index(value)}" aria-valuetext="{value:,}" autocomplete="off" disabled>'
        f'<output class="size" for="{root}-{name}" aria-live="off">{value:,}</output></div>'
        for name, label, choices, value in (
            ("n", "Length", LENGTHS, chart.n),
            ("d", "Width", WIDTHS, chart.d),
        )
    )
    settings = {
        "sizes": {"n": LENGTHS, "d": WIDTHS},
        "box": [LEFT, RIGHT, TOP, BOTTOM],
        "span": [LENGTHS[0], LENGTHS[-1], LOWEST, HIGHEST],
        "gap": GAP,
        "room": [ROOM, NAMED],
        "units": UNITS,
        "curves": CURVES,
        "numbers": NUMBERS,
        "description": DESCRIPTION,
        "written": _written(),
    }
    code = ",\n".join(f"{name}: (n, d) => {sympy.jscode(e)}" for name, e in expressions.items())
    return f"""<div class="growth-chart" id="{root}" role="group" aria-label="Growth chart">
<style>{_static("growth_chart.css")}</style>
<div class="frame">
<svg class="picture" viewBox="0 0 {SIZE[0]} {SIZE[1]}" role="img"
aria-labelledby="{root}-title" aria-describedby="{root}-desc">
<title id="{root}-title">Cost of a self-attention layer as its length grows</title>
<desc id="{root}-desc">{DESCRIPTION.format(**words)}</desc>
<rect class="region projections" x="{LEFT}" y="{TOP}" width="{meet - LEFT:.1f}" height="{BOTTOM - TOP}"/>
<rect class="region core" x="{meet:.1f}" y="{TOP}" width="{RIGHT - meet:.1f}" height="{BOTTOM - TOP}"/>
{_axes()}
{_region("projections", meet - 6, "end", meet - LEFT)}{_region("core", meet + 6, "start", RIGHT - meet)}
<path class="now" d="M{_x(chart.n):.1f},{TOP + NAMED}V{BOTTOM}"/>
{"".join(curves)}
<circle class="crossing" r="6" cx="{meet:.1f}" cy="{ring:.1f}"/>
<text class="meets" x="{meet + 9:.1f}" y="{ring + 17:.1f}">{_italic("n = 2d")}</text>
</svg>
<div class="side">
<div class="sliders">{sliders}</div>
<p><output class="verdict" for="{root}-n {root}-d"><b class="numbers">{NUMBERS.format(**words)}</b>
<span class="cost projections">{words["projections"]}</span> + <span class="cost core">{words["core"]}</span> =
<span class="cost total">{words["total"]}</span></output></p>
<p class="still">The sliders need JavaScript.</p>
</div>
</div>
<script>({_static("growth_chart.js")})(document.getElementById("{root}"), {json.dumps(settings)}, {{
{code}
}});</script>
</div>"""


def _static(name: str) -> str:
    return (files("attnlib.book") / "static" / name).read_text(encoding="utf-8")


def _written() -> dict[str, str]:
    return {f"{name}_formula": term for name, term in terms().items()}


def _italic(text: str) -> str:
    """Set the letters that are variables in italics, in SVG."""
    return re.sub(r"(?<![a-z])[nd]+(?![a-z])", r'<tspan class="it">\g<0></tspan>', text)


def _words(chart: GrowthChart, now: dict[str, float]) -> dict[str, str]:
    """Return every number of the chart as it is written; the script does the same."""
    return {
        **{name: _flops(now[name]) for name in CURVES},
        **_written(),
        "equal_n": f"{round(now['equal_n']):,}",
        "share": _share(now["share"]),
        "doubled": f"{now['doubled']:.1f}",
        "n": f"{chart.n:,}",
        "d": f"{chart.d:,}",
    }


def _flops(x: int | float) -> str:
    """Three digits and a unit: what rounds to a thousand of one is 1.00 of the next."""
    power = sum(x >= 999.5 * 1000 ** (k - 1) for k in range(1, len(UNITS)))
    return f"{x / 1000**power:#.3g}".rstrip(".") + f" {UNITS[power]}FLOP"


def _share(part: float) -> str:
    """Whole percents; a part that is small is not nothing."""
    return "under 1 %" if part < 0.01 else "over 99 %" if part > 0.99 else f"{100 * part:.0f} %"


def _x(n: int | float) -> float:
    return LEFT + (RIGHT - LEFT) * math.log(n / LENGTHS[0]) / math.log(LENGTHS[-1] / LENGTHS[0])


def _y(flops: int | float) -> float:
    return BOTTOM - (BOTTOM - TOP) * math.log(flops / LOWEST) / math.log(HIGHEST / LOWEST)


def _label_heights(ends: list[float]) -> list[float]:
    """Push names that would lie on one another down, from the top, until they are GAP apart."""
    placed = list(ends)
    order = sorted(range(len(ends)), key=lambda i: ends[i])
    for above, below in itertools.pairwise(order):
        placed[below] = max(placed[below], placed[above] + GAP)
    return placed


def _region(curve: str, x: float, anchor: str, width: float) -> str:
    """The name of a shaded region, where there is room for it."""
    narrow = "" if width >= ROOM + 6 else " data-narrow"
    lines = "".join(
        f'<tspan x="{x:.1f}" y="{TOP + 12 + 13 * i}">{word}</tspan>' for i, word in enumerate(("mostly", curve))
    )
    return f'<text class="where {curve}" text-anchor="{anchor}"{narrow}>{lines}</text>'


def _axes() -> str:
    lengths = "".join(
        f'<path class="grid" d="M{_x(n):.1f},{TOP}V{BOTTOM}"/>'
        f'<text x="{_x(n):.1f}" y="{BOTTOM + 15}" text-anchor="middle">{n:,}</text>'
        for n in (64, 1024, 16384, 262144)
    )
    counts = "".join(
        f'<path class="grid" d="M{LEFT},{_y(10.0**k):.1f}H{RIGHT}"/>'
        f'<text x="{LEFT - 6}" y="{_y(10.0**k) + 4:.1f}" text-anchor="end">10{superscript(str(k))}</text>'
        for k in (6, 9, 12, 15)
    )
    return (
        f'<g aria-hidden="true">{lengths}{counts}'
        f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 32}" text-anchor="middle">{_italic("length n")}</text>'
        f'<text class="hint" x="{RIGHT}" y="{BOTTOM + 32}" text-anchor="end">drag or click</text>'
        f'<text x="0" y="{TOP + 4}">FLOPs</text></g>'
    )
