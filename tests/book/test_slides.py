"""Slides and the instructor's guide: nothing is cut, nothing is fetched, no answer is shown, every deck is linked."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pypdfium2
import pytest
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import Browser

from tools.assignments.master import load, marker, stems
from tools.ext.teaching import find_question, write_objectives, write_table
from tools.repository import read_repository
from tools.shelf import slides
from tools.shelf.slides import CHAPTERS, make_slides, read_sections, write_deck

# What reaches out of the frame of its slide or into its last line, and words too small to be read from the last row.
CUT = """() => [...document.querySelectorAll(".slide")].flatMap((slide, i) => {
    const frame = slide.getBoundingClientRect();
    const foot = slide.querySelector("footer").getBoundingClientRect();
    const name = e => `slide ${i + 1}: ${e.tagName} ${e.className} ${e.textContent.trim().slice(0, 40)}`;
    const shown = e => !(e.parentElement.closest("svg, math")) && e.getBoundingClientRect().width > 0;
    const parts = [...slide.querySelectorAll("header *, .body *")].filter(shown);
    const cut = parts.filter(e => {
        const at = e.getBoundingClientRect();
        const aside = at.left < frame.left + 30 || at.right > frame.right - 30;
        return aside || at.top < frame.top || at.bottom > foot.top + 8;
    });
    const drawn = [...slide.querySelectorAll(".drawing > *")].filter(e => e.getBoundingClientRect().height < 200);
    const letters = e => parseFloat(getComputedStyle(e).fontSize);
    const small = [...slide.querySelectorAll(".shown, .words")].filter(e => letters(e) < 18);
    return [...cut.map(e => `${name(e)} is cut`), ...drawn.map(e => `${name(e)} is small`),
            ...small.map(e => `${name(e)} has small letters`)];
})"""


@pytest.fixture(scope="module")
def decks(root: Path, html: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each deck, made from the built pages."""
    folder = tmp_path_factory.mktemp("slides")
    repository = read_repository(root)
    files = {name: folder / f"{name}.html" for name in CHAPTERS}
    for name, file in files.items():
        file.write_text(write_deck(root, html, name, repository), "utf8")
    return files


def test_no_slide_is_cut_and_nothing_is_fetched(running: Browser, decks: dict[str, Path]) -> None:
    for name, file in decks.items():
        page = running.new_page(viewport={"width": 1280, "height": 720})
        said: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto(file.as_uri())
        page.wait_for_function("document.documentElement.classList.contains('fitted')")
        assert page.evaluate(CUT) == [], name
        assert said == [], name
        assert [url for url in asked if urlsplit(url).scheme != "data"] == [file.as_uri()], name
        page.close()


def test_keys_and_buttons_turn_the_slides(running: Browser, decks: dict[str, Path]) -> None:
    page = running.new_page(viewport={"width": 1000, "height": 800})
    page.goto(decks["memory"].as_uri())
    count = page.locator(".slide").count()

    def now() -> int:
        assert page.locator(".slide.now").count() == 1
        return int(page.locator(".slide.now footer span").inner_text())

    for key, expected in (("ArrowRight", 2), (" ", 3), ("ArrowLeft", 2), ("End", count), ("ArrowRight", count)):
        page.keyboard.press(key)
        assert now() == expected, key
    page.keyboard.press("Home")
    page.locator("#on").click()
    assert now() == 2
    assert page.url.endswith("#2")
    page.goto(decks["memory"].as_uri() + "#4")
    assert now() == 4
    box = page.locator(".slide.now").bounding_box()
    assert box is not None
    assert box["width"] == pytest.approx(1000, abs=1)
    assert box["y"] == pytest.approx((800 - box["height"]) / 2, abs=1)
    page.close()


def test_the_pdf_has_a_page_for_each_slide(running: Browser, decks: dict[str, Path]) -> None:
    soup = BeautifulSoup(decks["flash"].read_text("utf8"), "html5lib")
    document = pypdfium2.PdfDocument(slides.print_deck(running, decks["flash"]))
    titles = [heading.get_text() for heading in soup.select(".slide h1, .slide h2")]
    assert len(document) == len(titles)
    for page, title in zip(document, titles, strict=True):
        assert page.get_width() / page.get_height() == pytest.approx(16 / 9, rel=2e-3)
        text = re.sub(r"\W", "", page.get_textpage().get_text_bounded())
        assert re.sub(r"\W", "", title) in text


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_deck_shows_its_chapter_and_no_answer(decks: dict[str, Path], html: Path, chapter: str) -> None:
    text = decks[chapter].read_text("utf8")
    deck = BeautifulSoup(text, "html5lib")
    page = BeautifulSoup((html / "chapters" / f"{chapter}.html").read_text("utf8"), "html5lib")
    assert len(deck.select(".slide")) > 8
    assert all(slide.select_one("h1, h2").get_text(strip=True) for slide in deck.select(".slide"))  # type: ignore[union-attr]
    # All figures, takeaways and questions, and no answer, solution or proof.
    figures = [figure for figure in page.select("article figure") if figure.find("svg")]
    described = {desc.get_text() for desc in deck.select("svg desc")}
    assert all(
        figure.select("svg desc")[-1].get_text() in described for figure in figures if figure.select("svg desc")
    )
    assert len(deck.select(".takeaway")) == len(page.select("article div.takeaway"))
    assert len(deck.select(".question")) == len(page.select("article form.quiz"))
    assert not deck.select(
        "form, input, details, .quiz-answers, [data-correct], .solution, script[src], link[rel=stylesheet]"
    )
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    # The site's address is the only one: a deck may lie anywhere.
    assert all(re.match(r"https://|#", str(link["href"])) for link in deck.select("a[href]"))


def body(text: str) -> Tag:
    made = BeautifulSoup(f"<article>{text}</article>", "html5lib").find("article")
    assert isinstance(made, Tag)
    return made


def test_a_section_without_a_figure_shows_what_it_has() -> None:
    rows = "".join(f"<tr><td>{i}</td></tr>" for i in range(20))
    made = body(
        '<section id="top"><h1>Top: more</h1><p>Intro.</p><section id="a"><h2>A</h2><p>Words.</p></section>'
        f'<section id="b"><h2>B</h2><div><table><thead><tr><th>n</th></tr></thead><tbody>{rows}</tbody></table></div>'
        '<div class="takeaway admonition"><p class="admonition-title">Takeaway</p><p>Taken.</p></div></section>'
        '<section id="c"><h2>C</h2><section id="d"><h3>D</h3><p>Deep.</p></section></section></section>'
    )
    assert [section.place for section in read_sections(made)] == ["top", "a", "b", "c", "d"]
    found = list(make_slides(made, "Top"))
    assert [(slide.title, slide.above) for slide in found] == [("A", ""), ("B", ""), ("B", ""), ("B", ""), ("D", "C")]
    assert "Words." in found[0].words
    assert [slide.shown.count("<td>") for slide in found[1:4]] == [7, 7, 6]
    assert all(slide.shown.count("<th>") == 1 for slide in found[1:4])
    assert ["Taken." in slide.words for slide in found[1:4]] == [False, False, True]
    with pytest.raises(slides.BookError, match="section e: nothing to put on a slide"):
        list(make_slides(body('<section id="t"><h1>T</h1><section id="e"><h2>E</h2></section></section>'), "T"))


def test_unknown_chapter_and_missing_pages_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert slides.main(["hashing"]) == 1
    assert "expected chapters of derivation, memory" in capsys.readouterr().err
    for name in ("_config.yml", "CITATION.cff"):
        (tmp_path / name).write_text((slides.ROOT / name).read_text("utf8"))
    assert slides.main(["memory", "--book", str(tmp_path)]) == 1
    assert "memory.html: not built; run `make book` first" in capsys.readouterr().err


# The guide ------------------------------------------------------------


def test_the_guide_links_to_every_deck(root: Path) -> None:
    guide = (root / "chapters" / "teaching.md").read_text("utf8")
    linked = re.findall(r"\{published\}`[^<`]+<slides/([\w-]+)\.(html|pdf)>`", guide)
    assert linked == [(name, kind) for name in CHAPTERS for kind in ("html", "pdf")]


def test_the_guide_tells_of_every_assignment_and_of_no_answer(root: Path) -> None:
    repository = read_repository(root)
    made = [load(stem) for stem in stems()]
    table = write_table(made, repository)
    for one in made:
        assert f"`{one.stem}` | {one.minutes} min | {len(one.graded)} | {one.points} | {one.open.points} |" in table
        text = write_objectives(one, repository)
        assert len(re.findall(r"\[\]\([\w-]+\.md\)", text)) >= 3
        assert repository.site not in text
        assert all(f"{problem.title} ({problem.points}" in text for problem in one.problems)
        assert marker(one.stem) not in table + text


def test_a_question_is_found_by_its_label(root: Path) -> None:
    assert find_question(root, "quiz-derivation-scores") == ("derivation", 1, "quiz-derivation-scores")
    found = find_question(root, "derivation.core")
    assert found is not None
    assert found[0] == "derivation"
    assert found[2] == "number-derivation-core"
    assert find_question(root, "quiz-derivation-none") is None
