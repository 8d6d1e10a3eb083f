"""The house style of figures, and the few marks that many chapters draw.

A figure has letters of 10 pixels and more when its 5.2 inches shrink to the width of a phone; lines that differ in
dash and marker as well as in colour, and that are labelled where they end instead of in a legend. `show` makes it a
drawing whose colours follow the page; a figure that is not shown so is a bitmap with an opaque white ground.
"""

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from attnlib._numbers import binary, superscript
from attnlib.book.draw import Picture, described

try:
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    from cycler import cycler
    from matplotlib.axes import Axes
    from matplotlib.colors import to_hex, to_rgb
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.ticker import FuncFormatter, Locator, NullFormatter
except ImportError as error:
    raise ImportError("attnlib.book.plot draws with matplotlib: pip install 'attnlib[book]'") from error

Real = int | float

COLOURS = ("#005A9C", "#D55E00", "#009E73", "#CC79A7", "#000000", "#7A5C00", "#3C97D3")
"""Okabe and Ito's colours, the first four furthest apart for every kind of colour vision.

Orange, sky blue and blue are darkened so that each stands out 3:1 from white; yellow cannot, and is left out.
"""

DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

GUIDE = "#595959"
"""The grey of a line that guides the eye, and of its label."""

INK = "#1f2a30"
"""The colour of letters."""

EDGE, GRID = "#333333", "#d9d9d9"

GROUND = "#ffffff"
"""The colour of the paper."""

RC: Any = {
    "svg.fonttype": "none",  # text stays text
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "white",
    "figure.dpi": 144,
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "savefig.transparent": False,
    "axes.facecolor": "white",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same picture on every machine
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.labelsize": 12,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": EDGE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "image.cmap": "cividis",
    "axes.prop_cycle": cycler(color=COLOURS) + cycler(linestyle=DASHES) + cycler(marker=MARKERS),
}


def use() -> None:
    """Apply the house style to every figure drawn from now on.

    Example:
        >>> use()
        >>> mpl.rcParams["figure.facecolor"]
        'white'
    """
    mpl.rcParams.update(RC)


@contextmanager
def style() -> Iterator[None]:
    """Apply the house style to the figures drawn inside a `with` block, and nothing else.

    Example:
        >>> with style():
        ...     fig, ax = plt.subplots()
    """
    with mpl.rc_context(RC):
        yield


def figure(width: Real = 5.2, height: Real = 3.6, **subplots: Any) -> tuple[Figure, Any]:
    """Make a figure in the house style.

    Args:
        width: inches; the letters of a wider figure are too small on a phone.
        height: inches.
        **subplots: passed on to `matplotlib.pyplot.subplots`.

    Returns:
        The figure, and its axes as `subplots` returns them.

    Raises:
        ValueError: a width or height that is not positive.

    Example:
        >>> fig, (left, right) = figure(height=3.0, ncols=2)
        >>> plt.close(fig)
    """
    for name, value in (("width", width), ("height", height)):
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"plot.figure: {name}: expected a positive number of inches, got {value}")
    use()  # later artists read the settings when they are made, so a `with` block would end too early
    return plt.subplots(figsize=(width, height), **subplots)


def show(fig: Figure, title: str, description: str) -> Picture:
    """Make a figure a drawing in the page: SVG whose letters are text and whose colours are the page's.

    Call it last, when nothing is drawn any more; it closes the figure.

    Args:
        fig: what `figure` returned.
        title: a few words.
        description: what is to be seen in it, for whoever does not see it: the finding.

    Returns:
        A picture; a cell that ends with it shows it.

    Raises:
        ValueError: no title or description.

    Example:
        >>> fig, ax = figure()
        >>> _ = ax.plot([1, 2], [1, 4])
        >>> show(fig, "Squares", "A line that rises from 1 to 4.")
        Picture('Squares')
    """
    file = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": title + description}):  # the same ids in every build
        fig.savefig(file, format="svg", metadata={"Date": None})
    plt.close(fig)
    whole = file.getvalue()
    body = whole[whole.index("<defs>") : whole.rindex("</svg>")]
    # What the page has no use for: names of groups, which two figures would share, and a style for all elements.
    body = re.sub(r'<!--.*?-->|<style.*?</style>|(?<=<g) id="[^"]*"|\n\s*', "", body, flags=re.DOTALL)
    body = body.replace("xlink:href", "href")
    body = re.sub(r"#[0-9a-f]{6}\b", lambda match: _VARIABLES.get(match[0], match[0]), body)
    width, height = (72 * inches for inches in fig.get_size_inches())  # matplotlib's SVG is in points
    # Matplotlib leaves out the fill of what is black.
    size = f'viewBox="0 0 {width:g} {height:g}" fill="{_VARIABLES["#000000"]}" stroke-linejoin="round" class="plot"'
    return Picture(title, description, described(body, size, title, description))


def loglog_guide(ax: Axes, slope: Real, *, at: tuple[Real, Real] | None = None, label: str | None = None) -> None:
    """Draw a dotted line of the given slope into log–log axes, and name it.

    Call it after the data are drawn: the line spans what is in view and leaves the view as it is.

    Args:
        ax: axes with both scales logarithmic.
        slope: the exponent to compare with: 2 draws y ∝ x².
        at: a point the line goes through; the middle of the view if not given.
        label: what stands at its end; "∝ n²" for slope 2 if not given.

    Raises:
        ValueError: a scale that is not logarithmic, or a point that is not positive.

    Example:
        >>> fig, ax = figure()
        >>> _ = ax.loglog([1, 10], [1, 100])
        >>> loglog_guide(ax, 2)
        >>> ax.texts[0].get_text()
        '∝ n²'
        >>> plt.close(fig)
    """
    if (ax.get_xscale(), ax.get_yscale()) != ("log", "log"):
        raise ValueError(f"plot.loglog_guide: ax: expected log–log axes, got {ax.get_xscale()} and {ax.get_yscale()}")
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    x, y = at or (math.sqrt(x0 * x1), math.sqrt(y0 * y1))
    if not (x > 0 and y > 0):
        raise ValueError(f"plot.loglog_guide: at: expected a point with positive coordinates, got {at}")
    if slope:  # stay within the view's height as well as its width
        ends = sorted(x * (edge / y) ** (1 / slope) for edge in (y0, y1))
        x0, x1 = max(x0, ends[0]), min(x1, ends[1])
    xs = np.array([x0, x1])
    ys = y * (xs / x) ** slope
    limits = ax.get_xlim(), ax.get_ylim()
    ax.plot(xs, ys, linestyle=":", marker="", color=GUIDE, linewidth=1.2, zorder=1)
    ax.set(xlim=limits[0], ylim=limits[1])
    end = -0.12  # the label hangs inside the view, a little before the line's upper end
    place = (xs[1] * (xs[1] / xs[0]) ** end, ys[1] * (ys[1] / ys[0]) ** end)
    ax.annotate(
        f"∝ n{_power(slope)}" if label is None else label,
        place,
        xytext=(6, -4),
        textcoords="offset points",
        va="top",
        color=GUIDE,
        fontsize=11,
    )


def label_lines(ax: Axes, *, size: Real = 11) -> None:
    """Write each line's label at its right end, in its own colour, moved apart where they would overlap.

    Call it last: it places the labels for the limits that the axes have now.

    Args:
        ax: axes with labelled lines; lines without a label are left alone.
        size: font size in points.

    Raises:
        ValueError: no line has a label.

    Example:
        >>> fig, ax = figure()
        >>> _ = ax.plot([1, 2], [1, 2], label="up"), ax.plot([1, 2], [2, 1], label="down")
        >>> label_lines(ax)
        >>> sorted(t.get_text() for t in ax.texts)
        ['down', 'up']
        >>> plt.close(fig)
    """
    lines = [line for line in ax.get_lines() if not str(line.get_label()).startswith("_")]
    if not lines:
        raise ValueError("plot.label_lines: ax: expected lines with labels, got none")
    ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim())  # freeze, or the labels would point beside the lines
    to_axes = ax.transData + ax.transAxes.inverted()
    ends = []
    for line in lines:
        xy = np.asarray(line.get_xydata(), dtype=float)
        xy = xy[np.isfinite(to_axes.transform(xy)).all(axis=1)]
        if not len(xy):
            raise ValueError(
                f"plot.label_lines: ax: expected line {line.get_label()!r} to have a finite point, got none"
            )
        ends.append(to_axes.transform(xy[np.argmax(xy[:, 0])]))
    axes_height = ax.bbox.height * 72 / ax.figure.dpi  # in points
    heights = _apart([y for _, y in ends], 1.25 * size / axes_height)
    for line, (x, y), height in zip(lines, ends, heights, strict=True):
        colour = _ink(line.get_color())
        moved = abs(height - y) > 0.01 or x < 0.98
        ax.annotate(
            str(line.get_label()),
            (x, y),
            xycoords="axes fraction",
            xytext=(1.03, height),
            textcoords="axes fraction",
            va="center",
            color=colour,
            fontsize=size,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 1} if moved else None,
        )


def heatmap(
    ax: Axes,
    matrix: np.ndarray,
    *,
    label: str,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    values: str | None = None,
    low: Real | None = None,
    high: Real | None = None,
) -> AxesImage:
    """Show a matrix in colours of even perceptual steps, with a labelled colour bar.

    Args:
        ax: where.
        matrix: two axes, finite or NaN (a NaN stays white).
        label: what the colours mean, with its unit.
        rows: tick labels from top to bottom.
        columns: tick labels from left to right.
        values: a format such as ".2f" writes each value into its cell.
        low: the value of the darkest colour; the smallest if not given.
        high: the value of the brightest colour; the largest if not given.

    Returns:
        The image.

    Raises:
        ValueError: `matrix` does not have two axes, or holds nothing finite or an infinity; tick labels of
            another length.

    Example:
        >>> fig, ax = figure()
        >>> _ = heatmap(ax, np.eye(2), label="weight", values=".1f")
        >>> [t.get_text() for t in ax.texts]
        ['1.0', '0.0', '0.0', '1.0']
        >>> plt.close(fig)
    """
    data = np.asarray(matrix, dtype=float)
    if data.ndim != 2:
        raise ValueError(f"plot.heatmap: matrix: expected two axes, got shape {data.shape}")
    if not np.isfinite(data).any() or np.isinf(data).any():
        raise ValueError("plot.heatmap: matrix: expected finite values (or some NaN), got none or an infinity")
    for name, labels, n in (("rows", rows, data.shape[0]), ("columns", columns, data.shape[1])):
        if labels is not None and len(labels) != n:
            raise ValueError(f"plot.heatmap: {name}: expected {n} labels, got {len(labels)}")
    image = ax.imshow(data, cmap="cividis", vmin=low, vmax=high, aspect="equal")
    ax.grid(False)
    if rows is not None:
        ax.yaxis.set_ticks(range(len(rows)), rows)
    if columns is not None:
        ax.xaxis.set_ticks(range(len(columns)), columns)
    for spine in ax.spines.values():
        spine.set_visible(False)
    bar = ax.figure.colorbar(image, ax=ax, label=label)
    bar.outline.set_visible(False)
    if values is not None:
        for (i, j), x in np.ndenumerate(data):
            if np.isfinite(x):
                ground = to_hex(tuple(image.cmap(image.norm(x))))
                # Not quite black and white, which `show` would change with the page; the cell keeps its colour.
                ink = max(("#010101", "#fefefe"), key=lambda c: contrast(c, ground))
                ax.text(j, i, format(x, values), ha="center", va="center", color=ink, fontsize=11)
    return image


def length_axis(ax: Axes, axis: str = "x") -> None:
    """Make one axis a scale of lengths: logarithmic, ticks at powers of two, written 1,024.

    Raises:
        ValueError: `axis` is neither "x" nor "y".
    """
    _log_axis(ax, axis, 2.0, lambda x: f"{x:,.0f}" if x >= 1 else f"{x:g}")


def bytes_axis(ax: Axes, axis: str = "y") -> None:
    """Make one axis a scale of bytes: logarithmic, ticks at powers of two, written 64 KiB.

    Raises:
        ValueError: `axis` is neither "x" nor "y".
    """
    _log_axis(ax, axis, 2.0, format_bytes)


def count_axis(ax: Axes, axis: str = "y") -> None:
    """Make one axis a scale of counts: logarithmic, ticks at powers of ten, written 10⁹.

    Raises:
        ValueError: `axis` is neither "x" nor "y".
    """
    _log_axis(ax, axis, 10.0, format_count)


def format_bytes(x: Real) -> str:
    """Write a number of bytes with a binary unit and at most three significant digits.

    Example:
        >>> format_bytes(512), format_bytes(1536), format_bytes(3 * 2**30)
        ('512 B', '1.5 KiB', '3 GiB')
    """
    return binary(x)


def format_count(x: Real) -> str:
    """Write a count with three significant digits: as it is below 10,000, in powers of ten above.

    Example:
        >>> format_count(4096), format_count(1e9), format_count(3234975744)
        ('4,096', '10⁹', '3.23×10⁹')
    """
    if x == 0 or 1 <= abs(x) < 1e4:
        return f"{x:,.0f}" if abs(x) >= 100 or x == round(x) else f"{x:.3g}"
    mantissa, power = f"{x:.2e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    tens = f"10{_power(int(power))}"
    return {"1": tens, "-1": f"-{tens}"}.get(mantissa, f"{mantissa}×{tens}")


def contrast(colour: str, ground: str = "#ffffff") -> float:
    """Return the contrast ratio of two colours by WCAG 2: from 1 (equal) to 21 (black on white).

    Example:
        >>> contrast("#000000")
        21.0
    """
    darker, lighter = sorted((_luminance(colour), _luminance(ground)))
    return round((lighter + 0.05) / (darker + 0.05), 6)


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def _ink(colour: Any) -> str:
    """Darken a line's colour until letters of it stand out 4.5:1 from white."""
    r, g, b = to_rgb(colour)
    while contrast(to_hex((r, g, b))) < 4.5:
        r, g, b = 0.95 * r, 0.95 * g, 0.95 * b
    return to_hex((r, g, b))


# The colours of figures as variables of the page's style sheet, each with itself where there is none. Letters of a
# line have the variable of the line: on a dark ground both are light enough.
_VARIABLES = {
    colour.lower(): f"var(--figure-{name}, {colour.lower()})"
    for name, colour in [
        *((i, shade) for i, c in enumerate(COLOURS, 1) for shade in (_ink(c), c)),
        ("ink", INK),
        ("edge", EDGE),
        ("grid", GRID),
        ("guide", GUIDE),
        ("ground", GROUND),
    ]
}


def _power(power: Real) -> str:
    text = f"{power:g}"
    return "" if text == "1" else superscript(text)


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """Move heights as little as possible (in squares) so that neighbours are `gap` apart, their order kept.

    Less i·gap for the i-th, the wish becomes "not decreasing": neighbours that violate it are pooled into
    their mean. What then sticks out above 1 or below 0 is moved in as a block.
    """
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    pools: list[list[float]] = []
    for rank, i in enumerate(order):
        pools.append([heights[i] - rank * gap])
        while len(pools) > 1 and np.mean(pools[-2]) >= np.mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    flat = [float(np.mean(pool)) for pool in pools for _ in pool]
    room = max(0.0, 1 - gap * (len(flat) - 1))
    placed = [0.0] * len(flat)
    for rank, i in enumerate(order):
        placed[i] = min(max(flat[rank], 0.0), room) + rank * gap
    return placed


class _Powers(Locator):
    """At most `most` powers of the base, evenly spaced; LogLocator chooses differently from version to version."""

    def __init__(self, base: float, most: int) -> None:
        self.base, self.most = base, most

    def __call__(self) -> list[float]:
        axis: Any = self.axis
        return self.tick_values(*axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        first = math.ceil(math.log(vmin, self.base) - 1e-9)
        last = math.floor(math.log(vmax, self.base) + 1e-9)
        stride = max(1, math.ceil((last - first + 1) / self.most))
        return [self.base**power for power in range(first, last + 1, stride)]


def _log_axis(ax: Axes, axis: str, base: float, text: Any) -> None:
    if axis not in ("x", "y"):
        raise ValueError(f"plot: axis: expected 'x' or 'y', got {axis!r}")
    if axis == "x":
        ax.set_xscale("log", base=base)
    else:
        ax.set_yscale("log", base=base)
    scale = ax.xaxis if axis == "x" else ax.yaxis
    # A tick needs 0.8 inches for its number side by side, half of that one above the other.
    room, each = (ax.bbox.width, 0.8) if axis == "x" else (ax.bbox.height, 0.4)
    ticks = min(8, max(2, int(room / ax.figure.dpi / each)))
    scale.set_major_locator(_Powers(base, ticks))
    scale.set_major_formatter(FuncFormatter(lambda x, _: text(x)))
    scale.set_minor_formatter(NullFormatter())
