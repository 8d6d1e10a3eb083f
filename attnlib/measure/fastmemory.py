"""A fast memory that counts: attention run loop by loop on a machine where only moving numbers costs.

`materialised` and `tiled` compute real attention, and its gradients, in NumPy and float64. Every array they compute
with has been loaded into a `FastMemory`, which refuses to hold more than its capacity and counts what goes in and
out. What they count is what `cost.attention_io` and `cost.flash_attention_io` say. For teaching and tests: slow.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from attnlib import _check
from attnlib.measure._fast import FastMemory as FastMemory
from attnlib.measure._fast import Matrix, cut, delta_of, product, softmax

Pairs = np.ndarray[Any, np.dtype[np.bool_]]


def materialised(fast: FastMemory, q: Matrix, k: Matrix, v: Matrix, do: Matrix | None = None) -> tuple[Matrix, ...]:
    """Attend with all scores written to slow memory; with do, also return the gradients of q, k and v.

    Args:
        fast: the fast memory; what it has counted so far is added to.
        q: queries (n, d_k), float64.
        k: keys (m, d_k).
        v: values (m, d_v).
        do: gradient of the output (n, d_v).

    Returns:
        (o,), or (o, dq, dk, dv).

    Raises:
        ValueError: arrays that are not matrices or do not fit one another.

    Example:
        >>> import numpy as np
        >>> fast, x = FastMemory(100), np.zeros((8, 2))
        >>> (o,) = materialised(fast, x, x, x)
        >>> fast.read, fast.written
        (176, 144)
    """
    _check_inputs("materialised", q, k, v, do)
    n, m, scale = len(q), len(k), 1 / math.sqrt(q.shape[1])
    w = product(fast, q * scale, k.T)  # a factor costs nothing on the way
    softmax(fast, w)
    o = product(fast, w, v)
    if do is None:
        return (o,)
    delta = delta_of(fast, o, do)
    dv = product(fast, w.T, do)
    ds = product(fast, do, v.T)
    for i in range(n):
        shift = fast.load(delta[i : i + 1])
        for j in range(m):
            here, weight = fast.load(ds[i, j : j + 1]), fast.load(w[i, j : j + 1])
            here[:] = weight * (here - shift) * scale
            fast.store(ds[i, j : j + 1], here)
            fast.free(here, weight)
        fast.free(shift)
    return o, product(fast, ds, k), product(fast, ds.T, q), dv


def tiled(
    fast: FastMemory,
    q: Matrix,
    k: Matrix,
    v: Matrix,
    do: Matrix | None = None,
    *,
    blocks: tuple[int, int],
    blocks_backward: tuple[int, int] | None = None,
    outer: str = "queries",
    visible: Pairs | None = None,
) -> tuple[Matrix, ...]:
    """Attend block by block with an online softmax; with do, also return the gradients of q, k and v.

    Args:
        fast: the fast memory; what it has counted so far is added to.
        q: queries (n, d_k), float64.
        k: keys (m, d_k).
        v: values (m, d_v).
        do: gradient of the output (n, d_v).
        blocks: queries and keys in a block.
        blocks_backward: the same for the backward pass.
        outer: the loop outside, "queries" or "keys".
        visible: the pairs that may meet, boolean (n, m); a block without any is not touched.

    Returns:
        (o,), or (o, dq, dk, dv). A query that sees nothing gets zeros.

    Raises:
        ValueError: arrays that are not matrices or do not fit one another, a block below 1, another loop.
        MemoryError: blocks that do not fit in the fast memory.

    Example:
        >>> import numpy as np
        >>> fast, x = FastMemory(100), np.zeros((8, 2))
        >>> (o,) = tiled(fast, x, x, x, blocks=(8, 4))
        >>> fast.read, fast.written, fast.most
        (48, 32, 96)
    """
    _check_inputs("tiled", q, k, v, do)
    if outer not in ("queries", "keys"):
        raise ValueError(f"tiled: outer: expected 'queries' or 'keys', got {outer!r}")
    for name, pair in {"blocks": blocks, "blocks_backward": blocks_backward or blocks}.items():
        if len(pair) != 2 or not all(map(_check.whole, pair)):
            raise ValueError(f"tiled: {name}: expected two integers of at least 1, got {pair!r}")
    (n, d_k), (m, d_v) = q.shape, v.shape
    if visible is not None and visible.shape != (n, m):
        raise ValueError(f"tiled: visible: expected shape {(n, m)}, got {visible.shape}")
    scale = 1 / math.sqrt(d_k)
    seen = np.ones((n, m), bool) if visible is None else visible
    o, stats = np.zeros((n, d_v)), np.zeros((n, 2))

    def start(rows: int) -> tuple[Matrix, Matrix]:
        sums = fast.new(rows, 2)
        sums[:, 0] = -np.inf
        return sums, fast.new(rows, d_v)

    def update(q_i: Matrix, k_j: Matrix, v_j: Matrix, sums: Matrix, out: Matrix, pairs: Pairs) -> None:
        """Absorb a block of keys: sums are the maximum c and the sum z, out is o times z."""
        s = fast.new(len(q_i), len(k_j))
        s[...] = np.where(pairs, scale * q_i @ k_j.T, -np.inf)
        c = np.maximum(sums[:, 0], s.max(axis=1))
        finite = np.where(np.isfinite(c), c, 0)
        s[...] = np.exp(s - finite[:, None])
        shrink = np.exp(sums[:, 0] - finite)
        out[...] = shrink[:, None] * out + s @ v_j
        sums[:, 1] = shrink * sums[:, 1] + s.sum(axis=1)
        sums[:, 0] = c
        fast.free(s)

    def divide(out: Matrix, sums: Matrix) -> None:
        out /= np.where(sums[:, 1:] == 0, 1, sums[:, 1:])

    rows, columns = list(cut(n, blocks[0])), list(cut(m, blocks[1]))
    last = {i: max((j for j, b in enumerate(columns) if seen[a, b].any()), default=-1) for i, a in enumerate(rows)}
    first = {i: min((j for j, b in enumerate(columns) if seen[a, b].any()), default=-1) for i, a in enumerate(rows)}
    # Queries outside: their sums stay until every key has passed, and are divided and stored once. Keys outside: the
    # sums of each block of queries come back for every block of keys, unfinished, until the last one that it sees.
    if outer == "queries":
        for i, a in enumerate(rows):
            q_i = fast.load(q[a]) if last[i] >= 0 else fast.new(0)
            sums, out = start(a.stop - a.start)
            for b in columns:
                if seen[a, b].any():
                    k_j, v_j = fast.load(k[b]), fast.load(v[b])
                    update(q_i, k_j, v_j, sums, out, seen[a, b])
                    fast.free(k_j, v_j)
            divide(out, sums)
            fast.store(o[a], out)
            fast.store(stats[a], sums)
            fast.free(q_i, sums, out)
    else:
        for j, b in enumerate(columns):
            if not seen[:, b].any():
                continue
            k_j, v_j = fast.load(k[b]), fast.load(v[b])
            for i, a in enumerate(rows):
                if seen[a, b].any():
                    q_i = fast.load(q[a])
                    sums, out = start(a.stop - a.start) if j == first[i] else (fast.load(stats[a]), fast.load(o[a]))
                    update(q_i, k_j, v_j, sums, out, seen[a, b])
                    if j == last[i]:
                        divide(out, sums)
                    fast.store(o[a], out)
                    fast.store(stats[a], sums)
                    fast.free(q_i, sums, out)
            fast.free(k_j, v_j)
        for i, a in enumerate(rows):
            if last[i] < 0:  # this block of queries sees nothing
                sums, out = start(a.stop - a.start)
                fast.store(o[a], out)
                fast.store(stats[a], sums)
                fast.free(sums, out)
    if do is None:
        return (o,)
    gradients = _tiled_backward(fast, q, k, v, do, o, stats, seen, blocks_backward or blocks, outer, scale)
    return (o, *gradients)


def _tiled_backward(
    fast: FastMemory,
    q: Matrix,
    k: Matrix,
    v: Matrix,
    do: Matrix,
    o: Matrix,
    stats: Matrix,
    seen: Pairs,
    blocks: tuple[int, int],
    outer: str,
    scale: float,
) -> tuple[Matrix, Matrix, Matrix]:
    """Compute each block of scores again; what the inner loop adds to starts on its first visit, then is reloaded."""
    delta = delta_of(fast, o, do)
    per_query, per_key = (q, do, stats, delta), (k, v)
    d_query, d_key = (np.zeros_like(q),), (np.zeros_like(k), np.zeros_like(v))
    rows, columns = list(cut(len(q), blocks[0])), list(cut(len(k), blocks[1]))
    # Both orders are one loop: `stay` is what is loaded once a turn and keeps its gradient beside it, `pass_by` comes
    # and goes with its unfinished gradient, which is new the first time (`started`) and loaded afterwards.
    queries_stay = outer == "queries"
    stay, pass_by = ((per_query, d_query, rows), (per_key, d_key, columns))[:: 1 if queries_stay else -1]
    started = set()
    for a in stay[2]:
        others = [b for b in pass_by[2] if (seen[a, b] if queries_stay else seen[b, a]).any()]
        inputs = [fast.load(x[a]) for x in stay[0]] if others else []
        sums = [fast.new(*x[a].shape) for x in stay[1]]
        for b in others:
            passing = [fast.load(x[b]) for x in pass_by[0]]
            again = b.start in started
            totals = [fast.load(x[b]) if again else fast.new(*x[b].shape) for x in pass_by[1]]
            started.add(b.start)
            if queries_stay:
                _gradient_of_block(fast, (*inputs, *passing), (*sums, *totals), seen[a, b], scale)
            else:
                _gradient_of_block(fast, (*passing, *inputs), (*totals, *sums), seen[b, a], scale)
            for x, total in zip(pass_by[1], totals, strict=True):
                fast.store(x[b], total)
            fast.free(*passing, *totals)
        for x, total in zip(stay[1], sums, strict=True):
            fast.store(x[a], total)
        fast.free(*inputs, *sums)
    for b in pass_by[2]:
        if b.start not in started:  # a block that meets no other has zeros for a gradient
            for x in pass_by[1]:
                zeros = fast.new(*x[b].shape)
                fast.store(x[b], zeros)
                fast.free(zeros)
    return (*d_query, *d_key)


def _gradient_of_block(
    fast: FastMemory,
    inputs: tuple[Matrix, ...],
    sums: tuple[Matrix, ...],
    pairs: Pairs,
    scale: float,
) -> None:
    """Add what a block contributes to dq, dk and dv."""
    q, do, stats, delta, k, v = inputs
    dq, dk, dv = sums
    p, ds = fast.new(len(q), len(k)), fast.new(len(q), len(k))
    top, total = np.where(np.isfinite(stats[:, :1]), stats[:, :1], 0), np.where(stats[:, 1:] == 0, 1, stats[:, 1:])
    p[...] = np.exp(np.where(pairs, scale * q @ k.T, -np.inf) - top) / total
    ds[...] = scale * p * (do @ v.T - delta[:, None])
    dq += ds @ k
    dk += ds.T @ q
    dv += p.T @ do
    fast.free(p, ds)


def _check_inputs(function: str, q: Matrix, k: Matrix, v: Matrix, do: Matrix | None) -> None:
    arrays = {"q": q, "k": k, "v": v} | ({} if do is None else {"do": do})
    for name, x in arrays.items():
        if x.ndim != 2 or 0 in x.shape:
            raise ValueError(f"{function}: {name}: expected two axes, neither of length 0, got shape {x.shape}")
    expected = {"k": (len(k), q.shape[1]), "v": (len(k), v.shape[1]), "do": (len(q), v.shape[1])}
    for name, shape in expected.items():
        if name in arrays and arrays[name].shape != shape:
            raise ValueError(f"{function}: {name}: expected shape {shape}, got {arrays[name].shape}")
