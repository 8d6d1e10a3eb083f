"""Linear attention for any feature map: all at once, causal in chunks, or one step at a time with a state to keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from attnlib import _arrays, _check
from attnlib.kernels._state import State as State
from attnlib.kernels._state import check_arguments, empty, key_mask, run, shape_of, step, wide_enough
from attnlib.kernels.feature_maps import elu_plus_one as elu_plus_one

AnyArray = Array | np.ndarray
FeatureMap = Callable[[Array], Array]


def linear_attention(
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b m d_k"],
    v: Float[AnyArray, "*#b m d_v"],
    *,
    feature_map: FeatureMap | None = None,
    causal: bool = False,
    mask: Bool[AnyArray, "..."] | None = None,
    scale: float | Float[Array, ""] | None = None,
    chunk: int | None = None,
) -> Float[Array, "*b n d_v"]:
    """Average the values with weights that are products of features, in time linear in n and m.

    o_i = Σ_j a_ij v_j / Σ_j a_ij,   a_ij = φ(scale · q_i) · φ(k_j)

    Because a product of features is linear in φ(k_j), the sums Σ_j φ(k_j) v_jᵀ and Σ_j φ(k_j) are taken once, for all
    queries. With `causal` they grow chunk by chunk; pairs within a chunk are computed one by one. Features exist for
    one chunk at a time, and the backward pass runs through the chunks again instead of keeping their sums.

    Args:
        q: queries, shape (..., n, d_k), any floating dtype; leading axes broadcast as in `attention`.
        k: keys, shape (..., m, d_k).
        v: values, shape (..., m, d_v).
        feature_map: φ, from (c, d_k) to (c, D), row by row, non-negative for weights that are; elu(x) + 1 by default;
            others are in `feature_maps`.
            It is differentiated, too, with respect to traced arrays that it closes over. Define it once, not in each
            call: a new function is compiled anew. It is compiled with what it reads at its first call, so make a new
            function when an attribute or a global that it reads has changed.
        causal: query i sees key j only if j ≤ i + m − n.
        mask: boolean, True = may attend, broadcastable to (..., 1, m): keys can be hidden from all queries. One that
            differs between queries would need their weights one by one, and is refused.
        scale: factor of the queries before φ; 1 by default: there is no exponential whose logits it would tame.
        chunk: queries and keys in a chunk; by default what was fastest on a CPU, less when features are many.

    Returns:
        Array (..., n, d_v) in v's dtype; features and sums are float32 or wider. The sum of a query's weights is the
        only thing divided by, without an ε: where it is exactly 0 (no visible key, or none that shares a feature) the
        output is zeros, with zero gradient. A NaN or infinity in q, k or v never reaches an output or a gradient
        through a hidden pair; one that a query sees makes its whole output NaN.

    Raises:
        ValueError: as `attention`; a mask that differs between queries, a feature map that does not return one row
            of real features for each row, a chunk that is not a positive integer.

    Cost: `cost.linear_attention(n, d_k, features=D, …)`: 4nD·d_v + 2nD FLOPs in matrix products, with `causal`
        2n·chunk·(D + d_v) more; memory for one chunk and D(d_v + 1) sums. Forward and backward.

    Source: Katharopoulos et al. (2020), equations 4, 6 and 7; chunks: Hua et al. (2022), section 3.2.

    Example:
        >>> import jax.numpy as jnp
        >>> q, k, v = jnp.ones((3, 1)), jnp.zeros((3, 1)), jnp.array([[0.0], [2.0], [4.0]])
        >>> print(linear_attention(q, k, v, causal=True))  # equal weights: running means
        [[0.]
         [1.]
         [2.]]
    """
    name = "linear_attention"
    check_arguments(name, q, k, v, causal, mask, scale, chunk)
    kernel, consts = map_kernel(name, feature_map, scale, q, k)
    return run(name, kernel, consts, q, k, v, key_mask(name, mask, k), causal, chunk, None)[0]


def linear_attention_state(
    d_k: int,
    d_v: int,
    *,
    lead: tuple[int, ...] = (),
    feature_map: FeatureMap | None = None,
    dtype: DTypeLike = jnp.float32,
) -> State:
    """Return the state before the first token: sums over no keys.

    s = 0 (D × d_v),   z = 0 (D)

    Args:
        d_k: width of the keys.
        d_v: width of the values.
        lead: leading axes, those of k and v: (batch, h_kv), or (batch, h_kv, 1) for grouped queries.
        feature_map: as in `linear_attention`.
        dtype: of the sums; float32 or wider.

    Returns:
        A `State` of zeros.

    Raises:
        ValueError: sizes that are not positive integers, a feature map that fails, a dtype narrower than float32.

    Cost: D(d_v + 1) numbers for each head: `cost.linear_attention_step`.

    Source: Katharopoulos et al. (2020), section 3.4.

    Example:
        >>> state = linear_attention_state(16, 64, lead=(8,))
        >>> state.s.shape, state.z.shape
        ((8, 16, 64), (8, 16))
    """
    name = "linear_attention_state"
    _check.positive_int(name, d_k=d_k, d_v=d_v)
    wide_enough(name, dtype)
    shape = shape_of((1, d_k), dtype)
    kernel, consts = map_kernel(name, feature_map, None, shape, shape)
    return empty(name, jax.eval_shape(kernel.key, shape, *consts).shape[0], d_v, lead, dtype)


def linear_attention_step(
    state: State,
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b n d_k"],
    v: Float[AnyArray, "*#b n d_v"],
    *,
    feature_map: FeatureMap | None = None,
    scale: float | Float[Array, ""] | None = None,
    chunk: int | None = None,
) -> tuple[Float[Array, "*b n d_v"], State]:
    """Take n new tokens: one to decode, many to read a prompt. Return their outputs and the state after them.

    s ← s + φ(k) vᵀ,   z ← z + φ(k),   o = φ(q)ᵀ s / φ(q)ᵀ z

    Any split of a sequence into steps gives what `linear_attention` with `causal` gives at once, gradients included:
    they flow through the state.

    Args:
        state: what earlier calls returned, or `linear_attention_state`.
        q: queries of the new tokens, shape (..., n, d_k).
        k: their keys, shape (..., n, d_k).
        v: their values, shape (..., n, d_v).
        feature_map: as in `linear_attention`, the same for every step.
        scale: as in `linear_attention`.
        chunk: as in `linear_attention`.

    Returns:
        The outputs (..., n, d_v) in v's dtype, and the `State` after the last token. After a NaN or infinity in a key
        or value the state is NaN: every later token sees it.

    Raises:
        ValueError: as `linear_attention`; n keys that are not n queries, a state that does not fit k and v.

    Cost: `cost.linear_attention_step(d_k, …)`: 4D·d_v + 2D FLOPs in matrix products for one token, whatever came
        before it.

    Source: Katharopoulos et al. (2020), equations 16 to 20.

    Example:
        >>> import jax.numpy as jnp
        >>> state = linear_attention_state(1, 1)
        >>> for value in (0.0, 2.0, 4.0):
        ...     o, state = linear_attention_step(state, jnp.ones((1, 1)), jnp.zeros((1, 1)), jnp.full((1, 1), value))
        >>> print(o)  # the mean of 0, 2 and 4
        [[2.]]
    """
    name = "linear_attention_step"
    check_arguments(name, q, k, v, True, None, scale, chunk)
    kernel, consts = map_kernel(name, feature_map, scale, q, k)
    return step(name, kernel, consts, state, q, k, v, chunk)


class MapKernel(NamedTuple):
    """A feature map as the engine of `_sums` wants it. Consts: the scale, then what φ closes over."""

    feature_map: Callable[..., Array]

    def query(self, q: Array, factor: Array, *consts: Array) -> Array:
        """φ(scale · q)ᵀ."""
        return self.feature_map(q * factor, *consts).T

    def key(self, k: Array, factor: Array, *consts: Array) -> Array:
        """φ(k)ᵀ."""
        return self.feature_map(k, *consts).T

    def pairs(self, q: Array, k: Array, factor: Array, *consts: Array) -> Array:
        """φ(scale · q)ᵀ φ(k)."""
        return jax.lax.dot_general(
            self.query(q, factor, *consts), self.key(k, factor, *consts), (((0,), (0,)), ((), ()))
        )


def map_kernel(name: str, feature_map: Any, scale: Any, q: Any, k: Any) -> tuple[MapKernel, list[Array]]:
    """Check the feature map; return the kernel and the arrays that the feature map closes over."""
    if feature_map is not None and not callable(feature_map):
        raise ValueError(f"{name}: feature_map: expected a function, got {type(feature_map).__name__}")
    dtype = _arrays.wide(q, k)
    factor = jnp.asarray(1 if scale is None else scale, dtype)
    if feature_map is None:
        return MapKernel(elu_plus_one), [factor]
    example = shape_of((2, k.shape[-1]), dtype)
    try:
        hash(feature_map)
    except TypeError:
        got = type(feature_map).__name__
        raise ValueError(
            f"{name}: feature_map: expected a hashable function, got {got}; wrap it in a lambda"
        ) from None
    out = jax.eval_shape(feature_map, example)
    real = hasattr(out, "shape") and jnp.issubdtype(out.dtype, jnp.floating)
    if not real or out.ndim != 2 or len(out) != 2:
        got = f"{out.dtype}{list(out.shape)}" if hasattr(out, "shape") else type(out).__name__
        raise ValueError(
            f"{name}: feature_map: expected (c, {k.shape[-1]}) to become real features (c, D), got {got} for c = 2"
        )
    if _arrays.narrow(out.dtype):
        raise ValueError(f"{name}: feature_map: expected features in float32 or wider, got {out.dtype}")
    # One row: what is converted keeps the shape that it was traced with, and chunks have several lengths.
    one, hoisted = jax.closure_convert(lambda row: feature_map(row[None])[0], shape_of((k.shape[-1],), dtype))
    if not hoisted:
        return MapKernel(feature_map), [factor]
    return MapKernel(lambda x, *consts: jax.vmap(lambda row: one(row, *consts))(x)), [factor, *hoisted]
