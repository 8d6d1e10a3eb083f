"""Solutions of *Recurrence against attention* that are wrong, with their marks, and some that are right."""

# leakcrossoverxq

from tools.assignments.master import Variant

MISTAKES = (
    Variant(
        "a multiply-add is one FLOP",
        {
            "flops": (
                ("return 4 * n * n * d\n", "return 2 * n * n * d\n"),
                ("return 4 * n * n * d + 8", "return 2 * n * n * d + 4"),
                ("return 2 * pairs", "return pairs"),
            )
        },
        {"flops": 0, "crossing": 1, "seconds": 3, "measured": 4},
    ),
    Variant(
        "the state is as wide as the input",
        {"flops": (("# leakcrossoverxq", "width = d"),)},
        {"flops": 3, "crossing": 2},
    ),
    Variant(
        "a layer has three projections",
        {"flops": (("8 * n * d * d", "6 * n * d * d"),)},
        {"flops": 3, "crossing": 2, "seconds": 4},
    ),
    Variant("a GRU has two pairs of products", {"flops": (('"GRU": 3', '"GRU": 2'),)}, {"flops": 3, "crossing": 2}),
    Variant(
        "a tie is a win", {"crossing": (("-(-a_position // (4 * d)) - 1", "a_position // (4 * d)"),)}, {"crossing": 1}
    ),
    Variant(
        "n < d, whatever the layers",
        {"crossing": (("return max(0, -(-a_position // (4 * d)) - 1)", "return d - 1"),)},
        {"crossing": 1},
    ),
    Variant(
        "steps run at the full rate",
        {"seconds": (('width / device["step_rate"]', 'width / device["rate"]'),)},
        {"seconds": 2},
    ),
    Variant(
        "a recurrent layer waits once",
        {"seconds": ((' / device["step_rate"] + device["wait"])', ' / device["step_rate"])'),)},
        {"seconds": 2},
    ),
    Variant(
        "the first change counts", {"measured": (("i = int(faster[-1])", "i = int(faster[0])"),)}, {"measured": 4}
    ),
    Variant(
        "interpolated without logarithms",
        {
            "measured": (
                (
                    "return float(lengths[i] * (lengths[i + 1] / lengths[i]) ** share)",
                    "return float(lengths[i] + (lengths[i + 1] - lengths[i]) * share)",
                ),
            )
        },
        {"measured": 3},
    ),
)

RIGHT = (
    Variant(
        "products as shapes, crossings searched for",
        {
            "flops": """
def products(kind, n, d, width):
    if kind in ("core", "layer"):
        found = [(n, d, n), (n, n, d)]
        return found + [(n, d, d)] * 4 if kind == "layer" else found
    return [(n, d, width), (n, width, width)] * {"vanilla": 1, "GRU": 3, "LSTM": 4}[kind]


def flops(kind, n, d, width):
    return sum(2 * a * b * c for a, b, c in products(kind, n, d, width))
""",
            "crossing": """
def crossing(ours, theirs, d, width):
    n = 0
    while flops(ours, n + 1, d, width) < flops(theirs, n + 1, d, width):
        n += 1
    return n
""",
            "seconds": """
def seconds(kind, n, d, width, device):
    made = products(kind, n, d, width)
    if kind in ("core", "layer"):
        return sum(2 * a * b * c / device["rate"] + device["wait"] for a, b, c in made)
    at_once = sum(2 * a * b * c for a, b, c in made[0::2]) / device["rate"]
    steps = sum(2 * a * b * c for a, b, c in made[1::2]) / device["step_rate"]
    return at_once + steps + (n + 1) * device["wait"]


def time_crossing(ours, theirs, d, width, device):
    def gain(n):
        return seconds(theirs, n, d, width, device) - seconds(ours, n, d, width, device)

    # gain is a parabola that opens downwards: past its top it falls.
    low, high = 1, 1_000_000_000
    while high - low > 2:
        a, b = low + (high - low) // 3, high - (high - low) // 3
        low, high = (a, high) if gain(a) < gain(b) else (low, b)
    top = max(range(low, high + 1), key=gain)
    if gain(top) <= 0:
        return 0
    low, high = top, 1_000_000_000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if gain(middle) > 0 else (low, middle)
    return low
""",
            "measured": """
def measured_crossing(lengths, ours, theirs):
    last = None
    for i, (x, y) in enumerate(zip(ours, theirs)):
        if x < y:
            last = i
    if last is None:
        return 0.0
    if last == len(lengths) - 1:
        return None
    x = [math.log(n) for n in lengths[last : last + 2]]
    y = [math.log(a / b) for a, b in zip(ours[last : last + 2], theirs[last : last + 2])]
    return math.exp(x[0] - y[0] * (x[1] - x[0]) / (y[1] - y[0]))


REPORT = {"d": 48, "lengths": [4, 8, 16, 24, 32], "rounds": 5, "attention": [], "recurrent": []}
for n in REPORT["lengths"]:
    x, w = np.ones((n, 48)), np.eye(48) / 2
    times = []
    for _ in range(5):
        a = time.perf_counter()
        e = np.exp(x @ x.T / 7)
        (e / e.sum(1)[:, None]) @ x
        b = time.perf_counter()
        h = np.zeros(48)
        for i in range(n):
            h = np.tanh(x[i] @ w + h @ w)
        times.append((b - a, time.perf_counter() - b))
    for name, column in zip(("attention", "recurrent"), np.transpose(times)):
        REPORT[name].append(sorted(column.tolist())[2])
REPORT["crossing"] = measured_crossing(REPORT["lengths"], REPORT["attention"], REPORT["recurrent"])
REPORT["predicted"] = 48
""",
        },
    ),
    Variant(
        "coefficients of a parabola",
        {
            "flops": """
GATES = {"vanilla": 1, "GRU": 3, "LSTM": 4}


def parabola(kind, d, width):
    if kind in GATES:
        return 0, 2 * GATES[kind] * width * (d + width)
    return 4 * d, (8 * d * d if kind == "layer" else 0)


def flops(kind, n, d, width):
    square, linear = parabola(kind, d, width)
    return float(n * (square * n + linear))
""",
            "crossing": """
from fractions import Fraction


def crossing(ours, theirs, d, width):
    square, linear = parabola(ours, d, width)
    at = Fraction(parabola(theirs, d, width)[1] - linear, square)
    return max(0, math.ceil(at) - 1)
""",
            "seconds": """
def polynomial(kind, d, width, device):
    square, linear = parabola(kind, d, width)
    if kind not in GATES:
        begun = 2 + 4 * (kind == "layer")
        return np.array([square / device["rate"], linear / device["rate"], begun * device["wait"]])
    gates = 2 * GATES[kind] * width
    a_step = gates * d / device["rate"] + gates * width / device["step_rate"] + device["wait"]
    return np.array([0, a_step, device["wait"]])


def seconds(kind, n, d, width, device):
    return float(np.polyval(polynomial(kind, d, width, device), n))


def time_crossing(ours, theirs, d, width, device):
    a, b, c = polynomial(ours, d, width, device) - polynomial(theirs, d, width, device)
    under = b * b - 4 * a * c
    if under <= 0:
        return 0
    root = (-b + math.sqrt(under)) / (2 * a)
    n = math.ceil(root) - 1
    return n if n >= 1 and a * n * n + b * n + c < 0 else 0
""",
        },
    ),
    Variant(
        "NumPy interpolates, seven rounds",
        {
            "measured": """
def measured_crossing(lengths, ours, theirs):
    r = [a / b for a, b in zip(ours, theirs)]
    if r[-1] < 1:
        return None
    for i in reversed(range(len(r) - 1)):
        if r[i] < 1:
            return float(2 ** np.interp(0, np.log2(r[i : i + 2]), np.log2(lengths[i : i + 2])))
    return 0


def clock(f):
    start = time.perf_counter_ns()
    f()
    return (time.perf_counter_ns() - start) / 1e9


def one_length(n, d=16):
    x, h = np.random.default_rng(n).random((n, d)), [np.zeros(d)]

    def recurrent():
        for row in x:
            h[0] = np.tanh(row @ x[:d].T[:d, :1] + h[0])

    runs = [(clock(lambda: np.exp(x @ x.T) @ x), clock(recurrent)) for _ in range(7)]
    return np.median(runs, axis=0).tolist()


lengths = [20, 40, 60, 80, 100, 120]
attention, recurrent = (list(x) for x in zip(*map(one_length, lengths)))
REPORT = {
    "lengths": lengths,
    "d": 16,
    "attention": attention,
    "recurrent": recurrent,
    "rounds": 7,
    "crossing": measured_crossing(lengths, attention, recurrent),
    "predicted": 15,
}
""",
        },
    ),
)
