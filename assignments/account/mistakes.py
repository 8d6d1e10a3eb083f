"""Solutions of *Account for a layer* that are wrong, with their marks, and some that are right."""

# leakaccountxq

from tools.assignments.master import Variant

MISTAKES = (
    Variant(
        "a multiply-add is one FLOP",
        {
            "flops": (
                ('"projections": 2 *', '"projections": '),
                ('"scores": 2 *', '"scores": '),
                ('"values": 2 *', '"values": '),
                ('"output": 2 *', '"output": '),
                ('"feed_forward": 4 *', '"feed_forward": 2 *'),
            )
        },
        {"flops": 0},
    ),
    Variant(
        "keys and values are projected for every query head", {"flops": (("(h + 2 * h_kv)", "3 * h"),)}, {"flops": 3}
    ),
    Variant("heads are as wide as d/h", {"flops": (("# leakaccountxq", "d_k = d // h"),)}, {"flops": 2}),
    Variant("a causal mask leaves n²/2 pairs", {"flops": (("n * (n + 1) // 2", "n * n // 2"),)}, {"flops": 5}),
    Variant(
        "weights without heads",
        {"memory": (("batch * h * n * n * itemsize", "batch * n * n * itemsize"),)},
        {"memory": 3},
    ),
    Variant("memory is linear in the length", {"memory": (("math.isqrt(", "("),)}, {"memory": 2}),
    Variant(
        "the longest length is rounded up",
        {
            "memory": (
                (
                    "return math.isqrt(memory // (copies * batch * h * itemsize))",
                    "return math.ceil(math.sqrt(memory / (copies * batch * h * itemsize)))",
                ),
            )
        },
        {"memory": 3},
    ),
    Variant("backward takes as much as forward", {"training": (("2 * forward", "forward"),)}, {"training": 4}),
    Variant(
        "weights are kept when scores are computed again",
        {"training": (('if recompute == "nothing" else 0', "* 1"),)},
        {"training": 4},
    ),
    Variant(
        "the output layer is free, as its table is there anyway", {"model": ((" + 2 * d * vocab", ""),)}, {"model": 2}
    ),
)

RIGHT = (
    Variant(
        "products as a list, floats, NumPy",
        {
            "flops": """
import numpy as np


def product(*sizes):
    return 2.0 * np.prod(np.array(sizes, dtype=float))


def layer_flops(n, d, h, h_kv, d_k, d_ff, batch=1, causal=False):
    seen = np.tril(np.ones((n, n), bool)).sum() if causal else n**2
    per_head = product(batch, h, seen, d_k)
    return dict(
        projections=product(batch * n, d, h * d_k) + 2 * product(batch * n, d, h_kv * d_k),
        scores=per_head,
        values=per_head,
        output=product(batch * n, h * d_k, d),
        feed_forward=product(batch * n, d, d_ff) + product(batch * n, d_ff, d),
    )
""",
            "model": """
from fractions import Fraction


def parameters(layers, d, d_ff, vocab, positions):
    return layers * (4 * d**2 + 2 * d * d_ff + d_ff + 9 * d) + d * (vocab + positions + 2)


def report(layers, d, d_ff, vocab, positions, n):
    core = Fraction(4 * layers * d * n * n)
    rest = Fraction(n * d * (layers * (8 * d + 4 * d_ff) + 2 * vocab))
    total = core + rest
    return {
        "equal": math.ceil(rest / core * n),
        "flops": int(total),
        "core_share": float(core / total),
        "spreadsheet": float(2 * parameters(layers, d, d_ff, vocab, positions) * n / total),
    }
""",
            "memory": """
def weights_bytes(n, h, batch, itemsize):
    return np.int64(itemsize) * batch * h * n**2


def longest(memory, h, batch, itemsize, copies):
    n = 0
    step = 1 << 40
    while step:
        if copies * int(batch) * h * (n + step) ** 2 * itemsize <= memory:
            n += step
        else:
            step //= 2
    return n
""",
        },
    ),
    Variant(
        "training by cases, a class behind the adapters",
        {
            "flops": """
def layer_flops(n, d, h, h_kv, d_k, d_ff, batch=1, causal=False):
    # Each product: rows, inner, columns, and how many of it there are.
    seen = sum(range(1, n + 1)) / n if causal else n
    products = {
        "projections": [(n, d, h * d_k, 1), (n, d, h_kv * d_k, 2)],
        "scores": [(n, d_k, seen, h)],
        "values": [(n, seen, d_k, h)],
        "output": [(n, h * d_k, d, 1)],
        "feed_forward": [(n, d, d_ff, 1), (n, d_ff, d, 1)],
    }
    return {name: batch * sum(2 * a * b * c * times for a, b, c, times in found) for name, found in products.items()}
""",
            "memory": """
def weights_bytes(n, h, batch, itemsize):
    return sum(n * n * itemsize for _ in range(batch) for _ in range(h))


def longest(memory, h, batch, itemsize, copies):
    n = int((memory / (copies * h * batch * itemsize)) ** 0.5)
    while copies * weights_bytes(n, h, batch, itemsize) > memory:
        n -= 1
    while copies * weights_bytes(n + 1, h, batch, itemsize) <= memory:
        n += 1
    return n
""",
            "training": """
class Step:
    def __init__(self, parts):
        self.parts = parts

    def flops(self, recompute):
        total = 0
        for flops in self.parts.values():
            total += flops
        again = 0
        if recompute == "scores":
            again = self.parts["scores"]
        elif recompute == "layer":
            again = total
        return {"recomputed": again, "forward": total, "backward": total + total}


def numbers(n, d, h, h_kv, d_k, batch, recompute):
    arrays = {"x": (n, d), "q": (h, n, d_k), "k": (h_kv, n, d_k), "v": (h_kv, n, d_k), "o": (n, h * d_k)}
    if recompute == "nothing":
        arrays["p"] = (h, n, n)
    if recompute == "layer":
        arrays = {"x": arrays["x"]}
    return batch * sum(math.prod(shape) for shape in arrays.values())
""",
            "adapters": """
def run_layer_flops(*sizes):
    return layer_flops(*sizes)


def run_weights_bytes(*sizes):
    return weights_bytes(*sizes)


def run_longest(*sizes):
    return longest(*sizes)


def run_training_flops(parts, recompute):
    return Step(parts).flops(recompute)


def run_kept_numbers(*sizes):
    return numbers(*sizes)


def run_parameters(*sizes):
    return parameters(*sizes)


def run_report(*sizes):
    return report(*sizes)
""",
        },
    ),
    Variant(
        "the crossover is searched for",
        {
            "training": """
def training_flops(parts, recompute):
    again = {"nothing": (), "scores": ("scores",), "layer": tuple(parts)}[recompute]
    passes = {"forward": 1.0, "backward": 2.0}
    found = {name: math.fsum(times * x for x in parts.values()) for name, times in passes.items()}
    return found | {"recomputed": math.fsum(parts[name] for name in again)}


def kept_numbers(n, d, h, h_kv, d_k, batch, recompute):
    each = d
    if recompute != "layer":
        each += 2 * d_k * (h + h_kv)
    if recompute == "nothing":
        each += h * n
    return n * batch * each
""",
            "model": """
def parameters(layers, d, d_ff, vocab, positions):
    shapes = [(vocab, d), (positions, d), (d,), (d,)]
    for _ in range(layers):
        shapes += [(d, 3 * d), (3 * d,), (d, d), (d,), (d, d_ff), (d_ff,), (d_ff, d), (d,)] + 4 * [(d,)]
    return sum(math.prod(shape) for shape in shapes)


def report(layers, d, d_ff, vocab, positions, n):
    def account(n):
        parts = layer_flops(n, d, 1, 1, d, d_ff, 1, False)
        core = layers * (parts["scores"] + parts["values"])
        return core, layers * sum(parts.values()) + 2 * n * d * vocab - core

    core, rest = account(n)
    equal = next(m for m in range(1, 10**6) if account(m)[0] >= account(m)[1])
    share = core / (core + rest)
    ratio = parameters(layers, d, d_ff, vocab, positions) * 2 * n / (core + rest)
    return {"flops": core + rest, "core_share": share, "spreadsheet": ratio, "equal": equal}
""",
        },
    ),
)
