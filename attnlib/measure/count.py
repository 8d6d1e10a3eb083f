"""What the compiler says: operations from the jaxpr with every loop multiplied out, memory from the executable."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Var

from attnlib.measure import _rules
from attnlib.measure._rules import Operations as Operations
from attnlib.measure._rules import Rule as Rule


def operations(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Operations:
    """Count the operations of fn(*args, **kwargs) from its jaxpr, loop bodies multiplied by their trip counts.

    Nothing is executed: arguments may be arrays or `jax.ShapeDtypeStruct`. What XLA later fuses, hoists or deletes
    is counted as written. Prints, callbacks whose results nobody reads and inspections cost nothing.

    Products are exact with the operands as they are: zeros in an array are numbers. Four counts follow a convention,
    and others (XLA's among them) differ from them by this much:

    * Padding of a convolution or a window counts as if it were part of the array: n outputs of k weights are nk
      products, of which a causal convolution could leave out k(k − 1)/2. Where the array is dilated (a transposed
      convolution, the gradient of a strided one), only products with its own numbers count: neither the zeros
      between them nor those around them.
    * A reduction, a window, a scan (`cumsum`, …) and a sum over devices are 1 FLOP for each number that goes in, on
      every device: one more for each result than the additions of the definition. A backend that scans in parallel
      may do ⌈log₂ n⌉ times as many.
    * A Fourier transform of L numbers is 5 L log₂ L FLOPs, half of it where they are real on one side (benchFFT's
      convention; XLA has 8 for both). No other arithmetic may be complex.
    * Comparisons are none: `sort` and `top_k` are free, and so is looking for a window's maximum in the gradient of
      one, which is 1 FLOP for each window.

    `ragged_dot` is counted as if its groups filled all rows, a scatter as if no index were out of bounds.

    Args:
        fn: a function JAX can trace; wrap it in `jax.grad` or `jax.vjp` to count the backward pass too.
        *args: positional arguments, traced.
        **kwargs: options: arrays are traced; what is none (True, a number, a string) is passed as it is.

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
    fn, arrays = _with_options(fn, kwargs)
    return _count(jax.make_jaxpr(fn)(*args, **arrays).jaxpr)


def flops(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Count the FLOPs of fn(*args, **kwargs), in and outside matrix products: `operations(...).flops`.

    Args:
        fn: as in `operations`.
        *args: positional arguments, traced.
        **kwargs: options, as in `operations`.

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
        fn: a function of arrays.
        *args: what it is called with; shapes and dtypes are enough, as in `operations`.
        **kwargs: its options.

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


def with_backward(fn: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """Return the program that computes fn and its gradients: what `backward=True` of a cost model counts.

    run(do, x) = (fn(x), dx),   dx = ∂⟨do, fn(x)⟩/∂x

    Args:
        fn: a differentiable function of arrays, or of trees of them.

    Returns:
        A function of the gradient of the result, then the arguments of fn: the result, and a gradient for each.

    Raises:
        ValueError: fn is not a function.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.ones((8, 8))
        >>> matmul_flops(with_backward(jnp.matmul), x, x, x) // matmul_flops(jnp.matmul, x, x)
        3
    """
    if not callable(fn):
        raise ValueError(f"count.with_backward: fn: expected a function, got {type(fn).__name__}")

    def run(do: Any, *args: Any) -> tuple[Any, ...]:
        out, pull = jax.vjp(fn, *args)
        return out, *pull(do)

    return run


def rule(name: str, fn: Rule) -> None:
    """Say what a primitive of JAX costs that this module does not know, or knows otherwise.

    A primitive without a rule is counted from its own lowering where that is element-wise arithmetic, comparisons and
    moves. What is more than that (a kernel, a call of a library, an algorithm of the backend) needs a rule. It holds
    in every counter and in `attnlib.graph`, in this process.

    Args:
        name: the primitive's name, as in the message that refused it and in `jax.make_jaxpr`.
        fn: `fn(inputs, outputs, **params)` returns the `Operations` of one call; inputs and outputs are sequences of
            shapes and dtypes (`.shape`, `.dtype`), params are what the jaxpr shows in brackets.

    Returns:
        Nothing: the counters know the rule from now on.

    Raises:
        ValueError: name is not a string, or fn is not a function. At the count: fn returns something else.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from attnlib.measure.count import Operations, operations, rule
        >>> def cholesky(inputs, outputs, **params):  # n³/3, as in every textbook
        ...     return Operations(other_flops=inputs[0].shape[-1] ** 3 // 3)
        >>> rule("cholesky", cholesky)
        >>> operations(jax.lax.linalg.cholesky, jnp.eye(6)).flops >= 72
        True
        >>> del OWN_RULES["cholesky"]
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"count.rule: name: expected the name of a primitive, got {name!r}")
    if not callable(fn):
        raise ValueError(f"count.rule: fn: expected a function of inputs, outputs and params, got {fn!r}")
    OWN_RULES[name] = fn


def memory(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Return the bytes of temporary memory that the compiled fn(*args, **kwargs) needs.

    That is `memory_analysis().temp_size_in_bytes`: everything but arguments, results and code. The program is
    compiled, not run, so arguments may be `jax.ShapeDtypeStruct` of sizes that this machine could not hold. On CPU
    it is compiled without library fusions: the scratch memory of those is real, but XLA reports it as 0.

    Args:
        fn: a function JAX can compile.
        *args: positional arguments, arrays or shapes.
        **kwargs: options, as in `operations`.

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


def saved(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Return the bytes that reverse-mode differentiation of fn(*args) keeps between forward and backward pass.

    Args:
        fn: a differentiable function.
        *args: its arguments, arrays or `jax.ShapeDtypeStruct`; nothing is executed.
        **kwargs: options, as in `operations`; not differentiated, but those that the backward pass needs are kept.

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
    fn, arrays = _with_options(fn, kwargs)
    residuals = jax.make_jaxpr(lambda a, options: jax.tree.leaves(jax.vjp(partial(fn, **options), *a)[1]))
    jaxpr = residuals(args, arrays).jaxpr
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
        **kwargs: options, as in `operations`.

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
    fn, arrays = _with_options(fn, kwargs)
    return jax.jit(fn).lower(*args, **arrays)


def _with_options(fn: Callable[..., Any], options: dict[str, Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return fn with those options that hold no array given to it, and the others as JAX can trace them.

    Of an option that holds both, a dict of weights and settings say, each leaf is treated as what it is.
    """
    leaves, tree = jax.tree.flatten(options)
    traced = {str(i): x for i, x in enumerate(leaves) if isinstance(x, jax.Array | np.ndarray | jax.ShapeDtypeStruct)}

    def call(*args: Any, **arrays: Any) -> Any:
        given = jax.tree.unflatten(tree, [arrays.get(str(i), x) for i, x in enumerate(leaves)])
        return fn(*args, **given)

    return call, traced


# Calls that run their body once, under the names of the oldest JAX and the newest.
CALL = {
    *("jit", "pjit", "call", "closed_call", "core_call", "eval_jaxpr", "remat", "checkpoint", "remat2", "remat_opt"),
    *("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_vmap_call", "custom_dce_call"),
    *("composite", "compute_on", "fused_call", "linear_call", "xla_metadata_call"),
}
BODY = ("jaxpr", "call_jaxpr", "fun_jaxpr", "call", "callee")  # where such a call keeps it

# What is counted by the programs inside it.
STRUCTURE = {"cond", "pallas_call", "reduce", "reduce_window", "scan", "scatter", "shard_map", "while"}

# What runs on the host.
CALLBACK = {"io_callback", "pure_callback"}

# What `rule` was told.
OWN_RULES: dict[str, Rule] = {}

# The softmax's own exponential, `attnlib.kernels._exponential`: a jitted function, counted by what it computes.
STANDS_FOR_EXP = "exp_polynomial"


def _count(jaxpr: Any) -> Operations:
    return sum((_count_equation(eqn) for eqn in _equations(jaxpr)), Operations())


def _equations(jaxpr: Any) -> list[Any]:
    """Return the equations of a jaxpr, without callbacks whose results nobody reads: work of the host for its own."""
    read = {var for eqn in jaxpr.eqns for var in eqn.invars if isinstance(var, Var)}
    read |= {var for var in jaxpr.outvars if isinstance(var, Var)}
    return [
        eqn
        for eqn in jaxpr.eqns
        if eqn.primitive.name not in CALLBACK - OWN_RULES.keys() or not read.isdisjoint(eqn.outvars)
    ]


def _count_equation(eqn: Any) -> Operations:
    """Count one equation of a jaxpr."""
    name, params = eqn.primitive.name, eqn.params
    inputs, outputs = [v.aval for v in eqn.invars], [v.aval for v in eqn.outvars]
    if name in OWN_RULES:
        own: Any = OWN_RULES[name](inputs, outputs, **params)
        if not isinstance(own, Operations):
            raise ValueError(f"count.rule: fn: expected Operations from the rule for {name}, got {own!r}")
        return own
    if name in CALL and params.get("name") == STANDS_FOR_EXP:
        return Operations(transcendentals=sum(map(_rules.floats, outputs)))  # none if nobody needs it
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
        # The body is what one device runs, of those along the axes that it splits; the name changed in JAX 0.12.
        axes = params["newly_manual_axes" if "newly_manual_axes" in params else "manual_axes"]
        return _count(_body(params)) * int(math.prod(params["mesh"].shape[axis] for axis in axes))
    if name == "pallas_call" and all(isinstance(trips, int) for trips in params["grid_mapping"].grid):
        return _count(_body(params)) * int(math.prod(params["grid_mapping"].grid))
    if name == "reduce":  # with a function of its own, once for each number that goes in
        return _count(_body(params)) * int(math.prod(inputs[0].shape))
    if name == "reduce_window":
        return _count(_body(params)) * _rules.window_numbers(inputs[0], outputs[0], **params)
    if name == "scatter":  # puts numbers into their place, or applies a function to those that are there
        update = params["update_jaxpr"]
        return _count(update) * int(math.prod(inputs[2].shape)) if update is not None else Operations()
    if name in _rules.FREE:
        return Operations()
    if not outputs and name not in _rules.RULES:
        return Operations()  # prints, asserts, waits: nothing of what the program computes
    if name not in _rules.COMPLEX and any(_is_complex(aval) for aval in (*inputs, *outputs)):
        raise ValueError(f"count.operations: expected real numbers, got complex ones in {name}")
    if name in _rules.RULES:
        return _rules.RULES[name](inputs, outputs, **params)
    lowered = _rules.lowered(eqn.primitive, inputs, params)
    if lowered is None:
        raise ValueError(
            f"count.operations: expected primitives that have a rule, got {name}: if you know what it costs, say so "
            f"with count.rule({name!r}, fn)"
        )
    return lowered.operations


def _is_complex(aval: Any) -> bool:
    return hasattr(aval, "dtype") and jnp.issubdtype(aval.dtype, jnp.complexfloating)


def _body(params: dict[str, Any]) -> Any:
    body = next(params[key] for key in BODY if key in params)
    return getattr(body, "jaxpr", body)


def _scan_parts(params: dict[str, Any]) -> tuple[int, int]:
    """Return how many inputs of a scan are constants, and how many are carried from turn to turn."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    constants, carried, _ = params["ft_in"].unpack()  # since JAX 0.12
    return len(list(constants)), len(list(carried))


def _count_branches(counts: list[Operations]) -> Operations:
    if any(count != counts[0] for count in counts):
        raise ValueError(
            "count.operations: expected branches of equal work, got a cond whose cost depends on the data: "
            + ", ".join(f"{count.flops:,} FLOPs" for count in counts)
        )
    return counts[0]
