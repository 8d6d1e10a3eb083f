"""The growth chart: what its script computes is what the library computes, and anyone can use it."""

import json
import math
import os
import re
import shutil

import numpy as np
import pytest
import sympy
from support import Html

from attnlib import cost
from attnlib.book import widgets

CURVES = ("attention", "core", "recurrent", "feed_forward")


def printed_formulas(html):
    """Return the formulas that stand in the script, as Python functions of n, d and h."""
    found = re.findall(r"^(\w+): \(n, d, h\) => (.+?),?$", html, re.MULTILINE)
    assert all(re.fullmatch(r"[\d\s+*/(),ndh-]+", e.replace("Math.pow", "")) for _, e in found)
    return {name: eval(f"lambda n, d, h: {e.replace('Math.pow', 'pow')}", {"pow": math.pow}) for name, e in found}


def sizes(count, seed=0):
    rng = np.random.default_rng(seed)
    return [tuple(int(rng.choice(c)) for c in (widgets.LENGTHS, widgets.WIDTHS, widgets.HEADS)) for _ in range(count)]


def expected(n, d, h):
    """The costs from the library with plain integers, the same as the chapters use."""
    layer = cost.multihead_attention(n, d, h)
    core = cost.attention(n, d // h, h=h)
    return {
        "attention": layer.flops,
        "core": core.flops,
        "recurrent": cost.rnn(n, d).matmul_flops,
        "feed_forward": cost.feed_forward(n, d).flops,
        "softmax": core["softmax"].flops,
    }


@pytest.fixture(scope="module")
def html():
    return widgets.growth_chart()._repr_html_()


def test_the_formulas_in_the_script_are_the_library(html):
    formulas = printed_formulas(html)
    assert set(formulas) == set(widgets.formulas())
    for n, d, h in sizes(50):
        for name, value in expected(n, d, h).items():
            assert formulas[name](n, d, h) == pytest.approx(value, rel=1e-12)


def test_costs_meet_where_the_script_says(html):
    formulas = printed_formulas(html)
    for _, d, h in sizes(50, seed=1):
        n = formulas["recurrent_n"](None, d, h)
        assert formulas["core"](n, d, h) == pytest.approx(formulas["recurrent"](n, d, h))
        n = formulas["projections_n"](None, d, h)
        assert formulas["attention"](n, d, h) == pytest.approx(2 * formulas["core"](n, d, h))
        assert formulas["recurrent_matmul_n"](None, d, h) == d
        assert formulas["projections_matmul_n"](None, d, h) == 2 * d


def test_heads_change_the_softmax_alone():
    h = sympy.Symbol("h", positive=True)
    f = widgets.formulas()
    for curve in ("attention", "core"):
        assert f[curve].diff(h) == f["softmax"].diff(h) != 0
    for curve in ("recurrent", "feed_forward"):
        assert h not in f[curve].free_symbols


def test_every_curve_stays_inside_the_picture_at_the_ends_of_the_sliders():
    for n in (widgets.LENGTHS[0], widgets.LENGTHS[-1]):
        for d in (widgets.WIDTHS[0], widgets.WIDTHS[-1]):
            for h in (widgets.HEADS[0], widgets.HEADS[-1]):
                for curve in CURVES:
                    assert widgets.LOWEST <= expected(n, d, h)[curve] <= widgets.HIGHEST


@pytest.mark.parametrize(("d", "h", "inside"), [(64, 32, False), (64, 1, False), (512, 8, True), (16384, 1, True)])
def test_the_ring_is_there_only_within_the_axes(d, h, inside):
    page = Html(widgets.growth_chart(d=d, h=h)._repr_html_())
    ring = [a for _, a in page.tags if a.get("class") in ("crossing", "ring")]
    assert len(ring) == 2
    assert all(("data-beyond" not in a) == inside for a in ring)
    n = 4 * d * d / (4 * d + 5 * h)  # 4 n² d + 5 h n² = 4 n d²
    assert (widgets.LENGTHS[0] <= n <= widgets.LENGTHS[-1]) == inside


def test_heads_divide_every_width():
    assert all(d % h == 0 for d in widgets.WIDTHS for h in widgets.HEADS)
    assert {512, 768, 1024, 4096, 12288} <= set(widgets.WIDTHS)
    assert {512, 1536, 8192} <= set(widgets.LENGTHS)


def test_html_is_well_formed_and_reaches_for_no_host(html):
    page = Html(html)
    assert "http" not in html
    assert "//" not in html.replace("// ", "")  # comments in the script have a space
    assert not [a for _, a in page.tags if {"src", "href", "onclick"} & set(a)]


def test_every_input_has_a_label_and_starts_disabled(html):
    page = Html(html)
    labels = {a["for"] for a in page.all("label")}
    inputs = page.all("input")
    assert [a["data-size"] for a in inputs] == ["n", "d", "h"]
    assert {a["id"] for a in inputs} == labels
    assert all(a["type"] == "range" and "disabled" in a for a in inputs)  # the script enables them
    assert [a["aria-valuetext"] for a in inputs] == ["1,024", "512", "8"]


def test_the_picture_has_a_title_and_a_description(html):
    page = Html(html)
    (picture,) = (a for a in page.all("svg") if a.get("role") == "img")
    ids = {a["id"] for tag in ("title", "desc") for a in page.all(tag)}
    assert set(picture["aria-labelledby"].split()) == ids
    assert all(a.get("role") == "img" or a.get("aria-hidden") == "true" for a in page.all("svg"))
    assert "4.34 GFLOP" in "".join(page.text["desc"])


def test_ids_differ_between_charts_and_references_stay_inside():
    charts = [Html(widgets.growth_chart()._repr_html_()) for _ in range(2)]
    ids = [{a["id"] for _, a in page.tags if "id" in a} for page in charts]
    assert not ids[0] & ids[1]
    for page, own in zip(charts, ids, strict=True):
        assert len(own) == sum("id" in a for _, a in page.tags)
        references = {r for _, a in page.tags for key in ("for", "aria-labelledby") for r in a.get(key, "").split()}
        assert references <= own


def test_the_chart_shows_the_same_each_time_it_is_shown():
    chart = widgets.growth_chart()
    assert chart._repr_html_() == chart._repr_html_()
    assert repr(chart) == "GrowthChart(n=1024, d=512, h=8)"


def test_curves_are_told_apart_by_dash_and_by_name(html):
    css = "".join(Html(html).text["style"])
    dashes = {curve: re.search(rf"\.{curve} {{[^}}]*--gc-dash: ([^;]+);", css).group(1) for curve in CURVES}
    assert len(set(dashes.values())) == len(CURVES)
    names = re.findall(r'<text class="name (\w+)"[^>]*>([^<]+)<', html)
    assert names == list(widgets.NAMES.items())
    assert tuple(widgets.NAMES) == CURVES
    assert not re.search(r"\b(transition|animation)\b", css)


def luminance(colour):
    digits = colour.lstrip("#")
    digits = "".join(2 * c for c in digits) if len(digits) == 3 else digits
    rgb = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    return np.dot(
        [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb], [0.2126, 0.7152, 0.0722]
    )


def test_names_and_curves_stand_out_in_light_and_dark(html):
    css = "".join(Html(html).text["style"])
    palettes = [dict(re.findall(r"(--gc-[\w-]+): (#\w+)", block)) for block in re.findall(r"{([^{}]*)}", css)]
    palettes = [p for p in palettes if "--gc-ground" in p]
    assert len(palettes) == 3  # light, dark by the page's switch, dark by the system's setting
    assert palettes[1] == palettes[2]
    for p in palettes:
        assert len(p) == 8
        for name, colour in p.items():
            if name not in ("--gc-ground", "--gc-grid"):
                darker, lighter = sorted((luminance(colour), luminance(p["--gc-ground"])))
                assert (lighter + 0.05) / (darker + 0.05) >= 4.5, name


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (512, "512 FLOP"),
        (1000, "1.00 kFLOP"),
        (41943040, "41.9 MFLOP"),
        (3e15, "3,000 TFLOP"),
        (4.34e9, "4.34 GFLOP"),
    ],
)
def test_flops_are_written_with_a_unit(x, text):
    assert widgets._flops(x) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"n": 100}, "n: expected one of 64, 96, .*, got 100"), ({"d": 63}, "d: .*got 63"), ({"h": 12}, "h: .*got 12")],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        widgets.growth_chart(**arguments)


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium: CI has to install it")
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as p:
        chromium = p.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"],
        )
        yield chromium
        chromium.close()


def shown(page):
    """Return every number, sentence and shape of the chart."""
    return page.evaluate(
        """() => [...document.querySelectorAll("output, desc")].map(e => e.textContent).concat(
            [...document.querySelectorAll(".curve, .now")].map(e => e.getAttribute("d")),
            [...document.querySelectorAll("circle")].flatMap(e => [e.getAttribute("cx"), e.getAttribute("cy")]),
            [...document.querySelectorAll("text.name")].map(e => e.getAttribute("y")),
            [...document.querySelectorAll(".crossing, .ring")].map(e => `${e.hasAttribute("data-beyond")}`))"""
    )


def alike(a, b):
    """The same words, and numbers that differ by no more than a rounding in the last place drawn."""
    number = re.compile(r"-?\d+\.\d\b")
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        if x.startswith("M") or number.fullmatch(x):
            assert number.sub("#", x) == number.sub("#", y)
            np.testing.assert_allclose(
                [float(v) for v in number.findall(x)], [float(v) for v in number.findall(y)], atol=0.11
            )
        else:
            assert x == y


@pytest.mark.parametrize(
    "size", [{}, {"n": 2**20, "d": 64, "h": 32}, {"n": 64, "d": 16384, "h": 1}, {"n": 768, "d": 768}]
)
def test_the_script_draws_what_python_draws(browser, size):
    html = widgets.growth_chart(**size)._repr_html_()
    still = browser.new_context(java_script_enabled=False).new_page()
    still.set_content(f"<!doctype html>{html}")
    live = browser.new_page()
    live.set_content(f"<!doctype html>{html}")
    assert live.locator("input:enabled").count() == 3
    assert still.locator("input:enabled").count() == 0
    assert still.get_by_text("The sliders need JavaScript").is_visible()
    # What does not run a script cannot be asked by one: read the page's own markup.
    page = browser.new_page()
    page.set_content(f"<!doctype html>{re.sub('<script>.*</script>', '', html, flags=re.DOTALL)}")
    alike(shown(page), shown(live))
    for p in (still, live, page):
        p.close()


def test_keys_move_a_slider_and_everything_follows(browser):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    errors = []
    page.on("pageerror", lambda e: errors.append(e))
    page.on("console", lambda m: errors.append(m.text))
    page.set_content(f"<!doctype html>{widgets.growth_chart()._repr_html_()}")
    before = shown(page)
    page.get_by_label("Width d").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_label("Width d").get_attribute("aria-valuetext") == "768"
    page.get_by_label("Length n").focus()
    page.keyboard.press("Home")
    page.keyboard.press("PageUp")
    n = widgets.LENGTHS[int(page.get_by_label("Length n").input_value())]
    assert n > widgets.LENGTHS[0]
    after = shown(page)
    assert all(a != b for a, b in zip(before, after, strict=True) if a.startswith("M"))
    costs = expected(n, 768, 8)
    assert [page.locator(f"output.{c}").text_content() for c in CURVES] == [widgets._flops(costs[c]) for c in CURVES]
    cheaper = "the attention core is cheaper" if costs["core"] < costs["recurrent"] else "the recurrent layer is"
    sentence = page.locator("output.verdict").text_content()
    assert " = " not in sentence  # a line must not end there
    sentence = sentence.replace("\N{NO-BREAK SPACE}", " ")
    assert f"At n = {n:,}, d = 768 and h = 8, {cheaper}" in sentence
    assert "n = d = 768)" in sentence
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert errors == []
    page.close()


def test_two_charts_on_a_page_do_not_touch_each_other(browser):
    page = browser.new_page()
    page.set_content(f"<!doctype html>{widgets.growth_chart()._repr_html_()}{widgets.growth_chart()._repr_html_()}")
    first, second = page.locator(".growth-chart").nth(0), page.locator(".growth-chart").nth(1)
    second.get_by_label("Length n").press("End")
    assert "n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}1,024," in first.locator("output.verdict").text_content()
    assert "n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}1,048,576," in second.locator("output.verdict").text_content()
    page.close()


def test_the_browser_computes_what_the_library_computes(browser, html):
    page = browser.new_page()
    body = re.search(r"\{\n(attention: .*)\n\}\);</script>", html, re.DOTALL).group(1)
    points = sizes(50, seed=2)
    values = page.evaluate(
        f"points => {{ const f = {{{body}}}; return points.map(p => Object.fromEntries("
        "Object.entries(f).map(([name, fn]) => [name, fn(...p)]))); }",
        json.loads(json.dumps(points)),
    )
    for point, got in zip(points, values, strict=True):
        for name, value in expected(*point).items():
            assert got[name] == pytest.approx(value, rel=1e-12)
    page.close()
