"""Cost of multi-head latent attention: the layer, its cache, a step of generation. No JAX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from attnlib import _check
from attnlib.cost._sizes import Number, itemsize, itemsizes, parts, quotient, size, symbolic
from attnlib.cost.algebra import Cost, Step, product_backward
from attnlib.cost.flash import flash_attention


def latent_attention(
    n: Number,
    d: Number,
    h: Number,
    *,
    rank: Number | None = None,
    rank_q: Number | None = None,
    d_k: Number | None = None,
    d_rope: Number | None = None,
    d_v: Number | None = None,
    causal: bool = False,
    absorbed: bool = False,
    batch: Number = 1,
    backward: bool = False,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.latent_attention`: down to latents, up to heads, attention in tiles, projection out.

    Scores and values take 2hn²(d_k + d_rope + d_v) FLOPs in matrix products, absorbed 2hn²(2 rank + d_rope): for one
    pass over many positions that is more, the fewer numbers are read.

    Args:
        n: positions.
        d: model width.
        h: heads.
        rank: width of the latent; 4 d_k by default.
        rank_q: width of a latent of the queries; None if they are made of x itself.
        d_k: width of a head's queries and keys without the rotary part; d/h by default.
        d_rope: width of the rotary part; d_k/2 by default, rounded up to an even number.
        d_v: width of a head's values; d_k by default.
        causal: as in `flash_attention`.
        absorbed: attend to the latents, as one head of keys, instead of keys and values of each head.
        batch: sequences.
        backward: add the gradients with respect to x and the parameters.
        dtype: of x and the parameters; norms, rotations, scores and sums are float32 at least.

    Returns:
        A `Cost` with the steps "down", "norm", "up", "rotary", those of `flash_attention`, "output", and absorbed
        "absorb" before and "values up" after them. FLOPs in matrix products are those of the program, and so are all
        of the forward pass but for the tiles.

    Raises:
        ValueError: a size below 1 or not whole, an odd d_rope, heads that do not divide the width, an unknown dtype.

    Source: DeepSeek-AI (2024), section 2.1.

    Example:
        >>> sizes = {"rank": 512, "rank_q": 1536, "d_k": 128, "d_rope": 64}  # DeepSeek-V2
        >>> expanded, absorbed = (latent_attention(4096, 5120, 128, **sizes, absorbed=a) for a in (False, True))
        >>> absorbed["scores"].matmul_flops / expanded["scores"].matmul_flops
        3.0
        >>> expanded.parameters
        149227520
    """
    name = "cost.latent_attention"
    n, batch = size(name, "n", n), size(name, "batch", batch)
    s = _sizes(name, d, h, rank, rank_q, d_k, d_rope, d_v)
    _check.flags(name, absorbed=absorbed)
    b, wide = itemsizes(name, dtype)
    d_q = s.d_k + s.d_rope
    q, k, v = (s.rank + s.d_rope, s.rank + s.d_rope, s.rank) if absorbed else (d_q, s.h * d_q, s.h * s.d_v)
    o = s.rank if absorbed else s.d_v
    with _check.named(name, "cost.flash_attention"):
        core = flash_attention(
            n,
            q,
            d_v=o,
            h=s.h,
            h_kv=1 if absorbed else s.h,
            batch=batch,
            causal=causal,
            backward=backward,
            dtype=dtype,
        )
    p = batch * n
    before, after = _around(s, p, n, b, wide, absorbed)
    steps: tuple[Step, ...] = (*before, *core.steps[:3], *after)
    if backward:
        # What reads x: two products, whose gradients with respect to it are added.
        back = {step.name: _step_backward(step, p * s.d) for step in (*before, *after)}
        steps = (*steps, *(back[step.name] for step in reversed(after)), *core.steps[3:])
        steps = (*steps, *(back[step.name] for step in reversed(before)))
    weights = s.weights
    # x, latents before their norms and what products read after them, and the sums of values; absorbed also the
    # queries before they are. Angles are made of positions alone.
    kept = s.d + s.rank + 2 * s.low + s.h * s.d_v + (s.h * (s.d_k + s.rank) if absorbed else s.rank)
    return Cost(
        steps,
        parameters=weights,
        live=core.live + b * p * (s.h * (q + o) + k + v),
        saved=core.saved + b * (p * kept + weights),
        path=1,
    )


def latent_step(
    t: Number,
    d: Number,
    h: Number,
    *,
    rank: Number | None = None,
    rank_q: Number | None = None,
    d_k: Number | None = None,
    d_rope: Number | None = None,
    d_v: Number | None = None,
    absorbed: bool = True,
    batch: Number = 1,
    dtype: Any = "float32",
) -> Cost:
    """Cost of `attnlib.latent_step` with t slots read: one position attends to t, its own included.

    Scores and values take 2ht(2 rank + d_rope) FLOPs in matrix products; not absorbed 2ht(d_k + d_rope + d_v), and
    2ht·rank(d_k + d_v) for the keys and values that are made anew.

    Args:
        t: slots that are read: all of the capacity, or `context`.
        d: model width.
        h: heads.
        rank: as in `latent_attention`.
        rank_q: as in `latent_attention`.
        d_k: as in `latent_attention`.
        d_rope: as in `latent_attention`.
        d_v: as in `latent_attention`.
        absorbed: as in `attnlib.latent_step`.
        batch: sequences.
        dtype: of x, the parameters and the cache.

    Returns:
        A `Cost` with the steps "down", "norm", "up", "rotary", "scores", "softmax", "values" and "output", and
        absorbed "absorb" and "values up", else "keys and values". The bytes read are those of the parameters, of the
        cache, once, and of what is made of it.

    Raises:
        ValueError: as `latent_attention`.

    Source: DeepSeek-AI (2024), section 2.1 and appendix C.

    Example:
        >>> sizes = {"rank": 512, "rank_q": 1536, "d_k": 128, "d_rope": 64}  # DeepSeek-V2
        >>> absorbed, expanded = (latent_step(4096, 5120, 128, **sizes, absorbed=a) for a in (True, False))
        >>> round(expanded.matmul_flops / absorbed.matmul_flops)
        96
    """
    name = "cost.latent_step"
    t, batch = size(name, "t", t), size(name, "batch", batch)
    s = _sizes(name, d, h, rank, rank_q, d_k, d_rope, d_v)
    _check.flags(name, absorbed=absorbed)
    b, wide = itemsizes(name, dtype)
    before, after = _around(s, batch, 1, b, wide, absorbed, step=True)
    scores, slots = batch * s.h * t, batch * t
    q, v = (s.rank, s.rank) if absorbed else (s.d_k, s.d_v)
    made = slots * s.h * (s.d_k + s.d_v)
    expand = Step(
        "keys and values",
        2 * slots * s.rank * s.h * (s.d_k + s.d_v),
        bytes_read=b * (slots * s.rank + s.rank * s.h * (s.d_k + s.d_v)),
        bytes_written=wide * made,
        allocated=wide * made,
        calls=2,
    )
    # A latent is read once where it is both key and value.
    held = b * slots * (s.rank + s.d_rope) if absorbed else b * slots * s.d_rope + wide * slots * s.h * s.d_k
    core = (
        # Two products, of both parts of the queries, and their sum; the scale multiplies the query.
        Step(
            "scores",
            2 * scores * (q + s.d_rope),
            batch * s.h * (q + s.d_rope) + scores,
            bytes_read=b * batch * s.h * (q + s.d_rope) + held,
            bytes_written=wide * scores,
            allocated=wide * scores,
            calls=2,
        ),
        Step("softmax", 0, 3 * scores, scores, bytes_read=wide * scores, bytes_written=wide * scores),
        Step(
            "values",
            2 * scores * v,
            batch * s.h * v,
            bytes_read=wide * scores + (0 if absorbed else wide * slots * s.h * s.d_v),
            bytes_written=b * batch * s.h * v,
            allocated=b * batch * s.h * v,
        ),
    )
    steps = (*before, *(() if absorbed else (expand,)), *core, *after)
    return Cost(steps, parameters=s.weights, live=2 * wide * scores + (0 if absorbed else wide * made), path=1)


def latent_cache(
    m: Number,
    rank: Number,
    d_rope: Number,
    *,
    layers: Number = 1,
    batch: Number = 1,
    dtype: Any = "bfloat16",
) -> Number:
    """Return the bytes that hold the latents and rotary keys of m positions.

    batch · layers · m · (rank + d_rope) numbers

    No factor 2 for keys and values, which are made of the same latent, and no factor for heads, which share it.

    Args:
        m: positions held.
        rank: width of a latent.
        d_rope: width of a rotary key, even.
        layers: layers that each hold their own.
        batch: sequences.
        dtype: of the cache.

    Returns:
        Bytes.

    Raises:
        ValueError: a size below 1 or not whole, an odd d_rope, an unknown dtype.

    Source: DeepSeek-AI (2024), table 1.

    Example:
        >>> latent_cache(1, 512, 64, layers=60)  # DeepSeek-V2: 576 numbers a layer
        69120
        >>> from attnlib.cost import kv_cache
        >>> kv_cache(1, 192, d_v=128, h_kv=128, layers=60) / latent_cache(1, 512, 64, layers=60)
        71.11111111111111
    """
    name = "cost.latent_cache"
    m, rank, d_rope = size(name, "m", m), size(name, "rank", rank), size(name, "d_rope", d_rope)
    _even(name, d_rope)
    return size(name, "batch", batch) * size(name, "layers", layers) * m * (rank + d_rope) * itemsize(name, dtype)


class _Sizes(NamedTuple):
    d: Number
    h: Number
    rank: Number
    rank_q: Number | None
    d_k: Number
    d_rope: Number
    d_v: Number

    @property
    def low(self) -> Number:
        """Width of the latent of queries, 0 without one."""
        return 0 if self.rank_q is None else self.rank_q

    @property
    def weights(self) -> Number:
        queries, low = self.h * (self.d_k + self.d_rope), self.low
        first = self.d * queries if self.rank_q is None else low * (self.d + queries + 1)
        latents = self.d * (self.rank + self.d_rope) + self.rank
        return first + latents + self.h * (self.rank * (self.d_k + self.d_v) + self.d_v * self.d)


def _sizes(name: str, d: Any, h: Any, rank: Any, rank_q: Any, d_k: Any, d_rope: Any, d_v: Any) -> _Sizes:
    d, h = size(name, "d", d), size(name, "h", h)
    d_k = quotient(name, "h", h, "d", d) if d_k is None else size(name, "d_k", d_k)
    rank = 4 * d_k if rank is None else size(name, "rank", rank)
    d_rope = 2 * parts(d_k, 4) if d_rope is None else size(name, "d_rope", d_rope)
    _even(name, d_rope)
    rank_q = None if rank_q is None else size(name, "rank_q", rank_q)
    return _Sizes(d, h, rank, rank_q, d_k, d_rope, d_k if d_v is None else size(name, "d_v", d_v))


def _even(name: str, d_rope: Number) -> None:
    """Raise unless a width that is a number is even."""
    if not symbolic(d_rope) and np.any(np.asarray(d_rope % 2)):
        raise ValueError(f"{name}: d_rope: expected an even number, got {d_rope}")


def _around(
    s: _Sizes, p: Number, n: Number, b: int, wide: int, absorbed: bool, step: bool = False
) -> tuple[list[Step], list[Step]]:
    """Return the steps before attention and after it, for p positions in all and n of one sequence.

    In a step of generation that is not absorbed keys and values are made of the cache, and not here.
    """
    d_q, low = s.d_k + s.d_rope, s.rank_q is not None

    def product(name: str, *matrices: tuple[Number, Number, Number]) -> Step:
        """Products with matrices that read and write so many numbers for a position and hold so many."""
        reads, writes, weights = (sum(x) for x in zip(*matrices, strict=True))
        if name == "down":
            reads = s.d  # once for both
        return Step(
            name,
            2 * p * weights,
            bytes_read=b * (p * reads + weights),
            bytes_written=b * p * writes,
            allocated=b * p * writes,
            calls=len(matrices),
        )

    queries = (s.low if low else s.d, s.h * d_q, (s.low if low else s.d) * s.h * d_q)
    latents = (s.d, s.rank + s.d_rope, s.d * (s.rank + s.d_rope))
    up = [queries] if low else []
    if not absorbed and not step:
        up += [(s.rank, s.h * width, s.rank * s.h * width) for width in (s.d_k, s.d_v)]
    norms = s.rank + s.low
    turned = p * (s.h + 1) * s.d_rope
    before = [
        product("down", (s.d, s.low, s.d * s.low) if low else queries, latents),
        # Square, add, divide and multiply by the gain, for each number; for each row divide, and add ε.
        Step(
            "norm",
            0,
            4 * p * norms + 2 * p * (1 + low),
            p * (1 + low),
            bytes_read=b * p * norms,
            bytes_written=b * p * norms,
            allocated=b * p * norms,
            calls=1 + low,
        ),
        *([product("up", *up)] if up else []),
        # Three FLOPs a number; for each pair an angle, with its cosine, sine and the opposite of it.
        Step(
            "rotary",
            0,
            3 * turned + n * s.d_rope,
            n * s.d_rope,
            bytes_read=b * turned + wide * n * s.d_rope,
            bytes_written=b * turned + wide * n * s.d_rope,
            allocated=b * turned + wide * n * s.d_rope,
            calls=2,
        ),
        *([product("absorb", (s.h * s.d_k, s.h * s.rank, s.h * s.d_k * s.rank))] if absorbed else []),
    ]
    after = [product("output", (s.h * s.d_v, s.d, s.h * s.d_v * s.d))]
    if absorbed:
        after.insert(0, product("values up", (s.h * s.rank, s.h * s.d_v, s.h * s.rank * s.d_v)))
    return before, after


def _step_backward(step: Step, sums: Number) -> Step:
    """Return the gradient of a step: two products for each, or about twice the arithmetic."""
    if step.name not in ("norm", "rotary"):
        return replace(product_backward(step), other_flops=sums if step.name == "down" else 0)
    return Step(
        f"{step.name}, backward",
        0,
        2 * step.other_flops,
        bytes_read=2 * step.bytes_read,
        bytes_written=step.bytes_written,
        allocated=step.allocated,
        calls=step.calls,
    )
