"""Taylor attention: the exponential of softmax cut after order p, so that a state of fixed size replaces the past."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from attnlib import _arrays, _check
from attnlib._sharding import each_device
from attnlib.cost.taylor import MAX_FEATURES as MAX_FEATURES
from attnlib.cost.taylor import Crossover as Crossover
from attnlib.cost.taylor import check_order, taylor_features
from attnlib.cost.taylor import crossover as crossover
from attnlib.kernels import _monomials
from attnlib.kernels._state import OWN, State, check_arguments, empty, key_mask, run, step, wide_enough
from attnlib.kernels._taylor_error import ErrorBound as ErrorBound
from attnlib.kernels._taylor_error import error_bound as error_bound
from attnlib.kernels._taylor_error import minimal_order as minimal_order
from attnlib.kernels._taylor_error import negative_below as negative_below
from attnlib.kernels._taylor_features import Monomials as Monomials
from attnlib.kernels._taylor_features import features as features
from attnlib.kernels._taylor_features import monomials as monomials
from attnlib.kernels._taylor_features import truncated_exponential as truncated_exponential

AnyArray = Array | np.ndarray


def taylor_attention(
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b m d_k"],
    v: Float[AnyArray, "*#b m d_v"],
    *,
    order: int = 2,
    causal: bool = False,
    mask: Bool[AnyArray, "..."] | None = None,
    scale: float | Float[Array, ""] | None = None,
    centre_keys: bool = False,
    centre_rows: bool | Float[AnyArray, "..."] = False,
    chunk: int | None = None,
) -> Float[Array, "*b n d_v"]:
    """Average the values with the exponential of softmax cut after order p, in time linear in n and m.

    o_i = Σ_j T_p(x_ij) v_j / Σ_j T_p(x_ij),   T_p(x) = Σ_{a ≤ p} xᵃ/a!,   x_ij = scale · q_i·k_j

    T_p(q·k) is a product of features: the D = C(d_k + p, p) monomials of q and of k, each one multiplication from a
    shorter one, with weights 1/α!. They exist for one chunk at a time. Pairs of a causal chunk are computed without
    features, from q·k.

    Softmax does not change when a constant is taken from a row of logits; T_p does, and is accurate near 0 only. So
    `centre_keys` and `centre_rows` may help much, and cost nothing in exactness: they aim at the same softmax.

    Args:
        q: queries, shape (..., n, d_k), any floating dtype; leading axes broadcast as in `attention`.
        k: keys, shape (..., m, d_k).
        v: values, shape (..., m, d_v).
        order: p ≥ 0. Even ones have positive weights; an odd one warns where its weights turn negative.
        causal: query i sees key j only if j ≤ i + m − n.
        mask: boolean, True = may attend, broadcastable to (..., 1, m): keys can be hidden from all queries only.
        scale: factor of the logits; 1/√d_k by default.
        centre_keys: take the mean of the visible keys from every key. Not with `causal`: that mean depends on later
            keys, and the mean so far would change keys already summed.
        centre_rows: shifts r, broadcastable to (..., n): weights are T_p(x_ij − r_i), through
            T_p(x − r) = Σ_a xᵃ/a! T_{p−a}(−r), which needs no further features. True: the middle of the visible
            logits of each row, the best choice, for study: it computes every logit, in blocks of 64 queries.
        chunk: queries and keys in a chunk; by default what was fastest on a CPU, less when features are many.

    Returns:
        Array (..., n, d_v) in v's dtype; features and sums are float32 or wider. Zeros where a query sees
        nothing. NaN and infinity as in `linear_attention`.

    Raises:
        ValueError: as `linear_attention`; an order that is not a whole number from 0 to 170, more than
            taylor.MAX_FEATURES features, `centre_keys` with `causal`, shifts of a wrong shape.

    Cost: `cost.taylor_attention(n, d_k, order=p, …)`: 4nD·d_v + 2nD FLOPs in matrix products, with `causal`
        2n·chunk·(d_k + d_v) more; memory for one chunk and D(d_v + 1) sums. Forward and backward.

    Source: Duman Keles et al. (2023), corollary 11, with tensor powers; positive orders, monomials and centring:
        the chapter "Taylor attention".

    Example:
        >>> import jax.numpy as jnp
        >>> q, k, v = jnp.array([[1.0]]), jnp.array([[0.0], [1.0]]), jnp.array([[0.0], [1.0]])
        >>> print(taylor_attention(q, k, v, order=2))  # 2.5 / (1 + 2.5)
        [[0.71428573]]
    """
    name = "taylor_attention"
    lead = check_arguments(name, q, k, v, causal, mask, scale, chunk)
    _check.flags(name, centre_keys=centre_keys)
    check_order(name, order, k.shape[-1], v.shape[-1])
    shifted = centre_rows is not False
    if not isinstance(centre_rows, bool):
        _arrays.floating(name, centre_rows=centre_rows)
        if not _check.fits(centre_rows.shape, (*lead, q.shape[-2])):
            raise ValueError(
                f"{name}: centre_rows: expected True, False or shifts that broadcast to "
                f"{(*lead, q.shape[-2])}, got shape {centre_rows.shape}"
            )
    if centre_keys and causal:
        raise ValueError(
            f"{name}: centre_keys: expected False with causal=True: the mean of all keys depends on later "
            "ones, and the mean so far would change keys already summed; shift rows instead "
            "(centre_rows), got True"
        )
    _warn(name, order)
    arrays = {"q": jnp.asarray(q), "k": jnp.asarray(k), "v": jnp.asarray(v), "mask": key_mask(name, mask, k)}
    if not isinstance(centre_rows, bool):
        arrays["centre_rows"] = jnp.asarray(centre_rows)
    call = (_attend, name, order, causal, chunk, centre_keys, shifted)
    out: Array = each_device(name, call, arrays, {**OWN, "centre_rows": 1}, {"scale": _factor(q, k, scale)}, 2)
    return out


def _attend(
    name: str,
    order: int,
    causal: bool,
    chunk: int | None,
    centre_keys: bool,
    shifted: bool,
    arrays: dict[str, Any],
    shared: dict[str, Array],
) -> Array:
    """Attend to checked arguments; with `shifted`, by the shifts that are given or the middle of each row."""
    q, k, v, seen = (arrays[a] for a in ("q", "k", "v", "mask"))
    factor = shared["scale"]
    if centre_keys:
        k = _centred(k.astype(factor.dtype), seen)
    if shifted:
        q = q.astype(factor.dtype)
        shifts = arrays["centre_rows"] if "centre_rows" in arrays else _middle(q, k, factor, seen, causal)
        shifts = jnp.broadcast_to(
            shifts.astype(q.dtype), (*np.broadcast_shapes(shifts.shape[:-1], q.shape[:-2]), q.shape[-2])
        )
        q = jnp.broadcast_to(q, (*shifts.shape, q.shape[-1]))
        q = jnp.concatenate([q, shifts[..., None]], axis=-1)
    return run(name, TaylorKernel(order, shifted), [factor], q, k, v, seen, causal, chunk, None)[0]


def taylor_attention_state(
    d_k: int,
    d_v: int,
    *,
    order: int = 2,
    lead: tuple[int, ...] = (),
    dtype: DTypeLike = jnp.float32,
) -> State:
    """Return the state before the first token: sums over no keys.

    s = 0 (D × d_v),   z = 0 (D),   D = C(d_k + p, p)

    Args:
        d_k: width of the keys.
        d_v: width of the values.
        order: as in `taylor_attention`.
        lead: leading axes, those of k and v: (batch, h_kv), or (batch, h_kv, 1) for grouped queries.
        dtype: of the sums; float32 or wider.

    Returns:
        A `State` of zeros.

    Raises:
        ValueError: sizes that are not positive integers, an order as in `taylor_attention`, a dtype narrower than
            float32.

    Cost: D(d_v + 1) numbers for each head: `cost.taylor_state`.

    Source: the chapter "Taylor attention".

    Example:
        >>> state = taylor_attention_state(16, 64, order=2, lead=(8,))
        >>> state.s.shape, state.z.shape
        ((8, 153, 64), (8, 153))
    """
    name = "taylor_attention_state"
    _check.positive_int(name, d_k=d_k, d_v=d_v)
    check_order(name, order, d_k, d_v)
    wide_enough(name, dtype)
    return empty(name, taylor_features(d_k, order), d_v, lead, dtype)


def taylor_attention_step(
    state: State,
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b n d_k"],
    v: Float[AnyArray, "*#b n d_v"],
    *,
    order: int = 2,
    scale: float | Float[Array, ""] | None = None,
    chunk: int | None = None,
) -> tuple[Float[Array, "*b n d_v"], State]:
    """Take n new tokens: one to decode, many to read a prompt. Return their outputs and the state after them.

    s ← s + ψ(k) vᵀ,   z ← z + ψ(k),   o = φ(q)ᵀ s / φ(q)ᵀ z,   φ(q)·ψ(k) = T_p(scale · q·k)

    Args:
        state: what earlier calls returned, or `taylor_attention_state`.
        q: queries of the new tokens, shape (..., n, d_k).
        k: their keys, shape (..., n, d_k).
        v: their values, shape (..., n, d_v).
        order: as in `taylor_attention`, the same for every step.
        scale: as in `taylor_attention`.
        chunk: as in `taylor_attention`.

    Returns:
        The outputs (..., n, d_v) in v's dtype, and the `State` after the last token.

    Raises:
        ValueError: as `taylor_attention`; n keys that are not n queries, a state that does not fit.

    Cost: `cost.taylor_attention_step(d_k, order=p, …)`: the same for every token, whatever came before it.

    Source: the chapter "Taylor attention"; recurrent form: Katharopoulos et al. (2020), section 3.4.

    Example:
        >>> import jax.numpy as jnp
        >>> state = taylor_attention_state(1, 1)
        >>> for value in (0.0, 2.0, 4.0):
        ...     o, state = taylor_attention_step(state, jnp.ones((1, 1)), jnp.zeros((1, 1)), jnp.full((1, 1), value))
        >>> print(o)  # equal weights: the mean of 0, 2 and 4
        [[2.]]
    """
    name = "taylor_attention_step"
    check_arguments(name, q, k, v, True, None, scale, chunk)
    check_order(name, order, k.shape[-1], v.shape[-1])
    _warn(name, order)
    return step(name, TaylorKernel(order, False), [_factor(q, k, scale)], state, q, k, v, chunk)


class TaylorKernel(NamedTuple):
    """T_p as the engine of `_sums` wants it. With `shifted`, the last coordinate of a query is its r."""

    order: int
    shifted: bool

    def query(self, q: Array, factor: Array) -> Array:
        """Monomials of scale · q; those of degree a times T_{p−a}(−r)."""
        if not self.shifted:
            return _monomials.evaluate(q.T * factor, self.order)
        x = _monomials.evaluate(q[:, :-1].T * factor, self.order)
        ends = np.cumsum(np.bincount(_monomials.table(q.shape[1] - 1, self.order).degree))
        return jnp.concatenate(
            [
                y * truncated_exponential(-q[None, :, -1], self.order - a)
                for a, y in enumerate(jnp.split(x, ends[:-1].tolist()))
            ]
        )

    def key(self, k: Array, factor: Array) -> Array:
        """Monomials of k over α!."""
        return _monomials.evaluate(k.T, self.order, weighted=True)

    def pairs(self, q: Array, k: Array, factor: Array) -> Array:
        """T_p(scale · q·k − r), of the products themselves."""
        if self.order == 0:
            return jnp.ones_like(q, shape=(len(q), len(k)))
        if not self.shifted:
            return truncated_exponential(q * factor @ k.T, self.order)
        return truncated_exponential(q[:, :-1] * factor @ k.T - q[:, -1:], self.order)


def _factor(q: Any, k: Any, scale: Any) -> Array:
    return jnp.asarray(1 / math.sqrt(k.shape[-1]) if scale is None else scale, _arrays.wide(q, k))


def _warn(name: str, order: int) -> None:
    if order % 2:
        warnings.warn(
            f"{name}: order {order} is odd: logits below −{negative_below(order):.5g} get negative weights, and "
            "the sum of a row may vanish; even orders have positive weights",
            stacklevel=3,
        )


def _centred(k: Array, seen: Array | None) -> Array:
    """Take the mean of the visible keys from the keys; bad ones stay where they are."""
    use = jnp.isfinite(k).all(axis=-1, keepdims=True)
    if seen is not None:
        use = use & seen[..., None]
    count = jnp.maximum(use.sum(axis=-2, keepdims=True), 1).astype(k.dtype)
    return k - jnp.where(use, k, 0).sum(axis=-2, keepdims=True) / count


def _middle(q: Array, k: Array, factor: Array, seen: Array | None, causal: bool) -> Array:
    """Half the sum of the largest and the least visible logit of each row."""
    q, k = q * factor, k.astype(q.dtype)
    n, m = q.shape[-2], k.shape[-2]
    good = jnp.isfinite(k).all(axis=-1)
    good = good if seen is None else good & seen
    k = jnp.where(jnp.isfinite(k), k, 0)

    def rows(i: Array) -> Array:
        x = jnp.einsum("...d,...md->...m", jnp.take(q, i, axis=-2), k)
        see = good & (jnp.arange(m) <= i + (m - n)).reshape((1,) * (good.ndim - 1) + (m,)) if causal else good
        top, low = jnp.where(see, x, -jnp.inf).max(axis=-1), jnp.where(see, x, jnp.inf).min(axis=-1)
        return jnp.where(top >= low, (top + low) / 2, 0)

    return jnp.moveaxis(jax.lax.map(jax.checkpoint(rows), jnp.arange(n), batch_size=min(64, n)), 0, -1)
