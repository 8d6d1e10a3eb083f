"""Numbers of an assignment: the same for the same seed, and each another for another seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """Draws by name, so that a number added later leaves the others as they are.

    Seed 0 gets the number that the author chose. Every other seed gets a different one.
    """

    def __init__(self, stem: str, seed: int) -> None:
        self.stem, self.seed = stem, seed

    def one(self, name: str, first: T, options: Sequence[T]) -> T:
        """`first` for seed 0, else one of the options that is not `first`."""
        if self.seed == 0:
            return first
        source = random.Random(f"{self.stem} {name} {self.seed}")
        if first not in options:
            return source.choice(options)
        place = source.randrange(len(options) - 1)
        return options[place + (place >= options.index(first))]

    def whole(self, name: str, first: int, low: int, high: int, step: int = 1) -> int:
        """`first` for seed 0, else another of low, low + step, …, high."""
        return self.one(name, first, range(low, high + 1, step))
