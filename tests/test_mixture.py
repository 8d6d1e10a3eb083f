"""Mixture of experts: a router and a few feed-forward layers of many, counted; attention is what it was."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

from attnlib import cost, count


def test_products_are_those_of_a_program():
    n, d, experts, active, d_ff = 7, 6, 5, 2, 9
    shape = jax.ShapeDtypeStruct
    args = [shape(s, jnp.float32) for s in ((n, d), (d, experts), (experts, d, d_ff), (experts, d_ff, d))]

    def up_and_down(x, router, w_1, w_2):
        _, which = jax.lax.top_k(x @ router, active)
        inner = jnp.einsum("nd,nadf->naf", x, w_1[which])
        return jnp.einsum("naf,nafd->nad", jax.nn.relu(inner), w_2[which])

    model = cost.mixture_of_experts(n, d, experts, active, d_ff=d_ff)
    assert count.matmul_flops(up_and_down, *args) == model.matmul_flops
    assert model.parameters == sum(a.size for a in args[1:])


def test_gated_and_shared_experts_are_those_of_a_program():
    n, d, experts, active, d_ff, shared = 7, 6, 5, 2, 9, 4
    shape = jax.ShapeDtypeStruct
    routed = [(experts, d, d_ff), (experts, d, d_ff), (experts, d_ff, d)]
    args = [
        shape(s, jnp.float32) for s in ((n, d), (d, experts), *routed, (d, shared), (d, shared), (shared, d), (d, 1))
    ]

    def layer(x, router, up, gate, down, shared_up, shared_gate, shared_down, score):
        weights, which = jax.lax.top_k(jax.nn.softmax(x @ router), active)
        inner = jax.nn.silu(jnp.einsum("nd,nadf->naf", x, gate[which])) * jnp.einsum("nd,nadf->naf", x, up[which])
        mixed = (weights[..., None] * jnp.einsum("naf,nafd->nad", inner, down[which])).sum(1)
        both = (jax.nn.silu(x @ shared_gate) * (x @ shared_up)) @ shared_down
        return mixed + jax.nn.sigmoid(x @ score) * both

    options = {"d_ff": d_ff, "gated": True, "shared_d_ff": shared, "shared_gate": True}
    model = cost.mixture_of_experts(n, d, experts, active, **options)
    assert count.matmul_flops(layer, *args) == model.matmul_flops
    assert model.parameters == sum(a.size for a in args[1:])
    assert cost.active_parameters(d, experts, active, **options) == model.parameters - 3 * 3 * d * d_ff
    assert model["activation"].transcendentals == n * (active * d_ff + shared)
    # Weights in four bits: as many FLOPs, fewer bytes.
    small = cost.mixture_of_experts(n, d, experts, active, **options, weights="mxfp4")
    assert small.flops == model.flops
    assert small.bytes_read < model.bytes_read


def test_one_expert_is_the_feed_forward_layer():
    one, dense = cost.mixture_of_experts(50, 16, 1, 1, batch=3), cost.feed_forward(50, 16, batch=3)
    for step in ("up", "activation", "down"):
        assert one[step] == dense[step]
    assert one.parameters - dense.parameters == 16  # a router with nothing to choose


def test_attention_is_untouched():
    """What is saved, or added, is in the feed-forward layer: with 2 of 64 experts at work, twice its FLOPs."""
    n, d, h = 4096, 1024, 16
    layer, heads = cost.transformer_layer(n, d, h), cost.multihead_attention(n, d, h)
    mixed = heads + cost.mixture_of_experts(n, d, 64, 2)
    assert all(mixed[step.name] == layer[step.name] for step in heads.steps)
    experts = mixed.matmul_flops - heads.matmul_flops - mixed["router"].flops
    assert experts == 2 * (layer.matmul_flops - heads.matmul_flops)
    # As wide a layer in all, without a choice: 64 times the FLOPs for the same parameters.
    wide = cost.feed_forward(n, d, d_ff=64 * 4 * d)
    assert wide.parameters == mixed.parameters - heads.parameters - 64 * d
    assert wide.matmul_flops == 32 * experts


def test_weights_that_are_read():
    """Those of two experts for one position, of all for many."""
    sizes = {"dtype": "bfloat16"}
    one, many = (cost.mixture_of_experts(n, 64, 8, 2, **sizes) for n in (1, 4096))
    expert, router = 2 * 64 * 256, 64 * 8
    assert one["up"].bytes_read + one["down"].bytes_read == 2 * (2 * expert + 2 * 64 + 2 * 256)
    assert cost.active_parameters(64, 8, 2) == 2 * expert + router
    assert many["up"].bytes_read + many["down"].bytes_read == 2 * (8 * expert + 4096 * 2 * (64 + 256))
    assert many.parameters == 8 * expert + router


def test_symbols_and_arrays_give_the_integers():
    n, d, experts, active = sympy.symbols("n d E k", positive=True)
    formula = cost.mixture_of_experts(n, d, experts, active)
    assert sympy.expand(formula.matmul_flops - 16 * active * n * d**2 - 2 * n * d * experts) == 0
    at = {n: 96, d: 8, experts: 6, active: 2}
    number = cost.mixture_of_experts(96, 8, 6, 2)
    many = cost.mixture_of_experts(np.array([96, 1]), 8, 6, 2)
    for part in ("flops", "transcendentals", "bytes_read", "bytes_written", "parameters", "live"):
        assert sympy.sympify(getattr(formula, part)).subs(at) == getattr(number, part)
        assert np.broadcast_to(getattr(many, part), 2)[0] == getattr(number, part)
        assert np.broadcast_to(getattr(many, part), 2)[1] == getattr(cost.mixture_of_experts(1, 8, 6, 2), part)


def bad(argument, expected, got, fn=cost.mixture_of_experts, **kwargs):
    sizes = ({"n": 8} if fn is cost.mixture_of_experts else {}) | {"d": 4, "experts": 3, "active": 2} | kwargs
    return (
        argument,
        expected,
        got,
        fn,
        tuple(sizes.pop(a) for a in ("n", "d", "experts", "active") if a in sizes),
        sizes,
    )


WHOLE = "a whole number of at least 1"
BAD = [
    *(bad(a, WHOLE, "0", **{a: 0}) for a in ("n", "d", "experts", "active", "d_ff", "batch")),
    bad("active", "at most experts = 3", "4", active=4),
    bad("dtype", "one of float64", "'int8'", dtype="int8"),
    bad("weights", "one of float32", "'int5'", weights="int5"),
    *(
        row
        for fn in (cost.mixture_of_experts, cost.active_parameters)
        for row in (
            bad("gated", "True or False", "1", fn, gated=1),
            bad("shared_gate", "True or False", "1", fn, shared_gate=1),
            bad("shared_gate", "False without shared_d_ff", "True", fn, shared_gate=True),
            bad("shared_d_ff", WHOLE, "-1", fn, shared_d_ff=-1),
        )
    ),
    *(bad(a, WHOLE, "0", cost.active_parameters, **{a: 0}) for a in ("d", "experts", "active", "d_ff")),
    bad("active", "at most experts = 3", "4", cost.active_parameters, active=4),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad[3].__module__}.{bad[3].__name__}-{bad[0]}-{bad[2]}")
def test_bad_input(refuses, bad):
    argument, expected, got, fn, args, kwargs = bad
    refuses(argument, expected, got, fn, *args, **kwargs)
