"""Check built pages: nothing missing, nothing broken, nothing fetched from another host.

    python -m tools.check_pages [HTML] [--book BOOK]

Prints one line per problem and exits with 1 if there is any.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag

from tools.files import ROOT, read_documents

# Elements that make the browser load something by themselves, with the attributes that say what. A link that
# a reader follows (`<a href>`) may lead anywhere.
LOADS = {
    **dict.fromkeys(("script", "iframe", "embed", "audio", "track", "input"), ("src",)),
    **dict.fromkeys(("img", "source"), ("src", "srcset")),
    **dict.fromkeys(("image", "use"), ("href", "xlink:href")),
    "video": ("src", "poster"),
    "object": ("data",),
}
LINKS_THAT_LOAD = {
    "stylesheet",
    "icon",
    "preload",
    "modulepreload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "manifest",
}
IN_CSS = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""")
IN_SCRIPT = re.compile(
    r"""(?:\bfrom|\bimport|\bimport\s*\(|\bfetch\s*\(|importScripts\s*\()\s*["'`]((?:https?:)?//[^"'`]+)"""
)
ROLE = re.compile(r"\{[a-zA-Z][\w:.+-]*\}`")
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def missing_pages(book: Path, html: Path) -> list[str]:
    """Return a problem for each page of the table of contents that is not there or holds nothing."""
    problems = []
    for name in read_documents(book):
        file = html / f"{name}.html"
        if not file.is_file():
            problems.append(f"{name}.html: listed in _toc.yml and not built")
        elif not file.stat().st_size:
            problems.append(f"{name}.html: empty")
    return problems


def is_external(address: str) -> bool:
    """Return whether an address leads to another host."""
    return bool(urlsplit(address.strip()).netloc)


def loaded(soup: BeautifulSoup) -> Iterator[str]:
    """Yield every address that the page loads without being asked."""
    for name, attributes in LOADS.items():
        for tag in soup.find_all(name):
            for attribute in attributes:
                value = str(tag.get(attribute) or "")
                yield from (
                    (part.split()[0] for part in value.split(", ") if part.strip())
                    if attribute == "srcset"
                    else [value]
                )
    for tag in soup.find_all("link"):
        if LINKS_THAT_LOAD & set(tag.get("rel") or []):
            yield str(tag.get("href") or "")
    for tag in soup.find_all(style=True):
        yield from IN_CSS.findall(str(tag["style"]))
    for tag in soup.find_all("style"):
        yield from IN_CSS.findall(COMMENT.sub("", tag.get_text()))
    for tag in soup.find_all("script"):
        yield from IN_SCRIPT.findall(tag.get_text())


def text_problems(soup: BeautifulSoup) -> Iterator[str]:
    """Yield traces of source that was not understood and of cells that failed."""
    for tag in soup.select(".system-message, .problematic"):
        yield f"a message of the parser in the page: {tag.get_text(' ', strip=True)[:90]!r}"
    for tag in soup.select(".output.traceback, .cell_output .traceback, .cell_output .cell_error"):
        yield f"a cell failed: {tag.get_text(' ', strip=True)[-90:]!r}"
    for node in (soup.find("main") or soup).find_all(string=re.compile(r"\{[a-zA-Z][\w:.+-]*\}(`|\s*$)")):
        parents = {parent.name for parent in node.parents}
        classes = {name for parent in node.parents for name in parent.get("class") or []}
        if parents & {"pre", "code", "script", "style", "textarea", "svg"} or classes & {"math"}:
            continue
        after = node.next_sibling  # an unknown role is printed as {role} and then its text, set as code
        if ROLE.search(node) or (isinstance(after, Tag) and after.name == "code"):
            yield f"a role that was not understood: {str(node).strip()[-60:]!r}"


def image_problems(soup: BeautifulSoup) -> Iterator[str]:
    """Yield images and drawings without a text alternative, and figures without a caption."""
    for image in soup.find_all("img"):
        source, alt = str(image.get("src") or ""), str(image.get("alt") or "").strip()
        # Sphinx writes the file's name where the author wrote nothing, which helps nobody.
        if not alt or alt == source or Path(unquote(alt)).name == Path(unquote(source)).name:
            yield f"an image without alt text: {source}"
        if image.find_parent(class_="cell_output") and not image.find_parent("figure"):
            yield f"a cell's image that is not a figure with a caption: {source}"
    for drawing in soup.select("svg[role=img]"):
        where = str(drawing.get("aria-labelledby") or drawing)[:60]
        if any(not words or not words.get_text(strip=True) for words in map(drawing.find, ("title", "desc"))):
            yield f"a drawing without title and description: {where}"
        if drawing.find_parent(class_="picture") and not drawing.find_parent("figure"):
            yield f"a cell's drawing that is not a figure with a caption: {where}"
    for figure in soup.find_all("figure"):
        caption = figure.find("figcaption")
        words = caption.find(class_="caption-text") or caption if caption else None
        if not words or not words.get_text(strip=True):
            yield f"a figure without a caption: {figure.get('id') or 'without a name'}"


def link_problems(soup: BeautifulSoup, file: Path, html: Path) -> Iterator[str]:
    """Yield links to files of the book that are not there."""
    targets = {str(tag.get("href") or "") for tag in soup.select("a[href], link[rel=stylesheet]")}
    targets |= {str(tag.get("src") or "") for tag in soup.select("script[src], img[src]")}
    for target in sorted(targets):
        address = urlsplit(target)
        if address.scheme or address.netloc or not address.path:
            continue
        path = (
            html / unquote(address.path).lstrip("/")
            if address.path.startswith("/")
            else file.parent / unquote(address.path)
        )
        if not path.exists():
            yield f"leads to a file that is not there: {target}"


def check(book: Path, html: Path) -> list[str]:
    """Return one line per problem of the pages in `html`, built from the book in `book`."""
    problems = missing_pages(book, html)
    for name in read_documents(book):
        file = html / f"{name}.html"
        if not file.is_file() or not file.stat().st_size:
            continue
        soup = BeautifulSoup(file.read_text(encoding="utf8"), "html.parser")
        found = [
            f"loads from another host: {address}" for address in sorted(set(loaded(soup))) if is_external(address)
        ]
        title, body = soup.find("h1"), soup.find("article") or soup.find("main")
        if not title or not body or len(body.get_text(" ", strip=True)) <= len(title.get_text(" ", strip=True)):
            found.append("no title, or nothing but a title")
        found += [*text_problems(soup), *image_problems(soup), *link_problems(soup, file, html)]
        problems += [f"{name}.html: {problem}" for problem in found]
    for css in sorted(html.rglob("*.css")):
        for address in IN_CSS.findall(COMMENT.sub("", css.read_text(encoding="utf8", errors="replace"))):
            problems.append(f"{css.relative_to(html).as_posix()}: loads from another host: {address}")
    return problems


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("html", nargs="?", type=Path)
    parser.add_argument("--book", type=Path, default=ROOT)
    options = parser.parse_args(argv)
    html = options.html or options.book / "_build" / "html"
    problems = check(options.book, html)
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    print(f"{len(read_documents(options.book))} pages are fine")
    return 0


if __name__ == "__main__":
    sys.exit(main())
