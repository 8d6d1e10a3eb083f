"""Time attention beside its peers, in turn, and keep every repeat: `make bench`, or python benchmarks/run.py --help.

Programs of a group are run A B C A B C …, each round beginning with the next one, so that a busy moment hits all
alike; what is published is the median of the ratios within a round, with its quartiles. A program that takes longer
than SLOW seconds takes part in the first rounds only; any other runs once untimed before each time it is timed, since
memory and caches are as its neighbour left them (after one that frees gigabytes, the next takes half as long again).
Each result is compared with ours before anything is timed.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, NoReturn

import jax
import numpy as np
from problems import CORES, SUITES, Call, Missing, Problem, Program, Suite, Task, need, pair_flops

ROOT = Path(__file__).parent.parent
SLOW, FEW, PAUSE = 2.0, 3, 0.02


def groups(
    suite: Suite, lengths: Iterable[int]
) -> Iterable[tuple[Problem, str, str, int, list[tuple[Program, str]]]]:
    """Name the groups, one each problem, pass, mask and length: all programs, and ours with other masks."""
    for problem in suite.problems:
        for work in ("forward", "forward and backward"):
            for mask in problem.masks:
                for n in lengths:
                    first, chosen = problem.programs[0], [(p, mask) for p in problem.programs]
                    if mask == "causal" and "full" in problem.masks:
                        chosen.append((first, "full"))
                    elif work == "forward" and n >= 16384:
                        chosen += [(first, other) for other in problem.own]
                    yield problem, work, mask, n, chosen


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
    problem: Problem, work: str, mask: str, n: int, chosen: list[tuple[Program, str]], *, rounds: int, size: int
) -> dict[str, Any]:
    """Time one group. What is missing or too long is skipped with its reason; a wrong result ends the run."""
    rng = np.random.default_rng(n)
    inputs, extra = problem.draw(rng, problem.h, n, problem.d)
    arrays = tuple(x.astype(np.float32) for x in (*inputs, rng.normal(size=inputs[0].shape)))
    calls: dict[str, Call] = {}
    flops: dict[str, float] = {}
    skipped: dict[str, str] = {}
    read: dict[str, Callable[[Any], Iterable[Any]]] = {}
    for program, its_mask in chosen:
        task, name = Task(work, its_mask, arrays, extra), f"{program.name}, {its_mask}"
        if its_mask == mask and mask not in program.masks:
            skipped[name] = program.only
            continue
        if n > program.longest[work != "forward"]:
            skipped[name] = program.reason
            continue
        try:
            calls[name], reader = program.make(task)
        except Missing as missing:
            skipped[name] = str(missing)
            continue
        flops[name] = (problem.flops if program.same else pair_flops)(task)
        if program.same:
            read[name] = reader
    for name, (call, product_flops) in matmul_programs(size).items():
        calls[name], flops[name] = call, product_flops
    expected: dict[str, list[np.ndarray]] = {}

    def check(name: str, out: Any) -> None:
        if name in read:
            results = [np.asarray(x) for x in read[name](out)]
            for a, b in zip(results, expected.setdefault(name.rpartition(", ")[2], results), strict=True):
                apart = abs(a - b)
                if not (apart <= (problem.close * abs(b).max() or 1e-4 + 1e-3 * abs(b))).all():  # nor is a NaN close
                    raise SystemExit(f"benchmarks/run.py: {name}: differs from ours by {abs(a - b).max():.1e}")

    seconds = interleave(calls, rounds, check)
    named = {"problem": problem.name} if problem.name else {}
    return {**named, "work": work, "mask": mask, "n": n, "seconds": seconds, "flops": flops, "skipped": skipped}


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


def write(path: Path, content: str | bytes) -> None:
    """Write beside, then rename: what was there stays whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(content.encode() if isinstance(content, str) else content)
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
    parser.add_argument("--problem", default="", help="only those with this in their names")
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
    names = [p.name for p in SUITES[options.suite].problems]
    if not any(options.problem in name for name in names):
        parser.error(f"--problem: expected a part of one of {names}, got {options.problem!r}")
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
    order = [p.name for p in suite.problems]
    done: dict[tuple[int, str, bool, int], dict[str, Any]] = {}

    def keep(group: dict[str, Any]) -> None:
        done[order.index(group.get("problem", "")), group["work"], group["mask"] != "full", group["n"]] = group

    if options.out.exists():
        old = json.loads(options.out.read_text(encoding="utf-8"))
        if results.described(old["machine"]) != results.described(head["machine"]):
            raise SystemExit(
                f"benchmarks/run.py: {options.out.name} is of another machine, {old['machine']}: "
                "give this one a file of its own with --machine"
            )
        if {key: old.get(key) for key in head} == head:
            for group in old["groups"]:
                keep(group)
        else:
            print("the file is of other versions: it is replaced", file=sys.stderr)
    for problem, work, mask, n, chosen in groups(suite, options.n):
        if options.problem in problem.name and options.work in (None, work) and options.mask in (None, mask):
            print(", ".join(filter(None, (problem.name, work, mask, f"n = {n} …"))), file=sys.stderr, flush=True)
            size = 512 if options.quick else 4096
            keep(measure(problem, work, mask, n, chosen, rounds=options.rounds, size=size))
            date = datetime.now(UTC).date().isoformat()
            content = {**head, "date": date, "groups": [done[key] for key in sorted(done)]}
            write(options.out, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    found = results.read(options.out)
    print(results.table(found), end="\n\n")
    own = {name.rpartition(", ")[2] for g in found.groups for name in g.seconds if name.startswith(f"{found.ours}, ")}
    if "full" in own and len(own) > 1:
        print(results.own(found), end="\n\n")
    for group in found.groups:
        for program, reason in group.skipped.items():
            print(f"not run: {group.problem} {group.work}, n = {group.n}, {program}: {reason}".replace(":  ", ": "))
    for group in disturbed(found.groups):
        what = f"{group.problem} {group.work}, {group.mask}, n = {group.n}".strip()
        print(f"the machine was not quiet, run again: {what}")
    print(f"wrote {options.out.name}")
    if len(suite.problems) > 1:
        return  # a figure compares programs of one problem
    picture = ROOT / "_build" / "benchmarks" / f"{options.out.stem}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    results.figure(found).savefig(picture.with_name(picture.name + ".new"), format="png")
    picture.with_name(picture.name + ".new").replace(picture)
    print(f"wrote {picture.name}")


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", CORES)  # before JAX starts: every core is a device
    main()
