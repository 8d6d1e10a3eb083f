"""Softmax attention in blocks with an online softmax and its own backward pass: exact, in memory linear in n."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from attnlib import _arrays, _check
from attnlib._sharding import each_device
from attnlib.cost.flash import block_sizes, cover, meeting, sides
from attnlib.kernels._exponential import exp_nonpositive
from attnlib.kernels._heads import Index, at, bad, each_head, finite, lift, share

AnyArray = Array | np.ndarray
Segments = Int[AnyArray, "..."] | tuple[Int[AnyArray, "..."], Int[AnyArray, "..."]]


def flash_attention(
    q: Float[AnyArray, "*#b n d_k"],
    k: Float[AnyArray, "*#b m d_k"],
    v: Float[AnyArray, "*#b m d_v"],
    *,
    causal: bool = False,
    mask: Bool[AnyArray, "..."] | None = None,
    scale: float | Float[Array, ""] | None = None,
    window: int | tuple[int, int] | None = None,
    lengths: Int[AnyArray, "..."] | None = None,
    segments: Segments | None = None,
    block_q: int | None = None,
    block_k: int | None = None,
    return_lse: bool = False,
) -> Float[Array, "*b n d_v"] | tuple[Float[Array, "*b n d_v"], Float[Array, "*b n"]]:
    """Compute `attention(q, k, v)` block by block, without ever holding the n × m scores.

    o_i = Σ_j e^(s_ij − c_i) v_j / z_i,   z_i = Σ_j e^(s_ij − c_i),   c_i = max_j s_ij,   s_ij = scale · q_i·k_j

    Three running numbers per query, (c, z, o·z), follow the blocks: a new maximum c' multiplies the
    sums by e^(c − c'). The backward pass computes the scores again from q, k and the saved c and z. Blocks
    in which `causal` and `window` leave no pair are not visited; `mask` and `lengths` hide pairs but save no work.
    Of packed sequences, which `segments` tell apart, a block is left out when the program runs and finds that the
    ranges of its ids do not overlap.

    Args:
        q: queries, shape (..., n, d_k), any floating dtype; leading axes broadcast as in `attention`.
        k: keys, shape (..., m, d_k).
        v: values, shape (..., m, d_v).
        causal: query i sees key j only if j ≤ i + m − n.
        mask: boolean, True = may attend, broadcastable to (..., n, m).
        scale: factor of the scores; 1/√d_k by default.
        window: query i sees key j only if |i + m − n − j| < window: with `causal`, the last `window` keys. A pair
            (left, right) says how many keys before and after its own position i + m − n: w is (w − 1, w − 1).
        lengths: how many keys exist, integers broadcastable to the leading axes: keys from there on are hidden.
        segments: ids of packed sequences, integers (..., n) that broadcast to the leading axes, or a pair of such
            arrays for queries (..., n) and keys (..., m): a query sees keys of its own id alone. With ids in order
            the work is that of Σ n_i² pairs, rounded to blocks: on CPU; elsewhere heads run at once, and blocks are
            computed and thrown away.
        block_q: queries in every block; by default what was fastest on such a device: on CPU 1,024 where every pair
            is visible, 256 where a mask or an end cuts and in the backward pass, 128 with a window up to 128.
        block_k: keys in every block; by default 512, 256 and 128. With segments blocks are small everywhere.
        return_lse: also return log Σ_j e^(s_ij), which is differentiable too: two results over different keys merge
            with it.

    Returns:
        Array (..., n, d_v) in v's dtype; with return_lse also an array (..., n), float32 or wider. A query that may
        attend to nothing gets zeros with zero gradient, and −∞ as its log-sum. A NaN or infinity in q, k or v never
        reaches an output or a gradient through a hidden pair; one that a query sees makes its whole output NaN.
        Forward-mode differentiation is refused by JAX, as of every function with its own backward pass.

    Raises:
        ValueError: as `attention`; a block that is not a positive integer, a window that is neither one nor a pair,
            lengths or segments that are not integers or do not broadcast, one array of segments where n ≠ m.

    Cost: `cost.flash_attention(n, d_k, …)`: 2P(d_k + d_v) FLOPs in matrix products for P pairs in visited blocks,
        2P(3d_k + 2d_v) more for the backward pass; memory O(n) for both. What segments save depends on the data: the
        model is told their lengths, and `attnlib.count` refuses a program whose work its numbers decide.

    Source: Milakov and Gimelshein (2018); Rabe and Staats (2021); Dao et al. (2022), algorithms 1 and 4.

    Example:
        >>> import jax.numpy as jnp
        >>> q, k, v = jnp.ones((3, 1)), jnp.zeros((3, 1)), jnp.array([[0.0], [2.0], [4.0]])
        >>> print(flash_attention(q, k, v, causal=True, block_q=2, block_k=2))  # running means
        [[0.]
         [1.]
         [2.]]
    """
    name = "flash_attention"
    lead = _arrays.attention(name, q, k, v, causal=causal, mask=mask, scale=scale)
    _check.flags(name, return_lse=return_lse)
    _check.optional_int(name, block_q=block_q, block_k=block_k)
    near = sides(name, window)
    _arrays.lengths(name, lengths, lead)
    q, k, v = (jnp.asarray(x) for x in (q, k, v))
    n, m = q.shape[-2], k.shape[-2]
    ids = _arrays.segments(name, segments, lead, n, m)
    blocks = block_sizes(near, block_q, block_k, jax.default_backend(), packed=segments is not None)
    large, small = (Tiles(n, m, min(b_q, n), min(b_k, m), causal, near) for b_q, b_k in blocks)
    factor = jnp.asarray(1 / math.sqrt(q.shape[-1]) if scale is None else scale, _arrays.wide(q, k))
    arrays = {
        "q": q,
        "k": k,
        "v": v,
        "mask": None if mask is None else jnp.asarray(mask),
        "lengths": None if lengths is None else _arrays.clipped(lengths, m),
        "segments": ids[0],
        "segments of keys": ids[1],
    }
    o, lse = each_device(name, (_attend, (large, small)), arrays, OWN, {"scale": factor}, (2, 1))
    return (o, lse) if return_lse else o


class Tiles(NamedTuple):
    """How one head is cut, and which pairs may meet as far as indices tell."""

    n: int
    m: int
    block_q: int
    block_k: int
    causal: bool
    window: tuple[int, int] | None

    def rows(self, x: Array, i: Array) -> Array:
        """Return query block i of x. The last block ends at n, so it repeats rows, which `visible` hides."""
        return jax.lax.dynamic_slice_in_dim(x, i * self.block_q, self.block_q)

    def columns(self, x: Array, j: Array) -> Array:
        """Return key block j of x."""
        return jax.lax.dynamic_slice_in_dim(x, j * self.block_k, self.block_k)

    def visible(self, i: Array, j: Array, head: Head) -> Array:
        """Return which pairs of block (i, j) may meet, and have not met in a block before.

        The mask is that of all heads, read here block by block: a copy for each head would be quadratic.
        """
        first_i, first_j = i * self.block_q, j * self.block_k
        row = jnp.minimum(first_i, self.n - self.block_q) + jnp.arange(self.block_q, dtype=jnp.int32)[:, None]
        column = jnp.minimum(first_j, self.m - self.block_k) + jnp.arange(self.block_k, dtype=jnp.int32)[None, :]
        past = row + (self.m - self.n) - column
        seen = (row >= first_i) & (column >= first_j)
        if self.causal:
            seen &= past >= 0
        if self.window is not None:
            left, right = self.window
            seen &= (past <= left) & (past >= -right)
        if head.length is not None:
            seen &= column < head.length
        if head.ids is not None:
            seen &= self.rows(head.ids[0], i)[:, None] == self.columns(head.ids[1], j)[None, :]
        if head.mask is not None:
            _, rows, columns = head.mask.shape
            start = (head.mask_at, first_i if rows > 1 else jnp.int32(0), first_j if columns > 1 else jnp.int32(0))
            size = (1, self.block_q if rows > 1 else 1, self.block_k if columns > 1 else 1)
            seen &= jax.lax.dynamic_slice(head.mask, start, size)[0]
        return seen


OWN = {"q": 2, "k": 2, "v": 2, "mask": 2, "lengths": 0, "segments": 1, "segments of keys": 1}
"""Axes that follow the leading ones."""

Sizes = tuple[Tiles, Tiles]
"""One head cut into large blocks, and into small ones."""


def _visit(
    body: Callable[..., Any], carry: tuple[Array, ...], along: str, sizes: Sizes, head: Head
) -> tuple[Array, ...]:
    """Run pieces = body(pieces, tiles, i, j, part) over the visited blocks; part: some of its pairs may be hidden.

    The pieces are what a block reads and writes of the carried arrays: rows of query block i or of key block j, as
    `along` says of each, q or k. Where a choice is made while the program runs, it is between pieces and not between
    whole arrays: wherever heads run at once, both ways are computed.
    """
    large, small = sizes
    hidden = head.mask is not None or head.length is not None or head.ids is not None
    blocks = cover(large.n, large.m, large[2:4], small[2:4], large.causal, large.window)
    for tiles, pairs, part in zip((large, small, small), blocks, (hidden, hidden, True), strict=True):
        if len(pairs):
            steps = jnp.asarray(pairs, jnp.int32)

            def step(carry: Any, here: Any, tiles: Tiles = tiles, part: bool = part) -> tuple[Any, None]:
                (i, j), meet = here
                cut = {"q": (i * tiles.block_q, tiles.block_q), "k": (j * tiles.block_k, tiles.block_k)}
                pieces = tuple(
                    jax.lax.dynamic_slice_in_dim(x, *cut[side]) for x, side in zip(carry, along, strict=True)
                )
                run = partial(body, tiles=tiles, i=i, j=j, part=part)
                pieces = run(pieces) if meet is None else jax.lax.cond(meet, run, lambda pieces: pieces, pieces)
                return tuple(
                    jax.lax.dynamic_update_slice_in_dim(x, y, cut[side][0], 0)
                    for x, y, side in zip(carry, pieces, along, strict=True)
                ), None

            if head.ids is None:
                carry, _ = jax.lax.scan(step, carry, (steps, None))
            else:
                carry, _ = jax.lax.scan(
                    partial(_unless_empty, step), carry, _sorted(steps, meeting(head.ids, pairs, *tiles[2:4]))
                )
    return carry


TURNS = 16
"""Into so many parts a list of blocks is cut if segments decide which of them are visited."""


def _sorted(steps: Array, meets: Array) -> tuple[Array, Array]:
    """Put blocks that are visited first, and cut the list: of its parts only one holds both kinds."""
    order = jnp.argsort(~meets, stable=True)
    size = -(-len(steps) // TURNS)
    rest = -len(steps) % size
    steps, meets = jnp.pad(steps[order], ((0, rest), (0, 0))), jnp.pad(meets[order], (0, rest))
    return steps.reshape(-1, size, 2), meets.reshape(-1, size)


def _unless_empty(step: Callable[..., Any], carry: Any, some: tuple[Array, Array]) -> tuple[Any, None]:
    """Visit a part of a sorted list. A step that is left out still copies what it could have changed."""
    return jax.lax.cond(
        some[1][0], lambda carry: jax.lax.scan(step, carry, some)[0], lambda carry: carry, carry
    ), None


@partial(jax.jit, static_argnums=0)
def _attend(sizes: Sizes, arrays: dict[str, Any], shared: dict[str, Array]) -> tuple[Array, Array]:
    """Attend in every head to arrays as `flash_attention` takes them, lengths no larger than m."""
    given: list[Any] = [arrays[a] for a in OWN]
    lead = np.broadcast_shapes(*(x.shape[:-2] for x in given[:3]))
    given = [None if x is None else lift(x, len(lead) + own) for x, own in zip(given, OWN.values(), strict=True)]
    index = share([(1,) * len(lead) if x is None else x.shape[: len(lead)] for x in given])
    flat: list[Any] = [None if x is None else x.reshape(-1, *x.shape[len(lead) :]) for x in given]
    q, k, v, factor = _vary_alike((*flat[:3], shared["scale"]), (*flat, shared["scale"]))
    o, lse = _flash(sizes, index, q, k, v, *flat[3:], factor)
    return o.reshape(*lead, *o.shape[1:]), lse.reshape(*lead, *lse.shape[1:])


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _flash(sizes: Sizes, index: Index, *args: Any) -> tuple[Array, Array]:
    return _flash_forward(sizes, index, *args)[0]


def _flash_forward(sizes: Sizes, index: Index, *args: Any) -> tuple[tuple[Array, Array], tuple[Any, ...]]:
    (o, c, z), _ = each_head(lambda where, _: (_head_forward(sizes, Head.of(args, where)), ()), index, ())
    return (o, jnp.where(z != 0, c + jnp.log(z), -jnp.inf)), (args, o, c, z)


def _flash_backward(sizes: Sizes, index: Index, kept: Any, gradients: Any) -> tuple[Array | None, ...]:
    args, *own = kept
    q, k, v, *_, factor = args

    def run(where: Array, x: Any) -> Any:
        return (), _head_backward(sizes, Head.of(args, where), *x)

    totals = [jnp.zeros_like(x, dtype=factor.dtype) for x in (q, k, v)]
    _, (dq, dk, dv) = each_head(run, index, (*own, *gradients), totals)
    # dq is the gradient of factor · q.
    d_factor = (dq * q.astype(dq.dtype)).sum()
    dq = dq * factor
    return dq.astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype), None, None, None, None, d_factor


_flash.defvjp(_flash_forward, _flash_backward)


class Head(NamedTuple):
    """What one head reads: q (n, d_k) times the factor of the scores, k (m, d_k), v (m, d_v), what hides pairs."""

    q: Array
    k: Array
    v: Array
    mask: Array | None
    mask_at: Array
    length: Array | None
    ids: tuple[Array, Array] | None

    @classmethod
    def of(cls, args: tuple[Any, ...], where: Array) -> Head:
        """Pick from the arrays of all heads."""
        q, k, v, mask, lengths, q_ids, k_ids, factor = args
        length = None if lengths is None else at(lengths, where[4])
        ids = None if q_ids is None else (at(q_ids, where[5]), at(k_ids, where[6]))
        return cls(_scaled(at(q, where[0]), factor), at(k, where[1]), at(v, where[2]), mask, where[3], length, ids)


def _head_forward(sizes: Sizes, head: Head) -> tuple[Array, Array, Array]:
    """Attend in one head: return o, the largest scores c and the sums z."""
    q, k, v = head[:3]
    ill_k = bad(k) | bad(v)

    def body(pieces: tuple[Array, ...], tiles: Tiles, i: Array, j: Array, part: bool) -> tuple[Array, ...]:
        c, z, o = pieces
        q_i, k_j, v_j = tiles.rows(q, i), tiles.columns(k, j).astype(q.dtype), tiles.columns(v, j).astype(q.dtype)
        ill = tiles.columns(ill_k, j)
        if part:
            # 0 · NaN is NaN: a weight of zero does not hide a bad value, so it is replaced, and its key gets the NaN.
            k_j, v_j = jnp.where(ill[:, None], jnp.nan, k_j), jnp.where(ill[:, None], 0, v_j)
        s = q_i @ k_j.T
        if part:
            s = jnp.where(tiles.visible(i, j, head), s, -jnp.inf)
        top = jnp.maximum(c, s.max(axis=1))
        p, shrink = exp_nonpositive(s - top[:, None]), exp_nonpositive(c - top)
        z = z * shrink + p.sum(axis=1)
        if not part:
            z = z + jnp.where(ill.any(), jnp.nan, 0).astype(z.dtype)
        o = o * shrink[:, None] + p @ v_j
        return top, z, o

    # The lowest number, not −∞: −∞ − (−∞) is NaN, and a block whose pairs are all hidden must add nothing.
    lowest = jnp.full_like(q[:, 0], np.finfo(q.dtype).min)
    start = (lowest, jnp.zeros_like(lowest), jnp.zeros_like(lowest, shape=(len(q), v.shape[-1])))
    c, z, o = _visit(body, start, "qqq", sizes, head)
    return (o / jnp.where(z == 0, 1, z)[:, None]).astype(v.dtype), c, z


def _head_backward(
    sizes: Sizes, head: Head, o: Array, c: Array, z: Array, do: Array, dlse: Array
) -> tuple[Array, Array, Array]:
    """Return the gradients of factor · q, k and v of one head, in the dtype of the factor."""
    q, k, v = head[:3]
    # With p = e^(s − c) / z: dv = pᵀ do and ds = p ∘ (do vᵀ − Σ do o + dlse). The 1 / z goes into do once.
    z = jnp.where(z == 0, 1, z)
    do = do.astype(q.dtype)
    shift = ((do * o.astype(q.dtype)).sum(axis=1) - dlse) / z
    do = do / z[:, None]
    # A query with a bad number in its output or its gradient: NaN in its scores, nothing that 0 · NaN could spread.
    ill_q = bad(do) | ~jnp.isfinite(shift + c)
    do, shift, c = jnp.where(ill_q[:, None], 0, do), jnp.where(ill_q, 0, shift), jnp.where(ill_q, jnp.nan, c)
    ill_k = bad(k) | bad(v)

    def body(pieces: tuple[Array, ...], tiles: Tiles, i: Array, j: Array, part: bool) -> tuple[Array, ...]:
        q_i, do_i, shift_i, c_i = (tiles.rows(x, i) for x in (q, do, shift, c))
        k_j, v_j = tiles.columns(k, j).astype(q.dtype), tiles.columns(v, j).astype(q.dtype)
        # No visible score is above its maximum; rounded differently, a huge one could be.
        s = q_i @ k_j.T - c_i[:, None]
        p = exp_nonpositive(jnp.where(s > 0, 0, s))
        if part:
            p = jnp.where(tiles.visible(i, j, head), p, 0)
            ill = tiles.columns(ill_k, j)[:, None]
            q_i, k_j, v_j = finite(q_i), jnp.where(ill, 0, k_j), jnp.where(ill, 0, v_j)
        ds = p * (do_i @ v_j.T - shift_i[:, None])
        dq, dk, dv = pieces
        return dq + ds @ k_j, dk + ds.T @ q_i, dv + p.T @ do_i

    start = tuple(jnp.zeros_like(x, dtype=q.dtype) for x in (q, k, v))
    small = sizes[1]
    dq, dk, dv = _visit(body, start, "qkk", (small, small), head)
    return dq, dk, dv


def _vary_alike(xs: tuple[Array, ...], among: tuple[Any, ...]) -> tuple[Array, ...]:
    """Inside `jax.shard_map`, let xs differ between devices as soon as one of `among` does: loops ask for it."""

    def axes(x: Array) -> frozenset[str]:
        kind: Any = jax.typeof(x)
        return frozenset(kind.manual_axis_type.varying if hasattr(kind, "manual_axis_type") else kind.vma)

    every = frozenset().union(*(axes(x) for x in among if x is not None))
    missing = [tuple(every - axes(x)) for x in xs]
    lax: Any = jax.lax  # the name changed between the oldest JAX we promise and the newest
    vary = partial(lax.pcast, to="varying") if hasattr(lax, "pcast") else lax.pvary
    return tuple(vary(x, m) if m else x for x, m in zip(xs, missing, strict=True))


def _scaled(q: Array, factor: Array) -> Array:
    """Put the factor into q once, not into every score. A row with a bad number becomes NaN as a whole."""
    q = q.astype(factor.dtype) * factor
    return q + jnp.where(bad(q), jnp.nan, 0).astype(q.dtype)[:, None]
