"""`make epub`: the whole book as an EPUB 3.

    python -m tools.shelf.epub [BOOK]

A file for each page and each chapter's share of the appendices. Formulas are MathML, drawings SVG in plain colours:
readers know neither our variables nor our scripts. The same pages give the same bytes.
"""

from __future__ import annotations

import argparse
import io
import mimetypes
import re
import sys
import time
import uuid
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from html import escape
from itertools import groupby
from pathlib import Path

from bs4 import BeautifulSoup, Tag

from tools.ext.landing import cite, read_edition
from tools.files import ROOT, save_bytes
from tools.repository import Repository, read_repository
from tools.shelf.pages import APPENDICES, BRIEF, Page, read_pages, resolve, sections, short

NAME = "the-cost-of-attention.epub"
NAMESPACES = {"svg": "http://www.w3.org/2000/svg", "math": "http://www.w3.org/1998/Math/MathML"}
FONT = "mathematics.woff2"
ACCESS = (
    ("accessMode", "textual"),
    ("accessMode", "visual"),
    ("accessModeSufficient", "textual"),
    ("accessibilityFeature", "alternativeText"),
    ("accessibilityFeature", "longDescription"),
    ("accessibilityFeature", "MathML"),
    ("accessibilityFeature", "structuralNavigation"),
    ("accessibilityFeature", "tableOfContents"),
    ("accessibilityHazard", "none"),
    (
        "accessibilitySummary",
        "Formulas are MathML, every drawing has a title and a description, and colour alone says nothing.",
    ),
)


@dataclass(frozen=True)
class File:
    """A page of the EPUB: its name without suffix, its title, its body."""

    name: str
    title: str
    bodies: list[Tag]
    before: str = ""

    def write(self, where: dict[str, str]) -> str:
        """The page as XHTML; `where` gives the file of each id."""
        for body in self.bodies:
            for link in body.select("a[href^='#']"):
                name = str(link["href"])[1:]
                link["href"] = f"{where[name]}.xhtml#{name}" if where[name] != self.name else f"#{name}"
        return _page(self.title, self.before + "".join(map(str, self.bodies)))


def _page(title: str, body: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml" '
        'xmlns:epub="http://www.idpf.org/2007/ops" lang="en" xml:lang="en">\n'
        f'<head><meta charset="utf-8"/><title>{escape(title)}</title>'
        '<link rel="stylesheet" href="book.css"/></head>\n'
        f"<body>{body}</body></html>\n"
    )


# Pages ------------------------------------------------------------


def make_files(pages: list[Page]) -> list[File]:
    """Every page and every chapter's share of the appendices, in reading order."""
    files = []
    for page in pages:
        heading = page.body.find("h1")
        if not page.part and heading is not None:
            heading.string = BRIEF
        files.append(File(page.slug, short(page), [page.body]))
    for name, (title, said) in APPENDICES.items():
        first = f'<h1 id="{name}">{escape(title)}</h1><p>{escape(said)}</p>'
        for page in pages:
            if page.moved[name]:
                head = f"{first}<h2>{escape(short(page))}</h2>"
                files.append(File(f"{name}-{page.slug}", f"{title}: {short(page)}", page.moved[name], head))
                first = ""
    for file in files:
        for body in file.bodies:
            plain(body)
    return files


def plain(body: Tag) -> None:
    """Make a part of a page XHTML that any reader shows: name spaces, plain colours, nothing obsolete."""
    for tag in body.find_all(True):
        if tag.name in NAMESPACES:
            tag["xmlns"] = NAMESPACES[tag.name]
        if tag.name == "style" and tag.find_parent("svg") is None:
            tag.decompose()
            continue
        for name, value in list(tag.attrs.items()):
            if isinstance(value, str) and "var(" in value:
                tag[name] = resolve(value)
        if tag.name in ("mrow", "mn", "mi", "mo") and {"scriptlevel", "displaystyle"} & set(tag.attrs):
            _wrap_style(tag)
        if tag.find_parent("svg") is None:
            for name in ("for", "align", "valign", "border", "role"):
                del tag[name]


def _wrap_style(tag: Tag) -> None:
    """MathML Core has these two attributes on every element, MathML 3, which EPUB asks for, on <mstyle>."""
    style = BeautifulSoup("", "html.parser").new_tag("mstyle")
    for name in ("scriptlevel", "displaystyle"):
        if name in tag.attrs:
            style[name] = tag.attrs.pop(name)
    tag.wrap(style)


def images(pages: Iterable[Tag], html: Path) -> Iterator[tuple[str, bytes]]:
    """`(name, bytes)` of the pictures that pages show; their addresses become those names."""
    for body in pages:
        for image in body.find_all("img"):
            source = str(image["src"])
            if source.startswith("data:"):
                continue
            file = html / re.sub(r"^(\.\./)+", "", source)
            image["src"] = file.name
            yield file.name, file.read_bytes()


# What a reader's program asks for ------------------------------------------------------------


def contents(pages: list[Page], files: list[File]) -> str:
    """The navigation, which is also the book's table of contents."""

    def item(link: str, text: str, below: str = "") -> str:
        return f'<li><a href="{link}">{escape(text)}</a>{f"<ol>{below}</ol>" if below else ""}</li>'

    rows = []
    for part, group in groupby(pages, lambda page: page.part):
        chapters = "".join(
            item(
                f"{page.slug}.xhtml",
                page.title if page.part else BRIEF,
                "".join(item(f"{page.slug}.xhtml#{name}", text) for name, text in sections(page)),
            )
            for page in group
        )
        rows.append(f"<li><span>{escape(part)}</span><ol>{chapters}</ol></li>" if part else chapters)
    for name, (title, _) in APPENDICES.items():
        own = [file for file in files if file.name.startswith(f"{name}-")]
        if own:
            below = "".join(item(f"{file.name}.xhtml", file.title.partition(": ")[2]) for file in own)
            rows.append(item(f"{own[0].name}.xhtml", title, below))
    landmarks = item("contents.xhtml", "Contents").replace("<a ", '<a epub:type="toc" ') + item(
        f"{pages[0].slug}.xhtml", "The book"
    ).replace("<a ", '<a epub:type="bodymatter" ')
    return _page(
        "Contents",
        f'<nav epub:type="toc" id="toc"><h1>Contents</h1><ol>{"".join(rows)}</ol></nav>'
        f'<nav epub:type="landmarks" hidden="hidden"><h2>Landmarks</h2><ol>{landmarks}</ol></nav>',
    )


def cover(edition: dict[str, str]) -> str:
    """The cover as SVG: the two terms of a layer."""
    from attnlib.book import widgets

    terms = widgets.terms()
    colours = {"projections": "#0b5c6b", "core": "#a34e00"}
    shown = "".join(
        f'<text x="300" y="{430 + 130 * i}" font-size="84" fill="{colours[name]}">'
        + re.sub(r"[a-z]", r'<tspan font-style="italic">\g<0></tspan>', term)
        + "</text>"
        for i, (name, term) in enumerate(terms.items())
    )
    lines = "".join(
        f'<text x="300" y="{170 + 78 * i}" font-size="66" font-weight="bold" fill="#1f2a30">{escape(line)}</text>'
        for i, line in enumerate(re.findall(r"The \w+ of|\S+", edition["title"]))
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 900" width="600" height="900" font-family="serif" '
        f'text-anchor="middle"><title>{escape(edition["title"])}</title>'
        '<rect width="600" height="900" fill="#fcf9f2"/>'
        f'<rect width="600" height="18" fill="#0b5c6b"/>{lines}{shown}'
        f'<text x="300" y="790" font-size="26" fill="#1f2a30">{escape(edition["authors"])}</text>'
        f'<text x="300" y="832" font-size="20" fill="#4d5b63">Version {escape(edition["version"])}, '
        f"{escape(edition['date'])}</text></svg>"
    )


def title_page(edition: dict[str, str], repository: Repository) -> str:
    """Title, authors, licences, and how to cite the book."""
    said = {key: escape(value) for key, value in edition.items()}
    text, code, site, url = (
        repository.blob("LICENSE-text"),
        repository.blob("LICENSE"),
        repository.site,
        repository.url,
    )
    return _page(
        edition["title"],
        f"""<section class="title-page" epub:type="titlepage"><h1>{said["title"]}</h1>
<p>{said["authors"]}</p><p>Version {said["version"]}, {said["date"]}</p></section>
<p>Text and figures may be used under <a href="{text}">Creative Commons Attribution 4.0</a>, code under the
<a href="{code}">MIT licence</a>. The book in the browser, with a notebook for every chapter:
<a href="{site}">{site}</a>. Where to report an error: <a href="{url}">{url}</a>.</p>
<p>To cite it:</p><pre>{escape(cite(edition))}</pre>""",
    )


def package(edition: dict[str, str], day: datetime, repository: Repository, items: list[tuple[str, str, str]]) -> str:
    """The package document; `items` are `(name, properties, where it stands)`."""
    kinds = {".xhtml": "application/xhtml+xml", ".css": "text/css", ".woff2": "font/woff2", ".svg": "image/svg+xml"}

    def identity(name: str) -> str:
        return re.sub(r"[^\w-]", "-", f"f-{name}")

    manifest = "".join(
        f'<item id="{identity(name)}" href="{name}" '
        f'media-type="{kinds.get(Path(name).suffix) or mimetypes.guess_type(name)[0]}"'
        + (f' properties="{properties}"' if properties else "")
        + "/>\n"
        for name, properties, _ in items
    )
    spine = "".join(f'<itemref idref="{identity(name)}"/>\n' for name, _, place in items if place == "spine")
    access = "".join(f'<meta property="schema:{name}">{escape(value)}</meta>\n' for name, value in ACCESS)
    return f"""<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id" xml:lang="en">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="id">urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, repository.site)}</dc:identifier>
<dc:title>{escape(edition["title"])}</dc:title>
<dc:creator>{escape(edition["authors"])}</dc:creator>
<dc:language>en</dc:language>
<dc:date>{day:%Y-%m-%d}</dc:date>
<dc:source>{repository.site}</dc:source>
<dc:description>Version {escape(edition["version"])}</dc:description>
<dc:rights>Text: Creative Commons Attribution 4.0 International. Code: MIT.</dc:rights>
<meta property="dcterms:modified">{day:%Y-%m-%dT00:00:00Z}</meta>
{access}</metadata>
<manifest>
{manifest}</manifest>
<spine>
{spine}</spine>
</package>
"""


CONTAINER = """<?xml version="1.0" encoding="utf-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="EPUB/package.opf" media-type="application/oebps-package+xml"/></rootfiles></container>
"""


# The file ------------------------------------------------------------


def make(book: Path) -> bytes:
    """The EPUB of a built book."""
    html, repository, edition = book / "_build" / "html", read_repository(book), read_edition(book)
    pages = read_pages(book, html, repository)
    files = make_files(pages)
    where = {
        str(tag["id"]): file.name
        for file in files
        for body in file.bodies
        for tag in [body, *body.select("[id]")]
        if tag.get("id")
    }
    where |= {
        name: next(file.name for file in files if file.name.startswith(name))
        for name in APPENDICES
        if any(file.name.startswith(name) for file in files)
    }
    pictures = dict(images((body for file in files for body in file.bodies), html))
    day = datetime.strptime(edition["date"], "%d %B %Y")
    made: list[tuple[str, bytes, str, str]] = [
        ("cover.svg", cover(edition).encode(), "cover-image", ""),
        ("title.xhtml", title_page(edition, repository).encode(), "", "spine"),
        ("contents.xhtml", contents(pages, files).encode(), "nav", "spine"),
    ]
    for file in files:
        text = file.write(where)
        used = [name for name, mark in (("mathml", "<math"), ("svg", "<svg")) if mark in text]
        made.append((f"{file.name}.xhtml", text.encode(), " ".join(used), "spine"))
    made.append(("book.css", (book / "theme" / "print" / "epub.css").read_bytes(), "", ""))
    if (font := html / "_static" / FONT).is_file():
        made.append((FONT, font.read_bytes(), "", ""))
    made += [(name, content, "", "") for name, content in pictures.items()]
    opf = package(edition, day, repository, [(name, properties, place) for name, _, properties, place in made])
    return pack(
        [("META-INF/container.xml", CONTAINER.encode()), ("EPUB/package.opf", opf.encode())]
        + [(f"EPUB/{name}", content) for name, content, _, _ in made]
    )


def pack(files: list[tuple[str, bytes]]) -> bytes:
    """Files as a container of EPUB: first of all, and not compressed, what kind of file it is."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in [("mimetype", b"application/epub+zip"), *files]:
            info = zipfile.ZipInfo(name)  # the date is 1980: the same pages, the same bytes
            info.compress_type = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return written.getvalue()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("book", nargs="?", type=Path, default=ROOT)
    book = parser.parse_args(arguments).book.resolve()
    began = time.monotonic()
    try:
        made = make(book)
    except (ValueError, OSError) as error:
        print(f"epub: {error}", file=sys.stderr)
        return 1
    file = book / "_build" / "html" / NAME
    save_bytes(file, made)
    print(f"wrote {file}, {len(made) / 1e6:.1f} MB, in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
