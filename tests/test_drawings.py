"""The drawings of the chapters: to scale, and with the numbers that they are made from."""

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
import sympy
from support import Html

from attnlib import cost
from attnlib.book import draw
from attnlib.book.drawings import (
    derivation,
    errata,
    flash,
    generation,
    hashing,
    induction,
    interview,
    linear,
    low_rank,
    lower_bound,
    memory,
    notation,
    production,
    question,
    random_features,
    recurrence,
    seconds,
    self_attention,
    sparse,
    state_space,
    taylor,
    taylor_accuracy,
)
from attnlib.book.drawings import (
    open as open_,
)

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


def test_the_five_steps_are_the_cost_model():
    drawn = derivation.five_steps(512, 768, 12)
    layer = cost.multihead_attention(512, 768, 12)
    rects = [{k: float(r.attrib[k]) for k in ("x", "width")} for r in parsed(drawn).iter(f"{SVG}rect")]
    bars = [r["width"] for r in rects if r["x"] > 100]
    longest = max(step.flops for step in layer.steps)
    assert bars == pytest.approx([190 * step.flops / longest for step in layer.steps], abs=0.01)
    words = ["".join(text.itertext()) for text in parsed(drawn).iter(f"{SVG}text")]
    for step in layer.steps:
        assert step.name in words
        assert f"{step.flops:,}" in words
        assert f"{step.name} {step.flops:,}" in drawn.description
    n, d, h = sympy.symbols("n d h")
    for step in cost.multihead_attention(n, d, h).steps:
        written = derivation.STEPS[step.name][1].replace("*", "")
        factors = re.findall(r"(\d|[ndh])(²?)", written)
        formula = sympy.prod(sympy.sympify(x, {"n": n, "d": d, "h": h}) ** (2 if p else 1) for x, p in factors)
        assert sympy.expand(step.flops - formula) == 0, step.name


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 8, 2), "n: expected a positive integer, got 0"),
        ((8, -8, 2), "d: expected a positive integer, got -8"),
        ((8, 8, 0), "h: expected a positive integer, got 0"),
        ((8, 8, 3), "h: expected a divisor of d = 8, got 3"),
    ],
)
def test_five_steps_refuse_what_is_no_layer(sizes, message):
    with pytest.raises(ValueError, match=f"five_steps: {message}"):
        derivation.five_steps(*sizes)


def test_weights_between_average_and_lookup_fill_their_bars():
    weights = {0: [1 / 3] * 3, 2: [0.5, 0.5, 0.0], 9: [1.0, 0.0, 0.0]}
    keys = [(1, 0), (1, 0), (-1, 0)]
    drawn = self_attention.average_to_lookup((1, 0), keys, [10, 20, 60], weights)
    words = ["".join(text.itertext()) for text in parsed(drawn).iter(f"{SVG}text")]
    assert {"q = (1, 0)", "k₃ = (−1, 0)", "v₂ = 20", "−1", "β = 9", "30.00", "15.00", "10.00"} <= set(words)
    parts = [float(r.attrib["width"]) for r in parsed(drawn).iter(f"{SVG}rect")][7:]
    assert parts == pytest.approx([242 / 3] * 3 + [121] * 2 + [242], abs=0.01)
    assert "at β = 2 0.50, 0.50, 0.00, output 15.00" in drawn.description
    for wrong, message in (
        ((keys[:2], [1, 2, 3], weights), "keys: expected 3, got 2"),
        ((keys, [1, 2], weights), "values: expected 3, got 2"),
        ((keys, [1, 2, 3], {1: [0.5, 0.5]}), "weights: expected 3, got 2"),
        ((keys, [1, 2, 3], {1: [0.5, 0.5, 0]}), "weights: expected two scales at least, got"),
        ((keys, [1, 2, 3], weights | {1: [0.5, 0.5, 0.5]}), "weights: expected numbers with sum 1 at 1, got"),
    ):
        with pytest.raises(ValueError, match=f"average_to_lookup: {message}"):
            self_attention.average_to_lookup((1, 0), *wrong)


@pytest.mark.parametrize(("n", "k", "layers"), [(6, 2, 3), (8, 3, 2), (5, 5, 1)])
def test_three_ways_have_the_lengths_that_the_cost_models_say(n, k, layers):
    drawn = recurrence.three_ways(n, k)
    root = parsed(drawn)
    dots = [c.attrib for c in root.iter(f"{SVG}circle")]
    marked = sum(dot["r"] == "3.6" for dot in dots)
    lengths = [
        cost.rnn(n, 8).path,
        cost.conv_path(n, k, causal=True, dilated=True),
        cost.attention(n, 8).path,
    ]
    assert lengths == [n, layers, 1]
    assert marked == sum(length + 1 for length in lengths)  # each way has one end more than it has parts
    assert len(dots) == 2 * n + (layers + 1) * n + 2 * n
    lines = [p for p in root.iter(f"{SVG}path") if "stroke-opacity" in p.attrib]
    taps = sum(i >= tap * k**layer for layer in range(layers) for i in range(n) for tap in range(k))
    assert len(lines) == 2 * n - 1 + taps + n * n
    words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert [word for word in words if "step" in word or "layer" in word] == [
        f"{n} steps",
        f"{layers} layer{'s' * (layers > 1)}",
        "1 layer",
    ]
    dilations = ", ".join(str(k**layer) for layer in range(layers))
    assert f"each of the dilations {dilations};" in drawn.description


def test_all_that_leads_to_the_last_output_is_darker():
    strong = [
        p.attrib["d"]
        for p in parsed(recurrence.three_ways(6, 2)).iter(f"{SVG}path")
        if p.attrib.get("stroke-opacity") == "0.9"
    ]
    # All of the chain; the tree of the last output, 2 + 3 + 6 lines; one line from each input.
    assert len(strong) == 11 + 11 + 6


@pytest.mark.parametrize(
    ("n", "k", "message"),
    [
        (2, 2, "n: expected 3 to 8, got 2"),
        (9, 2, "n: expected 3 to 8, got 9"),
        (6, 1, "k: expected 2 to n = 6, got 1"),
        (6, 7, "k: expected 2 to n = 6, got 7"),
    ],
)
def test_three_ways_refuse_what_does_not_fit(n, k, message):
    with pytest.raises(ValueError, match=f"three_ways: {message}"):
        recurrence.three_ways(n, k)


def test_prefill_and_decode_have_the_pairs_of_one_triangle():
    picture = generation.prefill_and_decode(4, 2)
    rects = list(parsed(picture).iter(f"{SVG}rect"))
    of = {tone: sum(draw.TONES[tone] == r.attrib["fill"] for r in rects) for tone in ("teal", "violet", "ochre")}
    assert of == {"teal": 10, "violet": 5 + 6, "ochre": 2 * (4 + 5 + 6)}
    new = [r for r in rects if r.attrib["fill"] == draw.TONES["ochre"] and r.attrib["fill-opacity"] == "1"]
    assert len(new) == 2 * (4 + 1 + 1)  # of each call its own keys and values
    assert "10 + 5 + 6 = 21 pairs, as many as in one triangle of 6. 3 calls" in picture.description
    assert float(parsed(picture).attrib["viewBox"].split()[2]) == draw.WIDTH


@pytest.mark.parametrize(
    ("prompt", "steps", "message"),
    [
        (1, 2, "prompt: expected 2 to 8, got 1"),
        (9, 1, "prompt: expected 2 to 8, got 9"),
        (4, 5, "steps: expected 1 to 4, got 5"),
        (8, 3, "steps: expected 1 to 2, got 3"),
    ],
)
def test_a_text_that_does_not_fit_is_refused(prompt, steps, message):
    with pytest.raises(ValueError, match=f"prefill_and_decode: {message}"):
        generation.prefill_and_decode(prompt, steps)


def test_three_shapes_have_their_pairs():
    root = parsed(generation.three_shapes(3, 4))
    filled = [r for r in root.iter(f"{SVG}rect") if r.attrib["fill-opacity"] == "1"]
    assert len(filled) == 9 + 10 + 12
    words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert [w for w in words if w.endswith("pairs")] == ["9 pairs", "10 pairs", "12 pairs"]
    with pytest.raises(ValueError, match="three_shapes: target: expected 2 to 8, got 9"):
        generation.three_shapes(3, 9)


def test_a_lookup_follows_the_weights():
    before = [[0, 0, 0, 0], [0.9, 0.1, 0, 0], [0.04, 0.95, 0.01, 0], [0, 0, 1, 0]]
    picture = induction.two_layers("ABCA", before, [0.1, 0.8, 0.1, 0])
    words = ["".join(text.itertext()) for text in parsed(picture).iter(f"{SVG}text")]
    assert words.count("B") == 4  # in the text, as itself, as what C has before it, and as the answer
    assert "Who comes after A?" in words
    assert "the next token is B" in picture.description
    assert "has 90% of a position's weight or more, that of layer 2 has 80%" in picture.description
    thin = [p for p in parsed(picture).iter(f"{SVG}path") if p.attrib.get("stroke-opacity") == "0.7"]
    assert len(thin) == 2 + 2  # weights of at least two hundredths that are no arrow


@pytest.mark.parametrize(
    ("tokens", "before", "found", "message"),
    [
        ("AB", [[0] * 2] * 2, [0] * 2, "tokens: expected 3 to 8, got 2"),
        ("ABA", [[0] * 3] * 2, [0] * 3, "before: expected 3 rows of 3 weights"),
        ("ABA", [[0] * 3] * 3, [0] * 4, "found: expected 3 weights, as there are tokens, got 4"),
    ],
)
def test_weights_that_do_not_fit_the_text_are_refused(tokens, before, found, message):
    with pytest.raises(ValueError, match=f"two_layers: {message}"):
        induction.two_layers(tokens, before, found)


def test_a_square_and_a_strip_are_drawn_to_scale():
    drawn = memory.square_and_strip(1024, 64, 128)
    root = parsed(drawn)
    sizes = [(float(r.attrib["width"]), float(r.attrib["height"])) for r in root.iter(f"{SVG}rect")]
    side = max(width for width, _ in sizes)
    assert sizes.count((side, side)) == 2  # all weights, and the outline of what is never there
    narrow = [size for size in sizes if size[1] == side and size[0] < side]
    assert len(narrow) == 8
    assert all(width == pytest.approx(side * 64 / 1024, abs=0.01) for width, _ in narrow)
    strips = [size for size in sizes if size[1] < side]
    assert len(strips) == 3  # of the weights, the queries and the output
    assert all(height == pytest.approx(side * 128 / 1024, abs=0.01) for _, height in strips)
    words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert {"1,048,576 numbers", "131,072 numbers"} <= set(words)
    assert words.count("4 × 65,536") == 2
    assert "a square of 1,048,576" in drawn.description
    edges = [float(r.attrib["x"]) + float(r.attrib["width"]) for r in root.iter(f"{SVG}rect")]
    assert max(edges) <= draw.WIDTH
    for d_k, block, message in (
        (9, 2, "d_k: expected 1 to n = 8, got 9"),
        (4, 3, "block: expected 1 to n/4 = 2, got 3"),
    ):
        with pytest.raises(ValueError, match=f"square_and_strip: {message}"):
            memory.square_and_strip(8, d_k, block)


def test_steps_stand_on_the_ramp_and_on_the_roof():
    steps = {"a": 1.0, "b": 100.0, "c": 2000.0}
    drawn = seconds.ramp_and_roof("A machine", 1e15, 5e12, steps, ("blocks", 400.0))
    root = parsed(drawn)
    places = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter(f"{SVG}circle")]
    (a, b, c, blocks), roof = places, min(y for _, y in places)
    assert c[1] == blocks[1] == roof < b[1] < a[1]
    # From 1 to 100 two powers of ten, from 100 to 400 and to 2,000 so many more.
    decade = (b[0] - a[0]) / 2
    assert (blocks[0] - b[0]) / decade == pytest.approx(0.602, abs=0.01)
    assert (c[0] - b[0]) / decade == pytest.approx(1.301, abs=0.01)
    # The ramp: at the ridge, 200, it is as high as the roof.
    slope = (a[1] - b[1]) / (b[0] - a[0])
    assert b[1] - slope * decade * 0.301 == pytest.approx(roof, abs=0.1)
    words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert {"A machine: 1,000 TFLOP/s, 5 TB/s", "200", "2,000", "400"} <= set(words)
    assert "a at 1, which reaches 5; b at 100, which reaches 500; c at 2,000, which" in drawn.description


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"peak": 0}, "peak: expected a positive rate, got 0"),
        ({"bandwidth": float("inf")}, "bandwidth: expected a positive rate, got inf"),
        ({"steps": {"a": 100, "b": 1}}, "steps: expected FLOPs per byte that ascend from 0.1 to 10,000"),
        ({"steps": {"a": 300}}, "steps: expected .* the first below the ridge at 200, got \\[300\\]"),
        ({"steps": {}}, "steps: expected"),
        ({"blocks": ("x", 100)}, "blocks: expected from the ridge at 200 to 10,000, got 100"),
    ],
)
def test_what_does_not_fit_under_the_roof_is_refused(given, message):
    good = {"device": "A", "peak": 1e15, "bandwidth": 5e12, "steps": {"a": 1}, "blocks": ("x", 300)}
    with pytest.raises(ValueError, match=f"ramp_and_roof: {message}"):
        seconds.ramp_and_roof(**(good | given))


def test_features_are_all_products_of_at_most_two():
    drawn = taylor.features(3, 64)
    root = parsed(drawn)
    boxes = [r for r in root.iter(f"{SVG}rect") if not r.attrib.get("stroke-dasharray")]
    assert len(boxes) == 2 * cost.taylor_features(3, 2)  # by degree, and in one row
    assert len(list(root.iter(f"{SVG}rect"))) - len(boxes) == 3  # products that come twice
    words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    for name in ("1", "q₁", "q₁q₂", "q₃²"):
        assert words.count(name) >= 2
    assert words.count("½") == 3
    assert {"6 of 9", "D = 10", "2,080 of 4,096", f"D = {cost.taylor_features(64, 2):,}"} <= set(words)
    assert "At width 64 there are 2,145." in drawn.description
    ends = [float(r.attrib["x"]) + float(r.attrib["width"]) for r in boxes]
    assert max(ends) <= draw.WIDTH
    for d, wide, message in ((4, 64, "d: expected 2 or 3"), (2, 0, "wide: expected a positive whole number, got 0")):
        with pytest.raises(ValueError, match=f"features: {message}"):
            taylor.features(d, wide)


def test_polynomials_say_by_how_much_they_are_off():
    drawn = taylor_accuracy.polynomials(2, (1, 2, 4))
    words = ["".join(text.itertext()) for text in parsed(drawn).iter(f"{SVG}text")]
    # e² = 7.389: −1, 1 and 1/3 at the left end, 3, 5 and 7 at the right one.
    factors = [word.removeprefix("× ") for word in words if word.startswith("×")]
    assert factors == ["−7.4", "0.41", "7.4", "0.68", "2.5", "0.95"]
    assert "Order 2: 7.4 times the exponential at the left end, 0.68 times" in drawn.description
    places = [float(c.attrib["cx"]) for c in parsed(drawn).iter(f"{SVG}circle")]
    assert len(places) == 12
    assert max(places) < draw.WIDTH
    for bound, orders, message in (
        (5, (1, 2, 4), "bound: expected a number above 0 and up to 4, got 5"),
        (2, (1, 2), r"orders: expected three whole numbers from 0 on, got \[1, 2\]"),
    ):
        with pytest.raises(ValueError, match=f"polynomials: {message}"):
            taylor_accuracy.polynomials(bound, orders)


def flash_blocks():
    """Five queries and six keys in blocks of two and three: the loop with two formulas less."""
    scores = [[math.log(2) * i * (j - 2) for j in range(6)] for i in range(5)]
    values = [3.0, -1.0, 0.5, 2.0, 4.0, 1.0]
    blocks = []
    for i in range(0, 5, 2):
        rows = range(i, min(i + 2, 5))
        c = [-math.inf for _ in rows]
        for j in (0, 3):
            keys = range(j, j + 3)
            old, c = c, [max(scores[r][: keys.stop]) for r in rows]
            shrink = [math.exp(a - b) for a, b in zip(old, c, strict=True)]
            weights = [[math.exp(scores[r][x] - c[r - i]) for x in keys] for r in rows]
            all_ = [[math.exp(scores[r][x] - c[r - i]) for x in range(keys.stop)] for r in rows]
            o = [sum(w * v for w, v in zip(row, values, strict=False)) for row in all_]
            blocks.append(flash.Block(rows, keys, weights, shrink, c, [sum(row) for row in all_], o))
    return blocks


def test_every_block_of_flash_has_its_picture_and_its_numbers():
    blocks = flash_blocks()
    drawn = flash.steps(blocks)
    assert repr(drawn) == "Steps(6 blocks)"
    assert len(drawn.pictures) == len(drawn.sentences) == 6
    moved = 0
    for number, (block, shown, sentence) in enumerate(zip(blocks, drawn.pictures, drawn.sentences, strict=True), 1):
        root = parsed(shown)
        words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
        moved += 6 + len(block.queries)  # keys and values; queries come in the first block of a row, outputs leave
        assert {f"block {number} of 6", f"{moved} numbers moved so far"} <= set(words)
        assert shown.description.endswith(sentence)
        for x in (*block.z, *block.o):
            assert f"{x:.5g}".replace("-", "−") in words
        for x in (x for row in block.weights for x in row):  # powers of two
            assert (f"1/{1 / x:.0f}" if x < 0.2 else f"{x:g}") in words
        quotients = [f"{o / z:.5g}".replace("-", "−") for z, o in zip(block.z, block.o, strict=True)]
        done = f"o / z = {' and '.join(quotients)}"
        assert (done in words) == (number % 2 == 0)
        assert sentence.endswith(f"memory: {' and '.join(quotients)}.") == (number % 2 == 0)
        dashed = [r for r in root.iter(f"{SVG}rect") if r.attrib.get("stroke-dasharray")]
        assert len(dashed) == 5
        assert sum(r.attrib["fill"] != "none" for r in dashed) == number - 1  # done and forgotten
        height = float(root.attrib["viewBox"].split()[3])
        for r in root.iter(f"{SVG}rect"):
            assert float(r.attrib["x"]) + float(r.attrib["width"]) <= draw.WIDTH
            assert float(r.attrib["y"]) + float(r.attrib["height"]) < height
    second = drawn.sentences[1].replace("\N{NO-BREAK SPACE}", " ")
    assert second.startswith(
        "Queries 1–2 and keys 4–6. q1: old sums × 1, c = 0, z = 6, o = 9.5; q2: old sums × 1/8, c"
    )
    assert "c = 3 ln 2, z = 1.9688" in second
    assert "q5" in drawn.sentences[5]
    assert drawn.sentences[5].startswith("Query 5 and keys 4–6.")


def test_steps_of_flash_can_be_read_without_a_script():
    first, second = (flash.steps(flash_blocks()) for _ in range(2))
    assert first == second
    page, other = Html(first._repr_html_()), Html(second._repr_html_())
    hidden = ["hidden" in a for a in page.all("div") if "step" in a.get("class", "").split()]
    assert hidden == [True] * 5 + [False]
    assert [text for text in page.text["li"] if text.strip()] == list(first.sentences)
    assert [text.strip() for text in page.text["button"]] == ["previous block", "next block"]
    (root,) = (a["id"] for a in page.all("div") if a.get("class") == "flash-steps")
    assert root not in {a.get("id") for a in other.all("div")}
    assert "http" not in first._repr_html_().replace('xmlns="http://www.w3.org/2000/svg"', "")
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda blocks: [], "expected at least one, got none"),
        (lambda blocks: blocks[1:], "expected one that begins at query 0 and key 0, got one at 0 and 3"),
        (
            lambda blocks: [blocks[0], *blocks[2:]],
            "expected one that begins at query 0 and key 3, got one at 2 and 0",
        ),
        (lambda blocks: [replace(b, z=b.z[:1], o=[]) for b in blocks], r"weights of shape \(2, 3\) and 2 of each"),
        (lambda blocks: [replace(blocks[0], keys=range(5))], r"1 to 3 queries and 1 to 4 keys, got \(2, 5\)"),
    ],
)
def test_blocks_that_fill_no_square_are_refused(change, message):
    with pytest.raises(ValueError, match=f"steps: blocks: expected .*{message.removeprefix('expected ')}"):
        flash.steps(change(flash_blocks()))


def test_a_token_has_one_line_and_an_arc_to_each_other():
    root = parsed(question.lines_and_arcs((3, 6)))
    paths = [p.attrib["d"] for p in root.iter(f"{SVG}path")]
    assert [path.count("A") for path in paths if "A" in path] == [3, 15]
    assert sum("A" not in path for path in paths) == 3 + 6
    assert len(list(root.iter(f"{SVG}circle"))) == 2 * (3 + 6)  # a dot and its ring
    words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert words[1:3] == ["an arc for two pairs,", "a ring for one: the core"]
    assert words[3:] == ["n = 3", "3 lines", "9 pairs", "n = 6", "6 lines", "36 pairs"]
    assert max(float(c.attrib["cx"]) for c in root.iter(f"{SVG}circle")) < draw.WIDTH
    for sizes in ((), (1, 4), (9, 20)):
        with pytest.raises(ValueError, match="lines_and_arcs: sizes: expected rows of 2 tokens or more, 28 in all"):
            question.lines_and_arcs(sizes)


def test_causal_masks_of_a_notation_meet_at_their_last_query_and_key():
    masks = [[[j <= i + m - n for j in range(m)] for i in range(n)] for n, m in ((3, 5), (5, 3))]
    drawn = notation.axes_and_triangles((2, 8, 5, 4), masks)
    squares = [r.attrib for r in parsed(drawn).iter(f"{SVG}rect")]
    assert len(squares) == 2 * 5 * 4 + 2 * 15
    assert sum(r["fill-opacity"] == "0.75" for r in squares) == 12 + 6
    marked = [p.attrib["d"] for p in parsed(drawn).iter(f"{SVG}path") if p.attrib["d"].endswith("Z")]
    for (n, m), mask in zip(((3, 5), (5, 3)), (squares[40:55], squares[55:70]), strict=True):
        assert n * m == len(mask)
        assert mask[-1]["fill-opacity"] == "0.75"
        corner = [float(mask[-1][k]) + float(mask[-1][size]) for k, size in (("x", "width"), ("y", "height"))]
        assert any(f"L{corner[0]:g} {corner[1]:g}L" in path for path in marked)
    assert "with 3 queries and 5 keys the queries see 3, 4, 5 keys" in drawn.description
    assert "with 5 queries and 3 keys the queries see 0, 0, 1, 2, 3 keys" in drawn.description
    for shape, given, message in (
        ((2, 8, 5), masks, "shape: expected four sizes"),
        ((3, 8, 5, 4), masks, "shape: expected four sizes"),
        ((2, 8, 5, 4), masks[:1], "masks: expected two"),
    ):
        with pytest.raises(ValueError, match=f"axes_and_triangles: {message}"):
            notation.axes_and_triangles(shape, given)


def reduced(shown=(0,)):
    clauses = [(1, -2, 3), (-1, 2), (-3, 4), (-4, 1)]
    a = [[1, 0, 1, 1], [0, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]]
    b = [[0, 1, 0, 0], [1, 0, 1, 1], [1, 1, 1, 1], [1, 1, 0, 1]]
    weights = [[0.125, 0.75, 0.0625, 0.0625, 0.0], *[[0.75, 0.25, 0.0, 0.0, 0.0]] * 3]
    return clauses, ["FF", "TF", "FT", "TT"], a, b, weights, list(shown)


def test_a_reduction_marks_the_zero_and_its_weight():
    root = parsed(lower_bound.reduction(*reduced()))
    words = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert "(x₁ ∨ ¬x₂ ∨ x₃) ∧ (¬x₁ ∨ x₂) ∧ …" in words
    assert {"4 clauses", "a: values of x₁ x₂", "b: values of x₃ x₄", "query FF", "0.88"} <= set(words)
    assert words[-5:-1] == ["0", "3", "3", "2"]  # products of the first row of a with all of b
    fills = [r.attrib.get("fill-opacity") for r in root.iter(f"{SVG}rect") if r.attrib["width"] == "28"]
    assert [x for x in fills if x not in (str(draw.TINT), None)] == ["0.12", "0.75", "0.06", "0.06", "0"]
    ochre = [r for r in root.iter(f"{SVG}rect") if "ochre" in r.attrib["stroke"]]
    assert len(ochre) == 3  # a row of each list, and the zero
    both = lower_bound.reduction(*reduced((0, 3)))
    assert "Query FF has the product zero with FF: the dummy gets the weight 0.12" in both.description
    assert "Query TT has no product zero: the dummy gets the weight 0.75, the output is 0.25." in both.description


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (1, [], "names: expected one to eight, got 0"),
        (2, [[1]] * 4, r"a: expected 4 rows of 4 numbers, got \[1, 1, 1, 1\]"),
        (3, [[1] * 4], r"b: expected 4 rows of 4 numbers, got \[4\]"),
        (4, [[1] * 4] * 4, r"weights: expected 4 rows of 5 numbers, got \[4, 4, 4, 4\]"),
        (5, [4], "shown: expected rows from 0 to 3, got 4"),
    ],
)
def test_a_reduction_refuses(at, value, message):
    arguments = list(reduced())
    arguments[at] = value
    with pytest.raises(ValueError, match=f"reduction: {message}"):
        lower_bound.reduction(*arguments)


def test_a_reduction_fits_sixteen_clauses_and_eight_tokens():
    vectors = [[1] * 16] * 8
    drawn = lower_bound.reduction([(1, 6)] * 16, ["FFF"] * 8, vectors, vectors, [[1.0] + [0.0] * 8] * 8, [0, 7])
    rectangles = list(parsed(drawn).iter(f"{SVG}rect"))
    assert max(float(r.attrib["x"]) + float(r.attrib["width"]) for r in rectangles) <= draw.WIDTH


def test_products_mark_their_zeros():
    drawn = lower_bound.products(["F", "T"], [[3, 0], [2, 0]], "x₁", "x₂")
    assert drawn.description == "A square of 2 by 2 numbers from 0 to 3. Zeros: row F, column T; row T, column T."
    assert "Zeros: nowhere." in lower_bound.products(["F"], [[1]], "x₁", "x₂").description
    for counts in ([[1]], [[1, 2], [3]]):
        with pytest.raises(ValueError, match="products: counts: expected 2 rows of 2 numbers"):
            lower_bound.products(["F", "T"], counts, "x₁", "x₂")


def test_regions_cover_the_map_once():
    widths, logits = [("narrow", 160), ("*c* log *n*", 160)], ["small", "large"]
    known = [
        ((0, 1), (0, 0), "fast", ["fast"]),
        ((0, 0), (1, 1), "unknown", ["unknown"]),
        ((1, 1), (1, 1), "hard", ["hard", "if OVC"]),
    ]
    drawn = open_.regions(widths, logits, known, ["A note."])
    boxes = [
        tuple(float(r.attrib[x]) for x in ("x", "y", "width", "height")) for r in parsed(drawn).iter(f"{SVG}rect")
    ]
    assert boxes == [(65, 71, 318, 48), (65, 21, 158, 48), (225, 21, 158, 48)]  # small logits below large ones
    assert "Width narrow to c log n, logits small: fast. Width narrow, logits large: unknown." in drawn.description
    assert "Width c log n, logits large: hard if OVC." in drawn.description
    for wrong in (known[:2], [*known, known[0]]):
        with pytest.raises(ValueError, match="regions: known: expected each of 4 fields once"):
            open_.regions(widths, logits, wrong, [])
    with pytest.raises(
        ValueError, match="regions: known: expected a kind of fast, hard, suspended, unknown, got 'easy'"
    ):
        open_.regions(widths, logits, [((0, 1), (0, 1), "easy", ["easy"])], [])


def test_what_follows_a_caret_is_raised():
    drawn = open_.regions([("2^*n*", 300)], ["all"], [((0, 0), (0, 0), "fast", ["plain"])], [])
    texts = {"".join(text.itertext()): text.attrib for text in parsed(drawn).iter(f"{SVG}text")}
    assert float(texts["n"]["y"]) < float(texts["2"]["y"])
    assert texts["2"]["text-anchor"] == "end"


def test_the_layouts_of_the_appendix_show_what_a_row_sees():
    drawn = errata.layouts(4, 2, 3)
    words = ["".join(text.itertext()) for text in parsed(drawn).iter(f"{SVG}text")]
    assert words[1:10] == ["0", "b₁", "b₂", "b₃", "b₄", "a₁", "a₂", "a₃", "a₄"]
    assert "this row sees 8 tokens" in words
    assert "this row sees 9 tokens" in words  # 4 g + 1
    blocks = words[words.index("sliding window, groups of g = 2") + 1 :][:20]
    assert blocks[:10] == ["a₁", "a₂", "0", "b₁", "b₂", "a₁", "a₂", "0", "b₃", "b₄"]
    # Every pair meets within a block.
    met = {(a, b) for i in range(0, 20, 5) for a in blocks[i : i + 2] for b in blocks[i + 3 : i + 5]}
    assert met == {(f"a{i}", f"b{j}") for i in "₁₂₃₄" for j in "₁₂₃₄"}
    assert "a row a3 sees 4 tokens to either side, among them b1, b2, b3, b4." in drawn.description
    rectangles = list(parsed(drawn).iter(f"{SVG}rect"))
    assert max(float(r.attrib["x"]) + float(r.attrib["width"]) for r in rectangles) <= draw.WIDTH
    for arguments, message in (
        ((1, 1, 1), "n: expected 2 to 9 vectors, got 1"),
        ((4, 3, 1), "g: expected a divisor of n = 4, got 3"),
        ((4, 2, 5), "row: expected 1 to n = 4, got 5"),
        ((6, 2, 1), "g: expected at most 22 tokens, got 45"),
    ):
        with pytest.raises(ValueError, match=f"layouts: {message}"):
            errata.layouts(*arguments)


def test_a_raised_part_of_a_line_ends_at_the_next_caret():
    drawn = open_.regions([("all", 300)], ["all"], [((0, 0), (0, 0), "fast", ["(*n*^2^)"])], [])
    texts = {"".join(text.itertext()): text.attrib for text in parsed(drawn).iter(f"{SVG}text")}
    assert float(texts["2"]["y"]) < float(texts["(n"]["y"]) == float(texts[")"]["y"])
    assert float(texts["(n"]["x"]) < float(texts["2"]["x"]) < float(texts[")"]["x"])


def test_the_board_shows_the_cost_models_numbers():
    drawn = interview.board(4096, 4096, 32, layers=32)
    texts = ["".join(text.itertext()) for text in parsed(drawn).iter(f"{SVG}text")]
    for number in ("550 GFLOP", "825 GFLOP", "2 GiB", "512 KiB", *"12345678"):
        assert texts.count(number) == 1
    assert texts.count("137 GFLOP") == 2  # scores, and the average of the values
    assert "825 GFLOP; both terms are equal at n = 2d = 8,192" in drawn.description
    shared = interview.board(4096, 4096, 32, h_kv=8, layers=32)
    assert "128 KiB" in ["".join(text.itertext()) for text in parsed(shared).iter(f"{SVG}text")]


def test_the_board_divides_its_bar_by_flops():
    even = interview.board(128, 64, 4)  # n = 2d
    bars = [float(r.attrib["width"]) for r in parsed(even).iter(f"{SVG}rect") if r.attrib["height"] == "16"]
    assert bars == [56, 56]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"n": 0}, "n: expected a positive integer, got 0"),
        ({"layers": True}, "layers: expected a positive integer, got True"),
        ({"h": 3}, "h: expected a divisor of d = 64, got 3"),
        ({"h_kv": 3}, "h_kv: expected a divisor of h = 4, got 3"),
    ],
)
def test_a_board_refuses(sizes, message):
    with pytest.raises(ValueError, match=f"board: {message}"):
        interview.board(**({"n": 128, "d": 64, "h": 4} | sizes))


def test_layers_are_as_long_as_their_caches():
    models = {name: cost.MODELS[name] for name in ("gemma-3-27b", "qwen3-next-80b-a3b")}
    drawn = production.stacks(models, 2**17)
    bars = [path for path in parsed(drawn).iter(f"{SVG}path") if path.attrib["stroke-width"] == "3"]
    assert len(bars) == 62 + 48

    def wide(path):
        (x0, y0), (x1, y1) = (map(float, p.split()) for p in path.attrib["d"][1:].split("L"))
        assert y0 == y1
        return round(x1 - x0, 2)

    full, state = 2**17 * 2 * 2 * 256 * 2, 4 * 32 * 128 * 128 + 2 * 3 * 8192
    longest = 2**17 * 2 * 16 * 128 * 2
    lengths = [wide(path) for path in bars]
    assert lengths.count(186) == 10  # the full layers of Gemma 3, the longest of all
    assert lengths.count(round(186 * 1024 / 2**17, 2)) == 52
    assert lengths.count(46.5) == 12
    assert 186 * full / longest == 46.5
    assert lengths.count(0.8) == 36  # the least that can be seen
    assert 186 * state / longest < 0.8
    words = ["".join(text.itertext()) for text in parsed(drawn).iter(f"{SVG}text")]
    columns = ["gemma-3-27b", "62 layers", "10.4 GiB", "qwen3-next-80b-a3b", "48 layers", "3.07 GiB"]
    assert words == [*columns, "full", "window", "state"]
    assert "52 window layers of 8 MiB each" in drawn.description
    bert = {"x": cost.MODELS["bert-base"]}
    for given, message in (({}, "one to four, got 0"), (bert, "model: expected one that is causal")):
        with pytest.raises(ValueError, match=message):
            production.stacks(given, 1)


def test_the_parts_of_a_step_of_training_are_drawn_to_scale():
    parts = {"all": {"weights": 1, "activations": 3}, "less": {"weights": 1, "activations": 0}}
    rectangles = [float(r.attrib["width"]) for r in parsed(production.memory(parts)).iter(f"{SVG}rect")]
    assert rectangles == [98, 294, 98, 14, 14]  # and two of the legend
    for given in ({}, {"a": {"x": 1}, "b": {"y": 1}}, {"a": {"x": -1}}):
        with pytest.raises(ValueError, match="memory: parts: expected"):
            production.memory(given)
