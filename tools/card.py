"""Cards that are shown where a link is shared: the book's, and one for each page that has a drawing.

    python -m tools.card

draws the book's, theme/static/card.png: a layer's FLOPs over its length, from the cost model. A page's is its title
beside its first drawing; the build makes it (tools/ext/about.py), from the page itself.
"""

from __future__ import annotations

import re
import sys
from html import escape
from pathlib import Path

import matplotlib
import resvg_py
from PIL import ImageFont

from tools.files import ROOT, read_settings
from tools.shelf.pages import resolve

CARD = "card.png"
SIZE = (1200, 630)
SAYS = "A layer's FLOPs over its length: 8nd² for the projections, 4n²d for the core, equal at n = 2d"
GROUND, TEAL, OCHRE, INK, MUTED, RULE = "#fbfaf7", "#0b5c6b", "#b7791f", "#1f2a30", "#4d5b63", "#d8dedd"
MODEL = 1024  # width of the layer on the book's card
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
FACES = [f"DejaVuSans{x}.ttf" for x in ("", "-Bold", "-Oblique", "-BoldOblique", "Mono")] + ["DejaVuSerif-Bold.ttf"]
COLUMN = 430  # pixels of a title's lines
BOX = (550, 60, 600, 510)  # x, y, width and height of what is left for a drawing


def page_card(title: str, drawing: str, book: str) -> bytes:
    """A page's card as a PNG: its title, the book's below it, and an SVG of the page in its light colours."""
    size = next((size for size in (44, 38, 32, 26) if len(wrap(title, size)) * size < 260), 20)
    lines = "".join(
        f'<text x="60" y="{round(112 + 1.25 * size * row)}" font-size="{size}" font-family="serif" font-weight="700">'
        f"{escape(line)}</text>"
        for row, line in enumerate(wrap(title, size))
    )
    x, y, width, height = BOX
    within = f'<svg x="{x + 20}" y="{y + 20}" width="{width - 40}" height="{height - 40}"'
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE[0]} {SIZE[1]}" fill="{INK}" color="{INK}">'
        f'<rect width="100%" height="100%" fill="{GROUND}"/><rect width="12" height="100%" fill="{TEAL}"/>'
        f'{lines}<text x="60" y="556" font-size="24" font-family="sans-serif" fill="{MUTED}">{escape(book)}</text>'
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="#fff" stroke="{RULE}"/>'
        f"{resolve(drawing).replace('<svg', within, 1)}</svg>"
    )
    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=svg,
            width=SIZE[0],
            skip_system_fonts=True,
            font_files=[str(FONTS / face) for face in FACES],
            serif_family="DejaVu Serif",
            sans_serif_family="DejaVu Sans",
            monospace_family="DejaVu Sans Mono",
            font_family="DejaVu Sans",
        )
    )


def wrap(text: str, size: int, width: int = COLUMN) -> list[str]:
    """Lines of bold letters of a size that are no wider.

    Example:
        >>> wrap("What self-attention costs", 44)
        ['What self-', 'attention costs']
    """
    font = ImageFont.truetype(str(FONTS / "DejaVuSerif-Bold.ttf"), size)
    lines = [""]
    for word in re.findall(r"[^\s-]+-?|-", text):
        joint = "" if lines[-1].endswith("-") or not lines[-1] else " "
        if lines[-1] and font.getlength(lines[-1] + joint + word) > width:
            lines.append(word)
        else:
            lines[-1] += joint + word
    return lines


def draw(title: str, path: Path) -> None:
    """Draw the book's card."""
    import matplotlib as mpl
    import sympy

    from attnlib.book import plot, widgets

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    n, d = sympy.symbols("n d", positive=True)
    terms = {name: widgets.formulas()[name] for name in ("projections", "core")}
    crossing = int(sympy.solve(sympy.Eq(*terms.values()), n)[0].subs(d, MODEL))
    lengths = np.geomspace(crossing / 16, crossing * 16, 200)
    with (
        plot.style(),
        mpl.rc_context(
            {"font.family": "DejaVu Serif", "mathtext.fontset": "dejavuserif", "savefig.facecolor": GROUND}
        ),
    ):
        fig = plt.figure(layout="none", figsize=(SIZE[0] / 100, SIZE[1] / 100), dpi=100, facecolor=GROUND)
        fig.text(0.06, 0.80, title, size=44, color=INK)
        said = "What a self-attention layer costs,\nand whether it could be cheaper"
        fig.text(0.06, 0.56, said, size=19, color=MUTED, linespacing=1.5)
        for row, (name, colour) in enumerate((("projections", TEAL), ("core", OCHRE))):
            product = widgets.terms()[name].replace("²", "^2")
            fig.text(0.06, 0.35 - 0.15 * row, f"${product}$", size=36, color=colour)
            label = {"core": "the quadratic core"}.get(name, name)
            fig.text(0.21, 0.36 - 0.15 * row, label, size=18, color=MUTED)
        ax = fig.add_axes((0.57, 0.12, 0.38, 0.58), facecolor=GROUND)
        for term, colour, dash in zip(terms.values(), (TEAL, OCHRE), ("--", "-"), strict=True):
            ax.loglog(lengths, sympy.lambdify(n, term.subs(d, MODEL))(lengths), dash, color=colour, lw=4)
        ax.plot([crossing], [float(terms["core"].subs({n: crossing, d: MODEL}))], "o", color=INK, ms=11)
        ax.annotate(
            "n = 2d", (crossing, float(terms["core"].subs({n: crossing, d: MODEL}))), (16, -26),
            textcoords="offset points", size=19, color=INK,
        )  # fmt: skip
        ax.set(xticks=[], yticks=[], xlabel="length n", ylabel="FLOPs")
        ax.minorticks_off()
        ax.xaxis.label.set_fontsize(17)
        ax.yaxis.label.set_fontsize(17)
        ax.spines[["top", "right"]].set_visible(False)
        beside = path.with_name(f".{path.name}.new")
        fig.savefig(beside, format="png", metadata={"Software": None, "Title": title})
        plt.close(fig)
    beside.replace(path)


def main() -> int:
    path = ROOT / "theme" / "static" / CARD
    draw(str(read_settings(ROOT)["title"]), path)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
