"""The paper's constructions: right with enough digits, blind in float64; its window reaches half the pairs."""

import math
from decimal import Context, Decimal, localcontext

import jax.numpy as jnp
import numpy as np
import pytest
from support import FULL, float64
from test_hardness_cnf import cadical

from attnlib import attention
from attnlib.hardness import (
    orthogonal_pair,
    paper_bits,
    paper_decide,
    paper_gadget,
    paper_outputs,
    random_ksat,
    split_and_list,
    window_coverage,
)
from attnlib.hardness.paper import _bounds, _chain, _context

KERNELS = ("softmax", "exponential", "l2")


def formula(v, m, satisfiable):
    return next(f for s in range(10_000) if cadical(f := random_ksat(v, m, 3, seed=s)) == satisfiable)


@pytest.mark.parametrize(("v", "m"), [(4, 17), (8, 34)])
def test_float64_cannot_tell_yes_from_no(v, m):
    """Theorem 5 as printed: every output is 1.0 for both, and 817 bits or more would be needed."""
    outputs, exact = [], []
    for satisfiable in (True, False):
        a, b = split_and_list(formula(v, m, satisfiable))
        q, x, _ = paper_gadget(a, b)
        with float64():
            q, x = jnp.asarray(q), jnp.asarray(x)
            outputs.append(np.asarray(attention(q, q, x, scale=1.0))[: len(a), 0])
        exact.append(paper_outputs(a, b))
        assert paper_decide(a, b) == satisfiable
    assert abs(np.array(outputs) - 1).max() <= 2 * np.finfo(float).eps  # one in the last place: sums of 1/3
    assert v > 4 or (np.array(outputs) == 1.0).all()
    # What float64 cannot see: the row that says yes is nearer to 1 than any that says no, by hundreds of digits.
    with localcontext(Context(prec=4 * math.ceil(paper_bits(2**v, 2 * m)))):
        assert 0 < 1 - max(exact[0]) < min(1 - y for y in exact[1])
    assert paper_bits(2 ** (v // 2), m) > 800


def test_bits():
    assert [round(paper_bits(2 ** (v // 2), m)) for v, m in ((4, 17), (10, 43), (20, 85))] == [817, 5421, 21442]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("multiplicative", [0.0, 0.1, 0.5, 0.999])
def test_decides_in_exact_arithmetic(kernel, multiplicative, rng):
    answers = set()
    for trial in range(40 if FULL else 6):
        n, m = int(rng.integers(2, 9)), int(rng.integers(1, 9))
        a, b = (rng.integers(0, 3, (n, m)).astype(bool).astype(np.uint8) for _ in range(2))
        if trial % 2:
            b[-1] = 1 - a[0]
        else:
            a[:, 0] = b[:, 0] = 1
        yes = orthogonal_pair(a, b) is not None
        answers.add(yes)
        assert paper_decide(a, b, kernel=kernel, multiplicative=multiplicative) == yes
        # Each output keeps the bound of the proof, and with every error allowed the bounds stay apart.
        outputs = paper_outputs(a, b, kernel=kernel, multiplicative=multiplicative)
        has = ((a.astype(int) @ b.T) == 0).any(1)
        _, _, c = paper_gadget(a, b, kernel=kernel, multiplicative=multiplicative)
        *_, t = _chain("test", a, b, kernel, multiplicative)
        with localcontext(_context(c, 3 * m)):
            above, below = _bounds(n, kernel, bool(multiplicative), c, t)
            sign = -1 if kernel == "softmax" and multiplicative else 1
            mu = Decimal(multiplicative)
            assert sign * ((1 - sign * mu) * above - (1 + sign * mu) * below) > 0
            for y, good in zip(outputs, has, strict=True):
                room = Decimal("1e-25") * y  # equal up to rounding, when all products are as bad as can be
                assert sign * y >= sign * above - room if good else sign * y <= sign * below + room
    assert answers == {True, False}


@pytest.mark.parametrize("multiplicative", [0.0, 0.5])
def test_exact_outputs_are_those_of_attention(multiplicative, rng):
    """Where float64 has enough digits: tiny dimensions."""
    a, b = (rng.integers(0, 2, (4, 2)).astype(np.uint8) for _ in range(2))
    q, v, _ = paper_gadget(a, b, multiplicative=multiplicative)
    with float64():
        q, v = jnp.asarray(q), jnp.asarray(v)
        y = np.asarray(attention(q, q, v, scale=1.0))[:4, 0]
    np.testing.assert_allclose(y, [float(x) for x in paper_outputs(a, b, multiplicative=multiplicative)], rtol=1e-11)


@pytest.mark.parametrize("kernel", ["exponential", "l2"])
def test_exact_outputs_without_division(kernel, rng):
    a, b = (rng.integers(0, 2, (3, 2)).astype(np.uint8) for _ in range(2))
    q, v, c = paper_gadget(a, b, kernel=kernel)
    s = np.exp(q @ q.T if kernel == "exponential" else -c * ((q[:, None] - q) ** 2).sum(-1))
    expected = (s @ v)[:3, 0]
    np.testing.assert_allclose([float(x) for x in paper_outputs(a, b, kernel=kernel)], expected, rtol=1e-11)


@pytest.mark.parametrize(("n", "w"), [(256, 16), (576, 16), (1024, 64), (900, 36)])
def test_window_reaches_half_the_pairs(n, w):
    assert window_coverage(n, w, w // 2) == 0.5
    assert window_coverage(n, w, w) == 1.0
    vectors = math.isqrt(n * w)
    assert vectors * vectors == n * w
    # Once more, token by token.
    rows = [("a", i) for p in range(vectors // w) for _ in range(vectors // w) for i in range(p * w, (p + 1) * w)]
    tokens = [t for x, row in enumerate(rows) for t in (row, ("b", x % vectors))]
    seen = set()
    for i, (kind, x) in enumerate(tokens):
        if kind == "a":
            seen |= {(x, tokens[(i + r) % len(tokens)]) for r in range(-(w // 2), w // 2 + 1)}
    assert sum(kind == "b" for _, (kind, _) in seen) == vectors**2 // 2


# --- bad input: argument, expected, got, function, arguments --------------------------------------------------------

Z = np.ones((2, 3), np.uint8)
BAD = [
    ("n", "an integer of at least 1", "0", paper_bits, (0, 1), {}),
    ("m", "an integer of at least 1", "1.0", paper_bits, (1, 1.0), {}),
    ("n", "an integer of at least 1", "0", window_coverage, (0, 16, 8), {}),
    ("n", "a multiple of window = 16", "255", window_coverage, (255, 16, 8), {}),
    ("window", "an integer of at least 1", "None", window_coverage, (256, None, 8), {}),
    ("reach", "an integer of at least 1", "-1", window_coverage, (256, 16, -1), {}),
]
for fn in (paper_gadget, paper_outputs, paper_decide):
    BAD += [
        ("a", "uint8 (n, d)", "list", fn, ([], Z), {}),
        ("a", "a dimension of at least 1", "(2, 0)", fn, (Z[:, :0], Z[:, :0]), {}),
        ("b", "as many vectors as in a, 2 at least", "2 and 1", fn, (Z, Z[:1]), {}),
        ("b", "as many vectors as in a, 2 at least", "1 and 1", fn, (Z[:1], Z[:1]), {}),
        ("kernel", "one of softmax, exponential, l2", "'relu'", fn, (Z, Z), {"kernel": "relu"}),
        ("multiplicative", "a number from 0 to below 1", "1.0", fn, (Z, Z), {"multiplicative": 1.0}),
    ]
