"""What every kernel and layer of the registry counts on this version of JAX, as JSON: python tests/counts.py."""

import json
from dataclasses import astuple
from functools import partial

import jax
import jax.numpy as jnp

from attnlib import count, decoding, graph, registry


def shape(*axes):
    return jax.ShapeDtypeStruct(axes, jnp.float32)


def with_backward(fn, *args):
    out = jax.tree.map(lambda x: shape(*x.shape), jax.eval_shape(fn, *args))
    return count.with_backward(fn), (out, *args)


def programs():
    """Yield name, function and arguments of each program, forward and with its gradient."""
    n, d = 1300, 16  # beyond the largest blocks
    heads, mask = (shape(2, n, d), shape(1, n, d), shape(1, n, d)), jnp.ones((n, n), bool)
    for entry in registry.MECHANISMS:
        options = [{}, *([{"causal": True}] if entry.causal else [])]
        options += [{"mask": mask if entry.mask == "pairs" else mask[:1]}] if entry.mask else []
        for given in options:
            yield f"{entry.name} {', '.join(given)}", partial(entry.fn, **entry.arguments(n, d), **given), heads
    for layer in registry.LAYERS:
        params = jax.eval_shape(lambda layer=layer: layer.draw(jax.random.key(0), d))
        yield f"{layer.title} layer", layer.fn, (params, shape(3, 20, d))
    heads_of = next(layer for layer in registry.LAYERS if layer.name == "multihead_attention")
    params = jax.eval_shape(lambda: heads_of.draw(jax.random.key(0), d))
    cache = jax.eval_shape(lambda: decoding.init_cache(20, d // 4, h_kv=4))
    yield "decoding step", lambda p, x, c: decoding.step(p, x, c)[0], (params, shape(1, d), cache)


def counts():
    """Return the counts of all programs by name."""
    found = {}
    for name, fn, args in programs():
        found[name] = [*astuple(count.operations(fn, *args)), graph.depth(fn, *args)]
        if not name.startswith("decoding"):
            run, given = with_backward(fn, *args)
            found[f"{name}, backward"] = [*astuple(count.operations(run, *given)), graph.depth(run, *given)]
            found[f"{name}, saved"] = [count.saved(fn, *args)]
    return found


if __name__ == "__main__":
    print(json.dumps(counts()))
