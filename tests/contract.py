"""One suite for every attention mechanism: a mechanism joins it with its entry in the registry.

What an entry states, the suite holds it to: agreement with the definition in float64, gradients, jit, vmap and
export, odd shapes, strict causality, masks, large logits, low precision, FLOPs equal to the cost model's, and the
growth of temporary memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from support import FULL, float64

from attnlib import count, registry
from attnlib.measure.count import with_backward
from attnlib.registry import Mechanism

Array = Any


@dataclass(frozen=True)
class Bound:
    """An entry of the registry as a function of (q, k, v), its options filled in; what it learns may follow these."""

    entry: Mechanism

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self.entry, attribute)

    @property
    def fn(self) -> Callable[..., Array]:
        return self._of_arrays(self.entry.fn)

    @property
    def dense(self) -> Callable[..., np.ndarray]:
        return self._of_arrays(self.entry.definition)

    def drawn(self, m: int, d_k: int) -> tuple[Array, ...]:
        """What it learns, for m keys: more arguments after q, k and v."""
        given = self.entry.arguments(m, d_k)
        return tuple(x for name, x in given.items() if name not in self.entry.inputs) if self.entry.init else ()

    def _of_arrays(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(q: Array, k: Array, v: Array, *drawn: Array, **kwargs: Any) -> Any:
            given = self.entry.arguments(*np.shape(k)[-2:])
            for name, x in zip(given, drawn, strict=False):
                given[name] = x
            return function(q, k, v, **given, **kwargs)

        return call

    @property
    def cost(self) -> Callable[..., Any]:
        return partial(self.entry.cost, **self.entry.options)


def mechanisms() -> list[Bound]:
    """Return what the registry has."""
    return [Bound(entry) for entry in registry.MECHANISMS]


MECHANISMS = mechanisms()

pytestmark = pytest.mark.anywhere
# What LLVM's optimisations could break: values, and how numbers that are none spread.
optimised = pytest.mark.optimised
each = pytest.mark.parametrize("mech", MECHANISMS, ids=lambda mech: mech.name)
# What formulas promise, whatever version compiles them, and memory: `make test` leaves it out on the oldest.
newest = pytest.mark.newest

# leading axes of q, leading axes of k and v, n, m, d_k, d_v
SHAPES = [
    ((), (), 1, 1, 1, 1),
    ((), (), 7, 7, 5, 3),
    ((2,), (2,), 1, 13, 4, 4),
    ((2, 3), (2, 3), 13, 5, 8, 2),
    ((2, 4), (2, 1), 9, 9, 4, 4),
    ((3, 1), (1, 2), 6, 11, 3, 5),
    ((), (2,), 5, 8, 4, 4),
]


FEW = (SHAPES[3], SHAPES[4])
"""More queries than keys, and grouped heads."""


def each_with(name, values, few):
    """Every mechanism with a few of the values; with all of them, if all trials are asked for."""
    cases = [(mech, x) for mech in MECHANISMS for x in (values if FULL else few)]
    return pytest.mark.parametrize(
        ("mech", name), cases, ids=lambda x: getattr(x, "name", getattr(x, "__name__", str(x)))
    )


def each_of(shapes):
    """Every mechanism with few of the shapes, or with all."""
    return each_with("shape", shapes, [s for s in shapes if s in FEW])


def draw(rng, shape, dtype=np.float32):
    q_lead, k_lead, n, m, d_k, d_v = shape
    q, k, v = (rng.normal(size=s) for s in ((*q_lead, n, d_k), (*k_lead, m, d_k), (*k_lead, m, d_v)))
    return tuple(jnp.asarray(x, dtype) for x in (q, k, v))


def draw_mask(rng, shape, lead=True, mask=True):
    q_lead, k_lead, n, m, *_ = shape
    b = np.broadcast_shapes(q_lead, k_lead) if lead else ()
    n = 1 if mask == "keys" else n
    return jnp.asarray(rng.random((*b, n, m)) < 0.6)


def options(mech, rng, shape):
    """Every combination of causal and mask that the mechanism honours, per-batch masks and shared ones.

    Unless all trials are asked for: a shared mask without causal, a per-batch one with it; both, if it has no choice.
    """
    masks = [None, *(draw_mask(rng, shape, lead, mech.mask) for lead in (True, False))] if mech.mask else [None]
    every = [{"causal": c, "mask": m} for c in mech.orders for m in masks]
    few = every[2:5:2] if len(mech.orders) > 1 else every[2:0:-1]
    return few if mech.mask and not FULL else every


@optimised
@each_of(SHAPES)
def test_agrees_with_its_dense_definition(mech, shape, rng):
    q, k, v = (np.asarray(x, np.float64) for x in draw(rng, shape))
    # Once: in 64 bits the program that draws is another one, and may round otherwise.
    drawn = mech.drawn(shape[3], shape[4])
    for kwargs in (*options(mech, rng, shape), {"scale": 0.3}):
        fn = jax.jit(lambda *a, kw=kwargs: mech.fn(*a, **kw))
        exact = mech.dense(q, k, v, *drawn, **kwargs)
        single = fn(*(x.astype(np.float32) for x in (q, k, v)), *drawn)
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, exact, rtol=2e-5, atol=2e-6)
        with float64():
            double = np.asarray(fn(q, k, v, *drawn))
        assert double.dtype == np.float64
        np.testing.assert_allclose(double, exact, rtol=1e-12, atol=1e-13)


@optimised
@each_with("shape", SHAPES[1:], FEW[:1])
def test_gradients(mech, shape, rng):
    for index in range(len(options(mech, rng, shape))):
        with float64():
            kwargs = options(mech, np.random.default_rng(index), shape)[index]
            args = (*draw(rng, shape, np.float64), *mech.drawn(shape[3], shape[4]))
            run = jax.jit(with_backward(lambda *a, kw=kwargs: mech.fn(*a, **kw)))
            args = [np.asarray(x, np.float64) for x in args]
            do = rng.normal(size=mech.dense(*args, **kwargs).shape)
            exact = [np.asarray(g) for g in run(do, *args)[1:]]
        # Along a random direction in all arguments at once: the central difference of the dense definition.
        way = [rng.normal(size=x.shape) for x in args]
        ahead, behind = (
            mech.dense(*(x + e * w for x, w in zip(args, way, strict=True)), **kwargs) for e in (1e-5, -1e-5)
        )
        slope = ((ahead - behind) / 2e-5 * do).sum()
        predicted = sum((g * w).sum() for g, w in zip(exact, way, strict=True))
        np.testing.assert_allclose(predicted, slope, rtol=1e-6, atol=1e-7)
        got = run(*(x.astype(np.float32) for x in (do, *args)))[1:]
        for a, b in zip(got, exact, strict=True):
            assert a.dtype == np.float32
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@each_of(SHAPES[1::2])
def test_jit_and_vmap(mech, shape, rng):
    q, k, v = draw(rng, shape)
    for kwargs in options(mech, rng, shape):
        eager = mech.fn(q, k, v, **kwargs)
        jitted = jax.jit(lambda *a, kw=kwargs: mech.fn(*a, **kw))
        np.testing.assert_allclose(jitted(q, k, v), eager, atol=2e-6)
        stacked = [np.stack([x, 2 * x, -x]) for x in map(np.asarray, (q, k, v))]
        mapped = jax.jit(jax.vmap(jitted))(*stacked)
        looped = np.stack([jitted(*(x[i] for x in stacked)) for i in range(3)])
        np.testing.assert_allclose(mapped, looped, atol=3e-6)


@each_with("dtype", [jnp.float32, jnp.bfloat16, jnp.float16], [jnp.bfloat16])
@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_lowers_for_every_platform(mech, platform, dtype, rng):
    q, k, v = draw(rng, SHAPES[3], dtype)
    for kwargs in options(mech, rng, SHAPES[3]):

        def loss(*a, kw=kwargs):
            return mech.fn(*a, **kw).astype(jnp.float32).sum()

        exported = export.export(jax.jit(jax.value_and_grad(loss, (0, 1, 2))), platforms=[platform])(q, k, v)
        assert exported.platforms == (platform,)
        assert [a.shape for a in exported.out_avals] == [(), q.shape, k.shape, v.shape]


@newest
@each
def test_block_sizes_change_nothing(mech, rng):
    for shape in SHAPES[1:] if FULL else FEW[1:]:
        q, k, v = draw(rng, shape)
        for blocks in mech.blocks if FULL else mech.blocks[:2]:
            for kwargs in options(mech, rng, shape):
                np.testing.assert_allclose(
                    mech.fn(q, k, v, **kwargs, **blocks), mech.fn(q, k, v, **kwargs), rtol=1e-5, atol=2e-6
                )


@newest
@each_with("n", [1, 8, 13], [8])
@pytest.mark.parametrize("change", ["redraw", "huge", "nan", "inf"])
def test_strictly_causal(mech, n, change, rng):
    if not mech.causal:
        with pytest.raises(ValueError, match="causal: expected"):
            mech.fn(*draw(rng, SHAPES[1]), causal=True)
        return
    q, k, v = draw(rng, ((2,), (2,), n, 13, 4, 3))

    def later(x, i):
        noise = rng.normal(size=x.shape)
        noise = {"redraw": noise, "huge": 1e4 * noise, "nan": np.nan * noise, "inf": np.inf * noise}[change]
        return jnp.where(jnp.arange(x.shape[-2])[:, None] > i, jnp.asarray(noise, x.dtype), x)

    lift = 13 - n
    before = mech.fn(q, k, v, causal=True)
    for i in range(n):
        after = mech.fn(later(q, i), later(k, i + lift), later(v, i + lift), causal=True)
        np.testing.assert_allclose(after[:, : i + 1], before[:, : i + 1], rtol=1e-6, atol=1e-7)


def hidden_keys(mech, rng):
    """The same for a mechanism whose masks hide keys from every query: all of them, or those of a causal row."""
    with pytest.raises(ValueError, match="mask: expected"):
        mech.fn(*draw(rng, SHAPES[1]), mask=draw_mask(rng, SHAPES[1]))
    q, k, v = draw(rng, ((2,), (2,), 6, 9, 4, 3))
    mask = draw_mask(rng, ((2,), (2,), 6, 9), mask="keys").at[0].set(False).at[1, :, 0].set(True)
    mask = mask.at[1, :, 3].set(False)
    for causal in mech.orders:
        run = jax.jit(with_backward(lambda *a, c=causal: mech.fn(*a, mask=mask, causal=c)))
        out, dq, dk, dv = run(np.ones((2, 6, 3), "f"), q, k, v)
        assert not out[0].any()
        assert out[1].any(axis=-1).all()
        assert all(jnp.isfinite(g).all() for g in (dq, dk, dv))
        assert not any(g[0].any() for g in (dq, dk, dv))
        assert not any(g[1, 3].any() for g in (dk, dv))
    if not mech.causal:
        return
    q, k, v = draw(rng, ((), (), 5, 3, 4, 3))
    out = mech.fn(q, k, v, causal=True)
    assert not out[:2].any()
    assert out[2:].any(axis=-1).all()


@optimised
@newest
@each
def test_a_query_that_sees_nothing_gets_zeros_and_zero_gradient(mech, rng):
    if mech.mask == "keys":
        return hidden_keys(mech, rng)
    q, k, v = draw(rng, ((2,), (2,), 6, 9, 4, 3))
    mask = draw_mask(rng, ((2,), (2,), 6, 9)).at[:, 2].set(False).at[0].set(False)
    out, dq, dk, dv = jax.jit(with_backward(lambda *a: mech.fn(*a, mask=mask)))(np.ones((2, 6, 3), "f"), q, k, v)
    assert not out[:, 2].any()
    assert not out[0].any()
    assert out[1, [0, 1, 3, 4, 5]].any(axis=-1).all()
    assert all(jnp.isfinite(g).all() for g in (dq, dk, dv))
    assert not dq[:, 2].any()
    assert not any(g[0].any() for g in (dq, dk, dv))
    # More queries than keys, aligned bottom-right: the first n − m see nothing.
    if mech.causal:
        q, k, v = draw(rng, ((), (), 5, 3, 4, 3))
        out = mech.fn(q, k, v, causal=True)
        assert not out[:2].any()
        assert out[2:].any(axis=-1).all()


@optimised
@newest
@each
def test_bad_numbers_in_masked_positions_reach_nothing(mech, rng):
    q, k, v = draw(rng, ((2,), (2,), 6, 9, 4, 3))
    mask = draw_mask(rng, ((2,), (2,), 6, 9), mask=mech.mask).at[..., 5:].set(False).at[:, :4, 0].set(True)
    if mech.mask != "keys":
        mask = mask.at[:, 4].set(False)

    jitted = jax.jit(with_backward(lambda *a: mech.fn(*a, mask=mask)))

    def run(q, k, v):
        return jitted(np.ones((2, 6, 3), "f"), q, k, v)

    clean = run(q, k, v)
    for bad in (np.nan, np.inf, -np.inf):
        bad_q = q if mech.mask == "keys" else q.at[:, 4].set(bad)
        dirty = run(bad_q, k.at[:, 6, 1].set(bad), v.at[:, 7:].set(bad))
        for a, b in zip(dirty, clean, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    # A bad number that is seen is not hidden. Key 3 is seen by the first query of every mechanism.
    mask = mask.at[:, :4, 3].set(True)
    for args in ((q, k.at[:, 3].set(np.nan), v), (q, k, v.at[:, 3].set(np.nan))):
        seen = np.isnan(mech.dense(*args, mask=mask)).all(axis=-1)[:, :4]
        assert seen[:, 0].all()
        assert np.isnan(mech.fn(*args, mask=mask)[:, :4][seen]).all()


@optimised
@newest
@each_with("size", [1e4, -1e4], [1e4])
def test_logits_of_ten_thousand(mech, size, rng):
    q, k, v = draw(rng, ((2,), (2,), 9, 9, 4, 3))
    q = jnp.ones_like(q)
    k = jnp.ones_like(k) * jnp.asarray(size * 2 / 4, k.dtype) + k  # logits ±10⁴ and a spread of order one
    for kwargs in options(mech, rng, ((2,), (2,), 9, 9)):
        run = jax.jit(with_backward(lambda *a, kw=kwargs: mech.fn(*a, **kw)))
        out, *gradients = run(np.ones((2, 9, 3), "f"), q, k, v)
        np.testing.assert_allclose(out, mech.dense(q, k, v, **kwargs), rtol=5e-3, atol=5e-3)
        assert all(jnp.isfinite(g).all() for g in gradients)


@optimised
@newest
@each
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_is_no_worse_than_twice_the_naive_program(mech, dtype, rng):
    q, k, v = draw(rng, ((4,), (4,), 128, 128, 32, 32), dtype)
    for causal in mech.orders:
        exact = mech.dense(q, k, v, causal=causal)
        s = jnp.einsum("hnd,hmd->hnm", q, k) * jnp.asarray(32**-0.5, dtype)
        if causal:
            s = jnp.where(jnp.tril(jnp.ones((1, 128, 128), bool)), s, -jnp.inf)
        naive = jnp.einsum("hnm,hmd->hnd", jax.nn.softmax(s, axis=-1), v)
        assert naive.dtype == dtype
        out = mech.fn(q, k, v, causal=causal)
        assert out.dtype == dtype
        worst = np.abs(np.asarray(naive, np.float64) - exact).max()
        assert np.abs(np.asarray(out, np.float64) - exact).max() <= 2 * worst


@each_of(SHAPES[1:5])
def test_matmul_flops_equal_the_cost_model(mech, shape, rng):
    q_lead, k_lead, n, m, d_k, d_v = shape
    q, k, v, *drawn = *draw(rng, shape), *mech.drawn(m, d_k)
    *batch, h = q_lead or (1,)
    sizes = {"m": m, "d_v": d_v, "h": h, "h_kv": (k_lead or (1,))[-1], "batch": int(np.prod(batch))}
    h_kv = sizes.pop("h_kv")
    for kwargs in options(mech, rng, shape):
        # Keys that differ between the heads of a group are summed for each head.
        apart = mech.mask == "keys" and kwargs["mask"] is not None and kwargs["mask"].ndim > 2
        sizes["h_kv"] = h if apart else h_kv
        model = mech.cost(n, d_k, causal=kwargs["causal"], **sizes)
        assert count.matmul_flops(lambda *a, kw=kwargs: mech.fn(*a, **kw), q, k, v, *drawn) == model.matmul_flops
        both = mech.cost(n, d_k, causal=kwargs["causal"], backward=True, **sizes)
        program = with_backward(lambda *a, kw=kwargs: mech.fn(*a, **kw))
        out = jax.eval_shape(mech.fn, q, k, v)
        assert count.matmul_flops(program, out, q, k, v, *drawn) == both.matmul_flops


@newest
@each
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("backward", [False, True] if FULL else [True])
def test_memory_grows_as_stated(mech, causal, backward):
    if causal not in mech.orders:
        with pytest.raises(ValueError, match="causal: expected"):
            mech.fn(*draw(np.random.default_rng(0), SHAPES[1]), causal=causal)
        return

    def program(q, k, v):
        if not backward:
            return mech.fn(q, k, v, causal=causal)
        return jax.grad(lambda *a: mech.fn(*a, causal=causal).sum(), (0, 1, 2))(q, k, v)

    def temporary(n):
        x = jax.ShapeDtypeStruct((2, n, 32), jnp.float32)
        return count.memory(program, x, x, x)

    # Long enough for the largest blocks, whose memory does not grow.
    exponent = np.log2(temporary(8192) / temporary(4096))
    assert 0 < exponent <= mech.memory + 0.05
