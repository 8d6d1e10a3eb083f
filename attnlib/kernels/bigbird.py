"""BigBird: a window of blocks, global blocks and random blocks. Linear in the length, and connected in two layers."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from attnlib import _arrays, _check
from attnlib._sharding import each_device
from attnlib.cost.bigbird import check_counts, global_queries, window_offsets
from attnlib.kernels import _block_rows
from attnlib.kernels._block_rows import Rows
from attnlib.kernels.flash import flash_attention

AnyArray = Array | np.ndarray


def bigbird_attention(
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b m d_k"],
    v: Float[AnyArray, "*#b m d_v"],
    *,
    block: int = 64,
    window_blocks: int = 3,
    global_blocks: int = 2,
    random_blocks: int = 3,
    key: Any = None,
    pattern: Integer[AnyArray, "..."] | None = None,
    causal: bool = False,
    mask: Bool[AnyArray, "..."] | None = None,
    scale: float | Float[Array, ""] | None = None,
) -> Float[Array, "*b n d_v"]:
    """Attend by blocks: to those near the query, to a few global ones, and to random ones.

    Query i stands at position i + m − n, and in block b = ⌊(i + m − n)/block⌋. It sees key j, of block c = ⌊j/block⌋,
    in these cases:

    c < global_blocks, or |b − c| ≤ ⌊window_blocks/2⌋, or c ∈ pattern[row of b], or 0 ≤ b < global_blocks

    causal: j ≤ i + m − n besides, and the window is 0 ≤ b − c < window_blocks

    So the first blocks are global: every query sees their keys, and their queries see every key (this is the paper's
    internal construction, whose global tokens are part of the sequence). With `causal` a query sees of them what is
    past. The key blocks of a row of queries are gathered, and one softmax goes over them; queries that see everything
    run through `flash_attention`.

    Args:
        q: queries, shape (..., n, d_k), any floating dtype; leading axes broadcast as in `attention`.
        k: keys, shape (..., m, d_k).
        v: values, shape (..., m, d_v).
        block: positions in a block; the last may be shorter.
        window_blocks: size of the window in blocks: causal, the last so many, the query's own among them; otherwise
            ⌊window_blocks/2⌋ to each side, and its own.
        global_blocks: how many blocks from the first on are global; 0 for none.
        random_blocks: how many random blocks a row of queries sees; 0 for none.
        key: of `jax.random.key`, from which `bigbird_pattern` draws the random blocks, the same for all heads.
        pattern: instead of a key, what `bigbird_pattern` returned, or any integers (..., rows, random_blocks) with
            leading axes that broadcast: the random blocks of each row. What is no block, one that the row sees anyway
            and one that is named twice count for nothing.
        causal: query i sees key j only if j ≤ i + m − n.
        mask: boolean, True = may attend, broadcastable to (..., n, m); hides pairs but saves no work.
        scale: factor of the scores; 1/√d_k by default.

    Returns:
        Array (..., n, d_v) in v's dtype. A query that may attend to nothing gets zeros, with zero gradient; no
        NaN or infinity reaches an output or a gradient through a pair that is hidden or not in the pattern.

    Raises:
        ValueError: as `attention`; a number of blocks below 0, a block or window below 1; neither a key nor a
            pattern with random blocks, or both, or one without any; a pattern of another shape.

    Cost: `cost.bigbird_attention(n, d_k, …)`: 2P(d_k + d_v) FLOPs in matrix products for P = n·block·(window_blocks +
        global_blocks + random_blocks) pairs, and those of the global queries; 2P(3d_k + 2d_v) more for the backward
        pass; memory O(n).

    Source: Zaheer et al. (2020), section 2 and appendix D.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> q, k, v = jnp.zeros((6, 1)), jnp.zeros((6, 1)), jnp.array([[1.0], [3.0], [0.0], [0.0], [8.0], [8.0]])
        >>> few = {"block": 2, "window_blocks": 1, "global_blocks": 1}
        >>> print(bigbird_attention(q, k, v, **few, random_blocks=0)[:, 0])  # the first meet all
        [3.3333333 3.3333333 1.        1.        5.        5.       ]
        >>> print(bigbird_attention(q, k, v, **few, random_blocks=1, key=jax.random.key(0))[:, 0])  # all do
        [3.3333333 3.3333333 3.3333333 3.3333333 3.3333333 3.3333333]
    """
    name = "bigbird_attention"
    lead = _arrays.attention(name, q, k, v, causal=causal, mask=mask, scale=scale)
    check_counts(name, block, window_blocks, global_blocks, random_blocks)
    q, k, v = (jnp.asarray(x) for x in (q, k, v))
    n, m = q.shape[-2], k.shape[-2]
    options = {
        "block": block,
        "window_blocks": window_blocks,
        "global_blocks": global_blocks,
        "random_blocks": random_blocks,
    }
    drawn = _pattern(name, key, pattern, lead, n, m, causal, options)
    factor = jnp.asarray(1 / math.sqrt(q.shape[-1]) if scale is None else scale, _arrays.wide(q, k))
    begin, end = global_queries(n, m, block, global_blocks, causal)
    parts = []
    for first, last in ((0, begin), (end, n)):
        if first == last:
            continue
        rows = Rows(last - first, m, first + m - n, block, causal)
        own = drawn[..., int(rows.blocks[0]) - (m - n) // block :, :][..., : len(rows.blocks), :]
        arrays = {
            "q": q[..., first:last, :],
            "k": k,
            "v": v,
            "mask": _of_queries(mask, first, last),
            "lists": _lists(own, rows, window_blocks, global_blocks),
        }
        o = each_device(name, (_block_rows.attend, rows), arrays, _block_rows.OWN, {"scale": factor}, 2)
        parts.append((first, o))
    if begin < end:
        with _check.named(name, "flash_attention"):
            o = flash_attention(q[..., begin:end, :], k, v, mask=_of_queries(mask, begin, end), scale=factor)
        parts.append((begin, o))
    ordered = [o for _, o in sorted(parts, key=lambda part: part[0])]
    return ordered[0] if len(ordered) == 1 else jnp.concatenate(ordered, axis=-2)


def bigbird_pattern(
    key: Any,
    n: int,
    *,
    m: int | None = None,
    block: int = 64,
    window_blocks: int = 3,
    global_blocks: int = 2,
    random_blocks: int = 3,
    causal: bool = False,
) -> Int[Array, "rows random_blocks"]:
    """Draw the random blocks of `bigbird_attention`: for each row of queries some that it would not see otherwise.

    A row is drawn uniformly from the sets of `random_blocks` key blocks that are neither global nor in its window;
    `causal`: nor later than its own. It depends on the key, the number b of its own block and how many there are to
    choose from. So with `causal` rows do not depend on the length: what is decoded has the pattern of the whole.

    Args:
        key: of `jax.random.key`; it may be traced. For a pattern a head, `jax.vmap` over keys.
        n: queries.
        m: keys; n by default.
        block: positions in a block.
        window_blocks: size of the window in blocks.
        global_blocks: how many blocks from the first on are global.
        random_blocks: how many to draw.
        causal: draw from the past alone.

    Returns:
        Integers (rows, random_blocks), row r for the queries of block r + ⌊(m − n)/block⌋; −1 where there are no more
        to choose, and in rows of global queries, which see everything.

    Raises:
        ValueError: as `bigbird_attention`; a key that is none, sizes that are not integers of at least 1.

    Cost: O(n/block · random_blocks²) operations, no number of which meets every other.

    Source: Zaheer et al. (2020), section 2; the draw without replacement is Floyd's.

    Example:
        >>> import jax
        >>> print(bigbird_pattern(jax.random.key(0), 10, block=2, window_blocks=1, global_blocks=1, random_blocks=3))
        [[-1 -1 -1]
         [ 2  3  4]
         [ 1  3  4]
         [ 1  2  4]
         [ 1  2  3]]
    """
    name = "bigbird_pattern"
    _arrays.prng_key(name, key)
    _check.positive_int(name, n=n)
    _check.optional_int(name, m=m)
    check_counts(name, block, window_blocks, global_blocks, random_blocks)
    _check.flags(name, causal=causal)
    m = n if m is None else m
    drawn: Array = _draw(key, Rows(n, m, m - n, block, causal), window_blocks, global_blocks, random_blocks)
    return drawn


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _draw(key: Array, rows: Rows, window_blocks: int, global_blocks: int, random_blocks: int) -> Array:
    own, columns = rows.blocks, -(-rows.m // rows.block)
    if not random_blocks:
        return jnp.zeros((len(own), 0), jnp.int32)
    # To choose from: [first, low) and [high, columns), `choice` blocks in all.
    first, offsets = min(global_blocks, columns), window_offsets(window_blocks, rows.causal)
    low = np.clip(own + offsets[0], first, columns)
    high = np.full_like(low, columns) if rows.causal else np.clip(own + offsets[-1] + 1, low, columns)
    choice = low - first + columns - high
    if not rows.causal:
        choice[(own >= 0) & (own < global_blocks)] = 0
    # Floyd's draw without replacement: for t = N − r, …, N − 1 take a number up to t, or t itself if that is taken.
    turn = np.arange(random_blocks)
    last = jnp.asarray(np.maximum(choice[:, None] - random_blocks, 0) + turn, jnp.int32)
    some = jnp.asarray(turn < choice[:, None])

    def draw(block: Array, last: Array) -> Array:
        return jax.random.randint(jax.random.fold_in(key, block), last.shape, 0, last + 1, jnp.int32)

    numbers = jax.vmap(draw)(jnp.asarray(own % 2**32, jnp.uint32), last)

    def take(t: Array, taken: Array) -> Array:
        number = numbers[:, t]
        number = jnp.where((taken == number[:, None]).any(axis=1), last[:, t], number)
        return taken.at[:, t].set(jnp.where(some[:, t], number, -1))

    taken = jax.lax.fori_loop(0, random_blocks, take, jnp.full_like(numbers, -1))
    below, after = (jnp.asarray(x, jnp.int32)[:, None] for x in (low - first, high - low + first))
    return jnp.where(taken < 0, -1, taken + jnp.where(taken < below, first, after))


def _pattern(
    name: str,
    key: Any,
    pattern: Any,
    lead: tuple[int, ...],
    n: int,
    m: int,
    causal: bool,
    options: dict[str, int],
) -> Any:
    """Return the random blocks of every row, (..., rows, random_blocks), drawn or as given."""
    count, rows = options["random_blocks"], len(Rows(n, m, m - n, options["block"], causal).blocks)
    if (key is None) == (pattern is None) and (count or key is not None):
        given = "neither" if key is None else "both"
        raise ValueError(f"{name}: key: expected either a key or a pattern of random blocks, got {given}")
    if pattern is None:
        if key is None:
            return np.zeros((rows, 0), np.int32)
        with _check.named(name, "bigbird_pattern"):
            return bigbird_pattern(key, n, m=m, causal=causal, **options)
    if (
        not hasattr(pattern, "shape")
        or not hasattr(pattern, "dtype")
        or not jnp.issubdtype(pattern.dtype, jnp.integer)
    ):
        got = getattr(pattern, "dtype", type(pattern).__name__)
        raise ValueError(f"{name}: pattern: expected an array of integers, got {got}")
    if pattern.shape[-2:] != (rows, count) or not _check.fits(pattern.shape[:-2], lead):
        raise ValueError(
            f"{name}: pattern: expected shape (..., rows, random_blocks) = (..., {rows}, {count}) with leading axes "
            f"that broadcast to {lead}, got {pattern.shape}"
        )
    return jnp.asarray(pattern)


@partial(jax.jit, static_argnums=(1, 2, 3))
def _lists(drawn: Any, rows: Rows, window_blocks: int, global_blocks: int) -> Array:
    """Return the key blocks that each row sees, in order and each once; at the end, for none, how many there are."""
    own, columns = rows.blocks[:, None], -(-rows.m // rows.block)
    globals_ = np.arange(min(global_blocks, columns))
    near = own + window_offsets(window_blocks, rows.causal)
    near = np.where((near >= len(globals_)) & (near < columns), near, columns)
    known = np.concatenate([np.broadcast_to(globals_, (len(own), len(globals_))), near], axis=1)
    known = np.where((known <= own) | (not rows.causal), known, columns)
    fixed, row = (jnp.broadcast_to(jnp.asarray(x, jnp.int32), (*drawn.shape[:-1], x.shape[1])) for x in (known, own))
    drawn = _arrays.clipped(drawn, columns)
    idle = (drawn < 0) | (drawn[..., None] == fixed[..., None, :]).any(axis=-1) | ((drawn > row) & rows.causal)
    drawn = jnp.sort(jnp.where(idle, columns, drawn), axis=-1)
    twice = jnp.pad(drawn[..., 1:] == drawn[..., :-1], [(0, 0)] * (drawn.ndim - 1) + [(min(1, drawn.shape[-1]), 0)])
    every = jnp.concatenate([fixed, jnp.where(twice, columns, drawn)], axis=-1)
    return jnp.sort(every, axis=-1)[..., : min(every.shape[-1], columns)]


def _of_queries(mask: Any, first: int, last: int) -> Any:
    """Return the rows of a mask that belong to the queries from `first` to before `last`."""
    if mask is None:
        return None
    mask = jnp.asarray(mask)
    return mask if mask.ndim < 2 or mask.shape[-2] == 1 else mask[..., first:last, :]
