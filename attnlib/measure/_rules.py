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

# One FLOP for each number that comes out, on every device.
COLLECTIVE = {
    "pmax", "pmin", "psum", "psum2", "psum_invariant", "psum_invariant_start", "reduce_scatter",
    "reduce_scatter_start", "unreduced_pmax", "unreduced_pmin", "unreduced_psum", "unreduced_reduce_scatter",
}

# One FLOP for each number that is put into its place.
SCATTER = {
    "scatter-add", "scatter_add", "scatter-sub", "scatter-mul", "scatter-max", "scatter-min",
}

# One FLOP for each number of each window, those of the padding included.
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
    "relayout", "reshape", "reshard", "rev", "rng_bit_generator", "rng_uniform", "roll", "round", "scatter",
    "select_n", "shape_assertion", "shard_to_full", "sharding_constraint", "shift_left", "shift_right_arithmetic",
    "shift_right_logical", "sign", "slice", "sort", "split", "squeeze", "stack", "stop_gradient", "swap",
    "threefry2x32", "threefry4x32", "tie", "tile", "to_edtype", "top_k", "transpose", "unpin", "unreachable",
    "unstack", "vary_unreduced_cast", "with_memory_space_constraint", "xor", "zeros_like",
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
    return Operations(other_flops=sum(map(floats, outputs)))


def _scatter(inputs: Any, outputs: Any, **params: Any) -> Operations:
    return Operations(other_flops=floats(inputs[2]))


def _window(inputs: Any, outputs: Any, *, window_dimensions: Sequence[int], **params: Any) -> Operations:
    return Operations(other_flops=floats(outputs[0]) * math.prod(window_dimensions))


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


def _conv(inputs: Any, outputs: Any, *, dimension_numbers: Any, **params: Any) -> Operations:
    """Two FLOPs for each output and each weight that makes it, padding included."""
    kernel = inputs[1].shape
    out_channels = kernel[dimension_numbers.rhs_spec[0]]
    return Operations(matmul_flops=2 * floats(outputs[0]) * (math.prod(kernel) // out_channels))


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
    "integer_pow": _integer_pow,
    "ragged_dot_general": _ragged_dot_general,
    "select_and_scatter_add": _reduction,
}


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
