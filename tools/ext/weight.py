"""A page loads one sheet and one script of its own, without what no page uses, and no font of icons.

The theme and the extensions bring eleven sheets and as many scripts, and 1.7 MB of icons for the twenty in sight.
When all pages are written, their common sheets become ``_static/style.css``, less the rules for classes and names
that stand in no page and in no script; the scripts become ``_static/script.js``. The icons of the pages are
``theme/static/icons.css``.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

# Of extensions whose boxes and cards this book does without; fontawesome is the icons as a script of 1.5 MB.
UNUSED = ("togglebutton", "sphinx-design", "design-tabs", "fontawesome")
# It makes the object that scripts within a page write to: it cannot wait.
AT_ONCE = "documentation_options.js"
SHEET = re.compile(r'<link\b[^>]*\bhref="([^"]+\.css)[^"]*"[^>]*>\s*')
SCRIPT = re.compile(r'<script\b([^>]*)\bsrc="([^"]+\.js)[^"]*"[^>]*></script>\s*')
LEFT_OVER = re.compile(
    r'<link rel="preload" as="script"[^>]*>\s*|<script>(?:let toggle|var togglebutton)[^<]*</script>\s*'
)
IMPORT = re.compile(r"""@import\s+["']([^"']+)["'];""")
ADDRESS = re.compile(r"""url\((["']?)(?!data:|#)([^"')]+)\1\)""")
# Colours of code that are the text's own; words of the API, which may break anywhere and need no span of their own.
PLAIN = re.compile(r'<span class="(?:n|nn|p|w|gp|go)">([^<]*)</span>')
# A link within the API that has its own address as a title; a preview says more.
TITLED = re.compile(r'(<a class="reference internal" href="[^"]*#attnlib[^"]*") title="attnlib[^"]*"')
CODE = re.compile(r'<div class="highlight"><pre>.*?</pre></div>', re.DOTALL)
WORD = re.compile(r'<span class="pre">([^<]*)</span>')
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
NAME = re.compile(r"[A-Za-z_][\w-]*")


def read_rules(css: str) -> Iterator[tuple[str, str | None]]:
    """Each rule as what stands before its brace and what is in it; None where there is no brace.

    Example:
        >>> list(read_rules("@charset 'x';a{b:c}@media d{e{f:g}}"))
        [("@charset 'x'", None), ('a', 'b:c'), ('@media d', 'e{f:g}')]
    """
    depth = begin = brace = 0
    for sign in re.finditer(r"""\\.|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|url\([^"')]*\)|[{};]""", css, re.DOTALL):
        if sign[0] == "{":
            depth += 1
            if depth == 1:
                brace = sign.start()
        elif sign[0] == "}":
            depth -= 1
            if depth == 0:
                yield css[begin:brace].strip(), css[brace + 1 : sign.start()].strip()
                begin = sign.end()
        elif sign[0] == ";" and depth == 0:
            yield css[begin : sign.start()].strip(), None
            begin = sign.end()


def prune(css: str, used: set[str]) -> str:
    """Leave out what selects a class or an id that is not in `used`, and the fonts and movements of icons.

    Example:
        >>> prune("a{b:c} .x:not(.y),.z>a{d:e} @media f{.z{g:h}}", {"x"})
        'a{b:c}.x:not(.y){d:e}'
    """
    kept = []
    for head, body in read_rules(COMMENT.sub("", css)):
        if body is None:
            kept.append(f"{head};")
        elif head.startswith(("@media", "@supports")):
            if inside := prune(body, used):
                kept.append(f"{head}{{{inside}}}")
        elif head.startswith("@"):
            if "Awesome" not in body and not head.endswith(("-bounce", "-beat", "-fade", "-flip", "-shake", "-spin")):
                kept.append(f"{head}{{{body}}}")
        elif selectors := [one for one in _selectors(head) if _names(one) <= used]:
            kept.append(f"{','.join(selectors)}{{{body}}}")
    return "".join(kept)


def _selectors(head: str) -> Iterator[str]:
    depth = begin = 0
    for sign in re.finditer(r"\\.|[(),]", head):
        depth += {"(": 1, ")": -1}.get(sign[0], 0)
        if sign[0] == "," and depth == 0:
            yield head[begin : sign.start()].strip()
            begin = sign.end()
    yield head[begin:].strip()


def _names(selector: str) -> set[str]:
    """The classes and ids without which it selects nothing: what is in brackets may be there or not."""
    bare = selector
    while (shorter := re.sub(r"\([^()]*\)|\[[^\]]*\]", "", bare)) != bare:
        bare = shorter
    return {name.replace("\\", "") for name in re.findall(r"[.#]((?:[\w-]|\\.)+)", bare)}


def _name(address: str) -> str:
    """`../_static/styles/theme.css` as the folder ``_static`` names it."""
    return address.partition("_static/")[2]


def _read_sheet(static: Path, name: str, own: set[str], used: set[str]) -> str:
    css = (static / name).read_text(encoding="utf-8")
    folder = posixpath.dirname(name)
    imported = "".join(
        _read_sheet(static, posixpath.normpath(posixpath.join(folder, one)), own, used) for one in IMPORT.findall(css)
    )
    css = IMPORT.sub("", css)
    if name not in own:
        css = "".join(re.findall(r"/\*!.*?\*/", css, re.DOTALL)) + prune(css, used)
    return imported + ADDRESS.sub(lambda at: f"url({posixpath.normpath(posixpath.join(folder, at[2]))})", css)


def _common(pages: dict[Path, str], pattern: re.Pattern[str], group: int) -> list[str]:
    """What more than half of the pages load, in their order."""
    counted = Counter(name for text in pages.values() for name in {_name(at[group]) for at in pattern.finditer(text)})
    return [name for name, count in counted.items() if name and 2 * count > len(pages)]


def _ordered(names: list[str], found: Iterator[str]) -> list[str]:
    return [name for name in dict.fromkeys(found) if name in names]


def combine(html: Path, own: set[str]) -> None:
    """Let all pages in `html` load one sheet and one script for those that are common to them.

    Args:
        html: the built pages.
        own: names of the book's own sheets, which are taken as they are.
    """
    static = html / "_static"
    files = [file for file in sorted(html.rglob("*.html")) if static not in file.parents]
    pages = {file: LEFT_OVER.sub("", file.read_text(encoding="utf-8")) for file in files}
    for pattern, group in ((SHEET, 1), (SCRIPT, 2)):
        for file, text in pages.items():
            pages[file] = pattern.sub(partial(_unless_unused, group=group), text)
    sheets, scripts = _common(pages, SHEET, 1), _common(pages, SCRIPT, 2)
    scripts = [name for name in scripts if name != AT_ONCE]
    longest = max(pages.values(), key=lambda text: len(SCRIPT.findall(text)) + len(SHEET.findall(text)))
    sheets = _ordered(sheets, (_name(at[1]) for at in SHEET.finditer(longest)))
    # Scripts that wait for the page ran after those that did not.
    tags = sorted(SCRIPT.finditer(longest), key=lambda at: "defer" in at[0])
    scripts = _ordered(scripts, (_name(at[2]) for at in tags))
    script = "".join(f"{(static / name).read_text(encoding='utf-8')}\n;\n" for name in scripts)
    script = re.sub(r"^//# sourceMappingURL=.*$", "", script, flags=re.MULTILINE)
    others = [file.read_text(encoding="utf-8") for file in static.rglob("*.js") if "fontawesome" not in file.name]
    pages = {file: _plain_code(text) for file, text in pages.items()}
    used = set(NAME.findall("\n".join([*pages.values(), script, *others])))
    used = {name for name in used if not re.match(r"fa[bsr]?(-|$)", name)} | {"bs-tooltip-auto"}
    sheet = "".join(_read_sheet(static, name, own, used) for name in sheets)
    notices = dict.fromkeys(re.findall(r"/\*!.*?\*/", sheet, re.DOTALL))
    sheet = "\n".join([*notices, re.sub(r"\s+", " ", COMMENT.sub("", sheet))])
    made = {}
    for name, text in (("style.css", sheet), ("script.js", script)):
        (static / name).write_text(text, encoding="utf-8")
        made[name] = f"{name}?v={hashlib.sha256(text.encode()).hexdigest()[:8]}"
    for file, text in pages.items():
        root = "../" * (len(file.relative_to(html).parts) - 1)
        link = f'<link rel="stylesheet" href="{root}_static/{made["style.css"]}" />\n'
        tag = f'<script defer src="{root}_static/{made["script.js"]}"></script>\n'
        lighter = _with_one(_with_one(text, SHEET, 1, sheets, link), SCRIPT, 2, scripts, tag)
        file.write_text(SCRIPT.sub(_wait, lighter), encoding="utf-8")
    for name in (*sheets, *scripts):
        (static / name).unlink()
    for file in {*static.rglob("*.map"), *static.glob("scripts/fontawesome*")}:
        file.unlink()
    shutil.rmtree(static / "vendor" / "fontawesome", ignore_errors=True)


def _wait(script: re.Match[str]) -> str:
    """A page's own script needs what is common to all, and waits like it."""
    return (
        script[0]
        if "defer" in script[0] or AT_ONCE in script[2]
        else script[0].replace("<script", "<script defer", 1)
    )


def _plain_code(text: str) -> str:
    text = TITLED.sub(r"\1", text)
    text = CODE.sub(lambda code: PLAIN.sub(r"\1", code[0]), text)
    return WORD.sub(r"\1", text) if '<dl class="py ' in text else text


def _unless_unused(at: re.Match[str], group: int) -> str:
    return "" if _is_unused(at[group]) else at[0]


def _is_unused(address: str) -> bool:
    return any(word in address for word in UNUSED)


def _with_one(text: str, pattern: re.Pattern[str], group: int, names: list[str], tag: str) -> str:
    """The page with `tag` in the place of the first of `names` that it loads, and nothing in that of the others."""
    first = iter([tag])
    return pattern.sub(lambda at: next(first, "") if _name(at[group]) in names else at[0], text)


def _combine(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.name == "html":
        folders = [Path(app.confdir) / folder for folder in app.config.html_static_path]
        combine(Path(app.outdir), {file.name for folder in folders for file in folder.iterdir()})


def setup(app: Sphinx) -> dict[str, Any]:
    """Do it when every page and every file beside it is written."""
    app.add_css_file("icons.css", priority=899)
    app.connect("build-finished", _combine, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
