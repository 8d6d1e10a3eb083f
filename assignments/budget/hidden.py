"""Tests of *Choose a variant for a budget* that students do not see."""

# leakbudgetxq

import math
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from attnlib import cost, reference
from tools.assignments.harness import near, test


def price(variant: dict[str, Any], n: int, d: int) -> tuple[int, int]:
    """FLOPs and numbers of a head."""
    kind = variant["kind"]
    if kind == "plain":
        return int(cost.attention(n, d).matmul_flops), n * n
    if kind in ("flash", "window"):
        w = min(n, variant.get("w", n))
        return 4 * d * (n * w - w * (w - 1) // 2), 2 * n
    features = variant.get("features") or math.comb(d + variant["order"], variant["order"])
    return 4 * n * features * (d + 1), features * (d + 1)


def priced(student: Any, variant: dict[str, Any], n: int, d: int, flops: int, numbers: int) -> None:
    """Fail unless both numbers are right."""
    found = student.run_costs(variant, n, d)
    near(found["flops"], flops)
    near(found["numbers"], numbers)


@test("costs", points=1)
def exact_ones(student: Any, given: dict[str, Any]) -> None:
    """Work and memory of the plain program and of flash."""
    n, d = given["costs"]["n"], given["costs"]["d"]
    pairs = int(reference.visible(n, n, causal=True).sum())
    priced(student, {"kind": "plain"}, n, d, int(cost.attention(n, d).matmul_flops), n * n)
    priced(student, {"kind": "flash"}, n, d, 4 * pairs * d, 2 * n)


@test("costs", points=1)
def windows(student: Any, given: dict[str, Any]) -> None:
    """Windows shorter than the text, as long, and longer; and of one key."""
    n, d = given["costs"]["n"], given["costs"]["d"]
    for w in (given["costs"]["w"], n, n + 7, 1):
        pairs = int(reference.visible(n, n, causal=True, window=w).sum())
        priced(student, {"kind": "window", "w": w}, n, d, 4 * pairs * d, 2 * n)


@test("costs", points=1)
def states(student: Any, given: dict[str, Any]) -> None:
    """Linear attention; and Taylor, whose monomials are counted one by one."""
    n, d, features = given["costs"]["n"], given["costs"]["d"], given["costs"]["features"]
    priced(student, {"kind": "linear", "features": features}, n, d, 4 * n * features * (d + 1), features * (d + 1))
    for p in (0, 1, 2, 3):
        count = sum(1 for i in range(p + 1) for _ in combinations_with_replacement(range(d), i))
        priced(student, {"kind": "taylor", "order": p}, n, d, 4 * n * count * (d + 1), count * (d + 1))


@test("cache", points=1)
def kept(student: Any, given: dict[str, Any]) -> None:
    """Numbers of the cache before and after a window is full, and of states, which do not grow."""
    d, w = given["costs"]["d"], given["costs"]["w"]
    for t in (1, w - 1, w, w + 1, 10**6):
        exact = int(cost.kv_cache(t, d, dtype="float8_e4m3fn"))
        near(student.run_cache({"kind": "plain"}, t, d), exact)
        near(student.run_cache({"kind": "flash"}, t, d), exact)
        near(
            student.run_cache({"kind": "window", "w": w}, t, d),
            int(cost.kv_cache(min(t, w), d, dtype="float8_e4m3fn")),
        )
        for variant in ({"kind": "linear", "features": given["costs"]["features"]}, {"kind": "taylor", "order": 2}):
            near(student.run_cache(variant, t, d), price(variant, 1, d)[1])


@test("cache", points=1)
def smaller(student: Any, given: dict[str, Any]) -> None:
    """From which length a variant keeps less: not as much, and never for exact ones."""
    d, w = given["costs"]["d"], given["costs"]["w"]
    near(student.run_smaller_from({"kind": "window", "w": w}, d), w + 1)
    for kind in ("plain", "flash"):
        assert student.run_smaller_from({"kind": kind}, d) is None, f"{kind} keeps all"
    for features in (given["costs"]["features"], 2 * d, 2 * d * 7, 1):
        state = features * (d + 1)
        wanted = next(t for t in range(1, 10**6) if 2 * t * d > state)
        near(student.run_smaller_from({"kind": "linear", "features": features}, d), wanted)
    wanted = next(t for t in range(1, 10**6) if 2 * t * d > price({"kind": "taylor", "order": 2}, 1, d)[1])
    near(student.run_smaller_from({"kind": "taylor", "order": 2}, d), wanted)


def least(size: float, tolerance: float) -> int:
    """The smallest even order, by the bound in logarithms."""
    for p in range(0, 1000, 2):
        if (p + 1) * math.log(size) - math.lgamma(p + 2) + size <= math.log(tolerance):
            return p
    raise ValueError(size)


@test("accuracy", points=1)
def orders(student: Any, given: dict[str, Any]) -> None:
    """Orders for small and large scores, and for tolerances from one half to a millionth."""
    for size in (given["job"]["size"], 0.1, 1.5, 5.0, 12.0):
        for tolerance in (0.5, given["job"]["tolerance"], 1e-6):
            near(student.run_order(size, tolerance), least(size, tolerance))


@test("accuracy", points=1)
def depths(student: Any, given: dict[str, Any]) -> None:
    """Layers of windows: whole multiples and others, no distance, and windows that see nothing but themselves."""
    w = given["costs"]["w"]
    for distance in (given["distance"], 3 * (w - 1), 3 * (w - 1) + 1, 1):
        near(student.run_layers(distance, w), math.ceil(distance / (w - 1)))
    near(student.run_layers(0, w), 0)
    near(student.run_layers(0, 1), 0)
    assert student.run_layers(5, 1) is None, "a window of one key never gets there"


OFFERS: list[dict[str, Any]] = [
    {"kind": "plain"},
    {"kind": "taylor", "order": 4},
    {"kind": "flash"},
    {"kind": "taylor", "order": 3},
    {"kind": "linear", "features": 40},
    {"kind": "window", "w": 64},
    {"kind": "taylor", "order": 2},
    {"kind": "window", "w": 8},
    {"kind": "window", "w": 1},
    {"kind": "window", "w": 100_000},
]


def reasons(job: dict[str, Any], x: dict[str, Any]) -> list[str]:
    """Why a variant fails."""
    flops, numbers = price(x, job["n"], job["d"])
    kind, tolerance = x["kind"], job["tolerance"]
    bad = kind == "taylor" and (x["order"] % 2 == 1 or x["order"] < least(job["size"], tolerance or 1))
    failed = {
        "flops": job["heads"] * job["layers"] * flops > job["flops"],
        "bytes": 4 * job["heads"] * numbers > job["bytes"],
        "distance": kind == "window" and job["layers"] * (x["w"] - 1) < job["distance"],
        "accuracy": tolerance is not None and (kind == "linear" or bad),
    }
    return [name for name, value in failed.items() if value]


def chosen(student: Any, job: dict[str, Any], offers: list[dict[str, Any]]) -> None:
    """Fail unless reasons and order are right."""
    found, wanted = student.run_choose(job, offers), [reasons(job, x) for x in offers]
    for x, got, why in zip(offers, found["reasons"], wanted, strict=True):
        assert list(got) == why, f"{x}: expected {why}, got {list(got)}"
    fits = [i for i, why in enumerate(wanted) if not why]
    order = sorted(fits, key=lambda i: price(offers[i], job["n"], job["d"]))
    near(list(found["fits"]), order)


def jobs(given: dict[str, Any]) -> list[dict[str, Any]]:
    """Jobs of which each budget excludes something."""
    rng = np.random.default_rng(given["draw"])
    found = []
    for n, flops, held, distance, size, tolerance in (
        (4000, 3e11, 4e7, 300, 0.3, 0.05),
        (4000, 1e10, 4e7, 30, 0.3, 0.3),
        (900, 1e12, 1e5, 700, 2.0, None),
        (900, 1e12, 4e7, 0, 2.0, 0.2),
        (30_000, 4e12, 1e6, 20_000, 0.5, 1e-4),
    ):
        scale = float(rng.uniform(0.9, 1.1))
        found.append({
            "n": int(n * scale), "d": 8, "heads": 2, "layers": 5, "size": size, "tolerance": tolerance,
            "flops": int(flops * scale), "bytes": int(held * scale), "distance": int(distance * scale),
        })  # fmt: skip
    return found


@test("choose", points=2)
def all_budgets(student: Any, given: dict[str, Any]) -> None:
    """Five jobs and ten variants: the reasons, and the order of those that fit."""
    for job in jobs(given):
        chosen(student, job, OFFERS)


@test("choose", points=1)
def to_the_last(student: Any, given: dict[str, Any]) -> None:
    """Budgets that a variant reaches exactly are kept, with several heads and layers."""
    n, d = given["costs"]["n"], given["costs"]["d"]
    for x in ({"kind": "flash"}, {"kind": "linear", "features": given["costs"]["features"]}):
        flops, numbers = price(x, n, d)
        job: dict[str, Any] = {"n": n, "d": d, "heads": 3, "layers": 7, "distance": 1, "size": 1.0, "tolerance": None}
        job |= {"flops": 21 * flops, "bytes": 12 * numbers}
        for change in ({}, {"flops": 21 * flops - 1}, {"bytes": 12 * numbers - 1}):
            chosen(student, job | change, [x])


@test("choose", points=1)
def archive(student: Any, given: dict[str, Any]) -> None:
    """The archive's job, for the model that exists and for one trained anew."""
    g = given["job"]
    job = {name: g[name] for name in ("n", "d", "heads", "layers", "size", "tolerance")}
    job |= {"flops": g["tflop"] * 10**12, "bytes": g["mib"] * 2**20, "distance": g["n"] - 1}
    offers = [{"kind": "plain"}, {"kind": "flash"}, {"kind": "window", "w": given["window"]}]
    offers += [{"kind": "linear", "features": given["features"]}, *({"kind": "taylor", "order": p} for p in (2, 4))]
    for tolerance in (g["tolerance"], None):
        chosen(student, job | {"tolerance": tolerance}, offers)


@test("choose", points=1)
def equal_work(student: Any, given: dict[str, Any]) -> None:
    """Of two variants that take the same FLOPs the one that holds fewer numbers comes first."""
    job: dict[str, Any] = {"n": 44, "d": 10, "heads": 1, "layers": 1, "flops": 10**9, "bytes": 10**9}
    job |= {"distance": 1, "size": 1.0, "tolerance": None}
    # At 21 positions both take 9,240 FLOPs.
    chosen(student, job | {"n": 21}, [{"kind": "flash"}, {"kind": "linear", "features": 10}])
    chosen(student, job | {"n": 21}, [{"kind": "linear", "features": 10}, {"kind": "flash"}])
