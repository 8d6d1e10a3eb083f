"""The command: its numbers are those of the cost models, and bad input is one line that says what would be right."""

import json
import subprocess
import sys

import jax
import pytest

from attnlib import (
    cost,
    decoding,
    gated_linear_attention_state,
    linear_attention_state,
    performer_attention_state,
    registry,
    taylor_attention_state,
)
from attnlib.cli import costs, main, table_rows

SIZES = ["--n", "8192", "--d", "1024", "--h", "16"]
H100 = cost.ACCELERATORS["H100"]


def run(capsys, *arguments):
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize("backward", [False, True])
def test_table(capsys, backward):
    flags = ["--backward"] if backward else []
    rows = json.loads(run(capsys, "table", *SIZES, "--json", *flags))
    assert [row["mechanism"] for row in rows] == [entry.name for entry in registry.MECHANISMS]
    assert rows == table_rows(8192, 1024, 16, H100, backward=backward)
    written = cost.attention(8192, 64, h=16, dtype="bfloat16", backward=backward)
    assert (rows[0]["flops"], rows[0]["live"]) == (written.flops, written.live)
    assert rows[0]["seconds"] == cost.roofline(written, H100, dtype="bfloat16").seconds
    assert rows[0]["state"] == rows[1]["state"] == cost.kv_cache(8192, 64, h_kv=16)
    assert rows[2]["state"] == cost.kv_cache(512, 64, h_kv=16)
    states = {row["mechanism"]: row["state"] for row in rows}
    assert states["longformer_attention"] == cost.kv_cache(257 + 16, 64, h_kv=16)
    assert states["linear_attention"] == 16 * 4 * 64 * 65
    printed = run(capsys, "table", *SIZES, *flags).splitlines()
    assert len(printed) == 2 + len(rows)
    assert max(map(len, printed)) <= 80


def test_states_are_those_that_the_kernels_keep():
    """The sums of linear attention, and the keys and values that softmax cannot forget."""
    for name, init in (
        ("linear_attention", linear_attention_state),
        ("taylor_attention", taylor_attention_state),
        ("gated_linear_attention", gated_linear_attention_state),
        ("performer_attention", performer_attention_state),
    ):
        kept = sum(leaf.size for leaf in jax.tree.leaves(init(5, 3)) if leaf.ndim)
        assert kept == registry.mechanism(name).state(7, 5, 3) == registry.mechanism(name).state(700, 5, 3)
    cache = decoding.init_cache(7, 5, d_v=3)
    assert registry.mechanism("attention").state(7, 5, 3) == cache.k.size + cache.v.size


@pytest.mark.parametrize("name", costs())
def test_roofline(capsys, name):
    printed = run(capsys, "roofline", name, *SIZES)
    given = json.loads(run(capsys, "roofline", name, *SIZES, "--json"))
    assert printed.splitlines()[-1].startswith("total")
    assert [line.rsplit("  ")[0].strip() for line in printed.splitlines()[1:-1]] == [
        s["step"] for s in given["steps"]
    ]
    assert given["seconds"] == pytest.approx(sum(s["seconds"] for s in given["steps"]))
    assert run(capsys, "roofline", name, *SIZES, "--device", "tpuv5e", "--batch", "2") != printed


def test_roofline_takes_the_names_that_the_table_prints(capsys):
    for row in run(capsys, "table", *SIZES).splitlines()[2:]:
        name = row.split()[0]
        whole = name if name in costs() else f"{name}_attention"
        assert run(capsys, "roofline", name, *SIZES) == run(capsys, "roofline", whole, *SIZES)
    assert {"rnn", "lstm", "s4d", "mamba", "multihead_attention", "separable"} <= costs().keys()


BAD = {
    "no device of that name": (["table", *SIZES, "--device", "b200"], "expected one of A100, H100, L4, T4, TPU v5e"),
    "no mechanism of that name": (["roofline", "flush", *SIZES], "expected one of attention, flash_attention"),
    "no dtype of that name": (["table", *SIZES, "--dtype", "int3"], "expected one of float64, float32"),
    "a dtype the device has not": (["table", *SIZES, "--device", "T4"], "expected one of float16"),
    "heads that do not divide": (["table", "--n", "8", "--d", "10", "--h", "3"], "a divisor of d = 10, got 3"),
    "a length of nothing": (["table", "--n", "0", "--d", "10"], "--n: expected an integer of at least 1, got '0'"),
    "a unit alone": (["table", "--n", "k", "--d", "10"], "--n: expected an integer of at least 1, got 'k'"),
    "a length in words": (["table", "--n", "many", "--d", "10"], "expected an integer of at least 1, got 'many'"),
    "no width": (["table", "--n", "8"], "required: --d"),
    "nothing": ([], "required: table | roofline | model | sat"),
    "an unknown command": (["tabel", *SIZES], "'table', 'roofline', 'model', 'sat'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(capsys, name):
    arguments, said = BAD[name]
    with pytest.raises(SystemExit) as end:
        main(arguments)
    out, err = capsys.readouterr()
    assert end.value.code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert said in err.replace("(choose from table, roofline, model, sat)", "'table', 'roofline', 'model', 'sat'")


def test_sat_is_the_command_of_hardness(tmp_path, capsys):
    formula = tmp_path / "f.cnf"
    formula.write_text("p cnf 2 2\n1 2 0\n-1 0\n")
    assert main(["sat", str(formula)]) == 10
    assert "v -1 2 0" in capsys.readouterr().out


def test_costs_need_no_jax():
    program = (
        "import sys; sys.modules['jax'] = None; import attnlib.cost as c; from attnlib.cli import main; "
        "print(c.attention(512, 64).flops); main(['table', '--n', '512', '--d', '64']); "
        "assert not {'scipy', 'sympy', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == str(cost.attention(512, 64).flops)
    assert len(done.stdout.splitlines()) == 3 + len(registry.MECHANISMS)
