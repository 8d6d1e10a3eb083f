"""One call of self-attention runs a gadget: queries, keys and values from its tokens, any attention, its outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from attnlib import _arrays
from attnlib.hardness.gadget import Gadget
from attnlib.kernels.softmax import attention as softmax_attention

Attention = Callable[..., Any]


def project(gadget: Gadget, dtype: Any = jnp.float32) -> tuple[Array, Array, Array]:
    """Return queries, keys and values of the gadget: X W_Q, X W_K, X W_V.

    Args:
        gadget: tokens and weights.
        dtype: floating dtype of the three.

    Returns:
        q (..., tokens, d_k), k (..., tokens, d_k), v (..., tokens, 1). Each entry is a sum with at most one term that
        is not zero, so it is exactly the weight rounded to the dtype.

    Raises:
        ValueError: not a `Gadget`; a dtype that is not floating, or float64 while JAX computes in 32 bits.

    Cost: 2·tokens·D(2d_k + 1) FLOPs.

    Example:
        >>> from attnlib.hardness import dummy_gadget, temperature
        >>> one = np.ones((4, 3), np.uint8)
        >>> [x.shape for x in project(dummy_gadget(one, one, temperature(4)), "bfloat16")]
        [(5, 4), (5, 4), (5, 1)]
    """
    dtype = _dtype("project", gadget, dtype)
    return _project(jnp.asarray(gadget.x), *(jnp.asarray(w, dtype) for w in (gadget.w_q, gadget.w_k, gadget.w_v)))


def attend(
    gadget: Gadget, attention: Attention = softmax_attention, dtype: Any = jnp.float32
) -> Float[np.ndarray, "*b tokens"]:
    """Run the gadget: one call of self-attention.

    Args:
        gadget: tokens and weights.
        attention: any function with the signature of `attnlib.attention`. It is compiled. A causal gadget calls it
            with causal=True, one with a window with window=… if it has such a parameter, else with a mask.
        dtype: floating dtype of q, k and v.

    Returns:
        The outputs, float64 (..., tokens); read those with gadget.row ≥ 0.

    Raises:
        ValueError: as `project`; attention cannot be called, or returns another shape than it should.

    Cost: that of the attention, and of `project`.

    Example:
        >>> from attnlib.kernels.flash import flash_attention
        >>> from attnlib.hardness import dummy_gadget, temperature
        >>> one = np.ones((4, 3), np.uint8)
        >>> g = dummy_gadget(one, one, temperature(4))
        >>> bool((attend(g, flash_attention)[g.row >= 0] < 0.5).all())  # no two are orthogonal
        True
    """
    dtype = _dtype("attend", gadget, dtype)
    if not callable(attention):
        raise ValueError(f"attend: attention: expected a function of q, k, v, got {attention!r}")
    weights = (jnp.asarray(w, dtype) for w in (gadget.w_q, gadget.w_k, gadget.w_v))
    y = _attend(attention, gadget.causal, gadget.window, gadget.kernel, jnp.asarray(gadget.x), *weights)
    if y.shape != (*gadget.x.shape[:-1], 1):
        raise ValueError(f"attend: attention: expected outputs {(*gadget.x.shape[:-1], 1)}, got {y.shape}")
    return np.asarray(y).astype(np.float64)[..., 0]


def l2_attention(
    q: Float[Array, "*#b n d_k"],
    k: Float[Array, "*#b m d_k"],
    v: Float[Array, "*#b m d_v"],
    *,
    attention: Attention = softmax_attention,
    causal: bool = False,
    mask: Bool[Array, "..."] | None = None,
    scale: float | Float[Array, ""] = 1.0,
) -> Float[Array, "*b n d_v"]:
    """Average the values with weights e^(−scale·|q − k|²), by an attention that knows products only.

    −|q − k|² = (q, 1)·(2k, −|k|²) − |q|², and softmax does not notice |q|².

    Args:
        q: queries, (..., n, d_k).
        k: keys, (..., m, d_k).
        v: values, (..., m, d_v).
        attention: a function with the signature of `attnlib.attention`.
        causal: as in `attention`.
        mask: as in `attention`.
        scale: factor of the squared distances.

    Returns:
        Array (..., n, d_v) in v's dtype. Queries and keys are widened to float32 first: |k|² would not fit otherwise.

    Raises:
        ValueError: what `attention` raises; attention cannot be called.

    Cost: that of the attention with width d_k + 1.

    Source: the kernel: Duman Keles, Wijewardena and Hegde (2023), theorem 7.

    Example:
        >>> q, k = jnp.array([[0.0]]), jnp.array([[1.0], [-1.0], [3.0]])
        >>> print(l2_attention(q, k, jnp.array([[1.0], [2.0], [100.0]])).round(1))
        [[1.5]]
    """
    name = "l2_attention"
    if not callable(attention):
        raise ValueError(f"{name}: attention: expected a function of q, k, v, got {attention!r}")
    if scale is None:
        raise ValueError(f"{name}: scale: expected a finite real number, got None")
    _arrays.attention(name, q, k, v, causal=causal, mask=mask, scale=scale)
    wide = _arrays.wide(q, k)
    q, k = jnp.asarray(q).astype(wide), jnp.asarray(k).astype(wide)
    q = jnp.concatenate([q, jnp.ones_like(q[..., :1])], -1)
    k = jnp.concatenate([2 * k, -(k**2).sum(-1, keepdims=True)], -1)
    rest: dict[str, Any] = ({"causal": True} if causal else {}) | ({} if mask is None else {"mask": mask})
    return jnp.asarray(attention(q, k, v, scale=scale, **rest))


def _project(x: Array, w_q: Array, w_k: Array, w_v: Array) -> tuple[Array, Array, Array]:
    # Highest: some devices would round float32 to fewer bits first.
    q, k, v = (jnp.einsum("...td,dk->...tk", x.astype(w.dtype), w, precision="highest") for w in (w_q, w_k, w_v))
    return q, k, v


@partial(jax.jit, static_argnames=("attention", "causal", "window", "kernel"))
def _attend(
    attention: Attention, causal: bool, window: int | None, kernel: str, x: Array, w_q: Array, w_k: Array, w_v: Array
) -> Array:
    q, k, v = _project(x, w_q, w_k, w_v)
    options: dict[str, Any] = {"causal": True} if causal else {}
    if window is not None:
        if "window" in inspect.signature(attention).parameters:
            options["window"] = window
        else:
            token = jnp.arange(x.shape[-2])
            options["mask"] = abs(token[:, None] - token[None, :]) < window
    if kernel == "l2":
        return l2_attention(q, k, v, attention=attention, **options)
    return jnp.asarray(attention(q, k, v, **options))


def _dtype(name: str, gadget: object, dtype: Any) -> Any:
    if not isinstance(gadget, Gadget):
        raise ValueError(f"{name}: gadget: expected a Gadget, got {type(gadget).__name__}")
    _arrays.floating_dtype(name, dtype)
    dtype = jnp.dtype(dtype)
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise ValueError(f"{name}: dtype: expected 32 bits or less unless jax_enable_x64 is set, got {dtype}")
    return dtype
