"""How long a way is: between positions, and through a program.

Between positions: breadth first through what each layer reads, and from the sparsity of a layer's Jacobian. Through a
program: the longest chain of operations that wait for one another, from its jaxpr, every loop multiplied out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from attnlib import _arrays, _check
from attnlib.measure.chains import depth as depth
from attnlib.measure.chains import span as span

Reads = Callable[[int, int], Iterable[int]]
"""reads(layer, i): the positions that position i of that layer reads, one layer below; layer 0 reads the input."""


def path_length(reads: Reads | Bool[np.ndarray, "n n"], n: int, *, causal: bool = False) -> int:
    """Count the layers after which every position knows of every other: the maximum path length, breadth first.

    All inputs at once: a position knows, after a layer, what those that it reads knew before it.

    Args:
        reads: a function (layer, i) → positions, of which those outside 0 … n − 1 are left out, or a Boolean matrix
            (n, n), True where position i reads position j, the same for every layer.
        n: positions.
        causal: whether a position needs to know of itself and earlier ones alone.

    Returns:
        The number of layers; 0 for a single position.

    Raises:
        ValueError: n is not a positive integer, reads is neither a function nor such a matrix, or n layers are not
            enough: then none are, if every layer reads alike and each position itself.

    Source: Vaswani et al. (2017), section 4.

    Example:
        >>> path_length(full(100), 100), path_length(convolution(3), 100)
        (1, 99)
        >>> path_length(convolution(3, causal=True, dilated=True), 1000, causal=True)
        7
    """
    name = "graph.path_length"
    _check.positive_int(name, n=n)
    _check.flags(name, causal=causal)
    if not callable(reads):
        matrix = np.asarray(reads)
        if matrix.shape != (n, n) or matrix.dtype != np.bool_:
            got = f"shape {matrix.shape}, dtype {matrix.dtype}" if hasattr(reads, "shape") else type(reads).__name__
            raise ValueError(f"{name}: reads: expected a function or a Boolean matrix ({n}, {n}), got {got}")
        rows = [np.flatnonzero(row).tolist() for row in matrix]

        reads = lambda layer, i: rows[i]  # noqa: E731
    # What a position knows is a set of inputs, kept as the bits of an integer.
    wanted = [(1 << (i + 1 if causal else n)) - 1 for i in range(n)]
    known = [1 << i for i in range(n)]
    for layer in range(n + 1):
        if all(k & w == w for k, w in zip(known, wanted, strict=True)):
            return layer
        before = known
        known = [0] * n
        for i in range(n):
            for j in reads(layer, i):
                if 0 <= j < n:
                    known[i] |= before[j]
    raise ValueError(f"{name}: reads: expected layers that connect all positions, got none after {n} of them")


def full(n: int) -> Reads:
    """Return what self-attention reads: every position.

    Args:
        n: positions.

    Returns:
        A function (layer, i) → positions, for `path_length`.

    Raises:
        ValueError: n is not a positive integer.

    Example:
        >>> list(full(3)(0, 1))
        [0, 1, 2]
    """
    _check.positive_int("graph.full", n=n)
    return lambda layer, i: range(n)


def recurrent() -> Reads:
    """Return what a recurrent layer reads, one step of time at a time: first its input, then the state before it.

    The layers of `path_length` are here applications of the cell to all positions at once. One sweep makes h_t know
    x_t; each further one adds the position before, so that n are needed.

    Returns:
        A function (sweep, i) → positions, for `path_length` with causal=True.

    Example:
        >>> path_length(recurrent(), 100, causal=True)
        100
    """
    return lambda sweep, i: (i,) if sweep == 0 else (i - 1, i)


def convolution(k: int, *, causal: bool = False, dilated: bool = False) -> Reads:
    """Return what a stack of convolutions reads: k positions, next to one another or k^layer apart.

    Args:
        k: positions that a kernel covers; odd unless causal.
        causal: the kernel ends at its position instead of being centred there.
        dilated: layer l has dilation k^l instead of 1. Centred, such a stack does not connect the ends of a sequence,
            however deep: the way from one to the other leads through positions that do not exist.

    Returns:
        A function (layer, i) → positions, for `path_length`.

    Raises:
        ValueError: k is not a positive integer, or even and not causal.

    Source: Kalchbrenner et al. (2016), section 3.3.

    Example:
        >>> list(convolution(3)(0, 10)), list(convolution(3, causal=True, dilated=True)(2, 40))
        ([9, 10, 11], [22, 31, 40])
    """
    name = "graph.convolution"
    _check.positive_int(name, k=k)
    _check.flags(name, causal=causal)
    _check.flags(name, dilated=dilated)
    if not causal and k % 2 == 0:
        raise ValueError(f"{name}: k: expected an odd width unless causal, got {k}")

    left, step = k - 1 if causal else (k - 1) // 2, k if dilated else 1
    return lambda layer, i: range(i - left * step**layer, i + (k - left) * step**layer, step**layer)


def restricted(r: int, *, causal: bool = False) -> Reads:
    """Return what restricted attention reads: the r nearest positions, as `window_attention` does.

    Args:
        r: size of the neighbourhood: causal, the last r; otherwise ⌊r/2⌋ to each side.
        causal: whether later positions are hidden.

    Returns:
        A function (layer, i) → positions, for `path_length`.

    Raises:
        ValueError: r is not a positive integer.

    Source: Vaswani et al. (2017), section 4.

    Example:
        >>> list(restricted(4)(0, 10)), list(restricted(4, causal=True)(0, 10))
        ([8, 9, 10, 11, 12], [7, 8, 9, 10])
    """
    _check.positive_int("graph.restricted", r=r)
    _check.flags("graph.restricted", causal=causal)
    return lambda layer, i: range(i - r + 1, i + 1) if causal else range(i - r // 2, i + r // 2 + 1)


def depends(fn: Callable[[Any], Any], x: Float[Array, "n d"]) -> Bool[np.ndarray, "n_out n"]:
    """Tell which positions of fn(x) depend on which of x: where the blocks of the Jacobian are not zero.

    Measured at x, in x's precision: a derivative that happens to vanish there, or underflows, is not seen.

    Args:
        fn: a differentiable function from (n, d) to (n_out, d_out).
        x: where, shape (n, d), any floating dtype.

    Returns:
        A Boolean matrix (n_out, n), which `path_length` takes.

    Raises:
        ValueError: fn is not a function, x or fn(x) has not two axes or is not floating point.

    Cost: n_out backward passes of fn, one after the other.

    Example:
        >>> import jax.numpy as jnp
        >>> print(depends(lambda x: jnp.cumsum(x, axis=0), jnp.ones((3, 1))).astype(int))
        [[1 0 0]
         [1 1 0]
         [1 1 1]]
    """
    pull, shape, dtype = _pullback("graph.depends", fn, x)
    return np.asarray(
        jax.jit(lambda i: jax.lax.map(lambda i: pull(_probe(i, shape, dtype)), i))(jnp.arange(shape[0]))
    )


def receptive_field(fn: Callable[[Any], Any], x: Float[Array, "n d"], i: int) -> Bool[np.ndarray, " n"]:
    """Tell which positions of x the position i of fn(x) depends on: where its gradient is not zero.

    Args:
        fn: a differentiable function from (n, d) to (n_out, d_out).
        x: where, shape (n, d), any floating dtype.
        i: the position of the output, counted from the end if negative.

    Returns:
        A Boolean array (n,): row i of `depends(fn, x)`, by one backward pass.

    Raises:
        ValueError: as `depends`; an i that is not a position.

    Source: Luo et al. (2016).

    Example:
        >>> import jax.numpy as jnp
        >>> receptive_field(lambda x: jnp.cumsum(x, axis=0), jnp.ones((4, 1)), 1).tolist()
        [True, True, False, False]
    """
    name = "graph.receptive_field"
    pull, shape, dtype = _pullback(name, fn, x)
    if isinstance(i, bool) or not isinstance(i, int) or not -shape[0] <= i < shape[0]:
        raise ValueError(f"{name}: i: expected a position of {shape[0]}, got {i!r}")
    return np.asarray(pull(_probe(jnp.asarray(i % shape[0]), shape, dtype)))


def _pullback(name: str, fn: Any, x: Any) -> tuple[Callable[[Array], Array], tuple[int, ...], Any]:
    """Check fn and x; return which rows of x have a gradient, as a function of fn's cotangent, and fn's result."""
    if not callable(fn):
        raise ValueError(f"{name}: fn: expected a function, got {type(fn).__name__}")
    _arrays.floating(name, x=x)
    if len(x.shape) != 2:
        raise ValueError(f"{name}: x: expected two axes (n, d), got shape {x.shape}")
    out = jax.eval_shape(fn, x)
    if len(getattr(out, "shape", ())) != 2:
        raise ValueError(f"{name}: fn: expected a result with two axes (n, d), got {out}")
    if not jnp.issubdtype(out.dtype, jnp.floating):
        raise ValueError(f"{name}: fn: expected a floating-point result, which has a gradient, got {out.dtype}")
    x = jnp.asarray(x)

    def pull(do: Array) -> Array:
        dx: Array = jax.vjp(fn, x)[1](do)[0]
        return jnp.any(dx != 0, axis=-1)

    return jax.jit(pull), out.shape, out.dtype


def _probe(i: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Different weights in row i, so that derivatives of different channels do not cancel; zeros elsewhere."""
    weights = jnp.asarray(np.random.default_rng(0).uniform(0.5, 1, shape[1]), dtype)
    here = jax.lax.broadcasted_iota(jnp.int32, shape, 0) == i
    return jnp.where(here, jnp.broadcast_to(weights, shape), 0)
