r"""Our docstrings as reStructuredText: sections become fields, formulas on lines of their own become TeX.

A paragraph after the first that ends in no full stop and no colon, and holds no code, is a formula. An indented one
that is Python is a program.

    >>> print("\n".join(to_rst("Add.\n\nx_i = Σ_j w_ij\n\nArgs:\n    x: a number, |x| ≤ 1.")))
    Add.
    <BLANKLINE>
    .. container:: formula
    <BLANKLINE>
        | :math:`\displaystyle x_{i} = \sum _{j} w_{ij}`
    <BLANKLINE>
    :Arguments: * **x**: a number, \|x\| ≤ 1.
"""

from __future__ import annotations

import ast
import re
import textwrap
from unicodedata import normalize

SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Cost|Source|Example):(?: +(.*))?")
CODE = re.compile(r"((?:\{[\w:]+\})?`[^`]*`)")
ENTRY = re.compile(r"([\w*, ]+): +(.*)", re.DOTALL)


def to_rst(docstring: str) -> list[str]:
    """Return the lines that autodoc hands to Sphinx.

    Args:
        docstring: cleaned, as `inspect.getdoc` returns it.

    Raises:
        ValueError: a formula with a symbol that has no TeX here, an argument without "name: text".
    """
    head, sections = _split(docstring)
    blocks = [_prose(head[0]), *map(_block, head[1:])] if head else []
    fields = [_section(name, body) for name, body in sections if name != "Example"]
    blocks += ["\n".join(fields)] if fields else []
    blocks += [f".. rubric:: Example\n\n{body}" for name, body in sections if name == "Example"]
    return "\n\n".join(blocks).splitlines()


def _split(docstring: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Paragraphs before the first section, and the sections with their bodies."""
    head: list[str] = []
    sections: list[tuple[str, list[str]]] = []
    for line in docstring.splitlines():
        if found := SECTION.fullmatch(line):
            sections.append((found[1], [found[2]] if found[2] else []))
        elif sections:
            sections[-1][1].append(line if line[:4].strip() else line[4:])
        else:
            head.append(line)
    paragraphs = re.split(r"\n\s*\n", "\n".join(head).strip("\n"))
    return [p for p in paragraphs if p.strip()], [(name, "\n".join(body).strip("\n")) for name, body in sections]


def _block(paragraph: str) -> str:
    text = textwrap.dedent(paragraph)
    if paragraph.startswith(" ") and _is_python(text):
        return ".. code-block:: python\n\n" + textwrap.indent(text, "    ")
    if text.rstrip().endswith((".", ":")) or "`" in text:
        return _prose(text)
    lines = [re.split(r"(?<=[,;:])\s{3,}", line.strip()) for line in text.splitlines()]
    written = ("\N{EM SPACE}".join(rf":math:`\displaystyle {tex(part).strip()}`" for part in line) for line in lines)
    return ".. container:: formula\n\n" + "\n".join(f"    | {line}" for line in written)


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def _section(name: str, body: str) -> str:
    if name in ("Args", "Attributes"):
        label = "Arguments" if name == "Args" else name
        items = "\n".join(f"* **{_escaped(key)}**: {_prose(text)}" for key, text in _entries(body))
        return f":{label}: " + textwrap.indent(items, "    ").strip()
    if name == "Raises":
        return "\n".join(f":raises {key}: {_prose(text)}" for key, text in _entries(body))
    paragraphs = [_prose(paragraph) for paragraph in re.split(r"\n\s*\n", body)]
    return f":{name}: " + textwrap.indent("\n\n".join(paragraphs), "    ").strip()


def _entries(body: str) -> list[tuple[str, str]]:
    """(name, text) of each entry: a line that is not indented, and the indented ones below."""
    found = []
    for entry in re.split(r"\n(?=\S)", body):
        match = ENTRY.fullmatch(entry)
        if match is None:
            raise ValueError(f"expected 'name: text', got {entry!r}")
        found.append((match[1], match[2]))
    return found


def _prose(text: str) -> str:
    """One line: code in double backticks, everything else without a meaning in reStructuredText."""
    if text.count("`") % 2:
        raise ValueError(f"expected backticks in pairs, got {text!r}")
    parts = CODE.split(" ".join(text.split()))
    parts[1::2] = [part if part.startswith("{") else part[1:-1] for part in parts[1::2]]  # a role keeps its backticks
    # An escaped space is none: it lets a letter touch the code, as in the plural of a name.
    return "".join(rf"\ ``{part}``\ " if i % 2 else _escaped(part) for i, part in enumerate(parts))


def _escaped(text: str) -> str:
    return re.sub(r"[\\*|]|_(?!\w)|(?<!\w)_", r"\\\g<0>", text)


# Formulas ------------------------------------------------------------

SYMBOLS = {
    "∂": r"\partial ", "⟨": r"\langle ", "⟩": r"\rangle ", "∈": r"\in ", "≈": r"\approx ", "~": r"\sim ",
    "Σ": r"\sum ", "√": r"\sqrt ", "∇": r"\nabla ", "∞": r"\infty ", "½": r"\tfrac12 ", "…": r"\dots ",
    "−": "-", "·": r"\cdot ", "×": r"\times ", "∘": r"\circ ", "⊗": r"\otimes ", "≤": r"\le ", "≥": r"\ge ",
    "←": r"\leftarrow ", "↦": r"\mapsto ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ",
    "α": r"\alpha ", "δ": r"\delta ", "ε": r"\varepsilon ", "η": r"\eta ", "θ": r"\theta ", "µ": r"\mu ",
    "μ": r"\mu ", "ρ": r"\rho ", "σ": r"\sigma ", "τ": r"\tau ", "φ": r"\varphi ", "ψ": r"\psi ", "π": r"\pi ",
    "λ": r"\lambda ", "Δ": r"\Delta ",
    "∪": r"\bigcup ", "{": r"\{", "}": r"\}",
}  # fmt: skip
RAISED = {"²": "2", "³": "3", "ᵃ": "a", "ᵀ": r"\mathsf T", "⁺": "+"}
MARKS = {"\N{COMBINING CIRCUMFLEX ACCENT}": "hat", "\N{COMBINING MACRON}": "bar", "\N{COMBINING TILDE}": "tilde"}
FUNCTION = r"(?:exp|ln|log|max|min|tanh)(?![A-Za-z])"
INSIDE = r"(?:[^()]|\([^()]*\))*"
TOKEN = re.compile(
    rf"""
      \^\((?P<power>{INSIDE})\) | \^(?P<letter>\w)
    | _\{{(?P<braced>[^{{}}]*)\}} | _(?P<index>[^\W_]+(?:_[^\W_]+)*)
    | √\((?P<root>{INSIDE})\) | √(?P<name>\w+!?)
    | (?P<marked>[A-Za-z])(?P<mark>[{"".join(MARKS)}])
    | \s*(?P<function>{FUNCTION})
    | \s*(?P<code>[A-Za-z]{{3,}}(?:_[a-z]{{2,}})+)
    | (?P<words>\s*[A-Za-z]{{2,}}(?:[ ](?!{FUNCTION})[A-Za-z]{{2,}}(?![A-Za-z(_]))*[:,]?\s*)
    | (?P<raised>[{"".join(RAISED)}]+)
    | (?P<symbol>[{re.escape("".join(SYMBOLS))}])
    | (?P<plain>[A-Za-z0-9()\[\]=+/|!,.;:'<>\s])
    """,
    re.VERBOSE,
)


def tex(formula: str) -> str:
    r"""Return a formula of a docstring as TeX: symbols, indices, powers, roots, and words as words.

    Raises:
        ValueError: a symbol that is not in `SYMBOLS`.

    Example:
        >>> print(tex("w_ij = e^(s_ij) / √d_k over j ≤ i"))
        w_{ij} = e^{s_{ij}} / \sqrt{d_{k}}\text{ over }j \le  i
    """
    text = normalize("NFD", formula)
    written, at = "", 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            raise ValueError(
                f"expected a symbol that has TeX in tools/docstrings.py, got {text[at]!r} in {formula!r}"
            )
        written += _token(found)
        at = found.end()
    return written


def _token(found: re.Match[str]) -> str:
    kind = found.lastgroup
    text = found[kind] if kind else ""
    match kind:
        case "power" | "letter":
            return f"^{{{tex(text)}}}"
        case "braced":
            return f"_{{{tex(text)}}}"
        case "index":  # letters of an index stand side by side; three of them are a name
            parts = (rf"\mathrm{{{p}}}" if re.match("[a-z]{3}", p) else _letters(p) for p in text.split("_"))
            return f"_{{{','.join(parts)}}}"
        case "root" | "name":
            return rf"\sqrt{{{tex(text)}}}"
        case "mark":
            return rf"\{MARKS[text]}{{{found['marked']}}}"
        case "function":
            return rf"\{text} "
        case "code":
            return r"\mathrm{" + text.replace("_", r"\_") + "}"
        case "words":
            return rf"\text{{{text}}}"
        case "raised":
            return f"^{{{''.join(RAISED[x] for x in text)}}}"
        case "symbol":
            return SYMBOLS[text]
    return text


def _letters(text: str) -> str:
    return "".join(SYMBOLS.get(letter, letter) for letter in text)
