"""Tests of *Choose a variant for a budget* that students see: sizes that one can do by hand."""

from typing import Any

from tools.assignments.harness import near, test


@test("costs", points=1)
def four_positions(student: Any, given: dict[str, Any]) -> None:
    """Four positions of width 3: 16 pairs take 192 FLOPs, 10 visible 120, also in a window of nine; of two, 84."""
    near(student.run_costs({"kind": "plain"}, 4, 3)["flops"], 192)
    near(student.run_costs({"kind": "flash"}, 4, 3)["flops"], 120)
    for w, flops in ((2, 84), (9, 120)):
        near(student.run_costs({"kind": "window", "w": w}, 4, 3)["flops"], flops)


@test("costs", points=1)
def a_small_state(student: Any, given: dict[str, Any]) -> None:
    """Four positions of width 3: five features hold 20 numbers and take 320 FLOPs; order 2 has ten features."""
    found = student.run_costs({"kind": "linear", "features": 5}, 4, 3)
    near(found["numbers"], 20)
    near(found["flops"], 320)
    found = student.run_costs({"kind": "taylor", "order": 2}, 4, 3)
    near(found["numbers"], 40)
    near(found["flops"], 640)


@test("cache", points=1)
def ten_positions(student: Any, given: dict[str, Any]) -> None:
    """After ten positions of width 3: 60 numbers, with a window of four 24."""
    near(student.run_cache({"kind": "flash"}, 10, 3), 60)
    near(student.run_cache({"kind": "window", "w": 4}, 10, 3), 24)


@test("accuracy", points=1)
def scores_of_one(student: Any, given: dict[str, Any]) -> None:
    """Scores up to 1: order 2 has the bound 0.453, order 4 has 0.0227. Two layers of windows of 3 carry over 4."""
    near(student.run_order(1.0, 0.46), 2)
    near(student.run_order(1.0, 0.45), 4)
    near(student.run_layers(4, 3), 2)


@test("choose", points=1)
def a_small_job(student: Any, given: dict[str, Any]) -> None:
    """Four positions, one head, one layer: plain takes and holds too much, and the window reaches too little."""
    job: dict[str, Any] = {"n": 4, "d": 3, "heads": 1, "layers": 1, "flops": 150, "bytes": 40}
    job |= {"distance": 3, "size": 1.0, "tolerance": 0.1}
    found = student.run_choose(job, [{"kind": "plain"}, {"kind": "flash"}, {"kind": "window", "w": 2}])
    assert list(found["fits"]) == [1], f"expected [1], got {found['fits']}"
    reasons = [list(x) for x in found["reasons"]]
    assert reasons == [["flops", "bytes"], [], ["distance"]], f"expected other reasons, got {reasons}"
