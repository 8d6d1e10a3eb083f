"""One call of self-attention that finds orthogonal vectors: its tokens X and its weights W_Q, W_K, W_V.

The key of b_j has the logit −c · a_i·b_j and the value 1; one dummy key has the logit −τ and the value 0. A row whose
a_i is orthogonal to some b_j has an output near 1, any other near 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from attnlib import _arrays, _check
from attnlib.hardness.temperature import Temperature
from attnlib.hardness.vectors import A, B, Vectors, _vectors, bhfp_to_bhcp, ov_to_bhfp, ov_to_tvpp


@dataclass(frozen=True, eq=False)
class Gadget:
    """Input and weights of one self-attention call, and how to read its output.

    q = X W_Q, k = X W_K, v = X W_V, scale 1/√d_k. The decision: some output of a row that decides exceeds θ.

    Attributes:
        x: tokens, zeros and ones, (..., tokens, D); leading axes are independent instances.
        w_q: (D, d_k).
        w_k: (D, d_k).
        w_v: (D, 1).
        row: which vector of a decides in each token, −1 for tokens whose output means nothing.
        temperature: c, τ and θ.
        causal: token i sees tokens 0 … i only.
        window: token i sees token j only if |i − j| < window.
        kernel: "dot" for e^(q·k/√d_k), "l2" for e^(−|q − k|²).

    Example:
        >>> from attnlib.hardness import dummy_gadget, temperature
        >>> one = np.ones((4, 3), np.uint8)
        >>> g = dummy_gadget(one, one, temperature(4))
        >>> g.x.shape, g.w_q.shape, g.row.tolist()
        ((5, 8), (8, 4), [-1, 0, 1, 2, 3])
    """

    x: UInt8[np.ndarray, "*b tokens D"]
    w_q: Float[np.ndarray, "D d_k"]
    w_k: Float[np.ndarray, "D d_k"]
    w_v: Float[np.ndarray, "D 1"]
    row: Int[np.ndarray, "tokens"]
    temperature: Temperature
    causal: bool = False
    window: int | None = None
    kernel: str = "dot"


def dummy_gadget(a: A, b: B, t: Temperature, *, shift: float = 0.0) -> Gadget:
    """Build the gadget: token 0 is the dummy, token i carries a_i and b_i.

    x_0 = (0 | 0 | 0 | 1), x_i = (a_i | b_i | 1 | 0);  q_i = (a_i, 1), k_j = √d_k·(−c b_j, 0), k_0 = √d_k·(0, −τ).

    Args:
        a: 0/1 vectors, uint8 (n_a, m). The shorter list is filled up with vectors of ones.
        b: 0/1 vectors, uint8 (n_b, m).
        t: temperature and threshold for at least max(n_a, n_b) keys.
        shift: added to every logit. Softmax does not notice; an approximation of the exponential does.

    Returns:
        A `Gadget` with max(n_a, n_b) + 1 tokens, D = 2m + 2, d_k = m + 1 and d_v = 1.

    Raises:
        ValueError: what is wrong with the vectors, a temperature for fewer keys, a shift that is no finite number.

    Cost: O(nm) to build; 2(n + 1)²(m + 2) FLOPs in matrix products to attend.

    Source: theorem A of the chapter "The lower bound". The idea that rows of attention decide a pair problem, one
        row for each vector: Duman Keles, Wijewardena and Hegde (2023).

    Example:
        >>> from attnlib.hardness import attend, temperature
        >>> eye = np.eye(2, dtype=np.uint8)
        >>> y = attend(dummy_gadget(eye, eye, temperature(2)))
        >>> (y[1:] > 0.5).tolist()  # e_1 and e_2 are orthogonal
        [True, True]
    """
    a, b, n = _fill("dummy_gadget", a, b, t)
    _arrays.scalar("dummy_gadget", "shift", shift)
    token = np.arange(-1, n)
    real = np.where(token >= 0, 0, 1)
    return _dot_gadget(a, b, t, token, token, real, [(1.0, 0.0, 1.0), (1.0, -t.tau, 0.0)], shift)


def causal_gadget(a: A, b: B, t: Temperature, *, shift: float = 0.0) -> Gadget:
    """Build the gadget for a causal mask: the dummy, then all of b, then all of a.

    As keys the tokens of a have the logit −c and the value 0. That weighs on the rows that should say yes, for which
    c and τ are larger by ln 2.

    Args:
        a: as in `dummy_gadget`.
        b: as in `dummy_gadget`.
        t: as in `dummy_gadget`.
        shift: as in `dummy_gadget`.

    Returns:
        A `Gadget` with 2n + 1 tokens, causal=True.

    Raises:
        ValueError: as `dummy_gadget`.

    Cost: O(nm) to build.

    Source: the chapter "The lower bound".

    Example:
        >>> from attnlib.hardness import attend, temperature
        >>> eye = np.eye(2, dtype=np.uint8)
        >>> g = causal_gadget(eye, eye, temperature(2))
        >>> (attend(g)[g.row >= 0] > 0.5).tolist()
        [True, True]
    """
    a, b, n = _fill("causal_gadget", a, b, t)
    _arrays.scalar("causal_gadget", "shift", shift)
    none = np.full(n, -1)
    i_a, i_b = np.r_[-1, none, np.arange(n)], np.r_[-1, np.arange(n), none]
    kind = np.repeat([2, 1, 0], [1, n, n])
    t = _raise(t, 2.0)
    return _dot_gadget(
        a, b, t, i_a, i_b, kind, [(1.0, -t.c, 0.0), (1.0, 0.0, 1.0), (1.0, -t.tau, 0.0)], shift, causal=True
    )


def window_gadget(a: A, b: B, t: Temperature, *, group: int, shift: float = 0.0) -> Gadget:
    """Build the gadget for a sliding window: a block for each pair of groups of vectors.

    A block is `group` vectors of a, one dummy, `group` vectors of b. A row sees 2·group tokens to either side: all of
    its own block, at most 2·group vectors of b in all, one or two dummies, and other rows, which have the logit
    −c and the value 0. So c = ln(2·group) + …, and c and τ are larger by ln 3.

    Args:
        a: as in `dummy_gadget`; both lists are filled up to a multiple of `group`.
        b: as in `dummy_gadget`.
        t: temperature and threshold for at least 2·group keys.
        group: vectors of each list in a block, at least 1.
        shift: as in `dummy_gadget`.

    Returns:
        A `Gadget` with (2·group + 1)(n/group)² tokens and window = 2·group + 1: tokens × window ≈ 4n².

    Raises:
        ValueError: as `dummy_gadget`; group is not an integer of at least 1.

    Cost: O(n²m/group) to build.

    Source: the chapter "The lower bound"; windows are hard: Duman Keles, Wijewardena and Hegde (2023), theorem 6.

    Example:
        >>> from attnlib.hardness import temperature
        >>> eye = np.eye(4, dtype=np.uint8)
        >>> g = window_gadget(eye, eye, temperature(4), group=2)
        >>> g.x.shape, g.window
        ((20, 11), 5)
    """
    name = "window_gadget"
    _check.positive_int(name, group=group)
    _vectors(name, a, b)
    blocks = math.ceil(max(len(a), len(b)) / group)
    a, b, _ = _fill(name, a, b, t, blocks * group, 2 * group)
    _arrays.scalar(name, "shift", shift)
    i, j = (x.ravel()[:, None] for x in np.meshgrid(np.arange(blocks), np.arange(blocks), indexing="ij"))
    none = np.full((blocks**2, group), -1)
    i_a = np.hstack([i * group + np.arange(group), none[:, :1], none]).ravel()
    i_b = np.hstack([none, none[:, :1], j * group + np.arange(group)]).ravel()
    kind = np.tile(np.repeat([0, 2, 1], [group, 1, group]), blocks**2)
    t = _raise(t, 3.0)
    flags = [(1.0, -t.c, 0.0), (1.0, 0.0, 1.0), (1.0, -t.tau, 0.0)]
    return _dot_gadget(a, b, t, i_a, i_b, kind, flags, shift, window=2 * group + 1)


def tied_gadget(a: A, b: B, t: Temperature) -> Gadget:
    """Build the gadget with W_Q = W_K, as all constructions of the paper have it.

    Lemma 1 turns a_i·b_j into m − ā_i·b̄_j, where every ā_i has m ones. With s = 1/√m the tokens become s·ā_i,
    (c/s)·b̄_j and the dummy (c/s)·1 less τ/s in one pair of coordinates. So the logits are c(m − a_i·b_j) and cm − τ.
    Two tokens of a have a logit of at most 1; for these, c and τ are larger by ln(1 + e).

    Args:
        a: as in `dummy_gadget`.
        b: as in `dummy_gadget`.
        t: as in `dummy_gadget`.

    Returns:
        A `Gadget` with 2n + 1 tokens, D = 4m + 1 and d_k = 2m. Logits reach cm.

    Raises:
        ValueError: as `dummy_gadget`.

    Cost: O(nm) to build.

    Source: the chapter "The lower bound"; Duman Keles, Wijewardena and Hegde (2023), lemma 1.

    Example:
        >>> from attnlib.hardness import attend, temperature
        >>> eye = np.eye(2, dtype=np.uint8)
        >>> g = tied_gadget(eye, eye, temperature(2))
        >>> bool((g.w_q == g.w_k).all()), (attend(g)[g.row >= 0] > 0.5).tolist()
        (True, [True, True])
    """
    a, b, n = _fill("tied_gadget", a, b, t)
    a, b, m = ov_to_tvpp(a, b)
    t = _raise(t, 1 + math.e)
    x = np.zeros((2 * n + 1, 4 * m + 1), np.uint8)
    x[0, -1] = 1
    x[1 : n + 1, 2 * m : 4 * m] = b
    x[n + 1 :, : 2 * m] = a
    dummy = np.full((1, 2 * m), t.c * math.sqrt(m))
    dummy[0, [0, m]] -= t.tau * math.sqrt(m)
    eye = np.eye(2 * m)
    w = (2 * m) ** 0.25 * np.vstack([eye / math.sqrt(m), t.c * math.sqrt(m) * eye, dummy])
    w_v = np.zeros((4 * m + 1, 1))
    row = np.r_[np.full(n + 1, -1), np.arange(n)]
    # A value says which list a token is from. Every b̄ ends in m ones and no other token has ones there.
    w_v[4 * m - 1] = 1
    return Gadget(x, w, w, w_v, row, t)


def l2_gadget(a: A, b: B, t: Temperature) -> Gadget:
    """Build the gadget for the kernel e^(−|q − k|²).

    Lemmas 2 and 3 turn a_i·b_j into (|ā_i − b̄_j|² − m)/2. All ā_i have m ones, none in the last m coordinates, so a
    dummy there is at the same distance from all: q_i = √(c/2)·ā_i, k_j = √(c/2)·b̄_j, k_0 = (0, 0, √τ, 0, …).
    The logits are −c a_i·b_j and −τ, up to a constant.

    Args:
        a: as in `dummy_gadget`.
        b: as in `dummy_gadget`.
        t: as in `dummy_gadget`.

    Returns:
        A `Gadget` with n + 1 tokens, D = 6m + 2, d_k = 3m and kernel "l2".

    Raises:
        ValueError: as `dummy_gadget`.

    Cost: O(nm) to build.

    Source: the chapter "The lower bound"; Duman Keles, Wijewardena and Hegde (2023), lemmas 2 and 3.

    Example:
        >>> from attnlib.hardness import attend, temperature
        >>> eye = np.eye(2, dtype=np.uint8)
        >>> (attend(l2_gadget(eye, eye, temperature(2)))[1:] > 0.5).tolist()
        [True, True]
    """
    a, b, n = _fill("l2_gadget", a, b, t)
    a, b, _ = bhfp_to_bhcp(*ov_to_bhfp(a, b))
    d = a.shape[1]
    x = np.zeros((n + 1, 2 * d + 2), np.uint8)
    x[0, -1] = 1
    x[1:] = np.hstack([a, b, np.ones((n, 1), np.uint8), np.zeros((n, 1), np.uint8)])
    eye, none = math.sqrt(t.c / 2) * np.eye(d), np.zeros((d, d))
    flags = np.zeros((2, d))
    w_q = np.vstack([eye, none, flags])
    flags[1, 2 * d // 3] = math.sqrt(t.tau)
    w_k = np.vstack([none, eye, flags])
    w_v = np.zeros((2 * d + 2, 1))
    w_v[2 * d] = 1
    return Gadget(x, w_q, w_k, w_v, np.arange(-1, n), t, kernel="l2")


def _dot_gadget(
    a: Vectors,
    b: Vectors,
    t: Temperature,
    i_a: np.ndarray,
    i_b: np.ndarray,
    kind: np.ndarray,
    flags: Sequence[tuple[float, float, float]],
    shift: float,
    *,
    causal: bool = False,
    window: int | None = None,
) -> Gadget:
    """Write down tokens (a | b | kind) and weights.

    i_a and i_b say which vectors a token carries, −1 for none; flags give, for each kind of token, the last
    coordinate of its query, the last coordinate of its key (its logit, if a·b = 0), and its value.
    """
    m = a.shape[1]
    zero = np.zeros((1, m), np.uint8)
    x = np.hstack([np.vstack([a, zero])[i_a], np.vstack([b, zero])[i_b], np.eye(len(flags), dtype=np.uint8)[kind]])
    query, key, value = np.array(flags, float).T
    w_q, w_k, w_v = (np.zeros((x.shape[1], width)) for width in (m + 1, m + 1, 1))
    w_q[:m, :m] = np.eye(m)
    w_q[2 * m :, m] = query
    w_k[m : 2 * m, :m] = -t.c * math.sqrt(m + 1) * np.eye(m)
    w_k[2 * m :, m] = math.sqrt(m + 1) * (key + float(shift))
    w_v[2 * m :, 0] = value
    return Gadget(x, w_q, w_k, w_v, i_a, t, causal, window)


def _fill(name: str, a: A, b: B, t: Temperature, n: int = 1, keys: int | None = None) -> tuple[Vectors, Vectors, int]:
    """Check the arguments, and fill both lists up to the same length, n at least, with vectors of ones.

    Such a vector is orthogonal to none but zero; and if a list has the vector zero, every vector of the other is
    orthogonal to it, so the answer is yes anyway.
    """
    _vectors(name, a, b)
    n = max(n, len(a), len(b))
    if not isinstance(t, Temperature):
        raise ValueError(f"{name}: t: expected a Temperature, got {type(t).__name__}")
    if t.n < (keys or n):
        raise ValueError(f"{name}: t: expected a temperature for {keys or n} keys at least, got one for {t.n}")
    if not a.shape[1]:  # a formula without clauses
        a, b = np.zeros((len(a), 1), np.uint8), np.zeros((len(b), 1), np.uint8)
    a, b = (np.pad(x, ((0, n - len(x)), (0, 0)), constant_values=1) for x in (a, b))
    return a, b, n


def _raise(t: Temperature, factor: float) -> Temperature:
    """Make room for other keys: both c and τ larger by ln(factor), so that the rows that say no are as before."""
    return Temperature(t.n, t.c + math.log(factor), t.tau + math.log(factor), t.theta)
