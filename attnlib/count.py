"""What the compiler says: operations from the jaxpr with every loop multiplied out, memory from the executable."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Var


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


def operations(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Operations:
    """Count the operations of fn(*args, **kwargs) from its jaxpr, loop bodies multiplied by their trip counts.

    Nothing is executed: arguments may be arrays or `jax.ShapeDtypeStruct`. What XLA later fuses, hoists or deletes
    is counted as written.

    Args:
        fn: a function JAX can trace; wrap it in `jax.grad` or `jax.vjp` to count the backward pass too.
        *args: positional arguments, traced.
        **kwargs: keyword arguments, traced.

    Returns:
        `Operations`, in exact integers.

    Raises:
        ValueError: a loop or branch whose work depends on the data, a primitive without a rule, complex arithmetic.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> a = jnp.ones((3, 4))
        >>> operations(lambda a: jnp.exp(a @ a.T), a)
        Operations(matmul_flops=72, other_flops=0, transcendentals=9)
    """
    if not callable(fn):
        raise ValueError(f"count.operations: fn: expected a function, got {type(fn).__name__}")
    return _count(jax.make_jaxpr(fn)(*args, **kwargs).jaxpr)


def flops(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Count the FLOPs of fn(*args, **kwargs), in and outside matrix products: `operations(...).flops`.

    Args:
        fn: as in `operations`.
        *args: positional arguments, traced.
        **kwargs: keyword arguments, traced.

    Returns:
        FLOPs, an exact integer.

    Raises:
        ValueError: as `operations`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> a = jnp.ones((8, 8))
        >>> flops(lambda a: jax.lax.fori_loop(0, 10, lambda i, x: x @ a, a), a)  # 10 · 2 · 8³
        10240
    """
    return operations(fn, *args, **kwargs).flops


def matmul_flops(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Count the FLOPs in matrix products of fn(*args, **kwargs): `operations(...).matmul_flops`.

    Args:
        fn: as in `operations`.
        *args: positional arguments, traced.
        **kwargs: keyword arguments, traced.

    Returns:
        FLOPs, an exact integer.

    Raises:
        ValueError: as `operations`.

    Example:
        >>> import jax.numpy as jnp
        >>> matmul_flops(lambda a: (a @ a).sum(), jnp.ones((8, 8)))
        1024
    """
    return operations(fn, *args, **kwargs).matmul_flops


def memory(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Return the bytes of temporary memory that the compiled fn(*args, **kwargs) needs.

    That is `memory_analysis().temp_size_in_bytes`: everything but arguments, results and code. The program is
    compiled, not run, so arguments may be `jax.ShapeDtypeStruct` of sizes that this machine could not hold. On CPU
    it is compiled without library fusions: the scratch memory of those is real, but XLA reports it as 0.

    Args:
        fn: a function JAX can compile.
        *args: positional arguments, arrays or shapes.
        **kwargs: keyword arguments, arrays or shapes.

    Returns:
        Bytes, as the backend's compiler plans them; they differ between backends and versions.

    Raises:
        ValueError: fn is not callable, the backend does not report memory, or it hides some in a library call.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> a = jax.ShapeDtypeStruct((1024, 1024), jnp.float32)
        >>> memory(lambda a: a + 1, a)
        0
    """
    lowered = _lowered("count.memory", fn, *args, **kwargs)
    try:
        compiled = lowered.compile(compiler_options=OWN_KERNELS if jax.default_backend() == "cpu" else None)
    except jax.errors.JaxRuntimeError as error:
        if "No such compile option" not in str(error):
            raise
        compiled = lowered.compile()  # an XLA from before these library fusions
    if "__ynn_fusion" in compiled.as_text():
        raise ValueError("count.memory: expected XLA's own kernels, got a library call that hides its memory")
    analysis = compiled.memory_analysis()
    if analysis is None:
        raise ValueError("count.memory: expected a backend that reports memory, got none from this one")
    return int(analysis.temp_size_in_bytes)


def saved(fn: Callable[..., Any], *args: Any) -> int:
    """Return the bytes that reverse-mode differentiation of fn(*args) keeps between forward and backward pass.

    Args:
        fn: a differentiable function.
        *args: its arguments, arrays or `jax.ShapeDtypeStruct`; nothing is executed.

    Returns:
        Bytes of the residuals of `jax.vjp`, each array once, the arguments it keeps included. Arrays that do not
        depend on the arguments (index masks, zeros) are left out: the compiler makes them again.

    Raises:
        ValueError: fn is not callable.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> saved(jnp.exp, jax.ShapeDtypeStruct((1000,), jnp.float32))  # exp keeps its result
        4000
    """
    if not callable(fn):
        raise ValueError(f"count.saved: fn: expected a function, got {type(fn).__name__}")
    jaxpr = jax.make_jaxpr(lambda *a: jax.tree.leaves(jax.vjp(fn, *a)[1]))(*args).jaxpr
    depends = set(jaxpr.invars)
    for eqn in jaxpr.eqns:
        if any(isinstance(var, Var) and var in depends for var in eqn.invars):
            depends.update(eqn.outvars)
    kept: set[Any] = {var for var in jaxpr.outvars if isinstance(var, Var) and var in depends}
    return sum(math.prod(var.aval.shape) * var.aval.dtype.itemsize for var in kept)


def xla(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, float]:
    """Return XLA's own estimate, as a second witness: "flops", "transcendentals", "bytes accessed".

    XLA counts the body of a loop once, whatever its trip count, and its estimate may change from version to
    version; it is right on programs without loops.

    Args:
        fn: a function JAX can compile.
        *args: positional arguments, arrays or shapes.
        **kwargs: keyword arguments, arrays or shapes.

    Returns:
        A dict of floats; a key that the backend leaves out is absent.

    Raises:
        ValueError: fn is not callable, or the backend gives no estimate.

    Example:
        >>> import jax.numpy as jnp
        >>> xla(lambda a: a @ a, jnp.ones((8, 8)))["flops"]  # 2 · 8³
        1024.0
    """
    analysis = _lowered("count.xla", fn, *args, **kwargs).compile().cost_analysis()
    if isinstance(analysis, list):
        analysis = analysis[0] if analysis else None
    if not analysis:
        raise ValueError("count.xla: expected a backend that estimates costs, got none from this one")
    return {key: float(analysis[key]) for key in ("flops", "transcendentals", "bytes accessed") if key in analysis}


# XLA's name for the choice of operations it hands to the YNNPACK library on CPU: none.
OWN_KERNELS = {"xla_cpu_experimental_ynn_fusion_type": ""}


def _lowered(name: str, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not callable(fn):
        raise ValueError(f"{name}: fn: expected a function, got {type(fn).__name__}")
    return jax.jit(fn).lower(*args, **kwargs)


# fmt: off
ELEMENTWISE = {
    "abs", "add", "add_any", "clamp", "div", "max", "min", "mul", "neg", "rem", "square", "sub",
}

TRANSCENDENTAL = {
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "digamma", "erf",
    "erf_inv", "erfc", "exp", "exp2", "expm1", "lgamma", "log", "log1p", "logistic", "pow", "rsqrt", "sin",
    "sinh", "sqrt", "tan", "tanh",
}

# One FLOP for each number that goes in.
REDUCTION = {
    "argmax", "argmin", "cummax", "cummin", "cumprod", "cumsum", "reduce_max", "reduce_min", "reduce_prod",
    "reduce_sum",
}

# One FLOP for each number that comes out, on every device.
COLLECTIVE = {
    "pmax", "pmin", "psum", "psum2", "psum_invariant",
}

# Moves, comparisons, selections, conversions, random bits: no floating-point arithmetic.
FREE = {
    "abs_bits", "all_gather", "all_to_all", "and", "argsort", "axis_index", "bitcast_convert_type",
    "broadcast_in_dim", "ceil", "clz", "concatenate", "convert_element_type", "copy", "copy_p", "device_put",
    "dynamic_slice", "dynamic_update_slice", "empty", "eq", "eq_to", "expand_dims", "floor", "full", "gather",
    "ge", "gt", "iota", "is_finite", "le", "le_to", "lt", "lt_to", "name", "ne", "nextafter", "not",
    "optimization_barrier", "or", "pad", "pbroadcast", "pcast", "population_count", "ppermute", "pvary",
    "random_bits", "random_fold_in", "random_seed", "random_split", "random_unwrap", "random_wrap",
    "reduce_and", "reduce_or", "reduce_precision", "reduce_xor", "reshape", "reshard", "rev", "round",
    "scatter", "select_n", "sharding_constraint", "shift_left", "shift_right_arithmetic",
    "shift_right_logical", "sign", "slice", "sort", "split", "squeeze", "stack", "stop_gradient",
    "threefry2x32", "top_k", "transpose", "unstack", "xor",
}
# fmt: on

# Calls that run their body once.
CALL = {
    *("jit", "pjit", "closed_call", "core_call", "remat", "checkpoint", "remat2"),
    *("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"),
}

# The softmax's own exponential, `attnlib._exponential`: a jitted function, counted by what it computes.
STANDS_FOR_EXP = "exp_polynomial"


def _count(jaxpr: Any) -> Operations:
    return sum((_count_equation(eqn) for eqn in jaxpr.eqns), Operations())


def _count_equation(eqn: Any) -> Operations:
    """Count one equation of a jaxpr."""
    name, params = eqn.primitive.name, eqn.params
    if name in CALL and params.get("name") == STANDS_FOR_EXP:
        return Operations(transcendentals=sum(_floats(v.aval) for v in eqn.outvars))  # none if nobody needs it
    if name in CALL:
        return _count(_body(params))
    if name == "scan":
        return _count(params["jaxpr"].jaxpr) * int(params["length"])
    if name == "while":
        raise ValueError(
            "count.operations: expected loops with a fixed number of trips, got a while loop that depends on the "
            "data: use scan, map, or fori_loop with Python integers as bounds"
        )
    if name == "cond":
        return _count_branches([_count(branch.jaxpr) for branch in params["branches"]])
    if name == "shard_map":
        # The body is what one device runs.
        mesh, axes = params["mesh"], params.get("manual_axes", params["mesh"].axis_names)
        return _count(_body(params)) * int(math.prod(mesh.shape[axis] for axis in axes))
    if name in FREE:
        return Operations()
    if any(jnp.issubdtype(v.aval.dtype, jnp.complexfloating) for v in (*eqn.invars, *eqn.outvars)):
        raise ValueError(f"count.operations: expected real numbers, got complex ones in {name}")
    if name == "dot_general":
        return Operations(matmul_flops=_dot_flops(eqn))
    if name == "conv_general_dilated":
        return Operations(matmul_flops=_convolution_flops(eqn))

    out = eqn.outvars[0].aval
    if name in ELEMENTWISE:
        return Operations(other_flops=_floats(out))
    if name == "integer_pow":
        return Operations(other_flops=_multiplications(params["y"]) * _floats(out))
    if name in TRANSCENDENTAL:
        return Operations(transcendentals=_floats(out))
    if name in REDUCTION:
        return Operations(other_flops=_floats(eqn.invars[0].aval))
    if name in ("scatter-add", "scatter_add"):
        return Operations(other_flops=_floats(eqn.invars[2].aval))
    if name in COLLECTIVE:
        return Operations(other_flops=sum(_floats(v.aval) for v in eqn.outvars))
    raise ValueError(f"count.operations: expected primitives that have a rule, got {name}")


def _body(params: dict[str, Any]) -> Any:
    body = params["jaxpr"] if "jaxpr" in params else params.get("call_jaxpr", params.get("fun_jaxpr"))
    return getattr(body, "jaxpr", body)


def _count_branches(counts: list[Operations]) -> Operations:
    if any(count != counts[0] for count in counts):
        raise ValueError(
            "count.operations: expected branches of equal work, got a cond whose cost depends on the data: "
            + ", ".join(f"{count.flops:,} FLOPs" for count in counts)
        )
    return counts[0]


def _dot_flops(eqn: Any) -> int:
    """Two FLOPs for each output and each contracted index."""
    (contract, _), _ = eqn.params["dimension_numbers"]
    return int(2 * _floats(eqn.outvars[0].aval) * math.prod(eqn.invars[0].aval.shape[axis] for axis in contract))


def _convolution_flops(eqn: Any) -> int:
    """Two FLOPs for each output and each weight that makes it, padding included."""
    kernel = eqn.invars[1].aval.shape
    out_channels = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
    return int(2 * _floats(eqn.outvars[0].aval) * (math.prod(kernel) // out_channels))


def _multiplications(power: int) -> int:
    """Multiplications of x^power by repeated squaring, and one division when the power is negative."""
    p = abs(power)
    return max(p.bit_length() - 1 + p.bit_count() - 1, 0) + (power < 0)


def _floats(aval: Any) -> int:
    """Numbers in an array of floats; integer arithmetic is not counted."""
    return int(math.prod(aval.shape)) if jnp.issubdtype(aval.dtype, jnp.floating) else 0
