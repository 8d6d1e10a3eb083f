"""The house style: legible, told apart without colour, and labels that do not lie on one another."""

import builtins
import importlib
import itertools

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("agg")

import matplotlib.pyplot as plt
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from attnlib.book import plot

# Linear RGB as seen without one kind of cone (Machado, Oliveira and Fernandes, 2009, severity 1).
VISION = {
    "all cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def lab(colour, vision):
    """Return CIE L*a*b*, in which equal distances look about equally different."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = xyz @ np.clip(np.array(VISION[vision]) @ linear, 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.fixture(autouse=True)
def _clean():
    before = dict(mpl.rcParams)
    yield
    plt.close("all")
    mpl.rcParams.update(before)


def test_contrast_is_that_of_wcag():
    assert plot.contrast("#000000", "#ffffff") == plot.contrast("#ffffff", "#000000") == 21
    assert plot.contrast("#777777") == pytest.approx(4.48, abs=0.005)  # the grey just too light for text
    assert plot.contrast("#123456", "#123456") == 1


@pytest.mark.parametrize("colour", plot.COLOURS)
def test_colours_stand_out_from_the_ground_and_letters_more(colour):
    assert plot.contrast(colour, plot.RC["axes.facecolor"]) >= 3
    assert plot.contrast(plot._ink(colour)) >= 4.5


@pytest.mark.parametrize("vision", VISION)
def test_colours_differ_for_every_kind_of_colour_vision(vision):
    distance = {
        (a, b): np.linalg.norm(lab(a, vision) - lab(b, vision)) for a, b in itertools.combinations(plot.COLOURS, 2)
    }
    assert min(distance.values()) > 11
    assert min(distance[pair] for pair in itertools.combinations(plot.COLOURS[:4], 2)) > 15


def test_lines_differ_by_more_than_colour():
    _, ax = plot.figure()
    lines = [ax.plot([1, 2], [i, i])[0] for i in range(len(plot.COLOURS))]
    assert len({line.get_color() for line in lines}) == len(lines)
    assert len({line.get_marker() for line in lines}) == len(lines)
    assert len(set(plot.DASHES)) == len(lines)


def test_letters_are_at_least_10_pixels_high_on_a_phone():
    sizes = {k: v for k, v in plot.RC.items() if k.endswith("size") and k != "lines.markersize"}
    assert len(sizes) >= 5
    fig, _ = plot.figure()
    assert min(sizes.values()) / 72 * 350 / fig.get_size_inches()[0] >= 10


@pytest.mark.parametrize("panels", [1, 2, 3])
def test_lengths_on_an_axis_do_not_run_into_each_other(panels):
    fig, axes = plot.figure(ncols=panels, squeeze=False)
    for ax in axes.flat:
        ax.plot([64, 2**20], [1, 2])
        plot.length_axis(ax)
    fig.canvas.draw()
    for ax in axes.flat:
        low, high = ax.get_xlim()
        labels = [t for t in ax.get_xticklabels() if low <= t.get_position()[0] <= high]
        boxes = sorted((t.get_window_extent() for t in labels), key=lambda box: box.x0)
        assert len(boxes) >= 2
        assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_figure_is_opaque_white_and_of_the_asked_size(tmp_path):
    fig, axes = plot.figure(5, 3, nrows=2, sharex=True)
    assert axes.shape == (2,)
    assert tuple(fig.get_size_inches()) == (5, 3)
    fig.savefig(tmp_path / "figure.png")
    pixels = plt.imread(tmp_path / "figure.png")
    assert pixels.shape[1] == 5 * plot.RC["figure.dpi"]
    assert np.all(pixels[0, 0] == 1)
    assert np.all(pixels[..., 3] == 1)


def test_style_ends_with_its_block_and_use_stays():
    mpl.rcParams["font.size"] = 7
    with plot.style():
        assert mpl.rcParams["font.size"] == 12
    assert mpl.rcParams["font.size"] == 7
    plot.use()
    assert mpl.rcParams["font.size"] == 12


def test_every_font_comes_with_matplotlib():
    from matplotlib.font_manager import FontProperties, findfont

    path = findfont(FontProperties(family=plot.RC["font.sans-serif"]), fallback_to_default=False)
    assert path.startswith(mpl.get_data_path())


@pytest.mark.parametrize("slope", [2, 1, 0.5, -1, 0, 3])
def test_guide_has_its_slope_and_leaves_the_view_alone(slope):
    _, ax = plot.figure()
    ax.loglog([10, 1000], [1e3, 1e6])
    view = ax.get_xlim(), ax.get_ylim()
    plot.loglog_guide(ax, slope, at=(100, 2e4))
    x, y = ax.lines[-1].get_data()
    measured = np.diff(np.log(y))[0] / np.diff(np.log(x))[0]
    assert measured == pytest.approx(slope, abs=1e-9)
    assert y[0] / x[0] ** slope == pytest.approx(2e4 / 100**slope)
    assert (ax.get_xlim(), ax.get_ylim()) == view
    assert view[0][0] * 0.999 <= min(x)
    assert max(x) <= view[0][1] * 1.001
    assert view[1][0] * 0.999 <= min(y)
    assert max(y) <= view[1][1] * 1.001


@pytest.mark.parametrize(
    ("slope", "label", "text"),
    [(2, None, "∝ n²"), (1, None, "∝ n"), (1.5, None, "∝ n¹·⁵"), (2, "n²d", "n²d")],
)
def test_guide_names_itself(slope, label, text):
    _, ax = plot.figure()
    ax.loglog([1, 10], [1, 100])
    plot.loglog_guide(ax, slope, label=label)
    assert [t.get_text() for t in ax.texts] == [text]


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_labels_do_not_overlap_and_keep_the_order_of_the_lines(scale):
    fig, ax = plot.figure()
    x = np.array([1.0, 10.0, 100.0])
    tops = [1000, 1010, 1020, 1030, 10]
    for i, top in enumerate(tops):
        ax.plot(x, x * top, label=f"line {i}")
    ax.plot(x, x, label="_hidden")
    ax.set(xscale=scale, yscale=scale)
    plot.label_lines(ax)
    fig.canvas.draw()
    boxes = {t.get_text(): Text.get_window_extent(t) for t in ax.texts}  # without the leader lines
    assert sorted(boxes) == [f"line {i}" for i in range(len(tops))]
    for a, b in itertools.combinations(boxes.values(), 2):
        assert a.y1 <= b.y0 or b.y1 <= a.y0
    by_height = sorted(boxes, key=lambda name: boxes[name].y0)
    assert by_height == sorted(boxes, key=lambda name: tops[int(name[-1])])
    for box in boxes.values():  # inside the picture
        assert box.x1 <= fig.bbox.x1
        assert fig.bbox.y0 <= box.y0 <= box.y1 <= fig.bbox.y1


def test_apart_moves_only_what_is_too_close():
    assert plot._apart([0.1, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.5, 0.9])
    assert plot._apart([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert plot._apart([1.0, 1.0, 0.2], 0.1) == pytest.approx([0.9, 1.0, 0.2])
    assert plot._apart([0.0, 0.0], 0.1) == pytest.approx([0.0, 0.1])


def test_heatmap_writes_its_values_in_an_ink_that_reads():
    fig, ax = plot.figure()
    matrix = np.array([[0.0, 0.5, 1.0], [np.nan, 0.2, 0.8]])
    image = plot.heatmap(ax, matrix, label="weight", rows=["q1", "q2"], columns=["a", "b", "c"], values=".1f")
    assert [t.get_text() for t in ax.texts] == ["0.0", "0.5", "1.0", "0.2", "0.8"]
    for text, x in zip(ax.texts, matrix[np.isfinite(matrix)], strict=True):
        ground = mpl.colors.to_hex(image.cmap(image.norm(x)))
        assert plot.contrast(text.get_color(), ground) >= 4.5
    assert [t.get_text() for t in ax.get_yticklabels()] == ["q1", "q2"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b", "c"]
    assert fig.axes[1].get_ylabel() == "weight"


def test_heatmap_colours_grow_evenly_lighter():
    lightness = [lab(plt.get_cmap("cividis")(x)[:3], "all cones")[0] for x in np.linspace(0, 1, 11)]
    assert np.all(np.diff(lightness) > 4)


@pytest.mark.parametrize(
    ("axis", "values", "texts"),
    [
        (plot.length_axis, [64, 1024, 2**20], ["64", "1,024", "1,048,576"]),
        (plot.bytes_axis, [2**10, 2**16, 2**31], ["1 KiB", "64 KiB", "2 GiB"]),
        (plot.count_axis, [10, 1e6, 1e9], ["10", "10⁶", "10⁹"]),
    ],
)
@pytest.mark.parametrize("side", ["x", "y"])
def test_axes_write_units(axis, values, texts, side):
    _, ax = plot.figure()
    ax.plot(values, values)
    axis(ax, side)
    scale = ax.xaxis if side == "x" else ax.yaxis
    assert scale.get_scale() == "log"
    formatter = scale.get_major_formatter()
    assert [formatter(x) for x in values] == texts
    base = 10 if axis is plot.count_axis else 2
    ticks = np.log(scale.get_majorticklocs()) / np.log(base)
    np.testing.assert_allclose(ticks, np.round(ticks), atol=1e-9)


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (2**20 - 1, "1 MiB"),
        (805306368, "768 MiB"),
        (2**30 * 9, "9 GiB"),
        (2**70, "1048576 PiB"),
        (-2048, "-2 KiB"),
    ],
)
def test_format_bytes(x, text):
    assert plot.format_bytes(x) == text


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0, "0"),
        (7, "7"),
        (2.5, "2.5"),
        (9999, "9,999"),
        (1e4, "10⁴"),
        (343597383680, "3.44×10¹¹"),
        (1e-3, "10⁻³"),
    ],
)
def test_format_count(x, text):
    assert plot.format_count(x) == text


def drawn(scale="log"):
    _, ax = plot.figure()
    ax.plot([1, 2], [1, 2])
    ax.set(xscale=scale, yscale=scale)
    return ax


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.figure(width=0), "width: expected a positive number of inches, got 0"),
        (lambda: plot.figure(height=float("nan")), "height: .*got nan"),
        (lambda: plot.loglog_guide(drawn("linear"), 2), "ax: expected log–log axes, got linear and linear"),
        (lambda: plot.loglog_guide(drawn(), 2, at=(0, 1)), r"at: expected .*positive.*, got \(0, 1\)"),
        (lambda: plot.label_lines(drawn()), "ax: expected lines with labels, got none"),
        (
            lambda: plot.heatmap(drawn("linear"), np.ones(3), label="x"),
            r"matrix: expected two axes, got shape \(3,\)",
        ),
        (
            lambda: plot.heatmap(drawn("linear"), np.full((1, 1), np.inf), label="x"),
            "matrix: expected finite",
        ),
        (
            lambda: plot.heatmap(drawn("linear"), np.eye(2), label="x", rows=["a"]),
            "rows: expected 2 labels, got 1",
        ),
        (
            lambda: plot.heatmap(drawn("linear"), np.eye(2), label="x", columns=["a"]),
            "columns: expected 2 labels",
        ),
        (lambda: plot.bytes_axis(drawn(), "z"), "axis: expected 'x' or 'y', got 'z'"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_missing_matplotlib_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    spec = importlib.util.find_spec("attnlib.book.plot")
    with monkeypatch.context() as m:
        m.setattr(builtins, "__import__", without)
        with pytest.raises(ImportError, match=r"attnlib\[book\]"):
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
