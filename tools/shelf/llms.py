"""`llms.txt`, the whole book as one Markdown file, and each page as one: for programs that read.

    python -m tools.shelf.llms [BOOK]

`make book` writes them beside the pages: `llms.txt` (https://llmstxt.org: what there is, with a line for each page),
`llms-full.txt` (all of it), and `chapters/memory.html.md` for `chapters/memory.html`. They are made from the pages:
numbers are filled in, formulas are TeX, a drawing is what its description says, answers and solutions stand in place.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from posixpath import normpath
from typing import Any
from urllib.parse import urlsplit

from bs4 import Tag
from markdownify import MarkdownConverter

from tools.ext.landing import read_lines
from tools.files import ROOT, read_settings, save
from tools.repository import Repository, read_repository
from tools.shelf.pages import BookError, read_article, read_parts, slug, words

INDEX, WHOLE = "llms.txt", "llms-full.txt"
# The pages that list names: of use to who writes a program, not to who asks what attention costs.
OPTIONAL = ("api", "status", "bibliography", "map")


class Markdown(MarkdownConverter):
    """HTML of our pages as Markdown."""

    def convert_math(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """A formula is its TeX."""
        tex = el.find("annotation")
        source = " ".join(tex.get_text().split()) if tex else text
        if el.get("display") == "block" and "td" not in parent_tags:
            return f"\n\n$${source}$$\n\n"
        return f"${source}$"

    def convert_svg(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """A drawing is what its title and its description say."""
        said = [found.get_text(" ", strip=True) for name in ("title", "desc") if (found := el.find(name)) is not None]
        return f"\n\n[Drawing: {' '.join(s if s[-1:] in '.?!' else s + '.' for s in said if s)}]\n\n" if said else ""

    def convert_style(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """Nothing to read."""
        return ""

    def convert_summary(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """What a box says while it is closed."""
        return f"\n\n**{text.strip()}**\n\n"

    def convert_dt(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """A signature is code, another term is bold."""
        signature = " ".join(el.get_text().split())
        return f"\n\n`{signature}`\n\n" if "sig" in el.get_attribute_list("class") else f"\n\n**{text.strip()}**\n\n"

    def convert_dd(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """What is said of a term."""
        return f"\n\n{text.strip()}\n\n"


def convert(body: Tag, doc: str, repository: Repository) -> str:
    """What a page says, as Markdown with addresses of the published book."""
    for tag in body.select(".expanded, .viewcode-link"):
        tag.decompose()
    for letter in body.select(".quiz-option"):
        letter.name = "p"
    for title in body.select(".admonition-title, .quiz-judgement, .quiz-kind"):
        title.name = "strong" if title.name == "span" else "p"
        if title.name == "p":
            title.insert(0, "**")
            title.append("**")
    for name, attribute in (("a", "href"), ("img", "src")):
        for tag in body.find_all(name):
            target = urlsplit(str(tag.get(attribute, "")))
            if target.scheme in ("", "file") and not target.netloc:
                path = normpath(f"{doc}/../{target.path}") if target.path else f"{doc}.html"
                tag[attribute] = repository.site + path + (f"#{target.fragment}" if target.fragment else "")
            del tag["title"]
    options: dict[str, Any] = {
        "heading_style": "ATX",
        "bullets": "-",
        "escape_underscores": False,
        "escape_misc": False,
        "escape_asterisks": False,
        "sup_symbol": "<sup>",
        "sub_symbol": "<sub>",
        "code_language_callback": _language,
    }
    text = str(Markdown(**options).convert_soup(body))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip() + "\n"


def _language(pre: Tag) -> str:
    """The language of a block of code, as the page's classes name it."""
    box = pre.find_parent(class_=re.compile("^highlight-"))
    name = next((c for c in (box.get("class") or [] if box else []) if c.startswith("highlight-")), "")
    return {"ipython3": "python", "myst-ansi": "text", "default": "text", "none": "text"}.get(name[10:], name[10:])


# Files ------------------------------------------------------------


def make(book: Path, html: Path) -> dict[str, str]:
    """`{name: text}` of every file, from the pages in `html`."""
    repository, settings = read_repository(book), read_settings(book)
    parts = read_parts(book)
    made, rows = {}, []
    lines = _lines(book / f"{parts[0][1]}.md")
    for part, doc in parts:
        _, body = read_article(html, doc, drawn=False)
        heading = body.find("h1")
        title = words(heading) if isinstance(heading, Tag) else doc
        made[f"{doc}.html.md"] = convert(body, doc, repository)
        rows.append((part, doc, title))
    whole = "\n\n---\n\n".join(
        f"<!-- {repository.page(doc)} -->\n\n{made[f'{doc}.html.md']}".strip() for _, doc, _ in rows
    )
    made[WHOLE] = whole + "\n"
    made[INDEX] = "\n".join(_index(settings["title"], rows, lines, made, repository))
    return made


def _index(
    title: str, rows: list[tuple[str, str, str]], lines: dict[str, str], made: dict[str, str], repository: Repository
) -> Iterator[str]:
    (_, first, _), *rest = rows
    paragraphs = [p for p in made[f"{first}.html.md"].split("\n\n") if re.match(r"\w", p)]
    yield f"# {title}\n\n> {' '.join(paragraphs[0].split()) if paragraphs else title}\n"
    yield (
        "Numbers in the text were computed, and times measured, by the build; pages name the machine. "
        f"All of it in one file: [{WHOLE}]({repository.site}{WHOLE}).\n"
    )
    plain = [row for row in rest if not slug(row[1]).startswith(OPTIONAL)]
    for part, group in groupby(plain, lambda row: row[0]):
        yield f"## {part or 'Pages'}\n"
        yield from (_row(doc, name, lines, repository) for _, doc, name in group)
        yield ""
    yield "## Optional\n"
    yield from (_row(doc, name, lines, repository) for _, doc, name in rest if slug(doc).startswith(OPTIONAL))
    yield ""


def _row(doc: str, title: str, lines: dict[str, str], repository: Repository) -> str:
    line = lines.get(slug(doc))
    return f"- [{title}]({repository.page(doc)}.md)" + (f": {line}" if line else "")


def _lines(front: Path) -> dict[str, str]:
    """The line that the front page has for each page."""
    found = re.search(r"^```\{landing\} chapters\n(.*?)^```", front.read_text("utf8"), re.MULTILINE | re.DOTALL)
    return read_lines(found[1]) if found else {}


def write(book: Path, html: Path) -> None:
    """Write every file into the folder of the pages."""
    for name, text in make(book, html).items():
        save(html / name, text)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("book", nargs="?", type=Path, default=ROOT)
    book = parser.parse_args(arguments).book.resolve()
    try:
        write(book, book / "_build" / "html")
    except (BookError, OSError) as error:
        print(f"llms: {error}", file=sys.stderr)
        return 1
    print(f"wrote {book / '_build' / 'html' / INDEX}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
