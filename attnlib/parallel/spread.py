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
from attnlib._sharding import PartitionSpec, reshard

Shape = tuple[int, ...]


def _own_axes() -> dict[str, int]:
    """How many axes follow the leading ones in options that have leading axes. All devices share other arrays."""
    return {option: axes for entry in registry.MECHANISMS for option, axes in entry.leading.items()}


def spread(fn: Callable[..., Any], devices: Sequence[jax.Device] | None = None) -> Callable[..., Any]:
    """Return `fn` with its leading axes (batch, heads) spread over devices: the same call, the same result.

    Each of D devices runs `fn` on 1/D of the leading axes, with `jax.shard_map`. On CPU a core becomes a device with

        jax.config.update("jax_num_cpu_devices", os.cpu_count())

    before JAX computes anything. In a notebook, Colab's too, that belongs into the first cell that imports jax; where
    JAX has started it says so, and restarting the runtime helps. GPUs and TPU cores are devices without any setting.

    Arrays whose leading axes are sharded already, over a mesh of explicit axes as `jax.make_mesh` makes it, need no
    `spread`: kernels and layers run on each device's part of them, and the result lies as they do. Only leading axes
    may be sharded, no lengths or widths; JAX's reshard lays an array out anew.

    Args:
        fn: any kernel of this library, fn(q, k, v, **options), whose leading axes do not depend on each other.
        devices: a sequence of devices of one kind; all of `jax.devices()` by default, looked up at the call. Where a
            mesh is set (`jax.set_mesh`), its devices, whatever the types of its axes: whole axes of it split leading
            ones, the largest first, and the result lies on it. Within `jax.shard_map` the axes that are split already
            are left alone; if that is all of them, `fn` runs on this device's part as it is.

    Returns:
        The function: positional arguments are arrays (..., n, d), whose leading axes broadcast. The options `mask`
        (..., n, m), `lengths` (...) and `segments` (..., n), one array or two, are spread with them, other arrays
        among the options (a traced scale, a random key) are the same on every device; the rest is compiled in. Axes
        that every array has are split first, the first axis first: batch before heads, and the heads of grouped
        queries only when nothing else is left. An axis of length 1 is not split: grouped keys, a shared mask or
        length are copied to every device, and never repeated within one. Compiled as by `jax.jit`, once for each `fn`
        (a new lambda every call compiles every call); works inside `jit`, `vmap`, `grad` and `jax.export`.

    Raises:
        ValueError: fn cannot be called; devices are none, not devices, repeated, or of different kinds. At the call:
            leading axes that D devices cannot share evenly (the message says how many could: nothing is padded and no
            device is left out unasked), an option that is neither array nor hashable, what `fn` refuses. Where a
            mesh is set: other devices than its own, axes of it that do not divide the leading axes; with a JAX
            that cannot be asked for its mesh, axes of type Explicit that a `jax.shard_map` over others has left.

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
        plan = _, specs, split, _ = _plan(name, arrays, traced, given)
        mesh = _concrete(name, plan[0], given)

        def place(x: Any, spec: Any) -> Any:
            # Here, because a compiled program takes nothing from a device that it does not run on. What is being
            # traced is put in place by the program that it becomes a part of.
            there = mesh is None or isinstance(x, jax.core.Tracer)
            return x if there else jax.device_put(x, NamedSharding(mesh, spec))  # type: ignore[arg-type]

        arrays = tuple(map(place, arrays, specs))
        traced = {a: _lay(place, traced[a], spec) for a, spec in split}
        return _run(name, fn, fixed, plan, arrays, traced)

    return run


Plan = tuple[Mesh | frozenset[str], tuple[Any, ...], tuple[tuple[str, Any], ...], Any]
"""Where to run, and how arguments, options and results lie there.

A mesh of our own with an axis for each leading one that is split; or, where the caller has set a mesh, those of its
axes that no `jax.shard_map` around us has split already: none, and the kernel runs as it is.
"""


def _plan(name: str, arrays: tuple[Any, ...], traced: dict[str, Any], given: tuple[jax.Device, ...] | None) -> Plan:
    leads = [x.shape[:-2] for x in arrays]
    lead = _check.broadcastable(name, **{f"argument {i}": x for i, x in enumerate(leads)})
    own_axes = _own_axes()
    options = {
        a: tuple(y.shape[: y.ndim - own_axes[a]] for y in (x if isinstance(x, tuple) else (x,)))
        for a, x in traced.items()
        if a in own_axes
    }
    for option, found in options.items():
        for own in found:
            if _check.broadcastable(name, arguments=lead, **{option: own}) != lead:
                raise ValueError(f"{name}: {option}: expected leading axes that broadcast to {lead}, got {own}")
    every = [*leads, *(own for found in options.values() for own in found)]
    mesh: Any = jax.sharding.get_abstract_mesh()
    axes: list[Any]
    if mesh.empty:
        devices = given or tuple(jax.devices())
        parts = _parts(name, lead, len(devices), every)
        axes = [f"axis{i}" if part > 1 else None for i, part in enumerate(parts)]
        sizes = [part for part in parts if part > 1]
        mesh = Mesh(np.array(devices).reshape(sizes or [1]), [a for a in axes if a] or ["one"])
    else:
        if given is not None and len(given) != mesh.size:
            raise ValueError(f"{name}: devices: expected those of the mesh that is set, {mesh.shape}, got {given}")
        free = {a: n for a, n in mesh.shape.items() if a not in mesh.manual_axes}
        explicit = jax.sharding.AxisType.Explicit in mesh.axis_types
        if explicit and free and mesh.manual_axes and not hasattr(jax.sharding, "get_mesh"):
            raise ValueError(  # the residuals of its gradient would lie on manual and explicit axes at once
                f"{name}: devices: expected a newer JAX, or axes of type Auto, within a shard_map over some of the "
                f"axes of a mesh, got {mesh} with JAX {jax.__version__}"
            )
        axes = [there or None for there in _shared(name, lead, free, every)]
        mesh = frozenset(free)

    def spec(own: Shape) -> Any:
        """Split the leading axes that this array has, and that are not of length 1."""
        there = axes[len(axes) - len(own) :]
        return PartitionSpec(*(a if x > 1 else None for a, x in zip(there, own, strict=True)))

    def of_option(a: str) -> Any:
        if a not in options:
            return PartitionSpec()
        specs = tuple(map(spec, options[a]))
        return specs if isinstance(traced[a], tuple) else specs[0]

    split = tuple((a, of_option(a)) for a in sorted(traced))
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

    def spread_by(in_specs: Any, out_specs: Any) -> Any:
        if not mesh:
            return lambda arrays, traced: call(*arrays, **traced)
        # Whether a value differs between devices needs no checking: nothing in a kernel knows the mesh. Unchecked, a
        # kernel's loops may begin with constants. The gradient of what devices share is summed either way.
        where = {"mesh": mesh} if isinstance(mesh, Mesh) else {"axis_names": mesh}
        shard_map: Any = partial(jax.shard_map, **where, check_vma=False)
        return shard_map(lambda arrays, traced: call(*arrays, **traced), in_specs=in_specs, out_specs=out_specs)

    # The kernel itself first, on whole shapes: what it refuses, it refuses in terms of what the caller passed.
    struct: Any = jax.ShapeDtypeStruct
    whole = jax.tree.map(lambda x: struct(x.shape, x.dtype), (arrays, traced))
    shapes = [x.shape for x in jax.tree.leaves(jax.eval_shape(spread_by(PartitionSpec(), PartitionSpec()), *whole))]
    if any(shape[: len(lead)] != lead for shape in shapes):
        raise ValueError(f"{name}: fn: expected results that begin with the leading axes {lead}, got {shapes}")
    if not isinstance(mesh, Mesh):
        there: Any = jax.sharding.get_abstract_mesh()
        lay = partial(reshard, mesh=there)
        arrays = tuple(map(lay, arrays, specs))
        traced = {a: _lay(lay, traced[a], spec) for a, spec in split}
    return spread_by((specs, dict(split)), out_spec)(arrays, traced)


def _lay(lay: Callable[..., Any], x: Any, spec: Any) -> Any:
    """Lay out the arrays of an option: all alike, or each of a pair in its own way."""
    if type(spec) is tuple:
        return tuple(lay(y, spec=own) for y, own in zip(x, spec, strict=True))
    return jax.tree.map(partial(lay, spec=spec), x)


def _concrete(name: str, mesh: Mesh | frozenset[str], given: tuple[jax.Device, ...] | None) -> Mesh | None:
    """Return the mesh whose devices arguments are moved to; None where the caller's program does it, or jit."""
    if isinstance(mesh, Mesh):
        return mesh
    try:
        theirs: Any = jax.sharding.get_mesh()
    except (AttributeError, ValueError):  # older JAX does not say; inside a program that is traced, none does
        return None
    if given is not None and set(given) != set(theirs.devices.flat):
        raise ValueError(f"{name}: devices: expected those of the mesh that is set, {theirs}, got {given}")
    return theirs  # type: ignore[no-any-return]


def _shared(name: str, lead: Shape, axes: dict[str, int], leads: Sequence[Shape]) -> list[tuple[str, ...]]:
    """Return which axes of a mesh split each leading axis, whole ones, the largest first."""
    left = dict(sorted(axes.items(), key=lambda item: -item[1]))
    shared: list[tuple[str, ...]] = [()] * len(lead)
    for i in _order(lead, leads):
        rest = lead[i]
        for axis, size in list(left.items()):
            if rest % size == 0:
                rest, shared[i] = rest // size, (*shared[i], axis)
                del left[axis]
    if any(size > 1 for size in left.values()):
        raise ValueError(
            f"{name}: devices: expected axes of the mesh that is set that divide leading axes {lead}, got {axes}; "
            "set another mesh, or none around this call"
        )
    return shared


def _order(lead: Shape, leads: Sequence[Shape]) -> list[int]:
    """Return the leading axes in the order in which they are split: those that every array has come first."""
    whole = [all(len(x) >= len(lead) - i and x[i - len(lead)] > 1 for x in leads) for i in range(len(lead))]
    return sorted(range(len(lead)), key=lambda i: not whole[i])


def _parts(name: str, lead: Shape, count: int, leads: Sequence[Shape]) -> Shape:
    """Return into how many parts to split each leading axis, `count` in all; axes that nobody shares first."""
    parts, left = [1] * len(lead), count
    for i in _order(lead, leads):
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
