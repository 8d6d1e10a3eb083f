"""Tests of *A kernel* that students do not see."""

# leakkernelxq

from typing import Any

import numpy as np

from attnlib import reference
from tools.assignments.harness import near, test


def inputs(given: dict[str, Any], n: int, m: int, size: float = 1.0, more: int = 0) -> list[Any]:
    """Queries, keys, values and a gradient, in float32; scores are of about that size."""
    rng = np.random.default_rng([given["draw"], n, m, more])
    d_k, d_v = given["d_k"], given["d_v"]
    q, k, v, do = (rng.normal(size=shape) for shape in ((n, d_k), (m, d_k), (m, d_v), (n, d_v)))
    return [x.astype(np.float32) for x in (size * q, k, v, do)]


def dense(q: Any, k: Any, v: Any, causal: bool, mask: Any) -> tuple[Any, ...]:
    """Output, log-sums and weights in float64, from the formula. Bad numbers are to be hidden."""
    q, k, v = (np.nan_to_num(np.asarray(x, np.float64), posinf=0, neginf=0) for x in (q, k, v))
    seen = reference.visible(len(q), len(k), causal=causal, mask=mask)
    s = np.where(seen, q @ k.T / np.sqrt(q.shape[1]), -np.inf)
    top = np.where(seen.any(axis=1), s.max(axis=1), 0)
    p = np.exp(s - top[:, None])
    z = p.sum(axis=1)
    p = p / np.where(z == 0, 1, z)[:, None]
    with np.errstate(divide="ignore"):
        return p @ v, top + np.log(z), p


def gradients(q: Any, k: Any, v: Any, do: Any, p: Any) -> list[Any]:
    """Gradients in float64, from the weights."""
    q, k, v, do = (np.nan_to_num(np.asarray(x, np.float64), posinf=0, neginf=0) for x in (q, k, v, do))
    dp = do @ v.T
    ds = p * (dp - (p * dp).sum(axis=1, keepdims=True)) / np.sqrt(q.shape[1])
    return [ds @ k, ds.T @ q, p.T @ do]


def same(found: Any, wanted: Any, tolerance: float = 1e-3) -> None:
    """Fail unless numbers agree; -inf agrees with itself."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape, f"expected the shape {wanted.shape}, got {found.shape}"
    nothing = np.isneginf(wanted)
    assert (np.isneginf(found) == nothing).all(), "-inf in another place than expected"
    near(
        np.where(nothing, 0, found),
        np.where(nothing, 0, wanted),
        rel=tolerance,
        abs=max(tolerance / 10, tolerance**2),
    )


def forward(student: Any, given: dict[str, Any], q: Any, k: Any, v: Any, causal: bool, mask: Any, **how: Any) -> None:
    """Fail unless the forward pass agrees."""
    found = student.run_forward(q, k, v, causal, mask, given["block"], "float32")
    o, lse, _ = dense(q, k, v, causal, mask)
    same(found["o"], o, **how)
    same(found["lse"], lse, **how)


def backward(student: Any, given: dict[str, Any], arrays: list[Any], causal: bool, mask: Any) -> None:
    """Fail unless the backward pass agrees."""
    q, k, v, do = arrays
    o, lse, p = dense(q, k, v, causal, mask)
    o, lse = o.astype(np.float32), lse.astype(np.float32)
    found = student.run_backward(q, k, v, o, lse, do, causal, mask, given["block"])
    assert len(found) == 3, f"expected three gradients, got {len(found)}"
    for x, wanted in zip(found, gradients(q, k, v, do, p), strict=True):
        same(x, wanted)


def spotted(given: dict[str, Any], n: int, m: int) -> Any:
    """A mask that hides half of the pairs, all of two rows, and all of two columns."""
    mask = np.random.default_rng([given["draw"], 7]).random((n, m)) < 0.5
    mask[[0, n // 2]] = False
    mask[:, [1, m - 2]] = False
    mask[1, 0] = mask[n - 1, 0] = True
    return mask


def parts(given: dict[str, Any], size: float) -> tuple[list[Any], list[Any]]:
    """Scores and values in parts of different widths; a row that a part hides, and one that all do."""
    rng = np.random.default_rng([given["draw"], 8])
    widths = (3, 1, given["block"], 5)
    scores = [(size * rng.normal(size=(6, w))).astype(np.float32) for w in widths]
    values = [rng.normal(size=(w, given["d_v"])).astype(np.float32) for w in widths]
    scores[0][2] = scores[-1][3] = scores[1][:4] = -np.inf
    for s in scores:
        s[5] = -np.inf
    return scores, values


def whole(scores: list[Any], values: list[Any]) -> tuple[Any, Any]:
    """Output and log-sums of all parts at once."""
    s, v = np.concatenate(scores, axis=1).astype(np.float64), np.concatenate(values).astype(np.float64)
    top = np.where(np.isneginf(s).all(axis=1), 0, s.max(axis=1))
    p = np.exp(s - top[:, None])
    z = p.sum(axis=1)
    with np.errstate(divide="ignore"):
        return p @ v / np.where(z == 0, 1, z)[:, None], top + np.log(z)


@test("merge", points=1)
def order_of_merging(student: Any, given: dict[str, Any]) -> None:
    """Parts of different widths, merged from the left and from the right; no row is hidden."""
    scores, values = parts(given, 2.0)
    scores = [np.where(np.isneginf(s), np.float32(0), s) for s in scores]
    for right in (False, True):
        found, (o, lse) = student.run_parts(scores, values, right), whole(scores, values)
        same(found["o"], o)
        same(found["lse"], lse)


@test("merge", points=1)
def hidden_rows_of_parts(student: Any, given: dict[str, Any]) -> None:
    """A row that sees nothing in one part, or in any: zeros and -inf, and no NaN."""
    scores, values = parts(given, 2.0)
    for right in (False, True):
        found, (o, lse) = student.run_parts(scores, values, right), whole(scores, values)
        same(found["o"], o)
        same(found["lse"], lse)


@test("merge", points=1)
def large_scores_of_parts(student: Any, given: dict[str, Any]) -> None:
    """Scores of several hundred, of either sign: no overflow, and no underflow of all parts."""
    scores, values = parts(given, float(given["size"]))
    scores = [np.where(np.isneginf(s), np.float32(0), s) for s in scores]
    for shift in (0, 3 * given["size"], -3 * given["size"]):
        moved = [(s + shift).astype(np.float32) for s in scores]
        found, (o, lse) = student.run_parts(moved, values, False), whole(moved, values)
        same(found["o"], o, tolerance=1e-2)
        same(found["lse"], lse, tolerance=1e-2)


@test("visible", points=1)
def both_lengths(student: Any, given: dict[str, Any]) -> None:
    """Causal, with more keys than queries and with fewer, for some of the queries and keys."""
    for n, m in ((given["few"], given["many"]), (given["many"], given["few"])):
        i, j = np.arange(3, n, 2), np.arange(1, m, 3)
        for causal in (True, False):
            wanted = reference.visible(n, m, causal=causal)[np.ix_(i, j)]
            near(np.asarray(student.run_visible(i, j, n, m, causal, None)).astype(int), wanted.astype(int))


@test("visible", points=1)
def with_a_mask(student: Any, given: dict[str, Any]) -> None:
    """A mask, alone and together with causal."""
    n, m = given["few"], given["many"]
    i, j, mask = np.arange(3, n, 2), np.arange(1, m, 3), spotted(given, n, m)
    for causal in (True, False):
        wanted = reference.visible(n, m, causal=causal, mask=mask)[np.ix_(i, j)]
        near(np.asarray(student.run_visible(i, j, n, m, causal, mask)).astype(int), wanted.astype(int))


@test("visible", points=1)
def blocks_visited(student: Any, given: dict[str, Any]) -> None:
    """How many pairs of blocks are visited: causal and not, more keys and fewer, the last blocks shorter."""
    block, few, many = given["block"], given["few"], given["many"]
    for n, m in ((few, many), (many, few), (many, many), (4 * block, 3 * block), (1, many), (many, 1)):
        for causal in (True, False):
            seen = reference.visible(n, m, causal=causal)
            wanted = sum(
                bool(seen[i : i + block, j : j + block].any()) for i in range(0, n, block) for j in range(0, m, block)
            )
            near(student.run_visited(n, m, block, causal), wanted)


@test("forward", points=1)
def odd_lengths(student: Any, given: dict[str, Any]) -> None:
    """Lengths that are no multiples of the block, more keys than queries, one query, one key."""
    few, many = given["few"], given["many"]
    for n, m in ((few, many), (1, many), (many, 1)):
        q, k, v, _ = inputs(given, n, m)
        forward(student, given, q, k, v, False, None)


@test("forward", points=1)
def causal_lengths(student: Any, given: dict[str, Any]) -> None:
    """Causal with as many keys as queries and with more: the last query sees all keys."""
    few, many = given["few"], given["many"]
    for n, m in ((many, many), (few, many)):
        q, k, v, _ = inputs(given, n, m)
        forward(student, given, q, k, v, True, None)


@test("forward", points=1)
def hidden_rows(student: Any, given: dict[str, Any]) -> None:
    """Queries that see nothing, by a mask or because keys are fewer: zeros, and -inf as log-sum."""
    few, many = given["few"], given["many"]
    q, k, v, _ = inputs(given, few, many)
    forward(student, given, q, k, v, False, spotted(given, few, many))
    forward(student, given, q, k, v, True, spotted(given, few, many))
    q, k, v, _ = inputs(given, many, few)
    forward(student, given, q, k, v, True, None)


@test("forward", points=1)
def bad_numbers(student: Any, given: dict[str, Any]) -> None:
    """NaN and infinity in keys, values and queries that are hidden: no output changes."""
    few, many = given["few"], given["many"]
    q, k, v, _ = inputs(given, few, many)
    k[1], v[many - 2], q[0] = np.nan, np.inf, np.nan
    forward(student, given, q, k, v, False, spotted(given, few, many))
    # Hidden from all queries but the last by causal alone.
    q, k, v, _ = inputs(given, many, many)
    o, lse, _ = dense(q, k, v, True, None)
    k[-1] = v[-1] = np.nan
    found = student.run_forward(q, k, v, True, None, given["block"], "float32")
    same(np.asarray(found["o"])[:-1], o[:-1])
    same(np.asarray(found["lse"])[:-1], lse[:-1])


@test("forward", points=1)
def large_scores(student: Any, given: dict[str, Any]) -> None:
    """Scores in the hundreds: no overflow."""
    q, k, v, _ = inputs(given, given["few"], given["many"], float(given["size"]))
    forward(student, given, q, k, v, False, None, tolerance=1e-2)


def rounded(x: Any) -> Any:
    """Float32 with the seven bits of a bfloat16."""
    return (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


@test("forward", points=1)
def few_bits(student: Any, given: dict[str, Any]) -> None:
    """Inputs in bfloat16: scores and sums in float32, also over hundreds of blocks; output in bfloat16."""
    q, k, v, _ = (rounded(x) for x in inputs(given, given["many"], given["many"], 8.0))
    found = student.run_forward(q, k, v, False, None, given["block"], "bfloat16")
    o, lse, _ = dense(q, k, v, False, None)
    assert found["dtype"] == "bfloat16", f"expected an output in bfloat16, got {found['dtype']}"
    near(found["o"], o, rel=2**-7, abs=2**-7)
    near(found["lse"], lse, rel=1e-4, abs=1e-4)
    # In bfloat16 a sum of ones does not grow beyond 256.
    zeros = np.zeros((300, 1), np.float32)
    found = student.run_forward(zeros[:1], zeros, zeros + 1, False, None, 1, "bfloat16")
    near(found["o"], [[1.0]], rel=2**-7)
    near(found["lse"], [np.log(300)], rel=1e-4)


@test("forward", points=1)
def memory_forward(student: Any, given: dict[str, Any]) -> None:
    """Less than 2nm bytes of memory, arguments not counted."""
    rng = np.random.default_rng(given["draw"])
    n = given["length"]
    q, k, v = (rng.normal(size=(n, 4)).astype(np.float32) for _ in range(3))
    found = student.run_peak_forward(q, k, v, 16)
    assert 0 < found < 2 * n * n, f"{found:,} bytes, and an array of n x n takes {4 * n * n:,}"


@test("backward", points=1)
def gradients_odd_lengths(student: Any, given: dict[str, Any]) -> None:
    """Lengths that are no multiples of the block, fewer keys than queries, and one query."""
    few, many = given["few"], given["many"]
    for n, m in ((many, few), (1, many)):
        backward(student, given, inputs(given, n, m), False, None)


@test("backward", points=1)
def gradients_causal(student: Any, given: dict[str, Any]) -> None:
    """Causal, with as many keys as queries and with more."""
    few, many = given["few"], given["many"]
    for n, m in ((many, many), (few, many)):
        backward(student, given, inputs(given, n, m), True, None)


@test("backward", points=1)
def gradients_hidden_rows(student: Any, given: dict[str, Any]) -> None:
    """Queries that see nothing, and keys that nobody sees: zero gradients, and the others right."""
    few, many = given["few"], given["many"]
    backward(student, given, inputs(given, few, many), False, spotted(given, few, many))
    backward(student, given, inputs(given, few, many), True, spotted(given, few, many))
    backward(student, given, inputs(given, many, few), True, None)


@test("backward", points=1)
def gradients_bad_numbers(student: Any, given: dict[str, Any]) -> None:
    """NaN and infinity in keys, values, queries and `do` of those that see nothing or are not seen: no effect."""
    few, many = given["few"], given["many"]
    for bad_q, bad_do in ((np.nan, 1), (1, np.nan), (np.inf, np.inf)):
        q, k, v, do = inputs(given, few, many)
        k[1], v[many - 2] = np.nan, np.inf
        q[0], do[0] = bad_q, bad_do
        backward(student, given, [q, k, v, do], False, spotted(given, few, many))


@test("backward", points=1)
def gradients_beside_bad_numbers(student: Any, given: dict[str, Any]) -> None:
    """NaN and infinity that some of a block see and others do not: the gradients of the others are right."""
    block = given["block"]
    n = 2 * block - 1
    q, k, v, do = arrays = inputs(given, n, n)
    wanted_o, wanted_lse, p = dense(q, k, v, True, None)
    dq, dk, dv = gradients(q, k, v, do, p)
    for causal, mask in ((True, None), (False, np.tri(n, dtype=bool))):
        # The last key and value: the last query alone sees them, and all other keys.
        for place, bad in ((1, np.nan), (2, np.nan), (1, np.inf), (2, np.inf)):
            bads, o, lse = [x.copy() for x in arrays], wanted_o.astype(np.float32), wanted_lse.astype(np.float32)
            bads[place][-1], o[-1] = bad, np.nan
            if place == 1:
                lse[-1] = np.nan
            found = student.run_backward(*bads[:3], o, lse, bads[3], causal, mask, block)
            same(np.asarray(found[0])[:-1], dq[:-1])
        # The first query and its `do`: it sees the first key alone, and all other queries do, too.
        for place, bad in ((0, np.nan), (3, np.nan), (0, np.inf), (3, np.inf)):
            bads, o, lse = [x.copy() for x in arrays], wanted_o.astype(np.float32), wanted_lse.astype(np.float32)
            bads[place][0] = bad
            if place == 0:
                o[0] = lse[0] = np.nan
            found = student.run_backward(*bads[:3], o, lse, bads[3], causal, mask, block)
            for x, wanted in zip(found, (dq, dk, dv), strict=True):
                same(np.asarray(x)[1:], wanted[1:])


@test("backward", points=1)
def memory_backward(student: Any, given: dict[str, Any]) -> None:
    """Less than 2nm bytes of memory on the way back, arguments not counted."""
    rng = np.random.default_rng(given["draw"])
    n = given["length"]
    q, k, v, do = (rng.normal(size=(n, 4)).astype(np.float32) for _ in range(4))
    o, lse = (rng.normal(size=shape).astype(np.float32) + 9 for shape in ((n, 4), (n,)))
    found = student.run_peak_backward(q, k, v, o, lse, do, 16)
    assert 0 < found < 2 * n * n, f"{found:,} bytes, and an array of n x n takes {4 * n * n:,}"
