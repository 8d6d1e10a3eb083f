"""Helpers of the browser tests: a server for the built pages, a browser, and what is looked at in a page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import axe_playwright_python
from playwright.sync_api import Browser, BrowserContext, Page, Response, Route
from support import FULL

WIDE = (1280, 900)
PHONE = (390, 844)
THEMES = ("light", "dark")
IMPACTS = ("serious", "critical")
SCREENS = {"wide": WIDE, "phone": PHONE}


@dataclass
class Visit:
    """What a page did while it was open."""

    page: Page
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    answers: list[Response] = field(default_factory=list)

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file that came."""
        return {answer.url: len(answer.body()) for answer in self.answers}

    @property
    def problems(self) -> list[str]:
        """One line for each thing that a page must not do."""
        return [
            *(f"console: {text}" for text in self.errors),
            *(f"request to another host: {url}" for url in self.foreign),
            *(f"failed request: {text}" for text in self.failed),
        ]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Keep the server's log out of the tests' output."""


@contextmanager
def serve(root: Path) -> Iterator[str]:
    """Serve `root` on a free port of this machine; gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def page_names(root: Path) -> list[str]:
    """Every page of a built book, as a path relative to its root; slides are none, and lie beside them."""
    special = {"genindex.html", "search.html", "prf-prf.html", "404.html"}
    pages = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.html"))
    return [page for page in pages if not page.startswith(("_", "slides/")) and page not in special]


@contextmanager
def context(running: Browser, theme: str, size: tuple[int, int] = WIDE, **options: Any) -> Iterator[BrowserContext]:
    """Open a browser context as a reader's who chose `theme` in the theme's switch."""
    width, height = size
    made = running.new_context(
        viewport={"width": width, "height": height},
        color_scheme=theme,  # type: ignore[arg-type]
        reduced_motion="reduce",  # a fade in progress has the contrast of neither of its ends
        **options,
    )
    choice = "; ".join(f"localStorage.setItem('{key}', '{theme}')" for key in ("mode", "theme"))
    made.add_init_script(f"try {{ {choice} }} catch {{}}")
    try:
        yield made
    finally:
        made.close()


@contextmanager
def visit(opened: BrowserContext, site: str, name: str) -> Iterator[Visit]:
    """Open page `name`, refuse requests to other hosts, wait for its fonts, record what happens."""
    page = opened.new_page()
    seen = Visit(page)
    host = urlsplit(site).netloc

    def guard(route: Route) -> None:
        address = urlsplit(route.request.url)
        if address.scheme in ("http", "https", "ws", "wss") and address.netloc != host:
            seen.foreign.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    page.route("**/*", guard)
    page.on("console", lambda m: seen.errors.append(f"{m.text} {m.location}") if m.type == "error" else None)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("response", lambda answer: seen.answers.append(answer))
    page.on("response", lambda r: seen.failed.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    try:
        page.goto(f"{site}/{name}", wait_until="load")
        page.wait_for_function("document.fonts.ready.then(() => true)")
        yield seen
    finally:
        page.close()


@cache
def _axe_source() -> str:
    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


# The rules of axe that a change of colours alone can break.
COLOURS = ["color-contrast", "link-in-text-block"]

# They take axe its minutes: it looks behind each piece of text for itself, and a page of code has thousands of
# coloured words. But the answer depends on few things, so one element of each kind is marked, the smallest: a kind
# has one tag, class, colours, size (large letters need less contrast), and the same paint and fading behind it. A
# kind in which axe found nothing is not looked at again, on whichever page. `make test-full` looks at every element.
_MARK = """
known => {
  const grounds = new Map([[null, ""]]);
  const ground = e => {
    if (!grounds.has(e)) {
      const s = getComputedStyle(e);
      const paint = [s.backgroundColor, s.backgroundImage, s.opacity, s.filter, s.mixBlendMode].join();
      const clear = paint === "rgba(0, 0, 0, 0),none,1,none,normal";
      grounds.set(e, ground(e.parentElement) + (clear ? "" : "|" + paint));
    }
    return grounds.get(e);
  };
  const kinds = new Map(), fine = new Set(known);
  for (const e of document.body.querySelectorAll("*")) {
    e.removeAttribute("data-kind");
    const text = [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
    if (!(text || e.matches("input, textarea, select")) || !e.checkVisibility()) continue;
    const s = getComputedStyle(e), outer = getComputedStyle(e.parentElement);
    const large = parseFloat(s.fontSize) >= (s.fontWeight >= 700 ? 18.66 : 24);
    const font = [s.color, large, s.fontWeight, s.textShadow, s.textDecoration, outer.color];
    const kind = [e.tagName, e.className, ...font, ground(e)].join();
    if (fine.has(kind)) continue;
    const size = e.querySelectorAll("*").length;
    if (!kinds.has(kind) || size < kinds.get(kind).size) kinds.set(kind, {size, e});
  }
  kinds.forEach(({e}) => e.setAttribute("data-kind", ""));
  return [...kinds.keys()];
}
"""
_FINE: set[str] = set()


def axe(
    page: Page,
    colours: bool = True,
    others: bool = True,
    every: bool = FULL,
    impacts: tuple[str, ...] = IMPACTS,
) -> list[str]:
    """Findings of axe, serious and critical unless said otherwise, of its rules of colours and of the others.

    Colours are looked at in one element of each kind that was not fine before, or in `every` element.
    """
    page.evaluate(_axe_source())
    found = []
    kinds = page.evaluate(_MARK, [*_FINE]) if colours and not every else []
    if colours and (every or kinds):
        where = "document" if every else "{include: [['[data-kind]']]}"
        found += _violations(page, where, {"runOnly": {"type": "rule", "values": COLOURS}})
        if not found:
            _FINE.update(kinds)
    if others:
        found += _violations(page, "document", {"rules": {rule: {"enabled": False} for rule in COLOURS}})
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:200]} — {node['failureSummary'][-200:]}"
        for rule in found
        if rule["impact"] in impacts
        for node in rule["nodes"]
    ]


def _violations(page: Page, where: str, options: dict[str, Any]) -> list[Any]:
    # Its preload fetches every sheet again and looks for the theme's `@import "../basic.css"` in the wrong place:
    # a failed request that the page itself does not make.
    options = {"resultTypes": ["violations"], "preload": False, **options}
    found: list[Any] = page.evaluate(f"options => axe.run({where}, options).then(found => found.violations)", options)
    return found


# Raw TeX that a reader would see: outside scripts, code and formulas.
RAW = r"""
() => {
  const skip = "script, style, pre, code, noscript, template, textarea, math";
  const main = document.querySelector("main");
  if (!main) return [];
  const walker = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.parentElement.closest(skip)) continue;
    if (/\\\(|\\\)|\\\[|\\\]|\$/.test(node.textContent)) found.push(node.textContent.trim().slice(0, 120));
  }
  return found;
}
"""


def mathematics(page: Page) -> list[str]:
    """What is wrong with the mathematics of a page."""
    unset = page.eval_on_selector_all(
        "main .math",
        "all => all.filter(e => !e.querySelector('math *')).map(e => e.textContent.slice(0, 120))",
    )
    wrong = page.eval_on_selector_all(
        "math:has(merror), .math math:not(:has(annotation))", "all => all.map(e => e.textContent)"
    )
    return [
        *(f"not typeset: {text}" for text in unset),
        *(f"error: {text}" for text in wrong),
        *(f"raw TeX: {text}" for text in page.evaluate(RAW)),
    ]


def sideways(page: Page) -> list[str]:
    """What makes the page scroll sideways; empty when it does not."""
    return page.evaluate(
        """() => {
          const root = document.scrollingElement;
          // The theme lets these scroll too: a page that moves inside them is no better.
          const names = ".bd-main, .bd-content, .bd-article-container, .bd-article";
          const boxes = [root, ...document.querySelectorAll(names)]
            .filter(e => e.scrollWidth > e.clientWidth);
          if (boxes.length === 0) return [];
          const beyond = e => e.getBoundingClientRect().right > root.clientWidth + 1;
          const parts = [...document.querySelectorAll("body *")].filter(beyond).slice(0, 8);
          return [
            ...boxes.map(e => `${e.className || e.tagName}: ${e.scrollWidth} > ${e.clientWidth}`),
            ...parts.map(e => e.outerHTML.slice(0, 120)),
          ];
        }"""
    )
