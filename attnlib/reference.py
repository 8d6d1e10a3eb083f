"""What every mechanism and layer computes: definitions in NumPy, to read before the kernels and to test them with.

A definition takes what its kernel takes, under the same names, without the arguments that change the cost alone
(blocks, chunks, the context of a cache, the attention that `l2_attention` runs on). It loops where the formula has an
index, and checks nothing. Numbers are float64; a longdouble stays one.

What holds everywhere: with m keys and n queries, query i stands beside key i + m − n, so the last of both meet. A
hidden key enters no output, not even as a NaN. A query that sees nothing gets zeros. Leading axes broadcast. For
finite numbers a kernel has to agree; what it makes of a NaN that is seen, its own text says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy import typing

Array = np.ndarray[Any, np.dtype[Any]]
ArrayLike = typing.ArrayLike | int | float
Params = Mapping[str, ArrayLike]
State = tuple[ArrayLike, ArrayLike]
Map = Callable[[Any], Any]


# --- what the mechanisms share --------------------------------------------------------------------------------------


def float64(x: ArrayLike) -> Array:
    """Return x in float64, or as it is if it is a longdouble."""
    x = np.asarray(x)
    return x if x.dtype == np.longdouble else x.astype(np.float64)


def visible(
    n: int,
    m: int,
    *,
    causal: bool = False,
    window: int | tuple[int, int] | None = None,
    mask: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    dilation: int = 1,
    segments: Any = None,
) -> Array:
    """Say which of n queries sees which of m keys, (..., n, m).

    causal: j ≤ i + m − n;   window: |i + m − n − j| < window;   lengths: j < length;   mask: where it is true

    A window may be a pair (left, right), so many keys before and after the query's own; a dilation leaves
    every dilation-th key of it, as many as without. Segments are ids, one array or a pair for queries and
    keys, that have to be equal.

    Example:
        >>> visible(2, 3, causal=True, window=2).astype(int)
        array([[1, 1, 0],
               [0, 1, 1]])
    """
    past = np.arange(n)[:, None] + (m - n) - np.arange(m)  # how far key j lies behind query i
    seen = (past >= 0) | (not causal)
    if window is not None:
        left, right = window if isinstance(window, tuple) else (window - 1, window - 1)
        seen = seen & (past <= left * dilation) & (past >= -right * dilation) & (past % dilation == 0)
    if lengths is not None:
        seen = seen & (np.arange(m) < np.asarray(lengths)[..., None, None])
    if segments is not None:
        ids_q, ids_k = map(np.asarray, segments if isinstance(segments, tuple) else (segments, segments))
        seen = seen & (ids_q[..., :, None] == ids_k[..., None, :])
    return seen if mask is None else seen & np.asarray(mask)


def average(weigh: Callable[[Array, Array], Array], q: Array, k: Array, v: Array, seen: Array) -> Array:
    """Average the values: o_i = Σ_j a_ij v_j / Σ_j a_ij over the keys j that query i sees, a_i = weigh(q_i, k).

    Zeros where the weights add up to exactly 0: no visible key, or none that shares a feature with the query.
    """

    def head(q: Array, k: Array, v: Array, seen: Array) -> Array:
        o = np.zeros((len(q), v.shape[1]), v.dtype)
        for i in range(len(q)):
            a = weigh(q[i], k[seen[i]]) if seen[i].any() else np.zeros(0)
            if a.sum() != 0:
                o[i] = a @ v[seen[i]] / a.sum()
        return o

    out: Array = np.vectorize(head, signature="(n,p),(m,k),(m,v),(n,m)->(n,v)")(q, k, v, seen)  # over leading axes
    return out


def shifted_exponential(s: Array) -> Array:
    """Return e^(s − max s): the weights of a softmax before they are divided by their sum, none too large."""
    weights: Array = np.exp(s - s.max())
    return weights


def factor(scale: ArrayLike | None, x: Array) -> Any:
    """Return the factor of the scores: 1/√d_k by default."""
    return 1 / np.sqrt(x.dtype.type(x.shape[-1])) if scale is None else float64(scale)


# --- softmax attention ----------------------------------------------------------------------------------------------


def attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    causal: bool = False,
    mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> Array:
    """Average the values with the softmax of the scores.

    o_i = Σ_j w_ij v_j,   w_ij = e^(s_ij) / Σ_l e^(s_il),   s_ij = scale · q_i·k_j

    Source: Vaswani et al. (2017), equation 1.

    Example:
        >>> print(attention([[1.0]], [[0.0], [np.log(3)]], [[0.0], [4.0]]))  # weights 1/4 and 3/4
        [[3.]]
    """
    q, k, v = float64(q), float64(k), float64(v)
    c = factor(scale, q)
    seen = visible(q.shape[-2], k.shape[-2], causal=causal, mask=mask)
    return average(lambda q, k: shifted_exponential(c * (k @ q)), q, k, v, seen)


def attention_weights(
    q: ArrayLike,
    k: ArrayLike,
    *,
    causal: bool = False,
    mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> Array:
    """Return the weights w of `attention`: its output when value j is the j-th unit vector.

    Example:
        >>> print(attention_weights(np.zeros((2, 1)), np.zeros((2, 1)), causal=True))
        [[1.  0. ]
         [0.5 0.5]]
    """
    return attention(q, k, np.eye(np.shape(k)[-2]), causal=causal, mask=mask, scale=scale)


def flash_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    causal: bool = False,
    mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    window: int | tuple[int, int] | None = None,
    lengths: ArrayLike | None = None,
    segments: Any = None,
    return_lse: bool = False,
) -> Any:
    """Compute `attention`: the same function, with more ways to hide keys, and log Σ_j e^(s_ij) if asked for.

    Example:
        >>> o, lse = flash_attention(np.zeros((1, 1)), np.zeros((2, 1)), [[1.0], [3.0]], return_lse=True)
        >>> print(o, np.exp(lse))
        [[2.]] [2.]
    """
    q, k = float64(q), float64(k)
    hide: dict[str, Any] = {"window": window, "mask": mask, "lengths": lengths, "segments": segments}
    seen = visible(q.shape[-2], k.shape[-2], causal=causal, **hide)
    o = attention(q, k, v, mask=seen, scale=scale)
    if not return_lse:
        return o
    s = np.broadcast_to(factor(scale, q) * q @ k.swapaxes(-1, -2), (*o.shape[:-1], k.shape[-2]))
    return o, np.logaddexp.reduce(s, axis=-1, where=seen, initial=-np.inf, keepdims=True)[..., 0]


def window_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    r: int | None = None,
    left: int | None = None,
    right: int | None = None,
    dilation: int = 1,
    causal: bool = False,
    mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    segments: Any = None,
) -> Array:
    """Attend to the keys nearby: its own, `left` before it and `right` after it, every dilation-th one.

    i + m − n − j = t · dilation,   −right ≤ t ≤ left;   r: left = right = ⌊r/2⌋;   causal: left = r − 1, right = 0

    Source: Vaswani et al. (2017), section 4; Beltagy et al. (2020), section 3.1.

    Example:
        >>> print(window_attention(np.zeros((3, 1)), np.zeros((3, 1)), [[1.0], [2.0], [6.0]], r=2, causal=True)[:, 0])
        [1.  1.5 4. ]
    """
    if r is not None:
        left, right = (r - 1, 0) if causal else (r // 2, r // 2)
    near: dict[str, Any] = {"window": (left or 0, right or 0), "dilation": dilation}
    n, m = np.shape(q)[-2], np.shape(k)[-2]
    seen = visible(n, m, **near, mask=mask, lengths=lengths, segments=segments)
    return attention(q, k, v, causal=causal, mask=seen, scale=scale)


def longformer_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    window: int | tuple[int, int],
    global_tokens: ArrayLike,
    max_global: int | None = None,
    global_q: ArrayLike | None = None,
    global_k: ArrayLike | None = None,
    global_v: ArrayLike | None = None,
    causal: bool = False,
    mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> Array:
    """Attend to the keys in a window and to the global tokens, which attend to all, if given with their own q, k, v.

    global_tokens: the first so many tokens; or where it is true, the first `max_global` of these

    Source: Beltagy et al. (2020), section 3.1.

    Example:
        >>> print(longformer_attention(*np.zeros((2, 3, 1)), [[1.0], [2.0], [6.0]], window=1, global_tokens=1)[:, 0])
        [3.  1.5 3.5]
    """
    n, m = np.shape(q)[-2], np.shape(k)[-2]
    tokens = np.asarray(global_tokens)
    tokens = np.arange(m) < tokens if tokens.ndim == 0 else tokens
    if max_global is not None:
        tokens = tokens & (tokens.cumsum(axis=-1) <= max_global)
    place = np.arange(n) + m - n  # of query i among the keys
    rows = (place >= 0) & tokens[..., np.maximum(place, 0)]
    near = visible(n, m, window=window) | tokens[..., None, :]
    local = attention(q, k, v, causal=causal, mask=near & visible(n, m, mask=mask), scale=scale)
    own = [x if y is None else y for x, y in zip((q, k, v), (global_q, global_k, global_v), strict=True)]
    return np.where(rows[..., None], attention(*own, causal=causal, mask=mask, scale=scale), local)


def bigbird_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    block: int = 64,
    window_blocks: int = 3,
    global_blocks: int = 2,
    random_blocks: int = 3,
    key: Any = None,
    pattern: ArrayLike | None = None,
    causal: bool = False,
    mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> Array:
    """Attend by blocks: to those near the query, to the first ones, to random ones; the first queries to all.

    With b and c the blocks of query and key: |b − c| ≤ ⌊window_blocks/2⌋, causal 0 ≤ b − c < window_blocks; or
    c < global_blocks, or c ∈ pattern[row of b], or 0 ≤ b < global_blocks. From a key `bigbird_pattern` draws it.

    Source: Zaheer et al. (2020), section 2.

    Example:
        >>> x = np.zeros((3, 1))
        >>> print(bigbird_attention(x, x, [[0.0], [2.0], [7.0]], block=1, window_blocks=1, random_blocks=0,
        ...                         global_blocks=1)[:, 0])
        [3.  1.  3.5]
    """
    n, m = np.shape(q)[-2], np.shape(k)[-2]
    if key is not None:
        from attnlib.kernels.bigbird import (
            bigbird_pattern as draw,
        )  # a matter of chance: there is no other definition

        sizes = {"block": block, "window_blocks": window_blocks, "global_blocks": global_blocks}
        pattern = draw(key, n, m=m, random_blocks=random_blocks, causal=causal, **sizes)
    b, c = (np.arange(n)[:, None] + (m - n)) // block, np.arange(m) // block
    near = (c <= b) & (b - c < window_blocks) if causal else abs(b - c) <= window_blocks // 2
    meets = near | (c < global_blocks) | ((b >= 0) & (b < global_blocks))
    if pattern is not None:
        rows = np.asarray(pattern)[..., (b - b[0])[:, 0], :]
        meets = meets | (rows[..., None] == c).any(axis=-2)
    return attention(q, k, v, mask=visible(n, m, causal=causal, mask=mask) & meets, scale=scale)


def topk_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    top: int,
    index_q: ArrayLike | None = None,
    index_k: ArrayLike | None = None,
    index_weights: ArrayLike | None = None,
    causal: bool = False,
    mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> Array:
    """Attend to the keys that `topk_select` finds: those with the highest scores of the indexer, or of their own.

    Example:
        >>> print(topk_attention([[1.0]], [[0.0], [5.0], [1.0], [5.0]], [[1.0], [2.0], [9.0], [4.0]], top=2))
        [[3.]]
    """
    if index_q is None or index_k is None:
        q = float64(q)
        index_q, index_k = factor(scale, q) * q, k
    chosen = topk_select(index_q, index_k, top=top, index_weights=index_weights, causal=causal, mask=mask)
    seen = (chosen[..., None] == np.arange(np.shape(k)[-2])).any(axis=-2)
    return attention(q, k, v, mask=seen, scale=scale)


def topk_select(
    index_q: ArrayLike,
    index_k: ArrayLike,
    *,
    top: int,
    index_weights: ArrayLike | None = None,
    causal: bool = False,
    mask: ArrayLike | None = None,
) -> Array:
    """Number the `top` visible keys of the highest scores, the earlier of equal ones first; −1 where there are fewer.

    I_ij = q_i·k_j,   with weights I_ij = Σ_h w_hi max(0, q_hi·k_j);   a NaN is the highest

    Source: DeepSeek-AI (2025), equation 1.

    Example:
        >>> topk_select([[1.0], [-1.0]], [[1.0], [7.0], [7.0]], top=2)
        array([[1, 2],
               [0, 1]])
    """
    q, k = float64(index_q), float64(index_k)
    if index_weights is None:
        s = q @ k.swapaxes(-1, -2)
    else:
        w = float64(index_weights)[..., None]
        q = q.reshape(*q.shape[:-1], w.shape[-2], -1)
        s = (w * np.maximum(q @ k.swapaxes(-1, -2)[..., None, :, :], 0)).sum(axis=-2)
    s = np.where(np.isnan(s), np.inf, np.maximum(s, np.finfo(s.dtype).min))
    s = np.where(visible(*s.shape[-2:], causal=causal, mask=mask), s, -np.inf)
    chosen = np.argsort(-s, axis=-1, kind="stable")[..., :top]
    return np.where(np.take_along_axis(s, chosen, axis=-1) > -np.inf, chosen, -1)


def l2_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    causal: bool = False,
    mask: ArrayLike | None = None,
    scale: ArrayLike = 1.0,
) -> Array:
    """Average the values with weights that fall with the distance: a_ij = e^(−scale·|q_i − k_j|²).

    Source: Duman Keles, Wijewardena and Hegde (2023), theorem 7.

    Example:
        >>> print(l2_attention([[0.0]], [[1.0], [-1.0], [9.0]], [[1.0], [2.0], [100.0]]))
        [[1.5]]
    """
    q, k, v, c = float64(q), float64(k), float64(v), float64(scale)
    seen = visible(q.shape[-2], k.shape[-2], causal=causal, mask=mask)
    return average(lambda q, k: shifted_exponential(-c * ((q - k) ** 2).sum(axis=-1)), q, k, v, seen)


def attention_backward(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    do: ArrayLike,
    *,
    causal: bool = False,
    mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> tuple[Array, Array, Array]:
    """Return the gradients of Σ o∘do with respect to q, k and v, by the chain rule.

    dv = wᵀ do,   dw = do vᵀ,   ds_ij = w_ij (dw_ij − Σ_l w_il dw_il),   dq = scale · ds k,   dk = scale · dsᵀ q

    An oracle for finite numbers, and for q, k and v with the same leading axes.

    Example:
        >>> dq, dk, dv = attention_backward([[1.0]], [[1.0], [1.0]], [[0.0], [4.0]], [[1.0]])
        >>> print(dq, dk[:, 0], dv[:, 0])
        [[0.]] [-1.  1.] [0.5 0.5]
    """
    q, k, v, do = float64(q), float64(k), float64(v), float64(do)
    w, c = attention_weights(q, k, causal=causal, mask=mask, scale=scale), factor(scale, q)
    dw = do @ v.swapaxes(-1, -2)
    ds = w * (dw - (w * dw).sum(axis=-1, keepdims=True))
    return c * ds @ k, c * ds.swapaxes(-1, -2) @ q, w.swapaxes(-1, -2) @ do


# --- attention of low rank: fewer keys, made of all of them ---------------------------------------------------------


def linformer_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    e: ArrayLike,
    f: ArrayLike | None = None,
    *,
    causal: bool = False,
    mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> Array:
    """Attend to mixtures of the keys: o = softmax(scale · q (e k)ᵀ) (f v), e and f cut to as many columns as keys.

    Hidden keys and values are zeros before they are mixed. `causal` has to be false, the mask the same for all
    queries.

    Source: Wang et al. (2020), equation 7.

    Example:
        >>> print(linformer_attention([[0.0]], np.zeros((3, 1)), [[0.0], [3.0], [9.0]], [[1, 1, 0], [0, 0, 1]]))
        [[6.]]
    """
    q, k, v = float64(q), float64(k), float64(v)
    m = k.shape[-2]
    e, f = float64(e)[..., :m], float64(e if f is None else f)[..., :m]
    seen = visible(1, m, mask=mask).swapaxes(-1, -2)
    o = attention(q, e @ np.where(seen, k, 0), f @ np.where(seen, v, 0), scale=scale)
    return np.where(seen.any(axis=-2, keepdims=True), o, 0)


def nystrom_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    landmarks: int,
    pinv: str = "exact",
    iterations: int | None = None,
    rcond: float | None = None,
    causal: bool = False,
    mask: ArrayLike | None = None,
    query_mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> Array:
    """Attend through means of segments: o = softmax(q k̃ᵀ) softmax(q̃ k̃ᵀ)⁺ softmax(q̃ kᵀ) v, all scores scaled.

    `causal` has to be false, the mask the same for all queries. The kernel refuses iterations with the exact
    pseudo-inverse, and rcond with the iterative one.

    Source: Xiong et al. (2021), equations 14, 16 and 17.

    Example:
        >>> print(nystrom_attention(np.zeros((3, 1)), np.zeros((2, 1)), [[0.0], [4.0]], landmarks=2)[:, 0])
        [2. 2. 2.]
    """
    q, k, v = float64(q), float64(k), float64(v)
    seen = visible(1, k.shape[-2], mask=mask)
    met = np.ones((1, q.shape[-2]), bool) if query_mask is None else np.asarray(query_mask)[..., None, :]
    (q_mean, some_q), (k_mean, some_k) = segment_means(q, met, landmarks), segment_means(k, seen, landmarks)
    some_q = some_q.swapaxes(-1, -2)
    a = attention_weights(q_mean, k_mean, mask=some_q & some_k, scale=scale)
    z = pseudo_inverse(a, 1e-5 if rcond is None else rcond) if pinv == "exact" else iterated(a, iterations or 6)
    x = z @ attention(q_mean, k, v, mask=some_q & seen, scale=scale)
    o: Array = attention_weights(q, k_mean, mask=some_k, scale=scale) @ x
    return o


def segment_means(x: Array, seen: Array, count: int) -> tuple[Array, Array]:
    """Cut the rows of x into segments that differ by at most one; return the means of rows that are seen (..., l, d).

    And which segments have any, (..., 1, l). There are no more segments than rows.
    """
    means, some = [], []
    for rows in np.array_split(np.arange(x.shape[-2]), min(count, x.shape[-2])):
        here = seen[..., rows].swapaxes(-1, -2)
        number = here.sum(axis=-2)
        means.append(np.where(here, x[..., rows, :], 0).sum(axis=-2) / np.maximum(number, 1))
        some.append(number > 0)
    return np.stack(means, axis=-2), np.concatenate(some, axis=-1)[..., None, :]


def pseudo_inverse(a: Array, rcond: float) -> Array:
    """Return A⁺; singular values up to rcond times the largest count as zero. NaN where A has one."""
    there = np.isfinite(a).all(axis=(-1, -2), keepdims=True)
    z: Array = np.where(there, np.linalg.pinv(np.where(there, a, 0), rcond), np.nan)
    return z


def iterated(a: Array, iterations: int) -> Array:
    """Approximate A⁺: Z ← Z (13 − AZ (15 − AZ (7 − AZ))) / 4, from Aᵀ / (‖A‖₁ ‖A‖_∞); A is not negative."""
    norms = a.sum(axis=-2).max(axis=-1) * a.sum(axis=-1).max(axis=-1)
    z, one = a.swapaxes(-1, -2) / np.where(norms == 0, 1, norms)[..., None, None], np.eye(a.shape[-2])
    for _ in range(iterations):
        z = z @ (13 * one - a @ z @ (15 * one - a @ z @ (7 * one - a @ z))) / 4
    return z


# --- attention within buckets ---------------------------------------------------------------------------------------


def near_in_bucket(
    bucket_q: Array, bucket_k: Array, window: int, *, causal: bool = False, mask: ArrayLike | None = None
) -> Array:
    """Say which query sees which key of its own bucket, (..., n, m).

    Of those at its position or before it the last `window`, and without `causal` the next window − 1, too. A hidden
    key is not counted.

    Example:
        >>> near_in_bucket(np.array([0, 0, 0]), np.array([0, 1, 0]), 1).astype(int)
        array([[1, 0, 0],
               [1, 0, 0],
               [0, 0, 1]])
    """
    n, m = bucket_q.shape[-1], bucket_k.shape[-1]
    met = (bucket_q[..., :, None] == bucket_k[..., None, :]) & visible(1, m, mask=mask)
    number = met.cumsum(axis=-1)  # the keys of a bucket, numbered by position
    own = (met & visible(n, m, causal=True)).sum(axis=-1, keepdims=True)
    seen: Array = met & (number > own - window) & (number < own + (1 if causal else window))
    return seen


def lsh_buckets(x: ArrayLike, rotations: ArrayLike, *, buckets: int | tuple[int, ...]) -> Array:
    """Hash rows to h(x) = argmax [xR, −xR] in each round; with factors, each has columns of its own and is a digit.

    Source: Kitaev et al. (2020), section 2.

    Example:
        >>> print(lsh_buckets([[3.0, 1.0], [-1.0, -4.0]], [np.eye(2)], buckets=4))
        [[0 3]]
    """
    x, w = float64(x)[..., None, :, :], float64(rotations)
    number, used = np.zeros((*x.shape[:-3], len(w), x.shape[-2]), int), 0
    for part in buckets if isinstance(buckets, tuple) else (buckets,):
        if part > 1:
            turned = x @ w[..., used : used + part // 2]
            number = number * part + np.concatenate([turned, -turned], axis=-1).argmax(axis=-1)
            used += part // 2
    return number


def lsh_attention(
    q: ArrayLike,
    k: ArrayLike | None,
    v: ArrayLike,
    rotations: ArrayLike,
    *,
    buckets: int | tuple[int, ...],
    window: int,
    shared: bool = False,
    causal: bool = False,
    mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> Array:
    """Attend to what shares a bucket with the query in some round and is near it there.

    With `shared` keys are the queries over their lengths, and a query sees its own key only if it sees no other.

    Source: Kitaev et al. (2020), section 2; what is near: ours.

    Example:
        >>> q, k, v = [[5.0], [-5.0]], [[1.0], [-1.0]], [[1.0], [2.0]]
        >>> print(lsh_attention(q, k, v, [[[1.0]]], buckets=2, window=2)[:, 0])
        [1. 2.]
    """
    q, v, c = float64(q), float64(v), factor(scale, float64(q))
    k = unit(q) if k is None else float64(k)
    of_q, of_k = (lsh_buckets(x, rotations, buckets=buckets) for x in (q, q if shared else k))
    among = None if mask is None else np.atleast_2d(mask)[..., None, :, :]  # the same in every round
    seen = near_in_bucket(of_q, of_k, window, causal=causal, mask=among).any(axis=-3)
    if shared:
        others = seen & ~np.eye(q.shape[-2], dtype=bool)
        seen = np.where(others.any(axis=-1, keepdims=True), others, seen)
    return average(lambda q, k: shifted_exponential(c * (k @ q)), q, k, v, seen)


def routing_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    centroids: ArrayLike,
    *,
    window: int,
    clusters: int | None = None,
    causal: bool = False,
    mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    return_routed: bool = False,
) -> Array | tuple[Array, Array, Array]:
    """Attend within clusters, each of the rows that it takes; with `causal` to what is near in one's own cluster.

    Source: Roy et al. (2021), algorithm 1; the union of clusters, and `causal`: ours.

    Example:
        >>> q, v, c = [[5.0], [-5.0]], [[1.0], [2.0]], [[1.0], [-1.0]]
        >>> print(routing_attention(q, q, v, c, window=1)[:, 0])
        [1. 2.]
    """
    q, k, v, x = float64(q), float64(k), float64(v), factor(scale, float64(q))
    there = visible(1, k.shape[-2], mask=mask)
    if causal:
        of_q, of_k = (nearest(y, centroids) for y in (q, k))
        seen = near_in_bucket(of_q, of_k, window, causal=True, mask=mask)
        routed = np.ones(q.shape[:-1], int), np.ones(k.shape[:-1], int) * there[..., 0, :]
    else:
        by_q, by_k = taken(q, centroids, window, True), taken(k, centroids, window, there) & there
        seen = (by_q[..., :, None] & by_k[..., None, :]).any(axis=-3)
        routed = by_q.sum(axis=-2), by_k.sum(axis=-2)
    o = average(lambda q, k: shifted_exponential(x * (k @ q)), q, k, v, seen)
    shapes = ((*o.shape[:-2], y.shape[-2]) for y in (q, k))
    of_q, of_k = map(np.broadcast_to, routed, shapes)
    return (o, of_q, of_k) if return_routed else o


def nearest(x: Array, centroids: ArrayLike) -> Array:
    """Return the centroid with the largest inner product with each row, (..., n)."""
    number: Array = (x @ float64(centroids).swapaxes(-1, -2)).argmax(axis=-1)
    return number


def unit(x: Array) -> Array:
    """Divide rows by their lengths; zeros stay zeros."""
    length = np.sqrt((x**2).sum(axis=-1, keepdims=True))
    return x / np.where(length == 0, 1, length)


def taken(x: Array, centroids: ArrayLike, window: int, there: ArrayLike) -> Array:
    """Say which rows each centroid takes, (..., clusters, n): the `window` that point most nearly its way.

    Those that are not there come last, those with a NaN first; of equals, the first.
    """
    s = float64(centroids) @ unit(x).swapaxes(-1, -2)
    order = np.argsort(-np.where(there, np.where(np.isnan(s), np.inf, s), -np.inf), axis=-1, kind="stable")
    among: Array = order.argsort(axis=-1) < window
    return among


def update_centroids(
    centroids: ArrayLike, x: ArrayLike, *, decay: float = 0.999, mask: ArrayLike | None = None
) -> Array:
    """Return u(λ c + (1 − λ) mean of u(x_i) over the rows i nearest to c), u(x) = x/|x|; c, if there are none.

    Leading axes of x that the centroids do not have, or have once, are averaged over.

    Source: Roy et al. (2021), algorithm 1.

    Example:
        >>> print(update_centroids([[1.0, 0.0], [0.0, 1.0]], [[3.0, 4.0]], decay=0.0))
        [[1.  0. ]
         [0.6 0.8]]
    """
    old, x = float64(centroids), unit(float64(x))
    c = old.reshape((1,) * (x.ndim - old.ndim) + old.shape)
    of = nearest(x, c)[..., None, :] == np.arange(c.shape[-2])[:, None]  # (..., clusters, n)
    of = of & (True if mask is None else np.asarray(mask)[..., None, :])
    over = tuple(a for a in range(x.ndim - 2) if c.shape[a] == 1)
    sums, number = (of @ x).sum(axis=over, keepdims=True), of.sum(axis=(*over, -1), keepdims=True)
    new = np.where(number > 0, unit(decay * c + (1 - decay) * sums / np.maximum(number, 1)), c)
    return new.reshape(old.shape)


# --- attention linear in n: weights that are products of features ---------------------------------------------------


def elu_plus_one(x: Array) -> Array:
    """Return elu(x) + 1: x + 1 where x > 0, else e^x."""
    return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))


def squared_relu(x: Array) -> Array:
    """Return max(0, x)²."""
    return relu(x) ** 2


def cosine_reweighting(q: ArrayLike, k: ArrayLike, length: int, *, start: int = 0) -> tuple[Array, Array]:
    """Return features of q and k for `linear_attention` with `relu`: relu(q_i)·relu(k_j) cos(π/2 · distance/length).

    The last query stands beside the last key. The kernel is `feature_maps.cosine_reweighting`.

    Source: Qin et al. (2022).

    Example:
        >>> q, k = cosine_reweighting([[1.0], [1.0]], [[1.0], [1.0]], 2)
        >>> print((q @ k.T).round(3))
        [[1.    0.707]
         [0.707 1.   ]]
    """
    q, k, out = float64(q), float64(k), []
    last = start + max(q.shape[-2], k.shape[-2])
    for x in (q, k):
        angle = np.pi / 2 * np.arange(last - x.shape[-2], last)[:, None] / length
        out.append(np.concatenate([relu(x) * np.cos(angle), relu(x) * np.sin(angle)], axis=-1))
    return out[0], out[1]


def linear_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    feature_map: Map | None = None,
    causal: bool = False,
    mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> Array:
    """Average the values with weights that are products of features: a_ij = φ(scale · q_i) · φ(k_j).

    φ is elu + 1 by default, the scale 1. Masks that differ between queries have a meaning here; the kernel refuses
    them.

    Source: Katharopoulos et al. (2020), equation 4.

    Example:
        >>> print(linear_attention([[1.0]], [[0.0], [2.0]], [[0.0], [4.0]]))  # features 1 and 3
        [[3.]]
    """
    q, k, v = float64(q), float64(k), float64(v)
    seen = visible(q.shape[-2], k.shape[-2], causal=causal, mask=mask)
    q, k = map_rows(feature_map, q * float64(1 if scale is None else scale)), map_rows(feature_map, k)
    return average(lambda q, k: k @ q, q, k, v, seen)


def map_rows(feature_map: Map | None, x: Array) -> Array:
    """Apply φ, which takes (c, d_k) to (c, D), to all rows of x (..., d_k)."""
    features = float64((feature_map or elu_plus_one)(x.reshape(-1, x.shape[-1])))
    return features.reshape(*x.shape[:-1], -1)


def linear_attention_step(
    state: State,
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    feature_map: Map | None = None,
    scale: ArrayLike | None = None,
) -> tuple[Array, State]:
    """Take new tokens one by one: s ← s + φ(k) vᵀ, z ← z + φ(k), o = φ(q)ᵀ s / φ(q)ᵀ z.

    The state before the first is zeros: s (..., D, d_v), z (..., D).

    Source: Katharopoulos et al. (2020), equations 16 to 20.

    Example:
        >>> state = np.zeros((1, 1)), np.zeros(1)
        >>> o, state = linear_attention_step(state, [[1.0], [1.0]], [[0.0], [0.0]], [[2.0], [4.0]])
        >>> print(o[:, 0], state[1])
        [2. 3.] [2.]
    """
    q, k = float64(q) * float64(1 if scale is None else scale), float64(k)
    return add_and_read(state, map_rows(feature_map, q), map_rows(feature_map, k), v)


def add_and_read(state: State, phi: Array, psi: Array, v: ArrayLike) -> tuple[Array, State]:
    """Add a token's ψ(k) vᵀ and ψ(k) to the sums, then read them with its φ(q); one token after another."""
    (s, z), v, o = map(float64, state), float64(v), []
    for t in range(v.shape[-2]):
        s = s + psi[..., t, :, None] * v[..., t, None, :]
        z = z + psi[..., t, :]
        total = (phi[..., t, :] * z).sum(axis=-1)[..., None]
        value = (phi[..., t, :, None] * s).sum(axis=-2)
        o.append(np.where(total == 0, 0, value / np.where(total == 0, 1, total)))
    return np.stack(o, axis=-2), (s, z)


def gated_linear_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    decay: ArrayLike | None = None,
    *,
    causal: bool = True,
    mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> Array:
    """Add up the values with weights that fade with every later key; nothing is divided.

    o_i = scale · Σ_{j ≤ i} (q_i ∘ e^(decay_{j+1} + … + decay_i)) · k_j v_j

    decay is a number, one for each key (..., m), or one for each channel (..., m, d_k); the scale is 1 by default. A
    hidden key's decay counts. `causal` has to be true.

    Source: Yang et al. (2024); Sun et al. (2023); Dao and Gu (2024).

    Example:
        >>> q = np.ones((3, 1))
        >>> print(gated_linear_attention(q, q, [[8.0], [0.0], [1.0]], np.log(0.5))[:, 0])  # halved with every step
        [8. 4. 3.]
    """
    q, k, v = float64(q), float64(k), float64(v)
    lift = k.shape[-2] - q.shape[-2]  # query i stands beside key i + lift

    def head(q: Array, k: Array, v: Array, decay: Array, seen: Array) -> Array:
        o = np.zeros((len(q), v.shape[1]), v.dtype)
        for i, j in np.argwhere(seen):
            o[i] += (q[i] * np.exp(decay[j + 1 : i + lift + 1].sum(axis=0))) @ k[j] * v[j]
        return o

    seen = visible(q.shape[-2], k.shape[-2], causal=causal, mask=mask)
    each = np.vectorize(head, signature="(n,d),(m,d),(m,v),(m,c),(n,m)->(n,v)")
    out: Array = float64(1 if scale is None else scale) * each(q, k, v, channels(decay, k), seen)
    return out


def channels(decay: ArrayLike | None, k: Array) -> Array:
    """Return decays as (..., m, 1) or (..., m, d_k): one for each channel if they have as many axes as k."""
    d = float64(0 if decay is None else decay)
    if d.ndim == 0:
        return np.full((k.shape[-2], 1), d)
    return d if d.ndim == k.ndim else d[..., None]


def gated_linear_attention_step(
    state: ArrayLike,
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    decay: ArrayLike | None = None,
    *,
    scale: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """Take new tokens one by one: s ← e^decay ∘ s + k vᵀ, o = scale · qᵀ s. The state before the first is zeros.

    Source: Yang et al. (2024).

    Example:
        >>> o, s = gated_linear_attention_step([[8.0]], [[1.0]], [[1.0]], [[1.0]], np.log(0.5))
        >>> print(o, s)
        [[5.]] [[5.]]
    """
    q, k, v, s, o = float64(q) * float64(1 if scale is None else scale), float64(k), float64(v), float64(state), []
    kept = np.exp(channels(decay, k))
    for t in range(v.shape[-2]):
        s = kept[..., t, :, None] * s + k[..., t, :, None] * v[..., t, None, :]
        o.append((q[..., t, :, None] * s).sum(axis=-2))
    return np.stack(o, axis=-2), s


def performer_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    projection: ArrayLike,
    *,
    kind: str = "positive",
    causal: bool = False,
    mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> Array:
    """Average the values with random features' estimate of a softmax: E[φ(q_i)·φ(k_j)] = e^(s_ij).

    φ are the `random_features` of √scale · q and √scale · k for the D rows of the projection, over √D.

    Source: Choromanski et al. (2021).

    Example:
        >>> w = np.array([[1.0], [-1.0]])  # a_ij is cosh(k_j) e^(−k_j²/2) for q_i = 0
        >>> print(performer_attention([[0.0]], [[1.0], [-1.0]], [[0.0], [4.0]], w))
        [[2.]]
    """
    q, k, v, w = float64(q), float64(k), float64(v), float64(projection)
    c = factor(scale, q)
    q, k = np.sqrt(abs(c)) * np.sign(c) * q, np.sqrt(abs(c)) * k

    def weigh(q: Array, k: Array) -> Array:
        (e, x), (f, y) = random_features(q[None], w, kind), random_features(k, w, kind)
        weights: Array = (shifted_exponential(e + f) * x * y).sum(axis=-1)
        return weights

    return average(weigh, q, k, v, visible(q.shape[-2], k.shape[-2], causal=causal, mask=mask))


def random_features(x: Array, w: Array, kind: str) -> tuple[Array, Array]:
    """Return exponents and factors of the features φ(x) = factor · e^exponent of rows x for directions w.

    positive: e^(w_r·x − |x|²/2);   trigonometric: e^(|x|²/2) (cos w_r·x, sin w_r·x)

    Source: Choromanski et al. (2021).

    Example:
        >>> print(random_features(np.array([[2.0]]), np.array([[1.0], [3.0]]), "positive")[0])
        [[0. 4.]]
    """
    p, half = x @ w.T, (x**2).sum(axis=-1, keepdims=True) / 2
    if kind == "positive":
        return p - half, np.ones_like(p)
    return half, np.concatenate([np.cos(p), np.sin(p)], axis=-1)


def performer_attention_step(
    state: tuple[ArrayLike, ArrayLike, ArrayLike],
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    projection: ArrayLike,
    *,
    kind: str = "positive",
    scale: ArrayLike | None = None,
) -> tuple[Array, tuple[Array, Array, Array]]:
    """Take new tokens one by one, as `linear_attention_step`, with sums over e^c for the largest exponents c so far.

    The state before the first is s = 0 (..., D, d_v), z = 0 (..., D) and c = −∞, one for each positive feature, or
    one (..., 1) for all trigonometric ones.

    Source: Choromanski et al. (2021); c: ours.

    Example:
        >>> state = np.zeros((1, 1)), np.zeros(1), np.array([-np.inf])
        >>> o, (s, z, c) = performer_attention_step(state, [[1.0]], [[2.0]], [[3.0]], [[1.0]])
        >>> print(o, s, z, c)  # 1 · 2 − 2²/2 = 0
        [[3.]] [[3.]] [1.] [0.]
    """
    v, w, x, (s, z, c), o = float64(v), float64(projection), factor(scale, float64(q)), map(float64, state), []
    e, phi = random_features(np.sqrt(abs(x)) * np.sign(x) * float64(q), w, kind)
    f, psi = random_features(np.sqrt(abs(x)) * float64(k), w, kind)
    for t in range(v.shape[-2]):
        new = np.maximum(c, f[..., t, :])
        kept, come = np.exp(c - new), np.exp(f[..., t, :] - new) * psi[..., t, :]
        s, z, c = kept[..., None] * s + come[..., None] * v[..., t, None, :], kept * z + come, new
        up = e[..., t, :] + c
        read = np.exp(up - up.max(axis=-1, keepdims=True)) * phi[..., t, :]
        o.append((read[..., None] * s).sum(axis=-2) / (read * z).sum(axis=-1)[..., None])
    return np.stack(o, axis=-2), (s, z, c)


def truncated_exponential(x: ArrayLike, order: int) -> Array:
    """Return T_p(x) = Σ_{a ≤ p} xᵃ/a!.

    Example:
        >>> print(truncated_exponential([-1.0, 0.0, 1.0], 2))
        [0.5 1.  2.5]
    """
    x = float64(x)
    return sum((x**a / math.factorial(a) for a in range(order + 1)), np.zeros_like(x))


def taylor_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    order: int = 2,
    causal: bool = False,
    mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    centre_keys: bool = False,
    centre_rows: bool | ArrayLike = False,
) -> Array:
    """Average the values with the exponential cut after order p: a_ij = T_p(x_ij − r_i), x_ij = scale · q_i·k_j.

    centre_keys takes the mean of the visible keys from every key first. centre_rows gives the shifts r, (..., n), or
    True for the middle of the visible x_ij of each row; r = 0 by default.

    Source: Duman Keles et al. (2023), corollary 11; centring: the chapter "Taylor attention".

    Example:
        >>> print(taylor_attention([[1.0]], [[0.0], [2.0]], [[0.0], [6.0]]))  # weights 1 and 1 + 2 + 2
        [[5.]]
    """
    q, k, v = float64(q), float64(k), float64(v)
    seen = visible(q.shape[-2], k.shape[-2], causal=causal, mask=mask)
    r = float64(0 if isinstance(centre_rows, bool) else centre_rows)[..., None]
    lead = np.broadcast_shapes(q.shape[:-1], r.shape[:-1])
    q = factor(scale, q) * q
    q = np.concatenate([np.broadcast_to(x, (*lead, x.shape[-1])) for x in (q, r)], axis=-1)  # r_i goes with its query

    def weigh(q: Array, k: Array) -> Array:
        x: Array = (k - k.mean(axis=0) if centre_keys else k) @ q[:-1]
        r = (x.max() + x.min()) / 2 if centre_rows is True else q[-1]
        return truncated_exponential(x - r, order)

    return average(weigh, q, k, v, seen)


def monomials(x: Array, order: int) -> tuple[Array, Array]:
    """Return all x^α with |α| ≤ p, (..., D), degree by degree, and their α!, (D,).

    Example:
        >>> print(*monomials(np.array([2.0, 3.0]), 2))
        [1. 2. 3. 4. 6. 9.] [1. 1. 1. 2. 1. 2.]
    """
    d = x.shape[-1]
    chosen = [c for a in range(order + 1) for c in combinations_with_replacement(range(d), a)]
    factorials = [math.prod(math.factorial(c.count(i)) for i in set(c)) for c in chosen]
    return np.stack([x[..., list(c)].prod(axis=-1) for c in chosen], axis=-1), float64(factorials)


def taylor_features(x: ArrayLike, order: int, *, tensor: bool = False) -> Array:
    """Return features with φ(q)·φ(k) = T_p(q·k): x^α/√α! for |α| ≤ p, or tensor powers x⊗…⊗x/√a!.

    The kernel is `taylor.features`.

    Source: the multinomial theorem; tensor powers: Duman Keles et al. (2023), lemma 8.

    Example:
        >>> print(taylor_features([2.0, 4.0], 1), taylor_features([2.0], 2, tensor=True).round(3))
        [1. 2. 4.] [1.    2.    2.828]
    """
    x = float64(x)
    if not tensor:
        values, factorials = monomials(x, order)
        return values / np.sqrt(factorials)
    powers = [np.ones((*x.shape[:-1], 1))]
    for _ in range(order):
        powers.append((powers[-1][..., :, None] * x[..., None, :]).reshape(*x.shape[:-1], -1))
    return np.concatenate([y / math.sqrt(math.factorial(a)) for a, y in enumerate(powers)], axis=-1)


def taylor_attention_step(
    state: State,
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    order: int = 2,
    scale: ArrayLike | None = None,
) -> tuple[Array, State]:
    """Take new tokens one by one, as `linear_attention_step`, with φ(q) = (scale · q)^α and ψ(k) = k^α/α!.

    Example:
        >>> state = np.zeros((3, 1)), np.zeros(3)
        >>> o, state = taylor_attention_step(state, [[1.0], [1.0]], [[0.0], [2.0]], [[0.0], [6.0]])
        >>> print(o[:, 0], state[1])  # Σ 1, Σ k, Σ k²/2
        [0. 5.] [2. 2. 2.]
    """
    q, k = float64(q), float64(k)
    phi, (psi, factorials) = monomials(factor(scale, q) * q, order)[0], monomials(k, order)
    return add_and_read(state, phi, psi / factorials, v)


# --- layers ---------------------------------------------------------------------------------------------------------


def multihead_attention(
    params: Params,
    x: ArrayLike,
    *,
    memory: ArrayLike | None = None,
    causal: bool = False,
    mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> Array:
    """Sum over the heads: Σ_i attention(x W_q[i], z W_k[⌊i/g⌋], z W_v[⌊i/g⌋]) W_o[i], z = memory or x, g = h/h_kv.

    Source: Vaswani et al. (2017), section 3.2.2; grouped queries: Ainslie et al. (2023).

    Example:
        >>> w = {"w_q": np.zeros((2, 1, 1)), "w_k": np.zeros((1, 1, 1)), "w_v": np.ones((1, 1, 1))}
        >>> print(multihead_attention(w | {"w_o": np.ones((2, 1, 1))}, [[1.0], [3.0]]))  # two heads, each the mean
        [[4.]
         [4.]]
    """
    w_q, w_k, w_v, w_o = (float64(params[w]) for w in ("w_q", "w_k", "w_v", "w_o"))
    x = float64(x)
    z = x if memory is None else float64(memory)
    h, g = len(w_q), len(w_q) // len(w_k)
    heads = np.broadcast_to(True if mask is None else mask, (*x.shape[:-2], h, x.shape[-2], z.shape[-2]))
    out = np.zeros_like(x)
    for i in range(h):
        q, k, v, see = x @ w_q[i], z @ w_k[i // g], z @ w_v[i // g], heads[..., i, :, :]
        out = out + attention(q, k, v, causal=causal, mask=see, scale=scale) @ w_o[i]
    return out


def latent_attention(
    params: Params,
    x: ArrayLike,
    *,
    causal: bool = False,
    mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    positions: ArrayLike | None = None,
) -> Array:
    """Attend in heads whose keys and values are made of one latent c of each position: `attend_latents`.

    c, r = x W_DKV, the first normalised, the second, which all heads share, rotated by its position.

    Source: DeepSeek-AI (2024), section 2.1; the norms: section 3.1.2.

    Example:
        >>> shapes = {"w_q": (1, 2, 4), "w_dkv": (2, 3), "g_kv": 1, "w_uk": (1, 1, 2), "w_uv": (1, 1, 1)}
        >>> zero = {w: np.zeros(s) for w, s in (shapes | {"w_o": (1, 1, 2)}).items()}
        >>> ones = {"w_dkv": np.eye(2, 3), "g_kv": [1.0], "w_uv": [[[1.0]]], "w_o": [[[1.0, 2.0]]]}
        >>> x = [[3.0, 0.0], [-3.0, 0.0], [5.0, 0.0]]  # latents 1, −1 and 1, whose mean is 1/3
        >>> print(latent_attention(zero | ones, x).round(3)[0])
        [0.333 0.667]
    """
    p, x = {name: float64(w) for name, w in params.items()}, float64(x)
    t = np.arange(x.shape[-2]) if positions is None else np.asarray(positions)
    return attend_latents(p, x, t, *latents(p, x, t), causal=causal, mask=mask, scale=scale)


def latents(p: Any, x: Array, t: Array) -> tuple[Array, Array]:
    """Return the latents c (..., n, rank) of positions x, and the keys that all heads share, rotated by t."""
    c, r = np.split(x @ p["w_dkv"], [len(p["g_kv"])], axis=-1)
    return root_mean_square_norm(c, p["g_kv"]), rotate(r, t)


def attend_latents(p: Any, x: Array, t: Array, c: Array, r: Array, *, mask: Any = None, **options: Any) -> Array:
    """Sum over heads: Σ_i attention((q_i, rotate(t_i)), (c W_UK[i], r), c W_UV[i]) W_O[i], (q_i, t_i) = x W_Q[i].

    With w_dq, queries are made of a latent of their own, normalised as c is.
    """
    low = "w_dq" in p
    z, w_q = (root_mean_square_norm(x @ p["w_dq"], p["g_q"]), p["w_uq"]) if low else (x, p["w_q"])
    h, _, d_k = p["w_uk"].shape
    heads = np.broadcast_to(True if mask is None else mask, (*x.shape[:-2], h, x.shape[-2], c.shape[-2]))
    out = np.zeros_like(x)
    for i in range(h):
        q, turned = np.split(z @ w_q[i], [d_k], axis=-1)
        q = np.concatenate([q, rotate(turned, t)], axis=-1)
        k = np.concatenate([c @ p["w_uk"][i], r], axis=-1)
        out = out + attention(q, k, c @ p["w_uv"][i], mask=heads[..., i, :, :], **options) @ p["w_o"][i]
    return out


def root_mean_square_norm(x: Array, gain: Array, eps: float = 1e-6) -> Array:
    """Divide by the root of the mean square along the last axis, and multiply by the gain."""
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) * gain


def rotate(x: Array, positions: Array, base: float = 10_000) -> Array:
    """Turn the numbers 2j and 2j + 1 of a row x (..., n, d) by the angle position · base^(−2j/d).

    Products of two rotated rows depend on the difference of their positions alone.

    Source: Su et al. (2021), section 3.2.2.
    """
    angles = positions[..., None] * base ** (-np.arange(0, x.shape[-1], 2) / x.shape[-1])
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)
    return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)


def relu(x: Array) -> Array:
    """Return max(0, x)."""
    return np.maximum(x, 0)


def feed_forward(params: Params, x: ArrayLike) -> Array:
    """Apply the same two matrices to every position: max(0, x W_1) W_2.

    Source: Vaswani et al. (2017), equation 2, without biases.

    Example:
        >>> print(feed_forward({"w_1": [[1.0, -1.0]], "w_2": [[1.0], [1.0]]}, [[-3.0], [2.0]]))  # the absolute value
        [[3.]
         [2.]]
    """
    w_1, w_2 = float64(params["w_1"]), float64(params["w_2"])
    return relu(float64(x) @ w_1) @ w_2


def normalise(x: Array, eps: float = 1e-5) -> Array:
    """Layer normalisation without gain and offset: (x − mean)/√(variance + ε) along the last axis."""
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + eps)


def transformer_layer(
    params: Mapping[str, Params],
    x: ArrayLike,
    *,
    causal: bool = False,
    mask: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> Array:
    """Self-attention, then the feed-forward layer, each added to its input and normalised.

    y = normalise(x + multihead_attention(x)),   out = normalise(y + feed_forward(y))

    params: attention, the dict of `multihead_attention`, and feed_forward, that of `feed_forward`. The library has
    the cost of this layer (`cost.transformer_layer`, without sums and normalisation) and no kernel of its own for it.

    Source: Vaswani et al. (2017), section 3.1; normalisation: Ba, Kiros and Hinton (2016), without gain and offset.

    Example:
        >>> attend = {w: np.zeros((1, 2, 2)) for w in ("w_q", "w_k", "w_v", "w_o")}
        >>> params = {"attention": attend, "feed_forward": {"w_1": np.zeros((2, 8)), "w_2": np.zeros((8, 2))}}
        >>> print(transformer_layer(params, [[3.0, 5.0]]).round(3))  # nothing is added: normalised twice
        [[-1.  1.]]
    """
    x = float64(x)
    y = normalise(x + multihead_attention(params["attention"], x, causal=causal, mask=mask, scale=scale))
    return normalise(y + feed_forward(params["feed_forward"], y))


def existing(x: Array, lengths: ArrayLike | None) -> Array:
    """Put zeros where no position exists: x (..., n, d) from position `length` on."""
    n = x.shape[-2]
    return x if lengths is None else np.where(np.arange(n)[:, None] < np.asarray(lengths)[..., None, None], x, 0)


def recur(
    cell: Callable[[Array, Any], tuple[Array, ...]],
    x: Array,
    state: Sequence[ArrayLike | None],
    width: int,
    lengths: ArrayLike | None,
    reverse: bool,
) -> tuple[Array, tuple[Array, ...]]:
    """Run state ← cell(x_t, state) over the positions that exist; y_t is the first part of the state."""
    x, n = existing(x, lengths), x.shape[-2]
    h = tuple(np.zeros((*x.shape[:-2], width)) if s is None else float64(s) for s in state)
    y = np.zeros((*x.shape[:-1], width))
    for t in reversed(range(n)) if reverse else range(n):
        there = np.asarray(t < np.asarray(n if lengths is None else lengths))[..., None]
        h = tuple(np.where(there, new, old) for new, old in zip(cell(x[..., t, :], h), h, strict=True))
        y[..., t, :] = h[0]
    return existing(y, lengths), h


def sigmoid(x: Array) -> Array:
    """Return 1/(1 + e^−x), written so that nothing overflows."""
    return (1 + np.tanh(x / 2)) / 2


def rnn(
    params: Params,
    x: ArrayLike,
    state: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
) -> tuple[Array, Array]:
    """Carry a state along the sequence: h_t = tanh(x_t W + h_{t−1} U + b).

    Source: Elman (1990), with a bias.

    Example:
        >>> y, state = rnn({"w": [[1.0]], "u": [[1.0]], "b": [0.0]}, [[1.0], [0.0]])
        >>> print(y[:, 0].round(3), state.round(3))  # tanh 1, tanh tanh 1
        [0.762 0.642] [0.642]
    """
    w, u, b = (float64(params[name]) for name in ("w", "u", "b"))
    y, (h,) = recur(lambda x, h: (np.tanh(x @ w + h[0] @ u + b),), float64(x), (state,), len(u), lengths, reverse)
    return y, h


def gru(
    params: Params,
    x: ArrayLike,
    state: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
) -> tuple[Array, Array]:
    """Carry a state that gates decide how much to overwrite; the reset gate after the product, as in cuDNN.

    r, z = σ(x_t W_rz + h_{t−1} U_rz + b_rz),   c = tanh(x_t W_c + b_c + r ∘ (h_{t−1} U_c + b_n)),
    h_t = (1 − z) ∘ c + z ∘ h_{t−1}

    Source: Cho et al. (2014), equations 5–8, with the reset gate after the product.

    Example:
        >>> zero = {"w": np.zeros((1, 3)), "u": np.zeros((1, 3)), "b": np.zeros(3), "b_n": np.zeros(1)}
        >>> print(gru(zero, np.ones((2, 1)), np.ones(1))[0][:, 0])  # z = 1/2, c = 0: half of it each time
        [0.5  0.25]
    """
    w, u, b, b_n = (float64(params[name]) for name in ("w", "u", "b", "b_n"))

    def cell(x: Array, state: tuple[Array]) -> tuple[Array]:
        (h,) = state
        (x_r, x_z, x_c), (h_r, h_z, h_c) = np.split(x @ w + b, 3, axis=-1), np.split(h @ u, 3, axis=-1)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        c = np.tanh(x_c + r * (h_c + b_n))
        return ((1 - z) * c + z * h,)

    y, (h,) = recur(cell, float64(x), (state,), len(u), lengths, reverse)
    return y, h


def lstm(
    params: Params,
    x: ArrayLike,
    state: Sequence[ArrayLike] | None = None,
    *,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
) -> tuple[Array, tuple[Array, ...]]:
    """Carry a state and a cell that gates add to and forget from.

    i, f, o = σ(x_t W_ifo + h_{t−1} U_ifo + b_ifo),   g = tanh(x_t W_g + h_{t−1} U_g + b_g),
    c_t = f ∘ c_{t−1} + i ∘ g,   h_t = o ∘ tanh(c_t);   columns i, f, g, o

    Source: Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000).

    Example:
        >>> zero = {"w": np.zeros((1, 4)), "u": np.zeros((1, 4)), "b": np.zeros(4)}
        >>> y, (h, c) = lstm(zero, np.ones((2, 1)), (np.zeros(1), np.ones(1)))
        >>> print(c)  # f = 1/2, twice
        [0.25]
    """
    w, u, b = (float64(params[name]) for name in ("w", "u", "b"))

    def cell(x: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        h, c = state
        i, f, g, o = np.split(x @ w + h @ u + b, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c

    return recur(cell, float64(x), (None, None) if state is None else state, len(u), lengths, reverse)


def conv(
    params: Params,
    x: ArrayLike,
    *,
    causal: bool = False,
    dilation: int = 1,
    lengths: ArrayLike | None = None,
) -> Array:
    """Mix each position with its neighbours, the same way everywhere.

    y_t = Σ_τ x_{t + δ(τ − (k−1)/2)} W_τ + b;   causal: y_t = Σ_τ x_{t − δ(k−1−τ)} W_τ + b   (τ = 0 … k − 1)

    Beyond the ends x is zero. Separable: W_τ = diag(w_depth_τ) W_point.

    Source: Kalchbrenner et al. (2016); separable: Chollet (2017).

    Example:
        >>> params = {"w": np.ones((3, 1, 1)), "b": np.zeros(1)}
        >>> print(conv(params, [[1.0], [10.0], [100.0], [1000.0]])[:, 0])
        [  11.  111. 1110. 1100.]
    """
    p = {name: float64(w) for name, w in params.items()}
    w = p["w"] if "w" in p else np.stack([np.diag(row) @ p["w_point"] for row in p["w_depth"]])
    x, k = existing(float64(x), lengths), len(w)
    y = np.zeros((*x.shape[:-1], w.shape[-1])) + p["b"]
    for t, tau in np.ndindex(x.shape[-2], k):
        s = t - dilation * (k - 1 - tau) if causal else t + dilation * (tau - (k - 1) // 2)
        if 0 <= s < x.shape[-2]:
            y[..., t, :] += x[..., s, :] @ w[tau]
    return existing(y, lengths)


def conv_stack(
    layers: Sequence[Params],
    x: ArrayLike,
    *,
    causal: bool = False,
    dilations: Sequence[int] | None = None,
    activation: Map | None = relu,
    lengths: ArrayLike | None = None,
) -> Array:
    """Apply convolutions in turn, an activation between two of them: y = conv_L(φ(… φ(conv_1(x)))).

    Source: Kalchbrenner et al. (2016), section 3.3.

    Example:
        >>> layer = {"w": np.ones((2, 1, 1)), "b": np.zeros(1)}
        >>> print(conv_stack([layer] * 2, np.eye(5)[:, :1], causal=True, dilations=[1, 2])[:, 0])  # 4 see the first
        [1. 1. 1. 1. 0.]
    """
    y = float64(x)
    for i, params in enumerate(layers):
        if i and activation is not None:
            y = float64(activation(y))
        y = conv(params, y, causal=causal, dilation=dilations[i] if dilations else 1, lengths=lengths)
    return y


def s4d(params: Params, x: ArrayLike, *, discretisation: str = "zoh") -> Array:
    """Carry linear states along the sequence in each channel, from zeros: the outputs of `s4d_step`.

    Source: Gu et al. (2022).

    Example:
        >>> zero, one = np.zeros((1, 1)), np.ones((1, 1))
        >>> p = {"log_dt": [0.0], "log_a": zero, "a_im": zero, "c_re": one, "c_im": zero, "skip": [0.0]}
        >>> print(s4d(p, [[1.0], [0.0], [0.0]])[:, 0].round(3))  # 2(1 − 1/e), then 1/e of it each time
        [1.264 0.465 0.171]
    """
    d, pairs = np.shape(params["log_a"])
    zeros = np.zeros((*np.shape(x)[:-2], d, 2 * pairs))
    return s4d_step(params, x, zeros, discretisation=discretisation)[0]


def s4d_kernel(params: Params, n: int, *, discretisation: str = "zoh") -> Array:
    """Return what each channel of `s4d` answers to a 1 and then zeros, without D: K_l = 2 Re Σ_s C_s B̄_s Ā_s^l.

    Source: Gu et al. (2022), section 3.2.

    Example:
        >>> zero, one = np.zeros((1, 1)), np.ones((1, 1))
        >>> p = {"log_dt": [0.0], "log_a": zero, "a_im": zero, "c_re": one, "c_im": zero, "skip": [0.0]}
        >>> print(s4d_kernel(p, 3)[:, 0].round(3))
        [1.264 0.465 0.171]
    """
    kept, written = discretised(params, discretisation)
    weights = 2 * (float64(params["c_re"]) + 1j * float64(params["c_im"])) * written
    return np.stack([(weights * kept**position).sum(axis=-1).real for position in range(n)])


def discretised(params: Params, discretisation: str) -> tuple[Array, Array]:
    """Return Ā and B̄ of `s4d`, (d, N/2)."""
    dt = np.exp(float64(params["log_dt"]))[:, None]
    a = -np.exp(float64(params["log_a"])) + 1j * float64(params["a_im"])
    if discretisation == "bilinear":
        return (1 + dt * a / 2) / (1 - dt * a / 2), dt / (1 - dt * a / 2)
    return np.exp(dt * a), (np.exp(dt * a) - 1) / a


def s4d_step(params: Params, x: ArrayLike, state: ArrayLike, *, discretisation: str = "zoh") -> tuple[Array, Array]:
    """Take new positions one by one: h ← Ā ∘ h + B̄ x, y = 2 Re(C·h) + D x. A state is real, then imaginary parts.

    zoh: Ā = e^(ΔA),   B̄ = (e^(ΔA) − 1)/A;   bilinear: Ā = (1 + ΔA/2)/(1 − ΔA/2),   B̄ = Δ/(1 − ΔA/2)

    Source: Gu et al. (2022).

    Example:
        >>> zero, one = np.zeros((1, 1)), np.ones((1, 1))
        >>> p = {"log_dt": [0.0], "log_a": zero, "a_im": zero, "c_re": one, "c_im": zero, "skip": [0.0]}
        >>> y, state = s4d_step(p, [[0.0]], [[1.0, 0.0]])
        >>> print(y.round(3), state.round(3))
        [[0.736]] [[0.368 0.   ]]
    """
    kept, written = discretised(params, discretisation)
    c, skip = float64(params["c_re"]) + 1j * float64(params["c_im"]), float64(params["skip"])
    x, y, parts = float64(x), [], np.split(float64(state), 2, axis=-1)
    h = parts[0] + 1j * parts[1]
    for t in range(x.shape[-2]):
        h = kept * h + written * x[..., t, :, None]
        y.append(2 * (c * h).sum(axis=-1).real + skip * x[..., t, :])
    return np.stack(y, axis=-2), np.concatenate([h.real, h.imag], axis=-1)


def selective_scan(
    u: ArrayLike, delta: ArrayLike, a: ArrayLike, b: ArrayLike, c: ArrayLike, skip: ArrayLike | None = None
) -> Array:
    """Carry states along the sequence that each position decides how to keep, write and read, from zeros.

    Source: Gu and Dao (2023), algorithm 2.

    Example:
        >>> one = np.ones((3, 1))
        >>> print(selective_scan(one, [[1.0], [0.0], [np.log(2)]], [[-1.0]], one, one)[:, 0].round(3))
        [1.    1.    1.193]
    """
    return selective_scan_step(0.0, u, delta, a, b, c, skip)[0]


def selective_scan_step(
    state: ArrayLike,
    u: ArrayLike,
    delta: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    c: ArrayLike,
    skip: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """Take new positions one by one: h ← e^(ΔA) ∘ h + Δ u B, y = h·C + D u.

    Source: Gu and Dao (2023), algorithm 2, with the Euler step for B of the code published with it.

    Example:
        >>> y, h = selective_scan_step([[8.0]], [[1.0]], [[np.log(2)]], [[-1.0]], [[0.0]], [[1.0]])
        >>> print(y, h)
        [[4.]] [[4.]]
    """
    h, u, delta, a, b, c = map(float64, (state, u, delta, a, b, c))
    d, y = float64(0 if skip is None else skip), []
    for t in range(u.shape[-2]):
        written = (delta * u)[..., t, :, None] * b[..., t, None, :]
        h = np.exp(delta[..., t, :, None] * a) * h + written
        y.append((h * c[..., t, None, :]).sum(axis=-1) + d * u[..., t, :])
    return np.stack(y, axis=-2), h


def mamba(params: Params, x: ArrayLike) -> Array:
    """Mix positions by a scan that each position steers, from zeros: the outputs of `mamba_step`.

    Source: Gu and Dao (2023), section 3.4.

    Example:
        >>> shapes = {"w_in": (1, 2), "w_conv": (2, 1), "b_conv": 1, "w_x": (1, 3), "w_dt": (1, 1), "b_dt": 1}
        >>> ones = {w: np.ones(s) for w, s in (shapes | {"a_log": (1, 1), "skip": 1, "w_out": (1, 1)}).items()}
        >>> print(mamba(ones, [[1.0], [0.0]]).round(2)[:, 0])  # the gate closes where x is 0
        [12.57  0.  ]
    """
    k, e = np.shape(params["w_conv"])
    return mamba_step(params, x, (np.zeros((*np.shape(x)[:-2], k - 1, e)), np.zeros((e, 1))))[0]


def mamba_step(params: Params, x: ArrayLike, state: State) -> tuple[Array, State]:
    """Take new positions: a short convolution, `selective_scan_step` with Δ, B and C of its output, and a gate.

    Source: Gu and Dao (2023), section 3.4.

    Example:
        >>> zero = {"w_in": (1, 2), "w_conv": (2, 1), "b_conv": 1, "w_x": (1, 3), "w_dt": (1, 1), "b_dt": 1}
        >>> zero = {w: np.zeros(s) for w, s in (zero | {"a_log": (1, 1), "skip": 1, "w_out": (1, 1)}).items()}
        >>> y, (window, h) = mamba_step(zero, [[1.0]], ([[0.0]], [[8.0]]))
        >>> print(h)  # Δ = log 2, A = −1
        [[4.]]
    """
    p = {name: float64(w) for name, w in params.items()}
    (k, n), rank, states = (len(p["w_conv"]), np.shape(x)[-2]), len(p["w_dt"]), p["a_log"].shape[-1]
    u, z = np.split(float64(x) @ p["w_in"], 2, axis=-1)
    u = np.concatenate([float64(state[0]), u], axis=-2)
    window = u[..., n:, :]
    u = sum((u[..., t : t + n, :] * p["w_conv"][t] for t in range(k)), p["b_conv"])
    u = u * sigmoid(u)
    dt, b, c = np.split(u @ p["w_x"], [rank, rank + states], axis=-1)
    delta = np.logaddexp(0, dt @ p["w_dt"] + p["b_dt"])
    y, h = selective_scan_step(state[1], u, delta, -np.exp(p["a_log"]), b, c, p["skip"])
    return y * z * sigmoid(z) @ p["w_out"], (window, h)


# --- generation: a cache of keys and values -------------------------------------------------------------------------


def decode_attend(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, cache: Any, *, scale: ArrayLike | None = None
) -> tuple[Array, Any]:
    """Store one position's keys and values in their slot, and attend to all that are stored.

    q (..., h, 1, d_k), k and v (..., h_kv, 1, d): one row of causal attention, that of the last position. cache is a
    `decoding.KVCache`, or any dataclass with its fields: k (heads, d_k, capacity), v (heads, capacity, d_v), length
    and ring. Position t takes slot t, in a ring t mod capacity. A full cache has no slot t: NumPy raises IndexError.
    The kernel is `decoding.attend`.

    Source: Shazeer (2019), section 2.4.
    """
    q, k, v = float64(q), float64(k), float64(v)
    keys, values, t = float64(cache.k).swapaxes(-1, -2).copy(), float64(cache.v).copy(), int(cache.length)
    slot, used = t % keys.shape[1] if cache.ring else t, min(t + 1, keys.shape[1])
    keys[:, slot], values[:, slot] = k.reshape(len(keys), -1), v.reshape(len(keys), -1)
    grouped = q.reshape(len(keys), -1, q.shape[-1])  # the h/h_kv queries that share a head of keys
    o = attention(grouped, keys[:, :used], values[:, :used], scale=scale)
    filled = replace(cache, k=keys.swapaxes(-1, -2), v=values, length=t + 1)
    return o.reshape(*q.shape[:-1], v.shape[-1]), filled


def decode_step(params: Params, x: ArrayLike, cache: Any, *, scale: ArrayLike | None = None) -> tuple[Array, Any]:
    """Run multi-head attention for the next position, x (..., 1, d), on what the cache holds and on itself.

    The kernel is `decoding.step`.

    Source: Shazeer (2019), section 2.4.
    """
    w_q, w_k, w_v, w_o = (float64(params[w]) for w in ("w_q", "w_k", "w_v", "w_o"))
    x = float64(x)[..., None, :, :]  # an axis for the heads
    o, cache = decode_attend(x @ w_q, x @ w_k, x @ w_v, cache, scale=scale)
    return (o @ w_o).sum(axis=-3), cache


def decode_prefill(params: Params, x: ArrayLike, cache: Any, *, scale: ArrayLike | None = None) -> tuple[Array, Any]:
    """Fill a cache with the positions of a prompt, x (..., n, d): one `decode_step` after another.

    The kernel is `decoding.prefill`, all positions at once.
    """
    x, y = float64(x), []
    for t in range(x.shape[-2]):
        o, cache = decode_step(params, x[..., t : t + 1, :], cache, scale=scale)
        y.append(o)
    return np.concatenate(y, axis=-2), cache


def latent_step(params: Params, x: ArrayLike, cache: Any, *, scale: ArrayLike | None = None) -> tuple[Array, Any]:
    """Run latent attention for the next position, x (..., 1, d), on what the cache holds and on itself.

    The cache holds rotary keys as k, (sequences, d_rope, capacity), and latents as v, (sequences, capacity, rank).

    Source: DeepSeek-AI (2024), section 2.1.
    """
    p, x, t = {name: float64(w) for name, w in params.items()}, float64(x), int(cache.length)
    r, c = float64(cache.k).swapaxes(-1, -2).copy(), float64(cache.v).copy()
    slot, used = t % c.shape[1] if cache.ring else t, min(t + 1, c.shape[1])
    latent, key = latents(p, x, np.array([t]))
    r[:, slot], c[:, slot] = key.reshape(len(r), -1), latent.reshape(len(c), -1)
    seen = (a[:, :used].reshape(*x.shape[:-2], used, a.shape[-1]) for a in (c, r))
    y = attend_latents(p, x, np.array([t]), *seen, scale=scale)
    return y, replace(cache, k=r.swapaxes(-1, -2), v=c, length=t + 1)


def latent_prefill(params: Params, x: ArrayLike, cache: Any, *, scale: ArrayLike | None = None) -> tuple[Array, Any]:
    """Fill a cache with the positions of a prompt, x (..., n, d): one `latent_step` after another."""
    x, y = float64(x), []
    for t in range(x.shape[-2]):
        o, cache = latent_step(params, x[..., t : t + 1, :], cache, scale=scale)
        y.append(o)
    return np.concatenate(y, axis=-2), cache
