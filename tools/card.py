"""Draw the card that is shown where a link to the book is shared: theme/static/card.png.

    python -m tools.card

A layer's FLOPs over its length, from the cost model: the core overtakes the projections at n = 2d.
"""

from __future__ import annotations

import sys
from pathlib import Path

import sympy

from attnlib.book import plot, widgets
from tools.ext.about import CARD, CARD_SIZE
from tools.files import ROOT, read_settings

GROUND, TEAL, OCHRE, INK, MUTED = "#fbfaf7", "#0b5c6b", "#b7791f", "#1f2a30", "#4d5b63"
WIDTH = 1024


def draw(title: str, path: Path) -> None:
    """Draw the card with the book's title."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    n, d = sympy.symbols("n d", positive=True)
    terms = {name: widgets.formulas()[name] for name in ("projections", "core")}
    crossing = int(sympy.solve(sympy.Eq(*terms.values()), n)[0].subs(d, WIDTH))
    lengths = np.geomspace(crossing / 16, crossing * 16, 200)
    with (
        plot.style(),
        mpl.rc_context(
            {"font.family": "DejaVu Serif", "mathtext.fontset": "dejavuserif", "savefig.facecolor": GROUND}
        ),
    ):
        fig = plt.figure(layout="none", figsize=(CARD_SIZE[0] / 100, CARD_SIZE[1] / 100), dpi=100, facecolor=GROUND)
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
            ax.loglog(lengths, sympy.lambdify(n, term.subs(d, WIDTH))(lengths), dash, color=colour, lw=4)
        ax.plot([crossing], [float(terms["core"].subs({n: crossing, d: WIDTH}))], "o", color=INK, ms=11)
        ax.annotate(
            "n = 2d", (crossing, float(terms["core"].subs({n: crossing, d: WIDTH}))), (16, -26),
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
