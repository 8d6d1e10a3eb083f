"""What one primitive of JAX costs: a rule by name, or, for a primitive nobody has named, its own lowering."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Operations:
    """How many operations a program runs, by kind.

    The conventions are those of `attnlib.cost`: a multiply-add is 2 FLOPs, a transcendental is not a FLOP, a
    reduction of m numbers is m FLOPs; integer arithmetic, comparisons, selections, conversions and moves are none.

    Attributes:
        matmul_flops: FLOPs in matrix products and convolutions.
        other_flops: floating-point additions, subtractions, multiplications, divisions, maxima and the like.
        transcendentals: calls of exp, log, tanh, square root, ….

    Example:
        >>> Operations(6, 1, 0) + Operations(0, 2, 3)
        Operations(matmul_flops=6, other_flops=3, transcendentals=3)
    """

    matmul_flops: int = 0
    other_flops: int = 0
    transcendentals: int = 0

    @property
    def flops(self) -> int:
        """FLOPs in and outside matrix products."""
        return self.matmul_flops + self.other_flops

    def __add__(self, other: Operations) -> Operations:
        return Operations(
            self.matmul_flops + other.matmul_flops,
            self.other_flops + other.other_flops,
            self.transcendentals + other.transcendentals,
        )

    def __mul__(self, times: int) -> Operations:
        return Operations(times * self.matmul_flops, times * self.other_flops, times * self.transcendentals)


Rule = Callable[..., Operations]
"""fn(inputs, outputs, **params): arrays' shapes and dtypes in and out, and the primitive's parameters."""


def floats(aval: Any) -> int:
    """Numbers in an array of floats; integer arithmetic is not counted."""
    return int(math.prod(aval.shape)) if jnp.issubdtype(aval.dtype, jnp.floating) else 0


def multiplications(power: int) -> int:
    """Multiplications of x^power by repeated squaring, and one division when the power is negative."""
    p = abs(power)
    return max(p.bit_length() - 1 + p.bit_count() - 1, 0) + (power < 0)


# --- rules ---
# fmt: off
ELEMENTWISE = {
    "abs", "add", "add_any", "clamp", "div", "max", "min", "mul", "neg", "reciprocal", "rem", "square", "sub",
}

TRANSCENDENTAL = {
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "bessel_i0e", "bessel_i1e", "cbrt", "cos", "cosh",
    "digamma", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "lgamma", "log", "log1p", "log2", "logistic",
    "polygamma", "pow", "rsqrt", "sin", "sinh", "sqrt", "tan", "tanh", "zeta",
}

# One FLOP for each number that goes in.
REDUCTION = {
    "argmax", "argmin", "cummax", "cummin", "cumprod", "cumsum", "reduce_max", "reduce_min", "reduce_prod",
    "reduce_sum",
}

# One FLOP for each number that goes in, on every device: a sum over D devices is D FLOPs, whoever gets it.
COLLECTIVE = {
    "pmax", "pmin", "psum", "psum2", "psum_invariant", "psum_invariant_start", "reduce_scatter",
    "reduce_scatter_start", "unreduced_pmax", "unreduced_pmin", "unreduced_psum", "unreduced_reduce_scatter",
}

# One FLOP for each number that is put into its place.
SCATTER = {
    "scatter-add", "scatter_add", "scatter-sub", "scatter-mul", "scatter-max", "scatter-min",
}

# One FLOP for each number of each window: `window_numbers`.
WINDOW = {"reduce_window_max", "reduce_window_min", "reduce_window_sum"}

# Moves, comparisons, selections, conversions, random bits: no floating-point arithmetic.
FREE = {
    "abs_bits", "after_all", "all_gather", "all_gather_done", "all_gather_invariant", "all_gather_reduced",
    "all_gather_reduced_start", "all_gather_start", "all_to_all", "all_to_all_done", "all_to_all_start", "and",
    "approx_top_k", "argsort", "axis_index", "bitcast_convert_type", "broadcast_in_dim", "broadcast_to", "ceil",
    "clz", "complex", "concatenate", "conj", "convert_element_type", "copy", "copy_p", "create_linear",
    "create_token", "dce_sink", "device_put", "dim_as_value", "dimension_size", "dynamic_slice",
    "dynamic_update_slice", "empty", "empty2", "empty_ref", "eq", "eq_to", "expand_dims", "floor", "free_ref",
    "freeze", "from_edtype", "full", "full_to_shard", "gather", "ge", "get", "gt", "imag", "iota",
    "iota_2x32_shape", "is_finite", "layout_constraint", "le", "le_to", "lt", "lt_to", "lu_pivots_to_permutation",
    "mesh_cast", "mulhi", "mutable_array", "name", "ne", "new_ref", "nextafter", "not", "num_programs",
    "optimization_barrier", "or", "pad", "pbroadcast", "pbroadcast_dynamic", "pcast", "pgather", "philox2x32",
    "philox4x32", "pin", "platform_index", "population_count", "ppermute", "ppermute_done", "ppermute_start",
    "precv", "preduced", "program_id", "psend", "psum_done", "pvary", "ragged_all_to_all", "random_bits",
    "random_clone", "random_fold_in", "random_seed", "random_split", "random_unwrap", "random_wrap", "real",
    "reduce_and", "reduce_or", "reduce_precision", "reduce_scatter_done", "reduce_xor", "reduced_vary_cast",
    "relayout", "reshape", "reshard", "rev", "rng_bit_generator", "rng_uniform", "roll", "round",
    "select_and_gather_add", "select_n", "shape_assertion", "shard_to_full", "sharding_constraint", "shift_left",
    "shift_right_arithmetic", "shift_right_logical", "sign", "slice", "sort", "split", "squeeze", "stack",
    "stop_gradient", "swap", "threefry2x32", "threefry4x32", "tie", "tile", "to_edtype", "top_k", "transpose",
    "unpin", "unreachable", "unstack", "vary_unreduced_cast", "with_memory_space_constraint", "xor", "zeros_like",
}
# fmt: on


def _free(inputs: Any, outputs: Any, **params: Any) -> Operations:
    return Operations()


def _elementwise(inputs: Any, outputs: Any, **params: Any) -> Operations:
    return Operations(other_flops=floats(outputs[0]))


def _transcendental(inputs: Any, outputs: Any, **params: Any) -> Operations:
    return Operations(transcendentals=floats(outputs[0]))


def _reduction(inputs: Any, outputs: Any, **params: Any) -> Operations:
    return Operations(other_flops=floats(inputs[0]))


def _collective(inputs: Any, outputs: Any, **params: Any) -> Operations:
    return Operations(other_flops=sum(map(floats, inputs)))


def _scatter(inputs: Any, outputs: Any, **params: Any) -> Operations:
    return Operations(other_flops=floats(inputs[2]))


def _window(inputs: Any, outputs: Any, **params: Any) -> Operations:
    return Operations(other_flops=window_numbers(inputs[0], outputs[0], **params) * bool(floats(outputs[0])))


def window_numbers(
    x: Any,
    out: Any,
    *,
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    base_dilation: Sequence[int],
    window_dilation: Sequence[int],
    **params: Any,
) -> int:
    """Count the numbers in all windows together, by the convention of `pairs`."""
    steps = window_strides, padding, base_dilation, window_dilation
    return math.prod(pairs([*zip(x.shape, out.shape, window_dimensions, *steps, strict=True)]))


def pairs(axes: Sequence[Any]) -> list[int]:
    """Count, along each axis, the pairs of an output and a number of its window.

    Padding counts, as if it were part of the array: every output has a whole window. Where an array is dilated, on
    whichever axis, zeros stand for nothing, neither those between its numbers nor those around them: only its own
    numbers count, as in the sum over them that is the definition of a transposed convolution.

    Args:
        axes: for each axis the length of the array, the outputs, the window, its stride, the padding (before, after),
            the dilation of the array and that of the window.

    Returns:
        Pairs for each axis, whose product is that of the whole array.
    """
    if all(gap == 1 for *_, gap, _ in axes):
        return [outputs * window for _, outputs, window, *_ in axes]
    return [
        _own_pairs(n, outputs, window, stride, before, gap, step)
        for n, outputs, window, stride, (before, _), gap, step in axes
    ]


def _own_pairs(n: int, outputs: int, window: int, stride: int, before: int, gap: int, step: int) -> int:
    """Count the outputs o and places t of a window for which o·stride + t·step − before is i·gap with 0 ≤ i < n."""
    common = math.gcd(stride, gap)
    period = gap // common
    inverse = pow(stride // common, -1, period)
    total = 0
    for t in range(window):
        shift = before - t * step
        if shift % common == 0:
            # Every `period`-th output meets a number of the array, from the one that solves the congruence.
            solution = shift // common * inverse
            first, last = max(0, -(-shift // stride)), min(outputs - 1, (shift + (n - 1) * gap) // stride)
            total += max(0, (last - solution) // period - (first - 1 - solution) // period)
    return int(total)


def _integer_pow(inputs: Any, outputs: Any, *, y: int, **params: Any) -> Operations:
    return Operations(other_flops=multiplications(y) * floats(outputs[0]))


def _accumulate(inputs: Any, outputs: Any, **params: Any) -> Operations:
    """Add into a reference (`addupdate`): one FLOP for each number added."""
    return Operations(other_flops=floats(inputs[1]))


def _dot_general(inputs: Any, outputs: Any, *, dimension_numbers: Any, **params: Any) -> Operations:
    """Two FLOPs for each output and each contracted index."""
    (contract, _), _ = dimension_numbers
    return Operations(matmul_flops=2 * floats(outputs[0]) * math.prod(inputs[0].shape[axis] for axis in contract))


def _ragged_dot_general(inputs: Any, outputs: Any, *, ragged_dot_dimension_numbers: Any, **params: Any) -> Operations:
    """Each row of the left operand meets the matrix of one group: as one product, whatever the groups' sizes."""
    ((_, contract), (_, batch)), group = (
        ragged_dot_dimension_numbers.dot_dimension_numbers,
        ragged_dot_dimension_numbers.rhs_group_dimensions,
    )
    shared = {*contract, *batch, *group}
    free = math.prod(size for axis, size in enumerate(inputs[1].shape) if axis not in shared)
    return Operations(matmul_flops=2 * free * math.prod(inputs[0].shape) * bool(floats(outputs[0])))


def _conv(inputs: Any, outputs: Any, **params: Any) -> Operations:
    """Two FLOPs for each output and each weight that makes it, by the convention of `pairs`."""
    numbers = params["dimension_numbers"]
    in_channels = inputs[1].shape[numbers.rhs_spec[1]]
    batch, out_channels = (outputs[0].shape[axis] for axis in numbers.out_spec[:2])
    products = batch * out_channels * in_channels * math.prod(pairs(conv_axes(inputs, outputs, **params)))
    return Operations(matmul_flops=2 * products * bool(floats(outputs[0])))


def conv_axes(inputs: Any, outputs: Any, **params: Any) -> list[Any]:
    """Return what `pairs` wants to know of a convolution."""
    numbers = params["dimension_numbers"]
    n, window, out = (
        [x.shape[axis] for axis in spec[2:]]
        for x, spec in zip((inputs[0], inputs[1], outputs[0]), numbers, strict=True)
    )
    steps = (params[key] for key in ("window_strides", "padding", "lhs_dilation", "rhs_dilation"))
    return list(zip(n, out, window, *steps, strict=True))


def _svd(inputs: Any, outputs: Any, *, compute_uv: bool, **params: Any) -> Operations:
    """By convention what the algorithm of Golub and Reinsch needs for both factors: 4m²n + 8mn² + 9n³ with m ≥ n.

    Singular values alone are its reduction to two diagonals, 4mn² − 4n³/3. Libraries have algorithms of their own,
    of the same order; how often they iterate, the numbers decide.
    """
    *batch, rows, columns = inputs[0].shape
    n, m = sorted((rows, columns))
    one = 4 * m * m * n + 8 * m * n * n + 9 * n**3 if compute_uv else 4 * m * n * n - 4 * n**3 // 3
    return Operations(other_flops=math.prod(batch) * one)


def _fft(inputs: Any, outputs: Any, *, fft_lengths: Sequence[int], **params: Any) -> Operations:
    """By convention 5 L log₂ L for L complex numbers, half of it where they are real before or after, rounded.

    That is what benchFFT divides by the time, whatever the algorithm: radix 2 takes as many, others a few less.
    """
    real = next((x for x in (inputs[0], outputs[0]) if not jnp.issubdtype(x.dtype, jnp.complexfloating)), None)
    size, shape = math.prod(fft_lengths), (real or inputs[0]).shape
    one = round((5 if real is None else 2.5) * size * math.log2(max(size, 1)))
    return Operations(other_flops=math.prod(shape[: len(shape) - len(fft_lengths)]) * one)


RULES: dict[str, Rule] = {
    **dict.fromkeys(FREE, _free),
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(TRANSCENDENTAL, _transcendental),
    **dict.fromkeys(REDUCTION, _reduction),
    **dict.fromkeys(COLLECTIVE, _collective),
    **dict.fromkeys(SCATTER, _scatter),
    **dict.fromkeys(WINDOW, _window),
    "accum_grad_in_ref": _accumulate,
    "addupdate": _accumulate,
    "conv_general_dilated": _conv,
    "dot_general": _dot_general,
    "fft": _fft,
    "integer_pow": _integer_pow,
    "ragged_dot_general": _ragged_dot_general,
    "select_and_scatter_add": _reduction,
    "svd": _svd,
}

# Whose rules know of complex numbers.
COMPLEX = {"fft"}

# Counted by a convention that says nothing of how many steps wait for one another.
ITERATES = {"svd"}


# --- a primitive nobody has named ---
# What StableHLO and CHLO call the same things. fmt: off
LOWERED_ELEMENTWISE = {
    "abs",
    "add",
    "clamp",
    "divide",
    "maximum",
    "minimum",
    "multiply",
    "negate",
    "remainder",
    "subtract",
}
LOWERED_TRANSCENDENTAL = {
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bessel_i1e",
    "cbrt",
    "cosh",
    "cosine",
    "digamma",
    "erf",
    "erf_inv",
    "erfc",
    "exponential",
    "exponential_minus_one",
    "lgamma",
    "log",
    "log_plus_one",
    "logistic",
    "polygamma",
    "power",
    "rsqrt",
    "sine",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "zeta",
}
LOWERED_FREE = {
    "and",
    "bitcast_convert",
    "broadcast",
    "broadcast_in_dim",
    "ceil",
    "compare",
    "concatenate",
    "constant",
    "convert",
    "count_leading_zeros",
    "create_token",
    "dynamic_slice",
    "dynamic_update_slice",
    "floor",
    "gather",
    "get_dimension_size",
    "get_tuple_element",
    "iota",
    "is_finite",
    "is_inf",
    "is_neg_inf",
    "is_pos_inf",
    "next_after",
    "not",
    "optimization_barrier",
    "or",
    "pad",
    "popcnt",
    "reduce_precision",
    "reshape",
    "return",
    "reverse",
    "round_nearest_afz",
    "round_nearest_even",
    "select",
    "shift_left",
    "shift_right_arithmetic",
    "shift_right_logical",
    "sign",
    "slice",
    "transpose",
    "tuple",
    "xor",
}
# fmt: on


@dataclass(frozen=True)
class Lowered:
    """What a primitive's own lowering does: operations, and how many of them wait for one another (`steps`)."""

    operations: Operations
    steps: int


def lowered(primitive: Any, inputs: Sequence[Any], params: dict[str, Any]) -> Lowered | None:
    """Count a primitive from the StableHLO it alone becomes, or return None where that is more than arithmetic.

    More than element-wise arithmetic, comparisons and moves is a loop, a reduction, a call of a library: what these
    cost, their names do not say.
    """
    alone: Any = jax.ShapeDtypeStruct
    try:
        shapes = [alone(x.shape, x.dtype) for x in inputs]
        module: Any = jax.jit(lambda *xs: primitive.bind(*xs, **params)).lower(*shapes).compiler_ir("stablehlo")
        functions = {op.name.value: op for op in module.body.operations}
        return _walk(functions, functions["main"], [0] * len(inputs))[0]
    except (ArithmeticError, AttributeError, LookupError, NameError, RuntimeError, TypeError, ValueError):
        return None  # what JAX cannot lower by itself, or `_walk` does not know


def _walk(functions: dict[str, Any], function: Any, before: list[int]) -> tuple[Lowered, list[int]]:
    """Count a function of a module, and return the steps until each of its results is there."""
    (block,) = function.regions[0].blocks
    ready: dict[Any, int] = dict(zip(block.arguments, before, strict=True))
    total, steps, start = Operations(), 0, []
    for op in block.operations:
        name = op.operation.name.rpartition(".")[2]
        start = [ready[x] for x in op.operands]  # of the last operation, which returns: when the results are there
        if name == "call":
            inner, after = _walk(functions, functions[op.callee.value], start)
            one = inner.operations
        elif name != "return":
            one = _lowered_operation(name, op)
            after = [max(start, default=0) + (one != Operations())] * len(op.results)
        else:
            one, after = Operations(), []
        total, steps = total + one, max(steps, *after, 0)
        ready.update(zip(op.results, after, strict=True))
    return Lowered(total, steps), start


def _lowered_operation(name: str, op: Any) -> Operations:
    if name in LOWERED_FREE:
        return Operations()
    (result,) = op.results
    element = str(result.type.element_type)
    if "complex" in element:
        raise ValueError("complex arithmetic")
    size = math.prod(result.type.shape) if element.startswith(("f", "bf")) else 0
    if name in LOWERED_ELEMENTWISE:
        return Operations(other_flops=size)
    if name in LOWERED_TRANSCENDENTAL:
        return Operations(transcendentals=size)
    raise ValueError(f"{name} is more than arithmetic")
