"""From operations to seconds: what each step of a computation waits for on a given machine. No JAX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attnlib.cost._sizes import Number, dtype_name, symbolic
from attnlib.cost.algebra import Cost, Step, named_step
from attnlib.cost.devices import Device, at

RESOURCES = ("matmul", "elementwise", "bandwidth", "overhead", "link")
"""What a step may wait for."""


@dataclass(frozen=True)
class StepTime:
    """The seconds that one step needs of each resource, and what follows from them.

    Attributes:
        name: of the step.
        matmul: seconds in matrix products.
        elementwise: seconds in other FLOPs and transcendentals; 0 if the device does not publish these rates.
        bandwidth: seconds in which its bytes are moved.
        overhead: seconds in which it gets new memory.
        intensity: FLOPs, in and outside products, per byte moved.
        link: seconds in which other devices send what it needs, while it computes.
    """

    name: str
    matmul: Number
    elementwise: Number
    bandwidth: Number
    overhead: Number
    intensity: Number
    link: Number = 0.0

    @property
    def seconds(self) -> Number:
        """The longest of what can overlap, and the overhead, which cannot."""
        return _largest(self.matmul, self.elementwise, self.bandwidth, self.link) + self.overhead

    @property
    def bound(self) -> str | np.ndarray:
        """The resource that takes longest; for arrays one for each element."""
        given = [getattr(self, resource) for resource in RESOURCES]
        if not any(np.ndim(time) for time in given):
            return RESOURCES[given.index(max(given))]
        times = np.broadcast_arrays(*(np.asarray(time, float) for time in given))
        longest = np.asarray(RESOURCES)[np.argmax(np.stack(times), axis=0)]
        return str(longest) if longest.ndim == 0 else longest


@dataclass(frozen=True)
class Roofline:
    """The steps of a computation in seconds; prints as a table.

    Attributes:
        steps: in order.
        launch: seconds before the first step and after the last.
        device: its name.
    """

    steps: tuple[StepTime, ...]
    launch: Number
    device: str

    @property
    def seconds(self) -> Number:
        """The whole: one step after the other, and the launch."""
        return sum((step.seconds for step in self.steps), start=self.launch)

    def __getitem__(self, name: str) -> StepTime:
        """Return the step of that name."""
        return named_step(self.steps, name)

    def __str__(self) -> str:
        head = ("step", "seconds", "waits for", "FLOP/byte")
        rows = [head, *((s.name, _show(s.seconds), str(s.bound), _show(s.intensity)) for s in self.steps)]
        rows.append(("total", _show(self.seconds), self.device, ""))
        widths = [max(len(row[c]) for row in rows) for c in range(len(head))]
        return "\n".join("  ".join(x.ljust(w) for x, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def roofline(cost: Cost | Step, device: Device, *, dtype: Any = "float32") -> Roofline:
    """Predict the time of a computation from its cost and a machine's rates.

    A step takes max(matmul, elementwise, bandwidth) + overhead seconds:

    matmul = FLOPs / rate,   elementwise = other FLOPs / rate + exponentials / rate,
    bandwidth = bytes / rate,   overhead = bytes of new memory / rate

    Each rate is that of one call: a step of a million FLOPs in ten calls runs at the rate of products of a hundred
    thousand. Steps do not overlap. Nothing is fitted: every rate is a field of `device`.

    Args:
        cost: a `Cost` or one `Step`, of numbers or arrays.
        device: the machine, from `cost.ACCELERATORS` or `attnlib.measure_device()`.
        dtype: of the operands of matrix products, one that `device.matmul` has: a name, or a NumPy or JAX dtype.

    Returns:
        A `Roofline`: seconds in total, and for every step its seconds, what it waits for, and its arithmetic
        intensity in FLOPs per byte.

    Raises:
        ValueError: cost that is neither, symbols instead of numbers, a device without that dtype.

    Source: Williams, Waterman and Patterson (2009), with a roof for each resource.

    Example:
        >>> from attnlib.cost import ACCELERATORS, feed_forward
        >>> layer = roofline(feed_forward(8192, 4096, dtype="bfloat16"), ACCELERATORS["H100"], dtype="bfloat16")
        >>> layer["up"].bound, layer["activation"].bound
        ('matmul', 'bandwidth')
        >>> print(roofline(Step("add", other_flops=1e6, bytes_read=8e6, bytes_written=4e6), ACCELERATORS["H100"]))
        step   seconds   waits for  FLOP/byte
        add    3.58e-06  bandwidth  0.0833
        total  3.58e-06  H100 SXM
    """
    name = "cost.roofline"
    if not isinstance(cost, Cost | Step):
        raise ValueError(f"{name}: cost: expected a Cost or a Step, got {type(cost).__name__}")
    if not isinstance(device, Device):
        raise ValueError(f"{name}: device: expected a Device, got {type(device).__name__}")
    dtype = dtype_name(dtype)
    device.matmul_rate(name, dtype)
    steps = cost.steps if isinstance(cost, Cost) else (cost,)
    for step in steps:
        if symbolic(*vars(step).values()):
            raise ValueError(f"{name}: cost: expected numbers, got symbols in step {step.name!r}")
    return Roofline(tuple(_time(step, device, dtype) for step in steps), device.launch, device.name)


def _time(step: Step, device: Device, dtype: str) -> StepTime:
    def seconds(work: Number, rate: object) -> Number:
        return 0.0 if rate is None else work / at(rate, work / step.calls)  # type: ignore[arg-type]

    moved = step.bytes_read + step.bytes_written
    with np.errstate(divide="ignore", invalid="ignore"):
        intensity = np.divide(step.flops, moved)
    return StepTime(
        name=step.name,
        matmul=seconds(step.matmul_flops, device.matmul[dtype]),
        elementwise=seconds(step.other_flops, device.elementwise)
        + seconds(step.transcendentals, device.transcendental),
        bandwidth=seconds(moved, device.bandwidth),
        overhead=seconds(step.allocated, device.allocation),
        intensity=intensity if np.ndim(intensity) else float(intensity),
    )


def _largest(*values: Number) -> Number:
    if any(isinstance(x, np.ndarray) for x in values):
        out = np.asarray(values[0])
        for x in values[1:]:
            out = np.maximum(out, x)
        return out
    return max(values)


def _show(value: Number) -> str:
    if isinstance(value, np.ndarray):
        return np.array2string(value, precision=3, threshold=4, edgeitems=2)
    return f"{value:.3g}"
