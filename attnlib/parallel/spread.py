"""One mechanism for many cores and many devices: leading axes (batch, heads) spread over a mesh.

A device of JAX is a GPU, a TPU core, or, on CPU, as many as asked for: one per core, say. One CPU device computes the
small matrix products of a blocked kernel on about one core, so this is also what makes a kernel use all of them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from attnlib import _arrays, _check, registry

Shape = tuple[int, ...]
PartitionSpec: Any = jax.sharding.PartitionSpec  # whose constructor has no types in the newest JAX


def _own_axes() -> dict[str, int]:
    """How many axes follow the leading ones in options that have leading axes. All devices share other arrays."""
    return {option: axes for entry in registry.MECHANISMS for option, axes in entry.leading.items()}


def spread(fn: Callable[..., Any], devices: Sequence[jax.Device] | None = None) -> Callable[..., Any]:
    """Return `fn` with its leading axes (batch, heads) spread over devices: the same call, the same result.

    Each of D devices runs `fn` on 1/D of the leading axes, with `jax.shard_map`. On CPU a core becomes a device with

        jax.config.update("jax_num_cpu_devices", os.cpu_count())

    before JAX computes anything. In a notebook, Colab's too, that belongs into the first cell that imports jax; where
    JAX has started it says so, and restarting the runtime helps. GPUs and TPU cores are devices without any setting.

    Args:
        fn: any kernel of this library, fn(q, k, v, **options), whose leading axes do not depend on each other.
        devices: a sequence of devices of one kind; all of `jax.devices()` by default, looked up at the call.

    Returns:
        The function: positional arguments are arrays (..., n, d), whose leading axes broadcast. The options `mask`
        (..., n, m) and `lengths` (...) are spread with them, other arrays among the options (a traced scale, a random
        key) are the same on every device; the rest is compiled in. Axes that every array has are split first, the
        first axis first: batch before heads, and the heads of grouped queries only when nothing else is left. An axis
        of length 1 is not split: grouped keys, a shared mask or length are copied to every device, and never repeated
        within one. Compiled as by `jax.jit`, once for each `fn` (a new lambda every call compiles every call);
        works inside `jit`, `vmap`, `grad` and `jax.export`.

    Raises:
        ValueError: fn cannot be called; devices are none, not devices, repeated, or of different kinds. At the call:
            leading axes that D devices cannot share evenly (the message says how many could: nothing is padded and no
            device is left out unasked), an option that is neither array nor hashable, what `fn` refuses.

    Cost: forward, no communication, if the arguments are where they are needed; from elsewhere they are copied once
        per call. The result is left spread (`out.sharding`), so that what follows, and `jax.device_put(q,
        out.sharding)` before the next call, copy nothing. The gradient of a shared array is summed over the devices
        that share it: one all-reduce of its size. Nothing else is moved.

    Example:
        >>> import jax.numpy as jnp
        >>> from attnlib.kernels.flash import flash_attention
        >>> q, k = jnp.ones((4, 6, 2)), jnp.ones((1, 6, 2))  # four heads that share keys and values
        >>> flash = spread(flash_attention, jax.devices()[:1])
        >>> flash(q, k, k, causal=True).shape
        (4, 6, 2)
    """
    if not callable(fn):
        raise ValueError(f"spread: fn: expected a function of q, k, v, got {fn!r}")
    given = None if devices is None else _check_devices(devices)

    @functools.wraps(fn)
    def run(*arrays: Any, **options: Any) -> Any:
        name = f"spread({getattr(fn, '__name__', 'fn')})"
        _arrays.floating(name, **{f"argument {i}": x for i, x in enumerate(arrays)})
        _check.rank_at_least(name, 2, "(..., n, d)", **{f"argument {i}": x for i, x in enumerate(arrays)})
        traced = {a: x for a, x in options.items() if _is_array(x)}
        fixed = tuple(sorted((a, x) for a, x in options.items() if a not in traced))
        for option, value in fixed:
            try:
                hash(value)
            except TypeError:
                raise ValueError(
                    f"{name}: {option}: expected an array or a hashable value, got {type(value).__name__}"
                ) from None
        plan = mesh, specs, split, _ = _plan(name, arrays, traced, given or tuple(jax.devices()))

        def place(x: Any, spec: Any) -> Any:
            # Here, because a compiled program takes nothing from a device that it does not run on. What is being
            # traced is put in place by the program that it becomes a part of.
            return x if isinstance(x, jax.core.Tracer) else jax.device_put(x, NamedSharding(mesh, spec))

        arrays = tuple(map(place, arrays, specs))
        traced = {a: jax.tree.map(partial(place, spec=spec), traced[a]) for a, spec in split}
        return _run(name, fn, fixed, plan, arrays, traced)

    return run


Plan = tuple[Mesh, tuple[Any, ...], tuple[tuple[str, Any], ...], Any]
"""A mesh with an axis for each leading one that is split, and how arguments, options and results lie on it."""


def _plan(name: str, arrays: tuple[Any, ...], traced: dict[str, Any], devices: tuple[jax.Device, ...]) -> Plan:
    leads = [x.shape[:-2] for x in arrays]
    lead = _check.broadcastable(name, **{f"argument {i}": x for i, x in enumerate(leads)})
    own_axes = _own_axes()
    options = {a: x.shape[: x.ndim - own_axes[a]] for a, x in traced.items() if a in own_axes and hasattr(x, "shape")}
    for option, own in options.items():
        if _check.broadcastable(name, arguments=lead, **{option: own}) != lead:
            raise ValueError(f"{name}: {option}: expected leading axes that broadcast to {lead}, got {own}")
    parts = _parts(name, lead, len(devices), [*leads, *options.values()])
    axes = [f"axis{i}" if part > 1 else None for i, part in enumerate(parts)]
    sizes = [part for part in parts if part > 1]
    mesh = Mesh(np.array(devices).reshape(sizes or [1]), [a for a in axes if a] or ["one"])

    def spec(own: Shape) -> Any:
        """Split the leading axes that this array has, and that are not of length 1."""
        there = axes[len(axes) - len(own) :]
        return PartitionSpec(*(a if x > 1 else None for a, x in zip(there, own, strict=True)))

    split = tuple((a, spec(options[a]) if a in options else PartitionSpec()) for a in sorted(traced))
    return mesh, tuple(map(spec, leads)), split, spec(lead)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _run(
    name: str,
    fn: Callable[..., Any],
    fixed: tuple[tuple[str, Any], ...],
    plan: Plan,
    arrays: tuple[jax.Array, ...],
    traced: dict[str, Any],
) -> Any:
    mesh, specs, split, out_spec = plan
    lead = np.broadcast_shapes(*(x.shape[:-2] for x in arrays))
    call = partial(fn, **dict(fixed))
    # The kernel itself first, on whole shapes: what it refuses, it refuses in terms of what the caller passed.
    shapes = [x.shape for x in jax.tree.leaves(jax.eval_shape(call, *arrays, **traced))]
    if any(shape[: len(lead)] != lead for shape in shapes):
        raise ValueError(f"{name}: fn: expected results that begin with the leading axes {lead}, got {shapes}")
    # Whether a value differs between devices needs no checking: nothing in a kernel knows the mesh. Unchecked, a
    # kernel's loops may begin with constants. The gradient of what devices share is summed either way.
    local: Any = jax.shard_map(
        lambda arrays, traced: call(*arrays, **traced),
        mesh=mesh,
        in_specs=(specs, dict(split)),
        out_specs=out_spec,
        check_vma=False,
    )
    return local(arrays, traced)


def _parts(name: str, lead: Shape, count: int, leads: Iterable[Shape]) -> Shape:
    """Return into how many parts to split each leading axis, `count` in all; axes that nobody shares first."""
    whole = [all(len(x) >= len(lead) - i and x[i - len(lead)] > 1 for x in leads) for i in range(len(lead))]
    parts, left = [1] * len(lead), count
    for i in sorted(range(len(lead)), key=lambda i: not whole[i]):
        parts[i] = math.gcd(lead[i], left)
        left //= parts[i]
    if left > 1:
        fitting = max(c for c in range(1, count) if _fits(lead, c))
        raise ValueError(
            f"{name}: devices: expected a number that leading axes {lead} divide into, got {count}; "
            f"pass {fitting} of them (devices=jax.devices()[:{fitting}]), or more heads"
        )
    return tuple(parts)


def _fits(lead: Shape, count: int) -> bool:
    for x in lead:
        count //= math.gcd(x, count)
    return count == 1


def _is_array(x: Any) -> bool:
    leaves = jax.tree.leaves(x)
    return bool(leaves) and all(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves)


def _check_devices(devices: Any) -> tuple[jax.Device, ...]:
    """Return the devices as a tuple, or raise."""
    found = tuple(devices) if isinstance(devices, Iterable) else ()
    if not found or not all(isinstance(d, jax.Device) for d in found):
        raise ValueError(f"spread: devices: expected a sequence of JAX devices, got {devices!r}")
    kinds = sorted({d.platform for d in found})
    if len(kinds) > 1 or len(set(found)) < len(found):
        raise ValueError(f"spread: devices: expected different devices of one kind, got {devices!r}")
    return found
