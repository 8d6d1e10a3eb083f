"""The calculator in a browser: it says what Python says, keeps its settings in the address, names what is wrong.

No server and no built book: the directive's form, with the sheets and scripts of the page, is opened from a file.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from book.conftest import ROOT
from book.pages import PHONE, SCREENS, THEMES, axe, context, sideways
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Page

from attnlib import cost
from attnlib.book import calculator
from attnlib.cost.published import CONFIGS
from tools.ext.calculator import form, read_link, script

SETTINGS, WHOLE = 500, 25
STATIC = ROOT / "theme" / "static"
# Answers for settings as texts: all of the answer, or its numbers without the search for what fits.
ANSWER = """([all, whole]) => all.map(texts => { try {
  const {Dict} = CALCULATOR.python, now = new Dict(Object.entries(texts)), given = new Dict();
  for (const field of CALCULATOR.FIELDS)
    if (CALCULATOR.asked(field, now)) given.set(field.key, CALCULATOR.read(field, now.get(field.key)));
  if (whole) {
    const answer = CALCULATOR.calculate(given);
    const html = CALCULATOR.said(answer) + CALCULATOR.shown(answer);
    return {html, numbers: Object.fromEntries(answer.numbers.items())};
  }
  const model = CALCULATOR.model_of(given);
  const numbers = texts.mode === "serving" ? CALCULATOR.served(model, given)[1] : CALCULATOR.trained(model, given);
  return {numbers: Object.fromEntries(numbers.items())};
} catch (error) { return {numbers: {}, html: "", error: error.message}; } })"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with the calculator, and of the theme's own sheet only what every box and the ground have."""
    theme = "*{box-sizing:border-box}body{background:var(--pst-color-background);color:var(--pst-color-text-base)}"
    sheets = theme + "".join((STATIC / name).read_text("utf8") for name in ("book.css", "calculator.css"))
    scripts = "".join(f"<script>{text}</script>" for text in (script(), (STATIC / "calculator.js").read_text("utf8")))
    path = tmp_path_factory.mktemp("calculator") / "page.html"
    path.write_text(
        "<!doctype html><html lang='en' data-theme='light'><head><meta charset='utf-8'><title>Calculator</title>"
        f"<meta name='viewport' content='width=device-width'><style>{sheets}</style></head>"
        f"<body><main class='bd-article'><h1>Calculator</h1>{form()}</main>{scripts}</body></html>",
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def page(running: Browser, file: Path) -> Iterator[Page]:
    """That page, open; it may say nothing to the console and ask for nothing."""
    said: list[str] = []
    with context(running, "light") as opened:
        page = opened.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
        page.goto(file.as_uri())
        yield page
    assert said == []


def drawn(r: random.Random) -> dict[str, str]:
    """Settings at random: any model or own numbers, any choice, sizes over their range."""
    texts = calculator.starts()
    for entry in calculator.FIELDS:
        if entry.kind in ("choice", "name"):
            texts[entry.key] = r.choice(list(entry.choices))
    h_kv, experts = r.randint(1, 16), r.randint(1, 256)
    more = {
        "source": r.choice(["published", "own"]),
        "tied": r.choice(["yes", "no"]),
        "context": int(2 ** r.uniform(0, 21)),
        "batch": int(2 ** r.uniform(0, 10)),
        "devices": int(2 ** r.uniform(0, 7)),
        "page": r.choice([1, 16, 100]),
        "usable": r.randint(1, 100),
        "utilisation": r.randint(1, 100),
        "tokens": int(10 ** r.uniform(0, 14)),
        "layers": r.randint(1, 130),
        "d": r.randint(16, 20_000),
        "h_kv": h_kv,
        "h": h_kv * r.randint(1, 16),
        "d_k": r.choice([1, 64, 80, 128, 256]),
        "d_ff": r.randint(1, 60_000),
        "vocab": r.randint(1, 300_000),
        "every": r.randint(0, 8),
        "window": int(2 ** r.uniform(0, 15)),
        "state": r.choice([1, 64, 128]),
        "rank": r.randint(1, 1024),
        "d_rope": r.choice([1, 64]),
        "experts": experts,
        "active": r.randint(1, experts),
        "shared": r.randint(0, 3),
    }
    return texts | {key: str(value) for key, value in more.items()}


def numbers(texts: dict[str, str]) -> dict[str, Any]:
    """What Python says of settings."""
    given = calculator.values(texts)
    model = calculator.model_of(given)
    return calculator.served(model, given)[1] if texts["mode"] == "serving" else calculator.trained(model, given)


def html_of(texts: dict[str, str]) -> str:
    """The answer of Python as the page shows it."""
    answer = calculator.calculate(calculator.values(texts))
    return calculator.said(answer) + calculator.shown(answer)


def attempt(ask: Callable[[dict[str, str]], Any], texts: dict[str, str]) -> tuple[Any, str | None]:
    """What Python says, or why it refuses."""
    try:
        return ask(texts), None
    except ValueError as error:
        return None, str(error)


def test_the_page_computes_what_python_computes(page: Page, untyped: None) -> None:
    """500 random settings to ten digits, and of every twentieth every word."""
    r = random.Random(19)
    every = [drawn(r) for _ in range(SETTINGS)]
    kinds = {(texts["mode"], texts["source"], texts["device"]) for texts in every}
    assert len(kinds) == 4 * len(cost.ACCELERATORS)
    assert {texts["model"] for texts in every} == set(cost.MODELS)
    largest, refused = 0.0, 0
    for texts, theirs in zip(every, page.evaluate(ANSWER, [every, False]), strict=True):
        ours, error = attempt(numbers, texts)
        assert theirs.get("error") == error
        if ours is None:  # as of a way to share that a model has not
            refused += 1
            continue
        assert ours.keys() == theirs["numbers"].keys()
        for name, value in ours.items():
            assert theirs["numbers"][name] == pytest.approx(value, rel=1e-10, abs=0), (name, texts)
            largest = max(largest, value or 0)
    assert largest > 2**53  # where JavaScript's numbers are no longer exact
    assert refused < SETTINGS / 10
    whole = every[:: SETTINGS // WHOLE]
    for texts, theirs in zip(whole, page.evaluate(ANSWER, [whole, True]), strict=True):
        words, error = attempt(html_of, texts)
        assert (theirs["html"] or None, theirs.get("error")) == (words, error)


def test_a_wrong_formula_is_seen(page: Page) -> None:
    """What the comparison compares with is Python's, of other settings another number."""
    a, b = (calculator.starts() | {"context": n} for n in ("65536", "65537"))
    (theirs,) = page.evaluate(ANSWER, [[a], False])
    assert theirs["numbers"] != numbers(b)


def answered(page: Page) -> None:
    """Wait for the answer to what was set."""
    page.wait_for_selector(".calc-answer:not([aria-busy])")


def restart(page: Page) -> None:
    """Set everything as at the start."""
    page.get_by_role("button", name="Start again").click()
    answered(page)


def follow(page: Page, link: str) -> None:
    """Go where a link in the same page leads, and wait until the page has seen it."""
    page.evaluate(
        """link => location.hash === link ? 0 : new Promise(seen => {
          addEventListener("hashchange", seen, {once: true});
          location.hash = link;
        }).then(() => 0)""",
        link,
    )


def ask(page: Page, key: str, value: str) -> None:
    """Set one field as a person does, and wait for the answer."""
    control = page.locator(f"#calc-{key}")
    if control.evaluate("e => e.tagName") == "SELECT":
        control.select_option(value)
    else:
        control.fill(value)
    answered(page)


def error(page: Page, key: str) -> str:
    """What stands beside a field, if it is in sight and the field says that it is wrong."""
    if not page.locator(f"#calc-{key}-error").is_visible():
        return ""
    assert page.locator(f"#calc-{key}").get_attribute("aria-invalid") == "true"
    return page.locator(f"#calc-{key}-error").inner_text()


def verdict(page: Page) -> str:
    """The answer in a sentence."""
    return page.locator(".calc-verdict").inner_text()


def test_a_link_brings_its_settings(page: Page, file: Path) -> None:
    """To the page and within it, and what is set goes into the address."""
    asked = {"model": "gemma-3-27b", "context": "128k", "batch": "1", "devices": "1"}
    page.goto("about:blank")
    page.goto(file.as_uri() + calculator.address(**asked))
    assert verdict(page) == calculator.calculate(calculator.settings(**asked)).verdict
    assert page.evaluate("document.activeElement.className") == "calc-answer"
    ask(page, "batch", "2")
    assert page.url == file.as_uri() + calculator.address(**(asked | {"batch": "2"}))
    own = {"source": "own", "h": "16", "pattern": "window", "window": "100", "tied": "yes"}
    follow(page, calculator.address(**own))
    assert page.locator("#calc-tied").is_checked()
    assert page.locator("#calc-window").input_value() == "100"
    assert verdict(page) == calculator.calculate(calculator.settings(**own)).verdict
    page.reload()
    assert page.locator("#calc-window").input_value() == "100"
    restart(page)
    assert page.url.endswith("#calc=")
    assert verdict(page) == calculator.calculate(calculator.settings()).verdict
    follow(page, "#calc=device=H900&colour=red")
    assert "H900" in error(page, "device")
    assert "colour" in page.locator(".calc-told").inner_text()


WRONG = {
    "a letter": ({"context": "many"}, "context", "expected a whole number from 1 to"),
    "zero": ({"batch": "0"}, "batch", "got '0'"),
    "nothing": ({"devices": ""}, "devices", "expected a whole number"),
    "a share above all": ({"usable": "101"}, "usable", "from 1 to 100"),
    "a name": ({"model": "llama-3-7b"}, "model", "did you mean"),
    "no divisor": ({"source": "own", "h_kv": "7"}, "h_kv", "expected a divisor of h = 32, got 7"),
    "too many": ({"source": "own", "inner": "experts", "active": "65"}, "active", "expected at most the 64 experts"),
    "no JSON": ({"source": "config", "config": "{"}, "config", "expected JSON"),
    "a list": ({"source": "config", "config": "[1]"}, "config", "expected an object"),
    "no family": ({"source": "config", "config": "{}"}, "config", "model_type: expected one of bert"),
    "a field": (
        {"source": "config", "config": json.dumps(CONFIGS["llama-3-8b"] | {"num_hidden_layers": -1})},
        "config",
        "num_hidden_layers: expected an integer of at least 1, got -1",
    ),
    "a bad divisor": (
        {"source": "config", "config": json.dumps(CONFIGS["llama-3-8b"] | {"num_key_value_heads": 7})},
        "config",
        "h_kv: expected a divisor of h = 32, got 7",
    ),
}


@pytest.mark.parametrize(("asked", "key", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_stands_beside_its_field(asked: dict[str, str], key: str, message: str, page: Page) -> None:
    restart(page)
    for name, value in asked.items():
        ask(page, name, value)
    assert message in error(page, key)
    assert "Not calculated" in verdict(page)
    assert page.locator(".calc-shown table").count() == 0
    restart(page)
    assert "fit" in verdict(page)


@pytest.mark.parametrize("name", ["gemma-3-27b", "deepseek-v3", "qwen3-next-80b-a3b", "gpt-oss-20b"])
def test_a_configuration_is_read_in_the_page(name: str, page: Page) -> None:
    restart(page)
    ask(page, "source", "config")
    ask(page, "config", json.dumps(CONFIGS[name]))
    shown = page.locator(".calc-shown table").first.inner_text()
    assert f"{cost.model_parameters(cost.MODELS[name]):,}" in shown


def test_by_keyboard(page: Page) -> None:
    """From the first field on, every field that is asked for is reached; what is chosen is answered politely."""
    restart(page)
    page.locator("#calc-mode").focus()
    page.keyboard.press("End")  # the last choice: training
    answered(page)
    assert page.locator(".calc-title").inner_text().startswith("Training Llama 3 70B")
    reached = ["mode"]
    for _ in range(30):
        page.keyboard.press("Tab")
        key = page.evaluate("document.activeElement.dataset.key ?? document.activeElement.className")
        if key == "calc-copy":
            break
        if key != "calc-answer":
            reached.append(key)
    texts = calculator.starts() | {"mode": "training"}
    assert reached == [entry.key for entry in calculator.FIELDS if entry.asked(texts)]
    page.keyboard.press("Enter")
    page.wait_for_timeout(100)
    assert "link" in page.locator(".calc-told").inner_text()
    assert page.locator(".calc-said[role=status][aria-live=polite]").count() == 1


def test_every_screen_and_colour(running: Browser, file: Path) -> None:
    """Axe is content, with own numbers and an error in sight; nothing moves a phone's page sideways."""
    link = calculator.address(source="own", pattern="window", inner="experts", every="0")
    for theme, size in zip(THEMES, (SCREENS["wide"], PHONE), strict=True):
        with context(running, theme, size) as opened:
            page = opened.new_page()
            page.goto(file.as_uri() + link)
            page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
            assert page.locator("#calc-window").is_visible()
            assert [*axe(page), *sideways(page)] == []
            ask(page, "context", "?")
            assert axe(page) == []


def test_without_a_script_and_on_paper(running: Browser, file: Path) -> None:
    """The answer for the first settings; on paper no form."""
    for enabled, media in ((False, "screen"), (True, "print")):
        with context(running, "light", java_script_enabled=enabled) as opened:
            page = opened.new_page()
            page.goto(file.as_uri())
            page.emulate_media(media=media)  # type: ignore[arg-type]
            assert verdict(page) == calculator.calculate(calculator.settings()).verdict
            assert page.locator(".calc-shown table").count() > 5
            assert page.locator(".calc-fields").is_visible() == (media == "screen")
            assert page.locator(".calc-tools").is_visible() is False
            assert page.locator(".calc-still").is_visible() == (media == "screen")


# ------------------------------------------------------------------ in Python


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no settings", "expected `words"),
        ("Words <colour=red>", "colour: expected one of mode"),
        ("Words <context=never>", "context: expected a whole number"),
        ("Words <model=llama-3-7b>", "did you mean"),
    ],
)
def test_a_link_to_nothing_is_refused(content: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_link(content)


OWN = {  # published models in one's own numbers: only norms, biases and sinks are missing
    "llama-3-8b": {},
    "llama-2-7b": {"h_kv": 32, "d_ff": 11008, "vocab": 32000},
    "mixtral-8x7b": {"vocab": 32000, "inner": "experts", "experts": 8, "active": 2, "shared": 0},
    "mistral-7b": {"vocab": 32000, "pattern": "window", "window": 4096, "every": 0},
}


@pytest.mark.parametrize("name", OWN)
def test_own_numbers_make_a_published_model(name: str) -> None:
    own = calculator.own_model(calculator.settings(source="own", **OWN[name]))
    model = cost.MODELS[name]
    assert cost.model_parameters(own) == cost.model_parameters(model)
    assert cost.model_cache(own, 9999).needed == cost.model_cache(model, 9999).needed
    assert cost.model_forward(own, 9999).matmul_flops == cost.model_forward(model, 9999).matmul_flops


def test_training_fits_as_it_says() -> None:
    """The longest context and the largest batch fit, and one more does not."""
    asked = {"mode": "training", "model": "llama-3-8b", "context": 4096, "batch": 64, "devices": 16}
    found = calculator.calculate(calculator.settings(**asked)).numbers
    assert found["weights"] == -(-2 * found["parameters"] // 16)
    for key, name in (("context", "longest context"), ("batch", "largest batch")):
        most = found[name]
        assert calculator.calculate(calculator.settings(**(asked | {key: most}))).fits
        assert not calculator.calculate(calculator.settings(**(asked | {key: most + 1}))).fits


# ------------------------------------------------------------------ the built book


def test_the_worked_links_lead_to_what_the_page_says(running: Browser, html: Path) -> None:
    """Each link of the chapter, opened, shows the verdict of Python, and the chapter says it."""
    built = html / "chapters" / "calculator.html"
    links = [str(a["href"]) for a in BeautifulSoup(built.read_text("utf8"), "html.parser").select("a.calc-link")]
    assert len(links) == 4
    with context(running, "light") as opened:
        page = opened.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        for link in links:
            page.goto("about:blank")
            page.goto(built.as_uri() + link)
            given = dict(pair.split("=") for pair in link.removeprefix("#calc=").split("&"))
            assert verdict(page) == calculator.calculate(calculator.settings(**given)).verdict
        assert said == []
