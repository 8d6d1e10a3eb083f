"""The drawings of the chapters: to scale, and with the numbers that they are made from."""

import re
import xml.etree.ElementTree as ET

import pytest

from attnlib.book import draw
from attnlib.book.drawings import hashing, linear, low_rank, random_features, sparse, state_space

SVG = "{http://www.w3.org/2000/svg}"


def parsed(picture):
    return ET.fromstring(picture.svg)


def test_the_two_orders_are_drawn_to_scale():
    picture = linear.two_orders(200, 50, 100)
    sizes = [(float(r.attrib["width"]), float(r.attrib["height"])) for r in parsed(picture).iter(f"{SVG}rect")]
    assert sizes == [(21, 84), (84, 21), (42, 84), (84, 84), (21, 84), (84, 21), (42, 84), (42, 21)]
    words = ["".join(text.itertext()) for text in parsed(picture).iter(f"{SVG}text")]
    assert {"40,000 numbers", "5,000 numbers"} <= set(words)
    assert "n × n = 40,000" in picture.description
    with pytest.raises(ValueError, match="two_orders: features: expected 1 to n = 8, got 9"):
        linear.two_orders(8, 9, 8)


def test_every_visible_pair_of_a_chunked_triangle_is_drawn_once():
    root = parsed(linear.chunked_triangle(12, 3))
    fills = [r.attrib["fill-opacity"] for r in root.iter(f"{SVG}rect") if r.attrib["width"] == r.attrib["height"]]
    assert fills.count("1") == 4 * 6  # four triangles of three
    assert fills.count("0.25") == 78 - 24
    with pytest.raises(ValueError, match="chunked_triangle: chunk: expected a divisor of n = 12, got 5"):
        linear.chunked_triangle(12, 5)


def test_a_loop_and_a_convolution_have_the_same_weights():
    root = parsed(state_space.convolution_and_loop(5, 0.5))
    bars = [float(r.attrib["height"]) for r in root.iter(f"{SVG}rect")][-5:]
    assert bars == [2.5, 5, 10, 20, 40]  # the powers of a half, from the oldest input to the latest
    words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert words.count("a") == 4 + 1  # between states, and the first power
    assert {"1", "a²", "a³", "a⁴"} <= set(words)
    for n, decay, message in ((2, 0.5, "n: expected 3 to 8, got 2"), (5, 1.0, "decay: expected a number between")):
        with pytest.raises(ValueError, match=f"convolution_and_loop: {message}"):
            state_space.convolution_and_loop(n, decay)


def test_random_features_are_drawn_from_the_directions():
    ways = [(1.0, 0.0), (0.0, -1.0), (9.0, 0.0), (-0.5, 0.5)]
    root = parsed(random_features.random_features(ways, (1.0, 0.5), (1, 2, 4)))
    words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert words[:4] == ["direction 1", "direction 2", "direction 3", "mean of 3"]
    assert words[4:] == ["mean of 1", "mean of 2", "mean of 4", "e to the q · k"]
    circles = list(root.iter(f"{SVG}circle"))
    hollow = [c for c in circles if c.attrib["fill"] == "none"]
    assert len(hollow) == 8  # the key, in each square
    assert len(circles) - len(hollow) == 4  # directions 1 and 2, alone and in their mean; the third is outside
    # "direction 1" and "mean of 1" are the same surface.
    first, fifth = ([p.attrib["d"] for p in g] for i, g in enumerate(root.iter(f"{SVG}g")) if i in (0, 4))
    assert len(first) == len(fifth) > 3
    # e^(q·k) has all eight levels from 1/8 to 16.
    assert len(list(list(root.iter(f"{SVG}g"))[7])) == 8


@pytest.mark.parametrize(
    ("directions", "counts", "message"),
    [
        ([(0, 0)] * 2, (1, 1, 1), "directions: expected at least 3, got 2"),
        ([(0, 0)] * 3, (1, 2), "counts: expected 3, from 1 to 3, got \\[1, 2\\]"),
        ([(0, 0)] * 3, (1, 2, 4), "counts: expected 3, from 1 to 3"),
    ],
)
def test_too_few_directions_are_refused(directions, counts, message):
    with pytest.raises(ValueError, match=f"random_features: {message}"):
        random_features.random_features(directions, (1, 0), counts)


def test_low_rank_counts_what_it_draws():
    square = [[1 / 6] * 6 for _ in range(5)]
    drawn = low_rank.low_rank(square, [[0.5, 0.5]] * 5, [[1 / 6] * 6] * 2)
    root = parsed(drawn)
    assert len(list(root.iter(f"{SVG}rect"))) == 30 + 10 + 12
    assert "22 numbers instead of 30" in drawn.description
    words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert {"n × n", "n × r", "r × n", "30 numbers", "10", "12 numbers"} <= set(words)
    with pytest.raises(ValueError, match=r"left: expected 5 rows of 2 numbers, .* got 5 of 1"):
        low_rank.low_rank(square, [[1]] * 5, [[1 / 6] * 6] * 2)


def test_low_rank_fits_sixteen():
    wide = low_rank.low_rank([[1] * 16] * 16, [[1] * 3] * 16, [[1] * 16] * 3)
    edges = [float(r.attrib["x"]) + float(r.attrib["width"]) for r in parsed(wide).iter(f"{SVG}rect")]
    assert max(edges) <= draw.WIDTH


def test_patterns_draw_every_pair_and_count_it():
    band = [[abs(i - j) < 2 for j in range(6)] for i in range(6)]
    drawn = sparse.patterns([("window", "a band", band), ("nothing", "empty", [[False] * 6] * 6)] * 2)
    root = parsed(drawn)
    areas = []
    for path in root.iter(f"{SVG}path"):
        if path.attrib.get("shape-rendering"):
            strips = re.findall(r"h([\d.]+)v([\d.]+)h-", path.attrib["d"])
            areas.append(sum(float(w) * float(h) for w, h in strips) / (110 / 6) ** 2)
    assert areas == pytest.approx([16, 0, 16, 0], abs=0.01)
    assert "window: a band, 16 pairs; nothing: empty, 0 pairs" in drawn.description
    words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert words.count("16 pairs") == 2
    assert max(float(text.attrib["y"]) for text in root.iter(f"{SVG}text")) < float(root.attrib["viewBox"].split()[3])
    message = r"patterns: shown: expected masks of one shape, got \[\(1, 1\), \(2, 2\)\]"
    with pytest.raises(ValueError, match=message):
        sparse.patterns([("a", "b", [[True]]), ("c", "d", [[True] * 2] * 2)])


def test_sorted_pairs_counts_pairs_and_weight_of_the_buckets():
    weights = [[0.7, 0.1, 0.2], [0.2, 0.6, 0.2], [0.3, 0.0, 0.7]]
    drawn = hashing.sorted_pairs(weights, [5, 0, 5])
    words = ["".join(text.itertext()) for text in parsed(drawn).iter(f"{SVG}text")]
    # Rows 0 and 2 have 0.9 and 1.0 in their bucket, row 1 has 0.6.
    assert {"9 pairs", "5 pairs, 83% of the weight"} <= set(words)
    assert "2 buckets 83% of the weight" in drawn.description
    assert "5 of 9 pairs" in drawn.description
    for wrong in ([0, 1], [0, 1, 2, 3]):
        with pytest.raises(ValueError, match="weights: expected"):
            hashing.sorted_pairs(weights, wrong)


def test_sorted_pairs_fit_sixteen():
    wide = hashing.sorted_pairs([[1 / 16] * 16] * 16, [i % 4 for i in range(16)])
    ends = [float(x.attrib["x"]) + float(x.attrib["width"]) for x in parsed(wide).iter(f"{SVG}rect")]
    assert max(ends) <= draw.WIDTH
