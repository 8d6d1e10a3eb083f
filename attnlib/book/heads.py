"""Heads of small trained models, kept with the library: queries, keys and values, and how often each model is right.

A chapter measures them beside random heads and made ones; to train them takes minutes. Nothing here trains;
benchmarks/heads.py does, and says what the task is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

FILE = "heads.npz"


@dataclass(frozen=True)
class Heads:
    """What benchmarks/heads.py kept: heads of the model with exact attention on some texts, and all models' marks.

    `periods[t]` is the number of different tokens in text t; `right[m, t]` how often `models[m]` names the next token
    on new texts with as many.
    """

    q: Float[np.ndarray, "texts h n d_k"]
    k: Float[np.ndarray, "texts h n d_k"]
    v: Float[np.ndarray, "texts h n d_v"]
    tokens: Int[np.ndarray, "texts n"]
    periods: tuple[int, ...]
    models: tuple[str, ...]
    right: Float[np.ndarray, "models texts"]
    seed: int
    steps: int
    date: str
    machine: str
    versions: Mapping[str, str]

    @property
    def origin(self) -> str:
        """How they were made, in one sentence for a caption."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{self.steps:,} steps from seed {self.seed}; {self.machine}; {versions}; {self.date}."


def load() -> Heads:
    """Read the heads that came with the library.

    Example:
        >>> heads = load()
        >>> heads.q.shape[:3] == (len(heads.periods), 2, heads.tokens.shape[-1])
        True
    """
    with (files("attnlib.book") / "data" / FILE).open("rb") as file, np.load(file) as arrays:
        return _parse(arrays)


def read(path: Path) -> Heads:
    """Read a file that benchmarks/heads.py wrote."""
    with np.load(path) as arrays:
        return _parse(arrays)


def _parse(arrays: Mapping[str, np.ndarray]) -> Heads:
    """Make `Heads` of the decoded file; numbers are kept in half precision, and computed with in double."""
    about = json.loads(str(arrays["about"]))
    q, k, v, right = (arrays[name].astype(np.float64) for name in ("q", "k", "v", "right"))
    return Heads(
        q,
        k,
        v,
        tokens=arrays["tokens"].astype(np.int64),
        periods=tuple(int(p) for p in arrays["periods"]),
        right=right,
        **{**about, "models": tuple(about["models"])},
    )
