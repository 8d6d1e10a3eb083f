"""What times over sizes say: the exponent of a power law, with its error."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnlib import _check


@dataclass(frozen=True)
class Fit:
    """The power law seconds = constant · size^exponent, with a 95 % interval for the exponent."""

    exponent: float
    standard_error: float
    constant: float
    interval: tuple[float, float]

    def predict(self, size: int | float) -> float:
        """Return the seconds that the fitted law gives for `size`."""
        return float(self.constant * size**self.exponent)

    def __str__(self) -> str:
        return f"{self.exponent:.2f} (95 %: {self.interval[0]:.2f} to {self.interval[1]:.2f})"


def exponent(sizes: Sequence[int | float] | np.ndarray, seconds: Sequence[int | float] | np.ndarray) -> Fit:
    """Fit a power law to times: the slope of log seconds against log size, by least squares.

    With x = log size, y = log seconds and k points, slope = Σ(x−x̄)(y−ȳ) / Σ(x−x̄)², and its standard error
    is √(RSS / (k−2) / Σ(x−x̄)²). The 95 % interval uses Student's t with k−2 degrees of freedom.

    Small sizes bend the line: fixed overheads flatten it, so leave out what the overhead dominates.

    Args:
        sizes: what was varied, positive, not all equal.
        seconds: the time of each, positive (medians, say).

    Returns:
        A `Fit`.

    Raises:
        ValueError: fewer than 3 points, lengths that differ, sizes all equal, or a value that is not positive
            and finite.

    Example:
        >>> print(exponent([1, 2, 4], [3.0, 12.0, 48.0]))
        2.00 (95 %: 2.00 to 2.00)
    """
    n, t = _positive("sizes", sizes), _positive("seconds", seconds)
    if n.size != t.size:
        raise ValueError(f"clock.exponent: seconds: expected one for each of the {n.size} sizes, got {t.size}")
    if n.size < 3:
        raise ValueError(
            f"clock.exponent: sizes: expected at least 3 points to fit a slope and its error, got {n.size}"
        )
    x, y = np.log(n), np.log(t)
    dx, dy = x - x.mean(), y - y.mean()
    sxx = float(dx @ dx)
    if np.all(n == n[0]):
        raise ValueError(f"clock.exponent: sizes: expected different sizes, got {n[0]:g} only")
    slope = float(dx @ dy) / sxx
    residual = dy - slope * dx
    error = math.sqrt(float(residual @ residual) / (n.size - 2) / sxx)
    half = student_t(n.size - 2) * error
    constant = math.exp(float(y.mean()) - slope * float(x.mean()))
    return Fit(slope, error, constant, (slope - half, slope + half))


def student_t(degrees: int, confidence: float = 0.95) -> float:
    """Return t with P(|T| < t) = `confidence` for Student's T with `degrees` degrees of freedom.

    Raises:
        ValueError: `degrees` is not a positive integer or `confidence` is not between 0 and 1.

    Example:
        >>> round(student_t(1), 3), round(student_t(10), 3)
        (12.706, 2.228)
    """
    _check.positive_int("clock.student_t", degrees=degrees)
    if not 0 < confidence < 1:
        raise ValueError(f"clock.student_t: confidence: expected a number between 0 and 1, got {confidence}")
    from scipy.special import stdtrit  # takes longer to import than everything else here

    return float(stdtrit(degrees, (1 + confidence) / 2))


def _positive(name: str, values: Sequence[int | float] | np.ndarray) -> np.ndarray:
    x = np.asarray(values, dtype=float)
    if x.ndim != 1:
        raise ValueError(f"clock.exponent: {name}: expected a list of numbers, got an array of shape {x.shape}")
    if not np.all((x > 0) & np.isfinite(x)):
        bad = x[~((x > 0) & np.isfinite(x))][0]
        raise ValueError(f"clock.exponent: {name}: expected positive finite numbers, got {bad:g}")
    return x
