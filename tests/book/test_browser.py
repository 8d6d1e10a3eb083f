"""Every page of the built book in a browser: offline, light and dark, wide and phone, by keyboard."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from book.conftest import ROOT
from book.pages import (
    IMPACTS,
    PHONE,
    RAW,
    THEMES,
    WIDE,
    Visit,
    axe,
    context,
    mathematics,
    page_names,
    serve,
    sideways,
    visit,
)
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Locator, Page, Route
from support import FULL

from attnlib.book.questions import FACTORS, Number, near, verdict
from tools.files import read_documents
from tools.mathfont import BLOCKS
from tools.repository import make_repository, read_repository

HTML = ROOT / "_build" / "html"
VENDOR = ROOT / "theme" / "vendor" / "temml"


def containing(pattern: str) -> list[str]:
    """Built pages in whose HTML the pattern is found."""
    return [name for name in page_names(HTML) if re.search(pattern, (HTML / name).read_text(encoding="utf-8"))]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each page; the pages are known when the book is built."""
    marks = {
        "name": "<html",
        "quiz_page": '<form class="quiz"',
        "practice_page": '<form class="quiz|details class="solution',
        "box_page": 'details class="solution',
    }
    given = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    for fixture, text in marks.items():
        if fixture in metafunc.fixturenames and fixture not in given:
            metafunc.parametrize(fixture, containing(text) or ["index.html"])


OPENS = "main details, form.quiz"


def open_everything(page: Page) -> None:
    """Open each box and try each quiz, so that nothing hides from what looks next."""
    page.evaluate(
        """() => {
          document.querySelectorAll("main details").forEach(box => { box.open = true; });
          document.querySelectorAll("form.quiz").forEach(form => {
            form.querySelector("input").click();
            form.querySelector(".quiz-check").click();
          });
        }"""
    )


SCREEN = (1280, 800)
LINES = 25  # of a cell in sight
SHARE = 0.2  # of a page's height that code in sight may take
SCREENS = 32
# What a reader sees of a chapter, who opens nothing.
_FORM = """
() => {
  const article = document.querySelector("article");
  const seen = selector => [...article.querySelectorAll(selector)].filter(e => e.checkVisibility());
  const height = e => e.getBoundingClientRect().height;
  const lines = e => e.querySelector("pre").textContent.replace(/\\n+$/, "").split("\\n").length;
  const code = seen(".cell_input").filter(e => height(e) > 0);
  const drawing = seen("svg[role=img]")[0];
  return {
    height: height(article),
    code: code.reduce((sum, e) => sum + height(e), 0),
    longest: Math.max(0, ...code.map(lines)),
    drawing: drawing ? drawing.getBoundingClientRect().top + scrollY : null,
    cells: article.querySelectorAll(".cell_input").length,
    bitmaps: [...article.querySelectorAll("img")].map(e => e.src),
    bare: [...article.querySelectorAll("table")]
      .filter(e => !e.closest(".growth-chart, .calculator, [hidden]"))
      .filter(e => {
        const caption = e.closest(".captioned, .results-table")?.querySelector(":scope > .results-caption");
        const number = caption?.querySelector(".caption-number")?.textContent ?? "";
        const words = caption?.textContent.slice(number.length).trim() ?? "";
        const named = caption && e.getAttribute("aria-labelledby") === caption.id;
        return !(named && /^Table \\d+\\.$/.test(number) && words.length >= 10);
      })
      .map(e => e.textContent.slice(0, 80)),
  };
}
"""


def form(page: Page, name: str) -> Iterator[str]:
    """Prose first: a drawing in the first two screens, little code in sight, no bitmap, not too long."""
    found = page.evaluate(_FORM)
    yield from (f"a bitmap: {source}" for source in found["bitmaps"])
    if name != "chapters/status.html":  # the build's own
        yield from (f"a table without number and caption: {text}" for text in found["bare"])
    if found["cells"] and found["height"] > SCREENS * SCREEN[1]:  # the API page is as long as the library
        yield f"{found['height'] / SCREEN[1]:.1f} screens"
    if found["longest"] > LINES:
        yield f"a cell of {found['longest']} lines"
    if found["code"] > SHARE * found["height"]:
        yield f"{found['code'] / found['height']:.0%} code"
    # The sheet and the pages that the build makes hold tables alone.
    if found["cells"] > 4 and (found["drawing"] is None or found["drawing"] > 2 * SCREEN[1]):
        yield f"the first drawing begins at {found['drawing']}"


def weight(seen: Visit) -> Iterator[str]:
    """At most a megabyte, before compression, and twenty files; the font of formulas where there are any."""
    sizes = seen.sizes
    if len(sizes) > 20 or sum(sizes.values()) > 1_000_000:
        yield f"{sum(sizes.values()):,} bytes in {len(sizes)} files: {sizes}"
    if any(address.endswith(".woff2") for address in sizes) != (seen.page.locator("math").count() > 0):
        yield "the font of formulas without a formula, or formulas without it"


def formulas(page: Page, name: str) -> Iterator[str]:
    """As many are set as the page's source has: `mathematics` is content with none."""
    source = (HTML / name).read_text("utf8")
    there, written = page.locator("main math").count(), source.count('class="math notranslate')
    if there < written or ('class="math' in source and not written):
        yield f"{there} formulas of {written}"


@pytest.mark.anywhere
@pytest.mark.parametrize("theme", THEMES)
def test_page(running: Browser, site: str, name: str, theme: str) -> None:
    """Nothing fails or leaves this host, mathematics is set, nothing moves sideways, axe is content; form and weight.

    What differs in the dark is colour: there axe looks at that alone. Colours are looked at with everything open, the
    other rules on a wide page as it opens and on a phone with everything open. `make test-full` asks axe everything
    each time, and for the colours of every element.
    """
    others = FULL or theme == "light"
    with context(running, theme) as opened, visit(opened, site, name) as seen:
        page = seen.page
        assert page.locator("html").get_attribute("data-theme") == theme
        found = [f"mathematics: {text}" for text in mathematics(page)]
        if theme == "light":
            found += [f"weight: {text}" for text in weight(seen)]
            found += [f"formulas: {text}" for text in formulas(page, name)]
            if '<nav class="ways"' in (HTML / name).read_text(encoding="utf-8"):
                found += [f"form: {text}" for text in form(page, name)]
        if others:
            found += [f"wide, axe: {text}" for text in axe(page, colours=FULL)]
        open_everything(page)
        for size, (width, height) in {"wide": WIDE, "phone": PHONE}.items():
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            found += [f"{size}, sideways: {text}" for text in sideways(page)]
            found += [
                f"{size}, all open, axe: {text}" for text in axe(page, others=FULL or (others and size == "phone"))
            ]
        assert [*seen.problems, *found] == []


def test_what_scrolls_shows_where_it_goes_on(running: Browser, site: str) -> None:
    """On a phone wide tables and code fade at the end that hides something; captions stay in sight."""
    both = set(containing('class="results-scroll')) & set(containing('class="cell_input'))
    name = max(sorted(both), key=lambda page: (HTML / page).read_text(encoding="utf-8").count('class="cell_input'))
    with context(running, "light", PHONE) as opened, visit(opened, site, name) as seen:
        open_everything(seen.page)  # code that is folded away scrolls nowhere
        for kind in (".results-scroll", "pre"):
            box = seen.page.locator(f"main {kind}[data-scrolls=start]").first
            shade = "box => getComputedStyle(box).maskImage"
            before = box.evaluate(shade)
            assert "gradient" in before
            handle = box.element_handle()
            assert handle
            handle.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
            seen.page.wait_for_function("box => box.dataset.scrolls === 'end'", arg=handle)
            # A table's first column stays, and does not fade: at its end nothing goes on.
            assert (
                handle.evaluate(shade) == "none"
                if kind == ".results-scroll"
                else "gradient" in handle.evaluate(shade)
            )
            assert handle.evaluate(shade) != before
        for caption in seen.page.locator("main .results-caption").all():
            assert caption.evaluate(
                "p => p.getBoundingClientRect().right <= innerWidth && !p.closest('[data-scrolls]')"
            )


def test_sidebar_on_a_phone(running: Browser, site: str) -> None:
    """The table of contents opens by keyboard on a phone, and axe is content with it."""
    with context(running, "light", PHONE) as opened, visit(opened, site, "index.html") as seen:
        page = seen.page
        page.locator("button.primary-toggle:visible").first.focus()
        page.keyboard.press("Enter")
        page.locator("#pst-primary-sidebar-modal a.reference").first.wait_for(state="visible", timeout=5_000)
        assert [*axe(page), *sideways(page), *seen.problems] == []


ASKED = {
    "KV cache": "generation.html#",
    "n^2": "cheat-sheet.html#why-not-just-o-n-2",
    "FlashAttention": "flash.html",
    "orthogonal vectors": "lower-bound.html#orthogonal-vectors",
    "when is attention cheaper than an RNN": "recurrence.html#who-does-less-work",
}
FOUND = "#search-results li"


def hits(page: Page, words: str) -> list[str]:
    """Where the first three results lead; each has an excerpt of the text with what was found in it marked."""
    page.locator(".bd-search-container input").fill(words)
    page.wait_for_function("words => document.querySelector('#search-status').textContent.includes(words)", arg=words)
    marks = page.locator(f"{FOUND} .context mark").all_inner_texts()
    assert marks
    assert not [text for text in page.locator(f"{FOUND} .context").all_inner_texts() if "\\" in text]
    return [str(link.get_attribute("href")) for link in page.locator(f"{FOUND} a").all()[:3]]


@pytest.mark.parametrize("kind", ["http", "file"])
def test_search_finds_sections(running: Browser, site: str, html: Path, kind: str) -> None:
    """From any page, by keyboard alone, and from a page that is a file, too."""
    place = site if kind == "http" else html.as_uri()
    with context(running, "light") as opened, visit(opened, place, "index.html") as seen:
        page = seen.page
        page.keyboard.press("Control+k")
        page.locator("#pst-search-dialog input[type=search]").fill("softmax")
        page.keyboard.press("Enter")
        page.wait_for_url("**/search.html?q=softmax*")
        page.locator(FOUND).first.wait_for(timeout=20_000)
        assert "softmax" in page.title()
        for words, section in ASKED.items():
            assert any(section in link for link in hits(page, words)), words
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url("**/chapters/**")
        assert page.locator("article h1").count() == 1
        assert seen.problems == []


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_results_of_search(running: Browser, site: str, theme: str, size: tuple[int, int]) -> None:
    """They can be read on a phone, in the dark, and by a screen reader, which hears how many there are."""
    with context(running, theme, size) as opened, visit(opened, site, "search.html?q=KV+cache") as seen:
        page = seen.page
        page.locator(FOUND).first.wait_for(timeout=20_000)
        assert page.get_by_role("status").filter(has_text=re.compile(r"^\d+ .*sections found")).count() == 1
        assert page.get_by_role("heading", level=2).count() > 3
        assert [*axe(page), *sideways(page), *seen.problems] == []
        page.locator(".bd-search-container input").fill("<zzqq>")
        page.get_by_text("No section has “<zzqq>”").wait_for()
        assert page.locator(FOUND).count() == 0
        assert [*axe(page), *seen.problems] == []


def test_only_the_page_of_results_loads_what_it_searches(running: Browser, site: str) -> None:
    for name, loads in (("chapters/memory.html", False), ("search.html", False), ("search.html?q=n", True)):
        asked: list[str] = []
        with context(running, "light") as opened:
            page = opened.new_page()
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto(f"{site}/{name}", wait_until="networkidle")
        assert any("sections.js" in url for url in asked) == loads, name


def test_an_address_that_leads_nowhere(running: Browser, html: Path) -> None:
    """The page for it is whole at any depth: its own addresses begin at the host."""
    path = urlsplit(read_repository(ROOT).site).path
    with serve(html) as site, context(running, "light") as opened:
        page, failed = opened.new_page(), list[str]()
        missing = (html / "404.html").read_text(encoding="utf-8")

        def answer(route: Route) -> None:
            asked = urlsplit(route.request.url).path
            if asked.startswith(path) and (html / asked.removeprefix(path)).is_file():
                route.fulfill(path=html / asked.removeprefix(path))
            elif asked.endswith("/nothing"):
                route.fulfill(body=missing, content_type="text/html")
            else:
                failed.append(route.request.url)
                route.abort()

        page.route("**/*", answer)
        page.goto(f"{site}{path}chapters/deep/er/nothing", wait_until="load")
        assert page.locator("h1").inner_text() == "No such page"
        assert failed == []
        assert [*axe(page), *sideways(page)] == []
        page.locator(".bd-search-container input").fill("softmax")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**{path}search.html?q=softmax")


def test_formulas_can_be_spoken(running: Browser, site: str) -> None:
    """A screen reader gets a formula with its parts, and not its TeX beside it."""
    with context(running, "light") as opened, visit(opened, site, "chapters/low-rank.html") as seen:
        open_everything(seen.page)
        tree = opened.new_cdp_session(seen.page).send("Accessibility.getFullAXTree")["nodes"]
        roles = Counter(node.get("role", {}).get("value") for node in tree if not node["ignored"])
        assert roles["MathMLMath"] == seen.page.locator("math").filter(visible=True).count() > 100
        assert roles["MathMLFraction"] > 5
        assert roles["MathMLSup"] > 50
        assert [n["name"]["value"] for n in tree if "\\sqrt" in str(n.get("name", {}).get("value"))] == []


# Looks at the page while it loads, and remembers what it saw.
SAMPLED = f"""
window.seen = [];
window.samples = 0;
setInterval(() => {{ window.samples += 1; window.seen.push(...({RAW})()); }}, 100);
"""


@pytest.mark.parametrize("name", ["chapters/low-rank.html", "chapters/api.html"])
def test_no_formula_is_raw_at_any_moment(running: Browser, site: str, name: str) -> None:
    """Every tenth of a second while a page loads, with a processor four times slower."""
    with context(running, "light") as opened:
        page = opened.new_page()
        opened.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 4})
        page.add_init_script(SAMPLED)
        page.goto(f"{site}/{name}", wait_until="load")
        page.wait_for_timeout(1_000)
        assert page.evaluate("window.samples") > 3
        assert page.evaluate("window.seen") == []


@pytest.mark.parametrize("name", ["index.html", "chapters/memory.html", "search.html"])
def test_every_icon_has_a_shape(running: Browser, site: str, name: str) -> None:
    """An icon that the sheet does not know would be a square."""
    with context(running, "light") as opened, visit(opened, site, name) as seen:
        icons = ":is(.fa-solid, .fas, .fa-brands, .fab, .fa-regular, .far)"
        bare = "all => all.filter(e => !getComputedStyle(e).maskImage.startsWith('url')).map(e => e.className)"
        assert seen.page.locator(icons).count() > 3
        assert seen.page.eval_on_selector_all(icons, bare) == []


def test_the_font_has_the_signs_of_all_formulas(html: Path) -> None:
    """What it lacks would come from another font, or be a box: tools/mathfont.py makes it."""
    signs = set()
    for page in page_names(html):
        for formula in re.findall(r"<math.*?</math>", (html / page).read_text(encoding="utf-8"), re.DOTALL):
            signs |= set(unescape(re.sub(r"<annotation.*?</annotation>|<[^>]*>", "", formula, flags=re.DOTALL)))
    assert len(signs) > 100
    lacking = {sign for sign in signs if not any(first <= ord(sign) <= last for first, last in BLOCKS)}
    assert lacking - {"\n", "\N{VARIATION SELECTOR-15}"} == set()


# ------------------------------------------------------------------ by keyboard


def tab_into(page: Page, box: Locator) -> None:
    """Put the keyboard just before `box` and press Tab once: what gets the focus is the first stop inside."""
    box.evaluate("box => { box.tabIndex = -1; box.focus(); box.removeAttribute('tabindex'); }")
    page.keyboard.press("Tab")
    assert box.evaluate("box => box.contains(document.activeElement)"), "Tab did not reach anything inside"


def leave(page: Page, selector: str) -> None:
    """Take everything but these parts out of a page: it is laid out anew with each answer, as long as it is."""
    page.evaluate(
        """selector => document.querySelectorAll("body *").forEach(e => {
          if (!e.closest(selector) && !e.querySelector(selector)) e.remove();
        })""",
        selector,
    )


def choose(page: Page, form: Locator, letters: set[str]) -> None:
    """Choose options by keyboard alone and press Check."""
    tab_into(page, form.locator("fieldset"))
    inputs = form.locator(".quiz-option input")
    radio = inputs.first.get_attribute("type") == "radio"
    current = "document.activeElement.value"
    for _ in range(inputs.count()):
        wanted = page.evaluate(current) in letters
        checked = page.evaluate("document.activeElement.checked")
        if (radio and wanted and not checked) or (not radio and wanted != checked):
            page.keyboard.press("Space")
        if radio and wanted:
            break
        page.keyboard.press("ArrowDown" if radio else "Tab")
    if radio:
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Check"
    page.keyboard.press("Enter")


def try_quizzes(page: Page) -> int:
    """A right and a wrong choice, made by keyboard, are announced with their feedback in the live region."""
    forms = page.locator("form.quiz:not(.quiz-numeric)")
    for form in forms.all():
        status = form.locator("[role=status][aria-live=polite]")
        marks = {
            answer.get_attribute("data-option") or "": answer.get_attribute("data-correct") == "true"
            for answer in form.locator(".quiz-answers .quiz-answer").all()
        }
        right = {mark for mark, good in marks.items() if good}
        wrong = sorted(set(marks) - right)[0] if set(marks) - right else None
        assert status.inner_text() == ""
        assert not form.locator(".quiz-answers").is_visible()
        form.locator(".quiz-check").press("Enter")
        assert "Nothing is chosen" in status.inner_text()
        if wrong:
            choose(page, form, {wrong})
            assert "Not this one" in status.inner_text()
            option = form.locator(f".quiz-option:has(input[value={wrong}])")
            assert option.locator(".quiz-verdict").inner_text() == "✗ not this one"
            described = option.locator("input").get_attribute("aria-describedby") or ""
            assert (option.locator(".quiz-verdict").get_attribute("id") or "?") in described.split()
        choose(page, form, right)
        said = status.inner_text()
        assert "Correct" in said
        assert "Not this one" not in said
        for mark in right:
            feedback = form.locator(f".quiz-answers [data-option={mark}]")
            text = feedback.evaluate("a => [...a.children].slice(1).map(e => e.textContent).join('')")
            assert text.strip() in status.evaluate("s => s.textContent")
    return forms.count()


def try_numbers(page: Page) -> int:
    """Each seed's mistakes and right number are told apart, with the first seed's also a factor, a word, nothing."""
    forms = page.locator("form.quiz-numeric")
    for form in forms.all():
        parts = form.locator("fieldset")
        for seed in range(parts.count()):
            part = parts.nth(seed)
            shown = form.evaluate("f => [...f.querySelectorAll('fieldset')].map(part => part.checkVisibility())")
            assert shown == [i == seed for i in range(parts.count())]
            status, field = part.locator("[role=status][aria-live=polite]"), part.locator("input")
            *numbers, unit = part.evaluate("({dataset: it}) => [it.answer, it.tolerance, it.unit ?? '']")
            answer, tolerance = map(float, numbers)
            asked = Number("?", answer, unit, tolerance, "", ((5.55 * answer + 1, "?"),))

            def said(typed: str, field: Locator = field, status: Locator = status) -> str:
                field.fill(typed)
                assert status.inner_text() == ""
                page.keyboard.press("Enter")
                return status.inner_text()

            if seed == 0:
                assert said("") == "Nothing is typed yet."
                assert not part.locator(".quiz-answers").is_visible()
                assert said("much").startswith(f"Expected a number{' in ' + unit if unit else ''}")
            mistakes = part.locator(".quiz-answers [data-value]").evaluate_all(
                """mistakes => mistakes.map(mistake => [
                    mistake.dataset.value, [...mistake.children].slice(1).map(e => e.textContent).join('').trim(),
                ])"""
            )
            assert mistakes
            for value, explained in mistakes:
                assert "Not this one." in said(f"{value} {unit}")
                assert explained in status.evaluate("s => s.textContent")
                assert field.get_attribute("aria-invalid") == "true"
            # What the page says of a number is what a notebook says of it.
            known = {float(value) for value, _ in mistakes}
            for factor in (3.7, *(by for by, _ in FACTORS)) if seed == 0 else ():
                value = factor * answer
                if not any(near(value, other, tolerance) for other in known):
                    told = verdict(asked, value).split(" is ", 1)[1]
                    assert said(repr(value)) == f"Not yet. That is {told}"
            assert said(f"{answer!r} {unit}").startswith("Correct.")
            page.keyboard.press("Tab")
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.textContent") == "Other numbers"
            page.keyboard.press("Enter")
            assert page.evaluate("document.activeElement.tagName") == "INPUT"
    return forms.count()


def try_solutions(page: Page) -> int:
    """A hidden solution has a name and opens and closes with Enter."""
    boxes = page.locator("details.solution")
    for box in boxes.all():
        assert not box.evaluate("box => box.open")
        tab_into(page, box)
        assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
        assert page.evaluate("document.activeElement.textContent").startswith("Solution")
        page.keyboard.press("Enter")
        assert box.evaluate("box => box.open")
        page.keyboard.press("Enter")
        assert not box.evaluate("box => box.open")
    return boxes.count()


PRACTICE = {
    '<form class="quiz"': try_quizzes,
    '<form class="quiz quiz-numeric"': try_numbers,
    '<details class="solution': try_solutions,
}


def test_practice_by_keyboard(running: Browser, site: str, html: Path, practice_page: str) -> None:
    """Every quiz, number and solution that a page has, in one visit."""
    text = (html / practice_page).read_text("utf8")
    with context(running, "light") as opened, visit(opened, site, practice_page) as seen:
        leave(seen.page, "form.quiz, details.solution")
        tried = [attempt(seen.page) for attempt in PRACTICE.values()]
        assert tried == [text.count(tag) for tag in PRACTICE]
        assert seen.problems == []


@pytest.mark.sample(7)
def test_quiz_without_scripts(running: Browser, site: str, quiz_page: str) -> None:
    """Without scripts the answer opens by itself, and no button pretends to work."""
    with context(running, "light", java_script_enabled=False) as opened:
        page = opened.new_page()
        page.goto(f"{site}/{quiz_page}")
        for part in page.locator("form.quiz fieldset:not([hidden])").all():
            assert not part.locator("button, input[type=text]").filter(visible=True).count()
            assert not part.locator(".quiz-answer").first.is_visible()
            part.locator("summary").click()
            assert all(answer.is_visible() for answer in part.locator(".quiz-answer").all())


@pytest.mark.sample(7)
def test_print(running: Browser, site: str, box_page: str) -> None:
    """A page prints in light with its solutions open, and is put back as it was."""
    with context(running, "dark") as opened, visit(opened, site, box_page) as seen:
        state = """() => [
            document.documentElement.dataset.theme,
            [...document.querySelectorAll("details.solution")].every(box => box.open),
        ]"""
        assert seen.page.evaluate(state) == ["dark", False]
        seen.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert seen.page.evaluate(state) == ["light", True]
        seen.page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert seen.page.evaluate(state) == ["dark", False]


def test_the_cheat_sheet_is_one_sheet(running: Browser, site: str) -> None:
    """As `beforeprint` leaves it, on A4 with the browser's margins."""
    with context(running, "light") as opened, visit(opened, site, "chapters/cheat-sheet.html") as seen:
        assert len(re.findall(rb"/Type\s*/Page\b", seen.page.pdf(format="A4"))) == 1


def test_the_interviews_sheet_is_one_sheet(running: Browser, site: str) -> None:
    """Its link leaves nothing else to print."""
    with (
        context(running, "light") as opened,
        visit(opened, site, "chapters/interview.html#sec-interview-sheet") as seen,
    ):
        assert len(re.findall(rb"/Type\s*/Page\b", seen.page.pdf(format="A4"))) == 1
        seen.page.emulate_media(media="print")
        shown = """() => [...document.querySelectorAll(".bd-article h2")]
            .filter(heading => heading.offsetParent).map(heading => heading.parentElement.id)"""
        assert seen.page.evaluate(shown) == ["one-sheet-to-print"]


def test_growth_chart_by_keyboard(running: Browser, site: str) -> None:
    """Moving any slider of the growth chart by keyboard changes its curves and its numbers."""
    charts = containing('class="growth-chart')
    assert charts, "no page has the growth chart"
    with context(running, "light") as opened, visit(opened, site, charts[0]) as seen:
        page = seen.page
        chart = page.locator(".growth-chart").first
        curves = "chart => [...chart.querySelectorAll('svg path.curve')].map(e => e.getAttribute('d')).join()"
        texts = "chart => [...chart.querySelectorAll('output')].map(e => e.textContent).join()"
        moved = 0
        for slider in chart.locator("input[type=range]").all():
            assert slider.evaluate("slider => slider.labels.length > 0 || slider.ariaLabel")
            before = chart.evaluate(curves), chart.evaluate(texts)
            slider.focus()
            page.keyboard.press("ArrowRight")
            after = chart.evaluate(curves), chart.evaluate(texts)
            assert after[1] != before[1]
            moved += after[0] != before[0]
        assert moved > 0, "no slider changed a curve"
        assert seen.problems == []


# ------------------------------------------------------------------ tables


def test_tables_are_numbered_through_the_book(html: Path) -> None:
    """From 1, in the order of the pages, without a gap."""
    numbers = []
    for document in read_documents(ROOT):
        page = (html / f"{document}.html").read_text(encoding="utf-8")
        numbers += [int(n) for n in re.findall(r'<span class="caption-number">Table (\d+)\.</span>', page)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 50


# ------------------------------------------------------------------ ways through a page


def test_the_first_visit_is_quiet(running: Browser, site: str) -> None:
    """Before anyone has chosen a theme the console says nothing that is an error or a warning."""
    opened = running.new_context(viewport={"width": WIDE[0], "height": WIDE[1]})
    with visit(opened, site, "chapters/memory.html") as seen:
        assert seen.problems == []
    opened.close()


def test_the_colour_button_keeps_the_focus(running: Browser, site: str) -> None:
    """Pressed by keyboard, it changes the theme and can be pressed again."""
    with context(running, "light") as opened, visit(opened, site, "chapters/memory.html") as seen:
        page = seen.page
        button = page.locator("button.theme-switch-button:visible").first
        button.focus()
        themes = []
        for _ in range(3):
            page.keyboard.press("Enter")
            page.wait_for_timeout(100)  # for what the theme does afterwards
            assert button.evaluate("button => button === document.activeElement")
            themes.append(page.locator("html").get_attribute("data-mode"))
        assert sorted(themes, key=str) == ["auto", "dark", "light"]


def test_a_figure_opens_in_full_size_by_keyboard(running: Browser, site: str) -> None:
    """Enter opens it, Escape closes it, and the keyboard is where it was."""
    with context(running, "light") as opened, visit(opened, site, "chapters/sparse.html") as seen:
        page = seen.page
        button = page.locator("button.zoom-open").first
        small = page.locator("article .picture svg").first.bounding_box()
        button.focus()
        page.keyboard.press("Enter")
        dialog = page.locator("dialog.zoom[open]")
        large = dialog.locator("svg").bounding_box()
        assert small
        assert large
        assert large["height"] > 1.5 * small["height"]
        assert [*axe(page), *sideways(page)] == []
        page.keyboard.press("Escape")
        assert page.locator("dialog.zoom[open]").count() == 0
        assert button.evaluate("button => button === document.activeElement")
        assert seen.problems == []


def test_what_a_link_leads_to_is_shown_on_focus(running: Browser, site: str) -> None:
    """A theorem of the page, a reference of another; Escape closes it; its formulas are set."""
    with context(running, "light") as opened, visit(opened, site, "chapters/lower-bound.html") as seen:
        page = seen.page
        for selector, kind in (("a[href^='#thm-']", ".proof"), ("a[href*='bibliography.html#cite-']", ".citation")):
            link = page.locator(f"article p {selector}").first
            link.focus()
            preview = page.locator(f".preview:visible {kind}")
            preview.wait_for(timeout=5_000)
            assert preview.inner_text().strip()
            assert "\\(" not in preview.inner_text()
            assert link.get_attribute("aria-describedby") == "preview"
            assert sideways(page) == []
            page.keyboard.press("Escape")
            assert page.locator(".preview:visible").count() == 0
        assert seen.problems == []


TABLES = {"errata": "lower-bound.html#table-paper", "open": "#tab-open-state", "seconds": "#tab-seconds-peaks"}


@pytest.mark.parametrize("one", TABLES)
def test_a_link_to_a_table_shows_it(running: Browser, site: str, one: str) -> None:
    """From another page and from its own, written in Markdown and made by a cell; axe is content."""
    with context(running, "light") as opened, visit(opened, site, f"chapters/{one}.html") as seen:
        page = seen.page
        open_everything(page)
        page.locator(f"article a[href$='{TABLES[one]}']:not(.headerlink)").first.focus()
        preview = page.locator(".preview:visible")
        preview.wait_for(timeout=5_000)
        assert re.match(r"Table \d+\.", preview.locator(".results-caption").inner_text())
        assert preview.locator("table").count() == 1
        assert "\\(" not in preview.inner_text()
        assert [*axe(page, colours=False), *sideways(page), *seen.problems] == []


def test_a_reference_to_a_table_prints_its_number(html: Path) -> None:
    """What {numref} writes in one page stands before the caption in the other."""
    soup = BeautifulSoup((html / "chapters" / "summary.html").read_text(encoding="utf-8"), "html.parser")
    (link,) = soup.select("article a[href='lower-bound.html#tab-from-below']")
    target = BeautifulSoup((html / "chapters" / "lower-bound.html").read_text(encoding="utf-8"), "html.parser")
    number = target.select_one("#tab-from-below .caption-number")
    assert number is not None
    assert f"{link.get_text()}." == number.get_text()


SOME = [f"chapters/{name}.html" for name in ("flash", "question", "summary", "bibliography")]


@pytest.mark.parametrize("one", ["index.html", *SOME])
def test_lesser_findings_of_axe(running: Browser, site: str, one: str) -> None:
    """Nothing minor or moderate either: landmarks, the order of headings, what a region holds."""
    with context(running, "light") as opened, visit(opened, site, one) as seen:
        found = []
        for width, height in (WIDE, PHONE):
            seen.page.set_viewport_size({"width": width, "height": height})
            found += axe(seen.page, colours=False, impacts=("minor", "moderate", *IMPACTS))
        assert found == []


@pytest.mark.parametrize("one", ["summary", "benchmarks", "map"])
def test_wide_tables_fit_a_laptop(running: Browser, site: str, one: str) -> None:
    """At 1280 px no table of these pages scrolls."""
    with context(running, "light", SCREEN) as opened, visit(opened, site, f"chapters/{one}.html") as seen:
        widths = seen.page.locator("article :is(.results-scroll, .pst-scrollable-table-container)").evaluate_all(
            "boxes => boxes.map(box => [box.scrollWidth, box.clientWidth])"
        )
        assert widths
        assert [pair for pair in widths if pair[0] > pair[1] + 1] == []


def test_each_section_offers_an_issue(running: Browser, site: str) -> None:
    """Its title names chapter and section, its text the address; the repository is that of _config.yml."""
    repository = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]
    with context(running, "light") as opened, visit(opened, site, "chapters/memory.html") as seen:
        links = seen.page.locator("p.report a")
        assert links.count() == seen.page.locator("article section > h2").count() > 3
        address = urlsplit(links.first.get_attribute("href") or "")
        assert address.geturl().startswith(f"{repository['url']}/issues/new?")
        query = parse_qs(address.query)
        section = seen.page.locator("article section > h2").first
        assert section.evaluate("h => h.firstChild.textContent.trim()") in query["title"][0]
        assert f"{make_repository(repository['url'], 'main').page('chapters/memory')}#" in query["body"][0]


def test_a_page_says_where_it_is(running: Browser, site: str, html: Path) -> None:
    """Its place, its neighbours and its notebook at the top; the bar grows as one reads."""
    repository = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]
    with context(running, "light") as opened, visit(opened, site, "chapters/memory.html") as seen:
        page = seen.page
        ways = page.locator("nav.ways")
        assert re.search(r" · \d+ of \d+$", ways.locator(".place").inner_text())
        for name in ("prev", "next"):
            target = ways.locator(f"a.{name}").get_attribute("href") or ""
            assert (html / "chapters" / target).is_file()
        notebook = f"/blob/{repository['branch']}/notebooks/memory.ipynb"
        assert (ways.locator("a.colab").get_attribute("href") or "").endswith(notebook)
        width = "bar => bar.getBoundingClientRect().width"
        bar = page.locator(".reading-progress")
        before = bar.evaluate(width)
        page.evaluate("scrollTo(0, document.body.scrollHeight / 2)")
        page.wait_for_function("document.querySelector('.reading-progress').getBoundingClientRect().width > 200")
        assert before < 100


def test_the_table_of_all_mechanisms_is_sorted_by_keyboard(running: Browser, site: str) -> None:
    """Up, down and as it came; a screen reader hears which; the first column stays where the others scroll."""
    with context(running, "light", PHONE) as opened, visit(opened, site, "chapters/summary.html") as seen:
        page = seen.page
        head = page.locator("table.summary th", has_text="Work").first
        cells = "table.summary td:nth-child(4) [data-rank]"
        ranks = f"() => [...document.querySelectorAll('{cells}')].map(e => Number(e.dataset.rank))"
        came = page.evaluate(ranks)
        head.locator("button").focus()
        for direction, wanted in (("ascending", sorted(came)), ("descending", sorted(came)[::-1]), ("none", came)):
            page.keyboard.press("Enter")
            assert head.get_attribute("aria-sort") == direction
            assert page.evaluate(ranks) == wanted
        assert came != sorted(came)
        first = page.locator("table.summary tbody tr td:first-child").first
        before = first.bounding_box()
        page.locator("table.summary td:last-child").first.scroll_into_view_if_needed()
        after = first.bounding_box()
        assert before
        assert after
        assert after["x"] >= 0
        assert [*axe(page), *seen.problems] == []


def test_references_lead_back(html: Path) -> None:
    """Below a reference stand the chapters that cite it; each link leads to a place that is there."""
    soup = BeautifulSoup((html / "chapters" / "bibliography.html").read_text(encoding="utf-8"), "html.parser")
    links = soup.select("div.citation p.cited-in a")
    assert len(links) > 100
    pages: dict[str, str] = {}
    for link in links:
        name, _, anchor = str(link["href"]).partition("#")
        text = pages.setdefault(name, (html / "chapters" / name).resolve().read_text(encoding="utf-8"))
        assert f'id="{anchor}"' in text, link["href"]


def test_colab_button(html: Path) -> None:
    """The button of a page opens its notebook; a page without a notebook has none."""
    repository = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]
    path = repository["url"].removeprefix("https://github.com/")
    link = re.compile(r'href="(https://colab\.research\.google\.com/[^"]*)"')
    with_twin = 0
    for name in page_names(html):
        links = set(link.findall((html / name).read_text(encoding="utf-8")))
        # The front page offers the notebook of the first chapter.
        twin = ROOT / "notebooks" / f"{'question' if name == 'index.html' else Path(name).stem}.ipynb"
        expected = (
            f"https://colab.research.google.com/github/{path}/blob/{repository['branch']}/notebooks/{twin.name}"
        )
        assert links == ({expected} if twin.is_file() else set()), name
        with_twin += twin.is_file()
    assert with_twin > 0


# ------------------------------------------------- what the checks above can see

FAULTY = r"""<!doctype html><html lang="en"><head><title>Faulty</title></head><body>
<main class="bd-main"><h1>Faulty</h1>
<p style="color: #bbb; background: #fff">too pale</p>
<p>raw \(x^2\) and <span class="math">\(y\)</span></p>
<math><merror><mtext>Undefined control sequence</mtext></merror></math>
<div style="width: 900px">wide</div>
<img src="https://example.org/picture.png" alt="elsewhere">
<link rel="stylesheet" href="missing.css">
</main><script>throw new Error("a page error")</script></body></html>
"""


def test_faults_are_seen(running: Browser, tmp_path: Path) -> None:
    """A page with one fault of each kind: every check reports its own."""
    (tmp_path / "faulty.html").write_text(FAULTY, encoding="utf-8")
    with (
        serve(tmp_path) as address,
        context(running, "light", PHONE) as opened,
        visit(opened, address, "faulty.html") as seen,
    ):
        problems = "\n".join(seen.problems)
        assert "console: a page error" in problems
        assert "another host: https://example.org/picture.png" in problems
        assert re.search(r"failed request: 404 \S+/missing\.css", problems)
        set_wrong = mathematics(seen.page)
        assert any(text.startswith("raw TeX: raw") for text in set_wrong)
        assert any(text.startswith("not typeset") for text in set_wrong)
        assert "error: Undefined control sequence" in set_wrong
        assert sideways(seen.page)
        assert any(text.startswith("color-contrast (serious)") for text in axe(seen.page))


def test_vendored_temml_is_unchanged() -> None:
    """Every vendored file has the checksum it came with, and none is missing or new."""
    listed = {
        name: digest
        for digest, name in (line.split("  ", 1) for line in (VENDOR / "SHA256SUMS").read_text().splitlines())
    }
    own = {"SHA256SUMS", "README.md"}
    present = {path.relative_to(VENDOR).as_posix(): path for path in VENDOR.rglob("*") if path.is_file()}
    digests = {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in present.items() if name not in own
    }
    assert digests == listed
