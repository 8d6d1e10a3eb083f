"""Widgets that work in a static page and in Colab: HTML, SVG and a little script, from no other host.

The formulas in the script are printed by SymPy from `attnlib.cost`: page and library cannot disagree.
"""

import itertools
import json
import math
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from attnlib import cost
from attnlib._numbers import three_digits
from attnlib.book import mathml

LENGTHS = (*(s for k in range(6, 20) for s in (2**k, 3 * 2 ** (k - 1))), 2**20)
"""The lengths that a chart has: powers of two, and the sizes half-way between them."""

WIDTHS = (*(s for k in range(6, 14) for s in (2**k, 3 * 2 ** (k - 1))), 2**14)
"""Its widths, likewise."""

HEADS = (1, 2, 4, 8, 16, 32)
"""Its numbers of heads, each of which divides every width."""

# The picture, in the units of its viewBox: small, so that its letters stay legible on a phone.
SIZE, LEFT, RIGHT, TOP, BOTTOM = (400, 310), 44, 302, 12, 264
LOWEST, HIGHEST = 1e5, 1e17  # FLOPs: every curve at every position of the sliders lies between
GAP = 15  # between the names at the curves' ends

NAMES = {"attention": "attention", "core": "its core", "recurrent": "recurrent", "feed_forward": "feed-forward"}
SENTENCE = (
    "At n = {n}, d = {d} and h = {h}, {cheaper} is cheaper: the core costs {core_ratio} times as much as a "
    "recurrent layer, the whole attention layer {attention_ratio} times. Core and recurrent layer cost the "
    "same at n = {recurrent_n} (without the softmax at n = d = {recurrent_matmul_n}), core and projections "
    "at n = {projections_n} (without it at n = 2d = {projections_matmul_n}). Heads change the softmax alone: "
    "{softmax}, {share} of the core."
).replace(" = ", "\u00a0=\u00a0")  # a line must not end between a name and its value
DESCRIPTION = (
    "FLOPs against length, both logarithmic. At length {n}: attention layer {attention}, its core {core}, "
    "recurrent layer {recurrent}, feed-forward layer {feed_forward}. The core has slope 2, recurrent and "
    "feed-forward layer have slope 1, and the attention layer bends from slope 1 to slope 2."
)

_instances = itertools.count(1)


def formulas() -> dict[str, Any]:
    """Return what the growth chart computes, as SymPy expressions in n, d and h.

    The four curves: "attention" (multi-head self-attention with its projections), "core" (scores, softmax
    and values alone), "recurrent" and "feed_forward"; "softmax", a part of the core; and the lengths where
    the core costs as much as another part, with the softmax and without: "recurrent_n",
    "recurrent_matmul_n", "projections_n", "projections_matmul_n".

    Example:
        >>> f = formulas()
        >>> f["core"], f["recurrent_matmul_n"], f["projections_matmul_n"]
        (4*d*n**2 + 5*h*n**2, d, 2*d)
    """
    import sympy

    n, d, h = sympy.symbols("n d h", positive=True)
    layer = cost.multihead_attention(n, d, h)
    core = cost.attention(n, d / h, h=h)
    projections = layer["projections"].flops + layer["output"].flops
    recurrent = cost.rnn(n, d).matmul_flops  # as the text has it: two products with a (d, d) matrix at each position

    def meeting(a: Any, b: Any) -> Any:
        (length,) = sympy.solve(sympy.Eq(a, b), n)
        return length

    return {
        "attention": sympy.expand(layer.flops),
        "core": sympy.expand(core.flops),
        "recurrent": recurrent,
        "feed_forward": sympy.expand(cost.feed_forward(n, d).flops),
        "softmax": core["softmax"].flops,
        "recurrent_n": meeting(core.flops, recurrent),
        "recurrent_matmul_n": meeting(core.matmul_flops, recurrent),
        "projections_n": meeting(core.flops, projections),
        "projections_matmul_n": meeting(core.matmul_flops, projections),
    }


@dataclass(frozen=True)
class GrowthChart:
    """The chart that `growth_chart` returns; a notebook shows it as HTML."""

    n: int
    d: int
    h: int
    number: int = field(default_factory=lambda: next(_instances), compare=False)

    def __repr__(self) -> str:
        return f"GrowthChart(n={self.n}, d={self.d}, h={self.h})"

    def _repr_html_(self) -> str:
        return _page(self)


def growth_chart(n: int = 1024, d: int = 512, h: int = 8) -> GrowthChart:
    """Make the interactive growth chart: FLOPs against length, for attention and for recurrence.

    Sliders set length n, width d and heads h; curves, numbers and a sentence follow. Without JavaScript it
    shows the curves for the given sizes.

    Args:
        n: length at the start, one of `LENGTHS`: 64, 96, 128, …, 1048576.
        d: width at the start, one of `WIDTHS`: 64, 96, 128, …, 16384.
        h: heads at the start, one of `HEADS`: 1, 2, 4, …, 32.

    Returns:
        A `GrowthChart`; a cell that ends with it shows it.

    Raises:
        ValueError: a size that its slider does not have.

    Example:
        >>> growth_chart(n=4096)
        GrowthChart(n=4096, d=512, h=8)
    """
    for name, value, choices in (("n", n, LENGTHS), ("d", d, WIDTHS), ("h", h, HEADS)):
        if value not in choices:
            shown = ", ".join(map(str, choices))
            raise ValueError(f"widgets.growth_chart: {name}: expected one of {shown}, got {value!r}")
    return GrowthChart(int(n), int(d), int(h))


def _page(chart: GrowthChart) -> str:
    """Return the chart's HTML, drawn for its sizes; the script redraws it when a slider moves."""
    import sympy

    expressions = formulas()
    symbols = sympy.symbols("n d h", positive=True)
    functions = {name: sympy.lambdify(symbols, e, modules="math") for name, e in expressions.items()}
    now = {name: float(fn(chart.n, chart.d, chart.h)) for name, fn in functions.items()}
    words = _words(chart, now)
    ends = _label_heights([_y(functions[c](LENGTHS[-1], chart.d, chart.h)) for c in NAMES])
    curves = []
    for curve, end in zip(NAMES, ends, strict=True):
        points = [(_x(n), _y(functions[curve](n, chart.d, chart.h))) for n in LENGTHS]
        line = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
        curves.append(
            f'<path class="curve {curve}" d="{line}"/>'
            f'<text class="name {curve}" x="{RIGHT + 5}" y="{end + 4:.1f}">{NAMES[curve]}</text>'
            f'<circle class="dot {curve}" r="4" cx="{_x(chart.n):.1f}" cy="{_y(now[curve]):.1f}"/>'
        )
    meet = now["recurrent_n"]
    crossing = _x(meet), _y(functions["recurrent"](meet, chart.d, chart.h))
    beyond = "" if LENGTHS[0] <= meet <= LENGTHS[-1] else " data-beyond"
    root = f"growth-chart-{chart.number}"
    sliders = "".join(
        f'<div><label for="{root}-{name}">{label} <i>{name}</i></label>'
        f'<input type="range" id="{root}-{name}" data-size="{name}" min="0" max="{len(choices) - 1}" '
        f'value="{choices.index(value)}" aria-valuetext="{value:,}" autocomplete="off" disabled>'
        f'<output class="size" for="{root}-{name}" aria-live="off">{value:,}</output></div>'
        for name, label, choices, value in (
            ("n", "Length", LENGTHS, chart.n),
            ("d", "Width", WIDTHS, chart.d),
            ("h", "Heads", HEADS, chart.h),
        )
    )
    inputs = " ".join(f"{root}-{name}" for name in "ndh")
    rows = "".join(
        f'<tr><th scope="row"><svg class="swatch" viewBox="0 0 36 10" aria-hidden="true">'
        f'<path class="{curve}" d="M1,5L35,5"/></svg> {label}</th><td>{mathml(expressions[curve])}</td>'
        f'<td><output class="cost {curve}" for="{inputs}" aria-live="off">{words[curve]}</output></td></tr>'
        for curve, label in NAMES.items()
    )
    settings = {
        "sizes": {"n": LENGTHS, "d": WIDTHS, "h": HEADS},
        "box": [LEFT, RIGHT, TOP, BOTTOM],
        "span": [LENGTHS[0], LENGTHS[-1], LOWEST, HIGHEST],
        "gap": GAP,
        "curves": list(NAMES),
        "sentence": SENTENCE,
        "description": DESCRIPTION,
    }
    code = ",\n".join(f"{name}: (n, d, h) => {sympy.jscode(e)}" for name, e in expressions.items())
    return f"""<div class="growth-chart" id="{root}" role="group" aria-label="Growth chart">
<style>{_static("growth_chart.css")}</style>
<div class="sliders">{sliders}</div>
<p class="still">The sliders need JavaScript; the chart shows n = {chart.n:,}, d = {chart.d:,}, h = {chart.h}.</p>
<svg class="picture" viewBox="0 0 {SIZE[0]} {SIZE[1]}" role="img" aria-labelledby="{root}-title {root}-desc">
<title id="{root}-title">Cost of attention and recurrence as the length grows</title>
<desc id="{root}-desc">{DESCRIPTION.format(**words)}</desc>
{_axes()}
<path class="now" d="M{_x(chart.n):.1f},{TOP}V{BOTTOM}"/>
{"".join(curves)}
<circle class="crossing"{beyond} r="6" cx="{crossing[0]:.1f}" cy="{crossing[1]:.1f}"/>
</svg>
<p class="ring"{beyond}>Ring: core and recurrent layer cost the same.</p>
<div class="numbers" tabindex="0" role="region" aria-label="FLOPs of one layer">
<table class="costs"><caption>FLOPs of one layer</caption>
<thead><tr><th scope="col">layer</th><th scope="col">formula</th><th scope="col">now</th></tr></thead>
<tbody>{rows}</tbody></table></div>
<p><output class="verdict" for="{inputs}">{SENTENCE.format(**words)}</output></p>
<script>({_static("growth_chart.js")})(document.getElementById("{root}"), {json.dumps(settings)}, {{
{code}
}});</script>
</div>"""


def _static(name: str) -> str:
    return (files("attnlib.book") / "static" / name).read_text(encoding="utf-8")


def _words(chart: GrowthChart, now: dict[str, float]) -> dict[str, str]:
    """Return every number of the chart as it is written; the script does the same."""
    meetings = {name: f"{round(x):,}" for name, x in now.items() if name.endswith("_n")}
    return {
        **{name: _flops(x) for name, x in now.items() if name not in meetings},
        **meetings,
        "n": f"{chart.n:,}",
        "d": f"{chart.d:,}",
        "h": f"{chart.h:,}",
        "cheaper": "the attention core" if now["core"] < now["recurrent"] else "the recurrent layer",
        "core_ratio": three_digits(now["core"] / now["recurrent"], ","),
        "attention_ratio": three_digits(now["attention"] / now["recurrent"], ","),
        "share": f"{three_digits(100 * now['softmax'] / now['core'])}%",
    }


def _flops(x: int | float) -> str:
    power = sum(x >= 1000**k for k in range(1, 5))
    return f"{three_digits(x / 1000**power, ',')} {('', 'k', 'M', 'G', 'T')[power]}FLOP"


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


def _axes() -> str:
    lengths = "".join(
        f'<path class="grid" d="M{_x(n):.1f},{TOP}V{BOTTOM}"/>'
        f'<text x="{_x(n):.1f}" y="{BOTTOM + 17}" text-anchor="middle">{n:,}</text>'
        for n in (64, 1024, 16384, 262144)
    )
    counts = "".join(
        f'<path class="grid" d="M{LEFT},{_y(10.0**k):.1f}H{RIGHT}"/>'
        f'<text x="{LEFT - 9}" y="{_y(10.0**k) + 4:.1f}" text-anchor="end">{name}</text>'
        for k, name in ((6, "10⁶"), (9, "10⁹"), (12, "10¹²"), (15, "10¹⁵"))
    )
    middle = (LEFT + RIGHT) / 2
    return (
        f'<g aria-hidden="true">{lengths}{counts}'
        f'<text x="{middle}" y="{BOTTOM + 38}" text-anchor="middle">length n</text>'
        f'<text x="{LEFT + 5}" y="{TOP + 11}">FLOPs</text></g>'
    )
