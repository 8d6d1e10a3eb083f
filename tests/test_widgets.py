"""The growth chart: what its script computes is what the library computes, and anyone can use it."""

import json
import math
import os
import re
import shutil

import numpy as np
import pytest
from support import Html

from attnlib import cost
from attnlib.book import widgets

CURVES = ("projections", "core", "total")


def printed_formulas(html):
    """Return the formulas that stand in the script, as Python functions of n and d."""
    found = re.findall(r"^(\w+): \(n, d\) => (.+?),?$", html, re.MULTILINE)
    assert all(re.fullmatch(r"[\d\s+*/(),nd-]+", e.replace("Math.pow", "")) for _, e in found)
    return {name: eval(f"lambda n, d: {e.replace('Math.pow', 'pow')}", {"pow": math.pow}) for name, e in found}


def sizes(count, seed=0):
    rng = np.random.default_rng(seed)
    return [tuple(int(rng.choice(c)) for c in (widgets.LENGTHS, widgets.WIDTHS)) for _ in range(count)]


def expected(n, d):
    """The costs from the library with plain integers, the same as the chapters use."""
    layer, twice = cost.multihead_attention(n, d, 8), cost.multihead_attention(2 * n, d, 8)
    core = cost.attention(n, d // 8, h=8).matmul_flops
    return {
        "projections": layer.matmul_flops - core,
        "core": core,
        "total": layer.matmul_flops,
        "share": core / layer.matmul_flops,
        "doubled": twice.matmul_flops / layer.matmul_flops,
    }


@pytest.fixture(scope="module")
def html():
    return widgets.growth_chart()._repr_html_()


def test_the_formulas_in_the_script_are_the_library(html):
    formulas = printed_formulas(html)
    assert set(formulas) == set(widgets.formulas())
    for n, d in sizes(50):
        for name, value in expected(n, d).items():
            assert formulas[name](n, d) == pytest.approx(value, rel=1e-12)


def test_the_ring_is_where_core_and_projections_cost_the_same(html):
    formulas = printed_formulas(html)
    for d in widgets.WIDTHS:
        n = formulas["equal_n"](None, d)
        assert n == 2 * d
        assert formulas["core"](n, d) == formulas["projections"](n, d)
        assert widgets.LENGTHS[0] < n < widgets.LENGTHS[-1]  # so that it is always in the picture


def test_regions_meet_at_the_ring_and_are_named_where_there_is_room():
    for d, names in ((64, ["core"]), (1024, ["projections", "core"]), (16384, ["projections", "core"])):
        page = Html(widgets.growth_chart(d=d)._repr_html_())
        left, right = (a for a in page.all("rect") if "region" in a["class"])
        (ring,) = (a for a in page.all("circle") if a["class"] == "crossing")
        assert float(left["x"]) + float(left["width"]) == pytest.approx(float(ring["cx"]), abs=0.11)
        assert right["x"] == ring["cx"]
        named = [a for a in page.all("text") if "where" in a.get("class", "")]
        assert [a["class"].split()[1] for a in named if "data-narrow" not in a] == names


def test_formulas_are_written_as_the_book_writes_them(html):
    assert widgets._written() == {"projections_formula": "8nd²", "core_formula": "4n²d"}
    assert "8nd²" in html
    assert 'core<tspan> 4<tspan class="it">n</tspan>²<tspan class="it">d</tspan><' in html
    assert re.search(r'projections<tspan [^>]*>8<tspan class="it">nd</tspan>²<', html)
    assert 'length <tspan class="it">n</tspan><' in html


def test_every_curve_stays_inside_the_picture_at_the_ends_of_the_sliders():
    for n in (widgets.LENGTHS[0], widgets.LENGTHS[-1]):
        for d in (widgets.WIDTHS[0], widgets.WIDTHS[-1]):
            for curve in CURVES:
                assert widgets.LOWEST <= expected(n, d)[curve] <= widgets.HIGHEST


def test_sizes_that_chapters_and_models_have_are_among_the_choices():
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
    assert [a["data-size"] for a in inputs] == ["n", "d"]
    assert {a["id"] for a in inputs} == labels
    assert all(a["type"] == "range" and "disabled" in a for a in inputs)  # the script enables them
    assert [a["aria-valuetext"] for a in inputs] == ["4,096", "1,024"]


def test_the_picture_has_a_title_and_a_description(html):
    page = Html(html)
    (picture,) = (a for a in page.all("svg") if a.get("role") == "img")
    assert picture["aria-labelledby"] in {a["id"] for a in page.all("title")}
    assert picture["aria-describedby"] in {a["id"] for a in page.all("desc")}
    said = "".join(page.text["desc"])
    assert "n = 2d = 2,048" in said
    assert "core 68.7 GFLOP, total 103 GFLOP, of which the core is 67 %" in said
    assert "{" not in said


def test_ids_differ_between_charts_and_references_stay_inside():
    charts = [Html(widgets.growth_chart()._repr_html_()) for _ in range(2)]
    ids = [{a["id"] for _, a in page.tags if "id" in a} for page in charts]
    assert not ids[0] & ids[1]
    for page, own in zip(charts, ids, strict=True):
        assert len(own) == sum("id" in a for _, a in page.tags)
        keys = ("for", "aria-labelledby", "aria-describedby")
        references = {r for _, a in page.tags for key in keys for r in a.get(key, "").split()}
        assert references <= own


def test_the_chart_shows_the_same_each_time_it_is_shown():
    chart = widgets.growth_chart()
    assert chart._repr_html_() == chart._repr_html_()
    assert repr(chart) == "GrowthChart(n=4096, d=1024)"


def test_curves_are_told_apart_by_dash_and_by_name(html):
    css = "".join(Html(html).text["style"])
    dashes = {curve: re.search(rf"\.{curve} {{[^}}]*--gc-dash: ([^;]+);", css).group(1) for curve in CURVES}
    assert len(set(dashes.values())) == len(CURVES)
    names = re.findall(r'<text class="name (\w+)"[^>]*>(\w+)', html)
    assert names == [(curve, curve) for curve in CURVES]
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
        assert len(p) == 6
        for name, colour in p.items():
            if name not in ("--gc-ground", "--gc-grid"):
                # The name of a region stands on the region's tint.
                ground, tint = luminance(p["--gc-ground"]), luminance(colour)
                ground += 0.09 * (tint - ground)
                darker, lighter = sorted((tint, ground))
                assert (lighter + 0.05) / (darker + 0.05) >= 4.5, name


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (512, "512 FLOP"),
        (1000, "1.00 kFLOP"),
        (41943040, "41.9 MFLOP"),
        (999.4e9, "999 GFLOP"),
        (999.6e9, "1.00 TFLOP"),
        (9.996e9, "10.0 GFLOP"),
        (4.504e15, "4.50 PFLOP"),
        (2.1e18, "2.10 EFLOP"),
    ],
)
def test_flops_are_written_with_a_unit(x, text):
    assert widgets._flops(x) == text


@pytest.mark.parametrize(
    ("part", "text"), [(0.0019, "under 1 %"), (0.01, "1 %"), (2 / 3, "67 %"), (0.99, "99 %"), (0.9999, "over 99 %")]
)
def test_a_small_share_is_not_nothing(part, text):
    assert widgets._share(part) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"n": 100}, "n: expected one of 64, 96, .*, got 100"), ({"d": 63}, "d: .*got 63")],
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
            [...document.querySelectorAll("rect, .where tspan, .meets")].map(e => e.getAttribute("x")),
            [...document.querySelectorAll("rect")].map(e => e.getAttribute("width")),
            [...document.querySelectorAll("text.name, .meets")].map(e => e.getAttribute("y")),
            [...document.querySelectorAll(".where")].map(e => `${e.hasAttribute("data-narrow")}`))"""
    )


def alike(a, b):
    """The same words, and numbers that differ by no more than a rounding in the last place drawn."""
    number = re.compile(r"-?\d+(?:\.\d)?\b")
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
    "size", [{}, {"n": 2**20, "d": 64}, {"n": 64, "d": 16384}, {"n": 768, "d": 768}, {"n": 2**20, "d": 16384}]
)
def test_the_script_draws_what_python_draws(browser, size):
    html = widgets.growth_chart(**size)._repr_html_()
    still = browser.new_context(java_script_enabled=False).new_page()
    still.set_content(f"<!doctype html>{html}")
    live = browser.new_page()
    live.set_content(f"<!doctype html>{html}")
    assert live.locator("input:enabled").count() == 2
    assert still.locator("input:enabled").count() == 0
    assert still.get_by_text("The sliders need JavaScript").is_visible()
    assert not still.get_by_text("drag or click").is_visible()
    assert live.get_by_text("drag or click").is_visible()
    # What does not run a script cannot be asked by one: read the page's own markup.
    page = browser.new_page()
    page.set_content(f"<!doctype html>{re.sub('<script>.*</script>', '', html, flags=re.DOTALL)}")
    alike(shown(page), shown(live))
    for p in (still, live, page):
        p.close()


def test_numbers_are_written_alike_at_every_position_of_the_sliders(browser, html):
    page = browser.new_page()
    page.set_content(f"<!doctype html>{html}")
    written = page.evaluate(
        """() => {
          const [n, d] = document.querySelectorAll("input"), found = [];
          for (n.value = 0; ; n.value = +n.value + 1) {
            for (d.value = 0; ; d.value = +d.value + 1) {
              d.dispatchEvent(new Event("input"));
              found.push(document.querySelector(".verdict").textContent);
              if (d.value === d.max) break;
            }
            if (n.value === n.max) break;
          }
          return found.map(text => text.replace(/\\s+/g, " "));
        }"""
    )
    wanted = []
    for n in widgets.LENGTHS:
        for d in widgets.WIDTHS:
            now = expected(n, d)
            assert 2 <= now["doubled"] <= 4
            a, b, c = (widgets._flops(now[curve]) for curve in CURVES)
            wanted.append(f"core {widgets._share(now['share'])}, ×{now['doubled']:.1f} at 2n {a} + {b} = {c}")
    assert written == wanted
    page.close()


def test_keys_move_a_slider_and_everything_follows(browser):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    errors = []
    page.on("pageerror", lambda e: errors.append(e))
    page.on("console", lambda m: errors.append(m.text))
    page.set_content(f"<!doctype html>{widgets.growth_chart()._repr_html_()}")
    before = shown(page)
    page.get_by_label("Width d").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_label("Width d").get_attribute("aria-valuetext") == "1,536"
    page.get_by_label("Length n").focus()
    page.keyboard.press("Home")
    page.keyboard.press("PageUp")
    n = widgets.LENGTHS[int(page.get_by_label("Length n").input_value())]
    assert n > widgets.LENGTHS[0]
    after = shown(page)
    assert all(a != b for a, b in zip(before, after, strict=True) if a.startswith("M"))
    costs = expected(n, 1536)
    assert [page.locator(f".cost.{c}").text_content() for c in CURVES] == [widgets._flops(costs[c]) for c in CURVES]
    assert f"core {widgets._share(costs['share'])}, ×" in page.locator("output.verdict").text_content()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert errors == []
    page.close()


def test_dragging_on_the_plot_sets_the_length(browser):
    page = browser.new_page(viewport={"width": 800, "height": 800})
    page.set_content(f"<!doctype html>{widgets.growth_chart()._repr_html_()}")
    frame = page.locator("svg.picture").bounding_box()

    def x(n):
        return frame["x"] + frame["width"] * widgets._x(n) / widgets.SIZE[0]

    length = page.get_by_label("Length n")
    page.mouse.click(x(1024), frame["y"] + 60)
    assert length.get_attribute("aria-valuetext") == "1,024"
    page.mouse.move(x(200_000), frame["y"] + 60)  # with no button pressed nothing moves
    assert length.get_attribute("aria-valuetext") == "1,024"
    page.mouse.down()
    page.mouse.move(x(8192), frame["y"] + 90)
    assert length.get_attribute("aria-valuetext") == "8,192"
    page.mouse.move(5, 5)  # beyond the plot: its end
    assert length.get_attribute("aria-valuetext") == "64"
    page.mouse.up()
    page.mouse.move(x(8192), frame["y"] + 90)
    assert length.get_attribute("aria-valuetext") == "64"
    assert widgets._flops(expected(64, 1024)["core"]) in page.locator(".verdict").text_content()
    page.close()


@pytest.mark.parametrize(("width", "height"), [(700, 320), (390, 360)])
def test_sliders_and_verdict_are_seen_with_the_plot(browser, width, height):
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.set_content(f"<!doctype html><style>body {{ margin: 8px }}</style>{widgets.growth_chart()._repr_html_()}")
    assert page.locator(".growth-chart").bounding_box()["height"] <= height
    page.close()


def test_two_charts_on_a_page_do_not_touch_each_other(browser):
    page = browser.new_page()
    page.set_content(f"<!doctype html>{widgets.growth_chart()._repr_html_()}{widgets.growth_chart()._repr_html_()}")
    first, second = page.locator(".growth-chart").nth(0), page.locator(".growth-chart").nth(1)
    second.get_by_label("Length n").press("End")
    assert first.locator(".numbers").text_content() == "core 67 %, ×3.3 at 2n"
    assert second.locator(".numbers").text_content() == "core over 99 %, ×4.0 at 2n"
    page.close()


def test_the_browser_computes_what_the_library_computes(browser, html):
    page = browser.new_page()
    body = re.search(r"\{\n(projections: .*)\n\}\);</script>", html, re.DOTALL).group(1)
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
