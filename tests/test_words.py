"""Sentences that know their numbers, on made-up machines: no sentence contradicts the table that it stands beside.

A claim is a phrase and what has to be true of the table where a sentence holds it. The claims are written down here,
apart from the sentences: a wrong wording, or one chosen by a wrong comparison, has something to fail on.
"""

import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest

from attnlib.book import words

ROOT = Path(__file__).parent.parent


# --- Made-up machines: what tables they would give -----------------------------------------------------------------


def tables(*, rate, cores, cache, memory, call, fits=2**24):
    """The arguments of every function of `words` on a machine of that rate in FLOP/s.

    Args:
        rate: of products, on one core.
        cores: how many times faster all cores are than one.
        cache, memory: bytes a second of what lies in the cache (up to `fits` bytes), and of what does not.
        call: seconds that any call costs.
    """

    def reading(size):
        return size / (cache if size <= fits else memory)

    def seconds(flops, size, parallel=True):
        return call + max(flops / (rate * (cores if parallel else 1)), reading(size))

    contexts = [2**e for e in range(9, 16)]
    moved = [4 * (4 * 1024**2 + 2 * c * 1024) for c in contexts]
    read = [call + reading(size) for size in moved]
    steps = [seconds(size / 2, size) + 5 * call for size in moved]
    shared = [
        (call + reading(size), seconds(h, size) + 5 * call) for size, h in ((84e6, 42e6), (31e6, 42e6), (17e6, 42e6))
    ]
    sizes = np.geomspace(1e5, 1e11, 12)
    predicted = np.array([seconds(f, f / 100) for f in sizes])
    measured = predicted * np.where(np.arange(12) % 2, 1.1, 0.9) + 3 * call
    tokens = [65, 257, 1025, 4097]
    calls = [seconds(8.0 * n * n, 4 * n * n) for n in tokens]
    lengths = [64, 128, 256, 512, 1024, 2048, 4096]
    layer = np.array([seconds(8 * n * 128**2 + 4 * n * n * 128, 4 * n * n) for n in lengths])
    # A recurrence waits n times for a product of a vector and a matrix, on one core.
    loop = np.array([call + n * (call / 50 + max(2 * 128**2 / rate, reading(4 * 128**2))) for n in lengths])
    ratios = {"vanilla": layer / loop, "GRU": layer / (3 * loop), "LSTM": layer / (4 * loop)}
    taylor = [("(16, 2)", 60 * cores, 120.0, (64, 512)), ("(64, 2)", 1500 / cores, 2000.0, (1024, 4096))]
    chunks = [8, 32, 128, 512]
    looped = [4096 / c * (call + reading(4 * 64 * 65)) + 4096 * 256 * (c + 64) / rate for c in chunks]
    skip = [(x, 0.9 * x, 1.1 * x) for x in ((0.55 + 1e4 * call), (0.2 + 1e4 * call))]
    plans = {"written": [2**23, 2**35], "flash": [2**20, 2**26]}
    peers = {"torch": [2 / cores, 2.5 / cores], "jax.nn": [6 / cores, 12 / cores]}
    return {
        "kept_memory": [(1 + 0.5 * memory / cache * cores, True), (1.0, False)],
        "caches": [(cache, memory)],
        "one_rate": [(min(sizes / measured), max(sizes / measured))],
        "accuracy": [(predicted, measured)],
        "predicted_alt": [(predicted, measured)],
        "worst": [(predicted[:8], measured[:8])],
        "direction": [(predicted[:8], measured[:8])],
        "against": [(sizes / rate, predicted, measured)],
        "moment": [(max(sizes / measured), rate * cores)],
        "products": [(rate * cores, 1e7 / (call + 1e7 / rate))],
        "growth": [(3.2 - 0.4 * cores, 2.6)],
        "growth_alt": [(3.2 - 0.4 * cores, 1.0, 20 / cores)],
        "overhead": [(steps[0], call)],
        "decode": [(np.array(steps) / read,)],
        "decode_alt": [(np.array(steps) / read, steps)],
        "ridge": [(rate * cores / memory, (153, 295, 240))],
        "waits": [("matmul", ["bandwidth", "bandwidth", "overhead"], steps[2] / seconds(8e6, 1e4))],
        "shared_heads": [([s for _, s in shared], [r for r, _ in shared])],
        "batched": [((shared[2][1] - 4 * call) / shared[0][1], 0.83)],
        "single_key": [(8, rate * cores / memory)],
        "best_chunk": [(chunks, looped, math.sqrt(call * rate / 256))],
        "chunk_alt": [(chunks, looped)],
        "crossings": [(taylor,)],
        "crossing_alt": [(taylor, [-0.9, 0.1 - cores], [[1.5, 2.0 / cores, 0.9], [1.2, 1.0, 0.8]])],
        "memory_alt": [([1024, 65_536], plans)],
        "skipping": [tuple(skip)],
        "written_out": [(2.8 / cores, 6.8 / cores, 1.2)],
        "peers": [(peers, 4096), ({k: v[:1] for k, v in peers.items()}, 16_384, "a CPU (2026)")],
        "peers_alt": [(peers,)],
        "reported": [({"torch": 1.16, "jax.nn": 4.7}, 4096, "another machine", "2026-11-28")],
        "crossings_alt": [(ratios, lengths)],
        "equal_work": [(ratios["vanilla"][1], ratios["GRU"][1], ratios["LSTM"][2])],
        "ahead": [(ratios["vanilla"][1], ratios["GRU"][1], ratios["LSTM"][2])],
        "lstm": [(0.6 * cores, 1024)],
        "control": [(min(0.07 * cores, 1), 0.061)],
        "report": [(cores * 2**20, 3 * 2**31, 2**31)],
        "call_alt": [(tokens, {"attention": calls, "flash_attention": calls[:3]})],
        "faster_at": [(tokens, [x / cores for x in calls[:3]], calls)],
        "last_step": [(calls[-1] / calls[-2], (tokens[-1] / tokens[-2]) ** 2)],
    }


MACHINES = {
    "slow": tables(rate=2e8, cores=1.9, cache=4e8, memory=1e8, call=2e-4),
    "no second core's benefit": tables(rate=5e10, cores=1.0, cache=4e10, memory=8e9, call=3e-5),
    "memory as fast as the cache": tables(rate=1e11, cores=2.0, cache=5e10, memory=5e10, call=1e-5, fits=2**40),
}

# Outcomes that none of the three has.
EDGES = {
    "kept_memory": [(0.5, True), (1.0, True)],
    "one_rate": [(1e9, 3e9)],
    "accuracy": [([1e-4, 1.0], [2e-4, 1.0]), ([1e-4, 1.0], [1e-4, 3.0]), ([1e-4, 1.0], [1e-4, 1.0]), ([1.0], [1.5])],
    "predicted_alt": [([1, 1, 1], [2, 3, 4]), ([1, 1, 1], [0.5, 0.4, 0.2]), ([1, 1], [0.9, 1.1])],
    "worst": [([1.0, 1e-4], [2.0, 5e-5])],
    "direction": [([1, 1, 1], [2, 3, 4]), ([1, 1, 1], [0.5, 0.4, 0.2]), ([1, 1], [0.5, 2])],
    "against": [
        ([1, 1, 1], [1.75, 1.75, 1.75], [1.1, 1.1, 3.0]),
        ([1, 3, 5], [1, 1, 1], [1, 1, 1]),
        ([1, 1, 1], [1, 3, 5], [1, 1, 1]),
        ([1, 2], [1, 2], [1, 3]),
    ],
    "moment": [(475e9, 241e9), (200e9, 241e9), (245e9, 241e9)],
    "products": [(234e9, 227e9), (234e9, 60e9), (100e9, 120e9)],
    "growth": [(2.0, 2.6), (3.0, 2.6), (2.6, 2.6)],
    "overhead": [(5e-5, 5e-5)],
    "decode": [([0.9, 0.95],), ([0.9, 1.2],), ([1.03, 1.52],)],
    "decode_alt": [([0.9, 0.95, 0.8], [1, 1, 2]), ([0.9, 1.2, 1.1], [1, 2, 3])],
    "ridge": [(0.3, (153, 295)), (200.0, (153, 295))],
    "waits": [("matmul", ["bandwidth"], 40.0), ("bandwidth", ["matmul"], 0.8)],
    "shared_heads": [([3, 3, 3], [3, 1, 0.5]), ([3, 1, 0.6], [3, 1, 0.5])],
    "batched": [(0.61, 0.83), (0.83, 0.83), (0.95, 0.83)],
    "single_key": [(8, 4.0), (8, 31.0)],
    "lstm": [(0.85, 1024), (1.0, 1024), (1.3, 512)],
    "best_chunk": [
        ([8, 64, 512], [3.0, 1.0, 2.0], 70.0),
        ([8, 64, 512], [3.0, 1.0, 2.0], 300.0),
        ([8, 64, 512], [1.0, 2.0, 3.0], 8.0),
    ],
    "crossings": [
        ([("(1, 1)", 100, 90, (64, 512))],),
        ([("(1, 1)", 53, 121, (64, 512))],),
        ([("(2, 2)", math.inf, 90, (64, 512))],),
        ([("(1, 1)", 53, 121, (64, 512)), ("(2, 2)", math.inf, 90, (64, 512))],),
    ],
    "crossing_alt": [
        ([("(1, 1)", 100, 90, (64, 512))], [-0.5]),
        ([("(1, 1)", 100, 90, (64, 512))], [-0.5], [[1.2, 0.4]]),
        ([("(1, 1)", math.inf, 90, (64, 512))], [0.1], [[0.9, 1.0]]),
        ([("(1, 1)", 100, 90, (64, 512))], [-0.5], [[1.2, 1.3, 0.4]]),
    ],
    "skipping": [
        ((0.6, 0.5, 0.7), (0.2, 0.1, 0.3)),
        ((1.1, 0.9, 1.3), (0.2, 0.1, 0.3)),
        ((1.1, 0.9, 1.3), (1.0, 0.9, 1.1)),
        ((0.8, 0.7, 0.9), (1.0, 0.9, 1.1)),
    ],
    "written_out": [(2.8, 5.1, 1.1), (2.8, 2.9, 0.6)],
    "peers": [({"torch": [1.5], "jax.nn": [3.0]}, 4096)],
    "peers_alt": [({"torch": [0.9, 2.0], "jax.nn": [3.0]},), ({"torch": [1.16, 2.0]},)],
    "crossings_alt": [
        ({"a": [2, 3, 4], "b": [0.1, 0.2, 0.3], "c": [0.5, 1.5, 2], "d": [2, 1.5, 0.9]}, (64, 128, 256))
    ],
    "equal_work": [(0.4, 0.5, 0.6), (1.4, 1.5, 1.6), (0.9, 1.1, 0.8)],
    "ahead": [(0.4, 0.5, 0.6)],
    "control": [(0.05, 0.06), (0.15, 0.06)],
    "report": [(1e6, 8e8, 2e9), (1e9, 1e9, 1e9), (1e6, 2e9, 1e9), (4e9, 1e9, 1e9)],
    "faster_at": [
        ((65, 257, 1025), (1.0, 2.0, 9.0), (2.0, 2.0, 8.0)),
        ((65, 257), (2.0, 3.0), (1.0, 2.0)),
        ((65, 257, 1025), (1.0, 3.0), (2.0, 2.0, 4.0)),
    ],
    "last_step": [(2.3, 4.34), (9.0, 4.34), (4.3, 4.34)],
}


# --- What a phrase claims ------------------------------------------------------------------------------------------


def miss(p, m):
    return np.maximum(np.divide(p, m), np.divide(m, p))


def medians(p, m):
    short = np.asarray(m) < 1e-3
    return tuple(np.median(miss(p, m)[some]) if some.any() else math.nan for some in (short, ~short))


def gains(a, b, m):
    """By which factor a is the better prediction than b, on each measure."""
    (first, second), inside = (miss(a, m), miss(b, m)), [np.mean(miss(p, m) <= 2) for p in (a, b)]
    return {
        "median miss": np.median(second) / np.median(first),
        "worst miss": max(second) / max(first),
        "share within": (inside[0] + 1e-9) / (inside[1] + 1e-9),
    }


def close(printed, value):
    """Whether a printed number is the value, up to its last digit."""
    digits = len(printed.partition(".")[2])
    return abs(float(printed.replace(",", "")) - value) <= 0.51 * 10**-digits or math.isclose(
        float(printed.replace(",", "")), value, rel_tol=0.06
    )


def range_of(found, values):
    return close(found[1], min(values)) and close(found[2] or found[1], max(values))


# function: phrase, with # for a number: what it claims, of the match and the arguments
CLAIMS = {
    "kept_memory": {
        "two runs of the same programs": lambda _, gain, agreed: not agreed,
        r"becomes # times as fast": lambda x, gain, agreed: agreed and gain > 1.04 and close(x[1], gain),
        r"takes # times as long": lambda x, gain, agreed: agreed and gain < 0.96 and close(x[1], 1 / gain),
        "the same time in both": lambda _, gain, agreed: agreed and 0.95 <= gain <= 1.06,
    },
    "caches": {
        r"smaller one is # times as fast": lambda x, near, far: near > far and close(x[1], near / far),
        "larger one is not the slower one": lambda _, near, far: near <= 1.05 * far,
    },
    "one_rate": {
        "No single rate": lambda _, slow, fast: fast / 2 > 2 * slow,
        "a single rate would": lambda _, slow, fast: fast / 2 <= 2 * slow,
    },
    "accuracy": {
        r"half of the programs here to within a factor of #": lambda x, p, m: close(x[1], np.median(miss(p, m))),
        r"of (\d+)% of them": lambda x, p, m: close(x[1], 100 * np.mean(miss(p, m) <= 2)),
        "below a millisecond were missed by more": lambda _, p, m: medians(p, m)[0] > medians(p, m)[1],
        "above a millisecond were missed by more": lambda _, p, m: medians(p, m)[1] > medians(p, m)[0],
        "missed alike": lambda _, p, m: math.isclose(*medians(p, m), rel_tol=0.06),
    },
    "predicted_alt": {
        r"(\d+)% of the points lie within": lambda x, p, m: close(x[1], 100 * np.mean(miss(p, m) <= 2)),
        "took longer than predicted": lambda _, p, m: sum(np.greater(m, p)) > len(m) / 2,
        "took less than predicted": lambda _, p, m: sum(np.less(m, p)) > len(m) / 2,
        "some on either side": lambda _, p, m: any(np.greater(m, p)) and any(np.less_equal(m, p)),
    },
    "worst": {
        r"(\d+) took longer than predicted and (\d+) did not": lambda x, p, m: (
            (int(x[1]), int(x[2])) == (sum(np.greater(m, p)), sum(np.less_equal(m, p)))
        ),
        r"(\d+) took less than a millisecond": lambda x, p, m: int(x[1]) == sum(t < 0.001 for t in m),
    },
    "direction": {
        "Most of the worst misses took longer": lambda _, p, m: np.mean(np.greater(m, p)) > 0.7,
        "Most of the worst misses took less time": lambda _, p, m: np.mean(np.less(m, p)) > 0.7,
        "The worst misses lie on both sides": lambda _, p, m: 0.25 < np.mean(np.greater(m, p)) < 0.75,
    },
    "against": {
        r"the single rate is the better one by ([\w ]+(?:, [\w ]+)?)": lambda x, a, b, m: all(
            (gains(a, b, m)[measure] > 1) for measure in gains(a, b, m) if measure in x[1].split(", the ")[0]
        ),
        r"the roofline is the better one by ([\w ,]+)": lambda x, a, b, m: all(
            (gains(a, b, m)[measure] < 1) for measure in gains(a, b, m) if measure in x[1].split(", the two")[0]
        ),
        r"the two are alike by ([\w ,]+)": lambda x, a, b, m: all(
            0.95 < gains(a, b, m)[measure] < 1.06 for measure in gains(a, b, m) if measure in x[1]
        ),
    },
    "moment": {
        r"ran at # times the rate.*a slower moment": lambda x, fast, best: fast > best and close(x[1], fast / best),
        "No program ran noticeably faster": lambda _, fast, best: fast <= 1.05 * best,
    },
    "products": {
        r"is (\d+)% of the rate": lambda x, large, small: close(x[1], 100 * small / large),
        "stays on fewer of them": lambda _, large, small: small < large,
        "loses nothing": lambda _, large, small: small > 0.95 * large,
    },
    "growth": {
        "more slowly than the count": lambda _, measured, counted: measured < counted - 0.09,
        "faster than the count": lambda _, measured, counted: measured > counted + 0.09,
        "grow alike": lambda _, measured, counted: abs(measured - counted) < 0.11,
    },
    "growth_alt": {
        r"without a cache has slope #, the one with a cache #": lambda x, a, b, _: close(x[1], a) and close(x[2], b)
    },
    "overhead": {
        r"The rest goes": lambda _, step, empty: step > empty,
        "a call costs is most of": lambda _, step, empty: empty > step / 2,
    },
    "decode": {
        "ratio is #(?: to #)?": lambda x, ratios: range_of(x, ratios),
        "Below one": lambda _, ratios: min(ratios) <= 1,
        "above one": lambda _, ratios: max(ratios) >= 1,
    },
    "decode_alt": {
        "lie above the line": lambda _, ratios, s: min(ratios) > 1,
        "lie below the line": lambda _, ratios, s: max(ratios) < 1,
        "on both sides of the line": lambda _, ratios, s: min(ratios) <= 1 <= max(ratios),
        "at #(?: to #)? times": lambda x, ratios, s: range_of(x, ratios),
        r"slope is # at the left end": lambda x, ratios, s: close(x[1], math.log2(s[1] / s[0])),
        r"and # at the right end": lambda x, ratios, s: close(x[1], math.log2(s[-1] / s[-2])),
    },
    "ridge": {
        "below those of accelerators": lambda _, here, published: here < min(published),
        "no lower than that of every": lambda _, here, published: here >= min(published),
        ", and above the one half": lambda _, here, published: here > 0.5,
        "and not above the one half": lambda _, here, published: here <= 0.5,
    },
    "waits": {
        r"prefill waits for (\w+)": lambda x, prefill, decodes, slower: x[1] == prefill,
        r"that of decode for ([\w ]+)\.": lambda x, prefill, decodes, slower: set(x[1].split(" or ")) == set(decodes),
        "the true part of the claim": lambda _, prefill, decodes, slower: slower > 1,
        "does not hold": lambda _, prefill, decodes, slower: slower <= 1.05,
    },
    "shared_heads": {
        "the time falls with the bytes": lambda _, steps, reads: steps[1] < steps[0],
        "the time does not fall": lambda _, steps, reads: steps[1] > 0.95 * steps[0],
        r"takes # times as long as reading": lambda x, steps, reads: close(x[1], steps[2] / reads[2]),
        r"no more than # times": lambda x, steps, reads: (
            close(x[1], steps[2] / reads[2]) and steps[2] <= 1.5 * reads[2]
        ),
        "The rest is arithmetic": lambda _, steps, reads: steps[2] > 1.4 * reads[2],
    },
    "batched": {
        "falls further than the bytes": lambda _, time, size: time < 0.96 * size,
        "falls less than the bytes": lambda _, time, size: time > 1.04 * size,
        "falls as the bytes do": lambda _, time, size: 0.95 <= time / size <= 1.06,
    },
    "single_key": {
        r"the ridge point of this machine, #": lambda x, intensity, ridge: close(x[1], ridge),
        r"is below .* waits for reading": lambda _, intensity, ridge: intensity < ridge,
        r"not below .* waits for arithmetic": lambda _, intensity, ridge: intensity >= ridge,
    },
    "best_chunk": {
        r"# was the fastest": lambda x, chunks, s, p: int(x[1]) == chunks[int(np.argmin(s))],
        "the two ends predict #": lambda x, chunks, s, p: close(x[1], p),
        "itself an end": lambda _, chunks, s, p: min(s) in (s[0], s[-1]),
        ", within a factor of two": lambda _, chunks, s, p: 1 / 2 <= p / chunks[int(np.argmin(s))] <= 2,
        "off by more than": lambda _, chunks, s, p: not 1 / 2 <= p / chunks[int(np.argmin(s))] <= 2,
    },
    "chunk_alt": {
        "is least at #": lambda x, chunks, s: int(x[1]) == chunks[int(np.argmin(s))],
        r"at # it is # times as long, at # # times": lambda x, chunks, s: (
            (int(x[1]), int(x[3])) == (chunks[0], chunks[-1])
            and close(x[2], s[0] / min(s))
            and close(x[4], s[-1] / min(s))
        ),
    },
    "crossings": {
        r"factor of # at most": lambda x, cases: close(x[1], max(max(a / b, b / a) for _, a, b, _ in cases)),
        r"For (.*) the clock's crossing lies outside": lambda x, cases: (
            x[1]
            == words.listed(
                [name for name, clock, _, n in cases if clock < min(n) or max(n) < clock < math.inf] or [""]
            )
        ),
        r"For ([^:]*) the measured ratios do not fall": lambda x, cases: (
            x[1].rpartition("extrapolated. For ")[2]
            == words.listed([n for n, clock, *_ in cases if clock == math.inf] or [""])
        ),
        "Every crossing of the clock lies within": lambda _, cases: all(
            min(n) <= clock <= max(n) for _, clock, _, n in cases
        ),
    },
    "crossing_alt": {
        "All fitted lines fall": lambda _, cases, slopes, ratios=(): max(slopes) < 0,
        "Not all fitted lines fall": lambda _, cases, slopes, ratios=(): max(slopes) >= 0,
        r"the points rise in places for ([^.]*)\.": lambda x, cases, slopes, ratios=(): (
            x[1] == words.listed([c[0] for c, r in zip(cases, ratios, strict=False) if max(np.diff(r)) > 0] or [""])
        ),
        "the points fall at every step": lambda _, cases, slopes, ratios=(): (
            len(ratios) > 0 and all(max(np.diff(r)) <= 0 for r in ratios)
        ),
    },
    "memory_alt": {
        r"(\w+): slope # at the end": lambda x, n, plans: close(
            x[2], math.log(plans[x[1]][-1] / plans[x[1]][-2]) / math.log(n[-1] / n[-2])
        )
    },
    "skipping": {
        "Skipping works": lambda _, causal, window: causal[0] < 1 and window[0] < 1,
        "skipping saved time for the causal mask only": lambda _, causal, window: causal[0] < 1 <= window[2],
        "skipping saved time for the window only": lambda _, causal, window: window[0] < 1 <= causal[2],
        "skipping saved no time": lambda _, causal, window: causal[2] >= 1 and window[2] >= 1,
    },
    "written_out": {
        r"took # times as long as flash; with a causal mask, # times as long as causal flash": lambda x, a, b, _: (
            close(x[1], a) and close(x[2], b)
        ),
        "a mask saves it nothing": lambda _, full, causal, masked: masked > 0.95,
    },
    "peers": {
        "torch took #(?: to #)? times": lambda x, ratios, n, *_: range_of(x, ratios["torch"]),
        "jax.nn took #(?: to #)? times": lambda x, ratios, n, *_: range_of(x, ratios["jax.nn"]),
        "the machine of the file": lambda _, ratios, n, *of: len(ratios["torch"]) == 1 and not of,
        r"flash_attention, on a CPU": lambda _, ratios, n, *of: len(ratios["torch"]) == 1 and of,
        r"the (\d+) machines": lambda x, ratios, n, *_: len(ratios["torch"]) == int(x[1]) > 1,
    },
    "peers_alt": {
        "All lie above one": lambda _, ratios: min(map(min, ratios.values())) >= 1,
        "took the least time": lambda _, ratios: min(map(min, ratios.values())) >= 1,
        r"Somewhere below one, and so faster than flash_attention: (.*)\.": lambda x, ratios: all(
            (name in x[1]) == (min(values) < 1) for name, values in ratios.items()
        ),
    },
    "reported": {r"gave # times for torch": lambda x, ratios, *_: float(x[1]) == ratios["torch"]},
    "crossings_alt": {
        r"(\w+) is above one at every length": lambda x, ratios, n: min(ratios[x[1]]) > 1,
        r"(\w+) is below one at every length": lambda x, ratios, n: max(ratios[x[1]]) < 1,
        r"(\w+) is not above one at #": lambda x, ratios, n: ratios[x[1]][-1] <= 1,
        r"(\w+) is above one for good from # on": lambda x, ratios, n: all(
            r > 1 for r, length in zip(ratios[x[1]], n, strict=True) if length >= int(x[2].replace(",", ""))
        ),
    },
    "equal_work": {
        r"took # times as long as the GRU and #": lambda x, c, g, t: close(x[1], g) and close(x[2], t),
        "All are below one": lambda _, *x: max(x) < 1,
        "All are above one": lambda _, *x: min(x) > 1,
        "Below one, attention": lambda _, *x: min(x) <= 1 <= max(x),
    },
    "ahead": {r"in (\d) of 3 cases": lambda x, *ratios: int(x[1]) == sum(r < 1 for r in ratios)},
    "lstm": {
        r"took # times the GRU's time": lambda x, ratio, n: close(x[1], ratio),
        r"At # positions": lambda x, ratio, n: close(x[1], n),
        "ends earlier": lambda _, ratio, n: ratio < 0.96,
        "ends later": lambda _, ratio, n: ratio > 1.04,
        "same length": lambda _, ratio, n: 0.95 <= ratio <= 1.06,
    },
    "control": {
        "which is above": lambda _, best, chance: best > chance,
        "which is not above": lambda _, best, chance: best <= chance,
    },
    "report": {
        "never there at once": lambda _, said, grew, copy: grew < copy,
        "leaves most of it out": lambda _, said, grew, copy: said < grew / 2,
        "did not touch all": lambda _, said, grew, copy: grew < said / 2,
        "has the weights in it": lambda _, said, grew, copy: 0.5 <= said / grew <= 2,
        r"# copies": lambda x, said, grew, copy: close(x[1], grew / copy),
    },
    "call_alt": {
        r"# for attention": lambda x, n, s: close(
            x[1], math.log(s["attention"][-1] / s["attention"][-2]) / math.log(n[-1] / n[-2])
        ),
        r"# for flash_attention": lambda x, n, s: close(
            x[1], math.log(s["flash_attention"][-1] / s["flash_attention"][-2]) / math.log(n[2] / n[1])
        ),
    },
    "faster_at": {
        r"(?<!_)attention was the faster one at ([^.]*?) tokens": lambda x, n, a, b: (
            x[1] == words.listed([f"{t:,}" for t, p, q in zip(n, a, b, strict=False) if p < 0.95 * q] or [""])
        ),
        r"flash_attention was the faster one at ([^.]*?) tokens": lambda x, n, a, b: (
            x[1] == words.listed([f"{t:,}" for t, p, q in zip(n, a, b, strict=False) if q < 0.95 * p] or [""])
        ),
        r"they were alike at ([^.]*)\.": lambda x, n, a, b: (
            x[1] == words.listed([f"{t:,}" for t, p, q in zip(n, a, b, strict=False) if 0.95 < p / q < 1.05] or [""])
        ),
    },
    "last_step": {
        "by less than its operations": lambda _, time, flops: time < 0.96 * flops,
        "by more than its operations": lambda _, time, flops: time > 1.04 * flops,
        "grew as its operations": lambda _, time, flops: math.isclose(time, flops, rel_tol=0.06),
    },
}


def pattern(phrase):
    return phrase.replace("#", r"(-?\d[\d,]*(?:\.\d+)?)")


def contradictions(function, sentence, arguments):
    """The claims of a sentence that are false of these numbers; one that claims nothing contradicts itself."""
    found = [
        (phrase, claim, match)
        for phrase, claim in CLAIMS[function].items()
        for match in re.finditer(pattern(phrase), sentence)
    ]
    if not found:
        return [f"no claim is known: {sentence!r}"]
    return [
        f"{phrase!r} is false: {sentence!r}" for phrase, claim, match in found if not holds(claim, match, arguments)
    ]


def holds(claim, match, arguments):
    try:
        return claim(match, *arguments)
    except KeyError:  # it speaks of what is not in the table
        return False


HELPERS = {"length", "span", "fold", "longer", "above", "listed", "misses", "passing"}
SENTENCES = sorted(
    name
    for name, f in vars(words).items()
    if inspect.isfunction(f) and not name.startswith("_") and name not in HELPERS
)
CASES = [
    (name, f"{where} {i}", arguments)
    for name in SENTENCES
    for where, given in {**MACHINES, "edge": EDGES}.items()
    for i, arguments in enumerate(given.get(name, []))
]


def test_every_sentence_is_tried_on_every_machine():
    assert set(CLAIMS) == set(SENTENCES)
    for made_up in MACHINES.values():
        assert set(made_up) == set(SENTENCES)


@pytest.mark.parametrize(("name", "where", "arguments"), CASES, ids=[f"{n}, {w}" for n, w, _ in CASES])
def test_no_sentence_contradicts_its_table(name, where, arguments):
    sentence = getattr(words, name)(*arguments)
    assert contradictions(name, sentence, arguments) == []
    assert not re.search(r"[\n`${}\\]| nan|\binf\b|  ", sentence)
    assert name == "accuracy" or sentence.endswith(".")


@pytest.mark.parametrize("name", SENTENCES)
def test_every_wording_is_seen(name):
    """Each phrase is chosen by one of the tables at least: no wording is left untried."""
    said = [getattr(words, name)(*arguments) for n, _, arguments in CASES if n == name]
    assert [phrase for phrase in CLAIMS[name] if not any(re.search(pattern(phrase), s) for s in said)] == []


@pytest.mark.parametrize("name", SENTENCES)
def test_a_wrong_wording_is_red(name, monkeypatch):
    """A sentence that is chosen by another table's numbers, and says something else of them, contradicts this one."""
    cases = [arguments for n, _, arguments in CASES if n == name]
    said = [getattr(words, name)(*arguments) for arguments in cases]
    planted = 0
    for wrong in said:
        monkeypatch.setattr(words, name, lambda *_, wrong=wrong: wrong)
        for right, arguments in zip(said, cases, strict=True):
            kinds = [{p for p in CLAIMS[name] if re.search(pattern(p), s)} for s in (wrong, right)]
            if kinds[0] - kinds[1]:
                planted += 1
                assert contradictions(name, getattr(words, name)(*arguments), arguments), (wrong, arguments)
    assert planted or len({tuple(p for p in CLAIMS[name] if re.search(pattern(p), s)) for s in said}) == 1


@pytest.mark.parametrize(
    ("name", "arguments", "planted"),
    [
        ("decode_alt", ([1.03, 1.52], [1.0, 2.0]), "The steps lie on both sides of the line of the product."),
        (
            "accuracy",
            ([1e-4, 1.0], [1.1e-4, 3.0]),
            "programs below a millisecond were missed by more than longer ones",
        ),
        ("crossings", ([("(16, 2)", 53, 121, (64, 512))],), "Every crossing of the clock lies within the lengths."),
        ("peers", ({"torch": [1.16, 1.98], "jax.nn": [4.7]}, 4096), "torch took 1.98 times as long"),
        ("last_step", (2.3, 4.34), "The call grew as its operations."),
    ],
)
def test_sentences_that_once_stood_in_the_book_are_red(name, arguments, planted):
    assert contradictions(name, planted, arguments)


def test_ranges_and_lists():
    assert words.span([1.0]) == "1.00"
    assert words.span([3, 1, 2], 0) == "1 to 3"
    assert [words.length(x) for x in (1234.5, float("inf"))] == ["1,234", "no length"]
    assert [words.listed(x) for x in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert [words.longer(x) for x in (1.06, 1.0, 0.9)] == [1, 0, -1]


def test_every_sentence_stands_in_a_chapter():
    """No wording is written for nobody, and every sentence that a cell chooses is shown."""
    chapters = {path.stem: path.read_text("utf8") for path in (ROOT / "chapters").glob("*.md")}
    used = {name for text in chapters.values() for name in re.findall(r"\bwords\.(\w+)\(", text)}
    assert used - HELPERS == set(SENTENCES)
    for stem, text in chapters.items():
        said = set(re.findall(r'\bsay\(\s*"(said-[\w-]+)"', text))
        assert said == set(re.findall(r"\{glue:text\}`(said-[\w-]+)`", text)), stem
        assert all(key.startswith(f"said-{stem}-") for key in said)
