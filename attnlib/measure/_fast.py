"""The machine of `fastmemory`, and what both of its algorithms do there: products, a softmax, Σ do∘o."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from attnlib import _check
from attnlib.cost.traffic import tiling

Matrix = np.ndarray[Any, np.dtype[np.float64]]


class FastMemory:
    """A memory of `capacity` numbers in front of a slow one without limit.

    Attributes:
        capacity: how many numbers it can hold.
        held: how many it holds now.
        most: how many it has held at most.
        read: numbers loaded from slow memory so far.
        written: numbers stored to slow memory so far.

    Example:
        >>> import numpy as np
        >>> fast = FastMemory(5)
        >>> x = fast.load(np.ones(3))
        >>> y = fast.load(np.ones(3))
        Traceback (most recent call last):
        ...
        MemoryError: fast memory: 3 of 5 numbers are taken, no room for 3 more
        >>> fast.store(np.zeros(3), x), fast.free(x), fast.held, fast.read, fast.written
        (None, None, 0, 3, 3)
    """

    def __init__(self, capacity: int) -> None:
        _check.positive_int("FastMemory", capacity=capacity)
        self.capacity, self.held, self.most, self.read, self.written = capacity, 0, 0, 0, 0

    def new(self, *shape: int, fill: float = 0.0) -> Matrix:
        """Make room for a new array: moves nothing."""
        wanted = math.prod(shape)
        if self.held + wanted > self.capacity:
            raise MemoryError(
                f"fast memory: {self.held} of {self.capacity} numbers are taken, no room for {wanted} more"
            )
        self.held += wanted
        self.most = max(self.most, self.held)
        return np.full(shape, fill)

    def load(self, slow: Matrix) -> Matrix:
        """Copy an array from slow memory."""
        here = self.new(*slow.shape)
        here[...] = slow
        self.read += here.size
        return here

    def store(self, slow: Matrix, here: Matrix) -> None:
        """Copy an array back to its place in slow memory; it stays here too."""
        slow[...] = here
        self.written += here.size

    def free(self, *arrays: Matrix) -> None:
        """Forget arrays."""
        self.held -= sum(x.size for x in arrays)


def product(fast: FastMemory, a: Matrix, b: Matrix) -> Matrix:
    """Multiply a by b in the tiles that move least."""
    (rows, depth), columns = a.shape, b.shape[1]
    stays, x, y = tiling(rows, columns, depth, fast.capacity)
    out = np.zeros((rows, columns))
    if stays == "right":  # the transposed product with rows of its left factor
        a, b, out, x = b.T, a.T, out.T, y
    # A block of rows of the left factor stays while the columns of the right one pass, each read once a block.
    if stays != "result":
        for i in cut(len(a), x):
            left = fast.load(a[i])
            for column in range(b.shape[1]):
                right, here = fast.load(b[:, column]), fast.new(len(left))
                here[:] = left @ right
                fast.store(out[i, column], here)
                fast.free(right, here)
            fast.free(left)
        return out.T if stays == "right" else out
    for i in cut(rows, x):
        for j in cut(columns, y):
            here = fast.new(i.stop - i.start, j.stop - j.start)
            for t in range(depth):
                left, right = fast.load(a[i, t]), fast.load(b[t, j])
                here += np.outer(left, right)
                fast.free(left, right)
            fast.store(out[i, j], here)
            fast.free(here)
    return out


def softmax(fast: FastMemory, s: Matrix) -> None:
    """Replace each row by its softmax: in one pass if a row fits, else a pass for c and z and a pass for the rest."""
    for row in s:
        if len(row) <= fast.capacity:
            here = fast.load(row)
            here[:] = np.exp(here - np.max(here))
            here /= here.sum()
            fast.store(row, here)
            fast.free(here)
            continue
        top, total = -np.inf, 0.0
        for part in cut(len(row), fast.capacity):
            here = fast.load(row[part])
            new = max(top, float(np.max(here)))
            total = total * np.exp(top - new) + np.exp(here - new).sum()
            top = new
            fast.free(here)
        for part in cut(len(row), fast.capacity):
            here = fast.load(row[part])
            fast.store(row[part], np.exp(here - top) / total)
            fast.free(here)


def delta_of(fast: FastMemory, o: Matrix, do: Matrix) -> Matrix:
    """Σ do∘o for every query, number by number."""
    delta = np.zeros(len(o))
    for i in range(len(o)):
        total = fast.new(1)
        for t in range(o.shape[1]):
            x, y = fast.load(o[i, t : t + 1]), fast.load(do[i, t : t + 1])
            total += x * y
            fast.free(x, y)
        fast.store(delta[i : i + 1], total)
        fast.free(total)
    return delta


def cut(length: int, block: int) -> Iterator[slice]:
    return (slice(i, min(i + block, length)) for i in range(0, length, block))
