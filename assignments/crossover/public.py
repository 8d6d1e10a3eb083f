"""Tests of *Recurrence against attention* that students see: sizes that one can do by hand."""

import itertools
from typing import Any

import numpy as np

from tools.assignments.harness import near, test


@test("flops", points=1)
def ten_positions(student: Any, given: dict[str, Any]) -> None:
    """Ten positions of width 3: 1,200 FLOPs in the core, 360 in a vanilla layer with a state of width 3."""
    near(student.run_flops("core", 10, 3, 3), 1200)
    near(student.run_flops("vanilla", 10, 3, 3), 360)


@test("flops", points=1)
def a_layer_and_an_lstm(student: Any, given: dict[str, Any]) -> None:
    """Ten positions of width 3: 1,920 FLOPs in a layer of attention, 800 in an LSTM with a state of width 2."""
    near(student.run_flops("layer", 10, 3, 2), 1920)
    near(student.run_flops("LSTM", 10, 3, 2), 800)


@test("crossing", points=1)
def shorter_than_wide(student: Any, given: dict[str, Any]) -> None:
    """The core takes fewer FLOPs than a vanilla layer of width 64 up to 63 positions: at 64 they are equal."""
    near(student.run_crossing("core", "vanilla", 64, 64), 63)


@test("seconds", points=1)
def a_slow_machine(student: Any, given: dict[str, Any]) -> None:
    """At 100 and 10 FLOPs a second, a second for every beginning: the core 14 s, the vanilla layer 30.8 s."""
    device = {"rate": 100.0, "step_rate": 10.0, "wait": 1.0}
    near(student.run_seconds("core", 10, 3, 3, device), 14.0, rel=1e-6)
    near(student.run_seconds("vanilla", 10, 3, 3, device), 30.8, rel=1e-6)


@test("seconds", points=1)
def faster_on_a_slow_machine(student: Any, given: dict[str, Any]) -> None:
    """On that machine the core is faster up to 24 positions: 71.12 s against 72.52 s; at 25 no longer."""
    device = {"rate": 100.0, "step_rate": 10.0, "wait": 1.0}
    near(student.run_time_crossing("core", "vanilla", 3, 3, device), 24)


@test("measured", points=1)
def half_way(student: Any, given: dict[str, Any]) -> None:
    """Half as long at 100 positions and twice as long at 400: they cross at 200."""
    near(student.run_measured_crossing([100, 400], [1.0, 8.0], [2.0, 4.0]), 200, rel=1e-6)


@test("measured", points=1)
def form_of_the_report(student: Any, given: dict[str, Any]) -> None:
    """The report has its form: lengths that rise, a time for each, three rounds, and the width."""
    r = student.run_report()
    lengths = list(r["lengths"])
    assert len(lengths) >= 5, f"expected five lengths or more, got {len(lengths)}"
    assert all(x < y for x, y in itertools.pairwise(lengths)), "lengths have to rise"
    for name in ("attention", "recurrent"):
        times = np.asarray(r[name], float)
        assert times.shape == (len(lengths),), f"{name}: expected a time for each length"
        assert np.isfinite(times).all(), f"{name}: expected finite numbers"
        assert (times > 0).all(), f"{name}: expected seconds"
    assert r["rounds"] >= 3, "expected three rounds or more"
    assert r["d"] >= 1, "expected a width"
