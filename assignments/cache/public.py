"""Tests of *Memory and the cache* that students see: sizes that one can do by hand."""

from typing import Any

import numpy as np

from tools.assignments.harness import near, test


@test("bytes", points=1)
def two_layers(student: Any, given: dict[str, Any]) -> None:
    """Two layers, 3 key heads, widths 4 and 5, ten positions of 2 bytes: 1,080 bytes, in pages of 4 1,296."""
    kinds = [{"layers": 2, "h_kv": 3, "d_k": 4, "d_v": 5, "window": 0}]
    near(student.run_cache_bytes(kinds, 10, 2, 1, 1), 1080)
    near(student.run_cache_bytes(kinds, 10, 2, 1, 4), 1296)


@test("fits", points=1)
def to_the_last_byte(student: Any, given: dict[str, Any]) -> None:
    """1,080 bytes hold ten positions of two layers with 3 key heads of widths 4 and 5, and 1,079 hold nine."""
    kinds = [{"layers": 2, "h_kv": 3, "d_k": 4, "d_v": 5, "window": 0}]
    near(student.run_longest(kinds, 1080, 2, 1, 1), 10)
    near(student.run_longest(kinds, 1079, 2, 1, 1), 9)


@test("quantise", points=1)
def four_levels(student: Any, given: dict[str, Any]) -> None:
    """Two bits and groups of four turn 0, 1, 2, 3 and 10, 10, 40, 20 into the codes 0, 1, 2, 3 and 0, 0, 3, 1."""
    found = student.run_quantise(np.array([[0.0, 1.0, 2.0, 3.0, 10.0, 10.0, 40.0, 20.0]]), 2, 4)
    near(found["codes"], [[0, 1, 2, 3, 0, 0, 3, 1]])
    near(found["restored"], [[0, 1, 2, 3, 10, 10, 40, 20]], rel=1e-2, abs=1e-2)


@test("paged", points=1)
def one_head(student: Any, given: dict[str, Any]) -> None:
    """Three positions in two pages of two, in the wrong order: the plain mean when all scores are equal."""
    k_pages = np.zeros((2, 2, 1, 2))
    v_pages = np.array([[[[9.0]], [[100.0]]], [[[3.0]], [[6.0]]]])
    near(student.run_paged_attention(np.ones((1, 2)), k_pages, v_pages, [1, 0], 3), [[6.0]], rel=1e-4)


@test("paged", points=1)
def shared_beginning(student: Any, given: dict[str, Any]) -> None:
    """Ten positions in common, 3 and 7 of their own, pages of four: two shared pages, two and three others."""
    near(student.run_pages(10, [3, 7], 4), 7)
