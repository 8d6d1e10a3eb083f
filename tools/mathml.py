"""TeX to MathML: what pages, EPUB and PDF hold, so that no reader's program has to typeset.

Temml (``theme/vendor/temml``) converts, run by the V8 that comes with mini-racer.
"""

from __future__ import annotations

import atexit
import re
from functools import cache
from typing import Any

from tools.files import ROOT

TEMML = ROOT / "theme" / "vendor" / "temml" / "temml.min.js"
# What fails comes back as a message: an exception would bring a trace of Temml's own code along.
TYPESET = """
const typeset = (tex, displayMode, xml) => {
  try {
    return {made: temml.renderToString(tex, {displayMode, xml, annotate: true, throwOnError: true})};
  } catch (error) {
    return {wrong: error.message};
  }
};
"""
FORMULA = re.compile(r"<math\b.*?<annotation[^>]*>(.*?)</annotation>.*?</math>", re.DOTALL)


@cache
def _engine() -> Any:
    from py_mini_racer import MiniRacer

    engine = MiniRacer()
    atexit.register(engine.close)  # else its thread keeps the process alive
    engine.eval(TEMML.read_text(encoding="utf-8") + TYPESET)
    return engine


@cache
def mathml(tex: str, display: bool = False, xml: bool = False) -> str:
    r"""Set one formula as a ``<math>`` element with its TeX as an annotation, for whoever copies it.

    Args:
        tex: the formula without dollars.
        display: on a line of its own.
        xml: with the name space that an EPUB needs and HTML does not.

    Raises:
        ValueError: it is no TeX that Temml reads.

    Example:
        >>> mathml("n^2").partition("<annotation")[0]
        '<math><semantics><msup><mi>n</mi><mn>2</mn></msup>'
    """
    answer = _engine().call("typeset", tex, display, xml)
    if "wrong" in answer:
        raise ValueError(answer["wrong"])
    return str(answer["made"]).replace(">‾</mo>", ">¯</mo>")  # the bar that mathematics fonts have


def plain(html: str) -> str:
    """HTML with its formulas as text, for what becomes words without tags: the TeX without its braces.

    Example:
        >>> plain(f"Why not just {mathml('O(n^2)')}?")
        'Why not just O(n^2)?'
    """
    return FORMULA.sub(lambda formula: re.sub(r"[\\{}]", "", formula[1]), html)
