"""Claims, checked: every number once more by hand, verdicts of the set, links that lead somewhere."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attnlib import cost
from attnlib.book import claims
from attnlib.book.drawings.claims import verdicts

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = {path.stem: path.read_text("utf8") for path in (ROOT / "chapters").glob("*.md")}
LABELS = re.compile(r"(?m)^\(([\w-]+)\)=$|^:label: ([\w-]+)$")
EACH = pytest.mark.parametrize("claim", claims.CLAIMS, ids=lambda claim: claim.key)


def core(n, d):
    return 4 * n * n * d


def layer(n, d):
    return 8 * n * d * d + core(n, d)


def whole(n, d):
    return 24 * n * d * d + core(n, d)


def steps(n, d):
    """FLOPs of n steps with a cache, one by one."""
    return sum(8 * d * d + 4 * t * d for t in range(1, n + 1))


def passes(n, d):
    """FLOPs of n steps without."""
    return sum(layer(t, d) for t in range(1, n + 1))


def series(x, order):
    return sum(x**i / math.factorial(i) for i in range(order + 1))


def zero(order):
    """Where an odd Taylor polynomial changes its sign, by halving."""
    low, high = 0.0, float(order)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if series(-middle, order) > 0 else (low, middle)
    return low


def least_order(bound, error):
    """The least even order whose bound e^B B^(p+1)/(p+1)! is small enough."""
    return next(p for p in range(0, 999, 2) if math.exp(bound) * bound ** (p + 1) / math.factorial(p + 1) <= error)


def peak(n):
    rng = np.random.default_rng(1)
    most = 0.0
    for size in (128, 1024, 4096):
        q, k = rng.normal(size=(2, size, 64)).astype(np.float32)
        if size == n:
            most = max(float(np.abs(row @ k.T).max()) for row in q) / 8
    return most


def reach(layers, window):
    """Positions that the last output of a stack of causal windows knows, layer by layer."""
    known = 1
    for _ in range(layers):
        known += window - 1
    return known


def dilated(n, k):
    """Layers with dilations 1, k, k² … until the last of n positions knows the first."""
    layers, covered = 0, 1
    while covered < n:
        covered += (k - 1) * k**layers
        layers += 1
    return layers


GIB = 2**30
# What each number has to be, by arithmetic that knows nothing of `attnlib.cost`; strings are compared as they are.
BY_HAND = {
    "exponential": {
        "double": core(2000, 512) / core(1000, 512),
        "tenfold": core(10_000, 1) / core(1000, 1),
        "digits": math.floor(1000 * math.log10(2)) + 1,
    },
    "doubling": {
        "short": f"{whole(4096, 4096) / whole(2048, 4096):.2f}",
        "long": f"{whole(65_536, 4096) / whole(32_768, 4096):.2f}",
    },
    "projections": {"share": f"{2 * 768 / (2 * 768 + 512):.0%}"},
    "256-times": {
        "core": f"{16**2 * 4 / 3:.1f}",
        "layer": f"{layer(8192, 1024) / layer(512, 768):.1f}",
        "whole": f"{whole(8192, 1024) / whole(512, 768):.1f}",
    },
    "200-million": {"macs": 512**2 * 768, "core": core(512, 768) / 1e9, "layer": layer(512, 768) / 1e9},
    "69-billion": {
        "macs": 8192**2 * 1024,
        "core": core(8192, 1024) / 1e9,
        "projections": 8 * 8192 * 1024**2 / 1e9,
        "layer": layer(8192, 1024) / 1e9,
    },
    "dominates": {"share": f"{2048 / (6 * 12_288 + 2048):.1%}", "equal": 6 * 12_288},
    "three-steps": {"narrow": f"{5 / (4 * 32):.1%}", "wide": f"{5 / (4 * 128):.1%}"},
    "memory-faster": {"ratio": "0.015625"},
    "quadratic-memory": {"written": "16\N{NO-BREAK SPACE}GiB"},
    "must-be-stored": {"written": f"{8 * 4 * 100_000**2 / GIB:.0f}\N{NO-BREAK SPACE}GiB"},
    "flash-linear": {"four": 4, "more": f"{14 / 12 - 1:.0%}"},
    "flash-traffic": {},  # see below
    "parameters": {"short": 4 * 512**2, "long": 4 * 512**2},
    "every-algorithm": {"gap": (65_536**2 * 64) // (65_536 * 64)},
    # Keys times values, 2d² a position; the state read, 2d²; and the denominator, 2d.
    "interact": {"fewer": f"{core(65_536, 64) / (65_536 * (4 * 64**2 + 2 * 64)):,.0f}"},
    "proved": {"tokens": 1024**2 + 1},
    "seth": {"fewer": 1.5**100},
    "p-np": {"exponent": 0.95},
    "breakthrough": {
        name: f"{n**2 / n**1.9:.1f}" for name, n in (("thousand", 1e3), ("million", 1e6), ("billion", 1e9))
    },
    "linear-width": {"position": 4 * 64**2 + 2 * 64, "wider": f"{(4 * 128**2 + 2 * 128) / (4 * 64**2 + 2 * 64):.1f}"},
    # Eight blocks of 64 for most queries, and all keys for the two global blocks.
    "bigbird": {
        "short": f"{2048 / (512 + 128 * (2048 - 512) / 2048):.1f}",
        "long": f"{8192 / (512 + 128 * (8192 - 512) / 8192):.0f}",
    },
    "reformer": {"ratio": 1024 // (32 + 32)},
    # e times keys and f times values, then attention to 256 mixtures.
    "approximations": {"fewer": f"{4 * 65_536 / (8 * 256):.0f}"},
    "experts": {
        "attention": (8 * 4096**3 + 4 * 4096**3) / 1e12,
        "experts": f"{(2 * 16 * 4096**3 + 2 * 4096**2 * 64) / (16 * 4096**3):.2f}",
    },
    "softmax-made-fast": {
        "order": least_order(6, 0.01),
        "features": float(math.comb(64 + least_order(6, 0.01), 64)),
    },
    "constant-cost": {"small": math.comb(15, 7), "large": math.comb(68, 4)},
    "odd-orders": {"one": zero(1), "three": zero(3), "five": zero(5)},
    "window": {"field": reach(32, 4096)},
    "cubic-decoder": {"saving": passes(1000, 512) // steps(1000, 512)},
    "cache-linear": {"share": f"{100_000 / (100_000 + 2 * 4096):.0%}"},
    "generation-linear": {"twice": f"{steps(200_000, 4096) / steps(100_000, 4096):.2f}"},
    "cache-of-a-batch": {
        "one": f"{2 * 2 * 32 * 4096 * 4096 // GIB}\N{NO-BREAK SPACE}GiB",
        "batch": f"{32 * 2 * 2 * 32 * 4096 * 4096 // GIB}\N{NO-BREAK SPACE}GiB",
    },
    "latent": {"numbers": 576, "bytes": 1152, "fewer": f"{(128 * 192 + 128 * 128) / 576:.0f}"},
    # Weights of d × d numbers of two bytes serve every sequence with a multiply-add a number.
    "reuse": {"one": "1", "many": "32", "core": "1"},
    "bandwidth": {"ampere": round(312e12 / 2.039e12), "hopper": round(989e12 / 3.35e12), "written": f"{64 / 2:.0f}"},
    "gpt-3": {
        "context": f"{2 * 2 * 96 * 12_288 * 2048 // GIB}\N{NO-BREAK SPACE}GiB",
        "double": f"{2 * 2 * 96 * 12_288 * 4096 // GIB}\N{NO-BREAK SPACE}GiB",
    },
    "undisclosed": {"written": f"{4 * 100_000**2 / GIB:.2f}\N{NO-BREAK SPACE}GiB"},
    "sequential": {"levels": (4096 - 1).bit_length()},
    "convolutions": {
        "dilated": dilated(1000, 3),
        "causal": -(-999 // 2),
        "centred": -(-999 // 1),
    },
    "width-forgotten": {"both": 512**3, "printed": 512**2},
    "cheaper-than-rnn": {
        "gru": max(n for n in range(1, 3000) if 8 * 512 + 4 * n < 12 * 512),
        "lstm": max(n for n in range(1, 3000) if 8 * 512 + 4 * n < 16 * 512),
    },
    "bounded-logits": {"small": f"{peak(128):.1f}", "large": f"{peak(4096):.1f}"},
    "focus": {"thousand": f"{math.log(math.sqrt(999)):.1f}", "million": f"{math.log(math.sqrt(999_999)):.1f}"},
    "vanishing": {
        name: np.linalg.norm(np.diag(w) - np.outer(w, w), 2)
        for name, w in (
            ("decided", np.exp([10, 0]) / np.exp([10, 0]).sum()),
            ("even", np.array([0.5, 0.5])),
        )
    },
}


@EACH
def test_numbers_by_hand(claim):
    numbers = claim.numbers()
    for name, value in BY_HAND[claim.key].items():
        if isinstance(value, str):
            assert numbers[name] == value
        else:
            assert numbers[name] == pytest.approx(value, rel=1e-9)
    assert set(numbers) - set(BY_HAND[claim.key]) <= BOUNDED.get(claim.key, set())


# Numbers that depend on blocks or tiles, of which a formula by hand gives the size.
BOUNDED = {
    "quadratic-memory": {"tiles"},
    "must-be-stored": {"tiles"},
    "undisclosed": {"tiles"},
    "flash-traffic": {"memory", "fewer", "wide"},
    "reformer": {"share"},
}


def numbers_of(key):
    (claim,) = (claim for claim in claims.CLAIMS if claim.key == key)
    return claim.numbers()


@pytest.mark.parametrize(
    ("key", "n", "h"), [("quadratic-memory", 65_536, 1), ("must-be-stored", 100_000, 8), ("undisclosed", 100_000, 1)]
)
def test_tiles_keep_little_more_than_numerators(key, n, h):
    size, unit = numbers_of(key)["tiles"].split("\N{NO-BREAK SPACE}")
    kept = float(size.replace(",", "")) * {"MiB": 2**20, "GiB": 2**30}[unit]
    # From a maximum and a sum of each query to those, the numerators, scores and blocks of the largest size.
    assert 4 * h * n * 2 < kept < 4 * h * n * 200
    assert kept < 4 * h * n * n / 50


def test_traffic_of_tiles_and_of_written_scores():
    numbers = numbers_of("flash-traffic")
    memory = 164 * 1024 / 4
    assert numbers["memory"] == memory
    # 4n² for the scores and 2n²d²/M for the products, beside 8n²d²/M.
    for name, d in (("fewer", 64), ("wide", 256)):
        ratio = (4 + 2 * d * d / memory) / (8 * d * d / memory)
        assert float(numbers[name]) == pytest.approx(ratio if name == "fewer" else 1 / ratio, rel=0.15)
    assert float(numbers["wide"]) > 1


def test_share_of_hashing():
    n, rounds, window = 65_536, 4, 64
    hashing = 2 * n * 64 * rounds * 1024 / 2
    pairs = rounds * n * 3 * window  # two windows and a chunk
    share = float(numbers_of("reformer")["share"].rstrip("%")) / 100
    assert share == pytest.approx(hashing / (hashing + 4 * pairs * 64), abs=0.02)


def test_hand_and_book_have_the_same_claims():
    keys = [claim.key for claim in claims.CLAIMS]
    assert len(set(keys)) == len(keys) == 45
    assert set(keys) == set(BY_HAND)
    assert all(re.fullmatch(r"[a-z0-9-]+", key) for key in keys)
    assert [claim.group for claim in claims.CLAIMS] == sorted(
        (claim.group for claim in claims.CLAIMS), key=list(claims.GROUPS).index
    )


@EACH
def test_verdict_group_and_statement(claim):
    assert claim.verdict in claims.VERDICTS
    assert claim.group in claims.GROUPS
    said = claim.said()
    assert not claims.PLACEHOLDER.search(said)
    assert not re.search(r"(?<![\w\\^}`])\{[a-z_]+\}(?!`)", said)
    assert said.endswith((".", ".)"))
    assert said.count("**") == 2, "one number decides"
    assert "**{" in claim.statement or "**−{" in claim.statement
    for dollars in (said, claim.claim):
        assert dollars.count("$") % 2 == 0


@EACH
def test_links_lead_to_a_label_of_a_chapter(claim):
    labels = {label: stem for stem, text in CHAPTERS.items() for found in LABELS.findall(text) for label in found}
    assert claim.see in labels
    assert f"\n({claim.see})=\n#" in CHAPTERS[labels[claim.see]], "the label of a section"
    assert labels[claim.see] != "claims"
    for label in re.findall(r"\{(?:prf:)?ref\}`(?:[^`<]*<)?([\w-]+)>?`", claim.statement):
        assert label in labels
    bibliography = (ROOT / "references.bib").read_text("utf8")
    for key in re.findall(r"\{cite:[tp]\}`([\w-]+)`", claim.statement):
        assert f"{{{key},\n" in bibliography


def test_seth_is_dated_where_it_is_named():
    named = [claim for claim in claims.CLAIMS if "SETH" in claim.statement + claim.claim]
    assert {claim.key for claim in named} == {"every-algorithm", "proved", "seth"}
    assert all("October 2026" in claim.statement for claim in named)


def test_the_chapter_shows_every_group_once():
    shown = re.findall(r"(?m)^```\{claims\} ([\w-]+)$", CHAPTERS["claims"])
    assert shown == ["drawing", "verdicts", *claims.GROUPS]
    titles = re.findall(r"(?m)^## (.+)\n\n(?!:::)(?:.+\n)+\n```\{claims\}", CHAPTERS["claims"])
    assert titles == list(claims.GROUPS.values())


def test_tally_counts_all():
    assert sum(claims.tally().values()) == len(claims.CLAIMS)
    assert sum(sum(claims.tally(group).values()) for group in claims.GROUPS) == len(claims.CLAIMS)
    assert list(claims.tally("memory")) == list(claims.VERDICTS)


def test_marks_differ():
    assert len({verdict.mark for verdict in claims.VERDICTS.values()}) == len(claims.VERDICTS)


def test_bad_claims_are_refused():
    one = claims.CLAIMS[0]
    with pytest.raises(ValueError, match=r"claims\.Claim: verdict: expected one of right, .*, got 'true'"):
        replace(one, verdict="true")
    with pytest.raises(ValueError, match=r"claims\.Claim: group: expected one of growth, .*, got 'time'"):
        replace(one, group="time")
    with pytest.raises(ValueError, match=r"exponential: expected numbers \['half'\], got \['double', 'x'\]"):
        replace(one, statement="**{half}**.", numbers=lambda: {"double": 1, "x": 2}).said()
    with pytest.raises(ValueError, match=r"claims\.select: group: expected one of growth, .*, got 'time'"):
        claims.select("time")


def test_places_are_no_formulas_and_no_roles():
    words = r"$\frac{n}{d}$, $n^{k}$, $\mathrm{poly}$, {ref}`a`, {cite:p}`b`, **{share}** and −{low}"
    assert claims.PLACEHOLDER.findall(words) == ["share", "low"]


def test_drawing_has_a_box_for_each_verdict_of_a_group():
    picture = verdicts()
    legend = sum(1 for number in claims.tally().values() if number)
    boxes = legend + sum(1 for group in claims.GROUPS for number in claims.tally(group).values() if number)
    assert picture.svg.count("<rect") == boxes
    assert "Memory: 6 wrong" in picture.description
    for name in claims.GROUPS.values():
        assert name in picture.description


def test_attention_never_takes_fewer_operations_than_a_vanilla_recurrent_layer():
    """What the claim about recurrent layers says without a number: the projections alone are dearer."""
    for n in (1, 64, 512, 4096):
        assert cost.multihead_attention(n, 512, 8).matmul_flops > cost.rnn(n, 512).matmul_flops == 4 * n * 512**2
