"""Solutions of *Choose a variant for a budget* that are wrong, with their marks, and some that are right."""

# leakbudgetxq

from tools.assignments.master import Variant

MISTAKES = (
    Variant(
        "flash makes the work linear",
        {"costs": (("pairs = n * w - w * (w - 1) // 2", 'pairs = n * (w if kind == "window" else 1)'),)},
        {"costs": 2, "choose": 2},
    ),
    Variant(
        "a window has n times w pairs", {"costs": (("n * w - w * (w - 1) // 2", "n * w"),)}, {"costs": 2, "choose": 0}
    ),
    Variant(
        "a window longer than the text counts in full",
        {"costs": (('w = min(n, variant.get("w", n))', 'w = variant.get("w", n)'),)},
        {"costs": 3, "choose": 4},
    ),
    Variant(
        "a state without its denominator",
        {"costs": (("features * (d + 1)", "features * d"),)},
        {"costs": 3, "cache": 1, "choose": 4},
    ),
    Variant(
        "monomials of exactly p factors",
        {"costs": (('math.comb(d + variant["order"], d)', 'math.comb(d + variant["order"] - 1, d - 1)'),)},
        {"costs": 3, "cache": 1, "choose": 4},
    ),
    Variant(
        "the cache of a window is full from the start",
        {"cache": (('min(t, variant.get("w", t))', 'variant.get("w", t)'),)},
        {"cache": 2},
    ),
    Variant(
        "as much counts as less",
        {"cache": (("// (2 * d) + 1", "// (2 * d)"), ('variant["w"] + 1', 'variant["w"]'))},
        {"cache": 2},
    ),
    Variant(
        "the bound forgets that small weights are small", {"accuracy": ((" * math.exp(size)", ""),)}, {"accuracy": 1}
    ),
    Variant(
        "a window reaches w positions a layer",
        {"accuracy": (("-(-distance // (w - 1)) if w > 1 else None", "-(-distance // w)"),)},
        {"accuracy": 2},
    ),
    Variant(
        "one head and one layer",
        {
            "choose": (
                ('job["heads"] * job["layers"] * price["flops"]', 'price["flops"]'),
                ('4 * job["heads"] * price["numbers"]', '4 * price["numbers"]'),
            )
        },
        {"choose": 4},
    ),
)

RIGHT = (
    Variant(
        "a class for each kind, pairs summed",
        {
            "costs": """
class Exact:
    def __init__(self, keys, held):
        self.keys, self.held = keys, held

    def costs(self, n, d):
        return {"numbers": self.held(n), "flops": 2 * (d + d) * int(sum(self.keys(i, n) for i in range(n)))}


class State:
    def __init__(self, features):
        self.features = features

    def costs(self, n, d):
        size = self.features(d) * d + self.features(d)
        return {"numbers": size, "flops": n * (2 * size + 2 * size)}


def made(variant):
    two = lambda n: 2 * n
    return {
        "plain": lambda: Exact(lambda i, n: n, lambda n: n**2),
        "flash": lambda: Exact(lambda i, n: i + 1, two),
        "window": lambda: Exact(lambda i, n: min(i + 1, variant["w"]), two),
        "linear": lambda: State(lambda d: variant["features"]),
        "taylor": lambda: State(lambda d: sum(math.comb(d + i - 1, i) for i in range(variant["order"] + 1))),
    }[variant["kind"]]()


def costs(variant, n, d):
    return made(variant).costs(n, d)
""",
            "cache": """
def cache(variant, t, d):
    kept = {"plain": t, "flash": t, "window": min(t, variant.get("w", 0))}
    if variant["kind"] in kept:
        return kept[variant["kind"]] * (d + d)
    return costs(variant, t, d)["numbers"]


def smaller_from(variant, d):
    if variant["kind"] in {"plain", "flash"}:
        return None
    high = 1
    while cache(variant, high, d) >= 2 * high * d:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if cache(variant, middle, d) < 2 * middle * d:
            high = middle
        else:
            low = middle
    return high
""",
            "choose": """
def exceeds(job, variant):
    price = costs(variant, job["n"], job["d"])
    yield "flops", price["flops"] * job["heads"] * job["layers"] > job["flops"]
    yield "bytes", price["numbers"] * job["heads"] * 4 > job["bytes"]
    yield "distance", variant["kind"] == "window" and (variant["w"] - 1) * job["layers"] < job["distance"]
    wrong = variant["kind"] == "linear"
    if variant["kind"] == "taylor" and job["tolerance"] is not None:
        p = variant["order"]
        bound = job["size"] ** (p + 1) / math.factorial(p + 1) * math.exp(job["size"])
        wrong = p % 2 == 1 or bound > job["tolerance"]
    yield "accuracy", wrong and job["tolerance"] is not None


def choose(job, variants):
    why = [tuple(name for name, bad in exceeds(job, x) if bad) for x in variants]
    price = [tuple(costs(x, job["n"], job["d"])[k] for k in ("flops", "numbers")) for x in variants]
    ranked = sorted((p, i) for i, p in enumerate(price) if not why[i])
    return {"reasons": why, "fits": [i for _, i in ranked]}
""",
        },
    ),
    Variant(
        "floats and NumPy",
        {
            "costs": """
def pairs(n, w):
    return np.minimum(np.arange(1, n + 1, dtype=float), w).sum()


def costs(variant, n, d):
    match variant:
        case {"kind": "plain"}:
            flops, numbers = 4.0 * n**2 * d, n**2
        case {"kind": "flash"}:
            flops, numbers = 4 * d * pairs(n, n), n + n
        case {"kind": "window", "w": w}:
            flops, numbers = 4 * d * pairs(n, w), n + n
        case {"kind": "linear", "features": features}:
            flops, numbers = 4.0 * n * features * (d + 1), features * (d + 1)
        case {"kind": "taylor", "order": p}:
            return costs({"kind": "linear", "features": math.comb(p + d, p)}, n, d)
    return {"flops": float(flops), "numbers": numbers}
""",
            "accuracy": """
def order(size, tolerance):
    term, p = size * math.exp(size), 0
    while term > tolerance:
        term *= size / (p + 2) * size / (p + 3)
        p += 2
    return p


def layers(distance, w):
    reached, count = 0, 0
    while reached < distance:
        if w == 1:
            return None
        reached += w - 1
        count += 1
    return count
""",
        },
    ),
    Variant(
        "searched and sorted",
        {
            "cache": """
def cache(variant, t, d):
    if "w" in variant:
        t = len(range(t)[-variant["w"] :])
    state = {"linear": lambda: variant["features"], "taylor": lambda: math.comb(d + variant["order"], d)}
    if variant["kind"] in state:
        return state[variant["kind"]]() * (d + 1)
    return t * d * 2


def smaller_from(variant, d):
    if variant["kind"] not in ("window", "linear", "taylor"):
        return None
    t = 1
    while not cache(variant, t, d) < cache({"kind": "flash"}, t, d):
        t += 1
    return t
""",
            "accuracy": """
from fractions import Fraction


def order(size, tolerance):
    return next(
        p
        for p in range(0, 400, 2)
        if float(Fraction(size) ** (p + 1) / math.factorial(p + 1)) * math.exp(size) <= tolerance
    )


def layers(distance, w):
    if w == 1 and distance:
        return None
    return math.ceil(distance / (w - 1)) if distance else 0
""",
            "choose": """
def choose(job, variants):
    rows = []
    for place, variant in enumerate(variants):
        found = costs(variant, job["n"], job["d"])
        why = set()
        if found["flops"] * job["heads"] * job["layers"] > job["flops"]:
            why.add("flops")
        if found["numbers"] * job["heads"] > job["bytes"] / 4:
            why.add("bytes")
        if "w" in variant:
            count = layers(job["distance"], variant["w"])
            if count is None or count > job["layers"]:
                why.add("distance")
        if job["tolerance"] is not None:
            if "features" in variant:
                why.add("accuracy")
            if "order" in variant and variant["order"] not in range(order(job["size"], job["tolerance"]), 999, 2):
                why.add("accuracy")
        rows.append((found["flops"], found["numbers"], place, why))
    names = ["flops", "bytes", "distance", "accuracy"]
    return {
        "fits": np.array([place for _, _, place, why in sorted(rows, key=lambda row: row[:3]) if not why], dtype=int),
        "reasons": [[name for name in names if name in why] for _, _, _, why in rows],
    }
""",
        },
    ),
)
