"""The built pages as parts of one book: what a screen alone can use is left out, what is folded goes to appendices.

The pages have passed every check already, so the PDF, the EPUB and the Markdown are made from them. An id stands once
in a page; in a book each is preceded by its page's name, and so is every link to it: `question--fig-time`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from posixpath import normpath
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag
from sphinx_external_toc.parsing import parse_toc_yaml

from tools.repository import Repository

ANSWERS, CODE = "appendix-answers", "appendix-code"
# Title, and what stands below it.
APPENDICES = {
    ANSWERS: (
        "Answers and solutions",
        "To the questions and exercises of each chapter, in their order. A title leads back to where it was asked.",
    ),
    CODE: (
        "Code of figures and tables",
        "What a page folds away: imports, and cells that draw a figure or set a table. A title leads back.",
    ),
}
# The front page, between the covers: its own title is the book's.
BRIEF = "The book in brief"

# Of use to a pointer, a keyboard or a script, and to nobody who reads on paper: elements, classes, attributes.
FOR_SCREENS = (
    {"script", "input", "template", "dialog"},
    {
        "ways",
        "headerlink",
        "report",
        "quiz-check",
        "quiz-status",
        "quiz-verdict",
        "quiz-number",
        "quiz-other",
        "landing-buttons",
    }
    | {"still", "hint", "sliders", "bar", "said"},
    {"data-narrow"},
)
POINTS_TO_IDS = ("aria-labelledby", "aria-describedby", "aria-controls", "for", "headers")
IN_VALUE = re.compile(r"url\(\s*['\"]?#([^)'\"]+)['\"]?\s*\)")
VARIABLE = re.compile(r"var\(\s*--[\w-]+\s*,\s*((?:[^()]|\([^()]*\))*)\)")
DRAWING = re.compile(r"(<svg\b[^>]*>)(.*?)</svg>", re.DOTALL)
WORDS = re.compile(r"<title\b.*?</title>|<desc\b.*?</desc>", re.DOTALL)
FORMULA = re.compile(r"\\\((.*?)\\\)|\\\[(.*?)\\\]", re.DOTALL)


class BookError(ValueError):
    """Built pages that do not make a book; the message names page and place."""


@dataclass(frozen=True)
class Page:
    """One page: its document, the part it stands in, its heading, its body, and what is moved to the appendices."""

    doc: str
    part: str
    title: str
    body: Tag
    moved: dict[str, list[Tag]] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """Name of the page in the book."""
        return slug(self.doc)


def slug(doc: str) -> str:
    """Name of a document in the book: `chapters/question` is `question`."""
    return doc.rpartition("/")[2]


def identifier(doc: str, name: str) -> str:
    """An id of a page as an id of the book, which XML accepts.

    Example:
        >>> identifier("chapters/question", "fig-time")
        'question--fig-time'
    """
    return f"{slug(doc)}--{re.sub(r'[^A-Za-z0-9_.-]', '-', name)}"


def read_parts(book: Path) -> list[tuple[str, str]]:
    """`(part, document)` of every page of _toc.yml in reading order; the first page stands before all parts."""
    toc = parse_toc_yaml(book / "_toc.yml")

    def below(doc: str, part: str) -> Iterator[tuple[str, str]]:
        yield part, doc.removesuffix(".md")
        for tree in toc[doc].subtrees if doc in toc else ():
            for item in tree.items:
                yield from below(str(item), part)

    parts = [("", str(toc.root.docname).removesuffix(".md"))]
    for tree in toc.root.subtrees:
        parts += [pair for item in tree.items for pair in below(str(item), tree.caption or "")]
    return parts


def read_pages(book: Path, html: Path, repository: Repository) -> list[Page]:
    """Every page of the book, ready to be put together.

    Raises:
        BookError: a page that is missing or has no heading, or a link inside the book that leads nowhere.
    """
    parts = read_parts(book)
    docs = {doc for _, doc in parts}
    if len({slug(doc) for doc in docs}) < len(docs):
        raise BookError("two pages of _toc.yml have one name in different folders; the book cannot tell them apart")
    pages = [read_page(html, doc, part, docs, repository) for part, doc in parts]
    check_links(pages)
    return pages


def read_article(html: Path, doc: str, *, drawn: bool = True, steps: bool = False) -> tuple[BeautifulSoup, Tag]:
    """What a page says, without what surrounds it, and without what only a screen can use.

    Without `drawn` a drawing keeps of itself its title and its description. With `steps` one that is drawn in steps
    keeps all of them, and not the last alone.
    """
    file = html / f"{doc}.html"
    if not file.is_file():
        raise BookError(f"{doc}.html: not built; run `make book` first")
    text = file.read_text("utf8")
    start, end = text.find("<article"), text.rfind("</article>")
    article = (
        text[start:end]
        if drawn
        else DRAWING.sub(lambda svg: "".join((svg[1], *WORDS.findall(svg[2]), "</svg>")), text[start:end])
    )
    # html5lib alone keeps the capitals of SVG (viewBox), without which XML has no drawing. It is slow.
    soup = BeautifulSoup(article + "</article>", "html5lib" if drawn else "html.parser")
    body = soup.find("article")
    if start < 0 or not isinstance(body, Tag) or body.find("h1") is None:
        raise BookError(f"{doc}.html: expected an article with a heading")
    clean(body, steps=steps)
    return soup, body


def read_page(html: Path, doc: str, part: str, docs: set[str], repository: Repository) -> Page:
    """One page, its links and ids those of the book."""
    soup, body = read_article(html, doc)
    heading = body.find("h1")
    title = words(heading) if isinstance(heading, Tag) else ""
    rewrite(body, doc, docs, repository)
    moved = unfold(soup, body, slug(doc))
    for name in ("id", "class"):
        del body[name]
    body.name = "section"
    return Page(doc, part, title, body, moved)


def words(tag: Tag) -> str:
    """The text of a heading, formulas without their marks."""
    shown = copy(tag)
    for hidden in shown.select("annotation, .headerlink, .caption-number"):
        hidden.decompose()
    return FORMULA.sub(lambda found: found[1] or found[2], " ".join(shown.get_text().split()))


def clean(body: Tag, *, steps: bool = False) -> None:
    """Drop what only a screen can use."""
    for form in body.select("form.calculator"):  # what it shows at its start; the fields are for the page
        shown = form.select_one(".calc-shown")
        if shown:
            form.replace_with(shown)
        else:
            form.decompose()
    names, classes, attributes = FOR_SCREENS
    for tag in body.find_all(True):
        if tag.decomposed:
            continue
        if tag.name == "fieldset" and "hidden" in tag.attrs:  # the same question with other numbers
            tag.decompose()
            continue
        if tag.name in names or classes & set(tag.get_attribute_list("class")) or attributes & set(tag.attrs):
            tag.decompose()
            continue
        if tag.name == "label" or (tag.name == "button" and tag.find_parent("table")):
            tag.unwrap()
        kept = {key: value for key, value in tag.attrs.items() if not key.startswith(("data-", "on"))}
        tag.attrs = {key: value for key, value in kept.items() if key not in ("tabindex", "hidden")}
        if tag.get("role") in ("group", "region"):  # says that it scrolls
            del tag["role"]
            del tag["aria-label"]
    if not steps:
        for step in body.select(".flash-steps .step:has(~ .step)"):
            step.decompose()
    # The front page's list of chapters is the book's contents.
    for part in body.select(".landing-part"):
        if (section := part.find_parent("section")) is not None and section.find("h1") is None:
            section.decompose()


# Links ------------------------------------------------------------


def rewrite(body: Tag, doc: str, docs: set[str], repository: Repository) -> None:
    """Let ids and links be those of the book; other relative addresses lead to the published pages."""
    here = partial(identifier, doc)
    for tag in body.find_all(True):
        if "id" in tag.attrs:
            tag["id"] = here(str(tag["id"]))
        for name in POINTS_TO_IDS:
            if name in tag.attrs:
                value = tag[name]
                names = value if isinstance(value, list) else str(value).split()
                tag[name] = " ".join(map(here, names))
        for name, value in tag.attrs.items():
            if isinstance(value, str) and "url(" in value:
                tag[name] = IN_VALUE.sub(lambda found: f"url(#{here(found[1])})", value)
        for name in ("href", "xlink:href"):
            if name in tag.attrs:
                tag[name] = address(str(tag[name]), doc, docs, repository)
    # A formula's name is often an empty element before it, which must keep the place that a link leads to.
    body.insert(0, anchor(body, slug(doc)))


def anchor(tag: Tag, name: str) -> Tag:
    """An empty element with an id."""
    made = BeautifulSoup("", "html.parser").new_tag("span")
    made["id"] = name
    return made


def address(target: str, doc: str, docs: set[str], repository: Repository) -> str:
    """A link of a page as a link of the book."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return target
    path = normpath(f"{doc}/../{unquote(parts.path)}") if parts.path else f"{doc}.html"
    to = path.removesuffix(".html")
    if to not in docs or "=" in parts.fragment:  # a state of the calculator is no place: it is computed in the page
        return repository.site + path + (f"#{parts.fragment}" if parts.fragment else "")
    return "#" + (identifier(to, unquote(parts.fragment)) if parts.fragment else slug(to))


def check_links(pages: Iterable[Page]) -> None:
    """BookError unless every link inside the book leads to a place that is there, once."""
    bodies = [(page, tag) for page in pages for tag in (page.body, *page.moved[ANSWERS], *page.moved[CODE])]
    seen: dict[str, str] = {}
    for page, body in bodies:
        for tag in [body, *body.select("[id]")]:
            if not tag.get("id"):
                continue
            if str(tag["id"]) in seen:
                raise BookError(f"{page.doc}.html: the id {tag['id']} stands twice")
            seen[str(tag["id"])] = page.doc
    for page, body in bodies:
        for link in body.select("a[href^='#']"):
            if str(link["href"])[1:] not in seen:
                raise BookError(f"{page.doc}.html: a link to {link['href']}, which is not in the book")


# What is folded ------------------------------------------------------------


def unfold(soup: BeautifulSoup, body: Tag, name: str) -> dict[str, list[Tag]]:
    """Open what is folded, or move it and leave a link; return what goes to the appendices."""
    answers: list[Tag] = []
    exercise: Tag | None = None
    question = 0
    for tag in body.select("form.quiz, div.exercise, details.solution"):
        if tag.name == "form":
            question += 1
            answers.append(_question(soup, tag, f"{name}--question-{question}", question))
        elif tag.name == "div":
            exercise = tag
        else:
            answers.append(_solution(soup, tag, exercise, f"{name}--solution-{len(answers)}"))
    code: list[Tag] = []
    for box in body.select("details.hide"):
        label = box.select_one("summary .collapsed")
        if box.select_one(".cell_output") or not box.select_one(".cell_input") or label is None:
            _open(soup, box)
        else:
            code.append(_code(soup, box, " ".join(label.get_text().split()), f"{name}--code-{len(code) + 1}"))
    for box in body.select("details"):
        _open(soup, box)
    for moved in (*answers, *code):
        for box in moved.select("details"):
            _open(soup, box)
    return {ANSWERS: answers, CODE: code}


def _new(soup: BeautifulSoup, name: str, text: str = "", **attributes: str) -> Tag:
    tag = soup.new_tag(name, attrs={key.rstrip("_"): value for key, value in attributes.items()})
    if text:
        tag.append(text)
    return tag


def _open(soup: BeautifulSoup, box: Tag) -> None:
    """A box that opens on demand as one that is open, its summary as its title."""
    summary = box.find("summary", recursive=False)
    if isinstance(summary, Tag):
        for hidden in summary.select(".expanded"):
            hidden.decompose()
        summary.name = "p"
        summary["class"] = "admonition-title"
    box.name = "div"
    del box["open"]


def _question(soup: BeautifulSoup, form: Tag, name: str, number: int) -> Tag:
    """Make a quiz printable, and return its answers."""
    form.name = "section"
    del form["autocomplete"]
    form["id"] = form.get("id") or name
    for tag in form.select("fieldset, legend"):
        tag.name = "div"
        tag.attrs = {key: value for key, value in tag.attrs.items() if key == "class"}
    kind = form.select_one(".quiz-kind")
    how = kind.find("span") if kind else None
    if kind is not None:
        if isinstance(how, Tag):
            how.extract()
        kind.string = f"Question {number} "
        if isinstance(how, Tag):
            kind.append(how)
    answers = form.select_one("details.quiz-answers")
    if answers is None:
        raise BookError(f"the question {form['id']} has no answers")
    answers.extract()
    answers.name = "div"
    if isinstance(summary := answers.find("summary"), Tag):
        summary.decompose()
    return _apart(soup, form, answers, name, f"Question {number}", "Answer")


def _solution(soup: BeautifulSoup, box: Tag, exercise: Tag | None, name: str) -> Tag:
    if exercise is None or not exercise.get("id"):
        raise BookError(f"{name}: a solution before any exercise")
    summary = box.find("summary")
    title = words(summary) if isinstance(summary, Tag) else "Solution"
    if isinstance(summary, Tag):
        summary.decompose()
    box.extract()
    box.name = "div"
    return _apart(soup, exercise, box, name, title, "Solution")


def _code(soup: BeautifulSoup, box: Tag, label: str, name: str) -> Tag:
    cell = box.find_parent(class_="cell")
    place = box if cell is None else cell
    place["id"] = place.get("id") or f"{name}-place"
    note = _new(soup, "p", class_="code-note")
    box.replace_with(note)
    if isinstance(summary := box.find("summary"), Tag):
        summary.decompose()
    box.name = "div"
    note.append(_link(soup, f"#{name}", label))
    made = _new(soup, "div", id=name, class_="moved")
    made.append(_heading(soup, label.removeprefix("Code: "), f"#{place['id']}"))
    made.append(box)
    return made


def _apart(soup: BeautifulSoup, place: Tag, content: Tag, name: str, title: str, word: str) -> Tag:
    """Move `content` away from `place`, with a link on either side."""
    note = _new(soup, "p", class_="answer-note")
    note.append(_link(soup, f"#{name}-answer", word))
    place.append(note)
    made = _new(soup, "div", id=f"{name}-answer", class_="moved")
    made.append(_heading(soup, title, f"#{place['id']}"))
    made.append(content)
    return made


def _heading(soup: BeautifulSoup, title: str, back: str) -> Tag:
    made = _new(soup, "p", class_="moved-title")
    made.append(_link(soup, back, title))
    return made


def _link(soup: BeautifulSoup, href: str, text: str) -> Tag:
    """A link that the PDF follows with the number of the page it leads to."""
    return _new(soup, "a", text, href=href, class_="turn")


def short(page: Page) -> str:
    """The name of a page: what stands before the colon of its heading."""
    return page.title.partition(":")[0] if page.part else BRIEF


# Headings ------------------------------------------------------------


def lower_headings(body: Tag, by: int) -> None:
    """Let headings be `by` levels lower: a chapter stands below its part."""
    for tag in body.find_all(re.compile("^h[1-6]$")):
        tag.name = f"h{min(6, int(tag.name[1]) + by)}"


def sections(page: Page) -> list[tuple[str, str]]:
    """`(id, words)` of the sections of a page, in order: what a table of contents shows of it."""
    found = []
    for heading in page.body.select("h2"):
        section = heading.find_parent("section")
        if section is not None and section.get("id"):
            found.append((str(section["id"]), words(heading)))
    return found


def resolve(value: str) -> str:
    """A value without variables: each has what it is in the light beside it.

    Example:
        >>> resolve("var(--figure-1, #0072b2)")
        '#0072b2'
    """
    while (plainer := VARIABLE.sub(lambda found: found[1].strip(), value)) != value:
        value = plainer
    if "var(" in value:
        raise BookError(f"a colour without a plain one beside it: {value}")
    return value
