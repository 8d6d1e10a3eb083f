"""Solutions of *Memory and the cache* that are wrong, with their marks, and some that are right."""

# leakcachexq

from tools.assignments.master import Variant

MISTAKES = (
    Variant(
        "latents are kept twice",
        {"bytes": (('kind["rank"] + kind["d_rope"]', '2 * (kind["rank"] + kind["d_rope"])'),)},
        {"bytes": 3, "fits": 4},
    ),
    Variant(
        "windows are ignored",
        {"bytes": (('min(t, kind.get("window") or t)', "t"),)},
        {"bytes": 3, "fits": 3},
    ),
    Variant(
        "values are as wide as keys",
        {"bytes": (('(kind["d_k"] + kind["d_v"])', '2 * kind["d_k"]'),)},
        {"bytes": 2, "fits": 3},
    ),
    Variant(
        "the last page is forgotten",
        {"bytes": (("-(-kept // page) * page", "kept // page * page"),)},
        {"bytes": 1, "fits": 2},
    ),
    Variant(
        "one scale for the whole array",
        {
            "quantise": (
                ("low = part.min(axis=-1, keepdims=True)", "low = x.min()"),
                ("part.max(axis=-1, keepdims=True)", "x.max()"),
            )
        },
        {"quantise": 2},
    ),
    Variant("codes are cut off, not rounded", {"quantise": (("np.rint(", "np.floor("),)}, {"quantise": 4}),
    Variant("scales take no memory", {"quantise": ((" + groups * shared_bits", ""),)}, {"quantise": 4}),
    Variant(
        "softmax without its maximum",
        {"paged": (("np.exp(s - s.max(axis=-1, keepdims=True))", "np.exp(s)"),)},
        {"paged": 6},
    ),
    Variant(
        "the last page is read to its end",
        {
            "paged": (
                ("for i in table])[:length]\n    v", "for i in table])\n    v"),
                ("v_pages[i] for i in table])[:length]", "v_pages[i] for i in table])"),
            )
        },
        {"paged": 2},
    ),
    Variant(
        "query heads take turns with key heads",
        {
            "paged": (
                (
                    "np.repeat(k, shared, axis=1), np.repeat(v, shared, axis=1)",
                    "np.tile(k, (1, shared, 1)), np.tile(v, (1, shared, 1))",
                ),
            )
        },
        {"paged": 6},
    ),
)

RIGHT = (
    Variant(
        "solved for the length, NumPy integers",
        {
            "bytes": """
def per_page(kind, itemsize, page):
    wide = kind["rank"] + kind["d_rope"] if "rank" in kind else kind["h_kv"] * (kind["d_k"] + kind["d_v"])
    return kind["layers"] * wide * itemsize * page


def cache_bytes(kinds, t, itemsize, batch, page):
    held = [min(t, kind.get("window") or t) for kind in kinds]
    return np.int64(batch * sum(per_page(x, itemsize, page) * math.ceil(p / page) for x, p in zip(kinds, held)))
""",
            "fits": '''
def longest(kinds, free, itemsize, batch, page):
    """Between two lengths at which a window fills, the pages grow evenly."""
    if cache_bytes(kinds, 1, itemsize, batch, page) > free:
        return 0
    ends = sorted({kind["window"] for kind in kinds if kind.get("window")})
    if ends and len([k for k in kinds if k.get("window")]) == len(kinds):
        if cache_bytes(kinds, ends[-1], itemsize, batch, page) <= free:
            return None
    best = 1
    step = 2**40
    while step >= 1:
        if cache_bytes(kinds, best + step, itemsize, batch, page) <= free:
            best += step
        else:
            step //= 2
    return best


def largest_batch(kinds, free, itemsize, t, page):
    one = cache_bytes(kinds, t, itemsize, 1, page)
    return max(0, math.floor(free // one))
''',
        },
    ),
    Variant(
        "quantised in float32 with 16-bit scales, by reshaping",
        {
            "bytes": """
def cache_bytes(kinds, t, itemsize, batch=1, page=1):
    total = 0
    for kind in kinds:
        widths = [kind["rank"], kind["d_rope"]] if "rank" in kind else [kind["d_k"], kind["d_v"]] * kind["h_kv"]
        positions = range(t)[-kind["window"] :] if kind.get("window") else range(t)
        used = (len(positions) + page - 1) // page
        total += sum(widths) * used * page * kind["layers"]
    return total * batch * itemsize
""",
            "fits": """
def longest(kinds, free, itemsize, batch=1, page=1):
    top = 10**12
    if cache_bytes(kinds, top, itemsize, batch, page) <= free:
        return None
    low, high = 0, top
    while high - low > 1:
        middle = (low + high) >> 1
        if cache_bytes(kinds, middle, itemsize, batch, page) > free:
            high = middle
        else:
            low = middle
    return low


def largest_batch(kinds, free, itemsize, t, page=1):
    count = 0
    step = 1 << 30
    while step:
        if cache_bytes(kinds, t, itemsize, count + step, page) <= free:
            count += step
        else:
            step >>= 1
    return count
""",
            "quantise": """
def quantise(x, bits, group):
    x = np.asarray(x, np.float32)
    width = x.shape[-1]
    more = -width % group
    padded = np.concatenate([x, np.repeat(x[..., -1:], more, axis=-1)], axis=-1)
    split = padded.reshape(*x.shape[:-1], -1, group)
    low, high = split.min(-1, keepdims=True), split.max(-1, keepdims=True)
    step = (high - low) / np.float32(2**bits - 1)
    safe = np.where(step == 0, 1, step)
    codes = np.clip(np.round((split - low) / safe), 0, 2**bits - 1).astype(int)
    restored = codes * step.astype(np.float16).astype(np.float32) + low.astype(np.float16).astype(np.float32)
    return codes.reshape(padded.shape)[..., :width], restored.reshape(padded.shape)[..., :width]


def vector_bytes(width, bits, group, shared_bits):
    total = 0
    for start in range(0, width, group):
        total += min(group, width - start) * bits + shared_bits
    return (total + 7) // 8
""",
        },
    ),
    Variant(
        "page by page with a running maximum, float32",
        {
            "quantise": """
def one(vector, bits):
    low, high = min(vector), max(vector)
    if low == high:
        return [0] * len(vector), list(vector)
    levels = np.linspace(low, high, 2**bits)
    codes = np.abs(np.asarray(vector)[:, None] - levels).argmin(axis=1)
    return list(codes), list(levels[codes])


def quantise(x, bits, group):
    flat = np.asarray(x, float).reshape(-1, x.shape[-1])
    rows = []
    for vector in flat:
        codes, restored = [], []
        for start in range(0, len(vector), group):
            found = one(vector[start : start + group].tolist(), bits)
            codes += found[0]
            restored += found[1]
        rows.append((codes, restored))
    return [np.array(part).reshape(x.shape) for part in zip(*rows)]


def vector_bytes(width, bits, group, shared_bits):
    return math.ceil((width * bits + math.ceil(width / group) * shared_bits) / 8)
""",
            "paged": """
class Running:
    def __init__(self, width):
        self.top, self.total, self.sum = -np.inf, 0.0, np.zeros(width, np.float32)

    def add(self, s, v):
        top = max(self.top, s.max())
        old, p = np.exp(self.top - top), np.exp(s - top)
        self.total = self.total * old + p.sum()
        self.sum = self.sum * old + p @ v
        self.top = top


def paged_attention(q, k_pages, v_pages, table, length):
    h, size = q.shape[0], k_pages.shape[1]
    per = h // k_pages.shape[2]
    out = []
    for head in range(h):
        state = Running(v_pages.shape[-1])
        for index, number in enumerate(table):
            used = min(size, length - index * size)
            if used > 0:
                k = k_pages[number, :used, head // per].astype(np.float32)
                v = v_pages[number, :used, head // per].astype(np.float32)
                state.add(k @ (q[head].astype(np.float32) / np.sqrt(q.shape[1])), v)
        out.append(state.sum / state.total)
    return np.stack(out)


def pages(prefix, own, page):
    common = prefix // page
    return common + sum(math.ceil((prefix + n) / page) - common for n in own)
""",
        },
    ),
    Variant(
        "a mask over all slots",
        {
            "paged": """
def paged_attention(q, k_pages, v_pages, table, length):
    h, d_k = q.shape
    h_kv = k_pages.shape[2]
    k, v = (np.asarray(x, np.float32)[list(table)].reshape(-1, h_kv, x.shape[-1]) for x in (k_pages, v_pages))
    seen = np.arange(len(k)) < length
    k, v = (np.where(seen[:, None, None], x, 0) for x in (k, v))
    s = np.einsum("kgd,tkd->kgt", np.asarray(q, np.float32).reshape(h_kv, h // h_kv, d_k), k) / np.sqrt(d_k)
    s = np.where(seen, s, -np.inf)
    s = s - np.log(np.exp(s - s.max(-1, keepdims=True)).sum(-1, keepdims=True)) - s.max(-1, keepdims=True)
    return np.einsum("kgt,tkd->kgd", np.exp(s), v).reshape(h, -1)


def pages(prefix, own, page):
    full = prefix - prefix % page
    return full // page + sum(len(range(full, prefix + n, page)) for n in own)
""",
        },
    ),
)
