"""What the clock says: medians of repeated runs, ratios within one run, scaling exponents with their error.

A time is a sample, not a number. Every result here carries all its repeats, so a chapter can print the
spread next to the median and a reader can see whether a difference is larger than the noise.

Time a compiled function with `clock.time(jax.jit(fn), *args)`: what is not compiled is timed as Python
runs it, one operation at a time.

The environment variable ATTNLIB_CLOCK multiplies every budget: with 0.1 a notebook that measures is tried in less
time, and its times scatter more. Below 1 it multiplies `repeats` and `rounds`, too. At least 3 are left, or as many
as were asked for.
"""

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import jax
import numpy as np

from attnlib import _check
from attnlib._numbers import three_digits
from attnlib.measure._exponent import Fit as Fit
from attnlib.measure._exponent import exponent as exponent
from attnlib.measure._exponent import student_t as student_t
from attnlib.measure._machine import keep_memory as keep_memory
from attnlib.measure._machine import machine as machine

Timer = Callable[[], float]

_ready: Callable[[Any], Any] = jax.block_until_ready  # any pytree; what is not of JAX is ready

FEWEST, MOST = 5, 1000  # repeats: fewer have no quartiles worth printing, more add nothing
HURRIED = 3  # repeats where ATTNLIB_CLOCK leaves fewer: the median of three does without the worst of them


@dataclass(frozen=True)
class Sample:
    """Repeated observations of one quantity, summarised by median and quartiles.

    Quartiles and not mean and standard deviation: another process that wakes up makes a few repeats many
    times longer, which moves a mean and leaves a median where it was.

    Example:
        >>> s = Sample((1.0, 2.0, 3.0, 4.0, 100.0))
        >>> s.low, s.median, s.high, s.spread
        (2.0, 3.0, 4.0, 2.0)
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("clock.Sample: values: expected at least one observation, got none")

    @property
    def median(self) -> float:
        """Half of the observations lie below."""
        return float(np.quantile(self.values, 0.5))

    @property
    def low(self) -> float:
        """Lower quartile."""
        return float(np.quantile(self.values, 0.25))

    @property
    def high(self) -> float:
        """Upper quartile."""
        return float(np.quantile(self.values, 0.75))

    @property
    def spread(self) -> float:
        """Interquartile range."""
        return self.high - self.low

    def __str__(self) -> str:
        return f"{three_digits(self.median)}× ({three_digits(self.low)}–{three_digits(self.high)})"


@dataclass(frozen=True)
class Timing(Sample):
    """The seconds of every repeat; prints as median and quartiles in one unit.

    Example:
        >>> print(Timing((0.00118, 0.00123, 0.00131)))
        1.23 ms (1.20–1.27)
    """

    @property
    def seconds(self) -> tuple[float, ...]:
        """All repeats, in the order they were run."""
        return self.values

    def __str__(self) -> str:
        factor, unit = _unit(self.median)
        low, median, high = (three_digits(t * factor) for t in (self.low, self.median, self.high))
        return f"{median} {unit} ({low}–{high})"


@dataclass(frozen=True)
class Comparison:
    """Timings of several functions run in turn, and each one's ratio to the baseline within a round.

    `ratios[name]` is how many times longer `name` took than the baseline: 2× means twice as slow.
    """

    timings: dict[str, Timing]
    ratios: dict[str, Sample]
    baseline: str

    def __str__(self) -> str:
        width = max(len(name) for name in self.timings)
        return "\n".join(f"{name:<{width}}  {t}  {self.ratios[name]}" for name, t in self.timings.items())


def time(
    fn: Callable[..., Any],
    *args: Any,
    repeats: int | None = None,
    warmup: int = 1,
    budget: int | float = 0.5,
    timer: Timer = perf_counter,
) -> Timing:
    """Time `fn(*args)`, compilation excluded.

    The first `warmup` calls compile and fill caches and are not counted. Every call is timed until its result
    is ready: JAX returns before it has computed, and a clock stopped then measures the queue.

    Args:
        fn: what to time; any pytree may come back, of JAX arrays, NumPy arrays or anything else.
        *args: its arguments; they are computed before the clock starts.
        repeats: how often to time it; if not given, as often as fits into `budget`, from 5 to 1000 times.
        warmup: calls before the first timed one, at least 1.
        budget: seconds that the timed calls may take together when `repeats` is not given.
        timer: returns seconds; another one is for tests.

    Returns:
        A `Timing` with the seconds of each repeat.

    Raises:
        ValueError: `repeats` or `warmup` is not a positive integer, or `budget` is not positive.

    Example:
        >>> ticks = iter(range(100))
        >>> time(sum, [1, 2], repeats=3, timer=lambda: next(ticks)).seconds
        (1.0, 1.0, 1.0)
    """
    factor = _settings("clock.time", "repeats", repeats, warmup, budget)
    _ready(args)
    _warm(fn, args, warmup)
    runs = _runs(repeats, lambda: _once(fn, args, timer), budget, factor)
    return Timing(tuple(_once(fn, args, timer) for _ in range(runs)))


def compare(
    functions: Mapping[str, Callable[..., Any]],
    *args: Any,
    baseline: str | None = None,
    rounds: int | None = None,
    warmup: int = 1,
    budget: int | float = 1.0,
    timer: Timer = perf_counter,
) -> Comparison:
    """Time several functions of the same arguments in interleaved rounds.

    A round calls every function once, and each round starts with the next function, so a busy moment of the
    machine and the caches a neighbour leaves behind hit all alike. The ratio to the baseline is taken within
    a round, where both saw the same machine, and then summarised over rounds.

    Args:
        functions: name → function; a function of other arguments comes as a `functools.partial`.
        *args: the arguments of all.
        baseline: the name that ratios are relative to; the first one if not given.
        rounds: how many; if not given, as many as fit into `budget`, from 5 to 1000.
        warmup: uncounted calls of each function, at least 1.
        budget: seconds that the rounds may take together when `rounds` is not given.
        timer: returns seconds; another one is for tests.

    Returns:
        A `Comparison` with a `Timing` and a `Sample` of ratios for each name.

    Raises:
        ValueError: no function, an unknown baseline, a count that is not a positive integer, or a baseline
            too fast for the timer to see.

    Example:
        >>> ticks = iter([0, 1, 0, 2, 0, 2, 0, 1])
        >>> c = compare({"a": sum, "b": sum}, [1, 2], rounds=2, timer=lambda: next(ticks))
        >>> c.timings["b"].seconds, c.ratios["b"].median
        ((2.0, 2.0), 2.0)
    """
    names = list(functions)
    if not names:
        raise ValueError("clock.compare: functions: expected at least one, got none")
    baseline = names[0] if baseline is None else baseline
    if baseline not in functions:
        raise ValueError(f"clock.compare: baseline: expected one of {names}, got {baseline!r}")
    factor = _settings("clock.compare", "rounds", rounds, warmup, budget)
    _ready(args)
    for fn in functions.values():
        _warm(fn, args, warmup)
    runs = _runs(rounds, lambda: sum(_once(fn, args, timer) for fn in functions.values()), budget, factor)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for i in range(runs):
        start = i % len(names)
        for name in names[start:] + names[:start]:
            seconds[name].append(_once(functions[name], args, timer))
    base = seconds[baseline]
    if min(base) <= 0:
        raise ValueError(
            f"clock.compare: baseline: expected a function that the timer sees, got 0 s for {baseline!r}"
        )
    return Comparison(
        timings={name: Timing(tuple(s)) for name, s in seconds.items()},
        ratios={name: Sample(tuple(t / b for t, b in zip(s, base, strict=True))) for name, s in seconds.items()},
        baseline=baseline,
    )


def _once(fn: Callable[..., Any], args: tuple[Any, ...], timer: Timer) -> float:
    start = timer()
    _ready(fn(*args))
    return float(timer() - start)


def _warm(fn: Callable[..., Any], args: tuple[Any, ...], calls: int) -> None:
    for _ in range(calls):
        _ready(fn(*args))


def _runs(given: int | None, once: Callable[[], float], budget: int | float, factor: float) -> int:
    """Return how many runs: those given, or what fits into the budget, within FEWEST and MOST; less in a hurry."""
    if given is not None:
        return given if factor >= 1 else max(min(given, HURRIED), int(given * factor))
    seconds, fewest = once(), FEWEST if factor >= 1 else HURRIED
    return MOST if seconds * MOST <= budget * factor else max(fewest, int(budget * factor / seconds))


def _unit(seconds: float) -> tuple[float, str]:
    return next(((f, u) for f, u in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")) if seconds * f >= 1), (1e9, "ns"))


def _settings(function: str, name: str, repeats: int | None, warmup: int, budget: int | float) -> float:
    """Check them; return the factor that ATTNLIB_CLOCK asks for."""
    _check.optional_int(function, **{name: repeats})
    _check.positive_int(function, warmup=warmup)
    if not (budget > 0 and math.isfinite(budget)):
        raise ValueError(f"{function}: budget: expected a positive number of seconds, got {budget}")
    factor = os.environ.get("ATTNLIB_CLOCK", "1")
    if not re.fullmatch(r"\d+\.?\d*|\.\d+", factor) or not float(factor):
        raise ValueError(f"{function}: ATTNLIB_CLOCK: expected a positive number such as 0.1, got {factor!r}")
    return float(factor)
