"""Performer: softmax attention estimated by random features, in time linear in n and m, with a state to keep."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Key, UInt32

from attnlib import _arrays, _check
from attnlib.cost.performer import CHUNK, check_kind
from attnlib.kernels._random_features import Plan, run, widths
from attnlib.kernels._random_features import State as State
from attnlib.kernels._state import check_arguments, key_mask, wide_enough

AnyArray = Array | np.ndarray


def init_performer(
    key: Key[AnyArray, ""] | UInt32[AnyArray, "2"],
    d: int,
    features: int,
    *,
    orthogonal: bool = True,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "features d"]:
    """Draw the directions w of random features: once for a model, not for each call or step.

    w ~ N(0, I_d)

    Orthogonal: d rows at a time are those of a uniformly random rotation, each with the length of a Gaussian row of
    its own. Each by itself is distributed as a Gaussian one, so every estimate stays unbiased; rows that do not point
    the same way vary less together. QR decomposes a Gaussian block into Q and R, and Q is uniform only after its
    columns got the signs of R's diagonal: LAPACK's first column always points away from the first axis.

    Args:
        key: a key of `jax.random.key`.
        d: width of queries and keys.
        features: directions, D. Any number: the last block of d is cut.
        orthogonal: False: independent rows, for comparison.
        dtype: of the result, float32 or float64.

    Returns:
        Array (features, d), the `projection` of `performer_attention`.

    Raises:
        ValueError: a key that is none, sizes that are not positive integers, a dtype narrower than float32.

    Cost: O(⌈D/d⌉ d³) for the decompositions.

    Source: Yu et al. (2016); Choromanski et al. (2021).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> w = init_performer(jax.random.key(0), 4, 6)
        >>> w.shape, bool(abs(w[0] @ w[1]) < 1e-5)
        ((6, 4), True)
    """
    name = "init_performer"
    _arrays.prng_key(name, key)
    _check.positive_int(name, d=d, features=features)
    _check.flags(name, orthogonal=orthogonal)
    wide_enough(name, dtype)
    directions, lengths = jax.random.split(key)
    rows: Array = jax.random.normal(directions, (features, d), dtype)
    if not orthogonal:
        return rows
    q, r = jnp.linalg.qr(jax.random.normal(directions, (-(-features // d), d, d), dtype))
    q = q * jnp.where(jnp.diagonal(r, axis1=-2, axis2=-1) < 0, -1, 1).astype(dtype)[:, None, :]
    rows = q.swapaxes(-1, -2).reshape(-1, d)[:features]
    rows = rows * jnp.linalg.norm(jax.random.normal(lengths, (features, d), dtype), axis=1, keepdims=True)
    return rows


def performer_attention(
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b m d_k"],
    v: Float[AnyArray, "*#b m d_v"],
    projection: Float[AnyArray, "features d_k"],
    *,
    kind: str = "positive",
    causal: bool = False,
    mask: Bool[AnyArray, "..."] | None = None,
    scale: float | Float[Array, ""] | None = None,
    chunk: int | None = None,
) -> Float[Array, "*b n d_v"]:
    """Average the values with an unbiased estimate of softmax's weights, in time linear in n and m.

    o_i = Σ_j a_ij v_j / Σ_j a_ij,   a_ij = φ(√scale · q_i) · φ(√scale · k_j),   E[a_ij] = e^(scale · q_i·k_j)

    positive: φ_r(x) = e^(w_r·x − |x|²/2) / √D;   trigonometric: e^(|x|²/2) (cos w_r·x, sin w_r·x) / √D

    The weights are unbiased, their quotient o is not. The relative variance of a positive weight, with independent
    directions, is (e^(|q + k|²) − 1)/D for the scaled q and k: good where logits are small, hopeless where they are
    large. That of a trigonometric one explodes where weights are small, and such weights may be negative.

    No exponential overflows, and the largest that a query sees never underflows: each feature of the keys is kept
    relative to its own largest exponent so far, c_r, and each query is divided by its largest w_r·q + c_r, so that
    the sum of positive weights is at least 1 wherever anything is seen. There is no ε. The pairs of a causal chunk
    are halved: the second half of the queries sees the first half of the keys through the c of the middle, and so on
    in each half, down to 4 rows. So no hidden key has a part in any number, not even in a maximum.

    Args:
        q: queries, shape (..., n, d_k), any floating dtype; leading axes broadcast as in `attention`.
        k: keys, shape (..., m, d_k).
        v: values, shape (..., m, d_v).
        projection: the directions w, shape (D, d_k), of `init_performer`: the same for all heads, and for all calls
            whose results have to fit together. It is differentiated, too.
        kind: "positive", or "trigonometric": cosine and sine of each direction, twice as many features.
        causal: query i sees key j only if j ≤ i + m − n.
        mask: boolean, True = may attend, broadcastable to (..., 1, m): keys can be hidden from all queries only.
        scale: factor of the logits that are estimated; 1/√d_k by default.
        chunk: queries and keys in a chunk; 64 by default.

    Returns:
        Array (..., n, d_v) in v's dtype; features and sums are float32 or wider. Zeros, with zero gradient, for a
        query that sees no key. A NaN or infinity in q, k or v never reaches an output or a gradient through a hidden
        pair; a NaN that a query sees makes its whole output NaN, or with one in v the column of the values.

    Raises:
        ValueError: as `attention`; a projection that is not (D, d_k), an unknown kind, a mask that differs between
            queries, a chunk that is not a positive integer.

    Cost: `cost.performer_attention(n, d_k, features=D, …)`: 2(n + m)D·d_k FLOPs for the directions,
        2(n + m)D(d_v + 1) for sums and their reading, with `causal` n(chunk − 4)(D + d_v + 1) more; memory for one
        chunk and D(d_v + 2) numbers, backward for the sums before every chunk of one head.

    Source: Choromanski et al. (2021); orthogonal directions: Yu et al. (2016); the maxima of features and the halves:
        ours.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> q, k, v = jnp.array([[1.0]]), jnp.array([[0.0], [1.0]]), jnp.array([[0.0], [1.0]])
        >>> o = performer_attention(q, k, v, init_performer(jax.random.key(0), 1, 100_000))
        >>> bool(abs(o[0, 0] - jax.nn.sigmoid(1.0)) < 0.01)  # softmax of 0 and 1
        True
    """
    name = "performer_attention"
    check_arguments(name, q, k, v, causal, mask, scale, chunk)
    check_kind(name, kind)
    directions(name, projection, k)
    plan = Plan(kind, causal, CHUNK if chunk is None else chunk)
    return run(name, plan, q, k, v, projection, key_mask(name, mask, k), scale, None)[0]


def performer_attention_state(
    features: int,
    d_v: int,
    *,
    kind: str = "positive",
    lead: tuple[int, ...] = (),
    dtype: DTypeLike = jnp.float32,
) -> State:
    """Return the state before the first token: sums over no keys.

    s = 0 (D × d_v),   z = 0 (D),   c = −∞

    Args:
        features: directions of the projection.
        d_v: width of the values.
        kind: as in `performer_attention`.
        lead: leading axes, those of k and v: (batch, h_kv), or (batch, h_kv, 1) for grouped queries.
        dtype: of the sums; float32 or wider.

    Returns:
        A `performer.State`.

    Raises:
        ValueError: sizes that are not positive integers, an unknown kind, a dtype narrower than float32.

    Cost: D(d_v + 2) numbers for each head, trigonometric 2D(d_v + 1) + 1: `cost.performer_attention_step`.

    Source: Choromanski et al. (2021); c: ours.

    Example:
        >>> state = performer_attention_state(16, 64, lead=(8,))
        >>> state.s.shape, state.c.shape
        ((8, 16, 64), (8, 16))
    """
    name = "performer_attention_state"
    _check.positive_int(name, features=features, d_v=d_v)
    check_kind(name, kind)
    _check.axes(name, "lead", lead)
    wide_enough(name, dtype)
    made, exponents = widths(kind, features)
    s, z = jnp.zeros((*lead, made, d_v), dtype), jnp.zeros((*lead, made), dtype)
    return State(s, z, jnp.full((*lead, exponents), -jnp.inf, dtype))


def performer_attention_step(
    state: State,
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b n d_k"],
    v: Float[AnyArray, "*#b n d_v"],
    projection: Float[AnyArray, "features d_k"],
    *,
    kind: str = "positive",
    scale: float | Float[Array, ""] | None = None,
    chunk: int | None = None,
) -> tuple[Float[Array, "*b n d_v"], State]:
    """Take n new tokens: one to decode, many to read a prompt. Return their outputs and the state after them.

    c' = max(c, w·k − |k|²/2),   s ← e^(c − c') s + e^(w·k − |k|²/2 − c') vᵀ,   z likewise

    Any split of a sequence into steps gives what `performer_attention` with `causal` gives at once, gradients
    included: they flow through s and z.

    Args:
        state: what earlier calls returned, or `performer_attention_state`.
        q: queries of the new tokens, shape (..., n, d_k).
        k: their keys, shape (..., n, d_k).
        v: their values, shape (..., n, d_v).
        projection: as in `performer_attention`, the same for every step.
        kind: as in `performer_attention`, the same for every step.
        scale: as in `performer_attention`.
        chunk: as in `performer_attention`.

    Returns:
        The outputs (..., n, d_v) in v's dtype, and the `State` after the last token.

    Raises:
        ValueError: as `performer_attention`; n keys that are not n queries, a state that does not fit.

    Cost: `cost.performer_attention_step(d_k, features=D, …)`: the same for every token, whatever came before it.

    Source: Choromanski et al. (2021); c: ours.

    Example:
        >>> import jax.numpy as jnp
        >>> state, w = performer_attention_state(2, 1), jnp.ones((2, 1))
        >>> for value in (0.0, 2.0, 4.0):
        ...     x = jnp.ones((1, 1))
        ...     o, state = performer_attention_step(state, x, 0 * x, value * x, w)
        >>> print(o, state.z)  # equal keys: the mean of 0, 2 and 4
        [[2.]] [3. 3.]
    """
    name = "performer_attention_step"
    check_arguments(name, q, k, v, True, None, scale, chunk)
    check_kind(name, kind)
    directions(name, projection, k)
    if q.shape[-2] != k.shape[-2]:
        raise ValueError(f"{name}: k: expected n = {q.shape[-2]} new keys as in q, got {k.shape[-2]}")
    state = checked(name, state, projection, k, v, kind)
    plan = Plan(kind, True, CHUNK if chunk is None else chunk)
    return run(name, plan, q, k, v, projection, None, scale, state)


def directions(name: str, projection: Any, k: Any) -> None:
    """Raise unless the projection has rows as wide as the keys."""
    _arrays.floating(name, projection=projection)
    if projection.ndim != 2 or projection.shape[1] != k.shape[-1]:
        raise ValueError(
            f"{name}: projection: expected shape (features, d_k = {k.shape[-1]}), got {tuple(projection.shape)}"
        )


def checked(name: str, state: Any, projection: Any, k: Any, v: Any, kind: str) -> State:
    """Return the state, or raise unless it fits."""
    if not isinstance(state, tuple) or len(state) != 3:
        raise ValueError(f"{name}: state: expected a State of three arrays, got {type(state).__name__}")
    state = State(*state)
    _arrays.floating(name, **{f"state.{part}": x for part, x in state._asdict().items()})
    for part, x in state._asdict().items():
        if _arrays.narrow(x.dtype):
            raise ValueError(
                f"{name}: state.{part}: expected float32 or float64: a narrower sum stops growing, got {x.dtype}"
            )
    made, exponents = widths(kind, len(projection))
    lead = np.broadcast_shapes(k.shape[:-2], v.shape[:-2])
    wanted = (*lead, made, v.shape[-1]), (*lead, made), (*lead, exponents)
    got = tuple(tuple(x.shape) for x in state)
    if got != wanted:
        raise ValueError(f"{name}: state: expected s, z and c of shapes {wanted} for these arguments, got {got}")
    return State(*(jnp.asarray(x) for x in state))
