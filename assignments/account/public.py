"""Tests of *Account for a layer* that students see: sizes that one can do by hand."""

from typing import Any

from tools.assignments.harness import near, test


@test("flops", points=1)
def parts_of_a_small_layer(student: Any, given: dict[str, Any]) -> None:
    """Two positions of width 3, one head of width 3, inner width 5: every part is right."""
    found = student.run_layer_flops(2, 3, 1, 1, 3, 5, 1, False)
    for part, flops in {"projections": 108, "scores": 24, "values": 24, "output": 36, "feed_forward": 120}.items():
        near(found[part], flops)


@test("flops", points=1)
def shared_heads(student: Any, given: dict[str, Any]) -> None:
    """Half as many heads of keys make the projections cheaper and the scores not."""
    full, shared = (student.run_layer_flops(8, 6, 4, h_kv, 2, 5, 1, False) for h_kv in (4, 2))
    near(full["projections"], 2304)
    near(shared["projections"], 1536)
    near(shared["scores"], full["scores"])


@test("memory", points=1)
def weights_of_two_heads(student: Any, given: dict[str, Any]) -> None:
    """Ten positions, two heads, three sequences, four bytes: 2,400 bytes."""
    near(student.run_weights_bytes(10, 2, 3, 4), 2400)


@test("memory", points=1)
def just_fits(student: Any, given: dict[str, Any]) -> None:
    """Where ten positions fill the memory to the last byte, ten fit."""
    near(student.run_longest(2400, 2, 3, 4, 1), 10)


@test("training", points=1)
def step_of_a_small_layer(student: Any, given: dict[str, Any]) -> None:
    """A step without recomputation takes three forward passes."""
    parts = {"projections": 108, "scores": 24, "values": 24, "output": 36, "feed_forward": 120}
    found = student.run_training_flops(parts, "nothing")
    near(found["forward"] + found["backward"] + found["recomputed"], 936)


@test("training", points=1)
def kept_by_a_small_layer(student: Any, given: dict[str, Any]) -> None:
    """Two positions of width 3, one head of width 3: 34 numbers are kept with the weights, 30 without."""
    near(student.run_kept_numbers(2, 3, 1, 1, 3, 1, "nothing"), 34)
    near(student.run_kept_numbers(2, 3, 1, 1, 3, 1, "scores"), 30)


@test("model", points=1)
def parameters_of_the_smallest(student: Any, given: dict[str, Any]) -> None:
    """The smallest GPT-2 has 124,439,808 parameters: 12 layers of width 768."""
    near(student.run_parameters(12, 768, 3072, 50257, 1024), 124_439_808)


@test("model", points=1)
def tiny_model(student: Any, given: dict[str, Any]) -> None:
    """One layer of width 2, inner width 3, five words: 4 positions take 432 FLOPs, the core 128 of them."""
    found = student.run_report(1, 2, 3, 5, 4, 4)
    near(found["flops"], 432)
    near(found["core_share"], 128 / 432)
