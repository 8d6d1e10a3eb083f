"""Convolutions: Equinox's and the definition as oracles, causality, dilation, lengths, costs, every bad argument."""

import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from jax import export
from support import FULL, float64

from attnlib import conv, conv_stack, cost, count, init_conv, reference
from attnlib.measure.count import with_backward

KINDS = list(itertools.product((False, True), (False, True)))
kinds = pytest.mark.parametrize(("separable", "causal"), KINDS)


def draw(rng, n, d, k, d_out, separable, lead=(), dtype=jnp.float32):
    """Random parameters and input: in NumPy, since what is drawn in JAX compiles for each shape."""
    init = functools.partial(init_conv, d=d, k=k, d_out=d_out, separable=separable)
    params = {w: a.shape for w, a in jax.eval_shape(init, jax.random.key(0)).items()}
    params = {w: jnp.asarray(0.6 * rng.normal(size=shape), dtype) for w, shape in params.items()}
    return params, jnp.asarray(rng.normal(size=(*lead, n, d)), dtype)


@kinds
@pytest.mark.parametrize("size", [(1, 1, 1, 1, ()), (7, 3, 3, 4, ()), (4, 3, 9, 2, (2,)), (11, 2, 5, 5, (2, 3))])
def test_agrees_with_the_definition(separable, causal, size, rng):
    n, d, k, d_out, lead = size
    for dilation in (1, 5):
        params, x = draw(rng, n, d, k, d_out, separable, lead)
        got = jax.jit(functools.partial(conv, causal=causal, dilation=dilation))(params, x)
        exact = reference.conv(params, x, causal=causal, dilation=dilation)
        np.testing.assert_allclose(got, exact, rtol=1e-5, atol=1e-5)
    if causal:  # an even width has no middle
        params, x = draw(rng, n, d, 4, d_out, separable, lead)
        exact = reference.conv(params, x, causal=True)
        np.testing.assert_allclose(conv(params, x, causal=True), exact, rtol=1e-5, atol=1e-5)


@kinds
@pytest.mark.parametrize("trial", range(10 if FULL else 1))
def test_values_and_gradients_are_those_of_equinox(separable, causal, trial):
    rng = np.random.default_rng(trial)
    n, d, d_out, dilation = (int(s) for s in rng.integers(1, 8, 4))
    k = 2 * int(rng.integers(0, 4)) + 1
    with float64():
        params, x = draw(rng, n, d, k, d_out, separable, dtype=jnp.float64)
        do = jnp.asarray(rng.normal(size=(n, d_out)))

        def theirs(p, x):
            """Channels first; padding as `conv` has it; depthwise is a convolution with a group for each channel."""
            reach = dilation * (k - 1)
            padding = [(reach, 0)] if causal else [(reach // 2, reach // 2)]
            layer = functools.partial(eqx.nn.Conv1d, key=jax.random.key(0), dtype=jnp.float64)
            if not separable:
                one = layer(d, d_out, k, padding=padding, dilation=dilation)
                one = eqx.tree_at(lambda c: (c.weight, c.bias), one, (p["w"].transpose(2, 1, 0), p["b"][:, None]))
                return one(x.T).T
            depth = layer(d, d, k, padding=padding, dilation=dilation, groups=d, use_bias=False)
            point = layer(d, d_out, 1)
            depth = eqx.tree_at(lambda c: c.weight, depth, p["w_depth"].T[:, None])
            point = eqx.tree_at(lambda c: (c.weight, c.bias), point, (p["w_point"].T[..., None], p["b"][:, None]))
            return point(depth(x.T)).T

        def ours(p, x):
            return conv(p, x, causal=causal, dilation=dilation)

        runs = [jax.jit(lambda p, x, f=f: (f(p, x), jax.vjp(f, p, x)[1](do))) for f in (ours, theirs)]
        for a, b in zip(*(jax.tree.leaves(run(params, x)) for run in runs), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@kinds
def test_positions_that_an_output_depends_on(separable, causal, rng):
    params, x = draw(rng, 12, 2, 3, 2, separable)
    for dilation in (1, 4):
        meets = jax.jacobian(lambda x, dil=dilation: conv(params, x, causal=causal, dilation=dil))(x).any(axis=(1, 3))
        past = np.arange(12)[:, None] - np.arange(12)[None, :]
        taps = (0, dilation, 2 * dilation) if causal else (-dilation, 0, dilation)
        np.testing.assert_array_equal(meets, np.isin(past, taps))


@kinds
def test_lengths(separable, causal, rng):
    """Whatever stands beyond the end; each sequence alone, cut to its length, is the oracle."""
    params, x = draw(rng, 9, 3, 3, 4, separable, (2, 3))
    second = draw(rng, 9, 4, 3, 2, separable)[0]
    lengths = jnp.array([[0, 1, 9], [4, 20, 3]])

    def run(p, x):
        return conv_stack([p, second], x, causal=causal, dilations=[1, 2], lengths=lengths)

    fn, slope = jax.jit(run), jax.jit(jax.grad(lambda p, x: (run(p, x) ** 2).sum(), (0, 1)))
    clean = slope(params, x)
    for pad in (0.0, 1e30, np.nan, np.inf):
        padded = jnp.where(jnp.arange(9)[None, None, :, None] < lengths[..., None, None], x, pad)
        y, gradients = fn(params, padded), slope(params, padded)
        for a, b in zip(jax.tree.leaves(gradients), jax.tree.leaves(clean), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        for i, j in itertools.product(range(2), range(3)):
            m = min(int(lengths[i, j]), 9)
            assert not y[i, j, m:].any()
            assert not gradients[1][i, j, m:].any()
            alone = reference.conv_stack([params, second], x[i, j, :m], causal=causal, dilations=[1, 2])
            np.testing.assert_allclose(y[i, j, :m], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("separable", [False, True])
def test_stack(separable, rng):
    layers = [draw(rng, 9, 3, 3, 3, separable)[0] for _ in range(3)]
    x = draw(rng, 30, 3, 3, 3, separable, (2,))[1]
    got = conv_stack(layers, x, causal=True, dilations=[1, 3, 9])
    y = x
    for i, params in enumerate(layers):
        y = conv(params, y if i == 0 else jnp.maximum(y, 0), causal=True, dilation=3**i)
    np.testing.assert_allclose(got, y, rtol=1e-6)
    linear = conv_stack(layers, x, activation=None)
    np.testing.assert_allclose(linear, functools.reduce(lambda y, p: conv(p, y), layers, x), rtol=1e-6)
    meets = jax.jacobian(lambda x: conv_stack(layers, x, causal=True, dilations=[1, 3, 9], activation=None)[0, 29])(x)
    np.testing.assert_array_equal(meets.any(axis=(0, 1, 3)), np.arange(30) >= 3)  # 27 positions


@kinds
def test_vmap_and_export(separable, causal, rng):
    params, x = draw(rng, 8, 3, 3, 4, separable, (2,))
    fn = functools.partial(conv, causal=causal)
    np.testing.assert_allclose(jax.vmap(fn, (None, 0))(params, x), fn(params, x), rtol=1e-6, atol=1e-6)
    many = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), params)
    np.testing.assert_allclose(
        jax.vmap(fn)(many, x)[1], fn(jax.tree.map(lambda a: 2 * a, params), x[1]), rtol=1e-5, atol=1e-5
    )

    def loss(p, x):
        return fn(p, x).astype(jnp.float32).sum()

    for platform, dtype in zip(("cpu", "cuda", "tpu"), (jnp.float16, jnp.bfloat16, jnp.float32), strict=True):
        exported = export.export(jax.jit(jax.value_and_grad(loss, (0, 1))), platforms=[platform])
        assert exported(params, x.astype(dtype)).platforms == (platform,)


@kinds
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision(separable, causal, dtype, rng):
    params, x = draw(rng, 64, 32, 5, 32, separable, dtype=dtype)
    y = conv(params, x, causal=causal)
    assert y.dtype == dtype
    exact = reference.conv(params, x, causal=causal)
    # A rounding for each of the steps (taps, product, bias), on sums that are several times the result.
    assert np.abs(np.asarray(y, np.float64) - exact).max() <= 8 * float(jnp.finfo(dtype).eps) * np.abs(exact).max()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_many_taps_are_summed_in_wide_numbers(dtype, rng):
    """513 terms of one sign: a sum in 8 or 11 bits stops growing."""
    params, x = draw(rng, 600, 4, 513, 4, True, dtype=dtype)
    params["w_depth"] = jnp.full((513, 4), 1 / 513, dtype)
    x = jnp.asarray(1 + rng.random((600, 4)), dtype)
    exact = reference.conv(params, x, causal=True)
    error = np.abs(np.asarray(conv(params, x, causal=True), np.float64) - exact).max()
    assert error <= 8 * float(jnp.finfo(dtype).eps) * np.abs(exact).max()


def test_taps_that_cancel_beyond_the_largest_number_of_the_dtype():
    params = {"w_depth": [[1], [1], [-1]], "w_point": [[1]], "b": [0]}
    params = {name: jnp.asarray(values, jnp.float16) for name, values in params.items()}
    out = conv(params, jnp.full((3, 1), 4e4, jnp.float16), causal=True)
    assert out[:, 0].tolist() == [-4e4, 0, 4e4]


def test_an_activation_runs_between_layers_and_on_nothing_else(rng):
    """One that halves the width, after which an odd one would be left: it is not asked about the last output."""

    def halves(x):
        first, second = jnp.split(x, 2, axis=-1)
        return first * jax.nn.sigmoid(second)

    layers = [init_conv(jax.random.key(0), 4, 3, d_out=6), init_conv(jax.random.key(1), 3, 3, d_out=5)]
    x = jnp.asarray(rng.normal(size=(7, 4)), jnp.float32)
    out = conv_stack(layers, x, activation=halves)
    np.testing.assert_array_equal(out, conv(layers[1], halves(conv(layers[0], x))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda layers, dilations: layers[2].update(b=layers[2]["b"][:3]), r"layers\[2\]: b: expected shape \(4,\)"),
        (lambda layers, dilations: dilations.__setitem__(2, 0), r"layers\[2\]: dilation: expected .* got 0"),
    ],
)
def test_a_stack_is_checked_before_anything_is_computed(change, message, rng):
    layers = [init_conv(jax.random.key(i), 4, 3) for i in range(3)]
    dilations, ran = [1, 1, 1], []
    change(layers, dilations)

    def activation(x):
        if not isinstance(x, jax.core.Tracer):
            ran.append(x)
        return x

    with pytest.raises(ValueError, match=message):
        conv_stack(layers, jnp.ones((5, 4)), dilations=dilations, activation=activation)
    assert not ran


# --- costs ----------------------------------------------------------------------------------------------------------


@kinds
def test_operations_equal_what_the_compiler_counts(separable, causal, rng):
    for _ in range(20 if FULL else 6):
        n, d, d_out, batch = (int(s) for s in rng.integers(1, 30, 4))
        k, dilation = 2 * int(rng.integers(0, 4)) + 1, int(rng.integers(1, 5))
        init = functools.partial(init_conv, d=d, k=k, d_out=d_out, separable=separable)
        params = jax.eval_shape(init, jax.random.key(0))
        x, y = (jax.ShapeDtypeStruct((batch, n, width), jnp.float32) for width in (d, d_out))
        fn = functools.partial(conv, causal=causal, dilation=dilation)
        kwargs = {"d_out": d_out, "separable": separable, "causal": causal, "dilation": dilation, "batch": batch}
        c, both = cost.conv(n, d, k, **kwargs), cost.conv(n, d, k, **kwargs, backward=True)
        counted = count.operations(fn, params, x)
        assert count.Operations(c.matmul_flops, c.other_flops, 0) == counted
        backward = count.operations(with_backward(fn), y, params, x)
        assert both.matmul_flops == backward.matmul_flops == 3 * c.matmul_flops
        assert c.parameters == sum(a.size for a in params.values())
        if separable:
            # JAX adds the gradients of the k taps as whole arrays, those of x with its padding, those of w_depth with
            # zeros for all other taps, and keeps k copies; the compiler fuses them away.
            padding = dilation * (k - 1)
            assert backward.other_flops == both.other_flops + (k - 1) * d * (padding * batch + k)
        else:
            assert both.other_flops == backward.other_flops
            assert c.saved == count.saved(fn, params, x)


def test_formulas():
    n, d, k = sympy.symbols("n d k", positive=True)
    assert cost.conv(n, d, k).matmul_flops == 2 * k * n * d**2
    assert cost.conv(n, d, k, separable=True).matmul_flops == 2 * n * d**2
    assert sympy.expand(cost.conv(n, d, k, separable=True)["depthwise"].flops - (2 * k - 1) * n * d) == 0
    assert cost.conv(n, d, k).parameters == k * d**2 + d
    for c in (cost.conv(n, d, k), cost.conv(n, d, k, separable=True)):
        assert c.sequential in (2, 3)
    # With k = n a separable layer costs what self-attention and a feed-forward layer of two products do, in order.
    assert sympy.degree(cost.conv(n, d, n, separable=True).flops, n) == 2


def test_arrays_and_symbols_give_the_integers():
    n, k = sympy.symbols("n k", positive=True)
    lengths, widths = np.array([1, 2, 9, 10, 1000]), np.array([3, 5, 3, 9, 3])
    for causal, dilated in ((False, False), (True, False), (True, True)):
        kwargs = {"causal": causal, "dilated": dilated}
        exact = [cost.conv_path(int(a), int(b), **kwargs) for a, b in zip(lengths, widths, strict=True)]
        assert all(type(x) is int for x in exact)
        np.testing.assert_array_equal(cost.conv_path(lengths, widths, **kwargs), exact)
        formula = cost.conv_path(n, k, **kwargs)
        assert [formula.subs({n: int(a), k: int(b)}) for a, b in zip(lengths, widths, strict=True)] == exact
    for c in (cost.conv(lengths, 4, 3, backward=True), cost.conv(lengths, 4, 3, separable=True, backward=True)):
        separable = len(c.steps) == 6
        for i, a in enumerate(lengths):
            one = cost.conv(int(a), 4, 3, separable=separable, backward=True)
            for total in ("matmul_flops", "other_flops", "bytes_read", "bytes_written", "saved", "live", "path"):
                assert np.broadcast_to(getattr(c, total), lengths.shape)[i] == getattr(one, total), total


def test_path_lengths_of_a_thousand_positions():
    kinds = (False, False), (True, False), (True, True)
    paths = [cost.conv_path(1000, k, causal=causal, dilated=dilated) for k in (3, 9) for causal, dilated in kinds]
    assert paths == [999, 500, 7, 250, 125, 4]
    assert cost.conv_path(3**7, 3, causal=True, dilated=True) == 7
    assert cost.conv_path(3**7 + 1, 3, causal=True, dilated=True) == 8
    assert cost.conv_path(1, 3) == cost.conv_path(5, 1) == 0
    assert cost.conv(1000, 4, 3, dilation=2).path == 0
    assert cost.conv(1000, 4, 3, causal=True).path == 500


# --- bad input ------------------------------------------------------------------------------------------------------

KEY = jax.random.key(0)
P, S = init_conv(KEY, 4, 3, d_out=5), init_conv(KEY, 4, 3, d_out=5, separable=True)
X = np.zeros((2, 6, 4), "f")


def bad(argument, expected, got, params=P, x=X, **kwargs):
    return (argument, expected, got, conv, (params, x), kwargs)


def stack(argument, expected, got, layers=(P,), x=X, **kwargs):
    return (argument, expected, got, conv_stack, (layers, x), kwargs)


def init(argument, expected, got, *args, **kwargs):
    return (argument, expected, got, init_conv, args or (KEY, 4, 3), kwargs)


def model(argument, expected, got, fn=cost.conv, **kwargs):
    sizes = {"n": 8, "d": 4, "k": 3} if fn is cost.conv else {"n": 8, "k": 3}
    return (argument, expected, got, fn, (), sizes | kwargs)


BAD = [
    bad("params", "a dict of w, b", "NoneType", None),
    bad("params", "a dict of w, b", "['w']", {"w": P["w"]}),
    bad("params", "w_depth, w_point, b", "['b', 'w_depth']", {"w_depth": X, "b": X}),
    bad("w", "(k, 4, d_out)", "(4, 5)", P | {"w": P["w"][0]}),
    bad("w", "(k, 3, d_out)", "(3, 4, 5)", x=X[..., :3]),
    bad("w", "floating-point", "int32", P | {"w": P["w"].astype(jnp.int32)}),
    bad("w_depth", "(k, 4)", "(4,)", S | {"w_depth": S["w_depth"][0]}),
    bad("w_point", "(4, d_out)", "(3, 5)", S | {"w_point": S["w_point"][:3]}),
    bad("b", "(5,)", "(4,)", P | {"b": P["b"][:4]}),
    bad("x", "an array", "list", x=[1.0]),
    bad("x", "floating-point", "int32", x=X.astype("int32")),
    bad("x", "(..., n, d)", "(4,)", x=X[0, 0]),
    bad("causal", "True or False", "1", causal=1),
    bad("causal", "True for a kernel of even width", "False with k = 2", P | {"w": P["w"][:2]}),
    bad("dilation", "at least 1", "0", dilation=0),
    bad("lengths", "an array of integers", "int", lengths=3),
    bad("lengths", "broadcasts to (2,)", "(3,)", lengths=jnp.ones(3, jnp.int32)),
    stack("layers", "at least one", "none", []),
    stack("layers", "a list", "dict", P),
    stack("x", "an array", "list", x=[1.0]),
    stack("causal", "True or False", "1", causal=1),
    stack("dilations", "one for each of 1 layers", "[1, 2]", dilations=[1, 2]),
    stack("dilations", "one for each of 1 layers", "2", dilations=2),
    stack("activation", "a function or None", "'relu'", activation="relu"),
    stack("lengths", "an array of integers", "int", lengths=3),
    init("key", "jax.random.key", "None", None, 4, 3),
    init("key", "jax.random.key", "(5,)", jnp.ones(5, jnp.uint32), 4, 3),
    init("d", "at least 1", "0", KEY, 0, 3),
    init("k", "at least 1", "0", KEY, 4, 0),
    init("d_out", "at least 1", "0", d_out=0),
    init("separable", "True or False", "1", separable=1),
    init("dtype", "floating-point", "int", dtype=jnp.int32),
    *(model(a, "whole number", "0", **{a: 0}) for a in ("n", "d", "k", "d_out", "batch")),
    *(model(a, "True or False", "1", **{a: 1}) for a in ("separable", "causal", "backward")),
    model("k", "an odd width unless causal", "4", k=4),
    model("dilation", "an integer of at least 1", "0", dilation=0),
    model("dtype", "one of float64", "'int8'", dtype="int8"),
    *(model(a, "whole number", "0", cost.conv_path, **{a: 0}) for a in ("n", "k")),
    *(model(a, "True or False", "1", cost.conv_path, **{a: 1}) for a in ("causal", "dilated")),
    model("k", "an odd width unless causal", "2", cost.conv_path, k=2),
    model("causal", "True for a dilated stack", "False", cost.conv_path, dilated=True),
]
