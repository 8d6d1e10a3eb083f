"""The longest chain of operations that wait for one another in a program, from its jaxpr, loops multiplied out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal

from attnlib.measure import _rules, count


def depth(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Count the matrix products on the longest chain of them that wait for one another in fn(*args, **kwargs).

    A loop counts as often as its products wait for those of the turn before: a recurrent layer of n positions has n,
    a loop over blocks whose products do not need each other's results as many as one turn.

    Args:
        fn: a function JAX can trace.
        *args: positional arguments, arrays or `jax.ShapeDtypeStruct`; nothing is executed.
        **kwargs: options: arrays are traced; what is none (True, a number, a string) is passed as it is.

    Returns:
        Matrix products and convolutions, an exact integer.

    Raises:
        ValueError: fn is not a function, or holds a loop whose number of turns depends on the data.

    Source: "sequential operations" of Vaswani et al. (2017), table 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> a = jnp.ones((8, 8))
        >>> depth(lambda a: a @ a + a @ a, a), depth(lambda a: jax.lax.fori_loop(0, 10, lambda i, x: x @ a, a), a)
        (1, 10)
    """
    return _longest("graph.depth", fn, args, kwargs, _product)


def span(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Count the operations on two numbers on the longest chain that waits in fn(*args, **kwargs): its span, or depth.

    With as many processors as it can use: a sum of m numbers takes ⌈log₂ m⌉ steps, a matrix product that contracts m
    numbers 1 + ⌈log₂ m⌉, an elementwise operation 1. What `count.operations` does not count takes none.

    Args:
        fn: a function JAX can trace.
        *args: positional arguments, arrays or `jax.ShapeDtypeStruct`; nothing is executed.
        **kwargs: options: arrays are traced; what is none (True, a number, a string) is passed as it is.

    Returns:
        Steps, an exact integer: Θ(log n + log d) for attention, Θ(n log d) for a recurrent layer.

    Raises:
        ValueError: as `depth`; a primitive without a rule.

    Source: work and span: Blelloch (1996).

    Example:
        >>> import jax.numpy as jnp
        >>> span(lambda a: a @ a, jnp.ones((8, 8))), span(jnp.sum, jnp.ones(1000))
        (4, 10)
    """
    return _longest("graph.span", fn, args, kwargs, _steps)


# --- longest chains: arithmetic with + for "then" and max for "both", −∞ for "does not wait" ---


def _longest(name: str, fn: Any, args: Any, kwargs: Any, weight: Callable[[Any], int]) -> int:
    if not callable(fn):
        raise ValueError(f"{name}: fn: expected a function, got {type(fn).__name__}")
    fn, arrays = count._with_options(fn, kwargs)
    chains = _chains(name, jax.make_jaxpr(fn)(*args, **arrays).jaxpr, weight)
    return int(max(chains.max(initial=0.0), 0.0))


def _chains(name: str, jaxpr: Any, weight: Callable[[Any], int]) -> np.ndarray:
    """Return the longest chain to each output (row), from inside (column 0) and from each input (other columns)."""
    inputs = [*jaxpr.invars]
    rows: dict[Any, np.ndarray] = {}
    inside = _row(1 + len(inputs), 0)
    for i, var in enumerate(inputs):
        rows[var] = _row(1 + len(inputs), 1 + i)

    def row(var: Any) -> np.ndarray:
        return inside if isinstance(var, Literal) else rows.get(var, inside)

    for eqn in count._equations(jaxpr):
        before = np.stack([inside, *map(row, eqn.invars)])
        after = _then(_equation(name, eqn, weight), before)
        rows.update(zip(eqn.outvars, after, strict=True))
    return np.stack([row(var) for var in jaxpr.outvars]) if jaxpr.outvars else np.zeros((0, 1 + len(inputs)))


def _equation(name: str, eqn: Any, weight: Callable[[Any], int]) -> np.ndarray:
    """Return the chains through one equation, from inside and its inputs to its outputs."""
    primitive, params = eqn.primitive.name, eqn.params
    if primitive in count.CALL or primitive == "shard_map":
        return _chains(name, count._body(params), weight)
    if primitive == "cond":
        branches = [_chains(name, branch.jaxpr, weight) for branch in params["branches"]]
        longest = np.max(branches, axis=0)
        # A branch begins when the choice is known, and what it only passes on waits for the choice, too.
        return np.insert(longest, 1, np.maximum(longest[:, 0], 0), axis=1)
    if primitive == "while":
        raise ValueError(f"{name}: fn: expected loops with a fixed number of turns, got a while loop")
    if primitive == "scan":
        body = _chains(name, params["jaxpr"].jaxpr, weight)
        return _loop(body, *count._scan_parts(params), int(params["length"]))
    if primitive in ("pallas_call", "get", "swap", "addupdate", "accum_grad_in_ref", "run_state"):
        raise ValueError(f"{name}: fn: expected a program of arrays, got {primitive}, which works on memory in place")
    return np.full((len(eqn.outvars), 1 + len(eqn.invars)), float(weight(eqn)))


def _loop(body: np.ndarray, consts: int, carries: int, length: int) -> np.ndarray:
    """Return the chains through `length` turns of a body whose inputs are constants, what is carried, slices."""
    columns = body.shape[1]
    carried = slice(1 + consts, 1 + consts + carries)
    # One turn as a square matrix: what is carried changes, the rest of the inputs stay as they are.
    turn = np.stack([_row(columns, i) for i in range(columns)])
    turn[carried] = body[:carries]
    stay = np.stack([_row(columns, i) for i in range(columns)])
    last = _power(turn, length)[carried]
    if not length:
        return np.concatenate([last, np.full((len(body) - carries, columns), -np.inf)])
    # The slices of the result: the body's, after the worst number of turns before.
    any_turn = _power(np.maximum(turn, stay), length - 1)
    return np.concatenate([last, _then(body[carries:], any_turn)])


def _power(matrix: np.ndarray, times: int) -> np.ndarray:
    result = np.stack([_row(len(matrix), i) for i in range(len(matrix))])
    while times:
        if times % 2:
            result = _then(result, matrix)
        matrix, times = _then(matrix, matrix), times // 2
    return result


def _then(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Chains through the first, then the second: a matrix product with max for + and + for ×."""
    return np.stack([(row[:, None] + first).max(axis=0) for row in second]) if len(second) else first[:0]


def _row(size: int, one: int) -> np.ndarray:
    row = np.full(size, -np.inf)
    row[one] = 0
    return row


def _product(eqn: Any) -> int:
    return int(eqn.primitive.name in ("dot_general", "conv_general_dilated"))


def _steps(eqn: Any) -> int:
    """Count the steps of one equation when every operation takes two numbers."""
    name, params = eqn.primitive.name, eqn.params
    inputs = [v.aval for v in eqn.invars]
    if count._count_equation(eqn) == count.Operations():  # refuses primitives without a rule
        return 0
    if name in count.OWN_RULES:
        return 1
    if name in _rules.ITERATES:
        raise ValueError(
            f"graph.span: expected primitives that have a rule, got {name}, whose steps the numbers decide: if you "
            f"know what it costs, say so with count.rule({name!r}, fn)"
        )
    if name == "dot_general":
        (contract, _), _ = params["dimension_numbers"]
        return 1 + _halvings(math.prod(inputs[0].shape[axis] for axis in contract))
    if name == "conv_general_dilated":
        numbers, kernel = params["dimension_numbers"], inputs[1].shape
        window = [kernel[axis] for axis in numbers.rhs_spec[2:]]
        own = _own(window, params["lhs_dilation"], params["rhs_dilation"])
        return 1 + _halvings(kernel[numbers.rhs_spec[1]] * own)
    if name == "integer_pow":
        return _rules.multiplications(params["y"])
    if name == "fft":  # at each halving a product of complex numbers, which is a product and a sum, and a sum
        return 3 * _halvings(math.prod(params["fft_lengths"]))
    if name in _rules.REDUCTION:
        axes = params["axes"] if "axes" in params else [params["axis"]]
        return _halvings(math.prod(inputs[0].shape[axis] for axis in axes))
    if name in _rules.WINDOW:
        return _halvings(_own(params["window_dimensions"], params["base_dilation"], params["window_dilation"]))
    if name not in _rules.RULES:
        lowered = _rules.lowered(eqn.primitive, inputs, params)
        return lowered.steps if lowered else 1
    return 1


def _own(window: Any, gaps: Any, steps: Any) -> int:
    """Count the numbers of a dilated array, `gaps` apart, that one window of it holds at most."""
    return math.prod(-(-w // (gap // math.gcd(gap, step))) for w, gap, step in zip(window, gaps, steps, strict=True))


def _halvings(m: int) -> int:
    """⌈log₂ m⌉, exactly."""
    return max(m - 1, 0).bit_length()
