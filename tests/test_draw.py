"""Drawings: well-formed SVG that says what it shows, in the colours of the page, and letters for phones."""

import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import pytest

mpl.use("agg")

from attnlib.book import draw, plot

SVG = "{http://www.w3.org/2000/svg}"


def parsed(picture):
    return ET.fromstring(picture.svg)


def every_mark():
    return [
        draw.box(10, 10, 80, 30, "*q* & k", below="(*n*, *d*)", tone="teal"),
        draw.box(10, 60, 80, 30, dashed=True, filled=False),
        draw.cells(100, 10, 8, [[1, 0], [0.5, None]], tone="violet", grid=False),
        draw.dots([(1, 2), (3, 4)], hollow=True, tone="right"),
        draw.line([(0, 0), (5, 5), (5, 0)], closed=True, filled=True, opacity=0.5, dashed=True, tone="wrong"),
        draw.arrow((0, 0), (30, 40), bend=6, tone="ochre"),
        draw.brace((200, 10), (200, 50), "*m*"),
        draw.label(5, 5, "a < b", anchor="start", bold=True, tone="muted"),
    ]


def test_a_picture_is_svg_with_title_and_description():
    root = parsed(draw.picture(100, *every_mark(), title="All & every", description="Boxes <and> dots."))
    assert root.attrib["viewBox"] == "0 0 400 100"
    assert (root[0].tag, root[0].text) == (f"{SVG}title", "All & every")
    assert (root[1].tag, root[1].text) == (f"{SVG}desc", "Boxes <and> dots.")
    assert root.attrib["aria-labelledby"] == root[0].attrib["id"]
    assert root.attrib["aria-describedby"] == root[1].attrib["id"]
    words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert words == ["q & k", "(n, d)", "m", "a < b"]
    assert [span.text for span in root.iter(f"{SVG}tspan")] == ["q", "n", "d", "m"]


def test_colours_are_variables_of_the_sheet():
    sheet = (draw.__file__.rsplit("/attnlib/", 1)[0]) + "/theme/static/book.css"
    with open(sheet, encoding="utf8") as file:
        css = file.read()
    svg = draw.picture(100, *every_mark(), title="t", description="d").svg
    assert "#" not in svg.replace(", #", "")  # only behind a variable, for pages that have none
    for tone in draw.TONES.values():
        if tone != "currentColor":
            name, fallback = tone.removeprefix("var(").removesuffix(")").split(", ")
            assert f"{name}: {fallback};" in css


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: draw.picture(0, title="t", description="d"), "height: expected a positive number, got 0"),
        (lambda: draw.picture(9, title=" ", description="d"), "title: expected a sentence"),
        (lambda: draw.picture(9, title="t", description=""), "description: expected a sentence"),
        (lambda: draw.label(0, 0, "x", anchor="left"), "anchor: expected 'start', 'middle' or 'end', got 'left'"),
        (lambda: draw.label(0, 0, "x", size=9), "size: expected at least 11, which a phone"),
        (lambda: draw.box(0, 0, 1, 1, tone="red"), "tone: expected one of ink, muted, .*, got 'red'"),
        (lambda: draw.cells(0, 0, 1, [[2]]), "values: expected numbers from 0 to 1, got 2"),
        (lambda: draw.arrow((1, 1), (1, 1)), r"end: expected another point than the start, got \(1, 1\)"),
        (lambda: draw.brace((1, 1), (1, 1), "x"), r"end: expected another point than the start, got \(1, 1\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong, message):
    with pytest.raises(ValueError, match=f"draw.*: {message}"):
        wrong()


def test_coordinates_are_short_and_never_minus_zero():
    assert draw.line([(-0.001, 1 / 3), (1e4, -2.5)]).startswith('<path d="M0 0.33L10000 -2.5"')


def figure(slope=1):
    fig, ax = plot.figure(height=2.4)
    for i in range(len(plot.COLOURS)):
        ax.plot([1, 2], [i, slope * (i + 1)], label=f"line {i}")
    ax.set(xlabel="length n", ylabel="operations")
    plot.label_lines(ax)
    return fig


def test_a_figure_is_svg_with_text_as_text():
    before = plot.plt.get_fignums()  # another test's
    root = parsed(plot.show(figure(), "Lines", "They rise."))
    assert (root[0].text, root[1].text) == ("Lines", "They rise.")
    words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert {"length n", "operations", "line 0", "line 6"} <= set(words)
    assert not list(root.iter(f"{SVG}image"))
    assert not list(root.iter(f"{SVG}style"))  # it would be one of the whole page
    assert plot.plt.get_fignums() == before  # or the notebook would show it a second time


def test_a_figure_has_no_colour_of_its_own():
    svg = plot.show(figure(), "Lines", "They rise.").svg
    bare = [c for c in re.findall(r"(?<!, )#[0-9a-f]{6}\b", svg) if not c.startswith("#m")]
    assert bare == []
    with open(draw.__file__.rsplit("/attnlib/", 1)[0] + "/theme/static/book.css", encoding="utf8") as file:
        css = file.read()
    dark = css[css.index('html[data-theme="dark"] {') :]
    variables = dict(re.findall(r"(--figure-[\w]+): (#[0-9a-f]{6});", dark[: dark.index("}")]))
    assert set(re.findall(r"var\((--figure-[\w]+)", svg)) <= variables.keys()
    ground = variables.pop("--figure-ground")
    for name, colour in variables.items():
        assert plot.contrast(colour, ground) >= (1.3 if name == "--figure-grid" else 4.5), name


def test_two_figures_of_a_page_share_no_name_and_a_build_repeats():
    one, same, other = (plot.show(figure(slope), f"Lines {slope}", "They rise.") for slope in (1, 1, 3))
    assert one.svg == same.svg
    names = [{e.attrib["id"] for e in parsed(p).iter() if "id" in e.attrib} for p in (one, other)]
    assert not names[0] & names[1]
    for picture, ids in zip((one, other), names, strict=True):
        used = {v[1:] for e in parsed(picture).iter() for k, v in e.attrib.items() if k.endswith("href")}
        assert used <= ids
