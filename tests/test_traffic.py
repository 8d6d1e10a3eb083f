"""Numbers moved: the models equal loops that really run in a fast memory that counts and refuses to overflow."""

import itertools

import numpy as np
import pytest
import sympy
from support import FULL

from attnlib import cost, reference
from attnlib.cost.traffic import reads, tiling
from attnlib.measure.fastmemory import FastMemory, materialised, tiled

TRIALS = 2000 if FULL else 150


def exact(q, k, v, do, mask=None):
    """The output and the gradients of the definition."""
    return reference.attention(q, k, v, mask=mask), *reference.attention_backward(q, k, v, do, mask=mask)


def draw(rng, longest):
    n, m, d_k, d_v = (int(rng.integers(1, most)) for most in (longest, longest, 9, 9))
    shapes = (n, d_k), (m, d_k), (m, d_v), (n, d_v)
    return (n, m, d_k, d_v), [rng.normal(size=shape) for shape in shapes]


def check(fast, model, results, expected):
    assert (fast.read, fast.written, fast.held) == (model.read, model.written, 0)
    assert fast.most <= max(step.held for step in model.steps) <= fast.capacity
    for got, wanted in zip(results, expected, strict=False):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("backward", [False, True])
def test_scores_written_down(rng, backward):
    for _ in range(TRIALS // 3):  # number by number: slow
        (n, m, d_k, d_v), (q, k, v, do) = draw(rng, 18)
        fast = FastMemory(int(np.exp(rng.uniform(np.log(3), np.log(400)))))
        model = cost.attention_io(n, d_k, fast.capacity, m=m, d_v=d_v, backward=backward)
        results = materialised(fast, q, k, v, do if backward else None)
        assert len(results) == (4 if backward else 1)
        check(fast, model, results, exact(q, k, v, do))
        assert fast.most == max(step.held for step in model.steps)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("outer", ["queries", "keys"])
def test_tiles(rng, outer, backward):
    ran = 0
    for _ in range(TRIALS):
        (n, m, d_k, d_v), (q, k, v, do) = draw(rng, 40)
        kwargs = {"causal": bool(rng.integers(2)), "window": [None, 1, 4, 15][rng.integers(4)]}
        visible = reference.visible(n, m, **kwargs)
        fast = FastMemory(int(np.exp(rng.uniform(np.log(30), np.log(2000)))))
        if rng.integers(2):
            kwargs["resident"] = float(rng.uniform(0.05, 1))
        else:
            kwargs |= {"block_q": int(rng.integers(1, 50)), "block_k": [None, 3][rng.integers(2)]}
        try:
            model = cost.flash_attention_io(
                n, d_k, fast.capacity, m=m, d_v=d_v, outer=outer, backward=backward, **kwargs
            )
        except ValueError as error:
            assert "memory: expected at least" in str(error)  # noqa: PT017  (most draws do not raise)
            continue
        blocks = {"blocks": model["forward"].blocks}
        if backward:
            blocks["blocks_backward"] = model["backward"].blocks
        results = tiled(fast, q, k, v, do if backward else None, outer=outer, visible=visible, **blocks)
        assert len(results) == (4 if backward else 1)
        check(fast, model, results, exact(q, k, v, do, visible))
        ran += 1
    assert ran > TRIALS / 2


@pytest.mark.parametrize("outer", ["queries", "keys"])
@pytest.mark.parametrize("backward", [False, True])
def test_the_fast_memory_is_full_and_no_fuller(rng, outer, backward):
    """What the model says is held is held at some moment; with room for one number less the loops are refused."""
    (q, k), v, do = rng.normal(size=(2, 20, 4)), rng.normal(size=(20, 3)), rng.normal(size=(20, 3))
    for block_q, block_k in itertools.product((1, 4, 7, 20), repeat=2):
        options = {"d_v": 3, "outer": outer, "block_q": block_q, "block_k": block_k, "backward": backward}
        held = max(s.held for s in cost.flash_attention_io(20, 4, 10**6, **options).steps)
        for room in (held, held - 1):
            fast, args = FastMemory(room), (q, k, v, do if backward else None)
            if room == held:
                tiled(fast, *args, outer=outer, blocks=(block_q, block_k))
                assert fast.most == held
                assert cost.flash_attention_io(20, 4, room, **options).total == fast.read + fast.written
            else:
                with pytest.raises(MemoryError, match=r"fast memory: .* are taken, no room for"):
                    tiled(fast, *args, outer=outer, blocks=(block_q, block_k))
                with pytest.raises(ValueError, match="memory: expected at least"):
                    cost.flash_attention_io(20, 4, room, **options)


def test_default_blocks_use_what_there_is():
    """A row more of what passes by would not fit."""
    for memory in (700, 5_000, 50_000):
        for outer, resident in itertools.product(("queries", "keys"), (0.2, 0.5, 1)):
            step = cost.flash_attention_io(10**6, 64, memory, outer=outer, resident=resident)["forward"]
            b_q, b_k = step.blocks
            more = (
                {"block_q": b_q, "block_k": b_k + 1} if outer == "queries" else {"block_q": b_q + 1, "block_k": b_k}
            )
            with pytest.raises(ValueError, match="memory"):
                cost.flash_attention_io(10**6, 64, memory, outer=outer, **more)


# --- leading terms and limits ---------------------------------------------------------------------------------------

N, D, M = sympy.symbols("n d M", positive=True)


@pytest.mark.parametrize(
    ("outer", "step", "constant"),
    [("queries", "forward", 4), ("keys", "forward", 6), ("queries", "backward", 18), ("keys", "backward", 16)],
)
@pytest.mark.parametrize("resident", [0.25, 0.5, 1])
def test_leading_terms(outer, step, constant, resident):
    options = {"outer": outer, "resident": resident, "backward": True}
    moved = cost.flash_attention_io(N, D, M, **options)[step]
    symbolic = sympy.expand(moved.read + moved.written)
    leading = symbolic.coeff(N, 2).coeff(D, 2)
    assert sympy.simplify(leading - constant / sympy.Rational(resident) / M) == 0
    # Integers tend to it when nothing is lost to rounding.
    exact = cost.flash_attention_io(2**22, 64, 2**18, **options)[step]
    b_q, b_k = exact.blocks
    rows = b_q if outer == "queries" else b_k
    lost = (resident * 2**18 / {"forward": 128, "backward": 192 if outer == "queries" else 256}[step]) / rows
    ratio = (exact.read + exact.written) / float(symbolic.subs({N: 2**22, D: 64, M: 2**18}))
    assert 0.999 < ratio / lost < 1.05
    if resident < 1:
        assert lost < 1.02


def test_scores_written_down_in_the_limit():
    moved = cost.attention_io(N, D, M).total
    assert sympy.expand(moved - 4 * N**2 - 2 * N * D - 2 * N**2 * D**2 / M) == 0
    assert sympy.expand(moved.subs(M, N * D) - 4 * N**2 - 4 * N * D) == 0
    backward = cost.attention_io(N, D, M, backward=True)
    assert sympy.expand(backward.total).coeff(N, 2).subs(D, 0) == 11
    # Everything fits: each input once, each output once, and the n × n arrays, which are steps of their own.
    assert cost.attention_io(100, 8, 10**6).total == 4 * 100**2 + 4 * 100 * 8
    for outer in ("queries", "keys"):
        everything = cost.flash_attention_io(100, 8, 10**6, outer=outer, resident=1)
        assert everything.total == 4 * 100 * 8 + 2 * 100


def test_numbers_of_the_chapter():
    """n = 16384, d = 64, M = 50,000: blocks of M/4d rows move 6.0 and 4.0 times less than 4n² + 4nd."""
    n, d, memory = 16384, 64, 50_000
    once = 4 * n**2 + 4 * n * d
    for outer, times in (("queries", 6.0), ("keys", 4.0)):
        total = cost.flash_attention_io(n, d, memory, outer=outer).total
        assert once / total == pytest.approx(times, rel=0.03)


@pytest.mark.parametrize(("outer", "multiple"), [("queries", 1.5), ("keys", 2.5)])
def test_when_tiles_lose(outer, multiple):
    """With r = ½ tiles move less than written scores from M = 1.5 d² and 2.5 d² on: 8x = 4 + 2x, 12x = 4 + 2x."""
    d = 1024  # so that rounding to whole rows does not matter
    for factor, wins in ((0.9, False), (1.1, True)):
        memory = int(factor * multiple * d**2)
        tiles = cost.flash_attention_io(10**6, d, memory, outer=outer).total
        assert (tiles < cost.attention_io(10**6, d, memory).total) == wins


def test_tilings_are_near_the_best(rng):
    """Against every tile of the result, and whole rows of either factor."""
    for _ in range(100):
        rows, columns, depth = (int(x) for x in rng.integers(1, 60, 3))
        memory = int(rng.integers(3, 400))
        tiles = [(x, y) for y in range(1, columns + 1) for x in range(1, rows + 1) if x * y + x + y <= memory]
        best = min(reads(rows, columns, depth, "result", x, y) for x, y in tiles)
        assert reads(rows, columns, depth, *tiling(rows, columns, depth, memory)) <= 1.15 * best


@pytest.mark.parametrize("backward", [False, True])
def test_arrays_are_many_integers(backward):
    lengths, memories = np.array([[100], [3000]]), np.array([500, 7000, 90_000])
    for model in (cost.attention_io, cost.flash_attention_io):
        many = model(lengths, 16, memories, backward=backward)
        for i, j in itertools.product(range(2), range(3)):
            one = model(int(lengths[i, 0]), 16, int(memories[j]), backward=backward)
            for a, b in zip(many.steps, one.steps, strict=True):
                assert a.name == b.name
                assert (a.read[i, j], a.written[i, j], a.held[i, j]) == (b.read, b.written, b.held)
                assert (a.blocks[0][i, j], a.blocks[1][i, j]) == b.blocks
        assert many.total.shape == (2, 3)


def test_steps_by_name():
    with pytest.raises(KeyError, match="no step 'backward'; steps: forward"):
        cost.flash_attention_io(8, 2, 100)["backward"]


# --- bad input: argument, expected, got, function, arguments --------------------------------------------------------


def bad(fn, argument, expected, got, **kwargs):
    sizes = {"n": 8, "d_k": 4, "memory": 1000} | kwargs
    return argument, expected, got, fn, (sizes.pop("n"), sizes.pop("d_k"), sizes.pop("memory")), sizes


BAD = [
    *(
        bad(fn, name, "a whole number of at least 1", "0", **{name: 0})
        for fn in (cost.attention_io, cost.flash_attention_io)
        for name in ("n", "d_k", "memory", "m", "d_v")
    ),
    bad(cost.attention_io, "memory", "room for at least 3 numbers", "2", memory=2),
    bad(cost.attention_io, "backward", "True or False", "1", backward=1),
    bad(cost.flash_attention_io, "memory", "at least 19 numbers for blocks of 1 queries and 1 keys", "18", memory=18),
    bad(cost.flash_attention_io, "outer", "'queries' or 'keys'", "'rows'", outer="rows"),
    bad(cost.flash_attention_io, "causal", "True or False", "1", causal=1),
    bad(cost.flash_attention_io, "window", "an integer of at least 1", "0", window=0),
    bad(cost.flash_attention_io, "resident", "a share above 0", "0", resident=0),
    bad(cost.flash_attention_io, "resident", "a share above 0", "True", resident=True),
    bad(cost.flash_attention_io, "block_q", "an integer of at least 1", "0", block_q=0),
    bad(cost.flash_attention_io, "block_k", "an integer of at least 1", "True", block_k=True),
    bad(cost.flash_attention_io, "backward", "True or False", "1", backward=1),
    bad(cost.flash_attention_io, "n", "integers with causal", "n", n=N, causal=True),
]


def test_bad_input_of_the_loops(refuses):
    x = np.zeros((4, 2))
    refuses("capacity", "an integer of at least 1", "0", FastMemory, 0)
    for run, options in ((materialised, {}), (tiled, {"blocks": (1, 1)})):
        refuses("q", "two axes", "(4,)", run, FastMemory(100), x[:, 0], x, x, **options)
        refuses("k", "shape (3, 2)", "(3, 1)", run, FastMemory(100), x, x[:3, :1], x, **options)
        refuses("v", "shape (4, 2)", "(3, 2)", run, FastMemory(100), x, x, x[:3], **options)
        refuses("do", "shape (4, 2)", "(3, 2)", run, FastMemory(100), x, x, x, x[:3], **options)
    refuses("outer", "'queries' or 'keys'", "'rows'", tiled, FastMemory(100), x, x, x, blocks=(1, 1), outer="rows")
    refuses("blocks", "two integers", "(0, 1)", tiled, FastMemory(100), x, x, x, blocks=(0, 1))
    pairs = np.ones((4, 3), bool)
    refuses("visible", "shape (4, 4)", "(4, 3)", tiled, FastMemory(100), x, x, x, blocks=(1, 1), visible=pairs)
