"""Convolutions along a sequence: contiguous, causal, dilated, depthwise-separable, and stacks of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from attnlib import _arrays, _check
from attnlib._sharding import each_device
from attnlib.layers._draw import draw

Params = dict[str, Array]
AnyArray = Array | np.ndarray


def init_conv(
    key: Array,
    d: int,
    k: int,
    *,
    d_out: int | None = None,
    separable: bool = False,
    dtype: DTypeLike = jnp.float32,
) -> Params:
    """Draw the parameters of `conv`: normal, with variance one over the fan-in; the bias is zero.

    Args:
        key: PRNG key.
        d: width of the input.
        k: positions that a kernel covers.
        d_out: width of the output; d by default.
        separable: a kernel for each channel, then a product that mixes the channels, in place of one that does both.
        dtype: floating dtype of the parameters.

    Returns:
        A dict of w (k, d, d_out) and b (d_out,); separable: w_depth (k, d), w_point (d, d_out) and b (d_out,).

    Raises:
        ValueError: a size that is not a positive integer, a dtype that is not floating.

    Cost: k·d·d_out + d_out numbers; separable k·d + d·d_out + d_out.

    Source: Kalchbrenner et al. (2016); separable: Chollet (2017).

    Example:
        >>> import jax
        >>> {name: w.shape for name, w in init_conv(jax.random.key(0), 4, 3, separable=True).items()}
        {'w_depth': (3, 4), 'w_point': (4, 4), 'b': (4,)}
    """
    name = "init_conv"
    _arrays.prng_key(name, key)
    d_out = d if d_out is None else d_out
    _check.positive_int(name, d=d, k=k, d_out=d_out)
    _check.flags(name, separable=separable)
    _arrays.floating_dtype(name, dtype)
    mixing = {"w_depth": ((k, d), k), "w_point": ((d, d_out), d)} if separable else {"w": ((k, d, d_out), k * d)}
    return draw(key, mixing, dtype) | {"b": jnp.zeros(d_out, dtype)}


def conv(
    params: Params,
    x: Float[AnyArray, "*b n d"],
    *,
    causal: bool = False,
    dilation: int = 1,
    lengths: Int[AnyArray, "..."] | None = None,
) -> Float[Array, "*b n d_out"]:
    """Mix each position with its neighbours, the same way everywhere.

    y_t = Σ_τ x_{t + δ(τ − (k−1)/2)} W_τ + b;   causal: y_t = Σ_τ x_{t − δ(k−1−τ)} W_τ + b   (τ = 0 … k − 1)

    Beyond the ends x is zero. With separable parameters W_τ = diag(w_depth_τ) W_point: k multiplications a channel,
    then one product.

    Args:
        params: w (k, d, d_out) and b (d_out,), or w_depth (k, d), w_point (d, d_out) and b (d_out,), as `init_conv`
            returns them.
        x: positions, shape (..., n, d), any floating dtype.
        causal: the kernel ends at its position instead of being centred there, which needs an odd k.
        dilation: distance δ of the positions that a kernel covers.
        lengths: how many positions exist, integers broadcastable to the leading axes: later ones count as zeros, and
            their outputs are zero.

    Returns:
        Array (..., n, d_out) in x's dtype.

    Raises:
        ValueError: a missing or misshapen parameter, an even k that is not causal, an x of wrong rank, width or
            dtype, lengths that are not integers or do not broadcast.

    Cost: `cost.conv(n, d, k)`: 2knd² FLOPs in matrix products at d_out = d; separable 2nd², and (2k − 1)nd outside.

    Source: Kalchbrenner et al. (2016); separable: Chollet (2017).

    Example:
        >>> import jax.numpy as jnp
        >>> params = {"w": jnp.ones((3, 1, 1)), "b": jnp.zeros(1)}
        >>> x = jnp.array([[1.0], [10.0], [100.0], [1000.0]])
        >>> print(conv(params, x)[:, 0].astype(int), conv(params, x, causal=True)[:, 0].astype(int))
        [  11  111 1110 1100] [   1   11  111 1110]
    """
    k = _check_arguments("conv", params, x, causal, dilation, lengths)
    arrays = {"x": jnp.asarray(x), "lengths": None if lengths is None else _arrays.clipped(lengths, x.shape[-2])}
    weights = {w: jnp.asarray(array) for w, array in params.items()}
    out: Array = each_device("conv", (_conv, k, causal, dilation), arrays, {"x": 2, "lengths": 0}, weights, 2)
    return out


def _conv(k: int, causal: bool, dilation: int, arrays: dict[str, Any], params: Params) -> Array:
    x, lengths = arrays["x"], arrays["lengths"]
    *lead, n, d = x.shape
    exists = None
    if lengths is not None:
        exists = _arrays.within(lengths, lead, n)[..., None]
        x = jnp.where(exists, x, 0)
    p = {w: array.astype(x.dtype) for w, array in params.items()}
    reach = dilation * (k - 1)
    left = reach if causal else reach // 2
    if "w" in p:
        y = jax.lax.conv_general_dilated(
            x.reshape(-1, n, d),
            p["w"],
            (1,),
            [(left, reach - left)],
            rhs_dilation=(dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        ).reshape(*lead, n, -1)
    else:
        # k shifted copies, multiplied and summed in one pass: a grouped convolution takes 80 times as long on CPU.
        wide = _arrays.wide(x)  # k terms: a narrow sum stops growing
        padded = jnp.pad(x.astype(wide), [*[(0, 0)] * len(lead), (left, reach - left), (0, 0)])
        taps = (
            jax.lax.slice_in_dim(padded, t * dilation, t * dilation + n, axis=-2)
            * jnp.broadcast_to(p["w_depth"][t].astype(wide), x.shape)
            for t in range(k)
        )
        y = functools.reduce(jnp.add, taps).astype(x.dtype) @ p["w_point"]
    y = y + jnp.broadcast_to(p["b"], y.shape)
    return y if exists is None else jnp.where(exists, y, 0)


def conv_stack(
    layers: Sequence[Params],
    x: Float[AnyArray, "*b n d"],
    *,
    causal: bool = False,
    dilations: Sequence[int] | None = None,
    activation: Callable[[Array], Array] | None = jax.nn.relu,
    lengths: Int[AnyArray, "..."] | None = None,
) -> Float[Array, "*b n d_out"]:
    """Apply convolutions in turn, an activation between two of them.

    y = conv_L(φ(conv_{L−1}(… φ(conv_1(x)))))

    A causal stack with kernels of k positions sees 1 + (k−1) Σ δ_l of them: 1 + (k−1)L with all dilations 1, and k^L
    with dilations 1, k, k², ….

    Args:
        layers: parameters of each layer, the first one applied first.
        x: positions, shape (..., n, d), any floating dtype.
        causal: as in `conv`.
        dilations: one for each layer; all 1 by default.
        activation: a function of an array, between layers; None for none.
        lengths: as in `conv`.

    Returns:
        Array (..., n, d_out) in x's dtype, d_out of the last layer.

    Raises:
        ValueError: no layers, a number of dilations other than that of layers, and what `conv` raises.

    Cost: the sum of the layers', one after the other.

    Source: Kalchbrenner et al. (2016), section 3.3.

    Example:
        >>> import jax.numpy as jnp
        >>> layer = {"w": jnp.ones((2, 1, 1)), "b": jnp.zeros(1)}
        >>> x = jnp.zeros((9, 1)).at[0].set(1.0)
        >>> print(conv_stack([layer] * 3, x, causal=True, dilations=[1, 2, 4])[:, 0])  # 2³ positions see the first
        [1. 1. 1. 1. 1. 1. 1. 1. 0.]
    """
    name = "conv_stack"
    if not isinstance(layers, list | tuple) or not layers:
        got = "none" if isinstance(layers, list | tuple) else type(layers).__name__
        raise ValueError(f"{name}: layers: expected a list of at least one layer's parameters, got {got}")
    if dilations is None:
        dilations = [1] * len(layers)
    if not isinstance(dilations, list | tuple) or len(dilations) != len(layers):
        raise ValueError(f"{name}: dilations: expected one for each of {len(layers)} layers, got {dilations!r}")
    if activation is not None and not callable(activation):
        raise ValueError(f"{name}: activation: expected a function or None, got {activation!r}")
    # Every layer before any computation, on shapes.
    _arrays.floating(name, x=x)
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)  # type: ignore[no-untyped-call, unused-ignore]
    for i, (params, dilation) in enumerate(zip(layers, dilations, strict=True)):
        if i and activation is not None:
            shape = jax.eval_shape(activation, shape)
        _check_arguments(f"{name}: layers[{i}]", params, shape, causal, dilation, lengths)
        shape = jax.ShapeDtypeStruct((*x.shape[:-1], len(params["b"])), x.dtype)  # type: ignore[no-untyped-call, unused-ignore]
    (params, *others), (dilation, *dilations) = layers, dilations
    y = conv(params, x, causal=causal, dilation=dilation, lengths=lengths)
    for params, dilation in zip(others, dilations, strict=True):
        y = conv(
            params, y if activation is None else activation(y), causal=causal, dilation=dilation, lengths=lengths
        )
    return y


def _check_arguments(name: str, params: Any, x: Any, causal: Any, dilation: Any, lengths: Any) -> int:
    """Check every argument and return the width k of the kernel."""
    _arrays.floating(name, x=x)
    _check.rank_at_least(name, 2, "(..., n, d)", x=x)
    separable = isinstance(params, dict) and bool({"w_depth", "w_point"} & set(params))
    _arrays.params(name, params, ["w_depth", "w_point", "b"] if separable else ["w", "b"])
    _check.flags(name, causal=causal)
    _check.positive_int(name, dilation=dilation)
    _arrays.lengths(name, lengths, x.shape[:-2])
    d, kernel = x.shape[-1], params["w_depth" if separable else "w"]
    if separable:
        _expect(name, "w_depth", kernel, f"(k, {d})", kernel.ndim == 2 and kernel.shape[1] == d)
        point = params["w_point"]
        _expect(name, "w_point", point, f"({d}, d_out)", point.ndim == 2 and point.shape[0] == d)
    else:
        _expect(name, "w", kernel, f"(k, {d}, d_out)", kernel.ndim == 3 and kernel.shape[1] == d)
    d_out = params["w_point" if separable else "w"].shape[-1]
    _expect(name, "b", params["b"], f"({d_out},)", params["b"].shape == (d_out,))
    k = kernel.shape[0]
    if not causal and k % 2 == 0:
        raise ValueError(f"{name}: causal: expected True for a kernel of even width, got False with k = {k}")
    return int(k)


def _expect(name: str, argument: str, array: Any, shape: str, right: bool) -> None:
    if not right:
        raise ValueError(f"{name}: {argument}: expected shape {shape}, got {array.shape}")
