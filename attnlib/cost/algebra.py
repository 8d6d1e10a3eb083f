"""What a computation costs, as plain arithmetic: named steps that add up, for numbers, arrays and symbols alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from attnlib.cost._sizes import Number, largest, size, smallest


@dataclass(frozen=True)
class Step:
    """One step of a computation and what it costs.

    A multiply-add is 2 FLOPs. An exponential, logarithm or root is one transcendental, not a FLOP. Comparisons that
    pick a maximum are FLOPs; moving, masking and converting numbers are not. Bytes are those of a program that
    runs the step on its own: reads its operands from memory and writes its result back.

    A step is issued in `calls` equal parts, one after another: a loop over blocks makes many small ones, and a
    device's rate depends on how much work a call holds.

    Attributes:
        name: what the step computes.
        matmul_flops: FLOPs in matrix products.
        other_flops: FLOPs outside matrix products.
        transcendentals: calls of exp, log, tanh, ….
        bytes_read: bytes read from memory.
        bytes_written: bytes written to memory.
        sequential: operations on whole arrays that must wait for one another.
        allocated: bytes of results for which the program takes new memory, instead of writing over an operand.
        calls: operations that the program issues one after another to do the step.

    Example:
        >>> Step("scores", matmul_flops=100) * 3
        Step('scores', matmul_flops=300, sequential=3, calls=3)
    """

    name: str
    matmul_flops: Number = 0
    other_flops: Number = 0
    transcendentals: Number = 0
    bytes_read: Number = 0
    bytes_written: Number = 0
    sequential: Number = 1
    allocated: Number = 0
    calls: Number = 1

    __array_ufunc__ = None  # array * step is ours to compute, not NumPy's

    @property
    def flops(self) -> Number:
        """FLOPs in and outside matrix products."""
        return self.matmul_flops + self.other_flops

    def __mul__(self, times: Number) -> Step:
        """Return the step run `times` times, one after the other."""
        if isinstance(times, Cost | Step):
            return NotImplemented
        return replace(self, **{name: times * getattr(self, name) for name in COUNTS})

    __rmul__ = __mul__

    def __repr__(self) -> str:
        fields = [f"{name}={getattr(self, name)}" for name in COUNTS if not _is_zero(getattr(self, name))]
        return f"Step({', '.join([repr(self.name), *fields])})"


SHOWN = ("matmul_flops", "other_flops", "transcendentals", "bytes_read", "bytes_written")
COUNTS = (*SHOWN, "sequential", "allocated", "calls")


@dataclass(frozen=True)
class Cost:
    """The cost of a computation: its steps in order, and what belongs to the whole.

    `a + b` is a, then b. `k * a` is a, k times in a row, with k sets of parameters: a stack of k layers.

    Attributes:
        steps: the steps in order.
        parameters: numbers that are learned.
        live: bytes of the intermediate results that exist at once when most do; inputs, outputs and parameters
            not counted.
        saved: bytes the forward pass keeps for the backward pass, its inputs and parameters included.
        path: layers a signal crosses between the two positions furthest apart; 0 if positions do not meet.

    Example:
        >>> a = Cost((Step("up", matmul_flops=6), Step("down", matmul_flops=6)), parameters=10)
        >>> (a + 2 * a).flops, (2 * a).parameters, a["up"].matmul_flops
        (36, 20, 6)
    """

    steps: tuple[Step, ...] = ()
    parameters: Number = 0
    live: Number = 0
    saved: Number = 0
    path: Number = 0

    __array_ufunc__ = None  # array * cost is ours to compute, not NumPy's

    def _total(self, name: str) -> Number:
        return sum((getattr(step, name) for step in self.steps), start=0)

    @property
    def matmul_flops(self) -> Number:
        """FLOPs in matrix products."""
        return self._total("matmul_flops")

    @property
    def other_flops(self) -> Number:
        """FLOPs outside matrix products."""
        return self._total("other_flops")

    @property
    def flops(self) -> Number:
        """FLOPs in and outside matrix products."""
        return self._total("flops")

    @property
    def transcendentals(self) -> Number:
        """Calls of exp, log, tanh, …."""
        return self._total("transcendentals")

    @property
    def bytes_read(self) -> Number:
        """Bytes read from memory when every step runs on its own."""
        return self._total("bytes_read")

    @property
    def bytes_written(self) -> Number:
        """Bytes written to memory when every step runs on its own."""
        return self._total("bytes_written")

    @property
    def sequential(self) -> Number:
        """Operations on whole arrays that must wait for one another."""
        return self._total("sequential")

    def __getitem__(self, name: str) -> Step:
        """Return the step of that name."""
        return named_step(self.steps, name)

    def __add__(self, other: Cost) -> Cost:
        """Return the cost of this, then the other."""
        if not isinstance(other, Cost):
            return NotImplemented
        return Cost(
            steps=self.steps + other.steps,
            parameters=self.parameters + other.parameters,
            live=largest(self.live, other.live),
            saved=self.saved + other.saved,
            path=_shorter_path(self.path, other.path),
        )

    def __mul__(self, times: Number) -> Cost:
        """Return the cost of `times` runs in a row, each with its own parameters."""
        if isinstance(times, Cost | Step):
            return NotImplemented
        times = size("Cost.__mul__", "times", times)
        return Cost(
            steps=tuple(step * times for step in self.steps),
            parameters=times * self.parameters,
            live=self.live,
            saved=times * self.saved,
            path=self.path,
        )

    __rmul__ = __mul__

    def __str__(self) -> str:
        """Return a text table of the steps and their total."""
        head = ("step", "matmul FLOPs", "other FLOPs", "transcendentals", "bytes read", "bytes written")
        total = Step("total", *(self._total(name) for name in COUNTS))
        rows = [head] + [(s.name, *(_show(getattr(s, name)) for name in SHOWN)) for s in (*self.steps, total)]
        widths = [max(len(row[c]) for row in rows) for c in range(len(head))]
        return "\n".join(
            "  ".join([row[0].ljust(widths[0]), *(x.rjust(w) for x, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        )


S = TypeVar("S", bound=Any)  # a step of any kind: it has a name


def named_step(steps: tuple[S, ...], name: str) -> S:
    """Return the step of that name, or raise and list the names there are."""
    for step in steps:
        if step.name == name:
            return step
    raise KeyError(f"no step {name!r}; steps: {', '.join(step.name for step in steps)}")


def _shorter_path(a: Number, b: Number) -> Number:
    """Two layers in a row connect positions as the better of them does; 0 means that positions do not meet."""
    if _is_zero(a):
        return b
    return a if _is_zero(b) else smallest(a, b)


def _is_zero(value: Number) -> bool:
    return not isinstance(value, np.ndarray) and bool(value == 0)


def _show(value: Number) -> str:
    """Write a count on one line: long arrays by their ends."""
    if isinstance(value, np.ndarray):
        return np.array2string(value, max_line_width=10**6, threshold=4, edgeitems=2)
    return f"{value:,}" if isinstance(value, int) else str(value)


def product_backward(step: Step) -> Step:
    """Two products for one: a matrix product y = x w needs dx = dy wᵀ and dw = xᵀ dy."""
    return Step(
        f"{step.name}, backward",
        2 * step.matmul_flops,
        bytes_read=2 * step.bytes_written + step.bytes_read,
        bytes_written=step.bytes_read,
        allocated=step.bytes_read,
        calls=2 * step.calls,
    )
