"""What page and notebook must print for each glued number, computed with the library: chapter → key → text."""

import math
from collections.abc import Callable
from math import atanh, comb, log, sqrt

import numpy as np
from book.expected_models import production, training
from jax.random import key
from ml_dtypes import float8_e4m3fn
from pysat.solvers import Cadical153
from scipy.stats import norm
from sympy import Symbol, nsolve
from sympy import log as symbolic_log

from attnlib import bigbird_pattern, cost, hardness, init_performer
from attnlib._numbers import binary
from attnlib.book import heads, text
from attnlib.book.plot import format_bytes, format_count

core = {"small": cost.attention(512, 64, h=12), "large": cost.attention(8192, 64, h=16)}
layer = {"small": cost.multihead_attention(512, 768, 12), "large": cost.multihead_attention(8192, 1024, 16)}
whole = {"small": cost.transformer_layer(512, 768, 12), "large": cost.transformer_layer(8192, 1024, 16)}


def ratio(part: dict[str, cost.Cost]) -> str:
    """By how much a part grows from the small example to the large one."""
    return f"{part['large'].matmul_flops / part['small'].matmul_flops:.4g}"


def doubling(n: int) -> str:
    """By how much a Transformer layer with d = 4096 grows when its length doubles."""
    a, b = (cost.transformer_layer(size, 4096, 32).matmul_flops for size in (n, 2 * n))
    return f"{b / a:.2f}"


def gpt3_share(n: int) -> str:
    """Share of the core in a Transformer layer with GPT-3's width."""
    part = cost.attention(n, 128, h=96).matmul_flops / cost.transformer_layer(n, 12288, 96).matmul_flops
    return f"{part:.1%}"


def largest_scores() -> list[str]:
    """The largest scaled score among n² random pairs, d_k = 64, for n = 128, 1024, 4096."""
    rng = np.random.default_rng(1)
    peaks = []
    for n in (128, 1024, 4096):
        q, k = rng.normal(size=(2, n, 64)).astype(np.float32)
        peaks.append(f"{np.abs(q @ k.T / 8).max():.1f}")
    return peaks


def top_weights() -> list[str]:
    """Mean largest weight of 1,000 random queries over 1,000 random keys, d_k = 256, unscaled and scaled."""
    rng = np.random.default_rng(0)
    for d_k in (4, 16, 64, 256):
        q, k = rng.normal(size=(2, 1000, d_k)).astype(np.float32)
    s = q @ k.T
    return [f"{softmax(scale * s).max(axis=-1).mean():.0%}" for scale in (1.0, 1 / 16)]


def softmax(s: np.ndarray) -> np.ndarray:
    """Softmax along the last axis."""
    p = np.exp(s - s.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def random_formulas() -> list[bool]:
    """Whether each of the random formulas of the lower bound can be satisfied, asked of CaDiCaL."""
    verdicts = []
    for variables, count in ((6, 30), (8, 30), (10, 30), (12, 30), (14, 20), (16, 20)):
        for seed in range(count):
            formula = hardness.random_ksat(variables, round(4.26 * variables), 3, seed=seed)
            with Cadical153(bootstrap_with=formula.clauses) as solver:
                verdicts.append(solver.solve())
    return verdicts


def linear_weights(softmaxed: bool) -> str:
    """Effective number of keys, of 256 random ones of width 64: the median over as many queries."""
    q, k = np.random.default_rng(0).normal(size=(2, 256, 64)).astype(np.float32)
    a, b = ((np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))) for x in (q, k))
    w = softmax(q @ k.T / 8) if softmaxed else a @ b.T / (a @ b.sum(axis=0))[:, None]
    return f"{np.median(1 / (w**2).sum(axis=-1)):.0f}"


def linear_recall(p: int) -> str:
    """Share of the values' variance that elu + 1 loses when p pairs are asked for, D = 64."""
    rng = np.random.default_rng(p)
    v = rng.normal(size=(p, 64)).astype(np.float32)
    k = rng.normal(size=(p, 64))
    x = np.where(k > 0, k + 1, np.exp(np.minimum(k, 0)))
    out = x @ (x.T @ v) / (x @ x.sum(axis=0))[:, None]
    return f"{((out - v) ** 2).sum() / (v**2).sum():.0%}"


def linear_backward(c: int) -> str:
    """Matrix products of forward and backward over those of forward: many causal chunks of c, D = d_v = 64."""
    # A query: sums, their reading with denominators, its row of the triangle; d_k = d_v = D.
    forward = 2 * 64 * 64 + 2 * 64 * 65 + 2 * c * 128
    # Reading again; sums of queries; keys and values from those; sums of keys again; five products in the triangle.
    backward = 2 * 64 * 64 + 2 * 64 * 65 + 4 * 64 * 64 + 2 * 64 * 64 + 2 * c * (3 * 64 + 2 * 64)
    return f"{1 + backward / forward:.1f}"


def scan_crossing(*, tree: bool) -> str:
    """The length beyond which a scan has fewer FLOPs than the causal half of 4n²d."""
    return text(1 + max(n for n in range(1, 400) if scan_flops(n, tree=tree) >= 2 * n**2 * 64))


def scan_flops(n: int, *, tree: bool) -> int:
    """FLOPs of a selective scan of 64 channels with 16 states each; the skip is not of it."""
    model = cost.selective_scan(n, 64, tree=tree)
    return int(model.flops - model["skip"].flops)


def taylor_order() -> int:
    """The least order of 2, 4, 8 … that decides 12 unsatisfiable formulas, by cumulative sums over the products."""
    pairs, seed = [], 0
    while len(pairs) < 12:
        formula = hardness.random_ksat(10, 48, 3, seed=seed)
        a, b = (x.astype(int) for x in hardness.split_and_list(formula))
        if (a @ b.T).all():
            pairs.append(a @ b.T)
        seed += 1
    for order in (2, 4, 8, 16, 32, 64):
        c = log(32) + 2
        z = np.arange(1, order + 1)
        yes = 0
        for products in pairs:
            x = c * (products.max() / 2 - np.concatenate([np.ravel(products), [1 / c]]))
            t = 1 + np.cumprod(x[:, None] / z, axis=1).sum(axis=1)
            yes += (t[:-1].reshape(32, 32).sum(axis=1) > t[-1]).any()
        if not yes:
            return order
    raise AssertionError("no order decides")


def taylor_threshold(a: int) -> float:
    """The κ at which Taylor's features for logits to κ ln n and error n^−a are n, by Newton's method."""
    k, y = Symbol("k"), Symbol("y")
    d, p = 1 / symbolic_log(2), y * k
    features = (d + p) * symbolic_log(d + p) - d * symbolic_log(d) - p * symbolic_log(p)
    start = (0.12, 3.6) if a == 0 else (0.0142, 29.8)
    root = nsolve([features - 1, y * (symbolic_log(y) - 1) - 1 - a / k], [k, y], start)
    return float(root[0])


def fewer(width: int, outer: str, resident: float) -> str:
    """How many times fewer numbers tiles move than written scores: n = 16,384, 164 KiB of float32, from the loops."""
    n, memory = 16_384, 164 * 1024 // 4
    queries_that_stay = (memory - width) // (width + 1)
    written = 2 * -(-n // queries_that_stay) * n * width + 2 * n * width + 4 * n * n
    rows = memory // (4 * width) if resident < 1 else (memory - 2 * width) // (2 * width + 3)
    blocks = -(-n // rows)
    if outer == "queries":
        return f"{written / (n * (2 * width + 2) + blocks * 2 * n * width):.2f}"
    return f"{written / (2 * n * width + blocks * n * (3 * width + 4) - n * (width + 2)):.2f}"


def average(w: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Average of the values with the given weights, which need not add up to one."""
    return w @ v / w.sum(axis=-1, keepdims=True)


def taylor_series(x: np.ndarray, p: int) -> np.ndarray:
    """Terms of the exponential up to order p."""
    total = term = np.ones_like(x)
    for r in range(1, p + 1):
        term = term * x / r
        total = total + term
    return total


def taylor_odd() -> float:
    """The largest output of order 3 over values between −1 and 1: 64 causal heads of width 8, 256 positions."""
    rng = np.random.default_rng(3)
    q, k = rng.normal(size=(2, 64, 256, 8)).astype(np.float32).astype(float)
    v = rng.uniform(-1, 1, size=(64, 256, 8)).astype(np.float32)
    w = np.tril(taylor_series(q @ np.swapaxes(k, -1, -2) / 8**0.5, 3))
    return float(np.abs(average(w, v)).max())


def taylor_two(deviation: float) -> float:
    """The relative difference between order 2 and softmax for scores of that deviation."""
    q, k, v = np.random.default_rng(6).normal(size=(3, 8, 256, 16)).astype(np.float32).astype(float)
    s = deviation / 4 * q @ np.swapaxes(k, -1, -2)
    exact = average(np.tril(np.exp(s)), v)
    return float(np.linalg.norm(average(np.tril(taylor_series(s, 2)), v) - exact) / np.linalg.norm(exact))


def taylor_bound(p: int, b: float) -> float:
    """The largest error of order p over scores in ±b, by the best share of two kinds of keys, searched for."""
    gain = math.exp(2 * b) * taylor_series(np.array(-b), p) / taylor_series(np.array(b), p)
    share = np.linspace(0, 1, 2_000_001)
    return float((share * gain / (1 + share * (gain - 1)) - share).max())


def taylor_random() -> list[float]:
    """How many times below the bound the worst of 20 random heads stays, for the orders 2, 4 … 24 and scores to 4."""
    worst = dict.fromkeys(range(2, 25, 2), 0.0)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        s = rng.normal(size=(256, 16)) @ rng.normal(size=(16, 256))
        s *= 4 / np.abs(s).max()
        v = rng.uniform(0, 1, size=(256, 8))
        exact = average(np.exp(s), v)
        for p, error in worst.items():
            worst[p] = max(error, float(np.abs(average(taylor_series(s, p), v) - exact).max()))
    return [taylor_bound(p, 4) / error for p, error in worst.items()]


def taylor_range(p: int) -> float:
    """The largest B for which order p moves no output by more than a hundredth of the range of the values."""
    return root(lambda b: 2 * b + np.log(taylor_series(-b, p) / taylor_series(b, p)) - 4 * np.arctanh(0.01), 1e-3, 9)


def left_by(values: np.ndarray, r: int) -> float:
    """What the best matrix of rank r leaves, by the singular values."""
    return math.sqrt((values[r:] ** 2).sum() / (values**2).sum())


def low_rank() -> dict[str, str]:
    """Ranks and errors of random and trained heads, and of the reduction's."""

    def spectrum(q: np.ndarray, k: np.ndarray) -> np.ndarray:
        return np.linalg.svd(softmax(q @ k.T / math.sqrt(q.shape[1])))[1]

    def rank(values: np.ndarray, error: float) -> str:
        return text(next(r for r in range(130) if left_by(values, r) <= error))

    narrow, wide = (spectrum(*np.random.default_rng(d).normal(size=(2, 128, d))) for d in (1, 32))
    random = spectrum(*np.random.default_rng(1).normal(size=(2, 128, 32)))
    formula, _ = hardness.planted_ksat(14, 100, 3, seed=0)
    gadget = hardness.dummy_gadget(*hardness.split_and_list(formula), hardness.temperature(128))
    hard_q, hard_k, _ = (np.asarray(x, float) for x in hardness.project(gadget))
    flat = np.array([1.0, *[0.01] * 511])
    kept = heads.load()
    q, k = kept.q[1, 0], kept.k[1, 0]
    weights = softmax(q @ k.T / math.sqrt(32))
    q_mean, k_mean = q.reshape(64, 2, 32).mean(axis=1), k.reshape(64, 2, 32).mean(axis=1)
    means = np.repeat(softmax(q @ k_mean.T / math.sqrt(32)) / 2, 2, axis=1)
    a = softmax(q_mean @ k_mean.T / math.sqrt(32))
    z = a.T / (a.sum(axis=0).max() * a.sum(axis=1).max())
    for _ in range(6):
        z = z @ (13 * np.eye(64) - a @ z @ (15 * np.eye(64) - a @ z @ (7 * np.eye(64) - a @ z))) / 4
    nystrom = softmax(q @ k_mean.T / math.sqrt(32)) @ z @ softmax(q_mean @ k.T / math.sqrt(32))
    off = [f"{np.linalg.norm(x - weights) / np.linalg.norm(weights):.0%}" for x in (nystrom, means)]
    worst, largest = low_rank_worst()
    right = dict(zip(kept.models, kept.right, strict=True))
    return {
        "low-rank-n": "128",
        "low-rank-narrow": rank(narrow, 0.01),
        "low-rank-wide": rank(wide, 0.1),
        "low-rank-random-left": f"{left_by(random, 32):.0%}",
        "low-rank-random-quarter": f"{random[:32].sum() / random.sum():.0%}",
        "low-rank-reduction": rank(spectrum(hard_q, hard_k), 0.01),
        "low-rank-flat-share": f"{(1 + 127 / 100) / (1 + 511 / 100):.0%}",
        "low-rank-flat-left": f"{left_by(flat, 128):.0%}",
        "low-rank-long": "4,096",
        "low-rank-tenth": text(round(5 * 12 * log(2) / 0.009)),
        "low-rank-half": text(round(5 * 12 * log(2) / 0.125)),
        "low-rank-probability": f"{1 - 2 / 8:.0%}",
        "low-rank-worst-exact": f"{float(f'{worst:.2g}'):,.0f}",
        "low-rank-largest-output": f"{largest:.1f}",
        "low-rank-half-six": f"{root(lambda s: inverted(s) - 0.5, 1e-3, 1):.2g}",
        "low-rank-five-percent": f"{inverted(1 / 20):.0%}",
        "low-rank-one-percent": f"{inverted(1 / 100):.0%}",
        "low-rank-trained-nystrom": off[0],
        "low-rank-trained-means": off[1],
        "low-rank-shifted": low_rank_shifted(),
        **{f"low-rank-right-{r}": f"{right[f'Linformer, r = {r}'][0]:.0%}" for r in (32, 64)},
        **{f"low-rank-wrong-{r}": f"{right[f'Linformer, r = {r}'][2]:.0%}" for r in (32, 64)},
        "low-rank-operations-linformer": text(2 * 256 + 1),
        # 4n²d > 8ndr + 48r³ + 2r²d + 2r²d for d = r = 64, divided by 4d.
        "low-rank-operations-nystrom": text(next(n for n in range(1, 999) if n * n > 128 * n + 13 * 64**2)),
    }


def low_rank_worst() -> tuple[float, float]:
    """Largest error of Nyström with 2 to 32 landmarks and the exact inverse on 20 heads, and their largest output."""
    errors, outputs = [], []
    for q, k, v in np.random.default_rng(7).normal(size=(20, 3, 128, 32)):
        o = softmax(q @ k.T / math.sqrt(32)) @ v
        outputs.append(np.abs(o).max())
        for r in (2, 4, 8, 32):
            q_mean, k_mean = (x.reshape(r, 128 // r, 32).mean(axis=1) for x in (q, k))
            f, a, b = (softmax(x @ y.T / math.sqrt(32)) for x, y in ((q, k_mean), (q_mean, k_mean), (q_mean, k)))
            errors.append(np.abs(f @ np.linalg.pinv(a, 1e-5) @ b @ v - o).max())
    return max(errors), max(outputs)


def low_rank_shifted() -> str:
    """Error of Nyström with 8 landmarks on 8 segments that the landmarks' segments straddle."""
    q, k = (np.roll(np.repeat(x, 16, axis=0), 8, axis=0) for x in np.random.default_rng(0).normal(size=(2, 8, 4)))
    q_mean, k_mean = (x.reshape(8, 16, 4).mean(axis=1) for x in (q, k))
    f, a, b, weights = (softmax(x @ y.T / 2) for x, y in ((q, k_mean), (q_mean, k_mean), (q_mean, k), (q, k)))
    return f"{np.linalg.norm(f @ np.linalg.inv(a) @ b - weights) / np.linalg.norm(weights):.0%}"


def sparse() -> dict[str, str]:
    """Pairs and blocks of patterns, where window layers look, caches of hybrids, padded and packed texts."""
    blocks = np.arange(1000) // 64
    drawn = np.asarray(bigbird_pattern(key(0), 1000))
    meets = (abs(blocks[:, None] - blocks) <= 1) | (blocks < 2) | (blocks[:, None] < 2)
    meets |= (drawn[blocks][:, :, None] == blocks).any(axis=1)
    bigbird = (14 * 64 * 8 * 64 + 128 * 1024) / meets.sum()
    dilated = 8 * 125**2 / (8 * (125 * 32 - 32 * 31 / 2))
    steps = [np.ones(32) / 32, np.append(33, np.ones(31)) / 64]
    deep = [np.cumsum(np.polynomial.polynomial.polypow(step, 8)) for step in steps]
    kept = heads.load()
    i, j = np.indices((128, 128))

    def in_window(t: int, w: int) -> tuple[str, str]:
        scores = np.where(j <= i, kept.q[t] @ np.swapaxes(kept.k[t], 1, 2) / sqrt(32), -np.inf)
        near = softmax(np.where(i - j < w, scores, -np.inf)) @ kept.v[t]
        past = softmax(scores)
        change = (near - past @ kept.v[t])[:, 64:], (past @ kept.v[t])[:, 64:]
        inside = np.where(i - j < w, past, 0)[:, 64:].sum(axis=-1).mean()
        return f"{inside:.0%}", f"{np.linalg.norm(change[0]) / np.linalg.norm(change[1]):.0%}"

    lengths = np.clip(np.random.default_rng(0).lognormal(6, 0.8, 64).astype(int), 16, 2048)
    wanted = (lengths * (lengths + 1) // 2).sum()
    ids = np.repeat(np.arange(64), lengths)
    total = len(ids)
    first = np.minimum(np.arange(0, total, 256), total - 256)
    low, high = ids[first], ids[first + 255]
    a, b = np.tril_indices(len(first))
    packed = ((low[a] <= high[b]) & (low[b] <= high[a])).sum() * 256**2

    def computed(n: int) -> int:
        return (n // 64 - 2) * 64 * min(n, 512) + 128 * 256 * math.ceil(n / 256)

    return {
        "sparse-ratio-least": f"{bigbird:.2f}",
        "sparse-ratio-most": f"{dilated:.2f}",
        "sparse-narrow": "100%",  # two blocks of 128 a row, either way
        "sparse-narrow-pairs": f"{1 / 8:.1%}",
        "sparse-path-window": text(math.ceil(511 / 7)),
        "sparse-path-dilated": text(round(log(512, 8))),
        "sparse-unread": f"{512 * (1 - 1 / 512) ** (7 * 511):.1f}",
        "sparse-field": text(8 * 31),
        "sparse-use-mean": text(4 * 31),
        "sparse-use-deviation": f"{sqrt(8 * 1023 / 12):.0f}",
        "sparse-use-99": text(int((deep[0] < 0.99).sum())),
        "sparse-use-99-residual": text(int((deep[1] < 0.99).sum())),
        "sparse-mistral-field": text(32 * 4095),
        "sparse-mistral-mean": text(16 * 4095),
        "sparse-mistral-share": f"{1 / sqrt(12 * 32):.0%}",
        "sparse-kept-weight": in_window(0, 16)[0],
        "sparse-kept-error": in_window(0, 16)[1],
        "sparse-lost-error": in_window(1, 32)[1],
        "sparse-gemma-saved": f"{(10 * 128 + 52) / (62 * 128):.0%}",
        "sparse-gemma-half": text(52 * 1024 // 10),
        "sparse-gemma-near": f"{52 / (10 * 128 + 52):.0%}",
        "sparse-oss-saved": f"{(1024 + 1) / 2048:.0%}",
        "sparse-bigbird-2048": f"{2048**2 / computed(2048):.1f}",
        "sparse-bigbird-8192": f"{8192**2 / computed(8192):.0f}",
        "sparse-bigbird-operations": text(next(n for n in range(512, 4096, 64) if computed(n) < n * n)),
        # 512n pairs against those in blocks of 256 under the diagonal, in steps of 64.
        "sparse-bigbird-causal": text(
            64
            + max(n for n in range(512, 4096, 64) if 512 * n >= 32768 * math.ceil(n / 256) * (math.ceil(n / 256) + 1))
        ),
        "sparse-padding": f"{1 - total / (64 * lengths.max()):.0%}",
        "sparse-padding-pairs": f"{32 * lengths.max() * (lengths.max() + 1) / wanted:.1f}",
        "sparse-packed-pairs": f"{total * (total + 1) / 2 / wanted:.0f}",
        "sparse-packed-blocks": f"{packed / wanted:.1f}",
        "sparse-turns": text(17),  # 9 · 7 + 8 · 56 = 511
        "sparse-budget": text(int(48 * (1 / 4 - 1 / 128) / (1 - 1 / 128))),
        "sparse-leak-window": text(32 - 1),
    }


def shares_bucket(theta: float, b: int) -> float:
    """Probability that two rows at an angle share one of b buckets, by Gauss's rule in three dimensions."""
    nodes, gauss = np.polynomial.legendre.leggauss(80)
    x, w = 4 * (nodes + 1), 4 * gauss
    c, s = math.cos(theta), math.sin(theta)

    def density(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.exp(-(x**2 + y**2 - 2 * c * x * y) / (2 * s**2)) / (2 * math.pi * s)

    # Both components of another column are smaller: integrate over the first, between −x and x.
    t = x[:, None, None] * nodes
    y = x[None, :, None]
    inner = norm.pdf(t) * (norm.cdf((y - c * t) / s) - norm.cdf((-y - c * t) / s))
    less = (inner * gauss).sum(axis=-1) * x[:, None]
    return float(b * (w[:, None] * w * density(x[:, None], x) * less ** (b // 2 - 1)).sum())


def hashing_buckets(degrees: int) -> tuple[str, str]:
    """Buckets that find a key at an angle with the fewest inner products, of 65,536 keys, and how many these are."""
    work = {}
    for b in 2 ** np.arange(1, 12):
        miss = 1 - shares_bucket(math.radians(degrees), int(b))
        work[int(b)] = math.ceil(log(0.1) / log(miss)) * (65536 / b + b / 2)
    best = min(work, key=lambda b: work[b])
    return text(best), text(round(work[best]))


def codes(bits: int) -> np.ndarray:
    """All sign vectors, the first coordinate alternating fastest."""
    return 1 - 2.0 * (np.arange(2**bits)[:, None] >> np.arange(bits) & 1)


def normed(x: np.ndarray) -> np.ndarray:
    """Rows over their lengths."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def bucket_of(x: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """The bucket of each row in each round."""
    turned = np.einsum("nd,rdc->rnc", x, rotations)
    return np.concatenate([turned, -turned], axis=-1).argmax(axis=-1)


def hashing_heads() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Queries and keys of the chapter's heads, but the reduction."""
    rng = np.random.default_rng(2)
    centre, of = 2 * rng.normal(size=(16, 32)), rng.integers(16, size=(2, 128))
    clustered = centre[of] + rng.normal(size=(2, 128, 32)) / 2
    order = np.random.default_rng(2).permutation(128)
    rng = np.random.default_rng(3)
    u, w = normed(rng.normal(size=(64, 26))), codes(6) / sqrt(6)
    k = np.zeros((128, 32))
    k[:64, :26], k[64:, 26:] = u, w * 24 / 0.05
    q = sqrt(32) * np.tile(np.hstack([u, 0.05 * w]), (2, 1))
    kept = heads.load()
    t = kept.periods.index(64)
    return {
        "random": tuple(np.random.default_rng(1).normal(size=(2, 128, 32))),
        "clustered": tuple(clustered),
        "trained": (kept.q[t, 0], kept.k[t, 0]),
        "lookup": (2.5 * sqrt(7) * codes(7), codes(7)[order]),
        "hidden": (q, k[rng.permutation(128)]),
    }


def hashing_catch(q: np.ndarray, k: np.ndarray, weights: np.ndarray, rounds: int) -> str:
    """The weight that 16 buckets catch, of the 16 keys of a bucket before each position and the 15 behind it."""
    caught = []
    for seed in range(5):
        rotations = np.random.default_rng(seed).normal(size=(rounds, q.shape[1], 8))
        seen = np.zeros((len(q), len(k)), bool)
        for of_q, of_k in zip(bucket_of(q, rotations), bucket_of(k, rotations), strict=True):
            for i, bucket in enumerate(of_q):
                (own,) = np.nonzero(of_k == bucket)
                seen[i, own[own <= i][-16:]] = seen[i, own[own > i][:15]] = True
        caught.append((weights * seen).sum() / len(q))
    return f"{np.mean(caught):.0%}"


def k_means(x: np.ndarray, clusters: int) -> np.ndarray:
    """Ten turns of spherical k-means from random rows."""
    x = normed(x)
    c = x[np.random.default_rng(0).permutation(len(x))[:clusters]]
    for _ in range(10):
        nearest = (x @ c.T).argmax(axis=1)
        near = [x[nearest == i] for i in range(clusters)]
        c = np.array([normed(a.mean(axis=0)) if len(a) else b for a, b in zip(near, c, strict=True)])
    return c


def takes(x: np.ndarray, c: np.ndarray, window: int) -> np.ndarray:
    """Which rows each centroid takes, (clusters, n)."""
    s = c @ normed(x).T
    return s >= np.sort(s, axis=1)[:, -window:][:, :1]


def hashing_missed() -> list[float]:
    """Share of queries that no cluster takes, on three heads with 4 and 16 clusters."""
    given, missed = hashing_heads(), []
    for name in ("random", "clustered", "trained"):
        q, k = given[name]
        for clusters in (4, 16):
            by = takes(q, k_means(np.concatenate([q, k]), clusters), 128 // clusters)
            missed.append(1 - by.any(axis=0).mean())
    return missed


def hashing_leaks() -> tuple[float, float]:
    """Largest change of the first 48 outputs of 64 as later rows change: sorted chunks of 8, and 8 clusters of 8."""
    rng = np.random.default_rng(7)
    x, v = rng.normal(size=(2, 200, 64, 8))
    later = x.copy()
    later[:, 48:] = rng.normal(size=(200, 16, 8))
    rotations, centre = rng.normal(size=(1, 8, 4)), normed(rng.normal(size=(8, 8)))
    chunks, clusters = [], []
    for a, b, values in zip(x, later, v, strict=True):
        outputs = []
        for row in (a, b):
            order = np.argsort(bucket_of(row, rotations)[0], kind="stable")
            near = np.zeros((64, 64), bool)
            for start in range(0, 64, 8):
                both = np.concatenate([order[start - 8 :][:8], order[start : start + 8]])
                near[np.ix_(order[start : start + 8], both)] = True
            by = takes(row, centre, 8)
            for meets in (near, np.einsum("ci,cj->ij", by, by) > 0):
                e = np.exp(row @ row.T / sqrt(8)) * (meets & np.tri(64, dtype=bool))
                outputs.append(e @ values / np.maximum(e.sum(axis=1, keepdims=True), 1e-300))
        chunks.append(np.abs(outputs[0] - outputs[2])[:48].max())
        clusters.append(np.abs(outputs[1] - outputs[3])[:48].max())
    return max(chunks), max(clusters)


def hashing_twice() -> str:
    """How far outputs are off where a pair counts as often as it shares a bucket."""
    rng = np.random.default_rng(4)
    q, k, v = rng.normal(size=(3, 64, 8))
    rotations = rng.normal(size=(4, 8, 4))
    times = (bucket_of(q, rotations)[..., None] == bucket_of(k, rotations)[:, None, :]).sum(axis=0)
    e = np.exp(q @ k.T / sqrt(8))
    once, often = ((w * e) @ v / np.maximum((w * e).sum(axis=1, keepdims=True), 1e-300) for w in (times > 0, times))
    return f"{np.abs(once - often).max():.1f}"


def hashing() -> dict[str, str]:
    """Heavy keys and who finds them, on made and trained heads."""
    given = hashing_heads()
    weights = {s: softmax(q @ k.T / sqrt(q.shape[1])) for s, (q, k) in given.items()}
    largest = {s: np.sort(w, axis=1)[:, ::-1].cumsum(axis=1) for s, w in weights.items()}
    missed, leaks = hashing_missed(), hashing_leaks()
    look, full, latent = 2 * 64 * 128, 2 * 128 * (192 + 128), 2 * 128 * (576 + 512) * 2048
    keys = 2**17
    q, k = given["hidden"]
    most = (k**2).sum(axis=1).max()
    long_k = np.column_stack([k, np.sqrt(np.maximum(most - (k**2).sum(axis=1), 0))])
    long_q = np.column_stack([q, np.zeros(128)])
    heaviest = weights["hidden"].argmax(axis=1)
    cos = (normed(long_q) * normed(long_k)[heaviest]).sum(axis=1)

    def indexer(name: str, t: int) -> str:
        q, k = given[name]
        u, sigma, vt = np.linalg.svd(q @ k.T, full_matrices=False)
        small = [u[:, :4] * sigma[:4], vt[:4].T]
        q, k = (
            np.asarray((100 * x / np.abs(x).max()).astype(np.float32).astype(float8_e4m3fn), float) for x in small
        )
        best = np.argsort(-q @ k.T, axis=1, kind="stable")[:, :t]
        return f"{np.take_along_axis(weights[name], best, axis=1).sum() / len(q):.0%}"

    def routing(name: str, clusters: int) -> str:
        q, k = given[name]
        c = k_means(np.concatenate([q, k]), clusters)
        by_q, by_k = (takes(x, c, 128 // clusters) for x in (q, k))
        return f"{(weights[name] * (np.einsum('ci,cj->ij', by_q, by_k) > 0)).sum() / len(q):.0%}"

    def blocks(name: str) -> str:
        q, k = given[name]
        best = np.argsort(-q @ k.reshape(16, 8, -1).mean(axis=1).T, axis=1)[:, :2]
        sums = weights[name].reshape(128, 16, 8).sum(axis=-1)
        return f"{np.take_along_axis(sums, best, axis=1).sum() / 128:.0%}"

    fewest = {degrees: hashing_buckets(degrees) for degrees in (30, 60)}
    return {
        "hashing-random-needed": text(int(np.median((largest["random"] < 0.9).sum(axis=1) + 1))),
        "hashing-random-eight": f"{largest['random'][:, 7].mean():.0%}",
        "hashing-trained-eight": f"{largest['trained'][:, 7].mean():.0%}",
        # At a right angle every bucket is as likely as any: one of 64.
        "hashing-rounds-90": text(math.ceil(log(10) / log(64 / 63))),
        "hashing-twice": hashing_twice(),
        "hashing-equal": text(12 * 64**2),
        # 4n²d over n²d · 8/64.
        "hashing-share": text(4 * 64 // 8),
        "hashing-missed-least": f"{min(missed):.0%}",
        "hashing-missed-most": f"{max(missed):.0%}",
        "hashing-chance-missed": f"{(15 / 16) ** 16:.0%}",
        "hashing-pays": f"{latent / (full - look):,.0f}",
        "hashing-half": f"{latent / look:,.0f}",
        "hashing-gain": f"{full * keys / (look * keys + latent):.1f}",
        "hashing-limit": text(full // look),
        "hashing-indexer-share": f"{look * keys / (look * keys + latent):.0%}",
        **{f"hashing-{s}-two": hashing_catch(*given[s], weights[s], 2) for s in ("clustered", "lookup")},
        "hashing-trained-heaviest": f"{largest['trained'][:, 31].mean():.0%}",
        "hashing-trained-indexer": indexer("trained", 32),
        "hashing-trained-hashing": hashing_catch(*given["trained"], weights["trained"], 4),
        "hashing-trained-routing": routing("trained", 4),
        "hashing-hidden-eight": indexer("hidden", 8),
        "hashing-leak-reformer": f"{leaks[0]:.1f}",
        "hashing-leak-routing": f"{leaks[1]:.1f}",
        "hashing-long-angle": f"{np.degrees(np.arccos(np.median(cos))):.0f}",
        "hashing-long-after": hashing_catch(long_q, long_k, weights["hidden"], 4),
        "hashing-long-before": hashing_catch(q, k, weights["hidden"], 4),
        **{f"hashing-buckets-{a}": fewest[a][0] for a in fewest},
        **{f"hashing-work-{a}": fewest[a][1] for a in fewest},
        "hashing-blocks-clustered": blocks("clustered"),
        "hashing-blocks-lookup": blocks("lookup"),
        "hashing-blocks-chance": f"{1 / 8:.1%}",
    }


def inverted(sigma: float) -> float:
    """Share of a singular value's inverse after six turns of the third-order iteration."""
    t = sigma**2
    for _ in range(6):
        t = t * (13 - t * (15 - t * (7 - t))) / 4
    return t


def root(f: Callable[[float], float], low: float, high: float) -> float:
    """Return where f changes its sign, by bisection."""
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if f(low) * f(middle) > 0 else (low, middle)
    return low


def lambert() -> float:
    """W(1/e): the w with w e^w = 1/e, by iterating w = e^(−1−w)."""
    w = 0.3
    for _ in range(200):
        w = math.exp(-1 - w)
    return w


def random_features(deviation: float) -> list[float]:
    """Relative errors of 4,096 orthogonal positive features, over four draws, and of the mean of the values."""
    q, k, v = np.random.default_rng(0).normal(size=(3, 256, 64))
    q, k = (deviation**0.5 * 64**-0.25 * x for x in (q, k))
    exact, squares = softmax(q @ k.T) @ v, []
    for seed in range(4):
        w = np.asarray(init_performer(key(seed), 64, 4096), np.float64)
        a = np.exp(q @ w.T) @ np.exp(w @ k.T - (k**2).sum(axis=1) / 2)
        squares.append((((a / a.sum(axis=1, keepdims=True)) @ v - exact) ** 2).sum())
    size = (exact**2).sum()
    return [sqrt(np.mean(squares) / size), sqrt(((v.mean(axis=0) - exact) ** 2).sum() / size)]


def gadget_length() -> float:
    """2|q||k| of the first orthogonal pair in the first formula of the chapter on random features."""
    a, b = hardness.split_and_list(hardness.random_ksat(8, 24, 3, seed=0))
    i, j = next((i, j) for i in range(len(a)) for j in range(len(b)) if not (a[i] & b[j]).any())
    return 2 * hardness.temperature(len(b)).c * sqrt((1 + int(a[i].sum())) * int(b[j].sum()))


peaks = largest_scores()
small, unit = (random_features(deviation) for deviation in (0.125, 1.0))
random_heads = taylor_random()
satisfiable = random_formulas()
order = taylor_order()

H100, HBM, SFU = 989.4e12, 3.35e12, 16 * 132 * 1.83e9  # FLOP/s in 16 bits, bytes/s, exponentials/s
SCORES = 32 * 8192**2


def core_written() -> float:
    """Seconds on an H100: scores and weights in float32, written and read twice; q, k, v and the output in 16."""
    return (16 * SCORES + 8 * 8192 * 4096) / HBM


def exponentials() -> float:
    """Seconds on an H100 for one exponential per score and one per row of a block of 128 keys."""
    return SCORES * (1 + 1 / 128) / SFU


def generating(n: int, d: int) -> str:
    """Operations of n steps without a cache, over those with one, added up step by step."""
    without = sum(8 * t * d**2 + 4 * t**2 * d for t in range(1, n + 1))
    return f"{without / sum(8 * d**2 + 4 * t * d for t in range(1, n + 1)):,.0f}"


def padded_slope() -> str:
    """Exponent of the operations of the first t steps, t from 256 to 1024, each padded to 128 positions; d = 64."""
    lengths = [128 * ((t + 127) // 128) for t in range(1, 1025)]
    work = np.cumsum([8 * p * 64**2 + 4 * p**2 * 64 for p in lengths])[255:]
    return f"{np.polyfit(np.log(np.arange(256, 1025)), np.log(work), 1)[0]:.1f}"


def padded_saving() -> str:
    """Operations of 1024 steps without a cache, each padded to 128 positions, over those with one; d = 64."""
    lengths = [128 * ((t + 127) // 128) for t in range(1, 1025)]
    without = sum(8 * p * 64**2 + 4 * p**2 * 64 for p in lengths)
    return f"{without / sum(8 * 64**2 + 4 * t * 64 for t in range(1, 1025)):,.0f}"


def interview() -> dict[str, str]:
    """Numbers of the interview from the sizes of its models, without the cost model where one formula says it."""
    d, n = 4096, 4096
    seven, eight, seventy = ((2 * 2 * layers * heads * 128) for layers, heads in ((32, 32), (32, 8), (80, 8)))
    # Weights that a step reads: heads, three matrices of the feed-forward layer, norms, and the output layer.
    read = {
        "7b": 2 * (32 * (4 * d**2 + 3 * d * 11_008 + 2 * d) + d + 32_000 * d),
        "70b": 2 * (80 * (8192**2 * (2 + 2 / 8) + 3 * 8192 * 28_672 + 2 * 8192) + 8192 + 128_256 * 8192),
    }
    stored = {"7b": read["7b"] + 2 * 32_000 * d, "70b": read["70b"] + 2 * 128_256 * 8192}
    long, far = 100_000, 131_072
    forward = 8 * 32 * (24 * 2048 * d**2 + 4 * 2048**2 * d)
    tiled = SCORES * (512 / H100 + (3 + 130 / 128) / 67e12) + exponentials()
    moved = [f(16_384, 64, 50_000).total for f in (cost.attention_io, cost.flash_attention_io)]
    beside, left = 80e9 - stored["7b"], 320e9 - stored["70b"]
    return {
        "interview-equal": text(2 * d),
        "interview-equal-all": text(6 * d),
        "interview-projections": f"{8 * n * d**2 / 1e9:.0f} GFLOP",
        "interview-core": f"{4 * n**2 * d / 1e9:.0f} GFLOP",
        "interview-layer": f"{12 * n**3 / 1e9:.0f} GFLOP",
        "interview-written": format_bytes(4 * 32 * n**2),
        "interview-token": format_bytes(seven),
        "interview-softmax": f"{5 / (4 * 128):.1%}",
        "interview-ridge": f"{H100 / HBM:.0f}",
        "interview-pair": text(4 * d),
        "interview-share": f"{n / (n + 2 * d):.0%}",
        "interview-long-core": format_count(4 * long**2 * d),
        "interview-long-visible": format_count(2 * long * (long + 1) * d),
        "interview-long-ms": f"{1e3 * 2 * long * (long + 1) * d / H100:.0f}",
        "interview-long-scores": format_bytes(4 * 32 * long**2),
        "interview-long-share": f"{long / (long + 2 * d):.0%}",
        "interview-long-step": f"{4 * long * d / 1e9:.1f}",
        "interview-deviation": f"{sqrt(128):.1f}",
        "interview-deviation-factor": f"{float(f'{math.exp(sqrt(128)):.1g}'):,.0f}",
        "interview-scaled-factor": f"{math.e:.1f}",
        "interview-largest": f"{sqrt(4 * log(4096)):.1f}",
        "interview-heads-softmax": f"{5 / (4 * 32):.1%}",
        "interview-heads-scores": format_bytes(4 * 128 * n**2),
        "interview-stack-heads": format_count(8 * 32 * (8 * 2048 * d**2 + 4 * 2048**2 * d)),
        "interview-stack-whole": format_count(forward),
        "interview-stack-trained": format_count(3 * forward),
        "interview-stack-over": f"{2048 / (6 * d):.1%}",
        "interview-flash-scores": format_bytes(4 * 32 * 65_536**2),
        "interview-flash-kept": format_bytes(4 * 2 * 32 * 65_536),
        "interview-flash-moved": f"{moved[0] / moved[1]:.1f}",
        "interview-flash-more": f"{1 / 6:.0%}",
        "interview-q-full": "1.5",
        "interview-q-grouped": text(1 + 64 // 16),
        "interview-cache-one": format_bytes(4096 * seven),
        "interview-cache-batch": format_bytes(32 * 4096 * seven),
        "interview-cache-8b": format_bytes(eight),
        "interview-cache-70b": format_bytes(seventy),
        "interview-cache-deepseek": format_bytes(60 * 576 * 2),
        "interview-cache-fits": f"{float(f'{beside / seven:.3g}'):,.0f}",
        "interview-mla": "576",
        "interview-mla-times": f"{2 * 128 * 128 / 576:.0f}",
        "interview-mla-absorbed": f"{(576 + 512) / (192 + 128):.1f}",
        "interview-gqa-70b": "8",
        "interview-reading": f"{1e3 * 2048 * read['7b'] / H100:.0f}",
        "interview-writing": f"{2048 * read['7b'] / HBM:.1f}",
        "interview-floor-7b": f"{1e3 * (read['7b'] + 4096 * seven) / HBM:.1f}",
        "interview-floor-70b": f"{1e3 * (read['70b'] + 8192 * seventy) / (8 * HBM):.1f}",
        "interview-weights-7b": f"{read['7b'] / 1e9:.1f}",
        "interview-batch-group": "8",
        "interview-batch-half": text(math.ceil(read["70b"] / (8192 * seventy))),
        "interview-batch-half-7b": text(math.ceil(read["7b"] / (4096 * seven))),
        "interview-window": f"{(far * 4096 - 4096 * 4095 / 2) / (far * (far + 1) / 2):.1%}",
        # A position: sums and their reading, a denominator, and on average the triangle of a chunk of 128.
        "interview-linear": f"{2 * (far + 1) * 128 / (4 * 128 * 128 + 2 * 128 + 2 * 128 * 256):.0f}",
        "interview-state": text(128 * 129),
        "interview-reach": text(32 * 4095 + 1),
        "interview-both": f"{10 / 8:.2f}",
        "interview-speculative": f"{sum(0.8**i for i in range(5)):.2f}",
        "interview-page-needed": format_bytes(500 * eight),
        "interview-page-allocated": format_bytes(512 * eight),
        "interview-page-reserved": format_bytes(8192 * eight),
        "interview-flag-twice": f"{2 * (4 * d + 200_001) / (4 * d + 100_001):.1f}",
        "interview-flag-linear": text(4 * 128 + 2),
        "interview-flag-double": doubling(2048),
        "interview-flag-gpt3": gpt3_share(2048),
        "interview-flag-time": f"{core_written() / tiled:.0f}",
        "interview-sheet-causal": f"{(8 * n * d**2 + 2 * n * (n + 1) * d) / 1e9:.0f} GFLOP",
        "interview-sheet-uncached": generating(n, d),
        "interview-sheet-step": f"{12 * n**2 / 1e6:.0f} MFLOP",
        "interview-sheet-training": f"{36 * n**3 / 1e9:,.0f} GFLOP",
        "interview-hand-flops": "12 GFLOP",
        "interview-hand-bytes": "40 MB",
        "interview-hand-share": f"{1 / 3:.1%}",
        "interview-hand-causal": f"{2002 / 10_002:.2%}",
        "interview-fits-stored": f"{stored['70b'] / 1e9:.0f}",
        "interview-fits-plain": text(int(left // (16 * seventy))),
        "interview-fits-cache": text(int(left // (8 * seventy))),
        "interview-fits-weights": text(int((left + stored["70b"] / 2) // (16 * seventy))),
        "interview-mla-intensity": f"{2 * 128 * (576 + 512) / (2 * 576):.0f}",
        "interview-mla-grouped": text(128 // 8),
    }


def calculator_numbers() -> dict[str, str]:
    """Three worked questions, from the sizes of the models."""
    llama, h100 = cost.MODELS["llama-3-70b"], cost.ACCELERATORS["H100"]
    four = [cost.serving(llama, 2**16, h100, batch=16, devices=4, weights=x, cache=x) for x in ("bfloat16", "fp8")]
    # 80 layers, 8 heads of 128, keys and values, 16 sequences; a byte less for each number, over 4 devices.
    cache = 80 * 8 * 128 * 2 * 2**16 * 16 // 4
    share = cost.model_parameters(cost.model_share(llama, 4)) - (2 * 80 + 1) * 8192
    # 10 of 62 layers of 16 heads of 128 see all, the others 1,024 positions.
    position = 2 * 2 * 16 * 128
    hours = (6.607343616e9 - 65 * 4096) * 6 * 2e12 + 32 * 32 * 128 * 12 * 4097 / 2 * 2e12
    hours /= 0.4 * 312e12 * 3600
    return {
        "calculator-llama-verdict": f"It does not fit: {binary(four[0].needed - four[0].memory)} too much. "
        "Most is the cache.",
        "calculator-llama-first": f"Quantise the cache first: fp8 frees {binary(cache)} on each device, against "
        f"{binary(share)} for the weights. Alone it is not enough.",
        "calculator-llama-both": f"It fits: {binary(four[1].memory - four[1].needed)} free. Most is the cache.",
        "calculator-gemma-cache": binary(position * (10 * 2**17 + 52 * 1024)),
        "calculator-gemma-full": binary(position * 10 * 2**17),
        "calculator-gemma-longest": f"{cost.longest_context(cost.MODELS['gemma-3-27b'], h100):,}",
        "calculator-gemma-wrong": binary(position * 62 * 2**17),
        "calculator-training-days": f"{hours / 256 / 24:.3g} days",
        "calculator-training-hours": f"{hours:,.0f}",
    }


# A key `measured-…` differs from run to run and stands in no list; it has to be a number.
EXPECTED: dict[str, dict[str, str]] = {
    "question": {
        "question-bert-gflop": f"{layer['small'].matmul_flops / 1e9:.3f}",
        "question-bert-core-share": f"{core['small'].matmul_flops / layer['small'].matmul_flops:.0%}",
        "question-double-2k": doubling(2048),
        "question-double-32k": doubling(32768),
        "question-exponential-digits": text(len(str(2**1000))),
    },
    "notation": {
        "notation-mac": text(core["small"].matmul_flops // 2),
        "notation-visible": text(cost.visible_pairs(512)),
        "notation-share": f"{cost.visible_pairs(512) / cost.visible_pairs(512, causal=False):.1%}",
        "notation-three-all": text(4 * 1000**2 * 512),
        "notation-three-mac": text(2 * 1000**2 * 512),
        "notation-three-visible": text(2 * 1000 * 1001 * 512),
        "notation-three-both": text(1000 * 1001 * 512),
        "notation-loop-hand": text(10 * cost.feed_forward(64, 64, d_ff=64).matmul_flops // 2),
    },
    "self-attention": {
        **dict(zip(("self-attention-unscaled", "self-attention-scaled"), top_weights(), strict=True)),
        "self-attention-focus-thousand": f"{np.log(999) / 2:.1f}",
        "self-attention-focus-million": f"{np.log(999_999) / 2:.1f}",
        "self-attention-peak-small": peaks[0],
        "self-attention-peak-large": peaks[-1],
    },
    "derivation": {
        "derivation-product-small": text(core["small"]["scores"].matmul_flops // 2),
        "derivation-product-large": text(core["large"]["scores"].matmul_flops // 2),
        "derivation-core-small": text(core["small"].matmul_flops),
        "derivation-core-large-gflop": f"{core['large'].matmul_flops / 1e9:.1f}",
        "derivation-layer-small-gflop": f"{layer['small'].matmul_flops / 1e9:.3f}",
        "derivation-layer-large-gflop": f"{layer['large'].matmul_flops / 1e9:.1f}",
        "derivation-ratio-pairs": text(
            cost.visible_pairs(8192, causal=False) // cost.visible_pairs(512, causal=False)
        ),
        "derivation-ratio-core": ratio(core),
        "derivation-ratio-layer": ratio(layer),
        "derivation-ratio-whole": ratio(whole),
        "derivation-exact-parts": f"{layer['small'].flops / (5 * 512 * 768 + 12 * 512**2 + 2 * 12 * 512):.0f}",
        "derivation-gpt3-share": gpt3_share(2048),
        "derivation-gpt3-share-long": gpt3_share(32768),
        "derivation-gpt3-crossover": text(6 * 12288),
        "derivation-softmax-share": f"{5 / (4 * 64):.1%}",
    },
    "memory": {
        "memory-hundred-thousand": f"{cost.attention(100_000, 64, h=8).live / 2 / 2**30:.0f}",
        "memory-bytes-per-flop": str(8 / 512),
        "memory-twelve-layers": f"{12 * cost.multihead_attention(2048, 512, 8).saved / 2**30:.2f}",
        "memory-gpt3-cache": format_bytes(cost.kv_cache(2048, 128, h_kv=96, layers=96)),
        "memory-llama-cache": format_bytes(cost.kv_cache(131_072, 128, h_kv=8, layers=32)),
        "memory-llama-full-cache": format_bytes(cost.kv_cache(131_072, 128, h_kv=32, layers=32)),
        "memory-square": format_bytes(cost.attention(65_536, 64, h=8).live),
        "memory-strip": format_bytes(cost.attention(128, 64, m=65_536, h=8).live + 2 * 4 * 65_536 * 8 * 64),
        "memory-parameters": f"{4 * 512**2:,}",
    },
    "seconds": {
        "seconds-ridge-h100": f"{H100 / HBM:.0f}",
        "seconds-add-share": f"{H100 / (HBM / 6):,.0f}",
        "seconds-softmax-flops": f"{5 * SCORES / (8 * 8192 * 4096**2 + 512 * SCORES + 5 * SCORES):.1%}",
        "seconds-softmax-time": f"{8 * SCORES / HBM / (8 * 8192 * 4096**2 / H100 + core_written()):.0%}",
        "seconds-core-naive": f"{1e3 * core_written():.1f}",
        # Products, then the softmax: three operations and an exponential for each score, some more for each row.
        "seconds-core-tiled": f"{1e3 * (SCORES * (512 / H100 + (3 + 130 / 128) / 67e12) + exponentials()):.1f}",
        "seconds-exp-share": f"{SCORES / SFU / (512 * SCORES / H100):.0%}",
        # 10.5 d² numbers of two bytes; at batch 512 as many multiply-adds, and the inner layer written and read.
        "seconds-decode-weights-one": f"{1e6 * 21 * 4096**2 / HBM:.0f}",
        "seconds-decode-weights-many": f"{1e6 * (21 * 4096**2 / H100 + 16 * 4096 / HBM):.2f}",
        # Keys and values of 8 heads; scores of 32 heads written, read, written, read.
        "seconds-decode-cache": f"{1e6 * 8192 * (2 * 2 * 8 * 128 + 16 * 32) / HBM:.0f}",
        "seconds-ridge-a100": f"{312e12 / 2039e9:.0f}",
        "seconds-softmax-core": f"{8 * SCORES / HBM / core_written():.0%}",
        # A block of b queries has 4 b n d FLOPs for 4 n d + 4 b d bytes.
        "seconds-block-a100": str(math.ceil(1 / (2039e9 / 312e12 - 1 / 8192))),
        "seconds-configurations": str((5 * 2 * 3 + 2) * 2 + (7 + 6 + 4) * 2),
    },
    "recurrence": {
        # The same 4n³ FLOPs: attention moves 8n² bytes in each of three steps, the state's matrix is read n times.
        "recurrence-h100-ratio": f"{(4 * 512**3 + 36 * 512**2) / (3 * 8 * 512**2):.0f}",
        "recurrence-path-centred": text(1000 - 1),
        "recurrence-path-causal": text(1000 // 2),
        "recurrence-path-dilated": text(next(power for power in range(10) if 3**power >= 1000)),
        "recurrence-window": text(32 * 4096 - 32 + 1),
        "recurrence-shift": f"{1.2**63:,.0f}",
        "recurrence-gate-one": f"{1 / (1 + np.exp(-1)):.2f}",
        "recurrence-gate-three": f"{1 / (1 + np.exp(-3)):.2f}",
    },
    "lower-bound": {
        "lower-bound-error-quarter": f"{4 * atanh(2 * 0.25):.1f}",
        "lower-bound-error-most": f"{2 * log(1.998 / 0.002):.1f}",
        "lower-bound-formulas": text(len(satisfiable)),
        "lower-bound-satisfiable": text(sum(satisfiable)),
        "lower-bound-disagree": "0",
        "lower-bound-unverified": "0",
        "lower-bound-flops-factor": f"{(8193**2 * (2 * 112 + 2 + 5)) / (4097**2 * (2 * 103 + 2 + 5)):.2f}",
        "lower-bound-sat-exponent": text(1 - 0.1 / 2),
        **{f"lower-bound-saving-{digits}": f"{(10**digits) ** 0.1:.1f}" for digits in (3, 6, 9)},
    },
    "errata": {
        "errata-bits-four": "817",
        "errata-bits-twenty": "21,442",
    },
    "open": {
        "open-average-exponent": f"{log(3) / log(2):.3f}",
        "open-focus-thousand": f"{log(sqrt(999)):.2f}",
        "open-focus-million": f"{log(sqrt(999_999)):.2f}",
        "open-kappa-constant": f"{taylor_threshold(0):.3f}",
        "open-kappa-small": f"{taylor_threshold(1):.4f}",
        "open-logit-constant": f"{6 * log(10) * taylor_threshold(0):.1f}",
        "open-logit-small": f"{6 * log(10) * taylor_threshold(1):.2f}",
        "open-taylor-right": text(order),
        "open-taylor-features": text(float(comb(49 + order, order))),
    },
    "cheat-sheet": {
        "cheat-sheet-share": f"{2048 / (2048 + 2 * 4096):.0%}",
        "cheat-sheet-whole-share": f"{2048 / (2048 + 6 * 4096):.0%}",
        "cheat-sheet-cache": generating(8192, 4096),
    },
    "interview": interview(),
    "production": production(),
    "training": training(),
    "generation": {
        "generation-years": f"{10**40 / 1e18 / (365.25 * 86_400) / 1e12:.0f}",
        "generation-saving-small": generating(1000, 512),
        "generation-saving-large": generating(32_768, 4096),
        "generation-saving-timed": generating(1024, 64),
        "generation-saving-padded": padded_saving(),
        "generation-slope-counted": padded_slope(),
        "generation-share-short": f"{1000 / (1000 + 2 * 4096):.0%}",
        "generation-share-long": f"{100_000 / (100_000 + 2 * 4096):.0%}",
        "generation-cache-405": format_bytes(126 * 8 * 2 * 128 * 2 * 131_072),
        "generation-cache-405-ms": f"{1e3 * 126 * 8 * 2 * 128 * 2 * 131_072 / HBM:.0f}",
        "generation-cache-gpt3": format_bytes(96 * 96 * 2 * 128 * 2),
        "generation-cache-falcon": format_bytes(32 * 1 * 2 * 64 * 2),
        "generation-break-even": f"{128 * 129 / 256:.1f}",
        # In units of d²: weights 4, shared by eight; keys and values 16; scores 1/2.
        "generation-batch-bytes": f"{(4 / 8 + 16 + 1 / 2) / (4 + 16 + 1 / 2):.2f}",
    },
    "flash": {
        "flash-a100-ridge": f"{312e12 / 2039e9:.0f}",
        "flash-a100-busy": f"{64 / 4 / (312e12 / 2039e9):.0%}",
        "flash-causal-blocks": text(8 * 9 // 2),
        "flash-window-blocks": text(1 + 2 + 6 * 3),
        "flash-io-a100": f"{float(fewer(64, 'queries', 0.5)):.1f}",
        "flash-io-a100-keys": f"{float(fewer(64, 'keys', 0.5)):.1f}",
        "flash-io-a100-wide": fewer(256, "queries", 0.5),
        "flash-io-a100-wide-best": fewer(256, "queries", 1),
        "flash-checkpoint-flops": text(1 + 3),
        # A layer at n = 1024, d = 64: four projections, each with two products backward; attention has 2, then 5.
        "flash-checkpoint-flash-flops": f"{(3 * 4 * 64 + 7 * 1024) / (4 * 64 + 2 * 1024):.1f}",
        "flash-checkpoint-flash-both": f"{(4 * 4 * 64 + 9 * 1024) / (4 * 64 + 2 * 1024):.1f}",
    },
    "low-rank": low_rank(),
    "sparse": sparse(),
    "hashing": hashing(),
    "induction": {
        "induction-tokens": "128",
        # One guess in a period, over the positions that can be known: periods 8 to 32 of 64 tokens.
        "induction-chance": f"{np.average(1 / np.arange(8, 33), weights=64 - np.arange(8, 33)):.1%}",
        "induction-hand": "100%",
        "induction-single": "0%",
        "induction-bits-per-pair": f"{np.log2(128):.0f}",
        "induction-state-bits": text(64 * np.finfo(np.float32).bits),
        "induction-need-bits": text(int(32 * np.log2(128))),
        "induction-pairs-fit": text(64 * np.finfo(np.float32).bits // 7),
    },
    "linear": {
        "linear-effective-softmax": linear_weights(True),
        "linear-effective-elu": linear_weights(False),
        "linear-backward": linear_backward(128),
        "linear-larger-bf16": text(4 * 128 * 129 // (2 * 2 * 128) + 1),
        "linear-larger-f32": text(64 * 65 // (2 * 64) + 1),
        "linear-model-state": format_bytes(32 * 8 * 128 * 129 * 4),
        "linear-model-cache": format_bytes(32 * 8 * 10**6 * 256 * 2),
        "linear-recall-elu": linear_recall(8),
        "linear-recall-few": text(64 // 8),
        # Chunks of 128: n²(D + d_v) = 2nC(D + d_v) + 4nDd_v.
        "linear-causal-crossing": text(2 * 128 + 4 * 64 * 64 // (64 + 64)),
    },
    "taylor": {
        "taylor-slope": f"{1 / lambert():.2f}",
        "taylor-cache": text(round(153 * 17 / 32)),
        "taylor-two-unit": f"{taylor_two(1.0):.0%}",
        "taylor-two-quarter": f"{taylor_two(0.25):.1%}",
        "taylor-based": text(1 + 16 + 16 + 120),
    },
    "taylor-accuracy": {
        "taylor-accuracy-odd-largest": f"{taylor_odd():.0f}",
        "taylor-accuracy-bound-eight": f"{taylor_bound(8, 4):.2f}",
        "taylor-accuracy-random-least": f"{float(f'{min(random_heads):.1g}'):,.0f}",
        "taylor-accuracy-random-most": f"{float(f'{max(random_heads):.1g}'):,.0f}",
        "taylor-accuracy-zero-three": f"{root(lambda b: taylor_series(-b, 3), 1, 2):.3f}",
        "taylor-accuracy-slope": f"{1 / lambert():.2f}",
        "taylor-accuracy-inverse-slope": f"{lambert():.4f}",
        "taylor-accuracy-range-short": f"{taylor_range(2):.1f}",
        "taylor-accuracy-range-long": f"{taylor_range(4):.1f}",
        "taylor-accuracy-wall-single": f"{-math.log(2.0**-24) / 2:.1f}",
        "taylor-accuracy-wall-double": f"{-math.log(2.0**-53) / 2:.1f}",
    },
    "random-features": {
        "random-features-good": f"{small[0]:.0%}",
        "random-features-good-mean": f"{small[1]:.0%}",
        "random-features-unit-error": f"{unit[0]:.0%}",
        "random-features-unit-mean": f"{unit[1]:.0%}",
        "random-features-unit": format_count(100 * (math.exp(16) - 1)),
        "random-features-two": format_count(math.floor(1 / (4 * norm.sf(sqrt(32) - 1.16)))),
        "random-features-needle": f"{log(1000 - 1):.1f}",
        "random-features-needle-count": format_count((1000.0 - 1) ** 4),
        "random-features-state": format_bytes(4 * 256 * (64 + 2)),
        "random-features-cache": text(math.ceil(256 * 66 / 128)),
        "random-features-gadget": f"{float(f'{gadget_length():.1g}'):.0f}",
        "random-features-gadget-few": format_count(float(f"{1 / (4 * norm.sf(sqrt(gadget_length()) - 1.16)):.1g}")),
    },
    "state-space": {
        # Two numbers for each of 64 states, x and what waits in the loop; x, K and what a transform of twice n holds.
        "state-space-kept-loop": text(2 * 64 + 2),
        "state-space-kept-convolution": "4",
        "state-space-all-states": format_bytes(4 * 4096 * 64 * 16),
        "state-space-loop": f"{6 + 1 / 16:.1f}",
        "state-space-tree": f"{scan_flops(4096, tree=True) / (4096 * 64 * 16):.1f}",
        "state-space-operations": scan_crossing(tree=False),
        "state-space-operations-tree": scan_crossing(tree=True),
        "state-space-smaller": text(2 * (16 + 4 - 1) * 4 // 4 + 1),
        "state-space-smaller-grouped": text(8 * 2 * (16 + 4 - 1) * 4 // 4 + 1),
        "state-space-smaller-two": text(4 * (16 + 4 - 1) * 4 // 4 + 1),
        "state-space-smaller-two-grouped": text(8 * 4 * (16 + 4 - 1) * 4 // 4 + 1),
        "state-space-token": text(4096 // 4 + 4 * 16 + 1),
        # 8d² + 4nd against 16d² FLOPs a position.
        "state-space-moe-short": f"{12 / 28:.0%}",
        "state-space-moe-long": f"{72 / 88:.0%}",
    },
    "calculator": calculator_numbers(),
}
