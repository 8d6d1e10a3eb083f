"""Cost models: equal to what the compiler counts, the same for integers, arrays and symbols, and literal numbers."""

import dataclasses
import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from support import FULL

import attnlib
from attnlib import cost, count, registry
from attnlib.cost import Cost, Step
from attnlib.measure.count import with_backward

TRIALS = 600 if FULL else 200


def shape(*axes):
    return jax.ShapeDtypeStruct(axes, jnp.float32)


def draw(rng):
    """Draw sizes: queries, keys, widths, batch, heads, heads of keys, inner width, causal, cross-attention."""
    integers = {"n": 40, "m": 40, "d_k": 20, "d_v": 20, "batch": 4, "h_kv": 4, "g": 4, "d": 30, "d_ff": 60}
    drawn = {name: int(rng.integers(1, most)) for name, most in integers.items()}
    return drawn | {"causal": bool(rng.integers(2)), "cross": bool(rng.integers(2))}


def programs(n, m, d_k, d_v, batch, h_kv, g, d, d_ff, causal, cross):
    """Yield each kernel of these sizes, its result, its arguments, and its cost model that still takes `backward`."""
    h = h_kv * g
    heads = {"h": h, "h_kv": h_kv, "batch": batch, "causal": causal}
    q, k, v = shape(batch, h_kv, g, n, d_k), shape(batch, h_kv, 1, m, d_k), shape(batch, h_kv, 1, m, d_v)
    yield (
        functools.partial(attnlib.attention, causal=causal),
        shape(batch, h_kv, g, n, d_v),
        (q, k, v),
        functools.partial(cost.attention, n, d_k, m=m, d_v=d_v, **heads),
    )
    weights = {
        "w_q": shape(h, d, d_k),
        "w_k": shape(h_kv, d, d_k),
        "w_v": shape(h_kv, d, d_v),
        "w_o": shape(h, d_v, d),
    }
    x, memory = shape(batch, n, d), (shape(batch, m, d),) if cross else ()
    yield (
        lambda p, x, z=None: attnlib.multihead_attention(p, x, memory=z, causal=causal),
        x,
        (weights, x, *memory),
        functools.partial(cost.multihead_attention, n, d, d_k=d_k, d_v=d_v, m=m if cross else None, **heads),
    )
    yield (
        attnlib.feed_forward,
        x,
        ({"w_1": shape(d, d_ff), "w_2": shape(d_ff, d)}, x),
        functools.partial(cost.feed_forward, n, d, d_ff=d_ff, batch=batch),
    )


@pytest.mark.sample(3)
@pytest.mark.parametrize("seed", range(10))
def test_operations_equal_what_the_compiler_counts(seed):
    rng = np.random.default_rng(seed)
    for _ in range(TRIALS // 10):
        sizes = draw(rng)
        for fn, out, args, model in programs(**sizes):
            for c, counted in (
                (model(), count.operations(fn, *args)),
                (model(backward=True), count.operations(with_backward(fn), out, *args)),
            ):
                modelled = count.Operations(c.matmul_flops, c.other_flops, c.transcendentals)
                assert modelled == counted, (model, sizes)
            if not sizes["causal"]:
                assert model().saved == count.saved(fn, *args), (model, sizes)


def test_parameters_and_half_precision_equal_what_is_saved(rng):
    half = functools.partial(jax.tree.map, lambda s: jax.ShapeDtypeStruct(s.shape, jnp.bfloat16))
    for _, _, args, model in programs(**draw(rng) | {"causal": False, "cross": False}):
        weights = args[0] if isinstance(args[0], dict) else {}
        assert model().parameters == sum(w.size for w in weights.values())
    q, k, v = (half(shape(2, n, 8)) for n in (16, 24, 24))
    assert count.saved(attnlib.attention, q, k, v) >= cost.attention(16, 8, m=24, h=2, dtype="bfloat16").saved


@pytest.mark.parametrize("n", [1024, 2048])
def test_live_memory_is_what_the_compiler_reserves(n):
    def ratio(fn, out, args, model):
        forward = count.memory(fn, *args) / model().live
        return forward, count.memory(with_backward(fn), out, *args) / model(backward=True).live

    core, layer, feed_forward = (
        ratio(*p) for p in programs(n, n, 32, 32, 1, 2, 1, d=64, d_ff=256, causal=False, cross=False)
    )
    q = shape(2, n, 32)
    flat = ratio(attnlib.attention, q, (q, q, q), functools.partial(cost.attention, n, 32, h=2))
    for got in (*flat, core[0], layer[0]):
        assert got == pytest.approx(1, abs=0.05)
    # What is live is the least that the steps need. With an axis for the groups, newer XLA transposes one n × n array
    # for a product: four instead of three. Older XLA does not apply ReLU in place: one inner layer more.
    for got, most in ((core[1], 4 / 3), (layer[1], 4 / 3), (feed_forward[0], 2), (feed_forward[1], 4 / 3)):
        assert 0.97 < got < most + 0.03
    copies = 2 * n * n * 4
    assert cost.attention(n, 32, h=2).live == 2 * copies
    assert cost.attention(n, 32, h=2, backward=True).live == 3 * copies


# --- symbols, arrays, integers ---

SIZES = ("n", "m", "d", "d_k", "d_v", "d_ff", "d_h", "h", "h_kv", "batch")
# Those that take all symbols: the others count blocks, taps or trees one by one, and have tests of their own.
MODELS = {
    model: [name for name in inspect.signature(model).parameters if name in SIZES]
    for model in (cost.attention, cost.transformer_layer, *(getattr(cost, layer.name) for layer in registry.LAYERS))
    if model not in (cost.conv, cost.s4d, cost.mamba, cost.latent_attention)
}
TOTALS = (
    *("matmul_flops", "other_flops", "flops", "transcendentals", "bytes_read", "bytes_written", "sequential"),
    *("parameters", "live", "saved", "path"),
)


def sizes(rng):
    h_kv, g, e = (int(x) for x in rng.integers(1, 9, 3))
    integers = {name: int(rng.integers(1, 3000)) for name in ("n", "m", "d_k", "d_v", "batch", "d_ff", "d_h")}
    return integers | {"h": g * h_kv, "h_kv": h_kv, "d": g * h_kv * e}


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
@pytest.mark.parametrize("backward", [False, True])
def test_symbols_and_arrays_give_the_integers(model, backward, rng):
    symbols = {name: sympy.Symbol(name, positive=True) for name in MODELS[model]}
    formula = model(**symbols, backward=backward)
    drawn = [{name: s[name] for name in MODELS[model]} for s in (sizes(rng) for _ in range(20))]
    by_array = model(**{name: np.array([s[name] for s in drawn]) for name in MODELS[model]}, backward=backward)
    for i, numbers in enumerate(drawn):
        exact = model(**numbers, backward=backward)
        values = {symbols[name]: value for name, value in numbers.items()}
        for total in TOTALS:
            expected = getattr(exact, total)
            assert type(expected) is int
            assert sympy.sympify(getattr(formula, total)).subs(values) == expected, total
            got = np.broadcast_to(getattr(by_array, total), (20,))
            np.testing.assert_allclose(got[i], expected, rtol=1e-15, err_msg=total)
        assert [s.name for s in exact.steps] == [s.name for s in formula.steps]


def test_numpy_integers_sympy_integers_and_lists_are_sizes():
    exact = cost.attention(1000, 64, h=12)
    assert cost.attention(np.int16(1000), np.uint8(64), h=np.array(12)) == exact
    assert cost.attention(sympy.Integer(1000), 64, h=sympy.Integer(12)) == exact
    assert type(cost.attention(np.int16(1000), 64).flops) is int
    np.testing.assert_array_equal(cost.attention([1000, 10], (64, 64), h=12).flops[0], exact.flops)


def test_nothing_overflows():
    assert cost.attention(10**12, 12288).matmul_flops == 4 * 10**24 * 12288
    lengths = np.array([1, 10**6], dtype=np.int32)
    for model in (cost.attention(lengths, 12288), cost.multihead_attention(lengths, 12288, 96)):
        assert (model.flops > 0).all()
    assert cost.attention(lengths, np.int32(12288)).matmul_flops[1] == 4 * 10**12 * 12288
    layer = cost.transformer_layer(np.full(3, 2**30, np.int32), 12288, 96).matmul_flops
    np.testing.assert_array_equal(layer, float(24 * 2**30 * 12288**2 + 4 * 2**60 * 12288))
    assert cost.visible_pairs(np.array([10**6], np.int32))[0] == 10**6 * (10**6 + 1) // 2


# --- known totals ---


def test_formulas():
    n, d, h, d_k = sympy.symbols("n d h d_k", positive=True)
    core, layer = cost.attention(n, d / h, h=h), cost.multihead_attention(n, d, h)
    assert sympy.expand(core.matmul_flops - 4 * n**2 * d) == 0
    assert core["softmax"].flops == 5 * h * n**2
    assert core.transcendentals == h * n**2
    assert sympy.expand(layer.matmul_flops - (8 * n * d**2 + 4 * n**2 * d)) == 0
    assert sympy.expand(layer.flops - layer.matmul_flops - 5 * h * n**2) == 0
    assert layer.parameters == 4 * d**2
    assert cost.feed_forward(n, d).matmul_flops == 16 * n * d**2
    assert cost.feed_forward(n, d).parameters == 8 * d**2
    block = cost.transformer_layer(n, d, h)
    assert sympy.expand(block.matmul_flops - (24 * n * d**2 + 4 * n**2 * d)) == 0
    assert block.parameters == 12 * d**2
    # The backward pass has two products for each of the forward one.
    for model in (
        functools.partial(cost.multihead_attention, n, d, h),
        functools.partial(cost.attention, n, d_k),
        functools.partial(cost.feed_forward, n, d),
    ):
        assert sympy.expand(model(backward=True).matmul_flops - 3 * model().matmul_flops) == 0
        assert model(backward=True).transcendentals == model().transcendentals
        assert model(backward=True).saved == model().saved
        assert model(backward=True).parameters == model().parameters


def test_crossovers():
    n, d, h = sympy.symbols("n d h", positive=True)
    layer = cost.multihead_attention(n, d, h)
    core = layer["scores"].matmul_flops + layer["values"].matmul_flops
    projections = layer["projections"].matmul_flops + layer["output"].matmul_flops
    assert sympy.solve(core - projections, n) == [2 * d]
    assert sympy.solve(core - projections - cost.feed_forward(n, d).matmul_flops, n) == [6 * d]
    # Half of the pairs: the crossovers are twice as far, up to the diagonal.
    half = core * cost.visible_pairs(n) / n**2
    assert sympy.solve(half - projections, n) == [4 * d - 1]
    assert sympy.solve(half - projections - cost.feed_forward(n, d).matmul_flops, n) == [12 * d - 1]


def test_literal_numbers():
    small, large = cost.multihead_attention(512, 768, 12), cost.multihead_attention(8192, 1024, 16)
    assert (small.matmul_flops, large.matmul_flops) == (3_221_225_472, 343_597_383_680)
    assert small["scores"].matmul_flops == 2 * 201_326_592
    assert large["scores"].matmul_flops == 2 * 68_719_476_736
    core = [c["scores"].matmul_flops + c["values"].matmul_flops for c in (small, large)]
    assert core == [805_306_368, 274_877_906_944]
    assert core[1] / core[0] == pytest.approx(341.33, abs=0.005)
    assert large.matmul_flops / small.matmul_flops == pytest.approx(106.67, abs=0.005)
    blocks = [cost.transformer_layer(512, 768, 12).matmul_flops, cost.transformer_layer(8192, 1024, 16).matmul_flops]
    assert blocks == [8_053_063_680, 481_036_337_152]
    assert blocks[1] / blocks[0] == pytest.approx(59.73, abs=0.005)
    # 5hn² of softmax beside 4n²d: 1.25/d_k.
    for d_k, share in ((32, 0.039), (64, 0.0195), (128, 0.0098)):
        c = cost.attention(1024, d_k)
        assert c["softmax"].flops / c.matmul_flops == 1.25 / d_k == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize(
    ("d", "h", "n", "percent"),
    [(12288, 96, 2048, 2.7), (12288, 96, 32768, 30.8), (4096, 32, 2048, 7.7), (4096, 32, 32768, 57.1)],
)
def test_share_of_the_core_in_a_layer(d, h, n, percent):
    layer = cost.transformer_layer(n, d, h)
    core = layer["scores"].matmul_flops + layer["values"].matmul_flops
    assert round(100 * core / layer.matmul_flops, 1) == percent


def test_scores_of_8_heads_in_float32():
    # One n × n copy per head; the kernel keeps two.
    for n, megabytes in ((512, 8.4), (1000, 32.0), (2000, 128.0), (4096, 536.9)):
        scores = cost.attention(n, 64, h=8)["scores"].bytes_written
        assert round(scores / 1e6, 1) == megabytes
        assert cost.attention(n, 64, h=8).live == 2 * scores
        assert cost.attention(n, 64, h=8, dtype="bfloat16").live == 2 * scores


def test_key_value_caches():
    gpt3, llama2 = {"h_kv": 96, "layers": 96, "dtype": "float16"}, {"h_kv": 32, "layers": 32, "dtype": "float16"}
    llama3 = {"h_kv": 8, "layers": 32}
    assert cost.kv_cache(1, 128, **gpt3) == 4_718_592
    assert cost.kv_cache(2048, 128, **gpt3) == 9 * 2**30
    assert cost.kv_cache(1, 128, **llama2) == 524_288
    assert cost.kv_cache(4096, 128, **llama2) == 2 * 2**30
    assert cost.kv_cache(1, 128, **llama3) == 131_072
    assert cost.kv_cache(131_072, 128, **llama3) == 16 * 2**30
    assert cost.kv_cache(10, 3, d_v=5, batch=7, dtype="float32") == 10 * 8 * 7 * 4


def test_visible_pairs_are_those_of_the_mask():
    for n, m in [(n, m) for n in range(1, 8) for m in range(1, 8)]:
        seen = np.arange(m)[None, :] <= np.arange(n)[:, None] + (m - n)
        assert cost.visible_pairs(n, m) == seen.sum()
        assert cost.visible_pairs(n, m, causal=False) == n * m
    n, m = sympy.symbols("n m", positive=True)
    assert sympy.expand(cost.visible_pairs(n) - n * (n + 1) / 2) == 0
    assert cost.visible_pairs(n, m).subs({n: 4, m: 6}) == cost.visible_pairs(4, 6)
    np.testing.assert_array_equal(cost.visible_pairs([4, 1], [2, 4]), [3, 4])


# --- the algebra ---

A, B = cost.attention(5, 3, backward=True), cost.multihead_attention(7, 6, 2, h_kv=1)
C = cost.feed_forward(11, 6, batch=3)


def totals(c):
    return {name: getattr(c, name) for name in TOTALS}


def test_sums():
    assert (A + B) + C == A + (B + C)
    assert A + Cost() == A == Cost() + A
    assert sum([A, B, C], start=Cost()) == A + B + C
    both = totals(A + B)
    for name in set(TOTALS) - {"live", "path"}:
        assert both[name] == totals(A)[name] + totals(B)[name]
    assert both["live"] == max(A.live, B.live)
    assert totals(A + B) == totals(B + A)
    assert (A + B).steps == (*A.steps, *B.steps)


@pytest.mark.parametrize("k", [1, 2, 12])
@pytest.mark.parametrize("c", [A, B, C, A + C], ids=["attention", "layer", "feed-forward", "sum"])
def test_multiples(c, k):
    assert totals(k * c) == totals(c * k) == totals(sum([c] * k, start=Cost()))
    assert [s.name for s in (k * c).steps] == [s.name for s in c.steps]


def test_distributive_and_symbolic_multiples():
    assert 3 * (A + B) == 3 * A + 3 * B
    layers = sympy.Symbol("L", positive=True)
    assert (layers * C).flops == layers * C.flops
    np.testing.assert_array_equal((np.array([1, 2]) * C).flops, [C.flops, 2 * C.flops])


def test_paths():
    far, near, none = Cost(path=9), Cost(path=2), Cost(path=0)
    assert (far + near).path == (near + far).path == 2
    assert (far + none).path == (none + far).path == 9
    assert (none + none).path == 0
    assert (5 * far).path == 9
    n = sympy.Symbol("n", positive=True)
    assert (Cost(path=n) + Cost(path=1)).path == sympy.Min(1, n)
    np.testing.assert_array_equal((Cost(path=np.array([1, 9])) + near).path, [1, 2])


def test_largest_live_memory_of_symbols_and_arrays():
    n = sympy.Symbol("n", positive=True)
    assert (Cost(live=n) + Cost(live=7)).live == sympy.Max(7, n)
    np.testing.assert_array_equal((Cost(live=np.array([1, 9])) + Cost(live=3)).live, [3, 9])


def test_steps_by_name():
    assert A["scores"] is A.steps[0]
    assert (A + A)["values"] is A.steps[2]
    assert [s.name for s in B.steps] == ["projections", "scores", "softmax", "values", "output"]
    with pytest.raises(KeyError, match=r"no step 'score'; steps: up, activation, down"):
        C["score"]
    assert A["softmax"].flops == 5 * 25
    assert A["scores"] * 2 == dataclasses.replace(
        A["scores"], matmul_flops=300, bytes_read=240, bytes_written=200, sequential=2, allocated=200, calls=2
    )
    assert repr(Step("up", matmul_flops=3)) == "Step('up', matmul_flops=3, sequential=1, calls=1)"


def test_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        A.live = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        A.steps[0].matmul_flops = 3
    before = totals(A)
    _ = A + B, 2 * A, A * 3
    assert totals(A) == before
    assert hash(A) == hash(cost.attention(5, 3, backward=True))


@pytest.mark.parametrize(
    "c",
    [
        A,
        B + C,
        cost.attention([1, 10**6], 64),
        cost.attention(np.arange(1, 99), 64),
        cost.attention(*sympy.symbols("n d")),
    ],
    ids=["integers", "sum", "array", "long array", "symbols"],
)
def test_table(c):
    lines = str(c).splitlines()
    assert len(lines) == len(c.steps) + 2
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split("  ")[0] == "step"
    assert lines[-1].startswith("total")
    assert [line.split("  ")[0] for line in lines[1:-1]] == [s.name for s in c.steps]


def test_table_has_the_numbers():
    row = str(cost.attention(512, 64, h=12)).splitlines()
    assert row[1].split() == ["scores", "402,653,184", "0", "0", "3,145,728", "12,582,912"]
    assert row[-1].split()[1:4] == ["805,306,368", "15,728,640", "3,145,728"]


def test_dtypes():
    for dtype in ("bfloat16", jnp.bfloat16, np.dtype(jnp.bfloat16), jnp.zeros(1, jnp.bfloat16).dtype):
        assert cost.feed_forward(3, 4, dtype=dtype).bytes_read == cost.feed_forward(3, 4).bytes_read / 2
    assert cost.feed_forward(3, 4, dtype=np.float64).live == 2 * cost.feed_forward(3, 4).live
    assert cost.attention(3, 4, dtype="float64").live == 2 * cost.attention(3, 4).live
    assert cost.attention(3, 4, dtype=np.float16).live == cost.attention(3, 4).live


def test_causal_changes_nothing():
    assert cost.attention(7, 3, causal=True) == cost.attention(7, 3)
    assert cost.multihead_attention(7, 6, 2, causal=True) == cost.multihead_attention(7, 6, 2)


def test_operators_refuse_what_they_cannot_add():
    for bad in (lambda: A + 3, lambda: A * B, lambda: A + A.steps[0], lambda: A * A.steps[0]):
        with pytest.raises(TypeError):
            bad()


# --- bad input ---

FUNCTIONS = {
    **{fn: dict.fromkeys(names, 4) for fn, names in MODELS.items()},
    cost.visible_pairs: {"n": 4, "m": 4},
    cost.kv_cache: dict.fromkeys(("m", "d_k", "d_v", "h_kv", "layers", "batch"), 4),
}
NOT_SIZES = [
    *(
        (0, "0"),
        (-1, "-1"),
        (1.5, "1.5"),
        (4.0, "4.0"),
        (True, "True"),
        ("4", "'4'"),
        (float("nan"), "nan"),
        (1j, "1j"),
    ),
    *((sympy.Rational(1, 2), "1/2"), (sympy.oo, "oo"), (sympy.nan, "nan"), (sympy.Integer(0), "0")),
    *(
        ([], "[]"),
        ([1, 0], "[1, 0]"),
        (np.array([1.5]), "1.5"),
        (np.array([True]), "True"),
        ([[1], [1, 2]], "[[1], [1, 2]]"),
    ),
    *((np.array([np.inf]), "inf"), ({}, "{}"), (object, "object")),
]
BAD = [
    *(
        (name, "whole number", got, fn, (), names | {name: value})
        for fn, names in FUNCTIONS.items()
        for name in names
        for value, got in NOT_SIZES
    ),
    *(
        ("dtype", "one of float64, float32", got, fn, (), names | {"dtype": dtype})
        for fn, names in FUNCTIONS.items()
        if fn is not cost.visible_pairs
        for dtype, got in (("float31", "float31"), (np.int32, "int32"), (None, "None"), (4, "4"))
    ),
    *(
        (flag, "True or False", got, fn, (), names | {flag: value})
        for fn, names in FUNCTIONS.items()
        for flag in ("causal", "backward")
        if flag in fn.__annotations__
        for value, got in ((1, "1"), ("no", "'no'"), (None, "None"))
    ),
    ("h_kv", "a divisor of h = 4", "3", cost.attention, (5, 3), {"h": 4, "h_kv": 3}),
    ("h_kv", "a divisor of h", "3", cost.attention, (5, 3), {"h": [3, 4], "h_kv": 3}),
    ("h_kv", "a divisor of h = 4", "8", cost.multihead_attention, (5, 8, 4), {"h_kv": 8}),
    ("h", "a divisor of d = 8", "3", cost.multihead_attention, (5, 8, 3), {}),
    ("h", "a divisor of d = 8", "3", cost.transformer_layer, (5, 8, 3), {}),
    ("times", "whole number", "0", Cost.__mul__, (A, 0), {}),
    ("times", "whole number", "1.5", Cost.__mul__, (A, 1.5), {}),
]


@pytest.mark.parametrize("fn", FUNCTIONS, ids=lambda fn: fn.__name__)
def test_the_good_input_of_the_table_is_good(fn):
    fn(**FUNCTIONS[fn])
