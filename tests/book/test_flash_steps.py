"""The steps of the chapter on FlashAttention in a browser: by pointer, by keyboard, and without a script.

No server: the drawing brings all that it needs.
"""

from __future__ import annotations

from book.pages import PHONE, axe, context, sideways
from playwright.sync_api import Browser, Locator, Page

from attnlib.book.drawings import flash

PAGE = (  # with the one rule of the theme that reaches into it
    "<!doctype html><html lang='en'><head><title>Steps</title><style>[hidden] {{ display: none !important }}</style>"
    "</head><body><main>{}</main></body></html>"
)


def steps() -> flash.Steps:
    """Two rows of two blocks, with another number in each."""
    blocks = [
        flash.Block(range(i, i + 1), range(j, j + 2), [[1, 0.5]], [0.5], [0.0], [10 * i + j + 1.5], [30])
        for i in range(2)
        for j in (0, 2)
    ]
    return flash.steps(blocks)


def seen(page: Page) -> tuple[str, str]:
    """The sentence, and the title of the one picture in sight."""
    (picture,) = [p for p in page.locator(".step").all() if p.is_visible()]
    return page.locator(".said").inner_text(), picture.locator("title").inner_html()


def test_steps_by_pointer_and_by_keyboard(running: Browser) -> None:
    """Both ways show the same; the ends stay; the buttons keep the focus; axe is content; a phone's page stays."""
    drawn = steps()
    expected = [
        (f"Block {i} of 4. {sentence}".replace("\N{NO-BREAK SPACE}", " "), f"Attention, block {i} of 4")
        for i, sentence in enumerate(drawn.sentences, 1)
    ]

    def now(page: Page) -> int:
        said, title = seen(page)
        return expected.index((said.replace("\N{NO-BREAK SPACE}", " "), title)) + 1

    with context(running, "light", PHONE) as opened:
        page = opened.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text))
        page.on("request", lambda request: problems.append(request.url))
        page.set_content(PAGE.format(drawn._repr_html_()))
        back, on = (page.get_by_role("button", name=name) for name in ("previous block", "next block"))

        def disabled(button: Locator) -> bool:
            return button.get_attribute("aria-disabled") == "true"

        walk = [now(page)]
        for button in (on, on, on, on, back):
            button.click(force=True)  # one that says it is disabled does nothing
            walk.append(now(page))
        assert walk == [1, 2, 3, 4, 4, 3]
        assert page.locator(".said[aria-live=polite]").count() == 1
        assert not page.locator(".all").is_visible()
        back.focus()
        for key, at in (("ArrowLeft", 2), ("ArrowLeft", 1), ("ArrowLeft", 1), ("End", 4), ("Home", 1), ("Enter", 1)):
            page.keyboard.press(key)
            assert now(page) == at, key
            assert back.evaluate("button => button === document.activeElement")
        assert disabled(back)
        assert not disabled(on)
        page.locator(".flash-steps").focus()
        page.keyboard.press("ArrowRight")
        assert now(page) == 2
        page.evaluate(  # as the book's own script does, which enlarges a picture
            """() => document.querySelectorAll(".step").forEach(step => {
              step.insertAdjacentHTML("beforeend", "<button type=button>Enlarge</button>");
            })"""
        )
        page.locator(".step:not([hidden]) button").focus()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowRight")
        assert now(page) == 2
        page.locator(".flash-steps").evaluate("steps => steps.blur()")
        page.keyboard.press("ArrowRight")
        assert now(page) == 2
        assert [*axe(page), *sideways(page), *problems] == []


def test_steps_without_a_script_and_on_paper(running: Browser) -> None:
    """The last picture, and what is said of every block; no button."""
    drawn = steps()
    for script, media in ((False, "screen"), (True, "print")):
        with context(running, "light", java_script_enabled=script) as opened:
            page = opened.new_page()
            page.set_content(PAGE.format(drawn._repr_html_()))
            page.emulate_media(media=media)  # type: ignore[arg-type]
            shown = [i for i, step in enumerate(page.locator(".step").all(), 1) if step.is_visible()]
            assert shown == [4], media
            items = page.locator(".all li").all_text_contents() if page.locator(".all").is_visible() else []
            assert items == list(drawn.sentences)
            assert not page.get_by_role("button").first.is_visible()
            assert not page.locator(".said").is_visible()
