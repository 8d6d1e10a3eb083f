"""Tests of *Recurrence against attention* that students do not see."""

# leakcrossoverxq

import math
from typing import Any

import numpy as np

from attnlib import cost
from tools.assignments.harness import near, test

GATES = {"vanilla": 1, "GRU": 3, "LSTM": 4}
RECURRENT = {"vanilla": cost.rnn, "GRU": cost.gru, "LSTM": cost.lstm}


def library(kind: str, n: int, d: int, width: int) -> int:
    """FLOPs by the cost models."""
    if kind == "core":
        return int(cost.attention(n, d).matmul_flops)
    if kind == "layer":
        return int(cost.multihead_attention(n, d, 1).matmul_flops)
    return int(RECURRENT[kind](n, d, d_h=width).matmul_flops)


@test("flops", points=1)
def of_attention(student: Any, given: dict[str, Any]) -> None:
    """The core and the layer, at two lengths."""
    x = given["layer"]
    for n in (x["n"], 1):
        for kind in ("core", "layer"):
            near(student.run_flops(kind, n, x["d"], x["width"]), library(kind, n, x["d"], x["width"]))


@test("flops", points=1)
def of_recurrent_layers(student: Any, given: dict[str, Any]) -> None:
    """The three recurrent layers with a state as wide as the input."""
    x = given["layer"]
    for kind in GATES:
        near(student.run_flops(kind, x["n"], x["d"], x["d"]), library(kind, x["n"], x["d"], x["d"]))


@test("flops", points=1)
def another_width(student: Any, given: dict[str, Any]) -> None:
    """The three recurrent layers with a state of another width than the input."""
    x = given["layer"]
    for kind in GATES:
        for width in (x["width"], 1):
            near(student.run_flops(kind, x["n"], x["d"], width), library(kind, x["n"], x["d"], width))


def fewer(found: Any, ours: str, theirs: str, d: int, width: int) -> None:
    """Fail unless attention wins at that length and not at the next."""
    near(found, found // 1)
    n = int(found)
    if n:
        assert library(ours, n, d, width) < library(theirs, n, d, width), f"{ours}, {theirs}: no win at {n}"
    assert library(ours, n + 1, d, width) >= library(theirs, n + 1, d, width), f"{ours}, {theirs}: a win at {n + 1}"


@test("crossing", points=1)
def same_width(student: Any, given: dict[str, Any]) -> None:
    """Core and layer against the gated layers, all widths equal; a tie is no win."""
    d = given["layer"]["d"]
    for ours in ("core", "layer"):
        for theirs in ("GRU", "LSTM"):
            fewer(student.run_crossing(ours, theirs, d, d), ours, theirs, d, d)


@test("crossing", points=1)
def never(student: Any, given: dict[str, Any]) -> None:
    """The layer against the vanilla one, and against narrow states: at no length."""
    d = given["layer"]["d"]
    near(student.run_crossing("layer", "vanilla", d, d), 0)
    near(student.run_crossing("layer", "LSTM", d, d // 8), 0)
    near(student.run_crossing("core", "vanilla", d, 1), 0)


@test("crossing", points=1)
def states_of_another_width(student: Any, given: dict[str, Any]) -> None:
    """States of another width than the input, where crossings are no whole numbers."""
    x = given["layer"]
    for width in (x["width"], x["width"] + 1, 3 * x["d"]):
        for ours in ("core", "layer"):
            for theirs in GATES:
                fewer(student.run_crossing(ours, theirs, x["d"], width), ours, theirs, x["d"], width)


def machine(given: dict[str, Any]) -> dict[str, float]:
    """The machine of the problem."""
    m = given["machine"]
    return {"rate": m["gflops"] * 1e9, "step_rate": m["step_gflops"] * 1e9, "wait": m["wait_us"] * 1e-6}


def predicted(kind: str, n: Any, d: int, width: int, device: dict[str, float]) -> Any:
    """Seconds, by the problem's text."""
    if kind in ("core", "layer"):
        work = 4.0 * n * n * d + (8.0 * n * d * d if kind == "layer" else 0)
        return work / device["rate"] + {"core": 2, "layer": 6}[kind] * device["wait"]
    at_once, step = 2.0 * GATES[kind] * d * width, 2.0 * GATES[kind] * width * width
    return n * at_once / device["rate"] + device["wait"] * (n + 1) + n * step / device["step_rate"]


def last_win(ours: str, theirs: str, d: int, width: int, device: dict[str, float]) -> int:
    """The largest length at which attention is faster: its loss is a parabola that opens upwards."""
    low, high = 1, 1 << 30

    def loss(n: int) -> float:
        return float(predicted(ours, n, d, width, device) - predicted(theirs, n, d, width, device))

    while high - low > 2:  # to its bottom
        a, b = low + (high - low) // 3, high - (high - low) // 3
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    low = min(range(low, high + 1), key=loss)
    if loss(low) >= 0:
        return 0
    high = 1 << 30
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if loss(middle) < 0 else (low, middle)
    return low


@test("seconds", points=1)
def time_of_attention(student: Any, given: dict[str, Any]) -> None:
    """Seconds of the core and the layer, on the machine and without waiting."""
    x = given["layer"]
    for device in (machine(given), machine(given) | {"wait": 0.0}):
        for kind in ("core", "layer"):
            sizes = (kind, x["n"], x["d"], x["width"])
            near(student.run_seconds(*sizes, device), predicted(*sizes, device), rel=1e-6)


@test("seconds", points=1)
def time_of_recurrent_layers(student: Any, given: dict[str, Any]) -> None:
    """Seconds of the recurrent layers: the inputs at once, the states one after another."""
    x = given["layer"]
    for kind in GATES:
        sizes = (kind, x["n"], x["d"], x["width"])
        near(student.run_seconds(*sizes, machine(given)), predicted(*sizes, machine(given)), rel=1e-6)


@test("seconds", points=1)
def crossings_in_time(student: Any, given: dict[str, Any]) -> None:
    """The crossings on the machine, for all layers, to the position."""
    x, device = given["layer"], machine(given)
    for width in (x["d"], x["width"]):
        for ours in ("core", "layer"):
            for theirs in GATES:
                sizes = (x["d"], width, device)
                found, wanted = student.run_time_crossing(ours, theirs, *sizes), last_win(ours, theirs, *sizes)
                if found is not None and abs(found - wanted) == 1:  # right where the two times are equal
                    n = max(int(found), wanted)
                    near(predicted(ours, n, *sizes), predicted(theirs, n, *sizes), rel=1e-9)
                else:
                    near(found, wanted)


@test("seconds", points=1)
def no_crossing_in_time(student: Any, given: dict[str, Any]) -> None:
    """A machine on which steps cost nothing extra: a layer is never faster than the vanilla one."""
    d = given["layer"]["d"]
    device = {"rate": machine(given)["rate"], "step_rate": machine(given)["rate"], "wait": 0.0}
    near(student.run_time_crossing("layer", "vanilla", d, d, device), 0)


@test("measured", points=1)
def scattered(student: Any, given: dict[str, Any]) -> None:
    """Made-up measurements that change from faster to slower more than once: the last change counts."""
    m = given["measured"]
    rng = np.random.default_rng(m["draw"])
    lengths = [m["first"] * 2**i for i in range(7)]
    ratio = np.array([1.3, 0.6, 1.1, 0.8, 0.5, 1.7, 2.9]) * rng.uniform(0.95, 1.05, 7)
    theirs = rng.uniform(0.5, 2, 7)
    x = math.log(ratio[4]) / (math.log(ratio[4]) - math.log(ratio[5]))
    wanted = math.exp((1 - x) * math.log(lengths[4]) + x * math.log(lengths[5]))
    near(student.run_measured_crossing(lengths, (ratio * theirs).tolist(), theirs.tolist()), wanted, rel=1e-6)


@test("measured", points=1)
def always_or_never(student: Any, given: dict[str, Any]) -> None:
    """0 where attention is faster at no length, None where it is at the last."""
    n = given["measured"]["first"]
    near(student.run_measured_crossing([n, 2 * n, 4 * n], [3.0, 4.0, 9.0], [3.0, 2.0, 1.0]), 0)
    assert student.run_measured_crossing([n, 2 * n], [3.0, 1.0], [2.0, 2.0]) is None, (
        "it is faster at the last length"
    )


@test("measured", points=1)
def what_the_report_says(student: Any, given: dict[str, Any]) -> None:
    """The report's crossing is what your rule says of its own times, and its prediction follows from its width."""
    r = student.run_report()
    wanted = student.run_measured_crossing(r["lengths"], r["attention"], r["recurrent"])
    if wanted is None:
        assert r["crossing"] is None, "attention is faster at the last length: expected None"
    else:
        near(r["crossing"], wanted, rel=1e-5)
    assert r["predicted"] in (r["d"] - 1, r["d"]), "where do FLOPs have the core and the vanilla layer cross?"
