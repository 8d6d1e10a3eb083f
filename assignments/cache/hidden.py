"""Tests of *Memory and the cache* that students do not see."""

# leakcachexq

from typing import Any

import numpy as np

from attnlib import cost, reference
from tools.assignments.harness import near, test

# Published models, in the form of the problems; attnlib.cost is the reference for them.
LIKE = {
    "gemma-3-27b": [
        {"layers": 10, "h_kv": 16, "d_k": 128, "d_v": 128, "window": 0},
        {"layers": 52, "h_kv": 16, "d_k": 128, "d_v": 128, "window": 1024},
    ],
    "deepseek-v2": [{"layers": 60, "rank": 512, "d_rope": 64}],
}


def library(name: str, t: int, batch: int, page: int) -> int:
    """Bytes that are allocated for a published model in 16 bits."""
    return int(cost.model_cache(cost.MODELS[name], t, batch=batch, page=page).allocated)


@test("bytes", points=1)
def widths_and_batch(student: Any, given: dict[str, Any]) -> None:
    """Keys and values of different widths, other items than two bytes, and a batch."""
    kind, t, batch = given["full"] | {"window": 0}, given["machine"]["t"], given["machine"]["batch"]
    numbers = kind["layers"] * kind["h_kv"] * (kind["d_k"] + kind["d_v"])
    near(student.run_cache_bytes([kind], t, 2, 1, 1), 2 * t * numbers)
    near(student.run_cache_bytes([kind], t, 1, batch, 1), batch * t * numbers)
    del kind["window"]
    near(student.run_cache_bytes([kind], t, 2, 1, 1), 2 * t * numbers)


@test("bytes", points=1)
def windows(student: Any, given: dict[str, Any]) -> None:
    """Layers with windows keep no more than their window, in pages, and less before it is full."""
    batch, page = given["machine"]["batch"], given["machine"]["page"]
    for t in (17, 1000, given["machine"]["t"], given["machine"]["t"] + 5):
        found = student.run_cache_bytes(LIKE["gemma-3-27b"], t, 2, batch, page)
        near(found, library("gemma-3-27b", t, batch, page))


@test("bytes", points=1)
def latents(student: Any, given: dict[str, Any]) -> None:
    """A latent is kept once, not once for keys and once for values."""
    t, page = given["machine"]["t"] + 3, given["machine"]["page"]
    near(student.run_cache_bytes(LIKE["deepseek-v2"], t, 2, 2, page), library("deepseek-v2", t, 2, page))
    kind = given["latent"]
    near(student.run_cache_bytes([kind], t, 4, 1, 1), 4 * t * kind["layers"] * (kind["rank"] + kind["d_rope"]))


@test("fits", points=1)
def longest_with_pages(student: Any, given: dict[str, Any]) -> None:
    """The longest context of a model with windows, counted in whole pages."""
    machine = given["machine"]
    batch, page = machine["batch"], machine["page"]
    free = (machine["memory_gib"] - machine["weights_gib"]) * 2**30
    found = student.run_longest(LIKE["gemma-3-27b"], free, 2, batch, page)
    near(found, found // 1)
    found = int(found)
    held, next_one = (library("gemma-3-27b", t, batch, page) for t in (found, found + 1))
    assert held <= free < next_one, "it is not the longest"


@test("fits", points=1)
def longest_of_latents(student: Any, given: dict[str, Any]) -> None:
    """The longest context of a model with latents, also where it is a hundred million positions."""
    kind, page = given["latent"], given["machine"]["page"]
    a_page = page * kind["layers"] * (kind["rank"] + kind["d_rope"])
    for count in (1, 777, 10**8 // page):
        near(student.run_longest([kind], count * a_page, 1, 1, page), count * page)
        near(student.run_longest([kind], count * a_page - 1, 1, 1, page), (count - 1) * page)


@test("fits", points=1)
def nothing_or_everything(student: Any, given: dict[str, Any]) -> None:
    """0 where not one position fits, None where windows end the growth, and a number where they come too late."""
    kind = given["near"]
    a_position = kind["layers"] * kind["h_kv"] * (kind["d_k"] + kind["d_v"])
    near(student.run_longest([kind], a_position - 1, 1, 1, 1), 0)
    assert student.run_longest([kind], a_position * kind["window"], 1, 1, 1) is None, "every length fits"
    near(student.run_longest([kind], a_position * kind["window"] - 1, 1, 1, 1), kind["window"] - 1)
    near(student.run_longest([kind], -1, 1, 1, 1), 0)


@test("fits", points=1)
def largest(student: Any, given: dict[str, Any]) -> None:
    """The largest batch, to the last byte, and 0 where there is room for none."""
    t, page = given["machine"]["t"] + 1, given["machine"]["page"]
    one = library("gemma-3-27b", t, 1, page)
    for free, wanted in ((7 * one, 7), (7 * one - 1, 6), (one - 1, 0)):
        near(student.run_largest_batch(LIKE["gemma-3-27b"], free, 2, t, page), wanted)
    near(student.run_largest_batch(LIKE["gemma-3-27b"], -1, 2, t, page), 0)


def groups(x: Any, group: int) -> Any:
    """The groups of every vector."""
    return [x[..., start : start + group] for start in range(0, x.shape[-1], group)]


def numbers(given: dict[str, Any]) -> Any:
    """Keys whose groups differ in size and place."""
    q = given["quantise"]
    rng = np.random.default_rng(q["draw"])
    return rng.normal(size=(3, 5, q["width"])) * np.exp(rng.normal(size=q["width"])) + 2 * rng.normal(size=q["width"])


@test("quantise", points=1)
def restored_numbers(student: Any, given: dict[str, Any]) -> None:
    """Every number comes back to within 0.75 steps of its group and a thousandth of its largest number."""
    x, q = numbers(given), given["quantise"]
    for bits, group in ((q["bits"], q["group"]), (8, q["width"]), (2, 7)):
        found = student.run_quantise(x, bits, group)["restored"]
        assert found.shape == x.shape, f"expected the shape {x.shape}, got {found.shape}"
        for part, restored in zip(groups(x, group), groups(found, group), strict=True):
            step = (part.max(-1, keepdims=True) - part.min(-1, keepdims=True)) / (2**bits - 1)
            limit = 0.75 * step + 1e-3 * np.abs(part).max(-1, keepdims=True)
            assert (np.abs(part - restored) <= limit).all(), f"{bits} bits, groups of {group}"


@test("quantise", points=1)
def all_codes(student: Any, given: dict[str, Any]) -> None:
    """Codes are whole numbers from 0 to 2^b - 1, and every group uses both ends."""
    x, q = numbers(given), given["quantise"]
    codes = student.run_quantise(x, q["bits"], q["group"])["codes"].astype(float)
    assert (codes == np.round(codes)).all(), "a code is not whole"
    for part in groups(codes, q["group"]):
        if part.shape[-1] > 1:
            assert (part.min(-1) == 0).all(), "a group does not use the code 0"
            assert (part.max(-1) == 2 ** q["bits"] - 1).all(), "a group does not use its largest code"


@test("quantise", points=1)
def equal_numbers(student: Any, given: dict[str, Any]) -> None:
    """Groups of equal numbers come back, zeros included, from the code 0."""
    x = np.concatenate([np.full((2, 8), 3.25), np.zeros((2, 8)), np.full((2, 5), -700.0)], axis=-1)
    found = student.run_quantise(x, given["quantise"]["bits"], 8)
    near(found["restored"], x, rel=1e-3, abs=1e-6)
    near(found["codes"], np.zeros(x.shape))


@test("quantise", points=2)
def bytes_with_scales(student: Any, given: dict[str, Any]) -> None:
    """Bytes count the scales of every group, the last and shorter one too, and are whole."""
    q = given["quantise"]
    for width, bits, group, shared in ((128, 4, 32, 32), (q["width"], q["bits"], q["group"], 32), (130, 3, 64, 16)):
        stored = cost.Format("", bits, group, shared)
        near(student.run_vector_bytes(width, bits, group, shared), stored.vector(width))


def pages_of(given: dict[str, Any], h: int, h_kv: int, page: int, size: float) -> tuple[Any, ...]:
    """A cache in pages that lie anywhere, NaN wherever nothing belongs to the sequence; and what has to come out."""
    p = given["paged"]
    rng = np.random.default_rng(p["draw"])
    n = p["length"]
    count = -(-n // page)
    table = rng.permutation(2 * count)[:count]
    k, v = rng.normal(size=(n, h_kv, p["d_k"])), rng.normal(size=(n, h_kv, p["d_v"]))
    q = size * rng.normal(size=(h, p["d_k"]))
    k_pages = np.full((2 * count, page, h_kv, p["d_k"]), np.nan)
    v_pages = np.full((2 * count, page, h_kv, p["d_v"]), np.nan)
    for i in range(n):
        k_pages[table[i // page], i % page] = k[i]
        v_pages[table[i // page], i % page] = v[i]
    wanted = [reference.attention(q[i : i + 1], k[:, i * h_kv // h], v[:, i * h_kv // h])[0] for i in range(h)]
    return (q, k_pages, v_pages, [int(i) for i in table], n), np.stack(wanted)


@test("paged", points=1)
def pages_anywhere(student: Any, given: dict[str, Any]) -> None:
    """Pages in any order, the last one not full, NaN in every slot that is not the sequence's."""
    for page in (16, 7, given["machine"]["page"]):
        arguments, wanted = pages_of(given, 2, 2, page, 1.0)
        near(student.run_paged_attention(*arguments), wanted, rel=1e-4, abs=1e-5)


@test("paged", points=1)
def full_pages(student: Any, given: dict[str, Any]) -> None:
    """A sequence that fills its last page, and one that is a single position."""
    for length in (48, 1):
        arguments, wanted = pages_of(given | {"paged": given["paged"] | {"length": length}}, 1, 1, 16, 1.0)
        near(student.run_paged_attention(*arguments), wanted, rel=1e-4, abs=1e-5)


@test("paged", points=1)
def grouped(student: Any, given: dict[str, Any]) -> None:
    """Neighbouring query heads share a key head."""
    arguments, wanted = pages_of(given, 6, 2, 16, 1.0)
    near(student.run_paged_attention(*arguments), wanted, rel=1e-4, abs=1e-5)


@test("paged", points=1)
def large_scores(student: Any, given: dict[str, Any]) -> None:
    """Scores in the hundreds and beyond: no overflow."""
    arguments, wanted = pages_of(given, 2, 1, 16, 900.0)
    near(student.run_paged_attention(*arguments), wanted, rel=1e-2, abs=1e-2)


@test("paged", points=1)
def many_prefixes(student: Any, given: dict[str, Any]) -> None:
    """Shared pages are those that the prefix fills, however the prefix ends in its last one."""
    page, own = given["machine"]["page"], [1, 5, given["paged"]["length"], 1000]
    for prefix in (given["paged"]["prefix"], 7 * page, page - 1, 0):
        wanted = prefix // page + sum(-(-(prefix + n) // page) - prefix // page for n in own)
        near(student.run_pages(prefix, own, page), wanted)
