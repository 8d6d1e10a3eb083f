"""Checks of arguments that need no JAX: each names the argument, what was expected and what came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

NUMBERS = (int, float, np.integer, np.floating)


def whole(value: Any, least: int = 1) -> bool:
    """Return whether `value` is a Python integer of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def at_least(function: str, least: int, **values: Any) -> None:
    """Raise unless every argument is a Python integer of at least `least`."""
    for name, value in values.items():
        if not whole(value, least):
            raise ValueError(f"{function}: {name}: expected an integer of at least {least}, got {value!r}")


def positive_int(function: str, **values: Any) -> None:
    """Raise unless every argument is a Python integer of at least 1."""
    at_least(function, 1, **values)


def optional_int(function: str, **values: Any) -> None:
    """Raise unless every argument is None or a Python integer of at least 1."""
    at_least(function, 1, **{name: value for name, value in values.items() if value is not None})


def axes(function: str, name: str, value: Any) -> None:
    """Raise unless `value` is a tuple of lengths of axes."""
    if not isinstance(value, tuple) or not all(map(whole, value)):
        raise ValueError(f"{function}: {name}: expected a tuple of positive integers, got {value!r}")


def flags(function: str, **values: Any) -> None:
    """Raise unless every argument is a Python bool: it decides what is compiled, so it cannot be traced."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise ValueError(f"{function}: {name}: expected True or False, got {value!r}")


def divides(function: str, part_name: str, part: int, whole_name: str, whole: int) -> int:
    """Return whole // part, or raise when part does not divide whole."""
    if whole % part:
        raise ValueError(f"{function}: {part_name}: expected a divisor of {whole_name} = {whole}, got {part}")
    return whole // part


def rank_at_least(function: str, rank: int, axes: str, **arrays: Any) -> None:
    """Raise unless every array has at least `rank` axes; `axes` names them in the message."""
    for name, x in arrays.items():
        if len(x.shape) < rank:
            raise ValueError(f"{function}: {name}: expected shape {axes}, got {x.shape}")


def same_axis(function: str, axis: int, letter: str, **arrays: Any) -> None:
    """Raise unless the arrays agree on the length of `axis`, called `letter` in the message."""
    (first, x), *others = arrays.items()
    for name, y in others:
        if y.shape[axis] != x.shape[axis]:
            raise ValueError(
                f"{function}: {name}: expected {letter} = {x.shape[axis]} as in {first} {tuple(x.shape)}, "
                f"got {letter} = {y.shape[axis]} in {tuple(y.shape)}"
            )


def broadcastable(function: str, **shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the common shape of the leading axes, or raise and show them all."""
    common: tuple[int, ...] = ()
    for name, shape in shapes.items():
        try:
            common = np.broadcast_shapes(common, shape)
        except ValueError:
            got = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
            raise ValueError(f"{function}: {name}: expected leading axes that broadcast, got {got}") from None
    return common


def fits(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Return whether an array of `shape` broadcasts to `target` without enlarging it."""
    return len(shape) <= len(target) and all(
        a in (1, b) for a, b in zip(reversed(shape), reversed(target), strict=False)
    )


@contextmanager
def named(function: str, *inner: str) -> Iterator[None]:
    """Let errors of functions that do the work, `inner`, speak of the one that was called."""
    try:
        yield
    except ValueError as error:
        by, colon, message = str(error).partition(": ")
        if by not in inner:
            raise
        raise ValueError(function + colon + message) from None
