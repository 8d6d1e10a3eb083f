"""Every page of the built book in a browser: offline, light and dark, wide and phone, by keyboard."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from book.conftest import ROOT, absent
from book.pages import (
    PHONE,
    THEMES,
    WIDE,
    axe,
    browser,
    chromium,
    context,
    mathematics,
    page_names,
    serve,
    sideways,
    visit,
)
from playwright.sync_api import Browser, Locator, Page
from support import FULL

HTML = ROOT / "_build" / "html"
VENDOR = ROOT / "theme" / "vendor" / "mathjax"


def containing(text: str) -> list[str]:
    """Built pages whose HTML contains `text`."""
    return [name for name in page_names(HTML) if text in (HTML / name).read_text(encoding="utf-8")]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each page; the pages are known when the book is built."""
    marks = {
        "name": "<html",
        "math_page": 'class="math',
        "quiz_page": '<form class="quiz"',
        "box_page": 'details class="solution',
    }
    for fixture, text in marks.items():
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, containing(text) or ["index.html"])


@pytest.fixture(scope="module")  # not the session: Playwright runs once in a process, and other modules start it too
def running() -> Iterator[Browser]:
    """One browser for all tests."""
    if chromium() is None:
        absent("no Chromium on this machine: install the package 'chromium', or set CHROMIUM")
    with browser() as started:
        yield started


@pytest.fixture(scope="session")
def site(html: Path) -> Iterator[str]:
    """Address of the built book."""
    with serve(html) as address:
        yield address


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


@pytest.mark.anywhere
@pytest.mark.parametrize("theme", THEMES)
def test_page(running: Browser, site: str, name: str, theme: str) -> None:
    """Nothing fails, nothing leaves this host, mathematics is set, nothing moves sideways, axe is content.

    What differs in the dark is colour: there axe looks at that alone. Colours are looked at with everything open, the
    other rules on a wide page as it opens and on a phone with everything open. `make test-full` asks axe everything
    each time, and for the colours of every element.
    """
    others = FULL or theme == "light"
    with context(running, theme) as opened, visit(opened, site, name) as seen:
        page = seen.page
        assert page.locator("html").get_attribute("data-theme") == theme
        found = [f"mathematics: {text}" for text in mathematics(page)]
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


def test_mathematics_is_there(running: Browser, site: str, math_page: str) -> None:
    """As many formulas are set as the page's source has: the check above is not content with none."""
    source = (HTML / math_page).read_text(encoding="utf-8")
    with context(running, "light") as opened, visit(opened, site, math_page) as seen:
        containers = seen.page.locator("main mjx-container").count()
        assert containers >= len(re.findall(r'class="math notranslate', source)) > 0


def test_what_scrolls_shows_where_it_goes_on(running: Browser, site: str) -> None:
    """On a phone wide tables and code fade at the end that hides something; captions stay in sight."""
    name = sorted(set(containing('class="results-scroll')) & set(containing('class="cell_input')))[0]
    with context(running, "light", PHONE) as opened, visit(opened, site, name) as seen:
        for kind in (".results-scroll", "pre"):
            box = seen.page.locator(f"main {kind}[data-scrolls=start]").first
            shade = "box => getComputedStyle(box).maskImage"
            before = box.evaluate(shade)
            assert "gradient" in before
            handle = box.element_handle()
            assert handle
            handle.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
            seen.page.wait_for_function("box => box.dataset.scrolls === 'end'", arg=handle)
            assert "gradient" in handle.evaluate(shade) != before
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


def test_search(running: Browser, site: str) -> None:
    """Search finds a page without any other host."""
    with context(running, "light") as opened, visit(opened, site, "index.html") as seen:
        page = seen.page
        page.keyboard.press("Control+k")
        page.locator("#pst-search-dialog input[type=search]").fill("softmax")
        page.keyboard.press("Enter")
        page.wait_for_url("**/search.html?q=softmax*")
        first = page.locator("#search-results li a").first
        first.wait_for(timeout=10_000)
        assert re.search(r"\.html", first.get_attribute("href") or "")
        page.wait_for_function("document.querySelector('#search-results .search-summary')?.textContent.trim()")
        page.wait_for_function("document.querySelectorAll('#search-results li p.context').length > 2")
        excerpts = page.locator("#search-results li p.context").all_inner_texts()
        assert [text for text in excerpts if "\\" in text] == []
        assert [*axe(page), *sideways(page), *seen.problems] == []


def test_formulas_can_be_spoken(running: Browser, site: str) -> None:
    """The accessibility menu of MathJax finds what it loads (speech rules) in the book."""
    page_with_math = containing('class="math')[0]
    with context(running, "light") as opened:
        opened.add_init_script(
            """localStorage.setItem("MathJax-Menu-Settings", '{"explorer": true, "collapsible": true}')"""
        )
        with visit(opened, site, page_with_math) as seen:
            spoken = seen.page.locator("main mjx-container [data-semantic-speech]").first
            spoken.wait_for(state="attached", timeout=20_000)
            assert spoken.get_attribute("data-semantic-speech")
            assert seen.problems == []


# ------------------------------------------------------------------ by keyboard


def tab_into(page: Page, box: Locator) -> None:
    """Put the keyboard just before `box` and press Tab once: what gets the focus is the first stop inside."""
    box.evaluate("box => { box.tabIndex = -1; box.focus(); box.removeAttribute('tabindex'); }")
    page.keyboard.press("Tab")
    assert box.evaluate("box => box.contains(document.activeElement)"), "Tab did not reach anything inside"


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


def test_quiz_by_keyboard(running: Browser, site: str, quiz_page: str) -> None:
    """A right and a wrong choice, made by keyboard, are announced with their feedback in the live region."""
    with context(running, "light") as opened, visit(opened, site, quiz_page) as seen:
        page = seen.page
        forms = page.locator("form.quiz")
        assert forms.count() > 0
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
        assert seen.problems == []


def test_quiz_without_scripts(running: Browser, site: str, quiz_page: str) -> None:
    """Without scripts the answer opens by itself, and no button pretends to work."""
    with context(running, "light", java_script_enabled=False) as opened:
        page = opened.new_page()
        page.goto(f"{site}/{quiz_page}")
        for form in page.locator("form.quiz").all():
            assert not form.locator(".quiz-check").is_visible()
            assert not form.locator(".quiz-answer").first.is_visible()
            form.locator("summary").click()
            assert all(answer.is_visible() for answer in form.locator(".quiz-answer").all())


def test_solution_by_keyboard(running: Browser, site: str, box_page: str) -> None:
    """A hidden solution has a name and opens and closes with Enter."""
    with context(running, "light") as opened, visit(opened, site, box_page) as seen:
        page = seen.page
        boxes = page.locator("details.solution")
        assert boxes.count() > 0
        for box in boxes.all():
            assert not box.evaluate("box => box.open")
            tab_into(page, box)
            assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
            assert page.evaluate("document.activeElement.textContent").startswith("Solution")
            page.keyboard.press("Enter")
            assert box.evaluate("box => box.open")
            page.keyboard.press("Enter")
            assert not box.evaluate("box => box.open")


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


def test_colab_button(html: Path) -> None:
    """The button of a page opens its notebook; a page without a notebook has none."""
    repository = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]
    path = repository["url"].removeprefix("https://github.com/")
    link = re.compile(r'href="(https://colab\.research\.google\.com/[^"]*)"')
    with_twin = 0
    for name in page_names(html):
        links = set(link.findall((html / name).read_text(encoding="utf-8")))
        twin = ROOT / "notebooks" / f"{Path(name).stem}.ipynb"
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
<mjx-container><mjx-merror data-mjx-error="Undefined control sequence">!</mjx-merror></mjx-container>
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


def test_vendored_mathjax_is_unchanged() -> None:
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
    assert sum(path.stat().st_size for path in present.values()) < 3_000_000


def test_mathjax_is_loaded_once(html: Path) -> None:
    """A page loads MathJax from the book, once, and no page gets its other files as scripts."""
    for name in containing('class="math'):
        scripts = re.findall(r'<script[^>]* src="([^"]*mathjax[^"]*)"', (html / name).read_text(encoding="utf-8"))
        assert [Path(src.split("?")[0]).name for src in scripts] == ["tex-mml-chtml.js"], name
