"""Solutions of *A reduction* that are wrong, with their marks, and some that are right."""

# leakreductionxq

from tools.assignments.master import Variant

MISTAKES = (
    Variant(
        "coordinates are 1 where a half satisfies the clause",
        {"vectors": (("np.ones((len(row)", "np.zeros((len(row)"), ("number] = 0", "number] = 1"))},
        {"vectors": 1, "decide": 0},
    ),
    Variant(
        "the first bit is the last variable",
        {"vectors": (("row >> (x - first)", "row >> (last - 1 - x)"),)},
        {"vectors": 2, "decide": 2},
    ),
    Variant(
        "no dummy key",
        {"scores": (("    v[0] = 0\n    return q, k, v", "    return q, k[1:], v[1:]"),)},
        {"scores": 1, "decide": 7},
    ),
    Variant(
        "the factor of attention is forgotten",
        {
            "scores": (
                ("-c * math.sqrt(width) * b", "-c * b"),
                ("-tau * math.sqrt(width)", "-tau"),
            )
        },
        {"scores": 2, "decide": 6},
    ),
    Variant(
        "temperature and dummy without regard to the error",
        {"threshold": (("room = math.log((1 + 2 * mu) / (1 - 2 * mu))", "room = 0"),)},
        {"threshold": 3, "decide": 6},
    ),
    Variant(
        "the temperature does not grow with the number of keys",
        {"threshold": (('"c": math.log(n) + room', '"c": room'), ("c = math.log(n) + tau", "c = tau"))},
        {"threshold": 0, "decide": 7},
    ),
    Variant(
        "a threshold of one half for every kind of error",
        {"threshold": (("(1 - mu) / 2}", "0.5}"),)},
        {"threshold": 2},
    ),
    Variant(
        "every row is looked at, whatever the outputs say",
        {"decide": (("np.flatnonzero(np.ravel(outputs) > theta)", "range(len(a))"),)},
        {"decide": 7},
    ),
    Variant(
        "the row with the largest output is believed",
        {
            "decide": (
                ("for i in np.flatnonzero(np.ravel(outputs) > theta):", "for i in [int(np.argmax(outputs))]:"),
                (
                    "partners = np.flatnonzero(b @ a[i] == 0)",
                    "partners = [np.argmin(b @ a[i])] * int(np.max(outputs) > theta)",
                ),
            )
        },
        {"decide": 6},
    ),
    Variant(
        "a vertex does not dominate itself",
        {"others": (("1 - adjacency - np.eye(len(adjacency), dtype=int)", "1 - adjacency"),)},
        {"others": 2},
    ),
)

RIGHT = (
    Variant(
        "assignments as tuples, everything scaled another way",
        {
            "vectors": """
import itertools


def split_and_list(variables, clauses):
    h = variables // 2
    lists = []
    for names in (range(1, h + 1), range(h + 1, variables + 1)):
        rows = []
        for bits in itertools.product((False, True), repeat=len(names)):
            value = dict(zip(names, bits[::-1]))
            rows.append([int(not any(value.get(abs(x)) == (x > 0) for x in clause)) for clause in clauses])
        lists.append(np.array(rows, dtype=np.uint8).reshape(len(rows), len(clauses)))
    return lists
""",
            "scores": '''
def inputs(a, b, c, tau):
    """The dummy comes last, and the temperature sits in the queries."""
    n_a, n_b, m = len(a), len(b), a.shape[1]
    d_k = 2 * m + 3
    root = d_k**0.5
    q, k = np.zeros((n_a, d_k)), np.zeros((n_b + 1, d_k))
    q[:, :m] = np.asarray(a, float) * c * root
    q[:, m] = root
    k[:n_b, :m] = -np.asarray(b, float)
    k[n_b, m] = -tau
    return q, k, np.array([[1.0]] * n_b + [[0.0]])
''',
            "threshold": '''
def temperature(n, mu, kind):
    """A symmetric choice for additive errors; for the others the threshold between the two worst rows."""
    if mu >= {"additive": 0.5, "multiplicative": 1.0}[kind]:
        return None
    if kind == "additive":
        delta = 4 * math.atanh(2 * mu) + 3
        return dict(c=math.log(n) + delta, tau=delta / 2, theta=0.5)
    delta, tau = math.log((1 + mu) / (1 - mu)) + 3.5, 1.0
    yes, no = 1 / (1 + math.exp(-tau)), 1 / (1 + math.exp(delta - tau))
    return {"theta": (yes * (1 - mu) + no * (1 + mu)) / 2, "c": delta + math.log(n), "tau": tau}
''',
            "others": """
def contained(a, b):
    outside = np.where(np.asarray(b) == 1, 0, 1)
    return np.array(a, dtype=float), outside.astype(float)


def dominating(adjacency):
    n = len(adjacency)
    rows = [[0 if i == j or adjacency[i][j] else 1 for j in range(n)] for i in range(n)]
    return np.array(rows), np.array(rows)
""",
        },
    ),
    Variant(
        "the answer is written by sets, and checked",
        {
            "vectors": """
class Half:
    def __init__(self, first, count):
        self.first, self.count = first, count

    def true_literals(self, row):
        return {(self.first + i) if row >> i & 1 else -(self.first + i) for i in range(self.count)}

    def vectors(self, clauses):
        found = np.ones((2**self.count, len(clauses)))
        for row in range(2**self.count):
            true = self.true_literals(row)
            for j, clause in enumerate(clauses):
                found[row, j] = not true & set(clause)
        return found


def halves(variables):
    h = variables // 2
    return Half(1, h), Half(h + 1, variables - h)
""",
            "scores": '''
def inputs(a, b, c, tau):
    """All logits are larger by tau, which the softmax does not notice; d_k is a square."""
    m = np.shape(a)[1]
    root = math.isqrt(m) + 2
    d_k = root * root
    q = np.concatenate([a, np.ones((len(a), 1)), np.zeros((len(a), d_k - m - 1))], axis=1)
    keys = np.concatenate([-c * b, np.full((len(b), 1), tau), np.zeros((len(b), d_k - m - 1))], axis=1)
    keys = np.concatenate([np.zeros((1, d_k)), keys]) * root
    return q, keys, (np.arange(len(keys)) > 0).astype(float)[:, None]
''',
            "decide": """
def prepare(variables, clauses, mu):
    lists = [half.vectors(clauses) for half in halves(variables)]
    return lists, temperature(len(lists[1]), mu, "additive")


def satisfies(values, clauses):
    return all(any(values[abs(x) - 1] == (x > 0) for x in clause) for clause in clauses)


def question(variables, clauses, mu):
    (a, b), t = prepare(variables, clauses, mu)
    return inputs(a, b, t["c"], t["tau"])


def answer(variables, clauses, mu, outputs):
    (a, b), t = prepare(variables, clauses, mu)
    first, second = halves(variables)
    says_yes = [i for i, y in enumerate(np.asarray(outputs).reshape(-1)) if y > t["theta"]]
    for i in says_yes:
        for j in range(2**second.count):
            true = first.true_literals(i) | second.true_literals(j)
            values = [x in true for x in range(1, variables + 1)]
            if satisfies(values, clauses):
                return values
    return None
""",
            "adapters": """
def run_split_and_list(variables, clauses):
    return dict(zip("ab", [half.vectors(clauses) for half in halves(variables)]))


def run_inputs(*args):
    return dict(zip("qkv", inputs(*args)))


def run_temperature(*args):
    return temperature(*args)


def run_question(*args):
    return dict(zip("qkv", question(*args)))


def run_answer(*args):
    return answer(*args)


def run_decide(variables, clauses, mu):
    outputs = attnlib.attention(*(np.asarray(x, np.float32) for x in question(variables, clauses, mu)))
    return answer(variables, clauses, mu, outputs)


def run_contained(a, b):
    return dict(zip("ab", contained(a, b)))


def run_dominating(adjacency):
    return dict(zip("ab", dominating(adjacency)))
""",
        },
    ),
    Variant(
        "numbers found by search, one more question",
        {
            "threshold": '''
def separates(n, mu, kind, c, tau):
    """The threshold, if the worst rows are apart."""
    yes, no = 1 / (1 + math.exp(-tau)), n / (n + math.exp(c - tau))
    low, high = (yes - mu, no + mu) if kind == "additive" else (yes * (1 - mu), no * (1 + mu))
    return (low + high) / 2 if low - high > 1e-4 else None


def temperature(n, mu, kind):
    if mu >= (0.5 if kind == "additive" else 1):
        return None
    delta = 0.5
    while True:
        for tau in (delta / 2, 1.0, 0.25):
            theta = separates(n, mu, kind, math.log(n) + delta, tau)
            if theta is not None:
                return {"c": math.log(n) + delta, "tau": tau, "theta": theta}
        delta += 0.5
''',
            "decide": """
def question(variables, clauses, mu):
    first, second = split_and_list(variables, clauses)
    t = temperature(len(second), min(0.49, mu + 0.02), "additive")
    return inputs(first, second, t["c"], t["tau"])


def answer(variables, clauses, mu, outputs):
    first, second = split_and_list(variables, clauses)
    theta = temperature(len(second), min(0.49, mu + 0.02), "additive")["theta"]
    yes = np.asarray(outputs).ravel() > theta
    products = first[yes] @ second.T
    if not (products == 0).any():
        return None
    place, j = np.argwhere(products == 0)[0]
    i = np.flatnonzero(yes)[place]
    h = variables // 2
    return [bool(i // 2**x % 2) for x in range(h)] + [bool(j // 2**x % 2) for x in range(variables - h)]
""",
            "others": """
def contained(a, b):
    return 1 - (1 - a), np.logical_not(b).astype(np.uint8)


def dominating(adjacency):
    reached = np.maximum(adjacency, np.identity(len(adjacency)))
    return (reached == 0).astype(int), (reached == 0).astype(int)
""",
        },
    ),
)
