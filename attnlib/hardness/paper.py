"""The constructions of Duman Keles, Wijewardena and Hegde (2023) as printed, run with as many digits as they need.

In real arithmetic they decide; in floating point the outputs for yes and no are the same number. `decimal` of the
standard library computes e^x with any number of digits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from decimal import Context, Decimal, localcontext

import numpy as np
from jaxtyping import Float

from attnlib import _check
from attnlib.hardness.temperature import _number
from attnlib.hardness.vectors import A, B, _vectors, bhfp_to_bhcp, ov_to_bhfp, ov_to_tvpp

KERNELS = ("softmax", "exponential", "l2")
SPARE = 30  # digits beyond those that tell yes from no


def paper_gadget(
    a: A, b: B, *, kernel: str = "softmax", multiplicative: float = 0.0
) -> tuple[Float[np.ndarray, "rows width"], Float[np.ndarray, "rows 1"], float]:
    """Build the paper's instance with queries equal to keys, as float64 arrays for `attention(q, q, v, scale=1.0)`.

    "softmax": q_i = ā_i, q_{n+j} = c b̄_j with Lemma 1 (ā, b̄ of dimension 2m, threshold m), c = ln n + 2m.
    "exponential": the same without the division by the sum of a row, c = 2 ln n.
    "l2": e^(−c|q_i − q_j|²) without the division, Lemmas 2 and 3 (dimension 3m, t² = m + 1), c = 2 ln n, which scales
    the distances and not q.

    For a multiplicative error µ, n becomes n(1 + µ)/(1 − µ), for "softmax" 2n(1 + µ)/(1 − µ). The values are 0 for a
    and 1 for b; for "softmax" with µ > 0 they are 1 and 0, because an output near 1 tells nothing up to a factor.

    Args:
        a: 0/1 vectors, uint8 (n, m).
        b: 0/1 vectors, uint8 (n, m), as many.
        kernel: "softmax", "exponential" or "l2".
        multiplicative: the error µ that is allowed, below 1.

    Returns:
        q (2n, d), v (2n, 1) and c. Rows 0 … n − 1 decide.

    Raises:
        ValueError: what is wrong with the vectors; lists of different lengths or of fewer than 2 vectors; an unknown
            kernel; an error out of its range.

    Cost: O(nm).

    Source: Duman Keles, Wijewardena and Hegde (2023), theorems 4, 5 and 7.

    Example:
        >>> q, v, c = paper_gadget(np.eye(2, dtype=np.uint8), np.eye(2, dtype=np.uint8))
        >>> q.shape, round(c, 3)
        ((4, 4), 4.693)
    """
    name = "paper_gadget"
    a, b, _ = _chain(name, a, b, kernel, multiplicative)
    n, d = a.shape
    factor = n * (1 + multiplicative) / (1 - multiplicative)
    c = 2 * math.log(factor)
    if kernel == "softmax":
        c = math.log(2 * factor if multiplicative else n) + d
    values = [1.0, 0.0] if kernel == "softmax" and multiplicative else [0.0, 1.0]
    q = np.vstack([a, b if kernel == "l2" else c * b]).astype(np.float64)
    return q, np.repeat(values, n)[:, None], c


def paper_outputs(a: A, b: B, *, kernel: str = "softmax", multiplicative: float = 0.0) -> tuple[Decimal, ...]:
    """Compute the outputs of the rows that decide, with enough digits to tell yes from no.

    Args:
        a: as in `paper_gadget`.
        b: as in `paper_gadget`.
        kernel: as in `paper_gadget`.
        multiplicative: as in `paper_gadget`.

    Returns:
        n numbers; for "softmax" between 0 and 1.

    Raises:
        ValueError: as `paper_gadget`.

    Cost: O(n²m) integer operations, two exponentials and O(nm) sums of about `paper_bits` bits.

    Source: Duman Keles, Wijewardena and Hegde (2023), theorems 4, 5 and 7.

    Example:
        >>> yes, no = np.eye(2, dtype=np.uint8), np.ones((2, 2), np.uint8)
        >>> [f"{1 - paper_outputs(x, x)[0]:.1e}" for x in (yes, no)]
        ['7.0e-4', '8.8e-1']
    """
    name = "paper_outputs"
    _, _, c = paper_gadget(a, b, kernel=kernel, multiplicative=multiplicative)
    a, b, t = _chain(name, a, b, kernel, multiplicative)
    with localcontext(_context(c, a.shape[1])):
        return tuple(_outputs(a, b, kernel, bool(multiplicative), c, t))


def paper_decide(a: A, b: B, *, kernel: str = "softmax", multiplicative: float = 0.0) -> bool:
    """Decide by the paper's construction whether two vectors are orthogonal.

    The threshold is halfway between the proof's bounds on rows with and without a good pair, each with its error.

    Args:
        a: as in `paper_gadget`.
        b: as in `paper_gadget`.
        kernel: as in `paper_gadget`.
        multiplicative: the error µ that is allowed for: the answer would be the same with outputs off by 1 ± µ.

    Returns:
        Whether some a_i · b_j is 0.

    Raises:
        ValueError: as `paper_gadget`.

    Cost: as `paper_outputs`.

    Source: Duman Keles, Wijewardena and Hegde (2023), theorems 4, 5 and 7.

    Example:
        >>> paper_decide(np.eye(2, dtype=np.uint8), np.eye(2, dtype=np.uint8), kernel="l2")
        True
    """
    outputs = paper_outputs(a, b, kernel=kernel, multiplicative=multiplicative)
    _, _, c = paper_gadget(a, b, kernel=kernel, multiplicative=multiplicative)
    a, b, t = _chain("paper_decide", a, b, kernel, multiplicative)
    with localcontext(_context(c, a.shape[1])):
        yes, no = _bounds(len(a), kernel, bool(multiplicative), c, t)
        below = -1 if yes < no else 1
        mu = below * Decimal(multiplicative)
        threshold = ((1 - mu) * yes + (1 + mu) * no) / 2
        return any(below * y > below * threshold for y in outputs)


def paper_bits(n: int, m: int) -> float:
    """Say how many bits after the point an output needs before yes and no differ, for exact softmax.

    A row that says no can come as close to 1 as e^(−c(m − 1)), c = ln n + 2m.

    Args:
        n: vectors a side.
        m: their dimension: clauses of the formula.

    Returns:
        c(m − 1)/ln 2. A float64 between ½ and 1 has 53.

    Raises:
        ValueError: sizes that are no integers of at least 1.

    Source: Duman Keles, Wijewardena and Hegde (2023), theorem 5; the count is this book's.

    Example:
        >>> [round(paper_bits(2 ** (v // 2), m)) for v, m in ((4, 17), (10, 43), (20, 85))]
        [817, 5421, 21442]
    """
    _check.positive_int("paper_bits", n=n, m=m)
    return (math.log(n) + 2 * m) * (m - 1) / math.log(2)


def window_coverage(n: int, window: int, reach: int) -> float:
    """Simulate the layout of the paper's sliding window: which share of the pairs (a_i, b_j) is within reach.

    There are √(n·window) vectors a side. Vectors of a and b alternate. In a period all of b go by once, while the
    same `window` vectors of a repeat; the next period has the next ones. The ends are joined.

    Args:
        n: length of the sequence that the theorem speaks of: n·window is a square and its root a multiple of window.
        window: the width w of the window.
        reach: tokens at most this far apart see one another; the theorem has w/2.

    Returns:
        A number from 0 to 1; a reduction needs 1.

    Raises:
        ValueError: sizes that are no integers of at least 1 or do not fit.

    Cost: O(n · reach).

    Source: Duman Keles, Wijewardena and Hegde (2023), appendix B; that w/2 reaches half the pairs is this book's.

    Example:
        >>> window_coverage(256, 16, 8), window_coverage(256, 16, 16)
        (0.5, 1.0)
    """
    name = "window_coverage"
    _check.positive_int(name, n=n, window=window, reach=reach)
    vectors = math.isqrt(n * window)
    if vectors**2 != n * window or vectors % window:
        raise ValueError(f"{name}: n: expected √(n·window) to be a multiple of window = {window}, got n = {n}")
    place = np.arange(vectors * (vectors // window))
    i = place // vectors * window + place % vectors % window  # token 2·place is a_i, the next one b_j
    j = place % vectors
    covered = np.zeros((vectors, vectors), bool)
    for apart in range(-reach, reach + 1):
        if apart % 2:  # from an a to a b
            covered[i, np.roll(j, -(apart - 1) // 2)] = True
    return float(covered.mean())


def _chain(name: str, a: A, b: B, kernel: str, multiplicative: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Check the arguments and map orthogonal vectors to the problem that the kernel decides; return its threshold."""
    _vectors(name, a, b)
    if len(a) < 2 or len(b) != len(a):
        raise ValueError(f"{name}: b: expected as many vectors as in a, 2 at least, got {len(a)} and {len(b)}")
    if not a.shape[1]:
        raise ValueError(f"{name}: a: expected a dimension of at least 1, got shape {a.shape}")
    if kernel not in KERNELS:
        raise ValueError(f"{name}: kernel: expected one of {', '.join(KERNELS)}, got {kernel!r}")
    if not _number(multiplicative) or not 0 <= multiplicative < 1:
        raise ValueError(f"{name}: multiplicative: expected a number from 0 to below 1, got {multiplicative!r}")
    if kernel == "l2":
        return bhfp_to_bhcp(*ov_to_bhfp(a, b))
    return ov_to_tvpp(a, b)


def _context(c: float, d: int) -> Context:
    """Return a context whose digits cover all exponents of a row, c·d + d at most."""
    return Context(prec=math.ceil((c + 1) * d / math.log(10)) + SPARE, Emin=-(10**9), Emax=10**9)


def _outputs(a: np.ndarray, b: np.ndarray, kernel: str, swapped: bool, c: float, t: int) -> Iterator[Decimal]:
    d = a.shape[1]
    temperature = Decimal(c)
    if kernel == "l2":
        far = _powers((-temperature).exp(), d)
        for row in a:
            yield _weigh(np.bincount((row != b).sum(1), minlength=d + 1), far)
        return
    near, own = _powers(temperature.exp(), d), _powers(Decimal(1).exp(), d)
    wide = b.astype(np.int64).T, a.astype(np.int64).T
    for row in a.astype(np.int64):
        good = _weigh(np.bincount(row @ wide[0], minlength=d + 1), near)
        if kernel == "exponential":
            yield good
            continue
        rest = _weigh(np.bincount(row @ wide[1], minlength=d + 1), own)
        yield (rest if swapped else good) / (good + rest)


def _powers(base: Decimal, d: int) -> list[Decimal]:
    """Return base⁰ … base^d: d products lose fewer than the spare digits, and cost less than d exponentials."""
    return list(itertools.accumulate([base] * d, initial=Decimal(1), func=lambda x, y: x * y))


def _weigh(counts: np.ndarray, terms: list[Decimal]) -> Decimal:
    return sum((int(k) * x for k, x in zip(counts, terms, strict=True) if k), start=Decimal(0))


def _bounds(n: int, kernel: str, swapped: bool, c: float, t: int) -> tuple[Decimal, Decimal]:
    """Return the paper's bounds: on outputs of rows with a good pair, and of rows without one."""
    temperature = Decimal(c)
    if kernel == "l2":
        return (-temperature * (t - 1)).exp(), n * (-temperature * t).exp()
    good, bad = (temperature * t).exp(), n * (temperature * (t - 1)).exp()
    if kernel == "exponential":
        return good, bad
    # A row of a has t ones, so its products with rows of a lie between 0 and t.
    most, least = n * Decimal(t).exp(), Decimal(n)
    yes, no = (most, least) if swapped else (good, bad)
    return yes / (good + most), no / (bad + least)
