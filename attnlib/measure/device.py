"""Measure the machine at hand: the rates that `cost.roofline` needs, each from programs that do one thing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array

from attnlib import _arrays, _check
from attnlib._sharding import PartitionSpec
from attnlib.cost.devices import Curve, Device
from attnlib.measure import clock

PRODUCTS = ((64, 64), (256, 32), (256, 64), (256, 128), (256, 256), (512, 512), (1024, 1024))
"""Matrix products (n, d) × (d, n) and (n, n) × (n, d): the shapes of attention, then squares."""
NUMBERS = (2**12, 2**14, 2**16, 2**18, 2**20, 2**22)
"""Numbers in one elementwise operation or reduction."""
STREAMED = (2**18, 2**22, 2**24, 2**26, 2**27)
"""Bytes of an array that is read and written over: from the inner caches to far beyond the last."""
ALLOCATED = (2**24, 31 * 2**20, 2**25, 2**26)
"""Bytes of a new array: what an allocator keeps and hands out again, and what it asks the system for each time."""


_ready: Callable[[Any], Any] = jax.block_until_ready


def measure_device(*, dtype: Any = jnp.float32, budget: float | int = 0.1, together: bool = False) -> Device:
    """Measure what the default device reaches, by programs that do one thing each.

    matmul: attention's products and squares, small ones in a loop, large ones at once. transcendental: e^x.
    elementwise: the largest number of each row, one FLOP for each number. bandwidth: x ↦ 1 − x written over itself.
    allocation: a new array filled with one number. launch: one product, less what it takes in a loop. All but the
    last are curves over the work of one call.

    Args:
        dtype: floating dtype of the operands of matrix products; the rest is measured in float32.
        budget: seconds that the repeats of one program may take. They come in two rounds, some seconds apart, and
            their lower quartile counts: another process makes a run longer, never shorter.
        together: every device of `jax.devices()` runs the same program at the same time, as under `attnlib.spread`.
            Devices that are the cores of a CPU share its caches and its memory, and none borrows the core of another.

    Returns:
        A `cost.Device`, one of them. With the default budget it takes about ten seconds on two cores, half of it
        compilation.

    Raises:
        ValueError: a dtype that is not floating, a budget that is not a positive number, a flag that is none.

    Cost: some 10¹² FLOPs, and 1 GB of memory; for each device if `together`.

    Source: ours; ceilings from measured programs: Williams, Waterman and Patterson (2009).

    Example:
        >>> device = measure_device(budget=0.001)
        >>> device.matmul["float32"].best > 1e9
        True
    """
    name = "measure_device"
    _arrays.floating_dtype(name, dtype)
    _arrays.scalar(name, "budget", budget)
    if budget is None or not budget > 0:
        raise ValueError(f"{name}: budget: expected a positive number of seconds, got {budget}")
    _check.flags(name, together=together)
    programs = [_everywhere(program) if together else program for program in _programs(dtype)]
    seconds = _time(programs, float(budget))

    def curve(resource: str) -> Curve:
        work: dict[int, float] = {}
        taken: dict[int, float] = {}
        for program, s in zip(programs, seconds, strict=True):
            if program.resource == resource:
                work[program.work] = work.get(program.work, 0) + program.work
                taken[program.work] = taken.get(program.work, 0) + s
        return Curve(tuple(work), tuple(work[size] / taken[size] for size in work))

    matmul = curve("matmul")
    alone = next(s for program, s in zip(programs, seconds, strict=True) if program.resource == "launch")
    memory, cache = _sizes()
    measured = ("matmul", "bandwidth", "elementwise", "transcendental", "allocation", "launch")
    return Device(
        name=clock.machine(),
        matmul={jnp.dtype(dtype).name: matmul},
        bandwidth=curve("bandwidth"),
        memory=memory,
        fast_memory=cache,
        fast_memory_kind="second-level cache of one core",
        elementwise=curve("elementwise"),
        transcendental=curve("transcendental"),
        allocation=curve("allocation"),
        launch=max(alone - LAUNCHED / matmul(LAUNCHED), 0.0),
        sources=dict.fromkeys(measured, "measured by attnlib.measure_device"),
    )


LAUNCHED = 2 * 256 * 64 * 256
"""FLOPs of the product that is also timed on its own."""


class Program(NamedTuple):
    """A program that does `work`, in the unit of its resource, `times` times."""

    resource: str
    work: int
    times: int
    run: Callable[..., Any]
    args: tuple[Array, ...]


def _everywhere(program: Program) -> Program:
    """Return the program that every device runs, on arguments of its own; its work is still that of one device."""
    devices = jax.devices()
    mesh, spec = Mesh(np.array(devices), ("device",)), PartitionSpec("device")
    own = [jax.device_put(jnp.stack([x] * len(devices)), NamedSharding(mesh, spec)) for x in program.args]
    run: Any = jax.shard_map(
        lambda *args: program.run(*(x[0] for x in args))[None],
        mesh=mesh,
        in_specs=spec,
        out_specs=spec,
        check_vma=False,
    )
    return program._replace(run=run, args=tuple(own))


def _programs(dtype: Any) -> Iterator[Program]:
    for n, d in PRODUCTS:
        for rows, inner, columns in ((n, d, n), (n, n, d)):
            work = 2 * n * n * d
            times = _times(work, 2**28)
            a = jnp.linspace(0.1, 0.9, rows * inner, dtype=dtype).reshape(rows, inner)
            b = jnp.linspace(0.9, 0.1, inner * columns, dtype=dtype).reshape(inner, columns)
            if work == LAUNCHED and inner == d:
                yield Program("launch", work, 1, jnp.matmul, (a, b))
            if times == 1:
                yield Program("matmul", work, 1, jnp.matmul, (a, b))
            else:
                # Each writes over the one before. Many right sides: one that stays the same would be packed once.
                out = jnp.zeros((rows, columns), dtype)
                yield Program("matmul", work, times, _products, (out, a, jnp.tile(b, (times, 1, 1))))
    for e in NUMBERS:
        x = jnp.ones((_times(e, 2**20), e // 256, 256))
        run, args = (_row_maxima, (jnp.zeros(e // 256), x)) if len(x) > 1 else (_row_maximum, (x[0],))
        yield Program("elementwise", e, len(x), run, args)
        yield _in_place("transcendental", e, e, lambda x: jnp.exp(x - 1))
    for size in STREAMED:
        yield _in_place("bandwidth", 2 * size, size // 4, lambda x: 1 - x)
    for size in ALLOCATED:
        yield Program("allocation", size, 1, lambda c, e=size // 4: jnp.full(e, c), (jnp.float32(1),))


def _products(out: Array, a: Array, b: Array) -> Array:
    """Return a · b_last, after all products before."""
    return jax.lax.scan(lambda _, x: (a @ x, None), out, b)[0]


def _row_maximum(x: Array) -> Array:
    return x.max(axis=1)


def _row_maxima(top: Array, xs: Array) -> Array:
    return jax.lax.scan(lambda c, x: (jnp.maximum(c, x.max(axis=1)), None), top, xs)[0]


def _in_place(resource: str, work: int, e: int, fn: Callable[[Array], Array]) -> Program:
    """Return the program that computes e numbers and writes them over the old ones, again and again."""
    times = max(4, _times(e, 2**22))
    return Program(
        resource,
        work,
        times,
        lambda x: jax.lax.scan(lambda x, _: (fn(x), None), x, length=times)[0],
        (jnp.ones((e // 256, 256)),),
    )


def _times(work: int, total: int) -> int:
    """Return how often to do `work` in a loop, so that it adds up to something that a clock sees."""
    return max(1, min(64, total // work))


def _time(programs: list[Program], budget: float) -> list[float]:
    """Return the seconds in which each program does its work once: the lower quartile of two rounds."""
    compiled = [jax.jit(program.run) for program in programs]
    taken: list[list[float]] = [[] for _ in programs]
    for _ in range(2):
        for program, run, samples in zip(programs, compiled, taken, strict=True):
            _ready(run(*program.args))
            begin, fewest = perf_counter(), len(samples) + 2
            while len(samples) < fewest or (len(samples) < 100 and perf_counter() - begin < budget / 2):
                start = perf_counter()
                _ready(run(*program.args))
                samples.append(perf_counter() - start)
    return [clock.Sample(tuple(s)).low / program.times for program, s in zip(programs, taken, strict=True)]


def _sizes() -> tuple[int, int | None]:
    """Return the bytes of the device's memory, and of the second-level cache of a core if the system tells."""
    stats = jax.devices()[0].memory_stats() or {}
    ask = {"pages": "SC_PHYS_PAGES", "page": "SC_PAGE_SIZE", "cache": "SC_LEVEL2_CACHE_SIZE"}
    known = {key: os.sysconf(name) for key, name in ask.items() if name in os.sysconf_names}
    memory = stats.get("bytes_limit", known.get("pages", 0) * known.get("page", 0))
    return memory, known.get("cache", 0) or None
