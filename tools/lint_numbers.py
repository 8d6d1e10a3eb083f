"""Report digits in prose that look measured or computed and are neither glued nor cited.

python -m tools.lint_numbers FILE …

Such a number is right on the day it is typed and nobody notices when it stops being so. Glue it from a cell,
cite its source in the same sentence, or say above the paragraph why it may stand:

% digits: 805,306,368; 12 ms — read off the figure of the paper

In files that other programs show as well, write the same in an HTML comment. Small integers, the inputs of an
example ($n = 512$), years, names (GPT-3, float32) and the coefficients of a formula need no such line.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it.tree import SyntaxTreeNode

from tools.myst import make_parser, read_directive

SYNTAX = ["amsmath", "attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath", "tasklist"]
# Not prose: listings, cells, and what only the builder reads.
SKIPPED = (
    *(
        "code-cell",
        "raw-cell",
        "code",
        "code-block",
        "sourcecode",
        "literalinclude",
        "mermaid",
        "raw",
        "toctree",
    ),
    *("bibliography", "nb-exec-table", "tableofcontents", "image", "glue:figure", "eval-rst"),
)
MATH, CITE, OPAQUE, WORDS = "\ue000", "\ue001", "\ue002", "\ue003"  # the last: words in a formula

TIME = r"(?:[mµμun]?s|sec|(?:milli|micro|nano)?seconds?|min|minutes?|hours?|days?)"
SIZE = r"(?:[kKMGTPE]i?B|(?<=\s)B|(?:kilo|mega|giga|tera|kibi|mebi|gibi)?bytes?|[KMGT]bytes?)"
WORK = r"(?:[KMGTPE]?(?:FLOPs?|FLOPS|flops?)|[kMG]?Hz|kW|k?Wh)"
COUNT = r"(?:thousand|million|billion|trillion|tokens?(?=/|\s+per\s))"
UNIT = rf"(?:{TIME}|{SIZE}|{WORK}|{COUNT})(?:/(?:s|second|token|step|day))?(?![\w^])"
INTEGER = r"\d{1,3}(?:[,_\u2009\u202f\u00a0]\d{3})+(?!\d)|\d+"
# Not after a letter (float32), a letter and a joint (GPT-3, arXiv:17…), a section sign or a number sign.
NUMBER = re.compile(rf"(?<![\w.§#])(?<!\w[-–:/.])(?:{INTEGER})(?:\.\d+)*(?:[eE][+-]?\d+)?")
POWER = re.compile(r"(?<![\w.])10\s*(?:\^\s*(?:\{\s*[-+−]?\s*\d+\s*\}|[-−]?\d+)|[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
RANGE = r"(?:\s*[-–—]\s*\d[\d.,]*|\s+to\s+\d[\d.,]*)?"
AFTER_UNIT = re.compile(rf"{RANGE}[\s\u00a0\ue003-]*({UNIT})")
AFTER_PERCENT = re.compile(rf"{RANGE}\s*(%|percent\b|per\s?cent\b)")
AFTER_MULTIPLIER = re.compile(
    r"(×|x(?!\w))(?!\s*[\d\ue000])|\s+(×)(?=\s*(?:$|[.,;)]|(?:as|the|faster|slower|more|less|larger|smaller)\b))"
)
AFTER_TIMES = re.compile(r"[\s-]*(times|fold)\b")
PRODUCT = r"(?:Python|JAX|NumPy|SymPy|CUDA|Sphinx|Jupyter ?Book|CC[ -]BY|WCAG|[Vv]ersions?|\bv)"
VERSIONED = re.compile(PRODUCT + r"\s*(?:[<>]=?|[≥≤=]+)?\s*$")
VARIABLE = r"[bcdghkmnprwBLN](?:_(?:\w+|\{[^{}]*\}))?"
VALUE = r"(?:\d{1,3}(?:[,\u2009]\d{3})+|\d+)(?!\.?\d)(?:\^(?:\{\d+\}|\d+))?"
GIVEN = rf"{VARIABLE}\s*(?:=|\\in\s*\\?\{{)\s*{VALUE}(?:\s*,\s+(?:\\l?dots\s*,\s*)?{VALUE})*"
# In a formula an input opens a relation: $n = 512, d = 64$, not the last term of $n = 6 d = 3072$.
INPUT_IN_FORMULA = re.compile(rf"(?:^|[,;:({{&])\s*{GIVEN}")
INPUT_IN_TEXT = re.compile(rf"(?<![\w\\]){GIVEN}")
TUPLE = re.compile(r"\(\s*\d+(?:,\s+\d+)+\s*\)")
SENTENCE = re.compile(
    r"(?<!e\.g\.)(?<!i\.e\.)(?<!al\.)(?<!cf\.)(?<!vs\.)(?<!Fig\.)(?<=[.!?:])\s+(?=[A-Z\ue000-\ue002(“\"])"
)
ADVICE = "glue it from a cell, cite its source in the sentence, or write `% digits: … — why` above the paragraph"


@dataclass(frozen=True)
class Finding:
    """A number that nobody vouches for."""

    line: int
    token: str
    hint: str


@dataclass
class Prose:
    """A paragraph, a row or a title: its text with placeholders, the line of each character, its formulas."""

    text: str = ""
    lines: list[int] = field(default_factory=list)
    formulas: list[str] = field(default_factory=list)

    def add(self, piece: str, line: int) -> None:
        """Append a piece that stands in one line."""
        self.text += piece
        self.lines += [line] * len(piece)


@dataclass
class Allowance:
    """The tokens of a `% digits:` comment, for the block below it."""

    line: int
    tokens: tuple[str, ...]
    used: set[str] = field(default_factory=set)


def lint(text: str) -> list[Finding]:
    """Every unvouched number of a MyST or Markdown text, in the order of its lines."""
    parser = make_parser(SYNTAX)

    def blocks(source: str, line: int, timed: bool) -> Iterator[Finding]:
        allowance: Allowance | None = None
        for node in SyntaxTreeNode(parser.parse(source)).children:
            here = line + (node.map[0] if node.map else 0)
            if node.type in ("myst_line_comment", "html_block"):
                found = read_allowance(node.content, here)
                if isinstance(found, Finding):
                    yield found
                elif found is not None:
                    allowance = found
                continue
            yield from vouched(block(node, line, timed), allowance)
            allowance = None

    def block(node: SyntaxTreeNode, line: int, timed: bool) -> Iterator[Finding]:
        here = line + (node.map[0] if node.map else 0)
        if node.type in ("fence", "colon_fence"):
            opened = read_directive(node)
            if opened is None or opened.name in SKIPPED:
                return
            if opened.name == "math":
                yield from formula(f"{opened.argument}\n{opened.body}", here + opened.line)
                return
            if opened.argument and not opened.name.startswith(("solution", "quiz", "figure")):
                yield from blocks(opened.argument, here, timed)
            timed = timed or "objectives" in str(opened.options.get("class", ""))
            yield from blocks(opened.body, here + opened.line, timed)
        elif node.type in ("math_block", "math_block_label", "amsmath"):
            yield from formula(node.content, here)
        elif node.type == "heading":
            title = gather(node, line)
            title.text = re.sub(r"^[\d.]+(?=\s)", lambda number: OPAQUE * len(number[0]), title.text)
            yield from sentences(title, timed)
        elif node.type in ("inline", "tr"):
            yield from sentences(gather(node, line), timed)
        elif node.type not in (
            "front_matter",
            "code_block",
            "myst_target",
            "html_block",
            "myst_line_comment",
        ):
            for child in node.children:
                yield from block(child, line, timed)

    return sorted(blocks(text, 1, False), key=lambda finding: finding.line)


def read_allowance(comment: str, line: int) -> Allowance | Finding | None:
    """Read `digits: a; b — why` from a comment; a Finding when the reason is missing."""
    for offset, row in enumerate(comment.removeprefix("<!--").splitlines()):
        match = re.match(r"\s*%?\s*digits:\s*(.*)", row.removesuffix("-->"))
        if match:
            tokens, dash, reason = match[1].partition(" — ")
            if not dash or not reason.strip():
                return Finding(line + offset, "digits:", "say why after ' — '")
            return Allowance(line + offset, tuple(_same(t) for t in re.split(r";\s*|,\s+", tokens) if t.strip()))
    return None


def vouched(findings: Iterator[Finding], allowance: Allowance | None) -> Iterator[Finding]:
    """Drop what the comment above allows; complain about what it allows in vain."""
    for finding in findings:
        if allowance is None or _same(finding.token) not in allowance.tokens:
            yield finding
        else:
            allowance.used.add(_same(finding.token))
    if allowance is not None:
        for token in allowance.tokens:
            if token not in allowance.used:
                yield Finding(allowance.line, token, "allowed here, but the block below needs no such permission")


def _same(token: str) -> str:
    return " ".join(token.replace(WORDS, "").split())


def gather(node: SyntaxTreeNode, line: int) -> Prose:
    """The readable text below a node; code, targets of links and glued values leave placeholders."""
    prose = Prose()

    def walk(node: SyntaxTreeNode, at: int) -> int:
        if node.type == "inline" and node.map:
            at = line + node.map[0]
        if node.type in ("softbreak", "hardbreak"):
            prose.add("\n", at)
            return at + 1
        if node.type in ("math_inline", "math_inline_double"):
            # '$12$ ms' is a number like '12 ms'; '$2048$' is no year.
            bare = re.fullmatch(rf"\s*(?!(?:19|20)\d\d\s*$)({INTEGER})(\.\d+)?\s*", plain_tex(node.content))
            if not bare:
                prose.formulas.append(node.content)
            prose.add(bare[0].strip() if bare else MATH, at)
            return at + node.content.count("\n")
        if node.type == "myst_role":
            name = str(node.meta["name"])
            if name == "math":
                prose.formulas.append(node.content)
            prose.add(CITE if name.startswith("cite") else MATH if name == "math" else OPAQUE, at)
        elif node.type in ("code_inline", "image", "html_inline", "footnote_ref"):
            prose.add(OPAQUE, at)
        elif node.type in ("text", "text_special"):
            prose.add(node.content, at)
        elif not (node.type == "link" and node.info == "auto"):
            for child in node.children:
                at = walk(child, at)
            if node.type in ("td", "th"):
                prose.add(" | ", at)
        return at

    walk(node, line)
    return prose


def sentences(prose: Prose, timed: bool) -> Iterator[Finding]:
    """Check each sentence that cites nobody. A row of a table is one sentence."""
    start, formulas = 0, iter(prose.formulas)
    for stop in [*(match.start() for match in SENTENCE.finditer(prose.text)), len(prose.text)]:
        sentence = prose.text[start:stop]
        inside = [(i, next(formulas)) for i, character in enumerate(sentence) if character == MATH]
        if CITE not in sentence:
            for position, token, hint in numbers(sentence, timed, INPUT_IN_TEXT, TUPLE):
                yield Finding(prose.lines[start + position], token, hint)
            for position, tex in inside:
                yield from formula(tex, prose.lines[start + position])
        start = stop


def numbers(sentence: str, timed: bool, *inputs: re.Pattern[str]) -> Iterator[tuple[int, str, str]]:
    """`(position, token, hint)` of each suspicious number of a sentence, outside what `inputs` match."""
    spans = [match.span() for pattern in inputs for match in pattern.finditer(sentence)]
    for match in POWER.finditer(sentence):
        if not any(a <= match.start() < b for a, b in spans):
            spans.append(match.span())
            yield match.start(), _same(match[0]), f"a power of ten: {ADVICE}"
    for match in NUMBER.finditer(sentence):
        number, after = match[0], sentence[match.end() :]
        suffixed = next((found for look in SUFFIXES if (found := look(number, after, timed))), None)
        if suffixed:
            yield match.start(), _same(number + suffixed[0]), f"{suffixed[1]}: {ADVICE}"
        elif not any(a <= match.start() < b for a, b in spans):
            why = suspicious(number, sentence[: match.start()], after)
            if why:
                yield match.start(), number, f"{why}: {ADVICE}"


def suspicious(number: str, before: str, after: str) -> str:
    """Why a bare number looks computed; '' when it does not."""
    digits = re.sub(r"\D", "", number)
    if re.search(r"[eE]", number):
        return "scientific notation"
    if number.count(".") > 1 or VERSIONED.search(before):
        return ""  # a version
    if "." in number:
        return "a decimal"
    if not number.isdigit():
        return "a number with thousands"
    if re.fullmatch(r"(?:19|20)\d\d", number) and not re.match(r"[\s-]*[\ue000]", after):
        return ""  # a year
    if len(digits) >= 4:
        return "a long number"
    if len(digits) > 1 and re.search(r"factors? of\s+$", before):
        return "a multiplier"
    return ""


def _unit(number: str, after: str, timed: bool) -> tuple[str, str] | None:
    match = AFTER_UNIT.match(after)
    if match is None or (re.fullmatch(r"(?:19|20)\d\d", number) and re.match(r"s\b", after)):
        return None
    if timed and re.fullmatch(TIME, match[1]) and len(number) < 4 and "." not in number:
        return None  # how long a chapter takes, which its opening box states
    return match[0], "a quantity"


def _percent(number: str, after: str, timed: bool) -> tuple[str, str] | None:
    match = AFTER_PERCENT.match(after)
    return (match[0], "a percentage") if match else None


def _multiplier(number: str, after: str, timed: bool) -> tuple[str, str] | None:
    match = AFTER_MULTIPLIER.match(after) or (AFTER_TIMES.match(after) if len(number) > 1 else None)
    return (match[0], "a multiplier") if match else None


SUFFIXES = (_percent, _unit, _multiplier)


def formula(tex: str, line: int) -> Iterator[Finding]:
    """Check a formula: its inputs, coefficients and small exponents may stand, results may not."""
    for offset, row in enumerate(plain_tex(tex).split("\n")):
        rest = TUPLE.sub(" ", INPUT_IN_FORMULA.sub(" ", row))
        # A letter is a variable, not a unit, unless the formula sets it as words: $4 s$ is four times s.
        rest = re.sub(rf"({WORDS}\s*)?[A-Za-z]+", lambda found: found[0] if found[1] else OPAQUE + found[0], rest)
        for position, token, hint in numbers(rest, False):
            # No years in formulas: a bare 2048 is a result.
            yield Finding(line + offset, token, hint)
            rest = rest[:position] + " " * len(token) + rest[position + len(token) :]
        for match in re.finditer(r"(?<![\w.])(?:19|20)\d\d(?![\d.,\u2009])", rest):
            yield Finding(line + offset, match[0], f"a long number: {ADVICE}")


def plain_tex(tex: str) -> str:
    """TeX with its spacing, text and layout commands reduced to what a reader sees."""
    tex = re.sub(r"\\(?:tag|label|eqref|ref|hspace|vspace|phantom|color)\*?\{[^{}]*\}|\\\\\[[^]]*\]", " ", tex)
    tex = re.sub(r"(?<=\d)(?:\{,\}|\\,|\\;|\\:|\\ |~)(?=\d{3}(?!\d))", "\u2009", tex)
    tex = re.sub(r"\\[,:! ]|~", " ", re.sub(r"\\q?quad|\\;", "; ", tex))
    tex = re.sub(r"\\(?:text|mathrm|textrm|operatorname)\*?\{([^{}]*)\}", rf" {WORDS}\1", tex)
    return tex.replace(r"\%", "%").replace(r"\times", "×")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    failed = False
    for file in parser.parse_args(arguments).files:
        try:
            text = file.read_text("utf8")
        except OSError as error:
            print(f"{file}: {error.strerror}", file=sys.stderr)
            return 1
        for finding in lint(text):
            failed = True
            print(f"{file}:{finding.line}: {finding.token} — {finding.hint}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
