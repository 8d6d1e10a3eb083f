"""Time attention beside its peers, in turn, and keep every repeat: `make bench`, or python benchmarks/run.py --help.

Programs of a group are run A B C A B C …, each round beginning with the next one, so that a busy moment hits all
alike; what is published is the median of the ratios within a round, with its quartiles. A program that takes longer
than SLOW seconds takes part in the first rounds only; any other runs once untimed before each time it is timed, since
memory and caches are as its neighbour left them (after one that frees gigabytes, the next takes half as long again).
Each result is compared with ours before anything is timed.
"""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, NoReturn

import jax
import numpy as np

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
ROOT = Path(__file__).parent.parent
SLOW, FEW, PAUSE = 2.0, 3, 0.02

Call = Callable[[], Any]


class Missing(Exception):
    """A program that cannot run here, and why."""


@dataclass(frozen=True)
class Task:
    """One problem: the arrays (h, n, d) and what to compute of them."""

    work: str
    mask: str
    arrays: tuple[np.ndarray, ...]  # q, k, v and the gradient that arrives
    order: int | None = None  # Taylor attention of that order; None: softmax

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of our kernels."""
        window = {"window": 512} if "window" in self.mask else {}
        return {"causal": "causal" in self.mask, **window}

    @property
    def flops(self) -> float:
        """Of the visible pairs alone; the backward pass is 2.5 times the forward one.

        Taylor attention has no pairs: its sums and their reading are counted, and not what chunks add.
        """
        h, n, d = self.arrays[0].shape
        if self.order is not None:
            from attnlib import cost

            return float(
                cost.taylor_attention(n, d, order=self.order, h=h, backward=self.work != "forward").matmul_flops
            )
        past = np.arange(n)
        window = self.options.get("window", n)
        pairs = np.minimum(past + 1, window).sum()
        if not self.options["causal"]:
            pairs = pairs + np.minimum(past[::-1], window - 1).sum()
        return float(4 * d * h * pairs) * (1 if self.work == "forward" else 3.5)


@dataclass(frozen=True)
class Program:
    """A peer: `make(task)` returns a call, and what makes arrays (h, n, d) of its result."""

    name: str
    make: Callable[[Task], tuple[Call, Callable[[Any], Iterable[Any]]]]
    masks: tuple[str, ...] = ("full", "causal")
    longest: tuple[int, int] = (16384, 16384)
    reason: str = ""  # why no longer lengths
    only: str = ""  # why no other masks


def jax_program(fn: Callable[..., Any], axes: tuple[int, ...] = (0, 1, 2), place: Any = None) -> Any:
    """Wrap fn(q, k, v, **options), whose arrays are those of the task with axes reordered and one batch axis."""

    def make(task: Task) -> tuple[Call, Callable[[Any], Iterable[Any]]]:
        from attnlib import count

        def forward(*args: Any) -> Any:
            return fn(*args, **task.options)

        ours = axes == (0, 1, 2)
        q, k, v, do = (x if ours else np.ascontiguousarray(x.transpose(axes))[None] for x in task.arrays)
        args = (q, k, v) if task.work == "forward" else (do, q, k, v)
        program = jax.jit(forward if task.work == "forward" else count.with_backward(forward))
        out = program(*args)  # compiles; the arguments go to where the result lies, once
        where = jax.tree.leaves(out)[0].sharding
        there = tuple(jax.device_put(x, where) for x in args)
        jax.block_until_ready(program(*there))  # compiles once more if they lie elsewhere than before
        back = np.argsort(axes)
        return lambda: jax.block_until_ready(program(*there)), lambda out: [
            np.asarray(x) if ours else np.asarray(x)[0].transpose(back) for x in jax.tree.leaves(out)
        ]

    return make


def spread_jax_nn(q: Any, k: Any, v: Any, causal: bool = False) -> Any:
    """jax.nn's attention on (h, n, d), to be spread over heads."""
    q, k, v = (x.swapaxes(-3, -2) for x in (q, k, v))
    return jax.nn.dot_product_attention(q, k, v, is_causal=causal).swapaxes(-3, -2)


def torch_program(fn: Callable[..., Any]) -> Any:
    """Wrap fn(torch, task), which returns a function of tensors (1, h, n, d), all cores."""

    def make(task: Task) -> Any:
        torch = need("torch")
        torch.set_num_threads(CORES)
        attend = fn(torch, task)
        q, k, v, do = (torch.tensor(x)[None] for x in task.arrays)

        def forward() -> Any:
            with torch.no_grad():
                return (attend(q, k, v),)

        def both() -> Any:
            args = [x.detach().requires_grad_() for x in (q, k, v)]
            out = attend(*args)
            out.backward(do)
            return out.detach(), *(x.grad for x in args)

        return (forward if task.work == "forward" else both), lambda out: [x[0].numpy() for x in out]

    return make


def torch_sdpa(torch: Any, task: Task) -> Any:
    """torch.nn.functional.scaled_dot_product_attention."""
    sdpa = torch.nn.functional.scaled_dot_product_attention
    return lambda q, k, v: sdpa(q, k, v, is_causal=task.options["causal"])


def fla_naive(name: str) -> Any:
    """A reference of flash-linear-attention, in plain torch: causal, order 2."""
    return lambda torch, task: getattr(need("fla.ops.based.naive"), name)


def taylor_layer(torch: Any, task: Task) -> Any:
    """The layer of taylor-series-linear-attention without its projections: it is handed q, k and v."""
    package = need("taylor_series_linear_attention")
    h, _, d = task.arrays[0].shape
    layer = package.TaylorSeriesLinearAttn(h * d, dim_head=d, heads=h, combine_heads=False)
    layer.to_q = layer.to_kv = layer.merge_heads = torch.nn.Identity()
    return lambda q, k, v: layer(q, context=(k, v))


def tokamax_chunked(task: Task) -> Any:
    """tokamax.dot_product_attention with its chunked XLA implementation."""
    tokamax = need("tokamax")
    return jax_program(
        lambda q, k, v, causal: tokamax.dot_product_attention(
            q, k, v, implementation="xla_chunked", is_causal=causal
        ),
        (1, 0, 2),
    )(task)


def ours(name: str, one: bool = False) -> Any:
    """A kernel of attnlib, spread over the cores or on one device."""

    def make(task: Task) -> Any:
        import attnlib

        fn = getattr(attnlib, name)
        return jax_program(fn if one else attnlib.spread(fn))(task)

    return make


def spread_peer(fn: Callable[..., Any]) -> Any:
    """A peer on (h, n, d) that gets the same help as ours: its heads spread over the cores."""

    def make(task: Task) -> Any:
        import attnlib

        return jax_program(attnlib.spread(fn))(task)

    return make


def need(module: str) -> Any:
    """Import a peer or say that it is not there."""
    try:
        return importlib.import_module(module)
    except Exception as error:  # an installed peer that fails at import is as missing as one that is not installed
        raise Missing(f"{module} cannot be imported: {type(error).__name__}") from None


N_BY_N = "it keeps n × n scores"
EXACT = (
    Program("flash_attention", ours("flash_attention")),
    Program("torch SDPA", torch_program(torch_sdpa)),
    Program("tokamax xla_chunked", tokamax_chunked, longest=(16384, 8192), reason="a round would take minutes"),
    Program(
        "jax.nn",
        jax_program(lambda q, k, v, causal: jax.nn.dot_product_attention(q, k, v, is_causal=causal), (1, 0, 2)),
        longest=(8192, 4096),
        reason=N_BY_N,
    ),
    Program("jax.nn, spread", spread_peer(spread_jax_nn), longest=(4096, 4096), reason=N_BY_N),
    Program("attention as written", ours("attention", one=True), longest=(8192, 4096), reason=N_BY_N),
    Program("flash_attention on one device", ours("flash_attention", one=True), longest=(4096, 4096), reason="slow"),
)
LINEAR = (
    Program("taylor_attention", ours("taylor_attention")),
    Program(
        "fla naive chunks",
        torch_program(fla_naive("naive_chunk_based")),
        ("causal",),
        only="it is causal",
    ),
    Program(
        "fla naive",
        torch_program(fla_naive("naive_parallel_based")),
        ("causal",),
        (4096, 4096),
        "it keeps n × n weights",
        only="it is causal",
    ),
    Program(
        "taylor-series-linear-attention",
        torch_program(taylor_layer),
        ("full",),
        only="its causal form needs a package that compiles C++",
    ),
    Program("taylor_attention on one device", ours("taylor_attention", one=True)),
)


@dataclass(frozen=True)
class Suite:
    """Programs that compute the same, ours first, and the problem that they get."""

    programs: tuple[Program, ...]
    d: int
    lengths: tuple[int, ...]
    peers: tuple[str, ...]  # packages whose versions matter
    order: int | None = None
    h: int = 8

    @property
    def about(self) -> str:
        """One line for captions."""
        order = "" if self.order is None else f"order {self.order}, "
        return f"{order}h = {self.h} heads, d = {self.d}, float32, {CORES} cores"


SUITES = {
    "exact": Suite(EXACT, 64, (4096, 8192, 16384), ("torch", "tokamax")),
    "linear": Suite(LINEAR, 16, (4096, 16384), ("torch", "fla-core", "taylor-series-linear-attention"), order=2),
}


def groups(suite: Suite, lengths: Iterable[int]) -> Iterable[tuple[str, str, int, list[tuple[Program, str]]]]:
    """Name the groups, one each pass, mask and length: all programs, and ours with other masks to compare with."""
    for work in ("forward", "forward and backward"):
        for mask in ("full", "causal"):
            for n in lengths:
                first, chosen = suite.programs[0], [(p, mask) for p in suite.programs]
                if mask == "causal":
                    chosen.append((first, "full"))
                elif work == "forward" and n >= 16384 and suite.order is None:
                    chosen += [(first, "window 512"), (first, "causal window 512")]
                yield work, mask, n, chosen


def matmul_programs(size: int) -> dict[str, tuple[Call, float]]:
    """A large square product in float32, by torch and by XLA, and its FLOPs: the machine's own rate."""
    x = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
    on_jax, product = jax.device_put(x), jax.jit(lambda a: a @ a)
    programs: dict[str, tuple[Call, float]] = {
        "matrix product, XLA": (lambda: product(on_jax).block_until_ready(), 2.0 * size**3)
    }
    try:
        torch = need("torch")
    except Missing:
        return programs
    torch.set_num_threads(CORES)
    on_torch = torch.tensor(x)
    return {"matrix product, torch": (lambda: on_torch @ on_torch, 2.0 * size**3), **programs}


def measure(
    work: str,
    mask: str,
    n: int,
    chosen: list[tuple[Program, str]],
    *,
    h: int,
    d: int,
    rounds: int,
    size: int,
    order: int | None = None,
) -> dict[str, Any]:
    """Time one group. What is missing or too long is skipped with its reason; a wrong result ends the run."""
    rng = np.random.default_rng(n)
    arrays = tuple(rng.normal(size=(h, n, d)).astype(np.float32) for _ in range(4))
    calls: dict[str, Call] = {}
    flops: dict[str, float] = {}
    skipped: dict[str, str] = {}
    read: dict[str, Callable[[Any], Iterable[Any]]] = {}
    for program, its_mask in chosen:
        task, name = Task(work, its_mask, arrays, order), f"{program.name}, {its_mask}"
        if its_mask == mask and mask not in program.masks:
            skipped[name] = program.only
            continue
        if n > program.longest[work != "forward"]:
            skipped[name] = program.reason
            continue
        try:
            calls[name], read[name] = program.make(task)
        except Missing as missing:
            skipped[name] = str(missing)
            continue
        flops[name] = task.flops
    for name, (call, product_flops) in matmul_programs(size).items():
        calls[name], flops[name] = call, product_flops
    expected: dict[str, list[np.ndarray]] = {}

    def check(name: str, out: Any) -> None:
        if name in read:
            results = [np.asarray(x) for x in read[name](out)]
            for a, b in zip(results, expected.setdefault(name.rpartition(", ")[2], results), strict=True):
                if not np.allclose(a, b, rtol=1e-3, atol=1e-4):
                    raise SystemExit(f"benchmarks/run.py: {name}: differs from ours by {abs(a - b).max():.1e}")

    seconds = interleave(calls, rounds, check)
    return {"work": work, "mask": mask, "n": n, "seconds": seconds, "flops": flops, "skipped": skipped}


def interleave(
    calls: dict[str, Call], rounds: int, check: Callable[[str, Any], None], timer: Callable[[], float] = perf_counter
) -> dict[str, list[float]]:
    """Run all in turn; a slow one takes part in the first FEW rounds only. The first results are checked.

    Before a program is timed it runs once untimed, or it would pay for what its neighbour did to memory and caches.
    Once known to be slow it does not: there the difference is small.
    """
    names, seconds = list(calls), {name: [] for name in calls}
    out: Any = None
    for r in range(rounds):
        start = r % len(names)
        for name in names[start:] + names[:start]:
            if r >= FEW and min(seconds[name]) > SLOW:
                continue
            out = None  # the result of the one before is freed here, on nobody's time
            if min(seconds[name], default=0) <= SLOW:
                calls[name]()
            sleep(PAUSE)  # until the threads of the one before, which wait for more work in a busy loop, sleep
            begin = timer()
            out = calls[name]()
            seconds[name].append(round(timer() - begin, 7))
            if r == 0:
                check(name, out)
    return seconds


def write(path: Path, text: str) -> None:
    """Write beside, then rename: what was there stays whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def versions(peers: tuple[str, ...]) -> dict[str, str]:
    """Name the versions that matter, of what is installed."""
    found = {}
    for package in ("jax", *peers):
        try:
            found[package] = metadata.version(package).split("+")[0]
        except metadata.PackageNotFoundError:
            continue
    return found


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog="benchmarks/run.py", description="Time attention beside its peers.")
    parser.add_argument("suite", nargs="?", default="exact", choices=sorted(SUITES))
    parser.add_argument("--quick", action="store_true", help="small sizes, written to _build/benchmarks/")
    parser.add_argument("--n", type=int, nargs="+", help="lengths, instead of the suite's")
    parser.add_argument("--work", choices=("forward", "forward and backward"), help="only this pass")
    parser.add_argument("--mask", choices=("full", "causal"), help="only this mask")
    parser.add_argument("--rounds", type=int, default=7, help="at least 3")
    parser.add_argument(
        "--machine", help="what to call this machine in the file's name, if its processor is not enough"
    )
    parser.add_argument("--out", type=Path, help="result file; groups that it has already are replaced")
    options = parser.parse_args(argv)
    options.n = options.n or ([256, 512] if options.quick else list(SUITES[options.suite].lengths))
    from attnlib import clock
    from attnlib.book import results

    folder = ROOT / ("_build/benchmarks" if options.quick else "attnlib/book/data")
    options.out = options.out or folder / results.file_name(options.suite, options.machine or clock.machine())
    if options.rounds < 3:
        parser.error(f"--rounds: expected at least 3, got {options.rounds}")
    if min(options.n) < 1:
        parser.error(f"--n: expected lengths of at least 1, got {min(options.n)}")
    if options.out.is_dir() or options.out.suffix != ".json":
        parser.error(f"--out: expected the name of a .json file, got {options.out}")
    return options


def disturbed(found: Iterable[Any]) -> list[Any]:
    """Return the groups in which the quartiles of the machine's own product are more than a factor of 1.5 apart.

    Ratios are taken within a round, so a machine that is slower throughout one group than in another disturbs none.
    """
    from attnlib.book.results import MATMUL
    from attnlib.measure.clock import Sample

    products = {id(g): [Sample(tuple(s)) for name, s in g.seconds.items() if name in MATMUL] for g in found}
    return [g for g in found if any(s.high > 1.5 * s.low for s in products[id(g)])]


def main(argv: list[str] | None = None) -> None:
    """Measure group by group, and write after each."""
    options = arguments(argv)
    del sys.argv[1:]  # tokamax reads flags of its own there
    from attnlib import clock
    from attnlib.book import results

    suite = SUITES[options.suite]
    head = {
        "suite": options.suite,
        "about": suite.about,
        "machine": clock.machine(),
        "versions": versions(suite.peers),
    }
    done: dict[tuple[str, str, int], dict[str, Any]] = {}
    if options.out.exists():
        old = json.loads(options.out.read_text(encoding="utf-8"))
        if results.described(old["machine"]) != results.described(head["machine"]):
            raise SystemExit(
                f"benchmarks/run.py: {options.out.name} is of another machine, {old['machine']}: "
                "give this one a file of its own with --machine"
            )
        if {key: old.get(key) for key in head} == head:
            done = {(g["work"], g["mask"], g["n"]): g for g in old["groups"]}
        else:
            print("the file is of other versions: it is replaced", file=sys.stderr)
    for work, mask, n, chosen in groups(suite, options.n):
        if options.work in (None, work) and options.mask in (None, mask):
            print(f"{work}, {mask}, n = {n} …", file=sys.stderr, flush=True)
            size = 512 if options.quick else 4096
            done[work, mask, n] = measure(
                work, mask, n, chosen, h=suite.h, d=suite.d, rounds=options.rounds, size=size, order=suite.order
            )
            ordered = [done[key] for key in sorted(done, key=lambda key: (key[0], key[1] != "full", key[2]))]
            date = datetime.now(UTC).date().isoformat()
            write(
                options.out,
                json.dumps({**head, "date": date, "groups": ordered}, indent=1, ensure_ascii=False) + "\n",
            )
    found = results.read(options.out)
    for table in (results.table(found), results.own(found)):
        print(table, end="\n\n")
    for group in found.groups:
        for program, reason in group.skipped.items():
            print(f"not run: {group.work}, n = {group.n}, {program}: {reason}")
    for group in disturbed(found.groups):
        print(f"the machine was not quiet, run again: {group.work}, {group.mask}, n = {group.n}")
    picture = ROOT / "_build" / "benchmarks" / f"{options.out.stem}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    results.figure(found).savefig(picture.with_name(picture.name + ".new"), format="png")
    picture.with_name(picture.name + ".new").replace(picture)
    print(f"wrote {options.out.name} and {picture.name}")


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", CORES)  # before JAX starts: every core is a device
    main()
