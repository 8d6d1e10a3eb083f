"""How numbers are written: three digits, powers, bytes."""

from __future__ import annotations

import math

RAISED = str.maketrans("0123456789-.", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻·")
BINARY = ("KiB", "MiB", "GiB", "TiB", "PiB")


def superscript(power: str) -> str:
    """Raise a number that is written in digits.

    Example:
        >>> superscript("-1.5")
        '⁻¹·⁵'
    """
    return power.translate(RAISED)


def three_digits(x: float | int, group: str = "") -> str:
    """Write three significant digits, never in exponent form; group "," separates thousands.

    Example:
        >>> three_digits(0.01234), three_digits(1234.5, ","), three_digits(0)
        ('0.0123', '1,234', '0')
    """
    places = max(0, 2 - math.floor(math.log10(x))) if x > 0 else 0
    return f"{x:{group}.{places}f}"


def binary(x: float | int, byte: str = "B") -> str:
    """Write a number of bytes with a binary unit and at most three significant digits; `byte`: the smallest unit.

    Example:
        >>> binary(512), binary(1536), binary(1023.6), binary(3 * 2**30)
        ('512 B', '1.5 KiB', '1 KiB', '3 GiB')
    """
    sign, x = "-" if x < 0 else "", abs(x)
    units = (byte, *BINARY)
    power = sum(x >= 1023.5 * 1024**i for i in range(len(BINARY)))
    scaled, unit = x / 1024**power, units[power]
    return f"{sign}{scaled:.0f} {unit}" if scaled >= 100 else f"{sign}{scaled:.3g} {unit}"
