"""Ways between positions and through programs: breadth-first search, Jacobians, chains of operations."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attnlib
from attnlib import conv, conv_stack, graph


def by_matrices(patterns, n, causal):
    """Layers until the Boolean product of what they read is full: the definition, without a search."""
    wanted = np.tril(np.ones((n, n), bool)) if causal else np.ones((n, n), bool)
    knows, layers = np.eye(n, dtype=bool), 0
    for pattern in patterns:
        if (knows >= wanted).all():
            return layers
        knows, layers = (pattern.astype(int) @ knows.astype(int)) > 0, layers + 1
    return None


def matrix(reads, layer, n):
    out = np.zeros((n, n), bool)
    for i in range(n):
        for j in reads(layer, i):
            if 0 <= j < n:
                out[i, j] = True
    return out


@pytest.mark.parametrize("n", [1, 2, 3, 10, 17])
def test_breadth_first_is_the_product_of_what_layers_read(n):
    kinds = [graph.full(n), graph.restricted(4), graph.convolution(3), graph.convolution(5), graph.recurrent()]
    kinds += [graph.convolution(k, causal=True, dilated=x) for k in (2, 3) for x in (False, True)]
    kinds += [graph.convolution(3, dilated=True), graph.restricted(4, causal=True)]
    for reads, causal in itertools.product(kinds, (False, True)):
        expected = by_matrices((matrix(reads, layer, n) for layer in range(n + 1)), n, causal)
        if expected is None:
            with pytest.raises(ValueError, match="expected layers that connect all positions, got none"):
                graph.path_length(reads, n, causal=causal)
        else:
            assert graph.path_length(reads, n, causal=causal) == expected
            homogeneous = matrix(reads, 1, n)
            if np.array_equal(homogeneous, matrix(reads, 0, n)) and np.array_equal(homogeneous, matrix(reads, 2, n)):
                assert graph.path_length(homogeneous, n, causal=causal) == expected


def test_dependencies_are_where_the_jacobian_is_not_zero(rng):
    x = jnp.asarray(rng.normal(size=(9, 3)), jnp.float32)
    params = attnlib.init_conv(jax.random.key(0), 3, 3, d_out=2)
    for fn in (
        functools.partial(conv, params, dilation=2),
        lambda x: attnlib.attention(x, x, x, causal=True),
        lambda x: attnlib.window_attention(x, x, x, r=4),
        lambda x: x[::2],
    ):
        exact = (np.asarray(jax.jit(jax.jacobian(fn))(x)) != 0).any(axis=(1, 3))
        got = graph.depends(fn, x)
        np.testing.assert_array_equal(got, exact)
        for i in (3, -1):
            np.testing.assert_array_equal(graph.receptive_field(fn, x, i), exact[i])


def test_receptive_field_of_a_dilated_stack():
    """27 positions after three layers of 3, with dilations 1, 3, 9; 7 without dilation."""
    layers = [{"w": jnp.ones((3, 1, 1)), "b": jnp.zeros(1)}] * 3
    x = jnp.ones((50, 1))
    for dilations, seen in (([1, 3, 9], 27), ([1, 1, 1], 7)):
        fn = functools.partial(conv_stack, layers, causal=True, dilations=dilations, activation=None)
        field = graph.receptive_field(fn, x, -1)
        assert field.sum() == seen
        assert field[-seen:].all()


# --- chains in a program --------------------------------------------------------------------------------------------

A = jnp.ones((8, 8))


def test_products_that_wait():
    assert graph.depth(lambda a: a + 1, A) == 0
    assert graph.depth(lambda a: a @ a, A) == 1
    assert graph.depth(lambda a: (a @ a) @ (a @ a), A) == 2
    assert graph.depth(lambda a: jax.nn.relu(a @ a) @ a, A) == 2
    assert graph.depth(jax.jit(lambda a: a @ a @ a), A) == 2
    assert graph.depth(lambda a: jnp.ones((8, 8)), A) == 0
    assert graph.depth(jax.grad(lambda a: ((a @ a) ** 2).sum()), A) == 2
    assert graph.depth(lambda a: jax.lax.cond(a[0, 0] > 0, lambda a: a @ a, lambda a: a, a), A) == 1
    assert graph.depth(lambda a: jax.lax.cond((a @ a)[0, 0] > 0, lambda a: a @ a, lambda a: a, a), A) == 2
    # A choice between two things that are passed on: what follows waits for it.
    chosen = lambda a: jax.lax.cond((a @ a)[0, 0] > 0, lambda a, b: a, lambda a, b: b, a, 2 * a)  # noqa: E731
    assert graph.depth(lambda a: chosen(a) @ a, A) == 2
    assert graph.depth(attnlib.conv, {"w": jnp.ones((3, 8, 8)), "b": jnp.ones(8)}, A) == 1


@pytest.mark.parametrize("turns", [0, 1, 2, 7, 1000])
def test_loops(turns):
    """A loop whose product is carried, one whose products do not meet, one that passes values along."""
    loop = functools.partial(jax.lax.scan, length=turns)
    assert graph.depth(lambda a: loop(lambda x, _: (x @ a, None), a), A) == turns
    assert graph.depth(lambda a: loop(lambda x, _: (x + a @ a, None), a), A) == min(turns, 1)
    assert graph.depth(lambda a: loop(lambda x, _: (x, a @ x), a), A) == min(turns, 1)
    assert graph.depth(lambda a: loop(lambda x, _: (x @ a, x @ a @ a), a)[1], A) == (turns + 1 if turns else 0)
    # Two turns of (x, y) → (y, x a) are one product each: half as many in a chain.
    assert graph.depth(lambda a: loop(lambda xy, _: ((xy[1], xy[0] @ a), None), (a, a)), A) == -(-turns // 2)
    # What is sliced in waits for the product before the loop, once.
    stack = jnp.ones((turns, 8, 8))
    before = graph.depth(lambda a, s: jax.lax.scan(lambda x, b: (x @ b, None), a, jnp.matmul(s, a)), A, stack)
    assert before == (turns + 1 if turns else 0)  # without a turn nothing that is returned waits for it
    assert graph.depth(lambda a: jax.lax.fori_loop(0, turns, lambda i, x: x @ a, a), A) == turns
    # A loop within a loop.
    assert graph.depth(lambda a: loop(lambda x, _: (loop(lambda x, _: (x @ a, None), x)[0], None), a), A) == turns**2


def test_every_chain_against_the_loop_unrolled(rng):
    """Random bodies that pass some of three values on, some through products: the program without the loop agrees."""
    for trial in range(10):
        choice = np.random.default_rng(trial)
        wires = [(int(choice.integers(3)), int(choice.integers(3)), bool(choice.integers(2))) for _ in range(4)]

        def body(carry, _, wires=wires):
            new = [carry[i] @ carry[j] if product else carry[i] + carry[j] for i, j, product in wires]
            return tuple(new[:3]), new[3]

        for turns in (1, 2, 5, 9):

            def unrolled(a, turns=turns, body=body):
                carry, ys = (a, a, a), []
                for _ in range(turns):
                    carry, y = body(carry, None)
                    ys.append(y)
                return carry, ys

            looped = functools.partial(jax.lax.scan, body, length=turns)
            for measure in (graph.depth, graph.span):
                assert measure(lambda a, f=looped: f((a, a, a)), A) == measure(unrolled, A)


def test_span():
    x = jnp.ones((1000, 3))
    assert graph.span(lambda x: x + 1, x) == 1
    assert graph.span(lambda x: jnp.exp(x) * x, x) == 2
    assert graph.span(lambda x: x.sum(), x) == 12  # ⌈log₂ 3000⌉
    assert graph.span(lambda x: x.max(axis=1), x) == 2
    assert graph.span(lambda x: x @ x.T, x) == 1 + 2
    assert graph.span(lambda x: x**4, x) == 2
    assert graph.span(lambda x: jnp.where(x > 0, x, 0).astype(jnp.bfloat16), x) == 0
    assert graph.span(attnlib.conv, {"w": jnp.ones((3, 3, 3)), "b": jnp.ones(3)}, x) == 1 + 4 + 1
    assert graph.span(lambda i: i + i, jnp.arange(3)) == 0


def test_span_on_several_devices():
    mesh = jax.make_mesh((2,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("i")
    whole = jax.sharding.PartitionSpec()
    fn = jax.shard_map(lambda a: jax.lax.psum(a @ a.T, "i"), mesh=mesh, in_specs=spec, out_specs=whole)
    assert graph.depth(fn, A) == 1
    assert graph.span(fn, A) == 1 + 3 + 1


# --- bad input ------------------------------------------------------------------------------------------------------

X = jnp.ones((4, 2))


def same(x):
    return x


def endless(x):
    return jax.lax.while_loop(lambda x: x.sum() < 3, same, x)


BAD = [
    ("reads", "a Boolean matrix (3, 3)", "shape (2, 2), dtype bool", graph.path_length, (np.eye(2) > 0, 3), {}),
    ("reads", "a function or a Boolean matrix (3, 3)", "dtype float64", graph.path_length, (np.eye(3), 3), {}),
    ("reads", "a function or a Boolean matrix", "str", graph.path_length, ("full", 3), {}),
    ("reads", "layers that connect all positions", "none after 3", graph.path_length, (np.eye(3) > 0, 3), {}),
    ("n", "at least 1", "0", graph.path_length, (same, 0), {}),
    ("causal", "True or False", "1", graph.path_length, (graph.full(3), 3), {"causal": 1}),
    ("n", "at least 1", "0", graph.full, (0,), {}),
    ("k", "at least 1", "0", graph.convolution, (0,), {}),
    ("k", "an odd width unless causal", "2", graph.convolution, (2,), {}),
    ("causal", "True or False", "1", graph.convolution, (3,), {"causal": 1}),
    ("dilated", "True or False", "1", graph.convolution, (3,), {"dilated": 1}),
    ("r", "at least 1", "0", graph.restricted, (0,), {}),
    ("causal", "True or False", "1", graph.restricted, (3,), {"causal": 1}),
    *(
        entry
        for fn, last in ((graph.depends, ()), (graph.receptive_field, (0,)))
        for entry in (
            ("fn", "a function", "int", fn, (3, X, *last), {}),
            ("fn", "two axes", "()", fn, (jnp.sum, X, *last), {}),
            ("fn", "a floating-point result", "int32", fn, (lambda x: (x > 0).astype(jnp.int32), X, *last), {}),
            ("x", "two axes", "(2,)", fn, (lambda x: x[:, :1], X[0], *last), {}),
            ("x", "an array", "list", fn, (same, [1.0], *last), {}),
            ("x", "two axes", "(2,)", fn, (same, X[0], *last), {}),
            ("x", "floating-point", "int32", fn, (same, X.astype(jnp.int32), *last), {}),
        )
    ),
    ("i", "a position of 4", "4", graph.receptive_field, (same, X, 4), {}),
    ("i", "a position of 4", "1.0", graph.receptive_field, (same, X, 1.0), {}),
    *(("fn", "a function", "str", fn, ("f",), {}) for fn in (graph.depth, graph.span)),
    *(("fn", "a fixed number of turns", "a while loop", fn, (endless, X), {}) for fn in (graph.depth, graph.span)),
]
