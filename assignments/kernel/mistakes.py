"""Solutions of *A kernel* that are wrong, with their marks, and some that are right."""

# leakkernelxq

from tools.assignments.master import Variant

MISTAKES = (
    Variant(
        "exponentials without a maximum",
        {"merge": (("top = s.max(axis=1)", "top = np.zeros(len(s), s.dtype)"),)},
        {"merge": 3, "forward": 9},
    ),
    Variant(
        "the causal mask begins top left",
        {"visible": (("j <= i + m - n", "j <= i"),)},
        {"visible": 1, "forward": 8, "backward": 5},
    ),
    Variant(
        "a row that sees nothing is divided by zero",
        {"merge": (("divisor = np.where(total == 0, 1, total)", "divisor = total"),)},
        {"merge": 3, "forward": 8},
    ),
    Variant(
        "keys beyond the last full block are dropped",
        {
            "forward": (
                (
                    "range(block, m, block)):\n            seen",
                    "range(block, m, block))[: max(1, m // block)]:\n            seen",
                ),
            ),
            "backward": (
                (
                    "range(block, m, block)):\n            seen",
                    "range(block, m, block))[: max(1, m // block)]:\n            seen",
                ),
            ),
        },
        {"forward": 3, "backward": 2},
    ),
    Variant(
        "zero times NaN",
        {"forward": (("np.where(bad[:, None], 0, x) for x, bad in zip(wide, ill)", "x for x in wide"),)},
        {"forward": 8, "backward": 5},
    ),
    Variant(
        "the plain program, with all scores at once",
        {
            "forward": """
def clean(*arrays):
    wide = [np.asarray(x).astype(np.float32) for x in arrays]
    ill = [~np.isfinite(x).all(axis=1) for x in wide]
    return [np.where(bad[:, None], 0, x) for x, bad in zip(wide, ill)], ill


def block_scores(q, k, ill_q, ill_k, i, j, seen):
    s = q[i] @ k[j].T / np.float32(math.sqrt(q.shape[1]))
    s = np.where(ill_q[i][:, None] | ill_k[j], np.nan, s)
    return np.where(seen, s, -np.inf)


def forward(q, k, v, causal=False, mask=None, block=64):
    dtype, i, j = v.dtype, np.arange(len(q)), np.arange(len(k))
    (q, k, v), (ill_q, ill_k, ill_v) = clean(q, k, v)
    seen = visible(i, j, len(q), len(k), causal, mask)
    o, lse = finish(partial(block_scores(q, k, ill_q, ill_k | ill_v, i, j, seen), v))
    return o.astype(dtype), lse
"""
        },
        {"forward": 9},
    ),
    Variant(
        "on the way back a key is hidden from all queries of a block or from none",
        {
            "backward": (
                ("(q, k, v, do), (", "(q, _, v, do), ("),
                ("ds @ k[j]", "ds @ np.where(seen.any(axis=0)[:, None], k[j], 0)"),
            )
        },
        {"backward": 6},
    ),
    Variant(
        "on the way back a query sees something of a block or nothing",
        {
            "backward": (
                ("(q, k, v, do), (", "(_, k, v, do), ("),
                ("ds.T @ q[i]", "ds.T @ np.where(seen.any(axis=1)[:, None], q[i], 0)"),
            )
        },
        {"backward": 6},
    ),
    Variant(
        "zero times NaN in the gradient that comes from outside",
        {"backward": (("(q, k, v, do), (", "(q, k, v, _), ("),)},
        {"backward": 5},
    ),
    Variant(
        "the weighted sum is kept in the precision of the inputs",
        {
            "forward": (
                (
                    "                state = new if state is None else merge(state, new)\n",
                    "                state = new if state is None else merge(state, new)\n"
                    "                state = (*state[:2], state[2].astype(dtype).astype(np.float32))\n",
                ),
            )
        },
        {"forward": 9},
    ),
)

RIGHT = (
    Variant(
        "pairs by subtraction, blocks in two loops",
        {
            "visible": """
def visible(i, j, n, m, causal, mask):
    allowed = np.full((len(i), len(j)), True)
    if mask is not None:
        allowed = mask[np.ix_(i, j)]
    if causal:
        allowed = allowed & (np.subtract.outer(np.asarray(i), np.asarray(j)) >= n - m)
    return allowed


def visited(n, m, block, causal):
    rows = [min(first + block, n) - 1 for first in range(0, n, block)]
    return sum(not causal or column <= row + m - n for row in rows for column in range(0, m, block))
""",
        },
    ),
    Variant(
        "log-sums as state, all queries at once for each block of keys, float64",
        {
            "merge": '''
def weighted(x, lse):
    """The weight of a part with log-sum x among all, 0 where both are -inf."""
    return np.exp(np.where(np.isneginf(x), -np.inf, x - np.where(np.isneginf(lse), 0, lse)))


def partial(s, v):
    s = np.asarray(s, np.float64)
    lse = np.logaddexp.reduce(s, axis=1)
    return {"lse": lse, "o": weighted(s, lse[:, None]) @ np.asarray(v, np.float64)}


def merge(x, y):
    lse = np.logaddexp(x["lse"], y["lse"])
    o = sum(part["o"] * weighted(part["lse"], lse)[:, None] for part in (x, y))
    return {"lse": lse, "o": o}


def finish(x):
    return x["o"], x["lse"]
''',
            "backward": """
def backward(q, k, v, o, lse, do, causal=False, mask=None, block=64):
    n, m, scale = len(q), len(k), len(q[0]) ** -0.5
    delta = np.einsum("nd,nd->n", do.astype(float), o)
    q, k, v, do = (np.where(np.isfinite(x).all(axis=1)[:, None], x, 0).astype(float) for x in (q, k, v, do))
    dq, columns = np.zeros(q.shape), []
    for start in range(0, m, block):
        j = np.arange(start, min(start + block, m))
        seen = visible(np.arange(n), j, n, m, causal, mask)
        s = np.where(seen, scale * (q @ k[j].T) - np.where(seen.any(axis=1), lse, 0)[:, None], -np.inf)
        p = np.exp(s)
        ds = np.where(seen, scale * p * (do @ v[j].T - delta[:, None]), 0)
        dq += ds @ k[j]
        columns.append((ds.T @ q, p.T @ do))
    return dq, np.concatenate([x for x, _ in columns]), np.concatenate([x for _, x in columns])
""",
            "forward": """
def zeroed(x):
    x = np.array(x, np.float64)
    bad = ~np.isfinite(x).all(axis=-1)
    x[bad] = 0
    return x, bad


def forward(q, k, v, causal=False, mask=None, block=64):
    n, m, dtype = q.shape[0], k.shape[0], v.dtype
    (q, bad_q), (k, bad_k), (v, bad_v) = zeroed(q), zeroed(k), zeroed(v)
    o, lse = np.zeros((n, v.shape[1])), np.full(n, -np.inf)
    for start in range(0, m, block):
        j = np.arange(start, min(start + block, m))
        s = q @ k[j].T / q.shape[1] ** 0.5
        s[bad_q] = np.nan
        s[:, bad_k[j] | bad_v[j]] = np.nan
        s[~visible(np.arange(n), j, n, m, causal, mask)] = -np.inf
        top = np.maximum(lse, np.max(s, axis=1))
        safe = np.where(np.isneginf(top), 0, top)
        p, old = np.exp(s - safe[:, None]), np.exp(lse - safe)
        total = p.sum(axis=1) + old
        some = total > 0
        o[some] = (o * old[:, None] + p @ v[j])[some] / total[some, None]
        lse[some] = safe[some] + np.log(total[some])
    return o.astype(dtype), lse
""",
        },
    ),
    Variant(
        "forward in JAX, padded to whole blocks; backward in NumPy, summed over what is seen",
        {
            "merge": """
def partial(s, v):
    s, v = jnp.asarray(s, jnp.float32), jnp.asarray(v, jnp.float32)
    top = jnp.maximum(s.max(axis=1), jnp.finfo(jnp.float32).min)
    p = jnp.exp(s - top[:, None])
    return jnp.concatenate([top[:, None], p.sum(axis=1)[:, None], p @ v], axis=1)


def merge(x, y):
    top = jnp.maximum(x[:, :1], y[:, :1])
    rest = x[:, 1:] * jnp.exp(x[:, :1] - top) + y[:, 1:] * jnp.exp(y[:, :1] - top)
    return jnp.concatenate([top, rest], axis=1)


def finish(x):
    total = x[:, 1:2]
    return jnp.where(total > 0, x[:, 2:] / jnp.where(total > 0, total, 1), 0), x[:, 0] + jnp.log(total[:, 0])
""",
            "visible": """
def visible(i, j, n, m, causal, mask):
    seen = [[(not causal or b <= a + m - n) and (mask is None or bool(mask[a, b])) for b in j] for a in i]
    return np.array(seen, dtype=bool)


def visited(n, m, block, causal):
    count = 0
    for a in range(math.ceil(n / block)):
        for b in range(math.ceil(m / block)):
            last = min((a + 1) * block, n) - 1
            count += visible([last], [b * block], n, m, causal, None).any()
    return int(count)
""",
            "forward": '''
def cut(x, block):
    """Whole blocks, the last one padded with zeros: (blocks, block, width)."""
    x = jnp.asarray(x, jnp.float32)
    x = jnp.pad(x, ((0, -len(x) % block), (0, 0)))
    return x.reshape(-1, block, x.shape[1])


def heal(x):
    x = jnp.asarray(x).astype(jnp.float32)
    ill = ~jnp.isfinite(x).all(axis=1, keepdims=True)
    return jnp.where(ill, 0, x), jnp.where(ill, jnp.nan, 0)


def block_scores(tile, keys, mask, sizes):
    """Scores of a block, -inf where hidden."""
    n, m, causal, block, scale = sizes
    (q, ill_q, i), (k, ill_k, j) = tile, keys
    row, column = i * block + jnp.arange(block)[:, None], j * block + jnp.arange(block)[None, :]
    seen = (row < n) & (column < m)
    if causal:
        seen &= column <= row + m - n
    if mask is not None:
        seen &= jnp.asarray(mask)[jnp.minimum(row, n - 1), jnp.minimum(column, m - 1)]
    return jnp.where(seen, scale * (q @ k.T) + ill_q + ill_k.T, -jnp.inf)


def pieces(q, k, v, block):
    (q, ill_q), (k, ill_k), (v, ill_v) = heal(q), heal(k), heal(v)
    rows, columns = (cut(q, block), cut(ill_q, block)), (cut(k, block), cut(ill_k + ill_v, block))
    rows += (jnp.arange(len(rows[0])),)
    return rows, (*columns, jnp.arange(len(columns[0]))), cut(v, block)


def forward(q, k, v, causal=False, mask=None, block=64):
    n, d_v = len(q), v.shape[1]
    sizes = (n, len(k), causal, block, 1 / math.sqrt(q.shape[1]))
    rows, columns, values = pieces(q, k, v, block)

    def row_of_blocks(_, tile):
        def add(state, here):
            keys, value = here
            s = block_scores(tile, keys, mask, sizes)
            top = jnp.maximum(state[0], s.max(axis=1))
            p, old = jnp.exp(s - top[:, None]), jnp.exp(state[0] - top)
            return (top, state[1] * old + p.sum(axis=1), state[2] * old[:, None] + p @ value), None

        low = jnp.full(block, jnp.finfo(jnp.float32).min)
        (top, total, summed), _ = jax.lax.scan(add, (low, 0 * low, jnp.zeros((block, d_v))), (columns, values))
        o = summed / jnp.where(total == 0, 1, total)[:, None]
        return None, (o, jnp.where(total == 0, -jnp.inf, top + jnp.log(total)))

    _, (o, lse) = jax.lax.scan(row_of_blocks, None, rows)
    return o.reshape(-1, d_v)[:n].astype(v.dtype), lse.ravel()[:n]
''',
            "backward": '''
def summed(w, x, seen):
    """w @ x without the pairs that are hidden."""
    return np.where(seen[:, :, None], w[:, :, None] * x[None], 0).sum(axis=1)


def backward(q, k, v, o, lse, do, causal=False, mask=None, block=64):
    n, m, scale = len(q), len(k), 1 / math.sqrt(q.shape[1])
    dq, dk, dv = (np.zeros(x.shape, np.float32) for x in (q, k, v))
    for i in (slice(a, min(a + block, n)) for a in range(0, n, block)):
        for j in (slice(b, min(b + block, m)) for b in range(0, m, block)):
            row, column = np.arange(i.start, i.stop)[:, None], np.arange(j.start, j.stop)
            seen = (column <= row + m - n) | (not causal)
            if mask is not None:
                seen &= mask[i, j]
            p = np.exp(np.where(seen, q[i] @ k[j].T * scale - lse[i, None], 0))
            ds = p * (do[i] @ v[j].T - (do[i] * o[i]).sum(axis=1)[:, None]) * scale
            dq[i] += summed(ds, k[j], seen)
            dk[j] += summed(ds.T, q[i], seen.T)
            dv[j] += summed(p.T, do[i], seen.T)
    return dq, dk, dv
''',
        },
    ),
)
