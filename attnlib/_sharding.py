"""Leading axes (batch, heads) that lie sharded over a mesh whose axes are explicit, as `jax.make_mesh` makes them.

With such arrays JAX asks of every operation how its result lies, and has no answer for a loop over a sharded axis or
for a row that is cut out of one. But heads do not meet: so each device runs the kernel on its part of them, whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

PartitionSpec: Any = jax.sharding.PartitionSpec  # whose constructor has no types in the newest JAX
Parts = tuple[tuple[str, ...], ...]
"""For every axis of an array, the axes of a mesh that split it."""

MERGED = -1
"""In place of how many axes follow the leading ones: these and the next are one, the first, as in a cache."""

HELP = (
    "attnlib.spread splits leading axes over devices, and jax.sharding.reshard(x, PartitionSpec(...)) lays an array "
    "out anew"
)


def each_device(
    name: str,
    call: tuple[Any, ...],
    arrays: Mapping[str, Any],
    own: Mapping[str, int],
    shared: Any,
    results: Any,
) -> Any:
    """Return fn(*static, arrays, shared), (fn, *static) = call, where leading axes are sharded on each device's part.

    The leading axes of `arrays`, those before their `own` last ones, broadcast; all are split as one of them is,
    those with `MERGED` leading axes by the first of these. `shared`, a dict of arrays, is whole on every device, and
    its gradient the sum over devices. `results` is the tree of what fn returns, with the number of axes that follow
    the leading ones in each, None for no result.
    """
    present = {a: x for a, x in arrays.items() if x is not None}
    parts = _leading(name, {a: x for a, x in present.items() if own[a] != MERGED}, own)
    for a in present:
        if own[a] == MERGED:
            _check_merged(name, a, present[a], parts)
    for path, x in jax.tree_util.tree_leaves_with_path(shared):
        if any(parts_of(x)):
            raise ValueError(
                f"{name}: {path[0].key}: expected an array that is the same on every device, "
                f"got {jax.typeof(x)}; {HELP}"
            )
    if not any(parts):
        return call[0](*call[1:], arrays, shared)
    counts = tuple(jax.tree.leaves(results))
    split = tuple((a, _spec(parts, x.shape, own[a])) for a, x in present.items())
    mesh = next(jax.typeof(x).sharding.mesh for x in present.values() if any(parts_of(x)))
    out = _run(call, mesh, parts, counts, split, dict(arrays), shared)
    return jax.tree.unflatten(jax.tree.structure(results), out)


def parts_of(x: Any) -> Parts:
    """Return which explicit axes of a mesh split each axis of x; what JAX decides by itself is not told."""
    sharding: Any = jax.typeof(x).sharding
    explicit = explicit_axes(sharding.mesh)
    spec = (*sharding.spec, *[None] * (np.ndim(x) - len(sharding.spec)))
    return tuple(
        tuple(a for a in ((part,) if isinstance(part, str) else part or ()) if a in explicit) for part in spec
    )


def explicit_axes(mesh: Any) -> frozenset[str]:
    """Return the axes of a mesh over which arrays lie as their types say."""
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    return frozenset(a for a, kind in kinds if kind == jax.sharding.AxisType.Explicit)


def reshard(x: Any, spec: Any, mesh: Any) -> Any:
    """Lay x out as `jax.shard_map` wants it: axes of a mesh that are explicit JAX does not change by itself."""
    explicit = explicit_axes(mesh)
    if not explicit:
        return x
    if jax.typeof(x).sharding.mesh.empty:
        x = jnp.where(True, x, x)  # the same on the mesh: older JAX brings no gradient of `reshard` back from it
    parts = ((part,) if isinstance(part, str) else part or () for part in spec)
    there: Any = PartitionSpec(*(tuple(a for a in part if a in explicit) or None for part in parts))
    again: Any = jax.sharding.reshard
    return again(x, NamedSharding(mesh, there))


def _leading(name: str, arrays: Mapping[str, Any], own: Mapping[str, int]) -> Parts:
    """Return what splits each of the common leading axes, or raise."""
    leads = {a: x.shape[: max(x.ndim - own[a], 0)] for a, x in arrays.items()}
    lead = np.broadcast_shapes(*leads.values())
    parts: list[tuple[str, ...]] = [()] * len(lead)
    for a, x in arrays.items():
        found, count = parts_of(x), len(leads[a])
        if any(found[count:]):
            raise ValueError(
                f"{name}: {a}: expected no axis to be sharded but the leading ones (batch, heads), "
                f"got {jax.typeof(x)}; {HELP}"
            )
        for i, part in enumerate(found[:count], len(lead) - count):
            if part and parts[i] and part != parts[i]:
                raise ValueError(
                    f"{name}: {a}: expected leading axis {i} sharded over {parts[i]} as it is in another argument, "
                    f"got {jax.typeof(x)}; {HELP}"
                )
            parts[i] = part or parts[i]
    used = [axis for part in parts for axis in part]
    if len(set(used)) < len(used):
        every = ", ".join(f"{a} {jax.typeof(x)}" for a, x in arrays.items())
        raise ValueError(
            f"{name}: {', '.join(arrays)}: expected an axis of the mesh to split one leading axis, "
            f"got {every}; {HELP}"
        )
    return tuple(parts)


def _check_merged(name: str, argument: str, x: Any, parts: Parts) -> None:
    """Raise unless an array whose first axis is all leading ones and one more lies as they do, or everywhere."""
    first, *others = parts_of(x)
    if any(others) or first not in ((), *parts[:1]):
        raise ValueError(
            f"{name}: {argument}: expected its first axis sharded as the first leading axis (batch) is, over "
            f"{(*parts, ())[0]}, and no other, got {jax.typeof(x)}; {HELP}"
        )
    if any(parts[1:]):
        raise ValueError(
            f"{name}: {argument}: expected the first leading axis (batch) alone to be sharded, because heads of all "
            f"sequences are one axis here, got axes split over {parts}; {HELP}"
        )


def _spec(parts: Parts, shape: tuple[int, ...], own: int) -> Any:
    """Return how an array lies; an axis of length 1 is the same on every device."""
    if own == MERGED:
        return PartitionSpec(parts[0] or None, *[None] * (len(shape) - 1))
    mine = shape[: max(len(shape) - own, 0)]
    there = parts[len(parts) - len(mine) :]
    split = (p if p and x > 1 else None for p, x in zip(there, mine, strict=True))
    return PartitionSpec(*split, *[None] * (len(shape) - len(mine)))


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _run(
    call: tuple[Any, ...],
    mesh: Any,
    parts: Parts,
    counts: tuple[int, ...],
    split: tuple[tuple[str, Any], ...],
    arrays: dict[str, Any],
    shared: Any,
) -> Any:
    def run(arrays: Any, shared: Any) -> Any:
        return jax.tree.leaves(call[0](*call[1:], arrays, shared))

    # Axes that split nothing stay as they are, and no gradient is summed over them. Older JAX takes no mixture.
    used = frozenset(axis for part in parts for axis in part)
    if not hasattr(jax.sharding, "get_mesh"):
        used = explicit_axes(mesh)
    # Whether a value differs between devices needs no checking: nothing in a kernel knows the mesh.
    mapped: Any = partial(jax.shard_map, run, mesh=mesh, axis_names=used, check_vma=False)
    specs, everywhere = {a: dict(split).get(a) for a in arrays}, PartitionSpec()
    struct: Any = jax.ShapeDtypeStruct
    whole = jax.tree.map(lambda x: struct(x.shape, x.dtype), (arrays, shared))
    shapes = [x.shape for x in jax.eval_shape(mapped(in_specs=everywhere, out_specs=everywhere), *whole)]
    outs = [_spec(parts, shape, own) for shape, own in zip(shapes, counts, strict=True)]
    arrays = {a: None if x is None else reshard(x, specs[a], mesh) for a, x in arrays.items()}
    shared = jax.tree.map(lambda x: reshard(x, everywhere, mesh), shared)
    return mapped(in_specs=(specs, everywhere), out_specs=outs)(arrays, shared)
