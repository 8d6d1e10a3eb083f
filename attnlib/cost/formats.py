"""How numbers are stored: bits, and the scales that quantised ones share. No JAX."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from attnlib import _check
from attnlib.cost._sizes import dtype_name, parts


@dataclass(frozen=True)
class Format:
    """How numbers are stored in memory.

    Attributes:
        name: as `FORMATS` has it.
        bits: of one number.
        group: how many neighbours of a vector share a scale; 0 without scales.
        scale_bits: of what a group shares: its scale, and its zero point if it has one.

    Example:
        >>> FORMATS["int4"].bits_each, FORMATS["int4"].vector(128)
        (5.0, 80)
    """

    name: str
    bits: int
    group: int = 0
    scale_bits: int = 0

    def __post_init__(self) -> None:
        _check.positive_int("cost.Format", bits=self.bits)
        _check.at_least("cost.Format", 0, group=self.group, scale_bits=self.scale_bits)

    @property
    def bits_each(self) -> float:
        """Bits of a number with its share of the scale."""
        return self.bits + (self.scale_bits / self.group if self.group else 0.0)

    def vector(self, width: int) -> int:
        """Return the bytes of a vector of `width` numbers: groups do not reach from one vector into the next."""
        shared = parts(width, self.group) * self.scale_bits if self.group else 0
        return int(parts(width * self.bits + shared, 8))

    def numbers(self, count: int) -> int:
        """Return the bytes of `count` numbers in long rows."""
        return self.vector(count)


class Formats(dict[str, Format]):
    """Formats by name; a name that is not there is answered with those that are."""

    def __missing__(self, name: str) -> Format:
        """Raise, and list the names."""
        raise KeyError(f"cost.FORMATS: expected one of {', '.join(self)}, got {name!r}")


FORMATS = Formats(
    (x.name, x)
    for x in (
        Format("float32", 32),
        Format("bfloat16", 16),
        Format("float16", 16),
        Format("fp8", 8),
        Format("int8", 8, 128, 16),
        Format("int4", 4, 32, 32),
        Format("mxfp4", 4, 32, 8),
    )
)
"""Formats by name. `fp8` has one scale for a whole array, which is not counted; `int8` a half-precision scale for
128 numbers; `int4` a half-precision scale and zero point for 32; `mxfp4` an 8-bit scale for 32 (Open Compute Project,
Microscaling Formats, 2023)."""

ALIASES = {
    "fp32": "float32",
    "bf16": "bfloat16",
    "fp16": "float16",
    "float8": "fp8",
    "float8_e4m3fn": "fp8",
    "float8_e5m2": "fp8",
}


def format_of(function: str, argument: str, value: Any) -> Format:
    """Return a format, given by itself, by name, or as a dtype, or raise and list near names.

    Example:
        >>> format_of("f", "cache", "bf16").name
        'bfloat16'
    """
    if isinstance(value, Format):
        return value
    name = dtype_name(value)
    name = ALIASES.get(name.lower(), name.lower())
    if name not in FORMATS:
        raise ValueError(f"{function}: {argument}: expected one of {', '.join(FORMATS)}, got {value!r}{near(value)}")
    return FORMATS[name]


def near(value: Any, names: Any = None) -> str:
    """Return a hint of the names that are nearly the one given, or nothing.

    Example:
        >>> near("int44"), near("llama", ["llama-2-7b"]), near(3)
        ('; did you mean int4, int8?', '; did you mean llama-2-7b?', '')
    """
    names = list(FORMATS if names is None else names)
    if not isinstance(value, str):
        return ""
    found = difflib.get_close_matches(value.lower(), names, n=4, cutoff=0.6)
    found += [n for n in names if value and (value.lower() in n) and n not in found][: 8 - len(found)]
    return f"; did you mean {', '.join(found)}?" if found else ""
