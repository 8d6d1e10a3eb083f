"""Taylor attention by numbers: features, exact operation counts, state, crossovers. No JAX."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, NamedTuple

from attnlib import _check
from attnlib.cost._sizes import BYTES, Number, Sizes, attention_sizes, size
from attnlib.cost.algebra import Cost
from attnlib.cost.linear import Features, kernel_cost, step_cost

MAX_FEATURES = 100_000
"""More are refused: at 64 values a head, 100,000 features are 26 MB of sums."""

MAX_ORDER = 170
"""The largest order whose factorial is a float64."""


def taylor_attention(
    n: Number,
    d_k: Number,
    *,
    order: int = 2,
    causal: bool = False,
    m: Number | None = None,
    d_v: Number | None = None,
    h: Number = 1,
    h_kv: Number | None = None,
    batch: Number = 1,
    backward: bool = False,
    chunk: int | None = None,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.taylor_attention`: monomials, sums over keys, their reading, and the triangles of chunks.

    With D = C(d_k + p, p): sums 2mD·d_v, reading 2nD(d_v + 1), with `causal` triangles of 2·chunk(d_k + d_v) a query.

    Args:
        n: queries.
        d_k: width of a head's queries and keys.
        order: p ≥ 0.
        causal: whether later keys are hidden.
        m: keys; n by default.
        d_v: width of a head's values; d_k by default.
        h: query heads.
        h_kv: key and value heads, a divisor of h; h by default. The sums are taken once for each, unless a mask
            differs between the heads of a group.
        batch: sequences.
        backward: add the gradients with respect to q, k and v.
        chunk: as in the kernel.
        dtype: of q, k, v and the output; features and sums are float32 at least.

    Returns:
        A `Cost` with the steps "features", "sums", "reading", with `causal` "triangles", and "division".

    Raises:
        ValueError: a size below 1 or not whole, heads that do not divide, an unknown dtype, an order that is not a
            whole number from 0 to 170.

    Source: the chapter "Taylor attention".

    Example:
        >>> taylor_attention(4096, 16, d_v=64).matmul_flops / 4096  # 153 features
        39474.0
    """
    name = "cost.taylor_attention"
    check_order(name, order)
    sizes = attention_sizes(name, n, d_k, m, d_v, h, h_kv, batch)
    return kernel_cost(name, sizes, _monomials(sizes, order), causal, backward, chunk, dtype)


def taylor_attention_step(
    d_k: Number,
    *,
    order: int = 2,
    d_v: Number | None = None,
    h: Number = 1,
    h_kv: Number | None = None,
    batch: Number = 1,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.taylor_attention_step` for one token, which no length of the context changes.

    4D·d_v + 2D FLOPs in matrix products for a head, D = C(d_k + p, p), and the token's own pair.

    Args:
        d_k: width of a head's queries and keys.
        order: p ≥ 0.
        d_v: width of a head's values; d_k by default.
        h: query heads.
        h_kv: key and value heads, a divisor of h; h by default.
        batch: sequences.
        dtype: of q, k, v and the output; the state is float32 at least.

    Returns:
        A `Cost`; `live` is the state, to the byte: `taylor_state` numbers for each key and value head.

    Raises:
        ValueError: as `taylor_attention`.

    Source: the chapter "Taylor attention".

    Example:
        >>> taylor_attention_step(16, d_v=64, h=8).live  # 8 · 153 · 65 · 4
        318240
    """
    name = "cost.taylor_attention_step"
    check_order(name, order)
    sizes = attention_sizes(name, 1, d_k, 1, d_v, h, h_kv, batch)
    return step_cost(name, sizes, _monomials(sizes, order), dtype)


def _monomials(sizes: Sizes, order: int) -> Features:
    """Return what the monomials of degree at most p take; pairs are T_p of a product, without monomials."""
    features, d_k = taylor_features(sizes.d_k, order), sizes.d_k
    if not order:
        return Features(features, 0, weighted=features)
    return Features(features, d_k, 2 * order, made=features - 1 - d_k, weighted=features)


def taylor_features(d: Number, order: int, *, tensor: bool = False) -> Number:
    """Return how many features make T_p(q·k): C(d + p, p) monomials, or Σ dᵃ coordinates of tensor powers.

    C(d + p, p) = Σ_{a ≤ p} C(d + a − 1, a)

    Args:
        d: width of queries and keys.
        order: p ≥ 0.
        tensor: count the coordinates of tensor powers.

    Returns:
        A number of the kind of d.

    Raises:
        ValueError: d below 1 or not whole, an order that is not a whole number from 0 to 170.

    Source: monomials: the chapter "Taylor attention"; tensor powers: Duman Keles et al. (2023), lemma 8.

    Example:
        >>> taylor_features(64, 2), taylor_features(64, 2, tensor=True)
        (2145, 4161)
    """
    name = "cost.taylor_features"
    d = size(name, "d", d)
    check_order(name, order)
    _check.flags(name, tensor=tensor)
    if tensor:
        return sum(d**a for a in range(order + 1))
    if isinstance(d, int):
        return math.comb(d + order, order)
    product = math.prod(d + a for a in range(1, order + 1))
    return product / math.factorial(order)


def taylor_operations(n: Number, d: Number, order: int, *, d_v: Number | None = None, causal: bool = False) -> Number:
    """Count the multiplications, additions and divisions of Taylor attention as the definition asks for them.

    n D(4d_v + 5) − 2n(1 + d) − n;   causal, token by token: n (D(4d_v + 6) − 2d − 3),   D = C(d + p, p)

    A sum of m numbers is m − 1 additions here. Weights 1/α! multiply the sums once, or, token by token, each key.

    Args:
        n: queries, and keys.
        d: width of queries and keys.
        order: p ≥ 1.
        d_v: width of the values; d by default.
        causal: whether later keys are hidden. With n = 1: what decoding one token costs.

    Returns:
        A number of the kind of n and d.

    Raises:
        ValueError: sizes below 1 or not whole, an order that is not a whole number from 1 to 170.

    Source: the chapter "Taylor attention", checked against code that counts what it does.

    Example:
        >>> taylor_operations(1000, 16, 2), taylor_operations(1, 16, 2, causal=True)
        (10522000, 10675)
    """
    name = "cost.taylor_operations"
    n, d, d_v = _sizes(name, n, d, d_v, causal)
    _from_one(name, order)
    features = taylor_features(d, order)
    if causal:
        return n * (features * (4 * d_v + 6) - 2 * d - 3)
    return n * features * (4 * d_v + 5) - 2 * n * (1 + d) - n


def softmax_operations(n: Number, d: Number, *, d_v: Number | None = None, causal: bool = False) -> Number:
    """Count the operations of exact softmax attention in the same way: divided once a row, the scale in q.

    n²(2d + 2d_v + 3) − 2n;   causal: n(n + 1)/2 pairs in place of n²

    Args:
        n: queries, and keys.
        d: width of queries and keys.
        d_v: width of the values; d by default.
        causal: whether later keys are hidden, and their pairs skipped.

    Returns:
        A number of the kind of n and d.

    Raises:
        ValueError: sizes below 1 or not whole.

    Source: the chapter "Taylor attention".

    Example:
        >>> softmax_operations(1000, 16)
        66998000
    """
    n, d, d_v = _sizes("cost.softmax_operations", n, d, d_v, causal)
    pairs = n * (n + 1) if causal else 2 * n**2
    twice = pairs * (2 * d + 2 * d_v + 3)
    return (twice // 2 if isinstance(twice, int) else twice / 2) - 2 * n


def taylor_state(d: Number, order: int, *, d_v: Number | None = None) -> Number:
    """Return how many numbers decoding keeps for a head: D(d_v + 1), whatever the context.

    D d_v for Σ φ(k)vᵀ and D for Σ φ(k),   D = C(d + p, p)

    Args:
        d: width of queries and keys.
        order: p ≥ 0.
        d_v: width of the values; d by default.

    Returns:
        A number of the kind of d.

    Raises:
        ValueError: sizes below 1 or not whole, an order that is not a whole number from 0 to 170.

    Source: the chapter "Taylor attention".

    Example:
        >>> taylor_state(64, 2)
        139425
    """
    name = "cost.taylor_state"
    check_order(name, order)
    d = size(name, "d", d)
    d_v = d if d_v is None else size(name, "d_v", d_v)
    return taylor_features(d, order) * (d_v + 1)


class Crossover(NamedTuple):
    """Where Taylor attention of one order becomes the cheaper one.

    Attributes:
        full: least n from which it needs fewer operations than exact softmax attention.
        causal: the same under a causal mask that exact attention exploits.
        decode: least context from which its token costs fewer operations than one of exact attention with a cache.
        cache: the context whose cache of keys and values is as large as the state, to the nearest token.
    """

    full: int
    causal: int
    decode: int
    cache: int


def crossover(d: int, order: int, *, d_v: int | None = None) -> Crossover:
    """Return from which length on Taylor attention needs less than exact attention: about n = C(d + p, p).

    full = D(4d_v + 5)/(2d + 2d_v + 3) (1 + o(1)),   cache = D(d_v + 1)/(d + d_v)

    Args:
        d: width of queries and keys.
        order: p ≥ 1.
        d_v: width of the values; d by default.

    Returns:
        A `Crossover` of lengths.

    Raises:
        ValueError: widths that are not positive integers, an order that is not a whole number from 1 to 170.

    Source: the chapter "Taylor attention", from `cost.taylor_operations` and `cost.softmax_operations`.

    Example:
        >>> crossover(64, 2)
        Crossover(full=2162, causal=4338, decode=2170, cache=1089)
    """
    name = "taylor.crossover"
    d_v = d if d_v is None else d_v
    _check.positive_int(name, d=d, d_v=d_v)
    _from_one(name, order)
    features, pair = taylor_features(d, order), 2 * d + 2 * d_v + 3
    token = features * (4 * d_v + 6) - 2 * d - 3
    # Both sides over n: the exact one is linear in n.
    at_full = Fraction(features * (4 * d_v + 5) - 2 * (1 + d) - 1 + 2, pair)
    at_causal = Fraction(2 * (token + 2), pair) - 1
    cache = Fraction(features * (d_v + 1), d + d_v)
    full, causal, decode = (math.floor(x) + 1 for x in (at_full, at_causal, Fraction(token, pair)))
    return Crossover(full, causal, decode, math.floor(cache + Fraction(1, 2)))


def check_order(name: str, order: Any, d: Any = None, d_v: int = 1, tensor: bool = False) -> None:
    """Raise unless the order is one, and, given the widths, its features are not too many."""
    if not _check.whole(order, 0) or order > MAX_ORDER:
        raise ValueError(f"{name}: order: expected a whole number from 0 to {MAX_ORDER}, got {order!r}")
    if d is None:
        return
    count = taylor_features(d, order, tensor=tensor)
    if count > MAX_FEATURES:
        formula = f"Σ {d}^a" if tensor else f"C({d} + {order}, {order})"
        memory = count * (d_v + 1) * BYTES["float32"]
        raise ValueError(
            f"{name}: order: expected at most {MAX_FEATURES:,} features (taylor.MAX_FEATURES), got {formula} = "
            f"{count:,} for order {order}: {memory:,} bytes of sums for one head in float32"
        )


def _from_one(name: str, order: Any) -> None:
    check_order(name, order)
    if order == 0:
        raise ValueError(f"{name}: order: expected a whole number from 1 to {MAX_ORDER}, got 0")


def _sizes(name: str, n: Any, d: Any, d_v: Any, causal: Any) -> tuple[Number, Number, Number]:
    n, d = size(name, "n", n), size(name, "d", d)
    _check.flags(name, causal=causal)
    return n, d, d if d_v is None else size(name, "d_v", d_v)


def state(n: Number, d_k: Number, d_v: Number, *, order: int = 2) -> Number:
    """Return how many numbers decoding keeps for a head of keys, whatever n."""
    return taylor_state(d_k, order, d_v=d_v)
