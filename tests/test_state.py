"""What every mechanism with a state promises: steps of any length, a state that goes through a file, bytes and FLOPs.

A mechanism joins with its entry in the registry, as soon as attnlib has its `<name>_state` and `<name>_step`. What is
special about one stands in its own tests.
"""

import inspect
import io
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import float64

import attnlib
from attnlib import cost, count, reference, registry
from attnlib.measure.count import with_backward

N, D_K, D_V = 23, 4, 5  # tokens, widths; no two alike, so that an axis tells what it is
LEAD = (2, 1)  # sequences, heads of keys; three heads of queries share one


@dataclass(frozen=True)
class Case:
    """A mechanism, options beyond those of its entry, and the shapes of inputs that are none of its entry."""

    entry: registry.Mechanism
    options: dict[str, Any] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...] | None] = field(default_factory=dict)

    def __str__(self):
        return "-".join([self.entry.name, *(f"{k}={v}" for k, v in (self.options | self.shapes).items())])

    @property
    def close(self):
        """Trigonometric features have signs, and a sum of weights near 0 costs digits."""
        signed = self.options.get("kind") == "trigonometric"
        return {"rtol": 1e-10, "atol": 1e-11} if signed else {"rtol": 1e-12, "atol": 1e-13}

    def inputs(self, rng):
        """The inputs besides q, k and v: the entry's own, or decays, half of them zero: many keys are felt."""
        given = {
            name: x(D_K) if callable(x) else x for name, x in self.entry.inputs.items() if name not in self.shapes
        }
        own = {name: np.asarray(x, np.float64) for name, x in given.items()}
        drawn = {
            name: -rng.exponential(size=s) * (rng.random(s) < 0.5) for name, s in self.shapes.items() if s is not None
        }
        return own | drawn

    def told(self, fn, **options):
        """The function with those of the options that it takes."""
        every = self.entry.options | self.options | options
        return partial(fn, **{name: x for name, x in every.items() if name in inspect.signature(fn).parameters})

    def empty(self, dtype):
        make = getattr(attnlib, f"{self.entry.name}_state")
        return self.told(make, lead=LEAD, dtype=dtype)(D_K, D_V)

    def step(self, **options):
        return self.told(getattr(attnlib, f"{self.entry.name}_step"), **options)


STEPS = [entry for entry in registry.MECHANISMS if hasattr(attnlib, f"{entry.name}_step")]
# In the place of the entry as it stands, where there is more to try.
CASES_OF = {
    "taylor_attention": [{"options": {"order": 4}}],
    "performer_attention": [{"options": {"kind": kind}} for kind in ("positive", "trigonometric")],
    "gated_linear_attention": [{}, *({"shapes": {"decay": s}} for s in (None, (*LEAD, N), (*LEAD, N, D_K)))],
}
CASES = [Case(entry, **case) for entry in STEPS for case in CASES_OF.get(entry.name, [{}])]

each = pytest.mark.parametrize("case", CASES, ids=str)
plain = pytest.mark.parametrize("case", [case for case in CASES if not case.shapes], ids=str)


def test_mechanisms_with_a_state_are_found():
    assert {"linear_attention", "taylor_attention", "gated_linear_attention"} <= {entry.name for entry in STEPS}


def draw(rng, dtype):
    shapes = ((2, 3, N, D_K), (*LEAD, N, D_K), (*LEAD, N, D_V))
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def rows(inputs, part):
    """The same tokens of every input; what is the same for all has no axis of N."""

    def cut(x):
        at = [part if size == N else slice(None) for size in np.shape(x)]
        return x[(..., *at)]

    return {name: cut(x) for name, x in inputs.items()}


def through_a_file(state):
    file = io.BytesIO()
    if isinstance(state, tuple):
        np.savez(file, **state._asdict())
        file.seek(0)
        return type(state)(**np.load(file))
    np.save(file, state)
    file.seek(0)
    return np.load(file)


@each
def test_steps_of_any_length_make_one_run(case, rng):
    """Steps of 9, 1 and 13 tokens beside all at once: outputs, gradients, and the state of the definition."""
    with float64():
        do = jnp.asarray(rng.normal(size=(2, 3, N, D_V)))
        inputs = dict(zip("qkv", draw(rng, jnp.float64), strict=True)) | case.inputs(rng)
        empty, step = case.empty(jnp.float64), case.step(**case.entry.blocks[-1])

        def at_once(*args):
            return case.told(case.entry.fn, causal=True)(**dict(zip(inputs, args, strict=True)))

        def stepwise(*args):
            state, outputs = empty, []
            for part in (np.s_[:9], np.s_[9:10], np.s_[10:]):
                o, state = step(state, **rows(dict(zip(inputs, args, strict=True)), part))
                outputs.append(o)
            return jnp.concatenate(outputs, axis=-2), state

        once = jax.jit(with_backward(at_once))(do, *inputs.values())
        # Nothing reads the last state, whose gradient is that of `empty`: zeros.
        (out, state), *gradients = jax.jit(with_backward(stepwise))((do, empty), *inputs.values())
        for a, b in zip((out, *gradients), once, strict=True):
            np.testing.assert_allclose(a, b, **case.close)
        exact, end = case.told(getattr(reference, f"{case.entry.name}_step"))(empty, **inputs)
        for a, b in zip((out, *jax.tree.leaves(state)), (exact, *jax.tree.leaves(end)), strict=True):
            np.testing.assert_allclose(a, b, **case.close)


@plain
def test_token_by_token_in_float32(case, rng):
    """As it is decoded: one program for all tokens, a state in float32, once through a file on the way."""
    q, k, v = draw(rng, jnp.float32)
    inputs = {"q": q, "k": k, "v": v} | {n: x.astype(np.float32) for n, x in case.inputs(rng).items()}
    state, step, outputs = case.empty(jnp.float32), jax.jit(case.step()), []
    for i in range(N):
        if i == 11:
            state, before = through_a_file(state), state
            jax.tree.map(np.testing.assert_array_equal, state, before)
        o, state = step(state, **rows(inputs, np.s_[i : i + 1]))
        outputs.append(o)
    once = case.told(case.entry.fn, causal=True, **case.entry.blocks[-1])(**inputs)
    np.testing.assert_allclose(jnp.concatenate(outputs, axis=-2), once, rtol=2e-5, atol=2e-6)


@plain
def test_flops_and_bytes_of_a_step(case, rng):
    """Those of the cost model; no length of the context changes them."""
    inputs = dict(zip("qkv", draw(rng, jnp.float32), strict=True)) | case.inputs(rng)
    one, step, state = rows(inputs, np.s_[:1]), case.step(), case.empty(jnp.float32)
    model = case.told(getattr(cost, f"{case.entry.name}_step"), d_v=D_V, h=3, h_kv=1, batch=2)(D_K)
    assert count.matmul_flops(lambda state: step(state, **one), state) == model.matmul_flops
    for _ in range(3):
        assert sum(x.nbytes for x in jax.tree.leaves(state)) == model.live
        _, state = step(state, **one)
    assert model.live == 2 * 4 * case.told(case.entry.state)(N, D_K, D_V)
