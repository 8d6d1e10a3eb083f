"""Heads and batch spread over devices: the same results, only the communication that is promised, clear refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MECHANISMS, draw, draw_mask, with_backward
from jax import export
from jax.sharding import NamedSharding, PartitionSpec
from support import FULL

import attnlib
from attnlib import attention, count, flash_attention, spread
from attnlib.parallel.spread import _parts, _shared

TWO = pytest.mark.skipif(jax.device_count() != 2, reason="needs the two devices of the test session")
COLLECTIVES = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")

# leading axes of q, of k and v, what each device gets of q and of k, as a partition of the leading axes
LEADS = [
    ((4,), (4,), (2,), (2,)),
    ((4,), (1,), (2,), (1,)),
    ((2,), (), (1,), ()),
    ((2, 3), (2, 3), (1, 3), (1, 3)),
    ((3, 2), (3, 2), (3, 1), (3, 1)),
    ((2, 4), (2, 1), (1, 4), (1, 1)),  # the batch, which the keys have too, before heads that share them
    ((2, 4), (4,), (2, 2), (2,)),  # here the heads: the batch shares its keys
    ((3, 4), (3, 1), (3, 2), (3, 1)),
    ((3, 1), (1, 2), (3, 1), (1, 1)),
    ((2, 1, 3), (1, 2, 1), (1, 1, 3), (1, 2, 1)),
]


def shape(q_lead, k_lead):
    return q_lead, k_lead, 9, 11, 4, 3


@pytest.mark.sample(3)
@pytest.mark.parametrize("mech", MECHANISMS, ids=lambda mech: mech.name)
@pytest.mark.parametrize("leads", LEADS if FULL else LEADS[::2], ids=str)
def test_the_same_result_and_gradients(mech, leads, rng):
    q_lead, k_lead, *_ = leads
    q, k, v = draw(rng, shape(q_lead, k_lead))
    do = jnp.asarray(rng.normal(size=(*np.broadcast_shapes(q_lead, k_lead), 9, 3)), jnp.float32)
    options = [{"scale": 0.3}, {"scale": jnp.float32(0.3)}]
    options += [{"causal": True}] if mech.causal else []
    if mech.mask:
        options += [{"mask": draw_mask(rng, shape(q_lead, k_lead), lead, mech.mask)} for lead in (True, False)]
    if not FULL:  # another one for each shape
        options = [options[LEADS.index(leads) % len(options)]]
    for kwargs in options:
        spread_out, whole = (
            jax.jit(with_backward(lambda *a, f=f, kw=kwargs: f(*a, **kw)))(do, q, k, v)
            for f in (spread(mech.fn), mech.fn)
        )
        for a, b in zip(jax.tree.leaves(spread_out), jax.tree.leaves(whole), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("leads", LEADS if FULL else LEADS[1::2], ids=str)
def test_what_each_device_gets_and_what_is_sent(leads, rng):
    """Forward nothing is sent; backward one gradient of what is shared, summed."""
    q_lead, k_lead, q_part, k_part = leads
    q, k, v = draw(rng, shape(q_lead, k_lead))
    seen = []

    def fn(q, k, v):
        seen.append((q.shape[:-2], k.shape[:-2]))
        return flash_attention(q, k, v)

    run = spread(fn)
    out = run(q, k, v)
    assert seen == [(q_lead, k_lead), (q_part, k_part)]  # refusals are judged on the whole, then a device's part
    assert len(out.sharding.device_set) == 2
    assert not out.sharding.is_fully_replicated
    do = jnp.ones(out.shape)
    forward, both = (
        jax.jit(f).lower(*args).compile().as_text()
        for f, args in ((run, (q, k, v)), (with_backward(run), (do, q, k, v)))
    )
    assert not any(f"{c}(" in forward for c in COLLECTIVES)
    shared = [q_part == q_lead, k_part == k_lead]
    assert ("all-reduce(" in both) == any(shared)
    assert not any(f"{c}(" in both for c in COLLECTIVES if c != "all-reduce")
    # Arguments that lie where the result does are not moved again.
    if q_lead == out.shape[:-2]:
        there = jax.device_put(jnp.ones((*out.shape[:-1], 4)), out.sharding)
        assert run(there, k, v).sharding == out.sharding


def test_lengths(rng):
    q, k, v = draw(rng, shape((2, 4), (2, 1)))
    for lead in ((), (4,), (2, 4), (2, 1)):
        lengths = jnp.asarray(rng.integers(0, 12, lead))
        runs = [f(q, k, v, lengths=lengths, return_lse=True) for f in (spread(flash_attention), flash_attention)]
        for a, b in zip(*runs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)


def test_jit_vmap_numpy_and_traced_options(rng):
    q, k, v = draw(rng, shape((4,), (1,)))
    mask = draw_mask(rng, shape((4,), (1,)))

    def loss(fn):
        return lambda q, scale, mask: (fn(q, k, v, scale=scale, mask=mask) ** 2).sum()

    args = q, jnp.float32(0.4), mask
    runs = [jax.jit(jax.value_and_grad(loss(f), (0, 1)))(*args) for f in (spread(flash_attention), flash_attention)]
    for a, b in zip(*map(jax.tree.leaves, runs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    stacked = [np.stack([x, 2 * x, -x]) for x in map(np.asarray, (q, k, v))]
    mapped = jax.vmap(spread(flash_attention))(*stacked)
    np.testing.assert_allclose(mapped, flash_attention(*stacked), rtol=1e-5, atol=2e-6)
    out = spread(attention)(*map(np.asarray, (q, k, v)), mask=np.asarray(mask))
    np.testing.assert_allclose(out, attention(q, k, v, mask=mask), rtol=1e-5, atol=2e-6)


@TWO
def test_arguments_from_anywhere(rng):
    """On another device, on a mesh of the caller's: moved once, before the program runs."""
    q, k, v = draw(rng, shape((4,), (4,)))
    expected = attention(q, k, v)
    theirs = jax.make_mesh((2,), ("theirs",))
    for place in (jax.devices()[1], NamedSharding(theirs, PartitionSpec("theirs"))):
        out = spread(attention)(*(jax.device_put(x, place) for x in (q, k, v)))
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=2e-6)


# --- where a mesh is set ---

set_mesh = jax.set_mesh if hasattr(jax, "set_mesh") else jax.sharding.use_mesh
KINDS = jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit


def mesh_of(sizes, kind):
    return jax.make_mesh(sizes, ("x", "y")[: len(sizes)], axis_types=(kind,) * len(sizes))


def gradients(fn):
    return jax.grad(lambda *args: (fn(*args) ** 2).sum(), (0, 1, 2))


def agree(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=1e-5, atol=1e-5)


@TWO
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("sizes", "k_lead"), [((2,), (2, 3)), ((1, 2), (2, 1)), ((2, 1), ())], ids=str)
def test_under_a_mesh(kind, sizes, k_lead, rng):
    """Values and gradients, eager and compiled, of arrays on the mesh and elsewhere."""
    q, k, v = draw(rng, shape((2, 3), k_lead))
    do = jnp.asarray(rng.normal(size=(2, 3, 9, 3)), jnp.float32)
    options = {"mask": draw_mask(rng, shape((2, 3), k_lead)), "scale": jnp.float32(0.3)}
    both = with_backward(lambda q, k, v: spread(attention)(q, k, v, **options))
    expected = jax.jit(with_backward(lambda q, k, v: attention(q, k, v, **options)))(do, q, k, v)
    mesh = mesh_of(sizes, kind)
    with set_mesh(mesh):
        out = spread(attention)(q, k, v, **options)
        assert out.sharding.mesh.axis_names == mesh.axis_names
        assert not out.sharding.is_fully_replicated
        assert (out * 2).shape == do.shape  # what follows under this mesh takes it
        there = jax.device_put(q, NamedSharding(mesh, PartitionSpec("x")))
        for fn, x in ((both, q), (jax.jit(both), q), (jax.jit(both), there)):
            agree(fn(do, x, k, v), expected)


@TWO
@pytest.mark.parametrize("kind", KINDS)
def test_flash_under_a_mesh(kind, rng):
    q, k, v = draw(rng, shape((2, 3), (2, 1)))
    do = jnp.asarray(rng.normal(size=(2, 3, 9, 3)), jnp.float32)
    with set_mesh(mesh_of((2,), kind)):
        found = jax.jit(with_backward(spread(flash_attention)))(do, q, k, v)
    agree(found, with_backward(flash_attention)(do, q, k, v))


@TWO
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inner", [{"x"}, {"x", "y"}], ids=lambda axes: "+".join(sorted(axes)))
@pytest.mark.parametrize("sizes", [(1, 2), (2, 1)], ids=str)
def test_within_shard_map(kind, inner, sizes, rng):
    """Heads that one map has split already: whole, and with an axis of the mesh left to split."""
    q, k, v = draw(rng, shape((2, 4), (2, 4)))
    mesh = mesh_of(sizes, kind)
    spec = PartitionSpec("x", "y" if "y" in inner else None)

    def outer(fn):
        return jax.shard_map(fn, mesh=mesh, in_specs=spec, out_specs=spec, axis_names=inner, check_vma=False)

    with set_mesh(mesh):
        args = [jax.device_put(x, NamedSharding(mesh, spec)) for x in (q, k, v)]
        if kind == KINDS[1] and inner == {"x"} and not hasattr(jax.sharding, "get_mesh"):
            with pytest.raises(ValueError, match=r"devices: expected a newer JAX, or axes of type Auto.*got"):
                jax.jit(outer(spread(attention)))(*args)
            return
        found = jax.jit(outer(spread(attention)))(*args), jax.jit(gradients(outer(spread(attention))))(*args)
    agree(found, (attention(q, k, v), gradients(attention)(q, k, v)))


@TWO
def test_refused_under_a_mesh(refuses):
    q = jnp.ones((3, 5, 4))
    for kind in KINDS:
        with set_mesh(mesh_of((2,), kind)):
            refuses("devices", "divide leading axes (3,)", "{'x': 2}", spread(attention), q, q, q)
            for fn in (spread(attention, jax.devices()[:1]), jax.jit(spread(attention, jax.devices()[:1]))):
                refuses("devices", "the mesh that is set", "Device", fn, q[:2], q[:2], q[:2])
            refuses("k", "d_k = 4", "d_k = 3", spread(attention), q[:2], q[:2, :, :3], q[:2])
    if hasattr(jax.sharding, "get_mesh"):  # older JAX tells how many, not which
        with set_mesh(jax.sharding.Mesh(np.array(jax.devices()[:1]), ("x",))):
            refuses("devices", "the mesh that is set", "Device", spread(attention, jax.devices()[1:]), q, q, q)


def test_how_axes_of_a_mesh_are_shared():
    def shared(lead, axes, leads=None):
        return _shared("f", lead, axes, leads or [lead])

    assert shared((8, 12), {"x": 8}) == [("x",), ()]
    assert shared((8, 4), {"x": 2, "y": 8, "z": 2}) == [("y",), ("x", "z")]
    assert shared((6, 4), {"x": 2, "y": 2, "z": 3}) == [("z", "x"), ("y",)]
    assert shared((8, 12), {"x": 4}, [(8, 12), (1, 12)]) == [(), ("x",)]
    assert shared((), {"x": 1}) == []
    for lead, axes in (((2, 2), {"x": 4}), ((), {"x": 2}), ((3,), {"x": 2, "y": 1})):
        with pytest.raises(ValueError, match=r"devices: expected axes .* divide .*, got"):
            shared(lead, axes)


@TWO
def test_chosen_devices(rng):
    second = jax.devices()[1:]
    for lead in ((3,), (), (4,)):
        q, k, v = draw(rng, shape(lead, lead))
        out = spread(attention, second)(q, k, v)
        assert out.devices() == set(second)
        np.testing.assert_allclose(out, attention(q, k, v), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_lowers_for_every_platform(platform, rng):
    q, k, v = draw(rng, shape((4,), (1,)))
    run = jax.jit(with_backward(spread(flash_attention)))
    exported = export.export(run, platforms=[platform])(jnp.ones((4, 9, 3)), q, k, v)
    assert exported.platforms == (platform,)
    assert exported.nr_devices == jax.device_count()


def test_counts_stay(rng):
    q, k, v = draw(rng, shape((4,), (1,)))
    for fn in (attention, flash_attention):
        assert count.matmul_flops(spread(fn), q, k, v) == count.matmul_flops(fn, q, k, v)


def test_how_axes_are_split():
    """More devices than a test has: axes that all have first, from the left, as far as each divides."""
    both = [(8, 12), (8, 12)]
    assert _parts("f", (8, 12), 8, both) == (8, 1)
    assert _parts("f", (8, 12), 32, both) == (8, 4)
    assert _parts("f", (8, 12), 96, both) == (8, 12)
    assert _parts("f", (6, 4), 8, [(6, 4), (6, 4)]) == (2, 4)
    assert _parts("f", (8, 12), 4, [(8, 12), (1, 12)]) == (1, 4)
    assert _parts("f", (8, 12), 8, [(8, 12), (12,)]) == (2, 4)
    assert _parts("f", (), 1, [(), ()]) == ()
    for lead, count_, fitting in (((8, 12), 5, 4), ((12,), 8, 6), ((7,), 4, 1), ((), 2, 1), ((3, 5), 16, 15)):
        with pytest.raises(ValueError, match=rf"got {count_}; pass {fitting} of them"):
            _parts("f", lead, count_, [lead])


def test_the_kernel_refuses_in_its_own_words(refuses):
    q = jnp.ones((2, 5, 4))
    run = spread(attention)
    refuses("k", "d_k = 4", "d_k = 3", run, q, q[..., :3], q)
    refuses("mask", "dtype bool", "float32", run, q, q, q, mask=q)
    refuses("causal", "True or False", "1", run, q, q, q, causal=1)


def test_refused_at_the_call(refuses):
    q = jnp.ones((2, 5, 4))
    run = spread(attention)
    refuses("argument 0", "an array", "list", run, [1.0], q, q)
    refuses("argument 1", "(..., n, d)", "(4,)", run, q, q[0, 0], q)
    refuses("argument 1", "leading axes that broadcast", "(3,)", run, q, jnp.ones((3, 5, 4)), q)
    refuses("mask", "leading axes that broadcast to (2,)", "(2, 2)", run, q, q, q, mask=jnp.ones((2, 2, 5, 5), bool))
    refuses("lengths", "leading axes that broadcast", "(3,)", run, q, q, q, lengths=jnp.ones(3, jnp.int32))
    refuses("scale", "an array or a hashable value", "list", run, q, q, q, scale=[1.0])
    refuses("fn", "results that begin with the leading axes (2,)", "(5, 4)", spread(lambda q: q[0]), q)
    refuses("devices", "leading axes (3,) divide into", "2; pass 1 of them", run, *(jnp.ones((3, 5, 4)),) * 3)
    refuses("devices", "leading axes () divide into", "2; pass 1 of them", run, *(jnp.ones((5, 4)),) * 3)


def test_shifts_of_rows_go_with_their_heads(rng):
    x = jnp.asarray(rng.normal(size=(2, 6, 4)), jnp.float32)
    shifts = jnp.asarray(rng.normal(size=(2, 6)), jnp.float32)
    fn = attnlib.taylor_attention
    np.testing.assert_array_equal(spread(fn)(x, x, x, centre_rows=shifts), fn(x, x, x, centre_rows=shifts))


BAD = [
    ("fn", "a function of q, k, v", "3", spread, (3,), {}),
    ("devices", "a sequence of JAX devices", "[]", spread, (attention,), {"devices": []}),
    ("devices", "a sequence of JAX devices", "2", spread, (attention,), {"devices": 2}),
    ("devices", "a sequence of JAX devices", "'cpu'", spread, (attention,), {"devices": "cpu"}),
    ("devices", "different devices of one kind", "Device", spread, (attention, [jax.devices()[0]] * 2), {}),
]


def test_public_name():
    assert attnlib.spread is spread
