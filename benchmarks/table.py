"""Measure the exponents of table 1 of Vaswani et al. (2017): `make bench-table`, or benchmarks/table.py --help.

Then every mechanism of the registry that keeps no square in memory, and every layer whose work does not grow with the
square, over the length, by title: one head of width 64, causal where it can be, with the options of practice. And two
parts of mechanisms that stay quadratic: a hash that is not factorised, and the scores of an indexer.

Each layer is timed at several lengths n and at several widths d, the sizes in turn (A B C A B C …), and the slope of
log seconds against log size is fitted to the medians, with its standard error. tests/test_table.py asserts formulas
and counts; this is what the clock makes of them, over the sizes that the file names and no others.

Then one decoding step at a long context, in turn with a program that only reads as many bytes.
"""

import json
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from run import ROOT, Parser, write

import attnlib
from attnlib import clock, cost, decoding, registry
from attnlib.book import Table
from attnlib.book import table as book_table
from attnlib.kernels import topk
from attnlib.kernels.lsh import lsh_buckets

FILE = ROOT / "benchmarks" / "table.json"
R = 256  # keys of a window

LENGTHS = (4096, 8192, 16384, 32768)  # of a mechanism

Build = Callable[[int, int], Callable[[], Any]]


def layer(fn: Callable[..., Any], init: Callable[..., Any] | None = None) -> Build:
    """Return (n, d) → a call of the compiled fn on n positions of width d, with its parameters if it has some."""

    def build(n: int, d: int) -> Callable[[], Any]:
        x = jax.random.normal(jax.random.key(1), (n, d), jnp.float32)
        args = (x,) if init is None else (init(jax.random.key(0), d), x)
        return partial(jax.jit(fn), *args)

    return build


def of_registry(title: str) -> Build:
    """Return the builder of a layer of the registry."""
    entry = next(entry for entry in registry.LAYERS if entry.title == title)
    return layer(entry.fn, entry.draw)


def of_mechanism(entry: registry.Mechanism) -> Build:
    """Return (n, d) → a call of one compiled head of a mechanism, causal if it can be.

    With its typical options, or those for which its entry has inputs.
    """
    typical = {} if entry.inputs else {name: x for name, x in entry.typical.items() if name in entry.options}
    entry = replace(entry, options={**entry.options, **typical})

    def build(n: int, d: int) -> Callable[[], Any]:
        q, k, v = jax.random.normal(jax.random.key(1), (3, n, d), jnp.float32)
        given = entry.arguments(n, d)
        arrays = {name: x for name, x in given.items() if hasattr(x, "shape")}
        # What NumPy drew is float64, which the pass would be computed in where x64 is on.
        arrays = {name: jnp.asarray(x, "f") if isinstance(x, np.ndarray) else x for name, x in arrays.items()}
        fixed = {name: x for name, x in given.items() if name not in arrays}
        fn = jax.jit(partial(entry.fn, causal=entry.causal, **fixed))
        return partial(fn, q, k, v, **arrays)

    return build


def hash_once(n: int, d: int) -> Callable[[], Any]:
    """Return a call that gives n vectors of width d their buckets, 64 in each, by one hash that is not factorised."""
    x = jax.random.normal(jax.random.key(1), (n, d), jnp.float32)
    rotations = attnlib.init_lsh(jax.random.key(0), d, n // 64, 1)
    return partial(jax.jit(partial(lsh_buckets, buckets=n // 64)), x, rotations)


def score_keys(n: int, d: int) -> Callable[[], Any]:
    """Return a call of an indexer of four heads of width d: scores of n keys for n queries, and the largest of each.

    Without the selection, whose searches grow with the length as n^1.5.
    """
    q, k, w = (jax.random.normal(jax.random.key(i), (n, c), jnp.float32) for i, c in enumerate((4 * d, d, 4)))

    @jax.jit
    def largest(q: Any, k: Any, w: Any) -> Any:
        blocks = (x.reshape(n // topk.SELECT, topk.SELECT, -1) for x in (q, w))
        return jax.lax.map(lambda block: topk._index_scores(*block, k).max(axis=1), tuple(blocks))

    return partial(largest, q, k, w)


def attend(x: Any) -> Any:
    """Self-attention without projections: the layer of the table."""
    return attnlib.attention(x, x, x)


def attend_nearby(x: Any) -> Any:
    """Self-attention restricted to a window, in blocks of its size."""
    return attnlib.window_attention(x, x, x, r=R, causal=True, block_q=R, block_k=R)


Row = tuple[Build, dict[str, tuple[int, int, tuple[int, ...]]]]
"""The call, and for each letter its exponent in the formula, the other size, the sizes that are timed."""


def entries() -> dict[str, Row]:
    """Return the rows of the registry: what keeps no square in memory, and layers that are no row of the paper."""
    kernels = {e.title: (of_mechanism(e), {"n": (e.time, 64, LENGTHS)}) for e in registry.MECHANISMS if e.memory == 1}
    scans = [entry for entry in registry.LAYERS if entry.chapter == "state-space"]
    return kernels | {e.title: (layer(e.fn, e.draw), {"n": (e.time[0], 256, LENGTHS)}) for e in scans}


ROWS: dict[str, Row] = {
    "self-attention": (
        layer(attend),
        {"n": (2, 64, (1024, 2048, 4096, 8192)), "d": (1, 1024, (256, 512, 1024, 2048, 4096))},
    ),
    "recurrent": (
        of_registry("vanilla"),
        {"n": (1, 512, (128, 256, 512, 1024, 2048)), "d": (2, 256, (256, 512, 1024, 2048))},
    ),
    "convolutional": (
        of_registry("convolution"),
        {"n": (1, 256, (1024, 2048, 4096, 8192, 16384)), "d": (2, 1024, (128, 256, 512, 1024))},
    ),
    # What stays quadratic in mechanisms that are not: a bucket for each 64 keys, and an indexer.
    "one hash": (hash_once, {"n": (2, 64, LENGTHS)}),
    "indexer": (score_keys, {"n": (2, 32, LENGTHS)}),
    # A mechanism of the registry that is a row of the paper, too, is measured as that.
    **entries(),
    "window": (
        layer(attend_nearby),
        {"n": (1, 64, (2048, 4096, 8192, 16384, 32768)), "d": (1, 2048, (256, 512, 1024, 2048, 4096))},
    ),
}


def measure(name: str, letter: str, *, rounds: int, shrink: int = 1) -> dict[str, Any]:
    """Time one layer over one letter, all sizes divided by `shrink`, and keep every repeat."""
    build, letters = ROWS[name]
    formula, other, sizes = letters[letter]
    sizes, other = tuple(s // shrink for s in sizes), other // shrink
    calls = {str(s): build(s, other) if letter == "n" else build(other, s) for s in sizes}
    timings = clock.compare(calls, rounds=rounds, warmup=2).timings
    return {
        "layer": name,
        "letter": letter,
        "formula": formula,
        "fixed": {"d" if letter == "n" else "n": other} | ({"r": R} if name == "window" else {}),
        "seconds": {size: [round(s, 7) for s in t.seconds] for size, t in timings.items()},
    }


def measure_step(*, rounds: int, shrink: int = 1) -> dict[str, Any]:
    """Time one decoding step, and the reading of as many bytes: the largest number of each row of 1024."""
    t, d, h = 8192 // shrink, 1024, 16
    params = attnlib.init_multihead_attention(jax.random.key(0), d, h)
    x = jax.random.normal(jax.random.key(1), (t, d), jnp.float32)
    # A ring that is full stays so: every step reads all t slots.
    _, cache = jax.jit(decoding.prefill)(params, x, decoding.init_cache(t, d // h, h_kv=h, ring=True))
    held, step, new = [cache], jax.jit(decoding.step, donate_argnums=2), x[-1:]

    def one_step() -> Any:
        y, held[0] = step(params, new, held[0])
        return y, held[0]

    moved = cost.decode_step(t, d, h).bytes_read
    read = partial(jax.jit(lambda a: a.max(axis=1)), jnp.ones((moved // 4096, 1024)))
    timings = clock.compare({"step": one_step, "read": read}, rounds=10 * rounds, warmup=3).timings
    return {
        "sizes": {"t": t, "d": d, "h": h},
        "bytes": moved,
        "seconds": {name: [round(s, 7) for s in timing.seconds] for name, timing in timings.items()},
    }


@dataclass(frozen=True)
class Slope:
    """The time of a layer over one letter, n or d: a cell of the table.

    `formula` is the exponent of `letter` in the FLOPs; `fixed` are the sizes that stay; `seconds[size]` all repeats.
    """

    layer: str
    letter: str
    formula: int
    fixed: Mapping[str, int]
    seconds: Mapping[int, tuple[float, ...]]

    @property
    def fit(self) -> clock.Fit:
        """The power law through the medians."""
        return clock.exponent(list(self.seconds), [clock.Timing(s).median for s in self.seconds.values()])


def slopes(path: Path = FILE) -> tuple[Slope, ...]:
    """Read the cells that were measured."""
    found = json.loads(path.read_text(encoding="utf-8"))["slopes"]
    return tuple(Slope(**{**s, "seconds": {int(size): tuple(x) for size, x in s["seconds"].items()}}) for s in found)


def step_ratio(path: Path = FILE) -> clock.Sample:
    """Return how many times longer one decoding step took than reading as many bytes, round by round."""
    seconds = json.loads(path.read_text(encoding="utf-8"))["step"]["seconds"]
    return clock.Sample(tuple(a / b for a, b in zip(seconds["step"], seconds["read"], strict=True)))


def show(found: tuple[Slope, ...]) -> Table:
    """Show the exponent of each layer in n and in d: by formula, and by the clock with its standard error."""
    rows = [
        (
            s.layer,
            s.letter,
            s.formula,
            f"{s.fit.exponent:.2f} ± {s.fit.standard_error:.2f}",
            f"{min(s.seconds)} to {max(s.seconds)}",
            ", ".join(f"{letter} = {size}" for letter, size in s.fixed.items()),
        )
        for s in found
    ]
    columns = ["layer", "in", "FLOPs", "time", "sizes", "with"]
    return book_table(rows, columns, caption="Exponents of the time of a layer, with their standard errors.")


def arguments(argv: list[str] | None) -> Namespace:
    """Read the command line."""
    parser = Parser(
        prog="benchmarks/table.py", description="Measure the exponents of table 1 of Vaswani et al. (2017)."
    )
    parser.add_argument("--layer", choices=[*ROWS, "decoding"], help="only this one; the file keeps the others")
    parser.add_argument("--rounds", type=int, default=9, help="at least 3")
    parser.add_argument("--quick", action="store_true", help="small sizes, written to _build/benchmarks/")
    options = parser.parse_args(argv)
    if options.rounds < 3:
        parser.error(f"--rounds: expected at least 3, got {options.rounds}")
    return options


def main(argv: list[str] | None = None) -> None:
    """Measure cell by cell, and write after each."""
    options = arguments(argv)
    # Or long arrays cost fresh pages in every call, and the line bends where they begin to.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    clock.keep_memory()
    path = ROOT / "_build" / "benchmarks" / "table.json" if options.quick else FILE
    cells = [(name, letter) for name, (_, letters) in ROWS.items() for letter in letters]
    shrink, machine = 16 if options.quick else 1, clock.machine()
    done: dict[tuple[str, str], dict[str, Any]] = {}
    step = None
    if path.exists():
        old = json.loads(path.read_text(encoding="utf-8"))
        if old["machine"] == machine:
            done, step = {(s["layer"], s["letter"]): s for s in old["slopes"]}, old["step"]

    def keep() -> None:
        found = {"slopes": [done[cell] for cell in cells if cell in done], "step": step}
        date = datetime.now(UTC).date().isoformat()
        write(path, json.dumps({"machine": machine, "date": date, **found}, indent=1, ensure_ascii=False) + "\n")

    for name, letter in cells:
        if options.layer in (None, name):
            done[name, letter] = measure(name, letter, rounds=options.rounds, shrink=shrink)
            keep()
    if options.layer in (None, "decoding"):
        step = measure_step(rounds=options.rounds, shrink=shrink)
        keep()
    if done:
        print(show(slopes(path)))
    if step:
        print(f"one decoding step / reading as many bytes: {step_ratio(path)}")


if __name__ == "__main__":
    main()
