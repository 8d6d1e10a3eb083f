"""MyST Markdown → the plain Markdown that a notebook shows anywhere.

The source is parsed by MyST's own parser and written again node by node. Whatever is not listed here is an
error that names file, line and construct, so that no raw directive or role can slip into a notebook.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any, NoReturn

from docutils.nodes import make_id
from docutils.parsers.rst import Directive
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.tree import SyntaxTreeNode
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.directives import parse_directive_text
from myst_parser.parsers.mdit import create_md_parser

from attnlib.book import questions
from tools.ext.calculator import PAGE as CALCULATOR
from tools.ext.calculator import read_link
from tools.ext.quiz import QuizError, letter, parse_quiz
from tools.labels import Labels, Target, find
from tools.repository import Repository

ADMONITIONS = (
    *("attention", "caution", "danger", "error", "hint", "important", "note", "seealso", "tip", "warning"),
    *("admonition", "dropdown", "margin", "sidebar", "topic"),
)
THEOREMS = (
    *(
        "algorithm",
        "assumption",
        "axiom",
        "conjecture",
        "corollary",
        "criterion",
        "definition",
        "example",
        "lemma",
    ),
    *("notation", "observation", "proof", "property", "proposition", "remark", "theorem"),
)
DROPPED = ("solution", "index")
# A measured number differs from machine to machine: a twin that printed it would never be the same twice.
MEASURED = "…"
MEASURED_NOTE = " *(… stands for what the cell above prints on your machine.)*"
CODE_ROLES = ("func", "class", "meth", "mod", "attr", "data", "exc", "obj", "file", "code", "kbd", "command")


class ConversionError(ValueError):
    """A construct the converter does not know, or one that points at nothing."""


@dataclass(frozen=True)
class Context:
    """What one piece of Markdown needs to know about the book around it."""

    file: str
    doc: str
    parser: MarkdownIt
    repository: Repository
    labels: Labels
    authors: Mapping[str, tuple[str, str]]
    glued: Callable[[str, str], str]
    line: int = 0
    nested: bool = False
    root: Path = field(default_factory=Path)  # the book's folder, for files that a chapter includes
    references: dict[str, Any] = field(default_factory=dict)

    def fail(self, node: SyntaxTreeNode | None, message: str) -> NoReturn:
        """Stop, naming the place."""
        raise ConversionError(f"{self.file}:{self.at(node)}: {message}")

    def at(self, node: SyntaxTreeNode | None) -> int:
        """The line of a node in the file, counted from 1."""
        while node is not None and not node.is_root and node.map is None:
            node = node.parent
        return self.line + 1 + (node.map[0] if node is not None and not node.is_root and node.map else 0)

    def inside(self, node: SyntaxTreeNode, skipped: int) -> Context:
        """The context of text inside `node`, `skipped` lines below its first."""
        return replace(self, line=self.at(node) - 1 + skipped, nested=True)


class _AnyDirective(Directive):
    option_spec = {"options": True}  # noqa: RUF012 (docutils declares it so)
    required_arguments = 0
    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True


@dataclass(frozen=True)
class Block:
    """A directive: `line` is where its body starts below the opening fence."""

    name: str
    argument: str
    options: Mapping[str, Any]
    body: str
    line: int


def make_parser(extensions: list[str]) -> MarkdownIt:
    """MyST's parser with the book's syntax extensions, keeping backslash escapes as they were written."""
    parser = create_md_parser(MdParserConfig(enable_extensions=set(extensions)), RendererHTML)
    return parser.disable("text_join")


def parse(text: str, ctx: Context) -> list[SyntaxTreeNode]:
    """The blocks of a text; link definitions elsewhere in the chapter are known."""
    return list(SyntaxTreeNode(ctx.parser.parse(text, {"references": dict(ctx.references)})).children)


def render(text: str, ctx: Context) -> str:
    """Convert a text without gates; the blocks are separated by blank lines."""
    return join(render_block(node, ctx) for node in parse(text, ctx))


def join(blocks: Any) -> str:
    return "\n\n".join(block for block in blocks if block)


def directive(node: SyntaxTreeNode, ctx: Context) -> Block | None:
    """Read a fence as a directive; None when it is a plain listing."""
    try:
        return read_directive(node)
    except ValueError as error:
        ctx.fail(node, str(error))


def read_directive(node: SyntaxTreeNode) -> Block | None:
    """Read a fence as a directive; None when it is a listing, ValueError when its options are broken."""
    if node.type not in ("fence", "colon_fence"):
        return None
    match = re.match(r"\{([^}\s]+)\}\s*(.*)$", node.info.strip())
    if match is None:
        return None
    parsed = parse_directive_text(_AnyDirective, match[2], node.content, validate_options=False)
    if parsed.warnings:
        raise ValueError(f"{{{match[1]}}}: {parsed.warnings[0].msg}")
    body = "\n".join(parsed.body)
    # The body is the tail of the content; the parser's own offset is wrong after options between `---`.
    skipped = node.content.rstrip("\n").count("\n") - body.rstrip("\n").count("\n") + 1
    return Block(match[1], " ".join(parsed.arguments), parsed.options, body, skipped)


# Blocks ------------------------------------------------------------


def render_block(node: SyntaxTreeNode, ctx: Context) -> str:
    """One block as Markdown; '' for what a notebook does not show."""
    handler = BLOCKS.get(node.type)
    if handler is None:
        ctx.fail(node, f"the converter does not know the construct {node.type!r}")
    return handler(node, ctx)


def _children(node: SyntaxTreeNode, ctx: Context) -> list[str]:
    return [text for text in (render_block(child, ctx) for child in node.children) if text]


def _heading(node: SyntaxTreeNode, ctx: Context) -> str:
    if _note(node):
        ctx.fail(node, "a measured number in a heading; a notebook has no place there for its note")
    return "#" * int(node.tag[1]) + " " + render_inline(node.children[0], ctx)


def _paragraph(node: SyntaxTreeNode, ctx: Context) -> str:
    return _words(node, ctx) + _note(node)


def _words(node: SyntaxTreeNode, ctx: Context) -> str:
    return "".join(render_inline(child, ctx) for child in node.children)


def measured(key: str) -> bool:
    """Whether a glued number or sentence differs from run to run; `key` may name another page before `::`."""
    return key.rpartition("::")[2].startswith(("measured-", "said-"))


def _note(node: SyntaxTreeNode) -> str:
    """What explains the measured numbers of a paragraph, once, at its end; '' without any."""
    roles = (child for child in node.walk() if child.type == "myst_role" and child.meta["name"] == "glue:text")
    return MEASURED_NOTE if any(measured(role.content) for role in roles) else ""


def _list(node: SyntaxTreeNode, ctx: Context) -> str:
    if "task-list" in str(node.attrs.get("class", "")):
        ctx.fail(node, "a task list stands outside a {quiz}")
    number = int(node.attrs.get("start", 1)) if node.type == "ordered_list" else None
    items, loose = [], False
    for item in node.children:
        marker = "- " if number is None else f"{number}{item.markup or '.'} "
        number = None if number is None else number + 1
        tight = all(child.hidden for child in item.children if child.type == "paragraph")
        loose = loose or not tight
        text = ("\n" if tight else "\n\n").join(_children(item, replace(ctx, nested=True)))
        items.append(marker + _indent(text, len(marker)))
    return ("\n\n" if loose else "\n").join(items)


def _definitions(node: SyntaxTreeNode, ctx: Context) -> str:
    items: list[str] = []
    for child in node.children:
        if child.type == "dt":
            items.append(f"- **{_words(child, ctx)}**" + _note(child))
        else:
            items[-1] += "\n\n  " + _indent(join(_children(child, replace(ctx, nested=True))), 2)
    return "\n\n".join(items)


def _blockquote(node: SyntaxTreeNode, ctx: Context) -> str:
    return quote(join(_children(node, replace(ctx, nested=True))))


def _html(node: SyntaxTreeNode, ctx: Context) -> str:
    text = node.content.rstrip("\n")
    return "" if text.startswith("<!--") and text.endswith("-->") else text


def _listing(text: str, language: str) -> str:
    runs = [len(run) for run in re.findall(r"`{3,}", text)]
    fence = "`" * (max(runs, default=2) + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _fence(node: SyntaxTreeNode, ctx: Context) -> str:
    block = directive(node, ctx)
    if block is not None:
        return render_directive(block, node, ctx)
    if node.type == "colon_fence" or node.info.strip().startswith("{"):
        ctx.fail(node, f"a fence with {node.info.strip()!r} is neither a directive nor a listing")
    return _listing(node.content, node.info.strip())


def _display(tex: str, tag: str, node: SyntaxTreeNode, ctx: Context) -> str:
    tex = tex.strip("\n").strip() if ctx.nested else tex.strip("\n")
    if tag:
        tex += rf" \tag{{{tag}}}"
    if not ctx.nested:
        return f"$$\n{tex}\n$$"
    if re.search(r"(?<!\\)%", tex):
        ctx.fail(node, "a TeX comment in a formula that has to stand on one line (inside a box or a list)")
    # On one line: notebooks set mathematics before they read '>' and would put the marks into the formula.
    return f"$${' '.join(line.strip() for line in tex.splitlines())}$$"


def _math(node: SyntaxTreeNode, ctx: Context) -> str:
    label = node.info if node.type == "math_block_label" else ""
    return _display(node.content, _number(label, node, ctx), node, ctx)


def _amsmath(node: SyntaxTreeNode, ctx: Context) -> str:
    inner = {"align": "aligned", "gather": "gathered", "equation": "", "multline": "gathered"}
    name = str(node.meta["environment"]).rstrip("*")
    if name not in inner:
        ctx.fail(node, rf"the converter does not know the environment \begin{{{name}}}; use $$ … $$")
    content = re.sub(r"\\(begin|end)\{" + name + r"\*?\}", rf"\\\1{{{inner[name]}}}", node.content)
    return _display(re.sub(r"\\(?:begin|end)\{\}", "", content), "", node, ctx)


def _number(label: str, node: SyntaxTreeNode, ctx: Context) -> str:
    return target(f"equation-{make_id(label)}", node, ctx).text.strip("()") if label else ""


def _table(node: SyntaxTreeNode, ctx: Context) -> str:
    rows = [[_cell(cell, ctx) for cell in row.children] for part in node.children for row in part.children]
    head = node.children[0].children[0].children
    align = [str(cell.attrs.get("style", "")).removeprefix("text-align:") for cell in head]
    return join([table(rows, align), _note(node).strip()])


def table(rows: list[list[str]], align: list[str]) -> str:
    """A pipe table; the first row is the header."""
    marks = {"left": ":---", "right": "---:", "center": ":---:"}
    lines = [rows[0], [marks.get(side, "---") for side in align], *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(cell: SyntaxTreeNode, ctx: Context) -> str:
    for node in cell.walk():
        if node.type.startswith("math") and "|" in node.content:
            ctx.fail(cell, r"'|' in a table's formula cuts the cell in notebooks; write \lvert, \rvert or \mid")
    return _words(cell, ctx).replace("|", r"\|").replace("\n", " ")


def _footnote(node: SyntaxTreeNode, ctx: Context) -> str:
    return f"<sup>{node.meta['label']}</sup> " + join(_children(node, ctx))


def _nothing(node: SyntaxTreeNode, ctx: Context) -> str:
    return ""


BLOCKS: dict[str, Callable[[SyntaxTreeNode, Context], str]] = {
    "heading": _heading,
    "paragraph": _paragraph,
    "inline": lambda node, ctx: render_inline(node, ctx),
    "bullet_list": _list,
    "ordered_list": _list,
    "dl": _definitions,
    "blockquote": _blockquote,
    "hr": lambda node, ctx: "---",
    "html_block": _html,
    "code_block": lambda node, ctx: _listing(node.content, ""),
    "fence": _fence,
    "colon_fence": _fence,
    "math_block": _math,
    "math_block_label": _math,
    "amsmath": _amsmath,
    "table": _table,
    "footnote_reference": _footnote,
    # Targets are anchors of the page; comments are for authors.
    "front_matter": _nothing,
    "myst_target": _nothing,
    "myst_line_comment": _nothing,
}


# Directives ------------------------------------------------------------


def render_directive(block: Block, node: SyntaxTreeNode, ctx: Context) -> str:
    """One directive as Markdown."""
    name = block.name
    inner = ctx.inside(node, block.line)
    if name in DROPPED:
        return ""
    if name in ADMONITIONS:
        titled = name in ("admonition", "dropdown", "sidebar", "topic")
        first = text(block.argument, node, ctx) if block.argument else ""
        if titled:
            return box(first, render(block.body, inner))
        # Text beside the name of a {note} is the first line of its body.
        title = "See also" if name == "seealso" else name.capitalize()
        return box(title, join([first, render(block.body, inner)]))
    kind = name.removeprefix("prf:")
    if name.startswith("prf:") and kind in THEOREMS:
        return box(heading(kind, block, node, ctx), render(block.body, inner))
    if name == "exercise":
        return box(heading(name, block, node, ctx), render(block.body, inner))
    if name == "quiz":
        return _quiz(block, node, inner)
    if name == "number":
        return _numeric(block, node, ctx)
    if name == "calculator":
        return f"*The calculator stands [in the page]({ctx.repository.page(ctx.doc)}#calculator).*"
    if name == "math":
        label = str(block.options.get("label", ""))
        tex = "\n".join(filter(None, [block.argument, block.body]))
        return _display(tex, _number(label, node, ctx), node, ctx)
    if name in ("figure", "image"):
        return _image(block, node, ctx)
    if name == "table":
        return join([_table_caption(block, node, ctx), render(block.body, inner)])
    if name == "list-table":
        return _list_table(block, node, ctx)
    if name in ("code", "code-block", "sourcecode"):
        return _listing(block.body, block.argument)
    if name == "include":
        return _include(block, node, ctx)
    ctx.fail(node, f"the converter does not know the directive {{{name}}}")


def _include(block: Block, node: SyntaxTreeNode, ctx: Context) -> str:
    """A file that several pages show. Its lines are counted from its own first one."""
    file = _beside(block.argument, ctx)
    if block.options:
        ctx.fail(node, f"{{include}} {file}: the converter knows no options; it takes the whole file")
    if not (ctx.root / file).is_file():
        ctx.fail(node, f"{{include}} {file}: no such file")
    source = (ctx.root / file).read_text("utf8")
    if "{glue:" in source:
        ctx.fail(node, f"{{include}} {file}: it glues a value, which belongs to the cells of one page")
    return render(source, replace(ctx, file=file, line=0))


def heading(kind: str, block: Block, node: SyntaxTreeNode, ctx: Context) -> str:
    """`Theorem 1 – Doubling` or `Exercise 1 (Width)`, as the page has it, with the number that the page prints."""
    label = str(block.options.get("label", ""))
    numbered = label and "nonumber" not in block.options and kind != "proof"
    number = target(label, node, ctx).text if numbered else ""
    words = text(block.argument, node, ctx) if block.argument else ""
    title = words and (f"({words})" if kind == "exercise" else f"– {words}")
    return " ".join(filter(None, [number or kind.capitalize(), title]))


def text(source: str, node: SyntaxTreeNode, ctx: Context) -> str:
    """A title or caption: inline Markdown that stands in an argument or an option."""
    tree = SyntaxTreeNode(ctx.parser.parseInline(source, {"references": dict(ctx.references)}))
    return render_inline(tree.children[0], replace(ctx, line=ctx.at(node) - 1)) + _note(tree)


def quote(body: str) -> str:
    return "\n".join(f"> {line}" if line.strip() else ">" for line in body.splitlines())


def box(title: str, body: str) -> str:
    return quote(join([f"**{title}**", body]))


def _indent(body: str, width: int) -> str:
    first, *rest = body.splitlines() or [""]
    return "\n".join([first, *(" " * width + line if line.strip() else line for line in rest)])


def _quiz(block: Block, node: SyntaxTreeNode, ctx: Context) -> str:
    try:
        quiz = parse_quiz(block.body)
    except QuizError as error:
        raise ConversionError(f"{ctx.file}:{ctx.line + error.line + 1}: {error}") from None

    def item(index: int, source: str, line: int) -> str:
        return f"- **{letter(index)}.** " + _indent(render(source, replace(ctx, line=ctx.line + line)), 2)

    options = [item(i, option.text, option.line) for i, option in enumerate(quiz.options)]
    feedback = [item(i, option.feedback, option.feedback_line) for i, option in enumerate(quiz.options)]
    hidden = join([f"**{quiz.answer}**", "\n".join(feedback)])
    answer = join(["<details><summary>Answer</summary>", hidden, "</details>"])
    return box("Question", join([render(quiz.question, ctx), "\n".join(options), answer]))


def _numeric(block: Block, node: SyntaxTreeNode, ctx: Context) -> str:
    try:
        asked = questions.pose(block.argument)
    except ValueError as error:
        ctx.fail(node, str(error))
    answer = join(["<details><summary>Answer</summary>", f"**{asked.shown}**. {asked.why}", "</details>"])
    unit = f" (a number, in {asked.unit})" if asked.unit else " (a number)"
    check = f'Check yours: `ask("{block.argument}", 12.5)`.'
    return box("Question", join([f"{asked.question}{unit}", check, answer]))


def _image(block: Block, node: SyntaxTreeNode, ctx: Context) -> str:
    alt = str(block.options.get("alt", "")).replace("\n", " ")
    if not alt:
        ctx.fail(node, f"{{{block.name}}} without :alt:")
    image = f"![{alt}]({_resource(block.argument, ctx)})"
    caption = render(block.body, ctx.inside(node, block.line))
    label = str(block.options.get("name", ""))
    number = target(label, node, ctx).text + ": " if label and caption else ""
    return join([image, italic(number + caption) if caption else ""])


def _list_table(block: Block, node: SyntaxTreeNode, ctx: Context) -> str:
    inner = ctx.inside(node, block.line)
    lists = parse(block.body, inner)
    if len(lists) != 1 or lists[0].type != "bullet_list":
        ctx.fail(node, "{list-table}: expected one list of lists")
    rows = []
    for item in lists[0].children:
        if len(item.children) != 1 or item.children[0].type != "bullet_list":
            ctx.fail(node, "{list-table}: expected one list of lists")
        cells = ([_cell(part, inner) for part in cell.children] for cell in item.children[0].children)
        rows.append([" ".join(cell) for cell in cells])
    if not int(block.options.get("header-rows", 0)):
        rows.insert(0, [""] * len(rows[0]))
    caption = _table_caption(block, node, ctx)
    return join([caption, table(rows, [""] * len(rows[0])), _note(lists[0]).strip()])


def _table_caption(block: Block, node: SyntaxTreeNode, ctx: Context) -> str:
    """`**Table 7.** What it shows`, as the page has it; a table without a name has no number to be found by."""
    label = str(block.options.get("name", ""))
    number = f"**{target(label, node, ctx).text}.**" if label and block.argument else ""
    return " ".join(filter(None, [number, text(block.argument, node, ctx) if block.argument else ""]))


def italic(line: str) -> str:
    """Emphasise a line that may hold emphasis itself."""
    mark = "_" if "*" in line else "*"
    return f"{mark}{line}{mark}"


# Inline ------------------------------------------------------------


def render_inline(node: SyntaxTreeNode, ctx: Context) -> str:
    """The children of an inline node as Markdown."""
    return "".join(_inline(child, ctx) for child in node.children)


def _inline(node: SyntaxTreeNode, ctx: Context) -> str:
    match node.type:
        case "text" | "html_inline":
            return node.content
        case "text_special":
            return node.markup
        case "softbreak":
            return "\n"
        case "hardbreak":
            return "\\\n"
        case "em" | "strong" | "s":
            return node.markup + render_inline(node, ctx) + node.markup
        case "span":
            return render_inline(node, ctx)
        case "code_inline":
            pad = " " if node.content.startswith("`") or node.content.endswith("`") else ""
            return node.markup + pad + node.content + pad + node.markup
        case "math_inline":
            return f"${node.content}$"
        case "math_inline_double" | "math_single":
            return f"$${node.content}$$"
        case "footnote_ref":
            return f"<sup>{node.meta['label']}</sup>"
        case "link":
            return _link(node, ctx)
        case "image":
            return f"![{render_inline(node, ctx)}]({_resource(str(node.attrs['src']), ctx)})"
        case "myst_role":
            return _role(node, ctx)
    ctx.fail(node, f"the converter does not know the construct {node.type!r}")


def _link(node: SyntaxTreeNode, ctx: Context) -> str:
    href = str(node.attrs["href"])
    words = render_inline(node, ctx)
    if re.match(r"https?:|mailto:", href):
        return f"<{href}>" if node.info == "auto" else f"[{words or href}]({href})"
    path, _, anchor = href.partition("#")
    if path.endswith(".md") or f"/{_beside(path, ctx)}" in ctx.labels:
        return _to_page(_beside(path.removesuffix(".md"), ctx), anchor, words, node, ctx)
    if not anchor and not PurePosixPath(path).suffix and "/" not in path:
        return _to(target(path, node, ctx), words, ctx)
    if not path:
        return _to(target(anchor, node, ctx), words, ctx)
    return f"[{words or path}]({ctx.repository.blob(_beside(path, ctx))})"


def _beside(path: str, ctx: Context) -> str:
    return normpath(str(PurePosixPath(ctx.doc).parent / path))


def _to_page(doc: str, anchor: str, words: str, node: SyntaxTreeNode, ctx: Context) -> str:
    if not anchor:
        return _to(target(f"/{doc}", node, ctx), words, ctx)
    inside = find(ctx.labels, anchor, doc)
    if inside is None or inside.doc != doc:
        ctx.fail(node, f"{doc} has no anchor {anchor!r}")
    return _to(inside, words, ctx)


def target(label: str, node: SyntaxTreeNode, ctx: Context) -> Target:
    """What a label stands for in the built pages."""
    found = find(ctx.labels, label, ctx.doc)
    if found is None:
        name = label.removeprefix("equation-")
        ctx.fail(node, f"no built page has the label {name!r}; run `make book` first")
    return found


def _to(found: Target, words: str, ctx: Context) -> str:
    anchor = f"#{found.anchor}" if found.anchor else ""
    return f"[{words or found.text or found.anchor}]({ctx.repository.page(found.doc)}{anchor})"


def _resource(src: str, ctx: Context) -> str:
    return src if re.match(r"https?:|data:", src) else ctx.repository.raw(_beside(src, ctx))


def _role(node: SyntaxTreeNode, ctx: Context) -> str:
    name, content = str(node.meta["name"]), node.content
    match = re.match(r"(.*?)\s*<([^<>]+)>$", content, re.DOTALL)
    words, label = (match[1], match[2]) if match else ("", content.strip())
    short = name.removeprefix("py:")
    if name in ("ref", "prf:ref"):
        return _to(target(label, node, ctx), words, ctx)
    if name == "numref":
        found = target(label, node, ctx)
        number = found.text.split()[-1]
        return _to(found, words.replace("%s", number).replace("{number}", number), ctx)
    if name == "eq":
        return _to(target(f"equation-{make_id(label)}", node, ctx), "", ctx)
    if name == "doc":
        return _to_page(_beside(label.removesuffix(".md"), ctx), "", words, node, ctx)
    if name in ("cite", "cite:p", "cite:t"):
        return _cite(content, name == "cite:t", node, ctx)
    if name == "glue:text":
        return _glue(content, node, ctx)
    if name == "calc":
        return f"[{words}]({ctx.repository.page(CALCULATOR)}{read_link(content)[1]})"
    if name == "math":
        return f"${content}$"
    if name in ("sub", "sup"):
        return f"<{name}>{content}</{name}>"
    if short in CODE_ROLES:
        return f"`{words or label.rsplit('.', 1)[-1] if label.startswith('~') else words or label}`"
    ctx.fail(node, f"the converter does not know the role {{{name}}}")


# Set `bibtex_cite_id: "cite-{key}"` for anchors that stay: docutils' own (id22) move with every new reference.
BIBLIOGRAPHY = "chapters/bibliography"


def _cite(keys: str, textual: bool, node: SyntaxTreeNode, ctx: Context) -> str:
    links = []
    for key in (key.strip() for key in keys.split(",")):
        if key not in ctx.authors:
            ctx.fail(node, f"no reference has the key {key!r}")
        author, year = ctx.authors[key]
        said = f"{author} ({year})" if textual else f"{author}, {year}"
        entry = find(ctx.labels, f"cite-{key}", BIBLIOGRAPHY)
        anchor = f"#{entry.anchor}" if entry is not None and entry.doc == BIBLIOGRAPHY else ""
        links.append(f"[{said}]({ctx.repository.page(BIBLIOGRAPHY)}{anchor})")
    return ", ".join(links) if textual else f"({'; '.join(links)})"


def _glue(content: str, node: SyntaxTreeNode, ctx: Context) -> str:
    path, _, key = content.rpartition("::")
    doc = _beside(path.removesuffix(".md"), ctx) if path else ctx.doc
    try:
        return ctx.glued(doc, key)
    except KeyError:
        ctx.fail(node, f"no cell of {doc}.md glues {key!r}")
