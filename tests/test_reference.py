"""The definitions against facts that do not come from them: values by hand, SciPy, special cases that are equal."""

import ast
import inspect
import math
import pathlib
import subprocess
import sys
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import scipy.special

import attnlib
from attnlib import decoding, feature_maps, hardness, reference, taylor

FILE = pathlib.Path(reference.__file__)
CLOSE = {"rtol": 1e-12, "atol": 1e-13}
# Arguments that change what a kernel costs and not what it returns.
COST = {"absorbed", "attention", "block_k", "block_q", "chunk", "context", "mode", "tree"}
# Not mechanisms and not layers: what draws parameters and patterns, makes an empty state, distributes, or measures.
OTHERS = {"init_", "_pattern", "_state", "spread", "measure_device"}

KERNELS = {
    **{name: getattr(attnlib, name) for name in attnlib.__all__ if not any(other in name for other in OTHERS)},
    **{f"decode_{name}": getattr(decoding, name) for name in ("attend", "step", "prefill")},
    "l2_attention": hardness.l2_attention,
    "taylor_features": taylor.features,
    "truncated_exponential": taylor.truncated_exponential,
    **{name: getattr(feature_maps, name) for name in ("cosine_reweighting", "elu_plus_one", "relu", "squared_relu")},
}
KERNELS = {name: fn for name, fn in KERNELS.items() if inspect.isfunction(fn)}


def equal(a, b, **tolerance):
    np.testing.assert_allclose(a, b, **(tolerance or CLOSE))


def arrays(rng, *shapes):
    return [rng.normal(size=shape) for shape in shapes]


# --- the file -------------------------------------------------------------------------------------------------------


def lines_of_code(function, source):
    """Lines of a body that hold code: no signature, which is the kernel's, no docstring, comment or empty line."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    lines = source[body[0].lineno - 1 : body[-1].end_lineno]
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)


def test_every_definition_is_short():
    text = FILE.read_text(encoding="utf-8")
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    sizes = {f.name: lines_of_code(f, text.splitlines()) for f in functions}
    assert set(KERNELS) < set(sizes)
    assert max(sizes.values()) <= 15, sizes
    assert all(ast.get_docstring(f) for f in functions)


def test_numpy_is_all_it_needs():
    program = f"""
import importlib.util, sys
sys.modules.update(dict.fromkeys(("jax", "jaxlib", "jaxtyping", "scipy", "attnlib")))
spec = importlib.util.spec_from_file_location("reference", {str(FILE)!r})
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)
print(reference.attention([[0.0]], [[1.0], [2.0]], [[3.0], [5.0]]))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("[[4.]]\n", "")


@pytest.mark.parametrize("name", KERNELS)
def test_a_definition_takes_what_its_kernel_takes(name):
    def parameters(fn):
        every = inspect.signature(fn).parameters.values()
        # The activation by default is the same function twice: JAX's and NumPy's.
        return [(p.name, p.kind, p.name == "activation" or p.default) for p in every if p.name not in COST]

    assert parameters(getattr(reference, name)) == parameters(KERNELS[name])


# --- softmax attention ----------------------------------------------------------------------------------------------


def test_who_sees_whom_by_hand():
    def drawn(**kwargs):
        return ["".join(".#"[x] for x in row) for row in reference.visible(3, 4, **kwargs).astype(int)]

    assert drawn() == ["####"] * 3
    assert drawn(causal=True) == ["##..", "###.", "####"]
    assert drawn(window=1) == [".#..", "..#.", "...#"]
    assert drawn(window=2, causal=True) == ["##..", ".##.", "..##"]
    assert drawn(mask=np.array([True, False, True, True]), causal=True) == ["#...", "#.#.", "#.##"]
    assert drawn(lengths=np.array(2)) == ["##.."] * 3
    assert reference.visible(2, 3, lengths=np.array([[1], [9]])).shape == (2, 1, 2, 3)
    assert reference.visible(3, 1, causal=True).tolist() == [[False], [False], [True]]


def test_attention_by_hand():
    e = math.e
    k, v = [[0.0], [1.0]], [[10.0], [20.0]]
    equal(reference.attention([[1.0]], k, v), [[10 + 10 * e / (1 + e)]])
    equal(reference.attention_weights([[1.0]], k, scale=2), [[1 / (1 + e**2), e**2 / (1 + e**2)]])
    # √d_k: q·k = 4 with d_k = 4 is a score of 2.
    equal(reference.attention_weights(np.ones((1, 4)), [[0.0] * 4, [1.0] * 4])[0, 1], e**2 / (1 + e**2))
    assert reference.attention([[1.0]], [[1e4], [-1e4]], v) == 10


@pytest.mark.parametrize("leads", [((), ()), ((2, 3), (2, 1)), ((3, 1), (1, 2)), ((), (2,))], ids=str)
def test_attention_is_scipys_softmax(leads, rng):
    q_lead, k_lead = leads
    q, k, v = arrays(rng, (*q_lead, 5, 3), (*k_lead, 7, 3), (*k_lead, 7, 2))
    lead = np.broadcast_shapes(*leads)
    mask = rng.random((*lead, 5, 7)) < 0.6
    mask[..., 0] = True
    s = np.where(mask & np.tri(5, 7, 2, dtype=bool), 0.3 * q @ k.swapaxes(-1, -2), -np.inf)
    o, lse = reference.flash_attention(q, k, v, causal=True, mask=mask, scale=0.3, return_lse=True)
    equal(o, scipy.special.softmax(s, axis=-1) @ v)
    equal(lse, scipy.special.logsumexp(s, axis=-1))
    equal(reference.attention(q, k, v, causal=True, mask=mask, scale=0.3), o)
    equal(reference.attention_weights(q, k, causal=True, mask=mask, scale=0.3), scipy.special.softmax(s, axis=-1))


@pytest.mark.parametrize("name", ["attention", "l2_attention", "linear_attention", "taylor_attention"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_hidden_keys_reach_nothing_and_who_sees_nothing_gets_zeros(name, bad, rng):
    fn = getattr(reference, name)
    q, k, v = arrays(rng, (2, 4, 3), (6, 3), (6, 2))
    mask = np.ones((4, 6), bool)
    mask[:, 3:] = mask[2] = False
    clean = fn(q, k, v, mask=mask)
    assert not clean[:, 2].any()
    assert clean[:, [0, 1, 3]].all()
    equal(clean[:, [0, 1, 3]], fn(q[:, [0, 1, 3]], k[:3], v[:3]))
    q[:, 2], k[4], v[5] = np.nan, bad, bad
    np.testing.assert_array_equal(fn(q, k, v, mask=mask), clean)
    k[0, 0] = np.nan
    assert np.isnan(fn(q, k, v, mask=mask)[:, 0]).all()
    assert not fn(q, k[:2], v[:2], causal=True)[:, :2].any()  # of four queries on two keys, two come too early


def test_a_window_that_is_wide_enough_is_no_window(rng):
    q, k, v = arrays(rng, (2, 6, 3), (2, 6, 3), (2, 6, 2))
    equal(reference.window_attention(q, k, v, r=11), reference.attention(q, k, v))
    equal(reference.window_attention(q, k, v, r=6, causal=True), reference.attention(q, k, v, causal=True))
    for one in (reference.window_attention(q, k, v, r=1, causal=True), reference.window_attention(q, k, v, r=1)):
        equal(one, v)
    # An even r that is not causal: r/2 to each side, and the position's own.
    means = reference.window_attention(0 * q[0], k[0], np.arange(6.0)[:, None], r=2)[:, 0]
    equal(means, [0.5, 1, 2, 3, 4, 4.5])
    lengths = np.array([0, 2])
    short = reference.window_attention(q, k, v, r=11, lengths=lengths)
    assert not short[0].any()
    equal(short[1], reference.attention(q[1], k[1, :2], v[1, :2]))


def test_distances_are_products_in_one_dimension_more(rng):
    q, k, v = arrays(rng, (2, 5, 3), (7, 3), (7, 2))
    wide_q = np.concatenate([q, np.ones((2, 5, 1))], axis=-1)
    wide_k = np.concatenate([2 * k, -(k**2).sum(axis=-1, keepdims=True)], axis=-1)
    equal(
        reference.l2_attention(q, k, v, causal=True, scale=0.7),
        reference.attention(wide_q, wide_k, v, causal=True, scale=0.7),
    )
    np.testing.assert_array_equal(reference.l2_attention([[1e3]], [[0.0], [1.0]], [[1.0], [2.0]]), [[2.0]])


def test_gradients_are_slopes(rng):
    q, k, v, do = arrays(rng, (2, 4, 3), (2, 6, 3), (2, 6, 2), (2, 4, 2))
    mask = rng.random((2, 4, 6)) < 0.7
    mask[0, 1] = False
    options = {"causal": True, "mask": mask, "scale": 0.4}
    gradients = reference.attention_backward(q, k, v, do, **options)
    assert not gradients[0][0, 1].any()
    for way in range(5):
        ways = arrays(np.random.default_rng(way), q.shape, k.shape, v.shape)
        ends = (
            (reference.attention(*(x + e * w for x, w in zip((q, k, v), ways, strict=True)), **options) * do).sum()
            for e in (1e-5, -1e-5)
        )
        slope = sum((g * w).sum() for g, w in zip(gradients, ways, strict=True))
        equal(np.subtract(*ends) / 2e-5, slope, rtol=1e-7, atol=1e-8)


def test_a_longdouble_stays_one():
    x = np.ones((2, 3), np.longdouble)
    for out in (
        reference.attention(x, x, x),
        reference.linear_attention(x, x, x),
        reference.taylor_attention(x, x, x),
    ):
        assert out.dtype == np.longdouble
    for narrow in (jnp.ones((2, 3), jnp.bfloat16), np.ones((2, 3), "f")):
        assert reference.attention(narrow, narrow, narrow).dtype == np.float64


# --- attention linear in n ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("feature_map", [None, np.exp, lambda x: np.concatenate([x**2, np.ones_like(x)], axis=-1)])
def test_both_bracketings_of_linear_attention(feature_map, rng):
    """(φ(q) φ(k)ᵀ) v is φ(q) (φ(k)ᵀ v), all at once and as sums that grow."""
    q, k, v = arrays(rng, (2, 3, 6, 4), (2, 1, 6, 4), (2, 1, 6, 2))
    phi = feature_map or (lambda x: np.where(x > 0, x, np.expm1(x)) + 1)
    f_q, f_k = phi(0.5 * q), phi(k)
    s, z = f_k.swapaxes(-1, -2) @ v, f_k.sum(axis=-2, keepdims=True)
    options = {"feature_map": feature_map, "scale": 0.5}
    equal(reference.linear_attention(q, k, v, **options), f_q @ s / (f_q * z).sum(axis=-1, keepdims=True))
    s, z = (f_k[..., :, None] * v[..., None, :]).cumsum(axis=-3), f_k.cumsum(axis=-2)
    exact = np.einsum("bgtf,bhtfv->bgtv", f_q, s) / (f_q * z).sum(axis=-1, keepdims=True)
    equal(reference.linear_attention(q, k, v, causal=True, **options), exact)
    state = np.zeros((2, 1, f_k.shape[-1], 2)), np.zeros((2, 1, f_k.shape[-1]))
    first, state = reference.linear_attention_step(state, q[..., :2, :], k[..., :2, :], v[..., :2, :], **options)
    second, state = reference.linear_attention_step(state, q[..., 2:, :], k[..., 2:, :], v[..., 2:, :], **options)
    equal(np.concatenate([first, second], axis=-2), exact)
    equal(state[0], s[..., -1, :, :])
    equal(state[1], z[..., -1, :])


def test_features_that_share_nothing_give_zeros():
    q, k, v = np.array([[-1.0], [1.0]]), np.ones((3, 1)), np.ones((3, 2))
    expected = [[0, 0], [1, 1]]
    equal(reference.linear_attention(q, k, v, feature_map=reference.relu), expected)
    state = np.zeros((1, 2)), np.zeros(1)
    equal(reference.linear_attention_step(state, q, k[:2], v[:2], feature_map=reference.relu)[0], expected)


def test_the_exponential_that_is_not_cut_is_softmax(rng):
    q, k, v = arrays(rng, (2, 5, 3), (2, 5, 3), (2, 5, 2))
    for causal in (False, True):
        exact = reference.attention(q, k, v, causal=causal, scale=0.8)
        for centre_rows in (False, True, rng.normal(size=5)):
            out = reference.taylor_attention(q, k, v, order=60, causal=causal, scale=0.8, centre_rows=centre_rows)
            equal(out, exact)
    equal(reference.taylor_attention(q, k, v, order=60, centre_keys=True), reference.attention(q, k, v))


def test_taylor_attention_by_hand(rng):
    q, k, v = arrays(rng, (5, 4), (7, 4), (7, 2))
    equal(reference.taylor_attention(q, k, v, order=0), np.broadcast_to(v.mean(axis=0), (5, 2)))
    # Weights 1 + x: sums of values, and of values times keys.
    x = [[0.25]], [[0.0], [1.0], [2.0]], [[1.0], [2.0], [6.0]]
    equal(reference.taylor_attention(*x, order=1), [[(1 + 1.25 * 2 + 1.5 * 6) / 3.75]])
    # x = 0 and 2: their middle is 1, so the weights of order 2 are 1 − 1 + 1/2 and 1 + 1 + 1/2.
    equal(reference.taylor_attention([[1.0]], [[0.0], [2.0]], [[0.0], [6.0]], centre_rows=True), [[5.0]])
    equal(reference.taylor_attention([[1.0]], [[0.0], [2.0]], [[0.0], [6.0]], centre_rows=np.array([1.0])), [[5.0]])
    equal(reference.taylor_attention([[1.0]], [[0.0], [2.0]], [[0.0], [6.0]], centre_keys=True), [[5.0]])
    # Centred, the place of the keys does not matter; else it does.
    for options in ({"centre_keys": True}, {"centre_rows": True}):
        equal(reference.taylor_attention(q, k + 3, v, **options), reference.taylor_attention(q, k, v, **options))
    assert not np.allclose(reference.taylor_attention(q, k + 3, v), reference.taylor_attention(q, k, v))
    mask = np.array([True, True, False, True, False, True, True])
    hidden = reference.taylor_attention(q, k, v, mask=mask, centre_keys=True)
    equal(hidden, reference.taylor_attention(q, k[mask] - k[mask].mean(axis=0), v[mask]))


@pytest.mark.parametrize(("d", "order"), [(1, 5), (3, 0), (3, 1), (2, 4), (4, 3)])
def test_features_multiply_to_the_exponential_that_is_cut(d, order, rng):
    q, k, v = arrays(rng, (2, 6, d), (2, 6, d), (2, 6, 2))
    products = reference.truncated_exponential((q * k).sum(axis=-1), order)
    equal(products, np.polyval([1 / math.factorial(a) for a in range(order, -1, -1)], (q * k).sum(axis=-1)))
    for tensor, number in ((False, math.comb(d + order, order)), (True, sum(d**a for a in range(order + 1)))):
        f_q, f_k = (reference.taylor_features(x, order, tensor=tensor) for x in (q, k))
        assert f_q.shape == (2, 6, number)
        equal((f_q * f_k).sum(axis=-1), products)
    number = math.comb(d + order, order)
    o, state = reference.taylor_attention_step(
        (np.zeros((2, number, 2)), np.zeros((2, number))), q, k, v, order=order
    )
    equal(o, reference.taylor_attention(q, k, v, order=order, causal=True), rtol=1e-9, atol=1e-10)
    equal(state[1][:, 0], [6.0, 6.0])


def test_features_are_laid_out_as_the_kernel_lays_them_out(rng):
    (k,) = (x.astype("f") for x in arrays(rng, (2, 1, 5, 4)))
    for tensor in (False, True):
        equal(taylor.features(k, 3, tensor=tensor), reference.taylor_features(k, 3, tensor=tensor), rtol=1e-5)


# --- layers ---------------------------------------------------------------------------------------------------------


def heads(rng, d, h, h_kv, d_k, d_v):
    shapes = {"w_q": (h, d, d_k), "w_k": (h_kv, d, d_k), "w_v": (h_kv, d, d_v), "w_o": (h, d_v, d)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def test_multihead_attention_in_special_cases(rng):
    x, z = arrays(rng, (2, 5, 4), (2, 7, 4))
    one = {name: np.eye(4)[None] for name in ("w_q", "w_k", "w_v", "w_o")}
    equal(reference.multihead_attention(one, x, causal=True), reference.attention(x, x, x, causal=True))
    equal(reference.multihead_attention(one, x, memory=z, scale=2), reference.attention(x, z, z, scale=2))
    # Heads that share keys are heads whose keys are equal: 0 and 1 the first, 2 and 3 the second.
    params = heads(rng, 4, 4, 2, 3, 2)
    apart = params | {name: params[name][[0, 0, 1, 1]] for name in ("w_k", "w_v")}
    mask = rng.random((2, 4, 5, 7)) < 0.7
    out = reference.multihead_attention(params, x, memory=z, mask=mask)
    equal(out, reference.multihead_attention(apart, x, memory=z, mask=mask))
    # All heads at once, with one more leading axis, concatenated and projected by one matrix, as in the paper.
    q, k, v = (x[:, None] @ apart["w_q"], z[:, None] @ apart["w_k"], z[:, None] @ apart["w_v"])
    o = reference.attention(q, k, v, mask=mask).swapaxes(1, 2).reshape(2, 5, -1)
    equal(out, o @ params["w_o"].reshape(-1, 4))


def standard(x):
    return (x - x.mean(axis=-1, keepdims=True)) / np.hypot(x.std(axis=-1, keepdims=True), 1e-5**0.5)


def test_the_transformer_layer_in_special_cases(rng):
    x = rng.normal(size=(2, 5, 4))
    params = {"attention": heads(rng, 4, 2, 1, 3, 2)}
    params["feed_forward"] = {"w_1": rng.normal(size=(4, 9)), "w_2": rng.normal(size=(9, 4))}
    out = reference.transformer_layer(params, x, causal=True)
    equal(out.mean(axis=-1), np.zeros((2, 5)))
    equal(out.var(axis=-1), np.ones((2, 5)), rtol=1e-3)
    later = x + np.where(np.arange(5)[:, None] > 2, 1.0, 0.0) * rng.normal(size=4)
    equal(reference.transformer_layer(params, later, causal=True)[:, :3], out[:, :3])
    assert not np.allclose(reference.transformer_layer(params, later)[:, :3], out[:, :3])
    # An attention that returns nothing leaves the second half.
    params["attention"]["w_o"][:] = 0
    y = scipy.stats.zscore(x, axis=-1)
    y = scipy.stats.zscore(
        y + np.clip(y @ params["feed_forward"]["w_1"], 0, None) @ params["feed_forward"]["w_2"], -1
    )
    equal(reference.transformer_layer(params, x), y, atol=1e-3)


RECURRENT = {"rnn": 1, "gru": 3, "lstm": 4}


def cell(rng, name, d, d_h):
    params = {"w": (d, RECURRENT[name] * d_h), "u": (d_h, RECURRENT[name] * d_h), "b": (RECURRENT[name] * d_h,)}
    params |= {"b_n": (d_h,)} if name == "gru" else {}
    return {key: 0.6 * rng.normal(size=shape) for key, shape in params.items()}


def test_recurrent_layers_by_hand():
    def sigma(x):
        return 1 / (1 + math.exp(-x))

    h = c = 0.3
    y, last = reference.rnn({"w": [[2.0]], "u": [[0.5]], "b": [0.1]}, [[1.0]], [0.3])
    equal(y[0, 0], math.tanh(2 + 0.5 * h + 0.1))
    gru = {"w": [[1.0, 2.0, 3.0]], "u": [[0.4, 0.5, 0.6]], "b": [0.1, 0.2, 0.3], "b_n": [0.7]}
    r, z = sigma(1 + 0.4 * h + 0.1), sigma(2 + 0.5 * h + 0.2)
    candidate = math.tanh(3 + 0.3 + r * (0.6 * h + 0.7))
    equal(reference.gru(gru, [[1.0]], [h])[1], [(1 - z) * candidate + z * h])
    lstm = {"w": [[1.0, 2.0, 3.0, 4.0]], "u": [[0.4, 0.5, 0.6, 0.7]], "b": [0.1, 0.2, 0.3, 0.4]}
    i, f, g, o = (w + u * h + b for w, u, b in zip(lstm["w"][0], lstm["u"][0], lstm["b"], strict=True))
    c = sigma(f) * c + sigma(i) * math.tanh(g)
    y, last = reference.lstm(lstm, [[1.0]], ([h], [0.3]))
    equal(last, ([sigma(o) * math.tanh(c)], [c]))
    equal(reference.sigmoid(np.linspace(-800, 800, 99)), scipy.special.expit(np.linspace(-800, 800, 99)), atol=1e-16)


def test_gates_that_are_open_or_shut(rng):
    x = rng.normal(size=(2, 6, 3))
    # An LSTM that forgets nothing and lets everything in is a sum; a GRU that keeps everything stays where it was.
    params = cell(rng, "lstm", 3, 4)
    params["u"][:] = params["w"][:, [*range(8), *range(12, 16)]] = 0
    params["b"] = np.repeat([1e3, 1e3, 0.0, 1e3], 4)
    y, _ = reference.lstm(params, x)
    equal(y, np.tanh(np.tanh(x @ params["w"][:, 8:12]).cumsum(axis=-2)))
    start = rng.normal(size=(2, 4))
    params = cell(rng, "gru", 3, 4)
    keep = params | {"b": params["b"] + np.repeat([0.0, 1e3, 0.0], 4)}
    equal(reference.gru(keep, x, start)[1], start)
    # One that keeps nothing and resets everything does not know the past.
    forget = params | {"b": params["b"] + np.repeat([-1e3, -1e3, 0.0], 4)}
    equal(reference.gru(forget, x, start)[0], np.tanh(x @ params["w"][:, 8:] + params["b"][8:]))
    # A vanilla layer that is almost linear is a filter of the first order.
    params = {"w": np.ones((1, 1)), "u": np.full((1, 1), 0.5), "b": np.zeros(1)}
    small = 1e-6 * x[..., :1]
    equal(reference.rnn(params, small)[0], scipy.signal.lfilter([1], [1, -0.5], small, axis=-2), rtol=1e-10)


@pytest.mark.parametrize("name", RECURRENT)
@pytest.mark.parametrize("reverse", [False, True])
def test_recurrent_layers_with_lengths(name, reverse, rng):
    layer, params, x = getattr(reference, name), cell(rng, name, 3, 4), rng.normal(size=(3, 6, 3))
    lengths = np.array([0, 2, 9])
    padded = np.where(np.arange(6)[:, None] < lengths[:, None, None], x, np.inf)
    y, state = layer(params, padded, lengths=lengths, reverse=reverse)
    for i, n in enumerate((0, 2, 6)):
        assert not y[i, n:].any()
        if n:
            alone, last = layer(params, x[i, :n][:: -1 if reverse else 1])
            equal(y[i, :n], alone[:: -1 if reverse else 1])
            for a, b in zip(np.atleast_2d(last), [s[i] for s in np.reshape(state, (-1, 3, 4))], strict=True):
                equal(b, a)
    # In two parts, the state handed on.
    whole, end = layer(params, x)
    first, middle = layer(params, x[:, :4])
    second, last = layer(params, x[:, 4:], middle)
    equal(np.concatenate([first, second], axis=1), whole)
    equal(last, end)


def test_feed_forward_and_a_kernel_of_one_position_are_products(rng):
    x, w_1, w_2, b = arrays(rng, (2, 5, 4), (4, 6), (6, 4), (6,))
    equal(reference.conv({"w": w_1[None], "b": b}, x), x @ w_1 + b)
    equal(reference.conv({"w": w_1[None], "b": b}, x, causal=True, dilation=7), x @ w_1 + b)
    out = reference.feed_forward({"w_1": w_1, "w_2": w_2}, x)
    equal(out, (x @ w_1 * (x @ w_1 > 0)) @ w_2)
    layers = [{"w": w_1[None], "b": np.zeros(6)}, {"w": w_2[None], "b": np.zeros(4)}]
    equal(reference.conv_stack(layers, x), out)  # position by position, the feed-forward layer
    equal(reference.conv_stack(layers, x, activation=None), x @ w_1 @ w_2)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_convolutions_are_scipys(k, dilation, rng):
    x, w = rng.normal(size=(9, 1)), rng.normal(size=(k, 1, 1))
    params, spread = {"w": w, "b": np.zeros(1)}, np.zeros(dilation * (k - 1) + 1)
    spread[::dilation] = w[:, 0, 0]
    centred = scipy.ndimage.correlate1d(x[:, 0], spread, mode="constant")
    equal(reference.conv(params, x, dilation=dilation)[:, 0], centred)
    past = scipy.signal.convolve(x[:, 0], spread[::-1])[:9]
    equal(reference.conv(params, x, causal=True, dilation=dilation)[:, 0], past)
    # Many channels: a sum over those that go in; separable ones: each on its own, then one product.
    x, w, point, b = arrays(rng, (2, 9, 3), (k, 3), (3, 4), (4,))
    alone = [reference.conv({"w": w[:, [[c]]], "b": np.zeros(1)}, x[..., [c]]) for c in range(3)]
    each = np.concatenate(alone, axis=-1)
    equal(reference.conv({"w_depth": w, "w_point": point, "b": b}, x), each @ point + b)
    equal(reference.conv({"w": w[..., None] * point, "b": b}, x), each @ point + b)


def test_convolutions_with_lengths_and_what_a_stack_sees(rng):
    layers = [{"w": rng.normal(size=(3, d, e)), "b": rng.normal(size=e)} for d, e in ((2, 3), (3, 2))]
    x, lengths = rng.normal(size=(3, 7, 2)), np.array([0, 4, 99])
    padded = np.where(np.arange(7)[:, None] < lengths[:, None, None], x, np.nan)
    y = reference.conv_stack(layers, padded, dilations=[1, 2], lengths=lengths)
    assert not y[0].any()
    assert not y[1, 4:].any()
    equal(y[1, :4], reference.conv_stack(layers, x[1, :4], dilations=[1, 2]))
    equal(y[2], reference.conv_stack(layers, x[2], dilations=[1, 2]))
    # Two taps a layer: what happens at one position reaches 1 + 2 + 4 + 8 later ones, and no others.
    ones = {"w": np.ones((2, 1, 1)), "b": np.zeros(1)}
    seen = reference.conv_stack([ones] * 4, np.eye(20)[:, :1], causal=True, dilations=[1, 2, 4, 8])
    np.testing.assert_array_equal(seen[:, 0], np.arange(20) < 16)


# --- generation -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cache:
    k: np.ndarray
    v: np.ndarray
    length: int
    ring: bool


@pytest.mark.parametrize("ring", [False, True])
def test_steps_are_the_rows_of_the_causal_layer(ring, rng):
    params, x = heads(rng, 4, 4, 2, 3, 2), rng.normal(size=(2, 7, 4))
    capacity = 3 if ring else 7
    cache = Cache(np.zeros((4, 3, capacity)), np.zeros((4, capacity, 2)), 0, ring)
    first, cache = reference.decode_prefill(params, x[:, :5], cache, scale=0.3)
    sixth, cache = reference.decode_step(params, x[:, 5:6], cache, scale=0.3)
    last, cache = reference.decode_step(params, x[:, 6:], cache, scale=0.3)
    near = np.tri(7, dtype=bool) & ~np.tri(7, k=-capacity, dtype=bool)
    equal(np.concatenate([first, sixth, last], 1), reference.multihead_attention(params, x, mask=near, scale=0.3))
    # Keys by heads of sequences, positions last; the seventh in the slot of the first and of the fourth.
    keys = (x[:, None] @ params["w_k"]).swapaxes(-1, -2).reshape(4, 3, 7)
    equal(cache.k, keys[..., [6, 4, 5]] if ring else keys)
    assert cache.length == 7
    if not ring:
        with pytest.raises(IndexError):
            reference.decode_step(params, x[:, :1], cache)


def test_a_cache_is_filled_as_the_kernels_fill_it(rng):
    params = {name: jnp.asarray(w, "f") for name, w in heads(rng, 4, 4, 2, 3, 2).items()}
    x = rng.normal(size=(2, 6, 4)).astype("f")
    ours = theirs = decoding.init_cache(4, 3, d_v=2, h_kv=2, batch=(2,), ring=True)
    for name, part in (("prefill", x[:, :5]), ("step", x[:, 5:])):
        y, theirs = getattr(decoding, name)(params, part, theirs)
        exact, ours = getattr(reference, f"decode_{name}")(params, part, ours)
        for a, b in ((y, exact), (theirs.k, ours.k), (theirs.v, ours.v), (theirs.length, ours.length)):
            equal(a, b, rtol=1e-4, atol=1e-5)
    q, k, v = (x.astype("f") for x in arrays(rng, (2, 4, 1, 3), (2, 2, 1, 3), (2, 2, 1, 2)))
    o, after = decoding.attend(q, k, v, theirs, scale=0.4)
    exact, filled = reference.decode_attend(q, k, v, ours, scale=0.4)
    for a, b in ((o, exact), (after.k, filled.k), (after.v, filled.v)):
        equal(a, b, rtol=1e-4, atol=1e-5)
