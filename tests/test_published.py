"""Agreement with published programs, values and gradients: `make test-full`, in .venv-peers.

One file for all mechanisms, and not each in that of its own: what these tests import is installed in one environment.
There a package that is missing fails; everywhere else all tests of this file are left out (conftest.py).

A published program that adds an ε is asked for none where it takes one. What is known to differ stands at its test.
"""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import float64

from attnlib import (
    bigbird_attention,
    flash_attention,
    gated_linear_attention,
    gated_linear_attention_step,
    init_s4d,
    linear_attention,
    linformer_attention,
    longformer_attention,
    mamba,
    nystrom_attention,
    performer_attention,
    s4d,
    s4d_kernel,
    selective_scan,
    taylor_attention,
    window_attention,
)
from attnlib.measure.count import with_backward

# Warnings of packages that we do not write are no errors of ours.
pytestmark = [pytest.mark.published, pytest.mark.filterwarnings("ignore")]

EXACT, SINGLE = 1e-10, 1e-5  # of the largest number in each array: computed in float64, and in part in float32


def agree(ours, theirs, arrays, close):
    """Compare result and gradients: of a function of JAX's arrays, and of one of torch's tensors."""
    import torch

    tensors = [torch.tensor(np.asarray(x, np.float64), requires_grad=True) for x in arrays]
    out = theirs(*tensors)
    do = np.random.default_rng(1).normal(size=out.shape)
    out.backward(torch.tensor(do))
    expected = [out.detach().numpy(), *(x.grad.numpy() for x in tensors)]
    with float64():
        got = jax.jit(with_backward(ours))(jnp.asarray(do), *(jnp.asarray(x, jnp.float64) for x in arrays))
    for x, y in zip(got, expected, strict=True):
        assert x.shape == y.shape
        np.testing.assert_allclose(x, y, rtol=0, atol=close * np.abs(y).max())


def draw(rng, *shapes):
    return [rng.normal(size=shape) for shape in shapes]


def heads_last(fn):
    """A function of (b, n, h, d) as one of (b, h, n, d)."""
    return lambda *arrays: fn(*(x.transpose(1, 2) for x in arrays)).transpose(1, 2)


# --- exact and linear -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
def test_flash_attention_and_torch(causal, rng):
    from torch.nn.functional import scaled_dot_product_attention

    qkv = draw(rng, (2, 3, 70, 8), (2, 3, 70, 8), (2, 3, 70, 5))
    agree(
        partial(flash_attention, causal=causal), partial(scaled_dot_product_attention, is_causal=causal), qkv, EXACT
    )


def elu(x):
    from torch.nn.functional import elu

    return elu(x) + 1


@pytest.mark.parametrize("form", ["naive_chunk_linear_attn", "naive_recurrent_linear_attn"])
def test_linear_attention_and_fla(form, rng):
    """Causal. Theirs scales the weights, which the quotient forgets, and adds 1e-10 to its denominator."""
    from fla.ops.linear_attn import naive

    def theirs(q, k, v):
        out = getattr(naive, form)(elu(q), elu(k), v, normalize=True)
        return out[0] if isinstance(out, tuple) else out

    qkv = draw(rng, (2, 3, 128, 8), (2, 3, 128, 8), (2, 3, 128, 5))
    agree(partial(linear_attention, causal=True), heads_last(theirs), qkv, SINGLE)


def test_linear_attention_and_performer_pytorch(rng):
    from performer_pytorch.performer_pytorch import linear_attention as theirs

    qkv = draw(rng, (2, 3, 40, 8), (2, 3, 70, 8), (2, 3, 70, 5))
    agree(linear_attention, lambda q, k, v: theirs(elu(q), elu(k), v), qkv, EXACT)


@pytest.mark.parametrize("form", ["naive_parallel_based", "naive_chunk_based"])
def test_taylor_attention_and_fla(form, rng):
    """Causal, order 2. Theirs adds 1e-6 to its denominator, a sum of at least 1/2."""
    from fla.ops.based import naive

    qkv = draw(rng, (2, 3, 256, 8), (2, 3, 256, 8), (2, 3, 256, 5))
    agree(partial(taylor_attention, causal=True), getattr(naive, form), qkv, SINGLE)


@pytest.mark.parametrize("symmetric", [False, True])
def test_taylor_attention_and_its_package(symmetric, rng):
    """Not causal, order 2, with all products of two components or with each pair once."""
    from taylor_series_linear_attention import TaylorSeriesLinearAttn
    from torch.nn import Identity

    layer = TaylorSeriesLinearAttn(24, dim_head=8, heads=3, combine_heads=False, remove_even_power_dups=symmetric)
    layer.to_q = layer.to_kv = layer.merge_heads = Identity()
    qkv = draw(rng, (2, 3, 40, 8), (2, 3, 70, 8), (2, 3, 70, 5))
    agree(taylor_attention, lambda q, k, v: layer(q, context=(k, v)), qkv, EXACT)


# --- gated ----------------------------------------------------------------------------------------------------------

GATED = {
    "none": ("linear_attn", "naive_chunk_linear_attn", None),
    "key, chunks": ("simple_gla", "naive_chunk_simple_gla", ()),
    "key, parallel": ("simple_gla", "naive_parallel_simple_gla", ()),
    "key, recurrent": ("simple_gla", "naive_recurrent_simple_gla", ()),
    "channel": ("gla", "naive_recurrent_gla", (8,)),
}


@pytest.mark.parametrize("case", GATED)
def test_gated_linear_attention_and_fla(case, rng):
    """Theirs scales queries by 1/√d_k."""
    from importlib import import_module

    module, name, channels = GATED[case]
    fn = getattr(import_module(f"fla.ops.{module}.naive"), name)
    arrays = draw(rng, (2, 3, 128, 8), (2, 3, 128, 8), (2, 3, 128, 5))
    if channels is not None:
        arrays.append(-rng.random((2, 3, 128, *channels)))

    def theirs(*arrays):
        out = fn(*arrays)
        return out[0] if isinstance(out, tuple) else out

    agree(partial(gated_linear_attention, scale=8**-0.5), heads_last(theirs), arrays, SINGLE)


def test_gated_linear_attention_and_retention(rng):
    """One decay for each head, 1 − 2^(−5 − h)."""
    from fla.ops.retention.naive import naive_retention

    decay = np.broadcast_to(np.log(1 - 2.0 ** (-5 - np.arange(3)))[:, None], (1, 3, 70))
    qkv = draw(rng, (2, 3, 70, 8), (2, 3, 70, 8), (2, 3, 70, 5))

    def ours(q, k, v):
        return gated_linear_attention(q, k, v, jnp.asarray(decay), scale=8**-0.5)

    agree(ours, naive_retention, qkv, SINGLE)


@pytest.mark.parametrize("channels", [(), (8,)])
def test_states_of_gated_linear_attention_and_fla(channels, rng):
    """From a state that is not empty: the outputs and the state after them."""
    import torch
    from fla.ops.gla.naive import naive_recurrent_gla
    from fla.ops.simple_gla.naive import naive_recurrent_simple_gla

    q, k, v, state = draw(rng, (2, 3, 20, 8), (2, 3, 20, 8), (2, 3, 20, 5), (2, 3, 8, 5))
    decay = -rng.random((2, 3, 20, *channels))
    theirs = naive_recurrent_gla if channels else naive_recurrent_simple_gla
    args = (torch.tensor(x).transpose(1, 2) for x in (q, k, v, decay))
    o, end = theirs(*args, initial_state=torch.tensor(state, dtype=torch.float32), output_final_state=True)
    with float64():
        ours = gated_linear_attention_step(state, q, k, v, decay, scale=8**-0.5)
    for x, y in zip(ours, (o.transpose(1, 2), end), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


# --- random features and low rank -----------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
def test_performer_attention_and_its_package(causal, rng):
    """With the same directions and an ε of zero, where its stabiliser cancels.

    With the ε that it has by default it does not: 1e-4 is added to features that were divided by the exponential of
    the largest exponent of all keys, later ones as well, so that its causal form looks ahead.
    """
    from performer_pytorch import performer_pytorch as package

    def theirs(q, k, v, w):
        features = partial(package.softmax_kernel, projection_matrix=w, eps=0)
        q, k = features(q, is_query=True), features(k, is_query=False)
        if causal:
            return package.causal_linear_attention_noncuda(q, k, v, chunk_size=16, eps=0)
        return package.linear_attention(q, k, v)

    arrays = draw(rng, (2, 3, 70, 8), (2, 3, 70, 8), (2, 3, 70, 5), (20, 8))
    agree(partial(performer_attention, causal=causal), theirs, arrays, EXACT)


@pytest.mark.parametrize("m", [50, 64])
def test_linformer_attention_and_its_package(m, rng):
    """Projections made for 64 keys, the same for all heads; its layer without its other projections."""
    from linformer import LinformerSelfAttention

    layer = LinformerSelfAttention(24, 64, k=10, heads=3)

    def theirs(q, k, v, e, f):
        q, k, v = (x.transpose(1, 2).flatten(2) for x in (q, k, v))
        given = {"to_q": lambda _: q, "to_k": lambda _: k, "to_v": lambda _: v, "to_out": lambda o: o}
        vars(layer).update(**given, proj_k=e.T, proj_v=f.T)
        return layer(q, context=k).unflatten(2, (3, 8)).transpose(1, 2)

    agree(linformer_attention, theirs, draw(rng, (2, 3, 40, 8), *[(2, 3, m, 8)] * 2, *[(10, 64)] * 2), EXACT)


def nystrom_package(q, k, v, landmarks, turns, mask=None):
    """The layer of nystrom-attention without projections and convolution."""
    from nystrom_attention import NystromAttention

    _, h, _, d = q.shape
    sizes = {"dim_head": d, "heads": h, "num_landmarks": landmarks, "pinv_iterations": turns}
    layer = NystromAttention(h * d, **sizes, residual=False)
    q, k, v = (x.transpose(1, 2).flatten(2) for x in (q, k, v))
    projected = SimpleNamespace(chunk=lambda *_, **__: (q, k, v))
    vars(layer).update(to_qkv=lambda _: projected, to_out=lambda o: o)
    return layer(q, mask=mask).unflatten(2, (h, d)).transpose(1, 2)


def nystrom_transformers(q, k, v, landmarks, each_head):
    """Of transformers, without projections and convolution; it always takes six turns."""
    from transformers import NystromformerConfig
    from transformers.models.nystromformer.modeling_nystromformer import NystromformerSelfAttention

    _, h, n, d = q.shape
    sizes = {"hidden_size": h * d, "num_attention_heads": h, "num_landmarks": landmarks, "segment_means_seq_len": n}
    layer = NystromformerSelfAttention(NystromformerConfig(**sizes)).eval()
    layer.conv_kernel_size = None  # neither this nor the other way to begin can be said by its configuration
    if each_head:
        layer.init_option = "exact"
    q, k, v = (x.transpose(1, 2).flatten(2) for x in (q, k, v))
    vars(layer).update(query=lambda _: q, key=lambda _: k, value=lambda _: v)
    return layer(q)[0].unflatten(2, (h, d)).transpose(1, 2)


@pytest.mark.parametrize("turns", [1, 6, 12])
def test_nystrom_attention_and_its_package(turns, rng):
    """One head, for lengths that landmarks divide.

    The iteration begins at Aᵀ/(‖A‖₁‖A‖_∞), ours with norms of each head, theirs with the largest of all heads and of
    the whole batch: there a head's output depends on the others until the iteration has converged. A length that
    landmarks do not divide is padded with zeros in front, which enter the first mean; ours divides it evenly.
    """
    ours = partial(nystrom_attention, landmarks=8, pinv="iterative", iterations=turns)
    agree(ours, partial(nystrom_package, landmarks=8, turns=turns), draw(rng, *[(1, 1, 48, 6)] * 3), 1e-8)


def test_nystrom_attention_and_its_package_once_the_iteration_has_converged(rng):
    """All heads: keys and queries are alike in each segment, so that A is close to what its inverse is easy of."""
    q, k, v = draw(rng, *[(2, 3, 48, 6)] * 3)
    middle = 3 * rng.normal(size=(2, 3, 8, 6))[:, :, np.arange(48) * 8 // 48]
    ours = partial(nystrom_attention, landmarks=8, pinv="iterative", iterations=30)
    arrays = (middle + q / 4, middle + k / 4, v)
    agree(ours, partial(nystrom_package, landmarks=8, turns=30), arrays, 1e-8)
    agree(partial(nystrom_attention, landmarks=8), partial(nystrom_package, landmarks=8, turns=30), arrays, 1e-8)


def test_nystrom_attention_and_its_package_with_hidden_keys(rng):
    """Padding is hidden from means of queries, too, and what it gets itself is not compared.

    It adds 1e-8 to the sizes of segments. Every segment has a key that is seen: one without is none of our landmarks,
    and theirs puts equal weights in its row of A.
    """
    import torch

    seen = rng.random(48) < 0.6
    seen[::6] = True
    kept = seen[:, None]

    def ours(q, k, v):
        o = nystrom_attention(q, k, v, landmarks=8, pinv="iterative", mask=seen[None], query_mask=seen)
        return jnp.where(kept[None, None], o, 0)

    def theirs(q, k, v):
        o = nystrom_package(q, k, v, 8, 6, mask=torch.tensor(seen)[None])
        return torch.where(torch.tensor(kept), o, 0)

    agree(ours, theirs, draw(rng, *[(1, 1, 48, 6)] * 3), 1e-6)


@pytest.mark.parametrize("each_head", [False, True])
def test_nystrom_attention_and_transformers(each_head, rng):
    """As `original` it begins with the largest norm of the batch, else with that of each head, as ours does."""
    ours = partial(nystrom_attention, landmarks=8, pinv="iterative")
    shape = (2, 3, 48, 6) if each_head else (1, 1, 48, 6)
    agree(ours, partial(nystrom_transformers, landmarks=8, each_head=each_head), draw(rng, *[shape] * 3), 1e-8)


# --- state spaces ---------------------------------------------------------------------------------------------------

S4D = ("log_dt", "log_a", "a_im", "c_re", "c_im", "skip")
DRAWN = {"lin": "diag-lin", "inv": "diag-inv", "real": "diag-real"}


def draw_s4d(rng, init, d=5):
    with float64():
        params = init_s4d(jax.random.key(0), d, states=8, init=init, dtype=jnp.float64)
    return [np.asarray(params[w]) + 0.1 * rng.normal(size=params[w].shape) for w in S4D]


def their_s4d(log_dt, log_a, a_im, c_re, c_im, skip, discretisation):
    """Its layer and its parameters, without activation and without the product that mixes channels."""
    import torch
    from popgym.baselines.models.s4d import S4

    options = {"mode": "diag", "measure": "diag-lin", "disc": discretisation}
    layer = S4(len(log_dt), 2 * log_a.shape[1], activation=None, **options)
    layer.output_linear = torch.nn.Identity()
    b = torch.view_as_real(torch.ones(log_a.shape, dtype=torch.complex128))
    kernel = {"C": torch.stack([c_re, c_im], -1)[None], "B": b, "log_dt": log_dt, "inv_A_real": log_a, "A_imag": a_im}
    return layer, {"D": skip[None], **{f"kernel.kernel.{name}": w for name, w in kernel.items()}}


@pytest.mark.parametrize("discretisation", ["zoh", "bilinear"])
@pytest.mark.parametrize("mode", ["convolution", "recurrence"])
@pytest.mark.parametrize("init", DRAWN)
def test_s4d_and_its_authors(init, mode, discretisation, rng):
    """The authors' S4 with a diagonal state matrix, as popgym has it."""
    import torch

    def ours(*args):
        *params, x = args
        return s4d(dict(zip(S4D, params, strict=True)), x, mode=mode, discretisation=discretisation)

    def theirs(*args):
        *params, x = args
        layer, named = their_s4d(*params, discretisation)
        return torch.func.functional_call(layer, named, (x.mT,))[0].mT

    agree(ours, theirs, [*draw_s4d(rng, init), *draw(rng, (2, 50, 5))], EXACT)


@pytest.mark.parametrize("discretisation", ["zoh", "bilinear"])
def test_kernels_of_s4d_and_its_authors(discretisation, rng):
    """At a length that is no square, so that powers are split unevenly."""
    import torch

    def ours(*args):
        params = dict(zip(S4D, (*args, jnp.zeros(5)), strict=True))
        return s4d_kernel(params, 1000, discretisation=discretisation)

    def theirs(*params):
        layer, named = their_s4d(*params, torch.zeros(5), discretisation)
        inner = {name.removeprefix("kernel.kernel."): w for name, w in named.items() if name != "D"}
        return torch.func.functional_call(layer.kernel.kernel, inner, (), {"L": 1000})[0][0].T

    agree(ours, theirs, draw_s4d(rng, "lin")[:-1], EXACT)


@pytest.mark.parametrize("init", DRAWN)
def test_rates_of_s4d_and_its_authors(init):
    from popgym.baselines.models.s4d import combination

    rates = combination(DRAWN[init], 16, 1, 3)[0].numpy()
    params = init_s4d(jax.random.key(0), 3, states=16, init=init)
    np.testing.assert_allclose(-np.exp(params["log_a"]) + 1j * np.asarray(params["a_im"]), rates, rtol=1e-6)


@pytest.mark.parametrize("form", ["selective_scan", "selective_scan_seq"])
def test_selective_scan_and_mambapy(form, rng):
    """Its parallel scan and its loop."""
    from mambapy.mamba import MambaBlock

    u, delta, a, b, c, skip = draw(rng, *[(2, 50, 6)] * 2, (6, 4), *[(2, 50, 4)] * 2, (6,))
    sizes = SimpleNamespace(config=SimpleNamespace(d_inner=6, d_state=4))
    arrays = [u, np.abs(delta), -np.exp(a), b, c, skip]
    agree(selective_scan, partial(getattr(MambaBlock, form), sizes), arrays, EXACT)


def draw_mamba(rng, d=8, inner=16, states=4, rank=2):
    """Parameters of `mamba` in its order, then x."""
    shapes = {
        "w_in": (d, 2 * inner),
        "w_conv": (4, inner),
        "b_conv": (inner,),
        "w_x": (inner, rank + 2 * states),
        "w_dt": (rank, inner),
        "b_dt": (inner,),
        "a_log": (inner, states),
        "skip": (inner,),
        "w_out": (inner, d),
    }
    return tuple(shapes), [0.5 * x for x in draw(rng, *shapes.values())] + draw(rng, (2, 50, d))


@pytest.mark.parametrize("package", ["transformers", "mambapy"])
def test_mamba_and_published_layers(package, rng):
    """Theirs widens A and D to float32, and no further. transformers: its path for CPU."""
    import torch

    if package == "transformers":
        from transformers import MambaConfig
        from transformers.models.mamba.modeling_mamba import MambaMixer

        sizes = {"hidden_size": 8, "state_size": 4, "conv_kernel": 4, "expand": 2, "time_step_rank": 2}
        layer = MambaMixer(MambaConfig(**sizes), layer_idx=0)
    else:
        from mambapy.mamba import MambaBlock, MambaConfig

        layer = MambaBlock(MambaConfig(d_model=8, n_layers=1, dt_rank=2, d_state=4))
    names, arrays = draw_mamba(rng)

    def ours(*args):
        *params, x = args
        return mamba(dict(zip(names, params, strict=True)), x)

    def theirs(w_in, w_conv, b_conv, w_x, w_dt, b_dt, a_log, skip, w_out, x):
        named = {
            "in_proj.weight": w_in.T,
            "conv1d.weight": w_conv.T[:, None],
            "conv1d.bias": b_conv,
            "x_proj.weight": w_x.T,
            "dt_proj.weight": w_dt.T,
            "dt_proj.bias": b_dt,
            "A_log": a_log,
            "D": skip,
            "out_proj.weight": w_out.T,
        }
        return torch.func.functional_call(layer, named, (x,))

    agree(ours, theirs, arrays, SINGLE)


# --- sparse ---------------------------------------------------------------------------------------------------------


def test_window_attention_and_local_attention(rng):
    from local_attention import LocalAttention

    layer = LocalAttention(16, causal=True, exact_windowsize=True, use_rotary_pos_emb=False)
    qkv = draw(rng, (2, 3, 64, 8), (2, 3, 64, 8), (2, 3, 64, 8))
    agree(partial(window_attention, left=16, right=0), layer, qkv, EXACT)


def test_longformer_attention_and_transformers(rng):
    """Without projections, in float64; they take the softmax in float32. A window of 2w is w keys to each side."""
    import torch
    from transformers.models.longformer import modeling_longformer

    (h, n, d), w, few = (2, 64, 8), 8, 5
    config = modeling_longformer.LongformerConfig(
        hidden_size=h * d, num_attention_heads=h, attention_window=[2 * w], num_hidden_layers=1
    )
    layer = modeling_longformer.LongformerSelfAttention(config, 0).eval()
    is_global = torch.arange(n)[None] < few
    masks = {
        "attention_mask": 10000.0 * is_global.double(),
        "is_index_masked": torch.zeros(1, n, dtype=torch.bool),
        "is_index_global_attn": is_global,
        "is_global_attn": True,
    }

    def theirs(q, k, v):
        q, k, v = (x.transpose(1, 2).flatten(2) for x in (q, k, v))
        # The layer has positions first, and divides queries in place.
        given = {
            name: lambda _, x=x: x.transpose(0, 1).clone() for name, x in (("query", q), ("key", k), ("value", v))
        }
        own = {"query_global": lambda x: x, "key_global": given["key"], "value_global": given["value"]}
        vars(layer).update(**given, **own)
        return layer(q, **masks)[0].unflatten(2, (h, d)).transpose(1, 2)

    ours = partial(longformer_attention, window=w + 1, global_tokens=few)
    agree(ours, theirs, draw(rng, *3 * [(1, h, n, d)]), SINGLE)


def test_bigbird_attention_and_transformers(rng, monkeypatch):
    """Theirs has a second global block, the last: here all rows draw it, and it draws all. Its heads draw apart."""
    import torch
    from transformers.models.big_bird import modeling_big_bird

    (h, n, d), block = (2, 96, 8), 8
    rows = n // block
    config = modeling_big_bird.BigBirdConfig(
        hidden_size=h * d, num_attention_heads=h, block_size=block, num_random_blocks=2
    )
    layer = modeling_big_bird.BigBirdBlockSparseAttention(config).train()  # evaluated, all its blocks are the first
    drawn = layer._bigbird_block_rand_mask_with_head(
        n,
        n,
        block,
        block,
        h,
        *layer._get_rand_attn_plan(n, block, 2),
        window_block_left=1,
        window_block_right=1,
        global_block_top=1,
        global_block_bottom=1,
        global_block_left=1,
        global_block_right=1,
    )
    monkeypatch.setattr(layer, "_bigbird_block_rand_mask_with_head", lambda *_, **__: drawn)
    pattern = np.full((h, rows, rows), rows - 1)
    pattern[:, 1:-1, :2] = np.stack(drawn)
    pattern[:, -1] = np.arange(rows)
    masks = modeling_big_bird.BigBirdModel.create_masks_for_block_sparse_attn(torch.ones(1, n).double(), block)
    blocked, band, from_mask, to_mask = masks

    def theirs(q, k, v):
        q, k, v = (x.transpose(1, 2).flatten(2) for x in (q, k, v))
        vars(layer).update(query=lambda _: q, key=lambda _: k, value=lambda _: v)
        out = layer(q, band, from_mask, to_mask, blocked, blocked)[0]
        return out.unflatten(2, (h, d)).transpose(1, 2)

    ours = partial(bigbird_attention, block=block, window_blocks=3, global_blocks=1, random_blocks=rows)
    agree(partial(ours, pattern=pattern), theirs, draw(rng, *3 * [(1, h, n, d)]), EXACT)
