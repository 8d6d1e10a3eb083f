"""The benchmark program at sizes that take no time, and what shows its results. Times themselves are never tested."""

import importlib.util
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attnlib import attention, cost, registry
from attnlib.book import results
from attnlib.book.results import Group, Results

ROOT = Path(__file__).parent.parent


def load_program(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up, and table.py imports run
    spec.loader.exec_module(module)
    return module


problems, run, table = (load_program(name) for name in ("problems", "run", "table"))


def measured(problem, work, mask, n, chosen=None):
    """Measure one group at a size that takes no time."""
    chosen = chosen or [(program, mask) for program in problem.programs]
    return run.measure(replace(problem, h=2, d=4), work, mask, n, chosen, rounds=3, size=16)


def read(suite, *groups):
    """Read groups as they come from a file."""
    return results.parse({**vars(EXAMPLE), "suite": suite, "groups": json.loads(json.dumps(groups))})


EXAMPLE = Results(
    "exact",
    "h = 8",
    "2026-11-22",
    "a machine, 2 cores",
    {"jax": "0.10.2", "torch": "2.13.0"},
    (
        Group(
            "forward",
            "full",
            4096,
            {
                "flash_attention, full": (1.0, 2.0, 1.0),
                "torch SDPA, full": (2.0, 2.0, 3.0),
                "jax.nn, full": (8.0, 10.0),
                "matrix product, XLA": (0.5, 0.25, 0.5),
            },
            {
                "flash_attention, full": 80.0,
                "torch SDPA, full": 80.0,
                "jax.nn, full": 80.0,
                "matrix product, XLA": 50.0,
            },
            {"tokamax xla_chunked, full": "tokamax cannot be imported: ModuleNotFoundError"},
        ),
        Group(
            "forward",
            "causal",
            4096,
            {"flash_attention, causal": (0.5, 1.5), "flash_attention, full": (1.0, 2.0)},
            {"flash_attention, causal": 40.0, "flash_attention, full": 80.0},
            {},
        ),
    ),
)


def test_ratios_are_taken_within_a_round():
    first, second = EXAMPLE.groups
    assert first.ratio("torch SDPA, full", "flash_attention, full").values == (2.0, 1.0, 3.0)
    assert first.ratio("jax.nn, full", "flash_attention, full").values == (8.0, 5.0)  # it left after two rounds
    assert first.rate == 100.0
    assert math.isnan(second.rate)
    assert EXAMPLE.ratio("forward", 4096, "flash_attention, causal", "flash_attention, full").median == 0.625
    with pytest.raises(ValueError, match=r"program: expected two of one group of .*'torch SDPA, full'.*, got"):
        EXAMPLE.ratio("forward", 8192, "torch SDPA, full", "flash_attention, full")
    with pytest.raises(ValueError, match=r"program: expected one of .*, got 'x'"):
        first.timing("x")


def test_tables_and_figure():
    text = repr(results.table(EXAMPLE))
    assert "a machine, 2 cores; torch 2.13.0; 2026-11-22" in text
    assert "2.00× (1.50–2.50)" in text
    assert "80 %" in text
    assert "6.50× (5.75–7.25)" in text
    assert "0.625× (0.562–0.688)" in repr(results.own(EXAMPLE))
    across = results.by_program(EXAMPLE)
    table = results.table(EXAMPLE)
    assert across.columns[1:] == tuple(f"{name}, n = {n:,}" for name, n, *_ in table.rows)
    assert [row[0] for row in across.rows] == list(table.columns[2:])
    assert [row[1:] for row in across.rows] == list(zip(*(row[2:] for row in table.rows), strict=True))
    beside = results.beside(EXAMPLE, 4096)
    assert beside.columns == ("program", "forward, full", "forward, causal")
    assert beside.rows == (("torch SDPA", "2.00×", None), ("jax.nn", "6.50×", None))
    with pytest.raises(ValueError, match=r"results.beside: n: expected one of \[4096\], got 8192"):
        results.beside(EXAMPLE, 8192)
    fig = results.figure(EXAMPLE)
    assert [label.get_text() for ax in fig.axes for label in ax.texts] == ["torch SDPA", "jax.nn"]


@pytest.mark.parametrize("suite", ["exact", "linear"])
def test_no_point_of_a_published_figure_is_cut_off(suite):
    for ax in (ax for found in results.load(suite) for ax in results.figure(found).axes):
        low, high = ax.get_ylim()
        assert low <= ax.dataLim.y0
        assert ax.dataLim.y1 <= high


@pytest.mark.parametrize("mask", ["full", "causal", "window 512", "causal window 512"])
def test_flops_are_those_of_the_visible_pairs(mask):
    n = 700
    arrays = (np.zeros((2, n, 3), np.float32),) * 4
    task = problems.Task("forward", mask, arrays)
    flops = problems.pair_flops(task)
    past = np.arange(n)[:, None] - np.arange(n)[None, :]
    visible = (past >= 0 if "causal" in mask else past > -n) & (abs(past) < (512 if "window" in mask else n))
    assert flops == 4 * 3 * 2 * visible.sum()
    both = problems.pair_flops(replace(task, work="forward and backward"))
    assert both == 3.5 * flops
    if mask == "full":
        assert both == cost.flash_attention(n, 3, h=2, block_q=n, block_k=n, backward=True).matmul_flops


@pytest.mark.parametrize("work", ["forward", "forward and backward"])
@pytest.mark.parametrize("mask", ["full", "causal"])
def test_every_program_runs_or_says_why_not(work, mask):
    """At n = 48 and without the peers, which are reported as missing; the others' results agree with ours."""
    ours = ("flash_attention", "attention as written", "jax.nn", "jax.nn, spread")
    (problem,) = problems.SUITES["exact"].problems
    chosen = next(c for _, w, m, _, c in run.groups(problems.SUITES["exact"], [48]) if (w, m) == (work, mask))
    found = read("exact", measured(problem, work, mask, 48, chosen))
    (group,) = found.groups
    assert {f"{name}, {mask}" for name in ours} <= set(group.seconds)
    assert all(len(s) == 3 and min(s) > 0 for s in group.seconds.values())
    assert set(group.seconds) <= set(group.flops)
    for peer in ("torch", "tokamax"):
        if importlib.util.find_spec(peer) is None:
            (reason,) = {r for name, r in group.skipped.items() if name.startswith(peer)}
            assert reason == f"{peer} cannot be imported: ModuleNotFoundError"
    assert repr(results.table(found)).count("\n") == 4


@pytest.mark.parametrize("work", ["forward", "forward and backward"])
@pytest.mark.parametrize("mask", ["full", "causal"])
def test_the_suite_of_linear_attention(work, mask):
    """The same for Taylor attention; peers that know one mask are not run with the other."""
    (problem,) = problems.SUITES["linear"].problems
    data = measured(problem, work, mask, 512)
    assert {f"taylor_attention, {mask}", f"taylor_attention on one device, {mask}"} <= set(data["seconds"])
    flops = cost.taylor_attention(512, 4, h=2, backward=work != "forward").matmul_flops
    assert data["flops"][f"taylor_attention, {mask}"] == flops
    others = [p for p in problem.programs if mask not in p.masks]
    assert others
    assert all(data["skipped"][f"{p.name}, {mask}"] == p.only for p in others)
    if importlib.util.find_spec("torch") is None:
        (reason,) = {data["skipped"][f"{p.name}, {mask}"] for p in problem.programs[1:-1] if mask in p.masks}
        assert reason == "torch cannot be imported: ModuleNotFoundError"


@pytest.mark.parametrize("problem", problems.VARIANTS, ids=lambda problem: problem.name)
def test_the_suite_of_variants(problem):
    """Each beside its peers, which are missing here, and softmax attention, whose results are others."""
    groups = [measured(problem, work, problem.masks[-1], 128) for work in ("forward", "forward and backward")]
    found = read("variants", *groups)
    assert {group.problem for group in found.groups} == {problem.name}
    ours, softmax = problem.programs[0].name, problem.programs[-1].name
    assert problem.name.startswith(ours)
    assert softmax == results.BESIDE
    peers = [p.name for p in problem.programs[1:-1]]
    for group in found.groups:
        assert [p for p in group.seconds if group.mask in p][:1] == [f"{ours}, {group.mask}"]
        assert f"{softmax}, {group.mask}" in group.seconds
        assert group.flops[f"{ours}, {group.mask}"] > 0
        assert {f"{p}, {group.mask}" for p in peers} <= {*group.seconds, *group.skipped}
    shown = results.table(found)
    assert [row[4] for row in shown.rows] == 2 * peers
    assert {row[0] for row in shown.rows} == {problem.name}
    if importlib.util.find_spec("torch") is None:
        assert {row[5] for row in shown.rows} == {None}


def test_each_problem_has_a_row_for_each_peer():
    group = Group(
        "forward",
        "causal",
        8,
        {"mine, causal": (1.0, 2.0), "theirs, causal": (3.0, 6.0), "flash_attention, causal": (0.5, 1.0)},
        {},
        {"other, causal": "why"},
        "first",
    )
    about = ("first", "forward, causal", 8, "1.50 s (1.25–1.75)")
    assert results.table(replace(EXAMPLE, groups=(group,))).rows == (
        (*about, "theirs", "3.00× (3.00–3.00)", "0.500× (0.500–0.500)"),
        (*about, "other", None, "0.500× (0.500–0.500)"),
    )


def test_too_long_for_a_program_is_said():
    short = problems.Program("flash_attention", problems.ours("flash_attention"), longest=(8, 8), reason="why")
    data = measured(problems.Problem((short,)), "forward", "full", 9)
    assert data["skipped"] == {"flash_attention, full": "why"}
    assert set(data["seconds"]) <= {"matrix product, torch", "matrix product, XLA"}


@pytest.mark.parametrize("wrong", [lambda o: 1.01 * o, lambda o: o.at[0, 0, 0].set(float("nan"))])
def test_a_wrong_result_ends_the_run(wrong):
    peer = problems.Program("wrong", problems.spread_peer(lambda q, k, v, causal: wrong(attention(q, k, v))))
    with pytest.raises(SystemExit, match="wrong, full: differs from ours by"):
        measured(problems.Problem((problems.EXACT[0], peer)), "forward", "full", 9)
    beside = replace(peer, same=False)  # it is not ours to compute
    assert "wrong, full" in measured(problems.Problem((problems.EXACT[0], beside)), "forward", "full", 9)["seconds"]


def test_programs_run_in_turn_and_slow_ones_leave():
    order, now = [], [0.0]

    def program(name, takes):
        def call():
            order.append(name)
            now[0] += takes
            return name

        return call

    checked = []
    calls = {"a": program("a", 1.0), "slow": program("slow", 3.0), "c": program("c", 1.0)}
    seconds = run.interleave(calls, 5, lambda *x: checked.append(x), timer=lambda: now[0])
    assert seconds == {"a": [1.0] * 5, "slow": [3.0] * 3, "c": [1.0] * 5}
    # In the first round each runs untimed before it is timed; from then on the quick ones do.
    assert " ".join(order) == "a a slow slow c c  slow c c a a  c c a a slow  a a c c  c c a a".replace("  ", " ")
    assert checked == [("a", "a"), ("slow", "slow"), ("c", "c")]


def test_a_group_that_something_disturbed_is_named():
    def group(*seconds):
        return Group("forward", "full", 8, {"matrix product, XLA": seconds}, {"matrix product, XLA": 1.0}, {})

    quiet, busy = [group(1.0, 1.0, 1.1, 1.0, 9.0), group(2.0, 2.1, 2.2)], group(1.0, 1.0, 2.1, 2.1)
    assert run.disturbed((*quiet, busy)) == [busy]


@pytest.mark.parametrize("argv", [["--layer", "x"], ["--rounds", "2"], ["x"]])
def test_bad_arguments_of_the_table_end_with_one_clear_line(argv, capsys):
    with pytest.raises(SystemExit) as end:
        table.arguments(argv)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("benchmarks/table.py: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "argv",
    [
        ["nosuch"],
        ["--rounds", "2"],
        ["--n", "0"],
        ["--n", "x"],
        ["--out", "x.txt"],
        ["--out", "."],
        ["--work", "x"],
        ["variants", "--problem", "x"],
    ],
)
def test_bad_arguments_end_with_one_clear_line(argv, capsys):
    with pytest.raises(SystemExit) as end:
        run.arguments(argv)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("benchmarks/run.py: ")
    assert said.count("\n") == 1


def test_writing_keeps_what_was_there_until_it_is_whole(tmp_path):
    path = tmp_path / "folder" / "x.json"
    run.write(path, "one")
    run.write(path, "two")
    assert path.read_text() == "two"
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


def test_what_is_published():
    """Every suite has its results; they are complete, and name no host, no path and no person."""
    for suite, asked in problems.SUITES.items():
        paths = list((ROOT / "attnlib" / "book" / "data").glob(f"{suite}-*.json"))
        for path in paths:
            assert not any(s in path.read_text() for s in ("/", "\\", "http"))
        for found in results.load(suite):
            assert found.suite == suite
            assert {"jax", "torch"} <= set(found.versions)
            wanted = {(p.name, w, m, n) for p, w, m, n, _ in run.groups(asked, asked.lengths)}
            there = {(g.problem, g.work, g.mask, g.n) for g in found.groups}
            assert there == {group for group in wanted if suite != "linear" or group[1] == "forward"}
            ours = {p.name: p.programs[0].name for p in asked.problems}
            for g in found.groups:
                assert g.ours == ours[g.problem]
                assert f"{g.ours}, {g.mask}" in g.seconds
                assert all(len(s) >= 3 for s in g.seconds.values())
            assert not run.disturbed(found.groups)
            assert results.table(found).rows
            assert results.own(found).rows


def test_every_machine_has_a_file_of_its_own(tmp_path, monkeypatch):
    """Two files of one suite are both read, each under its machine, in the order of their names."""
    (tmp_path / "data").mkdir()
    for machine in ("Machine B, 2 cores, jax 1", "Machine A, 2 cores, jax 1"):
        data = {**vars(EXAMPLE), "machine": machine, "groups": [vars(g) for g in EXAMPLE.groups]}
        (tmp_path / "data" / results.file_name("exact", machine)).write_text(json.dumps(data))
    monkeypatch.setattr(results, "files", lambda package: tmp_path)
    assert [one.machine[:9] for one in results.load("exact")] == ["Machine A", "Machine B"]
    assert results.forward(results.load("exact")[0], "full") == {
        "torch SDPA": {4096: 2.0},
        "jax.nn": {4096: 6.5},
    }
    with pytest.raises(ValueError, match=r"suite: expected one of \['exact'\], got 'linear'"):
        results.load("linear")


def test_a_file_of_another_machine_is_not_written_over(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"machine": "Abacus, 10 beads, jax 0", "groups": []}))
    with pytest.raises(
        SystemExit, match=r"x.json is of another machine, Abacus, 10 beads, jax 0: give this one .* --machine"
    ):
        run.main(["--quick", "--out", str(path)])
    assert json.loads(path.read_text())["groups"] == []


def test_a_file_keeps_its_other_groups_in_order(tmp_path, monkeypatch):
    """Problems in the order of the suite, whenever each was measured."""
    monkeypatch.setattr(sys, "argv", [])
    second, first = (replace(p, masks=("full",)) for p in problems.VARIANTS[:2])
    monkeypatch.setitem(problems.SUITES, "variants", replace(problems.SUITES["variants"], problems=(first, second)))
    asked = []

    def measure(problem, work, mask, n, chosen, **_):
        asked.append(problem.name)
        seconds = {f"{p.name}, {m}": [float(len(asked))] * 3 for p, m in chosen}
        return {
            "problem": problem.name,
            "work": work,
            "mask": mask,
            "n": n,
            "seconds": seconds,
            "flops": {},
            "skipped": {},
        }

    monkeypatch.setattr(run, "measure", measure)
    out = ["variants", "--out", str(tmp_path / "x.json"), "--n", "8", "--work", "forward"]
    run.main([*out, "--problem", second.name])
    run.main(out)
    run.main([*out, "--problem", first.name])
    assert asked == [second.name, first.name, second.name, first.name]
    groups = results.read(tmp_path / "x.json").groups
    assert [(g.problem, next(iter(g.seconds.values()))[0]) for g in groups] == [(first.name, 4), (second.name, 3)]


def test_a_machine_can_be_named(monkeypatch):
    assert run.arguments(["--machine", "Lab 3"]).out.name == "exact-lab-3.json"
    monkeypatch.setattr("attnlib.clock.machine", lambda: "AMD EPYC, 2 cores, jax 1 on cpu, Python 3")
    assert run.arguments(["linear"]).out == ROOT / "attnlib" / "book" / "data" / "linear-amd-epyc-2-cores.json"
    assert run.arguments(["--quick"]).out.parent == ROOT / "_build" / "benchmarks"


def test_reports_are_of_the_books_own_programs():
    for report in results.REPORTS:
        names = {p.name for problem in problems.SUITES[report.suite].problems for p in problem.programs}
        assert set(report.ratios) <= names
        assert report.n in problems.SUITES[report.suite].lengths


def test_no_such_suite():
    with pytest.raises(ValueError, match=r"suite: expected one of \['exact'.*\], got 'nosuch'"):
        results.load("nosuch")


# --- exponents ------------------------------------------------------------------------------------------------------


def test_cells_of_the_table_are_measured_and_kept(tmp_path, monkeypatch, capsys):
    """At sizes that take no time: what is written is read back, and a second run keeps the other layers."""
    monkeypatch.setattr(table, "ROOT", tmp_path)
    monkeypatch.setattr(table, "R", 8)
    small = {
        name: (build, {letter: (power, 128, (128, 256, 512)) for letter, (power, *_) in letters.items()})
        for name, (build, letters) in table.ROWS.items()
        if name in ("recurrent", "window")
    }
    monkeypatch.setattr(table, "ROWS", small)
    table.main(["--quick", "--rounds", "3"])
    assert "window" in capsys.readouterr().out
    path = tmp_path / "_build" / "benchmarks" / "table.json"
    first = table.slopes(path)
    assert [(s.layer, s.letter, s.formula) for s in first] == [
        ("recurrent", "n", 1),
        ("recurrent", "d", 2),
        ("window", "n", 1),
        ("window", "d", 1),
    ]
    ratio = table.step_ratio(path)
    assert len(ratio.values) == 30
    assert min(ratio.values) > 0
    table.main(["--quick", "--rounds", "3", "--layer", "recurrent"])
    assert table.step_ratio(path) == ratio
    second = table.slopes(path)
    changed = {a.layer for a, b in zip(first, second, strict=True) if a != b}
    assert changed == {"recurrent"}


def test_a_slope_is_that_of_the_medians():
    seconds = {1: (1.0, 9.0, 1.0), 2: (4.0, 4.0, 4.0), 4: (16.0, 16.0, 0.1)}
    slope = table.Slope("x", "n", 2, {"d": 4, "r": 3}, seconds)
    assert slope.fit.exponent == pytest.approx(2)
    shown = str(table.show((slope,)))
    assert "2.00 ± 0.00" in shown
    assert "1 to 4" in shown
    assert "d = 4, r = 3" in shown


def test_published_slopes():
    """Every cell; the exponents that the sizes were chosen for, and no host, path or person."""
    found = table.slopes()
    assert {(s.layer, s.letter) for s in found} == {(name, x) for name, (_, xs) in table.ROWS.items() for x in xs}
    assert not any(s in table.FILE.read_text() for s in ("/", "\\", "http"))
    assert len(table.step_ratio().values) >= 30
    for s in found:
        assert tuple(s.seconds) == table.ROWS[s.layer][1][s.letter][2]
        assert s.formula == table.ROWS[s.layer][1][s.letter][0]
        assert len(s.seconds) >= 4


LINEAR = [name for name, (_, letters) in table.entries().items() if letters["n"][0] == 1]


@pytest.mark.parametrize("name", LINEAR)
def test_what_is_linear_was_measured_to_be(name):
    """Between 4,096 and 32,768 positions, within 0.1. (Squares need longer texts until they are all of the time.)"""
    (slope,) = (s for s in table.slopes() if (s.layer, s.letter) == (name, "n"))
    assert abs(slope.fit.exponent - 1) < 0.1


@pytest.mark.parametrize("suite", ["variants", "sparse"])
def test_medians_are_those_of_the_groups(suite):
    for found in results.load(suite):
        rows = {row[:2]: row[2:] for row in results.medians(found).rows}
        for g in found.groups:
            ours, column = f"{g.ours}, {g.mask}", 0 if g.work == "forward" else 1
            tiles = f"flash_attention, {g.mask}"
            for program in g.seconds:
                name, _, mask = program.rpartition(", ")
                if mask == g.mask and name not in (g.ours, "flash_attention"):
                    shown = rows[f"{g.problem}, {mask}", name]
                    assert shown[column] == f"{g.ratio(program, ours).median:.3g}×"
                    assert (shown[2 + column] is None) == (g.ours == "flash_attention")
            if "topk" in g.problem:
                assert rows[f"{g.problem}, {g.mask}", ""][2 + column] == f"{g.ratio(tiles, ours).median:.3g}×"


@pytest.mark.parametrize("part", ["one hash", "indexer"])
def test_the_quadratic_that_remains_was_measured_to_be(part):
    """A hash that is not factorised and an indexer, between 4,096 and 32,768 positions."""
    (slope,) = (s for s in table.slopes() if s.layer == part)
    assert slope.formula == 2
    assert abs(slope.fit.exponent - 2) < 0.2


def test_sparse_mechanisms_were_faster_than_their_peers_and_than_all_pairs():
    """At 16,384 positions: a window of 512 five times, packed texts eight times faster than one text of all pairs."""
    for found in results.load("sparse"):
        for g in found.groups:
            ours = f"{g.ours}, {g.mask}"
            peers = [
                p for p in g.seconds if p.endswith(f", {g.mask}") and not p.startswith((g.ours, "flash_attention"))
            ]
            assert all(g.ratio(peer, ours).median > 1 for peer in peers)
            if g.problem.startswith("window_attention"):
                assert g.ratio(f"flash_attention, {g.mask}", ours).median > 5
            if "packed" in g.problem:
                assert g.ratio(f"flash_attention of one text, {g.mask}", ours).median > 8


def test_every_mechanism_is_measured_beside_something():
    """Attention as written is a peer of its own kernel."""
    named = {p.name for suite in problems.SUITES.values() for problem in suite.problems for p in problem.programs}
    assert {entry.name for entry in registry.MECHANISMS} - named == {"attention"}
