"""Make ``theme/static/mathematics.woff2``: Latin Modern Math without the signs that no book of ours needs.

    python tools/mathfont.py latinmodern-math.otf

Not part of the build. Debian's package fonts-lmodern holds the font; the script needs fonttools and brotli.
A test looks whether it has the characters of all formulas.
"""

import sys
from pathlib import Path

STATIC = Path(__file__).resolve().parent.parent / "theme" / "static"
BLOCKS = (
    (0x20, 0x7E),  # ASCII
    (0xA0, 0xFF),  # Latin-1: ¬ ± × ·
    (0x2C6, 0x2DC),  # accents
    (0x302, 0x308),  # the same, for what they stand on
    (0x393, 0x3F5),  # Greek
    (0x2010, 0x2037),  # dashes, quotation marks, dots, primes
    (0x2061, 0x2064),  # signs that are not seen
    (0x20D7, 0x20D7),  # an arrow above
    (0x2102, 0x2135),  # ℂ ℓ ℝ ℵ
    (0x2190, 0x2199),  # arrows
    (0x21A6, 0x21A6),  # ↦
    (0x21D0, 0x21D5),  # double arrows
    (0x2200, 0x222B),  # ∀ to ∫
    (0x223C, 0x2297),  # relations, ⊕ ⊖ ⊗
    (0x22A2, 0x22A5),  # ⊢ ⊤ ⊥
    (0x22C0, 0x22C5),  # large ∧ ∨ ∩ ∪, ⋅
    (0x22EE, 0x22F1),  # dots
    (0x2300, 0x2300),  # ⌀
    (0x2308, 0x230B),  # ⌈ ⌉ ⌊ ⌋
    (0x23DE, 0x23DF),  # braces above and below
    (0x27E8, 0x27E9),  # ⟨ ⟩
    (0x27F5, 0x27FA),  # long arrows
    (0x2A7D, 0x2A7E),  # ⩽ ⩾
    (0x1D434, 0x1D454),  # italic
    (0x1D456, 0x1D467),  # italic
    (0x1D49C, 0x1D4B5),  # script capitals
    (0x1D538, 0x1D551),  # double-struck capitals
    (0x1D5A0, 0x1D5B9),  # sans capitals
    (0x1D6A4, 0x1D6A5),  # dotless
    (0x1D6E2, 0x1D71B),  # italic Greek
)


def main(source: str) -> None:
    """Write the font beside the other files of the theme."""
    from fontTools import subset

    options = subset.Options(flavor="woff2", layout_features=["ssty"], hinting=False)
    options.desubroutinize = False
    options.name_IDs = ["*"]  # who made it, and the licence
    options.notdef_outline = True
    font = subset.load_font(source, options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[point for first, last in BLOCKS for point in range(first, last + 1)])
    subsetter.subset(font)
    subset.save_font(font, str(STATIC / "mathematics.woff2"), options)


if __name__ == "__main__":
    main(*sys.argv[1:])
